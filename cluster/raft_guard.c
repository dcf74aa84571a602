#include "cluster/raft_guard.h"

#include <string.h>

#include "base/assert.h"
#include "cluster/raft_guard_step.h"
#include "cluster/raft_guard_support.h"
#include "spate/error.h"

int sp_raft_guard_init(struct sp_raft_guard *guard, const struct sp_raft_guard_options *options)
{
    SP_ASSERT(options->id > 0);
    SP_ASSERT(options->heartbeat_ms > 0);
    SP_ASSERT(options->election_timeout_ms > options->heartbeat_ms);
    sp_raft_guard_use_heap();
    memset(guard, 0, sizeof *guard);
    int rv = raft_init(&guard->raft, NULL, NULL, options->id, SP_RAFT_GUARD_NO_ADDRESS);
    if (rv != 0) {
        return sp_raft_support_translate(rv);
    }
    guard->raft.tracer = NULL; /* the default one formats every line, even when nobody reads it */
    raft_seed(&guard->raft, options->seed);
    raft_set_election_timeout(&guard->raft, options->election_timeout_ms);
    raft_set_heartbeat_timeout(&guard->raft, options->heartbeat_ms);
    raft_set_install_snapshot_timeout(&guard->raft, options->install_timeout_ms);
    raft_set_pre_vote(&guard->raft, options->pre_vote);
    sp_raft_guard_set_window(guard, options->window_entries);
    guard->host = options->host;
    guard->heartbeat_ms = options->heartbeat_ms;
    guard->no_votes_after_start = options->no_votes_after_start;
    return 0;
}

void sp_raft_guard_deinit(struct sp_raft_guard *guard)
{
    struct raft *raft = &guard->raft;

    if (guard->failed == SPATE_ERR_NOMEM) {
        /* These may be half freed: to lose them is the safe way. */
        raft_configuration_init(&raft->configuration);
        raft_configuration_init(&raft->configuration_committed);
    }
    raft_close(raft, NULL);
}

static bool is_sole_voter(const struct sp_raft_guard *guard,
                          const struct raft_configuration *configuration)
{
    return sp_raft_support_voter_count(configuration) == 1 &&
           sp_raft_support_role(configuration, guard->raft.id) == RAFT_VOTER;
}

/* What must hold of a log before libraft may see it; recovery bugs and damage end here. */
static int check_start(const struct sp_raft_guard_start *start)
{
    uint64_t snapshot_index = start->snapshot != NULL ? start->snapshot->index : 0;
    uint64_t term = 0;

    if (start->start_index == 0 || start->start_index > snapshot_index + 1 ||
        start->start_index + start->entry_count < snapshot_index + 1) {
        return SPATE_ERR_CORRUPT;
    }
    if (start->snapshot != NULL && (snapshot_index == 0 || start->snapshot->term == 0)) {
        return SPATE_ERR_CORRUPT;
    }
    if (start->snapshot == NULL && start->entry_count > 0 &&
        start->entries[0].type != RAFT_CHANGE) {
        return SPATE_ERR_CORRUPT;
    }
    for (unsigned i = 0; i < start->entry_count; i++) {
        const struct raft_entry *entry = &start->entries[i];
        if (entry->term == 0 || entry->term < term) {
            return SPATE_ERR_CORRUPT;
        }
        if (entry->type == RAFT_CHANGE && sp_raft_guard_check_configuration(&entry->buf) != 0) {
            return SPATE_ERR_CORRUPT;
        }
        term = entry->term;
    }
    return 0;
}

/* Whether the newest configuration on disk makes us the sole voter. */
static int starts_as_sole_voter(const struct sp_raft_guard *guard,
                                const struct sp_raft_guard_start *start,
                                bool *out)
{
    for (unsigned i = start->entry_count; i > 0; i--) {
        const struct raft_entry *entry = &start->entries[i - 1];
        struct raft_configuration configuration;

        if (entry->type != RAFT_CHANGE) {
            continue;
        }
        int rv = sp_raft_support_translate(raft_configuration_decode(&entry->buf, &configuration));
        if (rv == 0) {
            *out = is_sole_voter(guard, &configuration);
            raft_configuration_close(&configuration);
        }
        return rv;
    }
    *out = start->snapshot != NULL && is_sole_voter(guard, &start->snapshot->configuration);
    return 0;
}

int sp_raft_guard_plan_start(const struct sp_raft_guard *guard,
                             struct sp_raft_guard_start *start,
                             bool *out_changed)
{
    uint64_t log_term = start->snapshot != NULL ? start->snapshot->term : 0;
    bool sole = false;
    bool changed = false;

    int rv = check_start(start);
    if (rv == 0) {
        rv = starts_as_sole_voter(guard, start, &sole);
    }
    if (rv != 0) {
        return rv;
    }
    if (start->entry_count > 0) {
        log_term = sp_raft_step_max(log_term, start->entries[start->entry_count - 1].term);
    }
    if (log_term > start->term) { /* the entry reached the disk, the term before it did not */
        start->term = log_term;
        start->vote = 0;
        changed = true;
    }
    if (sole && sp_raft_step_guards(guard, SP_RAFT_GUARD_G6_SOLE_VOTER)) {
        start->term += 1;
        start->vote = guard->raft.id;
        changed = true;
    }
    *out_changed = changed;
    return 0;
}

int sp_raft_guard_start(struct sp_raft_guard *guard,
                        uint64_t now_ms,
                        const struct sp_raft_guard_start *start)
{
    struct raft_event event = { .type = RAFT_START };
    struct raft_snapshot_metadata metadata;

    SP_ASSERT(!guard->started);
    guard->started = true;
    guard->started_ms = now_ms;
    if (start->snapshot != NULL) {
        metadata = *start->snapshot;
        int rv = sp_raft_guard_copy_configuration(&start->snapshot->configuration,
                                                  &metadata.configuration);
        if (rv != 0) {
            return sp_raft_step_fail(guard, rv);
        }
        event.start.metadata = &metadata;
    }
    for (unsigned i = 0; i < start->entry_count; i++) {
        start->entries[i].batch = sp_raft_support_unowned_batch();
    }
    event.start.term = start->term;
    event.start.voted_for = start->vote;
    event.start.start_index = start->start_index;
    event.start.entries = start->entry_count > 0 ? start->entries : NULL;
    event.start.n_entries = start->entry_count;
    guard->committed_index = start->committed_index;
    sp_raft_support_borrow(start->entries);
    int rv = sp_raft_step(guard, now_ms, &event, 0);
    sp_raft_support_borrow(NULL);
    return rv != 0 ? rv : sp_raft_step_settle(guard, now_ms);
}

/* --- disk --- */

int sp_raft_guard_persisted(struct sp_raft_guard *guard, uint64_t now_ms, uint64_t index)
{
    struct raft_event event = { .type = RAFT_PERSISTED_ENTRIES };
    struct raft *raft = &guard->raft;

    if (guard->failed != 0) {
        return SPATE_ERR_STOPPED;
    }
    if (raft->snapshot.installing || index <= raft->last_stored) {
        return 0;
    }
    SP_ASSERT(index <= sp_raft_support_last_index(&raft->trail));
    event.persisted_entries.index = index;
    int rv = sp_raft_step_run(guard, now_ms, &event);
    if (rv == 0 && guard->expire_when_stored && raft->state == RAFT_FOLLOWER &&
        raft->last_stored == sp_raft_support_last_index(&raft->trail)) {
        guard->expire_when_stored = false;
        sp_raft_step_expire(raft, now_ms + guard->expire_delay_ms);
    }
    return rv;
}

int sp_raft_guard_persisted_snapshot(struct sp_raft_guard *guard,
                                     uint64_t now_ms,
                                     const struct raft_snapshot_metadata *metadata)
{
    struct raft_event event = { .type = RAFT_PERSISTED_SNAPSHOT };

    if (guard->failed != 0) {
        return SPATE_ERR_STOPPED;
    }
    SP_ASSERT(guard->raft.snapshot.installing);
    SP_ASSERT(metadata->index == guard->raft.trail.snapshot.index);
    event.persisted_snapshot.metadata = *metadata;
    event.persisted_snapshot.last = true;
    int rv = sp_raft_guard_copy_configuration(&metadata->configuration,
                                              &event.persisted_snapshot.metadata.configuration);
    if (rv != 0) {
        return sp_raft_step_fail(guard, rv);
    }
    return sp_raft_step_run(guard, now_ms, &event);
}

int sp_raft_guard_snapshot(struct sp_raft_guard *guard,
                           uint64_t now_ms,
                           const struct raft_snapshot_metadata *metadata,
                           unsigned trailing)
{
    struct raft_event event = { .type = RAFT_SNAPSHOT };
    const struct raft *raft = &guard->raft;

    if (guard->failed != 0) {
        return SPATE_ERR_STOPPED;
    }
    if (raft->snapshot.installing) {
        return SPATE_ERR_BUSY;
    }
    if (metadata->index <= raft->trail.snapshot.index || metadata->index > raft->last_stored ||
        metadata->index > guard->committed_index ||
        sp_raft_guard_term_at(guard, metadata->index) == 0) {
        return SPATE_ERR_INVALID;
    }
    if (metadata->index < 2 && sp_raft_step_guards(guard, SP_RAFT_GUARD_POLICY)) {
        return SPATE_ERR_INVALID; /* a server that joins empty would never be sent anything */
    }
    event.snapshot.metadata = *metadata;
    event.snapshot.trailing = trailing;
    int rv = sp_raft_guard_copy_configuration(&metadata->configuration,
                                              &event.snapshot.metadata.configuration);
    if (rv != 0) {
        return sp_raft_step_fail(guard, rv);
    }
    return sp_raft_step_run(guard, now_ms, &event);
}

/* --- the leader's work --- */

int sp_raft_guard_submit(struct sp_raft_guard *guard,
                         uint64_t now_ms,
                         struct raft_entry *entries,
                         unsigned count)
{
    SP_ASSERT(count > 0);
    if (guard->failed != 0) {
        return SPATE_ERR_STOPPED;
    }
    for (unsigned i = 0; i < count; i++) {
        SP_ASSERT(entries[i].type == RAFT_COMMAND);
    }
    int rv = sp_raft_step_submit(guard, now_ms, entries, count);
    return rv != 0 ? rv : sp_raft_step_settle(guard, now_ms);
}

/* The policies, and for a promotion: it has stored the entry that made it a standby. */
static int check_change(const struct sp_raft_guard *guard, const struct raft_configuration *next)
{
    const struct raft *raft = &guard->raft;
    struct sp_raft_support_change change = { 0 };
    raft_index match = 0;

    int rv = sp_raft_support_check_change(&raft->configuration, next, raft->id, &change);
    if (rv == 0 && change.promoted_id != 0 &&
        (raft_match_index(raft, change.promoted_id, &match) != 0 ||
         match < raft->configuration_committed_index)) {
        return SPATE_ERR_AGAIN;
    }
    return rv;
}

int sp_raft_guard_change(struct sp_raft_guard *guard,
                         uint64_t now_ms,
                         const struct raft_configuration *next)
{
    struct raft_entry entry = { .type = RAFT_CHANGE };

    if (guard->failed != 0) {
        return SPATE_ERR_STOPPED;
    }
    if (!sp_raft_step_can_submit(guard)) {
        return SPATE_ERR_NOT_LEADER;
    }
    if (guard->raft.configuration_uncommitted_index != 0) {
        return SPATE_ERR_BUSY;
    }
    if (sp_raft_step_guards(guard, SP_RAFT_GUARD_POLICY)) {
        int rv = check_change(guard, next);
        if (rv != 0) {
            return rv;
        }
    }
    if (sp_raft_step_guards(guard, SP_RAFT_GUARD_G5_CHANGE_TERM) && !sp_raft_guard_leads(guard)) {
        int rv = sp_raft_step_has_own_entry(guard) ? 0 : sp_raft_step_barrier(guard, now_ms);
        return rv != 0 ? rv : SPATE_ERR_AGAIN;
    }
    int rv = sp_raft_support_translate(raft_configuration_encode(next, &entry.buf));
    if (rv != 0) {
        return rv;
    }
    rv = sp_raft_step_submit(guard, now_ms, &entry, 1);
    raft_free(entry.buf.base);
    return rv != 0 ? rv : sp_raft_step_settle(guard, now_ms);
}

/* Another voter that has stored all our entries, or 0. */
static uint64_t find_successor(const struct sp_raft_guard *guard)
{
    const struct raft_configuration *configuration = &guard->raft.configuration;

    for (unsigned i = 0; i < configuration->n; i++) {
        const struct raft_server *server = &configuration->servers[i];
        raft_index match = 0;
        if (server->id != guard->raft.id && server->role == RAFT_VOTER &&
            raft_match_index(&guard->raft, server->id, &match) == 0 &&
            match == sp_raft_support_last_index(&guard->raft.trail)) {
            return server->id;
        }
    }
    return 0;
}

int sp_raft_guard_transfer(struct sp_raft_guard *guard, uint64_t now_ms, uint64_t to)
{
    struct raft_event event = { .type = RAFT_TRANSFER };
    const struct raft *raft = &guard->raft;
    raft_index match = 0;

    if (guard->failed != 0) {
        return SPATE_ERR_STOPPED;
    }
    if (!sp_raft_step_can_submit(guard)) {
        return SPATE_ERR_NOT_LEADER;
    }
    if (to == 0) {
        to = find_successor(guard);
        if (to == 0) {
            return sp_raft_support_voter_count(&raft->configuration) > 1 ? SPATE_ERR_AGAIN
                                                                         : SPATE_ERR_NOT_FOUND;
        }
    }
    if (to == raft->id || sp_raft_support_role(&raft->configuration, to) != RAFT_VOTER) {
        return SPATE_ERR_INVALID;
    }
    /* libraft sends TimeoutNow only once, and its receiver ignores it unless it has everything. */
    if (raft_match_index(raft, to, &match) != 0 ||
        match != sp_raft_support_last_index(&raft->trail)) {
        return SPATE_ERR_AGAIN;
    }
    event.transfer.server_id = to;
    return sp_raft_step_run(guard, now_ms, &event);
}

/* --- time --- */

int sp_raft_guard_timeout(struct sp_raft_guard *guard, uint64_t now_ms)
{
    struct raft_event event = { .type = RAFT_TIMEOUT };
    struct raft *raft = &guard->raft;
    unsigned flags = 0;

    if (guard->failed != 0) {
        return SPATE_ERR_STOPPED;
    }
    /* G6: libraft lets a sole voter lead in the term that it has and without its own vote, as if
     * nobody else could have led in it. These are the conditions under which it will. */
    if (raft->state == RAFT_FOLLOWER && now_ms >= raft_timeout(raft) &&
        !raft->snapshot.installing &&
        raft->last_stored == sp_raft_support_last_index(&raft->trail) &&
        is_sole_voter(guard, &raft->configuration) &&
        sp_raft_step_guards(guard, SP_RAFT_GUARD_G6_SOLE_VOTER)) {
        raft->current_term += 1;
        raft->voted_for = raft->id;
        raft->follower_state.match = 0;
        flags = RAFT_UPDATE_CURRENT_TERM | RAFT_UPDATE_VOTED_FOR;
    }
    int rv = raft->state == RAFT_LEADER ? sp_raft_step_lead_on(guard, now_ms, &event)
                                        : sp_raft_step(guard, now_ms, &event, flags);
    return rv != 0 ? rv : sp_raft_step_settle(guard, now_ms);
}

void sp_raft_guard_set_window(struct sp_raft_guard *guard, unsigned entries)
{
    raft_set_max_inflight_entries(&guard->raft, entries > 0 ? entries : 1);
}

/* --- questions --- */

int sp_raft_guard_failed(const struct sp_raft_guard *guard)
{
    return guard->failed;
}

uint64_t sp_raft_guard_timeout_ms(const struct sp_raft_guard *guard)
{
    return raft_timeout(&guard->raft);
}

uint64_t sp_raft_guard_committed(const struct sp_raft_guard *guard)
{
    return guard->committed_index;
}

uint64_t sp_raft_guard_term_at(const struct sp_raft_guard *guard, uint64_t index)
{
    return sp_raft_support_term_at(&guard->raft.trail, index);
}

bool sp_raft_guard_installing(const struct sp_raft_guard *guard)
{
    return guard->raft.snapshot.installing;
}

bool sp_raft_guard_leads(const struct sp_raft_guard *guard)
{
    return sp_raft_step_can_submit(guard) &&
           sp_raft_guard_term_at(guard, guard->committed_index) == guard->raft.current_term;
}
