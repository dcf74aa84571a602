/* Accepts connections within a bound, keeps them in a list, and closes them together. */
#include "net/server.h"

#include <stdbool.h>

#include "base/limits.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/trace.h"
#include "spate/error.h"

enum {
    TRACES_PER_SECOND_MAX = 5, /* peers trigger them */
    LOOKS_APART_MS = 3000,     /* looks further apart do not belong together */
};

struct sp_server {
    struct sp_loop *loop;
    struct sp_listener *listener;
    const struct sp_conn_protocol *protocol;
    const struct sp_server_handler *handler;
    void *arg;
    uint32_t connections_max;
    uint32_t connection_count;
    uint64_t accepted;
    uint64_t refused;
    const struct sp_server *other; /* whose connections count too; NULL: none */
    struct sp_list entries;
    struct sp_trace_limit refused_limit;
    struct sp_trace_limit closed_limit;
    bool closing;
    struct sp_deferred finish;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* One connection; stands between it and its user to count it. */
struct entry {
    struct sp_list node;
    struct sp_server *server;
    struct sp_conn *conn;
    const struct sp_conn_handler *handler; /* NULL: nobody wanted it */
    void *arg;
    uint64_t looked_ms;     /* when it was last looked at; 0: never */
    uint64_t moving_ms;     /* when its peer was last seen to have taken something */
    uint64_t written_bytes; /* then */
};

/* ---- connections ----------------------------------------------------------------------------- */

static void
on_message(void *arg, struct sp_conn *conn, struct sp_blob *blob, size_t position, size_t size)
{
    struct entry *entry = arg;

    entry->handler->message(entry->arg, conn, blob, position, size);
}

/* Ends that say something about the peer; the others are daily life. */
static bool worth_a_trace(int status)
{
    return status != SPATE_ERR_CLOSED && status != SPATE_ERR_CANCELED;
}

static void trace_end(struct sp_server *server, const struct sp_conn *conn, int status)
{
    uint64_t dropped = 0;

    if (worth_a_trace(status) &&
        sp_trace_allowed(
            &server->closed_limit, sp_loop_now_ms(server->loop), TRACES_PER_SECOND_MAX, &dropped)) {
        SP_TRACE_WARN("net",
                      "connection closed",
                      "peer=%s reason=%s dropped_traces=%llu",
                      sp_conn_peer(conn),
                      spate_error_name(status),
                      (unsigned long long)dropped);
    }
}

static void on_closed(void *arg, struct sp_conn *conn, int status)
{
    struct entry *entry = arg;
    struct sp_server *server = entry->server;

    trace_end(server, conn, status);
    sp_list_remove(&entry->node);
    server->connection_count -= 1;
    if (entry->handler != NULL) {
        entry->handler->closed(entry->arg, conn, status);
    }
    sp_mem_free(entry);
    if (server->closing && server->connection_count == 0) {
        sp_loop_defer(server->loop, &server->finish);
    }
}

static void on_drained(void *arg, struct sp_conn *conn)
{
    struct entry *entry = arg;

    if (entry->handler != NULL && entry->handler->drained != NULL) {
        entry->handler->drained(entry->arg, conn);
    }
}

static const struct sp_conn_handler entry_handler = {
    .message = on_message,
    .closed = on_closed,
    .drained = on_drained,
};

/* ---- peers that take nothing ----------------------------------------------------------------- */

static bool has_stalled(struct entry *entry, uint64_t now_ms, uint32_t stalled_ms)
{
    uint64_t written = sp_conn_written_bytes(entry->conn);
    bool watched = entry->looked_ms != 0 && now_ms - entry->looked_ms <= LOOKS_APART_MS;

    entry->looked_ms = now_ms;
    if (!watched || written != entry->written_bytes || sp_conn_queued_bytes(entry->conn) == 0) {
        entry->written_bytes = written;
        entry->moving_ms = now_ms;
    }
    return now_ms - entry->moving_ms >= stalled_ms;
}

void sp_server_close_stalled(struct sp_server *server, uint32_t stalled_ms)
{
    uint64_t now_ms = sp_loop_now_ms(server->loop);

    SP_LIST_EACH (node, &server->entries) {
        struct entry *entry = SP_LIST_ENTRY(node, struct entry, node);
        bool stalled = has_stalled(entry, now_ms, stalled_ms);
        uint64_t dropped = 0;

        if (!stalled && !sp_conn_withholds(entry->conn, SP_WITHHELD_MS)) {
            continue;
        }
        if (sp_trace_allowed(&server->closed_limit, now_ms, TRACES_PER_SECOND_MAX, &dropped)) {
            SP_TRACE_WARN("net",
                          "connection closed: others need the memory",
                          "peer=%s why=%s queued_bytes=%zu dropped_traces=%llu",
                          sp_conn_peer(entry->conn),
                          stalled ? "takes_no_answers" : "sends_half_a_message",
                          sp_conn_queued_bytes(entry->conn),
                          (unsigned long long)dropped);
        }
        sp_conn_close(entry->conn, false); /* its end comes later: the list stays */
    }
}

/* ---- accepting ------------------------------------------------------------------------------- */

static void refuse(struct sp_server *server, struct sp_stream *stream, const char *why)
{
    uint64_t dropped = 0;

    server->refused += 1;
    if (sp_trace_allowed(&server->refused_limit,
                         sp_loop_now_ms(server->loop),
                         TRACES_PER_SECOND_MAX,
                         &dropped)) {
        SP_TRACE_WARN("net",
                      "connection refused",
                      "peer=%s why=\"%s\" connections=%u dropped_traces=%llu",
                      sp_stream_peer(stream),
                      why,
                      server->connection_count,
                      (unsigned long long)dropped);
    }
    sp_stream_close(stream, NULL, NULL);
}

static bool is_full(const struct sp_server *server)
{
    uint32_t others = server->other == NULL ? 0 : server->other->connection_count;

    return server->connection_count + others >= server->connections_max;
}

static void on_accept(void *arg, struct sp_stream *stream)
{
    struct sp_server *server = arg;

    if (server->closing) {
        sp_stream_close(stream, NULL, NULL);
        return;
    }
    if (is_full(server)) {
        refuse(server, stream, "as many connections as allowed");
        return;
    }
    struct entry *entry = sp_mem_calloc(1, sizeof *entry);
    if (entry == NULL) {
        refuse(server, stream, "out of memory");
        return;
    }
    entry->server = server;
    if (sp_conn_new(server->loop, stream, server->protocol, &entry_handler, entry, &entry->conn) !=
        0) {
        sp_mem_free(entry);
        return;
    }
    sp_list_append(&server->entries, &entry->node);
    server->connection_count += 1;
    server->accepted += 1;
    if (server->handler->accept(
            server->arg, sp_conn_peer(entry->conn), &entry->handler, &entry->arg) != 0) {
        entry->handler = NULL;
        sp_conn_close(entry->conn, false);
        return;
    }
    server->handler->opened(server->arg, entry->arg, entry->conn);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void on_finish(struct sp_deferred *deferred)
{
    struct sp_server *server = SP_CONTAINER_OF(deferred, struct sp_server, finish);
    void (*closed)(void *arg) = server->closed;
    void *closed_arg = server->closed_arg;

    sp_mem_free(server);
    if (closed != NULL) {
        closed(closed_arg);
    }
}

int sp_server_new(struct sp_loop *loop,
                  const char *address,
                  const struct sp_conn_protocol *protocol,
                  uint32_t connections_max,
                  const struct sp_server_handler *handler,
                  void *arg,
                  struct sp_server **out_server)
{
    struct sp_server *server = sp_mem_calloc(1, sizeof *server);

    if (server == NULL) {
        return SPATE_ERR_NOMEM;
    }
    server->loop = loop;
    server->protocol = protocol;
    server->handler = handler;
    server->arg = arg;
    server->connections_max = connections_max;
    sp_list_init(&server->entries);
    sp_deferred_init(&server->finish, on_finish);
    int rv = sp_listener_open(loop, address, on_accept, server, &server->listener);
    if (rv != 0) {
        sp_mem_free(server);
        return rv;
    }
    *out_server = server;
    return 0;
}

uint16_t sp_server_port(const struct sp_server *server)
{
    return sp_listener_port(server->listener);
}

uint32_t sp_server_connection_count(const struct sp_server *server)
{
    return server->connection_count;
}

void sp_server_count(const struct sp_server *server, struct sp_server_counts *out_counts)
{
    *out_counts = (struct sp_server_counts){ .open = server->connection_count,
                                             .open_max = server->connections_max,
                                             .accepted = server->accepted,
                                             .refused = server->refused };
}

void sp_server_count_with(struct sp_server *server, const struct sp_server *other)
{
    server->other = other;
}

void sp_server_close(struct sp_server *server, void (*closed)(void *arg), void *arg)
{
    if (server->closing) {
        return;
    }
    server->closing = true;
    server->closed = closed;
    server->closed_arg = arg;
    sp_listener_close(server->listener);
    SP_LIST_EACH (node, &server->entries) {
        /* Its end comes later, so the list does not change here. */
        sp_conn_close(SP_LIST_ENTRY(node, struct entry, node)->conn, true);
    }
    if (server->connection_count == 0) {
        sp_loop_defer(server->loop, &server->finish);
    }
}
