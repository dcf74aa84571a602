/* Inside src/wire only: maps of named fields to and from structs, by one table for both ways.
 *
 *   struct sp_shape ----------- struct sp_field[]        "partition", I32, where in the struct,
 *        |                                                range, what stands for absent
 *        |-- sp_shape_decode:  { "partition": 3, ... }  -> struct
 *        '-- sp_shape_encode:  struct -> { "partition": 3, ... }
 *
 * Nil and absent are the same. Unknown keys are passed over; a known key may come once. */
#ifndef SP_WIRE_FIELDS_H
#define SP_WIRE_FIELDS_H

#include "wire/client_api.h"

enum sp_field_type {
    SP_FIELD_I16,     /* int16_t */
    SP_FIELD_I32,     /* int32_t */
    SP_FIELD_I64,     /* int64_t */
    SP_FIELD_BOOL,    /* bool: true, false, or the numbers 1 and 0 */
    SP_FIELD_AT,      /* int64_t: a time in ms, or SP_OFFSETS_AT_* as a text */
    SP_FIELD_FORMAT,  /* enum sp_fetch_format, as a text */
    SP_FIELD_TEXT,    /* struct sp_bytes: UTF-8 of at most `max` bytes */
    SP_FIELD_BYTES,   /* struct sp_bytes */
    SP_FIELD_TEXTS,   /* struct sp_bytes: one encoded array of texts */
    SP_FIELD_MAP,     /* struct sp_bytes: one encoded map of texts to texts */
    SP_FIELD_VALUE,   /* struct sp_bytes: one encoded value of any type */
    SP_FIELD_RECORDS, /* struct sp_records */
    SP_FIELD_SHAPE,   /* a struct within the struct, described by `inner` */
};

struct sp_field {
    const char *name;
    enum sp_field_type type;
    bool optional;
    size_t position;              /* of the member in the struct */
    int64_t min;                  /* numbers */
    int64_t max;                  /* numbers; texts: size in bytes, 0 for no bound */
    int64_t absent;               /* numbers: the value of an optional one that is absent */
    const struct sp_shape *inner; /* SP_FIELD_SHAPE only */
};

#define SP_SHAPE_FIELDS_MAX 32 /* bits of the set of fields seen */

struct sp_shape {
    const char *name; /* begins the texts of errors; NULL: nothing does */
    const struct sp_field *fields;
    size_t field_count; /* at most SP_SHAPE_FIELDS_MAX */
};

/* Sets every member to absent: numbers as the table says, views to null. */
void sp_shape_init(const struct sp_shape *shape, void *value);

/* Initialises *value and reads the map that is next in `cursor`. SPATE_ERR_INVALID with a text in
 * *error (may be NULL), or SPATE_ERR_MALFORMED. */
int sp_shape_decode(const struct sp_shape *shape,
                    struct sp_cursor *cursor,
                    void *value,
                    struct sp_api_error *error);

/* The same for request parameters: an array that holds this map, nil, or nothing. */
int sp_shape_decode_params(const struct sp_shape *shape,
                           struct sp_cursor *cursor,
                           void *value,
                           struct sp_api_error *error);

/* Packs the map. `head_only` leaves out the bytes of a batch in an SP_FIELD_RECORDS, which is the
 * last field then. */
void sp_shape_encode(const struct sp_shape *shape,
                     struct sp_pack *pack,
                     const void *value,
                     bool head_only);

#endif /* SP_WIRE_FIELDS_H */
