/* The controller's state, and commands for it. Included once, by one test. */
#ifndef SP_UNIT_FILLED_STATE_H
#define SP_UNIT_FILLED_STATE_H

#include "cluster/state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "spate/error.h"

#define BYTES_MAX (4 * 1024 * 1024)

/* What the last apply told. */
struct seen {
    unsigned count;
    int kind;
    char topic[SP_TOPIC_NAME_SIZE_MAX + 1];
    uint64_t group_id_first;
    uint32_t node_id;
    uint64_t producer_id_first;
    int16_t producer_epoch;
};

static inline void changed(void *arg, const struct sp_state_change *change)
{
    struct seen *seen = arg;

    seen->count += 1;
    seen->kind = (int)change->kind;
    if (change->topic != NULL) {
        memcpy(seen->topic, change->topic->name, sizeof seen->topic);
        seen->group_id_first = change->topic->partitions[0].group_id;
    }
    if (change->node != NULL) {
        seen->node_id = change->node->node_id;
    }
    seen->producer_id_first = change->producer_id_first;
    seen->producer_epoch = change->producer_epoch;
}

/* Applies the command in `buf` and frees it. */
static inline int
apply_at(struct sp_state *state, struct sp_buf *buf, int64_t time_ms, struct seen *seen)
{
    int rv =
        sp_state_apply(state, buf->bytes, buf->size, time_ms, seen == NULL ? NULL : changed, seen);

    sp_buf_deinit(buf);
    return rv;
}

static inline struct sp_state_node make_node(uint32_t node_id)
{
    struct sp_state_node node = { .node_id = node_id, .incarnation = 1000 + node_id };

    (void)snprintf(node.client_address, sizeof node.client_address, "127.0.0.1:%u", 7600 + node_id);
    (void)snprintf(node.peer_address, sizeof node.peer_address, "127.0.0.1:%u", 7700 + node_id);
    return node;
}

static inline int
register_node(struct sp_state *state, const struct sp_state_node *node, struct seen *seen)
{
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_register_node(node, &buf), 0);
    return apply_at(state, &buf, 0, seen);
}

static inline int create_topic(struct sp_state *state,
                               const char *name,
                               uint32_t partitions,
                               uint32_t replicas,
                               const uint32_t *nodes,
                               int64_t time_ms,
                               struct seen *seen)
{
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_create_topic(
                         name,
                         partitions,
                         replicas,
                         nodes,
                         &(struct sp_topic_config){ .set = 1U << SP_TOPIC_MESSAGE_BYTES_MAX,
                                                    .values = { 65536 } },
                         &buf),
                     0);
    return apply_at(state, &buf, time_ms, seen);
}

static inline int delete_topic(struct sp_state *state, const char *name, struct seen *seen)
{
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_delete_topic(name, &buf), 0);
    return apply_at(state, &buf, 0, seen);
}

static inline int producer_block(struct sp_state *state, struct seen *seen)
{
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_producer_block(&buf), 0);
    return apply_at(state, &buf, 0, seen);
}

/* A state with nodes 1 to 3. */
static inline struct sp_state *three_nodes(void)
{
    struct sp_state *state = NULL;

    assert_int_equal(sp_state_new(&state), 0);
    for (uint32_t id = 1; id <= 3; id++) {
        struct sp_state_node node = make_node(id);
        assert_int_equal(register_node(state, &node, NULL), 0);
    }
    return state;
}

/* Nodes, two topics, one deleted in between, a producer block. */
static inline struct sp_state *busy_state(void)
{
    static const uint32_t placed[] = { 1, 2, 2, 3, 3, 1 };
    struct sp_state *state = three_nodes();

    assert_int_equal(create_topic(state, "orders", 3, 2, placed, 5, NULL), 0);
    assert_int_equal(create_topic(state, "gone", 2, 3, placed, 6, NULL), SPATE_ERR_INVALID);
    assert_int_equal(create_topic(state, "gone", 3, 1, placed, 6, NULL), 0);
    assert_int_equal(create_topic(state, "events", 1, 1, placed, -7, NULL), 0);
    assert_int_equal(delete_topic(state, "gone", NULL), 0);
    assert_int_equal(producer_block(state, NULL), 0);
    return state;
}

static inline int producer_name(struct sp_state *state, const char *name, struct seen *seen)
{
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_producer_name(name, "p=4", &buf), 0);
    return apply_at(state, &buf, 77, seen);
}

#endif /* SP_UNIT_FILLED_STATE_H */
