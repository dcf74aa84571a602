/* The end of a log that closes: a newest segment whose file was a spare gives back what is behind
 * its frames, so that the next start need not search there. When that fails, the next start does
 * it. */
#include "storage/log_state.h"
#include "storage/store_state.h"

static void end_work(struct sp_job *job)
{
    struct sp_log_end *end = SP_CONTAINER_OF(job, struct sp_log_end, job);

    (void)sp_log_cut_file(end->directory, end->base, end->position);
}

static void end_done(struct sp_job *job)
{
    struct sp_log_end *end = SP_CONTAINER_OF(job, struct sp_log_end, job);
    struct sp_log *log = SP_CONTAINER_OF(end, struct sp_log, end);

    log->ending = false;
    sp_log_advance(log);
}

bool sp_log_end_start(struct sp_log *log)
{
    struct sp_log_segment *newest = log->segment_count > 0 ? sp_log_newest_segment(log) : NULL;

    if (newest == NULL || !newest->recycled || !newest->on_disk || log->store->failed) {
        return false;
    }
    newest->recycled = false;
    log->ending = true;
    log->end.directory = log->directory;
    log->end.base = newest->before.index + 1;
    log->end.position = newest->size;
    sp_job_start(log->store->loop, &log->end.job, end_work, end_done);
    return true;
}
