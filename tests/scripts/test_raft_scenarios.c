/* Scenarios that no single guard owns: safety and progress of the core, its start, membership. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "raft_expect.h"
#include "spate/error.h"

/* Three voters on a fast network, with so many frames on the way to each. */
static struct world *three(uint64_t seed, unsigned window)
{
    struct world_options options = { .seed = seed, .nodes = 3, .voters = 3, .window = window };
    struct world *world = world_new(&options);

    world->net_ms = 1;
    return world;
}

/* --- T: safety of the core --- */

/* T1, Figure 8 of the Raft paper: an entry of an old term is on two of three disks, and its leader,
 * now of a newer term, must not commit it by counting. */
static void test_t1_old_entry_is_not_committed_by_counting(void **state)
{
    struct world *world = three(1, 1);
    struct node *first = world_await_leader(world, 5000, NULL);

    (void)state;
    world_isolate(world, first);
    assert_int_equal(node_submit(first, 1), 0);
    struct node *second = world_await_leader(world, 6000, first);
    assert_non_null(second);
    struct node *voter = third(world, first, second);
    for (unsigned i = 0; i < 3; i++) {
        world_isolate(world, &world->nodes[i]);
    }
    assert_int_equal(node_submit(second, 1), 0);
    assert_true(world_run(world, 3000));
    world_heal(world);
    world_isolate(world, second);
    uint64_t old_index = voter->disk.last + 1;
    while (!(raft_state(&first->guard.raft) == RAFT_LEADER && voter->disk.last >= old_index)) {
        assert_true(world_run(world, 1));
        assert_true(world->now_ms < 60000);
    }
    assert_true(log_term_at(&voter->disk, old_index) < raft_current_term(&first->guard.raft));
    node_crash(first, false);
    world_heal(world);
    assert_non_null(world_await_leader(world, 20000, first));
    assert_true(world_run(world, 2000));
    node_start(first);
    assert_true(world_run(world, 5000));
    assert_int_equal(first->applied, voter->applied);
    assert_true(finish(world, true));
}

/* T5: a leader without a majority steps down, and refuses. */
static void test_t5_lonely_leader_steps_down(void **state)
{
    struct world *world = make_three(0, 3);
    struct node *leader = settled_leader(world);

    (void)state;
    world_isolate(world, leader);
    assert_int_equal(node_submit(leader, 3), 0);
    assert_true(world_run(world, 2500));
    assert_int_not_equal(raft_state(&leader->guard.raft), RAFT_LEADER);
    assert_int_equal(node_submit(leader, 1), SPATE_ERR_NOT_LEADER);
    assert_true(finish(world, true));
}

/* T6: an uncommitted change is rolled back although the one before it lies below the log start. */
static void test_t6_rollback_to_compacted_configuration(void **state)
{
    struct world_options options = { .seed = 4, .nodes = 4, .voters = 3 };
    struct world *world = world_new(&options);
    struct node *first = settled_leader(world);

    (void)state;
    assert_int_equal(node_submit(first, 5), 0);
    assert_true(world_run(world, 500));
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(node_snapshot(&world->nodes[i], world->nodes[i].applied, 0), 0);
    }
    assert_true(world_run(world, 200));
    world_isolate(world, first);
    assert_int_equal(node_change(first, 0x2111), 0);
    assert_int_equal(node_configuration(first), 0x2111);
    struct node *second = world_await_leader(world, 6000, first);
    assert_non_null(second);
    assert_int_equal(node_submit(second, 2), 0);
    assert_true(world_run(world, 500));
    world_join(world, first);
    assert_true(world_run(world, 2000));
    assert_int_equal(node_configuration(first), 0x111);
    assert_int_equal(first->applied, second->memory.last);
    assert_true(finish(world, true));
}

/* T7: a follower with a tail of an old leader acknowledges only what the new leader has verified.
 */
static void test_t7_unverified_tail_is_not_acknowledged(void **state)
{
    struct world *world = make_three(0, 2);
    struct node *old = settled_leader(world);

    (void)state;
    world_isolate(world, old);
    assert_int_equal(node_submit(old, 3), 0);
    struct node *leader = world_await_leader(world, 6000, old);
    assert_non_null(leader);
    world_isolate(world, third(world, old, leader));
    world_join(world, old);
    world_cut(world, old, third(world, old, leader));
    assert_true(world_run(world, 30));
    assert_int_equal(node_submit(leader, 1), 0);
    assert_int_equal(node_submit(leader, 1), 0);
    assert_true(world_await_commit(world, leader, leader->memory.last, 5000));
    assert_true(finish(world, true));
}

/* --- P: progress --- */

/* P1: commits flow steadily although the round trip is longer than a flush. */
static void test_p1_pipeline_commits_without_gaps(void **state)
{
    struct world *world = three(7, 1000);
    uint64_t committed = 0;
    uint64_t last_ms = 0;
    uint64_t gap_ms = 0;

    (void)state;
    world->net_ms = 3;
    for (unsigned i = 0; i < 3; i++) {
        world->nodes[i].disk_ms = 1;
    }
    struct node *leader = settled_leader(world);
    last_ms = world->now_ms;
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(node_submit(leader, 5), 0);
        assert_true(world_run(world, 1));
        if (sp_raft_guard_committed(&leader->guard) > committed) {
            committed = sp_raft_guard_committed(&leader->guard);
            gap_ms = world->now_ms - last_ms > gap_ms ? world->now_ms - last_ms : gap_ms;
            last_ms = world->now_ms;
        }
    }
    assert_in_range(gap_ms, 1, 29);
    assert_true(finish(world, true));
}

struct appends {
    unsigned to;
    unsigned empty;
    unsigned full;
};

static bool count_appends(const struct letter *letter, void *arg)
{
    struct appends *appends = arg;

    if (letter->message.type == RAFT_APPEND_ENTRIES && letter->to == appends->to) {
        if (letter->message.append_entries.n_entries == 0) {
            appends->empty += 1;
        } else {
            appends->full += 1;
        }
    }
    return true;
}

/* While a follower's window is full a submit sends it nothing, yet it hears its heartbeats. */
static void test_p3_full_window_sends_no_empty_appends(void **state)
{
    struct world *world = three(71, 2);
    struct node *leader = settled_leader(world);
    struct node *slow = next_node(world, leader);
    struct appends appends = { .to = slow->number };

    (void)state;
    slow->stall_ms = 2000;
    world->filter = count_appends;
    world->filter_arg = &appends;
    for (unsigned i = 0; i < 900; i++) {
        assert_int_equal(node_submit(leader, 1), 0);
        assert_true(world_run(world, 1));
    }
    assert_in_range(appends.empty, 5, 12); /* 9 heartbeats in 900 ms, instead of 900 */
    assert_in_range(appends.full, 1, 12);
    assert_true(world_run(world, 10000));
    assert_int_equal(slow->applied, leader->memory.last);
    assert_ptr_equal(world_leader(world), leader);
    assert_true(finish(world, true));
}

/* --- start --- */

/* A replica that knows more to be committed than its floor says treats the last change as
 * committed. */
static void test_start_above_floor_confirms_the_change(void **state)
{
    struct world_options options = { .seed = 91, .nodes = 4, .voters = 3 };
    struct world *world = world_new(&options);
    struct node *leader = settled_leader(world);
    struct node *follower = next_node(world, leader);

    (void)state;
    assert_int_equal(node_change(leader, 0x2111), 0);
    assert_true(world_run(world, 500));
    for (unsigned round = 0; round < 2; round++) {
        node_crash(follower, true);
        follower->known_committed = round == 0 ? 0 : follower->disk.last;
        world_isolate(world, follower);
        node_start(follower);
        assert_int_equal(follower->guard.raft.configuration_uncommitted_index != 0, round == 0);
        assert_int_equal(node_configuration(follower), 0x2111);
        world_join(world, follower);
        assert_true(world_run(world, 3000));
        assert_int_equal(follower->guard.raft.configuration_uncommitted_index, 0);
    }
    assert_true(finish(world, true));
}

/* The term record may be older than an entry that has reached the disk. */
static void test_start_takes_term_from_the_last_entry(void **state)
{
    struct world_options options = { .seed = 92, .nodes = 3, .voters = 3, .stopped = true };
    struct world *world = world_new(&options);
    struct node *node = &world->nodes[0];

    (void)state;
    node->disk.entries[2] = (struct entry){ 7, 5, RAFT_COMMAND };
    node->disk.last = 2;
    node->disk.vote = 2;
    node_start(node);
    assert_int_equal(raft_current_term(&node->guard.raft), 7);
    assert_int_equal(raft_voted_for(&node->guard.raft), 0);
    assert_int_equal(node->disk.term, 7);
    assert_true(finish(world, true));
}

/* A lease may rest on the vote that a restarted replica does not remember to have withheld. */
static void test_start_ignores_vote_requests_for_one_timeout(void **state)
{
    struct world *world = make_three(0, 93);
    struct node *leader = settled_leader(world);
    struct node *voter = next_node(world, leader);
    struct letter letter = { .needs_meta = 0 };

    (void)state;
    node_crash(leader, false);
    node_crash(voter, true);
    world->no_votes_after_start = true;
    node_start(voter);
    uint64_t term = raft_current_term(&voter->guard.raft) + 10;
    letter.message.type = RAFT_REQUEST_VOTE;
    letter.message.request_vote.term = term;
    letter.message.request_vote.candidate_id = leader->number + 1;
    letter.message.request_vote.last_log_index = 100;
    letter.message.request_vote.last_log_term = term;
    assert_int_equal(node_receive(voter, leader->number, &letter), 0);
    assert_int_not_equal(raft_current_term(&voter->guard.raft), term);
    world->now_ms += world->election_ms;
    assert_int_equal(node_receive(voter, leader->number, &letter), 0);
    assert_int_equal(raft_voted_for(&voter->guard.raft), leader->number + 1);
    assert_true(finish(world, true));
}

/* --- membership --- */

/* One voter grows to three and moves away from the first node, which hands leadership over before.
 */
static void test_membership_group_moves_to_other_nodes(void **state)
{
    static const mask steps[] = { 0x21, 0x11, 0x211, 0x111 };
    struct world_options options = { .seed = 95, .nodes = 3, .voters = 1 };
    struct world *world = world_new(&options);
    struct node *first = settled_leader(world);

    (void)state;
    for (unsigned i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        int rv = SPATE_ERR_AGAIN;
        while (rv == SPATE_ERR_AGAIN || rv == SPATE_ERR_BUSY) {
            rv = node_change(world_leader(world), steps[i]);
            assert_true(world_run(world, 100));
        }
        assert_int_equal(rv, 0);
        assert_int_equal(node_submit(world_leader(world), 3), 0);
    }
    assert_true(world_run(world, 500));
    assert_int_equal(node_transfer(first, &world->nodes[1]), 0);
    assert_true(world_run(world, 500));
    assert_int_equal(node_change(&world->nodes[1], 0x110), 0);
    assert_true(world_run(world, 500));
    node_crash(first, false);
    assert_int_equal(node_submit(&world->nodes[1], 1), 0);
    assert_true(world_run(world, 500));
    assert_int_equal(world->nodes[2].applied, world->nodes[1].memory.last);
    assert_true(finish(world, true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_t1_old_entry_is_not_committed_by_counting),
        cmocka_unit_test(test_t5_lonely_leader_steps_down),
        cmocka_unit_test(test_t6_rollback_to_compacted_configuration),
        cmocka_unit_test(test_t7_unverified_tail_is_not_acknowledged),
        cmocka_unit_test(test_p1_pipeline_commits_without_gaps),
        cmocka_unit_test(test_p3_full_window_sends_no_empty_appends),
        cmocka_unit_test(test_start_above_floor_confirms_the_change),
        cmocka_unit_test(test_start_takes_term_from_the_last_entry),
        cmocka_unit_test(test_start_ignores_vote_requests_for_one_timeout),
        cmocka_unit_test(test_membership_group_moves_to_other_nodes),
    };
    return cmocka_run_group_tests_name("scenario/raft_scenarios", tests, NULL, NULL);
}
