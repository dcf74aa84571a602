#include "io/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rand.h"
#include "spate/error.h"

enum {
    TIMERS = 500,
    ROUNDS = 3000,
};

struct watched {
    struct sp_timer timer;
    unsigned fired;
    uint64_t fired_ms;
    uint64_t asked_ms;
};

static unsigned order[TIMERS];
static unsigned order_count;
static struct watched timers[TIMERS];

static void on_timer(struct sp_timer *timer)
{
    struct watched *watched = SP_CONTAINER_OF(timer, struct watched, timer);

    assert_false(sp_timer_active(timer));
    watched->fired += 1;
    watched->fired_ms = sp_loop_now_ms(timer->loop);
    order[order_count] = (unsigned)(watched - timers);
    order_count += 1;
}

static int set_up(void **state)
{
    static struct sp_loop *loop;

    assert_int_equal(sp_loop_new(0, &loop), 0);
    order_count = 0;
    for (unsigned i = 0; i < TIMERS; i++) {
        timers[i] = (struct watched){ .fired = 0 };
        sp_timer_init(&timers[i].timer, loop, on_timer);
    }
    *state = loop;
    return 0;
}

static int tear_down(void **state)
{
    sp_loop_free(*state);
    assert_int_equal(sp_mem_live_count(), 0);
    return 0;
}

static void test_timer_same_time_fires_in_order_of_start(void **state)
{
    uint64_t due_ms = sp_loop_now_ms(*state) + 5;

    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(sp_timer_start(&timers[(i * 7) % 20].timer, due_ms), 0);
    }
    assert_int_equal(sp_timer_start(&timers[20].timer, due_ms - 1), 0);
    sp_loop_run(*state);
    assert_int_equal(order_count, 21);
    assert_int_equal(order[0], 20);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(order[i + 1], (i * 7) % 20);
    }
    assert_true(timers[0].fired_ms >= due_ms);
    assert_true(timers[0].fired_ms < due_ms + 1000);
}

static void test_timer_stopped_or_moved_does_not_fire_at_old_time(void **state)
{
    uint64_t now_ms = sp_loop_now_ms(*state);

    assert_int_equal(sp_timer_start(&timers[0].timer, now_ms + 5), 0);
    assert_int_equal(sp_timer_start(&timers[1].timer, now_ms + 1), 0);
    assert_int_equal(sp_timer_start(&timers[2].timer, now_ms + 60000), 0);
    assert_int_equal(sp_timer_start(&timers[1].timer, now_ms + 10), 0);
    assert_int_equal(sp_timer_start(&timers[2].timer, now_ms + 2), 0);
    sp_timer_stop(&timers[0].timer);
    sp_timer_stop(&timers[0].timer);
    sp_loop_run(*state);
    assert_int_equal(order_count, 2);
    assert_int_equal(order[0], 2);
    assert_int_equal(order[1], 1);
    assert_true(timers[1].fired_ms >= now_ms + 10);
}

/* The heap against a plain search: random starts, moves and stops, then everything fires sorted. */
static void test_timer_random_schedule_fires_sorted(void **state)
{
    struct sp_rand rand;
    unsigned active = 0;
    uint64_t base_ms = sp_loop_now_ms(*state) + 5;

    sp_rand_init(&rand, 3);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct watched *watched = &timers[sp_rand_below(&rand, TIMERS)];
        if (sp_rand_below(&rand, 3) == 0) {
            sp_timer_stop(&watched->timer);
        } else {
            watched->asked_ms = base_ms + sp_rand_below(&rand, 40);
            assert_int_equal(sp_timer_start(&watched->timer, watched->asked_ms), 0);
        }
    }
    for (unsigned i = 0; i < TIMERS; i++) {
        active += sp_timer_active(&timers[i].timer);
    }
    assert_true(active > 100);
    sp_loop_run(*state);
    assert_int_equal(order_count, active);
    for (unsigned i = 1; i < active; i++) {
        const struct sp_timer *before = &timers[order[i - 1]].timer;
        const struct sp_timer *after = &timers[order[i]].timer;
        assert_true(before->due_ms < after->due_ms ||
                    (before->due_ms == after->due_ms && before->order < after->order));
        assert_true(timers[order[i]].fired_ms >= timers[order[i]].asked_ms);
    }
}

static unsigned turns;

static void count_turn(struct sp_hook *hook)
{
    (void)hook;
    turns += 1;
}

static void restart_in_the_past(struct sp_timer *timer)
{
    struct watched *watched = SP_CONTAINER_OF(timer, struct watched, timer);

    watched->fired += 1;
    /* Neither may run ahead of the other. */
    assert_true(timers[0].fired + timers[1].fired - 2 * watched->fired + 1 <= 2);
    if (watched->fired < 10) {
        assert_int_equal(sp_timer_start(timer, (uint64_t)(watched - timers)), 0);
    }
}

static void test_timer_restarted_in_the_past_fires_once_a_turn(void **state)
{
    struct sp_hook hook;

    turns = 0;
    sp_loop_add_before_sleep(*state, &hook, count_turn);
    sp_timer_init(&timers[0].timer, *state, restart_in_the_past);
    sp_timer_init(&timers[1].timer, *state, restart_in_the_past);
    assert_int_equal(sp_timer_start(&timers[0].timer, 0), 0);
    assert_int_equal(sp_timer_start(&timers[1].timer, 1), 0);
    sp_loop_run(*state);
    assert_int_equal(timers[0].fired, 10);
    assert_int_equal(timers[1].fired, 10);
    assert_true(turns >= 10);
    sp_loop_remove_before_sleep(&hook);
}

static void test_timer_start_without_memory_keeps_the_old_state(void **state)
{
    uint64_t now_ms = sp_loop_now_ms(*state);
    unsigned started = 0;

    sp_mem_fail_at(1);
    assert_int_equal(sp_timer_start(&timers[0].timer, now_ms), SPATE_ERR_NOMEM);
    assert_false(sp_timer_active(&timers[0].timer));
    for (unsigned i = 0; i < TIMERS; i++) {
        sp_mem_fail_at(1);
        started += sp_timer_start(&timers[i].timer, now_ms) == 0;
        sp_mem_fail_at(0);
        assert_int_equal(sp_timer_start(&timers[i].timer, now_ms), 0);
    }
    assert_true(started > TIMERS - 10);
    sp_loop_run(*state);
    assert_int_equal(order_count, TIMERS);
}

#define TIMER_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TIMER_TEST(test_timer_same_time_fires_in_order_of_start),
        TIMER_TEST(test_timer_stopped_or_moved_does_not_fire_at_old_time),
        TIMER_TEST(test_timer_random_schedule_fires_sorted),
        TIMER_TEST(test_timer_restarted_in_the_past_fires_once_a_turn),
        TIMER_TEST(test_timer_start_without_memory_keeps_the_old_state),
    };
    return cmocka_run_group_tests_name("io/timer", tests, NULL, NULL);
}
