#include "server/json_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "spate/error.h"
#include "wire/cursor.h"

/* An array or map that is being written. */
struct level {
    bool map;
    uint32_t left;  /* elements, or pairs, that are still to come */
    bool key_given; /* of a map: its value comes next */
    bool begun;     /* a comma goes before the next */
};

struct writer {
    struct sp_cursor cursor;
    struct sp_buf *out;
    struct level levels[SP_JSON_DEPTH_MAX];
    unsigned depth;
    int status;
};

static void put(struct writer *writer, const char *text, size_t size)
{
    if (writer->status == 0) {
        writer->status = sp_buf_append(writer->out, text, size);
    }
}

static void put_text(struct writer *writer, const char *text)
{
    put(writer, text, strlen(text));
}

static void put_string(struct writer *writer, struct sp_bytes text)
{
    put_text(writer, "\"");
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.bytes[i];
        char escaped[8];

        if (byte == '"' || byte == '\\') {
            (void)snprintf(escaped, sizeof escaped, "\\%c", byte);
            put_text(writer, escaped);
        } else if (byte < 0x20) {
            (void)snprintf(escaped, sizeof escaped, "\\u%04x", byte);
            put_text(writer, escaped);
        } else {
            put(writer, (const char *)&text.bytes[i], 1);
        }
    }
    put_text(writer, "\"");
}

static void put_int(struct writer *writer)
{
    char number[32];

    (void)snprintf(
        number, sizeof number, "%" PRId64, sp_cursor_int(&writer->cursor, INT64_MIN, INT64_MAX));
    put_text(writer, number);
}

static void open_level(struct writer *writer, bool map)
{
    uint32_t count = map ? sp_cursor_map(&writer->cursor) : sp_cursor_array(&writer->cursor);

    if (writer->depth == SP_JSON_DEPTH_MAX) {
        writer->status = SPATE_ERR_INVALID;
        return;
    }
    put_text(writer, map ? "{" : "[");
    writer->levels[writer->depth] = (struct level){ .map = map, .left = count };
    writer->depth += 1;
}

static void put_value(struct writer *writer)
{
    switch (sp_cursor_peek(&writer->cursor)) {
    case SP_CURSOR_MAP:
    case SP_CURSOR_ARRAY:
        open_level(writer, sp_cursor_peek(&writer->cursor) == SP_CURSOR_MAP);
        return;
    case SP_CURSOR_STR:
        put_string(writer, sp_cursor_text(&writer->cursor));
        return;
    case SP_CURSOR_INT:
        put_int(writer);
        return;
    case SP_CURSOR_BOOL:
        put_text(writer, sp_cursor_bool(&writer->cursor) ? "true" : "false");
        return;
    case SP_CURSOR_NIL:
        (void)sp_cursor_nil(&writer->cursor);
        put_text(writer, "null");
        return;
    case SP_CURSOR_END:
    case SP_CURSOR_FLOAT:
    case SP_CURSOR_BIN:
    case SP_CURSOR_EXT:
        sp_cursor_fail(&writer->cursor, SPATE_ERR_INVALID);
        return;
    }
}

/* The next step inside the innermost array or map. */
static void step(struct writer *writer, struct level *level)
{
    if (level->key_given) {
        level->key_given = false;
        put_value(writer);
        return;
    }
    if (level->left == 0) {
        put_text(writer, level->map ? "}" : "]");
        writer->depth -= 1;
        return;
    }
    level->left -= 1;
    put_text(writer, level->begun ? "," : "");
    level->begun = true;
    if (level->map) {
        put_string(writer, sp_cursor_text(&writer->cursor));
        put_text(writer, ":");
        level->key_given = true;
    } else {
        put_value(writer);
    }
}

int sp_json_text(struct sp_bytes value, struct sp_buf *out)
{
    struct writer writer = { .cursor = sp_cursor_of(value), .out = out };

    put_value(&writer);
    while (writer.depth > 0 && writer.status == 0 && sp_cursor_status(&writer.cursor) == 0) {
        step(&writer, &writer.levels[writer.depth - 1]);
    }
    return writer.status != 0 ? writer.status : sp_cursor_finish(&writer.cursor);
}
