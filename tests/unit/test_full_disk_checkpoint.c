/* A checkpoint can wait on a full disk: it leaves the ballast and its room to others, and is tried
 * again now and then. */
#include "full_disk_world.h"

/* Two segments, of a frame each, of which the second wants a checkpoint. */
static void begin_rolled(void)
{
    begin();
    append(1);
    sp_log_roll(test.log);
    append(1);
    check_durable(2);
}

/* One checkpoint waits for space. */
static void begin_waiting(void)
{
    begin_rolled();
    assert_int_equal(sp_path_remove(BALLAST_PATH), 0);
    crash_disk_set_free(test.disk, BALLAST / 4 + 32 * 1024);
    write_checkpoints(64 * 1024);
    settle();
    assert_int_equal(test.waits, 1);
}

static bool has_file(uint64_t base, const char *suffix)
{
    char path[SP_DISK_PATH_SIZE];

    sp_disk_base_path(path, PATH "/" SP_REPLICAS_DIRECTORY "/1.7", base, suffix);
    return sp_path_exists(path);
}

static void test_full_disk_lets_a_checkpoint_wait(void **state)
{
    (void)state;
    begin_rolled();
    assert_int_equal(sp_path_remove(BALLAST_PATH), 0);
    crash_disk_set_free(test.disk, 0);
    write_checkpoints(8 * 1024);
    for (int looks = 0; looks < 3; looks++) {
        look();
        crash_disk_set_free(test.disk, 100); /* too little, and taken by nobody */
    }
    assert_int_equal(test.failed, 0);
    assert_int_equal(test.waits, 1);
    assert_int_equal(sp_log_checkpoint_index(test.log), 0);
    assert_false(has_file(2, "checkpoint"));
    assert_false(has_file(2, "checkpoint.tmp"));
    crash_disk_set_free(test.disk, PLENTY);
    look();
    assert_int_equal(sp_log_checkpoint_index(test.log), 1);
    assert_true(has_file(2, "checkpoint"));
    append(1);
    check_durable(3);
    end();
}

/* What waits is not heaped up: the newest one serves. */
static void test_full_disk_drops_a_checkpoint_for_a_newer_one(void **state)
{
    (void)state;
    begin_waiting();
    sp_log_roll(test.log);
    append(1);
    write_checkpoints(16);
    check_durable(3);
    assert_int_equal(sp_log_checkpoint_index(test.log), 2);
    assert_true(sp_list_empty(&test.log->checkpoints));
    assert_int_equal(sp_log_checkpoint_wanted(test.log), 0);
    crash_disk_set_free(test.disk, PLENTY);
    look();
    assert_false(has_file(2, "checkpoint"));
    end();
}

/* One that waits goes with its segment, and with the log. */
static void test_full_disk_forgets_a_checkpoint_that_waits(void **state)
{
    (void)state;
    begin_waiting();
    assert_int_equal(sp_log_truncate(test.log, 1), 0);
    append(1);
    check_durable(1);
    assert_true(sp_list_empty(&test.log->checkpoints));
    sp_log_roll(test.log);
    append(1);
    write_checkpoints(64 * 1024);
    check_durable(2);
    assert_int_equal(test.waits, 2);
    end();
}

/* A look ends in the turn in which a closing log is about to be freed. */
static void test_full_disk_closes_a_log_whose_checkpoint_waits(void **state)
{
    bool closed = false;

    (void)state;
    begin_waiting();
    crash_disk_set_free(test.disk, PLENTY);
    pass_ms(SP_CHECKPOINT_PAUSE_MS);
    sp_store_look_at_space(test.store);
    crash_loop_turn(test.loop); /* the look's work is done */
    sp_log_close(test.log, set_flag, &closed);
    assert_true(crash_loop_until(test.loop, &closed));
    closed = false;
    sp_store_close(test.store, set_flag, &closed);
    assert_true(crash_loop_until(test.loop, &closed));
    free_all();
}

/* Votes and frames have the ballast's room, also after looks that give a checkpoint another try. */
static void test_full_disk_keeps_a_checkpoint_out_of_the_ballast(void **state)
{
    static const uint8_t machine[BALLAST - 300];

    (void)state;
    for (unsigned looks = 0; looks < 2; looks++) {
        begin_rolled();
        crash_disk_set_free(test.disk, 0);
        assert_int_equal(sp_log_checkpoint_write(test.log, machine, sizeof machine), 0);
        settle();
        assert_int_equal(test.spent, 0);
        assert_int_equal(test.waits, 1);
        for (unsigned i = 0; i < looks; i++) {
            pass_ms(SP_CHECKPOINT_PAUSE_MS);
            look(); /* gives it back */
            pass_ms(SP_CHECKPOINT_PAUSE_MS);
            look();
        }
        assert_int_equal(sp_log_checkpoint_index(test.log), 0);
        for (uint64_t term = 1; term < 20; term++) {
            (void)sp_store_set_vote(test.store, GROUP, REPLICA, term, 2);
            settle();
        }
        append(3);
        check_durable(5);
        end();
    }
}

/* A log that is truncated frees its room only once it has one. */
static void test_full_disk_lends_half_of_the_ballast_to_a_checkpoint(void **state)
{
    (void)state;
    begin_rolled();
    crash_disk_set_free(test.disk, 0);
    write_checkpoints(64 * 1024);
    settle();
    assert_int_equal(sp_log_checkpoint_index(test.log), 0);
    pass_ms(SP_CHECKPOINT_PAUSE_MS);
    look();
    assert_int_equal(test.spent, 0);
    assert_int_equal(sp_log_checkpoint_index(test.log), 1);
    crash_disk_set_free(test.disk, BALLAST / 2 + 1024); /* others have taken the other half */
    sp_log_roll(test.log);
    append(1);
    write_checkpoints(64 * 1024);
    check_durable(3);
    assert_int_equal(sp_log_checkpoint_index(test.log), 1);
    sp_log_roll(test.log);
    append(1);
    write_checkpoints(1024); /* a small one goes all the same */
    check_durable(4);
    assert_int_equal(sp_log_checkpoint_index(test.log), 3);
    end();
}

/* Each is next to nothing of what is left, and all together they leave votes a quarter of it. */
static void test_full_disk_small_checkpoints_leave_a_quarter_of_the_ballast(void **state)
{
    uint64_t free_bytes = BALLAST / 2 + 100;
    unsigned count = 0;

    (void)state;
    begin();
    test.store->ballast_held = false;
    test.store->free_bytes = free_bytes;
    while (sp_store_may_lend(test.store, 1000)) {
        free_bytes -= 1000;
        test.store->free_bytes = free_bytes;
        count += 1;
        assert_true(count < 1000);
    }
    assert_in_range(free_bytes, BALLAST / 4, BALLAST / 4 + 1000);
    assert_true(count > 100);
    test.store->ballast_held = true;
    end();
}

/* Room that is shown and not given: a quota, or no inodes. */
static void test_full_disk_tries_a_checkpoint_in_vain_once_a_second(void **state)
{
    (void)state;
    begin_rolled();
    uint64_t first = crash_disk_operations(test.disk);
    crash_disk_fail(test.disk, first, true, SPATE_ERR_NO_SPACE);
    write_checkpoints(8 * 1024);
    crash_loop_turn(test.loop);
    crash_loop_turn(test.loop);
    uint64_t once = crash_disk_operations(test.disk) - first;
    uint64_t begun_ms = sp_loop_now_ms(test.loop);
    assert_true(once > 0);
    while (sp_loop_now_ms(test.loop) < begun_ms + 10 * SP_CHECKPOINT_PAUSE_MS) {
        sp_store_look_at_space(test.store);
        crash_loop_turn(test.loop);
        assert_int_equal(sp_store_space(test.store), SP_SPACE_LAST); /* no records come in */
    }
    settle();
    uint64_t tries = (crash_disk_operations(test.disk) - first) / once;
    assert_in_range(tries, 5, 12);
    assert_int_equal(test.spent, 0);
    assert_true(sp_path_exists(BALLAST_PATH));
    crash_disk_fail(test.disk, UINT64_MAX, false, 0);
    pass_ms(SP_CHECKPOINT_PAUSE_MS);
    look();
    assert_int_equal(sp_log_checkpoint_index(test.log), 1);
    pass_ms(SP_FULL_PAUSE_MS);
    look();
    assert_int_equal(sp_store_space(test.store), SP_SPACE_ENOUGH);
    end();
}

/* Nor is the free space asked again and again. */
static void test_full_disk_that_is_found_full_makes_no_look_spin(void **state)
{
    (void)state;
    begin();
    for (unsigned i = 0; i < 50; i++) {
        assert_true(sp_store_notes_full(test.store, SPATE_ERR_NO_SPACE));
        crash_loop_turn(test.loop);
        assert_false(test.store->space_looking);
        assert_int_equal(sp_store_space(test.store), SP_SPACE_LAST);
    }
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_disk_lets_a_checkpoint_wait),
        cmocka_unit_test(test_full_disk_drops_a_checkpoint_for_a_newer_one),
        cmocka_unit_test(test_full_disk_forgets_a_checkpoint_that_waits),
        cmocka_unit_test(test_full_disk_closes_a_log_whose_checkpoint_waits),
        cmocka_unit_test(test_full_disk_keeps_a_checkpoint_out_of_the_ballast),
        cmocka_unit_test(test_full_disk_lends_half_of_the_ballast_to_a_checkpoint),
        cmocka_unit_test(test_full_disk_small_checkpoints_leave_a_quarter_of_the_ballast),
        cmocka_unit_test(test_full_disk_tries_a_checkpoint_in_vain_once_a_second),
        cmocka_unit_test(test_full_disk_that_is_found_full_makes_no_look_spin),
    };

    return cmocka_run_group_tests_name("storage/full_disk_checkpoint", tests, NULL, NULL);
}
