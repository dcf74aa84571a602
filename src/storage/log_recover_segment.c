/* Recovery of single segments: following their frames, and trusting or rebuilding the index of
 * those below the checkpoint. */
#include "base/trace.h"
#include "spate/error.h"
#include "storage/log_recover.h"

/* ---- one segment ----------------------------------------------------------------------------- */

int sp_recovery_open_segment(const struct sp_recovery *recovery,
                             unsigned number,
                             struct sp_segment_header *out_header,
                             struct sp_file **out_file,
                             uint64_t *out_size)
{
    return sp_segment_open(recovery->request->directory,
                           recovery->segments.values[number],
                           recovery->request->group_id,
                           SP_FILE_WRITE,
                           out_header,
                           out_file,
                           out_size);
}

int sp_recovery_add_segment(struct sp_recovery *recovery,
                            const struct sp_segment_header *header,
                            uint64_t size)
{
    unsigned number = 0;
    int rv = sp_log_add_segment(recovery->log, &header->before, header->marker_key);

    if (rv != 0) {
        return sp_recovery_fail(recovery, rv, "opening it failed");
    }
    struct sp_log_segment *segment = sp_log_newest_segment(recovery->log);
    segment->size = size;
    segment->on_disk = true;
    if (sp_base_list_find(&recovery->checkpoints, header->before.index + 1, &number)) {
        segment->checkpoint = SP_CHECKPOINT_DONE;
    }
    return 0;
}

static void note_place(struct sp_log_segment *segment,
                       const struct sp_log_frame *frame,
                       const uint8_t *bytes,
                       uint64_t position,
                       int64_t offset)
{
    struct sp_batch_facts facts;

    if (segment->since_ms == INT64_MAX) {
        segment->since_ms = frame->append_time_ms;
    }
    sp_offset_index_note(&segment->offset_index,
                         &(struct sp_offset_index_entry){
                             .index = frame->index,
                             .position = position,
                             .offset = offset,
                             .max_timestamp_before = segment->max_timestamp_ms,
                         });
    if (frame->kind == SP_FRAME_BATCH) {
        sp_batch_facts_read(sp_log_frame_payload(bytes), &facts);
        if (facts.max_timestamp_ms > segment->max_timestamp_ms) {
            segment->max_timestamp_ms = facts.max_timestamp_ms;
        }
    }
}

static bool marker_fits(const struct sp_log_segment *segment,
                        const struct sp_log_frame *marker,
                        uint64_t group_id,
                        const struct sp_log_point *point)
{
    return marker->group_id == group_id &&
           (uint64_t)marker->append_time_ms == segment->marker_key &&
           marker->chain == point->chain && marker->index <= point->index;
}

/* Somebody waits for a long scan: says that it goes on. */
static void note_progress(struct sp_recovery *recovery, uint64_t base, uint64_t bytes)
{
    uint64_t step = recovery->request->progress_bytes != 0 ? recovery->request->progress_bytes
                                                           : SP_RECOVERY_PROGRESS_BYTES;

    recovery->scanned_bytes += bytes;
    if (recovery->scanned_bytes - recovery->told_bytes >= step) {
        recovery->told_bytes = recovery->scanned_bytes;
        SP_TRACE_INFO("storage",
                      "recovery goes on",
                      "log=%s segment=%llu scanned_bytes=%llu",
                      recovery->request->directory,
                      (unsigned long long)base,
                      (unsigned long long)recovery->scanned_bytes);
    }
}

int sp_recovery_follow_frames(struct sp_recovery *recovery,
                              struct sp_file *file,
                              struct sp_log_segment *segment,
                              struct sp_log_point *point,
                              struct sp_log_history *history,
                              uint64_t *out_position)
{
    uint64_t group_id = recovery->request->group_id;
    struct sp_segment_cursor cursor;
    int rv = 0;

    sp_segment_cursor_init(&cursor, file, SP_SEGMENT_HEADER_SIZE, segment->size);
    while (rv == 0) {
        struct sp_log_frame frame;
        struct sp_log_point after;
        const uint8_t *bytes = NULL;
        uint64_t position = 0;

        *out_position = cursor.position;
        rv = sp_segment_cursor_next(&cursor, &frame, &bytes, &position);
        note_progress(recovery, segment->before.index + 1, cursor.position - *out_position);
        if (rv == 0 && frame.kind == SP_FRAME_MARKER) {
            rv = marker_fits(segment, &frame, group_id, point) ? 0 : SPATE_ERR_CORRUPT;
            continue;
        }
        if (rv == 0) {
            rv = sp_log_point_follow(point, group_id, &frame, bytes, &after);
        }
        if (rv == 0 && history != NULL) {
            rv = sp_log_history_note(history, &frame, sp_log_frame_payload(bytes));
        }
        if (rv == 0) {
            note_place(segment, &frame, bytes, position, point->end_offset);
            *point = after;
        }
    }
    sp_segment_cursor_deinit(&cursor);
    return rv;
}

void sp_recovery_save_index(struct sp_recovery *recovery,
                            struct sp_log_segment *segment,
                            uint32_t end_chain)
{
    const struct sp_offset_index_facts facts = {
        .group_id = recovery->request->group_id,
        .base = segment->before.index + 1,
        .segment_size = segment->size,
        .max_timestamp_ms = segment->max_timestamp_ms,
        .chain = end_chain,
    };
    struct sp_blob *image = sp_offset_index_encode(&segment->offset_index, &facts);

    if (image != NULL &&
        sp_offset_index_save(recovery->request->directory, facts.base, image->bytes, image->size) ==
            0) {
        segment->index_saved = true;
        sp_offset_index_clear(&segment->offset_index);
    }
    sp_blob_unref(image);
}

/* ---- segments below the start ---------------------------------------------------------------- */

bool sp_recovery_same_point(const struct sp_log_point *a, const struct sp_log_point *b)
{
    return a->index == b->index && a->term == b->term && a->end_offset == b->end_offset &&
           a->append_time_ms == b->append_time_ms && a->chain == b->chain;
}

int sp_recovery_end_segment(struct sp_recovery *recovery,
                            struct sp_log_segment *segment,
                            uint64_t position)
{
    int rv = sp_log_cut_file(recovery->request->directory, segment->before.index + 1, position);

    if (rv != 0) {
        return sp_recovery_fail_writing(recovery, rv, "cutting a finished segment failed");
    }
    segment->size = position;
    return 0;
}

/* A segment that ends with a whole frame may have been longer: nothing there tells. */
int sp_recovery_tell_gap(const struct sp_recovery *recovery, uint64_t first, uint64_t last)
{
    return sp_recovery_fail(recovery,
                            SPATE_ERR_CORRUPT,
                            "%020llu.log is missing, or the end of the one before it: frames %llu "
                            "to %llu are not there, and later ones are",
                            (unsigned long long)first,
                            (unsigned long long)first,
                            (unsigned long long)last);
}

/* Reads all frames of an older segment again; they must lead to where the next one begins. */
static int rebuild_index(struct sp_recovery *recovery,
                         struct sp_file *file,
                         struct sp_log_segment *segment,
                         const struct sp_log_point *next)
{
    struct sp_log_point point = segment->before;
    uint64_t position = 0;
    int rv = sp_recovery_follow_frames(recovery, file, segment, &point, NULL, &position);
    bool complete = sp_recovery_same_point(&point, next);

    if (rv == SPATE_ERR_CORRUPT && complete) {
        rv = sp_recovery_end_segment(recovery, segment, position);
        if (rv != 0) {
            return rv;
        }
        rv = SPATE_ERR_NOT_FOUND;
    }
    if (rv == SPATE_ERR_NOT_FOUND && next->index > point.index) {
        return sp_recovery_tell_gap(recovery, point.index + 1, next->index);
    }
    if (rv == SPATE_ERR_CORRUPT || (rv == SPATE_ERR_NOT_FOUND && !complete)) {
        return sp_recovery_fail(recovery,
                                SPATE_ERR_CORRUPT,
                                "%020llu.log is damaged at byte %llu, below a checkpoint",
                                (unsigned long long)(segment->before.index + 1),
                                (unsigned long long)position);
    }
    if (rv != SPATE_ERR_NOT_FOUND) {
        return sp_recovery_fail(recovery, rv, "reading an older segment failed");
    }
    sp_recovery_save_index(recovery, segment, next->chain);
    return 0;
}

static int
load_older(struct sp_recovery *recovery, unsigned number, const struct sp_log_point *next)
{
    struct sp_segment_header header;
    struct sp_file *file = NULL;
    uint64_t size = 0;
    int rv = sp_recovery_open_segment(recovery, number, &header, &file, &size);

    if (rv != 0) {
        return sp_recovery_fail(recovery,
                                rv,
                                "the header of %020llu.log is not readable",
                                (unsigned long long)recovery->segments.values[number]);
    }
    rv = sp_recovery_add_segment(recovery, &header, size);
    if (rv == 0) {
        struct sp_log_segment *segment = sp_log_newest_segment(recovery->log);
        struct sp_offset_index_facts facts = {
            .group_id = recovery->request->group_id,
            .base = header.before.index + 1,
            .segment_size = size,
            .chain = next->chain,
        };

        if (sp_offset_index_load(recovery->request->directory, &facts, &segment->offset_index) ==
            0) {
            segment->max_timestamp_ms = facts.max_timestamp_ms;
            segment->index_saved = true;
            sp_offset_index_clear(&segment->offset_index);
        } else {
            rv = rebuild_index(recovery, file, segment, next);
        }
    }
    sp_file_close(file);
    return rv;
}

int sp_recovery_begin_of(const struct sp_recovery *recovery,
                         unsigned number,
                         struct sp_log_point *out_point)
{
    struct sp_segment_header header;
    struct sp_file *file = NULL;
    uint64_t size = 0;
    int rv = sp_recovery_open_segment(recovery, number, &header, &file, &size);

    if (rv == 0) {
        sp_file_close(file);
        *out_point = header.before;
    }
    return rv;
}

int sp_recovery_load_all_older(struct sp_recovery *recovery, unsigned start)
{
    for (unsigned i = 0; i < start; i++) {
        struct sp_log_point next;
        int rv = sp_recovery_begin_of(recovery, i + 1, &next);

        if (rv != 0) {
            return sp_recovery_fail(recovery, rv, "the header of a segment is not readable");
        }
        rv = load_older(recovery, i, &next);
        if (rv != 0) {
            return rv;
        }
    }
    return 0;
}
