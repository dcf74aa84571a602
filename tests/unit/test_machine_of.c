/* Shards of one process: how they are told, and that no two replicas of a partition are on them. */
#include "cluster/machine_of.h"

#include <stdlib.h>

#include "base/rand.h"
#include "cluster/membership_command.h"
#include "cluster/placement.h"
#include "cluster/proposal_command.h"
#include "moved_state.h"

#define MACHINES_MAX 6
#define SHARDS_MAX 4
#define PARTITIONS_MAX 12

static uint32_t machine_of(uint32_t node_id, const char *rack)
{
    struct sp_state_node node = make_node(node_id, rack);

    return sp_machine_of(&node);
}

static void check_rack(uint32_t node_id, const char *rack, const char *shown)
{
    struct sp_state_node node = make_node(node_id, rack);

    assert_true(sp_bytes_equal_text(sp_machine_rack(&node), shown));
}

static void test_machine_is_told_by_the_mark_behind_the_rack(void **unused)
{
    (void)unused;
    assert_int_equal(machine_of(7, "#7"), 7);
    assert_int_equal(machine_of(107, "#7"), 7);
    assert_int_equal(machine_of(907, "row a#7"), 7);
    assert_int_equal(machine_of(199, "a#b#99"), 99);
    check_rack(107, "row a#7", "row a");
    check_rack(107, "#7", "");
    check_rack(199, "a#b#99", "a#b");
}

/* A node without a mark is a machine of its own, as is one whose rack happens to look like that. */
static void test_machine_of_a_node_without_a_mark_is_its_own(void **unused)
{
    static const char *const racks[] = { "",     "a",           "#",    "#8",  "a#",
                                         "#07",  "#7 ",         "#+7",  "7",   "#0",
                                         "#107", "#4294967303", "#7#x", "#7a", "#x7" };

    (void)unused;
    for (unsigned i = 0; i < sizeof racks / sizeof racks[0]; i++) {
        assert_int_equal(machine_of(107, racks[i]), 107);
        check_rack(107, racks[i], racks[i]);
    }
    assert_int_equal(machine_of(1007, "#7"), 1007); /* there is no eleventh shard */
    assert_int_equal(machine_of(100, "#0"), 100);
}

static void test_machine_racks_are_compared_without_the_mark(void **unused)
{
    struct sp_state_node first = make_node(1, "a#1");
    struct sp_state_node second = make_node(2, "a");
    struct sp_state_node third = make_node(3, "b#3");
    struct sp_state_node none = make_node(4, "#4");
    struct sp_state_node none_too = make_node(104, "#4");

    (void)unused;
    assert_true(sp_machine_same_rack(&first, &second));
    assert_false(sp_machine_same_rack(&first, &third));
    assert_false(sp_machine_same_rack(&none, &none_too));
}

/* ---- plans ----------------------------------------------------------------------------------- */

/* What is known of the nodes of a random cluster. */
struct cluster {
    struct sp_state *state;
    struct sp_rand rand;
    enum sp_planner_health healths[SP_NODE_ID_MAX + 1];
    uint32_t node_ids[MACHINES_MAX * SHARDS_MAX];
    unsigned node_count;
};

static enum sp_planner_health health(void *arg, uint32_t node_id)
{
    const struct cluster *cluster = arg;

    return cluster->healths[node_id];
}

static struct sp_planner_view view_of(struct cluster *cluster)
{
    return (struct sp_planner_view){ .state = cluster->state, .health = health, .arg = cluster };
}

static void add_node(struct cluster *cluster, uint32_t node_id, const char *rack)
{
    struct sp_state_node node = make_node(node_id, rack);

    assert_int_equal(join(cluster->state, &node), 0);
    cluster->node_ids[cluster->node_count++] = node_id;
}

/* Machines of one to four shards, some in racks. */
static void begin_cluster(struct cluster *cluster, uint64_t seed)
{
    static const char *const racks[] = { "", "a", "b" };

    memset(cluster, 0, sizeof *cluster);
    sp_rand_init(&cluster->rand, seed);
    assert_int_equal(sp_state_new(&cluster->state), 0);
    unsigned machines = 2 + (unsigned)sp_rand_below(&cluster->rand, MACHINES_MAX - 1);
    for (uint32_t machine = 1; machine <= machines; machine++) {
        unsigned shards = 1 + (unsigned)sp_rand_below(&cluster->rand, SHARDS_MAX);
        const char *rack = racks[sp_rand_below(&cluster->rand, 3)];
        for (uint32_t shard = 0; shard < shards; shard++) {
            char text[16];
            (void)snprintf(text, sizeof text, "%s#%u", rack, machine);
            add_node(cluster, machine + 100 * shard, shards == 1 ? rack : text);
        }
    }
}

static bool is_apart(const struct sp_state *state, const uint32_t *node_ids, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        for (unsigned k = 0; k < i; k++) {
            if (sp_machine_of_id(state, node_ids[i]) == sp_machine_of_id(state, node_ids[k])) {
                return false;
            }
        }
    }
    return true;
}

static unsigned count_machines(const struct cluster *cluster, bool free_only)
{
    struct sp_machines machines = { .count = 0 };

    for (unsigned i = 0; i < cluster->node_count; i++) {
        uint32_t node_id = cluster->node_ids[i];
        if (!free_only || !sp_state_member(cluster->state, node_id).draining) {
            (void)sp_machines_add(&machines, sp_machine_of_id(cluster->state, node_id));
        }
    }
    return machines.count;
}

static void place_topic(struct cluster *cluster, unsigned number)
{
    const struct sp_planner_view view = view_of(cluster);
    uint32_t nodes[PARTITIONS_MAX * SP_REPLICAS_MAX];
    uint32_t partitions = 1 + (uint32_t)sp_rand_below(&cluster->rand, PARTITIONS_MAX);
    uint32_t replicas = 1 + (uint32_t)sp_rand_below(&cluster->rand, 4);
    int rv = sp_placement_choose(&view, partitions, replicas, nodes);
    char name[16];
    struct sp_buf buf;

    assert_int_equal(rv, replicas > count_machines(cluster, true) ? SPATE_ERR_INVALID : 0);
    if (rv != 0) {
        return;
    }
    for (uint32_t i = 0; i < partitions; i++) {
        assert_true(is_apart(cluster->state, nodes + (size_t)i * replicas, replicas));
    }
    (void)snprintf(name, sizeof name, "t%u", number);
    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(
        sp_state_command_create_topic(name, partitions, replicas, nodes, &config, &buf), 0);
    assert_int_equal(apply(cluster->state, &buf), 0);
}

static void shake(struct cluster *cluster)
{
    for (unsigned i = 0; i < cluster->node_count; i++) {
        uint32_t node_id = cluster->node_ids[i];
        bool draining = sp_rand_below(&cluster->rand, 5) == 0;
        cluster->healths[node_id] = sp_rand_below(&cluster->rand, 4) != 0 ? SP_PLANNER_UP
                                    : sp_rand_below(&cluster->rand, 2)    ? SP_PLANNER_DOWN
                                                                          : SP_PLANNER_GONE;
        if (draining != sp_state_member(cluster->state, node_id).draining) {
            assert_int_equal(drain(cluster->state, node_id, draining), 0);
        }
    }
}

static void
check_moves(const struct cluster *cluster, const struct sp_planner_move *moves, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint32_t node_ids[SP_REPLICAS_MAX];
        for (unsigned k = 0; k < moves[i].count; k++) {
            node_ids[k] = moves[i].wishes[k].node_id;
        }
        assert_true(is_apart(cluster->state, node_ids, moves[i].count));
    }
}

/* Begins the moves, through the checks of the leader, and ends them at once. */
static void carry_out(struct cluster *cluster, const struct sp_planner_move *moves, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct sp_membership_change change = { .kind = SP_MEMBERSHIP_MOVE,
                                               .topic_id = moves[i].topic_id,
                                               .partition = moves[i].partition,
                                               .count = moves[i].count };
        char text[256];
        struct sp_buf buf;
        memcpy(change.wishes, moves[i].wishes, sizeof change.wishes);
        sp_buf_init(&buf, BYTES_MAX);
        assert_int_equal(sp_membership_command(cluster->state, &change, &buf, text, sizeof text),
                         0);
        int rv = apply(cluster->state, &buf);
        assert_true(rv == 0 || rv == SPATE_ERR_EXISTS);
    }
    for (unsigned i = 0; i < count; i++) {
        const struct sp_state_topic *topic =
            sp_state_topic_by_id(cluster->state, moves[i].topic_id);
        const struct sp_state_move *move =
            sp_state_move(cluster->state, topic->partitions[moves[i].partition].group_id);
        if (move != NULL) {
            assert_int_equal(end_move(cluster->state, move), 0);
        }
    }
}

/* Whatever drains, falls or comes back: no plan puts two replicas of a partition on one machine. */
static void test_machine_never_gets_two_replicas_of_a_partition(void **unused)
{
    static struct cluster cluster;
    static struct sp_planner_move moves[64];

    (void)unused;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        begin_cluster(&cluster, seed);
        for (unsigned round = 0; round < 12; round++) {
            const struct sp_planner_view view = view_of(&cluster);
            unsigned count = 0;
            place_topic(&cluster, round);
            shake(&cluster);
            count = sp_planner_repairs(&view, moves, 64);
            check_moves(&cluster, moves, count);
            carry_out(&cluster, moves, count);
            count = sp_planner_balance(&view, moves, 64);
            check_moves(&cluster, moves, count);
            carry_out(&cluster, moves, count);
            const struct sp_state_topic *topic = sp_state_topic(cluster.state, "t0");
            if (topic != NULL &&
                sp_planner_resize(
                    &view, topic, 1 + (unsigned)sp_rand_below(&cluster.rand, 4), moves, &count) ==
                    0) {
                check_moves(&cluster, moves, count);
                carry_out(&cluster, moves, count);
            }
        }
        sp_state_free(cluster.state);
    }
}

/* Three machines of two shards, as many replicas: all shards get their equal share. */
static void test_machine_shards_share_replicas_and_leaders_evenly(void **unused)
{
    static struct cluster cluster;
    uint32_t nodes[24 * 3];
    unsigned replicas[SP_NODE_ID_MAX + 1] = { 0 };
    unsigned leaders[SP_NODE_ID_MAX + 1] = { 0 };

    (void)unused;
    memset(&cluster, 0, sizeof cluster);
    assert_int_equal(sp_state_new(&cluster.state), 0);
    for (uint32_t i = 0; i < 6; i++) {
        char rack[8];
        (void)snprintf(rack, sizeof rack, "#%u", 1 + i % 3);
        add_node(&cluster, 1 + i % 3 + 100 * (i / 3), rack);
    }
    const struct sp_planner_view view = view_of(&cluster);
    assert_int_equal(sp_placement_choose(&view, 24, 3, nodes), 0);
    for (unsigned i = 0; i < 24 * 3; i++) {
        replicas[nodes[i]] += 1;
        leaders[nodes[i]] += i % 3 == 0 ? 1 : 0;
    }
    for (unsigned i = 0; i < cluster.node_count; i++) {
        assert_int_equal(replicas[cluster.node_ids[i]], 12);
        assert_int_equal(leaders[cluster.node_ids[i]], 4);
    }
    sp_state_free(cluster.state);
}

static void mark(struct sp_state *state, uint32_t node_id, const char *rack)
{
    struct sp_state_node node = make_node(node_id, rack);

    assert_int_equal(join(state, &node), 0);
}

/* As an older build, which takes machines for racks, may have placed it. */
static void test_machine_with_two_replicas_gives_the_later_one_away(void **unused)
{
    static const uint32_t both[] = { 1, 2, 101 };
    struct sp_state *state = make_state();
    struct cluster cluster = { .state = state };
    const struct sp_planner_view view = view_of(&cluster);
    struct sp_planner_move moves[4];

    (void)unused;
    mark(state, 1, "#1");
    mark(state, 101, "#1");
    assert_int_equal(sp_planner_repairs(&view, moves, 4), 0);
    assert_int_equal(move_to(state, 3, both, false), 0);
    assert_int_equal(end_move(state, the_move(state)), 0);
    assert_int_equal(sp_planner_repairs(&view, moves, 4), 1);
    assert_int_equal(moves[0].wishes[0].node_id, 1);
    assert_int_equal(moves[0].wishes[1].node_id, 2);
    assert_int_equal(moves[0].wishes[2].node_id, 3);
    for (uint32_t i = 3; i <= NODES; i++) {
        cluster.healths[i] = SP_PLANNER_DOWN;
    }
    assert_int_equal(sp_planner_repairs(&view, moves, 4), 0); /* nobody can take it */
    sp_state_free(state);
}

/* ---- what is asked for ----------------------------------------------------------------------- */

static void test_machine_is_named_once_in_a_move(void **unused)
{
    struct sp_membership_change change = {
        .kind = SP_MEMBERSHIP_MOVE,
        .topic_id = 1,
        .count = 3,
        .wishes = { { .node_id = 2 }, { .node_id = 101 }, { .node_id = 1 } }
    };
    struct sp_state *state = make_state();
    char text[256] = "";
    struct sp_buf buf;

    (void)unused;
    mark(state, 1, ""); /* it has not said yet that it is a shard: it is machine 1 all the same */
    mark(state, 101, "#1");
    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_membership_command(state, &change, &buf, text, sizeof text),
                     SPATE_ERR_INVALID);
    assert_string_equal(text,
                        "nodes 101 and 1 are shards of one process, on machine 1: replicas of a "
                        "partition must not fall together");
    change.wishes[2].node_id = 3;
    assert_int_equal(sp_membership_command(state, &change, &buf, text, sizeof text), 0);
    assert_int_equal(apply(state, &buf), 0);
    sp_state_free(state);
}

static int create(struct sp_state *state, uint32_t replicas, uint32_t *out_replicas)
{
    static struct cluster cluster;
    struct sp_proposal proposal = {
        .kind = SP_PROPOSAL_CREATE_TOPIC, .topic = "new", .partitions = 1, .replicas = replicas
    };
    const struct sp_proposal_view view = {
        .state = state, .health = health, .arg = &cluster, .voters = 1
    };
    static char text[256];
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    int rv = sp_proposal_command(&view, &proposal, &buf, text, sizeof text);
    if (rv == 0) {
        assert_int_equal(apply(state, &buf), 0);
        *out_replicas = sp_state_topic(state, "new")->partitions[0].replica_count;
    } else {
        sp_buf_deinit(&buf);
        assert_non_null(strstr(text, "machine"));
    }
    return rv;
}

/* Four nodes on two machines bear two replicas, which is what a topic gets that says nothing. */
static void test_machine_count_bounds_the_replicas_of_a_topic(void **unused)
{
    static struct cluster cluster;
    uint32_t replicas = 0;

    (void)unused;
    memset(&cluster, 0, sizeof cluster);
    assert_int_equal(sp_state_new(&cluster.state), 0);
    for (uint32_t machine = 1; machine <= 2; machine++) {
        char rack[8];
        (void)snprintf(rack, sizeof rack, "#%u", machine);
        add_node(&cluster, machine, rack);
        add_node(&cluster, 100 + machine, rack);
    }
    assert_int_equal(create(cluster.state, 3, &replicas), SPATE_ERR_INVALID);
    assert_int_equal(create(cluster.state, 0, &replicas), 0);
    assert_int_equal(replicas, 2);
    sp_state_free(cluster.state);
}

/* A cluster has a node 101 of its own, and node 1 is started with two shards. */
static void test_machine_of_another_node_is_not_taken_for_its_new_disk(void **unused)
{
    struct sp_state *state = make_state();
    struct sp_membership_change change = { .kind = SP_MEMBERSHIP_JOIN_NODE };
    char text[256] = "";
    struct sp_buf buf;

    (void)unused;
    mark(state, 101, "");
    change.node = make_node(101, "#1");
    change.node.incarnation = 4711;
    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_membership_command(state, &change, &buf, text, sizeof text),
                     SPATE_ERR_INVALID);
    assert_non_null(strstr(text, "node 101 is known on machine 101 and this one is on machine 1"));
    sp_buf_deinit(&buf);
    sp_buf_init(&buf, BYTES_MAX);
    change.node = make_node(1, "#1"); /* node 1 itself has become the first shard, on a new disk */
    change.node.incarnation = 4711;
    assert_int_equal(sp_membership_command(state, &change, &buf, text, sizeof text), 0);
    sp_buf_deinit(&buf);
    sp_state_free(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_machine_is_told_by_the_mark_behind_the_rack),
        cmocka_unit_test(test_machine_of_a_node_without_a_mark_is_its_own),
        cmocka_unit_test(test_machine_racks_are_compared_without_the_mark),
        cmocka_unit_test(test_machine_never_gets_two_replicas_of_a_partition),
        cmocka_unit_test(test_machine_shards_share_replicas_and_leaders_evenly),
        cmocka_unit_test(test_machine_with_two_replicas_gives_the_later_one_away),
        cmocka_unit_test(test_machine_is_named_once_in_a_move),
        cmocka_unit_test(test_machine_count_bounds_the_replicas_of_a_topic),
        cmocka_unit_test(test_machine_of_another_node_is_not_taken_for_its_new_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
