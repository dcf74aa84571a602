/* The storage side of a replica: what libraft wants persisted, and what the disk reports back. */
#include "cluster/raft_group_internal.h"

#include "base/assert.h"
#include "base/trace.h"
#include "spate/error.h"

static int write_meta(struct sp_raft_group *group)
{
    uint64_t sequence = sp_store_set_vote(group->context->store,
                                          group->group_id,
                                          group->replica_id,
                                          raft_current_term(&group->guard.raft),
                                          raft_voted_for(&group->guard.raft));

    if (sequence == 0) {
        return SPATE_ERR_NOMEM;
    }
    group->meta_issued = sequence;
    if (sp_list_empty(&group->meta_node)) {
        sp_list_append(&group->context->meta_waiters, &group->meta_node);
    }
    return 0;
}

/* A frame of our own making: a submit, a barrier, or a change of membership. */
static int write_own_entry(struct sp_raft_group *group, const struct raft_entry *entry)
{
    struct sp_iovec change = { entry->buf.base, entry->buf.len };
    int64_t now_ms = sp_raft_group_append_time_ms(group);
    int64_t offset = 0;

    switch (entry->type) {
    case RAFT_COMMAND:
        SP_ASSERT(group->submit_pieces != NULL);
        return sp_log_build(group->log,
                            group->submit_kind,
                            entry->term,
                            now_ms,
                            group->submit_pieces,
                            group->submit_piece_count,
                            &group->submit_offset);
    case RAFT_BARRIER:
        return sp_log_build(group->log, SP_FRAME_NOOP, entry->term, now_ms, NULL, 0, &offset);
    case RAFT_CHANGE:
        return sp_log_build(
            group->log, SP_FRAME_CONFIGURATION, entry->term, now_ms, &change, 1, &offset);
    }
    return SPATE_ERR_INTERNAL;
}

static int write_received(struct sp_raft_group *group, uint64_t index, unsigned count)
{
    SP_ASSERT(index >= group->staged_first);
    SP_ASSERT(index - group->staged_first + count <= group->staged_count);
    return sp_log_append(group->log, group->staged + (index - group->staged_first), count);
}

static int write_entries(struct sp_raft_group *group, const struct raft_update *update)
{
    uint64_t index = update->entries.index;
    int rv = 0;

    if (index <= sp_log_last_index(group->log)) {
        if (index <= group->applied) {
            return SPATE_ERR_CORRUPT; /* no honest leader has another frame there */
        }
        if (group->persisted_waiting >= index) {
            group->persisted_waiting = index - 1;
        }
        rv = sp_log_truncate(group->log, index);
        if (rv != 0) {
            return rv;
        }
        SP_TRACE_INFO("raft",
                      "uncommitted tail replaced",
                      "group=%llu from=%llu",
                      (unsigned long long)group->group_id,
                      (unsigned long long)index);
    }
    SP_ASSERT(index == sp_log_last_index(group->log) + 1);
    if (group->staged != NULL) {
        return write_received(group, index, update->entries.n);
    }
    for (unsigned i = 0; i < update->entries.n && rv == 0; i++) {
        rv = write_own_entry(group, &update->entries.batch[i]);
    }
    return rv;
}

int sp_raft_host_update(void *arg, const struct raft_event *event, const struct raft_update *update)
{
    struct sp_raft_group *group = arg;
    int rv = 0;

    (void)event; /* everything needed is in the update and in what was staged */
    if ((update->flags & (RAFT_UPDATE_CURRENT_TERM | RAFT_UPDATE_VOTED_FOR)) != 0) {
        rv = write_meta(group);
    }
    if (rv == 0 && (update->flags & RAFT_UPDATE_ENTRIES) != 0) {
        rv = write_entries(group, update);
    }
    if (rv == 0 && (update->flags & RAFT_UPDATE_SNAPSHOT) != 0) {
        SP_ASSERT(group->staged_checkpoint != NULL);
        group->persisted_waiting = 0;
        rv = sp_log_install(
            group->log, group->staged_checkpoint->bytes, group->staged_checkpoint->size);
    }
    return rv;
}

/* The log reports durable frames; raft may know once term and vote are durable too (I2). */
void sp_raft_host_persisted(void *arg, uint64_t index)
{
    struct sp_raft_group *group = arg;

    if (group->stopped || group->closing || !group->guard.started) {
        return;
    }
    if (group->meta_issued > sp_store_meta_durable(group->context->store)) {
        group->persisted_waiting = index;
        return;
    }
    group->persisted_waiting = 0;
    sp_raft_reader_keep(group);
    if (sp_raft_guard_installing(&group->guard)) {
        int status = sp_raft_install_finish(group);
        if (status != 0) {
            sp_raft_stop(group, status, "the leader's checkpoint could not be taken over");
            return;
        }
        sp_raft_advance(group);
        return;
    }
    int rv = sp_raft_guard_persisted(&group->guard, sp_raft_now_ms(group), index);
    SP_ASSERT(rv == 0 || sp_raft_guard_failed(&group->guard) != 0); /* advance tells of it */
    sp_raft_advance(group);
}
