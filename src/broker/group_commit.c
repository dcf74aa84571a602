#include "broker/group_commit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "spate/error.h"

void sp_group_commit_free(struct sp_group_commit *commit)
{
    sp_buf_deinit(&commit->refused);
    sp_mem_free(commit->commits);
    sp_mem_free(commit);
}

struct sp_group_commit *
sp_group_commit_new(struct sp_request *request, const char *group, size_t count)
{
    struct sp_group_commit *commit = sp_mem_calloc(1, sizeof *commit);

    if (commit != NULL) {
        commit->commits = sp_mem_calloc(count + 1, sizeof *commit->commits);
    }
    if (commit == NULL || commit->commits == NULL) {
        sp_mem_free(commit);
        sp_request_fail(request, SPATE_ERR_NOMEM, NULL);
        return NULL;
    }
    commit->request = *request;
    commit->seen = -1;
    sp_buf_init(&commit->refused, SP_MESSAGE_BYTES_MAX);
    (void)snprintf(commit->group, sizeof commit->group, "%s", group);
    return commit;
}

/* ---- answering ------------------------------------------------------------------------------- */

static void pack_offsets(const struct sp_coordinator *coordinator,
                         const struct sp_group_commit *commit,
                         struct sp_pack *pack)
{
    const struct sp_state *state = sp_controller_state(coordinator->broker->options.controller);

    sp_pack_text(pack, "offsets");
    sp_pack_array(pack, commit->count);
    for (unsigned i = 0; i < commit->count; i++) {
        const struct sp_consumer_commit *each = &commit->commits[i];
        const struct sp_state_topic *topic = sp_state_topic_by_id(state, each->place.topic_id);
        sp_pack_map(pack, 3);
        sp_pack_text(pack, "topic");
        sp_pack_text(pack, topic == NULL ? "" : topic->name);
        sp_pack_text(pack, "partition");
        sp_pack_uint(pack, each->place.partition);
        sp_pack_text(pack, "offset");
        sp_pack_int(pack, each->offset);
    }
}

static void answer(const struct sp_coordinator *coordinator,
                   struct sp_group_commit *commit,
                   bool stored,
                   uint64_t index)
{
    bool sees = commit->seen >= 0;
    bool tells = commit->tells && stored;
    bool refuses = commit->refused_count > 0 && stored;
    struct sp_buf buf;
    struct sp_pack pack;

    sp_request_begin(&commit->request, &buf, &pack);
    sp_pack_map(&pack, (sees ? 2U : 0U) + (tells ? 1U : 0U) + (refuses ? 1U : 0U));
    if (sees) {
        sp_pack_text(&pack, "stored"); /* also when it is: for people */
        sp_pack_bool(&pack, stored);
        sp_pack_text(&pack, "seen");
        sp_pack_uint(&pack, index);
    }
    if (tells) {
        pack_offsets(coordinator, commit, &pack);
    }
    if (refuses) {
        sp_pack_text(&pack, "refused");
        sp_pack_array(&pack, commit->refused_count);
        sp_pack_raw(&pack, sp_bytes_of(commit->refused.bytes, commit->refused.size));
    }
    sp_request_finish(&commit->request, &buf, &pack, NULL, 0);
}

void sp_group_commit_finish(struct sp_coordinator *coordinator,
                            struct sp_group_commit *commit,
                            int code,
                            uint64_t index)
{
    if (code == SPATE_ERR_NOT_LEADER || code == SPATE_ERR_NOT_READY) {
        sp_group_not_leader(coordinator, &commit->request);
    } else if (code != 0) {
        sp_group_fail(&commit->request, code, commit->group);
    } else {
        answer(coordinator, commit, true, index);
    }
    sp_group_commit_free(commit);
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

static int compare_places(const void *left_pointer, const void *right_pointer)
{
    const struct sp_consumer_commit *left = left_pointer;
    const struct sp_consumer_commit *right = right_pointer;

    return sp_consumer_place_compare(
        left->place.topic_id, left->place.partition, right->place.topic_id, right->place.partition);
}

/* Do they set an offset of the same partition? Both are in order. */
static bool overlap(const struct sp_group_commit *left, const struct sp_group_commit *right)
{
    unsigned i = 0;
    unsigned j = 0;

    while (i < left->count && j < right->count) {
        int order = compare_places(&left->commits[i], &right->commits[j]);
        if (order == 0) {
            return true;
        }
        i += order < 0 ? 1 : 0;
        j += order > 0 ? 1 : 0;
    }
    return false;
}

static void on_done(struct sp_coordinator_job *job, int status)
{
    struct sp_group_commit *commit = SP_CONTAINER_OF(job, struct sp_group_commit, job);

    sp_group_commit_finish(
        job->coordinator, commit, status != 0 ? status : job->answer, job->submit.index);
}

/* Is a command on its way that sets one of the offsets, or takes the group away? */
static bool is_overtaken(const struct sp_coordinator *coordinator,
                         const struct sp_group_commit *commit)
{
    SP_LIST_EACH (node, &coordinator->jobs) {
        struct sp_coordinator_job *job = SP_LIST_ENTRY(node, struct sp_coordinator_job, node);
        if (strcmp(job->group, commit->group) != 0) {
            continue;
        }
        if (job->ends || (job->done == on_done &&
                          overlap(commit, SP_CONTAINER_OF(job, struct sp_group_commit, job)))) {
            return true;
        }
    }
    return false;
}

/* Was one of the offsets set, or will be, behind what its sender has seen? */
static bool is_late(const struct sp_coordinator *coordinator,
                    const struct sp_group_commit *commit,
                    const struct sp_consumer_group *group,
                    uint64_t applied)
{
    bool late = is_overtaken(coordinator, commit);

    for (unsigned i = 0; i < commit->count && !late; i++) {
        const struct sp_consumer_place *place = &commit->commits[i].place;
        uint64_t changed = sp_consumer_offset_changed(
            coordinator->groups, group, place->topic_id, place->partition, applied);
        late = changed > (uint64_t)commit->seen;
    }
    return late;
}

/* ---- submitting ------------------------------------------------------------------------------ */

/* Is there no such group, or none any more when this commit is applied? */
static bool is_gone(const struct sp_coordinator *coordinator,
                    const struct sp_group_commit *commit,
                    const struct sp_consumer_group *group)
{
    bool gone = group == NULL;

    SP_LIST_EACH (node, &coordinator->jobs) {
        struct sp_coordinator_job *job = SP_LIST_ENTRY(node, struct sp_coordinator_job, node);
        if ((job->ends || job->done == on_done) && strcmp(job->group, commit->group) == 0) {
            gone = job->ends;
        }
    }
    return gone;
}

void sp_group_commit_submit(struct sp_coordinator *coordinator,
                            struct sp_group_commit *commit,
                            struct sp_bytes member,
                            int64_t generation)
{
    const struct sp_consumer_group *group =
        sp_consumer_groups_find(coordinator->groups, sp_bytes_text(commit->group));
    struct sp_raft_group_status status;
    struct sp_buf command;
    int rv;

    sp_raft_group_status(coordinator->group, &status);
    if (commit->count == 0 && is_gone(coordinator, commit, group)) {
        rv = member.bytes == NULL ? SPATE_ERR_NOT_FOUND : SPATE_ERR_UNKNOWN_MEMBER;
        rv = commit->refused_count > 0 ? 0 : rv;
        sp_group_commit_finish(coordinator, commit, rv, status.applied_index);
        return;
    }
    sp_buf_init(&command, SP_CONSUMER_COMMAND_BYTES_MAX);
    rv = sp_consumer_command_commit(
        sp_bytes_text(commit->group), member, generation, commit->commits, commit->count, &command);
    /* In the command they are as they were sent: of two for one partition the last one counts. */
    qsort(commit->commits, commit->count, sizeof commit->commits[0], compare_places);
    if (rv == 0 && commit->seen >= 0 && is_late(coordinator, commit, group, status.applied_index)) {
        answer(coordinator, commit, false, status.applied_index);
        sp_group_commit_free(commit);
        sp_buf_deinit(&command);
        return;
    }
    commit->job.done = on_done;
    rv = sp_coordinator_submit(coordinator, &commit->job, commit->group, rv, &command);
    if (rv != 0) {
        sp_group_commit_finish(coordinator, commit, rv, 0);
    }
}

/* ---- topics ---------------------------------------------------------------------------------- */

const struct sp_state_topic *sp_group_topic(const struct sp_broker *broker,
                                            struct sp_bytes name,
                                            int64_t topic_id,
                                            int32_t partition,
                                            int *out_code,
                                            struct sp_api_error *error)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    const struct sp_state_topic *topic = NULL;
    char text[SP_TOPIC_NAME_SIZE_MAX + 1] = "";

    if (sp_broker_copy_text(name, text, sizeof text) && !sp_state_is_internal(text)) {
        topic = sp_state_topic(state, text);
    }
    if (topic == NULL) {
        /* Of a topic whose id was given out here, its end was seen as well. */
        bool known = topic_id < 0 ? sp_controller_is_current(broker->options.controller)
                                  : (uint64_t)topic_id < sp_state_next_topic_id(state);
        *out_code = known ? SPATE_ERR_UNKNOWN_TOPIC : SPATE_ERR_NOT_READY;
        (void)snprintf(error->text, sizeof error->text, SP_NO_TOPIC_TEXT, text);
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
