/* Nodes that are shards of one program fall together: what must not stand on them alone. */
#ifndef SP_SIM_MACHINES_H
#define SP_SIM_MACHINES_H

#include "cluster/state.h"
#include "sim_voters.h"

/* No two of these replicas are on one machine. */
void sim_machines_check_apart(const struct sp_state *reference,
                              const struct sp_state_partition *partition,
                              const struct sp_replica_place *places,
                              unsigned count);

/* No machine has a majority of these voters, if there are several. */
void sim_machines_check_majority(const struct sp_state *reference,
                                 uint64_t group_id,
                                 const struct sim_membership *next);

#endif /* SP_SIM_MACHINES_H */
