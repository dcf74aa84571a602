/* The public producer: its life, its reports, waiting for it. */
#include "client/producer.h"

#include "base/assert.h"
#include "base/mem.h"

enum {
    PARAMS_BYTES_MAX = 1024, /* a topic's name and a few numbers; a producer's name and layout */
};

/* ---- reports --------------------------------------------------------------------------------- */

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
        producer->pending_count -= 1;
        if (producer->cb != NULL) {
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

    producer->dispatching = true; /* a callback may produce and poll, but not report */
    while (!sp_list_empty(&producer->finished)) {
        struct sp_producer_batch *batch =
            SP_LIST_ENTRY(producer->finished.next, struct sp_producer_batch, node);
        sp_list_remove(&batch->node);
        report(producer, batch);
        count += (unsigned)batch->count;
        sp_producer_batch_free(batch);
    }
    producer->dispatching = false;
    return count;
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
    uint64_t deadline_ms = sp_client_deadline(client, timeout_ms);

    producer->flushing = true;
    sp_producer_report(producer);
    sp_producer_each(producer, sp_producer_advance);
    while (producer->pending_count > 0) {
        sp_client_run(client, deadline_ms);
        sp_producer_report(producer);
        if (producer->dispatching || sp_loop_now_ms(client->loop) >= deadline_ms) {
            break; /* a callback that flushes cannot wait for its own report */
        }
    }
    producer->flushing = false;
    if (producer->pending_count > 0) {
        return sp_client_fail(client,
                              SPATE_ERR_TIMEOUT,
                              "%zu records are still waiting for their outcome",
                              producer->pending_count);
    }
    return 0;
}

size_t spate_producer_pending(const struct spate_producer *producer)
{
    return producer == NULL ? 0 : producer->pending_count;
}

size_t spate_producer_in_flight(const struct spate_producer *producer)
{
    return producer == NULL ? 0 : producer->in_flight_count;
}

uint64_t spate_producer_retries(const struct spate_producer *producer)
{
    return producer == NULL ? 0 : producer->retry_count;
}

/* ---- life ------------------------------------------------------------------------------------ */

int spate_producer_new(struct spate_client *client,
                       spate_delivery_cb cb,
                       void *arg,
                       struct spate_producer **out_producer)
{
    if (sp_client_need(client, out_producer, "out_producer") != 0) {
        return SPATE_ERR_INVALID;
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
    sp_rand_init(&producer->rand, sp_loop_random(client->loop));
    sp_buf_init(&producer->params, PARAMS_BYTES_MAX);
    sp_buf_init(&producer->identity_params, PARAMS_BYTES_MAX);
    sp_list_append(&client->dispatchers, &producer->dispatcher.node);
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

void spate_producer_free(struct spate_producer *producer)
{
    struct sp_map_cursor cursor = { 0 };
    struct sp_producer_topic *topic;

    if (producer == NULL) {
        return;
    }
    SP_ASSERT(!producer->dispatching);
    sp_list_remove(&producer->dispatcher.node);
    sp_list_remove(&producer->observer.node);
    sp_request_cancel(&producer->identity_request);
    sp_producer_each(producer, cancel_partition);
    sp_producer_report(producer);
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
