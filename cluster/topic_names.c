#include "cluster/topic_names.h"

#include "base/mem.h"
#include "cluster/state.h"
#include "spate/error.h"
#include "storage/base_list.h"
#include "storage/checkpoint.h"
#include "storage/disk.h"
#include "storage/segment.h"

struct sp_topic_names {
    struct sp_state *state;
};

/* The controller's log while it is read. */
struct reading {
    const char *directory;
    struct sp_base_list segments; /* ascending, as are names in 20 digits */
    struct sp_base_list checkpoints;
    struct sp_state *state;
    struct sp_log_point point; /* behind the last frame that was applied */
    bool begun;                /* `point` counts */
};

static int note_name(void *arg, const char *name)
{
    struct reading *reading = arg;
    uint64_t base = 0;

    if (sp_disk_parse_base(name, SP_SEGMENT_SUFFIX, &base)) {
        return sp_base_list_add(&reading->segments, base);
    }
    if (sp_disk_parse_base(name, SP_CHECKPOINT_SUFFIX, &base)) {
        return sp_base_list_add(&reading->checkpoints, base);
    }
    return 0;
}

/* The state of the newest checkpoint that is whole; *out_base is the first frame behind it. */
static int restore(struct reading *reading, uint64_t *out_base)
{
    char path[SP_DISK_PATH_SIZE];
    struct sp_checkpoint checkpoint;
    struct sp_blob *image = NULL;

    *out_base = 1;
    for (unsigned i = reading->checkpoints.count; i > 0; i--) {
        uint64_t base = reading->checkpoints.values[i - 1];

        sp_disk_base_path(path, reading->directory, base, SP_CHECKPOINT_SUFFIX);
        int rv = sp_checkpoint_load(path, 0, &image, &checkpoint);
        if (rv == SPATE_ERR_CORRUPT) {
            continue;
        }
        if (rv == 0) {
            rv = sp_state_restore(reading->state, checkpoint.state, checkpoint.state_size);
            reading->point = checkpoint.point;
            reading->begun = true;
            sp_blob_unref(image);
            *out_base = base;
        }
        return rv;
    }
    return 0;
}

static int apply(struct reading *reading, const struct sp_log_frame *frame, const uint8_t *bytes)
{
    if (frame->kind != SP_FRAME_COMMAND) {
        return 0;
    }
    int rv = sp_state_apply(reading->state,
                            sp_log_frame_payload(bytes),
                            frame->length,
                            frame->append_time_ms,
                            NULL,
                            NULL);
    bool fatal = rv == SPATE_ERR_CORRUPT || rv == SPATE_ERR_NOMEM || rv == SPATE_ERR_UNSUPPORTED;
    return fatal ? rv : 0; /* others are the command's answer, the same on every node */
}

/* Applies frames as far as they continue the log. */
static int replay(struct reading *reading, struct sp_file *file, uint64_t size)
{
    struct sp_segment_cursor cursor;
    struct sp_log_frame frame;
    const uint8_t *bytes = NULL;
    uint64_t position = 0;
    int rv = 0;

    sp_segment_cursor_init(&cursor, file, SP_SEGMENT_HEADER_SIZE, size);
    while (rv == 0) {
        rv = sp_segment_cursor_next(&cursor, &frame, &bytes, &position);
        if (rv != 0 || frame.kind == SP_FRAME_MARKER) {
            continue;
        }
        if (sp_log_point_follow(&reading->point, 0, &frame, bytes, &reading->point) != 0) {
            break;
        }
        rv = apply(reading, &frame, bytes);
    }
    sp_segment_cursor_deinit(&cursor);
    return rv == SPATE_ERR_NOT_FOUND || rv == SPATE_ERR_CORRUPT ? 0 : rv;
}

static int read_segment(struct reading *reading, uint64_t base)
{
    struct sp_segment_header header;
    struct sp_file *file = NULL;
    uint64_t size = 0;
    int rv = sp_segment_open(reading->directory, base, 0, SP_FILE_READ, &header, &file, &size);

    if (rv != 0) {
        return rv == SPATE_ERR_CORRUPT ? 0 : rv;
    }
    if (!reading->begun) {
        reading->point = header.before;
        reading->begun = true;
    }
    rv = replay(reading, file, size); /* a gap: its frames do not continue the log */
    sp_file_close(file);
    return rv;
}

static int read_log(struct reading *reading)
{
    uint64_t base = 0;
    unsigned number = 0;
    int rv = sp_dir_list(reading->directory, note_name, reading);

    if (rv == 0) {
        rv = restore(reading, &base);
    }
    if (rv == 0 && !reading->begun && !sp_base_list_find(&reading->segments, 1, &number)) {
        rv = SPATE_ERR_NOT_FOUND;
    }
    for (unsigned i = 0; rv == 0 && i < reading->segments.count; i++) {
        if (reading->segments.values[i] >= base) {
            rv = read_segment(reading, reading->segments.values[i]);
        }
    }
    return rv;
}

int sp_topic_names_read(const char *directory, struct sp_topic_names **out_names)
{
    struct reading reading = { .directory = directory };
    struct sp_topic_names *names = sp_mem_calloc(1, sizeof *names);
    int rv = names == NULL ? SPATE_ERR_NOMEM : sp_state_new(&reading.state);

    if (rv == 0) {
        names->state = reading.state;
        rv = read_log(&reading);
    }
    sp_base_list_clear(&reading.segments);
    sp_base_list_clear(&reading.checkpoints);
    if (rv != 0) {
        sp_topic_names_free(names);
        return rv;
    }
    *out_names = names;
    return 0;
}

void sp_topic_names_free(struct sp_topic_names *names)
{
    if (names != NULL) {
        sp_state_free(names->state);
        sp_mem_free(names);
    }
}

bool sp_topic_names_find(const struct sp_topic_names *names,
                         uint64_t group_id,
                         const char **out_topic,
                         uint32_t *out_partition)
{
    struct sp_map_cursor cursor = { .next = NULL };
    const struct sp_state_topic *topic = NULL;

    while ((topic = sp_state_topic_next(names->state, &cursor)) != NULL) {
        for (uint32_t i = 0; i < topic->partition_count; i++) {
            if (topic->partitions[i].group_id == group_id) {
                *out_topic = topic->name;
                *out_partition = topic->partitions[i].partition;
                return true;
            }
        }
    }
    return false;
}
