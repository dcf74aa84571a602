/* Seeds that have something on their disks already, or another list of seeds: who follows whom, and
 * who stays out. */
#include "base/trace.h"
#include "bootstrap_world.h"

/* Errors are formatted, as in a node. */
static void on_trace(void *arg,
                     enum sp_trace_level level,
                     const char *component,
                     const char *message,
                     const char *facts)
{
    (void)arg;
    (void)level;
    (void)component;
    (void)facts;
    assert_int_not_equal(message[0], '\0');
}

static void test_bootstrap_replaced_disk_stays_out(void **state)
{
    (void)state;
    lost_count = 0;
    make_world(3);
    set_disk(0, SP_IDENTITY_EMPTY, 0); /* even the lowest must not propose */
    set_disk(1, SP_IDENTITY_FORMED, 9);
    set_disk(2, SP_IDENTITY_FORMED, 9);
    start_all();
    run(ROUNDS_MAX);
    assert_int_equal(world.nodes[0].disk.state, SP_IDENTITY_EMPTY);
    assert_int_equal(world.nodes[0].formed_count, 0);
    assert_int_equal(world.nodes[1].formed_count, 1);
    assert_false(world.nodes[1].fresh);
    assert_int_equal(lost_count, 1); /* told once: it has to join */
}

/* All seeds have lost their disks: whoever is left of the cluster still looks for them. */
static void test_bootstrap_member_of_another_cluster_forms_none(void **state)
{
    (void)state;
    lost_count = 0;
    make_world(3);
    start(0);
    sp_bootstrap_met(&world.nodes[0].bootstrap, 4);
    sp_bootstrap_met(&world.nodes[0].bootstrap, 5);
    assert_int_equal(lost_count, 1); /* told once: it has to join */
    start(1);
    start(2);
    run(ROUNDS_MAX);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(world.nodes[i].formed_count, 0);
    }
    /* what is formed stays so, whoever comes */
    make_world(3);
    start_all();
    run(ROUNDS_MAX);
    sp_bootstrap_met(&world.nodes[0].bootstrap, 4);
    assert_int_equal(world.nodes[0].formed_count, 1);
    assert_int_equal(lost_count, 1);
}

static void hello_from(uint32_t node_id, uint64_t incarnation)
{
    const struct sp_peer_hello hello = { .node_id = node_id,
                                         .incarnation = incarnation,
                                         .seeds_hash = SEEDS_HASH };

    sp_bootstrap_hello(&world.nodes[0].bootstrap, &hello);
}

static void test_bootstrap_disk_replaced_after_its_promise_does_not_count(void **state)
{
    struct node *proposer = &world.nodes[0];

    (void)state;
    make_world(3);
    start(0);
    hello_from(2, 101);
    hello_from(3, 102);
    make_durable(proposer);
    assert_int_equal(proposer->disk.state, SP_IDENTITY_FORMING);
    const uint8_t *id = proposer->disk.cluster_id;
    sp_bootstrap_message(&proposer->bootstrap, 2, SP_PEER_FORM_OK, id);
    hello_from(2, 555);
    sp_bootstrap_message(&proposer->bootstrap, 3, SP_PEER_FORM_OK, id);
    assert_int_equal(proposer->bootstrap.sequence, 0);
    sp_bootstrap_message(&proposer->bootstrap, 2, SP_PEER_FORM_OK, id);
    assert_int_not_equal(proposer->bootstrap.sequence, 0);
}

static void test_bootstrap_proposer_adopts_a_forming_id(void **state)
{
    (void)state;
    make_world(3);
    set_disk(2, SP_IDENTITY_FORMING, 42);
    start_all();
    run(ROUNDS_MAX);
    assert_all_formed();
    assert_int_equal(world.nodes[0].disk.cluster_id[0], 42);
}

static void test_bootstrap_two_forming_ids_stop_everything(void **state)
{
    (void)state;
    make_world(3);
    set_disk(1, SP_IDENTITY_FORMING, 41);
    set_disk(2, SP_IDENTITY_FORMING, 42);
    start_all();
    run(ROUNDS_MAX);
    assert_int_equal(world.nodes[0].disk.state, SP_IDENTITY_EMPTY);
    make_world(2);
    set_disk(0, SP_IDENTITY_FORMING, 41);
    set_disk(1, SP_IDENTITY_FORMING, 42);
    start_all();
    run(ROUNDS_MAX);
    assert_int_equal(world.nodes[0].disk.state, SP_IDENTITY_FORMING);
    assert_int_equal(world.nodes[1].disk.state, SP_IDENTITY_FORMING);
}

static void test_bootstrap_other_seed_list_stops_forming(void **state)
{
    (void)state;
    make_world(3);
    world.nodes[1].seeds_hash = 1;
    start_all();
    run(ROUNDS_MAX);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(world.nodes[i].disk.state, SP_IDENTITY_EMPTY);
    }
    crash(1);
    world.nodes[1].seeds_hash = SEEDS_HASH;
    start(1);
    run(ROUNDS_MAX);
    assert_all_formed();
}

static void test_bootstrap_forming_seed_follows_a_formed_one(void **state)
{
    (void)state;
    make_world(3);
    set_disk(0, SP_IDENTITY_FORMED, 9);
    set_disk(1, SP_IDENTITY_FORMING, 9);
    set_disk(2, SP_IDENTITY_FORMING, 8); /* another cluster: stays out */
    start_all();
    run(ROUNDS_MAX);
    assert_int_equal(world.nodes[1].disk.state, SP_IDENTITY_FORMED);
    assert_true(world.nodes[1].fresh);
    assert_int_equal(world.nodes[2].disk.state, SP_IDENTITY_FORMING);
}

static void test_bootstrap_promise_before_the_proposal_does_not_count(void **state)
{
    static const uint8_t zeros[SP_CLUSTER_ID_SIZE];

    (void)state;
    make_world(3);
    start_all();
    deliver_all();
    assert_int_equal(world.nodes[0].disk.state, SP_IDENTITY_EMPTY);
    sp_bootstrap_message(&world.nodes[0].bootstrap, 2, SP_PEER_FORM_OK, zeros);
    sp_bootstrap_message(&world.nodes[0].bootstrap, 3, SP_PEER_FORM_OK, zeros);
    make_durable(&world.nodes[0]);
    assert_int_equal(world.nodes[0].disk.state, SP_IDENTITY_FORMING);
    assert_int_equal(world.nodes[0].bootstrap.sequence, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bootstrap_replaced_disk_stays_out),
        cmocka_unit_test(test_bootstrap_member_of_another_cluster_forms_none),
        cmocka_unit_test(test_bootstrap_disk_replaced_after_its_promise_does_not_count),
        cmocka_unit_test(test_bootstrap_proposer_adopts_a_forming_id),
        cmocka_unit_test(test_bootstrap_two_forming_ids_stop_everything),
        cmocka_unit_test(test_bootstrap_other_seed_list_stops_forming),
        cmocka_unit_test(test_bootstrap_forming_seed_follows_a_formed_one),
        cmocka_unit_test(test_bootstrap_promise_before_the_proposal_does_not_count),
    };
    sp_trace_set_sink(on_trace, NULL, SP_TRACE_LEVEL_ERROR);
    return cmocka_run_group_tests_name("cluster/bootstrap_disks", tests, NULL, NULL);
}
