#include "sim_model.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/crc32c.h"
#include "broker/partition_command.h"
#include "sim_compact.h"
#include "sim_images.h"
#include "sim_world.h"
#include "spate/error.h"
#include "wire/batch.h"

struct sim_model sim_model;

const char *sim_look_name(enum sim_look look)
{
    static const char *const names[] = {
#define LOOK_NAME(function) #function,
        SIM_LOOK_LIST(LOOK_NAME)
#undef LOOK_NAME
    };

    return names[look];
}

/* ---- tables ---------------------------------------------------------------------------------- */

void sim_model_init(void)
{
    memset(&sim_model, 0, sizeof sim_model);
}

uint32_t sim_model_add_place(const char *topic, int32_t partition, bool trimmed)
{
    uint32_t place = sim_model.place_count;

    SP_ASSERT(place < SIM_PARTITIONS_MAX);
    (void)snprintf(
        sim_model.places[place].topic, sizeof sim_model.places[place].topic, "%s", topic);
    sim_model.places[place].partition = partition;
    sim_model.place_count += 1;
    if (!trimmed) {
        SP_ASSERT(sim_model.kept_count == place);
        sim_model.kept_count += 1;
    }
    return place;
}

uint32_t sim_model_add_writer(void)
{
    uint32_t writer = sim_model.writer_count;

    SP_ASSERT(writer < SIM_WRITERS_MAX);
    sim_model.writer_count += 1;
    return writer;
}

void sim_model_stream(uint32_t writer)
{
    SP_ASSERT(writer < sim_model.writer_count);
    sim_model.streams[writer] = true;
}

struct sim_group *sim_model_group(uint64_t group_id)
{
    for (unsigned i = 0; i < sim_model.group_count; i++) {
        if (sim_model.groups[i]->group_id == group_id) {
            return sim_model.groups[i];
        }
    }
    return NULL;
}

static struct sim_group *find_or_add(uint64_t group_id)
{
    struct sim_group *group = sim_model_group(group_id);

    if (group == NULL) {
        SP_ASSERT(sim_model.group_count < SIM_GROUPS_MAX);
        group = sim_alloc(sizeof *group);
        group->group_id = group_id;
        group->place = UINT32_MAX;
        sim_model.groups[sim_model.group_count] = group;
        sim_model.group_count += 1;
    }
    return group;
}

/* ---- leaders --------------------------------------------------------------------------------- */

void sim_model_leads(uint32_t node, uint64_t group_id, uint64_t term)
{
    struct sim_group *group = find_or_add(group_id);

    for (size_t i = group->leader_count; i > 0; i--) {
        if (group->leaders[i - 1].term != term) {
            continue;
        }
        if (group->leaders[i - 1].node != node) {
            sim_fail("two leaders in term %llu of group %llu: nodes %u and %u",
                     (unsigned long long)term,
                     (unsigned long long)group_id,
                     group->leaders[i - 1].node,
                     node);
        }
        return;
    }
    if (group->leader_count == group->leader_capacity) {
        group->leader_capacity = group->leader_capacity == 0 ? 16 : 2 * group->leader_capacity;
        group->leaders =
            sim_grow(group->leaders, group->leader_capacity * sizeof group->leaders[0]);
    }
    group->leaders[group->leader_count].term = term;
    group->leaders[group->leader_count].node = node;
    group->leader_count += 1;
    sim_model.counts.elections += 1;
    sim_note(
        "leads group %llu in term %llu", (unsigned long long)group_id, (unsigned long long)term);
}

/* ---- commits --------------------------------------------------------------------------------- */

static void add_record(struct sim_group *group, const struct sp_record_view *view, uint64_t index)
{
    uint32_t writer = 0;
    uint32_t place = 0;
    uint32_t number = 0;

    if (view->offset != group->next_offset) {
        sim_fail("group %llu: record at offset %lld where %lld is next",
                 (unsigned long long)group->group_id,
                 (long long)view->offset,
                 (long long)group->next_offset);
        return;
    }
    if (!sim_value_read(view->value.bytes, view->value.size, &writer, &place, &number)) {
        sim_fail("group %llu: the value at offset %lld is not what was sent",
                 (unsigned long long)group->group_id,
                 (long long)view->offset);
        return;
    }
    if (group->place == UINT32_MAX) {
        group->place = place;
        sim_model.places[place].group = group;
    }
    if (group->place != place) {
        sim_fail("a record of place %u came to the partition of place %u", place, group->place);
        return;
    }
    if (number < group->next_number[writer]) {
        sim_fail("place %u: writer %u's record %u %s, at offset %lld",
                 place,
                 writer,
                 number,
                 number + 1 == group->next_number[writer] ? "is stored twice" : "comes too late",
                 (long long)view->offset);
        return;
    }
    if (sim_model.streams[writer] && number != group->next_number[writer]) {
        sim_fail("place %u: stream %u's record %u comes at offset %lld, record %u is missing",
                 place,
                 writer,
                 number,
                 (long long)view->offset,
                 group->next_number[writer]);
        return;
    }
    group->next_number[writer] = number + 1;
    if ((uint64_t)group->next_offset == group->record_capacity) {
        group->record_capacity = group->record_capacity == 0 ? 256 : 2 * group->record_capacity;
        group->records =
            sim_grow(group->records, group->record_capacity * sizeof(struct sim_record));
    }
    group->records[group->next_offset] = (struct sim_record){ writer, number, index };
    group->next_offset += 1;
    sim_model.counts.committed_records += 1;
}

static void note_batch(struct sim_group *group, const uint8_t *payload, uint64_t index)
{
    struct sim_producer *producer = NULL;
    struct sp_batch_facts facts;

    sp_batch_facts_read(payload, &facts);
    if (facts.producer_id < 0) {
        return;
    }
    for (size_t i = 0; i < group->producer_count && producer == NULL; i++) {
        if (group->producers[i].producer_id == facts.producer_id) {
            producer = &group->producers[i];
        }
    }
    if (producer == NULL) {
        group->producers =
            sim_grow(group->producers, (group->producer_count + 1) * sizeof group->producers[0]);
        producer = &group->producers[group->producer_count];
        *producer = (struct sim_producer){ .producer_id = facts.producer_id };
        group->producer_count += 1;
    }
    if (producer->count > 0 &&
        producer->batches[producer->count - 1].epoch < facts.producer_epoch) {
        producer->count = 0; /* as behind a fence */
    }
    if (producer->count == SP_PRODUCER_BATCHES_KEPT) {
        memmove(&producer->batches[0],
                &producer->batches[1],
                (SP_PRODUCER_BATCHES_KEPT - 1) * sizeof producer->batches[0]);
        producer->count -= 1;
    }
    producer->batches[producer->count].base_sequence = facts.base_sequence;
    producer->batches[producer->count].record_count = facts.record_count;
    producer->batches[producer->count].epoch = facts.producer_epoch;
    producer->batches[producer->count].index = index;
    producer->count += 1;
}

/* Behind a fence the batches of older epochs need not be recognised any more. */
static void
note_command(struct sim_group *group, const struct sp_log_frame *frame, const uint8_t *payload)
{
    struct sp_partition_command command;

    if (sp_partition_command_decode(payload, frame->length, &command) != 0) {
        return; /* of the controller, or of a coordinator */
    }
    if (command.kind == SP_PARTITION_TRIM) {
        sim_model_trim_committed(group, command.offset);
        return;
    }
    for (size_t i = 0; i < group->producer_count; i++) {
        struct sim_producer *producer = &group->producers[i];
        bool older = producer->producer_id == command.producer_id && producer->count > 0 &&
                     producer->batches[producer->count - 1].epoch < command.producer_epoch;
        producer->count = older ? 0 : producer->count;
    }
}

bool sim_model_has_batch(uint64_t group_id,
                         uint64_t applied_index,
                         int64_t producer_id,
                         int16_t epoch,
                         int32_t base_sequence,
                         int32_t record_count)
{
    const struct sim_group *group = sim_model_group(group_id);

    for (size_t i = 0; group != NULL && i < group->producer_count; i++) {
        const struct sim_producer *producer = &group->producers[i];
        for (unsigned k = 0; k < producer->count && producer->producer_id == producer_id; k++) {
            if (producer->batches[k].epoch == epoch &&
                producer->batches[k].base_sequence == base_sequence &&
                producer->batches[k].record_count == record_count &&
                producer->batches[k].index <= applied_index) {
                return true;
            }
        }
    }
    return false;
}

void sim_model_state(
    uint32_t node, uint64_t group_id, uint64_t index, const uint8_t *bytes, size_t size)
{
    struct sim_group *group = find_or_add(group_id);
    uint32_t crc = sp_crc32c(0, bytes, size);

    for (size_t i = group->state_count; i > 0; i--) {
        if (group->states[i - 1].index == index) {
            if (group->states[i - 1].crc != crc) {
                sim_fail("group %llu: the state of node %u after index %llu differs from another's",
                         (unsigned long long)group_id,
                         node,
                         (unsigned long long)index);
            }
            return;
        }
    }
    group->states = sim_grow(group->states, (group->state_count + 1) * sizeof group->states[0]);
    group->states[group->state_count] = (struct sim_state){ index, crc };
    group->state_count += 1;
}

static void
add_frame(struct sim_group *group, const struct sp_log_frame *frame, const uint8_t *payload)
{
    struct sp_batch_reader reader;
    struct sp_record_view view;

    if (frame->kind == SP_FRAME_COMMAND) {
        note_command(group, frame, payload);
    }
    if (frame->kind != SP_FRAME_BATCH) {
        return;
    }
    note_batch(group, payload, frame->index);
    struct sim_process *before = sim_enter(NULL);
    int rv = sp_batch_reader_init(&reader, payload, frame->length, SP_BATCH_DECOMPRESSED_BYTES_MAX);
    if (rv != 0) {
        sim_fail("group %llu: the batch at index %llu cannot be read: %s",
                 (unsigned long long)group->group_id,
                 (unsigned long long)frame->index,
                 spate_error_name(rv));
        sim_leave(before);
        return;
    }
    while (!sim.failed && sp_batch_reader_next(&reader, &view)) {
        if (!sim_compact_committed(&view)) {
            add_record(group, &view, frame->index);
        }
    }
    sp_batch_reader_deinit(&reader);
    sim_leave(before);
}

static struct sim_committed *frame_slot(struct sim_group *group, uint64_t index)
{
    if (index >= group->frame_capacity) {
        uint64_t capacity = group->frame_capacity == 0 ? 256 : group->frame_capacity;
        while (capacity <= index) {
            capacity *= 2;
        }
        group->frames = sim_grow(group->frames, capacity * sizeof group->frames[0]);
        memset(group->frames + group->frame_capacity,
               0,
               (capacity - group->frame_capacity) * sizeof group->frames[0]);
        group->frame_capacity = capacity;
    }
    return &group->frames[index];
}

uint32_t sim_model_chain(uint64_t group_id, uint64_t index)
{
    const struct sim_group *group = sim_model_group(group_id);

    return group != NULL && index <= group->last_index ? group->frames[index].chain : 0;
}

void sim_model_applied(uint32_t node,
                       uint64_t group_id,
                       const struct sp_log_frame *frame,
                       const uint8_t *payload)
{
    struct sim_group *group = find_or_add(group_id);
    struct sim_committed *slot = frame_slot(group, frame->index);
    uint32_t crc = sp_crc32c(frame->crc, payload, frame->length);

    if (frame->index <= group->last_index) {
        bool same = frame->compacted ? slot->chain == frame->chain : slot->crc == crc;
        if (!same || slot->term != frame->term) {
            sim_fail("group %llu index %llu: node %u applies a frame of term %llu, another was "
                     "committed in term %llu",
                     (unsigned long long)group_id,
                     (unsigned long long)frame->index,
                     node,
                     (unsigned long long)frame->term,
                     (unsigned long long)slot->term);
        }
        return;
    }
    if (frame->index != group->last_index + 1) {
        sim_fail("group %llu: node %u applies index %llu, but %llu was the last ever committed",
                 (unsigned long long)group_id,
                 node,
                 (unsigned long long)frame->index,
                 (unsigned long long)group->last_index);
        return;
    }
    *slot = (struct sim_committed){
        .term = frame->term,
        .crc = crc,
        .chain = frame->chain,
        .kind = frame->kind,
        .size = sp_log_frame_size(frame->length),
        .append_time_ms = frame->append_time_ms,
        .committed_us = sim.now_us,
    };
    group->last_index = frame->index;
    sim_model.counts.committed_frames += 1;
    sim_voters_applied(group_id, frame, payload);
    sim_images_check_committed(group_id, frame->index, frame->term, crc);
    add_frame(group, frame, payload);
}
