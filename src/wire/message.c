#include "wire/message.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "spate/error.h"

#define ERROR_TEXT_MAX 1024 /* "CODE: text" as a whole */

/* ---- decoding ---- */

static void decode_call(struct sp_cursor *cursor, struct sp_message *message)
{
    if (sp_cursor_peek(cursor) != SP_CURSOR_STR) {
        sp_cursor_fail(cursor, SPATE_ERR_INVALID);
    }
    message->method = sp_cursor_bytes(cursor);
    message->params = sp_cursor_of(sp_cursor_raw(cursor));
}

static void decode_answer(struct sp_cursor *cursor, struct sp_message *message)
{
    enum sp_cursor_type type = sp_cursor_peek(cursor);

    if (type == SP_CURSOR_STR || type == SP_CURSOR_BIN) {
        message->error = sp_cursor_bytes(cursor);
    } else if (!sp_cursor_nil(cursor)) {
        sp_cursor_skip(cursor);
        message->error = sp_bytes_text("INTERNAL: the server sent an error that is not a text");
    }
    message->result = sp_cursor_of(sp_cursor_raw(cursor));
}

int sp_message_decode(const uint8_t *bytes, size_t size, struct sp_message *out_message)
{
    struct sp_message message = { .msgid = 0 };
    struct sp_cursor cursor;

    sp_cursor_init(&cursor, bytes, size);
    uint32_t count = sp_cursor_array(&cursor);
    message.type = (enum sp_message_type)sp_cursor_uint(&cursor, SP_MESSAGE_NOTIFICATION);
    if (count != (message.type == SP_MESSAGE_NOTIFICATION ? 3U : 4U)) {
        sp_cursor_fail(&cursor, SPATE_ERR_INVALID);
    }
    if (message.type != SP_MESSAGE_NOTIFICATION) {
        message.msgid = (uint32_t)sp_cursor_uint(&cursor, UINT32_MAX);
    }
    if (message.type == SP_MESSAGE_RESPONSE) {
        decode_answer(&cursor, &message);
    } else {
        decode_call(&cursor, &message);
    }
    int rv = sp_cursor_finish(&cursor);
    if (rv == 0) {
        *out_message = message;
    }
    return rv;
}

/* ---- encoding ---- */

void sp_message_request(struct sp_pack *pack, uint32_t msgid, const char *method)
{
    sp_pack_array(pack, 4);
    sp_pack_uint(pack, SP_MESSAGE_REQUEST);
    sp_pack_uint(pack, msgid);
    sp_pack_text(pack, method);
    sp_pack_array(pack, 1);
}

void sp_message_notification(struct sp_pack *pack, const char *method)
{
    sp_pack_array(pack, 3);
    sp_pack_uint(pack, SP_MESSAGE_NOTIFICATION);
    sp_pack_text(pack, method);
    sp_pack_array(pack, 1);
}

void sp_message_response_ok(struct sp_pack *pack, uint32_t msgid)
{
    sp_pack_array(pack, 4);
    sp_pack_uint(pack, SP_MESSAGE_RESPONSE);
    sp_pack_uint(pack, msgid);
    sp_pack_nil(pack);
}

/* A text under construction: always valid UTF-8, never longer than its array. */
struct error_text {
    char bytes[ERROR_TEXT_MAX];
    size_t size;
};

/* Adds what fits of `text`, whole characters only, '?' for bytes that are no printable UTF-8. */
static void add_text(struct error_text *error, const char *text)
{
    struct sp_bytes rest = sp_bytes_text(text);

    while (rest.size > 0) {
        size_t step = sp_utf8_sequence_size(rest.bytes, rest.size);
        bool printable = step > 1 || (step == 1 && rest.bytes[0] >= 0x20 && rest.bytes[0] != 0x7f);
        const void *source = printable ? (const void *)rest.bytes : "?";
        size_t size = printable ? step : 1;
        if (size > sizeof error->bytes - error->size) {
            return;
        }
        memcpy(error->bytes + error->size, source, size);
        error->size += size;
        rest = sp_bytes_of(rest.bytes + (step > 0 ? step : 1), rest.size - (step > 0 ? step : 1));
    }
}

/* [1, msgid, "CODE: prefix text", nil] */
static void
pack_error(struct sp_pack *pack, uint32_t msgid, int code, const char *prefix, const char *text)
{
    struct error_text error = { .size = 0 };

    add_text(&error, spate_error_name(code));
    add_text(&error, ": ");
    add_text(&error, prefix);
    add_text(&error, text != NULL && text[0] != '\0' ? text : spate_strerror(code));
    sp_pack_array(pack, 4);
    sp_pack_uint(pack, SP_MESSAGE_RESPONSE);
    sp_pack_uint(pack, msgid);
    sp_pack_str(pack, sp_bytes_of(error.bytes, error.size));
    sp_pack_nil(pack);
}

void sp_message_response_error(struct sp_pack *pack, uint32_t msgid, int code, const char *text)
{
    SP_ASSERT(code < 0);
    pack_error(pack, msgid, code, "", text);
}

void sp_message_response_not_leader(struct sp_pack *pack,
                                    uint32_t msgid,
                                    int32_t leader_id,
                                    const char *leader_address,
                                    const char *text)
{
    char leader[SP_ADDRESS_SIZE_MAX + 16];

    if (leader_id < 0 || leader_address == NULL || leader_address[0] == '\0') {
        pack_error(pack, msgid, SPATE_ERR_LEADER_UNKNOWN, "", text);
        return;
    }
    (void)snprintf(leader,
                   sizeof leader,
                   "%d %s ",
                   (int)leader_id,
                   leader_address); /* addresses are shorter than SP_ADDRESS_SIZE_MAX */
    pack_error(pack, msgid, SPATE_ERR_NOT_LEADER, leader, text);
}

/* ---- error strings ---- */

/* Cuts `rest` at the first `separator`: returns what is before it, `rest` keeps what is behind. */
static struct sp_bytes cut(struct sp_bytes *rest, uint8_t separator)
{
    const uint8_t *found = rest->size > 0 ? memchr(rest->bytes, separator, rest->size) : NULL;
    struct sp_bytes before = *rest;

    if (found == NULL) {
        *rest = sp_bytes_of(rest->bytes + rest->size, 0);
        return before;
    }
    before.size = (size_t)(found - rest->bytes);
    *rest = sp_bytes_of(found + 1, rest->size - before.size - 1);
    return before;
}

/* A node id in decimal, or -1. */
static int32_t parse_node(struct sp_bytes digits)
{
    int32_t value = 0;

    if (digits.size == 0 || digits.size > 9) {
        return -1;
    }
    for (size_t i = 0; i < digits.size; i++) {
        if (digits.bytes[i] < '0' || digits.bytes[i] > '9') {
            return -1;
        }
        value = value * 10 + (digits.bytes[i] - '0');
    }
    return value;
}

/* "2 127.0.0.1:7800 text": takes the leader off the front, if there is one. */
static void parse_leader(struct sp_error_parts *parts)
{
    struct sp_bytes rest = parts->text;
    int32_t node = parse_node(cut(&rest, ' '));
    struct sp_bytes address = cut(&rest, ' ');

    if (node < 0 || address.size == 0 || address.size >= SP_ADDRESS_SIZE_MAX ||
        memchr(address.bytes, ':', address.size) == NULL) {
        return;
    }
    parts->leader_id = node;
    parts->leader_address = address;
    parts->text = rest;
}

void sp_error_parse(struct sp_bytes error, struct sp_error_parts *out_parts)
{
    struct sp_bytes rest = sp_bytes_of(error.bytes, error.size);
    struct sp_bytes whole = rest;
    struct sp_bytes name = cut(&rest, ':');
    int code = spate_error_from_name((const char *)name.bytes, name.size);

    *out_parts = (struct sp_error_parts){ .code = SPATE_ERR_INTERNAL,
                                          .text = whole,
                                          .leader_id = -1,
                                          .leader_address = sp_bytes_null() };
    if (code >= 0 || (code == SPATE_ERR_INTERNAL && !sp_bytes_equal_text(name, "INTERNAL"))) {
        return;
    }
    if (rest.size > 0 && rest.bytes[0] == ' ') {
        rest = sp_bytes_of(rest.bytes + 1, rest.size - 1);
    }
    out_parts->code = code;
    out_parts->text = rest;
    if (code == SPATE_ERR_NOT_LEADER) {
        parse_leader(out_parts);
    }
}
