#include "sim_disk.h"

#include <string.h>

#include "base/assert.h"
#include "sim_world.h"
#include "spate/error.h"

enum {
    SYNC_US = 400,
    WRITE_US = 20,
    READ_US = 15,
    NAMES_US = 60,
};

static uint64_t cost_us;

static const char *const call_names[SIM_DISK_CALLS] = {
    [SIM_DISK_READ] = "read",
    [SIM_DISK_WRITE] = "write",
    [SIM_DISK_SYNC] = "sync",
    [SIM_DISK_NAMES] = "change of names",
};

/* ---- bytes ----------------------------------------------------------------------------------- */

/* Sets the size; new bytes are zero. */
static void resize(struct sim_bytes *bytes, uint64_t size)
{
    if (size > bytes->capacity) {
        uint64_t capacity = bytes->capacity == 0 ? 4096 : bytes->capacity;
        while (capacity < size) {
            capacity *= 2;
        }
        bytes->bytes = sim_grow(bytes->bytes, capacity);
        bytes->capacity = capacity;
    }
    if (size > bytes->size) {
        memset(bytes->bytes + bytes->size, 0, size - bytes->size);
    }
    bytes->size = size;
}

static void mark_dirty(struct sim_inode *inode, uint64_t first, uint64_t end)
{
    if (end > inode->dirty_count) {
        uint64_t count = inode->dirty_count == 0 ? 64 : inode->dirty_count;
        while (count < end) {
            count *= 2;
        }
        inode->dirty = sim_grow(inode->dirty, count);
        memset(inode->dirty + inode->dirty_count, 0, count - inode->dirty_count);
        inode->dirty_count = count;
    }
    memset(inode->dirty + first, 1, end - first);
    if (inode->dirty_first >= inode->dirty_end) {
        inode->dirty_first = first;
        inode->dirty_end = end;
    } else {
        inode->dirty_first = first < inode->dirty_first ? first : inode->dirty_first;
        inode->dirty_end = end > inode->dirty_end ? end : inode->dirty_end;
    }
}

static void mark_clean(struct sim_inode *inode)
{
    if (inode->dirty_first < inode->dirty_end) {
        memset(inode->dirty + inode->dirty_first, 0, inode->dirty_end - inode->dirty_first);
    }
    inode->dirty_first = 0;
    inode->dirty_end = 0;
    inode->cut_size = SIM_NEVER;
}

/* Makes room for the file to end at `end`; there are no holes, so that is all of it. */
static int extend(struct sim_disk *disk, struct sim_inode *inode, uint64_t end)
{
    if (end <= inode->seen.size) {
        return 0;
    }
    uint64_t more = end - inode->seen.size;
    if (disk->has_quota || disk->used_bytes + more > disk->capacity_bytes) {
        disk->was_full = true;
        return SPATE_ERR_NO_SPACE;
    }
    disk->used_bytes += more;
    resize(&inode->seen, end);
    return 0;
}

int sim_inode_allocate(struct sim_disk *disk, struct sim_inode *inode, uint64_t size)
{
    uint64_t before = inode->seen.size;
    int rv = extend(disk, inode, size);

    if (rv == 0 && size > before) {
        mark_dirty(inode, before / SIM_SECTOR_SIZE, (size + SIM_SECTOR_SIZE - 1) / SIM_SECTOR_SIZE);
    }
    return rv;
}

int sim_inode_write(struct sim_disk *disk,
                    struct sim_inode *inode,
                    uint64_t position,
                    const uint8_t *bytes,
                    size_t size)
{
    uint64_t end = position + size;

    if (size == 0) {
        return 0;
    }
    int rv = extend(disk, inode, end);
    if (rv != 0) {
        return rv;
    }
    memcpy(inode->seen.bytes + position, bytes, size);
    mark_dirty(inode, position / SIM_SECTOR_SIZE, (end + SIM_SECTOR_SIZE - 1) / SIM_SECTOR_SIZE);
    return 0;
}

void sim_inode_truncate(struct sim_disk *disk, struct sim_inode *inode, uint64_t size)
{
    disk->used_bytes = disk->used_bytes - inode->seen.size + size;
    resize(&inode->seen, size);
    if (size < inode->cut_size) {
        inode->cut_size = size;
    }
}

static void note_durable_change(struct sim_inode *inode, uint64_t position)
{
    if (position < inode->scan_valid) {
        inode->scan_valid = position;
    }
}

/* Applies to the durable content that the file was cut to `size` at some time. */
static void cut_kept(struct sim_inode *inode, uint64_t size)
{
    if (size < inode->kept.size) {
        resize(&inode->kept, size);
        note_durable_change(inode, size);
    }
}

/* Makes the first `size` bytes of a pending sector durable. */
static void keep_sector(struct sim_inode *inode, uint64_t sector, uint64_t size)
{
    uint64_t position = sector * SIM_SECTOR_SIZE;
    uint64_t end = position + size;

    if (end > inode->seen.size) {
        end = inode->seen.size;
    }
    if (position >= end) {
        return;
    }
    if (end > inode->kept.size) {
        resize(&inode->kept, end);
    }
    note_durable_change(inode, position);
    memcpy(inode->kept.bytes + position, inode->seen.bytes + position, end - position);
}

void sim_inode_sync(struct sim_inode *inode)
{
    cut_kept(inode, inode->cut_size);
    for (uint64_t sector = inode->dirty_first; sector < inode->dirty_end; sector++) {
        if (inode->dirty[sector]) {
            keep_sector(inode, sector, SIM_SECTOR_SIZE);
        }
    }
    if (inode->kept.size != inode->seen.size) {
        cut_kept(inode, inode->seen.size);
        resize(&inode->kept, inode->seen.size);
    }
    mark_clean(inode);
}

/* ---- power cuts: files ----------------------------------------------------------------------- */

static void crash_sector(struct sim_disk *disk,
                         struct sim_inode *inode,
                         uint64_t sector,
                         enum sim_crash_habit habit)
{
    uint64_t draw = sp_rand_below(&sim.rand_disk, 4);

    if (habit == SIM_CRASH_TEARS && draw == 0) {
        disk->torn_sectors += 1;
        keep_sector(
            inode, sector, 8 * (1 + sp_rand_below(&sim.rand_disk, SIM_SECTOR_SIZE / 8 - 1)));
    } else if (draw % 2 == 0) {
        keep_sector(inode, sector, SIM_SECTOR_SIZE);
    } else {
        disk->lost_sectors += 1;
    }
}

static void
crash_content(struct sim_disk *disk, struct sim_inode *inode, enum sim_crash_habit habit)
{
    struct sp_rand *rand = &sim.rand_disk;
    uint64_t place = inode->dirty_first;

    if (inode->dirty_first >= inode->dirty_end && inode->cut_size == SIM_NEVER) {
        return;
    }
    /* What was written behind a cut can only be there if the cut is. */
    if (inode->cut_size < inode->kept.size &&
        (habit == SIM_CRASH_LOSES_ALL || (habit != SIM_CRASH_KEEPS_ALL && sim_one_in(rand, 2)))) {
        return;
    }
    cut_kept(inode, inode->cut_size);
    if (habit == SIM_CRASH_KEEPS_FIRST && inode->dirty_first < inode->dirty_end) {
        place = sim_between(rand, inode->dirty_first, inode->dirty_end);
    }
    for (uint64_t sector = inode->dirty_first; sector < inode->dirty_end; sector++) {
        if (!inode->dirty[sector] || habit == SIM_CRASH_LOSES_ALL) {
            continue;
        }
        if (habit == SIM_CRASH_KEEPS_ALL || (habit == SIM_CRASH_KEEPS_FIRST && sector < place)) {
            keep_sector(inode, sector, SIM_SECTOR_SIZE);
        } else if (habit != SIM_CRASH_KEEPS_FIRST) {
            crash_sector(disk, inode, sector, habit);
        }
    }
    /* The size may have come to the disk before the bytes did: zeros at the end. */
    if (habit != SIM_CRASH_LOSES_ALL && inode->seen.size > inode->kept.size &&
        sim_one_in(rand, 3)) {
        resize(&inode->kept, inode->seen.size);
    }
}

static void crash_inode(struct sim_disk *disk, struct sim_inode *inode, enum sim_crash_habit habit)
{
    inode->locked = false;
    crash_content(disk, inode, habit);
    resize(&inode->seen, inode->kept.size);
    if (inode->kept.size > 0) {
        memcpy(inode->seen.bytes, inode->kept.bytes, inode->kept.size);
    }
    mark_clean(inode);
}

/* ---- power cuts: all ------------------------------------------------------------------------- */

/* Directories are few levels deep, so this recursion ends soon. */
static void crash_tree(struct sim_disk *disk, struct sim_inode *inode, enum sim_crash_habit habit)
{
    if (!inode->is_directory) {
        crash_inode(disk, inode, habit);
        disk->used_bytes += inode->seen.size;
        return;
    }
    inode->names.count = 0;
    for (size_t i = 0; i < inode->names_kept.count; i++) {
        const struct sim_entry *entry = &inode->names_kept.entries[i];
        sim_directory_put(&inode->names, entry->name, entry->inode);
        crash_tree(disk, entry->inode, habit);
    }
}

static void lose_power(struct sim_disk *disk)
{
    enum sim_crash_habit habit =
        (enum sim_crash_habit)sp_rand_below(&sim.rand_disk, SIM_CRASH_HABITS);

    sim_names_crash(disk, habit);
    disk->used_bytes = 0;
    crash_tree(disk, disk->root, habit);
}

static void unlock_tree(struct sim_inode *inode)
{
    inode->locked = false;
    for (size_t i = 0; i < inode->names.count; i++) {
        unlock_tree(inode->names.entries[i].inode);
    }
}

void sim_disk_process_died(struct sim_disk *disk, bool power_lost)
{
    if (power_lost && !disk->frozen) {
        lose_power(disk);
    }
    unlock_tree(disk->root);
    disk->frozen = false;
    disk->death_in = 0;
    for (unsigned i = 0; i < SIM_DISK_CALLS; i++) {
        disk->fail_in[i] = 0;
    }
}

/* ---- calls ----------------------------------------------------------------------------------- */

static uint64_t cost_of(enum sim_disk_call call)
{
    switch (call) {
    case SIM_DISK_READ:
        return READ_US;
    case SIM_DISK_WRITE:
        return WRITE_US;
    case SIM_DISK_SYNC:
        return SYNC_US;
    case SIM_DISK_NAMES:
    case SIM_DISK_CALLS:
        break;
    }
    return NAMES_US;
}

int sim_disk_begin_call(struct sim_disk *disk, enum sim_disk_call call, uint64_t more_us)
{
    cost_us += disk->latency_factor * (more_us + sim_with_tail(&sim.rand_disk, cost_of(call)));
    if (disk->frozen) {
        return SPATE_ERR_IO;
    }
    if (call != SIM_DISK_READ && disk->death_in > 0) {
        disk->death_in -= 1;
        if (disk->death_in == 0) {
            if (!disk->death_is_kill) {
                lose_power(disk);
            }
            disk->frozen = true;
            disk->deaths += 1;
            sim_process_kill(disk->process, disk->death_is_kill ? SIM_DEATH_KILL : SIM_DEATH_POWER);
            return SPATE_ERR_IO;
        }
    }
    if (disk->fail_in[call] > 0) {
        disk->fail_in[call] -= 1;
        if (disk->fail_in[call] == 0) {
            sim_note("disk error: a %s fails", call_names[call]);
            disk->io_failed = true;
            return SPATE_ERR_IO;
        }
    }
    return 0;
}

void sim_disk_flip(struct sim_disk *disk, struct sim_inode *inode, uint64_t position)
{
    uint8_t bit = (uint8_t)(1u << sp_rand_below(&sim.rand_disk, 8));

    SP_ASSERT(position < inode->seen.size);
    SP_ASSERT(position < inode->kept.size);
    inode->seen.bytes[position] ^= bit;
    inode->kept.bytes[position] ^= bit;
    inode->flipped = true;
    note_durable_change(inode, position);
    disk->rotten = true;
}

void sim_disk_empty(struct sim_disk *disk)
{
    SP_ASSERT(!disk->process->alive);
    sim_disk_sync_names(disk, NULL); /* nothing is pending any more */
    disk->root = sim_inode_new(disk, true);
    disk->used_bytes = 0;
}

uint64_t sim_disk_take_cost_us(void)
{
    uint64_t cost = cost_us;

    cost_us = 0;
    return cost;
}

/* Files that have no name any more have nothing to keep. */
static void sync_tree(struct sim_inode *inode)
{
    if (!inode->is_directory) {
        sim_inode_sync(inode);
    }
    for (size_t i = 0; i < inode->names.count; i++) {
        sync_tree(inode->names.entries[i].inode);
    }
}

void sim_disk_sync_all(struct sim_disk *disk)
{
    sim_disk_sync_names(disk, NULL);
    sync_tree(disk->root);
}

struct sim_inode *sim_inode_new(struct sim_disk *disk, bool is_directory)
{
    struct sim_inode *inode = sim_alloc(sizeof *inode);

    inode->number = disk->inode_count;
    inode->is_directory = is_directory;
    inode->cut_size = SIM_NEVER;
    disk->inode_count += 1;
    return inode;
}

struct sim_disk *sim_disk_new(struct sim_process *process)
{
    struct sim_disk *disk = sim_alloc(sizeof *disk);

    disk->process = process;
    disk->capacity_bytes = SIM_DISK_BYTES;
    disk->latency_factor = 1;
    sp_list_init(&disk->pending_names);
    disk->root = sim_inode_new(disk, true);
    process->disk = disk;
    return disk;
}
