/* One connection that carries messages: cuts the byte stream into whole messages with bounded
 * memory, queues what is to be sent, and closes itself on anything illegal.
 *
 *   bytes -> cut (O(1) state, refuses lies from the header) -> one blob per message -> on_message
 *   sp_conn_send -> queue -> one vectored write per turn
 *
 * A message lands in a blob of its own that is sized once its length is known and grows no faster
 * than bytes arrive; small messages share a read buffer. While `paused`, while the write queue
 * stands above its bound, or while the connection's share of a budget is used up, the socket is not
 * read. A message that was begun must be complete within SP_MESSAGE_TIMEOUT_MS. All calls on the
 * loop thread. */
#ifndef SP_NET_CONN_H
#define SP_NET_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "io/stream.h"
#include "net/budget.h"

struct sp_conn;

/* Finds message ends; one per protocol. */
struct sp_conn_protocol {
    size_t state_size; /* bytes of state per connection */
    void (*init)(void *state);
    /* Reads on in `bytes`: *out_used belong to the current message, *out_complete says whether it
     * ends there. 0 or an error that closes the connection (SPATE_ERR_MALFORMED, _TOO_LARGE). */
    int (*feed)(
        void *state, const uint8_t *bytes, size_t size, size_t *out_used, bool *out_complete);
    /* Bytes that the message begun still needs at least; 0 between messages. */
    uint64_t (*missing)(const void *state);
};

/* MessagePack-RPC with SP_MESSAGE_BYTES_MAX. */
extern const struct sp_conn_protocol sp_conn_messagepack;

/* The same for who asked: answers may have more elements, as descriptions of many partitions do. */
extern const struct sp_conn_protocol sp_conn_messagepack_answers;

/* Messages between nodes (wire/peer_api.h) with SP_PEER_MESSAGE_BYTES_MAX: heads are checked before
 * their bodies are read. A message of another version passes if it is short. */
extern const struct sp_conn_protocol sp_conn_node_messages;

struct sp_conn_handler {
    /* A whole message of `size` bytes at `position` of `blob`; borrowed until return. */
    void (*message)(
        void *arg, struct sp_conn *conn, struct sp_blob *blob, size_t position, size_t size);
    /* The connection is going down (status: SPATE_ERR_CLOSED, _MALFORMED, _TOO_LARGE, _TIMEOUT
     * ...); called once, also after sp_conn_close by its owner (SPATE_ERR_CANCELED). Nothing is
     * called afterwards; the conn frees itself. */
    void (*closed)(void *arg, struct sp_conn *conn, int status);
    /* A write is done: fewer bytes are queued than before. May be NULL. */
    void (*drained)(void *arg, struct sp_conn *conn);
};

/* Takes `stream` (also on failure, which closes it) and begins reading in a later turn. */
int sp_conn_new(struct sp_loop *loop,
                struct sp_stream *stream,
                const struct sp_conn_protocol *protocol,
                const struct sp_conn_handler *handler,
                void *arg,
                struct sp_conn **out_conn);

/* Queues pieces as one unit; references are taken. Written at the end of this turn.
 * SPATE_ERR_CLOSED after closing has begun; SPATE_ERR_NOMEM: nothing was queued. */
int sp_conn_send(struct sp_conn *conn, const struct sp_slice *pieces, unsigned piece_count);

/* Queues a copy of `bytes`. */
int sp_conn_send_copy(struct sp_conn *conn, const void *bytes, size_t size);

/* Bytes queued and not yet taken by the kernel. */
size_t sp_conn_queued_bytes(const struct sp_conn *conn);

/* Bytes that the kernel has taken so far: grows while a slow peer still reads. */
uint64_t sp_conn_written_bytes(const struct sp_conn *conn);

/* See sp_stream_bound_kernel, sp_stream_bound_unsent. */
void sp_conn_bound_kernel(struct sp_conn *conn, size_t size_bytes);
void sp_conn_bound_unsent(struct sp_conn *conn, size_t size_bytes);

/* What arrives and what is queued is counted in `share` from now on, and its bound asked before the
 * socket is read. The share outlives the connection: `closed` finds nothing of it there. */
void sp_conn_set_share(struct sp_conn *conn, struct sp_share *share);

/* Changes the time that a begun message may take, from SP_MESSAGE_TIMEOUT_MS. Time in which the
 * socket is not read does not count. */
void sp_conn_set_message_timeout(struct sp_conn *conn, uint32_t timeout_ms);

/* True if a message begun is given room that others wait for, and nothing of it has come for
 * `silent_ms`. */
bool sp_conn_withholds(const struct sp_conn *conn, uint32_t silent_ms);

/* Stops or resumes reading (budgets of the owner). No message is delivered while paused, also none
 * that has arrived already. Counted pauses are the owner's business. */
void sp_conn_pause(struct sp_conn *conn);
void sp_conn_resume(struct sp_conn *conn);

/* "host:port" of the peer. */
const char *sp_conn_peer(const struct sp_conn *conn);

/* Closes after what is queued has been written (flush true, bounded by 1 s) or at once; `closed` of
 * the handler follows in a later turn. Idempotent. */
void sp_conn_close(struct sp_conn *conn, bool flush);

#endif /* SP_NET_CONN_H */
