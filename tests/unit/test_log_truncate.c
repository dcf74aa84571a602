#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "counted_traces.h"
#include "io/file.h"
#include "spate/error.h"
#include "storage/log.h"
#include "storage/segment.h"
#include "tests/lib/test_store.h"

#define GROUP_ID 1

static int setup(void **state)
{
    return test_store_setup(state, 16 * 1024);
}

static void check_terms(struct test_log *log, uint64_t cut, uint64_t below, uint64_t from)
{
    for (uint64_t i = 1; i <= sp_log_last_index(log->log); i++) {
        struct sp_log_read read;
        struct sp_log_frame frame;

        test_log_read(log, SP_LOG_READ_INDEX, (int64_t)i, &read);
        assert_int_equal(read.status, 0);
        assert_int_equal(sp_log_frame_verify(read.frames[0].bytes, read.frames[0].size, &frame), 0);
        assert_int_equal(frame.index, i);
        assert_int_equal(frame.term, i < cut ? below : from);
        sp_log_read_release(&read);
    }
}

/* Truncation at every place of a log of several segments, with what was there from memory, from
 * disk, flushed or not; the new frames must be the only ones afterwards. */
static void truncate_and_rewrite(struct test_store *test, uint64_t cut, bool flush, bool forget)
{
    struct test_log log;
    uint64_t group_id =
        1000 + 4 * cut + 2 * flush + forget; /* a replica's id is never used twice */

    assert_int_equal(test_log_create(&log, test, group_id), 0);
    for (int i = 0; i < 24; i++) {
        test_log_batch(&log, 1, 2, 1000, 100 + i);
        if (flush && i % 5 == 0) {
            test_log_flush(&log);
        }
    }
    if (forget) {
        test_log_restart(&log);
    }
    assert_int_equal(sp_log_truncate(log.log, cut), 0);
    assert_int_equal(sp_log_last_index(log.log), cut - 1);
    assert_int_equal(sp_log_end_offset(log.log), 2 * (cut - 1));
    assert_int_equal(sp_log_last_term(log.log), cut > 1 ? 1 : 0);
    assert_true(sp_log_persisted_index(log.log) < cut);
    for (uint64_t i = 0; i < 8; i++) {
        assert_int_equal(test_log_batch(&log, 2, 2, 1000, 200), 2 * (cut - 1 + i));
    }
    test_log_flush(&log);
    check_terms(&log, cut, 1, 2);
    test_log_restart(&log);
    assert_int_equal(sp_log_last_index(log.log), cut + 7);
    check_terms(&log, cut, 1, 2);
    test_log_close(&log);
    assert_int_equal(sp_store_delete_replica(test->store, group_id, TEST_REPLICA_ID), 0);
}

static void test_log_truncate_and_rewrite_everywhere(void **state)
{
    struct test_store *test = *state;

    for (uint64_t cut = 1; cut <= 24; cut++) {
        truncate_and_rewrite(test, cut, cut % 2 == 0, false);
        truncate_and_rewrite(test, cut, true, true);
    }
}

/* Frames of the time before the truncation stand behind the new tail, as if the file had never been
 * cut: the chain ends the log before them. */
static void test_log_truncate_stale_tail_is_not_followed(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    char path[1024];
    size_t old_size = 0;
    size_t new_size = 0;

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    test_log_batch(&log, 1, 1, 50, 100);
    test_log_flush(&log);
    for (int i = 0; i < 5; i++) {
        test_log_batch(&log, 1, 1, 50, 100);
    }
    test_log_flush(&log);
    test_log_path(&log, 1, "log", path);
    uint8_t *old = test_file_read(path, &old_size);
    assert_int_equal(sp_log_truncate(log.log, 2), 0);
    test_log_batch(&log, 2, 1, 50, 100);
    test_log_batch(&log, 2, 1, 50, 100);
    test_log_flush(&log);
    test_log_close(&log);
    uint8_t *new = test_file_read(path, &new_size);
    assert_true(new_size < old_size);
    memcpy(old, new, new_size);
    test_file_write(path, old, old_size);
    free(new);
    free(old);
    assert_int_equal(test_log_open(&log, test, GROUP_ID), 0);
    assert_int_equal(sp_log_last_index(log.log), 3);
    check_terms(&log, 2, 1, 2);
    test_log_close(&log);
}

struct turn {
    struct sp_deferred deferred;
    bool done;
};

static void end_turn(struct sp_deferred *deferred)
{
    SP_LIST_ENTRY(deferred, struct turn, deferred)->done = true;
}

/* One turn, at the end of which flushes start. */
static void one_turn(struct test_store *test)
{
    for (int i = 0; i < 2; i++) {
        struct turn turn = { .done = false };

        sp_deferred_init(&turn.deferred, end_turn);
        sp_loop_defer(test->loop, &turn.deferred);
        test_store_run(test, &turn.done);
    }
}

/* I3: what was written before the truncation is not reported as if it were what followed. */
static void test_log_truncate_lowers_what_a_flight_proves(void **state)
{
    struct test_store *test = *state;
    struct test_log log;

    for (uint64_t round = 1; round <= 20; round++) {
        assert_int_equal(test_log_create(&log, test, round), 0);
        for (int i = 0; i < 10; i++) {
            test_log_batch(&log, 1, 1, 3000, 100);
        }
        one_turn(test); /* in flight, or done already */
        uint64_t before = log.persisted;
        assert_int_equal(sp_log_truncate(log.log, 3), 0);
        log.reports = 0;
        test_log_frame(&log, SP_FRAME_NOOP, 2, "");
        assert_int_equal(sp_log_last_index(log.log), 3);
        while (sp_log_persisted_index(log.log) < 3) {
            one_turn(test);
            assert_true(log.reports == 0 || log.persisted <= 3);
        }
        assert_true(before <= 10);
        check_terms(&log, 3, 1, 2);
        test_log_restart(&log);
        assert_int_equal(sp_log_last_index(log.log), 3);
        check_terms(&log, 3, 1, 2);
        test_log_close(&log);
        assert_int_equal(sp_store_delete_replica(test->store, round, TEST_REPLICA_ID), 0);
    }
}

/* A read that was under way when the log was cut answers for the log as it is then. */
struct reading {
    struct sp_log_read read;
    bool done;
};

static void on_reading(struct sp_log_read *read, int status)
{
    struct reading *reading = SP_CONTAINER_OF(read, struct reading, read);

    (void)status;
    reading->done = true;
}

static void test_log_truncate_repeats_reads_under_way(void **state)
{
    struct test_store *test = *state;
    struct test_log log;

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    for (int i = 0; i < 24; i++) {
        test_log_batch(&log, 1, 2, 1000, 100 + i);
    }
    test_log_flush(&log);
    test_log_restart(&log);
    struct reading reading = {
        .read = {
            .by = SP_LOG_READ_INDEX,
            .start = 5,
            .index_max = UINT64_MAX,
            .bytes_max = SP_FETCH_BYTES_MAX,
            .frames_max = SP_APPEND_FRAMES_MAX,
            .cb = on_reading,
        },
    };
    struct sp_log_frame frame;

    assert_int_equal(sp_log_read_start(log.log, &reading.read), 0);
    assert_int_equal(sp_log_truncate(log.log, 5), 0);
    test_log_frame(&log, SP_FRAME_COMMAND, 2, "new");
    test_store_run(test, &reading.done);
    assert_int_equal(reading.read.status, 0);
    assert_int_equal(reading.read.count, 1);
    assert_int_equal(
        sp_log_frame_decode(reading.read.frames[0].bytes, reading.read.frames[0].size, &frame), 0);
    assert_int_equal(frame.term, 2);
    sp_log_read_release(&reading.read);
    /* Closing cancels. */
    reading.done = false;
    reading.read.start = 1;
    assert_int_equal(sp_log_read_start(log.log, &reading.read), 0);
    test_log_close(&log);
    assert_true(reading.done);
    assert_int_equal(reading.read.status, SPATE_ERR_CANCELED);
}

/* ---- reads that are given up ----------------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
static bool begun;
static bool over;

static void begin_behind(struct sp_job *job)
{
    (void)job;
    pthread_mutex_lock(&lock);
    begun = true;
    pthread_cond_signal(&moved);
    pthread_mutex_unlock(&lock);
}

static void end_behind(struct sp_job *job)
{
    (void)job;
    over = true;
}

static void on_read(struct sp_log_read *read, int status)
{
    (void)read;
    (void)status;
}

/* Starts a read and waits until its job has done its work: one thread does those of strangers. */
static void read_without_a_turn(struct test_log *log, struct sp_log_read *read, struct sp_job *job)
{
    *read = (struct sp_log_read){ .by = SP_LOG_READ_OFFSET,
                                  .index_max = UINT64_MAX,
                                  .bytes_max = 1000,
                                  .patient = true,
                                  .cb = on_read };
    begun = false;
    over = false;
    assert_int_equal(sp_log_read_start(log->log, read), 0);
    sp_job_start_patient(log->test->loop, job, begin_behind, end_behind);
    pthread_mutex_lock(&lock);
    while (!begun) {
        pthread_cond_wait(&moved, &lock);
    }
    pthread_mutex_unlock(&lock);
}

/* What it has found may be half of what was cut off. */
static void test_log_truncate_tells_of_no_damage_to_a_read_that_is_given_up(void **state)
{
    struct test_log log = { .test = *state };
    unsigned told = 0;
    struct counted_trace rows[] = { { "cannot be read back", &told }, { NULL, NULL } };
    struct sp_log_read read;
    struct sp_job behind;
    char path[1024];

    assert_int_equal(test_log_create(&log, log.test, GROUP_ID), 0);
    (void)test_log_batch(&log, 1, 1, 100, 100);
    test_log_reopen(&log);
    test_log_path(&log, 1, "log", path);
    test_file_flip(path, SP_SEGMENT_HEADER_SIZE + 60, 1);
    sp_trace_set_sink(count_traces, rows, SP_TRACE_LEVEL_WARN);
    for (unsigned given_up = 0; given_up < 2; given_up++) {
        read_without_a_turn(&log, &read, &behind);
        if (given_up == 1) {
            assert_int_equal(sp_log_truncate(log.log, 1), 0);
            sp_log_read_abandon(&read);
        }
        test_store_run(log.test, &over);
        assert_int_equal(read.status, given_up == 1 ? SPATE_ERR_CANCELED : SPATE_ERR_CORRUPT);
        assert_int_equal(told, 1);
    }
    sp_trace_set_sink(NULL, NULL, SP_TRACE_LEVEL_WARN);
    test_log_close(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_log_truncate_and_rewrite_everywhere, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_truncate_stale_tail_is_not_followed, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_truncate_lowers_what_a_flight_proves, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_truncate_repeats_reads_under_way, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_truncate_tells_of_no_damage_to_a_read_that_is_given_up,
            setup,
            test_store_teardown),
    };
    return cmocka_run_group_tests_name("storage/log_truncate", tests, NULL, NULL);
}
