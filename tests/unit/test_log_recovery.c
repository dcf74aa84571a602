#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
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

/* What a crash leaves of the last write: bytes from `position` on are cut, zero, or noise. */
enum harm {
    HARM_CUT,
    HARM_ZERO,
    HARM_NOISE,
    HARM_COUNT
};

static void
write_harmed(const char *path, const uint8_t *bytes, size_t size, size_t position, enum harm harm)
{
    uint8_t *copy = malloc(size);

    memcpy(copy, bytes, size);
    for (size_t i = position; i < size; i++) {
        copy[i] = harm == HARM_ZERO ? 0 : (uint8_t)(copy[i] ^ (1 + i % 255));
    }
    test_file_write(path, copy, harm == HARM_CUT ? position : size);
    free(copy);
}

/* Two flushes; the second one is harmed at every byte. What the first one synced must stand, what
 * of the second one is whole may stand, and the log must go on. */
static void test_log_recovery_torn_tail_at_every_byte(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    char path[1024];
    size_t size = 0;

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    test_log_batch(&log, 1, 2, 20, 100);
    test_log_batch(&log, 1, 2, 20, 101);
    test_log_flush(&log);
    test_log_path(&log, 1, "log", path);
    size_t synced_size = 0;
    free(test_file_read(path, &synced_size));
    for (int i = 0; i < 2; i++) {
        test_log_batch(&log, 1, 1, 3, 102 + i);
    }
    test_log_flush(&log);
    test_log_close(&log);
    uint8_t *bytes = test_file_read(path, &size);
    for (size_t position = synced_size; position < size; position++) {
        for (enum harm harm = HARM_CUT; harm < HARM_COUNT; harm++) {
            write_harmed(path, bytes, size, position, harm);
            test_log_open_whole(&log, test, GROUP_ID);
            size_t frame = (size - synced_size - 48) / 2;
            size_t whole = position < synced_size + 48 ? 0 : (position - synced_size - 48) / frame;
            /* Zeros that were zeros before change nothing. */
            assert_true(sp_log_last_index(log.log) >= 2 + whole);
            assert_true(harm == HARM_ZERO || sp_log_last_index(log.log) == 2 + whole);
            assert_int_equal(sp_log_persisted_index(log.log), sp_log_last_index(log.log));
            test_log_close(&log);
        }
    }
    free(bytes);
    assert_int_equal(test_log_open(&log, test, GROUP_ID), 0);
    uint64_t last = sp_log_last_index(log.log);
    test_log_batch(&log, 2, 1, 30, 200);
    test_log_flush(&log);
    test_log_close(&log);
    assert_int_equal(test_log_open(&log, test, GROUP_ID), 0);
    assert_int_equal(sp_log_last_index(log.log), last + 1);
    test_log_close(&log);
}

/* The operator says that it shall be looked at again: each harm has to be found anew. */
static void forget_damage(const struct test_store *test)
{
    char path[1024];

    (void)snprintf(
        path, sizeof path, "%s/replicas/%d.%d/damaged", test->path, GROUP_ID, TEST_REPLICA_ID);
    assert_int_equal(sp_path_remove(path), 0);
}

/* Any harmed byte below the newest marker is damage and is refused, not cut. */
static void test_log_recovery_damage_below_marker_is_refused(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    char path[1024];
    size_t size = 0;
    size_t synced_size = 0;

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    test_log_batch(&log, 1, 2, 20, 100);
    test_log_flush(&log);
    test_log_path(&log, 1, "log", path);
    free(test_file_read(path, &synced_size));
    test_log_batch(&log, 1, 2, 20, 101);
    test_log_flush(&log);
    test_log_close(&log);
    uint8_t *bytes = test_file_read(path, &size);
    for (size_t position = SP_SEGMENT_HEADER_SIZE; position < synced_size; position++) {
        bytes[position] ^= 0x10;
        test_file_write(path, bytes, size);
        bytes[position] ^= 0x10;
        assert_int_equal(test_log_open(&log, test, GROUP_ID), SPATE_ERR_CORRUPT);
        assert_non_null(strstr(log.text, "damaged at byte"));
        forget_damage(test);
    }
    for (size_t position = 0; position < 72; position++) {
        bytes[position] ^= 0x10;
        test_file_write(path, bytes, size);
        bytes[position] ^= 0x10;
        assert_int_equal(test_log_open(&log, test, GROUP_ID), SPATE_ERR_CORRUPT);
        forget_damage(test);
    }
    test_file_write(path, bytes, size);
    assert_int_equal(test_log_open(&log, test, GROUP_ID), 0);
    test_log_close(&log);
    free(bytes);
}

/* A record may contain the bytes of a marker that names a high index: it must not turn a torn tail
 * into damage, nor anything else. */
static void test_log_recovery_marker_in_a_record_proves_nothing(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    char path[1024];
    uint8_t forged[64];
    const struct sp_segment_header header = { .group_id = GROUP_ID, .marker_key = 42 };

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    test_log_batch(&log, 1, 1, 20, 100);
    test_log_flush(&log);
    sp_segment_marker_encode(&header, 1000, 1, 0, forged);
    const struct sp_iovec piece = { forged, 48 };
    assert_int_equal(sp_log_build(log.log, SP_FRAME_COMMAND, 1, 101, &piece, 1, NULL), 0);
    test_log_flush(&log);
    test_log_path(&log, 1, "log", path);
    test_log_close(&log);
    test_file_flip(path, -48 - 48 + 20, 1); /* a bit of the header of the command's frame */
    assert_int_equal(test_log_open(&log, test, GROUP_ID), 0);
    assert_int_equal(sp_log_last_index(log.log), 1);
    test_log_close(&log);
}

static void fill(struct test_log *log, int flushes)
{
    for (int i = 0; i < flushes; i++) {
        test_log_batch(log, 1, 1, 3000, 100 + i);
        test_log_flush(log);
    }
}

/* The base of the n-th segment, from the files that exist. */
static uint64_t base_of(struct test_log *log, unsigned n)
{
    char path[1024];
    uint64_t base = 1;

    for (uint64_t i = 1; i <= sp_log_last_index(log->log); i++) {
        test_log_path(log, i, "log", path);
        if (sp_path_exists(path)) {
            base = i;
            if (n == 0) {
                return base;
            }
            n -= 1;
        }
    }
    return base;
}

/* Without checkpoints all frames are followed, below one the older segments are only looked at: the
 * one that is missing is named, with its frames. */
static void test_log_recovery_missing_segment_is_refused(void **state)
{
    struct test_store *test = *state;

    for (int checkpoints = 0; checkpoints < 2; checkpoints++) {
        struct test_log log;
        char path[1024];
        char expected[128];

        assert_int_equal(test_log_create(&log, test, GROUP_ID + (uint64_t)checkpoints), 0);
        fill(&log, 30);
        assert_true(sp_log_segment_count(log.log) > 4);
        uint64_t base = base_of(&log, 2);
        uint64_t next = base_of(&log, 3);
        test_log_path(&log, base, "log", path);
        while (checkpoints > 0 && sp_log_checkpoint_wanted(log.log) != 0) {
            assert_int_equal(sp_log_checkpoint_write(log.log, (const uint8_t *)"state", 5), 0);
        }
        test_log_close(&log);
        assert_int_equal(sp_path_remove(path), 0);
        assert_int_equal(test_log_open(&log, test, GROUP_ID + (uint64_t)checkpoints),
                         SPATE_ERR_CORRUPT);
        (void)snprintf(
            expected,
            sizeof expected,
            "%020llu.log is missing, or the end of the one before it: frames %llu to %llu",
            (unsigned long long)base,
            (unsigned long long)base,
            (unsigned long long)next - 1);
        assert_non_null(strstr(log.text, expected));
    }
}

static void test_log_recovery_cut_older_segment_is_refused(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    char path[1024];

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    fill(&log, 30);
    test_log_path(&log, base_of(&log, 1), "log", path);
    test_log_close(&log);
    test_file_cut(path, 100);
    assert_int_equal(test_log_open(&log, test, GROUP_ID), SPATE_ERR_CORRUPT);
}

/* A segment is created only after the one before it is synced: its header alone is proof. */
static void test_log_recovery_next_header_proves_the_segment_before(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    char newest[1024];
    char before[1024];
    size_t size = 0;

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    while (sp_log_segment_count(log.log) < 2) {
        fill(&log, 1);
    }
    uint64_t base = sp_log_last_index(log.log);
    test_log_path(&log, base, "log", newest);
    test_log_path(&log, 1, "log", before);
    test_log_close(&log);
    uint8_t *bytes = test_file_read(newest, &size);
    test_file_write(newest, bytes, SP_SEGMENT_HEADER_SIZE);
    free(bytes);
    assert_int_equal(test_log_open(&log, test, GROUP_ID), 0); /* nothing is missing before it */
    assert_int_equal(sp_log_last_index(log.log), base - 1);
    test_log_close(&log);
    test_file_cut(before, 8);
    assert_int_equal(test_log_open(&log, test, GROUP_ID), SPATE_ERR_CORRUPT);
}

/* A crash while a segment is created leaves an empty file, or half a header. */
static void test_log_recovery_half_created_segment_is_removed(void **state)
{
    static const size_t sizes[] = { 0, 1, 71, 72, 4095, 4096 };
    struct test_store *test = *state;
    struct test_log log;
    char path[1024];
    uint8_t header[SP_SEGMENT_HEADER_SIZE];

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    fill(&log, 3);
    test_log_path(&log, 4, "log", path);
    test_log_close(&log);
    memset(header, 0, sizeof header);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        test_file_write(path, header, sizes[i]);
        assert_int_equal(test_log_open(&log, test, GROUP_ID), 0);
        assert_int_equal(sp_log_last_index(log.log), 3);
        assert_false(sp_path_exists(path));
        test_log_close(&log);
    }
}

/* The header of the newest segment is damaged, but it was written to: frames are lost. */
static void test_log_recovery_damaged_newest_header_is_refused(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    char path[1024];

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    while (sp_log_segment_count(log.log) < 3) {
        fill(&log, 1);
    }
    test_log_path(&log, sp_log_last_index(log.log), "log", path);
    test_log_close(&log);
    test_file_flip(path, 20, 1);
    assert_int_equal(test_log_open(&log, test, GROUP_ID), SPATE_ERR_CORRUPT);
}

static void test_log_recovery_without_index_files_reads_the_same(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    char path[1024];
    struct sp_log_read read;

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    fill(&log, 30);
    uint64_t first = base_of(&log, 0);
    uint64_t second = base_of(&log, 1);
    test_log_close(&log);
    assert_int_equal(test_log_open(&log, test, GROUP_ID), 0);
    test_log_path(&log, first, "index", path);
    assert_true(sp_path_exists(path));
    assert_int_equal(sp_path_remove(path), 0);
    test_log_path(&log, second, "index", path);
    test_file_write(path, (const uint8_t *)"damaged", 7);
    test_log_read(&log, SP_LOG_READ_OFFSET, (int64_t)second, &read);
    assert_int_equal(read.status, 0);
    assert_true(read.count > 0);
    sp_log_read_release(&read);
    test_log_close(&log);
    assert_int_equal(test_log_open(&log, test, GROUP_ID), 0);
    assert_int_equal(sp_log_last_index(log.log), 30);
    test_log_close(&log);
}

/* Damage in the middle of an older segment is found when it is read. */
static void test_log_recovery_bit_rot_is_never_returned(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    char path[1024];
    struct sp_log_read read;

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    fill(&log, 30);
    test_log_close(&log);
    assert_int_equal(test_log_open(&log, test, GROUP_ID), 0);
    test_log_path(&log, 1, "log", path);
    test_file_flip(path, SP_SEGMENT_HEADER_SIZE + 500, 4);
    test_log_read(&log, SP_LOG_READ_INDEX, 1, &read);
    assert_int_equal(read.status, SPATE_ERR_CORRUPT);
    assert_int_equal(read.count, 0);
    test_log_close(&log);
}

static void test_log_recovery_survives_failing_allocations(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    int rv = SPATE_ERR_NOMEM;

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    test_log_frame(&log, SP_FRAME_CONFIGURATION, 1, "m");
    fill(&log, 12);
    test_log_close(&log);
    for (uint64_t n = 1; rv != 0; n++) {
        uint64_t live = sp_mem_live_count();

        sp_mem_fail_at(n);
        rv = test_log_open(&log, test, GROUP_ID);
        sp_mem_fail_at(0);
        assert_true(rv == 0 || rv == SPATE_ERR_NOMEM);
        assert_true(rv == 0 || sp_mem_live_count() == live);
    }
    assert_int_equal(sp_log_last_index(log.log), 13);
    test_log_close(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_log_recovery_torn_tail_at_every_byte, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_recovery_damage_below_marker_is_refused, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_recovery_marker_in_a_record_proves_nothing, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_recovery_missing_segment_is_refused, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_recovery_cut_older_segment_is_refused, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_recovery_next_header_proves_the_segment_before, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_recovery_half_created_segment_is_removed, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_recovery_damaged_newest_header_is_refused, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_recovery_without_index_files_reads_the_same, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_recovery_bit_rot_is_never_returned, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_recovery_survives_failing_allocations, setup, test_store_teardown),
    };
    return cmocka_run_group_tests_name("storage/log_recovery", tests, NULL, NULL);
}
