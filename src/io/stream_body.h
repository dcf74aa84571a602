/* The inside of struct sp_stream, shared by the files of this folder and by nobody else.
 *
 * Streams drive their sockets themselves and use libuv to learn when a socket is ready: so writes
 * can carry MSG_NOSIGNAL (a library must not change what SIGPIPE does), several queued writes leave
 * in one call, and a write needs no memory unless the kernel's buffer is full.
 *
 *   RESOLVING ---> CONNECTING ---> OPEN      `closing` may be set in every state; memory goes when
 *       '--------------+---------> FAILED    the poll handle is not pending
 */
#ifndef SP_IO_STREAM_BODY_H
#define SP_IO_STREAM_BODY_H

#include <stdbool.h>
#include <sys/socket.h>

#include <uv.h>

#include "base/limits.h"
#include "io/loop_body.h"
#include "io/resolve.h"
#include "io/stream.h"

enum stream_state {
    STREAM_RESOLVING,
    STREAM_CONNECTING,
    STREAM_OPEN,
    STREAM_FAILED,
};

struct sp_stream {
    struct sp_loop *loop;
    enum stream_state state;
    int fd; /* -1: none */
    uv_poll_t poll;
    int poll_events; /* what the poll handle waits for now */
    bool poll_open;  /* initialised, its close callback has not run */

    struct sp_resolve_wait name;       /* the addresses of the host, while they are tried */
    const struct addrinfo *next;       /* candidate to try next */
    struct sockaddr_storage candidate; /* the only one, of a numeric address */
    bool tried;                        /* an attempt failed, and not for want of our own means */
    bool unknown;                      /* the host's name is not known */
    bool unnamed;                      /* the name server did not answer */
    int error;                         /* errno of the last attempt that failed; 0: none has */
    bool connect_done;                 /* connect_status waits to be told */
    int connect_status;
    sp_connect_cb connect_cb;
    void *connect_arg;

    const struct sp_stream_reader *reader;
    void *reader_arg;
    bool reading;
    bool ended;  /* reader->end has run */
    bool broken; /* a write failed: nothing more leaves */

    struct sp_list queued;     /* writes with bytes left, in order */
    struct sp_list completed;  /* all bytes taken, callback waits */
    struct sp_list failed;     /* connection gone, callback waits */
    size_t queued_bytes;       /* bytes left of `queued` */
    struct sp_deferred report; /* tells completed writes and the connect result */

    bool closing;
    void (*closed_cb)(void *arg);
    void *closed_arg;
    char peer[SP_ADDRESS_SIZE_MAX];
};

/* A stream without a socket, or NULL. */
struct sp_stream *sp_stream_new(struct sp_loop *loop);

/* Gives the stream a connected socket's poll handle. Owns `fd` on success only. */
int sp_stream_adopt(struct sp_stream *stream, int fd);

/* Frees a stream that nobody was told of; it has no poll handle and waits for no name. */
void sp_stream_discard(struct sp_stream *stream);

/* Waits for what the stream wants to do next, and only for that. */
void sp_stream_update_interest(struct sp_stream *stream);

/* After a pending handle of a closing stream has ended: frees the stream if it was the last. */
void sp_stream_advance_close(struct sp_stream *stream);

/* Sends what is queued, as far as the kernel takes it. */
void sp_stream_flush(struct sp_stream *stream);

/* Runs the callbacks of all writes in `list`; they may write, close, and free their write. */
void sp_stream_tell_writes(struct sp_list *list, int status);

/* The poll handle says that a connecting socket is ready: writable or failed. */
void sp_stream_on_connected(struct sp_stream *stream);

/* No delay, keepalive. */
void sp_socket_prepare(int fd);

#endif /* SP_IO_STREAM_BODY_H */
