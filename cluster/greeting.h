/* Decides whether the sender of a HELLO is to be talked to. */
#ifndef SP_CLUSTER_GREETING_H
#define SP_CLUSTER_GREETING_H

#include <stdbool.h>
#include <stddef.h>
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
    bool current;                     /* and that is what it says now */
};

/* Fills in what a HELLO says of feature levels. */
void sp_greeting_tell_levels(const struct sp_greeting_levels *levels, struct sp_peer_hello *hello);

/* Of two processes with one node id the one goes first whose directory the controller knows; else
 * the one that is connected. 0, or the reason in `text` (SP_REFUSAL_SIZE bytes):
 *   SPATE_ERR_WRONG_CLUSTER
 *   SPATE_ERR_INVALID       anything else, also that one of both is too old for the level that the
 *                           other says the cluster has
 * Any thread. */
int sp_greeting_check(const struct sp_greeting_facts *facts,
                      const struct sp_peer_hello *hello,
                      char *text);

/* ---- telling of refusals --------------------------------------------------------------------- */

#define SP_REFUSAL_REASONS_MAX 8
#define SP_REFUSAL_PAUSE_MS 10000 /* a node that is refused comes again twice a second */

/* Reasons that were told lately. Zeros: none. */
struct sp_refusals {
    struct {
        uint64_t due_ms; /* when it may be told again */
        uint32_t crc;    /* of its sentence */
    } reasons[SP_REFUSAL_REASONS_MAX];
};

/* True if the sentence is to be told: it is new, or SP_REFUSAL_PAUSE_MS have passed. */
bool sp_refusal_is_due(struct sp_refusals *refusals,
                       const char *text,
                       size_t size,
                       uint64_t now_ms);

#endif /* SP_CLUSTER_GREETING_H */
