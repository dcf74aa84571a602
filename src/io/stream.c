/* Reading, writing and closing of connected streams. */
#include "io/stream.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "io/stream_body.h"
#include "io/system.h"
#include "spate/error.h"

enum {
    PIECES_PER_SEND = 64,  /* of one sendmsg; the system allows 1024 */
    CALLS_PER_WAKEUP = 16, /* of recv or sendmsg on one stream; then the others get their turn */
};

/* The bytes of a write that the kernel has not taken yet; hangs on sp_stream_write.io. */
struct rest {
    unsigned count;
    unsigned first; /* pieces before it are used up */
    size_t size;    /* bytes left */
    struct iovec pieces[];
};

static struct sp_stream_write *first_write(const struct sp_list *list)
{
    return SP_LIST_ENTRY(list->next, struct sp_stream_write, node);
}

/* ---- telling --------------------------------------------------------------------------------- */

/* Runs the callbacks of all writes in `list`; they may write, close, and free their write. */
static void tell_writes(struct sp_list *list, int status)
{
    struct sp_list batch;

    sp_list_init(&batch);
    sp_list_move(&batch, list);
    while (!sp_list_empty(&batch)) {
        struct sp_stream_write *write = first_write(&batch);
        sp_list_remove(&write->node);
        sp_mem_free(write->io);
        write->io = NULL;
        write->cb(write, status);
    }
}

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
    tell_writes(&stream->completed, 0);
    tell_writes(&stream->failed, SPATE_ERR_CLOSED);
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
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

static void end_reading(struct sp_stream *stream)
{
    stream->reading = false;
    stream->ended = true;
    stream->reader->end(stream->reader_arg, SPATE_ERR_CLOSED);
}

/* One read. False when there is nothing more to do now. */
static bool read_once(struct sp_stream *stream)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    ssize_t got;

    stream->reader->room(stream->reader_arg, &bytes, &size);
    if (size == 0 || !stream->reading || stream->closing) {
        stream->reading = false;
        return false;
    }
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
    stream->reader->read(stream->reader_arg, (size_t)got);
    return (size_t)got == size; /* less: the kernel had no more */
}

static void read_some(struct sp_stream *stream)
{
    for (unsigned i = 0; i < CALLS_PER_WAKEUP; i++) {
        if (stream->closing || !stream->reading || !read_once(stream)) {
            break;
        }
    }
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

/* ---- writing --------------------------------------------------------------------------------- */

/* Offers pieces to the kernel. *out_size is what it took, 0 when its buffer is full. */
static int send_pieces(int fd, struct iovec *pieces, unsigned count, size_t *out_size)
{
    struct msghdr message = { .msg_iov = pieces, .msg_iovlen = count };
    ssize_t sent;

    do {
        sent = sendmsg(fd, &message, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno != EAGAIN && errno != ENOBUFS) {
        return SPATE_ERR_CLOSED;
    }
    *out_size = sent < 0 ? 0 : (size_t)sent;
    return 0;
}

/* The connection is lost: writes fail from now on, reading ends with its next call. */
static void break_connection(struct sp_stream *stream)
{
    stream->broken = true;
    stream->queued_bytes = 0;
    sp_list_move(&stream->failed, &stream->queued);
    (void)shutdown(stream->fd, SHUT_RDWR); /* fails when the peer was faster */
    sp_loop_defer(stream->loop, &stream->report);
}

/* Collects the first pieces of all queued writes, so that many small ones leave together. */
static unsigned gather(const struct sp_stream *stream, struct iovec *out_pieces)
{
    unsigned count = 0;

    SP_LIST_EACH (node, &stream->queued) {
        const struct rest *rest = SP_LIST_ENTRY(node, struct sp_stream_write, node)->io;
        for (unsigned i = rest->first; i < rest->count && count < PIECES_PER_SEND; i++) {
            out_pieces[count] = rest->pieces[i];
            count += 1;
        }
        if (count == PIECES_PER_SEND) {
            break;
        }
    }
    return count;
}

/* The kernel took `size` bytes of the queue. */
static void account(struct sp_stream *stream, size_t size)
{
    SP_ASSERT(size <= stream->queued_bytes);
    stream->queued_bytes -= size;
    while (!sp_list_empty(&stream->queued)) {
        struct sp_stream_write *write = first_write(&stream->queued);
        struct rest *rest = write->io;
        size_t step = size < rest->size ? size : rest->size;

        rest->first +=
            sp_iovec_advance(rest->pieces + rest->first, rest->count - rest->first, step);
        rest->size -= step;
        size -= step;
        if (rest->size > 0) {
            break;
        }
        sp_list_remove(&write->node);
        sp_list_append(&stream->completed, &write->node);
        sp_loop_defer(stream->loop, &stream->report);
    }
}

void sp_stream_flush(struct sp_stream *stream)
{
    struct iovec pieces[PIECES_PER_SEND];

    for (unsigned i = 0; i < CALLS_PER_WAKEUP && !sp_list_empty(&stream->queued); i++) {
        size_t size = 0;
        if (send_pieces(stream->fd, pieces, gather(stream, pieces), &size) != 0) {
            break_connection(stream);
            return;
        }
        if (size == 0) {
            return;
        }
        account(stream, size);
    }
}

/* Sends at once as much as the kernel takes; to be called while nothing is queued. */
static int
send_now(struct sp_stream *stream, const struct sp_iovec *pieces, unsigned count, size_t *out_size)
{
    struct iovec batch[PIECES_PER_SEND];
    size_t sent = 0;

    for (unsigned i = 0; i < count;) {
        unsigned step = count - i < PIECES_PER_SEND ? count - i : PIECES_PER_SEND;
        size_t size = 0;
        size_t taken = 0;

        for (unsigned k = 0; k < step; k++) {
            batch[k] = sp_iovec_of(pieces[i + k].bytes, pieces[i + k].size);
            size += pieces[i + k].size;
        }
        if (size > 0 && send_pieces(stream->fd, batch, step, &taken) != 0) {
            return SPATE_ERR_CLOSED;
        }
        sent += taken;
        if (taken < size) {
            break;
        }
        i += step;
    }
    *out_size = sent;
    return 0;
}

static struct rest *rest_new(const struct sp_iovec *pieces, unsigned count, size_t sent)
{
    struct rest *rest = sp_mem_alloc(sizeof *rest + count * sizeof rest->pieces[0]);

    if (rest == NULL) {
        return NULL;
    }
    *rest = (struct rest){ .count = count };
    for (unsigned i = 0; i < count; i++) {
        rest->pieces[i] = sp_iovec_of(pieces[i].bytes, pieces[i].size);
        rest->size += pieces[i].size;
    }
    rest->first = sp_iovec_advance(rest->pieces, count, sent);
    rest->size -= sent;
    return rest;
}

static int queue_rest(struct sp_stream *stream,
                      struct sp_stream_write *write,
                      const struct sp_iovec *pieces,
                      unsigned count,
                      size_t sent)
{
    struct rest *rest = rest_new(pieces, count, sent);

    if (rest == NULL && sent == 0) {
        return SPATE_ERR_NOMEM;
    }
    if (rest == NULL) {
        break_connection(stream); /* half a message is out and the rest can never follow */
        return SPATE_ERR_CLOSED;
    }
    write->io = rest;
    stream->queued_bytes += rest->size;
    sp_list_append(&stream->queued, &write->node);
    sp_stream_update_interest(stream);
    return 0;
}

int sp_stream_write(struct sp_stream *stream,
                    struct sp_stream_write *write,
                    const struct sp_iovec *pieces,
                    unsigned count,
                    sp_stream_write_cb cb)
{
    size_t sent = 0;

    if (stream->closing || stream->broken || stream->state == STREAM_FAILED) {
        return SPATE_ERR_CLOSED;
    }
    *write = (struct sp_stream_write){ .cb = cb };
    for (unsigned i = 0; i < count; i++) {
        write->size += pieces[i].size;
    }
    if (stream->state == STREAM_OPEN && sp_list_empty(&stream->queued) &&
        send_now(stream, pieces, count, &sent) != 0) {
        break_connection(stream);
        return SPATE_ERR_CLOSED;
    }
    /* Also an empty write keeps its place: what was queued before it completes before it. */
    if (sent < write->size || !sp_list_empty(&stream->queued)) {
        return queue_rest(stream, write, pieces, count, sent);
    }
    sp_list_append(&stream->completed, &write->node);
    sp_loop_defer(stream->loop, &stream->report);
    return 0;
}

size_t sp_stream_queued_bytes(const struct sp_stream *stream)
{
    return stream->queued_bytes;
}

const char *sp_stream_peer(const struct sp_stream *stream)
{
    return stream->peer;
}

/* ---- life ------------------------------------------------------------------------------------ */

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
    SP_ASSERT(!stream->resolving);
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
    if (stream->resolving) {
        (void)uv_cancel((uv_req_t *)&stream->resolver); /* if it is too late it will end soon */
    }
    /* A handle that is closing already belongs to a failed attempt to connect: its callback is
     * followed by the end of this stream. */
    if (stream->poll_open && !uv_is_closing((uv_handle_t *)&stream->poll)) {
        uv_close((uv_handle_t *)&stream->poll, on_poll_closed);
    }
    if (stream->fd >= 0) {
        (void)close(stream->fd); /* what the kernel holds is still sent */
        stream->fd = -1;
    }
    sp_loop_defer(stream->loop, &stream->report);
}

void sp_stream_advance_close(struct sp_stream *stream)
{
    if (!stream->closing || stream->poll_open || stream->resolving) {
        return;
    }
    sp_deferred_cancel(&stream->report);
    tell_writes(&stream->completed, 0);
    tell_writes(&stream->failed, SPATE_ERR_CLOSED);
    tell_writes(&stream->queued, SPATE_ERR_CANCELED);
    if (stream->candidates != NULL) {
        uv_freeaddrinfo(stream->candidates);
    }
    if (stream->closed_cb != NULL) {
        stream->closed_cb(stream->closed_arg);
    }
    sp_mem_free(stream);
}
