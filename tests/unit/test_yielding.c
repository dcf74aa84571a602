#include "io/loop.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <time.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/mem.h"
#include "io/job_queue.h"

enum {
    WORKERS = 3,
    HELD = 2 * (WORKERS + SP_YIELDING_WORKERS_MAX), /* more than all threads could run */
    PATIENT_US = 20000,
};

static struct sp_loop *loop;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
static unsigned held_running;
static unsigned held_running_max;
static unsigned others_done;
static int yielding_nice;
static int other_nice;

static int nice_of_this_thread(void)
{
    return getpriority(PRIO_PROCESS, 0);
}

/* A yielding job: ends when all other jobs have. */
static void do_held(struct sp_job *job)
{
    (void)job;
    pthread_mutex_lock(&lock);
    held_running += 1;
    held_running_max = held_running > held_running_max ? held_running : held_running_max;
    yielding_nice = nice_of_this_thread();
    while (others_done < WORKERS) {
        pthread_cond_wait(&moved, &lock);
    }
    held_running -= 1;
    pthread_mutex_unlock(&lock);
}

static void do_other(struct sp_job *job)
{
    (void)job;
    pthread_mutex_lock(&lock);
    other_nice = nice_of_this_thread();
    others_done += 1;
    pthread_cond_broadcast(&moved);
    pthread_mutex_unlock(&lock);
}

static void on_done(struct sp_job *job)
{
    assert_ptr_equal(job->loop, loop);
}

static void test_yielding_jobs_hold_up_no_others(void **state)
{
    static struct sp_job held[HELD];
    static struct sp_job others[WORKERS];

    (void)state;
    assert_int_equal(sp_loop_new(WORKERS, &loop), 0);
    for (unsigned i = 0; i < HELD; i++) {
        sp_job_start_yielding(loop, &held[i], do_held, on_done);
    }
    sp_job_start(loop, &others[0], do_other, on_done);
    sp_job_start_short(loop, &others[1], do_other, on_done);
    sp_job_start_urgent(loop, &others[2], do_other, on_done);
    sp_loop_run(loop); /* would hang if yielding jobs held the workers of others */
    assert_int_equal(others_done, WORKERS);
    assert_in_range(held_running_max, 1, SP_YIELDING_WORKERS_MAX);
    assert_true(yielding_nice > other_nice);
    assert_int_equal(other_nice, nice_of_this_thread());
    sp_loop_free(loop);
    assert_int_equal(sp_mem_live_count(), 0);
}

/* ---- patient jobs ---------------------------------------------------------------------------- */

static uint64_t clock_us(clockid_t clock)
{
    struct timespec now;

    assert_int_equal(clock_gettime(clock, &now), 0);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t patient_used_us;
static uint64_t patient_took_us;

/* Uses a processor in short steps. */
static void do_patient(struct sp_job *job)
{
    uint64_t begun_us = clock_us(CLOCK_MONOTONIC);
    uint64_t used_us = clock_us(CLOCK_THREAD_CPUTIME_ID);

    while (clock_us(CLOCK_THREAD_CPUTIME_ID) < used_us + PATIENT_US) {
        sp_job_rest(job);
    }
    patient_used_us = clock_us(CLOCK_THREAD_CPUTIME_ID) - used_us;
    patient_took_us = clock_us(CLOCK_MONOTONIC) - begun_us;
}

/* A patient job leaves the processor to others for three quarters of the time. */
static void test_patient_job_rests(void **state)
{
    static struct sp_job job;

    (void)state;
    assert_int_equal(sp_loop_new(WORKERS, &loop), 0);
    sp_job_start_patient(loop, &job, do_patient, on_done);
    sp_loop_run(loop);
    assert_true(patient_used_us >= PATIENT_US);
    assert_true(patient_took_us >= 3 * patient_used_us);
    sp_loop_free(loop);
    assert_int_equal(sp_mem_live_count(), 0);
}

/* A patient job: ends when all yielding ones have. */
static void do_last(struct sp_job *job)
{
    (void)job;
    pthread_mutex_lock(&lock);
    while (others_done < WORKERS) {
        pthread_cond_wait(&moved, &lock);
    }
    pthread_mutex_unlock(&lock);
}

static void test_patient_jobs_hold_up_no_others(void **state)
{
    static struct sp_job patient[HELD];
    static struct sp_job others[WORKERS];

    (void)state;
    others_done = 0;
    assert_int_equal(sp_loop_new(WORKERS, &loop), 0);
    for (unsigned i = 0; i < HELD; i++) {
        sp_job_start_patient(loop, &patient[i], do_last, on_done);
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        sp_job_start_yielding(loop, &others[i], do_other, on_done);
    }
    sp_loop_run(loop); /* would hang if patient jobs held the workers of yielding ones */
    assert_int_equal(others_done, WORKERS);
    sp_loop_free(loop);
    assert_int_equal(sp_mem_live_count(), 0);
}

static void test_job_queue_keeps_patient_jobs_apart(void **state)
{
    struct sp_job jobs[2] = { { .is_patient = true }, { .is_yielding = true } };
    struct sp_job_queue queue;

    (void)state;
    sp_job_queue_init(&queue, 2);
    for (unsigned i = 0; i < 2; i++) {
        sp_list_init(&jobs[i].node);
        sp_job_queue_add(&queue, &jobs[i]);
    }
    assert_null(sp_job_queue_take(&queue));
    assert_ptr_equal(sp_job_queue_take_yielding(&queue), &jobs[1]);
    assert_null(sp_job_queue_take_yielding(&queue));
    assert_ptr_equal(sp_job_queue_take_patient(&queue), &jobs[0]);
    assert_null(sp_job_queue_take_patient(&queue));
    sp_job_queue_end(&queue, &jobs[0]);
    assert_int_equal(queue.long_running, 0);
}

static void test_job_queue_keeps_yielding_jobs_apart(void **state)
{
    struct sp_job jobs[3] = { { .is_yielding = true },
                              { .is_yielding = true },
                              { .is_short = false } };
    struct sp_job_queue queue;

    (void)state;
    sp_job_queue_init(&queue, 2);
    assert_null(sp_job_queue_take_yielding(&queue));
    for (unsigned i = 0; i < 3; i++) {
        sp_list_init(&jobs[i].node);
        sp_job_queue_add(&queue, &jobs[i]);
    }
    assert_ptr_equal(sp_job_queue_take_yielding(&queue), &jobs[0]);
    assert_ptr_equal(sp_job_queue_take(&queue), &jobs[2]);
    assert_null(sp_job_queue_take(&queue));
    sp_job_queue_end(&queue, &jobs[0]); /* it was not one of the long ones */
    assert_int_equal(queue.long_running, 1);
    assert_ptr_equal(sp_job_queue_take_yielding(&queue), &jobs[1]);
    assert_null(sp_job_queue_take_yielding(&queue));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_yielding_jobs_hold_up_no_others),
        cmocka_unit_test(test_job_queue_keeps_yielding_jobs_apart),
        cmocka_unit_test(test_patient_job_rests),
        cmocka_unit_test(test_patient_jobs_hold_up_no_others),
        cmocka_unit_test(test_job_queue_keeps_patient_jobs_apart),
    };
    return cmocka_run_group_tests_name("io/yielding", tests, NULL, NULL);
}
