/* Dropping the oldest segments of a log.
 *
 * Memory changes at once; a job removes the files behind everybody's back, or keeps them as spares,
 * in which other segments may soon be written: only reads that are repeated see that. It never runs
 * beside a truncation, an install or a checkpoint, which look at the set of files too. Reads under
 * way are repeated when they end (generation), and then find out whether their frames are still
 * there. */
#include "base/assert.h"
#include "spate/error.h"
#include "storage/disk.h"
#include "storage/log_state.h"
#include "storage/store_state.h"

/* Frames below the first segment leave memory as well. */
static void drop_frames(struct sp_log *log, uint64_t first)
{
    while (log->tail.count > 0 && sp_log_tail_first(log) < first) {
        sp_log_tail_pop_front(&log->tail);
    }
    if (log->tail.count == 0) {
        sp_log_tail_clear(&log->tail);
    }
    sp_log_history_trim(&log->history, first);
}

void sp_log_trim(struct sp_log *log, uint64_t index)
{
    unsigned dropped = 0;

    if (log->store->failed || log->closing || index < sp_log_first_index(log)) {
        return;
    }
    while (log->segments[dropped].before.index < index) {
        dropped += 1;
        SP_ASSERT(dropped < log->segment_count);
    }
    SP_ASSERT(log->segments[dropped].before.index == index);
    SP_ASSERT(log->segments[dropped].checkpoint == SP_CHECKPOINT_DONE);
    SP_ASSERT(log->persisted_index >= index);
    for (unsigned i = 0; i < dropped; i++) {
        sp_offset_index_clear(&log->segments[i].offset_index);
    }
    log->segment_count -= dropped;
    for (unsigned i = 0; i < log->segment_count; i++) {
        log->segments[i] = log->segments[i + dropped];
    }
    drop_frames(log, index + 1);
    log->generation += 1;
    log->trim_wanted = true;
    sp_log_advance(log);
}

static void trim_work(struct sp_job *job)
{
    struct sp_log_trim *trim = SP_CONTAINER_OF(job, struct sp_log_trim, job);

    trim->status = sp_log_trim_files(trim->directory, trim->base, &trim->room);
    if (sp_store_makes_room(trim->store, trim->status)) {
        trim->status = sp_log_trim_files(trim->directory, trim->base, &trim->room);
    }
}

/* What a log that closes cannot remove is found at its next opening. */
static void end_trim(struct sp_log *log)
{
    struct sp_log_trim *trim = &log->trim;

    log->trimming = false;
    if (trim->status != 0) {
        trim->room.count = 0; /* not known to be without a name in the log's directory */
    }
    sp_spares_settle(&log->store->spares, &trim->room);
    if (trim->status != 0 && (!log->closing || trim->status != SPATE_ERR_NO_SPACE)) {
        sp_store_fail(log->store, trim->status, "removing old segments", log->directory);
    }
    sp_log_advance(log);
}

static void trim_done(struct sp_job *job)
{
    struct sp_log_trim *trim = SP_CONTAINER_OF(job, struct sp_log_trim, job);
    struct sp_log *log = SP_CONTAINER_OF(trim, struct sp_log, trim);

    if (!sp_store_waits_for_space(log->store,
                                  &trim->wait,
                                  trim->status,
                                  log->closing,
                                  "removing old segments",
                                  log->directory)) {
        end_trim(log);
    }
}

static void resume(struct sp_space_wait *wait)
{
    struct sp_log_trim *trim = SP_CONTAINER_OF(wait, struct sp_log_trim, wait);
    struct sp_log *log = SP_CONTAINER_OF(trim, struct sp_log, trim);

    if (log->closing || log->store->failed) {
        end_trim(log);
    } else {
        sp_job_start(log->store->loop, &trim->job, trim_work, trim_done);
    }
}

void sp_log_trim_start(struct sp_log *log)
{
    if (!log->trim_wanted || log->trimming || log->checkpoint_running || log->swapping ||
        sp_log_files_change(log)) {
        return;
    }
    log->trim_wanted = false;
    log->trimming = true;
    log->trim.wait.resume = resume;
    log->trim.store = log->store;
    log->trim.directory = log->directory;
    log->trim.base = sp_log_first_index(log);
    sp_spares_give_room(&log->store->spares, log->store->space == SP_SPACE_ENOUGH, &log->trim.room);
    sp_job_start(log->store->loop, &log->trim.job, trim_work, trim_done);
}
