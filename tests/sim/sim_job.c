/* Worker jobs: `work` runs as one event at a later time, its file calls add up to how long it
 * takes, `done` follows. A death in between leaves the effect; one inside is planned with the
 * disk. */
#include <stddef.h>

#include "base/assert.h"
#include "base/mem.h"
#include "sim_disk.h"
#include "sim_loop_body.h"

enum {
    YIELDING_WORKERS = 1, /* as on a machine of two processors */
    JOB_START_US = 15,    /* until a worker thread that sleeps has begun; with a tail */
};

/* A job on its way; `ready` brings it back to the loop. */
struct running_job {
    struct sim_ready ready;
    struct sp_job *job;
    struct sp_loop *loop;
};

static void start_jobs(struct sp_loop *loop);

static unsigned *running_of(struct sp_loop *loop, const struct sp_job *job)
{
    return job->is_yielding ? &loop->yielding_running : &loop->jobs_running;
}

static void tell_done(struct sim_ready *ready)
{
    struct running_job *run = SP_CONTAINER_OF(ready, struct running_job, ready);
    struct sp_job *job = run->job;

    *running_of(run->loop, job) -= 1;
    sp_job_queue_end(&run->loop->jobs, job);
    start_jobs(run->loop);
    sp_mem_free(run);
    job->done(job);
}

static void on_work_ended(void *arg)
{
    struct running_job *run = arg;

    sim_loop_post(run->loop, &run->ready);
}

static void on_work(void *arg)
{
    struct running_job *run = arg;

    (void)sim_disk_take_cost_us();
    run->job->work(run->job);
    uint64_t cost_us = 1 + sim_disk_take_cost_us();
    (void)sim_at(sim.now_us + cost_us, SIM_EVENT_DONE, run->loop->process, on_work_ended, run);
}

/* What a worker that is free takes, or NULL. */
static struct sp_job *next_job(struct sp_loop *loop)
{
    struct sp_job *job = NULL;

    if (loop->jobs_running < loop->workers) {
        job = sp_job_queue_take(&loop->jobs);
    }
    if (job == NULL && loop->yielding_running < YIELDING_WORKERS) {
        job = sp_job_queue_take_yielding(&loop->jobs);
    }
    return job;
}

static void start_jobs(struct sp_loop *loop)
{
    struct sp_job *job;

    while ((job = next_job(loop)) != NULL) {
        struct running_job *run = sp_mem_calloc(1, sizeof *run);
        uint64_t delay_us = sim_with_tail(&sim.rand_turn, JOB_START_US);

        SP_ASSERT(run != NULL);
        sim_ready_init(&run->ready, tell_done);
        run->job = job;
        run->loop = loop;
        *running_of(loop, job) += 1;
        (void)sim_at(sim.now_us + delay_us, SIM_EVENT_WORK, loop->process, on_work, run);
    }
}

static void start(struct sp_loop *loop, struct sp_job *job)
{
    SP_ASSERT(loop->workers > 0);
    sp_list_init(&job->node);
    sp_job_queue_add(&loop->jobs, job);
    start_jobs(loop);
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

/* What a patient job waits for is that others work meanwhile, which here costs no time. */
void sp_job_start_patient(struct sp_loop *loop,
                          struct sp_job *job,
                          void (*work)(struct sp_job *job),
                          void (*done)(struct sp_job *job))
{
    sp_job_start_yielding(loop, job, work, done);
}

void sp_job_rest(const struct sp_job *job)
{
    (void)job;
}
