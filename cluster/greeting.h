/* Decides whether the sender of a HELLO is to be talked to. */
#ifndef SP_CLUSTER_GREETING_H
#define SP_CLUSTER_GREETING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/feature.h"
#include "storage/store.h"
#include "wire/peer_api.h"

#define SP_REFUSAL_SIZE 200 /* of a sentence that says why a connection is closed */

/* Feature levels, as HELLO tells them. */
struct sp_greeting_levels {
    struct sp_feature_range known; /* to this build; both 0: levels are neither told nor checked */
    uint32_t active;               /* the cluster's; 0: this node does not know it yet */
};

/* What this node knows. */
struct sp_greeting_facts {
    uint32_t node_id;               /* of this node */
    uint32_t expected_node_id;      /* who should answer at the address; 0: it called us */
    bool known;                     /* the sender's id is among the nodes */
    uint64_t connected_incarnation; /* of the sender's id, while it is connected; else 0 */
    const uint8_t *cluster_id;      /* NULL: this node is not formed */
    const struct sp_greeting_levels *levels;
    const struct sp_life *registered; /* of the sender, as the controller knows it */
};

void sp_greeting_tell_levels(const struct sp_greeting_levels *levels, struct sp_peer_hello *hello);

/* 0, or the reason in `text` (SP_REFUSAL_SIZE bytes):
 *   SPATE_ERR_WRONG_CLUSTER
 *   SPATE_ERR_INVALID       anything else, also that one of both is too old for the level that the
 *                           other says the cluster has
 * Any thread. */
int sp_greeting_check(const struct sp_greeting_facts *facts,
                      const struct sp_peer_hello *hello,
                      char *text);

#endif /* SP_CLUSTER_GREETING_H */
