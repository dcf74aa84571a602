/* What recovery's files share: log_recover.c reads the log, log_recover_segment.c one segment, and
 * log_break.c judges where it ends. */
#ifndef SP_STORAGE_LOG_RECOVER_H
#define SP_STORAGE_LOG_RECOVER_H

#include "base/attr.h"
#include "storage/base_list.h"
#include "storage/log_rest.h"
#include "storage/log_state.h"

struct sp_recovery {
    const struct sp_log_recovery *request;
    struct sp_log *log; /* grows segment by segment */
    struct sp_base_list segments;
    struct sp_base_list checkpoints;
    bool install;     /* SP_INSTALL_NAME exists */
    bool truncation;  /* SP_TRUNCATION_NAME exists */
    bool rest;        /* SP_REST_NAME did */
    bool rest_usable; /* it is the last run's; what follows is what it held */
    struct sp_log_rest_file rest_file;
    struct sp_blob *rest_image;
    uint64_t scanned_bytes; /* of frames */
    uint64_t told_bytes;    /* of them, when that was traced last */
};

/* The place behind which a log's files could not be read on. */
struct sp_log_break {
    unsigned segment;    /* number in recovery->segments */
    uint64_t position;   /* in its file; 0: its header is not that of the next segment */
    uint64_t marker_key; /* of the segment; 0: not known */
    bool recycled;       /* what the file was before stands behind it */
    bool zeros;          /* room stands behind it, and nothing else */
};

/* Says what is wrong in the request's text and returns `status`. */
int sp_recovery_fail(const struct sp_recovery *recovery, int status, const char *format, ...)
    SP_PRINTF(3, 4);

/* Frames of these indexes are missing between two segments. Returns SPATE_ERR_CORRUPT. */
int sp_recovery_tell_gap(const struct sp_recovery *recovery, uint64_t first, uint64_t last);

/* The same for a write or a sync: the disk has failed when `status` is SPATE_ERR_IO. */
int sp_recovery_fail_writing(const struct sp_recovery *recovery, int status, const char *what);

/* Decides whether what follows the break is a torn tail, which is cut off the files, or damage to
 * synced frames: SPATE_ERR_CORRUPT. Other errors of files. */
int sp_recovery_judge(struct sp_recovery *recovery, struct sp_log_break *at);

/* SPATE_ERR_CORRUPT: a whole checkpoint stands behind the newest segment, whose own is missing.
 * Other errors of files. */
int sp_recovery_look_behind(const struct sp_recovery *recovery);

/* Opens segment `number` for reading and syncing; as sp_segment_open. */
int sp_recovery_open_segment(const struct sp_recovery *recovery,
                             unsigned number,
                             struct sp_segment_header *out_header,
                             struct sp_file **out_file,
                             uint64_t *out_size);

/* Where segment `number` begins, from its header; as sp_segment_open. */
int sp_recovery_begin_of(const struct sp_recovery *recovery,
                         unsigned number,
                         struct sp_log_point *out_point);

/* True if two segments, or a segment and a checkpoint, agree on where the log stands. */
bool sp_recovery_same_point(const struct sp_log_point *a, const struct sp_log_point *b);

/* Adds a segment of `size` bytes to the log. SPATE_ERR_NOMEM. */
int sp_recovery_add_segment(struct sp_recovery *recovery,
                            const struct sp_segment_header *header,
                            uint64_t size);

/* Follows the frames of `segment` from `point` on as far as they fit; `history` may be NULL.
 * SPATE_ERR_NOT_FOUND: up to the end of the file. SPATE_ERR_CORRUPT: *out_position is where they
 * stop to fit. */
int sp_recovery_follow_frames(struct sp_recovery *recovery,
                              struct sp_file *file,
                              struct sp_log_segment *segment,
                              struct sp_log_point *point,
                              struct sp_log_history *history,
                              uint64_t *out_position);

/* The segment ends at `position`: what its file has behind that goes, durably. Errors of files. */
int sp_recovery_end_segment(struct sp_recovery *recovery,
                            struct sp_log_segment *segment,
                            uint64_t position);

/* Writes the index file of a segment that is finished. A failure only makes reads slower. */
void sp_recovery_save_index(struct sp_recovery *recovery,
                            struct sp_log_segment *segment,
                            uint32_t end_chain);

/* Adds the segments below number `start`, each with its index. SPATE_ERR_CORRUPT, errors of
 * files. */
int sp_recovery_load_all_older(struct sp_recovery *recovery, unsigned start);

/* Reads and removes the file that the last run left, if there is one. SPATE_ERR_CORRUPT: the newest
 * segment has not all that it says. */
int sp_recovery_take_rest(struct sp_recovery *recovery);
void sp_recovery_drop_rest(struct sp_recovery *recovery);

/* Adds the newest segment, number `start`, as that file says. *out_used false: it is to be read.
 * SPATE_ERR_NOMEM. */
int sp_recovery_use_rest(struct sp_recovery *recovery, unsigned start, bool *out_used);

#endif /* SP_STORAGE_LOG_RECOVER_H */
