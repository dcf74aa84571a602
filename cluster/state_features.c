/* The cluster's feature level in the controller's state (base/feature.h). */
#include "cluster/state_codec.h"
#include "cluster/state_parts.h"
#include "spate/error.h"

void sp_state_set_level_max(struct sp_state *state, uint32_t level_max)
{
    state->level_max = level_max;
}

/* The level from which on a command is written. One of a kind that is not listed is a newer
 * build's. */
static uint32_t level_of(uint64_t kind)
{
    switch (kind) {
    case SP_STATE_REGISTER_NODE:
    case SP_STATE_CREATE_TOPIC:
    case SP_STATE_DELETE_TOPIC:
    case SP_STATE_TAKE_PRODUCER_BLOCK:
    case SP_STATE_FEATURE_LEVEL_SET:
    case SP_STATE_FEATURE_HOLD_SET:
    case SP_STATE_FORCE_NODES:
        return SP_FEATURE_LEVEL_FIRST;
    case SP_STATE_TAKE_PRODUCER_NAME:
        return SP_FEATURE_PRODUCER_NAMES;
    case SP_STATE_ALTER_TOPIC:
        return SP_FEATURE_TOPIC_SETTINGS;
    case SP_STATE_MOVE_BEGIN:
    case SP_STATE_MOVE_DONE:
    case SP_STATE_JOIN_NODE:
    case SP_STATE_DRAIN_NODE:
    case SP_STATE_REMOVE_NODE:
    case SP_STATE_NODE_GONE:
    case SP_STATE_RENEW_VOTER:
        return SP_FEATURE_MEMBERSHIP;
    default:
        return UINT32_MAX;
    }
}

bool sp_state_knows(const struct sp_state *state, uint64_t kind)
{
    return level_of(kind) <= state->level_max;
}

static bool all_nodes_know(const struct sp_state *state, uint32_t level)
{
    struct sp_map_cursor cursor = { 0 };
    const struct sp_state_node *node = NULL;

    while ((node = sp_state_node_next(state, &cursor)) != NULL) {
        if (node->features.most < level || node->features.least > level) {
            return false;
        }
    }
    return true;
}

int sp_state_take_feature_level(struct sp_state *state,
                                struct sp_cursor *cursor,
                                struct sp_state_change *out_change)
{
    uint32_t level = (uint32_t)sp_cursor_uint(cursor, SP_FEATURE_LEVEL_LIMIT);

    if (sp_cursor_finish(cursor) != 0) {
        return SPATE_ERR_CORRUPT;
    }
    /* A node of an older build may have registered just before, or somebody may hold the level. */
    if (level <= state->feature_level || state->feature_hold || !all_nodes_know(state, level)) {
        return SPATE_ERR_INVALID;
    }
    if (level > state->level_max) {
        return SPATE_ERR_UNSUPPORTED;
    }
    state->feature_level = level;
    *out_change = (struct sp_state_change){ .kind = SP_STATE_FEATURE_LEVEL };
    return 0;
}

int sp_state_take_feature_hold(struct sp_state *state,
                               struct sp_cursor *cursor,
                               struct sp_state_change *out_change)
{
    bool hold = sp_cursor_uint(cursor, 1) == 1;

    if (sp_cursor_finish(cursor) != 0) {
        return SPATE_ERR_CORRUPT;
    }
    state->feature_hold = hold;
    *out_change = (struct sp_state_change){ .kind = SP_STATE_FEATURE_LEVEL };
    return 0;
}

uint32_t sp_state_feature_level(const struct sp_state *state)
{
    return state->feature_level;
}

bool sp_state_feature_hold(const struct sp_state *state)
{
    return state->feature_hold;
}

uint32_t sp_state_feature_target(const struct sp_state *state)
{
    struct sp_map_cursor cursor = { 0 };
    const struct sp_state_node *node = NULL;
    uint32_t target = SP_FEATURE_LEVEL_LIMIT;

    if (state->feature_hold || sp_state_node_count(state) == 0) {
        return state->feature_level;
    }
    while ((node = sp_state_node_next(state, &cursor)) != NULL) {
        target = node->features.most < target ? node->features.most : target;
    }
    return target > state->feature_level && all_nodes_know(state, target) ? target
                                                                          : state->feature_level;
}

bool sp_state_has_feature(const struct sp_state *state, enum sp_feature feature)
{
    return state->feature_level >= (uint32_t)feature;
}
