/* What the servers of a small cluster answer to each method, and what they have for it: one
 * partition, one name of producers, and what a test wants to go wrong. */
#ifndef SP_UNIT_FAKE_METHODS_H
#define SP_UNIT_FAKE_METHODS_H

#include "client/client.h"
#include "fake_log.h"
#include "net/server.h"
#include "wire/client_api.h"
#include "wire/metadata.h"

enum {
    FAKE_SERVERS = 2,
    FAKE_CONNS_MAX = 16,
    FAKE_PARTITIONS_MAX = 8,
    FAKE_NAMED_ID = 5000,
    FAKE_REPLY_BYTES_MAX = 4 * 1024 * 1024,
};

/* What happens to one request. */
enum fake_action {
    FAKE_SERVE,
    FAKE_DROP_BEFORE, /* the connection closes, nothing was done */
    FAKE_DROP_AFTER,  /* it was done, and the connection closes */
    FAKE_SILENT,      /* it was not done, and no answer comes */
    FAKE_SILENT_DONE, /* it was done, and no answer comes */
    FAKE_LATE,        /* it was done, and the answer comes behind that to the next group.join */
    FAKE_REFUSE,      /* fake->refusal, fake->refusal_text */
};

struct fake_server {
    struct fake_cluster *cluster;
    struct sp_server *server;
    char address[32];
    struct sp_conn *conns[FAKE_CONNS_MAX];
    unsigned node;
};

struct fake_cluster {
    struct spate_client *client;
    struct fake_server servers[FAKE_SERVERS];
    unsigned leader;          /* index of the server that leads */
    unsigned metadata_leader; /* whom metadata names: may lag behind */
    bool topic_exists;
    int64_t topic_id;
    struct fake_log log;
    int64_t next_producer_id;
    /* Asked for every produce, fetch, group.commit, producer.resume, group.join and topic.delete;
     * NULL: all is served. `count` is the number of the call. */
    enum fake_action (*script)(struct fake_cluster *cluster, const char *method, unsigned count);
    unsigned produce_count;
    unsigned fetch_count;
    unsigned metadata_count;
    unsigned commit_count;
    unsigned join_count;
    unsigned delete_count;
    unsigned deleted_count; /* topics */
    int64_t asked_id;       /* by the last topic.delete */
    int16_t name_epoch;     /* of the one name that there is, with the id FAKE_NAMED_ID */
    unsigned resume_count;
    bool forgotten;        /* producer.resume knows nothing */
    size_t told_bytes_max; /* of a batch, by metadata; 0: nothing is */
    int refusal;
    const char *refusal_text;
    unsigned partition_count; /* of the topic, all with the same log */
    /* Answers metadata; NULL: as the topic is. */
    void (*describe)(struct fake_cluster *cluster, struct sp_pack *pack);
    /* Answers group.*; NULL: an empty map. Packs the result or returns a code. */
    int (*coordinator)(struct fake_cluster *cluster,
                       enum sp_method method,
                       const struct sp_cursor *params,
                       struct sp_pack *pack);
    int64_t skip_offset;     /* fetch leaves out the batch with this base offset; -1: none */
    int64_t repeat_offset;   /* fetch gives the batch with this base offset twice; -1: none */
    int32_t fetch_bytes_max; /* the most that was asked for at once */
    const struct sp_conn *last_conn; /* on which the last request came */
    struct sp_buf late; /* an answer that waits, on late_conn, which must stay open; or nothing */
    struct sp_conn *late_conn;
    unsigned closed_servers;
    uint64_t live_before;
};

static inline void fake_metadata(struct fake_cluster *cluster, struct sp_pack *pack)
{
    const struct fake_server *leader = &cluster->servers[cluster->metadata_leader];
    struct sp_metadata_partition partitions[FAKE_PARTITIONS_MAX];
    struct sp_metadata_topic topic = {
        .name = sp_bytes_text("t"),
        .id = cluster->topic_exists ? cluster->topic_id : -1,
        .max_batch_bytes = (int64_t)cluster->told_bytes_max,
        .error = cluster->topic_exists ? 0 : SPATE_ERR_UNKNOWN_TOPIC,
        .partitions = partitions,
        .partition_count = cluster->topic_exists ? cluster->partition_count : 0,
    };
    struct sp_metadata metadata = { .controller = 1, .topics = &topic, .topic_count = 1 };

    for (unsigned i = 0; i < cluster->partition_count; i++) {
        partitions[i] = (struct sp_metadata_partition){
            .partition = (int32_t)i,
            .leader = (int32_t)leader->node,
            .leader_address = sp_bytes_text(leader->address),
            .epoch = 1,
        };
    }
    sp_metadata_encode(pack, &metadata);
}

static inline int
fake_produce(struct fake_cluster *cluster, const struct sp_cursor *params, struct sp_pack *pack)
{
    struct sp_produce_request request;
    struct sp_produce_response response = { .term = 3, .fsynced = 2, .count = 1 };

    assert_int_equal(sp_produce_request_decode(params, &request, NULL), 0);
    if (request.topic_id != cluster->topic_id) {
        return SPATE_ERR_UNKNOWN_TOPIC;
    }
    int rv = fake_log_store(
        &cluster->log, request.records.batch.bytes, request.records.batch.size, &response.offset);
    if (rv == 0) {
        sp_produce_response_encode(pack, &response);
    }
    return rv;
}

/* With a name: the same id, the next epoch. */
static inline void
fake_init(struct fake_cluster *cluster, const struct sp_cursor *params, struct sp_pack *pack)
{
    struct sp_producer_init_request request;
    struct sp_producer_init_response identity = { .producer_id = cluster->next_producer_id };

    assert_int_equal(sp_producer_init_request_decode(params, &request, NULL), 0);
    if (request.name.bytes != NULL) {
        assert_true(sp_bytes_equal_text(request.name, "loader"));
        assert_true(sp_bytes_equal_text(request.layout, "one"));
        identity.producer_id = FAKE_NAMED_ID;
        identity.producer_epoch = cluster->name_epoch++;
    } else {
        cluster->next_producer_id += 1;
    }
    sp_producer_init_response_encode(pack, &identity);
}

static inline int
fake_resume(struct fake_cluster *cluster, const struct sp_cursor *params, struct sp_pack *pack)
{
    struct sp_producer_resume_request request;

    assert_int_equal(sp_producer_resume_request_decode(params, &request, NULL), 0);
    assert_int_equal(request.topic_id, cluster->topic_id);
    struct fake_producer *producer = fake_log_producer(&cluster->log, request.producer_id);
    if (producer == NULL) {
        producer = fake_log_producer_add(&cluster->log, request.producer_id);
    }
    if (request.producer_epoch < producer->epoch) {
        return SPATE_ERR_PRODUCER_FENCED;
    }
    if (request.producer_epoch > producer->epoch) {
        fake_producer_begin(producer, request.producer_epoch);
    }
    struct sp_producer_resume_response response = {
        .known = !cluster->forgotten,
        .offset = producer->last_offset,
        .sequence = producer->next_sequence,
        .records = cluster->forgotten ? -1 : producer->records,
    };
    sp_producer_resume_response_encode(pack, &response);
    return 0;
}

static inline int
fake_fetch(struct fake_cluster *cluster, const struct sp_cursor *params, struct sp_pack *pack)
{
    struct sp_fetch_request request;
    struct sp_buf bytes;
    int rv = 0;

    assert_int_equal(sp_fetch_request_decode(params, &request, NULL), 0);
    if (request.max_bytes > cluster->fetch_bytes_max) {
        cluster->fetch_bytes_max = request.max_bytes;
    }
    if (request.offset < cluster->log.start || request.offset > cluster->log.next_offset) {
        return SPATE_ERR_OFFSET_OUT_OF_RANGE;
    }
    sp_buf_init(&bytes, FAKE_REPLY_BYTES_MAX);
    for (unsigned i = 0; i < cluster->log.batch_count; i++) {
        const struct fake_batch *batch = &cluster->log.batches[i];
        if (batch->base_offset + batch->count > request.offset &&
            batch->base_offset != cluster->skip_offset &&
            (bytes.size == 0 || bytes.size + batch->size <= (size_t)request.max_bytes)) {
            rv = sp_buf_append(&bytes, batch->bytes, batch->size);
            if (rv == 0 && batch->base_offset == cluster->repeat_offset) {
                rv = sp_buf_append(&bytes, batch->bytes, batch->size);
            }
        }
    }
    struct sp_fetch_response response = {
        .high_watermark = cluster->log.next_offset,
        .log_start = cluster->log.start,
        .end_offset = -1,
        .records.batch = sp_bytes_of(bytes.bytes, bytes.size),
    };
    sp_fetch_response_encode(pack, &response);
    sp_buf_deinit(&bytes);
    return rv;
}

static inline void
fake_offsets(struct fake_cluster *cluster, const struct sp_cursor *params, struct sp_pack *pack)
{
    struct sp_offsets_request request;

    assert_int_equal(sp_offsets_request_decode(params, &request, NULL), 0);
    struct sp_offsets_response response = {
        .offset =
            request.at == SP_OFFSETS_AT_EARLIEST ? cluster->log.start : cluster->log.next_offset,
        .timestamp = -1,
    };
    sp_offsets_response_encode(pack, &response);
}

static inline int
fake_delete(struct fake_cluster *cluster, const struct sp_cursor *params, struct sp_pack *pack)
{
    struct sp_topic_delete_request request;

    assert_int_equal(sp_topic_delete_request_decode(params, &request, NULL), 0);
    cluster->asked_id = request.topic_id;
    if (!cluster->topic_exists ||
        (request.topic_id >= 0 && request.topic_id != cluster->topic_id)) {
        return SPATE_ERR_UNKNOWN_TOPIC;
    }
    cluster->topic_exists = false;
    cluster->deleted_count += 1;
    sp_pack_map(pack, 0);
    return 0;
}

/* Does what the method says and packs its result; a code when it is refused. */
static inline int
fake_method(struct fake_server *server, const struct sp_message *message, struct sp_pack *pack)
{
    struct fake_cluster *cluster = server->cluster;
    enum sp_method method = sp_method_find(message->method);

    if (method == SP_METHOD_METADATA) {
        cluster->metadata_count += 1;
        if (cluster->describe != NULL) {
            cluster->describe(cluster, pack);
        } else {
            fake_metadata(cluster, pack);
        }
        return 0;
    }
    if (method == SP_METHOD_PRODUCER_INIT) {
        fake_init(cluster, &message->params, pack);
        return 0;
    }
    if (cluster->coordinator != NULL && method >= SP_METHOD_GROUP_FIND) {
        return cluster->coordinator(cluster, method, &message->params, pack);
    }
    if (method == SP_METHOD_TOPIC_DELETE) {
        return fake_delete(cluster, &message->params, pack);
    }
    if (method != SP_METHOD_PRODUCE && method != SP_METHOD_FETCH && method != SP_METHOD_OFFSETS &&
        method != SP_METHOD_PRODUCER_RESUME) {
        sp_pack_map(pack, 0);
        return 0;
    }
    if (server != &cluster->servers[cluster->leader]) {
        return SPATE_ERR_NOT_LEADER;
    }
    if (method == SP_METHOD_PRODUCER_RESUME) {
        return fake_resume(cluster, &message->params, pack);
    }
    if (method == SP_METHOD_OFFSETS) {
        fake_offsets(cluster, &message->params, pack);
        return 0;
    }
    return method == SP_METHOD_PRODUCE ? fake_produce(cluster, &message->params, pack)
                                       : fake_fetch(cluster, &message->params, pack);
}

#endif /* SP_UNIT_FAKE_METHODS_H */
