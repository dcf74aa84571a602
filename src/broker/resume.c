/* producer.resume: ends the older epochs of a producer in a partition, and tells what they stored.
 *
 *   judge -> submit a fence -> committed and applied here -> answer from the table
 *
 * Behind the fence in the log no older epoch can follow, on this leader or any later one; and the
 * producer sends nothing of its new epoch before it has the answer. So the count is final. */
#include "broker/methods.h"

#include <string.h>

#include "base/mem.h"
#include "broker/partition_command.h"
#include "broker/sequences.h"
#include "spate/error.h"

struct resume {
    struct sp_submit submit;
    struct sp_flight flight; /* in partition->flights */
    struct sp_partition *partition;
    struct sp_request request;
};

static int32_t next_sequence(const struct sp_producer *producer)
{
    return producer->batch_count == 0
               ? 0
               : sp_producer_next_sequence(&producer->batches[producer->batch_count - 1]);
}

static void answer(struct sp_request *request, const struct sp_producer *producer)
{
    struct sp_producer_resume_response response;
    struct sp_buf buf;
    struct sp_pack pack;

    sp_producer_resume_response_init(&response);
    response.known = producer->records >= 0;
    response.offset = producer->last_offset;
    response.sequence = next_sequence(producer);
    response.records = producer->records;
    sp_request_begin(request, &buf, &pack);
    sp_producer_resume_response_encode(&pack, &response);
    sp_request_finish(request, &buf, &pack, NULL, 0);
}

static void on_submitted(struct sp_submit *submit, int status)
{
    struct resume *resume = SP_CONTAINER_OF(submit, struct resume, submit);
    const struct sp_flight *flight = &resume->flight;

    sp_list_remove(&resume->flight.node);
    sp_produce_read_on(resume->partition);
    if (status != 0) {
        sp_request_fail(&resume->request, status, NULL);
    } else {
        const struct sp_producer *producer =
            sp_producers_find(resume->partition->producers, flight->producer_id);
        if (producer == NULL) {
            sp_request_fail(&resume->request, SPATE_ERR_INTERNAL, NULL);
        } else if (producer->epoch != flight->producer_epoch) {
            sp_refuse_producer(&resume->request,
                               SPATE_ERR_PRODUCER_FENCED,
                               flight->producer_id,
                               flight->producer_epoch,
                               producer->epoch);
        } else {
            answer(&resume->request, producer);
        }
    }
    sp_mem_free(resume);
}

static int submit_fence(struct sp_partition *partition, struct resume *resume)
{
    struct sp_partition_command command = { .kind = SP_PARTITION_FENCE_PRODUCER,
                                            .producer_id = resume->flight.producer_id,
                                            .producer_epoch = resume->flight.producer_epoch };
    struct sp_buf bytes;

    sp_buf_init(&bytes, SP_PARTITION_COMMAND_BYTES_MAX);
    int rv = sp_partition_command_encode(&command, &bytes);
    if (rv == 0) {
        struct sp_iovec piece = { bytes.bytes, bytes.size };
        sp_list_append(&partition->flights, &resume->flight.node);
        rv = sp_raft_group_submit(partition->group, SP_FRAME_COMMAND, &piece, 1, &resume->submit);
    }
    sp_buf_deinit(&bytes);
    if (rv != 0) {
        sp_list_remove(&resume->flight.node);
    }
    return rv;
}

static void
start(struct sp_partition *partition, struct sp_request *request, const struct sp_flight *flight)
{
    struct resume *resume = sp_mem_calloc(1, sizeof *resume);
    int rv = SPATE_ERR_NOMEM;

    if (resume != NULL) {
        resume->submit.cb = on_submitted;
        resume->flight = *flight;
        resume->partition = partition;
        resume->request = *request;
        sp_list_init(&resume->flight.node);
        rv = submit_fence(partition, resume);
    }
    if (rv == 0) {
        return;
    }
    sp_mem_free(resume);
    if (rv == SPATE_ERR_NOT_LEADER) {
        sp_broker_not_leader(partition->broker,
                             request,
                             partition->topic,
                             partition->partition,
                             partition->group_id);
    } else {
        sp_request_fail(request, rv, NULL);
    }
}

void sp_method_producer_resume(struct sp_broker *broker,
                               struct sp_request request,
                               const struct sp_message *message)
{
    struct sp_producer_resume_request resume;
    struct sp_partition *partition;
    struct sp_api_error error;
    int16_t newest_epoch = 0;
    int rv = sp_producer_resume_request_decode(&message->params, &resume, &error);

    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
        return;
    }
    if (sp_broker_lacks_feature(broker, SP_FEATURE_PRODUCER_NAMES, "producer.resume", &request)) {
        return;
    }
    partition = sp_broker_find(broker, &request, resume.topic, resume.topic_id, resume.partition);
    if (partition == NULL) {
        return;
    }
    struct sp_flight fence = { .producer_id = resume.producer_id,
                               .producer_epoch = resume.producer_epoch,
                               .fence = true };
    rv = sp_sequences_judge_fence(partition->producers,
                                  &partition->flights,
                                  &fence,
                                  sp_raft_group_append_time_ms(partition->group),
                                  &newest_epoch);
    if (rv != 0) {
        sp_refuse_producer(&request, rv, fence.producer_id, fence.producer_epoch, newest_epoch);
        return;
    }
    start(partition, &request, &fence);
}
