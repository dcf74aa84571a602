/* Simulated disks: what a process sees, and what a power cut leaves.
 *
 *   write --> volatile bytes (page cache) --sync--> durable bytes
 *                 |                                     |
 *       survive the process's death          survive the loss of power, together with
 *                                            whatever pending sectors chance keeps or tears
 *
 * Sectors of 512 bytes are pending from write to sync. At a power cut each pending sector is kept,
 * lost or torn on its own, sizes and truncations likewise, across all files in any order. Names
 * become durable by sp_dir_sync of their directory alone; pending name changes are kept or lost,
 * but a change that builds on a lost one is lost too. A rename is kept or lost as a whole. */
#ifndef SP_SIM_DISK_H
#define SP_SIM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "base/list.h"

#define SIM_SECTOR_SIZE 512u
#define SIM_NAME_SIZE 64u
#define SIM_DISK_BYTES (1024ull * 1024 * 1024)

struct sim_process;
struct sim_inode;

struct sim_entry {
    char name[SIM_NAME_SIZE];
    struct sim_inode *inode;
};

struct sim_directory {
    struct sim_entry *entries; /* sorted by name */
    size_t count;
    size_t capacity;
};

struct sim_bytes {
    uint8_t *bytes;
    uint64_t size;
    uint64_t capacity;
};

/* A file or a directory. Inodes live until the world ends. */
struct sim_inode {
    uint64_t number;
    bool is_directory;
    bool locked;
    bool flipped; /* a bit of it was flipped */

    struct sim_bytes seen; /* file: volatile content */
    struct sim_bytes kept; /* file: durable content */
    uint8_t *dirty;        /* file: one byte per pending sector */
    uint64_t dirty_count;  /* sectors that `dirty` has room for */
    uint64_t dirty_first;  /* pending sectors lie in [dirty_first, dirty_end) */
    uint64_t dirty_end;
    uint64_t cut_size; /* smallest size since the last sync */

    struct sim_directory names;      /* directory: volatile */
    struct sim_directory names_kept; /* directory: durable */

    uint64_t scan_valid; /* durable bytes below this are as the scanner left them */
};

enum sim_disk_call {
    SIM_DISK_READ,
    SIM_DISK_WRITE,
    SIM_DISK_SYNC,
    SIM_DISK_NAMES,
    SIM_DISK_CALLS,
};

struct sim_flipped {
    uint64_t group_id;
    uint64_t replica_id;
};

struct sim_disk {
    struct sim_process *process;
    struct sim_inode *root;
    struct sp_list pending_names; /* changes of directories, in order */
    uint64_t inode_count;
    uint64_t capacity_bytes;
    uint64_t used_bytes;
    bool has_quota;          /* no file grows, and nothing of that shows in the free space */
    unsigned latency_factor; /* 1: as usual */
    uint64_t fail_in[SIM_DISK_CALLS]; /* the n-th call from now fails; 0: none */
    uint64_t death_in;                /* the process dies at the n-th change from now; 0: not */
    bool death_is_kill;               /* ... and the page cache stays */
    bool syncs_each;                  /* it cannot be synced as a whole */
    bool frozen;                      /* it died inside a call: nothing has effect any more */
    bool rotten;                      /* bits of it were flipped */
    bool io_failed;                   /* a call has failed since its process was started ... */
    bool was_full;                    /* ... or was refused or told of too little space */
    struct sim_flipped *flipped;      /* replicas of which a file has rotted */
    unsigned flipped_count;
    uint64_t lost_below; /* replicas below this id were on a disk that is no more */
    uint64_t syncs;      /* counts */
    uint64_t deaths;     /* of its process, inside a call */
    uint64_t torn_sectors;
    uint64_t lost_sectors;
};

struct sim_disk *sim_disk_new(struct sim_process *process);

/* Its process has died: handles and locks are gone; if power was lost, what was not durable too. */
void sim_disk_process_died(struct sim_disk *disk, bool power_lost);

/* Flips a bit of a file that is synced, in the page cache and on the disk. */
void sim_disk_flip(struct sim_disk *disk, struct sim_inode *inode, uint64_t position);

/* Another, empty disk takes its place; its process is down. */
void sim_disk_empty(struct sim_disk *disk);

/* Microseconds that file calls since the last question would have taken. */
uint64_t sim_disk_take_cost_us(void);

/* Makes all of it durable. */
void sim_disk_sync_all(struct sim_disk *disk);

/* Looking from outside, without the process knowing. NULL when there is none. */
struct sim_inode *sim_disk_find(const struct sim_disk *disk, const char *path, bool durable);

/* ---- for sim_file.c -------------------------------------------------------------------------- */

/* Whether a call may go on: SPATE_ERR_IO when a planned error or a power cut comes first. */
int sim_disk_begin_call(struct sim_disk *disk, enum sim_disk_call call, uint64_t cost_us);

struct sim_inode *sim_inode_new(struct sim_disk *disk, bool is_directory);
int sim_inode_write(struct sim_disk *disk,
                    struct sim_inode *inode,
                    uint64_t position,
                    const uint8_t *bytes,
                    size_t size);
int sim_inode_allocate(struct sim_disk *disk, struct sim_inode *inode, uint64_t size);
void sim_inode_truncate(struct sim_disk *disk, struct sim_inode *inode, uint64_t size);
void sim_inode_sync(struct sim_inode *inode);

struct sim_entry *sim_directory_find(const struct sim_directory *directory, const char *name);

/* Volatile change of names, remembered until it is durable. `to` NULL: removal; `from` NULL: a new
 * name for `inode`; both: a rename. */
struct sim_name {
    struct sim_inode *directory;
    char name[SIM_NAME_SIZE];
};
void sim_disk_change_name(struct sim_disk *disk,
                          const struct sim_name *from,
                          const struct sim_name *to,
                          struct sim_inode *inode);
/* `directory` NULL: of all. */
void sim_disk_sync_names(struct sim_disk *disk, struct sim_inode *directory);

/* Puts a name into a directory, or changes what it stands for. */
void sim_directory_put(struct sim_directory *directory, const char *name, struct sim_inode *inode);

/* What happens to pending things at a power cut: drawn once per cut, since disks have habits. */
enum sim_crash_habit {
    SIM_CRASH_LOSES_ALL,
    SIM_CRASH_KEEPS_ALL,
    SIM_CRASH_MIXES,       /* each sector on its own */
    SIM_CRASH_TEARS,       /* the same, and some sectors are half new */
    SIM_CRASH_KEEPS_FIRST, /* of each file, the sectors up to a place */
    SIM_CRASH_HABITS,
};

/* Power is lost: pending changes of names are kept or lost. */
void sim_names_crash(struct sim_disk *disk, enum sim_crash_habit habit);

#endif /* SP_SIM_DISK_H */
