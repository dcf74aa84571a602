#include "cluster/state_codec.h"

#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "spate/error.h"

/* Reads the header of an array that has exactly `count` elements. */
static void read_array_of(struct sp_cursor *cursor, uint32_t count)
{
    if (sp_cursor_array(cursor) != count) {
        sp_cursor_fail(cursor, SPATE_ERR_INVALID);
    }
}

void sp_state_text_read(struct sp_cursor *cursor, char *out, size_t capacity)
{
    struct sp_bytes text = sp_cursor_text(cursor);

    if (sp_cursor_status(cursor) != 0) {
        return;
    }
    for (size_t i = 0; i < text.size; i++) {
        if (text.bytes[i] < 0x20 || text.bytes[i] == 0x7f) {
            sp_cursor_fail(cursor, SPATE_ERR_INVALID);
            return;
        }
    }
    if (text.size >= capacity) {
        sp_cursor_fail(cursor, SPATE_ERR_INVALID);
        return;
    }
    memcpy(out, text.bytes, text.size);
    out[text.size] = '\0';
}

void sp_state_node_pack(struct sp_pack *pack, const struct sp_state_node *node)
{
    sp_pack_array(pack, 8);
    sp_pack_uint(pack, node->node_id);
    sp_pack_uint(pack, node->incarnation);
    sp_pack_text(pack, node->client_address);
    sp_pack_text(pack, node->peer_address);
    sp_pack_text(pack, node->rack);
    sp_pack_uint(pack, sp_feature_level_said(node->features.least));
    sp_pack_uint(pack, sp_feature_level_said(node->features.most));
    sp_pack_uint(pack, node->run);
}

void sp_state_node_read(struct sp_cursor *cursor, struct sp_state_node *out_node)
{
    *out_node = (struct sp_state_node){
        .features = { SP_FEATURE_LEVEL_FIRST, SP_FEATURE_LEVEL_FIRST },
    };
    uint32_t count = sp_cursor_array(cursor);
    if (count != 5 && count != 8) {
        sp_cursor_fail(cursor, SPATE_ERR_INVALID);
    }
    out_node->node_id = (uint32_t)sp_cursor_uint(cursor, UINT32_MAX);
    out_node->incarnation = sp_cursor_uint(cursor, UINT64_MAX);
    sp_state_text_read(cursor, out_node->client_address, sizeof out_node->client_address);
    sp_state_text_read(cursor, out_node->peer_address, sizeof out_node->peer_address);
    sp_state_text_read(cursor, out_node->rack, sizeof out_node->rack);
    if (count == 8) {
        out_node->features.least = (uint32_t)sp_cursor_uint(cursor, SP_FEATURE_LEVEL_LIMIT);
        out_node->features.most = (uint32_t)sp_cursor_uint(cursor, SP_FEATURE_LEVEL_LIMIT);
        out_node->run = sp_cursor_uint(cursor, UINT64_MAX);
    }
}

struct sp_state_topic *sp_state_topic_new(uint32_t partition_count)
{
    struct sp_state_topic *topic = sp_mem_calloc(1, sizeof *topic);

    SP_ASSERT(partition_count > 0);
    if (topic == NULL) {
        return NULL;
    }
    topic->partitions = sp_mem_calloc(partition_count, sizeof *topic->partitions);
    if (topic->partitions == NULL) {
        sp_mem_free(topic);
        return NULL;
    }
    topic->partition_count = partition_count;
    for (uint32_t i = 0; i < partition_count; i++) {
        topic->partitions[i].partition = i;
    }
    return topic;
}

void sp_state_topic_free(struct sp_state_topic *topic)
{
    if (topic == NULL) {
        return;
    }
    sp_mem_free(topic->partitions);
    sp_mem_free(topic);
}

static void partition_pack(struct sp_pack *pack, const struct sp_state_partition *partition)
{
    sp_pack_array(pack, 1 + 2 * (size_t)partition->replica_count + (partition->moved ? 1 : 0));
    sp_pack_uint(pack, partition->group_id);
    for (unsigned i = 0; i < partition->replica_count; i++) {
        sp_pack_uint(pack, partition->replicas[i].replica_id);
        sp_pack_uint(pack, partition->replicas[i].node_id);
    }
    if (partition->moved) {
        sp_pack_bool(pack, true);
    }
}

static void partition_read(struct sp_cursor *cursor, struct sp_state_partition *partition)
{
    uint32_t count = sp_cursor_array(cursor);

    if (count < 3 || count > 2 + 2 * SP_REPLICAS_MAX) {
        sp_cursor_fail(cursor, SPATE_ERR_INVALID);
        return;
    }
    partition->group_id = sp_cursor_uint(cursor, UINT64_MAX);
    partition->moved = count % 2 == 0;
    partition->replica_count = (count - 1) / 2;
    for (unsigned i = 0; i < partition->replica_count; i++) {
        partition->replicas[i].replica_id = sp_cursor_uint(cursor, UINT64_MAX);
        partition->replicas[i].node_id = (uint32_t)sp_cursor_uint(cursor, UINT32_MAX);
    }
    if (partition->moved && !sp_cursor_bool(cursor)) {
        sp_cursor_fail(cursor, SPATE_ERR_INVALID);
    }
}

void sp_state_topic_pack(struct sp_pack *pack, const struct sp_state_topic *topic)
{
    sp_pack_array(pack, 5);
    sp_pack_uint(pack, topic->topic_id);
    sp_pack_text(pack, topic->name);
    sp_pack_int(pack, topic->created_ms);
    sp_topic_config_pack(pack, &topic->config);
    sp_pack_array(pack, topic->partition_count);
    for (uint32_t i = 0; i < topic->partition_count; i++) {
        partition_pack(pack, &topic->partitions[i]);
    }
}

struct sp_state_topic *sp_state_topic_read(struct sp_cursor *cursor)
{
    struct sp_state_topic head = { 0 };

    read_array_of(cursor, 5);
    head.topic_id = sp_cursor_uint(cursor, UINT64_MAX);
    sp_state_text_read(cursor, head.name, sizeof head.name);
    head.created_ms = sp_cursor_int(cursor, INT64_MIN, INT64_MAX);
    sp_topic_config_read(cursor, &head.config);
    uint32_t count = sp_cursor_array(cursor);
    if (count == 0 || count > SP_PARTITIONS_PER_TOPIC_MAX) {
        sp_cursor_fail(cursor, SPATE_ERR_INVALID);
        return NULL;
    }
    struct sp_state_topic *topic = sp_state_topic_new(count);
    if (topic == NULL) {
        sp_cursor_fail(cursor, SPATE_ERR_NOMEM);
        return NULL;
    }
    head.partitions = topic->partitions;
    head.partition_count = count;
    *topic = head;
    for (uint32_t i = 0; i < count && sp_cursor_status(cursor) == 0; i++) {
        partition_read(cursor, &topic->partitions[i]);
    }
    if (sp_cursor_status(cursor) != 0) {
        sp_state_topic_free(topic);
        return NULL;
    }
    return topic;
}

/* ---- commands -------------------------------------------------------------------------------- */

static void command_begin(struct sp_pack *pack,
                          struct sp_buf *out,
                          enum sp_state_command command,
                          size_t field_count)
{
    sp_pack_init(pack, out);
    sp_pack_array(pack, 1 + field_count);
    sp_pack_uint(pack, command);
}

int sp_state_command_register_node(const struct sp_state_node *node, struct sp_buf *out)
{
    struct sp_pack pack;

    command_begin(&pack, out, SP_STATE_REGISTER_NODE, 1);
    sp_state_node_pack(&pack, node);
    return sp_pack_status(&pack);
}

int sp_state_command_create_topic(const char *name,
                                  uint32_t partitions,
                                  uint32_t replicas,
                                  const uint32_t *nodes,
                                  const struct sp_topic_config *config,
                                  struct sp_buf *out)
{
    struct sp_pack pack;
    size_t count = (size_t)partitions * replicas;

    command_begin(&pack, out, SP_STATE_CREATE_TOPIC, 5);
    sp_pack_text(&pack, name);
    sp_pack_uint(&pack, partitions);
    sp_pack_uint(&pack, replicas);
    sp_topic_config_pack(&pack, config);
    sp_pack_array(&pack, count);
    for (size_t i = 0; i < count; i++) {
        sp_pack_uint(&pack, nodes[i]);
    }
    return sp_pack_status(&pack);
}

int sp_state_command_delete_topic(const char *name, struct sp_buf *out)
{
    struct sp_pack pack;

    command_begin(&pack, out, SP_STATE_DELETE_TOPIC, 1);
    sp_pack_text(&pack, name);
    return sp_pack_status(&pack);
}

int sp_state_command_alter_topic(const char *name,
                                 const struct sp_topic_config *change,
                                 uint32_t unset,
                                 struct sp_buf *out)
{
    struct sp_pack pack;

    command_begin(&pack, out, SP_STATE_ALTER_TOPIC, 3);
    sp_pack_text(&pack, name);
    sp_topic_config_pack(&pack, change);
    sp_topic_keys_pack(&pack, unset);
    return sp_pack_status(&pack);
}

int sp_state_command_producer_block(struct sp_buf *out)
{
    struct sp_pack pack;

    command_begin(&pack, out, SP_STATE_TAKE_PRODUCER_BLOCK, 0);
    return sp_pack_status(&pack);
}

int sp_state_command_producer_name(const char *name, const char *layout, struct sp_buf *out)
{
    struct sp_pack pack;

    command_begin(&pack, out, SP_STATE_TAKE_PRODUCER_NAME, 2);
    sp_pack_text(&pack, name);
    sp_pack_text(&pack, layout);
    return sp_pack_status(&pack);
}

int sp_state_command_feature_level(uint32_t level, struct sp_buf *out)
{
    struct sp_pack pack;

    command_begin(&pack, out, SP_STATE_FEATURE_LEVEL_SET, 1);
    sp_pack_uint(&pack, level);
    return sp_pack_status(&pack);
}

int sp_state_command_feature_hold(bool hold, struct sp_buf *out)
{
    struct sp_pack pack;

    command_begin(&pack, out, SP_STATE_FEATURE_HOLD_SET, 1);
    sp_pack_uint(&pack, hold ? 1 : 0);
    return sp_pack_status(&pack);
}

int sp_state_command_force_nodes(const uint32_t *kept, unsigned count, struct sp_buf *out)
{
    struct sp_pack pack;

    command_begin(&pack, out, SP_STATE_FORCE_NODES, 1);
    sp_pack_array(&pack, count);
    for (unsigned i = 0; i < count; i++) {
        sp_pack_uint(&pack, kept[i]);
    }
    return sp_pack_status(&pack);
}
