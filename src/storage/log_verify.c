#include "storage/log_verify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "spate/error.h"
#include "storage/disk.h"
#include "storage/log_state.h"
#include "storage/log_verify_parts.h"
#include "storage/offset_index.h"
#include "storage/store_state.h"

#define TEXT_SIZE 256

/* A segment while it is read. */
struct reading {
    uint64_t base;
    uint64_t next_base; /* of the segment behind it; 0: it is the newest */
    struct sp_segment_header header;
    struct sp_file *file;
    uint64_t size;
    int64_t max_timestamp_ms;
    struct sp_offset_index offset_index;
};

void sp_verify_find(struct sp_verify *verify,
                    enum sp_verify_kind kind,
                    const char *file,
                    uint64_t position,
                    const char *format,
                    ...)
{
    char text[TEXT_SIZE];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    verify->report->damaged += kind == SP_VERIFY_DAMAGE;
    verify->report->heals += kind == SP_VERIFY_HEALS;
    verify->report->torn += kind == SP_VERIFY_TORN;
    verify->report->notes += kind == SP_VERIFY_NOTE;
    verify->options->found(verify->options->arg,
                           &(struct sp_verify_finding){
                               .kind = kind, .file = file, .position = position, .text = text });
}

void sp_verify_base_name(char *name, uint64_t base, const char *suffix)
{
    (void)snprintf(name, SP_VERIFY_NAME_SIZE, "%020" PRIu64 ".%s", base, suffix);
}

/* ---- the directory --------------------------------------------------------------------------- */

/* A node has found damage here and does not open the log again. */
static void note_mark(struct sp_verify *verify)
{
    char text[SP_STORE_TEXT_SIZE];

    sp_store_read_mark(verify->directory, text, sizeof text);
    sp_verify_find(verify, SP_VERIFY_NOTE, SP_DAMAGED_NAME, 0, "%s", text);
}

static int list_name(void *arg, const char *name)
{
    struct sp_verify *verify = arg;
    uint64_t base = 0;

    if (sp_disk_parse_base(name, SP_SEGMENT_SUFFIX, &base)) {
        return sp_base_list_add(&verify->segments, base);
    }
    if (sp_disk_parse_base(name, SP_CHECKPOINT_SUFFIX, &base)) {
        return sp_base_list_add(&verify->checkpoints, base);
    }
    return 0;
}

/* Of a directory that is a log's. An index is looked for beside its segment. */
static int note_name(void *arg, const char *name)
{
    struct sp_verify *verify = arg;
    bool hint = strcmp(name, SP_REST_NAME) == 0; /* for the next start */
    uint64_t base = 0;

    if (hint || sp_disk_parse_base(name, SP_SEGMENT_SUFFIX, &base) ||
        sp_disk_parse_base(name, SP_CHECKPOINT_SUFFIX, &base) ||
        sp_disk_parse_base(name, SP_OFFSET_INDEX_SUFFIX, &base)) {
        return 0;
    }
    if (strcmp(name, SP_DAMAGED_NAME) == 0) {
        note_mark(verify);
    } else if (strcmp(name, SP_INSTALL_NAME) == 0 || strcmp(name, SP_TRUNCATION_NAME) == 0) {
        sp_verify_find(
            verify, SP_VERIFY_NOTE, name, 0, "has begun; the next start of the node ends it");
    } else {
        sp_verify_find(verify, SP_VERIFY_NOTE, name, 0, "is no file of a log that is at rest");
    }
    return 0;
}

/* The group of the first header that can be read; the name of the directory says it as well. */
static void find_group(struct sp_verify *verify)
{
    char path[SP_DISK_PATH_SIZE];
    struct sp_segment_header header;

    for (unsigned i = 0; i < verify->segments.count; i++) {
        sp_disk_base_path(path, verify->directory, verify->segments.values[i], SP_SEGMENT_SUFFIX);
        if (sp_segment_peek(path, &header) == 0) {
            verify->report->group_id = header.group_id;
            return;
        }
    }
}

/* ---- one segment ----------------------------------------------------------------------------- */

static void take_frame(struct sp_verify *verify,
                       struct reading *reading,
                       const struct sp_log_frame *frame,
                       const uint8_t *bytes,
                       uint64_t position)
{
    struct sp_batch_facts facts;

    sp_offset_index_note(&reading->offset_index,
                         &(struct sp_offset_index_entry){
                             .index = frame->index,
                             .position = position,
                             .offset = verify->point.end_offset,
                             .max_timestamp_before = reading->max_timestamp_ms,
                         });
    verify->report->frames += 1;
    if (frame->kind == SP_FRAME_BATCH) {
        sp_batch_facts_read(sp_log_frame_payload(bytes), &facts);
        verify->report->records += (uint64_t)facts.record_count;
        if (facts.max_timestamp_ms > reading->max_timestamp_ms) {
            reading->max_timestamp_ms = facts.max_timestamp_ms;
        }
    }
}

static bool marker_fits(const struct sp_verify *verify,
                        const struct reading *reading,
                        const struct sp_log_frame *marker)
{
    return marker->group_id == reading->header.group_id &&
           (uint64_t)marker->append_time_ms == reading->header.marker_key &&
           marker->chain == verify->point.chain && marker->index <= verify->point.index;
}

/* Reads frames to the end: SPATE_ERR_NOT_FOUND; SPATE_ERR_CORRUPT: *out_position is where they stop
 * to make sense. */
static int walk(struct sp_verify *verify, struct reading *reading, uint64_t *out_position)
{
    struct sp_segment_cursor cursor;
    int rv = 0;

    sp_segment_cursor_init(&cursor, reading->file, SP_SEGMENT_HEADER_SIZE, reading->size);
    while (rv == 0) {
        struct sp_log_frame frame;
        struct sp_log_point after;
        const uint8_t *bytes = NULL;

        *out_position = cursor.position;
        rv = sp_segment_cursor_next(&cursor, &frame, &bytes, out_position);
        if (rv == 0 && frame.kind == SP_FRAME_MARKER) {
            rv = marker_fits(verify, reading, &frame) ? 0 : SPATE_ERR_CORRUPT;
            continue;
        }
        if (rv == 0) {
            rv = sp_log_point_follow(
                &verify->point, reading->header.group_id, &frame, bytes, &after);
        }
        if (rv == 0) {
            take_frame(verify, reading, &frame, bytes, *out_position);
            verify->point = after;
        }
    }
    sp_segment_cursor_deinit(&cursor);
    return rv;
}

/* What proves that frames behind the last readable one were synced: the largest such index.
 * *out_recycled: what stands there is of the file's life before. *out_room: nothing does. */
static int proven_index(const struct sp_verify *verify,
                        const struct reading *reading,
                        uint64_t position,
                        uint64_t *out_index,
                        bool *out_recycled,
                        bool *out_room)
{
    struct sp_marker_search search;
    int rv = sp_segment_find_markers(
        reading->file, position, reading->header.group_id, reading->header.marker_key, &search);

    if (rv == 0) {
        *out_index = search.synced_index;
        *out_recycled = search.others > 0;
        *out_room = search.zeros;
    }
    if (rv == 0 && sp_verify_rest_index(verify) > *out_index) {
        *out_index = verify->rest_index;
    }
    for (unsigned i = 0; rv == 0 && i < verify->checkpoints.count; i++) {
        uint64_t index = verify->checkpoints.values[i] - 1;
        *out_index = index > *out_index ? index : *out_index;
    }
    return rv;
}

/* The frames of a segment end at `position`, before its file does. */
static int judge(struct sp_verify *verify, const struct reading *reading, uint64_t position)
{
    char name[SP_VERIFY_NAME_SIZE];
    uint64_t wanted = verify->point.index + 1;
    uint64_t proven = 0;
    bool recycled = false;
    bool room = false;
    int rv = proven_index(verify, reading, position, &proven, &recycled, &room);

    if (rv != 0) {
        return rv;
    }
    sp_verify_base_name(name, reading->base, SP_SEGMENT_SUFFIX);
    if (reading->next_base != 0 || proven >= wanted) {
        sp_verify_find(verify,
                       SP_VERIFY_DAMAGE,
                       name,
                       position,
                       "the frame with index %" PRIu64 " (offset %" PRId64
                       " if it has one) is not readable",
                       wanted,
                       verify->point.end_offset);
        verify->continuous = false;
    } else if (!room) {
        sp_verify_find(verify,
                       recycled ? SP_VERIFY_NOTE : SP_VERIFY_TORN,
                       name,
                       position,
                       recycled
                           ? "the log ends here; bytes left from the file's use before: %" PRIu64
                           : "bytes of a write that was not finished: %" PRIu64,
                       reading->size - position);
    }
    return 0;
}

bool sp_verify_same_point(const struct sp_log_point *a, const struct sp_log_point *b)
{
    return a->index == b->index && a->term == b->term && a->end_offset == b->end_offset &&
           a->append_time_ms == b->append_time_ms && a->chain == b->chain;
}

static int open_segment(struct sp_verify *verify, struct reading *reading)
{
    return sp_segment_open(verify->directory,
                           reading->base,
                           verify->report->group_id,
                           SP_FILE_READ,
                           &reading->header,
                           &reading->file,
                           &reading->size);
}

/* The header cannot be read: was the segment ever written to? */
static void judge_header(struct sp_verify *verify, const struct reading *reading)
{
    char name[SP_VERIFY_NAME_SIZE];
    bool checkpointed = false;
    unsigned number = 0;

    sp_verify_base_name(name, reading->base, SP_SEGMENT_SUFFIX);
    checkpointed = sp_base_list_find(&verify->checkpoints, reading->base, &number);
    bool proven = checkpointed || sp_verify_rest_index(verify) >= reading->base;
    bool begun = reading->next_base == 0 && verify->segments.count > 1 && !proven;
    sp_verify_find(verify,
                   begun ? SP_VERIFY_TORN : SP_VERIFY_DAMAGE,
                   name,
                   0,
                   begun ? "the segment was being made" : "the header is not readable");
    verify->continuous = false;
}

/* ---- index files ----------------------------------------------------------------------------- */

static int save_index(struct sp_verify *verify,
                      const struct reading *reading,
                      const struct sp_offset_index_facts *facts)
{
    struct sp_blob *image = sp_offset_index_encode(&reading->offset_index, facts);

    if (image == NULL) {
        return SPATE_ERR_NOMEM;
    }
    int rv = sp_offset_index_save(verify->directory, reading->base, image->bytes, image->size);
    sp_blob_unref(image);
    return rv;
}

/* The segment is whole, and another one follows. */
static int check_index(struct sp_verify *verify, const struct reading *reading)
{
    struct sp_offset_index_facts facts = {
        .group_id = verify->report->group_id,
        .base = reading->base,
        .segment_size = reading->size,
        .chain = verify->point.chain,
    };
    struct sp_offset_index loaded = { .count = 0 };
    char name[SP_VERIFY_NAME_SIZE];
    int rv = sp_offset_index_load(verify->directory, &facts, &loaded);
    bool usable = rv == 0 && facts.max_timestamp_ms == reading->max_timestamp_ms;

    sp_offset_index_clear(&loaded);
    if (rv == SPATE_ERR_NOMEM) {
        return rv;
    }
    if (usable) {
        verify->report->indexes += 1;
        return 0;
    }
    sp_verify_base_name(name, reading->base, SP_OFFSET_INDEX_SUFFIX);
    if (!verify->options->rebuild_indexes) {
        sp_verify_find(
            verify, SP_VERIFY_NOTE, name, 0, "is missing or does not fit: it can be rebuilt");
        return 0;
    }
    facts.max_timestamp_ms = reading->max_timestamp_ms;
    rv = save_index(verify, reading, &facts);
    if (rv == 0) {
        verify->report->indexes += 1;
        sp_verify_find(verify, SP_VERIFY_NOTE, name, 0, "rebuilt");
    }
    return rv;
}

/* The segment's frames lead to where the next one begins: the rest does not count. */
static bool is_complete(const struct sp_verify *verify, const struct reading *reading)
{
    char path[SP_DISK_PATH_SIZE];
    struct sp_segment_header next;

    if (verify->point.index + 1 != reading->next_base) {
        return false;
    }
    sp_disk_base_path(path, verify->directory, reading->next_base, SP_SEGMENT_SUFFIX);
    return sp_segment_peek(path, &next) == 0 && sp_verify_same_point(&next.before, &verify->point);
}

static void end_segment(struct sp_verify *verify, struct reading *reading, uint64_t position)
{
    char name[SP_VERIFY_NAME_SIZE];

    sp_verify_base_name(name, reading->base, SP_SEGMENT_SUFFIX);
    sp_verify_find(verify,
                   SP_VERIFY_NOTE,
                   name,
                   position,
                   "ends here; bytes left from the file's use before: %" PRIu64,
                   reading->size - position);
    reading->size = position;
}

static int check_frames(struct sp_verify *verify, struct reading *reading)
{
    char name[SP_VERIFY_NAME_SIZE];
    uint64_t position = 0;

    if (verify->continuous && !sp_verify_same_point(&verify->point, &reading->header.before)) {
        sp_verify_base_name(name, reading->base, SP_SEGMENT_SUFFIX);
        sp_verify_find(verify,
                       SP_VERIFY_DAMAGE,
                       name,
                       0,
                       "begins behind index %" PRIu64 ", the segment before ends with %" PRIu64,
                       reading->header.before.index,
                       verify->point.index);
    }
    verify->point = reading->header.before;
    verify->continuous = true;
    int rv = walk(verify, reading, &position);
    if (rv == SPATE_ERR_CORRUPT && is_complete(verify, reading)) {
        end_segment(verify, reading, position);
        rv = SPATE_ERR_NOT_FOUND;
    }
    if (rv == SPATE_ERR_CORRUPT) {
        return judge(verify, reading, position);
    }
    if (rv != SPATE_ERR_NOT_FOUND) {
        return rv;
    }
    return reading->next_base == 0 ? 0 : check_index(verify, reading);
}

static int check_segment(struct sp_verify *verify, unsigned number)
{
    struct reading reading = {
        .base = verify->segments.values[number],
        .next_base = number + 1 < verify->segments.count ? verify->segments.values[number + 1] : 0,
        .max_timestamp_ms = SP_TIMESTAMP_NONE,
    };
    int rv = open_segment(verify, &reading);

    if (rv == SPATE_ERR_CORRUPT) {
        judge_header(verify, &reading);
        return 0;
    }
    if (rv != 0) {
        return rv;
    }
    verify->report->bytes += reading.size;
    verify->newest_size = reading.size;
    if (number == 0) {
        verify->report->first_index = reading.base;
        verify->report->first_offset = reading.header.before.end_offset;
    }
    rv = check_frames(verify, &reading);
    sp_offset_index_clear(&reading.offset_index);
    sp_file_close(reading.file);
    return rv;
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* A log that does not begin with its very first frame begins at a checkpoint. */
static void check_start(struct sp_verify *verify)
{
    uint64_t first = verify->segments.values[0];
    char name[SP_VERIFY_NAME_SIZE];
    unsigned number = 0;

    if (first != 1 && !sp_base_list_find(&verify->checkpoints, first, &number)) {
        sp_verify_base_name(name, first, SP_CHECKPOINT_SUFFIX);
        sp_verify_find(
            verify, SP_VERIFY_DAMAGE, name, 0, "the log begins here, but this file is missing");
    }
}

static int check(struct sp_verify *verify)
{
    int rv = sp_dir_list(verify->directory, list_name, verify);

    if (rv == 0 && verify->segments.count == 0) {
        rv = SPATE_ERR_NOT_FOUND;
    }
    if (rv == 0) {
        rv = sp_dir_list(verify->directory, note_name, verify);
    }
    if (rv != 0) {
        return rv;
    }
    rv = sp_verify_load_rest(verify);
    if (rv != 0) {
        return rv;
    }
    find_group(verify);
    verify->report->segments = verify->segments.count;
    check_start(verify);
    for (unsigned i = 0; i < verify->segments.count && rv == 0; i++) {
        rv = check_segment(verify, i);
    }
    if (rv == 0) {
        rv = sp_verify_checkpoints(verify);
    }
    if (rv == 0) {
        sp_verify_newest(verify);
    }
    verify->report->last_index = verify->point.index;
    verify->report->end_offset = verify->point.end_offset;
    return rv;
}

int sp_log_verify(const char *directory,
                  const struct sp_verify_options *options,
                  struct sp_verify_report *out_report)
{
    struct sp_verify_report report = { 0 };
    struct sp_verify verify = { .directory = directory, .options = options, .report = &report };
    int rv = check(&verify);

    sp_base_list_clear(&verify.segments);
    sp_base_list_clear(&verify.checkpoints);
    if (rv == 0) {
        *out_report = report;
    }
    return rv;
}
