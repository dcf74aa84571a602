/* murmur2 by Austin Appleby (public domain), in the variant that Kafka's clients use. */
#include "client/partitioner.h"

#include "base/assert.h"

enum {
    SHIFT = 24,
};

#define SEED 0x9747b28cu
#define FACTOR 0x5bd1e995u

static uint32_t little_endian(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

uint32_t sp_murmur2(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    uint32_t hash = SEED ^ (uint32_t)size;
    size_t left = size;

    for (; left >= 4; left -= 4, at += 4) {
        uint32_t word = little_endian(at) * FACTOR;
        word = (word ^ word >> SHIFT) * FACTOR;
        hash = hash * FACTOR ^ word;
    }
    for (size_t i = left; i > 0; i--) {
        hash ^= (uint32_t)at[i - 1] << (8 * (i - 1));
    }
    if (left > 0) {
        hash *= FACTOR;
    }
    hash = (hash ^ hash >> 13) * FACTOR;
    return hash ^ hash >> 15;
}

uint32_t sp_partition_of_key(const void *key, size_t size, uint32_t count)
{
    SP_ASSERT(count > 0);
    return (sp_murmur2(key, size) & 0x7fffffff) % count;
}
