/* Printing records by a format. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/format.h"
#include "cli/json_text.h"
#include "cli/value.h"

typedef void (*writer)(const void *bytes, size_t size);

static void print_number(const struct format_item *item, int64_t number, writer write)
{
    char text[24];
    uint8_t bytes[8];

    if (item->coding == FORMAT_ASCII) {
        int size = snprintf(text, sizeof text, "%" PRId64, number);
        write(text, (size_t)size);
        return;
    }
    for (size_t i = 0; i < item->width; i++) {
        size_t at = item->coding == FORMAT_BIG ? item->width - 1 - i : i;
        bytes[at] = (uint8_t)((uint64_t)number >> (8 * i));
    }
    write(bytes, item->width);
}

static void print_hex(const uint8_t *bytes, size_t size, writer write)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < size; i++) {
        char two[2] = { digits[bytes[i] >> 4], digits[bytes[i] & 15] };
        write(two, 2);
    }
}

static void
print_bytes(const struct format_item *item, const void *bytes, size_t size, writer write)
{
    if (item->coding == FORMAT_HEX) {
        print_hex(bytes, size, write);
    } else if (item->coding == FORMAT_BASE64) {
        char *text = base64_encode(bytes, size);
        write(text, strlen(text));
        free(text);
    } else if (item->coding == FORMAT_JSON) {
        json_print_bytes(bytes, size, write);
    } else {
        write(bytes, size);
    }
}

/* By pointer: the format is the user's, which a compiler that checks formats cannot know. */
static size_t (*const format_date)(char *, size_t, const char *, const struct tm *) = strftime;

/* The moment in UTC, by strftime or with milliseconds. */
static void print_date(const struct format_item *item, int64_t timestamp_ms, writer write)
{
    char text[256];
    struct tm parts;
    int64_t ms = timestamp_ms % 1000 < 0 ? timestamp_ms % 1000 + 1000 : timestamp_ms % 1000;
    time_t seconds = (time_t)((timestamp_ms - ms) / 1000);

    if (gmtime_r(&seconds, &parts) == NULL) {
        write("?", 1);
        return;
    }
    if (item->literal != NULL) {
        write(text, format_date(text, sizeof text, item->literal, &parts));
        return;
    }
    size_t size = format_date(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    int more = snprintf(text + size, sizeof text - size, ".%03dZ", (int)ms);
    write(text, size + (size_t)more);
}

static void print_headers(const struct spate_message *message, writer write)
{
    for (size_t i = 0; i < message->header_count; i++) {
        if (i > 0) {
            write(",", 1);
        }
        write(message->headers[i].name, message->headers[i].name_size);
        write("=", 1);
        write(message->headers[i].value, message->headers[i].value_size);
    }
}

static void print_field(const struct format_item *item,
                        const struct spate_message *message,
                        uint64_t number,
                        writer write)
{
    switch (item->field) {
    case 't':
        write(message->topic, strlen(message->topic));
        break;
    case 'p':
        print_number(item, message->partition, write);
        break;
    case 'o':
        print_number(item, message->offset, write);
        break;
    case 'T':
        print_number(item, message->timestamp_ms, write);
        break;
    case 'K':
        print_number(item, (int64_t)message->key_size, write);
        break;
    case 'V':
        print_number(item, (int64_t)message->value_size, write);
        break;
    case 'e':
        print_number(item, message->epoch, write);
        break;
    case 'i':
        print_number(item, (int64_t)number, write);
        break;
    case 'd':
        print_date(item, message->timestamp_ms, write);
        break;
    case 'k':
        print_bytes(item, message->key, message->key_size, write);
        break;
    case 'v':
        print_bytes(item, message->value, message->value_size, write);
        break;
    default:
        print_headers(message, write);
        break;
    }
}

void format_print(const struct format *format,
                  const struct spate_message *message,
                  uint64_t number,
                  writer write)
{
    for (size_t i = 0; i < format->count; i++) {
        const struct format_item *item = &format->items[i];
        if (item->field == 0) {
            write(item->literal, item->literal_size);
        } else {
            print_field(item, message, number, write);
        }
    }
}
