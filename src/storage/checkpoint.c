#include "storage/checkpoint.h"

#include <stdbool.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/mem.h"
#include "spate/error.h"
#include "storage/disk.h"
#include "storage/little_endian.h"

enum {
    AT_MAGIC = 0,
    AT_VERSION = 8,
    AT_ZERO = 12,
    AT_GROUP_ID = 16,
    AT_INDEX = 24,
    AT_TERM = 32,
    AT_END_OFFSET = 40,
    AT_APPEND_TIME = 48,
    AT_CHAIN = 56,
    AT_EPOCH_COUNT = 60,
    AT_MEMBERSHIP_COUNT = 64,
    AT_ZERO_2 = 68,
    AT_STATE_SIZE = 72,
    AT_EPOCHS = 80,
};

#define VERSION 1
#define EPOCH_SIZE 16
#define MEMBERSHIP_HEADER_SIZE 16
#define CRC_SIZE 4

static const uint8_t magic[8] = { 'S', 'P', 'A', 'T', 'E', 'C', 'K', 'P' };

static size_t padded(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

static void put_header(uint8_t *bytes, uint64_t group_id, const struct sp_log_point *point)
{
    memcpy(bytes + AT_MAGIC, magic, sizeof magic);
    sp_put_u32(bytes + AT_VERSION, VERSION);
    sp_put_u32(bytes + AT_ZERO, 0);
    sp_put_u64(bytes + AT_GROUP_ID, group_id);
    sp_put_u64(bytes + AT_INDEX, point->index);
    sp_put_u64(bytes + AT_TERM, point->term);
    sp_put_u64(bytes + AT_END_OFFSET, (uint64_t)point->end_offset);
    sp_put_u64(bytes + AT_APPEND_TIME, (uint64_t)point->append_time_ms);
    sp_put_u32(bytes + AT_CHAIN, point->chain);
    sp_put_u32(bytes + AT_ZERO_2, 0);
}

static uint8_t *put_membership(uint8_t *bytes, const struct sp_membership *membership)
{
    sp_put_u64(bytes, membership->index);
    sp_put_u32(bytes + 8, membership->size);
    sp_put_u32(bytes + 12, 0);
    bytes += MEMBERSHIP_HEADER_SIZE;
    memset(bytes, 0, padded(membership->size));
    if (membership->size > 0) {
        memcpy(bytes, membership->bytes, membership->size);
    }
    return bytes + padded(membership->size);
}

struct sp_blob *sp_checkpoint_encode(uint64_t group_id,
                                     const struct sp_log_point *point,
                                     const struct sp_epoch *epochs,
                                     uint32_t epoch_count,
                                     const struct sp_membership *memberships,
                                     uint32_t membership_count,
                                     const uint8_t *state,
                                     size_t state_size)
{
    size_t size = AT_EPOCHS + (size_t)epoch_count * EPOCH_SIZE + state_size + CRC_SIZE;

    for (uint32_t i = 0; i < membership_count; i++) {
        size += MEMBERSHIP_HEADER_SIZE + padded(memberships[i].size);
    }
    struct sp_blob *image = sp_blob_new(size);
    if (image == NULL) {
        return NULL;
    }
    put_header(image->bytes, group_id, point);
    sp_put_u32(image->bytes + AT_EPOCH_COUNT, epoch_count);
    sp_put_u32(image->bytes + AT_MEMBERSHIP_COUNT, membership_count);
    sp_put_u64(image->bytes + AT_STATE_SIZE, state_size);
    uint8_t *next = image->bytes + AT_EPOCHS;
    for (uint32_t i = 0; i < epoch_count; i++) {
        sp_put_u64(next, epochs[i].first_index);
        sp_put_u64(next + 8, epochs[i].term);
        next += EPOCH_SIZE;
    }
    for (uint32_t i = 0; i < membership_count; i++) {
        next = put_membership(next, &memberships[i]);
    }
    if (state_size > 0) {
        memcpy(next, state, state_size);
    }
    sp_put_u32(next + state_size, sp_crc32c(0, image->bytes, size - CRC_SIZE));
    return image;
}

struct sp_epoch sp_checkpoint_epoch(const struct sp_checkpoint *checkpoint, uint32_t n)
{
    const uint8_t *bytes = checkpoint->epochs + (size_t)n * EPOCH_SIZE;

    return (struct sp_epoch){ sp_get_u64(bytes), sp_get_u64(bytes + 8) };
}

struct sp_membership sp_checkpoint_membership(const uint8_t **cursor)
{
    const uint8_t *bytes = *cursor;
    struct sp_membership membership = {
        .index = sp_get_u64(bytes),
        .size = sp_get_u32(bytes + 8),
        .bytes = bytes + MEMBERSHIP_HEADER_SIZE,
    };

    *cursor = bytes + MEMBERSHIP_HEADER_SIZE + padded(membership.size);
    return membership;
}

/* Ascending, and the last one is the checkpoint's own term. */
static bool epochs_are_sound(const struct sp_checkpoint *checkpoint)
{
    struct sp_epoch last = { 0, 0 };

    for (uint32_t i = 0; i < checkpoint->epoch_count; i++) {
        struct sp_epoch epoch = sp_checkpoint_epoch(checkpoint, i);

        if (epoch.first_index <= last.first_index || epoch.term <= last.term) {
            return false;
        }
        last = epoch;
    }
    return last.first_index <= checkpoint->point.index && last.term == checkpoint->point.term;
}

/* Walks the memberships, which may take `size` bytes together; sets where they end. */
static bool
memberships_are_sound(const struct sp_checkpoint *checkpoint, size_t size, size_t *out_used)
{
    size_t used = 0;
    uint64_t last = 0;

    for (uint32_t i = 0; i < checkpoint->membership_count; i++) {
        if (size - used < MEMBERSHIP_HEADER_SIZE) {
            return false;
        }
        const uint8_t *bytes = checkpoint->memberships + used;
        const uint8_t *cursor = bytes;
        uint32_t length = sp_get_u32(bytes + 8);

        used += MEMBERSHIP_HEADER_SIZE;
        if (size - used < padded(length)) {
            return false;
        }
        used += padded(length);
        uint64_t index = sp_checkpoint_membership(&cursor).index;
        if (index <= last || index > checkpoint->point.index) {
            return false;
        }
        last = index;
    }
    *out_used = used;
    return true;
}

static void get_header(const uint8_t *bytes, struct sp_checkpoint *out_checkpoint)
{
    *out_checkpoint = (struct sp_checkpoint){
        .group_id = sp_get_u64(bytes + AT_GROUP_ID),
        .point = {
            .index = sp_get_u64(bytes + AT_INDEX),
            .term = sp_get_u64(bytes + AT_TERM),
            .end_offset = (int64_t)sp_get_u64(bytes + AT_END_OFFSET),
            .append_time_ms = (int64_t)sp_get_u64(bytes + AT_APPEND_TIME),
            .chain = sp_get_u32(bytes + AT_CHAIN),
        },
        .epoch_count = sp_get_u32(bytes + AT_EPOCH_COUNT),
        .membership_count = sp_get_u32(bytes + AT_MEMBERSHIP_COUNT),
        .epochs = bytes + AT_EPOCHS,
    };
}

static bool envelope_is_sound(const uint8_t *bytes, size_t size)
{
    return size >= AT_EPOCHS + CRC_SIZE && memcmp(bytes + AT_MAGIC, magic, sizeof magic) == 0 &&
           sp_get_u32(bytes + AT_VERSION) == VERSION && sp_get_u32(bytes + AT_ZERO) == 0 &&
           sp_get_u32(bytes + AT_ZERO_2) == 0 &&
           sp_get_u32(bytes + size - CRC_SIZE) == sp_crc32c(0, bytes, size - CRC_SIZE);
}

int sp_checkpoint_decode(const uint8_t *bytes, size_t size, struct sp_checkpoint *out_checkpoint)
{
    struct sp_checkpoint checkpoint;
    size_t used = 0;

    if (!envelope_is_sound(bytes, size)) {
        return SPATE_ERR_CORRUPT;
    }
    get_header(bytes, &checkpoint);
    size_t body = size - AT_EPOCHS - CRC_SIZE;
    if (checkpoint.point.index == 0 || checkpoint.point.index == UINT64_MAX ||
        checkpoint.point.end_offset < 0 || checkpoint.epoch_count == 0 ||
        checkpoint.epoch_count > body / EPOCH_SIZE || !epochs_are_sound(&checkpoint)) {
        return SPATE_ERR_CORRUPT;
    }
    body -= (size_t)checkpoint.epoch_count * EPOCH_SIZE;
    checkpoint.memberships = checkpoint.epochs + (size_t)checkpoint.epoch_count * EPOCH_SIZE;
    if (!memberships_are_sound(&checkpoint, body, &used) ||
        sp_get_u64(bytes + AT_STATE_SIZE) != body - used) {
        return SPATE_ERR_CORRUPT;
    }
    checkpoint.state = checkpoint.memberships + used;
    checkpoint.state_size = body - used;
    *out_checkpoint = checkpoint;
    return 0;
}

int sp_checkpoint_load(const char *path,
                       uint64_t group_id,
                       struct sp_blob **out_image,
                       struct sp_checkpoint *out_checkpoint)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    int rv = sp_disk_read_all(path, SP_CHECKPOINT_BYTES_MAX, &bytes, &size);

    if (rv != 0) {
        return rv == SPATE_ERR_TOO_LARGE ? SPATE_ERR_CORRUPT : rv;
    }
    struct sp_blob *image = sp_blob_copy(bytes, size);
    sp_mem_free(bytes);
    if (image == NULL) {
        return SPATE_ERR_NOMEM;
    }
    struct sp_checkpoint checkpoint;
    rv = sp_checkpoint_decode(image->bytes, image->size, &checkpoint);
    if (rv == 0 && checkpoint.group_id != group_id) {
        rv = SPATE_ERR_CORRUPT;
    }
    if (rv != 0) {
        sp_blob_unref(image);
        return rv;
    }
    *out_image = image;
    *out_checkpoint = checkpoint;
    return 0;
}

int sp_checkpoint_save(const char *directory, uint64_t base, const struct sp_blob *image)
{
    char path[SP_DISK_PATH_SIZE];
    const struct sp_iovec piece = { image->bytes, image->size };

    sp_disk_base_path(path, directory, base, SP_CHECKPOINT_SUFFIX);
    return sp_disk_replace(directory, path, &piece, 1);
}
