/* Admin calls, and the raw calls that everything else goes through. */
#include "spate/admin.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "client/client.h"
#include "client/metadata.h"
#include "client/request.h"
#include "wire/client_api.h"

_Static_assert(SPATE_AT_START == SP_OFFSETS_AT_EARLIEST, "one meaning in both headers");
_Static_assert(SPATE_AT_END == SP_OFFSETS_AT_LATEST, "one meaning in both headers");

enum {
    PARAMS_BYTES_MAX = 2048,
    ATTEMPT_MS = 2000,    /* a server that takes longer for a question is passed over */
    ATTEMPT_MS_MIN = 300, /* the same where there is less time than that for all of them */
};

/* ---- raw calls ------------------------------------------------------------------------------- */

/* How long one server may take. Reads move on to the next server, but a long poll is long. */
static uint32_t attempt_ms(const struct spate_client *client, const char *method)
{
    if (!sp_request_method_repeatable(method) || client->server_count < 2) {
        return 0;
    }
    if (strcmp(method, "fetch") == 0 || strcmp(method, "offsets") == 0) {
        return client->config.timeout_ms / 2 + 1;
    }
    uint32_t share_ms = client->config.timeout_ms / client->server_count;
    share_ms = share_ms > ATTEMPT_MS_MIN ? share_ms : ATTEMPT_MS_MIN;
    return share_ms < ATTEMPT_MS ? share_ms : ATTEMPT_MS;
}

/* Anything else the servers would wait for the rest of, or take for the end of a connection. */
static bool is_one_map(const void *bytes, size_t size)
{
    struct sp_cursor cursor;

    sp_cursor_init(&cursor, bytes, size);
    if (sp_cursor_peek(&cursor) != SP_CURSOR_MAP) {
        return false;
    }
    sp_cursor_skip(&cursor);
    return sp_cursor_finish(&cursor) == 0;
}

static int
check_call(struct spate_client *client, const char *method, const void *params, size_t params_size)
{
    int rv = sp_client_need(client, method, "method");

    if (rv == 0) {
        rv = sp_client_need(client, params, "params");
    }
    if (rv == 0 && (method[0] == '\0' || params_size == 0)) {
        return sp_client_fail(client,
                              SPATE_ERR_INVALID,
                              "method and params must not be empty (an empty map is 0x80)");
    }
    if (rv == 0 && !is_one_map(params, params_size)) {
        return sp_client_fail(
            client, SPATE_ERR_INVALID, "params must be one MessagePack map, and nothing behind it");
    }
    return rv;
}

int spate_call(struct spate_client *client,
               const char *method,
               const void *params,
               size_t params_size,
               void **out_result,
               size_t *out_result_size)
{
    if (client == NULL) {
        return SPATE_ERR_INVALID;
    }
    SP_CLIENT_HOLD(client);
    int checked = check_call(client, method, params, params_size);
    if (checked != 0) {
        return checked;
    }
    struct sp_request request = {
        .client = client,
        .method = method,
        .params = sp_bytes_of(params, params_size),
        .deadline_ms = sp_client_deadline(client, client->config.timeout_ms),
        .attempt_ms = attempt_ms(client, method),
        .unreachable_ms = SP_CLIENT_UNREACHABLE_MS,
        .repeatable = sp_request_method_repeatable(method),
    };
    int rv = request.repeatable ? 0 : sp_request_find_alive(client, request.deadline_ms);

    return rv != 0 ? rv : sp_request_wait(&request, out_result, out_result_size);
}

/* One try at the leader as known now. */
static int try_leader(const struct sp_request *model,
                      const struct sp_topic_view *topic,
                      uint32_t partition,
                      void **out_result,
                      size_t *out_result_size)
{
    struct sp_request request = *model;
    char address[SP_ADDRESS_SIZE_MAX + 1]; /* the connection may have to make room meanwhile */

    (void)snprintf(
        address, sizeof address, "%s", sp_rpc_address(topic->partitions[partition].leader->rpc));
    request.address = address;
    request.unreachable_ms = SP_CLIENT_PAUSE_MAX_MS; /* then perhaps another one leads */
    return sp_request_wait(&request, out_result, out_result_size);
}

/* After a failed try: notes what it said about the leader. */
static void learn_leader(struct spate_client *client,
                         struct sp_topic_view *topic,
                         uint32_t partition,
                         int status,
                         uint64_t deadline_ms)
{
    char hint[SP_ADDRESS_SIZE_MAX];

    if (status == SPATE_ERR_NOT_LEADER &&
        sp_client_leader_hint(sp_client_error_text(client), hint)) {
        sp_metadata_note_leader(client->metadata, topic, partition, hint);
        return;
    }
    uint64_t number = sp_metadata_want(client->metadata);
    while (sp_metadata_completed(client->metadata) < number &&
           sp_loop_now_ms(client->loop) < deadline_ms && sp_client_run(client, deadline_ms) == 0) {
        /* Again. */
    }
}

/* What the caller is told in the end: refusals do not say what became of an earlier try. */
static int told(struct spate_client *client, int rv, bool uncertain)
{
    return uncertain && sp_client_status_moves(rv)
               ? sp_client_fail(client,
                                SPATE_ERR_TIMEOUT,
                                "a try was sent and not answered, later ones were refused: it may "
                                "be done or not")
               : rv;
}

static int try_leaders(const struct sp_request *model,
                       struct sp_topic_view *view,
                       uint32_t partition,
                       void **out_result,
                       size_t *out_result_size)
{
    struct spate_client *client = model->client;
    bool uncertain = false;

    for (;;) {
        int rv = sp_metadata_wait_leader(client->metadata, view, partition, model->deadline_ms);
        if (rv != 0) {
            return told(client, rv, uncertain);
        }
        rv = try_leader(model, view, partition, out_result, out_result_size);
        bool unclear = sp_client_status_uncertain(rv);
        if (!sp_client_status_moves(rv) || (unclear && !model->repeatable) || client->closing) {
            return rv;
        }
        uncertain = uncertain || unclear;
        if (sp_loop_now_ms(client->loop) >= model->deadline_ms) {
            return told(client, rv, uncertain);
        }
        learn_leader(client, view, partition, rv, model->deadline_ms);
    }
}

int spate_call_leader(struct spate_client *client,
                      const char *topic,
                      uint32_t partition,
                      const char *method,
                      const void *params,
                      size_t params_size,
                      void **out_result,
                      size_t *out_result_size)
{
    if (client == NULL) {
        return SPATE_ERR_INVALID;
    }
    SP_CLIENT_HOLD(client);
    struct sp_topic_view *view = NULL;
    int rv = check_call(client, method, params, params_size);

    if (rv == 0) {
        rv = sp_client_need(client, topic, "topic");
    }
    if (rv != 0) {
        return rv;
    }
    struct sp_request model = {
        .client = client,
        .method = method,
        .params = sp_bytes_of(params, params_size),
        .deadline_ms = sp_client_deadline(client, client->config.timeout_ms),
        .repeatable = sp_request_method_repeatable(method),
    };
    rv = sp_metadata_topic(client->metadata, topic, &view);
    if (rv != 0) {
        return sp_client_fail(client, rv, "%.100s: no topic can have this name", topic);
    }
    return try_leaders(&model, view, partition, out_result, out_result_size);
}

/* ---- offsets --------------------------------------------------------------------------------- */

static int
take_offset(struct spate_client *client, const void *result, size_t size, int64_t *out_offset)
{
    struct sp_offsets_response response;
    struct sp_cursor cursor;

    sp_cursor_init(&cursor, result, size);
    if (sp_offsets_response_decode(&cursor, &response, NULL) != 0) {
        return sp_client_fail(
            client, SPATE_ERR_MALFORMED, "the server's answer to offsets makes no sense");
    }
    *out_offset = response.offset;
    return 0;
}

int spate_offsets(struct spate_client *client,
                  const char *topic,
                  uint32_t partition,
                  int64_t at,
                  int64_t *out_offset)
{
    if (client == NULL) {
        return SPATE_ERR_INVALID;
    }
    SP_CLIENT_HOLD(client);
    struct sp_offsets_request request;
    struct sp_pack pack;
    struct sp_buf params;
    void *result = NULL;
    size_t size = 0;

    if (sp_client_need(client, topic, "topic") != 0 ||
        sp_client_need(client, out_offset, "out_offset") != 0) {
        return SPATE_ERR_INVALID;
    }
    if (partition >= SP_PARTITIONS_PER_TOPIC_MAX || at < SPATE_AT_START) {
        return sp_client_fail(client, SPATE_ERR_INVALID, "no such partition, or no such time");
    }
    sp_offsets_request_init(&request);
    request.topic = sp_bytes_text(topic);
    request.partition = (int32_t)partition;
    request.at = at;
    request.linearizable = client->config.linearizable;
    sp_buf_init(&params, PARAMS_BYTES_MAX);
    sp_pack_init(&pack, &params);
    sp_offsets_request_encode(&pack, &request);
    int rv = sp_pack_status(&pack);
    if (rv == 0) {
        rv = spate_call_leader(
            client, topic, partition, "offsets", params.bytes, params.size, &result, &size);
    }
    sp_buf_deinit(&params);
    if (rv == 0) {
        rv = take_offset(client, result, size, out_offset);
    }
    spate_free(result);
    return rv;
}
