/* Programs that ask where partitions end, and must not be told less than was acknowledged. */
#ifndef SP_SIM_READS_H
#define SP_SIM_READS_H

#include "sim_clients.h"

/* The main function of such a program; `arg` is its struct sim_client. */
void sim_reads_main(void *arg);

/* How many of them the seed has, and whether its consumers read from the nearest rack. Chance of
 * its own: it leaves what else a seed means as it is. */
void sim_reads_draw(uint64_t seed, unsigned *out_programs, bool *out_racks);

/* The rack of a consumer that runs on a fiber: that of a node, or one without any. `text` has room
 * for 24 bytes and is returned. */
const char *sim_reads_rack(char *text);

#endif /* SP_SIM_READS_H */
