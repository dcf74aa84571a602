/* What a log that closes in good order leaves for the next opening, so that this need not read the
 * newest segment: where the log stands, and the machine's state.
 *
 * The file `rest` in the log's directory, little-endian:
 *   off size  field
 *     0    8  magic            "SPATERST"
 *     8    4  version          1
 *    12    4  point_size       bytes of the second part
 *    16    8  run              of the node that wrote it (sp_store_run)
 *    24    8  base             of the newest segment
 *    32    8  segment_size     of its file
 *    40    8  since_ms         append time of its first frame, or earlier
 *    48    8  applied          the machine's state is the one after this frame
 *    56    .  point            a checkpoint's image (checkpoint.h) at the log's last frame
 *     .    .  offset index     the segment's (offset_index.h)
 *     .    4  crc              crc32c of all bytes before
 *
 * It is not synced: after a power cut it may be missing, torn or old. It counts only when the run
 * that wrote it is the last one before this, the segment's file has that size, and all checksums
 * fit; else the log is read as after a crash. Whoever opens the log removes it first. */
#ifndef SP_STORAGE_LOG_REST_H
#define SP_STORAGE_LOG_REST_H

#include <stdbool.h>

#include "storage/checkpoint.h"
#include "storage/offset_index.h"

#define SP_REST_NAME "rest"

/* Reading a segment of which not even so small a part is filled costs less than this file does. */
#define SP_REST_SEGMENT_PART 256

struct sp_log;

/* The state that the owner of a log keeps for it, and what a file held. */
struct sp_log_rest {
    struct sp_blob *image; /* NULL: there is none */
    bool kept;             /* for the next opening; else it is from the last one */
    uint64_t applied;
    const uint8_t *state; /* in `image` */
    size_t state_size;
};

/* A decoded file; pointers stand inside its image, `index` is owned. */
struct sp_log_rest_file {
    uint64_t run;
    uint64_t base;
    uint64_t segment_size;
    int64_t since_ms;
    uint64_t applied;
    int64_t max_timestamp_ms;
    struct sp_checkpoint point;
    struct sp_offset_index index;
};

/* The image of what `log` leaves, or NULL: its owner has kept no state, something is not durable or
 * not there, memory is out. */
struct sp_blob *sp_log_rest_encode(const struct sp_log *log);

/* SPATE_ERR_CORRUPT, SPATE_ERR_NOMEM; clear out->index after success. */
int sp_log_rest_decode(const uint8_t *bytes, size_t size, struct sp_log_rest_file *out);

/* Writes the file, blocking, without a sync. When that fails there is none that counts. */
void sp_log_rest_save(const char *directory, const struct sp_blob *image);

#endif /* SP_STORAGE_LOG_REST_H */
