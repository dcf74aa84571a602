/* Fetching for one partition: where it starts, from whom, whether the answer continues the log. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "client/consumer.h"
#include "wire/client_api.h"

enum {
    OFFSETS_MS = 3000,      /* a question that a live leader answers at once */
    FETCH_MARGIN_MS = 3000, /* beyond the server's own wait */
    WATCH_MS = 300,         /* beyond the server's own wait: perhaps somebody else leads by now */
    UNKNOWN_MS = 500,    /* nodes learn of a new topic one after the other: so long it may take */
    EMPTY_PAUSE_MS = 10, /* when a server answers "nothing" without having waited */
    FETCH_BYTES_MIN = 4096,
    SPARE_SHARE = 8, /* of an answer's blob may be something else than its batches */
};

static uint64_t now_of(const struct sp_consumer_partition *partition)
{
    return sp_loop_now_ms(partition->consumer->client->loop);
}

/* The topic is gone: how far it was read must not be committed to a namesake of it. */
static void forget_progress(struct sp_consumer_partition *partition)
{
    if (partition->consumer->delivered == partition) {
        partition->consumer->delivered = NULL;
    }
    sp_commits_lose(partition);
    partition->processed = -1;
}

void sp_fetcher_fail(struct sp_consumer_partition *partition, int status, const char *text)
{
    if (status == SPATE_ERR_UNKNOWN_TOPIC) {
        forget_progress(partition);
    }
    partition->error = status;
    (void)snprintf(partition->text,
                   sizeof partition->text,
                   "%s/%u: %.400s",
                   partition->topic->name,
                   partition->index,
                   text[0] != '\0' ? text : spate_strerror(status));
    sp_client_log(partition->consumer->client,
                  SPATE_LOG_ERROR,
                  "reading stops: %s: %s",
                  spate_error_name(status),
                  partition->text);
    sp_client_wake(partition->consumer->client);
}

void sp_fetcher_stop(struct sp_consumer_partition *partition)
{
    if (partition->running) {
        sp_rpc_cancel(&partition->call);
        partition->running = false;
    }
}

/* ---- trouble --------------------------------------------------------------------------------- */

static void look_for_leader(struct sp_consumer_partition *partition)
{
    partition->metadata_needed = sp_metadata_want(partition->consumer->client->metadata);
}

static void retry(struct sp_consumer_partition *partition, int status, const char *text)
{
    char hint[SP_ADDRESS_SIZE_MAX];

    (void)snprintf(partition->text, /* what a stall is put down to */
                   sizeof partition->text,
                   "%s: %.400s",
                   spate_error_name(status),
                   text != NULL && text[0] != '\0' ? text : spate_strerror(status));
    partition->retry_ms = now_of(partition) + partition->pause_ms;
    partition->pause_ms = partition->pause_ms * 2 < SP_CLIENT_PAUSE_MAX_MS ? partition->pause_ms * 2
                                                                           : SP_CLIENT_PAUSE_MAX_MS;
    if (status == SPATE_ERR_NOT_LEADER && sp_client_leader_hint(text, hint)) {
        sp_metadata_note_leader(
            partition->consumer->client->metadata, partition->topic, partition->index, hint);
    } else if (status != SPATE_ERR_BUSY) {
        look_for_leader(partition);
    }
}

static bool unknown_for_long(struct sp_consumer_partition *partition)
{
    uint64_t now_ms = now_of(partition);

    partition->unknown_ms = partition->unknown_ms == 0 ? now_ms : partition->unknown_ms;
    return now_ms - partition->unknown_ms >= UNKNOWN_MS;
}

static void on_refusal(struct sp_consumer_partition *partition, int status, const char *text)
{
    bool unknown = status == SPATE_ERR_UNKNOWN_TOPIC || status == SPATE_ERR_UNKNOWN_PARTITION;

    if (partition->asks_near) {
        sp_fetcher_leave_near(partition);
        return;
    }
    if (status == SPATE_ERR_OFFSET_OUT_OF_RANGE && partition->resolved &&
        sp_consumer_look_for_start(partition, text)) {
        return;
    }
    if (sp_client_status_moves(status) || (unknown && !unknown_for_long(partition))) {
        retry(partition, status, text);
    } else {
        sp_fetcher_fail(partition, status, text);
    }
}

/* ---- answers --------------------------------------------------------------------------------- */

static void calm(struct sp_consumer_partition *partition)
{
    partition->pause_ms = SP_CLIENT_PAUSE_MIN_MS;
    partition->unknown_ms = 0;
}

static int take_offsets(struct sp_consumer_partition *partition, const uint8_t *result, size_t size)
{
    struct sp_offsets_response response;
    struct sp_cursor cursor;

    sp_cursor_init(&cursor, result, size);
    int rv = sp_offsets_response_decode(&cursor, &response, NULL);
    if (rv == 0 && partition->start_wanted) {
        sp_consumer_take_start(partition, response.offset);
    } else if (rv == 0) {
        partition->resolved = true;
        partition->fetch_offset = response.offset;
        partition->position = response.offset;
    }
    return rv;
}

/* Checks that the batches continue where the last ones ended (I1) and moves fetch_offset behind
 * them. *out_size is the size of the whole batches. */
static int
check_batches(struct sp_consumer_partition *partition, struct sp_bytes batches, size_t *out_size)
{
    size_t position = 0;
    int64_t expected = partition->fetch_offset;
    struct sp_bytes batch;
    struct sp_batch_header header;
    int rv;

    while ((rv = sp_batch_next(batches.bytes, batches.size, &position, &batch)) == 0) {
        rv = sp_batch_header_decode(batch.bytes, batch.size, &header);
        if (rv != 0) {
            return rv;
        }
        int64_t end = 0;
        bool first = expected == partition->fetch_offset;
        if (!sp_batch_end(&header, &end) || end <= expected || header.base_offset > expected ||
            (!first && header.base_offset != expected)) {
            return SPATE_ERR_CORRUPT;
        }
        expected = end;
        partition->epoch = header.leader_epoch;
        *out_size = position;
    }
    if (rv != SPATE_ERR_NOT_FOUND && (rv != SPATE_ERR_AGAIN || *out_size == 0)) {
        return SPATE_ERR_CORRUPT;
    }
    partition->fetch_offset = expected;
    return 0;
}

/* The batches where they arrived, or a copy if too much else is there. */
static struct sp_slice hold(struct sp_blob *answer, struct sp_bytes batches)
{
    if (answer->size - batches.size <= answer->size / SPARE_SHARE) {
        return sp_slice_of(answer, (size_t)(batches.bytes - answer->bytes), batches.size);
    }
    struct sp_blob *blob = sp_blob_copy(batches.bytes, batches.size);
    return (struct sp_slice){ blob, blob == NULL ? NULL : blob->bytes, batches.size };
}

static struct sp_fetched *fetched_new(struct sp_blob *answer, struct sp_bytes batches)
{
    struct sp_fetched *fetched = sp_mem_calloc(1, sizeof *fetched);

    if (fetched == NULL) {
        return NULL;
    }
    fetched->batches = hold(answer, batches);
    if (fetched->batches.blob == NULL) {
        sp_mem_free(fetched);
        return NULL;
    }
    return fetched;
}

void sp_fetched_free(struct sp_fetched *fetched)
{
    sp_list_remove(&fetched->node);
    sp_slice_unref(&fetched->batches);
    sp_mem_free(fetched);
}

static int keep(struct sp_consumer_partition *partition, struct sp_bytes batches)
{
    size_t size = 0;
    char text[160];
    int64_t wanted = partition->fetch_offset;
    int rv = check_batches(partition, batches, &size);

    if (rv != 0) {
        (void)snprintf(text,
                       sizeof text,
                       "the answer to a fetch at offset %" PRId64 " does not continue the log: %s",
                       wanted,
                       spate_error_name(rv));
        sp_fetcher_fail(partition, SPATE_ERR_CORRUPT, text);
        return 0;
    }
    struct sp_fetched *fetched =
        fetched_new(partition->call.answer, sp_bytes_of(batches.bytes, size));
    if (fetched == NULL) {
        partition->fetch_offset = wanted;
        return SPATE_ERR_NOMEM;
    }
    sp_list_append(&partition->fetched, &fetched->node);
    partition->fetched_count += 1;
    sp_client_wake(partition->consumer->client);
    return 0;
}

static int take_fetch(struct sp_consumer_partition *partition, const uint8_t *result, size_t size)
{
    struct sp_fetch_response response;
    struct sp_cursor cursor;

    sp_cursor_init(&cursor, result, size);
    int rv = sp_fetch_response_decode(&cursor, &response, NULL);
    if (rv != 0) {
        return rv;
    }
    if (response.high_watermark > partition->high_watermark) { /* a replica may be behind another */
        partition->high_watermark = response.high_watermark;
    }
    partition->text[0] = '\0';
    if (partition->position >= response.high_watermark) { /* it has caught up: no stall */
        partition->progress_ms = now_of(partition);
        partition->stall_told = false;
    }
    if (partition->call_for_end && partition->end_offset < 0) {
        partition->end_offset = response.high_watermark;
        sp_client_wake(partition->consumer->client);
    }
    if (response.records.batch.size > 0) {
        return keep(partition, response.records.batch);
    }
    uint64_t took_ms = now_of(partition) - partition->sent_ms;
    if (took_ms * 2 <= partition->wait_ms || partition->wait_ms == 0) {
        partition->retry_ms = now_of(partition) + EMPTY_PAUSE_MS;
    }
    return 0;
}

static void on_answer(
    struct sp_rpc_call *call, int status, const uint8_t *result, size_t size, const char *text)
{
    struct sp_consumer_partition *partition =
        SP_CONTAINER_OF(call, struct sp_consumer_partition, call);

    partition->running = false;
    if (status != 0) {
        on_refusal(partition, status, text);
        sp_fetcher_advance(partition);
        return;
    }
    int rv = partition->resolved ? take_fetch(partition, result, size)
                                 : take_offsets(partition, result, size);
    if (rv == SPATE_ERR_NOMEM) {
        retry(partition, rv, "");
    } else if (rv != 0) {
        sp_fetcher_fail(partition, SPATE_ERR_MALFORMED, "the server's answer makes no sense");
    } else {
        calm(partition);
    }
    sp_fetcher_advance(partition);
}

/* ---- asking ---------------------------------------------------------------------------------- */

static void pack_offsets(struct sp_consumer_partition *partition, struct sp_pack *pack)
{
    struct sp_offsets_request request;

    sp_offsets_request_init(&request);
    request.topic = sp_bytes_text(partition->topic->name);
    request.partition = (int32_t)partition->index;
    request.at = partition->start_wanted || partition->start == SPATE_OFFSET_START
                     ? SP_OFFSETS_AT_EARLIEST
                     : SP_OFFSETS_AT_LATEST;
    request.linearizable = partition->consumer->client->config.linearizable;
    sp_offsets_request_encode(pack, &request);
}

/* So much that the answers of all partitions fit (I3), with an eighth each that is spare in their
 * blobs and that base/mem rounds them up by. */
static uint32_t fetch_bytes(const struct spate_consumer *consumer)
{
    const struct spate_config *config = &consumer->client->config;
    uint32_t batches_bytes = config->prefetch_bytes - config->prefetch_bytes / SPARE_SHARE * 2;
    uint32_t share = batches_bytes / SP_CONSUMER_FETCHED_MAX / consumer->partition_count;

    share = share < FETCH_BYTES_MIN ? FETCH_BYTES_MIN : share;
    return share < config->fetch_bytes ? share : config->fetch_bytes;
}

static void pack_fetch(struct sp_consumer_partition *partition, struct sp_pack *pack)
{
    struct sp_fetch_request request;

    sp_fetch_request_init(&request);
    request.topic = sp_bytes_text(partition->topic->name);
    request.topic_id = partition->topic_id;
    request.partition = (int32_t)partition->index;
    request.offset = partition->fetch_offset;
    request.max_bytes = (int32_t)fetch_bytes(partition->consumer);
    request.min_bytes = 1;
    request.max_wait_ms = (int32_t)partition->wait_ms;
    request.format = SP_FETCH_FORMAT_BATCH;
    request.epoch = partition->epoch;
    request.linearizable = partition->consumer->client->config.linearizable;
    request.follower = partition->asks_near;
    sp_fetch_request_encode(pack, &request);
}

static int call_server(struct sp_consumer_partition *partition)
{
    struct spate_consumer *consumer = partition->consumer;
    bool end_wanted = consumer->end->asked && partition->end_offset < 0;
    struct sp_pack pack;

    /* Whoever waits for the end wants to know at once where it is. */
    partition->wait_ms = end_wanted ? 0 : consumer->client->config.fetch_wait_ms;
    sp_buf_clear(&consumer->params);
    sp_pack_init(&pack, &consumer->params);
    if (partition->resolved) {
        pack_fetch(partition, &pack);
    } else {
        pack_offsets(partition, &pack);
    }
    if (sp_pack_status(&pack) != 0) {
        return sp_pack_status(&pack);
    }
    partition->call_for_end = partition->resolved && consumer->end->asked;
    partition->call = (struct sp_rpc_call){
        .method = partition->resolved ? "fetch" : "offsets",
        .cb = on_answer,
        .timeout_ms = partition->resolved ? partition->wait_ms + FETCH_MARGIN_MS : OFFSETS_MS,
    };
    return sp_connection_call(partition->server,
                              &partition->call,
                              sp_bytes_of(consumer->params.bytes, consumer->params.size),
                              NULL);
}

static void ask(struct sp_consumer_partition *partition)
{
    const struct sp_partition_view *view = &partition->topic->partitions[partition->index];

    if (view->near == NULL) {
        sp_fetcher_look_for_near(partition);
    }
    partition->asks_near = view->near != NULL && sp_fetcher_may_ask_near(partition);
    partition->server = partition->asks_near ? view->near : view->leader;
    if (partition->server == NULL) {
        look_for_leader(partition);
        return;
    }
    if (call_server(partition) != 0) {
        partition->retry_ms = now_of(partition) + SP_CLIENT_PAUSE_MAX_MS; /* out of memory */
        return;
    }
    partition->running = true;
    partition->sent_ms = now_of(partition);
}

/* True when the topic is described and is the one that was read so far. */
static bool check_topic(struct sp_consumer_partition *partition)
{
    struct sp_topic_view *topic = partition->topic;

    if (topic->status == SPATE_ERR_UNKNOWN_TOPIC && unknown_for_long(partition)) {
        char text[SP_TOPIC_NAME_SIZE_MAX + 120];
        (void)snprintf(text, sizeof text, SP_NO_TOPIC_TEXT, topic->name);
        sp_fetcher_fail(partition, topic->status, text);
        return false;
    }
    if (topic->status != 0) {
        look_for_leader(partition);
        return false;
    }
    if (partition->topic_id != topic->id && partition->topic_id != -1) {
        sp_fetcher_fail(partition, SPATE_ERR_UNKNOWN_TOPIC, "the topic was deleted and made anew");
        return false;
    }
    partition->topic_id = topic->id;
    if (partition->index >= topic->partition_count) {
        sp_fetcher_fail(
            partition, SPATE_ERR_UNKNOWN_PARTITION, "the topic has no partition of this number");
        return false;
    }
    return true;
}

static bool held(const struct sp_consumer_partition *partition)
{
    return now_of(partition) < partition->retry_ms ||
           sp_metadata_completed(partition->consumer->client->metadata) <
               partition->metadata_needed;
}

static bool late(const struct sp_consumer_partition *partition)
{
    return partition->running &&
           now_of(partition) - partition->sent_ms >= (uint64_t)partition->wait_ms + WATCH_MS;
}

static void set_timer(struct sp_consumer_partition *partition)
{
    uint64_t now_ms = now_of(partition);
    uint64_t due_ms = now_ms + WATCH_MS;

    if (partition->error != 0 ||
        (!partition->running && partition->fetched_count >= SP_CONSUMER_FETCHED_MAX)) {
        sp_timer_stop(&partition->timer);
        return;
    }
    if (partition->running && !late(partition)) {
        due_ms = partition->sent_ms + partition->wait_ms + WATCH_MS;
    } else if (partition->retry_ms > now_ms) {
        due_ms = partition->retry_ms;
    }
    (void)sp_timer_start(&partition->timer, due_ms); /* out of memory: the next answer advances */
}

static bool is_read(const struct sp_consumer_partition *partition)
{
    return partition->error == 0 && !partition->stored_wanted &&
           partition->ownership == SP_OWNERSHIP_OWNED;
}

void sp_fetcher_advance(struct sp_consumer_partition *partition)
{
    if (!is_read(partition)) {
        sp_timer_stop(&partition->timer);
        return;
    }
    if (late(partition)) {
        (void)sp_metadata_want(partition->consumer->client->metadata);
        if (partition->asks_near) { /* the leader shall not have to be waited for, too */
            sp_fetcher_stop(partition);
            sp_fetcher_leave_near(partition);
        }
    }
    if (!partition->running && partition->fetched_count < SP_CONSUMER_FETCHED_MAX &&
        !held(partition) && check_topic(partition)) {
        ask(partition);
    }
    set_timer(partition);
}

void sp_fetcher_on_metadata(struct sp_consumer_partition *partition)
{
    const struct sp_topic_view *topic = partition->topic;

    if (partition->running && partition->index < topic->partition_count &&
        topic->partitions[partition->index].leader != partition->server &&
        topic->partitions[partition->index].near != partition->server) {
        sp_fetcher_stop(partition); /* reading twice does no harm: the same offset again */
    }
    if (topic->status == 0 && partition->fetched_count >= SP_CONSUMER_FETCHED_MAX) {
        partition->unknown_ms = 0; /* nobody else is asked about it */
    }
    if (is_read(partition) && (topic->status == 0 || topic->status == SPATE_ERR_UNKNOWN_TOPIC)) {
        (void)check_topic(partition); /* also when nothing is to be fetched now */
    }
    sp_fetcher_advance(partition);
}

static void on_timer(struct sp_timer *timer)
{
    sp_fetcher_advance(SP_CONTAINER_OF(timer, struct sp_consumer_partition, timer));
}

void sp_fetcher_init(struct sp_consumer_partition *partition)
{
    sp_timer_init(&partition->timer, partition->consumer->client->loop, on_timer);
}
