/* A small cluster for tests of libspate: servers on loopback, driven by the client's own loop, with
 * one partition whose log and producer table follow the rules of D6, and a script of mishaps.
 *
 *   client -> server 0, 1 -> script says what happens -> log -> answer, late answer, no answer */
#ifndef SP_UNIT_FAKE_CLUSTER_H
#define SP_UNIT_FAKE_CLUSTER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "client/client.h"
#include "net/server.h"
#include "spate/spate.h"
#include "wire/batch.h"
#include "wire/client_api.h"
#include "wire/metadata.h"

enum {
    FAKE_SERVERS = 2,
    FAKE_BATCHES_MAX = 4096,
    FAKE_PRODUCERS_MAX = 64,
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

struct fake_batch {
    uint8_t *bytes;
    size_t size;
    int64_t base_offset;
    int32_t count;
};

struct fake_producer {
    int64_t id;
    int16_t epoch;
    int64_t records;
    int64_t last_offset;
    int32_t next_sequence;
    int32_t base_sequence[SP_PRODUCER_BATCHES_KEPT]; /* of the last batches, newest last */
    int64_t base_offset[SP_PRODUCER_BATCHES_KEPT];
    unsigned kept;
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
    struct fake_batch batches[FAKE_BATCHES_MAX];
    unsigned batch_count;
    int64_t next_offset;
    int64_t log_start;
    struct fake_producer producers[FAKE_PRODUCERS_MAX];
    unsigned producer_count;
    int64_t next_producer_id;
    /* Asked for every produce, fetch, group.commit and producer.resume; NULL: all is served.
     * `count` is the number of the call. */
    enum fake_action (*script)(struct fake_cluster *cluster, const char *method, unsigned count);
    unsigned produce_count;
    unsigned fetch_count;
    unsigned metadata_count;
    unsigned commit_count;
    int16_t name_epoch; /* of the one name that there is, with the id FAKE_NAMED_ID */
    unsigned resume_count;
    bool forgotten;           /* producer.resume knows nothing */
    unsigned duplicate_count; /* batches that came again */
    size_t batch_bytes_max;   /* of new batches; 0: any */
    size_t told_bytes_max;    /* by metadata; 0: nothing is */
    unsigned too_large_count; /* batches that were refused for it */
    int refusal;
    const char *refusal_text;
    unsigned partition_count; /* of the topic, all with the same log */
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

/* ---- the log --------------------------------------------------------------------------------- */

static inline struct fake_producer *fake_producer_find(struct fake_cluster *cluster, int64_t id)
{
    for (unsigned i = 0; i < cluster->producer_count; i++) {
        if (cluster->producers[i].id == id) {
            return &cluster->producers[i];
        }
    }
    return NULL;
}

static inline int64_t
fake_append(struct fake_cluster *cluster, const uint8_t *bytes, size_t size, int32_t count)
{
    assert_true(cluster->batch_count < FAKE_BATCHES_MAX);
    struct fake_batch *batch = &cluster->batches[cluster->batch_count++];
    batch->bytes = malloc(size);
    assert_non_null(batch->bytes);
    memcpy(batch->bytes, bytes, size);
    sp_batch_set_offset(batch->bytes, cluster->next_offset, 1);
    batch->size = size;
    batch->base_offset = cluster->next_offset;
    batch->count = count;
    cluster->next_offset += count;
    return batch->base_offset;
}

/* The rules of DESIGN D6 for one batch; 0 and its offset, or the refusal. */
static inline int
fake_store(struct fake_cluster *cluster, const uint8_t *bytes, size_t size, int64_t *out_offset)
{
    struct sp_batch_header header;

    assert_int_equal(sp_batch_validate(bytes, size, SP_BATCH_BYTES_MAX, &header), 0);
    struct fake_producer *producer = fake_producer_find(cluster, header.producer_id);
    if (producer == NULL) {
        if (header.base_sequence != 0) {
            return SPATE_ERR_UNKNOWN_PRODUCER;
        }
        assert_true(cluster->producer_count < FAKE_PRODUCERS_MAX);
        producer = &cluster->producers[cluster->producer_count++];
        *producer = (struct fake_producer){ .id = header.producer_id,
                                            .epoch = header.producer_epoch,
                                            .last_offset = -1 };
    }
    if (header.producer_epoch < producer->epoch) {
        return SPATE_ERR_PRODUCER_FENCED;
    }
    if (header.producer_epoch > producer->epoch && header.base_sequence == 0) {
        producer->epoch = header.producer_epoch;
        producer->next_sequence = 0;
        producer->kept = 0;
    }
    for (unsigned i = 0; i < producer->kept; i++) {
        if (producer->base_sequence[i] == header.base_sequence) {
            cluster->duplicate_count += 1;
            *out_offset = producer->base_offset[i];
            return 0;
        }
    }
    if (header.base_sequence != producer->next_sequence) {
        return SPATE_ERR_OUT_OF_ORDER_SEQUENCE;
    }
    if (cluster->batch_bytes_max > 0 && size > cluster->batch_bytes_max) {
        cluster->too_large_count += 1;
        return SPATE_ERR_TOO_LARGE;
    }
    if (producer->kept == SP_PRODUCER_BATCHES_KEPT) {
        producer->kept -= 1;
        memmove(producer->base_sequence, producer->base_sequence + 1, producer->kept * 4);
        memmove(producer->base_offset, producer->base_offset + 1, producer->kept * 8);
    }
    *out_offset = fake_append(cluster, bytes, size, header.record_count);
    producer->base_sequence[producer->kept] = header.base_sequence;
    producer->base_offset[producer->kept] = *out_offset;
    producer->kept += 1;
    producer->next_sequence += header.record_count;
    producer->records += header.record_count;
    producer->last_offset = *out_offset + header.record_count - 1;
    return 0;
}

/* Appends `count` records with values "prefix<offset>" as one batch. */
static inline void fake_fill(struct fake_cluster *cluster, int32_t count, enum sp_compression codec)
{
    struct sp_batch_builder builder;
    struct sp_buf out;

    sp_batch_builder_init(&builder, SP_BATCH_BYTES_MAX, codec);
    for (int32_t i = 0; i < count; i++) {
        char value[32];
        int size = snprintf(value, sizeof value, "value-%lld", (long long)cluster->next_offset + i);
        struct sp_record record = {
            .timestamp_ms = 1000 + cluster->next_offset + i,
            .value = sp_bytes_of(value, (size_t)size),
        };
        assert_int_equal(sp_batch_builder_add(&builder, &record), 0);
    }
    sp_buf_init(&out, SP_BATCH_BYTES_MAX);
    assert_int_equal(sp_batch_builder_finish(&builder, -1, -1, -1, &out), 0);
    (void)fake_append(cluster, out.bytes, out.size, count);
    sp_buf_deinit(&out);
    sp_batch_builder_deinit(&builder);
}

/* ---- methods --------------------------------------------------------------------------------- */

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
    cluster->metadata_count += 1;
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
    int rv = fake_store(
        cluster, request.records.batch.bytes, request.records.batch.size, &response.offset);
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
    struct fake_producer *producer = fake_producer_find(cluster, request.producer_id);
    if (producer == NULL) {
        assert_true(cluster->producer_count < FAKE_PRODUCERS_MAX);
        producer = &cluster->producers[cluster->producer_count++];
        *producer = (struct fake_producer){ .id = request.producer_id, .last_offset = -1 };
    }
    if (request.producer_epoch < producer->epoch) {
        return SPATE_ERR_PRODUCER_FENCED;
    }
    if (request.producer_epoch > producer->epoch) {
        producer->epoch = request.producer_epoch;
        producer->next_sequence = 0;
        producer->kept = 0;
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
    if (request.offset < cluster->log_start || request.offset > cluster->next_offset) {
        return SPATE_ERR_OFFSET_OUT_OF_RANGE;
    }
    sp_buf_init(&bytes, FAKE_REPLY_BYTES_MAX);
    for (unsigned i = 0; i < cluster->batch_count; i++) {
        const struct fake_batch *batch = &cluster->batches[i];
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
        .high_watermark = cluster->next_offset,
        .log_start = cluster->log_start,
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
        .offset = request.at == SP_OFFSETS_AT_EARLIEST ? cluster->log_start : cluster->next_offset,
        .timestamp = -1,
    };
    sp_offsets_response_encode(pack, &response);
}

/* Does what the method says and packs its result; a code when it is refused. */
static inline int
fake_method(struct fake_server *server, const struct sp_message *message, struct sp_pack *pack)
{
    struct fake_cluster *cluster = server->cluster;
    enum sp_method method = sp_method_find(message->method);

    if (method == SP_METHOD_METADATA) {
        fake_metadata(cluster, pack);
        return 0;
    }
    if (method == SP_METHOD_PRODUCER_INIT) {
        fake_init(cluster, &message->params, pack);
        return 0;
    }
    if (cluster->coordinator != NULL && method >= SP_METHOD_GROUP_FIND) {
        return cluster->coordinator(cluster, method, &message->params, pack);
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

/* ---- servers --------------------------------------------------------------------------------- */

static inline enum fake_action fake_ask_script(struct fake_cluster *cluster,
                                               const struct sp_message *message)
{
    static const char *const methods[] = { "produce", "fetch", "group.commit", "producer.resume" };
    unsigned *const counts[] = {
        &cluster->produce_count,
        &cluster->fetch_count,
        &cluster->commit_count,
        &cluster->resume_count,
    };

    for (unsigned i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (sp_bytes_equal_text(message->method, methods[i])) {
            *counts[i] += 1;
            return cluster->script == NULL ? FAKE_SERVE
                                           : cluster->script(cluster, methods[i], *counts[i]);
        }
    }
    return FAKE_SERVE;
}

static inline void fake_send_late(struct fake_cluster *cluster, const struct sp_message *message)
{
    if (cluster->late.size > 0 && sp_bytes_equal_text(message->method, "group.join")) {
        (void)sp_conn_send_copy(cluster->late_conn, cluster->late.bytes, cluster->late.size);
        sp_buf_deinit(&cluster->late);
    }
}

/* Packs the whole answer; false: out of memory. */
static inline bool fake_answer(struct fake_server *server,
                               const struct sp_message *message,
                               enum fake_action action,
                               struct sp_buf *reply)
{
    struct fake_cluster *cluster = server->cluster;
    const struct fake_server *leader = &cluster->servers[cluster->leader];
    struct sp_buf result;
    struct sp_pack pack;

    sp_buf_init(&result, FAKE_REPLY_BYTES_MAX);
    sp_pack_init(&pack, &result);
    int rv = action == FAKE_REFUSE ? cluster->refusal : fake_method(server, message, &pack);
    const char *text = action == FAKE_REFUSE ? cluster->refusal_text : NULL;

    if (sp_pack_status(&pack) != 0) {
        rv = sp_pack_status(&pack);
        assert_int_equal(rv, SPATE_ERR_NOMEM);
    }
    sp_pack_init(&pack, reply);
    if (rv == SPATE_ERR_NOT_LEADER) {
        sp_message_response_not_leader(
            &pack, message->msgid, (int32_t)leader->node, leader->address, "somebody else leads");
    } else if (rv != 0) {
        sp_message_response_error(&pack, message->msgid, rv, text);
    } else {
        sp_message_response_ok(&pack, message->msgid);
        sp_pack_raw(&pack, sp_bytes_of(result.bytes, result.size));
    }
    sp_buf_deinit(&result);
    return sp_pack_status(&pack) == 0;
}

static inline void
fake_on_message(void *arg, struct sp_conn *conn, struct sp_blob *blob, size_t position, size_t size)
{
    struct fake_server *server = arg;
    struct sp_message message;
    struct sp_buf reply;

    assert_int_equal(sp_message_decode(blob->bytes + position, size, &message), 0);
    server->cluster->last_conn = conn;
    enum fake_action action = fake_ask_script(server->cluster, &message);
    if (action == FAKE_DROP_BEFORE) {
        sp_conn_close(conn, true); /* what was answered before still leaves */
        return;
    }
    if (action == FAKE_SILENT) {
        return;
    }
    sp_buf_init(&reply, FAKE_REPLY_BYTES_MAX);
    bool packed = fake_answer(server, &message, action, &reply);
    if (action == FAKE_DROP_AFTER || !packed) {
        sp_conn_close(conn, true); /* what was answered before still leaves */
    } else if (action == FAKE_LATE) {
        server->cluster->late_conn = conn;
        server->cluster->late = reply;
        return;
    } else if (action != FAKE_SILENT_DONE) {
        (void)sp_conn_send_copy(conn, reply.bytes, reply.size); /* closed: dropped before */
    }
    sp_buf_deinit(&reply);
    fake_send_late(server->cluster, &message);
}

static inline void fake_on_closed(void *arg, struct sp_conn *conn, int status)
{
    (void)arg;
    (void)conn;
    (void)status;
}

static const struct sp_conn_handler fake_conn_handler = {
    .message = fake_on_message,
    .closed = fake_on_closed,
};

static inline int fake_on_accept(void *arg,
                                 const char *peer,
                                 const struct sp_conn_handler **out_handler,
                                 void **out_arg)
{
    (void)peer;
    *out_handler = &fake_conn_handler;
    *out_arg = arg;
    return 0;
}

static inline void fake_on_opened(void *arg, void *conn_arg, struct sp_conn *conn)
{
    (void)arg;
    (void)conn_arg;
    (void)conn;
}

static const struct sp_server_handler fake_server_handler = {
    .accept = fake_on_accept,
    .opened = fake_on_opened,
};

/* ---- life ------------------------------------------------------------------------------------ */

/* Starts the servers on the loop of a client that knows only the first. `keys` are pairs of
 * configuration, ending with NULL. */
static inline void fake_start(struct fake_cluster *cluster, const char *const *keys)
{
    struct spate_config *config;

    *cluster = (struct fake_cluster){
        .topic_exists = true,
        .topic_id = 7,
        .next_producer_id = 100,
        .partition_count = 1,
    };
    cluster->skip_offset = -1;
    cluster->repeat_offset = -1;
    cluster->live_before = sp_mem_live_count();
    config = spate_config_new();
    assert_non_null(config);
    assert_int_equal(spate_config_set(config, "io.thread", "off"), 0); /* its loop is ours, too */
    for (; keys != NULL && *keys != NULL; keys += 2) {
        assert_int_equal(spate_config_set(config, keys[0], keys[1]), 0);
    }
    assert_int_equal(spate_client_new(config, &cluster->client), 0);
    spate_config_free(config);
    for (unsigned i = 0; i < FAKE_SERVERS; i++) {
        struct fake_server *server = &cluster->servers[i];
        server->cluster = cluster;
        server->node = i + 1;
        assert_int_equal(sp_server_new(cluster->client->loop,
                                       "127.0.0.1:0",
                                       &sp_conn_messagepack,
                                       100,
                                       &fake_server_handler,
                                       server,
                                       &server->server),
                         0);
        (void)snprintf(server->address,
                       sizeof server->address,
                       "127.0.0.1:%u",
                       sp_server_port(server->server));
    }
    cluster->client->server_count = 1;
    memcpy(cluster->client->servers[0], cluster->servers[0].address, 32);
}

static inline void fake_on_server_closed(void *arg)
{
    ((struct fake_cluster *)arg)->closed_servers += 1;
}

static inline void fake_stop(struct fake_cluster *cluster)
{
    sp_buf_deinit(&cluster->late);
    for (unsigned i = 0; i < FAKE_SERVERS; i++) {
        sp_server_close(cluster->servers[i].server, fake_on_server_closed, cluster);
    }
    for (unsigned i = 0; i < cluster->batch_count; i++) {
        free(cluster->batches[i].bytes);
    }
    spate_client_free(cluster->client);
    assert_int_equal(cluster->closed_servers, FAKE_SERVERS);
    assert_int_equal(sp_mem_live_count(), cluster->live_before);
}

#endif /* SP_UNIT_FAKE_CLUSTER_H */
