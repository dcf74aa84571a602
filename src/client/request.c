/* The attempts of a request: choosing a server, patience, pauses, the end. */
#include "client/request.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

enum {
    PATIENCE_DOUBLINGS = 4,
    PING_MS = 1000,  /* a server that is asked whether it is alive is passed over then */
    SILENT_MS = 150, /* a connection without an answer for so long may lead to one that hangs */
};

static void attempt(struct sp_request *request);

/* ---- the end --------------------------------------------------------------------------------- */

static void finish(struct sp_request *request, int status, struct sp_bytes result, const char *text)
{
    sp_timer_stop(&request->timer);
    request->calling = false;
    request->cb(request, status, result, text);
}

static bool time_is_up(const struct sp_request *request)
{
    uint64_t now_ms = sp_loop_now_ms(request->client->loop);

    if (now_ms >= request->deadline_ms) {
        return true;
    }
    return !request->reached && request->unreachable_ms != 0 &&
           now_ms - request->started_ms >= request->unreachable_ms;
}

static void give_up(struct sp_request *request)
{
    char text[SP_CLIENT_ERROR_SIZE];
    int status = sp_request_tell_given_up(request, text);

    finish(request, status, sp_bytes_null(), text);
}

/* ---- choosing a server ----------------------------------------------------------------------- */

/* How good it is to ask a server: 2 connected, 1 not connected, 0 connected and silent, which costs
 * the whole attempt if it hangs. */
static unsigned promise_of(const struct spate_client *client, uint32_t index)
{
    const char *address = client->servers[index];
    const struct sp_connection *connection =
        sp_map_get(client->connections, address, strlen(address));

    if (connection == NULL || !sp_rpc_connected(connection->rpc)) {
        return 1;
    }
    return sp_rpc_silent_ms(connection->rpc) >= SILENT_MS ? 0 : 2;
}

/* A connected server if there is one, else the next in turn: a server that hangs is asked first by
 * one request in n only, and after others by those that find it silent. */
static uint32_t choose_first(const struct sp_request *request)
{
    struct spate_client *client = request->client;
    uint32_t count = client->server_count;
    uint32_t best = 0;
    unsigned best_promise = 0;

    if (!request->repeatable && client->server_alive > 0) {
        return client->server_alive - 1; /* there is no second try: no turns */
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = (client->server_turn + i) % count;
        unsigned promise = promise_of(client, index);
        promise = request->in_turn && promise > 1 ? 1 : promise;
        if (promise > best_promise) {
            best = index;
            best_promise = promise;
        }
    }
    client->server_turn = best + 1;
    return best;
}

static const char *choose(struct sp_request *request)
{
    struct spate_client *client = request->client;

    if (request->address != NULL) {
        return request->address;
    }
    if (request->hint[0] != '\0') {
        return request->hint;
    }
    if (request->attempts == 0) {
        request->first = choose_first(request);
    }
    return client->servers[(request->first + request->turns) % client->server_count];
}

const char *sp_request_server(const struct sp_request *request)
{
    return request->asked;
}

static uint32_t round_of(const struct sp_request *request)
{
    uint32_t count = request->address != NULL ? 1 : request->client->server_count;

    return request->attempts / count;
}

/* The next attempt: at once while there are servers left in this round, else after a pause. */
static void move_on(struct sp_request *request, bool at_once)
{
    uint32_t round = round_of(request);
    uint64_t now_ms = sp_loop_now_ms(request->client->loop);
    uint64_t pause_ms = 0;

    request->attempts += 1;
    request->turns += request->named ? 0 : 1; /* else every other server would be passed over */
    request->calling = false;
    if (!at_once && round_of(request) > round) {
        pause_ms = (uint64_t)SP_CLIENT_PAUSE_MIN_MS << (round < 4 ? round : 4);
        pause_ms = pause_ms > SP_CLIENT_PAUSE_MAX_MS ? SP_CLIENT_PAUSE_MAX_MS : pause_ms;
    }
    if (now_ms + pause_ms > request->deadline_ms) {
        pause_ms = request->deadline_ms > now_ms ? request->deadline_ms - now_ms : 0;
    }
    if (sp_timer_start(&request->timer, now_ms + pause_ms) != 0) {
        finish(request, SPATE_ERR_NOMEM, sp_bytes_null(), spate_strerror(SPATE_ERR_NOMEM));
    }
}

/* ---- one attempt ----------------------------------------------------------------------------- */

static void finish_uncertain(struct sp_request *request, int status, const char *text)
{
    char longer[SP_CLIENT_ERROR_SIZE];

    (void)snprintf(longer,
                   sizeof longer,
                   "%s was sent and not answered (%.300s): it may be done or not; look before you "
                   "try again, and check that a spated serves this address",
                   request->method,
                   text);
    finish(request, status, sp_bytes_null(), longer);
}

static void on_failure(struct sp_request *request, int status, const char *text, bool sent)
{
    bool uncertain = sent && sp_client_status_uncertain(status);

    request->uncertain = request->uncertain || uncertain;
    if (uncertain && !request->repeatable) {
        finish_uncertain(request, status, text);
        return;
    }
    if (request->address != NULL && sp_client_status_moves(status) && sent) {
        finish(request, status, sp_bytes_null(), text); /* its owner knows where to go */
        return;
    }
    if (!sp_client_status_moves(status)) {
        finish(request, status, sp_bytes_null(), text);
        return;
    }
    bool hinted = request->hint[0] != '\0';
    request->hint[0] = '\0';
    if (status == SPATE_ERR_NOT_LEADER && !hinted && request->address == NULL) {
        move_on(request, sp_client_leader_hint(text, request->hint));
        return;
    }
    move_on(request, false);
}

/* Remembers which of the servers answers. */
static void note_alive(struct sp_request *request, int status)
{
    struct spate_client *client = request->client;
    uint32_t index;

    if (request->address != NULL || request->hint[0] != '\0') {
        return;
    }
    index = (request->first + request->turns) % client->server_count;
    if (!sp_request_status_lost(status)) {
        client->server_alive = index + 1;
    } else if (client->server_alive == index + 1) {
        client->server_alive = 0;
    }
}

static void on_answer(
    struct sp_rpc_call *call, int status, const uint8_t *result, size_t size, const char *text)
{
    struct sp_request *request = SP_CONTAINER_OF(call, struct sp_request, call);
    bool sent = call->sent || !sp_request_status_lost(status);

    sp_timer_stop(&request->timer);
    request->reached = request->reached || sent;
    note_alive(request, status);
    if (status == 0) {
        finish(request, 0, sp_bytes_of(result, size), "");
        return;
    }
    if (status == SPATE_ERR_UNREACHABLE) {
        sp_request_note_trouble(request, call->trouble, text);
    }
    char copy[SP_CLIENT_ERROR_SIZE];
    (void)snprintf(
        copy, sizeof copy, "%s", text != NULL && text[0] != '\0' ? text : spate_strerror(status));
    sp_request_note_word(request, status, copy);
    on_failure(request, status, copy, sent);
}

static void on_timer(struct sp_timer *timer)
{
    struct sp_request *request = SP_CONTAINER_OF(timer, struct sp_request, timer);

    if (!request->calling) {
        attempt(request);
        return;
    }
    if (request->call.sent) {
        return; /* the call's own timeout watches from here on */
    }
    char text[SP_RPC_TROUBLE_SIZE];
    enum sp_stream_trouble trouble = sp_rpc_trouble(request->call.rpc, text);
    sp_request_note_trouble(request, trouble, text);
    sp_request_note_word(request, SPATE_ERR_UNREACHABLE, text);
    sp_rpc_cancel(&request->call);
    if (time_is_up(request)) {
        give_up(request);
        return;
    }
    request->hint[0] = '\0';
    move_on(request, false);
}

static uint64_t patience_ms(const struct sp_request *request)
{
    uint32_t round = round_of(request);

    return (uint64_t)SP_REQUEST_PATIENCE_MS
           << (round < PATIENCE_DOUBLINGS ? round : PATIENCE_DOUBLINGS);
}

/* How long this attempt may take in all. */
static uint32_t attempt_timeout_ms(const struct sp_request *request, uint64_t now_ms)
{
    uint64_t left_ms = request->deadline_ms - now_ms;

    if (request->attempt_ms != 0 && request->attempt_ms < left_ms) {
        left_ms = request->attempt_ms;
    }
    return left_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)left_ms;
}

static void attempt(struct sp_request *request)
{
    struct spate_client *client = request->client;
    uint64_t now_ms = sp_loop_now_ms(client->loop);
    struct sp_connection *connection = NULL;

    if (client->server_count == 0 || time_is_up(request)) {
        give_up(request);
        return;
    }
    (void)snprintf(request->asked, sizeof request->asked, "%s", choose(request));
    request->named = request->hint[0] != '\0';
    int rv = request->apart ? sp_client_connection_apart(client, request->asked, &connection)
                            : sp_client_connection(client, request->asked, &connection);
    if (rv == 0) {
        request->call = (struct sp_rpc_call){
            .method = request->method,
            .cb = on_answer,
            .timeout_ms = attempt_timeout_ms(request, now_ms),
            .at_once = true,
        };
        rv = sp_connection_call(connection, &request->call, request->params, NULL);
    }
    if (rv == 0) {
        request->calling = true;
        rv = sp_timer_start(&request->timer, now_ms + patience_ms(request));
    }
    if (rv != 0 && request->calling) {
        sp_rpc_cancel(&request->call);
    }
    if (rv != 0) {
        finish(request, rv, sp_bytes_null(), spate_strerror(rv));
    }
}

int sp_request_start(struct sp_request *request)
{
    struct sp_loop *loop = request->client->loop;

    SP_ASSERT(request->cb != NULL);
    sp_timer_init(&request->timer, loop, on_timer);
    request->started_ms = sp_loop_now_ms(loop);
    return sp_timer_start(&request->timer, request->started_ms);
}

void sp_request_cancel(struct sp_request *request)
{
    if (request->timer.loop == NULL) {
        return; /* never started */
    }
    sp_timer_stop(&request->timer);
    if (request->calling) {
        sp_rpc_cancel(&request->call);
        request->calling = false;
    }
}

/* ---- waiting for it -------------------------------------------------------------------------- */

struct waiting {
    struct sp_request *request;
    void **out_result;
    size_t *out_size;
    int status;
    bool done;
    char text[SP_CLIENT_ERROR_SIZE]; /* told by the waiting thread, whose failure it is */
};

/* The request of a blocked call is followed in memory by what the call waits for. */
struct waiting_request {
    struct sp_request request;
    struct waiting waiting;
};

static void
on_done(struct sp_request *request, int status, struct sp_bytes result, const char *text)
{
    struct waiting *waiting = &SP_CONTAINER_OF(request, struct waiting_request, request)->waiting;

    waiting->done = true;
    waiting->status = status;
    if (status != 0) {
        (void)snprintf(waiting->text, sizeof waiting->text, "%s", text);
    } else if (waiting->out_result != NULL) {
        *waiting->out_result = sp_mem_dup(result.bytes, result.size);
        *waiting->out_size = result.size;
        if (*waiting->out_result == NULL) {
            waiting->status = SPATE_ERR_NOMEM;
            (void)snprintf(waiting->text, sizeof waiting->text, "out of memory");
        }
    }
    sp_client_wake(request->client);
}

int sp_request_wait(struct sp_request *request, void **out_result, size_t *out_size)
{
    struct waiting_request copy = { .request = *request };

    copy.waiting = (struct waiting){ .out_result = out_result, .out_size = out_size };
    copy.request.cb = on_done;
    int rv = sp_request_start(&copy.request);
    if (rv != 0) {
        return sp_client_fail(request->client, rv, "%s", spate_strerror(rv));
    }
    while (!copy.waiting.done) {
        rv = sp_client_run(request->client, UINT64_MAX);
        if (rv != 0 && !copy.waiting.done) {
            sp_request_cancel(&copy.request);
            return rv;
        }
    }
    if (copy.waiting.status != 0) {
        return sp_client_fail(request->client, copy.waiting.status, "%s", copy.waiting.text);
    }
    return 0;
}

int sp_request_find_alive(struct spate_client *client, uint64_t deadline_ms)
{
    static const uint8_t no_fields[] = { 0x80 };
    struct sp_request request = {
        .client = client,
        .method = "ping",
        .params = sp_bytes_of(no_fields, sizeof no_fields),
        .deadline_ms = deadline_ms,
        .attempt_ms = PING_MS,
        .unreachable_ms = SP_CLIENT_UNREACHABLE_MS,
        .repeatable = true,
    };

    return client->server_count < 2 ? 0 : sp_request_wait(&request, NULL, NULL);
}

bool sp_request_method_repeatable(const char *method)
{
    static const char *const methods[] = {
        "hello",           "ping",           "metadata",       "topic.list",      "topic.describe",
        "topic.alter",     "topic.truncate", "fetch",          "offsets",         "producer.init",
        "producer.resume", "cluster.info",   "cluster.health", "cluster.nodes",   "cluster.moves",
        "group.find",      "group.list",     "group.describe", "group.committed",
    };

    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (strcmp(method, methods[i]) == 0) {
            return true;
        }
    }
    return false;
}
