/* Which job a free worker takes: short ones first, long ones in order of arrival, at least one of
 * them at a time and never on all workers at once.
 *
 *   started --> short_jobs --> any worker
 *          `--> long_jobs  --> the next free worker when none runs; any while fewer than long_max
 *
 * So a short job never waits for all workers to end long ones, however many of these there are, and
 * a steady stream of short ones leaves a worker to long ones: large writes, checkpoints, opening.
 * An urgent job is a short one that goes before all others. A single worker takes turns. Yielding
 * jobs and patient ones have workers of their own, which take no others. Both bodies of io/loop.h
 * use it. */
#ifndef SP_IO_JOB_QUEUE_H
#define SP_IO_JOB_QUEUE_H

#include <stdbool.h>

#include "io/loop.h"

struct sp_job_queue {
    struct sp_list short_jobs;
    struct sp_list long_jobs;
    struct sp_list yielding_jobs;
    struct sp_list patient_jobs;
    unsigned long_running;
    unsigned long_max;
    bool single;     /* there is one worker */
    bool long_taken; /* the last job taken was a long one */
};

static inline void sp_job_queue_init(struct sp_job_queue *queue, unsigned workers)
{
    sp_list_init(&queue->short_jobs);
    sp_list_init(&queue->long_jobs);
    sp_list_init(&queue->yielding_jobs);
    sp_list_init(&queue->patient_jobs);
    queue->long_running = 0;
    queue->long_taken = false;
    queue->single = workers <= 1;
    queue->long_max = workers > 1 ? workers - 1 : 1;
}

static inline void sp_job_queue_add(struct sp_job_queue *queue, struct sp_job *job)
{
    if (job->is_patient) {
        sp_list_append(&queue->patient_jobs, &job->node);
    } else if (job->is_yielding) {
        sp_list_append(&queue->yielding_jobs, &job->node);
    } else if (job->is_urgent) {
        sp_list_append(queue->short_jobs.next, &job->node); /* before the first */
    } else {
        sp_list_append(job->is_short ? &queue->short_jobs : &queue->long_jobs, &job->node);
    }
}

/* The job that a free worker begins now, or NULL. */
static inline struct sp_job *sp_job_queue_take(struct sp_job_queue *queue)
{
    bool may_long = !sp_list_empty(&queue->long_jobs) && queue->long_running < queue->long_max;
    bool turn = queue->single ? !queue->long_taken : queue->long_running == 0;
    struct sp_list *list = &queue->short_jobs;

    queue->long_taken = may_long && (turn || sp_list_empty(list));
    if (queue->long_taken) {
        list = &queue->long_jobs;
        queue->long_running += 1;
    } else if (sp_list_empty(list)) {
        return NULL;
    }
    struct sp_job *job = SP_LIST_ENTRY(list->next, struct sp_job, node);
    sp_list_remove(&job->node);
    return job;
}

static inline struct sp_job *sp_job_queue_take_first(struct sp_list *jobs)
{
    if (sp_list_empty(jobs)) {
        return NULL;
    }
    struct sp_job *job = SP_LIST_ENTRY(jobs->next, struct sp_job, node);
    sp_list_remove(&job->node);
    return job;
}

/* The job that a free worker of yielding jobs begins now, or NULL. */
static inline struct sp_job *sp_job_queue_take_yielding(struct sp_job_queue *queue)
{
    return sp_job_queue_take_first(&queue->yielding_jobs);
}

/* The same of patient jobs. */
static inline struct sp_job *sp_job_queue_take_patient(struct sp_job_queue *queue)
{
    return sp_job_queue_take_first(&queue->patient_jobs);
}

/* The work of a job that was taken is done. */
static inline void sp_job_queue_end(struct sp_job_queue *queue, const struct sp_job *job)
{
    queue->long_running -= job->is_short || job->is_yielding || job->is_patient ? 0 : 1;
}

#endif /* SP_IO_JOB_QUEUE_H */
