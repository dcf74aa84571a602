/* Where a log's files stop making sense: a torn tail or damage?
 *
 * A write that was not synced when power failed may be there in any part; it was never reported
 * durable and is cut. Frames at or below an index that was synced are not: losing them silently
 * would break promises given to a majority. What proves that an index was synced:
 *   - a marker behind the break that names it (each write begins with one),
 *   - a later segment with a valid header: it is created after the one before is synced,
 *   - a later checkpoint: it is written after the log below it is synced, and the file where it
 *     begins,
 *   - the file `rest` that the run before this one left: all was synced when it was written.
 * Markers with another key prove nothing: they are of the segment that the file was before. */
#include "base/trace.h"
#include "spate/error.h"
#include "storage/disk.h"
#include "storage/log_recover.h"

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Markers in one file. `proven` rises to the largest index that one of the segment names. */
static int search_file(const struct sp_recovery *recovery,
                       uint64_t base,
                       uint64_t position,
                       uint64_t marker_key,
                       uint64_t *proven,
                       struct sp_marker_search *out_search)
{
    char path[SP_DISK_PATH_SIZE];
    struct sp_file *file = NULL;

    sp_disk_base_path(path, recovery->request->directory, base, SP_SEGMENT_SUFFIX);
    int rv = sp_file_open(path, SP_FILE_READ, &file);
    if (rv != 0) {
        return rv;
    }
    rv = sp_segment_find_markers(
        file, position, recovery->request->group_id, marker_key, out_search);
    sp_file_close(file);
    if (rv == 0) {
        *proven = larger(*proven, out_search->synced_index);
    }
    return rv;
}

/* A segment behind the break. */
static int search_later(const struct sp_recovery *recovery, uint64_t base, uint64_t *proven)
{
    struct sp_segment_header header = { .marker_key = 0 };
    struct sp_file *file = NULL;
    struct sp_marker_search search;
    uint64_t size = 0;
    int rv = sp_segment_open(recovery->request->directory,
                             base,
                             recovery->request->group_id,
                             SP_FILE_READ,
                             &header,
                             &file,
                             &size);

    if (rv == 0) {
        sp_file_close(file);
        *proven = larger(*proven, base - 1);
    } else if (rv != SPATE_ERR_CORRUPT) {
        return rv;
    }
    rv = search_file(recovery, base, SP_SEGMENT_HEADER_SIZE, header.marker_key, proven, &search);
    if (rv == 0 && search.count > 0) {
        *proven = larger(*proven, base); /* it was written to, so its header was synced */
    }
    return rv;
}

/* Where the header of a segment is not readable, its checkpoint proves that it was written. */
static int search_checkpoints(const struct sp_recovery *recovery,
                              const struct sp_log_break *at,
                              uint64_t *proven)
{
    uint64_t headless = at->position == 0 ? recovery->segments.values[at->segment] : 0;

    for (unsigned i = recovery->checkpoints.count; i > 0; i--) {
        uint64_t base = recovery->checkpoints.values[i - 1];
        uint64_t proves = base == headless ? base : base - 1;
        char path[SP_DISK_PATH_SIZE];
        struct sp_blob *image = NULL;
        struct sp_checkpoint checkpoint;

        if (base == 0 || proves <= *proven) {
            continue;
        }
        sp_disk_base_path(path, recovery->request->directory, base, SP_CHECKPOINT_SUFFIX);
        int rv = sp_checkpoint_load(path, recovery->request->group_id, &image, &checkpoint);
        if (rv == 0) {
            sp_blob_unref(image);
            *proven = proves;
        } else if (rv != SPATE_ERR_CORRUPT) {
            return rv;
        }
    }
    return 0;
}

static int
find_proof(const struct sp_recovery *recovery, struct sp_log_break *at, uint64_t *out_proven)
{
    struct sp_marker_search search = { 0 };
    uint64_t proven = recovery->rest_usable ? recovery->rest_file.point.point.index : 0;
    unsigned later = at->segment;
    int rv = 0;

    if (at->position > 0) {
        rv = search_file(recovery,
                         recovery->segments.values[at->segment],
                         at->position,
                         at->marker_key,
                         &proven,
                         &search);
        at->recycled = search.others > 0;
        at->zeros = search.zeros;
        later += 1;
    }
    for (; later < recovery->segments.count && rv == 0; later++) {
        rv = search_later(recovery, recovery->segments.values[later], &proven);
    }
    if (rv == 0) {
        rv = search_checkpoints(recovery, at, &proven);
    }
    *out_proven = proven;
    return rv;
}

/* Cuts the files so that they end with the log's last good frame. */
static int cut_tail(struct sp_recovery *recovery, const struct sp_log_break *at)
{
    struct sp_log_segment *newest = sp_log_newest_segment(recovery->log);
    uint64_t removed = recovery->segments.count - at->segment - (at->position > 0 ? 1 : 0);
    uint64_t bytes = 0;

    if (at->position > 0) {
        bytes = newest->size - at->position;
        newest->size = at->position;
    }
    SP_TRACE_AT(at->recycled ? SP_TRACE_LEVEL_INFO : SP_TRACE_LEVEL_WARN,
                "storage",
                at->recycled ? "cut where the log ends in a file that was used before"
                             : "torn tail cut",
                "log=%s segment=%llu position=%llu bytes=%llu segments_removed=%llu "
                "last_index=%llu",
                recovery->request->directory,
                (unsigned long long)(newest->before.index + 1),
                (unsigned long long)newest->size,
                (unsigned long long)bytes,
                (unsigned long long)removed,
                (unsigned long long)recovery->log->last.index);
    int rv = sp_log_cut_files(recovery->request->directory, newest->before.index + 1, newest->size);
    return rv != 0 ? sp_recovery_fail_writing(recovery, rv, "cutting the torn tail failed") : 0;
}

/* A crash has left the log as it was written, with room behind its last frame: that stays. */
static bool keep_room(struct sp_recovery *recovery, const struct sp_log_break *at)
{
    char path[SP_DISK_PATH_SIZE];
    struct sp_log_segment *newest = sp_log_newest_segment(recovery->log);
    uint64_t base = newest->before.index + 1;

    sp_disk_base_path(path, recovery->request->directory, base, SP_OFFSET_INDEX_SUFFIX);
    if (at->position == 0 || !at->zeros || at->segment + 1 != recovery->segments.count ||
        sp_path_exists(path)) {
        return false;
    }
    newest->room_end = newest->size;
    newest->size = at->position;
    newest->surplus = true;
    return true;
}

int sp_recovery_judge(struct sp_recovery *recovery, struct sp_log_break *at)
{
    uint64_t broken_index = recovery->log->last.index + 1;
    uint64_t proven = 0;
    struct sp_log_point begin;
    int rv = find_proof(recovery, at, &proven);

    if (rv != 0) {
        return sp_recovery_fail(recovery,
                                rv,
                                "reading behind frame %llu failed",
                                (unsigned long long)(broken_index - 1));
    }
    bool headed = sp_recovery_begin_of(recovery, at->segment, &begin) == 0;
    if (proven >= broken_index && at->position == 0 && !headed) {
        return sp_recovery_fail(recovery,
                                SPATE_ERR_CORRUPT,
                                "the header of %020llu.log is not readable, and it was synced",
                                (unsigned long long)recovery->segments.values[at->segment]);
    }
    if (proven >= broken_index && at->position == 0 && begin.index >= broken_index) {
        return sp_recovery_tell_gap(recovery, broken_index, begin.index);
    }
    if (proven >= broken_index) {
        return sp_recovery_fail(recovery,
                                SPATE_ERR_CORRUPT,
                                "%020llu.log is damaged at byte %llu: frame %llu is not readable, "
                                "but frames up to %llu were synced",
                                (unsigned long long)recovery->segments.values[at->segment],
                                (unsigned long long)at->position,
                                (unsigned long long)broken_index,
                                (unsigned long long)proven);
    }
    return keep_room(recovery, at) ? 0 : cut_tail(recovery, at);
}

/* A checkpoint is written when the file of its segment is durable, and removed, durably, before
 * that is (log_install.c); only a trim removes segments first, from the log's beginning. */
int sp_recovery_look_behind(const struct sp_recovery *recovery)
{
    uint64_t newest = recovery->segments.values[recovery->segments.count - 1];

    for (unsigned i = recovery->checkpoints.count; i > 0; i--) {
        uint64_t base = recovery->checkpoints.values[i - 1];
        char path[SP_DISK_PATH_SIZE];
        struct sp_blob *image = NULL;
        struct sp_checkpoint checkpoint;

        if (base <= newest) {
            break;
        }
        sp_disk_base_path(path, recovery->request->directory, base, SP_CHECKPOINT_SUFFIX);
        int rv = sp_checkpoint_load(path, recovery->request->group_id, &image, &checkpoint);
        if (rv == SPATE_ERR_CORRUPT) {
            continue; /* it proves nothing */
        }
        if (rv != 0) {
            return sp_recovery_fail(recovery, rv, "reading a checkpoint failed");
        }
        sp_blob_unref(image);
        return sp_recovery_fail(recovery,
                                SPATE_ERR_CORRUPT,
                                "%020llu.log is missing, but its checkpoint is there",
                                (unsigned long long)base);
    }
    return 0;
}
