/* What a node knows of the cluster: hello, ping, metadata, topics, nodes. */
#include "broker/methods.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cluster/machine_of.h"
#include "spate/error.h"
#include "wire/metadata.h"

void sp_broker_cluster_id(const struct sp_broker *broker, char text[33])
{
    const struct sp_identity *identity = sp_store_identity(broker->options.store);

    text[0] = '\0';
    for (unsigned i = 0; i < SP_CLUSTER_ID_SIZE && identity->state == SP_IDENTITY_FORMED; i++) {
        (void)snprintf(text + 2 * (size_t)i, 3, "%02x", identity->cluster_id[i]);
    }
}

static int32_t node_or_none(uint32_t node_id)
{
    return node_id == 0 ? -1 : (int32_t)node_id;
}

void sp_method_hello(struct sp_broker *broker,
                     struct sp_request request,
                     const struct sp_message *message)
{
    struct sp_hello_request hello;
    struct sp_hello_response response;
    struct sp_api_error error;
    struct sp_buf buf;
    struct sp_pack pack;
    char cluster_id[33];
    int rv = sp_hello_request_decode(&message->params, &hello, &error);

    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
        return;
    }
    sp_broker_cluster_id(broker, cluster_id);
    sp_hello_response_init(&response);
    response.server = sp_bytes_text("spated");
    response.version = sp_bytes_text(SPATE_VERSION);
    response.cluster_id = cluster_id[0] == '\0' ? sp_bytes_null() : sp_bytes_text(cluster_id);
    response.node_id = (int32_t)broker->options.node_id;
    response.limits.max_message_bytes = SP_MESSAGE_BYTES_MAX;
    response.limits.max_batch_bytes = SP_BATCH_BYTES_MAX;
    response.limits.max_fetch_bytes = SP_FETCH_BYTES_MAX;
    sp_request_begin(&request, &buf, &pack);
    sp_hello_response_encode(&pack, &response);
    sp_request_finish(&request, &buf, &pack, NULL, 0);
}

void sp_method_ping(struct sp_broker *broker,
                    struct sp_request request,
                    const struct sp_message *message)
{
    (void)broker; /* being able to answer is the answer */
    (void)message;
    sp_request_ok(&request);
}

/* ---- metadata -------------------------------------------------------------------------------- */

static void pack_metadata_partition(const struct sp_broker *broker,
                                    const struct sp_request *request,
                                    struct sp_pack *pack,
                                    const struct sp_state_partition *partition)
{
    uint64_t term = 0;
    uint32_t leader = sp_group_table_leader(broker->options.table, partition->group_id, &term);
    char text[SP_ADDRESS_SIZE_MAX];
    const char *address = sp_broker_address(broker, request, leader, text);
    bool has_address = leader != 0 && address[0] != '\0';

    sp_pack_map(pack, has_address ? 5 : 4);
    sp_pack_text(pack, "partition");
    sp_pack_uint(pack, partition->partition);
    sp_pack_text(pack, "leader");
    sp_pack_int(pack, node_or_none(leader));
    if (has_address) {
        sp_pack_text(pack, "leader_address");
        sp_pack_text(pack, address);
    }
    sp_pack_text(pack, "epoch");
    sp_pack_uint(pack, term);
    sp_pack_text(pack, "replicas");
    sp_pack_array(pack, partition->replica_count);
    for (unsigned i = 0; i < partition->replica_count; i++) {
        sp_pack_uint(pack, partition->replicas[i].node_id);
    }
}

static void pack_metadata_topic(const struct sp_broker *broker,
                                const struct sp_request *request,
                                struct sp_pack *pack,
                                const struct sp_state_topic *topic)
{
    sp_pack_map(pack, 4);
    sp_pack_text(pack, "name");
    sp_pack_text(pack, topic->name);
    sp_pack_text(pack, "id");
    sp_pack_uint(pack, topic->topic_id);
    sp_pack_text(pack, "max_batch_bytes");
    sp_pack_int(pack, sp_topic_config_value(&topic->config, SP_TOPIC_MESSAGE_BYTES_MAX));
    sp_pack_text(pack, "partitions");
    sp_pack_array(pack, topic->partition_count);
    for (uint32_t i = 0; i < topic->partition_count; i++) {
        pack_metadata_partition(broker, request, pack, &topic->partitions[i]);
    }
}

static void
pack_unknown_topic(const struct sp_broker *broker, struct sp_pack *pack, struct sp_bytes name)
{
    bool current = sp_controller_is_current(broker->options.controller);

    sp_pack_map(pack, 4);
    sp_pack_text(pack, "name");
    sp_pack_str(pack, name);
    sp_pack_text(pack, "id");
    sp_pack_int(pack, -1);
    sp_pack_text(pack, "error");
    sp_pack_text(pack, spate_error_name(current ? SPATE_ERR_UNKNOWN_TOPIC : SPATE_ERR_NOT_READY));
    sp_pack_text(pack, "partitions");
    sp_pack_array(pack, 0);
}

/* The next topic that is shown: the cluster's own only to those who ask. */
static const struct sp_state_topic *
next_shown(const struct sp_state *state, struct sp_map_cursor *cursor, bool internal)
{
    const struct sp_state_topic *topic;

    do {
        topic = sp_state_topic_next(state, cursor);
    } while (topic != NULL && !internal && sp_state_is_internal(topic->name));
    return topic;
}

static uint32_t count_shown(const struct sp_state *state, bool internal)
{
    struct sp_map_cursor cursor = { 0 };
    uint32_t count = 0;

    while (next_shown(state, &cursor, internal) != NULL) {
        count += 1;
    }
    return count;
}

static void pack_all_topics(const struct sp_broker *broker,
                            const struct sp_request *request,
                            struct sp_pack *pack,
                            bool internal)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    const struct sp_state_topic *topic;
    struct sp_map_cursor cursor = { 0 };

    sp_pack_array(pack, count_shown(state, internal));
    while ((topic = next_shown(state, &cursor, internal)) != NULL) {
        pack_metadata_topic(broker, request, pack, topic);
    }
}

static void pack_named_topics(const struct sp_broker *broker,
                              const struct sp_request *request,
                              struct sp_pack *pack,
                              struct sp_bytes names)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    struct sp_cursor cursor = sp_cursor_of(names);
    uint32_t count = sp_cursor_array(&cursor);

    sp_pack_array(pack, count);
    for (uint32_t i = 0; i < count; i++) {
        struct sp_bytes name = sp_cursor_text(&cursor);
        const struct sp_state_topic *topic = NULL;
        char text[SP_TOPIC_NAME_SIZE_MAX + 1];
        if (sp_cursor_status(&cursor) != 0) {
            sp_pack_fail(pack, SPATE_ERR_INVALID);
            return;
        }
        if (sp_broker_copy_text(name, text, sizeof text)) {
            topic = sp_state_topic(state, text);
        }
        if (topic == NULL) {
            pack_unknown_topic(broker, pack, name);
        } else {
            pack_metadata_topic(broker, request, pack, topic);
        }
    }
}

static void pack_nodes(const struct sp_broker *broker,
                       const struct sp_request *request,
                       struct sp_pack *pack,
                       bool with_alive)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    const struct sp_state_node *node;
    struct sp_map_cursor cursor = { 0 };
    char text[SP_ADDRESS_SIZE_MAX];

    sp_pack_array(pack, sp_state_node_count(state));
    while ((node = sp_state_node_next(state, &cursor)) != NULL) {
        bool alive = sp_controller_sees(broker->options.controller, node->node_id);
        sp_pack_map(pack, with_alive ? 4 : 3);
        sp_pack_text(pack, "id");
        sp_pack_uint(pack, node->node_id);
        sp_pack_text(pack, "address");
        sp_pack_text(pack, sp_broker_node_address(node, request, text));
        sp_pack_text(pack, "rack");
        sp_pack_str(pack, sp_machine_rack(node));
        if (with_alive) {
            sp_pack_text(pack, "alive");
            sp_pack_bool(pack, alive);
        }
    }
}

static void pack_cluster_id(const struct sp_broker *broker, struct sp_pack *pack)
{
    char cluster_id[33];

    sp_broker_cluster_id(broker, cluster_id);
    sp_pack_text(pack, "cluster_id");
    sp_pack_text(pack, cluster_id[0] == '\0' ? NULL : cluster_id);
}

void sp_method_metadata(struct sp_broker *broker,
                        struct sp_request request,
                        const struct sp_message *message)
{
    struct sp_metadata_request asked;
    struct sp_api_error error;
    struct sp_buf buf;
    struct sp_pack pack;
    int rv = sp_metadata_request_decode(&message->params, &asked, &error);

    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
        return;
    }
    sp_request_begin(&request, &buf, &pack);
    sp_pack_map(&pack, 4);
    pack_cluster_id(broker, &pack);
    sp_pack_text(&pack, "controller");
    sp_pack_int(&pack, node_or_none(sp_controller_leader(broker->options.controller)));
    sp_pack_text(&pack, "nodes");
    pack_nodes(broker, &request, &pack, false);
    sp_pack_text(&pack, "topics");
    if (asked.topics.bytes == NULL) {
        pack_all_topics(broker, &request, &pack, asked.internal);
    } else {
        pack_named_topics(broker, &request, &pack, asked.topics);
    }
    sp_request_finish(&request, &buf, &pack, NULL, 0);
}

/* Whether what it says of others can be believed. */
static void pack_current(const struct sp_broker *broker, struct sp_pack *pack)
{
    sp_pack_text(pack, "current");
    sp_pack_bool(pack, sp_controller_follows(broker->options.controller));
}

/* ---- topics ---------------------------------------------------------------------------------- */

void sp_method_topic_list(struct sp_broker *broker,
                          struct sp_request request,
                          const struct sp_message *message)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    const struct sp_state_topic *topic;
    struct sp_map_cursor cursor = { 0 };
    struct sp_topic_list_request asked;
    struct sp_api_error error;
    struct sp_buf buf;
    struct sp_pack pack;
    int rv = sp_topic_list_request_decode(&message->params, &asked, &error);

    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
        return;
    }
    sp_request_begin(&request, &buf, &pack);
    sp_pack_map(&pack, 2);
    pack_current(broker, &pack);
    sp_pack_text(&pack, "topics");
    sp_pack_array(&pack, count_shown(state, asked.internal));
    while ((topic = next_shown(state, &cursor, asked.internal)) != NULL) {
        sp_pack_map(&pack, 4);
        sp_pack_text(&pack, "name");
        sp_pack_text(&pack, topic->name);
        sp_pack_text(&pack, "id");
        sp_pack_uint(&pack, topic->topic_id);
        sp_pack_text(&pack, "partitions");
        sp_pack_uint(&pack, topic->partition_count);
        sp_pack_text(&pack, "replicas");
        sp_pack_uint(&pack, topic->partitions[0].replica_count);
    }
    sp_request_finish(&request, &buf, &pack, NULL, 0);
}

/* ---- cluster.info ---------------------------------------------------------------------------- */

void sp_method_cluster_info(struct sp_broker *broker,
                            struct sp_request request,
                            const struct sp_message *message)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    const struct sp_state_topic *topic;
    struct sp_map_cursor cursor = { 0 };
    uint64_t partitions = 0;
    struct sp_buf buf;
    struct sp_pack pack;

    (void)message; /* no fields */
    while ((topic = next_shown(state, &cursor, false)) != NULL) {
        partitions += topic->partition_count;
    }
    sp_request_begin(&request, &buf, &pack);
    sp_pack_map(&pack, 8);
    pack_current(broker, &pack);
    pack_cluster_id(broker, &pack);
    sp_pack_text(&pack, "node_id");
    sp_pack_uint(&pack, broker->options.node_id);
    sp_pack_text(&pack, "version");
    sp_pack_text(&pack, SPATE_VERSION);
    sp_pack_text(&pack, "controller");
    sp_pack_int(&pack, node_or_none(sp_controller_leader(broker->options.controller)));
    sp_pack_text(&pack, "topics");
    sp_pack_uint(&pack, count_shown(state, false));
    sp_pack_text(&pack, "partitions");
    sp_pack_uint(&pack, partitions);
    sp_pack_text(&pack, "nodes");
    pack_nodes(broker, &request, &pack, true);
    sp_request_finish(&request, &buf, &pack, NULL, 0);
}
