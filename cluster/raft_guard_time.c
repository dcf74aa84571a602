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

/* ---- a leader's ------------------------------------------------------------------------------ */

bool sp_raft_step_fresh_majority(const struct sp_raft_guard *guard)
{
    const struct raft_configuration *configuration = &guard->raft.configuration;
    unsigned fresh = sp_raft_support_role(configuration, guard->raft.id) == RAFT_VOTER;

    for (unsigned i = 0; i < SP_RAFT_GUARD_SERVERS_MAX; i++) {
        const struct sp_raft_guard_peer *peer = &guard->peers[i];
        fresh += peer->id != 0 && peer->answered_ms != 0 &&
                 peer->answered_ms >= guard->raft.election_timer_start &&
                 sp_raft_support_role(configuration, peer->id) == RAFT_VOTER;
    }
    return fresh > sp_raft_support_voter_count(configuration) / 2;
}

/* G12: libraft counts its followers at every heartbeat and begins anew with each that has not
 * answered since the last count, which under load is no sign of anything. Here only an election
 * timeout of silence is. The leader itself gives up when it has asked in vain for as long, counted
 * from one heartbeat before it noticed: its node may have been too busy to ask and to listen. */
int sp_raft_step_lead_on(struct sp_raft_guard *guard, uint64_t now_ms, struct raft_event *event)
{
    struct raft *raft = &guard->raft;
    uint64_t now = sp_raft_step_max(now_ms, raft->now);
    uint64_t patience_ms = raft->election_timeout - 1;
    uint64_t counted_ms = raft->election_timer_start;
    bool fresh = sp_raft_step_fresh_majority(guard);

    if (!sp_raft_step_guards(guard, SP_RAFT_GUARD_G12_PATIENCE)) {
        return sp_raft_step(guard, now_ms, event, 0);
    }
    if (!fresh && !guard->asks_in_vain) {
        counted_ms = sp_raft_step_max(counted_ms + guard->heartbeat_ms, now) - guard->heartbeat_ms;
    }
    guard->asks_in_vain = !fresh;
    if (counted_ms + patience_ms > now) {
        raft->election_timer_start = now > patience_ms ? now - patience_ms : 0;
    }
    int rv = sp_raft_step(guard, now_ms, event, 0);
    if (raft->state == RAFT_LEADER && !fresh) {
        raft->election_timer_start = counted_ms; /* it is still the last time that all was well */
    }
    return rv;
}

int sp_raft_step_send_again(struct sp_raft_guard *guard, uint64_t now_ms)
{
    struct raft_event event = { .type = RAFT_TIMEOUT };

    if (guard->raft.state != RAFT_LEADER) {
        return 0;
    }
    raft_set_heartbeat_timeout(&guard->raft, 0);
    int rv = sp_raft_step_lead_on(guard, now_ms, &event);
    raft_set_heartbeat_timeout(&guard->raft, guard->heartbeat_ms);
    return rv != 0 ? rv : sp_raft_step_settle(guard, now_ms);
}
