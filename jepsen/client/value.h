/* The records that fault injection writes: whoever reads one knows who made it, and whether each
 * byte of it is the one that was sent.
 *
 *   value, little-endian:  magic u32 | client u32 | partition u32 | sequence u32 | size u32 |
 *                          filler: a keyed hash of these numbers, drawn out to the size
 *   key, text:             "CLIENT.N": 64 keys for each client, in turn
 *
 * Sequences count the records of one client in one partition from 0, so (client, partition,
 * sequence) names a record, and neighbours in a batch have neighbouring names. */
#ifndef JEP_VALUE_H
#define JEP_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    JEP_VALUE_MIN = 20,
    JEP_VALUE_MAX = 65536,
    JEP_KEY_MAX = 16,
    JEP_KEYS = 64,
};

struct jep_name {
    uint32_t client;
    uint32_t partition;
    uint32_t sequence;
};

/* Writes the value of `name` with `size` bytes, JEP_VALUE_MIN to JEP_VALUE_MAX, into `out`. */
void jep_value_make(const struct jep_name *name, uint8_t *out, size_t size);

/* Writes its key with a NUL into `out`, returns the size without it. */
size_t jep_key_make(const struct jep_name *name, char out[JEP_KEY_MAX]);

/* What is wrong with a record that was read from `partition`, in one word without spaces, or NULL:
 * it is whole, and *out_name is its name. */
const char *jep_record_check(const void *key,
                             size_t key_size,
                             const void *value,
                             size_t value_size,
                             uint32_t partition,
                             struct jep_name *out_name);

#endif /* JEP_VALUE_H */
