/* Who turns the loop of a client: with io.thread=on a thread of its own, in turns with all that
 * call; with off the calls themselves, one thread at a time, and then there is no driver (NULL).
 *
 *   public call -- hold --> [ monitor ] -- release --> the thread is woken if there is work
 *                              |  ^
 *     what it waits for        v  | sp_client_wake
 *                        sp_driver_wait
 *                              ^
 *   thread:  turn (inside) -> how long may it sleep? -> sleep on the loop's descriptor (outside)
 *
 * Invariants:
 *  I1  All state of the client, its producers and consumers is used inside the monitor only.
 *  I2  The user's callbacks run outside, on the thread that called.
 *  I3  While the thread sleeps, nothing waits for an earlier turn than it will make by itself:
 *      whoever leaves the monitor sees to that. */
#ifndef SP_CLIENT_DRIVER_H
#define SP_CLIENT_DRIVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/limits.h"
#include "io/loop.h"
#include "io/thread.h"

#define SP_CLIENT_ERROR_SIZE 600 /* one sentence with an address and a server's text */
#define SP_DRIVER_ERRORS_MAX 64  /* threads whose last error text is kept */

/* The text of the last failure of one thread. */
struct sp_driver_error {
    uint64_t thread; /* 0: free */
    uint64_t order;  /* of the failure, so that the oldest makes room */
    char text[SP_CLIENT_ERROR_SIZE];
};

struct sp_driver {
    struct sp_loop *loop;
    struct sp_monitor *monitor;
    struct sp_thread *thread;
    struct sp_wakeup wake; /* ends the sleep of the thread */
    bool asleep;
    uint64_t asleep_until_ms; /* UINT64_MAX: until something happens */
    bool ending;
    uint64_t wakes;          /* how often sp_driver_wake was called */
    atomic_uint calls_count; /* threads that are in a call, or on the way in */

    void (*before_leave)(void *arg); /* inside, before others get in */
    void *arg;

    uint64_t error_order;
    struct sp_driver_error errors[SP_DRIVER_ERRORS_MAX];
};

/* Starts the thread. `before_leave` runs after each turn and each call. SPATE_ERR_NOMEM,
 * SPATE_ERR_INTERNAL, SPATE_ERR_BUSY, SPATE_ERR_UNSUPPORTED. */
int sp_driver_new(struct sp_loop *loop,
                  void (*before_leave)(void *arg),
                  void *arg,
                  struct sp_driver **out_driver);

/* Ends the thread; nobody may be in a call. The loop stays. NULL is fine. */
void sp_driver_free(struct sp_driver *driver);

/* A call begins, and ends. */
void sp_driver_enter(struct sp_driver *driver);
void sp_driver_leave(struct sp_driver *driver);

/* Around a callback of the user. */
unsigned sp_driver_suspend(struct sp_driver *driver);
void sp_driver_resume(struct sp_driver *driver, unsigned depth);

/* Lets others in until sp_driver_wake, at most until `deadline_ms` (as sp_loop_now_ms). */
void sp_driver_wait(struct sp_driver *driver, uint64_t deadline_ms);

/* Ends the waiting of all that wait now. Inside. */
void sp_driver_wake(struct sp_driver *driver);

/* Wakes the thread if something waits for a turn. Inside. */
void sp_driver_kick(struct sp_driver *driver);

/* Threads in a call, with the caller. */
unsigned sp_driver_calls(const struct sp_driver *driver);

/* The text of the calling thread, to be written (a new one is empty). Inside. */
char *sp_driver_error_new(struct sp_driver *driver);

/* The text of the calling thread, or "". Inside. */
const char *sp_driver_error(const struct sp_driver *driver);

/* ---- the line that begins every public function ---------------------------------------------- */

static inline struct sp_driver *sp_driver_hold(struct sp_driver *driver)
{
    if (driver != NULL) {
        sp_driver_enter(driver);
    }
    return driver;
}

static inline void sp_driver_release(struct sp_driver *const *driver)
{
    if (*driver != NULL) {
        sp_driver_leave(*driver);
    }
}

/* Holds the client from here to the end of the block, however it is left. A public function may
 * call another one. */
#define SP_CLIENT_HOLD(client)                                                                     \
    SP_CLEANUP(sp_driver_release)                                                                  \
    struct sp_driver *const held_driver SP_UNUSED = sp_driver_hold((client)->driver)

#endif /* SP_CLIENT_DRIVER_H */
