/* Timers of the simulated loop: a binary heap of pointers, as in the real body. */
#include <stddef.h>

#include "base/assert.h"
#include "base/mem.h"
#include "sim_loop_body.h"

enum {
    HEAP_CAPACITY_MIN = 64,
};

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
        sim_loop_plan_wake(loop);
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

void sim_loop_fire_timers(struct sp_loop *loop)
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
