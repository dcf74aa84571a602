/* Changes through the controller: topics come and go. */
#include "broker/methods.h"

#include <stdio.h>

#include "base/mem.h"
#include "spate/error.h"

struct change {
    struct sp_proposal proposal;
    struct sp_request request;
    struct sp_broker *broker;
};

static void answer_created(struct change *change)
{
    const struct sp_state_topic *topic = sp_state_topic(
        sp_controller_state(change->broker->options.controller), change->proposal.topic);
    struct sp_topic_create_response response;
    struct sp_buf buf;
    struct sp_pack pack;

    if (topic == NULL) {
        sp_request_fail(
            &change->request, SPATE_ERR_UNKNOWN_TOPIC, "created, and deleted again meanwhile");
        return;
    }
    sp_topic_create_response_init(&response);
    response.name = sp_bytes_text(topic->name);
    response.id = (int64_t)topic->topic_id;
    response.partitions = (int32_t)topic->partition_count;
    response.replicas = (int32_t)topic->partitions[0].replica_count;
    sp_request_begin(&change->request, &buf, &pack);
    sp_topic_create_response_encode(&pack, &response);
    sp_request_finish(&change->request, &buf, &pack, NULL, 0);
}

static void on_proposed(struct sp_proposal *proposal, int status, const char *text)
{
    struct change *change = SP_CONTAINER_OF(proposal, struct change, proposal);

    if (status != 0) {
        sp_request_fail(&change->request, status, text);
    } else if (proposal->kind == SP_PROPOSAL_CREATE_TOPIC) {
        answer_created(change);
    } else {
        sp_request_ok(&change->request);
    }
    sp_mem_free(change);
}

static struct change *new_change(struct sp_broker *broker,
                                 struct sp_request *request,
                                 enum sp_proposal_kind kind,
                                 struct sp_bytes name)
{
    struct change *change;
    char topic[SP_TOPIC_NAME_SIZE_MAX + 1];
    char text[200];
    int rv = sp_state_check_topic_name((const char *)name.bytes, name.size, text, sizeof text);

    if (rv != 0) {
        sp_request_fail(request, rv, text);
        return NULL;
    }
    if (!sp_broker_copy_text(name, topic, sizeof topic) ||
        sp_broker_refuse_internal(request, topic)) {
        return NULL;
    }
    change = sp_mem_calloc(1, sizeof *change);
    if (change == NULL) {
        sp_request_fail(request, SPATE_ERR_NOMEM, NULL);
        return NULL;
    }
    change->broker = broker;
    change->request = *request;
    change->proposal.kind = kind;
    change->proposal.cb = on_proposed;
    (void)snprintf(change->proposal.topic, sizeof change->proposal.topic, "%s", topic);
    return change;
}

/* The number in a setting's text, or 0 when it is none or not allowed. */
static uint32_t parse_message_bytes(struct sp_bytes text)
{
    uint32_t value = 0;

    for (size_t i = 0; i < text.size; i++) {
        if (text.bytes[i] < '0' || text.bytes[i] > '9' || value > SP_BATCH_BYTES_MAX) {
            return 0;
        }
        value = value * 10 + (uint32_t)(text.bytes[i] - '0');
    }
    return value >= SP_STATE_MESSAGE_BYTES_MIN && value <= SP_BATCH_BYTES_MAX ? value : 0;
}

/* The topic's own settings: max.message.bytes for now. Values are texts, as topic.describe shows
 * them. */
static int
read_config(struct sp_bytes config, struct sp_proposal *proposal, char *text, size_t size)
{
    struct sp_cursor cursor = sp_cursor_of(config);
    uint32_t pairs = config.bytes == NULL ? 0 : sp_cursor_map(&cursor);

    for (uint32_t i = 0; i < pairs; i++) {
        struct sp_bytes key = sp_cursor_text(&cursor);
        if (!sp_bytes_equal_text(key, "max.message.bytes")) {
            (void)snprintf(text,
                           size,
                           "topic.create: no setting `%.*s`: known is max.message.bytes",
                           key.size > 64 ? 64 : (int)key.size,
                           key.bytes == NULL ? "" : (const char *)key.bytes);
            return SPATE_ERR_INVALID;
        }
        proposal->message_bytes_max = parse_message_bytes(sp_cursor_text(&cursor));
        if (proposal->message_bytes_max == 0) {
            (void)snprintf(text,
                           size,
                           "topic.create: max.message.bytes must be a text that holds a whole "
                           "number from %d to %d",
                           SP_STATE_MESSAGE_BYTES_MIN,
                           SP_BATCH_BYTES_MAX);
            return SPATE_ERR_INVALID;
        }
    }
    return 0;
}

void sp_method_topic_create(struct sp_broker *broker,
                            struct sp_request request,
                            const struct sp_message *message)
{
    struct sp_topic_create_request create;
    struct sp_api_error error;
    struct change *change;
    int rv = sp_topic_create_request_decode(&message->params, &create, &error);

    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
        return;
    }
    if (create.partitions == 0 || create.replicas == 0) {
        sp_request_fail(&request,
                        SPATE_ERR_INVALID,
                        "topic.create: partitions and replicas must be at least 1");
        return;
    }
    change = new_change(broker, &request, SP_PROPOSAL_CREATE_TOPIC, create.name);
    if (change == NULL) {
        return;
    }
    change->proposal.partitions = create.partitions < 0 ? 0 : (uint32_t)create.partitions;
    change->proposal.replicas = create.replicas < 0 ? 0 : (uint32_t)create.replicas;
    rv = read_config(create.config, &change->proposal, error.text, sizeof error.text);
    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
        sp_mem_free(change);
        return;
    }
    sp_controller_propose(broker->options.controller, &change->proposal);
}

void sp_method_topic_delete(struct sp_broker *broker,
                            struct sp_request request,
                            const struct sp_message *message)
{
    struct sp_topic_request named;
    struct sp_api_error error;
    struct change *change;
    int rv = sp_topic_request_decode(&message->params, &named, &error);

    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
        return;
    }
    change = new_change(broker, &request, SP_PROPOSAL_DELETE_TOPIC, named.name);
    if (change != NULL) {
        sp_controller_propose(broker->options.controller, &change->proposal);
    }
}
