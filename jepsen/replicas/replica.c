#include "replica.h"

#include <stdlib.h>
#include <string.h>

#include "spate/error.h"
#include "storage/base_list.h"
#include "storage/disk.h"
#include "storage/segment.h"
#include "wire/batch.h"

static int add_frame(struct jep_replica *replica, uint64_t term, uint64_t sum)
{
    if (replica->count == replica->room) {
        uint64_t room = replica->room == 0 ? 1024 : 2 * replica->room;
        struct jep_frame *grown = reallocarray(replica->frames, room, sizeof *grown);
        if (grown == NULL) {
            return SPATE_ERR_NOMEM;
        }
        replica->frames = grown;
        replica->room = room;
    }
    replica->frames[replica->count++] = (struct jep_frame){ term, sum };
    return 0;
}

/* What is done with each frame that continues the log. */
struct reading {
    struct jep_replica *replica;
    struct jep_records *records; /* NULL: frames are noted, else records of those below equal_end */
    struct sp_log_point point;
};

static void hash_headers(struct jep_left *left, const struct sp_record_view *record)
{
    left->hash = jep_hash(left->hash, &record->header_count, sizeof record->header_count);
    left->hash = jep_hash(left->hash, record->encoded_headers.bytes, record->encoded_headers.size);
}

static int add_records(struct jep_records *records, const uint8_t *bytes, size_t size)
{
    struct sp_batch_reader reader;
    struct sp_record_view record;
    int rv = sp_batch_reader_init(&reader, bytes, size, SP_BATCH_DECOMPRESSED_BYTES_MAX);

    if (rv != 0) {
        return rv;
    }
    while (rv == 0 && sp_batch_reader_next(&reader, &record)) {
        struct jep_left left = {
            .offset = record.offset,
            .key = jep_hash(record.key.bytes == NULL, record.key.bytes, record.key.size),
            .tombstone = record.value.bytes == NULL,
        };
        left.hash = jep_hash(left.key, record.value.bytes, record.value.size);
        left.hash = jep_hash(left.hash, &record.timestamp_ms, sizeof record.timestamp_ms);
        hash_headers(&left, &record);
        rv = jep_records_add(records, &left);
    }
    rv = rv == 0 ? sp_batch_reader_status(&reader) : rv;
    sp_batch_reader_deinit(&reader);
    return rv;
}

static int take_frame(struct reading *reading,
                      const struct sp_log_frame *frame,
                      const uint8_t *bytes,
                      const struct sp_log_point *after)
{
    struct jep_replica *replica = reading->replica;

    if (reading->records == NULL) {
        replica->compacted |= frame->compacted;
        return add_frame(replica, frame->term, frame->chain);
    }
    if (frame->index >= replica->equal_end) {
        return SPATE_ERR_NOT_FOUND;
    }
    reading->records->to = after->end_offset;
    return frame->kind != SP_FRAME_BATCH ? 0
                                         : add_records(reading->records,
                                                       sp_log_frame_payload(bytes),
                                                       sp_log_frame_batch_size(frame));
}

/* The frames of one segment as far as they continue the point. They are told apart by their chain:
 * it covers each frame and all before it, and stays when compaction takes records out.
 * SPATE_ERR_NOT_FOUND: no more is wanted. */
static int read_frames(struct reading *reading, struct sp_segment_cursor *cursor)
{
    for (;;) {
        struct sp_log_frame frame;
        struct sp_log_point after;
        const uint8_t *bytes = NULL;
        uint64_t position;
        int rv = sp_segment_cursor_next(cursor, &frame, &bytes, &position);
        if (rv == SPATE_ERR_NOT_FOUND) {
            return 0;
        }
        if (rv == 0 && frame.kind == SP_FRAME_MARKER) {
            continue;
        }
        if (rv == 0) {
            rv = sp_log_point_follow(
                &reading->point, reading->replica->group, &frame, bytes, &after);
        }
        if (rv == SPATE_ERR_CORRUPT) {
            reading->replica->torn = true;
            return 0;
        }
        if (rv == 0) {
            rv = take_frame(reading, &frame, bytes, &after);
        }
        if (rv != 0) {
            return rv;
        }
        reading->point = after;
    }
}

static int read_segment(struct reading *reading, uint64_t base, bool is_first)
{
    struct jep_replica *replica = reading->replica;
    struct sp_segment_header header;
    struct sp_segment_cursor cursor;
    struct sp_file *file = NULL;
    uint64_t size = 0;
    struct sp_marker_search search;
    int rv =
        sp_segment_open(replica->path, base, replica->group, SP_FILE_READ, &header, &file, &size);

    if (rv != 0) {
        return rv;
    }
    if (is_first) {
        replica->first = base;
        replica->first_offset = header.before.end_offset;
        reading->point = header.before;
    }
    if (header.before.index != reading->point.index ||
        header.before.chain != reading->point.chain) {
        sp_file_close(file);
        return SPATE_ERR_CORRUPT;
    }
    sp_segment_cursor_init(&cursor, file, SP_SEGMENT_HEADER_SIZE, size);
    rv = read_frames(reading, &cursor);
    if (rv == 0 && replica->torn) {
        rv = sp_segment_find_markers(
            file, cursor.position, replica->group, header.marker_key, &search);
        replica->synced = rv == 0 ? search.synced_index : replica->synced;
        replica->torn = rv != 0 || !search.zeros; /* else it is room, written ahead */
    }
    sp_segment_cursor_deinit(&cursor);
    sp_file_close(file);
    return rv;
}

static int note_base(void *arg, const char *name)
{
    uint64_t base;

    return sp_disk_parse_base(name, SP_SEGMENT_SUFFIX, &base) ? sp_base_list_add(arg, base) : 0;
}

static int compare_bases(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static int read_all(struct reading *reading)
{
    struct sp_base_list bases = { 0 };
    int rv = sp_dir_list(reading->replica->path, note_base, &bases);

    if (bases.count > 0) {
        qsort(bases.values, bases.count, sizeof *bases.values, compare_bases);
    }
    for (unsigned i = 0; rv == 0 && i < bases.count && !reading->replica->torn; i++) {
        rv = read_segment(reading, bases.values[i], i == 0);
    }
    sp_base_list_clear(&bases);
    return rv;
}

int jep_replica_read(struct jep_replica *replica)
{
    struct reading reading = { .replica = replica };
    int rv = read_all(&reading);

    replica->end_offset = reading.point.end_offset;
    return rv;
}

int jep_replica_records(const struct jep_replica *replica, struct jep_records *out_records)
{
    struct jep_replica again = *replica;
    struct reading reading = { .replica = &again, .records = out_records };

    *out_records = (struct jep_records){ .node = replica->node,
                                         .from = replica->first_offset,
                                         .to = replica->first_offset };
    again.torn = false;
    int rv = read_all(&reading);
    return rv == SPATE_ERR_NOT_FOUND ? 0 : rv;
}
