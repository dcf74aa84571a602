#include "storage/segment.h"

#include <string.h>

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "spate/error.h"
#include "storage/disk.h"
#include "storage/little_endian.h"
#include "storage/slice_read.h"

enum {
    AT_MAGIC = 0,
    AT_VERSION = 8,
    AT_ZERO = 12,
    AT_GROUP_ID = 16,
    AT_BASE = 24,
    AT_TERM = 32,
    AT_END_OFFSET = 40,
    AT_APPEND_TIME = 48,
    AT_MARKER_KEY = 56,
    AT_CHAIN = 64,
    AT_CRC = 68,
};

#define HEADER_USED_SIZE 72
#define VERSION 1
#define CURSOR_BUFFER_BYTES (64 * 1024) /* one read call's worth; grows for a larger frame */

static const uint8_t magic[8] = { 'S', 'P', 'A', 'T', 'E', 'L', 'O', 'G' };

int sp_log_point_follow(const struct sp_log_point *before,
                        uint64_t group_id,
                        const struct sp_log_frame *frame,
                        const uint8_t *bytes,
                        struct sp_log_point *out_after)
{
    int64_t end_offset = before->end_offset;

    if (frame->kind == SP_FRAME_MARKER || frame->group_id != group_id ||
        frame->index != before->index + 1 || frame->term < before->term ||
        frame->append_time_ms < before->append_time_ms ||
        frame->chain != sp_log_frame_chain(bytes, before->chain)) {
        return SPATE_ERR_CORRUPT;
    }
    if (frame->kind == SP_FRAME_BATCH) {
        struct sp_batch_facts facts;

        sp_batch_facts_read(sp_log_frame_payload(bytes), &facts);
        if (facts.base_offset != end_offset) {
            return SPATE_ERR_CORRUPT;
        }
        end_offset += facts.offset_count;
    }
    *out_after = (struct sp_log_point){
        .index = frame->index,
        .term = frame->term,
        .end_offset = end_offset,
        .append_time_ms = frame->append_time_ms,
        .chain = frame->chain,
    };
    return 0;
}

void sp_segment_header_encode(const struct sp_segment_header *header, uint8_t *bytes)
{
    memset(bytes, 0, SP_SEGMENT_HEADER_SIZE);
    memcpy(bytes + AT_MAGIC, magic, sizeof magic);
    sp_put_u32(bytes + AT_VERSION, VERSION);
    sp_put_u64(bytes + AT_GROUP_ID, header->group_id);
    sp_put_u64(bytes + AT_BASE, header->before.index + 1);
    sp_put_u64(bytes + AT_TERM, header->before.term);
    sp_put_u64(bytes + AT_END_OFFSET, (uint64_t)header->before.end_offset);
    sp_put_u64(bytes + AT_APPEND_TIME, (uint64_t)header->before.append_time_ms);
    sp_put_u64(bytes + AT_MARKER_KEY, header->marker_key);
    sp_put_u32(bytes + AT_CHAIN, header->before.chain);
    sp_put_u32(bytes + AT_CRC, sp_crc32c(0, bytes, AT_CRC));
}

int sp_segment_header_decode(const uint8_t *bytes,
                             size_t size,
                             struct sp_segment_header *out_header)
{
    if (size < SP_SEGMENT_HEADER_SIZE || memcmp(bytes + AT_MAGIC, magic, sizeof magic) != 0 ||
        sp_get_u32(bytes + AT_VERSION) != VERSION || sp_get_u32(bytes + AT_ZERO) != 0 ||
        sp_get_u32(bytes + AT_CRC) != sp_crc32c(0, bytes, AT_CRC) ||
        sp_get_u64(bytes + AT_BASE) == 0) {
        return SPATE_ERR_CORRUPT;
    }
    *out_header = (struct sp_segment_header){
        .group_id = sp_get_u64(bytes + AT_GROUP_ID),
        .marker_key = sp_get_u64(bytes + AT_MARKER_KEY),
        .before = {
            .index = sp_get_u64(bytes + AT_BASE) - 1,
            .term = sp_get_u64(bytes + AT_TERM),
            .end_offset = (int64_t)sp_get_u64(bytes + AT_END_OFFSET),
            .append_time_ms = (int64_t)sp_get_u64(bytes + AT_APPEND_TIME),
            .chain = sp_get_u32(bytes + AT_CHAIN),
        },
    };
    return 0;
}

void sp_segment_marker_encode(const struct sp_segment_header *header,
                              uint64_t synced_index,
                              uint64_t synced_term,
                              uint32_t chain,
                              uint8_t *bytes)
{
    struct sp_log_frame marker = {
        .kind = SP_FRAME_MARKER,
        .group_id = header->group_id,
        .term = synced_term,
        .index = synced_index,
        .append_time_ms = (int64_t)header->marker_key,
    };

    sp_log_frame_seal(&marker, chain, bytes);
}

static int write_header(struct sp_file *file, const struct sp_segment_header *header)
{
    uint8_t bytes[SP_SEGMENT_HEADER_SIZE];
    const struct sp_iovec piece = { bytes, sizeof bytes };

    sp_segment_header_encode(header, bytes);
    return sp_file_write(file, 0, &piece, 1);
}

/* Makes the file's name durable and hands it out; closes it when `rv` or that is an error. */
static int
finish_file(const char *directory, int rv, struct sp_file *file, struct sp_file **out_file)
{
    if (rv == 0) {
        rv = sp_dir_sync(directory);
    }
    if (rv != 0) {
        sp_file_close(file);
        return rv;
    }
    *out_file = file;
    return 0;
}

int sp_segment_create(const char *directory,
                      const struct sp_segment_header *header,
                      const struct sp_iovec *pieces,
                      unsigned count,
                      struct sp_file **out_file)
{
    char path[SP_DISK_PATH_SIZE];
    struct sp_file *file = NULL;

    sp_disk_base_path(path, directory, header->before.index + 1, SP_SEGMENT_SUFFIX);
    int rv = sp_file_open(path, SP_FILE_CREATE, &file);
    if (rv != 0) {
        return rv;
    }
    rv = write_header(file, header);
    if (rv == 0 && count > 0) {
        rv = sp_file_write(file, SP_SEGMENT_HEADER_SIZE, pieces, count);
    }
    if (rv == SPATE_ERR_NO_SPACE) { /* ours, and nobody knows of it: without it it is made again */
        rv = sp_disk_remove(path) == 0 ? rv : SPATE_ERR_IO;
    }
    if (rv == 0) {
        rv = sp_file_sync(file);
    }
    return finish_file(directory, rv, file, out_file);
}

int sp_segment_reuse(const char *directory,
                     const struct sp_segment_header *header,
                     const char *spare,
                     struct sp_file **out_file)
{
    char path[SP_DISK_PATH_SIZE];
    struct sp_file *file = NULL;

    sp_disk_base_path(path, directory, header->before.index + 1, SP_SEGMENT_SUFFIX);
    int rv = sp_file_open(spare, SP_FILE_WRITE, &file);
    if (rv != 0) {
        return rv;
    }
    rv = write_header(file, header);
    if (rv == 0) {
        rv = sp_file_sync(file);
    }
    if (rv == 0) {
        /* Only now: no name ever stands for another segment's header. */
        rv = sp_path_rename(spare, path);
    }
    return finish_file(directory, rv, file, out_file);
}

static int read_header(struct sp_file *file,
                       uint64_t base,
                       uint64_t group_id,
                       struct sp_segment_header *out_header)
{
    uint8_t bytes[SP_SEGMENT_HEADER_SIZE];
    struct sp_segment_header header;
    size_t size = 0;
    int rv = sp_file_read(file, 0, bytes, sizeof bytes, &size);

    if (rv == 0) {
        rv = sp_segment_header_decode(bytes, size, &header);
    }
    if (rv != 0) {
        return rv;
    }
    if (header.group_id != group_id || header.before.index + 1 != base) {
        return SPATE_ERR_CORRUPT;
    }
    *out_header = header;
    return 0;
}

int sp_segment_open(const char *directory,
                    uint64_t base,
                    uint64_t group_id,
                    int mode,
                    struct sp_segment_header *out_header,
                    struct sp_file **out_file,
                    uint64_t *out_size)
{
    char path[SP_DISK_PATH_SIZE];
    struct sp_file *file = NULL;

    sp_disk_base_path(path, directory, base, SP_SEGMENT_SUFFIX);
    int rv = sp_file_open(path, mode, &file);
    if (rv != 0) {
        return rv;
    }
    rv = read_header(file, base, group_id, out_header);
    if (rv == 0) {
        rv = sp_file_size(file, out_size);
    }
    if (rv != 0) {
        sp_file_close(file);
        return rv;
    }
    *out_file = file;
    return 0;
}

int sp_segment_peek(const char *path, struct sp_segment_header *out_header)
{
    uint8_t bytes[SP_SEGMENT_HEADER_SIZE];
    struct sp_file *file = NULL;
    size_t size = 0;
    int rv = sp_file_open(path, SP_FILE_READ, &file);

    if (rv == 0) {
        rv = sp_file_read(file, 0, bytes, sizeof bytes, &size);
    }
    sp_file_close(file);
    return rv != 0 ? rv : sp_segment_header_decode(bytes, size, out_header);
}

void sp_segment_cursor_init(struct sp_segment_cursor *cursor,
                            struct sp_file *file,
                            uint64_t position,
                            uint64_t end)
{
    *cursor = (struct sp_segment_cursor){ .file = file, .position = position, .end = end };
}

void sp_segment_cursor_deinit(struct sp_segment_cursor *cursor)
{
    sp_mem_free(cursor->buffer);
    cursor->buffer = NULL;
    sp_blob_unref(cursor->run);
    cursor->run = NULL;
}

static int grow_buffer(struct sp_segment_cursor *cursor, size_t size)
{
    size_t capacity = size > CURSOR_BUFFER_BYTES ? size : CURSOR_BUFFER_BYTES;

    if (capacity <= cursor->buffer_capacity) {
        return 0;
    }
    uint8_t *buffer = sp_mem_realloc(cursor->buffer, capacity);
    if (buffer == NULL) {
        return SPATE_ERR_NOMEM;
    }
    cursor->buffer = buffer;
    cursor->buffer_capacity = capacity;
    return 0;
}

/* Bytes at `position` that are in the buffer. */
static size_t buffered(const struct sp_segment_cursor *cursor)
{
    uint64_t end = cursor->buffer_position + cursor->buffer_size;

    if (cursor->position < cursor->buffer_position || cursor->position >= end) {
        return 0;
    }
    return (size_t)(end - cursor->position);
}

/* Makes `size` bytes at the cursor's position readable, or as many as the file has. */
static int fill(struct sp_segment_cursor *cursor, size_t size, size_t *out_size)
{
    size_t have = buffered(cursor);

    if (have < size) {
        int rv = grow_buffer(cursor, size);
        if (rv != 0) {
            return rv;
        }
        uint64_t left = cursor->end - cursor->position;
        size_t want = left < cursor->buffer_capacity ? (size_t)left : cursor->buffer_capacity;

        cursor->buffer_size = 0;
        rv =
            sp_slice_read(cursor->file, cursor->position, cursor->buffer, want, &have, cursor->job);
        if (rv != 0) {
            return rv;
        }
        cursor->buffer_position = cursor->position;
        cursor->buffer_size = have;
    }
    *out_size = have;
    return 0;
}

/* Bytes at the cursor's position, which `fill` has made readable. */
static const uint8_t *bytes_at(const struct sp_segment_cursor *cursor)
{
    return cursor->buffer + (cursor->position - cursor->buffer_position);
}

/* Begins the run whose header is readable. */
static int begin_run(struct sp_segment_cursor *cursor)
{
    size_t size = 0;
    size_t have = 0;
    int rv = sp_log_run_size(bytes_at(cursor), &size);

    if (rv == 0) {
        rv = fill(cursor, size, &have);
    }
    if (rv == 0) {
        rv = sp_log_run_expand(bytes_at(cursor), have, &cursor->run);
    }
    cursor->record_size = size;
    cursor->run_position = 0;
    return rv == SPATE_ERR_AGAIN ? SPATE_ERR_CORRUPT : rv;
}

/* Gives out the next frame of the run. */
static int next_of_run(struct sp_segment_cursor *cursor,
                       struct sp_log_frame *out_frame,
                       const uint8_t **out_bytes,
                       uint64_t *out_position)
{
    *out_bytes = cursor->run->bytes + cursor->run_position;
    *out_position = cursor->position;
    cursor->run_position += SP_LOG_RUN_FRAME_SIZE;
    if (cursor->run_position == cursor->run->size) {
        cursor->position += cursor->record_size;
    }
    return sp_log_frame_decode(*out_bytes, SP_LOG_RUN_FRAME_SIZE, out_frame);
}

static int next_frame(struct sp_segment_cursor *cursor,
                      struct sp_log_frame *out_frame,
                      const uint8_t **out_bytes,
                      uint64_t *out_position)
{
    struct sp_log_frame frame;
    size_t have = 0;

    if (sp_log_frame_decode(bytes_at(cursor), SP_LOG_FRAME_HEADER_SIZE, &frame) != 0) {
        return SPATE_ERR_CORRUPT;
    }
    int rv = fill(cursor, sp_log_frame_size(frame.length), &have);
    if (rv != 0) {
        return rv;
    }
    if (sp_log_frame_verify(bytes_at(cursor), have, &frame) != 0) {
        return SPATE_ERR_CORRUPT;
    }
    *out_frame = frame;
    *out_bytes = bytes_at(cursor);
    *out_position = cursor->position;
    cursor->record_size = sp_log_frame_size(frame.length);
    cursor->position += cursor->record_size;
    return 0;
}

int sp_segment_cursor_next(struct sp_segment_cursor *cursor,
                           struct sp_log_frame *out_frame,
                           const uint8_t **out_bytes,
                           uint64_t *out_position)
{
    size_t have = 0;

    if (cursor->run != NULL && cursor->run_position < cursor->run->size) {
        return next_of_run(cursor, out_frame, out_bytes, out_position);
    }
    sp_blob_unref(cursor->run);
    cursor->run = NULL;
    if (cursor->position >= cursor->end) {
        return SPATE_ERR_NOT_FOUND;
    }
    int rv = fill(cursor, SP_LOG_FRAME_HEADER_SIZE, &have);
    if (rv != 0) {
        return rv;
    }
    if (have < SP_LOG_FRAME_HEADER_SIZE) {
        return SPATE_ERR_CORRUPT;
    }
    if (!sp_log_run_begins(bytes_at(cursor))) {
        return next_frame(cursor, out_frame, out_bytes, out_position);
    }
    rv = begin_run(cursor);
    return rv != 0 ? rv : next_of_run(cursor, out_frame, out_bytes, out_position);
}

static bool is_zeros(const uint8_t *bytes, size_t size)
{
    return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

static void search_bytes(const uint8_t *bytes,
                         size_t size,
                         uint64_t group_id,
                         uint64_t marker_key,
                         struct sp_marker_search *search)
{
    if (is_zeros(bytes, size)) {
        return;
    }
    search->zeros = false;
    for (size_t i = 0; i + SP_LOG_FRAME_HEADER_SIZE <= size; i += SP_LOG_FRAME_ALIGNMENT) {
        struct sp_log_frame frame;

        if (bytes[i] != SP_LOG_FRAME_VERSION || bytes[i + 1] != SP_FRAME_MARKER ||
            sp_log_frame_verify(bytes + i, SP_LOG_FRAME_HEADER_SIZE, &frame) != 0) {
            continue;
        }
        if (frame.group_id != group_id ||
            (marker_key != 0 && (uint64_t)frame.append_time_ms != marker_key)) {
            search->others += 1;
            continue;
        }
        search->count += 1;
        search->synced_index =
            frame.index > search->synced_index ? frame.index : search->synced_index;
    }
}

int sp_segment_find_markers(struct sp_file *file,
                            uint64_t position,
                            uint64_t group_id,
                            uint64_t marker_key,
                            struct sp_marker_search *out_search)
{
    struct sp_marker_search search = { .zeros = true };
    size_t size = 0;
    int rv = 0;
    uint8_t *buffer = sp_mem_alloc(CURSOR_BUFFER_BYTES);

    if (buffer == NULL) {
        return SPATE_ERR_NOMEM;
    }
    position -= position % SP_LOG_FRAME_ALIGNMENT;
    do {
        rv = sp_file_read(file, position, buffer, CURSOR_BUFFER_BYTES, &size);
        if (rv == 0) {
            search_bytes(buffer, size, group_id, marker_key, &search);
            /* A marker that straddles the end of the buffer is seen whole in the next one. */
            position += CURSOR_BUFFER_BYTES - SP_LOG_FRAME_HEADER_SIZE + SP_LOG_FRAME_ALIGNMENT;
        }
    } while (rv == 0 && size == CURSOR_BUFFER_BYTES);
    sp_mem_free(buffer);
    if (rv == 0) {
        *out_search = search;
    }
    return rv;
}
