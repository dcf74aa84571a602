/* Moves: partitions whose replicas are being changed, as the controller's state knows them.
 *
 *   replicas  A B C          MOVE_BEGIN [A, B, D]      a move: target A B D
 *                            (the group's leader adds D, fills it, makes it a voter, removes C)
 *   replicas  A B D          MOVE_DONE  [A, B, D]      no move; C's data may go
 *
 * Invariants:
 *  M1  While a move lasts, every replica that may be a member of the Raft group is known: it stands
 *      in the partition's replicas, in the target, or in `leaving` (targets that were given up).
 *      Data of a known replica is never deleted.
 *  M2  MOVE_DONE is proposed only by the group's leader, after the membership that consists of the
 *      target alone is committed. It names the target, so that a late one ends no move to another
 *      target. Of targets T, U, T in a row the proposal tells the first from the last by the time
 *      when it began, and the controller's leader makes no command of it while one that begins a
 *      move is on its way, so the target is the same when it is applied.
 *  M3  Replica ids are given out by MOVE_BEGIN and never reused: a replica that comes back to a
 *      node is another replica. One that is leaving and is wanted again stays the same: it may be a
 *      voter, and a node runs one replica of a group.
 *
 * Everything that a move needs is in this state and in the group's own membership, so any leader
 * can go on with it at any step. Part of cluster/state; pure. */
#ifndef SP_CLUSTER_STATE_MOVES_H
#define SP_CLUSTER_STATE_MOVES_H

#include "cluster/state.h"

/* Replicas of targets that were given up before they were done. */
#define SP_STATE_LEAVING_MAX SP_REPLICAS_MAX

struct sp_state_move {
    uint64_t topic_id;
    uint32_t partition;
    uint64_t group_id;
    int64_t begun_ms;
    unsigned target_count;
    struct sp_replica_place target[SP_REPLICAS_MAX]; /* the first is the preferred leader */
    unsigned leaving_count;
    struct sp_replica_place leaving[SP_STATE_LEAVING_MAX];
};

/* One replica that a move shall end with. */
struct sp_state_wish {
    uint32_t node_id;
    bool fresh; /* a new replica, even if the node has one: what it has is lost. Refused when no
                 * majority of the partition's replicas is left without it */
};

/* ---- commands -------------------------------------------------------------------------------- */

/* Begins a move, or gives the one under way another target. SPATE_ERR_EXISTS: it has that target
 * already, or nothing would change; SPATE_ERR_INVALID: nodes; SPATE_ERR_BUSY: too many moves, or
 * too many targets of this one were given up. */
int sp_state_command_move_begin(uint64_t topic_id,
                                uint32_t partition,
                                const struct sp_state_wish *wishes,
                                unsigned count,
                                struct sp_buf *out);

/* Ends it (M2). SPATE_ERR_NOT_FOUND: there is no move with this target. */
int sp_state_command_move_done(const struct sp_state_move *move, struct sp_buf *out);

/* ---- looking --------------------------------------------------------------------------------- */

/* The move of a group, or NULL. Borrowed until the next command. */
const struct sp_state_move *sp_state_move(const struct sp_state *state, uint64_t group_id);
const struct sp_state_move *sp_state_move_next(const struct sp_state *state,
                                               struct sp_map_cursor *cursor);
unsigned sp_state_move_count(const struct sp_state *state);

/* The replica that the node shall run for the partition, or NULL: the target's, else the newer of
 * the one it has had and one that is leaving. */
const struct sp_replica_place *sp_state_place_on(const struct sp_state *state,
                                                 const struct sp_state_partition *partition,
                                                 uint32_t node_id);

/* True if the replica may be a member of the partition's group (M1). */
bool sp_state_knows_replica(const struct sp_state *state,
                            const struct sp_state_partition *partition,
                            uint64_t replica_id);

/* All of those replicas; how many. */
#define SP_STATE_KNOWN_MAX (2 * SP_REPLICAS_MAX + SP_STATE_LEAVING_MAX)
unsigned sp_state_known_replicas(const struct sp_state *state,
                                 const struct sp_state_partition *partition,
                                 uint64_t out_ids[SP_STATE_KNOWN_MAX]);

/* True if the node may run the replica `place` of the partition. One that was on a disk that is no
 * more would begin empty, and has forgotten what it stored and for whom it voted: it and one that
 * lacks records could elect a leader without them. So a new replica takes its place, by the votes
 * of the others; where those are no majority a person must decide. An only replica that always was
 * the only one begins anew: nothing is left to protect, and nobody else to be led astray. It runs
 * on while it is moved away: the others of such a move are filled by it alone. */
bool sp_state_may_run(const struct sp_state *state,
                      const struct sp_state_partition *partition,
                      const struct sp_replica_place *place);

/* True if the only replica of the partition was on a disk that is no more, and has begun anew or
 * does so. It counts as lost until it is moved to another node: a move that keeps its node would
 * put a new replica in its place, with nobody left to fill that one. One that was moved before does
 * not: replicas that it has had elsewhere may still lie there, and would be led astray by one of
 * that id which has forgotten them. It gets an heir. */
bool sp_state_began_anew(const struct sp_state *state, const struct sp_state_partition *partition);

/* True if every replica that may be a member of the partition's group was lost with its disk, and
 * the partition does not begin anew with the only one: a move to any nodes has it begun anew. */
bool sp_state_is_forsaken(const struct sp_state *state, const struct sp_state_partition *partition);

/* The replica that founds the group of such a partition anew, alone, or NULL. All replicas that may
 * be members were either lost or given out later than that, so nothing was copied to these, and
 * nobody else can be elected, nor votes twice: the lost ones never run. It is the first of the
 * later ones, and remains so while the move gets other targets. */
const struct sp_replica_place *sp_state_heir(const struct sp_state *state,
                                             const struct sp_state_partition *partition);

/* True if a majority of the partition's replicas is left to refill it from, should the replica
 * `lost_id` be given up: neither that one nor any in whose place its node runs a newer one. */
bool sp_state_outlives(const struct sp_state *state,
                       const struct sp_state_partition *partition,
                       uint64_t lost_id);

/* The partition of a group, or NULL; *out_topic (may be NULL) is its topic. Looks through all. */
const struct sp_state_partition *sp_state_partition_of(const struct sp_state *state,
                                                       uint64_t group_id,
                                                       const struct sp_state_topic **out_topic);

#endif /* SP_CLUSTER_STATE_MOVES_H */
