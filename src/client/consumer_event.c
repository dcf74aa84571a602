/* What the user is told between records, and the end of a consumer. */
#include <inttypes.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/mem.h"
#include "client/consumer.h"

/* ---- stalls ---------------------------------------------------------------------------------- */

static bool may_stall(const struct sp_consumer_partition *partition)
{
    return partition->consumer->client->config.stall_ms > 0 && !partition->stall_told &&
           partition->ownership == SP_OWNERSHIP_OWNED && !partition->paused &&
           partition->error == 0;
}

static uint64_t stall_due(const struct sp_consumer_partition *partition)
{
    return partition->progress_ms + partition->consumer->client->config.stall_ms;
}

/* The same of a member without a place. */
static uint64_t join_due(const struct spate_consumer *consumer)
{
    const struct sp_member *member = &consumer->member;
    uint32_t stall_ms = consumer->client->config.stall_ms;

    return stall_ms > 0 && member->state == SP_MEMBER_JOINING && !member->stall_told
               ? member->alone_ms + stall_ms
               : UINT64_MAX;
}

uint64_t sp_consumer_stall_due(const struct spate_consumer *consumer)
{
    uint64_t due_ms = join_due(consumer);

    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        const struct sp_consumer_partition *partition = consumer->partitions[i];
        if (may_stall(partition) && stall_due(partition) < due_ms) {
            due_ms = stall_due(partition);
        }
    }
    return due_ms;
}

static bool is_stalled(const struct sp_consumer_partition *partition)
{
    return may_stall(partition) && stall_due(partition) <= sp_consumer_now_ms(partition->consumer);
}

/* ---- telling --------------------------------------------------------------------------------- */

static bool concerns(const struct sp_consumer_partition *partition, int kind)
{
    switch (kind) {
    case SPATE_CONSUMER_ASSIGNED:
        return partition->ownership == SP_OWNERSHIP_ASSIGNED && !partition->stored_wanted;
    case SPATE_CONSUMER_REVOKED:
        return partition->ownership == SP_OWNERSHIP_REVOKED;
    case SPATE_CONSUMER_LOST:
        return partition->ownership == SP_OWNERSHIP_LOST;
    case SPATE_CONSUMER_SKIPPED:
        return partition->ownership == SP_OWNERSHIP_OWNED && partition->skipped_from >= 0;
    default:
        return is_stalled(partition);
    }
}

/* Just before the user is told: what he does then counts already. */
static void move_on(struct sp_consumer_partition *partition, int kind)
{
    if (kind == SPATE_CONSUMER_ASSIGNED) {
        partition->ownership = SP_OWNERSHIP_OWNED;
        partition->progress_ms = sp_consumer_now_ms(partition->consumer);
    } else if (kind == SPATE_CONSUMER_REVOKED) {
        partition->ownership = SP_OWNERSHIP_RELEASING;
    } else if (kind == SPATE_CONSUMER_SKIPPED) {
        partition->skipped_from = -1;
    } else if (kind == SPATE_CONSUMER_STALLED) {
        partition->stall_told = true;
    }
}

/* When the user has been told. */
static void conclude(struct sp_consumer_partition *partition, int kind)
{
    if (kind == SPATE_CONSUMER_LOST) {
        sp_consumer_remove(partition);
    } else if (kind == SPATE_CONSUMER_REVOKED) {
        sp_commits_want_processed(partition);
    }
}

static const char *stall_text(const struct sp_consumer_partition *partition)
{
    if (partition->fetched_count > 0) {
        return "records are here, but the program did not ask for them";
    }
    return partition->text[0] != '\0' ? partition->text : "no answer from the partition's leader";
}

static void
write_skipped(const struct sp_consumer_partition *partition, size_t count, char *text, size_t size)
{
    if (count > 1) {
        (void)snprintf(
            text, size, "records before these offsets were deleted before they were read");
    } else {
        (void)snprintf(text,
                       size,
                       "offsets %" PRId64 " to %" PRId64 " were deleted before they were read",
                       partition->skipped_from,
                       partition->position - 1);
    }
}

static void call_back(struct spate_consumer *consumer, const struct spate_consumer_event *event)
{
    consumer->telling = true;
    consumer->telling_thread = sp_client_thread(consumer->client);
    if (consumer->event_cb != NULL) {
        struct sp_client_callback callback;
        sp_client_suspend(consumer->client, &callback);
        consumer->event_cb(consumer->event_arg, event);
        sp_client_resume(consumer->client, &callback);
    }
    consumer->telling = false;
    sp_client_wake(consumer->client); /* perhaps another thread closes the consumer */
}

/* One event about all partitions that it concerns. Out of memory: at the next call. */
static void tell(struct spate_consumer *consumer, int kind)
{
    char text[SP_CLIENT_ERROR_SIZE] = ""; /* a copy: what the callback does may change it */
    struct spate_consumer_event event = { .kind = kind, .text = text };
    struct sp_consumer_partition **concerned;
    struct spate_partition *places;
    size_t count = 0;

    for (uint32_t i = 0; i < consumer->partition_count && !consumer->freed; i++) {
        count += concerns(consumer->partitions[i], kind) ? 1 : 0;
    }
    if (count == 0) {
        return;
    }
    concerned = sp_mem_calloc(count, sizeof *concerned);
    places = sp_mem_calloc(count, sizeof *places);
    if (concerned != NULL && places != NULL) {
        for (uint32_t i = 0; i < consumer->partition_count && event.count < count; i++) {
            struct sp_consumer_partition *partition = consumer->partitions[i];
            if (concerns(partition, kind)) {
                concerned[event.count] = partition;
                places[event.count++] = (struct spate_partition){ partition->topic->name,
                                                                  (int32_t)partition->index,
                                                                  partition->position };
            }
        }
        event.partitions = places;
        if (kind == SPATE_CONSUMER_STALLED) {
            (void)snprintf(text, sizeof text, "%s", stall_text(concerned[0]));
        } else if (kind == SPATE_CONSUMER_SKIPPED) {
            write_skipped(concerned[0], count, text, sizeof text);
        }
        for (size_t i = 0; i < count; i++) {
            move_on(concerned[i], kind);
        }
        call_back(consumer, &event);
        for (size_t i = 0; i < count && !consumer->freed; i++) {
            conclude(concerned[i], kind);
        }
    }
    sp_mem_free(concerned);
    sp_mem_free(places);
}

/* What a subscription waits for that has no partitions: those of a member without a place, or of a
 * topic that has gone. */
static void tell_waiting(struct spate_consumer *consumer)
{
    char text[SP_CLIENT_ERROR_SIZE];
    const struct spate_partition none = { .topic = "" };
    struct spate_consumer_event event = { SPATE_CONSUMER_STALLED, &none, 0, text };

    if (!consumer->freed && join_due(consumer) <= sp_consumer_now_ms(consumer)) {
        consumer->member.stall_told = true;
        sp_member_tell_trouble(consumer, text);
        call_back(consumer, &event);
    }
    while (!consumer->freed && sp_gone_take(consumer, text)) {
        call_back(consumer, &event);
    }
}

void sp_consumer_serve(struct spate_consumer *consumer)
{
    if (consumer->telling) {
        return; /* another thread closes it, and tells of that */
    }
    if (consumer->delivered != NULL) {
        consumer->delivered->processed = consumer->delivered->position;
        consumer->delivered = NULL;
    }
    tell(consumer, SPATE_CONSUMER_LOST);
    tell(consumer, SPATE_CONSUMER_REVOKED);
    tell(consumer, SPATE_CONSUMER_ASSIGNED);
    tell(consumer, SPATE_CONSUMER_SKIPPED);
    tell(consumer, SPATE_CONSUMER_STALLED);
    tell_waiting(consumer);
    if (!consumer->freed) {
        sp_commits_release(consumer);
    }
}

int spate_consumer_on_event(struct spate_consumer *consumer, spate_consumer_event_cb cb, void *arg)
{
    if (consumer == NULL) {
        return SPATE_ERR_INVALID;
    }
    SP_CLIENT_HOLD(consumer->client);
    consumer->event_cb = cb;
    consumer->event_arg = arg;
    return 0;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Takes everything away from the user, as if the coordinator had. */
static void revoke_all(struct spate_consumer *consumer)
{
    for (uint32_t i = consumer->partition_count; i > 0; i--) {
        struct sp_consumer_partition *partition = consumer->partitions[i - 1];
        if (partition->ownership == SP_OWNERSHIP_ASSIGNED) {
            sp_consumer_remove(partition);
        } else if (partition->ownership == SP_OWNERSHIP_OWNED) {
            partition->ownership = SP_OWNERSHIP_REVOKED;
        }
    }
}

/* Waits until no event callback of another thread runs. */
static int await_told(struct spate_consumer *consumer, uint64_t deadline_ms)
{
    struct spate_client *client = consumer->client;
    int rv = 0;

    while (rv == 0 && consumer->telling && !consumer->freed) {
        if (consumer->telling_thread == sp_client_thread(client)) {
            rv = sp_client_fail(client, SPATE_ERR_INVALID, "not inside an event of this consumer");
        } else if (sp_consumer_now_ms(consumer) >= deadline_ms) {
            rv = sp_client_fail(client, SPATE_ERR_TIMEOUT, "an event of this consumer still runs");
        } else {
            rv = sp_client_run(client, deadline_ms);
        }
    }
    return rv == 0 ? sp_consumer_check_alive(consumer) : rv;
}

/* Nothing is assigned or subscribed to meanwhile. */
static int give_all_up(struct spate_consumer *consumer, uint64_t deadline_ms)
{
    bool subscribed = sp_consumer_subscribed(consumer);

    sp_member_stop(consumer); /* what is owned stays as it is now */
    sp_consumer_serve(consumer);
    if (subscribed && !consumer->freed) {
        revoke_all(consumer);
        sp_consumer_serve(consumer);
    } else if (!consumer->freed) {
        for (uint32_t i = 0; i < consumer->partition_count; i++) {
            sp_commits_want_processed(consumer->partitions[i]);
        }
    }
    if (consumer->freed) {
        return sp_consumer_check_alive(consumer);
    }
    int rv = sp_commits_wait(consumer, deadline_ms);
    int left = subscribed ? sp_member_leave(consumer, deadline_ms) : 0;
    int told = await_told(consumer, deadline_ms); /* others may have begun another one meanwhile */
    while (told == 0 && consumer->partition_count > 0) {
        sp_consumer_remove(consumer->partitions[consumer->partition_count - 1]);
    }
    return rv != 0 ? rv : left != 0 ? left : told;
}

int spate_consumer_close(struct spate_consumer *consumer, int timeout_ms)
{
    if (consumer == NULL) {
        return SPATE_ERR_INVALID;
    }
    struct spate_client *client = consumer->client;
    SP_CLIENT_HOLD(client);
    SP_CONSUMER_HOLD(consumer);
    uint64_t deadline_ms = sp_client_deadline(client, timeout_ms);
    int rv = await_told(consumer, deadline_ms);
    if (rv != 0) {
        return rv;
    }
    consumer->closings += 1;
    sp_client_wake(client); /* whoever waits for records waits for nothing */
    rv = give_all_up(consumer, deadline_ms);
    consumer->closings -= 1;
    consumer->closed = true;
    return rv;
}
