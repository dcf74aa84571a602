/* Who leads which group, as far as this node knows, and how the other nodes come to know it.
 *
 *   a local replica sees a change -> entry -> (led here, or no more) LEADERS to every linked node
 *   LEADERS from a node           -> entry, if it speaks for itself and its term is not older
 *
 * All calls on the loop thread. */
#ifndef SP_CLUSTER_LEADER_TABLE_H
#define SP_CLUSTER_LEADER_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "cluster/transport.h"
#include "io/loop.h"

struct sp_leader_table;

/* Of node `node_id`; loop and transport outlive it. SPATE_ERR_NOMEM. */
int sp_leader_table_new(struct sp_loop *loop,
                        struct sp_transport *transport,
                        uint32_t node_id,
                        struct sp_leader_table **out_table);

/* NULL is fine. */
void sp_leader_table_free(struct sp_leader_table *table);

/* Sets who is called, inside of what makes it so, when a group has another leader; `leader_node` 0:
 * none. */
void sp_leader_table_on_change(struct sp_leader_table *table,
                               void (*cb)(void *arg, uint64_t group_id, uint32_t leader_node),
                               void *arg);

/* Node id (0: nobody) and term (may be NULL). */
uint32_t
sp_leader_table_get(const struct sp_leader_table *table, uint64_t group_id, uint64_t *out_term);

/* Which voters lack committed frames, as the leader said last (bit i: the i-th by rising id). */
uint32_t sp_leader_table_lagging(const struct sp_leader_table *table, uint64_t group_id);

/* True if another node leads the group by its own word, which it has not taken back, and was heard
 * of (by its greetings, some two a second) at `heard_ms` or later, by the loop's clock. */
bool sp_leader_table_led_elsewhere(const struct sp_leader_table *table,
                                   uint64_t group_id,
                                   uint64_t heard_ms);

/* Since when, by the loop's clock, this node knows what it knows of a group. */
struct sp_leader_since {
    uint64_t leader_ms;    /* who leads it, or that nobody does */
    uint64_t lagging_ms;   /* that some voter lacks committed frames; 0: none does */
    uint64_t misplaced_ms; /* that another node should lead it; 0: none should */
};

/* False: nothing was ever heard of the group. */
bool sp_leader_table_since(const struct sp_leader_table *table,
                           uint64_t group_id,
                           struct sp_leader_since *out_since);

/* Somebody has looked whether another node should lead the group. */
void sp_leader_table_misplaced(struct sp_leader_table *table, uint64_t group_id, bool misplaced);

/* What a local replica knows now; other nodes are told when it concerns leadership of this one.
 * `lagging` counts only when this node leads. */
void sp_leader_table_set(struct sp_leader_table *table,
                         uint64_t group_id,
                         uint64_t term,
                         uint32_t leader_node,
                         uint32_t lagging);

/* The local replica goes. What this node led it leads no more; who leads elsewhere stays known; of
 * a group that the replica knew no leader of, what other nodes said of themselves counts again. */
void sp_leader_table_leave(struct sp_leader_table *table, uint64_t group_id);

/* The group is deleted: nothing of it is kept. */
void sp_leader_table_forget(struct sp_leader_table *table, uint64_t group_id);

/* LEADERS came in. */
void sp_leader_table_hear(struct sp_leader_table *table,
                          uint32_t from_node,
                          const struct sp_peer_message *message);

/* A node is linked: tell it all that is led here, and from now on every change. */
void sp_leader_table_node_up(struct sp_leader_table *table, uint32_t node_id);
void sp_leader_table_node_down(struct sp_leader_table *table, uint32_t node_id);

/* Tells those nodes everything again whom the last news could not be sent, as their queue was full,
 * and all nodes now and then. To be called several times a second. */
void sp_leader_table_retell(struct sp_leader_table *table);

/* The node's process is gone: it leads nothing any more. */
void sp_leader_table_node_dead(struct sp_leader_table *table, uint32_t node_id);

#endif /* SP_CLUSTER_LEADER_TABLE_H */
