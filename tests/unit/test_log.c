#include "storage/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "io/file.h"
#include "spate/error.h"
#include "storage/flush_size.h"
#include "tests/lib/test_batch.h"
#include "tests/lib/test_store.h"

static int setup(void **state)
{
    return test_store_setup(state, 16 * 1024);
}

/* Reads all frames by index and checks that they are whole and dense; how many batches. */
static unsigned check_all(struct test_log *log)
{
    struct sp_log_read read;
    unsigned batches = 0;
    uint64_t index = sp_log_first_index(log->log);

    while (index <= sp_log_last_index(log->log)) {
        test_log_read(log, SP_LOG_READ_INDEX, (int64_t)index, &read);
        assert_int_equal(read.status, 0);
        assert_true(read.count > 0);
        for (unsigned i = 0; i < read.count; i++) {
            struct sp_log_frame frame;

            assert_int_equal(sp_log_frame_verify(read.frames[i].bytes, read.frames[i].size, &frame),
                             0);
            assert_int_equal(frame.index, index);
            assert_int_equal(frame.term, sp_log_term_at(log->log, index));
            batches += frame.kind == SP_FRAME_BATCH;
            index += 1;
        }
        sp_log_read_release(&read);
    }
    return batches;
}

static void test_log_new_is_empty(void **state)
{
    struct test_store *test = *state;
    struct test_log log;

    assert_int_equal(test_log_create(&log, test, 1), 0);
    assert_int_equal(sp_log_first_index(log.log), 1);
    assert_int_equal(sp_log_last_index(log.log), 0);
    assert_int_equal(sp_log_end_offset(log.log), 0);
    assert_int_equal(sp_log_term_at(log.log, 1), 0);
    assert_int_equal(sp_log_checkpoint_wanted(log.log), 0);
    test_log_close(&log);
}

static void test_log_append_flush_reopen_over_segments(void **state)
{
    struct test_store *test = *state;
    struct test_log log;

    assert_int_equal(test_log_create(&log, test, 1), 0);
    test_log_frame(&log, SP_FRAME_CONFIGURATION, 1, "members");
    for (int i = 0; i < 100; i++) {
        assert_int_equal(test_log_batch(&log, 1 + (uint64_t)i / 30, 3, 200, 1000 + i), 3 * i);
        if (i % 7 == 0) {
            test_log_frame(&log, SP_FRAME_NOOP, 1 + (uint64_t)i / 30, "");
        }
        if (i % 4 == 0) {
            test_log_flush(&log);
        }
    }
    test_log_flush(&log);
    assert_int_equal(log.persisted, sp_log_last_index(log.log));
    assert_true(sp_log_segment_count(log.log) >= 4);
    uint64_t last = sp_log_last_index(log.log);
    uint32_t chain = sp_log_chain(log.log);
    unsigned segments = sp_log_segment_count(log.log);
    assert_int_equal(check_all(&log), 100);

    test_log_restart(&log);
    const uint8_t *bytes = NULL;
    size_t size = 0;
    uint64_t index = 0;
    assert_int_equal(sp_log_last_index(log.log), last);
    assert_int_equal(sp_log_persisted_index(log.log), last);
    assert_int_equal(sp_log_chain(log.log), chain);
    assert_int_equal(sp_log_end_offset(log.log), 300);
    assert_int_equal(sp_log_last_term(log.log), 4);
    assert_int_equal(sp_log_last_append_time_ms(log.log), 1099);
    assert_int_equal(sp_log_segment_count(log.log), segments);
    assert_int_equal(sp_log_configuration_count(log.log), 1);
    sp_log_configuration(log.log, 0, &index, &bytes, &size);
    assert_int_equal(index, 1);
    assert_int_equal(size, 7);
    assert_memory_equal(bytes, "members", 7);
    assert_int_equal(check_all(&log), 100);
    assert_int_equal(test_log_batch(&log, 4, 1, 10, 5), 300);
    assert_int_equal(sp_log_last_append_time_ms(log.log), 1099); /* it never goes back */
    test_log_close(&log);
}

static void test_log_terms_answer_questions(void **state)
{
    struct test_store *test = *state;
    struct test_log log;

    assert_int_equal(test_log_create(&log, test, 1), 0);
    for (uint64_t i = 1; i <= 9; i++) {
        test_log_frame(&log, SP_FRAME_COMMAND, i <= 3 ? 2 : i <= 6 ? 5 : 9, "x");
    }
    assert_int_equal(sp_log_term_at(log.log, 0), 0);
    assert_int_equal(sp_log_term_at(log.log, 3), 2);
    assert_int_equal(sp_log_term_at(log.log, 4), 5);
    assert_int_equal(sp_log_term_at(log.log, 10), 0);
    assert_int_equal(sp_log_index_with_term_at_most(log.log, 9, 9), 9);
    assert_int_equal(sp_log_index_with_term_at_most(log.log, 9, 8), 6);
    assert_int_equal(sp_log_index_with_term_at_most(log.log, 5, 8), 5);
    assert_int_equal(sp_log_index_with_term_at_most(log.log, 99, 4), 3);
    assert_int_equal(sp_log_index_with_term_at_most(log.log, 9, 1), 0);
    test_log_close(&log);
}

static void test_log_build_refuses_what_cannot_be_stored(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    static uint8_t large[SP_BATCH_BYTES_MAX + 1];
    const struct sp_iovec piece = { large, sizeof large };
    const struct sp_iovec tiny = { large, 10 };

    assert_int_equal(test_log_create(&log, test, 1), 0);
    assert_int_equal(sp_log_build(log.log, SP_FRAME_COMMAND, 1, 0, &piece, 1, NULL),
                     SPATE_ERR_TOO_LARGE);
    assert_int_equal(sp_log_build(log.log, SP_FRAME_BATCH, 1, 0, &tiny, 1, NULL),
                     SPATE_ERR_INVALID);
    assert_int_equal(sp_log_last_index(log.log), 0);
    test_log_close(&log);
}

/* A follower takes the leader's very bytes, and nothing that does not continue its log. */
static void test_log_append_checks_every_field(void **state)
{
    struct test_store *test = *state;
    struct test_log leader;
    struct test_log follower;
    struct sp_log_read read;

    assert_int_equal(test_log_create(&leader, test, 1), 0);
    for (int i = 0; i < 10; i++) {
        test_log_batch(&leader, 1, 2, 50, 100 + i);
    }
    test_log_read(&leader, SP_LOG_READ_INDEX, 1, &read);
    assert_int_equal(read.count, 10);
    /* The same group on another "node": a second data directory. */
    struct test_store other;
    test_store_begin(&other);
    test_store_open(&other);
    assert_int_equal(test_log_create(&follower, &other, 1), 0);
    assert_int_equal(sp_log_append(follower.log, read.frames + 1, 1), SPATE_ERR_CORRUPT);
    assert_int_equal(sp_log_append(follower.log, read.frames, 4), 0);
    assert_int_equal(sp_log_append(follower.log, read.frames, 1), SPATE_ERR_CORRUPT);
    assert_int_equal(sp_log_append(follower.log, read.frames + 5, 5), SPATE_ERR_CORRUPT);
    assert_int_equal(sp_log_last_index(follower.log), 4);
    struct sp_blob *copy = sp_blob_copy(read.frames[4].bytes, read.frames[4].size);
    copy->bytes[48 + 7] ^= 1; /* the base offset, with its frame sealed again */
    struct sp_log_frame frame;
    assert_int_equal(sp_log_frame_decode(copy->bytes, copy->size, &frame), 0);
    sp_log_frame_seal(&frame, sp_log_chain(follower.log), copy->bytes);
    struct sp_slice slice = sp_slice_of(copy, 0, copy->size);
    assert_int_equal(sp_log_append(follower.log, &slice, 1), SPATE_ERR_CORRUPT);
    sp_slice_unref(&slice);
    sp_blob_unref(copy);
    assert_int_equal(sp_log_append(follower.log, read.frames + 4, 6), 0);
    assert_int_equal(sp_log_chain(follower.log), sp_log_chain(leader.log));
    sp_log_read_release(&read);
    test_log_flush(&follower);
    test_log_close(&follower);
    test_store_end(&other);
    test_log_close(&leader);
}

static void test_log_close_writes_what_waits(void **state)
{
    struct test_store *test = *state;
    struct test_log log;

    assert_int_equal(test_log_create(&log, test, 1), 0);
    for (int i = 0; i < 50; i++) {
        test_log_batch(&log, 1, 1, 1000, 100 + i); /* several segments, nothing flushed yet */
    }
    test_log_restart(&log);
    assert_int_equal(sp_log_last_index(log.log), 50);
    assert_int_equal(check_all(&log), 50);
    test_log_close(&log);
}

static void test_log_created_with_first_frame_has_it(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    struct test_log maker;
    struct sp_log_read read;

    assert_int_equal(test_log_create(&maker, test, 5), 0);
    test_log_frame(&maker, SP_FRAME_CONFIGURATION, 1, "abc");
    test_log_read(&maker, SP_LOG_READ_INDEX, 1, &read);
    struct test_store other;
    test_store_begin(&other);
    test_store_open(&other);
    assert_int_equal(test_log_create_with(&log, &other, 5, &read.frames[0]), 0);
    assert_int_equal(sp_log_last_index(log.log), 1);
    assert_int_equal(sp_log_chain(log.log), sp_log_chain(maker.log));
    assert_int_equal(sp_log_configuration_count(log.log), 1);
    test_log_close(&log);
    assert_int_equal(test_log_create(&log, &other, 5), SPATE_ERR_EXISTS);
    sp_log_read_release(&read);
    test_store_end(&other);
    test_log_close(&maker);
}

/* Every failing allocation on the way: the call fails and leaves the log as it was. */
static void test_log_append_survives_failing_allocations(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    uint8_t batch[512];
    size_t size = test_batch_make(batch, 2, 100, 50, 1);
    const struct sp_iovec piece = { batch, size };
    unsigned refused = 0;

    assert_int_equal(test_log_create(&log, test, 1), 0);
    for (uint64_t term = 1; term <= 40; term++) {
        int rv = SPATE_ERR_NOMEM;

        for (uint64_t n = 1; rv != 0; n++) {
            uint64_t last = sp_log_last_index(log.log);
            uint32_t chain = sp_log_chain(log.log);

            sp_mem_fail_at(n);
            rv = sp_log_build(log.log, SP_FRAME_BATCH, term, 1, &piece, 1, NULL);
            sp_mem_fail_at(0);
            assert_true(rv == 0 || rv == SPATE_ERR_NOMEM);
            if (rv != 0) {
                refused += 1;
                assert_int_equal(sp_log_last_index(log.log), last);
                assert_int_equal(sp_log_chain(log.log), chain);
            }
        }
        test_log_frame(&log, SP_FRAME_CONFIGURATION, term, "m");
    }
    assert_true(refused >= 40);
    test_log_flush(&log);
    test_log_restart(&log);
    assert_int_equal(sp_log_last_index(log.log), 80);
    assert_int_equal(check_all(&log), 40);
    test_log_close(&log);
}

static void test_log_follower_append_is_undone_when_memory_ends(void **state)
{
    struct test_store *test = *state;
    struct test_log leader;
    struct test_log follower;
    struct sp_log_read read;
    struct test_store other;
    int rv = SPATE_ERR_NOMEM;

    assert_int_equal(test_log_create(&leader, test, 1), 0);
    for (uint64_t i = 1; i <= 60; i++) {
        test_log_batch(&leader, i, 1, 400, 100);
    }
    test_log_read(&leader, SP_LOG_READ_INDEX, 1, &read);
    test_store_begin(&other);
    other.segment_bytes = 2048;
    test_store_open(&other);
    assert_int_equal(test_log_create(&follower, &other, 1), 0);
    for (uint64_t n = 1; rv != 0; n++) {
        sp_mem_fail_at(n);
        rv = sp_log_append(follower.log, read.frames, read.count);
        sp_mem_fail_at(0);
        if (rv != 0) {
            assert_int_equal(rv, SPATE_ERR_NOMEM);
            assert_int_equal(sp_log_last_index(follower.log), 0);
            assert_int_equal(sp_log_segment_count(follower.log), 1);
        }
    }
    assert_int_equal(sp_log_chain(follower.log), sp_log_chain(leader.log));
    sp_log_read_release(&read);
    test_log_flush(&follower);
    assert_int_equal(check_all(&follower), 60);
    test_log_close(&follower);
    test_store_end(&other);
    test_log_close(&leader);
}

/* An idle log must be cheap: DESIGN asks for 32 KiB. */
static void test_log_idle_keeps_little_memory(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    uint64_t before = sp_mem_live_bytes();

    assert_int_equal(test_log_create(&log, test, 1), 0);
    for (int i = 0; i < 20; i++) {
        test_log_batch(&log, 1, 1, 800, 100 + i);
    }
    test_log_flush(&log);
    test_log_restart(&log);
    assert_true(sp_mem_live_bytes() - before < 32 * 1024);
    test_log_close(&log);
}

static void test_log_memory_of_durable_frames_is_bounded(void **state)
{
    struct test_store *test = *state;
    struct test_log log;

    assert_int_equal(test_log_create(&log, test, 1), 0);
    uint64_t before = sp_mem_live_bytes();
    for (int i = 0; i < 40; i++) {
        test_log_batch(&log, 1, 1, 100 * 1000, 100);
        test_log_flush(&log);
    }
    assert_true(sp_mem_live_bytes() > before + SP_TAIL_CACHE_BYTES / 2);
    assert_true(sp_mem_live_bytes() < before + SP_TAIL_CACHE_BYTES + 200 * 1000);
    test_log_close(&log);
}

static void test_flush_size_follows_the_disk(void **state)
{
    size_t bytes = SP_FLUSH_BYTES_FIRST;

    (void)state;
    for (unsigned i = 0; i < 10; i++) { /* 8 MiB and 333 syncs a second */
        bytes = sp_flush_size_next(bytes, bytes, 3000 + bytes * 1000000 / (8 * 1024 * 1024));
    }
    assert_int_equal(bytes, SP_FLUSH_BYTES_MIN);
    for (unsigned i = 0; i < 6; i++) { /* a gigabyte */
        assert_true(bytes < SP_FLUSH_BYTES_MAX);
        bytes = sp_flush_size_next(bytes, bytes, 100 + bytes / 1000);
    }
    assert_int_equal(bytes, SP_FLUSH_BYTES_MAX);
    for (unsigned i = 0; i < 10; i++) { /* 100 megabytes: 25 ms <= time <= 50 ms */
        bytes = sp_flush_size_next(bytes, bytes, 3000 + bytes / 100);
    }
    assert_int_equal(bytes, 4 * 1024 * 1024);
    /* Small flushes tell nothing, however long they take. */
    assert_int_equal(sp_flush_size_next(bytes, bytes / 2, 1000000), bytes);
    assert_int_equal(sp_flush_size_next(bytes, 200, 1), bytes);
    /* The bounds hold, however slow or fast the disk is. */
    bytes = SP_FLUSH_BYTES_MIN;
    assert_int_equal(sp_flush_size_next(bytes, bytes, 1000000), bytes);
    bytes = SP_FLUSH_BYTES_MAX;
    assert_int_equal(sp_flush_size_next(bytes, bytes, 1), bytes);
}

/* The first flush may begin at once with little, but no flush has all that waits. */
static void test_flush_writes_no_more_than_its_size(void **state)
{
    struct test_store *test = *state;
    struct test_log log;

    test_store_close(test);
    test->segment_bytes = 0; /* a new segment would end a flush, too */
    test_store_open(test);
    assert_int_equal(test_log_create(&log, test, 1), 0);
    for (int i = 0; i < 60; i++) {
        test_log_batch(&log, 1, 1, 100 * 1000, 100);
    }
    test_log_flush(&log);
    assert_true(log.reports >= 3);
    test_log_close(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_log_new_is_empty, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_append_flush_reopen_over_segments, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_terms_answer_questions, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_build_refuses_what_cannot_be_stored, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_append_checks_every_field, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_close_writes_what_waits, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_created_with_first_frame_has_it, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_append_survives_failing_allocations, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_follower_append_is_undone_when_memory_ends, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_idle_keeps_little_memory, setup, test_store_teardown),
        cmocka_unit_test(test_flush_size_follows_the_disk),
        cmocka_unit_test_setup_teardown(
            test_flush_writes_no_more_than_its_size, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_memory_of_durable_frames_is_bounded, setup, test_store_teardown),
    };
    return cmocka_run_group_tests_name("storage/log", tests, NULL, NULL);
}
