/* When an offset or a group changed last: the index in the log of the command that did it. */
#include "broker/consumer_parts.h"

/* Up to where what has no index may have changed. */
static uint64_t floor_of(struct sp_consumer_groups *groups, uint64_t applied)
{
    if (groups->floor_unknown) {
        groups->floor_index = applied;
        groups->floor_unknown = false;
    }
    return groups->floor_index;
}

uint64_t sp_consumer_offset_changed(struct sp_consumer_groups *groups,
                                    const struct sp_consumer_group *group,
                                    uint64_t topic_id,
                                    uint32_t partition,
                                    uint64_t applied)
{
    const struct sp_consumer_offset *offset =
        group == NULL ? NULL : sp_consumer_group_offset(group, topic_id, partition);

    return offset != NULL && offset->index != 0 ? offset->index : floor_of(groups, applied);
}

uint64_t sp_consumer_group_changed(struct sp_consumer_groups *groups,
                                   const struct sp_consumer_group *group,
                                   uint64_t applied)
{
    return group->index != 0 ? group->index : floor_of(groups, applied);
}
