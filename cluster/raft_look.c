/* Questions about a replica that change nothing but what the next question compares with. */
#include "cluster/raft_group_internal.h"
#include "cluster/raft_move.h"

/* A step is taken every 50 ms: after such a pause it is another move, or another time as leader. */
#define MARK_MS_MAX 2000

/* The leader has spoken within the last election timeout. Of a quiet group it is known that its
 * leader's node lives. */
static bool hears_leader(const struct sp_raft_group *group)
{
    return group->quiet ||
           sp_raft_now_ms(group) < group->guard.contact_ms + group->guard.raft.election_timeout;
}

bool sp_raft_group_follows(const struct sp_raft_group *group)
{
    return sp_raft_runs(group) && sp_raft_state(group) == RAFT_FOLLOWER &&
           sp_raft_leader_replica(group) != 0 && sp_raft_group_is_confirmed(group) &&
           !sp_raft_guard_installing(&group->guard) && hears_leader(group) &&
           sp_raft_group_member(group, group->replica_id) == SP_MEMBER_VOTER;
}

bool sp_raft_group_is_current(const struct sp_raft_group *group)
{
    const struct sp_raft_said *said = &group->said;

    if (!sp_raft_runs(group) || sp_raft_leader_replica(group) == 0) {
        return false;
    }
    /* A standby never forgets its leader by itself: it stands for no election. */
    return sp_raft_is_ready(group) ||
           (sp_raft_state(group) == RAFT_FOLLOWER && hears_leader(group) && said->own &&
            !said->in_part && said->term == raft_current_term(&group->guard.raft) &&
            group->applied >= said->commit);
}

void sp_raft_group_watch(struct sp_raft_group *group)
{
    if (sp_raft_runs(group)) {
        group->watched_commit = sp_raft_guard_committed(&group->guard);
    }
}

uint64_t sp_raft_group_stopped_ms(const struct sp_raft_group *group)
{
    return group->stopped_ms;
}

uint64_t sp_raft_group_id(const struct sp_raft_group *group)
{
    return group->group_id;
}

uint64_t sp_raft_group_replica_id(const struct sp_raft_group *group)
{
    return group->replica_id;
}

struct sp_log *sp_raft_group_log(const struct sp_raft_group *group)
{
    return group->log;
}

unsigned sp_raft_group_majority(const struct sp_raft_group *group)
{
    struct sp_raft_group_status status;

    sp_raft_group_status(group, &status);
    return status.voters / 2 + 1;
}

int64_t sp_raft_group_append_time_ms(const struct sp_raft_group *group)
{
    int64_t now_ms = sp_loop_wall_ms(group->context->loop);
    int64_t last_ms = sp_log_last_append_time_ms(group->log);

    return now_ms > last_ms ? now_ms : last_ms;
}

void sp_raft_move_note(struct sp_raft_move_mark *mark, const struct sp_raft_move_mark *step)
{
    bool known = mark->seen_ms != 0 && step->seen_ms - mark->seen_ms < MARK_MS_MAX;

    if (!known || mark->replica_id != step->replica_id || mark->role != step->role ||
        mark->stored_index < step->stored_index) {
        *mark = *step;
        mark->since_ms = step->seen_ms;
    }
    mark->seen_ms = step->seen_ms;
}

const char *sp_raft_move_step_name(enum sp_raft_move_step step)
{
    static const char *const names[] = { "waiting",  "adding",       "filling", "promoting",
                                         "removing", "handing over", "done" };

    return names[step];
}
