/* What a log remembers of all its frames: where each term began, and the memberships. */
#ifndef SP_STORAGE_LOG_HISTORY_H
#define SP_STORAGE_LOG_HISTORY_H

#include <stdint.h>

#include "storage/checkpoint.h"
#include "storage/log_frame.h"

struct sp_log_history {
    struct sp_epoch *epochs; /* ascending */
    uint32_t epoch_count;
    uint32_t epoch_capacity;
    struct sp_membership *memberships; /* ascending; bytes owned */
    uint32_t membership_count;
    uint32_t membership_capacity;
};

/* Frees all; the history is empty then, as when it is zero-initialised. */
void sp_log_history_clear(struct sp_log_history *history);

/* Takes in the next frame of the log. SPATE_ERR_NOMEM; nothing changed then. */
int sp_log_history_note(struct sp_log_history *history,
                        const struct sp_log_frame *frame,
                        const uint8_t *payload);

/* Forgets everything from Raft index `index` on. */
void sp_log_history_cut(struct sp_log_history *history, uint64_t index);

/* Forgets what is not needed for a log whose first frame is `first_index`: keeps the epoch and the
 * newest membership just below it. */
void sp_log_history_trim(struct sp_log_history *history, uint64_t first_index);

/* Term of the frame at `index`; 0 when it is older than all that is known. */
uint64_t sp_log_history_term(const struct sp_log_history *history, uint64_t index);

/* The largest index <= `index` whose term is <= `term`; 0 when there is none. */
uint64_t
sp_log_history_at_most(const struct sp_log_history *history, uint64_t index, uint64_t term);

/* Fills an empty history from a checkpoint. SPATE_ERR_NOMEM. */
int sp_log_history_load(struct sp_log_history *history, const struct sp_checkpoint *checkpoint);

/* The image of a checkpoint at `point` with everything up to its index, or NULL. */
struct sp_blob *sp_log_history_checkpoint(const struct sp_log_history *history,
                                          uint64_t group_id,
                                          const struct sp_log_point *point,
                                          const uint8_t *state,
                                          size_t state_size);

#endif /* SP_STORAGE_LOG_HISTORY_H */
