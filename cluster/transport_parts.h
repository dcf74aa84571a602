/* Inside of cluster/transport.c and transport_send.c alone. */
#ifndef SP_CLUSTER_TRANSPORT_PARTS_H
#define SP_CLUSTER_TRANSPORT_PARTS_H

#include "cluster/bootstrap.h"
#include "cluster/greeting.h"
#include "cluster/inbound.h"
#include "cluster/link.h"
#include "cluster/seeds.h"
#include "cluster/transport.h"

/* Another node. */
struct sp_transport_node {
    struct sp_link *link;
    struct sp_inbound *inbound; /* its newest connection to us; NULL: none */
    uint64_t incarnation;       /* of its last HELLO; 0: none yet */
    struct sp_life registered;  /* as the controller knows it; zeros: it does not */
};

struct sp_transport {
    struct sp_loop *loop;
    struct sp_store *store;
    const struct sp_transport_handler *handler;
    void *arg;
    uint32_t node_id;
    struct sp_node_port *port;
    struct sp_transport_node nodes[SP_NODES_MAX];
    unsigned node_count;
    struct sp_seeds seeds;
    struct sp_greeting_levels levels;
    uint64_t run;
    struct sp_bootstrap bootstrap;
    struct sp_timer tick;
    struct sp_deferred start;
    bool closing;
    unsigned closing_count; /* parts that have not ended */
    void (*closed)(void *arg);
    void *closed_arg;
};

/* NULL: no such node. */
struct sp_transport_node *sp_transport_find(struct sp_transport *transport, uint32_t node_id);

#endif /* SP_CLUSTER_TRANSPORT_PARTS_H */
