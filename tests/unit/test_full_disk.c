/* Others fill the disk at any moment: a write that finds no space takes the ballast's and goes on,
 * and only without a ballast the store stops. */
#include "full_disk_world.h"

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

/* Small flushes look seldom, but for a disk that is short of space. */
static void test_full_disk_is_looked_at_now_and_then(void **state)
{
    (void)state;
    begin();
    pass_ms(1000);
    assert_true(sp_store_wants_look(test.store, 1000));
    assert_false(sp_store_wants_look(test.store, 1000));
    assert_false(sp_store_wants_look(test.store, 900000));
    assert_true(sp_store_wants_look(test.store, 900000));
    assert_false(sp_store_wants_look(test.store, 0));
    pass_ms(30);
    assert_true(sp_store_wants_look(test.store, 0));
    crash_disk_set_free(test.disk, RESERVE / 2);
    look();
    assert_int_equal(sp_store_space(test.store), SP_SPACE_LOW);
    assert_true(sp_store_wants_look(test.store, 0));
    assert_true(sp_store_wants_look(test.store, 0));
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
        cmocka_unit_test(test_full_disk_is_looked_at_now_and_then),
        cmocka_unit_test(test_full_disk_found_by_a_vote_is_noted_at_once),
        cmocka_unit_test(test_full_disk_found_by_a_sync_is_final),
    };

    return cmocka_run_group_tests_name("storage/full_disk", tests, NULL, NULL);
}
