#include "sim_records.h"

#include "base/assert.h"
#include "sim_clients.h"
#include "sim_cluster.h"
#include "sim_fiber.h"
#include "sim_model.h"
#include "sim_quiet.h"
#include "sim_reads.h"
#include "spate/spate.h"

/* ---- writing --------------------------------------------------------------------------------- */

/* What a record's delivery is told about; of the world, so that it survives its producer. */
struct sent {
    uint32_t writer;
    uint32_t place;
    uint32_t number;
    bool reported;
    uint64_t *open; /* of its producer's life: records without a report */
};

/* The timeline shows the first of a row of refusals. */
static void note_refused(const struct sent *sent, const struct spate_delivery *delivery)
{
    static uint64_t quiet_until_us[SIM_WRITERS_MAX];

    if (sim.now_us >= quiet_until_us[sent->writer]) {
        sim_note("records from %u of writer %u on are refused: %s %s",
                 sent->number,
                 sent->writer,
                 spate_error_name(delivery->status),
                 delivery->text);
    }
    quiet_until_us[sent->writer] = sim.now_us + 500 * SIM_MS;
}

static void on_delivery(void *arg, const struct spate_delivery *delivery)
{
    struct sent *sent = delivery->opaque;

    (void)arg;
    if (sent->reported) {
        sim_fail("record %u of writer %u was reported twice", sent->number, sent->writer);
    }
    sent->reported = true;
    *sent->open -= 1;
    switch (delivery->status) {
    case 0:
        sim_model_acknowledged(sent->writer, sent->place, sent->number, delivery->offset);
        break;
    case SPATE_ERR_TIMEOUT:
    case SPATE_ERR_CANCELED:
        sim_model.counts.unknown += 1;
        break;
    default:
        note_refused(sent, delivery);
        sim_model_refused(sent->writer, sent->place, sent->number, delivery->status);
        break;
    }
}

static void
send_one(struct spate_producer *producer, struct sim_client *own, uint32_t *numbers, uint64_t *open)
{
    uint32_t place = (uint32_t)sim_clients_draw(0, sim_model.place_count - 1);

    if (sim_quiet_rests(place)) {
        return;
    }
    struct sent *sent = sim_alloc(sizeof *sent);

    *sent = (struct sent){ own->writer, place, numbers[place], false, open };
    int rv = sim_clients_send(producer, sent->writer, place, sent->number, sent);
    if (rv != 0) {
        sim_free(sent); /* not taken: its number is used again */
        return;
    }
    numbers[place] += 1;
    *open += 1;
}

void sim_producer_main(void *arg)
{
    struct sim_client *own = arg;
    struct spate_client *client = sim_clients_connect(NULL);
    struct spate_producer *producer = NULL;
    uint32_t numbers[SIM_PARTITIONS_MAX] = { 0 };
    uint64_t open = 0;

    sim_clients_await_topics();
    own->writer = sim_model_add_writer();
    int rv = spate_producer_new(client, on_delivery, own, &producer);
    SP_ASSERT(rv == 0);
    while (!sim_clients.finishing) {
        uint64_t burst = sim_clients_draw(0, 9) == 0 ? sim_clients_draw(1, sim_clients.burst_max)
                                                     : sim_clients_draw(1, 3);
        for (uint64_t i = 0; i < burst; i++) {
            send_one(producer, own, numbers, &open);
        }
        uint64_t pause_us = sim_with_tail(&own->rand, sim_clients.pause_us);
        (void)spate_poll(client, (int)(pause_us / 1000));
        if (pause_us < 5000) {
            sim_fiber_sleep(pause_us);
        }
    }
    while (spate_producer_pending(producer) > 0) {
        (void)spate_producer_flush(producer, 1000);
    }
    if (open > 0) {
        sim_fail(
            "%llu records of writer %u were never reported", (unsigned long long)open, own->writer);
    }
    sim_model.counts.resent += spate_producer_retries(producer);
    own->done = true;
    spate_producer_free(producer);
    spate_client_free(client);
}

/* ---- reading --------------------------------------------------------------------------------- */

struct reading {
    int64_t next[SIM_PARTITIONS_MAX]; /* 0: nothing was read yet */
    int64_t high_watermark[SIM_PARTITIONS_MAX];
};

static void take_message(struct reading *reading, const struct spate_message *message)
{
    uint32_t place = sim_clients_place(message->topic, message->partition);

    SP_ASSERT(place != UINT32_MAX);
    if (reading->next[place] == 0) { /* it begins where the log does */
        reading->next[place] = sim_model_start(place, message->offset);
    }
    sim_model_read(place,
                   reading->next[place],
                   message->offset,
                   message->value,
                   message->value_size,
                   message->high_watermark);
    if (message->high_watermark < reading->high_watermark[place]) {
        sim_fail("place %u: the high watermark of a reader goes back from %lld to %lld",
                 place,
                 (long long)reading->high_watermark[place],
                 (long long)message->high_watermark);
    }
    reading->high_watermark[place] = message->high_watermark;
    reading->next[place] = message->offset + 1;
}

static bool read_all(const struct reading *reading)
{
    for (uint32_t i = 0; i < sim_model.place_count; i++) {
        const struct sim_group *group = sim_model.places[i].group;
        if (group != NULL && reading->next[i] < group->next_offset &&
            group->log_start < group->next_offset) {
            return false;
        }
    }
    return true;
}

static void on_event(void *arg, const struct spate_consumer_event *event)
{
    struct reading *reading = arg;

    for (size_t i = 0; i < event->count && event->kind == SPATE_CONSUMER_SKIPPED; i++) {
        const struct spate_partition *at = &event->partitions[i];
        uint32_t place = sim_clients_place(at->topic, at->partition);
        SP_ASSERT(place != UINT32_MAX);
        sim_model_skipped(place, reading->next[place], at->offset);
        reading->next[place] = at->offset;
    }
}

void sim_consumer_main(void *arg)
{
    struct sim_client *own = arg;
    char rack[24];
    const char *keys[] = { "client.rack", sim_reads_rack(rack), NULL };
    struct spate_client *client = sim_clients_connect(sim_clients.racks ? keys : NULL);
    struct spate_consumer *consumer = NULL;
    struct reading *reading = sim_alloc(sizeof *reading);

    sim_clients_await_topics();
    int rv = spate_consumer_new(client, &consumer);
    SP_ASSERT(rv == 0);
    rv = spate_consumer_on_event(consumer, on_event, reading);
    SP_ASSERT(rv == 0);
    for (uint32_t i = 0; i < sim_model.place_count; i++) {
        rv = spate_consumer_assign(
            consumer, sim_model.places[i].topic, sim_model.places[i].partition, SPATE_OFFSET_START);
        SP_ASSERT(rv == 0);
    }
    for (;;) {
        struct spate_message message;
        rv = spate_consumer_next(consumer, (int)sim_clients_draw(0, 200), &message);
        if (rv == 0) {
            take_message(reading, &message);
        } else if ((rv == SPATE_ERR_IO || rv == SPATE_ERR_CORRUPT) && sim_cluster.errors_planned) {
            sim_clients_kill(own); /* its partition is paused now: a new life reads it all again */
            sim_fiber_sleep(SIM_SECOND);
        } else if (rv != SPATE_ERR_AGAIN) {
            sim_fail("a consumer is told %s: %s", spate_error_name(rv), spate_client_error(client));
        } else {
            sim_fiber_sleep(1 * SIM_MS);
        }
        own->done = sim_clients.finishing && read_all(reading);
    }
}
