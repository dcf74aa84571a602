/* Counting, the bound, and the rounds in which those who wait are asked again. */
#include "net/budget.h"

#include "base/assert.h"
#include "base/limits.h"

enum {
    PART_OF_FREE = 4,          /* of what is free, a share may hold one part of so many */
    ASKED_PER_TURN = 32,       /* waiters; then the connections that run get their turn */
    TRACES_PER_SECOND_MAX = 1, /* peers trigger them */
};

/* ---- telling --------------------------------------------------------------------------------- */

static size_t free_bytes(const struct sp_budget *budget)
{
    return budget->used_bytes < budget->limit_bytes ? budget->limit_bytes - budget->used_bytes : 0;
}

/* Said once when it begins and once when it is over. */
static void note_full(struct sp_budget *budget)
{
    bool tight = free_bytes(budget) < budget->limit_bytes / 4;
    bool full = budget->full ? tight || budget->used_bytes > budget->limit_bytes / 2
                             : tight && budget->waiter_count > 0;

    if (full == budget->full) {
        return;
    }
    budget->full = full;
    if (!sp_trace_allowed(
            &budget->trace_limit, sp_loop_now_ms(budget->loop), TRACES_PER_SECOND_MAX, NULL)) {
        return;
    }
    if (full) {
        SP_TRACE_WARN("net",
                      "clients hold as much memory as they may: large requests and answers wait",
                      "held_bytes=%zu limit_bytes=%zu waiting=%u",
                      budget->used_bytes,
                      budget->limit_bytes,
                      budget->waiter_count);
    } else {
        SP_TRACE_INFO("net",
                      "clients have room again",
                      "held_bytes=%zu limit_bytes=%zu",
                      budget->used_bytes,
                      budget->limit_bytes);
    }
}

/* ---- waiting --------------------------------------------------------------------------------- */

static void begin_round(struct sp_budget *budget)
{
    if (budget->waiter_count > 0) {
        budget->unasked = budget->waiter_count;
        sp_loop_defer(budget->loop, &budget->round);
    }
}

static void on_round(struct sp_deferred *deferred)
{
    struct sp_budget *budget = SP_CONTAINER_OF(deferred, struct sp_budget, round);

    for (unsigned i = 0; i < ASKED_PER_TURN && budget->unasked > 0 && budget->waiter_count > 0;
         i++) {
        struct sp_share_waiter *waiter =
            SP_LIST_ENTRY(budget->waiters.next, struct sp_share_waiter, node);

        budget->unasked -= 1;
        sp_share_wait_cancel(waiter);
        if (budget->favoured == NULL && waiter->urgent) {
            budget->favoured = waiter->share;
        }
        waiter->again(waiter);
    }
    if (budget->unasked > 0 && budget->waiter_count > 0) {
        sp_loop_defer(budget->loop, &budget->round);
    }
    note_full(budget);
}

void sp_share_waiter_init(struct sp_share_waiter *waiter,
                          void (*again)(struct sp_share_waiter *waiter))
{
    *waiter = (struct sp_share_waiter){ .again = again };
    sp_list_init(&waiter->node);
}

void sp_share_wait(struct sp_share *share, struct sp_share_waiter *waiter, bool urgent)
{
    struct sp_budget *budget = share->budget;

    SP_ASSERT(budget != NULL);
    waiter->urgent = urgent;
    if (!sp_list_empty(&waiter->node)) {
        return;
    }
    waiter->share = share;
    sp_list_append(&budget->waiters, &waiter->node);
    budget->waiter_count += 1;
    if (urgent && budget->favoured == NULL) {
        begin_round(budget);
    }
    note_full(budget);
}

void sp_share_wait_cancel(struct sp_share_waiter *waiter)
{
    if (!sp_list_empty(&waiter->node)) {
        sp_list_remove(&waiter->node);
        waiter->share->budget->waiter_count -= 1;
    }
}

/* ---- counting -------------------------------------------------------------------------------- */

/* What the share may hold now. */
static size_t bound_of(const struct sp_share *share)
{
    const struct sp_budget *budget = share->budget;

    if (budget == NULL || budget->favoured == share) {
        return SIZE_MAX;
    }
    size_t bound = free_bytes(budget) / PART_OF_FREE;
    return bound < SP_SHARE_BYTES_MIN ? SP_SHARE_BYTES_MIN : bound;
}

bool sp_share_allows(const struct sp_share *share, size_t more_bytes)
{
    size_t bound = bound_of(share);

    return share->used_bytes <= bound && more_bytes <= bound - share->used_bytes;
}

bool sp_share_allows_without(const struct sp_share *share, size_t gone_bytes)
{
    return share->budget == NULL || share->used_bytes - gone_bytes <= bound_of(share);
}

void sp_share_take(struct sp_share *share, size_t bytes)
{
    struct sp_budget *budget = share->budget;

    if (budget == NULL) {
        return;
    }
    bool was_small = sp_budget_is_small(budget);
    share->used_bytes += bytes;
    budget->used_bytes += bytes;
    if (was_small && !sp_budget_is_small(budget) && budget->handler.grown != NULL) {
        budget->handler.grown(budget->handler.arg);
    }
}

void sp_share_give(struct sp_share *share, size_t bytes)
{
    struct sp_budget *budget = share->budget;

    if (budget == NULL || bytes == 0) {
        return;
    }
    SP_ASSERT(bytes <= share->used_bytes);
    SP_ASSERT(bytes <= budget->used_bytes);
    share->used_bytes -= bytes;
    budget->used_bytes -= bytes;
    begin_round(budget);
    note_full(budget);
}

bool sp_share_favoured(const struct sp_share *share)
{
    return share->budget != NULL && share->budget->favoured == share;
}

void sp_share_unfavour(struct sp_share *share)
{
    if (sp_share_favoured(share)) {
        share->budget->favoured = NULL;
        begin_round(share->budget);
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

bool sp_budget_is_small(const struct sp_budget *budget)
{
    return budget->used_bytes <= budget->limit_bytes / 8;
}

void sp_budget_init(struct sp_budget *budget,
                    struct sp_loop *loop,
                    size_t limit_bytes,
                    const struct sp_budget_handler *handler)
{
    *budget = (struct sp_budget){ .loop = loop, .limit_bytes = limit_bytes, .handler = *handler };
    sp_list_init(&budget->waiters);
    sp_deferred_init(&budget->round, on_round);
}

void sp_budget_deinit(struct sp_budget *budget)
{
    SP_ASSERT(budget->waiter_count == 0);
    sp_deferred_cancel(&budget->round);
}
