/* SipHash-2-4 with 128 bits of result: a keyed hash that nobody can find collisions of without the
 * key. Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", and its 128-bit variant.
 */
#ifndef SP_BASE_SIPHASH_H
#define SP_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct sp_siphash {
    uint64_t low;
    uint64_t high;
};

/* `key` are the 16 bytes of the key as two little-endian numbers. Any thread. */
struct sp_siphash sp_siphash(const uint64_t key[2], const void *bytes, size_t size);

#endif /* SP_BASE_SIPHASH_H */
