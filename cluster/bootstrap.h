/* How the seeds of a new cluster agree on its id, once, without a format step (DESIGN D10).
 *
 *   EMPTY --all seeds greeted, same list, nobody formed--> FORMING --all have it on disk--> FORMED
 *
 *   lowest seed                         every other seed
 *   persists FORMING {cluster id}
 *   FORM {cluster id} ----------------> persists FORMING {cluster id}
 *                     <---------------- FORM_OK
 *   (from all) persists FORMED
 *   FORMED -------------------------->  persists FORMED
 *
 * Invariants:
 *  I1  A message is sent only after the state it speaks of is durable.
 *  I2  A FORMING seed never changes its cluster id. Nobody is FORMED before all seeds are durably
 *      FORMING with that id; so a seed that is EMPTY while another is FORMED has lost its disk: it
 *      forms nothing and has to join.
 *      Likewise when a node of a cluster that it does not know takes it for a member.
 *  I3  Every step can be repeated: messages are sent again by the tick and whenever a seed greets,
 *      so a crash anywhere only delays.
 *
 * Pure: input is hellos, messages, durability and ticks; output are the callbacks. Any thread, one
 * at a time. */
#ifndef SP_CLUSTER_BOOTSTRAP_H
#define SP_CLUSTER_BOOTSTRAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"
#include "storage/store.h"
#include "wire/peer_api.h"

#define SP_BOOTSTRAP_TICK_MS 100

struct sp_bootstrap_handler {
    /* Asks for the identity to be made durable; returns the sequence that sp_bootstrap_durable will
     * report, or 0 when memory is out (it is tried again with the next tick). */
    uint64_t (*persist)(void *arg, const struct sp_identity *identity);
    /* Sends FORM, FORM_OK or FORMED; may drop it. */
    void (*send)(void *arg,
                 uint32_t node_id,
                 enum sp_peer_kind kind,
                 const uint8_t cluster_id[SP_CLUSTER_ID_SIZE]);
    /* The durable identity has changed: greet all nodes again. */
    void (*changed)(void *arg);
    /* This node is FORMED. `fresh`: it became so just now. Once per start. */
    void (*formed)(void *arg, bool fresh);
    /* The cluster is formed and this node's directory is empty: its disk was replaced, and it has
     * to join. Once per start. */
    void (*lost)(void *arg);
    /* 64 bits of true chance. */
    uint64_t (*random)(void *arg);
};

/* What is known of another seed. */
struct sp_bootstrap_seed {
    uint32_t node_id;
    bool greeted; /* the rest is from its hello or a later answer */
    bool form_ok; /* durably FORMING with our cluster id */
    uint64_t incarnation;
    enum sp_identity_state state;
    uint8_t cluster_id[SP_CLUSTER_ID_SIZE];
    uint32_t seeds_hash;
};

/* Open for embedding only. */
struct sp_bootstrap {
    const struct sp_bootstrap_handler *handler;
    void *arg;
    struct sp_identity identity; /* durable */
    struct sp_identity wanted;   /* being made durable while `sequence` is not 0 */
    uint64_t sequence;
    uint32_t seeds_hash;
    bool joins;    /* forms nothing: waits for sp_bootstrap_adopt */
    bool stuck;    /* has traced why it cannot go on */
    bool proposed; /* FORM came with `proposal` */
    uint8_t proposal[SP_CLUSTER_ID_SIZE];
    unsigned seed_count; /* of others */
    struct sp_bootstrap_seed seeds[SP_NODES_MAX];
};

/* Prepares `bootstrap` (caller's memory, no deinit needed). `identity` is what the store has.
 * `node_ids` are the seeds, with or without this node; `seeds_hash` stands for their list with
 * addresses. Nothing is called before sp_bootstrap_start. */
void sp_bootstrap_init(struct sp_bootstrap *bootstrap,
                       const struct sp_identity *identity,
                       const uint32_t *node_ids,
                       unsigned count,
                       uint32_t seeds_hash,
                       const struct sp_bootstrap_handler *handler,
                       void *arg);

/* Begins: tells `formed` at once if the identity is FORMED already. */
void sp_bootstrap_start(struct sp_bootstrap *bootstrap);

/* The node was let into the cluster of that id: becomes FORMED. Nothing happens if it is. */
void sp_bootstrap_adopt(struct sp_bootstrap *bootstrap,
                        const uint8_t cluster_id[SP_CLUSTER_ID_SIZE]);

/* A node greeted, on whichever connection. Nodes that are no seeds are ignored. */
void sp_bootstrap_hello(struct sp_bootstrap *bootstrap, const struct sp_peer_hello *hello);

/* A node that is no seed and FORMED greeted: this one is a member of its cluster, or was. If it is
 * EMPTY it forms none: with other seeds that lost their disks it would make a second cluster of the
 * members of the first. */
void sp_bootstrap_met(struct sp_bootstrap *bootstrap, uint32_t node_id);

/* FORM, FORM_OK or FORMED came from a node that has greeted. */
void sp_bootstrap_message(struct sp_bootstrap *bootstrap,
                          uint32_t node_id,
                          enum sp_peer_kind kind,
                          const uint8_t cluster_id[SP_CLUSTER_ID_SIZE]);

/* Meta requests up to `sequence` are durable. */
void sp_bootstrap_durable(struct sp_bootstrap *bootstrap, uint64_t sequence);

/* Does again what has had no answer. */
void sp_bootstrap_tick(struct sp_bootstrap *bootstrap);

/* True while ticks are wanted. */
bool sp_bootstrap_busy(const struct sp_bootstrap *bootstrap);

#endif /* SP_CLUSTER_BOOTSTRAP_H */
