/* What the user says and asks about single partitions of a consumer. */
#include <string.h>

#include "client/consumer.h"

/* ---- what the user names --------------------------------------------------------------------- */

static int fail_topic(struct spate_client *client, int status, const char *topic)
{
    return sp_client_fail(client,
                          status,
                          "%.100s: %s",
                          topic == NULL ? "(null)" : topic,
                          status == SPATE_ERR_INVALID ? "no topic can have this name"
                                                      : spate_strerror(status));
}

/* The view of a topic, with the client's error text. */
static int
view_of(struct spate_consumer *consumer, const char *topic, struct sp_topic_view **out_view)
{
    int rv = topic == NULL ? SPATE_ERR_INVALID
                           : sp_metadata_topic(consumer->client->metadata, topic, out_view);

    return rv == 0 ? 0 : fail_topic(consumer->client, rv, topic);
}

/* The partition of these names, for a call about one that is read. */
static int named(const struct spate_consumer *consumer,
                 const char *topic,
                 int32_t partition,
                 struct sp_consumer_partition **out_partition)
{
    for (uint32_t i = 0; topic != NULL && i < consumer->partition_count; i++) {
        struct sp_consumer_partition *found = consumer->partitions[i];
        if (found->index == (uint32_t)partition && strcmp(found->topic->name, topic) == 0 &&
            found->ownership != SP_OWNERSHIP_LOST) {
            *out_partition = found;
            return 0;
        }
    }
    return sp_client_fail(consumer->client,
                          SPATE_ERR_NOT_FOUND,
                          "%.100s/%d is not read by this consumer",
                          topic == NULL ? "(null)" : topic,
                          (int)partition);
}

static bool offset_valid(const struct spate_consumer *consumer, int64_t offset)
{
    return offset >= SPATE_OFFSET_START ||
           (offset == SPATE_OFFSET_STORED && consumer->client->config.group_id[0] != '\0');
}

int spate_consumer_assign(struct spate_consumer *consumer,
                          const char *topic,
                          int32_t partition,
                          int64_t offset)
{
    struct sp_consumer_partition *added;
    struct sp_topic_view *view = NULL;

    if (consumer == NULL) {
        return SPATE_ERR_INVALID;
    }
    SP_CLIENT_HOLD(consumer->client);
    struct spate_client *client = consumer->client;
    if (consumer->closings > 0) {
        return sp_consumer_check_open(consumer);
    }
    if (sp_consumer_subscribed(consumer)) {
        return sp_client_fail(client, SPATE_ERR_INVALID, "this consumer has subscribed");
    }
    if (partition < 0 || partition >= SP_PARTITIONS_PER_TOPIC_MAX ||
        !offset_valid(consumer, offset)) {
        return sp_client_fail(
            client, SPATE_ERR_INVALID, "no such partition or offset (a stored one needs group.id)");
    }
    int rv = view_of(consumer, topic, &view);
    if (rv != 0) {
        return rv;
    }
    if (sp_consumer_find(consumer, view, partition) != NULL) {
        return sp_client_fail(client, SPATE_ERR_EXISTS, "it is assigned already");
    }
    rv = sp_consumer_add(consumer, view, partition, offset, &added);
    if (rv != 0) {
        return sp_client_fail(client, rv, "%s", spate_strerror(rv));
    }
    /* In a turn, so that those that are added together share what is prefetched. Out of memory: the
     * next call that waits begins. */
    (void)sp_timer_start(&added->timer, sp_consumer_now_ms(consumer));
    consumer->closed = false;
    sp_commits_advance(consumer);
    sp_client_wake(client); /* whoever waits for records waits for these, too */
    return 0;
}

int spate_consumer_unassign(struct spate_consumer *consumer, const char *topic, int32_t partition)
{
    struct sp_consumer_partition *found = NULL;

    if (consumer == NULL) {
        return SPATE_ERR_INVALID;
    }
    SP_CLIENT_HOLD(consumer->client);
    if (sp_consumer_subscribed(consumer) || consumer->telling) {
        return sp_client_fail(
            consumer->client, SPATE_ERR_INVALID, "not of a subscription, nor inside an event");
    }
    int rv = named(consumer, topic, partition, &found);
    if (rv == 0) {
        sp_consumer_remove(found);
    }
    return rv;
}

int spate_consumer_assignment(const struct spate_consumer *consumer,
                              struct spate_partition *out_partitions,
                              size_t max,
                              size_t *out_count)
{
    size_t count = 0;

    if (consumer == NULL || out_count == NULL || (out_partitions == NULL && max > 0)) {
        return SPATE_ERR_INVALID;
    }
    SP_CLIENT_HOLD(consumer->client);
    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        const struct sp_consumer_partition *partition = consumer->partitions[i];
        if (partition->ownership != SP_OWNERSHIP_OWNED) {
            continue;
        }
        if (count < max) {
            out_partitions[count] = (struct spate_partition){ partition->topic->name,
                                                              (int32_t)partition->index,
                                                              partition->position };
        }
        count += 1;
    }
    *out_count = count;
    return 0;
}

int spate_consumer_seek(struct spate_consumer *consumer,
                        const char *topic,
                        int32_t partition,
                        int64_t offset)
{
    struct sp_consumer_partition *found = NULL;

    if (consumer == NULL) {
        return SPATE_ERR_INVALID;
    }
    SP_CLIENT_HOLD(consumer->client);
    if (!offset_valid(consumer, offset)) {
        return sp_client_fail(consumer->client, SPATE_ERR_INVALID, "no such offset");
    }
    int rv = named(consumer, topic, partition, &found);
    if (rv != 0) {
        return rv;
    }
    if (consumer->delivered == found) {
        consumer->delivered = NULL;
    }
    found->processed = -1;
    if (found->error ==
        SPATE_ERR_UNKNOWN_TOPIC) { /* told: now the topic that has this name is meant */
        found->topic_id = -1;
        found->unknown_ms = 0;
        found->high_watermark = -1;
        found->committed = -1;
    }
    sp_consumer_begin_at(found, offset);
    found->end_offset = -1;
    sp_fetcher_advance(found);
    sp_commits_advance(consumer);
    sp_client_wake(consumer->client);
    return 0;
}

static int
set_paused(struct spate_consumer *consumer, const char *topic, int32_t index, bool paused)
{
    struct sp_consumer_partition *found = NULL;

    if (consumer == NULL) {
        return SPATE_ERR_INVALID;
    }
    SP_CLIENT_HOLD(consumer->client);
    int rv = named(consumer, topic, index, &found);
    if (rv == 0) {
        found->paused = paused;
        found->progress_ms = sp_consumer_now_ms(consumer);
        sp_client_wake(consumer->client); /* there may be records that wait only for this */
    }
    return rv;
}

int spate_consumer_pause(struct spate_consumer *consumer, const char *topic, int32_t partition)
{
    return set_paused(consumer, topic, partition, true);
}

int spate_consumer_resume(struct spate_consumer *consumer, const char *topic, int32_t partition)
{
    return set_paused(consumer, topic, partition, false);
}

/* ---- where it stands ------------------------------------------------------------------------- */

int spate_consumer_position(const struct spate_consumer *consumer,
                            const char *topic,
                            int32_t partition,
                            int64_t *out_offset)
{
    struct sp_consumer_partition *found = NULL;

    if (consumer == NULL || out_offset == NULL) {
        return SPATE_ERR_INVALID;
    }
    SP_CLIENT_HOLD(consumer->client);
    int rv = named(consumer, topic, partition, &found);
    if (rv == 0) {
        *out_offset = found->position;
    }
    return rv;
}

int spate_consumer_at_end(const struct spate_consumer *consumer)
{
    if (consumer == NULL) {
        return 1;
    }
    SP_CLIENT_HOLD(consumer->client);
    consumer->end->asked = true;
    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        const struct sp_consumer_partition *partition = consumer->partitions[i];
        bool reached = partition->end_offset >= 0 && partition->position >= partition->end_offset;
        if (partition->error == 0 && !reached) {
            return 0;
        }
    }
    return 1;
}

int64_t spate_consumer_lag(const struct spate_consumer *consumer)
{
    if (consumer == NULL) {
        return 0;
    }
    SP_CLIENT_HOLD(consumer->client);
    int64_t lag = 0;

    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        const struct sp_consumer_partition *partition = consumer->partitions[i];
        if (partition->resolved && partition->high_watermark > partition->position) {
            lag += partition->high_watermark - partition->position;
        }
    }
    return lag;
}
