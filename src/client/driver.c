/* The thread of a client: turns, sleep, and what calls do with it. */
#include "client/driver.h"

#include "base/assert.h"
#include "base/mem.h"
#include "spate/error.h"

/* ---- the thread ------------------------------------------------------------------------------ */

static uint64_t sleep_end(const struct sp_driver *driver, int wait_ms)
{
    return wait_ms < 0 ? UINT64_MAX : sp_loop_now_ms(driver->loop) + (uint64_t)wait_ms;
}

static void turn(struct sp_driver *driver)
{
    sp_loop_turn_nowait(driver->loop);
    driver->before_leave(driver->arg);
    int wait_ms = sp_loop_wait_ms(driver->loop);

    driver->asleep = wait_ms != 0;
    driver->asleep_until_ms = sleep_end(driver, wait_ms);
    sp_monitor_leave(driver->monitor);
    if (wait_ms != 0) {
        sp_wakeup_wait(&driver->wake, sp_loop_fd(driver->loop), wait_ms);
    }
    sp_monitor_enter_first(driver->monitor);
    driver->asleep = false;
}

static void run(void *arg)
{
    struct sp_driver *driver = arg;

    sp_monitor_enter_first(driver->monitor);
    while (!driver->ending) {
        turn(driver);
    }
    sp_monitor_leave(driver->monitor);
}

void sp_driver_kick(struct sp_driver *driver)
{
    if (driver->asleep && sp_loop_due_before(driver->loop, driver->asleep_until_ms)) {
        driver->asleep = false; /* one wake-up is enough */
        sp_wakeup_raise(&driver->wake);
    }
}

/* ---- calls ----------------------------------------------------------------------------------- */

void sp_driver_enter(struct sp_driver *driver)
{
    atomic_fetch_add_explicit(&driver->calls_count, 1, memory_order_relaxed);
    sp_monitor_enter(driver->monitor);
}

void sp_driver_leave(struct sp_driver *driver)
{
    if (sp_monitor_outermost(driver->monitor)) {
        driver->before_leave(driver->arg);
        sp_driver_kick(driver);
    }
    /* Before the monitor is left: whoever closes the client waits inside for this number. */
    atomic_fetch_sub_explicit(&driver->calls_count, 1, memory_order_relaxed);
    sp_monitor_leave(driver->monitor);
}

unsigned sp_driver_suspend(struct sp_driver *driver)
{
    sp_driver_kick(driver);
    return sp_monitor_suspend(driver->monitor);
}

void sp_driver_resume(struct sp_driver *driver, unsigned depth)
{
    sp_monitor_resume(driver->monitor, depth);
}

void sp_driver_wait(struct sp_driver *driver, uint64_t deadline_ms)
{
    uint64_t wakes = driver->wakes;
    uint64_t now_ms = sp_loop_now_ms(driver->loop);

    while (driver->wakes == wakes && now_ms < deadline_ms) {
        sp_driver_kick(driver);
        sp_monitor_wait(driver->monitor,
                        deadline_ms == UINT64_MAX ? UINT64_MAX : deadline_ms - now_ms);
        now_ms = sp_loop_now_ms(driver->loop);
    }
}

void sp_driver_wake(struct sp_driver *driver)
{
    driver->wakes += 1;
    sp_monitor_wake(driver->monitor);
}

unsigned sp_driver_calls(const struct sp_driver *driver)
{
    return atomic_load_explicit(&driver->calls_count, memory_order_relaxed);
}

/* ---- error texts ----------------------------------------------------------------------------- */

char *sp_driver_error_new(struct sp_driver *driver)
{
    uint64_t thread = sp_thread_self();
    struct sp_driver_error *chosen = &driver->errors[0];

    for (unsigned i = 0; i < SP_DRIVER_ERRORS_MAX; i++) {
        struct sp_driver_error *error = &driver->errors[i];
        if (error->thread == thread) {
            chosen = error;
            break;
        }
        if (error->order < chosen->order) {
            chosen = error;
        }
    }
    if (chosen->thread != thread) {
        chosen->text[0] = '\0';
    }
    driver->error_order += 1;
    chosen->thread = thread;
    chosen->order = driver->error_order;
    return chosen->text;
}

const char *sp_driver_error(const struct sp_driver *driver)
{
    uint64_t thread = sp_thread_self();

    for (unsigned i = 0; i < SP_DRIVER_ERRORS_MAX; i++) {
        if (driver->errors[i].thread == thread) {
            return driver->errors[i].text;
        }
    }
    return "";
}

/* ---- life ------------------------------------------------------------------------------------ */

int sp_driver_new(struct sp_loop *loop,
                  void (*before_leave)(void *arg),
                  void *arg,
                  struct sp_driver **out_driver)
{
    struct sp_driver *driver = sp_mem_calloc(1, sizeof *driver);

    if (driver == NULL) {
        return SPATE_ERR_NOMEM;
    }
    driver->loop = loop;
    driver->before_leave = before_leave;
    driver->arg = arg;
    int rv = sp_wakeup_open(&driver->wake);
    if (rv == 0) {
        rv = sp_monitor_new(&driver->monitor);
    }
    if (rv == 0) {
        sp_monitor_enter(driver->monitor); /* the thread begins once all is in place */
        rv = sp_thread_start(run, driver, &driver->thread);
        *out_driver = rv == 0 ? driver : NULL;
        sp_monitor_leave(driver->monitor);
    }
    if (rv != 0) {
        sp_monitor_free(driver->monitor);
        sp_wakeup_close(&driver->wake);
        sp_mem_free(driver);
    }
    return rv;
}

void sp_driver_free(struct sp_driver *driver)
{
    if (driver == NULL) {
        return;
    }
    SP_ASSERT(sp_driver_calls(driver) == 0);
    sp_monitor_enter(driver->monitor);
    driver->ending = true;
    sp_wakeup_raise(&driver->wake);
    sp_monitor_leave(driver->monitor);
    sp_thread_join(driver->thread);
    sp_monitor_free(driver->monitor);
    sp_wakeup_close(&driver->wake);
    sp_mem_free(driver);
}
