#include "wire/records.h"

#include <stddef.h>
#include <stdio.h>

#include "spate/error.h"
#include "wire/fields.h"

/* Elements that an array of records may have in all, so that with a message around it any framer of
 * Spate still takes it. */
#define ELEMENTS_MAX (SP_MESSAGE_ELEMENTS_MAX - 64)
#define ELEMENTS_PER_RECORD 11 /* the map, five keys, five values */
#define ELEMENTS_PER_HEADER 3  /* the pair, name, value */
#define ARRAY32_TAG 0xdd
#define ARRAY32_SIZE 5

#define TIMESTAMP_ABSENT INT64_MIN

struct plain_record {
    struct sp_bytes key;
    struct sp_bytes value;
    struct sp_bytes headers; /* encoded */
    int64_t timestamp_ms;
};

static const struct sp_field record_fields[] = {
    { "k", SP_FIELD_BYTES, .optional = true, .position = offsetof(struct plain_record, key) },
    { "v", SP_FIELD_BYTES, .optional = true, .position = offsetof(struct plain_record, value) },
    { "h", SP_FIELD_VALUE, .optional = true, .position = offsetof(struct plain_record, headers) },
    { "t",
      SP_FIELD_I64,
      .optional = true,
      .position = offsetof(struct plain_record, timestamp_ms),
      .min = -SP_TIMESTAMP_MS_MAX,
      .max = SP_TIMESTAMP_MS_MAX,
      .absent = TIMESTAMP_ABSENT },
};
static const struct sp_shape record_shape = { NULL,
                                              record_fields,
                                              sizeof record_fields / sizeof record_fields[0] };

static int fail(struct sp_api_error *error, int code, const char *text)
{
    if (error != NULL) {
        (void)snprintf(error->text, sizeof error->text, "%s", text);
    }
    return code;
}

/* ---- plain records to a batch ---- */

static struct sp_record_header take_header(struct sp_cursor *cursor, bool pairs)
{
    struct sp_record_header header;

    if (pairs && sp_cursor_array(cursor) != 2) {
        sp_cursor_fail(cursor, SPATE_ERR_INVALID);
    }
    header.name = sp_cursor_text(cursor);
    header.value = sp_cursor_nil(cursor) ? sp_bytes_null() : sp_cursor_bytes(cursor);
    return header;
}

/* Reads a map, or an array of pairs, into `headers`, which has room for SP_RECORD_HEADERS_MAX. */
static int take_headers(struct sp_bytes encoded,
                        struct sp_record_header *headers,
                        size_t *out_count,
                        struct sp_api_error *error)
{
    struct sp_cursor cursor = sp_cursor_of(encoded);
    bool pairs = sp_cursor_peek(&cursor) == SP_CURSOR_ARRAY;

    *out_count = 0;
    if (encoded.bytes == NULL) {
        return 0;
    }
    size_t count = pairs ? sp_cursor_array(&cursor) : sp_cursor_map(&cursor);
    if (count > SP_RECORD_HEADERS_MAX) {
        return fail(error, SPATE_ERR_INVALID, "field `h` has too many headers");
    }
    for (size_t i = 0; i < count; i++) {
        headers[i] = take_header(&cursor, pairs);
    }
    if (cursor.status != 0) {
        return fail(error,
                    cursor.status,
                    "field `h` must be a map or an array of [name, value], names in UTF-8");
    }
    *out_count = count;
    return 0;
}

static int add_plain(struct sp_cursor *cursor,
                     int64_t timestamp_ms,
                     struct sp_batch_builder *builder,
                     struct sp_api_error *error)
{
    struct sp_record_header headers[SP_RECORD_HEADERS_MAX];
    struct plain_record plain = { .timestamp_ms = TIMESTAMP_ABSENT };
    struct sp_record record = { .headers = headers };
    int rv = sp_shape_decode(&record_shape, cursor, &plain, error);

    if (rv == 0) {
        rv = take_headers(plain.headers, headers, &record.header_count, error);
    }
    if (rv != 0) {
        return rv;
    }
    record.key = plain.key;
    record.value = plain.value;
    record.timestamp_ms =
        plain.timestamp_ms == TIMESTAMP_ABSENT ? timestamp_ms : plain.timestamp_ms;
    rv = sp_batch_builder_add(builder, &record);
    return rv == 0 ? 0 : fail(error, rv, "the records are larger than one batch may be");
}

int sp_records_to_batch(struct sp_bytes array,
                        int64_t timestamp_ms,
                        struct sp_batch_builder *builder,
                        struct sp_api_error *error)
{
    struct sp_cursor cursor = sp_cursor_of(array);
    uint32_t count = sp_cursor_array(&cursor);

    if (cursor.status != 0 || count == 0) {
        int code = cursor.status != 0 ? cursor.status : SPATE_ERR_INVALID;
        return fail(error, code, "field `records` must be an array of at least one record");
    }
    for (uint32_t i = 0; i < count; i++) {
        struct sp_api_error inner = { "" };
        int rv = add_plain(&cursor, timestamp_ms, builder, &inner);
        if (rv != 0 && error != NULL) {
            (void)snprintf(error->text,
                           sizeof error->text,
                           "record %u: %.*s",
                           (unsigned)i,
                           (int)(sizeof error->text - sizeof "record 4294967295: "),
                           inner.text);
        }
        if (rv != 0) {
            return rv;
        }
    }
    if (sp_cursor_finish(&cursor) != 0) {
        return fail(error, SPATE_ERR_MALFORMED, "bytes are left over behind the records");
    }
    return 0;
}

/* ---- batches to plain records ---- */

/* An array in the making. Its count is written at the end, into an array32 header. */
struct plain_array {
    struct sp_pack *pack;
    size_t position; /* of the header in the buffer */
    int64_t offset_min;
    size_t size_max;
    uint32_t count;
    uint64_t elements;
    bool full;
};

static void pack_headers(struct sp_pack *pack, const struct sp_record_view *record)
{
    struct sp_record_header header;
    size_t position = 0;

    sp_pack_array(pack, record->header_count);
    while (sp_record_header_next(record, &position, &header)) {
        sp_pack_array(pack, 2);
        sp_pack_str(pack, header.name);
        sp_pack_bin(pack, header.value);
    }
}

static void pack_record(struct sp_pack *pack, const struct sp_record_view *record)
{
    sp_pack_map(pack, 5);
    sp_pack_text(pack, "o");
    sp_pack_int(pack, record->offset);
    sp_pack_text(pack, "t");
    sp_pack_int(pack, record->timestamp_ms);
    sp_pack_text(pack, "k");
    sp_pack_bin(pack, record->key);
    sp_pack_text(pack, "v");
    sp_pack_bin(pack, record->value);
    sp_pack_text(pack, "h");
    pack_headers(pack, record);
}

/* Adds a record, or takes it back and marks the array as full. A first record that alone is too
 * large stays: the reader could never get past it otherwise. */
static void append_record(struct plain_array *array, const struct sp_record_view *record)
{
    uint64_t elements = ELEMENTS_PER_RECORD + (uint64_t)record->header_count * ELEMENTS_PER_HEADER;
    struct sp_buf *buf = array->pack->buf;
    size_t before = buf->size;

    if (array->count > 0 && array->elements + elements > ELEMENTS_MAX) {
        array->full = true;
        return;
    }
    pack_record(array->pack, record);
    bool too_large = array->pack->status == SPATE_ERR_TOO_LARGE ||
                     (array->pack->status == 0 && buf->size - array->position > array->size_max);
    if (array->count > 0 && too_large) {
        buf->size = before;
        array->pack->status = 0;
        array->full = true;
        return;
    }
    array->elements += elements;
    array->count += 1;
}

static int append_batch(struct plain_array *array, struct sp_bytes batch)
{
    struct sp_batch_reader reader;
    struct sp_record_view record;
    int rv =
        sp_batch_reader_init(&reader, batch.bytes, batch.size, SP_BATCH_DECOMPRESSED_BYTES_MAX);

    while (rv == 0 && !array->full && sp_batch_reader_next(&reader, &record)) {
        if (record.offset >= array->offset_min) {
            append_record(array, &record);
        }
        rv = array->pack->status;
    }
    if (rv == 0) {
        rv = sp_batch_reader_status(&reader);
    }
    sp_batch_reader_deinit(&reader);
    return rv;
}

static void set_count(struct plain_array *array)
{
    uint8_t *header = array->pack->buf->bytes + array->position;

    for (size_t i = 0; i < 4; i++) {
        header[ARRAY32_SIZE - 1 - i] = (uint8_t)(array->count >> (8 * i));
    }
}

int sp_batch_to_records(struct sp_bytes batches,
                        int64_t offset_min,
                        size_t size_max_bytes,
                        struct sp_pack *pack)
{
    static const uint8_t header[ARRAY32_SIZE] = { ARRAY32_TAG };
    struct plain_array array = { .pack = pack,
                                 .position = pack->buf->size,
                                 .offset_min = offset_min,
                                 .size_max = size_max_bytes };
    struct sp_bytes batch;
    size_t position = 0;
    int rv = 0;

    sp_pack_raw(pack, sp_bytes_of(header, sizeof header));
    rv = pack->status;
    while (rv == 0 && !array.full) {
        rv = sp_batch_next(batches.bytes, batches.size, &position, &batch);
        if (rv == 0) {
            rv = append_batch(&array, batch);
        }
    }
    if (rv != 0 && rv != SPATE_ERR_NOT_FOUND) {
        sp_pack_fail(pack, rv);
        return rv;
    }
    set_count(&array);
    return 0;
}
