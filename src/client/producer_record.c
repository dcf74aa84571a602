/* Taking records: which topic and partition, into which batch, within which bounds. */
#include <string.h>

#include "base/mem.h"
#include "client/partitioner.h"
#include "client/producer.h"

enum {
    RECORD_OVERHEAD_BYTES = 32, /* of a record in memory: its place in a batch, its opaque */
    HEADERS_ON_STACK = 16,
    LEARN_MS = 1000, /* for a record that does not fit; one description takes some milliseconds */
};

/* ---- where to -------------------------------------------------------------------------------- */

static int new_topic(struct spate_producer *producer,
                     const char *name,
                     uint64_t deadline_ms,
                     struct sp_producer_topic **out_topic)
{
    struct spate_client *client = producer->client;
    struct sp_topic_view *view = NULL;
    struct sp_producer_topic *topic;
    int rv = sp_metadata_topic(client->metadata, name, &view);

    if (rv != 0) {
        return sp_client_fail(client,
                              rv,
                              rv == SPATE_ERR_NOMEM
                                  ? "%.100s: out of memory"
                                  : "%.100s: a topic's name has 1 to 249 of the characters a-z A-Z "
                                    "0-9 . _ -",
                              name);
    }
    rv = sp_metadata_wait_topic(client->metadata, view, deadline_ms);
    if (rv != 0) {
        return rv;
    }
    topic = sp_map_get(producer->topics, name, strlen(name));
    if (topic != NULL) { /* another thread's first record was faster */
        *out_topic = topic;
        return 0;
    }
    topic = sp_mem_calloc(1, sizeof *topic);
    if (topic == NULL || sp_map_put(producer->topics, name, strlen(name), topic) != 0) {
        sp_mem_free(topic);
        return sp_client_fail(client, SPATE_ERR_NOMEM, "out of memory");
    }
    topic->view = view;
    *out_topic = topic;
    return 0;
}

static int find_topic(struct spate_producer *producer,
                      const char *name,
                      uint64_t deadline_ms,
                      struct sp_producer_topic **out_topic)
{
    struct sp_producer_topic *topic = sp_map_get(producer->topics, name, strlen(name));
    int rv = topic == NULL ? new_topic(producer, name, deadline_ms, &topic) : 0;

    /* Without partitions: it was made anew, and nobody has said yet how many it has. */
    if (rv == 0 &&
        (topic->view->status == SPATE_ERR_UNKNOWN_TOPIC || topic->view->partition_count == 0)) {
        rv = sp_metadata_wait_topic(producer->client->metadata, topic->view, deadline_ms);
    }
    if (rv != 0) {
        return rv;
    }
    uint32_t count = topic->view->partition_count;
    if (count > topic->partition_count) {
        struct sp_producer_partition **grown =
            sp_mem_realloc(topic->partitions, count * sizeof(struct sp_producer_partition *));
        if (grown == NULL) {
            return sp_client_fail(producer->client, SPATE_ERR_NOMEM, "out of memory");
        }
        for (uint32_t i = topic->partition_count; i < count; i++) {
            grown[i] = NULL;
        }
        topic->partitions = grown;
        topic->partition_count = count;
    }
    *out_topic = topic;
    return 0;
}

/* False also when the batch has left because its time was up: the next one goes elsewhere. */
static bool has_open_batch(const struct sp_producer_topic *topic)
{
    const struct sp_producer_partition *partition =
        topic->sticky < topic->partition_count ? topic->partitions[topic->sticky] : NULL;

    return partition != NULL && sp_batch_builder_count(&partition->builder) > 0;
}

static uint32_t choose_partition(struct spate_producer *producer,
                                 struct sp_producer_topic *topic,
                                 const struct spate_record *record)
{
    uint32_t count = topic->view->partition_count;

    if (record->partition != SPATE_PARTITION_ANY) {
        return (uint32_t)record->partition;
    }
    if (record->key != NULL) {
        return sp_partition_of_key(record->key, record->key_size, count);
    }
    if (!topic->sticky_chosen || topic->sticky >= count || !has_open_batch(topic)) {
        topic->sticky = (uint32_t)sp_rand_below(&producer->rand, count);
        topic->sticky_chosen = true;
    }
    return topic->sticky;
}

int sp_producer_find_partition(struct spate_producer *producer,
                               const struct spate_record *record,
                               uint64_t deadline_ms,
                               struct sp_producer_topic **out_topic,
                               struct sp_producer_partition **out_partition)
{
    struct sp_producer_topic *topic = NULL;
    int rv = find_topic(producer, record->topic, deadline_ms, &topic);

    if (rv != 0) {
        return rv;
    }
    uint32_t index = choose_partition(producer, topic, record);
    if (index >= topic->view->partition_count) {
        return sp_client_fail(producer->client,
                              SPATE_ERR_UNKNOWN_PARTITION,
                              "topic %s has %u partitions, numbered from 0: there is no partition "
                              "%d",
                              record->topic,
                              topic->view->partition_count,
                              record->partition);
    }
    if (topic->partitions[index] == NULL) {
        rv = sp_producer_partition_new(producer, topic->view, index, &topic->partitions[index]);
    }
    *out_topic = topic;
    *out_partition = topic->partitions[index];
    return rv;
}

/* ---- taking records -------------------------------------------------------------------------- */

/* A record on its way into a batch. */
struct taking {
    const struct spate_record *record;
    void *opaque;
    uint64_t deadline_ms; /* of the call, and so of the outcome: the wait for the topic is in it */
};

static size_t charge_of(const struct spate_record *record)
{
    size_t size = RECORD_OVERHEAD_BYTES + record->key_size + record->value_size;

    for (size_t i = 0; i < record->header_count; i++) {
        size += record->headers[i].name_size + record->headers[i].value_size;
    }
    return size;
}

static struct sp_bytes view_of(const void *bytes, size_t size)
{
    return bytes == NULL ? sp_bytes_null() : sp_bytes_of(bytes, size);
}

static int reserve_opaque(struct sp_producer_partition *partition)
{
    size_t count = (size_t)sp_batch_builder_count(&partition->builder);

    if (count < partition->opaque_capacity) {
        return 0;
    }
    size_t capacity = partition->opaque_capacity == 0 ? 16 : 2 * partition->opaque_capacity;
    void **grown = sp_mem_realloc(partition->opaques, capacity * sizeof(void *));
    if (grown == NULL) {
        return SPATE_ERR_NOMEM;
    }
    partition->opaques = grown;
    partition->opaque_capacity = capacity;
    return 0;
}

static int add_encoded(struct sp_producer_partition *partition,
                       const struct taking *taking,
                       const struct sp_record_header *headers)
{
    struct spate_client *client = partition->producer->client;
    const struct spate_record *record = taking->record;
    int32_t count = sp_batch_builder_count(&partition->builder);
    struct sp_record encoded = {
        .timestamp_ms =
            record->timestamp_ms != 0 ? record->timestamp_ms : sp_loop_wall_ms(client->loop),
        .key = view_of(record->key, record->key_size),
        .value = view_of(record->value, record->value_size),
        .headers = headers,
        .header_count = record->header_count,
    };
    int rv = reserve_opaque(partition);

    if (count == 0) { /* the limit may have changed since the last batch */
        sp_batch_builder_limit(&partition->builder, sp_producer_batch_bytes_max(partition));
    }
    if (rv == 0) {
        rv = sp_batch_builder_add(&partition->builder, &encoded);
    }
    if (rv != 0) {
        return rv;
    }
    partition->opaques[count] = taking->opaque;
    partition->open_bytes += charge_of(record);
    if (count == 0) {
        partition->open_due_ms = sp_loop_now_ms(client->loop) + client->config.linger_ms;
        if (partition->open_deadline_ms < taking->deadline_ms) { /* never before the last batch's */
            partition->open_deadline_ms = taking->deadline_ms;
        }
    }
    return 0;
}

static int add_record(struct sp_producer_partition *partition, const struct taking *taking)
{
    const struct spate_record *record = taking->record;
    struct sp_record_header some[HEADERS_ON_STACK];
    struct sp_record_header *headers = some;

    if (record->header_count > HEADERS_ON_STACK) {
        headers = sp_mem_calloc(record->header_count, sizeof *headers);
        if (headers == NULL) {
            return SPATE_ERR_NOMEM;
        }
    }
    for (size_t i = 0; i < record->header_count; i++) {
        const struct spate_header *header = &record->headers[i];
        headers[i].name = view_of(header->name, header->name_size);
        headers[i].value = view_of(header->value, header->value_size);
    }
    int rv = add_encoded(partition, taking, headers);
    if (headers != some) {
        sp_mem_free(headers);
    }
    return rv;
}

/* Closes the open batch, so that the next record begins another one; a record without a key then
 * goes to another partition. */
static int close_batch(struct sp_producer_partition *partition, struct sp_producer_topic *topic)
{
    int rv = sp_producer_seal(partition);

    if (rv == 0 && topic->sticky == partition->index) {
        topic->sticky_chosen = false;
    }
    return rv;
}

static int check_record(struct spate_producer *producer, const struct spate_record *record)
{
    struct spate_client *client = producer->client;

    if (record == NULL || record->topic == NULL || record->partition < SPATE_PARTITION_ANY ||
        record->header_count > SP_RECORD_HEADERS_MAX ||
        (record->headers == NULL && record->header_count > 0) ||
        (record->key == NULL && record->key_size > 0) ||
        (record->value == NULL && record->value_size > 0)) {
        return sp_client_fail(client,
                              SPATE_ERR_INVALID,
                              "a record needs a topic, a partition from 0 or SPATE_PARTITION_ANY, "
                              "at most %d headers, and bytes where it has a size",
                              SP_RECORD_HEADERS_MAX);
    }
    if (record->key_size > SP_BATCH_BYTES_MAX || record->value_size > SP_BATCH_BYTES_MAX) {
        return sp_client_fail(client,
                              SPATE_ERR_TOO_LARGE,
                              "no key or value may be larger than %d bytes",
                              SP_BATCH_BYTES_MAX); /* and sums of sizes cannot overflow */
    }
    for (size_t i = 0; i < record->header_count; i++) {
        const struct spate_header *header = &record->headers[i];
        if (header->value_size > SP_BATCH_BYTES_MAX) {
            return sp_client_fail(client, SPATE_ERR_TOO_LARGE, "header %zu is too large", i);
        }
        if (header->name == NULL || (header->value == NULL && header->value_size > 0)) {
            return sp_client_fail(
                client, SPATE_ERR_INVALID, "header %zu has no name, or a size without a value", i);
        }
    }
    return 0;
}

static int check_budget(struct spate_producer *producer, size_t charge_bytes)
{
    if (producer->buffered_bytes == 0 ||
        producer->buffered_bytes + charge_bytes <= producer->client->config.buffer_bytes) {
        return 0;
    }
    return sp_client_fail(producer->client,
                          SPATE_ERR_BUSY,
                          "buffer.bytes (%u) of records are waiting: poll, then try again",
                          producer->client->config.buffer_bytes);
}

static int explain_size(const struct sp_producer_partition *partition, size_t size)
{
    size_t limit = sp_producer_batch_bytes_max(partition);
    const char *advice = partition->topic->batch_bytes_max > 0
                             ? "raise max.message.bytes of the topic"
                             : "raise max.message.bytes of the topic, and batch.bytes";

    return sp_client_fail(partition->producer->client,
                          SPATE_ERR_TOO_LARGE,
                          "a record of %zu bytes does not fit into a batch of %zu bytes, the most "
                          "for topic %s: %s",
                          size,
                          limit,
                          partition->topic->name,
                          limit >= SP_BATCH_BYTES_MAX ? "no topic takes more" : advice);
}

static int explain(const struct sp_producer_partition *partition,
                   const struct spate_record *record,
                   int status)
{
    const struct spate_producer *producer = partition->producer;

    if (status == SPATE_ERR_TOO_LARGE) {
        return explain_size(partition, charge_of(record));
    }
    if (status == SPATE_ERR_INVALID) {
        return sp_client_fail(producer->client,
                              status,
                              "a header name is not UTF-8, or the timestamp is out of range");
    }
    return sp_client_fail(producer->client, status, "%s", spate_strerror(status));
}

/* The topic may take more than when it was described last. Waits for a new description, until the
 * call's deadline at most; true if it does. */
static bool learn_limit(struct sp_producer_partition *partition, uint64_t call_deadline_ms)
{
    struct spate_client *client = partition->producer->client;
    size_t before = sp_producer_batch_bytes_max(partition);
    uint64_t learn_ms = sp_client_deadline(client, LEARN_MS);
    uint64_t deadline_ms = learn_ms < call_deadline_ms ? learn_ms : call_deadline_ms;
    uint64_t number = sp_metadata_want(client->metadata);

    while (sp_metadata_completed(client->metadata) < number &&
           sp_loop_now_ms(client->loop) < deadline_ms && sp_client_run(client, deadline_ms) == 0) {
        /* Again. */
    }
    return sp_producer_batch_bytes_max(partition) > before && partition->ended == 0 &&
           !partition->producer->freed;
}

/* Adds to the open batch; closes it first when the record does not fit. *out_sealed says so. */
static int take(struct sp_producer_partition *partition,
                struct sp_producer_topic *topic,
                const struct taking *taking,
                bool *out_sealed)
{
    size_t batch_bytes = sp_producer_fill_bytes(partition);
    size_t size = sp_batch_builder_size(&partition->builder);
    bool open = sp_batch_builder_count(&partition->builder) > 0;
    int rv = 0;

    if (open && size + charge_of(taking->record) > batch_bytes) {
        rv = close_batch(partition, topic);
        *out_sealed = rv == 0;
        open = false;
    }
    if (rv == 0) {
        rv = add_record(partition, taking);
    }
    if (rv == SPATE_ERR_TOO_LARGE && open) { /* or it has the most records that one may have */
        rv = close_batch(partition, topic);
        *out_sealed = rv == 0;
        rv = rv == 0 ? add_record(partition, taking) : rv;
    }
    if (rv == 0 && sp_batch_builder_size(&partition->builder) >= batch_bytes &&
        close_batch(partition, topic) == 0) {
        *out_sealed = true;
    }
    return rv;
}

int sp_producer_take(struct spate_producer *producer,
                     const struct spate_record *record,
                     void *opaque,
                     bool hurry)
{
    struct sp_producer_topic *topic = NULL;
    struct sp_producer_partition *partition = NULL;
    struct taking taking = { .record = record, .opaque = opaque };
    bool sealed = false;

    if (producer == NULL) {
        return SPATE_ERR_INVALID;
    }
    taking.deadline_ms = sp_client_deadline(producer->client, producer->client->config.timeout_ms);
    if (sp_client_need(producer->client, record, "record") != 0) {
        return SPATE_ERR_INVALID;
    }
    SP_PRODUCER_HOLD(producer);
    sp_producer_report(producer);
    int rv = sp_client_check_open(producer->client);
    rv = rv != 0 ? rv : sp_producer_check_alive(producer);
    if (rv == 0) {
        rv = check_record(producer, record);
    }
    if (rv == 0) {
        rv = check_budget(producer, charge_of(record));
    }
    if (rv == 0) {
        rv = sp_producer_find_partition(producer, record, taking.deadline_ms, &topic, &partition);
    }
    rv = rv != 0 ? rv : sp_producer_check_alive(producer); /* it may have waited */
    if (rv != 0) {
        return rv;
    }
    if (partition->ended != 0) {
        return sp_client_fail(producer->client,
                              partition->ended,
                              "%s",
                              partition->ended_text == NULL ? spate_strerror(partition->ended)
                                                            : partition->ended_text);
    }
    bool was_open = sp_batch_builder_count(&partition->builder) > 0;
    rv = take(partition, topic, &taking, &sealed);
    if (rv == SPATE_ERR_TOO_LARGE && learn_limit(partition, taking.deadline_ms)) {
        rv = take(partition, topic, &taking, &sealed);
    }
    if (rv == 0) {
        producer->taken_count += 1;
        producer->buffered_bytes += charge_of(record);
    }
    if (hurry) {
        partition->open_due_ms = sp_producer_now_ms(partition);
    }
    if (sealed || !was_open || hurry) {
        sp_producer_advance(partition);
    }
    if (sealed) {
        sp_client_turn(producer->client); /* lets the bytes leave while more records come */
    }
    return rv == 0 ? 0 : explain(partition, record, rv);
}

int spate_produce(struct spate_producer *producer, const struct spate_record *record, void *opaque)
{
    if (producer == NULL) {
        return SPATE_ERR_INVALID;
    }
    SP_CLIENT_HOLD(producer->client);
    return sp_producer_take(producer, record, opaque, false);
}
