#include "cluster/node_call.h"

#include <string.h>

#include "cluster/state_codec.h"
#include "spate/error.h"

int sp_node_call_encode(const struct sp_proposal *proposal, struct sp_buf *out)
{
    struct sp_pack pack;

    sp_pack_init(&pack, out);
    switch (proposal->kind) {
    case SP_PROPOSAL_CREATE_TOPIC:
        sp_pack_array(&pack, 5);
        sp_pack_uint(&pack, proposal->kind);
        sp_pack_text(&pack, proposal->topic);
        sp_pack_uint(&pack, proposal->partitions);
        sp_pack_uint(&pack, proposal->replicas);
        sp_topic_config_pack(&pack, &proposal->config);
        break;
    case SP_PROPOSAL_DELETE_TOPIC:
        sp_pack_array(&pack, proposal->by_id ? 3 : 2);
        sp_pack_uint(&pack, proposal->kind);
        sp_pack_text(&pack, proposal->topic);
        if (proposal->by_id) { /* else as older builds have it */
            sp_pack_uint(&pack, proposal->topic_id);
        }
        break;
    case SP_PROPOSAL_PRODUCER_BLOCK:
    case SP_PROPOSAL_FEATURE_LEVEL:
        sp_pack_array(&pack, 1);
        sp_pack_uint(&pack, proposal->kind);
        break;
    case SP_PROPOSAL_REGISTER_NODE:
        sp_pack_array(&pack, 2);
        sp_pack_uint(&pack, proposal->kind);
        sp_state_node_pack(&pack, &proposal->self);
        break;
    case SP_PROPOSAL_PRODUCER_NAME:
        sp_pack_array(&pack, 3);
        sp_pack_uint(&pack, proposal->kind);
        sp_pack_text(&pack, proposal->producer_name);
        sp_pack_text(&pack, proposal->producer_layout);
        break;
    case SP_PROPOSAL_FEATURE_HOLD:
        sp_pack_array(&pack, 2);
        sp_pack_uint(&pack, proposal->kind);
        sp_pack_uint(&pack, proposal->hold ? 1 : 0);
        break;
    case SP_PROPOSAL_ALTER_TOPIC:
        sp_pack_array(&pack, 4);
        sp_pack_uint(&pack, proposal->kind);
        sp_pack_text(&pack, proposal->topic);
        sp_topic_config_pack(&pack, &proposal->config);
        sp_topic_keys_pack(&pack, proposal->unset);
        break;
    case SP_PROPOSAL_MEMBERSHIP:
        sp_pack_array(&pack, 2);
        sp_pack_uint(&pack, proposal->kind);
        sp_membership_change_pack(&pack, &proposal->membership);
        break;
    }
    return sp_pack_status(&pack);
}

int sp_node_call_decode(const uint8_t *bytes, size_t size, struct sp_proposal *out_proposal)
{
    struct sp_cursor cursor;
    uint32_t expected = 0;

    *out_proposal = (struct sp_proposal){ 0 };
    sp_cursor_init(&cursor, bytes, size);
    uint32_t count = sp_cursor_array(&cursor);
    out_proposal->kind = (enum sp_proposal_kind)sp_cursor_uint(&cursor, SP_PROPOSAL_MEMBERSHIP);
    switch (out_proposal->kind) {
    case SP_PROPOSAL_CREATE_TOPIC:
        expected = 5;
        sp_state_text_read(&cursor, out_proposal->topic, sizeof out_proposal->topic);
        out_proposal->partitions = (uint32_t)sp_cursor_uint(&cursor, UINT32_MAX);
        out_proposal->replicas = (uint32_t)sp_cursor_uint(&cursor, UINT32_MAX);
        sp_topic_config_read(&cursor, &out_proposal->config);
        break;
    case SP_PROPOSAL_DELETE_TOPIC:
        expected = count == 3 ? 3 : 2;
        sp_state_text_read(&cursor, out_proposal->topic, sizeof out_proposal->topic);
        out_proposal->by_id = count == 3;
        out_proposal->topic_id = count == 3 ? sp_cursor_uint(&cursor, UINT64_MAX) : 0;
        break;
    case SP_PROPOSAL_PRODUCER_BLOCK:
    case SP_PROPOSAL_FEATURE_LEVEL:
        expected = 1;
        break;
    case SP_PROPOSAL_REGISTER_NODE:
        expected = 2;
        sp_state_node_read(&cursor, &out_proposal->self);
        break;
    case SP_PROPOSAL_PRODUCER_NAME:
        expected = 3;
        sp_state_text_read(
            &cursor, out_proposal->producer_name, sizeof out_proposal->producer_name);
        sp_state_text_read(
            &cursor, out_proposal->producer_layout, sizeof out_proposal->producer_layout);
        break;
    case SP_PROPOSAL_FEATURE_HOLD:
        expected = 2;
        out_proposal->hold = sp_cursor_uint(&cursor, 1) == 1;
        break;
    case SP_PROPOSAL_ALTER_TOPIC:
        expected = 4;
        sp_state_text_read(&cursor, out_proposal->topic, sizeof out_proposal->topic);
        sp_topic_config_read(&cursor, &out_proposal->config);
        out_proposal->unset = sp_topic_keys_read(&cursor);
        break;
    case SP_PROPOSAL_MEMBERSHIP:
        expected = 2;
        sp_membership_change_read(&cursor, &out_proposal->membership);
        break;
    }
    return sp_cursor_finish(&cursor) != 0 || count != expected ? SPATE_ERR_MALFORMED : 0;
}

int sp_node_reply_encode(const struct sp_node_reply *reply, struct sp_buf *out)
{
    struct sp_pack pack;

    sp_pack_init(&pack, out);
    sp_pack_array(&pack, reply->producer_epoch > 0 ? 4 : 3);
    sp_pack_text(&pack, reply->text);
    sp_pack_uint(&pack, reply->index);
    sp_pack_uint(&pack, reply->producer_id_first);
    if (reply->producer_epoch > 0) {
        sp_pack_int(&pack, reply->producer_epoch);
    }
    return sp_pack_status(&pack);
}

int sp_node_reply_decode(const uint8_t *bytes, size_t size, struct sp_node_reply *out_reply)
{
    struct sp_cursor cursor;

    sp_cursor_init(&cursor, bytes, size);
    uint32_t count = sp_cursor_array(&cursor);
    sp_state_text_read(&cursor, out_reply->text, sizeof out_reply->text);
    out_reply->index = sp_cursor_uint(&cursor, UINT64_MAX);
    out_reply->producer_id_first = sp_cursor_uint(&cursor, UINT64_MAX);
    out_reply->producer_epoch = count == 4 ? (int16_t)sp_cursor_int(&cursor, 0, INT16_MAX) : 0;
    return sp_cursor_finish(&cursor) != 0 || (count != 3 && count != 4) ? SPATE_ERR_MALFORMED : 0;
}
