/* Others fill the disk at any moment: a write that finds no space takes the ballast's and goes on,
 * and only without a ballast the store stops. */
#include "full_disk_world.h"

static void install(void)
{
    const struct sp_log_point point = { .index = INSTALLED, .term = 1, .append_time_ms = 2000 };
    const struct sp_epoch epoch = { 1, 1 };
    const struct sp_membership membership = { 1, 3, (const uint8_t *)"abc" };
    struct sp_blob *image =
        sp_checkpoint_encode(GROUP, &point, &epoch, 1, &membership, 1, (const uint8_t *)"xy", 2);

    assert_int_equal(sp_log_install(test.log, image->bytes, image->size), 0);
    sp_blob_unref(image);
}

/* Every kind of write that a node cannot do without, one after the other. */
static void work(void)
{
    append(3);
    (void)sp_store_set_vote(test.store, GROUP, REPLICA, 1, 2);
    check_durable(3);
    sp_log_roll(test.log);
    append(2);
    write_checkpoints(8 * 1024);
    check_durable(5);
    if (sp_log_checkpoint_index(test.log) == 0) { /* it waits, and the ballast stays untouched */
        pass_ms(SP_CHECKPOINT_PAUSE_MS);
        look();
    }
    assert_int_equal(sp_log_checkpoint_index(test.log), 3);
    assert_int_equal(sp_log_truncate(test.log, 5), 0);
    append(1);
    check_durable(5);
    install();
    append(1);
    (void)sp_store_set_vote(test.store, GROUP, REPLICA, 2, 3);
    check_durable(INSTALLED + 1);
}

static void check_reopened(void)
{
    uint32_t chain = sp_log_chain(test.log);
    uint64_t term = 0;
    uint64_t vote = 0;

    close_all();
    crash_disk_set_free(test.disk, PLENTY);
    open_all(false);
    assert_int_equal(sp_log_last_index(test.log), INSTALLED + 1);
    assert_int_equal(sp_log_chain(test.log), chain);
    sp_store_vote(test.store, GROUP, REPLICA, &term, &vote);
    assert_int_equal(term, 2);
    assert_int_equal(vote, 3);
}

static uint64_t count_operations(void)
{
    begin();
    uint64_t first = crash_disk_operations(test.disk);
    work();
    uint64_t count = crash_disk_operations(test.disk) - first;
    assert_int_equal(test.spent, 0);
    end();
    return count;
}

static void test_full_disk_at_any_operation_is_survived(void **state)
{
    uint64_t count = count_operations();
    unsigned survived = 0;

    (void)state;
    for (uint64_t number = 0; number < count; number++) {
        begin();
        test.operations = crash_disk_operations(test.disk) + number;
        work();
        assert_int_equal(test.operations, UINT64_MAX);
        assert_int_equal(test.spent, !sp_path_exists(BALLAST_PATH));
        if (test.spent > 0) { /* else nothing has grown behind it */
            survived += 1;
            assert_int_equal(sp_store_space(test.store), SP_SPACE_LAST);
        }
        check_reopened();
        look();
        assert_int_equal(sp_store_space(test.store), SP_SPACE_ENOUGH);
        end();
    }
    assert_true(survived > 30);
}

/* There is a ballast again as soon as there is room. */
static void test_full_disk_ballast_is_made_again(void **state)
{
    (void)state;
    begin();
    crash_disk_set_free(test.disk, 0);
    append(1);
    check_durable(1);
    assert_int_equal(test.spent, 1);
    look();
    assert_false(sp_path_exists(BALLAST_PATH));
    crash_disk_set_free(test.disk, PLENTY);
    pass_ms(SP_FULL_PAUSE_MS);
    look();
    assert_true(sp_path_exists(BALLAST_PATH));
    assert_int_equal(sp_store_space(test.store), SP_SPACE_ENOUGH);
    crash_disk_set_free(test.disk, 0);
    append(1);
    check_durable(2);
    assert_int_equal(test.spent, 2);
    end();
}

/* The vote comes alone: no flush of frames has read the free space. */
static void test_full_disk_found_by_a_vote_is_noted_at_once(void **state)
{
    (void)state;
    begin();
    crash_disk_set_free(test.disk, 0);
    uint64_t sequence = sp_store_set_vote(test.store, GROUP, REPLICA, 5, 1);
    settle();
    assert_int_equal(test.failed, 0);
    assert_int_equal(sp_store_meta_durable(test.store), sequence);
    assert_int_equal(sp_store_space(test.store), SP_SPACE_LAST);
    end();
}

static void test_full_disk_without_a_ballast_stops_the_store(void **state)
{
    (void)state;
    begin();
    crash_disk_set_free(test.disk, 0);
    append(1);
    check_durable(1);
    crash_disk_set_free(test.disk, 0);
    append(1);
    settle();
    assert_int_equal(test.failed, SPATE_ERR_NO_SPACE);
    assert_int_equal(sp_log_persisted_index(test.log), 1);
    end();
}

/* A write and a sync: the one is tried again, the other never. */
static void test_full_disk_found_by_a_sync_is_final(void **state)
{
    (void)state;
    for (unsigned number = 0; number < 2; number++) {
        begin();
        append(1);
        check_durable(1);
        crash_disk_fail(
            test.disk, crash_disk_operations(test.disk) + number, false, SPATE_ERR_NO_SPACE);
        append(1);
        settle();
        assert_int_equal(test.failed, number == 0 ? 0 : SPATE_ERR_IO);
        assert_int_equal(sp_log_persisted_index(test.log), number == 0 ? 2 : 1);
        end();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_disk_at_any_operation_is_survived),
        cmocka_unit_test(test_full_disk_ballast_is_made_again),
        cmocka_unit_test(test_full_disk_found_by_a_vote_is_noted_at_once),
        cmocka_unit_test(test_full_disk_without_a_ballast_stops_the_store),
        cmocka_unit_test(test_full_disk_found_by_a_sync_is_final),
    };

    return cmocka_run_group_tests_name("storage/full_disk", tests, NULL, NULL);
}
