/* The leader's side of the controller: checks proposals, submits commands, answers. */
#include "cluster/controller_parts.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "cluster/proposal_command.h"
#include "spate/error.h"

/* Sends a reply; when it gets lost the caller tries again. */
static void send_reply(struct sp_controller *controller,
                       uint32_t to_node,
                       uint64_t call_id,
                       const struct sp_node_reply *reply)
{
    struct sp_peer_message message = {
        .kind = SP_PEER_REPLY,
        .u.call = { .call_id = call_id, .method = SP_NODE_PROPOSE, .status = reply->status },
    };
    struct sp_slice piece = { 0 };
    struct sp_buf body;

    sp_buf_init(&body, 1024);
    int rv = sp_node_reply_encode(reply, &body);
    struct sp_blob *blob = rv == 0 ? sp_blob_copy(body.bytes, body.size) : NULL;
    sp_buf_deinit(&body);
    if (blob == NULL) {
        return;
    }
    piece = sp_slice_of(blob, 0, blob->size);
    sp_blob_unref(blob);
    (void)sp_transport_send(controller->options.transport, to_node, &message, &piece, 1);
    sp_slice_unref(&piece);
}

static void job_free(struct sp_controller_job *job)
{
    sp_list_remove(&job->node);
    job->controller->job_count -= 1;
    sp_mem_free(job);
}

/* What a submit that ended with `status` means for whoever asked. */
static void job_reply(const struct sp_controller_job *job, int status, struct sp_node_reply *reply)
{
    *reply = (struct sp_node_reply){
        .status = status == 0 ? job->outcome.answer : SPATE_ERR_LEADER_CHANGED,
        .index = job->submit.index,
        .producer_id_first = job->outcome.producer_id_first,
        .producer_epoch = job->outcome.producer_epoch,
    };
    sp_proposal_explain(&job->request, reply->status, reply->text, sizeof reply->text);
}

static void on_submit(struct sp_submit *submit, int status)
{
    struct sp_controller_job *job = SP_CONTAINER_OF(submit, struct sp_controller_job, submit);
    struct sp_controller *controller = job->controller;
    struct sp_node_reply reply;

    job_reply(job, status, &reply);
    if (job->proposal != NULL) {
        job->proposal->job = NULL;
        sp_controller_answered(job->proposal, &reply);
    } else if (job->from_node != 0 && !controller->stopped) {
        send_reply(controller, job->from_node, job->call_id, &reply);
    }
    job_free(job);
}

void sp_controller_job_applied(struct sp_controller *controller,
                               uint64_t index,
                               uint64_t term,
                               const struct sp_controller_outcome *outcome)
{
    SP_LIST_EACH (node, &controller->jobs) {
        struct sp_controller_job *job = SP_LIST_ENTRY(node, struct sp_controller_job, node);
        if (job->submit.index == index && job->submit.term == term) {
            job->outcome = *outcome;
            return;
        }
    }
}

static bool changes_members(const struct sp_proposal *request, enum sp_membership_kind kind)
{
    return request->kind == SP_PROPOSAL_MEMBERSHIP && request->membership.kind == kind;
}

/* A node is on its way in, perhaps with another disk, on which an only replica begins anew. A move
 * waits for it: one that keeps that node, which is refused then (membership_command.c), would put
 * another replica in its place, and what was acknowledged meanwhile would be lost. */
static bool disks_may_change(const struct sp_controller *controller)
{
    SP_LIST_EACH (node, &controller->jobs) {
        if (changes_members(&SP_LIST_ENTRY(node, struct sp_controller_job, node)->request,
                            SP_MEMBERSHIP_JOIN_NODE)) {
            return true;
        }
    }
    return false;
}

/* A command is on its way that may give moves other targets. The end of a move waits for it: what
 * it was checked against must still hold when it is applied (state_moves.h M2). */
static bool moves_may_change(const struct sp_controller *controller)
{
    SP_LIST_EACH (node, &controller->jobs) {
        const struct sp_proposal *request =
            &SP_LIST_ENTRY(node, struct sp_controller_job, node)->request;
        if (request->kind == SP_PROPOSAL_MEMBERSHIP &&
            request->membership.kind != SP_MEMBERSHIP_MOVE_DONE) {
            return true;
        }
    }
    return false;
}

/* A command is on its way after which the name may mean another topic. A deletion by id waits for
 * it: the command names the topic alone, so what it was checked against must still hold when it is
 * applied. Commands of earlier leaders are applied by the time a leader is ready. */
static bool name_may_change(const struct sp_controller *controller, const char *topic)
{
    SP_LIST_EACH (node, &controller->jobs) {
        const struct sp_proposal *request =
            &SP_LIST_ENTRY(node, struct sp_controller_job, node)->request;
        if ((request->kind == SP_PROPOSAL_CREATE_TOPIC ||
             request->kind == SP_PROPOSAL_DELETE_TOPIC) &&
            strcmp(request->topic, topic) == 0) {
            return true;
        }
    }
    return false;
}

/* Whose entry the command writes or takes out; 0: nobody's. */
static uint32_t entry_of(const struct sp_proposal *request)
{
    const struct sp_membership_change *membership = &request->membership;

    if (request->kind == SP_PROPOSAL_REGISTER_NODE) {
        return request->self.node_id;
    }
    if (request->kind != SP_PROPOSAL_MEMBERSHIP) {
        return 0;
    }
    if (membership->kind == SP_MEMBERSHIP_JOIN_NODE) {
        return membership->node.node_id;
    }
    return membership->kind == SP_MEMBERSHIP_NODE_GONE ? membership->node_id : 0;
}

/* A command is on its way after which another directory may have that node id, or nobody. What
 * registers or joins under it waits: with which directory the id is known was looked at before, and
 * must still hold when it is applied, since applying does not look at it. */
static bool entry_may_change(const struct sp_controller *controller, uint32_t node_id)
{
    SP_LIST_EACH (node, &controller->jobs) {
        if (entry_of(&SP_LIST_ENTRY(node, struct sp_controller_job, node)->request) == node_id) {
            return true;
        }
    }
    return false;
}

/* True, with the reason, while what is on its way has to be applied first: it is tried again. */
static bool must_wait(const struct sp_controller *controller,
                      const struct sp_proposal *request,
                      char *text,
                      size_t text_size)
{
    uint32_t node_id = entry_of(request);

    text[0] = '\0';
    if (node_id != 0 && entry_may_change(controller, node_id)) {
        (void)snprintf(text,
                       text_size,
                       "node %u registers, joins or goes at the moment: one after the other",
                       node_id);
    } else if (request->kind == SP_PROPOSAL_DELETE_TOPIC && request->by_id &&
               name_may_change(controller, request->topic)) {
        (void)snprintf(text,
                       text_size,
                       "another change of the topic `%.100s` is not done yet",
                       request->topic);
    } else if (changes_members(request, SP_MEMBERSHIP_MOVE) && disks_may_change(controller)) {
        (void)snprintf(text, text_size, "a node joins at the moment: one after the other");
    } else if (changes_members(request, SP_MEMBERSHIP_MOVE_DONE) && moves_may_change(controller)) {
        (void)snprintf(text, text_size, "another change of members or moves is not done yet");
    }
    return text[0] != '\0';
}

/* Builds the command into `command`, as the leader of a state that is up to date. */
static int build_command(struct sp_controller *controller,
                         const struct sp_proposal *request,
                         struct sp_buf *command,
                         struct sp_node_reply *reply)
{
    struct sp_raft_group_status status = { 0 };
    uint64_t now_ms = sp_loop_now_ms(controller->options.loop);

    if (controller->group != NULL) {
        sp_raft_group_status(controller->group, &status);
    }
    if (status.role != SP_ROLE_LEADER) {
        return SPATE_ERR_NOT_LEADER;
    }
    if (!status.ready || must_wait(controller, request, reply->text, sizeof reply->text)) {
        return SPATE_ERR_NOT_READY;
    }
    if (controller->ready_since_ms == 0) {
        controller->ready_since_ms = now_ms;
    }
    reply->index = status.applied_index;
    struct sp_proposal_view view = {
        .state = controller->state,
        .health = sp_controller_placing_health,
        .led = sp_controller_is_led,
        .arg = controller,
        .append_time_ms = sp_raft_group_append_time_ms(controller->group),
        .voters = status.voters,
        .wait_for_voters = now_ms < controller->ready_since_ms + SP_CONTROLLER_GRACE_MS,
    };
    int rv = sp_proposal_command(&view, request, command, reply->text, sizeof reply->text);
    if (rv == 0 && request->kind == SP_PROPOSAL_MEMBERSHIP &&
        request->membership.kind == SP_MEMBERSHIP_JOIN_NODE) {
        rv = sp_controller_check_double(
            controller, &request->membership.node, reply->text, sizeof reply->text);
    }
    return rv;
}

static int submit_command(struct sp_controller *controller,
                          const struct sp_buf *command,
                          struct sp_controller_job *job)
{
    struct sp_iovec piece = { .bytes = command->bytes, .size = command->size };

    job->outcome.answer = SPATE_ERR_INTERNAL;
    job->submit.cb = on_submit;
    return sp_raft_group_submit(controller->group, SP_FRAME_COMMAND, &piece, 1, &job->submit);
}

static struct sp_controller_job *job_new(struct sp_controller *controller,
                                         const struct sp_proposal *request)
{
    struct sp_controller_job *job = sp_mem_calloc(1, sizeof *job);

    if (job == NULL) {
        return NULL;
    }
    job->controller = controller;
    job->request.kind = request->kind;
    memcpy(job->request.topic, request->topic, sizeof job->request.topic);
    job->request.by_id = request->by_id;
    job->request.topic_id = request->topic_id;
    memcpy(job->request.producer_name, request->producer_name, sizeof job->request.producer_name);
    job->request.self.node_id = request->self.node_id;
    job->request.membership.kind = request->membership.kind;
    job->request.membership.node.node_id = request->membership.node.node_id;
    job->request.membership.node_id = request->membership.node_id;
    sp_list_append(&controller->jobs, &job->node);
    controller->job_count += 1;
    return job;
}

int sp_controller_lead(struct sp_controller *controller,
                       const struct sp_proposal *request,
                       struct sp_proposal *proposal,
                       uint32_t from_node,
                       uint64_t call_id,
                       struct sp_node_reply *reply)
{
    struct sp_controller_job *job = NULL;
    struct sp_buf command;

    *reply = (struct sp_node_reply){ 0 };
    sp_buf_init(&command, SP_CONTROLLER_COMMAND_MAX);
    int rv = build_command(controller, request, &command, reply);
    if (rv == 0 && controller->job_count >= SP_CONTROLLER_JOBS_MAX) {
        rv = SPATE_ERR_BUSY;
    }
    if (rv == 0) {
        job = job_new(controller, request);
        rv = job == NULL ? SPATE_ERR_NOMEM : submit_command(controller, &command, job);
    }
    sp_buf_deinit(&command);
    if (rv != 0) {
        if (job != NULL) {
            job_free(job);
        }
        reply->status = rv;
        if (reply->text[0] == '\0') {
            sp_proposal_explain(request, rv, reply->text, sizeof reply->text);
        }
        return rv;
    }
    job->proposal = proposal;
    job->from_node = from_node;
    job->call_id = call_id;
    if (proposal != NULL) {
        proposal->job = job;
    }
    return 0;
}

void sp_controller_call(struct sp_controller *controller,
                        uint32_t from_node,
                        const struct sp_peer_message *message)
{
    const struct sp_peer_call *call = &message->u.call;
    struct sp_node_reply reply = { 0 };
    struct sp_proposal request;

    if (call->method != SP_NODE_PROPOSE) {
        reply.status = SPATE_ERR_UNKNOWN_METHOD;
    } else if (sp_node_call_decode(message->body.bytes, message->body.size, &request) != 0) {
        reply.status = SPATE_ERR_MALFORMED;
    } else if (request.kind == SP_PROPOSAL_REGISTER_NODE && request.self.node_id != from_node) {
        reply.status = SPATE_ERR_INVALID;
    } else if (sp_controller_lead(controller, &request, NULL, from_node, call->call_id, &reply) ==
               0) {
        return;
    }
    send_reply(controller, from_node, call->call_id, &reply);
}
