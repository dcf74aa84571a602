/* Carries out the moves of the partitions that this node leads (D10), hands leaderships to the
 * nodes that shall have them, and asks the controller for new replicas in place of damaged ones of
 * this node.
 *
 *   controller's state: a move  --every 50 ms, and when the state changes--> raft_move's next step
 *   the membership is the target, committed --> MOVE_DONE to the controller --> the move is over
 *
 * It keeps nothing: what is to be done follows from the state and the group's membership.
 *
 * A damaged replica is given up only when the others have shown that they can do without it:
 * another node leads the partition, and still does when a leader that needed it would have noticed.
 * Until then it keeps its place: when others are damaged, too, it may be the one that is mended by
 * hand.
 *
 * All calls on the loop thread. */
#ifndef SP_CLUSTER_MOVER_H
#define SP_CLUSTER_MOVER_H

#include "cluster/controller.h"
#include "cluster/raft_move.h"
#include "cluster/reconcile.h"

struct sp_mover;

struct sp_mover_options {
    struct sp_loop *loop;
    struct sp_controller *controller;
    struct sp_group_table *table;
    struct sp_reconcile *reconcile;
    uint32_t election_timeout_ms;
};

/* SPATE_ERR_NOMEM. */
int sp_mover_new(const struct sp_mover_options *options, struct sp_mover **out_mover);

/* The controller's state has changed, or was confirmed. */
void sp_mover_wake(struct sp_mover *mover);

/* Stops; before the controller and the table go. NULL is fine. */
void sp_mover_free(struct sp_mover *mover);

/* Where a move stands, if this node leads its group; SPATE_ERR_NOT_LEADER. */
int sp_mover_progress(const struct sp_mover *mover,
                      const struct sp_state_move *move,
                      struct sp_raft_move_progress *out);

#endif /* SP_CLUSTER_MOVER_H */
