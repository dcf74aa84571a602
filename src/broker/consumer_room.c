/* What a leader takes into the log of what makes the state larger.
 *
 *   0                                     bound
 *   |---- everybody ----|-- members of known groups --|-- nobody --|
 *
 * Applying counts every commit as if all its offsets were new, and refuses what then goes beyond
 * the bound. That cannot change, since every build has to come to the same. So the leader keeps so
 * much free as the largest commit weighs, and whatever needs no room is never refused. A group is
 * known once it has offsets: its members may come back when newcomers are refused. */
#include <string.h>

#include "broker/consumer_parts.h"
#include "spate/error.h"

_Static_assert(SP_COORDINATOR_COMMIT_RESERVE >=
                   SP_CONSUMER_COMMAND_BYTES_MAX +
                       SP_CONSUMER_PARTITIONS_MAX * SP_CONSUMER_OFFSET_BYTES,
               "the metadata of a commit is in its command");

static bool is_known(const struct sp_consumer_group *group)
{
    return group != NULL && group->offset_count > 0;
}

static size_t above(size_t size, size_t before)
{
    return size > before ? size - before : 0;
}

static size_t join_growth(struct sp_cursor *cursor, const struct sp_consumer_group *group)
{
    const struct sp_consumer_member *member = NULL;
    struct sp_bytes id = sp_cursor_text(cursor);
    struct sp_bytes instance = sp_cursor_text(cursor);

    (void)sp_cursor_text(cursor); /* client */
    (void)sp_cursor_uint(cursor, SP_CONSUMER_SESSION_MS_MAX);
    (void)sp_cursor_uint(cursor, SP_CONSUMER_SESSION_MS_MAX);
    struct sp_bytes topics = sp_consumer_topics_read(cursor);
    if (group != NULL) {
        member = sp_consumer_group_member(group, id);
        member = member != NULL ? member : sp_consumer_group_instance(group, instance);
    }
    return member != NULL ? above(topics.size, member->topics_size)
                          : SP_CONSUMER_MEMBER_BYTES + topics.size;
}

static size_t assign_growth(struct sp_cursor *cursor, const struct sp_consumer_group *group)
{
    (void)sp_cursor_uint(cursor, UINT64_MAX); /* version */
    unsigned count = sp_consumer_targets_check(cursor);
    return above(count, group == NULL ? 0 : group->share_count) * SP_CONSUMER_SHARE_BYTES;
}

static size_t offset_growth(const struct sp_consumer_commit *commit,
                            const struct sp_consumer_group *group,
                            uint32_t *added)
{
    const struct sp_consumer_offset *before =
        group == NULL
            ? NULL
            : sp_consumer_group_offset(group, commit->place.topic_id, commit->place.partition);

    if (before == NULL) {
        *added += 1;
        return SP_CONSUMER_OFFSET_BYTES + commit->metadata.size;
    }
    return above(commit->metadata.size, before->metadata == NULL ? 0 : strlen(before->metadata));
}

/* SIZE_MAX: more offsets than a group may have, or so many that the same commit would not be taken
 * once more. */
static size_t commit_growth(struct sp_cursor *cursor, const struct sp_consumer_group *group)
{
    uint32_t added = 0;
    size_t growth = 0;

    if (!sp_cursor_nil(cursor)) {
        (void)sp_cursor_text(cursor); /* member */
    }
    (void)sp_cursor_int(cursor, -1, INT64_MAX); /* generation */
    uint32_t count = sp_cursor_array(cursor) / 4;
    for (uint32_t i = 0; i < count && cursor->status == 0; i++) {
        struct sp_consumer_commit commit;
        sp_consumer_commit_read(cursor, &commit);
        growth += offset_growth(&commit, group, &added);
    }
    uint32_t before = group == NULL ? 0 : group->offset_count;
    return added > 0 && before + added + count > SP_CONSUMER_PLACES_MAX ? SIZE_MAX : growth;
}

static size_t
growth_of(struct sp_cursor *cursor, int64_t type, const struct sp_consumer_group *group)
{
    switch (type) {
    case SP_CONSUMER_JOIN:
        return join_growth(cursor, group);
    case SP_CONSUMER_ASSIGN:
        return assign_growth(cursor, group);
    case SP_CONSUMER_COMMIT:
        return commit_growth(cursor, group);
    default: /* the others take away */
        return 0;
    }
}

int sp_consumer_groups_admit(const struct sp_consumer_groups *groups,
                             struct sp_bytes command,
                             size_t coming,
                             size_t *out_growth)
{
    struct sp_cursor cursor = sp_cursor_of(command);
    size_t room = SP_COORDINATOR_BYTES_MAX - SP_COORDINATOR_COMMIT_RESERVE;

    (void)sp_cursor_array(&cursor);
    (void)sp_cursor_int(&cursor, SP_CONSUMER_COMMAND_VERSION, SP_CONSUMER_COMMAND_VERSION);
    int64_t type = sp_cursor_int(&cursor, 0, INT64_MAX);
    const struct sp_consumer_group *group =
        sp_consumer_groups_find(groups, sp_cursor_text(&cursor));
    size_t growth = growth_of(&cursor, type, group);
    if (sp_cursor_status(&cursor) != 0) {
        return SPATE_ERR_CORRUPT;
    }
    bool made = group == NULL && (growth > 0 || type == SP_CONSUMER_COMMIT); /* even an empty one */
    if (made && growth < SIZE_MAX) {
        growth += SP_CONSUMER_GROUP_BYTES;
    }
    if (!is_known(group) || type == SP_CONSUMER_COMMIT) {
        room -= SP_COORDINATOR_MEMBER_RESERVE;
    }
    if (growth > 0 && (groups->bytes + coming > room || growth > room - groups->bytes - coming)) {
        return SPATE_ERR_BUSY;
    }
    *out_growth = growth;
    return 0;
}
