/* Counters of produce, on the screen and in a file. */
#include "cli/progress.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "io/clock.h"

enum {
    TERMINAL_US = 100000,
    PLAIN_US = 200000,
    SAVE_US = 50000,
};

void progress_begin(struct progress *progress, bool show, const char *stats_path)
{
    *progress = (struct progress){ .show = show, .stats_path = stats_path };
    progress->begin_us = sp_clock_us();
    progress->quiet_since_us = progress->begin_us;
    progress->terminal = isatty(STDERR_FILENO) == 1;
}

void progress_produced(struct progress *progress, size_t pending_before)
{
    progress->produced += 1;
    if (pending_before == 0 && !progress->failing) {
        progress->quiet_since_us = sp_clock_us();
    }
}

static void note_silence(struct progress *progress, uint64_t now_us)
{
    if (now_us - progress->quiet_since_us > progress->gap_us) {
        progress->gap_us = now_us - progress->quiet_since_us;
    }
}

void progress_answered(struct progress *progress)
{
    uint64_t now_us = sp_clock_us();

    note_silence(progress, now_us);
    progress->quiet_since_us = now_us;
    progress->failing = false;
}

static void show(struct progress *progress)
{
    fprintf(stderr,
            "%sproduced=%" PRIu64 " acked=%" PRIu64 " in_flight=%zu bytes=%" PRIu64
            " gap_ms=%" PRIu64 "%s",
            progress->terminal ? "\r\033[K" : "",
            progress->produced,
            progress->acked,
            progress->in_flight,
            progress->bytes,
            progress->gap_us / 1000,
            progress->terminal ? "" : "\n");
    progress->line_open = progress->terminal;
}

/* Written beside and renamed, so that a reader never sees half a file. */
static bool save(struct progress *progress, uint64_t now_us)
{
    char path[4096];
    double seconds = (double)(now_us - progress->begin_us) / 1e6;

    int size = snprintf(path, sizeof path, "%s.new", progress->stats_path);
    FILE *file = size > 0 && (size_t)size < sizeof path ? fopen(path, "we") : NULL;
    if (file == NULL) {
        return false;
    }
    int written = fprintf(file,
                          "{\"records\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"seconds\":%.3f,"
                          "\"mb_per_s\":%.3f,\"longest_gap_ms\":%" PRIu64 ",\"failed\":%" PRIu64
                          ",\"unknown\":%" PRIu64 ",\"retried\":%" PRIu64 ",\"acked\":%" PRIu64
                          ",\"in_flight\":%zu}\n",
                          progress->produced,
                          progress->bytes,
                          seconds,
                          seconds > 0 ? (double)progress->bytes / seconds / 1e6 : 0,
                          progress->gap_us / 1000,
                          progress->failed,
                          progress->unknown,
                          progress->retried,
                          progress->acked,
                          progress->in_flight);
    bool closed = fclose(file) == 0;
    return written > 0 && closed && rename(path, progress->stats_path) == 0;
}

void progress_tick(struct progress *progress)
{
    uint64_t now_us = sp_clock_us();
    uint64_t every_us = progress->terminal ? TERMINAL_US : PLAIN_US;

    if (progress->pending > 0) {
        note_silence(progress, now_us);
    }
    if (progress->show && now_us - progress->shown_us >= every_us) {
        progress->shown_us = now_us;
        show(progress);
    }
    if (progress->stats_path != NULL && now_us - progress->saved_us >= SAVE_US) {
        progress->saved_us = now_us;
        (void)save(progress, now_us); /* the last one counts, and is checked */
    }
}

bool progress_end(struct progress *progress)
{
    if (progress->show) {
        show(progress);
        if (progress->line_open) {
            fprintf(stderr, "\n");
        }
    }
    if (progress->stats_path != NULL && !save(progress, sp_clock_us())) {
        tell("cannot write %s: %s", progress->stats_path, strerror(errno));
        return false;
    }
    return true;
}
