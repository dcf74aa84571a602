/* Calls on their way to one server: `waiting` until there is a connection, `sent` until the answer.
 *
 *   call -> waiting --connected--> sent --answer--> cb(result)
 *              |                     '----lost-----> cb(SPATE_ERR_CLOSED)
 *              '--deadline--> cb(SPATE_ERR_UNREACHABLE)   '--deadline--> cb(SPATE_ERR_TIMEOUT)
 *
 * Callbacks may make and cancel calls and close the rpc: every loop over calls takes the first one
 * of a list of its own until that is empty. */
#include "net/rpc.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "io/address.h"
#include "net/conn.h"
#include "spate/error.h"
#include "wire/message.h"

enum {
    RETRY_MS_MIN = 20,
    RETRY_MS_MAX = 1000,
    CONNECT_MS_MAX = 3000, /* a host that answers nothing at all */
    STALE_MS = 1000,       /* so long unanswered, and given up: better a new connection */
    DEAD_MS = 5000,        /* the same while others wait: they would go on with a dead one */
    HEAD_BYTES_MAX = 256,  /* of a request before its parameters */
    TEXT_BYTES_MAX = 1024, /* of a server's error */
};

enum rpc_state {
    RPC_IDLE,
    RPC_CONNECTING,
    RPC_READY,
    RPC_WAITING,
    RPC_CLOSED,
};

struct sp_rpc {
    struct sp_loop *loop;
    enum rpc_state state;
    struct sp_stream *stream; /* CONNECTING */
    struct sp_conn *conn;     /* READY, and CLOSED until it has ended */
    struct sp_timer timer;    /* CONNECTING: gives up; WAITING: tries again */
    uint64_t asked_ms;        /* first call sent after what was heard last; 0: all was answered */
    bool given_up;            /* a call that was sent had no answer in time, and none came since */
    enum sp_stream_trouble trouble; /* of the last attempt to connect that has ended */
    uint32_t retry_ms;
    uint32_t next_msgid;
    struct sp_list waiting;
    struct sp_list sent;
    struct sp_list ending; /* their callbacks are being run */
    struct sp_deferred finish;
    char address[SP_ADDRESS_SIZE_MAX];
};

static void begin_connect(struct sp_rpc *rpc);

static struct sp_rpc_call *first_call(const struct sp_list *list)
{
    return SP_LIST_ENTRY(list->next, struct sp_rpc_call, node);
}

/* ---- ends of calls --------------------------------------------------------------------------- */

/* Takes a call out of everything; its struct then belongs to its caller alone. */
static void detach(struct sp_rpc_call *call)
{
    sp_list_remove(&call->node);
    sp_timer_stop(&call->timer);
    sp_slice_unref(&call->request);
    sp_slice_unref(&call->body);
    call->rpc = NULL;
}

enum sp_stream_trouble sp_rpc_trouble(const struct sp_rpc *rpc, char out_text[SP_RPC_TROUBLE_SIZE])
{
    static const char *const words[] = {
        [SP_STREAM_TROUBLE_NONE] = "",
        [SP_STREAM_NAME_UNKNOWN] = "is not known",
        [SP_STREAM_NAME_UNANSWERED] = "could not be looked up in time",
        [SP_STREAM_UNANSWERED] = "no answer to an attempt to connect",
        [SP_STREAM_REFUSED] = "connection refused",
        [SP_STREAM_NO_ROUTE] = "no route to that host",
        [SP_STREAM_NO_MEANS] = "this machine can open no connection",
    };
    enum sp_stream_trouble trouble = rpc->trouble;
    struct sp_address address;

    if (trouble == SP_STREAM_TROUBLE_NONE && rpc->stream != NULL) {
        trouble = sp_stream_trouble(rpc->stream);
    }
    bool of_name = trouble == SP_STREAM_NAME_UNKNOWN || trouble == SP_STREAM_NAME_UNANSWERED;
    if (of_name && sp_address_parse(rpc->address, &address) == 0) {
        (void)snprintf(
            out_text, SP_RPC_TROUBLE_SIZE, "host name \"%s\" %s", address.host, words[trouble]);
    } else {
        (void)snprintf(out_text, SP_RPC_TROUBLE_SIZE, "%s", words[trouble]);
    }
    return trouble;
}

static void fail_call(struct sp_rpc_call *call, int status)
{
    char text[SP_RPC_TROUBLE_SIZE] = "";

    if (status == SPATE_ERR_UNREACHABLE) {
        call->trouble = sp_rpc_trouble(call->rpc, text);
    }
    detach(call);
    call->cb(call, status, NULL, 0, text);
}

/* The calls that end are kept in `ending`, so that sp_rpc_close from a callback finds them too. */
static void fail_all(struct sp_rpc *rpc, struct sp_list *calls, int status)
{
    sp_list_move(&rpc->ending, calls);
    while (!sp_list_empty(&rpc->ending)) {
        fail_call(first_call(&rpc->ending), status);
    }
}

static void on_deadline(struct sp_timer *timer)
{
    struct sp_rpc_call *call = SP_CONTAINER_OF(timer, struct sp_rpc_call, timer);

    call->rpc->given_up = call->rpc->given_up || call->sent;
    fail_call(call, call->sent ? SPATE_ERR_TIMEOUT : SPATE_ERR_UNREACHABLE);
}

void sp_rpc_cancel(struct sp_rpc_call *call)
{
    detach(call);
}

/* ---- answers --------------------------------------------------------------------------------- */

static struct sp_rpc_call *find_sent(const struct sp_rpc *rpc, uint32_t msgid)
{
    SP_LIST_EACH (node, &rpc->sent) {
        struct sp_rpc_call *call = SP_LIST_ENTRY(node, struct sp_rpc_call, node);
        if (call->msgid == msgid) {
            return call;
        }
    }
    return NULL;
}

/* The server's error as the callback wants it: for NOT_LEADER the text begins with the leader. */
static void tell_error(struct sp_rpc_call *call, struct sp_bytes error)
{
    struct sp_error_parts parts;
    char text[TEXT_BYTES_MAX];

    sp_error_parse(error, &parts);
    int text_size = parts.text.size < TEXT_BYTES_MAX ? (int)parts.text.size : TEXT_BYTES_MAX;
    const char *said = (const char *)parts.text.bytes;
    if (parts.leader_address.bytes != NULL) {
        (void)snprintf(text,
                       sizeof text,
                       "%d %.*s %.*s",
                       parts.leader_id,
                       (int)parts.leader_address.size, /* an address, so it is short */
                       (const char *)parts.leader_address.bytes,
                       text_size,
                       said);
    } else {
        (void)snprintf(text, sizeof text, "%.*s", text_size, said);
    }
    detach(call);
    call->cb(call, parts.code, NULL, 0, text);
}

static void
on_message(void *arg, struct sp_conn *conn, struct sp_blob *blob, size_t position, size_t size)
{
    struct sp_rpc *rpc = arg;
    struct sp_message message;

    if (sp_message_decode(blob->bytes + position, size, &message) != 0 ||
        message.type != SP_MESSAGE_RESPONSE) {
        sp_conn_close(conn, false); /* not a server of this protocol */
        return;
    }
    struct sp_rpc_call *call = find_sent(rpc, message.msgid);
    if (call != NULL) {
        sp_list_remove(&call->node);
    }
    rpc->asked_ms = sp_list_empty(&rpc->sent) ? 0 : sp_loop_now_ms(rpc->loop);
    rpc->given_up = false;
    if (call == NULL) {
        return; /* came too late, or was cancelled */
    }
    rpc->retry_ms = RETRY_MS_MIN;
    if (message.error.bytes != NULL) {
        tell_error(call, message.error);
        return;
    }
    detach(call);
    call->answer = blob;
    call->cb(call,
             0,
             message.result.bytes + message.result.position,
             message.result.size - message.result.position,
             "");
}

/* ---- the connection -------------------------------------------------------------------------- */

static void wait_or_rest(struct sp_rpc *rpc)
{
    if (sp_list_empty(&rpc->waiting)) {
        rpc->state = RPC_IDLE;
        return;
    }
    rpc->state = RPC_WAITING;
    if (sp_timer_start(&rpc->timer, sp_loop_now_ms(rpc->loop) + rpc->retry_ms) != 0) {
        rpc->state = RPC_IDLE; /* the next call tries again; those that wait have deadlines */
    }
    rpc->retry_ms = rpc->retry_ms * 2 < RETRY_MS_MAX ? rpc->retry_ms * 2 : RETRY_MS_MAX;
}

/* An attempt to connect has failed: calls that do not wait for another one end. */
static void connect_failed(struct sp_rpc *rpc)
{
    SP_LIST_EACH_SAFE (node, &rpc->waiting) {
        struct sp_rpc_call *call = SP_LIST_ENTRY(node, struct sp_rpc_call, node);
        if (call->at_once) {
            sp_list_remove(node);
            sp_list_append(&rpc->ending, node);
        }
    }
    wait_or_rest(rpc);
    while (!sp_list_empty(&rpc->ending)) {
        fail_call(first_call(&rpc->ending), SPATE_ERR_UNREACHABLE);
    }
}

static void on_closed(void *arg, struct sp_conn *conn, int status)
{
    struct sp_rpc *rpc = arg;

    (void)conn;
    (void)status; /* whatever it was, the fate of the calls sent is unknown */
    rpc->conn = NULL;
    rpc->asked_ms = 0;
    rpc->given_up = false;
    if (rpc->state == RPC_CLOSED) {
        sp_loop_defer(rpc->loop, &rpc->finish);
        return;
    }
    wait_or_rest(rpc);
    fail_all(rpc, &rpc->sent, SPATE_ERR_CLOSED);
}

static const struct sp_conn_handler rpc_handler = {
    .message = on_message,
    .closed = on_closed,
};

/* Whoever asked over this connection has given up without an answer. After a network was cut the
 * kernel may try only after seconds again to send what it holds; a new connection is there at once.
 * When the other side has gone without a word the kernel tries for a quarter of an hour: who asks
 * again before the call behind is given up would wait for that. */
static bool is_stale(const struct sp_rpc *rpc)
{
    uint64_t silent_ms = sp_rpc_silent_ms(rpc);

    return rpc->state == RPC_READY &&
           (sp_list_empty(&rpc->sent) ? silent_ms >= STALE_MS
                                      : rpc->given_up && silent_ms >= DEAD_MS);
}

static int send_call(struct sp_rpc *rpc, struct sp_rpc_call *call)
{
    const struct sp_slice pieces[] = { call->request, call->body };
    int rv = sp_conn_send(rpc->conn, pieces, 2);

    if (rv != 0) {
        return rv;
    }
    if (rpc->asked_ms == 0) {
        rpc->asked_ms = sp_loop_now_ms(rpc->loop);
    }
    call->sent = true;
    sp_slice_unref(&call->request);
    sp_slice_unref(&call->body);
    sp_list_remove(&call->node);
    sp_list_append(&rpc->sent, &call->node);
    return 0;
}

static void send_waiting(struct sp_rpc *rpc)
{
    while (rpc->state == RPC_READY && !sp_list_empty(&rpc->waiting)) {
        if (send_call(rpc, first_call(&rpc->waiting)) != 0) {
            sp_conn_close(rpc->conn, false); /* out of memory: they wait for the next connection */
            return;
        }
    }
}

static void drop_stream(struct sp_rpc *rpc)
{
    rpc->trouble = sp_stream_trouble(rpc->stream);
    sp_stream_close(rpc->stream, NULL, NULL);
    rpc->stream = NULL;
}

static void on_connect(void *arg, struct sp_stream *stream, int status)
{
    struct sp_rpc *rpc = arg;

    sp_timer_stop(&rpc->timer);
    if (status != 0) {
        drop_stream(rpc);
        connect_failed(rpc);
        return;
    }
    rpc->stream = NULL;
    rpc->trouble = SP_STREAM_TROUBLE_NONE;
    if (sp_conn_new(
            rpc->loop, stream, &sp_conn_messagepack_answers, &rpc_handler, rpc, &rpc->conn) != 0) {
        wait_or_rest(rpc);
        return;
    }
    rpc->state = RPC_READY;
    send_waiting(rpc);
}

static void begin_connect(struct sp_rpc *rpc)
{
    rpc->state = RPC_CONNECTING;
    if (sp_timer_start(&rpc->timer, sp_loop_now_ms(rpc->loop) + CONNECT_MS_MAX) != 0 ||
        sp_stream_connect(rpc->loop, rpc->address, on_connect, rpc, &rpc->stream) != 0) {
        wait_or_rest(rpc);
    }
}

static void on_timer(struct sp_timer *timer)
{
    struct sp_rpc *rpc = SP_CONTAINER_OF(timer, struct sp_rpc, timer);

    if (rpc->state == RPC_CONNECTING) {
        drop_stream(rpc);
        connect_failed(rpc);
    } else if (sp_list_empty(&rpc->waiting)) {
        rpc->state = RPC_IDLE;
    } else {
        begin_connect(rpc);
    }
}

/* ---- calling --------------------------------------------------------------------------------- */

/* Everything of the request but its body, in a blob of its own. */
static int build_request(struct sp_rpc_call *call, const uint8_t *params, size_t size)
{
    struct sp_buf buf;
    struct sp_pack pack;

    sp_buf_init(&buf, HEAD_BYTES_MAX + size);
    sp_pack_init(&pack, &buf);
    sp_message_request(&pack, call->msgid, call->method);
    sp_pack_raw(&pack, (struct sp_bytes){ params, size });
    int rv = sp_pack_status(&pack);
    struct sp_blob *blob = rv == 0 ? sp_blob_copy(buf.bytes, buf.size) : NULL;
    sp_buf_deinit(&buf);
    if (rv != 0) {
        return rv;
    }
    if (blob == NULL) {
        return SPATE_ERR_NOMEM;
    }
    call->request = (struct sp_slice){ blob, blob->bytes, blob->size };
    return 0;
}

int sp_rpc_call(struct sp_rpc *rpc,
                struct sp_rpc_call *call,
                const uint8_t *params,
                size_t size,
                const struct sp_slice *body)
{
    size_t body_size = body == NULL ? 0 : body->size;

    if (rpc->state == RPC_CLOSED) {
        return SPATE_ERR_CANCELED;
    }
    if (size > SP_MESSAGE_BYTES_MAX || HEAD_BYTES_MAX + size + body_size > SP_MESSAGE_BYTES_MAX) {
        return SPATE_ERR_TOO_LARGE;
    }
    sp_list_init(&call->node);
    sp_timer_init(&call->timer, rpc->loop, on_deadline);
    call->sent = false;
    call->body = (struct sp_slice){ NULL, NULL, 0 };
    call->msgid = rpc->next_msgid;
    int rv = build_request(call, params, size);
    if (rv == 0) {
        rv = sp_timer_start(&call->timer, sp_loop_now_ms(rpc->loop) + call->timeout_ms);
        if (rv != 0) {
            sp_slice_unref(&call->request);
        }
    }
    if (rv != 0) {
        return rv;
    }
    rpc->next_msgid += 1;
    call->rpc = rpc;
    if (body != NULL) {
        call->body = sp_slice_ref(body);
    }
    sp_list_append(&rpc->waiting, &call->node);
    if (rpc->state == RPC_IDLE || (rpc->state == RPC_WAITING && call->at_once)) {
        begin_connect(rpc);
    } else if (is_stale(rpc)) {
        sp_conn_close(rpc->conn, false);
    } else {
        send_waiting(rpc);
    }
    return 0;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void on_finish(struct sp_deferred *deferred)
{
    sp_mem_free(SP_CONTAINER_OF(deferred, struct sp_rpc, finish));
}

int sp_rpc_new(struct sp_loop *loop, const char *address, struct sp_rpc **out_rpc)
{
    size_t size = strlen(address);

    if (size >= SP_ADDRESS_SIZE_MAX) {
        return SPATE_ERR_INVALID;
    }
    struct sp_rpc *rpc = sp_mem_calloc(1, sizeof *rpc);
    if (rpc == NULL) {
        return SPATE_ERR_NOMEM;
    }
    rpc->loop = loop;
    rpc->retry_ms = RETRY_MS_MIN;
    rpc->next_msgid = 1;
    memcpy(rpc->address, address, size + 1);
    sp_timer_init(&rpc->timer, loop, on_timer);
    sp_deferred_init(&rpc->finish, on_finish);
    sp_list_init(&rpc->waiting);
    sp_list_init(&rpc->sent);
    sp_list_init(&rpc->ending);
    *out_rpc = rpc;
    return 0;
}

bool sp_rpc_connected(const struct sp_rpc *rpc)
{
    return rpc->state == RPC_READY;
}

bool sp_rpc_idle(const struct sp_rpc *rpc)
{
    return sp_list_empty(&rpc->waiting) && sp_list_empty(&rpc->sent) && sp_list_empty(&rpc->ending);
}

uint64_t sp_rpc_silent_ms(const struct sp_rpc *rpc)
{
    return rpc->asked_ms == 0 ? 0 : sp_loop_now_ms(rpc->loop) - rpc->asked_ms;
}

const char *sp_rpc_address(const struct sp_rpc *rpc)
{
    return rpc->address;
}

void sp_rpc_close(struct sp_rpc *rpc)
{
    if (rpc->state == RPC_CLOSED) {
        return;
    }
    rpc->state = RPC_CLOSED;
    sp_timer_stop(&rpc->timer);
    if (rpc->stream != NULL) {
        drop_stream(rpc);
    }
    fail_all(rpc, &rpc->sent, SPATE_ERR_CANCELED);
    fail_all(rpc, &rpc->waiting, SPATE_ERR_CANCELED);
    if (rpc->conn != NULL) {
        sp_conn_close(rpc->conn, false);
    } else {
        sp_loop_defer(rpc->loop, &rpc->finish);
    }
}
