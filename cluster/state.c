#include "cluster/state.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cluster/state_codec.h"
#include "cluster/state_parts.h"
#include "spate/error.h"

int sp_state_new(struct sp_state **out_state)
{
    struct sp_state *state = sp_mem_calloc(1, sizeof *state);

    if (state == NULL) {
        return SPATE_ERR_NOMEM;
    }
    state->next_topic_id = 1;
    state->next_group_id = 1;
    state->next_replica_id = SP_STATE_FIRST_REPLICA_ID;
    state->next_producer_id = 1;
    state->feature_level = SP_FEATURE_LEVEL_FIRST;
    state->level_max = SP_FEATURE_LEVEL_MAX;
    state->nodes = sp_map_new();
    state->topics = sp_map_new();
    state->by_id = sp_map_new();
    state->producer_names = sp_producer_names_new();
    if (state->nodes == NULL || state->topics == NULL || state->by_id == NULL ||
        state->producer_names == NULL) {
        sp_state_free(state);
        return SPATE_ERR_NOMEM;
    }
    *out_state = state;
    return 0;
}

void sp_state_deinit(struct sp_state *state)
{
    struct sp_map_cursor cursor = { 0 };
    struct sp_state_node_entry *node = NULL;
    struct sp_state_topic *topic = NULL;

    while (state->nodes != NULL && (node = sp_map_next(state->nodes, &cursor)) != NULL) {
        sp_mem_free(node);
    }
    cursor = (struct sp_map_cursor){ 0 };
    while (state->topics != NULL && (topic = sp_map_next(state->topics, &cursor)) != NULL) {
        sp_state_topic_free(topic);
    }
    sp_map_free(state->nodes);
    sp_map_free(state->topics);
    sp_map_free(state->by_id);
    sp_producer_names_free(state->producer_names);
}

void sp_state_free(struct sp_state *state)
{
    if (state == NULL) {
        return;
    }
    sp_state_deinit(state);
    sp_mem_free(state);
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static struct sp_state_node_entry *find_node(const struct sp_state *state, uint32_t node_id)
{
    return sp_map_get_u64(state->nodes, node_id);
}

static bool node_is_valid(const struct sp_state_node *node)
{
    return node->node_id >= 1 && node->node_id <= SP_NODE_ID_MAX &&
           node->client_address[0] != '\0' && node->peer_address[0] != '\0' &&
           node->features.least >= SP_FEATURE_LEVEL_FIRST &&
           node->features.least <= node->features.most;
}

int sp_state_add_node(struct sp_state *state,
                      const struct sp_state_node *shown,
                      const struct sp_state_node **out_node)
{
    if (!node_is_valid(shown) || sp_map_count(state->nodes) >= SP_NODES_MAX) {
        return SPATE_ERR_INVALID;
    }
    struct sp_state_node_entry *node = sp_mem_calloc(1, sizeof *node);
    if (node == NULL) {
        return SPATE_ERR_NOMEM;
    }
    node->shown = *shown;
    int rv = sp_map_put_u64(state->nodes, shown->node_id, node);
    if (rv != 0) {
        sp_mem_free(node);
        return rv == SPATE_ERR_EXISTS ? SPATE_ERR_INVALID : rv;
    }
    *out_node = &node->shown;
    return 0;
}

/* ---- topics ---------------------------------------------------------------------------------- */

int sp_state_check_topic_name(const char *name, size_t size, char *text, size_t text_size)
{
    if (size == 0) {
        (void)snprintf(text, text_size, "the topic has no name");
        return SPATE_ERR_INVALID;
    }
    if (size > SP_TOPIC_NAME_SIZE_MAX) {
        (void)snprintf(text,
                       text_size,
                       "the topic name has %zu characters: at most %d are allowed",
                       size,
                       SP_TOPIC_NAME_SIZE_MAX);
        return SPATE_ERR_INVALID;
    }
    for (size_t i = 0; i < size; i++) {
        char c = name[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '.' || c == '_' || c == '-';
        if (!ok) {
            (void)snprintf(text,
                           text_size,
                           "character %zu of the topic name is not allowed: use letters, digits, "
                           "'.', '_' and '-'",
                           i + 1);
            return SPATE_ERR_INVALID;
        }
    }
    if ((size == 1 && name[0] == '.') || (size == 2 && name[0] == '.' && name[1] == '.')) {
        (void)snprintf(text, text_size, "\".\" and \"..\" cannot be topic names");
        return SPATE_ERR_INVALID;
    }
    return 0;
}

static bool name_is_valid(const char *name)
{
    char text[1];

    return sp_state_check_topic_name(name, strlen(name), text, sizeof text) == 0;
}

/* Nodes are registered, distinct, and have room for one more group. */
static bool partition_is_placeable(const struct sp_state *state,
                                   const struct sp_state_partition *partition)
{
    for (unsigned i = 0; i < partition->replica_count; i++) {
        const struct sp_state_node_entry *node = find_node(state, partition->replicas[i].node_id);
        if (node == NULL || node->replica_count >= SP_GROUPS_PER_NODE_MAX) {
            return false;
        }
        for (unsigned j = 0; j < i; j++) {
            if (partition->replicas[j].node_id == partition->replicas[i].node_id ||
                partition->replicas[j].replica_id == partition->replicas[i].replica_id) {
                return false;
            }
        }
    }
    return true;
}

/* Adds or takes away (`step` -1) the replicas of the first `count` partitions at their nodes. */
static void
count_replicas(struct sp_state *state, const struct sp_state_topic *topic, uint32_t count, int step)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct sp_state_partition *partition = &topic->partitions[i];
        for (unsigned j = 0; j < partition->replica_count; j++) {
            struct sp_state_node_entry *node = find_node(state, partition->replicas[j].node_id);
            node->replica_count += (uint32_t)step;
        }
    }
}

/* Counts all replicas of the topic in, or none and answers SPATE_ERR_INVALID. */
static int place_topic(struct sp_state *state, const struct sp_state_topic *topic)
{
    for (uint32_t i = 0; i < topic->partition_count; i++) {
        if (!partition_is_placeable(state, &topic->partitions[i])) {
            count_replicas(state, topic, i, -1);
            return SPATE_ERR_INVALID;
        }
        for (unsigned j = 0; j < topic->partitions[i].replica_count; j++) {
            find_node(state, topic->partitions[i].replicas[j].node_id)->replica_count += 1;
        }
    }
    return 0;
}

int sp_state_add_topic(struct sp_state *state, struct sp_state_topic *topic)
{
    if (!name_is_valid(topic->name) || !sp_topic_config_is_valid(&topic->config) ||
        sp_map_count(state->topics) >= SP_TOPICS_MAX) {
        return SPATE_ERR_INVALID;
    }
    int rv = place_topic(state, topic);
    if (rv != 0) {
        return rv;
    }
    rv = sp_map_put(state->topics, topic->name, strlen(topic->name), topic);
    if (rv == 0) {
        rv = sp_map_put_u64(state->by_id, topic->topic_id, topic);
        if (rv != 0) {
            (void)sp_map_remove(state->topics, topic->name, strlen(topic->name)); /* just put */
        }
    }
    if (rv != 0) {
        count_replicas(state, topic, topic->partition_count, -1);
    }
    return rv;
}

/* ---- apply ----------------------------------------------------------------------------------- */

struct change_sink {
    void (*changed)(void *arg, const struct sp_state_change *change);
    void *arg;
};

static void tell(const struct change_sink *sink, const struct sp_state_change *change)
{
    if (sink->changed != NULL) {
        sink->changed(sink->arg, change);
    }
}

/* Ends the reading of a command: whatever is wrong with its bytes, this replica cannot go on. */
static int command_end(struct sp_cursor *cursor)
{
    return sp_cursor_finish(cursor) == 0 ? 0 : SPATE_ERR_CORRUPT;
}

static int apply_register_node(struct sp_state *state,
                               struct sp_cursor *cursor,
                               const struct change_sink *sink)
{
    struct sp_state_node shown;
    const struct sp_state_node *added = NULL;

    sp_state_node_read(cursor, &shown);
    int rv = command_end(cursor);
    if (rv != 0) {
        return rv;
    }
    struct sp_state_node_entry *node = find_node(state, shown.node_id);
    if (shown.features.most < state->feature_level || sp_state_is_old_copy(state, &shown)) {
        return SPATE_ERR_INVALID; /* the leader has let it pass before something else came */
    }
    if (node == NULL) {
        rv = sp_state_add_node(state, &shown, &added);
        if (rv != 0) {
            return rv;
        }
    } else if (sp_state_same_node(&node->shown, &shown)) {
        return 0;
    } else if (!node_is_valid(&shown)) {
        return SPATE_ERR_INVALID;
    } else {
        node->shown = shown;
        added = &node->shown;
    }
    tell(sink, &(struct sp_state_change){ .kind = SP_STATE_NODE_CHANGED, .node = added });
    return 0;
}

/* Fills the partitions from the node ids and gives out group and replica ids. */
static void assign_ids(const struct sp_state *state,
                       struct sp_state_topic *topic,
                       uint32_t replicas,
                       struct sp_cursor *nodes)
{
    uint64_t replica_id = state->next_replica_id;

    topic->topic_id = state->next_topic_id;
    for (uint32_t i = 0; i < topic->partition_count; i++) {
        struct sp_state_partition *partition = &topic->partitions[i];
        partition->group_id = state->next_group_id + i;
        partition->replica_count = replicas;
        for (uint32_t j = 0; j < replicas; j++) {
            partition->replicas[j].replica_id = replica_id++;
            partition->replicas[j].node_id = (uint32_t)sp_cursor_uint(nodes, UINT32_MAX);
        }
    }
}

/* What of a topic's creation can be checked before memory is asked for. */
static int check_counts(const struct sp_state *state,
                        uint64_t partitions,
                        uint64_t replicas,
                        uint64_t node_count)
{
    if (partitions == 0 || partitions > SP_PARTITIONS_PER_TOPIC_MAX || replicas == 0 ||
        replicas > SP_REPLICAS_MAX || node_count != partitions * replicas) {
        return SPATE_ERR_INVALID;
    }
    if (state->next_topic_id >= SP_STATE_ID_MAX ||
        state->next_group_id > SP_STATE_ID_MAX - partitions ||
        state->next_replica_id > SP_STATE_ID_MAX - node_count) {
        return SPATE_ERR_INVALID;
    }
    return 0;
}

static int apply_create_topic(struct sp_state *state,
                              struct sp_cursor *cursor,
                              int64_t append_time_ms,
                              const struct change_sink *sink)
{
    char name[SP_TOPIC_NAME_SIZE_MAX + 1];
    struct sp_topic_config config;

    sp_state_text_read(cursor, name, sizeof name);
    uint32_t partitions = (uint32_t)sp_cursor_uint(cursor, UINT32_MAX);
    uint32_t replicas = (uint32_t)sp_cursor_uint(cursor, UINT32_MAX);
    sp_topic_config_read(cursor, &config);
    struct sp_cursor nodes = sp_cursor_of(sp_cursor_raw(cursor));
    uint32_t node_count = sp_cursor_array(&nodes);
    if (command_end(cursor) != 0 || sp_cursor_status(&nodes) != 0) {
        return SPATE_ERR_CORRUPT;
    }
    if (sp_state_topic(state, name) != NULL) {
        return SPATE_ERR_EXISTS;
    }
    int rv = check_counts(state, partitions, replicas, node_count);
    if (rv != 0) {
        return rv;
    }
    struct sp_state_topic *topic = sp_state_topic_new(partitions);
    if (topic == NULL) {
        return SPATE_ERR_NOMEM;
    }
    memcpy(topic->name, name, sizeof name);
    topic->created_ms = append_time_ms;
    topic->config = config;
    assign_ids(state, topic, replicas, &nodes);
    rv = sp_cursor_status(&nodes) != 0 ? SPATE_ERR_CORRUPT : sp_state_add_topic(state, topic);
    if (rv != 0) {
        sp_state_topic_free(topic);
        return rv;
    }
    state->next_topic_id += 1;
    state->next_group_id += partitions;
    state->next_replica_id += node_count;
    tell(sink, &(struct sp_state_change){ .kind = SP_STATE_TOPIC_CREATED, .topic = topic });
    return 0;
}

static int
apply_delete_topic(struct sp_state *state, struct sp_cursor *cursor, const struct change_sink *sink)
{
    char name[SP_TOPIC_NAME_SIZE_MAX + 1];

    sp_state_text_read(cursor, name, sizeof name);
    int rv = command_end(cursor);
    if (rv != 0) {
        return rv;
    }
    struct sp_state_topic *topic = sp_map_remove(state->topics, name, strlen(name));
    if (topic == NULL) {
        return SPATE_ERR_UNKNOWN_TOPIC;
    }
    (void)sp_map_remove_u64(state->by_id, topic->topic_id); /* the same topic */
    count_replicas(state, topic, topic->partition_count, -1);
    tell(sink, &(struct sp_state_change){ .kind = SP_STATE_TOPIC_DELETED, .topic = topic });
    sp_state_topic_free(topic);
    return 0;
}

static int
apply_alter_topic(struct sp_state *state, struct sp_cursor *cursor, const struct change_sink *sink)
{
    char name[SP_TOPIC_NAME_SIZE_MAX + 1];
    struct sp_topic_config change;

    sp_state_text_read(cursor, name, sizeof name);
    sp_topic_config_read(cursor, &change);
    uint32_t unset = sp_topic_keys_read(cursor);
    int rv = command_end(cursor);
    if (rv != 0) {
        return rv;
    }
    struct sp_state_topic *topic = sp_map_get(state->topics, name, strlen(name));
    if (topic == NULL) {
        return SPATE_ERR_UNKNOWN_TOPIC;
    }
    if (!sp_topic_config_is_valid(&change)) {
        return SPATE_ERR_INVALID;
    }
    sp_topic_config_change(&topic->config, &change, unset);
    tell(sink, &(struct sp_state_change){ .kind = SP_STATE_TOPIC_ALTERED, .topic = topic });
    return 0;
}

int sp_state_apply(struct sp_state *state,
                   const uint8_t *command,
                   size_t size,
                   int64_t append_time_ms,
                   void (*changed)(void *arg, const struct sp_state_change *change),
                   void *arg)
{
    struct change_sink sink = { changed, arg };
    struct sp_state_change change = { .kind = SP_STATE_NOTHING };
    struct sp_cursor cursor;

    sp_cursor_init(&cursor, command, size);
    uint32_t element_count = sp_cursor_array(&cursor);
    uint64_t kind = sp_cursor_uint(&cursor, UINT32_MAX);
    if (sp_cursor_status(&cursor) != 0) {
        return SPATE_ERR_CORRUPT;
    }
    if (!sp_state_knows(state, kind)) {
        return SPATE_ERR_UNSUPPORTED;
    }
    if (kind == SP_STATE_REGISTER_NODE && element_count == 2) {
        return apply_register_node(state, &cursor, &sink);
    }
    if (kind == SP_STATE_CREATE_TOPIC && element_count == 6) {
        return apply_create_topic(state, &cursor, append_time_ms, &sink);
    }
    if (kind == SP_STATE_DELETE_TOPIC && element_count == 2) {
        return apply_delete_topic(state, &cursor, &sink);
    }
    if (kind == SP_STATE_ALTER_TOPIC && element_count == 4) {
        return apply_alter_topic(state, &cursor, &sink);
    }
    int rv = SPATE_ERR_CORRUPT;
    if (kind == SP_STATE_TAKE_PRODUCER_BLOCK && element_count == 1) {
        rv = sp_state_take_producer_block(state, &cursor, &change);
    } else if (kind == SP_STATE_TAKE_PRODUCER_NAME && element_count == 3) {
        rv = sp_state_take_producer_name(state, &cursor, append_time_ms, &change);
    } else if (kind == SP_STATE_FEATURE_LEVEL_SET && element_count == 2) {
        rv = sp_state_take_feature_level(state, &cursor, &change);
    } else if (kind == SP_STATE_FEATURE_HOLD_SET && element_count == 2) {
        rv = sp_state_take_feature_hold(state, &cursor, &change);
    } else if (kind == SP_STATE_FORCE_NODES && element_count == 2) {
        rv = sp_state_take_force_nodes(state, &cursor, &change);
    }
    if (rv == 0) {
        tell(&sink, &change);
    }
    return rv;
}
