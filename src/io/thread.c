/* Threads and monitors on libuv, wake-ups on eventfd. */
#include "io/thread.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <uv.h>

#include "base/assert.h"
#include "base/mem.h"
#include "io/standard.h"
#include "spate/error.h"

/* ---- threads --------------------------------------------------------------------------------- */

struct sp_thread {
    uv_thread_t thread;
    void (*run)(void *arg);
    void *arg;
};

uint64_t sp_thread_self(void)
{
    return (uint64_t)uv_thread_self();
}

static void run_thread(void *arg)
{
    struct sp_thread *thread = arg;

    thread->run(thread->arg);
}

static int start_without_signals(uv_thread_t *out_thread, uv_thread_cb run, void *arg)
{
    sigset_t all;
    sigset_t before;

    (void)sigfillset(&all); /* cannot fail, as the next two calls: their arguments are constants */
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int rv = uv_thread_create(out_thread, run, arg);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rv;
}

int sp_thread_start(void (*run)(void *arg), void *arg, struct sp_thread **out_thread)
{
    struct sp_thread *thread = sp_mem_calloc(1, sizeof *thread);

    if (thread == NULL) {
        return SPATE_ERR_NOMEM;
    }
    thread->run = run;
    thread->arg = arg;
    if (start_without_signals(&thread->thread, run_thread, thread) != 0) {
        sp_mem_free(thread);
        return SPATE_ERR_INTERNAL;
    }
    *out_thread = thread;
    return 0;
}

void sp_thread_join(struct sp_thread *thread)
{
    if (thread == NULL) {
        return;
    }
    int rv = uv_thread_join(&thread->thread);
    SP_ASSERT(rv == 0);
    sp_mem_free(thread);
}

static void run_alone(void *arg)
{
    struct sp_thread *thread = arg;
    void (*run)(void *run_arg) = thread->run;
    void *run_arg = thread->arg;

    (void)pthread_detach(pthread_self()); /* fails only for a thread that is detached or gone */
    sp_mem_free(thread);
    run(run_arg);
}

int sp_thread_start_alone(void (*run)(void *arg), void *arg)
{
    struct sp_thread *thread = sp_mem_calloc(1, sizeof *thread);
    uv_thread_t number; /* the thread frees its struct, perhaps before this call ends */

    if (thread == NULL) {
        return SPATE_ERR_NOMEM;
    }
    thread->run = run;
    thread->arg = arg;
    if (start_without_signals(&number, run_alone, thread) != 0) {
        sp_mem_free(thread);
        return SPATE_ERR_INTERNAL;
    }
    return 0;
}

/* ---- monitors -------------------------------------------------------------------------------- */

struct sp_monitor {
    uv_mutex_t lock;
    uv_cond_t woken;
    uv_cond_t first_entered;
    atomic_uint_least64_t owner; /* of the thread inside; 0: none. Only a thread itself can make it
                                    its own number, so that a comparison with that needs no lock */
    atomic_bool first_waits;     /* in sp_monitor_enter_first */
    unsigned depth;
    unsigned sleeping; /* threads in sp_monitor_wait */
    unsigned giving_way;
};

int sp_monitor_new(struct sp_monitor **out_monitor)
{
    struct sp_monitor *monitor = sp_mem_calloc(1, sizeof *monitor);

    if (monitor == NULL) {
        return SPATE_ERR_NOMEM;
    }
    if (uv_mutex_init(&monitor->lock) != 0) {
        sp_mem_free(monitor);
        return SPATE_ERR_INTERNAL;
    }
    if (uv_cond_init(&monitor->woken) != 0) {
        uv_mutex_destroy(&monitor->lock);
        sp_mem_free(monitor);
        return SPATE_ERR_INTERNAL;
    }
    if (uv_cond_init(&monitor->first_entered) != 0) {
        uv_cond_destroy(&monitor->woken);
        uv_mutex_destroy(&monitor->lock);
        sp_mem_free(monitor);
        return SPATE_ERR_INTERNAL;
    }
    *out_monitor = monitor;
    return 0;
}

void sp_monitor_free(struct sp_monitor *monitor)
{
    if (monitor == NULL) {
        return;
    }
    SP_ASSERT(monitor->depth == 0);
    uv_cond_destroy(&monitor->first_entered);
    uv_cond_destroy(&monitor->woken);
    uv_mutex_destroy(&monitor->lock);
    sp_mem_free(monitor);
}

static void own(struct sp_monitor *monitor, unsigned depth)
{
    atomic_store_explicit(&monitor->owner, sp_thread_self(), memory_order_relaxed);
    monitor->depth = depth;
}

static void disown(struct sp_monitor *monitor)
{
    atomic_store_explicit(&monitor->owner, 0, memory_order_relaxed);
    monitor->depth = 0;
}

static bool inside(const struct sp_monitor *monitor)
{
    return atomic_load_explicit(&monitor->owner, memory_order_relaxed) == sp_thread_self();
}

void sp_monitor_resume(struct sp_monitor *monitor, unsigned depth)
{
    uv_mutex_lock(&monitor->lock);
    /* A lock goes to whoever asks while it is free, which is nearly always the thread that has just
     * left and is back before the one that it woke. */
    while (atomic_load_explicit(&monitor->first_waits, memory_order_relaxed)) {
        monitor->giving_way += 1;
        uv_cond_wait(&monitor->first_entered, &monitor->lock);
        monitor->giving_way -= 1;
    }
    own(monitor, depth);
}

void sp_monitor_enter(struct sp_monitor *monitor)
{
    if (inside(monitor)) {
        monitor->depth += 1;
        return;
    }
    sp_monitor_resume(monitor, 1);
}

void sp_monitor_enter_first(struct sp_monitor *monitor)
{
    SP_ASSERT(!inside(monitor));
    atomic_store_explicit(&monitor->first_waits, true, memory_order_relaxed);
    uv_mutex_lock(&monitor->lock);
    atomic_store_explicit(&monitor->first_waits, false, memory_order_relaxed);
    if (monitor->giving_way > 0) {
        uv_cond_broadcast(&monitor->first_entered);
    }
    own(monitor, 1);
}

void sp_monitor_leave(struct sp_monitor *monitor)
{
    SP_ASSERT(inside(monitor));
    if (monitor->depth > 1) {
        monitor->depth -= 1;
        return;
    }
    (void)sp_monitor_suspend(monitor);
}

bool sp_monitor_outermost(const struct sp_monitor *monitor)
{
    return monitor->depth == 1;
}

unsigned sp_monitor_suspend(struct sp_monitor *monitor)
{
    SP_ASSERT(inside(monitor));
    unsigned depth = monitor->depth;
    disown(monitor);
    uv_mutex_unlock(&monitor->lock);
    return depth;
}

void sp_monitor_wait(struct sp_monitor *monitor, uint64_t timeout_ms)
{
    SP_ASSERT(inside(monitor));
    unsigned depth = monitor->depth;

    disown(monitor);
    monitor->sleeping += 1;
    if (timeout_ms >= UINT64_MAX / 1000000) {
        uv_cond_wait(&monitor->woken, &monitor->lock);
    } else {
        (void)uv_cond_timedwait(&monitor->woken, &monitor->lock, timeout_ms * 1000000);
    }
    monitor->sleeping -= 1;
    own(monitor, depth);
}

void sp_monitor_wake(struct sp_monitor *monitor)
{
    SP_ASSERT(inside(monitor));
    if (monitor->sleeping > 0) {
        uv_cond_broadcast(&monitor->woken);
    }
}

/* ---- wake-ups -------------------------------------------------------------------------------- */

int sp_wakeup_open(struct sp_wakeup *wakeup)
{
    int fd = sp_standard_avoid(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));

    if (fd < 0) {
        wakeup->fd = -1;
        return SPATE_ERR_BUSY;
    }
    wakeup->fd = fd;
    return 0;
}

void sp_wakeup_close(struct sp_wakeup *wakeup)
{
    if (wakeup->fd >= 0) {
        (void)close(wakeup->fd); /* an eventfd has nothing to lose */
    }
    wakeup->fd = -1;
}

void sp_wakeup_raise(struct sp_wakeup *wakeup)
{
    uint64_t one = 1;
    ssize_t size;

    do {
        size = write(wakeup->fd, &one, sizeof one);
    } while (size < 0 && errno == EINTR); /* EAGAIN: it is raised as high as it goes */
}

void sp_wakeup_lower(struct sp_wakeup *wakeup)
{
    uint64_t count;
    ssize_t size;

    do {
        size = read(wakeup->fd, &count, sizeof count);
    } while (size < 0 && errno == EINTR); /* EAGAIN: it was not raised */
}

void sp_wakeup_wait(struct sp_wakeup *wakeup, int fd, int timeout_ms)
{
    struct pollfd watched[2] = {
        { .fd = wakeup->fd, .events = POLLIN },
        { .fd = fd, .events = POLLIN },
    };
    int count = poll(watched, 2, timeout_ms);

    if (count > 0 && (watched[0].revents & POLLIN) != 0) {
        sp_wakeup_lower(wakeup);
    }
}
