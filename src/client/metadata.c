/* The cache: one request for all topics at a time, paced, and what follows from its answer. */
#include "client/metadata.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "client/metadata_cache.h"
#include "client/metadata_servers.h"
#include "client/request.h"
#include "wire/metadata.h"

enum {
    REQUEST_MS = 10000, /* then it starts over, with the newest list of topics */
    ATTEMPT_MS = 500,   /* a server that hangs must not hold up a failover */
    CALM_MS = 1000,     /* after so long without a refresh the pause starts small again */
    OLDER_MS = 500, /* so long a node may lag that describes a topic which was made anew since */
    PARAMS_BYTES_MAX = 8 * 1024 * 1024,
    LIMIT_BYTES_MIN = 1024, /* no topic can be set to take less */
};

static void start(struct sp_metadata_cache *cache);

/* ---- asking ---------------------------------------------------------------------------------- */

static void schedule(struct sp_metadata_cache *cache)
{
    uint64_t now_ms = sp_loop_now_ms(cache->client->loop);

    if (cache->running || sp_timer_active(&cache->timer) || cache->wanted <= cache->started) {
        return;
    }
    if (cache->started == 0) {
        cache->pause_ms = 0; /* nothing was asked yet; retries of this have pauses of their own */
    } else if (cache->pause_ms == 0 || now_ms - cache->started_ms > CALM_MS) {
        cache->pause_ms = SP_CLIENT_PAUSE_MIN_MS;
    } else if (cache->pause_ms < SP_CLIENT_PAUSE_MAX_MS) {
        cache->pause_ms *= 2;
        if (cache->pause_ms > SP_CLIENT_PAUSE_MAX_MS) {
            cache->pause_ms = SP_CLIENT_PAUSE_MAX_MS;
        }
    }
    /* Out of memory for a timer: the next want tries again. */
    (void)sp_timer_start(&cache->timer, cache->started_ms + cache->pause_ms);
}

uint64_t sp_metadata_want(struct sp_metadata_cache *cache)
{
    if (cache->wanted <= cache->started) {
        cache->wanted = cache->started + 1;
    }
    schedule(cache);
    return cache->wanted;
}

uint64_t sp_metadata_completed(const struct sp_metadata_cache *cache)
{
    return cache->completed;
}

static int pack_topics(struct sp_metadata_cache *cache)
{
    struct sp_map_cursor cursor = { 0 };
    struct sp_topic_view *topic;
    struct sp_pack pack;

    sp_buf_clear(&cache->params);
    sp_pack_init(&pack, &cache->params);
    sp_pack_map(&pack, 1);
    sp_pack_text(&pack, "topics");
    sp_pack_array(&pack, sp_map_count(cache->topics));
    while ((topic = sp_map_next(cache->topics, &cursor)) != NULL) {
        sp_pack_text(&pack, topic->name);
    }
    return sp_pack_status(&pack);
}

static void notify(struct sp_metadata_cache *cache)
{
    SP_LIST_EACH_SAFE (node, &cache->observers) {
        struct sp_metadata_observer *observer =
            SP_LIST_ENTRY(node, struct sp_metadata_observer, node);
        observer->changed(observer);
    }
}

/* ---- what was answered ----------------------------------------------------------------------- */

/* Partitions that are not described keep what was known; the count only grows. */
static int grow_partitions(struct sp_topic_view *topic, const struct sp_metadata_topic *found)
{
    uint32_t count = topic->partition_count;

    for (uint32_t i = 0; i < found->partition_count; i++) {
        if (found->partitions[i].partition >= 0 &&
            found->partitions[i].partition < SP_PARTITIONS_PER_TOPIC_MAX &&
            (uint32_t)found->partitions[i].partition >= count) {
            count = (uint32_t)found->partitions[i].partition + 1;
        }
    }
    if (count == topic->partition_count) {
        return 0;
    }
    struct sp_partition_view *grown =
        sp_mem_realloc(topic->partitions, count * sizeof topic->partitions[0]);
    if (grown == NULL) {
        return SPATE_ERR_NOMEM;
    }
    for (uint32_t i = topic->partition_count; i < count; i++) {
        grown[i] = (struct sp_partition_view){ .epoch = -1 };
    }
    topic->partitions = grown;
    topic->partition_count = count;
    return 0;
}

/* A node that lags may describe an older term: then the newer leader stays. */
static void take_partition(struct sp_metadata_cache *cache,
                           struct sp_topic_view *topic,
                           const struct sp_metadata *metadata,
                           const struct sp_metadata_partition *found)
{
    if (found->partition < 0 || (uint32_t)found->partition >= topic->partition_count) {
        return;
    }
    struct sp_partition_view *view = &topic->partitions[found->partition];
    if (found->epoch >= 0 && found->epoch < view->epoch) {
        return;
    }
    /* Each is pointed to before the next is asked for. */
    sp_connection_point(&view->near, sp_metadata_near(cache->client, metadata, found));
    struct sp_connection *leader = sp_metadata_leader(cache->client, metadata, found);
    if (leader != NULL) {
        if (view->leader != leader && view->leader != NULL) {
            sp_client_log(cache->client,
                          SPATE_LOG_INFO,
                          "%s leads %s/%d now",
                          sp_rpc_address(leader->rpc),
                          topic->name,
                          found->partition);
        }
        if (view->leader != leader) {
            cache->pause_ms =
                SP_CLIENT_PAUSE_MIN_MS; /* asking was of use; the next is new trouble */
        }
        sp_connection_point(&view->leader, leader);
        view->epoch = found->epoch;
    }
}

/* Ids of topics grow. A node that lags describes the one that was there before; when for a while
 * nobody knows of the newer one it is gone, as with another cluster under the same addresses. */
static bool is_outdated(struct sp_metadata_cache *cache,
                        struct sp_topic_view *topic,
                        const struct sp_metadata_topic *found)
{
    uint64_t now_ms = sp_loop_now_ms(cache->client->loop);

    if (found->id >= topic->id) {
        topic->older_ms = 0;
    } else if (topic->older_ms == 0) {
        topic->older_ms = now_ms;
    }
    return topic->older_ms != 0 && now_ms - topic->older_ms < OLDER_MS;
}

static void forget_partitions(struct sp_topic_view *topic)
{
    for (uint32_t i = 0; i < topic->partition_count; i++) {
        sp_connection_point(&topic->partitions[i].leader, NULL);
        sp_connection_point(&topic->partitions[i].near, NULL);
    }
    topic->partition_count = 0;
}

/* What no topic can have is taken as the nearest that one can have. */
static size_t sound_limit(int64_t bytes)
{
    if (bytes > SP_BATCH_BYTES_MAX) {
        return SP_BATCH_BYTES_MAX;
    }
    return bytes < LIMIT_BYTES_MIN ? LIMIT_BYTES_MIN : (size_t)bytes;
}

static void take_topic(struct sp_metadata_cache *cache,
                       const struct sp_metadata *metadata,
                       const struct sp_metadata_topic *found)
{
    struct sp_topic_view *topic = sp_map_get(cache->topics, found->name.bytes, found->name.size);

    if (topic == NULL) {
        return;
    }
    if (found->error != 0) {
        topic->status = found->error;
        return;
    }
    if (is_outdated(cache, topic, found)) {
        (void)sp_metadata_want(cache); /* another node is asked next */
        return;
    }
    if (topic->id != found->id) {
        forget_partitions(topic); /* another topic of that name: nothing carries over */
        topic->batch_bytes_max = 0;
    }
    topic->id = found->id;
    if (found->max_batch_bytes > 0) { /* an older node does not tell, and changes nothing */
        topic->batch_bytes_max = sound_limit(found->max_batch_bytes);
    }
    topic->status = grow_partitions(topic, found);
    for (uint32_t i = 0; i < found->partition_count && topic->status == 0; i++) {
        take_partition(cache, topic, metadata, &found->partitions[i]);
    }
    if (topic->status == 0 && topic->partition_count == 0) {
        topic->status = SPATE_ERR_NOT_READY;
    }
}

static int take_answer(struct sp_metadata_cache *cache, struct sp_bytes result)
{
    struct sp_cursor cursor = sp_cursor_of(result);
    struct sp_metadata metadata;
    int rv = sp_metadata_decode(&cursor, &metadata, NULL);

    if (rv != 0) {
        return rv;
    }
    for (uint32_t i = 0; i < metadata.node_count; i++) {
        sp_client_learn_server(cache->client, metadata.nodes[i].address, cache->ended);
    }
    for (uint32_t i = 0; i < metadata.topic_count; i++) {
        take_topic(cache, &metadata, &metadata.topics[i]);
    }
    sp_metadata_deinit(&metadata);
    return 0;
}

static void
on_answer(struct sp_request *request, int status, struct sp_bytes result, const char *text)
{
    struct sp_metadata_cache *cache = SP_CONTAINER_OF(request, struct sp_metadata_cache, request);

    cache->running = false;
    cache->ended += 1;
    cache->status = status != 0 ? status : take_answer(cache, result);
    (void)snprintf(cache->text,
                   sizeof cache->text,
                   "%s",
                   status != 0 ? text : "the server's answer to metadata makes no sense");
    if (cache->status == 0) {
        cache->completed = cache->started;
    } else {
        sp_client_log(cache->client, SPATE_LOG_WARN, "topics not described: %.400s", cache->text);
    }
    if (cache->status != 0 && cache->wanted <= cache->started) {
        cache->wanted = cache->started + 1; /* what was wanted has not come yet */
    }
    sp_client_wake(cache->client);
    notify(cache);
    schedule(cache);
}

static void start(struct sp_metadata_cache *cache)
{
    uint64_t now_ms = sp_loop_now_ms(cache->client->loop);

    cache->started_ms = now_ms;
    int rv = pack_topics(cache);
    /* A node that is cut off goes on answering, and knows no leaders, or those that were. */
    cache->request = (struct sp_request){
        .client = cache->client,
        .method = "metadata",
        .in_turn = cache->pause_ms > SP_CLIENT_PAUSE_MIN_MS, /* not asked for the first time */
        .params = sp_bytes_of(cache->params.bytes, cache->params.size),
        .deadline_ms = now_ms + REQUEST_MS,
        .unreachable_ms = SP_CLIENT_UNREACHABLE_MS,
        .attempt_ms = ATTEMPT_MS,
        .repeatable = true,
        .cb = on_answer,
    };
    rv = rv != 0 ? rv : sp_request_start(&cache->request);
    if (rv == 0) {
        cache->running = true;
        cache->started += 1;
    } else { /* out of memory: a little later; waiting calls end at their deadlines */
        (void)sp_timer_start(&cache->timer, now_ms + SP_CLIENT_PAUSE_MAX_MS);
    }
}

static void on_timer(struct sp_timer *timer)
{
    start(SP_CONTAINER_OF(timer, struct sp_metadata_cache, timer));
}

/* ---- topics, observers, hints ---------------------------------------------------------------- */

static bool name_valid(const char *name)
{
    size_t size = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

    return size > 0 && size <= SP_TOPIC_NAME_SIZE_MAX && name[size] == '\0';
}

int sp_metadata_topic(struct sp_metadata_cache *cache,
                      const char *name,
                      struct sp_topic_view **out_topic)
{
    struct sp_topic_view *topic = sp_map_get(cache->topics, name, strlen(name));

    if (topic != NULL) {
        *out_topic = topic;
        return 0;
    }
    if (!name_valid(name)) {
        return SPATE_ERR_INVALID;
    }
    topic = sp_mem_calloc(1, sizeof *topic);
    if (topic == NULL) {
        return SPATE_ERR_NOMEM;
    }
    topic->name = sp_mem_strdup(name);
    topic->id = -1;
    topic->number = (uint32_t)sp_map_count(cache->topics);
    topic->status = SPATE_ERR_AGAIN;
    if (topic->name == NULL || sp_map_put(cache->topics, name, strlen(name), topic) != 0) {
        sp_mem_free(topic->name);
        sp_mem_free(topic);
        return SPATE_ERR_NOMEM;
    }
    *out_topic = topic;
    return 0;
}

struct sp_topic_view *sp_metadata_find(const struct sp_metadata_cache *cache, struct sp_bytes name)
{
    return sp_map_get(cache->topics, name.bytes, name.size);
}

void sp_metadata_observe(struct sp_metadata_cache *cache, struct sp_metadata_observer *observer)
{
    sp_list_append(&cache->observers, &observer->node);
}

void sp_metadata_note_leader(struct sp_metadata_cache *cache,
                             struct sp_topic_view *topic,
                             uint32_t partition,
                             const char *address)
{
    struct sp_connection *connection = NULL;

    if (partition < topic->partition_count &&
        sp_client_connection(cache->client, address, &connection) == 0) {
        sp_connection_point(&topic->partitions[partition].leader, connection);
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

int sp_metadata_cache_new(struct spate_client *client, struct sp_metadata_cache **out_cache)
{
    struct sp_metadata_cache *cache = sp_mem_calloc(1, sizeof *cache);

    if (cache == NULL) {
        return SPATE_ERR_NOMEM;
    }
    cache->client = client;
    cache->topics = sp_map_new();
    if (cache->topics == NULL) {
        sp_mem_free(cache);
        return SPATE_ERR_NOMEM;
    }
    cache->pause_ms = SP_CLIENT_PAUSE_MIN_MS;
    sp_list_init(&cache->observers);
    sp_timer_init(&cache->timer, client->loop, on_timer);
    sp_buf_init(&cache->params, PARAMS_BYTES_MAX);
    *out_cache = cache;
    return 0;
}

void sp_metadata_cache_free(struct sp_metadata_cache *cache)
{
    struct sp_map_cursor cursor = { 0 };
    struct sp_topic_view *topic;

    if (cache == NULL) {
        return;
    }
    sp_timer_stop(&cache->timer);
    sp_request_cancel(&cache->request);
    while ((topic = sp_map_next(cache->topics, &cursor)) != NULL) {
        sp_mem_free(topic->name);
        sp_mem_free(topic->partitions);
        sp_mem_free(topic);
    }
    sp_map_free(cache->topics);
    sp_buf_deinit(&cache->params);
    sp_mem_free(cache);
}
