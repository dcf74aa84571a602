/* What the log's files share: its state. Included only inside src/storage.
 *
 *   log.c           questions, closing                   log_append.c      appending
 *   log_install.c   replacing files                      log_flush.c       writing, by jobs
 *   log_flush_job.c what such a job does
 *   log_truncate.c  cutting, installing                  log_checkpoint.c  checkpoints, by jobs
 *   log_read.c      reading                              log_recover.c     opening
 *   log_tail.c      frames in memory                     log_history.c     terms and memberships
 *   log_trim.c      dropping the oldest segments         log_retention.c   which of them may go
 *   log_rewrite.c   replacing finished segments
 *
 * Indexes:   first <= persisted <= assigned <= last
 *   persisted  durable and reported        assigned  given a place in a file: written, or in flight
 */
#ifndef SP_STORAGE_LOG_STATE_H
#define SP_STORAGE_LOG_STATE_H

#include <stdatomic.h>

#include "storage/checkpoint.h"
#include "storage/flush_size.h"
#include "storage/log.h"
#include "storage/log_history.h"
#include "storage/log_rest.h"
#include "storage/log_tail.h"
#include "storage/offset_index.h"
#include "storage/segment.h"
#include "storage/space_wait.h"
#include "storage/spares.h"

struct sp_store;
struct sp_log_rewrite;

#define SP_INSTALL_NAME "install.checkpoint" /* a checkpoint that replaces the log around it */
#define SP_TRUNCATION_NAME "truncation"      /* a truncation that has begun */
#define SP_FLUSH_FRAMES_MAX 1024             /* in one write: bounds the array of pieces */
#define SP_FLUSH_BYTES_SHORT (64 * 1024)     /* up to so many do not wait behind larger flushes */
#define SP_FLUSH_FRAMES_SPARE 7 /* written at a time when there is no memory for the array */

enum sp_checkpoint_progress {
    SP_CHECKPOINT_NONE,
    SP_CHECKPOINT_ASKED, /* its image is queued or being written */
    SP_CHECKPOINT_DONE,
};

struct sp_log_segment {
    struct sp_log_point before;
    uint64_t marker_key;
    uint64_t size;            /* of the file, with all frames that have a place */
    uint64_t waiting_bytes;   /* of frames that have none yet */
    uint64_t room_end;        /* so much of the file was written before; 0: not known */
    int64_t since_ms;         /* append time of its first frame, or earlier; INT64_MAX: none */
    int64_t max_timestamp_ms; /* no batch has a larger one; it may be above them all */
    struct sp_offset_index offset_index; /* empty when it was saved to its file */
    enum sp_checkpoint_progress checkpoint;
    bool on_disk;     /* its file exists, durably */
    bool surplus;     /* its file may be longer: it was a spare, or has room (prefill.h) */
    bool index_saved; /* so does its index file */
    bool bare;        /* it is known that none of its frames holds a record */
};

/* One flush; the worker reads it and sets what stands under "result". */
struct sp_log_flush {
    struct sp_job job;
    struct sp_space_wait wait;
    unsigned steps_done; /* one of them waits for space, those before it are not done again */
    uint64_t begun_us;
    struct sp_store *store; /* for sp_store_makes_room alone */
    const char *directory;
    uint64_t key_seed;
    struct sp_blob *install; /* replace the log by this checkpoint; then nothing else */
    bool truncate;           /* first cut the file of truncate_base */
    uint64_t truncate_base;
    uint64_t truncate_position;
    struct sp_blob *index_image; /* index of the segment before this one, or NULL */
    uint64_t index_base;
    struct sp_segment_header header; /* of the segment that is written to */
    bool create;
    struct sp_spare spare; /* the file that becomes the new segment; size 0: a fresh one */
    const char *spares_directory;
    uint64_t cut_base; /* the finished segment, which gives back what is behind its end; 0: none */
    uint64_t cut_position;
    bool segment_gone; /* it was dropped meanwhile: nothing is known of its file */
    uint64_t position;
    uint64_t room_end;       /* zeros are written up to there; 0: none are */
    uint64_t proves;         /* persisted when it ends well; lowered by truncations (I3) */
    size_t frame_bytes;      /* of all frames that it writes */
    unsigned piece_count;    /* 0: nothing is written */
    size_t pieces_bytes;     /* of all of them */
    struct sp_iovec *pieces; /* the marker, then frames */
    struct sp_blob **blobs;  /* references that keep the frames */
    struct sp_iovec spare_pieces[1 + SP_FLUSH_FRAMES_SPARE];
    struct sp_blob *spare_blobs[SP_FLUSH_FRAMES_SPARE];
    uint8_t marker[SP_LOG_FRAME_HEADER_SIZE];
    bool looks; /* at the free space of the disk */
    /* result */
    struct sp_file *file; /* open for writing, or NULL; of segment file_base */
    uint64_t file_base;
    uint64_t free_bytes;
    bool free_known;
    uint64_t sync_us; /* what the sync of the frames took */
    const char *step; /* what failed */
    int status;
};

/* The disk may show room that nobody gets: one that has found none waits so long at least. */
#define SP_CHECKPOINT_PAUSE_MS ((uint64_t)1000)

/* A checkpoint on its way to the disk; in log->checkpoints from the oldest. */
struct sp_checkpoint_write {
    struct sp_job job;
    struct sp_list node;
    struct sp_log *log;
    struct sp_blob *image;
    uint64_t base;
    bool waits; /* it has found no space */
    uint64_t retry_ms;
    bool told;
    int status;
};

/* The removal of the oldest segments' files. */
struct sp_log_trim {
    struct sp_job job;
    struct sp_space_wait wait;
    struct sp_store *store;
    const char *directory;
    uint64_t base; /* of the first segment that stays */
    struct sp_spare_room room;
    int status;
};

/* The last work on files when the log closes. */
struct sp_log_end {
    struct sp_job job;
    const char *directory;
    bool cuts; /* the newest segment's file */
    uint64_t base;
    uint64_t position;
    struct sp_blob *rest; /* to be left for the next opening, or NULL */
};

struct sp_log {
    struct sp_store *store;    /* NULL until the store has adopted it */
    struct sp_list store_node; /* in the store's list of logs */
    struct sp_list dirty_node; /* in its list of logs to flush */
    struct sp_list warm_node;  /* in its list of logs with durable frames in memory */
    uint64_t warm_since_ms;
    char *directory;
    uint64_t group_id;
    uint64_t replica_id;
    uint64_t segment_bytes; /* a segment of so many bytes is followed by the next */
    uint64_t key_seed;
    struct sp_log_handler handler;
    void *handler_arg;

    struct sp_log_point last;
    uint64_t persisted_index;
    uint64_t assigned_index;
    uint32_t assigned_chain; /* of the frame at assigned_index */
    uint64_t generation;     /* rises when frames are dropped: reads begun before are repeated */
    bool roll;               /* the next frame opens a segment */
    struct sp_log_tail tail;
    uint64_t keep_index; /* durable frames from here on are wanted in memory; 0: none */
    size_t kept_bytes;   /* above the cache, as counted in the store */
    struct sp_log_history history;
    struct sp_log_segment *segments; /* from the oldest, at least one */
    unsigned segment_count;
    unsigned segment_capacity;

    bool truncate_wanted; /* by the next flush */
    uint64_t truncate_base;
    uint64_t truncate_position;
    struct sp_blob *install_wanted; /* by the next flush */
    bool flushing;
    bool given_up; /* it closes, and a flush has found no space: nothing is written any more */
    struct sp_log_flush flush;
    size_t flush_bytes_max; /* of the next one: see flush_size.h */
    struct sp_file *file;   /* of segment file_base, for writing; the flush owns it while it runs */
    uint64_t file_base;

    struct sp_blob *checkpoint_image; /* newest durable checkpoint, or NULL */
    struct sp_checkpoint checkpoint;  /* what is in it */
    struct sp_list checkpoints;       /* struct sp_checkpoint_write */
    bool checkpoint_running;
    unsigned images_read; /* struct sp_log_image in progress */
    bool trim_wanted;     /* files of segments that are gone from memory are still there */
    bool trimming;
    struct sp_log_trim trim;
    struct sp_log_rest rest; /* what the last run left; while it closes, what the next shall find */
    bool ending;
    struct sp_log_end end;
    struct sp_log_rewrite *rewrite; /* the owner's, while one is under way */
    bool swapping;                  /* its file is being put in place */

    struct sp_list reads; /* struct sp_log_read in progress */
    unsigned holds;       /* sp_log_hold */
    atomic_bool closing;  /* jobs look at it, too */
    bool closed_deferred;
    void (*closed)(void *arg);
    void *closed_arg;
    struct sp_deferred deferred;
};

/* ---- log.c ----------------------------------------------------------------------------------- */

/* An empty log object without segments, or NULL. */
struct sp_log *sp_log_new(const char *directory, uint64_t group_id, uint64_t replica_id);

/* Frees memory and the open file; nothing may be in flight. NULL is fine. */
void sp_log_free(struct sp_log *log);

/* The segment that holds Raft index `index`, or would: the newest whose base is not above it. */
struct sp_log_segment *sp_log_segment_of(const struct sp_log *log, uint64_t index);

static inline struct sp_log_segment *sp_log_newest_segment(const struct sp_log *log)
{
    return &log->segments[log->segment_count - 1];
}

/* Makes room for one more segment. SPATE_ERR_NOMEM. */
int sp_log_reserve_segment(struct sp_log *log);

/* Adds a segment that begins after `before`; no memory changes hands. SPATE_ERR_NOMEM. */
int sp_log_add_segment(struct sp_log *log, const struct sp_log_point *before, uint64_t marker_key);

/* Index of the oldest frame in memory; last + 1 when there is none. */
static inline uint64_t sp_log_tail_first(const struct sp_log *log)
{
    return log->last.index + 1 - log->tail.count;
}

/* The entry of a frame that is in memory. */
static inline struct sp_tail_entry *sp_log_tail_entry(const struct sp_log *log, uint64_t index)
{
    return sp_log_tail_at(&log->tail, (uint32_t)(index - sp_log_tail_first(log)));
}

/* Drops durable frames from memory until at most `bytes_max` remain. */
void sp_log_trim_tail(struct sp_log *log, size_t bytes_max);

/* The log is idle: gives back the memory of durable frames, and the open file. */
void sp_log_cool(struct sp_log *log);

/* The secret number for the markers of a segment. */
uint64_t sp_log_marker_key(uint64_t key_seed, uint64_t group_id, uint64_t base);

/* Looks what can happen next: flush, checkpoint, end of closing. */
void sp_log_advance(struct sp_log *log);

/* ---- log_truncate.c -------------------------------------------------------------------------- */

/* Forgets the frames from `index` on that never got a place in a file; `point` is what the log was
 * before the first of them. */
void sp_log_undo_append(struct sp_log *log, uint64_t index, const struct sp_log_point *point);

/* Replaces all state by a decoded checkpoint whose image is `image`. SPATE_ERR_NOMEM. */
int sp_log_reset(struct sp_log *log, struct sp_blob *image, const struct sp_checkpoint *checkpoint);

/* ---- log_flush.c ----------------------------------------------------------------------------- */

/* True if frames, a truncation or an install wait to be written, and may be. */
bool sp_log_needs_flush(const struct sp_log *log);

/* Starts a job for what waits, if none runs. */
void sp_log_flush_start(struct sp_log *log);

/* The work of a flush, on a worker. */
void sp_log_flush_work(struct sp_job *job);

/* ---- log_install.c --------------------------------------------------------------------------- */

/* All of this blocks. Errors of io/file.h. */

/* Gives back what is behind `position` in the file of `base`, durably. */
int sp_log_cut_file(const char *directory, uint64_t base, uint64_t position);

/* Cuts the file of `base` at `position` and removes all newer segments, newest first. */
int sp_log_cut_files(const char *directory, uint64_t base, uint64_t position);

/* The same for frames that were durable: a crash in between leaves the file SP_TRUNCATION_NAME,
 * with which recovery ends it. */
int sp_log_truncate_files(const char *directory, uint64_t base, uint64_t position);

/* Ends a truncation whose file is there. SPATE_ERR_CORRUPT: that file is no such. */
int sp_log_truncate_finish(const char *directory);

/* Removes all segments below the one of `base`, or moves them into `room` (may be NULL); may be
 * repeated after a crash. */
int sp_log_trim_files(const char *directory, uint64_t base, struct sp_spare_room *room);

/* Makes SP_INSTALL_NAME durable, then finishes it as below. */
int sp_log_install_files(const char *directory,
                         const struct sp_blob *image,
                         const struct sp_segment_header *header);

/* Removes the old log and begins the new one; may be repeated after a crash. */
int sp_log_install_finish(const char *directory, const struct sp_segment_header *header);

/* ---- log_checkpoint.c ------------------------------------------------------------------------ */

/* Starts the next checkpoint job if its time has come. */
void sp_log_checkpoint_start(struct sp_log *log);

/* After a look: goes on with one that has found no space a while ago, if there is some now. */
void sp_log_checkpoint_retry(struct sp_log *log);

/* Drops queued checkpoints of segments above `base_max`, but for the one being written. */
void sp_log_checkpoint_cancel(struct sp_log *log, uint64_t base_max);

/* ---- log_trim.c ------------------------------------------------------------------------------ */

/* Starts the removal of trimmed files if its time has come. */
void sp_log_trim_start(struct sp_log *log);

/* ---- log_end.c ------------------------------------------------------------------------------- */

/* Cuts the newest segment's file if there is something behind its frames, and leaves what the next
 * opening can use; false: there is nothing to do. */
bool sp_log_end_start(struct sp_log *log);

/* Something else changes or is about to change the set of files. */
static inline bool sp_log_files_change(const struct sp_log *log)
{
    return log->install_wanted != NULL || log->truncate_wanted ||
           (log->flushing && (log->flush.install != NULL || log->flush.truncate));
}

/* ---- log_recover.c --------------------------------------------------------------------------- */

struct sp_log_recovery {
    const char *directory;
    uint64_t group_id;
    uint64_t replica_id;
    uint64_t key_seed;
    uint64_t run_before;     /* the last run of this node before this one; 0: not counted */
    bool syncs;              /* what its files hold may not be durable, and shall be */
    uint64_t progress_bytes; /* traced after so many; 0: SP_RECOVERY_PROGRESS_BYTES */
    char *text;              /* what is wrong, on failure */
    size_t text_size;
    bool *disk_failed; /* set when a write or a sync failed, and not only a read */
};

/* Opens the log in a directory, blocking, on any thread: newest checkpoint, then the tail; a torn
 * end is cut. SPATE_ERR_CORRUPT, SPATE_ERR_IO, SPATE_ERR_NO_SPACE, SPATE_ERR_NOMEM. */
int sp_log_recover(const struct sp_log_recovery *recovery, struct sp_log **out_log);

#endif /* SP_STORAGE_LOG_STATE_H */
