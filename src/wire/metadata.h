/* The answer to `metadata`: who is in the cluster, which node leads which partition.
 *
 *   { cluster_id, controller, nodes: [ { id, address, rack } ],
 *     topics: [ { name, id, max_batch_bytes, error,
 *                 partitions: [ { partition, leader, leader_address, epoch,
 *                                 replicas: [node, ...], error } ] } ] }
 *
 * `leader` is -1 while there is none, `controller` likewise; `error` is the name of a code or
 * absent; `max_batch_bytes` is the topic's max.message.bytes, which older nodes do not tell. A
 * topic that was asked for but does not exist comes back with error "UNKNOWN_TOPIC", id -1 and no
 * partitions.
 */
#ifndef SP_WIRE_METADATA_H
#define SP_WIRE_METADATA_H

#include "base/limits.h"
#include "wire/client_api.h"

struct sp_metadata_node {
    int32_t id;
    struct sp_bytes address; /* "HOST:PORT" for clients, text */
    struct sp_bytes rack;    /* text, null when absent */
};

struct sp_metadata_partition {
    int32_t partition;
    int32_t leader;                 /* node id, -1: none known */
    struct sp_bytes leader_address; /* text, null when absent: look the node up */
    int32_t epoch;                  /* term of that leader, -1 when absent */
    int32_t replicas[SP_REPLICAS_MAX];
    uint32_t replica_count;
    int error; /* SPATE_ERR_*, or 0 */
};

struct sp_metadata_topic {
    struct sp_bytes name;                     /* text */
    int64_t id;                               /* -1 when absent */
    int64_t max_batch_bytes;                  /* 0 when absent */
    int error;                                /* SPATE_ERR_*, or 0 */
    struct sp_metadata_partition *partitions; /* owned by the struct sp_metadata */
    uint32_t partition_count;
};

struct sp_metadata {
    struct sp_bytes cluster_id;     /* text, null when absent */
    int32_t controller;             /* node id, -1: none known */
    struct sp_metadata_node *nodes; /* owned */
    uint32_t node_count;
    struct sp_metadata_topic *topics; /* owned */
    uint32_t topic_count;
};

/* Reads sp_message.result; views point into the message. Memory is allocated in proportion to it
 * and belongs to *out until sp_metadata_deinit; on failure there is nothing to free.
 *   SPATE_ERR_INVALID, SPATE_ERR_MALFORMED as the decoders of wire/client_api.h
 *   SPATE_ERR_TOO_LARGE  more nodes, topics, partitions or replicas than base/limits.h allows
 *   SPATE_ERR_NOMEM */
int sp_metadata_decode(const struct sp_cursor *cursor,
                       struct sp_metadata *out,
                       struct sp_api_error *error);

/* Frees the tables; fine for an all-zero struct. */
void sp_metadata_deinit(struct sp_metadata *metadata);

/* Packs the map. Any table may be empty. */
void sp_metadata_encode(struct sp_pack *pack, const struct sp_metadata *metadata);

/* The node with this id, or NULL. */
const struct sp_metadata_node *sp_metadata_node_find(const struct sp_metadata *metadata,
                                                     int32_t id);

#endif /* SP_WIRE_METADATA_H */
