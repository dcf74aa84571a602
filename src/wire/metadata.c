#include "wire/metadata.h"

#include <stddef.h>

#include "base/mem.h"
#include "spate/error.h"
#include "wire/fields.h"

/* The fewest bytes that the map of a node, a topic, a partition can have, by its required keys.
 * They keep what is allocated in proportion to the message. */
#define NODE_SIZE_MIN 13      /* {"id":0,"address":""} */
#define TOPIC_SIZE_MIN 7      /* {"name":""} */
#define PARTITION_SIZE_MIN 12 /* {"partition":0} */

/* The maps as they come, with what needs a second step left encoded. */
struct raw_partition {
    struct sp_metadata_partition partition;
    struct sp_bytes replicas;
    struct sp_bytes error;
};

struct raw_topic {
    struct sp_metadata_topic topic;
    struct sp_bytes partitions;
    struct sp_bytes error;
};

struct raw_metadata {
    struct sp_metadata metadata;
    struct sp_bytes nodes;
    struct sp_bytes topics;
};

#define ID .min = -1, .max = INT32_MAX, .absent = -1
#define COUNT_OF(fields) (sizeof(fields) / sizeof(fields)[0])

static const struct sp_field node_fields[] = {
    { "id", SP_FIELD_I32, .position = offsetof(struct sp_metadata_node, id), ID },
    { "address", SP_FIELD_TEXT, .position = offsetof(struct sp_metadata_node, address) },
    { "rack",
      SP_FIELD_TEXT,
      .optional = true,
      .position = offsetof(struct sp_metadata_node, rack) },
};
static const struct sp_shape node_shape = { "metadata node", node_fields, COUNT_OF(node_fields) };

static const struct sp_field partition_fields[] = {
    { "partition",
      SP_FIELD_I32,
      .position = offsetof(struct raw_partition, partition.partition),
      .max = INT32_MAX },
    { "leader",
      SP_FIELD_I32,
      .optional = true,
      .position = offsetof(struct raw_partition, partition.leader),
      ID },
    { "leader_address",
      SP_FIELD_TEXT,
      .optional = true,
      .position = offsetof(struct raw_partition, partition.leader_address) },
    { "epoch",
      SP_FIELD_I32,
      .optional = true,
      .position = offsetof(struct raw_partition, partition.epoch),
      ID },
    { "replicas",
      SP_FIELD_VALUE,
      .optional = true,
      .position = offsetof(struct raw_partition, replicas) },
    { "error", SP_FIELD_TEXT, .optional = true, .position = offsetof(struct raw_partition, error) },
};
static const struct sp_shape partition_shape = { "metadata partition",
                                                 partition_fields,
                                                 COUNT_OF(partition_fields) };

static const struct sp_field topic_fields[] = {
    { "name", SP_FIELD_TEXT, .position = offsetof(struct raw_topic, topic.name) },
    { "id",
      SP_FIELD_I64,
      .optional = true,
      .position = offsetof(struct raw_topic, topic.id),
      .min = -1,
      .max = SP_API_WHOLE_MAX,
      .absent = -1 },
    { "max_batch_bytes",
      SP_FIELD_I64,
      .optional = true,
      .position = offsetof(struct raw_topic, topic.max_batch_bytes),
      .max = SP_API_WHOLE_MAX },
    { "error", SP_FIELD_TEXT, .optional = true, .position = offsetof(struct raw_topic, error) },
    { "partitions",
      SP_FIELD_VALUE,
      .optional = true,
      .position = offsetof(struct raw_topic, partitions) },
};
static const struct sp_shape topic_shape = { "metadata topic",
                                             topic_fields,
                                             COUNT_OF(topic_fields) };

static const struct sp_field metadata_fields[] = {
    { "cluster_id",
      SP_FIELD_TEXT,
      .optional = true,
      .position = offsetof(struct raw_metadata, metadata.cluster_id) },
    { "controller",
      SP_FIELD_I32,
      .optional = true,
      .position = offsetof(struct raw_metadata, metadata.controller),
      ID },
    { "nodes", SP_FIELD_VALUE, .position = offsetof(struct raw_metadata, nodes) },
    { "topics", SP_FIELD_VALUE, .position = offsetof(struct raw_metadata, topics) },
};
static const struct sp_shape metadata_shape = { "metadata",
                                                metadata_fields,
                                                COUNT_OF(metadata_fields) };

/* Reads the header of an encoded array whose elements have at least `size_min` bytes each; a null
 * view is an empty array. */
static int open_array(struct sp_bytes encoded,
                      size_t size_min,
                      size_t count_max,
                      struct sp_cursor *out_cursor,
                      uint32_t *out_count)
{
    struct sp_cursor cursor = sp_cursor_of(encoded);
    uint32_t count = encoded.bytes == NULL ? 0 : sp_cursor_array(&cursor);

    if (cursor.status != 0) {
        return cursor.status;
    }
    if (count > count_max) {
        return SPATE_ERR_TOO_LARGE;
    }
    if (count > encoded.size / size_min) {
        return SPATE_ERR_INVALID; /* some element lacks its required fields */
    }
    *out_cursor = cursor;
    *out_count = count;
    return 0;
}

static int decode_replicas(struct sp_bytes encoded, struct sp_metadata_partition *partition)
{
    struct sp_cursor cursor;
    uint32_t count = 0;
    int rv = open_array(encoded, 1, SP_REPLICAS_MAX, &cursor, &count);

    if (rv != 0) {
        return rv;
    }
    for (uint32_t i = 0; i < count; i++) {
        partition->replicas[i] = (int32_t)sp_cursor_int(&cursor, 0, INT32_MAX);
    }
    partition->replica_count = count;
    return cursor.status;
}

/* The code that an error field names; 0 when there is none. */
static int error_of(struct sp_bytes text)
{
    return text.size == 0 ? 0 : spate_error_from_name((const char *)text.bytes, text.size);
}

static int decode_partition(struct sp_cursor *cursor,
                            struct sp_metadata_partition *out,
                            struct sp_api_error *error)
{
    struct raw_partition raw = { .replicas = sp_bytes_null() };
    int rv = sp_shape_decode(&partition_shape, cursor, &raw, error);

    if (rv == 0) {
        rv = decode_replicas(raw.replicas, &raw.partition);
    }
    raw.partition.error = error_of(raw.error);
    *out = raw.partition;
    return rv;
}

static int decode_partitions(struct sp_bytes encoded,
                             struct sp_metadata_topic *topic,
                             struct sp_api_error *error)
{
    struct sp_cursor cursor;
    uint32_t count = 0;
    int rv = open_array(encoded, PARTITION_SIZE_MIN, SP_PARTITIONS_PER_TOPIC_MAX, &cursor, &count);

    if (rv != 0 || count == 0) {
        return rv;
    }
    topic->partitions = sp_mem_calloc(count, sizeof topic->partitions[0]);
    if (topic->partitions == NULL) {
        return SPATE_ERR_NOMEM;
    }
    topic->partition_count = count;
    for (uint32_t i = 0; i < count && rv == 0; i++) {
        rv = decode_partition(&cursor, &topic->partitions[i], error);
    }
    return rv;
}

static int
decode_topics(struct sp_bytes encoded, struct sp_metadata *metadata, struct sp_api_error *error)
{
    struct sp_cursor cursor;
    uint32_t count = 0;
    int rv = open_array(encoded, TOPIC_SIZE_MIN, SP_TOPICS_MAX, &cursor, &count);

    if (rv != 0 || count == 0) {
        return rv;
    }
    metadata->topics = sp_mem_calloc(count, sizeof metadata->topics[0]);
    if (metadata->topics == NULL) {
        return SPATE_ERR_NOMEM;
    }
    metadata->topic_count = count;
    for (uint32_t i = 0; i < count && rv == 0; i++) {
        struct raw_topic raw = { .partitions = sp_bytes_null() };
        rv = sp_shape_decode(&topic_shape, &cursor, &raw, error);
        raw.topic.error = error_of(raw.error);
        metadata->topics[i] = raw.topic;
        if (rv == 0) {
            rv = decode_partitions(raw.partitions, &metadata->topics[i], error);
        }
    }
    return rv;
}

static int
decode_nodes(struct sp_bytes encoded, struct sp_metadata *metadata, struct sp_api_error *error)
{
    struct sp_cursor cursor;
    uint32_t count = 0;
    int rv = open_array(encoded, NODE_SIZE_MIN, SP_NODES_MAX, &cursor, &count);

    if (rv != 0 || count == 0) {
        return rv;
    }
    metadata->nodes = sp_mem_calloc(count, sizeof metadata->nodes[0]);
    if (metadata->nodes == NULL) {
        return SPATE_ERR_NOMEM;
    }
    metadata->node_count = count;
    for (uint32_t i = 0; i < count && rv == 0; i++) {
        rv = sp_shape_decode(&node_shape, &cursor, &metadata->nodes[i], error);
    }
    return rv;
}

int sp_metadata_decode(const struct sp_cursor *cursor,
                       struct sp_metadata *out,
                       struct sp_api_error *error)
{
    struct sp_cursor copy = *cursor;
    struct raw_metadata raw = { .nodes = sp_bytes_null() };
    int rv = sp_shape_decode(&metadata_shape, &copy, &raw, error);

    if (rv == 0) {
        rv = decode_nodes(raw.nodes, &raw.metadata, error);
    }
    if (rv == 0) {
        rv = decode_topics(raw.topics, &raw.metadata, error);
    }
    if (rv != 0) {
        sp_metadata_deinit(&raw.metadata);
        return rv;
    }
    *out = raw.metadata;
    return 0;
}

void sp_metadata_deinit(struct sp_metadata *metadata)
{
    for (uint32_t i = 0; i < metadata->topic_count; i++) {
        sp_mem_free(metadata->topics[i].partitions);
    }
    sp_mem_free(metadata->topics);
    sp_mem_free(metadata->nodes);
    *metadata = (struct sp_metadata){ .controller = -1 };
}

static void encode_error(struct sp_pack *pack, int error)
{
    if (error != 0) {
        sp_pack_text(pack, "error");
        sp_pack_text(pack, spate_error_name(error));
    }
}

static void encode_partition(struct sp_pack *pack, const struct sp_metadata_partition *partition)
{
    bool addressed = partition->leader_address.bytes != NULL;

    sp_pack_map(pack, 4U + (addressed ? 1 : 0) + (partition->error != 0 ? 1 : 0));
    sp_pack_text(pack, "partition");
    sp_pack_int(pack, partition->partition);
    sp_pack_text(pack, "leader");
    sp_pack_int(pack, partition->leader);
    if (addressed) {
        sp_pack_text(pack, "leader_address");
        sp_pack_str(pack, partition->leader_address);
    }
    sp_pack_text(pack, "epoch");
    sp_pack_int(pack, partition->epoch);
    sp_pack_text(pack, "replicas");
    sp_pack_array(pack, partition->replica_count);
    for (uint32_t i = 0; i < partition->replica_count; i++) {
        sp_pack_int(pack, partition->replicas[i]);
    }
    encode_error(pack, partition->error);
}

static void encode_topic(struct sp_pack *pack, const struct sp_metadata_topic *topic)
{
    bool limited = topic->max_batch_bytes > 0;

    sp_pack_map(pack, 3U + (topic->error != 0 ? 1 : 0) + (limited ? 1 : 0));
    sp_pack_text(pack, "name");
    sp_pack_str(pack, topic->name);
    sp_pack_text(pack, "id");
    sp_pack_int(pack, topic->id);
    if (limited) {
        sp_pack_text(pack, "max_batch_bytes");
        sp_pack_int(pack, topic->max_batch_bytes);
    }
    encode_error(pack, topic->error);
    sp_pack_text(pack, "partitions");
    sp_pack_array(pack, topic->partition_count);
    for (uint32_t i = 0; i < topic->partition_count; i++) {
        encode_partition(pack, &topic->partitions[i]);
    }
}

void sp_metadata_encode(struct sp_pack *pack, const struct sp_metadata *metadata)
{
    sp_pack_map(pack, 4);
    sp_pack_text(pack, "cluster_id");
    sp_pack_str(pack, metadata->cluster_id);
    sp_pack_text(pack, "controller");
    sp_pack_int(pack, metadata->controller);
    sp_pack_text(pack, "nodes");
    sp_pack_array(pack, metadata->node_count);
    for (uint32_t i = 0; i < metadata->node_count; i++) {
        sp_shape_encode(&node_shape, pack, &metadata->nodes[i], false);
    }
    sp_pack_text(pack, "topics");
    sp_pack_array(pack, metadata->topic_count);
    for (uint32_t i = 0; i < metadata->topic_count; i++) {
        encode_topic(pack, &metadata->topics[i]);
    }
}

const struct sp_metadata_node *sp_metadata_node_find(const struct sp_metadata *metadata, int32_t id)
{
    for (uint32_t i = 0; i < metadata->node_count; i++) {
        if (metadata->nodes[i].id == id) {
            return &metadata->nodes[i];
        }
    }
    return NULL;
}
