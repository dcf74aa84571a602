#include "storage/disk.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "spate/error.h"

#define BASE_DIGITS 20 /* of the largest 64-bit number */

void sp_disk_path(char *out_path, const char *directory, const char *name)
{
    int size = snprintf(out_path, SP_DISK_PATH_SIZE, "%s/%s", directory, name);

    SP_ASSERT(size > 0 && size < SP_DISK_PATH_SIZE);
}

void sp_disk_base_path(char *out_path, const char *directory, uint64_t base, const char *suffix)
{
    int size = snprintf(out_path,
                        SP_DISK_PATH_SIZE,
                        "%s/%0*llu.%s",
                        directory,
                        BASE_DIGITS,
                        (unsigned long long)base,
                        suffix);

    SP_ASSERT(size > 0 && size < SP_DISK_PATH_SIZE);
}

bool sp_disk_parse_base(const char *name, const char *suffix, uint64_t *out_base)
{
    uint64_t base = 0;

    for (int i = 0; i < BASE_DIGITS; i++) {
        if (name[i] < '0' || name[i] > '9') {
            return false;
        }
        uint64_t digit = (uint64_t)(name[i] - '0');
        if (base > (UINT64_MAX - digit) / 10) {
            return false;
        }
        base = base * 10 + digit;
    }
    if (name[BASE_DIGITS] != '.' || strcmp(name + BASE_DIGITS + 1, suffix) != 0) {
        return false;
    }
    *out_base = base;
    return true;
}

int sp_disk_remove(const char *path)
{
    int rv = sp_path_remove(path);

    return rv == SPATE_ERR_NOT_FOUND ? 0 : rv;
}

static int write_new(const char *path, const struct sp_iovec *pieces, unsigned count)
{
    struct sp_file *file = NULL;
    int rv = sp_disk_remove(path);

    if (rv == 0) {
        rv = sp_file_open(path, SP_FILE_CREATE, &file);
    }
    if (rv == 0) {
        rv = sp_file_write(file, 0, pieces, count);
    }
    if (rv == 0) {
        rv = sp_file_sync(file);
    }
    sp_file_close(file);
    return rv;
}

int sp_disk_replace(const char *directory,
                    const char *path,
                    const struct sp_iovec *pieces,
                    unsigned count)
{
    char temporary[SP_DISK_PATH_SIZE + 4];
    int size = snprintf(temporary, sizeof temporary, "%s.tmp", path);

    SP_ASSERT(size > 0 && size < (int)sizeof temporary);
    int rv = write_new(temporary, pieces, count);
    if (rv == 0) {
        rv = sp_path_rename(temporary, path);
    }
    if (rv == 0) {
        rv = sp_dir_sync(directory);
    }
    if (rv == SPATE_ERR_NO_SPACE) {
        (void)sp_disk_remove(temporary); /* others need its room; else the next opening does it */
    }
    return rv;
}

static int
read_open_file(struct sp_file *file, uint64_t size_max, uint8_t **out_bytes, size_t *out_size)
{
    uint64_t size = 0;
    size_t size_read = 0;
    int rv = sp_file_size(file, &size);

    if (rv != 0) {
        return rv;
    }
    if (size > size_max) {
        return SPATE_ERR_TOO_LARGE;
    }
    uint8_t *bytes = sp_mem_alloc(size > 0 ? (size_t)size : 1);
    if (bytes == NULL) {
        return SPATE_ERR_NOMEM;
    }
    rv = sp_file_read(file, 0, bytes, (size_t)size, &size_read);
    if (rv != 0) {
        sp_mem_free(bytes);
        return rv;
    }
    *out_bytes = bytes;
    *out_size = size_read;
    return 0;
}

int sp_disk_read_all(const char *path, uint64_t size_max, uint8_t **out_bytes, size_t *out_size)
{
    struct sp_file *file = NULL;
    int rv = sp_file_open(path, SP_FILE_READ, &file);

    if (rv != 0) {
        return rv;
    }
    rv = read_open_file(file, size_max, out_bytes, out_size);
    sp_file_close(file);
    return rv;
}
