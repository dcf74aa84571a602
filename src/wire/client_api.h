/* The methods of the client protocol: for each request and response one struct, decode and encode.
 *
 * For every struct sp_X of SP_API_LIST there are three functions:
 *
 *   void sp_X_init(struct sp_X *value)
 *        everything absent: optional numbers have the value given below, views are null.
 *   int sp_X_decode(const struct sp_cursor *cursor, struct sp_X *out, struct sp_api_error *error)
 *        from sp_message.params for a request, from sp_message.result for a response; the cursor is
 *        not moved, views point into the message. Unknown keys are ignored, so fields can be added.
 *        SPATE_ERR_INVALID: a field is missing, given twice, of the wrong type or out of range;
 * *error (may be NULL) holds a text that names it, fit for an error response. SPATE_ERR_MALFORMED:
 * no MessagePack. void sp_X_encode(struct sp_pack *pack, const struct sp_X *value) the map alone
 * (sp_message_request or sp_message_response_ok goes first). Optional fields that are absent are
 * left out. The caller answers for the ranges. Errors stick to the pack.
 *
 * Fields without "optional" must be there and, in encode, must be set. Text is UTF-8. Numbers stay
 * below 2^53, so that every client can hold them. Any thread. */
#ifndef SP_WIRE_CLIENT_API_H
#define SP_WIRE_CLIENT_API_H

#include "wire/cursor.h"
#include "wire/message.h"
#include "wire/pack.h"

#define SP_API_WHOLE_MAX ((int64_t)9007199254740992) /* 2^53 */

/* X(NAME, "name on the wire") */
#define SP_METHOD_LIST(X)                                                                          \
    X(HELLO, "hello")                                                                              \
    X(PING, "ping")                                                                                \
    X(METADATA, "metadata")                                                                        \
    X(TOPIC_CREATE, "topic.create")                                                                \
    X(TOPIC_ALTER, "topic.alter")                                                                  \
    X(TOPIC_TRUNCATE, "topic.truncate")                                                            \
    X(TOPIC_DELETE, "topic.delete")                                                                \
    X(TOPIC_LIST, "topic.list")                                                                    \
    X(TOPIC_DESCRIBE, "topic.describe")                                                            \
    X(PRODUCE, "produce")                                                                          \
    X(FETCH, "fetch")                                                                              \
    X(OFFSETS, "offsets")                                                                          \
    X(PRODUCER_INIT, "producer.init")                                                              \
    X(PRODUCER_RESUME, "producer.resume")                                                          \
    X(CLUSTER_INFO, "cluster.info")                                                                \
    X(CLUSTER_HEALTH, "cluster.health")                                                            \
    X(CLUSTER_NODES, "cluster.nodes")                                                              \
    X(CLUSTER_MOVES, "cluster.moves")                                                              \
    X(NODE_DRAIN, "node.drain")                                                                    \
    X(NODE_REMOVE, "node.remove")                                                                  \
    X(PARTITION_MOVE, "partition.move")                                                            \
    X(CLUSTER_REBALANCE, "cluster.rebalance")                                                      \
    X(TOPIC_REPLICAS, "topic.replicas")                                                            \
    X(CLUSTER_FEATURES, "cluster.features")                                                        \
    X(GROUP_FIND, "group.find")                                                                    \
    X(GROUP_JOIN, "group.join")                                                                    \
    X(GROUP_HEARTBEAT, "group.heartbeat")                                                          \
    X(GROUP_LEAVE, "group.leave")                                                                  \
    X(GROUP_COMMIT, "group.commit")                                                                \
    X(GROUP_COMMITTED, "group.committed")                                                          \
    X(GROUP_SEEK, "group.seek")                                                                    \
    X(GROUP_LIST, "group.list")                                                                    \
    X(GROUP_DESCRIBE, "group.describe")                                                            \
    X(GROUP_DELETE, "group.delete")

enum sp_method {
#define SP_METHOD_ENUM(name, text) SP_METHOD_##name,
    SP_METHOD_LIST(SP_METHOD_ENUM)
#undef SP_METHOD_ENUM
    SP_METHOD_COUNT, /* also: no such method */
};

/* The name on the wire; `method` is below SP_METHOD_COUNT. */
const char *sp_method_name(enum sp_method method);

/* The method of that name, or SP_METHOD_COUNT. */
enum sp_method sp_method_find(struct sp_bytes name);

#define SP_API_ERROR_SIZE 320 /* names all settings of a topic */

/* A text for the peer; "" when there is nothing to say. */
struct sp_api_error {
    char text[SP_API_ERROR_SIZE];
};

/* What is said of a topic that does not exist, by whomever; the name is its argument. */
#define SP_NO_TOPIC_TEXT "no topic `%.200s`: list them with `spate topic list`"

/* ---- requests without fields: ping, cluster.info, cluster.health, group.list ----------------- */

struct sp_empty_request {
    uint8_t unused;
};

/* hello { client, version }: optional, may be sent once or never. */
struct sp_hello_request {
    struct sp_bytes client;  /* text, optional, at most SP_CLIENT_NAME_SIZE_MAX */
    struct sp_bytes version; /* text, optional */
};

struct sp_limits {
    int64_t max_message_bytes; /* of a whole message; optional, -1 */
    int64_t max_batch_bytes;   /* of a RecordBatch; optional, -1 */
    int64_t max_fetch_bytes;   /* of a fetch answer; optional, -1 */
};

/* -> { server, version, cluster_id, node_id, features, limits } */
struct sp_hello_response {
    struct sp_bytes server;     /* text: "spated" */
    struct sp_bytes version;    /* text */
    struct sp_bytes cluster_id; /* text; optional: null while no cluster has formed */
    int32_t node_id;
    struct sp_bytes features; /* encoded array of texts; optional */
    struct sp_limits limits;  /* optional: each -1 */
};

/* metadata { topics, internal }: of these topics only; absent: all. */
struct sp_metadata_request {
    struct sp_bytes topics; /* encoded array of texts; optional */
    bool internal;          /* also the cluster's own, when all are asked for; optional, false */
};

/* topic.list { internal } */
struct sp_topic_list_request {
    bool internal; /* also the cluster's own; optional, false */
};

/* topic.create { name, partitions, replicas, config }
 * -> { name, id, partitions, replicas }  as struct sp_topic_create_response */
struct sp_topic_create_request {
    struct sp_bytes name;   /* text */
    int32_t partitions;     /* optional, -1: the cluster's default */
    int32_t replicas;       /* optional, -1: the cluster's default */
    struct sp_bytes config; /* encoded map of texts; optional */
};

struct sp_topic_create_response {
    struct sp_bytes name; /* text */
    int64_t id;
    int32_t partitions;
    int32_t replicas;
};

/* topic.alter { name, set, unset } -> {} */
struct sp_topic_alter_request {
    struct sp_bytes name;  /* text */
    struct sp_bytes set;   /* encoded map of texts; optional */
    struct sp_bytes unset; /* encoded array of texts: back to the defaults; optional */
};

/* topic.truncate { topic, topic_id, partition, before } */
struct sp_topic_truncate_request {
    struct sp_bytes topic; /* text */
    int64_t topic_id;      /* optional, -1 */
    int32_t partition;
    int64_t before; /* records below this offset are given up */
};

/* -> { log_start } */
struct sp_topic_truncate_response {
    int64_t log_start; /* offset of the first record that is kept */
};

/* topic.delete { name, topic_id } -> {} */
struct sp_topic_delete_request {
    struct sp_bytes name; /* text */
    int64_t topic_id;     /* optional, -1: whichever has that name */
};

/* topic.describe { name } */
struct sp_topic_request {
    struct sp_bytes name; /* text */
};

/* partition.move { topic, partition, replicas } -> {} */
struct sp_partition_move_request {
    struct sp_bytes topic; /* text */
    int32_t partition;
    struct sp_bytes replicas; /* encoded array of node ids, the preferred leader first */
};

/* cluster.rebalance { dry_run } -> { moves: [ { topic, partition, from, to } ] } */
struct sp_cluster_rebalance_request {
    bool dry_run; /* tell the plan only; optional, false */
};

/* topic.replicas { name, replicas } -> { moves: as of cluster.rebalance } */
struct sp_topic_replicas_request {
    struct sp_bytes name; /* text */
    int32_t replicas;
};

/* node.drain { node, draining } -> {} */
struct sp_node_drain_request {
    int32_t node;
    bool draining; /* true: its replicas move away; false: it may have some again */
};

/* node.remove { node } -> {} */
struct sp_node_request {
    int32_t node;
};

/* cluster.features { action: "hold" | "release" }; absent: only looks
 * -> { level, held, target, nodes: [ { id, least, most } ] } */
struct sp_cluster_features_request {
    struct sp_bytes action; /* text; optional */
};

/* What a produce or fetch carries; exactly one of the two is not null. */
struct sp_records {
    struct sp_bytes batch; /* RecordBatch v2 bytes, sent as bin (or str) */
    struct sp_bytes array; /* one encoded array of plain records, see wire/records.h */
};

/* produce { topic, topic_id, partition, timeout_ms, records } */
struct sp_produce_request {
    struct sp_bytes topic; /* text */
    int64_t topic_id;      /* optional, -1 */
    int32_t partition;
    int32_t timeout_ms;        /* optional, -1: the server's default */
    struct sp_records records; /* encoded last */
};

/* -> { offset, term, fsynced, count } */
struct sp_produce_response {
    int64_t offset;  /* of the first record */
    int64_t term;    /* in which the leader appended it */
    int32_t fsynced; /* replicas known to have it on disk */
    int32_t count;   /* records */
};

enum sp_fetch_format {
    SP_FETCH_FORMAT_BATCH,
    SP_FETCH_FORMAT_RECORDS
};

/* fetch { topic, topic_id, partition, offset, max_bytes, min_bytes, max_wait_ms, format, epoch,
 *         linearizable, follower } */
struct sp_fetch_request {
    struct sp_bytes topic; /* text */
    int64_t topic_id;      /* optional, -1 */
    int32_t partition;
    int64_t offset;
    int32_t max_bytes;           /* optional, -1: SP_FETCH_BYTES_DEFAULT */
    int32_t min_bytes;           /* optional, -1: 1 */
    int32_t max_wait_ms;         /* optional, -1: 0, answer at once */
    enum sp_fetch_format format; /* optional, batch */
    int32_t epoch;               /* of the last batch read; optional, -1 */
    bool linearizable; /* what was acknowledged before it was sent is there; optional, false */
    bool follower;     /* a replica that follows may answer; optional, false */
};

/* -> { high_watermark, log_start, end_offset, records } */
struct sp_fetch_response {
    int64_t high_watermark; /* offset after the last committed record */
    int64_t log_start;      /* offset of the first kept record */
    int64_t end_offset;     /* offset after the last record of the leader's log; optional, -1: a
                               follower has answered */
    struct sp_records
        records; /* encoded last; the first batch may begin below the offset asked for */
};

/* offsets { topic, partition, at: "earliest" | "latest" | ms, linearizable } */
#define SP_OFFSETS_AT_LATEST (-1)
#define SP_OFFSETS_AT_EARLIEST (-2)
struct sp_offsets_request {
    struct sp_bytes topic; /* text */
    int32_t partition;
    int64_t
        at; /* SP_OFFSETS_AT_*, or ms: the first record at or after that time; optional, latest */
    bool linearizable; /* as of fetch */
};

/* -> { offset, timestamp } */
struct sp_offsets_response {
    int64_t offset;
    int64_t timestamp; /* ms, of that record; optional, -1 */
};

/* producer.init { name, layout } */
struct sp_producer_init_request {
    struct sp_bytes name;   /* text, optional: absent for a producer that does not resume */
    struct sp_bytes layout; /* text, optional: how the producer cuts its records onto partitions */
};

/* -> { producer_id, producer_epoch } */
struct sp_producer_init_response {
    int64_t producer_id;
    int16_t producer_epoch;
};

/* producer.resume { topic, topic_id, partition, producer_id, producer_epoch } */
struct sp_producer_resume_request {
    struct sp_bytes topic; /* text */
    int64_t topic_id;      /* optional, -1 */
    int32_t partition;
    int64_t producer_id;
    int16_t producer_epoch;
};

/* -> { known, offset, sequence, records } */
struct sp_producer_resume_response {
    bool known;       /* `offset` and `records` can be relied on */
    int64_t offset;   /* of the producer's last record here; -1: none */
    int32_t sequence; /* of the next batch in this epoch */
    int64_t records;  /* of the producer here, in all epochs; -1: not known */
};

/* ---- consumer groups --------------------------------------------------------------------------
 *
 * Sets of partitions are encoded arrays of { topic, partitions: [number] }. */

/* group.find, group.describe { group }, group.delete { group, seen } */
struct sp_group_request {
    struct sp_bytes group; /* text */
    int64_t seen;          /* as of a commit */
};

/* group.find -> { partition, leader, leader_address } */
struct sp_group_find_response {
    int32_t partition;              /* of the internal topic: which coordinator it is */
    int32_t leader;                 /* node id, -1: none known */
    struct sp_bytes leader_address; /* text; optional: absent while there is no leader */
};

/* group.join { group, member, instance, client, topics, session_ms, rebalance_ms, owned,
 *              generation, rack } */
struct sp_group_join_request {
    struct sp_bytes group;    /* text */
    struct sp_bytes member;   /* text, optional: absent for a new member */
    struct sp_bytes instance; /* text, optional: a static member */
    struct sp_bytes client;   /* text, optional */
    struct sp_bytes topics;   /* encoded array of texts */
    int32_t session_ms;       /* optional, SP_CONSUMER_SESSION_MS_DEFAULT */
    int32_t rebalance_ms;     /* optional, SP_CONSUMER_REBALANCE_MS_DEFAULT */
    struct sp_bytes owned;    /* encoded set of partitions; optional */
    int64_t generation;       /* optional, -1: that it has seen when it owned that */
    struct sp_bytes rack;     /* text, optional: where the member runs */
};

/* group.heartbeat { group, member, generation, owned, max_wait_ms } */
struct sp_group_heartbeat_request {
    struct sp_bytes group;  /* text */
    struct sp_bytes member; /* text */
    int64_t generation;
    struct sp_bytes owned; /* encoded set of partitions; optional */
    int32_t max_wait_ms;   /* optional, 0: answer at once */
};

/* group.join and group.heartbeat -> { member, generation, state, assigned, revoke, pending,
 * heartbeat_ms }; state and pending are for people and not decoded. */
struct sp_group_member_response {
    struct sp_bytes member; /* text */
    int64_t generation;
    struct sp_bytes assigned; /* encoded set of partitions */
    struct sp_bytes revoke;   /* encoded set of partitions */
    int32_t heartbeat_ms;
};

/* group.leave { group, member } */
struct sp_group_leave_request {
    struct sp_bytes group;  /* text */
    struct sp_bytes member; /* text */
};

/* group.commit { group, member, generation, seen, partly,
 *                offsets: [ { topic, topic_id, partition, offset, metadata } ] } */
struct sp_group_commit_request {
    struct sp_bytes group;   /* text */
    struct sp_bytes member;  /* text, optional */
    int64_t generation;      /* optional, -1 */
    int64_t seen;            /* of the last answer; optional, -1: nothing is compared */
    bool partly;             /* optional; what does not exist is left out, the others are stored */
    struct sp_bytes offsets; /* encoded array */
};

/* -> { stored, seen, refused: [ { topic, topic_id, partition, offset, error } ] }, the first two
 * when `seen` was sent */
struct sp_group_commit_response {
    bool stored;             /* optional, true; false: another commit came between, try again */
    int64_t seen;            /* to be sent with the next one; optional, -1 */
    struct sp_bytes refused; /* encoded array, each to be read with sp_group_offset_read; optional:
                                what was left out */
};

/* One of them, read by itself with sp_group_offset_read. */
struct sp_group_offset {
    struct sp_bytes topic; /* text */
    int64_t topic_id;      /* optional, -1: whichever has that name */
    int32_t partition;
    int64_t offset;
    struct sp_bytes metadata; /* text, optional */
};

/* group.committed { group, topics }: of these topics only; absent: all. */
struct sp_group_committed_request {
    struct sp_bytes group;  /* text */
    struct sp_bytes topics; /* encoded array of texts; optional */
};

/* -> { offsets: [ { topic, partition, offset, committed_ms, metadata } ] }, each to be read with
 * sp_group_offset_read. */
struct sp_group_committed_response {
    struct sp_bytes offsets; /* encoded array */
};

/* group.seek { group, topic, partition, to, seen } */
struct sp_group_seek_request {
    struct sp_bytes group; /* text */
    struct sp_bytes topic; /* text */
    int32_t partition;     /* optional, -1: all */
    int64_t to;            /* offset, or SP_OFFSETS_AT_* */
    int64_t seen;          /* as of a commit */
};

/* One topic of a set of partitions, read by itself with sp_group_places_read. */
struct sp_group_places {
    struct sp_bytes topic;      /* text */
    struct sp_bytes partitions; /* encoded array of numbers */
};

int sp_group_places_read(struct sp_cursor *cursor,
                         struct sp_group_places *out,
                         struct sp_api_error *error);

/* Reads the next offset of a commit. Errors as the decoders. */
int sp_group_offset_read(struct sp_cursor *cursor,
                         struct sp_group_offset *out,
                         struct sp_api_error *error);

/* X(struct name without sp_) */
#define SP_API_LIST(X)                                                                             \
    X(empty_request)                                                                               \
    X(hello_request)                                                                               \
    X(hello_response)                                                                              \
    X(metadata_request)                                                                            \
    X(topic_create_request)                                                                        \
    X(topic_create_response)                                                                       \
    X(topic_alter_request)                                                                         \
    X(topic_truncate_request)                                                                      \
    X(topic_truncate_response)                                                                     \
    X(topic_delete_request)                                                                        \
    X(topic_request)                                                                               \
    X(produce_request)                                                                             \
    X(produce_response)                                                                            \
    X(fetch_request)                                                                               \
    X(fetch_response)                                                                              \
    X(offsets_request)                                                                             \
    X(offsets_response)                                                                            \
    X(producer_init_request)                                                                       \
    X(producer_init_response)                                                                      \
    X(producer_resume_request)                                                                     \
    X(producer_resume_response)                                                                    \
    X(topic_list_request)                                                                          \
    X(cluster_rebalance_request)                                                                   \
    X(topic_replicas_request)                                                                      \
    X(partition_move_request)                                                                      \
    X(node_drain_request)                                                                          \
    X(node_request)                                                                                \
    X(cluster_features_request)                                                                    \
    X(group_request)                                                                               \
    X(group_find_response)                                                                         \
    X(group_join_request)                                                                          \
    X(group_heartbeat_request)                                                                     \
    X(group_member_response)                                                                       \
    X(group_leave_request)                                                                         \
    X(group_commit_request)                                                                        \
    X(group_commit_response)                                                                       \
    X(group_committed_request)                                                                     \
    X(group_committed_response)                                                                    \
    X(group_seek_request)

#define SP_API_DECLARE(name)                                                                       \
    void sp_##name##_init(struct sp_##name *value);                                                \
    int sp_##name##_decode(                                                                        \
        const struct sp_cursor *cursor, struct sp_##name *out, struct sp_api_error *error);        \
    void sp_##name##_encode(struct sp_pack *pack, const struct sp_##name *value);
SP_API_LIST(SP_API_DECLARE)
#undef SP_API_DECLARE

/* As the encode functions, but value->records.batch, which must not be null, is left out behind its
 * bin header: the caller sends its bytes right after what was packed, without a copy. Only the size
 * of the view is used. */
void sp_produce_request_encode_head(struct sp_pack *pack, const struct sp_produce_request *value);
void sp_fetch_response_encode_head(struct sp_pack *pack, const struct sp_fetch_response *value);

/* Cold responses are packed by hand where they are made; these are their shapes:
 *
 *   metadata        struct sp_metadata in wire/metadata.h
 *   topic.list      { current, topics: [ { name, id, partitions, replicas } ] }
 *   topic.describe  { name, id, config: { key: text }, sources: { key: text }, size_bytes,
 *                     segments, partitions: [ { partition, leader, leader_address, epoch,
 *                     replicas: [node], log_start, high_watermark, size_bytes, segments } ] }
 *                     leader -1: none
 *   cluster.info    { current, cluster_id, node_id, version, controller, topics, partitions,
 *                     nodes: [ { id, address, rack, alive } ] }    controller -1: none
 *   ping, topic.alter, topic.delete, group.leave, group.delete  {}
 *   cluster.health, group.*   as docs/protocol.md shows them */

#endif /* SP_WIRE_CLIENT_API_H */
