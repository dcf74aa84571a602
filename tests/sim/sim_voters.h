/* Who votes in which group, as far as it matters to the other oracles, and what may change of it.
 *
 *   CONFIGURATION frame built by a leader --> in flight --> committed (first applied) --> in force
 *   command of group 0, first applied     --> the reference state of the controller
 *
 * A frame is committed when a majority of the voters in force has it, or of those in flight: two
 * memberships that follow each other share a majority, and no third one may exist meanwhile. */
#ifndef SP_SIM_VOTERS_H
#define SP_SIM_VOTERS_H

#include <stdbool.h>
#include <stdint.h>

#include "cluster/raft_group.h"
#include "storage/log.h"
#include "storage/store.h"

#define SIM_VOTERS_MAX 16u

struct sim_voter {
    uint64_t replica_id;
    uint32_t node_id;
    bool standby;
};

struct sim_membership {
    uint64_t index; /* 0: none */
    uint64_t term;
    unsigned count;
    struct sim_voter voters[SIM_VOTERS_MAX]; /* standbys too */
};

/* The membership in force (committed), and the one in flight; index 0: none. */
const struct sim_membership *sim_voters_in_force(uint64_t group_id);
const struct sim_membership *sim_voters_in_flight(uint64_t group_id);

/* A frame was applied for the first time. */
void sim_voters_applied(uint64_t group_id,
                        const struct sp_log_frame *frame,
                        const uint8_t *payload);

/* Under which the cluster knows the node; 0: not at all. */
uint64_t sim_voters_incarnation(uint32_t node_id);

/* No partition is being moved, and every replica that is not a member is gone. */
bool sim_voters_settled(char *out_why, unsigned size);

/* True if every group can lose one more voter's disk for good: it has three that are not lost, and
 * nothing is under way that could leave it fewer. */
bool sim_voters_bear_a_loss(void);

/* The node's disk is empty from now on. */
void sim_voters_emptied(uint32_t node_id);

int __real_sp_log_build(struct sp_log *log,
                        enum sp_frame_kind kind,
                        uint64_t term,
                        int64_t append_time_ms,
                        const struct sp_iovec *pieces,
                        unsigned count,
                        int64_t *out_offset);
int __wrap_sp_log_build(struct sp_log *log,
                        enum sp_frame_kind kind,
                        uint64_t term,
                        int64_t append_time_ms,
                        const struct sp_iovec *pieces,
                        unsigned count,
                        int64_t *out_offset);
int __real_sp_store_delete_replica(struct sp_store *store, uint64_t group_id, uint64_t replica_id);
int __wrap_sp_store_delete_replica(struct sp_store *store, uint64_t group_id, uint64_t replica_id);
int __real_sp_store_retire_replica(struct sp_store *store, uint64_t group_id, uint64_t replica_id);
int __wrap_sp_store_retire_replica(struct sp_store *store, uint64_t group_id, uint64_t replica_id);

/* True once the end of the group's topic is committed: its replicas may go at any time. */
bool sim_voters_deleted(uint64_t group_id);

#endif /* SP_SIM_VOTERS_H */
