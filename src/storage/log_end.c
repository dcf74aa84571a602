/* The end of a log that closes: the newest segment gives back what is behind its frames, so that
 * the next start need not search there, and the file `rest` (log_rest.h) says
 * what the next start would have to read. When that fails, the next start does it. */
#include "storage/disk.h"
#include "storage/log_state.h"
#include "storage/store_state.h"

/* Not synced: after a power cut the file may be as long as it was, as after a crash. */
static int cut(const struct sp_log_end *end)
{
    char path[SP_DISK_PATH_SIZE];
    struct sp_file *file = NULL;

    sp_disk_base_path(path, end->directory, end->base, SP_SEGMENT_SUFFIX);
    int rv = sp_file_open(path, SP_FILE_WRITE, &file);
    if (rv == 0) {
        rv = sp_file_truncate(file, end->position);
    }
    sp_file_close(file);
    return rv;
}

static void end_work(struct sp_job *job)
{
    struct sp_log_end *end = SP_CONTAINER_OF(job, struct sp_log_end, job);
    int rv = end->cuts ? cut(end) : 0;

    if (rv == 0 && end->rest != NULL) {
        sp_log_rest_save(end->directory, end->rest);
    }
}

static void end_done(struct sp_job *job)
{
    struct sp_log_end *end = SP_CONTAINER_OF(job, struct sp_log_end, job);
    struct sp_log *log = SP_CONTAINER_OF(end, struct sp_log, end);

    sp_blob_unref(end->rest);
    end->rest = NULL;
    log->ending = false;
    sp_log_advance(log);
}

bool sp_log_end_start(struct sp_log *log)
{
    struct sp_log_segment *newest = log->segment_count > 0 ? sp_log_newest_segment(log) : NULL;

    if (newest == NULL || !newest->on_disk || log->store->failed || log->given_up) {
        return false;
    }
    log->end = (struct sp_log_end){
        .directory = log->directory,
        .cuts = newest->surplus,
        .base = newest->before.index + 1,
        .position = newest->size,
        .rest = sp_log_rest_encode(log),
    };
    if (!log->end.cuts && log->end.rest == NULL) {
        return false;
    }
    newest->surplus = false;
    sp_log_forget_rest(log);
    log->ending = true;
    sp_job_start(log->store->loop, &log->end.job, end_work, end_done);
    return true;
}
