#include "wire/bytes.h"

#include <string.h>

static const uint8_t nothing[1];

struct sp_bytes sp_bytes_of(const void *bytes, size_t size)
{
    if (bytes == NULL) {
        return (struct sp_bytes){ nothing, 0 };
    }
    return (struct sp_bytes){ bytes, size };
}

struct sp_bytes sp_bytes_text(const char *text)
{
    if (text == NULL) {
        return sp_bytes_null();
    }
    return sp_bytes_of(text, strlen(text));
}

struct sp_bytes sp_bytes_null(void)
{
    return (struct sp_bytes){ NULL, 0 };
}

bool sp_bytes_equal(struct sp_bytes left, struct sp_bytes right)
{
    if (left.bytes == NULL || right.bytes == NULL || left.size != right.size) {
        return false;
    }
    return left.size == 0 || memcmp(left.bytes, right.bytes, left.size) == 0;
}

bool sp_bytes_equal_text(struct sp_bytes bytes, const char *text)
{
    return sp_bytes_equal(bytes, sp_bytes_text(text));
}

/* What may follow a lead byte: how many bytes, and the range of the first of them, which is
 * narrower than 80..BF where overlong forms, surrogates and numbers above 10FFFF would begin. */
struct lead {
    uint8_t size;
    uint8_t second_min;
    uint8_t second_max;
};

static struct lead lead_of(uint8_t byte)
{
    if (byte < 0x80) {
        return (struct lead){ 1, 0, 0 };
    }
    if (byte >= 0xc2 && byte <= 0xdf) {
        return (struct lead){ 2, 0x80, 0xbf };
    }
    if (byte >= 0xe0 && byte <= 0xef) {
        return (struct lead){ 3, byte == 0xe0 ? 0xa0 : 0x80, byte == 0xed ? 0x9f : 0xbf };
    }
    if (byte >= 0xf0 && byte <= 0xf4) {
        return (struct lead){ 4, byte == 0xf0 ? 0x90 : 0x80, byte == 0xf4 ? 0x8f : 0xbf };
    }
    return (struct lead){ 0, 0, 0 };
}

size_t sp_utf8_sequence_size(const uint8_t *bytes, size_t size)
{
    struct lead lead = lead_of(bytes[0]);

    if (lead.size > size) {
        return 0;
    }
    if (lead.size > 1 && (bytes[1] < lead.second_min || bytes[1] > lead.second_max)) {
        return 0;
    }
    for (size_t i = 2; i < lead.size; i++) {
        if ((bytes[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return lead.size;
}

bool sp_utf8_valid(struct sp_bytes bytes)
{
    size_t position = 0;

    if (bytes.bytes == NULL) {
        return false;
    }
    while (position < bytes.size) {
        size_t step = sp_utf8_sequence_size(bytes.bytes + position, bytes.size - position);
        if (step == 0) {
            return false;
        }
        position += step;
    }
    return true;
}
