/* The bytes of the controller's commands and of the parts of its checkpoint (MessagePack).
 *
 *   command     [1, node]                                            register a node
 *               [2, name, partitions, replicas, config, [node_id, ...]]   create a topic
 *               [3, name]                                            delete a topic
 *               [4]                                                  take a block of producer ids
 *               [5, name, layout]                                    take a producer's name
 *               [6, name, config, keys]                              alter a topic
 *               [20, level]                                          raise the feature level
 *               [21, 0 or 1]                                         hold it, or no more
 *               [22, [node_id, ...]]                                 only these nodes are left
 *               [32, ...] to [37, ...]          membership, see cluster/state_membership.c
 *   node        [node_id, incarnation, client_address, peer_address, rack, least, most, run]
 *               the first five alone: it knows the first level, and is in no counted run
 *   topic       [topic_id, name, created_ms, config, [partition, ...]]
 *   partition   [group_id, replica_id, node_id, replica_id, node_id, ...], and true if it was moved
 *
 * config and keys are those of cluster/topic_config. Readers check shape and what fits the structs,
 * with a sticky error in the cursor; what the values mean is checked by cluster/state. Bytes come
 * from disk or from a peer, so they are hostile. Used by cluster/state and cluster/node_call alone.
 */
#ifndef SP_CLUSTER_STATE_CODEC_H
#define SP_CLUSTER_STATE_CODEC_H

#include "cluster/state.h"
#include "wire/cursor.h"
#include "wire/pack.h"

enum sp_state_command {
    SP_STATE_REGISTER_NODE = 1,
    SP_STATE_CREATE_TOPIC = 2,
    SP_STATE_DELETE_TOPIC = 3,
    SP_STATE_TAKE_PRODUCER_BLOCK = 4,
    SP_STATE_TAKE_PRODUCER_NAME = 5,
    SP_STATE_ALTER_TOPIC = 6,
    SP_STATE_FEATURE_LEVEL_SET = 20,
    SP_STATE_FEATURE_HOLD_SET = 21,
    SP_STATE_FORCE_NODES = 22,
    SP_STATE_MOVE_BEGIN = 32, /* from here on: cluster/state_membership.c */
    SP_STATE_MOVE_DONE = 33,
    SP_STATE_JOIN_NODE = 34,
    SP_STATE_DRAIN_NODE = 35,
    SP_STATE_REMOVE_NODE = 36,
    SP_STATE_NODE_GONE = 37,
    SP_STATE_RENEW_VOTER = 38,
};

/* Reads a text without control characters into `out` of `capacity` bytes, NUL included; a text that
 * is longer fails the cursor with SPATE_ERR_INVALID. */
void sp_state_text_read(struct sp_cursor *cursor, char *out, size_t capacity);

/* A node as commands and checkpoints hold it; errors stick to the packer or the cursor. */
void sp_state_node_pack(struct sp_pack *pack, const struct sp_state_node *node);
void sp_state_node_read(struct sp_cursor *cursor, struct sp_state_node *out_node);

/* A topic with room for its partitions, all zero; NULL when memory is out. */
struct sp_state_topic *sp_state_topic_new(uint32_t partition_count);
void sp_state_topic_free(struct sp_state_topic *topic);

/* Errors stick to the packer. */
void sp_state_topic_pack(struct sp_pack *pack, const struct sp_state_topic *topic);

/* Returns a new topic owned by the caller; NULL: the cursor has failed, with SPATE_ERR_NOMEM when
 * memory is out. Counts are within base/limits.h then. */
struct sp_state_topic *sp_state_topic_read(struct sp_cursor *cursor);

#endif /* SP_CLUSTER_STATE_CODEC_H */
