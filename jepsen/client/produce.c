/* Sending with libspate: bursts of records to partitions drawn by chance. What is reported about
 * neighbours in one burst becomes one line. */
#include <inttypes.h>
#include <stdlib.h>

#include "value.h"
#include "workload.h"

enum {
    OPERATIONS_MAX = 4096, /* on their way at the same time */
    PENDING_MAX = 20000,   /* records on their way: more would only wait in the library */
    END_MS = 3000,         /* what is on its way at the end may take so long */
    WAIT_MS = 10,
};

/* A burst whose records are not all reported yet. */
struct operation {
    uint64_t number; /* in the history; 0: this place is free */
    uint32_t partition;
    uint32_t left; /* records not reported */
};

/* Reports that become one line. */
struct report {
    struct operation *operation;
    uint32_t first;
    uint32_t count; /* 0: there is none */
    int status;
    int64_t offset;
};

struct jep_sender {
    struct jep_client *client;
    struct spate_producer *producer;
    uint32_t next_sequence[JEP_PARTITIONS_MAX];
    uint32_t next_place;
    struct report report;
    uint8_t value[JEP_VALUE_MAX];
    struct operation operations[OPERATIONS_MAX];
};

/* Unknown: the record may be stored or not. The library says so with TIMEOUT; what it gives up when
 * it is closed has been sent, perhaps. */
static bool is_unknown(int status)
{
    return status == SPATE_ERR_TIMEOUT || status == SPATE_ERR_CANCELED;
}

static void write_report(struct jep_sender *sender)
{
    struct report *report = &sender->report;

    if (report->count == 0) {
        return;
    }
    if (report->status == 0) {
        jep_history_line(sender->client->history,
                         report->operation->number,
                         "ok send p=%" PRIu32 " v=%" PRIu32 "+%" PRIu32 " o=%" PRId64,
                         report->operation->partition,
                         report->first,
                         report->count,
                         report->offset);
    } else {
        jep_history_line(sender->client->history,
                         report->operation->number,
                         "%s send p=%" PRIu32 " v=%" PRIu32 "+%" PRIu32 " e=%s",
                         is_unknown(report->status) ? "info" : "fail",
                         report->operation->partition,
                         report->first,
                         report->count,
                         spate_error_name(report->status));
    }
    report->operation->left -= report->count;
    if (report->operation->left == 0) {
        report->operation->number = 0;
    }
    report->count = 0;
}

static void add_report(struct jep_sender *sender,
                       struct operation *operation,
                       uint32_t sequence,
                       int status,
                       int64_t offset)
{
    struct report *report = &sender->report;

    if (report->count > 0 && report->operation == operation && report->status == status &&
        sequence == report->first + report->count &&
        (status != 0 || offset == report->offset + report->count)) {
        report->count += 1;
        return;
    }
    write_report(sender);
    *report = (struct report){
        .operation = operation,
        .first = sequence,
        .count = 1,
        .status = status,
        .offset = offset,
    };
}

static void on_delivery(void *arg, const struct spate_delivery *delivery)
{
    struct jep_sender *sender = arg;
    uint64_t opaque = (uint64_t)(uintptr_t)delivery->opaque;
    struct operation *operation = &sender->operations[opaque >> 32];

    if (operation->number == 0 || (uint32_t)delivery->partition != operation->partition) {
        jep_die(sender->client, "a record was reported twice, or for another partition", 0);
    }
    add_report(sender, operation, (uint32_t)opaque, delivery->status, delivery->offset);
}

struct jep_sender *jep_sender_new(struct jep_client *client)
{
    struct jep_sender *sender = calloc(1, sizeof *sender);

    if (sender == NULL) {
        jep_die(client, "memory", 0);
    }
    sender->client = client;
    int rv = spate_producer_new(client->spate, on_delivery, sender, &sender->producer);
    if (rv != 0) {
        jep_die(client, "producer", rv);
    }
    return sender;
}

void jep_sender_poll(struct jep_sender *sender, int timeout_ms)
{
    int rv = spate_poll(sender->client->spate, timeout_ms);

    if (rv < 0) {
        jep_die(sender->client, "poll", rv);
    }
    write_report(sender);
    jep_history_idle(sender->client->history);
}

static int produce_one(struct jep_sender *sender, uint32_t place, const struct jep_name *name)
{
    const struct jep_options *options = &sender->client->options;
    bool tombstone = jep_is_tombstone(name, options->keys);
    size_t size = tombstone ? JEP_NAME_BYTES : options->size;
    char key[JEP_KEY_MAX];

    jep_value_make(name, sender->value, size);
    const struct spate_header header = {
        JEP_NAME_HEADER,
        sizeof JEP_NAME_HEADER - 1,
        sender->value,
        size,
    };
    struct spate_record record = {
        .topic = options->topic,
        .partition = (int32_t)name->partition,
        .key = key,
        .key_size = jep_key_make(name, options->keys, key),
        .value = tombstone ? NULL : sender->value,
        .value_size = tombstone ? 0 : size,
        .headers = tombstone ? &header : NULL,
        .header_count = tombstone ? 1 : 0,
    };
    uint64_t opaque = (uint64_t)place << 32 | name->sequence;
    int rv;
    while ((rv = spate_produce(sender->producer, &record, (void *)(uintptr_t)opaque)) ==
               SPATE_ERR_BUSY &&
           jep_goes_on(sender->client)) {
        jep_sender_poll(sender, WAIT_MS);
    }
    return rv;
}

/* A free place for an operation, or OPERATIONS_MAX. */
static uint32_t find_place(struct jep_sender *sender)
{
    for (uint32_t i = 0; i < OPERATIONS_MAX; i++) {
        uint32_t place = (sender->next_place + i) % OPERATIONS_MAX;
        if (sender->operations[place].number == 0) {
            sender->next_place = place + 1;
            return place;
        }
    }
    return OPERATIONS_MAX;
}

void jep_sender_burst(struct jep_sender *sender)
{
    struct jep_client *client = sender->client;
    uint32_t place = find_place(sender);

    if (place == OPERATIONS_MAX || spate_producer_pending(sender->producer) >= PENDING_MAX) {
        jep_sender_poll(sender, WAIT_MS);
        return;
    }
    struct operation *operation = &sender->operations[place];
    uint32_t count = jep_draw(client, client->options.burst);
    uint32_t partition = (uint32_t)sp_rand_below(&client->rand, client->options.partitions);
    struct jep_name name = {
        .client = client->options.id,
        .partition = partition,
        .sequence = sender->next_sequence[partition],
    };
    *operation = (struct operation){
        .number = jep_history_operation(client->history),
        .partition = partition,
        .left = count,
    };
    jep_history_line(client->history,
                     operation->number,
                     "invoke send p=%" PRIu32 " v=%" PRIu32 "+%" PRIu32,
                     partition,
                     name.sequence,
                     count);
    jep_history_flush(client->history);
    sender->next_sequence[partition] += count;
    for (uint32_t i = 0; i < count; i++) {
        int rv = produce_one(sender, place, &name);
        if (rv != 0) { /* it was not taken */
            add_report(sender, operation, name.sequence, rv, -1);
        }
        name.sequence += 1;
    }
    write_report(sender);
}

void jep_sender_free(struct jep_sender *sender)
{
    (void)spate_producer_flush(sender->producer, END_MS); /* what is left is unknown */
    spate_producer_free(sender->producer);
    write_report(sender);
    free(sender);
}

int jep_produce(struct jep_client *client)
{
    struct jep_sender *sender = jep_sender_new(client);
    int64_t due_ns = jep_now_ns();

    while (jep_goes_on(client)) {
        int64_t left_ms = (due_ns - jep_now_ns()) / 1000000;
        if (left_ms > 0) {
            jep_sender_poll(sender, left_ms < WAIT_MS ? (int)left_ms : WAIT_MS);
            continue;
        }
        jep_sender_burst(sender);
        jep_sender_poll(sender, 0);
        due_ns = jep_pace(client, due_ns, client->options.burst);
    }
    jep_sender_free(sender);
    return 0;
}
