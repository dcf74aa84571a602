#include "storage/log_rewrite.h"

#include "base/assert.h"
#include "spate/error.h"
#include "storage/disk.h"
#include "storage/log_read.h"
#include "storage/log_state.h"
#include "storage/store_state.h"

#define REWRITE_SUFFIX "rewrite.tmp" /* recovery removes what ends so */
#define OUT_BYTES_MAX (8 * (size_t)SP_BATCH_BYTES_MAX)

/* ---- which segments -------------------------------------------------------------------------- */

static bool is_finished(const struct sp_log *log, const struct sp_log_segment *segment)
{
    return segment != sp_log_newest_segment(log) && segment->on_disk && segment[1].on_disk &&
           log->persisted_index >= segment[1].before.index;
}

bool sp_log_finished_span(const struct sp_log *log, uint64_t index, struct sp_log_span *out_span)
{
    uint64_t first = sp_log_first_index(log);
    const struct sp_log_segment *segment = sp_log_segment_of(log, index > first ? index : first);

    if (!is_finished(log, segment)) {
        return false;
    }
    *out_span = (struct sp_log_span){
        .first_index = segment->before.index + 1,
        .last_index = segment[1].before.index,
        .first_offset = segment->before.end_offset,
        .end_offset = segment[1].before.end_offset,
        .append_time_ms = segment[1].before.append_time_ms,
        .chain_before = segment->before.chain,
        .size_bytes = segment->size,
        .bare = segment->bare,
    };
    return true;
}

bool sp_log_rewrite_has_room(const struct sp_log *log, uint64_t size_bytes)
{
    uint64_t last_bytes = log->store->free_bytes_min / SP_SPACE_LAST_PART;
    uint64_t free_bytes = log->store->free_bytes;

    return free_bytes >= last_bytes && free_bytes - last_bytes >= size_bytes;
}

void sp_log_note_bare(struct sp_log *log, uint64_t first_index)
{
    struct sp_log_segment *segment = sp_log_segment_of(log, first_index);

    if (segment->before.index + 1 == first_index && is_finished(log, segment)) {
        segment->bare = true;
    }
}

static struct sp_log_segment *segment_of(const struct sp_log_rewrite *rewrite)
{
    uint64_t base = rewrite->header.before.index + 1;
    struct sp_log_segment *segment = sp_log_segment_of(rewrite->log, base);

    return segment->before.index + 1 == base && is_finished(rewrite->log, segment) ? segment : NULL;
}

int sp_log_rewrite_begin(struct sp_log *log,
                         const struct sp_log_span *span,
                         bool packs,
                         sp_log_rewrite_cb cb,
                         struct sp_log_rewrite *rewrite)
{
    if (log->closing || log->store->failed) {
        return SPATE_ERR_CANCELED;
    }
    if (log->rewrite != NULL) {
        return SPATE_ERR_BUSY;
    }
    const struct sp_log_segment *segment = sp_log_segment_of(log, span->first_index);
    if (segment->before.index + 1 != span->first_index || !is_finished(log, segment) ||
        segment[1].before.index != span->last_index) {
        return SPATE_ERR_NOT_FOUND;
    }
    *rewrite = (struct sp_log_rewrite){
        .cb = cb,
        .log = log,
        .directory = log->directory,
        .header = { log->group_id, segment->marker_key, segment->before },
        .end = segment[1].before,
        .point = segment->before,
        .max_timestamp_ms = SP_TIMESTAMP_NONE,
        .packs = packs,
    };
    sp_log_run_init(&rewrite->run, segment->before.chain);
    sp_buf_init(&rewrite->out, OUT_BYTES_MAX);
    log->rewrite = rewrite;
    return 0;
}

/* ---- the new file, in a worker --------------------------------------------------------------- */

static void temporary_path(const struct sp_log_rewrite *rewrite, char *out_path)
{
    sp_disk_base_path(
        out_path, rewrite->directory, rewrite->header.before.index + 1, REWRITE_SUFFIX);
}

static int create_file(struct sp_log_rewrite *rewrite)
{
    char path[SP_DISK_PATH_SIZE];
    uint8_t bytes[SP_SEGMENT_HEADER_SIZE];
    const struct sp_iovec piece = { bytes, sizeof bytes };

    temporary_path(rewrite, path);
    sp_segment_header_encode(&rewrite->header, bytes);
    int rv = sp_disk_remove(path);
    if (rv == 0) {
        rv = sp_file_open(path, SP_FILE_CREATE, &rewrite->file);
    }
    if (rv == 0) {
        rv = sp_file_write(rewrite->file, 0, &piece, 1);
    }
    rewrite->size = sizeof bytes;
    return rv;
}

/* Notes a frame that is about to be written at `position`, after a look whether it fits. */
static int note_frame(struct sp_log_rewrite *rewrite,
                      const struct sp_log_frame *frame,
                      const uint8_t *bytes,
                      uint64_t position)
{
    struct sp_log_point after;
    struct sp_batch_facts facts;
    int rv = sp_log_point_follow(&rewrite->point, rewrite->header.group_id, frame, bytes, &after);

    if (rv != 0) {
        return rv;
    }
    sp_offset_index_note(&rewrite->offset_index,
                         &(struct sp_offset_index_entry){
                             .index = frame->index,
                             .position = position,
                             .offset = rewrite->point.end_offset,
                             .max_timestamp_before = rewrite->max_timestamp_ms,
                         });
    if (frame->kind == SP_FRAME_BATCH) {
        sp_batch_facts_read(sp_log_frame_payload(bytes), &facts);
        if (facts.max_timestamp_ms > rewrite->max_timestamp_ms) {
            rewrite->max_timestamp_ms = facts.max_timestamp_ms;
        }
    }
    rewrite->point = after;
    return 0;
}

/* Puts the frame behind the others; *out_position: where it will stand, or the run it is in. */
static int
put_frame(struct sp_log_rewrite *rewrite, const uint8_t *bytes, size_t size, uint64_t *out_position)
{
    int rv = rewrite->packs ? sp_log_run_put(&rewrite->run, bytes, size, &rewrite->out)
                            : sp_buf_append(&rewrite->out, bytes, size);
    uint64_t end = rewrite->size + rewrite->out.size;

    *out_position = rewrite->run.count > 0 ? end : end - size;
    return rv;
}

static int append_frame(struct sp_log_rewrite *rewrite,
                        const uint8_t *bytes,
                        size_t size_max,
                        size_t *out_size)
{
    struct sp_log_frame frame;
    uint64_t position = 0;
    int rv = sp_log_frame_verify(bytes, size_max, &frame);

    if (rv != 0) {
        return SPATE_ERR_CORRUPT;
    }
    *out_size = sp_log_frame_size(frame.length);
    rv = put_frame(rewrite, bytes, *out_size, &position);
    return rv == 0 ? note_frame(rewrite, &frame, bytes, position) : rv;
}

static int write_out(struct sp_log_rewrite *rewrite)
{
    const struct sp_iovec piece = { rewrite->out.bytes, rewrite->out.size };
    int rv = piece.size > 0 ? sp_file_write(rewrite->file, rewrite->size, &piece, 1) : 0;

    if (rv == 0) {
        rewrite->size += piece.size;
        sp_buf_clear(&rewrite->out);
    }
    return rv;
}

int sp_log_rewrite_append(struct sp_log_rewrite *rewrite, const uint8_t *bytes, size_t size)
{
    int rv = rewrite->file == NULL ? create_file(rewrite) : 0;

    for (size_t position = 0; position < size && rv == 0;) {
        size_t frame_size = 0;

        rv = append_frame(rewrite, bytes + position, size - position, &frame_size);
        position += frame_size;
    }
    if (rv == 0 && rewrite->point.index == rewrite->end.index) {
        rv = sp_log_run_end(&rewrite->run, &rewrite->out);
    }
    return rv == 0 ? write_out(rewrite) : rv;
}

static void save_index(struct sp_log_rewrite *rewrite)
{
    const struct sp_offset_index_facts facts = {
        .group_id = rewrite->header.group_id,
        .base = rewrite->header.before.index + 1,
        .segment_size = rewrite->size,
        .max_timestamp_ms = rewrite->max_timestamp_ms,
        .chain = rewrite->end.chain,
    };
    struct sp_blob *image = sp_offset_index_encode(&rewrite->offset_index, &facts);

    /* Without it the entries stay in memory. */
    rewrite->index_saved =
        image != NULL &&
        sp_offset_index_save(rewrite->directory, facts.base, image->bytes, image->size) == 0;
    sp_blob_unref(image);
}

static int replace_file(struct sp_log_rewrite *rewrite)
{
    uint64_t base = rewrite->header.before.index + 1;
    char from[SP_DISK_PATH_SIZE];
    char path[SP_DISK_PATH_SIZE];
    int rv = sp_file_sync(rewrite->file);

    sp_disk_base_path(path, rewrite->directory, base, SP_OFFSET_INDEX_SUFFIX);
    if (rv == 0) {
        rv = sp_disk_remove(path);
    }
    if (rv == 0) {
        rv = sp_dir_sync(rewrite->directory);
    }
    temporary_path(rewrite, from);
    sp_disk_base_path(path, rewrite->directory, base, SP_SEGMENT_SUFFIX);
    if (rv == 0) {
        rv = sp_path_rename(from, path);
    }
    return rv == 0 ? sp_dir_sync(rewrite->directory) : rv;
}

static void swap_work(struct sp_job *job)
{
    struct sp_log_rewrite *rewrite = SP_CONTAINER_OF(job, struct sp_log_rewrite, job);

    rewrite->status = replace_file(rewrite);
    if (sp_store_makes_room(rewrite->log->store, rewrite->status)) {
        rewrite->status = replace_file(rewrite);
    }
    if (rewrite->status == 0) {
        save_index(rewrite);
    } else if (rewrite->status == SPATE_ERR_NO_SPACE) {
        char path[SP_DISK_PATH_SIZE];

        temporary_path(rewrite, path); /* it was not renamed: what comes behind that is a sync */
        (void)sp_disk_remove(path);
    }
}

static void drop_work(struct sp_job *job)
{
    struct sp_log_rewrite *rewrite = SP_CONTAINER_OF(job, struct sp_log_rewrite, job);
    char path[SP_DISK_PATH_SIZE];

    if (rewrite->file != NULL) {
        temporary_path(rewrite, path);
        (void)sp_disk_remove(path); /* else the next one does, or recovery */
    }
}

/* ---- its end --------------------------------------------------------------------------------- */

static void end(struct sp_log_rewrite *rewrite, int status)
{
    struct sp_log *log = rewrite->log;

    sp_file_close(rewrite->file);
    rewrite->file = NULL;
    sp_offset_index_clear(&rewrite->offset_index);
    sp_log_run_deinit(&rewrite->run);
    sp_buf_deinit(&rewrite->out);
    rewrite->log = NULL;
    log->rewrite = NULL;
    rewrite->cb(rewrite, status);
    sp_log_advance(log);
}

static void drop_done(struct sp_job *job)
{
    end(SP_CONTAINER_OF(job, struct sp_log_rewrite, job), SPATE_ERR_CANCELED);
}

/* Frames in memory are those of before: nobody may get them any more. */
static void forget_frames(struct sp_log *log, uint64_t last_index)
{
    while (log->tail.count > 0 && sp_log_tail_first(log) <= last_index) {
        sp_log_tail_pop_front(&log->tail);
    }
    if (log->tail.count == 0) {
        sp_log_tail_clear(&log->tail);
    }
}

/* What the log knows of the segment is of its new file now. */
static void take_over(struct sp_log_rewrite *rewrite, struct sp_log_segment *segment)
{
    forget_frames(rewrite->log, rewrite->end.index);
    segment->size = rewrite->size;
    segment->max_timestamp_ms = rewrite->max_timestamp_ms;
    segment->index_saved = rewrite->index_saved;
    sp_offset_index_clear(&segment->offset_index);
    if (!rewrite->index_saved) {
        segment->offset_index = rewrite->offset_index;
        rewrite->offset_index = (struct sp_offset_index){ .entries = NULL };
    }
}

static void swap_done(struct sp_job *job)
{
    struct sp_log_rewrite *rewrite = SP_CONTAINER_OF(job, struct sp_log_rewrite, job);
    struct sp_log *log = rewrite->log;
    struct sp_log_segment *segment = segment_of(rewrite);
    int status = rewrite->status;

    log->swapping = false;
    log->generation += 1;
    if (status == SPATE_ERR_NO_SPACE) {
        /* The segment is the one of before; its index may be gone, which is a hint anyway. */
    } else if (status != 0) {
        sp_store_fail(log->store, status, "replacing a segment", log->directory);
        status = SPATE_ERR_STOPPED;
    } else if (segment != NULL) {
        take_over(rewrite, segment);
    } else {
        status = SPATE_ERR_NOT_FOUND; /* whatever drops segments removes its file too */
    }
    sp_log_read_unpark(log);
    end(rewrite, status);
}

int sp_log_rewrite_swap(struct sp_log_rewrite *rewrite)
{
    struct sp_log *log = rewrite->log;

    SP_ASSERT(rewrite->file != NULL);
    SP_ASSERT(rewrite->run.count == 0 || rewrite->point.index != rewrite->end.index);
    if (log->closing || log->store->failed || segment_of(rewrite) == NULL) {
        return SPATE_ERR_CANCELED;
    }
    if (log->trimming || log->trim_wanted || sp_log_files_change(log)) {
        return SPATE_ERR_BUSY;
    }
    if (rewrite->point.index != rewrite->end.index || rewrite->point.term != rewrite->end.term ||
        rewrite->point.end_offset != rewrite->end.end_offset ||
        rewrite->point.append_time_ms != rewrite->end.append_time_ms ||
        rewrite->point.chain != rewrite->end.chain) {
        return SPATE_ERR_CORRUPT;
    }
    log->swapping = true;
    log->generation += 1; /* reads under way look again when they end */
    sp_job_start(log->store->loop, &rewrite->job, swap_work, swap_done);
    return 0;
}

void sp_log_rewrite_drop(struct sp_log_rewrite *rewrite)
{
    SP_ASSERT(!rewrite->log->swapping);
    sp_job_start(rewrite->log->store->loop, &rewrite->job, drop_work, drop_done);
}
