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
#include "sim_disk.h"
#include "sim_fiber.h"
#include "sim_parts.h"
#include "spate/error.h"

enum {
    ROUNDS_MAX = 16,
    HEAP_CAPACITY_MIN = 64,
    TURN_DELAY_US = 20, /* until a thread that sleeps runs again; with a tail */
    JOB_START_US = 15,
};

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
    unsigned jobs_running;
    struct sp_list jobs; /* that wait for a worker */
    unsigned held;
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

static void plan_wake(struct sp_loop *loop)
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
        plan_wake(loop);
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
        plan_wake(loop);
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

static void fire_timers(struct sp_loop *loop);

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
    fire_timers(loop);
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
    plan_wake(loop);
}

/* ---- running by a program -------------------------------------------------------------------- */

static bool alive(const struct sp_loop *loop)
{
    return loop->held > 0 || loop->heap_count > 0 || loop->jobs_running > 0 ||
           !sp_list_empty(&loop->ready) || !sp_list_empty(&loop->deferred);
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
    plan_wake(loop);
    sim_fiber_wait();
    loop->sleeping = false;
}

static void run_turn(struct sp_loop *loop)
{
    read_clocks(loop);
    end_turn(loop);
    if (!loop->stopping && !until_reached(loop) && alive(loop)) {
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

/* ---- timers ---------------------------------------------------------------------------------- */

static bool before(const struct sp_timer *a, const struct sp_timer *b)
{
    return a->due_ms < b->due_ms || (a->due_ms == b->due_ms && a->order < b->order);
}

static void place(struct sp_loop *loop, uint32_t position, struct sp_timer *timer)
{
    loop->heap[position] = timer;
    timer->heap_slot = position + 1;
}

static void sift(struct sp_loop *loop, uint32_t position, struct sp_timer *timer)
{
    while (position > 0 && before(timer, loop->heap[(position - 1) / 2])) {
        place(loop, position, loop->heap[(position - 1) / 2]);
        position = (position - 1) / 2;
    }
    for (;;) {
        uint32_t child = 2 * position + 1;
        if (child >= loop->heap_count) {
            break;
        }
        if (child + 1 < loop->heap_count && before(loop->heap[child + 1], loop->heap[child])) {
            child += 1;
        }
        if (!before(loop->heap[child], timer)) {
            break;
        }
        place(loop, position, loop->heap[child]);
        position = child;
    }
    place(loop, position, timer);
}

void sp_timer_init(struct sp_timer *timer, struct sp_loop *loop, sp_timer_cb cb)
{
    *timer = (struct sp_timer){ .loop = loop, .cb = cb };
}

int sp_timer_start(struct sp_timer *timer, uint64_t due_ms)
{
    struct sp_loop *loop = timer->loop;
    uint64_t now_ms = sp_loop_now_ms(loop);
    bool fresh = timer->heap_slot == 0;

    if (fresh && loop->heap_count == loop->heap_capacity) {
        uint32_t capacity = loop->heap_capacity == 0 ? HEAP_CAPACITY_MIN : 2 * loop->heap_capacity;
        loop->heap = sp_mem_realloc(loop->heap, capacity * sizeof(struct sp_timer *));
        SP_ASSERT(loop->heap != NULL);
        loop->heap_capacity = capacity;
    }
    timer->due_ms = due_ms > now_ms ? due_ms : now_ms;
    timer->order = loop->timer_order;
    loop->timer_order += 1;
    if (fresh) {
        loop->heap_count += 1;
        sift(loop, loop->heap_count - 1, timer);
    } else {
        sift(loop, timer->heap_slot - 1, timer);
    }
    if (!loop->running) {
        plan_wake(loop);
    }
    return 0;
}

void sp_timer_stop(struct sp_timer *timer)
{
    struct sp_loop *loop = timer->loop;

    if (timer->heap_slot == 0) {
        return;
    }
    uint32_t position = timer->heap_slot - 1;
    SP_ASSERT(loop->heap[position] == timer);
    timer->heap_slot = 0;
    loop->heap_count -= 1;
    struct sp_timer *last = loop->heap[loop->heap_count];
    if (last != timer) {
        sift(loop, position, last);
    }
}

static void fire_timers(struct sp_loop *loop)
{
    uint64_t order_end = loop->timer_order;

    while (loop->heap_count > 0) {
        struct sp_timer *timer = loop->heap[0];
        if (timer->due_ms > loop->now_ms || timer->order >= order_end) {
            break;
        }
        sp_timer_stop(timer);
        timer->cb(timer);
    }
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
            plan_wake(loop);
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

/* ---- worker jobs ----------------------------------------------------------------------------- */

/* A job on its way; `ready` brings it back to the loop. */
struct running_job {
    struct sim_ready ready;
    struct sp_job *job;
    struct sp_loop *loop;
};

static void start_jobs(struct sp_loop *loop);

static void tell_done(struct sim_ready *ready)
{
    struct running_job *run = SP_CONTAINER_OF(ready, struct running_job, ready);
    struct sp_job *job = run->job;

    run->loop->jobs_running -= 1;
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

static void start_jobs(struct sp_loop *loop)
{
    while (loop->jobs_running < loop->workers && !sp_list_empty(&loop->jobs)) {
        struct sp_job *job = SP_LIST_ENTRY(loop->jobs.next, struct sp_job, node);
        struct running_job *run = sp_mem_calloc(1, sizeof *run);
        uint64_t delay_us = sim_with_tail(&sim.rand_turn, JOB_START_US);

        SP_ASSERT(run != NULL);
        sp_list_remove(&job->node);
        sim_ready_init(&run->ready, tell_done);
        run->job = job;
        run->loop = loop;
        loop->jobs_running += 1;
        (void)sim_at(sim.now_us + delay_us, SIM_EVENT_WORK, loop->process, on_work, run);
    }
}

void sp_job_start(struct sp_loop *loop,
                  struct sp_job *job,
                  void (*work)(struct sp_job *job),
                  void (*done)(struct sp_job *job))
{
    SP_ASSERT(loop->workers > 0);
    *job = (struct sp_job){ .loop = loop, .work = work, .done = done };
    sp_list_init(&job->node);
    sp_list_append(&loop->jobs, &job->node);
    start_jobs(loop);
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
    sp_list_init(&loop->jobs);
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
    SP_ASSERT(loop->held == 0);
    sim_cancel(loop->wake);
    sp_list_remove(&loop->node);
    sp_mem_free(loop->heap);
    sp_mem_free(loop);
}
