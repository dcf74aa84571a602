/* Which function answers which method. */
#include "broker/methods.h"

#include <stdio.h>

static const sp_method_handler handlers[SP_METHOD_COUNT] = {
    [SP_METHOD_HELLO] = sp_method_hello,
    [SP_METHOD_PING] = sp_method_ping,
    [SP_METHOD_METADATA] = sp_method_metadata,
    [SP_METHOD_TOPIC_CREATE] = sp_method_topic_create,
    [SP_METHOD_TOPIC_ALTER] = sp_method_topic_alter,
    [SP_METHOD_TOPIC_TRUNCATE] = sp_method_topic_truncate,
    [SP_METHOD_TOPIC_DELETE] = sp_method_topic_delete,
    [SP_METHOD_TOPIC_LIST] = sp_method_topic_list,
    [SP_METHOD_TOPIC_DESCRIBE] = sp_method_topic_describe,
    [SP_METHOD_PRODUCE] = sp_method_produce,
    [SP_METHOD_FETCH] = sp_method_fetch,
    [SP_METHOD_OFFSETS] = sp_method_offsets,
    [SP_METHOD_PRODUCER_INIT] = sp_method_producer_init,
    [SP_METHOD_PRODUCER_RESUME] = sp_method_producer_resume,
    [SP_METHOD_CLUSTER_INFO] = sp_method_cluster_info,
    [SP_METHOD_CLUSTER_HEALTH] = sp_method_cluster_health,
    [SP_METHOD_CLUSTER_NODES] = sp_method_cluster_nodes,
    [SP_METHOD_CLUSTER_MOVES] = sp_method_cluster_moves,
    [SP_METHOD_NODE_DRAIN] = sp_method_node_drain,
    [SP_METHOD_NODE_REMOVE] = sp_method_node_remove,
    [SP_METHOD_PARTITION_MOVE] = sp_method_partition_move,
    [SP_METHOD_CLUSTER_REBALANCE] = sp_method_cluster_rebalance,
    [SP_METHOD_TOPIC_REPLICAS] = sp_method_topic_replicas,
    [SP_METHOD_CLUSTER_FEATURES] = sp_method_cluster_features,
    [SP_METHOD_GROUP_FIND] = sp_method_group_find,
    [SP_METHOD_GROUP_JOIN] = sp_method_group_join,
    [SP_METHOD_GROUP_HEARTBEAT] = sp_method_group_heartbeat,
    [SP_METHOD_GROUP_LEAVE] = sp_method_group_leave,
    [SP_METHOD_GROUP_COMMIT] = sp_method_group_commit,
    [SP_METHOD_GROUP_COMMITTED] = sp_method_group_committed,
    [SP_METHOD_GROUP_SEEK] = sp_method_group_seek,
    [SP_METHOD_GROUP_LIST] = sp_method_group_list,
    [SP_METHOD_GROUP_DESCRIBE] = sp_method_group_describe,
    [SP_METHOD_GROUP_DELETE] = sp_method_group_delete,
};

void sp_broker_run(struct sp_broker *broker,
                   struct sp_request request,
                   const struct sp_message *message)
{
    handlers[request.method](broker, request, message);
}

void sp_broker_dispatch(struct sp_broker *broker,
                        struct sp_request request,
                        const struct sp_message *message)
{
    enum sp_method method = sp_method_find(message->method);
    char text[160];

    request.method = method;
    if (method == SP_METHOD_COUNT) {
        (void)snprintf(text,
                       sizeof text,
                       "no method `%.*s`: see docs/protocol.md for the list",
                       message->method.size > 64 ? 64 : (int)message->method.size,
                       (const char *)message->method.bytes);
        sp_request_fail(&request, SPATE_ERR_UNKNOWN_METHOD, text);
        return;
    }
    sp_broker_run(broker, request, message);
}
