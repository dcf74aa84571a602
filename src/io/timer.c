/* Timers: a binary heap of pointers to the timers that their owners embed. */
#include <stddef.h>

#include "base/assert.h"
#include "base/mem.h"
#include "io/loop_body.h"
#include "spate/error.h"

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

static void sift_up(struct sp_loop *loop, uint32_t position, struct sp_timer *timer)
{
    while (position > 0) {
        uint32_t parent = (position - 1) / 2;
        if (!before(timer, loop->heap[parent])) {
            break;
        }
        place(loop, position, loop->heap[parent]);
        position = parent;
    }
    place(loop, position, timer);
}

static void sift_down(struct sp_loop *loop, uint32_t position, struct sp_timer *timer)
{
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

/* Finds the place of a timer whose key changed, or that fills a gap at `position`. */
static void sift(struct sp_loop *loop, uint32_t position, struct sp_timer *timer)
{
    if (position > 0 && before(timer, loop->heap[(position - 1) / 2])) {
        sift_up(loop, position, timer);
    } else {
        sift_down(loop, position, timer);
    }
}

static int reserve_slot(struct sp_loop *loop)
{
    if (loop->heap_count < loop->heap_capacity) {
        return 0;
    }
    SP_ASSERT(loop->heap_capacity <= UINT32_MAX / 4);
    uint32_t capacity = loop->heap_capacity == 0 ? HEAP_CAPACITY_MIN : 2 * loop->heap_capacity;
    struct sp_timer **heap = sp_mem_realloc(loop->heap, capacity * sizeof *heap);
    if (heap == NULL) {
        return SPATE_ERR_NOMEM;
    }
    loop->heap = heap;
    loop->heap_capacity = capacity;
    return 0;
}

void sp_timer_init(struct sp_timer *timer, struct sp_loop *loop, sp_timer_cb cb)
{
    *timer = (struct sp_timer){ .loop = loop, .cb = cb };
}

int sp_timer_start(struct sp_timer *timer, uint64_t due_ms)
{
    struct sp_loop *loop = timer->loop;
    uint64_t now_ms = uv_now(&loop->uv);
    bool fresh = timer->heap_slot == 0;

    if (fresh && reserve_slot(loop) != 0) {
        return SPATE_ERR_NOMEM;
    }
    /* A time in the past counts as now, so that a timer that restarts itself like this lines up
     * behind those that have been due for longer. */
    timer->due_ms = due_ms > now_ms ? due_ms : now_ms;
    timer->order = loop->timer_order;
    loop->timer_order += 1;
    if (fresh) {
        loop->heap_count += 1;
        sift_up(loop, loop->heap_count - 1, timer);
    } else {
        sift(loop, timer->heap_slot - 1, timer);
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

void sp_loop_fire_timers(struct sp_loop *loop)
{
    uint64_t now_ms = uv_now(&loop->uv);
    uint64_t order_end = loop->timer_order;

    while (loop->heap_count > 0) {
        struct sp_timer *timer = loop->heap[0];
        if (timer->due_ms > now_ms || timer->order >= order_end) {
            break;
        }
        sp_timer_stop(timer);
        timer->cb(timer);
    }
}
