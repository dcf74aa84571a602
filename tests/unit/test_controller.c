#include "cluster/controller.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "cluster/node_call.h"
#include "fake_controller.h"
#include "fake_members.h"

/* ---- driving --------------------------------------------------------------------------------- */

static void on_changed(void *arg, const struct sp_state_change *change)
{
    (void)arg;
    (void)change;
    fake.changed_count += 1;
}

static void on_confirmed(void *arg)
{
    (void)arg;
    assert_true(sp_controller_is_confirmed(fake.controller));
    fake.confirmed_count += 1;
}

static void on_damaged(void *arg, uint64_t voter_id, const char *text)
{
    (void)arg;
    (void)text;
    fake.damaged_voter = voter_id;
}

static void on_failed(void *arg, int status, const char *text)
{
    (void)arg;
    assert_true(strlen(text) > 0);
    fake.failed = status;
}

static uint64_t node_replace_ms;
static uint32_t level_most; /* that all nodes know; 0: the first one */

static struct sp_state_node make_node(uint32_t node_id)
{
    struct sp_state_node node = { .node_id = node_id,
                                  .incarnation = 7,
                                  .features = { 1, level_most } };

    (void)snprintf(node.client_address, sizeof node.client_address, "c%u", node_id);
    (void)snprintf(node.peer_address, sizeof node.peer_address, "p%u", node_id);
    return node;
}

/* Applies one frame of the log, as the replica does. */
static int apply_bytes(const uint8_t *bytes, size_t size)
{
    struct sp_log_frame frame = { .kind = SP_FRAME_COMMAND,
                                  .length = (uint32_t)size,
                                  .term = fake.status.term,
                                  .index = fake.status.applied_index + 1,
                                  .append_time_ms = 5 };
    struct sp_machine *machine = fake.open->machine;

    int rv = machine->type->apply(machine, &frame, bytes);
    fake.status.applied_index += 1;
    fake.status.commit_index = fake.status.applied_index;
    if (fake.status.last_index < fake.status.applied_index) {
        fake.status.last_index = fake.status.applied_index;
    }
    return rv;
}

static void apply_buf(struct sp_buf *buf)
{
    assert_int_equal(apply_bytes(buf->bytes, buf->size), 0);
    sp_buf_deinit(buf);
}

static void apply_register(uint32_t node_id)
{
    struct sp_state_node node = make_node(node_id);
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    assert_int_equal(sp_state_command_register_node(&node, &buf), 0);
    apply_buf(&buf);
}

static void apply_create(const char *name, uint32_t node_id)
{
    const struct sp_topic_config config = { .set = 1U << SP_TOPIC_MESSAGE_BYTES_MAX,
                                            .values = { 4096 } };
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    assert_int_equal(sp_state_command_create_topic(name, 1, 1, &node_id, &config, &buf), 0);
    apply_buf(&buf);
}

/* Commits all that was submitted and not yet ended. */
static void commit_submits(void)
{
    for (unsigned i = 0; i < fake.submit_count; i++) {
        if (!fake.submits[i].applied) {
            fake.submits[i].applied = true;
            assert_int_equal(apply_bytes(fake.submits[i].bytes, fake.submits[i].size), 0);
            fake.submits[i].submit->cb(fake.submits[i].submit, 0);
        }
    }
    fake_turn();
}

/* Ends all submits without an outcome, as a replica that loses leadership does. */
static void lose_submits(int status)
{
    for (unsigned i = 0; i < fake.submit_count; i++) {
        if (!fake.submits[i].applied) {
            fake.submits[i].applied = true;
            fake.submits[i].submit->cb(fake.submits[i].submit, status);
        }
    }
}

static void change_role(enum sp_role role, bool ready, uint32_t leader)
{
    fake.status.role = role;
    fake.status.ready = ready;
    fake.status.confirmed = fake.status.confirmed || ready;
    fake.leader = leader;
    fake.open->machine->type->role_changed(fake.open->machine);
    fake_turn();
}

/* A controller of node 1 whose replica follows; nodes 1 to 3 are registered. */
static void begin(void)
{
    static const struct sp_controller_handler handler = {
        on_changed, on_confirmed, on_failed, on_damaged
    };
    static const uint32_t members[] = { 3, 1, 2 };
    struct sp_controller_options options = { .self = make_node(SELF),
                                             .node_replace_ms = node_replace_ms };

    memset(&fake, 0, sizeof fake);
    fake_loop_init();
    fake.live_count = sp_mem_live_count();
    fake.link = SP_LINK_UP;
    fake.status.term = 4;
    fake.status.voters = 3;
    assert_int_equal(sp_controller_new(&options, &handler, NULL, &fake.controller), 0);
    sp_controller_start(fake.controller, 0, members, 3);
    assert_int_equal(fake.open->group_id, 0);
    assert_int_equal(fake.open->replica_id, SELF);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(fake.open->places[i].node_id, i + 1);
        assert_int_equal(fake.open->places[i].replica_id, i + 1);
        apply_register(i + 1);
    }
    fake.open->group = (struct sp_raft_group *)(void *)&fake_group;
    fake.open->cb(fake.open, 0);
    fake_turn();
}

static void end(void)
{
    sp_controller_stop(fake.controller);
    lose_submits(SPATE_ERR_CANCELED);
    fake_turn();
    sp_controller_free(fake.controller);
    for (unsigned i = 0; i < fake.submit_count; i++) {
        sp_mem_free(fake.submits[i].bytes);
    }
    assert_int_equal(fake_loop.timer_count, 0);
    assert_int_equal(sp_mem_live_count(), fake.live_count);
}

/* A proposal with what its callback saw. */
struct asked {
    struct sp_proposal proposal;
    unsigned count;
    int status;
    char text[256];
};

static void on_proposal(struct sp_proposal *proposal, int status, const char *text)
{
    struct asked *asked = SP_CONTAINER_OF(proposal, struct asked, proposal);

    asked->count += 1;
    asked->status = status;
    (void)snprintf(asked->text, sizeof asked->text, "%s", text);
}

static void ask(struct asked *asked, enum sp_proposal_kind kind, const char *topic)
{
    *asked = (struct asked){ .proposal = { .kind = kind, .cb = on_proposal } };
    (void)snprintf(asked->proposal.topic, sizeof asked->proposal.topic, "%s", topic);
    sp_controller_propose(fake.controller, &asked->proposal);
    assert_int_equal(asked->count, 0);
}

static void ask_create(struct asked *asked, const char *topic, uint32_t replicas)
{
    *asked = (struct asked){ .proposal = { .cb = on_proposal, .replicas = replicas } };
    (void)snprintf(asked->proposal.topic, sizeof asked->proposal.topic, "%s", topic);
    sp_controller_propose(fake.controller, &asked->proposal);
}

/* Answers the call that was sent last. */
static void reply(int status, uint64_t index)
{
    struct sp_node_reply node_reply = { .status = status, .text = "t", .index = index };
    struct sp_peer_message message = fake.sent[fake.sent_count - 1].message;
    struct sp_buf body;

    assert_int_equal(message.kind, SP_PEER_CALL);
    sp_buf_init(&body, 1024);
    assert_int_equal(sp_node_reply_encode(&node_reply, &body), 0);
    message.kind = SP_PEER_REPLY;
    message.u.call.status = status;
    message.body = (struct sp_slice){ .bytes = body.bytes, .size = body.size };
    sp_controller_message(fake.controller, fake.sent[fake.sent_count - 1].node_id, &message);
    sp_buf_deinit(&body);
    fake_turn();
}

/* Lets node 2 ask this node. */
static void call(const struct sp_proposal *proposal, uint64_t call_id)
{
    struct sp_peer_message message = {
        .kind = SP_PEER_CALL, .u.call = { .call_id = call_id, .method = SP_NODE_PROPOSE }
    };
    struct sp_buf body;

    sp_buf_init(&body, 4096);
    assert_int_equal(sp_node_call_encode(proposal, &body), 0);
    message.body = (struct sp_slice){ .bytes = body.bytes, .size = body.size };
    sp_controller_message(fake.controller, 2, &message);
    sp_buf_deinit(&body);
    fake_turn();
}

/* ---- tests ----------------------------------------------------------------------------------- */

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

static void test_controller_knows_replicas_that_are_no_members(void **unused)
{
    (void)unused;
    begin();
    apply_create("t", SELF);
    const struct sp_state_topic *topic = sp_state_topic(sp_controller_state(fake.controller), "t");
    fake_members.group_id = topic->partitions[0].group_id;
    fake_members.stranger = 0;
    assert_false(sp_controller_has_others(fake.controller, NULL));
    fake_members.stranger = topic->partitions[0].replicas[0].replica_id;
    assert_true(sp_controller_has_others(fake.controller, NULL));
    fake_members.stranger = 0;
    fake_members.group_id = topic->partitions[0].group_id + 100; /* made or deleted meanwhile */
    assert_true(sp_controller_has_others(fake.controller, NULL));
    end();
}

/* Cut off from the others, a node cannot know whether a topic that it lacks was created. */
static void test_controller_is_current_only_while_it_follows_a_leader(void **unused)
{
    (void)unused;
    begin();
    fake.status.leader_node = 2;
    assert_false(sp_controller_is_current(fake.controller)); /* not confirmed yet */
    fake.status.confirmed = true;
    fake_wait(60);
    assert_true(sp_controller_is_current(fake.controller));
    fake.status.leader_node = 0;
    assert_true(sp_controller_is_confirmed(fake.controller));
    assert_false(sp_controller_is_current(fake.controller));
    end();
}

static enum sp_rebuild rebuild(uint32_t node_id, uint64_t down_ms, uint64_t *out_rest_ms)
{
    return sp_controller_rebuild(fake.controller, node_id, down_ms, out_rest_ms);
}

static void raise_level(void)
{
    struct sp_buf buf;

    sp_buf_init(&buf, 64);
    assert_int_equal(sp_state_command_feature_level(SP_FEATURE_LEVEL_MAX, &buf), 0);
    apply_buf(&buf);
}

/* The leader counts from when it has seen the node down; others reckon from when they know it. */
static void test_controller_tells_when_a_gone_node_is_replaced(void **unused)
{
    uint64_t rest_ms = 9;

    (void)unused;
    begin();
    assert_int_equal(rebuild(3, 0, &rest_ms), SP_REBUILD_OFF);
    assert_int_equal(rest_ms, 0);
    end();
    node_replace_ms = 60000;
    level_most = SP_FEATURE_LEVEL_MAX;
    begin();
    assert_int_equal(rebuild(3, 0, &rest_ms), SP_REBUILD_UNSUPPORTED);
    raise_level();
    assert_int_equal(rebuild(3, 0, &rest_ms), SP_REBUILD_NO_CONTROLLER);
    fake_wait(20000);
    fake.leader = 2; /* it was elected a second before it was known here */
    fake.leader_ms = fake_loop.now_ms - 1000;
    assert_int_equal(rebuild(3, fake_loop.now_ms - 15000, &rest_ms), SP_REBUILD_WAITING);
    assert_int_equal(rest_ms, 59000);
    assert_int_equal(rebuild(3, fake_loop.now_ms - 200, &rest_ms), SP_REBUILD_WAITING);
    assert_int_equal(rest_ms, 59800);

    fake.link = SP_LINK_DEAD;
    change_role(SP_ROLE_LEADER, true, SELF);
    fake_wait(1000);
    assert_int_equal(rebuild(3, 1, &rest_ms), SP_REBUILD_WAITING);
    assert_in_range(rest_ms, 58000, 60000); /* it leads since then, and looks now and then */
    assert_false(sp_controller_is_gone(fake.controller, 3));
    fake_wait((unsigned)rest_ms - 1);
    assert_int_equal(rebuild(3, 1, &rest_ms), SP_REBUILD_WAITING);
    assert_int_equal(rest_ms, 1);
    fake_wait(1);
    assert_int_equal(rebuild(3, 1, &rest_ms), SP_REBUILD_DUE);
    assert_true(sp_controller_is_gone(fake.controller, 3)); /* the same moment */
    end();
    node_replace_ms = 0;
    level_most = 0;
}

static void test_controller_registers_itself_once_confirmed_and_when_different(void **unused)
{
    static const struct sp_controller_handler handler = {
        on_changed, on_confirmed, on_failed, on_damaged
    };
    struct sp_controller_options options = { .self = make_node(SELF) };
    struct sp_proposal sent;

    (void)unused;
    begin();
    assert_int_equal(fake.confirmed_count, 0);
    assert_int_equal(fake.set_node_count, 2); /* hints */
    fake.leader = 2;
    fake.status.confirmed = true; /* learned with a heartbeat: no event tells */
    fake_wait(60);
    assert_int_equal(fake.confirmed_count, 1);
    assert_int_equal(fake.set_node_count, 4);
    fake_wait(200);
    assert_int_equal(fake.sent_count, 0);
    assert_int_equal(fake_loop.timer_count, 0);
    end();

    begin();
    sp_controller_free(fake.controller);
    (void)snprintf(options.self.rack, sizeof options.self.rack, "r2");
    assert_int_equal(sp_controller_new(&options, &handler, NULL, &fake.controller), 0);
    sp_controller_start(fake.controller, 0, NULL, 0);
    assert_null(fake.open->places);
    apply_register(SELF);
    fake.open->group = (struct sp_raft_group *)(void *)&fake_group;
    fake.open->cb(fake.open, 0);
    fake.status.confirmed = true;
    change_role(SP_ROLE_FOLLOWER, false, 2);
    assert_int_equal(fake.sent_count, 1);
    assert_int_equal(sp_node_call_decode(fake.sent[0].body, fake.sent[0].size, &sent), 0);
    assert_int_equal(sent.kind, SP_PROPOSAL_REGISTER_NODE);
    assert_string_equal(sent.self.rack, "r2");
    reply(SPATE_ERR_BUSY, 0);
    fake_wait(900);
    assert_int_equal(fake.sent_count, 1);
    fake_wait(200);
    assert_int_equal(fake.sent_count, 2);
    end();
}

static void test_controller_restore_confirms_again_and_node_changes_reach_transport(void **unused)
{
    struct sp_buf bytes;

    (void)unused;
    begin();
    change_role(SP_ROLE_LEADER, true, SELF);
    assert_int_equal(fake.confirmed_count, 1);
    assert_int_equal(fake.set_node_count, 4);
    apply_register(4);
    assert_int_equal(fake.set_node_count, 5);
    struct sp_machine *machine = fake.open->machine;
    sp_buf_init(&bytes, 65536);
    assert_int_equal(machine->type->checkpoint(machine, &bytes), 0);
    assert_int_equal(machine->type->restore(machine, bytes.bytes, bytes.size), 0);
    fake_turn();
    assert_int_equal(fake.confirmed_count, 2);
    assert_int_equal(fake.set_node_count, 8);
    assert_int_equal(machine->type->restore(machine, bytes.bytes, bytes.size - 1),
                     SPATE_ERR_CORRUPT);
    assert_int_equal(apply_bytes((const uint8_t *)"\x91\x02", 2), SPATE_ERR_CORRUPT);
    machine->type->stopped(machine, SPATE_ERR_CORRUPT, "the log contradicts itself");
    assert_int_equal(fake.failed, 0);
    fake_turn();
    assert_int_equal(fake.failed, SPATE_ERR_CORRUPT);
    sp_buf_deinit(&bytes);
    end();
}

static void test_controller_stop_cancels_what_is_pending(void **unused)
{
    struct asked waiting;
    struct asked led;
    struct asked taken_back;
    struct asked late;

    (void)unused;
    begin();
    change_role(SP_ROLE_LEADER, true, SELF);
    ask_create(&led, "t", 1);
    ask_create(&taken_back, "u", 1);
    fake_turn();
    sp_controller_cancel(fake.controller, &taken_back.proposal);
    change_role(SP_ROLE_FOLLOWER, false, 0);
    ask_create(&waiting, "v", 1);
    fake_turn();
    sp_controller_stop(fake.controller);
    assert_int_equal(led.status, SPATE_ERR_CANCELED);
    assert_int_equal(waiting.status, SPATE_ERR_CANCELED);
    ask_create(&late, "w", 1);
    fake_turn();
    assert_int_equal(late.status, SPATE_ERR_CANCELED);
    assert_int_equal(taken_back.count, 0);
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
        cmocka_unit_test(test_controller_knows_replicas_that_are_no_members),
        cmocka_unit_test(test_controller_is_current_only_while_it_follows_a_leader),
        cmocka_unit_test(test_controller_tells_when_a_gone_node_is_replaced),
        cmocka_unit_test(test_controller_registers_itself_once_confirmed_and_when_different),
        cmocka_unit_test(test_controller_restore_confirms_again_and_node_changes_reach_transport),
        cmocka_unit_test(test_controller_stop_cancels_what_is_pending),
    };
    return cmocka_run_group_tests_name("cluster/controller", tests, NULL, NULL);
}
