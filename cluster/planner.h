/* Which replicas have to move, and where to: pure functions of the controller's state and of what
 * is known of the nodes.
 *
 *   node     UP      may be given replicas
 *            DOWN    keeps what it has
 *            GONE    down for longer than node.replace_after: its replicas are rebuilt elsewhere
 *   and a node that is draining keeps nothing, if others can take it
 *
 * A partition's leader makes its moves. One without a leader is left alone: nobody could fill
 * another replica, and a move that has begun would keep the partition from beginning anew, should
 * the nodes come back with empty disks. One all of whose replicas were lost is moved at once, so
 * that it begins anew (sp_state_heir), to nodes of which the first is up.
 *
 * No two replicas of a partition are put on one machine, that is on shards of one process
 * (cluster/machine_of.h); where two are, the later one moves away.
 *
 * A replacement goes to a rack that the partition does not use yet, if there is one, and there to
 * the node with the fewest replicas. Ties go to the lower node id, so a plan is the same wherever
 * it is made. */
#ifndef SP_CLUSTER_PLANNER_H
#define SP_CLUSTER_PLANNER_H

#include "cluster/state_moves.h"

enum sp_planner_health {
    SP_PLANNER_UP,
    SP_PLANNER_DOWN,
    SP_PLANNER_GONE,
};

struct sp_planner_view {
    const struct sp_state *state;
    enum sp_planner_health (*health)(void *arg, uint32_t node_id);
    bool (*led)(void *arg, uint64_t group_id); /* NULL: all are led whose node is up */
    void *arg;
};

/* One move to be made. */
struct sp_planner_move {
    uint64_t topic_id;
    uint32_t partition;
    unsigned count;
    struct sp_state_wish wishes[SP_REPLICAS_MAX];
};

/* Moves away from nodes that are gone or draining, and in place of replicas whose disk was
 * replaced: at most `count_max` into out_moves; returns how many. */
unsigned sp_planner_repairs(const struct sp_planner_view *view,
                            struct sp_planner_move *out_moves,
                            unsigned count_max);

/* Moves after which every node has as many replicas as any other, and leads as many partitions,
 * plus or minus one, as far as racks and the replicas allow; no more than needed. Some change
 * nothing but the order, which costs no copying. As above. */
unsigned sp_planner_balance(const struct sp_planner_view *view,
                            struct sp_planner_move *out_moves,
                            unsigned count_max);

/* Moves that give every partition of a topic so many replicas, for those that have not: into
 * out_moves, which has room for all partitions. SPATE_ERR_INVALID: there are not enough machines.
 */
int sp_planner_resize(const struct sp_planner_view *view,
                      const struct sp_state_topic *topic,
                      unsigned replicas,
                      struct sp_planner_move *out_moves,
                      unsigned *out_count);

#endif /* SP_CLUSTER_PLANNER_H */
