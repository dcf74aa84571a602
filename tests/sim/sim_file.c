/* The second body of io/file.h: files and directories of the current process's simulated disk. */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "io/file.h"
#include "sim_disk.h"
#include "sim_world.h"
#include "spate/error.h"

enum {
    PATH_SIZE_MAX = 512,
    BYTES_PER_US = 500, /* of reading and writing */
};

struct sp_file {
    struct sim_disk *disk;
    struct sim_inode *inode;
    bool writable;
    bool locked;
};

static struct sim_disk *current_disk(void)
{
    SP_ASSERT(sim.current != NULL);
    SP_ASSERT(sim.current->disk != NULL);
    return sim.current->disk;
}

/* ---- paths ----------------------------------------------------------------------------------- */

/* Takes the next name of *path; false at the end. */
static bool next_name(const char **path, char out_name[SIM_NAME_SIZE])
{
    const char *text = *path;

    while (*text == '/') {
        text += 1;
    }
    size_t size = strcspn(text, "/");
    if (size == 0) {
        return false;
    }
    SP_ASSERT(size < SIM_NAME_SIZE);
    memcpy(out_name, text, size);
    out_name[size] = '\0';
    *path = text + size;
    return true;
}

static struct sim_inode *walk(const struct sim_disk *disk, const char *path, bool durable)
{
    struct sim_inode *inode = disk->root;
    char name[SIM_NAME_SIZE];

    while (next_name(&path, name)) {
        if (!inode->is_directory) {
            return NULL;
        }
        const struct sim_entry *entry =
            sim_directory_find(durable ? &inode->names_kept : &inode->names, name);
        if (entry == NULL) {
            return NULL;
        }
        inode = entry->inode;
    }
    return inode;
}

struct sim_inode *sim_disk_find(const struct sim_disk *disk, const char *path, bool durable)
{
    return walk(disk, path, durable);
}

/* Directory and last name of `path`. */
static int split(const struct sim_disk *disk, const char *path, struct sim_name *out_place)
{
    char parent[PATH_SIZE_MAX];
    const char *slash = strrchr(path, '/');

    SP_ASSERT(slash != NULL);
    SP_ASSERT(strlen(path) < sizeof parent);
    SP_ASSERT(strlen(slash + 1) < SIM_NAME_SIZE);
    memcpy(parent, path, (size_t)(slash - path));
    parent[slash - path] = '\0';
    memset(out_place, 0, sizeof *out_place);
    memcpy(out_place->name, slash + 1, strlen(slash + 1) + 1);
    out_place->directory = walk(disk, parent, false);
    if (out_place->directory == NULL || !out_place->directory->is_directory) {
        return SPATE_ERR_NOT_FOUND;
    }
    return 0;
}

/* ---- files ----------------------------------------------------------------------------------- */

static int
find_or_make(struct sim_disk *disk, const char *path, int mode, struct sim_inode **out_inode)
{
    struct sim_name place;
    int rv = split(disk, path, &place);

    if (rv != 0) {
        return rv;
    }
    const struct sim_entry *entry = sim_directory_find(&place.directory->names, place.name);
    if (mode == SP_FILE_CREATE) {
        if (entry != NULL) {
            return SPATE_ERR_EXISTS;
        }
        rv = sim_disk_begin_call(disk, SIM_DISK_NAMES, 0);
        if (rv != 0) {
            return rv;
        }
        *out_inode = sim_inode_new(disk, false);
        sim_disk_change_name(disk, NULL, &place, *out_inode);
        return 0;
    }
    if (entry == NULL) {
        return SPATE_ERR_NOT_FOUND;
    }
    *out_inode = entry->inode;
    return entry->inode->is_directory ? SPATE_ERR_IO : 0;
}

int sp_file_open(const char *path, int mode, struct sp_file **out_file)
{
    struct sim_disk *disk = current_disk();
    struct sim_inode *inode = NULL;
    int rv = disk->frozen ? SPATE_ERR_IO : find_or_make(disk, path, mode, &inode);

    if (rv != 0) {
        return rv;
    }
    struct sp_file *file = sp_mem_alloc(sizeof *file);
    if (file == NULL) {
        return SPATE_ERR_NOMEM;
    }
    *file = (struct sp_file){ .disk = disk, .inode = inode, .writable = mode != SP_FILE_READ };
    *out_file = file;
    return 0;
}

void sp_file_close(struct sp_file *file)
{
    if (file == NULL) {
        return;
    }
    if (file->locked) {
        file->inode->locked = false;
    }
    sp_mem_free(file);
}

int sp_file_size(struct sp_file *file, uint64_t *out_size)
{
    *out_size = file->inode->seen.size;
    return 0;
}

int sp_file_read(
    struct sp_file *file, uint64_t position, void *bytes, size_t size, size_t *out_size)
{
    uint64_t end = file->inode->seen.size;
    int rv = sim_disk_begin_call(file->disk, SIM_DISK_READ, size / BYTES_PER_US);

    if (rv != 0) {
        return rv;
    }
    if (position >= end) {
        size = 0;
    } else if (size > end - position) {
        size = (size_t)(end - position);
    }
    if (size > 0) {
        memcpy(bytes, file->inode->seen.bytes + position, size);
    }
    *out_size = size;
    return 0;
}

int sp_file_write(struct sp_file *file,
                  uint64_t position,
                  const struct sp_iovec *pieces,
                  unsigned count)
{
    uint64_t size = 0;

    SP_ASSERT(file->writable);
    for (unsigned i = 0; i < count; i++) {
        size += pieces[i].size;
    }
    int rv = sim_disk_begin_call(file->disk, SIM_DISK_WRITE, size / BYTES_PER_US);
    for (unsigned i = 0; i < count && rv == 0; i++) {
        rv = sim_inode_write(file->disk, file->inode, position, pieces[i].bytes, pieces[i].size);
        position += pieces[i].size;
    }
    return rv;
}

int sp_file_sync(struct sp_file *file)
{
    int rv = sim_disk_begin_call(file->disk, SIM_DISK_SYNC, 0);

    if (rv == 0) {
        file->disk->syncs += 1;
        sim_inode_sync(file->inode);
    }
    return rv;
}

int sp_file_truncate(struct sp_file *file, uint64_t size)
{
    int rv = sim_disk_begin_call(file->disk, SIM_DISK_WRITE, 0);

    SP_ASSERT(file->writable);
    if (rv == 0) {
        sim_inode_truncate(file->disk, file->inode, size);
    }
    return rv;
}

int sp_file_allocate(struct sp_file *file, uint64_t size)
{
    int rv = sim_disk_begin_call(file->disk, SIM_DISK_WRITE, 0);

    SP_ASSERT(file->writable);
    return rv == 0 ? sim_inode_allocate(file->disk, file->inode, size) : rv;
}

int sp_file_lock(struct sp_file *file)
{
    if (file->inode->locked) {
        return SPATE_ERR_LOCKED;
    }
    file->inode->locked = true;
    file->locked = true;
    return 0;
}

/* ---- directories ----------------------------------------------------------------------------- */

int sp_dir_create(const char *path)
{
    struct sim_disk *disk = current_disk();
    struct sim_name place;
    int rv = split(disk, path, &place);

    if (rv != 0) {
        return rv;
    }
    if (sim_directory_find(&place.directory->names, place.name) != NULL) {
        return SPATE_ERR_EXISTS;
    }
    rv = sim_disk_begin_call(disk, SIM_DISK_NAMES, 0);
    if (rv == 0) {
        sim_disk_change_name(disk, NULL, &place, sim_inode_new(disk, true));
    }
    return rv;
}

int sp_dir_sync(const char *path)
{
    struct sim_disk *disk = current_disk();
    struct sim_inode *inode = walk(disk, path, false);

    if (inode == NULL) {
        return SPATE_ERR_NOT_FOUND;
    }
    int rv = sim_disk_begin_call(disk, SIM_DISK_SYNC, 0);
    if (rv == 0) {
        sim_disk_sync_names(disk, inode);
    }
    return rv;
}

int sp_path_sync_all(const char *path)
{
    struct sim_disk *disk = current_disk();

    (void)path; /* one disk is one file system */
    if (disk->syncs_each) {
        return SPATE_ERR_UNSUPPORTED;
    }
    int rv = sim_disk_begin_call(disk, SIM_DISK_SYNC, 0);
    if (rv == 0) {
        disk->syncs += 1;
        sim_disk_sync_all(disk);
    }
    return rv;
}

int sp_dir_list(const char *path, int (*each)(void *arg, const char *name), void *arg)
{
    const struct sim_inode *inode = walk(current_disk(), path, false);
    int rv = 0;

    if (inode == NULL || !inode->is_directory) {
        return SPATE_ERR_NOT_FOUND;
    }
    /* The walk may remove what it finds: it goes over a copy. */
    size_t count = inode->names.count;
    struct sim_entry *entries = sim_alloc((count + 1) * sizeof *entries);
    if (count > 0) {
        memcpy(entries, inode->names.entries, count * sizeof *entries);
    }
    for (size_t i = 0; i < count && rv == 0; i++) {
        rv = each(arg, entries[i].name);
    }
    sim_free(entries);
    return rv;
}

int sp_path_rename(const char *from, const char *to)
{
    struct sim_disk *disk = current_disk();
    struct sim_name source;
    struct sim_name target;
    int rv = split(disk, from, &source);

    if (rv == 0) {
        rv = split(disk, to, &target);
    }
    if (rv != 0) {
        return rv;
    }
    const struct sim_entry *entry = sim_directory_find(&source.directory->names, source.name);
    if (entry == NULL) {
        return SPATE_ERR_NOT_FOUND;
    }
    const struct sim_entry *taken = sim_directory_find(&target.directory->names, target.name);
    if (taken != NULL && taken->inode->is_directory && taken->inode->names.count > 0) {
        return SPATE_ERR_EXISTS;
    }
    struct sim_inode *inode = entry->inode;
    rv = sim_disk_begin_call(disk, SIM_DISK_NAMES, 0);
    if (rv == 0) {
        sim_disk_change_name(disk, &source, &target, inode);
    }
    return rv;
}

int sp_path_remove(const char *path)
{
    struct sim_disk *disk = current_disk();
    struct sim_name place;
    int rv = split(disk, path, &place);

    if (rv != 0) {
        return rv;
    }
    const struct sim_entry *entry = sim_directory_find(&place.directory->names, place.name);
    if (entry == NULL) {
        return SPATE_ERR_NOT_FOUND;
    }
    struct sim_inode *inode = entry->inode;
    if (inode->is_directory && inode->names.count > 0) {
        return SPATE_ERR_EXISTS;
    }
    rv = sim_disk_begin_call(disk, SIM_DISK_NAMES, 0);
    if (rv == 0) {
        disk->used_bytes -= inode->seen.size;
        sim_disk_change_name(disk, &place, NULL, inode);
    }
    return rv;
}

/* Removes the children first; trees here are few levels deep. */
static int remove_child(void *arg, const char *name)
{
    char path[PATH_SIZE_MAX];
    int size = snprintf(path, sizeof path, "%s/%s", (const char *)arg, name);

    SP_ASSERT(size > 0 && (size_t)size < sizeof path);
    return sp_path_remove_tree(path);
}

int sp_path_remove_tree(const char *path)
{
    char own[PATH_SIZE_MAX];
    struct sim_inode *inode = walk(current_disk(), path, false);
    int rv = 0;

    if (inode == NULL) {
        return SPATE_ERR_NOT_FOUND;
    }
    (void)snprintf(own, sizeof own, "%s", path);
    if (inode->is_directory) {
        rv = sp_dir_list(path, remove_child, own);
    }
    return rv == 0 ? sp_path_remove(path) : rv;
}

bool sp_path_exists(const char *path)
{
    return walk(current_disk(), path, false) != NULL;
}

int sp_path_free_bytes(const char *path, uint64_t *out_bytes)
{
    struct sim_disk *disk = current_disk();

    if (walk(disk, path, false) == NULL) {
        return SPATE_ERR_NOT_FOUND;
    }
    disk->was_full = disk->was_full || disk->capacity_bytes < SIM_DISK_BYTES;
    *out_bytes =
        disk->used_bytes < disk->capacity_bytes ? disk->capacity_bytes - disk->used_bytes : 0;
    return 0;
}
