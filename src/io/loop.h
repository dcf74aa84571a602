/* One thread's event loop: turns, time, timers, deferred calls, the before-sleep hook, worker jobs.
 *
 *   turn:   wake -> time is read once -> timers, sockets, finished jobs -> deferred calls
 *             -> before-sleep hook (group commit: one write for all that arrived) -> sleep
 *
 * Rules of every request in src/io: the struct is embedded by its caller and stays valid until its
 * callback; if starting fails the callback never runs; if it succeeds the callback runs exactly
 * once, later, never inside the call that started it. All calls belong to the loop's thread unless
 * said otherwise. The simulator links a second body of this header. */
#ifndef SP_IO_LOOP_H
#define SP_IO_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct sp_loop;

/* A new loop with `workers` threads for jobs (0: jobs are refused). SPATE_ERR_NOMEM,
 * SPATE_ERR_INTERNAL when the system refuses. */
int sp_loop_new(unsigned workers, struct sp_loop **out_loop);

/* Ends the workers and frees the loop. Everything on it must be closed. NULL is fine. */
void sp_loop_free(struct sp_loop *loop);

/* Runs turns until sp_loop_stop, or until nothing is left to wait for. */
void sp_loop_run(struct sp_loop *loop);

/* Runs turns until `*flag` is true or `deadline_ms` (as sp_loop_now_ms) has passed; UINT64_MAX: no
 * deadline. Returns *flag. For clients that drive the loop from blocking calls. */
bool sp_loop_run_until(struct sp_loop *loop, const bool *flag, uint64_t deadline_ms);

/* Lets sp_loop_run return after this turn. */
void sp_loop_stop(struct sp_loop *loop);

/* ---- inside another loop ---- */

/* One turn that does not sleep. The loop is then to be turned again when its descriptor is readable
 * or sp_loop_wait_ms has passed, and after each call that starts something on it. */
void sp_loop_turn_nowait(struct sp_loop *loop);

/* A descriptor that is readable when a turn finds something. SPATE_ERR_UNSUPPORTED. */
int sp_loop_fd(const struct sp_loop *loop);

/* How long the loop may sleep from now on: 0: it must be turned now; -1: until its descriptor is
 * readable. Between turns. */
int sp_loop_wait_ms(struct sp_loop *loop);

/* True when something waits for a turn that begins before `time_ms`. Between turns. */
bool sp_loop_due_before(const struct sp_loop *loop, uint64_t time_ms);

/* ---- time and chance ---- */

/* Milliseconds of a clock that never goes back, read once per turn. */
uint64_t sp_loop_now_ms(const struct sp_loop *loop);

/* The same clock in microseconds, read now: for measuring, not for decisions. Any thread. */
uint64_t sp_loop_now_us(const struct sp_loop *loop);

/* Milliseconds since 1970-01-01 UTC, read once per turn; may jump either way. */
int64_t sp_loop_wall_ms(const struct sp_loop *loop);

/* 64 bits of true chance. */
uint64_t sp_loop_random(struct sp_loop *loop);

/* ---- timers ---------------------------------------------------------------------------------- */

struct sp_timer;
typedef void (*sp_timer_cb)(struct sp_timer *timer);

/* Embedded by its owner; starting and stopping cost O(log n) and no system call. */
struct sp_timer {
    struct sp_loop *loop;
    sp_timer_cb cb;
    uint64_t due_ms;
    uint64_t order;     /* timers due at the same time fire in order of their start */
    uint32_t heap_slot; /* place in the loop's heap plus 1; 0: not started */
};

void sp_timer_init(struct sp_timer *timer, struct sp_loop *loop, sp_timer_cb cb);

/* Fires once at `due_ms` (a past time: in the next turn). A started timer is moved.
 * SPATE_ERR_NOMEM: an unstarted timer stays unstarted, a started one keeps its time. */
int sp_timer_start(struct sp_timer *timer, uint64_t due_ms);

/* Stops it if it is started. After this the callback does not run. */
void sp_timer_stop(struct sp_timer *timer);

static inline bool sp_timer_active(const struct sp_timer *timer)
{
    return timer->heap_slot != 0;
}

/* ---- deferred calls and the hook ------------------------------------------------------------- */

struct sp_deferred;
typedef void (*sp_deferred_cb)(struct sp_deferred *deferred);

/* A call at the end of this turn, before the hook; those that are deferred meanwhile follow. */
struct sp_deferred {
    struct sp_list node;
    sp_deferred_cb cb;
};

void sp_deferred_init(struct sp_deferred *deferred, sp_deferred_cb cb);

/* Once per turn however often it is asked for. */
void sp_loop_defer(struct sp_loop *loop, struct sp_deferred *deferred);

void sp_deferred_cancel(struct sp_deferred *deferred);

struct sp_hook;
typedef void (*sp_hook_cb)(struct sp_hook *hook);

/* Runs in every turn just before the loop sleeps, in order of registration. */
struct sp_hook {
    struct sp_list node;
    sp_hook_cb cb;
};

void sp_loop_add_before_sleep(struct sp_loop *loop, struct sp_hook *hook, sp_hook_cb cb);
void sp_loop_remove_before_sleep(struct sp_hook *hook);

/* ---- worker jobs ----------------------------------------------------------------------------- */

struct sp_job;

/* Work that may block. `work` runs on a worker thread and touches only what the job was handed;
 * `done` runs on the loop thread afterwards. Jobs run in parallel and in no promised order. */
struct sp_job {
    struct sp_list node;
    struct sp_loop *loop;
    bool is_short;
    bool is_urgent;
    bool is_yielding;
    bool is_patient;
    void (*work)(struct sp_job *job);
    void (*done)(struct sp_job *job);
};

/* Hands the job over; it cannot fail and cannot be cancelled. */
void sp_job_start(struct sp_loop *loop,
                  struct sp_job *job,
                  void (*work)(struct sp_job *job),
                  void (*done)(struct sp_job *job));

/* The same for work that is little and that somebody waits for: it runs before jobs started with
 * sp_job_start and never waits until one of them has ended, as these leave one worker free (if
 * there are two). */
void sp_job_start_short(struct sp_loop *loop,
                        struct sp_job *job,
                        void (*work)(struct sp_job *job),
                        void (*done)(struct sp_job *job));

/* The same for what everything waits for: it runs before all short jobs that wait. One at a time of
 * a store. */
void sp_job_start_urgent(struct sp_loop *loop,
                         struct sp_job *job,
                         void (*work)(struct sp_job *job),
                         void (*done)(struct sp_job *job));

/* The same for work that takes its time on a processor and that only its own client waits for. It
 * runs on threads of its own, on half the processors at most (one at least, and no more than
 * SP_YIELDING_WORKERS_MAX), which get less of them than others do while these have work: neither
 * the loop nor other jobs wait for it, and it goes on all the same. */
void sp_job_start_yielding(struct sp_loop *loop,
                           struct sp_job *job,
                           void (*work)(struct sp_job *job),
                           void (*done)(struct sp_job *job));

/* The same for work that nobody needs soon: it runs on one more such thread, which rests three
 * times as long as it uses a processor. The work calls sp_job_rest between steps of a tenth of a
 * millisecond: whatever waits for a processor meanwhile waits no longer than for such a step. */
void sp_job_start_patient(struct sp_loop *loop,
                          struct sp_job *job,
                          void (*work)(struct sp_job *job),
                          void (*done)(struct sp_job *job));

/* From inside `work`. Does nothing for jobs of other kinds. */
void sp_job_rest(const struct sp_job *job);

/* ---- signals and standard input of programs -------------------------------------------------- */

/* Calls `cb` on the loop thread for SIGTERM and SIGINT, and ignores SIGPIPE for the process. One
 * watcher per process. The watcher does not keep sp_loop_run alive. */
int sp_loop_on_terminate(struct sp_loop *loop, void (*cb)(void *arg), void *arg);

#endif /* SP_IO_LOOP_H */
