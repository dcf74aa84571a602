/* The journal of names that are not durable yet: see disk.h.
 *
 * Entries are undone from the newest to the oldest. Their paths are those of the moment they were
 * made; when a directory is renamed, the paths of older entries are carried along, and back again
 * when the rename is undone. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk.h"

enum {
    ENTRIES_MAX = 65536, /* changes without a sync; then the oldest are durable */
    TREE_DESCRIPTORS = 16,
};

enum change {
    CREATED,
    REMOVED,
    RENAMED
};

struct entry {
    enum change change;
    char *path;     /* owned; what was created or removed, or the new name */
    char *from;     /* owned; the old name, or NULL */
    uint64_t trash; /* number of what was removed or replaced, 0: nothing */
    bool is_over;   /* durable or undone, about to be forgotten */
};

static const char *root;
static struct entry entries[ENTRIES_MAX];
static size_t count;
static uint64_t trash_next = 1;

void disk_names_init(const char *backing)
{
    root = backing;
}

bool disk_names_path(const char *path, char out[DISK_PATH_MAX])
{
    return snprintf(out, DISK_PATH_MAX, "%s/cur%s", root, path) < DISK_PATH_MAX;
}

static void trash_path(uint64_t number, char out[DISK_PATH_MAX])
{
    (void)snprintf(out, DISK_PATH_MAX, "%s/trash/%lu", root, number);
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *where)
{
    (void)status;
    (void)kind;
    (void)where;
    (void)remove(path); /* what stays is only seen by people */
    return 0;
}

static void remove_tree(const char *path)
{
    (void)nftw(path, remove_one, TREE_DESCRIPTORS, FTW_DEPTH | FTW_PHYS);
}

/* Forgets an entry whose change is durable. */
static void entry_deinit(struct entry *entry)
{
    char path[DISK_PATH_MAX];

    if (entry->trash != 0) {
        trash_path(entry->trash, path);
        remove_tree(path);
    }
    free(entry->path);
    free(entry->from);
}

static int journal(enum change change, const char *path, const char *from, uint64_t trash)
{
    struct entry entry = { .change = change, .path = strdup(path), .trash = trash };

    if (from != NULL) {
        entry.from = strdup(from);
    }
    if (entry.path == NULL || (from != NULL && entry.from == NULL)) {
        free(entry.path);
        free(entry.from);
        return -ENOMEM;
    }
    if (count == ENTRIES_MAX) {
        entry_deinit(&entries[0]);
        memmove(entries, entries + 1, (count - 1) * sizeof *entries);
        count -= 1;
    }
    entries[count] = entry;
    count += 1;
    return 0;
}

/* ---- changes --------------------------------------------------------------------------------- */

int disk_names_created(const char *path)
{
    return journal(CREATED, path, NULL, 0);
}

/* Moves what has this name into the trash. Returns 0 or -errno. */
static int to_trash(const char *real, uint64_t *out_number)
{
    char trash[DISK_PATH_MAX];

    trash_path(trash_next, trash);
    if (rename(real, trash) != 0) {
        return -errno;
    }
    *out_number = trash_next;
    trash_next += 1;
    return 0;
}

int disk_names_remove(const char *path)
{
    char real[DISK_PATH_MAX];
    uint64_t trash = 0;

    if (!disk_names_path(path, real)) {
        return -ENAMETOOLONG;
    }
    int rv = to_trash(real, &trash);
    return rv != 0 ? rv : journal(REMOVED, path, NULL, trash);
}

int disk_names_remove_directory(const char *path)
{
    char real[DISK_PATH_MAX];
    struct dirent *entry;
    unsigned found = 0;

    DIR *dir = disk_names_path(path, real) ? opendir(real) : NULL;
    if (dir == NULL) {
        return -errno;
    }
    while ((entry = readdir(dir)) != NULL) {
        found += 1;
    }
    (void)closedir(dir);                                     /* nothing was written through it */
    return found > 2 ? -ENOTEMPTY : disk_names_remove(path); /* "." and ".." */
}

/* Gives `path` another beginning when it is `from` or below it. False: no memory. */
static bool carry(char **path, const char *from, const char *to)
{
    size_t size = strlen(from);

    if (*path == NULL || strncmp(*path, from, size) != 0 ||
        ((*path)[size] != '/' && (*path)[size] != '\0')) {
        return true;
    }
    char *carried = NULL;
    if (asprintf(&carried, "%s%s", to, *path + size) < 0) {
        return false;
    }
    free(*path);
    *path = carried;
    return true;
}

static void carry_all(size_t below, const char *from, const char *to)
{
    for (size_t i = 0; i < below; i++) {
        (void)carry(&entries[i].path, from, to); /* without memory this one cannot be undone */
        (void)carry(&entries[i].from, from, to);
    }
}

int disk_names_rename(const char *from, const char *to)
{
    char real_from[DISK_PATH_MAX];
    char real_to[DISK_PATH_MAX];
    struct stat status;
    uint64_t trash = 0;

    if (!disk_names_path(from, real_from) || !disk_names_path(to, real_to)) {
        return -ENAMETOOLONG;
    }
    if (lstat(real_from, &status) != 0) {
        return -errno;
    }
    bool is_directory = S_ISDIR(status.st_mode);
    int rv = lstat(real_to, &status) == 0 ? to_trash(real_to, &trash) : 0;
    if (rv != 0) {
        return rv;
    }
    if (rename(real_from, real_to) != 0) {
        return -errno;
    }
    if (is_directory) {
        carry_all(count, from, to);
    }
    return journal(RENAMED, to, from, trash);
}

static bool is_in(const char *path, const char *directory)
{
    size_t size = (size_t)(strrchr(path, '/') - path);

    if (size == 0) {
        return strcmp(directory, "/") == 0;
    }
    return strlen(directory) == size && strncmp(path, directory, size) == 0;
}

/* A directory that is durably gone has taken the names in it along. */
static void forget_below(const char *path, size_t before)
{
    size_t size = strlen(path);

    for (size_t i = 0; i < before; i++) {
        if (strncmp(entries[i].path, path, size) == 0 && entries[i].path[size] == '/') {
            entries[i].is_over = true;
        }
    }
}

void disk_names_synced(const char *directory)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        if (is_in(entries[i].path, directory) && !entries[i].is_over) {
            entries[i].is_over = true;
            if (entries[i].change == REMOVED) {
                forget_below(entries[i].path, i);
            }
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (entries[i].is_over) {
            entry_deinit(&entries[i]);
        } else {
            entries[kept] = entries[i];
            kept += 1;
        }
    }
    count = kept;
}

/* ---- power cut ------------------------------------------------------------------------------- */

/* A name that something else has by now keeps it: then the older change cannot be undone. */
static bool move_unless_taken(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0;
}

static bool undo(size_t at)
{
    struct entry *entry = &entries[at];
    char real[DISK_PATH_MAX];
    char other[DISK_PATH_MAX];

    if (!disk_names_path(entry->path, real)) {
        return false;
    }
    if (entry->change == CREATED) {
        uint64_t number;
        if (to_trash(real, &number) != 0) {
            return false;
        }
        trash_path(number, other);
        remove_tree(other);
        return true;
    }
    if (entry->change == RENAMED) {
        if (!disk_names_path(entry->from, other) || !move_unless_taken(real, other)) {
            return false;
        }
        carry_all(at, entry->path, entry->from);
    }
    if (entry->trash != 0) {
        trash_path(entry->trash, other);
        return move_unless_taken(other, real);
    }
    return true;
}

/* Of the changes of each directory the first ones are kept: how many is drawn when the newest is
 * met, so that a directory comes back before the names in it do. */
void disk_names_cut(struct sp_rand *rand, struct disk_cut_counts *counts)
{
    counts->names += count;
    while (count > 0) {
        char directory[DISK_PATH_MAX];
        const char *newest = entries[count - 1].path;
        size_t size = (size_t)(strrchr(newest, '/') - newest);
        size_t in_directory = 0;

        (void)snprintf(directory, sizeof directory, "%.*s", (int)(size == 0 ? 1 : size), newest);
        for (size_t i = 0; i < count; i++) {
            in_directory += is_in(entries[i].path, directory);
        }
        uint64_t lost = counts->is_total ? in_directory : sp_rand_below(rand, in_directory + 1);
        for (size_t i = count; i > 0 && lost > 0; i--) {
            if (is_in(entries[i - 1].path, directory)) {
                counts->names_undone += undo(i - 1);
                entries[i - 1].is_over = true;
                lost -= 1;
            }
        }
        disk_names_synced(directory);
    }
}
