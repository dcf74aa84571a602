/* The bytes of a membership change. */
#include "cluster/membership_command.h"

#include "cluster/state_codec.h"
#include "spate/error.h"

void sp_membership_change_pack(struct sp_pack *pack, const struct sp_membership_change *change)
{
    bool moves = change->kind == SP_MEMBERSHIP_MOVE;

    sp_pack_array(pack, change->kind == SP_MEMBERSHIP_JOIN_NODE ? 7 : 6);
    sp_pack_uint(pack, change->kind);
    sp_pack_uint(pack, change->topic_id);
    sp_pack_uint(pack, change->partition);
    sp_pack_array(pack, moves ? 2 * (size_t)change->count : change->count);
    for (unsigned i = 0; i < change->count; i++) {
        if (moves) {
            sp_pack_uint(pack, change->wishes[i].node_id);
            sp_pack_uint(pack, change->wishes[i].fresh ? 1 : 0);
        } else {
            sp_pack_uint(pack, change->ids[i]);
        }
    }
    sp_pack_uint(pack, change->node_id);
    sp_pack_uint(pack, change->flag ? 1 : 0);
    if (change->kind == SP_MEMBERSHIP_JOIN_NODE) {
        sp_state_node_pack(pack, &change->node);
    }
}

static void read_list(struct sp_cursor *cursor, struct sp_membership_change *out)
{
    bool moves = out->kind == SP_MEMBERSHIP_MOVE;
    uint32_t count = sp_cursor_array(cursor);

    if (moves && count % 2 != 0) {
        sp_cursor_fail(cursor, SPATE_ERR_INVALID);
    }
    count = moves ? count / 2 : count;
    if (count > SP_REPLICAS_MAX) {
        sp_cursor_fail(cursor, SPATE_ERR_INVALID);
        return;
    }
    out->count = count;
    for (uint32_t i = 0; i < count; i++) {
        if (moves) {
            out->wishes[i].node_id = (uint32_t)sp_cursor_uint(cursor, UINT32_MAX);
            out->wishes[i].fresh = sp_cursor_uint(cursor, 1) == 1;
        } else {
            out->ids[i] = sp_cursor_uint(cursor, UINT64_MAX);
        }
    }
}

void sp_membership_change_read(struct sp_cursor *cursor, struct sp_membership_change *out)
{
    uint32_t elements = sp_cursor_array(cursor);

    *out = (struct sp_membership_change){ 0 };
    out->kind = (enum sp_membership_kind)sp_cursor_uint(cursor, SP_MEMBERSHIP_RENEW_VOTER);
    out->topic_id = sp_cursor_uint(cursor, UINT64_MAX);
    out->partition = (uint32_t)sp_cursor_uint(cursor, UINT32_MAX);
    read_list(cursor, out);
    out->node_id = (uint32_t)sp_cursor_uint(cursor, UINT32_MAX);
    out->flag = sp_cursor_uint(cursor, 1) == 1;
    bool joins = out->kind == SP_MEMBERSHIP_JOIN_NODE;
    if (joins) {
        sp_state_node_read(cursor, &out->node);
    }
    if (out->kind < SP_MEMBERSHIP_MOVE || elements != (joins ? 7 : 6)) {
        sp_cursor_fail(cursor, SPATE_ERR_INVALID);
    }
}
