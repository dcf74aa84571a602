/* Watches over quiet groups: for each other node one small message now and then says, for all quiet
 * groups of the two at once, that the sender is there and which groups it leads quietly.
 *
 *   this node leads  g1 g2 g3 quietly, followers on node B        `led` of B    = {3, sum}
 *   node B follows   g1 g2 g3 quietly, led by this node           `followed` of this node there
 *
 *   this node ---- VIGIL {number 7, led} ----------> B    the same set there: heard
 *   this node <--- VIGIL {answers 7, agrees} ------- B    the same set there: agreed
 *
 * Invariants:
 *  V1  A follower of a quiet group has heard, less than an election timeout ago, that its leader's
 *      node leads exactly the groups quietly that it follows quietly itself; else it wakes.
 *  V2  A quiet leader has been told, less than two election timeouts ago, by every node with a
 *      follower of it that both agree; else it wakes.
 *
 * So whatever goes wrong (a message dropped, a process stopped, restarted or cut off in either
 * direction, a leader that leads no more, a replica that was closed) ends in one of two ways: a
 * link that changes, or a set that differs, which counts as silence. Nothing is remembered of a
 * node beyond a change of its link. A set is known by its size and the sum of a hash of each
 * (group, term, follower): two sets that differ are taken for the same once in 2^64.
 *
 * All calls on the loop thread. */
#ifndef SP_CLUSTER_VIGIL_H
#define SP_CLUSTER_VIGIL_H

#include <stdbool.h>
#include <stdint.h>

#include "cluster/transport.h"

struct sp_vigil;

/* Which side of a quiet group this node is on. */
enum sp_vigil_side {
    SP_VIGIL_LED,      /* the follower is on the other node */
    SP_VIGIL_FOLLOWED, /* the leader is */
};

struct sp_vigil_options {
    struct sp_loop *loop;
    struct sp_transport *transport;
    uint32_t election_timeout_ms;
    /* Nothing that agrees has come from that node for too long: all quiet groups that have their
     * leader or a follower there are to be woken before this returns. */
    void (*silent)(void *arg, uint32_t node_id);
    void *arg;
};

/* SPATE_ERR_NOMEM. */
int sp_vigil_new(const struct sp_vigil_options *options, struct sp_vigil **out_vigil);
void sp_vigil_free(struct sp_vigil *vigil);

/* One follower of a quiet group. */
struct sp_vigil_key {
    uint64_t group_id;
    uint64_t term;
    uint64_t follower; /* its replica id */
};

/* A group has become quiet, and one no longer is: the same calls in pairs. */
void sp_vigil_add(struct sp_vigil *vigil,
                  uint32_t node_id,
                  enum sp_vigil_side side,
                  const struct sp_vigil_key *key);
void sp_vigil_remove(struct sp_vigil *vigil,
                     uint32_t node_id,
                     enum sp_vigil_side side,
                     const struct sp_vigil_key *key);

/* False for a while after the link to the node has changed or was silent: groups should not become
 * quiet only to be woken. */
bool sp_vigil_steady(const struct sp_vigil *vigil, uint32_t node_id);

/* When a quiet follower heard of its leader's node last; now, if it has none there. */
uint64_t sp_vigil_heard_ms(const struct sp_vigil *vigil, uint32_t node_id);

/* A VIGIL message has come. */
void sp_vigil_hear(struct sp_vigil *vigil, uint32_t node_id, const struct sp_peer_vigil *message);

/* The state of the link to a node has changed; its groups were woken before. */
void sp_vigil_link_changed(struct sp_vigil *vigil, uint32_t node_id);

#endif /* SP_CLUSTER_VIGIL_H */
