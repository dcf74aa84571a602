/* The storage unit of a log: one Raft entry with a checksummed, chained header (D2).
 *
 *   off size  field            little-endian
 *     0    1  version          1
 *     1    1  kind             enum sp_frame_kind
 *     2    2  flags            0, or 1: compacted
 *     4    4  length           payload bytes
 *     8    8  group_id
 *    16    8  term
 *    24    8  index            Raft index; a marker: the index already synced when it was written
 *    32    8  append_time_ms   set by the leader, never decreasing within a log
 *    40    4  crc              crc32c of bytes [0, 40), then of the covered payload
 *    44    4  chain            crc32c of bytes [0, 44), seeded with the previous frame's chain
 *    48    .  payload, then zero bytes up to a multiple of 8
 *
 * The covered payload is all of it, but for a batch its first 21 bytes only: these contain the
 * batch's own checksum, which covers the rest, so that nothing is summed twice. The same bytes are
 * written by the leader and every follower. A marker is local to one replica: it carries the chain
 * of the frame before it unchanged, is not part of the chain and is never sent.
 *
 * Compaction takes records out of a batch, down to none, and leaves the rest of its frame: index,
 * term, time, chain, and the batch's header with base offset and last offset delta. What the chain
 * was computed from stands in a trailer, so that compacted frames and those of replicas that have
 * the originals have the same chain, and each can be checked against the one before:
 *
 *   RecordBatch v2 with 0 or more records | original length 4 | original crc 4
 *
 * The payload of such a frame is covered whole. In files several that hold no record may stand
 * together in a run (storage/log_run.h); outside of storage nobody sees that. */
#ifndef SP_STORAGE_LOG_FRAME_H
#define SP_STORAGE_LOG_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define SP_LOG_FRAME_VERSION 1
#define SP_LOG_FRAME_HEADER_SIZE 48
#define SP_LOG_FRAME_ALIGNMENT 8
#define SP_BATCH_COVERED_SIZE 21 /* batch bytes under the frame's own checksum */
#define SP_BATCH_HEADER_SIZE 61  /* RecordBatch v2 up to its first record */
#define SP_LOG_FRAME_COMPACTED 1 /* flag: see above */
#define SP_COMPACTED_TRAILER_SIZE 8

enum sp_frame_kind {
    SP_FRAME_BATCH = 1,         /* a RecordBatch v2 */
    SP_FRAME_CONFIGURATION = 2, /* a Raft membership, encoded by libraft */
    SP_FRAME_NOOP = 3,          /* a new leader's barrier; empty */
    SP_FRAME_COMMAND = 4,       /* a command of the group's state machine */
    SP_FRAME_MARKER = 5,        /* local: "synced up to index"; empty */
    /* 6 in its place in a file: a run of emptied frames (storage/log_run.h) */
};

struct sp_log_frame {
    enum sp_frame_kind kind;
    uint32_t length;
    uint64_t group_id;
    uint64_t term;
    uint64_t index;
    int64_t append_time_ms;
    uint32_t crc;
    uint32_t chain;
    bool compacted; /* a batch that lost records, or may lose some: see above */
};

/* Bytes that a frame with `length` payload bytes takes on disk and on the wire. */
static inline size_t sp_log_frame_size(uint32_t length)
{
    return (SP_LOG_FRAME_HEADER_SIZE + (size_t)length + SP_LOG_FRAME_ALIGNMENT - 1) &
           ~(size_t)(SP_LOG_FRAME_ALIGNMENT - 1);
}

/* Writes the header of `frame` in front of its payload, which stands at `bytes` + 48 already, and
 * zeroes the padding; computes frame->crc and frame->chain from `chain_before`. `bytes` has room
 * for sp_log_frame_size(frame->length). */
void sp_log_frame_seal(struct sp_log_frame *frame, uint32_t chain_before, uint8_t *bytes);

/* Writes the 48 bytes of a header as it stands in `frame`. */
void sp_log_frame_header_encode(const struct sp_log_frame *frame, uint8_t *bytes);

/* Reads and checks the header alone: version, kind, flags, length bound. SPATE_ERR_AGAIN: fewer
 * than 48 bytes; SPATE_ERR_CORRUPT. The checksums are not looked at. */
int sp_log_frame_decode(const uint8_t *bytes, size_t size, struct sp_log_frame *out_frame);

/* Reads the header and checks everything but the chain: frame checksum, padding, and of a batch its
 * own checksum and structure (61 bytes or more, batchLength, magic, counts). SPATE_ERR_AGAIN: the
 * frame is not complete in `size` bytes; SPATE_ERR_CORRUPT. */
int sp_log_frame_verify(const uint8_t *bytes, size_t size, struct sp_log_frame *out_frame);

/* The chain value that follows `chain_before` for the verified frame at `bytes`: of a compacted one
 * that of the frame as it was built. */
uint32_t sp_log_frame_chain(const uint8_t *bytes, uint32_t chain_before);

/* The payload of the frame at `bytes`. */
static inline const uint8_t *sp_log_frame_payload(const uint8_t *bytes)
{
    return bytes + SP_LOG_FRAME_HEADER_SIZE;
}

/* Bytes of the batch that the verified frame holds, without the trailer of a compacted one. */
static inline uint32_t sp_log_frame_batch_size(const struct sp_log_frame *frame)
{
    return frame->compacted ? frame->length - SP_COMPACTED_TRAILER_SIZE : frame->length;
}

/* Bytes of a compacted frame whose batch has `batch_size`. */
static inline size_t sp_log_frame_compacted_size(size_t batch_size)
{
    return sp_log_frame_size((uint32_t)batch_size + SP_COMPACTED_TRAILER_SIZE);
}

/* Makes the compacted frame that takes the place of the verified one at `original`, a batch: its
 * own batch of `batch_size` bytes stands at `bytes` + 48 already, with room for
 * sp_log_frame_compacted_size. */
void sp_log_frame_compact(const uint8_t *original, size_t batch_size, uint8_t *bytes);

/* Length and crc that the verified compacted frame at `bytes` had first. */
void sp_log_frame_original(const uint8_t *bytes, uint32_t *out_length, uint32_t *out_crc);

/* What a log needs to know of a batch, read from its first 61 bytes (big-endian inside). */
struct sp_batch_facts {
    int64_t base_offset;
    int64_t max_timestamp_ms;
    int64_t producer_id; /* -1: none */
    int16_t producer_epoch;
    int32_t base_sequence;
    int32_t record_count; /* at least 1 after sp_log_frame_verify, unless it was compacted */
    int32_t offset_count; /* offsets that it takes, and sequences: records that it once had */
    int32_t leader_epoch;
};

/* `batch` has at least 61 bytes. */
void sp_batch_facts_read(const uint8_t *batch, struct sp_batch_facts *out_facts);

/* Patches baseOffset and partitionLeaderEpoch, which lie outside the batch's checksum. */
void sp_batch_facts_place(uint8_t *batch, int64_t base_offset, int32_t leader_epoch);

#endif /* SP_STORAGE_LOG_FRAME_H */
