/* Starting a replica: what the disk holds, as libraft wants to hear it.
 *
 *   checkpoint -> machine, applied, snapshot metadata;   frames kept -> entries (term and type
 *   only) vote -> raised where a sole voter needs it (G6), durable before the first step */
#include "cluster/raft_group_internal.h"

#include "base/mem.h"
#include "spate/error.h"

/* A log that does not begin with its first frame: the checkpoint there, which a follower below it
 * is sent. What the machine starts with was committed, and is applied. */
static int plan_snapshot(struct sp_raft_group *group)
{
    struct sp_raft_starting *starting = &group->starting;
    uint64_t floor = sp_log_first_index(group->log) - 1;

    starting->start.committed_index = sp_log_start_index(group->log);
    group->applied = sp_log_start_index(group->log);
    if (floor == 0) {
        return 0;
    }
    int rv = sp_raft_membership_at(group->log,
                                   floor,
                                   &starting->snapshot.configuration_index,
                                   &starting->snapshot.configuration);
    if (rv != 0) {
        return rv;
    }
    starting->has_snapshot = true;
    starting->snapshot.index = floor;
    starting->snapshot.term = sp_log_term_at(group->log, floor);
    starting->start.snapshot = &starting->snapshot;
    return 0;
}

/* One raft_entry per frame kept: libraft wants their terms, and the memberships among them. */
static int plan_entries(struct sp_raft_group *group)
{
    struct sp_raft_guard_start *start = &group->starting.start;
    uint64_t first = sp_log_first_index(group->log);
    uint64_t last = sp_log_last_index(group->log);

    start->start_index = first;
    start->entry_count = (unsigned)(last + 1 - first);
    if (start->entry_count == 0) {
        return 0;
    }
    start->entries = sp_mem_calloc(start->entry_count, sizeof *start->entries);
    if (start->entries == NULL) {
        return SPATE_ERR_NOMEM;
    }
    for (uint64_t index = first; index <= last; index++) {
        start->entries[index - first] =
            (struct raft_entry){ .term = sp_log_term_at(group->log, index), .type = RAFT_COMMAND };
    }
    for (unsigned n = 0; n < sp_log_configuration_count(group->log); n++) {
        uint64_t index;
        const uint8_t *bytes;
        size_t size;
        sp_log_configuration(group->log, n, &index, &bytes, &size);
        if (index >= first && index <= last) {
            struct raft_entry *entry = &start->entries[index - first];
            entry->type = RAFT_CHANGE;
            entry->buf.base = (void *)(uintptr_t)bytes; /* only read */
            entry->buf.len = size;
        }
    }
    return 0;
}

void sp_raft_forget_start(struct sp_raft_group *group)
{
    sp_mem_free(group->starting.start.entries);
    if (group->starting.has_snapshot) {
        raft_configuration_close(&group->starting.snapshot.configuration);
    }
    group->starting = (struct sp_raft_starting){ .pending = false };
}

int sp_raft_start(struct sp_raft_group *group)
{
    int rv = sp_raft_guard_start(&group->guard, sp_raft_now_ms(group), &group->starting.start);

    sp_raft_forget_start(group);
    if (rv != 0) {
        return rv;
    }
    sp_raft_stand_first(group);
    sp_raft_advance(group);
    return 0;
}

int sp_raft_plan_start(struct sp_raft_group *group)
{
    struct sp_raft_guard_start *plan = &group->starting.start;
    bool changed = false;
    int rv = plan_snapshot(group);

    if (rv == 0) {
        rv = plan_entries(group);
    }
    if (rv != 0) {
        return rv;
    }
    sp_store_vote(
        group->context->store, group->group_id, group->replica_id, &plan->term, &plan->vote);
    rv = sp_raft_guard_plan_start(&group->guard, plan, &changed);
    if (rv != 0) {
        return rv;
    }
    if (changed) {
        group->meta_issued = sp_store_set_vote(
            group->context->store, group->group_id, group->replica_id, plan->term, plan->vote);
        if (group->meta_issued == 0) {
            return SPATE_ERR_NOMEM;
        }
    }
    group->starting.pending = true;
    sp_list_append(&group->context->meta_waiters, &group->meta_node);
    return 0;
}
