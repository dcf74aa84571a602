#include "kept_log.h"

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
    test_log_reopen(&log); /* closing finishes them */
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
    test_log_reopen(&log);
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
    test_log_reopen(&log);
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
    test_log_reopen(&log);
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

/* It is written when its segment's file is durable: all below is whole, and yet the log is not. */
static void test_log_checkpoint_proves_its_segment(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    char lost[1024];

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    append(&log, 4);
    sp_log_roll(log.log);
    append(&log, 1);
    assert_int_equal(write_checkpoints(&log), 1);
    test_log_path(&log, 5, "log", lost);
    test_log_close(&log);
    assert_int_equal(sp_path_remove(lost), 0);
    assert_int_equal(test_log_open(&log, test, GROUP_ID), SPATE_ERR_CORRUPT);
    assert_non_null(strstr(log.text, "00000000000000000005.log is missing"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checkpoint_golden_bytes),
        cmocka_unit_test(test_checkpoint_round_trip),
        cmocka_unit_test(test_checkpoint_each_flipped_bit_and_cut_is_refused),
        cmocka_unit_test_setup_teardown(
            test_log_checkpoint_each_segment_gets_one, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_checkpoint_is_not_written_before_the_log, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_checkpoint_damaged_falls_back_to_older, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_checkpoint_proves_the_log_below, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_checkpoint_proves_its_segment, setup, test_store_teardown),
    };
    return cmocka_run_group_tests_name("storage/checkpoint", tests, NULL, NULL);
}
