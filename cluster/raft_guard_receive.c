#include <limits.h>
#include <string.h>

#include "cluster/raft_guard.h"
#include "cluster/raft_guard_step.h"
#include "cluster/raft_guard_support.h"
#include "spate/error.h"

/* The versions of libraft's messages that carry what the guards rely on. */
#define VOTE_VERSION 2
#define RESULT_VERSION 2

/* Steps one message. The request's terms are remembered for the answers of this step alone. */
static int receive(struct sp_raft_guard *guard,
                   uint64_t now_ms,
                   uint64_t from,
                   struct raft_message *message,
                   uint64_t request_term,
                   uint64_t request_prev_term)
{
    struct raft_event event = { .type = RAFT_RECEIVE };

    message->server_id = from;
    message->server_address = SP_RAFT_GUARD_NO_ADDRESS;
    event.receive.message = message;
    guard->request_term = request_term;
    guard->request_prev_term = request_prev_term;
    guard->rejected = false;
    int rv = sp_raft_step(guard, now_ms, &event, 0);
    guard->request_term = 0;
    return rv != 0 ? rv : sp_raft_step_settle(guard, now_ms);
}

static bool is_peer(const struct sp_raft_guard *guard, uint64_t from)
{
    return from != 0 && from != guard->raft.id;
}

/* The leader of this term has spoken. */
static void note_contact(struct sp_raft_guard *guard, uint64_t now_ms, uint64_t term)
{
    if (term >= guard->raft.current_term) {
        guard->contact_ms = now_ms;
        guard->expire_when_stored = false;
    }
}

/* Everything that libraft would assert of a leader's message, and what its decoder trusts. */
static int check_append(const struct sp_raft_guard *guard,
                        uint64_t from,
                        const struct sp_raft_guard_append *append)
{
    uint64_t term = append->prev_term;

    if (!is_peer(guard, from) || append->term == 0 ||
        (append->prev_index == 0) != (append->prev_term == 0) ||
        append->prev_index > UINT64_MAX / 2 ||
        (guard->raft.state == RAFT_LEADER && append->term == guard->raft.current_term)) {
        return SPATE_ERR_MALFORMED;
    }
    for (unsigned i = 0; i < append->entry_count; i++) {
        const struct raft_entry *entry = &append->entries[i];
        if (entry->term < term || entry->term == 0 || entry->type < RAFT_COMMAND ||
            entry->type > RAFT_CHANGE) {
            return SPATE_ERR_MALFORMED;
        }
        if (entry->type == RAFT_CHANGE && sp_raft_guard_check_configuration(&entry->buf) != 0) {
            return SPATE_ERR_MALFORMED;
        }
        term = entry->term;
    }
    return term <= append->term ? 0 : SPATE_ERR_MALFORMED;
}

/* Takes `count` entries off the front. */
static void advance(struct sp_raft_guard_append *append, unsigned count)
{
    append->prev_index += count;
    append->prev_term = append->entries[count - 1].term;
    append->entries += count;
    append->entry_count -= count;
}

/* G2: what is below our log start is committed, so the leader has the same. */
static void raise_to_floor(const struct sp_raft_guard *guard, struct sp_raft_guard_append *append)
{
    const struct raft_trail *trail = &guard->raft.trail;

    if (append->prev_index >= trail->snapshot.index || guard->raft.snapshot.installing ||
        append->term < guard->raft.current_term ||
        !sp_raft_step_guards(guard, SP_RAFT_GUARD_G2_FLOOR)) {
        return;
    }
    uint64_t covered = trail->snapshot.index - append->prev_index;
    if (covered >= append->entry_count) {
        append->entry_count = 0;
    } else {
        advance(append, (unsigned)covered);
    }
    append->prev_index = trail->snapshot.index;
    append->prev_term = trail->snapshot.term;
}

/* G3: how many entries to step at once, so that each configuration change comes first. */
static unsigned part_size(const struct sp_raft_guard *guard,
                          const struct sp_raft_guard_append *append)
{
    unsigned size = append->entry_count > 0 ? 1 : 0;

    while (size < append->entry_count && (append->entries[size].type != RAFT_CHANGE ||
                                          !sp_raft_step_guards(guard, SP_RAFT_GUARD_G3_SPLIT))) {
        size += 1;
    }
    return size;
}

/* G4: the leader proposed this change when the one before it was committed; if that one lies in the
 * prefix that we share, it is committed here too, and a rollback must not go behind it. */
static bool proves_earlier_change(const struct sp_raft_guard *guard,
                                  const struct sp_raft_guard_append *append)
{
    uint64_t earlier = guard->raft.configuration_uncommitted_index;

    return sp_raft_step_guards(guard, SP_RAFT_GUARD_G4_CHANGE_ORDER) && append->entry_count > 0 &&
           append->entries[0].type == RAFT_CHANGE && earlier != 0 &&
           earlier <= append->prev_index && append->term >= guard->raft.current_term &&
           !guard->raft.snapshot.installing &&
           sp_raft_guard_term_at(guard, append->prev_index) == append->prev_term;
}

static int receive_part(struct sp_raft_guard *guard,
                        uint64_t now_ms,
                        uint64_t from,
                        const struct sp_raft_guard_append *append,
                        unsigned size)
{
    struct raft_message message = { .type = RAFT_APPEND_ENTRIES };

    if (proves_earlier_change(guard, append)) {
        int rv = sp_raft_step_configuration(guard, now_ms);
        if (rv != 0) {
            return rv;
        }
    }
    for (unsigned i = 0; i < size; i++) {
        append->entries[i].batch = sp_raft_support_unowned_batch();
    }
    message.append_entries.term = append->term;
    message.append_entries.prev_log_index = append->prev_index;
    message.append_entries.prev_log_term = append->prev_term;
    message.append_entries.leader_commit = append->commit;
    message.append_entries.entries = append->entries;
    message.append_entries.n_entries = size;
    return receive(guard, now_ms, from, &message, append->term, append->prev_term);
}

/* G13: entries are answered when they are on disk, and a leader that sends them all the time sends
 * no heartbeats. While the disk is slower than these would come, an append counts as one first. */
static bool owes_answer(const struct sp_raft_guard *guard,
                        uint64_t now_ms,
                        const struct sp_raft_guard_append *append)
{
    const struct raft *raft = &guard->raft;

    return append->entry_count > 0 && raft->state == RAFT_FOLLOWER &&
           append->term == raft->current_term && !raft->snapshot.installing &&
           raft->last_stored < sp_raft_support_last_index(&raft->trail) &&
           now_ms >= guard->told_ms + guard->heartbeat_ms &&
           sp_raft_step_guards(guard, SP_RAFT_GUARD_G13_ANSWER);
}

int sp_raft_guard_receive_append(struct sp_raft_guard *guard,
                                 uint64_t now_ms,
                                 uint64_t from,
                                 const struct sp_raft_guard_append *append)
{
    struct sp_raft_guard_append rest = *append;
    unsigned size = 0;

    if (guard->failed != 0) {
        return SPATE_ERR_STOPPED;
    }
    int rv = check_append(guard, from, append);
    if (rv != 0) {
        return rv;
    }
    note_contact(guard, now_ms, append->term);
    raise_to_floor(guard, &rest);
    guard->rejected = false;
    if (owes_answer(guard, now_ms, append)) {
        struct sp_raft_guard_append heartbeat = rest;
        heartbeat.entry_count = 0;
        rv = receive_part(guard, now_ms, from, &heartbeat, 0);
    }
    if (rv != 0 || guard->rejected) {
        return rv;
    }
    do {
        if (size > 0) {
            advance(&rest, size);
        }
        size = part_size(guard, &rest);
        rv = receive_part(guard, now_ms, from, &rest, size);
    } while (rv == 0 && size < rest.entry_count && !guard->rejected &&
             guard->raft.current_term == append->term);
    return rv;
}

/* A rejection says that something before it has got lost: from what is stored on all may be sent
 * again. */
static void note_answer(struct sp_raft_guard_peer *peer,
                        const struct sp_raft_guard_append_result *result,
                        uint64_t now_ms)
{
    peer->answered_ms = now_ms;
    peer->short_ms = result->rejected == 0 ? 0 : peer->short_ms;
    if (result->rejected != 0) {
        peer->sent_index = peer->match_index;
    } else if (result->last_index > peer->match_index) {
        peer->match_index = result->last_index;
        peer->moved_ms = now_ms;
    }
}

/* A rejection by who has less than is stored there is an old one, or it has lost what it had. */
static void note_short(struct sp_raft_guard *guard, uint64_t from, uint64_t last, uint64_t match)
{
    struct sp_raft_guard_peer *peer =
        guard->raft.state == RAFT_LEADER ? sp_raft_step_peer(guard, from) : NULL;

    if (peer != NULL && last < match) {
        peer->short_ms = peer->short_ms == 0 ? guard->raft.now : peer->short_ms;
        peer->short_said_ms = guard->raft.now;
    }
}

int sp_raft_guard_receive_append_result(struct sp_raft_guard *guard,
                                        uint64_t now_ms,
                                        uint64_t from,
                                        const struct sp_raft_guard_append_result *result)
{
    struct raft_message message = { .type = RAFT_APPEND_ENTRIES_RESULT };
    struct raft *raft = &guard->raft;
    bool current = result->term == raft->current_term;
    bool again = false; /* libraft does not know what the rejection is about (G14) */
    uint64_t last = result->last_index;
    raft_index match = 0;

    if (guard->failed != 0) {
        return SPATE_ERR_STOPPED;
    }
    if (!is_peer(guard, from) || result->term == 0) {
        return SPATE_ERR_MALFORMED;
    }
    if (current && result->request_term != result->term &&
        sp_raft_step_guards(guard, SP_RAFT_GUARD_G1_REQUEST_TERM)) {
        return 0;
    }
    if (current && result->rejected != 0 && raft_match_index(raft, from, &match) == 0) {
        if (result->hint_term != 0 && sp_raft_step_guards(guard, SP_RAFT_GUARD_G7_HINT)) {
            last = last < result->rejected ? last : result->rejected - 1;
            last = sp_raft_support_back_to_term(&raft->trail, last, result->hint_term);
        }
        if (sp_raft_step_guards(guard, SP_RAFT_GUARD_G10_STALE_REJECTION)) {
            note_short(guard, from, result->last_index, match);
            if (result->rejected <= match) {
                return 0;
            }
            last = sp_raft_step_max(last, match);
        }
    }
    if (current && raft->state == RAFT_LEADER) {
        struct sp_raft_guard_peer *peer = sp_raft_step_peer(guard, from);
        if (peer != NULL) {
            note_answer(peer, result, sp_raft_step_max(now_ms, raft->now));
            again = result->rejected != 0 && peer->left_out;
            peer->left_out = peer->left_out && result->rejected == 0;
        }
    }
    message.append_entries_result.version = RESULT_VERSION;
    message.append_entries_result.term = result->term;
    message.append_entries_result.rejected = result->rejected;
    message.append_entries_result.last_log_index = last;
    message.append_entries_result.capacity = USHRT_MAX;
    int rv = receive(guard, now_ms, from, &message, 0, 0);
    return rv == 0 && again ? sp_raft_step_send_again(guard, now_ms) : rv;
}

int sp_raft_guard_step_down(struct sp_raft_guard *guard, uint64_t now_ms, uint64_t server)
{
    const struct sp_raft_guard_append_result later = { .term = guard->raft.current_term + 1 };

    return sp_raft_guard_receive_append_result(guard, now_ms, server, &later);
}

/* A replica that never had a frame knows of no membership. Who asks it counts on its vote: a member
 * that a forced membership has kept, and that had not been made yet. Voting with an empty log is
 * what any voter may do that has promised nothing. */
static bool has_nothing(struct raft *raft)
{
    return raft->configuration.n == 0 && raft->trail.snapshot.index == 0 &&
           raft_last_index(raft) == 0;
}

/* G9: a promotion that we have not seen yet must not block the others, so a standby without a
 * leader votes like the voter that it may be. libraft reads the role from the configuration, for
 * one that has none from `lent`. */
static struct raft_server *
borrow_vote(struct sp_raft_guard *guard, uint64_t now_ms, struct raft_server *lent)
{
    struct raft *raft = &guard->raft;

    if (!sp_raft_step_guards(guard, SP_RAFT_GUARD_G9_STANDBY_VOTE) ||
        (guard->contact_ms != 0 && now_ms < guard->contact_ms + raft->election_timeout)) {
        return NULL;
    }
    if (has_nothing(raft)) {
        *lent = (struct raft_server){ .id = raft->id, .role = RAFT_VOTER };
        raft->configuration.servers = lent;
        raft->configuration.n = 1;
        return lent;
    }
    for (unsigned i = 0; i < raft->configuration.n; i++) {
        struct raft_server *server = &raft->configuration.servers[i];
        if (server->id == raft->id && server->role == RAFT_STANDBY) {
            server->role = RAFT_VOTER;
            if (raft->state == RAFT_FOLLOWER) {
                raft->follower_state.current_leader.id = 0;
            }
            return server;
        }
    }
    return NULL;
}

int sp_raft_guard_receive_vote(struct sp_raft_guard *guard,
                               uint64_t now_ms,
                               uint64_t from,
                               const struct raft_request_vote *vote)
{
    struct raft_message message = { .type = RAFT_REQUEST_VOTE };

    if (guard->failed != 0) {
        return SPATE_ERR_STOPPED;
    }
    if (!is_peer(guard, from) || vote->candidate_id != from || vote->term == 0 ||
        (vote->last_log_index == 0) != (vote->last_log_term == 0) ||
        vote->last_log_term > vote->term) {
        return SPATE_ERR_MALFORMED;
    }
    /* The leader before our restart may still hold a lease that rests on us. */
    if (guard->no_votes_after_start && now_ms < guard->started_ms + guard->raft.election_timeout) {
        return 0;
    }
    message.request_vote = *vote;
    message.request_vote.version = VOTE_VERSION;
    struct raft_server lent;
    struct raft_server *borrowed = borrow_vote(guard, now_ms, &lent);
    int rv = receive(guard, now_ms, from, &message, 0, 0);
    if (borrowed == &lent) {
        guard->raft.configuration.servers = NULL;
        guard->raft.configuration.n = 0;
    } else if (borrowed != NULL) {
        borrowed->role = RAFT_STANDBY;
    }
    return rv;
}

int sp_raft_guard_receive_vote_result(struct sp_raft_guard *guard,
                                      uint64_t now_ms,
                                      uint64_t from,
                                      const struct raft_request_vote_result *result)
{
    struct raft_message message = { .type = RAFT_REQUEST_VOTE_RESULT };

    if (guard->failed != 0) {
        return SPATE_ERR_STOPPED;
    }
    if (!is_peer(guard, from) || result->term == 0 ||
        (result->pre_vote && result->vote_granted && result->term > guard->raft.current_term + 1)) {
        return SPATE_ERR_MALFORMED;
    }
    /* N1: libraft asks a candidate's field before it asks whether it is one, and so takes the term
     * of a late pre-vote reply, which nobody is in, for a real one. */
    if (guard->raft.state != RAFT_CANDIDATE &&
        sp_raft_step_guards(guard, SP_RAFT_GUARD_N1_CANDIDATE)) {
        return 0;
    }
    message.request_vote_result = *result;
    message.request_vote_result.version = VOTE_VERSION;
    message.request_vote_result.features = 0;
    message.request_vote_result.capacity = USHRT_MAX;
    return receive(guard, now_ms, from, &message, 0, 0);
}

bool sp_raft_guard_wants_install(const struct sp_raft_guard *guard,
                                 uint64_t term,
                                 uint64_t last_index,
                                 uint64_t last_term)
{
    return guard->failed == 0 && !guard->raft.snapshot.installing &&
           term >= guard->raft.current_term && guard->raft.trail.snapshot.index < last_index &&
           sp_raft_guard_term_at(guard, last_index) != last_term;
}

static int check_install(const struct sp_raft_guard *guard,
                         uint64_t from,
                         const struct sp_raft_guard_install *install)
{
    uint64_t own_term = sp_raft_guard_term_at(guard, install->last_index);

    if (!is_peer(guard, from) || install->last_index == 0 || install->last_term == 0 ||
        install->last_term > install->term || install->last_index > UINT64_MAX / 2 ||
        install->configuration_index > install->last_index ||
        install->configuration->n > SP_RAFT_GUARD_SERVERS_MAX ||
        sp_raft_support_voter_count(install->configuration) == 0) {
        return SPATE_ERR_MALFORMED;
    }
    if (guard->raft.state == RAFT_LEADER && install->term == guard->raft.current_term) {
        return SPATE_ERR_MALFORMED;
    }
    if (install->last_index <= guard->committed_index && own_term != 0 &&
        own_term != install->last_term) {
        return SPATE_ERR_MALFORMED; /* it would replace what is committed by something else */
    }
    return 0;
}

int sp_raft_guard_receive_install(struct sp_raft_guard *guard,
                                  uint64_t now_ms,
                                  uint64_t from,
                                  const struct sp_raft_guard_install *install)
{
    struct raft_message message = { .type = RAFT_INSTALL_SNAPSHOT };

    if (guard->failed != 0) {
        return SPATE_ERR_STOPPED;
    }
    int rv = check_install(guard, from, install);
    if (rv != 0) {
        return rv;
    }
    note_contact(guard, now_ms, install->term);
    if (guard->raft.snapshot.installing) {
        return 0;
    }
    message.install_snapshot.term = install->term;
    message.install_snapshot.last_index = install->last_index;
    message.install_snapshot.last_term = install->last_term;
    message.install_snapshot.conf_index = install->configuration_index;
    rv = sp_raft_guard_copy_configuration(install->configuration, &message.install_snapshot.conf);
    if (rv != 0) {
        return sp_raft_step_fail(guard, rv);
    }
    return receive(guard, now_ms, from, &message, install->term, 0);
}

int sp_raft_guard_receive_timeout_now(struct sp_raft_guard *guard,
                                      uint64_t now_ms,
                                      uint64_t from,
                                      const struct raft_timeout_now *timeout_now)
{
    struct raft_message message = { .type = RAFT_TIMEOUT_NOW };

    if (guard->failed != 0) {
        return SPATE_ERR_STOPPED;
    }
    if (!is_peer(guard, from) || timeout_now->term == 0) {
        return SPATE_ERR_MALFORMED;
    }
    /* A sole voter would lead at once in the term that it has (G6); its own timer does it right. */
    if (sp_raft_support_voter_count(&guard->raft.configuration) == 1) {
        return 0;
    }
    message.timeout_now = *timeout_now;
    message.timeout_now.version = 0;
    return receive(guard, now_ms, from, &message, 0, 0);
}
