/* Appending: the leader's building of frames, the follower's taking of them. */
#include <string.h>

#include "base/assert.h"
#include "spate/error.h"
#include "storage/log_state.h"
#include "storage/store_state.h"

static bool must_roll(const struct sp_log *log)
{
    const struct sp_log_segment *newest = sp_log_newest_segment(log);

    if (newest->before.index == log->last.index) {
        return false; /* it is empty */
    }
    return log->roll || newest->size + newest->waiting_bytes >= log->segment_bytes;
}

/* Takes the frame's reference on success. SPATE_ERR_NOMEM; nothing changed then. */
static int append_frame(struct sp_log *log,
                        struct sp_slice slice,
                        const struct sp_log_frame *frame,
                        const struct sp_log_point *after)
{
    bool rolls = must_roll(log);
    int rv = sp_log_tail_reserve(&log->tail);

    if (rv == 0 && rolls) {
        rv = sp_log_reserve_segment(log);
    }
    if (rv == 0) {
        rv = sp_log_history_note(&log->history, frame, sp_log_frame_payload(slice.bytes));
    }
    if (rv != 0) {
        return rv;
    }
    if (rolls) {
        uint64_t key = sp_log_marker_key(log->key_seed, log->group_id, frame->index);

        rv = sp_log_add_segment(log, &log->last, key);
        SP_ASSERT(rv == 0); /* its room was reserved */
        log->roll = false;
    }
    struct sp_log_segment *segment = sp_log_newest_segment(log);
    if (frame->kind == SP_FRAME_BATCH) {
        struct sp_batch_facts facts;

        sp_batch_facts_read(sp_log_frame_payload(slice.bytes), &facts);
        if (facts.max_timestamp_ms > segment->max_timestamp_ms) {
            segment->max_timestamp_ms = facts.max_timestamp_ms;
        }
    }
    if (segment->since_ms == INT64_MAX) {
        segment->since_ms = frame->append_time_ms;
    }
    segment->waiting_bytes += slice.size;
    sp_log_tail_push(&log->tail, slice, after->end_offset);
    log->last = *after;
    return 0;
}

static int refuses(const struct sp_log *log)
{
    return log->store->failed || log->closing ? SPATE_ERR_STOPPED : 0;
}

static size_t total_size(const struct sp_iovec *pieces, unsigned count)
{
    size_t size = 0;

    for (unsigned i = 0; i < count; i++) {
        if (pieces[i].size > SP_BATCH_BYTES_MAX - size) {
            return (size_t)SP_BATCH_BYTES_MAX + 1;
        }
        size += pieces[i].size;
    }
    return size;
}

static void copy_pieces(uint8_t *to, const struct sp_iovec *pieces, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (pieces[i].size > 0) {
            memcpy(to, pieces[i].bytes, pieces[i].size);
        }
        to += pieces[i].size;
    }
}

/* Fills a new frame's bytes and computes where the log stands after it. */
static int seal(const struct sp_log *log,
                struct sp_log_frame *frame,
                uint8_t *bytes,
                struct sp_log_point *out_after)
{
    uint8_t *payload = bytes + SP_LOG_FRAME_HEADER_SIZE;

    if (frame->kind == SP_FRAME_BATCH) {
        struct sp_batch_facts facts;

        if (frame->length < SP_BATCH_HEADER_SIZE || frame->term > INT32_MAX) {
            return SPATE_ERR_INVALID;
        }
        sp_batch_facts_place(payload, log->last.end_offset, (int32_t)frame->term);
        sp_batch_facts_read(payload, &facts);
        if (facts.record_count < 1 || facts.record_count != facts.offset_count) {
            return SPATE_ERR_INVALID;
        }
    }
    sp_log_frame_seal(frame, log->last.chain, bytes);
    return sp_log_point_follow(&log->last, log->group_id, frame, bytes, out_after);
}

int sp_log_build(struct sp_log *log,
                 enum sp_frame_kind kind,
                 uint64_t term,
                 int64_t append_time_ms,
                 const struct sp_iovec *pieces,
                 unsigned count,
                 int64_t *out_offset)
{
    size_t length = total_size(pieces, count);
    struct sp_log_point after;

    SP_ASSERT(kind != SP_FRAME_MARKER);
    SP_ASSERT(kind != SP_FRAME_NOOP || length == 0);
    SP_ASSERT(term >= log->last.term);
    if (refuses(log) != 0) {
        return SPATE_ERR_STOPPED;
    }
    if (length > SP_BATCH_BYTES_MAX) {
        return SPATE_ERR_TOO_LARGE;
    }
    struct sp_log_frame frame = {
        .kind = kind,
        .length = (uint32_t)length,
        .group_id = log->group_id,
        .term = term,
        .index = log->last.index + 1,
        .append_time_ms =
            append_time_ms > log->last.append_time_ms ? append_time_ms : log->last.append_time_ms,
    };
    size_t size = sp_log_frame_size(frame.length);
    struct sp_blob *blob = sp_blob_new(size);
    if (blob == NULL) {
        return SPATE_ERR_NOMEM;
    }
    copy_pieces(blob->bytes + SP_LOG_FRAME_HEADER_SIZE, pieces, count);
    int64_t offset = log->last.end_offset;
    int rv = seal(log, &frame, blob->bytes, &after);
    if (rv == 0) {
        struct sp_slice slice = { blob, blob->bytes, size };

        rv = append_frame(log, slice, &frame, &after);
    }
    if (rv != 0) {
        sp_blob_unref(blob);
        return rv;
    }
    if (kind == SP_FRAME_BATCH && out_offset != NULL) {
        *out_offset = offset;
    }
    sp_store_mark_dirty(log->store, log);
    return 0;
}

static int check_frames(const struct sp_log *log, const struct sp_slice *frames, unsigned count)
{
    struct sp_log_point point = log->last;

    for (unsigned i = 0; i < count; i++) {
        struct sp_log_frame frame;
        struct sp_log_point after;
        int rv = sp_log_frame_decode(frames[i].bytes, frames[i].size, &frame);

        if (rv != 0 || frames[i].size != sp_log_frame_size(frame.length)) {
            return SPATE_ERR_CORRUPT;
        }
        rv = sp_log_point_follow(&point, log->group_id, &frame, frames[i].bytes, &after);
        if (rv != 0) {
            return rv;
        }
        point = after;
    }
    return 0;
}

/* Appends one frame that check_frames has seen. */
static int append_checked(struct sp_log *log, const struct sp_slice *bytes)
{
    struct sp_log_frame frame;
    struct sp_log_point after;
    int rv = sp_log_frame_decode(bytes->bytes, bytes->size, &frame);

    SP_ASSERT(rv == 0);
    rv = sp_log_point_follow(&log->last, log->group_id, &frame, bytes->bytes, &after);
    SP_ASSERT(rv == 0);
    struct sp_slice slice = sp_slice_ref(bytes);
    rv = append_frame(log, slice, &frame, &after);
    if (rv != 0) {
        sp_slice_unref(&slice);
    }
    return rv;
}

int sp_log_append(struct sp_log *log, const struct sp_slice *frames, unsigned count)
{
    const struct sp_log_point before = log->last;
    bool roll = log->roll;
    int rv = refuses(log);

    if (rv == 0) {
        rv = check_frames(log, frames, count);
    }
    if (rv != 0 || count == 0) {
        return rv;
    }
    for (unsigned i = 0; i < count; i++) {
        rv = append_checked(log, &frames[i]);
        if (rv != 0) {
            sp_log_undo_append(log, before.index + 1, &before);
            log->roll = roll;
            return rv;
        }
    }
    sp_store_mark_dirty(log->store, log);
    return 0;
}
