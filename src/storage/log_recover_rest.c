/* Recovery from what the last run left (log_rest.h) in place of reading the newest segment. */
#include "base/mem.h"
#include "spate/error.h"
#include "storage/disk.h"
#include "storage/log_recover.h"
#include "storage/log_rest.h"

/* A run number counts for one start, so a file of an earlier run that a power cut brings back is
 * not taken. One of this run, or where runs are not counted, must not come back at all. */
static int remove_rest(const struct sp_recovery *recovery, bool may_come_back)
{
    char path[SP_DISK_PATH_SIZE];

    sp_disk_path(path, recovery->request->directory, SP_REST_NAME);
    int rv = sp_disk_remove(path);
    if (rv == 0 && !may_come_back) {
        rv = sp_dir_sync(recovery->request->directory);
    }
    return rv;
}

/* The file says what was durable when the last run stopped, and nothing has been written since:
 * this run changes no log before it has taken that file. The newest segment must have all of it. */
static int look_for_segment(const struct sp_recovery *recovery)
{
    const struct sp_log_rest_file *rest = &recovery->rest_file;
    char path[SP_DISK_PATH_SIZE];
    struct sp_file *file = NULL;
    uint64_t size = 0;

    sp_disk_base_path(path, recovery->request->directory, rest->base, SP_SEGMENT_SUFFIX);
    int rv = sp_file_open(path, SP_FILE_READ, &file);
    if (rv == SPATE_ERR_NOT_FOUND) {
        return sp_recovery_fail(recovery,
                                SPATE_ERR_CORRUPT,
                                "%020llu.log is missing: it had %llu bytes when the node stopped",
                                (unsigned long long)rest->base,
                                (unsigned long long)rest->segment_size);
    }
    if (rv == 0) {
        rv = sp_file_size(file, &size);
        sp_file_close(file);
    }
    if (rv == 0 && size < rest->segment_size) {
        return sp_recovery_fail(recovery,
                                SPATE_ERR_CORRUPT,
                                "%020llu.log is damaged at byte %llu: it ends there, but had %llu "
                                "bytes when the node stopped",
                                (unsigned long long)rest->base,
                                (unsigned long long)size,
                                (unsigned long long)rest->segment_size);
    }
    return rv != 0 ? sp_recovery_fail(recovery, rv, "opening a segment failed") : 0;
}

int sp_recovery_take_rest(struct sp_recovery *recovery)
{
    const struct sp_log_recovery *request = recovery->request;
    char path[SP_DISK_PATH_SIZE];
    uint8_t *bytes = NULL;
    size_t size = 0;

    if (!recovery->rest) {
        return 0;
    }
    sp_disk_path(path, request->directory, SP_REST_NAME);
    int rv = sp_disk_read_all(path, SP_CHECKPOINT_BYTES_MAX, &bytes, &size);
    if (rv == 0) {
        recovery->rest_image = sp_blob_copy(bytes, size);
        sp_mem_free(bytes);
        rv = recovery->rest_image != NULL ? 0 : SPATE_ERR_NOMEM;
    }
    if (rv == 0) {
        rv = sp_log_rest_decode(
            recovery->rest_image->bytes, recovery->rest_image->size, &recovery->rest_file);
        recovery->rest_usable = rv == 0 && request->run_before != 0 &&
                                recovery->rest_file.run == request->run_before &&
                                !recovery->install && !recovery->truncation &&
                                recovery->rest_file.point.group_id == request->group_id;
    }
    if (rv == SPATE_ERR_NOMEM) {
        return sp_recovery_fail(recovery, rv, "opening it failed");
    }
    rv = recovery->rest_usable ? look_for_segment(recovery) : 0;
    if (rv != 0) {
        return rv; /* the file stays, so that a next try finds the same */
    }
    rv = remove_rest(recovery, recovery->rest_usable);
    return rv != 0 ? sp_recovery_fail_writing(recovery, rv, "removing the file rest failed") : 0;
}

void sp_recovery_drop_rest(struct sp_recovery *recovery)
{
    sp_offset_index_clear(&recovery->rest_file.index);
    sp_blob_unref(recovery->rest_image);
    recovery->rest_image = NULL;
    recovery->rest_usable = false;
}

/* Whether the newest segment is the one that the file speaks of. */
static bool
segment_fits(struct sp_recovery *recovery, unsigned number, struct sp_segment_header *out_header)
{
    const struct sp_log_rest_file *rest = &recovery->rest_file;
    struct sp_file *file = NULL;
    uint64_t size = 0;

    if (recovery->segments.values[number] != rest->base ||
        sp_recovery_open_segment(recovery, number, out_header, &file, &size) != 0) {
        return false;
    }
    sp_file_close(file);
    return size == rest->segment_size &&
           sp_recovery_same_point(&out_header->before, &recovery->log->last);
}

int sp_recovery_use_rest(struct sp_recovery *recovery, unsigned start, bool *out_used)
{
    struct sp_log *log = recovery->log;
    struct sp_log_rest_file *rest = &recovery->rest_file;
    struct sp_segment_header header;

    *out_used = false;
    if (!recovery->rest_usable || start + 1 != recovery->segments.count ||
        rest->applied < sp_log_checkpoint_index(log) || !segment_fits(recovery, start, &header)) {
        return 0;
    }
    int rv = sp_recovery_add_segment(recovery, &header, rest->segment_size);
    if (rv != 0) {
        return rv;
    }
    struct sp_log_history history = { .epochs = NULL };
    rv = sp_log_history_load(&history, &rest->point);
    if (rv != 0) {
        sp_log_history_clear(&history);
        return sp_recovery_fail(recovery, rv, "opening it failed");
    }
    sp_log_history_clear(&log->history);
    log->history = history;
    struct sp_log_segment *newest = sp_log_newest_segment(log);
    newest->since_ms = rest->since_ms;
    newest->max_timestamp_ms = rest->max_timestamp_ms;
    newest->offset_index = rest->index;
    rest->index = (struct sp_offset_index){ .entries = NULL };
    log->last = rest->point.point;
    log->rest = (struct sp_log_rest){ .image = sp_blob_ref(recovery->rest_image),
                                      .applied = rest->applied,
                                      .state = rest->point.state,
                                      .state_size = rest->point.state_size };
    *out_used = true;
    return 0;
}
