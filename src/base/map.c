/* The hash map: uthash behind functions, with its memory and its hash function replaced. */
#include "base/map.h"

#include <stdbool.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "spate/error.h"

/* uthash asks for memory and hashes through these; the default hash relies on implicit
 * fall-through, and the default failure ends the process. */
static unsigned hash_bytes(const void *key, size_t size);

#define HASH_NONFATAL_OOM 1
#define uthash_malloc(size) sp_mem_alloc(size)
#define uthash_free(pointer, size) sp_mem_free(pointer)
#define uthash_nonfatal_oom(entry) (out_of_memory = true)
#define HASH_FUNCTION(key, size, hash) ((hash) = hash_bytes((key), (size)))
#include <uthash.h>

struct entry {
    UT_hash_handle hh;
    void *value;
    size_t size;
    uint8_t key[];
};

struct sp_map {
    struct entry *entries; /* uthash's head: the oldest entry */
};

static uint64_t mix(uint64_t value)
{
    value = (value ^ value >> 32) * 0xd6e8feb86659fd93u;
    value = (value ^ value >> 32) * 0xd6e8feb86659fd93u;
    return value ^ value >> 32;
}

/* Eight bytes a step, each mixed into all bits. The same on every run, as the simulator needs. */
static unsigned hash_bytes(const void *key, size_t size)
{
    const uint8_t *bytes = key;
    uint64_t hash = mix(size);

    while (size > 0) {
        uint64_t word = 0;
        size_t step = size < sizeof word ? size : sizeof word;
        memcpy(&word, bytes, step);
        hash = mix(hash ^ word);
        bytes += step;
        size -= step;
    }
    return (unsigned)hash;
}

static struct entry *find(const struct sp_map *map, const void *key, size_t size)
{
    struct entry *found = NULL;

    HASH_FIND(hh, map->entries, key, size, found);
    return found;
}

struct sp_map *sp_map_new(void)
{
    return sp_mem_calloc(1, sizeof(struct sp_map));
}

void sp_map_free(struct sp_map *map)
{
    if (map == NULL) {
        return;
    }
    struct entry *entry = map->entries;
    HASH_CLEAR(hh, map->entries);
    while (entry != NULL) {
        struct entry *next = entry->hh.next;
        sp_mem_free(entry);
        entry = next;
    }
    sp_mem_free(map);
}

int sp_map_put(struct sp_map *map, const void *key, size_t size, void *value)
{
    bool out_of_memory = false;

    SP_ASSERT(value != NULL);
    SP_ASSERT(size <= UINT32_MAX);
    if (find(map, key, size) != NULL) {
        return SPATE_ERR_EXISTS;
    }
    struct entry *entry = sp_mem_calloc(1, sizeof *entry + size);
    if (entry == NULL) {
        return SPATE_ERR_NOMEM;
    }
    entry->value = value;
    entry->size = size;
    if (size > 0) {
        memcpy(entry->key, key, size);
    }
    HASH_ADD_KEYPTR(hh, map->entries, entry->key, entry->size, entry);
    if (out_of_memory) {
        sp_mem_free(entry);
        return SPATE_ERR_NOMEM;
    }
    return 0;
}

void *sp_map_get(const struct sp_map *map, const void *key, size_t size)
{
    struct entry *entry = find(map, key, size);

    return entry == NULL ? NULL : entry->value;
}

void *sp_map_remove(struct sp_map *map, const void *key, size_t size)
{
    struct entry *entry = find(map, key, size);

    if (entry == NULL) {
        return NULL;
    }
    void *value = entry->value;
    HASH_DELETE(hh, map->entries, entry);
    sp_mem_free(entry);
    return value;
}

size_t sp_map_count(const struct sp_map *map)
{
    return HASH_COUNT(map->entries);
}

int sp_map_put_u64(struct sp_map *map, uint64_t key, void *value)
{
    return sp_map_put(map, &key, sizeof key, value);
}

void *sp_map_get_u64(const struct sp_map *map, uint64_t key)
{
    return sp_map_get(map, &key, sizeof key);
}

void *sp_map_remove_u64(struct sp_map *map, uint64_t key)
{
    return sp_map_remove(map, &key, sizeof key);
}

void *sp_map_next(const struct sp_map *map, struct sp_map_cursor *cursor)
{
    struct entry *entry = cursor->started ? cursor->next : map->entries;

    cursor->started = 1;
    if (entry == NULL) {
        cursor->next = NULL;
        return NULL;
    }
    cursor->next = entry->hh.next;
    return entry->value;
}
