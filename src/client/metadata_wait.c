/* Waiting for a description of the cluster, with words for what does not come. */
#include "client/metadata_cache.h"
#include "spate/error.h"
#include "wire/client_api.h"

enum {
    UNKNOWN_TRIES = 3, /* descriptions without a topic before it counts as unknown */
};

/* No server described the cluster, or `topic` of it, in time: for what reason. */
static int fail_undescribed(struct sp_metadata_cache *cache, const char *what, const char *name)
{
    struct spate_client *client = cache->client;

    if (!cache->request.reached) {
        char text[SP_CLIENT_ERROR_SIZE];
        sp_request_tell_unreached(&cache->request, client->config.servers, text);
        bool told = cache->status == SPATE_ERR_UNREACHABLE; /* by the one that ended last */
        return sp_client_fail(client, SPATE_ERR_UNREACHABLE, "%s", told ? cache->text : text);
    }
    return sp_client_fail(client,
                          SPATE_ERR_TIMEOUT,
                          "no server at %.200s described %s%s within the deadline%s%s%.200s%s",
                          client->config.servers,
                          what,
                          name,
                          cache->request.answered ? "" : ": is that the client port of a spated?",
                          cache->status != 0 ? " (" : "",
                          cache->status != 0 ? cache->text : "",
                          cache->status != 0 ? ")" : "");
}

static int
fail_topic(struct sp_metadata_cache *cache, const struct sp_topic_view *topic, int status)
{
    struct spate_client *client = cache->client;

    if (status == SPATE_ERR_UNKNOWN_TOPIC) {
        return sp_client_fail(client, status, SP_NO_TOPIC_TEXT, topic->name);
    }
    if (status == SPATE_ERR_AGAIN) {
        return fail_undescribed(cache, "topic ", topic->name);
    }
    return sp_client_fail(client, status, "topic %s: %s", topic->name, spate_strerror(status));
}

int sp_metadata_wait_topic(struct sp_metadata_cache *cache,
                           struct sp_topic_view *topic,
                           uint64_t deadline_ms)
{
    uint64_t tries_end = cache->completed + UNKNOWN_TRIES;
    uint64_t ended = cache->ended;

    while (topic->status != 0) {
        bool unknown = topic->status == SPATE_ERR_UNKNOWN_TOPIC && cache->completed >= tries_end;
        bool unreached = cache->ended > ended && cache->status == SPATE_ERR_UNREACHABLE;
        if (unknown) {
            return fail_topic(cache, topic, SPATE_ERR_UNKNOWN_TOPIC);
        }
        if (unreached || sp_loop_now_ms(cache->client->loop) >= deadline_ms) {
            return fail_topic(cache, topic, unreached ? SPATE_ERR_AGAIN : topic->status);
        }
        (void)sp_metadata_want(cache);
        int rv = sp_client_run(cache->client, deadline_ms);
        if (rv != 0) {
            return rv;
        }
    }
    return 0;
}

/* Has nothing failed yet? The time was short. */
static bool nobody_known_bad(const struct sp_metadata_cache *cache)
{
    return !cache->request.reached && cache->request.trouble == SP_STREAM_TROUBLE_NONE &&
           cache->status != SPATE_ERR_UNREACHABLE;
}

int sp_metadata_wait_first(struct sp_metadata_cache *cache, uint64_t deadline_ms)
{
    struct spate_client *client = cache->client;
    uint64_t ended = cache->ended;
    int rv = 0;

    while (rv == 0 && cache->completed == 0) {
        if (cache->ended > ended && cache->status == SPATE_ERR_UNREACHABLE) {
            return sp_client_fail(client, cache->status, "%s", cache->text);
        }
        if (sp_loop_now_ms(client->loop) >= deadline_ms) {
            return nobody_known_bad(cache)
                       ? sp_client_fail(client,
                                        SPATE_ERR_TIMEOUT,
                                        "no server of %s described the cluster within the deadline",
                                        client->config.servers)
                       : fail_undescribed(cache, "the cluster", "");
        }
        (void)sp_metadata_want(cache);
        rv = sp_client_run(client, deadline_ms);
    }
    return rv;
}

static int fail_partition(struct sp_metadata_cache *cache,
                          const struct sp_topic_view *topic,
                          uint32_t partition)
{
    return sp_client_fail(cache->client,
                          SPATE_ERR_UNKNOWN_PARTITION,
                          "topic %s has %u partitions, numbered from 0: there is no partition %u",
                          topic->name,
                          topic->partition_count,
                          partition);
}

int sp_metadata_wait_leader(struct sp_metadata_cache *cache,
                            struct sp_topic_view *topic,
                            uint32_t partition,
                            uint64_t deadline_ms)
{
    int rv = sp_metadata_wait_topic(cache, topic, deadline_ms);

    while (rv == 0 && partition < topic->partition_count &&
           topic->partitions[partition].leader == NULL) {
        if (sp_loop_now_ms(cache->client->loop) >= deadline_ms) {
            return sp_client_fail(
                cache->client,
                SPATE_ERR_LEADER_UNKNOWN,
                "partition %s/%u has no leader: are most of its replicas running?",
                topic->name,
                partition);
        }
        (void)sp_metadata_want(cache);
        rv = sp_client_run(cache->client, deadline_ms);
    }
    if (rv == 0 && partition >= topic->partition_count) {
        return fail_partition(cache, topic, partition);
    }
    return rv;
}
