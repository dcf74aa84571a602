/* Committed offsets of the consumer group: asked for where a partition is to begin, and for the
 * user. */
#include <string.h>

#include "base/mem.h"
#include "client/consumer.h"
#include "wire/client_api.h"

/* ---- where partitions begin ------------------------------------------------------------------ */
/* ---- stored offsets -------------------------------------------------------------------------- */

static bool any_stored_wanted(const struct spate_consumer *consumer)
{
    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        if (consumer->partitions[i]->stored_wanted) {
            return true;
        }
    }
    return false;
}

/* A question about `count` topics, whose names follow. */
static void pack_question(const struct spate_consumer *consumer, size_t count, struct sp_pack *pack)
{
    sp_pack_map(pack, 2);
    sp_pack_text(pack, "group");
    sp_pack_text(pack, consumer->client->config.group_id);
    sp_pack_text(pack, "topics");
    sp_pack_array(pack, count);
}

/* The names of the topics whose offsets are wanted, each once as long as they stand together; or
 * the first of them. */
static int pack_stored(struct spate_consumer *consumer)
{
    struct sp_commits *commits = &consumer->commits;
    const struct sp_topic_view *last = NULL;
    struct sp_pack pack;
    size_t count = 0;

    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        struct sp_consumer_partition *partition = consumer->partitions[i];
        bool later = commits->stored_singly && last != NULL && partition->topic != last;
        partition->stored_asked = partition->stored_wanted && !later;
        count += partition->stored_asked && partition->topic != last ? 1 : 0;
        last = partition->stored_asked ? partition->topic : last;
    }
    last = NULL;
    sp_buf_clear(&commits->stored_params);
    sp_pack_init(&pack, &commits->stored_params);
    pack_question(consumer, count, &pack);
    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        const struct sp_consumer_partition *partition = consumer->partitions[i];
        if (partition->stored_asked && partition->topic != last) {
            sp_pack_text(&pack, partition->topic->name);
            last = partition->topic;
        }
    }
    return sp_pack_status(&pack);
}

/* Without a committed offset. */
static void begin_unstored(struct sp_consumer_partition *partition)
{
    switch (partition->consumer->client->config.offset_reset) {
    case SP_OFFSET_RESET_START:
        sp_consumer_begin_at(partition, SPATE_OFFSET_START);
        break;
    case SP_OFFSET_RESET_END:
        sp_consumer_begin_at(partition, SPATE_OFFSET_END);
        break;
    case SP_OFFSET_RESET_NONE:
        sp_consumer_begin_at(partition, SPATE_OFFSET_START);
        sp_fetcher_fail(partition,
                        SPATE_ERR_NOT_FOUND,
                        "the group has no committed offset, and offset.reset is none");
        break;
    }
}

static int take_stored(struct spate_consumer *consumer, struct sp_bytes result)
{
    struct sp_group_committed_response response;
    struct sp_cursor cursor = sp_cursor_of(result);
    int rv = sp_group_committed_response_decode(&cursor, &response, NULL);

    if (rv != 0) {
        return rv;
    }
    cursor = sp_cursor_of(response.offsets);
    for (uint32_t count = sp_cursor_array(&cursor); count > 0; count--) {
        struct sp_group_offset offset;
        rv = sp_group_offset_read(&cursor, &offset, NULL);
        if (rv != 0) {
            return rv;
        }
        struct sp_topic_view *view = sp_metadata_find(consumer->client->metadata, offset.topic);
        struct sp_consumer_partition *partition =
            view == NULL ? NULL : sp_consumer_find(consumer, view, offset.partition);
        if (partition != NULL && partition->stored_asked) {
            sp_consumer_begin_at(partition, offset.offset);
            partition->committed = offset.offset;
        }
    }
    return sp_cursor_status(&cursor);
}

static void
on_stored(struct sp_request *request, int status, struct sp_bytes result, const char *text)
{
    struct sp_commits *commits = SP_CONTAINER_OF(request, struct sp_commits, stored_request);
    struct spate_consumer *consumer = SP_CONTAINER_OF(commits, struct spate_consumer, commits);

    commits->stored_running = false;
    if (status == SPATE_ERR_TOO_LARGE && !commits->stored_singly) {
        commits->stored_singly = true;
        sp_commits_advance(consumer);
        return;
    }
    if (status == 0) {
        status = take_stored(consumer, result);
        sp_member_learn(consumer, request);
        text = spate_strerror(status);
    }
    if (status != 0) {
        commits->stored_retry_ms = sp_consumer_now_ms(consumer) + SP_CLIENT_PAUSE_MAX_MS;
    }
    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        struct sp_consumer_partition *partition = consumer->partitions[i];
        if (partition->stored_asked && status == 0) {
            begin_unstored(partition);
        } else if (partition->stored_asked && !sp_client_status_moves(status)) {
            sp_fetcher_fail(partition, status, text);
            partition->stored_wanted = false;
        }
        partition->stored_asked = false;
        sp_fetcher_advance(partition);
    }
    sp_commits_advance(consumer);
    sp_client_wake(consumer->client);
}

static void ask_stored(struct spate_consumer *consumer)
{
    struct sp_commits *commits = &consumer->commits;
    int rv = pack_stored(consumer);

    if (rv == 0) {
        commits->stored_request = sp_member_request(consumer, "group.committed");
        commits->stored_request.params =
            sp_bytes_of(commits->stored_params.bytes, commits->stored_params.size);
        commits->stored_request.attempt_ms = SP_GROUP_QUESTION_MS;
        commits->stored_request.cb = on_stored;
        rv = sp_request_start(&commits->stored_request);
    }
    if (rv != 0) {
        commits->stored_retry_ms = sp_consumer_now_ms(consumer) + SP_CLIENT_PAUSE_MAX_MS;
        return;
    }
    commits->stored_running = true;
}

void sp_stored_advance(struct spate_consumer *consumer, uint64_t *due_ms)
{
    struct sp_commits *commits = &consumer->commits;

    if (commits->stored_running || !any_stored_wanted(consumer)) {
        return;
    }
    if (sp_consumer_now_ms(consumer) >= commits->stored_retry_ms) {
        ask_stored(consumer);
    }
    if (!commits->stored_running && commits->stored_retry_ms < *due_ms) {
        *due_ms = commits->stored_retry_ms;
    }
}

/* ---- the user -------------------------------------------------------------------------------- */

/* The offset of one partition out of an answer; -1: none. */
static int
read_row(struct sp_bytes result, const char *topic, int32_t partition, int64_t *out_offset)
{
    struct sp_group_committed_response response;
    struct sp_cursor cursor = sp_cursor_of(result);
    int rv = sp_group_committed_response_decode(&cursor, &response, NULL);
    int64_t offset = -1;

    if (rv != 0) {
        return rv;
    }
    cursor = sp_cursor_of(response.offsets);
    for (uint32_t count = sp_cursor_array(&cursor); count > 0; count--) {
        struct sp_group_offset row;
        rv = sp_group_offset_read(&cursor, &row, NULL);
        if (rv != 0) {
            return rv;
        }
        if (row.partition == partition && sp_bytes_equal_text(row.topic, topic)) {
            offset = row.offset;
        }
    }
    *out_offset = offset;
    return sp_cursor_status(&cursor);
}

int spate_consumer_committed(struct spate_consumer *consumer,
                             const char *topic,
                             int32_t partition,
                             int64_t *out_offset)
{
    struct sp_pack pack;
    struct sp_buf params;
    void *result = NULL;
    size_t size = 0;
    int64_t offset = -1;

    if (consumer == NULL || topic == NULL || out_offset == NULL) {
        return SPATE_ERR_INVALID;
    }
    struct spate_client *client = consumer->client;
    SP_CLIENT_HOLD(client);
    if (client->config.group_id[0] == '\0') {
        return sp_client_fail(client, SPATE_ERR_INVALID, "committed offsets need group.id");
    }
    sp_buf_init(&params, SP_GROUP_PARAMS_BYTES_MAX);
    sp_pack_init(&pack, &params);
    pack_question(consumer, 1, &pack);
    sp_pack_text(&pack, topic);
    struct sp_request request = sp_member_request(consumer, "group.committed");
    request.params = sp_bytes_of(params.bytes, params.size);
    request.attempt_ms = SP_GROUP_QUESTION_MS;
    int rv = sp_pack_status(&pack);
    rv = rv != 0 ? rv : sp_request_wait(&request, &result, &size);
    sp_buf_deinit(&params);
    if (rv != 0) {
        return rv;
    }
    rv = read_row(sp_bytes_of(result, size), topic, partition, &offset);
    sp_mem_free(result);
    if (rv != 0) {
        return sp_client_fail(client, SPATE_ERR_MALFORMED, "the server's answer makes no sense");
    }
    if (offset < 0) {
        return sp_client_fail(client, SPATE_ERR_NOT_FOUND, "the group has committed nothing there");
    }
    *out_offset = offset;
    return 0;
}
