/* The table of groups on a real directory, with a transport that sends nothing: closing in every
 * phase, lies of peers, leading and handing over. */
#include "driven_group_table.h"

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_group_table_close_waits_for_what_is_being_opened(void **state)
{
    struct fixture *fixture = *state;

    start_open(fixture);
    close_table(fixture);
    assert_true(fixture->opened); /* and its log is closed, or the store would not let go */
    assert_int_equal(fixture->open_status, SPATE_ERR_CANCELED);
}

static void test_group_table_closing_groups_hear_nothing_any_more(void **state)
{
    struct fixture *fixture = *state;

    open_group(fixture);
    hear_leader(fixture, 2);
    assert_int_equal(sp_group_table_leader(fixture->table, GROUP, NULL), OTHER);
    sp_group_table_close(fixture->table, on_table_closed, fixture);
    assert_false(fixture->closed); /* the vote of term 2 and the log go to the disk first */
    hear_leader(fixture, 3);
    say_stopped(fixture);
    sp_group_table_link(fixture->table, OTHER, SP_LINK_DEAD);
    run_until(fixture, &fixture->closed);
}

static void test_group_table_removed_group_is_not_asked_while_it_closes(void **state)
{
    struct fixture *fixture = *state;
    struct sp_raft_group_status status;

    open_group(fixture);
    hear_leader(fixture, 2);
    sp_group_table_remove(fixture->table, fixture->open.group, true, NULL, NULL);
    sp_raft_group_node_dead(fixture->open.group, OTHER);
    sp_raft_group_replica_stopped(fixture->open.group, OTHER_REPLICA);
    sp_raft_group_status(fixture->open.group, &status);
    assert_int_equal(status.leader_node, 0);
    assert_int_equal(status.voters, 0);
    close_table(fixture);
    assert_false(sp_store_has_replica(fixture->store, GROUP, SELF_REPLICA));
}

/* A replica that gives up knows no leader; what the node knows of the others' leader stays. */
static void test_group_table_stopped_follower_leaves_the_leader_known(void **state)
{
    struct fixture *fixture = *state;

    open_group(fixture);
    hear_leader(fixture, 2);
    fixture->refuses = true;
    hear_frame(fixture, 2);
    for (unsigned i = 0; i < 1000 && !fixture->stopped; i++) {
        turn(fixture);
    }
    assert_true(fixture->stopped);
    assert_int_equal(sp_group_table_leader(fixture->table, GROUP, NULL), OTHER);
    close_table(fixture);
}

/* Nobody tells it again who leads: what was said before it lost sight of the leader holds. */
static void test_group_table_replica_moved_away_leaves_the_leader_known(void **state)
{
    struct fixture *fixture = *state;

    open_group(fixture);
    hear_leader(fixture, 2);
    say_leads(fixture, 2);
    for (unsigned i = 0; i < 10000 && sp_group_table_leader(fixture->table, GROUP, NULL) != 0;
         i++) {
        turn(fixture); /* until its election timeout */
    }
    assert_int_equal(sp_group_table_leader(fixture->table, GROUP, NULL), 0);
    sp_group_table_remove(fixture->table, fixture->open.group, false, NULL, NULL);
    assert_int_equal(sp_group_table_leader(fixture->table, GROUP, NULL), OTHER);
    sp_group_table_link(fixture->table, OTHER, SP_LINK_DEAD);
    assert_int_equal(sp_group_table_leader(fixture->table, GROUP, NULL), 0);
    close_table(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_group_table_close_waits_for_what_is_being_opened, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_group_table_closing_groups_hear_nothing_any_more, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_group_table_removed_group_is_not_asked_while_it_closes, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_group_table_stopped_follower_leaves_the_leader_known, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_group_table_replica_moved_away_leaves_the_leader_known, setup, teardown),
    };
    return cmocka_run_group_tests_name("cluster/group_table", tests, NULL, NULL);
}
