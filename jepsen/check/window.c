#include "window.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum {
    HALF_NS = 250 * 1000 * 1000,
    LINES_MAX = 400, /* of a window, those that are nearest */
    EXAMPLES = 2,    /* of each kind */
    PATH_BYTES = 4096,
};

struct line {
    int64_t time_ns;
    char *text; /* owned */
};

struct window {
    const struct jep_example *example;
    enum jep_anomaly anomaly;
    struct JEP_VECTOR(struct line) lines;
};

struct windows {
    const struct jep_history *history;
    struct JEP_VECTOR(struct window) list;
};

/* Lines without a partition concern all of them. */
static bool concerns(const struct windows *windows, const struct window *window, const char *line)
{
    const char *field = strstr(line, " p=");

    return field == NULL || window->example->key == JEP_NONE ||
           strtoul(field + 3, NULL, 10) ==
               windows->history->keys.items[window->example->key].partition;
}

static int64_t distance(const struct window *window, int64_t time_ns)
{
    int64_t off = time_ns - window->example->time_ns;

    return off < 0 ? -off : off;
}

/* Takes the place of the line that is furthest away when the window is full. */
static void keep(struct window *window, int64_t time_ns, const char *text)
{
    struct line *place = NULL;

    if (window->lines.count < LINES_MAX) {
        place = jep_add(&window->lines);
    } else {
        place = window->lines.items;
        for (size_t i = 1; i < LINES_MAX; i++) {
            struct line *line = &window->lines.items[i];
            if (distance(window, line->time_ns) > distance(window, place->time_ns)) {
                place = line;
            }
        }
        if (distance(window, place->time_ns) <= distance(window, time_ns)) {
            return;
        }
        free(place->text);
    }
    size_t size = strlen(text) + 1;
    *place = (struct line){ .time_ns = time_ns, .text = jep_memory(size, 1) };
    memcpy(place->text, text, size);
}

static int take_file(struct windows *windows, const char *path)
{
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;

    if (file == NULL) {
        fprintf(stderr, "jepsen-check: %s: %s\n", path, strerror(errno));
        return -1;
    }
    while (getline(&line, &room, file) > 0) {
        int64_t time_ns = strtoll(line, NULL, 10);
        for (size_t i = 0; i < windows->list.count; i++) {
            struct window *window = &windows->list.items[i];
            if (distance(window, time_ns) <= HALF_NS && concerns(windows, window, line)) {
                keep(window, time_ns, line);
            }
        }
    }
    free(line);
    (void)fclose(file); /* it was only read */
    return 0;
}

static int by_time(const void *a, const void *b)
{
    const struct line *x = a;
    const struct line *y = b;

    return x->time_ns < y->time_ns ? -1 : x->time_ns > y->time_ns;
}

static void print(const struct windows *windows, struct window *window, FILE *out)
{
    const struct jep_example *example = window->example;

    fprintf(out, "==== %s: %s\n", jep_anomaly_name(window->anomaly), example->text);
    if (window->lines.count > 0) {
        qsort(window->lines.items, window->lines.count, sizeof *window->lines.items, by_time);
    }
    for (size_t i = 0; i < window->lines.count; i++) {
        fprintf(out,
                "%+10.3f ms  %s",
                (double)(window->lines.items[i].time_ns - example->time_ns) / 1e6,
                strchr(window->lines.items[i].text, ' ') + 1);
        free(window->lines.items[i].text);
    }
    fprintf(out,
            "---- %" PRId64 " ns, %.3f s after the first line\n\n",
            example->time_ns,
            (double)(example->time_ns - windows->history->first_ns) / 1e9);
    free(window->lines.items);
}

static int take_directory(struct windows *windows, const char *directory)
{
    struct dirent **entries = NULL;
    char path[PATH_BYTES];
    int count = scandir(directory, &entries, NULL, alphasort);
    int rv = count < 0 ? -1 : 0;

    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        size_t size = strlen(name);
        if (rv == 0 && size > 4 && strcmp(name + size - 4, ".log") == 0) {
            (void)snprintf(path, sizeof path, "%s/%s", directory, name);
            rv = take_file(windows, path);
        }
        free(entries[i]);
    }
    free(entries);
    return rv;
}

int jep_windows_write(const struct jep_history *history,
                      const struct jep_verdict *verdict,
                      const char *directory,
                      const char *nemesis,
                      FILE *out)
{
    struct windows windows = { .history = history };

    for (unsigned i = 0; i < JEP_ANOMALY_COUNT; i++) {
        for (unsigned n = 0; n < EXAMPLES && n < verdict->counts[i]; n++) {
            *jep_add(&windows.list) = (struct window){
                .example = &verdict->examples[i][n],
                .anomaly = i,
            };
        }
    }
    int rv = windows.list.count == 0 ? 0 : take_directory(&windows, directory);
    if (rv == 0 && windows.list.count > 0 && nemesis != NULL) {
        rv = take_file(&windows, nemesis);
    }
    for (size_t i = 0; i < windows.list.count; i++) {
        print(&windows, &windows.list.items[i], out);
    }
    free(windows.list.items);
    return rv;
}
