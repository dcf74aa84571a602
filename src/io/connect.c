/* Connecting: resolve the name, then try its addresses one after the other. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "io/address.h"
#include "io/standard.h"
#include "io/stream_body.h"
#include "spate/error.h"

enum {
    KEEPALIVE_IDLE_SECONDS = 30, /* a silent peer that lost power is noticed within a minute */
    KEEPALIVE_INTERVAL_SECONDS = 10,
    KEEPALIVE_PROBES = 3,
};

void sp_socket_prepare(int fd)
{
    static const struct {
        int level;
        int name;
        int value;
    } options[] = {
        { IPPROTO_TCP, TCP_NODELAY, 1 },
        { SOL_SOCKET, SO_KEEPALIVE, 1 },
        { IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_SECONDS },
        { IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SECONDS },
        { IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES },
        /* Besides what the peer has room for: without it the kernel takes megabytes for one that
         * does not read, in one call. */
        { IPPROTO_TCP, TCP_NOTSENT_LOWAT, SP_UNSENT_BYTES_MAX },
    };

    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        /* A socket without one of these is slower or notices less, but it is correct. */
        (void)setsockopt(
            fd, options[i].level, options[i].name, &options[i].value, sizeof options[i].value);
    }
}

static void conclude(struct sp_stream *stream, int status)
{
    stream->state = status == 0 ? STREAM_OPEN : STREAM_FAILED;
    stream->connect_done = true;
    stream->connect_status = status;
    if (status == 0) {
        sp_stream_flush(stream);
        sp_stream_update_interest(stream);
    } else {
        stream->queued_bytes = 0;
        sp_list_move(&stream->failed, &stream->queued);
    }
    sp_resolve_release(&stream->name);
    sp_loop_defer(stream->loop, &stream->report);
}

/* Errors that come from this side alone. */
static bool is_local(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM ||
           error == EADDRNOTAVAIL || error == ENETDOWN || error == ENETUNREACH;
}

static void give_up(struct sp_stream *stream)
{
    int status = stream->unknown ? SPATE_ERR_NOT_FOUND : SPATE_ERR_UNREACHABLE;

    conclude(stream, stream->tried ? status : SPATE_ERR_BUSY);
}

enum sp_stream_trouble sp_stream_trouble(const struct sp_stream *stream)
{
    if (stream->state == STREAM_OPEN) {
        return SP_STREAM_TROUBLE_NONE;
    }
    if (stream->unknown) {
        return SP_STREAM_NAME_UNKNOWN;
    }
    if (stream->state == STREAM_RESOLVING || stream->unnamed) {
        return SP_STREAM_NAME_UNANSWERED;
    }
    switch (stream->error) {
    case ECONNREFUSED:
    case ECONNRESET:
        return SP_STREAM_REFUSED;
    case EHOSTUNREACH:
    case ENETUNREACH:
        return SP_STREAM_NO_ROUTE;
    default: /* an attempt is on its way, or nobody said anything */
        return stream->state == STREAM_FAILED && !stream->tried ? SP_STREAM_NO_MEANS
                                                                : SP_STREAM_UNANSWERED;
    }
}

/* An attempt has failed. */
static void note_failure(struct sp_stream *stream, int error)
{
    stream->tried |= !is_local(error);
    stream->error = error;
}

/* Begins one attempt. False when it failed at once. */
static bool begin_attempt(struct sp_stream *stream, const struct sockaddr *address, socklen_t size)
{
    int fd = sp_standard_avoid(
        socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));

    if (fd < 0) {
        note_failure(stream, errno);
        return false;
    }
    sp_socket_prepare(fd);
    int error = connect(fd, address, size) == 0 ? 0 : errno;
    if (error == EINPROGRESS || error == EINTR) {
        error = 0;
    }
    if (error == 0 && sp_stream_adopt(stream, fd) != 0) {
        error = ENOMEM;
    }
    if (error != 0) {
        note_failure(stream, error);
        (void)close(fd); /* nothing was sent */
        return false;
    }
    sp_stream_update_interest(stream);
    return true;
}

static void try_candidates(struct sp_stream *stream)
{
    stream->state = STREAM_CONNECTING;
    while (stream->next != NULL) {
        const struct addrinfo *candidate = stream->next;
        stream->next = candidate->ai_next;
        if (begin_attempt(stream, candidate->ai_addr, candidate->ai_addrlen)) {
            return;
        }
    }
    give_up(stream);
}

static void on_attempt_closed(uv_handle_t *handle)
{
    struct sp_stream *stream = handle->data;

    stream->poll_open = false;
    if (stream->closing) {
        sp_stream_advance_close(stream);
    } else {
        try_candidates(stream);
    }
}

/* A connect to a free local port can meet itself: both ends are the same socket then. */
static bool met_itself(int fd)
{
    struct sockaddr_storage here = { 0 };
    struct sockaddr_storage there = { 0 };
    socklen_t here_size = sizeof here;
    socklen_t there_size = sizeof there;

    return getsockname(fd, (struct sockaddr *)&here, &here_size) == 0 &&
           getpeername(fd, (struct sockaddr *)&there, &there_size) == 0 &&
           here_size == there_size && memcmp(&here, &there, here_size) == 0;
}

void sp_stream_on_connected(struct sp_stream *stream)
{
    int error = 0;
    socklen_t size = sizeof error;

    if (uv_is_closing((uv_handle_t *)&stream->poll)) {
        return;
    }
    int rv = getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (rv == 0 && error == 0 && !met_itself(stream->fd)) {
        conclude(stream, 0);
        return;
    }
    note_failure(stream, rv == 0 && error == 0 ? ECONNREFUSED : error); /* itself: nobody listens */
    stream->tried |= rv != 0;
    uv_close((uv_handle_t *)&stream->poll, on_attempt_closed);
    sp_loop_unsettle(stream->loop);
    (void)close(stream->fd); /* nothing was sent */
    stream->fd = -1;
}

static void on_resolved(struct sp_resolve_wait *name)
{
    struct sp_stream *stream = SP_CONTAINER_OF(name, struct sp_stream, name);
    int status = sp_resolve_status(name);

    stream->next = sp_resolve_addresses(name);
    stream->tried = status != 0 && status != SPATE_ERR_BUSY;
    stream->unknown = status == SPATE_ERR_NOT_FOUND;
    stream->unnamed = status != 0 && !stream->unknown;
    try_candidates(stream);
}

static void connect_numeric(struct sp_stream *stream)
{
    socklen_t size = sp_address_size(&stream->candidate);

    stream->state = STREAM_CONNECTING;
    if (!begin_attempt(stream, (struct sockaddr *)&stream->candidate, size)) {
        give_up(stream);
    }
}

int sp_stream_connect(struct sp_loop *loop,
                      const char *text,
                      sp_connect_cb cb,
                      void *arg,
                      struct sp_stream **out_stream)
{
    struct sp_address address;

    if (sp_address_parse(text, &address) != 0 || address.host[0] == '\0') {
        return SPATE_ERR_INVALID;
    }
    struct sp_stream *stream = sp_stream_new(loop);
    if (stream == NULL) {
        return SPATE_ERR_NOMEM;
    }
    stream->connect_cb = cb;
    stream->connect_arg = arg;
    memcpy(stream->peer, text, strlen(text) + 1); /* parsed, so it is short enough */
    if (sp_address_numeric(&address, &stream->candidate) == 0) {
        connect_numeric(stream);
    } else {
        stream->state = STREAM_RESOLVING;
        int rv = sp_resolve_start(loop, &address, &stream->name, on_resolved);
        if (rv != 0) {
            sp_stream_discard(stream);
            return rv;
        }
    }
    *out_stream = stream;
    return 0;
}
