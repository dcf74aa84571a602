#include "storage/spares.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "io/file.h"
#include "spate/error.h"
#include "storage/disk.h"
#include "storage/segment.h"

static int remove_left(void *arg, const char *name)
{
    const struct sp_spares *spares = arg;
    char path[SP_DISK_PATH_SIZE];

    sp_disk_path(path, spares->directory, name);
    return sp_disk_remove(path);
}

int sp_spares_open(struct sp_spares *spares, const char *data_directory, uint64_t bytes_max)
{
    char path[SP_DISK_PATH_SIZE];

    sp_disk_path(path, data_directory, SP_SPARES_DIRECTORY);
    *spares = (struct sp_spares){ .directory = sp_mem_strdup(path), .bytes_max = bytes_max };
    if (spares->directory == NULL) {
        return SPATE_ERR_NOMEM;
    }
    int rv = sp_dir_create(spares->directory);
    return rv == SPATE_ERR_EXISTS ? sp_dir_list(spares->directory, remove_left, spares) : rv;
}

void sp_spares_deinit(struct sp_spares *spares)
{
    sp_mem_free(spares->directory);
    spares->directory = NULL;
}

void sp_spares_path(char *out_path, const char *directory, uint64_t number)
{
    char name[32];

    (void)snprintf(name, sizeof name, "%llu.spare", (unsigned long long)number);
    sp_disk_path(out_path, directory, name);
}

void sp_spares_give_room(struct sp_spares *spares, bool wanted, struct sp_spare_room *out_room)
{
    bool full = !wanted || spares->bytes >= spares->bytes_max;

    *out_room = (struct sp_spare_room){
        .directory = spares->directory,
        .bytes_max = full ? 0 : spares->bytes_max - spares->bytes,
        .first_number = spares->next_number,
    };
    spares->bytes += out_room->bytes_max;
    spares->next_number += SP_SPARES_PER_TRIM;
}

void sp_spares_settle(struct sp_spares *spares, const struct sp_spare_room *room)
{
    SP_ASSERT(room->bytes <= room->bytes_max && spares->bytes >= room->bytes_max);
    spares->bytes -= room->bytes_max;
    for (unsigned i = 0; i < room->count && spares->count < SP_SPARES_MAX; i++) {
        spares->files[spares->count] = room->kept[i];
        spares->count += 1;
        spares->bytes += room->kept[i].size;
    }
}

static int size_of(const char *path, uint64_t *out_size)
{
    struct sp_file *file = NULL;
    int rv = sp_file_open(path, SP_FILE_READ, &file);

    if (rv == 0) {
        rv = sp_file_size(file, out_size);
    }
    sp_file_close(file);
    return rv;
}

int sp_spare_keep(struct sp_spare_room *room, const char *path)
{
    char to[SP_DISK_PATH_SIZE];
    uint64_t size = 0;

    if (room == NULL || room->count == SP_SPARES_PER_TRIM || size_of(path, &size) != 0 ||
        size <= SP_SEGMENT_HEADER_SIZE || size > room->bytes_max - room->bytes) {
        return sp_disk_remove(path);
    }
    uint64_t number = room->first_number + room->count;
    sp_spares_path(to, room->directory, number);
    int rv = sp_path_rename(path, to);
    if (rv == SPATE_ERR_NO_SPACE) {
        return sp_disk_remove(path); /* for its new name */
    }
    if (rv == 0) {
        rv = sp_dir_sync(room->directory); /* both names' directories: the caller syncs the other */
    }
    if (rv == 0) {
        room->kept[room->count] = (struct sp_spare){ number, size };
        room->count += 1;
        room->bytes += size;
    }
    return rv;
}

bool sp_spares_take(struct sp_spares *spares, uint64_t segment_bytes, struct sp_spare *out_spare)
{
    for (unsigned i = 0; i < spares->count; i++) {
        /* What is behind the segment's end is given back when it is finished: not too much. */
        if (spares->files[i].size / 2 <= segment_bytes) {
            *out_spare = spares->files[i];
            spares->count -= 1;
            memmove(&spares->files[i],
                    &spares->files[i + 1],
                    (spares->count - i) * sizeof spares->files[0]);
            spares->bytes -= out_spare->size;
            spares->used += 1;
            return true;
        }
    }
    return false;
}

void sp_spares_drop(struct sp_spares *spares, struct sp_spares_dropped *out_dropped)
{
    out_dropped->directory = spares->directory;
    out_dropped->count = spares->count;
    for (unsigned i = 0; i < spares->count; i++) {
        out_dropped->files[i] = spares->files[i];
        spares->bytes -= spares->files[i].size;
    }
    spares->count = 0;
}

void sp_spares_remove(const struct sp_spares_dropped *dropped)
{
    for (unsigned i = 0; i < dropped->count; i++) {
        char path[SP_DISK_PATH_SIZE];

        sp_spares_path(path, dropped->directory, dropped->files[i].number);
        (void)sp_disk_remove(path); /* else the next start does it */
    }
}
