/* The commands of the controller that give ids to producers. */
#include "cluster/state_codec.h"
#include "cluster/state_parts.h"
#include "spate/error.h"

static int command_end(struct sp_cursor *cursor)
{
    return sp_cursor_finish(cursor) == 0 ? 0 : SPATE_ERR_CORRUPT;
}

int sp_state_take_producer_block(struct sp_state *state,
                                 struct sp_cursor *cursor,
                                 struct sp_state_change *out_change)
{
    uint64_t first = state->next_producer_id;

    int rv = command_end(cursor);
    if (rv != 0) {
        return rv;
    }
    if (first > SP_STATE_ID_MAX - SP_PRODUCER_ID_BLOCK) {
        return SPATE_ERR_INVALID;
    }
    state->next_producer_id += SP_PRODUCER_ID_BLOCK;
    *out_change =
        (struct sp_state_change){ .kind = SP_STATE_PRODUCER_BLOCK, .producer_id_first = first };
    return 0;
}

int sp_state_take_producer_name(struct sp_state *state,
                                struct sp_cursor *cursor,
                                int64_t append_time_ms,
                                struct sp_state_change *out_change)
{
    struct sp_producer_name wanted = { .producer_id = state->next_producer_id,
                                       .taken_last_ms = append_time_ms };
    const struct sp_producer_name *taken = NULL;

    sp_state_text_read(cursor, wanted.name, sizeof wanted.name);
    sp_state_text_read(cursor, wanted.layout, sizeof wanted.layout);
    int rv = command_end(cursor);
    if (rv != 0) {
        return rv;
    }
    if (wanted.name[0] == '\0' || wanted.producer_id >= SP_STATE_ID_MAX) {
        return SPATE_ERR_INVALID;
    }
    rv = sp_producer_names_take(state->producer_names, &wanted, &taken);
    if (rv != 0) {
        return rv;
    }
    if (taken->producer_id == state->next_producer_id) {
        state->next_producer_id += 1;
    }
    *out_change = (struct sp_state_change){ .kind = SP_STATE_PRODUCER_NAMED,
                                            .producer_id_first = taken->producer_id,
                                            .producer_epoch = taken->epoch };
    return 0;
}

const struct sp_producer_names *sp_state_producer_names(const struct sp_state *state)
{
    return state->producer_names;
}
