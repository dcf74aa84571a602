/* Looks at groups that become quiet, and at those that are: they must have nothing to do, and must
 * not sleep through the end of their leader. */
#ifndef SP_SIM_QUIET_H
#define SP_SIM_QUIET_H

#include <stdbool.h>
#include <stdint.h>

#include "cluster/raft_group.h"
#include "cluster/vigil.h"

/* Looks at all groups now and then, from now on. */
void sim_quiet_start(void);

/* A submit was accepted: its group is awake. */
void sim_quiet_submitted(struct sp_raft_group *group);

/* True while nobody shall write to this place, so that its group comes to rest. */
bool sim_quiet_rests(uint32_t place);

void __real_sp_vigil_add(struct sp_vigil *vigil,
                         uint32_t node_id,
                         enum sp_vigil_side side,
                         const struct sp_vigil_key *key);
void __wrap_sp_vigil_add(struct sp_vigil *vigil,
                         uint32_t node_id,
                         enum sp_vigil_side side,
                         const struct sp_vigil_key *key);
void __real_sp_vigil_remove(struct sp_vigil *vigil,
                            uint32_t node_id,
                            enum sp_vigil_side side,
                            const struct sp_vigil_key *key);
void __wrap_sp_vigil_remove(struct sp_vigil *vigil,
                            uint32_t node_id,
                            enum sp_vigil_side side,
                            const struct sp_vigil_key *key);

#endif /* SP_SIM_QUIET_H */
