/* The metadata controller: Raft group 0, its state machine, and the way to change it from any node.
 *
 *   broker/admin --sp_controller_propose--> this node leads group 0?  yes: validate, place, submit
 *                                                                     no: CALL to the leader's node
 *   every node applies group 0 -> cluster/state -> cluster/reconcile
 *
 * A call answers only after this node itself has applied the outcome, so that a client which
 * created a topic here can use it here. All calls on the loop thread. */
#ifndef SP_CLUSTER_CONTROLLER_H
#define SP_CLUSTER_CONTROLLER_H

#include <stdbool.h>
#include <stdint.h>

#include "cluster/group_table.h"
#include "cluster/machine.h"
#include "cluster/membership_command.h"
#include "cluster/planner.h"

#define SP_CONTROLLER_GROUP_ID 0

struct sp_controller;

struct sp_controller_options {
    struct sp_loop *loop;
    struct sp_store *store;
    struct sp_group_table *table;
    struct sp_transport *transport;
    struct sp_state_node self; /* what this node registers itself as, and again when it differs */
    uint64_t node_replace_ms;  /* a node down for so long is replaced; 0: never */
    uint32_t coordinators;     /* partitions of the topic that consumer groups live in, which the
                                * leader creates when it is missing; 0: none is created */
};

struct sp_controller_handler {
    /* State changed by one applied command. Neither this nor `confirmed` once it has failed. */
    void (*changed)(void *arg, const struct sp_state_change *change);
    /* For the first time since start everything is applied up to an index that a leader of the
     * current term confirmed: reconcile may act (D10). Then again after a restore of the state. */
    void (*confirmed)(void *arg);
    /* Group 0 could not be opened or stopped itself, or the state, once confirmed, knows another
     * data directory of this node: the node must stop. */
    void (*failed)(void *arg, int status, const char *text);
    /* This node's replica of group 0 is damaged and was not opened: sp_controller_start again, with
     * another one. */
    void (*damaged)(void *arg, uint64_t voter_id, const char *text);
};

/* Nothing runs before sp_controller_start. Options and handler are copied, `arg` is passed to the
 * latter. SPATE_ERR_NOMEM. */
int sp_controller_new(const struct sp_controller_options *options,
                      const struct sp_controller_handler *handler,
                      void *arg,
                      struct sp_controller **out_controller);

/* The cluster is formed: opens this node's replica of group 0, `voter_id`, or with 0 creates it
 * with `members` (the seeds) as voters whose replica id is their node id. */
void sp_controller_start(struct sp_controller *controller,
                         uint64_t voter_id,
                         const uint32_t *members,
                         unsigned count);

/* For sp_join_options: this node has a new replica of group 0 in place of a damaged one. */
void sp_controller_renewed(void *controller);

/* Before whoever the handler calls is closed, and before the group table is: lets go of group 0,
 * stops all timers, fails every proposal with SPATE_ERR_CANCELED, now, and later ones likewise. The
 * handler is not called any more. More than once is fine. */
void sp_controller_stop(struct sp_controller *controller);

/* Stops and frees; group 0 itself is closed by the group table, which must be closed first. */
void sp_controller_free(struct sp_controller *controller);

/* What was applied here; changes with each command. */
const struct sp_state *sp_controller_state(const struct sp_controller *controller);

/* True if the metadata know a replica of the group that is no member of it, or do not know the
 * group at all. */
bool sp_controller_has_others(const struct sp_controller *controller,
                              const struct sp_raft_group *group);

/* Node id that leads group 0; 0: nobody. */
uint32_t sp_controller_leader(const struct sp_controller *controller);

/* What the node is in group 0: "leader", "voter", "standby" or "none". */
const char *sp_controller_role_of(const struct sp_controller *controller, uint32_t node_id);

/* True if the replica is a member of group 0, as far as this node knows. */
bool sp_controller_has_member(const struct sp_controller *controller, uint64_t replica_id);

/* A node whose replica of group 0 is about to become a voter, since there are too few of them; 0:
 * there are enough. */
uint32_t sp_controller_lacks_voter(const struct sp_controller *controller);

/* How many voters it should have with so many nodes that may be one. */
unsigned sp_controller_voters_for(unsigned nodes);

/* What is damaged in this node's replica of group 0 (*out_voter_id) while it has no other, and when
 * that was found, by the loop's clock; NULL: nothing is. */
const char *sp_controller_damage(const struct sp_controller *controller,
                                 uint64_t *out_voter_id,
                                 uint64_t *out_since_ms);

/* True once handler.confirmed was called. */
bool sp_controller_is_confirmed(const struct sp_controller *controller);

/* True if, besides, it has all that the controller's leader had when it spoke last: what its state
 * does not know does not exist. A node that is cut off, or catches up, may have missed it. */
bool sp_controller_is_current(const struct sp_controller *controller);

/* True if, besides, another node than that one leads: what the state says of it can be held against
 * it. A leader may have to tell first who it is. */
bool sp_controller_is_current_on(const struct sp_controller *controller, uint32_t node_id);

/* True if, besides, this node is a member and is the one that leads or linked to it: what it says
 * of others can be believed. One that was removed, or is cut off, does not follow. */
bool sp_controller_follows(const struct sp_controller *controller);

/* The nodes with a voting replica of group 0, as its membership on this node's disk says, also
 * before there is a state; returns how many, at most `count_max`. */
unsigned sp_controller_voters(const struct sp_controller *controller,
                              uint32_t *out_node_ids,
                              unsigned count_max);

/* The id of this node. */
uint32_t sp_controller_self(const struct sp_controller *controller);

/* True if the node is this one, or linked to it. */
bool sp_controller_sees(const struct sp_controller *controller, uint32_t node_id);

/* True if the node may be handed leaderships, see sp_transport_may_lead. */
bool sp_controller_may_lead(const struct sp_controller *controller, uint32_t node_id);

/* True if this node leads group 0 and has not seen the other for node.replace_after. */
bool sp_controller_is_gone(const struct sp_controller *controller, uint32_t node_id);

/* Whether the replicas of a node that is down will be made anew on other nodes. */
enum sp_rebuild {
    SP_REBUILD_OFF,           /* never: node.replace_after is 0 on the node that was asked */
    SP_REBUILD_UNSUPPORTED,   /* not at this feature level */
    SP_REBUILD_NO_CONTROLLER, /* nobody leads group 0, who would count the time */
    SP_REBUILD_WAITING,       /* when *out_rest_ms are over */
    SP_REBUILD_DUE,           /* now, as far as others can take them */
};

/* `down_ms`: since when this node has seen the other down, by the loop's clock. The leader of group
 * 0 counts, from when it has led; the others reckon from when they have known that leader. */
enum sp_rebuild sp_controller_rebuild(const struct sp_controller *controller,
                                      uint32_t node_id,
                                      uint64_t down_ms,
                                      uint64_t *out_rest_ms);

/* What this node knows of another one's health, as leader of group 0; `arg` is the controller. */
enum sp_planner_health sp_controller_health(void *arg, uint32_t node_id);

/* ---- asking for changes ---------------------------------------------------------------------- */

struct sp_proposal;
/* 0, or the reason with a text that says what to do (borrowed; "" on success). Retriable by the
 * caller when spate_error_retriable says so; the same proposal made twice is answered EXISTS /
 * UNKNOWN_TOPIC. SPATE_ERR_TIMEOUT: it may or may not come to be done. */
typedef void (*sp_proposal_cb)(struct sp_proposal *proposal, int status, const char *text);

enum sp_proposal_kind {
    SP_PROPOSAL_CREATE_TOPIC,
    SP_PROPOSAL_DELETE_TOPIC,
    SP_PROPOSAL_PRODUCER_BLOCK,
    SP_PROPOSAL_REGISTER_NODE,
    SP_PROPOSAL_PRODUCER_NAME,
    SP_PROPOSAL_FEATURE_LEVEL, /* raise it as far as it goes; the leader asks itself */
    SP_PROPOSAL_FEATURE_HOLD,
    SP_PROPOSAL_ALTER_TOPIC,
    SP_PROPOSAL_MEMBERSHIP,
};

/* Where a proposal stands.
 *
 *   IDLE -> WAITING --this node leads--> LED -----------.  applied
 *            ^  |                         |             v
 *            |  '----another leads----> CALLED ----> ANSWERED ----> FINISHED -> (cb) IDLE
 *            |                            |
 *            '-- no leader, not ready, or the outcome is uncertain: again after a pause
 *
 * The deadline leads from everywhere to FINISHED. */
enum sp_proposal_state {
    SP_PROPOSAL_IDLE,
    SP_PROPOSAL_WAITING,
    SP_PROPOSAL_LED,
    SP_PROPOSAL_CALLED,
    SP_PROPOSAL_ANSWERED,
    SP_PROPOSAL_FINISHED,
};

/* A change in progress, embedded by its caller and zero-initialised. Fill the first part. */
struct sp_proposal {
    enum sp_proposal_kind kind;
    char topic[SP_TOPIC_NAME_SIZE_MAX + 1];
    bool by_id;                    /* DELETE_TOPIC: only the topic that has `topic_id`, too, */
    uint64_t topic_id;             /* when the command is applied */
    uint32_t partitions;           /* CREATE_TOPIC; 0: 1 */
    uint32_t replicas;             /* CREATE_TOPIC; 0: 3, or as many as there are nodes if fewer */
    struct sp_topic_config config; /* CREATE_TOPIC: overrides; ALTER_TOPIC: those to be set */
    uint32_t unset;                /* ALTER_TOPIC: overrides to be dropped, bits */
    struct sp_state_node self;     /* REGISTER_NODE */
    char producer_name[SP_PRODUCER_NAME_SIZE_MAX + 1];     /* PRODUCER_NAME */
    char producer_layout[SP_PRODUCER_LAYOUT_SIZE_MAX + 1]; /* PRODUCER_NAME */
    bool hold;                                             /* FEATURE_HOLD */
    struct sp_membership_change membership;                /* MEMBERSHIP */
    uint32_t timeout_ms;                                   /* 0: 5000 */
    sp_proposal_cb cb;
    void *arg;                  /* the caller's */
    uint64_t producer_id_first; /* result of PRODUCER_BLOCK; of PRODUCER_NAME: its id */
    int16_t producer_epoch;     /* result of PRODUCER_NAME */
    struct sp_list node;        /* the rest belongs to the controller */
    struct sp_timer timer;      /* its deadline */
    struct sp_controller *controller;
    struct sp_controller_job *job; /* LED: our own submit */
    enum sp_proposal_state state;
    bool existed;         /* CREATE_TOPIC: the topic was there before the first try */
    bool uncertain;       /* a try was sent whose outcome never came: it may have been done */
    uint32_t called_node; /* CALLED: whom */
    uint32_t older_node;  /* which has refused a `by_id`, of which its build knows nothing; or 0 */
    uint64_t call_id;     /* CALLED: which call */
    uint64_t due_ms;      /* WAITING, CALLED: when the next try is due */
    uint64_t index;       /* ANSWERED: waiting to be applied here */
    int answer;           /* ANSWERED: result; WAITING: why the last try was refused, or 0 */
    char text[256];       /* of the answer */
};

/* Starts it; `cb` later, always. No leader at the moment: it waits within its deadline and is sent
 * again when a leader shows (safe, since proposals are idempotent by name; a producer's name that
 * is taken twice skips an epoch, which nobody misses). */
void sp_controller_propose(struct sp_controller *controller, struct sp_proposal *proposal);

/* Takes a proposal back whose owner goes away: `cb` will not run. What was sent may still be done.
 * Fine for one that was never started (all zero) or has ended. */
void sp_controller_cancel(struct sp_controller *controller, struct sp_proposal *proposal);

/* Messages CALL and REPLY from the transport. */
void sp_controller_message(struct sp_controller *controller,
                           uint32_t from_node,
                           const struct sp_peer_message *message);

#endif /* SP_CLUSTER_CONTROLLER_H */
