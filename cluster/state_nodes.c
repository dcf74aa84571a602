/* Nodes that join, are drained, and leave. */
#include "cluster/state_nodes.h"

#include "base/mem.h"
#include "cluster/state_codec.h"
#include "cluster/state_parts.h"
#include "spate/error.h"

static struct sp_state_node_entry *find(const struct sp_state *state, uint32_t node_id)
{
    return sp_map_get_u64(state->nodes, node_id);
}

struct sp_state_member sp_state_member(const struct sp_state *state, uint32_t node_id)
{
    const struct sp_state_node_entry *entry = find(state, node_id);

    return entry == NULL ? (struct sp_state_member){ 0 } : entry->member;
}

bool sp_state_set_member(struct sp_state *state,
                         uint32_t node_id,
                         const struct sp_state_member *member)
{
    struct sp_state_node_entry *entry = find(state, node_id);

    if (entry == NULL) {
        return false;
    }
    entry->member = *member;
    return true;
}

uint32_t sp_state_replicas_on(const struct sp_state *state, uint32_t node_id)
{
    const struct sp_state_node_entry *entry = find(state, node_id);

    return entry == NULL ? 0 : entry->replica_count;
}

void sp_state_count_replica(const struct sp_state *state, uint32_t node_id, int step)
{
    struct sp_state_node_entry *entry = find(state, node_id);

    if (entry != NULL) {
        entry->replica_count += (uint32_t)step;
    }
}

bool sp_state_is_lost(const struct sp_state *state, const struct sp_replica_place *place)
{
    const struct sp_state_node_entry *entry = find(state, place->node_id);

    return entry == NULL || place->replica_id < entry->member.lost_below;
}

static void tell_node(const struct sp_state_node_entry *entry, struct sp_state_change *out_change)
{
    *out_change = (struct sp_state_change){ .kind = SP_STATE_NODE_CHANGED, .node = &entry->shown };
}

int sp_state_join_node(struct sp_state *state,
                       struct sp_cursor *cursor,
                       struct sp_state_change *out_change)
{
    struct sp_state_node shown;
    const struct sp_state_node *added = NULL;

    sp_state_node_read(cursor, &shown);
    if (sp_cursor_finish(cursor) != 0) {
        return SPATE_ERR_CORRUPT;
    }
    if (!sp_state_node_is_valid(&shown) || state->next_replica_id >= SP_STATE_ID_MAX) {
        return SPATE_ERR_INVALID;
    }
    if (shown.features.most < state->feature_level || sp_state_is_old_copy(state, &shown)) {
        return SPATE_ERR_INVALID; /* as for registering */
    }
    struct sp_state_node_entry *entry = find(state, shown.node_id);
    bool renewed = entry != NULL && entry->shown.incarnation != shown.incarnation;
    if (entry == NULL) {
        int rv = sp_state_add_node(state, &shown, &added);
        if (rv != 0) {
            return rv;
        }
        entry = find(state, shown.node_id);
        renewed = true;
    }
    entry->shown = shown;
    if (renewed) {
        entry->member.voter_id = state->next_replica_id;
        state->next_replica_id += 1;
        entry->member.lost_below = state->next_replica_id;
    }
    tell_node(entry, out_change);
    return 0;
}

/* The end of a command that names a node. SPATE_ERR_CORRUPT: there is more, SPATE_ERR_NOT_FOUND: no
 * such node. */
static int finish_naming(const struct sp_state *state,
                         struct sp_cursor *cursor,
                         uint32_t node_id,
                         struct sp_state_node_entry **out_entry)
{
    if (sp_cursor_finish(cursor) != 0) {
        return SPATE_ERR_CORRUPT;
    }
    *out_entry = find(state, node_id);
    return *out_entry == NULL ? SPATE_ERR_NOT_FOUND : 0;
}

int sp_state_drain_node(struct sp_state *state,
                        struct sp_cursor *cursor,
                        struct sp_state_change *out_change)
{
    uint32_t node_id = (uint32_t)sp_cursor_uint(cursor, UINT32_MAX);
    bool draining = sp_cursor_uint(cursor, 1) == 1;
    struct sp_state_node_entry *entry = NULL;
    int rv = finish_naming(state, cursor, node_id, &entry);

    if (rv != 0) {
        return rv;
    }
    entry->member.draining = draining;
    tell_node(entry, out_change);
    return 0;
}

int sp_state_remove_node(struct sp_state *state,
                         struct sp_cursor *cursor,
                         struct sp_state_change *out_change)
{
    uint32_t node_id = (uint32_t)sp_cursor_uint(cursor, UINT32_MAX);
    struct sp_state_node_entry *entry = NULL;
    int rv = finish_naming(state, cursor, node_id, &entry);

    if (rv != 0) {
        return rv;
    }
    if (entry->replica_count > 0) {
        return SPATE_ERR_INVALID;
    }
    entry->member.draining = true; /* nothing is placed there meanwhile */
    entry->member.removing = true;
    tell_node(entry, out_change);
    return 0;
}

int sp_state_node_gone(struct sp_state *state,
                       struct sp_cursor *cursor,
                       struct sp_state_change *out_change)
{
    uint32_t node_id = (uint32_t)sp_cursor_uint(cursor, UINT32_MAX);
    struct sp_state_node_entry *entry = NULL;
    int rv = finish_naming(state, cursor, node_id, &entry);

    if (rv != 0) {
        return rv;
    }
    if (!entry->member.removing || entry->replica_count > 0) {
        return SPATE_ERR_INVALID;
    }
    sp_mem_free(sp_map_remove_u64(state->nodes, node_id));
    *out_change = (struct sp_state_change){ .kind = SP_STATE_NODE_REMOVED, .node_id = node_id };
    return 0;
}

int sp_state_renew_voter(struct sp_state *state,
                         struct sp_cursor *cursor,
                         struct sp_state_change *out_change)
{
    uint32_t node_id = (uint32_t)sp_cursor_uint(cursor, UINT32_MAX);
    uint64_t voter_id = sp_cursor_uint(cursor, UINT64_MAX);
    struct sp_state_node_entry *entry = NULL;
    int rv = finish_naming(state, cursor, node_id, &entry);

    if (rv != 0) {
        return rv;
    }
    if (entry->member.voter_id != voter_id) {
        return SPATE_ERR_EXISTS;
    }
    if (state->next_replica_id >= SP_STATE_ID_MAX) {
        return SPATE_ERR_INVALID;
    }
    entry->member.voter_id = state->next_replica_id;
    state->next_replica_id += 1;
    tell_node(entry, out_change);
    return 0;
}
