#include "cluster/reconcile.h"

#include <inttypes.h>

#include "base/assert.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/trace.h"
#include "cluster/orphans.h"
#include "spate/error.h"

#define IN_FLIGHT_MAX 8    /* opens and closes at once: each is a job that reads or syncs a log */
#define RETRY_PAUSE_MS 200 /* before what failed for want of memory or space is tried again */

/* One partition replica of this node.
 *
 *   QUEUED --> OPENING --> RUNNING --(doomed)--> CLOSING --> gone
 *     ^  |        |
 *     |  |        +--- retriable ---> RESTING --timer--> QUEUED
 *     |  |        '--- damaged -----> DAMAGED
 *     '--'  (no memory: RESTING)
 *
 * `doomed` marks a replica whose topic was deleted: from every state it goes, as soon as it can. */
enum item_state {
    QUEUED,
    OPENING,
    RUNNING,
    CLOSING,
    RESTING,
    DAMAGED
};

struct item {
    struct sp_list node; /* in `queue` while there is something to do, else alone */
    struct sp_reconcile *reconcile;
    enum item_state state;
    bool doomed;
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
    struct sp_map *items; /* group id -> struct item, owned */
    struct sp_list queue;
    unsigned in_flight;  /* OPENING and CLOSING */
    unsigned lost_count; /* replicas for whose item there was no memory */
    bool confirmed;
    bool quarantined;
    struct sp_deferred advance;
    struct sp_timer retry;
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

static void wake(struct sp_reconcile *reconcile)
{
    sp_loop_defer(reconcile->loop, &reconcile->advance);
}

static void enqueue(struct item *item)
{
    if (sp_list_empty(&item->node)) {
        sp_list_append(&item->reconcile->queue, &item->node);
    }
    wake(item->reconcile);
}

static void item_free(struct item *item)
{
    sp_list_remove(&item->node);
    (void)sp_map_remove_u64(item->reconcile->items, item->group_id); /* this item */
    sp_mem_free(item);
}

static void release_machine(struct item *item)
{
    struct sp_reconcile *reconcile = item->reconcile;

    if (item->machine != NULL) {
        reconcile->handler.release(reconcile->arg, item->machine);
        item->machine = NULL;
    }
}

/* Tries again after a pause; a timer that cannot start leaves it to the next event. */
static void rest(struct item *item)
{
    struct sp_reconcile *reconcile = item->reconcile;

    item->state = RESTING;
    if (!sp_timer_active(&reconcile->retry)) {
        (void)sp_timer_start(&reconcile->retry, sp_loop_now_ms(reconcile->loop) + RETRY_PAUSE_MS);
    }
}

/* ---- opening --------------------------------------------------------------------------------- */

static void open_failed(struct item *item, int status)
{
    release_machine(item);
    if (spate_error_retriable(status)) {
        rest(item);
        return;
    }
    item->state = DAMAGED;
    if (!item->doomed && !item->reconcile->closing) {
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
    struct item *item = open->arg;
    struct sp_reconcile *reconcile = item->reconcile;

    reconcile->in_flight -= 1;
    if (status != 0) {
        open_failed(item, status);
    } else {
        item->state = RUNNING;
        item->group = open->group;
        reconcile->handler.opened(reconcile->arg, item->machine, item->group);
    }
    enqueue(item);
}

static void start_open(struct item *item)
{
    struct sp_reconcile *reconcile = item->reconcile;
    const struct sp_state *state = sp_controller_state(reconcile->controller);
    const struct sp_state_topic *topic = sp_state_topic_by_id(state, item->topic_id);

    if (topic == NULL) {
        rest(item); /* the state was restored just now, and this item is about to be doomed */
        return;
    }
    const struct sp_state_partition *partition = &topic->partitions[item->partition];
    item->machine = reconcile->handler.acquire(reconcile->arg, topic, partition);
    if (item->machine == NULL) {
        rest(item);
        return;
    }
    for (unsigned i = 0; i < partition->replica_count; i++) {
        item->places[i] = partition->replicas[i];
    }
    item->open = (struct sp_group_open){
        .group_id = item->group_id,
        .replica_id = item->replica_id,
        /* A forced membership has changed with whom the group began: others have that frame. */
        .places = item->replica_id < sp_state_forced_below(state) ? NULL : item->places,
        .place_count = partition->replica_count,
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

static void on_closed(void *arg)
{
    struct item *item = arg;
    struct sp_reconcile *reconcile = item->reconcile;

    reconcile->in_flight -= 1;
    release_machine(item);
    item_free(item);
    wake(reconcile);
}

static void start_close(struct item *item)
{
    struct sp_reconcile *reconcile = item->reconcile;

    item->state = CLOSING;
    reconcile->in_flight += 1;
    reconcile->handler.closing(reconcile->arg, item->machine);
    sp_group_table_remove(reconcile->table, item->group, item->doomed, on_closed, item);
}

/* Forgets a replica that does not run. */
static void drop_item(struct item *item)
{
    if (item->doomed) {
        sp_orphan_delete(item->reconcile->store, item->group_id, item->replica_id);
        sp_group_table_forget(item->reconcile->table, item->group_id);
    }
    item_free(item);
}

/* ---- advance --------------------------------------------------------------------------------- */

/* The next step of one item; its state says what may be done, `doomed` and closing what shall. */
static void step(struct item *item)
{
    bool leave = item->doomed || item->reconcile->closing;

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

static void find_work(struct sp_reconcile *reconcile);

static void advance(struct sp_deferred *deferred)
{
    struct sp_reconcile *reconcile = SP_CONTAINER_OF(deferred, struct sp_reconcile, advance);

    /* When the node stops all logs close together, so that their last flushes are grouped. */
    while (!sp_list_empty(&reconcile->queue) &&
           (reconcile->in_flight < IN_FLIGHT_MAX || reconcile->closing)) {
        struct item *item = SP_LIST_ENTRY(reconcile->queue.next, struct item, node);
        sp_list_remove(&item->node);
        step(item);
    }
    if (reconcile->closing && sp_map_count(reconcile->items) == 0) {
        finish_close(reconcile);
    }
}

static void on_retry(struct sp_timer *timer)
{
    struct sp_reconcile *reconcile = SP_CONTAINER_OF(timer, struct sp_reconcile, retry);
    struct sp_map_cursor cursor = { 0 };
    struct item *item = NULL;

    while ((item = sp_map_next(reconcile->items, &cursor)) != NULL) {
        if (item->state == RESTING) {
            item->state = QUEUED;
            enqueue(item);
        }
    }
    if (reconcile->lost_count > 0) {
        find_work(reconcile);
    }
}

/* ---- differences ----------------------------------------------------------------------------- */

static const struct sp_replica_place *place_here(const struct sp_reconcile *reconcile,
                                                 const struct sp_state_partition *partition)
{
    for (unsigned i = 0; i < partition->replica_count; i++) {
        if (partition->replicas[i].node_id == reconcile->node_id) {
            return &partition->replicas[i];
        }
    }
    return NULL;
}

/* Makes the item of a replica that should run here, unless there is one. */
static void want(struct sp_reconcile *reconcile,
                 const struct sp_state_topic *topic,
                 const struct sp_state_partition *partition)
{
    const struct sp_replica_place *place = place_here(reconcile, partition);

    if (place == NULL || sp_map_get_u64(reconcile->items, partition->group_id) != NULL) {
        return;
    }
    struct item *item = sp_mem_calloc(1, sizeof *item);
    if (item == NULL || sp_map_put_u64(reconcile->items, partition->group_id, item) != 0) {
        sp_mem_free(item);
        reconcile->lost_count += 1;
        (void)sp_timer_start(&reconcile->retry, sp_loop_now_ms(reconcile->loop) + RETRY_PAUSE_MS);
        return;
    }
    sp_list_init(&item->node);
    item->reconcile = reconcile;
    item->state = QUEUED;
    item->topic_id = topic->topic_id;
    item->partition = partition->partition;
    item->group_id = partition->group_id;
    item->replica_id = place->replica_id;
    enqueue(item);
}

static void want_topic(struct sp_reconcile *reconcile, const struct sp_state_topic *topic)
{
    for (uint32_t i = 0; i < topic->partition_count; i++) {
        want(reconcile, topic, &topic->partitions[i]);
    }
}

/* Makes items for all that should run here and has none. */
static void find_work(struct sp_reconcile *reconcile)
{
    const struct sp_state *state = sp_controller_state(reconcile->controller);
    struct sp_map_cursor cursor = { 0 };
    const struct sp_state_topic *topic = NULL;

    reconcile->lost_count = 0;
    while ((topic = sp_state_topic_next(state, &cursor)) != NULL) {
        want_topic(reconcile, topic);
    }
}

static void doom(struct item *item)
{
    item->doomed = true;
    enqueue(item);
}

static void doom_topic(struct sp_reconcile *reconcile, const struct sp_state_topic *topic)
{
    for (uint32_t i = 0; i < topic->partition_count; i++) {
        struct item *item = sp_map_get_u64(reconcile->items, topic->partitions[i].group_id);
        if (item != NULL) {
            doom(item);
        } else {
            sp_group_table_forget(reconcile->table, topic->partitions[i].group_id);
        }
    }
}

/* After the state was restored as a whole: items whose topic is not in it any more. */
static void doom_deleted(struct sp_reconcile *reconcile)
{
    const struct sp_state *state = sp_controller_state(reconcile->controller);
    struct sp_map_cursor cursor = { 0 };
    struct item *item = NULL;

    while ((item = sp_map_next(reconcile->items, &cursor)) != NULL) {
        if (sp_state_topic_by_id(state, item->topic_id) == NULL) {
            doom(item);
        }
    }
}

static bool has_item(void *arg, const struct sp_replica_record *record)
{
    const struct sp_reconcile *reconcile = arg;
    const struct item *item = sp_map_get_u64(reconcile->items, record->group_id);

    return item != NULL && item->replica_id == record->replica_id;
}

/* ---- events ---------------------------------------------------------------------------------- */

void sp_reconcile_changed(struct sp_reconcile *reconcile, const struct sp_state_change *change)
{
    if (!reconcile->confirmed || reconcile->closing) {
        return;
    }
    if (change->kind == SP_STATE_TOPIC_CREATED) {
        want_topic(reconcile, change->topic);
    } else if (change->kind == SP_STATE_TOPIC_DELETED) {
        doom_topic(reconcile, change->topic);
    }
}

void sp_reconcile_confirmed(struct sp_reconcile *reconcile)
{
    if (reconcile->closing) {
        return;
    }
    /* Before anything is created or deleted below replicas/, so that only strangers are moved. */
    if (!reconcile->quarantined) {
        reconcile->quarantined = true;
        int rv = sp_store_quarantine_unknown(reconcile->store);
        if (rv != 0) {
            SP_TRACE_WARN("reconcile",
                          "unknown directories not moved to quarantine",
                          "error=%s",
                          spate_error_name(rv));
        }
    }
    reconcile->confirmed = true;
    doom_deleted(reconcile);
    find_work(reconcile);
    sp_orphans_settle(
        reconcile->store, sp_controller_state(reconcile->controller), has_item, reconcile);
}

/* ---- life ------------------------------------------------------------------------------------ */

int sp_reconcile_new(struct sp_loop *loop,
                     struct sp_store *store,
                     struct sp_group_table *table,
                     struct sp_controller *controller,
                     uint32_t node_id,
                     const struct sp_reconcile_handler *handler,
                     void *arg,
                     struct sp_reconcile **out_reconcile)
{
    struct sp_reconcile *reconcile = sp_mem_calloc(1, sizeof *reconcile);
    struct sp_map *items = sp_map_new();

    if (reconcile == NULL || items == NULL) {
        sp_map_free(items);
        sp_mem_free(reconcile);
        return SPATE_ERR_NOMEM;
    }
    *reconcile = (struct sp_reconcile){ .loop = loop,
                                        .store = store,
                                        .table = table,
                                        .controller = controller,
                                        .node_id = node_id,
                                        .handler = *handler,
                                        .arg = arg,
                                        .items = items };
    sp_list_init(&reconcile->queue);
    sp_deferred_init(&reconcile->advance, advance);
    sp_timer_init(&reconcile->retry, loop, on_retry);
    *out_reconcile = reconcile;
    return 0;
}

void sp_reconcile_close(struct sp_reconcile *reconcile, void (*closed)(void *arg), void *arg)
{
    struct sp_map_cursor cursor = { 0 };
    struct item *item = NULL;

    SP_ASSERT(!reconcile->closing);
    reconcile->closing = true;
    reconcile->closed = closed;
    reconcile->closed_arg = arg;
    while ((item = sp_map_next(reconcile->items, &cursor)) != NULL) {
        enqueue(item);
    }
    wake(reconcile);
}

unsigned sp_reconcile_missing_count(const struct sp_reconcile *reconcile)
{
    struct sp_map_cursor cursor = { 0 };
    const struct item *item = NULL;
    unsigned count = reconcile->lost_count;

    while ((item = sp_map_next(reconcile->items, &cursor)) != NULL) {
        struct sp_raft_group_status status = { 0 };
        if (item->doomed) {
            continue;
        }
        if (item->state == RUNNING) {
            sp_raft_group_status(item->group, &status);
        }
        count += item->state != RUNNING || status.stopped;
    }
    return count;
}
