/* What a replica does when the process or the replica that led it is gone: it need not wait for the
 * election timeout (DESIGN D9). */
#include "cluster/raft_group_internal.h"

/* Survivors of a dead leader stand for election one after the other, by place in the membership. */
#define STAGGER_MS 30

/* Place of this replica among the members other than `dead`: who stands first, second, ... */
static unsigned rank_without(const struct sp_raft_group *group, uint64_t dead)
{
    const struct raft_configuration *members = &group->guard.raft.configuration;
    unsigned rank = 0;

    for (unsigned i = 0; i < members->n && members->servers[i].id != group->replica_id; i++) {
        rank += members->servers[i].id != dead && members->servers[i].role == RAFT_VOTER ? 1 : 0;
    }
    return rank;
}

static void forget_leader(struct sp_raft_group *group, uint64_t replica_id)
{
    unsigned stagger_ms = rank_without(group, replica_id) * STAGGER_MS +
                          (unsigned)sp_rand_below(&group->context->rand, STAGGER_MS / 3);

    sp_raft_wake(group, 0);
    if (sp_raft_guard_forget_leader(&group->guard, sp_raft_now_ms(group), replica_id, stagger_ms)) {
        sp_raft_advance(group);
    }
}

void sp_raft_group_node_dead(struct sp_raft_group *group, uint32_t node_id)
{
    uint64_t leader = sp_raft_leader_replica(group);

    if (leader != 0 && leader != group->replica_id && sp_raft_leader_node(group) == node_id) {
        forget_leader(group, leader);
    }
}

void sp_raft_group_replica_stopped(struct sp_raft_group *group, uint64_t replica_id)
{
    if (replica_id != group->replica_id && sp_raft_leader_replica(group) == replica_id) {
        forget_leader(group, replica_id);
    }
}
