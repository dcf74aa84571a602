/* Work on other threads: the queue of jobs, and how a loop hears of their end. */
#include "driven_loop.h"

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

static struct sp_deferred after;
static bool is_late;

static void note_deferred(struct sp_deferred *deferred)
{
    (void)deferred;
    note('d');
}

static void defer_after(struct sp_job *job)
{
    (void)job;
    note('j');
    sp_loop_defer(loop, &after);
}

static void note_late(struct sp_timer *timer)
{
    (void)timer;
    note('t');
    is_late = true;
}

/* What was deferred runs before the loop sleeps, not beside a look at the sockets that finds
 * nothing: one turn, not two. */
static void test_deferred_by_a_finished_job_costs_no_empty_turn(void **state)
{
    struct work work = { .value = 0 };
    struct sp_timer timer;

    (void)state;
    is_late = false;
    sp_deferred_init(&after, note_deferred);
    sp_timer_init(&timer, loop, note_late);
    assert_int_equal(sp_timer_start(&timer, sp_loop_now_ms(loop) + 1000), 0);
    sp_loop_add_before_sleep(loop, &hook, on_hook);
    sp_job_start(loop, &work.job, do_work, defer_after);
    assert_true(sp_loop_run_until(loop, &is_late, sp_loop_now_ms(loop) + 10000));
    assert_non_null(strstr(events, "jdht"));
    sp_loop_remove_before_sleep(&hook);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOOP_TEST(test_jobs_run_on_other_threads_and_keep_the_loop_alive),
        LOOP_TEST(test_short_job_never_waits_for_long_ones),
        LOOP_TEST(test_job_queue_takes_short_jobs_first_and_long_ones_in_order),
        LOOP_TEST(test_job_queue_takes_urgent_jobs_before_short_ones),
        cmocka_unit_test(test_job_queue_starves_no_long_job),
        LOOP_TEST(test_read_share_is_equal_and_bounds_the_turn),
        LOOP_TEST(test_hook_runs_after_a_finished_job),
        LOOP_TEST(test_deferred_by_a_finished_job_costs_no_empty_turn),
    };
    return cmocka_run_group_tests_name("io/jobs", tests, NULL, NULL);
}
