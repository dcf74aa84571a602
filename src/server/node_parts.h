/* What a node is made of; for node.c and node_look.c. */
#ifndef SP_SERVER_NODE_PARTS_H
#define SP_SERVER_NODE_PARTS_H

#include "server/node.h"

struct sp_node {
    struct sp_loop *loop;
    const struct sp_config *config;
    const struct sp_transport_options *transport_options;
    struct sp_node_handler handler;
    void *arg;
    struct sp_store *store;
    struct sp_transport *transport;
    struct sp_group_table *table;
    struct sp_controller *controller;
    struct sp_reconcile *reconcile;
    struct sp_mover *mover;
    struct sp_join *join;
    struct sp_admit *admit;
    struct sp_broker *broker;
    bool failed;
    bool stopping;
    bool closing; /* its layers go, one after the other */
};

#endif /* SP_SERVER_NODE_PARTS_H */
