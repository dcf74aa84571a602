/* The second body of io/thread.h, and of a loop inside another one: there are no threads in the
 * simulator, so that nothing can be started and nothing else can be reached. */
#include "io/thread.h"

#include "base/assert.h"
#include "io/loop.h"
#include "spate/error.h"

static _Noreturn void unreachable(void)
{
    sp_assert_failed("a thread in the simulator", __FILE__, __LINE__);
}

uint64_t sp_thread_self(void)
{
    return 1;
}

int sp_thread_start(void (*run)(void *arg), void *arg, struct sp_thread **out_thread)
{
    (void)run;
    (void)arg;
    (void)out_thread;
    return SPATE_ERR_UNSUPPORTED;
}

void sp_thread_join(struct sp_thread *thread)
{
    SP_ASSERT(thread == NULL);
}

int sp_monitor_new(struct sp_monitor **out_monitor)
{
    (void)out_monitor;
    return SPATE_ERR_UNSUPPORTED;
}

void sp_monitor_free(struct sp_monitor *monitor)
{
    SP_ASSERT(monitor == NULL);
}

void sp_monitor_enter(struct sp_monitor *monitor)
{
    (void)monitor;
    unreachable();
}

void sp_monitor_enter_first(struct sp_monitor *monitor)
{
    (void)monitor;
    unreachable();
}

void sp_monitor_leave(struct sp_monitor *monitor)
{
    (void)monitor;
    unreachable();
}

bool sp_monitor_outermost(const struct sp_monitor *monitor)
{
    (void)monitor;
    unreachable();
}

unsigned sp_monitor_suspend(struct sp_monitor *monitor)
{
    (void)monitor;
    unreachable();
}

void sp_monitor_resume(struct sp_monitor *monitor, unsigned depth)
{
    (void)monitor;
    (void)depth;
    unreachable();
}

void sp_monitor_wait(struct sp_monitor *monitor, uint64_t timeout_ms)
{
    (void)monitor;
    (void)timeout_ms;
    unreachable();
}

void sp_monitor_wake(struct sp_monitor *monitor)
{
    (void)monitor;
    unreachable();
}

int sp_wakeup_open(struct sp_wakeup *wakeup)
{
    wakeup->fd = -1;
    return SPATE_ERR_UNSUPPORTED;
}

void sp_wakeup_close(struct sp_wakeup *wakeup)
{
    wakeup->fd = -1;
}

void sp_wakeup_raise(struct sp_wakeup *wakeup)
{
    (void)wakeup;
    unreachable();
}

void sp_wakeup_lower(struct sp_wakeup *wakeup)
{
    (void)wakeup;
    unreachable();
}

void sp_wakeup_wait(struct sp_wakeup *wakeup, int fd, int timeout_ms)
{
    (void)wakeup;
    (void)fd;
    (void)timeout_ms;
    unreachable();
}

void sp_loop_turn_nowait(struct sp_loop *loop)
{
    (void)loop;
    unreachable();
}

int sp_loop_fd(const struct sp_loop *loop)
{
    (void)loop;
    return SPATE_ERR_UNSUPPORTED;
}

int sp_loop_wait_ms(struct sp_loop *loop)
{
    (void)loop;
    unreachable();
}

bool sp_loop_due_before(const struct sp_loop *loop, uint64_t time_ms)
{
    (void)loop;
    (void)time_ms;
    unreachable();
}
