/* What it costs the cluster when nodes ask to be let in, or only where the others are. */
#include "driven_controller.h"

#include "cluster/admit.h"

static struct sp_identity identity = { .state = SP_IDENTITY_FORMED, .cluster_id = { 9 } };
static struct sp_join_answer answer; /* the last one */
static unsigned answer_count;
static struct sp_admit *admit;

const struct sp_identity *sp_store_identity(const struct sp_store *store)
{
    (void)store;
    return &identity;
}

static unsigned double_count; /* processes that were not let in, as another one has their node id */

void sp_transport_note_double(struct sp_transport *transport,
                              uint32_t node_id,
                              uint64_t incarnation,
                              const char *text)
{
    (void)transport;
    assert_int_not_equal(node_id, 0);
    assert_int_not_equal(incarnation, 0);
    assert_int_not_equal(text[0], '\0');
    double_count += 1;
}

static unsigned foreign_count;

void sp_transport_note_foreign(struct sp_transport *transport,
                               const char *address,
                               const char *text)
{
    (void)transport;
    assert_string_equal(address, "p5");
    assert_int_not_equal(text[0], '\0');
    foreign_count += 1;
}

void sp_transport_answer_guest(struct sp_transport *transport,
                               uint64_t guest,
                               const struct sp_slice *body)
{
    (void)transport;
    assert_int_equal(guest, 77);
    assert_int_equal(sp_join_answer_decode(body->bytes, body->size, &answer), 0);
    answer_count += 1;
}

/* Node 1 leads, nodes 1 to 3 are members; node 9 is no member of group 0. */
static void begin_leading(void)
{
    level_most = SP_FEATURE_LEVEL_MAX;
    begin();
    fake_members.stranger = 9;
    fake.status.leader_node = SELF;
    change_role(SP_ROLE_LEADER, true, SELF);
    commit_submits(); /* the level rises */
    assert_int_equal(sp_state_feature_level(sp_controller_state(fake.controller)),
                     SP_FEATURE_LEVEL_MAX);
    assert_int_equal(sp_admit_new(fake.controller, NULL, NULL, &admit), 0);
    answer_count = 0;
}

static void end_leading(void)
{
    sp_admit_free(admit);
    end();
    level_most = 0;
    fake_members.stranger = 0;
}

/* How many commands that has cost. */
static unsigned ask_with(const struct sp_join_request *request)
{
    unsigned before = fake.submit_count;
    unsigned answers = answer_count;
    struct sp_buf body;

    sp_buf_init(&body, 4096);
    assert_int_equal(sp_join_request_encode(request, &body), 0);
    const struct sp_slice slice = { .bytes = body.bytes, .size = body.size };
    sp_admit_request(admit, 77, &slice);
    fake_turn();
    commit_submits();
    sp_buf_deinit(&body);
    assert_int_equal(answer_count, answers + 1);
    return fake.submit_count - before;
}

static struct sp_join_request request_of(const struct sp_state_node *node, uint64_t voter_id)
{
    struct sp_join_request request = { .node = *node, .voter_id = voter_id };

    request.formed = voter_id != 0;
    memcpy(request.cluster_id, identity.cluster_id, sizeof request.cluster_id);
    return request;
}

static unsigned ask_in(const struct sp_state_node *node, uint64_t voter_id)
{
    const struct sp_join_request request = request_of(node, voter_id);

    return ask_with(&request);
}

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

static uint64_t incarnation_of(uint32_t node_id)
{
    return sp_state_node(sp_controller_state(fake.controller), node_id)->incarnation;
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
        cmocka_unit_test(test_admit_member_that_asks_again_costs_no_command),
        cmocka_unit_test(test_admit_member_is_answered_by_any_other),
        cmocka_unit_test(test_admit_node_that_was_removed_costs_no_command),
        cmocka_unit_test(test_admit_older_copy_of_a_directory_is_not_let_in),
        cmocka_unit_test(test_admit_newcomer_that_asks_twice_is_let_in_once),
        cmocka_unit_test(test_admit_leader_looks_again_at_who_joins),
        cmocka_unit_test(test_admit_double_does_not_take_the_place_of_a_node_that_runs),
        cmocka_unit_test(test_admit_double_elsewhere_waits_until_the_node_has_been_away),
        cmocka_unit_test(test_admit_double_elsewhere_takes_the_place_of_a_drained_node),
        cmocka_unit_test(test_admit_founder_that_never_registered_is_given_another_replica),
        cmocka_unit_test(test_admit_founder_that_never_registered_is_told_who_sees_to_it),
        cmocka_unit_test(test_admit_voter_whose_loss_leaves_no_majority_is_told_so),
        cmocka_unit_test(test_admit_node_of_another_cluster_is_told_which_it_met),
        cmocka_unit_test(test_admit_two_new_directories_with_one_id_do_not_both_join),
        cmocka_unit_test(test_admit_old_directory_does_not_register_over_a_new_one),
        cmocka_unit_test(test_admit_new_leader_waits_for_what_an_earlier_one_let_pass),
    };
    return cmocka_run_group_tests_name("cluster/admit", tests, NULL, NULL);
}
