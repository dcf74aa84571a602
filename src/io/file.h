/* Files, blocking and exact: what a storage engine asks of a disk and nothing else.
 *
 * Calls block; they belong in worker jobs, or on the loop thread before a node serves. Reads and
 * writes of one struct sp_file may run on several threads at once; the rest may not. Every error is
 * SPATE_ERR_NOT_FOUND, SPATE_ERR_EXISTS, SPATE_ERR_NO_SPACE, SPATE_ERR_LOCKED, SPATE_ERR_NOMEM or
 * SPATE_ERR_IO (all else). After a failed sync nothing is known about earlier writes: the caller
 * must stop, never sync again (fsyncgate). So a sync that fails is SPATE_ERR_IO whatever the system
 * says, and SPATE_ERR_NO_SPACE is of a call that may be made again, once there is room: nothing is
 * in doubt if all is written again that was written since the last sync of that file. The simulator
 * links a second body of this header. */
#ifndef SP_IO_FILE_H
#define SP_IO_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sp_file;

struct sp_iovec {
    const void *bytes;
    size_t size;
};

enum {
    SP_FILE_READ = 0,   /* existing file, read only */
    SP_FILE_WRITE = 1,  /* existing file, read and write */
    SP_FILE_CREATE = 2, /* new file, read and write; SPATE_ERR_EXISTS when it exists */
};

int sp_file_open(const char *path, int mode, struct sp_file **out_file);

/* Closes without syncing and frees; NULL is fine. */
void sp_file_close(struct sp_file *file);

int sp_file_size(struct sp_file *file, uint64_t *out_size);

/* Reads up to `size` bytes at `position`; *out_size is less only at the end of the file. */
int sp_file_read(
    struct sp_file *file, uint64_t position, void *bytes, size_t size, size_t *out_size);

/* Writes all pieces one after the other at `position`, or fails; a failed write may have written a
 * part. */
int sp_file_write(struct sp_file *file,
                  uint64_t position,
                  const struct sp_iovec *pieces,
                  unsigned count);

/* Makes content and size durable (fdatasync). Fails with SPATE_ERR_IO alone. */
int sp_file_sync(struct sp_file *file);

int sp_file_truncate(struct sp_file *file, uint64_t size);

/* Gives the file's first `size` bytes blocks of the disk that are its own, and makes it so long if
 * it is shorter; what it holds stays. A failure may leave a part. SPATE_ERR_UNSUPPORTED: this file
 * system cannot. */
int sp_file_allocate(struct sp_file *file, uint64_t size);

/* Takes the exclusive lock of an open file for this process. SPATE_ERR_LOCKED. Ends with close. */
int sp_file_lock(struct sp_file *file);

/* Programs with many logs and connections: lets this process have as many files open as the system
 * allows at most, and returns how many that are. */
uint64_t sp_file_raise_limit(void);

/* ---- directories ----------------------------------------------------------------------------- */

/* SPATE_ERR_EXISTS when it exists. Parents are not created. */
int sp_dir_create(const char *path);

/* Makes the names in a directory durable (fsync of the directory). */
int sp_dir_sync(const char *path);

/* Makes durable all that any process has written so far on the file system of `path`: content,
 * sizes, names. SPATE_ERR_UNSUPPORTED: this system does not, or may keep an error to itself; files
 * and directories are to be synced one by one. Takes as long as it takes to write what waits. */
int sp_path_sync_all(const char *path);

/* Calls `each` for every name but "." and "..", sorted by bytes; a non-zero return ends the walk
 * and is returned. */
int sp_dir_list(const char *path, int (*each)(void *arg, const char *name), void *arg);

int sp_path_rename(const char *from, const char *to);

/* Removes a file, or an empty directory. */
int sp_path_remove(const char *path);

/* Removes a directory with the files and directories in it; links are not followed. */
int sp_path_remove_tree(const char *path);

bool sp_path_exists(const char *path);

/* Free bytes that an unprivileged process may still use on the disk of `path`. */
int sp_path_free_bytes(const char *path, uint64_t *out_bytes);

#endif /* SP_IO_FILE_H */
