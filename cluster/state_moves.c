/* The table of moves and the two commands that begin and end one. */
#include "cluster/state_moves.h"

#include "base/mem.h"
#include "cluster/state_codec.h"
#include "cluster/state_nodes.h"
#include "cluster/state_parts.h"
#include "spate/error.h"

/* ---- places ---------------------------------------------------------------------------------- */

static const struct sp_replica_place *
find_node(const struct sp_replica_place *places, unsigned count, uint32_t node_id)
{
    for (unsigned i = 0; i < count; i++) {
        if (places[i].node_id == node_id) {
            return &places[i];
        }
    }
    return NULL;
}

/* The newest one: the others of that node are lost. */
static const struct sp_replica_place *find_leaving(const struct sp_state_move *move,
                                                   uint32_t node_id)
{
    const struct sp_replica_place *newest = NULL;

    for (unsigned i = 0; i < move->leaving_count; i++) {
        const struct sp_replica_place *place = &move->leaving[i];
        if (place->node_id == node_id &&
            (newest == NULL || place->replica_id > newest->replica_id)) {
            newest = place;
        }
    }
    return newest;
}

static bool has_id(const struct sp_replica_place *places, unsigned count, uint64_t replica_id)
{
    for (unsigned i = 0; i < count; i++) {
        if (places[i].replica_id == replica_id) {
            return true;
        }
    }
    return false;
}

const struct sp_state_move *sp_state_move(const struct sp_state *state, uint64_t group_id)
{
    return sp_map_get_u64(state->moves, group_id);
}

const struct sp_state_move *sp_state_move_next(const struct sp_state *state,
                                               struct sp_map_cursor *cursor)
{
    return sp_map_next(state->moves, cursor);
}

unsigned sp_state_move_count(const struct sp_state *state)
{
    return (unsigned)sp_map_count(state->moves);
}

const struct sp_replica_place *sp_state_place_on(const struct sp_state *state,
                                                 const struct sp_state_partition *partition,
                                                 uint32_t node_id)
{
    const struct sp_state_move *move = sp_state_move(state, partition->group_id);
    const struct sp_replica_place *place = NULL;

    if (move != NULL) {
        place = find_node(move->target, move->target_count, node_id);
    }
    if (place == NULL) {
        const struct sp_replica_place *leaving = move == NULL ? NULL : find_leaving(move, node_id);
        place = find_node(partition->replicas, partition->replica_count, node_id);
        /* A newer one was given out because the older one is lost; it may be a voter by now. */
        if (place == NULL || (leaving != NULL && leaving->replica_id > place->replica_id)) {
            place = leaving;
        }
    }
    return place;
}

bool sp_state_knows_replica(const struct sp_state *state,
                            const struct sp_state_partition *partition,
                            uint64_t replica_id)
{
    const struct sp_state_move *move = sp_state_move(state, partition->group_id);

    return has_id(partition->replicas, partition->replica_count, replica_id) ||
           (move != NULL && (has_id(move->target, move->target_count, replica_id) ||
                             has_id(move->leaving, move->leaving_count, replica_id)));
}

static unsigned note_ids(const struct sp_replica_place *places, unsigned count, uint64_t *out_ids)
{
    for (unsigned i = 0; i < count; i++) {
        out_ids[i] = places[i].replica_id;
    }
    return count;
}

unsigned sp_state_known_replicas(const struct sp_state *state,
                                 const struct sp_state_partition *partition,
                                 uint64_t out_ids[SP_STATE_KNOWN_MAX])
{
    const struct sp_state_move *move = sp_state_move(state, partition->group_id);
    unsigned count = note_ids(partition->replicas, partition->replica_count, out_ids);

    if (move != NULL) {
        count += note_ids(move->target, move->target_count, out_ids + count);
        count += note_ids(move->leaving, move->leaving_count, out_ids + count);
    }
    return count;
}

const struct sp_state_partition *sp_state_partition_of(const struct sp_state *state,
                                                       uint64_t group_id,
                                                       const struct sp_state_topic **out_topic)
{
    struct sp_map_cursor cursor = { 0 };
    const struct sp_state_topic *topic = NULL;

    while ((topic = sp_state_topic_next(state, &cursor)) != NULL) {
        uint64_t first = topic->partitions[0].group_id;
        if (group_id < first || group_id - first >= topic->partition_count) {
            continue; /* the groups of a topic are numbered without gaps */
        }
        if (out_topic != NULL) {
            *out_topic = topic;
        }
        return &topic->partitions[group_id - first];
    }
    return NULL;
}

static struct sp_state_partition *
partition_at(const struct sp_state *state, uint64_t topic_id, uint32_t partition)
{
    struct sp_state_topic *topic = sp_map_get_u64(state->by_id, topic_id);

    return topic == NULL || partition >= topic->partition_count ? NULL
                                                                : &topic->partitions[partition];
}

/* Counts the replicas of a move that the partition does not have yet at their nodes. */
static void count_move(const struct sp_state *state,
                       const struct sp_state_partition *partition,
                       const struct sp_state_move *move,
                       int step)
{
    for (unsigned i = 0; i < move->target_count; i++) {
        if (!has_id(partition->replicas, partition->replica_count, move->target[i].replica_id)) {
            sp_state_count_replica(state, move->target[i].node_id, step);
        }
    }
    for (unsigned i = 0; i < move->leaving_count; i++) {
        sp_state_count_replica(state, move->leaving[i].node_id, step);
    }
}

/* ---- beginning ------------------------------------------------------------------------------- */

/* The replica that stands for a wish: one that the partition has or was about to have, if it is not
 * lost, else a new one. A node runs one replica of a group, so a second one would put the first one
 * out, which may be a voter. */
static struct sp_replica_place place_for(const struct sp_state *state,
                                         const struct sp_state_partition *partition,
                                         const struct sp_state_move *before,
                                         const struct sp_state_wish *wish,
                                         uint64_t *next_replica_id)
{
    const struct sp_replica_place *place = NULL;

    if (before != NULL) {
        place = find_node(before->target, before->target_count, wish->node_id);
    }
    if (place == NULL) {
        place = sp_state_place_on(state, partition, wish->node_id); /* it may be a voter already */
    }
    if (place != NULL && !wish->fresh && !sp_state_is_lost(state, place)) {
        return *place;
    }
    struct sp_replica_place made = { .replica_id = *next_replica_id, .node_id = wish->node_id };
    *next_replica_id += 1;
    return made;
}

/* Adds what an earlier target had and neither the new one nor the partition has. */
static int collect_leaving(const struct sp_state_partition *partition,
                           const struct sp_replica_place *places,
                           unsigned count,
                           struct sp_state_move *move)
{
    for (unsigned i = 0; i < count; i++) {
        uint64_t id = places[i].replica_id;
        if (has_id(partition->replicas, partition->replica_count, id) ||
            has_id(move->target, move->target_count, id)) {
            continue;
        }
        if (move->leaving_count == SP_STATE_LEAVING_MAX) {
            return SPATE_ERR_BUSY;
        }
        move->leaving[move->leaving_count++] = places[i];
    }
    return 0;
}

static bool same_places(const struct sp_replica_place *a,
                        unsigned a_count,
                        const struct sp_replica_place *b,
                        unsigned b_count)
{
    bool same = a_count == b_count;

    for (unsigned i = 0; same && i < a_count; i++) {
        same = a[i].replica_id == b[i].replica_id;
    }
    return same;
}

static bool
wishes_are_valid(const struct sp_state *state, const struct sp_state_wish *wishes, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (sp_state_node(state, wishes[i].node_id) == NULL ||
            sp_state_replicas_on(state, wishes[i].node_id) >= SP_GROUPS_PER_NODE_MAX) {
            return false;
        }
        for (unsigned j = 0; j < i; j++) {
            if (wishes[j].node_id == wishes[i].node_id) {
                return false;
            }
        }
    }
    return count > 0;
}

/* False if a replica would be given up without which no majority is left to refill it from. */
static bool may_give_up(const struct sp_state *state,
                        const struct sp_state_partition *partition,
                        const struct sp_state_wish *wishes,
                        unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        const struct sp_replica_place *place =
            sp_state_place_on(state, partition, wishes[i].node_id);
        if (wishes[i].fresh && place != NULL &&
            !sp_state_outlives(state, partition, place->replica_id)) {
            return false;
        }
    }
    return true;
}

/* Fills *move with its new target. */
static int plan_move(const struct sp_state *state,
                     const struct sp_state_partition *partition,
                     const struct sp_state_wish *wishes,
                     struct sp_state_move *move,
                     uint64_t *next_replica_id)
{
    const struct sp_state_move *before = sp_state_move(state, partition->group_id);

    for (unsigned i = 0; i < move->target_count; i++) {
        move->target[i] = place_for(state, partition, before, &wishes[i], next_replica_id);
    }
    if (before == NULL) {
        return same_places(
                   move->target, move->target_count, partition->replicas, partition->replica_count)
                   ? SPATE_ERR_EXISTS
                   : 0;
    }
    if (same_places(move->target, move->target_count, before->target, before->target_count)) {
        return SPATE_ERR_EXISTS;
    }
    int rv = collect_leaving(partition, before->leaving, before->leaving_count, move);
    return rv != 0 ? rv : collect_leaving(partition, before->target, before->target_count, move);
}

int sp_state_put_move(struct sp_state *state, const struct sp_state_move *move)
{
    struct sp_state_move *kept = sp_map_get_u64(state->moves, move->group_id);
    const struct sp_state_partition *partition =
        partition_at(state, move->topic_id, move->partition);

    if (kept != NULL) {
        count_move(state, partition, kept, -1);
    } else {
        if (sp_map_count(state->moves) >= SP_MOVES_MAX) {
            return SPATE_ERR_BUSY;
        }
        kept = sp_mem_calloc(1, sizeof *kept);
        if (kept == NULL || sp_map_put_u64(state->moves, move->group_id, kept) != 0) {
            sp_mem_free(kept);
            return SPATE_ERR_NOMEM;
        }
    }
    *kept = *move;
    count_move(state, partition, kept, 1);
    return 0;
}

static unsigned read_wishes(struct sp_cursor *cursor, struct sp_state_wish *wishes)
{
    uint32_t count = sp_cursor_array(cursor);

    if (count > 2 * SP_REPLICAS_MAX || count % 2 != 0) {
        sp_cursor_fail(cursor, SPATE_ERR_INVALID);
        return 0;
    }
    for (uint32_t i = 0; i < count / 2; i++) {
        wishes[i].node_id = (uint32_t)sp_cursor_uint(cursor, UINT32_MAX);
        wishes[i].fresh = sp_cursor_uint(cursor, 1) == 1;
    }
    return count / 2;
}

int sp_state_begin_move(struct sp_state *state,
                        struct sp_cursor *cursor,
                        int64_t append_time_ms,
                        struct sp_state_change *out_change)
{
    struct sp_state_wish wishes[SP_REPLICAS_MAX] = { 0 };
    struct sp_state_move move = { .begun_ms = append_time_ms };
    uint64_t next_replica_id = state->next_replica_id;

    move.topic_id = sp_cursor_uint(cursor, UINT64_MAX);
    move.partition = (uint32_t)sp_cursor_uint(cursor, UINT32_MAX);
    move.target_count = read_wishes(cursor, wishes);
    if (sp_cursor_finish(cursor) != 0) {
        return SPATE_ERR_CORRUPT;
    }
    const struct sp_state_partition *partition = partition_at(state, move.topic_id, move.partition);
    if (partition == NULL) {
        return SPATE_ERR_UNKNOWN_TOPIC;
    }
    if (!wishes_are_valid(state, wishes, move.target_count) ||
        !may_give_up(state, partition, wishes, move.target_count) ||
        next_replica_id > SP_STATE_ID_MAX - SP_REPLICAS_MAX) {
        return SPATE_ERR_INVALID;
    }
    move.group_id = partition->group_id;
    int rv = plan_move(state, partition, wishes, &move, &next_replica_id);
    if (rv == 0) {
        rv = sp_state_put_move(state, &move);
    }
    if (rv != 0) {
        return rv;
    }
    state->next_replica_id = next_replica_id;
    *out_change = (struct sp_state_change){ .kind = SP_STATE_PARTITION_CHANGED,
                                            .topic = sp_state_topic_by_id(state, move.topic_id),
                                            .partition = move.partition };
    return 0;
}

/* ---- ending ---------------------------------------------------------------------------------- */

bool sp_state_take_move(struct sp_state *state,
                        const struct sp_state_partition *partition,
                        struct sp_state_move *out_move)
{
    struct sp_state_move *move = sp_map_remove_u64(state->moves, partition->group_id);

    if (move == NULL) {
        return false;
    }
    count_move(state, partition, move, -1);
    *out_move = *move;
    sp_mem_free(move);
    return true;
}

void sp_state_drop_moves(struct sp_state *state, const struct sp_state_topic *topic)
{
    struct sp_state_move move;

    for (uint32_t i = 0; i < topic->partition_count && sp_map_count(state->moves) > 0; i++) {
        (void)sp_state_take_move(state, &topic->partitions[i], &move);
    }
}

int sp_state_end_move(struct sp_state *state,
                      struct sp_cursor *cursor,
                      struct sp_state_change *out_change)
{
    uint64_t ids[SP_REPLICAS_MAX] = { 0 };
    uint64_t topic_id = sp_cursor_uint(cursor, UINT64_MAX);
    uint32_t number = (uint32_t)sp_cursor_uint(cursor, UINT32_MAX);
    uint32_t count = sp_cursor_array(cursor);

    for (uint32_t i = 0; i < count && i < SP_REPLICAS_MAX; i++) {
        ids[i] = sp_cursor_uint(cursor, UINT64_MAX);
    }
    if (sp_cursor_finish(cursor) != 0) {
        return SPATE_ERR_CORRUPT;
    }
    struct sp_state_partition *partition = partition_at(state, topic_id, number);
    const struct sp_state_move *move =
        partition == NULL ? NULL : sp_state_move(state, partition->group_id);
    bool same = move != NULL && move->target_count == count;
    for (unsigned i = 0; same && i < count; i++) {
        same = move->target[i].replica_id == ids[i];
    }
    if (!same) {
        return SPATE_ERR_NOT_FOUND;
    }
    for (unsigned i = 0; i < partition->replica_count; i++) {
        sp_state_count_replica(state, partition->replicas[i].node_id, -1);
    }
    count_move(state, partition, move, -1);
    /* count_move left those in that the partition had and keeps */
    for (unsigned i = 0; i < count; i++) {
        sp_state_count_replica(state, move->target[i].node_id, 1);
    }
    partition->moved = true;
    partition->replica_count = count;
    for (unsigned i = 0; i < count; i++) {
        partition->replicas[i] = move->target[i];
    }
    sp_mem_free(sp_map_remove_u64(state->moves, partition->group_id));
    *out_change = (struct sp_state_change){ .kind = SP_STATE_PARTITION_CHANGED,
                                            .topic = sp_state_topic_by_id(state, topic_id),
                                            .partition = number };
    return 0;
}
