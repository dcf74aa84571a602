/* Makes this node match the controller's state: opens the replicas it should have, closes and
 * removes those of deleted topics, quarantines what nobody knows (D10).
 *
 * It acts only after the controller's state was confirmed since start, never on a guess: a missing
 * topic means deletion only in a state that a current leader confirmed and only for a replica id
 * that the state once had. Works through differences a few at a time, so that a thousand partitions
 * do not stall the loop. */
#ifndef SP_CLUSTER_RECONCILE_H
#define SP_CLUSTER_RECONCILE_H

#include "cluster/controller.h"
#include "cluster/group_table.h"

struct sp_reconcile;

/* The owner of the machines (broker) gives and takes them. */
struct sp_reconcile_handler {
    /* A machine for this partition, valid until `release`. NULL: memory is out, asked again. */
    struct sp_machine *(*acquire)(void *arg,
                                  const struct sp_state_topic *topic,
                                  const struct sp_state_partition *partition);
    /* Its group runs now. */
    void (*opened)(void *arg, struct sp_machine *machine, struct sp_raft_group *group);
    /* The group is about to close: use it no more. */
    void (*closing)(void *arg, struct sp_machine *machine);
    /* The group is gone (or never opened): free the machine. */
    void (*release)(void *arg, struct sp_machine *machine);
};

/* The handler is copied, `arg` is passed to it; all else outlives it. SPATE_ERR_NOMEM. */
int sp_reconcile_new(struct sp_loop *loop,
                     struct sp_store *store,
                     struct sp_group_table *table,
                     struct sp_controller *controller,
                     uint32_t node_id,
                     const struct sp_reconcile_handler *handler,
                     void *arg,
                     struct sp_reconcile **out_reconcile);

/* From the controller's handler. */
void sp_reconcile_changed(struct sp_reconcile *reconcile, const struct sp_state_change *change);
void sp_reconcile_confirmed(struct sp_reconcile *reconcile);

/* Stops opening; closes what it opened, then `closed`. */
void sp_reconcile_close(struct sp_reconcile *reconcile, void (*closed)(void *arg), void *arg);

/* Why a damaged replica is still there as long as nothing else is known to keep it. */
#define SP_RECONCILE_WAITS_FOR_LEADER                                                              \
    "it is replaced as soon as the partition has a leader: a majority of its replicas must run "   \
    "without this one; until then this one, too, can be mended by hand (docs/operations.md, "      \
    "Damage)"

/* A replica of this node whose data are damaged. */
struct sp_reconcile_damage {
    uint64_t topic_id;
    uint32_t partition;
    uint64_t group_id;
    uint64_t replica_id;
    const char *text;    /* what was found; "": see the trace. Borrowed like the next one */
    const char *refusal; /* why it is not refilled */
    uint64_t since_ms;   /* when it was found, by the loop's clock */
};

/* The next one, from a cursor that begins at zero; false: there is none. */
bool sp_reconcile_next_damage(const struct sp_reconcile *reconcile,
                              struct sp_map_cursor *cursor,
                              struct sp_reconcile_damage *out);

/* The controller does not let a damaged replica be refilled, `text` says why. False: it had said so
 * before, or the replica has been replaced meanwhile. */
bool sp_reconcile_note_refusal(struct sp_reconcile *reconcile, uint64_t group_id, const char *text);

/* False while there are so many damaged replicas in quarantine that the operator must look first
 * (SP_QUARANTINE_MAX). Counts them for the next question. */
bool sp_reconcile_may_refill(struct sp_reconcile *reconcile);

/* Replicas that should run here and do not (still opening, damaged, or lost with the disk), for
 * health. */
unsigned sp_reconcile_missing_count(const struct sp_reconcile *reconcile);

#endif /* SP_CLUSTER_RECONCILE_H */
