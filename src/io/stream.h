/* Byte streams between processes: TCP on the real body, virtual connections in the simulator.
 *
 * Addresses are text, "host:port" or "[v6]:port". Nagle is off. All calls and callbacks belong to
 * the loop's thread. */
#ifndef SP_IO_STREAM_H
#define SP_IO_STREAM_H

#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "io/file.h" /* struct sp_iovec */
#include "io/loop.h"

struct sp_stream;
struct sp_listener;

/* ---- listening ------------------------------------------------------------------------------- */

/* A new connection; the receiver owns `stream` and must close it. */
typedef void (*sp_accept_cb)(void *arg, struct sp_stream *stream);

/* Listens on `address` (port 0: the system chooses). SPATE_ERR_EXISTS: the address is in use;
 * SPATE_ERR_INVALID: not an address of this machine; SPATE_ERR_NOMEM. */
int sp_listener_open(struct sp_loop *loop,
                     const char *address,
                     sp_accept_cb cb,
                     void *arg,
                     struct sp_listener **out_listener);

/* The port it listens on. */
uint16_t sp_listener_port(const struct sp_listener *listener);

/* Stops listening; frees itself in a later turn, no callback. NULL is fine. */
void sp_listener_close(struct sp_listener *listener);

/* ---- connecting ------------------------------------------------------------------------------ */

/* `status` 0: connected. SPATE_ERR_UNREACHABLE: refused, or no answer. SPATE_ERR_NOT_FOUND: the
 * system knows no host of that name, which may be for now only. SPATE_ERR_BUSY: this process could
 * not try for want of descriptors, ports, memory, a network or a name server, which says nothing of
 * the other side. After an error only sp_stream_close is left. */
typedef void (*sp_connect_cb)(void *arg, struct sp_stream *stream, int status);

/* Why a stream is not connected, of the attempt that was the last one. */
enum sp_stream_trouble {
    SP_STREAM_TROUBLE_NONE,
    SP_STREAM_NAME_UNKNOWN,    /* the system knows no host of that name */
    SP_STREAM_NAME_UNANSWERED, /* the name server has not answered yet, or gave up */
    SP_STREAM_UNANSWERED,      /* no answer to the attempt to connect yet, or in time */
    SP_STREAM_REFUSED,
    SP_STREAM_NO_ROUTE,
    SP_STREAM_NO_MEANS, /* SPATE_ERR_BUSY for another reason than a name */
};

/* Of a stream that is not connected, while it tries and after it has failed. */
enum sp_stream_trouble sp_stream_trouble(const struct sp_stream *stream);

/* Starts connecting; *out_stream may be closed at any time, and then `cb` does not run. A name that
 * is still being asked for then holds up nobody, see io/resolve.h. SPATE_ERR_INVALID,
 * SPATE_ERR_NOMEM, SPATE_ERR_INTERNAL. */
int sp_stream_connect(struct sp_loop *loop,
                      const char *address,
                      sp_connect_cb cb,
                      void *arg,
                      struct sp_stream **out_stream);

/* ---- using ----------------------------------------------------------------------------------- */

struct sp_stream_reader {
    /* Where the next bytes shall go: at least 1 byte of room, or a room of 0 to stop reading. */
    void (*room)(void *arg, uint8_t **out_bytes, size_t *out_size);
    /* `size` bytes were put there. */
    void (*read)(void *arg, size_t size);
    /* Nothing will follow: SPATE_ERR_CLOSED (orderly end, or the peer died). Runs at most once. */
    void (*end)(void *arg, int status);
};

/* Starts reading; `reader` stays valid until the stream is closed. */
int sp_stream_read_start(struct sp_stream *stream,
                         const struct sp_stream_reader *reader,
                         void *arg);

/* Stops reading: bytes wait in the kernel and the peer is slowed down. Start again at will. */
void sp_stream_read_stop(struct sp_stream *stream);

struct sp_stream_write;
typedef void (*sp_stream_write_cb)(struct sp_stream_write *write, int status);

/* A write in progress, embedded by its caller together with the bytes. */
struct sp_stream_write {
    struct sp_list node;
    sp_stream_write_cb cb;
    void *io;    /* belongs to the body of src/io */
    size_t size; /* bytes in all */
};

/* Queues all pieces in order; the pieces' bytes (not the array) stay valid until `cb`, which runs
 * with 0, SPATE_ERR_CLOSED or, after sp_stream_close, SPATE_ERR_CANCELED. SPATE_ERR_NOMEM,
 * SPATE_ERR_CLOSED. */
int sp_stream_write(struct sp_stream *stream,
                    struct sp_stream_write *write,
                    const struct sp_iovec *pieces,
                    unsigned count,
                    sp_stream_write_cb cb);

/* Bytes queued and not yet taken by the kernel. */
size_t sp_stream_queued_bytes(const struct sp_stream *stream);

/* Lets the kernel hold about `size_bytes` each way, so that what is written is not late because of
 * what was written before; without it, it holds megabytes. */
void sp_stream_bound_kernel(struct sp_stream *stream, size_t size_bytes);

/* Lets the kernel hold about `size_bytes` that it has not sent, beside what is on its way: instead
 * of SP_UNSENT_BYTES_MAX. */
void sp_stream_bound_unsent(struct sp_stream *stream, size_t size_bytes);

/* "host:port" of the other side, valid as long as the stream. */
const char *sp_stream_peer(const struct sp_stream *stream);

/* Closes; pending writes complete with SPATE_ERR_CANCELED, then `closed` (may be NULL) runs once
 * and the stream is gone. Idempotent: a second call only returns. */
void sp_stream_close(struct sp_stream *stream, void (*closed)(void *arg), void *arg);

#endif /* SP_IO_STREAM_H */
