/* Stands between every Raft group and its state machine and sees all that is applied, and between a
 * group and those who submit to it and sees what is acknowledged.
 *
 * The linker replaces calls of a few functions (--wrap): production code stays the same, and the
 * observer gets its look at each replica of each node. */
#ifndef SP_SIM_OBSERVER_H
#define SP_SIM_OBSERVER_H

#include "base/list.h"
#include "broker/sequences.h"
#include "cluster/leader_table.h"
#include "cluster/raft_group.h"

struct sim_node;

struct sim_observer {
    struct sp_list node; /* in its node */
    struct sp_machine machine;
    struct sp_machine *inner;
    struct sp_raft_group *group;
    struct sim_node *owner;
    uint64_t group_id;
    struct sp_machine_type type;
    const struct sp_log *log;
    uint64_t applied_index;   /* 0: nothing */
    uint64_t orphan_since_us; /* quiet, and its leader leads no more; 0: not so */
    void (*closed)(void *arg);
    void *closed_arg;
};

/* A submit under way: its completion is looked at before its owner hears of it. */
struct sim_submission {
    struct sp_list node; /* in its node */
    struct sp_submit *submit;
    sp_submit_cb cb;
    uint64_t group_id;
    uint64_t index;
    uint64_t term;
};

int __real_sp_raft_group_open(struct sp_raft_context *context,
                              const struct sp_raft_group_options *options,
                              struct sp_raft_group **out_group);
int __wrap_sp_raft_group_open(struct sp_raft_context *context,
                              const struct sp_raft_group_options *options,
                              struct sp_raft_group **out_group);
void __real_sp_raft_group_close(struct sp_raft_group *group, void (*closed)(void *arg), void *arg);
void __wrap_sp_raft_group_close(struct sp_raft_group *group, void (*closed)(void *arg), void *arg);

int __real_sp_raft_group_submit(struct sp_raft_group *group,
                                enum sp_frame_kind kind,
                                const struct sp_iovec *pieces,
                                unsigned count,
                                struct sp_submit *submit);
int __wrap_sp_raft_group_submit(struct sp_raft_group *group,
                                enum sp_frame_kind kind,
                                const struct sp_iovec *pieces,
                                unsigned count,
                                struct sp_submit *submit);
int64_t __real_sp_raft_group_append_time_ms(const struct sp_raft_group *group);
int64_t __wrap_sp_raft_group_append_time_ms(const struct sp_raft_group *group);
void __real_sp_sequences_judge(const struct sp_producers *producers,
                               const struct sp_list *flights,
                               const struct sp_batch_header *header,
                               int64_t append_time_ms,
                               struct sp_judgement *out_judgement);
void __wrap_sp_sequences_judge(const struct sp_producers *producers,
                               const struct sp_list *flights,
                               const struct sp_batch_header *header,
                               int64_t append_time_ms,
                               struct sp_judgement *out_judgement);

int __real_sp_leader_table_new(struct sp_loop *loop,
                               struct sp_transport *transport,
                               uint32_t node_id,
                               struct sp_leader_table **out_table);
int __wrap_sp_leader_table_new(struct sp_loop *loop,
                               struct sp_transport *transport,
                               uint32_t node_id,
                               struct sp_leader_table **out_table);
void __real_sp_leader_table_free(struct sp_leader_table *table);
void __wrap_sp_leader_table_free(struct sp_leader_table *table);

#endif /* SP_SIM_OBSERVER_H */
