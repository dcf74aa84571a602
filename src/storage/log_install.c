/* Changing a log's set of files so that a crash in between leaves the old log or the new one.
 *
 * A truncation removes newer segments before it cuts the older one, so that no segment ever stands
 * behind a gap. Cutting a file is not atomic: the system clears the rest of the last block before
 * the new size is durable, and what stands behind that block may come back, with markers that name
 * frames in it. So a truncation is first written down in the file TRUNCATION, and what follows can
 * be repeated:
 *   0  8 magic "SPATECUT"    8  8 base of the segment    16  8 position    24  4 crc of [0, 24)
 * In the same way an install is decided by the rename of its checkpoint to install.checkpoint.
 *
 * A trim removes the oldest segments one after the other, each before its checkpoint: a log never
 * begins with a segment whose checkpoint is gone, and checkpoints below the first segment are what
 * a crash left of a trim. */
#include <string.h>

#include "base/crc32c.h"
#include "base/mem.h"
#include "spate/error.h"
#include "storage/base_list.h"
#include "storage/disk.h"
#include "storage/little_endian.h"
#include "storage/log_state.h"

#define TRUNCATION_SIZE 28
#define TRUNCATION_CRC_AT 24

static const uint8_t truncation_magic[8] = { 'S', 'P', 'A', 'T', 'E', 'C', 'U', 'T' };

/* Collects the bases between two others; the directory lists them in ascending order. */
struct search {
    const char *suffix;
    uint64_t above;
    uint64_t below;
    struct sp_base_list found;
};

static int collect(void *arg, const char *name)
{
    struct search *search = arg;
    uint64_t base = 0;

    if (!sp_disk_parse_base(name, search->suffix, &base) || base <= search->above ||
        base >= search->below) {
        return 0;
    }
    return sp_base_list_add(&search->found, base);
}

static int remove_one(const char *directory, uint64_t base, const char *suffix)
{
    char path[SP_DISK_PATH_SIZE];

    sp_disk_base_path(path, directory, base, suffix);
    return sp_disk_remove(path);
}

/* Removes one segment with its checkpoint and index. The checkpoint goes first, durably, since it
 * proves that the log once reached its segment. */
static int remove_segment(const char *directory, uint64_t base)
{
    int rv = remove_one(directory, base, SP_CHECKPOINT_SUFFIX);

    if (rv == 0) {
        rv = remove_one(directory, base, SP_OFFSET_INDEX_SUFFIX);
    }
    if (rv == 0) {
        rv = sp_dir_sync(directory);
    }
    if (rv == 0) {
        rv = remove_one(directory, base, SP_SEGMENT_SUFFIX);
    }
    return rv == 0 ? sp_dir_sync(directory) : rv;
}

static int remove_above(const char *directory, uint64_t base)
{
    struct search search = { .suffix = SP_SEGMENT_SUFFIX, .above = base, .below = UINT64_MAX };
    int rv = sp_dir_list(directory, collect, &search);

    for (unsigned i = search.found.count; i > 0 && rv == 0; i--) {
        rv = remove_segment(directory, search.found.values[i - 1]);
    }
    sp_base_list_clear(&search.found);
    return rv;
}

/* Removes all files with the suffix below `base`, the oldest first. */
static int remove_below(const char *directory, uint64_t base, const char *suffix)
{
    struct search search = { .suffix = suffix, .below = base };
    int rv = sp_dir_list(directory, collect, &search);

    for (unsigned i = 0; i < search.found.count && rv == 0; i++) {
        rv = remove_one(directory, search.found.values[i], suffix);
    }
    sp_base_list_clear(&search.found);
    return rv;
}

/* The segments themselves, each durably, so that none is ever missing between two others. */
static int let_go_below(const char *directory, uint64_t base, struct sp_spare_room *room)
{
    struct search search = { .suffix = SP_SEGMENT_SUFFIX, .below = base };
    int rv = sp_dir_list(directory, collect, &search);

    for (unsigned i = 0; i < search.found.count && rv == 0; i++) {
        char path[SP_DISK_PATH_SIZE];

        sp_disk_base_path(path, directory, search.found.values[i], SP_SEGMENT_SUFFIX);
        rv = sp_spare_keep(room, path);
        if (rv == 0) {
            rv = sp_dir_sync(directory);
        }
    }
    sp_base_list_clear(&search.found);
    return rv;
}

int sp_log_trim_files(const char *directory, uint64_t base, struct sp_spare_room *room)
{
    int rv = remove_below(directory, base, SP_OFFSET_INDEX_SUFFIX);

    if (rv == 0) {
        rv = let_go_below(directory, base, room);
    }
    if (rv == 0) {
        rv = remove_below(directory, base, SP_CHECKPOINT_SUFFIX);
    }
    return rv == 0 ? sp_dir_sync(directory) : rv;
}

int sp_log_cut_file(const char *directory, uint64_t base, uint64_t position)
{
    char path[SP_DISK_PATH_SIZE];
    struct sp_file *file = NULL;

    sp_disk_base_path(path, directory, base, SP_SEGMENT_SUFFIX);
    int rv = sp_file_open(path, SP_FILE_WRITE, &file);
    if (rv != 0) {
        return rv;
    }
    rv = sp_file_truncate(file, position);
    if (rv == 0) {
        rv = sp_file_sync(file);
    }
    sp_file_close(file);
    return rv;
}

int sp_log_cut_files(const char *directory, uint64_t base, uint64_t position)
{
    int rv = remove_above(directory, base);

    if (rv == 0) {
        rv = remove_one(directory, base, SP_OFFSET_INDEX_SUFFIX);
    }
    return rv == 0 ? sp_log_cut_file(directory, base, position) : rv;
}

static int remove_truncation(const char *directory)
{
    char path[SP_DISK_PATH_SIZE];

    sp_disk_path(path, directory, SP_TRUNCATION_NAME);
    int rv = sp_disk_remove(path);
    return rv == 0 ? sp_dir_sync(directory) : rv;
}

int sp_log_truncate_files(const char *directory, uint64_t base, uint64_t position)
{
    uint8_t bytes[TRUNCATION_SIZE];
    char path[SP_DISK_PATH_SIZE];
    const struct sp_iovec piece = { bytes, sizeof bytes };

    memcpy(bytes, truncation_magic, sizeof truncation_magic);
    sp_put_u64(bytes + 8, base);
    sp_put_u64(bytes + 16, position);
    sp_put_u32(bytes + TRUNCATION_CRC_AT, sp_crc32c(0, bytes, TRUNCATION_CRC_AT));
    sp_disk_path(path, directory, SP_TRUNCATION_NAME);
    int rv = sp_disk_replace(directory, path, &piece, 1);
    if (rv == 0) {
        rv = sp_log_cut_files(directory, base, position);
    }
    /* Durable before anything is written behind the cut: repeated then, it would take that too. */
    return rv == 0 ? remove_truncation(directory) : rv;
}

int sp_log_truncate_finish(const char *directory)
{
    char path[SP_DISK_PATH_SIZE];
    uint8_t *bytes = NULL;
    size_t size = 0;

    sp_disk_path(path, directory, SP_TRUNCATION_NAME);
    int rv = sp_disk_read_all(path, TRUNCATION_SIZE, &bytes, &size);
    if (rv != 0) {
        return rv == SPATE_ERR_TOO_LARGE ? SPATE_ERR_CORRUPT : rv;
    }
    if (size != TRUNCATION_SIZE || memcmp(bytes, truncation_magic, sizeof truncation_magic) != 0 ||
        sp_get_u32(bytes + TRUNCATION_CRC_AT) != sp_crc32c(0, bytes, TRUNCATION_CRC_AT) ||
        sp_get_u64(bytes + 16) < SP_SEGMENT_HEADER_SIZE) {
        rv = SPATE_ERR_CORRUPT;
    }
    if (rv == 0) {
        rv = sp_log_cut_files(directory, sp_get_u64(bytes + 8), sp_get_u64(bytes + 16));
    }
    sp_mem_free(bytes);
    return rv == 0 ? remove_truncation(directory) : rv;
}

static int remove_orphan(void *arg, const char *name)
{
    const char *directory = arg;
    char path[SP_DISK_PATH_SIZE];
    uint64_t base = 0;

    if (!sp_disk_parse_base(name, SP_CHECKPOINT_SUFFIX, &base) &&
        !sp_disk_parse_base(name, SP_OFFSET_INDEX_SUFFIX, &base)) {
        return 0;
    }
    sp_disk_path(path, directory, name);
    return sp_disk_remove(path);
}

int sp_log_install_finish(const char *directory, const struct sp_segment_header *header)
{
    char from[SP_DISK_PATH_SIZE];
    char to[SP_DISK_PATH_SIZE];
    struct sp_file *file = NULL;
    union {
        const char *constant;
        void *arg;
    } where = { .constant = directory };
    int rv = remove_above(directory, 0);

    if (rv == 0) {
        rv = sp_dir_list(directory, remove_orphan, where.arg);
    }
    if (rv == 0) {
        rv = sp_segment_create(directory, header, NULL, 0, &file);
    }
    sp_file_close(file);
    sp_disk_path(from, directory, SP_INSTALL_NAME);
    sp_disk_base_path(to, directory, header->before.index + 1, SP_CHECKPOINT_SUFFIX);
    if (rv == 0) {
        rv = sp_path_rename(from, to);
    }
    return rv == 0 ? sp_dir_sync(directory) : rv;
}

int sp_log_install_files(const char *directory,
                         const struct sp_blob *image,
                         const struct sp_segment_header *header)
{
    char path[SP_DISK_PATH_SIZE];
    const struct sp_iovec piece = { image->bytes, image->size };

    sp_disk_path(path, directory, SP_INSTALL_NAME);
    int rv = sp_disk_replace(directory, path, &piece, 1);
    return rv == 0 ? sp_log_install_finish(directory, header) : rv;
}
