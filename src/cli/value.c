/* MessagePack to JSON and back. */
#include "cli/value.h"

#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* ---- base64 ---------------------------------------------------------------------------------- */

char *base64_encode(const void *bytes, size_t size)
{
    const uint8_t *from = bytes;
    char *text = malloc((size + 2) / 3 * 4 + 1);
    char *to = text;

    if (text == NULL) {
        tell("out of memory");
        exit(EXIT_FAILED);
    }
    for (size_t i = 0; i < size; i += 3) {
        uint32_t left = size - i < 3 ? (uint32_t)(size - i) : 3;
        uint32_t word = (uint32_t)from[i] << 16;
        word |= left > 1 ? (uint32_t)from[i + 1] << 8 : 0;
        word |= left > 2 ? from[i + 2] : 0u;
        *to++ = alphabet[word >> 18];
        *to++ = alphabet[word >> 12 & 63];
        *to++ = left > 1 ? alphabet[word >> 6 & 63] : '=';
        *to++ = left > 2 ? alphabet[word & 63] : '=';
    }
    *to = '\0';
    return text;
}

/* Four characters to up to three bytes; how many, or 0 when they are no base64. */
static size_t decode_four(const char *text, uint8_t *to)
{
    uint32_t word = 0;
    size_t filled = 0;

    for (size_t i = 0; i < 4; i++) {
        const char *found = text[i] == '\0' ? NULL : strchr(alphabet, text[i]);
        if (found == NULL && !(text[i] == '=' && i >= 2)) {
            return 0;
        }
        if (found != NULL && filled < i) {
            return 0; /* a letter behind a filler */
        }
        filled += found != NULL ? 1 : 0;
        word = word << 6 | (found != NULL ? (uint32_t)(found - alphabet) : 0);
    }
    for (size_t i = 0; i + 1 < filled; i++) {
        to[i] = (uint8_t)(word >> (16 - 8 * i));
    }
    return filled - 1;
}

uint8_t *base64_decode(const char *text, size_t *out_size)
{
    size_t length = strlen(text);
    uint8_t *bytes = length % 4 == 0 ? malloc(length / 4 * 3 + 1) : NULL;
    size_t size = 0;

    if (bytes == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < length; i += 4) {
        size_t count = decode_four(text + i, bytes + size);
        if (count == 0 || (count < 3 && i + 4 != length)) {
            free(bytes);
            return NULL;
        }
        size += count;
    }
    *out_size = size;
    return bytes;
}

/* ---- JSON to MessagePack --------------------------------------------------------------------- */

static void pack_at(struct sp_pack *pack, const json_t *value, unsigned depth);

static void pack_bin(struct sp_pack *pack, const char *text)
{
    size_t size = 0;
    uint8_t *bytes = base64_decode(text, &size);

    if (bytes == NULL) {
        sp_pack_fail(pack, SPATE_ERR_INVALID);
        return;
    }
    sp_pack_bin(pack, sp_bytes_of(bytes, size));
    free(bytes);
}

static void pack_object(struct sp_pack *pack, const json_t *value, unsigned depth)
{
    const json_t *bin = json_object_get(value, "$bin");
    /* jansson's iterators want an object that may be changed, and do not change it. */
    json_t *object = json_copy((json_t *)(uintptr_t)value);
    const char *key;
    json_t *member;

    if (bin != NULL && json_is_string(bin) && json_object_size(value) == 1) {
        pack_bin(pack, json_string_value(bin));
    } else {
        sp_pack_map(pack, json_object_size(value));
        json_object_foreach(object, key, member)
        {
            sp_pack_text(pack, key);
            pack_at(pack, member, depth + 1);
        }
    }
    json_decref(object);
}

static void pack_array(struct sp_pack *pack, const json_t *value, unsigned depth)
{
    sp_pack_array(pack, json_array_size(value));
    for (size_t i = 0; i < json_array_size(value); i++) {
        pack_at(pack, json_array_get(value, i), depth + 1);
    }
}

static void pack_at(struct sp_pack *pack, const json_t *value, unsigned depth)
{
    if (depth >= VALUE_DEPTH_MAX) {
        sp_pack_fail(pack, SPATE_ERR_INVALID);
        return;
    }
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        pack_object(pack, value, depth);
        break;
    case JSON_ARRAY:
        pack_array(pack, value, depth);
        break;
    case JSON_STRING:
        sp_pack_str(pack, sp_bytes_of(json_string_value(value), json_string_length(value)));
        break;
    case JSON_INTEGER:
        sp_pack_int(pack, json_integer_value(value));
        break;
    case JSON_REAL:
        sp_pack_double(pack, json_real_value(value));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        sp_pack_bool(pack, json_is_true(value));
        break;
    case JSON_NULL:
        sp_pack_nil(pack);
        break;
    }
}

void value_pack(struct sp_pack *pack, const json_t *value)
{
    pack_at(pack, value, 0);
}

/* ---- MessagePack to JSON --------------------------------------------------------------------- */

static json_t *read_at(struct sp_cursor *cursor, unsigned depth);

static json_t *wrapped(const char *key, struct sp_bytes bytes)
{
    char *text = base64_encode(bytes.bytes, bytes.size);
    json_t *object = json_pack("{ss}", key, text);

    free(text);
    return object;
}

static json_t *read_bytes(struct sp_cursor *cursor)
{
    bool text = sp_cursor_peek(cursor) == SP_CURSOR_STR;
    struct sp_bytes bytes = sp_cursor_bytes(cursor);

    if (sp_cursor_status(cursor) != 0) {
        return NULL;
    }
    if (text && sp_utf8_valid(bytes)) {
        return json_stringn((const char *)bytes.bytes, bytes.size);
    }
    return wrapped("$bin", bytes);
}

static json_t *read_array(struct sp_cursor *cursor, unsigned depth)
{
    uint32_t count = sp_cursor_array(cursor);
    json_t *array = json_array();

    for (uint32_t i = 0; i < count && array != NULL; i++) {
        json_t *element = read_at(cursor, depth + 1);
        if (element == NULL || json_array_append_new(array, element) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

/* Adds the next pair of a map. */
static bool read_pair(struct sp_cursor *cursor, json_t *object, unsigned depth)
{
    json_t *key = read_at(cursor, depth + 1);
    json_t *value = key == NULL ? NULL : read_at(cursor, depth + 1);
    bool added = false;

    if (value != NULL && json_is_string(key)) {
        added = json_object_set_new(object, json_string_value(key), json_incref(value)) == 0;
    } else if (value != NULL) {
        char *text = json_dumps(key, JSON_COMPACT | JSON_ENCODE_ANY);
        added = text != NULL && json_object_set_new(object, text, json_incref(value)) == 0;
        free(text);
    }
    json_decref(key);
    json_decref(value);
    return added;
}

static json_t *read_map(struct sp_cursor *cursor, unsigned depth)
{
    uint32_t count = sp_cursor_map(cursor);
    json_t *object = json_object();

    for (uint32_t i = 0; i < count && object != NULL; i++) {
        if (!read_pair(cursor, object, depth)) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

static json_t *read_integer(struct sp_cursor *cursor)
{
    struct sp_cursor before = *cursor;
    int64_t number = sp_cursor_int(cursor, INT64_MIN, INT64_MAX);

    if (sp_cursor_status(cursor) == 0) {
        return json_integer(number);
    }
    *cursor = before; /* above 2^63: JSON numbers of most readers end long before */
    return json_real((double)sp_cursor_uint(cursor, UINT64_MAX));
}

static json_t *read_at(struct sp_cursor *cursor, unsigned depth)
{
    if (depth >= VALUE_DEPTH_MAX) {
        return NULL;
    }
    switch (sp_cursor_peek(cursor)) {
    case SP_CURSOR_NIL:
        (void)sp_cursor_nil(cursor);
        return json_null();
    case SP_CURSOR_BOOL:
        return json_boolean(sp_cursor_bool(cursor));
    case SP_CURSOR_INT:
        return read_integer(cursor);
    case SP_CURSOR_FLOAT:
        return json_real(sp_cursor_double(cursor));
    case SP_CURSOR_STR:
    case SP_CURSOR_BIN:
        return read_bytes(cursor);
    case SP_CURSOR_ARRAY:
        return read_array(cursor, depth);
    case SP_CURSOR_MAP:
        return read_map(cursor, depth);
    case SP_CURSOR_EXT:
        return wrapped("$ext", sp_cursor_raw(cursor));
    case SP_CURSOR_END:
        break;
    }
    return NULL;
}

json_t *value_read(struct sp_cursor *cursor)
{
    json_t *value = read_at(cursor, 0);

    if (value != NULL && sp_cursor_status(cursor) != 0) {
        json_decref(value);
        return NULL;
    }
    return value;
}

/* ---- members --------------------------------------------------------------------------------- */

int64_t value_number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

const char *value_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL && *text != '\0' ? text : "-";
}

bool value_has_text(const json_t *object, const char *key)
{
    return json_string_length(json_object_get(object, key)) > 0;
}
