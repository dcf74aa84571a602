/* Changes through the controller: topics come, are altered, and go. */
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

/* Reads a map of settings; values are texts, as topic.describe shows them. `method` begins the text
 * of an error. */
static int read_config(const char *method,
                       struct sp_bytes map,
                       struct sp_topic_config *config,
                       struct sp_api_error *error)
{
    struct sp_cursor cursor = sp_cursor_of(map);
    uint32_t pairs = map.bytes == NULL ? 0 : sp_cursor_map(&cursor);
    size_t begun = (size_t)snprintf(error->text, sizeof error->text, "%s: ", method);

    for (uint32_t i = 0; i < pairs; i++) {
        struct sp_bytes key = sp_cursor_text(&cursor);
        struct sp_bytes value = sp_cursor_text(&cursor);
        int rv = sp_topic_config_set(
            config, key, value, error->text + begun, sizeof error->text - begun);
        if (rv != 0) {
            return rv;
        }
    }
    return 0;
}

/* Reads an array of names of settings. */
static int read_keys(struct sp_bytes names, uint32_t *out_keys, struct sp_api_error *error)
{
    struct sp_cursor cursor = sp_cursor_of(names);
    uint32_t count = names.bytes == NULL ? 0 : sp_cursor_array(&cursor);

    *out_keys = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct sp_bytes name = sp_cursor_text(&cursor);
        enum sp_topic_key key = sp_topic_key_find(name);
        if (key == SP_TOPIC_KEY_COUNT) {
            size_t begun = (size_t)snprintf(error->text, sizeof error->text, "topic.alter: ");
            return sp_topic_key_refuse(name, error->text + begun, sizeof error->text - begun);
        }
        *out_keys |= 1U << key;
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
    rv = read_config("topic.create", create.config, &change->proposal.config, &error);
    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
        sp_mem_free(change);
        return;
    }
    sp_controller_propose(broker->options.controller, &change->proposal);
}

void sp_method_topic_alter(struct sp_broker *broker,
                           struct sp_request request,
                           const struct sp_message *message)
{
    struct sp_topic_alter_request alter;
    struct sp_topic_config config = { .set = 0 };
    struct sp_api_error error;
    uint32_t unset = 0;
    int rv = sp_topic_alter_request_decode(&message->params, &alter, &error);

    if (rv == 0) {
        rv = read_config("topic.alter", alter.set, &config, &error);
    }
    if (rv == 0) {
        rv = read_keys(alter.unset, &unset, &error);
    }
    if (rv == 0 && (config.set & unset) != 0) {
        (void)snprintf(error.text, sizeof error.text, "topic.alter: a setting is set and unset");
        rv = SPATE_ERR_INVALID;
    }
    if (rv == 0 && config.set == 0 && unset == 0) {
        (void)snprintf(error.text, sizeof error.text, "topic.alter: nothing is set or unset");
        rv = SPATE_ERR_INVALID;
    }
    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
        return;
    }
    struct change *change = new_change(broker, &request, SP_PROPOSAL_ALTER_TOPIC, alter.name);
    if (change != NULL) {
        change->proposal.config = config;
        change->proposal.unset = unset;
        sp_controller_propose(broker->options.controller, &change->proposal);
    }
}

void sp_method_topic_delete(struct sp_broker *broker,
                            struct sp_request request,
                            const struct sp_message *message)
{
    struct sp_topic_delete_request named;
    struct sp_api_error error;
    struct change *change;
    int rv = sp_topic_delete_request_decode(&message->params, &named, &error);

    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
        return;
    }
    change = new_change(broker, &request, SP_PROPOSAL_DELETE_TOPIC, named.name);
    if (change != NULL) {
        change->proposal.by_id = named.topic_id >= 0;
        change->proposal.topic_id = named.topic_id < 0 ? 0 : (uint64_t)named.topic_id;
        sp_controller_propose(broker->options.controller, &change->proposal);
    }
}

/* ---- altered settings ------------------------------------------------------------------------ */

static void configure(const struct sp_broker *broker, const struct sp_state_topic *topic)
{
    for (uint32_t i = 0; i < topic->partition_count; i++) {
        struct sp_partition *partition =
            sp_map_get_u64(broker->partitions, topic->partitions[i].group_id);
        if (partition != NULL) {
            sp_partition_configure(partition, &topic->config);
        }
    }
}

void sp_broker_topic_altered(struct sp_broker *broker, const struct sp_state_topic *topic)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    struct sp_map_cursor cursor = { 0 };

    if (topic != NULL) {
        configure(broker, topic);
        return;
    }
    while ((topic = sp_state_topic_next(state, &cursor)) != NULL) {
        configure(broker, topic);
    }
}
