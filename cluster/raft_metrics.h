/* The metrics of all Raft groups of a node. */
#ifndef SP_CLUSTER_RAFT_METRICS_H
#define SP_CLUSTER_RAFT_METRICS_H

#include "cluster/raft_group.h"

/* How many replicas of this node there are, and of them those that lead, have
 * stopped or are quiet. */
struct sp_raft_replicas {
    uint64_t count;
    uint64_t leading;
    uint64_t stopped;
    uint64_t quiet;
};

/* Counts one more. */
void sp_raft_count_replica(struct sp_raft_replicas *replicas, const struct sp_raft_group *group);

/* Writes the metrics of replicas, elections, commits and replication. */
void sp_raft_expose(const struct sp_raft_replicas *replicas,
                    const struct sp_raft_counters *counters,
                    struct sp_exposition *exposition);

#endif /* SP_CLUSTER_RAFT_METRICS_H */
