#include "broker/producers.h"

#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "spate/error.h"

struct sp_producers {
    struct sp_map *by_id;
    struct sp_list by_age;       /* struct sp_producer, the longest silent first */
    struct sp_list named_by_age; /* likewise, those that may come back, see may_come_back */
    int64_t forgotten_id;        /* highest id of one of them that made room; -1: none did */
};

struct sp_producers *sp_producers_new(void)
{
    struct sp_producers *producers = sp_mem_calloc(1, sizeof *producers);

    if (producers == NULL) {
        return NULL;
    }
    sp_list_init(&producers->by_age);
    sp_list_init(&producers->named_by_age);
    producers->forgotten_id = -1;
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

static struct sp_producer *first_of(const struct sp_list *list)
{
    return SP_LIST_ENTRY(list->next, struct sp_producer, node);
}

static void clear(struct sp_producers *producers)
{
    while (!sp_list_empty(&producers->by_age)) {
        drop(producers, first_of(&producers->by_age));
    }
    while (!sp_list_empty(&producers->named_by_age)) {
        drop(producers, first_of(&producers->named_by_age));
    }
    producers->forgotten_id = -1;
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

/* It has a name, and something here that its next life will ask for. */
static bool may_come_back(const struct sp_producer *producer)
{
    return producer->fenced && producer->records != 0;
}

bool sp_producers_have_named(const struct sp_producers *producers)
{
    return !sp_list_empty(&producers->named_by_age);
}

bool sp_producer_expired(const struct sp_producer *producer,
                         int64_t append_time_ms,
                         int64_t unnamed_ms)
{
    int64_t expiry_ms = producer->fenced ? SP_PRODUCER_EXPIRY_MS : unnamed_ms;

    if (may_come_back(producer)) {
        expiry_ms = SP_PRODUCER_NAMED_EXPIRY_MS;
    }

    return producer->last_append_ms <= append_time_ms - expiry_ms;
}

/* How many at the old end of the list have expired, counted up to `max`. */
static size_t
count_expired(const struct sp_list *by_age, size_t max, int64_t append_time_ms, int64_t unnamed_ms)
{
    size_t count = 0;

    SP_LIST_EACH (node, by_age) {
        if (count == max || !sp_producer_expired(SP_LIST_ENTRY(node, struct sp_producer, node),
                                                 append_time_ms,
                                                 unnamed_ms)) {
            break;
        }
        count += 1;
    }
    return count;
}

bool sp_producers_full(const struct sp_producers *producers,
                       unsigned coming,
                       int64_t append_time_ms,
                       int64_t unnamed_ms)
{
    size_t wanted = sp_map_count(producers->by_id) + (size_t)coming + 1;

    if (wanted <= SP_PRODUCERS_PER_PARTITION_MAX) {
        return false;
    }
    size_t lacking = wanted - SP_PRODUCERS_PER_PARTITION_MAX;
    size_t expired = count_expired(&producers->by_age, lacking, append_time_ms, unnamed_ms);
    expired +=
        count_expired(&producers->named_by_age, lacking - expired, append_time_ms, unnamed_ms);
    return expired < lacking;
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
    producer->records = producer_id <= producers->forgotten_id ? -1 : 0;
    producer->last_offset = -1;
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

/* Drops one that has expired, as the leader checked before it appended. */
static void make_room(struct sp_producers *producers, int64_t append_time_ms)
{
    struct sp_producer *victim = NULL;

    if (sp_map_count(producers->by_id) < SP_PRODUCERS_PER_PARTITION_MAX) {
        return;
    }
    if (!sp_list_empty(&producers->by_age)) {
        victim = first_of(&producers->by_age);
    }
    if (victim == NULL || (!sp_producer_expired(victim, append_time_ms, SP_PRODUCER_EXPIRY_MS) &&
                           !sp_list_empty(&producers->named_by_age))) {
        victim = first_of(&producers->named_by_age);
    }
    if (may_come_back(victim) && victim->producer_id > producers->forgotten_id) {
        producers->forgotten_id = victim->producer_id;
    }
    drop(producers, victim);
}

static void move_to_young_end(struct sp_producers *producers, struct sp_producer *producer)
{
    sp_list_remove(&producer->node);
    sp_list_append(may_come_back(producer) ? &producers->named_by_age : &producers->by_age,
                   &producer->node);
}

/* The producer, added if it is new, as heard of at `append_time_ms`; NULL when memory is out. */
static struct sp_producer *
touch(struct sp_producers *producers, int64_t producer_id, int64_t append_time_ms)
{
    struct sp_producer *producer = sp_map_get_u64(producers->by_id, (uint64_t)producer_id);

    if (producer == NULL) {
        make_room(producers, append_time_ms);
        producer = add(producers, producer_id);
    }
    if (producer != NULL) {
        producer->last_append_ms = append_time_ms;
    }
    return producer;
}

static void begin_epoch(struct sp_producer *producer, int16_t epoch)
{
    producer->epoch = epoch;
    producer->batch_count = 0;
}

int sp_producers_apply(struct sp_producers *producers,
                       const struct sp_batch_facts *facts,
                       int64_t term,
                       int64_t append_time_ms)
{
    struct sp_producer *producer = touch(producers, facts->producer_id, append_time_ms);
    struct sp_producer_batch batch = { .base_sequence = facts->base_sequence,
                                       .record_count = facts->offset_count,
                                       .base_offset = facts->base_offset,
                                       .term = term };

    if (producer == NULL) {
        return SPATE_ERR_NOMEM;
    }
    if (producer->epoch != facts->producer_epoch) {
        begin_epoch(producer, facts->producer_epoch);
    }
    if (producer->records >= 0) {
        producer->records += facts->offset_count;
    }
    producer->last_offset = facts->base_offset + facts->offset_count - 1;
    push_batch(producer, &batch);
    move_to_young_end(producers, producer);
    return 0;
}

int sp_producers_fence(struct sp_producers *producers,
                       int64_t producer_id,
                       int16_t epoch,
                       int64_t append_time_ms)
{
    const struct sp_producer *known = sp_producers_find(producers, producer_id);
    struct sp_producer *producer;

    if (known != NULL && known->epoch > epoch) {
        return 0;
    }
    producer = touch(producers, producer_id, append_time_ms);
    if (producer == NULL) {
        return SPATE_ERR_NOMEM;
    }
    if (producer->epoch != epoch) {
        begin_epoch(producer, epoch);
    }
    producer->fenced = true;
    move_to_young_end(producers, producer);
    return 0;
}

/* ---- checkpoint ------------------------------------------------------------------------------ */

static void encode_list(const struct sp_list *by_age, struct sp_pack *pack)
{
    SP_LIST_EACH (node, by_age) {
        const struct sp_producer *producer = SP_LIST_ENTRY(node, struct sp_producer, node);
        sp_pack_array(pack, 6 + 4 * (size_t)producer->batch_count);
        sp_pack_int(pack, producer->producer_id);
        sp_pack_int(pack, producer->epoch);
        sp_pack_int(pack, producer->last_append_ms);
        sp_pack_int(pack, producer->records);
        sp_pack_int(pack, producer->last_offset);
        sp_pack_int(pack, producer->fenced ? 1 : 0);
        for (unsigned i = 0; i < producer->batch_count; i++) {
            sp_pack_int(pack, producer->batches[i].base_sequence);
            sp_pack_int(pack, producer->batches[i].record_count);
            sp_pack_int(pack, producer->batches[i].base_offset);
            sp_pack_int(pack, producer->batches[i].term);
        }
    }
}

/* [forgotten id, [[id, epoch, last append, records, last offset, fenced, (batch)...], ...]]; a
 * batch is base sequence, record count, base offset, term. Version 1: [[id, epoch, last append,
 * (batch)...], ...] */
void sp_producers_encode(const struct sp_producers *producers, struct sp_pack *pack)
{
    sp_pack_array(pack, 2);
    sp_pack_int(pack, producers->forgotten_id);
    sp_pack_array(pack, sp_map_count(producers->by_id));
    encode_list(&producers->by_age, pack);
    encode_list(&producers->named_by_age, pack);
}

static void decode_counts(struct sp_producer *producer, struct sp_cursor *cursor)
{
    producer->records = sp_cursor_int(cursor, -1, INT64_MAX);
    producer->last_offset = sp_cursor_int(cursor, -1, INT64_MAX);
    producer->fenced = sp_cursor_int(cursor, 0, 1) != 0;
}

static int decode_one(struct sp_producers *producers, unsigned version, struct sp_cursor *cursor)
{
    uint32_t own_fields = version == 1 ? 3 : 6;
    uint32_t fields = sp_cursor_array(cursor);
    struct sp_producer *producer;
    int64_t producer_id;

    if (fields < own_fields || (fields - own_fields) % 4 != 0 ||
        (fields - own_fields) / 4 > SP_PRODUCER_BATCHES_KEPT) {
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
    producer->records = -1; /* version 1 did not count */
    if (version > 1) {
        decode_counts(producer, cursor);
    }
    for (uint32_t i = 0; i < (fields - own_fields) / 4; i++) {
        struct sp_producer_batch batch = { .base_sequence = 0 };
        batch.base_sequence = (int32_t)sp_cursor_int(cursor, 0, INT32_MAX);
        batch.record_count = (int32_t)sp_cursor_int(cursor, 1, INT32_MAX);
        batch.base_offset = sp_cursor_int(cursor, 0, INT64_MAX);
        batch.term = sp_cursor_int(cursor, 0, INT64_MAX);
        push_batch(producer, &batch);
    }
    move_to_young_end(producers, producer);
    return sp_cursor_status(cursor) == 0 ? 0 : SPATE_ERR_CORRUPT;
}

int sp_producers_decode(struct sp_producers *producers, unsigned version, struct sp_cursor *cursor)
{
    int64_t forgotten_id = -1;

    clear(producers);
    if (version > 1) {
        if (sp_cursor_array(cursor) != 2) {
            return SPATE_ERR_CORRUPT;
        }
        forgotten_id = sp_cursor_int(cursor, -1, INT64_MAX);
    }
    uint32_t count = sp_cursor_array(cursor);
    int rv = sp_cursor_status(cursor) == 0 ? 0 : SPATE_ERR_CORRUPT;
    for (uint32_t i = 0; i < count && rv == 0; i++) {
        rv = decode_one(producers, version, cursor);
    }
    if (rv != 0) {
        clear(producers);
        return rv;
    }
    producers->forgotten_id = forgotten_id;
    return 0;
}
