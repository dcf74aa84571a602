#include "sim_clients.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "sim_cluster.h"
#include "sim_compact.h"
#include "sim_fiber.h"
#include "sim_members.h"
#include "sim_model.h"
#include "sim_moves.h"
#include "sim_named.h"
#include "sim_quiet.h"
#include "sim_reads.h"
#include "sim_trim.h"
#include "spate/spate.h"
#include "wire/client_api.h"

struct sim_clients sim_clients;

static struct sim_client *self(void)
{
    return sim.current->owner;
}

uint64_t sim_clients_draw(uint64_t low, uint64_t high)
{
    return sim_between(&self()->rand, low, high);
}

static uint64_t draw(uint64_t low, uint64_t high)
{
    return sim_clients_draw(low, high);
}

static void set(struct spate_config *config, const char *key, uint64_t value)
{
    char text[32];

    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    int rv = spate_config_set(config, key, text);
    SP_ASSERT(rv == 0);
}

struct spate_client *sim_clients_connect(const char *const *keys)
{
    struct spate_config *config = spate_config_new();
    struct spate_client *client = NULL;

    SP_ASSERT(config != NULL);
    int rv = spate_config_set(config, "servers", sim_clients.servers);
    SP_ASSERT(rv == 0);
    rv = spate_config_set(config, "io.thread", "off");
    SP_ASSERT(rv == 0);
    set(config, "timeout.ms", draw(0, 3) == 0 ? draw(500, 3000) : 30000);
    set(config, "linger.ms", draw(0, 20));
    set(config, "batch.bytes", draw(2000, 60000));
    set(config, "max.in.flight", draw(1, 5));
    set(config, "fetch.bytes", draw(1000, 200000));
    set(config, "fetch.wait.ms", draw(10, 500));
    if (draw(0, 3) == 0) {
        rv = spate_config_set(config, "compression", "lz4");
        SP_ASSERT(rv == 0);
    }
    for (; keys != NULL && *keys != NULL; keys += 2) {
        rv = spate_config_set(config, keys[0], keys[1]);
        SP_ASSERT(rv == 0);
    }
    rv = spate_client_new(config, &client);
    SP_ASSERT(rv == 0);
    spate_config_free(config);
    return client;
}

/* ---- making topics --------------------------------------------------------------------------- */

static void admin_main(void *arg)
{
    struct sim_client *own = arg;
    struct spate_client *client = sim_clients_connect(NULL);
    struct spate_topic_setting settings[SIM_TRIM_SETTINGS_MAX];

    for (unsigned i = 0; i < sim_clients.topic_count; i++) {
        size_t count = i < sim_clients.kept_topic_count ? 0 : sim_trim_settings(settings);
        int rv;
        do {
            rv = spate_topic_create_with(client,
                                         sim_clients.topics[i].name,
                                         sim_clients.topics[i].partitions,
                                         sim_clients.replicas,
                                         settings,
                                         count);
            if (rv != 0 && rv != SPATE_ERR_EXISTS) {
                sim_note("topic create: %s", spate_client_error(client));
                sim_fiber_sleep(100 * SIM_MS);
            }
        } while (rv != 0 && rv != SPATE_ERR_EXISTS);
        sim_clients.topics[i].created = true;
        sim_note("topic %s exists", sim_clients.topics[i].name);
    }
    own->done = true;
    spate_client_free(client);
}

/* ---- writing --------------------------------------------------------------------------------- */

/* What a record's delivery is told about; of the world, so that it survives its producer. */
struct sent {
    uint32_t writer;
    uint32_t place;
    uint32_t number;
    bool reported;
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

int sim_clients_send(
    struct spate_producer *producer, uint32_t writer, uint32_t place, uint32_t number, void *opaque)
{
    uint8_t value[4096];
    size_t size = (size_t)draw(SIM_VALUE_SIZE_MIN, sim_clients.value_size_max);
    const struct spate_record record = {
        .topic = sim_model.places[place].topic,
        .partition = sim_model.places[place].partition,
        .value = value,
        .value_size = size,
    };

    sim_value_write(value, size, writer, place, number);
    return spate_produce(producer, &record, opaque);
}

static void send_one(struct spate_producer *producer, struct sim_client *own, uint32_t *numbers)
{
    uint32_t place = (uint32_t)draw(0, sim_model.place_count - 1);

    if (sim_quiet_rests(place)) {
        return;
    }
    struct sent *sent = sim_alloc(sizeof *sent);

    *sent = (struct sent){ own->writer, place, numbers[place], false };
    int rv = sim_clients_send(producer, sent->writer, place, sent->number, sent);
    if (rv != 0) {
        sim_free(sent); /* not taken: its number is used again */
        return;
    }
    numbers[place] += 1;
}

static void producer_main(void *arg)
{
    struct sim_client *own = arg;
    struct spate_client *client = sim_clients_connect(NULL);
    struct spate_producer *producer = NULL;
    uint32_t numbers[SIM_PARTITIONS_MAX] = { 0 };

    while (!sim_clients_topics_created()) {
        sim_fiber_sleep(100 * SIM_MS);
    }
    own->writer = sim_model_add_writer();
    int rv = spate_producer_new(client, on_delivery, own, &producer);
    SP_ASSERT(rv == 0);
    while (!sim_clients.finishing) {
        uint64_t burst = draw(0, 9) == 0 ? draw(1, sim_clients.burst_max) : draw(1, 3);
        for (uint64_t i = 0; i < burst; i++) {
            send_one(producer, own, numbers);
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

uint32_t sim_clients_place(const char *topic, int32_t partition)
{
    for (uint32_t i = 0; i < sim_model.place_count; i++) {
        if (sim_model.places[i].partition == partition &&
            strcmp(sim_model.places[i].topic, topic) == 0) {
            return i;
        }
    }
    return UINT32_MAX;
}

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

static void consumer_main(void *arg)
{
    struct sim_client *own = arg;
    char rack[24];
    const char *keys[] = { "client.rack", sim_reads_rack(rack), NULL };
    struct spate_client *client = sim_clients_connect(sim_clients.racks ? keys : NULL);
    struct spate_consumer *consumer = NULL;
    struct reading *reading = sim_alloc(sizeof *reading);

    while (!sim_clients_topics_created()) {
        sim_fiber_sleep(100 * SIM_MS);
    }
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
        rv = spate_consumer_next(consumer, (int)draw(0, 200), &message);
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

/* ---- making and deleting topics that nobody uses --------------------------------------------- */

/* Creates it without waiting for its leader, as spate_topic_create does. */
static int create_at_once(struct spate_client *client, const char *name)
{
    struct sp_topic_create_request request;
    struct sp_pack pack;
    struct sp_buf params;
    void *result = NULL;
    size_t result_size = 0;

    sp_topic_create_request_init(&request);
    request.name = sp_bytes_text(name);
    request.partitions = 1;
    request.replicas = (int32_t)sim_clients.replicas;
    sp_buf_init(&params, 1024);
    sp_pack_init(&pack, &params);
    sp_topic_create_request_encode(&pack, &request);
    SP_ASSERT(sp_pack_status(&pack) == 0);
    int rv = spate_call(client, "topic.create", params.bytes, params.size, &result, &result_size);
    sp_buf_deinit(&params);
    spate_free(result);
    return rv;
}

/* Tries until the answer is certain. libspate repeats calls itself, so that the second try may find
 * what the first one has done. */
static void churn_one(struct spate_client *client, const char *name)
{
    bool patient = draw(0, 3) == 0;
    int rv;

    do {
        rv = patient ? spate_topic_create(client, name, 1, sim_clients.replicas)
                     : create_at_once(client, name);
        if (rv != 0 && rv != SPATE_ERR_EXISTS) {
            sim_note("topic create: %s", spate_client_error(client));
            sim_fiber_sleep(50 * SIM_MS);
        }
    } while (rv != 0 && rv != SPATE_ERR_EXISTS);
    sim_note("topic %s exists", name);
    sim_fiber_sleep(patient ? draw(1, 400 * SIM_MS) : 1);
    do {
        rv = spate_topic_delete(client, name);
        if (rv != 0 && rv != SPATE_ERR_UNKNOWN_TOPIC) {
            sim_note("topic delete: %s", spate_client_error(client));
            sim_fiber_sleep(50 * SIM_MS);
        }
    } while (rv != 0 && rv != SPATE_ERR_UNKNOWN_TOPIC);
}

static void churner_main(void *arg)
{
    struct sim_client *own = arg;
    struct spate_client *client = sim_clients_connect(NULL);

    while (!sim_clients_topics_created()) {
        sim_fiber_sleep(100 * SIM_MS);
    }
    while (!sim_clients.finishing && sim_clients.churned < sim_clients.churn_max) {
        char name[32];
        (void)snprintf(name, sizeof name, "churn%u", sim_clients.churned);
        sim_clients.churned += 1;
        churn_one(client, name);
        sim_fiber_sleep(sim_with_tail(&own->rand, 30 * SIM_MS));
    }
    own->done = true;
    spate_client_free(client);
}

/* ---- lives ----------------------------------------------------------------------------------- */

static void start(struct sim_client *client)
{
    static void (*const mains[])(void *arg) = {
        admin_main,      producer_main,           consumer_main,          churner_main,
        sim_member_main, sim_named_main,          sim_trim_main,          sim_moves_main,
        sim_reads_main,  sim_compact_writer_main, sim_compact_reader_main
    };

    client->done = false;
    client->lives += 1;
    sim_process_start(client->process);
    sim_fiber_start(client->process, mains[client->kind], client);
}

static void on_restart(void *arg)
{
    struct sim_client *client = arg;

    if (!client->process->alive) {
        start(client);
    }
}

void sim_clients_kill(struct sim_client *client)
{
    if (!client->process->alive || client->done) {
        return;
    }
    sim_process_kill(client->process, SIM_DEATH_KILL);
    sim_model.counts.client_deaths += 1;
    uint64_t pause_us = sim_between(&sim.rand_work, 1000, SIM_SECOND);
    (void)sim_at(sim.now_us + pause_us, SIM_EVENT_FAULT, NULL, on_restart, client);
}

void sim_clients_read_again(void)
{
    for (unsigned i = 0; i < sim_clients.count; i++) {
        struct sim_client *client = &sim_clients.clients[i];
        if (client->kind == SIM_CLIENT_CONSUMER) {
            sim_process_kill(client->process, SIM_DEATH_KILL);
            start(client);
        }
    }
}

static void add(enum sim_client_kind kind, const char *name)
{
    struct sim_client *client = &sim_clients.clients[sim_clients.count];
    char host[32];

    SP_ASSERT(sim_clients.count < SIM_CLIENTS_MAX);
    (void)snprintf(host, sizeof host, "10.0.1.%u", sim_clients.count + 1);
    client->kind = kind;
    client->process = sim_process_new(name, host);
    client->process->owner = client;
    sp_rand_init(&client->rand, sp_rand_next(&sim.rand_work));
    sim_clients.count += 1;
}

void sim_clients_init(const struct sim_clients_shape *shape)
{
    char name[16];

    memset(&sim_clients, 0, sizeof sim_clients);
    sim_members_init();
    sim_cluster_addresses(sim_clients.servers, sizeof sim_clients.servers);
    sim_clients.replicas = shape->replicas;
    sim_clients.racks = shape->racks;
    sim_clients.kept_topic_count = shape->topics;
    sim_clients.topic_count = shape->topics + shape->trimmed_topics;
    for (unsigned i = 0; i < sim_clients.topic_count; i++) {
        (void)snprintf(sim_clients.topics[i].name, sizeof sim_clients.topics[i].name, "topic%u", i);
        sim_clients.topics[i].partitions = shape->partitions;
        sim_clients.topics[i].first_place = sim_model.place_count;
        for (uint32_t k = 0; k < shape->partitions; k++) {
            (void)sim_model_add_place(sim_clients.topics[i].name, (int32_t)k, i >= shape->topics);
        }
    }
    add(SIM_CLIENT_ADMIN, "admin");
    for (unsigned i = 0; i < shape->producers; i++) {
        (void)snprintf(name, sizeof name, "p%u", i + 1);
        add(SIM_CLIENT_PRODUCER, name);
    }
    for (unsigned i = 0; i < shape->consumers; i++) {
        (void)snprintf(name, sizeof name, "c%u", i + 1);
        add(SIM_CLIENT_CONSUMER, name);
    }
    for (unsigned i = 0; i < shape->members; i++) {
        (void)snprintf(name, sizeof name, "m%u", i + 1);
        add(SIM_CLIENT_MEMBER, name);
    }
    for (unsigned i = 0; i < shape->churners; i++) {
        (void)snprintf(name, sizeof name, "t%u", i + 1);
        add(SIM_CLIENT_CHURNER, name);
    }
    for (unsigned i = 0; i < shape->streams * shape->programs_per_stream; i++) {
        (void)snprintf(name, sizeof name, "s%u", i + 1);
        add(SIM_CLIENT_NAMED, name);
        sim_clients.clients[sim_clients.count - 1].stream = i / shape->programs_per_stream;
    }
    for (unsigned i = 0; i < shape->trimmers; i++) {
        (void)snprintf(name, sizeof name, "d%u", i + 1);
        add(SIM_CLIENT_TRIMMER, name);
    }
    if (shape->moves) {
        add(SIM_CLIENT_MOVER, "mover");
    }
    for (unsigned i = 0; i < shape->readers; i++) {
        (void)snprintf(name, sizeof name, "r%u", i + 1);
        add(SIM_CLIENT_READER, name);
    }
    for (unsigned i = 0; i < shape->compact_writers; i++) {
        (void)snprintf(name, sizeof name, "kw%u", i + 1);
        add(SIM_CLIENT_COMPACT_WRITER, name);
    }
    for (unsigned i = 0; i < shape->compact_readers; i++) {
        (void)snprintf(name, sizeof name, "kr%u", i + 1);
        add(SIM_CLIENT_COMPACT_READER, name);
    }
}

void sim_clients_start(void)
{
    for (unsigned i = 0; i < sim_clients.count; i++) {
        start(&sim_clients.clients[i]);
    }
}

bool sim_clients_topics_created(void)
{
    for (unsigned i = 0; i < sim_clients.topic_count; i++) {
        if (!sim_clients.topics[i].created) {
            return false;
        }
    }
    return true;
}

bool sim_clients_done(char *out_why, unsigned size)
{
    for (unsigned i = 0; i < sim_clients.count; i++) {
        const struct sim_client *client = &sim_clients.clients[i];
        if (!client->done) {
            (void)snprintf(out_why, size, "%s has not finished", client->process->name);
            return false;
        }
    }
    return true;
}
