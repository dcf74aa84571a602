/* Opening a log: the newest checkpoint whose segment is there, then every frame behind it.
 *
 *   install.checkpoint, truncation?  -> finish what they began
 *   checkpoints below the first segment -> removed, the end of a trim
 *   a whole checkpoint behind the last segment, or a file `rest` that names more -> damage
 *   checkpoints, newest first -> the first valid one gives the starting point; else segment 1
 *   older segments       -> header and index file (rebuilt when it is not usable)
 *   from the start on    -> each frame verified and followed: chain, index, offset;
 *                           after a stop in good order the file `rest` says what they would
 *   where that ends      -> log_break.c: torn tail or damage */
#include "storage/log_recover.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/trace.h"
#include "spate/error.h"
#include "storage/disk.h"

int sp_recovery_fail(const struct sp_recovery *recovery, int status, const char *format, ...)
{
    const struct sp_log_recovery *request = recovery->request;
    char what[160];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    (void)snprintf(request->text,
                   request->text_size,
                   "log of group %llu, replica %llu: %s (%s)",
                   (unsigned long long)request->group_id,
                   (unsigned long long)request->replica_id,
                   what,
                   spate_strerror(status));
    return status;
}

int sp_recovery_fail_writing(const struct sp_recovery *recovery, int status, const char *what)
{
    *recovery->request->disk_failed |= status == SPATE_ERR_IO;
    return sp_recovery_fail(recovery, status, "%s", what);
}

/* ---- the directory --------------------------------------------------------------------------- */

static int note_name(void *arg, const char *name)
{
    struct sp_recovery *recovery = arg;
    size_t size = strlen(name);
    uint64_t base = 0;

    if (sp_disk_parse_base(name, SP_SEGMENT_SUFFIX, &base)) {
        return sp_base_list_add(&recovery->segments, base);
    }
    if (sp_disk_parse_base(name, SP_CHECKPOINT_SUFFIX, &base)) {
        return sp_base_list_add(&recovery->checkpoints, base);
    }
    if (strcmp(name, SP_INSTALL_NAME) == 0) {
        recovery->install = true;
    } else if (strcmp(name, SP_TRUNCATION_NAME) == 0) {
        recovery->truncation = true;
    } else if (strcmp(name, SP_REST_NAME) == 0) {
        recovery->rest = true;
    } else if (size > 4 && strcmp(name + size - 4, ".tmp") == 0) {
        char path[SP_DISK_PATH_SIZE];

        sp_disk_path(path, recovery->request->directory, name);
        int rv = sp_disk_remove(path); /* of a replacement that did not come to its end */
        *recovery->request->disk_failed |= rv == SPATE_ERR_IO;
        return rv;
    }
    return 0;
}

static int list_files(struct sp_recovery *recovery)
{
    sp_base_list_clear(&recovery->segments);
    sp_base_list_clear(&recovery->checkpoints);
    recovery->install = false;
    recovery->truncation = false;
    recovery->rest = false;
    int rv = sp_dir_list(recovery->request->directory, note_name, recovery);
    if (rv == SPATE_ERR_NOT_FOUND) {
        return sp_recovery_fail(recovery, SPATE_ERR_CORRUPT, "its directory is missing");
    }
    return rv != 0 ? sp_recovery_fail(recovery, rv, "reading its directory failed") : 0;
}

static int finish_install(struct sp_recovery *recovery)
{
    const struct sp_log_recovery *request = recovery->request;
    char path[SP_DISK_PATH_SIZE];
    struct sp_blob *image = NULL;
    struct sp_checkpoint checkpoint;

    sp_disk_path(path, request->directory, SP_INSTALL_NAME);
    int rv = sp_checkpoint_load(path, request->group_id, &image, &checkpoint);
    if (rv != 0) {
        return sp_recovery_fail(recovery, rv, "%s is not readable", SP_INSTALL_NAME);
    }
    const struct sp_segment_header header = {
        .group_id = request->group_id,
        .marker_key =
            sp_log_marker_key(request->key_seed, request->group_id, checkpoint.point.index + 1),
        .before = checkpoint.point,
    };
    sp_blob_unref(image);
    rv = sp_log_install_finish(request->directory, &header);
    if (rv != 0) {
        return sp_recovery_fail_writing(recovery, rv, "finishing an install failed");
    }
    return list_files(recovery);
}

static int finish_truncation(struct sp_recovery *recovery)
{
    int rv = sp_log_truncate_finish(recovery->request->directory);

    return rv != 0 ? sp_recovery_fail_writing(recovery, rv, "finishing a truncation failed")
                   : list_files(recovery);
}

/* Checkpoints below the first segment are what a crash has left of a trim. */
static int finish_trim(struct sp_recovery *recovery)
{
    uint64_t first = recovery->segments.values[0];

    if (recovery->checkpoints.count == 0 || recovery->checkpoints.values[0] >= first) {
        return 0;
    }
    int rv = sp_log_trim_files(recovery->request->directory, first, NULL);
    return rv != 0 ? sp_recovery_fail_writing(recovery, rv, "finishing a trim failed")
                   : list_files(recovery);
}

/* ---- the start ------------------------------------------------------------------------------- */

/* Tries one checkpoint: it must be whole and fit the segment beside it. A damaged one is taken from
 * the list, so that it is written again; a whole one stays there as proof of what was synced. */
static int try_checkpoint(struct sp_recovery *recovery, unsigned number, unsigned *out_segment)
{
    struct sp_log *log = recovery->log;
    uint64_t base = recovery->checkpoints.values[number];
    char path[SP_DISK_PATH_SIZE];
    struct sp_log_point point;
    struct sp_blob *image = NULL;
    struct sp_checkpoint checkpoint;

    sp_disk_base_path(path, recovery->request->directory, base, SP_CHECKPOINT_SUFFIX);
    int rv = sp_checkpoint_load(path, recovery->request->group_id, &image, &checkpoint);
    if (rv != 0) {
        recovery->checkpoints.values[number] = 0;
        return rv;
    }
    if (!sp_base_list_find(&recovery->segments, base, out_segment)) {
        rv = SPATE_ERR_CORRUPT;
    }
    if (rv == 0) {
        rv = sp_recovery_begin_of(recovery, *out_segment, &point);
    }
    if (rv == 0) {
        rv = sp_recovery_same_point(&point, &checkpoint.point) ? 0 : SPATE_ERR_CORRUPT;
    }
    if (rv == 0) {
        rv = sp_log_history_load(&log->history, &checkpoint);
    }
    if (rv != 0) {
        sp_log_history_clear(&log->history);
        sp_blob_unref(image);
        return rv;
    }
    log->checkpoint_image = image;
    log->checkpoint = checkpoint;
    log->last = checkpoint.point;
    return 0;
}

/* Finds the segment from which frames are followed, and sets the log to its beginning. */
static int find_start(struct sp_recovery *recovery, unsigned *out_segment)
{
    struct sp_base_list *checkpoints = &recovery->checkpoints;

    for (unsigned i = checkpoints->count; i > 0; i--) {
        uint64_t base = checkpoints->values[i - 1];
        int rv = try_checkpoint(recovery, i - 1, out_segment);

        if (rv == 0) {
            return 0;
        }
        if (rv != SPATE_ERR_CORRUPT) {
            return sp_recovery_fail(recovery, rv, "reading a checkpoint failed");
        }
        SP_TRACE_WARN("storage",
                      "checkpoint not usable, an older one is taken",
                      "log=%s base=%llu",
                      recovery->request->directory,
                      (unsigned long long)base);
    }
    if (recovery->segments.values[0] != 1) {
        return sp_recovery_fail(recovery,
                                SPATE_ERR_CORRUPT,
                                "no usable checkpoint, and the log begins at %llu",
                                (unsigned long long)recovery->segments.values[0]);
    }
    *out_segment = 0;
    return 0;
}

/* ---- from the start on ----------------------------------------------------------------------- */

/* Follows one segment to its end. *out_broken: the log ends inside it, at `at`. */
static int follow_segment(struct sp_recovery *recovery,
                          unsigned number,
                          struct sp_log_break *at,
                          bool *out_broken)
{
    struct sp_log *log = recovery->log;
    struct sp_segment_header header;
    struct sp_file *file = NULL;
    uint64_t size = 0;
    int rv = sp_recovery_open_segment(recovery, number, &header, &file, &size);
    bool fits = rv == 0 && sp_recovery_same_point(&header.before, &log->last);

    *at = (struct sp_log_break){ .segment = number };
    *out_broken = rv == SPATE_ERR_CORRUPT || (rv == 0 && !fits);
    if (!fits) {
        if (rv == 0) {
            sp_file_close(file);
        }
        return *out_broken ? 0 : sp_recovery_fail(recovery, rv, "opening a segment failed");
    }
    rv = sp_recovery_add_segment(recovery, &header, size);
    if (rv != 0) {
        sp_file_close(file);
        return rv;
    }
    at->marker_key = header.marker_key;
    rv = sp_recovery_follow_frames(
        recovery, file, sp_log_newest_segment(log), &log->last, &log->history, &at->position);
    *out_broken = rv == SPATE_ERR_CORRUPT;
    if (rv == SPATE_ERR_CORRUPT || rv == SPATE_ERR_NOT_FOUND) {
        /* What was read may never have left the page cache. When that fails, also for a reason that
         * passes, trying again would succeed without the bytes. */
        if (recovery->request->syncs && sp_file_sync(file) != 0) {
            sp_file_close(file);
            return sp_recovery_fail_writing(recovery, SPATE_ERR_IO, "syncing a segment failed");
        }
        rv = 0;
    }
    sp_file_close(file);
    return rv != 0 ? sp_recovery_fail(recovery, rv, "reading a segment failed") : 0;
}

/* The log stops to make sense in segment `number`, but has all that the next one begins behind:
 * what is left there is of the file's life before, and the crash came before it was cut. */
static int end_if_complete(struct sp_recovery *recovery,
                           unsigned number,
                           const struct sp_log_break *at,
                           bool *out_complete)
{
    struct sp_log_point next;

    *out_complete = false;
    if (at->position == 0 || number + 1 == recovery->segments.count ||
        sp_recovery_begin_of(recovery, number + 1, &next) != 0 ||
        !sp_recovery_same_point(&next, &recovery->log->last)) {
        return 0;
    }
    *out_complete = true;
    return sp_recovery_end_segment(recovery, sp_log_newest_segment(recovery->log), at->position);
}

static int follow_all(struct sp_recovery *recovery, unsigned start)
{
    struct sp_log *log = recovery->log;
    struct sp_log_break at;
    bool broken = false;

    for (unsigned i = start; i < recovery->segments.count; i++) {
        int rv = follow_segment(recovery, i, &at, &broken);

        if (rv != 0) {
            return rv;
        }
        if (broken && i == start && at.position == 0) {
            return sp_recovery_fail(
                recovery, SPATE_ERR_CORRUPT, "the header of its first segment is damaged");
        }
        if (broken) {
            bool complete = false;

            rv = end_if_complete(recovery, i, &at, &complete);
            if (rv != 0) {
                return rv;
            }
            broken = !complete;
        }
        if (broken) {
            return sp_recovery_judge(recovery, &at);
        }
        if (i > start) {
            sp_recovery_save_index(
                recovery, sp_log_newest_segment(log) - 1, log->segments[i].before.chain);
        }
    }
    return 0;
}

static int recover(struct sp_recovery *recovery)
{
    unsigned start = 0;
    bool used = false;
    int rv = list_files(recovery);

    if (rv == 0) {
        rv = sp_recovery_take_rest(recovery);
    }
    if (rv == 0 && recovery->install) {
        rv = finish_install(recovery);
    }
    if (rv == 0 && recovery->truncation) {
        rv = finish_truncation(recovery);
    }
    if (rv == 0 && recovery->segments.count == 0) {
        rv = sp_recovery_fail(recovery, SPATE_ERR_CORRUPT, "its files are missing");
    }
    if (rv == 0) {
        rv = finish_trim(recovery);
    }
    if (rv == 0) {
        rv = sp_recovery_look_behind(recovery);
    }
    if (rv == 0) {
        rv = find_start(recovery, &start);
    }
    if (rv == 0) {
        rv = sp_recovery_load_all_older(recovery, start);
    }
    if (rv == 0) {
        rv = sp_recovery_use_rest(recovery, start, &used);
    }
    if (rv == 0 && !used) {
        rv = follow_all(recovery, start);
    }
    if (rv != 0) {
        return rv;
    }
    struct sp_log *log = recovery->log;
    log->persisted_index = log->last.index;
    log->assigned_index = log->last.index;
    log->assigned_chain = log->last.chain;
    sp_log_history_trim(&log->history, log->segments[0].before.index + 1);
    if (recovery->request->syncs) {
        rv = sp_dir_sync(recovery->request->directory);
    }
    return rv != 0 ? sp_recovery_fail_writing(recovery, rv, "syncing its directory failed") : 0;
}

int sp_log_recover(const struct sp_log_recovery *request, struct sp_log **out_log)
{
    struct sp_recovery recovery = { .request = request };

    recovery.log = sp_log_new(request->directory, request->group_id, request->replica_id);
    if (recovery.log == NULL) {
        return sp_recovery_fail(&recovery, SPATE_ERR_NOMEM, "opening it failed");
    }
    recovery.log->key_seed = request->key_seed;
    int rv = recover(&recovery);
    sp_recovery_drop_rest(&recovery);
    sp_base_list_clear(&recovery.segments);
    sp_base_list_clear(&recovery.checkpoints);
    if (rv != 0) {
        sp_log_free(recovery.log);
        return rv;
    }
    *out_log = recovery.log;
    return 0;
}
