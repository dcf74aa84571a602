/* A run: frames that compaction has emptied, side by side, as one record of a segment's file.
 *
 *   off size  field            little-endian
 *     0    1  version          1
 *     1    1  kind             6
 *     2    2  0
 *     4    4  length           payload bytes
 *     8    8  group_id
 *    16    8  term             of all of them
 *    24    8  index            of the first
 *    32    8  append_time_ms   of the first
 *    40    4  crc              crc32c of bytes [0, 40), then of the payload
 *    44    4  chain            of the last
 *    48    4  count            2 to SP_LOG_RUN_FRAMES_MAX
 *    52    4  chain_before     of the frame before the first
 *    56    8  base_offset      of the first
 *    64    .  `count` entries, then zeros up to a multiple of 8
 *
 * Nothing is given up: a run expands to the very bytes of its frames, 120 each, so that Raft, peers
 * and machines never hear of one. What follows from the frame before is left out: index and offset,
 * the sequence of the same producer, checksums. An entry, in numbers of 7 bits a byte (a difference
 * to the entry before; in front of the first one all is 0):
 *
 *   1 byte: which of the fields marked ? are there
 *   append_time_ms | base timestamp | ? max timestamp, to base | ? attributes | ? last offset delta
 *   | ? producer id, epoch | ? base sequence | ? length that the frame had first
 *   4 bytes: crc that the frame had first
 *
 * Only segments that compaction has rewritten hold runs. Nothing here blocks or is shared. */
#ifndef SP_STORAGE_LOG_RUN_H
#define SP_STORAGE_LOG_RUN_H

#include "base/buf.h"
#include "storage/log_frame.h"
#include "storage/run_entry.h"

#define SP_LOG_RUN_KIND 6
#define SP_LOG_RUN_FRAMES_MAX 1024 /* 64 bytes are then next to nothing for each of them */
#define SP_LOG_RUN_FRAME_SIZE 120  /* of an emptied frame: 48 and 61 and 8, padded */

/* Gathers frames on their way into a file. */
struct sp_log_run {
    unsigned count; /* 0: none is waiting */
    uint64_t term;
    uint64_t next_index;
    uint32_t chain; /* of the last frame that was put */
    uint32_t chain_before;
    struct sp_run_state state;
    struct sp_buf frames;  /* as they are */
    struct sp_buf entries; /* as they will be */
};

/* `chain` is that of the frame before the first one that will be put. */
void sp_log_run_init(struct sp_log_run *run, uint32_t chain);
void sp_log_run_deinit(struct sp_log_run *run);

/* Takes the next frame of a segment, verified: an emptied one waits, so that the ones behind it can
 * join it; another is appended to `out` behind those that waited. SPATE_ERR_NOMEM,
 * SPATE_ERR_TOO_LARGE of `out`, SPATE_ERR_INTERNAL: what was packed does not expand to what it was.
 * Only sp_log_run_deinit may follow a failure. */
int sp_log_run_put(struct sp_log_run *run, const uint8_t *bytes, size_t size, struct sp_buf *out);

/* Appends what waits. Errors as above. */
int sp_log_run_end(struct sp_log_run *run, struct sp_buf *out);

/* Whether a run, whole or not, begins here; `size` is at least 48. */
bool sp_log_run_begins(const uint8_t *bytes);

/* Bytes that it takes in the file. SPATE_ERR_CORRUPT. */
int sp_log_run_size(const uint8_t *bytes, size_t *out_size);

/* The frames of the run at `bytes`, each of SP_LOG_RUN_FRAME_SIZE and verified, its chain included,
 * in a blob of the caller's. SPATE_ERR_AGAIN: it is not whole in `size` bytes; SPATE_ERR_CORRUPT;
 * SPATE_ERR_NOMEM. */
int sp_log_run_expand(const uint8_t *bytes, size_t size, struct sp_blob **out_frames);

/* For those who look for records alone: whether the frames of one run from `first` to `last` may
 * pass for one that is empty, and makes that one, of SP_LOG_RUN_FRAME_SIZE: it takes the offsets of
 * all, and is sound but for its chain. As many offsets as a batch may have pass for one. */
bool sp_log_run_may_merge(const uint8_t *first, const uint8_t *last);
void sp_log_run_merge(const uint8_t *first, const uint8_t *last, uint8_t *bytes);

#endif /* SP_STORAGE_LOG_RUN_H */
