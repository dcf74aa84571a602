#include "cluster/reconcile.h"

#include <inttypes.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "cluster/orphans.h"
#include "cluster/reconcile_parts.h"
#include "spate/error.h"

/* ---- differences ----------------------------------------------------------------------------- */

/* Makes the item of a replica that should run here, or would if it had not been lost. NULL: without
 * memory for it, it is looked for again. */
static struct sp_reconcile_item *make_item(struct sp_reconcile *reconcile,
                                           const struct sp_state_topic *topic,
                                           const struct sp_state_partition *partition,
                                           uint64_t replica_id)
{
    struct sp_reconcile_item *item = sp_mem_calloc(1, sizeof *item);

    if (item == NULL || sp_map_put_u64(reconcile->items, partition->group_id, item) != 0) {
        sp_mem_free(item);
        reconcile->lost_count += 1;
        (void)sp_timer_start(&reconcile->retry,
                             sp_loop_now_ms(reconcile->loop) + SP_RECONCILE_RETRY_MS);
        return NULL;
    }
    sp_list_init(&item->node);
    item->reconcile = reconcile;
    item->state = QUEUED;
    item->topic_id = topic->topic_id;
    item->partition = partition->partition;
    item->group_id = partition->group_id;
    item->replica_id = replica_id;
    return item;
}

static void want(struct sp_reconcile *reconcile,
                 const struct sp_state_topic *topic,
                 const struct sp_state_partition *partition,
                 uint64_t replica_id)
{
    struct sp_reconcile_item *item = make_item(reconcile, topic, partition, replica_id);

    if (item != NULL) {
        sp_reconcile_enqueue(item);
    }
}

/* It never runs; the others take a new one in, if they are a majority. */
static void keep_out(struct sp_reconcile *reconcile,
                     const struct sp_state_topic *topic,
                     const struct sp_state_partition *partition,
                     uint64_t replica_id)
{
    struct sp_reconcile_item *item = make_item(reconcile, topic, partition, replica_id);

    if (item == NULL) {
        return;
    }
    item->state = LOST;
    SP_TRACE_WARN(
        "reconcile",
        partition->replica_count > 1
            ? "replica does not run, its disk was replaced: the others have to take a new one in"
            : "replica does not run, its disk was replaced: it was the only one, nothing is left "
              "to fill a new one from",
        "topic=%s partition=%" PRIu32 " group=%" PRIu64 " replica=%" PRIu64,
        topic->name,
        partition->partition,
        partition->group_id,
        replica_id);
}

/* Once: at later starts its new replica is there. */
static void tell_if_anew(const struct sp_reconcile *reconcile,
                         const struct sp_state_topic *topic,
                         const struct sp_state_partition *partition,
                         const struct sp_replica_place *place)
{
    const struct sp_state *state = sp_controller_state(reconcile->controller);
    const struct sp_replica_place *heir = sp_state_heir(state, partition);
    bool inherits = heir != NULL && heir->replica_id == place->replica_id;

    if ((inherits || sp_state_is_lost(state, place)) &&
        !sp_store_has_replica(reconcile->store, partition->group_id, place->replica_id)) {
        SP_TRACE_WARN("reconcile",
                      inherits && partition->replica_count > 1
                          ? "partition begins anew: the disks of all its replicas were replaced"
                          : "partition begins anew: the disk of its only replica was replaced",
                      "topic=%s partition=%" PRIu32 " group=%" PRIu64 " replica=%" PRIu64,
                      topic->name,
                      partition->partition,
                      partition->group_id,
                      place->replica_id);
    }
}

/* The terms of a group that begins anew do, too: what is known of its last leader would outweigh
 * the word of its next one. */
static void forget_leader(struct sp_reconcile *reconcile,
                          const struct sp_state_partition *partition)
{
    if (sp_state_heir(sp_controller_state(reconcile->controller), partition) != NULL &&
        sp_group_table_leader(reconcile->table, partition->group_id, NULL) == 0) {
        sp_group_table_forget(reconcile->table, partition->group_id);
    }
}

/* Runs the replica that the state has here, if any, and no other. */
static void settle_partition(struct sp_reconcile *reconcile,
                             const struct sp_state_topic *topic,
                             const struct sp_state_partition *partition)
{
    const struct sp_state *state = sp_controller_state(reconcile->controller);
    const struct sp_replica_place *place = sp_state_place_on(state, partition, reconcile->node_id);
    struct sp_reconcile_item *item = sp_map_get_u64(reconcile->items, partition->group_id);

    forget_leader(reconcile, partition);
    if (item != NULL) {
        item->superseded = place == NULL || item->replica_id != place->replica_id;
        if (item->superseded) {
            sp_reconcile_enqueue(item);
        }
    } else if (place != NULL && sp_state_may_run(state, partition, place)) {
        tell_if_anew(reconcile, topic, partition, place);
        want(reconcile, topic, partition, place->replica_id);
    } else if (place != NULL) {
        keep_out(reconcile, topic, partition, place->replica_id);
    }
}

static void want_topic(struct sp_reconcile *reconcile, const struct sp_state_topic *topic)
{
    for (uint32_t i = 0; i < topic->partition_count; i++) {
        settle_partition(reconcile, topic, &topic->partitions[i]);
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

static void doom(struct sp_reconcile_item *item)
{
    item->doomed = true;
    sp_reconcile_enqueue(item);
}

static void doom_topic(struct sp_reconcile *reconcile, const struct sp_state_topic *topic)
{
    for (uint32_t i = 0; i < topic->partition_count; i++) {
        struct sp_reconcile_item *item =
            sp_map_get_u64(reconcile->items, topic->partitions[i].group_id);
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
    struct sp_reconcile_item *item = NULL;

    while ((item = sp_map_next(reconcile->items, &cursor)) != NULL) {
        if (sp_state_topic_by_id(state, item->topic_id) == NULL) {
            doom(item);
        }
    }
}

static bool has_item(void *arg, const struct sp_replica_record *record)
{
    const struct sp_reconcile *reconcile = arg;
    const struct sp_reconcile_item *item = sp_map_get_u64(reconcile->items, record->group_id);

    return item != NULL && item->replica_id == record->replica_id;
}

/* Settles a partition whose replicas have changed, and removes those of this node that the state
 * does not know any more. */
static void partition_changed(struct sp_reconcile *reconcile,
                              const struct sp_state_topic *topic,
                              uint32_t partition)
{
    const struct sp_state *state = sp_controller_state(reconcile->controller);

    settle_partition(reconcile, topic, &topic->partitions[partition]);
    sp_orphans_settle_partition(
        reconcile->store, state, &topic->partitions[partition], has_item, reconcile);
}

void sp_reconcile_item_gone(struct sp_reconcile *reconcile, uint64_t topic_id, uint32_t partition)
{
    const struct sp_state_topic *topic =
        sp_state_topic_by_id(sp_controller_state(reconcile->controller), topic_id);

    if (topic != NULL) {
        partition_changed(reconcile, topic, partition);
    }
}

static void on_retry(struct sp_timer *timer)
{
    struct sp_reconcile *reconcile = SP_CONTAINER_OF(timer, struct sp_reconcile, retry);

    sp_reconcile_end_rests(reconcile);
    if (reconcile->lost_count > 0) {
        find_work(reconcile);
    }
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
    } else if (change->kind == SP_STATE_PARTITION_CHANGED) {
        partition_changed(reconcile, change->topic, change->partition);
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
    sp_deferred_init(&reconcile->advance, sp_reconcile_advance);
    sp_timer_init(&reconcile->retry, loop, on_retry);
    *out_reconcile = reconcile;
    return 0;
}

void sp_reconcile_close(struct sp_reconcile *reconcile, void (*closed)(void *arg), void *arg)
{
    struct sp_map_cursor cursor = { 0 };
    struct sp_reconcile_item *item = NULL;

    SP_ASSERT(!reconcile->closing);
    reconcile->closing = true;
    reconcile->closed = closed;
    reconcile->closed_arg = arg;
    while ((item = sp_map_next(reconcile->items, &cursor)) != NULL) {
        sp_reconcile_enqueue(item);
    }
    sp_reconcile_wake(reconcile);
}

bool sp_reconcile_next_damage(const struct sp_reconcile *reconcile,
                              struct sp_map_cursor *cursor,
                              struct sp_reconcile_damage *out)
{
    const struct sp_reconcile_item *item = NULL;

    while ((item = sp_map_next(reconcile->items, cursor)) != NULL) {
        if (!item->doomed && !item->superseded && sp_reconcile_item_is_damaged(item)) {
            *out = (struct sp_reconcile_damage){
                .topic_id = item->topic_id,
                .partition = item->partition,
                .group_id = item->group_id,
                .replica_id = item->replica_id,
                .text = item->open.text,
                .refusal = item->refusal != NULL ? item->refusal : SP_RECONCILE_WAITS_FOR_LEADER,
                .since_ms = item->state == RUNNING ? sp_raft_group_stopped_ms(item->group)
                                                   : item->damaged_ms
            };
            return true;
        }
    }
    return false;
}

bool sp_reconcile_note_refusal(struct sp_reconcile *reconcile, uint64_t group_id, const char *text)
{
    struct sp_reconcile_item *item = sp_map_get_u64(reconcile->items, group_id);

    if (item == NULL || (item->refusal != NULL && strcmp(item->refusal, text) == 0)) {
        return false;
    }
    char *kept = sp_mem_alloc(strlen(text) + 1);
    if (kept != NULL) {
        memcpy(kept, text, strlen(text) + 1);
        sp_mem_free(item->refusal);
        item->refusal = kept;
    }
    return true;
}

bool sp_reconcile_may_refill(struct sp_reconcile *reconcile)
{
    sp_store_look_at_quarantine(reconcile->store); /* the next question has the answer */
    return sp_store_quarantined(reconcile->store) < SP_QUARANTINE_MAX;
}

unsigned sp_reconcile_missing_count(const struct sp_reconcile *reconcile)
{
    struct sp_map_cursor cursor = { 0 };
    const struct sp_reconcile_item *item = NULL;
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
