/* How much a stream reads when it is its turn: equal parts of what one turn of its loop may read.
 *
 *   turn n    : `hungry` streams were cut short
 *   turn n + 1: each reads SP_TURN_BYTES / hungry, or SP_TURN_BYTES_LEAST once the turn is used up
 *
 * What arrives in a turn is answered at its end, so whoever sends little waits as long as it takes
 * to handle what the others send: that is bounded here, whatever they send, and however many they
 * are each of them is read in each turn. A stream that is cut short goes on in the next turn. */
#ifndef SP_IO_READ_SHARE_H
#define SP_IO_READ_SHARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"

struct sp_read_share {
    uint64_t turn;          /* that the rest tells of */
    size_t bytes;           /* read in it so far */
    unsigned hungry;        /* streams that it has cut short */
    unsigned hungry_before; /* the same of the turn before */
};

/* How much the next stream may read in this `turn` of the loop; never 0. */
static inline size_t sp_read_share_begin(struct sp_read_share *share, uint64_t turn)
{
    if (turn != share->turn) {
        share->hungry_before = turn == share->turn + 1 ? share->hungry : 0;
        share->hungry = 0;
        share->bytes = 0;
        share->turn = turn;
    }
    size_t part = SP_TURN_BYTES / (share->hungry_before > 1 ? share->hungry_before : 1);

    return share->bytes >= SP_TURN_BYTES || part < SP_TURN_BYTES_LEAST ? SP_TURN_BYTES_LEAST : part;
}

/* A stream has read `size` bytes, and would have read more if it had been `cut` short. */
static inline void sp_read_share_end(struct sp_read_share *share, size_t size, bool cut)
{
    share->bytes += size;
    share->hungry += cut ? 1 : 0;
}

#endif /* SP_IO_READ_SHARE_H */
