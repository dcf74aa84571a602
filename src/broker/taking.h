/* How well a connection takes its answers, and so how much is read for it ahead of that.
 *
 *             takes an answer of SP_TRIAL_BYTES in time, then one of four times as much
 *    ON TRIAL ------------------------------------------------------------------------> TRUSTED
 *        ^                                                                                 |
 *        '---- more than SP_TAKEN_LATE_MS for that, or to make room for the next answer ---'
 *
 * On trial one small answer is read at a time, the next one once the kernel has taken all of it,
 * and the kernel takes no more than SP_TRIAL_BYTES ahead of the peer. So who asks for much and
 * reads nothing costs little: that its requests are there tells nothing. Who is trusted has answers
 * as large as asked for, and SP_ANSWERS_AHEAD_BYTES of them waiting. */
#ifndef SP_BROKER_TAKING_H
#define SP_BROKER_TAKING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sp_taking {
    size_t answer_bytes_max; /* SP_FETCH_BYTES_MAX: trusted */
    uint64_t mark_bytes;     /* taken when that changed last */
    uint64_t queued_ms;      /* since when there is something to take; 0: there is nothing */
    uint64_t refused_ms;     /* since when no more is read because of that; 0: more is read */
};

/* A connection that has taken nothing yet: it is on trial. */
void sp_taking_init(struct sp_taking *taking);

/* True if it has taken enough to be sent answers of any size. */
bool sp_taking_trusted(const struct sp_taking *taking);

/* More is read for it while it is owed so many bytes at most. */
size_t sp_taking_owed_max(const struct sp_taking *taking);

/* What the kernel may hold unsent for it. */
size_t sp_taking_unsent_max(const struct sp_taking *taking);

/* An answer was queued. */
void sp_taking_queued(struct sp_taking *taking, uint64_t now_ms);

/* All that was queued has been taken, `taken_bytes` since the connection began. */
void sp_taking_drained(struct sp_taking *taking, uint64_t taken_bytes, uint64_t now_ms);

/* Whether it was owed too much when more was to be read; `taken_bytes` as above. */
void sp_taking_asked(struct sp_taking *taking, bool refused, uint64_t taken_bytes, uint64_t now_ms);

#endif /* SP_BROKER_TAKING_H */
