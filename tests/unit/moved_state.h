/* A controller's state of five nodes, and one partition that tests move about. */
#ifndef SP_UNIT_MOVED_STATE_H
#define SP_UNIT_MOVED_STATE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "cluster/state_moves.h"
#include "cluster/state_nodes.h"
#include "spate/error.h"

#define BYTES_MAX (1024 * 1024)
#define NODES 5

static int64_t now_ms = 7; /* when commands are appended */

static const struct sp_topic_config config = { .set = 0 };

static inline int apply(struct sp_state *state, struct sp_buf *buf)
{
    int rv = sp_state_apply(state, buf->bytes, buf->size, now_ms, NULL, NULL);

    sp_buf_deinit(buf);
    return rv;
}

static inline struct sp_state_node make_node(uint32_t node_id, const char *rack)
{
    struct sp_state_node node = { .node_id = node_id,
                                  .incarnation = 100 + node_id,
                                  .features = { SP_FEATURE_LEVEL_FIRST, SP_FEATURE_LEVEL_MAX } };

    (void)snprintf(node.client_address, sizeof node.client_address, "c%u:1", node_id);
    (void)snprintf(node.peer_address, sizeof node.peer_address, "p%u:1", node_id);
    (void)snprintf(node.rack, sizeof node.rack, "%s", rack);
    return node;
}

static inline int join(struct sp_state *state, const struct sp_state_node *node)
{
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_join_node(node, &buf), 0);
    return apply(state, &buf);
}

static inline int drain(struct sp_state *state, uint32_t node_id, bool draining)
{
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_drain_node(node_id, draining, &buf), 0);
    return apply(state, &buf);
}

static inline int move_to(struct sp_state *state, unsigned count, const uint32_t *nodes, bool fresh)
{
    struct sp_state_wish wishes[SP_REPLICAS_MAX] = { 0 };
    struct sp_buf buf;

    for (unsigned i = 0; i < count; i++) {
        wishes[i] = (struct sp_state_wish){ .node_id = nodes[i], .fresh = fresh && i == 0 };
    }
    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_move_begin(1, 0, wishes, count, &buf), 0);
    return apply(state, &buf);
}

static inline int end_move(struct sp_state *state, const struct sp_state_move *move)
{
    struct sp_state_move copy = *move;
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_move_done(&copy, &buf), 0);
    return apply(state, &buf);
}

/* Nodes 1 to 5, and a topic with one partition on 1, 2 and 3. */
static inline struct sp_state *make_state(void)
{
    static const uint32_t placed[] = { 1, 2, 3 };
    struct sp_state *state = NULL;
    struct sp_buf buf;

    assert_int_equal(sp_state_new(&state), 0);
    for (uint32_t i = 1; i <= NODES; i++) {
        struct sp_state_node node = make_node(i, "");
        assert_int_equal(join(state, &node), 0);
    }
    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_create_topic("t", 1, 3, placed, &config, &buf), 0);
    assert_int_equal(apply(state, &buf), 0);
    return state;
}

static inline const struct sp_state_partition *the_partition(const struct sp_state *state)
{
    return &sp_state_topic(state, "t")->partitions[0];
}

static inline const struct sp_state_move *the_move(const struct sp_state *state)
{
    return sp_state_move(state, the_partition(state)->group_id);
}

static inline void lose_disk(struct sp_state *state, uint32_t node_id)
{
    struct sp_state_node renewed = make_node(node_id, "");

    renewed.incarnation = 999;
    assert_int_equal(join(state, &renewed), 0);
}

/* A topic of one partition on the first `count` nodes. */
static inline const struct sp_state_partition *
add_topic(struct sp_state *state, const char *name, unsigned count)
{
    static const uint32_t placed[] = { 1, 2, 3, 4 };
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_create_topic(name, 1, count, placed, &config, &buf), 0);
    assert_int_equal(apply(state, &buf), 0);
    return &sp_state_topic(state, name)->partitions[0];
}

#endif /* SP_UNIT_MOVED_STATE_H */
