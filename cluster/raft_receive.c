/* Messages in: frames are verified here, before raft hears of them. */
#include "cluster/raft_group_internal.h"

#include <string.h>

#include "base/trace.h"
#include "spate/error.h"

static int entry_of(const struct sp_log_frame *frame, const uint8_t *bytes, struct raft_entry *out)
{
    *out = (struct raft_entry){ .term = frame->term };
    switch (frame->kind) {
    case SP_FRAME_BATCH:
    case SP_FRAME_COMMAND:
        out->type = RAFT_COMMAND;
        return 0;
    case SP_FRAME_NOOP:
        out->type = RAFT_BARRIER;
        return 0;
    case SP_FRAME_CONFIGURATION:
        out->type = RAFT_CHANGE;
        /* libraft wants a mutable pointer and only reads */
        out->buf.base = (void *)(uintptr_t)sp_log_frame_payload(bytes);
        out->buf.len = frame->length;
        return sp_raft_guard_check_configuration(&out->buf);
    case SP_FRAME_MARKER:
        return SPATE_ERR_MALFORMED; /* markers are local to a replica */
    }
    return SPATE_ERR_MALFORMED;
}

/* Whether the frame continues the chain of the one before it: in the message, or in the log. Its
 * own checksum leaves the chain out, and once raft has heard of the frame a wrong one is fatal. */
static bool continues(const struct sp_raft_group *group,
                      const struct sp_peer_raft *message,
                      const struct sp_log_frame *before,
                      const struct sp_log_frame *frame,
                      const uint8_t *bytes)
{
    if (before != NULL) {
        return frame->chain == sp_log_frame_chain(bytes, before->chain);
    }
    return message->index != sp_log_last_index(group->log) ||
           message->index_term != sp_log_last_term(group->log) ||
           frame->chain == sp_log_frame_chain(bytes, sp_log_chain(group->log));
}

/* Cuts the body into verified frames of this group with the indexes that the message announces. */
static int parse_frames(struct sp_raft_group *group,
                        const struct sp_peer_raft *message,
                        const struct sp_slice *body,
                        struct sp_slice *frames,
                        struct raft_entry *entries)
{
    struct sp_log_frame before;
    size_t position = 0;

    for (uint32_t i = 0; i < message->frame_count; i++) {
        struct sp_log_frame frame;
        const uint8_t *bytes = body->bytes + position;
        int rv = sp_log_frame_verify(bytes, body->size - position, &frame);
        if (rv != 0) {
            return rv == SPATE_ERR_AGAIN ? SPATE_ERR_MALFORMED : rv;
        }
        if (frame.group_id != group->group_id || frame.index != message->index + 1 + i) {
            return SPATE_ERR_MALFORMED;
        }
        if (!continues(group, message, i == 0 ? NULL : &before, &frame, bytes)) {
            return SPATE_ERR_CORRUPT;
        }
        before = frame;
        rv = entry_of(&frame, bytes, &entries[i]);
        if (rv != 0) {
            return rv;
        }
        frames[i] = (struct sp_slice){ body->blob, bytes, sp_log_frame_size(frame.length) };
        position += frames[i].size;
    }
    return position == body->size ? 0 : SPATE_ERR_MALFORMED;
}

/* The last of the reserve belongs to what keeps the cluster going: no records, but what moves the
 * start of a log, elects leaders and changes metadata. */
static bool
lacks_space_for(const struct sp_raft_group *group, const struct sp_slice *frames, unsigned count)
{
    if (sp_store_space(group->context->store) != SP_SPACE_LAST) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        struct sp_log_frame frame;
        if (sp_log_frame_decode(frames[i].bytes, frames[i].size, &frame) == 0 &&
            frame.kind == SP_FRAME_BATCH) {
            return true;
        }
    }
    return false;
}

/* True if the commit index of the message is the leader's. Of a backlog that is sent in parts each
 * one states its own end at most: who took that for all that is committed would take an old state
 * for the present one. */
static bool states_commit(const struct sp_peer_raft *message)
{
    return message->frame_count == 0 || message->commit < message->index + message->frame_count;
}

void sp_raft_note_commit(struct sp_raft_group *group, uint64_t term, uint64_t commit)
{
    struct sp_raft_said *said = &group->said;

    if (said->term != term) {
        *said = (struct sp_raft_said){ .term = term };
    }
    said->in_part = false;
    said->commit = commit > said->commit ? commit : said->commit;
    if (sp_raft_guard_term_at(&group->guard, commit) == term) {
        said->own = true;
        group->confirm_index = group->confirm_index == 0 ? commit : group->confirm_index;
    }
}

static void note_part(struct sp_raft_group *group, uint64_t term)
{
    if (group->said.term != term) {
        group->said = (struct sp_raft_said){ .term = term };
    }
    group->said.in_part = true;
}

static int receive_append(struct sp_raft_group *group,
                          const struct sp_peer_raft *message,
                          const struct sp_slice *body)
{
    struct sp_slice frames[SP_APPEND_FRAMES_MAX];
    struct raft_entry entries[SP_APPEND_FRAMES_MAX];
    struct sp_raft_guard_append append = { .term = message->term,
                                           .prev_index = message->index,
                                           .prev_term = message->index_term,
                                           .commit = message->commit,
                                           .entries = entries,
                                           .entry_count = message->frame_count };
    int rv;

    if (message->frame_count > SP_APPEND_FRAMES_MAX) {
        return SPATE_ERR_MALFORMED;
    }
    rv = parse_frames(group, message, body, frames, entries);
    if (rv != 0) {
        return rv;
    }
    group->context->counters.received_bytes += body->size;
    if (message->frame_count > 0 && lacks_space_for(group, frames, message->frame_count)) {
        return 0; /* as if it had got lost: the leader sends it again */
    }
    group->staged = frames;
    group->staged_first = message->index + 1;
    group->staged_count = message->frame_count;
    rv = sp_raft_guard_receive_append(&group->guard, sp_raft_now_ms(group), message->from, &append);
    group->staged = NULL;
    if (rv == 0 && message->term == raft_current_term(&group->guard.raft)) {
        group->leader_replica = message->from;
        group->leader_node_of_replica = group->last_from_node;
        if (states_commit(message)) {
            sp_raft_note_commit(group, message->term, message->commit);
        } else {
            note_part(group, message->term);
        }
    }
    return rv;
}

static int receive_append_result(struct sp_raft_group *group, const struct sp_peer_raft *message)
{
    struct sp_raft_guard_append_result result = { .term = message->term,
                                                  .rejected = message->commit,
                                                  .last_index = message->index,
                                                  .request_term = message->request_term,
                                                  .hint_term = message->index_term };

    int rv = sp_raft_guard_receive_append_result(
        &group->guard, sp_raft_now_ms(group), message->from, &result);

    sp_raft_install_stored(group, message->from);
    return rv;
}

static int receive_vote(struct sp_raft_group *group, const struct sp_peer_raft *message)
{
    struct raft_request_vote vote = { .term = message->term,
                                      .candidate_id = message->from,
                                      .last_log_index = message->index,
                                      .last_log_term = message->index_term,
                                      .disrupt_leader =
                                          (message->flags & SP_PEER_DISRUPT_LEADER) != 0,
                                      .pre_vote = (message->flags & SP_PEER_PRE_VOTE) != 0 };

    return sp_raft_guard_receive_vote(&group->guard, sp_raft_now_ms(group), message->from, &vote);
}

static int receive_vote_result(struct sp_raft_group *group, const struct sp_peer_raft *message)
{
    struct raft_request_vote_result result = {
        .term = message->term,
        .vote_granted = (message->flags & SP_PEER_GRANTED) != 0,
        .pre_vote = (message->flags & SP_PEER_PRE_VOTE) != 0,
    };

    return sp_raft_guard_receive_vote_result(
        &group->guard, sp_raft_now_ms(group), message->from, &result);
}

static int receive_timeout_now(struct sp_raft_group *group, const struct sp_peer_raft *message)
{
    struct raft_timeout_now now = { .term = message->term,
                                    .last_log_index = message->index,
                                    .last_log_term = message->index_term };

    return sp_raft_guard_receive_timeout_now(
        &group->guard, sp_raft_now_ms(group), message->from, &now);
}

static int dispatch(struct sp_raft_group *group,
                    const struct sp_peer_raft *message,
                    const struct sp_slice *body)
{
    /* Batches carry the term in 31 bits (D4): a lie that took hold would stop every replica. */
    if (message->term > INT32_MAX) {
        return SPATE_ERR_MALFORMED;
    }
    switch ((enum sp_peer_raft_kind)message->kind) {
    case SP_PEER_APPEND:
        return receive_append(group, message, body);
    case SP_PEER_APPEND_RESULT:
        return receive_append_result(group, message);
    case SP_PEER_VOTE:
        return receive_vote(group, message);
    case SP_PEER_VOTE_RESULT:
        return receive_vote_result(group, message);
    case SP_PEER_TIMEOUT_NOW:
        return receive_timeout_now(group, message);
    case SP_PEER_INSTALL:
        return sp_raft_install_receive(group, message, body);
    case SP_PEER_INSTALL_RESULT:
        sp_raft_install_answered(group, message);
        return 0;
    case SP_PEER_CONFIRM:
        sp_raft_confirm_receive(group, message);
        return 0;
    case SP_PEER_CONFIRM_RESULT:
        sp_raft_confirm_result(group, message);
        return 0;
    case SP_PEER_QUIET:
        sp_raft_quiet_receive(group, message);
        return 0;
    case SP_PEER_WAKE:
        return 0; /* any message does */
    }
    return SPATE_ERR_MALFORMED;
}

void sp_raft_group_receive(struct sp_raft_group *group,
                           uint32_t from_node,
                           const struct sp_peer_raft *message,
                           const struct sp_slice *body)
{
    int rv;

    if (group->stopped || group->closing || !group->guard.started ||
        message->to != group->replica_id || message->from == group->replica_id ||
        message->from == 0) {
        return; /* late, or meant for a replica that stood here before */
    }
    sp_raft_wake(group, from_node);
    group->last_from = message->from;
    group->last_from_node = from_node;
    rv = dispatch(group, message, body);
    group->last_from = 0;
    if (rv != 0 && sp_raft_guard_failed(&group->guard) == 0 &&
        sp_trace_allowed(&group->context->receive_limit, sp_raft_now_ms(group), 5, NULL)) {
        SP_TRACE_WARN("raft",
                      "message refused",
                      "group=%llu node=%u kind=%u error=%s",
                      (unsigned long long)group->group_id,
                      from_node,
                      message->kind,
                      spate_error_name(rv));
    }
    sp_raft_advance(group);
}
