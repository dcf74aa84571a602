#include "broker/partition.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/methods.h"
#include "broker/partition_command.h"
#include "spate/error.h"

#define CHECKPOINT_VERSION SP_PRODUCERS_VERSION /* 1: another producer table, still read */

/* Elections that a partition may see before its oldest epochs are folded together. */
#define EPOCHS_MAX 65536

static struct sp_partition *partition_of(struct sp_machine *machine)
{
    return SP_CONTAINER_OF(machine, struct sp_partition, machine);
}

static int note_epoch(struct sp_partition *partition, int64_t epoch, int64_t start_offset)
{
    struct sp_partition_epoch *grown;

    if (partition->epoch_count > 0 &&
        partition->epochs[partition->epoch_count - 1].epoch == epoch) {
        return 0;
    }
    if (partition->epoch_count == EPOCHS_MAX) {
        memmove(partition->epochs,
                partition->epochs + 1,
                (EPOCHS_MAX - 1) * sizeof partition->epochs[0]);
        partition->epoch_count -= 1;
    }
    grown = sp_mem_realloc(partition->epochs,
                           (partition->epoch_count + 1) * sizeof partition->epochs[0]);
    if (grown == NULL) {
        return SPATE_ERR_NOMEM;
    }
    grown[partition->epoch_count] =
        (struct sp_partition_epoch){ .epoch = epoch, .start_offset = start_offset };
    partition->epochs = grown;
    partition->epoch_count += 1;
    return 0;
}

/* Epochs that ended at or below the log start are of no use; the last one stays. */
static void drop_epochs(struct sp_partition *partition)
{
    unsigned dropped = 0;

    while (dropped + 1 < partition->epoch_count &&
           partition->epochs[dropped + 1].start_offset <= partition->log_start) {
        dropped += 1;
    }
    if (dropped > 0) {
        partition->epoch_count -= dropped;
        memmove(partition->epochs,
                partition->epochs + dropped,
                partition->epoch_count * sizeof partition->epochs[0]);
    }
}

/* The log start never goes back (D3). */
static int apply_trim(struct sp_partition *partition, int64_t offset)
{
    if (offset > partition->next_offset) {
        return SPATE_ERR_CORRUPT; /* no leader gives up what it has not applied */
    }
    if (offset > partition->log_start) {
        partition->log_start = offset;
        drop_epochs(partition);
    }
    return 0;
}

static int apply_command(struct sp_partition *partition,
                         const struct sp_log_frame *frame,
                         const uint8_t *payload)
{
    struct sp_partition_command command;
    int rv = sp_partition_command_decode(payload, frame->length, &command);

    if (rv != 0) {
        return rv;
    }
    switch (command.kind) {
    case SP_PARTITION_FENCE_PRODUCER:
        return sp_producers_fence(partition->producers,
                                  command.producer_id,
                                  command.producer_epoch,
                                  frame->append_time_ms);
    case SP_PARTITION_TRIM:
        return apply_trim(partition, command.offset);
    }
    return SPATE_ERR_CORRUPT;
}

static int apply_batch(struct sp_partition *partition,
                       const struct sp_log_frame *frame,
                       const uint8_t *payload)
{
    struct sp_batch_facts facts;
    int rv;

    sp_batch_facts_read(payload, &facts);
    if (facts.base_offset != partition->next_offset) {
        return SPATE_ERR_CORRUPT; /* divergence cannot stay silent (D4) */
    }
    rv = note_epoch(partition, (int64_t)frame->term, facts.base_offset);
    if (rv == 0 && facts.producer_id >= 0) {
        rv = sp_producers_apply(
            partition->producers, &facts, (int64_t)frame->term, frame->append_time_ms);
    }
    if (rv != 0) {
        return rv;
    }
    partition->next_offset = facts.base_offset + facts.offset_count;
    sp_fetch_wake(partition);
    return 0;
}

/* All but batches take an index but no offset (D4). */
static int
apply(struct sp_machine *machine, const struct sp_log_frame *frame, const uint8_t *payload)
{
    struct sp_partition *partition = partition_of(machine);

    if (frame->kind == SP_FRAME_BATCH) {
        return apply_batch(partition, frame, payload);
    }
    return frame->kind == SP_FRAME_COMMAND ? apply_command(partition, frame, payload) : 0;
}

/* [version, next offset, log start, [epoch, start, ...], producers] */
static int checkpoint(struct sp_machine *machine, struct sp_buf *out)
{
    const struct sp_partition *partition = partition_of(machine);
    struct sp_pack pack;

    sp_pack_init(&pack, out);
    sp_pack_array(&pack, 5);
    sp_pack_int(&pack, CHECKPOINT_VERSION);
    sp_pack_int(&pack, partition->next_offset);
    sp_pack_int(&pack, partition->log_start);
    sp_pack_array(&pack, 2 * (size_t)partition->epoch_count);
    for (unsigned i = 0; i < partition->epoch_count; i++) {
        sp_pack_int(&pack, partition->epochs[i].epoch);
        sp_pack_int(&pack, partition->epochs[i].start_offset);
    }
    sp_producers_encode(partition->producers, &pack);
    return sp_pack_status(&pack);
}

static int restore_epochs(struct sp_partition *partition, struct sp_cursor *cursor)
{
    uint32_t numbers = sp_cursor_array(cursor);

    if (numbers % 2 != 0 || numbers / 2 > EPOCHS_MAX) {
        return SPATE_ERR_CORRUPT;
    }
    for (uint32_t i = 0; i < numbers / 2; i++) {
        int64_t epoch = sp_cursor_int(cursor, 0, INT64_MAX);
        int64_t start_offset = sp_cursor_int(cursor, 0, INT64_MAX);
        int rv = sp_cursor_status(cursor) == 0 ? note_epoch(partition, epoch, start_offset)
                                               : SPATE_ERR_CORRUPT;
        if (rv != 0) {
            return rv;
        }
    }
    return 0;
}

static int restore(struct sp_machine *machine, const uint8_t *bytes, size_t size)
{
    struct sp_partition *partition = partition_of(machine);
    struct sp_cursor cursor;
    int rv;

    partition->next_offset = 0;
    partition->log_start = 0;
    partition->epoch_count = 0;
    if (size == 0) {
        return 0;
    }
    sp_cursor_init(&cursor, bytes, size);
    uint32_t elements = sp_cursor_array(&cursor);
    unsigned version = (unsigned)sp_cursor_int(&cursor, 1, CHECKPOINT_VERSION);
    if (elements != 5 || version == 0) {
        return SPATE_ERR_CORRUPT;
    }
    partition->next_offset = sp_cursor_int(&cursor, 0, INT64_MAX);
    partition->log_start = sp_cursor_int(&cursor, 0, INT64_MAX);
    rv = restore_epochs(partition, &cursor);
    if (rv == 0 && partition->log_start > partition->next_offset) {
        rv = SPATE_ERR_CORRUPT;
    }
    if (rv == 0) {
        rv = sp_producers_decode(partition->producers, version, &cursor);
    }
    if (rv == 0 && sp_cursor_finish(&cursor) != 0) {
        rv = SPATE_ERR_CORRUPT;
    }
    return rv;
}

static void role_changed(struct sp_machine *machine)
{
    struct sp_partition *partition = partition_of(machine);

    if (!sp_partition_serves(partition)) {
        sp_fetch_abort(partition); /* those who wait must ask the new leader */
    }
}

static void stopped(struct sp_machine *machine, int status, const char *text)
{
    struct sp_partition *partition = partition_of(machine);

    (void)status; /* raft_group has traced both */
    (void)text;
    sp_fetch_abort(partition);
    sp_compactor_leave(&partition->broker->compactor, partition->group_id);
}

static int64_t log_start(struct sp_machine *machine)
{
    return partition_of(machine)->log_start;
}

static const struct sp_machine_type machine_type = { apply,   checkpoint, restore,  role_changed,
                                                     stopped, 0,          log_start };

void sp_partition_configure(struct sp_partition *partition, const struct sp_topic_config *config)
{
    partition->config = *config;
    partition->message_bytes_max =
        (uint32_t)sp_topic_config_value(config, SP_TOPIC_MESSAGE_BYTES_MAX);
    if (partition->group != NULL) {
        sp_log_set_segment_bytes(sp_raft_group_log(partition->group),
                                 (uint64_t)sp_topic_config_value(config, SP_TOPIC_SEGMENT_BYTES));
    }
}

int sp_partition_new(struct sp_broker *broker,
                     const struct sp_state_topic *topic,
                     const struct sp_state_partition *place,
                     struct sp_partition **out_partition)
{
    struct sp_partition *partition = sp_mem_calloc(1, sizeof *partition);

    if (partition == NULL) {
        return SPATE_ERR_NOMEM;
    }
    partition->producers = sp_producers_new();
    partition->totals = sp_topic_totals_ref(broker, topic);
    if (partition->producers == NULL || partition->totals == NULL) {
        sp_producers_free(partition->producers);
        sp_topic_totals_unref(broker, partition->totals);
        sp_mem_free(partition);
        return SPATE_ERR_NOMEM;
    }
    partition->machine.type = &machine_type;
    partition->broker = broker;
    partition->topic_id = topic->topic_id;
    partition->partition = place->partition;
    partition->group_id = place->group_id;
    sp_partition_configure(partition, &topic->config);
    (void)snprintf(partition->topic, sizeof partition->topic, "%s", topic->name);
    sp_list_init(&partition->flights);
    sp_list_init(&partition->fetches);
    sp_list_init(&partition->crowded);
    sp_list_init(&partition->held);
    *out_partition = partition;
    return 0;
}

void sp_partition_free(struct sp_partition *partition)
{
    SP_ASSERT(sp_list_empty(&partition->flights));
    SP_ASSERT(sp_list_empty(&partition->fetches));
    SP_ASSERT(sp_list_empty(&partition->crowded));
    SP_ASSERT(sp_list_empty(&partition->held));
    sp_producers_free(partition->producers);
    sp_topic_totals_unref(partition->broker, partition->totals);
    sp_mem_free(partition->epochs);
    sp_mem_free(partition);
}

bool sp_partition_serves(const struct sp_partition *partition)
{
    struct sp_raft_group_status status;

    if (partition->group == NULL) {
        return false;
    }
    sp_raft_group_status(partition->group, &status);
    return status.ready;
}
