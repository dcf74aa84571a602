#include "wire/fields.h"

#include <stdio.h>

#include "base/assert.h"
#include "spate/error.h"
#include "wire/fields_member.h"

static void init_field(const struct sp_field *field, void *value)
{
    switch (field->type) {
    case SP_FIELD_I16:
    case SP_FIELD_I32:
    case SP_FIELD_I64:
    case SP_FIELD_BOOL:
    case SP_FIELD_AT:
    case SP_FIELD_FORMAT:
        field_put_number(field, value, field->absent);
        break;
    case SP_FIELD_TEXT:
    case SP_FIELD_BYTES:
    case SP_FIELD_TEXTS:
    case SP_FIELD_MAP:
    case SP_FIELD_VALUE:
        field_put_bytes(field, value, sp_bytes_null());
        break;
    case SP_FIELD_RECORDS:
        field_put_records(field, value, (struct sp_records){ sp_bytes_null(), sp_bytes_null() });
        break;
    case SP_FIELD_SHAPE:
        sp_shape_init(field->inner, field_inner_of(field, value));
        break;
    }
}

void sp_shape_init(const struct sp_shape *shape, void *value)
{
    for (size_t i = 0; i < shape->field_count; i++) {
        init_field(&shape->fields[i], value);
    }
}

/* Says what is wrong, with a field or (NULL) with the whole: "produce: field `topic` is missing".
 * The text is cut to its size. */
static int invalid(const struct sp_shape *shape,
                   const struct sp_field *field,
                   struct sp_api_error *error,
                   const char *fault)
{
    if (error != NULL) {
        (void)snprintf(error->text,
                       sizeof error->text,
                       "%s%s%s%s%s%s",
                       shape->name == NULL ? "" : shape->name,
                       shape->name == NULL ? "" : ": ",
                       field == NULL ? "" : "field `",
                       field == NULL ? "" : field->name,
                       field == NULL ? "" : "` ",
                       fault);
    }
    return SPATE_ERR_INVALID;
}

/* What a value must be, as the end of "field `x` must be ...". */
static const char *wanted(enum sp_field_type type)
{
    switch (type) {
    case SP_FIELD_I16:
    case SP_FIELD_I32:
    case SP_FIELD_I64:
        return "must be a whole number";
    case SP_FIELD_BOOL:
        return "must be true or false";
    case SP_FIELD_AT:
        return "must be \"earliest\", \"latest\" or a time in milliseconds";
    case SP_FIELD_FORMAT:
        return "must be \"batch\" or \"records\"";
    case SP_FIELD_TEXT:
        return "must be a text in UTF-8";
    case SP_FIELD_BYTES:
        return "must be bytes or a text";
    case SP_FIELD_TEXTS:
        return "must be an array of texts";
    case SP_FIELD_MAP:
        return "must be a map of texts";
    case SP_FIELD_VALUE:
        return "must be a value";
    case SP_FIELD_RECORDS:
        return "must be bytes (a RecordBatch) or an array of records";
    case SP_FIELD_SHAPE:
        return "must be a map";
    }
    return "is wrong";
}

static int decode_number(const struct sp_shape *shape,
                         const struct sp_field *field,
                         struct sp_cursor *cursor,
                         void *value,
                         struct sp_api_error *error)
{
    char fault[96];
    int64_t number = sp_cursor_int(cursor, INT64_MIN, INT64_MAX);

    if (cursor->status != 0) {
        return invalid(shape, field, error, wanted(field->type));
    }
    if (number < field->min || number > field->max) {
        (void)snprintf(fault,
                       sizeof fault,
                       "must be from %lld to %lld",
                       (long long)field->min,
                       (long long)field->max); /* 96 bytes hold any two numbers */
        return invalid(shape, field, error, fault);
    }
    field_put_number(field, value, number);
    return 0;
}

/* The number that a text stands for, or -1 with the cursor's status set. */
static int64_t take_format(struct sp_cursor *cursor)
{
    struct sp_bytes text = sp_cursor_bytes(cursor);

    for (size_t i = 0; i < sizeof field_format_names / sizeof field_format_names[0]; i++) {
        if (sp_bytes_equal_text(text, field_format_names[i])) {
            return (int64_t)i;
        }
    }
    sp_cursor_fail(cursor, SPATE_ERR_INVALID);
    return -1;
}

static int64_t take_bool(struct sp_cursor *cursor)
{
    return sp_cursor_peek(cursor) == SP_CURSOR_BOOL ? sp_cursor_bool(cursor)
                                                    : sp_cursor_int(cursor, 0, 1);
}

static int64_t take_at(struct sp_cursor *cursor)
{
    if (sp_cursor_peek(cursor) != SP_CURSOR_STR) {
        return sp_cursor_int(cursor, SP_OFFSETS_AT_EARLIEST, SP_API_WHOLE_MAX);
    }
    struct sp_bytes text = sp_cursor_bytes(cursor);
    if (sp_bytes_equal_text(text, "latest")) {
        return SP_OFFSETS_AT_LATEST;
    }
    if (!sp_bytes_equal_text(text, "earliest")) {
        sp_cursor_fail(cursor, SPATE_ERR_INVALID);
    }
    return SP_OFFSETS_AT_EARLIEST;
}

/* Passes over an array or map that holds only texts and returns its encoded bytes. */
static struct sp_bytes take_texts(struct sp_cursor *cursor, enum sp_field_type type)
{
    struct sp_cursor inside = *cursor;
    uint64_t count =
        type == SP_FIELD_MAP ? (uint64_t)sp_cursor_map(&inside) * 2 : sp_cursor_array(&inside);

    for (uint64_t i = 0; i < count && inside.status == 0; i++) {
        (void)sp_cursor_text(&inside); /* only its status counts */
    }
    if (inside.status != 0) {
        sp_cursor_fail(cursor, inside.status);
        return sp_bytes_null();
    }
    return sp_cursor_raw(cursor);
}

static struct sp_records take_records(struct sp_cursor *cursor)
{
    struct sp_records records = { sp_bytes_null(), sp_bytes_null() };

    if (sp_cursor_peek(cursor) == SP_CURSOR_ARRAY) {
        records.array = sp_cursor_raw(cursor);
    } else {
        records.batch = sp_cursor_bytes(cursor);
    }
    return records;
}

static struct sp_bytes take_bytes(const struct sp_field *field, struct sp_cursor *cursor)
{
    if (field->type == SP_FIELD_TEXT) {
        return sp_cursor_text(cursor);
    }
    if (field->type == SP_FIELD_BYTES) {
        return sp_cursor_bytes(cursor);
    }
    if (field->type == SP_FIELD_VALUE) {
        return sp_cursor_raw(cursor);
    }
    return take_texts(cursor, field->type);
}

static int check_text(const struct sp_shape *shape,
                      const struct sp_field *field,
                      const void *value,
                      struct sp_api_error *error)
{
    char fault[64];

    if (field->type != SP_FIELD_TEXT || field->max == 0 ||
        field_get_bytes(field, value).size <= (size_t)field->max) {
        return 0;
    }
    (void)snprintf(fault, sizeof fault, "is longer than %lld bytes", (long long)field->max);
    return invalid(shape, field, error, fault);
}

/* Reads one value that is not nil. */
static int decode_field(const struct sp_shape *shape,
                        const struct sp_field *field,
                        struct sp_cursor *cursor,
                        void *value,
                        struct sp_api_error *error)
{
    switch (field->type) {
    case SP_FIELD_I16:
    case SP_FIELD_I32:
    case SP_FIELD_I64:
        return decode_number(shape, field, cursor, value, error);
    case SP_FIELD_BOOL:
        field_put_number(field, value, take_bool(cursor));
        break;
    case SP_FIELD_AT:
        field_put_number(field, value, take_at(cursor));
        break;
    case SP_FIELD_FORMAT:
        field_put_number(field, value, take_format(cursor));
        break;
    case SP_FIELD_TEXT:
    case SP_FIELD_BYTES:
    case SP_FIELD_TEXTS:
    case SP_FIELD_MAP:
    case SP_FIELD_VALUE:
        field_put_bytes(field, value, take_bytes(field, cursor));
        break;
    case SP_FIELD_RECORDS:
        field_put_records(field, value, take_records(cursor));
        break;
    case SP_FIELD_SHAPE:
        return sp_shape_decode(field->inner, cursor, field_inner_of(field, value), error);
    }
    if (cursor->status != 0) {
        return invalid(shape, field, error, wanted(field->type));
    }
    return check_text(shape, field, value, error);
}

static const struct sp_field *find_field(const struct sp_shape *shape, struct sp_bytes key)
{
    for (size_t i = 0; i < shape->field_count; i++) {
        if (sp_bytes_equal_text(key, shape->fields[i].name)) {
            return &shape->fields[i];
        }
    }
    return NULL;
}

/* Reads the next key; a key that is no str, which no field has, gives null. */
static struct sp_bytes take_key(struct sp_cursor *cursor)
{
    if (sp_cursor_peek(cursor) == SP_CURSOR_STR) {
        return sp_cursor_bytes(cursor);
    }
    sp_cursor_skip(cursor);
    return sp_bytes_null();
}

/* Reads one pair. The sets have a bit per field: keys seen, and values that were not nil. */
static int decode_pair(const struct sp_shape *shape,
                       struct sp_cursor *cursor,
                       void *value,
                       uint32_t *seen,
                       uint32_t *present,
                       struct sp_api_error *error)
{
    const struct sp_field *field = find_field(shape, take_key(cursor));

    if (field == NULL) {
        sp_cursor_skip(cursor);
        return 0;
    }
    uint32_t bit = UINT32_C(1) << (field - shape->fields);
    if ((*seen & bit) != 0) {
        return invalid(shape, field, error, "is given twice");
    }
    *seen |= bit;
    if (sp_cursor_nil(cursor)) {
        return 0;
    }
    *present |= bit;
    return decode_field(shape, field, cursor, value, error);
}

static int check_missing(const struct sp_shape *shape, uint32_t present, struct sp_api_error *error)
{
    for (size_t i = 0; i < shape->field_count; i++) {
        if (!shape->fields[i].optional && (present & UINT32_C(1) << i) == 0) {
            return invalid(shape, &shape->fields[i], error, "is missing");
        }
    }
    return 0;
}

int sp_shape_decode(const struct sp_shape *shape,
                    struct sp_cursor *cursor,
                    void *value,
                    struct sp_api_error *error)
{
    SP_ASSERT(shape->field_count <= SP_SHAPE_FIELDS_MAX);
    uint32_t seen = 0;
    uint32_t present = 0;

    sp_shape_init(shape, value);
    if (sp_cursor_nil(cursor)) {
        return check_missing(shape, 0, error);
    }
    uint32_t count = sp_cursor_map(cursor);
    if (cursor->status == SPATE_ERR_INVALID) {
        return invalid(shape, NULL, error, "a map of fields is needed");
    }
    for (uint32_t i = 0; i < count && cursor->status == 0; i++) {
        int rv = decode_pair(shape, cursor, value, &seen, &present, error);
        if (rv != 0 && cursor->status != SPATE_ERR_MALFORMED) {
            return rv;
        }
    }
    if (cursor->status != 0) {
        (void)invalid(shape, NULL, error, "this is not MessagePack"); /* the code is the cursor's */
        return cursor->status;
    }
    return check_missing(shape, present, error);
}

int sp_shape_decode_params(const struct sp_shape *shape,
                           struct sp_cursor *cursor,
                           void *value,
                           struct sp_api_error *error)
{
    uint32_t count = sp_cursor_array(cursor);

    sp_shape_init(shape, value);
    if (cursor->status == SPATE_ERR_MALFORMED) {
        return cursor->status;
    }
    if (cursor->status != 0 || count > 1) {
        return invalid(shape, NULL, error, "params must be an array that holds one map");
    }
    return count == 0 ? check_missing(shape, 0, error)
                      : sp_shape_decode(shape, cursor, value, error);
}
