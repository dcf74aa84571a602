/* Topics: made, deleted, looked at. */
#include <string.h>

#include "base/mem.h"
#include "client/client.h"
#include "client/metadata.h"
#include "client/request.h"
#include "spate/admin.h"
#include "wire/client_api.h"
#include "wire/metadata.h"

enum {
    PARAMS_BYTES_MAX = 2048,
    ATTEMPT_MS = 2000,     /* a server that takes longer for a question is passed over */
    UNKNOWN_TRIES = 3,     /* nodes learn of a new topic one after the other */
    UNKNOWN_PAUSE_MS = 50, /* between them */
};

static int pause_until(struct spate_client *client, uint64_t until_ms)
{
    int rv = 0;

    while (rv == 0 && sp_loop_now_ms(client->loop) < until_ms) {
        rv = sp_client_run(client, until_ms);
    }
    return rv;
}

/* After a lost answer: whoever refuses to be asked again knows nothing of what became of that, also
 * if the same would be refused for good by now. */
static int fail_unknown(struct spate_client *client, const char *method)
{
    return sp_client_fail(
        client,
        SPATE_ERR_TIMEOUT,
        "%s was sent and not answered, and asking again came to nothing (%.300s): "
        "it may be done or not; look before you try again",
        method,
        sp_client_error_text(client));
}

/* Creates or deletes, until `deadline_ms`. After a lost answer it asks once more, and `done_before`
 * then means success: it was this very call that did it, as far as anybody can tell. */
static int change_topic(struct spate_client *client,
                        const char *method,
                        const struct sp_buf *params,
                        int done_before,
                        uint64_t deadline_ms)
{
    bool lost = false;

    for (;;) {
        struct sp_request request = {
            .client = client,
            .method = method,
            .params = sp_bytes_of(params->bytes, params->size),
            .deadline_ms = deadline_ms,
            .unreachable_ms = SP_CLIENT_UNREACHABLE_MS,
        };
        int rv = sp_request_find_alive(client, deadline_ms);
        bool asked = rv == 0;
        if (asked) {
            rv = sp_request_wait(&request, NULL, NULL);
        }
        if (lost && rv == done_before) {
            return 0;
        }
        if (lost && rv != 0 && (!asked || !sp_client_status_uncertain(rv))) {
            return fail_unknown(client, method);
        }
        /* Who closes each connection at once is not asked as fast as that goes. */
        uint64_t next_ms =
            sp_loop_now_ms(client->loop) + (lost ? (uint64_t)SP_CLIENT_PAUSE_MAX_MS : 0);
        if (!sp_client_status_uncertain(rv) || client->closing || next_ms >= deadline_ms ||
            pause_until(client, next_ms) != 0) {
            return rv;
        }
        lost = true;
    }
}

static int wait_for_leaders(struct spate_client *client,
                            const char *name,
                            uint32_t partitions,
                            uint64_t deadline_ms)
{
    struct sp_topic_view *view = NULL;
    int rv = sp_metadata_topic(client->metadata, name, &view);

    /* The node that is asked may not have heard of the topic yet. */
    while (rv == 0 || rv == SPATE_ERR_UNKNOWN_TOPIC) {
        rv = sp_metadata_wait_topic(client->metadata, view, deadline_ms);
        if (rv == 0 || sp_loop_now_ms(client->loop) >= deadline_ms) {
            break;
        }
    }
    for (uint32_t i = 0; rv == 0 && (i < partitions || i < view->partition_count); i++) {
        rv = sp_metadata_wait_leader(client->metadata, view, i, deadline_ms);
    }
    if (rv == SPATE_ERR_LEADER_UNKNOWN || rv == SPATE_ERR_UNKNOWN_TOPIC) {
        return sp_client_fail(client,
                              SPATE_ERR_TIMEOUT,
                              "topic %s was created, but not every partition has a leader yet",
                              name);
    }
    return rv;
}

static int
pack_settings(const struct spate_topic_setting *settings, size_t count, struct sp_buf *out)
{
    struct sp_pack pack;

    sp_pack_init(&pack, out);
    sp_pack_map(&pack, count);
    for (size_t i = 0; i < count; i++) {
        if (settings[i].name == NULL || settings[i].value == NULL) {
            return SPATE_ERR_INVALID;
        }
        sp_pack_text(&pack, settings[i].name);
        sp_pack_text(&pack, settings[i].value);
    }
    return sp_pack_status(&pack);
}

/* The request's parameters into `out`. */
static int pack_create(struct sp_topic_create_request *request,
                       const struct spate_topic_setting *settings,
                       size_t count,
                       struct sp_buf *out)
{
    struct sp_pack pack;
    struct sp_buf config;

    sp_buf_init(&config, PARAMS_BYTES_MAX);
    int rv = count > 0 ? pack_settings(settings, count, &config) : 0;
    if (rv == 0) {
        if (count > 0) {
            request->config = sp_bytes_of(config.bytes, config.size);
        }
        sp_pack_init(&pack, out);
        sp_topic_create_request_encode(&pack, request);
        rv = sp_pack_status(&pack);
    }
    sp_buf_deinit(&config);
    return rv;
}

int spate_topic_create(struct spate_client *client,
                       const char *topic,
                       uint32_t partitions,
                       uint32_t replicas)
{
    return spate_topic_create_with(client, topic, partitions, replicas, NULL, 0);
}

int spate_topic_create_with(struct spate_client *client,
                            const char *topic,
                            uint32_t partitions,
                            uint32_t replicas,
                            const struct spate_topic_setting *settings,
                            size_t count)
{
    if (client == NULL) {
        return SPATE_ERR_INVALID;
    }
    SP_CLIENT_HOLD(client);
    struct sp_topic_create_request request;
    struct sp_buf params;

    if (sp_client_need(client, topic, "topic") != 0 ||
        (count > 0 && sp_client_need(client, settings, "settings") != 0)) {
        return SPATE_ERR_INVALID;
    }
    uint64_t deadline_ms = sp_client_deadline(client, client->config.timeout_ms);
    if (partitions > SP_PARTITIONS_PER_TOPIC_MAX || replicas > SP_REPLICAS_MAX) {
        return sp_client_fail(client,
                              SPATE_ERR_INVALID,
                              "at most %d partitions and %d replicas",
                              SP_PARTITIONS_PER_TOPIC_MAX,
                              SP_REPLICAS_MAX);
    }
    sp_topic_create_request_init(&request);
    request.name = sp_bytes_text(topic);
    request.partitions = partitions == 0 ? -1 : (int32_t)partitions;
    request.replicas = replicas == 0 ? -1 : (int32_t)replicas;
    sp_buf_init(&params, PARAMS_BYTES_MAX);
    int rv = pack_create(&request, settings, count, &params);
    if (rv == 0) {
        rv = change_topic(client, "topic.create", &params, SPATE_ERR_EXISTS, deadline_ms);
    } else {
        (void)sp_client_fail(client, rv, "%s", spate_strerror(rv));
    }
    sp_buf_deinit(&params);
    return rv == 0 ? wait_for_leaders(client, topic, partitions, deadline_ms) : rv;
}

/* ---- deleting -------------------------------------------------------------------------------- */

/* The id of the topic in an answer to `metadata` about it alone. */
static int
take_id(struct spate_client *client, const void *result, size_t size, int64_t *out_topic_id)
{
    struct sp_metadata metadata;
    struct sp_cursor cursor;

    sp_cursor_init(&cursor, result, size);
    int rv = sp_metadata_decode(&cursor, &metadata, NULL);
    if (rv == SPATE_ERR_NOMEM) {
        return sp_client_fail(client, rv, "%s", spate_strerror(rv));
    }
    if (rv != 0) {
        return sp_client_fail(
            client, SPATE_ERR_MALFORMED, "the server's answer to metadata makes no sense");
    }
    rv = metadata.topic_count == 1 ? metadata.topics[0].error : SPATE_ERR_UNKNOWN_TOPIC;
    *out_topic_id = rv == 0 ? metadata.topics[0].id : -1;
    sp_metadata_deinit(&metadata);
    return rv == 0 ? 0 : sp_client_fail(client, rv, "%s", spate_strerror(rv));
}

/* Asks a server which topic has that name now; what the client knows may be old. */
static int
ask_id(struct spate_client *client, const char *topic, uint64_t deadline_ms, int64_t *out_topic_id)
{
    struct sp_buf params;
    struct sp_pack pack;
    void *result = NULL;
    size_t size = 0;

    sp_buf_init(&params, PARAMS_BYTES_MAX);
    sp_pack_init(&pack, &params);
    sp_pack_map(&pack, 1);
    sp_pack_text(&pack, "topics");
    sp_pack_array(&pack, 1);
    sp_pack_text(&pack, topic);
    int rv = sp_pack_status(&pack);
    if (rv == 0) {
        struct sp_request request = {
            .client = client,
            .method = "metadata",
            .params = sp_bytes_of(params.bytes, params.size),
            .deadline_ms = deadline_ms,
            .attempt_ms = client->server_count < 2 ? 0 : ATTEMPT_MS,
            .unreachable_ms = SP_CLIENT_UNREACHABLE_MS,
            .repeatable = true,
        };
        rv = sp_request_wait(&request, &result, &size);
    } else {
        (void)sp_client_fail(client, rv, "%s", spate_strerror(rv));
    }
    sp_buf_deinit(&params);
    rv = rv == 0 ? take_id(client, result, size, out_topic_id) : rv;
    sp_mem_free(result);
    return rv;
}

static int
find_id(struct spate_client *client, const char *topic, uint64_t deadline_ms, int64_t *out_topic_id)
{
    int rv = ask_id(client, topic, deadline_ms, out_topic_id);
    unsigned tries = 1;

    /* A node that lags or begins does not say that there is none. */
    while ((rv == SPATE_ERR_UNKNOWN_TOPIC && tries < UNKNOWN_TRIES) ||
           (rv == SPATE_ERR_NOT_READY && sp_loop_now_ms(client->loop) < deadline_ms)) {
        tries += rv == SPATE_ERR_UNKNOWN_TOPIC ? 1 : 0;
        rv = pause_until(client, sp_loop_now_ms(client->loop) + UNKNOWN_PAUSE_MS);
        rv = rv == 0 ? ask_id(client, topic, deadline_ms, out_topic_id) : rv;
    }
    return rv == SPATE_ERR_UNKNOWN_TOPIC ? sp_client_fail(client, rv, SP_NO_TOPIC_TEXT, topic) : rv;
}

static int
delete_id(struct spate_client *client, const char *topic, int64_t topic_id, uint64_t deadline_ms)
{
    struct sp_topic_delete_request request = { .name = sp_bytes_text(topic), .topic_id = topic_id };
    struct sp_pack pack;
    struct sp_buf params;

    sp_buf_init(&params, PARAMS_BYTES_MAX);
    sp_pack_init(&pack, &params);
    sp_topic_delete_request_encode(&pack, &request);
    int rv = sp_pack_status(&pack);
    if (rv == 0) {
        rv = change_topic(client, "topic.delete", &params, SPATE_ERR_UNKNOWN_TOPIC, deadline_ms);
    } else {
        (void)sp_client_fail(client, rv, "%s", spate_strerror(rv));
    }
    sp_buf_deinit(&params);
    return rv;
}

/* The request names the topic by its id as well: one that comes late, after this call and even the
 * process have ended, must not hit another topic that has the name by then. */
int spate_topic_delete(struct spate_client *client, const char *topic)
{
    if (client == NULL) {
        return SPATE_ERR_INVALID;
    }
    SP_CLIENT_HOLD(client);
    int64_t topic_id = -1;
    int64_t tried_id = -1;

    if (sp_client_need(client, topic, "topic") != 0) {
        return SPATE_ERR_INVALID;
    }
    uint64_t deadline_ms = sp_client_deadline(client, client->config.timeout_ms);
    int rv = find_id(client, topic, deadline_ms, &topic_id);
    while (rv == 0) {
        rv = delete_id(client, topic, topic_id, deadline_ms);
        if (rv != SPATE_ERR_UNKNOWN_TOPIC || sp_loop_now_ms(client->loop) >= deadline_ms) {
            return rv;
        }
        /* Perhaps the server had heard of an earlier one alone; more it may hear after a while. */
        uint64_t pause_ms = topic_id == tried_id ? UNKNOWN_PAUSE_MS : 0;
        rv = pause_until(client, sp_loop_now_ms(client->loop) + pause_ms);
        tried_id = topic_id;
        rv = rv == 0 ? find_id(client, topic, deadline_ms, &topic_id) : rv;
    }
    return rv;
}

/* ---- looking --------------------------------------------------------------------------------- */

int spate_topic_partitions(struct spate_client *client, const char *topic, uint32_t *out_partitions)
{
    if (client == NULL) {
        return SPATE_ERR_INVALID;
    }
    SP_CLIENT_HOLD(client);
    struct sp_topic_view *view = NULL;

    if (sp_client_need(client, topic, "topic") != 0 ||
        sp_client_need(client, out_partitions, "out_partitions") != 0) {
        return SPATE_ERR_INVALID;
    }
    int rv = sp_metadata_topic(client->metadata, topic, &view);
    if (rv != 0) {
        return sp_client_fail(client, rv, "%.100s: no topic can have this name", topic);
    }
    rv = sp_metadata_wait_topic(
        client->metadata, view, sp_client_deadline(client, client->config.timeout_ms));
    if (rv == 0) {
        *out_partitions = view->partition_count;
    }
    return rv;
}

int spate_topics_expect(struct spate_client *client, const char *const *topics, size_t count)
{
    if (client == NULL) {
        return SPATE_ERR_INVALID;
    }
    SP_CLIENT_HOLD(client);
    int rv = sp_client_need(client, topics, "topics");

    for (size_t i = 0; i < count && rv == 0; i++) {
        struct sp_topic_view *view = NULL;
        rv = sp_client_need(client, topics[i], "topics");
        rv = rv != 0 ? rv : sp_metadata_topic(client->metadata, topics[i], &view);
        if (rv != 0 && topics[i] != NULL) {
            rv = sp_client_fail(client,
                                rv,
                                "%.100s: %s",
                                topics[i],
                                rv == SPATE_ERR_INVALID ? "no topic can have this name"
                                                        : spate_strerror(rv));
        }
    }
    return rv;
}
