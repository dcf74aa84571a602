/* The bytes of the meta log: a header, then batches of records, each checksummed and chained.
 *
 * File header, 16 bytes, little-endian:
 *   0  8 magic "SPATEMET"    8  4 version 1    12  4 crc32c of [0, 12)
 * Batch, a header of 32 bytes and records:
 *   0  4 length              bytes of the records, a multiple of 40
 *   4  4 crc                 crc32c of [0, 4), then of [8, 32 + length)
 *   8  8 first_sequence      of the requests in it; follows the last_sequence before
 *  16  8 last_sequence
 *  24  4 chain               crc of the batch before; of the first batch: the file header's crc
 *  28  4 0
 * Record, 40 bytes:
 *   0  4 type                1 identity, 2 vote, 3 replica created, 4 replica deleted,
 *                            5 feature level, 6 forcing, 7 run
 *   identity: 4 4 state, 8 4 node_id, 12 4 0, 16 8 incarnation, 24 16 cluster_id
 *   5, 6, 7:  4 4 0, 8 8 0, 16 8 0, 24 8 the level, the mark, or the run, 32 8 0
 *   others:   4 4 0, 8 8 group_id, 16 8 replica_id, 24 8 term, 32 8 vote (both 0 but in a vote)
 *
 * A batch is written only after the one before is durable on both copies: a valid batch proves that
 * all sequences below its first one were. */
#ifndef SP_STORAGE_META_FILE_H
#define SP_STORAGE_META_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/store.h"

#define SP_META_HEADER_SIZE 16
#define SP_META_BATCH_HEADER_SIZE 32
#define SP_META_RECORD_SIZE 40
#define SP_META_SEARCH_FACTOR 8 /* bytes summed for each of a copy when it is searched for proofs */

enum sp_meta_type {
    SP_META_IDENTITY = 1,
    SP_META_VOTE = 2,
    SP_META_CREATED = 3,
    SP_META_DELETED = 4,
    SP_META_LEVEL = 5,
    SP_META_FORCING = 6,
    SP_META_RUN = 7,
};

struct sp_meta_record {
    enum sp_meta_type type;
    struct sp_identity identity; /* type identity only; the rest for the others */
    uint64_t group_id;
    uint64_t replica_id;
    uint64_t term; /* types level, forcing and run: what is set */
    uint64_t vote;
};

/* Writes the file header to `bytes` and returns its crc, which begins the chain. */
uint32_t sp_meta_header_encode(uint8_t *bytes);

/* `bytes` has SP_META_RECORD_SIZE bytes. */
void sp_meta_record_encode(const struct sp_meta_record *record, uint8_t *bytes);

/* SPATE_ERR_CORRUPT. */
int sp_meta_record_decode(const uint8_t *bytes, struct sp_meta_record *out_record);

/* Writes the header in front of `length` bytes of records that stand at `bytes` + 32 already, and
 * returns the batch's crc. */
uint32_t sp_meta_batch_seal(uint8_t *bytes,
                            uint32_t length,
                            uint64_t first_sequence,
                            uint64_t last_sequence,
                            uint32_t chain);

/* What one copy of the meta log holds. */
struct sp_meta_scan {
    bool header_valid;
    size_t size;              /* bytes of the valid prefix, header included */
    uint32_t chain;           /* crc of its last batch */
    uint64_t last_sequence;   /* of the prefix; 0: it has no batch */
    uint64_t proven_sequence; /* what batches behind the prefix prove to have been durable;
                                 UINT64_MAX: the search was given up, so perhaps anything */
    uint64_t searched_bytes;  /* that were summed for it, at most SP_META_SEARCH_FACTOR per byte */
};

/* Finds the valid prefix of a copy, and searches what follows for batches that prove more. */
void sp_meta_scan(const uint8_t *bytes, size_t size, struct sp_meta_scan *out_scan);

/* Calls `each` for every record of a valid prefix in order; a non-zero return ends the walk and is
 * returned, as is SPATE_ERR_CORRUPT for a record of unknown type. */
int sp_meta_each(const uint8_t *bytes,
                 size_t prefix_size,
                 int (*each)(void *arg, const struct sp_meta_record *record),
                 void *arg);

#endif /* SP_STORAGE_META_FILE_H */
