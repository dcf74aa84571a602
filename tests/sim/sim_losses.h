/* Machines lost: a node comes back with an empty disk, or not before others have taken its place.
 *
 *   node dies -> its disk is replaced -> it joins as a new incarnation -> its replicas are rebuilt
 *   node dies -> it is away for longer than node.replace.after.ms -> its replicas and its vote in
 *                the controller's group go to other nodes -> it comes back
 *
 * A disk is lost only while every group has three voters whose disks were not: a second copy of
 * three that is lost is a lost record, whatever the system. */
#ifndef SP_SIM_LOSSES_H
#define SP_SIM_LOSSES_H

#include <stdint.h>

struct sim_fault_mix;
struct sim_node;
struct sp_rand;

/* How often in this run (most have none), and after how long nodes are replaced; by a stream of
 * chance of its own. Not together with flipped bits, which need all other disks. */
void sim_losses_draw(uint64_t seed,
                     unsigned node_count,
                     struct sim_fault_mix *mix,
                     uint32_t *out_replace_ms);

/* The node dies and is started with an empty disk, if its cluster can bear it. */
void sim_losses_empty(struct sim_node *node);

/* The node dies and stays away, unless another one does. */
void sim_losses_absent(struct sim_node *node, struct sp_rand *rand);

#endif /* SP_SIM_LOSSES_H */
