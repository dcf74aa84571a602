/* The second body of io/loop.h: turns in virtual time.
 *
 *   post, timer due --> wake event --> turn: ready items -> timers -> deferred -> hooks
 *
 * A node's loop turns whenever something waits for it. A client's loop turns only while its program
 * is inside sp_loop_run or sp_loop_run_until, on the program's fiber. */
#include <stddef.h>

#include "base/assert.h"
#include "base/mem.h"
#include "io/loop.h"
#include "sim_fiber.h"
#include "sim_loop_body.h"
#include "spate/error.h"

enum {
    ROUNDS_MAX = 16,
    TURN_DELAY_US = 20, /* until a thread that sleeps runs again; with a tail */
};

static void on_wake(void *arg);

/* ---- sleeping and waking --------------------------------------------------------------------- */

static void read_clocks(struct sp_loop *loop)
{
    uint64_t clock_us = sim_process_clock_us(loop->process);

    loop->now_ms = clock_us / 1000;
    loop->wall_ms = 1700000000000 + (int64_t)(sim.now_us / 1000) + loop->process->wall_offset_ms;
}

static void wake_at(struct sp_loop *loop, uint64_t time_us)
{
    if (loop->wake != NULL && loop->wake_us <= time_us) {
        return;
    }
    sim_cancel(loop->wake);
    loop->wake = sim_at(time_us, SIM_EVENT_TURN, loop->process, on_wake, loop);
    loop->wake_us = time_us;
}

/* The world's time of the next timer or the deadline. */
static uint64_t next_due_us(const struct sp_loop *loop)
{
    uint64_t due_ms = loop->deadline_ms;

    if (loop->heap_count > 0 && loop->heap[0]->due_ms < due_ms) {
        due_ms = loop->heap[0]->due_ms;
    }
    if (due_ms == UINT64_MAX) {
        return SIM_NEVER;
    }
    return sim_process_world_us(loop->process, due_ms * 1000);
}

void sim_loop_plan_wake(struct sp_loop *loop)
{
    bool driven = loop->process->fiber != NULL;

    if (driven && !loop->sleeping) {
        return;
    }
    if (!sp_list_empty(&loop->ready) || !sp_list_empty(&loop->deferred)) {
        wake_at(loop, sim.now_us + sim_with_tail(&sim.rand_turn, TURN_DELAY_US));
        return;
    }
    uint64_t due_us = next_due_us(loop);
    if (due_us != SIM_NEVER) {
        wake_at(loop, due_us);
    }
}

void sim_loops_retime(struct sim_process *process)
{
    SP_LIST_EACH (node, &process->loops) {
        struct sp_loop *loop = SP_LIST_ENTRY(node, struct sp_loop, node);
        sim_cancel(loop->wake);
        loop->wake = NULL;
        sim_loop_plan_wake(loop);
    }
}

void sim_loops_kick(struct sim_process *process)
{
    SP_LIST_EACH (node, &process->loops) {
        struct sp_loop *loop = SP_LIST_ENTRY(node, struct sp_loop, node);
        if (loop->process->fiber == NULL) {
            wake_at(loop, sim.now_us);
        }
    }
}

void sim_ready_init(struct sim_ready *ready, void (*cb)(struct sim_ready *ready))
{
    sp_list_init(&ready->node);
    ready->cb = cb;
}

void sim_loop_post(struct sp_loop *loop, struct sim_ready *ready)
{
    if (sp_list_empty(&ready->node)) {
        sp_list_append(&loop->ready, &ready->node);
        sim_loop_plan_wake(loop);
    }
}

void sim_loop_hold(struct sp_loop *loop, int change)
{
    loop->held = (unsigned)((int)loop->held + change);
}

struct sim_process *sim_loop_process(const struct sp_loop *loop)
{
    return loop->process;
}

/* ---- a turn ---------------------------------------------------------------------------------- */

static void run_ready(struct sp_loop *loop)
{
    struct sp_list batch;

    sp_list_init(&batch);
    sp_list_move(&batch, &loop->ready);
    while (!sp_list_empty(&batch)) {
        struct sim_ready *ready = SP_LIST_ENTRY(batch.next, struct sim_ready, node);
        sp_list_remove(&ready->node);
        ready->cb(ready);
    }
}

static void run_deferred(struct sp_loop *loop)
{
    struct sp_list batch;

    sp_list_init(&batch);
    sp_list_move(&batch, &loop->deferred);
    while (!sp_list_empty(&batch)) {
        struct sp_deferred *deferred = SP_LIST_ENTRY(batch.next, struct sp_deferred, node);
        sp_list_remove(&deferred->node);
        deferred->cb(deferred);
    }
}

static void run_hooks(struct sp_loop *loop)
{
    struct sp_list waiting;
    struct sp_list done;

    sp_list_init(&waiting);
    sp_list_init(&done);
    sp_list_move(&waiting, &loop->hooks);
    while (!sp_list_empty(&waiting)) {
        struct sp_hook *hook = SP_LIST_ENTRY(waiting.next, struct sp_hook, node);
        sp_list_remove(&hook->node);
        sp_list_append(&done, &hook->node);
        hook->cb(hook);
    }
    sp_list_move(&done, &loop->hooks);
    sp_list_move(&loop->hooks, &done);
}

static void end_turn(struct sp_loop *loop)
{
    sim_loop_fire_timers(loop);
    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        run_deferred(loop);
        if (!sp_list_empty(&loop->deferred)) {
            continue;
        }
        run_hooks(loop);
        if (sp_list_empty(&loop->deferred)) {
            break;
        }
    }
}

static void on_wake(void *arg)
{
    struct sp_loop *loop = arg;

    loop->wake = NULL;
    if (loop->sleeping) {
        loop->sleeping = false;
        sim_fiber_wake(loop->process->fiber);
        return;
    }
    if (loop->process->fiber != NULL) {
        return; /* its program is elsewhere */
    }
    loop->running = true;
    read_clocks(loop);
    run_ready(loop);
    end_turn(loop);
    loop->running = false;
    sim_loop_plan_wake(loop);
}

/* ---- running by a program -------------------------------------------------------------------- */

static bool alive(const struct sp_loop *loop)
{
    return loop->held > 0 || loop->heap_count > 0 || loop->jobs_running > 0 ||
           loop->yielding_running > 0 || !sp_list_empty(&loop->ready) ||
           !sp_list_empty(&loop->deferred);
}

static bool until_reached(const struct sp_loop *loop)
{
    return loop->until != NULL && *loop->until;
}

static void sleep_until_ready(struct sp_loop *loop)
{
    if (!sp_list_empty(&loop->ready) || !sp_list_empty(&loop->deferred)) {
        return;
    }
    uint64_t due_us = next_due_us(loop);
    if (due_us <= sim.now_us) {
        return;
    }
    loop->sleeping = true;
    sim_loop_plan_wake(loop);
    sim_fiber_wait();
    loop->sleeping = false;
}

static void run_turn(struct sp_loop *loop)
{
    read_clocks(loop);
    end_turn(loop);
    bool waits = alive(loop) || loop->deadline_ms != UINT64_MAX; /* for time at least */
    if (!loop->stopping && !until_reached(loop) && waits) {
        sleep_until_ready(loop);
    }
    read_clocks(loop);
    run_ready(loop);
}

void sp_loop_run(struct sp_loop *loop)
{
    SP_ASSERT(!loop->running);
    SP_ASSERT(sim_fiber_current() != NULL);
    loop->running = true;
    while (!loop->stopping && alive(loop)) {
        run_turn(loop);
    }
    end_turn(loop);
    loop->stopping = false;
    loop->running = false;
}

bool sp_loop_run_until(struct sp_loop *loop, const bool *flag, uint64_t deadline_ms)
{
    SP_ASSERT(!loop->running);
    SP_ASSERT(sim_fiber_current() != NULL);
    loop->running = true;
    loop->until = flag;
    loop->deadline_ms = deadline_ms;
    read_clocks(loop);
    while (!*flag && loop->now_ms < deadline_ms) {
        if (deadline_ms == UINT64_MAX && !alive(loop)) {
            break;
        }
        run_turn(loop);
    }
    end_turn(loop);
    loop->until = NULL;
    loop->deadline_ms = UINT64_MAX;
    loop->running = false;
    return *flag;
}

void sp_loop_stop(struct sp_loop *loop)
{
    loop->stopping = true;
}

/* ---- clocks and chance ----------------------------------------------------------------------- */

uint64_t sp_loop_now_ms(const struct sp_loop *loop)
{
    return loop->running ? loop->now_ms : sim_process_clock_us(loop->process) / 1000;
}

uint64_t sp_loop_now_us(const struct sp_loop *loop)
{
    return sim_process_clock_us(loop->process);
}

int64_t sp_loop_wall_ms(const struct sp_loop *loop)
{
    struct sp_loop now = { .process = loop->process };

    if (loop->running) {
        return loop->wall_ms;
    }
    read_clocks(&now);
    return now.wall_ms;
}

uint64_t sp_loop_random(struct sp_loop *loop)
{
    return sp_rand_next(&loop->process->rand);
}

/* ---- deferred calls and hooks ---------------------------------------------------------------- */

void sp_deferred_init(struct sp_deferred *deferred, sp_deferred_cb cb)
{
    sp_list_init(&deferred->node);
    deferred->cb = cb;
}

void sp_loop_defer(struct sp_loop *loop, struct sp_deferred *deferred)
{
    if (sp_list_empty(&deferred->node)) {
        sp_list_append(&loop->deferred, &deferred->node);
        if (!loop->running) {
            sim_loop_plan_wake(loop);
        }
    }
}

void sp_deferred_cancel(struct sp_deferred *deferred)
{
    sp_list_remove(&deferred->node);
}

void sp_loop_add_before_sleep(struct sp_loop *loop, struct sp_hook *hook, sp_hook_cb cb)
{
    hook->cb = cb;
    sp_list_append(&loop->hooks, &hook->node);
}

void sp_loop_remove_before_sleep(struct sp_hook *hook)
{
    sp_list_remove(&hook->node);
}

/* ---- life ------------------------------------------------------------------------------------ */

int sp_loop_on_terminate(struct sp_loop *loop, void (*cb)(void *arg), void *arg)
{
    (void)loop; /* nobody sends signals here: the world stops nodes by calling them */
    (void)cb;
    (void)arg;
    return 0;
}

int sp_loop_new(unsigned workers, struct sp_loop **out_loop)
{
    struct sp_loop *loop = sp_mem_calloc(1, sizeof *loop);

    SP_ASSERT(sim.current != NULL);
    if (loop == NULL) {
        return SPATE_ERR_NOMEM;
    }
    loop->process = sim.current;
    loop->deadline_ms = UINT64_MAX;
    loop->workers = workers;
    sp_list_init(&loop->ready);
    sp_list_init(&loop->deferred);
    sp_list_init(&loop->hooks);
    sp_job_queue_init(&loop->jobs, workers);
    sp_list_append(&loop->process->loops, &loop->node);
    *out_loop = loop;
    return 0;
}

void sp_loop_free(struct sp_loop *loop)
{
    if (loop == NULL) {
        return;
    }
    SP_ASSERT(!loop->running);
    for (unsigned round = 0; round < ROUNDS_MAX && alive(loop); round++) {
        run_ready(loop);
        run_deferred(loop);
    }
    SP_ASSERT(loop->jobs_running == 0);
    SP_ASSERT(loop->yielding_running == 0);
    SP_ASSERT(loop->held == 0);
    sim_cancel(loop->wake);
    sp_list_remove(&loop->node);
    sp_mem_free(loop->heap);
    sp_mem_free(loop);
}
