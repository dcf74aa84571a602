/* Streams and connections that the test answers for by hand. Included once, by one test of what
 * connects to other nodes; a fake loop drives it. */
#ifndef SP_UNIT_FAKE_STREAMS_H
#define SP_UNIT_FAKE_STREAMS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "fake_loop.h"
#include "net/conn.h"
#include "spate/error.h"
#include "wire/peer_api.h"

#define FAKE_STREAMS_MAX 200

/* An attempt to connect. */
struct sp_stream {
    char address[64];
    uint64_t begun_ms;
    sp_connect_cb cb;
    void *arg;
    bool closed;
};

struct sp_conn {
    const struct sp_conn_handler *handler;
    void *arg;
    struct sp_deferred ending;
    bool closed;
    unsigned sent; /* messages */
};

static struct {
    struct sp_stream streams[FAKE_STREAMS_MAX];
    unsigned stream_count;
    struct sp_conn conns[FAKE_STREAMS_MAX];
    unsigned conn_count;
} fake_net;

const struct sp_conn_protocol sp_conn_node_messages = { 0, NULL, NULL, NULL };

int sp_stream_connect(struct sp_loop *loop,
                      const char *address,
                      sp_connect_cb cb,
                      void *arg,
                      struct sp_stream **out_stream)
{
    struct sp_stream *stream = &fake_net.streams[fake_net.stream_count];

    (void)loop;
    SP_ASSERT(fake_net.stream_count < FAKE_STREAMS_MAX);
    fake_net.stream_count += 1;
    *stream = (struct sp_stream){ .begun_ms = fake_loop.now_ms, .cb = cb, .arg = arg };
    (void)snprintf(stream->address, sizeof stream->address, "%s", address);
    *out_stream = stream;
    return 0;
}

void sp_stream_close(struct sp_stream *stream, void (*closed)(void *arg), void *arg)
{
    (void)closed;
    (void)arg;
    stream->closed = true;
}

static void fake_conn_ended(struct sp_deferred *deferred)
{
    struct sp_conn *conn = SP_CONTAINER_OF(deferred, struct sp_conn, ending);

    conn->handler->closed(conn->arg, conn, SPATE_ERR_CANCELED);
}

int sp_conn_new(struct sp_loop *loop,
                struct sp_stream *stream,
                const struct sp_conn_protocol *protocol,
                const struct sp_conn_handler *handler,
                void *arg,
                struct sp_conn **out_conn)
{
    struct sp_conn *conn = &fake_net.conns[fake_net.conn_count];

    (void)loop;
    SP_ASSERT(protocol == &sp_conn_node_messages);
    fake_net.conn_count += 1;
    stream->closed = true;
    *conn = (struct sp_conn){ .handler = handler, .arg = arg };
    sp_deferred_init(&conn->ending, fake_conn_ended);
    *out_conn = conn;
    return 0;
}

/* By either side. */
void sp_conn_close(struct sp_conn *conn, bool flush)
{
    (void)flush;
    if (!conn->closed) {
        conn->closed = true;
        sp_loop_defer(NULL, &conn->ending);
    }
}

int sp_conn_send(struct sp_conn *conn, const struct sp_slice *pieces, unsigned piece_count)
{
    (void)pieces;
    (void)piece_count;
    conn->sent += 1;
    return conn->closed ? SPATE_ERR_CLOSED : 0;
}

size_t sp_conn_queued_bytes(const struct sp_conn *conn)
{
    (void)conn;
    return 0;
}

uint64_t sp_conn_written_bytes(const struct sp_conn *conn)
{
    (void)conn;
    return 0;
}

void sp_conn_bound_kernel(struct sp_conn *conn, size_t size_bytes)
{
    (void)conn;
    (void)size_bytes;
}

/* The attempt that was made last. */
SP_UNUSED static struct sp_stream *fake_last_stream(void)
{
    SP_ASSERT(fake_net.stream_count > 0);
    return &fake_net.streams[fake_net.stream_count - 1];
}

/* The attempt ends, unless it was given up. */
SP_UNUSED static void fake_answer(struct sp_stream *stream, int status)
{
    if (!stream->closed) {
        stream->cb(stream->arg, stream, status);
        fake_turn();
    }
}

/* The connection that comes of it. */
SP_UNUSED static struct sp_conn *fake_accept(struct sp_stream *stream)
{
    unsigned count = fake_net.conn_count;

    fake_answer(stream, 0);
    SP_ASSERT(fake_net.conn_count == count + 1);
    return &fake_net.conns[count];
}

/* The other side says something. */
SP_UNUSED static void
fake_hear(struct sp_conn *conn, const struct sp_peer_message *message, const char *body)
{
    struct sp_peer_message sealed = *message;
    uint8_t bytes[1024];

    sealed.body_crc = sp_crc32c(0, body, strlen(body));
    size_t size = sp_peer_head_encode(&sealed, strlen(body), bytes);
    memcpy(bytes + size, body, strlen(body));
    struct sp_blob *blob = sp_blob_copy(bytes, size + strlen(body));
    SP_ASSERT(blob != NULL && !conn->closed);
    conn->handler->message(conn->arg, conn, blob, 0, blob->size);
    sp_blob_unref(blob);
    fake_turn();
}

#endif /* SP_UNIT_FAKE_STREAMS_H */
