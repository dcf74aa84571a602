/* The inside of struct sp_loop on libuv, shared by the files of this folder and by nobody else.
 *
 * One turn is one uv_run(UV_RUN_ONCE). Its prepare phase, after all callbacks and just before the
 * poll, ends the turn: due timers, deferred calls, hooks. libuv's own timer only limits the sleep;
 * it never runs a callback of ours, so a timer cannot run between the hooks and the sleep. */
#ifndef SP_IO_LOOP_BODY_H
#define SP_IO_LOOP_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base/list.h"
#include "io/loop.h"
#include "io/read_share.h"

enum {
    SP_LOOP_SIGNALS = 2, /* SIGTERM and SIGINT */
};

struct sp_resolver;
struct sp_workers;

struct sp_loop {
    uv_loop_t uv;
    struct sp_loop *self; /* the clocks are caches: reading them through a const loop fills them */
    uv_timer_t alarm;     /* ends the sleep when the next timer or the deadline is due */
    uint64_t alarm_ms;    /* when that is; UINT64_MAX: it does not run */
    uv_prepare_t prepare; /* ends the turn; unreferenced */
    uv_idle_t spin;       /* active while deferred calls wait: then nothing sleeps */

    struct sp_timer **heap; /* smallest (due_ms, order) first */
    uint32_t heap_count;
    uint32_t heap_capacity;
    uint64_t timer_order; /* of the next start */

    struct sp_list deferred;
    struct sp_list hooks;

    bool running;
    bool stopping;
    bool unsettled;       /* a handle changed what it waits for: libuv tells the kernel in a turn */
    const bool *until;    /* of sp_loop_run_until, or NULL */
    uint64_t deadline_ms; /* of sp_loop_run_until, or UINT64_MAX */

    uint64_t turn;
    struct sp_read_share read_share;
    uint64_t wall_turn; /* turn that wall_ms was read in; 0: never */
    int64_t wall_ms;

    uv_signal_t signals[SP_LOOP_SIGNALS];
    unsigned signals_open;
    void (*terminate_cb)(void *arg);
    void *terminate_arg;

    struct sp_workers *workers;   /* NULL without worker threads */
    struct sp_resolver *resolver; /* NULL until a host name is looked up */
    unsigned open_count;          /* streams and listeners that nobody has closed */
};

/* After starting or closing a handle: the loop must turn before it sleeps outside of uv_run. */
static inline void sp_loop_unsettle(struct sp_loop *loop)
{
    loop->unsettled = true;
}

/* Runs the timers that are due; those they start wait for the next turn. */
void sp_loop_fire_timers(struct sp_loop *loop);

/* Starts `count` (at least 1) worker threads, and those of yielding jobs. SPATE_ERR_NOMEM,
 * SPATE_ERR_INTERNAL. */
int sp_workers_new(struct sp_loop *loop, unsigned count, struct sp_workers **out_workers);

/* Ends the threads and starts closing the handle; no job may be outstanding. NULL is fine. */
void sp_workers_end(struct sp_workers *workers);

/* Frees it once the loop has run the handle's close. NULL is fine. */
void sp_workers_free(struct sp_workers *workers);

#endif /* SP_IO_LOOP_BODY_H */
