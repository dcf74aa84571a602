/* What planning a read on the loop thread and its job in a worker share. */
#ifndef SP_STORAGE_LOG_READ_H
#define SP_STORAGE_LOG_READ_H

#include "storage/log_state.h"

/* What a job reads; owned by the read while its job runs. */
struct sp_read_plan {
    const char *directory;
    uint64_t group_id;
    uint64_t generation;
    uint64_t limit;       /* no frame above this Raft index */
    uint64_t base;        /* of the segment */
    uint64_t end;         /* of its file, as far as it has been given out */
    uint64_t position;    /* where the search begins */
    uint64_t next_index;  /* of the frame there; afterwards: where to go on */
    uint32_t base_chain;  /* of the frame before the segment's first one */
    bool load_index;      /* a better beginning is in the segment's index file */
    uint32_t end_chain;   /* of the segment, to check that file */
    struct sp_blob *blob; /* result: holds read->frames, which have no references yet */
};

/* How many frames a read may return. */
unsigned sp_log_read_frames_limit(const struct sp_log_read *read);

/* True if the read asks for this frame; `begun`: it has frames already. */
bool sp_log_read_matches(const struct sp_log_read *read,
                         const struct sp_log_frame *frame,
                         const uint8_t *bytes,
                         bool begun);

/* Does what the plan says, blocking, on any thread: read->frames are set, without references of
 * their own; plan->blob holds them. The status that the read ends with (log.h). */
int sp_log_read_segment(struct sp_log_read *read, struct sp_read_plan *plan);

/* Lets reads that wait for the end of a segment's replacement look again. */
void sp_log_read_unpark(struct sp_log *log);

#endif /* SP_STORAGE_LOG_READ_H */
