/* Formats of records as text or framed bytes, the percent escapes of kcat and rpk, in both
 * directions: consume prints with one, produce reads with the same one.
 *
 *   %t topic        %k key               %K key length           %h headers (print only)
 *   %p partition    %v or %s value       %V or %S value length   %T timestamp, ms
 *   %o offset       %% a percent sign    \n \t \r \\ \0 \xNN escapes
 *
 *   %V{big32}  lengths and numbers: ascii (default), byte, big16 big32 big64, little16 ...
 *   %v{hex}    keys and values: hex, base64 (print only)
 *
 * Reading: a key or value whose length stands before it is read by that length, so it may hold any
 * bytes: `%V{big32}%v`. Without a length it ends before the literal that follows it: `%k\t%v\n`. At
 * the end of the input the literal that ends the format may be missing. */
#ifndef SPATE_CLI_FORMAT_H
#define SPATE_CLI_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "spate/consumer.h"

#define FORMAT_ITEMS_MAX 64

enum format_coding {
    FORMAT_ASCII,
    FORMAT_BIG,
    FORMAT_LITTLE,
    FORMAT_HEX,
    FORMAT_BASE64,
};

/* A literal, or one field. */
struct format_item {
    char field; /* 0: a literal; else one of t p o k v K V T h */
    enum format_coding coding;
    size_t width;        /* bytes of a FORMAT_BIG or FORMAT_LITTLE number */
    const char *literal; /* in format->text */
    size_t literal_size;
};

struct format {
    struct format_item items[FORMAT_ITEMS_MAX];
    size_t count;
    char *text; /* all literals, owned */
};

/* Parses `text`. SPATE_ERR_INVALID: *out_error says why, in static text. */
int format_parse(const char *text, struct format *out_format, const char **out_error);

/* Replaces \n \t \r \0 \\ \xNN in `text`; *out_bytes is owned by the caller, with a NUL behind. */
int format_unescape(const char *text, char **out_bytes, size_t *out_size);

void format_deinit(struct format *format);

/* Checks that the format can be read: NULL, or what stands against it. */
const char *format_readable(const struct format *format);

/* Writes one record to `write`. */
void format_print(const struct format *format,
                  const struct spate_message *message,
                  void (*write)(const void *bytes, size_t size));

/* What was read of one record; views into the input. */
struct format_record {
    const uint8_t *key; /* NULL: the format has none */
    size_t key_size;
    const uint8_t *value; /* NULL: the format has none */
    size_t value_size;
    int32_t partition;    /* -1: the format has none */
    int64_t timestamp_ms; /* 0: the format has none */
};

/* Reads one record from the start of `bytes`. `at_end`: nothing will follow them. Returns 0 and
 * *out_used; SPATE_ERR_AGAIN: more is needed (at the end: the record is cut short);
 * SPATE_ERR_MALFORMED: it does not follow the format. */
int format_read(const struct format *format,
                const uint8_t *bytes,
                size_t size,
                bool at_end,
                struct format_record *out_record,
                size_t *out_used);

#endif /* SPATE_CLI_FORMAT_H */
