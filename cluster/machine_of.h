/* Which nodes are shards of one process, and so fall together. Pure.
 *
 *   spated --shards 3, node.id 7:   nodes 7, 107, 207, each with the rack "RACK#7"     machine 7
 *   spated, node.id 8:              node 8, with the rack "RACK"                       machine 8
 *
 * The mark counts only where the node's id fits to it, so a rack that happens to end like one makes
 * a machine of nobody else's. Two replicas of a group never stand on one machine. */
#ifndef SP_CLUSTER_MACHINE_OF_H
#define SP_CLUSTER_MACHINE_OF_H

#include <stdbool.h>

#include "base/limits.h"
#include "cluster/state.h"
#include "wire/bytes.h"

/* The node id of shard 0 of the process that the node is a shard of; its own id if it is none. */
uint32_t sp_machine_of(const struct sp_state_node *node);

/* The same by id; `node_id` itself for a node that the state does not know. */
uint32_t sp_machine_of_id(const struct sp_state *state, uint32_t node_id);

/* True if the node says that it is a shard of several. */
bool sp_machine_has_shards(const struct sp_state_node *node);

/* The rack without the mark; borrowed from the node. */
struct sp_bytes sp_machine_rack(const struct sp_state_node *node);

/* True if both nodes stand in one rack; never without a rack. */
bool sp_machine_same_rack(const struct sp_state_node *left, const struct sp_state_node *right);

/* ---- sets of machines ------------------------------------------------------------------------ */

/* All zero to begin with. */
struct sp_machines {
    uint32_t numbers[SP_NODES_MAX];
    unsigned count;
};

/* Puts it in unless it is there; its place. */
unsigned sp_machines_add(struct sp_machines *machines, uint32_t machine);

/* Its place, or `count`. */
unsigned sp_machines_find(const struct sp_machines *machines, uint32_t machine);

bool sp_machines_has(const struct sp_machines *machines, uint32_t machine);

#endif /* SP_CLUSTER_MACHINE_OF_H */
