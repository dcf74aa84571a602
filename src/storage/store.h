/* One node's data directory: its lock, its identity, its votes, its logs, and the group flush.
 *
 *   DATA/lock                              held while a node runs
 *   DATA/meta.a  DATA/meta.b               two copies of the meta log (identity, registry, votes)
 *   DATA/replicas/GROUP.REPLICA/           one log: BASE.log  BASE.checkpoint  BASE.index
 *   DATA/quarantine/                       what the metadata does not know, and damaged replicas
 *   DATA/spares/                           files of old segments, to become new ones; see spares.h
 *   DATA/ballast                           room for the time when the disk is full; see ballast.h
 *
 * All writes are grouped: what was asked for in one loop turn, or while the last flush ran, becomes
 * one write and one sync per log, and one per copy of the meta log, in worker jobs that the
 * before-sleep hook starts. A failed write or sync is final: the store reports it once through
 * `failed` and completes nothing any more; the node must stop. A write that finds no space is made
 * once more with the ballast's, and then waits until there is some (space_wait.h). All calls on the
 * loop thread. */
#ifndef SP_STORAGE_STORE_H
#define SP_STORAGE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "io/loop.h"
#include "storage/log.h"

#define SP_CLUSTER_ID_SIZE 16
#define SP_CLUSTER_ID_KEPT_SIZE 12 /* the beginning, which a forced membership does not change */

/* How far the forming of the cluster has come on this node (D10). */
enum sp_identity_state {
    SP_IDENTITY_EMPTY = 0,   /* a fresh directory */
    SP_IDENTITY_FORMING = 1, /* a cluster id was proposed; nobody may have started with it yet */
    SP_IDENTITY_FORMED = 2,  /* member of the cluster for good */
};

struct sp_identity {
    enum sp_identity_state state;
    uint32_t node_id;
    uint64_t incarnation; /* drawn by chance when the directory was made */
    uint8_t cluster_id[SP_CLUSTER_ID_SIZE];
};

/* Which run of which data directory this is. The number of runs is kept in the directory and counts
 * up; a copy of a directory that is older than its last run comes back with a number that was
 * used. */
struct sp_life {
    uint64_t incarnation;
    uint64_t run; /* the number in the upper half, chance in the lower; 0: not counted */
};

/* True if `life` is of an older copy of the directory that `known` is of: the number was used. */
static inline bool sp_life_is_stale(const struct sp_life *life, const struct sp_life *known)
{
    return life->incarnation == known->incarnation && life->run != 0 && life->run != known->run &&
           life->run >> 32 <= known->run >> 32;
}

struct sp_exposition;
struct sp_store;

struct sp_store_options {
    const char *path;        /* data directory; created when it is missing */
    uint32_t node_id;        /* a directory of another node is refused */
    uint64_t segment_bytes;  /* roll size; 0: SP_SEGMENT_BYTES_DEFAULT */
    uint64_t free_bytes_min; /* the reserve, see enum sp_space; 0: none */
    uint64_t spare_bytes;    /* kept of old segments, to be written again; 0: nothing */
    uint64_t prefill_bytes;  /* see prefill.h; 0: no room is written ahead */
    bool counted; /* this is a run of a node: it is counted, durably, before this returns */
    bool forcing; /* also one with a mark of sp_store_set_forcing; otherwise that is refused */
    uint32_t feature_level_max; /* a directory of a higher level is refused; 0: none is */
};

struct sp_store_handler {
    /* Meta requests up to `sequence` are durable on both copies. */
    void (*meta_durable)(void *arg, uint64_t sequence);
    /* The disk failed: `text` says what and where. At most once. */
    void (*failed)(void *arg, int status, const char *text);
};

/* Opens or makes the data directory, blocking, before the node serves. Recovers the meta log: the
 * longer valid copy wins and the other is rewritten from it. SPATE_ERR_LOCKED: another process has
 * it; SPATE_ERR_CORRUPT: both copies are damaged, or it belongs to another node;
 * SPATE_ERR_UNSUPPORTED: written at a feature level above feature_level_max; SPATE_ERR_NOT_READY:
 * see `forcing`; SPATE_ERR_IO, SPATE_ERR_NO_SPACE, SPATE_ERR_NOMEM. On failure `text` (of
 * `text_size` bytes) says what to do. */
int sp_store_open(struct sp_loop *loop,
                  const struct sp_store_options *options,
                  const struct sp_store_handler *handler,
                  void *arg,
                  char *text,
                  size_t text_size,
                  struct sp_store **out_store);

/* Flushes what is pending, releases the lock, frees the store, then calls `closed`, never inside
 * this call. All logs must have been closed before. */
void sp_store_close(struct sp_store *store, void (*closed)(void *arg), void *arg);

/* As it was set last; borrowed until the next call. */
const struct sp_identity *sp_store_identity(const struct sp_store *store);

/* Asks for a new identity; durable when meta_durable reports the returned sequence. 0: NOMEM. */
uint64_t sp_store_set_identity(struct sp_store *store, const struct sp_identity *identity);

/* The highest feature level (base/feature.h) at which this directory may hold something; 0: none
 * was set. Setting is like setting an identity. */
uint32_t sp_store_feature_level(const struct sp_store *store);
uint64_t sp_store_set_feature_level(struct sp_store *store, uint32_t level);

/* Of this run; 0 if it is not counted. */
uint64_t sp_store_run(const struct sp_store *store);

/* A mark (not 0) says that a change of the whole directory was begun, which has to be finished
 * before the node may run; 0 takes it away. What is set in the same turn becomes durable at once or
 * not at all. */
uint64_t sp_store_forcing(const struct sp_store *store);
uint64_t sp_store_set_forcing(struct sp_store *store, uint64_t mark);

/* ---- votes ----------------------------------------------------------------------------------- */

/* Asks for term and vote (0: none) of a replica; returns the sequence as above. */
uint64_t sp_store_set_vote(
    struct sp_store *store, uint64_t group_id, uint64_t replica_id, uint64_t term, uint64_t vote);

/* What was set last; zeros when nothing was. */
void sp_store_vote(const struct sp_store *store,
                   uint64_t group_id,
                   uint64_t replica_id,
                   uint64_t *out_term,
                   uint64_t *out_vote);

/* Everything up to this sequence is durable. */
uint64_t sp_store_meta_durable(const struct sp_store *store);

/* ---- replicas -------------------------------------------------------------------------------- */

/* One replica in the registry. */
struct sp_replica_record {
    uint64_t group_id;
    uint64_t replica_id;
};

/* Calls `each` for every registered replica in order of registration. */
void sp_store_replicas(const struct sp_store *store,
                       void (*each)(void *arg, const struct sp_replica_record *record),
                       void *arg);

bool sp_store_has_replica(const struct sp_store *store, uint64_t group_id, uint64_t replica_id);

struct sp_replica_open;
typedef void (*sp_replica_open_cb)(struct sp_replica_open *open, int status);

/* Opens a log, or creates it, in a worker job; embedded by its caller. */
struct sp_replica_open {
    struct sp_job job;
    struct sp_list node;
    struct sp_store *store;
    uint64_t group_id;
    uint64_t replica_id;
    struct sp_slice first; /* creating: the frame at index 1 (sealed on chain 0), or empty */
    sp_replica_open_cb cb;
    struct sp_log *log;         /* result of success; the receiver closes it */
    char text[256];             /* result of failure: what is wrong, where */
    uint64_t registry_sequence; /* internal: meta sequence that makes it known */
    int status;                 /* internal */
    bool create;                /* internal */
    bool disk_failed;           /* internal: a write or a sync failed, and not only a read */
};

/* Opens the log of a registered replica: newest checkpoint, then the tail, a torn end is cut and
 * traced. Recovered bytes are synced before it completes. Fill group_id, replica_id, cb first.
 * Completes with 0, SPATE_ERR_NOT_FOUND (not registered), SPATE_ERR_CORRUPT (registered and missing
 * or damaged: it must not vote), SPATE_ERR_IO, SPATE_ERR_NOMEM. When a write or a sync failed, the
 * whole store has failed before it completes, as by any other write. */
void sp_store_open_replica(struct sp_store *store, struct sp_replica_open *open);

/* Makes a new log that begins with `first` (taken on success and failure) or empty, and registers
 * it. A leftover directory of the same name that is not registered is moved to quarantine/.
 * Completes when registration is durable: 0, SPATE_ERR_EXISTS (registered already), SPATE_ERR_IO,
 * SPATE_ERR_NO_SPACE, SPATE_ERR_NOMEM. */
void sp_store_create_replica(struct sp_store *store, struct sp_replica_open *open);

/* Unregisters a replica whose topic was deleted and removes its directory (by a job, after the
 * registry is durable). Its log must be closed. SPATE_ERR_NOT_FOUND: it is not registered;
 * SPATE_ERR_NOMEM. */
int sp_store_delete_replica(struct sp_store *store, uint64_t group_id, uint64_t replica_id);

/* The same for one that was moved away or replaced: if it is marked as damaged, its directory is
 * kept in quarantine/. */
int sp_store_retire_replica(struct sp_store *store, uint64_t group_id, uint64_t replica_id);

/* Moves directories below replicas/ that are not registered into quarantine/, with a trace each;
 * goes on with removals that an earlier run had begun. Once, before any replica is deleted;
 * blocking. Errors of io/file.h. */
int sp_store_quarantine_unknown(struct sp_store *store);

/* A replica was found damaged: by a job its directory gets a mark, the file `damaged` with `text`
 * in it. Opening it answers SPATE_ERR_CORRUPT from then on, so that it never votes again, and
 * retiring it moves it to quarantine/. One that an opening finds damaged is marked by that. */
void sp_store_mark_damaged(struct sp_store *store,
                           uint64_t group_id,
                           uint64_t replica_id,
                           const char *text);

/* Damaged replicas in quarantine/, as last counted; looking counts them anew, by a job. */
unsigned sp_store_quarantined(const struct sp_store *store);
void sp_store_look_at_quarantine(struct sp_store *store);

/* Free bytes of the disk, as read at the last flush or opening. */
uint64_t sp_store_free_bytes(const struct sp_store *store);

/* How far the disk is from being full. Nothing is refused here: who takes records in asks first. */
enum sp_space {
    SP_SPACE_ENOUGH,
    SP_SPACE_LOW,  /* the reserve is touched: it belongs to what keeps the cluster going */
    SP_SPACE_LAST, /* a quarter of it is left */
};

#define SP_SPACE_LAST_PART 4

/* As the last look has found it. */
enum sp_space sp_store_space(const struct sp_store *store);

/* Reads the free space anew, by a job, one at a time: what others write is seen by this alone. */
void sp_store_look_at_space(struct sp_store *store);

/* How many segments were written into files of old ones since the start. */
uint64_t sp_store_recycled(const struct sp_store *store);

/* Roll size of logs that have none of their own. */
uint64_t sp_store_segment_bytes(const struct sp_store *store);

/* The loop that it was opened on. */
struct sp_loop *sp_store_loop(const struct sp_store *store);

/* Writes the metrics of this layer: logs, segments, bytes, fsyncs, reads. */
void sp_store_expose(const struct sp_store *store, struct sp_exposition *exposition);

#endif /* SP_STORAGE_STORE_H */
