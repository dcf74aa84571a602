/* Worker threads of one loop: jobs go out through a locked queue and come back by uv_async.
 *
 *   loop thread --> queue --> worker thread --> finished --> loop thread
 *
 * Those of yielding jobs come behind the others in `threads`, and behind them when the kernel
 * shares out the processors: whoever wakes beside them runs at once. Without that each of the many
 * steps of an acknowledgement waits for the end of their time slices, a few milliseconds each. The
 * last one, of patient jobs, ends its slices itself. (SCHED_IDLE would do without, but who holds a
 * lock there keeps the loop waiting for as long as others use the processors.)
 *
 * Threads of a kind sleep at a semaphore, which is posted once for each that is to wake, and with
 * the lock free: who wakes finds it so. (Behind a condition variable the woken thread would meet
 * the waker's lock, and glibc hands it over with calls of the kernel: five for each job in place of
 * two.) When none sleeps nobody is woken: whoever ends a job takes the next one.
 *
 * The lock guards queue, list, `sleeping` and `ending`; all else belongs to the loop thread. */
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "io/job_queue.h"
#include "io/loop_body.h"
#include "spate/error.h"

enum {
    YIELDING_NICE = 5, /* a third of the weight of others */
    PATIENT_WORKERS = 1,
    REST_AFTER_NS = 100 * 1000, /* on a processor */
    REST_RATIO = 3,
    REST_NS_MAX = 50 * 1000 * 1000,
};

struct bed {
    uv_sem_t wake;
    unsigned sleeping; /* threads that nobody has posted for yet */
};

struct sp_workers {
    uv_async_t wake; /* referenced while jobs are outstanding */
    uv_mutex_t lock;
    struct bed jobs;
    struct bed yielding;
    struct bed patient;
    struct sp_job_queue queue;
    struct sp_list finished;
    bool ending;
    size_t outstanding; /* started, `done` not yet called */
    unsigned job_count; /* of `threads`, those that take neither yielding nor patient jobs */
    unsigned all_count; /* of them all; the last PATIENT_WORKERS take patient jobs */
    unsigned count;     /* threads that run */
    uv_thread_t threads[];
};

typedef struct sp_job *(*take_fn)(struct sp_job_queue *queue);

static _Thread_local uint64_t rested_ns; /* processor time of this thread when it rested last */

static uint64_t thread_used_ns(void)
{
    struct timespec used;

    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used) != 0) {
        return rested_ns; /* no such clock: no rest */
    }
    return (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec;
}

/* Leaves the processor to others, for longer than it was used. */
static void rest(void)
{
    uint64_t used_ns = thread_used_ns() - rested_ns;

    if (used_ns < REST_AFTER_NS) {
        return;
    }
    uint64_t rest_ns = used_ns * REST_RATIO < REST_NS_MAX ? used_ns * REST_RATIO : REST_NS_MAX;
    const struct timespec duration = { .tv_nsec = (long)rest_ns };
    (void)nanosleep(&duration, NULL); /* ends early for a signal: no matter */
    rested_ns = thread_used_ns();
}

void sp_job_rest(const struct sp_job *job)
{
    if (job->is_patient) {
        rest();
    }
}

/* The next job, or NULL when the threads shall end. */
static struct sp_job *take_job(struct sp_workers *workers, struct bed *bed, take_fn take)
{
    uv_mutex_lock(&workers->lock);
    struct sp_job *job = take(&workers->queue);
    while (job == NULL && !workers->ending) {
        bed->sleeping += 1;
        uv_mutex_unlock(&workers->lock);
        uv_sem_wait(&bed->wake);
        uv_mutex_lock(&workers->lock);
        job = take(&workers->queue);
    }
    uv_mutex_unlock(&workers->lock);
    return job;
}

static void run_jobs(struct sp_workers *workers, struct bed *bed, take_fn take)
{
    for (;;) {
        struct sp_job *job = take_job(workers, bed, take);
        if (job == NULL) {
            return;
        }
        job->work(job);
        uv_mutex_lock(&workers->lock);
        sp_job_queue_end(&workers->queue, job); /* who may run now, this thread takes next */
        bool first = sp_list_empty(&workers->finished);
        sp_list_append(&workers->finished, &job->node);
        uv_mutex_unlock(&workers->lock);
        if (first) {
            (void)uv_async_send(&workers->wake); /* fails only for handles of another kind */
        }
        if (bed == &workers->patient) {
            rest();
        }
    }
}

static void run_worker(void *arg)
{
    struct sp_workers *workers = arg;

    (void)pthread_setname_np(pthread_self(), "sp-disk"); /* for those who look; short enough */
    run_jobs(workers, &workers->jobs, sp_job_queue_take);
}

static void run_yielding_worker(void *arg)
{
    struct sp_workers *workers = arg;

    (void)pthread_setname_np(pthread_self(), "sp-read"); /* as above */
    (void)nice(YIELDING_NICE); /* on Linux of this thread alone; a smaller share needs no right */
    run_jobs(workers, &workers->yielding, sp_job_queue_take_yielding);
}

static void run_patient_worker(void *arg)
{
    struct sp_workers *workers = arg;

    (void)nice(YIELDING_NICE);
    run_jobs(workers, &workers->patient, sp_job_queue_take_patient);
}

static struct bed *bed_of(struct sp_workers *workers, const struct sp_job *job)
{
    if (job->is_patient) {
        return &workers->patient;
    }
    return job->is_yielding ? &workers->yielding : &workers->jobs;
}

static void on_wake(uv_async_t *wake)
{
    struct sp_workers *workers = wake->data;
    struct sp_list batch;

    sp_list_init(&batch);
    uv_mutex_lock(&workers->lock);
    sp_list_move(&batch, &workers->finished);
    uv_mutex_unlock(&workers->lock);
    while (!sp_list_empty(&batch)) {
        struct sp_job *job = SP_LIST_ENTRY(batch.next, struct sp_job, node);
        sp_list_remove(&job->node);
        workers->outstanding -= 1;
        if (workers->outstanding == 0) {
            uv_unref((uv_handle_t *)&workers->wake);
        }
        job->done(job);
    }
}

static void start(struct sp_loop *loop, struct sp_job *job)
{
    struct sp_workers *workers = loop->workers;

    SP_ASSERT(workers != NULL);
    if (workers->outstanding == 0) {
        uv_ref((uv_handle_t *)&workers->wake);
    }
    workers->outstanding += 1;
    uv_mutex_lock(&workers->lock);
    struct bed *bed = bed_of(workers, job);
    bool wakes = bed->sleeping > 0;
    bed->sleeping -= wakes ? 1 : 0;
    sp_job_queue_add(&workers->queue, job);
    uv_mutex_unlock(&workers->lock);
    if (wakes) {
        uv_sem_post(&bed->wake); /* the job itself may be done by now */
    }
}

void sp_job_start(struct sp_loop *loop,
                  struct sp_job *job,
                  void (*work)(struct sp_job *job),
                  void (*done)(struct sp_job *job))
{
    *job = (struct sp_job){ .loop = loop, .work = work, .done = done };
    start(loop, job);
}

void sp_job_start_short(struct sp_loop *loop,
                        struct sp_job *job,
                        void (*work)(struct sp_job *job),
                        void (*done)(struct sp_job *job))
{
    *job = (struct sp_job){ .loop = loop, .is_short = true, .work = work, .done = done };
    start(loop, job);
}

void sp_job_start_urgent(struct sp_loop *loop,
                         struct sp_job *job,
                         void (*work)(struct sp_job *job),
                         void (*done)(struct sp_job *job))
{
    *job = (struct sp_job){
        .loop = loop, .is_short = true, .is_urgent = true, .work = work, .done = done
    };
    start(loop, job);
}

void sp_job_start_yielding(struct sp_loop *loop,
                           struct sp_job *job,
                           void (*work)(struct sp_job *job),
                           void (*done)(struct sp_job *job))
{
    *job = (struct sp_job){ .loop = loop, .is_yielding = true, .work = work, .done = done };
    start(loop, job);
}

void sp_job_start_patient(struct sp_loop *loop,
                          struct sp_job *job,
                          void (*work)(struct sp_job *job),
                          void (*done)(struct sp_job *job))
{
    *job = (struct sp_job){ .loop = loop, .is_patient = true, .work = work, .done = done };
    start(loop, job);
}

static unsigned yielding_count(void)
{
    unsigned half = uv_available_parallelism() / 2;

    if (half < 1) {
        return 1;
    }
    return half < SP_YIELDING_WORKERS_MAX ? half : SP_YIELDING_WORKERS_MAX;
}

static uv_thread_cb role_of(const struct sp_workers *workers, unsigned number)
{
    if (number < workers->job_count) {
        return run_worker;
    }
    return number < workers->all_count - PATIENT_WORKERS ? run_yielding_worker : run_patient_worker;
}

static int start_threads(struct sp_workers *workers)
{
    for (unsigned i = 0; i < workers->all_count; i++) {
        if (uv_thread_create(&workers->threads[i], role_of(workers, i), workers) != 0) {
            return SPATE_ERR_INTERNAL;
        }
        workers->count += 1;
    }
    return 0;
}

static int init_semaphores(struct sp_workers *workers)
{
    uv_sem_t *all[] = { &workers->jobs.wake, &workers->yielding.wake, &workers->patient.wake };

    for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (uv_sem_init(all[i], 0) != 0) {
            while (i > 0) {
                i -= 1;
                uv_sem_destroy(all[i]);
            }
            return SPATE_ERR_INTERNAL;
        }
    }
    return 0;
}

static void destroy_locks(struct sp_workers *workers)
{
    uv_sem_destroy(&workers->patient.wake);
    uv_sem_destroy(&workers->yielding.wake);
    uv_sem_destroy(&workers->jobs.wake);
    uv_mutex_destroy(&workers->lock);
}

static int init_parts(struct sp_loop *loop, struct sp_workers *workers)
{
    if (uv_mutex_init(&workers->lock) != 0) {
        return SPATE_ERR_INTERNAL;
    }
    if (init_semaphores(workers) != 0) {
        uv_mutex_destroy(&workers->lock);
        return SPATE_ERR_INTERNAL;
    }
    if (uv_async_init(&loop->uv, &workers->wake, on_wake) != 0) {
        destroy_locks(workers);
        return SPATE_ERR_INTERNAL;
    }
    workers->wake.data = workers;
    uv_unref((uv_handle_t *)&workers->wake);
    return 0;
}

int sp_workers_new(struct sp_loop *loop, unsigned count, struct sp_workers **out_workers)
{
    SP_ASSERT(count > 0);
    unsigned all = count + yielding_count() + PATIENT_WORKERS;
    struct sp_workers *workers =
        sp_mem_calloc(1, sizeof *workers + all * sizeof workers->threads[0]);
    if (workers == NULL) {
        return SPATE_ERR_NOMEM;
    }
    workers->job_count = count;
    workers->all_count = all;
    sp_job_queue_init(&workers->queue, count);
    sp_list_init(&workers->finished);
    int rv = init_parts(loop, workers);
    if (rv != 0) {
        sp_mem_free(workers);
        return rv;
    }
    *out_workers = workers; /* from here on the loop's end cleans up, however many threads run */
    return start_threads(workers);
}

void sp_workers_end(struct sp_workers *workers)
{
    if (workers == NULL) {
        return;
    }
    SP_ASSERT(workers->outstanding == 0);
    uv_mutex_lock(&workers->lock);
    workers->ending = true;
    uv_mutex_unlock(&workers->lock);
    for (unsigned i = 0; i < workers->count; i++) {
        uv_sem_post(&workers->jobs.wake); /* more than there are of each kind */
        uv_sem_post(&workers->yielding.wake);
        uv_sem_post(&workers->patient.wake);
    }
    for (unsigned i = 0; i < workers->count; i++) {
        int rv = uv_thread_join(&workers->threads[i]);
        SP_ASSERT(rv == 0);
    }
    uv_close((uv_handle_t *)&workers->wake, NULL);
}

void sp_workers_free(struct sp_workers *workers)
{
    if (workers == NULL) {
        return;
    }
    destroy_locks(workers);
    sp_mem_free(workers);
}
