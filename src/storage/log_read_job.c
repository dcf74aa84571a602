/* The part of a read that a worker does: searching, reading and verifying in one segment. */
#include "base/mem.h"
#include "spate/error.h"
#include "storage/log_read.h"

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

/* Finds the first frame that matches: its position, size in *out_size. SPATE_ERR_NOT_FOUND: none up
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
            *out_size = sp_log_frame_size(frame.length);
            return 0;
        }
        plan->next_index += 1;
    }
    return SPATE_ERR_NOT_FOUND;
}

/* Verifies the frames in the blob one after the other and notes those that match. */
static int take_frames(struct sp_log_read *read, struct sp_read_plan *plan, size_t size)
{
    const uint8_t *bytes = plan->blob->bytes;
    size_t position = 0;
    size_t taken = 0;
    uint32_t chain = 0;
    uint64_t first = plan->next_index;

    while (plan->next_index <= plan->limit && read->count < sp_log_read_frames_limit(read)) {
        struct sp_log_frame frame;
        int rv = sp_log_frame_verify(bytes + position, size - position, &frame);

        if (rv == SPATE_ERR_AGAIN) {
            return read->count > 0 ? 0 : SPATE_ERR_CORRUPT;
        }
        if (rv != 0) {
            return rv;
        }
        size_t frame_size = sp_log_frame_size(frame.length);
        if (frame.kind != SP_FRAME_MARKER) {
            if (frame.index != plan->next_index || frame.group_id != plan->group_id ||
                (frame.index != first &&
                 frame.chain != sp_log_frame_chain(bytes + position, chain))) {
                return SPATE_ERR_CORRUPT;
            }
            if (sp_log_read_matches(read, &frame, bytes + position, read->count > 0)) {
                if (read->count > 0 && taken + frame_size > read->bytes_max) {
                    return 0;
                }
                taken += frame_size;
                read->frames[read->count] =
                    (struct sp_slice){ plan->blob, bytes + position, frame_size };
                read->count += 1;
            }
            chain = frame.chain;
            plan->next_index += 1;
        }
        position += frame_size;
    }
    return 0;
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
    int rv = sp_file_read(file, plan->position, plan->blob->bytes, want, &size);
    if (rv == 0) {
        rv = take_frames(read, plan, size);
    }
    if (rv == 0) {
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
