/* Worker threads of one loop: jobs go out through a locked queue and come back by uv_async.
 *
 *   loop thread --> queue --> worker thread --> finished --> loop thread
 *
 * Those of yielding jobs come behind the others in `threads`, and behind them when the kernel
 * shares out the processors: whoever wakes beside them runs at once. Without that each of the many
 * steps of an acknowledgement waits for the end of their time slices, a few milliseconds each.
 *
 * The lock guards queue, list and `ending`; everything else belongs to the loop thread. */
#include <stddef.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "io/job_queue.h"
#include "io/loop_body.h"
#include "spate/error.h"

enum {
    YIELDING_NICE = 5, /* a third of the weight of others */
};

struct sp_workers {
    uv_async_t wake; /* referenced while jobs are outstanding */
    uv_mutex_t lock;
    uv_cond_t job_waits;
    uv_cond_t yielding_waits;
    struct sp_job_queue queue;
    struct sp_list finished;
    bool ending;
    size_t outstanding; /* started, `done` not yet called */
    unsigned job_count; /* of `threads`, those that take no yielding jobs */
    unsigned count;     /* threads that run */
    uv_thread_t threads[];
};

typedef struct sp_job *(*take_fn)(struct sp_job_queue *queue);

/* The next job, or NULL when the threads shall end. */
static struct sp_job *take_job(struct sp_workers *workers, uv_cond_t *waits, take_fn take)
{
    uv_mutex_lock(&workers->lock);
    struct sp_job *job = take(&workers->queue);
    while (job == NULL && !workers->ending) {
        uv_cond_wait(waits, &workers->lock);
        job = take(&workers->queue);
    }
    uv_mutex_unlock(&workers->lock);
    return job;
}

static void run_jobs(struct sp_workers *workers, uv_cond_t *waits, take_fn take)
{
    for (;;) {
        struct sp_job *job = take_job(workers, waits, take);
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
    }
}

static void run_worker(void *arg)
{
    struct sp_workers *workers = arg;

    run_jobs(workers, &workers->job_waits, sp_job_queue_take);
}

static void run_yielding_worker(void *arg)
{
    struct sp_workers *workers = arg;

    (void)nice(YIELDING_NICE); /* on Linux of this thread alone; a smaller share needs no right */
    run_jobs(workers, &workers->yielding_waits, sp_job_queue_take_yielding);
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
    sp_job_queue_add(&workers->queue, job);
    uv_cond_signal(job->is_yielding ? &workers->yielding_waits : &workers->job_waits);
    uv_mutex_unlock(&workers->lock);
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

static unsigned yielding_count(void)
{
    unsigned half = uv_available_parallelism() / 2;

    if (half < 1) {
        return 1;
    }
    return half < SP_YIELDING_WORKERS_MAX ? half : SP_YIELDING_WORKERS_MAX;
}

static int start_threads(struct sp_workers *workers, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uv_thread_cb run = i < workers->job_count ? run_worker : run_yielding_worker;

        if (uv_thread_create(&workers->threads[i], run, workers) != 0) {
            return SPATE_ERR_INTERNAL;
        }
        workers->count += 1;
    }
    return 0;
}

static int init_parts(struct sp_loop *loop, struct sp_workers *workers)
{
    if (uv_mutex_init(&workers->lock) != 0) {
        return SPATE_ERR_INTERNAL;
    }
    if (uv_cond_init(&workers->job_waits) != 0) {
        uv_mutex_destroy(&workers->lock);
        return SPATE_ERR_INTERNAL;
    }
    if (uv_cond_init(&workers->yielding_waits) != 0) {
        uv_cond_destroy(&workers->job_waits);
        uv_mutex_destroy(&workers->lock);
        return SPATE_ERR_INTERNAL;
    }
    if (uv_async_init(&loop->uv, &workers->wake, on_wake) != 0) {
        uv_cond_destroy(&workers->yielding_waits);
        uv_cond_destroy(&workers->job_waits);
        uv_mutex_destroy(&workers->lock);
        return SPATE_ERR_INTERNAL;
    }
    workers->wake.data = workers;
    uv_unref((uv_handle_t *)&workers->wake);
    return 0;
}

int sp_workers_new(struct sp_loop *loop, unsigned count, struct sp_workers **out_workers)
{
    SP_ASSERT(count > 0);
    unsigned all = count + yielding_count();
    struct sp_workers *workers =
        sp_mem_calloc(1, sizeof *workers + all * sizeof workers->threads[0]);
    if (workers == NULL) {
        return SPATE_ERR_NOMEM;
    }
    workers->job_count = count;
    sp_job_queue_init(&workers->queue, count);
    sp_list_init(&workers->finished);
    int rv = init_parts(loop, workers);
    if (rv != 0) {
        sp_mem_free(workers);
        return rv;
    }
    *out_workers = workers; /* from here on the loop's end cleans up, however many threads run */
    return start_threads(workers, all);
}

void sp_workers_end(struct sp_workers *workers)
{
    if (workers == NULL) {
        return;
    }
    SP_ASSERT(workers->outstanding == 0);
    uv_mutex_lock(&workers->lock);
    workers->ending = true;
    uv_cond_broadcast(&workers->job_waits);
    uv_cond_broadcast(&workers->yielding_waits);
    uv_mutex_unlock(&workers->lock);
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
    uv_cond_destroy(&workers->yielding_waits);
    uv_cond_destroy(&workers->job_waits);
    uv_mutex_destroy(&workers->lock);
    sp_mem_free(workers);
}
