/* Reading records by a format: one pass over the items, from bytes that may be cut anywhere. */
#include <string.h>

#include "cli/format.h"
#include "spate/error.h"

/* ---- what can be read ------------------------------------------------------------------------ */

static bool length_before(const struct format *format, size_t place)
{
    char wanted = format->items[place].field == 'k' ? 'K' : 'V';

    for (size_t i = 0; i < place; i++) {
        if (format->items[i].field == wanted) {
            return true;
        }
    }
    return false;
}

static const char *item_readable(const struct format *format, size_t place)
{
    const struct format_item *item = &format->items[place];
    bool last = place + 1 == format->count;
    bool delimited = last || format->items[place + 1].field == 0;

    if (strchr("dei", item->field) != NULL) {
        return "%d, %e and %i can be printed but not read";
    }
    if (strchr("th", item->field) != NULL && !delimited) {
        return "%t and %h need a delimiter behind them";
    }
    if (strchr("kv", item->field) != NULL && !delimited &&
        (item->coding != FORMAT_ASCII || !length_before(format, place))) {
        return "%k and %v need their length before them, or a delimiter behind them";
    }
    return NULL;
}

const char *format_readable(const struct format *format)
{
    bool has_content = false;

    for (size_t i = 0; i < format->count; i++) {
        const struct format_item *item = &format->items[i];
        const char *error = item->field == 0 ? NULL : item_readable(format, i);
        if (error != NULL) {
            return error;
        }
        for (size_t j = 0; j < i && item->field != 0; j++) {
            if (format->items[j].field == item->field) {
                return "a field can be read only once";
            }
        }
        has_content = has_content || item->field == 'k' || item->field == 'v';
    }
    return has_content ? NULL : "there is neither %k nor %v in it";
}

/* ---- reading --------------------------------------------------------------------------------- */

struct input {
    const uint8_t *bytes;
    size_t size;
    size_t position;
    bool at_end;
    int64_t key_size;   /* -1: not given */
    int64_t value_size; /* -1: not given */
};

static int read_digits(struct input *input, int64_t *out_number)
{
    size_t at = input->position;
    bool negative = at < input->size && input->bytes[at] == '-';
    size_t begin = at + (negative ? 1 : 0);
    int64_t number = 0;

    for (at = begin; at < input->size && input->bytes[at] >= '0' && input->bytes[at] <= '9'; at++) {
        if (number > (INT64_MAX - 9) / 10) {
            return SPATE_ERR_MALFORMED;
        }
        number = number * 10 + (input->bytes[at] - '0');
    }
    if (at == input->size && !input->at_end) {
        return SPATE_ERR_AGAIN; /* more digits may follow */
    }
    if (at == begin) {
        return at == input->size ? SPATE_ERR_AGAIN : SPATE_ERR_MALFORMED;
    }
    input->position = at;
    *out_number = negative ? -number : number;
    return 0;
}

static int read_number(struct input *input, const struct format_item *item, int64_t *out_number)
{
    uint64_t number = 0;

    if (item->coding == FORMAT_ASCII) {
        return read_digits(input, out_number);
    }
    if (input->size - input->position < item->width) {
        return SPATE_ERR_AGAIN;
    }
    for (size_t i = 0; i < item->width; i++) {
        size_t at = item->coding == FORMAT_BIG ? i : item->width - 1 - i;
        number = number << 8 | input->bytes[input->position + at];
    }
    input->position += item->width;
    *out_number = (int64_t)number;
    return 0;
}

static const uint8_t *find_literal(const struct input *input, const struct format_item *literal)
{
    const uint8_t *from = input->bytes + input->position;
    size_t left = input->size - input->position;

    if (literal->literal_size == 1) {
        return left == 0 ? NULL : memchr(from, literal->literal[0], left);
    }
    return memmem(from, left, literal->literal, literal->literal_size);
}

/* Where a content ends: behind `length` bytes, or (-1) before `behind`, NULL: with the input. */
struct end {
    int64_t length;
    const struct format_item *behind;
    bool behind_is_last;
};

static int read_content(struct input *input,
                        const struct end *end,
                        const uint8_t **out_bytes,
                        size_t *out_size)
{
    const uint8_t *from = input->bytes + input->position;
    size_t left = input->size - input->position;
    size_t size = left;

    if (end->length >= 0) {
        if ((uint64_t)end->length > left) {
            return SPATE_ERR_AGAIN;
        }
        size = (size_t)end->length;
    } else if (end->behind == NULL) {
        if (!input->at_end) {
            return SPATE_ERR_AGAIN;
        }
    } else {
        const uint8_t *found = find_literal(input, end->behind);
        if (found == NULL && !(input->at_end && end->behind_is_last)) {
            return SPATE_ERR_AGAIN;
        }
        size = found == NULL ? left : (size_t)(found - from);
    }
    *out_bytes = from;
    *out_size = size;
    input->position += size;
    return 0;
}

static int read_literal(struct input *input, const struct format_item *item, bool last)
{
    size_t left = input->size - input->position;
    size_t size = item->literal_size < left ? item->literal_size : left;

    if (memcmp(input->bytes + input->position, item->literal, size) != 0) {
        return SPATE_ERR_MALFORMED;
    }
    if (size < item->literal_size && !(last && input->at_end && size == 0)) {
        return SPATE_ERR_AGAIN;
    }
    input->position += size;
    return 0;
}

/* Reads a number field and puts it to its place. */
static int
read_number_field(struct input *input, const struct format_item *item, struct format_record *record)
{
    int64_t number = 0;
    int rv = read_number(input, item, &number);

    if (rv != 0) {
        return rv;
    }
    switch (item->field) {
    case 'K':
        input->key_size = number;
        return number < 0 ? SPATE_ERR_MALFORMED : 0;
    case 'V':
        input->value_size = number;
        return number < 0 ? SPATE_ERR_MALFORMED : 0;
    case 'p':
        record->partition = (int32_t)number;
        return number < 0 || number > INT32_MAX ? SPATE_ERR_MALFORMED : 0;
    case 'T':
        record->timestamp_ms = number;
        return 0;
    default: /* an offset has no meaning on the way in */
        return 0;
    }
}

static int read_item(const struct format *format,
                     size_t place,
                     struct input *input,
                     struct format_record *record)
{
    const struct format_item *item = &format->items[place];
    const struct format_item *behind = place + 1 < format->count ? item + 1 : NULL;
    bool behind_is_last = place + 2 == format->count;

    if (item->field == 0) {
        return read_literal(input, item, place + 1 == format->count);
    }
    bool plain = item->coding == FORMAT_ASCII; /* lengths are those of what a coding stands for */
    struct end end = { .behind = behind, .behind_is_last = behind_is_last, .length = -1 };
    switch (item->field) {
    case 'k':
        end.length = plain ? input->key_size : -1;
        return read_content(input, &end, &record->key, &record->key_size);
    case 'v':
        end.length = plain ? input->value_size : -1;
        return read_content(input, &end, &record->value, &record->value_size);
    case 't':
        return read_content(input, &end, &record->topic, &record->topic_size);
    case 'h':
        return read_content(input, &end, &record->headers_text, &record->headers_text_size);
    default:
        return read_number_field(input, item, record);
    }
}

int format_read(const struct format *format,
                const uint8_t *bytes,
                size_t size,
                bool at_end,
                struct format_record *out_record,
                size_t *out_used)
{
    struct format_record record = { .partition = -1 };
    struct input input = {
        .bytes = bytes,
        .size = size,
        .at_end = at_end,
        .key_size = -1,
        .value_size = -1,
    };

    if (size == 0) {
        return SPATE_ERR_AGAIN;
    }
    for (size_t i = 0; i < format->count; i++) {
        int rv = read_item(format, i, &input, &record);
        if (rv != 0) {
            return rv;
        }
    }
    if (input.position == 0) {
        return SPATE_ERR_MALFORMED; /* a format that reads nothing would never end */
    }
    *out_record = record;
    *out_used = input.position;
    return 0;
}
