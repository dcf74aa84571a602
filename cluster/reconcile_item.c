/* What one replica goes through: opened, run, closed; the drawing is in reconcile_parts.h. */
#include "cluster/reconcile_parts.h"

#include <inttypes.h>

#include "base/mem.h"
#include "base/trace.h"
#include "cluster/orphans.h"
#include "spate/error.h"

#define RESTS_PER_SECOND_MAX 5 /* traces */
#define IN_FLIGHT_MAX 8 /* opens and closes at once: each is a job that reads or syncs a log */

void sp_reconcile_wake(struct sp_reconcile *reconcile)
{
    sp_loop_defer(reconcile->loop, &reconcile->advance);
}

void sp_reconcile_enqueue(struct sp_reconcile_item *item)
{
    if (sp_list_empty(&item->node)) {
        sp_list_append(&item->reconcile->queue, &item->node);
    }
    sp_reconcile_wake(item->reconcile);
}

static void item_free(struct sp_reconcile_item *item)
{
    sp_list_remove(&item->node);
    (void)sp_map_remove_u64(item->reconcile->items, item->group_id); /* this item */
    sp_mem_free(item->refusal);
    sp_mem_free(item);
}

static void release_machine(struct sp_reconcile_item *item)
{
    struct sp_reconcile *reconcile = item->reconcile;

    if (item->machine != NULL) {
        reconcile->handler.release(reconcile->arg, item->machine);
        item->machine = NULL;
    }
}

/* A timer that cannot start leaves it to the next event. */
static void wake_at(struct sp_reconcile *reconcile, uint64_t due_ms)
{
    if (!sp_timer_active(&reconcile->retry) || reconcile->retry.due_ms > due_ms) {
        (void)sp_timer_start(&reconcile->retry, due_ms);
    }
}

/* Tries again after a pause, which grows: what is short, a full disk for one, may be so for long.
 */
static void rest(struct sp_reconcile_item *item, int status)
{
    struct sp_reconcile *reconcile = item->reconcile;

    item->pause_ms = item->pause_ms == 0 ? SP_RECONCILE_RETRY_MS : 2 * item->pause_ms;
    if (item->pause_ms > SP_RECONCILE_RETRY_MS_MAX) {
        item->pause_ms = SP_RECONCILE_RETRY_MS_MAX;
    }
    item->state = RESTING;
    item->status = status;
    item->rest_ms = sp_loop_now_ms(reconcile->loop) + item->pause_ms;
    wake_at(reconcile, item->rest_ms);
}

void sp_reconcile_end_rests(struct sp_reconcile *reconcile)
{
    struct sp_map_cursor cursor = { 0 };
    struct sp_reconcile_item *item = NULL;
    uint64_t now_ms = sp_loop_now_ms(reconcile->loop);

    while ((item = sp_map_next(reconcile->items, &cursor)) != NULL) {
        if (item->state == RESTING && item->rest_ms > now_ms) {
            wake_at(reconcile, item->rest_ms);
        } else if (item->state == RESTING) {
            item->state = QUEUED;
            sp_reconcile_enqueue(item);
        }
    }
}

bool sp_reconcile_item_is_damaged(const struct sp_reconcile_item *item)
{
    if (item->state == RUNNING) {
        return sp_raft_group_stop_status(item->group) == SPATE_ERR_CORRUPT;
    }
    return item->state == DAMAGED && item->status == SPATE_ERR_CORRUPT;
}

/* So that its directory is kept when another replica has taken its place. */
static void mark(const struct sp_reconcile_item *item)
{
    if (sp_reconcile_item_is_damaged(item)) {
        sp_store_mark_damaged(item->reconcile->store,
                              item->group_id,
                              item->replica_id,
                              item->open.text[0] != '\0' ? item->open.text
                                                         : "it contradicts itself or its leader");
    }
}

/* ---- opening --------------------------------------------------------------------------------- */

/* The cause, once in a row. */
static void tell_of_rest(struct sp_reconcile_item *item, int status)
{
    struct sp_reconcile *reconcile = item->reconcile;

    if (item->status == status || item->doomed || item->superseded || reconcile->closing ||
        !sp_trace_allowed(
            &reconcile->rests, sp_loop_now_ms(reconcile->loop), RESTS_PER_SECOND_MAX, NULL)) {
        return;
    }
    SP_TRACE_WARN("reconcile",
                  "replica cannot be opened yet and is tried again",
                  "topic_id=%" PRIu64 " partition=%" PRIu32 " group=%" PRIu64 " replica=%" PRIu64
                  " error=%s text=%s",
                  item->topic_id,
                  item->partition,
                  item->group_id,
                  item->replica_id,
                  spate_error_name(status),
                  item->open.text);
}

static void open_failed(struct sp_reconcile_item *item, int status)
{
    release_machine(item);
    if (spate_error_retriable(status)) {
        tell_of_rest(item, status);
        rest(item, status);
        return;
    }
    item->state = DAMAGED;
    item->status = status;
    item->damaged_ms = sp_loop_now_ms(item->reconcile->loop);
    mark(item);
    if (!item->doomed && !item->superseded && !item->reconcile->closing) {
        SP_TRACE_ERROR("reconcile",
                       "replica cannot be opened and stays closed",
                       "topic_id=%" PRIu64 " partition=%" PRIu32 " group=%" PRIu64
                       " replica=%" PRIu64 " error=%s text=%s",
                       item->topic_id,
                       item->partition,
                       item->group_id,
                       item->replica_id,
                       spate_error_name(status),
                       item->open.text);
    }
}

static void on_open(struct sp_group_open *open, int status)
{
    struct sp_reconcile_item *item = open->arg;
    struct sp_reconcile *reconcile = item->reconcile;

    reconcile->in_flight -= 1;
    if (status != 0) {
        open_failed(item, status);
    } else {
        item->state = RUNNING;
        item->status = 0;
        item->pause_ms = 0;
        item->group = open->group;
        reconcile->handler.opened(reconcile->arg, item->machine, item->group);
    }
    sp_reconcile_enqueue(item);
}

/* Replicas that the partition was made with write the first membership themselves, as does the one
 * with which it begins anew. All that came later, or come after others did, begin empty and receive
 * it. A forced membership has changed with whom the group began: others have that frame. Of one
 * that begins anew nobody has it. */
static unsigned find_founders(const struct sp_state *state,
                              const struct sp_state_partition *partition,
                              uint64_t replica_id,
                              struct sp_replica_place out_places[SP_REPLICAS_MAX])
{
    const struct sp_replica_place *heir = sp_state_heir(state, partition);
    bool found = false;

    if (heir != NULL && heir->replica_id == replica_id) {
        out_places[0] = *heir;
        return 1;
    }
    for (unsigned i = 0; i < partition->replica_count; i++) {
        found = found || partition->replicas[i].replica_id == replica_id;
        out_places[i] = partition->replicas[i];
    }
    bool founds =
        found && !partition->moved &&
        (replica_id >= sp_state_forced_below(state) || sp_state_began_anew(state, partition));
    return founds ? partition->replica_count : 0;
}

static void start_open(struct sp_reconcile_item *item)
{
    struct sp_reconcile *reconcile = item->reconcile;
    const struct sp_state *state = sp_controller_state(reconcile->controller);
    const struct sp_state_topic *topic = sp_state_topic_by_id(state, item->topic_id);

    if (topic == NULL) {
        rest(item, 0); /* the state was restored just now, this item is about to be doomed */
        return;
    }
    const struct sp_state_partition *partition = &topic->partitions[item->partition];
    unsigned founders = find_founders(state, partition, item->replica_id, item->places);
    item->machine = reconcile->handler.acquire(reconcile->arg, topic, partition);
    if (item->machine == NULL) {
        rest(item, SPATE_ERR_NOMEM);
        return;
    }
    item->open = (struct sp_group_open){
        .group_id = item->group_id,
        .replica_id = item->replica_id,
        .places = founders > 0 ? item->places : NULL,
        .place_count = founders,
        .created_ms = topic->created_ms, /* of the command: the same on every node */
        .machine = item->machine,
        .cb = on_open,
        .arg = item,
    };
    item->state = OPENING;
    reconcile->in_flight += 1;
    sp_group_table_open(reconcile->table, &item->open);
}

/* ---- closing --------------------------------------------------------------------------------- */

/* It is gone from here; another one may stand in its place. */
static void item_end(struct sp_reconcile_item *item)
{
    struct sp_reconcile *reconcile = item->reconcile;
    uint64_t topic_id = item->topic_id;
    uint32_t partition = item->partition;
    bool superseded = item->superseded && !item->doomed;

    item_free(item);
    sp_reconcile_wake(reconcile);
    if (superseded && !reconcile->closing) {
        sp_reconcile_item_gone(reconcile, topic_id, partition);
    }
}

static void on_closed(void *arg)
{
    struct sp_reconcile_item *item = arg;
    struct sp_reconcile *reconcile = item->reconcile;

    reconcile->in_flight -= 1;
    release_machine(item);
    item_end(item);
}

static void start_close(struct sp_reconcile_item *item)
{
    struct sp_reconcile *reconcile = item->reconcile;

    if (item->superseded) {
        mark(item);
    }
    item->state = CLOSING;
    reconcile->in_flight += 1;
    reconcile->handler.closing(reconcile->arg, item->machine);
    sp_group_table_remove(reconcile->table, item->group, item->doomed, on_closed, item);
}

/* Forgets a replica that does not run. */
static void drop_item(struct sp_reconcile_item *item)
{
    if (item->doomed) {
        sp_orphan_delete(item->reconcile->store, item->group_id, item->replica_id);
        sp_group_table_forget(item->reconcile->table, item->group_id);
    }
    item_end(item);
}

/* ---- advance --------------------------------------------------------------------------------- */

/* The next step of one item; its state says what may be done, `doomed` and closing what shall. */
static void step(struct sp_reconcile_item *item)
{
    bool leave = item->doomed || item->superseded || item->reconcile->closing;

    switch (item->state) {
    case QUEUED:
        if (leave) {
            drop_item(item);
        } else {
            start_open(item);
        }
        break;
    case RUNNING:
        if (leave) {
            start_close(item);
        }
        break;
    case RESTING:
    case DAMAGED:
    case LOST:
        if (leave) {
            drop_item(item);
        }
        break;
    case OPENING:
    case CLOSING:
        break;
    }
}

static void finish_close(struct sp_reconcile *reconcile)
{
    void (*closed)(void *arg) = reconcile->closed;
    void *arg = reconcile->closed_arg;

    sp_timer_stop(&reconcile->retry);
    sp_deferred_cancel(&reconcile->advance);
    sp_map_free(reconcile->items);
    sp_mem_free(reconcile);
    closed(arg);
}

void sp_reconcile_advance(struct sp_deferred *deferred)
{
    struct sp_reconcile *reconcile = SP_CONTAINER_OF(deferred, struct sp_reconcile, advance);

    /* When the node stops all logs close together, so that their last flushes are grouped. */
    while (!sp_list_empty(&reconcile->queue) &&
           (reconcile->in_flight < IN_FLIGHT_MAX || reconcile->closing)) {
        struct sp_reconcile_item *item =
            SP_LIST_ENTRY(reconcile->queue.next, struct sp_reconcile_item, node);
        sp_list_remove(&item->node);
        step(item);
    }
    if (reconcile->closing && sp_map_count(reconcile->items) == 0) {
        finish_close(reconcile);
    }
}
