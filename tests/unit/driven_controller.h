/* A controller of node 1 with its stand-ins, and who asks it. Included once, by one test. */
#ifndef SP_UNIT_DRIVEN_CONTROLLER_H
#define SP_UNIT_DRIVEN_CONTROLLER_H

#include <stdio.h>
#include <stdlib.h>

#include "cluster/node_call.h"
#include "fake_controller.h"
#include "fake_members.h"

static inline void on_changed(void *arg, const struct sp_state_change *change)
{
    (void)arg;
    (void)change;
    fake.changed_count += 1;
}

static inline void on_confirmed(void *arg)
{
    (void)arg;
    assert_true(sp_controller_is_confirmed(fake.controller));
    fake.confirmed_count += 1;
}

static inline void on_damaged(void *arg, uint64_t voter_id, const char *text)
{
    (void)arg;
    (void)text;
    fake.damaged_voter = voter_id;
}

static inline void on_failed(void *arg, int status, const char *text)
{
    (void)arg;
    assert_true(strlen(text) > 0);
    fake.failed = status;
}

static uint64_t node_replace_ms;
static uint32_t level_most; /* that all nodes know; 0: the first one */

static inline struct sp_state_node make_node(uint32_t node_id)
{
    struct sp_state_node node = { .node_id = node_id,
                                  .incarnation = 7,
                                  .features = { 1, level_most } };

    (void)snprintf(node.client_address, sizeof node.client_address, "c%u", node_id);
    (void)snprintf(node.peer_address, sizeof node.peer_address, "p%u", node_id);
    return node;
}

/* Applies one frame of the log, as the replica does. */
static inline int apply_bytes(const uint8_t *bytes, size_t size)
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

static inline void apply_buf(struct sp_buf *buf)
{
    assert_int_equal(apply_bytes(buf->bytes, buf->size), 0);
    sp_buf_deinit(buf);
}

static inline void apply_register(uint32_t node_id)
{
    struct sp_state_node node = make_node(node_id);
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    assert_int_equal(sp_state_command_register_node(&node, &buf), 0);
    apply_buf(&buf);
}

static inline void apply_create(const char *name, uint32_t node_id)
{
    const struct sp_topic_config config = { .set = 1U << SP_TOPIC_MESSAGE_BYTES_MAX,
                                            .values = { 4096 } };
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    assert_int_equal(sp_state_command_create_topic(name, 1, 1, &node_id, &config, &buf), 0);
    apply_buf(&buf);
}

/* Commits all that was submitted and not yet ended. */
static inline void commit_submits(void)
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
static inline void lose_submits(int status)
{
    for (unsigned i = 0; i < fake.submit_count; i++) {
        if (!fake.submits[i].applied) {
            fake.submits[i].applied = true;
            fake.submits[i].submit->cb(fake.submits[i].submit, status);
        }
    }
}

static inline void change_role(enum sp_role role, bool ready, uint32_t leader)
{
    fake.status.role = role;
    fake.status.ready = ready;
    fake.status.confirmed = fake.status.confirmed || ready;
    fake.leader = leader;
    fake.open->machine->type->role_changed(fake.open->machine);
    fake_turn();
}

/* A controller of node 1 whose replica follows; nodes 1 to 3 are registered. */
static inline void begin(void)
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

static inline void end(void)
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

static inline void on_proposal(struct sp_proposal *proposal, int status, const char *text)
{
    struct asked *asked = SP_CONTAINER_OF(proposal, struct asked, proposal);

    asked->count += 1;
    asked->status = status;
    (void)snprintf(asked->text, sizeof asked->text, "%s", text);
}

static inline void ask(struct asked *asked, enum sp_proposal_kind kind, const char *topic)
{
    *asked = (struct asked){ .proposal = { .kind = kind, .cb = on_proposal } };
    (void)snprintf(asked->proposal.topic, sizeof asked->proposal.topic, "%s", topic);
    sp_controller_propose(fake.controller, &asked->proposal);
    assert_int_equal(asked->count, 0);
}

static inline void ask_create(struct asked *asked, const char *topic, uint32_t replicas)
{
    *asked = (struct asked){ .proposal = { .cb = on_proposal, .replicas = replicas } };
    (void)snprintf(asked->proposal.topic, sizeof asked->proposal.topic, "%s", topic);
    sp_controller_propose(fake.controller, &asked->proposal);
}

/* Answers the call that was sent last. */
static inline void reply(int status, uint64_t index)
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
static inline void call(const struct sp_proposal *proposal, uint64_t call_id)
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

#endif /* SP_UNIT_DRIVEN_CONTROLLER_H */
