/* Programs whose producers have names, and so go on where another one stopped. */
#ifndef SP_SIM_NAMED_H
#define SP_SIM_NAMED_H

#include "sim_clients.h"

#define SIM_NAMES_MAX 2u /* streams, each with a name of its own */

/* The main function of a program; `arg` is its struct sim_client. */
void sim_named_main(void *arg);

/* How many streams the seed has, 0 for most, and how many programs carry on each. Chance of its
 * own: it leaves what else a seed means as it is. */
void sim_named_draw(uint64_t seed, unsigned *out_streams, unsigned *out_programs);

#endif /* SP_SIM_NAMED_H */
