/* Inside of the assignment, for assign*.c alone.
 *
 *   assign.c        balance and stickiness
 *   assign_rack.c   racks, without a change to either */
#ifndef SP_BROKER_ASSIGN_PARTS_H
#define SP_BROKER_ASSIGN_PARTS_H

#include "broker/assign.h"

struct sp_assign_work {
    struct sp_assign_topic *topics;
    unsigned topic_count;
    const int32_t *racks; /* by member; NULL: racks do not count */
    unsigned member_count;
    uint32_t *loads;  /* by member: partitions in all */
    uint32_t *shares; /* by topic and member: partitions of that topic */
    bool *stuck;      /* by member: nobody could take a partition from it */
    unsigned *light;  /* the members with the fewest partitions, in order */
    unsigned light_count;
};

/* Where it stands in `shares`. */
uint32_t *sp_assign_share(const struct sp_assign_work *work, unsigned topic, unsigned member);

/* Gives a partition to a member, taken from whoever has it. */
void sp_assign_give(struct sp_assign_work *work, unsigned topic, uint32_t partition, int32_t to);

struct sp_assign_racks;

/* Notes who has what before anything is assigned. SPATE_ERR_NOMEM. */
int sp_assign_racks_new(struct sp_assign_work *work, struct sp_assign_racks **out_racks);
void sp_assign_racks_free(struct sp_assign_racks *racks); /* NULL is fine */

/* Exchanges partitions of what is assigned, so that more are read from their own rack. */
void sp_assign_racks_exchange(struct sp_assign_racks *racks);

#endif /* SP_BROKER_ASSIGN_PARTS_H */
