/* Turns a proposal into a command of the controller's log: the leader's checks, defaults and
 * placement. Pure; the texts say what is wrong and what to do. */
#ifndef SP_CLUSTER_PROPOSAL_COMMAND_H
#define SP_CLUSTER_PROPOSAL_COMMAND_H

#include "cluster/controller.h"

#define SP_PROPOSAL_REPLICAS_DEFAULT 3

struct sp_proposal_view {
    const struct sp_state *state;
    enum sp_planner_health (*health)(void *arg, uint32_t node_id); /* for placing a topic */
    bool (*led)(void *arg, uint64_t group_id);                     /* NULL: all are */
    void *arg;
    int64_t append_time_ms; /* of a command that is made now */
    unsigned voters;        /* of group 0: so many nodes will register */
    bool wait_for_voters;   /* the cluster has just been formed: rather wait than place unevenly */
};

/* Appends the command to `out`. The proposal's first part is read.
 *   SPATE_ERR_INVALID, SPATE_ERR_EXISTS, SPATE_ERR_UNKNOWN_TOPIC   final; `text` says why
 *   SPATE_ERR_UNSUPPORTED a feature level is too low, see base/feature.h
 *   SPATE_ERR_CORRUPT     the node runs on an older copy of its data directory
 *   SPATE_ERR_BUSY        too many producers have names
 *   SPATE_ERR_NOT_READY   more nodes are about to register: try again soon
 *   SPATE_ERR_NOMEM, SPATE_ERR_TOO_LARGE */
int sp_proposal_command(const struct sp_proposal_view *view,
                        const struct sp_proposal *proposal,
                        struct sp_buf *out,
                        char *text,
                        size_t text_size);

/* Text for what apply answered, "" for 0. */
void sp_proposal_explain(const struct sp_proposal *proposal,
                         int answer,
                         char *text,
                         size_t text_size);

#endif /* SP_CLUSTER_PROPOSAL_COMMAND_H */
