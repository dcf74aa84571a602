/* Nodes as members of the cluster: joining, leaving, being drained.
 *
 *   JOIN --> member --DRAIN--> draining --(its replicas move away)--> REMOVE --> GONE --> unknown
 *              ^  |               |
 *              |  '---UNDRAIN-----'
 *              '-- JOIN with another incarnation: its disk was replaced, its replicas are lost
 *
 * Part of cluster/state; pure. */
#ifndef SP_CLUSTER_STATE_NODES_H
#define SP_CLUSTER_STATE_NODES_H

#include "cluster/state.h"

/* What the state knows of a node besides what it says of itself. */
struct sp_state_member {
    bool removing;       /* to be removed: goes once it is no member of group 0 any more */
    bool draining;       /* gets no replicas, leads nothing if others can */
    uint64_t voter_id;   /* its replica of group 0; of a founder: its node id */
    uint64_t lost_below; /* replicas on it with lower ids were lost with an earlier disk; 0: none */
};

/* A node asks to be let in: it is given a replica of group 0. The same node with the same
 * incarnation gets what it was given; with another one, a new replica, and its old ones are lost.
 * SPATE_ERR_INVALID: a field is bad, or it is one node too many. */
int sp_state_command_join_node(const struct sp_state_node *node, struct sp_buf *out);

/* SPATE_ERR_NOT_FOUND: no such node. */
int sp_state_command_drain_node(uint32_t node_id, bool draining, struct sp_buf *out);

/* SPATE_ERR_NOT_FOUND; SPATE_ERR_INVALID: partitions have replicas there. */
int sp_state_command_remove_node(uint32_t node_id, struct sp_buf *out);

/* It is no member of group 0 any more, the controller's leader says. SPATE_ERR_NOT_FOUND;
 * SPATE_ERR_INVALID: it was not to be removed. */
int sp_state_command_node_gone(uint32_t node_id, struct sp_buf *out);

/* The node's replica of group 0 is damaged: it is given another one, and `voter_id` never comes
 * back. SPATE_ERR_NOT_FOUND; SPATE_ERR_EXISTS: it has another one already. */
int sp_state_command_renew_voter(uint32_t node_id, uint64_t voter_id, struct sp_buf *out);

/* All zeros for a node that is not known. */
struct sp_state_member sp_state_member(const struct sp_state *state, uint32_t node_id);

/* Replicas of partitions on the node, those of moves included. */
uint32_t sp_state_replicas_on(const struct sp_state *state, uint32_t node_id);

/* True if the replica was on a disk that its node has no more. */
bool sp_state_is_lost(const struct sp_state *state, const struct sp_replica_place *place);

#endif /* SP_CLUSTER_STATE_NODES_H */
