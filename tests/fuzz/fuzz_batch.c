/* Fuzzes record batches: what passes deep validation must be read to its last record, with and
 * without the conversion to plain records. Size and crc are made right first, since chance never
 * gets past them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/mem.h"
#include "spate/error.h"
#include "wire/batch.h"
#include "wire/records.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PLAIN_MAX (1 << 20)

static void check(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void put_u32(uint8_t *bytes, size_t value)
{
    for (unsigned i = 0; i < 4; i++) {
        bytes[i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

/* The first byte chooses what is mended. */
static void mend(uint8_t *bytes, size_t size, uint8_t choice)
{
    if (size < SP_BATCH_HEADER_SIZE) {
        return;
    }
    if ((choice & 1) != 0) {
        put_u32(bytes + 8, size - 12);
    }
    if ((choice & 2) != 0) {
        put_u32(bytes + 17, sp_crc32c(0, bytes + 21, size - 21));
    }
}

/* Reads everything; returns the count of records, or an error. */
static int64_t read_all(const uint8_t *bytes, size_t size)
{
    struct sp_batch_reader reader;
    struct sp_record_view record;
    int64_t count = 0;
    int rv = sp_batch_reader_init(&reader, bytes, size, PLAIN_MAX);

    while (rv == 0 && sp_batch_reader_next(&reader, &record)) {
        struct sp_record_header header;
        size_t position = 0;
        uint32_t headers = 0;
        while (sp_record_header_next(&record, &position, &header)) {
            headers += 1;
        }
        check(headers == record.header_count);
        check(position == record.encoded_headers.size);
        count += 1;
    }
    if (rv == 0) {
        rv = sp_batch_reader_status(&reader);
    }
    sp_batch_reader_deinit(&reader);
    return rv == 0 ? count : rv;
}

static void convert(const uint8_t *bytes, size_t size, bool sound)
{
    struct sp_buf buf;
    struct sp_pack pack;

    sp_buf_init(&buf, PLAIN_MAX);
    sp_pack_init(&pack, &buf);
    int rv = sp_batch_to_records(sp_bytes_of(bytes, size), INT64_MIN, PLAIN_MAX, &pack);
    check(rv == sp_pack_status(&pack));
    check(rv == 0 || rv == SPATE_ERR_TOO_LARGE || !sound);
    if (rv == 0) {
        struct sp_cursor cursor = sp_cursor_of(sp_bytes_of(buf.bytes, buf.size));
        sp_cursor_skip(&cursor);
        check(sp_cursor_finish(&cursor) == 0);
    }
    sp_buf_deinit(&buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sp_batch_header header = { .record_count = 0 };
    struct sp_bytes batch;
    size_t position = 0;

    if (size < 1) {
        return 0;
    }
    size -= 1;
    uint8_t *bytes = malloc(size > 0 ? size : 1);
    check(bytes != NULL);
    memcpy(bytes, data + 1, size);
    mend(bytes, size, data[0]);
    int shallow = sp_batch_validate(bytes, size, size, NULL);
    int deep = sp_batch_validate_deep(bytes, size, size, PLAIN_MAX, &header);
    int64_t count = read_all(bytes, size);
    check(deep != 0 || (shallow == 0 && count == header.record_count));
    check(shallow == 0 || deep == shallow);
    while (sp_batch_next(bytes, size, &position, &batch) == 0) {
        check(batch.size >= SP_BATCH_HEADER_SIZE);
    }
    convert(bytes, size, deep == 0);
    free(bytes);
    check(sp_mem_live_count() == 0);
    return 0;
}
