/* Bytes as JSON text. */
#include "cli/json_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/value.h"
#include "wire/bytes.h"

typedef void (*writer)(const void *bytes, size_t size);

/* The escape of a character that JSON does not allow as it is, or NULL. */
static const char *json_escape(unsigned char character, char room[8])
{
    switch (character) {
    case '"':
        return "\\\"";
    case '\\':
        return "\\\\";
    case '\n':
        return "\\n";
    case '\t':
        return "\\t";
    case '\r':
        return "\\r";
    default:
        if (character >= 0x20) {
            return NULL;
        }
        (void)snprintf(room, 8, "\\u%04x", character);
        return room;
    }
}

static void print_text(const char *text, size_t size, writer write)
{
    size_t begin = 0;
    char room[8];

    write("\"", 1);
    for (size_t i = 0; i < size; i++) {
        const char *escape = json_escape((unsigned char)text[i], room);
        if (escape != NULL) {
            write(text + begin, i - begin);
            write(escape, strlen(escape));
            begin = i + 1;
        }
    }
    write(text + begin, size - begin);
    write("\"", 1);
}

void json_print_bytes(const void *bytes, size_t size, writer write)
{
    if (bytes == NULL) {
        write("null", 4);
        return;
    }
    if (sp_utf8_valid(sp_bytes_of(bytes, size))) {
        print_text(bytes, size, write);
        return;
    }
    char *text = base64_encode(bytes, size);
    write("{\"$bin\":\"", 9);
    write(text, strlen(text));
    write("\"}", 2);
    free(text);
}
