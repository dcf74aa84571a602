/* Dropping frames from the end of a log, or all of them for a checkpoint.
 *
 * Memory changes at once; the files follow in the next flush, before anything else is written (I4).
 * What a flush in flight may prove is lowered here (I3). */
#include "base/assert.h"
#include "base/trace.h"
#include "spate/error.h"
#include "storage/log_state.h"
#include "storage/store_state.h"

/* Where the log stands after a frame, and where that frame ends in its segment's file. */
struct place {
    struct sp_log_point point;
    uint64_t end_position;
};

/* Drops from memory all that is above `place`; files are the caller's concern. */
static void cut_memory(struct sp_log *log, const struct place *place)
{
    uint64_t index = place->point.index + 1;
    uint64_t first = sp_log_tail_first(log);
    uint64_t waiting_bytes = 0;

    while (log->tail.count > 0 && first + log->tail.count > index) {
        sp_log_tail_pop_back(&log->tail);
    }
    if (log->tail.count == 0) {
        sp_log_tail_clear(&log->tail);
    }
    sp_log_history_cut(&log->history, index);
    while (sp_log_newest_segment(log)->before.index + 1 > index) {
        SP_ASSERT(log->segment_count > 1);
        sp_offset_index_clear(&sp_log_newest_segment(log)->offset_index);
        log->segment_count -= 1;
    }
    struct sp_log_segment *newest = sp_log_newest_segment(log);
    sp_log_checkpoint_cancel(log, newest->before.index + 1);
    sp_offset_index_cut(&newest->offset_index, index);
    newest->bare = false; /* others will follow */
    log->last = place->point;
    for (uint32_t i = 0; i < log->tail.count; i++) {
        const struct sp_tail_entry *entry = sp_log_tail_at(&log->tail, i);

        if (entry->position == 0 && first + i > newest->before.index) {
            waiting_bytes += entry->frame.size;
        }
    }
    newest->waiting_bytes = waiting_bytes;
}

void sp_log_undo_append(struct sp_log *log, uint64_t index, const struct sp_log_point *point)
{
    const struct place place = { .point = *point };

    SP_ASSERT(index > log->assigned_index && point->index + 1 == index);
    cut_memory(log, &place);
}

static void place_of_entry(const struct sp_tail_entry *entry, struct place *out_place)
{
    struct sp_log_frame frame;
    int rv = sp_log_frame_decode(entry->frame.bytes, entry->frame.size, &frame);

    SP_ASSERT(rv == 0); /* it was checked when it was appended */
    *out_place = (struct place){
        .point = {
            .index = frame.index,
            .term = frame.term,
            .end_offset = entry->end_offset,
            .append_time_ms = frame.append_time_ms,
            .chain = frame.chain,
        },
        .end_position = entry->position + entry->frame.size,
    };
}

/* Reads the segment's frames from `position`, where `index` stands, up to the one at `last`. */
static int scan_to(const struct sp_log *log,
                   struct sp_segment_cursor *cursor,
                   uint64_t index,
                   int64_t offset,
                   uint64_t last,
                   struct place *out_place)
{
    for (;;) {
        struct sp_log_frame frame;
        const uint8_t *bytes = NULL;
        uint64_t position = 0;
        int rv = sp_segment_cursor_next(cursor, &frame, &bytes, &position);

        if (rv != 0) {
            return rv == SPATE_ERR_NOT_FOUND ? SPATE_ERR_CORRUPT : rv;
        }
        if (frame.kind == SP_FRAME_MARKER) {
            continue;
        }
        if (frame.index != index || frame.group_id != log->group_id) {
            return SPATE_ERR_CORRUPT;
        }
        if (frame.kind == SP_FRAME_BATCH) {
            struct sp_batch_facts facts;

            sp_batch_facts_read(sp_log_frame_payload(bytes), &facts);
            offset = facts.base_offset + facts.offset_count;
        }
        if (index == last && cursor->position == position) {
            return SPATE_ERR_CORRUPT; /* in a run: what was compacted is committed and stays */
        }
        if (index == last) {
            *out_place = (struct place){
                .point = { index, frame.term, offset, frame.append_time_ms, frame.chain },
                .end_position = cursor->position,
            };
            return 0;
        }
        index += 1;
    }
}

/* The same for a frame that is on disk only. */
static int place_on_disk(const struct sp_log *log,
                         const struct sp_log_segment *segment,
                         uint64_t index,
                         struct place *out_place)
{
    const struct sp_offset_index_entry *entry =
        sp_offset_index_by_index(&segment->offset_index, index);
    struct sp_segment_header header;
    struct sp_segment_cursor cursor;
    struct sp_file *file = NULL;
    uint64_t size = 0;
    uint64_t base = segment->before.index + 1;
    int rv =
        sp_segment_open(log->directory, base, log->group_id, SP_FILE_READ, &header, &file, &size);

    if (rv != 0) {
        return rv;
    }
    sp_segment_cursor_init(
        &cursor, file, entry != NULL ? entry->position : SP_SEGMENT_HEADER_SIZE, segment->size);
    rv = scan_to(log,
                 &cursor,
                 entry != NULL ? entry->index : base,
                 entry != NULL ? entry->offset : segment->before.end_offset,
                 index,
                 out_place);
    sp_segment_cursor_deinit(&cursor);
    sp_file_close(file);
    return rv;
}

/* Takes back the index of a segment that is about to become the newest again. */
static void reload_index(const struct sp_log *log, struct sp_log_segment *segment)
{
    const struct sp_log_segment *next = segment + 1;
    struct sp_offset_index_facts facts = {
        .group_id = log->group_id,
        .base = segment->before.index + 1,
        .segment_size = segment->size,
        .chain = next->before.chain,
    };
    int rv = sp_offset_index_load(log->directory, &facts, &segment->offset_index);

    if (rv != 0) {
        SP_TRACE_WARN("storage",
                      "segment index not usable, reads of this segment search from its start",
                      "log=%s base=%llu error=%s",
                      log->directory,
                      (unsigned long long)facts.base,
                      spate_error_name(rv));
    }
}

static int find_place(struct sp_log *log, uint64_t index, struct place *out_place)
{
    struct sp_log_segment *segment = sp_log_segment_of(log, index + 1);

    if (segment->before.index == index) {
        *out_place = (struct place){ segment->before, SP_SEGMENT_HEADER_SIZE };
        return 0;
    }
    if (segment->index_saved && segment->offset_index.count == 0) {
        reload_index(log, segment);
    }
    if (index >= sp_log_tail_first(log)) {
        place_of_entry(sp_log_tail_entry(log, index), out_place);
        return 0;
    }
    return place_on_disk(log, segment, index, out_place);
}

/* The lowest cut wins: what lies above it goes anyway. */
static void want_truncation(struct sp_log *log, uint64_t base, uint64_t position)
{
    bool lower = !log->truncate_wanted || base < log->truncate_base ||
                 (base == log->truncate_base && position < log->truncate_position);

    if (lower) {
        log->truncate_wanted = true;
        log->truncate_base = base;
        log->truncate_position = position;
    }
}

int sp_log_truncate(struct sp_log *log, uint64_t index)
{
    struct place place;

    SP_ASSERT(index >= sp_log_first_index(log));
    SP_ASSERT(index <= log->last.index);
    if (log->store->failed || log->closing) {
        return SPATE_ERR_STOPPED;
    }
    int rv = find_place(log, index - 1, &place);
    if (rv != 0) {
        return rv;
    }
    cut_memory(log, &place);
    log->generation += 1;
    if (index <= log->assigned_index) {
        struct sp_log_segment *newest = sp_log_newest_segment(log);
        uint64_t base = newest->before.index + 1;

        newest->size = place.end_position;
        newest->room_end = 0;
        newest->index_saved = false;
        log->assigned_index = index - 1;
        log->assigned_chain = place.point.chain;
        want_truncation(log, base, place.end_position);
        log->flush.segment_gone |= log->flush.header.before.index + 1 > base;
    }
    if (log->persisted_index >= index) {
        log->persisted_index = index - 1;
    }
    if (log->flush.proves >= index) {
        log->flush.proves = index - 1;
    }
    sp_store_mark_dirty(log->store, log);
    return 0;
}

/* ---- replacing the log ----------------------------------------------------------------------- */

int sp_log_reset(struct sp_log *log, struct sp_blob *image, const struct sp_checkpoint *checkpoint)
{
    struct sp_log_history history = { .epochs = NULL };
    uint64_t base = checkpoint->point.index + 1;
    int rv = log->segment_capacity == 0 ? sp_log_reserve_segment(log) : 0;

    if (rv == 0) {
        rv = sp_log_history_load(&history, checkpoint);
    }
    if (rv != 0) {
        sp_log_history_clear(&history);
        return rv;
    }
    sp_log_history_trim(&history, base);
    sp_log_history_clear(&log->history);
    log->history = history;
    sp_log_tail_clear(&log->tail);
    for (unsigned i = 0; i < log->segment_count; i++) {
        sp_offset_index_clear(&log->segments[i].offset_index);
    }
    log->segment_count = 0;
    rv = sp_log_add_segment(
        log, &checkpoint->point, sp_log_marker_key(log->key_seed, log->group_id, base));
    SP_ASSERT(rv == 0); /* there was room */
    log->segments[0].checkpoint = SP_CHECKPOINT_DONE;
    sp_blob_unref(log->checkpoint_image);
    log->checkpoint_image = sp_blob_ref(image);
    log->checkpoint = *checkpoint;
    log->last = checkpoint->point;
    log->assigned_index = checkpoint->point.index;
    log->assigned_chain = checkpoint->point.chain;
    log->roll = false;
    log->generation += 1;
    return 0;
}

int sp_log_install(struct sp_log *log, const uint8_t *checkpoint, size_t size)
{
    struct sp_checkpoint decoded;

    if (log->store->failed || log->closing) {
        return SPATE_ERR_STOPPED;
    }
    struct sp_blob *image = sp_blob_copy(checkpoint, size);
    if (image == NULL) {
        return SPATE_ERR_NOMEM;
    }
    int rv = sp_checkpoint_decode(image->bytes, image->size, &decoded);
    if (rv == 0 && decoded.group_id != log->group_id) {
        rv = SPATE_ERR_CORRUPT;
    }
    if (rv == 0) {
        rv = sp_log_reset(log, image, &decoded);
    }
    if (rv != 0) {
        sp_blob_unref(image);
        return rv;
    }
    sp_log_checkpoint_cancel(log, 0);
    log->persisted_index = 0;
    log->truncate_wanted = false;
    log->flush.proves = 0;
    log->flush.segment_gone = true;
    sp_blob_unref(log->install_wanted);
    log->install_wanted = image;
    sp_store_mark_dirty(log->store, log);
    return 0;
}
