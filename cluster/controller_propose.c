/* Proposals made on this node: tried at whoever leads, tried again, answered once applied here. */
#include "cluster/controller_parts.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/trace.h"
#include "cluster/proposal_command.h"
#include "spate/error.h"

#define TIMEOUT_MS_DEFAULT 5000

static void set_text(struct sp_proposal *proposal, int answer, const char *text)
{
    proposal->answer = answer;
    (void)snprintf(proposal->text, sizeof proposal->text, "%s", text);
}

/* Ends it; `cb` runs at the end of the turn. */
static void finish(struct sp_proposal *proposal, int answer, const char *text)
{
    struct sp_controller *controller = proposal->controller;

    SP_ASSERT(proposal->state != SP_PROPOSAL_FINISHED);
    if (proposal->job != NULL) {
        proposal->job->proposal = NULL;
        proposal->job = NULL;
    }
    if (text != proposal->text) {
        set_text(proposal, answer, text);
    }
    proposal->answer = answer;
    proposal->state = SP_PROPOSAL_FINISHED;
    sp_timer_stop(&proposal->timer);
    sp_list_remove(&proposal->node);
    sp_list_append(&controller->finished, &proposal->node);
    sp_controller_wake(controller);
}

static void wait_until(struct sp_proposal *proposal, uint64_t due_ms)
{
    proposal->state = SP_PROPOSAL_WAITING;
    proposal->due_ms = due_ms;
    sp_controller_wake(proposal->controller);
}

static void wait_for_pause(struct sp_proposal *proposal)
{
    wait_until(proposal,
               sp_loop_now_ms(proposal->controller->options.loop) + SP_CONTROLLER_TICK_MS);
}

static void on_deadline(struct sp_timer *timer)
{
    struct sp_proposal *proposal = SP_CONTAINER_OF(timer, struct sp_proposal, timer);

    if (proposal->state == SP_PROPOSAL_ANSWERED) {
        finish(proposal,
               SPATE_ERR_TIMEOUT,
               "the controller has answered, but this node has not caught up with it in time: look "
               "whether the change was made");
    } else if (proposal->uncertain || proposal->state != SP_PROPOSAL_WAITING) {
        finish(proposal,
               SPATE_ERR_TIMEOUT,
               "the controller did not answer in time: the change may or may not have been made");
    } else if (proposal->answer == SPATE_ERR_NOT_READY && proposal->text[0] != '\0') {
        finish(proposal, SPATE_ERR_NOT_READY, proposal->text);
    } else {
        finish(proposal,
               SPATE_ERR_LEADER_UNKNOWN,
               "the controller has no leader at the moment: a majority of the nodes must run and "
               "reach each other");
    }
}

/* ---- trying ---------------------------------------------------------------------------------- */

static int send_call(struct sp_proposal *proposal, uint32_t leader_node)
{
    struct sp_controller *controller = proposal->controller;
    struct sp_peer_message message = {
        .kind = SP_PEER_CALL,
        .u.call = { .call_id = controller->call_id_next, .method = SP_NODE_PROPOSE },
    };
    struct sp_buf body;

    sp_buf_init(&body, 4096);
    bool by_id = proposal->by_id;
    proposal->by_id = by_id && leader_node != proposal->older_node;
    int rv = sp_node_call_encode(proposal, &body);
    proposal->by_id = by_id;
    struct sp_blob *blob = rv == 0 ? sp_blob_copy(body.bytes, body.size) : NULL;
    sp_buf_deinit(&body);
    if (blob == NULL) {
        return rv != 0 ? rv : SPATE_ERR_NOMEM;
    }
    struct sp_slice piece = sp_slice_of(blob, 0, blob->size);
    sp_blob_unref(blob);
    rv = sp_transport_send(controller->options.transport, leader_node, &message, &piece, 1);
    sp_slice_unref(&piece);
    if (rv == 0) {
        proposal->call_id = controller->call_id_next++;
        proposal->called_node = leader_node;
    }
    return rv;
}

static bool leads_here(const struct sp_controller *controller)
{
    struct sp_raft_group_status status;

    if (controller->group == NULL) {
        return false;
    }
    sp_raft_group_status(controller->group, &status);
    return status.role == SP_ROLE_LEADER;
}

static void try_here(struct sp_proposal *proposal)
{
    struct sp_node_reply reply;

    proposal->state = SP_PROPOSAL_LED;
    if (sp_controller_lead(proposal->controller, proposal, proposal, 0, 0, &reply) != 0) {
        sp_controller_answered(proposal, &reply);
    }
}

/* Whether the topic that is to be deleted by its id is there, for all that this node knows. It is
 * all that can be asked while a node of an older build leads. */
static bool stands_here(const struct sp_proposal *proposal)
{
    const struct sp_state_topic *topic =
        sp_state_topic(proposal->controller->state, proposal->topic);

    return topic != NULL && topic->topic_id == proposal->topic_id;
}

static void try_there(struct sp_proposal *proposal, uint32_t leader_node)
{
    struct sp_controller *controller = proposal->controller;

    if (leader_node != 0 && leader_node == proposal->older_node && !stands_here(proposal)) {
        proposal->state = SP_PROPOSAL_ANSWERED;
        proposal->index = 0;
        sp_proposal_explain(
            proposal, SPATE_ERR_UNKNOWN_TOPIC, proposal->text, sizeof proposal->text);
        proposal->answer = SPATE_ERR_UNKNOWN_TOPIC;
        return; /* complete() is next */
    }
    if (leader_node == 0 || leader_node == controller->options.self.node_id ||
        send_call(proposal, leader_node) != 0) {
        wait_for_pause(proposal);
        return;
    }
    proposal->state = SP_PROPOSAL_CALLED;
    proposal->due_ms = sp_loop_now_ms(controller->options.loop) + SP_CONTROLLER_CALL_MS;
}

/* A call whose leader is gone, or that has waited too long, is tried again. */
static void check_call(struct sp_proposal *proposal, uint32_t leader_node, uint64_t now_ms)
{
    struct sp_controller *controller = proposal->controller;

    if (proposal->called_node == leader_node && now_ms < proposal->due_ms &&
        sp_transport_link(controller->options.transport, leader_node) == SP_LINK_UP) {
        return;
    }
    proposal->uncertain = true;
    wait_until(proposal, now_ms);
}

/* ---- answers --------------------------------------------------------------------------------- */

/* The topic that a create asked for stands there with the counts it asked for. */
static bool stands_as_asked(const struct sp_proposal *proposal)
{
    const struct sp_state_topic *topic =
        sp_state_topic(proposal->controller->state, proposal->topic);
    uint32_t partitions = proposal->partitions == 0 ? 1 : proposal->partitions;

    return topic != NULL && topic->partition_count == partitions &&
           (proposal->replicas == 0 || topic->partitions[0].replica_count == proposal->replicas);
}

/* What a change of membership asked for is so: by an earlier try, as far as anybody can tell. */
static bool is_done(const struct sp_proposal *proposal)
{
    bool ends = proposal->membership.kind == SP_MEMBERSHIP_MOVE_DONE ||
                proposal->membership.kind == SP_MEMBERSHIP_REMOVE_NODE ||
                proposal->membership.kind == SP_MEMBERSHIP_NODE_GONE;

    return proposal->answer == SPATE_ERR_EXISTS ||
           (ends && proposal->answer == SPATE_ERR_NOT_FOUND);
}

/* The answer is applied here. One that only says that an earlier try of ours got through is 0. */
static void complete(struct sp_proposal *proposal)
{
    bool done_before =
        proposal->uncertain &&
        ((proposal->kind == SP_PROPOSAL_CREATE_TOPIC && proposal->answer == SPATE_ERR_EXISTS &&
          !proposal->existed && stands_as_asked(proposal)) ||
         (proposal->kind == SP_PROPOSAL_DELETE_TOPIC &&
          proposal->answer == SPATE_ERR_UNKNOWN_TOPIC) ||
         (proposal->kind == SP_PROPOSAL_MEMBERSHIP && is_done(proposal)));

    if (done_before) {
        finish(proposal, 0, "");
    } else {
        finish(proposal, proposal->answer, proposal->text);
    }
}

/* Nothing here depends on its being applied: ids can be used at once, and a node that is taken out
 * is sent nothing more, perhaps not even that it is. */
static bool is_needed_here(const struct sp_proposal *proposal)
{
    uint32_t self = proposal->controller->options.self.node_id;

    if (proposal->kind == SP_PROPOSAL_MEMBERSHIP) {
        return proposal->membership.kind != SP_MEMBERSHIP_REMOVE_NODE ||
               proposal->membership.node_id != self;
    }
    return proposal->kind != SP_PROPOSAL_PRODUCER_BLOCK &&
           proposal->kind != SP_PROPOSAL_PRODUCER_NAME;
}

/* Every other number, also of a later version, is the outcome. */
static void take_outcome(struct sp_proposal *proposal, const struct sp_node_reply *reply)
{
    set_text(proposal, reply->status, reply->text);
    proposal->index = is_needed_here(proposal) ? reply->index : 0;
    proposal->producer_id_first = reply->producer_id_first;
    proposal->producer_epoch = reply->producer_epoch;
    proposal->state = SP_PROPOSAL_ANSWERED;
    sp_controller_wake(proposal->controller);
}

void sp_controller_answered(struct sp_proposal *proposal, const struct sp_node_reply *reply)
{
    switch (reply->status) {
    case SPATE_ERR_NOT_LEADER:
    case SPATE_ERR_NOT_READY:
        set_text(proposal, reply->status, reply->text);
        wait_for_pause(proposal);
        return;
    case SPATE_ERR_LEADER_CHANGED:
    case SPATE_ERR_STOPPED:  /* with what it had submitted */
    case SPATE_ERR_CANCELED: /* the same */
        proposal->uncertain = true;
        wait_for_pause(proposal);
        return;
    case SPATE_ERR_MALFORMED:
        if (proposal->by_id && proposal->older_node != proposal->called_node) {
            proposal->older_node = proposal->called_node;
            wait_for_pause(proposal);
            return;
        }
        break;
    default:
        break;
    }
    take_outcome(proposal, reply);
}

void sp_controller_reply(struct sp_controller *controller,
                         uint32_t from_node,
                         const struct sp_peer_message *message)
{
    struct sp_node_reply reply = { .status = message->u.call.status };

    SP_LIST_EACH_SAFE (node, &controller->proposals) {
        struct sp_proposal *proposal = SP_LIST_ENTRY(node, struct sp_proposal, node);
        if (proposal->state != SP_PROPOSAL_CALLED || proposal->called_node != from_node ||
            proposal->call_id != message->u.call.call_id) {
            continue;
        }
        if (reply.status > 0 ||
            sp_node_reply_decode(message->body.bytes, message->body.size, &reply) != 0) {
            return; /* no answer: the call runs into its time */
        }
        sp_controller_answered(proposal, &reply);
        return;
    }
}

/* ---- running --------------------------------------------------------------------------------- */

static void run(struct sp_proposal *proposal, uint32_t leader_node, uint64_t now_ms)
{
    struct sp_controller *controller = proposal->controller;

    if (proposal->state == SP_PROPOSAL_CALLED) {
        check_call(proposal, leader_node, now_ms);
    }
    if (proposal->state == SP_PROPOSAL_WAITING && now_ms >= proposal->due_ms) {
        if (leads_here(controller)) {
            try_here(proposal);
        } else {
            try_there(proposal, leader_node);
        }
    }
    if (proposal->state == SP_PROPOSAL_ANSWERED && controller->applied_index >= proposal->index) {
        complete(proposal);
    }
}

void sp_controller_run_proposals(struct sp_controller *controller)
{
    uint32_t leader_node = sp_controller_leader(controller);
    uint64_t now_ms = sp_loop_now_ms(controller->options.loop);

    SP_LIST_EACH_SAFE (node, &controller->proposals) {
        run(SP_LIST_ENTRY(node, struct sp_proposal, node), leader_node, now_ms);
    }
}

void sp_controller_hurry_proposals(struct sp_controller *controller)
{
    SP_LIST_EACH (node, &controller->proposals) {
        struct sp_proposal *proposal = SP_LIST_ENTRY(node, struct sp_proposal, node);
        if (proposal->state == SP_PROPOSAL_WAITING) {
            proposal->due_ms = 0;
        }
    }
}

void sp_controller_deliver(struct sp_controller *controller)
{
    struct sp_list ended;

    sp_list_init(&ended);
    sp_list_move(&ended, &controller->finished);
    while (!sp_list_empty(&ended)) {
        struct sp_proposal *proposal = SP_LIST_ENTRY(ended.next, struct sp_proposal, node);
        sp_list_remove(&proposal->node);
        controller->proposal_count -= 1;
        proposal->state = SP_PROPOSAL_IDLE;
        proposal->cb(proposal, proposal->answer, proposal->text);
    }
}

void sp_controller_cancel_proposals(struct sp_controller *controller)
{
    while (!sp_list_empty(&controller->proposals)) {
        finish(SP_LIST_ENTRY(controller->proposals.next, struct sp_proposal, node),
               SPATE_ERR_CANCELED,
               "the node is stopping");
    }
    sp_controller_deliver(controller);
}

void sp_controller_propose(struct sp_controller *controller, struct sp_proposal *proposal)
{
    uint32_t timeout_ms = proposal->timeout_ms == 0 ? TIMEOUT_MS_DEFAULT : proposal->timeout_ms;
    uint64_t now_ms = sp_loop_now_ms(controller->options.loop);
    bool full = controller->proposal_count >= SP_CONTROLLER_PROPOSALS_MAX;

    SP_ASSERT(proposal->state == SP_PROPOSAL_IDLE);
    proposal->controller = controller;
    proposal->job = NULL;
    proposal->uncertain = false;
    proposal->older_node = 0;
    proposal->existed = proposal->kind == SP_PROPOSAL_CREATE_TOPIC &&
                        sp_state_topic(controller->state, proposal->topic) != NULL;
    proposal->index = 0;
    set_text(proposal, 0, "");
    sp_timer_init(&proposal->timer, controller->options.loop, on_deadline);
    sp_list_append(&controller->proposals, &proposal->node);
    controller->proposal_count += 1;
    wait_until(proposal, now_ms);
    if (controller->stopped) {
        finish(proposal, SPATE_ERR_CANCELED, "the node is stopping");
    } else if (full) {
        finish(proposal, SPATE_ERR_BUSY, "too many changes are in progress on this node");
    } else if (sp_timer_start(&proposal->timer, now_ms + timeout_ms) != 0) {
        finish(proposal, SPATE_ERR_NOMEM, spate_strerror(SPATE_ERR_NOMEM));
    }
}

void sp_controller_cancel(struct sp_controller *controller, struct sp_proposal *proposal)
{
    if (proposal->state == SP_PROPOSAL_IDLE) {
        return;
    }
    if (proposal->state != SP_PROPOSAL_FINISHED) {
        finish(proposal, SPATE_ERR_CANCELED, "");
    }
    sp_list_remove(&proposal->node);
    controller->proposal_count -= 1;
    proposal->state = SP_PROPOSAL_IDLE;
}
