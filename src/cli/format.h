/* Formats of records as text or framed bytes, the percent escapes of kcat and rpk, in both
 * directions: consume prints with one, produce reads with the same one.
 *
 *   %t topic        %k key               %K key length           %h headers: a=1,b=2
 *   %p partition    %v or %s value       %V or %S value length   %T timestamp, ms
 *   %o offset       %% a percent sign    \n \t \r \\ \0 \xNN escapes
 *   %d date   %e leader epoch   %i number of the record, from 1       (these: print only)
 *
 *   %V{big32}    lengths and numbers: ascii (default), byte, big16 big32 big64, little16 ...
 *   %v{base64}   keys and values: hex, base64, json (a JSON string; null: none)
 *   %d{%F %T}    strftime in UTC; without braces as 2026-01-31T12:00:00.123Z
 *
 * Reading: a key or value whose length stands before it is read by that length, so it may hold any
 * bytes: `%V{big32}%v`. Without a length it ends before the literal that follows it: `%k\t%v\n`.
 * At the end of the input the literal that ends the format may be missing. An offset that is read
 * has no meaning.
 *
 *   bytes -> format_read: views as they stand there -> format_decode: hex, base64, json, headers */
#ifndef SPATE_CLI_FORMAT_H
#define SPATE_CLI_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "spate/consumer.h"

#define FORMAT_ITEMS_MAX 64
#define FORMAT_HEADERS_MAX 64 /* of one record, as read */

enum format_coding {
    FORMAT_ASCII,
    FORMAT_BIG,
    FORMAT_LITTLE,
    FORMAT_HEX,
    FORMAT_BASE64,
    FORMAT_JSON,
};

/* A literal, or one field. */
struct format_item {
    char field; /* 0: a literal; else one of t p o k v K V T h d e i */
    enum format_coding coding;
    size_t width;        /* bytes of a FORMAT_BIG or FORMAT_LITTLE number */
    const char *literal; /* in format->text; of %d the strftime format, with NUL, NULL: none */
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

/* True when the field, one of those above, is in it. */
bool format_has(const struct format *format, char field);

/* Checks that the format can be read: NULL, or what stands against it. */
const char *format_readable(const struct format *format);

/* Writes one record, the `number`th, to `write`. */
void format_print(const struct format *format,
                  const struct spate_message *message,
                  uint64_t number,
                  void (*write)(const void *bytes, size_t size));

/* What was read of one record; views into the input, once decoded also into the scratch. */
struct format_record {
    const uint8_t *key; /* NULL: there is none */
    size_t key_size;
    const uint8_t *value; /* NULL: there is none */
    size_t value_size;
    const uint8_t *topic; /* NULL: the format has none */
    size_t topic_size;
    const uint8_t *headers_text; /* NULL: the format has none */
    size_t headers_text_size;
    const struct spate_header *headers; /* after format_decode */
    size_t header_count;
    int32_t partition;    /* -1: the format has none */
    int64_t timestamp_ms; /* 0: the format has none */
};

/* Room for what decoding makes. */
struct format_scratch {
    struct sp_buf key;
    struct sp_buf value;
    struct spate_header headers[FORMAT_HEADERS_MAX];
};

void format_scratch_init(struct format_scratch *scratch);
void format_scratch_deinit(struct format_scratch *scratch);

/* Reads one record from the start of `bytes`. `at_end`: nothing will follow them. Returns 0 and
 * *out_used; SPATE_ERR_AGAIN: more is needed (at the end: the record is cut short);
 * SPATE_ERR_MALFORMED: it does not follow the format. */
int format_read(const struct format *format,
                const uint8_t *bytes,
                size_t size,
                bool at_end,
                struct format_record *out_record,
                size_t *out_used);

/* Replaces what is coded in `record` by what it means; valid until the next call with this
 * scratch. SPATE_ERR_MALFORMED: it is no hex, base64 or JSON string, or too many headers;
 * SPATE_ERR_NOMEM. */
int format_decode(const struct format *format,
                  struct format_scratch *scratch,
                  struct format_record *record);

#endif /* SPATE_CLI_FORMAT_H */
