#include "cluster/planner.h"

#include "cluster/placement.h"
#include "moved_state.h"

static enum sp_planner_health health(void *arg, uint32_t node_id)
{
    const enum sp_planner_health *healths = arg;

    return healths[node_id];
}

static void test_planner_replaces_what_is_gone_or_draining_only(void **unused)
{
    enum sp_planner_health healths[NODES + 1] = { SP_PLANNER_UP };
    struct sp_state *state = make_state();
    const struct sp_planner_view view = { .state = state, .health = health, .arg = healths };
    struct sp_planner_move moves[4];

    (void)unused;
    assert_int_equal(sp_planner_repairs(&view, moves, 4), 0);
    healths[2] = SP_PLANNER_DOWN;
    assert_int_equal(sp_planner_repairs(&view, moves, 4), 0);
    healths[2] = SP_PLANNER_GONE;
    assert_int_equal(sp_planner_repairs(&view, moves, 4), 1);
    assert_int_equal(moves[0].wishes[0].node_id, 1);
    assert_int_equal(moves[0].wishes[1].node_id, 4);
    assert_int_equal(moves[0].wishes[2].node_id, 3);
    healths[2] = SP_PLANNER_UP;
    assert_int_equal(drain(state, 3, true), 0);
    assert_int_equal(drain(state, 4, true), 0);
    assert_int_equal(sp_planner_repairs(&view, moves, 4), 1);
    assert_int_equal(moves[0].wishes[2].node_id, 5);
    sp_state_free(state);
}

/* A new one is of no use where the others are no majority to take it in. */
static void test_planner_rebuilds_after_a_lost_disk_what_a_majority_has(void **unused)
{
    enum sp_planner_health healths[NODES + 1] = { SP_PLANNER_UP };
    struct sp_state *state = make_state();
    const struct sp_planner_view view = { .state = state, .health = health, .arg = healths };
    struct sp_planner_move moves[4];

    (void)unused;
    (void)add_topic(state, "two", 2);
    (void)add_topic(state, "one", 1);
    lose_disk(state, 1);
    assert_int_equal(sp_planner_repairs(&view, moves, 4), 1);
    assert_int_equal(moves[0].topic_id, sp_state_topic(state, "t")->topic_id);
    assert_int_equal(moves[0].wishes[0].node_id, 1);
    sp_state_free(state);
}

static void test_planner_gives_a_lost_target_of_one_replica_another_one(void **unused)
{
    static const uint32_t target[] = { 4 };
    enum sp_planner_health healths[NODES + 1] = { SP_PLANNER_UP };
    struct sp_state *state = make_state();
    const struct sp_planner_view view = { .state = state, .health = health, .arg = healths };
    struct sp_planner_move moves[4];

    (void)unused;
    assert_int_equal(move_to(state, 1, target, false), 0);
    lose_disk(state, 4);
    assert_int_equal(sp_planner_repairs(&view, moves, 4), 1);
    assert_int_equal(moves[0].wishes[0].node_id, 4);
    sp_state_free(state);
}

static void test_planner_prefers_another_rack(void **unused)
{
    static const char *const racks[] = { "", "a", "b", "c", "b", "c" };
    enum sp_planner_health healths[NODES + 1] = { SP_PLANNER_UP };
    struct sp_state *state = make_state();
    const struct sp_planner_view view = { .state = state, .health = health, .arg = healths };
    struct sp_planner_move moves[4];

    (void)unused;
    for (uint32_t i = 1; i <= NODES; i++) {
        struct sp_state_node node = make_node(i, racks[i]);
        assert_int_equal(join(state, &node), 0);
    }
    healths[3] = SP_PLANNER_GONE;
    assert_int_equal(sp_planner_repairs(&view, moves, 4), 1);
    assert_int_equal(moves[0].wishes[2].node_id, 5); /* node 4 stands in the rack of node 2 */
    sp_state_free(state);
}

static void test_planner_balances_with_few_moves(void **unused)
{
    enum sp_planner_health healths[NODES + 1] = { SP_PLANNER_UP };
    struct sp_state *state = make_state();
    const struct sp_planner_view view = { .state = state, .health = health, .arg = healths };
    struct sp_planner_move moves[64];
    uint32_t nodes[20];
    uint32_t counts[NODES + 1] = { 0 };
    struct sp_buf buf;

    (void)unused;
    for (unsigned i = 0; i < 20; i++) {
        nodes[i] = i % 2 + 1;
    }
    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_create_topic("u", 10, 2, nodes, &config, &buf), 0);
    assert_int_equal(apply(state, &buf), 0);
    /* 11, 11, 1, 0, 0 replicas: twelve or thirteen shifts, some of them of one partition */
    unsigned count = sp_planner_balance(&view, moves, 64);
    for (uint32_t i = 1; i <= NODES; i++) {
        counts[i] = sp_state_replicas_on(state, i);
    }
    for (unsigned i = 0; i < count; i++) {
        const struct sp_state_topic *topic = sp_state_topic_by_id(state, moves[i].topic_id);
        const struct sp_state_partition *partition = &topic->partitions[moves[i].partition];
        for (unsigned k = 0; k < moves[i].count; k++) {
            counts[partition->replicas[k].node_id] -= 1;
            counts[moves[i].wishes[k].node_id] += 1;
        }
    }
    for (uint32_t i = 1; i <= NODES; i++) {
        assert_in_range(counts[i], 4, 5);
    }
    assert_in_range(count, 6, 11);
    sp_state_free(state);
}

/* How many partitions each node leads once these moves are done. */
static void count_leaders(const struct sp_state *state,
                          const struct sp_planner_move *moves,
                          unsigned count,
                          uint32_t counts[NODES + 1])
{
    struct sp_map_cursor cursor = { 0 };
    const struct sp_state_topic *topic = NULL;

    memset(counts, 0, (NODES + 1) * sizeof *counts);
    while ((topic = sp_state_topic_next(state, &cursor)) != NULL) {
        for (uint32_t i = 0; i < topic->partition_count; i++) {
            counts[topic->partitions[i].replicas[0].node_id] += 1;
        }
    }
    for (unsigned i = 0; i < count; i++) {
        topic = sp_state_topic_by_id(state, moves[i].topic_id);
        counts[topic->partitions[moves[i].partition].replicas[0].node_id] -= 1;
        counts[moves[i].wishes[0].node_id] += 1;
    }
}

/* Eleven partitions of three replicas, ten of which are led by node 1. */
static struct sp_state *make_led_state(void)
{
    struct sp_state *state = make_state();
    uint32_t nodes[30];
    struct sp_buf buf;

    for (unsigned i = 0; i < 10; i++) {
        nodes[3 * i] = 1;
        nodes[3 * i + 1] = 2 + i % 4;
        nodes[3 * i + 2] = 2 + (i + 1) % 4;
    }
    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_create_topic("u", 10, 3, nodes, &config, &buf), 0);
    assert_int_equal(apply(state, &buf), 0);
    return state;
}

static void test_planner_balances_leaders_too(void **unused)
{
    enum sp_planner_health healths[NODES + 1] = { SP_PLANNER_UP };
    struct sp_state *state = make_led_state();
    const struct sp_planner_view view = { .state = state, .health = health, .arg = healths };
    struct sp_planner_move moves[64];
    uint32_t counts[NODES + 1];

    (void)unused;
    unsigned count = sp_planner_balance(&view, moves, 64);
    count_leaders(state, moves, count, counts);
    for (uint32_t i = 1; i <= NODES; i++) {
        assert_in_range(counts[i], 2, 3);
    }
    assert_int_equal(sp_planner_balance(&view, moves, 1),
                     1); /* a part of it, if there is no room */
    healths[3] = SP_PLANNER_DOWN;
    count = sp_planner_balance(&view, moves, 64);
    count_leaders(state, moves, count, counts);
    assert_int_equal(counts[3], 0);
    sp_state_free(state);
}

/* Who takes the place of a node that leads does not lead all that it led. */
static void test_planner_spreads_the_leaders_of_a_node_that_leaves(void **unused)
{
    enum sp_planner_health healths[NODES + 1] = { SP_PLANNER_UP };
    struct sp_state *state = make_led_state();
    const struct sp_planner_view view = { .state = state, .health = health, .arg = healths };
    struct sp_planner_move moves[64];
    uint32_t counts[NODES + 1];

    (void)unused;
    assert_int_equal(drain(state, 1, true), 0);
    unsigned count = sp_planner_repairs(&view, moves, 64);
    assert_int_equal(count, 11);
    count_leaders(state, moves, count, counts);
    for (uint32_t i = 2; i <= NODES; i++) {
        assert_in_range(counts[i], 2, 3);
    }
    sp_state_free(state);
}

static void test_placement_spreads_over_racks_and_avoids_draining_nodes(void **unused)
{
    static const char *const racks[] = { "", "a", "a", "b", "b", "c" };
    struct sp_state *state = NULL;
    enum sp_planner_health healths[NODES + 1] = { SP_PLANNER_UP };
    uint32_t nodes[30];

    (void)unused;
    assert_int_equal(sp_state_new(&state), 0);
    const struct sp_planner_view view = { .state = state, .health = health, .arg = healths };
    for (uint32_t i = 1; i <= NODES; i++) {
        struct sp_state_node node = make_node(i, racks[i]);
        assert_int_equal(join(state, &node), 0);
    }
    assert_int_equal(drain(state, 2, true), 0);
    assert_int_equal(sp_placement_choose(&view, 10, 3, nodes), 0);
    for (unsigned i = 0; i < 10; i++) {
        unsigned seen = 0;
        for (unsigned k = 0; k < 3; k++) {
            uint32_t node_id = nodes[3 * i + k];
            assert_int_not_equal(node_id, 2);
            seen |= 1u << (racks[node_id][0] - 'a');
        }
        assert_int_equal(seen, 7);
    }
    assert_int_equal(sp_placement_choose(&view, 1, 5, nodes), SPATE_ERR_INVALID);
    sp_state_free(state);
}

static int move_one(struct sp_state *state, uint32_t node_id)
{
    const struct sp_state_wish wish = { .node_id = node_id };
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(
        sp_state_command_move_begin(sp_state_topic(state, "one")->topic_id, 0, &wish, 1, &buf), 0);
    return apply(state, &buf);
}

#define ALL_GROUPS UINT64_MAX

static uint64_t unled; /* the group that nobody leads */

static bool led(void *arg, uint64_t group_id)
{
    (void)arg;
    return group_id != unled && unled != ALL_GROUPS;
}

/* A move could not go on, and would keep it from beginning anew when its node comes back empty. */
static void test_planner_leaves_a_partition_without_a_leader(void **unused)
{
    enum sp_planner_health healths[NODES + 1] = { SP_PLANNER_UP };
    struct sp_state *state = make_state();
    const struct sp_planner_view view = {
        .state = state, .health = health, .led = led, .arg = healths
    };
    struct sp_planner_move moves[4];

    (void)unused;
    unled = add_topic(state, "one", 1)->group_id;
    uint64_t one = sp_state_topic(state, "one")->topic_id;
    healths[1] = SP_PLANNER_GONE;
    assert_int_equal(sp_planner_repairs(&view, moves, 4), 1); /* that of the other topic */
    assert_int_not_equal(moves[0].topic_id, one);
    unled = 0; /* as it was seen last */
    assert_int_equal(sp_planner_repairs(&view, moves, 4), 1);
    healths[1] = SP_PLANNER_UP;
    assert_int_equal(drain(state, 1, true), 0);
    assert_int_equal(sp_planner_repairs(&view, moves, 4), 2);
    unled = sp_state_topic(state, "one")->partitions[0].group_id;
    assert_int_equal(sp_planner_repairs(&view, moves, 4), 1);
    assert_int_not_equal(moves[0].topic_id, one);
    unled = the_partition(state)->group_id; /* nor one of several replicas */
    assert_int_equal(sp_planner_repairs(&view, moves, 4), 1);
    assert_int_equal(moves[0].topic_id, one);
    sp_state_free(state);
}

static void test_planner_balance_leaves_partitions_without_a_leader(void **unused)
{
    enum sp_planner_health healths[NODES + 1] = { SP_PLANNER_UP };
    struct sp_state *state = make_state();
    const struct sp_planner_view view = {
        .state = state, .health = health, .led = led, .arg = healths
    };
    struct sp_planner_move moves[4];

    (void)unused;
    (void)add_topic(state, "one", 1);
    (void)add_topic(state, "two", 1);
    (void)add_topic(state, "three", 1); /* four replicas on node 1, none on 4 and 5 */
    unled = the_partition(state)->group_id;
    unsigned count = sp_planner_balance(&view, moves, 4);
    assert_int_equal(count, 2);
    for (unsigned i = 0; i < count; i++) {
        assert_int_not_equal(moves[i].topic_id, sp_state_topic(state, "t")->topic_id);
    }
    unled = ALL_GROUPS;
    assert_int_equal(sp_planner_balance(&view, moves, 4), 0);
    sp_state_free(state);
}

/* One that was moved before does not run any more. */
static void test_planner_has_a_partition_begun_anew_of_which_nothing_is_left(void **unused)
{
    enum sp_planner_health healths[NODES + 1] = { SP_PLANNER_UP };
    struct sp_state *state = make_state();
    const struct sp_planner_view view = {
        .state = state, .health = health, .led = led, .arg = healths
    };
    struct sp_planner_move moves[4];

    (void)unused;
    const struct sp_state_partition *one = add_topic(state, "one", 1);
    unled = one->group_id;
    assert_int_equal(move_one(state, 4), 0);
    assert_int_equal(end_move(state, sp_state_move(state, unled)), 0);
    lose_disk(state, 4);
    assert_int_equal(sp_planner_repairs(&view, moves, 4), 1);
    assert_int_equal(moves[0].wishes[0].node_id, 4);
    healths[4] = SP_PLANNER_DOWN;
    assert_int_equal(sp_planner_repairs(&view, moves, 4), 0); /* it may come back */
    healths[4] = SP_PLANNER_GONE;
    assert_int_equal(sp_planner_repairs(&view, moves, 4), 1);
    assert_int_equal(moves[0].wishes[0].node_id, 5);
    sp_state_free(state);

    state = make_state();
    const struct sp_planner_view all = { .state = state, .health = health, .arg = healths };
    healths[4] = SP_PLANNER_UP;
    for (uint32_t i = 1; i <= 3; i++) {
        lose_disk(state, i);
    }
    healths[1] = SP_PLANNER_DOWN;
    assert_int_equal(sp_planner_repairs(&all, moves, 4), 1);
    assert_int_equal(moves[0].count, 3);
    assert_int_equal(moves[0].wishes[0].node_id, 2); /* founds it, which node 1 cannot now */
    assert_int_equal(moves[0].wishes[1].node_id, 1);
    sp_state_free(state);
}

/* It counts as lost as long as it is there: it may not stay. */
static void test_planner_moves_on_what_began_anew_and_a_forced_membership_stopped(void **unused)
{
    static const uint32_t kept[] = { 1, 2, 4 };
    enum sp_planner_health healths[NODES + 1] = { SP_PLANNER_UP };
    struct sp_state *state = make_state();
    const struct sp_planner_view view = { .state = state, .health = health, .arg = healths };
    const struct sp_state_partition *one = add_topic(state, "one", 1);
    struct sp_planner_move moves[4];
    struct sp_buf buf;

    (void)unused;
    lose_disk(state, 1);
    assert_int_equal(move_one(state, 4), 0);
    assert_int_equal(move_one(state, 5), 0);
    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_force_nodes(kept, 3, &buf), 0);
    assert_int_equal(apply(state, &buf), 0);
    assert_int_equal(sp_state_move(state, one->group_id)->target[0].node_id, 1);
    assert_int_equal(sp_planner_repairs(&view, moves, 4), 1);
    assert_int_equal(moves[0].topic_id, sp_state_topic(state, "one")->topic_id);
    assert_int_equal(moves[0].count, 1);
    assert_int_not_equal(moves[0].wishes[0].node_id, 1);
    sp_state_free(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_planner_replaces_what_is_gone_or_draining_only),
        cmocka_unit_test(test_planner_rebuilds_after_a_lost_disk_what_a_majority_has),
        cmocka_unit_test(test_planner_gives_a_lost_target_of_one_replica_another_one),
        cmocka_unit_test(test_planner_prefers_another_rack),
        cmocka_unit_test(test_planner_balances_with_few_moves),
        cmocka_unit_test(test_planner_balances_leaders_too),
        cmocka_unit_test(test_planner_spreads_the_leaders_of_a_node_that_leaves),
        cmocka_unit_test(test_planner_leaves_a_partition_without_a_leader),
        cmocka_unit_test(test_planner_balance_leaves_partitions_without_a_leader),
        cmocka_unit_test(test_planner_has_a_partition_begun_anew_of_which_nothing_is_left),
        cmocka_unit_test(test_planner_moves_on_what_began_anew_and_a_forced_membership_stopped),
        cmocka_unit_test(test_placement_spreads_over_racks_and_avoids_draining_nodes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
