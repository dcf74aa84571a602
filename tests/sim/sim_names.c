/* Names of files on a simulated disk: what a process sees, and which of it is durable. */
#include <string.h>

#include "sim_disk.h"
#include "sim_world.h"

struct pending_name {
    struct sp_list node;
    struct sim_name from;
    struct sim_name to;
    struct sim_inode *inode;
    bool has_from;
    bool has_to;
};

struct sim_entry *sim_directory_find(const struct sim_directory *directory, const char *name)
{
    for (size_t i = 0; i < directory->count; i++) {
        if (strcmp(directory->entries[i].name, name) == 0) {
            return &directory->entries[i];
        }
    }
    return NULL;
}

void sim_directory_put(struct sim_directory *directory, const char *name, struct sim_inode *inode)
{
    struct sim_entry *entry = sim_directory_find(directory, name);
    size_t place = 0;

    if (entry != NULL) {
        entry->inode = inode;
        return;
    }
    if (directory->count == directory->capacity) {
        directory->capacity = directory->capacity == 0 ? 8 : 2 * directory->capacity;
        directory->entries =
            sim_grow(directory->entries, directory->capacity * sizeof directory->entries[0]);
    }
    while (place < directory->count && strcmp(directory->entries[place].name, name) < 0) {
        place += 1;
    }
    memmove(directory->entries + place + 1,
            directory->entries + place,
            (directory->count - place) * sizeof directory->entries[0]);
    memset(&directory->entries[place], 0, sizeof directory->entries[0]);
    memcpy(directory->entries[place].name, name, strlen(name) + 1);
    directory->entries[place].inode = inode;
    directory->count += 1;
}

static void drop_name(struct sim_directory *directory, const char *name)
{
    struct sim_entry *entry = sim_directory_find(directory, name);

    if (entry != NULL) {
        size_t place = (size_t)(entry - directory->entries);
        memmove(entry, entry + 1, (directory->count - place - 1) * sizeof *entry);
        directory->count -= 1;
    }
}

static void apply_durable(const struct pending_name *change)
{
    if (change->has_from) {
        drop_name(&change->from.directory->names_kept, change->from.name);
    }
    if (change->has_to) {
        sim_directory_put(&change->to.directory->names_kept, change->to.name, change->inode);
    }
}

void sim_disk_change_name(struct sim_disk *disk,
                          const struct sim_name *from,
                          const struct sim_name *to,
                          struct sim_inode *inode)
{
    struct pending_name *change = sim_alloc(sizeof *change);

    change->inode = inode;
    if (from != NULL) {
        change->from = *from;
        change->has_from = true;
        drop_name(&from->directory->names, from->name);
    }
    if (to != NULL) {
        change->to = *to;
        change->has_to = true;
        sim_directory_put(&to->directory->names, to->name, inode);
    }
    sp_list_init(&change->node);
    sp_list_append(&disk->pending_names, &change->node);
}

static bool concerns(const struct pending_name *change, const struct sim_inode *directory)
{
    return directory == NULL || (change->has_from && change->from.directory == directory) ||
           (change->has_to && change->to.directory == directory);
}

void sim_disk_sync_names(struct sim_disk *disk, struct sim_inode *directory)
{
    SP_LIST_EACH_SAFE (node, &disk->pending_names) {
        struct pending_name *change = SP_LIST_ENTRY(node, struct pending_name, node);
        if (concerns(change, directory)) {
            apply_durable(change);
            sp_list_remove(&change->node);
            sim_free(change);
        }
    }
}

static bool same_name(const struct sim_name *a, const struct sim_name *b)
{
    return a->directory == b->directory && strcmp(a->name, b->name) == 0;
}

static bool builds_on(const struct pending_name *later, const struct pending_name *lost)
{
    return later->inode == lost->inode ||
           (later->has_from && lost->has_from && same_name(&later->from, &lost->from)) ||
           (later->has_from && lost->has_to && same_name(&later->from, &lost->to)) ||
           (later->has_to && lost->has_from && same_name(&later->to, &lost->from)) ||
           (later->has_to && lost->has_to && same_name(&later->to, &lost->to));
}

static bool keeps_name(const struct pending_name *change,
                       const struct sp_list *lost,
                       enum sim_crash_habit habit)
{
    SP_LIST_EACH (node, lost) {
        if (builds_on(change, SP_LIST_ENTRY(node, struct pending_name, node))) {
            return false;
        }
    }
    return habit != SIM_CRASH_LOSES_ALL &&
           (habit == SIM_CRASH_KEEPS_ALL || sim_one_in(&sim.rand_disk, 2));
}

void sim_names_crash(struct sim_disk *disk, enum sim_crash_habit habit)
{
    struct sp_list lost;

    sp_list_init(&lost);
    while (!sp_list_empty(&disk->pending_names)) {
        struct pending_name *change =
            SP_LIST_ENTRY(disk->pending_names.next, struct pending_name, node);
        sp_list_remove(&change->node);
        if (keeps_name(change, &lost, habit)) {
            apply_durable(change);
            sim_free(change);
        } else {
            sp_list_append(&lost, &change->node);
        }
    }
    while (!sp_list_empty(&lost)) {
        struct pending_name *change = SP_LIST_ENTRY(lost.next, struct pending_name, node);
        sp_list_remove(&change->node);
        sim_free(change);
    }
}
