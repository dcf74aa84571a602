/* The member of a consumer group: joins, is heard of, leaves.
 *
 *             subscribe                    answered
 *   OUT ---------------------> JOINING -------------> IN --heartbeat (long poll)--.
 *    ^                          ^  ^                  | ^                         |
 *    |                          |  '- unknown member -' '--- what is assigned ----'
 *    |                          |      (session over: everything is lost)
 *    '-- fenced, refused -------'-- with its id first: fenced means that another process has come,
 *                                   or a join of its own, late
 *
 * A member without group.instance makes one up, so that a join whose answer was lost takes the
 * place of the one before instead of leaving a member behind that nobody drives.
 *
 * After a session without an answer the coordinator may know the member all the same. It then joins
 * once with its id, which shows that no other process has its place, and once without, which gives
 * it a new id: a commit of before that is still on its way must not come after the question where
 * to go on. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "client/consumer.h"
#include "wire/client_api.h"

enum {
    PARAMS_BYTES_MAX = 4 * 1024 * 1024,
    JOIN_MS = 8000,   /* a coordinator answers a join after 5 s at the latest */
    MARGIN_MS = 3000, /* beyond the wait that a heartbeat allows */
    CALM_MS = 20,     /* a heartbeat that is answered sooner and tells nothing new */
    TOPICS_BYTES_MAX = SP_CONSUMER_TOPICS_MAX * (SP_TOPIC_NAME_SIZE_MAX + 3) + 5,
};

/* ---- asking the coordinator ------------------------------------------------------------------ */

struct sp_request sp_member_request(struct spate_consumer *consumer, const char *method)
{
    struct spate_client *client = consumer->client;
    struct sp_request request = {
        .client = client,
        .method = method,
        .deadline_ms = sp_client_deadline(client, client->config.timeout_ms),
        .repeatable = true,
        .apart = true,
    };

    memcpy(request.hint, consumer->member.coordinator, sizeof request.hint);
    return request;
}

void sp_member_learn(struct spate_consumer *consumer, struct sp_request *request)
{
    (void)snprintf(consumer->member.coordinator,
                   sizeof consumer->member.coordinator,
                   "%s",
                   sp_request_server(request));
}

/* ---- joining and heartbeats ------------------------------------------------------------------ */

static struct spate_consumer *consumer_of(struct sp_member *member)
{
    return SP_CONTAINER_OF(member, struct spate_consumer, member);
}

static void pack_join(struct spate_consumer *consumer, struct sp_pack *pack)
{
    const struct spate_config *config = &consumer->client->config;
    const struct sp_member *member = &consumer->member;
    struct sp_group_join_request request;

    sp_group_join_request_init(&request);
    request.group = sp_bytes_text(config->group_id);
    request.instance = sp_bytes_text(member->instance);
    request.client = sp_bytes_text(config->client_name);
    request.topics = sp_bytes_of(member->topics.bytes, member->topics.size);
    request.session_ms = (int32_t)config->session_ms;
    request.rebalance_ms = (int32_t)config->rebalance_ms;
    if (member->id[0] != '\0') {
        request.member = sp_bytes_text(member->id);
    }
    if (consumer->client->config.client_rack[0] != '\0') {
        request.rack = sp_bytes_text(consumer->client->config.client_rack);
    }
    sp_group_join_request_encode(pack, &request);
}

static int pack_heartbeat(struct spate_consumer *consumer, struct sp_pack *pack)
{
    const struct sp_member *member = &consumer->member;
    struct sp_group_heartbeat_request request;
    struct sp_pack owned_pack;
    struct sp_buf owned;

    sp_buf_init(&owned, PARAMS_BYTES_MAX);
    sp_pack_init(&owned_pack, &owned);
    sp_consumer_pack_owned(consumer, &owned_pack);
    sp_group_heartbeat_request_init(&request);
    request.group = sp_bytes_text(consumer->client->config.group_id);
    request.member = sp_bytes_text(member->id);
    request.generation = member->generation;
    request.owned = sp_bytes_of(owned.bytes, owned.size);
    request.max_wait_ms = (int32_t)member->heartbeat_ms;
    int rv = sp_pack_status(&owned_pack);
    if (rv == 0) {
        sp_group_heartbeat_request_encode(pack, &request);
    }
    sp_buf_deinit(&owned);
    return rv;
}

static void take_id(struct sp_member *member, struct sp_bytes id)
{
    memcpy(member->id, id.bytes, id.size);
    member->id[id.size] = '\0';
}

/* The answer to a join of a member that leaves: who it is. */
static void take_last_answer(struct sp_member *member, struct sp_bytes result)
{
    struct sp_group_member_response response;
    struct sp_cursor cursor = sp_cursor_of(result);

    if (sp_group_member_response_decode(&cursor, &response, NULL) == 0) {
        take_id(member, response.member);
    }
}

static int take_answer(struct spate_consumer *consumer, struct sp_bytes result, bool *out_news)
{
    struct sp_member *member = &consumer->member;
    struct sp_group_member_response response;
    struct sp_cursor cursor = sp_cursor_of(result);
    int rv = sp_group_member_response_decode(&cursor, &response, NULL);

    if (rv != 0) {
        return rv;
    }
    if (member->renewing) {
        member->renewing = false;
        member->id[0] = '\0';
        return 0;
    }
    *out_news = member->joining || member->generation != response.generation;
    take_id(member, response.member);
    member->generation = response.generation;
    member->heartbeat_ms = (uint32_t)response.heartbeat_ms;
    member->heard_ms = member->begun_ms;
    member->trouble_told = false;
    member->state = SP_MEMBER_IN;
    return sp_consumer_apply(consumer, response.assigned, response.revoke);
}

/* Nothing that waiting could put right. */
static void fail(struct spate_consumer *consumer, int status, const char *text)
{
    struct sp_member *member = &consumer->member;

    member->state = SP_MEMBER_OUT;
    member->error = status;
    (void)snprintf(member->text, sizeof member->text, "%s", text);
    sp_consumer_lose_all(consumer);
}

/* True if the place was taken by another join of this very process, which came late: nobody else
 * knows an instance that was made up, and one that was sent twice may have been done twice. Joining
 * once more, without the id, is right then; against another process it would begin a struggle. */
static bool fenced_by_itself(const struct spate_consumer *consumer, int status)
{
    return status == SPATE_ERR_GROUP_FENCED &&
           (consumer->client->config.group_instance[0] == '\0' || consumer->member.doubled);
}

/* Waiting may put it right. */
static void note_trouble(struct spate_consumer *consumer, const char *text)
{
    struct sp_member *member = &consumer->member;

    (void)snprintf(member->text, sizeof member->text, "%s", text);
    if (!member->trouble_told) {
        sp_client_log(consumer->client,
                      SPATE_LOG_WARN,
                      "no answer for a member of group %s: %.400s",
                      consumer->client->config.group_id,
                      text);
    }
    member->trouble_told = true;
}

static void on_refusal(struct spate_consumer *consumer, int status, const char *text)
{
    struct sp_member *member = &consumer->member;

    if (sp_client_status_moves(status)) {
        note_trouble(consumer, text);
        member->retry_ms = sp_consumer_now_ms(consumer) + SP_CLIENT_PAUSE_MAX_MS;
    } else if (status == SPATE_ERR_UNKNOWN_MEMBER && !member->joining) {
        sp_member_lost(consumer);
    } else if (member->id[0] != '\0' &&
               (status == SPATE_ERR_UNKNOWN_MEMBER || fenced_by_itself(consumer, status))) {
        member->id[0] = '\0';
        member->renewing = false;
        member->doubled = false;
        sp_consumer_lose_all(consumer); /* what a new subscription had kept */
    } else {
        fail(consumer, status, text);
    }
}

static void
on_answer(struct sp_request *request, int status, struct sp_bytes result, const char *text)
{
    struct sp_member *member = SP_CONTAINER_OF(request, struct sp_member, request);
    struct spate_consumer *consumer = consumer_of(member);
    uint64_t now_ms = sp_consumer_now_ms(consumer);
    bool news = false;

    member->running = false;
    if (member->leaving) {
        if (status == 0) {
            take_last_answer(member, result);
        }
        sp_client_wake(consumer->client);
        return;
    }
    /* A join with an id takes no place. */
    member->doubled |= member->joining && member->id[0] == '\0' && request->uncertain;
    if (status != 0) {
        on_refusal(consumer, status, text);
    } else {
        sp_member_learn(consumer, request);
        status = take_answer(consumer, result, &news);
    }
    if (status == SPATE_ERR_MALFORMED || status == SPATE_ERR_INVALID) {
        fail(consumer, SPATE_ERR_MALFORMED, "the coordinator's answer makes no sense");
    } else if (status != 0 || (!news && now_ms < member->begun_ms + CALM_MS)) {
        member->retry_ms = now_ms + SP_CLIENT_PAUSE_MAX_MS;
    }
    sp_commits_advance(consumer);
    sp_member_advance(consumer);
    sp_client_wake(consumer->client);
}

static int start(struct spate_consumer *consumer)
{
    struct sp_member *member = &consumer->member;
    const struct spate_config *config = &consumer->client->config;
    struct sp_pack pack;
    int rv = 0;

    member->joining = member->state == SP_MEMBER_JOINING;
    member->begun_ms = sp_consumer_now_ms(consumer);
    sp_buf_clear(&member->params);
    sp_pack_init(&pack, &member->params);
    if (member->joining) {
        pack_join(consumer, &pack);
    } else {
        rv = pack_heartbeat(consumer, &pack);
    }
    rv = rv != 0 ? rv : sp_pack_status(&pack);
    if (rv != 0) {
        return rv;
    }
    member->request =
        sp_member_request(consumer, member->joining ? "group.join" : "group.heartbeat");
    member->request.params = sp_bytes_of(member->params.bytes, member->params.size);
    member->request.deadline_ms = member->begun_ms + config->session_ms;
    member->request.attempt_ms = member->joining ? JOIN_MS : member->heartbeat_ms + MARGIN_MS;
    member->request.unreachable_ms = member->joining ? SP_CLIENT_UNREACHABLE_MS : 0;
    member->request.cb = on_answer;
    return sp_request_start(&member->request);
}

/* ---- advancing ------------------------------------------------------------------------------- */

void sp_member_cancel(struct sp_member *member)
{
    if (member->running) {
        sp_request_cancel(&member->request);
        member->running = false;
        member->doubled |= member->joining && member->id[0] == '\0';
    }
}

/* When others may read what the member has, if nobody hears of it until then; UINT64_MAX: never. */
static uint64_t session_end(const struct spate_consumer *consumer)
{
    const struct sp_member *member = &consumer->member;
    bool holds = member->state == SP_MEMBER_IN ||
                 (member->state == SP_MEMBER_JOINING && sp_consumer_owns(consumer));

    return holds ? member->heard_ms + consumer->client->config.session_ms : UINT64_MAX;
}

void sp_member_advance(struct spate_consumer *consumer)
{
    struct sp_member *member = &consumer->member;
    uint64_t now_ms = sp_consumer_now_ms(consumer);
    uint64_t due_ms;

    if (now_ms >= session_end(consumer)) {
        sp_member_cancel(member);
        member->state = SP_MEMBER_IN; /* also one that joins again for other topics */
        sp_member_lost(consumer);
        member->renewing = true;
    }
    if (member->state == SP_MEMBER_OUT) {
        sp_timer_stop(&member->timer);
        return;
    }
    if (!member->running && now_ms >= member->retry_ms) {
        member->running = start(consumer) == 0;
        member->retry_ms = member->running ? 0 : now_ms + SP_CLIENT_PAUSE_MAX_MS;
    }
    due_ms = member->running ? UINT64_MAX : member->retry_ms;
    due_ms = due_ms < session_end(consumer) ? due_ms : session_end(consumer);
    if (due_ms == UINT64_MAX) {
        sp_timer_stop(&member->timer);
    } else {
        (void)sp_timer_start(&member->timer, due_ms); /* out of memory: the next call advances */
    }
}

void sp_member_tell_trouble(const struct spate_consumer *consumer, char out[SP_CLIENT_ERROR_SIZE])
{
    const struct sp_member *member = &consumer->member;
    char text[SP_CLIENT_ERROR_SIZE] = "no server has answered yet";

    if (member->text[0] != '\0') {
        (void)snprintf(text, sizeof text, "%s", member->text);
    } else if (member->running && member->request.status != 0) {
        (void)sp_request_tell_given_up(&member->request, text);
    }
    (void)snprintf(out,
                   SP_CLIENT_ERROR_SIZE,
                   "not a member of group %.100s: %.380s",
                   consumer->client->config.group_id,
                   text);
}

/* From now on it is without a place. */
static void begin_joining(struct spate_consumer *consumer)
{
    struct sp_member *member = &consumer->member;

    member->state = SP_MEMBER_JOINING;
    member->alone_ms = sp_consumer_now_ms(consumer);
    member->stall_told = false;
    member->retry_ms = 0;
    member->text[0] = '\0';
}

static void on_timer(struct sp_timer *timer)
{
    struct sp_member *member = SP_CONTAINER_OF(timer, struct sp_member, timer);

    sp_member_advance(consumer_of(member));
}

void sp_member_tell(struct spate_consumer *consumer)
{
    struct sp_member *member = &consumer->member;

    if (member->state == SP_MEMBER_IN) {
        sp_member_cancel(member); /* what it says is out of date; its answer is of no use */
        member->retry_ms = 0;
        sp_member_advance(consumer);
    }
}

void sp_member_lost(struct spate_consumer *consumer)
{
    struct sp_member *member = &consumer->member;

    if (member->state == SP_MEMBER_IN) {
        sp_member_cancel(member);
        begin_joining(consumer);
        sp_consumer_lose_all(consumer);
        sp_client_wake(consumer->client);
    }
}

/* ---- the user -------------------------------------------------------------------------------- */

static int pack_topics(struct spate_consumer *consumer,
                       const char *const *topics,
                       size_t count,
                       struct sp_buf *out)
{
    struct sp_topic_view *view;
    struct sp_pack pack;

    sp_pack_init(&pack, out);
    sp_pack_array(&pack, count);
    for (size_t i = 0; i < count; i++) {
        int rv = topics[i] == NULL
                     ? SPATE_ERR_INVALID
                     : sp_metadata_topic(consumer->client->metadata, topics[i], &view);
        if (rv != 0) {
            return sp_client_fail(consumer->client,
                                  rv,
                                  "%.100s: %s",
                                  topics[i] == NULL ? "(null)" : topics[i],
                                  rv == SPATE_ERR_INVALID ? "no topic can have this name"
                                                          : spate_strerror(rv));
        }
        sp_pack_text(&pack, topics[i]);
    }
    return sp_pack_status(&pack);
}

static void name_instance(struct spate_consumer *consumer)
{
    struct sp_member *member = &consumer->member;

    if (consumer->client->config.group_instance[0] != '\0') {
        (void)snprintf(member->instance,
                       sizeof member->instance,
                       "%s",
                       consumer->client->config.group_instance);
    } else if (member->instance[0] == '\0') {
        (void)snprintf(member->instance,
                       sizeof member->instance,
                       "libspate-%016" PRIx64,
                       sp_loop_random(consumer->client->loop));
    }
}

int spate_consumer_subscribe(struct spate_consumer *consumer,
                             const char *const *topics,
                             size_t count)
{
    struct sp_buf packed;

    if (consumer == NULL) {
        return SPATE_ERR_INVALID;
    }
    struct spate_client *client = consumer->client;
    SP_CLIENT_HOLD(client);
    struct sp_member *member = &consumer->member;
    if (consumer->closings > 0) {
        return sp_consumer_check_open(consumer);
    }
    if (client->config.group_id[0] == '\0') {
        return sp_client_fail(client, SPATE_ERR_INVALID, "a subscription needs group.id");
    }
    if (topics == NULL || count == 0 || count > SP_CONSUMER_TOPICS_MAX) {
        return sp_client_fail(client,
                              SPATE_ERR_INVALID,
                              "a subscription has 1 to %d topics, not %zu: share them among "
                              "several groups, or assign their partitions",
                              SP_CONSUMER_TOPICS_MAX,
                              topics == NULL ? (size_t)0 : count);
    }
    if (!sp_consumer_subscribed(consumer) && consumer->partition_count > 0) {
        return sp_client_fail(client, SPATE_ERR_INVALID, "this consumer has assigned partitions");
    }
    sp_buf_init(&packed, TOPICS_BYTES_MAX);
    int rv = pack_topics(consumer, topics, count, &packed);
    if (rv != 0) {
        sp_buf_deinit(&packed);
        return rv;
    }
    sp_member_cancel(member);
    sp_gone_forget_all(consumer);
    sp_buf_deinit(&member->topics);
    member->topics = packed;
    consumer->closed = false;
    member->error = 0;
    member->leaving = false;
    begin_joining(consumer);
    name_instance(consumer);
    sp_member_advance(consumer);
    return 0;
}

/* ---- life ------------------------------------------------------------------------------------ */

void sp_member_init(struct spate_consumer *consumer)
{
    struct sp_member *member = &consumer->member;

    sp_timer_init(&member->timer, consumer->client->loop, on_timer);
    sp_buf_init(&member->topics, TOPICS_BYTES_MAX);
    sp_buf_init(&member->params, PARAMS_BYTES_MAX);
}

void sp_member_deinit(struct spate_consumer *consumer)
{
    struct sp_member *member = &consumer->member;

    sp_member_cancel(member);
    sp_timer_stop(&member->timer);
    sp_buf_deinit(&member->topics);
    sp_buf_deinit(&member->params);
}
