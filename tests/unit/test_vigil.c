/* Two vigils that talk to each other over links that can be cut: who wakes whom, and when. */
#include "cluster/vigil.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fake_loop.h"

enum {
    NODES = 2,
    TIMEOUT_MS = 400,
    STEADY_MS = 8 * TIMEOUT_MS,
};

/* One node: its vigil, and the groups that the test made quiet there. */
struct sp_transport {
    struct sp_vigil *vigil;
    uint32_t node_id;
    bool cut; /* what it sends is lost */
    unsigned sent;
    struct sp_vigil_key keys[2][4];
    unsigned key_counts[2];
    unsigned silent_count;
    uint64_t silent_ms; /* when it was silent first */
};

static struct sp_transport nodes[NODES];

static struct sp_transport *other_of(const struct sp_transport *node)
{
    return &nodes[node == &nodes[0] ? 1 : 0];
}

int sp_transport_send(struct sp_transport *transport,
                      uint32_t node_id,
                      const struct sp_peer_message *message,
                      const struct sp_slice *pieces,
                      unsigned count)
{
    struct sp_transport *other = other_of(transport);

    (void)pieces;
    assert_int_equal(node_id, other->node_id);
    assert_int_equal(message->kind, SP_PEER_VIGIL);
    assert_int_equal(count, 0);
    transport->sent += 1;
    if (!transport->cut) {
        sp_vigil_hear(other->vigil, transport->node_id, &message->u.vigil);
    }
    return 0;
}

/* ---- a node's groups ------------------------------------------------------------------------- */

static void begin(struct sp_transport *node, enum sp_vigil_side side, uint64_t group, uint64_t term)
{
    const struct sp_vigil_key key = { group, term, 9 };

    node->keys[side][node->key_counts[side]] = key;
    node->key_counts[side] += 1;
    sp_vigil_add(node->vigil, other_of(node)->node_id, side, &key);
}

static void end_all(struct sp_transport *node)
{
    for (unsigned side = 0; side < 2; side++) {
        while (node->key_counts[side] > 0) {
            node->key_counts[side] -= 1;
            sp_vigil_remove(node->vigil,
                            other_of(node)->node_id,
                            (enum sp_vigil_side)side,
                            &node->keys[side][node->key_counts[side]]);
        }
    }
}

static void on_silent(void *arg, uint32_t node_id)
{
    struct sp_transport *node = arg;

    assert_int_equal(node_id, other_of(node)->node_id);
    if (node->silent_count == 0) {
        node->silent_ms = fake_loop.now_ms;
    }
    node->silent_count += 1;
    end_all(node);
}

static int setup(void **state)
{
    (void)state;
    fake_loop_init();
    memset(nodes, 0, sizeof nodes);
    for (unsigned i = 0; i < NODES; i++) {
        struct sp_vigil_options options = { .transport = &nodes[i],
                                            .election_timeout_ms = TIMEOUT_MS,
                                            .silent = on_silent,
                                            .arg = &nodes[i] };
        nodes[i].node_id = i + 1;
        assert_int_equal(sp_vigil_new(&options, &nodes[i].vigil), 0);
    }
    for (unsigned i = 0; i < NODES; i++) {
        sp_vigil_link_changed(nodes[i].vigil, other_of(&nodes[i])->node_id);
    }
    fake_wait(STEADY_MS);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (unsigned i = 0; i < NODES; i++) {
        end_all(&nodes[i]);
        sp_vigil_free(nodes[i].vigil);
    }
    return 0;
}

/* Node 1 leads two groups that node 2 follows, all quiet. */
static void begin_both(void)
{
    for (uint64_t group = 1; group <= 2; group++) {
        begin(&nodes[0], SP_VIGIL_LED, group, 5);
        begin(&nodes[1], SP_VIGIL_FOLLOWED, group, 5);
    }
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_vigil_without_quiet_groups_says_nothing(void **state)
{
    (void)state;
    fake_wait(60 * 1000);
    assert_int_equal(nodes[0].sent + nodes[1].sent, 0);
}

static void test_vigil_of_nodes_that_agree_wakes_nobody_and_says_little(void **state)
{
    (void)state;
    begin_both();
    fake_wait(60 * 1000);
    assert_int_equal(nodes[0].silent_count, 0);
    assert_int_equal(nodes[1].silent_count, 0);
    assert_in_range(nodes[0].sent, 500, 4 * 60 * 1000 / TIMEOUT_MS);
    assert_in_range(nodes[1].sent, 500, 4 * 60 * 1000 / TIMEOUT_MS);
}

static void test_vigil_follower_wakes_when_its_leader_is_not_heard(void **state)
{
    (void)state;
    begin_both();
    fake_wait(5000);
    uint64_t cut_ms = fake_loop.now_ms;
    nodes[0].cut = true;
    fake_wait(5 * TIMEOUT_MS);
    assert_int_equal(nodes[1].silent_count, 1);
    assert_in_range(nodes[1].silent_ms - cut_ms, TIMEOUT_MS / 2, 2 * TIMEOUT_MS);
    /* and the leader, which hears the follower still, is told that they agree no more */
    assert_int_equal(nodes[0].silent_count, 1);
}

static void test_vigil_leader_wakes_when_a_follower_is_not_heard(void **state)
{
    (void)state;
    begin_both();
    fake_wait(5000);
    uint64_t cut_ms = fake_loop.now_ms;
    nodes[1].cut = true;
    fake_wait(5 * TIMEOUT_MS);
    assert_int_equal(nodes[0].silent_count, 1);
    assert_in_range(nodes[0].silent_ms - cut_ms, TIMEOUT_MS, 3 * TIMEOUT_MS);
}

static void test_vigil_follower_wakes_when_its_leader_leads_quietly_no_more(void **state)
{
    (void)state;
    begin_both();
    fake_wait(5000);
    end_all(&nodes[0]); /* it wakes, or is closed, and what it said is lost */
    begin(&nodes[0], SP_VIGIL_LED, 1, 5);
    fake_wait(2 * TIMEOUT_MS);
    assert_int_equal(nodes[1].silent_count, 1);
}

static void test_vigil_of_different_terms_or_groups_disagrees(void **state)
{
    (void)state;
    begin(&nodes[0], SP_VIGIL_LED, 1, 5);
    begin(&nodes[1], SP_VIGIL_FOLLOWED, 1, 6);
    fake_wait(5 * TIMEOUT_MS);
    assert_int_equal(nodes[0].silent_count, 1);
    assert_int_equal(nodes[1].silent_count, 1);
    begin(&nodes[0], SP_VIGIL_LED, 1, 6);
    begin(&nodes[1], SP_VIGIL_FOLLOWED, 2, 6);
    fake_wait(5 * TIMEOUT_MS);
    assert_int_equal(nodes[0].silent_count, 2);
    assert_int_equal(nodes[1].silent_count, 2);
}

static void test_vigil_leader_wakes_when_its_follower_never_slept(void **state)
{
    (void)state;
    begin(&nodes[0], SP_VIGIL_LED, 1, 5);
    fake_wait(5 * TIMEOUT_MS);
    assert_int_equal(nodes[0].silent_count, 1);
    assert_int_equal(nodes[1].silent_count, 0);
}

/* An answer to what was said over an earlier link is no sign of life of this one. */
static void test_vigil_answers_of_an_earlier_link_do_not_count(void **state)
{
    const struct sp_peer_vigil answer = { .number = 1000, .answers = 3, .agrees = 1 };

    (void)state;
    begin_both();
    fake_wait(5000);
    end_all(&nodes[0]);
    end_all(&nodes[1]);
    sp_vigil_link_changed(nodes[0].vigil, 2);
    nodes[1].cut = true;
    begin(&nodes[0], SP_VIGIL_LED, 1, 5);
    for (unsigned i = 0; i < 4 * TIMEOUT_MS; i++) {
        fake_wait(1);
        sp_vigil_hear(nodes[0].vigil, 2, &answer);
    }
    assert_int_equal(nodes[0].silent_count, 1);
}

static void test_vigil_is_steady_again_only_after_a_while(void **state)
{
    (void)state;
    assert_true(sp_vigil_steady(nodes[0].vigil, 2));
    assert_false(sp_vigil_steady(nodes[0].vigil, 3)); /* nobody knows it */
    sp_vigil_link_changed(nodes[0].vigil, 2);
    assert_false(sp_vigil_steady(nodes[0].vigil, 2));
    fake_wait(STEADY_MS - 1);
    assert_false(sp_vigil_steady(nodes[0].vigil, 2));
    fake_wait(1);
    assert_true(sp_vigil_steady(nodes[0].vigil, 2));
    begin(&nodes[0], SP_VIGIL_LED, 1, 5); /* nobody follows it */
    fake_wait(3 * TIMEOUT_MS);
    assert_false(sp_vigil_steady(nodes[0].vigil, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_vigil_without_quiet_groups_says_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_vigil_of_nodes_that_agree_wakes_nobody_and_says_little, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_vigil_follower_wakes_when_its_leader_is_not_heard, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_vigil_leader_wakes_when_a_follower_is_not_heard, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_vigil_follower_wakes_when_its_leader_leads_quietly_no_more, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_vigil_of_different_terms_or_groups_disagrees, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_vigil_leader_wakes_when_its_follower_never_slept, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_vigil_answers_of_an_earlier_link_do_not_count, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_vigil_is_steady_again_only_after_a_while, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
