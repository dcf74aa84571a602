#include "base/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "spate/error.h"

static void assert_text(const struct sp_buf *buf, const char *expected)
{
    assert_int_equal(buf->size, strlen(expected));
    assert_memory_equal(buf->bytes, expected, buf->size);
}

static void test_exposition_writes_families_and_samples(void **state)
{
    const struct sp_metric_label labels[] = { { "topic", "t" }, { "partition", "3" } };
    struct sp_exposition exposition;
    struct sp_buf buf;

    (void)state;
    sp_buf_init(&buf, 4096);
    sp_exposition_init(&exposition, &buf);
    sp_exposition_family(&exposition, SP_METRIC_COUNTER, "a_total", "Counts.");
    sp_exposition_sample(&exposition, labels, 2, UINT64_MAX);
    sp_exposition_sample(&exposition, labels, 1, 0);
    sp_exposition_gauge(&exposition, "b", "Stands.", 7);
    sp_exposition_family(&exposition, SP_METRIC_GAUGE, "c_seconds", "Lasts.");
    sp_exposition_seconds(&exposition, NULL, 0, 1500000);
    sp_exposition_seconds(&exposition, NULL, 0, 2000000);
    sp_exposition_seconds(&exposition, NULL, 0, 1);
    sp_exposition_seconds(&exposition, NULL, 0, 0);
    assert_int_equal(exposition.status, 0);
    assert_text(&buf,
                "# HELP a_total Counts.\n# TYPE a_total counter\n"
                "a_total{topic=\"t\",partition=\"3\"} 18446744073709551615\n"
                "a_total{topic=\"t\"} 0\n"
                "# HELP b Stands.\n# TYPE b gauge\nb 7\n"
                "# HELP c_seconds Lasts.\n# TYPE c_seconds gauge\n"
                "c_seconds 1.5\nc_seconds 2\nc_seconds 0.000001\nc_seconds 0\n");
    sp_buf_deinit(&buf);
}

static void test_exposition_escapes_label_values(void **state)
{
    const struct sp_metric_label label = { "group", "a\"b\\c\nd\xc3\xa4" };
    struct sp_exposition exposition;
    struct sp_buf buf;

    (void)state;
    sp_buf_init(&buf, 4096);
    sp_exposition_init(&exposition, &buf);
    exposition.family = "m";
    sp_exposition_sample(&exposition, &label, 1, 1);
    assert_text(&buf, "m{group=\"a\\\"b\\\\c\\nd\xc3\xa4\"} 1\n");
    sp_buf_deinit(&buf);
}

/* A bound belongs to its bucket; buckets are shown cumulative. */
static void test_histogram_counts_up_to_and_including_the_bound(void **state)
{
    struct sp_histogram histogram = { .sum_us = 0 };
    struct sp_exposition exposition;
    struct sp_buf buf;
    char text[4096];

    (void)state;
    sp_histogram_note(&histogram, 0);
    sp_histogram_note(&histogram, 50);
    sp_histogram_note(&histogram, 51);
    sp_histogram_note(&histogram, 10000000);
    sp_histogram_note(&histogram, 10000001);
    sp_buf_init(&buf, sizeof text);
    sp_exposition_init(&exposition, &buf);
    exposition.family = "h";
    sp_exposition_histogram(&exposition, NULL, 0, &histogram);
    assert_int_equal(exposition.status, 0);
    memcpy(text, buf.bytes, buf.size);
    text[buf.size] = '\0';
    assert_int_equal(sp_histogram_count(&histogram), 5);
    assert_non_null(strstr(text, "h_bucket{le=\"0.00005\"} 2\n"));
    assert_non_null(strstr(text, "h_bucket{le=\"0.0001\"} 3\n"));
    assert_non_null(strstr(text, "h_bucket{le=\"5\"} 3\n"));
    assert_non_null(strstr(text, "h_bucket{le=\"10\"} 4\n"));
    assert_non_null(strstr(text, "h_bucket{le=\"+Inf\"} 5\nh_sum 20.000102\nh_count 5\n"));
    sp_buf_deinit(&buf);
}

static void test_histogram_labels_stand_before_the_bound(void **state)
{
    const struct sp_metric_label label = { "log", "meta" };
    struct sp_histogram histogram = { .sum_us = 0 };
    struct sp_exposition exposition;
    struct sp_buf buf;

    (void)state;
    sp_buf_init(&buf, 4096);
    sp_exposition_init(&exposition, &buf);
    exposition.family = "h";
    sp_exposition_histogram(&exposition, &label, 1, &histogram);
    assert_memory_equal(buf.bytes, "h_bucket{log=\"meta\",le=\"0.00005\"} 0\n", 36);
    sp_buf_deinit(&buf);
}

static void test_exposition_keeps_its_first_error(void **state)
{
    struct sp_exposition exposition;
    struct sp_buf buf;

    (void)state;
    sp_buf_init(&buf, 60);
    sp_exposition_init(&exposition, &buf);
    sp_exposition_gauge(&exposition, "a", "Much too long a text for this buffer.", 1);
    sp_exposition_gauge(&exposition, "b", "x", 1);
    assert_int_equal(exposition.status, SPATE_ERR_TOO_LARGE);
    sp_buf_deinit(&buf);
    sp_mem_fail_at(1);
    sp_exposition_init(&exposition, &buf);
    sp_exposition_gauge(&exposition, "a", "b", 1);
    assert_int_equal(exposition.status, SPATE_ERR_NOMEM);
    assert_int_equal(buf.size, 0);
    sp_mem_fail_at(0);
    sp_buf_deinit(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exposition_writes_families_and_samples),
        cmocka_unit_test(test_exposition_escapes_label_values),
        cmocka_unit_test(test_histogram_counts_up_to_and_including_the_bound),
        cmocka_unit_test(test_histogram_labels_stand_before_the_bound),
        cmocka_unit_test(test_exposition_keeps_its_first_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
