/* When the timers of an idle group may stop, and how they start again. */
#include "cluster/raft_guard.h"
#include "cluster/raft_guard_step.h"
#include "cluster/raft_guard_support.h"

void sp_raft_guard_rearm(struct sp_raft_guard *guard, uint64_t heard_ms)
{
    if (guard->raft.state == RAFT_FOLLOWER) {
        guard->raft.election_timer_start = heard_ms;
        if (guard->contact_ms != 0) { /* G9 asks how long ago the leader was there */
            guard->contact_ms = sp_raft_step_max(guard->contact_ms, heard_ms);
        }
    }
}

bool sp_raft_guard_may_sleep(const struct sp_raft_guard *guard)
{
    const struct raft *raft = &guard->raft;
    uint64_t last = sp_raft_support_last_index(&raft->trail);

    if (guard->failed != 0 || !sp_raft_guard_leads(guard) || guard->committed_index != last ||
        raft->last_stored != last || raft->configuration_uncommitted_index != 0) {
        return false;
    }
    for (unsigned i = 0; i < raft->configuration.n; i++) {
        raft_index match = 0;
        if (raft_match_index(raft, raft->configuration.servers[i].id, &match) != 0 ||
            match != last) {
            return false;
        }
    }
    return sp_raft_step_fresh_majority(guard);
}

static const struct sp_raft_guard_peer *find_peer(const struct sp_raft_guard *guard, uint64_t id)
{
    for (unsigned i = 0; i < SP_RAFT_GUARD_SERVERS_MAX; i++) {
        if (guard->peers[i].id == id) {
            return &guard->peers[i];
        }
    }
    return NULL;
}

uint64_t sp_raft_guard_sent_index(const struct sp_raft_guard *guard, uint64_t server)
{
    const struct sp_raft_guard_peer *peer = find_peer(guard, server);

    return peer != NULL && guard->raft.state == RAFT_LEADER && peer->answered_ms != 0 &&
                   peer->answered_ms + guard->raft.election_timeout > guard->raft.now
               ? peer->sent_index
               : 0;
}

bool sp_raft_guard_answered(const struct sp_raft_guard *guard, uint64_t server)
{
    const struct sp_raft_guard_peer *peer = find_peer(guard, server);

    return peer != NULL && peer->answered_ms != 0 && peer->answered_ms >= peer->sent_ms;
}

bool sp_raft_guard_answered_since(const struct sp_raft_guard *guard, uint64_t server, uint64_t ms)
{
    const struct sp_raft_guard_peer *peer = find_peer(guard, server);

    return peer != NULL && peer->answered_ms != 0 && peer->answered_ms >= ms;
}

uint64_t sp_raft_guard_short(const struct sp_raft_guard *guard, uint64_t now_ms)
{
    uint64_t patience_ms = 2 * (uint64_t)guard->raft.election_timeout;

    if (guard->raft.state != RAFT_LEADER) {
        return 0;
    }
    for (unsigned i = 0; i < SP_RAFT_GUARD_SERVERS_MAX; i++) {
        const struct sp_raft_guard_peer *peer = &guard->peers[i];
        if (peer->short_ms != 0 && now_ms >= peer->short_ms + patience_ms &&
            now_ms < peer->short_said_ms + patience_ms) {
            return peer->id;
        }
    }
    return 0;
}

bool sp_raft_guard_may_follow_asleep(const struct sp_raft_guard *guard,
                                     uint64_t leader,
                                     uint64_t index,
                                     uint64_t term)
{
    const struct raft *raft = &guard->raft;

    return guard->failed == 0 && raft->state == RAFT_FOLLOWER &&
           raft->follower_state.current_leader.id == leader && !raft->snapshot.installing &&
           sp_raft_support_last_index(&raft->trail) == index && raft->last_stored == index &&
           guard->committed_index == index && sp_raft_guard_term_at(guard, index) == term &&
           raft->configuration_uncommitted_index == 0 && !guard->expire_when_stored;
}
