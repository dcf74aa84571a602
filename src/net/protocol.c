/* The two protocols that connections speak, as far as finding the end of a message goes. */
#include <string.h>

#include "base/assert.h"
#include "net/conn.h"
#include "spate/error.h"
#include "wire/frame.h"
#include "wire/peer_api.h"

/* ---- MessagePack-RPC ------------------------------------------------------------------------- */

static void messagepack_init(void *state)
{
    sp_frame_init(state, SP_MESSAGE_BYTES_MAX, SP_MESSAGE_ELEMENTS_MAX);
}

static void answers_init(void *state)
{
    sp_frame_init(state, SP_MESSAGE_BYTES_MAX, SP_ANSWER_ELEMENTS_MAX);
}

static int messagepack_feed(
    void *state, const uint8_t *bytes, size_t size, size_t *out_used, bool *out_complete)
{
    return sp_frame_feed(state, bytes, size, out_used, out_complete);
}

static uint64_t messagepack_missing(const void *state)
{
    return sp_frame_missing_bytes(state);
}

const struct sp_conn_protocol sp_conn_messagepack = {
    .state_size = sizeof(struct sp_frame),
    .init = messagepack_init,
    .feed = messagepack_feed,
    .missing = messagepack_missing,
};

const struct sp_conn_protocol sp_conn_messagepack_answers = {
    .state_size = sizeof(struct sp_frame),
    .init = answers_init,
    .feed = messagepack_feed,
    .missing = messagepack_missing,
};

/* ---- between nodes --------------------------------------------------------------------------- */

/* The head is kept here until its checksum is proven; only then is its size believed. */
struct node_state {
    size_t used_bytes;   /* of the message in progress */
    size_t head_size;    /* once the prefix is here */
    size_t message_size; /* once the prefix is here */
    uint8_t head[SP_PEER_HEAD_SIZE_MAX];
};

static void node_init(void *state)
{
    struct node_state *node = state;

    node->used_bytes = 0;
    node->head_size = SP_PEER_PREFIX_SIZE;
    node->message_size = SP_PEER_PREFIX_SIZE;
}

static size_t take_head(struct node_state *node, const uint8_t *bytes, size_t size)
{
    size_t missing = node->head_size - node->used_bytes;
    size_t step = missing < size ? missing : size;

    memcpy(node->head + node->used_bytes, bytes, step);
    node->used_bytes += step;
    return step;
}

static size_t skip_body(struct node_state *node, size_t size)
{
    size_t missing = node->message_size - node->used_bytes;
    size_t step = missing < size ? missing : size;

    node->used_bytes += step;
    return step;
}

/* A message of another version passes, so that its sender can be told. */
static int approve_head(struct node_state *node)
{
    if (node->used_bytes == SP_PEER_PREFIX_SIZE) {
        int rv = sp_peer_message_size(node->head, SP_PEER_PREFIX_SIZE, &node->message_size);
        if (rv != 0) {
            return rv;
        }
        node->head_size = sp_peer_head_size(node->head);
    }
    if (node->used_bytes == node->head_size) {
        int rv = sp_peer_head_check(node->head);
        return rv == SPATE_ERR_UNSUPPORTED ? 0 : rv;
    }
    return 0;
}

static int
node_feed(void *state, const uint8_t *bytes, size_t size, size_t *out_used, bool *out_complete)
{
    struct node_state *node = state;
    size_t position = 0;
    bool complete = false;

    while (position < size && !complete) {
        if (node->used_bytes < node->head_size) {
            position += take_head(node, bytes + position, size - position);
            int rv = approve_head(node);
            if (rv != 0) {
                return rv;
            }
        } else {
            position += skip_body(node, size - position);
        }
        complete = node->used_bytes >= node->head_size && node->used_bytes == node->message_size;
    }
    if (complete) {
        node_init(node);
    }
    *out_used = position;
    *out_complete = complete;
    return 0;
}

static uint64_t node_missing(const void *state)
{
    const struct node_state *node = state;

    if (node->used_bytes == 0) {
        return 0;
    }
    if (node->used_bytes < node->head_size) {
        return node->head_size - node->used_bytes;
    }
    return node->message_size - node->used_bytes;
}

const struct sp_conn_protocol sp_conn_node_messages = {
    .state_size = sizeof(struct node_state),
    .init = node_init,
    .feed = node_feed,
    .missing = node_missing,
};
