/* Turns of the loop: running, ending and sleeping; clocks, deferred calls, hooks, signals. */
#include "io/loop.h"

#include <signal.h>
#include <stddef.h>

#include "base/assert.h"
#include "base/mem.h"
#include "io/loop_body.h"
#include "io/resolve.h"
#include "io/standard.h"
#include "spate/error.h"

enum {
    ROUNDS_MAX = 16, /* rounds of deferred calls in one turn; then sockets get a look in */
};

/* ---- ending a turn --------------------------------------------------------------------------- */

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

/* Hooks may add and remove hooks: each moves to `done` before it runs. */
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

static void on_alarm(uv_timer_t *alarm)
{
    struct sp_loop *loop = alarm->data;

    loop->alarm_ms = UINT64_MAX; /* waking up was all */
}

static void on_spin(uv_idle_t *spin)
{
    (void)spin;
}

/* Makes libuv wake in time, and know that timers are something to wait for. */
static void set_alarm(struct sp_loop *loop)
{
    uint64_t due_ms = loop->deadline_ms;
    uint64_t now_ms = uv_now(&loop->uv);

    if (loop->heap_count > 0 && loop->heap[0]->due_ms < due_ms) {
        due_ms = loop->heap[0]->due_ms;
    }
    if (due_ms == loop->alarm_ms) {
        return;
    }
    loop->alarm_ms = due_ms;
    if (due_ms == UINT64_MAX) {
        (void)uv_timer_stop(&loop->alarm); /* cannot fail */
    } else {
        uint64_t wait_ms = due_ms > now_ms ? due_ms - now_ms : 0;
        (void)uv_timer_start(&loop->alarm, on_alarm, wait_ms, 0); /* fails only while closing */
    }
}

/* Keeps the poll from sleeping while deferred calls wait. */
static void set_spin(struct sp_loop *loop)
{
    if (sp_list_empty(&loop->deferred)) {
        (void)uv_idle_stop(&loop->spin); /* cannot fail */
    } else {
        (void)uv_idle_start(&loop->spin, on_spin); /* fails only without a callback */
    }
}

static bool until_reached(const struct sp_loop *loop)
{
    return loop->until != NULL && *loop->until;
}

static void end_turn(struct sp_loop *loop)
{
    sp_loop_fire_timers(loop);
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
    loop->turn += 1;
    uv_update_time(&loop->uv); /* the work took time, which the sleep must not add */
    set_alarm(loop);
    set_spin(loop);
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct sp_loop *loop = prepare->data;

    end_turn(loop);
    loop->unsettled = false; /* the poll that follows begins with what changed */
    if (loop->stopping || until_reached(loop)) {
        uv_stop(&loop->uv); /* this turn looks at the sockets once more but does not sleep */
    }
}

/* ---- running --------------------------------------------------------------------------------- */

static bool alive(const struct sp_loop *loop)
{
    return uv_loop_alive(&loop->uv) || loop->heap_count > 0 || !sp_list_empty(&loop->deferred);
}

static void begin_run(struct sp_loop *loop)
{
    SP_ASSERT(!loop->running);
    loop->running = true;
    loop->turn += 1;
    uv_update_time(&loop->uv);
}

/* Deferred calls run before this turn's poll. Told of them already here, libuv would not sleep in
 * it, and each turn that something was deferred in would be followed by an empty one. */
static void run_turn(struct sp_loop *loop)
{
    set_alarm(loop);
    if (!uv_loop_alive(&loop->uv)) {
        set_spin(loop); /* else there would be no turn at all */
    }
    (void)uv_run(&loop->uv, UV_RUN_ONCE); /* whether handles are left is asked by alive() */
}

void sp_loop_run(struct sp_loop *loop)
{
    begin_run(loop);
    while (!loop->stopping && alive(loop)) {
        run_turn(loop);
    }
    end_turn(loop);
    loop->stopping = false;
    loop->running = false;
}

bool sp_loop_run_until(struct sp_loop *loop, const bool *flag, uint64_t deadline_ms)
{
    begin_run(loop);
    loop->until = flag;
    loop->deadline_ms = deadline_ms;
    while (!*flag && uv_now(&loop->uv) < deadline_ms) {
        /* Without a deadline and with nothing to wait for nobody can set the flag any more. */
        if (deadline_ms == UINT64_MAX && !alive(loop)) {
            break;
        }
        run_turn(loop);
    }
    end_turn(loop);
    loop->until = NULL;
    loop->deadline_ms = UINT64_MAX;
    set_alarm(loop);
    loop->running = false;
    return *flag;
}

void sp_loop_turn_nowait(struct sp_loop *loop)
{
    begin_run(loop);
    set_alarm(loop);
    set_spin(loop);
    sp_resolver_attend(loop->resolver, true);
    if (uv_loop_alive(&loop->uv)) {
        (void)uv_run(&loop->uv, UV_RUN_NOWAIT); /* as in run_turn */
    } else {
        loop->unsettled = false; /* nothing is waited for */
    }
    sp_resolver_attend(loop->resolver, false);
    end_turn(loop);
    loop->running = false;
}

int sp_loop_fd(const struct sp_loop *loop)
{
    return uv_backend_fd(&loop->uv);
}

int sp_loop_wait_ms(struct sp_loop *loop)
{
    SP_ASSERT(!loop->running);
    if (loop->unsettled || !sp_list_empty(&loop->deferred)) {
        return 0;
    }
    uv_update_time(&loop->uv);
    set_alarm(loop);
    set_spin(loop);
    return uv_loop_alive(&loop->uv) ? uv_backend_timeout(&loop->uv) : -1;
}

bool sp_loop_due_before(const struct sp_loop *loop, uint64_t time_ms)
{
    return loop->unsettled || !sp_list_empty(&loop->deferred) ||
           (loop->heap_count > 0 && loop->heap[0]->due_ms < time_ms);
}

void sp_loop_stop(struct sp_loop *loop)
{
    loop->stopping = true;
    if (loop->running) {
        uv_stop(&loop->uv);
    }
}

/* ---- clocks and chance ----------------------------------------------------------------------- */

uint64_t sp_loop_now_ms(const struct sp_loop *loop)
{
    if (!loop->running) {
        uv_update_time(&loop->self->uv); /* between runs no turn keeps the time fresh */
    }
    return uv_now(&loop->uv);
}

uint64_t sp_loop_now_us(const struct sp_loop *loop)
{
    (void)loop;
    return uv_hrtime() / 1000;
}

int64_t sp_loop_wall_ms(const struct sp_loop *loop)
{
    uv_timeval64_t now = { 0, 0 };

    if (loop->running && loop->wall_turn == loop->turn) {
        return loop->wall_ms;
    }
    (void)uv_gettimeofday(&now); /* fails only for a null pointer */
    loop->self->wall_ms = now.tv_sec * 1000 + now.tv_usec / 1000;
    loop->self->wall_turn = loop->turn;
    return loop->wall_ms;
}

uint64_t sp_loop_random(struct sp_loop *loop)
{
    uint64_t value = 0;
    int rv = uv_random(NULL, NULL, &value, sizeof value, 0, NULL);

    (void)loop;
    SP_ASSERT(rv == 0); /* a system without a source of chance cannot run a cluster */
    return value;
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

/* ---- signals --------------------------------------------------------------------------------- */

static void on_signal(uv_signal_t *watcher, int number)
{
    struct sp_loop *loop = watcher->data;

    (void)number;
    loop->terminate_cb(loop->terminate_arg);
}

int sp_loop_on_terminate(struct sp_loop *loop, void (*cb)(void *arg), void *arg)
{
    static const int numbers[SP_LOOP_SIGNALS] = { SIGTERM, SIGINT };

    SP_ASSERT(loop->signals_open == 0);
    (void)signal(SIGPIPE, SIG_IGN); /* fails only for numbers that are no signals */
    loop->terminate_cb = cb;
    loop->terminate_arg = arg;
    for (unsigned i = 0; i < SP_LOOP_SIGNALS; i++) {
        uv_signal_t *watcher = &loop->signals[i];
        if (uv_signal_init(&loop->uv, watcher) != 0) {
            return SPATE_ERR_INTERNAL;
        }
        loop->signals_open += 1;
        watcher->data = loop;
        uv_unref((uv_handle_t *)watcher);
        if (uv_signal_start(watcher, on_signal, numbers[i]) != 0) {
            return SPATE_ERR_INTERNAL;
        }
    }
    return 0;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void init_handles(struct sp_loop *loop)
{
    /* None of these three can fail: they only fill in the struct. */
    (void)uv_timer_init(&loop->uv, &loop->alarm);
    loop->alarm.data = loop;
    loop->alarm_ms = UINT64_MAX;
    (void)uv_idle_init(&loop->uv, &loop->spin);
    (void)uv_prepare_init(&loop->uv, &loop->prepare);
    loop->prepare.data = loop;
    (void)uv_prepare_start(&loop->prepare, on_prepare);
    uv_unref((uv_handle_t *)&loop->prepare);
}

static bool init_uv(struct sp_loop *loop)
{
    int held[SP_STANDARD_COUNT];

    if (!sp_standard_hold(held)) {
        return false;
    }
    int rv = uv_loop_init(&loop->uv);
    sp_standard_release(held);
    return rv == 0;
}

int sp_loop_new(unsigned workers, struct sp_loop **out_loop)
{
    struct sp_loop *loop = sp_mem_calloc(1, sizeof *loop);

    if (loop == NULL) {
        return SPATE_ERR_NOMEM;
    }
    if (!init_uv(loop)) {
        sp_mem_free(loop);
        return SPATE_ERR_INTERNAL;
    }
    loop->self = loop;
    loop->deadline_ms = UINT64_MAX;
    loop->unsettled = true; /* libuv's own handles have not met the kernel yet */
    sp_list_init(&loop->deferred);
    sp_list_init(&loop->hooks);
    init_handles(loop);
    int rv = workers == 0 ? 0 : sp_workers_new(loop, workers, &loop->workers);
    if (rv != 0) {
        sp_loop_free(loop);
        return rv;
    }
    *out_loop = loop;
    return 0;
}

void sp_loop_free(struct sp_loop *loop)
{
    if (loop == NULL) {
        return;
    }
    SP_ASSERT(!loop->running);
    SP_ASSERT(loop->open_count == 0);
    for (unsigned round = 0; round < ROUNDS_MAX && !sp_list_empty(&loop->deferred); round++) {
        run_deferred(loop); /* the last steps of streams that are closing */
    }
    sp_workers_end(loop->workers);
    sp_resolver_end(loop->resolver);
    uv_close((uv_handle_t *)&loop->alarm, NULL);
    uv_close((uv_handle_t *)&loop->spin, NULL);
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    for (unsigned i = 0; i < loop->signals_open; i++) {
        uv_close((uv_handle_t *)&loop->signals[i], NULL);
    }
    while (uv_run(&loop->uv, UV_RUN_DEFAULT) != 0) {
        /* A stop that came after the last run ends the first call early. */
    }
    int rv = uv_loop_close(&loop->uv);
    SP_ASSERT(rv == 0);
    sp_workers_free(loop->workers);
    sp_resolver_free(loop->resolver);
    sp_mem_free(loop->heap);
    sp_mem_free(loop);
}
