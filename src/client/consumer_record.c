/* Records out of what was fetched: in order, partitions in turn. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "client/consumer.h"

static struct sp_fetched *current(const struct sp_consumer_partition *partition)
{
    return SP_LIST_ENTRY(partition->fetched.next, struct sp_fetched, node);
}

static void drop_current(struct sp_consumer_partition *partition)
{
    sp_fetched_free(current(partition));
    partition->fetched_count -= 1;
    sp_fetcher_advance(partition);
}

void sp_consumer_drop_fetched(struct sp_consumer_partition *partition)
{
    sp_fetcher_stop(partition);
    sp_batch_reader_deinit(&partition->reader);
    partition->reading = false;
    while (!sp_list_empty(&partition->fetched)) {
        sp_fetched_free(current(partition));
    }
    partition->fetched_count = 0;
}

static void corrupt(struct sp_consumer_partition *partition, const char *what)
{
    char text[SP_CLIENT_ERROR_SIZE];

    (void)snprintf(text, sizeof text, "offset %lld: %s", (long long)partition->position, what);
    sp_consumer_drop_fetched(partition);
    sp_fetcher_fail(partition, SPATE_ERR_CORRUPT, text);
}

/* Opens the next batch; false when nothing is there. */
static bool open_batch(struct sp_consumer_partition *partition)
{
    struct sp_bytes batch;

    while (!sp_list_empty(&partition->fetched)) {
        struct sp_fetched *fetched = current(partition);
        const struct sp_slice *batches = &fetched->batches;
        if (sp_batch_next(batches->bytes, batches->size, &fetched->position, &batch) != 0) {
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

/* True if compaction has taken records out of the batch that is read. */
static bool has_gaps(const struct sp_consumer_partition *partition)
{
    const struct sp_batch_header *header = &partition->reader.header;

    return header->record_count - 1 < header->last_offset_delta;
}

static void close_batch(struct sp_consumer_partition *partition)
{
    const struct sp_batch_header *header = &partition->reader.header;
    int64_t end = header->base_offset + header->last_offset_delta + 1;
    int status = sp_batch_reader_status(&partition->reader);

    if (has_gaps(partition) && partition->position < end) {
        partition->position = end;
    }
    if (status != 0 || partition->position != end) {
        corrupt(partition, "the records of a batch are not those that its header announces");
        return;
    }
    sp_batch_reader_deinit(&partition->reader);
    partition->reading = false;
}

/* The next record of the batch that is read, and where it stands for read_again. */
static bool read_record(struct sp_consumer_partition *partition, struct sp_record_view *out_record)
{
    partition->record_position = partition->reader.position;
    partition->record_delta_min = partition->reader.delta_min;
    return sp_batch_reader_next(&partition->reader, out_record);
}

/* The next record of this partition; false when nothing is there. */
static bool take(struct sp_consumer_partition *partition, struct sp_record_view *out_record)
{
    while (partition->reading || open_batch(partition)) {
        if (!read_record(partition, out_record)) {
            bool empty = partition->reader.header.record_count == 0;
            close_batch(partition);
            if (!partition->reading && partition->error == 0 && !empty) {
                return false; /* the others' turn */
            }
            continue;
        }
        if (out_record->offset < partition->position) {
            continue; /* below the offset asked for */
        }
        if (out_record->offset != partition->position && !has_gaps(partition)) {
            corrupt(partition, "an offset is missing or comes twice");
            return false;
        }
        partition->position = out_record->offset + 1;
        if (!partition->reader.header.control) {
            return true;
        }
    }
    return false;
}

/* Fills `count` headers of the record behind the `used` that are in use. */
static int
fill_headers(struct spate_consumer *consumer, const struct sp_record_view *record, size_t used)
{
    struct sp_record_header header;
    size_t position = 0;
    size_t count = 0;

    if (used + record->header_count > consumer->header_capacity) {
        size_t capacity = used + record->header_count + consumer->header_capacity;
        struct spate_header *grown = sp_mem_realloc(consumer->headers, capacity * sizeof *grown);
        if (grown == NULL) {
            return SPATE_ERR_NOMEM;
        }
        consumer->headers = grown;
        consumer->header_capacity = capacity;
    }
    while (count < record->header_count && sp_record_header_next(record, &position, &header)) {
        consumer->headers[used + count++] = (struct spate_header){
            .name = (const char *)header.name.bytes,
            .name_size = header.name.size,
            .value = header.value.bytes,
            .value_size = header.value.size,
        };
    }
    return 0;
}

static void fill_message(const struct sp_consumer_partition *partition,
                         const struct sp_record_view *record,
                         struct spate_message *out_message)
{
    *out_message = (struct spate_message){
        .topic = partition->topic->name,
        .partition = (int32_t)partition->index,
        .offset = record->offset,
        .timestamp_ms = record->timestamp_ms,
        .key = record->key.bytes,
        .key_size = record->key.size,
        .value = record->value.bytes,
        .value_size = record->value.size,
        .header_count = record->header_count,
        .high_watermark = partition->high_watermark,
        .epoch = partition->reader.header.leader_epoch,
    };
}

/* The same record again at the next call. */
static void read_again(struct sp_consumer_partition *partition)
{
    partition->reader.position = partition->record_position;
    partition->reader.delta_min = partition->record_delta_min;
    partition->reader.count -= 1;
}

/* ---- several records ------------------------------------------------------------------------- */

/* One more of the same batch. Whatever is wrong with it is found by `take` at the next call: here
 * the memory of those before must stay. */
static bool take_more(struct sp_consumer_partition *partition, struct sp_record_view *out_record)
{
    if (!read_record(partition, out_record)) {
        return false;
    }
    if (out_record->offset != partition->position && !has_gaps(partition)) {
        read_again(partition);
        return false;
    }
    partition->position = out_record->offset + 1;
    return true;
}

/* Takes the partition's next records, at most `max` of one batch. *out_count 0: nothing is
 * there. */
static int take_records(struct sp_consumer_partition *partition,
                        struct spate_message *out_messages,
                        int max,
                        int *out_count)
{
    struct spate_consumer *consumer = partition->consumer;
    struct sp_record_view record;
    size_t headers = 0;
    int count = 0;
    int rv = 0;

    while (count < max && (count == 0 ? take(partition, &record) : take_more(partition, &record))) {
        rv = fill_headers(consumer, &record, headers);
        if (rv != 0) {
            partition->position = record.offset;
            read_again(partition);
            break;
        }
        fill_message(partition, &record, &out_messages[count++]);
        headers += record.header_count;
    }
    *out_count = count;
    headers = 0;
    for (int i = 0; i < count; i++) { /* only now: the array may have moved */
        out_messages[i].headers =
            out_messages[i].header_count == 0 ? NULL : consumer->headers + headers;
        headers += out_messages[i].header_count;
    }
    return count > 0 ? 0 : rv;
}

bool sp_consumer_deliverable(const struct sp_consumer_partition *partition)
{
    return partition->ownership == SP_OWNERSHIP_OWNED && !partition->paused &&
           !partition->stored_wanted && partition->error == 0;
}

static void note_delivered(struct sp_consumer_partition *partition)
{
    partition->consumer->delivered = partition;
    partition->progress_ms = sp_consumer_now_ms(partition->consumer);
    partition->stall_told = false;
}

/* What is to be told instead of a record; 0: nothing. */
static int tell_error(struct sp_consumer_partition *partition)
{
    if (partition->error == 0 || partition->error_told ||
        partition->ownership != SP_OWNERSHIP_OWNED) {
        return 0;
    }
    partition->error_told = true;
    return sp_client_fail(partition->consumer->client, partition->error, "%s", partition->text);
}

/* Returns how many, or SPATE_ERR_AGAIN: none of them has anything now. */
static int take_any(struct spate_consumer *consumer, struct spate_message *out_messages, int max)
{
    uint32_t count = consumer->partition_count;
    uint32_t turn = consumer->turn;

    for (uint32_t i = 0; i < count; i++) {
        struct sp_consumer_partition *partition = consumer->partitions[(turn + i) % count];
        int taken = 0;
        int rv = sp_consumer_deliverable(partition)
                     ? take_records(partition, out_messages, max, &taken)
                     : 0;
        if (rv != 0) {
            return sp_client_fail(consumer->client, rv, "%s", spate_strerror(rv));
        }
        if (taken > 0) {
            consumer->turn = (turn + i) % count; /* stays with it until its batch ends */
            note_delivered(partition);
            return taken;
        }
        rv = tell_error(partition);
        if (rv != 0) {
            return rv;
        }
    }
    consumer->turn = count == 0 ? 0 : (turn + 1) % count;
    if (consumer->member.error != 0) {
        return sp_client_fail(
            consumer->client, consumer->member.error, "%s", consumer->member.text);
    }
    return SPATE_ERR_AGAIN;
}

static bool anything_fetched(const struct spate_consumer *consumer)
{
    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        const struct sp_consumer_partition *partition = consumer->partitions[i];
        if (partition->fetched_count > 0 && sp_consumer_deliverable(partition)) {
            return true;
        }
    }
    return false;
}

/* Lets the loop work until something may have come. */
static int wait(struct spate_consumer *consumer, uint64_t deadline_ms)
{
    uint64_t stall_ms = sp_consumer_stall_due(consumer);

    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        sp_fetcher_advance(consumer->partitions[i]);
    }
    sp_member_advance(consumer);
    sp_commits_advance(consumer);
    return sp_client_run(consumer->client, stall_ms < deadline_ms ? stall_ms : deadline_ms);
}

int spate_consumer_batch(struct spate_consumer *consumer,
                         int timeout_ms,
                         struct spate_message *out_messages,
                         int max)
{
    if (consumer == NULL || out_messages == NULL || max < 1) {
        return SPATE_ERR_INVALID;
    }
    struct spate_client *client = consumer->client;
    SP_CLIENT_HOLD(client);
    SP_CONSUMER_HOLD(consumer);
    if (consumer->telling) {
        return sp_client_fail(client, SPATE_ERR_INVALID, "not inside an event of this consumer");
    }
    uint64_t deadline_ms = sp_client_deadline(client, timeout_ms);

    sp_client_keep_up(client); /* a batch may last the program longer than a session */
    for (bool last = false;; last = sp_loop_now_ms(client->loop) >= deadline_ms) {
        int rv = sp_consumer_check_open(consumer);
        if (rv != 0) {
            return rv;
        }
        sp_consumer_serve(consumer);
        rv = sp_consumer_check_open(consumer);
        rv = rv == 0 ? take_any(consumer, out_messages, max) : rv;
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
        rv = wait(consumer, deadline_ms);
        if (rv != 0) {
            return rv;
        }
    }
}

int spate_consumer_next(struct spate_consumer *consumer,
                        int timeout_ms,
                        struct spate_message *out_message)
{
    int rv = spate_consumer_batch(consumer, timeout_ms, out_message, 1);

    return rv == 1 ? 0 : rv;
}

/* ---- done with them -------------------------------------------------------------------------- */

bool sp_consumer_is_of(const struct spate_message *message,
                       const struct sp_consumer_partition *partition)
{
    return message->topic != NULL && partition->index == (uint32_t)message->partition &&
           strcmp(partition->topic->name, message->topic) == 0;
}

void sp_consumer_note_processed(struct sp_consumer_partition *delivered,
                                const struct spate_message *message)
{
    if (delivered == NULL || (message != NULL && !sp_consumer_is_of(message, delivered))) {
        return;
    }
    int64_t end = message == NULL ? delivered->position : message->offset + 1;
    end = end < delivered->position ? end : delivered->position;
    delivered->processed = end > delivered->processed ? end : delivered->processed;
}
