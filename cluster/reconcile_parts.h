/* Inside of reconcile: what reconcile.c (differences, events, life) and reconcile_item.c (what one
 * replica goes through) share. */
#ifndef SP_CLUSTER_RECONCILE_PARTS_H
#define SP_CLUSTER_RECONCILE_PARTS_H

#include "base/map.h"
#include "base/trace.h"
#include "cluster/reconcile.h"

/* Before what failed for want of memory or space comes again: the first time, and at most. */
#define SP_RECONCILE_RETRY_MS 200
#define SP_RECONCILE_RETRY_MS_MAX 5000

/* One partition replica of this node.
 *
 *   QUEUED --> OPENING --> RUNNING --(doomed)--> CLOSING --> gone
 *     ^  |        |
 *     |  |        +--- retriable ---> RESTING --timer--> QUEUED
 *     |  |        '--- damaged -----> DAMAGED
 *     '--'  (no memory: RESTING)
 *
 * LOST is one that never runs, since its disk was replaced (sp_state_may_run): it is here to be
 * counted, until the state has another one in its place.
 *
 * `doomed` marks a replica whose topic was deleted, `superseded` one in whose place the state has
 * another one or none: from every state it goes, as soon as it can. Data go with the first, and
 * with the second once the state does not know the replica any more. */
enum sp_reconcile_state {
    QUEUED,
    OPENING,
    RUNNING,
    CLOSING,
    RESTING,
    DAMAGED,
    LOST
};

struct sp_reconcile_item {
    struct sp_list node; /* in `queue` while there is something to do, else alone */
    struct sp_reconcile *reconcile;
    enum sp_reconcile_state state;
    bool doomed;
    bool superseded;
    int status;          /* DAMAGED or RESTING: why it was not opened ... */
    uint64_t damaged_ms; /* ... and when that was found */
    uint64_t pause_ms;   /* RESTING: doubled each time in a row */
    uint64_t rest_ms;    /* ... and until when */
    char *refusal;       /* owned: why the controller does not let it be refilled; NULL: unsaid */
    uint64_t topic_id;
    uint32_t partition;
    uint64_t group_id;
    uint64_t replica_id;
    struct sp_replica_place places[SP_REPLICAS_MAX];
    struct sp_machine *machine;
    struct sp_raft_group *group;
    struct sp_group_open open;
};

struct sp_reconcile {
    struct sp_loop *loop;
    struct sp_store *store;
    struct sp_group_table *table;
    struct sp_controller *controller;
    uint32_t node_id;
    struct sp_reconcile_handler handler;
    void *arg;
    struct sp_map *items; /* group id -> struct sp_reconcile_item, owned */
    struct sp_list queue;
    unsigned in_flight;  /* OPENING and CLOSING */
    unsigned lost_count; /* replicas for whose item there was no memory */
    bool confirmed;
    bool quarantined;
    struct sp_deferred advance;
    struct sp_timer retry;
    struct sp_trace_limit rests; /* traces of replicas that are tried again */
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* Asks for a turn of work. */
void sp_reconcile_wake(struct sp_reconcile *reconcile);

/* There is something to do for the item. */
void sp_reconcile_enqueue(struct sp_reconcile_item *item);

/* True if what it has on disk is damaged or contradicts others: it stays out. */
bool sp_reconcile_item_is_damaged(const struct sp_reconcile_item *item);

/* The timer `retry`: those whose rest is over are tried again. */
void sp_reconcile_end_rests(struct sp_reconcile *reconcile);

/* The deferred work: takes the next steps. */
void sp_reconcile_advance(struct sp_deferred *deferred);

/* reconcile.c: a replica is gone from here; brings its partition to what the state says. */
void sp_reconcile_item_gone(struct sp_reconcile *reconcile, uint64_t topic_id, uint32_t partition);

#endif /* SP_CLUSTER_RECONCILE_PARTS_H */
