/* Printing records by a format. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/format.h"
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
    } else {
        write(bytes, size);
    }
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

static void
print_field(const struct format_item *item, const struct spate_message *message, writer write)
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

void format_print(const struct format *format, const struct spate_message *message, writer write)
{
    for (size_t i = 0; i < format->count; i++) {
        const struct format_item *item = &format->items[i];
        if (item->field == 0) {
            write(item->literal, item->literal_size);
        } else {
            print_field(item, message, write);
        }
    }
}
