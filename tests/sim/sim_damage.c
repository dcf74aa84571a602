#include "sim_damage.h"

#include <stdlib.h>
#include <string.h>

#include "base/rand.h"
#include "sim_cluster.h"
#include "sim_model.h"
#include "sim_scan.h"
#include "sim_world.h"
#include "storage/offset_index.h"

/* ---- losing ---------------------------------------------------------------------------------- */

static uint64_t above_all(const struct sim_directory *names, uint64_t below)
{
    for (size_t i = 0; i < names->count; i++) {
        const char *dot = strchr(names->entries[i].name, '.');
        uint64_t id = dot == NULL ? 0 : strtoull(dot + 1, NULL, 10);
        below = id >= below ? id + 1 : below;
    }
    return below;
}

void sim_damage_lose(struct sim_disk *disk)
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
        flipped = flipped || (sim_scan_is_segment(entry->name) && entry->inode->flipped);
    }
    return flipped;
}

void sim_damage_mark(struct sim_disk *disk)
{
    const struct sim_inode *replicas = sim_disk_find(disk, "/data/replicas", true);

    for (size_t i = 0; replicas != NULL && i < replicas->names_kept.count; i++) {
        struct sim_inode *directory = replicas->names_kept.entries[i].inode;
        char *dot = NULL;
        uint64_t group_id = strtoull(replicas->names_kept.entries[i].name, &dot, 10);
        uint64_t replica_id = *dot == '.' ? strtoull(dot + 1, NULL, 10) : 0;
        /* A file with a flipped bit may have become a spare, and another's segment since. */
        if (directory->is_directory && has_flipped_segment(directory) &&
            sim_damage_touched(disk, group_id, replica_id)) {
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
    const struct sim_scan *scan = sim_scan_durable(inode);

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

bool sim_damage_touched(const struct sim_disk *disk, uint64_t group_id, uint64_t replica_id)
{
    for (unsigned i = 0; i < disk->flipped_count; i++) {
        if (disk->flipped[i].group_id == group_id && disk->flipped[i].replica_id == replica_id) {
            return true;
        }
    }
    return false;
}

bool sim_damage_touched_any(const struct sim_disk *disk, uint64_t group_id)
{
    for (unsigned i = 0; i < disk->flipped_count; i++) {
        if (disk->flipped[i].group_id == group_id) {
            return true;
        }
    }
    return false;
}

/* `name` is that of a replica's directory. */
static void note_touched(struct sim_disk *disk, const char *name)
{
    char *dot = NULL;
    uint64_t group_id = strtoull(name, &dot, 10);
    uint64_t replica_id = strtoull(dot + 1, NULL, 10);

    if (sim_damage_touched(disk, group_id, replica_id)) {
        return;
    }
    disk->flipped = sim_grow(disk->flipped, (disk->flipped_count + 1) * sizeof disk->flipped[0]);
    disk->flipped[disk->flipped_count] = (struct sim_flipped){ group_id, replica_id };
    disk->flipped_count += 1;
}

/* In some file of it. Nothing is lost with an index: it is made anew. */
static bool flip_in_replica(struct sim_disk *disk,
                            const struct sim_group *group,
                            const struct sim_entry *replica,
                            struct sp_rand *rand)
{
    const struct sim_directory *names = &replica->inode->names_kept;
    const struct sim_entry *entry = &names->entries[sp_rand_below(rand, names->count)];
    bool flipped = false;

    if (sim_scan_is_segment(entry->name)) {
        flipped = flip_in_log(disk, group, entry->inode, rand);
    } else if (entry->inode->kept.size > 0) {
        flipped = flip(disk, entry->inode, sp_rand_below(rand, entry->inode->kept.size));
    }
    if (flipped && !sim_scan_ends_with(entry->name, "." SP_OFFSET_INDEX_SUFFIX)) {
        note_touched(disk, replica->name);
    }
    return flipped;
}

bool sim_damage_flip(struct sim_node *node, struct sp_rand *rand)
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
    const struct sim_entry *replica = sim_scan_log(disk, group->group_id, true);
    return replica != NULL && replica->inode->names_kept.count > 0 &&
           flip_in_replica(disk, group, replica, rand);
}
