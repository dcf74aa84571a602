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

/* True of one that began anew, whichever replica its node runs by now: it may have been written to
 * before another one came in its place. */
static bool may_have_begun(const struct sp_state *state, const struct sp_state_partition *partition)
{
    const struct sp_replica_place *only = &partition->replicas[0];
    const struct sp_state_move *move = sp_state_move(state, partition->group_id);
    uint64_t least = sp_state_member(state, only->node_id).lost_below;

    return partition->replica_count == 1 && !partition->moved && sp_state_is_lost(state, only) &&
           (move == NULL || (all_since(move->target, move->target_count, only->replica_id, least) &&
                             all_since(move->leaving, move->leaving_count, 0, least)));
}

bool sp_state_began_anew(const struct sp_state *state, const struct sp_state_partition *partition)
{
    const struct sp_replica_place *only = &partition->replicas[0];
    const struct sp_replica_place *here = sp_state_place_on(state, partition, only->node_id);

    return here->replica_id == only->replica_id && /* not so after some forced memberships */
           may_have_begun(state, partition);
}

/* ---- all of them are lost -------------------------------------------------------------------- */

/* What is left of the replicas that a partition may have. */
struct rest {
    const struct sp_replica_place *first; /* of those that are not lost, by id; NULL: none */
    uint64_t since;                       /* ids from here on were given out after the last loss */
};

static void add_places(const struct sp_state *state,
                       const struct sp_replica_place *places,
                       unsigned count,
                       struct rest *rest)
{
    for (unsigned i = 0; i < count; i++) {
        uint64_t lost_below = sp_state_member(state, places[i].node_id).lost_below;
        if (places[i].replica_id < lost_below) {
            rest->since = lost_below > rest->since ? lost_below : rest->since;
        } else if (rest->first == NULL || places[i].replica_id < rest->first->replica_id) {
            rest->first = &places[i];
        }
    }
}

/* False if one of the partition's own replicas is left, or the one that it had has begun anew. */
static bool find_rest(const struct sp_state *state,
                      const struct sp_state_partition *partition,
                      struct rest *out)
{
    const struct sp_state_move *move = sp_state_move(state, partition->group_id);

    *out = (struct rest){ .since = sp_state_forced_below(state) };
    add_places(state, partition->replicas, partition->replica_count, out);
    if (out->first != NULL || may_have_begun(state, partition)) {
        return false;
    }
    if (move != NULL) {
        add_places(state, move->target, move->target_count, out);
        add_places(state, move->leaving, move->leaving_count, out);
    }
    return true;
}

bool sp_state_is_forsaken(const struct sp_state *state, const struct sp_state_partition *partition)
{
    struct rest rest;

    return find_rest(state, partition, &rest) && rest.first == NULL;
}

const struct sp_replica_place *sp_state_heir(const struct sp_state *state,
                                             const struct sp_state_partition *partition)
{
    struct rest rest;
    bool found = find_rest(state, partition, &rest) && rest.first != NULL;

    return found && rest.first->replica_id >= rest.since ? rest.first : NULL;
}

bool sp_state_may_run(const struct sp_state *state,
                      const struct sp_state_partition *partition,
                      const struct sp_replica_place *place)
{
    return !sp_state_is_lost(state, place) ||
           (place->replica_id == partition->replicas[0].replica_id &&
            sp_state_began_anew(state, partition));
}
