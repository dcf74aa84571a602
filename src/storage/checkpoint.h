/* A checkpoint: the machine's state after base-1 of a segment, with what the log knew there.
 *
 * The file BASE.checkpoint, which is also what a leader sends to a replica below its log, little-
 * endian:
 *   off size  field
 *     0    8  magic             "SPATECKP"
 *     8    4  version           1
 *    12    4  0
 *    16    8  group_id
 *    24    8  index             base - 1, at least 1
 *    32    8  term              of that frame
 *    40    8  end_offset        offset of the next batch
 *    48    8  append_time_ms    of that frame
 *    56    4  chain             of that frame
 *    60    4  epoch_count       at least 1
 *    64    4  membership_count
 *    68    4  0
 *    72    8  state_size
 *    80  16n  epochs: first index 8, term 8; ascending
 *     .    .  memberships, ascending: index 8, size 4, 0 4, bytes, zeros up to a multiple of 8
 *     .    .  state
 *     .    4  crc               crc32c of all bytes before */
#ifndef SP_STORAGE_CHECKPOINT_H
#define SP_STORAGE_CHECKPOINT_H

#include <stdint.h>

#include "base/buf.h"
#include "storage/segment.h"

#define SP_CHECKPOINT_SUFFIX "checkpoint"
#define SP_CHECKPOINT_BYTES_MAX (1024 * 1024 * 1024) /* refuses a file that cannot be one */

struct sp_epoch {
    uint64_t first_index;
    uint64_t term;
};

/* A decoded checkpoint; its pointers stand inside the image. */
struct sp_checkpoint {
    uint64_t group_id;
    struct sp_log_point point;
    uint32_t epoch_count;
    uint32_t membership_count;
    const uint8_t *epochs;      /* read with sp_checkpoint_epoch */
    const uint8_t *memberships; /* read with sp_checkpoint_membership */
    const uint8_t *state;
    size_t state_size;
};

struct sp_membership {
    uint64_t index;
    uint32_t size;
    const uint8_t *bytes;
};

/* The image of a checkpoint in a new blob of the caller's, or NULL when memory is out. */
struct sp_blob *sp_checkpoint_encode(uint64_t group_id,
                                     const struct sp_log_point *point,
                                     const struct sp_epoch *epochs,
                                     uint32_t epoch_count,
                                     const struct sp_membership *memberships,
                                     uint32_t membership_count,
                                     const uint8_t *state,
                                     size_t state_size);

/* Checks an image from disk or network whole. SPATE_ERR_CORRUPT. */
int sp_checkpoint_decode(const uint8_t *bytes, size_t size, struct sp_checkpoint *out_checkpoint);

/* The n-th epoch, from the oldest. */
struct sp_epoch sp_checkpoint_epoch(const struct sp_checkpoint *checkpoint, uint32_t n);

/* The membership at *cursor (begin with checkpoint->memberships), which moves to the next one. */
struct sp_membership sp_checkpoint_membership(const uint8_t **cursor);

/* Reads and checks the file at `path`, blocking; the caller owns *out_image, into which
 * *out_checkpoint points. SPATE_ERR_CORRUPT, also of another group's; SPATE_ERR_NOT_FOUND,
 * SPATE_ERR_IO, SPATE_ERR_NOMEM. */
int sp_checkpoint_load(const char *path,
                       uint64_t group_id,
                       struct sp_blob **out_image,
                       struct sp_checkpoint *out_checkpoint);

/* Writes the file of the checkpoint in `image` durably, blocking. Errors of sp_disk_replace. */
int sp_checkpoint_save(const char *directory, uint64_t base, const struct sp_blob *image);

#endif /* SP_STORAGE_CHECKPOINT_H */
