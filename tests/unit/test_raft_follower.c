/* One replica that follows: what it takes for committed of what its leader says. */
#include "cluster/vigil.h"
#include "one_replica.h"
#include "silent_transport.h"
#include "storage/log_frame.h"

enum {
    SELF = 9,
    LEADER = 10,
    TERM = 2,
    FRAMES = 4,
    FRAME_SIZE = SP_LOG_FRAME_HEADER_SIZE + SP_LOG_FRAME_ALIGNMENT,
};

/* ---- what its leader sends ------------------------------------------------------------------- */

/* Commands 2 to FRAMES + 1 of the leader's log, one after the other. */
static void build_frames(const struct fixture *fixture, uint8_t bytes[FRAMES * FRAME_SIZE])
{
    uint32_t chain = sp_log_chain(fixture->open.log);

    memset(bytes, 0, FRAMES * FRAME_SIZE);
    for (unsigned i = 0; i < FRAMES; i++) {
        struct sp_log_frame frame = {
            .kind = SP_FRAME_COMMAND, .length = 1, .group_id = 4, .term = TERM, .index = 2 + i
        };

        bytes[i * FRAME_SIZE + SP_LOG_FRAME_HEADER_SIZE] = 1;
        sp_log_frame_seal(&frame, chain, bytes + i * FRAME_SIZE);
        chain = frame.chain;
    }
}

/* Turns until `index` is applied. */
static void wait_applied(struct fixture *fixture, uint64_t index)
{
    uint64_t until_ms = patience(fixture);
    bool never = false;

    while (status_of(fixture).applied_index < index) {
        assert_true(sp_loop_now_ms(fixture->loop) < until_ms);
        (void)sp_loop_run_until(fixture->loop, &never, sp_loop_now_ms(fixture->loop) + 1);
    }
}

static void follow(struct fixture *fixture, uint8_t frames[FRAMES * FRAME_SIZE])
{
    fixture->follows = true;
    start(fixture);
    wait_applied(fixture, 1); /* what it was made with */
    build_frames(fixture, frames);
}

/* An append of `count` frames behind `index`, and turns until what it brought is applied. */
static void hear(
    struct fixture *fixture, const uint8_t *frames, uint64_t index, unsigned count, uint64_t commit)
{
    const struct sp_peer_raft message = { .group_id = 4,
                                          .from = LEADER,
                                          .to = SELF,
                                          .term = TERM,
                                          .index = index,
                                          .index_term = index == 1 ? 1 : TERM,
                                          .commit = commit,
                                          .kind = SP_PEER_APPEND,
                                          .frame_count = count };
    struct sp_blob *blob = sp_blob_copy(frames, (size_t)count * FRAME_SIZE);
    const struct sp_slice body = { blob, blob->bytes, blob->size };
    uint64_t last = index + count;

    sp_raft_group_receive(fixture->group, 2, &message, &body);
    sp_blob_unref(blob);
    wait_applied(fixture, commit < last ? commit : last);
}

/* ---- tests ----------------------------------------------------------------------------------- */

/* Of a backlog each part is committed as far as it goes, whatever more there is. */
static void test_raft_follower_is_confirmed_by_all_that_is_committed_alone(void **state)
{
    struct fixture *fixture = *state;
    uint8_t frames[FRAMES * FRAME_SIZE];

    follow(fixture, frames);
    hear(fixture, frames, 1, 2, 3); /* a part: the leader says its end */
    assert_int_equal(status_of(fixture).applied_index, 3);
    assert_false(status_of(fixture).confirmed);
    hear(fixture, frames, 3, 0, 5); /* a heartbeat, and what it says is not here yet */
    assert_false(status_of(fixture).confirmed);
    hear(fixture, frames + 2 * FRAME_SIZE, 3, 2, 5); /* the last part */
    assert_int_equal(status_of(fixture).applied_index, 5);
    assert_false(status_of(fixture).confirmed);
    hear(fixture, frames, 5, 0, 5);
    assert_true(status_of(fixture).confirmed);
    stop(fixture);
}

static void test_raft_follower_is_confirmed_by_an_append_that_goes_beyond(void **state)
{
    struct fixture *fixture = *state;
    uint8_t frames[FRAMES * FRAME_SIZE];

    follow(fixture, frames);
    hear(fixture, frames, 1, FRAMES, 4);
    assert_int_equal(status_of(fixture).applied_index, 4);
    assert_true(status_of(fixture).confirmed);
    stop(fixture);
}

/* Confirmed once and for all; current as of what its leader said last. */
static void test_raft_follower_is_current_when_it_has_what_its_leader_spoke_of(void **state)
{
    struct fixture *fixture = *state;
    uint8_t frames[FRAMES * FRAME_SIZE];

    follow(fixture, frames);
    assert_false(sp_raft_group_is_current(fixture->group));
    hear(fixture, frames, 1, 2, 2);
    assert_true(sp_raft_group_is_current(fixture->group));
    hear(fixture, frames, 3, 0, 5); /* two more are committed, and not here */
    assert_true(status_of(fixture).confirmed);
    assert_false(sp_raft_group_is_current(fixture->group));
    hear(fixture, frames + 2 * FRAME_SIZE, 3, 1, 4); /* a part */
    assert_false(sp_raft_group_is_current(fixture->group));
    hear(fixture, frames + 3 * FRAME_SIZE, 4, 1, 5); /* all, but there may be more */
    assert_false(sp_raft_group_is_current(fixture->group));
    hear(fixture, frames, 5, 0, 5);
    assert_true(sp_raft_group_is_current(fixture->group));
    stop(fixture);
}

static void on_silent(void *arg, uint32_t node_id)
{
    const struct fixture *fixture = arg;

    sp_raft_group_wake_for(fixture->group, node_id);
}

/* A leader that becomes quiet has committed all of its log, and says so in its QUIET alone when the
 * last append was a part of a backlog. */
static void test_raft_follower_is_confirmed_by_a_leader_that_becomes_quiet(void **state)
{
    struct fixture *fixture = *state;
    uint8_t frames[FRAMES * FRAME_SIZE];
    const struct sp_peer_raft quiet = { .group_id = 4,
                                        .from = LEADER,
                                        .to = SELF,
                                        .term = TERM,
                                        .index = 5,
                                        .index_term = TERM,
                                        .kind = SP_PEER_QUIET };
    const struct sp_slice nothing = { NULL, NULL, 0 };

    follow(fixture, frames);
    const struct sp_vigil_options options = {
        .loop = fixture->loop, .election_timeout_ms = 300, .silent = on_silent, .arg = fixture
    };
    assert_int_equal(sp_vigil_new(&options, &fixture->context.vigil), 0);
    hear(fixture, frames, 1, FRAMES, 5);
    assert_false(status_of(fixture).confirmed);
    assert_false(sp_raft_group_is_current(fixture->group));
    uint64_t until_ms = patience(fixture);
    bool never = false;
    while (!sp_raft_group_is_quiet(fixture->group)) { /* it may still be storing */
        assert_true(sp_loop_now_ms(fixture->loop) < until_ms);
        (void)sp_loop_run_until(fixture->loop, &never, sp_loop_now_ms(fixture->loop) + 1);
        sp_raft_group_receive(fixture->group, 2, &quiet, &nothing);
    }
    assert_true(status_of(fixture).confirmed);
    assert_true(sp_raft_group_is_current(fixture->group));
    sp_raft_group_wake_for(fixture->group, 2);
    sp_vigil_free(fixture->context.vigil);
    fixture->context.vigil = NULL;
    stop(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_raft_follower_is_confirmed_by_all_that_is_committed_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_raft_follower_is_confirmed_by_an_append_that_goes_beyond, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_raft_follower_is_current_when_it_has_what_its_leader_spoke_of, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_raft_follower_is_confirmed_by_a_leader_that_becomes_quiet, setup, teardown),
    };

    return cmocka_run_group_tests_name("cluster/raft_follower", tests, NULL, NULL);
}
