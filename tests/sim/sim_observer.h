/* Stands between every Raft group and its state machine and sees all that is applied.
 *
 * The linker replaces calls of sp_raft_group_open and sp_raft_group_close (--wrap), so that
 * production code is the same, and the observer gets its look at each replica of each node. */
#ifndef SP_SIM_OBSERVER_H
#define SP_SIM_OBSERVER_H

#include "base/list.h"
#include "cluster/raft_group.h"

struct sim_node;

struct sim_observer {
    struct sp_list node; /* in its node */
    struct sp_machine machine;
    struct sp_machine *inner;
    struct sp_raft_group *group;
    struct sim_node *owner;
    uint64_t group_id;
    uint64_t applied_index; /* 0: not known yet */
};

int __real_sp_raft_group_open(struct sp_raft_context *context,
                              const struct sp_raft_group_options *options,
                              struct sp_raft_group **out_group);
int __wrap_sp_raft_group_open(struct sp_raft_context *context,
                              const struct sp_raft_group_options *options,
                              struct sp_raft_group **out_group);
void __real_sp_raft_group_close(struct sp_raft_group *group, void (*closed)(void *arg), void *arg);
void __wrap_sp_raft_group_close(struct sp_raft_group *group, void (*closed)(void *arg), void *arg);

#endif /* SP_SIM_OBSERVER_H */
