/* Looking into the controller's state. */
#include "cluster/state_parts.h"

#include <string.h>

const struct sp_state_topic *sp_state_topic(const struct sp_state *state, const char *name)
{
    return sp_map_get(state->topics, name, strlen(name));
}

const struct sp_state_topic *sp_state_topic_by_id(const struct sp_state *state, uint64_t topic_id)
{
    return sp_map_get_u64(state->by_id, topic_id);
}

const struct sp_state_topic *sp_state_topic_next(const struct sp_state *state,
                                                 struct sp_map_cursor *cursor)
{
    return sp_map_next(state->topics, cursor);
}

unsigned sp_state_topic_count(const struct sp_state *state)
{
    return (unsigned)sp_map_count(state->topics);
}

const struct sp_state_node *sp_state_node(const struct sp_state *state, uint32_t node_id)
{
    const struct sp_state_node_entry *node = sp_map_get_u64(state->nodes, node_id);

    return node == NULL ? NULL : &node->shown;
}

const struct sp_state_node *sp_state_node_next(const struct sp_state *state,
                                               struct sp_map_cursor *cursor)
{
    const struct sp_state_node_entry *node = sp_map_next(state->nodes, cursor);

    return node == NULL ? NULL : &node->shown;
}

unsigned sp_state_node_count(const struct sp_state *state)
{
    return (unsigned)sp_map_count(state->nodes);
}

uint64_t sp_state_next_topic_id(const struct sp_state *state)
{
    return state->next_topic_id;
}

bool sp_state_is_internal(const char *name)
{
    return strncmp(name, SP_STATE_INTERNAL_PREFIX, strlen(SP_STATE_INTERNAL_PREFIX)) == 0;
}

uint64_t sp_state_next_group_id(const struct sp_state *state)
{
    return state->next_group_id;
}

uint64_t sp_state_next_replica_id(const struct sp_state *state)
{
    return state->next_replica_id;
}

bool sp_state_is_old_copy(const struct sp_state *state, const struct sp_state_node *node)
{
    const struct sp_state_node *known = sp_state_node(state, node->node_id);

    return known != NULL && sp_life_is_stale(&(struct sp_life){ node->incarnation, node->run },
                                             &(struct sp_life){ known->incarnation, known->run });
}

bool sp_state_same_node(const struct sp_state_node *left, const struct sp_state_node *right)
{
    return left->node_id == right->node_id && left->incarnation == right->incarnation &&
           left->run == right->run && strcmp(left->client_address, right->client_address) == 0 &&
           strcmp(left->peer_address, right->peer_address) == 0 &&
           strcmp(left->rack, right->rack) == 0 &&
           sp_feature_level_said(left->features.least) ==
               sp_feature_level_said(right->features.least) &&
           sp_feature_level_said(left->features.most) ==
               sp_feature_level_said(right->features.most);
}

uint64_t sp_state_forced_below(const struct sp_state *state)
{
    return state->next_replica_id / SP_STATE_FORCED_STEP * SP_STATE_FORCED_STEP;
}
