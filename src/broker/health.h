/* What is wrong in the cluster as this node sees it, in numbers; health.c says what each means. */
#ifndef SP_BROKER_HEALTH_H
#define SP_BROKER_HEALTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "cluster/state.h"
#include "wire/pack.h"

struct sp_broker;

struct sp_health {
    bool confirmed;  /* this node has caught up with a controller since its start */
    bool controller; /* and knows one now */
    bool groups;     /* the topic of the consumer groups exists */
    uint32_t nodes;
    uint32_t nodes_down;
    uint32_t topics; /* and partitions: the cluster's own included */
    uint64_t partitions;
    uint64_t led; /* by this node */
    uint64_t leaderless;
    uint64_t under_replicated;
    uint32_t opening; /* replicas that should run here and do not */
    uint32_t behind;  /* replicas that run here and lack what is committed */
};

/* Counts; takes some 100 ns for each partition of the cluster. */
void sp_health_look(const struct sp_broker *broker, struct sp_health *out_health);

/* True if this node serves and is not behind; else `text` says what it waits for, a line each. */
bool sp_health_is_ready(const struct sp_health *health, char *text, size_t text_size);

/* The answer to cluster.health: one map. */
void sp_health_pack(const struct sp_broker *broker, struct sp_pack *pack);

/* True if the leader of `place` has said that the replica on this node lacks what is committed. */
bool sp_health_lags_here(const struct sp_broker *broker, const struct sp_state_partition *place);

/* True if the node is this one, or linked to it. */
bool sp_health_node_alive(const struct sp_broker *broker, uint32_t node_id);

/* True if the leader has said that the replica lacks what is committed; `lagging` as
 * sp_group_table_lagging says. */
bool sp_health_replica_lags(const struct sp_state_partition *place,
                            unsigned replica,
                            uint32_t lagging);

/* Bit i: the i-th replica is down, was lost with its disk, or lacks committed records. */
uint32_t sp_health_missing_of(const struct sp_broker *broker,
                              const struct sp_state_partition *place,
                              uint32_t lagging);

/* ---- since when: health_watch.c -------------------------------------------------------------- */

struct sp_health_draining {
    uint32_t node_id;
    uint64_t since_ms;
};

/* By the loop's clock; 0: it is not so. */
struct sp_health_watch {
    uint64_t begun_ms;   /* when this node began to look */
    uint64_t opening_ms; /* replicas that should run here do not */
    uint64_t voter_ms;   /* the controller lacks a voter and is about to get one */
    uint64_t features_ms;
    uint64_t space_ms;   /* this node's disk is below its reserve */
    uint64_t all_due_ms; /* when all partitions are looked at again */
    struct sp_health_draining draining[SP_NODES_MAX];
    unsigned draining_count;
};

/* Once, when the node begins to look: since when it is so is not known of what was before. */
void sp_health_begin(struct sp_broker *broker);

/* To be called twice a second. */
void sp_health_watch(struct sp_broker *broker);

/* Since when the node drains, by the loop's clock; 0: it has not been seen. */
uint64_t sp_health_draining_ms(const struct sp_broker *broker, uint32_t node_id);

/* Since when it cannot be reached. */
uint64_t sp_health_down_ms(const struct sp_broker *broker, uint32_t node_id);

/* A moment of the loop's clock as the wall clock has it now: ms since 1970-01-01 UTC. */
int64_t sp_health_wall_ms(const struct sp_broker *broker, uint64_t moment_ms);

/* `name` and that moment; 0: -1 is packed. */
void sp_health_pack_since(const struct sp_broker *broker,
                          struct sp_pack *pack,
                          const char *name,
                          uint64_t moment_ms);

/* The node that should lead the partition instead of the one that does, by what this node knows;
 * 0: none, or it is not to be moved now. */
uint32_t sp_health_better_leader(const struct sp_broker *broker,
                                 const struct sp_state_partition *place);

/* ---- sections of the answer: how many entries they packed ------------------------------------ */

/* health_partitions.c */
uint32_t sp_health_pack_leaderless(const struct sp_broker *broker, struct sp_pack *pack);
uint32_t sp_health_pack_under_replicated(const struct sp_broker *broker, struct sp_pack *pack);
uint32_t sp_health_pack_lost(const struct sp_broker *broker, struct sp_pack *pack);
uint32_t sp_health_pack_refusing(const struct sp_broker *broker, struct sp_pack *pack);

/* health_nodes.c */
uint32_t sp_health_pack_down(const struct sp_broker *broker, struct sp_pack *pack);
uint32_t sp_health_pack_refusals(const struct sp_broker *broker, struct sp_pack *pack);
uint32_t sp_health_pack_doubles(const struct sp_broker *broker, struct sp_pack *pack);
uint32_t sp_health_pack_draining(const struct sp_broker *broker, struct sp_pack *pack);
uint32_t sp_health_pack_conditions(const struct sp_broker *broker, struct sp_pack *pack);
void sp_health_pack_voters(const struct sp_broker *broker, struct sp_pack *pack);
void sp_health_pack_features(const struct sp_broker *broker, struct sp_pack *pack);

struct sp_health_features {
    uint32_t level;
    uint32_t newest; /* that some node's build knows */
    bool held;
};

/* As this node knows them now. */
struct sp_health_features sp_health_features(const struct sp_broker *broker);

/* health_moves.c */
uint32_t sp_health_pack_stuck(const struct sp_broker *broker, struct sp_pack *pack);
uint32_t sp_health_pack_misplaced(const struct sp_broker *broker, struct sp_pack *pack);

/* health_damage.c */
uint32_t sp_health_pack_refilling(const struct sp_broker *broker, struct sp_pack *pack);
uint32_t sp_health_pack_damaged(const struct sp_broker *broker, struct sp_pack *pack);

#endif /* SP_BROKER_HEALTH_H */
