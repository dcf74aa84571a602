#include "history.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    BUFFER_BYTES = 262144,
    LINE_BYTES_MAX = 16384,
    RUN_BYTES_MAX = 64,
    WAIT_NS = 100 * 1000 * 1000,
};

struct jep_history {
    int file;
    uint32_t client;
    uint64_t operations;
    int64_t flushed_ns;
    size_t size;
    char buffer[BUFFER_BYTES];
};

int64_t jep_now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

struct jep_history *jep_history_open(const char *path, uint32_t client)
{
    struct jep_history *history = calloc(1, sizeof *history);

    if (history == NULL) {
        return NULL;
    }
    history->client = client;
    history->file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (history->file < 0) {
        free(history);
        return NULL;
    }
    return history;
}

uint64_t jep_history_operation(struct jep_history *history)
{
    return ++history->operations;
}

void jep_history_flush(struct jep_history *history)
{
    size_t done = 0;

    while (done < history->size) {
        ssize_t size = write(history->file, history->buffer + done, history->size - done);
        if (size < 0 && errno == EINTR) {
            continue;
        }
        if (size <= 0) {
            fprintf(stderr, "jepsen-client: writing the history: %s\n", strerror(errno));
            exit(2);
        }
        done += (size_t)size;
    }
    history->size = 0;
    history->flushed_ns = jep_now_ns();
}

void jep_history_idle(struct jep_history *history)
{
    if (history->size > 0 && jep_now_ns() - history->flushed_ns >= WAIT_NS) {
        jep_history_flush(history);
    }
}

void jep_history_line(struct jep_history *history, uint64_t operation, const char *format, ...)
{
    va_list arguments;

    if (history->size + LINE_BYTES_MAX > sizeof history->buffer) {
        jep_history_flush(history);
    }
    char *line = history->buffer + history->size;
    int head = snprintf(line,
                        LINE_BYTES_MAX,
                        "%" PRId64 " %" PRIu32 " %" PRIu64 " ",
                        jep_now_ns(),
                        history->client,
                        operation);
    va_start(arguments, format);
    int body = vsnprintf(line + head, (size_t)(LINE_BYTES_MAX - head - 1), format, arguments);
    va_end(arguments);
    if (body < 0 || body >= LINE_BYTES_MAX - head - 1) {
        fprintf(stderr, "jepsen-client: a line of the history is too long\n");
        exit(2);
    }
    line[head + body] = '\n';
    history->size += (size_t)(head + body) + 1;
    jep_history_idle(history);
}

void jep_history_close(struct jep_history *history)
{
    jep_history_flush(history);
    (void)close(history->file); /* what was written stays */
    free(history);
}

/* ---- runs ------------------------------------------------------------------------------------ */

void jep_runs_reset(struct jep_runs *runs)
{
    runs->size = 0;
    runs->count = 0;
    runs->text[0] = '\0';
}

static void end_run(struct jep_runs *runs)
{
    if (runs->count == 0) {
        return;
    }
    int size = snprintf(runs->text + runs->size,
                        sizeof runs->text - runs->size,
                        "%s%" PRId64 "/%" PRIu32 ":%" PRIu32 "+%" PRIu32,
                        runs->size == 0 ? "" : ",",
                        runs->offset,
                        runs->client,
                        runs->sequence,
                        runs->count);
    runs->size += (size_t)size;
    runs->count = 0;
}

int jep_runs_add(struct jep_runs *runs, int64_t offset, uint32_t client, uint32_t sequence)
{
    if (runs->count > 0 && client == runs->client && sequence == runs->sequence + runs->count &&
        offset == runs->offset + runs->count) {
        runs->count += 1;
        return 0;
    }
    if (runs->size + 2 * (size_t)RUN_BYTES_MAX > sizeof runs->text) {
        return -1;
    }
    end_run(runs);
    runs->offset = offset;
    runs->client = client;
    runs->sequence = sequence;
    runs->count = 1;
    return 0;
}

const char *jep_runs_text(struct jep_runs *runs)
{
    end_run(runs);
    return runs->text;
}
