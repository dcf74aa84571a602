#include "cluster/placement.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"
#include "spate/error.h"

#define PARTITIONS_MAX 40

static void register_in_rack(struct sp_state *state, uint32_t node_id, const char *rack)
{
    struct sp_state_node node = { .node_id = node_id,
                                  .client_address = "127.0.0.1:1",
                                  .peer_address = "127.0.0.1:2" };
    struct sp_buf buf;

    (void)snprintf(node.rack, sizeof node.rack, "%s", rack);
    sp_buf_init(&buf, 4096);
    assert_int_equal(sp_state_command_register_node(&node, &buf), 0);
    assert_int_equal(sp_state_apply(state, buf.bytes, buf.size, 0, NULL, NULL), 0);
    sp_buf_deinit(&buf);
}

static void register_node(struct sp_state *state, uint32_t node_id)
{
    register_in_rack(state, node_id, "");
}

/* Nodes get the ids 10, 20, ... */
static struct sp_state *state_of(uint32_t node_count)
{
    struct sp_state *state = NULL;

    assert_int_equal(sp_state_new(&state), 0);
    for (uint32_t i = 1; i <= node_count; i++) {
        register_node(state, 10 * i);
    }
    return state;
}

static uint32_t down_from = UINT32_MAX; /* nodes with this id and higher ones are down */

static enum sp_planner_health health(void *arg, uint32_t node_id)
{
    assert_null(arg);
    return node_id >= down_from ? SP_PLANNER_DOWN : SP_PLANNER_UP;
}

static int
choose(const struct sp_state *state, uint32_t partitions, uint32_t replicas, uint32_t *out_nodes)
{
    const struct sp_planner_view view = { .state = state, .health = health };

    return sp_placement_choose(&view, partitions, replicas, out_nodes);
}

static void place(struct sp_state *state, unsigned number, uint32_t partitions, uint32_t replicas)
{
    uint32_t nodes[PARTITIONS_MAX * SP_REPLICAS_MAX];
    char name[16];
    struct sp_buf buf;

    (void)snprintf(name, sizeof name, "t%u", number);
    assert_int_equal(choose(state, partitions, replicas, nodes), 0);
    sp_buf_init(&buf, 1 << 20);
    assert_int_equal(sp_state_command_create_topic(
                         name,
                         partitions,
                         replicas,
                         nodes,
                         &(struct sp_topic_config){ .set = 1U << SP_TOPIC_MESSAGE_BYTES_MAX,
                                                    .values = { 2048 } },
                         &buf),
                     0);
    /* Apply refuses partitions whose nodes are not distinct. */
    assert_int_equal(sp_state_apply(state, buf.bytes, buf.size, 0, NULL, NULL), 0);
    sp_buf_deinit(&buf);
}

/* Largest minus smallest count over all nodes, of replicas and of preferred leaders. */
static void spread(const struct sp_state *state, unsigned *out_replicas, unsigned *out_leaders)
{
    static unsigned counts[2][SP_NODE_ID_MAX + 1];
    struct sp_map_cursor cursor = { 0 };
    const struct sp_state_topic *topic = NULL;
    const struct sp_state_node *node = NULL;
    unsigned low[2] = { ~0u, ~0u };
    unsigned high[2] = { 0, 0 };

    memset(counts, 0, sizeof counts);
    while ((topic = sp_state_topic_next(state, &cursor)) != NULL) {
        for (uint32_t i = 0; i < topic->partition_count; i++) {
            for (unsigned j = 0; j < topic->partitions[i].replica_count; j++) {
                counts[0][topic->partitions[i].replicas[j].node_id] += 1;
            }
            counts[1][topic->partitions[i].replicas[0].node_id] += 1;
        }
    }
    cursor = (struct sp_map_cursor){ 0 };
    while ((node = sp_state_node_next(state, &cursor)) != NULL) {
        for (unsigned k = 0; k < 2; k++) {
            unsigned count = counts[k][node->node_id];
            low[k] = count < low[k] ? count : low[k];
            high[k] = count > high[k] ? count : high[k];
        }
    }
    *out_replicas = high[0] - low[0];
    *out_leaders = high[1] - low[1];
}

static void test_placement_random_topics_stay_balanced(void **unused)
{
    struct sp_rand rand;

    (void)unused;
    sp_rand_init(&rand, 1);
    for (uint32_t node_count = 1; node_count <= 12; node_count++) {
        struct sp_state *state = state_of(node_count);
        uint32_t replicas_max = node_count < SP_REPLICAS_MAX ? node_count : SP_REPLICAS_MAX;
        for (unsigned number = 0; number < 150; number++) {
            unsigned replicas = 0;
            unsigned leaders = 0;
            uint32_t partitions = 1 + (uint32_t)sp_rand_below(&rand, number % 3 ? 4 : 40);
            place(state, number, partitions, 1 + (uint32_t)sp_rand_below(&rand, replicas_max));
            spread(state, &replicas, &leaders);
            assert_true(replicas <= 1);
            assert_true(leaders <= 1);
        }
        sp_state_free(state);
    }
}

static void test_placement_new_node_takes_what_comes_until_even(void **unused)
{
    struct sp_state *state = state_of(3);
    unsigned replicas = 0;
    unsigned leaders = 0;

    (void)unused;
    place(state, 0, 12, 1);
    register_node(state, 5);
    place(state, 1, 4, 1);
    spread(state, &replicas, &leaders);
    assert_int_equal(replicas, 0);
    assert_int_equal(leaders, 0);
    const struct sp_state_topic *topic = sp_state_topic(state, "t1");
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(topic->partitions[i].replicas[0].node_id, 5);
    }
    sp_state_free(state);
}

static void test_placement_ties_go_to_lower_id(void **unused)
{
    struct sp_state *state = state_of(3);
    uint32_t nodes[9];
    static const uint32_t leaders[] = { 10, 20, 30 };

    (void)unused;
    register_node(state, 5);
    assert_int_equal(choose(state, 1, 3, nodes), 0);
    assert_int_equal(nodes[0], 5);
    sp_state_free(state);
    state = state_of(3);
    assert_int_equal(choose(state, 3, 3, nodes), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(nodes[3 * i], leaders[i]);
    }
    sp_state_free(state);
}

static void test_placement_more_replicas_than_nodes_is_invalid(void **unused)
{
    struct sp_state *state = state_of(2);
    uint32_t nodes[3] = { 0 };

    (void)unused;
    assert_int_equal(choose(state, 1, 3, nodes), SPATE_ERR_INVALID);
    assert_int_equal(nodes[0], 0);
    sp_state_free(state);
}

static unsigned count_node(const uint32_t *nodes, unsigned count, unsigned step, uint32_t node_id)
{
    unsigned found = 0;

    for (unsigned i = 0; i < count; i += step) {
        found += nodes[i] == node_id ? 1 : 0;
    }
    return found;
}

static void test_placement_leaves_out_nodes_that_are_down_if_others_suffice(void **unused)
{
    struct sp_state *state = state_of(5);
    uint32_t nodes[36];

    (void)unused;
    place(state, 0, 10, 3); /* six replicas each, two lead on each */
    down_from = 40;
    assert_int_equal(choose(state, 6, 3, nodes), 0);
    for (uint32_t node_id = 10; node_id <= 50; node_id += 10) {
        assert_int_equal(count_node(nodes, 18, 1, node_id), node_id < 40 ? 6 : 0);
        assert_int_equal(count_node(nodes, 18, 3, node_id), node_id < 40 ? 2 : 0);
    }
    /* too few are up: all of them, one that is down besides, which does not lead */
    assert_int_equal(choose(state, 6, 4, nodes), 0);
    for (uint32_t node_id = 10; node_id <= 50; node_id += 10) {
        assert_int_equal(count_node(nodes, 24, 1, node_id), node_id < 40 ? 6 : 3);
        assert_int_equal(count_node(nodes, 24, 4, node_id), node_id < 40 ? 2 : 0);
    }
    assert_int_equal(choose(state, 6, 6, nodes), SPATE_ERR_INVALID);
    down_from = UINT32_MAX;
    sp_state_free(state);
}

static void test_placement_node_that_is_up_goes_before_a_rack(void **unused)
{
    static const char *const racks[] = { "a", "a", "b" };
    struct sp_state *state = NULL;
    uint32_t nodes[3] = { 0 };

    (void)unused;
    assert_int_equal(sp_state_new(&state), 0);
    for (uint32_t i = 0; i < 3; i++) {
        register_in_rack(state, 10 * (i + 1), racks[i]);
    }
    down_from = 30;
    assert_int_equal(choose(state, 1, 2, nodes), 0);
    assert_int_equal(nodes[0], 10);
    assert_int_equal(nodes[1], 20);
    register_in_rack(state, 40, "b");
    assert_int_equal(choose(state, 1, 3, nodes), 0);
    assert_int_equal(nodes[0], 10);
    assert_int_equal(nodes[1], 20);
    down_from = UINT32_MAX;
    assert_int_equal(choose(state, 1, 2, nodes), 0);
    assert_int_equal(nodes[1], 30);
    sp_state_free(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_placement_random_topics_stay_balanced),
        cmocka_unit_test(test_placement_new_node_takes_what_comes_until_even),
        cmocka_unit_test(test_placement_ties_go_to_lower_id),
        cmocka_unit_test(test_placement_more_replicas_than_nodes_is_invalid),
        cmocka_unit_test(test_placement_leaves_out_nodes_that_are_down_if_others_suffice),
        cmocka_unit_test(test_placement_node_that_is_up_goes_before_a_rack),
    };
    return cmocka_run_group_tests_name("cluster/placement", tests, NULL, NULL);
}
