#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "counted_traces.h"
#include "storage/log_state.h"
#include "tests/lib/test_store.h"

#define GROUP_ID 1
#define SEGMENT 8192
#define START_MS 1000

/* Five segments and more: batches of some 1,100 bytes, one record each, one millisecond apart. */
static void fill(struct test_log *log, struct test_store *test)
{
    assert_int_equal(test_log_create(log, test, GROUP_ID), 0);
    for (int i = 0; i < 40; i++) {
        test_log_batch(log, 1, 1, 1000, START_MS + i);
    }
    test_log_flush(log);
    assert_true(sp_log_segment_count(log->log) > 4);
}

static const struct sp_log_retention nothing = { -1, INT64_MIN, INT64_MAX };

static void test_log_retention_without_limits_keeps_all(void **state)
{
    struct test_log log;

    fill(&log, *state);
    assert_int_equal(sp_log_expired_offset(log.log, &nothing), 0);
    test_log_close(&log);
}

static void test_log_retention_by_bytes_keeps_at_least_so_much(void **state)
{
    struct sp_log_retention retention = nothing;
    struct test_log log;
    uint64_t size;

    fill(&log, *state);
    size = sp_log_size_bytes(log.log);
    retention.bytes = (int64_t)size;
    assert_int_equal(sp_log_expired_offset(log.log, &retention), 0);
    retention.bytes = (int64_t)size - SEGMENT / 2; /* half a segment too much: none may go */
    assert_int_equal(sp_log_expired_offset(log.log, &retention), 0);
    retention.bytes = 2 * SEGMENT;
    int64_t offset = sp_log_expired_offset(log.log, &retention);
    assert_true(offset > 0);
    assert_true((40 - offset) * 1000 >= SEGMENT / 2); /* half of a file is its header */
    assert_true((40 - offset) * 1000 <= 4 * SEGMENT);
    retention.bytes = 0; /* the newest one stays */
    offset = sp_log_expired_offset(log.log, &retention);
    assert_true(offset > 0 && offset < 40);
    retention.offset_max = offset - 1; /* not applied yet: only those before */
    assert_true(sp_log_expired_offset(log.log, &retention) < offset);
    retention.offset_max = 0;
    assert_int_equal(sp_log_expired_offset(log.log, &retention), 0);
    test_log_close(&log);
}

static void test_log_retention_by_time_counts_the_last_frame_of_a_segment(void **state)
{
    struct sp_log_retention retention = nothing;
    struct test_log log;

    fill(&log, *state);
    retention.expired_ms = START_MS + 1;
    assert_int_equal(sp_log_expired_offset(log.log, &retention), 0);
    retention.expired_ms = START_MS + 39; /* all but the last frame are older */
    int64_t offset = sp_log_expired_offset(log.log, &retention);
    assert_true(offset > 25 && offset < 40);
    /* the segment that ends with record offset - 1 was appended at START_MS + offset - 1 */
    retention.expired_ms = START_MS + offset - 1;
    assert_true(sp_log_expired_offset(log.log, &retention) < offset);
    retention.expired_ms = START_MS + offset;
    assert_int_equal(sp_log_expired_offset(log.log, &retention), offset);
    retention.expired_ms = START_MS + 40; /* also the newest */
    assert_int_equal(sp_log_expired_offset(log.log, &retention), 40);
    test_log_close(&log);
}

/* An empty newest segment has no age, and what is rolled begins to age with its first frame. */
static void test_log_retention_of_a_new_segment(void **state)
{
    struct sp_log_retention retention = nothing;
    struct test_log log;

    assert_int_equal(test_log_create(&log, *state, GROUP_ID), 0);
    assert_int_equal(sp_log_newest_since_ms(log.log), INT64_MAX);
    retention.expired_ms = INT64_MAX;
    assert_int_equal(sp_log_expired_offset(log.log, &retention), 0);
    test_log_batch(&log, 1, 1, 10, 500);
    test_log_batch(&log, 1, 1, 10, 600);
    assert_int_equal(sp_log_newest_since_ms(log.log), 500);
    sp_log_roll(log.log);
    test_log_batch(&log, 1, 1, 10, 700);
    assert_int_equal(sp_log_segment_count(log.log), 2);
    assert_int_equal(sp_log_newest_since_ms(log.log), 700);
    test_log_flush(&log);
    test_log_close(&log);
    assert_int_equal(test_log_open(&log, *state, GROUP_ID), 0);
    assert_int_equal(sp_log_newest_since_ms(log.log), 700);
    test_log_close(&log);
}

static void write_checkpoints(struct test_log *log, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        assert_int_not_equal(sp_log_checkpoint_wanted(log->log), 0);
        assert_int_equal(sp_log_checkpoint_write(log->log, (const uint8_t *)"state", 5), 0);
    }
    test_log_flush(log);
    test_log_close(log); /* finishes them */
    assert_int_equal(test_log_open(log, log->test, GROUP_ID), 0);
}

static void test_log_trim_below_an_offset_needs_its_checkpoint(void **state)
{
    struct sp_log_retention all = { -1, INT64_MAX, 39 };
    struct test_log log;

    fill(&log, *state);
    int64_t offset = sp_log_expired_offset(log.log, &all); /* where the newest segment begins */
    assert_int_equal(sp_log_trim_index_below(log.log, INT64_MAX), 0);
    write_checkpoints(&log, 2);
    uint64_t second = sp_log_trim_index_below(log.log, offset);
    assert_int_equal(second, sp_log_checkpoint_index(log.log));
    /* indexes and offsets are the same here, but for the base: frame n holds offset n - 1 */
    assert_int_equal(sp_log_trim_index_below(log.log, (int64_t)second), second);
    uint64_t first = sp_log_trim_index_below(log.log, (int64_t)second - 1);
    assert_true(first > 0 && first < second);
    assert_int_equal(sp_log_trim_index_below(log.log, (int64_t)first - 1), 0);
    sp_log_trim(log.log, first);
    assert_int_equal(sp_log_first_index(log.log), first + 1);
    assert_int_equal(sp_log_trim_index_below(log.log, (int64_t)first), 0);
    test_log_close(&log);
}

static void test_log_segment_bytes_of_its_own(void **state)
{
    struct test_log log;

    fill(&log, *state);
    unsigned before = sp_log_segment_count(log.log);
    sp_log_set_segment_bytes(log.log, 1024 * 1024);
    for (int i = 0; i < 40; i++) {
        test_log_batch(&log, 1, 1, 1000, 2000);
    }
    assert_int_equal(sp_log_segment_count(log.log), before);
    sp_log_set_segment_bytes(log.log, 0);
    assert_int_equal(sp_log_segment_bytes(log.log), SEGMENT);
    test_log_batch(&log, 1, 1, 1000, 2000);
    assert_int_equal(sp_log_segment_count(log.log), before + 1);
    test_log_flush(&log);
    test_log_close(&log);
}

/* Without checkpoints all 40 KiB are read: that is told each 8 KiB. */
static void test_log_recovery_tells_of_a_long_scan(void **state)
{
    struct sp_log *recovered = NULL;
    struct test_log log;
    char directory[1024];
    char text[256];
    unsigned told = 0;
    struct counted_trace counted[] = { { "recovery goes on", &told }, { NULL, NULL } };

    fill(&log, *state);
    test_log_path(&log, 1, "log", directory);
    *strrchr(directory, '/') = '\0';
    test_log_close(&log);
    const struct sp_log_recovery recovery = { .directory = directory,
                                              .group_id = GROUP_ID,
                                              .replica_id = TEST_REPLICA_ID,
                                              .progress_bytes = 8192,
                                              .text = text,
                                              .text_size = sizeof text };
    sp_trace_set_sink(count_traces, counted, SP_TRACE_LEVEL_INFO);
    assert_int_equal(sp_log_recover(&recovery, &recovered), 0);
    sp_trace_set_sink(NULL, NULL, SP_TRACE_LEVEL_ERROR);
    assert_in_range(told, 4, 6);
    sp_log_free(recovered);
}

static int setup(void **state)
{
    return test_store_setup(state, SEGMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_log_retention_without_limits_keeps_all, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_retention_by_bytes_keeps_at_least_so_much, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_retention_by_time_counts_the_last_frame_of_a_segment,
            setup,
            test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_retention_of_a_new_segment, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_trim_below_an_offset_needs_its_checkpoint, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_segment_bytes_of_its_own, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_recovery_tells_of_a_long_scan, setup, test_store_teardown),
    };
    return cmocka_run_group_tests_name("storage/log_retention", tests, NULL, NULL);
}
