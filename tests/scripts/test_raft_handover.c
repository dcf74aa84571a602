/* Leaders that are told to be dead, and leadership that is handed over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "raft_expect.h"
#include "spate/error.h"

static uint64_t failover_ms(bool told)
{
    struct world *world = make_three(0, 81);
    struct node *dead = settled_leader(world);
    uint64_t start_ms = world->now_ms;

    node_crash(dead, false);
    for (unsigned i = 0; i < 3 && told; i++) {
        struct node *node = &world->nodes[i];
        if (node->up) {
            assert_true(
                sp_raft_guard_forget_leader(&node->guard, world->now_ms, dead->number + 1, 20 * i));
        }
    }
    assert_non_null(world_await_leader(world, 10000, dead));
    uint64_t took_ms = world->now_ms - start_ms;
    assert_true(finish(world, true));
    return took_ms;
}

static void test_forget_leader_elects_at_once(void **state)
{
    (void)state;
    assert_in_range(failover_ms(true), 1, 100);
    assert_in_range(failover_ms(false), 900, 10000);
}

/* Its writes pend, so it can only stand for election when they are on disk, and then does. */
static void test_forget_leader_waits_for_pending_writes(void **state)
{
    struct world *world = make_three(0, 82);
    struct node *dead = settled_leader(world);
    struct node *survivor = next_node(world, dead);

    (void)state;
    node_crash(third(world, dead, survivor), false);
    survivor->stall_ms = 300;
    assert_int_equal(node_submit(dead, 1), 0);
    assert_true(world_run(world, 20));
    node_crash(dead, false);
    node_start(third(world, dead, survivor));
    assert_true(sp_raft_guard_forget_leader(&survivor->guard, world->now_ms, dead->number + 1, 0));
    assert_true(world_run(world, 250));
    assert_int_equal(raft_state(&survivor->guard.raft), RAFT_FOLLOWER);
    assert_true(world_run(world, 80));
    assert_ptr_equal(world_leader(world), survivor);
    assert_true(finish(world, true));
}

/* A new leader that speaks up meanwhile is believed. */
static void test_forget_leader_is_undone_by_a_new_one(void **state)
{
    struct world *world = make_three(0, 84);
    struct node *old = settled_leader(world);
    struct node *follower = next_node(world, old);
    uint64_t term = raft_current_term(&old->guard.raft) + 1;

    (void)state;
    follower->stall_ms = 300;
    assert_int_equal(node_submit(old, 1), 0);
    assert_true(world_run(world, 20));
    node_crash(old, false);
    assert_true(sp_raft_guard_forget_leader(&follower->guard, world->now_ms, old->number + 1, 0));
    struct letter append = make_append(term, follower->applied, term - 1, NULL, 0, 0);
    assert_int_equal(node_receive(follower, third(world, old, follower)->number, &append), 0);
    assert_true(world_run(world, 400));
    assert_int_equal(follower->guard.raft.last_stored, follower->memory.last);
    assert_int_equal(raft_state(&follower->guard.raft), RAFT_FOLLOWER);
    assert_true(sp_raft_guard_timeout_ms(&follower->guard) > world->now_ms);
    assert_true(finish(world, true));
}

static void test_transfer_waits_until_target_has_everything(void **state)
{
    struct world *world = make_three(0, 83);
    struct node *leader = settled_leader(world);
    struct node *target = next_node(world, leader);

    (void)state;
    assert_int_equal(node_transfer(leader, leader), SPATE_ERR_INVALID);
    assert_int_equal(node_transfer(target, leader), SPATE_ERR_NOT_LEADER);
    assert_int_equal(node_submit(leader, 1), 0);
    assert_int_equal(node_transfer(leader, target), SPATE_ERR_AGAIN);
    assert_int_equal(node_transfer(leader, NULL), SPATE_ERR_AGAIN);
    assert_true(world_run(world, 300));
    assert_int_equal(node_transfer(leader, target), 0);
    assert_int_equal(node_submit(leader, 1), SPATE_ERR_NOT_LEADER);
    assert_int_equal(node_transfer(leader, target), SPATE_ERR_NOT_LEADER);
    assert_true(world_run(world, 100));
    assert_ptr_equal(world_leader(world), target);
    assert_int_equal(raft_state(&leader->guard.raft), RAFT_FOLLOWER);
    assert_true(finish(world, true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forget_leader_elects_at_once),
        cmocka_unit_test(test_forget_leader_waits_for_pending_writes),
        cmocka_unit_test(test_forget_leader_is_undone_by_a_new_one),
        cmocka_unit_test(test_transfer_waits_until_target_has_everything),
    };
    return cmocka_run_group_tests_name("scenario/raft_handover", tests, NULL, NULL);
}
