#include "base/rand.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The first numbers of xoshiro256** from the state 1, 2, 3, 4, as its authors' code gives them. */
static void test_rand_golden_numbers(void **state)
{
    static const uint64_t expected[] = {
        11520, 0, 1509978240, UINT64_C(1215971899390074240), UINT64_C(1216172134540287360),
    };
    struct sp_rand rand = { { 1, 2, 3, 4 } };

    (void)state;
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        assert_true(sp_rand_next(&rand) == expected[i]);
    }
}

static void test_rand_same_seed_same_numbers(void **state)
{
    struct sp_rand first;
    struct sp_rand second;
    struct sp_rand other;
    unsigned equal = 0;

    (void)state;
    sp_rand_init(&first, 0);
    sp_rand_init(&second, 0);
    sp_rand_init(&other, 1);
    for (unsigned i = 0; i < 100; i++) {
        uint64_t number = sp_rand_next(&first);
        assert_true(number == sp_rand_next(&second));
        equal += number == sp_rand_next(&other);
    }
    assert_int_equal(equal, 0);
}

static void test_rand_below_is_uniform_within_the_bound(void **state)
{
    struct sp_rand rand;
    unsigned counts[7] = { 0 };

    (void)state;
    sp_rand_init(&rand, 6);
    for (unsigned i = 0; i < 70000; i++) {
        counts[sp_rand_below(&rand, 7)] += 1;
    }
    for (unsigned i = 0; i < 7; i++) {
        assert_in_range(counts[i], 9500, 10500);
    }
    assert_int_equal(sp_rand_below(&rand, 1), 0);
    assert_true(sp_rand_below(&rand, UINT64_MAX) < UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rand_golden_numbers),
        cmocka_unit_test(test_rand_same_seed_same_numbers),
        cmocka_unit_test(test_rand_below_is_uniform_within_the_bound),
    };
    return cmocka_run_group_tests_name("base/rand", tests, NULL, NULL);
}
