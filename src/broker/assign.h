/* Which member of a consumer group reads which partition: pure, deterministic, sticky.
 *
 *   1 keep     a partition stays with the member that has it, if it may
 *   2 give     a partition that nobody has goes to the member with the fewest
 *   3 level    while one member has two more than another that could take one: one moves
 *   4 racks    partitions change places so that more are read within their own rack, as long as
 *              that changes neither the level nor the number of moves
 *
 * Members with the same topics so differ by one partition at most, no more moves than that needs,
 * and within this the partitions of each topic are spread as well. */
#ifndef SP_BROKER_ASSIGN_H
#define SP_BROKER_ASSIGN_H

#include <stdbool.h>
#include <stdint.h>

#define SP_ASSIGN_NOBODY (-1)
#define SP_ASSIGN_NO_RACK (-1)

struct sp_assign_topic {
    uint32_t partition_count;
    const bool *wanted;   /* by member: it subscribes to this topic */
    int32_t *members;     /* by partition: in, who has it (or NOBODY); out, who shall have it */
    const int32_t *racks; /* by partition: where it is read from, or NO_RACK; NULL: not known */
};

/* Assigns. Members that `members` names are below member_count. `racks`: by member, a number below
 * member_count, or NO_RACK; NULL: racks do not count. SPATE_ERR_NOMEM: nothing is changed. */
int sp_assign(struct sp_assign_topic *topics,
              unsigned topic_count,
              const int32_t *racks,
              unsigned member_count);

#endif /* SP_BROKER_ASSIGN_H */
