#include "wire/cursor.h"

#include <string.h>

#include "base/assert.h"
#include "spate/error.h"

#define WHOLE_DOUBLE_MAX 9007199254740992.0 /* 2^53: every whole number up to it is exact */

/* One element as announced by its header. */
struct head {
    enum sp_cursor_type type;
    uint8_t tag;
    size_t size;      /* header: tag and length field */
    uint64_t count;   /* body bytes, elements, or pairs */
    uint64_t integer; /* of INT and BOOL, with the bits of an int64_t where `negative` */
    bool negative;
};

void sp_cursor_init(struct sp_cursor *cursor, const void *bytes, size_t size)
{
    *cursor = (struct sp_cursor){ .bytes = bytes, .size = size, .position = 0, .status = 0 };
}

struct sp_cursor sp_cursor_of(struct sp_bytes bytes)
{
    struct sp_cursor cursor;

    sp_cursor_init(&cursor, bytes.bytes, bytes.size);
    return cursor;
}

int sp_cursor_status(const struct sp_cursor *cursor)
{
    return cursor->status;
}

void sp_cursor_fail(struct sp_cursor *cursor, int code)
{
    SP_ASSERT(code < 0);
    if (cursor->status == 0) {
        cursor->status = code;
    }
}

int sp_cursor_finish(struct sp_cursor *cursor)
{
    if (cursor->status == 0 && cursor->position < cursor->size) {
        cursor->status = SPATE_ERR_MALFORMED;
    }
    return cursor->status;
}

static uint64_t big_endian(const uint8_t *bytes, size_t size)
{
    uint64_t value = 0;

    for (size_t i = 0; i < size; i++) {
        value = value << 8 | bytes[i];
    }
    return value;
}

static enum sp_cursor_type type_of(uint8_t tag)
{
    static const enum sp_cursor_type types[32] = {
        SP_CURSOR_NIL,   SP_CURSOR_END,   SP_CURSOR_BOOL,  SP_CURSOR_BOOL,  /* c0 */
        SP_CURSOR_BIN,   SP_CURSOR_BIN,   SP_CURSOR_BIN,   SP_CURSOR_EXT,   /* c4 */
        SP_CURSOR_EXT,   SP_CURSOR_EXT,   SP_CURSOR_FLOAT, SP_CURSOR_FLOAT, /* c8 */
        SP_CURSOR_INT,   SP_CURSOR_INT,   SP_CURSOR_INT,   SP_CURSOR_INT,   /* cc: uint */
        SP_CURSOR_INT,   SP_CURSOR_INT,   SP_CURSOR_INT,   SP_CURSOR_INT,   /* d0: int */
        SP_CURSOR_EXT,   SP_CURSOR_EXT,   SP_CURSOR_EXT,   SP_CURSOR_EXT,   /* d4: fixext */
        SP_CURSOR_EXT,   SP_CURSOR_STR,   SP_CURSOR_STR,   SP_CURSOR_STR,   /* d8 */
        SP_CURSOR_ARRAY, SP_CURSOR_ARRAY, SP_CURSOR_MAP,   SP_CURSOR_MAP,   /* dc */
    };

    if (tag < 0x80 || tag >= 0xe0) {
        return SP_CURSOR_INT;
    }
    if (tag < 0x90) {
        return SP_CURSOR_MAP;
    }
    if (tag < 0xa0) {
        return SP_CURSOR_ARRAY;
    }
    return tag < 0xc0 ? SP_CURSOR_STR : types[tag - 0xc0];
}

enum sp_cursor_type sp_cursor_peek(const struct sp_cursor *cursor)
{
    if (cursor->status != 0 || cursor->position >= cursor->size) {
        return SP_CURSOR_END;
    }
    return type_of(cursor->bytes[cursor->position]);
}

/* Bytes of the number or length field after a tag of c0 to df. */
static size_t field_size(uint8_t tag)
{
    static const uint8_t sizes[32] = {
        0, 0, 0, 0, 1, 2, 4, 1, 2, 4, 4, 8, /* c0: nil - bool bool, bin, ext, float */
        1, 2, 4, 8, 1, 2, 4, 8,             /* cc: uint, int */
        0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4, /* d4: fixext, str, array, map */
    };

    return sizes[tag - 0xc0];
}

static void set_integer(struct head *head, uint64_t bits, size_t size)
{
    bool sign = head->tag >= 0xd0 && head->tag <= 0xd3 && (bits >> (8 * size - 1) & 1) != 0;

    if (sign && size < 8) {
        bits |= UINT64_MAX << (8 * size);
    }
    head->integer = bits;
    head->negative = sign;
}

static void set_fix(struct head *head)
{
    uint8_t tag = head->tag;

    if (tag < 0x80) {
        head->integer = tag;
    } else if (tag >= 0xe0) {
        head->integer = UINT64_MAX - (uint64_t)(0xff - tag);
        head->negative = true;
    } else if (tag < 0xa0) {
        head->count = tag & 0x0f; /* map, array */
    } else {
        head->count = tag & 0x1f; /* str */
    }
}

static void set_wide(struct head *head, const uint8_t *field)
{
    size_t size = field_size(head->tag);

    head->size += size;
    switch (head->type) {
    case SP_CURSOR_BOOL:
        head->integer = head->tag & 1;
        break;
    case SP_CURSOR_INT:
    case SP_CURSOR_FLOAT:
        set_integer(head, big_endian(field, size), size);
        break;
    case SP_CURSOR_EXT:
        /* The type byte of an ext counts as body, and so does all of a fixext. */
        head->count = size > 0 ? big_endian(field, size) + 1 : (1U << (head->tag - 0xd4)) + 1U;
        break;
    case SP_CURSOR_STR:
    case SP_CURSOR_BIN:
    case SP_CURSOR_ARRAY:
    case SP_CURSOR_MAP:
        head->count = big_endian(field, size);
        break;
    case SP_CURSOR_NIL:
    case SP_CURSOR_END:
        break;
    }
}

/* Looks at the next header without moving. SPATE_ERR_MALFORMED unless it is whole, known, and what
 * it announces can be in the rest of the bytes (I3). */
static int peek_head(const struct sp_cursor *cursor, struct head *out_head)
{
    size_t left = cursor->size - cursor->position;
    struct head head = { .size = 1 };

    if (left == 0) {
        return SPATE_ERR_MALFORMED;
    }
    head.tag = cursor->bytes[cursor->position];
    head.type = type_of(head.tag);
    if (head.type == SP_CURSOR_END) {
        return SPATE_ERR_MALFORMED;
    }
    if (head.tag < 0xc0 || head.tag >= 0xe0) {
        set_fix(&head);
    } else if (left - 1 < field_size(head.tag)) {
        return SPATE_ERR_MALFORMED;
    } else {
        set_wide(&head, cursor->bytes + cursor->position + 1);
    }
    if (head.count * (head.type == SP_CURSOR_MAP ? 2 : 1) > left - head.size) {
        return SPATE_ERR_MALFORMED;
    }
    *out_head = head;
    return 0;
}

/* Reads the next header if it has this type. */
static bool take_head(struct sp_cursor *cursor, enum sp_cursor_type type, struct head *out_head)
{
    if (cursor->status != 0) {
        return false;
    }
    int rv = peek_head(cursor, out_head);
    if (rv == 0 && out_head->type != type) {
        rv = SPATE_ERR_INVALID;
    }
    if (rv != 0) {
        cursor->status = rv;
        return false;
    }
    cursor->position += out_head->size;
    return true;
}

uint32_t sp_cursor_array(struct sp_cursor *cursor)
{
    struct head head;

    return take_head(cursor, SP_CURSOR_ARRAY, &head) ? (uint32_t)head.count : 0;
}

uint32_t sp_cursor_map(struct sp_cursor *cursor)
{
    struct head head;

    return take_head(cursor, SP_CURSOR_MAP, &head) ? (uint32_t)head.count : 0;
}

static double double_of(const struct head *head)
{
    if (head->tag == 0xca) {
        uint32_t bits = (uint32_t)head->integer;
        float value;

        memcpy(&value, &bits, sizeof value);
        return (double)value;
    }
    double value;

    memcpy(&value, &head->integer, sizeof value);
    return value;
}

/* Turns a float without a fraction into the integer that its sender meant. */
static int make_whole(struct head *head)
{
    double value = double_of(head);

    if (!(value >= -WHOLE_DOUBLE_MAX && value <= WHOLE_DOUBLE_MAX)) {
        return SPATE_ERR_INVALID; /* NaN too */
    }
    if ((double)(int64_t)value != value) {
        return SPATE_ERR_INVALID;
    }
    head->type = SP_CURSOR_INT;
    head->negative = value < 0;
    head->integer = (uint64_t)(int64_t)value;
    return 0;
}

/* Looks at the next whole number without moving. */
static int peek_whole(const struct sp_cursor *cursor, struct head *out_head)
{
    int rv = cursor->status != 0 ? cursor->status : peek_head(cursor, out_head);

    if (rv != 0) {
        return rv;
    }
    if (out_head->type == SP_CURSOR_FLOAT) {
        return make_whole(out_head);
    }
    return out_head->type == SP_CURSOR_INT ? 0 : SPATE_ERR_INVALID;
}

int64_t sp_cursor_int(struct sp_cursor *cursor, int64_t min, int64_t max)
{
    struct head head = { .size = 0 };
    int rv = peek_whole(cursor, &head);

    if (rv == 0 && !head.negative && head.integer > INT64_MAX) {
        rv = SPATE_ERR_INVALID;
    }
    int64_t value = (int64_t)head.integer;
    if (rv == 0 && (value < min || value > max)) {
        rv = SPATE_ERR_INVALID;
    }
    if (rv != 0) {
        cursor->status = rv;
        return 0;
    }
    cursor->position += head.size;
    return value;
}

uint64_t sp_cursor_uint(struct sp_cursor *cursor, uint64_t max)
{
    struct head head = { .size = 0 };
    int rv = peek_whole(cursor, &head);

    if (rv == 0 && (head.negative || head.integer > max)) {
        rv = SPATE_ERR_INVALID;
    }
    if (rv != 0) {
        cursor->status = rv;
        return 0;
    }
    cursor->position += head.size;
    return head.integer;
}

double sp_cursor_double(struct sp_cursor *cursor)
{
    struct head head;

    if (sp_cursor_peek(cursor) != SP_CURSOR_INT) {
        return take_head(cursor, SP_CURSOR_FLOAT, &head) ? double_of(&head) : 0;
    }
    if (!take_head(cursor, SP_CURSOR_INT, &head)) {
        return 0;
    }
    return head.negative ? (double)(int64_t)head.integer : (double)head.integer;
}

bool sp_cursor_bool(struct sp_cursor *cursor)
{
    struct head head;

    return take_head(cursor, SP_CURSOR_BOOL, &head) && head.integer != 0;
}

/* Reads the body of a str or bin whose header has this type. */
static struct sp_bytes take_body(struct sp_cursor *cursor, enum sp_cursor_type type)
{
    struct head head;

    if (!take_head(cursor, type, &head)) {
        return sp_bytes_null();
    }
    const uint8_t *body = cursor->bytes + cursor->position;
    cursor->position += (size_t)head.count;
    return sp_bytes_of(body, (size_t)head.count);
}

struct sp_bytes sp_cursor_text(struct sp_cursor *cursor)
{
    struct sp_cursor before = *cursor;
    struct sp_bytes text = take_body(cursor, SP_CURSOR_STR);

    if (cursor->status == 0 && !sp_utf8_valid(text)) {
        *cursor = before;
        cursor->status = SPATE_ERR_INVALID;
        return sp_bytes_null();
    }
    return text;
}

struct sp_bytes sp_cursor_bytes(struct sp_cursor *cursor)
{
    bool str = sp_cursor_peek(cursor) == SP_CURSOR_STR;

    return take_body(cursor, str ? SP_CURSOR_STR : SP_CURSOR_BIN);
}

bool sp_cursor_nil(struct sp_cursor *cursor)
{
    if (sp_cursor_peek(cursor) != SP_CURSOR_NIL) {
        return false;
    }
    cursor->position += 1;
    return true;
}

void sp_cursor_skip(struct sp_cursor *cursor)
{
    struct sp_cursor ahead = *cursor;
    uint64_t owed = 1;

    /* As in wire/frame.c: each element pays one, arrays and maps owe their content. The owed
     * elements of one level can never exceed the bytes left (I3), so the sum stays far below 2^64.
     */
    while (ahead.status == 0 && owed > 0) {
        struct head head;

        ahead.status = peek_head(&ahead, &head);
        if (ahead.status != 0) {
            break;
        }
        ahead.position += head.size;
        owed -= 1;
        if (head.type == SP_CURSOR_ARRAY || head.type == SP_CURSOR_MAP) {
            owed += head.type == SP_CURSOR_MAP ? 2 * head.count : head.count;
        } else {
            ahead.position += (size_t)head.count;
        }
    }
    if (ahead.status != 0) {
        cursor->status = ahead.status;
        return;
    }
    *cursor = ahead;
}

struct sp_bytes sp_cursor_raw(struct sp_cursor *cursor)
{
    size_t begin = cursor->position;

    sp_cursor_skip(cursor);
    if (cursor->status != 0) {
        return sp_bytes_null();
    }
    return sp_bytes_of(cursor->bytes + begin, cursor->position - begin);
}
