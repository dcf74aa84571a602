#include "base/mem.h"
#include "spate/error.h"
#include "wire/batch.h"
#include "wire/batch_format.h"
#include "wire/compress.h"

#define VARINT_SIZE_MAX 10 /* 64 bits, seven a byte */
#define HEADER_SIZE_MIN 2  /* an empty name and an empty value */

/* A place in bytes that may lie about everything; `bad` sticks. */
struct source {
    const uint8_t *bytes;
    size_t size;
    size_t position;
    bool bad;
};

/* Zigzag: 0, -1, 1, -2, ... are 0, 1, 2, 3, ... */
static int64_t signed_of(uint64_t bits)
{
    return (int64_t)((bits >> 1) ^ (0 - (bits & 1)));
}

static int64_t take_long_varint(struct source *source)
{
    uint64_t bits = 0;

    for (unsigned i = 0; i < VARINT_SIZE_MAX && source->position < source->size; i++) {
        uint8_t byte = source->bytes[source->position];
        source->position += 1;
        bits |= (uint64_t)(byte & 0x7f) << (7 * i);
        if ((byte & 0x80) == 0) {
            return signed_of(bits);
        }
    }
    source->bad = true;
    return 0;
}

/* Six of them make a record, nearly all of one byte or two: these are taken without a loop. */
static inline int64_t take_varint(struct source *source)
{
    const uint8_t *at = source->bytes + source->position;
    size_t left = source->size - source->position;

    if (left >= 1 && at[0] < 0x80) {
        source->position += 1;
        return signed_of(at[0]);
    }
    if (left >= 2 && at[1] < 0x80) {
        source->position += 2;
        return signed_of((uint64_t)(at[0] & 0x7f) | (uint64_t)at[1] << 7);
    }
    return take_long_varint(source);
}

/* A whole number of 0 to `max`. */
static size_t take_count(struct source *source, size_t max)
{
    int64_t value = take_varint(source);

    if (source->bad || value < 0 || (uint64_t)value > max) {
        source->bad = true;
        return 0;
    }
    return (size_t)value;
}

static struct sp_bytes take_bytes(struct source *source, bool nullable)
{
    int64_t size = take_varint(source);
    size_t left = source->size - source->position;

    if (!source->bad && nullable && size == -1) {
        return sp_bytes_null();
    }
    if (source->bad || size < 0 || (uint64_t)size > left) {
        source->bad = true;
        return sp_bytes_null();
    }
    struct sp_bytes bytes = sp_bytes_of(source->bytes + source->position, (size_t)size);
    source->position += (size_t)size;
    return bytes;
}

/* The attributes of a record: one byte without a meaning so far. */
static void skip_attributes(struct source *source)
{
    if (source->position == source->size) {
        source->bad = true;
        return;
    }
    source->position += 1;
}

static struct sp_record_header take_header(struct source *source)
{
    struct sp_record_header header;

    header.name = take_bytes(source, false);
    header.value = take_bytes(source, true);
    return header;
}

/* base + delta, or false when no 64-bit number holds it. */
static bool add_checked(int64_t base, int64_t delta, int64_t *out_sum)
{
    if (delta > 0 ? base > INT64_MAX - delta : base < INT64_MIN - delta) {
        return false;
    }
    *out_sum = base + delta;
    return true;
}

/* The part of a record behind its size field, which is all of `source`. */
static bool take_record_body(struct source *source,
                             const struct sp_batch_header *batch,
                             int32_t *delta_min,
                             struct sp_record_view *out_record)
{
    bool dense = batch->record_count - 1 == batch->last_offset_delta;
    struct sp_record_view record;

    skip_attributes(source);
    int64_t timestamp_delta = take_varint(source);
    int64_t delta = take_varint(source);
    record.key = take_bytes(source, true);
    record.value = take_bytes(source, true);
    size_t left = source->size - source->position;
    record.header_count = (uint32_t)take_count(source, left / HEADER_SIZE_MIN);
    size_t headers = source->position;
    for (uint32_t i = 0; i < record.header_count && !source->bad; i++) {
        (void)take_header(source); /* looked at only: sp_record_header_next takes it again */
    }
    if (source->bad || source->position != source->size || delta < *delta_min ||
        delta > (dense ? *delta_min : batch->last_offset_delta) ||
        !add_checked(batch->base_offset, delta, &record.offset) ||
        !add_checked(batch->base_timestamp_ms, timestamp_delta, &record.timestamp_ms)) {
        return false;
    }
    if (batch->log_append_time) {
        record.timestamp_ms = batch->max_timestamp_ms;
    }
    record.encoded_headers = sp_bytes_of(source->bytes + headers, source->size - headers);
    *delta_min = (int32_t)delta + 1;
    *out_record = record;
    return true;
}

int sp_batch_reader_open(struct sp_batch_reader *reader,
                         const struct sp_batch_header *header,
                         const uint8_t *bytes,
                         size_t decompressed_max_bytes)
{
    *reader = (struct sp_batch_reader){
        .header = *header,
        .records = bytes + SP_BATCH_HEADER_SIZE,
        .records_size = header->size_bytes - SP_BATCH_HEADER_SIZE,
    };
    if (header->compression == SP_COMPRESSION_NONE || header->record_count == 0) {
        return 0;
    }
    struct sp_bytes packed = sp_bytes_of(reader->records, reader->records_size);
    int rv = sp_lz4_decompress(
        packed, decompressed_max_bytes, &reader->decompressed, &reader->records_size);
    reader->records = reader->decompressed;
    return rv;
}

int sp_batch_reader_init(struct sp_batch_reader *reader,
                         const uint8_t *bytes,
                         size_t size,
                         size_t decompressed_max_bytes)
{
    struct sp_batch_header header;

    *reader = (struct sp_batch_reader){ .status = 0 };
    int rv = sp_batch_check(bytes, size, &header);
    if (rv == 0) {
        rv = sp_batch_reader_open(reader, &header, bytes, decompressed_max_bytes);
    }
    return rv;
}

void sp_batch_reader_deinit(struct sp_batch_reader *reader)
{
    sp_mem_free(reader->decompressed);
    *reader = (struct sp_batch_reader){ .status = SPATE_ERR_CLOSED };
}

bool sp_batch_reader_next(struct sp_batch_reader *reader, struct sp_record_view *out_record)
{
    struct source source = { .bytes = reader->records,
                             .size = reader->records_size,
                             .position = reader->position };

    if (reader->status != 0) {
        return false;
    }
    if (reader->count == reader->header.record_count) {
        reader->status = reader->position == reader->records_size ? 0 : SPATE_ERR_CORRUPT;
        return false;
    }
    size_t body = take_count(&source, reader->records_size);
    struct source record = { .bytes = source.bytes + source.position, .size = body };
    if (source.bad || body > source.size - source.position ||
        !take_record_body(&record, &reader->header, &reader->delta_min, out_record)) {
        reader->status = SPATE_ERR_CORRUPT;
        return false;
    }
    reader->position = source.position + body;
    reader->count += 1;
    return true;
}

int sp_batch_reader_status(const struct sp_batch_reader *reader)
{
    return reader->status;
}

bool sp_record_header_next(const struct sp_record_view *record,
                           size_t *position,
                           struct sp_record_header *out_header)
{
    struct source source = { .bytes = record->encoded_headers.bytes,
                             .size = record->encoded_headers.size,
                             .position = *position };

    if (source.position >= source.size) {
        return false;
    }
    struct sp_record_header header = take_header(&source);
    if (source.bad) {
        return false;
    }
    *position = source.position;
    *out_header = header;
    return true;
}
