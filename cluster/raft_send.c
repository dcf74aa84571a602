/* Messages out: held back until the vote they depend on is durable.
 *
 *   guard -> outgoing -> [gated until meta is durable] -> transport             no frames
 *                                                    `-> raft_reader -> transport
 *
 * Whatever cannot be sent is dropped; raft sends again. */
#include "cluster/raft_group_internal.h"
#include "cluster/raft_guard_support.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "spate/error.h"

/* Messages of one group that may wait for its vote: elections send a few, a leader has none. */
#define GATED_MAX 1024

/* Addresses in memberships are "NODE.REPLICA". */
uint32_t sp_raft_node_of(const struct sp_raft_group *group, uint64_t replica_id)
{
    const struct raft_configuration *members = &group->guard.raft.configuration;

    for (unsigned i = 0; i < members->n; i++) {
        if (members->servers[i].id == replica_id) {
            return (uint32_t)strtoul(members->servers[i].address, NULL, 10);
        }
    }
    if (replica_id != 0 && replica_id == group->last_from) {
        return group->last_from_node;
    }
    if (replica_id != 0 && replica_id == group->leader_replica) {
        return group->leader_node_of_replica;
    }
    return 0;
}

bool sp_raft_leads_in(const struct sp_raft_group *group, uint64_t term)
{
    return !group->stopped && !group->closing && sp_raft_state(group) == RAFT_LEADER &&
           raft_current_term(&group->guard.raft) == term;
}

bool sp_raft_is_standby(const struct sp_raft_group *group, uint64_t replica_id)
{
    return sp_raft_support_role(&group->guard.raft.configuration, replica_id) == RAFT_STANDBY;
}

bool sp_raft_has_frames(const struct sp_raft_outgoing *out)
{
    return out->message.kind == SP_PEER_APPEND && out->end_index > out->message.index;
}

void sp_raft_drop_list(struct sp_list *list)
{
    SP_LIST_EACH_SAFE (node, list) {
        sp_list_remove(node);
        sp_mem_free(SP_LIST_ENTRY(node, struct sp_raft_outgoing, node));
    }
}

/* Whether frames may go to a standby now; at most a second's worth is saved up. */
static bool may_fill(const struct sp_raft_group *group)
{
    struct sp_raft_context *context = group->context;
    uint64_t now_ms = sp_raft_now_ms(group);
    uint64_t passed_ms = now_ms - context->filled_ms;
    int64_t rate = context->fill_bytes_per_s;

    if (rate == 0) {
        return true;
    }
    context->filled_ms = now_ms;
    context->fill_bytes_left += rate * (int64_t)(passed_ms < 1000 ? passed_ms : 1000) / 1000;
    if (context->fill_bytes_left > rate) {
        context->fill_bytes_left = rate;
    }
    return context->fill_bytes_left > 0;
}

/* The vote is durable: out it goes. */
static void send_now(struct sp_raft_group *group, struct sp_raft_outgoing *out)
{
    struct sp_transport *transport = group->context->transport;

    if (sp_transport_link(transport, out->node_id) != SP_LINK_UP) {
        return;
    }
    if (out->message.kind != SP_PEER_APPEND && out->message.kind != SP_PEER_INSTALL) {
        (void)sp_transport_send_heartbeat(transport, out->node_id, &out->message); /* lost: again */
        return;
    }
    if (!sp_raft_leads_in(group, out->message.term)) {
        return;
    }
    if (out->message.kind == SP_PEER_INSTALL) {
        if (sp_raft_vouches_for_begin(group)) { /* else raft asks again */
            sp_raft_install_begin(group, out);
        }
        return;
    }
    if (sp_raft_has_frames(out) && sp_raft_is_standby(group, out->message.to) && !may_fill(group)) {
        return; /* dropped: raft sends again, by then there is some left */
    }
    sp_raft_reader_send(group, out);
}

void sp_raft_send(struct sp_raft_group *group, struct sp_raft_outgoing *out)
{
    struct sp_raft_outgoing *copy;

    out->meta_sequence = group->meta_issued;
    if (sp_list_empty(&group->gated) &&
        out->meta_sequence <= sp_store_meta_durable(group->context->store)) {
        send_now(group, out);
        return;
    }
    copy = group->gated_count < GATED_MAX ? sp_mem_dup(out, sizeof *out) : NULL;
    if (copy == NULL) {
        return; /* dropped: raft sends again */
    }
    sp_list_append(&group->gated, &copy->node);
    group->gated_count += 1;
    if (sp_list_empty(&group->meta_node)) {
        sp_list_append(&group->context->meta_waiters, &group->meta_node);
    }
}

void sp_raft_send_release_gated(struct sp_raft_group *group)
{
    uint64_t durable = sp_store_meta_durable(group->context->store);

    while (!sp_list_empty(&group->gated)) {
        struct sp_raft_outgoing *out =
            SP_LIST_ENTRY(group->gated.next, struct sp_raft_outgoing, node);
        if (out->meta_sequence > durable) {
            return;
        }
        sp_list_remove(&out->node);
        group->gated_count -= 1;
        send_now(group, out);
        sp_mem_free(out);
    }
}

void sp_raft_send_drop_all(struct sp_raft_group *group)
{
    sp_raft_install_drop_all(group);
    sp_raft_drop_list(&group->gated);
    group->gated_count = 0;
    sp_raft_reader_drop_all(group);
}

static void fill_append(struct sp_raft_outgoing *out, const struct raft_append_entries *append)
{
    out->message.kind = SP_PEER_APPEND;
    out->message.term = append->term;
    out->message.index = append->prev_log_index;
    out->message.index_term = append->prev_log_term;
    out->message.commit = append->leader_commit;
    out->end_index = append->prev_log_index + append->n_entries;
}

/* So often a follower without room for records is offered a single frame: it may be a command, and
 * the very one that makes room. */
#define OFFER_MS 250

/* Sent at full speed, and thrown away there, a backlog would fill the network for as long as the
 * disk is full. Without its frames the append is a heartbeat. */
static void spare_full_node(struct sp_raft_group *group, struct sp_raft_outgoing *out)
{
    if (out->end_index == out->message.index ||
        sp_transport_takes_records(group->context->transport, out->node_id)) {
        return;
    }
    out->end_index = out->message.index;
    if (sp_raft_now_ms(group) >= group->offered_ms + OFFER_MS) {
        group->offered_ms = sp_raft_now_ms(group);
        out->end_index += 1;
    }
}

static void fill_append_result(struct sp_raft_outgoing *out,
                               const struct raft_append_entries_result *result,
                               const struct sp_raft_guard_stamp *stamp)
{
    out->message.kind = SP_PEER_APPEND_RESULT;
    out->message.term = result->term;
    out->message.index = result->last_log_index;
    out->message.commit = result->rejected;
    out->message.request_term = stamp->request_term;
    out->message.index_term = stamp->hint_term;
}

static void fill_vote(struct sp_raft_outgoing *out, const struct raft_request_vote *vote)
{
    out->message.kind = SP_PEER_VOTE;
    out->message.term = vote->term;
    out->message.index = vote->last_log_index;
    out->message.index_term = vote->last_log_term;
    out->message.flags = (vote->pre_vote ? SP_PEER_PRE_VOTE : 0) |
                         (vote->disrupt_leader ? SP_PEER_DISRUPT_LEADER : 0);
}

static void fill_vote_result(struct sp_raft_outgoing *out,
                             const struct raft_request_vote_result *result)
{
    out->message.kind = SP_PEER_VOTE_RESULT;
    out->message.term = result->term;
    out->message.flags =
        (result->pre_vote ? SP_PEER_PRE_VOTE : 0) | (result->vote_granted ? SP_PEER_GRANTED : 0);
}

void sp_raft_host_send(void *arg,
                       const struct raft_message *message,
                       const struct sp_raft_guard_stamp *stamp)
{
    struct sp_raft_group *group = arg;
    struct sp_raft_outgoing out = {
        .message = { .group_id = group->group_id,
                     .from = group->replica_id,
                     .to = message->server_id },
        .node_id = sp_raft_node_of(group, message->server_id),
    };

    if (out.node_id == 0 || out.node_id == group->context->node_id) {
        return;
    }
    switch (message->type) {
    case RAFT_APPEND_ENTRIES:
        fill_append(&out, &message->append_entries);
        spare_full_node(group, &out);
        break;
    case RAFT_APPEND_ENTRIES_RESULT:
        fill_append_result(&out, &message->append_entries_result, stamp);
        break;
    case RAFT_REQUEST_VOTE:
        fill_vote(&out, &message->request_vote);
        break;
    case RAFT_REQUEST_VOTE_RESULT:
        fill_vote_result(&out, &message->request_vote_result);
        break;
    case RAFT_TIMEOUT_NOW:
        out.message.kind = SP_PEER_TIMEOUT_NOW;
        out.message.term = message->timeout_now.term;
        out.message.index = message->timeout_now.last_log_index;
        out.message.index_term = message->timeout_now.last_log_term;
        break;
    case RAFT_INSTALL_SNAPSHOT:
        out.message.kind = SP_PEER_INSTALL;
        out.message.term = message->install_snapshot.term;
        break;
    }
    sp_raft_send(group, &out);
}
