#include "cluster/raft_guard_step.h"

#include <limits.h>
#include <string.h>

#include "base/assert.h"
#include "cluster/raft_guard_support.h"
#include "spate/error.h"

/* Election timeouts without progress after which what was sent is sent again. */
#define AGAIN_TIMEOUTS 10

int sp_raft_step_fail(struct sp_raft_guard *guard, int error)
{
    SP_ASSERT(error < 0);
    guard->failed = error;
    return error;
}

/* The slot of a follower, taken if need be, also from one that is no member any more; NULL when all
 * are taken. */
struct sp_raft_guard_peer *sp_raft_step_peer(struct sp_raft_guard *guard, uint64_t id)
{
    struct sp_raft_guard_peer *left = NULL;

    for (unsigned i = 0; i < SP_RAFT_GUARD_SERVERS_MAX; i++) {
        struct sp_raft_guard_peer *peer = &guard->peers[i];

        if (peer->id == 0) {
            peer->id = id;
        }
        if (peer->id == id) {
            return peer;
        }
        if (sp_raft_support_role(&guard->raft.configuration, peer->id) == -1) {
            left = peer;
        }
    }
    if (left != NULL) {
        *left = (struct sp_raft_guard_peer){ .id = id };
    }
    return left;
}

/* A submit makes libraft send to everybody (G11): nothing to a follower with a full window, and the
 * same entries again to one that has not answered yet. Both are noise unless a heartbeat is due. */
static bool is_noise(struct sp_raft_guard *guard,
                     enum raft_event_type cause,
                     const struct raft_message *message)
{
    const struct raft_append_entries *append = &message->append_entries;
    struct sp_raft_guard_peer *peer = sp_raft_step_peer(guard, message->server_id);
    uint64_t now_ms = guard->raft.now;

    if (peer == NULL) {
        return false;
    }
    if (cause == RAFT_SUBMIT && peer->sent_ms + guard->heartbeat_ms > now_ms) {
        if (append->n_entries == 0) {
            return true;
        }
        if (peer->entries_prev == append->prev_log_index &&
            peer->entries_ms + guard->heartbeat_ms > now_ms) {
            return true;
        }
    }
    peer->sent_ms = now_ms;
    if (append->n_entries > 0) {
        if (peer->match_index >= peer->sent_index) {
            peer->moved_ms = now_ms; /* nothing was under way */
        }
        peer->entries_ms = now_ms;
        peer->entries_prev = append->prev_log_index;
        peer->sent_index = append->prev_log_index + append->n_entries;
    }
    return false;
}

/* G14: of a probed follower libraft only remembers what it has stored. What was sent since and can
 * still arrive is left out; that it did not is told by a rejection. Should that stay out, the last
 * resort is to send it again to a follower that answers and stores nothing for a long time. */
static void leave_out_sent(struct sp_raft_guard *guard, struct raft_message *message)
{
    struct raft_append_entries *append = &message->append_entries;
    struct sp_raft_guard_peer *peer = sp_raft_step_peer(guard, message->server_id);
    uint64_t end = append->prev_log_index + append->n_entries;

    if (peer == NULL || append->n_entries == 0 || append->prev_log_index >= peer->sent_index) {
        return;
    }
    uint64_t term = sp_raft_guard_term_at(guard, peer->sent_index);
    if (term == 0 || !sp_raft_step_guards(guard, SP_RAFT_GUARD_G14_SENT)) {
        return;
    }
    bool answers = peer->answered_ms + guard->raft.election_timeout > guard->raft.now;
    if (answers &&
        guard->raft.now >= peer->moved_ms + AGAIN_TIMEOUTS * guard->raft.election_timeout) {
        peer->moved_ms = guard->raft.now;
        return;
    }
    append->n_entries = end > peer->sent_index ? (unsigned)(end - peer->sent_index) : 0;
    append->prev_log_index = peer->sent_index;
    append->prev_log_term = term;
    peer->left_out = true;
}

/* The sending half of G1, G7 and G10. */
static void stamp_result(struct sp_raft_guard *guard,
                         struct raft_append_entries_result *result,
                         struct sp_raft_guard_stamp *stamp)
{
    stamp->request_term = guard->request_term != 0 ? guard->request_term : result->term;
    if (result->rejected != 0) {
        guard->rejected = true;
    }
    if (stamp->request_term != result->term &&
        sp_raft_step_guards(guard, SP_RAFT_GUARD_G1_REQUEST_TERM)) {
        result->last_log_index = 0; /* libraft leaves it uninitialised in replies to old requests */
    } else if (result->rejected != 0 && sp_raft_step_guards(guard, SP_RAFT_GUARD_G7_HINT)) {
        result->last_log_index = sp_raft_support_back_to_term(
            &guard->raft.trail, result->last_log_index, guard->request_prev_term);
        stamp->hint_term = sp_raft_guard_term_at(guard, result->last_log_index);
    }
}

static void
send_message(struct sp_raft_guard *guard, enum raft_event_type cause, struct raft_message *message)
{
    struct sp_raft_guard_stamp stamp = { 0, 0 };

    switch (message->type) {
    case RAFT_APPEND_ENTRIES:
        leave_out_sent(guard, message);
        if (is_noise(guard, cause, message)) {
            return;
        }
        break;
    case RAFT_APPEND_ENTRIES_RESULT:
        guard->told_ms = guard->raft.now;
        stamp_result(guard, &message->append_entries_result, &stamp);
        break;
    case RAFT_REQUEST_VOTE_RESULT: {
        struct raft_request_vote_result *result = &message->request_vote_result;
        if (result->pre_vote && !result->vote_granted &&
            sp_raft_step_guards(guard, SP_RAFT_GUARD_G10_PRE_VOTE_TERM)) {
            result->term = sp_raft_step_max(result->term, guard->raft.current_term);
        }
        break;
    }
    case RAFT_REQUEST_VOTE:
    case RAFT_INSTALL_SNAPSHOT:
    case RAFT_TIMEOUT_NOW:
        break;
    }
    guard->host.send(guard->host.arg, message, &stamp);
}

/* Gives the host what a step has produced. */
static int
hand_over(struct sp_raft_guard *guard, const struct raft_event *event, struct raft_update *update)
{
    int rv = guard->host.update(guard->host.arg, event, update);

    if ((update->flags & RAFT_UPDATE_ENTRIES) && update->entries.batch == &guard->raft.barrier) {
        raft_free(guard->raft.barrier.batch);
    }
    if (update->flags & RAFT_UPDATE_SNAPSHOT) {
        raft_configuration_close(&update->snapshot.metadata.configuration);
    }
    if (rv != 0) {
        return sp_raft_step_fail(guard, rv);
    }
    for (unsigned i = 0; (update->flags & RAFT_UPDATE_MESSAGES) && i < update->messages.n; i++) {
        send_message(guard, event->type, &update->messages.batch[i]);
    }
    return 0;
}

/* Takes one step. `flags` are added to the update: what the guard itself has changed. */
int sp_raft_step(struct sp_raft_guard *guard,
                 uint64_t now_ms,
                 struct raft_event *event,
                 unsigned flags)
{
    struct raft *raft = &guard->raft;
    bool refusable = event->type == RAFT_SUBMIT || event->type == RAFT_TRANSFER;
    unsigned state_before = raft->state;
    struct raft_update update;

    SP_ASSERT(guard->failed == 0);
    memset(&update, 0, sizeof update);
    event->time = sp_raft_step_max(now_ms, raft->now);
    event->capacity = USHRT_MAX;
    sp_raft_support_begin_step();
    int rv = sp_raft_support_translate(raft_step(raft, event, &update));
    if (sp_raft_support_end_step() && !refusable) {
        rv = SPATE_ERR_NOMEM; /* libraft does not report all of them */
    }
    if (rv != 0) {
        return refusable ? rv : sp_raft_step_fail(guard, rv);
    }
    update.flags |= flags;
    if (raft->state == RAFT_LEADER && state_before != RAFT_LEADER) {
        memset(guard->peers, 0, sizeof guard->peers);
        guard->asks_in_vain = false;
    }
    if (!raft->snapshot.installing ||
        !sp_raft_step_guards(guard, SP_RAFT_GUARD_G8_INSTALL_COMMIT)) {
        guard->committed_index = sp_raft_step_max(guard->committed_index, raft->commit_index);
    }
    return hand_over(guard, event, &update);
}

/* The pending configuration change counts as committed from now on. */
int sp_raft_step_configuration(struct sp_raft_guard *guard, uint64_t now_ms)
{
    struct raft_event event = { .type = RAFT_CONFIGURATION };

    event.configuration.index = guard->raft.configuration_uncommitted_index;
    int rv =
        sp_raft_guard_copy_configuration(&guard->raft.configuration, &event.configuration.conf);
    if (rv != 0) {
        return sp_raft_step_fail(guard, rv);
    }
    return sp_raft_step(guard, now_ms, &event, 0);
}

/* G11: with a heartbeat timeout of 0 the submit goes out to every follower. */
int sp_raft_step_submit(struct sp_raft_guard *guard,
                        uint64_t now_ms,
                        struct raft_entry *entries,
                        unsigned count)
{
    struct raft_event event = { .type = RAFT_SUBMIT };

    for (unsigned i = 0; i < count; i++) {
        entries[i].term = guard->raft.current_term;
        entries[i].batch = sp_raft_support_unowned_batch();
    }
    event.submit.entries = entries;
    event.submit.n = count;
    if (sp_raft_step_guards(guard, SP_RAFT_GUARD_G11_SUBMIT_NOW)) {
        raft_set_heartbeat_timeout(&guard->raft, 0);
    }
    int rv = sp_raft_step(guard, now_ms, &event, 0);
    raft_set_heartbeat_timeout(&guard->raft, guard->heartbeat_ms);
    return rv;
}

int sp_raft_step_barrier(struct sp_raft_guard *guard, uint64_t now_ms)
{
    uint64_t nothing = 0;
    struct raft_entry entry = { .type = RAFT_BARRIER, .buf = { &nothing, sizeof nothing } };

    return sp_raft_step_submit(guard, now_ms, &entry, 1);
}

bool sp_raft_step_has_own_entry(const struct sp_raft_guard *guard)
{
    return sp_raft_guard_term_at(guard, sp_raft_support_last_index(&guard->raft.trail)) ==
           guard->raft.current_term;
}

bool sp_raft_step_can_submit(const struct sp_raft_guard *guard)
{
    return guard->raft.state == RAFT_LEADER && guard->raft.leader_state.transferee == 0;
}

/* I4: the guard's own steps after each step. libraft gives a new leader no barrier when its whole
 * log is committed or it is the only voter, but only an entry of its term lets it commit and
 * answer. */
int sp_raft_step_settle(struct sp_raft_guard *guard, uint64_t now_ms)
{
    const struct raft *raft = &guard->raft;

    while (raft->configuration_uncommitted_index != 0 &&
           raft->configuration_uncommitted_index <= guard->committed_index) {
        int rv = sp_raft_step_configuration(guard, now_ms);
        if (rv != 0) {
            return rv;
        }
    }
    if (sp_raft_step_can_submit(guard) && !sp_raft_step_has_own_entry(guard) &&
        sp_raft_step_guards(guard, SP_RAFT_GUARD_BARRIER)) {
        (void)sp_raft_step_barrier(guard, now_ms); /* out of memory: the next event tries again */
    }
    return guard->failed;
}

int sp_raft_step_run(struct sp_raft_guard *guard, uint64_t now_ms, struct raft_event *event)
{
    int rv = sp_raft_step(guard, now_ms, event, 0);

    return rv != 0 ? rv : sp_raft_step_settle(guard, now_ms);
}
