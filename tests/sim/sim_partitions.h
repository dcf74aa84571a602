/* Partitions of the network: ways between processes that close together, and open again. */
#ifndef SP_SIM_PARTITIONS_H
#define SP_SIM_PARTITIONS_H

#include "base/rand.h"

/* Begins one of a shape, and for a time, drawn from `rand`. */
void sim_partitions_strike(struct sp_rand *rand);

/* Ends all of them. */
void sim_partitions_heal(void);

#endif /* SP_SIM_PARTITIONS_H */
