#include "sim_images.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "sim_cluster.h"
#include "sim_damage.h"
#include "sim_model.h"
#include "sim_scan.h"
#include "sim_world.h"

/* ---- one node's log -------------------------------------------------------------------------- */

/* The log begins above the frame, at a checkpoint that has it. */
static bool begins_above(const struct sim_inode *directory, uint64_t index)
{
    bool checkpoint = false;

    for (size_t i = 0; directory != NULL && i < directory->names_kept.count; i++) {
        const char *name = directory->names_kept.entries[i].name;
        uint64_t base = strtoull(name, NULL, 10);

        if (sim_scan_is_segment(name) && base <= index) {
            return false;
        }
        checkpoint |= sim_scan_ends_with(name, ".checkpoint") && base > index;
    }
    return checkpoint;
}

/* One that was compacted has the chain of what it was made of. */
static bool is_same(const struct sim_found *a, const struct sim_found *b)
{
    bool compacted = a->compacted || b->compacted;

    return a->index == b->index && a->term == b->term &&
           (compacted ? a->chain == b->chain : a->crc == b->crc);
}

static bool holds(const struct sim_inode *directory, const struct sim_found *wanted)
{
    for (size_t i = directory == NULL ? 0 : directory->names_kept.count; i > 0; i--) {
        const struct sim_entry *entry = &directory->names_kept.entries[i - 1];
        if (!sim_scan_is_segment(entry->name) || strtoull(entry->name, NULL, 10) > wanted->index) {
            continue;
        }
        const struct sim_scan *scan = sim_scan_durable(entry->inode);
        for (size_t k = scan->count; k > 0; k--) {
            const struct sim_found *found = &scan->frames[k - 1];
            if (is_same(found, wanted)) {
                return true;
            }
        }
    }
    return begins_above(directory, wanted->index);
}

static const struct sim_disk *disk_of(const struct sim_voter *voter)
{
    return sim_cluster_node(voter->node_id)->process->disk;
}

/* Its disk was replaced: nothing is known of what it had. */
static bool is_lost(const struct sim_disk *disk, uint64_t replica_id)
{
    return replica_id < disk->lost_below;
}

bool sim_images_may_lack(const struct sim_disk *disk,
                         uint64_t group_id,
                         uint64_t replica_id,
                         uint64_t index)
{
    if (is_lost(disk, replica_id)) {
        return true;
    }
    if (!sim_damage_touched(disk, group_id, replica_id)) {
        return false;
    }
    const struct sim_inode *directory = sim_scan_replica(disk, group_id, replica_id, true);
    const struct sim_entry *segment = sim_scan_segment(directory, index);
    return directory == NULL || (segment != NULL && segment->inode->flipped);
}

/* How many voters the membership has, and how many of their disks have the frame. */
static void count_holders(uint64_t group_id,
                          const struct sim_membership *membership,
                          const struct sim_found *wanted,
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
        if (sim_images_may_lack(disk, group_id, voter->replica_id, wanted->index) ||
            holds(sim_scan_replica(disk, group_id, voter->replica_id, true), wanted)) {
            holders += 1;
        }
    }
    *out_voters = voters;
    *out_holders = holders;
}

void sim_images_check_fsynced(
    uint64_t group_id, uint64_t index, uint64_t term, uint32_t crc, unsigned fsynced)
{
    const struct sim_found wanted = {
        .index = index, .term = term, .crc = crc, .chain = sim_model_chain(group_id, index)
    };
    unsigned voters = 0;
    unsigned in_force = 0;
    unsigned in_flight = 0;

    if (sim_voters_in_force(group_id)->term > term) {
        return; /* a leader that stood still says it late: its followers may have left since */
    }
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
    const struct sim_found wanted = {
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

/* The last index that is durable in the directory of a log, with all from its beginning on; 0:
 * none. Names are sorted, so segments come in order. */
static uint64_t newest_of(const struct sim_inode *directory)
{
    uint64_t newest = 0;
    bool begun = false;

    for (size_t i = 0; directory != NULL && i < directory->names_kept.count; i++) {
        const struct sim_entry *entry = &directory->names_kept.entries[i];
        uint64_t before = strtoull(entry->name, NULL, 10) - 1;

        if (!sim_scan_is_segment(entry->name)) {
            continue;
        }
        if (begun && before != newest) {
            return newest; /* what stands behind a gap is of no use */
        }
        const struct sim_scan *scan = sim_scan_durable(entry->inode);
        newest = scan->count > 0 ? scan->frames[scan->count - 1].index : before;
        begun = true;
    }
    return newest;
}

/* All up to there is durable; of a replica of which a file has rotted, that frame. */
static bool
reaches(const struct sim_disk *disk, uint64_t group_id, uint64_t replica_id, uint64_t index)
{
    const struct sim_inode *directory = sim_scan_replica(disk, group_id, replica_id, true);

    return newest_of(directory) >= index ||
           sim_images_may_lack(disk, group_id, replica_id, index) ||
           (sim_damage_touched(disk, group_id, replica_id) &&
            sim_scan_frame(directory, index) != NULL);
}

bool sim_images_has(const struct sim_voter *voter, uint64_t group_id, uint64_t index)
{
    return reaches(disk_of(voter), group_id, voter->replica_id, index);
}

void sim_images_check_stored(const struct sim_node *node,
                             uint64_t group_id,
                             uint64_t replica_id,
                             uint64_t index)
{
    const struct sim_disk *disk = node->process->disk;

    if (!reaches(disk, group_id, replica_id, index)) {
        uint64_t newest = newest_of(sim_scan_replica(disk, group_id, replica_id, true));
        sim_fail("%s group %llu says that it has stored up to %llu, and has %llu on its disk",
                 node->process->name,
                 (unsigned long long)group_id,
                 (unsigned long long)index,
                 (unsigned long long)newest);
    }
}

/* ---- comparing ------------------------------------------------------------------------------- */

/* All frames of a node's log as the node sees it. */
static void read_log(const struct sim_inode *directory, struct sim_scan *out)
{
    for (size_t i = 0; directory != NULL && i < directory->names.count; i++) {
        const struct sim_entry *entry = &directory->names.entries[i];
        if (sim_scan_is_segment(entry->name) && sim_scan_begin(out, &entry->inode->seen)) {
            sim_scan_bytes(out, &entry->inode->seen, SP_SEGMENT_HEADER_SIZE);
        }
    }
}

static bool
same_frames(const struct sim_scan *a, const struct sim_scan *b, char *out_why, unsigned size)
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
    struct sim_scan first = { .count = 0 };
    bool equal = true;
    unsigned seen = 0;

    for (unsigned i = 0; i < members->count && equal; i++) {
        struct sim_scan scan = { .count = 0 };
        const struct sim_disk *disk = disk_of(&members->voters[i]);
        const struct sim_inode *directory =
            sim_scan_replica(disk, group_id, members->voters[i].replica_id, false);
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
        bool present = sim_scan_log(node->process->disk, group_id, false) != NULL;
        bool member = false;
        for (unsigned k = 0; k < membership->count; k++) {
            member = member || membership->voters[k].node_id == node->node_id;
        }
        if (!member && present && !sim_cluster_disk_suspect(node)) {
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
        if (!sim_cluster_disk_suspect(node) &&
            sim_scan_log(node->process->disk, group_id, false) != NULL) {
            return false;
        }
    }
    return true;
}

/* ---- losing ---------------------------------------------------------------------------------- */

bool sim_images_is_lost(const struct sim_voter *voter)
{
    return is_lost(disk_of(voter), voter->replica_id);
}
