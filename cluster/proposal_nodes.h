/* Are there nodes for the replicas of a new topic? Replicas need machines, which are one node each,
 * or several that are shards of one process (cluster/machine_of.h). Pure. */
#ifndef SP_CLUSTER_PROPOSAL_NODES_H
#define SP_CLUSTER_PROPOSAL_NODES_H

#include "cluster/proposal_command.h"

/* How many replicas a topic gets that does not say so: as many as there are, or will be, machines,
 * and no more than SP_PROPOSAL_REPLICAS_DEFAULT. */
uint32_t sp_proposal_replicas_default(const struct sp_proposal_view *view);

/* Are there enough machines, and are those here that the cluster was formed with?
 * SPATE_ERR_INVALID, SPATE_ERR_NOT_READY: `text` says why. */
int sp_proposal_check_nodes(const struct sp_proposal_view *view,
                            uint32_t replicas,
                            char *text,
                            size_t text_size);

#endif /* SP_CLUSTER_PROPOSAL_NODES_H */
