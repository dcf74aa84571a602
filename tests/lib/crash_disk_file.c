/* The body of io/file.h on the crashing disk. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "io/file.h"
#include "spate/error.h"
#include "tests/lib/crash_disk_parts.h"

#define FREE_BYTES ((uint64_t)1 << 40)

struct sp_file {
    struct crash_disk *disk;
    uint32_t node;
};

static struct crash_disk *in_use;

void crash_disk_use(struct crash_disk *disk)
{
    in_use = disk;
}

/* Counts an operation. Its error if it is to fail. */
static int begin(struct crash_disk *disk)
{
    if (disk->hook != NULL && !disk->in_hook) {
        disk->in_hook = true;
        disk->hook(disk->hook_arg);
        disk->in_hook = false;
    }
    uint64_t number = disk->operations;
    disk->operations += 1;
    if (number == disk->fail_from || (number > disk->fail_from && disk->fail_forever)) {
        disk->has_failed = true;
        return disk->fail_status;
    }
    return 0;
}

/* ---- paths ----------------------------------------------------------------------------------- */

/* Finds the directory of a path and the last name in it. */
static int walk(const struct crash_disk *disk, const char *path, uint32_t *out_node, char *out_name)
{
    uint32_t node = 0;

    out_name[0] = '\0';
    while (*path != '\0') {
        size_t size = strcspn(path, "/");

        if (size >= CRASH_NAME_SIZE) {
            return SPATE_ERR_IO;
        }
        if (size > 0) {
            if (out_name[0] != '\0') {
                node = crash_names_find(&disk->nodes[node].names, out_name);
            }
            if (node == CRASH_NONE_NODE || !disk->nodes[node].directory) {
                return SPATE_ERR_NOT_FOUND;
            }
            memcpy(out_name, path, size);
            out_name[size] = '\0';
        }
        path += size + (path[size] == '/' ? 1 : 0);
    }
    *out_node = node;
    return 0;
}

static int
look_up(const struct crash_disk *disk, const char *path, uint32_t *out_parent, char *out_name)
{
    int rv = walk(disk, path, out_parent, out_name);

    if (rv != 0) {
        return rv;
    }
    return crash_names_find(&disk->nodes[*out_parent].names, out_name) == CRASH_NONE_NODE
               ? SPATE_ERR_NOT_FOUND
               : 0;
}

static int find_directory(const struct crash_disk *disk, const char *path, uint32_t *out_node)
{
    char name[CRASH_NAME_SIZE];
    uint32_t parent = 0;
    int rv = walk(disk, path, &parent, name);

    if (rv != 0) {
        return rv;
    }
    uint32_t node = name[0] == '\0' ? parent : crash_names_find(&disk->nodes[parent].names, name);
    if (node == CRASH_NONE_NODE || !disk->nodes[node].directory) {
        return SPATE_ERR_NOT_FOUND;
    }
    *out_node = node;
    return 0;
}

static struct crash_change *add_change(struct crash_disk *disk)
{
    if (disk->change_count == disk->change_capacity) {
        disk->change_capacity = disk->change_capacity == 0 ? 16 : 2 * disk->change_capacity;
        disk->changes =
            crash_realloc(disk->changes, disk->change_capacity * sizeof disk->changes[0]);
    }
    disk->change_count += 1;
    return &disk->changes[disk->change_count - 1];
}

static void note_change(struct crash_disk *disk,
                        enum crash_change_kind kind,
                        uint32_t directory,
                        const char *name,
                        uint32_t node)
{
    struct crash_change *change = add_change(disk);

    *change = (struct crash_change){
        .kind = kind,
        .directory = directory,
        .to_directory = directory,
        .node = node,
    };
    (void)snprintf(change->name, sizeof change->name, "%s", name);
}

static uint32_t create(struct crash_disk *disk, uint32_t parent, const char *name, bool directory)
{
    uint32_t node = crash_node_add(disk, directory);

    crash_names_put(&disk->nodes[parent].names, name, node);
    note_change(disk, CRASH_ADD, parent, name, node);
    return node;
}

/* Of the files below a directory; those without a name take nothing. */
static uint64_t used_below(const struct crash_disk *disk, uint32_t node)
{
    const struct crash_names *names = &disk->nodes[node].names;
    uint64_t bytes = disk->nodes[node].size;

    for (size_t i = 0; i < names->count; i++) {
        bytes += used_below(disk, names->entries[i].node);
    }
    return bytes;
}

static uint64_t free_bytes_of(const struct crash_disk *disk)
{
    uint64_t used = disk->capacity_bytes == 0 ? 0 : used_below(disk, 0);
    uint64_t capacity = disk->capacity_bytes == 0 ? FREE_BYTES : disk->capacity_bytes;

    return used < capacity ? capacity - used : 0;
}

void crash_disk_set_free(struct crash_disk *disk, uint64_t free_bytes)
{
    disk->capacity_bytes = used_below(disk, 0) + free_bytes;
}

/* ---- files ----------------------------------------------------------------------------------- */

int sp_file_open(const char *path, int mode, struct sp_file **out_file)
{
    struct crash_disk *disk = in_use;
    char name[CRASH_NAME_SIZE];
    uint32_t parent = 0;
    int rv = look_up(disk, path, &parent, name);

    if (mode == SP_FILE_CREATE) {
        if (rv == 0) {
            return SPATE_ERR_EXISTS;
        }
        rv = walk(disk, path, &parent, name);
        rv = rv == 0 ? begin(disk) : rv;
    }
    if (rv != 0) {
        return rv;
    }
    struct sp_file *file = sp_mem_alloc(sizeof *file);
    if (file == NULL) {
        return SPATE_ERR_NOMEM;
    }
    file->disk = disk;
    file->node = mode == SP_FILE_CREATE ? create(disk, parent, name, false)
                                        : crash_names_find(&disk->nodes[parent].names, name);
    *out_file = file;
    return 0;
}

void sp_file_close(struct sp_file *file)
{
    sp_mem_free(file);
}

int sp_file_size(struct sp_file *file, uint64_t *out_size)
{
    *out_size = file->disk->nodes[file->node].size;
    return 0;
}

int sp_file_read(
    struct sp_file *file, uint64_t position, void *bytes, size_t size, size_t *out_size)
{
    const struct crash_node *node = &file->disk->nodes[file->node];
    size_t left = position < node->size ? node->size - (size_t)position : 0;

    *out_size = size < left ? size : left;
    if (*out_size > 0) {
        memcpy(bytes, node->bytes + position, *out_size);
    }
    return 0;
}

static void put_bytes(struct crash_node *node, uint64_t position, const void *bytes, size_t size)
{
    if (size == 0) {
        return;
    }
    size_t end = (size_t)position + size;
    crash_node_reserve(node, end);
    memcpy(node->bytes + position, bytes, size);
    for (size_t i = (size_t)position / CRASH_SECTOR_SIZE; i * CRASH_SECTOR_SIZE < end; i++) {
        node->dirty[i] = true;
    }
    node->size = end > node->size ? end : node->size;
}

int sp_file_write(struct sp_file *file,
                  uint64_t position,
                  const struct sp_iovec *pieces,
                  unsigned count)
{
    int rv = begin(file->disk);
    struct crash_node *node = &file->disk->nodes[file->node];
    uint64_t room = node->size + free_bytes_of(file->disk);
    size_t size_max = rv != 0 && count > 0 ? pieces[0].size / 2 : SIZE_MAX;

    if (rv == 0 && room < SIZE_MAX) {
        size_max = position < room ? (size_t)(room - position) : 0; /* as much as there is room */
    }
    for (unsigned i = 0; i < count; i++) {
        size_t size = pieces[i].size < size_max ? pieces[i].size : size_max;

        put_bytes(node, position, pieces[i].bytes, size);
        position += size;
        size_max -= size;
        if (size < pieces[i].size) {
            return rv != 0 ? rv : SPATE_ERR_NO_SPACE;
        }
    }
    return rv;
}

/* With `reached` false the system forgets what was to be written. */
static void clean(struct crash_node *node, bool reached)
{
    for (size_t i = 0; i * CRASH_SECTOR_SIZE < node->capacity; i++) {
        size_t begin_at = i * CRASH_SECTOR_SIZE;

        if (node->dirty[i] && reached) {
            memcpy(node->platter + begin_at, node->bytes + begin_at, CRASH_SECTOR_SIZE);
        }
        node->dirty[i] = false;
    }
    node->platter_size = node->size;
}

int sp_file_sync(struct sp_file *file)
{
    int rv = begin(file->disk);

    clean(&file->disk->nodes[file->node], rv == 0);
    return rv == 0 ? 0 : SPATE_ERR_IO;
}

int sp_file_truncate(struct sp_file *file, uint64_t size)
{
    int rv = begin(file->disk);
    struct crash_node *node = &file->disk->nodes[file->node];

    if (rv != 0) {
        return rv;
    }
    crash_node_reserve(node, (size_t)size);
    if (size < node->size) {
        memset(node->bytes + size, 0, node->size - (size_t)size);
        for (size_t i = (size_t)size / CRASH_SECTOR_SIZE; i * CRASH_SECTOR_SIZE < node->size; i++) {
            node->dirty[i] = true;
        }
    }
    node->size = (size_t)size;
    return 0;
}

int sp_file_allocate(struct sp_file *file, uint64_t size)
{
    static const uint8_t zero = 0;
    struct crash_node *node = &file->disk->nodes[file->node];
    int rv = begin(file->disk);
    uint64_t end = rv == 0 ? size : size / 2;

    if (end > node->size && end - node->size > free_bytes_of(file->disk)) {
        return SPATE_ERR_NO_SPACE;
    }
    if (end > node->size) {
        put_bytes(node, end - 1, &zero, 1);
    }
    return rv;
}

int sp_file_lock(struct sp_file *file)
{
    (void)file;
    return 0;
}

/* ---- directories ----------------------------------------------------------------------------- */

int sp_dir_create(const char *path)
{
    struct crash_disk *disk = in_use;
    char name[CRASH_NAME_SIZE];
    uint32_t parent = 0;

    if (look_up(disk, path, &parent, name) == 0) {
        return SPATE_ERR_EXISTS;
    }
    int rv = walk(disk, path, &parent, name);
    if (rv == 0) {
        rv = begin(disk);
    }
    if (rv == 0) {
        (void)create(disk, parent, name, true);
    }
    return rv;
}

int sp_dir_sync(const char *path)
{
    struct crash_disk *disk = in_use;
    uint32_t node = 0;
    size_t left = 0;
    int rv = find_directory(disk, path, &node);

    if (rv == 0) {
        rv = begin(disk) == 0 ? 0 : SPATE_ERR_IO;
    }
    if (rv != 0) {
        return rv;
    }
    for (size_t i = 0; i < disk->change_count; i++) {
        const struct crash_change *change = &disk->changes[i];

        if (change->directory == node || change->to_directory == node) {
            crash_change_keep(disk, change);
        } else {
            disk->changes[left] = *change;
            left += 1;
        }
    }
    disk->change_count = left;
    return 0;
}

int sp_path_sync_all(const char *path)
{
    struct crash_disk *disk = in_use;

    (void)path; /* one disk is one file system */
    if (disk->syncs_each) {
        return SPATE_ERR_UNSUPPORTED;
    }
    int rv = begin(disk) == 0 ? 0 : SPATE_ERR_IO;
    for (uint32_t i = 0; i < disk->node_count; i++) {
        if (!disk->nodes[i].directory) {
            clean(&disk->nodes[i], rv == 0);
        }
    }
    for (size_t i = 0; rv == 0 && i < disk->change_count; i++) {
        crash_change_keep(disk, &disk->changes[i]);
    }
    disk->change_count = rv == 0 ? 0 : disk->change_count;
    return rv;
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const struct crash_entry *)a)->name, ((const struct crash_entry *)b)->name);
}

int sp_dir_list(const char *path, int (*each)(void *arg, const char *name), void *arg)
{
    struct crash_disk *disk = in_use;
    uint32_t node = 0;
    int rv = find_directory(disk, path, &node);

    if (rv != 0) {
        return rv;
    }
    size_t count = disk->nodes[node].names.count;
    struct crash_entry *entries = crash_realloc(NULL, count * sizeof entries[0]);
    if (count > 0) {
        memcpy(entries, disk->nodes[node].names.entries, count * sizeof entries[0]);
        qsort(entries, count, sizeof entries[0], compare_entries);
    }
    for (size_t i = 0; i < count && rv == 0; i++) {
        rv = each(arg, entries[i].name);
    }
    free(entries);
    return rv;
}

int sp_path_rename(const char *from, const char *to)
{
    struct crash_disk *disk = in_use;
    char name[CRASH_NAME_SIZE];
    char to_name[CRASH_NAME_SIZE];
    uint32_t parent = 0;
    uint32_t to_parent = 0;
    int rv = look_up(disk, from, &parent, name);

    if (rv == 0) {
        rv = walk(disk, to, &to_parent, to_name);
    }
    if (rv == 0) {
        rv = begin(disk);
    }
    if (rv != 0) {
        return rv;
    }
    uint32_t node = crash_names_find(&disk->nodes[parent].names, name);
    crash_names_remove(&disk->nodes[parent].names, name);
    crash_names_put(&disk->nodes[to_parent].names, to_name, node);
    note_change(disk, CRASH_MOVE, parent, name, node);
    struct crash_change *change = &disk->changes[disk->change_count - 1];
    change->to_directory = to_parent;
    memcpy(change->to_name, to_name, sizeof to_name);
    return 0;
}

int sp_path_remove(const char *path)
{
    struct crash_disk *disk = in_use;
    char name[CRASH_NAME_SIZE];
    uint32_t parent = 0;
    int rv = look_up(disk, path, &parent, name);

    if (rv != 0) {
        return rv;
    }
    uint32_t node = crash_names_find(&disk->nodes[parent].names, name);
    if (disk->nodes[node].directory && disk->nodes[node].names.count > 0) {
        return SPATE_ERR_EXISTS;
    }
    rv = begin(disk);
    if (rv == 0) {
        crash_names_remove(&disk->nodes[parent].names, name);
        note_change(disk, CRASH_REMOVE, parent, name, node);
    }
    return rv;
}

/* Storage's directories hold files alone. */
static int remove_file(void *arg, const char *name)
{
    char path[256];

    (void)snprintf(path, sizeof path, "%s/%s", (const char *)arg, name);
    return sp_path_remove(path);
}

int sp_path_remove_tree(const char *path)
{
    char copy[128];

    (void)snprintf(copy, sizeof copy, "%s", path);
    int rv = sp_dir_list(path, remove_file, copy);
    return rv == 0 ? sp_path_remove(path) : rv;
}

bool sp_path_exists(const char *path)
{
    char name[CRASH_NAME_SIZE];
    uint32_t parent = 0;

    return look_up(in_use, path, &parent, name) == 0;
}

int sp_path_free_bytes(const char *path, uint64_t *out_bytes)
{
    (void)path;
    *out_bytes = free_bytes_of(in_use);
    return 0;
}
