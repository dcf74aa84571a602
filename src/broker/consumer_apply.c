/* Bytes to changes. A command that cannot be read is SPATE_ERR_CORRUPT: the leader made it. What
 * may have changed between its making and its turn is checked and answered alike everywhere. */
#include <string.h>

#include "base/mem.h"
#include "broker/consumer_parts.h"
#include "spate/error.h"

#define JOIN_FIELDS 11 /* one less without a rack */

/* One command as it is read. */
struct reading {
    struct sp_consumer_groups *groups;
    struct sp_cursor cursor;
    uint32_t fields; /* in all */
    struct sp_bytes name;
    int64_t now_ms;
};

/* ---- reading --------------------------------------------------------------------------------- */

/* The member that a command names; NULL when the group has none such. */
static struct sp_consumer_member *read_member(struct reading *reading,
                                              const struct sp_consumer_group *group)
{
    struct sp_bytes id = sp_cursor_text(&reading->cursor);

    return group == NULL ? NULL : sp_consumer_group_member(group, id);
}

/* It is used: by a member, or for an offset. */
static void note_use(const struct reading *reading, struct sp_consumer_group *group)
{
    group->changed_ms = reading->now_ms;
    group->index = reading->groups->index;
}

static int status_of(struct reading *reading)
{
    return sp_cursor_finish(&reading->cursor) == 0 ? 0 : SPATE_ERR_CORRUPT;
}

/* ---- join and leave -------------------------------------------------------------------------- */

/* Frees what the member must give up and reads no more: what is in `places`, or (`listed` false)
 * what is not. */
static void free_shares(struct sp_consumer_group *group,
                        const struct sp_consumer_member *member,
                        struct sp_cursor places,
                        bool listed)
{
    uint32_t numbers = sp_cursor_array(&places);

    for (uint32_t i = 0; i < numbers; i += 2) {
        uint64_t topic_id = sp_cursor_uint(&places, UINT64_MAX);
        uint32_t partition = (uint32_t)sp_cursor_uint(&places, UINT32_MAX);
        struct sp_consumer_share *share = sp_consumer_group_share(group, topic_id, partition);
        if (share != NULL) {
            share->marked = true;
        }
    }
    for (unsigned i = 0; i < group->share_count; i++) {
        struct sp_consumer_share *share = &group->shares[i];
        if (share->owner == member && share->target != member && share->marked == listed) {
            share->owner = NULL;
        }
        share->marked = false;
    }
}

/* Shares were freed: their targets get them. */
static void settle(struct sp_consumer_groups *groups, struct sp_consumer_group *group)
{
    unsigned before = group->share_count;

    sp_consumer_shares_settle(group);
    groups->bytes -= (size_t)(before - group->share_count) * SP_CONSUMER_SHARE_BYTES;
}

/* The places that follow, checked. */
static struct sp_cursor read_places(struct reading *reading)
{
    struct sp_cursor places = reading->cursor;
    uint32_t numbers = sp_cursor_array(&reading->cursor);

    if (numbers % 2 != 0 || numbers > 2 * SP_CONSUMER_PLACES_MAX) {
        sp_cursor_fail(&reading->cursor, SPATE_ERR_CORRUPT);
    }
    for (uint32_t i = 0; i < numbers; i++) {
        (void)sp_cursor_uint(&reading->cursor, i % 2 == 0 ? UINT64_MAX : UINT32_MAX);
    }
    return places;
}

struct joining {
    struct sp_consumer_member values; /* texts and times; no memory of its own */
    struct sp_bytes topics;
    struct sp_cursor owned;
};

static int read_join(struct reading *reading, struct joining *joining)
{
    struct sp_cursor *cursor = &reading->cursor;
    struct sp_consumer_member *values = &joining->values;

    sp_consumer_text_read(cursor, values->id, sizeof values->id);
    sp_consumer_text_read(cursor, values->instance, sizeof values->instance);
    sp_consumer_text_read(cursor, values->client, sizeof values->client);
    values->session_ms = (uint32_t)sp_cursor_uint(cursor, SP_CONSUMER_SESSION_MS_MAX);
    values->rebalance_ms = (uint32_t)sp_cursor_uint(cursor, SP_CONSUMER_SESSION_MS_MAX);
    joining->topics = sp_consumer_topics_read(cursor);
    joining->owned = read_places(reading);
    if (reading->fields == JOIN_FIELDS) {
        sp_consumer_text_read(cursor, values->rack, sizeof values->rack);
    }
    return values->id[0] == '\0' ? SPATE_ERR_CORRUPT : status_of(reading);
}

/* A member with its topics: known by its id, or by its instance, or new. */
static int enter(struct sp_consumer_groups *groups,
                 struct sp_consumer_group *group,
                 const struct joining *joining,
                 struct sp_consumer_member **out_member)
{
    const struct sp_consumer_member *values = &joining->values;
    struct sp_consumer_member *member = sp_consumer_group_member(group, sp_bytes_text(values->id));
    struct sp_consumer_member *holder =
        sp_consumer_group_instance(group, sp_bytes_text(values->instance));
    int rv = 0;

    if (member != NULL && holder != NULL && holder != member) {
        return SPATE_ERR_GROUP_FENCED; /* a newer process has taken this one's place */
    }
    if (member == NULL) {
        member = holder;
    }
    if (member == NULL) {
        rv = sp_consumer_member_add(groups, group, joining->topics, &member);
        group->version += rv == 0;
    } else if (!sp_bytes_equal(sp_bytes_of(member->topics, member->topics_size), joining->topics)) {
        rv = sp_consumer_member_subscribe(groups, member, joining->topics);
        group->version += 1;
    }
    *out_member = member;
    return rv;
}

static int apply_join(struct reading *reading, struct sp_consumer_group **out_group)
{
    struct joining joining = { 0 };
    struct sp_consumer_member *member;
    struct sp_consumer_group *group;
    int rv = read_join(reading, &joining);

    if (rv != 0) {
        return rv;
    }
    group = sp_consumer_groups_get(reading->groups, reading->name, &rv);
    if (group == NULL) {
        return rv;
    }
    *out_group = group;
    note_use(reading, group);
    rv = enter(reading->groups, group, &joining, &member);
    if (rv != 0) {
        return rv;
    }
    memcpy(member->id, joining.values.id, sizeof member->id);
    memcpy(member->instance, joining.values.instance, sizeof member->instance);
    memcpy(member->client, joining.values.client, sizeof member->client);
    memcpy(member->rack, joining.values.rack, sizeof member->rack);
    member->session_ms = joining.values.session_ms;
    member->rebalance_ms = joining.values.rebalance_ms;
    free_shares(group, member, joining.owned, false);
    settle(reading->groups, group);
    return 0;
}

static int apply_leave(struct reading *reading, struct sp_consumer_group *group)
{
    struct sp_consumer_member *member = read_member(reading, group);

    if (status_of(reading) != 0) {
        return SPATE_ERR_CORRUPT;
    }
    if (member == NULL) {
        return SPATE_ERR_UNKNOWN_MEMBER;
    }
    sp_consumer_member_remove(reading->groups, group, member);
    settle(reading->groups, group);
    group->version += 1;
    note_use(reading, group);
    return 0;
}

/* ---- assign and release ---------------------------------------------------------------------- */

static int apply_assign(struct reading *reading, struct sp_consumer_group *group)
{
    struct sp_cursor *cursor = &reading->cursor;
    uint64_t version = sp_cursor_uint(cursor, UINT64_MAX);
    struct sp_cursor targets = *cursor;
    unsigned target_count = sp_consumer_targets_check(cursor);
    struct sp_cursor gone = *cursor;
    uint32_t gone_count = sp_cursor_array(cursor);
    int rv;

    for (uint32_t i = 0; i < gone_count; i++) {
        (void)sp_cursor_uint(cursor, UINT64_MAX);
    }
    if (status_of(reading) != 0) {
        return SPATE_ERR_CORRUPT;
    }
    if (group == NULL) {
        return SPATE_ERR_NOT_FOUND;
    }
    if (version != group->version) {
        return SPATE_ERR_AGAIN;
    }
    if (!sp_consumer_group_has_room(reading->groups, group, target_count)) {
        return SPATE_ERR_BUSY;
    }
    rv = sp_consumer_targets_apply(reading->groups, group, targets, target_count);
    if (rv != 0) {
        return rv;
    }
    group->assigned = version;
    (void)sp_cursor_array(&gone); /* counted above */
    for (uint32_t i = 0; i < gone_count; i++) {
        sp_consumer_topic_forget(reading->groups, group, sp_cursor_uint(&gone, UINT64_MAX));
    }
    return 0;
}

static int apply_release(struct reading *reading, struct sp_consumer_group *group)
{
    struct sp_consumer_member *member = read_member(reading, group);
    int64_t generation = sp_cursor_int(&reading->cursor, 0, INT64_MAX);
    struct sp_cursor places = read_places(reading);

    if (status_of(reading) != 0) {
        return SPATE_ERR_CORRUPT;
    }
    if (member == NULL) {
        return SPATE_ERR_UNKNOWN_MEMBER;
    }
    if (generation == group->generation) { /* else it may have been given some back meanwhile */
        free_shares(group, member, places, true);
        settle(reading->groups, group);
    }
    return 0;
}

/* ---- offsets --------------------------------------------------------------------------------- */

void sp_consumer_commit_read(struct sp_cursor *cursor, struct sp_consumer_commit *commit)
{
    *commit = (struct sp_consumer_commit){ .metadata = sp_bytes_null() };
    commit->place.topic_id = sp_cursor_uint(cursor, UINT64_MAX);
    commit->place.partition = (uint32_t)sp_cursor_uint(cursor, UINT32_MAX);
    commit->offset = sp_cursor_int(cursor, 0, INT64_MAX);
    if (sp_cursor_nil(cursor)) {
        return;
    }
    commit->metadata = sp_cursor_text(cursor);
    if (commit->metadata.size > SP_CONSUMER_METADATA_SIZE_MAX ||
        (commit->metadata.size > 0 &&
         memchr(commit->metadata.bytes, 0, commit->metadata.size) != NULL)) {
        sp_cursor_fail(cursor, SPATE_ERR_CORRUPT);
    }
}

/* May this member (NULL: somebody outside) set the offset of that partition? */
static bool may_commit(const struct sp_consumer_group *group,
                       const struct sp_consumer_member *member,
                       int64_t generation,
                       const struct sp_consumer_place *place)
{
    const struct sp_consumer_share *share =
        group == NULL ? NULL : sp_consumer_group_share(group, place->topic_id, place->partition);

    if (share == NULL) {
        return member == NULL;
    }
    return share->owner == member &&
           (generation < 0 || (generation >= share->granted && generation <= group->generation));
}

/* The sizes of all metadata together, or what forbids the commit. */
static int check_commits(struct sp_cursor *cursor,
                         uint32_t count,
                         const struct sp_consumer_group *group,
                         const struct sp_consumer_member *member,
                         int64_t generation,
                         size_t *out_size)
{
    bool allowed = true;

    for (uint32_t i = 0; i < count && cursor->status == 0; i++) {
        struct sp_consumer_commit commit;
        sp_consumer_commit_read(cursor, &commit);
        allowed = allowed && may_commit(group, member, generation, &commit.place);
        *out_size += SP_CONSUMER_OFFSET_BYTES + commit.metadata.size;
    }
    return allowed ? 0 : SPATE_ERR_GROUP_FENCED;
}

static int apply_commit(struct reading *reading, struct sp_consumer_group **group)
{
    struct sp_cursor *cursor = &reading->cursor;
    bool outside = sp_cursor_nil(cursor);
    struct sp_consumer_member *member = outside ? NULL : read_member(reading, *group);
    int64_t generation = sp_cursor_int(cursor, -1, INT64_MAX);
    uint32_t values = sp_cursor_array(cursor);
    struct sp_cursor commits = *cursor;
    size_t size = 0;
    int rv = check_commits(cursor, values / 4, *group, member, generation, &size);

    if (values % 4 != 0 || status_of(reading) != 0) {
        return SPATE_ERR_CORRUPT;
    }
    if (!outside && member == NULL) {
        return SPATE_ERR_UNKNOWN_MEMBER;
    }
    if (rv == 0 &&
        (sp_consumer_groups_full(reading->groups, size) ||
         (*group != NULL && (*group)->offset_count + values / 4 > SP_CONSUMER_PLACES_MAX))) {
        rv = SPATE_ERR_BUSY;
    }
    if (rv != 0) {
        return rv;
    }
    *group = sp_consumer_groups_get(reading->groups, reading->name, &rv);
    for (uint32_t i = 0; i < values / 4 && rv == 0; i++) {
        struct sp_consumer_commit commit;
        sp_consumer_commit_read(&commits, &commit);
        rv = sp_consumer_offset_set(reading->groups, *group, &commit, reading->now_ms);
    }
    if (rv == 0) {
        note_use(reading, *group);
    }
    return rv;
}

static int apply_delete(struct reading *reading, struct sp_consumer_group **group)
{
    int64_t changed_ms = sp_cursor_int(&reading->cursor, -1, INT64_MAX);

    if (status_of(reading) != 0) {
        return SPATE_ERR_CORRUPT;
    }
    if (*group == NULL) {
        return SPATE_ERR_NOT_FOUND;
    }
    if ((*group)->member_count > 0) {
        return SPATE_ERR_BUSY;
    }
    if (changed_ms >= 0 && changed_ms != (*group)->changed_ms) {
        return SPATE_ERR_AGAIN;
    }
    sp_consumer_groups_remove(reading->groups, *group);
    *group = NULL;
    return 0;
}

/* ---- all ------------------------------------------------------------------------------------- */

static int apply_type(struct reading *reading, int64_t type, struct sp_consumer_group **group)
{
    switch (type) {
    case SP_CONSUMER_JOIN:
        return reading->fields == JOIN_FIELDS || reading->fields == JOIN_FIELDS - 1
                   ? apply_join(reading, group)
                   : SPATE_ERR_CORRUPT;
    case SP_CONSUMER_LEAVE:
        return reading->fields == 4 ? apply_leave(reading, *group) : SPATE_ERR_CORRUPT;
    case SP_CONSUMER_ASSIGN:
        return reading->fields == 6 ? apply_assign(reading, *group) : SPATE_ERR_CORRUPT;
    case SP_CONSUMER_RELEASE:
        return reading->fields == 6 ? apply_release(reading, *group) : SPATE_ERR_CORRUPT;
    case SP_CONSUMER_COMMIT:
        return reading->fields == 6 ? apply_commit(reading, group) : SPATE_ERR_CORRUPT;
    case SP_CONSUMER_DELETE:
        return reading->fields == 4 ? apply_delete(reading, group) : SPATE_ERR_CORRUPT;
    default: /* a newer build's */
        return SPATE_ERR_UNSUPPORTED;
    }
}

int sp_consumer_groups_apply(struct sp_consumer_groups *groups,
                             const uint8_t *command,
                             size_t size,
                             int64_t append_time_ms,
                             struct sp_consumer_group **out_group)
{
    struct reading reading = { .groups = groups,
                               .now_ms = append_time_ms < 0 ? 0 : append_time_ms };
    int64_t version;
    int64_t type;

    *out_group = NULL;
    sp_cursor_init(&reading.cursor, command, size);
    reading.fields = sp_cursor_array(&reading.cursor);
    version = sp_cursor_int(&reading.cursor, 0, INT64_MAX);
    type = sp_cursor_int(&reading.cursor, 0, INT64_MAX);
    reading.name = sp_cursor_text(&reading.cursor);
    if (reading.cursor.status == 0 && version != SP_CONSUMER_COMMAND_VERSION) {
        return SPATE_ERR_UNSUPPORTED;
    }
    if (reading.cursor.status != 0 || !sp_consumer_group_name_valid(reading.name)) {
        return SPATE_ERR_CORRUPT;
    }
    *out_group = sp_consumer_groups_find(groups, reading.name);
    return apply_type(&reading, type, out_group);
}
