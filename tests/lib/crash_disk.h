/* A disk in memory that can lose power: a second body of io/file.h for tests of storage.
 *
 *   file:       what the system shows | what the platter holds, and which sectors differ
 *   directory:  what the system shows | what the platter holds, and which changes are on their way
 *
 * A sync carries one file's sectors and size, or one directory's names, to the platter and nothing
 * else: a synced file whose name was not synced is lost. Losing power keeps any subset of what was
 * not synced, sector by sector and name by name. One disk at a time is in use (crash_disk_use). One
 * thread only. */
#ifndef SP_TESTS_LIB_CRASH_DISK_H
#define SP_TESTS_LIB_CRASH_DISK_H

#include <stdbool.h>
#include <stdint.h>

struct crash_disk;

enum crash_kind {
    CRASH_KILL,  /* the process dies, the system lives: nothing is lost, nothing more is durable */
    CRASH_NONE,  /* power is lost, and nothing that was not synced is there */
    CRASH_SOME,  /* power is lost, and any part of it is there */
    CRASH_ORDER, /* the same, but changes of names are there up to some moment, as in a journal */
    CRASH_KINDS
};

/* An empty disk. Aborts when memory is out, as all functions here. */
struct crash_disk *crash_disk_new(void);

void crash_disk_free(struct crash_disk *disk);

/* The disk that io/file.h works on from now on. */
void crash_disk_use(struct crash_disk *disk);

/* What is found after a crash: a new disk, which can be synced as a whole or cannot. Equal seeds
 * find the same. */
struct crash_disk *
crash_disk_after(const struct crash_disk *disk, enum crash_kind kind, uint64_t seed);

/* `hook` is called before every operation that changes anything or makes it durable. */
void crash_disk_set_hook(struct crash_disk *disk, void (*hook)(void *arg), void *arg);

/* Such operations so far. */
uint64_t crash_disk_operations(const struct crash_disk *disk);

/* Lets the operation of number `from` (0: the first) and, with `forever`, all behind it fail with
 * `status`. A write that fails has written a part; a sync that fails makes the system forget that
 * the sectors are to be written. */
void crash_disk_fail(struct crash_disk *disk, uint64_t from, bool forever, int status);

/* From now on so much is free, and writes that find no space fail; files count by their size. */
void crash_disk_set_free(struct crash_disk *disk, uint64_t free_bytes);

/* Changes one byte of some file for good. */
void crash_disk_damage(struct crash_disk *disk, uint64_t seed);

/* Whether an operation has failed that way. */
bool crash_disk_has_failed(const struct crash_disk *disk);

#endif /* SP_TESTS_LIB_CRASH_DISK_H */
