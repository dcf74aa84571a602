#include "storage/log_rest.h"

#include <string.h>

#include "base/crc32c.h"
#include "base/mem.h"
#include "spate/error.h"
#include "storage/disk.h"
#include "storage/little_endian.h"
#include "storage/log_state.h"
#include "storage/store_state.h"

#define VERSION 1
#define AT_VERSION 8
#define AT_POINT_SIZE 12
#define AT_RUN 16
#define AT_BASE 24
#define AT_SEGMENT_SIZE 32
#define AT_SINCE 40
#define AT_APPLIED 48
#define AT_POINT 56
#define CRC_SIZE 4

static const uint8_t magic[8] = { 'S', 'P', 'A', 'T', 'E', 'R', 'S', 'T' };

/* ---- the owner's part ------------------------------------------------------------------------ */

bool sp_log_wants_rest(const struct sp_log *log)
{
    return log->segment_count > 0 && log->store->run != 0 &&
           sp_log_newest_segment(log)->size >=
               SP_SEGMENT_HEADER_SIZE + log->segment_bytes / SP_REST_SEGMENT_PART;
}

void sp_log_keep_rest(struct sp_log *log, uint64_t applied, const uint8_t *state, size_t size)
{
    sp_log_forget_rest(log);
    log->rest.image = sp_blob_copy(state, size);
    if (log->rest.image != NULL) {
        log->rest.kept = true;
        log->rest.applied = applied;
        log->rest.state = log->rest.image->bytes;
        log->rest.state_size = size;
    }
}

void sp_log_forget_rest(struct sp_log *log)
{
    sp_blob_unref(log->rest.image);
    log->rest = (struct sp_log_rest){ .image = NULL };
}

uint64_t sp_log_start_index(const struct sp_log *log)
{
    return log->rest.image != NULL ? log->rest.applied : sp_log_checkpoint_index(log);
}

void sp_log_start_state(const struct sp_log *log, const uint8_t **out_bytes, size_t *out_size)
{
    if (log->rest.image == NULL) {
        sp_log_checkpoint_state(log, out_bytes, out_size);
        return;
    }
    *out_bytes = log->rest.state;
    *out_size = log->rest.state_size;
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static void put_header(uint8_t *bytes, const struct sp_log *log, size_t point_size)
{
    const struct sp_log_segment *newest = sp_log_newest_segment(log);

    memcpy(bytes, magic, sizeof magic);
    sp_put_u32(bytes + AT_VERSION, VERSION);
    sp_put_u32(bytes + AT_POINT_SIZE, (uint32_t)point_size);
    sp_put_u64(bytes + AT_RUN, log->store->run);
    sp_put_u64(bytes + AT_BASE, newest->before.index + 1);
    sp_put_u64(bytes + AT_SEGMENT_SIZE, newest->size);
    sp_put_u64(bytes + AT_SINCE, (uint64_t)newest->since_ms);
    sp_put_u64(bytes + AT_APPLIED, log->rest.applied);
}

static struct sp_blob *
join(const struct sp_log *log, const struct sp_blob *point, const struct sp_blob *index)
{
    size_t size = AT_POINT + point->size + index->size + CRC_SIZE;
    struct sp_blob *image = size <= SP_CHECKPOINT_BYTES_MAX ? sp_blob_new(size) : NULL;

    if (image == NULL) {
        return NULL;
    }
    put_header(image->bytes, log, point->size);
    memcpy(image->bytes + AT_POINT, point->bytes, point->size);
    memcpy(image->bytes + AT_POINT + point->size, index->bytes, index->size);
    sp_put_u32(image->bytes + size - CRC_SIZE, sp_crc32c(0, image->bytes, size - CRC_SIZE));
    image->size = size;
    return image;
}

/* All of the log is in files, durably, and they are as memory says. */
static bool is_settled(const struct sp_log *log)
{
    return log->segment_count > 0 && log->last.index > 0 &&
           log->persisted_index == log->last.index && log->assigned_index == log->last.index &&
           !log->truncate_wanted && log->install_wanted == NULL && !log->trim_wanted &&
           sp_log_newest_segment(log)->on_disk && sp_log_newest_segment(log)->waiting_bytes == 0;
}

struct sp_blob *sp_log_rest_encode(const struct sp_log *log)
{
    struct sp_blob *image = NULL;

    if (!log->rest.kept || !sp_log_wants_rest(log) || !is_settled(log) ||
        log->rest.applied > log->last.index || log->rest.applied < sp_log_checkpoint_index(log)) {
        return NULL;
    }
    const struct sp_log_segment *newest = sp_log_newest_segment(log);
    const struct sp_offset_index_facts facts = {
        .group_id = log->group_id,
        .base = newest->before.index + 1,
        .segment_size = newest->size,
        .max_timestamp_ms = newest->max_timestamp_ms,
        .chain = log->last.chain,
    };
    struct sp_blob *index = sp_offset_index_encode(&newest->offset_index, &facts);
    struct sp_blob *point = sp_log_history_checkpoint(
        &log->history, log->group_id, &log->last, log->rest.state, log->rest.state_size);
    if (index != NULL && point != NULL) {
        image = join(log, point, index);
    }
    sp_blob_unref(index);
    sp_blob_unref(point);
    return image;
}

static bool parts_agree(const struct sp_log_rest_file *rest,
                        const struct sp_offset_index_facts *facts)
{
    return facts->group_id == rest->point.group_id && facts->base == rest->base &&
           facts->segment_size == rest->segment_size && facts->chain == rest->point.point.chain &&
           rest->applied <= rest->point.point.index && rest->base <= rest->point.point.index + 1 &&
           rest->base > 0 && rest->segment_size >= SP_SEGMENT_HEADER_SIZE;
}

int sp_log_rest_decode(const uint8_t *bytes, size_t size, struct sp_log_rest_file *out)
{
    struct sp_offset_index_facts facts;

    if (size < AT_POINT + CRC_SIZE || memcmp(bytes, magic, sizeof magic) != 0 ||
        sp_get_u32(bytes + AT_VERSION) != VERSION ||
        sp_get_u32(bytes + size - CRC_SIZE) != sp_crc32c(0, bytes, size - CRC_SIZE)) {
        return SPATE_ERR_CORRUPT;
    }
    size_t left = size - AT_POINT - CRC_SIZE;
    size_t point_size = sp_get_u32(bytes + AT_POINT_SIZE);
    if (point_size > left) {
        return SPATE_ERR_CORRUPT;
    }
    struct sp_log_rest_file rest = {
        .run = sp_get_u64(bytes + AT_RUN),
        .base = sp_get_u64(bytes + AT_BASE),
        .segment_size = sp_get_u64(bytes + AT_SEGMENT_SIZE),
        .since_ms = (int64_t)sp_get_u64(bytes + AT_SINCE),
        .applied = sp_get_u64(bytes + AT_APPLIED),
    };
    int rv = sp_checkpoint_decode(bytes + AT_POINT, point_size, &rest.point);
    if (rv == 0) {
        rv = sp_offset_index_decode(
            bytes + AT_POINT + point_size, left - point_size, &rest.index, &facts);
    }
    if (rv == 0 && !parts_agree(&rest, &facts)) {
        sp_offset_index_clear(&rest.index);
        rv = SPATE_ERR_CORRUPT;
    }
    if (rv != 0) {
        return rv;
    }
    rest.max_timestamp_ms = facts.max_timestamp_ms;
    *out = rest;
    return 0;
}

void sp_log_rest_save(const char *directory, const struct sp_blob *image)
{
    char path[SP_DISK_PATH_SIZE];
    const struct sp_iovec piece = { image->bytes, image->size };
    struct sp_file *file = NULL;

    sp_disk_path(path, directory, SP_REST_NAME);
    if (sp_disk_remove(path) == 0 && sp_file_open(path, SP_FILE_CREATE, &file) == 0) {
        (void)sp_file_write(file, 0, &piece, 1); /* a part of it has no right checksum */
        sp_file_close(file);
    }
}
