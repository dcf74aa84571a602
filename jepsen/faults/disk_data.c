/* Undo records of file contents: see disk.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/map.h"
#include "disk.h"

struct sector {
    uint64_t number;
    uint8_t *old; /* SECTOR_SIZE bytes, owned; NULL: the file ended before it */
};

/* A file with something that is not durable. */
struct file {
    uint64_t inode;
    int fd;                /* of its own, so that a cut reaches it after it was closed or renamed */
    uint64_t durable_size; /* at its last sync */
    uint64_t cut_size;     /* the smallest since */
    struct sector *sectors; /* ascending */
    size_t count;
    size_t capacity;
};

static struct sp_map *files; /* by inode */

static uint64_t inode_of(int fd, uint64_t *out_size)
{
    struct stat status = { .st_ino = 0 };

    (void)fstat(fd, &status); /* fails only for a descriptor that is not open */
    *out_size = (uint64_t)status.st_size;
    return (uint64_t)status.st_ino;
}

static void file_free(struct file *file)
{
    for (size_t i = 0; i < file->count; i++) {
        free(file->sectors[i].old);
    }
    free(file->sectors);
    (void)close(file->fd); /* what it has to keep is kept */
    free(file);
}

static struct file *file_new(int fd, uint64_t inode, uint64_t size)
{
    struct file *file = calloc(1, sizeof *file);

    if (file == NULL) {
        return NULL;
    }
    file->inode = inode;
    file->durable_size = size;
    file->cut_size = size;
    file->fd = dup(fd);
    if (file->fd < 0 || sp_map_put_u64(files, inode, file) != 0) {
        if (file->fd >= 0) {
            (void)close(file->fd); /* nothing was written through it */
        }
        free(file);
        return NULL;
    }
    return file;
}

/* The record of the file behind `fd`, made when it was clean; NULL: no memory. */
static struct file *file_dirty(int fd)
{
    uint64_t size;
    uint64_t inode = inode_of(fd, &size);

    if (files == NULL) {
        files = sp_map_new();
        if (files == NULL) {
            return NULL;
        }
    }
    struct file *file = sp_map_get_u64(files, inode);
    return file != NULL ? file : file_new(fd, inode, size);
}

static struct file *file_find(int fd)
{
    uint64_t size;

    return files == NULL ? NULL : sp_map_get_u64(files, inode_of(fd, &size));
}

/* The place of the first sector that is not below `number`. */
static size_t lower_bound(const struct file *file, uint64_t number)
{
    size_t low = 0;
    size_t high = file->count;

    if (high > 0 && file->sectors[high - 1].number < number) {
        return high;
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (file->sectors[middle].number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool file_grow(struct file *file)
{
    if (file->count < file->capacity) {
        return true;
    }
    size_t capacity = file->capacity == 0 ? 256 : 2 * file->capacity;
    struct sector *sectors = realloc(file->sectors, capacity * sizeof *sectors);
    if (sectors == NULL) {
        return false;
    }
    file->sectors = sectors;
    file->capacity = capacity;
    return true;
}

/* Saves the sector's content, unless it was saved since the last sync. */
static int save_sector(struct file *file, uint64_t number)
{
    size_t at = lower_bound(file, number);
    uint8_t *old = NULL;

    if (at < file->count && file->sectors[at].number == number) {
        return 0;
    }
    if (number * SECTOR_SIZE < file->durable_size) {
        old = calloc(1, SECTOR_SIZE);
        if (old == NULL || pread(file->fd, old, SECTOR_SIZE, (off_t)(number * SECTOR_SIZE)) < 0) {
            free(old);
            return -EIO;
        }
    }
    if (!file_grow(file)) {
        free(old);
        return -ENOMEM;
    }
    memmove(file->sectors + at + 1, file->sectors + at, (file->count - at) * sizeof *file->sectors);
    file->sectors[at] = (struct sector){ number, old };
    file->count += 1;
    return 0;
}

static int save_range(struct file *file, uint64_t from, uint64_t to)
{
    for (uint64_t number = from / SECTOR_SIZE; number * SECTOR_SIZE < to; number++) {
        int rv = save_sector(file, number);
        if (rv != 0) {
            return rv;
        }
    }
    return 0;
}

int disk_data_before_write(int fd, uint64_t position, size_t size)
{
    struct file *file = file_dirty(fd);

    if (file == NULL) {
        return -ENOMEM;
    }
    int rv = save_range(file, position, position + size);
    if (rv == 0 && file->count > SECTORS_PENDING_MAX) {
        disk_data_synced(fd); /* the kernel writes back by itself, too */
    }
    return rv;
}

int disk_data_before_truncate(int fd, uint64_t size)
{
    struct file *file = file_dirty(fd);

    if (file == NULL) {
        return -ENOMEM;
    }
    int rv = size < file->durable_size ? save_range(file, size, file->durable_size) : 0;
    if (rv == 0 && size < file->cut_size) {
        file->cut_size = size;
    }
    return rv;
}

void disk_data_synced(int fd)
{
    struct file *file = file_find(fd);

    if (file != NULL) {
        (void)sp_map_remove_u64(files, file->inode);
        file_free(file);
    }
}

bool disk_data_is_pending(int fd, uint64_t position)
{
    struct file *file = file_find(fd);

    if (file == NULL) {
        return false;
    }
    size_t at = lower_bound(file, position / SECTOR_SIZE);
    return at < file->count && file->sectors[at].number == position / SECTOR_SIZE;
}

/* ---- power cut ------------------------------------------------------------------------------- */

enum fate {
    LOST,
    KEPT,
    MIXED
}; /* of a sector drawn as MIXED: torn */

/* Puts back the sector's old content from its byte `from` on. */
static void put_back(const struct file *file, const struct sector *sector, size_t from)
{
    static const uint8_t zeros[SECTOR_SIZE];
    const uint8_t *old = sector->old == NULL ? zeros : sector->old;
    off_t position = (off_t)(sector->number * SECTOR_SIZE + from);

    (void)!pwrite(file->fd, old + from, SECTOR_SIZE - from, position);
}

/* What was cut off stays so: of the saved content only what stood before the cut can come back. */
static void forget_cut_off(struct file *file)
{
    for (size_t i = 0; i < file->count; i++) {
        struct sector *sector = &file->sectors[i];
        uint64_t start = sector->number * SECTOR_SIZE;
        if (sector->old != NULL && start + SECTOR_SIZE > file->cut_size) {
            size_t kept = start < file->cut_size ? (size_t)(file->cut_size - start) : 0;
            memset(sector->old + kept, 0, SECTOR_SIZE - kept);
        }
    }
}

/* Draws the fate of one sector. */
static void sector_cut(const struct file *file,
                       const struct sector *sector,
                       enum fate fate,
                       struct sp_rand *rand,
                       struct disk_cut_counts *counts)
{
    if (fate == MIXED) {
        fate = (enum fate)sp_rand_below(rand, 3);
    }
    if (fate == LOST) {
        put_back(file, sector, 0);
        counts->lost += 1;
    } else if (fate == KEPT) {
        counts->kept += 1;
    } else {
        put_back(file, sector, sp_rand_below(rand, SECTOR_SIZE));
        counts->torn += 1;
    }
}

/* The size that had become durable of a file that grew from `old` to `new`. */
static uint64_t size_after(struct sp_rand *rand, enum fate fate, uint64_t old, uint64_t new)
{
    if (fate == MIXED) {
        fate = (enum fate)sp_rand_below(rand, 3);
    }
    if (fate == MIXED) {
        return old + sp_rand_below(rand, new - old + 1);
    }
    return fate == LOST ? old : new;
}

static void file_cut(struct file *file, struct sp_rand *rand, struct disk_cut_counts *counts)
{
    enum {
        DRAWN = 6
    }; /* most are mixed */
    uint64_t drawn = sp_rand_below(rand, DRAWN);
    enum fate fate = drawn < MIXED ? (enum fate)drawn : MIXED;
    uint64_t size;

    fate = counts->is_total ? LOST : fate;
    (void)inode_of(file->fd, &size);
    /* A file is cut off as a whole or not at all. */
    bool comes_back = file->cut_size < file->durable_size &&
                      (fate == LOST || (fate == MIXED && sp_rand_below(rand, 2) == 0));
    if (!comes_back) {
        forget_cut_off(file);
    }
    for (size_t i = 0; i < file->count; i++) {
        const struct sector *sector = &file->sectors[i];
        bool was_cut_off = (sector->number + 1) * SECTOR_SIZE > file->cut_size;
        sector_cut(file, sector, comes_back && was_cut_off ? LOST : fate, rand, counts);
    }
    uint64_t after = comes_back ? file->durable_size : size_after(rand, fate, file->cut_size, size);
    (void)!ftruncate(file->fd, (off_t)after);
    counts->sectors += file->count;
    counts->files += 1;
}

void disk_data_cut(struct sp_rand *rand, struct disk_cut_counts *counts)
{
    struct sp_map_cursor cursor = { .started = 0 };

    if (files == NULL) {
        return;
    }
    for (struct file *file = sp_map_next(files, &cursor); file != NULL;
         file = sp_map_next(files, &cursor)) {
        file_cut(file, rand, counts);
        (void)sp_map_remove_u64(files, file->inode);
        file_free(file);
    }
}
