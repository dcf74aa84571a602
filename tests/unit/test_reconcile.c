/* Replicas follow the metadata: opened, closed and removed as topics come and go. */
#include "driven_reconcile.h"

static void test_reconcile_acts_only_once_confirmed(void **unused)
{
    (void)unused;
    begin();
    add_record(500, 2000);
    create("t", 4);
    create("gone", 2);
    delete ("gone");
    assert_int_equal(fake.open_count + fake.quarantine_count, 0);
    confirm();
    assert_int_equal(fake.quarantine_count, 1);
    assert_int_equal(fake.open_count, 2); /* partitions 0 and 2 */
    assert_int_equal(sp_reconcile_missing_count(fake.reconcile), 2);
    assert_int_equal(fake.opens[0]->group_id, 1);
    assert_int_equal(fake.opens[0]->replica_id, 1026);
    assert_int_equal(fake.opens[0]->place_count, 2);
    assert_int_equal(fake.opens[0]->places[0].node_id, 2);
    assert_int_equal(fake.opens[0]->places[1].replica_id, 1026);
    assert_int_equal(fake.opens[0]->created_ms, 77);
    assert_int_equal(fake.opens[1]->group_id, 3);
    end_open(0);
    end_open(0);
    assert_int_equal(fake.opened_count, 2);
    assert_int_equal(sp_reconcile_missing_count(fake.reconcile), 0);
    fake.replica_stopped = true;
    assert_int_equal(sp_reconcile_missing_count(fake.reconcile), 2);
    confirm(); /* after a restore of the same state */
    assert_int_equal(fake.open_count, 0);
    assert_int_equal(fake.quarantine_count, 1);
    end();
}

static void test_reconcile_opens_a_few_at_a_time(void **unused)
{
    (void)unused;
    begin();
    confirm();
    create("t", 40);
    for (unsigned left = 20; left > 0; left--) {
        assert_int_equal(fake.open_count, left < 8 ? left : 8);
        end_open(0);
    }
    assert_int_equal(fake.opened_count, 20);
    end();
}

static void test_reconcile_deleted_topic_is_closed_and_removed(void **unused)
{
    (void)unused;
    begin();
    confirm();
    create("t", 4);
    end_open(0);
    delete ("t"); /* one runs, one is opening, two are elsewhere */
    assert_int_equal(fake.closing_count, 1);
    assert_int_equal(fake.remove_count, 1);
    assert_true(fake.removes[0].remove);
    assert_int_equal(fake.forget_count, 2);
    assert_int_equal(fake.release_count, 0);
    end_open(0);
    assert_int_equal(fake.remove_count, 2);
    end_remove();
    end_remove();
    assert_int_equal(fake.release_count, 2);
    assert_int_equal(sp_reconcile_missing_count(fake.reconcile), 0);
    end();
}

/* Replicas in the registry: of a deleted topic, of an id never given out, of a group that lives
 * elsewhere, and group 0. Only the first may be deleted. */
static void test_reconcile_deletes_only_what_the_state_once_had(void **unused)
{
    (void)unused;
    begin();
    add_record(0, SELF);
    create("gone", 1);
    create("t", 2);
    add_record(1, 1026);
    add_record(2, 1028);
    add_record(3, 1030);
    add_record(4, 1032);
    delete ("gone");
    confirm();
    assert_false(sp_store_has_replica(NULL, 1, 1026));
    assert_true(sp_store_has_replica(NULL, 0, SELF));
    assert_true(sp_store_has_replica(NULL, 2, 1028));
    assert_true(sp_store_has_replica(NULL, 3, 1030));
    assert_true(sp_store_has_replica(NULL, 4, 1032));
    assert_int_equal(fake.open_count, 1);
    end();
}

/* A checkpoint from the leader replaced the state: what is missing in it was deleted meanwhile. */
static void test_reconcile_restored_state_dooms_what_it_lacks(void **unused)
{
    struct sp_state *before = NULL;

    (void)unused;
    begin();
    confirm();
    create("a", 1);
    create("b", 1);
    end_open(0);
    before = fake.state;
    assert_int_equal(sp_state_new(&fake.state), 0);
    end_open(SPATE_ERR_NOMEM); /* comes back between the restore and its confirmation */
    fake_wait(250);
    assert_int_equal(fake.open_count, 0);
    confirm();
    assert_int_equal(fake.remove_count, 1);
    assert_true(fake.removes[0].remove);
    end_remove();
    assert_int_equal(sp_reconcile_missing_count(fake.reconcile), 0);
    sp_state_free(before);
    end();
}

static void test_reconcile_close_waits_for_opening_and_keeps_replicas(void **unused)
{
    (void)unused;
    begin();
    confirm();
    create("t", 40);
    end_open(0);
    sp_reconcile_close(fake.reconcile, on_closed, NULL);
    fake_turn();
    assert_int_equal(fake.remove_count, 1);
    assert_false(fake.removes[0].remove);
    create("late", 1);
    end_remove();
    assert_int_equal(fake.closed_count, 0);
    assert_int_equal(fake.open_count, 8);
    end_open(0);
    assert_int_equal(fake.remove_count, 1);
    assert_false(fake.removes[0].remove);
    while (fake.open_count > 0) {
        end_open(SPATE_ERR_CANCELED);
    }
    end_remove();
    assert_int_equal(fake.closed_count, 1);
    assert_int_equal(fake.acquire_count, fake.release_count);
    assert_true(sp_store_has_replica(NULL, 1, 1026));
    sp_state_free(fake.state);
    assert_int_equal(sp_mem_live_count(), fake.live_count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reconcile_acts_only_once_confirmed),
        cmocka_unit_test(test_reconcile_opens_a_few_at_a_time),
        cmocka_unit_test(test_reconcile_deleted_topic_is_closed_and_removed),
        cmocka_unit_test(test_reconcile_deletes_only_what_the_state_once_had),
        cmocka_unit_test(test_reconcile_restored_state_dooms_what_it_lacks),
        cmocka_unit_test(test_reconcile_close_waits_for_opening_and_keeps_replicas),
    };
    return cmocka_run_group_tests_name("cluster/reconcile", tests, NULL, NULL);
}
