/* The public producer: its life, its reports, waiting for it. */
#include "client/producer.h"

#include "base/assert.h"
#include "base/mem.h"
#include "client/json.h"

enum {
    PARAMS_BYTES_MAX = 1024, /* a topic's name and a few numbers; a producer's name and layout */
};

/* ---- reports --------------------------------------------------------------------------------- */

/* Nobody else writes it, so that this is no more than an addition. */
static void count_reported(struct spate_producer *producer)
{
    uint64_t count = atomic_load_explicit(&producer->reported_count, memory_order_relaxed);

    atomic_store_explicit(&producer->reported_count, count + 1, memory_order_relaxed);
}

static size_t pending_of(const struct spate_producer *producer)
{
    uint64_t reported = atomic_load_explicit(&producer->reported_count, memory_order_relaxed);

    return (size_t)(producer->taken_count - reported);
}

/* Outside of the monitor: what it reads of the batch, its topic and the producer stays as it is. */
static void report(struct spate_producer *producer, const struct sp_producer_batch *batch)
{
    struct spate_delivery delivery = {
        .status = batch->status,
        .topic = batch->partition->topic->name,
        .partition = (int32_t)batch->partition->index,
        .offset = -1,
        .term = batch->term,
        .fsynced = batch->fsynced,
        .text = batch->text != NULL ? batch->text : spate_strerror(batch->status),
    };

    for (int32_t i = 0; i < batch->count; i++) {
        delivery.offset = batch->status == 0 ? batch->offset + i : -1;
        delivery.opaque = batch->opaques == NULL ? NULL : batch->opaques[i];
        count_reported(producer);
        if (producer->cb != NULL && delivery.opaque != &producer->waits) {
            producer->cb(producer->arg, &delivery);
        }
    }
}

static bool reports_ready(struct sp_dispatcher *dispatcher)
{
    const struct spate_producer *producer =
        SP_CONTAINER_OF(dispatcher, struct spate_producer, dispatcher);

    return !producer->dispatching && !sp_list_empty(&producer->finished);
}

static unsigned run_reports(struct sp_dispatcher *dispatcher)
{
    struct spate_producer *producer =
        SP_CONTAINER_OF(dispatcher, struct spate_producer, dispatcher);
    unsigned count = 0;

    SP_PRODUCER_HOLD(producer);
    producer->dispatching = true; /* a callback may produce and poll, but not report */
    producer->dispatching_thread = sp_client_thread(producer->client);
    while (!sp_list_empty(&producer->finished)) {
        struct sp_producer_batch *batch =
            SP_LIST_ENTRY(producer->finished.next, struct sp_producer_batch, node);
        sp_list_remove(&batch->node);
        struct sp_client_callback callback;
        sp_client_suspend(producer->client, &callback);
        report(producer, batch);
        sp_client_resume(producer->client, &callback);
        count += (unsigned)batch->count;
        sp_producer_batch_free(batch);
    }
    producer->dispatching = false;
    sp_client_wake(producer->client); /* other threads wait until nothing is pending */
    return count;
}

static bool dispatching_here(const struct spate_producer *producer)
{
    return producer->dispatching &&
           producer->dispatching_thread == sp_client_thread(producer->client);
}

void sp_producer_report(struct spate_producer *producer)
{
    if (reports_ready(&producer->dispatcher)) {
        (void)run_reports(&producer->dispatcher);
    }
}

/* ---- its partitions       ------------------------------------------------------------------- */

void sp_producer_each(struct spate_producer *producer,
                      void (*each)(struct sp_producer_partition *partition))
{
    struct sp_map_cursor cursor = { 0 };
    struct sp_producer_topic *topic;

    while ((topic = sp_map_next(producer->topics, &cursor)) != NULL) {
        for (uint32_t i = 0; i < topic->partition_count; i++) {
            if (topic->partitions[i] != NULL) {
                each(topic->partitions[i]);
            }
        }
    }
}

static void on_metadata(struct sp_metadata_observer *observer)
{
    sp_producer_each(SP_CONTAINER_OF(observer, struct spate_producer, observer),
                     sp_producer_on_metadata);
}

/* ---- waiting and counting -------------------------------------------------------------------- */

int spate_producer_flush(struct spate_producer *producer, int timeout_ms)
{
    if (producer == NULL) {
        return SPATE_ERR_INVALID;
    }
    struct spate_client *client = producer->client;
    SP_CLIENT_HOLD(client);
    SP_PRODUCER_HOLD(producer);
    uint64_t deadline_ms = sp_client_deadline(client, timeout_ms);
    int rv = 0;

    producer->flushing += 1;
    sp_producer_report(producer);
    sp_producer_each(producer, sp_producer_advance);
    while (rv == 0 && pending_of(producer) > 0) {
        rv = sp_client_run(client, deadline_ms);
        sp_producer_report(producer);
        if (dispatching_here(producer) || sp_loop_now_ms(client->loop) >= deadline_ms) {
            break; /* a callback that flushes cannot wait for its own report */
        }
    }
    producer->flushing -= 1;
    if (rv == 0 && pending_of(producer) > 0) {
        return sp_client_fail(client,
                              SPATE_ERR_TIMEOUT,
                              "%zu records are still waiting for their outcome",
                              pending_of(producer));
    }
    return rv;
}

size_t spate_producer_pending(const struct spate_producer *producer)
{
    if (producer == NULL) {
        return 0;
    }
    SP_CLIENT_HOLD(producer->client);
    return pending_of(producer);
}

size_t spate_producer_in_flight(const struct spate_producer *producer)
{
    if (producer == NULL) {
        return 0;
    }
    SP_CLIENT_HOLD(producer->client);
    return producer->in_flight_count;
}

uint64_t spate_producer_retries(const struct spate_producer *producer)
{
    if (producer == NULL) {
        return 0;
    }
    SP_CLIENT_HOLD(producer->client);
    return producer->retry_count;
}

/* ---- as a part of its client ----------------------------------------------------------------- */

static void cancel_partition(struct sp_producer_partition *partition);

static struct spate_producer *of_part(struct sp_client_part *part)
{
    return SP_CONTAINER_OF(part, struct spate_producer, part);
}

static bool part_ready(struct sp_client_part *part)
{
    return reports_ready(&of_part(part)->dispatcher);
}

static bool part_busy(struct sp_client_part *part)
{
    return pending_of(of_part(part)) > 0;
}

static int part_flush(struct sp_client_part *part, int timeout_ms)
{
    return spate_producer_flush(of_part(part), timeout_ms);
}

static void part_cancel(struct sp_client_part *part)
{
    sp_producer_each(of_part(part), cancel_partition);
}

static void part_free(struct sp_client_part *part)
{
    spate_producer_free(of_part(part));
}

static void part_tell(struct sp_client_part *part, struct sp_json *json)
{
    const struct spate_producer *producer = of_part(part);

    sp_json_number(json, "taken", (int64_t)producer->taken_count);
    sp_json_number(json, "pending", (int64_t)pending_of(producer));
    sp_json_number(json, "in_flight", (int64_t)producer->in_flight_count);
    sp_json_number(json, "buffered_bytes", (int64_t)producer->buffered_bytes);
    sp_json_number(json, "retries", (int64_t)producer->retry_count);
}

static const struct sp_client_part part_model = {
    .kind = "producers",
    .tell = part_tell,
    .ready = part_ready,
    .busy = part_busy,
    .flush = part_flush,
    .cancel = part_cancel,
    .free = part_free,
};

/* ---- life ------------------------------------------------------------------------------------ */

/* A batch that is sent again later than that could be forgotten, and stored twice. */
static int check_timeout(struct spate_client *client)
{
    if (client->config.timeout_ms <= SP_PRODUCER_RETRY_MS_MAX) {
        return 0;
    }
    return sp_client_fail(
        client,
        SPATE_ERR_INVALID,
        "a producer takes a timeout.ms of %d at most, not %u: partitions may have "
        "forgotten what it sends again after longer, and store it twice",
        SP_PRODUCER_RETRY_MS_MAX,
        client->config.timeout_ms);
}

int spate_producer_new(struct spate_client *client,
                       spate_delivery_cb cb,
                       void *arg,
                       struct spate_producer **out_producer)
{
    if (client == NULL) {
        return SPATE_ERR_INVALID;
    }
    SP_CLIENT_HOLD(client);
    int rv = sp_client_need(client, out_producer, "out_producer");

    rv = rv != 0 ? rv : sp_client_check_open(client);
    rv = rv != 0 ? rv : check_timeout(client);
    if (rv != 0) {
        return rv;
    }
    struct spate_producer *producer = sp_mem_calloc(1, sizeof *producer);
    if (producer != NULL) {
        producer->topics = sp_map_new();
    }
    if (producer == NULL || producer->topics == NULL) {
        sp_mem_free(producer);
        return sp_client_fail(client, SPATE_ERR_NOMEM, "out of memory");
    }
    producer->client = client;
    producer->cb = cb;
    producer->arg = arg;
    producer->dispatcher.ready = reports_ready;
    producer->dispatcher.dispatch = run_reports;
    producer->observer.changed = on_metadata;
    sp_list_init(&producer->finished);
    sp_list_init(&producer->waits);
    sp_rand_init(&producer->rand, sp_loop_random(client->loop));
    sp_buf_init(&producer->params, PARAMS_BYTES_MAX);
    sp_buf_init(&producer->identity_params, PARAMS_BYTES_MAX);
    sp_list_append(&client->dispatchers, &producer->dispatcher.node);
    producer->part = part_model;
    sp_list_append(&client->parts, &producer->part.node);
    sp_metadata_observe(client->metadata, &producer->observer);
    *out_producer = producer;
    return 0;
}

static void cancel_partition(struct sp_producer_partition *partition)
{
    sp_producer_withdraw_all(partition);
    if (sp_batch_builder_count(&partition->builder) > 0) {
        (void)sp_producer_seal(partition); /* out of memory: nobody is left to be told */
    }
    while (sp_producer_oldest(partition) != NULL) {
        sp_producer_finish(
            sp_producer_oldest(partition), SPATE_ERR_CANCELED, "the producer closed");
    }
}

static void destroy(struct spate_producer *producer)
{
    struct sp_map_cursor cursor = { 0 };
    struct sp_producer_topic *topic;

    sp_list_remove(&producer->dispatcher.node);
    sp_request_cancel(&producer->identity_request); /* a call of another thread may have begun it */
    sp_producer_each(producer, sp_producer_partition_free);
    while ((topic = sp_map_next(producer->topics, &cursor)) != NULL) {
        sp_mem_free(topic->partitions);
        sp_mem_free(topic);
    }
    sp_map_free(producer->topics);
    sp_buf_deinit(&producer->params);
    sp_buf_deinit(&producer->identity_params);
    sp_mem_free(producer);
}

void sp_producer_release(struct spate_producer *const *producer)
{
    (*producer)->calls -= 1;
    if ((*producer)->calls == 0 && (*producer)->freed) {
        destroy(*producer);
    }
}

int sp_producer_check_alive(const struct spate_producer *producer)
{
    return producer->freed
               ? sp_client_fail(producer->client, SPATE_ERR_CANCELED, "the producer was freed")
               : 0;
}

void spate_producer_free(struct spate_producer *producer)
{
    if (producer == NULL) {
        return;
    }
    SP_CLIENT_HOLD(producer->client);
    while (producer->dispatching && !dispatching_here(producer)) { /* by another thread, that is */
        sp_driver_wait(producer->client->driver, UINT64_MAX);
    }
    if (producer->freed) {
        return; /* inside of its last reports */
    }
    SP_PRODUCER_HOLD(producer);
    producer->freed = true;
    sp_list_remove(&producer->part.node);
    sp_list_remove(&producer->observer.node);
    sp_request_cancel(&producer->identity_request);
    sp_producer_each(producer, cancel_partition);
    sp_producer_report(producer); /* inside a callback those that run now go on with these */
}
