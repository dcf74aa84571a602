/* The nodes with their loads, while a plan is made: who can take a replica, and who had best.
 * Internal to the planner. */
#ifndef SP_CLUSTER_PLANNER_BOARD_H
#define SP_CLUSTER_PLANNER_BOARD_H

#include "cluster/planner.h"

struct sp_planner_candidate {
    const struct sp_state_node *node;
    uint32_t machine;
    uint32_t replica_count; /* as it will be when all that is planned is done */
    uint32_t leader_count;  /* first replicas, likewise */
    bool eligible;
};

struct sp_planner_board {
    struct sp_planner_candidate candidates[SP_NODES_MAX];
    unsigned count;
    bool shared; /* some of them may be on one machine */
};

void sp_planner_init_board(struct sp_planner_board *board, const struct sp_planner_view *view);

/* NULL: the state does not know the node. */
struct sp_planner_candidate *sp_planner_find(struct sp_planner_board *board, uint32_t node_id);

/* Where the replicas of a partition are, or will be when its move is done; how many. */
unsigned sp_planner_places(const struct sp_state *state,
                           const struct sp_state_partition *partition,
                           const struct sp_replica_place **out_places);

/* How many replicas of the move, but for `except`, stand in the rack of the candidate. */
unsigned sp_planner_rack_mates(struct sp_planner_board *board,
                               const struct sp_planner_move *move,
                               unsigned except,
                               const struct sp_planner_candidate *candidate);

/* True if one of the first `count` replicas of the move, but for `except`, is on the machine. */
bool sp_planner_uses_machine(struct sp_planner_board *board,
                             const struct sp_planner_move *move,
                             unsigned count,
                             unsigned except,
                             uint32_t machine);

/* The best node for a replica in the place of the `except`-th one (move->count: a further one),
 * on a machine that the others do not use; NULL: none can take it. */
struct sp_planner_candidate *sp_planner_choose(struct sp_planner_board *board,
                                               const struct sp_planner_move *move,
                                               unsigned except);

#endif /* SP_CLUSTER_PLANNER_BOARD_H */
