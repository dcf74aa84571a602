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
#include "sim_reads.h"
#include "sim_records.h"
#include "sim_topics.h"
#include "sim_trim.h"
#include "spate/spate.h"

struct sim_clients sim_clients;

static struct sim_client *self(void)
{
    return sim.current->owner;
}

uint64_t sim_clients_draw(uint64_t low, uint64_t high)
{
    return sim_between(&self()->rand, low, high);
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
    set(config, "timeout.ms", sim_clients_draw(0, 3) == 0 ? sim_clients_draw(500, 3000) : 30000);
    set(config, "linger.ms", sim_clients_draw(0, 20));
    set(config, "batch.bytes", sim_clients_draw(2000, 60000));
    set(config, "max.in.flight", sim_clients_draw(1, 5));
    set(config, "fetch.bytes", sim_clients_draw(1000, 200000));
    set(config, "fetch.wait.ms", sim_clients_draw(10, 500));
    if (sim_clients_draw(0, 3) == 0) {
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

int sim_clients_send(
    struct spate_producer *producer, uint32_t writer, uint32_t place, uint32_t number, void *opaque)
{
    uint8_t value[4096];
    size_t size = (size_t)sim_clients_draw(SIM_VALUE_SIZE_MIN, sim_clients.value_size_max);
    const struct spate_record record = {
        .topic = sim_model.places[place].topic,
        .partition = sim_model.places[place].partition,
        .value = value,
        .value_size = size,
    };

    sim_value_write(value, size, writer, place, number);
    return spate_produce(producer, &record, opaque);
}

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

bool sim_clients_topics_created(void)
{
    for (unsigned i = 0; i < sim_clients.topic_count; i++) {
        if (!sim_clients.topics[i].created) {
            return false;
        }
    }
    return true;
}

void sim_clients_await_topics(void)
{
    while (!sim_clients_topics_created()) {
        sim_fiber_sleep(100 * SIM_MS);
    }
}

/* ---- lives ----------------------------------------------------------------------------------- */

static void start(struct sim_client *client)
{
    static void (*const mains[])(void *arg) = {
        sim_topics_main, sim_producer_main,       sim_consumer_main,      sim_churner_main,
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

static void add_some(unsigned count, enum sim_client_kind kind, const char *prefix)
{
    for (unsigned i = 0; i < count; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "%s%u", prefix, i + 1);
        add(kind, name);
    }
}

void sim_clients_init(const struct sim_clients_shape *shape)
{
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
    add_some(shape->producers, SIM_CLIENT_PRODUCER, "p");
    add_some(shape->consumers, SIM_CLIENT_CONSUMER, "c");
    add_some(shape->members, SIM_CLIENT_MEMBER, "m");
    add_some(shape->churners, SIM_CLIENT_CHURNER, "t");
    unsigned first_named = sim_clients.count;
    add_some(shape->streams * shape->programs_per_stream, SIM_CLIENT_NAMED, "s");
    for (unsigned i = first_named; i < sim_clients.count; i++) {
        sim_clients.clients[i].stream = (i - first_named) / shape->programs_per_stream;
    }
    add_some(shape->trimmers, SIM_CLIENT_TRIMMER, "d");
    if (shape->moves) {
        add(SIM_CLIENT_MOVER, "mover");
    }
    add_some(shape->readers, SIM_CLIENT_READER, "r");
    add_some(shape->compact_writers, SIM_CLIENT_COMPACT_WRITER, "kw");
    add_some(shape->compact_readers, SIM_CLIENT_COMPACT_READER, "kr");
}

void sim_clients_start(void)
{
    for (unsigned i = 0; i < sim_clients.count; i++) {
        start(&sim_clients.clients[i]);
    }
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
