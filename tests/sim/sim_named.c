/* Producers with names: several programs, one after the other or at once, carry on one stream.
 *
 *   a life: take all partitions over -> go on at the first record that is not stored -> until it is
 *           killed, or told that another program took over, or a record fails -> the next life
 *
 * Record n of a stream in a partition is the same whoever sends it. The model checks that each is
 * there once and that none is missing before another (sim_model_stream). */
#include "sim_named.h"

#include <stdio.h>

#include "base/assert.h"
#include "sim_fiber.h"
#include "sim_model.h"
#include "spate/spate.h"

/* One life of a stream in one program. */
struct life {
    struct sim_client *own;
    uint32_t writer;
    uint32_t numbers[SIM_PARTITIONS_MAX]; /* of the next record */
    bool ended;                           /* something failed: only another life can go on */
    bool fenced;
};

struct sent {
    struct life *life;
    uint32_t place;
    uint32_t number;
};

static uint32_t writer_of(unsigned stream)
{
    static struct {
        bool known;
        uint32_t writer;
    } streams[SIM_NAMES_MAX];

    SP_ASSERT(stream < SIM_NAMES_MAX);
    if (!streams[stream].known) {
        streams[stream].known = true;
        streams[stream].writer = sim_model_add_writer();
        sim_model_stream(streams[stream].writer);
    }
    return streams[stream].writer;
}

static void end(struct life *life, int status)
{
    if (!life->ended) {
        sim_note("a life of stream %u ends: %s", life->own->stream, spate_error_name(status));
    }
    life->ended = true;
    if (status == SPATE_ERR_PRODUCER_FENCED && !life->fenced) {
        life->fenced = true;
        sim_model.counts.fenced += 1;
    }
}

static void on_delivery(void *arg, const struct spate_delivery *delivery)
{
    struct sent *sent = delivery->opaque;

    (void)arg;
    if (delivery->status == 0) {
        sim_model_acknowledged(sent->life->writer, sent->place, sent->number, delivery->offset);
    } else {
        end(sent->life, delivery->status); /* whoever goes on stores it */
    }
    sim_free(sent);
}

static void send_one(struct spate_producer *producer, struct life *life)
{
    uint32_t place = (uint32_t)sim_clients_draw(0, sim_model.kept_count - 1);
    struct sent *sent = sim_alloc(sizeof *sent);

    *sent = (struct sent){ life, place, life->numbers[place] };
    int rv = sim_clients_send(producer, life->writer, place, sent->number, sent);
    if (rv == 0) {
        life->numbers[place] += 1;
        return;
    }
    sim_free(sent);
    if (rv != SPATE_ERR_BUSY) {
        end(life, rv);
    }
}

/* Takes every partition over and learns where to go on. */
static bool
take_over(struct spate_client *client, struct spate_producer *producer, struct life *life)
{
    for (uint32_t i = 0; i < sim_model.kept_count && !life->ended; i++) {
        int64_t records = 0;
        int64_t offset = 0;
        int rv = spate_producer_stored(
            producer, sim_model.places[i].topic, sim_model.places[i].partition, &records, &offset);
        if (rv == SPATE_ERR_UNKNOWN_PRODUCER || rv == SPATE_ERR_EXISTS) {
            sim_fail("stream %u cannot go on: %s", life->own->stream, spate_client_error(client));
        }
        if (rv != 0) {
            end(life, rv);
            return false;
        }
        life->numbers[i] = (uint32_t)records;
        sim_model_resumed(life->writer, i, records, offset);
    }
    return !life->ended;
}

static void produce(struct spate_client *client, struct spate_producer *producer, struct life *life)
{
    struct sim_client *own = life->own;

    while (!sim_clients.finishing && !life->ended && sim_clients_draw(0, 200) != 0) {
        uint64_t burst = sim_clients_draw(0, 9) == 0 ? sim_clients_draw(1, sim_clients.burst_max)
                                                     : sim_clients_draw(1, 3);
        for (uint64_t i = 0; i < burst && !life->ended; i++) {
            send_one(producer, life);
        }
        uint64_t pause_us = sim_with_tail(&own->rand, sim_clients.pause_us);
        (void)spate_poll(client, (int)(pause_us / 1000));
        if (pause_us < 5000) {
            sim_fiber_sleep(pause_us);
        }
    }
    /* A life that ends of itself may leave records behind in flight. */
    while (sim_clients.finishing && spate_producer_pending(producer) > 0) {
        (void)spate_producer_flush(producer, 1000);
    }
}

void sim_named_main(void *arg)
{
    struct sim_client *own = arg;
    char name[32];

    (void)snprintf(name, sizeof name, "stream%u", own->stream);
    const char *const keys[] = { "producer.name", name, NULL };
    struct spate_client *client = sim_clients_connect(keys);
    sim_clients_await_topics();
    while (!own->done) {
        struct life life = { .own = own, .writer = writer_of(own->stream) };
        struct spate_producer *producer = NULL;
        int rv = spate_producer_new(client, on_delivery, own, &producer);
        SP_ASSERT(rv == 0);
        if (take_over(client, producer, &life)) {
            produce(client, producer, &life);
        }
        sim_model.counts.resent += spate_producer_retries(producer);
        /* Whoever took over finishes the stream. */
        own->done = sim_clients.finishing && (!life.ended || life.fenced);
        spate_producer_free(producer);
        if (!own->done) {
            sim_fiber_sleep(sim_clients_draw(1 * SIM_MS, 300 * SIM_MS));
        }
    }
    spate_client_free(client);
}

void sim_named_draw(uint64_t seed, unsigned *out_streams, unsigned *out_programs)
{
    struct sp_rand rand;

    sp_rand_init(&rand, seed ^ 0x6e616d6564u);
    *out_streams = sim_one_in(&rand, 3) ? (unsigned)sim_between(&rand, 1, SIM_NAMES_MAX) : 0;
    *out_programs = (unsigned)sim_between(&rand, 1, 2);
}
