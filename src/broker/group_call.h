/* A member's request that is answered later: on its way through the log, then waiting for news.
 *
 *   new -> submit -> (applied) -> look -> answered: what is assigned, revoked and pending
 *                                  |  ^
 *                                  v  '-- the group has changed, or the time is over
 *                                 wait */
#ifndef SP_BROKER_GROUP_CALL_H
#define SP_BROKER_GROUP_CALL_H

#include "broker/group_methods.h"

struct sp_group_call {
    struct sp_list node;           /* in group->waiters while it waits */
    struct sp_coordinator_job job; /* JOIN, RELEASE or LEAVE on its way */
    struct sp_timer timer;
    struct sp_request request;
    struct sp_request_wait patience; /* while it waits: ends with its connection */
    struct sp_coordinator *coordinator;
    char group[SP_CONSUMER_GROUP_NAME_SIZE_MAX + 1];
    char member[SP_CONSUMER_MEMBER_ID_SIZE_MAX + 1];
    bool joining;
    bool says_owned;           /* `owned` was given */
    struct sp_group_set owned; /* what the member reads, as it says */
    int64_t generation;        /* that the member has seen; -1: it does not say */
    uint64_t deadline_ms;
};

/* Parts of what a member has to do with. */
enum sp_group_part {
    SP_GROUP_ASSIGNED,
    SP_GROUP_REVOKED,
    SP_GROUP_PENDING
};

/* Is this partition one of that part? */
bool sp_group_in_part(const struct sp_consumer_share *share,
                      const struct sp_consumer_member *member,
                      enum sp_group_part part);

/* A call that runs `done` when its command is applied; `member` may be empty. NULL: answered. */
struct sp_group_call *sp_group_call_new(struct sp_coordinator *coordinator,
                                        struct sp_request request,
                                        const char *group,
                                        struct sp_bytes member,
                                        void (*done)(struct sp_coordinator_job *job, int status));

/* After its request was answered. */
void sp_group_call_free(struct sp_group_call *call);

/* Answers with an error and frees it. */
void sp_group_call_fail(struct sp_group_call *call, int code);

/* Submits its command (freed; `rv` is its encoder's), or fails. */
void sp_group_call_submit(struct sp_group_call *call, int rv, struct sp_buf *command);

/* Answers and frees it, or lets it wait. */
void sp_group_call_look(struct sp_group_call *call);

/* `done` of calls that are answered with the member's partitions. */
void sp_group_call_changed(struct sp_coordinator_job *job, int status);

#endif /* SP_BROKER_GROUP_CALL_H */
