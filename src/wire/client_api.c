#include "wire/client_api.h"

#include <stddef.h>

#include "base/limits.h"
#include "wire/fields.h"

/* One line per field. Optional numbers may also be sent as the value that stands for absent, so
 * their range begins there. */
#define AT(type, member) .position = offsetof(struct sp_##type, member)
#define RANGE(low, high) .min = (low), .max = (high)
#define ID_OPTIONAL .optional = true, .absent = -1, RANGE(-1, SP_API_WHOLE_MAX)
#define I32_OPTIONAL .optional = true, .absent = -1, RANGE(-1, INT32_MAX)
#define I32_COUNT RANGE(0, INT32_MAX)
#define I32_ID RANGE(-1, INT32_MAX)
#define WHOLE RANGE(0, SP_API_WHOLE_MAX)
#define TOPIC_NAME .max = SP_TOPIC_NAME_SIZE_MAX
#define CLIENT_NAME .optional = true, .max = SP_CLIENT_NAME_SIZE_MAX

/* The shape of struct sp_<type> from the fields in <type>_fields. */
#define SHAPE(type, label)                                                                         \
    static const struct sp_shape type##_shape = { label,                                           \
                                                  type##_fields,                                   \
                                                  sizeof type##_fields / sizeof type##_fields[0] }

static const struct sp_shape empty_request_shape = { NULL, NULL, 0 };

static const struct sp_field hello_request_fields[] = {
    { "client", SP_FIELD_TEXT, AT(hello_request, client), CLIENT_NAME },
    { "version", SP_FIELD_TEXT, AT(hello_request, version), CLIENT_NAME },
};
SHAPE(hello_request, "hello");

static const struct sp_field limits_fields[] = {
    { "max_message_bytes", SP_FIELD_I64, AT(limits, max_message_bytes), ID_OPTIONAL },
    { "max_batch_bytes", SP_FIELD_I64, AT(limits, max_batch_bytes), ID_OPTIONAL },
    { "max_fetch_bytes", SP_FIELD_I64, AT(limits, max_fetch_bytes), ID_OPTIONAL },
};
SHAPE(limits, "limits");

static const struct sp_field hello_response_fields[] = {
    { "server", SP_FIELD_TEXT, AT(hello_response, server) },
    { "version", SP_FIELD_TEXT, AT(hello_response, version) },
    { "cluster_id", SP_FIELD_TEXT, .optional = true, AT(hello_response, cluster_id) },
    { "node_id", SP_FIELD_I32, AT(hello_response, node_id), I32_ID },
    { "features", SP_FIELD_TEXTS, .optional = true, AT(hello_response, features) },
    { "limits",
      SP_FIELD_SHAPE,
      .optional = true,
      AT(hello_response, limits),
      .inner = &limits_shape },
};
SHAPE(hello_response, "hello");

static const struct sp_field metadata_request_fields[] = {
    { "topics", SP_FIELD_TEXTS, .optional = true, AT(metadata_request, topics) },
    { "internal", SP_FIELD_BOOL, .optional = true, AT(metadata_request, internal) },
};
SHAPE(metadata_request, "metadata");

static const struct sp_field topic_create_request_fields[] = {
    { "name", SP_FIELD_TEXT, AT(topic_create_request, name), TOPIC_NAME },
    { "partitions", SP_FIELD_I32, AT(topic_create_request, partitions), I32_OPTIONAL },
    { "replicas", SP_FIELD_I32, AT(topic_create_request, replicas), I32_OPTIONAL },
    { "config", SP_FIELD_MAP, .optional = true, AT(topic_create_request, config) },
};
SHAPE(topic_create_request, "topic.create");

static const struct sp_field topic_create_response_fields[] = {
    { "name", SP_FIELD_TEXT, AT(topic_create_response, name) },
    { "id", SP_FIELD_I64, AT(topic_create_response, id), RANGE(-1, SP_API_WHOLE_MAX) },
    { "partitions", SP_FIELD_I32, AT(topic_create_response, partitions), I32_COUNT },
    { "replicas", SP_FIELD_I32, AT(topic_create_response, replicas), I32_COUNT },
};
SHAPE(topic_create_response, "topic.create");

static const struct sp_field topic_alter_request_fields[] = {
    { "name", SP_FIELD_TEXT, AT(topic_alter_request, name), TOPIC_NAME },
    { "set", SP_FIELD_MAP, .optional = true, AT(topic_alter_request, set) },
    { "unset", SP_FIELD_TEXTS, .optional = true, AT(topic_alter_request, unset) },
};
SHAPE(topic_alter_request, "topic.alter");

static const struct sp_field topic_truncate_request_fields[] = {
    { "topic", SP_FIELD_TEXT, AT(topic_truncate_request, topic), TOPIC_NAME },
    { "topic_id", SP_FIELD_I64, AT(topic_truncate_request, topic_id), ID_OPTIONAL },
    { "partition", SP_FIELD_I32, AT(topic_truncate_request, partition), I32_COUNT },
    { "before", SP_FIELD_I64, AT(topic_truncate_request, before), WHOLE },
};
SHAPE(topic_truncate_request, "topic.truncate");

static const struct sp_field topic_truncate_response_fields[] = {
    { "log_start", SP_FIELD_I64, AT(topic_truncate_response, log_start), WHOLE },
};
SHAPE(topic_truncate_response, "topic.truncate");

static const struct sp_field topic_delete_request_fields[] = {
    { "name", SP_FIELD_TEXT, AT(topic_delete_request, name), TOPIC_NAME },
    { "topic_id", SP_FIELD_I64, AT(topic_delete_request, topic_id), ID_OPTIONAL },
};
SHAPE(topic_delete_request, "topic.delete");

static const struct sp_field topic_request_fields[] = {
    { "name", SP_FIELD_TEXT, AT(topic_request, name), TOPIC_NAME },
};
SHAPE(topic_request, NULL);

static const struct sp_field produce_request_fields[] = {
    { "topic", SP_FIELD_TEXT, AT(produce_request, topic), TOPIC_NAME },
    { "topic_id", SP_FIELD_I64, AT(produce_request, topic_id), ID_OPTIONAL },
    { "partition", SP_FIELD_I32, AT(produce_request, partition), I32_COUNT },
    { "timeout_ms", SP_FIELD_I32, AT(produce_request, timeout_ms), I32_OPTIONAL },
    { "records", SP_FIELD_RECORDS, AT(produce_request, records) },
};
SHAPE(produce_request, "produce");

static const struct sp_field produce_response_fields[] = {
    { "offset", SP_FIELD_I64, AT(produce_response, offset), WHOLE },
    { "term", SP_FIELD_I64, AT(produce_response, term), WHOLE },
    { "fsynced", SP_FIELD_I32, AT(produce_response, fsynced), I32_COUNT },
    { "count", SP_FIELD_I32, AT(produce_response, count), I32_COUNT },
};
SHAPE(produce_response, "produce");

static const struct sp_field fetch_request_fields[] = {
    { "topic", SP_FIELD_TEXT, AT(fetch_request, topic), TOPIC_NAME },
    { "topic_id", SP_FIELD_I64, AT(fetch_request, topic_id), ID_OPTIONAL },
    { "partition", SP_FIELD_I32, AT(fetch_request, partition), I32_COUNT },
    { "offset", SP_FIELD_I64, AT(fetch_request, offset), WHOLE },
    { "max_bytes", SP_FIELD_I32, AT(fetch_request, max_bytes), I32_OPTIONAL },
    { "min_bytes", SP_FIELD_I32, AT(fetch_request, min_bytes), I32_OPTIONAL },
    { "max_wait_ms", SP_FIELD_I32, AT(fetch_request, max_wait_ms), I32_OPTIONAL },
    { "format",
      SP_FIELD_FORMAT,
      .optional = true,
      AT(fetch_request, format),
      .absent = SP_FETCH_FORMAT_BATCH },
    { "epoch", SP_FIELD_I32, AT(fetch_request, epoch), I32_OPTIONAL },
    { "linearizable", SP_FIELD_BOOL, .optional = true, AT(fetch_request, linearizable) },
    { "follower", SP_FIELD_BOOL, .optional = true, AT(fetch_request, follower) },
};
SHAPE(fetch_request, "fetch");

static const struct sp_field fetch_response_fields[] = {
    { "high_watermark", SP_FIELD_I64, AT(fetch_response, high_watermark), WHOLE },
    { "log_start", SP_FIELD_I64, AT(fetch_response, log_start), WHOLE },
    { "end_offset", SP_FIELD_I64, AT(fetch_response, end_offset), ID_OPTIONAL },
    { "records", SP_FIELD_RECORDS, AT(fetch_response, records) },
};
SHAPE(fetch_response, "fetch");

static const struct sp_field offsets_request_fields[] = {
    { "topic", SP_FIELD_TEXT, AT(offsets_request, topic), TOPIC_NAME },
    { "partition", SP_FIELD_I32, AT(offsets_request, partition), I32_COUNT },
    { "at",
      SP_FIELD_AT,
      .optional = true,
      AT(offsets_request, at),
      .absent = SP_OFFSETS_AT_LATEST },
    { "linearizable", SP_FIELD_BOOL, .optional = true, AT(offsets_request, linearizable) },
};
SHAPE(offsets_request, "offsets");

static const struct sp_field offsets_response_fields[] = {
    { "offset", SP_FIELD_I64, AT(offsets_response, offset), WHOLE },
    { "timestamp",
      SP_FIELD_I64,
      .optional = true,
      AT(offsets_response, timestamp),
      .absent = -1,
      RANGE(-SP_API_WHOLE_MAX, SP_API_WHOLE_MAX) },
};
SHAPE(offsets_response, "offsets");

static const struct sp_field producer_init_request_fields[] = {
    { "name",
      SP_FIELD_TEXT,
      .optional = true,
      AT(producer_init_request, name),
      .max = SP_PRODUCER_NAME_SIZE_MAX },
    { "layout",
      SP_FIELD_TEXT,
      .optional = true,
      AT(producer_init_request, layout),
      .max = SP_PRODUCER_LAYOUT_SIZE_MAX },
};
SHAPE(producer_init_request, "producer.init");

static const struct sp_field producer_init_response_fields[] = {
    { "producer_id", SP_FIELD_I64, AT(producer_init_response, producer_id), WHOLE },
    { "producer_epoch",
      SP_FIELD_I16,
      AT(producer_init_response, producer_epoch),
      RANGE(0, INT16_MAX) },
};
SHAPE(producer_init_response, "producer.init");

static const struct sp_field producer_resume_request_fields[] = {
    { "topic", SP_FIELD_TEXT, AT(producer_resume_request, topic), TOPIC_NAME },
    { "topic_id", SP_FIELD_I64, AT(producer_resume_request, topic_id), ID_OPTIONAL },
    { "partition", SP_FIELD_I32, AT(producer_resume_request, partition), I32_COUNT },
    { "producer_id", SP_FIELD_I64, AT(producer_resume_request, producer_id), WHOLE },
    { "producer_epoch",
      SP_FIELD_I16,
      AT(producer_resume_request, producer_epoch),
      RANGE(0, INT16_MAX) },
};
SHAPE(producer_resume_request, "producer.resume");

static const struct sp_field producer_resume_response_fields[] = {
    { "known", SP_FIELD_BOOL, AT(producer_resume_response, known) },
    { "offset", SP_FIELD_I64, AT(producer_resume_response, offset), RANGE(-1, SP_API_WHOLE_MAX) },
    { "sequence", SP_FIELD_I32, AT(producer_resume_response, sequence), I32_COUNT },
    { "records", SP_FIELD_I64, AT(producer_resume_response, records), RANGE(-1, SP_API_WHOLE_MAX) },
};
SHAPE(producer_resume_response, "producer.resume");

static const struct sp_field topic_list_request_fields[] = {
    { "internal", SP_FIELD_BOOL, .optional = true, AT(topic_list_request, internal) },
};
SHAPE(topic_list_request, "topic.list");

static const struct sp_field partition_move_request_fields[] = {
    { "topic", SP_FIELD_TEXT, AT(partition_move_request, topic), TOPIC_NAME },
    { "partition", SP_FIELD_I32, AT(partition_move_request, partition), I32_COUNT },
    { "replicas", SP_FIELD_VALUE, AT(partition_move_request, replicas) },
};
SHAPE(partition_move_request, "partition.move");

static const struct sp_field cluster_rebalance_request_fields[] = {
    { "dry_run", SP_FIELD_BOOL, .optional = true, AT(cluster_rebalance_request, dry_run) },
};
SHAPE(cluster_rebalance_request, "cluster.rebalance");

static const struct sp_field topic_replicas_request_fields[] = {
    { "name", SP_FIELD_TEXT, AT(topic_replicas_request, name), TOPIC_NAME },
    { "replicas", SP_FIELD_I32, AT(topic_replicas_request, replicas), RANGE(1, SP_REPLICAS_MAX) },
};
SHAPE(topic_replicas_request, "topic.replicas");

static const struct sp_field node_drain_request_fields[] = {
    { "node", SP_FIELD_I32, AT(node_drain_request, node), RANGE(1, SP_NODE_ID_MAX) },
    { "draining", SP_FIELD_BOOL, AT(node_drain_request, draining) },
};
SHAPE(node_drain_request, "node.drain");

static const struct sp_field node_request_fields[] = {
    { "node", SP_FIELD_I32, AT(node_request, node), RANGE(1, SP_NODE_ID_MAX) },
};
SHAPE(node_request, NULL);
static const struct sp_field cluster_features_request_fields[] = {
    { "action", SP_FIELD_TEXT, .optional = true, AT(cluster_features_request, action), .max = 16 },
};
SHAPE(cluster_features_request, "cluster.features");

/* ---- consumer groups ------------------------------------------------------------------------- */

#define GROUP_FIELD(type)                                                                          \
    {                                                                                              \
        "group", SP_FIELD_TEXT, AT(type, group), .max = SP_CONSUMER_GROUP_NAME_SIZE_MAX            \
    }
#define MEMBER_FIELD(type, is_optional)                                                            \
    {                                                                                              \
        "member", SP_FIELD_TEXT, .optional = (is_optional), AT(type, member),                      \
                                 .max = SP_CONSUMER_MEMBER_ID_SIZE_MAX                             \
    }

static const struct sp_field group_request_fields[] = {
    GROUP_FIELD(group_request),
    { "seen", SP_FIELD_I64, AT(group_request, seen), ID_OPTIONAL },
};
SHAPE(group_request, NULL);

static const struct sp_field group_find_response_fields[] = {
    { "partition", SP_FIELD_I32, AT(group_find_response, partition), I32_COUNT },
    { "leader", SP_FIELD_I32, AT(group_find_response, leader), I32_ID },
    { "leader_address", SP_FIELD_TEXT, .optional = true, AT(group_find_response, leader_address) },
};
SHAPE(group_find_response, "group.find");

static const struct sp_field group_join_request_fields[] = {
    GROUP_FIELD(group_join_request),
    MEMBER_FIELD(group_join_request, true),
    { "instance",
      SP_FIELD_TEXT,
      .optional = true,
      AT(group_join_request, instance),
      .max = SP_CLIENT_NAME_SIZE_MAX },
    { "client",
      SP_FIELD_TEXT,
      .optional = true,
      AT(group_join_request, client),
      .max = SP_CLIENT_NAME_SIZE_MAX },
    { "topics", SP_FIELD_TEXTS, AT(group_join_request, topics) },
    { "session_ms",
      SP_FIELD_I32,
      .optional = true,
      AT(group_join_request, session_ms),
      .absent = SP_CONSUMER_SESSION_MS_DEFAULT,
      RANGE(SP_CONSUMER_SESSION_MS_MIN, SP_CONSUMER_SESSION_MS_MAX) },
    { "rebalance_ms",
      SP_FIELD_I32,
      .optional = true,
      AT(group_join_request, rebalance_ms),
      .absent = SP_CONSUMER_REBALANCE_MS_DEFAULT,
      RANGE(SP_CONSUMER_SESSION_MS_MIN, SP_CONSUMER_SESSION_MS_MAX) },
    { "owned", SP_FIELD_VALUE, .optional = true, AT(group_join_request, owned) },
    { "generation", SP_FIELD_I64, AT(group_join_request, generation), ID_OPTIONAL },
    { "rack",
      SP_FIELD_TEXT,
      .optional = true,
      AT(group_join_request, rack),
      .max = SP_CONSUMER_RACK_SIZE_MAX },
};
SHAPE(group_join_request, "group.join");

static const struct sp_field group_heartbeat_request_fields[] = {
    GROUP_FIELD(group_heartbeat_request),
    MEMBER_FIELD(group_heartbeat_request, false),
    { "generation", SP_FIELD_I64, AT(group_heartbeat_request, generation), WHOLE },
    { "owned", SP_FIELD_VALUE, .optional = true, AT(group_heartbeat_request, owned) },
    { "max_wait_ms",
      SP_FIELD_I32,
      .optional = true,
      AT(group_heartbeat_request, max_wait_ms),
      I32_COUNT },
};
SHAPE(group_heartbeat_request, "group.heartbeat");

static const struct sp_field group_member_response_fields[] = {
    MEMBER_FIELD(group_member_response, false),
    { "generation", SP_FIELD_I64, AT(group_member_response, generation), WHOLE },
    { "assigned", SP_FIELD_VALUE, AT(group_member_response, assigned) },
    { "revoke", SP_FIELD_VALUE, AT(group_member_response, revoke) },
    { "heartbeat_ms", SP_FIELD_I32, AT(group_member_response, heartbeat_ms), I32_COUNT },
};
SHAPE(group_member_response, "group.heartbeat");

static const struct sp_field group_leave_request_fields[] = {
    GROUP_FIELD(group_leave_request),
    MEMBER_FIELD(group_leave_request, false),
};
SHAPE(group_leave_request, "group.leave");

static const struct sp_field group_commit_request_fields[] = {
    GROUP_FIELD(group_commit_request),
    MEMBER_FIELD(group_commit_request, true),
    { "generation", SP_FIELD_I64, AT(group_commit_request, generation), ID_OPTIONAL },
    { "seen", SP_FIELD_I64, AT(group_commit_request, seen), ID_OPTIONAL },
    { "partly", SP_FIELD_BOOL, .optional = true, AT(group_commit_request, partly) },
    { "offsets", SP_FIELD_VALUE, AT(group_commit_request, offsets) },
};
SHAPE(group_commit_request, "group.commit");

static const struct sp_field group_commit_response_fields[] = {
    { "stored", SP_FIELD_BOOL, .optional = true, AT(group_commit_response, stored), .absent = 1 },
    { "seen", SP_FIELD_I64, AT(group_commit_response, seen), ID_OPTIONAL },
    { "refused", SP_FIELD_VALUE, .optional = true, AT(group_commit_response, refused) },
};
SHAPE(group_commit_response, "group.commit");

static const struct sp_field group_offset_fields[] = {
    { "topic", SP_FIELD_TEXT, AT(group_offset, topic), TOPIC_NAME },
    { "topic_id", SP_FIELD_I64, AT(group_offset, topic_id), ID_OPTIONAL },
    { "partition", SP_FIELD_I32, AT(group_offset, partition), I32_COUNT },
    { "offset", SP_FIELD_I64, AT(group_offset, offset), WHOLE },
    { "metadata",
      SP_FIELD_TEXT,
      .optional = true,
      AT(group_offset, metadata),
      .max = SP_CONSUMER_METADATA_SIZE_MAX },
};
SHAPE(group_offset, "offsets");

int sp_group_offset_read(struct sp_cursor *cursor,
                         struct sp_group_offset *out,
                         struct sp_api_error *error)
{
    struct sp_group_offset value = { 0 };
    int rv = sp_shape_decode(&group_offset_shape, cursor, &value, error);

    if (rv == 0) {
        *out = value;
    }
    return rv;
}

static const struct sp_field group_places_fields[] = {
    { "topic", SP_FIELD_TEXT, AT(group_places, topic), TOPIC_NAME },
    { "partitions", SP_FIELD_VALUE, AT(group_places, partitions) },
};
SHAPE(group_places, "owned");

int sp_group_places_read(struct sp_cursor *cursor,
                         struct sp_group_places *out,
                         struct sp_api_error *error)
{
    struct sp_group_places value = { 0 };
    int rv = sp_shape_decode(&group_places_shape, cursor, &value, error);

    if (rv == 0) {
        *out = value;
    }
    return rv;
}

static const struct sp_field group_committed_request_fields[] = {
    GROUP_FIELD(group_committed_request),
    { "topics", SP_FIELD_TEXTS, .optional = true, AT(group_committed_request, topics) },
};
SHAPE(group_committed_request, "group.committed");

static const struct sp_field group_committed_response_fields[] = {
    { "offsets", SP_FIELD_VALUE, AT(group_committed_response, offsets) },
};
SHAPE(group_committed_response, "group.committed");

static const struct sp_field group_seek_request_fields[] = {
    GROUP_FIELD(group_seek_request),
    { "topic", SP_FIELD_TEXT, AT(group_seek_request, topic), TOPIC_NAME },
    { "partition", SP_FIELD_I32, AT(group_seek_request, partition), I32_OPTIONAL },
    { "to", SP_FIELD_AT, AT(group_seek_request, to) },
    { "seen", SP_FIELD_I64, AT(group_seek_request, seen), ID_OPTIONAL },
};
SHAPE(group_seek_request, "group.seek");

/* The three functions of each struct; `decode` says whether it comes in params or as a result. */
#define DEFINE(type, decode)                                                                       \
    void sp_##type##_init(struct sp_##type *value)                                                 \
    {                                                                                              \
        *value = (struct sp_##type){ 0 };                                                          \
        sp_shape_init(&type##_shape, value);                                                       \
    }                                                                                              \
    int sp_##type##_decode(                                                                        \
        const struct sp_cursor *cursor, struct sp_##type *out, struct sp_api_error *error)         \
    {                                                                                              \
        struct sp_cursor copy = *cursor;                                                           \
        struct sp_##type value = { 0 };                                                            \
        int rv = decode(&type##_shape, &copy, &value, error);                                      \
        if (rv == 0) {                                                                             \
            *out = value;                                                                          \
        }                                                                                          \
        return rv;                                                                                 \
    }                                                                                              \
    void sp_##type##_encode(struct sp_pack *pack, const struct sp_##type *value)                   \
    {                                                                                              \
        sp_shape_encode(&type##_shape, pack, value, false);                                        \
    }

DEFINE(empty_request, sp_shape_decode_params)
DEFINE(hello_request, sp_shape_decode_params)
DEFINE(hello_response, sp_shape_decode)
DEFINE(metadata_request, sp_shape_decode_params)
DEFINE(topic_create_request, sp_shape_decode_params)
DEFINE(topic_create_response, sp_shape_decode)
DEFINE(topic_alter_request, sp_shape_decode_params)
DEFINE(topic_truncate_request, sp_shape_decode_params)
DEFINE(topic_truncate_response, sp_shape_decode)
DEFINE(topic_delete_request, sp_shape_decode_params)
DEFINE(topic_request, sp_shape_decode_params)
DEFINE(produce_request, sp_shape_decode_params)
DEFINE(produce_response, sp_shape_decode)
DEFINE(fetch_request, sp_shape_decode_params)
DEFINE(fetch_response, sp_shape_decode)
DEFINE(offsets_request, sp_shape_decode_params)
DEFINE(offsets_response, sp_shape_decode)
DEFINE(producer_init_request, sp_shape_decode_params)
DEFINE(producer_init_response, sp_shape_decode)
DEFINE(producer_resume_request, sp_shape_decode_params)
DEFINE(producer_resume_response, sp_shape_decode)
DEFINE(topic_list_request, sp_shape_decode_params)
DEFINE(partition_move_request, sp_shape_decode_params)
DEFINE(cluster_rebalance_request, sp_shape_decode_params)
DEFINE(topic_replicas_request, sp_shape_decode_params)
DEFINE(node_drain_request, sp_shape_decode_params)
DEFINE(node_request, sp_shape_decode_params)
DEFINE(cluster_features_request, sp_shape_decode_params)
DEFINE(group_request, sp_shape_decode_params)
DEFINE(group_find_response, sp_shape_decode)
DEFINE(group_join_request, sp_shape_decode_params)
DEFINE(group_heartbeat_request, sp_shape_decode_params)
DEFINE(group_member_response, sp_shape_decode)
DEFINE(group_leave_request, sp_shape_decode_params)
DEFINE(group_commit_request, sp_shape_decode_params)
DEFINE(group_commit_response, sp_shape_decode)
DEFINE(group_committed_request, sp_shape_decode_params)
DEFINE(group_committed_response, sp_shape_decode)
DEFINE(group_seek_request, sp_shape_decode_params)

void sp_produce_request_encode_head(struct sp_pack *pack, const struct sp_produce_request *value)
{
    sp_shape_encode(&produce_request_shape, pack, value, true);
}

void sp_fetch_response_encode_head(struct sp_pack *pack, const struct sp_fetch_response *value)
{
    sp_shape_encode(&fetch_response_shape, pack, value, true);
}
