/* The newest frames of a log in memory: all that is not durable yet, and some that are.
 *
 *      head                                            last index of the log
 *       | durable, for readers | in flight | not yet given a place in a file |
 *
 * A ring of slices; frames enter at the end, leave at the front (trimmed) or at the end (cut). */
#ifndef SP_STORAGE_LOG_TAIL_H
#define SP_STORAGE_LOG_TAIL_H

#include <stdint.h>

#include "base/buf.h"

struct sp_tail_entry {
    struct sp_slice frame; /* whole frame, padding included */
    int64_t end_offset;    /* of the log after it */
    uint64_t position;     /* in its segment's file; 0: no place yet */
};

struct sp_log_tail {
    struct sp_tail_entry *entries;
    uint32_t capacity; /* a power of two, or 0 */
    uint32_t head;     /* slot of the oldest */
    uint32_t count;
    size_t bytes; /* of all frames */
};

/* Drops all frames and gives the memory back; also makes a zero-initialised tail's state. */
void sp_log_tail_clear(struct sp_log_tail *tail);

/* Makes room for one more entry. SPATE_ERR_NOMEM. */
int sp_log_tail_reserve(struct sp_log_tail *tail);

/* Adds a frame, taking the slice's reference; room was reserved. */
void sp_log_tail_push(struct sp_log_tail *tail, struct sp_slice frame, int64_t end_offset);

/* The n-th entry from the oldest. */
struct sp_tail_entry *sp_log_tail_at(const struct sp_log_tail *tail, uint32_t n);

/* Drop the oldest or the newest frame, with its reference; there is one. */
void sp_log_tail_pop_front(struct sp_log_tail *tail);
void sp_log_tail_pop_back(struct sp_log_tail *tail);

#endif /* SP_STORAGE_LOG_TAIL_H */
