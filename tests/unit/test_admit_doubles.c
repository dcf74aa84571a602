/* Two data directories with one node id: which of them is let in, and when. */
#include "driven_admit.h"

/* Another node asks for it, which has looked at an older state: the leader looks again. */
static int let_join(const struct sp_state_node *node, uint64_t voter_id, char *text)
{
    struct sp_proposal request = { .kind = SP_PROPOSAL_MEMBERSHIP };
    struct sp_node_reply reply = { .status = 0 };
    unsigned sent = fake.sent_count;

    request.membership = (struct sp_membership_change){
        .kind = SP_MEMBERSHIP_JOIN_NODE, .node = *node, .count = 1, .ids = { voter_id }
    };
    call(&request, 5);
    commit_submits();
    assert_int_equal(fake.sent_count, sent + 1);
    assert_int_equal(sp_node_reply_decode(fake.sent[sent].body, fake.sent[sent].size, &reply), 0);
    (void)snprintf(text, sizeof reply.text, "%s", reply.text);
    return fake.sent[sent].message.u.call.status;
}

static void test_admit_leader_looks_again_at_who_joins(void **unused)
{
    char text[sizeof((struct sp_node_reply *)NULL)->text];
    struct sp_state_node node;

    (void)unused;
    begin_leading();
    unsigned before = fake.submit_count;
    node = make_node(3);
    assert_int_equal(let_join(&node, 3, text), SPATE_ERR_EXISTS);
    node.incarnation = 8; /* the disk that was taken out, put back */
    assert_int_equal(let_join(&node, 3, text), SPATE_ERR_INVALID);
    assert_non_null(strstr(text, "node 3 has another data directory now"));
    node.incarnation = 7;
    node.run = UINT64_C(5) << 32;
    assert_int_equal(let_join(&node, 3, text), 0);
    before += 1;
    node.run = UINT64_C(4) << 32;
    assert_int_equal(let_join(&node, 3, text), SPATE_ERR_CORRUPT);
    assert_non_null(strstr(text, "older copy of its data directory"));
    assert_int_equal(fake.submit_count, before);
    node.incarnation = 8;
    assert_int_equal(sp_state_node(sp_controller_state(fake.controller), 3)->incarnation, 7);
    fake.found_incarnation = 8;
    assert_int_equal(let_join(&node, 0, text), 0); /* a new one in its place */
    assert_int_equal(fake.submit_count, before + 1);
    assert_int_equal(sp_state_node(sp_controller_state(fake.controller), 3)->incarnation, 8);
    end_leading();
}

/* What the right one has would count as lost. */
static void test_admit_double_does_not_take_the_place_of_a_node_that_runs(void **unused)
{
    char text[sizeof((struct sp_node_reply *)NULL)->text];
    struct sp_state_node node;

    (void)unused;
    begin_leading();
    node = make_node(3);
    node.incarnation = 8;
    fake.found_incarnation = 8;
    fake.connected_incarnation = 7;
    unsigned doubles = double_count;
    assert_int_equal(let_join(&node, 0, text), SPATE_ERR_INVALID);
    assert_string_equal(text, "another process with node id 3 is connected");
    assert_int_equal(ask_in(&node, 0), 0);
    assert_int_equal(answer.status, SPATE_ERR_INVALID);
    assert_int_equal(double_count, doubles + 1);
    node = make_node(SELF);
    node.incarnation = 8;
    fake.connected_incarnation = 0;
    assert_int_equal(let_join(&node, 0, text), SPATE_ERR_INVALID);
    assert_non_null(strstr(text, "node id 1 is taken, its node runs"));
    fake.status.leader_node = 0; /* it needs no controller to know who it is */
    assert_int_equal(ask_in(&node, 0), 0);
    assert_int_equal(answer.status, SPATE_ERR_INVALID);
    assert_string_equal(answer.text, "node id 1 is mine: give each node its own");
    assert_int_equal(double_count, doubles + 2);
    assert_int_equal(incarnation_of(3), 7);
    assert_int_equal(incarnation_of(SELF), 7);
    end_leading();
}

static void test_admit_double_elsewhere_waits_until_the_node_has_been_away(void **unused)
{
    char text[sizeof((struct sp_node_reply *)NULL)->text];
    struct sp_state_node node;

    (void)unused;
    node_replace_ms = 60000;
    begin_leading();
    node = make_node(3);
    node.incarnation = 8;
    fake.link = SP_LINK_DEAD;
    fake_wait(1000);
    assert_int_equal(let_join(&node, 0, text), SPATE_ERR_INVALID); /* a file that was copied */
    assert_non_null(strstr(text, "known at p3, and this process is not found there"));
    fake.found_incarnation = 8;
    (void)snprintf(node.peer_address, sizeof node.peer_address, "elsewhere");
    assert_int_equal(let_join(&node, 0, text), SPATE_ERR_INVALID);
    fake_wait(50000);
    assert_int_equal(let_join(&node, 0, text), SPATE_ERR_INVALID);
    fake.link = SP_LINK_UP; /* it has only restarted */
    fake_wait(1000);
    fake.link = SP_LINK_DEAD;
    fake_wait(50000);
    assert_int_equal(let_join(&node, 0, text), SPATE_ERR_INVALID);
    assert_int_equal(incarnation_of(3), 7);
    fake_wait(11000);
    assert_int_equal(let_join(&node, 0, text), 0);
    assert_int_equal(incarnation_of(3), 8);
    end_leading();
    node_replace_ms = 0;
}

/* node.replace.after.ms is 0: a person has to say that it is not wanted any more. */
static void test_admit_double_elsewhere_takes_the_place_of_a_drained_node(void **unused)
{
    char text[sizeof((struct sp_node_reply *)NULL)->text];
    struct sp_proposal drain = { .kind = SP_PROPOSAL_MEMBERSHIP };
    struct sp_state_node node;

    (void)unused;
    begin_leading();
    node = make_node(3);
    node.incarnation = 8;
    fake.link = SP_LINK_DEAD;
    fake_wait(1000);
    fake_wait(1000000);
    assert_int_equal(let_join(&node, 0, text), SPATE_ERR_INVALID);
    fake.link = SP_LINK_UP;
    fake_wait(1000);
    drain.membership = (struct sp_membership_change){ .kind = SP_MEMBERSHIP_DRAIN_NODE,
                                                      .node_id = 3,
                                                      .flag = true };
    call(&drain, 6);
    commit_submits();
    assert_true(sp_state_member(sp_controller_state(fake.controller), 3).draining);
    fake.link = SP_LINK_DEAD;
    fake_wait(5000);
    assert_int_equal(let_join(&node, 0, text), SPATE_ERR_INVALID); /* it may only restart */
    fake_wait(6000);
    assert_int_equal(let_join(&node, 0, text), 0);
    assert_int_equal(incarnation_of(3), 8);
    end_leading();
}

/* Calls the leader, which answers at once, or later when the command is applied. */
static void call_join(uint32_t node_id, uint64_t incarnation, uint64_t call_id)
{
    struct sp_proposal request = { .kind = SP_PROPOSAL_MEMBERSHIP };

    request.membership = (struct sp_membership_change){ .kind = SP_MEMBERSHIP_JOIN_NODE,
                                                        .node = make_node(node_id),
                                                        .count = 1 };
    request.membership.node.incarnation = incarnation;
    call(&request, call_id);
}

/* The node that calls is node 2. */
static void call_register(uint64_t incarnation, uint64_t call_id)
{
    struct sp_proposal request = { .kind = SP_PROPOSAL_REGISTER_NODE, .self = make_node(2) };

    request.self.incarnation = incarnation;
    (void)snprintf(request.self.client_address, sizeof request.self.client_address, "moved");
    call(&request, call_id);
}

/* Of the call with that id, which was answered last. */
static int answer_to(uint64_t call_id)
{
    const struct sp_peer_call *answered = &fake.sent[fake.sent_count - 1].message.u.call;

    assert_int_equal(answered->call_id, call_id);
    return answered->status;
}

/* The text of the same. */
static const char *words_to(uint64_t call_id)
{
    static struct sp_node_reply reply;

    assert_int_equal(answer_to(call_id), SPATE_ERR_NOT_READY);
    assert_int_equal(sp_node_reply_decode(fake.sent[fake.sent_count - 1].body,
                                          fake.sent[fake.sent_count - 1].size,
                                          &reply),
                     0);
    return reply.text;
}

/* Both would be let in, the second in place of the first, which believes to be a member. */
static void test_admit_two_new_directories_with_one_id_do_not_both_join(void **unused)
{
    (void)unused;
    begin_leading();
    unsigned before = fake.submit_count;
    call_join(10, 8, 20);
    assert_int_equal(fake.submit_count, before + 1);
    call_join(10, 9, 21);
    assert_int_equal(fake.submit_count, before + 1);
    assert_int_equal(answer_to(21), SPATE_ERR_NOT_READY); /* tried again */
    assert_string_equal(words_to(21),
                        "node 10 registers, joins or goes at the moment: one after the other");
    assert_true(spate_error_retriable(answer_to(21)));
    call_join(11, 8, 22); /* another node's is its own affair */
    assert_int_equal(fake.submit_count, before + 2);
    commit_submits();
    assert_int_equal(incarnation_of(10), 8);
    call_join(10, 9, 23);
    assert_int_equal(answer_to(23), SPATE_ERR_INVALID);
    assert_int_equal(incarnation_of(10), 8);
    end_leading();
}

/* The directory that was replaced registers its new address while the new one is on its way in. */
static void test_admit_old_directory_does_not_register_over_a_new_one(void **unused)
{
    (void)unused;
    begin_leading();
    unsigned before = fake.submit_count;
    fake.found_incarnation = 8;
    call_join(2, 8, 20);
    assert_int_equal(fake.submit_count, before + 1);
    call_register(7, 21);
    assert_int_equal(fake.submit_count, before + 1);
    assert_int_equal(answer_to(21), SPATE_ERR_NOT_READY);
    commit_submits();
    assert_int_equal(incarnation_of(2), 8);
    call_register(7, 22);
    assert_int_equal(answer_to(22), SPATE_ERR_INVALID);
    commit_submits();
    assert_int_equal(incarnation_of(2), 8);
    call_register(8, 23);
    assert_int_equal(fake.submit_count, before + 2);
    fake.found_incarnation = 9;
    call_join(2, 9, 24); /* the other way round */
    assert_int_equal(answer_to(24), SPATE_ERR_NOT_READY);
    assert_int_equal(fake.submit_count, before + 2);
    commit_submits();
    assert_int_equal(incarnation_of(2), 8);
    end_leading();
}

/* What an earlier leader let pass may still come to be: until it has, or cannot any more, nobody
 * registers or joins under an id that it may be about. */
static void test_admit_new_leader_waits_for_what_an_earlier_one_let_pass(void **unused)
{
    (void)unused;
    begin_leading();
    fake.found_incarnation = 8;
    call_join(2, 8, 20);
    call_join(10, 8, 21);
    unsigned first = fake.submit_count - 2;
    lose_submits(SPATE_ERR_LEADER_CHANGED); /* both are in the log all the same */
    change_role(SP_ROLE_FOLLOWER, false, 3);
    change_role(SP_ROLE_LEADER, false, SELF);
    call_register(7, 22);
    assert_int_equal(answer_to(22), SPATE_ERR_NOT_READY);
    call_join(10, 9, 23);
    assert_int_equal(answer_to(23), SPATE_ERR_NOT_READY);
    assert_int_equal(fake.submit_count, first + 2);
    for (unsigned i = first; i < first + 2; i++) {
        assert_int_equal(apply_bytes(fake.submits[i].bytes, fake.submits[i].size), 0);
    }
    change_role(SP_ROLE_LEADER, true, SELF);
    call_register(7, 24);
    assert_int_equal(answer_to(24), SPATE_ERR_INVALID);
    call_join(10, 9, 25);
    assert_int_equal(answer_to(25), SPATE_ERR_INVALID);
    commit_submits();
    assert_int_equal(incarnation_of(2), 8);
    assert_int_equal(incarnation_of(10), 8);
    end_leading();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_admit_leader_looks_again_at_who_joins),
        cmocka_unit_test(test_admit_double_does_not_take_the_place_of_a_node_that_runs),
        cmocka_unit_test(test_admit_double_elsewhere_waits_until_the_node_has_been_away),
        cmocka_unit_test(test_admit_double_elsewhere_takes_the_place_of_a_drained_node),
        cmocka_unit_test(test_admit_two_new_directories_with_one_id_do_not_both_join),
        cmocka_unit_test(test_admit_old_directory_does_not_register_over_a_new_one),
        cmocka_unit_test(test_admit_new_leader_waits_for_what_an_earlier_one_let_pass),
    };

    return cmocka_run_group_tests_name("cluster/admit_doubles", tests, NULL, NULL);
}
