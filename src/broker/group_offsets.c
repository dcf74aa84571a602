/* group.commit, group.seek: how far a consumer group has read. */
#include <stdio.h>
#include <string.h>

#include "broker/group_commit.h"
#include "spate/error.h"

/* ---- commit ---------------------------------------------------------------------------------- */

/* One that does not exist (any more) keeps nothing else from being stored. */
static int leave_out(struct sp_group_commit *commit, const struct sp_group_offset *offset, int code)
{
    struct sp_pack pack;

    sp_pack_init(&pack, &commit->refused);
    sp_pack_map(&pack, offset->topic_id < 0 ? 4 : 5);
    sp_pack_text(&pack, "topic");
    sp_pack_str(&pack, offset->topic);
    if (offset->topic_id >= 0) {
        sp_pack_text(&pack, "topic_id");
        sp_pack_int(&pack, offset->topic_id);
    }
    sp_pack_text(&pack, "partition");
    sp_pack_int(&pack, offset->partition);
    sp_pack_text(&pack, "offset");
    sp_pack_int(&pack, offset->offset);
    sp_pack_text(&pack, "error");
    sp_pack_text(&pack, spate_error_name(code));
    commit->refused_count += 1;
    return sp_pack_status(&pack);
}

static int read_offset(const struct sp_broker *broker,
                       struct sp_cursor *cursor,
                       bool partly,
                       struct sp_group_commit *commit,
                       struct sp_api_error *error)
{
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
    topic = sp_group_topic(broker, offset.topic, offset.topic_id, offset.partition, &rv, error);
    if (topic == NULL) {
        bool gone = rv == SPATE_ERR_UNKNOWN_TOPIC || rv == SPATE_ERR_UNKNOWN_PARTITION;
        if (partly && gone) {
            error->text[0] = '\0';
            rv = leave_out(commit, &offset, rv);
        }
        return rv;
    }
    commit->commits[commit->count++] = (struct sp_consumer_commit){
        .place = { topic->topic_id, (uint32_t)offset.partition },
        .offset = offset.offset,
        .metadata = offset.metadata,
    };
    return 0;
}

static int read_offsets(const struct sp_broker *broker,
                        struct sp_cursor *cursor,
                        uint32_t count,
                        bool partly,
                        struct sp_group_commit *commit,
                        struct sp_api_error *error)
{
    int rv = 0;

    for (uint32_t i = 0; i < count && rv == 0; i++) {
        rv = read_offset(broker, cursor, partly, commit, error);
    }
    if (rv == 0) {
        sp_request_charge(&commit->request, commit->refused.size);
    }
    return rv;
}

/* Does the member commit what it must give up and begin anew first? */
static bool is_left_over(const struct sp_coordinator *coordinator,
                         const struct sp_group_commit *commit,
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
    struct sp_group_commit *commit;
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
    commit = coordinator == NULL ? NULL : sp_group_commit_new(&request, name, count);
    if (commit == NULL) {
        return;
    }
    rv = read_offsets(broker, &cursor, count, asked.partly, commit, &error);
    if (rv != 0) {
        sp_request_fail(&commit->request, rv, error.text);
        sp_group_commit_free(commit);
        return;
    }
    if (is_left_over(coordinator, commit, asked.member)) {
        sp_group_commit_finish(coordinator, commit, SPATE_ERR_GROUP_FENCED, 0);
        return;
    }
    commit->seen = asked.seen;
    sp_group_commit_submit(coordinator, commit, asked.member, asked.generation);
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
                     struct sp_group_commit *commit)
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
    struct sp_group_commit *commit;
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
    topic = sp_group_topic(broker, asked.topic, -1, asked.partition, &rv, &error);
    if (topic == NULL) {
        sp_request_fail(&request, rv, error.text);
        return;
    }
    commit = sp_group_commit_new(&request, name, topic->partition_count);
    if (commit == NULL) {
        return;
    }
    commit->tells = true;
    if (fill_seek(broker, &asked, topic, commit) != 0) {
        sp_request_fail(&commit->request,
                        SPATE_ERR_UNSUPPORTED,
                        "this node has no replica of the partition: ask `offsets` of its leader, "
                        "then seek to the number");
        sp_group_commit_free(commit);
        return;
    }
    commit->seen = asked.seen;
    sp_group_commit_submit(coordinator, commit, sp_bytes_null(), -1);
}
