/* Commits: hands committed frames to the machine in order, takes checkpoints where the log wants
 * them, completes submits. Frames come from memory; after a restart, from disk. */
#include "cluster/raft_group_internal.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "spate/error.h"

/* Frames applied in one go before the loop gets its turn. */
#define APPLY_READ_BYTES (1024 * 1024)

static unsigned count_fsynced(struct sp_raft_group *group, uint64_t index)
{
    const struct raft_configuration *members = &group->guard.raft.configuration;
    unsigned count = 0;

    for (unsigned i = 0; i < members->n; i++) {
        raft_index match = 0;
        if (members->servers[i].role != RAFT_VOTER) {
            continue; /* a standby counts for nothing */
        }
        if (members->servers[i].id == group->replica_id) {
            match = sp_log_persisted_index(group->log);
        } else if (raft_match_index(&group->guard.raft, members->servers[i].id, &match) != 0) {
            match = 0;
        }
        if (match >= index) {
            count += 1;
        }
    }
    return count;
}

static void complete_submits(struct sp_raft_group *group)
{
    uint64_t now_us = sp_list_empty(&group->submits) ? 0 : sp_loop_now_us(group->context->loop);

    while (!sp_list_empty(&group->submits)) {
        struct sp_submit *submit = SP_LIST_ENTRY(group->submits.next, struct sp_submit, node);
        if (submit->index > group->applied) {
            return;
        }
        sp_list_remove(&submit->node);
        group->submit_count -= 1;
        group->submitted_bytes -= submit->size_bytes;
        sp_histogram_note(&group->context->counters.commits, now_us - submit->begun_us);
        submit->fsynced =
            sp_raft_state(group) == RAFT_LEADER ? count_fsynced(group, submit->index) : 0;
        submit->cb(submit, 0);
    }
}

void sp_raft_fail_submits(struct sp_raft_group *group, int status)
{
    struct sp_list failed;

    sp_list_init(&failed);
    sp_list_move(&failed, &group->submits);
    group->submit_count = 0;
    group->submitted_bytes = 0;
    while (!sp_list_empty(&failed)) {
        struct sp_submit *submit = SP_LIST_ENTRY(failed.next, struct sp_submit, node);
        sp_list_remove(&submit->node);
        submit->fsynced = 0;
        submit->cb(submit, status);
    }
}

static int take_checkpoint(struct sp_raft_group *group)
{
    struct sp_buf state;
    int rv;

    sp_buf_init(&state, SP_STATE_BYTES_MAX);
    rv = group->machine->type->checkpoint(group->machine, &state);
    if (rv == 0) {
        rv = sp_log_checkpoint_write(group->log, state.bytes, state.size);
    }
    sp_buf_deinit(&state);
    return rv;
}

static int apply_frame(struct sp_raft_group *group, const struct sp_slice *slice)
{
    struct sp_log_frame frame;
    int rv = sp_log_frame_decode(slice->bytes, slice->size, &frame);

    SP_ASSERT(rv == 0);
    SP_ASSERT(frame.index == group->applied + 1);
    /* Asked before the next frame rather than after the last: a log that is written slowly rolls
     * when everything before has been applied already. */
    if (group->applied > 0 && sp_log_checkpoint_wanted(group->log) == group->applied) {
        rv = take_checkpoint(group);
        if (rv != 0) {
            return rv;
        }
    }
    rv = group->machine->type->apply(group->machine, &frame, sp_log_frame_payload(slice->bytes));
    if (rv == 0) {
        group->applied = frame.index;
    }
    if (group->checkpoints_kept > 0 &&
        sp_log_newest_count(group->log) >=
            sp_log_segment_bytes(group->log) / SP_MACHINE_ROLL_BYTES_PER_FRAME) {
        sp_log_roll(group->log);
    }
    return rv;
}

static void apply_frames(struct sp_raft_group *group, struct sp_log_read *read)
{
    int rv = 0;

    for (unsigned i = 0; i < read->count && rv == 0 && !group->closing; i++) {
        rv = apply_frame(group, &read->frames[i]);
    }
    sp_log_read_release(read);
    if (rv != 0) {
        sp_raft_stop(group,
                     rv,
                     rv == SPATE_ERR_UNSUPPORTED
                         ? "a committed command is of a newer build: start that build again"
                         : "the state machine refused a committed frame");
        return;
    }
    complete_submits(group);
}

static void on_apply_read(struct sp_log_read *read, int status)
{
    struct sp_raft_apply_read *apply = SP_CONTAINER_OF(read, struct sp_raft_apply_read, read);
    struct sp_raft_group *group = apply->group;

    group->apply_read = NULL;
    if (group->closing || group->stopped) {
        sp_log_read_release(read);
    } else if (sp_raft_guard_installing(&group->guard) ||
               (uint64_t)read->start != group->applied + 1) {
        sp_log_read_release(read); /* a checkpoint has taken the place of these frames */
        sp_raft_advance(group);
    } else if (status != 0) {
        sp_log_read_release(read);
        sp_raft_stop_unreadable(
            group, status, "a committed frame could not be read back from disk");
    } else {
        apply_frames(group, read);
        sp_raft_advance(group);
    }
    sp_mem_free(apply);
}

static void
prepare_read(const struct sp_raft_group *group, uint64_t committed, struct sp_log_read *read)
{
    read->by = SP_LOG_READ_INDEX;
    read->start = (int64_t)(group->applied + 1);
    read->index_max = committed;
    read->bytes_max = APPLY_READ_BYTES;
    read->frames_max = SP_APPEND_FRAMES_MAX;
    read->count = 0;
}

static void apply_from_disk(struct sp_raft_group *group, uint64_t committed)
{
    struct sp_raft_apply_read *apply = sp_mem_calloc(1, sizeof *apply);
    int rv = SPATE_ERR_NOMEM;

    if (apply != NULL) {
        apply->group = group;
        prepare_read(group, committed, &apply->read);
        apply->read.cb = on_apply_read;
        rv = sp_log_read_start(group->log, &apply->read);
    }
    if (rv != 0) {
        sp_mem_free(apply);
        sp_raft_stop_unreadable(group, rv, "a committed frame could not be read back from disk");
        return;
    }
    group->apply_read = apply;
}

void sp_raft_group_read_failed(struct sp_raft_group *group, int status)
{
    sp_raft_stop_unreadable(group, status, "a committed frame could not be read back from disk");
}

void sp_raft_apply(struct sp_raft_group *group)
{
    struct sp_log_read read; /* 6 KiB: only what prepare_read sets is used as input */

    while (group->apply_read == NULL && !group->stopped && !group->closing &&
           !sp_raft_guard_installing(&group->guard)) {
        uint64_t committed = sp_raft_guard_committed(&group->guard);
        if (committed > sp_log_last_index(group->log)) {
            committed = sp_log_last_index(group->log);
        }
        if (group->applied >= committed) {
            return;
        }
        prepare_read(group, committed, &read);
        if (!sp_log_read_cached(group->log, &read) || read.count == 0) {
            apply_from_disk(group, committed);
            return;
        }
        apply_frames(group, &read);
    }
}
