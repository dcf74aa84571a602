#include "wire/fields.h"
#include "wire/fields_member.h"

static bool any_present(const struct sp_shape *shape, const void *value);

static bool field_present(const struct sp_field *field, const void *value)
{
    struct sp_records records;

    if (!field->optional) {
        return true;
    }
    switch (field->type) {
    case SP_FIELD_I16:
    case SP_FIELD_I32:
    case SP_FIELD_I64:
    case SP_FIELD_BOOL:
    case SP_FIELD_AT:
    case SP_FIELD_FORMAT:
        return field_get_number(field, value) != field->absent;
    case SP_FIELD_TEXT:
    case SP_FIELD_BYTES:
    case SP_FIELD_TEXTS:
    case SP_FIELD_MAP:
    case SP_FIELD_VALUE:
        return field_get_bytes(field, value).bytes != NULL;
    case SP_FIELD_RECORDS:
        records = field_get_records(field, value);
        return records.batch.bytes != NULL || records.array.bytes != NULL;
    case SP_FIELD_SHAPE:
        return any_present(field->inner, field_inner_of_const(field, value));
    }
    return false;
}

/* Recursion over tables, which nest twice at most, never over input. */
static bool any_present(const struct sp_shape *shape, const void *value)
{
    for (size_t i = 0; i < shape->field_count; i++) {
        if (field_present(&shape->fields[i], value)) {
            return true;
        }
    }
    return false;
}

static void encode_records(struct sp_pack *pack, struct sp_records records, bool head_only)
{
    if (records.array.bytes != NULL) {
        sp_pack_raw(pack, records.array);
    } else if (head_only) {
        sp_pack_bin_header(pack, records.batch.size);
    } else {
        sp_pack_bin(pack, records.batch);
    }
}

static void encode_at(struct sp_pack *pack, int64_t at)
{
    if (at == SP_OFFSETS_AT_LATEST) {
        sp_pack_text(pack, "latest");
    } else if (at == SP_OFFSETS_AT_EARLIEST) {
        sp_pack_text(pack, "earliest");
    } else {
        sp_pack_int(pack, at);
    }
}

static void encode_encoded(struct sp_pack *pack, struct sp_bytes encoded)
{
    if (encoded.bytes == NULL) {
        sp_pack_nil(pack);
    } else {
        sp_pack_raw(pack, encoded);
    }
}

static void
encode_field(const struct sp_field *field, struct sp_pack *pack, const void *value, bool head_only)
{
    switch (field->type) {
    case SP_FIELD_I16:
    case SP_FIELD_I32:
    case SP_FIELD_I64:
        sp_pack_int(pack, field_get_number(field, value));
        break;
    case SP_FIELD_BOOL:
        sp_pack_bool(pack, field_get_number(field, value) != 0);
        break;
    case SP_FIELD_AT:
        encode_at(pack, field_get_number(field, value));
        break;
    case SP_FIELD_FORMAT:
        sp_pack_text(pack, field_format_names[field_get_number(field, value)]);
        break;
    case SP_FIELD_TEXT:
        sp_pack_str(pack, field_get_bytes(field, value));
        break;
    case SP_FIELD_BYTES:
        sp_pack_bin(pack, field_get_bytes(field, value));
        break;
    case SP_FIELD_TEXTS:
    case SP_FIELD_MAP:
    case SP_FIELD_VALUE:
        encode_encoded(pack, field_get_bytes(field, value));
        break;
    case SP_FIELD_RECORDS:
        encode_records(pack, field_get_records(field, value), head_only);
        break;
    case SP_FIELD_SHAPE:
        sp_shape_encode(field->inner, pack, field_inner_of_const(field, value), false);
        break;
    }
}

void sp_shape_encode(const struct sp_shape *shape,
                     struct sp_pack *pack,
                     const void *value,
                     bool head_only)
{
    size_t count = 0;

    for (size_t i = 0; i < shape->field_count; i++) {
        count += field_present(&shape->fields[i], value);
    }
    sp_pack_map(pack, count);
    for (size_t i = 0; i < shape->field_count; i++) {
        if (field_present(&shape->fields[i], value)) {
            sp_pack_text(pack, shape->fields[i].name);
            encode_field(&shape->fields[i], pack, value, head_only);
        }
    }
}
