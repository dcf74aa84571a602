/* Names of the files of a data directory, and replacing a file as a whole.
 *
 * All functions block: worker jobs, or the loop thread before the node serves. */
#ifndef SP_STORAGE_DISK_H
#define SP_STORAGE_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "io/file.h"

/* Longest path that storage makes, NUL included; a longer data directory is refused at opening. */
#define SP_DISK_PATH_SIZE 4096

/* DIRECTORY/NAME into `out_path` of SP_DISK_PATH_SIZE bytes; the caller has checked the length. */
void sp_disk_path(char *out_path, const char *directory, const char *name);

/* The same for the file of a segment: DIRECTORY/BASE.SUFFIX with the base in 20 digits. */
void sp_disk_base_path(char *out_path, const char *directory, uint64_t base, const char *suffix);

/* Reads BASE and SUFFIX of a file name made above; false for other names. */
bool sp_disk_parse_base(const char *name, const char *suffix, uint64_t *out_base);

/* Makes `path` hold exactly `pieces`, atomically and durably: writes and syncs PATH.tmp, renames
 * it, syncs the directory. Errors of io/file.h; after SPATE_ERR_NO_SPACE all is as before, and it
 * may be called again. */
int sp_disk_replace(const char *directory,
                    const char *path,
                    const struct sp_iovec *pieces,
                    unsigned count);

/* Reads a whole file of at most `size_max` bytes into new memory that the caller frees.
 * SPATE_ERR_NOT_FOUND, SPATE_ERR_TOO_LARGE, SPATE_ERR_IO, SPATE_ERR_NOMEM. */
int sp_disk_read_all(const char *path, uint64_t size_max, uint8_t **out_bytes, size_t *out_size);

/* Removes a file; one that is missing is fine. The directory is not synced. Errors of io/file.h. */
int sp_disk_remove(const char *path);

#endif /* SP_STORAGE_DISK_H */
