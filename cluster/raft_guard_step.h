/* Takes single steps for cluster/raft_guard: raft_step, then what the host hears, then the guard's
 * own steps (invariants I2 and I4 of raft_guard.h). Only raft_guard*.c include this. */
#ifndef SP_CLUSTER_RAFT_GUARD_STEP_H
#define SP_CLUSTER_RAFT_GUARD_STEP_H

#include "cluster/raft_guard.h"

/* libraft keeps addresses and never uses them: ids route our messages. */
#define SP_RAFT_GUARD_NO_ADDRESS "-"

/* False if a test has disabled the guard `bit`. */
static inline bool sp_raft_step_guards(const struct sp_raft_guard *guard, unsigned bit)
{
    return (guard->disabled & bit) == 0;
}

static inline uint64_t sp_raft_step_max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Stops the replica; returns `error`. */
int sp_raft_step_fail(struct sp_raft_guard *guard, int error);

/* One step, with host.update and host.send. `flags` (RAFT_UPDATE_*) are added to the update: what
 * the guard itself has changed before. Errors of RAFT_SUBMIT and RAFT_TRANSFER come back without
 * effect, all others are fatal. */
int sp_raft_step(struct sp_raft_guard *guard,
                 uint64_t now_ms,
                 struct raft_event *event,
                 unsigned flags) SP_CHECK_RESULT;

/* The guard's own steps that are due now. Fatal errors only. */
int sp_raft_step_settle(struct sp_raft_guard *guard, uint64_t now_ms) SP_CHECK_RESULT;

/* A step, then settle. */
int sp_raft_step_run(struct sp_raft_guard *guard,
                     uint64_t now_ms,
                     struct raft_event *event) SP_CHECK_RESULT;

/* Declares the pending configuration change committed. Fatal errors only. */
int sp_raft_step_configuration(struct sp_raft_guard *guard, uint64_t now_ms) SP_CHECK_RESULT;

/* Submits entries of any type as leader (G11). */
int sp_raft_step_submit(struct sp_raft_guard *guard,
                        uint64_t now_ms,
                        struct raft_entry *entries,
                        unsigned count) SP_CHECK_RESULT;

/* Submits a RAFT_BARRIER of 8 zero bytes. */
int sp_raft_step_barrier(struct sp_raft_guard *guard, uint64_t now_ms);

/* True if the last entry of the log is of the current term. */
bool sp_raft_step_has_own_entry(const struct sp_raft_guard *guard);

/* True if it leads and is not handing leadership over. */
bool sp_raft_step_can_submit(const struct sp_raft_guard *guard);

/* Lets the election timer of a follower or candidate expire at `at_ms`. */
void sp_raft_step_expire(struct raft *raft, uint64_t at_ms);

/* True if a majority of voters, ourselves included, has answered since libraft last counted. */
bool sp_raft_step_fresh_majority(const struct sp_raft_guard *guard);

/* The step of a leader's timer (G12). Fatal errors only. */
int sp_raft_step_lead_on(struct sp_raft_guard *guard,
                         uint64_t now_ms,
                         struct raft_event *event) SP_CHECK_RESULT;

/* Sends to all followers at once, as if their heartbeats were due. Fatal errors only. */
int sp_raft_step_send_again(struct sp_raft_guard *guard, uint64_t now_ms) SP_CHECK_RESULT;

/* The slot of a follower, taken if need be; NULL when all are taken. */
struct sp_raft_guard_peer *sp_raft_step_peer(struct sp_raft_guard *guard, uint64_t id);

#endif /* SP_CLUSTER_RAFT_GUARD_STEP_H */
