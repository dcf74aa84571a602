/* The keys of records in a compacted topic: of a record's name follows which key it has, and
 * whether it is a tombstone, so that histories need not say it. A client has keys of its own in
 * each partition, so the records of a key are numbered in the order in which they were sent: a
 * number is the version. Low keys come more often than high ones, some of which are hardly ever
 * written. */
#ifndef JEP_KEYS_H
#define JEP_KEYS_H

#include <stdbool.h>
#include <stdint.h>

enum {
    JEP_KEYS_MAX = 1024,
    JEP_TOMBSTONES_IN_256 = 51,
};

struct jep_keyed {
    uint32_t number; /* of the key, below `keys` */
    bool tombstone;
};

/* `keys`: how many keys the client has in the partition, 1 to JEP_KEYS_MAX. */
static inline struct jep_keyed
jep_keyed_of(uint32_t client, uint32_t partition, uint32_t sequence, uint32_t keys)
{
    uint64_t x = (uint64_t)client << 40 ^ (uint64_t)partition << 32 ^ sequence;

    x += 0x9e3779b97f4a7c15u;
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    x ^= x >> 31;
    uint32_t a = (uint32_t)(x & 0xffff) % keys;
    uint32_t b = (uint32_t)(x >> 16 & 0xffff) % keys;
    return (struct jep_keyed){ a < b ? a : b, (x >> 32 & 0xff) < JEP_TOMBSTONES_IN_256 };
}

#endif /* JEP_KEYS_H */
