/* Empty seeds form one cluster, whoever dies meanwhile. */
#include "base/rand.h"
#include "bootstrap_world.h"

static void test_bootstrap_empty_seeds_form_one_cluster(void **state)
{
    (void)state;
    make_world(3);
    start_all();
    run(ROUNDS_MAX);
    assert_all_formed();
    for (unsigned i = 0; i < world.count; i++) {
        assert_true(world.nodes[i].fresh);
    }
}

static void test_bootstrap_single_node_forms_with_one_write(void **state)
{
    (void)state;
    make_world(1);
    start(0);
    assert_int_equal(world.nodes[0].writing.state, SP_IDENTITY_FORMED);
    assert_int_equal(world.nodes[0].formed_count, 0);
    run(1);
    assert_all_formed();
    assert_int_equal(world.nodes[0].sequence, 1);
}

static void test_bootstrap_waits_for_the_last_seed(void **state)
{
    (void)state;
    make_world(3);
    start(0);
    start(1);
    run(ROUNDS_MAX);
    assert_int_equal(world.nodes[0].disk.state, SP_IDENTITY_EMPTY);
    assert_int_equal(world.nodes[1].disk.state, SP_IDENTITY_EMPTY);
    start(2);
    run(ROUNDS_MAX);
    assert_all_formed();
}

/* One process dies once, before any single delivery or completed write, whichever it is. */
static void test_bootstrap_survives_a_crash_at_every_step(void **state)
{
    (void)state;
    make_world(3);
    start_all();
    run(ROUNDS_MAX);
    unsigned steps = world.steps;
    assert_true(steps > 15);
    for (unsigned node = 0; node < 3; node++) {
        for (unsigned step = 1; step <= steps; step++) {
            make_world(3);
            world.crash_node = node;
            world.crash_at = step;
            start_all();
            run(ROUNDS_MAX);
            assert_all_formed();
        }
    }
}

static void test_bootstrap_survives_random_crashes_and_losses(void **state)
{
    struct sp_rand rand;

    (void)state;
    sp_rand_init(&rand, 5);
    for (unsigned trial = 0; trial < 500; trial++) {
        make_world(3);
        start_all();
        for (unsigned i = 0; i < 8; i++) {
            unsigned victim = (unsigned)sp_rand_below(&rand, 3);
            world.crash_at = world.steps + 1 + (unsigned)sp_rand_below(&rand, 6);
            world.crash_node = victim;
            run(1);
            if (sp_rand_below(&rand, 2) == 0) {
                crash((unsigned)sp_rand_below(&rand, 3));
                for (unsigned k = 0; k < 3; k++) {
                    if (!world.nodes[k].up) {
                        start(k);
                    }
                }
            }
        }
        world.crash_at = 0;
        run(ROUNDS_MAX);
        assert_all_formed();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bootstrap_empty_seeds_form_one_cluster),
        cmocka_unit_test(test_bootstrap_single_node_forms_with_one_write),
        cmocka_unit_test(test_bootstrap_waits_for_the_last_seed),
        cmocka_unit_test(test_bootstrap_survives_a_crash_at_every_step),
        cmocka_unit_test(test_bootstrap_survives_random_crashes_and_losses),
    };
    return cmocka_run_group_tests_name("cluster/bootstrap", tests, NULL, NULL);
}
