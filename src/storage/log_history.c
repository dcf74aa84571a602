#include "storage/log_history.h"

#include <stdbool.h>
#include <string.h>

#include "base/mem.h"
#include "spate/error.h"

#define FIRST_CAPACITY 2

static void drop_membership(struct sp_membership *membership)
{
    /* The history made the copy that it now frees. */
    union {
        const uint8_t *constant;
        void *owned;
    } bytes = { .constant = membership->bytes };

    sp_mem_free(bytes.owned);
}

void sp_log_history_clear(struct sp_log_history *history)
{
    for (uint32_t i = 0; i < history->membership_count; i++) {
        drop_membership(&history->memberships[i]);
    }
    sp_mem_free(history->memberships);
    sp_mem_free(history->epochs);
    *history = (struct sp_log_history){ .epochs = NULL };
}

static int reserve_epoch(struct sp_log_history *history)
{
    if (history->epoch_count < history->epoch_capacity) {
        return 0;
    }
    uint32_t capacity = history->epoch_capacity == 0 ? FIRST_CAPACITY : 2 * history->epoch_capacity;
    void *epochs = sp_mem_realloc(history->epochs, capacity * sizeof history->epochs[0]);
    if (epochs == NULL) {
        return SPATE_ERR_NOMEM;
    }
    history->epochs = epochs;
    history->epoch_capacity = capacity;
    return 0;
}

static int reserve_membership(struct sp_log_history *history)
{
    if (history->membership_count < history->membership_capacity) {
        return 0;
    }
    uint32_t capacity =
        history->membership_capacity == 0 ? FIRST_CAPACITY : 2 * history->membership_capacity;
    void *memberships =
        sp_mem_realloc(history->memberships, capacity * sizeof history->memberships[0]);
    if (memberships == NULL) {
        return SPATE_ERR_NOMEM;
    }
    history->memberships = memberships;
    history->membership_capacity = capacity;
    return 0;
}

static int
add_membership(struct sp_log_history *history, uint64_t index, const uint8_t *bytes, uint32_t size)
{
    int rv = reserve_membership(history);
    if (rv != 0) {
        return rv;
    }
    uint8_t *copy = sp_mem_alloc(size > 0 ? size : 1);
    if (copy == NULL) {
        return SPATE_ERR_NOMEM;
    }
    if (size > 0) {
        memcpy(copy, bytes, size);
    }
    history->memberships[history->membership_count] =
        (struct sp_membership){ .index = index, .size = size, .bytes = copy };
    history->membership_count += 1;
    return 0;
}

static uint64_t last_term(const struct sp_log_history *history)
{
    return history->epoch_count > 0 ? history->epochs[history->epoch_count - 1].term : 0;
}

int sp_log_history_note(struct sp_log_history *history,
                        const struct sp_log_frame *frame,
                        const uint8_t *payload)
{
    bool new_epoch = history->epoch_count == 0 || frame->term != last_term(history);
    int rv = new_epoch ? reserve_epoch(history) : 0;

    if (rv == 0 && frame->kind == SP_FRAME_CONFIGURATION) {
        rv = add_membership(history, frame->index, payload, frame->length);
    }
    if (rv == 0 && new_epoch) {
        history->epochs[history->epoch_count] = (struct sp_epoch){ frame->index, frame->term };
        history->epoch_count += 1;
    }
    return rv;
}

void sp_log_history_cut(struct sp_log_history *history, uint64_t index)
{
    while (history->epoch_count > 0 &&
           history->epochs[history->epoch_count - 1].first_index >= index) {
        history->epoch_count -= 1;
    }
    while (history->membership_count > 0 &&
           history->memberships[history->membership_count - 1].index >= index) {
        history->membership_count -= 1;
        drop_membership(&history->memberships[history->membership_count]);
    }
}

void sp_log_history_trim(struct sp_log_history *history, uint64_t first_index)
{
    uint32_t epochs = 0;
    uint32_t memberships = 0;

    while (epochs + 1 < history->epoch_count &&
           history->epochs[epochs + 1].first_index < first_index) {
        epochs += 1;
    }
    while (memberships + 1 < history->membership_count &&
           history->memberships[memberships + 1].index < first_index) {
        drop_membership(&history->memberships[memberships]);
        memberships += 1;
    }
    if (epochs > 0) {
        history->epoch_count -= epochs;
        memmove(history->epochs,
                history->epochs + epochs,
                history->epoch_count * sizeof history->epochs[0]);
    }
    if (memberships > 0) {
        history->membership_count -= memberships;
        memmove(history->memberships,
                history->memberships + memberships,
                history->membership_count * sizeof history->memberships[0]);
    }
}

uint64_t sp_log_history_term(const struct sp_log_history *history, uint64_t index)
{
    for (uint32_t i = history->epoch_count; i > 0; i--) {
        if (history->epochs[i - 1].first_index <= index) {
            return history->epochs[i - 1].term;
        }
    }
    return 0;
}

uint64_t sp_log_history_at_most(const struct sp_log_history *history, uint64_t index, uint64_t term)
{
    for (uint32_t i = history->epoch_count; i > 0; i--) {
        const struct sp_epoch *epoch = &history->epochs[i - 1];

        if (epoch->first_index <= index && epoch->term <= term) {
            return index;
        }
        if (epoch->first_index <= index) {
            index = epoch->first_index - 1;
        }
    }
    return 0;
}

int sp_log_history_load(struct sp_log_history *history, const struct sp_checkpoint *checkpoint)
{
    const uint8_t *cursor = checkpoint->memberships;
    int rv = 0;

    for (uint32_t i = 0; i < checkpoint->epoch_count && rv == 0; i++) {
        rv = reserve_epoch(history);
        if (rv == 0) {
            history->epochs[history->epoch_count] = sp_checkpoint_epoch(checkpoint, i);
            history->epoch_count += 1;
        }
    }
    for (uint32_t i = 0; i < checkpoint->membership_count && rv == 0; i++) {
        const struct sp_membership membership = sp_checkpoint_membership(&cursor);

        rv = add_membership(history, membership.index, membership.bytes, membership.size);
    }
    return rv;
}

struct sp_blob *sp_log_history_checkpoint(const struct sp_log_history *history,
                                          uint64_t group_id,
                                          const struct sp_log_point *point,
                                          const uint8_t *state,
                                          size_t state_size)
{
    uint32_t epochs = history->epoch_count;
    uint32_t memberships = history->membership_count;

    while (epochs > 0 && history->epochs[epochs - 1].first_index > point->index) {
        epochs -= 1;
    }
    while (memberships > 0 && history->memberships[memberships - 1].index > point->index) {
        memberships -= 1;
    }
    return sp_checkpoint_encode(group_id,
                                point,
                                history->epochs,
                                epochs,
                                history->memberships,
                                memberships,
                                state,
                                state_size);
}
