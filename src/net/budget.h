/* Bytes that all connections of a port may hold together, shared so that whoever is modest need not
 * wait for those who are not.
 *
 *   |<------------------------- limit_bytes ------------------------>|
 *   | held: messages arriving, requests,  |           free           |
 *   | answers not taken                   |                          |
 *                                         a share may hold up to a quarter of what is free, and
 *                                         SP_SHARE_BYTES_MIN always
 *
 * The more is held, the less a share may have: whoever comes first leaves something to the next,
 * down to the least share, with which small requests always pass. What is held is a fact and always
 * counted; the bound is asked before more is taken: before a socket is read, before a log is read
 * for an answer.
 *
 * A share that was refused waits and is asked again when bytes are given back, some at a time, in
 * turns. Messages that have arrived in part must not wait for each other for ever: one share at a
 * time is favoured and has no bound until its message is complete, so all together stay below
 * limit_bytes + SP_MESSAGE_BYTES_MAX + connections * (SP_SHARE_BYTES_MIN + what one read adds).
 *
 * All calls on the loop thread. */
#ifndef SP_NET_BUDGET_H
#define SP_NET_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/trace.h"
#include "io/loop.h"

struct sp_budget;

/* What one connection holds; open for embedding only. A zeroed share has no bound. */
struct sp_share {
    struct sp_budget *budget; /* NULL: unbounded, not counted */
    size_t used_bytes;
};

/* One that waits for bytes; open for embedding only. */
struct sp_share_waiter {
    struct sp_list node;
    struct sp_share *share;
    bool urgent; /* a message has arrived in part: it may be favoured */
    void (*again)(struct sp_share_waiter *waiter);
};

struct sp_budget_handler {
    /* More than an eighth is held now: to be looked after until it is little again. May be NULL. */
    void (*grown)(void *arg);
    void *arg;
};

struct sp_budget {
    struct sp_loop *loop;
    size_t limit_bytes;
    size_t used_bytes;
    struct sp_list waiters;
    uint32_t waiter_count;
    uint32_t unasked; /* waiters that are still to be asked in this round */
    const struct sp_share *favoured;
    struct sp_deferred round;
    struct sp_budget_handler handler;
    struct sp_trace_limit trace_limit;
    bool full; /* somebody waits, and less than a quarter is free */
};

void sp_budget_init(struct sp_budget *budget,
                    struct sp_loop *loop,
                    size_t limit_bytes,
                    const struct sp_budget_handler *handler);

/* Nobody waits, and no share is used any more. */
void sp_budget_deinit(struct sp_budget *budget);

/* An eighth of it: below this little is held. */
bool sp_budget_is_small(const struct sp_budget *budget);

/* True if the share may take `more_bytes`. */
bool sp_share_allows(const struct sp_share *share, size_t more_bytes);

/* The same for what it will hold when `gone_bytes` of it have gone. */
bool sp_share_allows_without(const struct sp_share *share, size_t gone_bytes);

/* Counts bytes in or out. */
void sp_share_take(struct sp_share *share, size_t bytes);
void sp_share_give(struct sp_share *share, size_t bytes);

/* True while the share has no bound. */
bool sp_share_favoured(const struct sp_share *share);

/* Its message is complete, or will never be: another one may be favoured. */
void sp_share_unfavour(struct sp_share *share);

void sp_share_waiter_init(struct sp_share_waiter *waiter,
                          void (*again)(struct sp_share_waiter *waiter));

/* Calls waiter->again in a later turn, when it is worth asking again; once. Does nothing for one
 * that waits already. */
void sp_share_wait(struct sp_share *share, struct sp_share_waiter *waiter, bool urgent);

void sp_share_wait_cancel(struct sp_share_waiter *waiter);

#endif /* SP_NET_BUDGET_H */
