/* Accepted connections between nodes: greeting, refusing, and handing messages on. */
#include "cluster/inbound.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/trace.h"
#include "net/server.h"
#include "spate/error.h"

enum {
    GREETING_MS_MAX = 1000,
    GUEST_MS_MAX = 8000, /* while it is let in: the controller may have to elect a leader first */
    GUESTS_MAX = 8,
    CONNECTIONS_MAX = 4 * SP_NODES_MAX, /* each node's, one that replaces it, and probes */
    TRACES_PER_SECOND_MAX = 5,
};

struct sp_node_port {
    struct sp_loop *loop;
    struct sp_server *server;
    const struct sp_node_port_handler *handler;
    void *arg;
    struct sp_trace_limit refused_limit;
    struct sp_refusals refusals;
    struct sp_inbound *guests[GUESTS_MAX];
    uint64_t guest_next;
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

struct sp_inbound {
    struct sp_node_port *port;
    struct sp_conn *conn;
    bool greeted;
    uint64_t guest; /* its number; 0: it is none */
    struct sp_peer_hello hello;
    struct sp_timer timer; /* until it has greeted */
};

static void refuse(struct sp_inbound *inbound, const char *text)
{
    struct sp_node_port *port = inbound->port;
    uint64_t now_ms = sp_loop_now_ms(port->loop);
    struct sp_peer_hello self;
    uint64_t dropped = 0;

    if (sp_refusal_is_due(&port->refusals, text, strlen(text), now_ms) &&
        sp_trace_allowed(&port->refused_limit, now_ms, TRACES_PER_SECOND_MAX, &dropped)) {
        SP_TRACE_WARN("node_port",
                      "node refused",
                      "peer=%s why=\"%s\" dropped_traces=%llu",
                      sp_conn_peer(inbound->conn),
                      text,
                      (unsigned long long)dropped);
    }
    port->handler->greeting(port->arg, &self);
    sp_peer_refuse(inbound->conn, text, &self);
}

static void on_hello(struct sp_inbound *inbound, const struct sp_peer_hello *hello)
{
    struct sp_peer_message answer = { .kind = SP_PEER_HELLO };
    struct sp_node_port *port = inbound->port;
    char text[SP_REFUSAL_SIZE] = "";

    if (inbound->greeted && hello->node_id != inbound->hello.node_id) {
        (void)snprintf(text,
                       sizeof text,
                       "this connection is node %u's, it cannot become node %u's",
                       inbound->hello.node_id,
                       hello->node_id);
        refuse(inbound, text); /* `ended` must find the node that `hello` told of */
        return;
    }
    inbound->hello = *hello;
    if (port->handler->hello(port->arg, inbound, hello, text) != 0) {
        refuse(inbound, text);
        return;
    }
    inbound->greeted = true;
    sp_timer_stop(&inbound->timer);
    port->handler->greeting(port->arg, &answer.u.hello);
    if (sp_peer_send(inbound->conn, &answer, NULL, 0) == SPATE_ERR_NOMEM) {
        sp_conn_close(inbound->conn, false); /* the other side waits for it, and will come again */
    }
}

/* ---- guests ---------------------------------------------------------------------------------- */

static void on_join(struct sp_inbound *inbound, const struct sp_slice *body)
{
    struct sp_node_port *port = inbound->port;
    unsigned slot = 0;

    while (slot < GUESTS_MAX && port->guests[slot] != NULL) {
        slot += 1;
    }
    if (inbound->greeted || inbound->guest != 0 || slot == GUESTS_MAX) {
        refuse(inbound, slot == GUESTS_MAX ? "others are being let in" : "JOIN must come first");
        return;
    }
    port->guest_next += 1;
    inbound->guest = port->guest_next;
    port->guests[slot] = inbound;
    /* The timer has had its place in the loop. */
    (void)sp_timer_start(&inbound->timer, sp_loop_now_ms(port->loop) + GUEST_MS_MAX);
    port->handler->join(port->arg, inbound->guest, body);
}

static void forget_guest(struct sp_inbound *inbound)
{
    for (unsigned i = 0; i < GUESTS_MAX; i++) {
        if (inbound->port->guests[i] == inbound) {
            inbound->port->guests[i] = NULL;
        }
    }
}

void sp_node_port_answer(struct sp_node_port *port, uint64_t guest, const struct sp_slice *body)
{
    struct sp_peer_message message = { .kind = SP_PEER_JOINED };

    for (unsigned i = 0; i < GUESTS_MAX; i++) {
        struct sp_inbound *inbound = port->guests[i];
        if (inbound == NULL || inbound->guest != guest) {
            continue;
        }
        port->guests[i] = NULL;
        (void)sp_peer_send(inbound->conn, &message, body, 1); /* lost: it asks again */
        sp_conn_close(inbound->conn, true);
        return;
    }
}

static void refuse_undecoded(struct sp_inbound *inbound, int status, const uint8_t *bytes)
{
    char text[SP_REFUSAL_SIZE];

    if (status == SPATE_ERR_UNSUPPORTED) {
        (void)snprintf(text,
                       sizeof text,
                       "version %u of the node protocol is not spoken here, only %u: upgrade",
                       (unsigned)bytes[8],
                       (unsigned)SP_PEER_VERSION);
        refuse(inbound, text);
    } else {
        refuse(inbound, "malformed message");
    }
}

static void
on_message(void *arg, struct sp_conn *conn, struct sp_blob *blob, size_t position, size_t size)
{
    struct sp_inbound *inbound = arg;
    struct sp_node_port *port = inbound->port;
    struct sp_peer_message message;
    char text[SP_REFUSAL_SIZE] = "";
    int rv = sp_peer_message_decode(blob, position, size, &message);

    if (rv != 0) {
        refuse_undecoded(inbound, rv, blob->bytes + position);
    } else if (message.kind == SP_PEER_HELLO) {
        on_hello(inbound, &message.u.hello);
    } else if (message.kind == SP_PEER_JOIN) {
        on_join(inbound, &message.body);
    } else if (message.kind == SP_PEER_REFUSED || message.kind == SP_PEER_JOINED) {
        sp_conn_close(conn, false);
    } else if (!inbound->greeted) {
        refuse(inbound, "HELLO must come first");
    } else if (port->handler->message(port->arg, inbound, &message, text) != 0) {
        refuse(inbound, text);
    }
}

static void on_closed(void *arg, struct sp_conn *conn, int status)
{
    struct sp_inbound *inbound = arg;
    struct sp_node_port *port = inbound->port;

    (void)conn;
    (void)status; /* the server has traced it if it was not an ordinary end */
    sp_timer_stop(&inbound->timer);
    forget_guest(inbound);
    if (inbound->greeted && !port->closing) {
        port->handler->ended(port->arg, inbound);
    }
    sp_mem_free(inbound);
}

static const struct sp_conn_handler inbound_handler = {
    .message = on_message,
    .closed = on_closed,
};

static void on_timer(struct sp_timer *timer)
{
    sp_conn_close(SP_CONTAINER_OF(timer, struct sp_inbound, timer)->conn, false);
}

static int
on_accept(void *arg, const char *peer, const struct sp_conn_handler **out_handler, void **out_arg)
{
    struct sp_node_port *port = arg;
    struct sp_inbound *inbound = sp_mem_calloc(1, sizeof *inbound);

    (void)peer;
    if (inbound == NULL) {
        return SPATE_ERR_NOMEM;
    }
    inbound->port = port;
    sp_timer_init(&inbound->timer, port->loop, on_timer);
    if (sp_timer_start(&inbound->timer, sp_loop_now_ms(port->loop) + GREETING_MS_MAX) != 0) {
        sp_mem_free(inbound);
        return SPATE_ERR_NOMEM;
    }
    *out_handler = &inbound_handler;
    *out_arg = inbound;
    return 0;
}

static void on_opened(void *arg, void *conn_arg, struct sp_conn *conn)
{
    struct sp_inbound *inbound = conn_arg;

    (void)arg;
    inbound->conn = conn;
    sp_conn_bound_kernel(conn, SP_LINK_KERNEL_BYTES);
}

static const struct sp_server_handler server_handler = {
    .accept = on_accept,
    .opened = on_opened,
};

int sp_node_port_open(struct sp_loop *loop,
                      const char *address,
                      const struct sp_node_port_handler *handler,
                      void *arg,
                      struct sp_node_port **out_port)
{
    struct sp_node_port *port = sp_mem_calloc(1, sizeof *port);

    if (port == NULL) {
        return SPATE_ERR_NOMEM;
    }
    port->loop = loop;
    port->handler = handler;
    port->arg = arg;
    int rv = sp_server_new(loop,
                           address,
                           &sp_conn_node_messages,
                           CONNECTIONS_MAX,
                           &server_handler,
                           port,
                           &port->server);
    if (rv != 0) {
        sp_mem_free(port);
        return rv;
    }
    *out_port = port;
    return 0;
}

uint16_t sp_node_port_number(const struct sp_node_port *port)
{
    return sp_server_port(port->server);
}

static void on_server_closed(void *arg)
{
    struct sp_node_port *port = arg;
    void (*closed)(void *arg) = port->closed;
    void *closed_arg = port->closed_arg;

    sp_mem_free(port);
    if (closed != NULL) {
        closed(closed_arg);
    }
}

void sp_node_port_close(struct sp_node_port *port, void (*closed)(void *arg), void *arg)
{
    port->closing = true;
    port->closed = closed;
    port->closed_arg = arg;
    sp_server_close(port->server, on_server_closed, port);
}

const struct sp_peer_hello *sp_inbound_hello(const struct sp_inbound *inbound)
{
    return &inbound->hello;
}

void sp_inbound_drop(struct sp_inbound *inbound)
{
    sp_conn_close(inbound->conn, false);
}
