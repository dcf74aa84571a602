/* The records of test_exactly_once.py and the rows that its programs write about them.
 *
 *   value    "PP SSSSSSSSS" and six times eight hexadecimal digits that depend on both numbers
 *   key      "kPP-NNN": 64 for each producer, in turn
 *
 * A file of rows is only ever appended to, a whole row at a time, by one process: what is in it
 * stays when that process is killed. */
#ifndef ONCE_RECORD_H
#define ONCE_RECORD_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define ONCE_KEYS 64u
#define ONCE_VALUE_SIZE 60u /* 2 + 1 + 9 + 6 * 8 */
#define ONCE_KEY_SIZE 7u

/* 24 bytes, little-endian as the machine: what became of a record of this producer. */
struct once_ack {
    uint32_t sequence;
    int32_t status;
    int64_t offset;
    uint32_t partition;
    uint32_t zero;
};

/* 32 bytes: a record that a member has processed. */
struct once_row {
    int64_t time_ns; /* CLOCK_MONOTONIC, before the row was written */
    int64_t offset;
    uint32_t partition;
    uint32_t producer;
    uint32_t sequence;
    uint32_t zero;
};

_Static_assert(sizeof(struct once_ack) == 24, "the checker reads it");
_Static_assert(sizeof(struct once_row) == 32, "the checker reads it");

static inline void once_value(uint32_t producer, uint32_t sequence, char out[ONCE_VALUE_SIZE + 1])
{
    uint32_t filler = producer * 2654435761u + sequence * 2246822507u;

    (void)snprintf(out,
                   ONCE_VALUE_SIZE + 1,
                   "%02" PRIu32 " %09" PRIu32 "%08" PRIx32 "%08" PRIx32 "%08" PRIx32 "%08" PRIx32
                   "%08" PRIx32 "%08" PRIx32,
                   producer,
                   sequence,
                   filler,
                   filler ^ 1,
                   filler ^ 2,
                   filler ^ 3,
                   filler ^ 4,
                   filler ^ 5);
}

static inline void once_key(uint32_t producer, uint32_t sequence, char out[ONCE_KEY_SIZE + 1])
{
    (void)snprintf(
        out, ONCE_KEY_SIZE + 1, "k%02" PRIu32 "-%03" PRIu32, producer % 100, sequence % ONCE_KEYS);
}

/* The numbers in a value; false when it is not one that once_value makes. */
static inline bool
once_parse(const void *value, size_t size, uint32_t *out_producer, uint32_t *out_sequence)
{
    char text[ONCE_VALUE_SIZE + 1];
    char expected[ONCE_VALUE_SIZE + 1];

    if (value == NULL || size != ONCE_VALUE_SIZE) {
        return false;
    }
    memcpy(text, value, size);
    text[size] = '\0';
    if (sscanf(text, "%2" SCNu32 " %9" SCNu32, out_producer, out_sequence) != 2) {
        return false;
    }
    once_value(*out_producer, *out_sequence, expected);
    return memcmp(text, expected, ONCE_VALUE_SIZE) == 0;
}

#endif /* ONCE_RECORD_H */
