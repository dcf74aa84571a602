/* A program that has partitions moved to nodes that chance chooses, and nodes drained, again and
 * again. */
#ifndef SP_SIM_MOVES_H
#define SP_SIM_MOVES_H

#include <stdbool.h>
#include <stdint.h>

struct sim_fault_mix;

/* Whether a run has one, and how many nodes join besides those that form the cluster (also for
 * those that are absent), and whether they are shards of the programs of those that form it; by
 * streams of chance of their own. Moves not together with flipped bits: one
 * disk may then be out for good, which a majority of few replicas does not survive. */
bool sim_moves_draw(uint64_t seed,
                    unsigned node_count,
                    const struct sim_fault_mix *mix,
                    unsigned *out_joiner_count,
                    bool *out_shards);

/* The program; `arg` is its struct sim_client. */
void sim_moves_main(void *arg);

#endif /* SP_SIM_MOVES_H */
