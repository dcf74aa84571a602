/* topic.describe: a topic's configuration, and its partitions with what this node holds of them. */
#include "broker/methods.h"

#include "spate/error.h"

#define VALUE_TEXT_SIZE 32

/* What this node's replicas of a topic take. */
struct total {
    uint64_t size_bytes;
    uint64_t segments;
};

static const struct sp_log *log_here(const struct sp_broker *broker,
                                     const struct sp_state_partition *place)
{
    const struct sp_partition *local = sp_map_get_u64(broker->partitions, place->group_id);

    return local != NULL && local->group != NULL ? sp_raft_group_log(local->group) : NULL;
}

static struct total sum(const struct sp_broker *broker, const struct sp_state_topic *topic)
{
    struct total total = { 0 };

    for (uint32_t i = 0; i < topic->partition_count; i++) {
        const struct sp_log *log = log_here(broker, &topic->partitions[i]);
        if (log != NULL) {
            total.size_bytes += sp_log_size_bytes(log);
            total.segments += sp_log_segment_count(log);
        }
    }
    return total;
}

/* Offsets and sizes are those of this node's replica; absent when it has none. */
static void pack_partition(const struct sp_broker *broker,
                           const struct sp_request *request,
                           struct sp_pack *pack,
                           const struct sp_state_partition *place)
{
    const struct sp_partition *local = sp_map_get_u64(broker->partitions, place->group_id);
    const struct sp_log *log = log_here(broker, place);
    uint64_t term = 0;
    uint32_t leader = sp_group_table_leader(broker->options.table, place->group_id, &term);
    char address[SP_ADDRESS_SIZE_MAX];

    sp_pack_map(pack, log != NULL ? 11 : 7);
    sp_pack_text(pack, "partition");
    sp_pack_uint(pack, place->partition);
    sp_pack_text(pack, "leader");
    sp_pack_int(pack, leader == 0 ? -1 : (int64_t)leader);
    sp_pack_text(pack, "leader_address");
    sp_pack_text(pack, leader == 0 ? NULL : sp_broker_address(broker, request, leader, address));
    sp_pack_text(pack, "epoch");
    sp_pack_uint(pack, term);
    sp_pack_text(pack, "replicas");
    sp_pack_array(pack, place->replica_count);
    for (unsigned i = 0; i < place->replica_count; i++) {
        sp_pack_uint(pack, place->replicas[i].node_id);
    }
    sp_pack_text(pack, "raft_group");
    sp_pack_uint(pack, place->group_id);
    sp_pack_text(pack, "replica_ids");
    sp_pack_array(pack, place->replica_count);
    for (unsigned i = 0; i < place->replica_count; i++) {
        sp_pack_uint(pack, place->replicas[i].replica_id);
    }
    if (log != NULL) {
        sp_pack_text(pack, "log_start");
        sp_pack_int(pack, local->log_start);
        sp_pack_text(pack, "high_watermark");
        sp_pack_int(pack, local->next_offset);
        sp_pack_text(pack, "size_bytes");
        sp_pack_uint(pack, sp_log_size_bytes(log));
        sp_pack_text(pack, "segments");
        sp_pack_uint(pack, sp_log_segment_count(log));
    }
}

/* Each setting in force, and where it comes from. */
static void pack_config(const struct sp_broker *broker,
                        struct sp_pack *pack,
                        const struct sp_topic_config *config)
{
    char text[VALUE_TEXT_SIZE];

    sp_pack_text(pack, "config");
    sp_pack_map(pack, SP_TOPIC_KEY_COUNT);
    for (unsigned i = 0; i < SP_TOPIC_KEY_COUNT; i++) {
        enum sp_topic_key key = (enum sp_topic_key)i;
        int64_t value = sp_topic_config_value(config, key);
        if (key == SP_TOPIC_SEGMENT_BYTES && value == 0) {
            value = (int64_t)sp_store_segment_bytes(broker->options.store);
        }
        sp_topic_value_print(key, value, text, sizeof text);
        sp_pack_text(pack, sp_topic_key_name(key));
        sp_pack_text(pack, text);
    }
    sp_pack_text(pack, "sources");
    sp_pack_map(pack, SP_TOPIC_KEY_COUNT);
    for (unsigned i = 0; i < SP_TOPIC_KEY_COUNT; i++) {
        enum sp_topic_key key = (enum sp_topic_key)i;
        sp_pack_text(pack, sp_topic_key_name(key));
        sp_pack_text(pack, sp_topic_config_has(config, key) ? "override" : "default");
    }
}

void sp_method_topic_describe(struct sp_broker *broker,
                              struct sp_request request,
                              const struct sp_message *message)
{
    const struct sp_state_topic *topic = NULL;
    struct sp_topic_request named;
    struct sp_api_error error;
    struct sp_buf buf;
    struct sp_pack pack;
    char text[SP_TOPIC_NAME_SIZE_MAX + 1] = "";
    int rv = sp_topic_request_decode(&message->params, &named, &error);

    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
        return;
    }
    if (sp_broker_copy_text(named.name, text, sizeof text)) {
        topic = sp_state_topic(sp_controller_state(broker->options.controller), text);
    }
    if (topic == NULL) {
        sp_broker_unknown_topic(broker, &request, text);
        return;
    }
    struct total total = sum(broker, topic);
    sp_request_begin(&request, &buf, &pack);
    sp_pack_map(&pack, 7);
    sp_pack_text(&pack, "name");
    sp_pack_text(&pack, topic->name);
    sp_pack_text(&pack, "id");
    sp_pack_uint(&pack, topic->topic_id);
    pack_config(broker, &pack, &topic->config);
    sp_pack_text(&pack, "size_bytes");
    sp_pack_uint(&pack, total.size_bytes);
    sp_pack_text(&pack, "segments");
    sp_pack_uint(&pack, total.segments);
    sp_pack_text(&pack, "partitions");
    sp_pack_array(&pack, topic->partition_count);
    for (uint32_t i = 0; i < topic->partition_count; i++) {
        pack_partition(broker, &request, &pack, &topic->partitions[i]);
    }
    sp_request_finish(&request, &buf, &pack, NULL, 0);
}
