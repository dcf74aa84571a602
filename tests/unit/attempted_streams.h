/* Streams that a test tries to connect, and one that its listener has accepted. Included once, by
 * one test. */
#ifndef SP_UNIT_ATTEMPTED_STREAMS_H
#define SP_UNIT_ATTEMPTED_STREAMS_H

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "io/loop.h"
#include "io/stream.h"

enum {
    TIMEOUT_MS = 20000,
    ALLOCATIONS_MAX = 50,
};

struct attempt {
    struct sp_stream *stream;
    bool told;
    int status;
    bool closed;
};

static struct sp_stream *accepted; /* the last one */
static bool accepted_any;

static inline void on_accept(void *arg, struct sp_stream *stream)
{
    (void)arg;
    if (accepted != NULL) {
        sp_stream_close(accepted, NULL, NULL);
    }
    accepted = stream;
    accepted_any = true;
}

static inline void on_connect(void *arg, struct sp_stream *stream, int status)
{
    struct attempt *attempt = arg;

    assert_ptr_equal(stream, attempt->stream);
    assert_false(attempt->told);
    attempt->told = true;
    attempt->status = status;
}

static inline void on_closed(void *arg)
{
    struct attempt *attempt = arg;

    assert_false(attempt->closed);
    attempt->closed = true;
}

static inline void wait_for(struct sp_loop *loop, const bool *flag)
{
    assert_true(sp_loop_run_until(loop, flag, sp_loop_now_ms(loop) + TIMEOUT_MS));
}

static inline struct sp_loop *begin_attempts(void)
{
    struct sp_loop *loop = NULL;

    accepted = NULL;
    accepted_any = false;
    assert_int_equal(sp_loop_new(0, &loop), 0);
    return loop;
}

/* Threads that asked for names may have been left behind: they end now, and are all that may still
 * hold memory. */
static inline void wait_for_no_memory(void)
{
    for (unsigned i = 0; i < TIMEOUT_MS && sp_mem_live_count() != 0; i++) {
        (void)poll(NULL, 0, 1);
    }
    assert_int_equal(sp_mem_live_count(), 0);
}

static inline void end_attempts(struct sp_loop *loop)
{
    if (accepted != NULL) {
        sp_stream_close(accepted, NULL, NULL);
    }
    sp_loop_free(loop);
    wait_for_no_memory();
}

#endif /* SP_UNIT_ATTEMPTED_STREAMS_H */
