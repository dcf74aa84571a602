/* What the store's and the log's files share: the store's state. Included only in src/storage. */
#ifndef SP_STORAGE_STORE_STATE_H
#define SP_STORAGE_STORE_STATE_H

#include <stdatomic.h>

#include "base/metrics.h"
#include "io/file.h"
#include "io/loop.h"
#include "storage/ballast.h"
#include "storage/meta.h"
#include "storage/space_wait.h"
#include "storage/spares.h"
#include "storage/store.h"

#define SP_REPLICAS_DIRECTORY "replicas"
#define SP_QUARANTINE_DIRECTORY "quarantine"
#define SP_DAMAGED_NAME "damaged" /* file in a replica's directory: it must not be opened */
#define SP_STORE_TEXT_SIZE 256
#define SP_QUARANTINE_NAME_SIZE 320 /* any name of a directory entry, a word and two numbers */
#define SP_FULL_PAUSE_MS ((uint64_t)2000)  /* a disk without space for a write counts as full */
#define SP_SPACE_RETRY_MS ((uint64_t)1000) /* what waits for space tries no sooner again */
#define SP_COOL_AFTER_MS 5000 /* an idle log keeps durable frames in memory for so long */

/* Whether what earlier processes have written below replicas/ is durable: store_settle.c. */
enum sp_settling {
    SP_SETTLING_NOT,
    SP_SETTLING_RUNS,
    SP_SETTLING_DONE, /* all of it */
    SP_SETTLING_EACH, /* each log is synced by itself when it is opened */
};

/* What is counted since the start, for sp_store_expose. */
struct sp_store_counters {
    struct sp_histogram frame_syncs;
    struct sp_histogram meta_writes; /* a write and a sync of both copies */
    uint64_t written_bytes;          /* of frames and markers */
    uint64_t memory_reads;
    uint64_t disk_reads;
};

struct sp_store {
    struct sp_loop *loop;
    struct sp_store_handler handler;
    void *handler_arg;
    char *directory;
    char *replicas_directory;
    uint64_t segment_bytes;
    uint64_t run;        /* of sp_store_run */
    uint64_t run_before; /* the last one that was counted before it; 0: none, or it is not */
    uint64_t key_seed;   /* drawn at opening, for the segments' marker keys */
    struct sp_file *lock;
    struct sp_meta *meta;
    struct sp_job meta_job;
    int meta_status;
    uint64_t meta_write_us; /* what the last write of it took */
    bool meta_flushing;
    struct sp_space_wait meta_wait;
    struct sp_hook hook;
    struct sp_timer cool_timer;
    struct sp_list logs;
    struct sp_list dirty;     /* logs to flush at the end of this turn */
    size_t kept_bytes;        /* of all logs, above their caches */
    struct sp_list warm;      /* logs with durable frames in memory, longest unused first */
    struct sp_list creations; /* struct sp_replica_open that wait for the registry */
    struct sp_list deletions; /* struct sp_deletion that wait for the registry */
    struct sp_list unsettled; /* struct sp_replica_open that wait for settling */
    enum sp_settling settling;
    struct sp_job settle_job;
    int settle_status;
    unsigned jobs; /* settling, opening, creating and deleting jobs that run */
    uint64_t free_bytes;
    struct sp_store_counters counters;
    struct sp_spares spares;
    struct sp_ballast ballast; /* belongs to space_job while it runs */
    bool ballast_held;         /* it has something to give back */
    atomic_bool found_full;    /* a job's write has found no space, and the loop does not know */
    uint64_t full_until_ms;    /* whatever the system says is free */
    uint64_t free_bytes_min;   /* the reserve */
    uint64_t prefill_bytes;    /* of room, at a time */
    uint64_t unseen_bytes;     /* of flushes since one has looked at the free space */
    uint64_t seen_ms;          /* when that was */
    enum sp_space space;
    struct sp_list space_waits;  /* struct sp_space_wait, all to be resumed at one look */
    uint64_t space_retry_ms;     /* not before */
    struct sp_timer space_timer; /* looks then, whoever else does */
    bool may_wait_for_space;
    bool told_space_wait;
    struct sp_job space_job;
    bool space_looking;
    uint64_t space_now_ms;                  /* when this job was started */
    struct sp_spares_dropped space_dropped; /* by this job */
    int space_status;
    uint64_t space_free_bytes; /* as the job has found it */
    int64_t opened_s;          /* wall clock */
    unsigned quarantined;      /* damaged replicas in quarantine/, when somebody looked last */
    struct sp_job quarantine_job;
    bool quarantine_looking;
    bool quarantine_sweeps;    /* the next look goes on with removals that were begun */
    unsigned quarantine_found; /* by the job */
    int quarantine_status;     /* of the job */
    bool failed;
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
    struct sp_deferred deferred;
};

/* A replica whose directory goes once the registry does not have it any more. */
struct sp_deletion {
    struct sp_job job;
    struct sp_list node;
    struct sp_store *store;
    struct sp_replica_record record;
    uint64_t sequence; /* of the registry record */
    int64_t now_s;
    bool keeps_damaged;
    char name[SP_QUARANTINE_NAME_SIZE]; /* that it got in quarantine/ */
    bool kept;                          /* it was damaged */
    int status;
};

/* Takes the deletion: moves the directory away, and removes it unless it is marked as damaged. */
void sp_store_start_deletion(struct sp_deletion *deletion);

/* Moves replicas/NAME, which the registry does not have, to quarantine/; blocking. Errors of
 * io/file.h. */
int sp_store_move_unknown(const struct sp_store *store, const char *name);

/* Where the replica lies: SP_DISK_PATH_SIZE bytes. */
void sp_store_replica_path(const struct sp_store *store,
                           uint64_t group_id,
                           uint64_t replica_id,
                           char *out_path);

/* Blocking: writes the mark of a damaged replica durably, unless it has one. SPATE_ERR_NOT_FOUND:
 * the directory is missing. */
int sp_store_write_mark(const char *directory, const char *text);

/* Blocking: whether the replica in `directory` has that mark, and what opening it says then. */
bool sp_store_is_marked(const char *directory);
void sp_store_read_mark(const char *directory, char *out_text, size_t text_size);

/* A write or sync failed for good: reports once, ends all flushing. `step` says what, `place`
 * where. */
void sp_store_fail(struct sp_store *store, int status, const char *step, const char *place);

/* So much is free now: store_space.c. Looks at once when the ballast is needed. */
void sp_store_note_free_bytes(struct sp_store *store, uint64_t free_bytes);

/* Whether a flush of so many bytes is to look: seldom while they are small and there is enough. */
bool sp_store_wants_look(struct sp_store *store, size_t bytes);

/* In a job whose step has ended with `status`: true if it has found no space, after the ballast was
 * given back. Then the step may be tried once more, unless it can be left for later. */
bool sp_store_makes_room(struct sp_store *store, int status);

/* The same for what can wait: the ballast stays, and nothing is tried once more. */
bool sp_store_notes_full(struct sp_store *store, int status);

/* Resumes all that waits, once it has waited long enough or, with `at_once`, now. */
void sp_store_resume_waits(struct sp_store *store, bool at_once);

/* At the end of a turn: no records are taken for a while if a write has found no space. */
void sp_store_heed_full(struct sp_store *store);

/* In a job, about to write `bytes` that can wait: true if enough stays free for what cannot. */
bool sp_store_lends_room(const struct sp_store *store, uint64_t bytes);

/* The same on the loop, as the last look has found it. */
bool sp_store_may_lend(const struct sp_store *store, uint64_t bytes);

/* Takes over what the options say of space; nothing waits yet. */
void sp_store_init_space(struct sp_store *store, const struct sp_store_options *options);

/* Blocking: gives the ballast of an earlier run back on a full disk. */
void sp_store_open_ballast(struct sp_store *store);

/* store_meta.c: starts to write what is pending of the meta log, unless that is under way. */
void sp_store_flush_meta(struct sp_store *store);

/* Lets the log be flushed at the end of this turn. */
void sp_store_mark_dirty(struct sp_store *store, struct sp_log *log);

/* The log was used: it keeps its durable frames in memory a while. */
void sp_store_mark_warm(struct sp_store *store, struct sp_log *log);

/* Makes the log one of the store's. */
void sp_store_adopt(struct sp_store *store, struct sp_log *log);

/* Ends the store's closing when nothing is in flight. */
void sp_store_advance(struct sp_store *store);

/* Starts the opening once what earlier processes have written is durable. */
void sp_store_open_settled(struct sp_replica_open *open);

/* store_replica.c: starts its job; with a status it only completes. */
void sp_store_start_opening(struct sp_replica_open *open);

/* Creations and deletions whose registry sequence is durable go on. */
void sp_store_registry_durable(struct sp_store *store);

/* Frees what waits for the registry, at the end. */
void sp_store_drop_waiting(struct sp_store *store);

#endif /* SP_STORAGE_STORE_STATE_H */
