/* The controller's state as bytes and back.
 *
 *   [version = 3, next_topic_id, next_group_id, next_replica_id, next_producer_id, feature level,
 *    held (0 or 1), [node, ...], [topic, ...], [producer name, ...]]
 *   [version = 4, as version 3, {section number: section}]
 *
 * Nodes and topics as in state_codec.h, in order; producer names as in producer_names.c. Sections
 * hold what not every cluster has, in order of their numbers; without any it is written as version
 * 3, which every build of feature level 1 reads. Version 1 had no names and 2 no levels; both are
 * still read. */
#include "base/mem.h"
#include "cluster/state_codec.h"
#include "cluster/state_parts.h"
#include "spate/error.h"

#define CHECKPOINT_VERSION 4

enum {
    SECTION_MEMBERSHIP = 1, /* cluster/state_membership.c */
};

int sp_state_checkpoint(const struct sp_state *state, struct sp_buf *out)
{
    struct sp_map_cursor cursor = { 0 };
    const struct sp_state_node *node = NULL;
    const struct sp_state_topic *topic = NULL;
    struct sp_pack pack;

    sp_pack_init(&pack, out);
    bool membership = sp_state_has_membership(state);
    sp_pack_array(&pack, membership ? 11 : 10);
    sp_pack_uint(&pack, membership ? CHECKPOINT_VERSION : CHECKPOINT_VERSION - 1);
    sp_pack_uint(&pack, state->next_topic_id);
    sp_pack_uint(&pack, state->next_group_id);
    sp_pack_uint(&pack, state->next_replica_id);
    sp_pack_uint(&pack, state->next_producer_id);
    sp_pack_uint(&pack, state->feature_level);
    sp_pack_uint(&pack, state->feature_hold ? 1 : 0);
    sp_pack_array(&pack, sp_map_count(state->nodes));
    while ((node = sp_state_node_next(state, &cursor)) != NULL) {
        sp_state_node_pack(&pack, node);
    }
    cursor = (struct sp_map_cursor){ 0 };
    sp_pack_array(&pack, sp_map_count(state->topics));
    while ((topic = sp_state_topic_next(state, &cursor)) != NULL) {
        sp_state_topic_pack(&pack, topic);
    }
    sp_producer_names_encode(state->producer_names, &pack);
    if (membership) {
        sp_pack_map(&pack, 1);
        sp_pack_uint(&pack, SECTION_MEMBERSHIP);
        sp_state_membership_encode(state, &pack);
    }
    return sp_pack_status(&pack);
}

/* All ids lie in what the counters have given out; group ids rise from topic to topic. */
static bool ids_are_valid(const struct sp_state *state,
                          const struct sp_state_topic *topic,
                          uint64_t *topic_id_last,
                          uint64_t *group_id_last)
{
    if (topic->topic_id <= *topic_id_last || topic->topic_id >= state->next_topic_id) {
        return false;
    }
    *topic_id_last = topic->topic_id;
    for (uint32_t i = 0; i < topic->partition_count; i++) {
        const struct sp_state_partition *partition = &topic->partitions[i];
        if (partition->group_id <= *group_id_last || partition->group_id >= state->next_group_id) {
            return false;
        }
        *group_id_last = partition->group_id;
        for (unsigned j = 0; j < partition->replica_count; j++) {
            uint64_t replica_id = partition->replicas[j].replica_id;
            if (replica_id < SP_STATE_FIRST_REPLICA_ID || replica_id >= state->next_replica_id) {
                return false;
            }
        }
    }
    return true;
}

static void restore_nodes(struct sp_state *state, struct sp_cursor *cursor)
{
    uint32_t count = sp_cursor_array(cursor);

    for (uint32_t i = 0; i < count && sp_cursor_status(cursor) == 0; i++) {
        struct sp_state_node node;
        const struct sp_state_node *added = NULL;
        sp_state_node_read(cursor, &node);
        int rv = sp_cursor_status(cursor) != 0 ? 0 : sp_state_add_node(state, &node, &added);
        if (rv != 0) {
            sp_cursor_fail(cursor, rv);
        }
    }
}

static void restore_topics(struct sp_state *state, struct sp_cursor *cursor)
{
    uint64_t topic_id_last = 0;
    uint64_t group_id_last = 0;
    uint32_t count = sp_cursor_array(cursor);

    for (uint32_t i = 0; i < count && sp_cursor_status(cursor) == 0; i++) {
        struct sp_state_topic *topic = sp_state_topic_read(cursor);
        if (topic == NULL) {
            return;
        }
        int rv = SPATE_ERR_INVALID;
        if (ids_are_valid(state, topic, &topic_id_last, &group_id_last)) {
            rv = sp_state_add_topic(state, topic);
        }
        if (rv != 0) {
            sp_state_topic_free(topic);
            sp_cursor_fail(cursor, rv);
        }
    }
}

static void restore_sections(struct sp_state *state, struct sp_cursor *cursor)
{
    uint32_t count = sp_cursor_map(cursor);
    uint64_t last = 0;

    for (uint32_t i = 0; i < count && sp_cursor_status(cursor) == 0; i++) {
        uint64_t section = sp_cursor_uint(cursor, UINT32_MAX);
        if (section != SECTION_MEMBERSHIP || section <= last) {
            sp_cursor_fail(cursor, SPATE_ERR_INVALID);
            return;
        }
        last = section;
        sp_state_membership_decode(state, cursor);
    }
}

/* SPATE_ERR_UNSUPPORTED: the state is that of a level above this build's. */
static int restore_level(struct sp_state *state, struct sp_cursor *cursor)
{
    state->feature_level = (uint32_t)sp_cursor_uint(cursor, SP_FEATURE_LEVEL_LIMIT);
    state->feature_hold = sp_cursor_uint(cursor, 1) == 1;
    if (sp_cursor_status(cursor) == 0 && state->feature_level < SP_FEATURE_LEVEL_FIRST) {
        return SPATE_ERR_CORRUPT;
    }
    return state->feature_level > state->level_max ? SPATE_ERR_UNSUPPORTED : 0;
}

static int restore_all(struct sp_state *state, const uint8_t *bytes, size_t size)
{
    struct sp_cursor cursor;

    sp_cursor_init(&cursor, bytes, size);
    uint32_t element_count = sp_cursor_array(&cursor);
    static const uint32_t element_counts[] = { 0, 7, 8, 10, 11 }; /* by version */
    uint64_t version = sp_cursor_uint(&cursor, UINT32_MAX);
    if (version > CHECKPOINT_VERSION) {
        return SPATE_ERR_UNSUPPORTED;
    }
    if (version < 1 || element_count != element_counts[version]) {
        return SPATE_ERR_CORRUPT;
    }
    state->next_topic_id = sp_cursor_uint(&cursor, SP_STATE_ID_MAX);
    state->next_group_id = sp_cursor_uint(&cursor, SP_STATE_ID_MAX);
    state->next_replica_id = sp_cursor_uint(&cursor, SP_STATE_ID_MAX);
    state->next_producer_id = sp_cursor_uint(&cursor, SP_STATE_ID_MAX);
    int level_status = version > 2 ? restore_level(state, &cursor) : 0;
    if (level_status != 0) {
        return level_status;
    }
    restore_nodes(state, &cursor);
    restore_topics(state, &cursor);
    if (version > 1) {
        sp_producer_names_decode(state->producer_names, state->next_producer_id, &cursor);
    }
    if (version > 3) {
        restore_sections(state, &cursor);
    }
    int rv = sp_cursor_finish(&cursor);
    if (rv == SPATE_ERR_NOMEM) {
        return rv;
    }
    bool counters_are_valid = state->next_topic_id > 0 && state->next_group_id > 0 &&
                              state->next_replica_id >= SP_STATE_FIRST_REPLICA_ID &&
                              state->next_producer_id > 0;
    return rv == 0 && counters_are_valid ? 0 : SPATE_ERR_CORRUPT;
}

int sp_state_restore(struct sp_state *state, const uint8_t *bytes, size_t size)
{
    struct sp_state *restored = NULL;

    int rv = sp_state_new(&restored);
    if (rv == 0) {
        restored->level_max = state->level_max;
    }
    if (rv == 0 && size > 0) {
        rv = restore_all(restored, bytes, size);
    }
    if (rv != 0) {
        sp_state_free(restored);
        return rv;
    }
    sp_state_deinit(state);
    *state = *restored;
    sp_mem_free(restored);
    return 0;
}
