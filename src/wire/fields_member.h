/* Inside src/wire/fields*.c only: members of a struct that is known by its table alone. Members are
 * copied, never pointed to, so that no type is read as another. */
#ifndef SP_WIRE_FIELDS_MEMBER_H
#define SP_WIRE_FIELDS_MEMBER_H

#include <string.h>

#include "wire/fields.h"

static const char *const field_format_names[] = {
    [SP_FETCH_FORMAT_BATCH] = "batch", [SP_FETCH_FORMAT_RECORDS] = "records"
};

static inline void field_put_number(const struct sp_field *field, void *value, int64_t number)
{
    char *at = (char *)value + field->position;
    enum sp_fetch_format format = (enum sp_fetch_format)number;
    int32_t number32 = (int32_t)number;
    int16_t number16 = (int16_t)number;
    bool flag = number != 0;

    if (field->type == SP_FIELD_FORMAT) {
        memcpy(at, &format, sizeof format);
    } else if (field->type == SP_FIELD_BOOL) {
        memcpy(at, &flag, sizeof flag);
    } else if (field->type == SP_FIELD_I32) {
        memcpy(at, &number32, sizeof number32);
    } else if (field->type == SP_FIELD_I16) {
        memcpy(at, &number16, sizeof number16);
    } else {
        memcpy(at, &number, sizeof number);
    }
}

static inline int64_t field_get_number(const struct sp_field *field, const void *value)
{
    const char *at = (const char *)value + field->position;
    enum sp_fetch_format format;
    int64_t number;
    int32_t number32;
    int16_t number16;
    bool flag;

    if (field->type == SP_FIELD_FORMAT) {
        memcpy(&format, at, sizeof format);
        return (int64_t)format;
    }
    if (field->type == SP_FIELD_BOOL) {
        memcpy(&flag, at, sizeof flag);
        return flag;
    }
    if (field->type == SP_FIELD_I32) {
        memcpy(&number32, at, sizeof number32);
        return number32;
    }
    if (field->type == SP_FIELD_I16) {
        memcpy(&number16, at, sizeof number16);
        return number16;
    }
    memcpy(&number, at, sizeof number);
    return number;
}

static inline void field_put_bytes(const struct sp_field *field, void *value, struct sp_bytes bytes)
{
    memcpy((char *)value + field->position, &bytes, sizeof bytes);
}

static inline struct sp_bytes field_get_bytes(const struct sp_field *field, const void *value)
{
    struct sp_bytes bytes;

    memcpy(&bytes, (const char *)value + field->position, sizeof bytes);
    return bytes;
}

static inline void
field_put_records(const struct sp_field *field, void *value, struct sp_records records)
{
    memcpy((char *)value + field->position, &records, sizeof records);
}

static inline struct sp_records field_get_records(const struct sp_field *field, const void *value)
{
    struct sp_records records;

    memcpy(&records, (const char *)value + field->position, sizeof records);
    return records;
}

static inline void *field_inner_of(const struct sp_field *field, void *value)
{
    return (char *)value + field->position;
}

static inline const void *field_inner_of_const(const struct sp_field *field, const void *value)
{
    return (const char *)value + field->position;
}

#endif /* SP_WIRE_FIELDS_MEMBER_H */
