#include "sim_machines.h"

#include "cluster/machine_of.h"
#include "sim_world.h"

void sim_machines_check_apart(const struct sp_state *reference,
                              const struct sp_state_partition *partition,
                              const struct sp_replica_place *places,
                              unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        for (unsigned k = 0; k < i; k++) {
            if (sp_machine_of_id(reference, places[i].node_id) ==
                sp_machine_of_id(reference, places[k].node_id)) {
                sim_fail("group %llu has replicas on nodes %u and %u, which are one machine",
                         (unsigned long long)partition->group_id,
                         places[k].node_id,
                         places[i].node_id);
            }
        }
    }
}

void sim_machines_check_majority(const struct sp_state *reference,
                                 uint64_t group_id,
                                 const struct sim_membership *next)
{
    unsigned voters = 0;

    for (unsigned i = 0; i < next->count; i++) {
        voters += !next->voters[i].standby;
    }
    for (unsigned i = 0; i < next->count && voters > 1; i++) {
        uint32_t machine = sp_machine_of_id(reference, next->voters[i].node_id);
        unsigned together = 0;
        for (unsigned k = 0; k < next->count; k++) {
            together += !next->voters[k].standby &&
                        sp_machine_of_id(reference, next->voters[k].node_id) == machine;
        }
        if (together > voters / 2) {
            sim_fail("group %llu: one machine has a majority of the %u voters for a while",
                     (unsigned long long)group_id,
                     voters);
        }
    }
}
