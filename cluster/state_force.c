/* The controller's command that a forced membership leaves (cluster/force_membership.h): only the
 * kept nodes are members of the cluster any more.
 *
 * A partition keeps the replicas that it has on kept nodes. One that has none there is lost: it and
 * the nodes that held it stay on record, so that health names it and nothing is deleted on a
 * guess. */
#include "cluster/state_codec.h"
#include "cluster/state_parts.h"

#include "base/mem.h"
#include "spate/error.h"

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

static void
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
        return;
    }
    for (unsigned i = 0; i < partition->replica_count; i++) {
        struct sp_state_node_entry *node =
            sp_map_get_u64(state->nodes, partition->replicas[i].node_id);
        if (!is_kept(kept, partition->replicas[i].node_id)) {
            node->replica_count -= 1;
        }
    }
    *partition = left;
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
    while ((topic = sp_map_next(state->topics, &topics)) != NULL) {
        for (uint32_t i = 0; i < topic->partition_count; i++) {
            shrink(state, &topic->partitions[i], &kept);
        }
    }
    drop_nodes(state, &kept);
    *out_change = (struct sp_state_change){ .kind = SP_STATE_NOTHING };
    return 0;
}
