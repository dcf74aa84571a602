/* The node port: connections over which other nodes send to this one.
 *
 *   accepted --HELLO, answered--> greeted --messages--> ended
 *
 * A stranger may send JOIN instead of HELLO: it is a guest, gets one answer, and goes.
 *
 * A connection that has not greeted after a second is closed; each further HELLO (the sender's
 * identity has changed, or it asks whether we live) is checked and answered too. All calls on the
 * loop thread. */
#ifndef SP_CLUSTER_INBOUND_H
#define SP_CLUSTER_INBOUND_H

#include <stdbool.h>
#include <stdint.h>

#include "cluster/link.h"

struct sp_node_port;
struct sp_inbound;

struct sp_node_port_handler {
    /* This node's HELLO as of now. */
    void (*greeting)(void *arg, struct sp_peer_hello *out_hello);
    /* A node greeted: 0, or an error and in `text` (SP_REFUSAL_SIZE bytes) why it is refused. */
    int (*hello)(void *arg,
                 struct sp_inbound *inbound,
                 const struct sp_peer_hello *hello,
                 char *text);
    /* Any other message from a node that has greeted. Result as for hello. */
    int (*message)(void *arg,
                   struct sp_inbound *inbound,
                   struct sp_peer_message *message,
                   char *text);
    /* JOIN came from a guest; sp_node_port_answer takes its number for a few seconds. */
    void (*join)(void *arg, uint64_t guest, const struct sp_slice *body);
    /* The connection of a node that had greeted is gone. Not called once closing has begun. */
    void (*ended)(void *arg, struct sp_inbound *inbound);
};

/* Errors as sp_listener_open. */
int sp_node_port_open(struct sp_loop *loop,
                      const char *address,
                      const struct sp_node_port_handler *handler,
                      void *arg,
                      struct sp_node_port **out_port);

/* The number of the port that it listens on, also where the address left it to the system. */
uint16_t sp_node_port_number(const struct sp_node_port *port);

/* Closes all connections, then calls `closed` later and frees. */
void sp_node_port_close(struct sp_node_port *port, void (*closed)(void *arg), void *arg);

/* Sends JOINED to a guest and lets it go; nothing happens if it is gone. */
void sp_node_port_answer(struct sp_node_port *port, uint64_t guest, const struct sp_slice *body);

/* The last HELLO of a connection that has greeted. */
const struct sp_peer_hello *sp_inbound_hello(const struct sp_inbound *inbound);

/* Closes one connection, since the node has a newer one; `ended` follows. */
void sp_inbound_drop(struct sp_inbound *inbound);

#endif /* SP_CLUSTER_INBOUND_H */
