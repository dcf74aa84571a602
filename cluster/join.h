/* How a node gets into a cluster that exists: with an empty directory, as a new node or because its
 * disk was replaced (D10). No format step.
 *
 *   node                                       any member
 *   JOIN {itself, its voter id} -------------> the controller's leader gives it a place: JOIN_NODE
 *                               <------------- JOINED {cluster id, voter id, all nodes}
 *   creates its empty replica of group 0, durable
 *   persists its identity: FORMED
 *   links to all nodes, is sent the controller's log
 *
 * A crash anywhere only delays: JOIN can be repeated and gets the same answer for the same
 * incarnation. The replica is made before the identity, so a FORMED node without one is a founder.
 * A member that is started with addresses to join asks as well, and any when a node greets that it
 * does not know or does not find: it learns of the others' addresses, which costs the cluster
 * nothing while what is known of the one that asks is right.
 *
 * A member whose replica of group 0 is damaged asks the same way, with the flag `lost`: it is given
 * another replica, and the old one never comes back (RENEW_VOTER). What else it has stays.
 * All calls on the loop thread. */
#ifndef SP_CLUSTER_JOIN_H
#define SP_CLUSTER_JOIN_H

#include "cluster/controller.h"
#include "cluster/transport.h"

#define SP_JOIN_STRANGER_MS 500 /* the controller's state may tell of it meanwhile */
#define SP_JOIN_SILENT_MS 1000  /* nobody answers for so long: it is told */
#define SP_JOIN_AGAIN_MS 5000   /* nodes that were removed go on greeting */

/* Body of JOIN: [node, cluster_id or empty, voter_id or 0], and `true` behind it if it is lost. */
struct sp_join_request {
    struct sp_state_node node;
    bool formed;
    uint8_t cluster_id[SP_CLUSTER_ID_SIZE];
    uint64_t voter_id; /* of its replica of group 0; 0: it has none */
    bool lost;         /* that one is damaged */
};

/* Body of JOINED: [status, text, cluster_id, voter_id, [node_id, peer_address, ...]]. */
struct sp_join_answer {
    int status;
    char text[256];
    uint8_t cluster_id[SP_CLUSTER_ID_SIZE];
    uint64_t voter_id;
    unsigned node_count;
    struct {
        uint32_t node_id;
        char peer_address[SP_ADDRESS_SIZE_MAX];
    } nodes[SP_NODES_MAX];
};

/* Encoding appends to `out`: SPATE_ERR_NOMEM, SPATE_ERR_TOO_LARGE. Decoding reads what came from
 * another node: SPATE_ERR_MALFORMED, with `out` undefined. */
int sp_join_request_encode(const struct sp_join_request *request, struct sp_buf *out);
int sp_join_request_decode(const uint8_t *bytes, size_t size, struct sp_join_request *out);
int sp_join_answer_encode(const struct sp_join_answer *answer, struct sp_buf *out);
int sp_join_answer_decode(const uint8_t *bytes, size_t size, struct sp_join_answer *out);

struct sp_join;

struct sp_join_options {
    struct sp_loop *loop;
    struct sp_store *store;
    struct sp_transport *transport;
    const struct sp_transport_options *addresses; /* join list, then seeds, then who has a link */
    struct sp_state_node self;
    /* After sp_join_renew: this node's registry has a new replica of group 0. */
    void (*renewed)(void *arg);
    void *arg;
};

/* SPATE_ERR_NOMEM. */
int sp_join_new(const struct sp_join_options *options, struct sp_join **out_join);

/* Begins to ask, until it is answered. More than once is fine. */
void sp_join_start(struct sp_join *join);

/* A node of this cluster has greeted that this member does not know, and so does not talk to, or
 * does not find. It may have come, or moved, while this one was away, and lead the controller by
 * now: asks once more, soon. */
void sp_join_met_stranger(struct sp_join *join);

/* This node's replica `voter_id` of group 0 is damaged: asks for another one until it has it, then
 * `renewed`. `text` says what is wrong with it. */
void sp_join_renew(struct sp_join *join, uint64_t voter_id, const char *text);

/* Why this node is not let in yet, as the address that was asked last has it; "": it is in, or has
 * not been asking for long. */
const char *sp_join_waits(const struct sp_join *join);

/* Stops asking and calls `closed`, in a later turn. */
void sp_join_close(struct sp_join *join, void (*closed)(void *arg), void *arg);

/* The id of this node's replica of group 0, or 0: the registry has none. */
uint64_t sp_join_voter_id(const struct sp_store *store);

#endif /* SP_CLUSTER_JOIN_H */
