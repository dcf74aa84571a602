/* Replacing a finished segment of a log by one whose frames hold less (compaction).
 *
 *   begin -> append ... append (in a worker) -> swap -> callback      the new file is in place
 *                                          `--> drop -> callback      the old one stays
 *
 *   BASE.rewrite.tmp written, fdatasync        a crash: recovery removes it
 *   BASE.index removed, directory synced       it describes the old file
 *   renamed to BASE.log, directory synced      one step: from here on the new one is there
 *   BASE.index written anew                    a hint, not synced
 *
 * Frames keep index, term, time, offsets and chain (storage/log_frame.h), so that the new file
 * leads from where its segment begins to where the next one does; one that does not is refused
 * before anything is replaced. Only segments that are finished, durable and below what was applied
 * are rewritten: they are never cut. Reads of the segment wait while its file is changed. */
#ifndef SP_STORAGE_LOG_REWRITE_H
#define SP_STORAGE_LOG_REWRITE_H

#include "io/loop.h"
#include "storage/log.h"
#include "storage/log_run.h"
#include "storage/offset_index.h"
#include "storage/segment.h"

/* A finished segment: the next one has its file. */
struct sp_log_span {
    uint64_t first_index;
    uint64_t last_index;
    int64_t first_offset;   /* of its first record, or of that of the next segment */
    int64_t end_offset;     /* of the first record behind it */
    int64_t append_time_ms; /* of its last frame */
    uint32_t chain_before;  /* of the frame before its first one */
    uint64_t size_bytes;
    bool bare; /* it was found that none of its frames holds a record */
};

/* The first finished segment that ends at or above Raft index `index`; false: there is none. */
bool sp_log_finished_span(const struct sp_log *log, uint64_t index, struct sp_log_span *out_span);

/* True if the disk takes `size_bytes` more and the last of the reserve (enum sp_space) stays: a new
 * file stands beside the old one until it is done, and a disk that is full stops the node. */
bool sp_log_rewrite_has_room(const struct sp_log *log, uint64_t size_bytes);

/* No frame of the finished segment that begins with Raft index `first_index` holds a record. Known
 * until the log closes. */
void sp_log_note_bare(struct sp_log *log, uint64_t first_index);

struct sp_log_rewrite;
typedef void (*sp_log_rewrite_cb)(struct sp_log_rewrite *rewrite, int status);

/* Embedded by its owner; one at a time for a log, which does not close before it has ended. */
struct sp_log_rewrite {
    sp_log_rewrite_cb cb;
    struct sp_log *log; /* NULL: not begun, or ended. The rest belongs to storage. */
    struct sp_job job;
    const char *directory;
    struct sp_segment_header header;
    struct sp_log_point end;   /* where the next segment begins */
    struct sp_log_point point; /* behind the last frame that was appended */
    struct sp_file *file;
    uint64_t size;
    bool packs;
    struct sp_log_run run; /* emptied frames that wait for others, if it packs */
    struct sp_buf out;     /* on its way into the file */
    int64_t max_timestamp_ms;
    struct sp_offset_index offset_index;
    bool index_saved;
    int status;
};

/* Begins with the finished segment of `span`; with `packs` emptied frames are written as runs
 * (log_run.h). SPATE_ERR_BUSY: one is being rewritten; SPATE_ERR_NOT_FOUND: it is no longer there;
 * SPATE_ERR_CANCELED: the log is closing. */
int sp_log_rewrite_begin(struct sp_log *log,
                         const struct sp_log_span *span,
                         bool packs,
                         sp_log_rewrite_cb cb,
                         struct sp_log_rewrite *rewrite);

/* Appends `size` bytes of whole frames, blocking, in a worker. SPATE_ERR_CORRUPT: they do not
 * continue the ones before; SPATE_ERR_INTERNAL: of sp_log_run_put; SPATE_ERR_IO,
 * SPATE_ERR_NO_SPACE, SPATE_ERR_NOMEM. Only sp_log_rewrite_drop may follow a failure. */
int sp_log_rewrite_append(struct sp_log_rewrite *rewrite, const uint8_t *bytes, size_t size);

/* Puts the new file in place. `cb` later with 0; SPATE_ERR_NOT_FOUND: the segment was dropped
 * meanwhile; SPATE_ERR_NO_SPACE: it stays as it was; SPATE_ERR_STOPPED: the disk failed. The
 * rewrite has ended then. At once, and it has not: SPATE_ERR_BUSY: other files of the log are
 * changed at the moment; SPATE_ERR_CORRUPT: frames are missing at its end; SPATE_ERR_CANCELED: the
 * segment is gone, or the log is closing. */
int sp_log_rewrite_swap(struct sp_log_rewrite *rewrite);

/* Gives up: removes what was written. `cb` later with SPATE_ERR_CANCELED. */
void sp_log_rewrite_drop(struct sp_log_rewrite *rewrite);

#endif /* SP_STORAGE_LOG_REWRITE_H */
