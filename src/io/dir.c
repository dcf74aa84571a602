/* Directories and paths: listing in order, durable names, removal that never follows a link. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/file.h"
#include "io/system.h"
#include "spate/error.h"

enum {
    DIR_MODE = 0750,
    TREE_DEPTH_MAX = 16, /* a data directory is four levels deep */
    NAMES_CAPACITY_MIN = 32,
};

int sp_dir_create(const char *path)
{
    return mkdir(path, DIR_MODE) == 0 ? 0 : sp_error_of_errno(errno);
}

int sp_dir_sync(const char *path)
{
    int rv = 0;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0) {
        return sp_error_of_errno(errno);
    }
    if (fsync(fd) != 0) {
        rv = SPATE_ERR_IO; /* whatever it is, it cannot be tried again */
    }
    (void)close(fd); /* nothing was written through it */
    return rv;
}

/* ---- the whole file system ------------------------------------------------------------------- */

/* Since Linux 5.8 syncfs tells of writes that failed; before, it did not. */
static bool syncfs_tells_errors(void)
{
    struct utsname system;
    unsigned major = 0;
    unsigned minor = 0;

    if (uname(&system) != 0 || sscanf(system.release, "%u.%u", &major, &minor) != 2) {
        return false;
    }
    return major > 5 || (major == 5 && minor >= 8);
}

/* Where syncfs is known to flush the disk's own cache also when no metadata waits (ext4), or where
 * there is nothing to make durable (tmpfs). Layers such as overlayfs and file systems of other
 * machines may not hand the call on, or not its errors. */
static bool syncfs_is_enough(int fd)
{
    struct statfs system;

    if (fstatfs(fd, &system) != 0) {
        return false;
    }
    return system.f_type == EXT4_SUPER_MAGIC || system.f_type == TMPFS_MAGIC;
}

int sp_path_sync_all(const char *path)
{
    int rv = SPATE_ERR_UNSUPPORTED;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0) {
        return sp_error_of_errno(errno);
    }
    if (syncfs_tells_errors() && syncfs_is_enough(fd)) {
        rv = syncfs(fd) == 0 ? 0 : SPATE_ERR_IO;
    }
    (void)close(fd); /* nothing was written through it */
    return rv;
}

/* ---- listing --------------------------------------------------------------------------------- */

struct names {
    char **items;
    size_t count;
    size_t capacity;
};

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static void names_deinit(struct names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        sp_mem_free(names->items[i]);
    }
    sp_mem_free(names->items);
}

static int names_add(struct names *names, const char *name)
{
    if (names->count == names->capacity) {
        size_t capacity = names->capacity == 0 ? NAMES_CAPACITY_MIN : 2 * names->capacity;
        char **items = sp_mem_realloc(names->items, capacity * sizeof *items);
        if (items == NULL) {
            return SPATE_ERR_NOMEM;
        }
        names->items = items;
        names->capacity = capacity;
    }
    names->items[names->count] = sp_mem_strdup(name);
    if (names->items[names->count] == NULL) {
        return SPATE_ERR_NOMEM;
    }
    names->count += 1;
    return 0;
}

static int names_read(struct names *names, DIR *dir)
{
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            return errno == 0 ? 0 : sp_error_of_errno(errno);
        }
        int rv = is_dots(entry->d_name) ? 0 : names_add(names, entry->d_name);
        if (rv != 0) {
            return rv;
        }
    }
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int sp_dir_list(const char *path, int (*each)(void *arg, const char *name), void *arg)
{
    struct names names = { NULL, 0, 0 };
    DIR *dir = opendir(path);

    if (dir == NULL) {
        return sp_error_of_errno(errno);
    }
    int rv = names_read(&names, dir);
    (void)closedir(dir); /* nothing was written through it */
    if (rv == 0 && names.count > 1) {
        qsort(names.items, names.count, sizeof *names.items, compare_names);
    }
    for (size_t i = 0; rv == 0 && i < names.count; i++) {
        rv = each(arg, names.items[i]);
    }
    names_deinit(&names);
    return rv;
}

/* ---- removing -------------------------------------------------------------------------------- */

int sp_path_rename(const char *from, const char *to)
{
    return rename(from, to) == 0 ? 0 : sp_error_of_errno(errno);
}

int sp_path_remove(const char *path)
{
    return remove(path) == 0 ? 0 : sp_error_of_errno(errno);
}

/* The directories from the root of the tree down to the one being emptied. */
struct tree {
    DIR *dirs[TREE_DEPTH_MAX];
    char names[TREE_DEPTH_MAX][256]; /* of dirs[i] within dirs[i - 1] */
    unsigned depth;
};

static int tree_enter(struct tree *tree, int parent_fd, const char *name)
{
    size_t size = strlen(name) + 1;

    if (tree->depth == TREE_DEPTH_MAX || (tree->depth > 0 && size > sizeof tree->names[0])) {
        return SPATE_ERR_IO;
    }
    int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return sp_error_of_errno(errno);
    }
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        int rv = sp_error_of_errno(errno);
        (void)close(fd); /* nothing was written through it */
        return rv;
    }
    if (tree->depth > 0) {
        memcpy(tree->names[tree->depth], name, size);
    }
    tree->dirs[tree->depth] = dir;
    tree->depth += 1;
    return 0;
}

/* The innermost directory has been read to its end: removes it from the one around it. */
static int tree_leave(struct tree *tree)
{
    tree->depth -= 1;
    (void)closedir(tree->dirs[tree->depth]); /* nothing was written through it */
    if (tree->depth == 0) {
        return 0;
    }
    int parent_fd = dirfd(tree->dirs[tree->depth - 1]);
    int rv = unlinkat(parent_fd, tree->names[tree->depth], AT_REMOVEDIR);
    return rv == 0 ? 0 : sp_error_of_errno(errno);
}

/* One entry of the innermost directory: removed, entered, or found to be the last. */
static int tree_step(struct tree *tree)
{
    DIR *dir = tree->dirs[tree->depth - 1];

    errno = 0;
    struct dirent *entry = readdir(dir);
    if (entry == NULL) {
        return errno == 0 ? tree_leave(tree) : sp_error_of_errno(errno);
    }
    if (is_dots(entry->d_name) || unlinkat(dirfd(dir), entry->d_name, 0) == 0) {
        return 0;
    }
    if (errno != EISDIR && errno != EPERM) {
        return sp_error_of_errno(errno); /* Linux says EISDIR for a directory, POSIX EPERM */
    }
    return tree_enter(tree, dirfd(dir), entry->d_name);
}

int sp_path_remove_tree(const char *path)
{
    struct tree tree = { .depth = 0 };
    int rv = tree_enter(&tree, AT_FDCWD, path);

    while (rv == 0 && tree.depth > 0) {
        rv = tree_step(&tree);
    }
    while (tree.depth > 0) {
        tree.depth -= 1;
        (void)closedir(tree.dirs[tree.depth]); /* nothing was written through it */
    }
    if (rv != 0) {
        return rv;
    }
    return rmdir(path) == 0 ? 0 : sp_error_of_errno(errno);
}

/* ---- asking ---------------------------------------------------------------------------------- */

bool sp_path_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

int sp_path_free_bytes(const char *path, uint64_t *out_bytes)
{
    struct statvfs status;

    if (statvfs(path, &status) != 0) {
        return sp_error_of_errno(errno);
    }
    *out_bytes = (uint64_t)status.f_bavail * status.f_frsize;
    return 0;
}
