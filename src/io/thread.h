/* Threads, and what they need to share one loop: a monitor, and a wake-up that poll(2) can see.
 *
 *   thread --enter--> [ monitor: one at a time ] --leave-->
 *                        | wait: leaves, sleeps until woken, enters again
 *
 * A loop is used by several threads in this way: whoever holds the monitor may use it. Its own
 * thread holds the monitor for each turn (sp_loop_turn_nowait) and sleeps outside of it, in
 * sp_wakeup_wait. The simulator has no threads: there sp_thread_start and sp_monitor_new refuse. */
#ifndef SP_IO_THREAD_H
#define SP_IO_THREAD_H

#include <stdbool.h>
#include <stdint.h>

struct sp_thread;
struct sp_monitor;

/* ---- threads --------------------------------------------------------------------------------- */

/* A number that no other running thread of this process has; never 0. */
uint64_t sp_thread_self(void);

/* Starts a thread in which all signals are blocked, so that the program's handlers run elsewhere.
 * SPATE_ERR_NOMEM, SPATE_ERR_INTERNAL when the system refuses, SPATE_ERR_UNSUPPORTED. */
int sp_thread_start(void (*run)(void *arg), void *arg, struct sp_thread **out_thread);

/* Waits until `run` has returned, and frees the thread. NULL is fine. */
void sp_thread_join(struct sp_thread *thread);

/* The same for a thread that nobody waits for: it may outlive whatever started it. */
int sp_thread_start_alone(void (*run)(void *arg), void *arg);

/* ---- monitors -------------------------------------------------------------------------------- */

/* SPATE_ERR_NOMEM, SPATE_ERR_INTERNAL, SPATE_ERR_UNSUPPORTED. */
int sp_monitor_new(struct sp_monitor **out_monitor);

/* Nobody may be inside or on the way in. NULL is fine. */
void sp_monitor_free(struct sp_monitor *monitor);

/* Enters, after whoever is inside has left. A thread that is inside may enter again, and then has
 * to leave as often. */
void sp_monitor_enter(struct sp_monitor *monitor);

/* The same for the one thread that goes before all others: a thread that enters and leaves in a
 * tight loop cannot keep it out. */
void sp_monitor_enter_first(struct sp_monitor *monitor);

void sp_monitor_leave(struct sp_monitor *monitor);

/* True when the next sp_monitor_leave of the thread inside lets others in. */
bool sp_monitor_outermost(const struct sp_monitor *monitor);

/* Leaves however often the thread has entered; the number is for sp_monitor_resume. */
unsigned sp_monitor_suspend(struct sp_monitor *monitor);
void sp_monitor_resume(struct sp_monitor *monitor, unsigned depth);

/* Leaves, sleeps until sp_monitor_wake or for `timeout_ms` (UINT64_MAX: for ever), and enters
 * again, as often as before. May return without reason. */
void sp_monitor_wait(struct sp_monitor *monitor, uint64_t timeout_ms);

/* Ends the sleep of all that wait. From inside. */
void sp_monitor_wake(struct sp_monitor *monitor);

/* ---- wake-ups -------------------------------------------------------------------------------- */

/* A descriptor that is readable while it is raised. */
struct sp_wakeup {
    int fd; /* -1: closed */
};

/* SPATE_ERR_BUSY: no descriptor is left. SPATE_ERR_UNSUPPORTED. */
int sp_wakeup_open(struct sp_wakeup *wakeup);

/* Closes it if it is open. */
void sp_wakeup_close(struct sp_wakeup *wakeup);

/* Any thread. */
void sp_wakeup_raise(struct sp_wakeup *wakeup);

void sp_wakeup_lower(struct sp_wakeup *wakeup);

/* Sleeps until it is raised, `fd` is readable, or `timeout_ms` has passed (-1: never); then lowers
 * it. May return without reason. */
void sp_wakeup_wait(struct sp_wakeup *wakeup, int fd, int timeout_ms);

#endif /* SP_IO_THREAD_H */
