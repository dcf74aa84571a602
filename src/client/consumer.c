/* The consumer: its set of partitions, and its life. */
#include "client/consumer.h"

#include <string.h>

#include "base/mem.h"
#include "client/json.h"

enum {
    PARAMS_BYTES_MAX = 1024,
    PARTITIONS_MAX = 100000, /* more than one process can read */
};

/* ---- the set of partitions ------------------------------------------------------------------- */

static uint64_t place_of(const struct sp_topic_view *topic, uint32_t index)
{
    return (uint64_t)topic->number << 32 | index;
}

struct sp_consumer_partition *sp_consumer_find(const struct spate_consumer *consumer,
                                               const struct sp_topic_view *topic,
                                               int32_t partition)
{
    return sp_map_get_u64(consumer->places, place_of(topic, (uint32_t)partition));
}

static int put(struct spate_consumer *consumer, struct sp_consumer_partition *partition)
{
    uint32_t count = consumer->partition_count;
    struct sp_consumer_partition **grown;

    if (count >= PARTITIONS_MAX) {
        return SPATE_ERR_BUSY;
    }
    grown = sp_mem_realloc(consumer->partitions, (count + 1) * sizeof *grown);
    if (grown == NULL) {
        return SPATE_ERR_NOMEM;
    }
    consumer->partitions = grown;
    int rv =
        sp_map_put_u64(consumer->places, place_of(partition->topic, partition->index), partition);
    if (rv == 0) {
        grown[count] = partition;
        consumer->partition_count = count + 1;
    }
    return rv;
}

int sp_consumer_add(struct spate_consumer *consumer,
                    struct sp_topic_view *topic,
                    int32_t index,
                    int64_t offset,
                    struct sp_consumer_partition **out_partition)
{
    struct sp_consumer_partition *partition = sp_mem_calloc(1, sizeof *partition);

    if (partition == NULL) {
        return SPATE_ERR_NOMEM;
    }
    partition->consumer = consumer;
    partition->topic = topic;
    partition->index = (uint32_t)index;
    int rv = put(consumer, partition);
    if (rv != 0) {
        sp_mem_free(partition);
        return rv;
    }
    partition->topic_id = -1;
    partition->ownership = SP_OWNERSHIP_OWNED;
    partition->high_watermark = -1;
    partition->end_offset = -1;
    partition->processed = -1;
    partition->commit_wanted = -1;
    partition->committed = -1;
    partition->pause_ms = SP_CLIENT_PAUSE_MIN_MS;
    sp_list_init(&partition->fetched);
    sp_fetcher_init(partition);
    sp_consumer_begin_at(partition, offset);
    *out_partition = partition;
    return 0;
}

static void free_partition(struct sp_consumer_partition *partition)
{
    sp_timer_stop(&partition->timer);
    sp_consumer_drop_fetched(partition);
    sp_mem_free(partition);
}

void sp_consumer_remove(struct sp_consumer_partition *partition)
{
    struct spate_consumer *consumer = partition->consumer;
    uint32_t i = 0;

    sp_commits_lose(partition);
    (void)sp_map_remove_u64(consumer->places, place_of(partition->topic, partition->index));
    while (consumer->partitions[i] != partition) {
        i++;
    }
    consumer->partition_count -= 1;
    memmove(&consumer->partitions[i],
            &consumer->partitions[i + 1],
            (consumer->partition_count - i) * sizeof consumer->partitions[0]);
    consumer->turn = 0;
    if (consumer->delivered == partition) {
        consumer->delivered = NULL;
    }
    free_partition(partition);
}

void sp_consumer_begin_at(struct sp_consumer_partition *partition, int64_t offset)
{
    sp_consumer_drop_fetched(partition);
    partition->stored_wanted = offset == SPATE_OFFSET_STORED;
    partition->stored_asked = false;
    partition->start = offset;
    partition->resolved = offset >= 0;
    partition->fetch_offset = offset;
    partition->position = offset;
    partition->epoch = -1;
    partition->start_wanted = false;
    partition->skipped_from = -1;
    partition->error = 0;
    partition->error_told = false;
    partition->text[0] = '\0';
    partition->progress_ms = sp_consumer_now_ms(partition->consumer);
    partition->stall_told = false;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void on_metadata(struct sp_metadata_observer *observer)
{
    struct spate_consumer *consumer = SP_CONTAINER_OF(observer, struct spate_consumer, observer);

    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        sp_fetcher_on_metadata(consumer->partitions[i]);
    }
    sp_gone_look(consumer);
}

/* ---- as a part of its client ---- */

static struct spate_consumer *of_part(struct sp_client_part *part)
{
    return SP_CONTAINER_OF(part, struct spate_consumer, part);
}

static bool is_ready(const struct sp_consumer_partition *partition)
{
    switch (partition->ownership) {
    case SP_OWNERSHIP_OWNED:
        return (partition->fetched_count > 0 && sp_consumer_deliverable(partition)) ||
               partition->skipped_from >= 0 || (partition->error != 0 && !partition->error_told);
    case SP_OWNERSHIP_ASSIGNED:
        return !partition->stored_wanted;
    case SP_OWNERSHIP_REVOKED:
    case SP_OWNERSHIP_LOST:
        return true;
    case SP_OWNERSHIP_RELEASING:
        return false;
    }
    return false;
}

static bool part_ready(struct sp_client_part *part)
{
    const struct spate_consumer *consumer = of_part(part);

    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        if (is_ready(consumer->partitions[i])) {
            return true;
        }
    }
    return consumer->member.error != 0 || sp_gone_ready(consumer);
}

/* True until spate_consumer_close, for those that have something to give up or to commit. */
static bool part_busy(struct sp_client_part *part)
{
    const struct spate_consumer *consumer = of_part(part);

    return sp_consumer_subscribed(consumer) ||
           (consumer->client->config.group_id[0] != '\0' && consumer->partition_count > 0);
}

/* Without a limit a producer's records have deadlines of their own; giving up partitions has one
 * here. */
static int part_flush(struct sp_client_part *part, int timeout_ms)
{
    struct spate_consumer *consumer = of_part(part);
    SP_CONSUMER_HOLD(consumer);
    int limit_ms = timeout_ms < 0 ? (int)consumer->client->config.timeout_ms : timeout_ms;
    int rv = spate_consumer_close(consumer, limit_ms);

    return consumer->freed ? 0 : rv; /* by its callback: there is none left that could fail */
}

static void part_tell(struct sp_client_part *part, struct sp_json *json)
{
    const struct spate_consumer *consumer = of_part(part);

    sp_json_number(json, "partitions", consumer->partition_count);
    sp_json_number(json, "lag", spate_consumer_lag(consumer));
}

static void part_free(struct sp_client_part *part)
{
    spate_consumer_free(of_part(part));
}

static const struct sp_client_part part_model = {
    .kind = "consumers",
    .tell = part_tell,
    .ready = part_ready,
    .busy = part_busy,
    .flush = part_flush,
    .flushed_last = true,
    .free = part_free,
};

int spate_consumer_new(struct spate_client *client, struct spate_consumer **out_consumer)
{
    if (client == NULL || out_consumer == NULL) {
        return SPATE_ERR_INVALID;
    }
    SP_CLIENT_HOLD(client);
    int rv = sp_client_check_open(client);
    if (rv != 0) {
        return rv;
    }
    struct spate_consumer *consumer = sp_mem_calloc(1, sizeof *consumer);
    if (consumer == NULL) {
        return sp_client_fail(client, SPATE_ERR_NOMEM, "out of memory");
    }
    consumer->client = client;
    consumer->part = part_model;
    sp_list_append(&client->parts, &consumer->part.node);
    consumer->observer.changed = on_metadata;
    sp_buf_init(&consumer->params, PARAMS_BYTES_MAX);
    sp_list_init(&consumer->gone);
    sp_member_init(consumer);
    sp_commits_init(consumer);
    sp_metadata_observe(client->metadata, &consumer->observer);
    consumer->end = sp_mem_calloc(1, sizeof *consumer->end);
    consumer->places = sp_map_new();
    if (consumer->end == NULL || consumer->places == NULL) {
        spate_consumer_free(consumer);
        return sp_client_fail(client, SPATE_ERR_NOMEM, "out of memory");
    }
    *out_consumer = consumer;
    return 0;
}

static void destroy(struct spate_consumer *consumer)
{
    sp_member_deinit(consumer);
    sp_commits_deinit(consumer);
    sp_gone_forget_all(consumer);
    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        free_partition(consumer->partitions[i]);
    }
    sp_mem_free(consumer->partitions);
    sp_map_free(consumer->places);
    sp_mem_free(consumer->headers);
    sp_buf_deinit(&consumer->params);
    sp_mem_free(consumer->end);
    sp_mem_free(consumer);
}

void sp_consumer_release(struct spate_consumer *const *consumer)
{
    (*consumer)->calls -= 1;
    if ((*consumer)->calls == 0 && (*consumer)->freed) {
        destroy(*consumer);
    }
}

int sp_consumer_check_alive(const struct spate_consumer *consumer)
{
    return consumer->freed
               ? sp_client_fail(consumer->client, SPATE_ERR_CANCELED, "the consumer was freed")
               : 0;
}

int sp_consumer_check_open(const struct spate_consumer *consumer)
{
    int rv = sp_consumer_check_alive(consumer);

    if (rv == 0 && (consumer->closings > 0 || consumer->closed)) {
        return sp_client_fail(consumer->client,
                              SPATE_ERR_CANCELED,
                              "the consumer is %sclosed",
                              consumer->closings > 0 ? "being " : "");
    }
    return rv;
}

void spate_consumer_free(struct spate_consumer *consumer)
{
    if (consumer == NULL) {
        return;
    }
    SP_CLIENT_HOLD(consumer->client);
    sp_list_remove(&consumer->part.node);
    sp_list_remove(&consumer->observer.node);
    if (consumer->calls == 0) {
        destroy(consumer);
        return;
    }
    consumer->freed = true; /* inside one of its events, or another thread waits in it */
    sp_client_wake(consumer->client);
}
