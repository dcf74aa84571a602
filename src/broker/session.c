#include "broker/session.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/methods.h"
#include "spate/error.h"

struct sp_session {
    struct sp_broker *broker;
    struct sp_conn *conn; /* NULL once the connection is gone */
    unsigned open_requests;
    size_t reserved_bytes; /* for answers that are being read from disk */
    bool paused;
};

/* Answers of plain-record fetches and of metadata are built in one buffer. */
#define ANSWER_BYTES_MAX SP_MESSAGE_BYTES_MAX

static void release(struct sp_session *session)
{
    if (session->conn == NULL && session->open_requests == 0) {
        sp_mem_free(session);
    }
}

/* Reads on or pauses, by what is open and what waits to be sent (D14). */
static void balance(struct sp_session *session)
{
    bool full = session->open_requests >= SP_REQUESTS_PER_CONNECTION_MAX;

    if (session->conn == NULL || full == session->paused) {
        return;
    }
    session->paused = full;
    if (full) {
        sp_conn_pause(session->conn);
    } else {
        sp_conn_resume(session->conn);
    }
}

bool sp_request_reserve(struct sp_request *request, size_t size)
{
    struct sp_session *session = request->session;
    size_t owed = session->reserved_bytes;

    SP_ASSERT(request->reserved_bytes == 0);
    if (session->conn != NULL) {
        owed += sp_conn_queued_bytes(session->conn);
    }
    if (owed > 0 && owed + size > SP_WRITE_QUEUE_BYTES_MAX) {
        return false;
    }
    session->reserved_bytes += size;
    request->reserved_bytes = size;
    return true;
}

void sp_request_unreserve(struct sp_request *request)
{
    SP_ASSERT(request->session->reserved_bytes >= request->reserved_bytes);
    request->session->reserved_bytes -= request->reserved_bytes;
    request->reserved_bytes = 0;
}

static void done(struct sp_request *request)
{
    struct sp_session *session = request->session;

    sp_request_unreserve(request);
    SP_ASSERT(session->open_requests > 0);
    session->open_requests -= 1;
    balance(session);
    release(session);
}

/* Sends `buf` and `tail` unless nobody waits; the request is over then. */
static void send_answer(struct sp_request *request,
                        const struct sp_buf *buf,
                        const struct sp_slice *tail,
                        unsigned tail_count)
{
    struct sp_conn *conn = request->session->conn;
    int rv = 0;

    if (conn != NULL && !request->silent) {
        rv = sp_conn_send_copy(conn, buf->bytes, buf->size);
        if (rv == 0 && tail_count > 0) {
            rv = sp_conn_send(conn, tail, tail_count);
        }
        if (rv != 0) {
            sp_conn_close(conn, false); /* half an answer must not stay: the peer tries again */
        }
    }
    done(request);
}

bool sp_request_alive(const struct sp_request *request)
{
    return request->session->conn != NULL;
}

void sp_request_begin(struct sp_request *request, struct sp_buf *buf, struct sp_pack *pack)
{
    sp_buf_init(buf, ANSWER_BYTES_MAX);
    sp_pack_init(pack, buf);
    sp_message_response_ok(pack, request->msgid);
}

void sp_request_finish(struct sp_request *request,
                       struct sp_buf *buf,
                       struct sp_pack *pack,
                       const struct sp_slice *tail,
                       unsigned tail_count)
{
    int rv = sp_pack_status(pack);

    if (rv != 0) {
        sp_buf_deinit(buf);
        sp_request_fail(request, rv, "the answer could not be built");
        return;
    }
    send_answer(request, buf, tail, tail_count);
    sp_buf_deinit(buf);
}

static void send_error(struct sp_request *request, struct sp_buf *buf, struct sp_pack *pack)
{
    if (sp_pack_status(pack) != 0 && request->session->conn != NULL) {
        sp_conn_close(request->session->conn, false); /* out of memory: the peer tries again */
    }
    send_answer(request, buf, NULL, 0);
    sp_buf_deinit(buf);
}

void sp_request_fail(struct sp_request *request, int code, const char *text)
{
    struct sp_buf buf;
    struct sp_pack pack;

    sp_buf_init(&buf, ANSWER_BYTES_MAX);
    sp_pack_init(&pack, &buf);
    sp_message_response_error(&pack, request->msgid, code, text);
    send_error(request, &buf, &pack);
}

void sp_request_not_leader(struct sp_request *request,
                           uint32_t leader_node,
                           const char *leader_address,
                           const char *text)
{
    struct sp_buf buf;
    struct sp_pack pack;

    sp_buf_init(&buf, ANSWER_BYTES_MAX);
    sp_pack_init(&pack, &buf);
    sp_message_response_not_leader(
        &pack, request->msgid, leader_node == 0 ? -1 : (int32_t)leader_node, leader_address, text);
    send_error(request, &buf, &pack);
}

void sp_request_ok(struct sp_request *request)
{
    struct sp_buf buf;
    struct sp_pack pack;

    sp_request_begin(request, &buf, &pack);
    sp_pack_map(&pack, 0);
    sp_request_finish(request, &buf, &pack, NULL, 0);
}

/* ---- connection ------------------------------------------------------------------------------ */

static void refuse(struct sp_session *session, struct sp_conn *conn, const char *reason)
{
    struct sp_broker *broker = session->broker;

    if (sp_trace_allowed(&broker->trace_limit, sp_loop_now_ms(broker->options.loop), 10, NULL)) {
        SP_TRACE_WARN(
            "broker", "connection closed", "peer=%s reason=\"%s\"", sp_conn_peer(conn), reason);
    }
    sp_conn_close(conn, true);
}

static void
on_message(void *arg, struct sp_conn *conn, struct sp_blob *blob, size_t position, size_t size)
{
    struct sp_session *session = arg;
    struct sp_message message;
    struct sp_request request = { .session = session };

    if (sp_message_decode(blob->bytes + position, size, &message) != 0) {
        refuse(session, conn, "not a MessagePack-RPC message");
        return;
    }
    if (message.type == SP_MESSAGE_RESPONSE) {
        refuse(session, conn, "a response, but nothing was asked");
        return;
    }
    request.msgid = message.msgid;
    request.silent = message.type == SP_MESSAGE_NOTIFICATION;
    session->open_requests += 1;
    balance(session);
    sp_broker_dispatch(session->broker, request, &message);
}

static void on_closed(void *arg, struct sp_conn *conn, int status)
{
    struct sp_session *session = arg;

    if (status != SPATE_ERR_CLOSED && status != SPATE_ERR_CANCELED &&
        sp_trace_allowed(&session->broker->trace_limit,
                         sp_loop_now_ms(session->broker->options.loop),
                         10,
                         NULL)) {
        SP_TRACE_WARN("broker",
                      "connection closed",
                      "peer=%s reason=%s",
                      sp_conn_peer(conn),
                      spate_error_name(status));
    }
    session->conn = NULL;
    release(session);
}

static const struct sp_conn_handler conn_handler = { on_message, on_closed };

static int
on_accept(void *arg, const char *peer, const struct sp_conn_handler **out_handler, void **out_arg)
{
    struct sp_session *session = sp_mem_calloc(1, sizeof *session);

    (void)peer; /* every address may connect */
    if (session == NULL) {
        return SPATE_ERR_NOMEM;
    }
    session->broker = arg;
    *out_handler = &conn_handler;
    *out_arg = session;
    return 0;
}

static void on_opened(void *arg, void *conn_arg, struct sp_conn *conn)
{
    struct sp_session *session = conn_arg;

    (void)arg; /* the session knows its broker */
    session->conn = conn;
}

const struct sp_server_handler sp_session_server_handler = { on_accept, on_opened };
