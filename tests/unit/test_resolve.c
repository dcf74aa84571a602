/* Host names whose name server is slow, silent, or knows nothing. */
#include "io/resolve.h"

#include <stdio.h>
#include <unistd.h>

#include "attempted_streams.h"
#include "base/limits.h"
#include "slow_names.h"
#include "spate/error.h"

enum {
    NAMES = SP_RESOLVER_THREADS_MAX + 3,
};

static int set_up(void **state)
{
    slow_names_answer(0);
    *state = begin_attempts();
    return 0;
}

static int tear_down(void **state)
{
    slow_names_be_silent(false);
    end_attempts(*state);
    return 0;
}

static void begin(struct sp_loop *loop, struct attempt *attempt, const char *host, uint16_t port)
{
    char address[128];

    *attempt = (struct attempt){ .told = false };
    (void)snprintf(address, sizeof address, "%s:%u", host, port);
    assert_int_equal(sp_stream_connect(loop, address, on_connect, attempt, &attempt->stream), 0);
}

static void end(struct sp_loop *loop, struct attempt *attempt)
{
    sp_stream_close(attempt->stream, on_closed, attempt);
    assert_false(attempt->closed);
    wait_for(loop, &attempt->closed);
}

static int outcome(struct sp_loop *loop, int answer)
{
    struct attempt attempt;

    slow_names_answer(answer);
    begin(loop, &attempt, "host.test", 1);
    wait_for(loop, &attempt.told);
    end(loop, &attempt);
    return attempt.status;
}

static void test_resolve_says_what_is_wrong_with_a_name(void **state)
{
    assert_int_equal(outcome(*state, EAI_NONAME), SPATE_ERR_NOT_FOUND);
    assert_int_equal(outcome(*state, EAI_NODATA), SPATE_ERR_NOT_FOUND);
    assert_int_equal(outcome(*state, EAI_AGAIN), SPATE_ERR_BUSY);
    assert_int_equal(outcome(*state, EAI_FAIL), SPATE_ERR_UNREACHABLE);
    assert_int_equal(outcome(*state, 0), SPATE_ERR_UNREACHABLE); /* nobody listens there */
}

/* Stream and loop go while the question is under way. */
static void test_resolve_holds_up_neither_a_stream_nor_its_loop(void **state)
{
    struct attempt attempt;
    struct sp_loop *loop = NULL;

    (void)state;
    assert_int_equal(sp_loop_new(0, &loop), 0);
    slow_names_be_silent(true);
    begin(loop, &attempt, "host.test", 1);
    slow_names_wait_asked(1);
    end(loop, &attempt);
    sp_loop_run(loop); /* nothing is left to wait for */
    sp_loop_free(loop);
    assert_true(slow_names_are_silent());
    assert_false(attempt.told);
}

/* The answer has come, and the loop goes before it looks. */
static void test_resolve_answer_that_nobody_reads_is_freed(void **state)
{
    struct attempt attempt;
    struct sp_loop *loop = NULL;

    (void)state;
    assert_int_equal(sp_loop_new(0, &loop), 0);
    begin(loop, &attempt, "host.test", 1);
    struct pollfd watched = { .fd = sp_loop_fd(loop), .events = POLLIN };
    slow_names_wait_asked(1);
    sp_loop_turn_nowait(loop); /* tells the kernel what the loop waits for */
    sp_stream_close(attempt.stream, on_closed, &attempt);
    (void)poll(&watched, 1, TIMEOUT_MS);
    sp_loop_free(loop);
    assert_true(attempt.closed);
    assert_false(attempt.told);
}

/* As when a resolver tries its second server after five seconds, and an attempt may take three. */
static void test_resolve_late_answer_serves_the_next_attempt(void **state)
{
    struct sp_listener *listener = NULL;
    struct attempt attempt;

    assert_int_equal(sp_listener_open(*state, "127.0.0.1:0", on_accept, NULL, &listener), 0);
    slow_names_be_silent(true);
    begin(*state, &attempt, "host.test", sp_listener_port(listener));
    slow_names_wait_asked(1);
    end(*state, &attempt);
    begin(*state, &attempt, "host.test", sp_listener_port(listener));
    (void)sp_loop_run_until(*state, &attempt.told, sp_loop_now_ms(*state) + 20);
    slow_names_be_silent(false);
    wait_for(*state, &attempt.told);
    assert_int_equal(attempt.status, 0);
    assert_int_equal(slow_names_asked(), 1);
    end(*state, &attempt);
    sp_listener_close(listener);
}

/* Inside another loop: the answer for nobody must not keep the descriptor readable. */
static void test_resolve_answer_between_attempts_is_kept(void **state)
{
    struct pollfd watched = { .fd = sp_loop_fd(*state), .events = POLLIN };
    struct attempt attempt;

    slow_names_be_silent(true);
    begin(*state, &attempt, "host.test", 1);
    slow_names_wait_asked(1);
    end(*state, &attempt);
    slow_names_be_silent(false);
    assert_int_equal(poll(&watched, 1, TIMEOUT_MS), 1);
    for (unsigned i = 0; i < 3; i++) {
        sp_loop_turn_nowait(*state);
    }
    assert_int_equal(poll(&watched, 1, 0), 0);
    begin(*state, &attempt, "host.test", 1);
    wait_for(*state, &attempt.told);
    assert_int_equal(attempt.status, SPATE_ERR_UNREACHABLE);
    assert_int_equal(slow_names_asked(), 1);
    end(*state, &attempt);
    begin(*state, &attempt, "host.test", 1); /* it has served */
    wait_for(*state, &attempt.told);
    assert_int_equal(slow_names_asked(), 2);
    end(*state, &attempt);
}

static void test_resolve_two_attempts_share_a_question(void **state)
{
    struct attempt attempts[2];

    slow_names_be_silent(true);
    begin(*state, &attempts[0], "host.test", 1);
    begin(*state, &attempts[1], "host.test", 1);
    slow_names_wait_asked(1);
    slow_names_be_silent(false);
    for (unsigned i = 0; i < 2; i++) {
        wait_for(*state, &attempts[i].told);
        assert_int_equal(attempts[i].status, SPATE_ERR_UNREACHABLE);
        end(*state, &attempts[i]);
    }
    assert_int_equal(slow_names_asked(), 1);
}

static void test_resolve_asks_for_a_few_names_at_once(void **state)
{
    struct attempt attempts[NAMES];
    char host[32];

    slow_names_be_silent(true);
    for (unsigned i = 0; i < NAMES; i++) {
        (void)snprintf(host, sizeof host, "host-%u.test", i);
        begin(*state, &attempts[i], host, 1);
    }
    slow_names_wait_asked(SP_RESOLVER_THREADS_MAX);
    end(*state, &attempts[NAMES - 1]); /* was not asked for, and is not now */
    assert_int_equal(slow_names_asked(), SP_RESOLVER_THREADS_MAX);
    slow_names_be_silent(false);
    for (unsigned i = 0; i < NAMES - 1; i++) {
        wait_for(*state, &attempts[i].told);
        end(*state, &attempts[i]);
    }
    assert_int_equal(slow_names_asked(), NAMES - 1);
}

static void test_resolve_survives_every_failing_allocation(void **state)
{
    int rv = SPATE_ERR_NOMEM;

    for (uint64_t n = 1; rv != SPATE_ERR_UNREACHABLE && n < ALLOCATIONS_MAX; n++) {
        struct attempt attempt = { .told = false };
        struct sp_loop *loop = NULL;

        (void)state;
        assert_int_equal(sp_loop_new(0, &loop), 0);
        sp_mem_fail_at(n);
        rv = sp_stream_connect(loop, "host.test:1", on_connect, &attempt, &attempt.stream);
        if (rv == 0) {
            wait_for(loop, &attempt.told);
            rv = attempt.status;
            assert_true(rv == SPATE_ERR_BUSY || rv == SPATE_ERR_UNREACHABLE);
            end(loop, &attempt);
        } else {
            assert_int_equal(rv, SPATE_ERR_NOMEM);
        }
        sp_mem_fail_at(0);
        sp_loop_free(loop);
    }
    assert_int_equal(rv, SPATE_ERR_UNREACHABLE);
}

#define RESOLVE_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RESOLVE_TEST(test_resolve_says_what_is_wrong_with_a_name),
        RESOLVE_TEST(test_resolve_holds_up_neither_a_stream_nor_its_loop),
        RESOLVE_TEST(test_resolve_answer_that_nobody_reads_is_freed),
        RESOLVE_TEST(test_resolve_late_answer_serves_the_next_attempt),
        RESOLVE_TEST(test_resolve_answer_between_attempts_is_kept),
        RESOLVE_TEST(test_resolve_two_attempts_share_a_question),
        RESOLVE_TEST(test_resolve_asks_for_a_few_names_at_once),
        RESOLVE_TEST(test_resolve_survives_every_failing_allocation),
    };
    return cmocka_run_group_tests_name("io/resolve", tests, NULL, NULL);
}
