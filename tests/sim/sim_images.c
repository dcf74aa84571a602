/* Each segment file is scanned once; the disk says below which byte the scan still holds. */
#include "sim_images.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/crc32c.h"
#include "sim_cluster.h"
#include "sim_disk.h"
#include "sim_model.h"
#include "sim_world.h"
#include "storage/log_frame.h"
#include "storage/log_run.h"
#include "storage/segment.h"

enum {
    SCANS_MAX = 65536,
};

struct found {
    uint64_t index;
    uint64_t term;
    uint64_t end;   /* position behind it */
    uint32_t crc;   /* as sim_model_applied makes it; of a compacted frame nothing */
    uint32_t chain; /* stays when a frame is compacted */
    bool compacted;
};

struct scan {
    const struct sim_inode *inode;
    struct sp_segment_header header;
    bool begun; /* the header is whole */
    struct found *frames;
    size_t count;
    size_t capacity;
    uint64_t marked; /* newest index that a marker in it names as synced */
};

/* ---- scanning -------------------------------------------------------------------------------- */

static void add_found(struct scan *scan, const struct found *found)
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
continues(const struct scan *scan, const struct sp_log_frame *frame, const uint8_t *start)
{
    const struct found *last = scan->count > 0 ? &scan->frames[scan->count - 1] : NULL;

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
static bool scan_frame(struct scan *scan, const uint8_t *start, uint64_t end)
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
    const struct found found = {
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
static bool scan_run(struct scan *scan, const uint8_t *start, uint64_t position, size_t *size)
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

/* Reads frames of `bytes` from `position` on. */
static void scan_bytes(struct scan *scan, const struct sim_bytes *bytes, uint64_t position)
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

/* What follows is of the segment whose file has these bytes. */
static bool begin_segment(struct scan *scan, const struct sim_bytes *bytes)
{
    return sp_segment_header_decode(bytes->bytes, (size_t)bytes->size, &scan->header) == 0;
}

static struct scan *scan_of(const struct sim_inode *inode)
{
    static struct scan scans[SCANS_MAX];
    size_t slot = ((uintptr_t)inode / 64) % SCANS_MAX;

    while (scans[slot].inode != NULL && scans[slot].inode != inode) {
        slot = (slot + 1) % SCANS_MAX;
    }
    scans[slot].inode = inode;
    return &scans[slot];
}

/* The durable frames of a segment's file. */
static const struct scan *scan_durable(struct sim_inode *inode)
{
    struct scan *scan = scan_of(inode);
    uint64_t position = SP_SEGMENT_HEADER_SIZE;

    if (inode->scan_valid < SP_SEGMENT_HEADER_SIZE) {
        scan->count = 0;
        scan->marked = 0;
        scan->begun = begin_segment(scan, &inode->kept);
    }
    while (scan->count > 0 && scan->frames[scan->count - 1].end > inode->scan_valid) {
        scan->count -= 1;
    }
    if (scan->count > 0) {
        position = scan->frames[scan->count - 1].end;
    }
    if (scan->begun && inode->scan_valid < inode->kept.size) {
        scan_bytes(scan, &inode->kept, position);
        inode->scan_valid = inode->kept.size;
    }
    return scan;
}

/* ---- one node's log -------------------------------------------------------------------------- */

static struct sim_inode *
replica_directory(const struct sim_disk *disk, uint64_t group_id, uint64_t replica_id, bool durable)
{
    char path[64];

    (void)snprintf(path, sizeof path, "/data/replicas/%" PRIu64 ".%" PRIu64, group_id, replica_id);
    return sim_disk_find(disk, path, durable);
}

/* The directory of a log of the group, of whichever replica, or NULL. */
static struct sim_inode *log_directory(const struct sim_disk *disk, uint64_t group_id, bool durable)
{
    struct sim_inode *replicas = sim_disk_find(disk, "/data/replicas", durable);
    struct sim_inode *best = NULL;
    char prefix[32];

    if (replicas == NULL) {
        return NULL;
    }
    int size = snprintf(prefix, sizeof prefix, "%" PRIu64 ".", group_id);
    const struct sim_directory *names = durable ? &replicas->names_kept : &replicas->names;
    for (size_t i = 0; i < names->count; i++) {
        if (strncmp(names->entries[i].name, prefix, (size_t)size) == 0) {
            best = names->entries[i].inode;
        }
    }
    return best;
}

static bool ends_with(const char *name, const char *end)
{
    size_t size = strlen(name);

    return size > strlen(end) && strcmp(name + size - strlen(end), end) == 0;
}

static bool is_segment(const char *name)
{
    return ends_with(name, ".log");
}

/* The log begins above the frame, at a checkpoint that has it. */
static bool begins_above(const struct sim_inode *directory, uint64_t index)
{
    bool checkpoint = false;

    for (size_t i = 0; directory != NULL && i < directory->names_kept.count; i++) {
        const char *name = directory->names_kept.entries[i].name;
        uint64_t base = strtoull(name, NULL, 10);

        if (is_segment(name) && base <= index) {
            return false;
        }
        checkpoint |= ends_with(name, ".checkpoint") && base > index;
    }
    return checkpoint;
}

/* One that was compacted has the chain of what it was made of. */
static bool is_same(const struct found *a, const struct found *b)
{
    bool compacted = a->compacted || b->compacted;

    return a->index == b->index && a->term == b->term &&
           (compacted ? a->chain == b->chain : a->crc == b->crc);
}

static bool holds(const struct sim_inode *directory, const struct found *wanted)
{
    for (size_t i = directory == NULL ? 0 : directory->names_kept.count; i > 0; i--) {
        const struct sim_entry *entry = &directory->names_kept.entries[i - 1];
        if (!is_segment(entry->name) || strtoull(entry->name, NULL, 10) > wanted->index) {
            continue;
        }
        const struct scan *scan = scan_durable(entry->inode);
        for (size_t k = scan->count; k > 0; k--) {
            const struct found *found = &scan->frames[k - 1];
            if (is_same(found, wanted)) {
                return true;
            }
        }
    }
    return begins_above(directory, wanted->index);
}

static const struct sim_disk *disk_of(const struct sim_voter *voter)
{
    SP_ASSERT(voter->node_id >= 1 && voter->node_id <= sim_cluster.node_count);
    return sim_cluster.nodes[voter->node_id - 1].process->disk;
}

/* Its disk was replaced: nothing is known of what it had. */
static bool is_lost(const struct sim_disk *disk, uint64_t replica_id)
{
    return replica_id < disk->lost_below;
}

/* How many voters the membership has, and how many of their disks have the frame. */
static void count_holders(uint64_t group_id,
                          const struct sim_membership *membership,
                          const struct found *wanted,
                          unsigned *out_voters,
                          unsigned *out_holders)
{
    unsigned voters = 0;
    unsigned holders = 0;

    for (unsigned i = 0; i < membership->count; i++) {
        const struct sim_voter *voter = &membership->voters[i];
        if (voter->standby) {
            continue;
        }
        const struct sim_disk *disk = disk_of(voter);
        voters += 1;
        /* What has rotted or was lost since it was synced counts: the plan of those faults leaves a
         * majority whole. */
        if (disk->rotten || is_lost(disk, voter->replica_id) ||
            holds(replica_directory(disk, group_id, voter->replica_id, true), wanted)) {
            holders += 1;
        }
    }
    *out_voters = voters;
    *out_holders = holders;
}

void sim_images_check_fsynced(
    uint64_t group_id, uint64_t index, uint64_t term, uint32_t crc, unsigned fsynced)
{
    const struct found wanted = {
        .index = index, .term = term, .crc = crc, .chain = sim_model_chain(group_id, index)
    };
    unsigned voters = 0;
    unsigned in_force = 0;
    unsigned in_flight = 0;

    count_holders(group_id, sim_voters_in_force(group_id), &wanted, &voters, &in_force);
    count_holders(group_id, sim_voters_in_flight(group_id), &wanted, &voters, &in_flight);
    if (fsynced > in_force && fsynced > in_flight && !sim_voters_deleted(group_id)) {
        sim_fail("group %llu: index %llu is acknowledged as durable on %u voters, and is on %u",
                 (unsigned long long)group_id,
                 (unsigned long long)index,
                 fsynced,
                 in_force > in_flight ? in_force : in_flight);
    }
}

void sim_images_check_committed(uint64_t group_id, uint64_t index, uint64_t term, uint32_t crc)
{
    const struct found wanted = {
        .index = index, .term = term, .crc = crc, .chain = sim_model_chain(group_id, index)
    };
    const struct sim_membership *flight = sim_voters_in_flight(group_id);
    unsigned voters = 0;
    unsigned holders = 0;
    unsigned flight_voters = 0;
    unsigned flight_holders = 0;

    if (index == 1 || sim_voters_deleted(group_id)) {
        return; /* every first member writes the same first frame: committed by construction */
    }
    count_holders(group_id, sim_voters_in_force(group_id), &wanted, &voters, &holders);
    count_holders(group_id, flight, &wanted, &flight_voters, &flight_holders);
    if (holders * 2 <= voters && (flight->index == 0 || flight_holders * 2 <= flight_voters)) {
        sim_fail("group %llu: index %llu of term %llu is applied, but durable on %u of %u voters "
                 "(in flight: %u of %u)",
                 (unsigned long long)group_id,
                 (unsigned long long)index,
                 (unsigned long long)term,
                 holders,
                 voters,
                 flight_holders,
                 flight_voters);
    }
}

/* The last index that is durable in the directory of a log; 0: none. */
static uint64_t newest_of(const struct sim_inode *directory)
{
    uint64_t newest = 0;

    for (size_t i = 0; directory != NULL && i < directory->names_kept.count; i++) {
        const struct sim_entry *entry = &directory->names_kept.entries[i];
        uint64_t last = strtoull(entry->name, NULL, 10) - 1;

        if (is_segment(entry->name)) {
            const struct scan *scan = scan_durable(entry->inode);
            last = scan->count > 0 ? scan->frames[scan->count - 1].index : 0;
        } else if (!ends_with(entry->name, ".checkpoint")) {
            continue;
        }
        newest = last > newest ? last : newest;
    }
    return newest;
}

bool sim_images_has(const struct sim_voter *voter, uint64_t group_id, uint64_t index)
{
    const struct sim_disk *disk = disk_of(voter);

    return disk->rotten || is_lost(disk, voter->replica_id) ||
           newest_of(replica_directory(disk, group_id, voter->replica_id, true)) >= index;
}

void sim_images_check_stored(const struct sim_node *node,
                             uint64_t group_id,
                             uint64_t replica_id,
                             uint64_t index)
{
    const struct sim_disk *disk = node->process->disk;

    if (disk->rotten) {
        return;
    }
    uint64_t newest = newest_of(replica_directory(disk, group_id, replica_id, true));
    if (newest < index) {
        sim_fail("%s group %llu says that it has stored up to %llu, and has %llu on its disk",
                 node->process->name,
                 (unsigned long long)group_id,
                 (unsigned long long)index,
                 (unsigned long long)newest);
    }
}

/* ---- comparing ------------------------------------------------------------------------------- */

/* All frames of a node's log as the node sees it. */
static void read_log(const struct sim_inode *directory, struct scan *out)
{
    for (size_t i = 0; directory != NULL && i < directory->names.count; i++) {
        const struct sim_entry *entry = &directory->names.entries[i];
        if (is_segment(entry->name) && begin_segment(out, &entry->inode->seen)) {
            scan_bytes(out, &entry->inode->seen, SP_SEGMENT_HEADER_SIZE);
        }
    }
}

static bool same_frames(const struct scan *a, const struct scan *b, char *out_why, unsigned size)
{
    size_t i = 0;
    size_t k = 0;

    /* One may begin later than the other: retention, or a refill from a checkpoint. */
    while (i < a->count && k < b->count && a->frames[i].index != b->frames[k].index) {
        if (a->frames[i].index < b->frames[k].index) {
            i += 1;
        } else {
            k += 1;
        }
    }
    for (; i < a->count && k < b->count; i++, k++) {
        if (!is_same(&a->frames[i], &b->frames[k])) {
            (void)snprintf(
                out_why, size, "frame %llu differs", (unsigned long long)a->frames[i].index);
            return false;
        }
    }
    if (i < a->count || k < b->count) {
        (void)snprintf(out_why,
                       size,
                       "one ends at %llu, one at %llu",
                       (unsigned long long)(a->count > 0 ? a->frames[a->count - 1].index : 0),
                       (unsigned long long)(b->count > 0 ? b->frames[b->count - 1].index : 0));
        return false;
    }
    return true;
}

bool sim_images_equal(uint64_t group_id, char *out_why, unsigned size)
{
    const struct sim_membership *members = sim_voters_in_force(group_id);
    const struct sim_group *group = sim_model_group(group_id);
    struct scan first = { .count = 0 };
    bool equal = true;
    unsigned seen = 0;

    for (unsigned i = 0; i < members->count && equal; i++) {
        struct scan scan = { .count = 0 };
        const struct sim_disk *disk = disk_of(&members->voters[i]);
        const struct sim_inode *directory =
            replica_directory(disk, group_id, members->voters[i].replica_id, false);
        if (directory == NULL) {
            continue;
        }
        read_log(directory, &scan);
        if (seen == 0) {
            first = scan;
            equal = group == NULL ||
                    (scan.count > 0 && scan.frames[scan.count - 1].index >= group->last_index);
            (void)snprintf(out_why, size, "the first log lacks committed frames");
        } else {
            equal = same_frames(&first, &scan, out_why, size);
            sim_free(scan.frames);
        }
        seen += 1;
    }
    sim_free(first.frames);
    return equal;
}

bool sim_images_only_members(const struct sim_membership *membership,
                             uint64_t group_id,
                             char *out_why,
                             unsigned size)
{
    for (unsigned i = 0; i < sim_cluster.node_count; i++) {
        const struct sim_node *node = &sim_cluster.nodes[i];
        const struct sim_inode *directory = log_directory(node->process->disk, group_id, false);
        bool member = false;
        for (unsigned k = 0; k < membership->count; k++) {
            member = member || membership->voters[k].node_id == node->node_id;
        }
        if (!member && directory != NULL && !node->disk_suspect) {
            (void)snprintf(out_why,
                           size,
                           "group %llu: %s is no member and has a replica",
                           (unsigned long long)group_id,
                           node->process->name);
            return false;
        }
    }
    return true;
}

bool sim_images_gone(uint64_t group_id)
{
    for (unsigned i = 0; i < sim_cluster.node_count; i++) {
        const struct sim_node *node = &sim_cluster.nodes[i];
        /* After a disk error a directory may stay until the next start moves it away. */
        if (!node->disk_suspect && log_directory(node->process->disk, group_id, false) != NULL) {
            return false;
        }
    }
    return true;
}

/* ---- losing ---------------------------------------------------------------------------------- */

uint64_t sim_images_lost_below(uint32_t node_id)
{
    return sim_cluster.nodes[node_id - 1].process->disk->lost_below;
}

bool sim_images_is_lost(const struct sim_voter *voter)
{
    return is_lost(disk_of(voter), voter->replica_id);
}

static uint64_t above_all(const struct sim_directory *names, uint64_t below)
{
    for (size_t i = 0; i < names->count; i++) {
        const char *dot = strchr(names->entries[i].name, '.');
        uint64_t id = dot == NULL ? 0 : strtoull(dot + 1, NULL, 10);
        below = id >= below ? id + 1 : below;
    }
    return below;
}

void sim_images_lose(struct sim_disk *disk)
{
    const struct sim_inode *replicas = sim_disk_find(disk, "/data/replicas", true);

    if (replicas != NULL) {
        disk->lost_below = above_all(&replicas->names_kept, disk->lost_below);
        disk->lost_below = above_all(&replicas->names, disk->lost_below);
    }
    sim_disk_empty(disk);
}

/* ---- marking --------------------------------------------------------------------------------- */

static bool has_flipped_segment(const struct sim_inode *directory)
{
    bool flipped = false;

    for (size_t i = 0; i < directory->names_kept.count; i++) {
        const struct sim_entry *entry = &directory->names_kept.entries[i];
        flipped = flipped || (is_segment(entry->name) && entry->inode->flipped);
    }
    return flipped;
}

void sim_images_mark_damaged(struct sim_disk *disk)
{
    const struct sim_inode *replicas = sim_disk_find(disk, "/data/replicas", true);

    for (size_t i = 0; replicas != NULL && i < replicas->names_kept.count; i++) {
        struct sim_inode *directory = replicas->names_kept.entries[i].inode;
        if (directory->is_directory && has_flipped_segment(directory)) {
            struct sim_inode *mark = sim_inode_new(disk, false);
            sim_note("%s: replica %s is marked",
                     disk->process->name,
                     replicas->names_kept.entries[i].name);
            sim_directory_put(&directory->names, "damaged", mark);
            sim_directory_put(&directory->names_kept, "damaged", mark);
        }
    }
}

/* ---- flipping -------------------------------------------------------------------------------- */

/* Only where nothing is pending. */
static bool flip(struct sim_disk *disk, struct sim_inode *inode, uint64_t position)
{
    if (inode->dirty_first < inode->dirty_end || inode->cut_size != SIM_NEVER ||
        position >= inode->kept.size) {
        return false;
    }
    sim_disk_flip(disk, inode, position);
    return true;
}

static bool flip_in_log(struct sim_disk *disk,
                        const struct sim_group *group,
                        struct sim_inode *inode,
                        struct sp_rand *rand)
{
    const struct scan *scan = scan_durable(inode);

    if (scan->count == 0) {
        return false;
    }
    size_t chosen = (size_t)sp_rand_below(rand, scan->count);
    while (chosen > 0 && scan->frames[chosen - 1].end == scan->frames[chosen].end) {
        chosen -= 1; /* of the same run */
    }
    uint64_t start = chosen == 0 ? SP_SEGMENT_HEADER_SIZE : scan->frames[chosen - 1].end;
    /* Damage of the newest write cannot be told from a torn one, so it is left alone: only what a
     * later marker proves to be synced. */
    if (scan->frames[chosen].index > group->last_index ||
        scan->frames[chosen].index > scan->marked) {
        return false;
    }
    return flip(disk, inode, sim_between(rand, start, scan->frames[chosen].end - 1));
}

bool sim_images_flip_some(struct sim_node *node, struct sp_rand *rand)
{
    struct sim_disk *disk = node->process->disk;

    if (sim_one_in(rand, 6)) {
        struct sim_inode *meta = sim_disk_find(disk, "/data/meta.a", true);
        return meta != NULL && meta->kept.size > 0 &&
               flip(disk, meta, sp_rand_below(rand, meta->kept.size));
    }
    if (sim_model.group_count == 0) {
        return false;
    }
    const struct sim_group *group = sim_model.groups[sp_rand_below(rand, sim_model.group_count)];
    const struct sim_inode *directory = log_directory(disk, group->group_id, true);
    if (directory == NULL || directory->names_kept.count == 0) {
        return false;
    }
    const struct sim_entry *entry =
        &directory->names_kept.entries[sp_rand_below(rand, directory->names_kept.count)];
    if (is_segment(entry->name)) {
        return flip_in_log(disk, group, entry->inode, rand);
    }
    return entry->inode->kept.size > 0 &&
           flip(disk, entry->inode, sp_rand_below(rand, entry->inode->kept.size));
}
