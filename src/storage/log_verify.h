/* Checking a log's files where they lie, without a node and without changing them.
 *
 *   every segment      header, each frame, its chain to the one before, across segments
 *   every checkpoint   whole, and at the place where its segment begins
 *   every index file   does it describe its segment? (only a hint: it can be rebuilt)
 *
 *   the newest segment as large as the last stop in good order left it, and the one of a checkpoint
 *
 * Blocking. Of a node that runs the newest segment may be seen while it is written. */
#ifndef SP_STORAGE_LOG_VERIFY_H
#define SP_STORAGE_LOG_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "storage/segment.h"

enum sp_verify_kind {
    SP_VERIFY_NOTE,   /* what a start of the node puts right by itself */
    SP_VERIFY_TORN,   /* an unfinished write at the end, which a start cuts off */
    SP_VERIFY_HEALS,  /* what was synced is not readable, and a node does without it by itself */
    SP_VERIFY_DAMAGE, /* something that was synced is not readable */
};

struct sp_verify_finding {
    enum sp_verify_kind kind;
    const char *file;  /* its name in the directory */
    uint64_t position; /* in it */
    const char *text;
};

struct sp_verify_report {
    uint64_t group_id;
    uint64_t first_index;
    uint64_t last_index; /* of the last frame that is readable */
    int64_t first_offset;
    int64_t end_offset;
    uint64_t frames; /* readable ones, without markers */
    uint64_t records;
    uint64_t bytes; /* of segments */
    unsigned segments;
    unsigned checkpoints; /* whole ones */
    unsigned indexes;     /* usable ones, or rebuilt */
    unsigned damaged;     /* findings of each kind */
    unsigned heals;
    unsigned torn;
    unsigned notes;
};

struct sp_verify_options {
    uint64_t last_run;    /* the node's last run, by its metadata; 0: not known */
    bool rebuild_indexes; /* writes those that are not usable: the node must be stopped */
    void (*found)(void *arg, const struct sp_verify_finding *finding);
    void *arg;
};

/* Checks the log in `directory`. 0: it was checked, the report says how it is. SPATE_ERR_NOT_FOUND:
 * there is no log; SPATE_ERR_IO, SPATE_ERR_NOMEM. */
int sp_log_verify(const char *directory,
                  const struct sp_verify_options *options,
                  struct sp_verify_report *out_report);

#endif /* SP_STORAGE_LOG_VERIFY_H */
