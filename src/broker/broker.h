/* The broker: the client port of a node, and the partitions that it serves.
 *
 *   connection -> session -> method -> partition (leads it?) -> raft_group -> reply
 *                                   -> controller (changes)  -> reply
 *
 * It owns the partitions' state machines; cluster/reconcile opens and closes their groups through
 * the handler below. All calls on the loop thread. */
#ifndef SP_BROKER_BROKER_H
#define SP_BROKER_BROKER_H

#include <stdint.h>

#include "cluster/controller.h"
#include "cluster/group_table.h"
#include "cluster/join.h"
#include "cluster/mover.h"
#include "cluster/reconcile.h"

struct sp_broker;
struct sp_exposition;
struct sp_health;
struct sp_pack;

struct sp_broker_options {
    struct sp_loop *loop;
    struct sp_store *store;
    struct sp_group_table *table;
    struct sp_transport *transport;
    struct sp_controller *controller;
    uint32_t node_id;
    const char *listen;          /* address of the client port */
    const char *listen_outside;  /* of a second one, whose clients get other addresses; "": none */
    uint32_t connections_max;    /* 0: SP_CONNECTIONS_MAX */
    uint32_t group_retention_ms; /* of offsets of consumer groups without members; 0: for ever */
    uint32_t group_stalled_ms;   /* an owner that does not progress for so long is reported */
    uint64_t compaction_bytes_per_s; /* read and written by compaction; 0: no limit */
    size_t compaction_memory_bytes;  /* for the keys of one pass */
    size_t client_bytes_max; /* that all clients together make the node hold; 0: the default */
};

/* Opens the client ports. Errors as sp_server_new. */
int sp_broker_new(const struct sp_broker_options *options, struct sp_broker **out_broker);

/* What cluster/reconcile needs to run this broker's partitions; `arg` is the broker. */
extern const struct sp_reconcile_handler sp_broker_reconcile_handler;

/* The number of the client port, also where the address left it to the system. */
uint16_t sp_broker_port(const struct sp_broker *broker);

/* The second port; 0 without one. */
uint16_t sp_broker_outside_port(const struct sp_broker *broker);

/* Replicas that should run here and do not; shown by health. */
void sp_broker_set_reconcile(struct sp_broker *broker, const struct sp_reconcile *reconcile);

/* Tells how far moves are; NULL: it is gone. */
void sp_broker_set_mover(struct sp_broker *broker, const struct sp_mover *mover);

/* Tells why this node is not let in yet; NULL: it is gone. */
void sp_broker_set_join(struct sp_broker *broker, const struct sp_join *join);

/* The controller's state has other topics than before: consumer groups look at their
 * assignments. */
void sp_broker_topics_changed(struct sp_broker *broker);

/* A topic's configuration has changed; or, with NULL, any may have. */
void sp_broker_topic_altered(struct sp_broker *broker, const struct sp_state_topic *topic);

/* ---- for the HTTP endpoint ---- */

/* Writes the metrics of clients, topics and consumer groups, and of the cluster as `health` says;
 * `partitions`: those of single partitions, too. */
void sp_broker_expose(const struct sp_broker *broker,
                      const struct sp_health *health,
                      struct sp_exposition *exposition,
                      bool partitions);

/* This node and its view of the cluster's health: one map. */
void sp_broker_pack_status(const struct sp_broker *broker, struct sp_pack *pack);

/* ---- life ---- */

/* Closes the ports and all connections, then calls `closed`. Partitions must be gone or go later;
 * their waiting requests are dropped with the connections. */
void sp_broker_close_port(struct sp_broker *broker, void (*closed)(void *arg), void *arg);

/* After the ports are closed and reconcile has released every partition. */
void sp_broker_free(struct sp_broker *broker);

#endif /* SP_BROKER_BROKER_H */
