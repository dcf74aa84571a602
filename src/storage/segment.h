/* One segment file: a header that says where its log stands before it, then frames.
 *
 *   off size  field             little-endian
 *     0    8  magic             "SPATELOG"
 *     8    4  version           1
 *    12    4  0
 *    16    8  group_id
 *    24    8  base              Raft index of its first frame
 *    32    8  term              of the frame before base (0: none)
 *    40    8  end_offset        offset of the next batch
 *    48    8  append_time_ms    of the frame before base (0: none)
 *    56    8  marker_key        secret number that the segment's markers carry
 *    64    4  chain             of the frame before base
 *    68    4  crc               crc32c of bytes [0, 68)
 *    72    .  zeros up to 4096, where the first frame begins
 *
 * A marker's append_time_ms field holds the segment's marker_key: producers never see it, so no
 * record's content can pass for a marker when recovery searches behind a torn tail. All functions
 * with files block. */
#ifndef SP_STORAGE_SEGMENT_H
#define SP_STORAGE_SEGMENT_H

#include <stdint.h>

#include "io/file.h"
#include "storage/log_frame.h"
#include "storage/log_run.h"

#define SP_SEGMENT_HEADER_SIZE 4096
#define SP_SEGMENT_SUFFIX "log"

/* Where a log stands after a frame; all zeros before the first. */
struct sp_log_point {
    uint64_t index;
    uint64_t term;
    int64_t end_offset;
    int64_t append_time_ms;
    uint32_t chain;
};

/* Checks that the verified `frame` at `bytes` (no marker) continues a log of `group_id` at
 * `before`: index, chain, append time, term, base offset. SPATE_ERR_CORRUPT. */
int sp_log_point_follow(const struct sp_log_point *before,
                        uint64_t group_id,
                        const struct sp_log_frame *frame,
                        const uint8_t *bytes,
                        struct sp_log_point *out_after);

struct sp_segment_header {
    uint64_t group_id;
    uint64_t marker_key;
    struct sp_log_point before;
};

/* `bytes` has SP_SEGMENT_HEADER_SIZE bytes. */
void sp_segment_header_encode(const struct sp_segment_header *header, uint8_t *bytes);

/* SPATE_ERR_CORRUPT. */
int sp_segment_header_decode(const uint8_t *bytes,
                             size_t size,
                             struct sp_segment_header *out_header);

/* A marker's bytes: `point` is where the log stands before it, `synced` the index it names with
 * its term. `bytes` has SP_LOG_FRAME_HEADER_SIZE bytes. */
void sp_segment_marker_encode(const struct sp_segment_header *header,
                              uint64_t synced_index,
                              uint64_t synced_term,
                              uint32_t chain,
                              uint8_t *bytes);

/* Creates the segment's file with its header and `pieces` behind it, durable with its name. Errors
 * of io/file.h. */
int sp_segment_create(const char *directory,
                      const struct sp_segment_header *header,
                      const struct sp_iovec *pieces,
                      unsigned count,
                      struct sp_file **out_file);

/* The same with the file at `spare` (spares.h), whose old content stays behind the header. Errors
 * as above; SPATE_ERR_NOT_FOUND: there is no such file. */
int sp_segment_reuse(const char *directory,
                     const struct sp_segment_header *header,
                     const char *spare,
                     struct sp_file **out_file);

/* Opens a segment's file (`mode` as sp_file_open) and reads its header. Errors of io/file.h, or
 * SPATE_ERR_CORRUPT with nothing opened. */
int sp_segment_open(const char *directory,
                    uint64_t base,
                    uint64_t group_id,
                    int mode,
                    struct sp_segment_header *out_header,
                    struct sp_file **out_file,
                    uint64_t *out_size);

/* Reads the header of the segment file at `path`, of whatever group. SPATE_ERR_CORRUPT, errors of
 * io/file.h. */
int sp_segment_peek(const char *path, struct sp_segment_header *out_header);

/* Walks frame by frame through a part of a segment's file, through one buffer. */
struct sp_segment_cursor {
    struct sp_file *file;     /* borrowed */
    const struct sp_job *job; /* that reads and may have to rest; NULL: none */
    uint64_t position;        /* of the next frame */
    uint64_t end;             /* nothing at or above it is read */
    uint8_t *buffer;          /* bytes from buffer_position on */
    size_t buffer_capacity;
    size_t buffer_size;
    uint64_t buffer_position;
    uint64_t record_size; /* of what the frame given out last stands in, at its *out_position */
    struct sp_blob *run;  /* the frames of that, if it is a run; else NULL */
    size_t run_position;  /* of the next frame in it; its size: all were given out */
};

/* Needs sp_segment_cursor_deinit also on failure. */
void sp_segment_cursor_init(struct sp_segment_cursor *cursor,
                            struct sp_file *file,
                            uint64_t position,
                            uint64_t end);
void sp_segment_cursor_deinit(struct sp_segment_cursor *cursor);

/* The next frame, verified but for its chain, markers included; its bytes are borrowed until the
 * next call and *out_position is its place. Frames of a run (log_run.h) come one by one, all with
 * the place of the run, at which the cursor stays until the last has been given out.
 * SPATE_ERR_NOT_FOUND at the end exactly; SPATE_ERR_CORRUPT when no whole valid frame stands there
 * (the cursor stays); SPATE_ERR_IO, SPATE_ERR_NOMEM. */
int sp_segment_cursor_next(struct sp_segment_cursor *cursor,
                           struct sp_log_frame *out_frame,
                           const uint8_t **out_bytes,
                           uint64_t *out_position);

/* How many frames of its run come before the one given out last; 0 for one that stands alone. */
static inline unsigned sp_segment_cursor_place_in_run(const struct sp_segment_cursor *cursor)
{
    return cursor->run == NULL ? 0 : (unsigned)(cursor->run_position / SP_LOG_RUN_FRAME_SIZE - 1);
}

/* What markers stand in a part of a file. */
struct sp_marker_search {
    uint64_t synced_index; /* the largest that one of the segment names; 0: there is none */
    uint64_t count;        /* of the segment */
    uint64_t others;       /* of what the file was before (spares.h) */
    bool zeros;            /* nothing else stands there (prefill.h) */
};

/* Searches for markers of `group_id` at every multiple of 8 from `position` on. `marker_key` 0: of
 * any key (the header is not readable). Errors of sp_file_read, SPATE_ERR_NOMEM. */
int sp_segment_find_markers(struct sp_file *file,
                            uint64_t position,
                            uint64_t group_id,
                            uint64_t marker_key,
                            struct sp_marker_search *out_search);

#endif /* SP_STORAGE_SEGMENT_H */
