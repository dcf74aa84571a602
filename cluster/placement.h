/* Chooses nodes for the replicas of a new topic: those of a partition on different machines
 * (cluster/machine_of.h), and in different racks as far as there are any; balanced replicas and
 * balanced first replicas (preferred leaders), none on nodes that are draining, and on nodes that
 * are down only when there are too few others. Pure and deterministic. */
#ifndef SP_CLUSTER_PLACEMENT_H
#define SP_CLUSTER_PLACEMENT_H

#include <stdint.h>

#include "cluster/planner.h"

/* Fills out_nodes[partitions * replicas]: for each partition `replicas` node ids on as many
 * machines, the preferred leader first. After it, replica counts and preferred-leader counts of all
 * nodes that are up, taken over all topics, differ by as little as the start, machines and racks
 * allowed; ties go to the lower node id. SPATE_ERR_INVALID: fewer machines than replicas. */
int sp_placement_choose(const struct sp_planner_view *view,
                        uint32_t partitions,
                        uint32_t replicas,
                        uint32_t *out_nodes);

#endif /* SP_CLUSTER_PLACEMENT_H */
