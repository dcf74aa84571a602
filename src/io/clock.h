/* Clocks of a program that has no loop of its own: the command line, the tools that measure.
 *
 * What a node or a client decides goes by its loop's time (io/loop.h), which the simulator drives;
 * nothing drives these. Any thread. */
#ifndef SP_IO_CLOCK_H
#define SP_IO_CLOCK_H

#include <stdint.h>

/* Microseconds of the clock that sp_loop_now_us reads: it never goes back. */
uint64_t sp_clock_us(void);

/* Milliseconds since 1970-01-01 UTC; may jump either way. */
int64_t sp_clock_wall_ms(void);

#endif /* SP_IO_CLOCK_H */
