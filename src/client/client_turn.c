/* How a client works: turns and callbacks, alone or inside another loop, and how it ends. */
#include "client/client.h"

/* ---- turns ----------------------------------------------------------------------------------- */

void sp_client_on_tick(struct sp_timer *timer)
{
    SP_CONTAINER_OF(timer, struct spate_client, tick)->ticked = true;
}

void sp_client_turn(struct spate_client *client)
{
    if (client->driver != NULL) {
        sp_driver_kick(client->driver);
        return;
    }
    client->ticked = false;
    if (sp_timer_start(&client->tick, sp_loop_now_ms(client->loop)) == 0) {
        (void)sp_loop_run_until(client->loop, &client->ticked, UINT64_MAX);
    }
    client->turned_ms = sp_loop_now_ms(client->loop);
}

void sp_client_keep_up(struct spate_client *client)
{
    if (client->driver == NULL &&
        sp_loop_now_ms(client->loop) - client->turned_ms >= SP_CLIENT_TURN_MS) {
        sp_client_turn(client);
    }
}

int sp_client_run(struct spate_client *client, uint64_t deadline_ms)
{
    int rv = sp_client_check_open(client);

    if (rv != 0) {
        return rv;
    }
    if (client->driver != NULL) {
        sp_driver_wait(client->driver, deadline_ms);
        return sp_client_check_open(client);
    }
    client->woken = false;
    if (deadline_ms <= sp_loop_now_ms(client->loop)) {
        sp_client_turn(client);
    } else {
        (void)sp_loop_run_until(client->loop, &client->woken, deadline_ms);
        client->turned_ms = sp_loop_now_ms(client->loop);
    }
    return 0;
}

void sp_client_wake(struct spate_client *client)
{
    client->woken = true;
    if (client->driver != NULL) {
        sp_driver_wake(client->driver);
    }
}

int sp_client_check_open(struct spate_client *client)
{
    return client->closing
               ? sp_client_fail(client, SPATE_ERR_CANCELED, "the client is being closed")
               : 0;
}

void sp_client_suspend(struct spate_client *client, struct sp_client_callback *callback)
{
    callback->thread = sp_client_thread(client);
    sp_list_append(&client->callbacks, &callback->node);
    callback->depth = client->driver == NULL ? 0 : sp_driver_suspend(client->driver);
}

void sp_client_resume(struct spate_client *client, struct sp_client_callback *callback)
{
    if (client->driver != NULL) {
        sp_driver_resume(client->driver, callback->depth);
    }
    sp_list_remove(&callback->node);
}

uint64_t sp_client_thread(const struct spate_client *client)
{
    return client->driver == NULL ? 0 : sp_thread_self();
}

uint64_t sp_client_deadline(const struct spate_client *client, int64_t timeout_ms)
{
    return timeout_ms < 0 ? UINT64_MAX : sp_loop_now_ms(client->loop) + (uint64_t)timeout_ms;
}

/* A callback may free any of them: each goes to the end before its turn. */
static unsigned dispatch(struct spate_client *client)
{
    unsigned count = 0;
    unsigned turns = 0;

    SP_LIST_EACH (node, &client->dispatchers) {
        turns += 1;
    }
    for (; turns > 0 && !sp_list_empty(&client->dispatchers); turns--) {
        struct sp_list *node = client->dispatchers.next;
        struct sp_dispatcher *dispatcher = SP_LIST_ENTRY(node, struct sp_dispatcher, node);
        sp_list_remove(node);
        sp_list_append(&client->dispatchers, node);
        if (dispatcher->ready(dispatcher)) {
            count += dispatcher->dispatch(dispatcher);
        }
    }
    return count;
}

int spate_poll(struct spate_client *client, int timeout_ms)
{
    if (client == NULL) {
        return SPATE_ERR_INVALID;
    }
    SP_CLIENT_HOLD(client);
    uint64_t deadline_ms = sp_client_deadline(client, timeout_ms);

    sp_client_turn(client);
    unsigned count = dispatch(client);
    while (count == 0 && sp_loop_now_ms(client->loop) < deadline_ms) {
        int rv = sp_client_run(client, deadline_ms);
        if (rv != 0) {
            return rv;
        }
        count = dispatch(client);
    }
    return (int)count;
}

/* ---- inside another loop --------------------------------------------------------------------- */

static bool anything_ready(const struct spate_client *client)
{
    SP_LIST_EACH (node, &client->parts) {
        struct sp_client_part *part = SP_LIST_ENTRY(node, struct sp_client_part, node);
        if (part->ready(part)) {
            return true;
        }
    }
    return false;
}

static void refresh_ready(struct spate_client *client)
{
    bool ready = anything_ready(client);

    client->ready_wakes = client->driver->wakes;
    if (ready && !client->ready_raised) {
        sp_wakeup_raise(&client->ready);
    } else if (!ready && client->ready_raised) {
        sp_wakeup_lower(&client->ready);
    }
    client->ready_raised = ready;
}

/* What is ready is made so with a wake, and is looked at again only while it is. */
void sp_client_before_leave(void *arg)
{
    struct spate_client *client = arg;

    if (client->closing) {
        sp_driver_wake(client->driver); /* spate_client_close counts those that are left */
    }
    if (client->ready.fd >= 0 &&
        (client->ready_raised || client->ready_wakes != client->driver->wakes)) {
        refresh_ready(client);
    }
}

int spate_client_fd(struct spate_client *client)
{
    if (client == NULL) {
        return SPATE_ERR_INVALID;
    }
    SP_CLIENT_HOLD(client);
    int rv = 0;

    if (client->driver == NULL) {
        return sp_loop_fd(client->loop);
    }
    if (client->ready.fd < 0) {
        rv = sp_wakeup_open(&client->ready);
        if (rv != 0) {
            return sp_client_fail(client, rv, "no descriptor is left");
        }
        refresh_ready(client);
    }
    return client->ready.fd;
}

int spate_client_wait_ms(struct spate_client *client)
{
    if (client == NULL) {
        return SPATE_ERR_INVALID;
    }
    SP_CLIENT_HOLD(client);

    if (anything_ready(client)) {
        return 0;
    }
    return client->driver == NULL ? sp_loop_wait_ms(client->loop) : -1;
}

/* ---- closing --------------------------------------------------------------------------------- */

/* One that is to be waited for; NULL: none. */
static struct sp_client_part *busy_part(const struct spate_client *client)
{
    struct sp_client_part *last = NULL;

    SP_LIST_EACH (node, &client->parts) {
        struct sp_client_part *part = SP_LIST_ENTRY(node, struct sp_client_part, node);
        if (part->busy == NULL || part->flush_failed || !part->busy(part)) {
            continue;
        }
        if (!part->flushed_last) {
            return part;
        }
        last = last == NULL ? part : last;
    }
    return last;
}

/* Its flush has ended well, in which it may have been freed: it can have become busy again. */
static void allow_again(struct spate_client *client, const struct sp_client_part *flushed)
{
    SP_LIST_EACH (node, &client->parts) {
        struct sp_client_part *part = SP_LIST_ENTRY(node, struct sp_client_part, node);
        if (part == flushed) {
            part->flush_failed = false;
        }
    }
}

/* Others may call meanwhile, so that the list is looked at anew each time. What fails for one part
 * says nothing of the others; the first failure is returned. */
static int flush_parts(struct spate_client *client, int timeout_ms)
{
    uint64_t deadline_ms = sp_client_deadline(client, timeout_ms);
    struct sp_client_part *part;
    int first = 0;

    while ((part = busy_part(client)) != NULL) {
        uint64_t now_ms = sp_loop_now_ms(client->loop);
        uint64_t left_ms = deadline_ms > now_ms ? deadline_ms - now_ms : 0;
        part->flush_failed = true;
        int rv = part->flush(part, timeout_ms < 0 ? -1 : (int)left_ms);
        if (rv == 0) {
            allow_again(client, part);
        }
        first = first != 0 ? first : rv;
    }
    return first;
}

static void cancel_parts(struct spate_client *client)
{
    client->closing = true;
    SP_LIST_EACH (node, &client->parts) {
        struct sp_client_part *part = SP_LIST_ENTRY(node, struct sp_client_part, node);
        if (part->cancel != NULL) {
            part->cancel(part);
        }
    }
    sp_client_wake(client);
    while (client->driver != NULL && sp_driver_calls(client->driver) > 1) {
        sp_driver_wait(client->driver, UINT64_MAX);
    }
}

/* Closing waits until no callback runs: in one it would wait for itself. */
static int check_outside(struct spate_client *client)
{
    SP_CLIENT_HOLD(client);
    SP_LIST_EACH (node, &client->callbacks) {
        if (SP_LIST_ENTRY(node, struct sp_client_callback, node)->thread ==
            sp_client_thread(client)) {
            return sp_client_fail(client,
                                  SPATE_ERR_INVALID,
                                  "a client cannot be closed inside of a callback: note that it "
                                  "shall end, and close it when the call has returned");
        }
    }
    return 0;
}

static int close_parts(struct spate_client *client, int timeout_ms)
{
    SP_CLIENT_HOLD(client);
    int rv = flush_parts(client, timeout_ms);

    cancel_parts(client);
    while (!sp_list_empty(&client->parts)) {
        struct sp_client_part *part =
            SP_LIST_ENTRY(client->parts.next, struct sp_client_part, node);
        part->free(part);
    }
    return rv;
}

int spate_client_close(struct spate_client *client, int timeout_ms)
{
    if (client == NULL) {
        return 0;
    }
    int rv = check_outside(client);
    if (rv != 0) {
        return rv;
    }
    rv = close_parts(client, timeout_ms);
    spate_client_free(client);
    return rv;
}
