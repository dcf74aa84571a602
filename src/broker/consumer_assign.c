/* What an ASSIGN does to the shares: targets by partition from the command, owners from before. */
#include "base/mem.h"
#include "broker/consumer_parts.h"
#include "spate/error.h"

/* Merges the shares of one topic: targets by partition from the command, owners from before. */
struct merge {
    struct sp_consumer_group *group;
    struct sp_consumer_share *shares; /* result */
    unsigned count;
    unsigned before; /* next of the old ones */
};

/* Old shares below a place have no target any more, but perhaps an owner. */
static void merge_before(struct merge *merge, uint64_t topic_id, uint64_t partition)
{
    const struct sp_consumer_group *group = merge->group;

    while (merge->before < group->share_count) {
        struct sp_consumer_share share = group->shares[merge->before];
        if (share.topic_id > topic_id ||
            (share.topic_id == topic_id && share.partition >= partition)) {
            return;
        }
        share.target = NULL;
        merge->shares[merge->count++] = share;
        merge->before += 1;
    }
}

static void merge_one(struct merge *merge,
                      uint64_t topic_id,
                      uint32_t partition,
                      struct sp_consumer_member *target)
{
    const struct sp_consumer_group *group = merge->group;
    struct sp_consumer_share share = { .topic_id = topic_id, .partition = partition };

    merge_before(merge, topic_id, partition);
    if (merge->before < group->share_count && group->shares[merge->before].topic_id == topic_id &&
        group->shares[merge->before].partition == partition) {
        share = group->shares[merge->before++];
    }
    share.target = target;
    merge->shares[merge->count++] = share;
}

/* What the topics of an ASSIGN hold: counted and checked before anything is changed. */
unsigned sp_consumer_targets_check(struct sp_cursor *cursor)
{
    uint32_t entries = sp_cursor_array(cursor);
    uint64_t topic_last = 0;
    unsigned count = 0;

    for (uint32_t i = 0; i + 1 < entries && cursor->status == 0; i += 2) {
        uint64_t topic_id = sp_cursor_uint(cursor, UINT64_MAX);
        uint32_t partitions = sp_cursor_array(cursor);
        count += partitions;
        if (topic_id <= topic_last || count > SP_CONSUMER_PARTITIONS_MAX) {
            sp_cursor_fail(cursor, SPATE_ERR_CORRUPT);
        }
        topic_last = topic_id;
        for (uint32_t j = 0; j < partitions && cursor->status == 0; j++) {
            (void)sp_cursor_int(cursor, -1, SP_CONSUMER_MEMBERS_MAX - 1);
        }
    }
    if (entries % 2 != 0) {
        sp_cursor_fail(cursor, SPATE_ERR_CORRUPT);
    }
    return count;
}

/* The targets, which were checked; a member that the group has not: SPATE_ERR_CORRUPT. */
static int merge_targets(struct merge *merge, struct sp_cursor targets)
{
    uint32_t entries = sp_cursor_array(&targets);

    for (uint32_t i = 0; i < entries; i += 2) {
        uint64_t topic_id = sp_cursor_uint(&targets, UINT64_MAX);
        uint32_t partitions = sp_cursor_array(&targets);
        for (uint32_t j = 0; j < partitions; j++) {
            int64_t position = sp_cursor_int(&targets, -1, INT32_MAX);
            if (position >= merge->group->member_count) {
                return SPATE_ERR_CORRUPT;
            }
            merge_one(merge, topic_id, j, position < 0 ? NULL : merge->group->members[position]);
        }
    }
    merge_before(merge, UINT64_MAX, UINT64_MAX);
    return 0;
}

int sp_consumer_targets_apply(struct sp_consumer_groups *groups,
                              struct sp_consumer_group *group,
                              struct sp_cursor targets,
                              unsigned target_count)
{
    struct merge merge = { .group = group };
    int rv;

    merge.shares =
        sp_mem_calloc((size_t)target_count + group->share_count + 1, sizeof *merge.shares);
    if (merge.shares == NULL) {
        return SPATE_ERR_NOMEM;
    }
    rv = merge_targets(&merge, targets);
    if (rv == 0 && merge.count > SP_CONSUMER_PLACES_MAX) {
        rv = SPATE_ERR_BUSY; /* somebody does not give up what is taken from it */
    }
    if (rv != 0) {
        sp_mem_free(merge.shares);
        return rv;
    }
    group->generation += 1;
    sp_consumer_shares_replace(groups, group, merge.shares, merge.count);
    return 0;
}
