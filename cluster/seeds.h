/* The configured seeds in the one order that all nodes agree on. */
#ifndef SP_CLUSTER_SEEDS_H
#define SP_CLUSTER_SEEDS_H

#include <stdint.h>

#include "cluster/transport.h"

struct sp_seeds {
    unsigned count;
    uint32_t hash;                   /* of the list; equal on nodes that are configured alike */
    uint32_t node_ids[SP_NODES_MAX]; /* ascending */
    char addresses[SP_NODES_MAX][SP_ADDRESS_SIZE_MAX];
};

/* Reads the seeds of `options`. SPATE_ERR_INVALID: they are too many, not distinct nodes from 1 to
 * SP_NODE_ID_MAX with addresses, or the node itself is not among them; no
 * seeds are fine for a node that joins. Any thread. */
int sp_seeds_init(struct sp_seeds *seeds, const struct sp_transport_options *options);

#endif /* SP_CLUSTER_SEEDS_H */
