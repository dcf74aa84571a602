#include "sim_compact.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/crc32c.h"
#include "sim_cluster.h"
#include "sim_fiber.h"
#include "sim_model.h"
#include "spate/spate.h"

#define TOPIC "latest"
#define KEYS_MAX 40u
#define VALUE_SIZE_MAX 1500u
#define PREFIX "latest-"

/* A committed record. */
struct written {
    uint32_t key;
    uint64_t number;
    uint32_t crc; /* of the whole value */
    bool tombstone;
};

static struct {
    struct written *records; /* [offset] */
    int64_t count;
    int64_t capacity;
    uint64_t next_number;
    uint32_t keys;
    uint32_t value_size;
    int64_t tombstone_ms;
    uint64_t pause_us;
    unsigned writing; /* writers that have not ended */
    bool created;
} world;

void sim_compact_draw(uint64_t seed, unsigned *out_writers, unsigned *out_readers)
{
    struct sp_rand rand;
    bool has = false;

    sp_rand_init(&rand, seed ^ 0x636f6d70u);
    sim_free(world.records);
    memset(&world, 0, sizeof world);
    has = sim_one_in(&rand, 3);
    *out_writers = has ? (unsigned)sim_between(&rand, 1, 2) : 0;
    *out_readers = has ? 1 : 0;
    world.keys = (uint32_t)sim_between(&rand, 2, KEYS_MAX);
    world.value_size = (uint32_t)sim_between(&rand, 100, VALUE_SIZE_MAX);
    world.tombstone_ms = (int64_t)sim_between(&rand, 200, 3000);
    world.pause_us = sim_between(&rand, 2 * SIM_MS, 20 * SIM_MS);
    world.writing = *out_writers;
}

/* ---- what was committed ---------------------------------------------------------------------- */

/* A value begins with its number and a dot; a tombstone has none. */
static bool read_value(struct sp_bytes value, uint64_t *out_number)
{
    char text[32] = "";
    size_t size = value.size < sizeof text - 1 ? value.size : sizeof text - 1;
    unsigned long long number = 0;

    memcpy(text, value.bytes, size);
    bool read = sscanf(text, "%llu.", &number) == 1;
    *out_number = number;
    return read;
}

static bool read_key(struct sp_bytes key, uint32_t *out_key)
{
    char text[32] = "";
    unsigned number = 0;

    if (key.bytes == NULL || key.size >= sizeof text || key.size < sizeof PREFIX - 1 ||
        memcmp(key.bytes, PREFIX, sizeof PREFIX - 1) != 0) {
        return false;
    }
    memcpy(text, key.bytes, key.size);
    bool read = sscanf(text, PREFIX "%u", &number) == 1;
    *out_key = number;
    return read && number < KEYS_MAX;
}

bool sim_compact_committed(const struct sp_record_view *view)
{
    struct written written = { .tombstone = view->value.bytes == NULL };

    if (!read_key(view->key, &written.key)) {
        return false;
    }
    if (view->offset != world.count) {
        sim_fail("%s: a record is committed at offset %lld where %lld is next",
                 TOPIC,
                 (long long)view->offset,
                 (long long)world.count);
        return true;
    }
    if (!written.tombstone && !read_value(view->value, &written.number)) {
        sim_fail(
            "%s: the value at offset %lld is not what was sent", TOPIC, (long long)view->offset);
        return true;
    }
    if (!written.tombstone) {
        written.crc = sp_crc32c(0, view->value.bytes, view->value.size);
    }
    if (world.count == world.capacity) {
        world.capacity = world.capacity == 0 ? 256 : 2 * world.capacity;
        world.records = sim_grow(world.records, (size_t)world.capacity * sizeof world.records[0]);
    }
    world.records[world.count] = written;
    world.count += 1;
    sim_model.counts.compacted_committed += 1;
    return true;
}

/* ---- writing --------------------------------------------------------------------------------- */

static void on_delivery(void *arg, const struct spate_delivery *delivery)
{
    (void)arg;
    (void)delivery; /* what is committed tells */
}

static void create(struct spate_client *client)
{
    char tombstone_ms[24];
    int rv;

    (void)snprintf(tombstone_ms, sizeof tombstone_ms, "%lld", (long long)world.tombstone_ms);
    const struct spate_topic_setting settings[] = {
        { "cleanup.policy", "compact" },
        { "segment.bytes", "65536" },
        { "segment.ms", "1000" },
        { "delete.retention.ms", tombstone_ms },
    };
    do {
        rv = spate_topic_create_with(client, TOPIC, 1, sim_clients.replicas, settings, 4);
        if (rv != 0 && rv != SPATE_ERR_EXISTS) {
            sim_note("topic create: %s", spate_client_error(client));
            sim_fiber_sleep(100 * SIM_MS);
        }
    } while (rv != 0 && rv != SPATE_ERR_EXISTS);
    world.created = true;
}

static void send_one(struct spate_producer *producer)
{
    char key[32];
    char value[VALUE_SIZE_MAX + 32];
    uint32_t number = (uint32_t)sim_clients_draw(0, world.keys - 1);
    bool tombstone = sim_clients_draw(0, 5) == 0;

    world.next_number += 1;
    (void)snprintf(key, sizeof key, PREFIX "%u", number);
    int size = snprintf(value, sizeof value, "%llu.", (unsigned long long)world.next_number);
    size_t value_size = (size_t)sim_clients_draw((uint64_t)size, world.value_size);
    memset(value + size, 'v', value_size - (size_t)size);
    const struct spate_record record = {
        .topic = TOPIC,
        .key = key,
        .key_size = strlen(key),
        .value = tombstone ? NULL : value,
        .value_size = tombstone ? 0 : value_size,
    };
    (void)spate_produce(producer, &record, NULL); /* not taken: another one will be */
}

void sim_compact_writer_main(void *arg)
{
    struct sim_client *own = arg;
    struct spate_client *client = sim_clients_connect(NULL);
    struct spate_producer *producer = NULL;

    create(client);
    int rv = spate_producer_new(client, on_delivery, own, &producer);
    SP_ASSERT(rv == 0);
    while (!sim_clients.finishing) {
        uint64_t burst = sim_clients_draw(1, 8);
        for (uint64_t i = 0; i < burst; i++) {
            send_one(producer);
        }
        uint64_t pause_us = sim_with_tail(&own->rand, world.pause_us);
        (void)spate_poll(client, (int)(pause_us / 1000));
        sim_fiber_sleep(1 * SIM_MS);
    }
    while (spate_producer_pending(producer) > 0) {
        (void)spate_producer_flush(producer, 1000);
    }
    world.writing -= 1;
    own->done = true;
    spate_producer_free(producer);
    spate_client_free(client);
}

/* ---- reading --------------------------------------------------------------------------------- */

struct pass {
    int64_t goal; /* committed when it began */
    uint64_t begun_us;
    int64_t position;
    int64_t taken;          /* records below the goal that were read */
    int64_t seen[KEYS_MAX]; /* offset plus 1 of the last record of each key; 0: none */
};

static void take(struct pass *pass, const struct spate_message *message)
{
    struct sp_bytes key = sp_bytes_of(message->key, message->key_size);
    uint32_t number = 0;
    uint64_t value = 0;

    if (message->offset < pass->position || message->offset >= world.count) {
        sim_fail("%s: a reader at offset %lld of %lld was given offset %lld",
                 TOPIC,
                 (long long)pass->position,
                 (long long)world.count,
                 (long long)message->offset);
        return;
    }
    const struct written *written = &world.records[message->offset];
    bool same = read_key(key, &number) && number == written->key &&
                (message->value == NULL) == written->tombstone;
    if (same && !written->tombstone) {
        same = read_value(sp_bytes_of(message->value, message->value_size), &value) &&
               value == written->number &&
               sp_crc32c(0, message->value, message->value_size) == written->crc;
    }
    if (!same) {
        sim_fail("%s: a reader found another record at offset %lld than was committed",
                 TOPIC,
                 (long long)message->offset);
        return;
    }
    pass->position = message->offset + 1;
    pass->seen[written->key] = pass->position;
    pass->taken += message->offset < pass->goal;
    sim_model.counts.compacted_read += 1;
}

/* A later record of the key may have taken the place of the one that was the latest. */
static bool written_since(uint32_t key, int64_t goal)
{
    for (int64_t i = goal; i < world.count; i++) {
        if (world.records[i].key == key) {
            return true;
        }
    }
    return false;
}

/* The pass is at its goal: what was the latest when it began must have been met. */
static void judge(const struct pass *pass)
{
    bool slow = sim.now_us - pass->begun_us >= (uint64_t)world.tombstone_ms * SIM_MS;
    int64_t latest[KEYS_MAX] = { 0 };

    for (int64_t i = 0; i < pass->goal; i++) {
        latest[world.records[i].key] = i + 1;
    }
    for (uint32_t key = 0; key < KEYS_MAX && !sim.failed; key++) {
        if (latest[key] == 0 || pass->seen[key] >= latest[key] || written_since(key, pass->goal)) {
            continue;
        }
        bool tombstone = world.records[latest[key] - 1].tombstone;
        if (!tombstone) {
            sim_fail("%s: the latest record of key %u, at offset %lld, was not there",
                     TOPIC,
                     key,
                     (long long)latest[key] - 1);
        } else if (pass->seen[key] != 0 && !slow) {
            sim_fail("%s: key %u was taken away at offset %lld; a reader found it at %lld and not "
                     "that it was",
                     TOPIC,
                     key,
                     (long long)latest[key] - 1,
                     (long long)pass->seen[key] - 1);
        }
    }
    sim_model.counts.compacted_passes += 1;
    sim_model.counts.compacted_gone += (uint64_t)(pass->goal - pass->taken);
}

/* Where the consumer stands: behind what was taken away at the end, too. */
static int64_t position_of(const struct spate_consumer *consumer)
{
    int64_t offset = 0;

    return spate_consumer_position(consumer, TOPIC, 0, &offset) == 0 && offset > 0 ? offset : 0;
}

/* One pass; false: the program was told of a disk error and begins anew. */
static bool read_once(struct sim_client *own, struct spate_client *client)
{
    struct spate_consumer *consumer = NULL;
    struct pass pass = { .goal = world.count, .begun_us = sim.now_us };
    int rv = spate_consumer_new(client, &consumer);

    (void)own;
    SP_ASSERT(rv == 0);
    rv = spate_consumer_assign(consumer, TOPIC, 0, SPATE_OFFSET_START);
    SP_ASSERT(rv == 0);
    while (!sim.failed && position_of(consumer) < pass.goal) {
        struct spate_message message;

        rv = spate_consumer_next(consumer, 50, &message);
        if (rv == 0) {
            take(&pass, &message);
        } else if (rv == SPATE_ERR_AGAIN) {
            sim_fiber_sleep(1 * SIM_MS);
        } else {
            break;
        }
    }
    bool whole = rv == 0 || rv == SPATE_ERR_AGAIN;
    if (!whole &&
        ((rv != SPATE_ERR_IO && rv != SPATE_ERR_CORRUPT) || !sim_cluster.errors_planned)) {
        sim_fail("a reader of %s is told %s: %s",
                 TOPIC,
                 spate_error_name(rv),
                 spate_client_error(client));
    }
    if (whole && !sim.failed) {
        judge(&pass);
    }
    spate_consumer_free(consumer);
    return whole;
}

void sim_compact_reader_main(void *arg)
{
    struct sim_client *own = arg;
    struct spate_client *client = sim_clients_connect(NULL);

    while (!world.created) {
        sim_fiber_sleep(100 * SIM_MS);
    }
    for (;;) {
        bool last = sim_clients.finishing && world.writing == 0;
        bool whole = read_once(own, client);

        own->done = own->done || (last && whole);
        sim_fiber_sleep(own->done ? SIM_SECOND : 100 * SIM_MS);
    }
}
