/* group.committed: the offsets that a consumer group has stored.
 *
 * They need not fit into one answer: a group has up to SP_CONSUMER_PARTITIONS_MAX, each with
 * metadata. Those of one topic always do. */
#include "broker/group_methods.h"
#include "spate/error.h"

/* Names, numbers and the frame of one offset in the answer, without topic and metadata. */
#define ROW_BYTES_MAX 80

_Static_assert((uint64_t)SP_PARTITIONS_PER_TOPIC_MAX *(ROW_BYTES_MAX + SP_TOPIC_NAME_SIZE_MAX +
                                                       SP_CONSUMER_METADATA_SIZE_MAX) <
                   SP_MESSAGE_BYTES_MAX,
               "the offsets of one topic fit into an answer");

static bool named(struct sp_bytes topics, const char *name)
{
    struct sp_cursor cursor = sp_cursor_of(topics);
    uint32_t count = topics.bytes == NULL ? 0 : sp_cursor_array(&cursor);

    for (uint32_t i = 0; i < count; i++) {
        if (sp_bytes_equal_text(sp_cursor_text(&cursor), name)) {
            return true;
        }
    }
    return topics.bytes == NULL;
}

static void pack_committed(struct sp_pack *pack,
                           const struct sp_state_topic *topic,
                           const struct sp_consumer_offset *offset)
{
    sp_pack_map(pack, offset->metadata == NULL ? 4 : 5);
    sp_group_partition_pack(pack, topic, offset->partition);
    sp_pack_text(pack, "offset");
    sp_pack_int(pack, offset->offset);
    sp_pack_text(pack, "committed_ms");
    sp_pack_int(pack, offset->commit_ms);
    if (offset->metadata != NULL) {
        sp_pack_text(pack, "metadata");
        sp_pack_text(pack, offset->metadata);
    }
}

/* The offsets of the topics asked for, packed (`pack` given) or counted. */
static unsigned each_committed(const struct sp_state *state,
                               const struct sp_consumer_group *group,
                               struct sp_bytes topics,
                               struct sp_pack *pack)
{
    const struct sp_state_topic *topic = NULL;
    bool wanted = false;
    unsigned count = 0;

    for (unsigned i = 0; group != NULL && i < group->offset_count; i++) {
        const struct sp_consumer_offset *offset = &group->offsets[i];
        if (i == 0 || offset->topic_id != group->offsets[i - 1].topic_id) {
            topic = sp_state_topic_by_id(state, offset->topic_id);
            wanted = topic != NULL && named(topics, topic->name);
        }
        if (wanted && pack != NULL) {
            pack_committed(pack, topic, offset);
        }
        count += wanted;
    }
    return count;
}

void sp_group_committed_pack(const struct sp_state *state,
                             const struct sp_consumer_group *group,
                             struct sp_bytes topics,
                             struct sp_pack *pack)
{
    sp_pack_map(pack, 1);
    sp_pack_text(pack, "offsets");
    sp_pack_array(pack, each_committed(state, group, topics, NULL));
    (void)each_committed(state, group, topics, pack);
}

void sp_method_group_committed(struct sp_broker *broker,
                               struct sp_request request,
                               const struct sp_message *message)
{
    struct sp_group_committed_request asked;
    struct sp_coordinator *coordinator;
    const struct sp_consumer_group *group;
    struct sp_api_error error;
    struct sp_buf buf;
    struct sp_pack pack;
    char name[SP_CONSUMER_GROUP_NAME_SIZE_MAX + 1];
    int rv = sp_group_committed_request_decode(&message->params, &asked, &error);

    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
        return;
    }
    coordinator = sp_group_current_coordinator(broker, &request, message, asked.group, name);
    if (coordinator == NULL) {
        return;
    }
    group = sp_consumer_groups_find(coordinator->groups, asked.group);
    sp_request_begin(&request, &buf, &pack);
    sp_group_committed_pack(
        sp_controller_state(broker->options.controller), group, asked.topics, &pack);
    if (sp_pack_status(&pack) == SPATE_ERR_TOO_LARGE) {
        sp_buf_deinit(&buf);
        sp_request_fail(&request,
                        SPATE_ERR_TOO_LARGE,
                        "group.committed: the offsets with their metadata do not fit into one "
                        "answer: ask with `topics` for one topic at a time");
        return;
    }
    sp_request_finish(&request, &buf, &pack, NULL, 0);
}
