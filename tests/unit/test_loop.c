#include "io/loop.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "io/job_queue.h"
#include "io/read_share.h"
#include "io/stream.h"
#include "spate/error.h"

enum {
    WORKERS = 3,
    JOBS = 2000,
    LOG_SIZE_MAX = 256,
};

static struct sp_loop *loop;
static char events[LOG_SIZE_MAX]; /* one letter for each thing that happened */

static void note(char letter)
{
    size_t size = strlen(events);

    assert_true(size + 1 < sizeof events);
    events[size] = letter;
    events[size + 1] = '\0';
}

static int set_up(void **state)
{
    (void)state;
    memset(events, 0, sizeof events);
    assert_int_equal(sp_loop_new(WORKERS, &loop), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sp_loop_free(loop);
    assert_int_equal(sp_mem_live_count(), 0);
    return 0;
}

/* ---- deferred calls and hooks ---------------------------------------------------------------- */

static struct sp_deferred first;
static struct sp_deferred second;
static struct sp_deferred third;
static struct sp_hook hook;

static void on_first(struct sp_deferred *deferred)
{
    (void)deferred;
    note('1');
    sp_loop_defer(loop, &third);
    sp_deferred_cancel(&second);
}

static void on_second(struct sp_deferred *deferred)
{
    (void)deferred;
    note('2');
}

static void on_third(struct sp_deferred *deferred)
{
    (void)deferred;
    note('3');
}

static void on_hook(struct sp_hook *called)
{
    (void)called;
    note('h');
}

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

/* ---- jobs ------------------------------------------------------------------------------------ */

struct work {
    struct sp_job job;
    pthread_t thread;
    unsigned value;
};

static struct work works[JOBS];
static unsigned works_done;

static void do_work(struct sp_job *job)
{
    struct work *work = SP_CONTAINER_OF(job, struct work, job);

    work->thread = pthread_self();
    work->value += 1;
}

static void on_work_done(struct sp_job *job)
{
    struct work *work = SP_CONTAINER_OF(job, struct work, job);

    assert_ptr_equal(job->loop, loop);
    assert_false(pthread_equal(work->thread, pthread_self()));
    assert_int_equal(work->value % 2, 1);
    work->value += 1;
    works_done += 1;
    if (work->value == 2) {
        sp_job_start(loop, job, do_work, on_work_done);
    }
}

static void test_jobs_run_on_other_threads_and_keep_the_loop_alive(void **state)
{
    (void)state;
    works_done = 0;
    for (unsigned i = 0; i < JOBS; i++) {
        works[i] = (struct work){ .value = 0 };
        sp_job_start(loop, &works[i].job, do_work, on_work_done);
    }
    assert_int_equal(works_done, 0);
    sp_loop_run(loop);
    assert_int_equal(works_done, 2 * JOBS);
    for (unsigned i = 0; i < JOBS; i++) {
        assert_int_equal(works[i].value, 4);
    }
}

/* ---- short and long jobs --------------------------------------------------------------------- */

static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_moved = PTHREAD_COND_INITIALIZER;
static unsigned held_running;
static unsigned running_beside;
static bool gate_open;
static unsigned ended_count;

/* A long job: ends when the short one has run, and so shows that this one did not wait. */
static void do_held(struct sp_job *job)
{
    (void)job;
    pthread_mutex_lock(&gate_lock);
    held_running += 1;
    pthread_cond_broadcast(&gate_moved);
    while (!gate_open) {
        pthread_cond_wait(&gate_moved, &gate_lock);
    }
    pthread_mutex_unlock(&gate_lock);
}

/* Runs only when as many long jobs run as may. */
static void do_short(struct sp_job *job)
{
    (void)job;
    pthread_mutex_lock(&gate_lock);
    while (held_running < WORKERS - 1) {
        pthread_cond_wait(&gate_moved, &gate_lock);
    }
    running_beside = held_running;
    gate_open = true;
    pthread_cond_broadcast(&gate_moved);
    pthread_mutex_unlock(&gate_lock);
}

static void note_held(struct sp_job *job)
{
    (void)job;
    ended_count += 1;
}

static void test_short_job_never_waits_for_long_ones(void **state)
{
    static struct sp_job held[2 * WORKERS];
    struct sp_job brief;

    (void)state;
    held_running = 0;
    gate_open = false;
    ended_count = 0;
    for (unsigned i = 0; i < 2 * WORKERS; i++) {
        sp_job_start(loop, &held[i], do_held, note_held);
    }
    sp_job_start_short(loop, &brief, do_short, note_held);
    sp_loop_run(loop); /* would hang if long jobs held all workers */
    assert_int_equal(ended_count, 2 * WORKERS + 1);
    assert_int_equal(running_beside, WORKERS - 1);
    assert_int_equal(held_running, 2 * WORKERS);
}

static void test_job_queue_takes_short_jobs_first_and_long_ones_in_order(void **state)
{
    struct sp_job jobs[5] = { { .is_short = false },
                              { .is_short = false },
                              { .is_short = false },
                              { .is_short = true },
                              { .is_short = true } };
    struct sp_job_queue queue;

    (void)state;
    sp_job_queue_init(&queue, 3);
    assert_null(sp_job_queue_take(&queue));
    for (unsigned i = 0; i < 5; i++) {
        sp_list_init(&jobs[i].node);
        sp_job_queue_add(&queue, &jobs[i]);
    }
    assert_ptr_equal(sp_job_queue_take(&queue), &jobs[0]); /* one long job always runs */
    assert_ptr_equal(sp_job_queue_take(&queue), &jobs[3]);
    assert_ptr_equal(sp_job_queue_take(&queue), &jobs[4]);
    assert_ptr_equal(sp_job_queue_take(&queue), &jobs[1]);
    assert_null(sp_job_queue_take(&queue)); /* the last worker is for short ones */
    sp_job_queue_end(&queue, &jobs[3]);
    assert_null(sp_job_queue_take(&queue));
    sp_job_queue_end(&queue, &jobs[0]);
    assert_ptr_equal(sp_job_queue_take(&queue), &jobs[2]);
}

static void test_job_queue_takes_urgent_jobs_before_short_ones(void **state)
{
    struct sp_job jobs[3] = { { .is_short = true },
                              { .is_short = true },
                              { .is_short = true, .is_urgent = true } };
    struct sp_job_queue queue;

    (void)state;
    sp_job_queue_init(&queue, 2);
    for (unsigned i = 0; i < 3; i++) {
        sp_list_init(&jobs[i].node);
        sp_job_queue_add(&queue, &jobs[i]);
    }
    assert_ptr_equal(sp_job_queue_take(&queue), &jobs[2]);
    assert_ptr_equal(sp_job_queue_take(&queue), &jobs[0]);
    assert_ptr_equal(sp_job_queue_take(&queue), &jobs[1]);
    assert_null(sp_job_queue_take(&queue));
}

/* Short jobs that never end leave a worker to long ones; a single worker takes turns. */
static void test_job_queue_starves_no_long_job(void **state)
{
    struct sp_job long_job = { .is_short = false };
    struct sp_job brief = { .is_short = true };
    struct sp_job_queue queue;

    (void)state;
    for (unsigned workers = 1; workers <= 4; workers++) {
        unsigned long_count = 0;
        sp_job_queue_init(&queue, workers);
        sp_list_init(&long_job.node);
        sp_list_init(&brief.node);
        sp_job_queue_add(&queue, &long_job);
        sp_job_queue_add(&queue, &brief);
        for (unsigned i = 0; i < 100; i++) {
            struct sp_job *job = sp_job_queue_take(&queue);
            assert_non_null(job);
            long_count += job == &long_job;
            sp_job_queue_end(&queue, job);
            sp_job_queue_add(&queue, job);
        }
        assert_true(long_count >= 50);
        assert_true(workers > 1 || long_count == 50);
    }
}

/* ---- a turn's reading ------------------------------------------------------------------------ */

static void test_read_share_is_equal_and_bounds_the_turn(void **state)
{
    struct sp_read_share share = { .turn = 0 };

    (void)state;
    /* Nobody was hungry: the first has the whole turn, the others little. */
    assert_int_equal(sp_read_share_begin(&share, 5), SP_TURN_BYTES);
    sp_read_share_end(&share, SP_TURN_BYTES, true);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(sp_read_share_begin(&share, 5), SP_TURN_BYTES_LEAST);
        sp_read_share_end(&share, SP_TURN_BYTES_LEAST, true);
    }
    /* Four were: each has a quarter. */
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(sp_read_share_begin(&share, 6), SP_TURN_BYTES / 4);
        sp_read_share_end(&share, SP_TURN_BYTES / 4, false);
    }
    /* None was cut short, and a turn without reading forgets who was. */
    assert_int_equal(sp_read_share_begin(&share, 7), SP_TURN_BYTES);
    sp_read_share_end(&share, 1, true);
    sp_read_share_end(&share, 1, true);
    assert_int_equal(sp_read_share_begin(&share, 9), SP_TURN_BYTES);
    /* Very many are read in each turn all the same. */
    for (unsigned i = 0; i < 1000; i++) {
        sp_read_share_end(&share, 0, true);
    }
    assert_int_equal(sp_read_share_begin(&share, 10), SP_TURN_BYTES_LEAST);
}

static void note_job(struct sp_job *job)
{
    (void)job;
    note('j');
}

static void test_hook_runs_after_a_finished_job(void **state)
{
    struct work work = { .value = 0 };

    (void)state;
    sp_loop_add_before_sleep(loop, &hook, on_hook);
    sp_job_start(loop, &work.job, do_work, note_job);
    sp_loop_run(loop);
    assert_non_null(strstr(events, "hjh"));
    sp_loop_remove_before_sleep(&hook);
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

#define LOOP_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

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
        LOOP_TEST(test_jobs_run_on_other_threads_and_keep_the_loop_alive),
        LOOP_TEST(test_short_job_never_waits_for_long_ones),
        LOOP_TEST(test_job_queue_takes_short_jobs_first_and_long_ones_in_order),
        LOOP_TEST(test_job_queue_takes_urgent_jobs_before_short_ones),
        cmocka_unit_test(test_job_queue_starves_no_long_job),
        LOOP_TEST(test_read_share_is_equal_and_bounds_the_turn),
        LOOP_TEST(test_hook_runs_after_a_finished_job),
        LOOP_TEST(test_loop_terminate_signal_reaches_the_callback),
        LOOP_TEST(test_loop_new_survives_every_failing_allocation),
    };
    return cmocka_run_group_tests_name("io/loop", tests, NULL, NULL);
}
