/* Offsets of a consumer group on their way into the log: what group.commit and group.seek share.
 *
 *   new -> filled by its method -> submit -> (applied) -> answered and freed
 *                                    '-- late, refused: the same at once */
#ifndef SP_BROKER_GROUP_COMMIT_H
#define SP_BROKER_GROUP_COMMIT_H

#include "broker/group_methods.h"
#include "wire/client_api.h"

struct sp_group_commit {
    struct sp_coordinator_job job;
    struct sp_request request;
    char group[SP_CONSUMER_GROUP_NAME_SIZE_MAX + 1];
    bool tells;                         /* seek: the answer names the offsets */
    int64_t seen;                       /* what it is compared with; -1: nothing */
    struct sp_consumer_commit *commits; /* owned; in order of their places once submitted; metadata
                                           points into the message, until then */
    unsigned count;
    struct sp_buf refused; /* encoded: those that were left out, and why */
    unsigned refused_count;
};

/* With room for `count` offsets. NULL: the request has been answered. */
struct sp_group_commit *
sp_group_commit_new(struct sp_request *request, const char *group, size_t count);
void sp_group_commit_free(struct sp_group_commit *commit);

/* Answers, with an error if `code` is one, and frees it. `index`: what the sender has seen then. */
void sp_group_commit_finish(struct sp_coordinator *coordinator,
                            struct sp_group_commit *commit,
                            int code,
                            uint64_t index);

/* Submits it, or answers that it comes too late. `member` null: somebody outside; `generation` -1:
 * not said. Without offsets it keeps a group, but makes none. */
void sp_group_commit_submit(struct sp_coordinator *coordinator,
                            struct sp_group_commit *commit,
                            struct sp_bytes member,
                            int64_t generation);

/* The topic of a name, if it is the one that is meant (-1: any), has that partition (-1: any) and
 * clients may use it; otherwise a code and a text. */
const struct sp_state_topic *sp_group_topic(const struct sp_broker *broker,
                                            struct sp_bytes name,
                                            int64_t topic_id,
                                            int32_t partition,
                                            int *out_code,
                                            struct sp_api_error *error);

#endif /* SP_BROKER_GROUP_COMMIT_H */
