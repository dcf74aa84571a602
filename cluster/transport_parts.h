/* Inside of the transport: what transport.c (greeting, receiving, forming, life) and
 * transport_nodes.c (who there is, sending) share. */
#ifndef SP_CLUSTER_TRANSPORT_PARTS_H
#define SP_CLUSTER_TRANSPORT_PARTS_H

#include "cluster/bootstrap.h"
#include "cluster/greeting.h"
#include "cluster/inbound.h"
#include "cluster/link.h"
#include "cluster/seeds.h"
#include "cluster/transport.h"

/* Nodes greet each other once a second: one that comes to it so late is slow, or hangs. */
#define SP_TRANSPORT_SLOW_MS 2500

/* A connection of which nothing was heard for so long is that of a machine that lost its power: it
 * does not keep out the process that has taken its place. */
#define SP_TRANSPORT_GHOST_MS 5000

/* A node that greets us while our link to it has been down for so long is not where we look. */
#define SP_TRANSPORT_LOST_MS 1000

/* Who is refused comes again within a second: after this time it does not run any more. */
#define SP_TRANSPORT_REFUSED_MS 5000

/* Another node. */
struct sp_transport_node {
    struct sp_link *link;
    struct sp_inbound *inbound;    /* its newest connection to us; NULL: none */
    uint64_t incarnation;          /* of its last HELLO; 0: none yet */
    uint64_t heard_ms;             /* when that came */
    uint32_t condition;            /* what it said of itself */
    uint64_t condition_ms;         /* since when it has said that */
    bool up;                       /* its link is */
    uint64_t link_ms;              /* since when it is up, or is not */
    struct sp_life registered;     /* as the controller knows it; zeros: it does not */
    char refusal[SP_REFUSAL_SIZE]; /* why one of both does not talk to the other; "": they do */
    bool refuses;                  /* it is the other one that said so */
    uint64_t refused_ms;           /* when, the last time */
    uint64_t found_incarnation;    /* of whoever greeted where we look for it, the last time */
    uint64_t up_incarnation;       /* of whom its link was up to, the last time; 0: nobody */
    uint64_t turned_away_ms;       /* when it said there that it does not want to talk, the last */
    uint64_t turned_away_by;       /* time, and with which incarnation */
    uint64_t elsewhere_ms;         /* when it greeted and was not found, the last time; 0: never */
    struct sp_refusals refusals;   /* what of that was told */
};

/* A process that was not let in, as another directory has its node id. */
struct sp_transport_double {
    uint32_t node_id; /* 0: none */
    uint64_t incarnation;
    uint64_t noted_ms;
    char text[SP_REFUSAL_SIZE];
};

#define SP_TRANSPORT_DOUBLES_MAX 4 /* the newest are kept */

struct sp_transport {
    struct sp_loop *loop;
    struct sp_store *store;
    const struct sp_transport_handler *handler;
    void *arg;
    uint32_t node_id;
    struct sp_node_port *port;
    struct sp_transport_node nodes[SP_NODES_MAX];
    unsigned node_count;
    struct sp_transport_double doubles[SP_TRANSPORT_DOUBLES_MAX];
    struct sp_refusals refusals; /* of these, as traced */
    struct sp_trace_limit foreign_limit;
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

/* The node, or NULL. */
struct sp_transport_node *sp_transport_find(struct sp_transport *transport, uint32_t node_id);

/* Adds a node whose link is not connected yet. SPATE_ERR_BUSY: SP_NODES_MAX are known;
 * SPATE_ERR_NOMEM. */
int sp_transport_add_node(struct sp_transport *transport, uint32_t node_id, const char *address);

/* Its link is up, or is not any more. Up to another directory than the last time: the process of
 * that one is gone, also when nobody saw it go, and the handler is told so first. */
void sp_transport_note_link(struct sp_transport *transport, uint32_t node_id, bool up);

/* Why one of both does not talk to the other; `refuses`: the other one says so. */
void sp_transport_note_refusal(const struct sp_transport *transport,
                               struct sp_transport_node *node,
                               bool refuses,
                               const char *text,
                               size_t size);

/* Whoever is where the node was does not want to talk to this one. */
void sp_transport_note_turned_away(const struct sp_transport *transport,
                                   struct sp_transport_node *node,
                                   const struct sp_peer_refusal *refusal);

/* One that was noted is not one any more: the controller knows it. */
void sp_transport_forget_double(struct sp_transport *transport,
                                uint32_t node_id,
                                uint64_t incarnation);

/* A member goes on greeting, and is not found where this node looks for it: traced now and then. */
void sp_transport_note_elsewhere(struct sp_transport *transport, struct sp_transport_node *node);

/* A node that is not known here and FORMED has greeted; `expected` as for check_hello. */
void sp_transport_met_stranger(struct sp_transport *transport,
                               const struct sp_peer_hello *hello,
                               uint32_t expected);

/* transport.c */
extern const struct sp_link_handler sp_transport_link_handler;
void sp_transport_part_closed(void *arg);

#endif /* SP_CLUSTER_TRANSPORT_PARTS_H */
