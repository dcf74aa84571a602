/* group.commit, group.seek: how far a consumer group has read. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "broker/group_methods.h"
#include "spate/error.h"

/* Offsets on their way into the log. */
struct commit {
    struct sp_coordinator_job job;
    struct sp_request request;
    char group[SP_CONSUMER_GROUP_NAME_SIZE_MAX + 1];
    bool tells; /* seek: the answer names the offsets */
    bool sees;  /* commit: the answer names an index of the log */
    struct sp_consumer_commit
        *commits; /* owned; metadata points into the message, until submitted */
    unsigned count;
};

static void commit_free(struct commit *commit)
{
    sp_mem_free(commit->commits);
    sp_mem_free(commit);
}

static struct commit *commit_new(struct sp_request *request, const char *group, size_t count)
{
    struct commit *commit = sp_mem_calloc(1, sizeof *commit);

    if (commit != NULL) {
        commit->commits = sp_mem_calloc(count + 1, sizeof *commit->commits);
    }
    if (commit == NULL || commit->commits == NULL) {
        sp_mem_free(commit);
        sp_request_fail(request, SPATE_ERR_NOMEM, NULL);
        return NULL;
    }
    commit->request = *request;
    (void)snprintf(commit->group, sizeof commit->group, "%s", group);
    return commit;
}

/* ---- answering ------------------------------------------------------------------------------- */

static void answer_sought(struct commit *commit)
{
    const struct sp_state *state =
        sp_controller_state(commit->job.coordinator->broker->options.controller);
    struct sp_buf buf;
    struct sp_pack pack;

    sp_request_begin(&commit->request, &buf, &pack);
    sp_pack_map(&pack, 1);
    sp_pack_text(&pack, "offsets");
    sp_pack_array(&pack, commit->count);
    for (unsigned i = 0; i < commit->count; i++) {
        const struct sp_consumer_commit *each = &commit->commits[i];
        const struct sp_state_topic *topic = sp_state_topic_by_id(state, each->place.topic_id);
        sp_pack_map(&pack, 3);
        sp_pack_text(&pack, "topic");
        sp_pack_text(&pack, topic == NULL ? "" : topic->name);
        sp_pack_text(&pack, "partition");
        sp_pack_uint(&pack, each->place.partition);
        sp_pack_text(&pack, "offset");
        sp_pack_int(&pack, each->offset);
    }
    sp_request_finish(&commit->request, &buf, &pack, NULL, 0);
}

static void answer_seen(struct commit *commit, bool stored, uint64_t seen)
{
    struct sp_buf buf;
    struct sp_pack pack;

    sp_request_begin(&commit->request, &buf, &pack);
    sp_pack_map(&pack, 2);
    sp_pack_text(&pack, "stored"); /* also when it is: for people */
    sp_pack_bool(&pack, stored);
    sp_pack_text(&pack, "seen");
    sp_pack_uint(&pack, seen);
    sp_request_finish(&commit->request, &buf, &pack, NULL, 0);
}

static void finish(struct commit *commit, int code)
{
    if (code == SPATE_ERR_NOT_LEADER || code == SPATE_ERR_NOT_READY) {
        sp_group_not_leader(commit->job.coordinator, &commit->request);
    } else if (code != 0) {
        sp_group_fail(&commit->request, code, commit->group);
    } else if (commit->tells) {
        answer_sought(commit);
    } else if (commit->sees) {
        answer_seen(commit, true, commit->job.submit.index);
    } else {
        sp_request_ok(&commit->request);
    }
    commit_free(commit);
}

static void on_done(struct sp_coordinator_job *job, int status)
{
    finish(SP_CONTAINER_OF(job, struct commit, job), status != 0 ? status : job->answer);
}

static void submit(struct sp_coordinator *coordinator,
                   struct commit *commit,
                   struct sp_bytes member,
                   int64_t generation)
{
    struct sp_buf command;
    int rv;

    commit->job.done = on_done;
    commit->job.coordinator = coordinator;
    sp_buf_init(&command, SP_CONSUMER_COMMAND_BYTES_MAX);
    rv = sp_consumer_command_commit(
        sp_bytes_text(commit->group), member, generation, commit->commits, commit->count, &command);
    rv = sp_coordinator_submit(coordinator, &commit->job, commit->group, rv, &command);
    if (rv != 0) {
        finish(commit, rv);
    }
}

/* ---- late commits ---------------------------------------------------------------------------- */

/* A commit can arrive long after its sender has given it up and stored a newer offset: the network
 * goes on with what was written to a connection. So a sender tells how much of this log it has
 * `seen`, an index that an answer named, and a partition whose offset was set behind that, or is
 * about to be, refuses it. The newer commit stands behind all that the sender had seen when it sent
 * the late one, whoever led then, so no late one can pass; and nothing of this is in commands or
 * checkpoints: an index is the same on all replicas. One that is refused without need, since the
 * offset comes from a checkpoint, or for an attempt of its own that had no answer, is sent again
 * with what the refusal names. */

static bool overlap(const struct commit *left, const struct commit *right)
{
    if ((uint64_t)left->count * right->count > SP_CONSUMER_PARTITIONS_MAX) {
        return true; /* more than there is time for: it tries again */
    }
    for (unsigned i = 0; i < left->count; i++) {
        for (unsigned j = 0; j < right->count; j++) {
            const struct sp_consumer_place *place = &right->commits[j].place;
            if (left->commits[i].place.topic_id == place->topic_id &&
                left->commits[i].place.partition == place->partition) {
                return true;
            }
        }
    }
    return false;
}

/* Is a command on its way that sets one of the offsets, or takes the group away? */
static bool is_overtaken(const struct sp_coordinator *coordinator, const struct commit *commit)
{
    SP_LIST_EACH (node, &coordinator->jobs) {
        struct sp_coordinator_job *job = SP_LIST_ENTRY(node, struct sp_coordinator_job, node);
        if (job->assigns || job->changes_members || strcmp(job->group, commit->group) != 0) {
            continue;
        }
        if (job->done != on_done || overlap(commit, SP_CONTAINER_OF(job, struct commit, job))) {
            return true;
        }
    }
    return false;
}

/* Refuses a commit behind which one of its offsets was set. True: it has been answered. */
static bool refuse_late(struct sp_coordinator *coordinator, struct commit *commit, uint64_t seen)
{
    const struct sp_consumer_group *group =
        sp_consumer_groups_find(coordinator->groups, sp_bytes_text(commit->group));
    struct sp_raft_group_status status;
    bool late = is_overtaken(coordinator, commit);

    sp_raft_group_status(coordinator->group, &status);
    for (unsigned i = 0; i < commit->count && !late; i++) {
        const struct sp_consumer_place *place = &commit->commits[i].place;
        late = sp_consumer_offset_changed(coordinator->groups,
                                          group,
                                          place->topic_id,
                                          place->partition,
                                          status.applied_index) > seen;
    }
    if (late) {
        answer_seen(commit, false, status.applied_index);
        commit_free(commit);
    }
    return late;
}

/* ---- commit ---------------------------------------------------------------------------------- */

/* The topic of a name, if it is the one that is meant (-1: any), has that partition (-1: any) and
 * clients may use it; otherwise a code and a text. */
static const struct sp_state_topic *find_topic(const struct sp_broker *broker,
                                               struct sp_bytes name,
                                               int64_t topic_id,
                                               int32_t partition,
                                               int *out_code,
                                               struct sp_api_error *error)
{
    const struct sp_state_topic *topic = NULL;
    char text[SP_TOPIC_NAME_SIZE_MAX + 1] = "";

    if (sp_broker_copy_text(name, text, sizeof text) && !sp_state_is_internal(text)) {
        topic = sp_state_topic(sp_controller_state(broker->options.controller), text);
    }
    if (topic == NULL) {
        bool current = sp_controller_is_current(broker->options.controller);
        *out_code = current ? SPATE_ERR_UNKNOWN_TOPIC : SPATE_ERR_NOT_READY;
        (void)snprintf(error->text, sizeof error->text, "no topic `%.150s`", text);
        return NULL;
    }
    if (topic_id >= 0 && topic->topic_id != (uint64_t)topic_id) {
        /* Ids rise: a later one than here is of a topic that this node has not heard of yet. */
        *out_code =
            topic->topic_id < (uint64_t)topic_id ? SPATE_ERR_NOT_READY : SPATE_ERR_UNKNOWN_TOPIC;
        (void)snprintf(error->text,
                       sizeof error->text,
                       "topic `%.150s` is another one than the one that was read",
                       text);
        return NULL;
    }
    if (partition >= 0 && (uint32_t)partition >= topic->partition_count) {
        *out_code = SPATE_ERR_UNKNOWN_PARTITION;
        (void)snprintf(error->text,
                       sizeof error->text,
                       "topic `%.100s` has partitions 0 to %u, not %d",
                       topic->name,
                       topic->partition_count - 1,
                       partition);
        return NULL;
    }
    return topic;
}

static int read_offsets(const struct sp_broker *broker,
                        struct sp_cursor *cursor,
                        uint32_t count,
                        struct commit *commit,
                        struct sp_api_error *error)
{
    for (uint32_t i = 0; i < count; i++) {
        struct sp_group_offset offset;
        const struct sp_state_topic *topic;
        int rv = sp_group_offset_read(cursor, &offset, error);
        if (rv != 0) {
            return rv;
        }
        if (offset.metadata.size > 0 &&
            memchr(offset.metadata.bytes, 0, offset.metadata.size) != NULL) {
            (void)snprintf(error->text, sizeof error->text, "offsets: metadata holds a zero byte");
            return SPATE_ERR_INVALID;
        }
        topic = find_topic(broker, offset.topic, offset.topic_id, offset.partition, &rv, error);
        if (topic == NULL) {
            return rv;
        }
        commit->commits[commit->count++] = (struct sp_consumer_commit){
            .place = { topic->topic_id, (uint32_t)offset.partition },
            .offset = offset.offset,
            .metadata = offset.metadata,
        };
    }
    return 0;
}

/* Does the member commit what it must give up and begin anew first? */
static bool is_left_over(const struct sp_coordinator *coordinator,
                         const struct commit *commit,
                         struct sp_bytes member)
{
    const struct sp_consumer_group *group =
        sp_consumer_groups_find(coordinator->groups, sp_bytes_text(commit->group));

    for (unsigned i = 0; group != NULL && member.bytes != NULL && i < commit->count; i++) {
        const struct sp_consumer_place *place = &commit->commits[i].place;
        const struct sp_consumer_share *share =
            sp_consumer_group_share(group, place->topic_id, place->partition);
        if (share != NULL && share->left_over && sp_bytes_equal_text(member, share->owner->id)) {
            return true;
        }
    }
    return false;
}

void sp_method_group_commit(struct sp_broker *broker,
                            struct sp_request request,
                            const struct sp_message *message)
{
    struct sp_group_commit_request asked;
    struct sp_coordinator *coordinator;
    struct sp_api_error error;
    struct sp_cursor cursor;
    struct commit *commit;
    char name[SP_CONSUMER_GROUP_NAME_SIZE_MAX + 1];
    uint32_t count;
    int rv = sp_group_commit_request_decode(&message->params, &asked, &error);

    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
        return;
    }
    cursor = sp_cursor_of(asked.offsets);
    count = sp_cursor_array(&cursor);
    if (cursor.status != 0 || count > SP_CONSUMER_PARTITIONS_MAX) {
        sp_request_fail(&request,
                        SPATE_ERR_INVALID,
                        "group.commit: field `offsets` must be an array of at most 20,000 "
                        "{ topic, partition, offset }");
        return;
    }
    coordinator = sp_group_coordinator(broker, &request, asked.group, name);
    commit = coordinator == NULL ? NULL : commit_new(&request, name, count);
    if (commit == NULL) {
        return;
    }
    rv = read_offsets(broker, &cursor, count, commit, &error);
    if (rv != 0) {
        sp_request_fail(&commit->request, rv, error.text);
        commit_free(commit);
        return;
    }
    if (is_left_over(coordinator, commit, asked.member)) {
        finish(commit, SPATE_ERR_GROUP_FENCED);
        return;
    }
    commit->sees = asked.seen >= 0;
    if (commit->sees && refuse_late(coordinator, commit, (uint64_t)asked.seen)) {
        return;
    }
    submit(coordinator, commit, asked.member, asked.generation);
}

/* ---- seek ------------------------------------------------------------------------------------ */

/* Where a partition starts or ends, as this node's replica knows it. */
static int place_of(const struct sp_broker *broker,
                    const struct sp_state_partition *place,
                    int64_t to,
                    int64_t *out_offset)
{
    const struct sp_partition *local = sp_map_get_u64(broker->partitions, place->group_id);

    if (to >= 0) {
        *out_offset = to;
        return 0;
    }
    if (local == NULL || local->group == NULL) {
        return SPATE_ERR_UNSUPPORTED;
    }
    *out_offset = to == SP_OFFSETS_AT_EARLIEST ? local->log_start : local->next_offset;
    return 0;
}

static int fill_seek(const struct sp_broker *broker,
                     const struct sp_group_seek_request *asked,
                     const struct sp_state_topic *topic,
                     struct commit *commit)
{
    for (uint32_t i = 0; i < topic->partition_count; i++) {
        struct sp_consumer_commit *each = &commit->commits[commit->count];
        if (asked->partition >= 0 && (uint32_t)asked->partition != i) {
            continue;
        }
        each->place = (struct sp_consumer_place){ topic->topic_id, i };
        each->metadata = sp_bytes_null();
        int rv = place_of(broker, &topic->partitions[i], asked->to, &each->offset);
        if (rv != 0) {
            return rv;
        }
        commit->count += 1;
    }
    return 0;
}

void sp_method_group_seek(struct sp_broker *broker,
                          struct sp_request request,
                          const struct sp_message *message)
{
    struct sp_group_seek_request asked;
    struct sp_coordinator *coordinator;
    const struct sp_state_topic *topic;
    struct sp_api_error error;
    struct commit *commit;
    char name[SP_CONSUMER_GROUP_NAME_SIZE_MAX + 1];
    int rv = sp_group_seek_request_decode(&message->params, &asked, &error);

    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
        return;
    }
    coordinator = sp_group_coordinator(broker, &request, asked.group, name);
    if (coordinator == NULL) {
        return;
    }
    topic = find_topic(broker, asked.topic, -1, asked.partition, &rv, &error);
    if (topic == NULL) {
        sp_request_fail(&request, rv, error.text);
        return;
    }
    commit = commit_new(&request, name, topic->partition_count);
    if (commit == NULL) {
        return;
    }
    commit->tells = true;
    if (fill_seek(broker, &asked, topic, commit) != 0) {
        sp_request_fail(&commit->request,
                        SPATE_ERR_UNSUPPORTED,
                        "this node has no replica of the partition: ask `offsets` of its leader, "
                        "then seek to the number");
        commit_free(commit);
        return;
    }
    submit(coordinator, commit, sp_bytes_null(), -1);
}
