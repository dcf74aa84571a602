/* The inside of the simulated struct sp_loop: for sim_loop.c, sim_timer.c and sim_job.c. */
#ifndef SP_SIM_LOOP_BODY_H
#define SP_SIM_LOOP_BODY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "io/job_queue.h"
#include "io/loop.h"
#include "sim_parts.h"

struct sp_loop {
    struct sp_list node; /* in its process */
    struct sim_process *process;
    struct sim_event *wake;
    uint64_t wake_us;

    struct sp_timer **heap;
    uint32_t heap_count;
    uint32_t heap_capacity;
    uint64_t timer_order;

    struct sp_list ready; /* struct sim_ready */
    struct sp_list deferred;
    struct sp_list hooks;

    bool running;  /* inside a turn, or inside run or run_until */
    bool sleeping; /* its fiber waits for something to do */
    bool stopping;
    const bool *until;
    uint64_t deadline_ms;
    uint64_t now_ms; /* of this turn */
    int64_t wall_ms; /* of this turn */

    unsigned workers;
    unsigned jobs_running;     /* on workers */
    unsigned yielding_running; /* on the one of yielding jobs */
    struct sp_job_queue jobs;  /* that wait for a worker */
    unsigned held;
};

/* Makes sure that the loop turns when there is something to do. */
void sim_loop_plan_wake(struct sp_loop *loop);

/* Runs the timers that are due; those they start wait for the next turn. */
void sim_loop_fire_timers(struct sp_loop *loop);

#endif /* SP_SIM_LOOP_BODY_H */
