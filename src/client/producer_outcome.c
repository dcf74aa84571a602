/* What an answer means for a partition, and what becomes of batches that are not stored.
 *
 *   answer   0                          finished, the window moves
 *            too large, and can be less withdraw all calls, split it, send again
 *            the oldest, and final      finished with that code; a new identity for those behind
 *            forgotten, not uncertain   the same, in a new numbering
 *            anything else              withdraw all calls, pause, find the leader, send again */
#include <stdio.h>

#include "base/assert.h"
#include "base/mem.h"
#include "client/producer.h"
#include "wire/client_api.h"

enum {
    HINTS_MAX = 3,           /* followed at once before anything is stored */
    NOT_READY_PAUSE_MS = 40, /* after longer pauses somebody else may lead */
    UNKNOWN_MS = 500, /* nodes learn of a new topic one after the other: so long it may take */
};

struct sp_producer_batch *sp_producer_oldest(const struct sp_producer_partition *partition)
{
    if (sp_list_empty(&partition->batches)) {
        return NULL;
    }
    return SP_LIST_ENTRY(partition->batches.next, struct sp_producer_batch, node);
}

uint64_t sp_producer_now_ms(const struct sp_producer_partition *partition)
{
    return sp_loop_now_ms(partition->producer->client->loop);
}

/* ---- what codes mean ------------------------------------------------------------------------- */

/* Refusals that the same bytes meet every time, so no attempt of theirs can have been stored. Not
 * TOO_LARGE and INVALID: they depend on the topic's settings, which may have changed since. */
static bool refused_always(int status)
{
    return status == SPATE_ERR_CORRUPT || status == SPATE_ERR_UNSUPPORTED ||
           status == SPATE_ERR_MALFORMED || status == SPATE_ERR_UNKNOWN_METHOD;
}

/* Answers after which this attempt is known to have left nothing behind. */
static bool refused_surely(int status)
{
    switch (status) {
    case SPATE_ERR_NOT_LEADER:
    case SPATE_ERR_LEADER_UNKNOWN:
    case SPATE_ERR_NOT_READY:
    case SPATE_ERR_BUSY:
    case SPATE_ERR_NO_SPACE: /* refused before it is appended, as the next two */
    case SPATE_ERR_TOO_LARGE:
    case SPATE_ERR_INVALID:
    case SPATE_ERR_OUT_OF_ORDER_SEQUENCE:
    case SPATE_ERR_UNKNOWN_PRODUCER:
    case SPATE_ERR_PRODUCER_FENCED:
    case SPATE_ERR_UNKNOWN_TOPIC:
    case SPATE_ERR_UNKNOWN_PARTITION:
        return true;
    default:
        return refused_always(status);
    }
}

/* Refusals that meet whatever comes to this partition: batches that wait behind it share them. */
static bool refuses_all(int status)
{
    return status == SPATE_ERR_NO_SPACE || status == SPATE_ERR_BUSY;
}

static bool worth_retrying(int status)
{
    return sp_client_status_moves(status) || status == SPATE_ERR_IO;
}

/* ---- ends that are not success --------------------------------------------------------------- */

/* Reports a batch whose fate is not known, which is a timeout to the user whatever came last. */
static void finish_uncertain(struct sp_producer_batch *batch, int status, const char *text)
{
    char reason[SP_CLIENT_ERROR_SIZE];

    (void)snprintf(reason,
                   sizeof reason,
                   "the outcome is unknown: no answer to an earlier attempt; at last %s: %.300s",
                   spate_error_name(status),
                   text != NULL && text[0] != '\0' ? text : spate_strerror(status));
    sp_producer_finish(batch, SPATE_ERR_TIMEOUT, reason);
}

void sp_producer_begin_epoch(struct sp_producer_partition *partition)
{
    if (partition->identity.number == 0) {
        return; /* nothing was numbered since the last time */
    }
    if (partition->identity.epoch < INT16_MAX) {
        partition->next_identity = partition->identity;
        partition->next_identity.epoch += 1;
    } else {
        partition->identity_min = partition->identity.number + 1;
    }
    partition->identity.number = 0;
}

/* A batch has failed and its numbers leave a gap: those behind it begin again under a new identity,
 * except those that may be stored already (I4). */
static void renumber_rest(struct sp_producer_partition *partition, bool gap_certain)
{
    SP_LIST_EACH_SAFE (node, &partition->batches) {
        struct sp_producer_batch *batch = SP_LIST_ENTRY(node, struct sp_producer_batch, node);

        sp_producer_withdraw(batch);
        if (batch->uncertain && !gap_certain) {
            finish_uncertain(batch, SPATE_ERR_TIMEOUT, "a batch before it has no outcome either");
        } else {
            batch->uncertain = false; /* behind a certain gap the leader stores nothing */
        }
    }
    sp_producer_begin_epoch(partition);
}

void sp_producer_end(struct sp_producer_partition *partition,
                     int status,
                     const char *text,
                     bool certain)
{
    char reason[SP_CLIENT_ERROR_SIZE];

    partition->takeover_wanted = false;
    if (partition->ended == 0) {
        (void)snprintf(
            reason,
            sizeof reason,
            "producer `%.100s` ended here: %s%.300s",
            partition->producer->client->config.producer_name,
            status == SPATE_ERR_PRODUCER_FENCED ? "a process that began later took over: " : "",
            text != NULL && text[0] != '\0' ? text : spate_strerror(status));
        partition->ended = status;
        partition->ended_text = sp_mem_strdup(reason);
    }
    sp_producer_withdraw_all(partition);
    if (sp_batch_builder_count(&partition->builder) > 0) {
        (void)sp_producer_seal(partition); /* out of memory: it expires, and is never sent */
    }
    while (sp_producer_oldest(partition) != NULL) {
        struct sp_producer_batch *batch = sp_producer_oldest(partition);
        if (batch->uncertain && !certain) {
            finish_uncertain(batch, status, partition->ended_text);
        } else {
            sp_producer_finish(batch, status, partition->ended_text);
        }
    }
    sp_client_wake(partition->producer->client); /* whoever waits for the takeover */
}

/* What becomes of those behind a batch that has just failed. */
static void
fail_rest(struct sp_producer_partition *partition, int status, const char *text, bool gap_certain)
{
    if (sp_producer_has_name(partition->producer)) {
        sp_producer_end(partition, status, text, gap_certain);
    } else {
        renumber_rest(partition, gap_certain);
    }
}

static void fail_oldest(struct sp_producer_partition *partition, int status, const char *text)
{
    struct sp_producer_batch *batch = sp_producer_oldest(partition);
    bool certain = refused_always(status) || !batch->uncertain;

    if (sp_producer_has_name(partition->producer)) {
        sp_producer_end(partition, status, text, certain);
        return;
    }
    if (certain) {
        sp_producer_finish(batch, status, text);
    } else {
        finish_uncertain(batch, status, text);
    }
    renumber_rest(partition, certain);
}

/* ---- trying again ---------------------------------------------------------------------------- */

void sp_producer_withdraw_all(struct sp_producer_partition *partition)
{
    SP_LIST_EACH (node, &partition->batches) {
        sp_producer_withdraw(SP_LIST_ENTRY(node, struct sp_producer_batch, node));
    }
    SP_ASSERT(partition->running_count == 0);
}

void sp_producer_look_for_leader(struct sp_producer_partition *partition)
{
    partition->metadata_needed = sp_metadata_want(partition->producer->client->metadata);
}

/* Somebody says who leads: goes there at once. Nodes that send us back and forth, each of which has
 * heard less than the other, are given pauses as anybody. */
static bool follow_hint(struct sp_producer_partition *partition, const char *text)
{
    char hint[SP_ADDRESS_SIZE_MAX];

    if (!sp_client_leader_hint(text, hint)) {
        return false;
    }
    sp_metadata_note_leader(
        partition->producer->client->metadata, partition->topic, partition->index, hint);
    if (partition->hints_followed < HINTS_MAX) {
        partition->hints_followed += 1;
        partition->pause_ms = SP_CLIENT_PAUSE_MIN_MS;
        partition->retry_ms = 0;
    }
    return true;
}

static void retry(struct sp_producer_partition *partition, int status, const char *text)
{
    /* One that is about to serve, or to hand over and say to whom, need not be looked for. */
    bool waits = status == SPATE_ERR_BUSY || status == SPATE_ERR_UNKNOWN_PRODUCER ||
                 (status == SPATE_ERR_NOT_READY && partition->pause_ms <= NOT_READY_PAUSE_MS);

    sp_client_log(partition->producer->client,
                  SPATE_LOG_WARN,
                  "records for %s/%u are sent again: %s: %.300s",
                  partition->topic->name,
                  partition->index,
                  spate_error_name(status),
                  text);
    sp_producer_withdraw_all(partition);
    partition->refused = refuses_all(status) ? status : 0;
    partition->retry_ms = sp_producer_now_ms(partition) + partition->pause_ms;
    partition->pause_ms = partition->pause_ms * 2 < SP_CLIENT_PAUSE_MAX_MS ? partition->pause_ms * 2
                                                                           : SP_CLIENT_PAUSE_MAX_MS;
    bool hinted = status == SPATE_ERR_NOT_LEADER && follow_hint(partition, text);
    if (!hinted && !waits) {
        sp_producer_look_for_leader(partition);
    }
}

/* A topic that is unknown to one node for a moment is not gone. */
bool sp_producer_unknown_for_long(struct sp_producer_partition *partition)
{
    uint64_t now_ms = sp_producer_now_ms(partition);

    if (partition->unknown_ms == 0) {
        partition->unknown_ms = now_ms;
    }
    return now_ms - partition->unknown_ms >= UNKNOWN_MS;
}

/* The partition has forgotten this producer, which was silent for long, and no attempt of the
 * oldest batch can be stored: then none behind it can. */
static bool is_forgotten(const struct sp_producer_batch *batch, int status)
{
    return status == SPATE_ERR_UNKNOWN_PRODUCER && !batch->uncertain &&
           !sp_producer_has_name(batch->partition->producer);
}

/* The topic takes less than it did, or than anybody has told. How much is asked for meanwhile. */
static void split(struct sp_producer_batch *batch, const char *text)
{
    struct sp_producer_partition *partition = batch->partition;
    size_t size = batch->body.size;

    sp_producer_withdraw_all(partition);
    if (partition->refused_bytes == 0 || size < partition->refused_bytes) {
        partition->refused_bytes = size;
    }
    partition->probing =
        true; /* what is sent behind a refused batch is in doubt, and stays whole */
    if (sp_producer_split(batch) != 0) { /* out of memory: the same once more, a little later */
        partition->retry_ms = sp_producer_now_ms(partition) + SP_CLIENT_PAUSE_MAX_MS;
    }
    sp_client_log(partition->producer->client,
                  SPATE_LOG_WARN,
                  "a batch of %zu bytes for %s/%u is sent in smaller ones: %.300s",
                  size,
                  partition->topic->name,
                  partition->index,
                  text);
    sp_producer_look_for_leader(partition);
}

static void on_refusal(struct sp_producer_batch *batch, int status, const char *text)
{
    struct sp_producer_partition *partition = batch->partition;
    bool unknown = status == SPATE_ERR_UNKNOWN_TOPIC || status == SPATE_ERR_UNKNOWN_PARTITION;

    if (status == SPATE_ERR_TOO_LARGE && batch->count > 1) {
        split(batch, text);
        return;
    }
    if (status == SPATE_ERR_TOO_LARGE && batch != sp_producer_oldest(partition)) {
        partition->probing = true; /* else those before it would be withdrawn again and again */
    }
    if (batch != sp_producer_oldest(partition) || worth_retrying(status) ||
        (unknown && !sp_producer_unknown_for_long(partition))) {
        retry(partition, status, text);
        return;
    }
    if (is_forgotten(batch, status)) {
        retry(partition, status, text);
        renumber_rest(partition, true);
        return;
    }
    sp_producer_withdraw_all(partition);
    fail_oldest(partition, status, text);
}

/* ---- answers --------------------------------------------------------------------------------- */

static void on_success(struct sp_producer_batch *batch, const struct sp_produce_response *response)
{
    struct sp_producer_partition *partition = batch->partition;

    batch->offset = response->offset;
    batch->term = response->term;
    batch->fsynced = response->fsynced < 0 ? 0 : (unsigned)response->fsynced;
    partition->pause_ms = SP_CLIENT_PAUSE_MIN_MS;
    partition->hints_followed = 0;
    partition->unknown_ms = 0;
    partition->refused = 0;
    partition->probing = false;
    sp_producer_finish(batch, 0, NULL);
}

void sp_producer_on_answer(
    struct sp_rpc_call *call, int status, const uint8_t *result, size_t size, const char *text)
{
    struct sp_producer_batch *batch = SP_CONTAINER_OF(call, struct sp_producer_batch, call);
    struct sp_producer_partition *partition = batch->partition;
    struct sp_produce_response response;

    batch->running = false;
    partition->running_count -= 1;
    if (status == 0) {
        struct sp_cursor cursor;
        sp_cursor_init(&cursor, result, size);
        status = sp_produce_response_decode(&cursor, &response, NULL);
        if (status == 0) {
            on_success(batch, &response);
            sp_producer_advance(partition);
            return;
        }
        text = "the server's answer to produce makes no sense";
        status = SPATE_ERR_INTERNAL; /* and what it did is anybody's guess */
    }
    batch->last_status = status;
    if (call->sent && !refused_surely(status)) {
        batch->uncertain = true;
    }
    on_refusal(batch, status, text);
    sp_producer_advance(partition);
}

/* ---- deadlines ------------------------------------------------------------------------------- */

/* Why a batch was never sent, or only behind one that was refused. */
static int status_unsent(const struct sp_producer_partition *partition)
{
    const struct sp_topic_view *topic = partition->topic;

    if (partition->refused != 0) {
        return partition->refused;
    }
    if (topic->status == 0 && partition->index < topic->partition_count &&
        topic->partitions[partition->index].leader == NULL) {
        return SPATE_ERR_LEADER_UNKNOWN;
    }
    return partition->producer->identity_status != 0 ? partition->producer->identity_status
                                                     : SPATE_ERR_UNREACHABLE;
}

static void expire_oldest(struct sp_producer_partition *partition, struct sp_producer_batch *batch)
{
    struct spate_producer *producer = partition->producer;
    char text[SP_CLIENT_ERROR_SIZE];
    int status = batch->last_status;

    sp_producer_withdraw(batch);
    if (batch->uncertain) {
        const char *reason = "no answer within timeout.ms: the outcome is unknown";
        sp_producer_finish(batch, SPATE_ERR_TIMEOUT, reason);
        fail_rest(partition, SPATE_ERR_TIMEOUT, reason, false);
        return;
    }
    if (status == 0) {
        status = status_unsent(partition);
    }
    (void)snprintf(text,
                   sizeof text,
                   "not stored within timeout.ms: %.300s",
                   producer->identity_status != 0 ? producer->identity_text
                                                  : spate_strerror(status));
    sp_producer_finish(batch, status, text);
    fail_rest(partition, status, text, true);
}

void sp_producer_expire(struct sp_producer_partition *partition)
{
    uint64_t now_ms = sp_producer_now_ms(partition);

    if (sp_batch_builder_count(&partition->builder) > 0 && now_ms >= partition->open_deadline_ms) {
        (void)sp_producer_seal(partition); /* out of memory: later, then */
    }
    for (struct sp_producer_batch *batch = sp_producer_oldest(partition);
         batch != NULL && now_ms >= batch->deadline_ms;
         batch = sp_producer_oldest(partition)) {
        expire_oldest(partition, batch);
    }
}

/* What was meant for a topic that is gone must not go into its namesake. */
void sp_producer_fail_all(struct sp_producer_partition *partition, int status, const char *text)
{
    sp_producer_withdraw_all(partition);
    if (sp_batch_builder_count(&partition->builder) > 0) {
        (void)sp_producer_seal(partition); /* out of memory: those few go to the new topic */
    }
    while (sp_producer_oldest(partition) != NULL) {
        fail_oldest(partition, status, text);
    }
}
