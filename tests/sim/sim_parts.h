/* What the parts of the simulated outside world call in each other; nobody else does. */
#ifndef SP_SIM_PARTS_H
#define SP_SIM_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/trace.h"
#include "io/loop.h"
#include "sim_world.h"

/* Puts an event that was taken out back into the queue, behind what is due at the same time. */
void sim_requeue(struct sim_event *event, uint64_t time_us);

/* Looks at every trace of production code; true if the timeline shows it. */
bool sim_trace_seen(enum sp_trace_level level,
                    const char *component,
                    const char *message,
                    const char *facts);

/* Frees all memory of a process. */
void sim_memory_drop(struct sim_process *process);

/* The process's clock has changed its rate: its loops wake at other times. */
void sim_loops_retime(struct sim_process *process);

/* The connections of a process that has died. */
void sim_net_process_died(struct sim_process *process, enum sim_death death);

/* Something for a loop to do in its next turn, in order of arrival; embedded by its owner. */
struct sim_ready {
    struct sp_list node;
    void (*cb)(struct sim_ready *ready);
};

void sim_ready_init(struct sim_ready *ready, void (*cb)(struct sim_ready *ready));

/* Lets the loop take a turn soon; once however often it is asked for. */
void sim_loop_post(struct sp_loop *loop, struct sim_ready *ready);

/* Streams that keep sp_loop_run alive: +1, -1. */
void sim_loop_hold(struct sp_loop *loop, int change);

/* Lets every loop of a process take a turn: something was called from outside its events. */
void sim_loops_kick(struct sim_process *process);

struct sim_process *sim_loop_process(const struct sp_loop *loop);

#endif /* SP_SIM_PARTS_H */
