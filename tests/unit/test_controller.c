#include "driven_controller.h"

static void test_controller_leader_creates_topic_and_answers_after_apply(void **unused)
{
    struct asked asked;

    (void)unused;
    begin();
    change_role(SP_ROLE_LEADER, true, SELF);
    ask_create(&asked, "t", 0);
    fake_turn();
    assert_int_equal(fake.submit_count, 1);
    assert_int_equal(asked.count, 0);
    commit_submits();
    assert_int_equal(asked.count, 1);
    assert_int_equal(asked.status, 0);
    assert_string_equal(asked.text, "");
    const struct sp_state_topic *topic = sp_state_topic(sp_controller_state(fake.controller), "t");
    assert_int_equal(topic->partition_count, 1);
    assert_int_equal(topic->partitions[0].replica_count, 3);
    assert_int_equal(sp_topic_config_value(&topic->config, SP_TOPIC_MESSAGE_BYTES_MAX),
                     SP_BATCH_BYTES_MAX_DEFAULT);
    ask_create(&asked, "t", 0);
    fake_turn();
    assert_int_equal(asked.status, SPATE_ERR_EXISTS);
    assert_int_equal(fake.submit_count, 1);
    ask(&asked, SP_PROPOSAL_PRODUCER_BLOCK, "");
    fake_turn();
    commit_submits();
    assert_int_equal(asked.status, 0);
    assert_int_equal(asked.proposal.producer_id_first, 1);
    end();
}

static void ask_name(struct asked *asked, const char *name, const char *layout)
{
    struct sp_proposal *proposal = &asked->proposal;

    *asked = (struct asked){ .proposal = { .kind = SP_PROPOSAL_PRODUCER_NAME, .cb = on_proposal } };
    (void)snprintf(proposal->producer_name, sizeof proposal->producer_name, "%s", name);
    (void)snprintf(proposal->producer_layout, sizeof proposal->producer_layout, "%s", layout);
    sp_controller_propose(fake.controller, proposal);
}

static void test_controller_named_producer_gets_the_next_epoch(void **unused)
{
    struct asked asked;

    (void)unused;
    level_most = 2;
    begin();
    level_most = 0;
    change_role(SP_ROLE_LEADER, true, SELF);
    assert_int_equal(sp_state_feature_level(sp_controller_state(fake.controller)), 1);
    commit_submits(); /* the leader raises the level by itself */
    assert_int_equal(sp_state_feature_level(sp_controller_state(fake.controller)), 2);
    for (int16_t epoch = 0; epoch < 3; epoch++) {
        ask_name(&asked, "loader", "p=4");
        fake_turn();
        commit_submits();
        assert_int_equal(asked.status, 0);
        assert_int_equal(asked.proposal.producer_id_first, 1);
        assert_int_equal(asked.proposal.producer_epoch, epoch);
    }
    ask_name(&asked, "loader", "p=6");
    fake_turn();
    assert_int_equal(asked.status, SPATE_ERR_EXISTS);
    assert_string_equal(asked.text,
                        "producer name `loader` was first used with the layout `p=4`, not `p=6`: "
                        "use another name");
    end();
}

static void test_controller_named_producer_asks_the_leader_elsewhere(void **unused)
{
    struct asked asked;
    struct sp_proposal sent;
    struct sp_node_reply node_reply = { .producer_id_first = 9, .producer_epoch = 300 };
    struct sp_node_reply read = { 0 };
    struct sp_buf body;

    (void)unused;
    begin();
    change_role(SP_ROLE_FOLLOWER, false, 2);
    ask_name(&asked, "loader", "p=4");
    fake_turn();
    assert_int_equal(sp_node_call_decode(fake.sent[0].body, fake.sent[0].size, &sent), 0);
    assert_int_equal(sent.kind, SP_PROPOSAL_PRODUCER_NAME);
    assert_string_equal(sent.producer_name, "loader");
    assert_string_equal(sent.producer_layout, "p=4");
    reply(SPATE_ERR_BUSY, 0);
    assert_int_equal(asked.status, SPATE_ERR_BUSY);
    sp_buf_init(&body, 1024);
    assert_int_equal(sp_node_reply_encode(&node_reply, &body), 0);
    assert_int_equal(sp_node_reply_decode(body.bytes, body.size, &read), 0);
    assert_int_equal(read.producer_id_first, 9);
    assert_int_equal(read.producer_epoch, 300);
    sp_buf_deinit(&body);
    end();
}

static void test_controller_refusals_say_what_to_do(void **unused)
{
    struct asked asked;

    (void)unused;
    begin();
    change_role(SP_ROLE_LEADER, true, SELF);
    ask_create(&asked, "t", 4);
    fake_turn();
    assert_int_equal(asked.status, SPATE_ERR_INVALID);
    assert_string_equal(asked.text,
                        "replicas is 4 but the cluster has 3 nodes: use -r 3 or add nodes");
    ask_create(&asked, "a/b", 1);
    fake_turn();
    assert_int_equal(asked.status, SPATE_ERR_INVALID);
    ask_create(&asked, "t", 8);
    fake_turn();
    assert_string_equal(asked.text, "replicas is 8: allowed are 1 to 7");
    ask(&asked, SP_PROPOSAL_DELETE_TOPIC, "t");
    fake_turn();
    assert_int_equal(asked.status, SPATE_ERR_UNKNOWN_TOPIC);
    assert_int_equal(fake.submit_count, 0);
    end();
}

/* Two creates of one name in flight: apply decides, the second is told. */
static void test_controller_second_create_in_flight_is_answered_exists(void **unused)
{
    struct asked first;
    struct asked second;

    (void)unused;
    begin();
    change_role(SP_ROLE_LEADER, true, SELF);
    ask_create(&first, "t", 1);
    ask_create(&second, "t", 1);
    fake_turn();
    assert_int_equal(fake.submit_count, 2);
    commit_submits();
    assert_int_equal(first.status, 0);
    assert_int_equal(second.count, 1);
    assert_int_equal(second.status, SPATE_ERR_EXISTS);
    assert_string_equal(second.text, "topic `t` exists already");
    end();
}

static void test_controller_new_cluster_waits_for_voters_to_register(void **unused)
{
    struct asked asked;

    (void)unused;
    begin();
    fake.status.voters = 4;
    change_role(SP_ROLE_LEADER, true, SELF);
    ask_create(&asked, "t", 1);
    fake_wait(100);
    assert_int_equal(fake.submit_count, 0);
    apply_register(4);
    fake_wait(60);
    assert_int_equal(fake.submit_count, 1);
    commit_submits();
    assert_int_equal(asked.status, 0);
    fake.status.voters = 5;
    fake_wait(3000); /* the grace of a new leader is over: only the need for nodes counts */
    ask_create(&asked, "u", 4);
    fake_turn();
    commit_submits();
    assert_int_equal(asked.status, 0);
    ask_create(&asked, "v", 5);
    fake_wait(5100);
    assert_int_equal(asked.status, SPATE_ERR_NOT_READY);
    assert_non_null(strstr(asked.text, "4 of 5 nodes"));
    end();
}

static void test_controller_follower_calls_leader_and_waits_for_its_own_apply(void **unused)
{
    struct asked asked;
    struct sp_proposal sent;

    (void)unused;
    begin();
    change_role(SP_ROLE_FOLLOWER, false, 2);
    ask_create(&asked, "t", 2);
    fake_turn();
    assert_int_equal(fake.sent_count, 1);
    assert_int_equal(fake.sent[0].node_id, 2);
    assert_int_equal(fake.sent[0].message.u.call.method, SP_NODE_PROPOSE);
    assert_int_equal(sp_node_call_decode(fake.sent[0].body, fake.sent[0].size, &sent), 0);
    assert_string_equal(sent.topic, "t");
    assert_int_equal(sent.replicas, 2);
    reply(0, 4);
    assert_int_equal(asked.count, 0);
    apply_create("t", 2);
    fake_turn();
    assert_int_equal(asked.count, 1);
    assert_int_equal(asked.status, 0);
    end();
}

static void test_controller_retries_at_new_leader_within_deadline(void **unused)
{
    struct asked asked;

    (void)unused;
    begin();
    ask(&asked, SP_PROPOSAL_PRODUCER_BLOCK, "");
    fake_wait(500);
    assert_int_equal(fake.sent_count, 0);
    change_role(SP_ROLE_FOLLOWER, false, 2);
    assert_int_equal(fake.sent_count, 1);
    reply(SPATE_ERR_NOT_LEADER, 0);
    assert_int_equal(fake.sent_count, 1);
    fake_wait(60);
    assert_int_equal(fake.sent_count, 2);
    fake.send_result = SPATE_ERR_CLOSED;
    change_role(SP_ROLE_FOLLOWER, false, 3);
    fake.send_result = 0;
    fake_wait(100); /* a pause that began between two ticks */
    assert_int_equal(fake.sent_count, 3);
    assert_int_equal(fake.sent[2].node_id, 3);
    reply(0, 99);
    assert_int_equal(asked.count, 1);
    assert_int_equal(asked.status, 0);
    end();
}

static void test_controller_deadline_tells_never_sent_from_uncertain(void **unused)
{
    struct asked asked;

    (void)unused;
    begin();
    ask_create(&asked, "t", 1);
    fake_wait(4999);
    assert_int_equal(asked.count, 0);
    fake_wait(1);
    assert_int_equal(asked.status, SPATE_ERR_LEADER_UNKNOWN);
    change_role(SP_ROLE_FOLLOWER, false, 2);
    ask_create(&asked, "t", 1);
    fake_wait(5000);
    assert_int_equal(asked.status, SPATE_ERR_TIMEOUT);
    assert_int_equal(fake.sent_count, 5); /* once a second without a reply */
    end();
}

/* The first try went through, its reply was lost: the second one's EXISTS means success. */
static void test_controller_resent_create_is_done_when_it_stands_as_asked(void **unused)
{
    struct asked asked;

    (void)unused;
    begin();
    change_role(SP_ROLE_FOLLOWER, false, 2);
    ask_create(&asked, "t", 1);
    fake_turn();
    apply_create("t", 2);
    fake_wait(1100);
    assert_int_equal(fake.sent_count, 2);
    reply(SPATE_ERR_EXISTS, 4);
    assert_int_equal(asked.count, 1);
    assert_int_equal(asked.status, 0);

    ask_create(&asked, "t", 1); /* it was there before */
    fake_wait(1100);
    reply(SPATE_ERR_EXISTS, 4);
    assert_int_equal(asked.status, SPATE_ERR_EXISTS);

    ask_create(&asked, "u", 2); /* somebody else's, with another shape */
    fake_turn();
    apply_create("u", 2);
    fake_wait(1100);
    reply(SPATE_ERR_EXISTS, 5);
    assert_int_equal(asked.status, SPATE_ERR_EXISTS);

    ask_create(&asked, "y", 1);
    fake_turn();
    reply(SPATE_ERR_STOPPED, 5); /* a replica that stops may have submitted it */
    apply_create("y", 2);
    fake_wait(60);
    reply(SPATE_ERR_EXISTS, 6);
    assert_int_equal(asked.status, 0);

    ask_create(&asked, "w", 1); /* sent once: certain */
    fake_turn();
    apply_create("w", 2);
    reply(SPATE_ERR_EXISTS, 6);
    assert_int_equal(asked.status, SPATE_ERR_EXISTS);

    ask(&asked, SP_PROPOSAL_DELETE_TOPIC, "x");
    fake_turn();
    reply(SPATE_ERR_UNKNOWN_TOPIC, 6);
    assert_int_equal(asked.status, SPATE_ERR_UNKNOWN_TOPIC);
    ask(&asked, SP_PROPOSAL_DELETE_TOPIC, "x");
    fake_wait(1100);
    reply(SPATE_ERR_UNKNOWN_TOPIC, 6);
    assert_int_equal(asked.status, 0);
    end();
}

/* Leadership is lost with the command in flight; the new leader has it. */
static void test_controller_lost_submit_is_resent_to_new_leader(void **unused)
{
    struct asked asked;

    (void)unused;
    begin();
    change_role(SP_ROLE_LEADER, true, SELF);
    ask_create(&asked, "t", 1);
    fake_turn();
    assert_int_equal(fake.submit_count, 1);
    lose_submits(SPATE_ERR_LEADER_CHANGED);
    change_role(SP_ROLE_FOLLOWER, false, 3);
    fake_wait(60);
    assert_int_equal(fake.sent_count, 1);
    apply_create("t", 2);
    reply(SPATE_ERR_EXISTS, 4);
    assert_int_equal(asked.status, 0);
    end();
}

/* Another command took the index of ours: its answer is not ours, the outcome stays unknown. */
static void test_controller_lost_submit_without_leader_times_out(void **unused)
{
    struct asked asked;

    (void)unused;
    begin();
    change_role(SP_ROLE_LEADER, true, SELF);
    ask(&asked, SP_PROPOSAL_PRODUCER_BLOCK, "");
    fake_turn();
    fake.status.term = 5;
    apply_create("other", 2);
    lose_submits(SPATE_ERR_LEADER_CHANGED);
    change_role(SP_ROLE_FOLLOWER, false, 0);
    assert_int_equal(asked.count, 0);
    fake_wait(5000);
    assert_int_equal(asked.status, SPATE_ERR_TIMEOUT);
    end();
}

static void test_controller_leader_answers_calls(void **unused)
{
    struct sp_proposal request = { .kind = SP_PROPOSAL_CREATE_TOPIC, .topic = "t" };
    struct sp_proposal stranger = { .kind = SP_PROPOSAL_REGISTER_NODE, .self = make_node(9) };
    struct sp_peer_message garbage = { .kind = SP_PEER_CALL,
                                       .u.call = { .call_id = 9, .method = SP_NODE_PROPOSE },
                                       .body = { .bytes = (const uint8_t *)"\xc1", .size = 1 } };
    struct sp_node_reply answer = { 0 };

    (void)unused;
    begin();
    call(&request, 5);
    assert_int_equal(fake.sent[0].message.kind, SP_PEER_REPLY);
    assert_int_equal(fake.sent[0].message.u.call.status, SPATE_ERR_NOT_LEADER);
    change_role(SP_ROLE_LEADER, false, SELF);
    call(&request, 6);
    assert_int_equal(fake.sent[1].message.u.call.status, SPATE_ERR_NOT_READY);
    change_role(SP_ROLE_LEADER, true, SELF);
    call(&request, 7);
    assert_int_equal(fake.sent_count, 2);
    commit_submits();
    assert_int_equal(fake.sent[2].node_id, 2);
    assert_int_equal(fake.sent[2].message.u.call.status, 0);
    assert_int_equal(fake.sent[2].message.u.call.call_id, 7);
    assert_int_equal(sp_node_reply_decode(fake.sent[2].body, fake.sent[2].size, &answer), 0);
    assert_int_equal(answer.index, 4);
    call(&request, 8);
    assert_int_equal(fake.sent[3].message.u.call.status, SPATE_ERR_EXISTS);
    assert_int_equal(sp_node_reply_decode(fake.sent[3].body, fake.sent[3].size, &answer), 0);
    assert_string_equal(answer.text, "topic `t` exists already");
    call(&stranger, 9);
    assert_int_equal(fake.sent[4].message.u.call.status, SPATE_ERR_INVALID);
    sp_controller_message(fake.controller, 2, &garbage);
    assert_int_equal(fake.sent[5].message.u.call.status, SPATE_ERR_MALFORMED);
    garbage.u.call.method = 77;
    sp_controller_message(fake.controller, 2, &garbage);
    assert_int_equal(fake.sent[6].message.u.call.status, SPATE_ERR_UNKNOWN_METHOD);
    end();
}

static void test_controller_is_busy_at_its_bounds(void **unused)
{
    static struct asked asked[300];
    struct sp_proposal request = { .kind = SP_PROPOSAL_PRODUCER_BLOCK };
    unsigned busy = 0;

    (void)unused;
    begin();
    for (unsigned i = 0; i < 300; i++) {
        ask(&asked[i], SP_PROPOSAL_PRODUCER_BLOCK, "");
    }
    fake_turn();
    for (unsigned i = 0; i < 300; i++) {
        busy += asked[i].count == 1 && asked[i].status == SPATE_ERR_BUSY;
    }
    assert_int_equal(busy, 300 - 256);
    for (unsigned i = 0; i < 300; i++) {
        sp_controller_cancel(fake.controller, &asked[i].proposal);
    }
    change_role(SP_ROLE_LEADER, true, SELF);
    for (unsigned i = 0; i < 300; i++) {
        call(&request, i);
    }
    assert_int_equal(fake.submit_count, 256);
    assert_int_equal(fake.sent_count, 300 - 256);
    assert_int_equal(fake.sent[0].message.u.call.status, SPATE_ERR_BUSY);
    end();
}

/* What the end was checked against must still hold when it is applied. */
static void test_controller_end_of_a_move_waits_for_what_may_change_moves(void **unused)
{
    struct sp_proposal end_of_move = { .kind = SP_PROPOSAL_MEMBERSHIP };
    struct asked asked = { .proposal = { .kind = SP_PROPOSAL_MEMBERSHIP, .cb = on_proposal } };

    (void)unused;
    level_most = 2;
    begin();
    level_most = 0;
    apply_create("t", 2);
    change_role(SP_ROLE_LEADER, true, SELF);
    commit_submits();
    asked.proposal.membership = (struct sp_membership_change){
        .kind = SP_MEMBERSHIP_MOVE, .topic_id = 1, .count = 1, .wishes = { { .node_id = 3 } }
    };
    sp_controller_propose(fake.controller, &asked.proposal);
    fake_turn();
    unsigned submitted = fake.submit_count;
    end_of_move.membership = (struct sp_membership_change){
        .kind = SP_MEMBERSHIP_MOVE_DONE, .topic_id = 1, .count = 1, .ids = { 1 }
    };
    call(&end_of_move, 70);
    assert_int_equal(fake.sent[fake.sent_count - 1].message.u.call.status, SPATE_ERR_NOT_READY);
    commit_submits();
    assert_int_equal(asked.status, 0);
    call(&end_of_move, 71); /* looked at now: there is no such move */
    assert_int_equal(fake.sent[fake.sent_count - 1].message.u.call.status, SPATE_ERR_NOT_FOUND);
    assert_int_equal(fake.submit_count, submitted);
    end();
}

/* An only replica begins anew with another disk: a move from before that would put it out. */
static void test_controller_move_waits_for_a_node_that_joins(void **unused)
{
    struct sp_proposal asked = { .kind = SP_PROPOSAL_MEMBERSHIP };

    (void)unused;
    level_most = 2;
    begin();
    level_most = 0;
    apply_create("t", 2);
    change_role(SP_ROLE_LEADER, true, SELF);
    commit_submits();
    asked.membership = (struct sp_membership_change){ .kind = SP_MEMBERSHIP_JOIN_NODE };
    asked.membership.node = *sp_state_node(sp_controller_state(fake.controller), 2);
    asked.membership.node.incarnation = 55;
    fake.found_incarnation = 55;
    call(&asked, 70);
    unsigned submitted = fake.submit_count;
    asked.membership = (struct sp_membership_change){
        .kind = SP_MEMBERSHIP_MOVE, .topic_id = 1, .count = 1, .wishes = { { .node_id = 2 } }
    };
    call(&asked, 71);
    assert_int_equal(fake.sent_count, 1);
    assert_int_equal(fake.sent[fake.sent_count - 1].message.u.call.status, SPATE_ERR_NOT_READY);
    commit_submits();
    call(&asked, 72); /* looked at now: it must leave that node */
    assert_int_equal(fake.sent[fake.sent_count - 1].message.u.call.status, SPATE_ERR_INVALID);
    assert_int_equal(fake.submit_count, submitted);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_controller_leader_creates_topic_and_answers_after_apply),
        cmocka_unit_test(test_controller_named_producer_gets_the_next_epoch),
        cmocka_unit_test(test_controller_named_producer_asks_the_leader_elsewhere),
        cmocka_unit_test(test_controller_refusals_say_what_to_do),
        cmocka_unit_test(test_controller_second_create_in_flight_is_answered_exists),
        cmocka_unit_test(test_controller_new_cluster_waits_for_voters_to_register),
        cmocka_unit_test(test_controller_follower_calls_leader_and_waits_for_its_own_apply),
        cmocka_unit_test(test_controller_retries_at_new_leader_within_deadline),
        cmocka_unit_test(test_controller_deadline_tells_never_sent_from_uncertain),
        cmocka_unit_test(test_controller_resent_create_is_done_when_it_stands_as_asked),
        cmocka_unit_test(test_controller_lost_submit_is_resent_to_new_leader),
        cmocka_unit_test(test_controller_lost_submit_without_leader_times_out),
        cmocka_unit_test(test_controller_leader_answers_calls),
        cmocka_unit_test(test_controller_is_busy_at_its_bounds),
        cmocka_unit_test(test_controller_end_of_a_move_waits_for_what_may_change_moves),
        cmocka_unit_test(test_controller_move_waits_for_a_node_that_joins),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
