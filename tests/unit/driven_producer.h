/* A producer and the servers that it talks to. Included once, by one test. */
#ifndef SP_UNIT_DRIVEN_PRODUCER_H
#define SP_UNIT_DRIVEN_PRODUCER_H

#include "fake_cluster.h"

#include "base/rand.h"
#include "client/producer.h"

enum {
    RECORDS_MAX = 4000,
};

/* What was reported of each record, by its number. */
struct reports {
    unsigned count[RECORDS_MAX];
    int status[RECORDS_MAX];
    int64_t offset[RECORDS_MAX];
    char text[256]; /* of the last failure */
};

static struct fake_cluster cluster;
static struct reports reports;
static struct spate_producer *producer;

static inline void on_delivery(void *arg, const struct spate_delivery *delivery)
{
    uintptr_t number = (uintptr_t)delivery->opaque;

    assert_ptr_equal(arg, &reports);
    assert_true(number < RECORDS_MAX);
    reports.count[number] += 1;
    reports.status[number] = delivery->status;
    reports.offset[number] = delivery->offset;
    if (delivery->status != 0) {
        assert_int_equal(delivery->offset, -1);
        (void)snprintf(reports.text, sizeof reports.text, "%s", delivery->text);
    }
}

static inline void begin(const char *const *keys)
{
    memset(&reports, 0, sizeof reports);
    fake_start(&cluster, keys);
    assert_int_equal(spate_producer_new(cluster.client, on_delivery, &reports, &producer), 0);
}

static inline void end(void)
{
    spate_producer_free(producer);
    fake_stop(&cluster);
}

/* Values are the record's number, padded so that a few fill a small batch. */
static inline int produce(uintptr_t number)
{
    char value[128];
    int size = snprintf(value, sizeof value, "%0100llu", (unsigned long long)number);
    struct spate_record record = {
        .topic = "t",
        .partition = 0,
        .timestamp_ms = 5,
        .value = value,
        .value_size = (size_t)size,
    };

    return spate_produce(producer, &record, (void *)number);
}

static inline void produce_range(uintptr_t first, uintptr_t count)
{
    for (uintptr_t i = first; i < first + count; i++) {
        int rv;
        while ((rv = produce(i)) == SPATE_ERR_BUSY) {
            assert_true(spate_poll(cluster.client, 100) >= 0);
        }
        assert_int_equal(rv, 0);
    }
}

/* The number that the record at `offset` holds, or -1. */
static inline int64_t number_at(int64_t offset)
{
    for (unsigned i = 0; i < cluster.log.batch_count; i++) {
        const struct fake_batch *batch = &cluster.log.batches[i];
        struct sp_batch_reader reader;
        struct sp_record_view record;
        int64_t number = -1;

        if (offset < batch->base_offset || offset >= batch->base_offset + batch->count) {
            continue;
        }
        assert_int_equal(sp_batch_reader_init(
                             &reader, batch->bytes, batch->size, SP_BATCH_DECOMPRESSED_BYTES_MAX),
                         0);
        while (sp_batch_reader_next(&reader, &record)) {
            char text[128] = { 0 };
            memcpy(text, record.value.bytes, record.value.size);
            number = record.offset == offset ? atoll(text) : number;
        }
        sp_batch_reader_deinit(&reader);
        return number;
    }
    return -1;
}

/* Every record is in the log once, in order, and was reported once with its place. */
static inline void check_all_stored(uintptr_t count)
{
    assert_int_equal(cluster.log.next_offset, count);
    for (uintptr_t i = 0; i < count; i++) {
        assert_int_equal(reports.count[i], 1);
        assert_int_equal(reports.status[i], 0);
        assert_int_equal(reports.offset[i], i);
        assert_int_equal(number_at((int64_t)i), i);
    }
}

static const char *const small_batches[] = { "batch.bytes", "1024", "linger.ms", "1", NULL };

static inline enum fake_action
always_silent(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)c;
    (void)method;
    (void)count;
    return FAKE_SILENT;
}

#endif /* SP_UNIT_DRIVEN_PRODUCER_H */
