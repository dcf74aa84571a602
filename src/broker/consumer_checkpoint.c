/* The whole state to bytes and back.
 *
 *   [version = 2, [group, ...]]                    in order of creation
 *   group:  [name, generation, version, assigned, changed_ms, [member, ...], [share, ...],
 *            [offset, ...]]
 *   member: [id, instance, client, session_ms, rebalance_ms, [topic, ...], rack]
 *   share:  [topic id, partition, owner, target or -1, granted]       members by position
 *   offset: [topic id, partition, offset, commit_ms, metadata or nil]
 *
 * In version 1 members had no rack; it is read still.
 *
 * The bytes come from a disk or a peer, so nothing in them is believed. */
#include <string.h>

#include "base/mem.h"
#include "broker/consumer_parts.h"
#include "spate/error.h"
#include "wire/pack.h"

#define CHECKPOINT_VERSION 2
#define CHECKPOINT_VERSION_MIN 1
#define MEMBER_FIELDS 7 /* one less in version 1 */

/* ---- packing --------------------------------------------------------------------------------- */

static void pack_member(struct sp_pack *pack, const struct sp_consumer_member *member)
{
    sp_pack_array(pack, MEMBER_FIELDS);
    sp_pack_text(pack, member->id);
    sp_pack_text(pack, member->instance);
    sp_pack_text(pack, member->client);
    sp_pack_uint(pack, member->session_ms);
    sp_pack_uint(pack, member->rebalance_ms);
    sp_pack_raw(pack, sp_bytes_of(member->topics, member->topics_size));
    sp_pack_text(pack, member->rack);
}

static int64_t position_of(const struct sp_consumer_group *group,
                           const struct sp_consumer_member *member)
{
    for (unsigned i = 0; i < group->member_count; i++) {
        if (group->members[i] == member) {
            return i;
        }
    }
    return -1;
}

static void pack_group(struct sp_pack *pack, const struct sp_consumer_group *group)
{
    sp_pack_array(pack, 8);
    sp_pack_text(pack, group->name);
    sp_pack_int(pack, group->generation);
    sp_pack_uint(pack, group->version);
    sp_pack_uint(pack, group->assigned);
    sp_pack_int(pack, group->changed_ms);
    sp_pack_array(pack, group->member_count);
    for (unsigned i = 0; i < group->member_count; i++) {
        pack_member(pack, group->members[i]);
    }
    sp_pack_array(pack, group->share_count);
    for (unsigned i = 0; i < group->share_count; i++) {
        const struct sp_consumer_share *share = &group->shares[i];
        sp_pack_array(pack, 5);
        sp_pack_uint(pack, share->topic_id);
        sp_pack_uint(pack, share->partition);
        sp_pack_int(pack, position_of(group, share->owner));
        sp_pack_int(pack, position_of(group, share->target));
        sp_pack_int(pack, share->granted);
    }
    sp_pack_array(pack, group->offset_count);
    for (unsigned i = 0; i < group->offset_count; i++) {
        const struct sp_consumer_offset *offset = &group->offsets[i];
        sp_pack_array(pack, 5);
        sp_pack_uint(pack, offset->topic_id);
        sp_pack_uint(pack, offset->partition);
        sp_pack_int(pack, offset->offset);
        sp_pack_int(pack, offset->commit_ms);
        sp_pack_text(pack, offset->metadata);
    }
}

int sp_consumer_groups_checkpoint(const struct sp_consumer_groups *groups, struct sp_buf *out)
{
    struct sp_map_cursor cursor = { 0 };
    const struct sp_consumer_group *group;
    struct sp_pack pack;

    sp_pack_init(&pack, out);
    sp_pack_array(&pack, 2);
    sp_pack_int(&pack, CHECKPOINT_VERSION);
    sp_pack_array(&pack, sp_map_count(groups->by_name));
    while ((group = sp_map_next(groups->by_name, &cursor)) != NULL) {
        pack_group(&pack, group);
    }
    return sp_pack_status(&pack);
}

/* ---- restoring ------------------------------------------------------------------------------- */

static int status_of(const struct sp_cursor *cursor)
{
    return sp_cursor_status(cursor) == 0 ? 0 : SPATE_ERR_CORRUPT;
}

static int restore_member(struct sp_consumer_groups *groups,
                          struct sp_consumer_group *group,
                          struct sp_cursor *cursor)
{
    struct sp_consumer_member values = { 0 };
    struct sp_consumer_member *member;
    uint32_t fields = sp_cursor_array(cursor);
    int rv;

    sp_consumer_text_read(cursor, values.id, sizeof values.id);
    sp_consumer_text_read(cursor, values.instance, sizeof values.instance);
    sp_consumer_text_read(cursor, values.client, sizeof values.client);
    values.session_ms = (uint32_t)sp_cursor_uint(cursor, SP_CONSUMER_SESSION_MS_MAX);
    values.rebalance_ms = (uint32_t)sp_cursor_uint(cursor, SP_CONSUMER_SESSION_MS_MAX);
    struct sp_bytes topics = sp_consumer_topics_read(cursor);
    if (fields == MEMBER_FIELDS) {
        sp_consumer_text_read(cursor, values.rack, sizeof values.rack);
    }
    if ((fields != MEMBER_FIELDS && fields != MEMBER_FIELDS - 1) || status_of(cursor) != 0 ||
        sp_consumer_group_member(group, sp_bytes_text(values.id)) != NULL ||
        sp_consumer_group_instance(group, sp_bytes_text(values.instance)) != NULL) {
        return SPATE_ERR_CORRUPT;
    }
    rv = sp_consumer_member_add(groups, group, topics, &member);
    if (rv != 0) {
        return rv == SPATE_ERR_BUSY ? SPATE_ERR_CORRUPT : rv;
    }
    values.topics = member->topics;
    values.topics_size = member->topics_size;
    *member = values;
    return 0;
}

static int restore_share(const struct sp_consumer_group *group,
                         struct sp_cursor *cursor,
                         const struct sp_consumer_share *last,
                         struct sp_consumer_share *share)
{
    uint32_t fields = sp_cursor_array(cursor);

    share->topic_id = sp_cursor_uint(cursor, UINT64_MAX);
    share->partition = (uint32_t)sp_cursor_uint(cursor, UINT32_MAX);
    int64_t owner = sp_cursor_int(cursor, 0, (int64_t)group->member_count - 1);
    int64_t target = sp_cursor_int(cursor, -1, (int64_t)group->member_count - 1);
    share->granted = sp_cursor_int(cursor, 0, INT64_MAX);
    if (fields != 5 || status_of(cursor) != 0 ||
        (last != NULL &&
         sp_consumer_place_compare(
             last->topic_id, last->partition, share->topic_id, share->partition) >= 0)) {
        return SPATE_ERR_CORRUPT;
    }
    share->owner = group->members[owner];
    share->target = target < 0 ? NULL : group->members[target];
    return 0;
}

static int restore_shares(struct sp_consumer_groups *groups,
                          struct sp_consumer_group *group,
                          struct sp_cursor *cursor)
{
    uint32_t count = sp_cursor_array(cursor);
    struct sp_consumer_share *shares;
    int rv = 0;

    if (count > 0 && group->member_count == 0) {
        return SPATE_ERR_CORRUPT; /* who would own them? */
    }
    shares = sp_mem_calloc(count + 1, sizeof *shares);
    if (shares == NULL) {
        return SPATE_ERR_NOMEM;
    }
    for (uint32_t i = 0; i < count && rv == 0; i++) {
        rv = restore_share(group, cursor, i == 0 ? NULL : &shares[i - 1], &shares[i]);
    }
    if (rv != 0) {
        sp_mem_free(shares);
        return rv;
    }
    sp_consumer_shares_replace(groups, group, shares, count);
    return 0;
}

static int restore_offset(struct sp_consumer_groups *groups,
                          struct sp_consumer_group *group,
                          struct sp_cursor *cursor)
{
    struct sp_consumer_commit commit = { .metadata = sp_bytes_null() };
    uint32_t fields = sp_cursor_array(cursor);
    int64_t commit_ms;
    char metadata[SP_CONSUMER_METADATA_SIZE_MAX + 1];

    commit.place.topic_id = sp_cursor_uint(cursor, UINT64_MAX);
    commit.place.partition = (uint32_t)sp_cursor_uint(cursor, UINT32_MAX);
    commit.offset = sp_cursor_int(cursor, 0, INT64_MAX);
    commit_ms = sp_cursor_int(cursor, 0, INT64_MAX);
    if (!sp_cursor_nil(cursor)) {
        sp_consumer_text_read(cursor, metadata, sizeof metadata);
        commit.metadata = sp_bytes_text(metadata);
    }
    if (fields != 5 || status_of(cursor) != 0) {
        return SPATE_ERR_CORRUPT;
    }
    if (group->offset_count > 0) {
        const struct sp_consumer_offset *last = &group->offsets[group->offset_count - 1];
        if (sp_consumer_place_compare(
                last->topic_id, last->partition, commit.place.topic_id, commit.place.partition) >=
            0) {
            return SPATE_ERR_CORRUPT;
        }
    }
    return sp_consumer_offset_set(groups, group, &commit, commit_ms);
}

static int restore_group(struct sp_consumer_groups *groups, struct sp_cursor *cursor)
{
    uint32_t fields = sp_cursor_array(cursor);
    struct sp_bytes name = sp_cursor_text(cursor);
    struct sp_consumer_group *group;
    int rv = SPATE_ERR_CORRUPT;

    if (fields != 8 || !sp_consumer_group_name_valid(name) ||
        sp_consumer_groups_find(groups, name) != NULL) {
        return SPATE_ERR_CORRUPT;
    }
    group = sp_consumer_groups_get(groups, name, &rv);
    if (group == NULL) {
        return rv == SPATE_ERR_BUSY ? SPATE_ERR_CORRUPT : rv;
    }
    group->generation = sp_cursor_int(cursor, 0, INT64_MAX);
    group->version = sp_cursor_uint(cursor, UINT64_MAX);
    group->assigned = sp_cursor_uint(cursor, UINT64_MAX);
    group->changed_ms = sp_cursor_int(cursor, 0, INT64_MAX);
    uint32_t count = sp_cursor_array(cursor);
    rv = status_of(cursor);
    for (uint32_t i = 0; i < count && rv == 0; i++) {
        rv = restore_member(groups, group, cursor);
    }
    if (rv == 0) {
        rv = restore_shares(groups, group, cursor);
    }
    count = sp_cursor_array(cursor);
    for (uint32_t i = 0; i < count && rv == 0; i++) {
        rv = restore_offset(groups, group, cursor);
    }
    return rv == 0 ? status_of(cursor) : rv;
}

int sp_consumer_groups_restore(struct sp_consumer_groups *groups, const uint8_t *bytes, size_t size)
{
    struct sp_cursor cursor;
    int rv = 0;

    sp_consumer_groups_clear(groups);
    groups->floor_unknown = true;
    if (size == 0) {
        return 0;
    }
    sp_cursor_init(&cursor, bytes, size);
    if (sp_cursor_array(&cursor) != 2 ||
        sp_cursor_int(&cursor, CHECKPOINT_VERSION_MIN, CHECKPOINT_VERSION) == 0) {
        return SPATE_ERR_CORRUPT;
    }
    uint32_t count = sp_cursor_array(&cursor);
    groups->restoring = true;
    for (uint32_t i = 0; i < count && rv == 0; i++) {
        rv = restore_group(groups, &cursor);
    }
    groups->restoring = false;
    if (rv == 0 && sp_cursor_finish(&cursor) != 0) {
        rv = SPATE_ERR_CORRUPT;
    }
    if (rv != 0) {
        sp_consumer_groups_clear(groups);
    }
    return rv;
}
