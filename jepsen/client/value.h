/* The records that fault injection writes: whoever reads one knows who made it, and whether each
 * byte of it is the one that was sent.
 *
 *   value, little-endian:  magic u32 | client u32 | partition u32 | sequence u32 | size u32 |
 *                          filler: a keyed hash of these numbers, drawn out to the size
 *   key, text:             "CLIENT.N": 64 keys for each client, in turn; of a compacted topic see
 *                          keys.h
 *   a tombstone has no value; its header "name" is a value of JEP_NAME_BYTES, so it tells the same
 *
 * Sequences count the records of one client in one partition from 0, so (client, partition,
 * sequence) names a record, and neighbours in a batch have neighbouring names. */
#ifndef JEP_VALUE_H
#define JEP_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "keys.h"

enum {
    JEP_VALUE_MIN = 20,
    JEP_VALUE_MAX = 65536,
    JEP_KEY_MAX = 16,
    JEP_KEYS = 64,
    JEP_NAME_BYTES = 32,
};

struct jep_name {
    uint32_t client;
    uint32_t partition;
    uint32_t sequence;
};

#define JEP_NAME_HEADER "name"

/* A record as it was read; all borrowed. */
struct jep_record {
    const void *key; /* NULL: none */
    size_t key_size;
    const void *value; /* NULL: none */
    size_t value_size;
    const void *name; /* the header; NULL: none */
    size_t name_size;
};

/* Writes the value of `name` with `size` bytes, JEP_VALUE_MIN to JEP_VALUE_MAX, into `out`. */
void jep_value_make(const struct jep_name *name, uint8_t *out, size_t size);

/* Writes its key with a NUL into `out`, returns the size without it. `keys`: of a compacted topic,
 * how many keys each client has in a partition; else 0. */
size_t jep_key_make(const struct jep_name *name, uint32_t keys, char out[JEP_KEY_MAX]);

/* Whether it has no value, but the header. Never where `keys` is 0. */
bool jep_is_tombstone(const struct jep_name *name, uint32_t keys);

/* What is wrong with a record that was read from `partition`, in one word without spaces, or NULL:
 * it is whole, and *out_name is its name. */
const char *jep_record_check(const struct jep_record *record,
                             uint32_t partition,
                             uint32_t keys,
                             struct jep_name *out_name);

#endif /* JEP_VALUE_H */
