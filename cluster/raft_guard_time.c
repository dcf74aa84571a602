/* The election timer, moved from outside: expired early, put off, or begun anew. libraft decides
 * what an expiry means; whenever it comes, pre-votes are asked for first. */
#include "cluster/raft_guard_step.h"

#include "cluster/raft_guard_support.h"

void sp_raft_step_expire(struct raft *raft, uint64_t at_ms)
{
    uint64_t timeout_ms = raft->state == RAFT_CANDIDATE
                              ? raft->candidate_state.randomized_election_timeout
                              : raft->follower_state.randomized_election_timeout;

    raft->election_timer_start = at_ms > timeout_ms ? at_ms - timeout_ms : 0;
}

bool sp_raft_guard_forget_leader(struct sp_raft_guard *guard,
                                 uint64_t now_ms,
                                 uint64_t leader,
                                 unsigned stagger_ms)
{
    struct raft *raft = &guard->raft;

    if (guard->failed != 0 || raft->state != RAFT_FOLLOWER || leader == 0 ||
        raft->follower_state.current_leader.id != leader) {
        return false;
    }
    raft->follower_state.current_leader.id = 0;
    guard->contact_ms = 0;
    if (raft->last_stored < sp_raft_support_last_index(&raft->trail)) {
        guard->expire_when_stored = true; /* libraft starts no election before that */
        guard->expire_delay_ms = stagger_ms;
    } else {
        sp_raft_step_expire(raft, now_ms + stagger_ms);
    }
    return true;
}

bool sp_raft_guard_stands_now(const struct sp_raft_guard *guard, uint64_t now_ms)
{
    return guard->failed == 0 && guard->raft.state == RAFT_FOLLOWER &&
           now_ms >= raft_timeout(&guard->raft);
}

void sp_raft_guard_stand_at(struct sp_raft_guard *guard, uint64_t at_ms)
{
    struct raft *raft = &guard->raft;

    if (raft->state == RAFT_FOLLOWER ||
        (raft->state == RAFT_CANDIDATE && raft->candidate_state.in_pre_vote)) {
        sp_raft_step_expire(raft, at_ms);
    }
}

void sp_raft_guard_listen(struct sp_raft_guard *guard, uint64_t now_ms, uint64_t deaf_ms)
{
    struct raft *raft = &guard->raft;

    if (raft->state == RAFT_FOLLOWER) {
        deaf_ms += guard->heartbeat_ms;
    }
    raft->election_timer_start = raft->election_timer_start + deaf_ms < now_ms
                                     ? raft->election_timer_start + deaf_ms
                                     : now_ms;
}
