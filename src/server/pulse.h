/* How late the loop is: a timer that measures itself, and tells other threads that the loop turns.
 */
#ifndef SP_SERVER_PULSE_H
#define SP_SERVER_PULSE_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/metrics.h"
#include "io/loop.h"

/* Open for embedding only. */
struct sp_pulse {
    struct sp_timer timer;
    struct sp_histogram delays;
    atomic_uint_least64_t beaten_us; /* when it beat last, by sp_loop_now_us */
};

/* Begins to beat. SPATE_ERR_NOMEM. */
int sp_pulse_start(struct sp_pulse *pulse, struct sp_loop *loop);
void sp_pulse_stop(struct sp_pulse *pulse);

/* For how long the loop has not turned, but for the time between two beats. Any thread. */
uint64_t sp_pulse_silent_ms(const struct sp_pulse *pulse);

#endif /* SP_SERVER_PULSE_H */
