/* group.find, group.list, group.describe, group.delete: consumer groups as people see them. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "broker/consumer_row.h"
#include "broker/group_methods.h"
#include "spate/error.h"

void sp_method_group_find(struct sp_broker *broker,
                          struct sp_request request,
                          const struct sp_message *message)
{
    struct sp_group_request asked;
    struct sp_group_find_response response;
    const struct sp_state_topic *topic;
    struct sp_api_error error;
    struct sp_buf buf;
    struct sp_pack pack;
    char text[SP_ADDRESS_SIZE_MAX];
    uint32_t partition;
    uint32_t leader;
    int rv = sp_group_request_decode(&message->params, &asked, &error);

    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
        return;
    }
    topic = sp_group_place(broker, &request, asked.group, &partition);
    if (topic == NULL) {
        return;
    }
    leader =
        sp_group_table_leader(broker->options.table, topic->partitions[partition].group_id, NULL);
    sp_group_find_response_init(&response);
    response.partition = (int32_t)partition;
    response.leader = leader == 0 ? -1 : (int32_t)leader;
    response.leader_address =
        leader == 0 ? sp_bytes_null()
                    : sp_bytes_text(sp_broker_address(broker, &request, leader, text));
    sp_request_begin(&request, &buf, &pack);
    sp_group_find_response_encode(&pack, &response);
    sp_request_finish(&request, &buf, &pack, NULL, 0);
}

/* What a row of group.list and the answer of group.describe begin with. */
static void pack_head(struct sp_pack *pack, unsigned fields, const struct sp_consumer_group *group)
{
    sp_pack_map(pack, fields);
    sp_pack_text(pack, "group");
    sp_pack_text(pack, group->name);
    sp_pack_text(pack, "state");
    sp_pack_text(pack, sp_consumer_group_state(group));
    sp_pack_text(pack, "generation");
    sp_pack_int(pack, group->generation);
}

/* ---- list ------------------------------------------------------------------------------------ */

static void pack_listed(struct sp_pack *pack,
                        const struct sp_coordinator *coordinator,
                        const struct sp_consumer_group *group)
{
    pack_head(pack, 6, group);
    sp_pack_text(pack, "members");
    sp_pack_uint(pack, group->member_count);
    sp_pack_text(pack, "stalled");
    sp_pack_int(pack, coordinator->leading ? (int64_t)group->stalled_count : -1);
    sp_pack_text(pack, "coordinator");
    sp_pack_uint(pack, coordinator->partition);
}

/* The groups of all replicas of coordinators on this node, and which coordinators are not here. */
void sp_method_group_list(struct sp_broker *broker,
                          struct sp_request request,
                          const struct sp_message *message)
{
    const struct sp_state_topic *topic =
        sp_state_topic(sp_controller_state(broker->options.controller), SP_STATE_GROUPS_TOPIC);
    uint32_t coordinators = topic == NULL ? 0 : topic->partition_count;
    struct sp_map_cursor cursor = { 0 };
    const struct sp_coordinator *coordinator;
    size_t count = 0;
    size_t missing = 0;
    struct sp_buf buf;
    struct sp_pack pack;

    (void)message; /* no fields */
    while ((coordinator = sp_map_next(broker->coordinators, &cursor)) != NULL) {
        count += sp_consumer_groups_count(coordinator->groups);
    }
    sp_request_begin(&request, &buf, &pack);
    sp_pack_map(&pack, 3);
    sp_pack_text(&pack, "current");
    sp_pack_bool(&pack, sp_controller_follows(broker->options.controller));
    sp_pack_text(&pack, "groups");
    sp_pack_array(&pack, count);
    cursor = (struct sp_map_cursor){ 0 };
    while ((coordinator = sp_map_next(broker->coordinators, &cursor)) != NULL) {
        struct sp_map_cursor inside = { 0 };
        const struct sp_consumer_group *group;
        while ((group = sp_consumer_groups_next(coordinator->groups, &inside)) != NULL) {
            pack_listed(&pack, coordinator, group);
        }
    }
    for (uint32_t i = 0; i < coordinators; i++) {
        missing += sp_map_get_u64(broker->coordinators, topic->partitions[i].group_id) == NULL;
    }
    sp_pack_text(&pack, "missing");
    sp_pack_array(&pack, missing);
    for (uint32_t i = 0; i < coordinators; i++) {
        if (sp_map_get_u64(broker->coordinators, topic->partitions[i].group_id) == NULL) {
            sp_pack_uint(&pack, i);
        }
    }
    sp_request_finish(&request, &buf, &pack, NULL, 0);
}

/* ---- describe -------------------------------------------------------------------------------- */

/* The partitions that a member owns, or shall own. */
static void pack_shares(const struct sp_broker *broker,
                        struct sp_pack *pack,
                        const struct sp_consumer_group *group,
                        const struct sp_consumer_member *member,
                        bool owned)
{
    struct sp_consumer_place *places =
        sp_mem_calloc((size_t)group->share_count + 1, sizeof *places);
    unsigned count = 0;

    if (places == NULL) {
        sp_pack_fail(pack, SPATE_ERR_NOMEM);
        return;
    }
    for (unsigned i = 0; i < group->share_count; i++) {
        const struct sp_consumer_share *share = &group->shares[i];
        if ((owned ? share->owner : share->target) == member) {
            places[count++] = (struct sp_consumer_place){ share->topic_id, share->partition };
        }
    }
    sp_group_places_pack(broker, pack, places, count);
    sp_mem_free(places);
}

static void pack_member(const struct sp_broker *broker,
                        struct sp_pack *pack,
                        const struct sp_consumer_group *group,
                        const struct sp_consumer_member *member)
{
    uint64_t now_ms = sp_loop_now_ms(broker->options.loop);

    sp_pack_map(pack, 10);
    sp_pack_text(pack, "member");
    sp_pack_text(pack, member->id);
    sp_pack_text(pack, "instance");
    sp_pack_text(pack, member->instance);
    sp_pack_text(pack, "client");
    sp_pack_text(pack, member->client);
    sp_pack_text(pack, "rack");
    sp_pack_text(pack, member->rack);
    sp_pack_text(pack, "session_ms");
    sp_pack_uint(pack, member->session_ms);
    sp_pack_text(pack, "rebalance_ms");
    sp_pack_uint(pack, member->rebalance_ms);
    sp_pack_text(pack, "silent_ms");
    sp_pack_uint(pack, member->heard_ms == 0 ? 0 : now_ms - member->heard_ms);
    sp_pack_text(pack, "topics");
    sp_pack_raw(pack, sp_bytes_of(member->topics, member->topics_size));
    sp_pack_text(pack, "owned");
    pack_shares(broker, pack, group, member, true);
    sp_pack_text(pack, "assigned");
    pack_shares(broker, pack, group, member, false);
}

static int64_t stalled_ms(const struct sp_broker *broker, const struct sp_consumer_share *share)
{
    uint64_t now_ms = sp_loop_now_ms(broker->options.loop);

    return share == NULL ? 0 : (int64_t)sp_consumer_share_still_ms(share, now_ms);
}

static void pack_row(const struct sp_broker *broker,
                     struct sp_pack *pack,
                     const struct sp_state_topic *topic,
                     const struct sp_consumer_row *row)
{
    const struct sp_partition *local =
        row->partition < topic->partition_count
            ? sp_map_get_u64(broker->partitions, topic->partitions[row->partition].group_id)
            : NULL;
    int64_t end = local == NULL ? -1 : local->next_offset;
    int64_t from = row->offset != NULL ? row->offset->offset : local == NULL ? 0 : local->log_start;

    sp_pack_map(pack, 9);
    sp_group_partition_pack(pack, topic, row->partition);
    sp_pack_text(pack, "owner");
    sp_pack_text(pack, row->share == NULL ? NULL : row->share->owner->id);
    sp_pack_text(pack, "committed");
    sp_pack_int(pack, row->offset == NULL ? -1 : row->offset->offset);
    sp_pack_text(pack, "committed_ms");
    sp_pack_int(pack, row->offset == NULL ? -1 : row->offset->commit_ms);
    sp_pack_text(pack, "metadata");
    sp_pack_text(pack, row->offset == NULL ? NULL : row->offset->metadata);
    sp_pack_text(pack, "end_offset");
    sp_pack_int(pack, end);
    sp_pack_text(pack, "lag");
    sp_pack_int(pack, end < 0 ? -1 : end > from ? end - from : 0);
    sp_pack_text(pack, "stalled_ms");
    sp_pack_int(pack, end < 0 ? -1 : stalled_ms(broker, row->share));
}

/* The partitions of the group; packed (`pack` given) or counted. */
static unsigned each_row(const struct sp_broker *broker,
                         const struct sp_consumer_group *group,
                         struct sp_pack *pack)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    struct sp_consumer_row_cursor cursor = { 0 };
    struct sp_consumer_row row;
    unsigned count = 0;

    while (sp_consumer_row_next(group, &cursor, &row)) {
        const struct sp_state_topic *topic = sp_state_topic_by_id(state, row.topic_id);

        count += topic != NULL;
        if (topic != NULL && pack != NULL) {
            pack_row(broker, pack, topic, &row);
        }
    }
    return count;
}

static void pack_group(const struct sp_broker *broker,
                       struct sp_pack *pack,
                       const struct sp_consumer_group *group)
{
    pack_head(pack, 5, group);
    sp_pack_text(pack, "members");
    sp_pack_array(pack, group->member_count);
    for (unsigned i = 0; i < group->member_count; i++) {
        pack_member(broker, pack, group, group->members[i]);
    }
    sp_pack_text(pack, "partitions");
    sp_pack_array(pack, each_row(broker, group, NULL));
    (void)each_row(broker, group, pack);
}

/* The group that a request names, as its coordinator knows it; `current`: not before all that was
 * committed when it came. NULL: the request waits, or has been answered. */
static struct sp_consumer_group *find_group(struct sp_broker *broker,
                                            struct sp_request *request,
                                            const struct sp_message *message,
                                            struct sp_group_request *asked,
                                            bool current,
                                            struct sp_coordinator **out_coordinator)
{
    struct sp_api_error error;
    char name[SP_CONSUMER_GROUP_NAME_SIZE_MAX + 1];
    int rv = sp_group_request_decode(&message->params, asked, &error);

    if (rv != 0) {
        sp_request_fail(request, rv, error.text);
        return NULL;
    }
    *out_coordinator =
        current ? sp_group_current_coordinator(broker, request, message, asked->group, name)
                : sp_group_coordinator(broker, request, asked->group, name);
    if (*out_coordinator == NULL) {
        return NULL;
    }
    struct sp_consumer_group *group =
        sp_consumer_groups_find((*out_coordinator)->groups, asked->group);
    if (group == NULL) {
        sp_group_fail(request, SPATE_ERR_NOT_FOUND, name);
    }
    return group;
}

void sp_method_group_describe(struct sp_broker *broker,
                              struct sp_request request,
                              const struct sp_message *message)
{
    struct sp_coordinator *coordinator;
    struct sp_group_request asked;
    struct sp_consumer_group *group =
        find_group(broker, &request, message, &asked, true, &coordinator);
    struct sp_buf buf;
    struct sp_pack pack;

    if (group == NULL) {
        return;
    }
    sp_coordinator_stall_look(coordinator, group);
    sp_request_begin(&request, &buf, &pack);
    pack_group(broker, &pack, group);
    sp_request_finish(&request, &buf, &pack, NULL, 0);
}

/* ---- delete ---------------------------------------------------------------------------------- */

struct deletion {
    struct sp_coordinator_job job;
    struct sp_request request;
    bool sees; /* the answer names an index of the log */
};

static void answer_deletion(struct sp_request *request, bool deleted, uint64_t seen)
{
    struct sp_buf buf;
    struct sp_pack pack;

    sp_request_begin(request, &buf, &pack);
    sp_pack_map(&pack, 2);
    sp_pack_text(&pack, "deleted"); /* also when it is: for people */
    sp_pack_bool(&pack, deleted);
    sp_pack_text(&pack, "seen");
    sp_pack_uint(&pack, seen);
    sp_request_finish(request, &buf, &pack, NULL, 0);
}

static void on_deleted(struct sp_coordinator_job *job, int status)
{
    struct deletion *deletion = SP_CONTAINER_OF(job, struct deletion, job);

    status = status != 0 ? status : job->answer;
    if (status != 0) {
        sp_group_fail(&deletion->request, status, job->group);
    } else if (deletion->sees) {
        answer_deletion(&deletion->request, true, job->submit.index);
    } else {
        sp_request_ok(&deletion->request);
    }
    sp_mem_free(deletion);
}

/* Was the group used, or will be, behind what the sender has seen? A deletion that a network
 * delivers long after its sender has gone must not hit what others have made since, as a late
 * commit must not: group_commit.c. True: it has been answered. */
static bool refuse_late(struct sp_coordinator *coordinator,
                        struct sp_request *request,
                        const struct sp_consumer_group *group,
                        uint64_t seen)
{
    struct sp_raft_group_status status;
    bool late;

    sp_raft_group_status(coordinator->group, &status);
    late = sp_consumer_group_changed(coordinator->groups, group, status.applied_index) > seen;
    SP_LIST_EACH (node, &coordinator->jobs) {
        struct sp_coordinator_job *job = SP_LIST_ENTRY(node, struct sp_coordinator_job, node);
        late = late || (!job->assigns && strcmp(job->group, group->name) == 0);
    }
    if (late) {
        answer_deletion(request, false, status.applied_index);
    }
    return late;
}

static void delete_group(struct sp_coordinator *coordinator,
                         struct sp_request request,
                         const char *name,
                         bool sees)
{
    struct deletion *deletion = sp_mem_calloc(1, sizeof *deletion);
    struct sp_buf command;
    int rv;

    if (deletion == NULL) {
        sp_request_fail(&request, SPATE_ERR_NOMEM, NULL);
        return;
    }
    deletion->request = request;
    deletion->sees = sees;
    deletion->job.done = on_deleted;
    deletion->job.ends = true;
    sp_buf_init(&command, SP_CONSUMER_COMMAND_BYTES_MAX);
    rv = sp_consumer_command_delete(sp_bytes_text(name), -1, &command);
    rv = sp_coordinator_submit(coordinator, &deletion->job, name, rv, &command);
    if (rv != 0) {
        sp_group_fail(&request, rv, name);
        sp_mem_free(deletion);
    }
}

void sp_method_group_delete(struct sp_broker *broker,
                            struct sp_request request,
                            const struct sp_message *message)
{
    struct sp_group_request asked;
    struct sp_coordinator *coordinator;
    const struct sp_consumer_group *group =
        find_group(broker, &request, message, &asked, false, &coordinator);
    char text[64];

    if (group == NULL) {
        return;
    }
    if (group->member_count > 0) {
        (void)snprintf(text,
                       sizeof text,
                       "the group still has members (%u): stop them first",
                       group->member_count);
        sp_request_fail(&request, SPATE_ERR_INVALID, text);
    } else if (asked.seen < 0 || !refuse_late(coordinator, &request, group, (uint64_t)asked.seen)) {
        delete_group(coordinator, request, group->name, asked.seen >= 0);
    }
}
