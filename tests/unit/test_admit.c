/* What it costs the cluster when nodes ask to be let in, or only where the others are. */
#include "driven_admit.h"

/* Whoever was removed and still runs makes every member ask, every five seconds, for ever. */
static void test_admit_member_that_asks_again_costs_no_command(void **unused)
{
    struct sp_state_node node;

    (void)unused;
    begin_leading();
    node = make_node(2);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(ask_in(&node, 2), 0);
        assert_int_equal(answer.status, 0);
        assert_int_equal(answer.voter_id, 2);
        assert_int_equal(answer.node_count, 2);
    }
    (void)snprintf(node.peer_address, sizeof node.peer_address, "moved");
    assert_int_equal(ask_in(&node, 2), 1);
    assert_int_equal(answer.status, 0);
    assert_int_equal(ask_in(&node, 2), 0);
    node.run = UINT64_C(5) << 32;
    assert_int_equal(ask_in(&node, 2), 1);
    assert_int_equal(ask_in(&node, 2), 0);
    end_leading();
}

/* Nor a call to the leader: any member that follows it knows the answer. */
static void test_admit_member_is_answered_by_any_other(void **unused)
{
    struct sp_state_node node;

    (void)unused;
    begin_leading();
    fake.status.leader_node = 2;
    change_role(SP_ROLE_FOLLOWER, false, 2);
    unsigned sent = fake.sent_count;
    node = make_node(3);
    assert_int_equal(ask_in(&node, 3), 0);
    assert_int_equal(answer.status, 0);
    assert_int_equal(fake.sent_count, sent);
    fake.status.leader_node = 0; /* what it knows may be of an earlier time */
    assert_int_equal(ask_in(&node, 3), 0);
    assert_int_equal(answer.status, SPATE_ERR_NOT_READY);
    end_leading();
}

static void test_admit_node_that_was_removed_costs_no_command(void **unused)
{
    struct sp_state_node node;

    (void)unused;
    begin_leading();
    node = make_node(9);
    assert_int_equal(ask_in(&node, 9), 0);
    assert_int_equal(answer.status, SPATE_ERR_INVALID);
    assert_non_null(strstr(answer.text, "was removed from the cluster"));
    end_leading();
}

static void test_admit_older_copy_of_a_directory_is_not_let_in(void **unused)
{
    struct sp_state_node node;

    (void)unused;
    begin_leading();
    node = make_node(2);
    node.run = UINT64_C(5) << 32;
    assert_int_equal(ask_in(&node, 2), 1);
    node.run = UINT64_C(4) << 32;
    assert_int_equal(ask_in(&node, 2), 0);
    assert_int_equal(answer.status, SPATE_ERR_INVALID);
    assert_non_null(strstr(answer.text, "older copy of its data directory: bring back the newer"));
    end_leading();
}

/* It has not heard the answer: the same again, and nothing more in the log. */
static void test_admit_newcomer_that_asks_twice_is_let_in_once(void **unused)
{
    struct sp_state_node node;

    (void)unused;
    begin_leading();
    fake_members.stranger = 0; /* it has no replica yet */
    node = make_node(9);
    assert_int_equal(ask_in(&node, 0), 1);
    assert_int_equal(answer.status, 0);
    uint64_t voter_id = answer.voter_id;
    assert_true(voter_id > SP_NODE_ID_MAX);
    assert_int_equal(ask_in(&node, 0), 0);
    assert_int_equal(answer.status, 0);
    assert_int_equal(answer.voter_id, voter_id);
    end_leading();
}

/* It registers only once it has read its replica, which is damaged. */
static void test_admit_founder_that_never_registered_is_given_another_replica(void **unused)
{
    struct sp_join_request request;
    struct sp_state_node node;

    (void)unused;
    begin_leading();
    node = make_node(5);
    request = request_of(&node, 5);
    assert_int_equal(ask_with(&request), 0); /* it is whole, and will register by itself */
    assert_int_equal(answer.status, SPATE_ERR_NOT_READY);
    assert_non_null(strstr(answer.text, "has not registered yet"));
    request.lost = true;
    request.voter_id = 4; /* another node's */
    assert_int_equal(ask_with(&request), 0);
    assert_int_not_equal(answer.status, 0);
    fake_members.stranger = 5; /* no voter of this cluster */
    request.voter_id = 5;
    assert_int_equal(ask_with(&request), 0);
    assert_int_equal(answer.status, SPATE_ERR_INVALID);
    fake_members.stranger = 9;
    request.formed = false;
    assert_int_equal(ask_with(&request), 0);
    assert_int_not_equal(answer.status, 0);
    request.formed = true;
    assert_int_equal(ask_with(&request), 1);
    assert_int_equal(answer.status, 0);
    assert_int_equal(answer.voter_id, 5); /* which is no news to it: it asks again */
    assert_int_equal(incarnation_of(5), 7);
    assert_int_equal(ask_with(&request), 1);
    assert_int_equal(answer.status, 0);
    assert_true(answer.voter_id > SP_NODE_ID_MAX);
    end_leading();
}

static void test_admit_founder_that_never_registered_is_told_who_sees_to_it(void **unused)
{
    struct sp_join_request request;
    struct sp_state_node node;

    (void)unused;
    begin_leading();
    fake.status.leader_node = 2;
    change_role(SP_ROLE_FOLLOWER, false, 2);
    node = make_node(5);
    request = request_of(&node, 5);
    request.lost = true;
    assert_int_equal(ask_with(&request), 0);
    assert_int_equal(answer.status, SPATE_ERR_NOT_READY);
    assert_non_null(strstr(answer.text, "the controller's leader, node 2, sees to it"));
    end_leading();
}

/* Without a leader nobody can give it one: it says so when that is for ever. */
static void test_admit_voter_whose_loss_leaves_no_majority_is_told_so(void **unused)
{
    static const struct sp_replica_place places[] = { { 1, 1 }, { 5, 5 }, { 6, 6 } };
    struct sp_join_request request;
    struct sp_state_node node;

    (void)unused;
    begin_leading();
    node = make_node(5);
    request = request_of(&node, 5);
    fake.status.leader_node = 0;
    fake_members.places = places;
    fake_members.place_count = 3;
    request.lost = true;
    assert_int_equal(ask_with(&request), 0);
    assert_non_null(strstr(answer.text, "the controller has no leader at the moment"));
    fake_members.place_count = 2;
    assert_int_equal(ask_with(&request), 0);
    assert_int_equal(answer.status, SPATE_ERR_NOT_READY);
    assert_non_null(strstr(answer.text, "2 voters and no majority without the replica of node 5"));
    request.lost = false;
    assert_int_equal(ask_with(&request), 0);
    assert_non_null(strstr(answer.text, "the controller has no leader at the moment"));
    fake_members.place_count = 0;
    end_leading();
}

static void test_admit_node_of_another_cluster_is_told_which_it_met(void **unused)
{
    struct sp_join_request request;
    struct sp_state_node node;

    (void)unused;
    begin_leading();
    fake.status.leader_node = 0; /* it needs no controller to know its cluster */
    node = make_node(5);
    request = request_of(&node, 5);
    request.cluster_id[0] = 8;
    assert_int_equal(ask_with(&request), 0);
    assert_int_equal(answer.status, SPATE_ERR_WRONG_CLUSTER);
    assert_non_null(strstr(answer.text, "another cluster, 08000000000000000000000000000000, and"));
    assert_non_null(strstr(answer.text, "this one is 09000000000000000000000000000000"));
    assert_int_equal(foreign_count, 1);
    request.cluster_id[0] = 9;
    request.cluster_id[15] = 1;
    assert_int_equal(ask_with(&request), 0);
    assert_int_equal(answer.status, SPATE_ERR_WRONG_CLUSTER);
    assert_non_null(strstr(answer.text, "on the other side of a forced membership"));
    end_leading();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_admit_member_that_asks_again_costs_no_command),
        cmocka_unit_test(test_admit_member_is_answered_by_any_other),
        cmocka_unit_test(test_admit_node_that_was_removed_costs_no_command),
        cmocka_unit_test(test_admit_older_copy_of_a_directory_is_not_let_in),
        cmocka_unit_test(test_admit_newcomer_that_asks_twice_is_let_in_once),
        cmocka_unit_test(test_admit_founder_that_never_registered_is_given_another_replica),
        cmocka_unit_test(test_admit_founder_that_never_registered_is_told_who_sees_to_it),
        cmocka_unit_test(test_admit_voter_whose_loss_leaves_no_majority_is_told_so),
        cmocka_unit_test(test_admit_node_of_another_cluster_is_told_which_it_met),
    };
    return cmocka_run_group_tests_name("cluster/admit", tests, NULL, NULL);
}
