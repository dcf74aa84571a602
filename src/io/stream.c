/* Streams: waiting for their sockets, reading, telling what happened, closing. */
#include "io/stream.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "io/stream_body.h"
#include "spate/error.h"

/* ---- telling --------------------------------------------------------------------------------- */

static void on_report(struct sp_deferred *deferred)
{
    struct sp_stream *stream = SP_CONTAINER_OF(deferred, struct sp_stream, report);

    if (stream->closing) {
        sp_stream_advance_close(stream);
        return;
    }
    if (stream->connect_done) {
        stream->connect_done = false;
        stream->connect_cb(stream->connect_arg, stream, stream->connect_status);
    }
    sp_stream_tell_writes(&stream->completed, 0);
    sp_stream_tell_writes(&stream->failed, SPATE_ERR_CLOSED);
}

/* ---- waiting --------------------------------------------------------------------------------- */

static void read_some(struct sp_stream *stream);

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct sp_stream *stream = poll->data;

    if (status < 0) {
        /* The socket has an error and libuv has stopped waiting: the next call will name it. */
        stream->poll_events = 0;
        events = UV_READABLE | UV_WRITABLE;
    }
    if (stream->state == STREAM_CONNECTING) {
        sp_stream_on_connected(stream);
        return;
    }
    if (events & UV_WRITABLE) {
        sp_stream_flush(stream);
    }
    if (events & UV_READABLE) {
        read_some(stream);
    }
    sp_stream_update_interest(stream);
}

void sp_stream_update_interest(struct sp_stream *stream)
{
    int events = 0;

    if (stream->closing || !stream->poll_open) {
        return;
    }
    if (stream->state == STREAM_CONNECTING) {
        events = UV_WRITABLE;
    } else if (stream->state == STREAM_OPEN) {
        events = (stream->reading ? UV_READABLE : 0) |
                 (sp_list_empty(&stream->queued) ? 0 : UV_WRITABLE);
    }
    if (events == stream->poll_events) {
        return;
    }
    stream->poll_events = events;
    if (events == 0) {
        (void)uv_poll_stop(&stream->poll); /* cannot fail */
    } else {
        (void)uv_poll_start(&stream->poll, events, on_poll); /* fails only while closing */
        sp_loop_unsettle(stream->loop);
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

static void end_reading(struct sp_stream *stream)
{
    stream->reading = false;
    stream->ended = true;
    stream->reader->end(stream->reader_arg, SPATE_ERR_CLOSED);
}

/* One read of at most `size_max` bytes; *out_size is what came. False when there is nothing more to
 * do now. */
static bool read_once(struct sp_stream *stream, size_t size_max, size_t *out_size)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    ssize_t got;

    stream->reader->room(stream->reader_arg, &bytes, &size);
    if (size == 0 || !stream->reading || stream->closing) {
        stream->reading = false;
        return false;
    }
    size = size < size_max ? size : size_max;
    do {
        got = recv(stream->fd, bytes, size, 0);
    } while (got < 0 && errno == EINTR);
    if (got < 0 && errno == EAGAIN) {
        return false;
    }
    if (got <= 0) {
        end_reading(stream);
        return false;
    }
    *out_size = (size_t)got;
    stream->reader->read(stream->reader_arg, (size_t)got);
    return (size_t)got == size; /* less: the kernel had no more */
}

static void read_some(struct sp_stream *stream)
{
    struct sp_read_share *share = &stream->loop->read_share;
    size_t size_max = sp_read_share_begin(share, stream->loop->turn);
    size_t size = 0;
    bool more = true;

    while (more && size < size_max && !stream->closing && stream->reading) {
        size_t got = 0;

        more = read_once(stream, size_max - size, &got);
        size += got;
    }
    sp_read_share_end(share, size, more && size == size_max);
}

int sp_stream_read_start(struct sp_stream *stream, const struct sp_stream_reader *reader, void *arg)
{
    if (stream->closing || stream->ended || stream->state == STREAM_FAILED) {
        return SPATE_ERR_CLOSED;
    }
    stream->reader = reader;
    stream->reader_arg = arg;
    stream->reading = true;
    sp_stream_update_interest(stream);
    return 0;
}

void sp_stream_read_stop(struct sp_stream *stream)
{
    stream->reading = false;
    sp_stream_update_interest(stream);
}

/* ---- life ------------------------------------------------------------------------------------ */

const char *sp_stream_peer(const struct sp_stream *stream)
{
    return stream->peer;
}

struct sp_stream *sp_stream_new(struct sp_loop *loop)
{
    struct sp_stream *stream = sp_mem_calloc(1, sizeof *stream);

    if (stream == NULL) {
        return NULL;
    }
    stream->loop = loop;
    stream->fd = -1;
    sp_list_init(&stream->queued);
    sp_list_init(&stream->completed);
    sp_list_init(&stream->failed);
    sp_deferred_init(&stream->report, on_report);
    loop->open_count += 1;
    return stream;
}

int sp_stream_adopt(struct sp_stream *stream, int fd)
{
    SP_ASSERT(!stream->poll_open);
    int rv = uv_poll_init(&stream->loop->uv, &stream->poll, fd);
    if (rv != 0) {
        return rv == UV_ENOMEM ? SPATE_ERR_NOMEM : SPATE_ERR_INTERNAL;
    }
    stream->poll.data = stream;
    stream->poll_events = 0;
    stream->poll_open = true;
    stream->fd = fd;
    return 0;
}

void sp_stream_discard(struct sp_stream *stream)
{
    SP_ASSERT(!stream->poll_open);
    SP_ASSERT(stream->name.resolution == NULL);
    stream->loop->open_count -= 1;
    sp_mem_free(stream);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct sp_stream *stream = handle->data;

    stream->poll_open = false;
    sp_stream_advance_close(stream);
}

void sp_stream_close(struct sp_stream *stream, void (*closed)(void *arg), void *arg)
{
    if (stream->closing) {
        return;
    }
    stream->closing = true;
    stream->reading = false;
    stream->closed_cb = closed;
    stream->closed_arg = arg;
    stream->loop->open_count -= 1;
    sp_resolve_release(&stream->name);
    /* A handle that is closing already belongs to a failed attempt to connect: its callback is
     * followed by the end of this stream. */
    if (stream->poll_open && !uv_is_closing((uv_handle_t *)&stream->poll)) {
        uv_close((uv_handle_t *)&stream->poll, on_poll_closed);
        sp_loop_unsettle(stream->loop);
    }
    if (stream->fd >= 0) {
        (void)close(stream->fd); /* what the kernel holds is still sent */
        stream->fd = -1;
    }
    sp_loop_defer(stream->loop, &stream->report);
}

void sp_stream_advance_close(struct sp_stream *stream)
{
    if (!stream->closing || stream->poll_open) {
        return;
    }
    sp_deferred_cancel(&stream->report);
    sp_stream_tell_writes(&stream->completed, 0);
    sp_stream_tell_writes(&stream->failed, SPATE_ERR_CLOSED);
    sp_stream_tell_writes(&stream->queued, SPATE_ERR_CANCELED);
    if (stream->closed_cb != NULL) {
        stream->closed_cb(stream->closed_arg);
    }
    sp_mem_free(stream);
}
