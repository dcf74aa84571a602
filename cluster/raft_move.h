/* Brings a Raft group's membership to a target, one change at a time (D10).
 *
 *   members A B C, target A B D
 *     ADDING D      standby: receives the log, counts for nothing
 *     FILLING D     until it has what was committed a moment ago
 *     PROMOTING D   voter: A B C D
 *     REMOVING C    A B D
 *     DONE          the membership consists of the target alone, and that is committed
 *
 * The next step is found from the membership and the target alone, so any leader goes on at any
 * step. Invariants:
 *  S1  No change while another one is not committed.
 *  S2  A standby becomes a voter only when it lacks nothing that was committed a moment ago, and
 *      its node can be reached.
 *  S3  A voter goes only when all of the target are voters, or when there are more voters than
 *      both the partition had and the target has: never fewer copies than either, but for S6.
 *  S4  No change after which fewer than a majority of the voters can be reached.
 *  S5  A leader that is to go hands leadership to a voter of the target first.
 *  S6  A voter that was replaced on its own node (damaged, or its disk gone) is no copy and never
 *      answers again. It goes first, but only from an odd number of voters: then as many make a
 *      majority after as before, so that no acknowledgement gets weaker, and no further replica
 *      that fails while the new one is filled takes the majority away (decision 0010).
 *  S7  Two voters on one machine fall together. The one that is to leave goes before all others,
 *      since of three voters the two would be a majority; and no replica comes beside a voter as
 *      long as another one of the target is missing and none may go (S3): a standby gives way. */
#ifndef SP_CLUSTER_RAFT_MOVE_H
#define SP_CLUSTER_RAFT_MOVE_H

#include "cluster/raft_group.h"
#include "cluster/state.h"

enum sp_raft_move_step {
    SP_RAFT_MOVE_WAITING, /* for a change to be committed, for nodes, or for its turn */
    SP_RAFT_MOVE_ADDING,
    SP_RAFT_MOVE_FILLING,
    SP_RAFT_MOVE_PROMOTING,
    SP_RAFT_MOVE_REMOVING,
    SP_RAFT_MOVE_HANDING_OVER,
    SP_RAFT_MOVE_DONE,
};

struct sp_raft_move_target {
    const struct sp_replica_place *places;
    unsigned count;
    unsigned voters_min;          /* replicas that the partition had (S3) */
    const struct sp_state *state; /* knows the nodes' machines (S7); NULL: each is one */
};

struct sp_raft_move_progress {
    enum sp_raft_move_step step;
    uint64_t replica_id; /* which one the step is about; 0: none */
    uint32_t node_id;
    uint64_t stored_index; /* FILLING: what it has stored ... */
    uint64_t goal_index;   /* ... of how much */
    uint64_t since_ms;     /* when it got there, by the loop's clock: since then nothing changed */
};

/* Takes the next step, if it may be taken now; to be called again and again. *out says where it
 * stands. SPATE_ERR_NOT_LEADER: this replica does not lead, or not yet. */
int sp_raft_group_move(struct sp_raft_group *group,
                       const struct sp_raft_move_target *target,
                       struct sp_raft_move_progress *out);

/* For a partition that is not being moved, whose replicas are `target`; to be called every second.
 * Removes a standby that is none of them once it has been one for some seconds: a leader that did
 * not know yet that a move was over may have added it again, and nobody runs it. */
void sp_raft_group_drop_standby(struct sp_raft_group *group,
                                const struct sp_raft_move_target *target);

/* Where it stands, as above, without a step. */
int sp_raft_group_move_progress(struct sp_raft_group *group,
                                const struct sp_raft_move_target *target,
                                struct sp_raft_move_progress *out);

/* The name of a step, for people. */
const char *sp_raft_move_step_name(enum sp_raft_move_step step);

#endif /* SP_CLUSTER_RAFT_MOVE_H */
