/* Changes of who is a member of what, as they are asked for: of the cluster, of a partition.
 *
 * A change travels from any node to the leader of group 0 (its bytes are below), which checks it
 * against its state and makes a command of it. Pure.
 *
 *   [kind, topic_id, partition, [node_id, fresh, ...], node_id, flag]     and the node of a JOIN */
#ifndef SP_CLUSTER_MEMBERSHIP_COMMAND_H
#define SP_CLUSTER_MEMBERSHIP_COMMAND_H

#include "cluster/state_moves.h"
#include "cluster/state_nodes.h"
#include "wire/cursor.h"
#include "wire/pack.h"

enum sp_membership_kind {
    SP_MEMBERSHIP_MOVE = 1,         /* topic_id, partition, wishes */
    SP_MEMBERSHIP_MOVE_DONE = 2,    /* topic_id, partition, ids, node_id: its mark */
    SP_MEMBERSHIP_JOIN_NODE = 3,    /* node, ids[0]: its replica of group 0, 0: it has none */
    SP_MEMBERSHIP_DRAIN_NODE = 4,   /* node_id, flag: draining */
    SP_MEMBERSHIP_REMOVE_NODE = 5,  /* node_id */
    SP_MEMBERSHIP_LOST_REPLICA = 6, /* topic_id, partition, ids[0]: it is damaged */
    SP_MEMBERSHIP_NODE_GONE = 7,    /* node_id */
    SP_MEMBERSHIP_RENEW_VOTER = 8,  /* node_id, ids[0]: its replica of group 0, damaged */
};

struct sp_membership_change {
    enum sp_membership_kind kind;
    uint64_t topic_id;
    uint32_t partition;
    unsigned count;
    struct sp_state_wish wishes[SP_REPLICAS_MAX]; /* MOVE: count */
    uint64_t ids[SP_REPLICAS_MAX];                /* MOVE_DONE, LOST_REPLICA, RENEW_VOTER: count */
    uint32_t node_id; /* MOVE_DONE: sp_membership_move_mark; 0, by an older build: any */
    bool flag;
    struct sp_state_node node;
};

/* What tells a move from an earlier one to the same target: its beginning in milliseconds, modulo
 * 2^32, never 0. */
uint32_t sp_membership_move_mark(const struct sp_state_move *move);

/* The change as it is sent to the leader. */
void sp_membership_change_pack(struct sp_pack *pack, const struct sp_membership_change *change);

/* What is wrong sticks to the cursor. */
void sp_membership_change_read(struct sp_cursor *cursor, struct sp_membership_change *out);

/* Appends the command for what the change asks of `state` to `out`.
 *   SPATE_ERR_EXISTS                   it is so already
 *   SPATE_ERR_INVALID, SPATE_ERR_UNKNOWN_TOPIC, SPATE_ERR_UNKNOWN_PARTITION, SPATE_ERR_NOT_FOUND,
 *   SPATE_ERR_BUSY                     `text` says why
 *   SPATE_ERR_NOMEM, SPATE_ERR_TOO_LARGE */
int sp_membership_command(const struct sp_state *state,
                          const struct sp_membership_change *change,
                          struct sp_buf *out,
                          char *text,
                          size_t text_size);

/* The partition that a MOVE is of, if it has one replica, and that may have what nobody else has;
 * else NULL. */
const struct sp_state_partition *sp_membership_only(const struct sp_state *state,
                                                    const struct sp_membership_change *change);

/* SPATE_ERR_INVALID: nobody leads it, so nobody could fill another replica, and once the move is
 * there the partition would not begin anew, should its node get another disk (sp_state_heir). */
int sp_membership_refuse_unled(const struct sp_state_partition *only, char *text, size_t text_size);

/* True if the state knows too few other replicas of the partition to go on without this one, which
 * is damaged; `text` says so, and what a person can do. */
bool sp_membership_needs_replica(const struct sp_state *state,
                                 const struct sp_state_partition *partition,
                                 uint64_t replica_id,
                                 char *text,
                                 size_t text_size);

/* Text for what apply answered, "" for 0. */
void sp_membership_explain(const struct sp_membership_change *change,
                           int answer,
                           char *text,
                           size_t text_size);

#endif /* SP_CLUSTER_MEMBERSHIP_COMMAND_H */
