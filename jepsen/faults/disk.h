/* The disk of jepsen-disk: what a machine would have after its power failed.
 *
 *   BACKING/cur/    what the filesystem shows: every call goes through to it
 *   BACKING/trash/  files that were removed or replaced by names which are not durable yet
 *
 * What is not durable is kept as undo records:
 *   data    per file the old content of each 512-byte sector written since its last sync, and its
 *           size at that sync (disk_data.c)
 *   names   one journal of creations, removals and renames; syncing a directory makes those of that
 *           directory durable, nothing else does (disk_names.c)
 * A power cut decides by its seed what had reached the disk all the same, and undoes the rest: of a
 * file's sectors each is kept, lost or torn, what was cut off a file comes back as a whole or not;
 * of a directory's changes a prefix is kept.
 *
 * Faults besides (disk_faults.c): errors, delays, no space, bits that flip.
 * Everything here is called under the one lock of disk.c, except where a comment says otherwise. */
#ifndef JEPSEN_DISK_H
#define JEPSEN_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/rand.h"

enum {
    DISK_PATH_MAX = 1024,
    SECTOR_SIZE = 512,
    SECTORS_PENDING_MAX = 1 << 20, /* of a file; then it is synced by itself: 512 MiB */
};

/* ---- data ------------------------------------------------------------------------------------ */

struct disk_cut_counts {
    bool is_total;  /* set by the caller: everything that is not durable is lost */
    uint64_t files; /* with something that was not synced */
    uint64_t sectors;
    uint64_t kept;
    uint64_t lost;
    uint64_t torn;
    uint64_t names; /* changes of directories that were not synced */
    uint64_t names_undone;
};

/* Before `size` bytes are written at `position` of the file behind `fd` (readable and writable).
 * Returns 0 or -errno; then the write must not happen. */
int disk_data_before_write(int fd, uint64_t position, size_t size);

/* Before the file's size becomes `size`. */
int disk_data_before_truncate(int fd, uint64_t size);

/* The file's content and size are durable from now on. */
void disk_data_synced(int fd);

/* Whether the sector at `position` holds something that is not durable. */
bool disk_data_is_pending(int fd, uint64_t position);

/* The power fails: undoes what is lost, forgets what is kept. */
void disk_data_cut(struct sp_rand *rand, struct disk_cut_counts *counts);

/* ---- names ----------------------------------------------------------------------------------- */

/* `root` is BACKING, borrowed for ever. Paths below begin with a slash and are relative to cur/. */
void disk_names_init(const char *root);

/* The path below BACKING/cur; false when it does not fit. */
bool disk_names_path(const char *path, char out[DISK_PATH_MAX]);

/* A name was created (by open or mkdir). Returns 0 or -errno. */
int disk_names_created(const char *path);

/* Removes a file, an empty directory, renames a file or a directory. Returns 0 or -errno. */
int disk_names_remove(const char *path);
int disk_names_remove_directory(const char *path);
int disk_names_rename(const char *from, const char *to);

/* The changes of this directory are durable from now on. */
void disk_names_synced(const char *directory);

/* The power fails. */
void disk_names_cut(struct sp_rand *rand, struct disk_cut_counts *counts);

/* ---- faults ---------------------------------------------------------------------------------- */

enum disk_operation {
    DISK_READ,
    DISK_WRITE,
    DISK_SYNC,
    DISK_NAME, /* create, remove, rename, sync of a directory */
    DISK_OPERATIONS
};

void disk_faults_init(void);

/* Waits as long as this operation has to wait now. Called WITHOUT the lock. */
void disk_faults_delay(enum disk_operation operation);

/* The -errno that this operation shall end with, or 0. */
int disk_faults_error(enum disk_operation operation);

/* Takes `size` bytes of what space is left: 0 or -ENOSPC. Gives them back. */
int disk_faults_take_space(uint64_t size);
void disk_faults_give_space(uint64_t size);

/* Bytes that are left, or -1 when the disk is not limited. */
int64_t disk_faults_space(void);

/* A piece was read or overwritten: counts the flipped bits in it; overwritten ones are gone. */
void disk_faults_touched(int fd, uint64_t position, uint64_t size, bool is_write);

/* Whether syncs succeed and make nothing durable. */
bool disk_faults_is_lying(void);

/* Answers `lie`, `fault`, `slow`, `space`, `flip`, `forget` (the flips so far: they stay, and reads
 * of them are not counted any more), `unflip`, `heal` and `stat`; false: it is another request. */
bool disk_faults_answer(const char *request, char *out, size_t out_size);

#endif /* JEPSEN_DISK_H */
