#include "broker/producers.h"

#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "spate/error.h"

struct sp_producers {
    struct sp_map *by_id;
    struct sp_list by_age; /* struct sp_producer, the longest silent first */
};

struct sp_producers *sp_producers_new(void)
{
    struct sp_producers *producers = sp_mem_calloc(1, sizeof *producers);

    if (producers == NULL) {
        return NULL;
    }
    sp_list_init(&producers->by_age);
    producers->by_id = sp_map_new();
    if (producers->by_id == NULL) {
        sp_mem_free(producers);
        return NULL;
    }
    return producers;
}

static void drop(struct sp_producers *producers, struct sp_producer *producer)
{
    (void)sp_map_remove_u64(producers->by_id, (uint64_t)producer->producer_id);
    sp_list_remove(&producer->node);
    sp_mem_free(producer);
}

static void clear(struct sp_producers *producers)
{
    while (!sp_list_empty(&producers->by_age)) {
        drop(producers, SP_LIST_ENTRY(producers->by_age.next, struct sp_producer, node));
    }
}

void sp_producers_free(struct sp_producers *producers)
{
    if (producers == NULL) {
        return;
    }
    clear(producers);
    sp_map_free(producers->by_id);
    sp_mem_free(producers);
}

const struct sp_producer *sp_producers_find(const struct sp_producers *producers,
                                            int64_t producer_id)
{
    return sp_map_get_u64(producers->by_id, (uint64_t)producer_id);
}

static struct sp_producer *oldest(const struct sp_producers *producers)
{
    return SP_LIST_ENTRY(producers->by_age.next, struct sp_producer, node);
}

bool sp_producer_expired(const struct sp_producer *producer, int64_t append_time_ms)
{
    return producer->last_append_ms <= append_time_ms - SP_PRODUCER_EXPIRY_MS;
}

bool sp_producers_full(const struct sp_producers *producers,
                       unsigned coming,
                       int64_t append_time_ms)
{
    size_t wanted = sp_map_count(producers->by_id) + (size_t)coming + 1;

    if (wanted <= SP_PRODUCERS_PER_PARTITION_MAX) {
        return false;
    }
    size_t expired = 0;
    SP_LIST_EACH (node, &producers->by_age) {
        if (expired == wanted - SP_PRODUCERS_PER_PARTITION_MAX ||
            !sp_producer_expired(SP_LIST_ENTRY(node, struct sp_producer, node), append_time_ms)) {
            break;
        }
        expired += 1;
    }
    return expired < wanted - SP_PRODUCERS_PER_PARTITION_MAX;
}

int32_t sp_producer_next_sequence(const struct sp_producer_batch *batch)
{
    return (int32_t)(((int64_t)batch->base_sequence + batch->record_count) & INT32_MAX);
}

static struct sp_producer *add(struct sp_producers *producers, int64_t producer_id)
{
    struct sp_producer *producer = sp_mem_calloc(1, sizeof *producer);

    if (producer == NULL) {
        return NULL;
    }
    producer->producer_id = producer_id;
    if (sp_map_put_u64(producers->by_id, (uint64_t)producer_id, producer) != 0) {
        sp_mem_free(producer);
        return NULL;
    }
    sp_list_append(&producers->by_age, &producer->node);
    return producer;
}

static void push_batch(struct sp_producer *producer, const struct sp_producer_batch *batch)
{
    if (producer->batch_count == SP_PRODUCER_BATCHES_KEPT) {
        memmove(producer->batches,
                producer->batches + 1,
                (SP_PRODUCER_BATCHES_KEPT - 1) * sizeof producer->batches[0]);
        producer->batch_count -= 1;
    }
    producer->batches[producer->batch_count] = *batch;
    producer->batch_count += 1;
}

int sp_producers_apply(struct sp_producers *producers,
                       const struct sp_batch_facts *facts,
                       int64_t term,
                       int64_t append_time_ms)
{
    struct sp_producer *producer = sp_map_get_u64(producers->by_id, (uint64_t)facts->producer_id);
    struct sp_producer_batch batch = { .base_sequence = facts->base_sequence,
                                       .record_count = facts->record_count,
                                       .base_offset = facts->base_offset,
                                       .term = term };

    if (producer == NULL) {
        if (sp_map_count(producers->by_id) >= SP_PRODUCERS_PER_PARTITION_MAX) {
            drop(producers, oldest(producers)); /* expired: the leader checked before it appended */
        }
        producer = add(producers, facts->producer_id);
        if (producer == NULL) {
            return SPATE_ERR_NOMEM;
        }
    } else {
        sp_list_remove(&producer->node);
        sp_list_append(&producers->by_age, &producer->node);
    }
    if (producer->epoch != facts->producer_epoch) {
        producer->epoch = facts->producer_epoch;
        producer->batch_count = 0;
    }
    producer->last_append_ms = append_time_ms;
    push_batch(producer, &batch);
    return 0;
}

/* ---- checkpoint ------------------------------------------------------------------------------ */

void sp_producers_encode(const struct sp_producers *producers, struct sp_pack *pack)
{
    sp_pack_array(pack, sp_map_count(producers->by_id));
    SP_LIST_EACH (node, &producers->by_age) {
        const struct sp_producer *producer = SP_LIST_ENTRY(node, struct sp_producer, node);
        sp_pack_array(pack, 3 + 4 * (size_t)producer->batch_count);
        sp_pack_int(pack, producer->producer_id);
        sp_pack_int(pack, producer->epoch);
        sp_pack_int(pack, producer->last_append_ms);
        for (unsigned i = 0; i < producer->batch_count; i++) {
            sp_pack_int(pack, producer->batches[i].base_sequence);
            sp_pack_int(pack, producer->batches[i].record_count);
            sp_pack_int(pack, producer->batches[i].base_offset);
            sp_pack_int(pack, producer->batches[i].term);
        }
    }
}

static int decode_one(struct sp_producers *producers, struct sp_cursor *cursor)
{
    uint32_t fields = sp_cursor_array(cursor);
    struct sp_producer *producer;
    int64_t producer_id;

    if (fields < 3 || (fields - 3) % 4 != 0 || (fields - 3) / 4 > SP_PRODUCER_BATCHES_KEPT) {
        return SPATE_ERR_CORRUPT;
    }
    producer_id = sp_cursor_int(cursor, 0, INT64_MAX);
    if (sp_cursor_status(cursor) != 0 || sp_producers_find(producers, producer_id) != NULL) {
        return SPATE_ERR_CORRUPT;
    }
    producer = add(producers, producer_id);
    if (producer == NULL) {
        return SPATE_ERR_NOMEM;
    }
    producer->epoch = (int16_t)sp_cursor_int(cursor, 0, INT16_MAX);
    producer->last_append_ms = sp_cursor_int(cursor, INT64_MIN, INT64_MAX);
    for (uint32_t i = 0; i < (fields - 3) / 4; i++) {
        struct sp_producer_batch batch = { .base_sequence = 0 };
        batch.base_sequence = (int32_t)sp_cursor_int(cursor, 0, INT32_MAX);
        batch.record_count = (int32_t)sp_cursor_int(cursor, 1, INT32_MAX);
        batch.base_offset = sp_cursor_int(cursor, 0, INT64_MAX);
        batch.term = sp_cursor_int(cursor, 0, INT64_MAX);
        push_batch(producer, &batch);
    }
    return sp_cursor_status(cursor) == 0 ? 0 : SPATE_ERR_CORRUPT;
}

int sp_producers_decode(struct sp_producers *producers, struct sp_cursor *cursor)
{
    uint32_t count = sp_cursor_array(cursor);
    int rv = sp_cursor_status(cursor) == 0 ? 0 : SPATE_ERR_CORRUPT;

    clear(producers);
    for (uint32_t i = 0; i < count && rv == 0; i++) {
        rv = decode_one(producers, cursor);
    }
    if (rv != 0) {
        clear(producers);
    }
    return rv;
}
