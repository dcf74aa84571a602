/* Registered replicas that the confirmed state has no use for: deletes what belongs to deleted
 * topics or was moved away, leaves alone what it cannot explain.
 *
 * A replica is deleted only if its id and its group's were once given out by this very state (ids
 * are never reused), and either no topic has the group now, or the group cannot have the replica as
 * a member any more (state_moves.h, M1 and M2). Anything else is an error for somebody to look at.
 * The state was confirmed by a current leader since this node started, its frames have checksums,
 * so damage of this node's own metadata cannot delete anything. */
#ifndef SP_CLUSTER_ORPHANS_H
#define SP_CLUSTER_ORPHANS_H

#include <stdbool.h>

#include "cluster/state_moves.h"
#include "storage/store.h"

/* Walks the registry, but for group 0 and the replicas for which `is_wanted` is true. `state` was
 * confirmed by a current leader. */
void sp_orphans_settle(struct sp_store *store,
                       const struct sp_state *state,
                       bool (*is_wanted)(void *arg, const struct sp_replica_record *record),
                       void *arg);

/* The same for one partition, whose replicas have changed. */
void sp_orphans_settle_partition(struct sp_store *store,
                                 const struct sp_state *state,
                                 const struct sp_state_partition *partition,
                                 bool (*is_wanted)(void *arg,
                                                   const struct sp_replica_record *record),
                                 void *arg);

/* Deletes a replica of a deleted topic, if it is registered; its log is closed. A failure is traced
 * and made good at the next start. */
void sp_orphan_delete(struct sp_store *store, uint64_t group_id, uint64_t replica_id);

#endif /* SP_CLUSTER_ORPHANS_H */
