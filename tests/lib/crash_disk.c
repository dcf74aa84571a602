/* The crashing disk: its nodes and names, and what a crash leaves of them. */
#include "tests/lib/crash_disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/crash_disk_parts.h"

void *crash_realloc(void *pointer, size_t size)
{
    void *memory = realloc(pointer, size > 0 ? size : 1);

    if (memory == NULL) {
        abort();
    }
    return memory;
}

/* ---- names ----------------------------------------------------------------------------------- */

uint32_t crash_names_find(const struct crash_names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->entries[i].name, name) == 0) {
            return names->entries[i].node;
        }
    }
    return CRASH_NONE_NODE;
}

void crash_names_remove(struct crash_names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->entries[i].name, name) == 0) {
            names->count -= 1;
            names->entries[i] = names->entries[names->count];
            return;
        }
    }
}

void crash_names_put(struct crash_names *names, const char *name, uint32_t node)
{
    crash_names_remove(names, name);
    if (names->count == names->capacity) {
        names->capacity = names->capacity == 0 ? 8 : 2 * names->capacity;
        names->entries = crash_realloc(names->entries, names->capacity * sizeof names->entries[0]);
    }
    struct crash_entry *entry = &names->entries[names->count];
    (void)snprintf(entry->name, sizeof entry->name, "%s", name);
    entry->node = node;
    names->count += 1;
}

/* ---- nodes ----------------------------------------------------------------------------------- */

uint32_t crash_node_add(struct crash_disk *disk, bool directory)
{
    if (disk->node_count == disk->node_capacity) {
        disk->node_capacity = disk->node_capacity == 0 ? 64 : 2 * disk->node_capacity;
        disk->nodes = crash_realloc(disk->nodes, disk->node_capacity * sizeof disk->nodes[0]);
    }
    disk->nodes[disk->node_count] = (struct crash_node){ .directory = directory };
    disk->node_count += 1;
    return disk->node_count - 1;
}

void crash_node_reserve(struct crash_node *node, size_t size)
{
    size_t capacity = node->capacity == 0 ? 16 * CRASH_SECTOR_SIZE : node->capacity;

    if (size <= node->capacity) {
        return;
    }
    while (capacity < size) {
        capacity *= 2;
    }
    size_t more = capacity - node->capacity;
    size_t sectors = node->capacity / CRASH_SECTOR_SIZE;
    node->bytes = crash_realloc(node->bytes, capacity);
    node->platter = crash_realloc(node->platter, capacity);
    node->dirty = crash_realloc(node->dirty, capacity / CRASH_SECTOR_SIZE * sizeof node->dirty[0]);
    memset(node->bytes + node->capacity, 0, more);
    memset(node->platter + node->capacity, 0, more);
    memset(node->dirty + sectors, 0, more / CRASH_SECTOR_SIZE * sizeof node->dirty[0]);
    node->capacity = capacity;
}

static void free_node(struct crash_node *node)
{
    free(node->names.entries);
    free(node->kept.entries);
    free(node->bytes);
    free(node->platter);
    free(node->dirty);
}

struct crash_disk *crash_disk_new(void)
{
    struct crash_disk *disk = crash_realloc(NULL, sizeof *disk);

    *disk = (struct crash_disk){ .fail_from = UINT64_MAX };
    (void)crash_node_add(disk, true); /* the root is node 0 */
    return disk;
}

void crash_disk_free(struct crash_disk *disk)
{
    for (uint32_t i = 0; i < disk->node_count; i++) {
        free_node(&disk->nodes[i]);
    }
    free(disk->nodes);
    free(disk->changes);
    free(disk);
}

void crash_disk_set_hook(struct crash_disk *disk, void (*hook)(void *arg), void *arg)
{
    disk->hook = hook;
    disk->hook_arg = arg;
}

uint64_t crash_disk_operations(const struct crash_disk *disk)
{
    return disk->operations;
}

void crash_disk_fail(struct crash_disk *disk, uint64_t from, bool forever, int status)
{
    disk->fail_from = from;
    disk->fail_forever = forever;
    disk->fail_status = status;
}

void crash_disk_damage(struct crash_disk *disk, uint64_t seed)
{
    const struct crash_node *node = &disk->nodes[0];
    struct sp_rand rand;

    sp_rand_init(&rand, seed);
    while (node->directory || node->size == 0) {
        node = &disk->nodes[sp_rand_below(&rand, disk->node_count)];
    }
    size_t position = (size_t)sp_rand_below(&rand, node->size);
    uint8_t change = (uint8_t)(1 + sp_rand_below(&rand, 255));
    node->bytes[position] ^= change;
    node->platter[position] ^= change;
}

bool crash_disk_has_failed(const struct crash_disk *disk)
{
    return disk->has_failed;
}

/* ---- crashing -------------------------------------------------------------------------------- */

void crash_change_keep(struct crash_disk *disk, const struct crash_change *change)
{
    struct crash_names *names = &disk->nodes[change->directory].kept;

    switch (change->kind) {
    case CRASH_ADD:
        crash_names_put(names, change->name, change->node);
        break;
    case CRASH_REMOVE:
        crash_names_remove(names, change->name);
        break;
    case CRASH_MOVE:
        crash_names_remove(names, change->name);
        crash_names_put(&disk->nodes[change->to_directory].kept, change->to_name, change->node);
        break;
    }
}

static bool coin(struct sp_rand *rand)
{
    return sp_rand_below(rand, 2) == 1;
}

/* A size that a file may have when its last one was not synced. */
static size_t torn_size(const struct crash_node *node, struct sp_rand *rand)
{
    size_t low = node->size < node->platter_size ? node->size : node->platter_size;
    size_t high = node->size > node->platter_size ? node->size : node->platter_size;

    switch (sp_rand_below(rand, 4)) {
    case 0:
        return low;
    case 1:
        return low + (size_t)sp_rand_below(rand, high - low + 1);
    default:
        return high;
    }
}

/* Loses power: what the file holds becomes both what is shown and what is durable. */
static void lose_sectors(struct crash_node *node, bool some, struct sp_rand *rand)
{
    size_t size = node->platter_size;

    if (some && coin(rand)) {
        size = torn_size(node, rand);
    }
    for (size_t i = 0; i * CRASH_SECTOR_SIZE < node->capacity; i++) {
        size_t begin = i * CRASH_SECTOR_SIZE;

        if (some && node->dirty[i] && coin(rand)) {
            memcpy(node->platter + begin, node->bytes + begin, CRASH_SECTOR_SIZE);
        }
        node->dirty[i] = false;
    }
    if (node->capacity > 0) {
        memset(node->platter + size, 0, node->capacity - size);
        memcpy(node->bytes, node->platter, node->capacity);
    }
    node->size = size;
    node->platter_size = size;
}

static void lose_names(struct crash_disk *disk, enum crash_kind kind, struct sp_rand *rand)
{
    size_t count = disk->change_count;

    if (kind == CRASH_NONE) {
        count = 0;
    } else if (kind == CRASH_ORDER) {
        count = (size_t)sp_rand_below(rand, count + 1);
    }
    for (size_t i = 0; i < count; i++) {
        if (kind == CRASH_ORDER || coin(rand)) {
            crash_change_keep(disk, &disk->changes[i]);
        }
    }
    disk->change_count = 0;
    for (uint32_t i = 0; i < disk->node_count; i++) {
        struct crash_node *node = &disk->nodes[i];

        node->names.count = 0;
        for (size_t j = 0; j < node->kept.count; j++) {
            crash_names_put(&node->names, node->kept.entries[j].name, node->kept.entries[j].node);
        }
    }
}

static void copy_names(struct crash_names *to, const struct crash_names *from)
{
    *to = (struct crash_names){ NULL, from->count, from->count };
    if (from->count > 0) {
        to->entries = crash_realloc(NULL, from->count * sizeof to->entries[0]);
        memcpy(to->entries, from->entries, from->count * sizeof to->entries[0]);
    }
}

static void copy_node(struct crash_node *to, const struct crash_node *from)
{
    *to = (struct crash_node){ .directory = from->directory };
    copy_names(&to->names, &from->names);
    copy_names(&to->kept, &from->kept);
    if (from->capacity > 0) {
        size_t used = from->size > from->platter_size ? from->size : from->platter_size;

        crash_node_reserve(to, from->capacity);
        memcpy(to->bytes, from->bytes, used);
        memcpy(to->platter, from->platter, used);
        memcpy(to->dirty, from->dirty, from->capacity / CRASH_SECTOR_SIZE * sizeof to->dirty[0]);
    }
    to->size = from->size;
    to->platter_size = from->platter_size;
}

static void mark_names(const struct crash_names *names, bool *used, bool *more)
{
    for (size_t i = 0; i < names->count; i++) {
        if (!used[names->entries[i].node]) {
            used[names->entries[i].node] = true;
            *more = true;
        }
    }
}

/* Which nodes have a name or may get one. */
static bool *find_used(const struct crash_disk *disk)
{
    bool *used = crash_realloc(NULL, disk->node_count * sizeof used[0]);
    bool more = true;

    memset(used, 0, disk->node_count * sizeof used[0]);
    used[0] = true;
    for (size_t i = 0; i < disk->change_count; i++) {
        used[disk->changes[i].node] = true;
    }
    while (more) {
        more = false;
        for (uint32_t i = 0; i < disk->node_count; i++) {
            if (used[i]) {
                mark_names(&disk->nodes[i].names, used, &more);
                mark_names(&disk->nodes[i].kept, used, &more);
            }
        }
    }
    return used;
}

struct crash_disk *
crash_disk_after(const struct crash_disk *disk, enum crash_kind kind, uint64_t seed)
{
    struct crash_disk *after = crash_disk_new();
    struct sp_rand rand;
    bool *used = find_used(disk);

    after->syncs_each = seed % 2 == 1;
    sp_rand_init(&rand, seed);
    while (after->node_count < disk->node_count) {
        (void)crash_node_add(after, false); /* overwritten below */
    }
    for (uint32_t i = 0; i < disk->node_count; i++) {
        if (used[i]) {
            copy_node(&after->nodes[i], &disk->nodes[i]);
        }
    }
    free(used);
    after->changes = crash_realloc(NULL, disk->change_count * sizeof after->changes[0]);
    if (disk->change_count > 0) {
        memcpy(after->changes, disk->changes, disk->change_count * sizeof after->changes[0]);
    }
    after->change_count = disk->change_count;
    after->change_capacity = disk->change_count;
    if (kind != CRASH_KILL) {
        lose_names(after, kind, &rand);
        for (uint32_t i = 0; i < after->node_count; i++) {
            lose_sectors(&after->nodes[i], kind != CRASH_NONE, &rand);
        }
    }
    return after;
}
