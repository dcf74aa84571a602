#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/trace.h"
#include "storage/log_state.h"
#include "storage/log_verify.h"
#include "storage/prefill.h"
#include "tests/lib/test_store.h"

#define GROUP_ID 1
#define SEGMENT ((uint64_t)1024 * 1024)
#define ROOM ((uint64_t)128 * 1024)
#define PAGE ((uint64_t)4096)

static int set_up(void **state)
{
    static struct test_store test;

    test_store_begin(&test);
    test.segment_bytes = SEGMENT;
    test.prefill_bytes = ROOM;
    test_store_open(&test);
    *state = &test;
    return 0;
}

static void append(struct test_log *log, unsigned batches, size_t value_size)
{
    for (unsigned i = 0; i < batches; i++) {
        test_log_batch(log, 1, 1, value_size, 1000);
        test_log_flush(log);
    }
}

static void path_of(const struct test_log *log, const char *name, char path[1024])
{
    (void)snprintf(
        path, 1024, "%s/replicas/%d.%d/%s", log->test->path, GROUP_ID, TEST_REPLICA_ID, name);
}

static const char *const FIRST = "00000000000000000001.log";

static uint64_t file_size(const struct test_log *log)
{
    char path[1024];
    size_t size = 0;

    path_of(log, FIRST, path);
    free(test_file_read(path, &size));
    return size;
}

/* Where the frames end. */
static uint64_t log_size(const struct test_log *log)
{
    return sp_log_newest_segment(log->log)->size;
}

/* The log closes, and its file is as it was before: so a crash leaves it. */
static void crash(struct test_log *log)
{
    char path[1024];
    size_t size = 0;

    path_of(log, FIRST, path);
    uint8_t *bytes = test_file_read(path, &size);
    test_log_close(log);
    test_file_write(path, bytes, size);
    free(bytes);
}

struct told {
    unsigned warnings;
};

static void note_trace(void *arg,
                       enum sp_trace_level level,
                       const char *component,
                       const char *message,
                       const char *facts)
{
    (void)component;
    (void)message;
    (void)facts;
    ((struct told *)arg)->warnings += level <= SP_TRACE_LEVEL_WARN;
}

/* Opens the log and returns how many warnings that gave. */
static unsigned open_told(struct test_log *log, struct test_store *test)
{
    struct told told = { 0 };

    sp_trace_set_sink(note_trace, &told, SP_TRACE_LEVEL_INFO);
    int rv = test_log_open(log, test, GROUP_ID);
    sp_trace_set_sink(NULL, NULL, SP_TRACE_LEVEL_ERROR);
    assert_int_equal(rv, 0);
    return told.warnings;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_prefill_is_for_small_flushes_that_grow_a_file(void **state)
{
    (void)state;
    assert_int_equal(sp_prefill_end(5000, 0, 900, SEGMENT, ROOM), 12288); /* doubles it */
    assert_int_equal(sp_prefill_end(600000, 0, 900, SEGMENT, ROOM), 733184);
    assert_int_equal(sp_prefill_end(5000, 4999, 900, SEGMENT, ROOM), 12288);
    assert_int_equal(sp_prefill_end(5000, 5000, 900, SEGMENT, ROOM), 0); /* there is room */
    assert_int_equal(sp_prefill_end(600000, 0, SP_PREFILL_FLUSH_MAX, SEGMENT, ROOM), 733184);
    assert_int_equal(sp_prefill_end(600000, 0, SP_PREFILL_FLUSH_MAX + 1, SEGMENT, ROOM), 0);
    assert_int_equal(sp_prefill_end(SEGMENT - 9, 0, 900, SEGMENT, ROOM), SEGMENT);
    assert_int_equal(sp_prefill_end(SEGMENT, 0, 900, SEGMENT, ROOM), 0);
    assert_int_equal(sp_prefill_end(SEGMENT + 900, 0, 900, SEGMENT, ROOM), 0);
    assert_int_equal(sp_prefill_end(5000, 0, 900, SEGMENT, 0), 0); /* it is switched off */
}

/* However many small flushes there are, the file grows a few times, and never by more than it has
 * or the node is told. */
static void test_prefill_lets_a_file_grow_seldom(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    uint64_t before = 0;
    unsigned grown = 0;

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    for (int i = 0; i < 300; i++) {
        append(&log, 1, 1000);
        uint64_t size = file_size(&log);
        uint64_t most = log_size(&log) < ROOM ? log_size(&log) : ROOM;
        assert_in_range(size, log_size(&log), log_size(&log) + most + PAGE);
        grown += size != before;
        before = size;
    }
    assert_in_range(grown, 5, 9);
    append(&log, 1, 100000); /* too large a flush */
    append(&log, 1, 100000);
    assert_int_equal(file_size(&log), log_size(&log));
    test_log_close(&log);
}

/* A log that stops in good order leaves its frames alone. */
static void test_prefill_is_cut_when_the_log_closes(void **state)
{
    struct test_store *test = *state;
    struct test_log log;

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    append(&log, 20, 1000);
    uint64_t size = log_size(&log);
    assert_true(file_size(&log) > size);
    test_log_close(&log);
    assert_int_equal(file_size(&log), size);
    assert_int_equal(open_told(&log, test), 0);
    assert_int_equal(sp_log_last_index(log.log), 20);
    append(&log, 1, 1000);
    assert_true(file_size(&log) > log_size(&log)); /* and there is room again */
    test_log_close(&log);
}

/* After a crash nothing has to be cut or synced: the log goes on in the room that it has. */
static void test_prefill_stays_after_a_crash(void **state)
{
    struct test_store *test = *state;
    struct test_log log;

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    append(&log, 20, 1000);
    uint64_t file = file_size(&log);
    uint64_t size = log_size(&log);
    assert_true(file > size + 1200);
    crash(&log);
    assert_int_equal(open_told(&log, test), 0);
    assert_int_equal(log_size(&log), size);
    append(&log, 1, 1000);
    assert_int_equal(file_size(&log), file);
    append(&log, 100, 1000);
    test_log_reopen(&log);
    assert_int_equal(sp_log_last_index(log.log), 121);
    test_log_close(&log);
}

/* One byte that is no zero may be of a write that was not finished: that is cut, as ever. Kept, it
 * might be taken for what follows the frames to come. */
static void test_prefill_with_anything_in_it_is_a_torn_tail(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    char path[1024];

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    append(&log, 20, 1000);
    uint64_t size = log_size(&log);
    uint64_t room = file_size(&log) - size;
    crash(&log);
    path_of(&log, FIRST, path);
    for (uint64_t at = 0; at < room; at += at + 1 == room ? 1 : room - 1) {
        size_t bytes = 0;
        uint8_t *crashed = test_file_read(path, &bytes);

        test_file_flip(path, (int64_t)(size + at), 1);
        assert_int_equal(open_told(&log, test), 1);
        assert_int_equal(file_size(&log), size);
        assert_int_equal(sp_log_last_index(log.log), 20);
        test_log_close(&log);
        test_file_write(path, crashed, bytes);
        free(crashed);
    }
}

/* An index beside the newest segment is of the time when that was finished: its size is right. */
static void test_prefill_beside_an_index_is_cut(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    char path[1024];

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    append(&log, 20, 1000);
    uint64_t size = log_size(&log);
    crash(&log);
    path_of(&log, "00000000000000000001.index", path);
    test_file_write(path, (const uint8_t *)"old", 3);
    assert_int_equal(open_told(&log, test), 1);
    assert_int_equal(file_size(&log), size);
    assert_false(sp_path_exists(path));
    test_log_close(&log);
}

/* Frames are dropped, and with them the room; what comes then is written where they were. */
static void test_prefill_goes_with_a_truncation(void **state)
{
    struct test_store *test = *state;
    struct test_log log;

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    append(&log, 30, 1000);
    assert_int_equal(sp_log_truncate(log.log, 11), 0);
    assert_int_equal(sp_log_newest_segment(log.log)->room_end, 0);
    append(&log, 1, 1000);
    assert_in_range(file_size(&log), log_size(&log) + 1, log_size(&log) * 2 + PAGE);
    crash(&log);
    assert_int_equal(open_told(&log, test), 0);
    assert_int_equal(sp_log_last_index(log.log), 11);
    test_log_close(&log);
}

static void note_finding(void *arg, const struct sp_verify_finding *finding)
{
    (void)finding;
    *(unsigned *)arg += 1;
}

/* A finished segment has no room, and of the newest one `log verify` says nothing. */
static void test_prefill_is_nothing_to_report(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    char path[1024];
    unsigned found = 0;
    const struct sp_verify_options options = { .found = note_finding, .arg = &found };
    struct sp_verify_report report;

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    append(&log, 20, 1000);
    uint64_t size = log_size(&log);
    sp_log_roll(log.log);
    append(&log, 20, 1000);
    assert_int_equal(file_size(&log), size);
    path_of(&log, "", path);
    path[strlen(path) - 1] = '\0';
    assert_int_equal(sp_log_verify(path, &options, &report), 0);
    assert_int_equal(report.last_index, 40);
    assert_int_equal(found, 0);
    assert_int_equal(report.torn, 0);
    test_log_close(&log);
}

static int tear_down(void **state)
{
    test_store_end(*state);
    return 0;
}

#define PREFILL_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prefill_is_for_small_flushes_that_grow_a_file),
        PREFILL_TEST(test_prefill_lets_a_file_grow_seldom),
        PREFILL_TEST(test_prefill_is_cut_when_the_log_closes),
        PREFILL_TEST(test_prefill_stays_after_a_crash),
        PREFILL_TEST(test_prefill_with_anything_in_it_is_a_torn_tail),
        PREFILL_TEST(test_prefill_beside_an_index_is_cut),
        PREFILL_TEST(test_prefill_goes_with_a_truncation),
        PREFILL_TEST(test_prefill_is_nothing_to_report),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
