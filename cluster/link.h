/* The connection over which this node sends to one other node, kept up for as long as it lives.
 *
 *      .-------------- pause over, or nudged -------------.
 *      v                                                   |
 *   CONNECTING --ok--> GREETING --HELLO--> UP              |
 *      |                  |                 | closed: DOWN, and at once back to CONNECTING
 *      '--- refused ------'-----------------------------> WAITING (20 ms .. 500 ms)
 *              `- was UP before: DEAD
 *
 * The other side says only HELLO and REFUSED on this connection. All calls on the loop thread. */
#ifndef SP_CLUSTER_LINK_H
#define SP_CLUSTER_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/greeting.h"
#include "cluster/transport.h"
#include "net/conn.h"

struct sp_link;

struct sp_link_handler {
    /* This node's HELLO as of now. */
    void (*greeting)(void *arg, struct sp_peer_hello *out_hello);
    /* The other side greeted: 0, or an error and in `text` (SP_REFUSAL_SIZE bytes) why it is not
     * to be talked to. */
    int (*hello)(void *arg, struct sp_link *link, const struct sp_peer_hello *hello, char *text);
    /* The other side does not want to talk to this one, and says why in bytes of any kind. */
    void (*refused)(void *arg, struct sp_link *link, const struct sp_peer_refusal *refusal);
    /* The state has changed. Not called once closing has begun. */
    void (*changed)(void *arg, struct sp_link *link, enum sp_link_state state);
};

/* Nothing connects before sp_link_connect. `address` is copied. SPATE_ERR_INVALID: it is too long;
 * SPATE_ERR_NOMEM. */
int sp_link_new(struct sp_loop *loop,
                uint32_t node_id,
                const char *address,
                const struct sp_link_handler *handler,
                void *arg,
                struct sp_link **out_link);

/* Connects now if it is waiting to, or has not begun. */
void sp_link_connect(struct sp_link *link);

/* The other node may be gone: finds out at once, without giving up a connection that is fine. */
void sp_link_suspect(struct sp_link *link);

/* Says HELLO again, since it has changed. */
void sp_link_greet(struct sp_link *link);

/* The node may be at this address, too: it is tried first, unless the link is up. Those before are
 * tried as well, in turn, the first one always. SPATE_ERR_INVALID: it is too long. */
int sp_link_set_address(struct sp_link *link, const char *address);

/* As sp_transport_send and sp_transport_send_heartbeat. */
int sp_link_send(struct sp_link *link,
                 const struct sp_peer_message *message,
                 const struct sp_slice *pieces,
                 unsigned count);
int sp_link_send_heartbeat(struct sp_link *link, const struct sp_peer_raft *raft);

/* Waits for its turn to send frames: embedded by its owner, who may remove `node` at any time. `cb`
 * runs once, in a later round of deferred calls: it may send one message, or the link is not up. */
struct sp_link_waiter {
    struct sp_list node;
    void (*cb)(struct sp_link_waiter *waiter);
};

/* True if a message of frames may be sent now: the queue is short, and nobody waits. */
bool sp_link_has_room(const struct sp_link *link);

/* Waits behind the others. SPATE_ERR_CLOSED: the link is not up. */
int sp_link_wait(struct sp_link *link, struct sp_link_waiter *waiter);

/* Counts bytes that are being fetched to be sent here as if they were queued, and no more. */
void sp_link_reserve(struct sp_link *link, size_t size_bytes);
void sp_link_release(struct sp_link *link, size_t size_bytes);

/* The other node, its address (borrowed until it changes), how the link is, and what is queued for
 * it, in bytes. */
uint32_t sp_link_node_id(const struct sp_link *link);
const char *sp_link_address(const struct sp_link *link);
enum sp_link_state sp_link_state(const struct sp_link *link);
size_t sp_link_queued_bytes(const struct sp_link *link);

/* Sends what is queued, then calls `closed` later and frees. */
void sp_link_close(struct sp_link *link, void (*closed)(void *arg), void *arg);

/* ---- for either end of a connection between nodes -------------------------------------------- */

/* Queues one message on `conn`. Errors as sp_transport_send but SPATE_ERR_BUSY. */
int sp_peer_send(struct sp_conn *conn,
                 const struct sp_peer_message *message,
                 const struct sp_slice *pieces,
                 unsigned count);

/* Queues `size` bytes of entries, at least one, as one HEARTBEATS message. Errors as above. */
int sp_peer_send_heartbeats(struct sp_conn *conn, const uint8_t *entries, size_t size);

/* Says REFUSED with `text` (shorter than SP_REFUSAL_SIZE), as `self`, and closes. */
void sp_peer_refuse(struct sp_conn *conn, const char *text, const struct sp_peer_hello *self);

#endif /* SP_CLUSTER_LINK_H */
