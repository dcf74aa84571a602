/* RecordBatch v2: the one encoding of records, from the producer to the disk to the consumer.
 *
 * All integers big-endian; varints are zig-zag, seven bits a byte, low bits first.
 *
 *   at  size  field                 in crc
 *    0   8    base offset              -    set by the leader when it appends
 *    8   4    size after this field    -
 *   12   4    leader epoch (term)      -    set by the leader when it appends
 *   16   1    magic = 2                -
 *   17   4    crc32c of [21, end)      -
 *   21   2    attributes               x    bits 0-2 compression, 3 log append time, 4
 * transactional, 5 control 23   4    last offset delta        x    record count - 1 27   8    base
 * timestamp, ms       x    of the first record 35   8    maximum timestamp, ms    x 43   8 producer
 * id              x    -1: none 51   2    producer epoch           x 53   4    base sequence x 57
 * 4    record count             x 61   -    records                  x    one lz4 frame when
 * compressed
 *
 *   record: size varint | attributes i8 = 0 | timestamp delta varlong | offset delta varint |
 *           key size varint (-1: null) | key | value size varint (-1: null) | value |
 *           header count varint | { name size varint | name | value size varint | value } ...
 *
 * Compaction takes records out: a batch then has fewer than its last offset delta says, down to
 * none, and those that are left keep their offsets.
 *
 * What the leader sets lies outside the crc by design, so the bytes that a producer made travel
 * unchanged through every layer. Everything here takes hostile bytes. Any thread.
 *
 * Source: Apache Kafka, "Record Batch" in its protocol guide. */
#ifndef SP_WIRE_BATCH_H
#define SP_WIRE_BATCH_H

#include "base/buf.h"
#include "base/limits.h"
#include "wire/bytes.h"

#define SP_BATCH_HEADER_SIZE 61

/* Most bytes that the records of one compressed batch may become. */
#define SP_BATCH_DECOMPRESSED_BYTES_MAX ((size_t)SP_BATCH_BYTES_MAX * 16)

/* Most headers of one record that the builder takes; readers take what fits into the record. */
#define SP_RECORD_HEADERS_MAX 256

/* Timestamps the builder takes lie between minus and plus this: 2^53, what every client can hold.
 */
#define SP_TIMESTAMP_MS_MAX ((int64_t)9007199254740992)

enum sp_compression {
    SP_COMPRESSION_NONE = 0,
    SP_COMPRESSION_GZIP = 1,   /* known, not supported */
    SP_COMPRESSION_SNAPPY = 2, /* known, not supported */
    SP_COMPRESSION_LZ4 = 3,
    SP_COMPRESSION_ZSTD = 4, /* known, not supported */
};

struct sp_batch_header {
    int64_t base_offset;
    size_t size_bytes; /* of the whole batch, this header included */
    int32_t leader_epoch;
    uint32_t crc;
    enum sp_compression compression;
    bool log_append_time; /* all records have the maximum timestamp */
    bool transactional;
    bool control;
    int32_t last_offset_delta;
    int64_t base_timestamp_ms;
    int64_t max_timestamp_ms;
    int64_t producer_id; /* -1: none */
    int16_t producer_epoch;
    int32_t base_sequence;
    int32_t record_count;
};

/* Reads the header of the batch at the start of `bytes`, which may hold less or more than the
 * batch. SPATE_ERR_AGAIN        fewer than SP_BATCH_HEADER_SIZE bytes SPATE_ERR_MALFORMED    an
 * impossible size SPATE_ERR_UNSUPPORTED  magic other than 2, a compression other than none and lz4
 */
int sp_batch_header_decode(const uint8_t *bytes, size_t size, struct sp_batch_header *out_header);

/* The offset behind the batch. False: what the header says of offsets is no number. */
bool sp_batch_end(const struct sp_batch_header *header, int64_t *out_end);

/* Checks one batch from a producer: exactly `size` bytes, at most `size_max_bytes`, crc,
 * attributes, counts; records that are not compressed are all walked, compressed ones are not
 * looked into. *out_header may be NULL. SPATE_ERR_TOO_LARGE    above `size_max_bytes` or
 * SP_RECORDS_PER_BATCH_MAX SPATE_ERR_MALFORMED    cut short, bytes left over, an impossible size
 *   SPATE_ERR_UNSUPPORTED  as sp_batch_header_decode
 *   SPATE_ERR_CORRUPT      the crc does not match, or counts, deltas or lengths contradict each
 * other SPATE_ERR_INVALID      control or transactional batch, impossible producer fields */
int sp_batch_validate(const uint8_t *bytes,
                      size_t size,
                      size_t size_max_bytes,
                      struct sp_batch_header *out_header);

/* The same and compressed records are decompressed and walked too. More errors:
 *   SPATE_ERR_TOO_LARGE  decompressed above `decompressed_max_bytes`
 *   SPATE_ERR_NOMEM */
int sp_batch_validate_deep(const uint8_t *bytes,
                           size_t size,
                           size_t size_max_bytes,
                           size_t decompressed_max_bytes,
                           struct sp_batch_header *out_header);

/* Makes all records of a sound batch bear `append_time_ms`, and its crc fit again. */
void sp_batch_stamp(uint8_t *bytes, size_t size, int64_t append_time_ms);

/* Writes base offset and leader epoch into a batch of at least SP_BATCH_HEADER_SIZE bytes. */
void sp_batch_set_offset(uint8_t *bytes, int64_t base_offset, int32_t leader_epoch);

/* The batch at *position in `bytes`, which hold batches one after the other; *position moves behind
 * it. Only sizes are looked at.
 *   SPATE_ERR_NOT_FOUND  *position is the end
 *   SPATE_ERR_AGAIN      the rest is the beginning of a batch
 *   SPATE_ERR_MALFORMED  an impossible size */
int sp_batch_next(const uint8_t *bytes, size_t size, size_t *position, struct sp_bytes *out_batch);

/* ---- building ---- */

struct sp_record_header {
    struct sp_bytes name;  /* UTF-8, not null */
    struct sp_bytes value; /* may be null */
};

/* A record to be added; all borrowed until sp_batch_builder_add returns. */
struct sp_record {
    int64_t timestamp_ms;
    struct sp_bytes key;   /* may be null */
    struct sp_bytes value; /* may be null */
    const struct sp_record_header *headers;
    size_t header_count; /* at most SP_RECORD_HEADERS_MAX */
};

/* Collects records and makes one batch of them. Open for embedding only. */
struct sp_batch_builder {
    struct sp_buf
        records; /* encoded, not compressed; its bound is the batch bound less the header */
    enum sp_compression compression;
    int32_t count;
    int64_t base_timestamp_ms;
    int64_t max_timestamp_ms;
};

/* Prepares `builder` for batches of at most `size_max_bytes` (above SP_BATCH_HEADER_SIZE), counted
 * before compression. `compression` is none or lz4. */
void sp_batch_builder_init(struct sp_batch_builder *builder,
                           size_t size_max_bytes,
                           enum sp_compression compression);

void sp_batch_builder_deinit(struct sp_batch_builder *builder);

/* Changes the bound of an empty builder. */
void sp_batch_builder_limit(struct sp_batch_builder *builder, size_t size_max_bytes);

/* Adds a copy of the record. On failure the builder is as before:
 *   SPATE_ERR_TOO_LARGE  it would pass the bound or SP_RECORDS_PER_BATCH_MAX: finish, then add
 * again SPATE_ERR_INVALID    too many headers, or a header name that is null or not UTF-8
 *   SPATE_ERR_NOMEM */
int sp_batch_builder_add(struct sp_batch_builder *builder, const struct sp_record *record);

/* Records so far, and the size that the batch would have now without compression. */
int32_t sp_batch_builder_count(const struct sp_batch_builder *builder);
size_t sp_batch_builder_size(const struct sp_batch_builder *builder);

/* Appends the batch (base offset 0, epoch -1) to `out`; the builder keeps its records until
 * sp_batch_builder_reset. At least one record must have been added. Records that do not get smaller
 * are left uncompressed. Without a producer the three numbers are -1, -1, -1.
 *   SPATE_ERR_NOMEM, SPATE_ERR_TOO_LARGE (bound of `out`); nothing was appended then */
int sp_batch_builder_finish(struct sp_batch_builder *builder,
                            int64_t producer_id,
                            int16_t producer_epoch,
                            int32_t base_sequence,
                            struct sp_buf *out);

/* Forgets the records, keeps the memory. */
void sp_batch_builder_reset(struct sp_batch_builder *builder);

/* ---- reading ---- */

/* A record as read; views live as long as the reader and the batch. */
struct sp_record_view {
    int64_t offset;
    int64_t timestamp_ms;
    struct sp_bytes key;   /* may be null */
    struct sp_bytes value; /* may be null */
    uint32_t header_count;
    struct sp_bytes encoded_headers; /* checked; for sp_record_header_next */
};

/* Reads the records of one batch. The first error sticks, as in a cursor. */
struct sp_batch_reader {
    struct sp_batch_header header;
    const uint8_t *records; /* in the batch, or in `decompressed` */
    size_t records_size;
    size_t position;       /* in records */
    int32_t count;         /* records read so far */
    int32_t delta_min;     /* the next one's offset delta is not below */
    int status;            /* the first error, or 0 */
    uint8_t *decompressed; /* owned; NULL when the batch is not compressed */
};

/* Prepares `reader` for the one batch in `bytes` (borrowed until deinit). The crc is checked, lz4
 * is decompressed to at most `decompressed_max_bytes` (SP_BATCH_DECOMPRESSED_BYTES_MAX when in
 * doubt). Errors as sp_batch_validate_deep, but control and transactional batches are read. On
 * failure there is nothing to deinit. */
int sp_batch_reader_init(struct sp_batch_reader *reader,
                         const uint8_t *bytes,
                         size_t size,
                         size_t decompressed_max_bytes);

/* Frees what the reader owns; also after a failed init, and twice. */
void sp_batch_reader_deinit(struct sp_batch_reader *reader);

/* Reads the next record and returns true; false at the end, or after an error, see
 * sp_batch_reader_status. *out_record is untouched then. */
bool sp_batch_reader_next(struct sp_batch_reader *reader, struct sp_record_view *out_record);

/* 0, or SPATE_ERR_CORRUPT when the records contradict their batch. */
int sp_batch_reader_status(const struct sp_batch_reader *reader);

/* The header at *position (0 at first) of record->encoded_headers; false after the last one. */
bool sp_record_header_next(const struct sp_record_view *record,
                           size_t *position,
                           struct sp_record_header *out_header);

#endif /* SP_WIRE_BATCH_H */
