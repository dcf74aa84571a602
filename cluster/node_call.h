/* What nodes ask of each other by CALL and answer by REPLY: the methods and their bodies.
 *
 *   CALL  PROPOSE   [kind, topic, partitions, replicas, config]                create a topic
 *                   [kind, topic]                                              delete a topic
 *                   [kind]                                                     producer block
 *                   [kind, node]                                               register a node
 *                   [kind, name, layout]                                       producer name
 *                   [kind, change]                 membership, as in cluster/membership_command
 *                   [kind]                                                     feature level
 *                   [kind, 0 or 1]                                             hold it
 *                   [kind, topic, config, keys]                                alter a topic
 *   REPLY           [text, index, producer_id_first], and producer_epoch unless it is 0;
 *                   the status is in the message's head
 *
 * MessagePack; `kind` is enum sp_proposal_kind, `node` as in cluster/state_codec,
 * `config` and `keys` as in cluster/topic_config. `index` is what
 * the caller must have applied to see the outcome. */
#ifndef SP_CLUSTER_NODE_CALL_H
#define SP_CLUSTER_NODE_CALL_H

#include "cluster/controller.h"

enum sp_node_method {
    SP_NODE_PROPOSE = 1, /* the leader of group 0 makes the change and answers with its outcome */
};

struct sp_node_reply {
    int status; /* travels in the head of the message */
    char text[256];
    uint64_t index;
    uint64_t producer_id_first;
    int16_t producer_epoch;
};

/* Append a body to `out`. SPATE_ERR_NOMEM, SPATE_ERR_TOO_LARGE. */
int sp_node_call_encode(const struct sp_proposal *proposal, struct sp_buf *out);
int sp_node_reply_encode(const struct sp_node_reply *reply, struct sp_buf *out);

/* Read a body. The fields of the proposal that its caller fills are set, all others zero; status of
 * the reply is left alone. SPATE_ERR_MALFORMED; outputs may be partly written then. */
int sp_node_call_decode(const uint8_t *bytes, size_t size, struct sp_proposal *out_proposal);
int sp_node_reply_decode(const uint8_t *bytes, size_t size, struct sp_node_reply *out_reply);

#endif /* SP_CLUSTER_NODE_CALL_H */
