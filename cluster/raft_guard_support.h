/* What cluster/raft_guard needs to know about libraft's data: heap, trail, configurations, errors.
 *
 * Nothing here takes a step. Only raft_guard.c includes this. */
#ifndef SP_CLUSTER_RAFT_GUARD_SUPPORT_H
#define SP_CLUSTER_RAFT_GUARD_SUPPORT_H

#include <stdbool.h>
#include <stdint.h>

#include <raft.h>

#include "base/attr.h"

/* A batch pointer that libraft may "free": the entries behind it stay with the caller. */
void *sp_raft_support_unowned_batch(void);

/* From now on, on this thread, libraft's free ignores `array`; NULL ends it. */
void sp_raft_support_borrow(const void *array);

/* Around each raft_step, on its thread. The end tells whether an allocation has failed in between.
 */
void sp_raft_support_begin_step(void);
bool sp_raft_support_end_step(void);

/* A RAFT_* result as 0 or SPATE_ERR_*. */
int sp_raft_support_translate(int raft_error);

/* --- the trail: libraft's record of terms, (last index, term) for each term, in a ring --- */

/* Index of the last entry, or of the snapshot when there is none. */
uint64_t sp_raft_support_last_index(const struct raft_trail *trail);

/* Term of the entry at `index`, or 0 if neither log nor snapshot know it. */
uint64_t sp_raft_support_term_at(const struct raft_trail *trail, uint64_t index);

/* The largest index <= `index` whose entry has a term <= `term`. What lies below the log start has
 * an unknown term: such an answer makes a leader send its snapshot. */
uint64_t
sp_raft_support_back_to_term(const struct raft_trail *trail, uint64_t index, uint64_t term);

/* --- configurations --- */

/* The server's role (RAFT_VOTER, ...), or -1 when it is not a member. */
int sp_raft_support_role(const struct raft_configuration *configuration, uint64_t id);

/* How many servers vote. */
unsigned sp_raft_support_voter_count(const struct raft_configuration *configuration);

/* What a change does, as far as it is allowed. */
struct sp_raft_support_change {
    uint64_t promoted_id; /* the standby that becomes a voter, or 0 */
};

/* Checks the policies: exactly one server is added as STANDBY, promoted, or removed; `self` stays;
 * a voter remains. SPATE_ERR_INVALID. */
int sp_raft_support_check_change(const struct raft_configuration *now,
                                 const struct raft_configuration *next,
                                 uint64_t self,
                                 struct sp_raft_support_change *out) SP_CHECK_RESULT;

#endif /* SP_CLUSTER_RAFT_GUARD_SUPPORT_H */
