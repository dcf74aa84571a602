/* The controller's state machine: topics, partitions, replicas, nodes, counters (D10).
 *
 * Pure: commands in, state out, no I/O, no clock. The same commands in the same order give the same
 * state and the same checkpoint bytes on every node. Commands were validated by the leader before
 * they were proposed; apply checks again whatever could have changed since (a name taken by a
 * command before this one) and then answers with an error that everybody computes alike.
 *
 *   command: MessagePack [type, fields...]   state: MessagePack, versioned, in order of creation */
#ifndef SP_CLUSTER_STATE_H
#define SP_CLUSTER_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/feature.h"
#include "base/limits.h"
#include "base/map.h"
#include "cluster/producer_names.h"
#include "cluster/raft_group.h" /* struct sp_replica_place */
#include "cluster/topic_config.h"

/* Smallest max.message.bytes of a topic: a batch of one short record always fits. */
#define SP_STATE_MESSAGE_BYTES_MIN 1024

struct sp_state;

struct sp_state_node {
    uint32_t node_id;
    uint64_t incarnation;
    char client_address
        [SP_ADDRESS_SIZE_MAX]; /* what clients are told: "inside" or "inside,outside" */
    char peer_address[SP_ADDRESS_SIZE_MAX];
    char rack[64];                    /* "" when not set */
    struct sp_feature_range features; /* levels that its build knows */
    uint64_t run;                     /* of its data directory, see storage/store.h */
};

struct sp_state_partition {
    uint32_t partition;
    uint64_t group_id;
    bool moved; /* its replicas are not those that it was made with, or have been others */
    unsigned replica_count;
    struct sp_replica_place replicas[SP_REPLICAS_MAX]; /* the first is the preferred leader */
};

struct sp_state_topic {
    uint64_t topic_id; /* never reused */
    char name[SP_TOPIC_NAME_SIZE_MAX + 1];
    int64_t created_ms;
    uint32_t partition_count;
    struct sp_state_partition *partitions;
    struct sp_topic_config config;
};

/* What apply may tell its owner, so that reconcile acts on differences only. */
struct sp_state_change {
    enum {
        SP_STATE_NOTHING,
        SP_STATE_TOPIC_CREATED,
        SP_STATE_TOPIC_ALTERED,
        SP_STATE_TOPIC_DELETED, /* `topic` is valid until apply's callback returns */
        SP_STATE_NODE_CHANGED,
        SP_STATE_PRODUCER_BLOCK,
        SP_STATE_PRODUCER_NAMED,
        SP_STATE_PARTITION_CHANGED, /* its replicas: a move has begun, changed or ended */
        SP_STATE_NODE_REMOVED,
        SP_STATE_FEATURE_LEVEL, /* it rose, or is held or not held any more */
    } kind;
    const struct sp_state_topic *topic;
    uint32_t partition; /* PARTITION_CHANGED: of `topic` */
    uint32_t node_id;   /* NODE_REMOVED */
    const struct sp_state_node *node;
    uint64_t producer_id_first; /* PRODUCER_BLOCK: first of SP_PRODUCER_ID_BLOCK ids;
                                 * PRODUCER_NAMED: the id of the name */
    int16_t producer_epoch;     /* PRODUCER_NAMED: the epoch that it was given */
};

/* Empty, as before the first command, for a build that knows all levels. Replica ids are given out
 * from above SP_NODE_ID_MAX: those below belong to the founding members of group 0, whose replica
 * id is their node id. SPATE_ERR_NOMEM. */
int sp_state_new(struct sp_state **out_state);
void sp_state_free(struct sp_state *state);

/* Commands of levels above `level_max` are not known from now on, as to an older build. */
void sp_state_set_level_max(struct sp_state *state, uint32_t level_max);

/* ---- commands: encoders used by the leader --------------------------------------------------- */

/* All append to `out`: SPATE_ERR_NOMEM, SPATE_ERR_TOO_LARGE. Whether a command is allowed is known
 * when it is applied. */
int sp_state_command_register_node(const struct sp_state_node *node, struct sp_buf *out);

/* `nodes` has partitions * replicas node ids, partition by partition, chosen by placement. */
int sp_state_command_create_topic(const char *name,
                                  uint32_t partitions,
                                  uint32_t replicas,
                                  const uint32_t *nodes,
                                  const struct sp_topic_config *config,
                                  struct sp_buf *out);
int sp_state_command_delete_topic(const char *name, struct sp_buf *out);

/* Overrides of `change` are taken over, those whose bit is in `unset` are dropped. */
int sp_state_command_alter_topic(const char *name,
                                 const struct sp_topic_config *change,
                                 uint32_t unset,
                                 struct sp_buf *out);
int sp_state_command_producer_block(struct sp_buf *out);
int sp_state_command_producer_name(const char *name, const char *layout, struct sp_buf *out);
int sp_state_command_feature_level(uint32_t level, struct sp_buf *out);
int sp_state_command_feature_hold(bool hold, struct sp_buf *out);
int sp_state_command_force_nodes(const uint32_t *kept, unsigned count, struct sp_buf *out);

/* ---- machine --------------------------------------------------------------------------------- */

/* Applies one command. 0; a negative code that is this command's answer on every node (EXISTS,
 * UNKNOWN_TOPIC, INVALID, BUSY); SPATE_ERR_CORRUPT, SPATE_ERR_NOMEM or SPATE_ERR_UNSUPPORTED (a
 * newer build's command, or a feature level above this build's): the replica must stop.
 * `changed` (may be NULL) is called once when something changed. */
int sp_state_apply(struct sp_state *state,
                   const uint8_t *command,
                   size_t size,
                   int64_t append_time_ms,
                   void (*changed)(void *arg, const struct sp_state_change *change),
                   void *arg);

/* Appends the whole state to `out`: SPATE_ERR_NOMEM, SPATE_ERR_TOO_LARGE. */
int sp_state_checkpoint(const struct sp_state *state, struct sp_buf *out);

/* Replaces the state by one that was appended so; size 0: the empty one. SPATE_ERR_CORRUPT,
 * SPATE_ERR_NOMEM, SPATE_ERR_UNSUPPORTED; nothing changed then. */
int sp_state_restore(struct sp_state *state, const uint8_t *bytes, size_t size);

/* ---- looking --------------------------------------------------------------------------------- */

/* NULL: it is not there, or there is no further one. Borrowed until the next command. */
const struct sp_state_topic *sp_state_topic(const struct sp_state *state, const char *name);
const struct sp_state_topic *sp_state_topic_by_id(const struct sp_state *state, uint64_t topic_id);
const struct sp_state_topic *sp_state_topic_next(const struct sp_state *state,
                                                 struct sp_map_cursor *cursor);
unsigned sp_state_topic_count(const struct sp_state *state);
const struct sp_state_node *sp_state_node(const struct sp_state *state, uint32_t node_id);
const struct sp_state_node *sp_state_node_next(const struct sp_state *state,
                                               struct sp_map_cursor *cursor);
unsigned sp_state_node_count(const struct sp_state *state);

/* The cluster's feature level, and whether it is held where it is. */
uint32_t sp_state_feature_level(const struct sp_state *state);
bool sp_state_feature_hold(const struct sp_state *state);

/* The level to which it may be raised now: the highest that every registered node knows; the
 * present one when it is held or nobody knows more. */
uint32_t sp_state_feature_target(const struct sp_state *state);

/* Whether commands and formats of this feature may be written. */
bool sp_state_has_feature(const struct sp_state *state, enum sp_feature feature);

/* The named producers. */
const struct sp_producer_names *sp_state_producer_names(const struct sp_state *state);

/* True if `node` runs on an older copy of the data directory that is on record. */
bool sp_state_is_old_copy(const struct sp_state *state, const struct sp_state_node *node);

/* True if all fields are the same. */
bool sp_state_same_node(const struct sp_state_node *left, const struct sp_state_node *right);

/* Topic ids from here on were never given out; every topic below it exists or has been deleted. */
uint64_t sp_state_next_topic_id(const struct sp_state *state);

/* Names that begin so belong to the cluster itself: clients cannot create, delete, read or write
 * them. */
#define SP_STATE_INTERNAL_PREFIX "__"
/* Its partitions are the coordinators of consumer groups. */
#define SP_STATE_GROUPS_TOPIC "__groups"

/* True if the name begins so. */
bool sp_state_is_internal(const char *name);

/* Group ids from here on were never given out; every group below it exists or has been deleted. */
uint64_t sp_state_next_group_id(const struct sp_state *state);

/* Likewise of replicas of partitions. */
uint64_t sp_state_next_replica_id(const struct sp_state *state);

/* Replica ids below this one were given out before the last forced membership; 0: there was none.
 * The state may know too little of such replicas. */
uint64_t sp_state_forced_below(const struct sp_state *state);

/* 0 or SPATE_ERR_INVALID with a text that says which rule of names is broken: 1 to 249 characters
 * of [a-zA-Z0-9._-], not "." or "..". */
int sp_state_check_topic_name(const char *name, size_t size, char *text, size_t text_size);

#endif /* SP_CLUSTER_STATE_H */
