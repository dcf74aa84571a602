/* What a log that closes in good order leaves, and when the next opening goes by it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/file.h"
#include "spate/error.h"
#include "storage/log.h"
#include "storage/log_verify.h"
#include "storage/meta_verify.h"
#include "tests/lib/test_store.h"

#define GROUP_ID 1
#define APPLIED 2
#define STATE "state after 2"
#define SEGMENT "00000000000000000001.log"
#define SECOND "00000000000000000004.log"

struct fixture {
    struct test_store test;
    struct test_log log;
};

static void path_of(const struct fixture *fixture, const char *name, char *out_path)
{
    (void)snprintf(out_path, 600, "%s/replicas/%d.%d/%s", fixture->test.path, GROUP_ID, 7, name);
}

static void flip(const struct fixture *fixture, const char *name, size_t from_end)
{
    char path[600];

    path_of(fixture, name, path);
    test_file_flip(path, -1 - (int64_t)from_end, 4);
}

static bool has_rest(const struct fixture *fixture)
{
    char path[600];

    path_of(fixture, "rest", path);
    return sp_path_exists(path);
}

/* Three batches, each in a write of its own, so that markers prove the first two. */
static void begin(struct fixture *fixture, bool counted)
{
    test_store_begin(&fixture->test);
    fixture->test.counted = counted;
    fixture->test.segment_bytes = 256 * 1024; /* that this is read takes long */
    test_store_open(&fixture->test);
    assert_int_equal(test_log_create(&fixture->log, &fixture->test, GROUP_ID), 0);
    for (unsigned i = 0; i < 3; i++) {
        (void)test_log_batch(&fixture->log, 1, 2, 1000, 10 + i);
        test_log_flush(&fixture->log);
    }
}

static void close_keeping(struct fixture *fixture)
{
    sp_log_keep_rest(fixture->log.log, APPLIED, (const uint8_t *)STATE, sizeof STATE);
    test_log_close(&fixture->log);
}

/* A closed store, and damage in a frame that only reading the segment would find. */
static void begin_stopped(struct fixture *fixture, bool counted)
{
    begin(fixture, counted);
    close_keeping(fixture);
    test_store_close(&fixture->test);
    flip(fixture, SEGMENT, 3500); /* in the second batch */
}

static void test_log_rest_stands_for_reading_the_segment(void **state)
{
    struct fixture fixture;
    const uint8_t *bytes = NULL;
    size_t size = 0;

    (void)state;
    begin_stopped(&fixture, true);
    assert_true(has_rest(&fixture));
    test_store_open(&fixture.test);
    assert_int_equal(test_log_open(&fixture.log, &fixture.test, GROUP_ID), 0);
    assert_false(has_rest(&fixture));
    assert_int_equal(sp_log_last_index(fixture.log.log), 3);
    assert_int_equal(sp_log_persisted_index(fixture.log.log), 3);
    assert_int_equal(sp_log_end_offset(fixture.log.log), 6);
    assert_int_equal(sp_log_term_at(fixture.log.log, 2), 1);
    assert_int_equal(sp_log_start_index(fixture.log.log), APPLIED);
    sp_log_start_state(fixture.log.log, &bytes, &size);
    assert_int_equal(size, sizeof STATE);
    assert_string_equal((const char *)bytes, STATE);
    sp_log_forget_rest(fixture.log.log);
    assert_int_equal(sp_log_start_index(fixture.log.log), 0);
    assert_int_equal(test_log_batch(&fixture.log, 2, 1, 10, 20), 6);
    test_log_flush(&fixture.log);
    test_log_close(&fixture.log);
    assert_int_equal(test_log_open(&fixture.log, &fixture.test, GROUP_ID), SPATE_ERR_CORRUPT);
    test_store_end(&fixture.test);
}

/* Nothing was kept when the log closed: it was written behind the file that was removed. */
static void test_log_rest_counts_for_one_opening(void **state)
{
    struct fixture fixture;

    (void)state;
    begin_stopped(&fixture, true);
    test_store_open(&fixture.test);
    assert_int_equal(test_log_open(&fixture.log, &fixture.test, GROUP_ID), 0);
    test_log_close(&fixture.log);
    test_store_close(&fixture.test);
    test_store_open(&fixture.test);
    assert_int_equal(test_log_open(&fixture.log, &fixture.test, GROUP_ID), SPATE_ERR_CORRUPT);
    test_store_end(&fixture.test);
}

static void test_log_rest_of_an_earlier_run_is_not_believed(void **state)
{
    struct fixture fixture;

    (void)state;
    begin_stopped(&fixture, true);
    test_store_open(&fixture.test);
    test_store_close(&fixture.test);
    test_store_open(&fixture.test);
    assert_int_equal(test_log_open(&fixture.log, &fixture.test, GROUP_ID), SPATE_ERR_CORRUPT);
    assert_false(has_rest(&fixture));
    test_store_end(&fixture.test);
}

static void test_log_rest_of_the_same_run_is_not_believed(void **state)
{
    struct fixture fixture;

    (void)state;
    begin(&fixture, true);
    close_keeping(&fixture);
    assert_int_equal(test_log_open(&fixture.log, &fixture.test, GROUP_ID), 0);
    assert_int_equal(sp_log_start_index(fixture.log.log), 0);
    assert_false(has_rest(&fixture));
    test_log_close(&fixture.log);
    test_store_end(&fixture.test);
}

/* Opening a thousand logs that hold next to nothing must not take a thousand files more. */
static void test_log_rest_is_not_left_by_a_small_log(void **state)
{
    struct fixture fixture;

    (void)state;
    begin(&fixture, true);
    sp_log_set_segment_bytes(fixture.log.log, 256 * 1024 * 1024);
    assert_false(sp_log_wants_rest(fixture.log.log));
    close_keeping(&fixture);
    assert_false(has_rest(&fixture));
    test_store_end(&fixture.test);
}

static void test_log_rest_is_not_left_where_runs_are_not_counted(void **state)
{
    struct fixture fixture;

    (void)state;
    begin_stopped(&fixture, false);
    assert_false(has_rest(&fixture));
    test_store_open(&fixture.test);
    assert_int_equal(test_log_open(&fixture.log, &fixture.test, GROUP_ID), SPATE_ERR_CORRUPT);
    test_store_end(&fixture.test);
}

/* Runs that are not counted do not go by it, and take it away. */
static void test_log_rest_is_taken_away_where_runs_are_not_counted(void **state)
{
    struct fixture fixture;

    (void)state;
    begin_stopped(&fixture, true);
    fixture.test.counted = false;
    test_store_open(&fixture.test);
    assert_int_equal(test_log_open(&fixture.log, &fixture.test, GROUP_ID), SPATE_ERR_CORRUPT);
    assert_false(has_rest(&fixture));
    test_store_end(&fixture.test);
}

/* A write that was not reported may stand behind what it says. */
static void test_log_rest_is_not_believed_when_the_segment_is_larger(void **state)
{
    struct fixture fixture;
    char path[600];
    size_t size = 0;

    (void)state;
    begin(&fixture, true);
    close_keeping(&fixture);
    test_store_close(&fixture.test);
    path_of(&fixture, SEGMENT, path);
    uint8_t *bytes = test_file_read(path, &size);
    bytes = realloc(bytes, size + 100);
    assert_non_null(bytes);
    memset(bytes + size, 1, 100);
    test_file_write(path, bytes, size + 100);
    free(bytes);
    test_store_open(&fixture.test);
    assert_int_equal(test_log_open(&fixture.log, &fixture.test, GROUP_ID), 0);
    assert_int_equal(sp_log_last_index(fixture.log.log), 3);
    assert_int_equal(sp_log_start_index(fixture.log.log), 0);
    test_log_close(&fixture.log);
    test_store_end(&fixture.test);
}

/* The log does not open; it is marked, and so it is at each later start. */
static void opens_damaged(struct fixture *fixture, const char *words)
{
    for (unsigned i = 0; i < 2; i++) {
        test_store_open(&fixture->test);
        assert_int_equal(test_log_open(&fixture->log, &fixture->test, GROUP_ID), SPATE_ERR_CORRUPT);
        assert_non_null(strstr(fixture->log.text, words));
        test_store_close(&fixture->test);
    }
}

struct findings {
    unsigned damaged;
    uint64_t position;
    char file[64];
};

static void note_finding(void *arg, const struct sp_verify_finding *finding)
{
    struct findings *findings = arg;

    if (finding->kind == SP_VERIFY_DAMAGE) {
        findings->damaged += 1;
        findings->position = finding->position;
        (void)snprintf(findings->file, sizeof findings->file, "%s", finding->file);
    }
}

static void ignore_replica(void *arg, const struct sp_replica_record *record)
{
    (void)arg;
    (void)record;
}

/* As `spate log verify` does on a node that is stopped. */
static void verify(const struct fixture *fixture, struct findings *out_findings)
{
    struct sp_meta_report meta;
    struct sp_verify_report report;
    char path[600];

    *out_findings = (struct findings){ .damaged = 0 };
    assert_int_equal(sp_meta_verify(fixture->test.path, ignore_replica, NULL, &meta), 0);
    assert_true(meta.run != 0);
    const struct sp_verify_options options = { .last_run = meta.run,
                                               .found = note_finding,
                                               .arg = out_findings };
    (void)snprintf(path, sizeof path, "%s/replicas/%d.7", fixture->test.path, GROUP_ID);
    assert_int_equal(sp_log_verify(path, &options, &report), 0);
}

/* Each length, so also where a frame ends, where a marker does, and inside the header. */
static void test_log_rest_proves_that_the_newest_segment_is_cut(void **state)
{
    struct fixture fixture;
    struct findings findings;
    char path[600];
    size_t size = 0;
    size_t step = 0;

    (void)state;
    begin(&fixture, true);
    close_keeping(&fixture);
    test_store_close(&fixture.test);
    verify(&fixture, &findings);
    assert_int_equal(findings.damaged, 0);
    path_of(&fixture, SEGMENT, path);
    uint8_t *bytes = test_file_read(path, &size);
    for (size_t left = 0; left < size; left += step) {
        test_file_write(path, bytes, left);
        verify(&fixture, &findings);
        assert_int_equal(findings.damaged, 1);
        assert_string_equal(findings.file, SEGMENT);
        assert_true(findings.position <= left);
        step = left < SP_SEGMENT_HEADER_SIZE ? 512 : 8;
    }
    test_file_write(path, bytes, size - 8);
    free(bytes);
    opens_damaged(&fixture, "had ");
    test_store_end(&fixture.test);
}

static void begin_two_segments(struct fixture *fixture)
{
    begin(fixture, true);
    sp_log_roll(fixture->log.log);
    for (unsigned i = 0; i < 2; i++) {
        (void)test_log_batch(&fixture->log, 1, 2, 1000, 20 + i);
        test_log_flush(&fixture->log);
    }
    assert_int_equal(sp_log_segment_count(fixture->log.log), 2);
    close_keeping(fixture);
    test_store_close(&fixture->test);
}

static void test_log_rest_proves_that_the_newest_segment_is_missing(void **state)
{
    struct fixture fixture;
    struct findings findings;
    char path[600];

    (void)state;
    begin_two_segments(&fixture);
    path_of(&fixture, SECOND, path);
    assert_int_equal(sp_path_remove(path), 0);
    verify(&fixture, &findings);
    assert_int_equal(findings.damaged, 1);
    assert_string_equal(findings.file, SECOND);
    opens_damaged(&fixture, SECOND " is missing");
    test_store_end(&fixture.test);
}

/* The removal of the file is not synced: a power cut brings it back after the log was cut. */
static void test_log_rest_that_comes_back_proves_nothing(void **state)
{
    struct fixture fixture;
    struct findings findings;
    char path[600];
    size_t size = 0;

    (void)state;
    begin_two_segments(&fixture);
    path_of(&fixture, "rest", path);
    uint8_t *bytes = test_file_read(path, &size);
    test_store_open(&fixture.test);
    assert_int_equal(test_log_open(&fixture.log, &fixture.test, GROUP_ID), 0);
    assert_int_equal(sp_log_truncate(fixture.log.log, 2), 0);
    test_log_flush(&fixture.log);
    test_log_close(&fixture.log);
    test_store_close(&fixture.test);
    test_file_write(path, bytes, size);
    verify(&fixture, &findings);
    assert_int_equal(findings.damaged, 0);
    test_store_open(&fixture.test);
    assert_int_equal(test_log_open(&fixture.log, &fixture.test, GROUP_ID), 0);
    assert_int_equal(sp_log_last_index(fixture.log.log), 1);
    assert_false(has_rest(&fixture));
    test_log_close(&fixture.log);
    free(bytes);
    test_store_end(&fixture.test);
}

/* In the same run it must be gone for good before the log changes. */
static void test_log_rest_of_the_same_run_is_followed_by_a_truncation(void **state)
{
    struct fixture fixture;

    (void)state;
    begin(&fixture, true);
    close_keeping(&fixture);
    assert_true(has_rest(&fixture));
    assert_int_equal(test_log_open(&fixture.log, &fixture.test, GROUP_ID), 0);
    assert_int_equal(sp_log_truncate(fixture.log.log, 2), 0);
    test_log_flush(&fixture.log);
    test_log_close(&fixture.log);
    assert_false(has_rest(&fixture));
    test_store_close(&fixture.test);
    test_store_open(&fixture.test);
    assert_int_equal(test_log_open(&fixture.log, &fixture.test, GROUP_ID), 0);
    assert_int_equal(sp_log_last_index(fixture.log.log), 1);
    test_log_close(&fixture.log);
    test_store_end(&fixture.test);
}

static void test_log_rest_is_not_believed_when_a_byte_of_it_is_wrong(void **state)
{
    (void)state;
    for (size_t from_end = 0; from_end < 200; from_end += 7) {
        struct fixture fixture;

        begin(&fixture, true);
        close_keeping(&fixture);
        test_store_close(&fixture.test);
        flip(&fixture, "rest", from_end);
        test_store_open(&fixture.test);
        assert_int_equal(test_log_open(&fixture.log, &fixture.test, GROUP_ID), 0);
        assert_int_equal(sp_log_last_index(fixture.log.log), 3);
        assert_int_equal(sp_log_start_index(fixture.log.log), 0);
        test_log_close(&fixture.log);
        test_store_end(&fixture.test);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_rest_stands_for_reading_the_segment),
        cmocka_unit_test(test_log_rest_counts_for_one_opening),
        cmocka_unit_test(test_log_rest_of_an_earlier_run_is_not_believed),
        cmocka_unit_test(test_log_rest_of_the_same_run_is_not_believed),
        cmocka_unit_test(test_log_rest_is_not_left_by_a_small_log),
        cmocka_unit_test(test_log_rest_is_not_left_where_runs_are_not_counted),
        cmocka_unit_test(test_log_rest_is_taken_away_where_runs_are_not_counted),
        cmocka_unit_test(test_log_rest_is_not_believed_when_the_segment_is_larger),
        cmocka_unit_test(test_log_rest_proves_that_the_newest_segment_is_cut),
        cmocka_unit_test(test_log_rest_proves_that_the_newest_segment_is_missing),
        cmocka_unit_test(test_log_rest_that_comes_back_proves_nothing),
        cmocka_unit_test(test_log_rest_of_the_same_run_is_followed_by_a_truncation),
        cmocka_unit_test(test_log_rest_is_not_believed_when_a_byte_of_it_is_wrong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
