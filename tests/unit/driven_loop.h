/* A loop whose timers, deferred calls and jobs note when they ran. Included once, by one test. */
#ifndef SP_UNIT_DRIVEN_LOOP_H
#define SP_UNIT_DRIVEN_LOOP_H

#include "io/loop.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "io/job_queue.h"
#include "io/read_share.h"
#include "io/stream.h"
#include "spate/error.h"

enum {
    WORKERS = 3,
    JOBS = 2000,
    LOG_SIZE_MAX = 256,
};

static struct sp_loop *loop;
static char events[LOG_SIZE_MAX]; /* one letter for each thing that happened */

static inline void note(char letter)
{
    size_t size = strlen(events);

    assert_true(size + 1 < sizeof events);
    events[size] = letter;
    events[size + 1] = '\0';
}

static inline int set_up(void **state)
{
    (void)state;
    memset(events, 0, sizeof events);
    assert_int_equal(sp_loop_new(WORKERS, &loop), 0);
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    sp_loop_free(loop);
    assert_int_equal(sp_mem_live_count(), 0);
    return 0;
}

/* ---- deferred calls and hooks ---------------------------------------------------------------- */

static struct sp_deferred second;
static struct sp_deferred third;
static struct sp_hook hook;

static inline void on_first(struct sp_deferred *deferred)
{
    (void)deferred;
    note('1');
    sp_loop_defer(loop, &third);
    sp_deferred_cancel(&second);
}

static inline void on_second(struct sp_deferred *deferred)
{
    (void)deferred;
    note('2');
}

static inline void on_third(struct sp_deferred *deferred)
{
    (void)deferred;
    note('3');
}

static inline void on_hook(struct sp_hook *called)
{
    (void)called;
    note('h');
}

#define LOOP_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

#endif /* SP_UNIT_DRIVEN_LOOP_H */
