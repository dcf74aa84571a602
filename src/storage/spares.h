/* Files of segments that retention let go, kept to become new segments: their blocks are found and
 * their pages are warm, so writing them costs less than writing a fresh file (decision 0009).
 *
 *   old segment --renamed, its directory synced--> spares/N --header synced--> new segment, renamed
 *
 * They live for one run: opening the store removes what is there. So it does no harm when a power
 * cut leaves a file under both names. The loop thread gives rooms and spares away; jobs move files.
 * A spare is given only when no directory durably names its file any more. */
#ifndef SP_STORAGE_SPARES_H
#define SP_STORAGE_SPARES_H

#include <stdbool.h>
#include <stdint.h>

#define SP_SPARES_DIRECTORY "spares"
#define SP_SPARES_MAX 64     /* files at once */
#define SP_SPARES_PER_TRIM 4 /* that one trim keeps; it removes the others */

struct sp_spare {
    uint64_t number; /* its name */
    uint64_t size;   /* bytes; 0: no spare */
};

struct sp_spares {
    char *directory;
    uint64_t bytes_max; /* 0: none are kept */
    uint64_t bytes;     /* of the files, and of the rooms that trims have */
    uint64_t next_number;
    uint64_t used; /* that became segments, since the start */
    unsigned count;
    struct sp_spare files[SP_SPARES_MAX];
};

struct sp_spares_dropped {
    const char *directory; /* borrowed */
    unsigned count;
    struct sp_spare files[SP_SPARES_MAX];
};

/* What one trim may keep, and then what it has kept. */
struct sp_spare_room {
    const char *directory; /* borrowed */
    uint64_t bytes_max;
    uint64_t first_number;
    uint64_t bytes;
    unsigned count;
    struct sp_spare kept[SP_SPARES_PER_TRIM];
};

/* Makes the directory in the data directory, or empties it; blocking. Errors of io/file.h, NOMEM.
 * Needs sp_spares_deinit also on failure. */
int sp_spares_open(struct sp_spares *spares, const char *data_directory, uint64_t bytes_max);
void sp_spares_deinit(struct sp_spares *spares);

/* Where the spare of that number lies: SP_DISK_PATH_SIZE bytes. */
void sp_spares_path(char *out_path, const char *directory, uint64_t number);

/* Sets aside as much as may be kept for a trim (nothing unless `wanted`); sp_spares_settle takes
 * what it has kept. */
void sp_spares_give_room(struct sp_spares *spares, bool wanted, struct sp_spare_room *out_room);
void sp_spares_settle(struct sp_spares *spares, const struct sp_spare_room *room);

/* Moves a segment's file into the room, or removes it when it does not fit; its directory is not
 * synced. `room` may be NULL. Blocking, on any thread. Errors of io/file.h. */
int sp_spare_keep(struct sp_spare_room *room, const char *path);

/* Takes all files out, to be removed by sp_spares_remove, which blocks, on any thread. */
void sp_spares_drop(struct sp_spares *spares, struct sp_spares_dropped *out_dropped);
void sp_spares_remove(const struct sp_spares_dropped *dropped);

/* Takes the oldest file for a segment of `segment_bytes` out; false: there is none of about that
 * size. */
bool sp_spares_take(struct sp_spares *spares, uint64_t segment_bytes, struct sp_spare *out_spare);

#endif /* SP_STORAGE_SPARES_H */
