/* One scenario for each guard of cluster/raft_guard.h: right with it, wrong without it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "raft_expect.h"
#include "spate/error.h"

static struct world *three(unsigned disabled, uint64_t seed)
{
    struct world_options options = { .seed = seed, .nodes = 3, .voters = 3, .disabled = disabled };
    struct world *world = world_new(&options);

    world->net_ms = 1;
    return world;
}

/* One voter that leads, and a second node that is its standby. */
static struct world *sole_and_standby(unsigned disabled, uint64_t seed)
{
    struct world_options options = { .seed = seed, .nodes = 2, .voters = 1, .disabled = disabled };
    struct world *world = world_new(&options);

    world->net_ms = 1;
    (void)world_run(world, 200);
    (void)node_change(&world->nodes[0], 0x21);
    (void)world_run(world, 500);
    return world;
}

/* --- G1 --- */

/* S1: a leader whose entries are on its own disk alone hears an answer to a request of an older term,
 * with the garbage that libraft puts into such answers. */
static bool old_answer_commits_nothing(unsigned disabled)
{
    struct world *world = three(disabled, 13);
    struct node *leader = world_await_leader(world, 5000, NULL);

    world_isolate(world, leader);
    (void)node_submit(leader, 5);
    (void)world_run(world, 100);
    uint64_t committed = sp_raft_guard_committed(&leader->guard);
    uint64_t term = raft_current_term(&leader->guard.raft);
    struct letter letter = make_result(term, 0, 0x0101010101010101ULL);
    letter.stamp.request_term = term - 1;
    (void)node_receive(leader, next_node(world, leader)->number, &letter);
    return finish(world, sp_raft_guard_committed(&leader->guard) == committed);
}

static void test_g1_answer_to_older_term_commits_nothing(void **state)
{
    (void)state;
    expect_needed(old_answer_commits_nothing, SP_RAFT_GUARD_G1_REQUEST_TERM);
}

struct answer {
    struct raft_append_entries_result result;
    struct sp_raft_guard_stamp stamp;
    unsigned count;
};

static bool catch_answer(const struct letter *letter, void *arg)
{
    struct answer *answer = arg;

    if (letter->message.type == RAFT_APPEND_ENTRIES_RESULT) {
        answer->result = letter->message.append_entries_result;
        answer->stamp = letter->stamp;
        answer->count += 1;
    }
    return true;
}

/* The other half of S1: a follower in term 5 answers an InstallSnapshot of term 3. */
static void test_g1_answer_carries_request_term_and_no_garbage(void **state)
{
    struct world *world = three(0, 14);
    struct node *follower = &world->nodes[1];
    struct entry entry = { 5, 1, RAFT_COMMAND };
    struct answer answer = { .count = 0 };
    struct letter append = make_append(5, 1, 1, &entry, 1, 1);
    struct letter install = { .configuration = 0x111 };

    (void)state;
    assert_int_equal(node_receive(follower, 0, &append), 0);
    assert_true(world_run(world, 50));
    world->filter = catch_answer;
    world->filter_arg = &answer;
    install.message.type = RAFT_INSTALL_SNAPSHOT;
    install.message.install_snapshot.term = 3;
    install.message.install_snapshot.last_index = 1;
    install.message.install_snapshot.last_term = 1;
    install.message.install_snapshot.conf_index = 1;
    assert_int_equal(node_receive(follower, 0, &install), 0);
    assert_true(world_run(world, 20));
    assert_int_equal(answer.count, 1);
    assert_int_equal(answer.result.term, 5);
    assert_int_equal(answer.result.last_log_index, 0);
    assert_int_equal(answer.stamp.request_term, 3);
    assert_true(finish(world, true));
}

/* --- G2 --- */

/* A late copy of an append that begins below the follower's log start. */
static bool append_below_floor_is_raised(unsigned disabled)
{
    struct world *world = three(disabled, 21);
    struct node *leader = world_await_leader(world, 5000, NULL);
    struct node *follower = next_node(world, leader);

    (void)world_run(world, 300);
    (void)node_submit(leader, 8);
    (void)world_run(world, 500);
    bool right = node_snapshot(follower, follower->applied - 2, 0) == 0;
    struct letter letter = make_append(raft_current_term(&leader->guard.raft),
                                       0,
                                       0,
                                       &leader->memory.entries[1],
                                       4,
                                       leader->applied);
    right = right && node_receive(follower, leader->number, &letter) == 0;
    (void)node_submit(leader, 1);
    (void)world_run(world, 500);
    return finish(world, right && follower->applied == leader->memory.last);
}

static void test_g2_append_below_floor_leaves_log_alone(void **state)
{
    (void)state;
    expect_needed(append_below_floor_is_raised, SP_RAFT_GUARD_G2_FLOOR);
}

/* --- G3 and G4: a follower fed by hand --- */

/* S2: a change in the middle of an append, then a truncation right behind the entries before it. */
static bool change_in_mid_append_rolls_back(unsigned disabled)
{
    struct world *world = three(disabled, 11);
    struct node *follower = &world->nodes[1];
    struct entry first[] = { { 2, 1, RAFT_COMMAND },
                             { 2, 2, RAFT_COMMAND },
                             { 2, 0x2111, RAFT_CHANGE } };
    struct entry second = { 3, 3, RAFT_COMMAND };
    struct letter append = make_append(2, 1, 1, first, 3, 1);
    struct letter truncate = make_append(3, 3, 2, &second, 1, 1);

    bool right = node_receive(follower, 0, &append) == 0 &&
                 follower->guard.raft.configuration_uncommitted_index == 4;
    right = right && node_receive(follower, 2, &truncate) == 0;
    return finish(world, right && node_configuration(follower) == 0x111);
}

static void test_g3_change_in_mid_append_can_be_rolled_back(void **state)
{
    (void)state;
    expect_needed(change_in_mid_append_rolls_back, SP_RAFT_GUARD_G3_SPLIT);
}

/* S3: two changes are learned before the first is known to be committed; the second is truncated. */
static bool second_change_rolls_back_to_first(unsigned disabled)
{
    struct world *world = three(disabled, 12);
    struct node *follower = &world->nodes[1];
    struct entry first[] = { { 2, 0x2111, RAFT_CHANGE },
                             { 2, 2, RAFT_COMMAND },
                             { 2, 0x22111, RAFT_CHANGE } };
    struct entry second = { 3, 3, RAFT_COMMAND };
    struct letter append = make_append(2, 1, 1, first, 3, 1);
    struct letter truncate = make_append(3, 3, 2, &second, 1, 1);

    bool right = node_receive(follower, 0, &append) == 0;
    right = right && node_receive(follower, 2, &truncate) == 0;
    return finish(world, right && node_configuration(follower) == 0x2111);
}

static void test_g4_second_change_rolls_back_to_first(void **state)
{
    (void)state;
    expect_needed(second_change_rolls_back_to_first, SP_RAFT_GUARD_G4_CHANGE_ORDER);
}

/* --- G5 --- */

/* S7: a new leader whose own barrier is not committed yet is asked for a change. */
static bool change_waits_for_own_term(unsigned disabled)
{
    struct world_options options = { .seed = 10, .nodes = 4, .voters = 3, .disabled = disabled };
    struct world *world = world_new(&options);

    world->net_ms = 1;
    struct node *first = world_await_leader(world, 5000, NULL);
    world_isolate(world, first);
    (void)node_submit(first, 2);
    (void)world_run(world, 3000);
    struct node *second = world_await_leader(world, 5000, first);
    (void)node_submit(second, 2);
    (void)world_run(world, 200);
    world_join(world, first);
    (void)world_run(world, 500);
    node_crash(second, false);
    for (unsigned i = 0; i < 3; i++) {
        world->nodes[i].disk_ms = 2000;
    }
    struct node *last = world_await_leader(world, 9000, second);
    if (last == NULL) {
        return finish(world, false);
    }
    mask wanted = mask_with(node_configuration(last), 3, ROLE_STANDBY);
    bool right = node_change(last, wanted) == SPATE_ERR_AGAIN;
    (void)world_run(world, 20000);
    right = right && node_change(world_leader(world), wanted) == 0;
    return finish(world, right);
}

static void test_g5_change_before_own_entry_commits_is_put_off(void **state)
{
    (void)state;
    expect_needed(change_waits_for_own_term, SP_RAFT_GUARD_G5_CHANGE_TERM);
}

/* --- G6 --- */

/* A sole voter loses an entry that its standby has kept, and leads again. */
static bool restarted_sole_voter_rewrites_nothing(unsigned disabled)
{
    struct world *world = sole_and_standby(disabled, 31);
    struct node *voter = &world->nodes[0];

    voter->stall_ms = 3000;
    (void)node_submit(voter, 1);
    (void)world_run(world, 100);
    node_crash(voter, false);
    node_start(voter);
    (void)node_submit(voter, 1);
    (void)world_run(world, 2000);
    return finish(world, world->nodes[1].applied == voter->memory.last);
}

static void test_g6_restarted_sole_voter_takes_new_term(void **state)
{
    (void)state;
    expect_needed(restarted_sole_voter_rewrites_nothing, SP_RAFT_GUARD_G6_SOLE_VOTER);
}

/* A sole voter has voted for another server, as it would for one that it does not know to be a voter,
 * and then its own timer expires. */
static bool sole_voter_after_vote_leads_in_new_term(unsigned disabled)
{
    struct world *world = sole_and_standby(disabled, 32);
    struct node *voter = &world->nodes[0];
    uint64_t term = raft_current_term(&voter->guard.raft);
    struct letter letter = { .needs_meta = 0 };

    letter.message.type = RAFT_REQUEST_VOTE;
    letter.message.request_vote.term = term + 1;
    letter.message.request_vote.candidate_id = 2;
    letter.message.request_vote.last_log_index = voter->memory.last;
    letter.message.request_vote.last_log_term = term;
    letter.message.request_vote.disrupt_leader = true;
    bool right = node_receive(voter, 1, &letter) == 0;
    right = right && raft_voted_for(&voter->guard.raft) == 2;
    (void)world_run(world, 5000);
    right = right && raft_current_term(&voter->guard.raft) > term + 1;
    return finish(world, right && sp_raft_guard_leads(&voter->guard));
}

static void test_g6_sole_voter_that_voted_leads_in_new_term(void **state)
{
    (void)state;
    expect_needed(sole_voter_after_vote_leads_in_new_term, SP_RAFT_GUARD_G6_SOLE_VOTER);
}

/* --- G7 --- */

#define DIVERGENT 300

/* P2: a new leader meets a follower with a long uncommitted tail of another term. */
static bool divergent_tail_is_found_in_few_rounds(unsigned disabled)
{
    struct world *world = three(disabled, 6);
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

/* --- G8 --- */

/* T10: an installation takes 8 s while the leader goes on, dies and comes back. */
static bool nothing_is_applied_while_installing(unsigned disabled)
{
    struct world *world = three(disabled, 5);
    struct node *leader = world_await_leader(world, 5000, NULL);
    struct node *behind = next_node(world, leader);

    (void)world_run(world, 300);
    node_crash(behind, false);
    (void)node_submit(leader, 20);
    (void)world_run(world, 500);
    bool right = node_snapshot(leader, leader->applied, 0) == 0;
    (void)world_run(world, 300);
    node_start(behind);
    behind->stall_ms = 8000;
    while (!sp_raft_guard_installing(&behind->guard) && world->now_ms < 15000 &&
           world_run(world, 1)) {
        /* the leader finds out how far behind it is */
    }
    right = right && sp_raft_guard_installing(&behind->guard);
    (void)world_run(world, 500); /* heartbeats tell the commit index meanwhile */
    world_isolate(world, leader);
    (void)world_run(world, 5000);
    right = right && raft_state(&behind->guard.raft) == RAFT_FOLLOWER;
    world_join(world, leader);
    (void)world_run(world, 9000);
    leader = world_leader(world);
    right = right && leader != NULL && node_submit(leader, 1) == 0;
    (void)world_run(world, 1000);
    return finish(world, right && behind->applied == leader->memory.last);
}

static void test_g8_t10_nothing_is_applied_while_installing(void **state)
{
    (void)state;
    expect_needed(nothing_is_applied_while_installing, SP_RAFT_GUARD_G8_INSTALL_COMMIT);
}

/* --- G9 --- */

/* A sole voter promotes its standby, but dies before the standby hears of it. */
static bool unseen_promotion_blocks_nobody(unsigned disabled)
{
    struct world *world = sole_and_standby(disabled, 41);
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

/* --- G10 --- */

/* S8: a late duplicate of a rejection, not above the follower's match, while it is probed. */
static bool late_rejection_is_dropped(unsigned disabled)
{
    struct world *world = three(disabled, 15);
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
    struct world *world = three(disabled, one_dead ? 17 : 16);

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

static void test_g11_l1_sporadic_entries_wait_for_no_heartbeat(void **state)
{
    (void)state;
    expect_needed(sporadic_entries_with_outages, SP_RAFT_GUARD_G11_SUBMIT_NOW);
}

static void test_g11_l2_sporadic_entries_with_one_dead_wait_for_no_heartbeat(void **state)
{
    (void)state;
    expect_needed(sporadic_entries_with_one_dead, SP_RAFT_GUARD_G11_SUBMIT_NOW);
}

/* --- N1, the barrier, the policies --- */

static bool late_pre_vote_reply_deposes_nobody(unsigned disabled)
{
    struct world *world = three(disabled, 61);
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
    struct world *world = three(disabled, 62);
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
    struct world *world = three(disabled, 9);
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
        cmocka_unit_test(test_g1_answer_to_older_term_commits_nothing),
        cmocka_unit_test(test_g1_answer_carries_request_term_and_no_garbage),
        cmocka_unit_test(test_g2_append_below_floor_leaves_log_alone),
        cmocka_unit_test(test_g3_change_in_mid_append_can_be_rolled_back),
        cmocka_unit_test(test_g4_second_change_rolls_back_to_first),
        cmocka_unit_test(test_g5_change_before_own_entry_commits_is_put_off),
        cmocka_unit_test(test_g6_restarted_sole_voter_takes_new_term),
        cmocka_unit_test(test_g6_sole_voter_that_voted_leads_in_new_term),
        cmocka_unit_test(test_g7_divergent_tail_is_found_in_few_rounds),
        cmocka_unit_test(test_g8_t10_nothing_is_applied_while_installing),
        cmocka_unit_test(test_g9_standby_votes_when_promotion_was_lost),
        cmocka_unit_test(test_g10_late_rejection_is_dropped),
        cmocka_unit_test(test_g10_denied_pre_vote_tells_the_real_term),
        cmocka_unit_test(test_g11_l1_sporadic_entries_wait_for_no_heartbeat),
        cmocka_unit_test(test_g11_l2_sporadic_entries_with_one_dead_wait_for_no_heartbeat),
        cmocka_unit_test(test_n1_late_pre_vote_reply_deposes_no_leader),
        cmocka_unit_test(test_barrier_new_leader_commits_in_its_own_term),
        cmocka_unit_test(test_barrier_sole_voter_commits_in_its_own_term),
        cmocka_unit_test(test_policy_s5_snapshot_at_index_1_is_refused),
        cmocka_unit_test(test_policy_s6_spare_is_refused),
    };
    return cmocka_run_group_tests_name("scenario/raft_guards", tests, NULL, NULL);
}
