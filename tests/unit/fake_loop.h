/* A loop for unit tests that is nothing but a clock, timers and deferred calls, all driven by hand.
 * Included by one test file, whose definitions take the place of io/loop at link time. */
#ifndef SPATE_TESTS_FAKE_LOOP_H
#define SPATE_TESTS_FAKE_LOOP_H

#include "base/assert.h"
#include "base/attr.h"
#include "io/loop.h"
#include "spate/error.h"

#define FAKE_TIMERS_MAX 600

static struct {
    uint64_t now_ms;
    struct sp_list deferred;
    struct sp_timer *timers[FAKE_TIMERS_MAX];
    unsigned timer_count;
} fake_loop;

static void fake_loop_init(void)
{
    fake_loop.now_ms = 1000;
    fake_loop.timer_count = 0;
    sp_list_init(&fake_loop.deferred);
}

uint64_t sp_loop_now_ms(const struct sp_loop *loop)
{
    (void)loop;
    return fake_loop.now_ms;
}

uint64_t sp_loop_now_us(const struct sp_loop *loop)
{
    (void)loop;
    return (fake_loop.now_ms) * 1000;
}

uint64_t sp_loop_random(struct sp_loop *loop)
{
    (void)loop;
    return 8;
}

void sp_timer_init(struct sp_timer *timer, struct sp_loop *loop, sp_timer_cb cb)
{
    *timer = (struct sp_timer){ .loop = loop, .cb = cb };
}

void sp_timer_stop(struct sp_timer *timer)
{
    if (timer->heap_slot == 0) {
        return;
    }
    fake_loop.timer_count -= 1;
    struct sp_timer *last = fake_loop.timers[fake_loop.timer_count];
    fake_loop.timers[timer->heap_slot - 1] = last;
    last->heap_slot = timer->heap_slot;
    timer->heap_slot = 0;
}

int sp_timer_start(struct sp_timer *timer, uint64_t due_ms)
{
    sp_timer_stop(timer);
    if (fake_loop.timer_count == FAKE_TIMERS_MAX) {
        return SPATE_ERR_NOMEM;
    }
    timer->due_ms = due_ms;
    fake_loop.timers[fake_loop.timer_count] = timer;
    fake_loop.timer_count += 1;
    timer->heap_slot = fake_loop.timer_count;
    return 0;
}

void sp_deferred_init(struct sp_deferred *deferred, sp_deferred_cb cb)
{
    sp_list_init(&deferred->node);
    deferred->cb = cb;
}

void sp_loop_defer(struct sp_loop *loop, struct sp_deferred *deferred)
{
    (void)loop;
    if (sp_list_empty(&deferred->node)) {
        sp_list_append(&fake_loop.deferred, &deferred->node);
    }
}

void sp_deferred_cancel(struct sp_deferred *deferred)
{
    sp_list_remove(&deferred->node);
}

/* Ends the turn: runs deferred calls until there are none. */
static void fake_turn(void)
{
    unsigned calls = 0;

    while (!sp_list_empty(&fake_loop.deferred)) {
        struct sp_deferred *deferred =
            SP_LIST_ENTRY(fake_loop.deferred.next, struct sp_deferred, node);
        sp_list_remove(&deferred->node);
        deferred->cb(deferred);
        calls += 1;
        SP_ASSERT(calls < 10000);
    }
}

/* Lets time pass, a turn per millisecond. */
SP_UNUSED static void fake_wait(unsigned duration_ms)
{
    for (unsigned i = 0; i < duration_ms; i++) {
        fake_loop.now_ms += 1;
        for (unsigned j = 0; j < fake_loop.timer_count;) {
            struct sp_timer *timer = fake_loop.timers[j];
            if (timer->due_ms > fake_loop.now_ms) {
                j += 1;
                continue;
            }
            sp_timer_stop(timer);
            timer->cb(timer);
            j = 0;
        }
        fake_turn();
    }
}

#endif /* SPATE_TESTS_FAKE_LOOP_H */
