/* One log on disk: segments of frames, appended at the end, cut at the end, read anywhere.
 *
 *        first_index                                   synced        last_index
 *            |  segment 1  |  segment 2  |   segment 3   |  in flight   |
 *            [ frames .... | ........... | ..............|..............]
 *                          ^ checkpoint: the machine's state after base-1
 *
 * Invariants:
 *  I1  Indexes are dense; chain and append time of each frame continue those of the one before.
 *  I2  Every batch begins at the offset where the one before ended: end_offset is gapless.
 *  I3  persisted(index) is called only for frames that are on disk and still in the log: a
 *      truncation lowers what the writes in flight may prove.
 *  I4  A truncation reaches the disk, synced, before any later write does.
 *
 * It knows nothing of Raft or networks. All calls on the loop thread; writes are grouped by the
 * store (storage/store.h). */
#ifndef SP_STORAGE_LOG_H
#define SP_STORAGE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/limits.h"
#include "io/file.h"
#include "io/loop.h"
#include "storage/log_frame.h"

struct sp_log;

struct sp_log_handler {
    /* All frames up to `index` are durable. Rises, except that a truncation may lower what it
     * starts from. */
    void (*persisted)(void *arg, uint64_t index);
    /* A checkpoint was made durable and is the newest now. May be NULL. */
    void (*checkpointed)(void *arg, uint64_t index);
};

/* Sets who hears of this log. Before the first append. */
void sp_log_set_handler(struct sp_log *log, const struct sp_log_handler *handler, void *arg);

/* Ends the use of a log: waits for writes and reads in flight (reads complete with
 * SPATE_ERR_CANCELED), then calls `closed` (may be NULL) and frees it. What is not yet written is
 * written and synced first. Never calls `closed` inside this call. */
void sp_log_close(struct sp_log *log, void (*closed)(void *arg), void *arg);

/* Before closing in good order: keeps a copy of the machine's state after frame `applied`. The log
 * leaves it with where it stands, and the next opening need not read the newest segment. Without
 * memory nothing is left. */
void sp_log_keep_rest(struct sp_log *log, uint64_t applied, const uint8_t *state, size_t size);

/* False when the newest segment is read as fast as what would be left, or nothing is left here. */
bool sp_log_wants_rest(const struct sp_log *log);

/* After opening: the frame after which the machine starts, and its state, borrowed: what the last
 * run left, else the newest checkpoint; 0 and nothing when there is neither. */
uint64_t sp_log_start_index(const struct sp_log *log);
void sp_log_start_state(const struct sp_log *log, const uint8_t **out_bytes, size_t *out_size);

/* Gives back the memory of what the last run left; from then on it is the checkpoint. */
void sp_log_forget_rest(struct sp_log *log);

/* Keeps a log from being freed while something else looks at it: sp_log_close ends after the last
 * sp_log_release. */
void sp_log_hold(struct sp_log *log);
void sp_log_release(struct sp_log *log);

/* ---- where it stands ------------------------------------------------------------------------- */

/* Whose log it is. */
uint64_t sp_log_group_id(const struct sp_log *log);
uint64_t sp_log_replica_id(const struct sp_log *log);

/* Index of the first frame kept; last_index + 1 when there is none. */
uint64_t sp_log_first_index(const struct sp_log *log);
uint64_t sp_log_last_index(const struct sp_log *log);
uint64_t sp_log_last_term(const struct sp_log *log);
uint64_t sp_log_persisted_index(const struct sp_log *log);

/* The offset at which the first segment kept begins. */
int64_t sp_log_first_offset(const struct sp_log *log);

/* The offset that the next batch will get. */
int64_t sp_log_end_offset(const struct sp_log *log);

/* Append time of the last frame; 0 when there is none. */
int64_t sp_log_last_append_time_ms(const struct sp_log *log);

/* Chain value of the last frame. */
uint32_t sp_log_chain(const struct sp_log *log);

/* Term of the frame at `index`, also of the one just below first_index; 0 when it is not known. */
uint64_t sp_log_term_at(const struct sp_log *log, uint64_t index);

/* The largest index <= `index` whose term is <= `term`; 0 when there is none in the log. */
uint64_t sp_log_index_with_term_at_most(const struct sp_log *log, uint64_t index, uint64_t term);

/* Number of membership frames kept in the log or just below it, and the n-th (0 is the oldest):
 * payload borrowed until the log changes. */
unsigned sp_log_configuration_count(const struct sp_log *log);
void sp_log_configuration(const struct sp_log *log,
                          unsigned n,
                          uint64_t *out_index,
                          const uint8_t **out_bytes,
                          size_t *out_size);

/* Frames that are not durable yet take a lot of memory: a leader adds none to them. */
bool sp_log_lags(const struct sp_log *log);

/* Bytes of all segments; number of segments. */
uint64_t sp_log_size_bytes(const struct sp_log *log);
unsigned sp_log_segment_count(const struct sp_log *log);

/* ---- appending ------------------------------------------------------------------------------- */

/* Leader: builds the frame that follows the last one around a copy of `pieces`, places offset and
 * leader epoch when it is a batch, seals it and appends it. `append_time_ms` is raised to the last
 * frame's if it is below it. *out_offset is the batch's base offset (unchanged for other kinds).
 * Durable when `persisted` says so. SPATE_ERR_NOMEM, SPATE_ERR_TOO_LARGE, SPATE_ERR_INVALID (a
 * batch without header or records, or a term that does not fit it), SPATE_ERR_STOPPED (the disk
 * failed, or the log is closing); nothing changed then. */
int sp_log_build(struct sp_log *log,
                 enum sp_frame_kind kind,
                 uint64_t term,
                 int64_t append_time_ms,
                 const struct sp_iovec *pieces,
                 unsigned count,
                 int64_t *out_offset);

/* Follower: appends `count` frames that were verified (sp_log_frame_verify), taking references of
 * its own. Checks group, dense index, chain, append time and base offset before anything changes:
 * SPATE_ERR_CORRUPT means that this replica and the sender differ and the replica must stop.
 * SPATE_ERR_NOMEM, SPATE_ERR_STOPPED as above; nothing changed then. */
int sp_log_append(struct sp_log *log, const struct sp_slice *frames, unsigned count);

/* Drops all frames from `index` on (index <= last_index, index >= first_index). Where the cut is
 * not in memory its segment is read, blocking: SPATE_ERR_CORRUPT, errors of io/file.h;
 * SPATE_ERR_STOPPED as above. Nothing changed then. */
int sp_log_truncate(struct sp_log *log, uint64_t index);

/* Replaces the whole log by a checkpoint received from a leader: afterwards it is empty, stands at
 * `checkpoint`'s index and continues its chain and offset. Asynchronous and atomic on disk;
 * `persisted` is called with the checkpoint's index when it is done. The bytes are copied.
 * SPATE_ERR_CORRUPT, also of another group's; SPATE_ERR_NOMEM, SPATE_ERR_STOPPED as above; nothing
 * changed then. */
int sp_log_install(struct sp_log *log, const uint8_t *checkpoint, size_t size);

/* ---- reading --------------------------------------------------------------------------------- */

enum sp_log_read_by {
    SP_LOG_READ_INDEX,  /* frames of every kind from Raft index `start` on */
    SP_LOG_READ_OFFSET, /* from the batch that contains offset `start`, or the next one, on */
    SP_LOG_READ_TIME,   /* from the first batch whose maxTimestamp is >= `start` on */
};

struct sp_log_read;
typedef void (*sp_log_read_cb)(struct sp_log_read *read, int status);

/* A read in progress; fill the first part, embedded by its caller. Frames come in order without
 * gaps, verified, without markers; by offset or time without anything but batches. */
struct sp_log_read {
    enum sp_log_read_by by;
    int64_t start;
    int64_t offset_min;  /* by time: no batch that ends at or below it */
    uint64_t index_max;  /* nothing above this Raft index */
    uint32_t bytes_max;  /* of frames together; at least one frame is returned all the same */
    uint32_t frames_max; /* at most SP_APPEND_FRAMES_MAX */
    bool patient;        /* not by index: others may need the processor more */
    sp_log_read_cb cb;
    unsigned count; /* result: frames found; 0: none up to index_max */
    struct sp_slice frames[SP_APPEND_FRAMES_MAX]; /* result: each with a reference */
    struct sp_list node;                          /* the rest belongs to storage */
    struct sp_job job;
    struct sp_log *log;
    void *plan;
    int status;
    bool parked;          /* waits until a segment's file is in place */
    atomic_bool unwanted; /* given up; a job that begins then reads nothing */
};

/* Frames from `index` on shall stay in memory when they are durable, since they are about to be
 * read in order: at most SP_WINDOW_BYTES of a log and SP_KEPT_FRAMES_BYTES of a store above the
 * cache. 0: none. */
void sp_log_keep_from(struct sp_log *log, uint64_t index);

/* Serves the read from memory at once if all of its start is there: true, and result is set, to be
 * released. */
bool sp_log_read_cached(struct sp_log *log, struct sp_log_read *read);

/* Starts a read; `cb` later with 0, SPATE_ERR_NOT_FOUND (start is below the first frame or above
 * the last), SPATE_ERR_CORRUPT, SPATE_ERR_IO, SPATE_ERR_NOMEM, SPATE_ERR_CANCELED. A read may end
 * before its bounds: at the end of a segment, or of what is on disk. Refused at once with
 * SPATE_ERR_NOMEM, or SPATE_ERR_CANCELED when the log is closing. */
int sp_log_read_start(struct sp_log *log, struct sp_log_read *read);

/* Gives up a read that was started: `cb` comes all the same, with SPATE_ERR_CANCELED, and without
 * the disk if the read still waits for its turn. */
void sp_log_read_abandon(struct sp_log_read *read);

/* Drops the references of a finished read. */
void sp_log_read_release(struct sp_log_read *read);

/* ---- checkpoints ----------------------------------------------------------------------------- */

/* Index of the newest checkpoint (0: none) and the machine's state in it, borrowed until the next
 * sp_log_checkpoint_write, install or close. */
uint64_t sp_log_checkpoint_index(const struct sp_log *log);
void sp_log_checkpoint_state(const struct sp_log *log, const uint8_t **out_bytes, size_t *out_size);

/* The index after which a checkpoint is wanted next: base-1 of the oldest segment that has none yet
 * (0: none is wanted). When apply has passed exactly this index, write one: to be looked at before
 * each frame is applied, since a log may roll after all before has been. */
uint64_t sp_log_checkpoint_wanted(const struct sp_log *log);

/* Writes the checkpoint for sp_log_checkpoint_wanted with a copy of the machine's `state`, beside
 * the segment, by a job, once the log below it is durable, and there is space. SPATE_ERR_NOMEM:
 * asked again later. */
int sp_log_checkpoint_write(struct sp_log *log, const uint8_t *state, size_t size);

/* Forces a roll: the next append opens a new segment (state machines roll by command count). */
void sp_log_roll(struct sp_log *log);

/* Frames in the newest segment, and the size at which it is followed by the next; 0 sets it back to
 * the store's. */
uint64_t sp_log_newest_count(const struct sp_log *log);
uint64_t sp_log_segment_bytes(const struct sp_log *log);
void sp_log_set_segment_bytes(struct sp_log *log, uint64_t segment_bytes);

struct sp_log_image;
typedef void (*sp_log_image_cb)(struct sp_log_image *image, int status);

/* The file image of the checkpoint at which the log begins, for a follower below first_index.
 * Embedded by its caller, who fills in `cb`. */
struct sp_log_image {
    sp_log_image_cb cb;
    uint64_t index; /* result: first_index - 1, and its term */
    uint64_t term;
    struct sp_blob *blob; /* result: a reference for the caller */
    struct sp_job job;    /* the rest belongs to storage */
    struct sp_log *log;
    int status;
};

/* `cb` later with 0, SPATE_ERR_NOT_FOUND (the log was trimmed or replaced meanwhile),
 * SPATE_ERR_CORRUPT, SPATE_ERR_IO, SPATE_ERR_NOMEM, SPATE_ERR_CANCELED. At once
 * SPATE_ERR_NOT_FOUND: the log begins with its very first frame; SPATE_ERR_CANCELED. */
int sp_log_image_start(struct sp_log *log, struct sp_log_image *image);

/* ---- trimming -------------------------------------------------------------------------------- */

/* The index below which whole segments may go while `checkpoints_kept` (>= 1) checkpoints stay,
 * that at which the log then begins among them; 0: nothing may go. */
uint64_t sp_log_trim_index(const struct sp_log *log, unsigned checkpoints_kept);

/* The same for a log of records that are of no use below `offset`: whole segments that end at or
 * below it, as far as the one behind them has its checkpoint; 0: nothing may go. */
uint64_t sp_log_trim_index_below(const struct sp_log *log, int64_t offset);

/* What a log of records keeps. */
struct sp_log_retention {
    int64_t bytes; /* oldest segments are too many while the others have so much; -1: no limit */
    int64_t expired_ms; /* segments whose last frame was appended before are too old */
    int64_t offset_max; /* nothing above may go */
};

/* The offset up to which whole segments have outlived `retention`; at most sp_log_end_offset, which
 * means that all records have. */
int64_t sp_log_expired_offset(const struct sp_log *log, const struct sp_log_retention *retention);

/* Append time of the first frame in the newest segment; INT64_MAX while it has none. */
int64_t sp_log_newest_since_ms(const struct sp_log *log);

/* Drops all frames up to `index`, which sp_log_trim_index has named. Reads below it find nothing
 * from now on; the files go by a job, the oldest first. */
void sp_log_trim(struct sp_log *log, uint64_t index);

#endif /* SP_STORAGE_LOG_H */
