/* Connections between nodes: one kept warm per direction and node pair, all messages of a loop turn
 * in one write.
 *
 *   this node ---- outbound: everything we send ----> peer
 *   this node <--- inbound: everything it sends ----- peer
 *
 * Both begin with HELLO, which checks version, cluster id, node id and incarnation. Messages to a
 * peer arrive in order or not at all: what is queued when a connection breaks is dropped, Raft
 * sends again. A broken outbound connection is tried again at once, then with a growing pause (20
 * ms to 500 ms, jittered). Nothing grows because a peer is slow: above SP_PEER_QUEUE_BYTES_MAX
 * messages are dropped. HELLO is said again every second on each outbound connection and answered,
 * so that a connection over which nothing comes through any more is given up after a few seconds.
 * All calls on the loop thread. */
#ifndef SP_CLUSTER_TRANSPORT_H
#define SP_CLUSTER_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/feature.h"
#include "base/limits.h"
#include "io/loop.h"
#include "storage/store.h"
#include "wire/peer_api.h"

struct sp_transport;

enum sp_link_state {
    SP_LINK_DOWN, /* no connection */
    SP_LINK_UP,   /* HELLO went through in both directions */
    SP_LINK_DEAD, /* was up, closed, and the reconnect was refused, or found another directory: the
                   * process is gone */
};

struct sp_link_waiter;

struct sp_transport_handler {
    /* A message of a formed cluster's member (RAFT, HEARTBEATS, LEADERS, STOPPED, VIGIL, CALL,
     * REPLY).
     * `message->body` lies in a blob that lives until return; take references to keep it. */
    void (*message)(void *arg, uint32_t node_id, struct sp_peer_message *message);
    /* The state of the link to a node changed. */
    void (*link)(void *arg, uint32_t node_id, enum sp_link_state state);
    /* This node's cluster is formed: its identity is final. Once per start, never inside
     * sp_transport_new. `members`: node ids of the seeds, sorted, for group 0's first membership.
     * `fresh`: the cluster was formed just now, rather than before this start. A crash may have
     * come between forming and the creation of group 0, so the receiver asks the store's registry,
     * not
     * `fresh`, whether group 0 is still to be created. */
    void (*formed)(void *arg, const uint32_t *members, unsigned count, bool fresh);
    /* This node's directory is empty, and the cluster is formed, or a seed refuses this node: it
     * has to ask to be let in. Any number of times. */
    void (*lost)(void *arg);
    /* A stranger asks to be let in, see sp_transport_answer_guest. */
    void (*join)(void *arg, uint64_t guest, const struct sp_slice *body);
    /* A node of the same cluster has greeted that this one does not know, and was refused, or that
     * it knows and does not find: its address here is of an earlier time. */
    void (*stranger)(void *arg);
    /* True if what sp_transport_set_registered has told of the node is what the controller says
     * now, and it is not that node itself, as its leader, who has to tell more. */
    bool (*current)(void *arg, uint32_t node_id);
};

struct sp_transport_options {
    uint32_t node_id;
    const char *listen;    /* address of the node port */
    const char *advertise; /* how others reach it; default: listen */
    struct {
        uint32_t node_id;
        char address[SP_ADDRESS_SIZE_MAX];
    } seeds[SP_NODES_MAX]; /* includes this node if it is a seed */
    unsigned seed_count;
    char join[SP_JOIN_ADDRESSES_MAX]
             [SP_ADDRESS_SIZE_MAX]; /* of members; such a node forms nothing */
    unsigned join_count;
    struct sp_feature_range features; /* levels that this build knows; zeros: they are not told */
};

/* Starts listening and connecting. The store gives and keeps the identity; forming (D10) is driven
 * from here by cluster/bootstrap.h: a seed with an empty directory forms a cluster only after all
 * seeds answered empty (or FORMING) with the same seed list; the lowest proposes the cluster id;
 * nobody starts before all have it on disk. A seed that finds others FORMED while it is empty has a
 * replaced disk: `lost` tells that it has to join. SPATE_ERR_EXISTS: the address is in
 * use; SPATE_ERR_INVALID: not an address of this machine, or the seeds are not distinct nodes from
 * 1 to SP_NODE_ID_MAX with addresses, this node among them; SPATE_ERR_NOMEM. */
int sp_transport_new(struct sp_loop *loop,
                     struct sp_store *store,
                     const struct sp_transport_options *options,
                     const struct sp_transport_handler *handler,
                     void *arg,
                     struct sp_transport **out_transport);

/* The cluster's feature level as this node has applied it: told to all, nodes that do not know it
 * are refused from now on. */
void sp_transport_set_level(struct sp_transport *transport, uint32_t level);

/* To be called when the store reports meta durability (forming waits for it). */
void sp_transport_meta_durable(struct sp_transport *transport, uint64_t sequence);

/* Adds a node or changes its address (the controller's registry); the link is opened. This node
 * itself is ignored. SPATE_ERR_INVALID: not a node id or address; SPATE_ERR_BUSY: SP_NODES_MAX
 * nodes are known; SPATE_ERR_NOMEM. */
int sp_transport_set_node(struct sp_transport *transport, uint32_t node_id, const char *address);

/* Forgets a node that was removed from the cluster: its link closes, its connections are refused.
 */
void sp_transport_remove_node(struct sp_transport *transport, uint32_t node_id);

/* This node was let into the cluster of that id: `formed` follows once that is durable. */
void sp_transport_adopt(struct sp_transport *transport,
                        const uint8_t cluster_id[SP_CLUSTER_ID_SIZE]);

/* The body of JOINED for a guest; nothing happens if it is gone. */
void sp_transport_answer_guest(struct sp_transport *transport,
                               uint64_t guest,
                               const struct sp_slice *body);

/* Of the process that is connected under this node id; 0: none is. */
uint64_t sp_transport_incarnation(const struct sp_transport *transport, uint32_t node_id);

/* True if a process of that incarnation is where this node looks for the other one. */
bool sp_transport_is_found(struct sp_transport *transport, uint32_t node_id, uint64_t incarnation);

/* A process was not let in, since the node has another directory: `text` says why. Told by the
 * trace and, for some seconds, by sp_transport_double. */
void sp_transport_note_double(struct sp_transport *transport,
                              uint32_t node_id,
                              uint64_t incarnation,
                              const char *text);

/* A node of another cluster that says to be at `address` asks to be let in, and is refused: traced
 * now and then. */
void sp_transport_note_foreign(struct sp_transport *transport,
                               const char *address,
                               const char *text);

/* Why the n-th of those doubles was not let in, borrowed; NULL: there are fewer. */
const char *
sp_transport_double(const struct sp_transport *transport, unsigned n, uint32_t *out_node_id);

/* True if the node (this one, too) has space for records and, if it is another one, can be reached
 * and is neither slow nor hanging: one that may be handed leaderships. */
bool sp_transport_may_lead(const struct sp_transport *transport, uint32_t node_id);

/* False if another node says that its disk has no room for any records, not even as a follower. */
bool sp_transport_takes_records(const struct sp_transport *transport, uint32_t node_id);

/* What this node has seen of another one. Times are of the loop's clock. */
struct sp_transport_look {
    bool up;
    bool slow;             /* it is up and has greeted too late */
    uint32_t condition;    /* SP_PEER_NO_SPACE, SP_PEER_NO_RECORDS; 0 while it is down */
    uint64_t link_ms;      /* since when it is up, or down */
    uint64_t heard_ms;     /* when it greeted last */
    uint64_t condition_ms; /* since when it has said `condition` */
    const char *refusal;   /* it is not up, but runs: why it is not talked to, borrowed; or NULL */
    bool refuses;          /* it is the other one that does not want to talk */
    const char *not_found_at; /* it is not up, but greets: where it is looked for; or NULL */
};

/* False: it is this node, or not known. */
bool sp_transport_look(const struct sp_transport *transport,
                       uint32_t node_id,
                       struct sp_transport_look *out_look);

/* Which run of its data directory this node is (sp_store_run); right after sp_transport_new. */
void sp_transport_set_run(struct sp_transport *transport, uint64_t run);

/* What the controller has on record of a known node's data directory: an older copy of it is
 * refused from now on, and another one that is no newcomer's while handler.current says so. Of two
 * processes with the node's id the one with this directory goes first. */
void sp_transport_set_registered(struct sp_transport *transport,
                                 uint32_t node_id,
                                 const struct sp_life *life);

/* Queues one message; it leaves at the end of this turn, behind what was queued to that node
 * before, heartbeats included. `pieces` (at most SP_APPEND_FRAMES_MAX) become the body, each keeps
 * a reference until it is sent. SPATE_ERR_CLOSED: no link, the message is dropped (normal);
 * SPATE_ERR_BUSY: its queue is full, dropped; SPATE_ERR_TOO_LARGE; SPATE_ERR_NOMEM. */
int sp_transport_send(struct sp_transport *transport,
                      uint32_t node_id,
                      const struct sp_peer_message *message,
                      const struct sp_slice *pieces,
                      unsigned count);

/* Queues a Raft message without a body (any kind but INSTALL); those of one turn leave together as
 * HEARTBEATS and arrive as single RAFT messages. Errors as sp_transport_send. */
int sp_transport_send_heartbeat(struct sp_transport *transport,
                                uint32_t node_id,
                                const struct sp_peer_raft *raft);

/* Frames of records leave one message at a time per turn of a sender, so that what is small never
 * stands behind many of them: see sp_link_has_room and its neighbours in cluster/link.h. A node
 * that is not known has no room, and is not waited for (SPATE_ERR_CLOSED). */
bool sp_transport_has_room(const struct sp_transport *transport, uint32_t node_id);
int sp_transport_wait(struct sp_transport *transport,
                      uint32_t node_id,
                      struct sp_link_waiter *waiter);
void sp_transport_reserve(struct sp_transport *transport, uint32_t node_id, size_t size_bytes);
void sp_transport_release(struct sp_transport *transport, uint32_t node_id, size_t size_bytes);

/* The address at which the n-th node that has a link is looked for, or NULL: there are fewer. */
const char *sp_transport_address(const struct sp_transport *transport, unsigned n);

/* True if the link to it is up, and to the process with that directory: one that has taken its
 * place and is not let in does not count. */
bool sp_transport_is_up(const struct sp_transport *transport,
                        uint32_t node_id,
                        uint64_t incarnation);

/* That of the node; NULL: it has no link. */
const char *sp_transport_address_of(const struct sp_transport *transport, uint32_t node_id);

/* How the link to a node is; SP_LINK_DOWN of one that is not known. */
enum sp_link_state sp_transport_link(const struct sp_transport *transport, uint32_t node_id);

/* Bytes queued to a node and not yet taken by the kernel. */
size_t sp_transport_queued_bytes(const struct sp_transport *transport, uint32_t node_id);

/* The number of the port on which it hears other nodes. */
uint16_t sp_transport_port(const struct sp_transport *transport);

/* Sends what is queued, closes everything, then calls `closed` and frees. */
void sp_transport_close(struct sp_transport *transport, void (*closed)(void *arg), void *arg);

#endif /* SP_CLUSTER_TRANSPORT_H */
