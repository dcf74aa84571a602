/* Reading with libspate: partitions that the program names. */
#include <inttypes.h>
#include <stdio.h>

#include "value.h"
#include "workload.h"

enum {
    WAIT_MS = 100,
    CHANGE_ONE_IN = 64, /* polls: another assignment, or another place */
};

/* ---- polls ----------------------------------------------------------------------------------- */

static void write_runs(struct jep_client *client,
                       struct jep_runs *runs,
                       const struct spate_message *message,
                       const char *mark)
{
    const char *text = jep_runs_text(runs);

    if (text[0] != '\0') {
        jep_history_line(client->history,
                         jep_history_operation(client->history),
                         "ok poll p=%" PRId32 " hw=%" PRId64 "%s r=%s",
                         message->partition,
                         message->high_watermark,
                         mark,
                         text);
    }
    jep_runs_reset(runs);
}

static void take(struct jep_client *client,
                 struct jep_runs *runs,
                 const struct spate_message *message,
                 const char *mark)
{
    struct jep_name name;
    bool named = message->header_count == 1;
    const struct jep_record record = {
        .key = message->key,
        .key_size = message->key_size,
        .value = message->value,
        .value_size = message->value_size,
        .name = named ? message->headers[0].value : NULL,
        .name_size = named ? message->headers[0].value_size : 0,
    };
    const char *bad =
        jep_record_check(&record, (uint32_t)message->partition, client->options.keys, &name);

    if (bad != NULL) {
        jep_history_line(client->history,
                         jep_history_operation(client->history),
                         "ok bad p=%" PRId32 " o=%" PRId64 " why=%s",
                         message->partition,
                         message->offset,
                         bad);
        return;
    }
    if (jep_runs_add(runs, message->offset, name.client, name.sequence) != 0) {
        write_runs(client, runs, message, mark);
        (void)jep_runs_add(runs, message->offset, name.client, name.sequence); /* it is empty */
    }
}

int jep_poll(struct jep_client *client,
             struct spate_consumer *consumer,
             int timeout_ms,
             const char *mark,
             struct spate_message *out_last)
{
    static struct jep_runs runs;
    struct spate_message messages[JEP_POLL_MAX];
    int count = spate_consumer_batch(consumer, timeout_ms, messages, JEP_POLL_MAX);

    jep_runs_reset(&runs);
    for (int i = 0; i < count; i++) {
        take(client, &runs, &messages[i], mark);
    }
    if (count > 0) {
        write_runs(client, &runs, &messages[count - 1], mark);
        *out_last = messages[count - 1];
    }
    jep_history_idle(client->history);
    return count;
}

/* ---- assignments ----------------------------------------------------------------------------- */

static void say_assign(struct jep_client *client, uint32_t partition, int64_t offset)
{
    jep_history_line(client->history,
                     jep_history_operation(client->history),
                     "ok assign p=%" PRIu32 " o=%" PRId64,
                     partition,
                     offset);
}

static void assign(struct jep_client *client,
                   struct spate_consumer *consumer,
                   uint32_t partition,
                   int64_t offset)
{
    int rv = spate_consumer_assign(consumer, client->options.topic, (int32_t)partition, offset);

    if (rv != 0) {
        jep_die(client, "assign", rv);
    }
    say_assign(client, partition, offset);
}

void jep_say_skipped(struct jep_client *client, const struct spate_partition *partition)
{
    jep_history_line(client->history,
                     jep_history_operation(client->history),
                     "ok skipped p=%" PRId32 " o=%" PRId64,
                     partition->partition,
                     partition->offset);
}

static void on_event(void *arg, const struct spate_consumer_event *event)
{
    for (size_t i = 0; event->kind == SPATE_CONSUMER_SKIPPED && i < event->count; i++) {
        jep_say_skipped(arg, &event->partitions[i]);
    }
}

struct spate_consumer *jep_assign_all(struct jep_client *client)
{
    struct spate_consumer *consumer = NULL;
    int rv = spate_consumer_new(client->spate, &consumer);

    if (rv == 0) {
        rv = spate_consumer_on_event(consumer, on_event, client);
    }
    if (rv != 0) {
        jep_die(client, "consumer", rv);
    }
    for (uint32_t i = 0; i < client->options.partitions; i++) {
        assign(client, consumer, i, SPATE_OFFSET_START);
    }
    return consumer;
}

/* Somewhere not behind what was read; the start while nothing was. */
static int64_t draw_offset(struct jep_client *client, int64_t position)
{
    if (position <= 0 || sp_rand_below(&client->rand, 8) == 0) {
        return SPATE_OFFSET_START;
    }
    int64_t back = (int64_t)sp_rand_below(&client->rand, 2000);
    return position > back ? position - back : 0;
}

void jep_read_from(struct jep_client *client,
                   struct spate_consumer *consumer,
                   uint32_t partition,
                   int64_t offset)
{
    const char *topic = client->options.topic;

    if (sp_rand_below(&client->rand, 2) == 0) {
        int rv = spate_consumer_seek(consumer, topic, (int32_t)partition, offset);
        if (rv != 0) {
            jep_die(client, "seek", rv);
        }
        say_assign(client, partition, offset);
    } else {
        int rv = spate_consumer_unassign(consumer, topic, (int32_t)partition);
        if (rv != 0) {
            jep_die(client, "unassign", rv);
        }
        assign(client, consumer, partition, offset);
    }
}

/* One partition is read from another place. */
static void change(struct jep_client *client, struct spate_consumer *consumer)
{
    const char *topic = client->options.topic;
    uint32_t partition = (uint32_t)sp_rand_below(&client->rand, client->options.partitions);
    int64_t position = -1;

    (void)spate_consumer_position(consumer, topic, (int32_t)partition, &position);
    jep_read_from(client, consumer, partition, draw_offset(client, position));
}

int jep_consume(struct jep_client *client)
{
    struct spate_consumer *consumer = jep_assign_all(client);
    struct spate_message last;

    while (jep_goes_on(client)) {
        int count = jep_poll(client, consumer, WAIT_MS, "", &last);
        if (count < 0 && count != SPATE_ERR_AGAIN) {
            jep_die(client, "read", count);
        }
        if (count > 0 && sp_rand_below(&client->rand, CHANGE_ONE_IN) == 0) {
            change(client, consumer);
        }
    }
    spate_consumer_free(consumer);
    return 0;
}

int jep_mixed(struct jep_client *client)
{
    struct spate_consumer *consumer = jep_assign_all(client);
    struct jep_sender *sender = jep_sender_new(client);
    struct spate_message last;
    int64_t due_ns = jep_now_ns();

    while (jep_goes_on(client)) {
        int64_t left_ms = (due_ns - jep_now_ns()) / 1000000;
        int wait_ms = left_ms < 0 ? 0 : left_ms < WAIT_MS ? (int)left_ms : WAIT_MS;
        int count = jep_poll(client, consumer, wait_ms, "", &last);
        if (count < 0 && count != SPATE_ERR_AGAIN) {
            jep_die(client, "read", count);
        }
        if (jep_now_ns() >= due_ns) {
            jep_sender_burst(sender);
            due_ns = jep_pace(client, due_ns, client->options.burst);
        }
        jep_sender_poll(sender, 0);
    }
    jep_sender_free(sender);
    spate_consumer_free(consumer);
    return 0;
}

/* ---- the final read -------------------------------------------------------------------------- */

/* The ends as the cluster tells them now: all that was acknowledged lies before them. */
static int find_ends(struct jep_client *client, int64_t *ends, int64_t *starts)
{
    for (uint32_t i = 0; i < client->options.partitions; i++) {
        int rv;
        do {
            rv = spate_offsets(client->spate, client->options.topic, i, SPATE_AT_END, &ends[i]);
            if (rv == 0) {
                rv = spate_offsets(
                    client->spate, client->options.topic, i, SPATE_AT_START, &starts[i]);
            }
        } while (rv != 0 && spate_error_retriable(rv) && jep_goes_on(client));
        if (rv != 0) {
            fprintf(stderr, "jepsen-client: end of partition %u: %s\n", i, spate_error_name(rv));
            return 1;
        }
    }
    return 0;
}

/* Writes which partitions have been read to their ends; returns how many have not. */
static uint32_t look_at_ends(struct jep_client *client,
                             struct spate_consumer *consumer,
                             int64_t *ends,
                             const int64_t *starts)
{
    uint32_t left = 0;

    for (uint32_t i = 0; i < client->options.partitions; i++) {
        int64_t position = -1;
        (void)spate_consumer_position(consumer, client->options.topic, (int32_t)i, &position);
        if (ends[i] >= 0 && (position >= ends[i] || starts[i] == ends[i])) {
            jep_history_line(client->history,
                             jep_history_operation(client->history),
                             "ok final p=%" PRIu32 " from=%" PRId64 " end=%" PRId64
                             " keep=%" PRId64,
                             i,
                             starts[i],
                             ends[i],
                             client->options.keep);
            ends[i] = -1;
        }
        left += ends[i] >= 0;
    }
    return left;
}

int jep_read(struct jep_client *client)
{
    int64_t ends[JEP_PARTITIONS_MAX];
    int64_t starts[JEP_PARTITIONS_MAX];
    struct spate_message last;

    if (find_ends(client, ends, starts) != 0) {
        return 1;
    }
    struct spate_consumer *consumer = jep_assign_all(client);
    uint32_t left = look_at_ends(client, consumer, ends, starts);
    while (left > 0 && jep_goes_on(client)) {
        int count = jep_poll(client, consumer, WAIT_MS, " final=1", &last);
        if (count < 0 && count != SPATE_ERR_AGAIN) {
            fprintf(stderr, "jepsen-client: final read: %s\n", spate_error_name(count));
            break;
        }
        left = look_at_ends(client, consumer, ends, starts);
    }
    spate_consumer_free(consumer);
    if (left > 0) {
        fprintf(stderr, "jepsen-client: %u partitions were not read to their ends\n", left);
    }
    return left == 0 ? 0 : 1;
}
