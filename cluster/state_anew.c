/* Partitions some of whose replicas were lost with their disks: which of them run, and what begins
 * anew. */
#include "cluster/state_moves.h"

#include "cluster/state_nodes.h"

bool sp_state_outlives(const struct sp_state *state,
                       const struct sp_state_partition *partition,
                       uint64_t lost_id)
{
    unsigned sound = 0;

    for (unsigned i = 0; i < partition->replica_count; i++) {
        const struct sp_replica_place *place = &partition->replicas[i];
        const struct sp_replica_place *now = sp_state_place_on(state, partition, place->node_id);
        bool stands = now == NULL || now->replica_id == place->replica_id;
        sound += stands && place->replica_id != lost_id ? 1 : 0;
    }
    return sound > partition->replica_count / 2;
}

/* Ids are given out in order: all of these by moves that began when the disk was replaced. */
static bool
all_since(const struct sp_replica_place *places, unsigned count, uint64_t own_id, uint64_t least)
{
    bool all = true;

    for (unsigned i = 0; i < count; i++) {
        all = all && (places[i].replica_id == own_id || places[i].replica_id >= least);
    }
    return all;
}

bool sp_state_began_anew(const struct sp_state *state, const struct sp_state_partition *partition)
{
    const struct sp_replica_place *only = &partition->replicas[0];
    const struct sp_state_move *move = sp_state_move(state, partition->group_id);
    uint64_t least = sp_state_member(state, only->node_id).lost_below;

    return partition->replica_count == 1 && !partition->moved && sp_state_is_lost(state, only) &&
           (move == NULL || (all_since(move->target, move->target_count, only->replica_id, least) &&
                             all_since(move->leaving, move->leaving_count, 0, least)));
}

bool sp_state_may_run(const struct sp_state *state,
                      const struct sp_state_partition *partition,
                      const struct sp_replica_place *place)
{
    return !sp_state_is_lost(state, place) ||
           (place->replica_id == partition->replicas[0].replica_id &&
            sp_state_began_anew(state, partition));
}
