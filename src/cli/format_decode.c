/* What was read of a record, decoded: hex, base64 and JSON strings to bytes, text to headers. */
#include <stdlib.h>
#include <string.h>

#include "cli/format.h"
#include "cli/input.h"
#include "cli/value.h"
#include "spate/error.h"

void format_scratch_init(struct format_scratch *scratch)
{
    sp_buf_init(&scratch->key, INPUT_BYTES_MAX);
    sp_buf_init(&scratch->value, INPUT_BYTES_MAX);
}

void format_scratch_deinit(struct format_scratch *scratch)
{
    sp_buf_deinit(&scratch->key);
    sp_buf_deinit(&scratch->value);
}

/* ---- codings --------------------------------------------------------------------------------- */

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int decode_hex(const uint8_t *text, size_t size, struct sp_buf *out)
{
    if (size % 2 != 0) {
        return SPATE_ERR_MALFORMED;
    }
    for (size_t i = 0; i < size; i += 2) {
        int high = hex_digit(text[i]);
        int low = hex_digit(text[i + 1]);
        if (high < 0 || low < 0) {
            return SPATE_ERR_MALFORMED;
        }
        int rv = sp_buf_append(out, &(uint8_t){ (uint8_t)(high * 16 + low) }, 1);
        if (rv != 0) {
            return rv;
        }
    }
    return 0;
}

static int decode_base64(const char *text, struct sp_buf *out)
{
    size_t size = 0;
    uint8_t *bytes = base64_decode(text, &size);
    int rv = bytes == NULL ? SPATE_ERR_MALFORMED : sp_buf_append(out, bytes, size);

    free(bytes);
    return rv;
}

/* A string, {"$bin": "base64"}, or null. */
static int decode_json(const char *text, size_t size, struct sp_buf *out, bool *out_null)
{
    json_t *value = json_loadb(text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    const json_t *bin = json_object_size(value) == 1 ? json_object_get(value, "$bin") : NULL;
    int rv = SPATE_ERR_MALFORMED;

    if (json_is_string(value)) {
        rv = sp_buf_append(out, json_string_value(value), json_string_length(value));
    } else if (json_is_string(bin)) {
        rv = decode_base64(json_string_value(bin), out);
    } else if (json_is_null(value)) {
        *out_null = true;
        rv = 0;
    }
    json_decref(value);
    return rv;
}

/* Replaces *bytes by what it stands for, in `out`. */
static int
decode(enum format_coding coding, struct sp_buf *out, const uint8_t **bytes, size_t *size)
{
    bool null = false;
    int rv = 0;

    if (*bytes == NULL ||
        (coding != FORMAT_HEX && coding != FORMAT_BASE64 && coding != FORMAT_JSON)) {
        return 0;
    }
    sp_buf_clear(out);
    if (coding == FORMAT_HEX) {
        rv = decode_hex(*bytes, *size, out);
    } else if (coding == FORMAT_BASE64) {
        char *text = strndup((const char *)*bytes, *size);
        rv = text == NULL ? SPATE_ERR_NOMEM : decode_base64(text, out);
        free(text);
    } else {
        rv = decode_json((const char *)*bytes, *size, out, &null);
    }
    *bytes = null ? NULL : out->size == 0 ? (const uint8_t *)"" : out->bytes;
    *size = out->size;
    return rv;
}

/* ---- headers --------------------------------------------------------------------------------- */

/* "a=1,b=2": the name ends at the first =, the value at the next comma. */
static int decode_headers(struct format_scratch *scratch, struct format_record *record)
{
    const char *at = (const char *)record->headers_text;
    size_t left = record->headers_text_size;

    while (left > 0) {
        const char *comma = memchr(at, ',', left);
        size_t size = comma == NULL ? left : (size_t)(comma - at);
        const char *equals = memchr(at, '=', size);
        if (equals == NULL || equals == at || record->header_count == FORMAT_HEADERS_MAX) {
            return SPATE_ERR_MALFORMED;
        }
        scratch->headers[record->header_count++] = (struct spate_header){
            .name = at,
            .name_size = (size_t)(equals - at),
            .value = equals + 1,
            .value_size = size - (size_t)(equals - at) - 1,
        };
        at += size + (comma == NULL ? 0 : 1);
        left -= size + (comma == NULL ? 0 : 1);
    }
    record->headers = scratch->headers;
    return 0;
}

int format_decode(const struct format *format,
                  struct format_scratch *scratch,
                  struct format_record *record)
{
    int rv = decode_headers(scratch, record);

    for (size_t i = 0; rv == 0 && i < format->count; i++) {
        const struct format_item *item = &format->items[i];
        if (item->field == 'k') {
            rv = decode(item->coding, &scratch->key, &record->key, &record->key_size);
        } else if (item->field == 'v') {
            rv = decode(item->coding, &scratch->value, &record->value, &record->value_size);
        }
    }
    return rv;
}
