/* Moving the start of a partition's log: topic.truncate, and what retention asks for.
 *
 *   offset -> submit a command -> committed, applied on every replica: log_start
 *
 * What needs no command is answered only when this node is confirmed to lead: a leader that was
 * deposed and does not know it yet has an old start and an old end.
 *
 * The files follow on each replica by itself, whole segments at a time, as far as checkpoints cover
 * them (raft_install.c). */
#include "broker/methods.h"

#include <stdio.h>

#include "base/mem.h"
#include "broker/partition_command.h"
#include "spate/error.h"

struct trim {
    struct sp_submit submit;
    struct sp_partition *partition; /* its submits end before it does */
    struct sp_request request;
    bool asked; /* `request` waits for an answer */
};

void sp_refuse_offset(struct sp_request *request,
                      const struct sp_partition *partition,
                      int64_t offset)
{
    char text[SP_TOPIC_NAME_SIZE_MAX + 160];

    (void)snprintf(text,
                   sizeof text,
                   "offset %lld is not in %s/%u, which has %lld to %lld",
                   (long long)offset,
                   partition->topic,
                   partition->partition,
                   (long long)partition->log_start,
                   (long long)partition->next_offset);
    sp_request_fail(request, SPATE_ERR_OFFSET_OUT_OF_RANGE, text);
}

static void answer(struct sp_request *request, const struct sp_partition *partition)
{
    struct sp_topic_truncate_response response;
    struct sp_buf buf;
    struct sp_pack pack;

    sp_topic_truncate_response_init(&response);
    response.log_start = partition->log_start;
    sp_request_begin(request, &buf, &pack);
    sp_topic_truncate_response_encode(&pack, &response);
    sp_request_finish(request, &buf, &pack, NULL, 0);
}

static void on_submitted(struct sp_submit *submit, int status)
{
    struct trim *trim = SP_CONTAINER_OF(submit, struct trim, submit);

    if (!trim->asked) {
        trim->partition->expiring = false;
    } else if (status == 0) {
        answer(&trim->request, trim->partition);
    } else {
        sp_request_fail(&trim->request, status, NULL);
    }
    sp_mem_free(trim);
}

static int submit_command(struct sp_partition *partition, int64_t offset, struct sp_submit *submit)
{
    const struct sp_partition_command command = { .kind = SP_PARTITION_TRIM, .offset = offset };
    struct sp_buf bytes;

    sp_buf_init(&bytes, SP_PARTITION_COMMAND_BYTES_MAX);
    int rv = sp_partition_command_encode(&command, &bytes);
    if (rv == 0) {
        struct sp_iovec piece = { bytes.bytes, bytes.size };
        rv = sp_raft_group_submit(partition->group, SP_FRAME_COMMAND, &piece, 1, submit);
    }
    sp_buf_deinit(&bytes);
    return rv;
}

int sp_trim_start(struct sp_partition *partition, int64_t offset, const struct sp_request *request)
{
    struct trim *trim = sp_mem_calloc(1, sizeof *trim);

    if (trim == NULL) {
        return SPATE_ERR_NOMEM;
    }
    trim->submit.cb = on_submitted;
    trim->partition = partition;
    if (request != NULL) {
        trim->request = *request;
        trim->asked = true;
    }
    int rv = submit_command(partition, offset, &trim->submit);
    if (rv != 0) {
        sp_mem_free(trim);
    }
    return rv;
}

void sp_method_topic_truncate(struct sp_broker *broker,
                              struct sp_request request,
                              const struct sp_message *message)
{
    struct sp_topic_truncate_request asked;
    struct sp_partition *partition;
    struct sp_api_error error;
    int rv = sp_topic_truncate_request_decode(&message->params, &asked, &error);

    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
        return;
    }
    if (sp_broker_lacks_feature(broker, SP_FEATURE_TOPIC_SETTINGS, "topic.truncate", &request)) {
        return;
    }
    partition = sp_broker_find(broker, &request, asked.topic, asked.topic_id, asked.partition);
    if (partition == NULL) {
        return;
    }
    bool gone = asked.before <= partition->log_start; /* nothing is left to do */
    if (gone || asked.before > partition->next_offset) {
        if (!sp_broker_confirm(broker, &request, message, partition->group)) {
            return;
        }
        if (gone) {
            answer(&request, partition);
        } else {
            sp_refuse_offset(&request, partition, asked.before);
        }
        return;
    }
    rv = sp_trim_start(partition, asked.before, &request);
    if (rv == SPATE_ERR_NOT_LEADER) {
        sp_broker_not_leader(
            broker, &request, partition->topic, partition->partition, partition->group_id);
    } else if (rv != 0) {
        sp_request_fail(&request, rv, NULL);
    }
}
