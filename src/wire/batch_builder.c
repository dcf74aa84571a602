#include "base/assert.h"
#include "base/crc32c.h"
#include "spate/error.h"
#include "wire/batch.h"
#include "wire/batch_format.h"
#include "wire/compress.h"

void sp_batch_builder_init(struct sp_batch_builder *builder,
                           size_t size_max_bytes,
                           enum sp_compression compression)
{
    SP_ASSERT(size_max_bytes > SP_BATCH_HEADER_SIZE);
    SP_ASSERT(size_max_bytes <= SP_BATCH_BYTES_MAX);
    SP_ASSERT(compression == SP_COMPRESSION_NONE || compression == SP_COMPRESSION_LZ4);
    *builder = (struct sp_batch_builder){ .compression = compression };
    sp_buf_init(&builder->records, size_max_bytes - SP_BATCH_HEADER_SIZE);
}

void sp_batch_builder_deinit(struct sp_batch_builder *builder)
{
    sp_buf_deinit(&builder->records);
    sp_batch_builder_reset(builder);
}

void sp_batch_builder_limit(struct sp_batch_builder *builder, size_t size_max_bytes)
{
    SP_ASSERT(builder->count == 0);
    SP_ASSERT(size_max_bytes > SP_BATCH_HEADER_SIZE);
    SP_ASSERT(size_max_bytes <= SP_BATCH_BYTES_MAX);
    if (builder->records.capacity > size_max_bytes - SP_BATCH_HEADER_SIZE) {
        sp_buf_deinit(&builder->records); /* a buffer is never larger than its bound */
    }
    builder->records.size_max = size_max_bytes - SP_BATCH_HEADER_SIZE;
}

void sp_batch_builder_reset(struct sp_batch_builder *builder)
{
    sp_buf_clear(&builder->records);
    builder->count = 0;
    builder->base_timestamp_ms = 0;
    builder->max_timestamp_ms = 0;
}

int32_t sp_batch_builder_count(const struct sp_batch_builder *builder)
{
    return builder->count;
}

size_t sp_batch_builder_size(const struct sp_batch_builder *builder)
{
    return SP_BATCH_HEADER_SIZE + builder->records.size;
}

static uint64_t zigzag(int64_t value)
{
    return ((uint64_t)value << 1) ^ (value < 0 ? UINT64_MAX : 0);
}

static size_t varint_size(int64_t value)
{
    uint64_t bits = zigzag(value);
    size_t size = 1;

    while (bits >= 0x80) {
        bits >>= 7;
        size += 1;
    }
    return size;
}

static uint8_t *put_varint(uint8_t *at, int64_t value)
{
    uint64_t bits = zigzag(value);

    while (bits >= 0x80) {
        *at++ = (uint8_t)(bits | 0x80);
        bits >>= 7;
    }
    *at++ = (uint8_t)bits;
    return at;
}

/* Size as the format writes it; null is -1. The caller has bounded the size. */
static int64_t wire_size(struct sp_bytes bytes)
{
    return bytes.bytes == NULL ? -1 : (int64_t)bytes.size;
}

static size_t bytes_size(struct sp_bytes bytes)
{
    return varint_size(wire_size(bytes)) + bytes.size;
}

static uint8_t *put_bytes(uint8_t *at, struct sp_bytes bytes)
{
    at = put_varint(at, wire_size(bytes));
    if (bytes.size > 0) {
        memcpy(at, bytes.bytes, bytes.size);
    }
    return at + bytes.size;
}

static bool bytes_sound(struct sp_bytes bytes)
{
    return bytes.bytes != NULL || bytes.size == 0;
}

static int check_record(const struct sp_record *record)
{
    SP_ASSERT(bytes_sound(record->key));
    SP_ASSERT(bytes_sound(record->value));
    if (record->header_count > SP_RECORD_HEADERS_MAX ||
        record->timestamp_ms > SP_TIMESTAMP_MS_MAX || record->timestamp_ms < -SP_TIMESTAMP_MS_MAX) {
        return SPATE_ERR_INVALID;
    }
    for (size_t i = 0; i < record->header_count; i++) {
        SP_ASSERT(bytes_sound(record->headers[i].value));
        if (!sp_utf8_valid(record->headers[i].name)) {
            return SPATE_ERR_INVALID;
        }
    }
    return 0;
}

/* Adds `part` to *total unless that passes `bound`; both are below SIZE_MAX / 2. */
static bool add_bounded(size_t *total, size_t part, size_t bound)
{
    if (part > bound || *total > bound - part) {
        return false;
    }
    *total += part;
    return true;
}

/* Size of the record behind its own size field. SPATE_ERR_TOO_LARGE above `bound`; a view larger
 * than that never reaches the arithmetic. */
static int record_size(const struct sp_record *record,
                       int64_t timestamp_delta,
                       int64_t offset_delta,
                       size_t bound,
                       size_t *out_size)
{
    size_t size = 1 + varint_size(timestamp_delta) + varint_size(offset_delta) +
                  varint_size((int64_t)record->header_count);

    if (record->key.size > bound || record->value.size > bound ||
        !add_bounded(&size, bytes_size(record->key), bound) ||
        !add_bounded(&size, bytes_size(record->value), bound)) {
        return SPATE_ERR_TOO_LARGE;
    }
    for (size_t i = 0; i < record->header_count; i++) {
        const struct sp_record_header *header = &record->headers[i];
        if (header->name.size > bound || header->value.size > bound ||
            !add_bounded(&size, bytes_size(header->name), bound) ||
            !add_bounded(&size, bytes_size(header->value), bound)) {
            return SPATE_ERR_TOO_LARGE;
        }
    }
    *out_size = size;
    return 0;
}

static uint8_t *put_record(uint8_t *at,
                           const struct sp_record *record,
                           size_t size,
                           int64_t timestamp_delta,
                           int64_t offset_delta)
{
    at = put_varint(at, (int64_t)size);
    *at++ = 0; /* attributes: none are defined */
    at = put_varint(at, timestamp_delta);
    at = put_varint(at, offset_delta);
    at = put_bytes(at, record->key);
    at = put_bytes(at, record->value);
    at = put_varint(at, (int64_t)record->header_count);
    for (size_t i = 0; i < record->header_count; i++) {
        at = put_bytes(at, record->headers[i].name);
        at = put_bytes(at, record->headers[i].value);
    }
    return at;
}

int sp_batch_builder_add(struct sp_batch_builder *builder, const struct sp_record *record)
{
    int64_t base = builder->count == 0 ? record->timestamp_ms : builder->base_timestamp_ms;
    size_t room = builder->records.size_max - builder->records.size;
    size_t size = 0;
    uint8_t *at = NULL;
    int rv = check_record(record);

    if (rv != 0) {
        return rv;
    }
    if (builder->count == SP_RECORDS_PER_BATCH_MAX) {
        return SPATE_ERR_TOO_LARGE;
    }
    rv = record_size(record, record->timestamp_ms - base, builder->count, room, &size);
    if (rv == 0) {
        rv = sp_buf_reserve(&builder->records, size + varint_size((int64_t)size), &at);
    }
    if (rv != 0) {
        return rv;
    }
    uint8_t *end = put_record(at, record, size, record->timestamp_ms - base, builder->count);
    sp_buf_grow(&builder->records, (size_t)(end - at));
    if (builder->count == 0 || record->timestamp_ms > builder->max_timestamp_ms) {
        builder->max_timestamp_ms = record->timestamp_ms;
    }
    builder->base_timestamp_ms = base;
    builder->count += 1;
    return 0;
}

/* Who sends the batch, for its header. */
struct producer {
    int64_t id;
    int16_t epoch;
    int32_t base_sequence;
};

/* Writes the header in front of the records, which stand at bytes + SP_BATCH_HEADER_SIZE already.
 */
static void seal(const struct sp_batch_builder *builder,
                 const struct producer *producer,
                 enum sp_compression compression,
                 uint8_t *bytes,
                 size_t size)
{
    sp_batch_set_offset(bytes, 0, -1);
    batch_put(bytes + BATCH_LENGTH, 4, size - BATCH_LENGTH_EXCESS);
    bytes[BATCH_MAGIC] = BATCH_VERSION;
    batch_put(bytes + BATCH_ATTRIBUTES, 2, (uint64_t)compression);
    batch_put(bytes + BATCH_LAST_OFFSET_DELTA, 4, (uint64_t)builder->count - 1);
    batch_put(bytes + BATCH_BASE_TIMESTAMP, 8, (uint64_t)builder->base_timestamp_ms);
    batch_put(bytes + BATCH_MAX_TIMESTAMP, 8, (uint64_t)builder->max_timestamp_ms);
    batch_put(bytes + BATCH_PRODUCER_ID, 8, (uint64_t)producer->id);
    batch_put(bytes + BATCH_PRODUCER_EPOCH, 2, (uint64_t)producer->epoch);
    batch_put(bytes + BATCH_BASE_SEQUENCE, 4, (uint64_t)producer->base_sequence);
    batch_put(bytes + BATCH_RECORD_COUNT, 4, (uint64_t)builder->count);
    batch_put(
        bytes + BATCH_CRC, 4, sp_crc32c(0, bytes + BATCH_ATTRIBUTES, size - BATCH_ATTRIBUTES));
}

/* Appends the batch around these records, which are compressed as said. */
static int append_batch(const struct sp_batch_builder *builder,
                        const struct producer *producer,
                        enum sp_compression compression,
                        struct sp_bytes records,
                        struct sp_buf *out)
{
    size_t size = SP_BATCH_HEADER_SIZE + records.size;
    uint8_t *bytes = NULL;
    int rv = sp_buf_reserve(out, size, &bytes);

    if (rv != 0) {
        return rv;
    }
    memcpy(bytes + SP_BATCH_HEADER_SIZE, records.bytes, records.size);
    seal(builder, producer, compression, bytes, size);
    sp_buf_grow(out, size);
    return 0;
}

int sp_batch_builder_finish(struct sp_batch_builder *builder,
                            int64_t producer_id,
                            int16_t producer_epoch,
                            int32_t base_sequence,
                            struct sp_buf *out)
{
    SP_ASSERT(builder->count > 0);
    struct producer producer = { producer_id, producer_epoch, base_sequence };
    struct sp_bytes plain = sp_bytes_of(builder->records.bytes, builder->records.size);
    struct sp_buf packed;

    if (builder->compression == SP_COMPRESSION_NONE) {
        return append_batch(builder, &producer, SP_COMPRESSION_NONE, plain, out);
    }
    int rv = sp_lz4_compress(plain, &packed);
    if (rv != 0) {
        return rv;
    }
    if (packed.size < plain.size) {
        struct sp_bytes smaller = sp_bytes_of(packed.bytes, packed.size);
        rv = append_batch(builder, &producer, SP_COMPRESSION_LZ4, smaller, out);
    } else {
        rv = append_batch(builder, &producer, SP_COMPRESSION_NONE, plain, out);
    }
    sp_buf_deinit(&packed);
    return rv;
}
