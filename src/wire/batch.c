#include "wire/batch.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "spate/error.h"
#include "wire/batch_format.h"

_Static_assert(BATCH_RECORD_COUNT + 4 == SP_BATCH_HEADER_SIZE, "the record count ends the header");
_Static_assert(SP_BATCH_BYTES_MAX <= INT32_MAX - BATCH_LENGTH_EXCESS, "the length field is an i32");

/* Total size of the batch at `bytes`, which has at least the length field. */
static int size_of_batch(const uint8_t *bytes, size_t *out_size)
{
    uint64_t length = batch_get(bytes + BATCH_LENGTH, 4);

    if (length < SP_BATCH_HEADER_SIZE - BATCH_LENGTH_EXCESS || length > INT32_MAX) {
        return SPATE_ERR_MALFORMED;
    }
    *out_size = (size_t)length + BATCH_LENGTH_EXCESS;
    return 0;
}

static bool compression_supported(enum sp_compression compression)
{
    return compression == SP_COMPRESSION_NONE || compression == SP_COMPRESSION_LZ4;
}

int sp_batch_header_decode(const uint8_t *bytes, size_t size, struct sp_batch_header *out_header)
{
    if (size < SP_BATCH_HEADER_SIZE) {
        return SPATE_ERR_AGAIN;
    }
    uint64_t attributes = batch_get(bytes + BATCH_ATTRIBUTES, 2);
    struct sp_batch_header header = {
        .base_offset = (int64_t)batch_get(bytes + BATCH_BASE_OFFSET, 8),
        .leader_epoch = (int32_t)batch_get(bytes + BATCH_LEADER_EPOCH, 4),
        .crc = (uint32_t)batch_get(bytes + BATCH_CRC, 4),
        .compression = (enum sp_compression)(attributes & BATCH_COMPRESSION_MASK),
        .log_append_time = (attributes & BATCH_LOG_APPEND_TIME) != 0,
        .transactional = (attributes & BATCH_TRANSACTIONAL) != 0,
        .control = (attributes & BATCH_CONTROL) != 0,
        .last_offset_delta = (int32_t)batch_get(bytes + BATCH_LAST_OFFSET_DELTA, 4),
        .base_timestamp_ms = (int64_t)batch_get(bytes + BATCH_BASE_TIMESTAMP, 8),
        .max_timestamp_ms = (int64_t)batch_get(bytes + BATCH_MAX_TIMESTAMP, 8),
        .producer_id = (int64_t)batch_get(bytes + BATCH_PRODUCER_ID, 8),
        .producer_epoch = (int16_t)batch_get(bytes + BATCH_PRODUCER_EPOCH, 2),
        .base_sequence = (int32_t)batch_get(bytes + BATCH_BASE_SEQUENCE, 4),
        .record_count = (int32_t)batch_get(bytes + BATCH_RECORD_COUNT, 4),
    };
    int rv = size_of_batch(bytes, &header.size_bytes);

    if (rv != 0) {
        return rv;
    }
    if (bytes[BATCH_MAGIC] != BATCH_VERSION || !compression_supported(header.compression)) {
        return SPATE_ERR_UNSUPPORTED;
    }
    *out_header = header;
    return 0;
}

bool sp_batch_end(const struct sp_batch_header *header, int64_t *out_end)
{
    if (header->base_offset < 0 || header->last_offset_delta < 0 ||
        header->base_offset >= INT64_MAX - header->last_offset_delta) {
        return false;
    }
    *out_end = header->base_offset + header->last_offset_delta + 1;
    return true;
}

/* A batch that was compacted has fewer records than offsets, down to none. */
static int check_counts(const struct sp_batch_header *header)
{
    if (header->record_count < 0 || header->last_offset_delta < 0 ||
        header->record_count - 1 > header->last_offset_delta) {
        return SPATE_ERR_CORRUPT;
    }
    return header->last_offset_delta >= SP_RECORDS_PER_BATCH_MAX ? SPATE_ERR_TOO_LARGE : 0;
}

int sp_batch_check(const uint8_t *bytes, size_t size, struct sp_batch_header *out_header)
{
    struct sp_batch_header header;
    int rv = sp_batch_header_decode(bytes, size, &header);

    if (rv == SPATE_ERR_AGAIN || (rv == 0 && header.size_bytes != size)) {
        rv = SPATE_ERR_MALFORMED;
    }
    if (rv != 0) {
        return rv;
    }
    if (sp_crc32c(0, bytes + BATCH_ATTRIBUTES, size - BATCH_ATTRIBUTES) != header.crc) {
        return SPATE_ERR_CORRUPT;
    }
    rv = check_counts(&header);
    if (rv == 0) {
        *out_header = header;
    }
    return rv;
}

/* Rules for what a producer may send, beyond what makes a batch readable. */
static int check_producer(const struct sp_batch_header *header)
{
    bool numbered = header->producer_id >= 0;

    if (header->record_count == 0 || header->last_offset_delta != header->record_count - 1) {
        return SPATE_ERR_CORRUPT;
    }
    if (header->control || header->transactional || header->producer_id < -1) {
        return SPATE_ERR_INVALID;
    }
    if (numbered && (header->producer_epoch < 0 || header->base_sequence < 0)) {
        return SPATE_ERR_INVALID;
    }
    return 0;
}

/* Searches by time rely on the header's latest timestamp, so it must be that of a record. */
static int walk_records(const struct sp_batch_header *header,
                        const uint8_t *bytes,
                        size_t decompressed_max_bytes)
{
    struct sp_batch_reader reader;
    struct sp_record_view record;
    int rv = sp_batch_reader_open(&reader, header, bytes, decompressed_max_bytes);

    if (rv != 0) {
        return rv;
    }
    int64_t latest_ms = INT64_MIN;
    while (sp_batch_reader_next(&reader, &record)) {
        latest_ms = record.timestamp_ms > latest_ms ? record.timestamp_ms : latest_ms;
    }
    rv = sp_batch_reader_status(&reader);
    sp_batch_reader_deinit(&reader);
    if (rv == 0 && latest_ms != header->max_timestamp_ms) {
        return SPATE_ERR_INVALID;
    }
    return rv;
}

/* `decompressed_max_bytes` is 0 when compressed records are to be left alone. */
static int validate(const uint8_t *bytes,
                    size_t size,
                    size_t size_max_bytes,
                    size_t decompressed_max_bytes,
                    struct sp_batch_header *out_header)
{
    struct sp_batch_header header;

    if (size > size_max_bytes) {
        return SPATE_ERR_TOO_LARGE;
    }
    int rv = sp_batch_check(bytes, size, &header);
    if (rv == 0) {
        rv = check_producer(&header);
    }
    if (rv == 0 && (header.compression == SP_COMPRESSION_NONE || decompressed_max_bytes > 0)) {
        rv = walk_records(&header, bytes, decompressed_max_bytes);
    }
    if (rv == 0 && out_header != NULL) {
        *out_header = header;
    }
    return rv;
}

int sp_batch_validate(const uint8_t *bytes,
                      size_t size,
                      size_t size_max_bytes,
                      struct sp_batch_header *out_header)
{
    return validate(bytes, size, size_max_bytes, 0, out_header);
}

int sp_batch_validate_deep(const uint8_t *bytes,
                           size_t size,
                           size_t size_max_bytes,
                           size_t decompressed_max_bytes,
                           struct sp_batch_header *out_header)
{
    SP_ASSERT(decompressed_max_bytes > 0);
    return validate(bytes, size, size_max_bytes, decompressed_max_bytes, out_header);
}

void sp_batch_stamp(uint8_t *bytes, size_t size, int64_t append_time_ms)
{
    uint16_t attributes = (uint16_t)batch_get(bytes + BATCH_ATTRIBUTES, 2);

    batch_put(bytes + BATCH_ATTRIBUTES, 2, attributes | BATCH_LOG_APPEND_TIME);
    batch_put(bytes + BATCH_MAX_TIMESTAMP, 8, (uint64_t)append_time_ms);
    batch_put(
        bytes + BATCH_CRC, 4, sp_crc32c(0, bytes + BATCH_ATTRIBUTES, size - BATCH_ATTRIBUTES));
}

void sp_batch_set_offset(uint8_t *bytes, int64_t base_offset, int32_t leader_epoch)
{
    batch_put(bytes + BATCH_BASE_OFFSET, 8, (uint64_t)base_offset);
    batch_put(bytes + BATCH_LEADER_EPOCH, 4, (uint32_t)leader_epoch);
}

int sp_batch_next(const uint8_t *bytes, size_t size, size_t *position, struct sp_bytes *out_batch)
{
    SP_ASSERT(*position <= size);
    size_t left = size - *position;
    size_t batch_size = 0;

    if (left == 0) {
        return SPATE_ERR_NOT_FOUND;
    }
    if (left < BATCH_LENGTH_EXCESS) {
        return SPATE_ERR_AGAIN;
    }
    int rv = size_of_batch(bytes + *position, &batch_size);
    if (rv != 0) {
        return rv;
    }
    if (batch_size > left) {
        return SPATE_ERR_AGAIN;
    }
    *out_batch = sp_bytes_of(bytes + *position, batch_size);
    *position += batch_size;
    return 0;
}
