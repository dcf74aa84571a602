/* Which job a free worker takes: short ones first, long ones in order of arrival and never on all
 * workers at once.
 *
 *   started --> short_jobs --> any worker
 *          `--> long_jobs  --> any worker while fewer than long_max run
 *
 * So a short job never waits for a long one, however many of them there are. Long ones are not
 * starved: short ones are told by how little they do. Both bodies of io/loop.h use it. */
#ifndef SP_IO_JOB_QUEUE_H
#define SP_IO_JOB_QUEUE_H

#include "io/loop.h"

struct sp_job_queue {
    struct sp_list short_jobs;
    struct sp_list long_jobs;
    unsigned long_running;
    unsigned long_max;
};

static inline void sp_job_queue_init(struct sp_job_queue *queue, unsigned workers)
{
    sp_list_init(&queue->short_jobs);
    sp_list_init(&queue->long_jobs);
    queue->long_running = 0;
    queue->long_max = workers > 1 ? workers - 1 : 1;
}

static inline void sp_job_queue_add(struct sp_job_queue *queue, struct sp_job *job)
{
    sp_list_append(job->is_short ? &queue->short_jobs : &queue->long_jobs, &job->node);
}

/* The job that a free worker begins now, or NULL. */
static inline struct sp_job *sp_job_queue_take(struct sp_job_queue *queue)
{
    struct sp_list *list = &queue->short_jobs;

    if (sp_list_empty(list)) {
        list = &queue->long_jobs;
        if (sp_list_empty(list) || queue->long_running >= queue->long_max) {
            return NULL;
        }
        queue->long_running += 1;
    }
    struct sp_job *job = SP_LIST_ENTRY(list->next, struct sp_job, node);
    sp_list_remove(&job->node);
    return job;
}

/* The work of a job that was taken is done. */
static inline void sp_job_queue_end(struct sp_job_queue *queue, const struct sp_job *job)
{
    queue->long_running -= job->is_short ? 0 : 1;
}

#endif /* SP_IO_JOB_QUEUE_H */
