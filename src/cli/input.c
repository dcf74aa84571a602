/* The block reader of produce. */
#include "cli/input.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

enum {
    READ_BYTES_MIN = 64 * 1024, /* less room than this and the rest moves to the front */
    FIRST_BYTES = 512 * 1024,
    TEXT_SIZE = 1024,
    ENCODED_BYTES_MAX = 4 * INPUT_BYTES_MAX, /* two of hex for each byte of a key and a value */
};

struct input_reader {
    int descriptor;
    const char *name;
    const struct format *format;
    const char *delimiter; /* NULL: by format alone */
    size_t delimiter_size;
    uint8_t *bytes;
    size_t capacity;
    size_t begin; /* of what has not been read as records */
    size_t end;
    size_t scanned; /* bytes behind `begin` that hold no newline; lines only */
    bool at_end;
    uint64_t records;
    int failure; /* and why: `text` */
    char text[TEXT_SIZE];
    struct format_scratch scratch;
};

struct input_reader *input_open(const char *path,
                                const struct format *format,
                                const char *delimiter,
                                size_t delimiter_size)
{
    struct input_reader *reader = calloc(1, sizeof *reader);
    bool standard = path == NULL || strcmp(path, "-") == 0;

    if (reader != NULL) {
        reader->bytes = malloc(FIRST_BYTES);
    }
    if (reader == NULL || reader->bytes == NULL) {
        free(reader);
        tell("out of memory");
        return NULL;
    }
    reader->capacity = FIRST_BYTES;
    format_scratch_init(&reader->scratch);
    reader->format = format;
    reader->delimiter = delimiter;
    reader->delimiter_size = delimiter_size;
    reader->name = standard ? "standard input" : path;
    reader->descriptor = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (reader->descriptor < 0) {
        tell("cannot open %s: %s", path, strerror(errno));
        input_close(reader);
        return NULL;
    }
    return reader;
}

void input_close(struct input_reader *reader)
{
    if (reader == NULL) {
        return;
    }
    if (reader->descriptor > STDIN_FILENO) {
        (void)close(reader->descriptor); /* it was only read */
    }
    format_scratch_deinit(&reader->scratch);
    free(reader->bytes);
    free(reader);
}

/* ---- filling --------------------------------------------------------------------------------- */

static enum input_state fail(struct input_reader *reader, int code, const char *format, ...)
    SP_PRINTF(3, 4);

static enum input_state fail(struct input_reader *reader, int code, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(reader->text, sizeof reader->text, format, arguments);
    va_end(arguments);
    reader->failure = code;
    return INPUT_FAILED;
}

int input_failure(const struct input_reader *reader, const char **out_text)
{
    *out_text = reader->text;
    return reader->failure;
}

/* Makes room behind `end`. INPUT_FAILED: the record in progress is larger than any. */
static enum input_state make_room(struct input_reader *reader)
{
    if (reader->begin > 0 && reader->capacity - reader->end < READ_BYTES_MIN) {
        memmove(reader->bytes, reader->bytes + reader->begin, reader->end - reader->begin);
        reader->end -= reader->begin;
        reader->begin = 0;
    }
    if (reader->capacity - reader->end >= READ_BYTES_MIN) {
        return INPUT_RECORD;
    }
    if (reader->capacity >= ENCODED_BYTES_MAX) {
        return fail(reader,
                    SPATE_ERR_TOO_LARGE,
                    "%s: record %llu is larger than any topic can be set to take: %d bytes "
                    "(max.message.bytes)",
                    reader->name,
                    (unsigned long long)reader->records + 1,
                    INPUT_BYTES_MAX);
    }
    uint8_t *grown = realloc(reader->bytes, 2 * reader->capacity);
    if (grown == NULL) {
        return fail(reader, SPATE_ERR_NOMEM, "out of memory");
    }
    reader->bytes = grown;
    reader->capacity *= 2;
    return INPUT_RECORD;
}

static bool readable(const struct input_reader *reader, int timeout_ms)
{
    struct pollfd wait = { .fd = reader->descriptor, .events = POLLIN };

    return poll(&wait, 1, timeout_ms) > 0;
}

void input_wait(struct input_reader *reader, int timeout_ms)
{
    (void)readable(reader, timeout_ms);
}

static enum input_state fill(struct input_reader *reader)
{
    enum input_state room = make_room(reader);

    if (room != INPUT_RECORD) {
        return room;
    }
    if (!readable(reader, 0)) {
        return INPUT_WAIT;
    }
    ssize_t got =
        read(reader->descriptor, reader->bytes + reader->end, reader->capacity - reader->end);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) {
        return INPUT_WAIT;
    }
    if (got < 0) {
        return fail(reader, SPATE_ERR_IO, "cannot read %s: %s", reader->name, strerror(errno));
    }
    reader->at_end = got == 0;
    reader->end += (size_t)got;
    return INPUT_RECORD;
}

/* ---- records --------------------------------------------------------------------------------- */

static void split_line(const struct input_reader *reader,
                       const uint8_t *line,
                       size_t size,
                       struct format_record *out_record)
{
    const uint8_t *found = memmem(line, size, reader->delimiter, reader->delimiter_size);

    *out_record = (struct format_record){ .value = line, .value_size = size, .partition = -1 };
    if (found != NULL) {
        size_t key_size = (size_t)(found - line);
        out_record->key = line;
        out_record->key_size = key_size;
        out_record->value = found + reader->delimiter_size;
        out_record->value_size = size - key_size - reader->delimiter_size;
    }
}

/* Reads a line, whose key ends at the delimiter. */
static int
read_line(struct input_reader *reader, struct format_record *out_record, size_t *out_used)
{
    const uint8_t *line = reader->bytes + reader->begin;
    size_t size = reader->end - reader->begin;
    const uint8_t *newline = size == reader->scanned
                                 ? NULL
                                 : memchr(line + reader->scanned, '\n', size - reader->scanned);

    if (newline == NULL && (!reader->at_end || size == 0)) {
        reader->scanned = size;
        return SPATE_ERR_AGAIN;
    }
    reader->scanned = 0;
    size_t line_size = newline == NULL ? size : (size_t)(newline - line);
    split_line(reader, line, line_size, out_record);
    *out_used = line_size + (newline == NULL ? 0 : 1);
    return 0;
}

static int
read_record(struct input_reader *reader, struct format_record *out_record, size_t *out_used)
{
    if (reader->delimiter != NULL) {
        return read_line(reader, out_record, out_used);
    }
    int rv = format_read(reader->format,
                         reader->bytes + reader->begin,
                         reader->end - reader->begin,
                         reader->at_end,
                         out_record,
                         out_used);
    return rv != 0 ? rv : format_decode(reader->format, &reader->scratch, out_record);
}

enum input_state input_next(struct input_reader *reader, struct format_record *out_record)
{
    for (;;) {
        size_t used = 0;
        int rv = read_record(reader, out_record, &used);
        if (rv == 0) {
            reader->begin += used;
            reader->records += 1;
            return INPUT_RECORD;
        }
        if (rv == SPATE_ERR_AGAIN && reader->at_end && reader->begin == reader->end) {
            return INPUT_END;
        }
        if (rv != SPATE_ERR_AGAIN || reader->at_end) {
            return fail(reader,
                        SPATE_ERR_MALFORMED,
                        "%s: record %llu %s",
                        reader->name,
                        (unsigned long long)reader->records + 1,
                        rv == SPATE_ERR_AGAIN ? "is cut short by the end of the input"
                                              : "does not follow the format");
        }
        enum input_state state = fill(reader);
        if (state != INPUT_RECORD) {
            return state;
        }
    }
}
