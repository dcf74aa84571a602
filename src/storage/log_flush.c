/* Writing: one job at a time per log, each one write and one sync in one segment.
 *
 *   idle --frames, truncation or install wait--> flushing --done--> idle (and again, if more waits)
 *
 * What a job does is in log_flush_job.c. What arrives meanwhile waits for the next one. How large a
 * write may be is told by flush_size.h; a small one runs before the large ones of other logs and
 * never waits for them. */
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "spate/error.h"
#include "storage/log_state.h"
#include "storage/prefill.h"
#include "storage/store_state.h"

bool sp_log_needs_flush(const struct sp_log *log)
{
    return !log->given_up && (log->install_wanted != NULL || log->truncate_wanted ||
                              log->assigned_index < log->last.index);
}

/* ---- its end --------------------------------------------------------------------------------- */

static void release_flush(struct sp_log_flush *flush)
{
    for (unsigned i = 0; i + 1 < flush->piece_count; i++) {
        sp_blob_unref(flush->blobs[i]);
    }
    if (flush->pieces != flush->spare_pieces) {
        sp_mem_free(flush->pieces);
    }
    flush->pieces = NULL;
    flush->piece_count = 0;
    sp_blob_unref(flush->install);
    flush->install = NULL;
    sp_blob_unref(flush->index_image);
    flush->index_image = NULL;
}

/* What the flush has shown about the segments' files. */
static void note_files(struct sp_log *log)
{
    const struct sp_log_flush *flush = &log->flush;

    if (flush->segment_gone) {
        return;
    }
    if (flush->install != NULL || flush->create) {
        struct sp_log_segment *segment = sp_log_segment_of(log, flush->header.before.index + 1);

        SP_ASSERT(segment->before.index == flush->header.before.index);
        segment->on_disk = true;
        segment->room_end = flush->spare.size;
    }
    if (flush->room_end > 0 && !log->truncate_wanted) {
        sp_log_segment_of(log, flush->header.before.index + 1)->room_end = flush->room_end;
    }
    if (flush->index_image != NULL && flush->index_base >= sp_log_first_index(log)) {
        struct sp_log_segment *segment = sp_log_segment_of(log, flush->index_base);

        segment->index_saved = true;
        sp_offset_index_clear(&segment->offset_index);
    }
}

/* What a log that closes has no space for was never reported. The next opening finds what a crash
 * leaves: it cuts the end, or ends the truncation or install that was decided. */
static bool give_up(struct sp_log *log)
{
    if (!log->closing || log->store->failed || log->flush.status != SPATE_ERR_NO_SPACE) {
        return false;
    }
    log->given_up = true;
    SP_TRACE_WARN("storage",
                  "a log closes without space for its end: nothing of that was acknowledged",
                  "log=%s persisted=%llu last=%llu",
                  log->directory,
                  (unsigned long long)log->persisted_index,
                  (unsigned long long)log->last.index);
    return true;
}

static void end_flush(struct sp_log *log)
{
    struct sp_log_flush *flush = &log->flush;
    uint64_t proves = flush->proves;
    int status = flush->status;

    log->flushing = false;
    log->file = flush->file;
    log->file_base = flush->file_base;
    flush->file = NULL;
    if (status == 0) {
        if (flush->free_known) {
            sp_store_note_free_bytes(log->store, flush->free_bytes);
        }
        note_files(log);
        log->flush_bytes_max =
            sp_flush_size_next(log->flush_bytes_max,
                               flush->frame_bytes,
                               sp_loop_now_us(log->store->loop) - flush->begun_us);
        if (flush->piece_count > 0) {
            sp_histogram_note(&log->store->counters.frame_syncs, flush->sync_us);
            log->store->counters.written_bytes += flush->pieces_bytes;
        }
    }
    release_flush(flush);
    flush->proves = 0;
    if (status != 0 && !give_up(log)) {
        sp_store_fail(log->store, status, flush->step, log->directory);
    } else if (status == 0 && !log->store->failed) {
        if (proves > log->persisted_index) {
            log->persisted_index = proves;
            sp_log_trim_tail(log, SP_TAIL_CACHE_BYTES);
            sp_store_mark_warm(log->store, log);
            if (log->handler.persisted != NULL && !log->closing) {
                log->handler.persisted(log->handler_arg, proves);
            }
        }
    }
    sp_log_advance(log);
}

static void flush_done(struct sp_job *job)
{
    struct sp_log_flush *flush = SP_CONTAINER_OF(job, struct sp_log_flush, job);
    struct sp_log *log = SP_CONTAINER_OF(flush, struct sp_log, flush);

    if (!sp_store_waits_for_space(
            log->store, &flush->wait, flush->status, log->closing, flush->step, log->directory)) {
        end_flush(log);
    }
}

/* ---- its beginning --------------------------------------------------------------------------- */

/* How many of the frames that wait for the segment go into this write. */
static unsigned count_frames(const struct sp_log *log, uint64_t last)
{
    size_t bytes = 0;
    unsigned count = 0;

    for (uint64_t i = log->assigned_index + 1; i <= last && count < SP_FLUSH_FRAMES_MAX; i++) {
        bytes += sp_log_tail_entry(log, i)->frame.size;
        if (count > 0 && bytes > log->flush_bytes_max) {
            break;
        }
        count += 1;
    }
    return count;
}

/* Finds room for the pieces; without memory only a few frames are written at a time. */
static unsigned reserve_pieces(struct sp_log_flush *flush, unsigned count)
{
    if (count > SP_FLUSH_FRAMES_SPARE) {
        size_t pieces_size = ((size_t)count + 1) * sizeof flush->pieces[0];
        uint8_t *memory = sp_mem_alloc(pieces_size + count * sizeof flush->blobs[0]);

        if (memory != NULL) {
            flush->pieces = (struct sp_iovec *)(void *)memory;
            flush->blobs = (struct sp_blob **)(void *)(memory + pieces_size);
            return count;
        }
        count = SP_FLUSH_FRAMES_SPARE;
    }
    flush->pieces = flush->spare_pieces;
    flush->blobs = flush->spare_blobs;
    return count;
}

/* Gives the next frame its place behind what the segment has. */
static void assign_frame(struct sp_log *log, struct sp_log_segment *segment, unsigned slot)
{
    struct sp_log_flush *flush = &log->flush;
    struct sp_tail_entry *entry = sp_log_tail_entry(log, log->assigned_index + 1);
    const uint8_t *payload = sp_log_frame_payload(entry->frame.bytes);
    int64_t offset = entry->end_offset;
    struct sp_log_frame frame;
    int rv = sp_log_frame_decode(entry->frame.bytes, entry->frame.size, &frame);

    SP_ASSERT(rv == 0);
    if (frame.kind == SP_FRAME_BATCH) {
        struct sp_batch_facts facts;

        sp_batch_facts_read(payload, &facts);
        offset = facts.base_offset;
    }
    entry->position = segment->size;
    segment->size += entry->frame.size;
    flush->frame_bytes += entry->frame.size;
    segment->waiting_bytes -= entry->frame.size;
    sp_offset_index_note(&segment->offset_index,
                         &(struct sp_offset_index_entry){
                             .index = frame.index,
                             .position = entry->position,
                             .offset = offset,
                             .max_timestamp_before = segment->max_timestamp_ms,
                         });
    flush->pieces[1 + slot] = (struct sp_iovec){ entry->frame.bytes, entry->frame.size };
    flush->blobs[slot] = sp_blob_ref(entry->frame.blob);
    flush->pieces_bytes += entry->frame.size;
    log->assigned_index = frame.index;
    log->assigned_chain = frame.chain;
}

/* The index of the segment before the one at `segment`, to be saved when this one begins. */
static void plan_index(struct sp_log *log, const struct sp_log_segment *segment)
{
    struct sp_log_flush *flush = &log->flush;

    if (segment == log->segments || segment[-1].index_saved) {
        return;
    }
    const struct sp_log_segment *finished = &segment[-1];
    const struct sp_offset_index_facts facts = {
        .group_id = log->group_id,
        .base = finished->before.index + 1,
        .segment_size = finished->size,
        .max_timestamp_ms = finished->max_timestamp_ms,
        .chain = segment->before.chain,
    };
    /* Without memory the entries stay where they are. */
    flush->index_image = sp_offset_index_encode(&finished->offset_index, &facts);
    flush->index_base = facts.base;
}

/* The segment's file: a spare if there is one. Its markers get a key that no earlier segment had,
 * not even one with the same place in a replica of the same group that was removed meanwhile: those
 * may stand in the spare. */
static void plan_segment(struct sp_log *log, struct sp_log_segment *segment)
{
    struct sp_log_flush *flush = &log->flush;
    struct sp_spares *spares = &log->store->spares;

    plan_index(log, segment);
    if (segment != log->segments && segment[-1].surplus) {
        flush->cut_base = segment[-1].before.index + 1;
        flush->cut_position = segment[-1].size;
        segment[-1].surplus = false;
    }
    if (log->store->space == SP_SPACE_ENOUGH &&
        sp_spares_take(spares, log->segment_bytes, &flush->spare)) {
        flush->spares_directory = spares->directory;
        segment->surplus = true;
        segment->marker_key =
            sp_log_marker_key(log->key_seed, ~flush->spare.number, segment->before.index + 1);
    }
}

static void plan_frames(struct sp_log *log)
{
    struct sp_log_flush *flush = &log->flush;
    struct sp_log_segment *segment = sp_log_segment_of(log, log->assigned_index + 1);
    uint64_t last = log->last.index;

    if (segment != sp_log_newest_segment(log)) {
        last = segment[1].before.index;
    }
    unsigned count = reserve_pieces(flush, count_frames(log, last));
    flush->create = !segment->on_disk;
    if (flush->create) {
        plan_segment(log, segment);
    }
    flush->header = (struct sp_segment_header){
        .group_id = log->group_id,
        .marker_key = segment->marker_key,
        .before = segment->before,
    };
    flush->position = segment->size;
    sp_segment_marker_encode(&flush->header,
                             log->persisted_index,
                             sp_log_term_at(log, log->persisted_index),
                             log->assigned_chain,
                             flush->marker);
    flush->pieces[0] = (struct sp_iovec){ flush->marker, sizeof flush->marker };
    flush->pieces_bytes = sizeof flush->marker;
    segment->size += sizeof flush->marker;
    for (unsigned i = 0; i < count; i++) {
        assign_frame(log, segment, i);
    }
    flush->piece_count = 1 + count;
    flush->proves = log->assigned_index;
    if (log->store->space == SP_SPACE_ENOUGH) {
        flush->room_end = sp_prefill_end(segment->size,
                                         segment->room_end,
                                         flush->frame_bytes,
                                         log->segment_bytes,
                                         log->store->prefill_bytes);
        segment->surplus |= flush->room_end > 0;
    }
}

static void plan(struct sp_log *log)
{
    struct sp_log_flush *flush = &log->flush;

    if (log->install_wanted != NULL) {
        flush->install = log->install_wanted;
        log->install_wanted = NULL;
        flush->header = (struct sp_segment_header){
            .group_id = log->group_id,
            .marker_key = log->segments[0].marker_key,
            .before = log->segments[0].before,
        };
        flush->proves = flush->header.before.index;
        return;
    }
    flush->truncate = log->truncate_wanted;
    flush->truncate_base = log->truncate_base;
    flush->truncate_position = log->truncate_position;
    log->truncate_wanted = false;
    if (log->assigned_index < log->last.index) {
        plan_frames(log);
    }
}

static void start_job(struct sp_log *log)
{
    struct sp_loop *loop = log->store->loop;

    log->flush.begun_us = sp_loop_now_us(loop);
    log->flush.looks = sp_store_wants_look(log->store, log->flush.frame_bytes);
    if (log->flush.frame_bytes <= SP_FLUSH_BYTES_SHORT) {
        sp_job_start_short(loop, &log->flush.job, sp_log_flush_work, flush_done);
    } else {
        sp_job_start(loop, &log->flush.job, sp_log_flush_work, flush_done);
    }
}

static void resume(struct sp_space_wait *wait)
{
    struct sp_log_flush *flush = SP_CONTAINER_OF(wait, struct sp_log_flush, wait);
    struct sp_log *log = SP_CONTAINER_OF(flush, struct sp_log, flush);

    if (log->closing || log->store->failed) {
        end_flush(log);
    } else {
        start_job(log);
    }
}

void sp_log_flush_start(struct sp_log *log)
{
    bool changes_files = log->install_wanted != NULL || log->truncate_wanted;

    if (log->flushing || log->store->failed || !sp_log_needs_flush(log) ||
        (changes_files && (log->checkpoint_running || log->trimming || log->swapping))) {
        return;
    }
    log->flush = (struct sp_log_flush){
        .wait.resume = resume,
        .store = log->store,
        .directory = log->directory,
        .key_seed = log->key_seed,
        .file = log->file,
        .file_base = log->file_base,
        .step = "",
    };
    log->file = NULL;
    log->flushing = true;
    plan(log);
    start_job(log);
}
