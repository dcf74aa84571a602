/* Writing: at once while the kernel takes it, from the queue afterwards. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/assert.h"
#include "base/mem.h"
#include "io/stream_body.h"
#include "io/system.h"
#include "spate/error.h"

enum {
    PIECES_PER_SEND = 64,  /* of one sendmsg; the system allows 1024 */
    SENDS_PER_WAKEUP = 16, /* of one stream; then the others get their turn */
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

void sp_stream_tell_writes(struct sp_list *list, int status)
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

    for (unsigned i = 0; i < SENDS_PER_WAKEUP && !sp_list_empty(&stream->queued); i++) {
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

void sp_stream_bound_kernel(struct sp_stream *stream, size_t size_bytes)
{
    int size = (int)size_bytes;

    /* They fail only for sizes that make no sense; then the kernel's own bounds stay. */
    (void)setsockopt(stream->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    (void)setsockopt(stream->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

void sp_stream_bound_unsent(struct sp_stream *stream, size_t size_bytes)
{
    int size = (int)size_bytes;

    /* Fails only where the option is unknown; then the kernel holds more. */
    (void)setsockopt(stream->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &size, sizeof size);
}

size_t sp_stream_queued_bytes(const struct sp_stream *stream)
{
    return stream->queued_bytes;
}
