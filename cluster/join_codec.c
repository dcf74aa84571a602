/* The bodies of JOIN and JOINED: MessagePack, from strangers. */
#include <string.h>

#include "cluster/join.h"
#include "cluster/state_codec.h"
#include "spate/error.h"

int sp_join_request_encode(const struct sp_join_request *request, struct sp_buf *out)
{
    struct sp_pack pack;

    sp_pack_init(&pack, out);
    sp_pack_array(&pack, request->lost ? 4 : 3);
    sp_state_node_pack(&pack, &request->node);
    sp_pack_bin(&pack, sp_bytes_of(request->cluster_id, request->formed ? SP_CLUSTER_ID_SIZE : 0));
    sp_pack_uint(&pack, request->voter_id);
    if (request->lost) {
        sp_pack_bool(&pack, true);
    }
    return sp_pack_status(&pack);
}

/* False: neither an id nor, where that is fine, nothing. */
static bool read_cluster_id(struct sp_cursor *cursor, uint8_t *out, bool may_be_empty)
{
    struct sp_bytes id = sp_cursor_bytes(cursor);

    if (sp_cursor_status(cursor) != 0) {
        return false;
    }
    if (id.size != SP_CLUSTER_ID_SIZE) {
        return id.size == 0 && may_be_empty;
    }
    memcpy(out, id.bytes, SP_CLUSTER_ID_SIZE);
    return true;
}

int sp_join_request_decode(const uint8_t *bytes, size_t size, struct sp_join_request *out)
{
    static const uint8_t none[SP_CLUSTER_ID_SIZE];
    struct sp_cursor cursor;

    *out = (struct sp_join_request){ .voter_id = 0 };
    sp_cursor_init(&cursor, bytes, size);
    uint32_t elements = sp_cursor_array(&cursor);
    sp_state_node_read(&cursor, &out->node);
    bool valid = read_cluster_id(&cursor, out->cluster_id, true);
    out->formed = memcmp(out->cluster_id, none, sizeof none) != 0;
    out->voter_id = sp_cursor_uint(&cursor, UINT64_MAX);
    out->lost = elements == 4 && sp_cursor_bool(&cursor);
    valid = valid && (elements == 3 || elements == 4);
    return sp_cursor_finish(&cursor) == 0 && valid ? 0 : SPATE_ERR_MALFORMED;
}

int sp_join_answer_encode(const struct sp_join_answer *answer, struct sp_buf *out)
{
    struct sp_pack pack;

    sp_pack_init(&pack, out);
    sp_pack_array(&pack, 5);
    sp_pack_int(&pack, answer->status);
    sp_pack_text(&pack, answer->text);
    sp_pack_bin(&pack, sp_bytes_of(answer->cluster_id, SP_CLUSTER_ID_SIZE));
    sp_pack_uint(&pack, answer->voter_id);
    sp_pack_array(&pack, 2 * (size_t)answer->node_count);
    for (unsigned i = 0; i < answer->node_count; i++) {
        sp_pack_uint(&pack, answer->nodes[i].node_id);
        sp_pack_text(&pack, answer->nodes[i].peer_address);
    }
    return sp_pack_status(&pack);
}

int sp_join_answer_decode(const uint8_t *bytes, size_t size, struct sp_join_answer *out)
{
    struct sp_cursor cursor;

    *out = (struct sp_join_answer){ .status = 0 };
    sp_cursor_init(&cursor, bytes, size);
    uint32_t elements = sp_cursor_array(&cursor);
    out->status = (int)sp_cursor_int(&cursor, INT32_MIN, 0);
    sp_state_text_read(&cursor, out->text, sizeof out->text);
    bool valid = read_cluster_id(&cursor, out->cluster_id, false);
    out->voter_id = sp_cursor_uint(&cursor, UINT64_MAX);
    uint32_t count = sp_cursor_array(&cursor);
    valid = valid && elements == 5 && count % 2 == 0 && count / 2 <= SP_NODES_MAX;
    for (uint32_t i = 0; valid && i < count / 2; i++) {
        out->nodes[i].node_id = (uint32_t)sp_cursor_uint(&cursor, SP_NODE_ID_MAX);
        sp_state_text_read(&cursor, out->nodes[i].peer_address, sizeof out->nodes[i].peer_address);
    }
    out->node_count = count / 2;
    return valid && sp_cursor_finish(&cursor) == 0 ? 0 : SPATE_ERR_MALFORMED;
}
