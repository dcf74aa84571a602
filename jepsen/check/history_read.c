/* The files of a history, and the tables of names. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "history_parts.h"

enum {
    BUFFER_BYTES = 1 << 20, /* more than the longest line */
    PATH_BYTES = 4096,
};

/* ---- names ----------------------------------------------------------------------------------- */

uint32_t jep_name_of(struct jep_history *history, const char *text, size_t size)
{
    for (size_t i = 0; i < history->names.count; i++) {
        const char *name = history->names.items[i];
        if (strlen(name) == size && memcmp(name, text, size) == 0) {
            return (uint32_t)i;
        }
    }
    char *copy = jep_memory(size + 1, 1);
    memcpy(copy, text, size);
    *jep_add(&history->names) = copy;
    return (uint32_t)(history->names.count - 1);
}

uint32_t jep_client_of(struct jep_history *history, uint32_t id)
{
    uint32_t *row = jep_map_at(history->client_map, id);

    if (*row == JEP_NONE) {
        *row = (uint32_t)history->clients.count;
        *jep_add(&history->clients) =
            (struct jep_client){ .id = id, .topic = JEP_NONE, .group = JEP_NONE };
    }
    return *row;
}

uint32_t jep_key_of(struct jep_history *history, uint32_t topic, uint32_t partition)
{
    uint32_t *row = jep_map_at(history->key_map, (uint64_t)topic << 32 | partition);

    if (*row == JEP_NONE) {
        *row = (uint32_t)history->keys.count;
        *jep_add(&history->keys) = (struct jep_key){
            .topic = topic, .partition = partition, .final_end = JEP_NONE, .final_from = 0
        };
    }
    return *row;
}

uint32_t jep_stream_of(struct jep_history *history, uint32_t client, uint32_t key)
{
    uint32_t *row = jep_map_at(history->stream_map, (uint64_t)client << 32 | key);

    if (*row == JEP_NONE) {
        *row = (uint32_t)history->streams.count;
        *jep_add(&history->streams) = (struct jep_stream){ .client = client, .key = key };
    }
    return *row;
}

/* ---- files ----------------------------------------------------------------------------------- */

/* Takes the whole lines of `buffer`; returns how many bytes they were, or -1. */
static ssize_t take_lines(struct jep_reading *reading, char *buffer, size_t size)
{
    size_t begin = 0;
    char *end;

    while ((end = memchr(buffer + begin, '\n', size - begin)) != NULL) {
        *end = '\0';
        reading->line += 1;
        const char *wrong = jep_read_line(reading, buffer + begin);
        if (wrong != NULL) {
            fprintf(stderr,
                    "jepsen-check: %s:%" PRIu64 ": %s: %.200s\n",
                    reading->path,
                    reading->line,
                    wrong,
                    buffer + begin);
            return -1;
        }
        begin = (size_t)(end - buffer) + 1;
    }
    return (ssize_t)begin;
}

/* What stands behind the last newline was being written when its client was killed. */
static int read_file(struct jep_reading *reading, char *buffer)
{
    int file = open(reading->path, O_RDONLY | O_CLOEXEC);
    size_t kept = 0;
    ssize_t size = -1;

    while (file >= 0 && (size = read(file, buffer + kept, BUFFER_BYTES - kept)) > 0) {
        ssize_t used = take_lines(reading, buffer, kept + (size_t)size);
        kept += (size_t)size;
        if (used < 0 || (used == 0 && kept == BUFFER_BYTES)) {
            break;
        }
        kept -= (size_t)used;
        memmove(buffer, buffer + used, kept);
    }
    if (size < 0) {
        fprintf(stderr, "jepsen-check: %s: %s\n", reading->path, strerror(errno));
    } else if (size > 0 && kept == BUFFER_BYTES) {
        fprintf(stderr, "jepsen-check: %s: a line without end\n", reading->path);
    }
    if (file >= 0) {
        (void)close(file);
    }
    return size == 0 ? 0 : -1;
}

static int is_history(const struct dirent *entry)
{
    size_t size = strlen(entry->d_name);

    return size > 4 && strcmp(entry->d_name + size - 4, ".log") == 0;
}

static void begin(struct jep_history *history)
{
    *history = (struct jep_history){
        .client_map = jep_map_new(),
        .stream_map = jep_map_new(),
        .key_map = jep_map_new(),
        .first_ns = INT64_MAX,
        .last_ns = INT64_MIN,
    };
}

int jep_history_read(struct jep_history *history, const char *directory)
{
    struct jep_reading reading = { .history = history };
    struct dirent **entries = NULL;
    char path[PATH_BYTES];
    char *buffer = jep_memory(BUFFER_BYTES, 1);
    int count = scandir(directory, &entries, is_history, alphasort);
    int rv = count > 0 ? 0 : -1;

    begin(history);
    if (rv != 0) {
        fprintf(stderr, "jepsen-check: no history in %s\n", directory);
    }
    for (int i = 0; i < count; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", directory, entries[i]->d_name);
        free(entries[i]);
        reading.path = path;
        reading.line = 0;
        reading.topic = JEP_NONE;
        reading.group = JEP_NONE;
        reading.keys = 0;
        reading.open = jep_map_new();
        rv = rv == 0 ? read_file(&reading, buffer) : rv;
        jep_map_free(reading.open);
    }
    free(entries);
    free(buffer);
    jep_close_sends(history);
    *jep_add(&history->polls) = (struct jep_poll){ .first_run = (uint32_t)history->runs.count };
    history->polls.count -= 1; /* the row behind the last one */
    return rv;
}
