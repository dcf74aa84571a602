/* A small cluster for tests of libspate: servers on loopback, driven by the client's own loop, with
 * one partition whose log and producer table follow the rules of D6, and a script of mishaps.
 *
 *   client -> server 0, 1 -> script says what happens -> log -> answer, late answer, no answer */
#ifndef SP_UNIT_FAKE_CLUSTER_H
#define SP_UNIT_FAKE_CLUSTER_H

#include "base/mem.h"
#include "fake_methods.h"
#include "spate/spate.h"

static inline enum fake_action fake_ask_script(struct fake_cluster *cluster,
                                               const struct sp_message *message)
{
    static const char *const methods[] = {
        "produce", "fetch", "group.commit", "producer.resume", "group.join", "topic.delete",
    };
    unsigned *const counts[] = {
        &cluster->produce_count, &cluster->fetch_count, &cluster->commit_count,
        &cluster->resume_count,  &cluster->join_count,  &cluster->delete_count,
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
    fake_log_free(&cluster->log);
    spate_client_free(cluster->client);
    assert_int_equal(cluster->closed_servers, FAKE_SERVERS);
    assert_int_equal(sp_mem_live_count(), cluster->live_before);
}

#endif /* SP_UNIT_FAKE_CLUSTER_H */
