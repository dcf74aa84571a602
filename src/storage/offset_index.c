#include "storage/offset_index.h"

#include <stdbool.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/limits.h"
#include "base/mem.h"
#include "spate/error.h"
#include "storage/disk.h"
#include "storage/little_endian.h"
#include "storage/segment.h"

enum {
    AT_MAGIC = 0,
    AT_VERSION = 8,
    AT_COUNT = 12,
    AT_GROUP_ID = 16,
    AT_BASE = 24,
    AT_SEGMENT_SIZE = 32,
    AT_MAX_TIMESTAMP = 40,
    AT_CHAIN = 48,
    AT_ZERO = 52,
    AT_ENTRIES = 56,
};

#define VERSION 1
#define ENTRY_SIZE 32
#define CRC_SIZE 4
#define FILE_BYTES_MAX (64 * 1024 * 1024) /* entries of a segment of 128 GiB */
#define FIRST_CAPACITY 4

static const uint8_t magic[8] = { 'S', 'P', 'A', 'T', 'E', 'I', 'D', 'X' };

void sp_offset_index_clear(struct sp_offset_index *index)
{
    sp_mem_free(index->entries);
    *index = (struct sp_offset_index){ .entries = NULL };
}

static bool grow(struct sp_offset_index *index)
{
    if (index->count < index->capacity) {
        return true;
    }
    uint32_t capacity = index->capacity == 0 ? FIRST_CAPACITY : 2 * index->capacity;
    void *entries = sp_mem_realloc(index->entries, capacity * sizeof index->entries[0]);
    if (entries == NULL) {
        return false;
    }
    index->entries = entries;
    index->capacity = capacity;
    return true;
}

void sp_offset_index_note(struct sp_offset_index *index, const struct sp_offset_index_entry *entry)
{
    uint64_t last = SP_SEGMENT_HEADER_SIZE;

    if (index->count > 0) {
        last = index->entries[index->count - 1].position;
    }
    if (entry->position - last >= SP_INDEX_INTERVAL_BYTES && grow(index)) {
        index->entries[index->count] = *entry;
        index->count += 1;
    }
}

void sp_offset_index_cut(struct sp_offset_index *index, uint64_t raft_index)
{
    while (index->count > 0 && index->entries[index->count - 1].index >= raft_index) {
        index->count -= 1;
    }
}

/* The key by which entries are searched, as a function, so that there is one binary search. */
typedef bool (*begins_before)(const struct sp_offset_index_entry *entry, int64_t key);

static bool index_at_most(const struct sp_offset_index_entry *entry, int64_t key)
{
    return entry->index <= (uint64_t)key;
}

static bool offset_at_most(const struct sp_offset_index_entry *entry, int64_t key)
{
    return entry->offset <= key;
}

static bool time_below(const struct sp_offset_index_entry *entry, int64_t key)
{
    return entry->max_timestamp_before < key;
}

static const struct sp_offset_index_entry *
last_that(const struct sp_offset_index *index, begins_before holds, int64_t key)
{
    uint32_t low = 0;
    uint32_t high = index->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (holds(&index->entries[middle], key)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low == 0 ? NULL : &index->entries[low - 1];
}

const struct sp_offset_index_entry *sp_offset_index_by_index(const struct sp_offset_index *index,
                                                             uint64_t raft_index)
{
    return last_that(index, index_at_most, (int64_t)raft_index);
}

const struct sp_offset_index_entry *sp_offset_index_by_offset(const struct sp_offset_index *index,
                                                              int64_t offset)
{
    return last_that(index, offset_at_most, offset);
}

const struct sp_offset_index_entry *sp_offset_index_by_time(const struct sp_offset_index *index,
                                                            int64_t timestamp_ms)
{
    return last_that(index, time_below, timestamp_ms);
}

struct sp_blob *sp_offset_index_encode(const struct sp_offset_index *index,
                                       const struct sp_offset_index_facts *facts)
{
    size_t end = AT_ENTRIES + (size_t)index->count * ENTRY_SIZE;
    struct sp_blob *blob = sp_blob_new(end + CRC_SIZE);

    if (blob == NULL) {
        return NULL;
    }
    uint8_t *bytes = blob->bytes;
    memcpy(bytes + AT_MAGIC, magic, sizeof magic);
    sp_put_u32(bytes + AT_VERSION, VERSION);
    sp_put_u32(bytes + AT_COUNT, index->count);
    sp_put_u64(bytes + AT_GROUP_ID, facts->group_id);
    sp_put_u64(bytes + AT_BASE, facts->base);
    sp_put_u64(bytes + AT_SEGMENT_SIZE, facts->segment_size);
    sp_put_u64(bytes + AT_MAX_TIMESTAMP, (uint64_t)facts->max_timestamp_ms);
    sp_put_u32(bytes + AT_CHAIN, facts->chain);
    sp_put_u32(bytes + AT_ZERO, 0);
    for (uint32_t i = 0; i < index->count; i++) {
        uint8_t *entry = bytes + AT_ENTRIES + (size_t)i * ENTRY_SIZE;

        sp_put_u64(entry, index->entries[i].index);
        sp_put_u64(entry + 8, index->entries[i].position);
        sp_put_u64(entry + 16, (uint64_t)index->entries[i].offset);
        sp_put_u64(entry + 24, (uint64_t)index->entries[i].max_timestamp_before);
    }
    sp_put_u32(bytes + end, sp_crc32c(0, bytes, end));
    return blob;
}

static int decode_entries(const uint8_t *bytes, uint32_t count, struct sp_offset_index *out_index)
{
    struct sp_offset_index_entry *entries = sp_mem_calloc(count > 0 ? count : 1, sizeof entries[0]);

    if (entries == NULL) {
        return SPATE_ERR_NOMEM;
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *entry = bytes + (size_t)i * ENTRY_SIZE;

        entries[i] = (struct sp_offset_index_entry){
            .index = sp_get_u64(entry),
            .position = sp_get_u64(entry + 8),
            .offset = (int64_t)sp_get_u64(entry + 16),
            .max_timestamp_before = (int64_t)sp_get_u64(entry + 24),
        };
    }
    *out_index = (struct sp_offset_index){ entries, count, count > 0 ? count : 1 };
    return 0;
}

int sp_offset_index_decode(const uint8_t *bytes,
                           size_t size,
                           struct sp_offset_index *out_index,
                           struct sp_offset_index_facts *out_facts)
{
    if (size < AT_ENTRIES + CRC_SIZE || memcmp(bytes + AT_MAGIC, magic, sizeof magic) != 0 ||
        sp_get_u32(bytes + AT_VERSION) != VERSION || sp_get_u32(bytes + AT_ZERO) != 0) {
        return SPATE_ERR_CORRUPT;
    }
    size_t end = size - CRC_SIZE;
    uint32_t count = sp_get_u32(bytes + AT_COUNT);
    if (end != AT_ENTRIES + (uint64_t)count * ENTRY_SIZE ||
        sp_get_u32(bytes + end) != sp_crc32c(0, bytes, end)) {
        return SPATE_ERR_CORRUPT;
    }
    int rv = decode_entries(bytes + AT_ENTRIES, count, out_index);
    if (rv != 0) {
        return rv;
    }
    *out_facts = (struct sp_offset_index_facts){
        .group_id = sp_get_u64(bytes + AT_GROUP_ID),
        .base = sp_get_u64(bytes + AT_BASE),
        .segment_size = sp_get_u64(bytes + AT_SEGMENT_SIZE),
        .max_timestamp_ms = (int64_t)sp_get_u64(bytes + AT_MAX_TIMESTAMP),
        .chain = sp_get_u32(bytes + AT_CHAIN),
    };
    return 0;
}

int sp_offset_index_load(const char *directory,
                         struct sp_offset_index_facts *facts,
                         struct sp_offset_index *out_index)
{
    char path[SP_DISK_PATH_SIZE];
    uint8_t *bytes = NULL;
    size_t size = 0;
    struct sp_offset_index index;
    struct sp_offset_index_facts found;

    sp_disk_base_path(path, directory, facts->base, SP_OFFSET_INDEX_SUFFIX);
    int rv = sp_disk_read_all(path, FILE_BYTES_MAX, &bytes, &size);
    if (rv != 0) {
        return rv == SPATE_ERR_TOO_LARGE ? SPATE_ERR_CORRUPT : rv;
    }
    rv = sp_offset_index_decode(bytes, size, &index, &found);
    sp_mem_free(bytes);
    if (rv != 0) {
        return rv;
    }
    if (found.group_id != facts->group_id || found.base != facts->base ||
        found.segment_size != facts->segment_size || found.chain != facts->chain) {
        sp_offset_index_clear(&index);
        return SPATE_ERR_CORRUPT;
    }
    facts->max_timestamp_ms = found.max_timestamp_ms;
    *out_index = index;
    return 0;
}

int sp_offset_index_save(const char *directory, uint64_t base, const uint8_t *bytes, size_t size)
{
    char path[SP_DISK_PATH_SIZE];
    struct sp_file *file = NULL;
    const struct sp_iovec piece = { bytes, size };

    sp_disk_base_path(path, directory, base, SP_OFFSET_INDEX_SUFFIX);
    int rv = sp_disk_remove(path);
    if (rv == 0) {
        rv = sp_file_open(path, SP_FILE_CREATE, &file);
    }
    if (rv == 0) {
        rv = sp_file_write(file, 0, &piece, 1);
    }
    sp_file_close(file);
    return rv;
}
