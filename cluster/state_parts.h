/* Inside of the controller's state, for cluster/state and cluster/state_*.c alone. */
#ifndef SP_CLUSTER_STATE_PARTS_H
#define SP_CLUSTER_STATE_PARTS_H

#include "cluster/producer_names.h"
#include "cluster/state_moves.h"
#include "cluster/state_nodes.h"
#include "wire/cursor.h"
#include "wire/pack.h"

/* First replica id given out: those below are left to the founding members of group 0, whose
 * replica id is their node id, so that no id ever stands for two replicas. */
#define SP_STATE_FIRST_REPLICA_ID (SP_NODE_ID_MAX + 2)

/* Far below the end of int64, so that no sum of ids overflows; nobody gets there. */
#define SP_STATE_ID_MAX (UINT64_C(1) << 62)

/* So many replica and producer ids a forced membership leaves out. */
#define SP_STATE_FORCED_STEP (UINT64_C(1) << 32)

struct sp_state_node_entry {
    struct sp_state_node shown; /* first member: what the map's users see */
    uint32_t replica_count;     /* over all topics, those of moves included */
    struct sp_state_member member;
};

struct sp_state {
    uint64_t next_topic_id;
    uint64_t next_group_id; /* 0 is the controller's */
    uint64_t next_replica_id;
    uint64_t next_producer_id;
    uint32_t feature_level; /* of the cluster */
    bool feature_hold;
    uint32_t level_max;    /* what this build knows; not replicated */
    struct sp_map *nodes;  /* node id -> struct sp_state_node_entry, in order of registration */
    struct sp_map *topics; /* name -> struct sp_state_topic, owned, in order of creation */
    struct sp_map *by_id;  /* topic id -> the same */
    struct sp_producer_names *producer_names; /* owned */
    struct sp_map *moves; /* group id -> struct sp_state_move, owned, in order of beginning */
};

/* Frees what the state holds, not the struct itself. */
void sp_state_deinit(struct sp_state *state);

/* Adds a node whose id is not taken; *out_node is the state's copy. SPATE_ERR_INVALID: a field is
 * bad, the id is taken, or it is one too many; SPATE_ERR_NOMEM. */
int sp_state_add_node(struct sp_state *state,
                      const struct sp_state_node *node,
                      const struct sp_state_node **out_node);

/* Adds a topic that has all its ids; takes it on success only. SPATE_ERR_EXISTS: its name or id is
 * taken; SPATE_ERR_INVALID: bounds, or a partition's nodes; SPATE_ERR_NOMEM. */
int sp_state_add_topic(struct sp_state *state, struct sp_state_topic *topic);

/* True if id, addresses and feature levels are within their bounds. */
bool sp_state_node_is_valid(const struct sp_state_node *node);

/* ---- state_nodes.c, state_moves.c: the fields of commands, behind their number ------------- */

/* Errors as sp_state_apply; *out_change is set on success only. */
int sp_state_join_node(struct sp_state *state,
                       struct sp_cursor *cursor,
                       struct sp_state_change *out_change);
int sp_state_drain_node(struct sp_state *state,
                        struct sp_cursor *cursor,
                        struct sp_state_change *out_change);
int sp_state_remove_node(struct sp_state *state,
                         struct sp_cursor *cursor,
                         struct sp_state_change *out_change);
int sp_state_renew_voter(struct sp_state *state,
                         struct sp_cursor *cursor,
                         struct sp_state_change *out_change);
int sp_state_node_gone(struct sp_state *state,
                       struct sp_cursor *cursor,
                       struct sp_state_change *out_change);
int sp_state_begin_move(struct sp_state *state,
                        struct sp_cursor *cursor,
                        int64_t append_time_ms,
                        struct sp_state_change *out_change);
int sp_state_end_move(struct sp_state *state,
                      struct sp_cursor *cursor,
                      struct sp_state_change *out_change);

/* One replica more (`step` -1: less) at a node. */
void sp_state_count_replica(const struct sp_state *state, uint32_t node_id, int step);

/* False: there is no such node. */
bool sp_state_set_member(struct sp_state *state,
                         uint32_t node_id,
                         const struct sp_state_member *member);

/* Puts a move that has all its ids in the place of the one that its group has. SPATE_ERR_BUSY,
 * SPATE_ERR_NOMEM. */
int sp_state_put_move(struct sp_state *state, const struct sp_state_move *move);

/* Takes the move of a group out of the table, if it has one: true, and *out_move is it. */
bool sp_state_take_move(struct sp_state *state,
                        const struct sp_state_partition *partition,
                        struct sp_state_move *out_move);

/* Forgets the moves of a topic that goes, which still has its replicas counted. */
void sp_state_drop_moves(struct sp_state *state, const struct sp_state_topic *topic);

/* ---- state_membership.c ---------------------------------------------------------------------- */

struct sp_state_membership_command {
    uint64_t kind; /* enum sp_state_command */
    uint32_t element_count;
    int64_t append_time_ms;
    struct sp_cursor *cursor; /* behind the kind */
};

/* True if the kind of a command is one of those. */
bool sp_state_is_membership(uint64_t command);
int sp_state_apply_membership(struct sp_state *state,
                              const struct sp_state_membership_command *command,
                              struct sp_state_change *out_change);

/* True if there is anything for the section to say. */
bool sp_state_has_membership(const struct sp_state *state);
void sp_state_membership_encode(const struct sp_state *state, struct sp_pack *pack);

/* After nodes and topics; errors stick to the cursor. */
void sp_state_membership_decode(struct sp_state *state, struct sp_cursor *cursor);

/* ---- state_producers.c: the fields of two commands, behind their number ---------------------- */

/* Errors as sp_state_apply; *out_change is set on success only. */
int sp_state_take_producer_block(struct sp_state *state,
                                 struct sp_cursor *cursor,
                                 struct sp_state_change *out_change);
int sp_state_take_producer_name(struct sp_state *state,
                                struct sp_cursor *cursor,
                                int64_t append_time_ms,
                                struct sp_state_change *out_change);

/* ---- state_features.c, state_force.c: likewise ----------------------------------------------- */

/* SPATE_ERR_UNSUPPORTED: the level is above level_max. */
int sp_state_take_feature_level(struct sp_state *state,
                                struct sp_cursor *cursor,
                                struct sp_state_change *out_change);
int sp_state_take_feature_hold(struct sp_state *state,
                               struct sp_cursor *cursor,
                               struct sp_state_change *out_change);
int sp_state_take_force_nodes(struct sp_state *state,
                              struct sp_cursor *cursor,
                              struct sp_state_change *out_change);

/* Whether this build knows commands of this kind; those of an older level it always does. */
bool sp_state_knows(const struct sp_state *state, uint64_t kind);

#endif /* SP_CLUSTER_STATE_PARTS_H */
