/* All Raft groups of one node: opens and closes replicas, routes messages to them, and knows who
 * leads what in the whole cluster.
 *
 *   transport --message--> group_table --by group id--> raft_group
 *   raft_group --leader changed--> leader table --LEADERS--> all other nodes
 *
 * Every node learns every group's leader, so every node can answer metadata. */
#ifndef SP_CLUSTER_GROUP_TABLE_H
#define SP_CLUSTER_GROUP_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/feature.h"
#include "cluster/leader_table.h"
#include "cluster/raft_group.h"
#include "cluster/transport.h"

struct sp_exposition;
struct sp_group_table;

struct sp_group_table_options {
    struct sp_loop *loop;
    struct sp_store *store;
    struct sp_transport *transport;
    uint32_t node_id;
    uint32_t election_timeout_ms;
    uint32_t heartbeat_timeout_ms;
    uint32_t fill_bytes_per_s; /* to new replicas, of all groups together; 0: no limit */
    /* of struct sp_raft_context; may be NULL */
    bool (*has_others)(void *arg, const struct sp_raft_group *group);
    void *arg;
};

/* Options are copied; what they name outlives the table. SPATE_ERR_NOMEM. */
int sp_group_table_new(const struct sp_group_table_options *options,
                       struct sp_group_table **out_table);

/* Every group closes (after handing over leadership, see sp_group_table_drain), then `closed`. */
void sp_group_table_close(struct sp_group_table *table, void (*closed)(void *arg), void *arg);

struct sp_group_open;
/* 0: `open->group` runs. Else `open->text` says why (SPATE_ERR_CORRUPT: this replica must not vote;
 * it stays closed). */
typedef void (*sp_group_open_cb)(struct sp_group_open *open, int status);

/* Opening in progress, embedded by its caller. Fill the first part. */
struct sp_group_open {
    uint64_t group_id;
    uint64_t replica_id;
    const struct sp_replica_place *places; /* creating: first membership; NULL: begin empty */
    unsigned place_count;
    int64_t created_ms;         /* creating: time of the first frame, same everywhere */
    struct sp_machine *machine; /* stays valid until the group is closed */
    sp_group_open_cb cb;
    void *arg;
    struct sp_raft_group *group;  /* result */
    char text[256];               /* result of failure */
    struct sp_group_table *table; /* the rest belongs to group_table */
    struct sp_replica_open open;
};

/* Opens the replica if the registry knows it, else creates it with the given first membership. */
void sp_group_table_open(struct sp_group_table *table, struct sp_group_open *open);

/* Closes a group and, if `remove`, deletes its replica from disk and registry. */
void sp_group_table_remove(struct sp_group_table *table,
                           struct sp_raft_group *group,
                           bool remove,
                           void (*closed)(void *arg),
                           void *arg);

/* The running group, or NULL. */
struct sp_raft_group *sp_group_table_get(const struct sp_group_table *table, uint64_t group_id);

/* Who leads `group_id` as far as this node knows: node id (0: nobody) and term. */
uint32_t
sp_group_table_leader(const struct sp_group_table *table, uint64_t group_id, uint64_t *out_term);

/* Which voters of the group lack committed frames, as its leader said last (bit i: the i-th by
 * rising replica id). */
uint32_t sp_group_table_lagging(const struct sp_group_table *table, uint64_t group_id);

/* All that is known of leaders: since when, and more. */
struct sp_leader_table *sp_group_table_leaders(const struct sp_group_table *table);

/* Forgets a deleted group in the leader table. */
void sp_group_table_forget(struct sp_group_table *table, uint64_t group_id);

/* Called when the leader of a group as known here changed (NULL: nobody). */
void sp_group_table_on_leader(struct sp_group_table *table,
                              void (*cb)(void *arg, uint64_t group_id, uint32_t leader_node),
                              void *arg);

/* Hands over the leadership of every group that this node leads; `done` runs when none is led any
 * more or after `timeout_ms`. */
void sp_group_table_drain(struct sp_group_table *table,
                          uint32_t timeout_ms,
                          void (*done)(void *arg),
                          void *arg);

/* Events from the transport and the store, passed on by the node. */
void sp_group_table_message(struct sp_group_table *table,
                            uint32_t from_node,
                            struct sp_peer_message *message);
void sp_group_table_link(struct sp_group_table *table, uint32_t node_id, enum sp_link_state state);
void sp_group_table_meta_durable(struct sp_group_table *table, uint64_t sequence);

/* The cluster's feature level as this node has applied it. */
void sp_group_table_set_level(struct sp_group_table *table, uint32_t level);

/* Writes the metrics of this layer: replicas, leaders, elections, commits. */
void sp_group_table_expose(const struct sp_group_table *table, struct sp_exposition *exposition);

/* Calls `each` for every running group in order of opening. */
void sp_group_table_each(const struct sp_group_table *table,
                         void (*each)(void *arg, struct sp_raft_group *group),
                         void *arg);

#endif /* SP_CLUSTER_GROUP_TABLE_H */
