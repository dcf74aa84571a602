/* What is wrong in the cluster as this node sees it, in numbers; health.c says what each means. */
#ifndef SP_BROKER_HEALTH_H
#define SP_BROKER_HEALTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

bool sp_health_node_alive(const struct sp_broker *broker, uint32_t node_id);

/* health_damage.c: sections of the answer; how many entries they packed. */
uint32_t sp_health_pack_refilling(const struct sp_broker *broker, struct sp_pack *pack);
uint32_t sp_health_pack_damaged(const struct sp_broker *broker, struct sp_pack *pack);

#endif /* SP_BROKER_HEALTH_H */
