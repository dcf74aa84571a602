#include "replica.h"

#include <stdlib.h>
#include <string.h>

#include "spate/error.h"
#include "storage/base_list.h"
#include "storage/disk.h"
#include "storage/segment.h"

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

/* The frames of one segment as far as they continue `point`. They are told apart by their chain: it
 * covers each frame and all before it, and stays when compaction takes records out. */
static int read_frames(struct jep_replica *replica,
                       struct sp_segment_cursor *cursor,
                       struct sp_log_point *point)
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
            rv = sp_log_point_follow(point, replica->group, &frame, bytes, &after);
        }
        if (rv == SPATE_ERR_CORRUPT) {
            replica->torn = true;
            return 0;
        }
        if (rv == 0) {
            rv = add_frame(replica, frame.term, frame.chain);
        }
        if (rv != 0) {
            return rv;
        }
        *point = after;
    }
}

static int read_segment(struct jep_replica *replica,
                        const char *directory,
                        uint64_t base,
                        struct sp_log_point *point)
{
    struct sp_segment_header header;
    struct sp_segment_cursor cursor;
    struct sp_file *file = NULL;
    uint64_t size = 0;
    struct sp_marker_search search;
    int rv = sp_segment_open(directory, base, replica->group, SP_FILE_READ, &header, &file, &size);

    if (rv != 0) {
        return rv;
    }
    if (replica->first == 0) {
        replica->first = base;
        *point = header.before;
    }
    if (header.before.index != point->index || header.before.chain != point->chain) {
        sp_file_close(file);
        return SPATE_ERR_CORRUPT;
    }
    sp_segment_cursor_init(&cursor, file, SP_SEGMENT_HEADER_SIZE, size);
    rv = read_frames(replica, &cursor, point);
    if (rv == 0 && replica->torn) {
        rv = sp_segment_find_markers(
            file, cursor.position, replica->group, header.marker_key, &search);
        replica->synced = rv == 0 ? search.synced_index : replica->synced;
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

int jep_replica_read(struct jep_replica *replica, const char *directory)
{
    struct sp_base_list bases = { 0 };
    struct sp_log_point point = { 0 };
    int rv = sp_dir_list(directory, note_base, &bases);

    if (bases.count > 0) {
        qsort(bases.values, bases.count, sizeof *bases.values, compare_bases);
    }
    for (unsigned i = 0; rv == 0 && i < bases.count && !replica->torn; i++) {
        rv = read_segment(replica, directory, bases.values[i], &point);
    }
    replica->end_offset = point.end_offset;
    sp_base_list_clear(&bases);
    return rv;
}
