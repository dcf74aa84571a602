#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/trace.h"
#include "io/file.h"
#include "spate/error.h"
#include "storage/log_state.h"
#include "storage/spares.h"
#include "storage/store_state.h"
#include "tests/lib/test_store.h"

#define GROUP_ID 1
#define SEGMENT 16384
#define RECORDS 60

/* ---- what a test begins with ----------------------------------------------------------------- */

static void append(struct test_log *log, int records)
{
    for (int i = 0; i < records; i++) {
        test_log_batch(log, 1, 1, 1000, 1000);
        if (i % 3 == 2) {
            test_log_flush(log); /* a marker among the frames */
        }
    }
    test_log_flush(log);
}

/* A log whose first segments have gone. */
static void begin(struct test_log *log, struct test_store *test)
{
    assert_int_equal(test_log_create(log, test, GROUP_ID), 0);
    append(log, RECORDS);
    for (int i = 0; i < 3; i++) {
        assert_int_not_equal(sp_log_checkpoint_wanted(log->log), 0);
        assert_int_equal(sp_log_checkpoint_write(log->log, (const uint8_t *)"state", 5), 0);
    }
    test_log_flush(log);
    test_log_close(log); /* finishes them */
    assert_int_equal(test_log_open(log, test, GROUP_ID), 0);
    uint64_t index = sp_log_trim_index(log->log, 1);
    assert_true(index > 0);
    sp_log_trim(log->log, index);
    while (log->log->trimming || log->log->trim_wanted) {
        bool never = false;
        (void)sp_loop_run_until(test->loop, &never, sp_loop_now_ms(test->loop) + 1);
    }
    assert_in_range(test->store->spares.count, 1, SP_SPARES_PER_TRIM); /* what that trim kept */
}

static int count_name(void *arg, const char *name)
{
    (void)name;
    *(unsigned *)arg += 1;
    return 0;
}

static unsigned count_spares(const struct test_store *test)
{
    char path[1024];
    unsigned count = 0;

    (void)snprintf(path, sizeof path, "%s/%s", test->path, SP_SPARES_DIRECTORY);
    assert_int_equal(sp_dir_list(path, count_name, &count), 0);
    return count;
}

static uint64_t newest_base(const struct test_log *log)
{
    return sp_log_newest_segment(log->log)->before.index + 1;
}

/* Also while the log is closed. */
static void path_of(const struct test_log *log, uint64_t base, const char *suffix, char *out_path)
{
    (void)sprintf(out_path,
                  "%s/replicas/%d.%d/%020llu.%s",
                  log->test->path,
                  GROUP_ID,
                  TEST_REPLICA_ID,
                  (unsigned long long)base,
                  suffix);
}

static size_t file_size(const struct test_log *log, uint64_t base)
{
    char path[1024];
    size_t size = 0;

    path_of(log, base, SP_SEGMENT_SUFFIX, path);
    free(test_file_read(path, &size));
    return size;
}

/* All records from the first that is kept are there, one after the other. */
static void check_records(struct test_log *log, int64_t end)
{
    int64_t offset = log->log->segments[0].before.end_offset;

    assert_int_equal(sp_log_end_offset(log->log), end);
    while (offset < end) {
        struct sp_log_read read = { .by = SP_LOG_READ_OFFSET };

        test_log_read(log, SP_LOG_READ_OFFSET, offset, &read);
        assert_int_equal(read.status, 0);
        assert_true(read.count > 0);
        for (unsigned i = 0; i < read.count; i++) {
            struct sp_batch_facts facts;

            sp_batch_facts_read(sp_log_frame_payload(read.frames[i].bytes), &facts);
            assert_int_equal(facts.base_offset, offset);
            offset += facts.record_count;
        }
        sp_log_read_release(&read);
    }
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_spares_become_segments_and_are_cut_at_the_end(void **state)
{
    struct test_store *test = *state;
    struct test_log log;

    begin(&log, test);
    unsigned spares = count_spares(test);
    assert_in_range(spares, 1, SP_SPARES_PER_TRIM);
    uint64_t before = newest_base(&log);
    sp_log_roll(log.log);
    append(&log, 1);
    uint64_t base = newest_base(&log);
    assert_int_not_equal(base, before);
    assert_int_equal(sp_store_recycled(test->store), 1);
    assert_int_equal(count_spares(test), spares - 1);
    assert_true(file_size(&log, base) > SEGMENT / 2); /* old content behind one small frame */
    check_records(&log, RECORDS + 1);
    sp_log_roll(log.log);
    append(&log, 1);
    assert_true(file_size(&log, base) < SEGMENT / 2); /* finished */
    base = newest_base(&log);
    test_log_close(&log);
    assert_true(file_size(&log, base) < SEGMENT / 2); /* closed */
    assert_int_equal(test_log_open(&log, test, GROUP_ID), 0);
    check_records(&log, RECORDS + 2);
    test_log_close(&log);
}

struct told {
    unsigned torn;
    unsigned recycled;
};

static void note_trace(void *arg,
                       enum sp_trace_level level,
                       const char *component,
                       const char *message,
                       const char *facts)
{
    struct told *told = arg;

    (void)component;
    (void)facts;
    told->torn += level <= SP_TRACE_LEVEL_WARN;
    told->recycled += strstr(message, "used before") != NULL;
}

/* The process dies with old content behind the newest segment: the next start cuts it, and says so
 * without alarm. */
static void test_spares_old_content_after_a_crash_is_not_damage(void **state)
{
    struct test_store *test = *state;
    struct told told = { 0 };
    struct test_log log;
    char path[1024];
    size_t size = 0;

    begin(&log, test);
    sp_log_roll(log.log);
    append(&log, 2);
    uint64_t base = newest_base(&log);
    assert_int_equal(sp_store_recycled(test->store), 1);
    path_of(&log, base, SP_SEGMENT_SUFFIX, path);
    uint8_t *crashed = test_file_read(path, &size);
    test_log_close(&log);
    test_file_write(path, crashed, size);
    free(crashed);
    sp_trace_set_sink(note_trace, &told, SP_TRACE_LEVEL_INFO);
    assert_int_equal(test_log_open(&log, test, GROUP_ID), 0);
    sp_trace_set_sink(NULL, NULL, SP_TRACE_LEVEL_ERROR);
    assert_int_equal(told.torn, 0);
    assert_int_equal(told.recycled, 1);
    assert_true(file_size(&log, base) < SEGMENT / 2);
    append(&log, 5);
    check_records(&log, RECORDS + 7);
    test_log_close(&log);
}

/* The replica is removed and made anew, and its segments get the files of the same places before:
 * what their markers name was synced in another life. */
static void test_spares_of_the_same_place_prove_nothing(void **state)
{
    struct test_store *test = *state;
    struct sp_spare first;
    struct test_log log;
    char path[1024];
    unsigned tried = 0;
    unsigned batches = 0;

    begin(&log, test);
    test_log_close(&log);
    uint64_t sequence = sp_store_delete_replica(test->store, GROUP_ID, TEST_REPLICA_ID) == 0
                            ? sp_store_set_identity(test->store, sp_store_identity(test->store))
                            : 0;
    test_store_wait_meta(test, sequence);
    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    assert_true(sp_spares_take(&test->store->spares, SEGMENT, &first)); /* of the first segment */
    while (test->store->spares.count > 0) {
        uint64_t used = sp_store_recycled(test->store);
        size_t size = 0;

        assert_true(batches < SP_SPARES_PER_TRIM * 2 * SEGMENT / 1000); /* each takes a spare */
        batches += 1;
        test_log_batch(&log, 1, 1, 1000, 1000);
        if (sp_log_last_index(log.log) % 3 == 0) {
            test_log_flush(&log);
        }
        if (sp_store_recycled(test->store) == used) {
            continue;
        }
        test_log_flush(&log);
        int64_t end = sp_log_end_offset(log.log);
        path_of(&log, newest_base(&log), SP_SEGMENT_SUFFIX, path);
        uint8_t *crashed = test_file_read(path, &size);
        test_log_close(&log);
        test_file_write(path, crashed, size);
        free(crashed);
        assert_int_equal(test_log_open(&log, test, GROUP_ID), 0);
        assert_int_equal(sp_log_end_offset(log.log), end);
        tried += 1;
    }
    assert_true(tried >= 2);
    test_log_close(&log);
}

/* A crash between the cut of a finished segment and the next one's first frame may leave the cut
 * undone, with or without what else stands beside the segment. */
static void test_spares_a_finished_segment_ends_where_the_next_begins(void **state)
{
    static const char *const lost[] = { NULL, SP_OFFSET_INDEX_SUFFIX, SP_CHECKPOINT_SUFFIX };
    struct test_store *test = *state;
    char path[1024];
    struct test_log log;
    uint8_t noise[4096];

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    append(&log, RECORDS);
    uint64_t base = log.log->segments[1].before.index + 1;
    memset(noise, 0x5a, sizeof noise);
    for (unsigned i = 0; i < sizeof lost / sizeof lost[0]; i++) {
        size_t size = 0;

        test_log_close(&log);
        path_of(&log, base, SP_SEGMENT_SUFFIX, path);
        uint8_t *bytes = test_file_read(path, &size);
        bytes = realloc(bytes, size + sizeof noise);
        memcpy(bytes + size, noise, sizeof noise);
        test_file_write(path, bytes, size + sizeof noise);
        if (lost[i] != NULL) {
            path_of(&log, base, lost[i], path);
            (void)sp_path_remove(path);
        }
        assert_int_equal(test_log_open(&log, test, GROUP_ID), 0);
        assert_int_equal(file_size(&log, base), size);
        check_records(&log, RECORDS);
        /* what is missing in the middle is still damage */
        test_log_close(&log);
        path_of(&log, base, SP_SEGMENT_SUFFIX, path);
        bytes[size / 2] ^= 1;
        test_file_write(path, bytes, size + sizeof noise);
        path_of(&log, base, SP_OFFSET_INDEX_SUFFIX, path);
        (void)sp_path_remove(path);
        assert_int_equal(test_log_open(&log, test, GROUP_ID), SPATE_ERR_CORRUPT);
        (void)sprintf(
            path, "%s/replicas/%d.%d/%s", test->path, GROUP_ID, TEST_REPLICA_ID, SP_DAMAGED_NAME);
        assert_int_equal(sp_path_remove(path), 0);
        bytes[size / 2] ^= 1;
        path_of(&log, base, SP_SEGMENT_SUFFIX, path);
        test_file_write(path, bytes, size);
        free(bytes);
        assert_int_equal(test_log_open(&log, test, GROUP_ID), 0);
    }
    test_log_close(&log);
}

static void test_spares_are_bounded_and_live_for_one_run(void **state)
{
    struct test_store *test = *state;
    struct test_log log;

    begin(&log, test);
    assert_true(count_spares(test) > 0);
    test_log_close(&log);
    test_store_close(test);
    test->spare_bytes = SEGMENT / 2; /* less than a file */
    test_store_open(test);
    assert_int_equal(count_spares(test), 0);
    assert_int_equal(test_log_open(&log, test, GROUP_ID), 0);
    append(&log, RECORDS);
    while (sp_log_checkpoint_wanted(log.log) != 0) {
        assert_int_equal(sp_log_checkpoint_write(log.log, (const uint8_t *)"state", 5), 0);
    }
    test_log_flush(&log);
    test_log_close(&log);
    assert_int_equal(test_log_open(&log, test, GROUP_ID), 0);
    sp_log_trim(log.log, sp_log_trim_index(log.log, 1));
    test_log_close(&log);
    assert_int_equal(count_spares(test), 0);
}

/* Those of other sizes are left for other logs. */
static void test_spares_are_given_by_size(void **state)
{
    struct sp_spares_dropped dropped;
    struct sp_spares spares;
    struct sp_spare spare;
    struct sp_spare_room room;
    struct test_store *test = *state;

    assert_int_equal(sp_spares_open(&spares, test->path, 100000), 0);
    sp_spares_give_room(&spares, false, &room);
    assert_int_equal(room.bytes_max, 0);
    sp_spares_settle(&spares, &room);
    assert_int_equal(spares.count, 0); /* nothing was kept */
    assert_int_equal(spares.bytes, 0);
    sp_spares_give_room(&spares, true, &room);
    assert_int_equal(room.bytes_max, 100000);
    struct sp_spare_room second;
    sp_spares_give_room(&spares, true, &second); /* all is set aside already */
    assert_int_equal(second.bytes_max, 0);
    sp_spares_settle(&spares, &second);
    room.kept[0] = (struct sp_spare){ room.first_number, 60000 };
    room.kept[1] = (struct sp_spare){ room.first_number + 1, 20000 };
    room.count = 2;
    room.bytes = 80000;
    sp_spares_settle(&spares, &room);
    assert_int_equal(spares.count, 2);
    assert_int_equal(spares.bytes, 80000);
    assert_false(sp_spares_take(&spares, 9000, &spare));
    assert_true(sp_spares_take(&spares, 10000, &spare));
    assert_int_equal(spare.size, 20000);
    assert_int_equal(spares.bytes, 60000);
    sp_spares_drop(&spares, &dropped);
    assert_int_equal(dropped.count, 1);
    assert_int_equal(spares.bytes, 0);
    assert_false(sp_spares_take(&spares, 1000000, &spare));
    sp_spares_remove(&dropped); /* there never was such a file */
    sp_spares_deinit(&spares);
}

static int setup(void **state)
{
    struct test_store *test = malloc(sizeof *test);

    test_store_begin(test);
    test->segment_bytes = SEGMENT;
    test->spare_bytes = 1024 * 1024;
    test_store_open(test);
    *state = test;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_spares_are_given_by_size, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_spares_become_segments_and_are_cut_at_the_end, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_spares_old_content_after_a_crash_is_not_damage, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_spares_of_the_same_place_prove_nothing, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_spares_a_finished_segment_ends_where_the_next_begins, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_spares_are_bounded_and_live_for_one_run, setup, test_store_teardown),
    };
    return cmocka_run_group_tests_name("storage/spares", tests, NULL, NULL);
}
