/* The bytes of what concerns membership: commands and the section of the checkpoint.
 *
 *   command   [32, topic_id, partition, [node_id, fresh, ...]]            begin a move
 *             [33, topic_id, partition, [replica_id, ...]]                end it
 *             [34, node]                                                  a node joins
 *             [35, node_id, draining]                                     drain, undrain
 *             [36, node_id]                                               remove a node
 *             [37, node_id]                                               it is gone
 *             [38, node_id, voter_id]                                     that one is damaged
 *   section   [[member, ...], [move, ...]]   only members that differ from a founder as it was
 *   member    [node_id, flags: 1 draining, 2 removing, voter_id, lost_below]
 *   move      [topic_id, partition, begun_ms, [place, ...], [place, ...]]  target, leaving
 *   place     replica_id, node_id */
#include "base/mem.h"
#include "cluster/state_codec.h"
#include "cluster/state_moves.h"
#include "cluster/state_nodes.h"
#include "cluster/state_parts.h"
#include "spate/error.h"

/* ---- commands -------------------------------------------------------------------------------- */

static void
begin(struct sp_pack *pack, struct sp_buf *out, enum sp_state_command command, size_t field_count)
{
    sp_pack_init(pack, out);
    sp_pack_array(pack, 1 + field_count);
    sp_pack_uint(pack, command);
}

int sp_state_command_move_begin(uint64_t topic_id,
                                uint32_t partition,
                                const struct sp_state_wish *wishes,
                                unsigned count,
                                struct sp_buf *out)
{
    struct sp_pack pack;

    begin(&pack, out, SP_STATE_MOVE_BEGIN, 3);
    sp_pack_uint(&pack, topic_id);
    sp_pack_uint(&pack, partition);
    sp_pack_array(&pack, 2 * (size_t)count);
    for (unsigned i = 0; i < count; i++) {
        sp_pack_uint(&pack, wishes[i].node_id);
        sp_pack_uint(&pack, wishes[i].fresh ? 1 : 0);
    }
    return sp_pack_status(&pack);
}

int sp_state_command_move_done(const struct sp_state_move *move, struct sp_buf *out)
{
    struct sp_pack pack;

    begin(&pack, out, SP_STATE_MOVE_DONE, 3);
    sp_pack_uint(&pack, move->topic_id);
    sp_pack_uint(&pack, move->partition);
    sp_pack_array(&pack, move->target_count);
    for (unsigned i = 0; i < move->target_count; i++) {
        sp_pack_uint(&pack, move->target[i].replica_id);
    }
    return sp_pack_status(&pack);
}

int sp_state_command_join_node(const struct sp_state_node *node, struct sp_buf *out)
{
    struct sp_pack pack;

    begin(&pack, out, SP_STATE_JOIN_NODE, 1);
    sp_state_node_pack(&pack, node);
    return sp_pack_status(&pack);
}

int sp_state_command_drain_node(uint32_t node_id, bool draining, struct sp_buf *out)
{
    struct sp_pack pack;

    begin(&pack, out, SP_STATE_DRAIN_NODE, 2);
    sp_pack_uint(&pack, node_id);
    sp_pack_uint(&pack, draining ? 1 : 0);
    return sp_pack_status(&pack);
}

int sp_state_command_remove_node(uint32_t node_id, struct sp_buf *out)
{
    struct sp_pack pack;

    begin(&pack, out, SP_STATE_REMOVE_NODE, 1);
    sp_pack_uint(&pack, node_id);
    return sp_pack_status(&pack);
}

int sp_state_command_node_gone(uint32_t node_id, struct sp_buf *out)
{
    struct sp_pack pack;

    begin(&pack, out, SP_STATE_NODE_GONE, 1);
    sp_pack_uint(&pack, node_id);
    return sp_pack_status(&pack);
}

int sp_state_command_renew_voter(uint32_t node_id, uint64_t voter_id, struct sp_buf *out)
{
    struct sp_pack pack;

    begin(&pack, out, SP_STATE_RENEW_VOTER, 2);
    sp_pack_uint(&pack, node_id);
    sp_pack_uint(&pack, voter_id);
    return sp_pack_status(&pack);
}

/* ---- applying -------------------------------------------------------------------------------- */

bool sp_state_is_membership(uint64_t command)
{
    return command >= SP_STATE_MOVE_BEGIN && command <= SP_STATE_RENEW_VOTER;
}

int sp_state_apply_membership(struct sp_state *state,
                              const struct sp_state_membership_command *command,
                              struct sp_state_change *out_change)
{
    struct sp_cursor *cursor = command->cursor;

    switch ((enum sp_state_command)command->kind) {
    case SP_STATE_MOVE_BEGIN:
        return command->element_count != 4
                   ? SPATE_ERR_CORRUPT
                   : sp_state_begin_move(state, cursor, command->append_time_ms, out_change);
    case SP_STATE_MOVE_DONE:
        return command->element_count != 4 ? SPATE_ERR_CORRUPT
                                           : sp_state_end_move(state, cursor, out_change);
    case SP_STATE_JOIN_NODE:
        return command->element_count != 2 ? SPATE_ERR_CORRUPT
                                           : sp_state_join_node(state, cursor, out_change);
    case SP_STATE_DRAIN_NODE:
        return command->element_count != 3 ? SPATE_ERR_CORRUPT
                                           : sp_state_drain_node(state, cursor, out_change);
    case SP_STATE_REMOVE_NODE:
        return command->element_count != 2 ? SPATE_ERR_CORRUPT
                                           : sp_state_remove_node(state, cursor, out_change);
    case SP_STATE_NODE_GONE:
        return command->element_count != 2 ? SPATE_ERR_CORRUPT
                                           : sp_state_node_gone(state, cursor, out_change);
    case SP_STATE_RENEW_VOTER:
        return command->element_count != 3 ? SPATE_ERR_CORRUPT
                                           : sp_state_renew_voter(state, cursor, out_change);
    case SP_STATE_REGISTER_NODE:
    case SP_STATE_CREATE_TOPIC:
    case SP_STATE_DELETE_TOPIC:
    case SP_STATE_TAKE_PRODUCER_BLOCK:
    case SP_STATE_TAKE_PRODUCER_NAME:
    case SP_STATE_ALTER_TOPIC:
    case SP_STATE_FEATURE_LEVEL_SET:
    case SP_STATE_FEATURE_HOLD_SET:
    case SP_STATE_FORCE_NODES:
        break;
    }
    return SPATE_ERR_CORRUPT;
}

/* ---- the section of the checkpoint ----------------------------------------------------------- */

static bool is_plain(const struct sp_state_node *node, const struct sp_state_member *member)
{
    return !member->draining && !member->removing && member->voter_id == node->node_id &&
           member->lost_below == 0;
}

static size_t count_members(const struct sp_state *state)
{
    struct sp_map_cursor cursor = { 0 };
    const struct sp_state_node *node = NULL;
    size_t count = 0;

    while ((node = sp_state_node_next(state, &cursor)) != NULL) {
        struct sp_state_member member = sp_state_member(state, node->node_id);
        count += is_plain(node, &member) ? 0 : 1;
    }
    return count;
}

bool sp_state_has_membership(const struct sp_state *state)
{
    return sp_map_count(state->moves) > 0 || count_members(state) > 0;
}

static void pack_places(struct sp_pack *pack, const struct sp_replica_place *places, unsigned count)
{
    sp_pack_array(pack, 2 * (size_t)count);
    for (unsigned i = 0; i < count; i++) {
        sp_pack_uint(pack, places[i].replica_id);
        sp_pack_uint(pack, places[i].node_id);
    }
}

void sp_state_membership_encode(const struct sp_state *state, struct sp_pack *pack)
{
    struct sp_map_cursor cursor = { 0 };
    const struct sp_state_node *node = NULL;
    const struct sp_state_move *move = NULL;

    sp_pack_array(pack, 2);
    sp_pack_array(pack, count_members(state));
    while ((node = sp_state_node_next(state, &cursor)) != NULL) {
        struct sp_state_member member = sp_state_member(state, node->node_id);
        if (is_plain(node, &member)) {
            continue;
        }
        sp_pack_array(pack, 4);
        sp_pack_uint(pack, node->node_id);
        sp_pack_uint(pack, (member.draining ? 1u : 0) | (member.removing ? 2u : 0));
        sp_pack_uint(pack, member.voter_id);
        sp_pack_uint(pack, member.lost_below);
    }
    cursor = (struct sp_map_cursor){ 0 };
    sp_pack_array(pack, sp_map_count(state->moves));
    while ((move = sp_state_move_next(state, &cursor)) != NULL) {
        sp_pack_array(pack, 5);
        sp_pack_uint(pack, move->topic_id);
        sp_pack_uint(pack, move->partition);
        sp_pack_int(pack, move->begun_ms);
        pack_places(pack, move->target, move->target_count);
        pack_places(pack, move->leaving, move->leaving_count);
    }
}

static void expect_array(struct sp_cursor *cursor, uint32_t count)
{
    if (sp_cursor_array(cursor) != count) {
        sp_cursor_fail(cursor, SPATE_ERR_INVALID);
    }
}

static unsigned read_places(const struct sp_state *state,
                            struct sp_cursor *cursor,
                            struct sp_replica_place *places,
                            unsigned count_max)
{
    uint32_t count = sp_cursor_array(cursor);

    if (count % 2 != 0 || count / 2 > count_max) {
        sp_cursor_fail(cursor, SPATE_ERR_INVALID);
        return 0;
    }
    for (uint32_t i = 0; i < count / 2; i++) {
        places[i].replica_id = sp_cursor_uint(cursor, SP_STATE_ID_MAX);
        places[i].node_id = (uint32_t)sp_cursor_uint(cursor, SP_NODE_ID_MAX);
        if (sp_cursor_status(cursor) == 0 && (places[i].replica_id < SP_STATE_FIRST_REPLICA_ID ||
                                              places[i].replica_id >= state->next_replica_id ||
                                              sp_state_node(state, places[i].node_id) == NULL)) {
            sp_cursor_fail(cursor, SPATE_ERR_INVALID);
        }
    }
    return count / 2;
}

static void read_member(struct sp_state *state, struct sp_cursor *cursor)
{
    struct sp_state_member member = { 0 };

    expect_array(cursor, 4);
    uint32_t node_id = (uint32_t)sp_cursor_uint(cursor, SP_NODE_ID_MAX);
    uint64_t flags = sp_cursor_uint(cursor, 3);
    member.draining = (flags & 1) != 0;
    member.removing = (flags & 2) != 0;
    member.voter_id = sp_cursor_uint(cursor, SP_STATE_ID_MAX);
    member.lost_below = sp_cursor_uint(cursor, SP_STATE_ID_MAX);
    if (sp_cursor_status(cursor) == 0 && !sp_state_set_member(state, node_id, &member)) {
        sp_cursor_fail(cursor, SPATE_ERR_INVALID);
    }
}

static void read_move(struct sp_state *state, struct sp_cursor *cursor)
{
    struct sp_state_move move = { 0 };

    expect_array(cursor, 5);
    move.topic_id = sp_cursor_uint(cursor, SP_STATE_ID_MAX);
    move.partition = (uint32_t)sp_cursor_uint(cursor, UINT32_MAX);
    move.begun_ms = sp_cursor_int(cursor, INT64_MIN, INT64_MAX);
    move.target_count = read_places(state, cursor, move.target, SP_REPLICAS_MAX);
    move.leaving_count = read_places(state, cursor, move.leaving, SP_STATE_LEAVING_MAX);
    if (sp_cursor_status(cursor) != 0) {
        return;
    }
    const struct sp_state_topic *topic = sp_state_topic_by_id(state, move.topic_id);
    if (topic == NULL || move.partition >= topic->partition_count || move.target_count == 0) {
        sp_cursor_fail(cursor, SPATE_ERR_INVALID);
        return;
    }
    move.group_id = topic->partitions[move.partition].group_id;
    int rv = sp_state_move(state, move.group_id) != NULL ? SPATE_ERR_INVALID
                                                         : sp_state_put_move(state, &move);
    if (rv != 0) {
        sp_cursor_fail(cursor, rv);
    }
}

void sp_state_membership_decode(struct sp_state *state, struct sp_cursor *cursor)
{
    expect_array(cursor, 2);
    uint32_t count = sp_cursor_array(cursor);
    for (uint32_t i = 0; i < count && sp_cursor_status(cursor) == 0; i++) {
        read_member(state, cursor);
    }
    count = sp_cursor_array(cursor);
    for (uint32_t i = 0; i < count && sp_cursor_status(cursor) == 0; i++) {
        read_move(state, cursor);
    }
}
