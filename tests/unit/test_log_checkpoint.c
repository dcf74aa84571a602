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
#include "storage/checkpoint.h"
#include "storage/log.h"
#include "tests/lib/test_store.h"

#define GROUP_ID 1

/* Group 9 after index 5 of term 3: one epoch, one membership "abc", state "xy". The checksum was
 * computed by another implementation. */
static const uint8_t golden[] = {
    'S',  'P', 'A', 'T', 'E', 'C', 'K', 'P', 1,    0,    0,    0,    0,    0,    0, 0, /* version */
    9,    0,   0,   0,   0,   0,   0,   0,   5,    0,    0,    0,    0,    0,    0, 0, /* index */
    3,    0,   0,   0,   0,   0,   0,   0,   40,   0,    0,    0,    0,    0,    0, 0, /* offset */
    0xe8, 3,   0,   0,   0,   0,   0,   0,   0x44, 0x33, 0x22, 0x11, 1,    0,    0, 0, /* chain */
    1,    0,   0,   0,   0,   0,   0,   0,   2,    0,    0,    0,    0,    0,    0, 0, /* state */
    1,    0,   0,   0,   0,   0,   0,   0,   3,    0,    0,    0,    0,    0,    0, 0, /* epoch */
    1,    0,   0,   0,   0,   0,   0,   0,   3,    0,    0,    0,    0,    0,    0, 0, /* member */
    'a',  'b', 'c', 0,   0,   0,   0,   0,   'x',  'y',  0x2e, 0x47, 0x36, 0xfa,
};

static struct sp_blob *make_golden(void)
{
    const struct sp_log_point point = {
        .index = 5,
        .term = 3,
        .end_offset = 40,
        .append_time_ms = 1000,
        .chain = 0x11223344,
    };
    const struct sp_epoch epoch = { 1, 3 };
    const struct sp_membership membership = { 1, 3, (const uint8_t *)"abc" };

    return sp_checkpoint_encode(9, &point, &epoch, 1, &membership, 1, (const uint8_t *)"xy", 2);
}

static void test_checkpoint_golden_bytes(void **state)
{
    struct sp_blob *image = make_golden();

    (void)state;
    assert_int_equal(image->size, sizeof golden);
    assert_memory_equal(image->bytes, golden, sizeof golden);
    sp_blob_unref(image);
}

static void test_checkpoint_round_trip(void **state)
{
    struct sp_blob *image = make_golden();
    struct sp_checkpoint checkpoint;

    (void)state;
    assert_int_equal(sp_checkpoint_decode(image->bytes, image->size, &checkpoint), 0);
    assert_int_equal(checkpoint.point.index, 5);
    assert_int_equal(checkpoint.point.chain, 0x11223344);
    assert_int_equal(sp_checkpoint_epoch(&checkpoint, 0).term, 3);
    const uint8_t *cursor = checkpoint.memberships;
    struct sp_membership membership = sp_checkpoint_membership(&cursor);
    assert_int_equal(membership.size, 3);
    assert_memory_equal(membership.bytes, "abc", 3);
    assert_int_equal(checkpoint.state_size, 2);
    assert_memory_equal(checkpoint.state, "xy", 2);
    sp_blob_unref(image);
}

static void test_checkpoint_each_flipped_bit_and_cut_is_refused(void **state)
{
    struct sp_blob *image = make_golden();
    struct sp_checkpoint checkpoint;

    (void)state;
    for (size_t bit = 0; bit < 8 * image->size; bit++) {
        image->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(sp_checkpoint_decode(image->bytes, image->size, &checkpoint),
                         SPATE_ERR_CORRUPT);
        image->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t cut = 0; cut < image->size; cut++) {
        assert_int_equal(sp_checkpoint_decode(image->bytes, cut, &checkpoint), SPATE_ERR_CORRUPT);
    }
    sp_blob_unref(image);
}

/* ---- in a log -------------------------------------------------------------------------------- */

static int setup(void **state)
{
    struct test_store *test = malloc(sizeof *test);

    test_store_begin(test);
    test->segment_bytes = 8 * 1024;
    test_store_open(test);
    *state = test;
    return 0;
}

static int teardown(void **state)
{
    test_store_end(*state);
    free(*state);
    return 0;
}

static void append(struct test_log *log, int count)
{
    for (int i = 0; i < count; i++) {
        test_log_batch(log, 1, 1, 1000, 100 + i);
    }
}

/* Writes every checkpoint that is wanted, with the index as the machine's state. */
static unsigned write_checkpoints(struct test_log *log)
{
    unsigned count = 0;

    for (uint64_t index = sp_log_checkpoint_wanted(log->log); index != 0;
         index = sp_log_checkpoint_wanted(log->log)) {
        char machine[32];
        int size = snprintf(machine, sizeof machine, "state at %llu", (unsigned long long)index);

        assert_int_equal(sp_log_checkpoint_write(log->log, (const uint8_t *)machine, (size_t)size),
                         0);
        count += 1;
    }
    return count;
}

static void check_state(struct test_log *log)
{
    char expected[32];
    const uint8_t *bytes = NULL;
    size_t size = 0;

    (void)snprintf(expected,
                   sizeof expected,
                   "state at %llu",
                   (unsigned long long)sp_log_checkpoint_index(log->log));
    sp_log_checkpoint_state(log->log, &bytes, &size);
    assert_int_equal(size, strlen(expected));
    assert_memory_equal(bytes, expected, size);
}

static void reopen(struct test_store *test, struct test_log *log)
{
    test_log_close(log);
    int rv = test_log_open(log, test, GROUP_ID);
    if (rv != 0) {
        print_error("%s\n", log->text);
    }
    assert_int_equal(rv, 0);
}

static void test_log_checkpoint_each_segment_gets_one(void **state)
{
    struct test_store *test = *state;
    struct test_log log;

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    test_log_frame(&log, SP_FRAME_CONFIGURATION, 1, "voters");
    append(&log, 40);
    assert_int_equal(write_checkpoints(&log), sp_log_segment_count(log.log) - 1);
    assert_int_equal(sp_log_checkpoint_wanted(log.log), 0);
    uint64_t last = sp_log_last_index(log.log);
    uint32_t chain = sp_log_chain(log.log);
    reopen(test, &log); /* closing finishes them */
    assert_true(sp_log_checkpoint_index(log.log) > 30);
    check_state(&log);
    assert_int_equal(sp_log_last_index(log.log), last);
    assert_int_equal(sp_log_chain(log.log), chain);
    assert_int_equal(sp_log_configuration_count(log.log), 1);
    assert_int_equal(sp_log_first_index(log.log), 1);
    assert_int_equal(sp_log_checkpoint_wanted(log.log), 0);
    test_log_close(&log);
}

static void test_log_checkpoint_is_not_written_before_the_log(void **state)
{
    struct test_store *test = *state;
    struct test_log log;

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    append(&log, 4);
    sp_log_roll(log.log);
    append(&log, 1);
    assert_int_equal(sp_log_checkpoint_wanted(log.log), 4);
    assert_int_equal(write_checkpoints(&log), 1);
    assert_int_equal(sp_log_checkpoint_index(log.log), 0);
    /* Cut below its base: it is not wanted any more, and never written. */
    assert_int_equal(sp_log_truncate(log.log, 3), 0);
    append(&log, 1);
    assert_int_equal(sp_log_checkpoint_wanted(log.log), 0);
    test_log_flush(&log);
    char path[1024];
    test_log_path(&log, 5, "checkpoint", path);
    reopen(test, &log);
    assert_false(sp_path_exists(path));
    assert_int_equal(sp_log_checkpoint_index(log.log), 0);
    assert_int_equal(sp_log_last_index(log.log), 3);
    test_log_close(&log);
}

static void harm(const char *path)
{
    size_t size = 0;
    uint8_t *bytes = test_file_read(path, &size);

    bytes[size / 2] ^= 1;
    test_file_write(path, bytes, size);
    free(bytes);
}

static void test_log_checkpoint_damaged_falls_back_to_older(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    char path[1024];

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    append(&log, 40);
    unsigned count = write_checkpoints(&log);
    uint64_t last = sp_log_last_index(log.log);
    reopen(test, &log);
    uint64_t newest = UINT64_MAX;
    for (unsigned left = count; left > 0; left--) {
        assert_true(sp_log_checkpoint_index(log.log) < newest);
        newest = sp_log_checkpoint_index(log.log);
        check_state(&log);
        assert_int_equal(sp_log_last_index(log.log), last);
        test_log_path(&log, newest + 1, "checkpoint", path);
        test_log_close(&log);
        harm(path);
        assert_int_equal(test_log_open(&log, test, GROUP_ID), 0);
        assert_int_equal(sp_log_checkpoint_wanted(log.log) != 0, true);
    }
    assert_int_equal(sp_log_checkpoint_index(log.log), 0);
    assert_int_equal(sp_log_last_index(log.log), last);
    assert_int_equal(write_checkpoints(&log), count); /* the damaged ones are written again */
    reopen(test, &log);
    check_state(&log);
    test_log_close(&log);
}

/* A checkpoint proves that the log below it was synced: the segment before it lost its end. */
static void test_log_checkpoint_proves_the_log_below(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    char checkpoint[1024];
    char lost[1024];
    char cut[1024];
    size_t size = 0;

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    append(&log, 4);
    sp_log_roll(log.log);
    append(&log, 1);
    assert_int_equal(write_checkpoints(&log), 1);
    test_log_path(&log, 1, "log", cut);
    test_log_path(&log, 5, "log", lost);
    test_log_path(&log, 5, "checkpoint", checkpoint);
    test_log_close(&log);
    assert_true(sp_path_exists(checkpoint));
    assert_int_equal(sp_path_remove(lost), 0);
    uint8_t *bytes = test_file_read(cut, &size);
    test_file_write(cut, bytes, size - 8);
    assert_int_equal(test_log_open(&log, test, GROUP_ID), SPATE_ERR_CORRUPT);
    (void)snprintf(
        cut, sizeof cut, "%s/replicas/%d.%d/damaged", test->path, GROUP_ID, TEST_REPLICA_ID);
    assert_int_equal(sp_path_remove(cut), 0); /* it shall be looked at again */
    assert_int_equal(sp_path_remove(checkpoint), 0);
    assert_int_equal(test_log_open(&log, test, GROUP_ID), 0); /* nothing proves it any more */
    assert_int_equal(sp_log_last_index(log.log), 3);
    test_log_close(&log);
    free(bytes);
}

struct image_read {
    struct sp_log_image image;
    int status;
    bool done;
};

static void on_image(struct sp_log_image *image, int status)
{
    struct image_read *read = SP_CONTAINER_OF(image, struct image_read, image);

    read->status = status;
    read->done = true;
}

static int read_image(struct test_log *log, struct image_read *read)
{
    *read = (struct image_read){ .image.cb = on_image };
    int rv = sp_log_image_start(log->log, &read->image);
    if (rv != 0) {
        return rv;
    }
    assert_false(read->done);
    test_store_run(log->test, &read->done);
    return read->status;
}

/* Trims the log to its oldest checkpoint, and returns that. */
static struct sp_blob *image_of_other_log(uint64_t *out_index, struct test_log *leader)
{
    struct image_read read;
    unsigned kept = sp_log_segment_count(leader->log);

    while (kept > 0 && sp_log_trim_index(leader->log, kept) == 0) {
        kept -= 1;
    }
    *out_index = sp_log_trim_index(leader->log, kept);
    sp_log_trim(leader->log, *out_index);
    assert_int_equal(read_image(leader, &read), 0);
    assert_int_equal(read.image.index, *out_index);
    return read.image.blob;
}

static void test_log_install_replaces_the_log(void **state)
{
    struct test_store *test = *state;
    struct test_store other;
    struct test_log leader;
    struct test_log follower;
    struct sp_log_read read;
    uint64_t index = 0;

    assert_int_equal(test_log_create(&leader, test, GROUP_ID), 0);
    test_log_frame(&leader, SP_FRAME_CONFIGURATION, 1, "voters");
    append(&leader, 40);
    write_checkpoints(&leader);
    reopen(test, &leader);
    struct sp_blob *image = image_of_other_log(&index, &leader);
    test_store_begin(&other);
    other.segment_bytes = 8 * 1024;
    test_store_open(&other);
    assert_int_equal(test_log_create(&follower, &other, GROUP_ID), 0);
    append(&follower, 20); /* of another history, longer than the checkpoint */
    assert_true(index < 20);
    assert_int_equal(sp_log_install(follower.log, image->bytes, image->size - 1),
                     SPATE_ERR_CORRUPT);
    assert_int_equal(sp_log_last_index(follower.log), 20);
    assert_int_equal(sp_log_install(follower.log, image->bytes, image->size), 0);
    assert_int_equal(sp_log_first_index(follower.log), index + 1);
    assert_int_equal(sp_log_last_index(follower.log), index);
    assert_int_equal(sp_log_term_at(follower.log, index), 1);
    assert_int_equal(sp_log_persisted_index(follower.log), 0);
    /* Frames may follow before it is durable. */
    test_log_read(&leader, SP_LOG_READ_INDEX, (int64_t)index + 1, &read);
    assert_int_equal(sp_log_append(follower.log, read.frames, 3), 0);
    test_log_flush(&follower);
    assert_true(follower.reports >= 2);
    assert_int_equal(sp_log_append(follower.log, read.frames + 3, 1), 0);
    sp_log_read_release(&read);
    test_log_close(&follower);
    test_store_close(&other);
    test_store_open(&other);
    assert_int_equal(test_log_open(&follower, &other, GROUP_ID), 0);
    assert_int_equal(sp_log_first_index(follower.log), index + 1);
    assert_int_equal(sp_log_last_index(follower.log), index + 4);
    assert_int_equal(sp_log_checkpoint_index(follower.log), index);
    assert_int_equal(sp_log_configuration_count(follower.log), 1);
    check_state(&follower);
    sp_blob_unref(image);
    test_log_close(&follower);
    test_store_end(&other);
    test_log_close(&leader);
}

/* The crash between the rename that decides and the end: any of the old files may still be
 * there. */
static void test_log_install_is_finished_after_a_crash(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    char install[1024];
    uint64_t index = 0;

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    append(&log, 40);
    write_checkpoints(&log);
    reopen(test, &log);
    struct sp_blob *image = image_of_other_log(&index, &log);
    test_log_path(&log, 1, "log", install);
    strcpy(strrchr(install, '/'), "/install.checkpoint");
    test_log_close(&log);
    test_file_write(install, image->bytes, image->size);
    assert_int_equal(test_log_open(&log, test, GROUP_ID), 0);
    assert_int_equal(sp_log_first_index(log.log), index + 1);
    assert_int_equal(sp_log_last_index(log.log), index);
    assert_int_equal(sp_log_segment_count(log.log), 1);
    assert_false(sp_path_exists(install));
    check_state(&log);
    append(&log, 1);
    reopen(test, &log);
    assert_int_equal(sp_log_last_index(log.log), index + 1);
    test_log_close(&log);
    sp_blob_unref(image);
}

static bool has_file(const struct test_log *log, uint64_t base, const char *suffix)
{
    char path[1024];

    test_log_path(log, base, suffix, path);
    return sp_path_exists(path);
}

static void run_until_gone(struct test_log *log, uint64_t base, const char *suffix)
{
    const bool never = false;

    for (unsigned i = 0; i < 1000 && has_file(log, base, suffix); i++) {
        (void)sp_loop_run_until(log->test->loop, &never, sp_loop_now_ms(log->test->loop) + 10);
    }
    assert_false(has_file(log, base, suffix));
}

/* Old segments go, the newest checkpoints stay, and so does what a restart needs. */
static void test_log_trim_keeps_as_many_checkpoints(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    struct sp_log_read read;
    struct image_read image;

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    test_log_frame(&log, SP_FRAME_CONFIGURATION, 1, "voters");
    append(&log, 60);
    write_checkpoints(&log);
    reopen(test, &log); /* closing finishes them */
    unsigned segments = sp_log_segment_count(log.log);
    uint64_t last = sp_log_last_index(log.log);
    assert_true(segments > 4);
    assert_int_equal(read_image(&log, &image), SPATE_ERR_NOT_FOUND); /* it begins with frame 1 */
    assert_int_equal(sp_log_trim_index(log.log, segments), 0);
    uint64_t index = sp_log_trim_index(log.log, 2);
    assert_true(index > 0);
    assert_int_equal(sp_log_trim_index(log.log, 1), sp_log_checkpoint_index(log.log));
    sp_log_trim(log.log, index);
    assert_int_equal(sp_log_first_index(log.log), index + 1);
    assert_int_equal(sp_log_segment_count(log.log), 2);
    assert_int_equal(sp_log_term_at(log.log, index), 1);
    assert_int_equal(sp_log_term_at(log.log, index - 1), 0);
    assert_int_equal(sp_log_configuration_count(log.log), 1);
    test_log_read(&log, SP_LOG_READ_INDEX, (int64_t)index, &read);
    assert_int_equal(read.status, SPATE_ERR_NOT_FOUND);
    test_log_read(&log, SP_LOG_READ_INDEX, (int64_t)index + 1, &read);
    assert_int_equal(read.status, 0);
    sp_log_read_release(&read);
    run_until_gone(&log, 1, "log");
    run_until_gone(&log, 1, "index");
    assert_true(has_file(&log, index + 1, "checkpoint"));
    assert_int_equal(read_image(&log, &image), 0);
    assert_int_equal(image.image.index, index);
    assert_int_equal(image.image.term, 1);
    sp_blob_unref(image.image.blob);
    reopen(test, &log);
    assert_int_equal(sp_log_first_index(log.log), index + 1);
    assert_int_equal(sp_log_last_index(log.log), last);
    assert_int_equal(sp_log_configuration_count(log.log), 1);
    check_state(&log);
    append(&log, 1);
    test_log_close(&log);
}

/* A crash has come between the removal of a segment and that of its checkpoint. */
static void test_log_trim_is_finished_after_a_crash(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    char path[1024];
    char second[1024];

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    append(&log, 60);
    write_checkpoints(&log);
    reopen(test, &log); /* closing finishes them */
    uint64_t index = sp_log_trim_index(log.log, sp_log_segment_count(log.log) - 1);
    uint64_t next = sp_log_trim_index(log.log, sp_log_segment_count(log.log) - 2);
    assert_true(index > 0 && next > index);
    test_log_path(&log, 1, "log", path);
    test_log_path(&log, index + 1, "log", second);
    test_log_close(&log);
    assert_int_equal(sp_path_remove(path), 0);
    assert_int_equal(sp_path_remove(second), 0);
    assert_int_equal(test_log_open(&log, test, GROUP_ID), 0);
    assert_int_equal(sp_log_first_index(log.log), next + 1);
    assert_false(has_file(&log, index + 1, "checkpoint"));
    test_log_close(&log);
}

/* Two checkpoints wait for the disk when the first one is done and the log is trimmed to it. What
 * is written then holds nothing of the terms below the new start, so it must not come to the disk
 * before the old segments have left it: a crash in between would leave frames of unknown terms. */
struct starved {
    struct test_log log;
    char copy[600];
    bool done;
};

static void on_starved_persisted(void *arg, uint64_t index)
{
    ((struct starved *)arg)->log.persisted = index;
}

static void on_starved_checkpointed(void *arg, uint64_t index)
{
    struct starved *starved = arg;

    if (index == 8) { /* power fails here */
        char command[1400];
        (void)snprintf(
            command, sizeof command, "cp -r %s/. %s/", starved->log.test->path, starved->copy);
        assert_int_equal(system(command), 0);
        starved->done = true;
    }
    sp_log_trim(starved->log.log, sp_log_trim_index(starved->log.log, 1));
    if (index <= 4 && sp_log_checkpoint_wanted(starved->log.log) != 0) {
        assert_int_equal(sp_log_checkpoint_write(starved->log.log, (const uint8_t *)"x", 1), 0);
    }
}

static void test_log_trim_comes_before_newer_checkpoints(void **state)
{
    const struct sp_log_handler handler = { on_starved_persisted, on_starved_checkpointed };
    struct starved starved = { .done = false };
    struct test_store *test = *state;
    struct test_store after;
    struct test_log copy;

    assert_int_equal(test_log_create(&starved.log, test, GROUP_ID), 0);
    sp_log_set_handler(starved.log.log, &handler, &starved);
    test_log_frame(&starved.log, SP_FRAME_CONFIGURATION, 1, "voters");
    for (uint64_t term = 1; term <= 4; term++) {
        test_log_batch(&starved.log, term, 1, 100, 100); /* 2, 4, 6, 8 */
        sp_log_roll(starved.log.log);
        test_log_batch(&starved.log, term, 1, 100, 100); /* 3, 5, 7, 9 */
    }
    test_log_flush(&starved.log);
    test_store_begin(&after);
    (void)snprintf(starved.copy, sizeof starved.copy, "%s", after.path);
    for (uint64_t wanted = 2; wanted <= 4; wanted += 2) {
        assert_int_equal(sp_log_checkpoint_wanted(starved.log.log), wanted);
        assert_int_equal(sp_log_checkpoint_write(starved.log.log, (const uint8_t *)"x", 1), 0);
    }
    test_store_run(test, &starved.done);
    after.segment_bytes = 8 * 1024;
    test_store_open(&after);
    assert_int_equal(test_log_open(&copy, &after, GROUP_ID), 0);
    for (uint64_t i = sp_log_first_index(copy.log); i <= sp_log_last_index(copy.log); i++) {
        assert_int_not_equal(sp_log_term_at(copy.log, i), 0);
    }
    test_log_close(&copy);
    test_store_end(&after);
    test_log_close(&starved.log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checkpoint_golden_bytes),
        cmocka_unit_test(test_checkpoint_round_trip),
        cmocka_unit_test(test_checkpoint_each_flipped_bit_and_cut_is_refused),
        cmocka_unit_test_setup_teardown(test_log_checkpoint_each_segment_gets_one, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_log_checkpoint_is_not_written_before_the_log, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_log_checkpoint_damaged_falls_back_to_older, setup, teardown),
        cmocka_unit_test_setup_teardown(test_log_checkpoint_proves_the_log_below, setup, teardown),
        cmocka_unit_test_setup_teardown(test_log_install_replaces_the_log, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_log_install_is_finished_after_a_crash, setup, teardown),
        cmocka_unit_test_setup_teardown(test_log_trim_keeps_as_many_checkpoints, setup, teardown),
        cmocka_unit_test_setup_teardown(test_log_trim_is_finished_after_a_crash, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_log_trim_comes_before_newer_checkpoints, setup, teardown),
    };
    return cmocka_run_group_tests_name("storage/checkpoint", tests, NULL, NULL);
}
