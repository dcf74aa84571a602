/* Quiet groups: who may sleep, and a leader that was away for a while. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "raft_expect.h"

static void set_asleep(struct world *world, bool asleep)
{
    for (unsigned i = 0; i < world->node_count; i++) {
        world->nodes[i].asleep = asleep;
        if (!asleep) {
            sp_raft_guard_rearm(&world->nodes[i].guard, world->now_ms);
        }
    }
}

/* Q1: nothing at all for an hour, then an entry, then an ordinary life under the same leader. */
static void test_q1_sleeping_group_wakes_with_a_submit(void **state)
{
    struct world *world = make_three(0, 21);
    struct node *leader = settled_leader(world);

    (void)state;
    assert_int_equal(node_submit(leader, 3), 0);
    assert_false(sp_raft_guard_may_sleep(&leader->guard));
    assert_true(world_run(world, 1050));
    assert_true(sp_raft_guard_may_sleep(&leader->guard));
    uint64_t term = raft_current_term(&leader->guard.raft);
    uint64_t steps = world->steps;
    set_asleep(world, true);
    assert_true(world_run(world, 3600000));
    assert_int_equal(world->steps, steps);
    assert_int_equal(node_submit(leader, 1), 0);
    assert_true(world_await_commit(world, leader, leader->memory.last, 20));
    set_asleep(world, false);
    assert_true(world_run(world, 5000));
    assert_ptr_equal(world_leader(world), leader);
    assert_int_equal(raft_current_term(&leader->guard.raft), term);
    assert_true(finish(world, true));
}

/* Q2: woken by its timer alone, a leader that was allowed to sleep stays leader; one that slept
 * without a fresh answer of a majority does not, so that it must not sleep. */
static void test_q2_leader_without_fresh_majority_may_not_sleep(void **state)
{
    struct world *world = make_three(0, 22);
    struct node *leader = settled_leader(world);

    (void)state;
    while (!sp_raft_guard_may_sleep(&leader->guard)) {
        assert_true(world_run(world, 1));
    }
    set_asleep(world, true);
    assert_true(world_run(world, 60000));
    set_asleep(world, false);
    assert_true(world_run(world, 2000));
    assert_ptr_equal(world_leader(world), leader);
    world_isolate(world, leader);
    while (sp_raft_guard_may_sleep(&leader->guard)) {
        assert_true(world_run(world, 1));
    }
    assert_int_equal(raft_state(&leader->guard.raft), RAFT_LEADER);
    set_asleep(world, true);
    assert_true(world_run(world, 60000));
    set_asleep(world, false);
    assert_true(world_run(world, world->election_ms + 1));
    assert_int_equal(raft_state(&leader->guard.raft), RAFT_FOLLOWER);
    assert_true(finish(world, true));
}

/* A node with so much to do that it neither asks nor listens for more than an election timeout. */
static void test_g12_busy_leader_asks_before_it_steps_down(void **state)
{
    struct world *world = make_three(0, 24);
    struct node *leader = settled_leader(world);
    uint64_t term = raft_current_term(&leader->guard.raft);

    (void)state;
    assert_true(world_run(world, 1000));
    world_isolate(world, leader);
    assert_true(world_run(world, world->heartbeat_ms)); /* what it asks now is not answered */
    set_asleep(world, true);
    assert_true(world_run(world, world->election_ms + 50));
    set_asleep(world, false);
    world_join(world, leader);
    assert_true(world_run(world, 5000));
    assert_ptr_equal(world_leader(world), leader);
    assert_int_equal(raft_current_term(&leader->guard.raft), term);
    assert_true(finish(world, true));
}

/* Q3: a follower that answers but has not stored all keeps its leader awake. */
static void test_q3_leader_of_a_follower_that_lacks_frames_may_not_sleep(void **state)
{
    struct world *world = make_three(0, 23);
    struct node *leader = settled_leader(world);
    struct node *slow = &world->nodes[leader == &world->nodes[0] ? 1 : 0];

    (void)state;
    slow->disk_held = true;
    assert_int_equal(node_submit(leader, 1), 0);
    assert_true(world_run(world, 1000));
    assert_int_equal(sp_raft_guard_committed(&leader->guard), leader->memory.last);
    for (unsigned i = 0; i < 500; i++) {
        assert_true(world_run(world, 1));
        assert_false(sp_raft_guard_may_sleep(&leader->guard));
    }
    slow->disk_held = false;
    disk_kick(slow);
    for (unsigned i = 0; i < 500 && !sp_raft_guard_may_sleep(&leader->guard); i++) {
        assert_true(world_run(world, 1));
    }
    assert_true(sp_raft_guard_may_sleep(&leader->guard));
    assert_true(finish(world, true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_q1_sleeping_group_wakes_with_a_submit),
        cmocka_unit_test(test_q2_leader_without_fresh_majority_may_not_sleep),
        cmocka_unit_test(test_g12_busy_leader_asks_before_it_steps_down),
        cmocka_unit_test(test_q3_leader_of_a_follower_that_lacks_frames_may_not_sleep),
    };
    return cmocka_run_group_tests_name("scenario/raft_quiet", tests, NULL, NULL);
}
