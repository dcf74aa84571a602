/* The guards without which committed data is lost (G1 to G6, G8): right with, wrong without each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "raft_expect.h"
#include "spate/error.h"

/* --- G1 --- */

/* S1: a leader whose entries are on its own disk alone hears an answer to a request of an older
 * term, with the garbage that libraft puts into such answers. */
static bool old_answer_commits_nothing(unsigned disabled)
{
    struct world *world = make_three(disabled, 13);
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
    struct world *world = make_three(0, 14);
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
    struct world *world = make_three(disabled, 21);
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
    struct world *world = make_three(disabled, 11);
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

/* Of an append that is stepped in parts only the first rejection is sent, or the first late answer.
 */
static void test_g3_refused_append_is_answered_once(void **state)
{
    struct world *world = make_three(0, 15);
    struct node *follower = &world->nodes[1];
    struct entry entries[] = { { 1, 0x111, RAFT_CHANGE }, { 1, 0x2111, RAFT_CHANGE } };
    struct entry entry = { 5, 1, RAFT_COMMAND };
    struct answer answer = { .count = 0 };
    struct letter late = make_append(3, 0, 0, entries, 2, 1);
    struct letter ahead = make_append(5, 9, 1, entries, 2, 1);
    struct letter first = make_append(5, 1, 1, &entry, 1, 1);

    (void)state;
    assert_int_equal(node_receive(follower, 0, &first), 0);
    assert_true(world_run(world, 50));
    world->filter = catch_answer;
    world->filter_arg = &answer;
    assert_int_equal(node_receive(follower, 0, &ahead), 0);
    assert_int_equal(answer.count, 1);
    assert_int_equal(answer.result.rejected, 9);
    assert_int_equal(node_receive(follower, 2, &late), 0);
    assert_int_equal(answer.count, 2);
    assert_int_equal(answer.stamp.request_term, 3);
    assert_true(finish(world, true));
}

/* S3: two changes are learned before the first is known to be committed; the second is truncated.
 */
static bool second_change_rolls_back_to_first(unsigned disabled)
{
    struct world *world = make_three(disabled, 12);
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
    struct world *world = make_sole_and_standby(disabled, 31);
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

/* A sole voter has voted for another server, as it would for one that it does not know to be a
 * voter, and then its own timer expires. */
static bool sole_voter_after_vote_leads_in_new_term(unsigned disabled)
{
    struct world *world = make_sole_and_standby(disabled, 32);
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
    right = right && voter->disk.term == voter->guard.raft.current_term && voter->disk.vote == 1;
    return finish(world, right && sp_raft_guard_leads(&voter->guard));
}

static void test_g6_sole_voter_that_voted_leads_in_new_term(void **state)
{
    (void)state;
    expect_needed(sole_voter_after_vote_leads_in_new_term, SP_RAFT_GUARD_G6_SOLE_VOTER);
}

/* TimeoutNow makes libraft lead at once, which a sole voter would do in the term of its leader. */
static void test_g6_sole_voter_ignores_timeout_now(void **state)
{
    struct world *world = make_sole_and_standby(0, 33);
    struct node *voter = &world->nodes[0];
    uint64_t term = raft_current_term(&voter->guard.raft) + 1;
    struct letter append =
        make_append(term, voter->memory.last, term - 1, NULL, 0, voter->memory.last);
    struct letter letter = { .needs_meta = 0 };

    (void)state;
    letter.message.type = RAFT_TIMEOUT_NOW;
    letter.message.timeout_now.term = term;
    letter.message.timeout_now.last_log_index = voter->memory.last;
    letter.message.timeout_now.last_log_term = term - 1;
    assert_int_equal(node_receive(voter, 1, &append), 0);
    assert_int_equal(node_receive(voter, 1, &letter), 0);
    assert_int_equal(raft_state(&voter->guard.raft), RAFT_FOLLOWER);
    assert_true(finish(world, true));
}

/* --- G8 --- */

/* T10: an installation takes 8 s while the leader goes on, dies and comes back. */
static bool nothing_is_applied_while_installing(unsigned disabled)
{
    struct world *world = make_three(disabled, 5);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_g1_answer_to_older_term_commits_nothing),
        cmocka_unit_test(test_g1_answer_carries_request_term_and_no_garbage),
        cmocka_unit_test(test_g2_append_below_floor_leaves_log_alone),
        cmocka_unit_test(test_g3_change_in_mid_append_can_be_rolled_back),
        cmocka_unit_test(test_g3_refused_append_is_answered_once),
        cmocka_unit_test(test_g4_second_change_rolls_back_to_first),
        cmocka_unit_test(test_g5_change_before_own_entry_commits_is_put_off),
        cmocka_unit_test(test_g6_restarted_sole_voter_takes_new_term),
        cmocka_unit_test(test_g6_sole_voter_that_voted_leads_in_new_term),
        cmocka_unit_test(test_g6_sole_voter_ignores_timeout_now),
        cmocka_unit_test(test_g8_t10_nothing_is_applied_while_installing),
    };
    return cmocka_run_group_tests_name("scenario/raft_guards", tests, NULL, NULL);
}
