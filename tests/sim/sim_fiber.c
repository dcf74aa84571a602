#include "sim_fiber.h"

#include <stddef.h>
#include <stdlib.h>
#include <ucontext.h>

#include "base/assert.h"
#include "sim_world.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define WITH_SANITIZER 1
#else
#define WITH_SANITIZER 0
#endif

enum {
    STACK_SIZE = 512 * 1024,
};

struct sim_fiber {
    struct sim_process *process;
    void (*main)(void *arg);
    void *arg;
    ucontext_t own;
    ucontext_t world;
    void *stack;
    bool waiting;
    bool ended;
};

static struct sim_fiber *running;

#if WITH_SANITIZER
static const void *world_stack;
static size_t world_stack_size;
#endif

/* ---- switching ------------------------------------------------------------------------------- */

static void enter_fiber(struct sim_fiber *fiber)
{
    SP_ASSERT(running == NULL);
    running = fiber;
#if WITH_SANITIZER
    void *fake = NULL;
    __sanitizer_start_switch_fiber(&fake, fiber->stack, STACK_SIZE);
#endif
    (void)swapcontext(&fiber->world, &fiber->own); /* fails only without a stack */
#if WITH_SANITIZER
    __sanitizer_finish_switch_fiber(fake, NULL, NULL);
#endif
    running = NULL;
}

static void leave_fiber(struct sim_fiber *fiber)
{
#if WITH_SANITIZER
    void *fake = NULL;
    __sanitizer_start_switch_fiber(fiber->ended ? NULL : &fake, world_stack, world_stack_size);
#endif
    (void)swapcontext(&fiber->own, &fiber->world); /* fails only without a stack */
#if WITH_SANITIZER
    __sanitizer_finish_switch_fiber(fake, &world_stack, &world_stack_size);
#endif
}

static void begin(void)
{
    struct sim_fiber *fiber = running;

#if WITH_SANITIZER
    __sanitizer_finish_switch_fiber(NULL, &world_stack, &world_stack_size);
#endif
    fiber->main(fiber->arg);
    fiber->ended = true;
    leave_fiber(fiber);
}

static void resume(void *arg)
{
    enter_fiber(arg);
}

/* ---- for its users --------------------------------------------------------------------------- */

void sim_fiber_start(struct sim_process *process, void (*main)(void *arg), void *arg)
{
    struct sim_fiber *fiber = sim_alloc(sizeof *fiber);

    SP_ASSERT(process->fiber == NULL);
    fiber->process = process;
    fiber->main = main;
    fiber->arg = arg;
    fiber->stack = malloc(STACK_SIZE);
    SP_ASSERT(fiber->stack != NULL);
    (void)getcontext(&fiber->own); /* cannot fail */
    fiber->own.uc_stack.ss_sp = fiber->stack;
    fiber->own.uc_stack.ss_size = STACK_SIZE;
    makecontext(&fiber->own, begin, 0);
    process->fiber = fiber;
    (void)sim_at(sim.now_us, SIM_EVENT_FIBER, process, resume, fiber);
}

void sim_fiber_wait(void)
{
    struct sim_fiber *fiber = running;

    SP_ASSERT(fiber != NULL);
    fiber->waiting = true;
    leave_fiber(fiber);
}

static void wake(void *arg)
{
    sim_fiber_wake(arg);
}

void sim_fiber_sleep(uint64_t time_us)
{
    (void)sim_at(sim.now_us + time_us, SIM_EVENT_WORLD, running->process, wake, running);
    sim_fiber_wait();
}

void sim_fiber_wake(struct sim_fiber *fiber)
{
    if (!fiber->waiting) {
        return;
    }
    fiber->waiting = false;
    (void)sim_at(sim.now_us, SIM_EVENT_FIBER, fiber->process, resume, fiber);
}

struct sim_fiber *sim_fiber_current(void)
{
    return running;
}

bool sim_fiber_ended(const struct sim_fiber *fiber)
{
    return fiber->ended;
}

void sim_fiber_free(struct sim_fiber *fiber)
{
    if (fiber == NULL) {
        return;
    }
    SP_ASSERT(fiber != running);
    free(fiber->stack);
    sim_free(fiber);
}
