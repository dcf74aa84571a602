/* A table from numbers to rows: open addressing, linear probing, removal by shifting back. */
#include <stdio.h>
#include <string.h>

#include "history.h"

struct entry {
    uint64_t key;
    uint32_t value;
    bool used;
};

struct jep_map {
    struct entry *entries;
    size_t mask;
    size_t count;
};

enum {
    ENTRIES_MIN = 1024,
};

void *jep_memory(size_t count, size_t size)
{
    void *memory = calloc(count == 0 ? 1 : count, size);

    if (memory == NULL) {
        fprintf(stderr, "jepsen-check: no memory for %zu times %zu bytes\n", count, size);
        exit(2);
    }
    return memory;
}

void *jep_memory_grow(void *memory, size_t count, size_t size)
{
    void *grown = reallocarray(memory, count, size);

    if (grown == NULL) {
        fprintf(stderr, "jepsen-check: no memory for %zu times %zu bytes\n", count, size);
        exit(2);
    }
    return grown;
}

static size_t home(const struct jep_map *map, uint64_t key)
{
    key *= 0x9e3779b97f4a7c15u;
    return (size_t)(key ^ key >> 29) & map->mask;
}

struct jep_map *jep_map_new(void)
{
    struct jep_map *map = jep_memory(1, sizeof *map);

    map->mask = ENTRIES_MIN - 1;
    map->entries = jep_memory(ENTRIES_MIN, sizeof *map->entries);
    return map;
}

static struct entry *find(const struct jep_map *map, uint64_t key)
{
    size_t at = home(map, key);

    while (map->entries[at].used && map->entries[at].key != key) {
        at = (at + 1) & map->mask;
    }
    return &map->entries[at];
}

static void grow(struct jep_map *map)
{
    struct entry *old = map->entries;
    size_t old_mask = map->mask;

    map->mask = 2 * old_mask + 1;
    map->entries = jep_memory(map->mask + 1, sizeof *map->entries);
    for (size_t i = 0; i <= old_mask; i++) {
        if (old[i].used) {
            *find(map, old[i].key) = old[i];
        }
    }
    free(old);
}

uint32_t *jep_map_at(struct jep_map *map, uint64_t key)
{
    struct entry *entry = find(map, key);

    if (!entry->used) {
        if (2 * map->count > map->mask) {
            grow(map);
            entry = find(map, key);
        }
        *entry = (struct entry){ .key = key, .value = JEP_NONE, .used = true };
        map->count += 1;
    }
    return &entry->value;
}

void jep_map_remove(struct jep_map *map, uint64_t key)
{
    struct entry *entry = find(map, key);

    if (!entry->used) {
        return;
    }
    entry->used = false;
    map->count -= 1;
    size_t hole = (size_t)(entry - map->entries);
    for (size_t at = (hole + 1) & map->mask; map->entries[at].used; at = (at + 1) & map->mask) {
        size_t wanted = home(map, map->entries[at].key);
        if (((at - wanted) & map->mask) >= ((at - hole) & map->mask)) {
            map->entries[hole] = map->entries[at];
            map->entries[at].used = false;
            hole = at;
        }
    }
}

void jep_map_free(struct jep_map *map)
{
    if (map != NULL) {
        free(map->entries);
        free(map);
    }
}
