#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "broker/consumer_parts.h"
#include "spate/error.h"

/* ---- groups ---------------------------------------------------------------------------------- */

struct sp_consumer_groups *sp_consumer_groups_new(void)
{
    struct sp_consumer_groups *groups = sp_mem_calloc(1, sizeof *groups);

    if (groups == NULL) {
        return NULL;
    }
    groups->by_name = sp_map_new();
    if (groups->by_name == NULL) {
        sp_mem_free(groups);
        return NULL;
    }
    return groups;
}

static void member_free(struct sp_consumer_member *member)
{
    sp_mem_free(member->topics);
    sp_mem_free(member);
}

static void group_free(struct sp_consumer_group *group)
{
    SP_ASSERT(sp_list_empty(&group->waiters));
    for (unsigned i = 0; i < group->member_count; i++) {
        member_free(group->members[i]);
    }
    for (unsigned i = 0; i < group->offset_count; i++) {
        sp_mem_free(group->offsets[i].metadata);
    }
    sp_list_remove(&group->touched);
    sp_mem_free(group->members);
    sp_mem_free(group->shares);
    sp_mem_free(group->offsets);
    sp_mem_free(group);
}

void sp_consumer_groups_clear(struct sp_consumer_groups *groups)
{
    struct sp_map_cursor cursor = { 0 };
    struct sp_consumer_group *group;

    while ((group = sp_map_next(groups->by_name, &cursor)) != NULL) {
        (void)sp_map_remove(groups->by_name, group->name, strlen(group->name)); /* it is there */
        group_free(group);
    }
    groups->bytes = 0;
}

void sp_consumer_groups_free(struct sp_consumer_groups *groups)
{
    if (groups == NULL) {
        return;
    }
    sp_consumer_groups_clear(groups);
    sp_map_free(groups->by_name);
    sp_mem_free(groups);
}

void sp_consumer_groups_at(struct sp_consumer_groups *groups, uint64_t index)
{
    groups->index = index;
}

bool sp_consumer_groups_full(const struct sp_consumer_groups *groups, size_t size)
{
    return !groups->restoring && groups->bytes + size > SP_COORDINATOR_BYTES_MAX;
}

struct sp_consumer_group *
sp_consumer_groups_get(struct sp_consumer_groups *groups, struct sp_bytes name, int *out_code)
{
    struct sp_consumer_group *group = sp_consumer_groups_find(groups, name);

    *out_code = 0;
    if (group != NULL) {
        return group;
    }
    *out_code = SPATE_ERR_BUSY;
    if (sp_map_count(groups->by_name) >= SP_CONSUMER_GROUPS_MAX ||
        sp_consumer_groups_full(groups, SP_CONSUMER_GROUP_BYTES)) {
        return NULL;
    }
    *out_code = SPATE_ERR_NOMEM;
    group = sp_mem_calloc(1, sizeof *group);
    if (group == NULL) {
        return NULL;
    }
    memcpy(group->name, name.bytes, name.size);
    sp_list_init(&group->touched);
    sp_list_init(&group->waiters);
    if (sp_map_put(groups->by_name, name.bytes, name.size, group) != 0) {
        group_free(group);
        return NULL;
    }
    groups->bytes += SP_CONSUMER_GROUP_BYTES;
    *out_code = 0;
    return group;
}

void sp_consumer_groups_remove(struct sp_consumer_groups *groups, struct sp_consumer_group *group)
{
    SP_ASSERT(group->member_count == 0);
    groups->floor_index = groups->index > groups->floor_index ? groups->index : groups->floor_index;
    for (unsigned i = 0; i < group->offset_count; i++) {
        const char *metadata = group->offsets[i].metadata;
        groups->bytes -= SP_CONSUMER_OFFSET_BYTES + (metadata == NULL ? 0 : strlen(metadata));
    }
    groups->bytes -= SP_CONSUMER_GROUP_BYTES + group->share_count * SP_CONSUMER_SHARE_BYTES;
    (void)sp_map_remove(groups->by_name, group->name, strlen(group->name)); /* this group */
    group_free(group);
}

/* ---- looking --------------------------------------------------------------------------------- */

struct sp_consumer_group *sp_consumer_groups_find(const struct sp_consumer_groups *groups,
                                                  struct sp_bytes name)
{
    return name.bytes == NULL ? NULL : sp_map_get(groups->by_name, name.bytes, name.size);
}

struct sp_consumer_group *sp_consumer_groups_next(const struct sp_consumer_groups *groups,
                                                  struct sp_map_cursor *cursor)
{
    return sp_map_next(groups->by_name, cursor);
}

unsigned sp_consumer_groups_count(const struct sp_consumer_groups *groups)
{
    return (unsigned)sp_map_count(groups->by_name);
}

struct sp_consumer_member *sp_consumer_group_member(const struct sp_consumer_group *group,
                                                    struct sp_bytes id)
{
    for (unsigned i = 0; i < group->member_count; i++) {
        if (sp_bytes_equal_text(id, group->members[i]->id)) {
            return group->members[i];
        }
    }
    return NULL;
}

struct sp_consumer_member *sp_consumer_group_instance(const struct sp_consumer_group *group,
                                                      struct sp_bytes instance)
{
    for (unsigned i = 0; i < group->member_count && instance.size > 0; i++) {
        if (sp_bytes_equal_text(instance, group->members[i]->instance)) {
            return group->members[i];
        }
    }
    return NULL;
}

int sp_consumer_place_compare(uint64_t left_topic,
                              uint32_t left_partition,
                              uint64_t right_topic,
                              uint32_t right_partition)
{
    if (left_topic != right_topic) {
        return left_topic < right_topic ? -1 : 1;
    }
    return left_partition < right_partition ? -1 : left_partition > right_partition;
}

struct sp_consumer_share *sp_consumer_group_share(const struct sp_consumer_group *group,
                                                  uint64_t topic_id,
                                                  uint32_t partition)
{
    unsigned low = 0;
    unsigned high = group->share_count;

    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        struct sp_consumer_share *share = &group->shares[middle];
        int order =
            sp_consumer_place_compare(share->topic_id, share->partition, topic_id, partition);
        if (order == 0) {
            return share;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

/* Where the offset of a partition is, or would be. */
static unsigned
offset_slot(const struct sp_consumer_group *group, uint64_t topic_id, uint32_t partition)
{
    unsigned low = 0;
    unsigned high = group->offset_count;

    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        const struct sp_consumer_offset *offset = &group->offsets[middle];
        if (sp_consumer_place_compare(offset->topic_id, offset->partition, topic_id, partition) <
            0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct sp_consumer_offset *sp_consumer_group_offset(const struct sp_consumer_group *group,
                                                    uint64_t topic_id,
                                                    uint32_t partition)
{
    unsigned slot = offset_slot(group, topic_id, partition);

    if (slot == group->offset_count || group->offsets[slot].topic_id != topic_id ||
        group->offsets[slot].partition != partition) {
        return NULL;
    }
    return &group->offsets[slot];
}

const char *sp_consumer_group_state(const struct sp_consumer_group *group)
{
    if (group->member_count == 0) {
        return "empty";
    }
    if (group->version != group->assigned) {
        return "assigning";
    }
    for (unsigned i = 0; i < group->share_count; i++) {
        if (group->shares[i].owner != group->shares[i].target) {
            return "rebalancing";
        }
    }
    return "stable";
}

bool sp_consumer_member_revoking(const struct sp_consumer_group *group,
                                 const struct sp_consumer_member *member)
{
    for (unsigned i = 0; i < group->share_count; i++) {
        if (group->shares[i].owner == member && group->shares[i].target != member) {
            return true;
        }
    }
    return false;
}

bool sp_consumer_group_has_room(const struct sp_consumer_groups *groups,
                                const struct sp_consumer_group *group,
                                unsigned target_count)
{
    size_t more = target_count > group->share_count ? target_count - group->share_count : 0;

    return more == 0 || !sp_consumer_groups_full(groups, more * SP_CONSUMER_SHARE_BYTES);
}

int64_t sp_consumer_group_kept_until_ms(const struct sp_consumer_group *group, int64_t retention_ms)
{
    int64_t kept_ms = group->offset_count == 0 ? SP_CONSUMER_EMPTY_MS : retention_ms;

    if (group->member_count > 0 || kept_ms == 0 || group->changed_ms > INT64_MAX - kept_ms) {
        return INT64_MAX;
    }
    return group->changed_ms + kept_ms;
}

bool sp_consumer_group_name_valid(struct sp_bytes name)
{
    if (name.size == 0 || name.size > SP_CONSUMER_GROUP_NAME_SIZE_MAX || !sp_utf8_valid(name)) {
        return false;
    }
    for (size_t i = 0; i < name.size; i++) {
        if (name.bytes[i] < 0x20 || name.bytes[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

/* ---- members --------------------------------------------------------------------------------- */

int sp_consumer_member_subscribe(struct sp_consumer_groups *groups,
                                 struct sp_consumer_member *member,
                                 struct sp_bytes topics)
{
    uint8_t *copy = sp_mem_dup(topics.bytes, topics.size);

    if (copy == NULL) {
        return SPATE_ERR_NOMEM;
    }
    groups->bytes += topics.size - member->topics_size;
    sp_mem_free(member->topics);
    member->topics = copy;
    member->topics_size = topics.size;
    return 0;
}

int sp_consumer_member_add(struct sp_consumer_groups *groups,
                           struct sp_consumer_group *group,
                           struct sp_bytes topics,
                           struct sp_consumer_member **out_member)
{
    struct sp_consumer_member *member;
    struct sp_consumer_member **grown;

    if (group->member_count >= SP_CONSUMER_MEMBERS_MAX ||
        sp_consumer_groups_full(groups, SP_CONSUMER_MEMBER_BYTES + topics.size)) {
        return SPATE_ERR_BUSY;
    }
    member = sp_mem_calloc(1, sizeof *member);
    grown = sp_mem_realloc(group->members, (group->member_count + 1) * sizeof(*grown));
    if (grown != NULL) {
        group->members = grown;
    }
    if (member == NULL || grown == NULL ||
        sp_consumer_member_subscribe(groups, member, topics) != 0) {
        sp_mem_free(member);
        return SPATE_ERR_NOMEM;
    }
    group->members[group->member_count++] = member;
    groups->bytes += SP_CONSUMER_MEMBER_BYTES;
    *out_member = member;
    return 0;
}

void sp_consumer_member_remove(struct sp_consumer_groups *groups,
                               struct sp_consumer_group *group,
                               struct sp_consumer_member *member)
{
    unsigned position = 0;

    while (group->members[position] != member) {
        position += 1;
    }
    group->member_count -= 1;
    memmove(&group->members[position],
            &group->members[position + 1],
            (group->member_count - position) * sizeof(group->members[0]));
    for (unsigned i = 0; i < group->share_count; i++) {
        struct sp_consumer_share *share = &group->shares[i];
        share->owner = share->owner == member ? NULL : share->owner;
        share->target = share->target == member ? NULL : share->target;
    }
    groups->bytes -= SP_CONSUMER_MEMBER_BYTES + member->topics_size;
    member_free(member);
}

/* ---- shares ---------------------------------------------------------------------------------- */

void sp_consumer_shares_settle(struct sp_consumer_group *group)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < group->share_count; i++) {
        struct sp_consumer_share share = group->shares[i];
        if (share.owner == NULL && share.target != NULL) {
            share.owner = share.target;
            share.granted = group->generation;
            share.revoke_ms = 0;
            share.left_over = false;
            share.still_ms = 0;
            share.owner->unseen = true;
        }
        if (share.owner != NULL) {
            group->shares[kept++] = share;
        }
    }
    group->share_count = kept;
}

void sp_consumer_shares_replace(struct sp_consumer_groups *groups,
                                struct sp_consumer_group *group,
                                struct sp_consumer_share *shares,
                                unsigned count)
{
    groups->bytes -= group->share_count * SP_CONSUMER_SHARE_BYTES;
    sp_mem_free(group->shares);
    group->shares = shares;
    group->share_count = count;
    sp_consumer_shares_settle(group);
    groups->bytes += group->share_count * SP_CONSUMER_SHARE_BYTES;
}

void sp_consumer_topic_forget(struct sp_consumer_groups *groups,
                              struct sp_consumer_group *group,
                              uint64_t topic_id)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < group->share_count; i++) {
        if (group->shares[i].topic_id != topic_id) {
            group->shares[kept++] = group->shares[i];
        }
    }
    groups->bytes -= (group->share_count - kept) * SP_CONSUMER_SHARE_BYTES;
    group->share_count = kept;
    kept = 0;
    for (unsigned i = 0; i < group->offset_count; i++) {
        struct sp_consumer_offset *offset = &group->offsets[i];
        if (offset->topic_id != topic_id) {
            group->offsets[kept++] = *offset;
            continue;
        }
        groups->bytes -=
            SP_CONSUMER_OFFSET_BYTES + (offset->metadata == NULL ? 0 : strlen(offset->metadata));
        sp_mem_free(offset->metadata);
    }
    group->offset_count = kept;
}

/* ---- offsets --------------------------------------------------------------------------------- */

static int offset_insert(struct sp_consumer_group *group, unsigned slot)
{
    struct sp_consumer_offset *grown = group->offsets;

    if ((group->offset_count & (group->offset_count - 1)) == 0) { /* a power of two: full */
        unsigned capacity = group->offset_count == 0 ? 1 : 2 * group->offset_count;
        grown = sp_mem_realloc(group->offsets, capacity * sizeof *grown);
    }
    if (grown == NULL) {
        return SPATE_ERR_NOMEM;
    }
    group->offsets = grown;
    memmove(&grown[slot + 1], &grown[slot], (group->offset_count - slot) * sizeof *grown);
    grown[slot] = (struct sp_consumer_offset){ 0 };
    group->offset_count += 1;
    return 0;
}

int sp_consumer_offset_set(struct sp_consumer_groups *groups,
                           struct sp_consumer_group *group,
                           const struct sp_consumer_commit *commit,
                           int64_t commit_ms)
{
    const struct sp_consumer_place *place = &commit->place;
    unsigned slot = offset_slot(group, place->topic_id, place->partition);
    char *metadata = NULL;

    if (commit->metadata.bytes != NULL) {
        metadata = sp_mem_calloc(1, commit->metadata.size + 1);
        if (metadata == NULL) {
            return SPATE_ERR_NOMEM;
        }
        memcpy(metadata, commit->metadata.bytes, commit->metadata.size);
    }
    if (sp_consumer_group_offset(group, place->topic_id, place->partition) == NULL) {
        if (offset_insert(group, slot) != 0) {
            sp_mem_free(metadata);
            return SPATE_ERR_NOMEM;
        }
        groups->bytes += SP_CONSUMER_OFFSET_BYTES;
    }
    struct sp_consumer_offset *offset = &group->offsets[slot];
    groups->bytes += commit->metadata.size;
    groups->bytes -= offset->metadata == NULL ? 0 : strlen(offset->metadata);
    sp_mem_free(offset->metadata);
    *offset = (struct sp_consumer_offset){ .topic_id = place->topic_id,
                                           .partition = place->partition,
                                           .offset = commit->offset,
                                           .commit_ms = commit_ms,
                                           .metadata = metadata,
                                           .index = groups->restoring ? 0 : groups->index };
    return 0;
}
