/* The guards without which a group stalls or is slow (G7, G9 to G14, N1, barrier, policies). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "raft_expect.h"
#include "spate/error.h"

/* --- G7 --- */

#define DIVERGENT 300

/* P2: a new leader meets a follower with a long uncommitted tail of another term. */
static bool divergent_tail_is_found_in_few_rounds(unsigned disabled)
{
    struct world *world = make_three(disabled, 6);
    struct node *stale = world_await_leader(world, 5000, NULL);

    for (unsigned i = 0; i < 3; i++) {
        sp_raft_guard_set_window(&world->nodes[i].guard, 500);
    }
    world_isolate(world, stale);
    for (unsigned i = 0; i < DIVERGENT; i += 50) {
        (void)node_submit(stale, 50);
    }
    struct node *middle = world_await_leader(world, 6000, stale);
    for (unsigned i = 0; i < DIVERGENT + 100; i += 50) {
        (void)node_submit(middle, 50);
    }
    (void)world_run(world, 4000);
    struct node *last = third(world, stale, middle);
    world_isolate(world, middle);
    world_join(world, stale);
    world_cut(world, stale, middle);
    while (raft_state(&last->guard.raft) != RAFT_LEADER && world_run(world, 1)) {
        /* `middle` steps down and `last` is elected */
    }
    uint64_t start_ms = world->now_ms;
    while (stale->guard.raft.last_stored != last->memory.last && world_run(world, 1) &&
           world->now_ms - start_ms < 60000) {
        /* the follower is brought into line */
    }
    return finish(world, world->now_ms - start_ms < 150);
}

static void test_g7_divergent_tail_is_found_in_few_rounds(void **state)
{
    (void)state;
    expect_needed(divergent_tail_is_found_in_few_rounds, SP_RAFT_GUARD_G7_HINT);
}

/* --- G9 --- */

/* A sole voter promotes its standby, but dies before the standby hears of it. */
static bool unseen_promotion_blocks_nobody(unsigned disabled)
{
    struct world *world = make_sole_and_standby(disabled, 41);
    struct node *voter = &world->nodes[0];

    world_cut(world, voter, &world->nodes[1]);
    bool right = node_change(voter, 0x11) == 0;
    (void)world_run(world, 50);
    node_crash(voter, false);
    (void)world_run(world, 100);
    world_heal(world);
    node_start(voter);
    right = right && world_await_leader(world, 20000, NULL) != NULL;
    if (right) {
        struct node *leader = world_leader(world);
        (void)node_submit(leader, 1);
        right = world_await_commit(world, leader, leader->memory.last, 2000);
    }
    return finish(world, right);
}

static void test_g9_standby_votes_when_promotion_was_lost(void **state)
{
    (void)state;
    expect_needed(unseen_promotion_blocks_nobody, SP_RAFT_GUARD_G9_STANDBY_VOTE);
}

/* A lease rests on standbys too: in contact with a leader they do not vote, and stay what they are.
 */
static void test_g9_standby_in_contact_does_not_vote(void **state)
{
    struct world *world = make_sole_and_standby(0, 42);
    struct node *standby = &world->nodes[1];
    uint64_t term = raft_current_term(&standby->guard.raft);
    struct letter letter = { .needs_meta = 0 };

    (void)state;
    letter.message.type = RAFT_REQUEST_VOTE;
    letter.message.request_vote.term = term + 1;
    letter.message.request_vote.candidate_id = 1;
    letter.message.request_vote.last_log_index = 100;
    letter.message.request_vote.last_log_term = term;
    assert_int_equal(node_receive(standby, 0, &letter), 0);
    assert_int_equal(raft_current_term(&standby->guard.raft), term);
    node_crash(&world->nodes[0], false);
    assert_true(world_run(world, 1500));
    assert_int_equal(node_receive(standby, 0, &letter), 0);
    assert_int_equal(raft_voted_for(&standby->guard.raft), 1);
    assert_int_equal(node_configuration(standby), 0x21);
    assert_true(finish(world, true));
}

/* --- G10 --- */

/* S8: a late duplicate of a rejection, not above the follower's match, while it is probed. */
static bool late_rejection_is_dropped(unsigned disabled)
{
    struct world *world = make_three(disabled, 15);
    struct node *leader = world_await_leader(world, 5000, NULL);
    struct node *follower = next_node(world, leader);
    raft_index match = 0;

    (void)node_submit(leader, 5);
    (void)world_run(world, 300);
    world_isolate(world, follower);
    (void)world_run(world, 1500);
    world_join(world, follower);
    bool right = raft_match_index(&leader->guard.raft, follower->number + 1, &match) == 0;
    struct letter letter = make_result(raft_current_term(&leader->guard.raft), match, 1);
    right = right && node_receive(leader, follower->number, &letter) == 0;
    (void)node_submit(leader, 3);
    (void)world_run(world, 20000);
    return finish(world, right && follower->applied == leader->memory.last);
}

static void test_g10_late_rejection_is_dropped(void **state)
{
    (void)state;
    expect_needed(late_rejection_is_dropped, SP_RAFT_GUARD_G10_STALE_REJECTION);
}

/* Of three nodes one is down; the longer log has the lower term, so neither can win alone, and the
 * longer one must learn the other's term. */
static bool longest_log_learns_the_term(unsigned disabled)
{
    struct world_options options = {
        .seed = 51, .nodes = 3, .voters = 3, .disabled = disabled, .stopped = true
    };
    struct world *world = world_new(&options);
    struct log *longer = &world->nodes[2].disk;

    world->nodes[1].disk.term = 10;
    longer->term = 5;
    longer->last = 2;
    longer->entries[2] = (struct entry){ 5, 77, RAFT_COMMAND };
    node_start(&world->nodes[1]);
    node_start(&world->nodes[2]);
    return finish(world, world_await_leader(world, 30000, NULL) == &world->nodes[2]);
}

static void test_g10_denied_pre_vote_tells_the_real_term(void **state)
{
    (void)state;
    expect_needed(longest_log_learns_the_term, SP_RAFT_GUARD_G10_PRE_VOTE_TERM);
}

/* --- G11 --- */

/* The slowest of `count` single entries, sent at random times. */
static uint64_t
slowest_entry(struct world *world, struct node *leader, unsigned count, bool outages)
{
    uint64_t slowest_ms = 0;

    for (unsigned i = 0; i < count && world_run(world, world_random(world, 20, 900)); i++) {
        struct node *other = &world->nodes[world_random(world, 0, 2)];

        if (outages && i % 7 == 0 && other != leader) {
            world_isolate(world, other);
            (void)node_submit(leader, 1);
            (void)world_run(world, world_random(world, 150, 400));
            world_join(world, other);
            (void)world_run(world, world_random(world, 1, 150));
        }
        uint64_t start_ms = world->now_ms;
        (void)node_submit(leader, 1);
        (void)world_await_commit(world, leader, leader->memory.last, 2000);
        uint64_t took_ms = world->now_ms - start_ms;
        slowest_ms = took_ms > slowest_ms ? took_ms : slowest_ms;
    }
    return slowest_ms;
}

static bool sporadic_entries_are_fast(unsigned disabled, bool one_dead)
{
    struct world *world = make_three(disabled, one_dead ? 17 : 16);

    for (unsigned i = 0; i < 3; i++) {
        world->nodes[i].disk_ms = 1;
    }
    struct node *leader = world_await_leader(world, 5000, NULL);
    (void)world_run(world, 1000);
    if (one_dead) {
        node_crash(next_node(world, leader), false);
    }
    return finish(world, slowest_entry(world, leader, 200, !one_dead) <= 10);
}

static bool sporadic_entries_with_outages(unsigned disabled)
{
    return sporadic_entries_are_fast(disabled, false);
}

static bool sporadic_entries_with_one_dead(unsigned disabled)
{
    return sporadic_entries_are_fast(disabled, true);
}

/* G12 leaves few followers to be probed. */
static void expect_needed_without_patience(scenario run)
{
    assert_true(run(SP_RAFT_GUARD_G12_PATIENCE));
    expect_wrong(run, SP_RAFT_GUARD_G11_SUBMIT_NOW | SP_RAFT_GUARD_G12_PATIENCE);
}

static void test_g11_l1_sporadic_entries_wait_for_no_heartbeat(void **state)
{
    (void)state;
    expect_needed_without_patience(sporadic_entries_with_outages);
}

static void test_g11_l2_sporadic_entries_with_one_dead_wait_for_no_heartbeat(void **state)
{
    (void)state;
    expect_needed_without_patience(sporadic_entries_with_one_dead);
}

static bool count_entries(const struct letter *letter, void *arg)
{
    unsigned *entries = arg;

    if (letter->message.type == RAFT_APPEND_ENTRIES) {
        *entries += letter->message.append_entries.n_entries;
    }
    return true;
}

/* The other side of G11: while a probed follower has not answered, later submits do not repeat what
 * is on the way to it, and once it has answered it gets the rest. */
static void test_g11_submits_do_not_repeat_what_is_on_the_way(void **state)
{
    struct world *world = make_three(0, 18);
    struct node *leader = world_await_leader(world, 5000, NULL);
    struct node *quiet = next_node(world, leader);
    unsigned entries = 0;

    (void)state;
    node_crash(third(world, leader, quiet), false);
    assert_true(world_run(world, 1000));
    world_isolate(world, quiet);
    assert_true(world_run(world, 500));
    world_join(world, quiet);
    world->filter = count_entries;
    world->filter_arg = &entries;
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(node_submit(leader, 1), 0);
    }
    assert_true(world_await_commit(world, leader, leader->memory.last, 50));
    assert_true(world_run(world, 50));
    assert_in_range(entries, 10, 40); /* the dead third counts too; repeated they would be 110 */
    assert_true(finish(world, true));
}

/* --- G12, G14 --- */

#define SLOW_WAY_MS 80 /* there and back more than a heartbeat, well below an election timeout */

/* Answers take longer than the leader's timer: messages stand in long queues, as under load. */
static bool far_followers_are_sent_entries_once(unsigned disabled)
{
    struct world *world = make_three(disabled, 19);
    struct node *leader = world_await_leader(world, 5000, NULL);
    unsigned entries = 0;

    (void)world_run(world, 1000);
    world->net_least_ms = SLOW_WAY_MS;
    world->net_ms = SLOW_WAY_MS;
    (void)world_run(world, 1000);
    world->filter = count_entries;
    world->filter_arg = &entries;
    for (unsigned i = 0; i < 20; i++) {
        (void)node_submit(leader, 4);
        (void)world_run(world, 250);
    }
    (void)world_await_commit(world, leader, leader->memory.last, 1000);
    return finish(world, entries == 2 * 20 * 4);
}

/* Each of the two is enough here, where nothing gets lost. */
static void test_g12_g14_followers_far_away_are_sent_entries_once(void **state)
{
    (void)state;
    assert_true(far_followers_are_sent_entries_once(0));
    assert_true(far_followers_are_sent_entries_once(SP_RAFT_GUARD_G12_PATIENCE));
    assert_true(far_followers_are_sent_entries_once(SP_RAFT_GUARD_G14_SENT));
    expect_wrong(far_followers_are_sent_entries_once,
                 SP_RAFT_GUARD_G12_PATIENCE | SP_RAFT_GUARD_G14_SENT);
}

/* --- G13 --- */

/* Entries without a pause to followers whose disks stand still for three election timeouts. */
static bool slow_disks_depose_no_leader(unsigned disabled)
{
    struct world *world = make_three(disabled, 20);
    struct node *leader = world_await_leader(world, 5000, NULL);
    uint64_t term = raft_current_term(&leader->guard.raft);

    (void)world_run(world, 1000);
    for (unsigned i = 0; i < 3; i++) {
        world->nodes[i].disk_least_ms = 3 * world->election_ms;
        world->nodes[i].disk_ms = 3 * world->election_ms;
        sp_raft_guard_set_window(&world->nodes[i].guard, 1000);
    }
    for (unsigned i = 0; i < 5 * world->election_ms / 10; i++) {
        (void)node_submit(leader, 1);
        (void)world_run(world, 10);
    }
    return finish(world,
                  raft_state(&leader->guard.raft) == RAFT_LEADER &&
                      raft_current_term(&leader->guard.raft) == term);
}

static void test_g13_slow_disks_depose_no_leader(void **state)
{
    (void)state;
    expect_needed(slow_disks_depose_no_leader, SP_RAFT_GUARD_G13_ANSWER);
}

/* --- N1, the barrier, the policies --- */

static bool late_pre_vote_reply_deposes_nobody(unsigned disabled)
{
    struct world *world = make_three(disabled, 61);
    struct node *leader = world_await_leader(world, 5000, NULL);
    uint64_t term = raft_current_term(&leader->guard.raft);
    struct letter letter = { .needs_meta = 0 };

    letter.message.type = RAFT_REQUEST_VOTE_RESULT;
    letter.message.request_vote_result.term = term + 1;
    letter.message.request_vote_result.pre_vote = true;
    bool right = node_receive(leader, next_node(world, leader)->number, &letter) == 0;
    return finish(world, right && raft_state(&leader->guard.raft) == RAFT_LEADER);
}

static void test_n1_late_pre_vote_reply_deposes_no_leader(void **state)
{
    (void)state;
    expect_needed(late_pre_vote_reply_deposes_nobody, SP_RAFT_GUARD_N1_CANDIDATE);
}

/* After a transfer everything is committed already, so libraft appends nothing in the new term. */
static bool new_leader_commits_in_its_term(unsigned disabled)
{
    struct world *world = make_three(disabled, 62);
    struct node *first = world_await_leader(world, 5000, NULL);
    struct node *second = next_node(world, first);

    (void)node_submit(first, 3);
    (void)world_run(world, 500);
    bool right = node_transfer(first, second) == 0;
    (void)world_run(world, 200);
    right = right && raft_state(&second->guard.raft) == RAFT_LEADER;
    return finish(world, right && sp_raft_guard_leads(&second->guard));
}

static void test_barrier_new_leader_commits_in_its_own_term(void **state)
{
    (void)state;
    expect_needed(new_leader_commits_in_its_term, SP_RAFT_GUARD_BARRIER);
}

static bool restarted_sole_voter_commits_in_its_term(unsigned disabled)
{
    struct world_options options = { .seed = 63, .nodes = 1, .voters = 1, .disabled = disabled };
    struct world *world = world_new(&options);

    (void)world_run(world, 100);
    return finish(world, sp_raft_guard_leads(&world->nodes[0].guard));
}

static void test_barrier_sole_voter_commits_in_its_own_term(void **state)
{
    (void)state;
    expect_needed(restarted_sole_voter_commits_in_its_term, SP_RAFT_GUARD_BARRIER);
}

/* S5: after a snapshot at index 1 a server that joins empty is never sent anything. */
static bool empty_server_joins_after_snapshots(unsigned disabled)
{
    struct world_options options = { .seed = 8, .nodes = 4, .voters = 3, .disabled = disabled };
    struct world *world = world_new(&options);
    struct node *leader = world_await_leader(world, 5000, NULL);

    (void)world_run(world, 300);
    for (unsigned i = 0; i < 3; i++) {
        (void)node_snapshot(&world->nodes[i], 1, 0);
    }
    bool right = node_change(leader, 0x2111) == 0;
    (void)world_run(world, 10000);
    return finish(world, right && world->nodes[3].applied == leader->memory.last);
}

static void test_policy_s5_snapshot_at_index_1_is_refused(void **state)
{
    (void)state;
    expect_needed(empty_server_joins_after_snapshots, SP_RAFT_GUARD_POLICY);
}

/* S6: a SPARE makes libraft's timer stay in the past. */
static bool spare_is_refused(unsigned disabled)
{
    struct world *world = make_three(disabled, 9);
    struct node *leader = world_await_leader(world, 5000, NULL);

    (void)world_run(world, 300);
    mask wanted =
        mask_with(node_configuration(leader), next_node(world, leader)->number, ROLE_SPARE);
    bool right = node_change(leader, wanted) == SPATE_ERR_INVALID;
    (void)world_run(world, 1000);
    return finish(world, right);
}

static void test_policy_s6_spare_is_refused(void **state)
{
    (void)state;
    expect_needed(spare_is_refused, SP_RAFT_GUARD_POLICY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_g7_divergent_tail_is_found_in_few_rounds),
        cmocka_unit_test(test_g9_standby_votes_when_promotion_was_lost),
        cmocka_unit_test(test_g9_standby_in_contact_does_not_vote),
        cmocka_unit_test(test_g10_late_rejection_is_dropped),
        cmocka_unit_test(test_g10_denied_pre_vote_tells_the_real_term),
        cmocka_unit_test(test_g11_l1_sporadic_entries_wait_for_no_heartbeat),
        cmocka_unit_test(test_g11_l2_sporadic_entries_with_one_dead_wait_for_no_heartbeat),
        cmocka_unit_test(test_g11_submits_do_not_repeat_what_is_on_the_way),
        cmocka_unit_test(test_g12_g14_followers_far_away_are_sent_entries_once),
        cmocka_unit_test(test_g13_slow_disks_depose_no_leader),
        cmocka_unit_test(test_n1_late_pre_vote_reply_deposes_no_leader),
        cmocka_unit_test(test_barrier_new_leader_commits_in_its_own_term),
        cmocka_unit_test(test_barrier_sole_voter_commits_in_its_own_term),
        cmocka_unit_test(test_policy_s5_snapshot_at_index_1_is_refused),
        cmocka_unit_test(test_policy_s6_spare_is_refused),
    };
    return cmocka_run_group_tests_name("scenario/raft_availability", tests, NULL, NULL);
}
