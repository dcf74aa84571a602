#include "wire/batch_filter.h"

#include "base/crc32c.h"
#include "spate/error.h"
#include "wire/batch_format.h"
#include "wire/compress.h"

/* What is left of a batch. */
struct rest {
    struct sp_buf records; /* their bytes, not compressed */
    int32_t count;
    int64_t max_timestamp_ms;
};

static int collect(struct sp_batch_reader *reader, sp_batch_keep keep, void *arg, struct rest *rest)
{
    struct sp_record_view record;
    size_t begin = reader->position;
    int rv = 0;

    while (rv == 0 && sp_batch_reader_next(reader, &record)) {
        if (keep(arg, &record)) {
            rv = sp_buf_append(&rest->records, reader->records + begin, reader->position - begin);
            rest->count += 1;
            if (rest->count == 1 || record.timestamp_ms > rest->max_timestamp_ms) {
                rest->max_timestamp_ms = record.timestamp_ms;
            }
        }
        begin = reader->position;
    }
    return rv == 0 ? sp_batch_reader_status(reader) : rv;
}

static int append_rest(struct sp_bytes batch,
                       const struct rest *rest,
                       struct sp_bytes records,
                       enum sp_compression compression,
                       struct sp_buf *out)
{
    uint64_t attributes = batch_get(batch.bytes + BATCH_ATTRIBUTES, 2);
    size_t size = SP_BATCH_HEADER_SIZE + records.size;
    uint8_t *bytes = NULL;
    int rv = sp_buf_reserve(out, size, &bytes);

    if (rv != 0) {
        return rv;
    }
    attributes = (attributes & ~(uint64_t)BATCH_COMPRESSION_MASK) | (uint64_t)compression;
    memcpy(bytes, batch.bytes, SP_BATCH_HEADER_SIZE);
    if (records.size > 0) {
        memcpy(bytes + SP_BATCH_HEADER_SIZE, records.bytes, records.size);
    }
    batch_put(bytes + BATCH_LENGTH, 4, size - BATCH_LENGTH_EXCESS);
    batch_put(bytes + BATCH_ATTRIBUTES, 2, attributes);
    batch_put(bytes + BATCH_RECORD_COUNT, 4, (uint64_t)rest->count);
    if (rest->count > 0) {
        batch_put(bytes + BATCH_MAX_TIMESTAMP, 8, (uint64_t)rest->max_timestamp_ms);
    }
    batch_put(
        bytes + BATCH_CRC, 4, sp_crc32c(0, bytes + BATCH_ATTRIBUTES, size - BATCH_ATTRIBUTES));
    sp_buf_grow(out, size);
    return 0;
}

/* Records that do not get smaller are left as they are. */
static int pack_rest(struct sp_bytes batch,
                     const struct rest *rest,
                     enum sp_compression compression,
                     struct sp_buf *out)
{
    struct sp_bytes plain = sp_bytes_of(rest->records.bytes, rest->records.size);
    struct sp_buf packed;

    if (compression == SP_COMPRESSION_NONE || plain.size == 0) {
        return append_rest(batch, rest, plain, SP_COMPRESSION_NONE, out);
    }
    int rv = sp_lz4_compress(plain, &packed);
    if (rv != 0) {
        return rv;
    }
    if (packed.size < plain.size) {
        plain = sp_bytes_of(packed.bytes, packed.size);
        rv = append_rest(batch, rest, plain, SP_COMPRESSION_LZ4, out);
    } else {
        rv = append_rest(batch, rest, plain, SP_COMPRESSION_NONE, out);
    }
    sp_buf_deinit(&packed);
    return rv;
}

int sp_batch_filter(
    struct sp_bytes batch, sp_batch_keep keep, void *arg, struct sp_buf *out, int32_t *out_kept)
{
    struct sp_batch_reader reader;
    struct rest rest = { .count = 0 };
    int rv =
        sp_batch_reader_init(&reader, batch.bytes, batch.size, SP_BATCH_DECOMPRESSED_BYTES_MAX);

    if (rv != 0) {
        return rv;
    }
    sp_buf_init(&rest.records, SP_BATCH_DECOMPRESSED_BYTES_MAX);
    rv = collect(&reader, keep, arg, &rest);
    if (rv == 0 && rest.count < reader.header.record_count) {
        rv = pack_rest(batch, &rest, reader.header.compression, out);
    }
    if (rv == 0) {
        *out_kept = rest.count;
    }
    sp_buf_deinit(&rest.records);
    sp_batch_reader_deinit(&reader);
    return rv;
}
