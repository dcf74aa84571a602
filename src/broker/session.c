#include "broker/session.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/methods.h"
#include "broker/taking.h"
#include "spate/error.h"

struct sp_session {
    struct sp_broker *broker;
    struct sp_conn *conn; /* NULL once the connection is gone */
    unsigned open_requests;
    size_t request_bytes;  /* of open requests */
    size_t reserved_bytes; /* for answers that are being read from disk */
    bool paused;
    bool outside;          /* came in at the second port */
    struct sp_share share; /* of all that this connection makes the node hold */
    struct sp_list held;   /* in the list of a full place that it sends to */
    struct sp_list waits;  /* struct sp_request_wait */
    struct sp_list rooms;  /* those of them that wait for room */
    bool refused;          /* the last reservation */
    struct sp_taking taking;
    size_t unsent_max; /* that the kernel may hold */
    struct sp_share_waiter waiter;
    struct sp_deferred pump; /* gives room to those who wait for it */
};

/* Answers of plain-record fetches and of metadata are built in one buffer. */
#define ANSWER_BYTES_MAX SP_MESSAGE_BYTES_MAX

static uint64_t now_us(const struct sp_session *session)
{
    return sp_loop_now_us(session->broker->options.loop);
}

static void release(struct sp_session *session)
{
    if (session->conn == NULL && session->open_requests == 0) {
        SP_ASSERT(session->share.used_bytes == 0);
        SP_ASSERT(sp_list_empty(&session->waits));
        sp_deferred_cancel(&session->pump);
        sp_mem_free(session);
    }
}

/* Reads on or pauses, by what is open and where it goes (D14). */
static void balance(struct sp_session *session)
{
    bool full = session->open_requests >= SP_REQUESTS_PER_CONNECTION_MAX ||
                session->request_bytes >= SP_REQUEST_BYTES_PER_CONNECTION_MAX ||
                !sp_list_empty(&session->held);

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

void sp_request_hold_session(struct sp_request *request, struct sp_list *held)
{
    struct sp_session *session = request->session;

    if (session->conn != NULL && sp_list_empty(&session->held)) {
        sp_list_append(held, &session->held);
        balance(session);
    }
}

void sp_session_release(struct sp_list *held, unsigned count)
{
    for (; count > 0 && !sp_list_empty(held); count--) {
        struct sp_session *session = SP_LIST_ENTRY(held->next, struct sp_session, held);

        sp_list_remove(&session->held);
        balance(session);
    }
}

/* ---- room for answers ------------------------------------------------------------------------ */

/* Lets the kernel keep as much for the peer as that one takes. */
static void bound_unsent(struct sp_session *session)
{
    size_t unsent_max = sp_taking_unsent_max(&session->taking);

    if (unsent_max != session->unsent_max) {
        session->unsent_max = unsent_max;
        sp_conn_bound_unsent(session->conn, unsent_max);
    }
}

size_t sp_request_answer_max(const struct sp_request *request)
{
    return request->session->taking.answer_bytes_max;
}

bool sp_request_on_trial(const struct sp_request *request)
{
    return !sp_taking_trusted(&request->session->taking);
}

bool sp_request_reserve(struct sp_request *request, size_t size)
{
    struct sp_session *session = request->session;
    size_t owed = session->reserved_bytes;

    SP_ASSERT(request->reserved_bytes == 0);
    if (session->conn != NULL) {
        owed += sp_conn_queued_bytes(session->conn);
    }
    bool ahead = owed > sp_taking_owed_max(&session->taking);
    if (session->conn != NULL) {
        sp_taking_asked(&session->taking,
                        ahead,
                        sp_conn_written_bytes(session->conn),
                        sp_loop_now_ms(session->broker->options.loop));
        bound_unsent(session);
    }
    session->refused = ahead || !sp_share_allows(&session->share, size);
    if (session->refused) {
        return false;
    }
    session->reserved_bytes += size;
    request->reserved_bytes = size;
    sp_share_take(&session->share, size);
    return true;
}

void sp_request_charge(struct sp_request *request, size_t size)
{
    struct sp_session *session = request->session;

    request->cost_bytes += size;
    session->request_bytes += size;
    sp_share_take(&session->share, size);
    balance(session);
}

/* There may be room again. */
static void wake(struct sp_session *session)
{
    if (!sp_list_empty(&session->rooms)) {
        sp_loop_defer(session->broker->options.loop, &session->pump);
    }
}

void sp_request_unreserve(struct sp_request *request)
{
    struct sp_session *session = request->session;

    SP_ASSERT(session->reserved_bytes >= request->reserved_bytes);
    session->reserved_bytes -= request->reserved_bytes;
    sp_share_give(&session->share, request->reserved_bytes);
    request->reserved_bytes = 0;
    wake(session);
}

/* Lets them try in order, until one finds no room: its wait has begun again then, and it stays the
 * first. Behind the others it might find no room each time, where every second try is too early. */
static void on_pump(struct sp_deferred *deferred)
{
    struct sp_session *session = SP_CONTAINER_OF(deferred, struct sp_session, pump);

    for (unsigned i = 0; i < SP_REQUESTS_PER_CONNECTION_MAX && !sp_list_empty(&session->rooms);
         i++) {
        struct sp_request_wait *wait =
            SP_LIST_ENTRY(session->rooms.next, struct sp_request_wait, room_node);

        session->refused = false;
        sp_request_end_wait(wait);
        wait->room(wait);
        if (session->refused) {
            struct sp_list *last = session->rooms.prev;

            if (last == &wait->room_node) { /* else it has failed, and may be gone */
                sp_list_remove(last);
                sp_list_append(session->rooms.next, last); /* before the first */
            }
            break;
        }
    }
}

static void on_share_again(struct sp_share_waiter *waiter)
{
    wake(SP_CONTAINER_OF(waiter, struct sp_session, waiter));
}

void sp_request_init_wait(struct sp_request_wait *wait,
                          void (*room)(struct sp_request_wait *wait),
                          void (*gone)(struct sp_request_wait *wait))
{
    sp_list_init(&wait->node);
    sp_list_init(&wait->room_node);
    wait->request = NULL;
    wait->room = room;
    wait->gone = gone;
}

void sp_request_begin_wait(struct sp_request *request, struct sp_request_wait *wait, bool for_room)
{
    struct sp_session *session = request->session;

    wait->request = request;
    sp_list_append(&session->waits, &wait->node);
    if (for_room) {
        sp_list_append(&session->rooms, &wait->room_node);
        sp_share_wait(&session->share, &session->waiter, false);
    }
}

void sp_request_watch(struct sp_request *request, struct sp_request_wait *wait)
{
    sp_list_append(&request->session->waits, &wait->node);
}

void sp_request_end_wait(struct sp_request_wait *wait)
{
    if (wait->request != NULL) {
        wait->request->begun_us = now_us(wait->request->session);
        wait->request = NULL;
    }
    sp_list_remove(&wait->node);
    sp_list_remove(&wait->room_node);
}

/* ---- answers --------------------------------------------------------------------------------- */

static void done(struct sp_request *request)
{
    struct sp_session *session = request->session;

    sp_request_unreserve(request);
    SP_ASSERT(session->open_requests > 0);
    SP_ASSERT(session->request_bytes >= request->cost_bytes);
    session->open_requests -= 1;
    session->request_bytes -= request->cost_bytes;
    sp_share_give(&session->share, request->cost_bytes);
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
    struct sp_broker_counters *counters = &request->session->broker->counters;
    int rv = 0;

    if (conn != NULL) {
        sp_histogram_note(&counters->requests[request->method],
                          now_us(request->session) - request->begun_us);
    }
    if (conn != NULL && !request->silent) {
        counters->sent_bytes += buf->size;
        for (unsigned i = 0; i < tail_count; i++) {
            counters->sent_bytes += tail[i].size;
        }
        rv = sp_conn_send_copy(conn, buf->bytes, buf->size);
        if (rv == 0 && tail_count > 0) {
            rv = sp_conn_send(conn, tail, tail_count);
        }
        sp_taking_queued(&request->session->taking,
                         sp_loop_now_ms(request->session->broker->options.loop));
        if (rv != 0) {
            sp_conn_close(conn, false); /* half an answer must not stay: the peer tries again */
        }
    }
    done(request);
}

bool sp_request_is_outside(const struct sp_request *request)
{
    return request->session->outside;
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

/* `buf` is freed. */
static void
send_error(struct sp_request *request, int code, struct sp_buf *buf, struct sp_pack *pack)
{
    if (code < 0 && code >= -SP_BROKER_CODES && request->session->conn != NULL) {
        request->session->broker->counters.errors[-code] += 1;
    }
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
    send_error(request, code, &buf, &pack);
}

void sp_request_not_leader(struct sp_request *request,
                           uint32_t leader_node,
                           const char *leader_address,
                           const char *text)
{
    bool named = leader_node != 0 && leader_address[0] != '\0';
    struct sp_buf buf;
    struct sp_pack pack;

    sp_buf_init(&buf, ANSWER_BYTES_MAX);
    sp_pack_init(&pack, &buf);
    sp_message_response_not_leader(
        &pack, request->msgid, leader_node == 0 ? -1 : (int32_t)leader_node, leader_address, text);
    send_error(request, named ? SPATE_ERR_NOT_LEADER : SPATE_ERR_LEADER_UNKNOWN, &buf, &pack);
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
    request.cost_bytes = size + SP_REQUEST_OVERHEAD_BYTES;
    request.begun_us = now_us(session);
    session->broker->counters.received_bytes += size;
    session->open_requests += 1;
    session->request_bytes += request.cost_bytes;
    sp_share_take(&session->share, request.cost_bytes);
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
    sp_list_remove(&session->held);
    sp_share_wait_cancel(&session->waiter);
    session->open_requests += 1; /* it must not go while its requests end */
    while (!sp_list_empty(&session->waits)) {
        struct sp_request_wait *wait =
            SP_LIST_ENTRY(session->waits.next, struct sp_request_wait, node);

        sp_request_end_wait(wait);
        wait->gone(wait);
    }
    session->open_requests -= 1;
    release(session);
}

static void on_drained(void *arg, struct sp_conn *conn)
{
    struct sp_session *session = arg;

    if (session->conn != NULL && sp_conn_queued_bytes(conn) == 0) {
        sp_taking_drained(&session->taking,
                          sp_conn_written_bytes(conn),
                          sp_loop_now_ms(session->broker->options.loop));
        bound_unsent(session);
    }
    wake(session);
}

static const struct sp_conn_handler conn_handler = { on_message, on_closed, on_drained };

static int
on_accept(void *arg, const char *peer, const struct sp_conn_handler **out_handler, void **out_arg)
{
    struct sp_session *session = sp_mem_calloc(1, sizeof *session);

    (void)peer; /* every address may connect */
    if (session == NULL) {
        return SPATE_ERR_NOMEM;
    }
    session->broker = arg;
    session->share.budget = &session->broker->budget;
    sp_taking_init(&session->taking);
    sp_list_init(&session->held);
    sp_list_init(&session->waits);
    sp_list_init(&session->rooms);
    sp_share_waiter_init(&session->waiter, on_share_again);
    sp_deferred_init(&session->pump, on_pump);
    *out_handler = &conn_handler;
    *out_arg = session;
    return 0;
}

static void on_opened(void *arg, void *conn_arg, struct sp_conn *conn)
{
    struct sp_session *session = conn_arg;

    (void)arg; /* the session knows its broker */
    session->conn = conn;
    bound_unsent(session);
    sp_conn_set_share(conn, &session->share);
}

static int on_accept_outside(void *arg,
                             const char *peer,
                             const struct sp_conn_handler **out_handler,
                             void **out_arg)
{
    int rv = on_accept(arg, peer, out_handler, out_arg);

    if (rv == 0) {
        struct sp_session *session = *out_arg;
        session->outside = true;
    }
    return rv;
}

const struct sp_server_handler sp_session_server_handler = { on_accept, on_opened };
const struct sp_server_handler sp_session_outside_handler = { on_accept_outside, on_opened };
