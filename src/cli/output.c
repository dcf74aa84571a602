/* Standard output: one block buffer, tables, JSON. */
#include "cli/output.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/json_text.h"
#include "io/clock.h"

enum {
    BLOCK_BYTES = 256 * 1024,
    BLOCK_BYTES_MIN = 4096,
    SLOW_US = 100000,      /* a block that the reader takes longer for is too large for it */
    LAST_WRITES_MS = 1000, /* how long after ^C the reader may take what is in the block */
};

#define REAL_DIGITS JSON_REAL_PRECISION(15) /* as many as any decimal number keeps */

static struct {
    size_t size;
    size_t limit; /* written when it holds so much; small for a slow reader, so that it is known
                   * what that has taken; 0: not known yet */
    char bytes[BLOCK_BYTES];
} block;

static struct {
    void (*cb)(void *arg);
    void *arg;
} reader_gone;

static struct {
    bool outlived; /* printing is not what the program is for */
    bool lost;     /* nothing is written any more */
    bool failed;   /* for another reason than a reader that has gone */
} output;

void out_outlive_reader(void)
{
    output.outlived = true;
}

bool out_failed(void)
{
    return output.failed;
}

void out_on_reader_gone(void (*cb)(void *arg), void *arg)
{
    reader_gone.cb = cb;
    reader_gone.arg = arg;
}

/* Returns only where the reader is outlived. */
static void end_without_reader(int code)
{
    if (output.outlived) {
        output.lost = true;
        return;
    }
    void (*cb)(void *arg) = reader_gone.cb;

    reader_gone.cb = NULL; /* it may write, too */
    if (cb != NULL) {
        cb(reader_gone.arg);
    }
    _exit(code);
}

static void end_unwritten(int error)
{
    tell("cannot write to standard output: %s", strerror(error));
    output.failed = true;
    end_without_reader(EXIT_FAILED);
}

/* After ^C: waits until `PIPE_BUF` bytes can be written without waiting. `end_us` is 0 at first. */
static void await_room_to_end(uint64_t *end_us)
{
    struct pollfd reader = { .fd = STDOUT_FILENO, .events = POLLOUT };
    uint64_t now_us = sp_clock_us();

    *end_us = *end_us == 0 ? now_us + LAST_WRITES_MS * UINT64_C(1000) : *end_us;
    int wait_ms = now_us >= *end_us ? 0 : (int)((*end_us - now_us) / 1000) + 1;
    if (wait_ms == 0 || poll(&reader, 1, wait_ms) == 0) {
        end_without_reader(EXIT_INTERRUPTED);
    }
}

static void write_all(const char *bytes, size_t size)
{
    uint64_t end_us = 0;

    while (size > 0 && !output.lost) {
        if (interrupted()) {
            await_room_to_end(&end_us);
            if (output.lost) {
                return;
            }
        }
        size_t part = interrupted() && size > PIPE_BUF ? PIPE_BUF : size;
        ssize_t written = write(STDOUT_FILENO, bytes, part);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written < 0 && errno == EPIPE) {
            end_without_reader(EXIT_OK);
            return;
        }
        if (written < 0) {
            end_unwritten(errno);
            return;
        }
        bytes += written;
        size -= (size_t)written;
    }
}

static size_t limit_after(uint64_t took_us)
{
    if (took_us >= SLOW_US) {
        return BLOCK_BYTES_MIN;
    }
    return block.limit < BLOCK_BYTES / 2 ? 2 * block.limit : BLOCK_BYTES;
}

void out_flush(void)
{
    if (block.size == 0) {
        return;
    }
    uint64_t begun_us = sp_clock_us();
    write_all(block.bytes, block.size);
    block.size = 0;
    block.limit = limit_after(sp_clock_us() - begun_us);
}

void out_write(const void *bytes, size_t size)
{
    size_t limit = block.limit == 0 ? BLOCK_BYTES : block.limit;

    if (size > limit || block.size > limit - size) {
        out_flush();
    }
    if (size > BLOCK_BYTES) {
        write_all(bytes, size);
        return;
    }
    if (size > 0) {
        memcpy(block.bytes + block.size, bytes, size);
        block.size += size;
    }
}

void out_text(const char *text)
{
    out_write(text, strlen(text));
}

bool out_is_terminal(void)
{
    return isatty(STDOUT_FILENO) == 1;
}

void out_wait(int timeout_ms)
{
    struct pollfd reader = { .fd = STDOUT_FILENO, .events = 0 };

    if (poll(&reader, 1, timeout_ms) > 0) {
        if ((reader.revents & POLLNVAL) != 0) {
            _exit(EXIT_FAILED);
        }
        end_without_reader(EXIT_OK);
    }
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static int write_json(const char *bytes, size_t size, void *arg)
{
    (void)arg;
    out_write(bytes, size);
    return 0;
}

static void dump_json(json_t *value, size_t flags)
{
    if (value == NULL ||
        json_dump_callback(value, write_json, NULL, flags | JSON_ENCODE_ANY | REAL_DIGITS) != 0) {
        tell("out of memory for JSON");
        exit(EXIT_FAILED);
    }
    json_decref(value);
    out_text("\n");
    out_flush();
}

void out_json(json_t *value)
{
    dump_json(value, out_is_terminal() ? JSON_INDENT(2) : JSON_COMPACT);
}

void out_json_line(json_t *value)
{
    dump_json(value, JSON_COMPACT);
}

void out_json_bytes(const void *bytes, size_t size)
{
    json_print_bytes(bytes, size, out_write);
}

/* ---- tables ---------------------------------------------------------------------------------- */

void table_text(struct table *table, const char *text)
{
    if (table->cell_count == table->cell_capacity) {
        table->cell_capacity = table->cell_capacity == 0 ? 64 : 2 * table->cell_capacity;
        table->cells = realloc(table->cells, table->cell_capacity * sizeof(char *));
    }
    char *copy = table->cells == NULL ? NULL : strdup(text);
    if (copy == NULL) {
        tell("out of memory");
        exit(EXIT_FAILED);
    }
    table->cells[table->cell_count++] = copy;
}

void table_number(struct table *table, int64_t number)
{
    char text[24];

    (void)snprintf(text, sizeof text, "%lld", (long long)number);
    table_text(table, text);
}

static void print_row(const struct table *table, const char *const *cells, const size_t *widths)
{
    for (size_t column = 0; column < table->columns; column++) {
        bool last = column + 1 == table->columns;
        size_t size = strlen(cells[column]);
        out_write(cells[column], size);
        for (size_t i = size; !last && widths != NULL && i < widths[column] + 2; i++) {
            out_text(" ");
        }
        if (!last && widths == NULL) {
            out_text("\t");
        }
    }
    out_text("\n");
}

void table_free(struct table *table)
{
    for (size_t i = 0; i < table->cell_count; i++) {
        free(table->cells[i]);
    }
    free(table->cells);
    table->cells = NULL;
    table->cell_count = 0;
    table->cell_capacity = 0;
}

void table_print(struct table *table)
{
    size_t widths[TABLE_COLUMNS_MAX] = { 0 };
    bool aligned = out_is_terminal();

    for (size_t i = 0; i < table->columns; i++) {
        widths[i] = strlen(table->headings[i]);
    }
    for (size_t i = 0; i < table->cell_count; i++) {
        size_t size = strlen(table->cells[i]);
        if (size > widths[i % table->columns]) {
            widths[i % table->columns] = size;
        }
    }
    if (aligned) {
        print_row(table, table->headings, widths);
    }
    for (size_t i = 0; i + table->columns <= table->cell_count; i += table->columns) {
        const char *row[TABLE_COLUMNS_MAX];
        for (size_t j = 0; j < table->columns; j++) {
            row[j] = table->cells[i + j];
        }
        print_row(table, row, aligned ? widths : NULL);
    }
    table_free(table);
    out_flush();
}

/* ---- changes of tables ----------------------------------------------------------------------- */

static bool
same_cells(const struct table *a, size_t row_a, const struct table *b, size_t row_b, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(a->cells[row_a * a->columns + i], b->cells[row_b * b->columns + i]) != 0) {
            return false;
        }
    }
    return true;
}

static size_t row_count(const struct table *table)
{
    return table->columns == 0 ? 0 : table->cell_count / table->columns;
}

/* The row of `in` that is like row `row` of `table`, or SIZE_MAX. Rows mostly keep their places, so
 * that is where the search begins. */
static size_t
find_row(const struct table *in, const struct table *table, size_t row, size_t key_columns)
{
    size_t count = row_count(in);

    for (size_t i = 0; i < count; i++) {
        size_t at = (row + i) % count;
        if (same_cells(in, at, table, row, key_columns)) {
            return at;
        }
    }
    return SIZE_MAX;
}

static void print_cells(const struct table *table, size_t row, size_t count)
{
    for (size_t i = 0; i < table->columns; i++) {
        out_text(i == 0 ? "" : "\t");
        out_text(i < count ? table->cells[row * table->columns + i] : "gone");
    }
    out_text("\n");
}

void table_print_changes(const struct table *table, const struct table *before, size_t key_columns)
{
    for (size_t row = 0; row < row_count(table); row++) {
        size_t old = find_row(before, table, row, key_columns);
        if (old == SIZE_MAX || before->columns != table->columns ||
            !same_cells(table, row, before, old, table->columns)) {
            print_cells(table, row, table->columns);
        }
    }
    for (size_t row = 0; row < row_count(before); row++) {
        if (find_row(table, before, row, key_columns) == SIZE_MAX) {
            print_cells(before, row, key_columns);
        }
    }
    out_flush();
}

void sort_by_id(json_t *rows)
{
    for (size_t i = 1; i < json_array_size(rows); i++) {
        json_t *row = json_incref(json_array_get(rows, i));
        json_int_t id = json_integer_value(json_object_get(row, "id"));
        size_t place = i;
        while (place > 0 &&
               json_integer_value(json_object_get(json_array_get(rows, place - 1), "id")) > id) {
            place -= 1;
        }
        if (place < i) {
            (void)json_array_remove(rows, i);
            (void)json_array_insert(rows, place, row); /* out of memory: it is left out */
        }
        json_decref(row);
    }
}
