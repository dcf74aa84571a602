/* Committing offsets of the consumer group, in rounds.
 *
 *   wanted (by the user, by the clock, by a release) -> one request with all that is wanted
 *     -> stored: committed                 -> what was released is given up
 *     -> refused: not wanted any more      -> the same; the next heartbeat tells who owns what
 *     -> refused as gone, the others stored -> what is gone is read no more
 *     -> unknown: after a pause again, with whatever is newer by then
 *
 * What a member has committed stays as it is: nobody else may set it, and it is kept as long as
 * there are members. Of partitions that the program has assigned neither is true. So a commit of
 * the program always goes out, and the clock now and then sends one without offsets, which sets
 * nothing and keeps the group. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "client/consumer.h"
#include "wire/client_api.h"

enum {
    OFFSETS_PER_COMMIT_MAX = 10000,
    RENEW_MS = 20000, /* short even for a groups.offsets.retention.ms of a minute */
};

/* ---- what is wanted -------------------------------------------------------------------------- */

static bool wants(const struct sp_consumer_partition *partition)
{
    return partition->commit_wanted >= 0 && partition->ownership != SP_OWNERSHIP_LOST;
}

static bool any_wanted(const struct spate_consumer *consumer)
{
    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        if (wants(consumer->partitions[i])) {
            return true;
        }
    }
    return false;
}

/* `again`: also what this consumer has committed before. */
static void want(struct sp_consumer_partition *partition, int64_t offset, bool again)
{
    if (offset >= 0 && (again || offset != partition->committed || partition->commit_wanted >= 0)) {
        partition->commit_wanted = offset;
    }
}

void sp_commits_want_processed(struct sp_consumer_partition *partition)
{
    const struct spate_config *config = &partition->consumer->client->config;

    if (config->commit_interval_ms > 0 && config->group_id[0] != '\0') {
        want(partition, partition->processed, false);
    }
}

static bool is_under_way(const struct sp_consumer_partition *partition)
{
    const struct sp_commits *commits = &partition->consumer->commits;

    return commits->running && partition->commit_number == commits->number;
}

/* Whoever waits for a commit is told. */
static void fail(struct sp_commits *commits, int status, const char *text)
{
    commits->failure_count += 1;
    commits->status = status;
    (void)snprintf(commits->text, sizeof commits->text, "%s", text);
}

static void fail_lost(struct sp_commits *commits)
{
    fail(commits,
         SPATE_ERR_GROUP_FENCED,
         "a partition is no longer read by this consumer, and not committed");
}

/* The commit that was under way for a lost partition has ended without an answer of use. */
static void fail_under_way(struct sp_commits *commits)
{
    if (commits->request.uncertain) {
        fail(commits, /* not TIMEOUT: that is to be waited for again */
             SPATE_ERR_CLOSED,
             "a partition is no longer read by this consumer; whether it was committed is unknown");
    } else {
        fail_lost(commits);
    }
}

void sp_commits_lose(struct sp_consumer_partition *partition)
{
    struct sp_commits *commits = &partition->consumer->commits;

    if (!wants(partition)) {
        return;
    }
    if (is_under_way(partition) && partition->commit_wanted == partition->commit_sent) {
        commits->lost = true; /* it may be stored all the same */
    } else { /* also while an older offset is under way, whose outcome says nothing about this */
        fail_lost(commits);
        sp_client_wake(partition->consumer->client);
    }
    partition->commit_wanted = -1;
}

void sp_commits_release(struct spate_consumer *consumer)
{
    bool released = false;

    if (consumer->telling) {
        return;
    }
    for (uint32_t i = consumer->partition_count; i > 0; i--) {
        struct sp_consumer_partition *partition = consumer->partitions[i - 1];
        if (partition->ownership == SP_OWNERSHIP_RELEASING && !wants(partition) &&
            !is_under_way(partition)) {
            sp_consumer_remove(partition);
            released = true;
        }
    }
    if (released) {
        sp_member_tell(consumer);
    }
}

/* ---- committing ------------------------------------------------------------------------------ */

static int pack_commit(struct spate_consumer *consumer)
{
    const struct sp_member *member = &consumer->member;
    struct sp_commits *commits = &consumer->commits;
    struct sp_group_commit_request request;
    struct sp_pack pack;
    struct sp_buf offsets;
    size_t count = 0;

    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        count += wants(consumer->partitions[i]) ? 1 : 0;
    }
    count = count < OFFSETS_PER_COMMIT_MAX ? count : OFFSETS_PER_COMMIT_MAX;
    commits->bare = count == 0;
    sp_buf_init(&offsets, SP_GROUP_PARAMS_BYTES_MAX);
    sp_pack_init(&pack, &offsets);
    sp_pack_array(&pack, count);
    for (uint32_t i = 0; i < consumer->partition_count && count > 0; i++) {
        struct sp_consumer_partition *partition = consumer->partitions[i];
        if (wants(partition)) {
            sp_pack_map(&pack, partition->topic_id < 0 ? 3 : 4);
            sp_pack_text(&pack, "topic");
            sp_pack_text(&pack, partition->topic->name);
            if (partition->topic_id >= 0) {
                sp_pack_text(&pack, "topic_id"); /* a namesake was not read */
                sp_pack_int(&pack, partition->topic_id);
            }
            sp_pack_text(&pack, "partition");
            sp_pack_uint(&pack, partition->index);
            sp_pack_text(&pack, "offset");
            sp_pack_int(&pack, partition->commit_wanted);
            partition->commit_sent = partition->commit_wanted;
            partition->commit_number = commits->number;
            count -= 1;
        }
    }
    sp_group_commit_request_init(&request);
    request.group = sp_bytes_text(consumer->client->config.group_id);
    if (member->id[0] != '\0') {
        request.member = sp_bytes_text(member->id);
        request.generation = member->generation;
    }
    request.seen = commits->seen;
    request.partly = true; /* a topic that is gone shall not keep back the others */
    request.offsets = sp_bytes_of(offsets.bytes, offsets.size);
    int rv = sp_pack_status(&pack);
    sp_buf_clear(&commits->params);
    sp_pack_init(&pack, &commits->params);
    sp_group_commit_request_encode(&pack, &request);
    rv = rv != 0 ? rv : sp_pack_status(&pack);
    sp_buf_deinit(&offsets);
    return rv;
}

/* What became of the offsets of the commit that has ended. */
static void settle(struct sp_consumer_partition *partition, int status, bool again)
{
    if (status == 0) {
        partition->committed = partition->commit_sent;
    }
    if (!again && partition->commit_wanted == partition->commit_sent) {
        partition->commit_wanted = -1;
    }
}

/* What it was read from is gone: a reader is told, whoever waits for the commit as well. */
static void drop(struct sp_consumer_partition *partition)
{
    struct sp_commits *commits = &partition->consumer->commits;
    char text[SP_TOPIC_NAME_SIZE_MAX + 80];

    if (!is_under_way(partition)) {
        return;
    }
    partition->commit_number = 0;
    partition->commit_wanted = -1;
    (void)snprintf(text,
                   sizeof text,
                   "%s/%u: there is no such topic (any more); the others are committed",
                   partition->topic->name,
                   partition->index);
    fail(commits, SPATE_ERR_UNKNOWN_TOPIC, text);
    if (partition->topic_id >= 0 && partition->error == 0) {
        sp_fetcher_fail(partition, SPATE_ERR_UNKNOWN_TOPIC, "the topic was deleted");
    }
}

static int drop_refused(struct spate_consumer *consumer, struct sp_bytes refused)
{
    struct sp_cursor cursor = sp_cursor_of(refused);
    uint32_t count = refused.bytes == NULL ? 0 : sp_cursor_array(&cursor);

    for (uint32_t i = 0; i < count; i++) {
        struct sp_group_offset row;
        if (sp_group_offset_read(&cursor, &row, NULL) != 0) {
            return SPATE_ERR_MALFORMED;
        }
        struct sp_topic_view *view = sp_metadata_find(consumer->client->metadata, row.topic);
        struct sp_consumer_partition *partition =
            view == NULL ? NULL : sp_consumer_find(consumer, view, row.partition);
        if (partition != NULL) {
            drop(partition);
        }
    }
    return 0;
}

/* 0; AGAIN: it was compared with what this consumer had seen, and not stored; MALFORMED. */
static int take_commit(struct spate_consumer *consumer, struct sp_bytes result)
{
    struct sp_commits *commits = &consumer->commits;
    struct sp_group_commit_response response;
    struct sp_cursor cursor = sp_cursor_of(result);

    if (sp_group_commit_response_decode(&cursor, &response, NULL) != 0) {
        return SPATE_ERR_MALFORMED;
    }
    bool news = response.seen > commits->seen;
    commits->seen = news ? response.seen : commits->seen;
    commits->retry_pause_ms = news ? 0 : SP_CLIENT_PAUSE_MIN_MS;
    return response.stored ? drop_refused(consumer, response.refused) : SPATE_ERR_AGAIN;
}

static void
on_commit(struct sp_request *request, int status, struct sp_bytes result, const char *text)
{
    struct sp_commits *commits = SP_CONTAINER_OF(request, struct sp_commits, request);
    struct spate_consumer *consumer = SP_CONTAINER_OF(commits, struct spate_consumer, commits);

    commits->retry_pause_ms = SP_CLIENT_PAUSE_MAX_MS;
    if (status == 0) {
        sp_member_learn(consumer, request);
        status = take_commit(consumer, result);
        text = spate_strerror(status);
    }
    commits->running = false;
    bool again = status == SPATE_ERR_AGAIN || (status != 0 && sp_client_status_moves(status));
    if (status == 0 || (commits->bare && !again)) { /* a group that is gone stays so */
        commits->renew_ms = sp_consumer_now_ms(consumer) + RENEW_MS;
    }
    if (again) {
        commits->retry_ms = sp_consumer_now_ms(consumer) + commits->retry_pause_ms;
        if (commits->lost) {
            fail_under_way(commits);
        }
    } else if (status != 0 && !commits->bare) {
        fail(commits, status, text);
    }
    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        if (consumer->partitions[i]->commit_number == commits->number) {
            settle(consumer->partitions[i], status, again);
        }
    }
    if (status == SPATE_ERR_UNKNOWN_MEMBER) {
        sp_member_lost(consumer);
    } else if (status == SPATE_ERR_GROUP_FENCED) {
        sp_member_tell(consumer);
    } else if (status == SPATE_ERR_UNKNOWN_TOPIC) {
        (void)sp_metadata_want(consumer->client->metadata); /* which one is it? */
    }
    if (commits->failure_count == commits->waited_failures && !any_wanted(consumer)) {
        commits->waited = false; /* it is done */
    }
    sp_commits_release(consumer);
    sp_commits_advance(consumer);
    sp_client_wake(consumer->client);
}

static void start_commit(struct spate_consumer *consumer)
{
    struct sp_commits *commits = &consumer->commits;

    commits->number += 1; /* also if it fails: what was packed then is not of the next one */
    int rv = pack_commit(consumer);

    if (rv == 0) {
        commits->request = sp_member_request(consumer, "group.commit");
        commits->request.params = sp_bytes_of(commits->params.bytes, commits->params.size);
        commits->request.attempt_ms = SP_GROUP_QUESTION_MS;
        commits->request.cb = on_commit;
        rv = sp_request_start(&commits->request);
    }
    if (rv != 0) {
        commits->retry_ms = sp_consumer_now_ms(consumer) + SP_CLIENT_PAUSE_MAX_MS;
        return;
    }
    commits->running = true;
    commits->lost = false;
}

/* ---- advancing ------------------------------------------------------------------------------- */

/* True if the group lives by this consumer's commits, has some, and has heard of none for long. */
static bool renewal_due(const struct spate_consumer *consumer)
{
    if (sp_consumer_subscribed(consumer) ||
        sp_consumer_now_ms(consumer) < consumer->commits.renew_ms) {
        return false;
    }
    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        if (consumer->partitions[i]->committed >= 0) {
            return true;
        }
    }
    return false;
}

/* Commits by the clock. */
static void look_at_clock(struct spate_consumer *consumer)
{
    struct sp_commits *commits = &consumer->commits;
    uint64_t now_ms = sp_consumer_now_ms(consumer);

    if (now_ms < commits->due_ms) {
        return;
    }
    commits->due_ms = now_ms + consumer->client->config.commit_interval_ms;
    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        if (consumer->partitions[i]->ownership == SP_OWNERSHIP_OWNED) {
            sp_commits_want_processed(consumer->partitions[i]);
        }
    }
    if (renewal_due(consumer) && !commits->running && now_ms >= commits->retry_ms) {
        start_commit(consumer);
    }
}

void sp_commits_advance(struct spate_consumer *consumer)
{
    struct sp_commits *commits = &consumer->commits;
    uint64_t now_ms = sp_consumer_now_ms(consumer);
    uint64_t due_ms = UINT64_MAX;

    if (consumer->client->config.group_id[0] == '\0') {
        return;
    }
    if (consumer->client->config.commit_interval_ms > 0 && consumer->partition_count > 0) {
        look_at_clock(consumer);
        due_ms = commits->due_ms;
    }
    if (!commits->running && any_wanted(consumer)) {
        if (now_ms >= commits->retry_ms) {
            start_commit(consumer);
        }
        due_ms = commits->running || due_ms < commits->retry_ms ? due_ms : commits->retry_ms;
    }
    sp_stored_advance(consumer, &due_ms);
    if (due_ms == UINT64_MAX) {
        sp_timer_stop(&commits->timer);
    } else {
        (void)sp_timer_start(&commits->timer, due_ms); /* out of memory: the next call advances */
    }
}

static void on_timer(struct sp_timer *timer)
{
    struct sp_commits *commits = SP_CONTAINER_OF(timer, struct sp_commits, timer);

    sp_commits_advance(SP_CONTAINER_OF(commits, struct spate_consumer, commits));
}

/* ---- the user -------------------------------------------------------------------------------- */

int sp_commits_wait(struct spate_consumer *consumer, uint64_t deadline_ms)
{
    struct sp_commits *commits = &consumer->commits;
    uint64_t begun_count = commits->failure_count; /* what has failed before ends no wait */
    uint64_t failure_count = commits->waited ? commits->waited_failures : begun_count;

    commits->waited = false;
    sp_commits_advance(consumer);
    while ((commits->running || any_wanted(consumer)) && commits->failure_count == begun_count) {
        bool late = sp_consumer_now_ms(consumer) >= deadline_ms;
        if (late && begun_count != failure_count) {
            break;
        }
        if (late) {
            commits->waited = true; /* whoever goes on waiting hears what failed meanwhile */
            commits->waited_failures = failure_count;
            return sp_client_fail(consumer->client,
                                  SPATE_ERR_TIMEOUT,
                                  "no answer to the commit within the time given; %s",
                                  commits->request.text);
        }
        int rv = sp_client_run(consumer->client, deadline_ms);
        rv = rv == 0 ? sp_consumer_check_alive(consumer) : rv;
        if (rv != 0) {
            return rv;
        }
    }
    return commits->failure_count == failure_count
               ? 0
               : sp_client_fail(consumer->client, commits->status, "%s", commits->text);
}

int spate_consumer_commit(struct spate_consumer *consumer,
                          const struct spate_message *message,
                          int timeout_ms)
{
    if (consumer == NULL) {
        return SPATE_ERR_INVALID;
    }
    struct spate_client *client = consumer->client;
    SP_CLIENT_HOLD(client);
    SP_CONSUMER_HOLD(consumer);
    bool found = message == NULL;
    bool again = !sp_consumer_subscribed(consumer);
    if (client->config.group_id[0] == '\0') {
        return sp_client_fail(client, SPATE_ERR_INVALID, "a commit needs group.id");
    }
    sp_consumer_note_processed(consumer->delivered, message);
    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        struct sp_consumer_partition *partition = consumer->partitions[i];
        if (partition->ownership == SP_OWNERSHIP_LOST) {
            continue;
        }
        if (message == NULL) {
            want(partition, partition->processed, again);
        } else if (sp_consumer_is_of(message, partition)) {
            want(partition, message->offset + 1, again);
            found = true;
        }
    }
    if (!found) {
        return sp_client_fail(client,
                              SPATE_ERR_GROUP_FENCED,
                              "the partition is not read by this consumer (any more)");
    }
    if (timeout_ms == 0) {
        sp_commits_advance(consumer);
        return 0;
    }
    return sp_commits_wait(consumer, sp_client_deadline(client, timeout_ms));
}

/* ---- life ------------------------------------------------------------------------------------ */

void sp_commits_init(struct spate_consumer *consumer)
{
    struct sp_commits *commits = &consumer->commits;

    sp_timer_init(&commits->timer, consumer->client->loop, on_timer);
    sp_buf_init(&commits->params, SP_GROUP_PARAMS_BYTES_MAX);
    sp_buf_init(&commits->stored_params, SP_GROUP_PARAMS_BYTES_MAX);
    commits->due_ms = sp_consumer_now_ms(consumer) + consumer->client->config.commit_interval_ms;
    commits->renew_ms = sp_consumer_now_ms(consumer) + RENEW_MS;
}

void sp_commits_deinit(struct spate_consumer *consumer)
{
    struct sp_commits *commits = &consumer->commits;

    sp_timer_stop(&commits->timer);
    sp_request_cancel(&commits->request);
    sp_request_cancel(&commits->stored_request);
    sp_buf_deinit(&commits->params);
    sp_buf_deinit(&commits->stored_params);
}
