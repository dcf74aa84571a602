/* What the files of the crashing disk share. Included only by crash_disk*.c. */
#ifndef SP_TESTS_LIB_CRASH_DISK_PARTS_H
#define SP_TESTS_LIB_CRASH_DISK_PARTS_H

#include <stddef.h>

#include "base/rand.h"
#include "tests/lib/crash_disk.h"

#define CRASH_SECTOR_SIZE 512
#define CRASH_NAME_SIZE 64
#define CRASH_NONE_NODE UINT32_MAX

struct crash_entry {
    char name[CRASH_NAME_SIZE];
    uint32_t node;
};

struct crash_names {
    struct crash_entry *entries;
    size_t count;
    size_t capacity;
};

/* A file or a directory. */
struct crash_node {
    bool directory;
    struct crash_names names; /* as the system shows them */
    struct crash_names kept;  /* as the platter holds them */
    uint8_t *bytes;           /* the file's content, zeros behind `size` up to `capacity` */
    size_t size;
    uint8_t *platter; /* of the same capacity, zeros behind platter_size */
    size_t platter_size;
    size_t capacity; /* a multiple of the sector size */
    bool *dirty;     /* for each sector: it was written and not synced */
};

enum crash_change_kind {
    CRASH_ADD,
    CRASH_REMOVE,
    CRASH_MOVE,
};

/* A change of names that is not durable. */
struct crash_change {
    enum crash_change_kind kind;
    uint32_t directory;
    uint32_t to_directory; /* of a move; else the same */
    uint32_t node;
    char name[CRASH_NAME_SIZE];
    char to_name[CRASH_NAME_SIZE];
};

struct crash_disk {
    struct crash_node *nodes; /* the first is the root */
    uint32_t node_count;
    uint32_t node_capacity;
    struct crash_change *changes; /* oldest first */
    size_t change_count;
    size_t change_capacity;
    void (*hook)(void *arg);
    void *hook_arg;
    bool in_hook;
    uint64_t operations;
    uint64_t fail_from; /* UINT64_MAX: never */
    bool fail_forever;
    bool has_failed;
    int fail_status;
    bool syncs_each;         /* it cannot be synced as a whole */
    uint64_t capacity_bytes; /* 0: more than enough */
};

/* realloc that never fails. */
void *crash_realloc(void *pointer, size_t size);

uint32_t crash_node_add(struct crash_disk *disk, bool directory);

uint32_t crash_names_find(const struct crash_names *names, const char *name);
void crash_names_put(struct crash_names *names, const char *name, uint32_t node);
void crash_names_remove(struct crash_names *names, const char *name);

/* Makes a file's arrays large enough for `size` bytes. */
void crash_node_reserve(struct crash_node *node, size_t size);

/* Does a change to what the platter holds. */
void crash_change_keep(struct crash_disk *disk, const struct crash_change *change);

#endif /* SP_TESTS_LIB_CRASH_DISK_PARTS_H */
