/* Inside of the controller, for cluster/controller*.c alone.
 *
 *   controller.c           life, group 0's machine, confirmation, registration of this node
 *   controller_propose.c   proposals made on this node, until they are answered
 *   controller_hints.c     addresses of other nodes, before anything is known to be committed
 *   controller_members.c   who is a member of group 0
 *   controller_plan.c      which partitions have to move by themselves
 *   controller_lead.c      what this node does for them, and for calls of others, while it leads
 *   controller_features.c  the cluster's feature level
 *
 * Callbacks record a fact and ask for one advance at the end of the turn; it makes the
 * decisions. */
#ifndef SP_CLUSTER_CONTROLLER_PARTS_H
#define SP_CLUSTER_CONTROLLER_PARTS_H

#include "cluster/controller.h"
#include "cluster/node_call.h"
#include "cluster/planner.h"
#include "cluster/proposal_command.h"

/* Proposals of this node, and as many jobs while it leads; each holds a command of at most 300 KiB
 * in the log. More answer SPATE_ERR_BUSY. */
#define SP_CONTROLLER_PROPOSALS_MAX 256
#define SP_CONTROLLER_JOBS_MAX 256

/* Moves that the leader begins at once by itself, and how many of all kinds may be under way. */
#define SP_CONTROLLER_PLANS_MAX 16
#define SP_CONTROLLER_MOVES_MAX 128

#define SP_CONTROLLER_TICK_MS 50         /* pause before another try, and period of looking again */
#define SP_CONTROLLER_LEADER_TICK_MS 100 /* a leader looks after members and nodes so often */
#define SP_CONTROLLER_CALL_MS 1000  /* no reply for so long: try again, the outcome is uncertain */
#define SP_CONTROLLER_GRACE_MS 3000 /* a new leader waits so long for all voters to register */
#define SP_CONTROLLER_COMMAND_MAX (512 * 1024) /* 10,000 partitions x 7 replicas, 5 bytes each */

/* What apply made of a command. */
struct sp_controller_outcome {
    int answer; /* INTERNAL until it is applied */
    uint64_t producer_id_first;
    int16_t producer_epoch;
};

/* A command that this node submitted as leader, for itself or for a caller. */
struct sp_controller_job {
    struct sp_list node;
    struct sp_submit submit;
    struct sp_controller *controller;
    struct sp_proposal *proposal; /* of this node; NULL: a caller's, or taken back */
    uint32_t from_node;           /* the caller; 0: nobody */
    uint64_t call_id;
    struct sp_proposal request; /* copy of the first part, for texts */
    struct sp_controller_outcome outcome;
};

struct sp_controller {
    struct sp_controller_options options;
    struct sp_controller_handler handler;
    void *arg;
    struct sp_machine machine;
    struct sp_state *state;
    struct sp_group_open open;
    struct sp_replica_place places[SP_NODES_MAX];
    struct sp_raft_group *group; /* NULL: not open yet, or let go */
    bool stopped;
    bool failed;             /* a failure is to be told, see fail_status */
    bool damaged;            /* `open` has found that, and no other replica is there yet */
    uint64_t damaged_ms;     /* when */
    bool confirmed;          /* once true, stays so */
    bool confirmation_due;   /* handler.confirmed is to be called */
    uint64_t ready_since_ms; /* leader: when it became ready; 0: it is not */
    uint64_t applied_index;
    struct sp_controller_hints *hints; /* being read; NULL: not */
    unsigned voters;                   /* of group 0 */
    struct sp_deferred advance;
    struct sp_timer tick;
    struct sp_list proposals; /* WAITING, LED, CALLED, ANSWERED */
    struct sp_list finished;  /* FINISHED: cb is due */
    unsigned proposal_count;  /* in both lists */
    struct sp_list jobs;
    unsigned job_count;
    uint64_t call_id_next;
    struct sp_proposal registration; /* of this node */
    uint64_t registration_due_ms;
    struct sp_proposal plans[SP_CONTROLLER_PLANS_MAX]; /* of the leader: moves that it begins */
    uint64_t plan_due_ms;
    uint64_t down_since_ms[SP_NODE_ID_MAX + 1]; /* of the leader, by node id; 0: it is up */
    struct sp_proposal removal;                 /* of the leader: a node is out */
    uint64_t members_due_ms;           /* of the leader: when it looks at group 0's members again */
    struct sp_proposal internal_topic; /* of the leader: the one that consumer groups live in */
    uint64_t internal_due_ms;
    struct sp_proposal raise; /* of the leader: the feature level */
    uint64_t raise_due_ms;
    int fail_status;
    char fail_text[256];
};

/* ---- controller.c ---------------------------------------------------------------------------- */

/* Asks for one advance at the end of this turn. */
void sp_controller_wake(struct sp_controller *controller);

/* This node cannot go on: the handler is told at the end of the turn, once. */
void sp_controller_fail(struct sp_controller *controller, int status, const char *text);

/* ---- controller_double.c --------------------------------------------------------------------- */

/* As leader: 0, or SPATE_ERR_INVALID, and `text` says why the node may not join in the place of
 * another data directory. */
int sp_controller_check_double(const struct sp_controller *controller,
                               const struct sp_state_node *node,
                               char *text,
                               size_t text_size);

/* ---- controller_hints.c ---------------------------------------------------------------------- */

struct sp_controller_hints;

/* Sets up the link to a node, or to all that the state knows. */
void sp_controller_hint(struct sp_controller *controller, const struct sp_state_node *node);
void sp_controller_hint_all(struct sp_controller *controller);

/* Group 0 is open: reads addresses from its log. */
void sp_controller_read_hints(struct sp_controller *controller);
void sp_controller_forget_hints(struct sp_controller *controller);

/* ---- controller_members.c -------------------------------------------------------------------- */

/* As leader: brings group 0's membership a step nearer to what the state wants. */
void sp_controller_keep_members(struct sp_controller *controller);

/* ---- controller_plan.c ----------------------------------------------------------------------- */

/* As leader: begins the moves that are needed. */
void sp_controller_plan(struct sp_controller *controller);

/* True if some node is known to lead the group. */
bool sp_controller_is_led(void *arg, uint64_t group_id);

/* As sp_controller_health, for where a topic is placed: a node that has only just been lost, or has
 * not been met yet by a new leader, counts as up, one that is slow or short of space does not. */
enum sp_planner_health sp_controller_placing_health(void *arg, uint32_t node_id);

/* ---- controller_features.c ------------------------------------------------------------------- */

/* Leader: raises the feature level when all nodes know a higher one. */
void sp_controller_raise_level(struct sp_controller *controller);

/* True while that is due and no event may announce it. */
bool sp_controller_raise_is_due(const struct sp_controller *controller);

/* Fails the controller when apply met a command that this build does not know. */
void sp_controller_fail_outdated(struct sp_controller *controller, uint64_t index);

/* ---- controller_propose.c -------------------------------------------------------------------- */

/* Tries what is due and ends what is applied. */
void sp_controller_run_proposals(struct sp_controller *controller);

/* The leader has changed: whatever waits is due now. */
void sp_controller_hurry_proposals(struct sp_controller *controller);

/* Runs the callbacks of those that have ended. */
void sp_controller_deliver(struct sp_controller *controller);

/* Fails all with SPATE_ERR_CANCELED, now. */
void sp_controller_cancel_proposals(struct sp_controller *controller);

/* An outcome of a try, from our own job or from a reply. */
void sp_controller_answered(struct sp_proposal *proposal, const struct sp_node_reply *reply);

/* REPLY came in. */
void sp_controller_reply(struct sp_controller *controller,
                         uint32_t from_node,
                         const struct sp_peer_message *message);

/* ---- controller_lead.c ----------------------------------------------------------------------- */

/* Checks and submits what `request` asks for. 0: `reply` comes later, to the proposal or by message
 * to from_node. Else the reply is filled and this is its status. */
int sp_controller_lead(struct sp_controller *controller,
                       const struct sp_proposal *request,
                       struct sp_proposal *proposal,
                       uint32_t from_node,
                       uint64_t call_id,
                       struct sp_node_reply *reply);

/* CALL came in. */
void sp_controller_call(struct sp_controller *controller,
                        uint32_t from_node,
                        const struct sp_peer_message *message);

/* Apply answered the command at this index and term. */
void sp_controller_job_applied(struct sp_controller *controller,
                               uint64_t index,
                               uint64_t term,
                               const struct sp_controller_outcome *outcome);

/* controller_damage.c: other replicas of group 0 than `voter_id` go to quarantine. */
void sp_controller_retire_older(struct sp_controller *controller, uint64_t voter_id);

#endif /* SP_CLUSTER_CONTROLLER_PARTS_H */
