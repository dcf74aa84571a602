/* Standard output in large blocks, tables, and JSON text.
 *
 * A reader that has gone away (EPIPE) ends the program silently and successfully: it had enough. */
#ifndef SPATE_CLI_OUTPUT_H
#define SPATE_CLI_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

/* Adds bytes to what goes to stdout; written in blocks. Other errors than EPIPE end the program
 * with a message. */
void out_write(const void *bytes, size_t size);

void out_text(const char *text);

/* Writes what is waiting. */
void out_flush(void);

/* When nobody reads standard output any more, or it cannot be written, the program ends within the
 * next write, and calls `cb` (NULL: nothing) before. What was to be written is lost. */
void out_on_reader_gone(void (*cb)(void *arg), void *arg);

/* For a program whose work is another than what it prints: from now on a reader that goes away, or
 * output that cannot be written, which is told, ends nothing; what is printed from then on is lost.
 */
void out_outlive_reader(void);

/* True if such output could not be written though somebody may want it: not for a closed pipe. */
bool out_failed(void);

/* One JSON value, indented on a terminal, on one line otherwise, with a newline. Takes `value`. */
void out_json(json_t *value);

/* The same on one line always: for streams of objects. */
void out_json_line(json_t *value);

/* A JSON string of these bytes with its quotes, when they are UTF-8; else {"$bin":"base64"}; null
 * for NULL. */
void out_json_bytes(const void *bytes, size_t size);

bool out_is_terminal(void);

/* Sleeps up to `timeout_ms`; a signal ends it, and so does a reader that goes away, with the whole
 * program as above. What is waiting must have been flushed. */
void out_wait(int timeout_ms);

/* ---- tables ---- */

#define TABLE_COLUMNS_MAX 10

/* Rows of short texts: aligned under a heading on a terminal, separated by tabs without one
 * elsewhere. Zero-initialise with `columns` and `headings`. */
struct table {
    size_t columns;
    const char *headings[TABLE_COLUMNS_MAX];
    char **cells;
    size_t cell_count;
    size_t cell_capacity;
};

/* Adds the next cell, row by row. */
void table_text(struct table *table, const char *text);
void table_number(struct table *table, int64_t number);

/* Prints and frees the cells. */
void table_print(struct table *table);

/* Prints the rows that are not in `before`, and the first `key_columns` cells of those rows of
 * `before` whose like is gone, with "gone" in each other column. Rows are alike when those cells
 * are. Both keep their cells. */
void table_print_changes(const struct table *table, const struct table *before, size_t key_columns);

/* Frees the cells without printing. */
void table_free(struct table *table);

/* Puts the rows of an answer, objects with an `id`, into the order of these numbers. */
void sort_by_id(json_t *rows);

#endif /* SPATE_CLI_OUTPUT_H */
