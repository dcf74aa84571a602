/* Inside of the coordinator, for coordinator*.c alone.
 *
 *   coordinator.c           the machine, who leads, commands on their way, what is looked at when
 *   coordinator_assign.c    makes assignments
 *   coordinator_session.c   what time does to a group: members, revoked partitions, its end
 *   coordinator_stall.c     who owns and does not progress */
#ifndef SP_BROKER_COORDINATOR_PARTS_H
#define SP_BROKER_COORDINATOR_PARTS_H

#include "broker/coordinator.h"

/* Makes an assignment and submits it if it changes anything. */
void sp_coordinator_assign(struct sp_coordinator *coordinator, struct sp_consumer_group *group);

/* Does the group lack an assignment that is not on its way? */
bool sp_coordinator_wants_assignment(const struct sp_consumer_group *group);

/* The group has changed: notes since when its partitions are revoked. */
void sp_coordinator_note(const struct sp_coordinator *coordinator, struct sp_consumer_group *group);

/* Submits what is due: members out, partitions away, the group itself. */
void sp_coordinator_scan(struct sp_coordinator *coordinator, struct sp_consumer_group *group);

/* When the group must be scanned again, as loop time. */
uint64_t sp_coordinator_due_ms(const struct sp_coordinator *coordinator,
                               const struct sp_consumer_group *group);

/* Once, when it is made. */
void sp_coordinator_stall_init(struct sp_coordinator *coordinator);

/* It leads now: nothing has been seen yet. */
void sp_coordinator_stall_start(struct sp_coordinator *coordinator);

/* There are groups to look at, for as long as there are; whoever ends its leading stops the timer.
 */
void sp_coordinator_stall_watch(struct sp_coordinator *coordinator);

#endif /* SP_BROKER_COORDINATOR_PARTS_H */
