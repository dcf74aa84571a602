/* Each segment file is scanned once; the disk says below which byte the scan still holds. */
#include "sim_scan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "sim_world.h"
#include "storage/log_run.h"

enum {
    SCANS_MAX = 65536,
};

static void add_found(struct sim_scan *scan, const struct sim_found *found)
{
    if (scan->count == scan->capacity) {
        scan->capacity = scan->capacity == 0 ? 64 : 2 * scan->capacity;
        scan->frames = sim_grow(scan->frames, scan->capacity * sizeof scan->frames[0]);
    }
    scan->frames[scan->count] = *found;
    scan->count += 1;
}

/* Whether the frame continues what was scanned; the file may have been another segment before. */
static bool
continues(const struct sim_scan *scan, const struct sp_log_frame *frame, const uint8_t *start)
{
    const struct sim_found *last = scan->count > 0 ? &scan->frames[scan->count - 1] : NULL;

    if (frame->group_id != scan->header.group_id) {
        return false;
    }
    if (frame->kind == SP_FRAME_MARKER) {
        return (uint64_t)frame->append_time_ms == scan->header.marker_key;
    }
    return frame->index == (last != NULL ? last->index : scan->header.before.index) + 1 &&
           frame->chain ==
               sp_log_frame_chain(start, last != NULL ? last->chain : scan->header.before.chain);
}

/* Adds the verified frame at `start` of a file, which ends at `end` there, alone or with its run;
 * false: it does not continue what was scanned. */
static bool scan_frame(struct sim_scan *scan, const uint8_t *start, uint64_t end)
{
    struct sp_log_frame frame;
    int rv = sp_log_frame_decode(start, SP_LOG_FRAME_HEADER_SIZE, &frame);

    if (rv != 0 || !continues(scan, &frame, start)) {
        return false;
    }
    if (frame.kind == SP_FRAME_MARKER) {
        scan->marked = frame.index;
        return true;
    }
    const struct sim_found found = {
        .index = frame.index,
        .term = frame.term,
        .end = end,
        .crc = sp_crc32c(frame.crc, sp_log_frame_payload(start), frame.length),
        .chain = frame.chain,
        .compacted = frame.compacted,
    };
    add_found(scan, &found);
    return true;
}

/* The frames of the run that begins there; *size: what is there, and what it takes. False: it is
 * not whole, or does not continue what was scanned. */
static bool scan_run(struct sim_scan *scan, const uint8_t *start, uint64_t position, size_t *size)
{
    struct sp_blob *frames = NULL;
    bool fits = true;

    if (sp_log_run_expand(start, *size, &frames) != 0 || sp_log_run_size(start, size) != 0) {
        return false;
    }
    for (size_t i = 0; i < frames->size && fits; i += SP_LOG_RUN_FRAME_SIZE) {
        fits = scan_frame(scan, frames->bytes + i, position + *size);
    }
    sp_blob_unref(frames);
    return fits;
}

void sim_scan_bytes(struct sim_scan *scan, const struct sim_bytes *bytes, uint64_t position)
{
    bool fits = true;

    while (position + SP_LOG_FRAME_HEADER_SIZE <= bytes->size && fits) {
        struct sp_log_frame frame;
        const uint8_t *start = bytes->bytes + position;
        size_t size = (size_t)(bytes->size - position);

        if (sp_log_run_begins(start)) {
            fits = scan_run(scan, start, position, &size);
        } else {
            fits = sp_log_frame_verify(start, size, &frame) == 0;
            size = fits ? sp_log_frame_size(frame.length) : 0;
            fits = fits && scan_frame(scan, start, position + size);
        }
        position += size;
    }
}

bool sim_scan_begin(struct sim_scan *scan, const struct sim_bytes *bytes)
{
    return sp_segment_header_decode(bytes->bytes, (size_t)bytes->size, &scan->header) == 0;
}

static struct sim_scan *scan_of(const struct sim_inode *inode)
{
    static struct sim_scan scans[SCANS_MAX];
    size_t slot = ((uintptr_t)inode / 64) % SCANS_MAX;

    while (scans[slot].inode != NULL && scans[slot].inode != inode) {
        slot = (slot + 1) % SCANS_MAX;
    }
    scans[slot].inode = inode;
    return &scans[slot];
}

const struct sim_scan *sim_scan_durable(struct sim_inode *inode)
{
    struct sim_scan *scan = scan_of(inode);
    uint64_t position = SP_SEGMENT_HEADER_SIZE;

    if (inode->scan_valid < SP_SEGMENT_HEADER_SIZE) {
        scan->count = 0;
        scan->marked = 0;
        scan->begun = sim_scan_begin(scan, &inode->kept);
    }
    while (scan->count > 0 && scan->frames[scan->count - 1].end > inode->scan_valid) {
        scan->count -= 1;
    }
    if (scan->count > 0) {
        position = scan->frames[scan->count - 1].end;
    }
    if (scan->begun && inode->scan_valid < inode->kept.size) {
        sim_scan_bytes(scan, &inode->kept, position);
        inode->scan_valid = inode->kept.size;
    }
    return scan;
}

const struct sim_entry *sim_scan_segment(const struct sim_inode *directory, uint64_t index)
{
    for (size_t i = directory == NULL ? 0 : directory->names_kept.count; i > 0; i--) {
        const struct sim_entry *entry = &directory->names_kept.entries[i - 1];
        if (sim_scan_is_segment(entry->name) && strtoull(entry->name, NULL, 10) <= index) {
            return entry;
        }
    }
    return NULL;
}

const struct sim_found *sim_scan_frame(const struct sim_inode *directory, uint64_t index)
{
    const struct sim_entry *entry = sim_scan_segment(directory, index);

    if (entry == NULL) {
        return NULL;
    }
    const struct sim_scan *scan = sim_scan_durable(entry->inode);
    uint64_t place = index - strtoull(entry->name, NULL, 10);
    return place < scan->count && scan->frames[place].index == index ? &scan->frames[place] : NULL;
}

struct sim_inode *
sim_scan_replica(const struct sim_disk *disk, uint64_t group_id, uint64_t replica_id, bool durable)
{
    char path[64];

    (void)snprintf(path, sizeof path, "/data/replicas/%" PRIu64 ".%" PRIu64, group_id, replica_id);
    return sim_disk_find(disk, path, durable);
}

const struct sim_entry *sim_scan_log(const struct sim_disk *disk, uint64_t group_id, bool durable)
{
    struct sim_inode *replicas = sim_disk_find(disk, "/data/replicas", durable);
    const struct sim_entry *best = NULL;
    char prefix[32];

    if (replicas == NULL) {
        return NULL;
    }
    int size = snprintf(prefix, sizeof prefix, "%" PRIu64 ".", group_id);
    const struct sim_directory *names = durable ? &replicas->names_kept : &replicas->names;
    for (size_t i = 0; i < names->count; i++) {
        if (strncmp(names->entries[i].name, prefix, (size_t)size) == 0) {
            best = &names->entries[i];
        }
    }
    return best;
}

bool sim_scan_ends_with(const char *name, const char *end)
{
    size_t size = strlen(name);

    return size > strlen(end) && strcmp(name + size - strlen(end), end) == 0;
}

bool sim_scan_is_segment(const char *name)
{
    return sim_scan_ends_with(name, ".log");
}
