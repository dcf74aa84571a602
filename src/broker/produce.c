/* produce: checks a batch, recognises repeats (D6), appends, answers when it is durable.
 *
 *   bytes or plain records -> validate -> known sequence? -> submit -> commit -> answer
 *                                          `- in flight: wait for the first one's outcome
 *                                          `- stored:    answer its offset */
#include "broker/methods.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "broker/sequences.h"
#include "spate/error.h"
#include "wire/records.h"

/* Connections that send to a partition are not read while more than so much of what it may have
 * waiting is used: BUSY is for those who come when others have filled it. They go on one by one as
 * batches are stored, so that what they send comes as evenly as the disk takes it. */
#define STOP_READING_PERCENT 50
#define READ_ON_PERCENT 45

/* A batch on its way through Raft. */
struct append {
    struct sp_submit submit;
    struct sp_flight flight; /* in partition->flights */
    struct sp_list repeats;  /* struct repeat */
    struct sp_request request;
    struct sp_partition *partition;
};

/* The same batch, sent again while the first one was in flight. */
struct repeat {
    struct sp_list node;
    struct sp_request request;
};

static void answer_stored(
    struct sp_request *request, int64_t offset, int64_t term, unsigned fsynced, int32_t count)
{
    struct sp_produce_response response;
    struct sp_buf buf;
    struct sp_pack pack;

    sp_produce_response_init(&response);
    response.offset = offset;
    response.term = term;
    response.fsynced = (int32_t)fsynced;
    response.count = count;
    sp_request_begin(request, &buf, &pack);
    sp_produce_response_encode(&pack, &response);
    sp_request_finish(request, &buf, &pack, NULL, 0);
}

static void answer(struct append *append, struct sp_request *request, int status)
{
    if (status == 0) {
        answer_stored(request,
                      append->flight.batch.base_offset,
                      append->flight.batch.term,
                      append->submit.fsynced,
                      append->flight.batch.record_count);
    } else if (status == SPATE_ERR_LEADER_CHANGED) {
        sp_request_fail(request,
                        status,
                        "leadership moved before the batch was confirmed: send it again to the new "
                        "leader, with the same producer id and sequence it is stored only once");
    } else {
        sp_request_fail(request, status, NULL);
    }
}

void sp_produce_read_on(struct sp_partition *partition)
{
    unsigned percent = partition->group == NULL ? 0 : sp_raft_group_fill_percent(partition->group);

    if (percent <= READ_ON_PERCENT) {
        /* Nothing that is still to be stored may come to wake those that are left. */
        sp_session_release(&partition->held, percent == 0 ? SP_CONNECTIONS_MAX : 1);
    }
}

static void on_submitted(struct sp_submit *submit, int status)
{
    struct append *append = SP_CONTAINER_OF(submit, struct append, submit);

    sp_list_remove(&append->flight.node);
    sp_produce_read_on(append->partition);
    if (status == 0) {
        sp_topic_count_produced(
            append->partition, append->flight.batch.record_count, submit->size_bytes);
    }
    answer(append, &append->request, status);
    SP_LIST_EACH_SAFE (node, &append->repeats) {
        struct repeat *repeat = SP_LIST_ENTRY(node, struct repeat, node);
        sp_list_remove(node);
        answer(append, &repeat->request, status);
        sp_mem_free(repeat);
    }
    sp_mem_free(append);
}

void sp_refuse_producer(
    struct sp_request *request, int code, int64_t producer_id, int16_t epoch, int16_t newest_epoch)
{
    char text[200];

    if (code == SPATE_ERR_BUSY) {
        sp_request_fail(request,
                        code,
                        "this partition knows as many producers as it may: try again later, or use "
                        "fewer producers");
        return;
    }
    (void)snprintf(text,
                   sizeof text,
                   "producer %lld epoch %d: epoch %d has taken over",
                   (long long)producer_id,
                   epoch,
                   newest_epoch);
    sp_request_fail(request, code, text);
}

static void refuse_sequence(struct sp_request *request,
                            const struct sp_batch_header *header,
                            const struct sp_judgement *judgement)
{
    int code = judgement->code;
    char text[200];

    if (code == SPATE_ERR_BUSY || code == SPATE_ERR_PRODUCER_FENCED) {
        sp_refuse_producer(
            request, code, header->producer_id, header->producer_epoch, judgement->newest_epoch);
        return;
    }
    (void)snprintf(text,
                   sizeof text,
                   "producer %lld epoch %d sequence %d: %s",
                   (long long)header->producer_id,
                   header->producer_epoch,
                   header->base_sequence,
                   code == SPATE_ERR_EXISTS ? "stored before, its offset is no longer kept"
                                            : spate_strerror(code));
    sp_request_fail(request, code, text);
}

/* ---- appending ------------------------------------------------------------------------------- */

static void append_batch(struct sp_partition *partition,
                         struct sp_request request,
                         struct sp_bytes batch,
                         const struct sp_batch_header *header)
{
    struct append *append = sp_mem_calloc(1, sizeof *append);
    struct sp_iovec piece = { batch.bytes, batch.size };
    int rv;

    if (append == NULL) {
        sp_request_fail(&request, SPATE_ERR_NOMEM, NULL);
        return;
    }
    append->submit.cb = on_submitted;
    append->request = request;
    append->partition = partition;
    append->flight.producer_id = header->producer_id;
    append->flight.producer_epoch = header->producer_epoch;
    append->flight.batch.base_sequence = header->base_sequence;
    append->flight.batch.record_count = header->record_count;
    sp_list_init(&append->repeats);
    sp_list_append(&partition->flights, &append->flight.node);
    rv = sp_raft_group_submit(partition->group, SP_FRAME_BATCH, &piece, 1, &append->submit);
    if (rv != 0) {
        sp_list_remove(&append->flight.node);
        sp_mem_free(append);
        if (rv == SPATE_ERR_NOT_LEADER) {
            sp_broker_not_leader(partition->broker,
                                 &request,
                                 partition->topic,
                                 partition->partition,
                                 partition->group_id);
        } else {
            sp_request_fail(&request,
                            rv,
                            rv == SPATE_ERR_BUSY
                                ? "too many batches of this partition wait to be stored: try again"
                                : NULL);
        }
        return;
    }
    append->flight.batch.base_offset = append->submit.base_offset;
    append->flight.batch.term = (int64_t)append->submit.term;
    if (sp_raft_group_fill_percent(partition->group) > STOP_READING_PERCENT) {
        sp_request_hold_session(&append->request, &partition->held);
    }
}

static void refuse_batch(struct sp_request *request,
                         const struct sp_partition *partition,
                         size_t size,
                         int code)
{
    char text[256];

    if (code == SPATE_ERR_TOO_LARGE) {
        (void)snprintf(text,
                       sizeof text,
                       "the batch has %zu bytes, max.message.bytes of topic `%.80s` is %u: send "
                       "less at once, or raise it",
                       size,
                       partition->topic,
                       partition->message_bytes_max);
    } else {
        (void)snprintf(text,
                       sizeof text,
                       "field `records` is not a sound RecordBatch v2: %s",
                       spate_strerror(code));
    }
    sp_request_fail(request, code, text);
}

/* Without a key nothing would ever take a record's place, or it that of others. True: refused. */
static bool refuse_keyless(const struct sp_partition *partition,
                           struct sp_request *request,
                           struct sp_bytes batch)
{
    struct sp_batch_reader reader;
    struct sp_record_view record;
    char text[SP_TOPIC_NAME_SIZE_MAX + 160];
    int32_t number = 0;
    int rv;

    if (!sp_topic_config_compacts(&partition->config)) {
        return false;
    }
    rv = sp_batch_reader_init(&reader, batch.bytes, batch.size, SP_BATCH_DECOMPRESSED_BYTES_MAX);
    if (rv != 0) {
        sp_request_fail(request, rv, NULL);
        return true;
    }
    while (sp_batch_reader_next(&reader, &record) && record.key.bytes != NULL) {
        number += 1;
    }
    bool keyless = number < reader.header.record_count;
    sp_batch_reader_deinit(&reader);
    if (keyless) {
        (void)snprintf(
            text,
            sizeof text,
            "record %d has no key: topic `%s` has cleanup.policy compact, which keeps the "
            "latest record of each key",
            (int)number,
            partition->topic);
        sp_request_fail(request, SPATE_ERR_INVALID, text);
    }
    return keyless;
}

/* By the topic's settings of now, which only new batches must meet: what was stored before they
 * changed is stored, and a repeat of it must not hear otherwise. True: refused. */
static bool
refuse_new(struct sp_partition *partition, struct sp_request *request, struct sp_bytes batch)
{
    if (batch.size > partition->message_bytes_max) {
        refuse_batch(request, partition, batch.size, SPATE_ERR_TOO_LARGE);
        return true;
    }
    return refuse_keyless(partition, request, batch);
}

/* With message.timestamp.type LogAppendTime the records bear the time of this node. */
static void append_stamped(struct sp_partition *partition,
                           struct sp_request request,
                           struct sp_bytes batch,
                           const struct sp_batch_header *header)
{
    uint8_t *copy = sp_mem_alloc(batch.size);

    if (copy == NULL) {
        sp_request_fail(&request, SPATE_ERR_NOMEM, NULL);
        return;
    }
    memcpy(copy, batch.bytes, batch.size);
    sp_batch_stamp(copy, batch.size, sp_raft_group_append_time_ms(partition->group));
    append_batch(partition, request, sp_bytes_of(copy, batch.size), header);
    sp_mem_free(copy);
}

static void wait_for_first(struct append *append, struct sp_request request)
{
    struct repeat *repeat = sp_mem_calloc(1, sizeof *repeat);

    if (repeat == NULL) {
        sp_request_fail(&request, SPATE_ERR_NOMEM, NULL);
        return;
    }
    repeat->request = request;
    sp_list_append(&append->repeats, &repeat->node);
}

static void refuse_full(struct sp_request *request, const struct sp_broker *broker)
{
    char text[200];

    (void)snprintf(text,
                   sizeof text,
                   "node %u has %llu MiB left on its disk, which are below storage.min.free.bytes: "
                   "it takes records again when there is more space",
                   broker->options.node_id,
                   (unsigned long long)(sp_store_free_bytes(broker->options.store) >> 20));
    sp_request_fail(request, SPATE_ERR_NO_SPACE, text);
}

static void produce_batch(struct sp_partition *partition,
                          struct sp_request request,
                          struct sp_bytes batch,
                          const struct sp_batch_header *header)
{
    struct sp_judgement judgement = { .verdict = SP_VERDICT_APPEND };

    if (header->producer_id >= 0) {
        sp_sequences_judge(partition->producers,
                           &partition->flights,
                           header,
                           sp_raft_group_append_time_ms(partition->group),
                           &judgement);
    }
    partition->broker->counters.repeats +=
        judgement.verdict == SP_VERDICT_IN_FLIGHT || judgement.verdict == SP_VERDICT_STORED;
    switch (judgement.verdict) {
    case SP_VERDICT_APPEND:
        if (refuse_new(partition, &request, batch)) {
            return;
        }
        if (sp_store_space(partition->broker->options.store) != SP_SPACE_ENOUGH) {
            refuse_full(&request, partition->broker);
        } else if (sp_topic_config_value(&partition->config, SP_TOPIC_TIMESTAMP_TYPE) ==
                   SP_TOPIC_LOG_APPEND_TIME) {
            append_stamped(partition, request, batch, header);
        } else {
            append_batch(partition, request, batch, header);
        }
        return;
    case SP_VERDICT_IN_FLIGHT:
        wait_for_first(SP_CONTAINER_OF(judgement.flight, struct append, flight), request);
        return;
    case SP_VERDICT_STORED:
        /* applied, so committed: a majority of the replicas has it on disk */
        answer_stored(&request,
                      judgement.stored->base_offset,
                      judgement.stored->term,
                      sp_raft_group_majority(partition->group),
                      judgement.stored->record_count);
        return;
    case SP_VERDICT_REFUSED:
        refuse_sequence(&request, header, &judgement);
        return;
    }
}

static void
produce_records(struct sp_partition *partition, struct sp_request request, struct sp_bytes array)
{
    struct sp_batch_builder builder;
    struct sp_batch_header header;
    struct sp_api_error error = { "" };
    struct sp_buf batch;
    int rv;

    sp_buf_init(&batch, partition->message_bytes_max);
    sp_batch_builder_init(&builder, partition->message_bytes_max, SP_COMPRESSION_NONE);
    rv = sp_records_to_batch(
        array, sp_loop_wall_ms(partition->broker->options.loop), &builder, &error);
    if (rv == 0) {
        rv = sp_batch_builder_finish(&builder, -1, -1, -1, &batch);
    }
    if (rv == 0) {
        rv = sp_batch_header_decode(batch.bytes, batch.size, &header);
    }
    if (rv == 0) {
        produce_batch(partition, request, sp_bytes_of(batch.bytes, batch.size), &header);
    } else {
        sp_request_fail(&request, rv, error.text[0] == '\0' ? NULL : error.text);
    }
    sp_batch_builder_deinit(&builder);
    sp_buf_deinit(&batch);
}

void sp_method_produce(struct sp_broker *broker,
                       struct sp_request request,
                       const struct sp_message *message)
{
    struct sp_produce_request produce;
    struct sp_batch_header header;
    struct sp_partition *partition;
    struct sp_api_error error;
    int rv = sp_produce_request_decode(&message->params, &produce, &error);

    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
        return;
    }
    partition =
        sp_broker_find(broker, &request, produce.topic, produce.topic_id, produce.partition);
    if (partition == NULL) {
        return;
    }
    if (produce.records.array.bytes != NULL) {
        produce_records(partition, request, produce.records.array);
        return;
    }
    /* compressed records are looked into: one bad batch would stop every reader behind it */
    rv = sp_batch_validate_deep(produce.records.batch.bytes,
                                produce.records.batch.size,
                                SP_BATCH_BYTES_MAX,
                                SP_BATCH_DECOMPRESSED_BYTES_MAX,
                                &header);
    if (rv != 0) {
        refuse_batch(&request, partition, produce.records.batch.size, rv);
        return;
    }
    produce_batch(partition, request, produce.records.batch, &header);
}
