/* The public consumer: what is read and where it stands. */
#include "client/consumer.h"

#include <string.h>

#include "base/mem.h"
#include "client/json.h"

enum {
    PARAMS_BYTES_MAX = 1024,
    PARTITIONS_MAX = 100000, /* more than one process can read */
};

/* ---- the set of partitions ------------------------------------------------------------------- */

static uint64_t place_of(const struct sp_topic_view *topic, uint32_t index)
{
    return (uint64_t)topic->number << 32 | index;
}

struct sp_consumer_partition *sp_consumer_find(const struct spate_consumer *consumer,
                                               const struct sp_topic_view *topic,
                                               int32_t partition)
{
    return sp_map_get_u64(consumer->places, place_of(topic, (uint32_t)partition));
}

static int put(struct spate_consumer *consumer, struct sp_consumer_partition *partition)
{
    uint32_t count = consumer->partition_count;
    struct sp_consumer_partition **grown;

    if (count >= PARTITIONS_MAX) {
        return SPATE_ERR_BUSY;
    }
    grown = sp_mem_realloc(consumer->partitions, (count + 1) * sizeof *grown);
    if (grown == NULL) {
        return SPATE_ERR_NOMEM;
    }
    consumer->partitions = grown;
    int rv =
        sp_map_put_u64(consumer->places, place_of(partition->topic, partition->index), partition);
    if (rv == 0) {
        grown[count] = partition;
        consumer->partition_count = count + 1;
    }
    return rv;
}

int sp_consumer_add(struct spate_consumer *consumer,
                    struct sp_topic_view *topic,
                    int32_t index,
                    int64_t offset,
                    struct sp_consumer_partition **out_partition)
{
    struct sp_consumer_partition *partition = sp_mem_calloc(1, sizeof *partition);

    if (partition == NULL) {
        return SPATE_ERR_NOMEM;
    }
    partition->consumer = consumer;
    partition->topic = topic;
    partition->index = (uint32_t)index;
    int rv = put(consumer, partition);
    if (rv != 0) {
        sp_mem_free(partition);
        return rv;
    }
    partition->topic_id = -1;
    partition->ownership = SP_OWNERSHIP_OWNED;
    partition->high_watermark = -1;
    partition->end_offset = -1;
    partition->processed = -1;
    partition->commit_wanted = -1;
    partition->committed = -1;
    partition->pause_ms = SP_CLIENT_PAUSE_MIN_MS;
    sp_list_init(&partition->fetched);
    sp_fetcher_init(partition);
    sp_consumer_begin_at(partition, offset);
    *out_partition = partition;
    return 0;
}

static void free_partition(struct sp_consumer_partition *partition)
{
    sp_timer_stop(&partition->timer);
    sp_consumer_drop_fetched(partition);
    sp_mem_free(partition);
}

void sp_consumer_remove(struct sp_consumer_partition *partition)
{
    struct spate_consumer *consumer = partition->consumer;
    uint32_t i = 0;

    (void)sp_map_remove_u64(consumer->places, place_of(partition->topic, partition->index));
    while (consumer->partitions[i] != partition) {
        i++;
    }
    consumer->partition_count -= 1;
    memmove(&consumer->partitions[i],
            &consumer->partitions[i + 1],
            (consumer->partition_count - i) * sizeof consumer->partitions[0]);
    consumer->turn = 0;
    if (consumer->delivered == partition) {
        consumer->delivered = NULL;
    }
    free_partition(partition);
}

void sp_consumer_begin_at(struct sp_consumer_partition *partition, int64_t offset)
{
    sp_consumer_drop_fetched(partition);
    partition->stored_wanted = offset == SPATE_OFFSET_STORED;
    partition->stored_asked = false;
    partition->start = offset;
    partition->resolved = offset >= 0;
    partition->fetch_offset = offset;
    partition->position = offset;
    partition->epoch = -1;
    partition->error = 0;
    partition->error_told = false;
    partition->text[0] = '\0';
    partition->progress_ms = sp_consumer_now_ms(partition->consumer);
    partition->stall_told = false;
}

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
    sp_commits_advance(consumer);
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
    sp_consumer_begin_at(found, offset);
    found->end_offset = -1;
    sp_fetcher_advance(found);
    sp_commits_advance(consumer);
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

/* ---- life ------------------------------------------------------------------------------------ */

static void on_metadata(struct sp_metadata_observer *observer)
{
    struct spate_consumer *consumer = SP_CONTAINER_OF(observer, struct spate_consumer, observer);

    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        sp_fetcher_on_metadata(consumer->partitions[i]);
    }
}

/* ---- as a part of its client ---- */

static struct spate_consumer *of_part(struct sp_client_part *part)
{
    return SP_CONTAINER_OF(part, struct spate_consumer, part);
}

static bool is_ready(const struct sp_consumer_partition *partition)
{
    switch (partition->ownership) {
    case SP_OWNERSHIP_OWNED:
        return (partition->fetched_count > 0 && !partition->paused) ||
               (partition->error != 0 && !partition->error_told);
    case SP_OWNERSHIP_ASSIGNED:
        return !partition->stored_wanted;
    case SP_OWNERSHIP_REVOKED:
    case SP_OWNERSHIP_LOST:
        return true;
    case SP_OWNERSHIP_RELEASING:
        return false;
    }
    return false;
}

static bool part_ready(struct sp_client_part *part)
{
    const struct spate_consumer *consumer = of_part(part);

    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        if (is_ready(consumer->partitions[i])) {
            return true;
        }
    }
    return consumer->member.error != 0;
}

/* True until spate_consumer_close, for those that have something to give up or to commit. */
static bool part_busy(struct sp_client_part *part)
{
    const struct spate_consumer *consumer = of_part(part);

    return sp_consumer_subscribed(consumer) ||
           (consumer->client->config.group_id[0] != '\0' && consumer->partition_count > 0);
}

static int part_flush(struct sp_client_part *part, int timeout_ms)
{
    return spate_consumer_close(of_part(part), timeout_ms);
}

static void part_tell(struct sp_client_part *part, struct sp_json *json)
{
    const struct spate_consumer *consumer = of_part(part);

    sp_json_number(json, "partitions", consumer->partition_count);
    sp_json_number(json, "lag", spate_consumer_lag(consumer));
}

static void part_free(struct sp_client_part *part)
{
    spate_consumer_free(of_part(part));
}

static const struct sp_client_part part_model = {
    .kind = "consumers",
    .tell = part_tell,
    .ready = part_ready,
    .busy = part_busy,
    .flush = part_flush,
    .free = part_free,
};

int spate_consumer_new(struct spate_client *client, struct spate_consumer **out_consumer)
{
    if (client == NULL || out_consumer == NULL) {
        return SPATE_ERR_INVALID;
    }
    SP_CLIENT_HOLD(client);
    int rv = sp_client_check_open(client);
    if (rv != 0) {
        return rv;
    }
    struct spate_consumer *consumer = sp_mem_calloc(1, sizeof *consumer);
    if (consumer == NULL) {
        return sp_client_fail(client, SPATE_ERR_NOMEM, "out of memory");
    }
    consumer->client = client;
    consumer->part = part_model;
    sp_list_append(&client->parts, &consumer->part.node);
    consumer->observer.changed = on_metadata;
    sp_buf_init(&consumer->params, PARAMS_BYTES_MAX);
    sp_member_init(consumer);
    sp_commits_init(consumer);
    sp_metadata_observe(client->metadata, &consumer->observer);
    consumer->end = sp_mem_calloc(1, sizeof *consumer->end);
    consumer->places = sp_map_new();
    if (consumer->end == NULL || consumer->places == NULL) {
        spate_consumer_free(consumer);
        return sp_client_fail(client, SPATE_ERR_NOMEM, "out of memory");
    }
    *out_consumer = consumer;
    return 0;
}

void spate_consumer_free(struct spate_consumer *consumer)
{
    if (consumer == NULL) {
        return;
    }
    SP_CLIENT_HOLD(consumer->client);
    sp_list_remove(&consumer->part.node);
    sp_list_remove(&consumer->observer.node);
    sp_member_deinit(consumer);
    sp_commits_deinit(consumer);
    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        free_partition(consumer->partitions[i]);
    }
    sp_mem_free(consumer->partitions);
    sp_map_free(consumer->places);
    sp_mem_free(consumer->headers);
    sp_buf_deinit(&consumer->params);
    sp_mem_free(consumer->end);
    sp_mem_free(consumer);
}
