/* What a partition does next.
 *
 *   advance: expire -> describe topic -> identify -> [seal -> send]* -> set timer */
#include "base/mem.h"
#include "client/producer.h"
#include "wire/client_api.h"

enum {
    CALL_MS = 5000,       /* one try; a leader that hangs longer is asked again, or another one */
    CALL_MARGIN_MS = 300, /* so that the server's own word about its timeout comes first */
    WATCH_MS = 200,       /* an answer that takes longer is reason to look for another leader */
};

/* ---- sending --------------------------------------------------------------------------------- */

static int call_leader(struct sp_producer_partition *partition, struct sp_producer_batch *batch)
{
    struct spate_producer *producer = partition->producer;
    struct sp_produce_request request;
    struct sp_pack pack;
    uint64_t left_ms = batch->deadline_ms - sp_producer_now_ms(partition);
    uint32_t timeout_ms = left_ms < CALL_MS ? (uint32_t)left_ms : CALL_MS;

    sp_produce_request_init(&request);
    request.topic = sp_bytes_text(partition->topic->name);
    request.topic_id = partition->topic_id;
    request.partition = (int32_t)partition->index;
    request.timeout_ms = (int32_t)timeout_ms;
    request.records.batch = sp_bytes_of(batch->body.bytes, batch->body.size);
    sp_buf_clear(&producer->params);
    sp_pack_init(&pack, &producer->params);
    sp_produce_request_encode_head(&pack, &request);
    if (sp_pack_status(&pack) != 0) {
        return sp_pack_status(&pack);
    }
    batch->call = (struct sp_rpc_call){
        .method = "produce",
        .cb = sp_producer_on_answer,
        .timeout_ms = timeout_ms + CALL_MARGIN_MS,
        .at_once = true,
    };
    return sp_connection_call(partition->leader,
                              &batch->call,
                              sp_bytes_of(producer->params.bytes, producer->params.size),
                              &batch->body);
}

/* False when it has to wait, for memory or for a leader. */
static bool send(struct sp_producer_partition *partition, struct sp_producer_batch *batch)
{
    struct spate_producer *producer = partition->producer;
    const struct sp_partition_view *view = &partition->topic->partitions[partition->index];

    if (view->leader == NULL) {
        sp_producer_look_for_leader(partition);
        return false;
    }
    if (partition->running_count == 0) {
        partition->leader = view->leader;
    }
    if (call_leader(partition, batch) != 0) {
        partition->retry_ms = sp_producer_now_ms(partition) + SP_CLIENT_PAUSE_MAX_MS;
        return false;
    }
    producer->in_flight_count += batch->attempted ? 0 : (size_t)batch->count;
    producer->retry_count += batch->attempted ? 1 : 0;
    batch->attempted = true;
    batch->running = true;
    batch->sent_ms = sp_producer_now_ms(partition);
    partition->running_count += 1;
    return true;
}

static bool open_due(const struct sp_producer_partition *partition)
{
    const struct sp_producer_partition *p = partition;

    if (sp_batch_builder_count(&p->builder) == 0) {
        return false;
    }
    return p->producer->flushing || sp_producer_now_ms(p) >= p->open_due_ms;
}

/* The first batch of the list without a call; the open batch when it is due and nothing else is
 * left. While the window is full the open batch goes on filling, which makes larger batches. */
static struct sp_producer_batch *next_to_send(struct sp_producer_partition *partition)
{
    SP_LIST_EACH (node, &partition->batches) {
        struct sp_producer_batch *batch = SP_LIST_ENTRY(node, struct sp_producer_batch, node);
        if (!batch->running) {
            return batch;
        }
    }
    if (!open_due(partition) || sp_producer_seal(partition) != 0) {
        return NULL; /* out of memory: the timer tries again */
    }
    return SP_LIST_ENTRY(partition->batches.prev, struct sp_producer_batch, node);
}

static void send_window(struct sp_producer_partition *partition)
{
    uint32_t window = partition->probing ? 1 : partition->producer->client->config.in_flight_max;

    while (partition->running_count < window) {
        struct sp_producer_batch *batch = next_to_send(partition);
        while (batch != NULL && sp_producer_too_large(batch) && sp_producer_split(batch) == 0) {
            /* Again. Out of memory: the leader refuses it, then. */
        }
        if (batch == NULL || !send(partition, batch)) {
            return;
        }
    }
}

/* ---- deadlines, descriptions, the timer ------------------------------------------------------ */

/* True when the topic is described and is the one that the batches are meant for. */
static bool check_topic(struct sp_producer_partition *partition)
{
    struct sp_topic_view *topic = partition->topic;

    if (topic->status == SPATE_ERR_UNKNOWN_TOPIC) {
        if (sp_producer_unknown_for_long(partition)) {
            sp_producer_fail_all(partition, topic->status, "the topic was deleted");
        } else {
            sp_producer_look_for_leader(partition);
        }
        return false;
    }
    if (topic->status != 0) {
        sp_producer_look_for_leader(partition);
        return false;
    }
    if (topic->id != partition->topic_id) {
        if (partition->topic_id != -1) {
            sp_producer_fail_all(
                partition, SPATE_ERR_UNKNOWN_TOPIC, "the topic was deleted and made anew");
        }
        partition->topic_id = topic->id;
    }
    if (partition->index >= topic->partition_count) {
        sp_producer_fail_all(
            partition, SPATE_ERR_UNKNOWN_PARTITION, "the topic has fewer partitions");
        return false;
    }
    return true;
}

static bool idle(const struct sp_producer_partition *partition)
{
    return sp_list_empty(&partition->batches) && sp_batch_builder_count(&partition->builder) == 0 &&
           !partition->takeover_wanted;
}

static bool held(const struct sp_producer_partition *partition)
{
    return sp_producer_now_ms(partition) < partition->retry_ms ||
           sp_metadata_completed(partition->producer->client->metadata) <
               partition->metadata_needed;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void set_timer(struct sp_producer_partition *partition)
{
    const struct sp_producer_batch *first = sp_producer_oldest(partition);
    uint64_t now_ms = sp_producer_now_ms(partition);
    uint64_t due_ms = UINT64_MAX;

    if (idle(partition)) {
        sp_timer_stop(&partition->timer);
        return;
    }
    if (sp_batch_builder_count(&partition->builder) > 0) {
        due_ms = least(partition->open_deadline_ms,
                       partition->open_due_ms > now_ms ? partition->open_due_ms : UINT64_MAX);
    }
    if (first != NULL) {
        due_ms = least(due_ms, first->deadline_ms);
        due_ms = least(due_ms, now_ms + WATCH_MS);
    }
    if (partition->retry_ms > now_ms) {
        due_ms = least(due_ms, partition->retry_ms);
    }
    /* An open batch whose moment has passed waits for the window, or for memory. */
    due_ms = least(due_ms, now_ms + CALL_MS);
    (void)sp_timer_start(&partition->timer, due_ms); /* out of memory: the next answer advances */
}

/* An answer is late: perhaps somebody else leads by now. */
static void watch(struct sp_producer_partition *partition)
{
    const struct sp_producer_batch *first = sp_producer_oldest(partition);

    if (first != NULL && first->running &&
        sp_producer_now_ms(partition) - first->sent_ms >= WATCH_MS) {
        (void)sp_metadata_want(partition->producer->client->metadata);
    }
}

void sp_producer_advance(struct sp_producer_partition *partition)
{
    sp_producer_expire(partition);
    if (!idle(partition) && !held(partition) && check_topic(partition) &&
        sp_producer_identify(partition) && sp_producer_take_over(partition)) {
        send_window(partition);
    }
    watch(partition);
    set_timer(partition);
}

/* Nothing is on its way: what comes next is meant for the topic as it is known now. A producer with
 * a name has counted what it stored in the old one, and ends there. */
static void meet_topic(struct sp_producer_partition *partition)
{
    const struct sp_topic_view *topic = partition->topic;

    if (topic->status == 0 && topic->id != partition->topic_id && idle(partition) &&
        !sp_producer_has_name(partition->producer)) {
        partition->topic_id = topic->id;
        sp_producer_begin_epoch(partition); /* nobody there knows how far it had counted */
    }
}

void sp_producer_on_metadata(struct sp_producer_partition *partition)
{
    const struct sp_topic_view *topic = partition->topic;
    bool moved = partition->running_count > 0 && partition->index < topic->partition_count &&
                 topic->partitions[partition->index].leader != partition->leader;

    if (moved) {
        sp_producer_withdraw_all(partition); /* the old leader's answer may never come */
    }
    if (topic->batch_bytes_max > 0) {
        partition->refused_bytes = 0; /* there is no need to guess */
    }
    meet_topic(partition);
    sp_producer_advance(partition);
}

static void on_timer(struct sp_timer *timer)
{
    sp_producer_advance(SP_CONTAINER_OF(timer, struct sp_producer_partition, timer));
}

/* ---- life ------------------------------------------------------------------------------------ */

int sp_producer_partition_new(struct spate_producer *producer,
                              struct sp_topic_view *topic,
                              uint32_t index,
                              struct sp_producer_partition **out_partition)
{
    const struct spate_config *config = &producer->client->config;
    struct sp_producer_partition *partition = sp_mem_calloc(1, sizeof *partition);

    if (partition == NULL) {
        return SPATE_ERR_NOMEM;
    }
    partition->producer = producer;
    partition->topic = topic;
    partition->topic_id = topic->id;
    partition->index = index;
    partition->identity_min = 1;
    partition->pause_ms = SP_CLIENT_PAUSE_MIN_MS;
    sp_list_init(&partition->batches);
    sp_batch_builder_init(
        &partition->builder, sp_producer_batch_bytes_max(partition), config->compression);
    sp_timer_init(&partition->timer, producer->client->loop, on_timer);
    *out_partition = partition;
    return 0;
}

void sp_producer_partition_free(struct sp_producer_partition *partition)
{
    sp_timer_stop(&partition->timer);
    sp_producer_withdraw_all(partition);
    sp_batch_builder_deinit(&partition->builder);
    sp_producer_takeover_free(partition->takeover);
    sp_mem_free(partition->ended_text);
    sp_mem_free(partition->opaques);
    sp_mem_free(partition);
}
