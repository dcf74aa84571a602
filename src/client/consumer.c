/* The public consumer: records out of what was fetched, in order, partitions in turn. */
#include "client/consumer.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "client/json.h"

enum {
    PARAMS_BYTES_MAX = 1024,
    PARTITIONS_MAX = 100000, /* more than one process can read */
};

/* ---- assigning ------------------------------------------------------------------------------- */

static struct sp_consumer_partition *
find(const struct spate_consumer *consumer, const struct sp_topic_view *topic, int32_t partition)
{
    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        if (consumer->partitions[i]->topic == topic &&
            consumer->partitions[i]->index == (uint32_t)partition) {
            return consumer->partitions[i];
        }
    }
    return NULL;
}

static int add(struct spate_consumer *consumer, struct sp_consumer_partition *partition)
{
    uint32_t count = consumer->partition_count;
    struct sp_consumer_partition **grown =
        sp_mem_realloc(consumer->partitions, (count + 1) * sizeof(struct sp_consumer_partition *));

    if (grown == NULL) {
        return SPATE_ERR_NOMEM;
    }
    grown[count] = partition;
    consumer->partitions = grown;
    consumer->partition_count = count + 1;
    return 0;
}

static int new_partition(struct spate_consumer *consumer,
                         struct sp_topic_view *topic,
                         int32_t index,
                         int64_t offset)
{
    struct sp_consumer_partition *partition = sp_mem_calloc(1, sizeof *partition);

    if (partition == NULL || add(consumer, partition) != 0) {
        sp_mem_free(partition);
        return sp_client_fail(consumer->client, SPATE_ERR_NOMEM, "out of memory");
    }
    partition->consumer = consumer;
    partition->topic = topic;
    partition->index = (uint32_t)index;
    partition->topic_id = -1;
    partition->start = offset;
    partition->resolved = offset >= 0;
    partition->fetch_offset = offset;
    partition->position = offset;
    partition->epoch = -1;
    partition->high_watermark = -1;
    partition->end_offset = -1;
    partition->pause_ms = SP_CLIENT_PAUSE_MIN_MS;
    sp_list_init(&partition->fetched);
    sp_fetcher_init(partition);
    return 0;
}

int spate_consumer_assign(struct spate_consumer *consumer,
                          const char *topic,
                          int32_t partition,
                          int64_t offset)
{
    struct spate_client *client = consumer->client;
    SP_CLIENT_HOLD(client);
    struct sp_topic_view *view = NULL;

    if (topic == NULL || partition < 0 || partition >= SP_PARTITIONS_PER_TOPIC_MAX ||
        offset < SPATE_OFFSET_START || consumer->partition_count >= PARTITIONS_MAX) {
        return sp_client_fail(
            client, SPATE_ERR_INVALID, "no such partition or offset, or too many partitions");
    }
    int rv = sp_metadata_topic(client->metadata, topic, &view);
    if (rv != 0) {
        return sp_client_fail(client, rv, "%.100s: no topic can have this name", topic);
    }
    if (find(consumer, view, partition) != NULL) {
        return sp_client_fail(client, SPATE_ERR_EXISTS, "it is assigned already");
    }
    return new_partition(consumer, view, partition, offset);
}

/* ---- records --------------------------------------------------------------------------------- */

static struct sp_fetched *current(const struct sp_consumer_partition *partition)
{
    return SP_LIST_ENTRY(partition->fetched.next, struct sp_fetched, node);
}

static void drop_current(struct sp_consumer_partition *partition)
{
    struct sp_fetched *fetched = current(partition);

    sp_list_remove(&fetched->node);
    sp_mem_free(fetched);
    partition->fetched_count -= 1;
    sp_fetcher_advance(partition);
}

static void corrupt(struct sp_consumer_partition *partition, const char *what)
{
    char text[SP_CLIENT_ERROR_SIZE];

    (void)snprintf(text, sizeof text, "offset %lld: %s", (long long)partition->position, what);
    sp_batch_reader_deinit(&partition->reader);
    partition->reading = false;
    while (!sp_list_empty(&partition->fetched)) {
        struct sp_fetched *fetched = current(partition);
        sp_list_remove(&fetched->node);
        sp_mem_free(fetched);
    }
    partition->fetched_count = 0;
    sp_fetcher_stop(partition);
    sp_fetcher_fail(partition, SPATE_ERR_CORRUPT, text);
}

/* Opens the next batch; false when nothing is there. */
static bool open_batch(struct sp_consumer_partition *partition)
{
    struct sp_bytes batch;

    while (!sp_list_empty(&partition->fetched)) {
        struct sp_fetched *fetched = current(partition);
        if (sp_batch_next(fetched->bytes, fetched->size, &fetched->position, &batch) != 0) {
            drop_current(partition);
            continue;
        }
        int rv = sp_batch_reader_init(
            &partition->reader, batch.bytes, batch.size, SP_BATCH_DECOMPRESSED_BYTES_MAX);
        if (rv != 0) {
            corrupt(partition, spate_strerror(rv));
            return false;
        }
        partition->reading = true;
        return true;
    }
    return false;
}

static void close_batch(struct sp_consumer_partition *partition)
{
    const struct sp_batch_header *header = &partition->reader.header;
    int64_t end = header->base_offset + header->last_offset_delta + 1;
    int status = sp_batch_reader_status(&partition->reader);

    if (status != 0 || partition->position != end) {
        corrupt(partition, "the records of a batch are not those that its header announces");
        return;
    }
    sp_batch_reader_deinit(&partition->reader);
    partition->reading = false;
}

/* The next record of this partition; false when nothing is there. */
static bool take(struct sp_consumer_partition *partition, struct sp_record_view *out_record)
{
    while (partition->reading || open_batch(partition)) {
        partition->record_position = partition->reader.position;
        if (!sp_batch_reader_next(&partition->reader, out_record)) {
            close_batch(partition);
            if (!partition->reading && partition->error == 0) {
                return false; /* the others' turn */
            }
            continue;
        }
        if (out_record->offset < partition->position) {
            continue; /* below the offset asked for */
        }
        if (out_record->offset != partition->position) {
            corrupt(partition, "an offset is missing or comes twice");
            return false;
        }
        partition->position += 1;
        if (!partition->reader.header.control) {
            return true;
        }
    }
    return false;
}

static int fill_headers(struct spate_consumer *consumer, const struct sp_record_view *record)
{
    struct sp_record_header header;
    size_t position = 0;
    size_t count = 0;

    if (record->header_count > consumer->header_capacity) {
        struct spate_header *grown =
            sp_mem_realloc(consumer->headers, record->header_count * sizeof *grown);
        if (grown == NULL) {
            return SPATE_ERR_NOMEM;
        }
        consumer->headers = grown;
        consumer->header_capacity = record->header_count;
    }
    while (count < record->header_count && sp_record_header_next(record, &position, &header)) {
        consumer->headers[count++] = (struct spate_header){
            .name = (const char *)header.name.bytes,
            .name_size = header.name.size,
            .value = header.value.bytes,
            .value_size = header.value.size,
        };
    }
    return 0;
}

static int fill_message(struct sp_consumer_partition *partition,
                        const struct sp_record_view *record,
                        struct spate_message *out_message)
{
    struct spate_consumer *consumer = partition->consumer;

    if (fill_headers(consumer, record) != 0) {
        partition->position -= 1; /* the same record again at the next call */
        partition->reader.position = partition->record_position;
        partition->reader.count -= 1;
        return sp_client_fail(consumer->client, SPATE_ERR_NOMEM, "out of memory");
    }
    *out_message = (struct spate_message){
        .topic = partition->topic->name,
        .partition = (int32_t)partition->index,
        .offset = record->offset,
        .timestamp_ms = record->timestamp_ms,
        .key = record->key.bytes,
        .key_size = record->key.size,
        .value = record->value.bytes,
        .value_size = record->value.size,
        .headers = consumer->headers,
        .header_count = record->header_count,
        .high_watermark = partition->high_watermark,
    };
    return 0;
}

/* SPATE_ERR_AGAIN: none of them has anything now. */
static int take_any(struct spate_consumer *consumer, struct spate_message *out_message)
{
    struct sp_record_view record;
    uint32_t count = consumer->partition_count;

    for (uint32_t i = 0; i < count; i++) {
        struct sp_consumer_partition *partition =
            consumer->partitions[(consumer->turn + i) % count];
        uint32_t turn = consumer->turn;
        if (take(partition, &record)) {
            consumer->turn = (turn + i) % count; /* stays with it until its batch ends */
            return fill_message(partition, &record, out_message);
        }
        consumer->turn = turn;
        if (partition->error != 0 && !partition->error_told) {
            partition->error_told = true;
            return sp_client_fail(consumer->client, partition->error, "%s", partition->text);
        }
    }
    consumer->turn = count == 0 ? 0 : (consumer->turn + 1) % count;
    return SPATE_ERR_AGAIN;
}

static bool anything_fetched(const struct spate_consumer *consumer)
{
    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        if (consumer->partitions[i]->fetched_count > 0) {
            return true;
        }
    }
    return false;
}

int spate_consumer_next(struct spate_consumer *consumer,
                        int timeout_ms,
                        struct spate_message *out_message)
{
    struct spate_client *client = consumer->client;
    SP_CLIENT_HOLD(client);
    uint64_t deadline_ms = sp_client_deadline(client, timeout_ms);

    for (bool last = false;; last = sp_loop_now_ms(client->loop) >= deadline_ms) {
        int rv = take_any(consumer, out_message);
        if (rv != SPATE_ERR_AGAIN) {
            return rv;
        }
        if (anything_fetched(consumer)) {
            sp_client_turn(client); /* between batches: lets the next fetch go out */
            last = false;
            continue;
        }
        if (last) {
            return sp_client_fail(client, rv, "nothing came within the time given");
        }
        for (uint32_t i = 0; i < consumer->partition_count; i++) {
            sp_fetcher_advance(consumer->partitions[i]);
        }
        rv = sp_client_run(client, deadline_ms);
        if (rv != 0) {
            return rv;
        }
    }
}

/* ---- where it stands ------------------------------------------------------------------------- */

int spate_consumer_at_end(const struct spate_consumer *consumer)
{
    SP_CLIENT_HOLD(consumer->client);
    consumer->end->asked = true;
    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        const struct sp_consumer_partition *partition = consumer->partitions[i];
        bool reached = partition->end_offset >= 0 && partition->position >= partition->end_offset;
        if (partition->error == 0 && !reached) {
            return 0;
        }
    }
    return 1;
}

int64_t spate_consumer_lag(const struct spate_consumer *consumer)
{
    SP_CLIENT_HOLD(consumer->client);
    int64_t lag = 0;

    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        const struct sp_consumer_partition *partition = consumer->partitions[i];
        if (partition->resolved && partition->high_watermark > partition->position) {
            lag += partition->high_watermark - partition->position;
        }
    }
    return lag;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void on_metadata(struct sp_metadata_observer *observer)
{
    struct spate_consumer *consumer = SP_CONTAINER_OF(observer, struct spate_consumer, observer);

    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        sp_fetcher_on_metadata(consumer->partitions[i]);
    }
}

static bool part_ready(struct sp_client_part *part)
{
    const struct spate_consumer *consumer = SP_CONTAINER_OF(part, struct spate_consumer, part);

    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        const struct sp_consumer_partition *partition = consumer->partitions[i];
        if (partition->fetched_count > 0 || (partition->error != 0 && !partition->error_told)) {
            return true;
        }
    }
    return false;
}

static void part_tell(struct sp_client_part *part, struct sp_json *json)
{
    const struct spate_consumer *consumer = SP_CONTAINER_OF(part, struct spate_consumer, part);

    sp_json_number(json, "partitions", consumer->partition_count);
    sp_json_number(json, "lag", spate_consumer_lag(consumer));
}

static void part_free(struct sp_client_part *part)
{
    spate_consumer_free(SP_CONTAINER_OF(part, struct spate_consumer, part));
}

int spate_consumer_new(struct spate_client *client, struct spate_consumer **out_consumer)
{
    SP_CLIENT_HOLD(client);
    int rv = sp_client_check_open(client);

    if (rv != 0) {
        return rv;
    }
    struct spate_consumer *consumer = sp_mem_calloc(1, sizeof *consumer);
    if (consumer != NULL) {
        consumer->end = sp_mem_calloc(1, sizeof *consumer->end);
    }
    if (consumer == NULL || consumer->end == NULL) {
        sp_mem_free(consumer);
        return sp_client_fail(client, SPATE_ERR_NOMEM, "out of memory");
    }
    consumer->client = client;
    consumer->part.kind = "consumers";
    consumer->part.tell = part_tell;
    consumer->part.ready = part_ready;
    consumer->part.free = part_free;
    sp_list_append(&client->parts, &consumer->part.node);
    consumer->observer.changed = on_metadata;
    sp_buf_init(&consumer->params, PARAMS_BYTES_MAX);
    sp_metadata_observe(client->metadata, &consumer->observer);
    *out_consumer = consumer;
    return 0;
}

static void free_partition(struct sp_consumer_partition *partition)
{
    sp_timer_stop(&partition->timer);
    sp_fetcher_stop(partition);
    sp_batch_reader_deinit(&partition->reader);
    while (!sp_list_empty(&partition->fetched)) {
        struct sp_fetched *fetched = current(partition);
        sp_list_remove(&fetched->node);
        sp_mem_free(fetched);
    }
    sp_mem_free(partition);
}

void spate_consumer_free(struct spate_consumer *consumer)
{
    if (consumer == NULL) {
        return;
    }
    SP_CLIENT_HOLD(consumer->client);
    sp_list_remove(&consumer->part.node);
    sp_list_remove(&consumer->observer.node);
    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        free_partition(consumer->partitions[i]);
    }
    sp_mem_free(consumer->partitions);
    sp_mem_free(consumer->headers);
    sp_buf_deinit(&consumer->params);
    sp_mem_free(consumer->end);
    sp_mem_free(consumer);
}
