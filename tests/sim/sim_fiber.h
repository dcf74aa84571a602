/* Fibers: the threads of client programs, which wait in blocking calls while the world goes on.
 *
 * A client process runs ordinary straight-line code on a stack of its own. Where the real loop
 * would sleep, the fiber hands control back to the world and is resumed by an event. */
#ifndef SP_SIM_FIBER_H
#define SP_SIM_FIBER_H

#include <stdbool.h>
#include <stdint.h>

struct sim_fiber;
struct sim_process;

/* Starts `main` in the process, which must run and have no fiber. When `main` returns the fiber
 * ends and the process stays, idle. */
void sim_fiber_start(struct sim_process *process, void (*main)(void *arg), void *arg);

/* In a fiber: sleeps until sim_fiber_wake. */
void sim_fiber_wait(void);

/* In a fiber: sleeps so long. */
void sim_fiber_sleep(uint64_t time_us);

/* Wakes a fiber that waits; nothing for one that does not. */
void sim_fiber_wake(struct sim_fiber *fiber);

/* The running fiber, or NULL. */
struct sim_fiber *sim_fiber_current(void);

/* True once its main function has returned. */
bool sim_fiber_ended(const struct sim_fiber *fiber);

/* Drops a fiber wherever it is; not the running one. NULL is fine. */
void sim_fiber_free(struct sim_fiber *fiber);

#endif /* SP_SIM_FIBER_H */
