/* The controller's command that a forced membership leaves (cluster/force_membership.h): only the
 * kept nodes are members of the cluster any more.
 *
 * A partition keeps the replicas that it has on kept nodes. One that has none there is lost: it and
 * the nodes that held it stay on record, so that health names it and nothing is deleted on a guess.
 * One of the cluster's own topics, which nobody can delete and make again, begins anew and empty
 * with new replicas. */
#include "cluster/state_codec.h"
#include "cluster/state_parts.h"

#include "base/mem.h"
#include "spate/error.h"

#define RENEWED_REPLICAS_MAX 3 /* as many as a topic gets that says nothing */

struct kept {
    uint32_t node_ids[SP_NODES_MAX];
    uint32_t count;
};

static bool is_kept(const struct kept *kept, uint32_t node_id)
{
    for (uint32_t i = 0; i < kept->count; i++) {
        if (kept->node_ids[i] == node_id) {
            return true;
        }
    }
    return false;
}

/* New replicas on kept nodes that are registered, which have none of it; none if there are none. */
static void renew(struct sp_state *state,
                  struct sp_state_partition *partition,
                  const struct kept *kept,
                  uint32_t number)
{
    struct sp_state_partition fresh = *partition;

    fresh.replica_count = 0;
    fresh.moved = false; /* they begin as those of a new topic do */
    for (uint32_t i = 0; i < kept->count && fresh.replica_count < RENEWED_REPLICAS_MAX; i++) {
        uint32_t node_id = kept->node_ids[(number + i) % kept->count];
        struct sp_state_node_entry *node = sp_map_get_u64(state->nodes, node_id);
        if (node == NULL || node->replica_count >= SP_GROUPS_PER_NODE_MAX) {
            continue;
        }
        node->replica_count += 1;
        fresh.replicas[fresh.replica_count] =
            (struct sp_replica_place){ .replica_id = state->next_replica_id, .node_id = node_id };
        state->next_replica_id += 1;
        fresh.replica_count += 1;
    }
    if (fresh.replica_count == 0) {
        return;
    }
    for (unsigned i = 0; i < partition->replica_count; i++) {
        struct sp_state_node_entry *node =
            sp_map_get_u64(state->nodes, partition->replicas[i].node_id);
        node->replica_count -= 1;
    }
    *partition = fresh;
}

/* False when no replica is left. */
static bool
shrink(struct sp_state *state, struct sp_state_partition *partition, const struct kept *kept)
{
    struct sp_state_partition left = *partition;

    left.replica_count = 0;
    for (unsigned i = 0; i < partition->replica_count; i++) {
        if (is_kept(kept, partition->replicas[i].node_id)) {
            left.replicas[left.replica_count] = partition->replicas[i];
            left.replica_count += 1;
        }
    }
    if (left.replica_count == 0) {
        return false;
    }
    for (unsigned i = 0; i < partition->replica_count; i++) {
        struct sp_state_node_entry *node =
            sp_map_get_u64(state->nodes, partition->replicas[i].node_id);
        if (!is_kept(kept, partition->replicas[i].node_id)) {
            node->replica_count -= 1;
        }
    }
    *partition = left;
    return true;
}

static unsigned
keep_places(const struct kept *kept, struct sp_replica_place *places, unsigned count)
{
    unsigned left = 0;

    for (unsigned i = 0; i < count; i++) {
        if (is_kept(kept, places[i].node_id)) {
            places[left] = places[i];
            left += 1;
        }
    }
    return left;
}

/* A move goes on with what is left of it: kept nodes may have replicas that only it knows. */
static int keep_move(struct sp_state *state,
                     const struct sp_state_partition *partition,
                     const struct kept *kept,
                     struct sp_state_move *move)
{
    move->target_count = keep_places(kept, move->target, move->target_count);
    move->leaving_count = keep_places(kept, move->leaving, move->leaving_count);
    if (move->target_count == 0 && move->leaving_count == 0) {
        return 0;
    }
    if (move->target_count == 0) {
        move->target_count = partition->replica_count;
        for (unsigned i = 0; i < partition->replica_count; i++) {
            move->target[i] = partition->replicas[i];
        }
    }
    return sp_state_put_move(state, move);
}

static int force_partition(struct sp_state *state,
                           const struct sp_state_topic *topic,
                           uint32_t number,
                           const struct kept *kept)
{
    struct sp_state_partition *partition = &topic->partitions[number];
    struct sp_state_move move;
    bool moving = sp_state_take_move(state, partition, &move);

    if (!shrink(state, partition, kept) && sp_state_is_internal(topic->name)) {
        renew(state, partition, kept, number);
        return 0;
    }
    return moving ? keep_move(state, partition, kept, &move) : 0;
}

static void drop_nodes(struct sp_state *state, const struct kept *kept)
{
    uint32_t lost[SP_NODES_MAX];
    unsigned count = 0;
    struct sp_map_cursor cursor = { 0 };
    struct sp_state_node_entry *node = NULL;

    while ((node = sp_map_next(state->nodes, &cursor)) != NULL) {
        if (!is_kept(kept, node->shown.node_id) && node->replica_count == 0) {
            lost[count] = node->shown.node_id;
            count += 1;
        }
    }
    for (unsigned i = 0; i < count; i++) {
        sp_mem_free(sp_map_remove_u64(state->nodes, lost[i]));
    }
}

int sp_state_take_force_nodes(struct sp_state *state,
                              struct sp_cursor *cursor,
                              struct sp_state_change *out_change)
{
    struct kept kept = { .count = sp_cursor_array(cursor) };
    struct sp_map_cursor topics = { 0 };
    struct sp_state_topic *topic = NULL;

    if (kept.count == 0 || kept.count > SP_NODES_MAX) {
        return SPATE_ERR_CORRUPT;
    }
    for (uint32_t i = 0; i < kept.count; i++) {
        kept.node_ids[i] = (uint32_t)sp_cursor_uint(cursor, SP_NODE_ID_MAX);
    }
    if (sp_cursor_finish(cursor) != 0) {
        return SPATE_ERR_CORRUPT;
    }
    /* Ids that the lost end of the log gave out are on disks, with data. */
    if (state->next_replica_id > SP_STATE_ID_MAX - SP_STATE_FORCED_STEP ||
        state->next_producer_id > SP_STATE_ID_MAX - SP_STATE_FORCED_STEP) {
        return SPATE_ERR_INVALID;
    }
    state->next_replica_id = sp_state_forced_below(state) + SP_STATE_FORCED_STEP;
    state->next_producer_id += SP_STATE_FORCED_STEP;
    while ((topic = sp_map_next(state->topics, &topics)) != NULL) {
        for (uint32_t i = 0; i < topic->partition_count; i++) {
            int rv = force_partition(state, topic, i, &kept);
            if (rv != 0) {
                return rv;
            }
        }
    }
    drop_nodes(state, &kept);
    *out_change = (struct sp_state_change){ .kind = SP_STATE_NOTHING };
    return 0;
}
