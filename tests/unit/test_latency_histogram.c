#include "cli/latency_histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"

enum {
    VALUES = 20000,
};

static struct latency_histogram histogram;

static int by_value(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;

    return left < right ? -1 : left > right ? 1 : 0;
}

static void test_latency_percentiles_are_near_the_sorted_values(void **state)
{
    static const double shares[] = { 0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1 };
    static uint64_t values[VALUES];
    struct sp_rand rand;

    (void)state;
    sp_rand_init(&rand, 7);
    memset(&histogram, 0, sizeof histogram);
    for (size_t i = 0; i < VALUES; i++) {
        values[i] = sp_rand_next(&rand) >> (28 + sp_rand_below(&rand, 36)); /* all magnitudes */
        latency_add(&histogram, values[i]);
    }
    qsort(values, VALUES, sizeof values[0], by_value);
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        size_t place = (size_t)(shares[i] * VALUES + 0.999999) - 1;
        uint64_t exact = values[place];
        uint64_t told = latency_percentile_us(&histogram, shares[i]);
        assert_true(told >= exact);
        assert_true((double)told <= (double)exact * 1.016 + 1);
    }
    assert_int_equal(latency_percentile_us(&histogram, 1), values[VALUES - 1]);
}

static void test_latency_small_values_are_exact(void **state)
{
    (void)state;
    for (uint64_t us = 0; us < 128; us++) {
        memset(&histogram, 0, sizeof histogram);
        latency_add(&histogram, us);
        latency_add(&histogram, 1000000);
        assert_int_equal(latency_percentile_us(&histogram, 0.5), us);
    }
}

static void test_latency_longest_value_counts_as_the_end(void **state)
{
    (void)state;
    memset(&histogram, 0, sizeof histogram);
    latency_add(&histogram, UINT64_MAX);
    assert_int_equal(histogram.max_us, UINT64_MAX);
    assert_int_equal(histogram.counts[LATENCY_BUCKETS - 1], 1);
}

static void test_latency_merge_adds_up(void **state)
{
    static struct latency_histogram other;

    (void)state;
    memset(&histogram, 0, sizeof histogram);
    memset(&other, 0, sizeof other);
    assert_int_equal(latency_percentile_us(&histogram, 0.5), 0);
    for (uint64_t us = 1; us <= 50; us++) {
        latency_add(&histogram, us);
        latency_add(&other, us + 50);
    }
    latency_merge(&histogram, &other);
    assert_int_equal(histogram.total, 100);
    assert_int_equal(latency_percentile_us(&histogram, 0.5), 50);
    assert_int_equal(latency_percentile_us(&histogram, 0.99), 99);
    assert_int_equal(histogram.max_us, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_latency_percentiles_are_near_the_sorted_values),
        cmocka_unit_test(test_latency_small_values_are_exact),
        cmocka_unit_test(test_latency_longest_value_counts_as_the_end),
        cmocka_unit_test(test_latency_merge_adds_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
