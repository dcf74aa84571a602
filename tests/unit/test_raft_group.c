/* One replica that is its group's only voter, on a real directory: submit, commit, restart. */
#include "cluster/raft_group_internal.h"
#include "cluster/raft_guard_step.h"
#include "cluster/raft_move.h"
#include "one_replica.h"
#include "storage/log_state.h"

#define REPLICA 9 /* of one_replica.h */
#define NODE 1

static void wait_committed(struct fixture *fixture, unsigned count)
{
    bool never = false;

    while (fixture->committed < count) {
        (void)sp_loop_run_until(fixture->loop, &never, sp_loop_now_ms(fixture->loop) + 1);
    }
}

static void test_raft_group_sole_voter_commits_in_order_and_keeps_it(void **state)
{
    static struct command commands[300];
    struct fixture *fixture = *state;
    uint64_t sum = 0;
    uint64_t term;

    start(fixture);
    wait_ready(fixture);
    term = status_of(fixture).term;
    submit_all(fixture, commands, 300);
    wait_committed(fixture, 300);
    for (unsigned i = 0; i < 300; i++) {
        sum += i & 0xff;
    }
    assert_int_equal(fixture->adder.sum, sum);
    stop(fixture);

    start(fixture);
    wait_ready(fixture);
    assert_int_equal(fixture->adder.sum, sum);
    assert_true(status_of(fixture).term > term); /* a sole voter never reuses a term (G6) */
    assert_int_equal(fixture->adder.restored_count, 1);
    assert_true(fixture->adder.restored_sum > 0);
    assert_true(fixture->adder.applied < 200); /* the rest came from the checkpoint */
    assert_int_equal(status_of(fixture).first_index, 1);
    stop(fixture);
}

/* One command in flight at a time: each is applied before the next one makes the log roll. */
static void test_raft_group_quiet_log_gets_checkpoints_too(void **state)
{
    static struct command commands[200];
    struct fixture *fixture = *state;

    start(fixture);
    wait_ready(fixture);
    for (unsigned i = 0; i < 200; i++) {
        submit_all(fixture, &commands[i], 1);
        wait_committed(fixture, i + 1);
    }
    stop(fixture);

    start(fixture);
    wait_ready(fixture);
    assert_int_equal(fixture->adder.restored_count, 1);
    assert_true(fixture->adder.applied < 100); /* the rest came from the newest checkpoint */
    stop(fixture);
}

static void test_raft_group_closing_cancels_what_waits(void **state)
{
    static struct command commands[20];
    struct fixture *fixture = *state;

    start(fixture);
    wait_ready(fixture);
    submit_all(fixture, commands, 20);
    stop(fixture);
    assert_int_equal(fixture->committed + fixture->failed, 20);
    assert_int_equal(fixture->failed, 20);

    start(fixture); /* what was written before closing is found again, and committed */
    wait_ready(fixture);
    assert_int_equal(fixture->adder.applied, 20);
    stop(fixture);
}

static void test_raft_group_full_budget_answers_busy(void **state)
{
    static struct command commands[SP_GROUP_PENDING_ENTRIES_MAX + 1];
    struct fixture *fixture = *state;
    struct sp_iovec piece = { "x", 1 };
    unsigned i;
    int rv = 0;

    start(fixture);
    wait_ready(fixture);
    next_order = 0;
    for (i = 0; i <= SP_GROUP_PENDING_ENTRIES_MAX && rv == 0; i++) {
        commands[i] =
            (struct command){ .submit = { .cb = on_submitted }, .fixture = fixture, .order = i };
        rv = sp_raft_group_submit(fixture->group, SP_FRAME_COMMAND, &piece, 1, &commands[i].submit);
    }
    assert_int_equal(rv, SPATE_ERR_BUSY);
    assert_int_equal(i, SP_GROUP_PENDING_ENTRIES_MAX + 1);
    stop(fixture);
}

static void test_raft_group_full_budget_of_bytes_answers_busy(void **state)
{
    static uint8_t payload[4 * 1024 * 1024];
    static struct command commands[SP_GROUP_PENDING_BYTES_MAX / sizeof payload + 1];
    struct fixture *fixture = *state;
    struct sp_iovec piece = { payload, sizeof payload };
    unsigned count = sizeof commands / sizeof commands[0];
    int rv = 0;

    start(fixture);
    wait_ready(fixture);
    next_order = 0;
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(rv, 0);
        commands[i] =
            (struct command){ .submit = { .cb = on_submitted }, .fixture = fixture, .order = i };
        rv = sp_raft_group_submit(fixture->group, SP_FRAME_COMMAND, &piece, 1, &commands[i].submit);
    }
    assert_int_equal(rv, SPATE_ERR_BUSY);
    stop(fixture);
}

/* Others may have committed what the leader's own disk does not get stored. */
static void test_raft_group_log_that_lags_answers_busy(void **state)
{
    static struct command commands[3];
    struct fixture *fixture = *state;
    struct sp_iovec piece = { "x", 1 };

    start(fixture);
    wait_ready(fixture);
    next_order = 0;
    submit_all(fixture, commands, 1);
    struct sp_log *log = sp_raft_group_log(fixture->group);
    assert_true(sp_log_persisted_index(log) < sp_log_last_index(log));
    log->tail.bytes += 5 * (size_t)SP_WINDOW_BYTES;
    int rv = sp_raft_group_submit(fixture->group, SP_FRAME_COMMAND, &piece, 1, &commands[1].submit);
    log->tail.bytes -= 5 * (size_t)SP_WINDOW_BYTES;
    assert_int_equal(rv, SPATE_ERR_BUSY);
    wait_committed(fixture, 1);
    stop(fixture);
}

/* The log of a machine that nobody reads loses its old segments, and a restart does not miss them.
 */
static void test_raft_group_log_begins_at_an_old_checkpoint(void **state)
{
    static struct command commands[400];
    static struct sp_machine_type type;
    struct fixture *fixture = *state;
    uint64_t sum = 0;

    type = adder_type;
    type.checkpoints_kept = 2;
    fixture->type = &type;
    start(fixture);
    wait_ready(fixture);
    for (unsigned i = 0; i < 400; i++) {
        submit_all(fixture, &commands[i], 1);
        wait_committed(fixture, i + 1);
    }
    sum = fixture->adder.sum;
    uint64_t first = status_of(fixture).first_index;
    assert_true(first > 300); /* it rolls after 16 frames (SP_MACHINE_ROLL_BYTES_PER_FRAME) */
    assert_true(first < status_of(fixture).last_index - 16);
    stop(fixture);

    start(fixture);
    wait_ready(fixture);
    assert_true(status_of(fixture).first_index >= first);
    assert_int_equal(fixture->adder.sum, sum);
    assert_true(fixture->adder.applied < 50);
    submit_all(fixture, commands, 1);
    wait_committed(fixture, 401);
    stop(fixture);
}

/* Some in flight at any time, more bytes in all than the budget holds at once. */
static void test_raft_group_committed_bytes_go_back_to_the_budget(void **state)
{
    static uint8_t payload[4 * 1024 * 1024];
    static struct command commands[SP_GROUP_PENDING_BYTES_MAX / sizeof payload + 3];
    struct fixture *fixture = *state;
    struct sp_iovec piece = { payload, sizeof payload };
    unsigned count = sizeof commands / sizeof commands[0];

    start(fixture);
    wait_ready(fixture);
    next_order = 0;
    for (unsigned i = 0; i < count; i++) {
        commands[i] =
            (struct command){ .submit = { .cb = on_submitted }, .fixture = fixture, .order = i };
        assert_int_equal(
            sp_raft_group_submit(fixture->group, SP_FRAME_COMMAND, &piece, 1, &commands[i].submit),
            0);
        wait_committed(fixture, i < 3 ? 0 : i - 3); /* the queue is never empty */
    }
    wait_committed(fixture, count);
    stop(fixture);
}

static void test_raft_group_membership_bytes_depend_on_places_only(void **state)
{
    struct sp_replica_place places[2] = { { 1025, 2 }, { 1026, 3 } };
    struct sp_slice first = { 0 };
    struct sp_slice second = { 0 };

    (void)state;
    assert_int_equal(sp_raft_first_frame(7, 99, places, 2, &first), 0);
    assert_int_equal(sp_raft_first_frame(7, 99, places, 2, &second), 0);
    assert_int_equal(first.size, second.size);
    assert_memory_equal(first.bytes, second.bytes, first.size);
    sp_slice_unref(&first);
    sp_slice_unref(&second);
}

static uint64_t
note(struct sp_raft_move_mark *mark, uint64_t replica_id, uint64_t stored_index, uint64_t now_ms)
{
    const struct sp_raft_move_mark step = {
        .replica_id = replica_id, .role = 1, .stored_index = stored_index, .seen_ms = now_ms
    };

    sp_raft_move_note(mark, &step);
    return mark->since_ms;
}

/* A move stands still while its step and what its new replica has stored are the same. */
static void test_raft_group_move_knows_since_when_it_stands_still(void **state)
{
    struct sp_raft_move_mark mark = { 0 };

    (void)state;
    assert_int_equal(note(&mark, 7, 0, 1000), 1000);
    assert_int_equal(note(&mark, 7, 0, 2900), 1000);
    assert_int_equal(note(&mark, 7, 5, 3000), 3000);
    assert_int_equal(note(&mark, 7, 5, 3050), 3000);
    assert_int_equal(note(&mark, 7, 0, 3100), 3000); /* waits between two steps */
    assert_int_equal(note(&mark, 7, 5, 3150), 3000);
    assert_int_equal(note(&mark, 8, 5, 3200), 3200);
    mark.role = 2;
    assert_int_equal(note(&mark, 8, 5, 3250), 3250);
    assert_int_equal(note(&mark, 8, 5, 5250), 5250); /* after a pause: it led no more meanwhile */
}

enum sp_link_state sp_transport_link(const struct sp_transport *transport, uint32_t node_id)
{
    (void)transport;
    (void)node_id;
    return SP_LINK_DEAD;
}

static unsigned standbys(const struct fixture *fixture)
{
    return fixture->group->guard.raft.configuration.n - 1;
}

/* Until the membership is so large, or the time is over; with a look at strays each second. */
static void look_for_strays(struct fixture *fixture, unsigned count, uint64_t ms)
{
    const struct sp_replica_place self = { .replica_id = REPLICA, .node_id = NODE };
    const struct sp_raft_move_target replicas = { &self, 1, 1, NULL };
    uint64_t end_ms = sp_loop_now_ms(fixture->loop) + ms;
    bool never = false;

    while (standbys(fixture) != count && sp_loop_now_ms(fixture->loop) < end_ms) {
        sp_raft_group_drop_standby(fixture->group, &replicas);
        (void)sp_loop_run_until(fixture->loop, &never, sp_loop_now_ms(fixture->loop) + 1000);
    }
}

/* Added by a leader that did not know that its move was over. */
static void test_raft_group_standby_that_nobody_wants_goes(void **state)
{
    struct fixture *fixture = *state;
    const struct sp_replica_place places[] = { { .replica_id = REPLICA, .node_id = NODE },
                                               { .replica_id = 77, .node_id = 9 } };
    const struct sp_raft_move_target wanted = { places, 2, 1, NULL };
    const struct sp_raft_change change = { .replica_id = places[1].replica_id,
                                           .node_id = places[1].node_id,
                                           .role = RAFT_STANDBY };
    uint64_t begun_ms;

    start(fixture);
    wait_ready(fixture);
    assert_int_equal(sp_raft_make_change(fixture->group, &change), 0);
    assert_int_equal(standbys(fixture), 1);
    sp_raft_group_drop_standby(fixture->group, &wanted);
    begun_ms = sp_loop_now_ms(fixture->loop);
    look_for_strays(fixture, 0, 20000);
    assert_int_equal(standbys(fixture), 0);
    assert_in_range(sp_loop_now_ms(fixture->loop) - begun_ms, 5000, 12000);
    stop(fixture);
}

/* ---- the guard's followers ------------------------------------------------------------------- */

/* Members come and go in one term; without a slot one that is there would count as silent. */
static void test_guard_slot_of_a_follower_that_left_is_taken_again(void **state)
{
    struct sp_raft_guard guard;
    struct raft_server server = { .id = 7, .role = RAFT_VOTER };

    (void)state;
    memset(&guard, 0, sizeof guard);
    guard.raft.configuration.servers = &server;
    guard.raft.configuration.n = 1;
    assert_non_null(sp_raft_step_peer(&guard, 7));
    for (uint64_t id = 100; id < 100 + 2 * SP_RAFT_GUARD_SERVERS_MAX; id++) {
        struct sp_raft_guard_peer *peer = sp_raft_step_peer(&guard, id);
        assert_non_null(peer);
        assert_int_equal(peer->id, id);
        assert_int_equal(peer->answered_ms, 0);
        peer->answered_ms = 5;
        assert_int_equal(guard.peers[0].id, 7); /* a member keeps its own */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_raft_group_sole_voter_commits_in_order_and_keeps_it, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_raft_group_quiet_log_gets_checkpoints_too, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_raft_group_closing_cancels_what_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_raft_group_full_budget_answers_busy, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_raft_group_full_budget_of_bytes_answers_busy, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_raft_group_log_that_lags_answers_busy, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_raft_group_log_begins_at_an_old_checkpoint, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_raft_group_committed_bytes_go_back_to_the_budget, setup, teardown),
        cmocka_unit_test(test_raft_group_membership_bytes_depend_on_places_only),
        cmocka_unit_test(test_raft_group_move_knows_since_when_it_stands_still),
        cmocka_unit_test_setup_teardown(
            test_raft_group_standby_that_nobody_wants_goes, setup, teardown),
        cmocka_unit_test(test_guard_slot_of_a_follower_that_left_is_taken_again),
    };
    return cmocka_run_group_tests_name("cluster/raft_group", tests, NULL, NULL);
}
