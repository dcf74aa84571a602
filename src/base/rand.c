/* xoshiro256** of Blackman and Vigna, seeded by splitmix64 as they advise. */
#include "base/rand.h"

#include "base/assert.h"

static uint64_t rotate_left(uint64_t value, unsigned bits)
{
    return value << bits | value >> (64 - bits);
}

static uint64_t splitmix(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15u;
    uint64_t value = *state;
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
    value = (value ^ value >> 27) * 0x94d049bb133111ebu;
    return value ^ value >> 31;
}

void sp_rand_init(struct sp_rand *rand, uint64_t seed)
{
    for (unsigned i = 0; i < 4; i++) {
        rand->state[i] = splitmix(&seed);
    }
}

uint64_t sp_rand_next(struct sp_rand *rand)
{
    uint64_t *state = rand->state;
    uint64_t result = rotate_left(state[1] * 5, 7) * 9;
    uint64_t shifted = state[1] << 17;

    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotate_left(state[3], 45);
    return result;
}

uint64_t sp_rand_below(struct sp_rand *rand, uint64_t bound)
{
    SP_ASSERT(bound > 0);
    /* 2^64 mod bound: values below it would make the low remainders likelier, so they are drawn
     * again. At most every second draw is lost. */
    uint64_t unfair = (0 - bound) % bound;
    uint64_t value = sp_rand_next(rand);

    while (value < unfair) {
        value = sp_rand_next(rand);
    }
    return value % bound;
}
