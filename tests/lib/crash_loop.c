#include "tests/lib/crash_loop.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/rand.h"

#define TIMERS_MAX 8
#define TURN_MS_MAX 20
#define TURNS_MAX 20000
#define LONG_PAUSE_MS 6000

struct sp_loop {
    struct sp_rand rand;
    bool shuffled;
    uint64_t now_ms;
    struct sp_list deferred;
    struct sp_list hooks;
    struct sp_list waiting; /* jobs that have not run */
    struct sp_list ended;   /* jobs that have */
    struct sp_timer *timers[TIMERS_MAX];
};

struct sp_loop *crash_loop_new(uint64_t seed, bool shuffled)
{
    struct sp_loop *loop = calloc(1, sizeof *loop);

    SP_ASSERT(loop != NULL);
    sp_rand_init(&loop->rand, seed);
    loop->shuffled = shuffled;
    loop->now_ms = 1000;
    sp_list_init(&loop->deferred);
    sp_list_init(&loop->hooks);
    sp_list_init(&loop->waiting);
    sp_list_init(&loop->ended);
    return loop;
}

void sp_loop_free(struct sp_loop *loop)
{
    SP_ASSERT(sp_list_empty(&loop->waiting) && sp_list_empty(&loop->ended));
    SP_ASSERT(sp_list_empty(&loop->hooks));
    free(loop);
}

static bool chance(struct sp_loop *loop)
{
    return !loop->shuffled || sp_rand_below(&loop->rand, 2) == 1;
}

static struct sp_job *take_any(struct sp_loop *loop, struct sp_list *jobs)
{
    struct sp_list *node = jobs->next;

    for (; loop->shuffled && sp_rand_below(&loop->rand, 2) == 1; node = node->next) {
        if (node->next == jobs) {
            break;
        }
    }
    sp_list_remove(node);
    return SP_LIST_ENTRY(node, struct sp_job, node);
}

static void run_timers(struct sp_loop *loop)
{
    for (unsigned i = 0; i < TIMERS_MAX; i++) {
        struct sp_timer *timer = loop->timers[i];

        if (timer != NULL && timer->due_ms <= loop->now_ms) {
            sp_timer_stop(timer);
            timer->cb(timer);
        }
    }
}

void crash_loop_turn(struct sp_loop *loop)
{
    bool pause = loop->shuffled && sp_rand_below(&loop->rand, 50) == 0;

    loop->now_ms += pause ? LONG_PAUSE_MS : 1 + sp_rand_below(&loop->rand, TURN_MS_MAX);
    while (!sp_list_empty(&loop->ended) && chance(loop)) {
        struct sp_job *job = take_any(loop, &loop->ended);

        job->done(job);
    }
    run_timers(loop);
    while (!sp_list_empty(&loop->deferred)) {
        struct sp_deferred *deferred = SP_LIST_ENTRY(loop->deferred.next, struct sp_deferred, node);

        sp_list_remove(&deferred->node);
        deferred->cb(deferred);
    }
    SP_LIST_EACH_SAFE (node, &loop->hooks) {
        struct sp_hook *hook = SP_LIST_ENTRY(node, struct sp_hook, node);

        hook->cb(hook);
    }
    while (!sp_list_empty(&loop->waiting) && chance(loop)) {
        struct sp_job *job = take_any(loop, &loop->waiting);

        job->work(job);
        sp_list_append(&loop->ended, &job->node);
    }
}

bool crash_loop_until(struct sp_loop *loop, const bool *flag)
{
    for (unsigned i = 0; !*flag && i < TURNS_MAX; i++) {
        crash_loop_turn(loop);
    }
    return *flag;
}

/* ---- io/loop.h ------------------------------------------------------------------------------- */

uint64_t sp_loop_now_ms(const struct sp_loop *loop)
{
    return loop->now_ms;
}

uint64_t sp_loop_now_us(const struct sp_loop *loop)
{
    return loop->now_ms * 1000;
}

int64_t sp_loop_wall_ms(const struct sp_loop *loop)
{
    return (int64_t)sp_loop_now_ms(loop);
}

uint64_t sp_loop_random(struct sp_loop *loop)
{
    return sp_rand_next(&loop->rand);
}

void sp_timer_init(struct sp_timer *timer, struct sp_loop *loop, sp_timer_cb cb)
{
    *timer = (struct sp_timer){ .loop = loop, .cb = cb };
}

int sp_timer_start(struct sp_timer *timer, uint64_t due_ms)
{
    struct sp_loop *loop = timer->loop;

    timer->due_ms = due_ms;
    for (uint32_t i = 0; timer->heap_slot == 0; i++) {
        SP_ASSERT(i < TIMERS_MAX);
        if (loop->timers[i] == NULL) {
            loop->timers[i] = timer;
            timer->heap_slot = i + 1;
        }
    }
    return 0;
}

void sp_timer_stop(struct sp_timer *timer)
{
    if (timer->heap_slot != 0) {
        timer->loop->timers[timer->heap_slot - 1] = NULL;
        timer->heap_slot = 0;
    }
}

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

void sp_job_start(struct sp_loop *loop,
                  struct sp_job *job,
                  void (*work)(struct sp_job *job),
                  void (*done)(struct sp_job *job))
{
    job->loop = loop;
    job->work = work;
    job->done = done;
    sp_list_append(&loop->waiting, &job->node);
}

void sp_job_start_short(struct sp_loop *loop,
                        struct sp_job *job,
                        void (*work)(struct sp_job *job),
                        void (*done)(struct sp_job *job))
{
    sp_job_start(loop, job, work, done); /* jobs run one by one, as the test wants */
}

void sp_job_start_urgent(struct sp_loop *loop,
                         struct sp_job *job,
                         void (*work)(struct sp_job *job),
                         void (*done)(struct sp_job *job))
{
    sp_job_start(loop, job, work, done); /* jobs run one by one, as the test wants */
}

void sp_job_start_yielding(struct sp_loop *loop,
                           struct sp_job *job,
                           void (*work)(struct sp_job *job),
                           void (*done)(struct sp_job *job))
{
    sp_job_start(loop, job, work, done); /* jobs run one by one, as the test wants */
}

void sp_job_start_patient(struct sp_loop *loop,
                          struct sp_job *job,
                          void (*work)(struct sp_job *job),
                          void (*done)(struct sp_job *job))
{
    sp_job_start(loop, job, work, done); /* jobs run one by one, as the test wants */
}

void sp_job_rest(const struct sp_job *job)
{
    (void)job;
}
