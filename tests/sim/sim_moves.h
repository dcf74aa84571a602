/* A program that has partitions moved, again and again, to nodes that chance chooses. */
#ifndef SP_SIM_MOVES_H
#define SP_SIM_MOVES_H

#include <stdbool.h>
#include <stdint.h>

struct sim_fault_mix;

/* Whether a run has one; by a stream of chance of its own. Not together with flipped bits: one disk
 * may then be out for good, which a majority of few replicas does not survive. */
bool sim_moves_draw(uint64_t seed, unsigned node_count, const struct sim_fault_mix *mix);

/* The program; `arg` is its struct sim_client. */
void sim_moves_main(void *arg);

#endif /* SP_SIM_MOVES_H */
