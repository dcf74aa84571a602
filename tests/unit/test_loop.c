#include "driven_loop.h"

static struct sp_deferred first;

static void test_deferred_runs_once_per_turn_before_the_hook(void **state)
{
    (void)state;
    sp_deferred_init(&first, on_first);
    sp_deferred_init(&second, on_second);
    sp_deferred_init(&third, on_third);
    sp_loop_add_before_sleep(loop, &hook, on_hook);
    sp_loop_defer(loop, &first);
    sp_loop_defer(loop, &first);
    sp_loop_defer(loop, &second);
    assert_string_equal(events, "");
    sp_loop_run(loop);
    assert_memory_equal(events, "13h", 3);
    assert_null(strchr(events + 3, '1'));
    assert_null(strchr(events, '2'));
    sp_loop_remove_before_sleep(&hook);
}

static unsigned chain_left;
static bool chain_ended;

static void on_chain(struct sp_deferred *deferred)
{
    chain_left -= 1;
    chain_ended = chain_left == 0;
    if (!chain_ended) {
        sp_loop_defer(loop, deferred);
    }
}

/* A chain longer than one turn allows must go on at once: a sleep would last until the deadline. */
static void test_deferred_chain_never_lets_the_loop_sleep(void **state)
{
    uint64_t start_ms = sp_loop_now_ms(loop);

    (void)state;
    chain_left = 1000;
    chain_ended = false;
    sp_deferred_init(&first, on_chain);
    sp_loop_defer(loop, &first);
    assert_true(sp_loop_run_until(loop, &chain_ended, start_ms + 10000));
    assert_true(sp_loop_now_ms(loop) < start_ms + 5000);
}

static unsigned hook_defers_left;

static void on_deferring_hook(struct sp_hook *called)
{
    (void)called;
    note('h');
    if (hook_defers_left > 0) {
        hook_defers_left -= 1;
        sp_loop_defer(loop, &third);
    }
}

static void test_deferred_by_hook_runs_and_hook_runs_again(void **state)
{
    (void)state;
    hook_defers_left = 2;
    sp_deferred_init(&third, on_third);
    sp_loop_add_before_sleep(loop, &hook, on_deferring_hook);
    sp_loop_run(loop);
    assert_string_equal(events, "h3h3h");
    sp_loop_remove_before_sleep(&hook);
}

static struct sp_hook hooks[3];

static void on_changing_hook(struct sp_hook *called)
{
    note((char)('a' + (called - hooks)));
    if (called == &hooks[0] && strlen(events) == 1) {
        sp_loop_remove_before_sleep(&hooks[1]);
        sp_loop_remove_before_sleep(&hooks[0]);
    }
}

static void test_hook_may_remove_itself_and_others(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        sp_loop_add_before_sleep(loop, &hooks[i], on_changing_hook);
    }
    sp_loop_run(loop);
    assert_string_equal(events, "ac");
    sp_loop_remove_before_sleep(&hooks[2]);
}

static void on_timer(struct sp_timer *timer)
{
    (void)timer;
    note('t');
    sp_loop_defer(loop, &third);
}

static void test_hook_runs_after_timers_and_deferred_calls(void **state)
{
    struct sp_timer timer;

    (void)state;
    sp_deferred_init(&third, on_third);
    sp_timer_init(&timer, loop, on_timer);
    assert_int_equal(sp_timer_start(&timer, sp_loop_now_ms(loop) + 5), 0);
    sp_loop_add_before_sleep(loop, &hook, on_hook);
    sp_loop_run(loop);
    assert_non_null(strstr(events, "ht3h"));
    sp_loop_remove_before_sleep(&hook);
}

/* ---- running --------------------------------------------------------------------------------- */

static void test_loop_without_work_returns_at_once(void **state)
{
    bool flag = false;

    (void)state;
    sp_loop_run(loop);
    assert_false(sp_loop_run_until(loop, &flag, UINT64_MAX));
}

static void on_stop_timer(struct sp_timer *timer)
{
    note('s');
    sp_loop_stop(timer->loop);
}

static void test_loop_stop_ends_run_with_work_left(void **state)
{
    struct sp_timer soon;
    struct sp_timer late;

    (void)state;
    sp_timer_init(&soon, loop, on_stop_timer);
    sp_timer_init(&late, loop, on_timer);
    assert_int_equal(sp_timer_start(&late, sp_loop_now_ms(loop) + 600000), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(sp_timer_start(&soon, sp_loop_now_ms(loop) + 1), 0);
        sp_loop_run(loop);
    }
    assert_string_equal(events, "sss");
    sp_timer_stop(&late);
}

static bool flag_set;

static void set_flag(struct sp_deferred *deferred)
{
    (void)deferred;
    flag_set = true;
}

static void on_flag_timer(struct sp_timer *timer)
{
    sp_loop_defer(timer->loop, &first);
}

static void test_loop_run_until_sees_flag_and_deadline(void **state)
{
    struct sp_timer timer;
    struct sp_timer late;

    (void)state;
    flag_set = false;
    sp_deferred_init(&first, set_flag);
    sp_timer_init(&timer, loop, on_flag_timer);
    sp_timer_init(&late, loop, on_timer);
    assert_int_equal(sp_timer_start(&late, sp_loop_now_ms(loop) + 600000), 0);
    uint64_t deadline_ms = sp_loop_now_ms(loop) + 10;
    assert_false(sp_loop_run_until(loop, &flag_set, deadline_ms));
    assert_true(sp_loop_now_ms(loop) >= deadline_ms);
    assert_int_equal(sp_timer_start(&timer, sp_loop_now_ms(loop) + 1), 0);
    assert_true(sp_loop_run_until(loop, &flag_set, sp_loop_now_ms(loop) + 60000));
    assert_true(sp_loop_now_ms(loop) < deadline_ms + 50000);
    sp_timer_stop(&late);
}

static void busy_turn(struct sp_deferred *deferred)
{
    uint64_t now_ms = sp_loop_now_ms(loop);
    int64_t wall_ms = sp_loop_wall_ms(loop);
    uint64_t end_us = sp_loop_now_us(loop) + 5000;

    (void)deferred;
    while (sp_loop_now_us(loop) < end_us) {
        /* time passes, the turn's clocks stand */
    }
    assert_int_equal(sp_loop_now_ms(loop), now_ms);
    assert_int_equal(sp_loop_wall_ms(loop), wall_ms);
}

static void test_loop_clocks_stand_still_within_a_turn(void **state)
{
    uint64_t before_ms = sp_loop_now_ms(loop);

    (void)state;
    sp_deferred_init(&first, busy_turn);
    sp_loop_defer(loop, &first);
    sp_loop_run(loop);
    assert_true(sp_loop_now_ms(loop) >= before_ms + 5);
    assert_true(sp_loop_wall_ms(loop) > INT64_C(1500000000000));
    assert_true(sp_loop_now_us(loop) / 1000 - sp_loop_now_ms(loop) <= 1000);
}

static void test_loop_random_numbers_differ(void **state)
{
    uint64_t set_bits = 0;

    (void)state;
    assert_true(sp_loop_random(loop) != sp_loop_random(loop));
    for (unsigned i = 0; i < 100; i++) {
        set_bits |= sp_loop_random(loop);
    }
    assert_true(set_bits == UINT64_MAX);
}

/* ---- signals --------------------------------------------------------------------------------- */

static void on_terminate(void *arg)
{
    assert_string_equal(arg, "node");
    note('T');
    sp_loop_stop(loop);
}

static void test_loop_terminate_signal_reaches_the_callback(void **state)
{
    struct sp_timer late;

    (void)state;
    assert_int_equal(sp_loop_on_terminate(loop, on_terminate, (void *)(uintptr_t) "node"), 0);
    sp_loop_run(loop); /* the watcher alone does not keep it alive */
    assert_string_equal(events, "");
    sp_timer_init(&late, loop, on_timer);
    assert_int_equal(sp_timer_start(&late, sp_loop_now_ms(loop) + 20000), 0);
    assert_int_equal(raise(SIGTERM), 0);
    sp_loop_run(loop);
    assert_int_equal(raise(SIGINT), 0);
    sp_loop_run(loop);
    assert_string_equal(events, "TT");
    assert_int_equal(raise(SIGPIPE), 0);
    sp_timer_stop(&late);
}

static void test_loop_new_survives_every_failing_allocation(void **state)
{
    struct sp_loop *other = NULL;
    uint64_t before = sp_mem_live_count();
    int rv = SPATE_ERR_NOMEM;
    uint64_t n = 0;

    (void)state;
    while (rv == SPATE_ERR_NOMEM) {
        n += 1;
        sp_mem_fail_at(n);
        rv = sp_loop_new(1, &other);
        assert_true(rv == 0 || sp_mem_live_count() == before);
    }
    sp_mem_fail_at(0);
    assert_int_equal(rv, 0);
    assert_true(n > 1);
    sp_loop_free(other);
    sp_loop_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOOP_TEST(test_deferred_runs_once_per_turn_before_the_hook),
        LOOP_TEST(test_deferred_chain_never_lets_the_loop_sleep),
        LOOP_TEST(test_deferred_by_hook_runs_and_hook_runs_again),
        LOOP_TEST(test_hook_may_remove_itself_and_others),
        LOOP_TEST(test_hook_runs_after_timers_and_deferred_calls),
        LOOP_TEST(test_loop_without_work_returns_at_once),
        LOOP_TEST(test_loop_stop_ends_run_with_work_left),
        LOOP_TEST(test_loop_run_until_sees_flag_and_deadline),
        LOOP_TEST(test_loop_clocks_stand_still_within_a_turn),
        LOOP_TEST(test_loop_random_numbers_differ),
        LOOP_TEST(test_loop_terminate_signal_reaches_the_callback),
        LOOP_TEST(test_loop_new_survives_every_failing_allocation),
    };
    return cmocka_run_group_tests_name("io/loop", tests, NULL, NULL);
}
