/* A segment's sparse index: where to begin looking for a Raft index, an offset or a time.
 *
 * One entry per SP_INDEX_INTERVAL_BYTES. It is a hint that makes reads short: what is found through
 * it is verified against the frames, and it can be rebuilt from them at any time.
 *
 * The file BASE.index of a finished segment, little-endian:
 *   off size  field
 *     0    8  magic           "SPATEIDX"
 *     8    4  version         1
 *    12    4  count           entries
 *    16    8  group_id
 *    24    8  base            Raft index of the segment's first frame
 *    32    8  segment_size    bytes of the segment's file that it describes
 *    40    8  max_timestamp   largest maxTimestamp of its batches; INT64_MIN: it has none
 *    48    4  chain           of the segment's last frame
 *    52    4  0
 *    56  32n  entries: index 8, position 8, offset 8, max_timestamp_before 8
 *     .    4  crc             crc32c of all bytes before */
#ifndef SP_STORAGE_OFFSET_INDEX_H
#define SP_STORAGE_OFFSET_INDEX_H

#include <stdint.h>

#include "base/buf.h"

#define SP_OFFSET_INDEX_SUFFIX "index"
#define SP_TIMESTAMP_NONE INT64_MIN /* before every time */

struct sp_offset_index_entry {
    uint64_t index;               /* of the frame at `position` */
    uint64_t position;            /* in the segment's file */
    int64_t offset;               /* that the next batch at or after `position` has */
    int64_t max_timestamp_before; /* of the segment's batches before `position`, or above it */
};

struct sp_offset_index {
    struct sp_offset_index_entry *entries; /* ascending in every field */
    uint32_t count;
    uint32_t capacity;
};

/* Frees the entries; the index is empty then, as when it is zero-initialised. */
void sp_offset_index_clear(struct sp_offset_index *index);

/* Adds `entry` when it is an interval away from the last one. When memory is out nothing is added:
 * reads only become longer. */
void sp_offset_index_note(struct sp_offset_index *index, const struct sp_offset_index_entry *entry);

/* Drops all entries of Raft index `raft_index` and above. */
void sp_offset_index_cut(struct sp_offset_index *index, uint64_t raft_index);

/* The last entry at which a search for a Raft index, an offset or a time may begin; NULL: begin at
 * the first frame. */
const struct sp_offset_index_entry *sp_offset_index_by_index(const struct sp_offset_index *index,
                                                             uint64_t raft_index);
const struct sp_offset_index_entry *sp_offset_index_by_offset(const struct sp_offset_index *index,
                                                              int64_t offset);
const struct sp_offset_index_entry *sp_offset_index_by_time(const struct sp_offset_index *index,
                                                            int64_t timestamp_ms);

/* What an index file says of its segment. */
struct sp_offset_index_facts {
    uint64_t group_id;
    uint64_t base;
    uint64_t segment_size;
    int64_t max_timestamp_ms;
    uint32_t chain;
};

/* The file image in new memory, or NULL when memory is out. */
struct sp_blob *sp_offset_index_encode(const struct sp_offset_index *index,
                                       const struct sp_offset_index_facts *facts);

/* Reads an image into `out_index`, which is empty before. SPATE_ERR_CORRUPT, SPATE_ERR_NOMEM. */
int sp_offset_index_decode(const uint8_t *bytes,
                           size_t size,
                           struct sp_offset_index *out_index,
                           struct sp_offset_index_facts *out_facts);

/* Reads the index file of a segment in `directory`, blocking; `facts` is what the log knows, and
 * only its max_timestamp_ms is filled in. SPATE_ERR_CORRUPT also when the file describes another
 * state of the segment; SPATE_ERR_NOT_FOUND, SPATE_ERR_IO, SPATE_ERR_NOMEM. */
int sp_offset_index_load(const char *directory,
                         struct sp_offset_index_facts *facts,
                         struct sp_offset_index *out_index);

/* Writes the index file, blocking. It is not synced: a damaged one is rebuilt. Errors of
 * io/file.h. */
int sp_offset_index_save(const char *directory, uint64_t base, const uint8_t *bytes, size_t size);

#endif /* SP_STORAGE_OFFSET_INDEX_H */
