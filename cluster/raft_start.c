/* Starting a replica: what the disk holds, as libraft wants to hear it.
 *
 *   checkpoint -> machine, applied, snapshot metadata;   frames kept -> entries (term and type
 *   only) vote -> raised where a sole voter needs it (G6), durable before the first step */
#include "cluster/raft_group_internal.h"

#include "base/mem.h"
#include "spate/error.h"

static int decode_membership(const struct sp_log *log,
                             unsigned n,
                             raft_index *out_index,
                             struct raft_configuration *out)
{
    const uint8_t *bytes;
    size_t size;
    uint64_t index;
    struct raft_buffer buffer;
    int rv;

    sp_log_configuration(log, n, &index, &bytes, &size);
    *out_index = index;
    buffer.base = (void *)(uintptr_t)bytes; /* libraft's decoder only reads */
    buffer.len = size;
    rv = sp_raft_guard_check_configuration(&buffer);
    if (rv != 0) {
        return SPATE_ERR_CORRUPT;
    }
    return raft_configuration_decode(&buffer, out) == 0 ? 0 : SPATE_ERR_NOMEM;
}

/* The membership as of the checkpoint, and where it was set. */
static int plan_snapshot(struct sp_raft_group *group)
{
    struct sp_raft_starting *starting = &group->starting;
    uint64_t checkpoint = sp_log_checkpoint_index(group->log);
    unsigned n = sp_log_configuration_count(group->log);

    if (checkpoint == 0) {
        return 0;
    }
    while (n > 0) {
        uint64_t index;
        const uint8_t *bytes;
        size_t size;
        sp_log_configuration(group->log, n - 1, &index, &bytes, &size);
        if (index <= checkpoint) {
            break;
        }
        n -= 1;
    }
    if (n == 0) {
        return SPATE_ERR_CORRUPT;
    }
    int rv = decode_membership(group->log,
                               n - 1,
                               &starting->snapshot.configuration_index,
                               &starting->snapshot.configuration);
    if (rv != 0) {
        return rv;
    }
    starting->has_snapshot = true;
    starting->snapshot.index = checkpoint;
    starting->snapshot.term = sp_log_term_at(group->log, checkpoint);
    starting->start.snapshot = &starting->snapshot;
    starting->start.committed_index = checkpoint;
    group->applied = checkpoint;
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
