/* What produce tells about itself while it runs and at the end: counters, the longest silence, a
 * line on stderr, a file of figures. */
#ifndef SPATE_CLI_PROGRESS_H
#define SPATE_CLI_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct progress {
    bool show;              /* the line on stderr */
    const char *stats_path; /* NULL: no file */
    uint64_t begin_us;
    uint64_t shown_us;
    uint64_t saved_us;
    uint64_t quiet_since_us; /* last acknowledgement, or begin of waiting for one */
    uint64_t gap_us;         /* longest time without one while records waited or failed */
    bool failing;            /* nothing was acknowledged since a record failed */
    uint64_t produced;
    uint64_t acked;
    uint64_t failed;
    uint64_t unknown; /* of the failed: perhaps stored all the same */
    uint64_t retried; /* batches */
    uint64_t bytes;   /* of keys and values acknowledged */
    size_t pending;
    size_t in_flight;
    bool terminal;
    bool line_open;
};

void progress_begin(struct progress *progress, bool show, const char *stats_path);

/* A record was handed over, `pending` before it. */
void progress_produced(struct progress *progress, size_t pending_before);

/* Records were acknowledged. */
void progress_answered(struct progress *progress);

/* Shows and saves when it is time. */
void progress_tick(struct progress *progress);

/* The last line and the final figures. False after a message: the file could not be written. */
bool progress_end(struct progress *progress);

#endif /* SPATE_CLI_PROGRESS_H */
