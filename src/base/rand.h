/* A small deterministic generator (xoshiro256**), seeded from one number: jitter and test data.
 * Never for secrets; true chance comes from sp_loop_random. */
#ifndef SP_BASE_RAND_H
#define SP_BASE_RAND_H

#include <stdint.h>

struct sp_rand {
    uint64_t state[4];
};

void sp_rand_init(struct sp_rand *rand, uint64_t seed);

uint64_t sp_rand_next(struct sp_rand *rand);

/* Uniform in [0, bound); bound at least 1. */
uint64_t sp_rand_below(struct sp_rand *rand, uint64_t bound);

#endif /* SP_BASE_RAND_H */
