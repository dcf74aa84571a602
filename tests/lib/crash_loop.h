/* A small body of io/loop.h for tests without threads: jobs run when the test lets them, in any
 * order that a seed gives, and end in any later turn. No sockets. */
#ifndef SP_TESTS_LIB_CRASH_LOOP_H
#define SP_TESTS_LIB_CRASH_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "io/loop.h"

/* A new loop, freed with sp_loop_free. With `shuffled` false jobs run and end as soon as they can,
 * in order. */
struct sp_loop *crash_loop_new(uint64_t seed, bool shuffled);

/* One turn: some ends of jobs, timers, deferred calls, hooks; then some jobs. */
void crash_loop_turn(struct sp_loop *loop);

/* Turns until `*flag`. False if that takes too many of them. */
bool crash_loop_until(struct sp_loop *loop, const bool *flag);

#endif /* SP_TESTS_LIB_CRASH_LOOP_H */
