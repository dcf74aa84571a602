/* Checkpoints of a log: which one is wanted, writing them one after the other, handing one out.
 *
 *   segment:  NONE --sp_log_checkpoint_write--> ASKED --log below durable, job--> DONE
 *                                                 ^                          |
 *                                                 `---room, seen at a look---+ no space
 *
 * A truncation or an install waits for the job that runs; queued ones of dropped segments go. One
 * that has found no space goes too when a newer one can be written: that serves for both. */
#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "spate/error.h"
#include "storage/disk.h"
#include "storage/log_state.h"
#include "storage/store_state.h"

uint64_t sp_log_checkpoint_index(const struct sp_log *log)
{
    return log->checkpoint_image != NULL ? log->checkpoint.point.index : 0;
}

void sp_log_checkpoint_state(const struct sp_log *log, const uint8_t **out_bytes, size_t *out_size)
{
    *out_bytes = log->checkpoint_image != NULL ? log->checkpoint.state : NULL;
    *out_size = log->checkpoint_image != NULL ? log->checkpoint.state_size : 0;
}

/* The oldest segment above the newest checkpoint that has none and is not about to get one. */
static struct sp_log_segment *wanted_segment(const struct sp_log *log)
{
    for (unsigned i = 0; i < log->segment_count; i++) {
        struct sp_log_segment *segment = &log->segments[i];

        if (segment->checkpoint == SP_CHECKPOINT_NONE &&
            segment->before.index > sp_log_checkpoint_index(log)) {
            return segment;
        }
    }
    return NULL;
}

uint64_t sp_log_checkpoint_wanted(const struct sp_log *log)
{
    const struct sp_log_segment *segment = wanted_segment(log);

    return segment != NULL ? segment->before.index : 0;
}

int sp_log_checkpoint_write(struct sp_log *log, const uint8_t *state, size_t size)
{
    struct sp_log_segment *segment = wanted_segment(log);

    SP_ASSERT(segment != NULL);
    if (log->store->failed || log->closing) {
        return SPATE_ERR_STOPPED;
    }
    struct sp_checkpoint_write *write = sp_mem_calloc(1, sizeof *write);
    if (write == NULL) {
        return SPATE_ERR_NOMEM;
    }
    write->image =
        sp_log_history_checkpoint(&log->history, log->group_id, &segment->before, state, size);
    if (write->image == NULL) {
        sp_mem_free(write);
        return SPATE_ERR_NOMEM;
    }
    write->log = log;
    write->base = segment->before.index + 1;
    sp_list_append(&log->checkpoints, &write->node);
    segment->checkpoint = SP_CHECKPOINT_ASKED;
    sp_log_advance(log);
    return 0;
}

static void free_write(struct sp_checkpoint_write *write)
{
    sp_list_remove(&write->node);
    sp_blob_unref(write->image);
    sp_mem_free(write);
}

static struct sp_checkpoint_write *first_write(const struct sp_log *log)
{
    return SP_LIST_ENTRY(log->checkpoints.next, struct sp_checkpoint_write, node);
}

static void checkpoint_work(struct sp_job *job)
{
    struct sp_checkpoint_write *write = SP_CONTAINER_OF(job, struct sp_checkpoint_write, job);
    const struct sp_log *log = write->log;

    if (!sp_store_lends_room(log->store, write->image->size)) {
        write->status = SPATE_ERR_NO_SPACE;
        return;
    }
    write->status = sp_checkpoint_save(log->directory, write->base, write->image);
    (void)sp_store_notes_full(log->store, write->status);
}

/* The log does without it for now: it begins at an older one, and keeps what that one needs. */
static void wait_for_room(struct sp_log *log, struct sp_checkpoint_write *write)
{
    if (!write->told) {
        write->told = true;
        SP_TRACE_WARN("storage",
                      "no space for a checkpoint: it is written once there is",
                      "log=%s base=%llu bytes=%llu",
                      log->directory,
                      (unsigned long long)write->base,
                      (unsigned long long)write->image->size);
    }
    write->waits = true;
    write->retry_ms = sp_loop_now_ms(log->store->loop) + SP_CHECKPOINT_PAUSE_MS;
}

/* NULL: it was dropped while the checkpoint was written; its files go with the next flush. */
static struct sp_log_segment *segment_of(const struct sp_checkpoint_write *write)
{
    struct sp_log_segment *segment = sp_log_segment_of(write->log, write->base);

    return segment->before.index + 1 == write->base && segment->checkpoint == SP_CHECKPOINT_ASKED
               ? segment
               : NULL;
}

/* True if it is the log's newest checkpoint now. */
static bool adopt_checkpoint(struct sp_log *log, const struct sp_checkpoint_write *write)
{
    struct sp_log_segment *segment = segment_of(write);

    if (segment == NULL) {
        return false;
    }
    segment->checkpoint = SP_CHECKPOINT_DONE;
    sp_blob_unref(log->checkpoint_image);
    log->checkpoint_image = sp_blob_ref(write->image);
    int rv = sp_checkpoint_decode(write->image->bytes, write->image->size, &log->checkpoint);
    SP_ASSERT(rv == 0); /* we made it */
    return true;
}

static void checkpoint_done(struct sp_job *job)
{
    struct sp_checkpoint_write *write = SP_CONTAINER_OF(job, struct sp_checkpoint_write, job);
    struct sp_log *log = write->log;
    bool adopted = false;

    log->checkpoint_running = false;
    if (write->status == SPATE_ERR_NO_SPACE && segment_of(write) != NULL) {
        wait_for_room(log, write);
        sp_log_advance(log);
        return;
    }
    if (write->status != 0 && write->status != SPATE_ERR_NO_SPACE) {
        sp_store_fail(log->store, write->status, "writing a checkpoint", log->directory);
    } else if (write->status == 0 && !log->store->failed) {
        adopted = adopt_checkpoint(log, write);
    }
    free_write(write); /* before the handler: it may trim, and that looks what comes next */
    if (adopted && !log->closing && log->handler.checkpointed != NULL) {
        log->handler.checkpointed(log->handler_arg, sp_log_checkpoint_index(log));
    }
    sp_log_advance(log);
}

/* True if the log below it is durable. */
static bool is_due(const struct sp_log *log, const struct sp_checkpoint_write *write)
{
    const struct sp_log_segment *segment = sp_log_segment_of(log, write->base);

    SP_ASSERT(segment->before.index + 1 == write->base);
    return segment->on_disk && log->persisted_index >= segment->before.index;
}

void sp_log_checkpoint_start(struct sp_log *log)
{
    if (log->checkpoint_running || log->trimming || sp_log_files_change(log) ||
        sp_list_empty(&log->checkpoints)) {
        return;
    }
    struct sp_checkpoint_write *write = first_write(log);
    while (write->waits && write->node.next != &log->checkpoints) {
        struct sp_checkpoint_write *next =
            SP_LIST_ENTRY(write->node.next, struct sp_checkpoint_write, node);

        if (!is_due(log, next)) {
            return;
        }
        free_write(write); /* its segment stays ASKED: nobody makes another one */
        write = next;
    }
    if (write->waits || !is_due(log, write)) {
        return;
    }
    log->checkpoint_running = true;
    sp_job_start(log->store->loop, &write->job, checkpoint_work, checkpoint_done);
}

void sp_log_checkpoint_retry(struct sp_log *log)
{
    if (log->closing || log->checkpoint_running || sp_list_empty(&log->checkpoints)) {
        return;
    }
    struct sp_checkpoint_write *write = first_write(log);
    if (write->waits && sp_loop_now_ms(log->store->loop) >= write->retry_ms &&
        sp_store_may_lend(log->store, write->image->size)) {
        write->waits = false;
        sp_log_advance(log);
    }
}

void sp_log_checkpoint_cancel(struct sp_log *log, uint64_t base_max)
{
    SP_LIST_EACH_SAFE (node, &log->checkpoints) {
        struct sp_checkpoint_write *write = SP_LIST_ENTRY(node, struct sp_checkpoint_write, node);
        bool running = log->checkpoint_running && node == log->checkpoints.next;

        if (write->base > base_max && !running) {
            free_write(write);
        }
    }
}

/* ---- handing one out ------------------------------------------------------------------------- */

static void image_work(struct sp_job *job)
{
    struct sp_log_image *image = SP_CONTAINER_OF(job, struct sp_log_image, job);
    char path[SP_DISK_PATH_SIZE];
    struct sp_checkpoint checkpoint;

    if (image->blob != NULL) {
        return; /* it was in memory */
    }
    sp_disk_base_path(path, image->log->directory, image->index + 1, SP_CHECKPOINT_SUFFIX);
    image->status = sp_checkpoint_load(path, image->log->group_id, &image->blob, &checkpoint);
    if (image->status == 0 && checkpoint.point.index != image->index) {
        image->status = SPATE_ERR_CORRUPT;
    }
}

static void image_done(struct sp_job *job)
{
    struct sp_log_image *image = SP_CONTAINER_OF(job, struct sp_log_image, job);
    struct sp_log *log = image->log;

    log->images_read -= 1;
    if (image->status == 0 && log->closing) {
        image->status = SPATE_ERR_CANCELED;
    } else if (image->status != 0 && image->index + 1 != sp_log_first_index(log)) {
        image->status = SPATE_ERR_NOT_FOUND; /* trimmed or replaced meanwhile */
    }
    if (image->status != 0) {
        sp_blob_unref(image->blob);
        image->blob = NULL;
    }
    image->cb(image, image->status);
    sp_log_advance(log);
}

int sp_log_image_start(struct sp_log *log, struct sp_log_image *image)
{
    if (log->closing || log->store->failed) {
        return SPATE_ERR_CANCELED;
    }
    if (log->segments[0].checkpoint != SP_CHECKPOINT_DONE) {
        return SPATE_ERR_NOT_FOUND;
    }
    image->log = log;
    image->index = log->segments[0].before.index;
    image->term = log->segments[0].before.term;
    image->status = 0;
    image->blob =
        image->index == sp_log_checkpoint_index(log) ? sp_blob_ref(log->checkpoint_image) : NULL;
    log->images_read += 1;
    sp_job_start(log->store->loop, &image->job, image_work, image_done);
    return 0;
}
