#include "server/pulse.h"

#include "base/attr.h"

#define BEAT_MS 100

static void on_beat(struct sp_timer *timer)
{
    struct sp_pulse *pulse = SP_CONTAINER_OF(timer, struct sp_pulse, timer);
    uint64_t now_us = sp_loop_now_us(timer->loop);
    uint64_t due_us = timer->due_ms * 1000;

    sp_histogram_note(&pulse->delays, now_us > due_us ? now_us - due_us : 0);
    atomic_store_explicit(&pulse->beaten_us, now_us, memory_order_relaxed);
    /* A timer that fires has a place in the loop's heap: this cannot fail. */
    (void)sp_timer_start(timer, sp_loop_now_ms(timer->loop) + BEAT_MS);
}

int sp_pulse_start(struct sp_pulse *pulse, struct sp_loop *loop)
{
    sp_timer_init(&pulse->timer, loop, on_beat);
    atomic_store_explicit(&pulse->beaten_us, sp_loop_now_us(loop), memory_order_relaxed);
    return sp_timer_start(&pulse->timer, sp_loop_now_ms(loop) + BEAT_MS);
}

void sp_pulse_stop(struct sp_pulse *pulse)
{
    sp_timer_stop(&pulse->timer);
}

uint64_t sp_pulse_silent_ms(const struct sp_pulse *pulse)
{
    uint64_t beaten_us = atomic_load_explicit(&pulse->beaten_us, memory_order_relaxed);
    uint64_t now_us = sp_loop_now_us(pulse->timer.loop);

    return now_us > beaten_us ? (now_us - beaten_us) / 1000 : 0;
}
