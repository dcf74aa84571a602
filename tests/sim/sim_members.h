/* Members of a consumer group in the simulated world: they share all topics, are killed and start
 * again, and all that they were ever told about the group is kept here, outside of their lives.
 *
 * A record counts as processed when its member asks for the next one. What must hold:
 *  - a member commits only what was processed, by whichever member
 *  - a partition goes on at or below the first record that nobody has processed: nothing is skipped
 *  - and at or above every offset whose commit was acknowledged: committed offsets never go back
 *  - records come in order, without a gap, while a member has the partition
 *  - in the end every record was processed */
#ifndef SP_SIM_MEMBERS_H
#define SP_SIM_MEMBERS_H

#include <stdbool.h>

#include "wire/client_api.h"

void sim_members_init(void);

/* The life of a member; `arg` is its struct sim_client. */
void sim_member_main(void *arg);

/* Looks at what the members' client library commits, before it is sent. */
void __real_sp_group_commit_request_encode(struct sp_pack *pack,
                                           const struct sp_group_commit_request *request);
void __wrap_sp_group_commit_request_encode(struct sp_pack *pack,
                                           const struct sp_group_commit_request *request);

#endif /* SP_SIM_MEMBERS_H */
