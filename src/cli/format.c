/* Parsing of formats. */
#include "cli/format.h"

#include <stdlib.h>
#include <string.h>

#include "spate/error.h"

/* ---- escapes --------------------------------------------------------------------------------- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte that the escape at `text` (behind its backslash) stands for; how many characters it
 * has, 0 when it is none. */
static size_t unescape_one(const char *text, char *out_byte)
{
    static const char names[] = "ntr0\\";
    static const char values[] = { '\n', '\t', '\r', '\0', '\\' };
    const char *found = *text == '\0' ? NULL : strchr(names, *text);

    if (found != NULL) {
        *out_byte = values[found - names];
        return 1;
    }
    if (*text == 'x' && hex_digit(text[1]) >= 0 && hex_digit(text[2]) >= 0) {
        *out_byte = (char)(hex_digit(text[1]) * 16 + hex_digit(text[2]));
        return 3;
    }
    return 0;
}

int format_unescape(const char *text, char **out_bytes, size_t *out_size)
{
    char *bytes = malloc(strlen(text) + 1);
    size_t size = 0;

    if (bytes == NULL) {
        return SPATE_ERR_NOMEM;
    }
    while (*text != '\0') {
        size_t used = *text == '\\' ? unescape_one(text + 1, &bytes[size]) : 0;
        if (*text == '\\' && used == 0) {
            free(bytes);
            return SPATE_ERR_INVALID;
        }
        if (used == 0) {
            bytes[size] = *text;
        }
        text += used + 1;
        size += 1;
    }
    bytes[size] = '\0';
    *out_bytes = bytes;
    *out_size = size;
    return 0;
}

/* ---- items ----------------------------------------------------------------------------------- */

struct parser {
    struct format *format;
    size_t text_size; /* of format->text */
    const char *error;
};

static struct format_item *add_item(struct parser *parser)
{
    struct format *format = parser->format;

    if (format->count == FORMAT_ITEMS_MAX) {
        parser->error = "too many parts";
        return NULL;
    }
    struct format_item *item = &format->items[format->count++];
    *item = (struct format_item){ 0 };
    return item;
}

static void add_byte(struct parser *parser, char byte)
{
    struct format *format = parser->format;
    struct format_item *item = format->count == 0 ? NULL : &format->items[format->count - 1];

    if (item == NULL || item->field != 0) {
        item = add_item(parser);
        if (item == NULL) {
            return;
        }
        item->literal = format->text + parser->text_size;
    }
    format->text[parser->text_size++] = byte;
    item->literal_size += 1;
}

static const struct {
    const char *name;
    enum format_coding coding;
    size_t width;
    bool of_number;
} codings[] = {
    { "ascii", FORMAT_ASCII, 0, true },     { "byte", FORMAT_BIG, 1, true },
    { "big8", FORMAT_BIG, 1, true },        { "big16", FORMAT_BIG, 2, true },
    { "big32", FORMAT_BIG, 4, true },       { "big64", FORMAT_BIG, 8, true },
    { "little8", FORMAT_LITTLE, 1, true },  { "little16", FORMAT_LITTLE, 2, true },
    { "little32", FORMAT_LITTLE, 4, true }, { "little64", FORMAT_LITTLE, 8, true },
    { "hex", FORMAT_HEX, 0, false },        { "base64", FORMAT_BASE64, 0, false },
    { "json", FORMAT_JSON, 0, false },
};

static bool is_number(char field)
{
    return strchr("poKVTei", field) != NULL;
}

static bool is_content(char field)
{
    return field == 'k' || field == 'v';
}

/* Takes the strftime format of %d: "{%F %T}", or "{strftime[%F %T]}" as rpk writes it. */
static size_t parse_date(struct parser *parser, struct format_item *item, const char *text)
{
    static const char rpk[] = "strftime[";
    const char *end = *text == '{' ? strchr(text, '}') : NULL;
    const char *begin = text + 1;
    const char *stop = end;

    if (*text != '{') {
        return 0;
    }
    if (end != NULL && strncmp(begin, rpk, sizeof rpk - 1) == 0 && end[-1] == ']') {
        begin += sizeof rpk - 1;
        stop = end - 1;
    }
    if (end == NULL || begin >= stop) {
        parser->error = "%d takes a date format in braces: %d{%F %T}";
        return 0;
    }
    size_t size = (size_t)(stop - begin);
    char *to = parser->format->text + parser->text_size;
    memcpy(to, begin, size);
    to[size] = '\0';
    item->literal = to;
    parser->text_size += size + 1;
    return (size_t)(end - text) + 1;
}

/* Takes "{coding}" behind a field, if there is one; how many characters. */
static size_t parse_coding(struct parser *parser, struct format_item *item, const char *text)
{
    const char *end = *text == '{' ? strchr(text, '}') : NULL;

    if (*text != '{') {
        return 0;
    }
    for (size_t i = 0; end != NULL && i < sizeof codings / sizeof codings[0]; i++) {
        size_t size = (size_t)(end - text) - 1;
        if (strlen(codings[i].name) == size && strncmp(text + 1, codings[i].name, size) == 0 &&
            (codings[i].of_number ? is_number(item->field) : is_content(item->field))) {
            item->coding = codings[i].coding;
            item->width = codings[i].width;
            return size + 2;
        }
    }
    parser->error =
        "in braces: ascii byte big16 big32 big64 little16 little32 little64 for numbers, "
        "hex base64 json for keys and values";
    return 0;
}

/* Takes what follows a percent sign; how many characters. */
static size_t parse_field(struct parser *parser, const char *text)
{
    static const char names[] = "tpokvsKVSThdei";
    static const char fields[] = "tpokvvKVVThdei";
    const char *found = *text == '\0' ? NULL : strchr(names, *text);

    if (*text == '%') {
        add_byte(parser, '%');
        return 1;
    }
    if (found == NULL) {
        parser->error = "unknown field: there are %t %p %o %k %v %s %K %V %S %T %h %d %e %i and %%";
        return 0;
    }
    struct format_item *item = add_item(parser);
    if (item == NULL) {
        return 0;
    }
    item->field = fields[found - names];
    if (item->field == 'd') {
        return 1 + parse_date(parser, item, text + 1);
    }
    return 1 + parse_coding(parser, item, text + 1);
}

int format_parse(const char *text, struct format *out_format, const char **out_error)
{
    struct format format = { .text = malloc(strlen(text) + 1) };
    struct parser parser = { .format = &format };

    if (format.text == NULL) {
        *out_error = "out of memory";
        return SPATE_ERR_NOMEM;
    }
    while (*text != '\0' && parser.error == NULL) {
        char byte = *text;
        if (*text == '%') {
            text += 1 + parse_field(&parser, text + 1);
            continue;
        }
        if (*text == '\\') {
            size_t used = unescape_one(text + 1, &byte);
            if (used == 0) {
                parser.error = "unknown escape: there are \\n \\t \\r \\0 \\\\ and \\xNN";
            }
            text += used;
        }
        add_byte(&parser, byte);
        text += 1;
    }
    if (parser.error != NULL) {
        free(format.text);
        *out_error = parser.error;
        return SPATE_ERR_INVALID;
    }
    *out_format = format;
    return 0;
}

bool format_has(const struct format *format, char field)
{
    for (size_t i = 0; i < format->count; i++) {
        if (format->items[i].field == field) {
            return true;
        }
    }
    return false;
}

void format_deinit(struct format *format)
{
    free(format->text);
    format->text = NULL;
    format->count = 0;
}
