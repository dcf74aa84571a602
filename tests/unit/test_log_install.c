/* A checkpoint that comes from elsewhere, and a log whose front is given up. */
#include "kept_log.h"

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
    test_log_reopen(&leader);
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
    test_log_reopen(&log);
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
    test_log_reopen(&log);
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
    test_log_reopen(&log); /* closing finishes them */
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
    test_log_reopen(&log);
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
    test_log_reopen(&log); /* closing finishes them */
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
        cmocka_unit_test_setup_teardown(
            test_log_install_replaces_the_log, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_install_is_finished_after_a_crash, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_trim_keeps_as_many_checkpoints, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_trim_is_finished_after_a_crash, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_trim_comes_before_newer_checkpoints, setup, test_store_teardown),
    };
    return cmocka_run_group_tests_name("storage/checkpoint", tests, NULL, NULL);
}
