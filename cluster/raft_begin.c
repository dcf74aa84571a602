/* Whether the log begins where it should: at a record that the machine has given up all before, or
 * at the very first one.
 *
 *   given up (log_start) ----------- | log begins here: fine
 *   given up | records that nobody gave up | log begins here: its first files are missing
 *
 * A first segment that is missing looks like one that was trimmed, and the state with which a
 * replica starts may be older than the command that let a segment go. So nothing is said before all
 * that was committed is applied here: that command is part of it. A leader knows that when it has
 * applied a frame of its own term, a follower when it has applied what its leader speaks of. */
#include "cluster/raft_group_internal.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/trace.h"
#include "spate/error.h"

/* So long a leader holds a checkpoint back that it cannot vouch for. After that the follower may be
 * the one without which nothing is committed. */
#define HOLD_MS 10000

static int64_t given_up(const struct sp_raft_group *group)
{
    return group->machine->type->log_start(group->machine);
}

/* Records are missing at the beginning, by what is applied. Of a log that nobody reads the state in
 * its checkpoint is all that counts. */
static bool seems_short(const struct sp_raft_group *group)
{
    return group->checkpoints_kept == 0 && group->machine->type->log_start != NULL &&
           given_up(group) < sp_log_first_offset(group->log);
}

static bool is_only_voter(const struct sp_raft_group *group)
{
    const struct raft_configuration *members = &group->guard.raft.configuration;
    unsigned others = 0;

    for (unsigned i = 0; i < members->n; i++) {
        others +=
            members->servers[i].role == RAFT_VOTER && members->servers[i].id != group->replica_id
                ? 1
                : 0;
    }
    return others == 0;
}

/* There is nobody to fill another one from: what is left is served. */
static void keep_short(struct sp_raft_group *group)
{
    if (group->short_since_ms != 0) {
        return;
    }
    group->short_since_ms = sp_raft_now_ms(group);
    SP_TRACE_ERROR("raft",
                   "records are missing at the beginning of the log, and no other replica has them",
                   "group=%llu replica=%llu first=%lld end=%lld",
                   (unsigned long long)group->group_id,
                   (unsigned long long)group->replica_id,
                   (long long)given_up(group),
                   (long long)sp_log_first_offset(group->log));
}

void sp_raft_check_begin(struct sp_raft_group *group)
{
    char text[160];

    if (group->begins_right || sp_raft_guard_installing(&group->guard)) {
        return;
    }
    if (!seems_short(group)) {
        group->begins_right = true;
        group->short_since_ms = 0;
        return;
    }
    if (!sp_raft_group_is_current(group)) {
        return;
    }
    if (is_only_voter(group)) {
        keep_short(group);
        return;
    }
    (void)snprintf(text,
                   sizeof text,
                   "its log begins with record %" PRId64 ", and only those below %" PRId64
                   " were given up: its first segment is missing",
                   sp_log_first_offset(group->log),
                   given_up(group));
    sp_raft_stop_unreadable(group, SPATE_ERR_CORRUPT, text);
}

void sp_raft_doubt_begin(struct sp_raft_group *group)
{
    group->begins_right = false;
    group->said = (struct sp_raft_said){ .term = 0 }; /* it was said of another log */
}

bool sp_raft_vouches_for_begin(struct sp_raft_group *group)
{
    uint64_t term = raft_current_term(&group->guard.raft);
    uint64_t now_ms = sp_raft_now_ms(group);

    if (group->begins_right || !seems_short(group)) {
        return true;
    }
    if (sp_log_term_at(group->log, sp_raft_guard_committed(&group->guard)) == term) {
        return false; /* known as soon as it is applied */
    }
    if (group->begin_asked_term != term) {
        group->begin_asked_term = term;
        group->begin_asked_ms = now_ms;
    }
    return now_ms >= group->begin_asked_ms + HOLD_MS;
}

uint64_t sp_raft_group_short_since_ms(const struct sp_raft_group *group)
{
    return sp_raft_runs(group) ? group->short_since_ms : 0;
}
