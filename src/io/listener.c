/* Listening sockets: accepts what waits, and pauses when the process is out of descriptors. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "io/address.h"
#include "io/socket.h"
#include "io/standard.h"
#include "io/stream_body.h"
#include "spate/error.h"

enum {
    ACCEPTS_PER_TURN = 64, /* then the connections that exist get their turn */
    PAUSE_MS = 100,        /* without descriptors: a socket that stays ready would spin the loop */
};

struct sp_listener {
    struct sp_loop *loop;
    int fd;
    uint16_t port;
    uv_poll_t poll;
    struct sp_timer pause;
    sp_accept_cb cb;
    void *arg;
    bool closing;
    struct sp_trace_limit pause_limit;
};

static void on_ready(uv_poll_t *poll, int status, int events);

static void listen_on(struct sp_listener *listener)
{
    (void)uv_poll_start(&listener->poll, UV_READABLE, on_ready); /* fails only while closing */
    sp_loop_unsettle(listener->loop);
}

static void on_pause_over(struct sp_timer *timer)
{
    listen_on(SP_CONTAINER_OF(timer, struct sp_listener, pause));
}

static void pause_listening(struct sp_listener *listener, int number)
{
    uint64_t now_ms = sp_loop_now_ms(listener->loop);
    uint64_t due_ms = now_ms + PAUSE_MS;

    if (sp_trace_allowed(&listener->pause_limit, now_ms, 1, NULL)) {
        SP_TRACE_WARN("io",
                      "connections wait: the system gives this process no more of them",
                      "port=%u reason=\"%s\"",
                      listener->port,
                      strerror(number));
    }
    if (sp_timer_start(&listener->pause, due_ms) == 0) {
        (void)uv_poll_stop(&listener->poll); /* cannot fail */
    }
}

/* Makes a stream of an accepted socket. A connection that finds no memory is dropped. */
static void hand_over(struct sp_listener *listener, int fd, const struct sockaddr_storage *peer)
{
    struct sp_stream *stream = sp_stream_new(listener->loop);

    if (stream == NULL) {
        (void)close(fd); /* nothing was sent */
        return;
    }
    if (sp_stream_adopt(stream, fd) != 0) {
        (void)close(fd); /* nothing was sent */
        sp_stream_discard(stream);
        return;
    }
    sp_socket_prepare(fd);
    sp_address_format(peer, stream->peer);
    stream->state = STREAM_OPEN;
    listener->cb(listener->arg, stream);
}

/* False when there is nothing more to accept now. */
static bool accept_one(struct sp_listener *listener)
{
    struct sockaddr_storage peer = { 0 };
    socklen_t size = sizeof peer;
    int fd = sp_standard_avoid(
        accept4(listener->fd, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC));

    if (fd >= 0) {
        hand_over(listener, fd, &peer);
        return true;
    }
    switch (errno) {
    case EINTR:
    case ECONNABORTED:
        return true; /* this one has gone; others may wait */
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        pause_listening(listener, errno);
        return false;
    default:
        return false;
    }
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct sp_listener *listener = poll->data;

    (void)events;
    if (status < 0) {
        pause_listening(listener, EIO); /* libuv has stopped waiting */
        return;
    }
    for (unsigned i = 0; i < ACCEPTS_PER_TURN && !listener->closing; i++) {
        if (!accept_one(listener)) {
            break;
        }
    }
}

int sp_listener_open(struct sp_loop *loop,
                     const char *address,
                     sp_accept_cb cb,
                     void *arg,
                     struct sp_listener **out_listener)
{
    struct sp_listener *listener = sp_mem_calloc(1, sizeof *listener);
    int fd = -1;

    if (listener == NULL) {
        return SPATE_ERR_NOMEM;
    }
    int rv = sp_socket_listen(loop, address, &fd, &listener->port);
    if (rv == 0 && uv_poll_init(&loop->uv, &listener->poll, fd) != 0) {
        (void)close(fd); /* nothing was sent */
        rv = SPATE_ERR_INTERNAL;
    }
    if (rv != 0) {
        sp_mem_free(listener);
        return rv;
    }
    listener->loop = loop;
    listener->fd = fd;
    listener->poll.data = listener;
    listener->cb = cb;
    listener->arg = arg;
    sp_timer_init(&listener->pause, loop, on_pause_over);
    loop->open_count += 1;
    listen_on(listener);
    *out_listener = listener;
    return 0;
}

uint16_t sp_listener_port(const struct sp_listener *listener)
{
    return listener->port;
}

static void on_closed(uv_handle_t *handle)
{
    sp_mem_free(handle->data);
}

void sp_listener_close(struct sp_listener *listener)
{
    if (listener == NULL || listener->closing) {
        return;
    }
    listener->closing = true;
    listener->loop->open_count -= 1;
    sp_timer_stop(&listener->pause);
    uv_close((uv_handle_t *)&listener->poll, on_closed);
    sp_loop_unsettle(listener->loop);
    (void)close(listener->fd); /* nothing was sent through it */
}
