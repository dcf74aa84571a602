/* The part of a read that a worker does: searching, reading and verifying in one segment. */
#include <string.h>

#include "base/mem.h"
#include "spate/error.h"
#include "storage/log_read.h"
#include "storage/slice_read.h"

unsigned sp_log_read_frames_limit(const struct sp_log_read *read)
{
    bool given = read->frames_max > 0 && read->frames_max < SP_APPEND_FRAMES_MAX;

    return given ? read->frames_max : SP_APPEND_FRAMES_MAX;
}

bool sp_log_read_matches(const struct sp_log_read *read,
                         const struct sp_log_frame *frame,
                         const uint8_t *bytes,
                         bool begun)
{
    struct sp_batch_facts facts;

    if (read->by == SP_LOG_READ_INDEX) {
        return frame->index >= (uint64_t)read->start;
    }
    if (frame->kind != SP_FRAME_BATCH) {
        return false;
    }
    sp_batch_facts_read(sp_log_frame_payload(bytes), &facts);
    if (read->by == SP_LOG_READ_OFFSET) {
        return facts.base_offset + facts.offset_count > read->start;
    }
    return facts.base_offset + facts.offset_count > read->offset_min &&
           (begun || (facts.record_count > 0 && facts.max_timestamp_ms >= read->start));
}

/* Looks up a better beginning in the index file; without one the search begins at `position`. */
static int use_index_file(const struct sp_log_read *read, struct sp_read_plan *plan)
{
    struct sp_offset_index_facts facts = {
        .group_id = plan->group_id,
        .base = plan->base,
        .segment_size = plan->end,
        .chain = plan->end_chain,
    };
    struct sp_offset_index index;
    const struct sp_offset_index_entry *entry = NULL;
    int rv = sp_offset_index_load(plan->directory, &facts, &index);

    if (rv != 0) {
        return rv == SPATE_ERR_NOMEM ? rv : 0;
    }
    switch (read->by) {
    case SP_LOG_READ_INDEX:
        entry = sp_offset_index_by_index(&index, (uint64_t)read->start - 1); /* as for memory */
        break;
    case SP_LOG_READ_OFFSET:
        entry = sp_offset_index_by_offset(&index, read->start);
        break;
    case SP_LOG_READ_TIME:
        entry = sp_offset_index_by_time(&index, read->start);
        break;
    }
    if (entry != NULL) {
        plan->position = entry->position;
        plan->next_index = entry->index;
    }
    sp_offset_index_clear(&index);
    return 0;
}

/* Finds the first frame that matches: its position and size in *out_size, or those of the run that
 * holds it, with which plan->next_index begins then. SPATE_ERR_NOT_FOUND: none up
 * to the segment's end or the limit. */
static int search(const struct sp_log_read *read,
                  struct sp_read_plan *plan,
                  struct sp_segment_cursor *cursor,
                  size_t *out_size)
{
    bool chained = plan->next_index == plan->base; /* else the first frame's chain is believed */
    uint32_t chain = plan->base_chain;

    while (plan->next_index <= plan->limit) {
        struct sp_log_frame frame;
        const uint8_t *bytes = NULL;
        uint64_t position = 0;
        int rv = sp_segment_cursor_next(cursor, &frame, &bytes, &position);

        if (rv != 0) {
            return rv;
        }
        if (frame.kind == SP_FRAME_MARKER) {
            continue;
        }
        if (frame.index != plan->next_index || frame.group_id != plan->group_id ||
            (chained && frame.chain != sp_log_frame_chain(bytes, chain))) {
            return SPATE_ERR_CORRUPT;
        }
        chained = true;
        chain = frame.chain;
        if (sp_log_read_matches(read, &frame, bytes, false)) {
            plan->position = position;
            plan->next_index -= sp_segment_cursor_place_in_run(cursor);
            *out_size = cursor->record_size;
            return 0;
        }
        plan->next_index += 1;
    }
    return SPATE_ERR_NOT_FOUND;
}

/* The frames of a blob being taken. Those of runs are put together in `expanded`, and have a slice
 * without a blob until all are there. */
struct taking {
    struct sp_log_read *read;
    struct sp_read_plan *plan;
    size_t taken;   /* bytes of read->frames */
    uint32_t chain; /* of the frame before */
    bool chained;   /* that is known: else search has proven the first frame's */
    bool full;      /* nothing more is taken */
    struct sp_buf expanded;
};

/* The next frame, verified: it must be the one that follows. */
static int follow(struct taking *taking, const struct sp_slice *bytes, struct sp_log_frame *out)
{
    struct sp_read_plan *plan = taking->plan;
    int rv = sp_log_frame_decode(bytes->bytes, bytes->size, out);

    if (rv != 0 || out->index != plan->next_index || out->group_id != plan->group_id ||
        (taking->chained && out->chain != sp_log_frame_chain(bytes->bytes, taking->chain))) {
        return SPATE_ERR_CORRUPT;
    }
    taking->chain = out->chain;
    taking->chained = true;
    plan->next_index += 1;
    return 0;
}

static int push(struct taking *taking, const struct sp_slice *bytes)
{
    struct sp_log_read *read = taking->read;

    if (read->count == sp_log_read_frames_limit(read) ||
        (read->count > 0 && taking->taken + bytes->size > read->bytes_max)) {
        taking->full = true;
        return 0;
    }
    int rv = bytes->blob == NULL ? sp_buf_append(&taking->expanded, bytes->bytes, bytes->size) : 0;
    if (rv == 0) {
        read->frames[read->count] = *bytes;
        read->count += 1;
        taking->taken += bytes->size;
    }
    return rv;
}

/* Frames of a run that a read for records is given as one: [first, last], NULL: none yet. */
struct merge {
    const uint8_t *first;
    const uint8_t *last;
};

static int push_merged(struct taking *taking, struct merge *merge)
{
    uint8_t bytes[SP_LOG_RUN_FRAME_SIZE];
    const struct sp_slice slice = { NULL, bytes, sizeof bytes };

    if (merge->first == NULL) {
        return 0;
    }
    sp_log_run_merge(merge->first, merge->last, bytes);
    *merge = (struct merge){ NULL, NULL };
    return push(taking, &slice);
}

static int push_emptied(struct taking *taking, struct merge *merge, const uint8_t *bytes)
{
    int rv = 0;

    if (merge->first != NULL && !sp_log_run_may_merge(merge->first, bytes)) {
        rv = push_merged(taking, merge);
    }
    merge->first = merge->first != NULL ? merge->first : bytes;
    merge->last = bytes;
    return rv;
}

static int take_run(struct taking *taking, const uint8_t *bytes, size_t size, size_t *out_size)
{
    struct sp_log_read *read = taking->read;
    const struct sp_read_plan *plan = taking->plan;
    struct merge merge = { NULL, NULL };
    struct sp_blob *frames = NULL;
    int rv = sp_log_run_expand(bytes, size, &frames);

    if (rv != 0) {
        return rv;
    }
    for (size_t i = 0; rv == 0 && i < frames->size && plan->next_index <= plan->limit;
         i += SP_LOG_RUN_FRAME_SIZE) {
        const struct sp_slice slice = { NULL, frames->bytes + i, SP_LOG_RUN_FRAME_SIZE };
        struct sp_log_frame frame;
        bool begun = read->count > 0 || merge.first != NULL;

        rv = follow(taking, &slice, &frame);
        if (rv == 0 && !taking->full && sp_log_read_matches(read, &frame, slice.bytes, begun)) {
            rv = read->by == SP_LOG_READ_INDEX ? push(taking, &slice)
                                               : push_emptied(taking, &merge, slice.bytes);
        }
    }
    if (rv == 0 && !taking->full) {
        rv = push_merged(taking, &merge);
    }
    sp_blob_unref(frames);
    return rv == 0 ? sp_log_run_size(bytes, out_size) : rv;
}

/* One frame, or a run of them, at `bytes`; *out_size: what it takes there. SPATE_ERR_AGAIN: it is
 * not there whole. */
static int take_record(struct taking *taking, const uint8_t *bytes, size_t size, size_t *out_size)
{
    struct sp_log_frame frame;

    if (size >= SP_LOG_FRAME_HEADER_SIZE && sp_log_run_begins(bytes)) {
        return take_run(taking, bytes, size, out_size);
    }
    int rv = sp_log_frame_verify(bytes, size, &frame);
    if (rv != 0) {
        return rv;
    }
    *out_size = sp_log_frame_size(frame.length);
    if (frame.kind == SP_FRAME_MARKER) {
        return 0;
    }
    const struct sp_slice slice = { taking->plan->blob, bytes, *out_size };
    rv = follow(taking, &slice, &frame);
    if (rv == 0 && sp_log_read_matches(taking->read, &frame, bytes, taking->read->count > 0)) {
        rv = push(taking, &slice);
    }
    return rv;
}

/* Puts all frames that were taken into one blob of their own. */
static int gather(struct taking *taking)
{
    struct sp_log_read *read = taking->read;
    struct sp_blob *blob = sp_blob_new(taking->taken);
    const uint8_t *expanded = taking->expanded.bytes;
    size_t position = 0;

    if (blob == NULL) {
        return SPATE_ERR_NOMEM;
    }
    for (unsigned i = 0; i < read->count; i++) {
        struct sp_slice *slice = &read->frames[i];
        const uint8_t *from = slice->blob != NULL ? slice->bytes : expanded;

        memcpy(blob->bytes + position, from, slice->size);
        expanded += slice->blob != NULL ? 0 : slice->size;
        *slice = (struct sp_slice){ blob, blob->bytes + position, slice->size };
        position += slice->size;
    }
    sp_blob_unref(taking->plan->blob);
    taking->plan->blob = blob;
    return 0;
}

/* Verifies the frames in the blob one after the other and notes those that match. */
static int take_frames(struct sp_log_read *read, struct sp_read_plan *plan, size_t size)
{
    const uint8_t *bytes = plan->blob->bytes;
    struct taking taking = { .read = read, .plan = plan };
    size_t position = 0;
    int rv = 0;

    sp_buf_init(&taking.expanded, (size_t)SP_APPEND_FRAMES_MAX * SP_LOG_RUN_FRAME_SIZE);
    while (rv == 0 && !taking.full && plan->next_index <= plan->limit &&
           read->count < sp_log_read_frames_limit(read)) {
        size_t record_size = 0;

        rv = take_record(&taking, bytes + position, size - position, &record_size);
        position += record_size;
    }
    if (rv == SPATE_ERR_AGAIN) {
        rv = read->count > 0 ? 0 : SPATE_ERR_CORRUPT;
    }
    if (rv == 0 && taking.expanded.size > 0) {
        rv = gather(&taking);
    }
    sp_buf_deinit(&taking.expanded);
    return rv;
}

/* Moves the frames to a smaller blob when they fill little of the one that was read into. */
static void shrink(struct sp_log_read *read, struct sp_read_plan *plan)
{
    const struct sp_slice *last = &read->frames[read->count - 1];
    size_t used = (size_t)(last->bytes + last->size - plan->blob->bytes);

    if (used > plan->blob->size / 2) {
        return;
    }
    struct sp_blob *blob = sp_blob_copy(plan->blob->bytes, used);
    if (blob == NULL) {
        return; /* the large one serves as well */
    }
    for (unsigned i = 0; i < read->count; i++) {
        size_t position = (size_t)(read->frames[i].bytes - plan->blob->bytes);

        read->frames[i] = (struct sp_slice){ blob, blob->bytes + position, read->frames[i].size };
    }
    sp_blob_unref(plan->blob);
    plan->blob = blob;
}

static int load_frames(struct sp_log_read *read,
                       struct sp_read_plan *plan,
                       struct sp_file *file,
                       size_t first_size)
{
    uint64_t left = plan->end - plan->position;
    size_t want = read->bytes_max > first_size ? read->bytes_max : first_size;
    size_t size = 0;

    want = want < left ? want : (size_t)left;
    plan->blob = sp_blob_new(want);
    if (plan->blob == NULL) {
        return SPATE_ERR_NOMEM;
    }
    int rv = sp_slice_read(file, plan->position, plan->blob->bytes, want, &size, &read->job);
    if (rv == 0) {
        rv = take_frames(read, plan, size);
    }
    if (rv == 0 && read->count > 0) {
        shrink(read, plan);
    }
    return rv;
}

int sp_log_read_segment(struct sp_log_read *read, struct sp_read_plan *plan)
{
    struct sp_segment_header header;
    struct sp_segment_cursor cursor;
    struct sp_file *file = NULL;
    uint64_t size = 0;
    size_t first_size = 0;
    int rv = plan->load_index ? use_index_file(read, plan) : 0;

    if (rv == 0) {
        rv = sp_segment_open(
            plan->directory, plan->base, plan->group_id, SP_FILE_READ, &header, &file, &size);
    }
    if (rv != 0) {
        return rv == SPATE_ERR_NOT_FOUND ? SPATE_ERR_IO : rv;
    }
    sp_segment_cursor_init(&cursor, file, plan->position, plan->end);
    cursor.job = &read->job;
    rv = search(read, plan, &cursor, &first_size);
    sp_segment_cursor_deinit(&cursor);
    if (rv == 0) {
        rv = load_frames(read, plan, file, first_size);
    } else if (rv == SPATE_ERR_NOT_FOUND) {
        /* Ending before the frames that the log has here would be a hole. */
        rv = plan->next_index > plan->limit ? 0 : SPATE_ERR_CORRUPT;
    }
    sp_file_close(file);
    return rv;
}
