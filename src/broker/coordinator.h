/* One coordinator of consumer groups: a partition of the internal topic, its state machine, and
 * what its leader does by itself (D11).
 *
 *   request -> group_members.c, group_offsets.c -> submit -> Raft -> apply -> answer
 *   leader: a member is silent too long     -> LEAVE
 *           it does not give up a partition -> RELEASE, as if it had
 *           members or topics have changed  -> coordinator_assign.c -> ASSIGN
 *           nobody has used a group for long -> DELETE
 *
 * Times are the leader's own: a new leader gives every member its whole session again, so that a
 * failover moves no partition. */
#ifndef SP_BROKER_COORDINATOR_H
#define SP_BROKER_COORDINATOR_H

#include "base/trace.h"
#include "broker/consumer_group.h"
#include "broker/session.h"
#include "cluster/machine.h"
#include "cluster/raft_group.h"
#include "cluster/state.h"
#include "io/loop.h"

struct sp_broker;

struct sp_coordinator {
    struct sp_machine machine;
    struct sp_broker *broker;
    struct sp_raft_group *group; /* NULL while it does not run */
    uint64_t group_id;
    uint32_t partition;
    struct sp_consumer_groups *groups; /* machine state */
    bool leading;                      /* serves requests */
    unsigned waiter_count;             /* requests in the waiters of all groups */
    size_t coming_bytes;               /* that `jobs` may add to the state */
    struct sp_list jobs;               /* struct sp_coordinator_job in order of index */
    struct sp_list touched;            /* groups to look at */
    struct sp_deferred advance;
    struct sp_timer timer;       /* when the next session may end */
    struct sp_timer stall_timer; /* when owners are looked at again */
    struct sp_trace_limit stall_limit;
};

/* Of one partition of the topic of groups. Before it is freed its Raft group must be closed and all
 * requests answered. SPATE_ERR_NOMEM. */
int sp_coordinator_new(struct sp_broker *broker,
                       const struct sp_state_partition *place,
                       struct sp_coordinator **out_coordinator);
void sp_coordinator_free(struct sp_coordinator *coordinator);

/* True if `machine` is one of these, not a partition's. */
bool sp_coordinator_is(const struct sp_machine *machine);

/* Its Raft group runs, or is about to close. */
void sp_coordinator_opened(struct sp_coordinator *coordinator, struct sp_raft_group *group);
void sp_coordinator_closing(struct sp_coordinator *coordinator);

/* Topics came or went. */
void sp_coordinator_topics_changed(struct sp_coordinator *coordinator);

/* ---- commands -------------------------------------------------------------------------------- */

/* A command on its way; embedded by its owner, zero-initialised. `done` runs once, if the submit
 * could be started: status 0 means applied, with what apply said in `answer`. */
struct sp_coordinator_job {
    struct sp_list node;
    struct sp_submit submit;
    struct sp_coordinator *coordinator;
    bool changes_members; /* the group is looked at afterwards */
    bool assigns;
    bool ends;           /* it takes the group away */
    size_t growth_bytes; /* that it may add to the state */
    char group[SP_CONSUMER_GROUP_NAME_SIZE_MAX + 1];
    int answer;
    void (*done)(struct sp_coordinator_job *job, int status);
};

/* Errors as sp_raft_group_submit, and SPATE_ERR_BUSY when the state is full; `rv` of the encoder is
 * passed on. `command` is freed. */
int sp_coordinator_submit(struct sp_coordinator *coordinator,
                          struct sp_coordinator_job *job,
                          const char *group_name,
                          int rv,
                          struct sp_buf *command);

/* The group will be looked at: sessions, assignment, those who wait. */
void sp_coordinator_touch(struct sp_coordinator *coordinator, struct sp_consumer_group *group);

/* coordinator_stall.c: looks now which partitions of the group do not progress. Leader only. */
void sp_coordinator_stall_look(struct sp_coordinator *coordinator, struct sp_consumer_group *group);

/* group_call.c: those who wait look whether there is news; or are sent away. */
void sp_group_waiters_look(struct sp_coordinator *coordinator, struct sp_consumer_group *group);
void sp_group_waiters_abort(struct sp_coordinator *coordinator, struct sp_consumer_group *group);

#endif /* SP_BROKER_COORDINATOR_H */
