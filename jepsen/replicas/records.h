/* What compaction has left in the replicas of one group, side by side.
 *
 * Compaction takes records out of frames at places and times of each replica's own, so what stays
 * is not the same. But for replicas A and B and an offset that lies in both logs:
 *
 *   both have a record there      it is the same, byte by byte
 *   A has one and B has not       B has a later one of the same key; or it is a tombstone, and no
 *                                 replica has an older record of its key */
#ifndef JEP_RECORDS_H
#define JEP_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct jep_left {
    int64_t offset;
    uint64_t key;  /* hash of the key */
    uint64_t hash; /* of all of the record */
    bool tombstone;
};

/* The records of one replica, by offset. */
struct jep_records {
    uint32_t node;
    int64_t from; /* all that is left of [from, to) */
    int64_t to;
    struct jep_left *items; /* owned by the caller */
    size_t count;
    size_t room;
};

/* Hash of `size` bytes, continued from `hash`; 0 at first. */
uint64_t jep_hash(uint64_t hash, const void *bytes, size_t size);

/* 0, or SPATE_ERR_NOMEM. Offsets rise. */
int jep_records_add(struct jep_records *records, const struct jep_left *left);

/* A finding: `lacking` has no such record, or another one, than `having`. */
typedef void (*jep_records_cb)(void *arg,
                               const struct jep_records *having,
                               const struct jep_records *lacking,
                               const struct jep_left *left,
                               bool other);

/* Compares all with all. 0, or SPATE_ERR_NOMEM. */
int jep_records_compare(const struct jep_records *all, size_t count, jep_records_cb cb, void *arg);

#endif /* JEP_RECORDS_H */
