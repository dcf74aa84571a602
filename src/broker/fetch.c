/* fetch: committed batches from an offset on, as the bytes that the producer made.
 *
 *   CHECK -> enough there? -> room for it? -> READ (memory, else disk) -> answer
 *              |                `- no: WAIT in partition->crowded until there is (D14)
 *              `- no: WAIT in partition->fetches until records are applied or max_wait_ms is over
 *
 * One that waits costs a few hundred bytes, and ends when its connection does; a read that has not
 * begun by then is not done. */
#include <stdio.h>

#include "base/mem.h"
#include "broker/fetch_parts.h"
#include "spate/error.h"

/* A leader that nobody answers steps down within two election timeouts. A process that was stopped
 * for a while loses one round at most: its timers are due at once when it goes on. */
#define DOUBT_ROUNDS 4

#define NOT_LED_TEXT "the partition is no longer led here: look it up"

static void advance(struct sp_fetch *fetch);

static void fail(struct sp_fetch *fetch, int code, const char *text)
{
    sp_request_fail(&fetch->request, code, text);
    sp_fetch_finish(fetch);
}

/* ---- waiting --------------------------------------------------------------------------------- */

static void on_deadline(struct sp_timer *timer)
{
    struct sp_fetch *fetch = SP_CONTAINER_OF(timer, struct sp_fetch, timer);

    fetch->last_call = true;
    sp_list_remove(&fetch->node);
    advance(fetch);
}

static void wait(struct sp_fetch *fetch, struct sp_partition *partition)
{
    if (sp_timer_start(&fetch->timer, fetch->deadline_ms) != 0) {
        fail(fetch, SPATE_ERR_NOMEM, NULL);
        return;
    }
    sp_list_append(&partition->fetches, &fetch->node);
    sp_request_begin_wait(&fetch->request, &fetch->patience, false);
}

static void on_room(struct sp_request_wait *patience)
{
    struct sp_fetch *fetch = SP_CONTAINER_OF(patience, struct sp_fetch, patience);

    sp_list_remove(&fetch->node);
    advance(fetch);
}

static void on_gone(struct sp_request_wait *patience)
{
    struct sp_fetch *fetch = SP_CONTAINER_OF(patience, struct sp_fetch, patience);

    if (fetch->started) {
        sp_log_read_abandon(&fetch->reading->read); /* on_read ends it */
    } else {
        fail(fetch, SPATE_ERR_CLOSED, NULL);
    }
}

/* A peer that asks for more than it takes costs no more memory than its share (D14). */
static void wait_for_room(struct sp_fetch *fetch, struct sp_partition *partition)
{
    fetch->behind = true;
    sp_list_append(&partition->crowded, &fetch->node);
    sp_request_begin_wait(&fetch->request, &fetch->patience, true);
}

/* Those who wait look again once this turn's commits are all applied. */
void sp_fetch_wake(struct sp_partition *partition)
{
    struct sp_list waiting;

    if (sp_list_empty(&partition->fetches)) {
        return;
    }
    sp_list_init(&waiting);
    sp_list_move(&waiting, &partition->fetches);
    while (!sp_list_empty(&waiting)) {
        struct sp_fetch *fetch = SP_LIST_ENTRY(waiting.next, struct sp_fetch, node);
        sp_list_remove(&fetch->node);
        /* a timer that is due at once runs in the next turn, when the group has settled */
        if (sp_timer_start(&fetch->timer, 0) != 0) {
            fail(fetch, SPATE_ERR_NOMEM, NULL);
        }
    }
}

static void send_to_leader(struct sp_fetch *fetch, struct sp_partition *partition)
{
    sp_broker_not_leader(partition->broker,
                         &fetch->request,
                         partition->topic,
                         partition->partition,
                         partition->group_id);
    sp_fetch_finish(fetch);
}

void sp_fetch_abort(struct sp_partition *partition)
{
    sp_list_move(&partition->fetches, &partition->crowded);
    while (!sp_list_empty(&partition->fetches)) {
        send_to_leader(SP_LIST_ENTRY(partition->fetches.next, struct sp_fetch, node), partition);
    }
}

/* Those who allow it are answered by a replica that follows. */
static bool may_answer(const struct sp_fetch *fetch, const struct sp_partition *partition)
{
    return sp_partition_serves(partition) ||
           (fetch->asked.follower && !fetch->asked.linearizable && partition->group != NULL &&
            sp_raft_group_follows(partition->group));
}

/* ---- reading --------------------------------------------------------------------------------- */

static void out_of_range(struct sp_fetch *fetch, const struct sp_partition *partition)
{
    sp_refuse_offset(&fetch->request, partition, fetch->offset);
    sp_fetch_finish(fetch);
}

/* Nobody has given these records up, and they are not here. Of an only replica no other has them:
 * its reader shall hear of it, and not wait for them. */
static bool is_missing(const struct sp_fetch *fetch, const struct sp_partition *partition)
{
    return fetch->offset >= partition->log_start &&
           fetch->offset < sp_log_first_offset(sp_raft_group_log(partition->group));
}

static void refuse_missing(struct sp_fetch *fetch, const struct sp_partition *partition)
{
    char text[SP_TOPIC_NAME_SIZE_MAX + 160];

    (void)snprintf(text,
                   sizeof text,
                   "offsets %lld to %lld of %s/%u are lost: the first segment of its replica is "
                   "missing; read from %lld on",
                   (long long)partition->log_start,
                   (long long)sp_log_first_offset(sp_raft_group_log(partition->group)) - 1,
                   partition->topic,
                   partition->partition,
                   (long long)sp_log_first_offset(sp_raft_group_log(partition->group)));
    fail(fetch, SPATE_ERR_CORRUPT, text);
}

/* Also when there is more: it did not fit, lies in the next segment, or came while the disk was
 * read. Nobody would wake a fetch that waited for what is there already. */
static bool enough(const struct sp_fetch *fetch, const struct sp_partition *partition)
{
    const struct sp_log_read *read = &fetch->reading->read;
    size_t size = 0;

    for (unsigned i = 0; i < read->count; i++) {
        size += read->frames[i].size;
    }
    return fetch->last_call || size >= (size_t)fetch->asked.min_bytes ||
           (read->count > 0 && sp_fetch_read_end(read) < partition->next_offset);
}

static void on_read(struct sp_log_read *read, int status)
{
    struct sp_fetch *fetch = SP_CONTAINER_OF(read, struct sp_fetch_reading, read)->fetch;
    struct sp_partition *partition = sp_map_get_u64(fetch->broker->partitions, fetch->group_id);

    fetch->started = false;
    sp_request_end_wait(&fetch->patience);
    if ((status == 0 || status == SPATE_ERR_NOT_FOUND) &&
        (partition == NULL || partition->group == NULL)) {
        sp_log_read_release(read);
        status = SPATE_ERR_LEADER_UNKNOWN;
    }
    if ((status == 0 || status == SPATE_ERR_CANCELED) && !sp_request_alive(&fetch->request)) {
        sp_log_read_release(read);
        status = SPATE_ERR_CLOSED;
    }
    if ((status == SPATE_ERR_CORRUPT || status == SPATE_ERR_IO) && partition != NULL &&
        partition->group != NULL) {
        sp_raft_group_read_failed(partition->group, status); /* another replica shall answer */
        status = SPATE_ERR_LEADER_CHANGED;
    }
    if (status == SPATE_ERR_NOT_FOUND && fetch->offset < partition->log_start) {
        advance(fetch); /* given up while it was read */
        return;
    }
    if (status == SPATE_ERR_NOT_FOUND) {
        status = 0; /* nothing between the offset and the high watermark yet */
        read->count = 0;
    }
    if (status == SPATE_ERR_CANCELED) {
        fail(fetch, SPATE_ERR_LEADER_CHANGED, "the replica is closing: look who leads");
        return;
    }
    if (status != 0) {
        fail(fetch, status, NULL);
        return;
    }
    if (!enough(fetch, partition)) {
        sp_log_read_release(read);
        sp_mem_free(fetch->reading);
        fetch->reading = NULL;
        sp_request_unreserve(&fetch->request);
        if (may_answer(fetch, partition)) {
            wait(fetch, partition);
        } else {
            fail(fetch, SPATE_ERR_LEADER_CHANGED, NOT_LED_TEXT);
        }
        return;
    }
    sp_fetch_answer(fetch, partition);
}

/* How much to read now. What a peer asks for that is slow or has not been seen to read is read in
 * small pieces: reading and verifying takes a processor for some milliseconds otherwise, in which
 * the records of others wait. */
static uint32_t read_bytes_max(const struct sp_fetch *fetch)
{
    uint32_t asked = (uint32_t)fetch->asked.max_bytes;

    size_t most = sp_request_answer_max(&fetch->request);

    if (fetch->behind && most > SP_FETCH_BYTES_BEHIND) {
        most = SP_FETCH_BYTES_BEHIND;
    }
    return asked > most ? (uint32_t)most : asked;
}

/* What an answer may come to: one batch is always whole. */
static size_t answer_bytes_max(const struct sp_partition *partition, size_t read_max)
{
    size_t batch_max = partition->message_bytes_max;

    return read_max > batch_max ? read_max : batch_max;
}

static void read_batches(struct sp_fetch *fetch, struct sp_partition *partition)
{
    struct sp_log *log = sp_raft_group_log(partition->group);
    struct sp_raft_group_status status;
    uint32_t bytes_max = read_bytes_max(fetch);
    struct sp_log_read *read;
    int rv;

    if (!sp_request_reserve(&fetch->request, answer_bytes_max(partition, bytes_max))) {
        wait_for_room(fetch, partition);
        return;
    }
    if (fetch->reading == NULL) {
        fetch->reading = sp_mem_alloc(sizeof *fetch->reading);
    }
    if (fetch->reading == NULL) {
        fail(fetch, SPATE_ERR_NOMEM, NULL);
        return;
    }
    fetch->reading->fetch = fetch;
    read = &fetch->reading->read;
    sp_raft_group_status(partition->group, &status);
    read->by = SP_LOG_READ_OFFSET;
    read->start = fetch->offset;
    read->index_max = status.applied_index;
    read->bytes_max = bytes_max;
    read->frames_max = SP_APPEND_FRAMES_MAX;
    read->patient = sp_request_on_trial(&fetch->request);
    read->count = 0;
    read->cb = on_read;
    if (sp_log_read_cached(log, read)) {
        on_read(read, 0);
        return;
    }
    rv = sp_log_read_start(log, read);
    if (rv != 0) {
        fail(fetch, rv, NULL);
        return;
    }
    fetch->started = true;
    sp_request_watch(&fetch->request, &fetch->patience);
}

/* The offset is wrong, or it comes from a newer leader of whom this one has not heard yet: answered
 * only when we have led long enough since it was asked. */
static void doubt(struct sp_fetch *fetch, struct sp_partition *partition)
{
    uint64_t now_ms = sp_loop_now_ms(fetch->broker->options.loop);
    struct sp_raft_group_status status;

    sp_raft_group_status(partition->group, &status);
    if (fetch->doubt_ms != 0 && now_ms >= fetch->doubt_ms) {
        fetch->doubts += 1;
        fetch->doubt_ms = 0;
    }
    if (fetch->doubts == DOUBT_ROUNDS || status.voters == 1 ||
        fetch->request.confirmed == fetch->group_id) {
        out_of_range(fetch, partition);
        return;
    }
    if (fetch->doubt_ms == 0) {
        fetch->doubt_ms = now_ms + status.election_timeout_ms;
    }
    if (sp_timer_start(&fetch->timer, fetch->doubt_ms) != 0) {
        fail(fetch, SPATE_ERR_NOMEM, NULL);
        return;
    }
    sp_list_append(&partition->fetches, &fetch->node);
    sp_request_begin_wait(&fetch->request, &fetch->patience, false);
}

/* What this replica has applied is committed, but more may be: about what it does not have, above
 * or below, it sends the reader to the leader. */
static void advance_follower(struct sp_fetch *fetch, struct sp_partition *partition)
{
    if (is_missing(fetch, partition)) {
        send_to_leader(fetch, partition);
    } else if (fetch->offset >= partition->log_start && fetch->offset < partition->next_offset) {
        read_batches(fetch, partition);
    } else if (fetch->offset >= partition->next_offset && !fetch->last_call) {
        wait(fetch, partition);
    } else if (fetch->offset == partition->next_offset) {
        sp_fetch_answer(fetch, partition);
    } else {
        send_to_leader(fetch, partition);
    }
}

static void advance(struct sp_fetch *fetch)
{
    struct sp_partition *partition = sp_map_get_u64(fetch->broker->partitions, fetch->group_id);

    sp_timer_stop(&fetch->timer);
    sp_request_end_wait(&fetch->patience);
    if (partition == NULL || !may_answer(fetch, partition)) {
        fail(fetch, SPATE_ERR_LEADER_CHANGED, NOT_LED_TEXT);
        return;
    }
    if (!sp_request_alive(&fetch->request)) {
        fail(fetch, SPATE_ERR_CLOSED, NULL);
        return;
    }
    if (!sp_partition_serves(partition)) {
        advance_follower(fetch, partition);
        return;
    }
    if (fetch->offset < partition->log_start) {
        out_of_range(fetch, partition);
        return;
    }
    if (is_missing(fetch, partition)) {
        refuse_missing(fetch, partition);
        return;
    }
    if (fetch->offset > sp_log_end_offset(sp_raft_group_log(partition->group))) {
        doubt(fetch, partition);
        return;
    }
    if (fetch->offset < partition->next_offset) {
        read_batches(fetch, partition);
        return;
    }
    if (!fetch->last_call) {
        wait(fetch, partition);
        return;
    }
    sp_fetch_answer(fetch, partition);
}

static int clamp(int value, int absent, int max)
{
    if (value < 0) {
        return absent;
    }
    return value > max ? max : value;
}

/* The timer serves both the deadline and the wake-up. */
static void on_timer(struct sp_timer *timer)
{
    struct sp_fetch *fetch = SP_CONTAINER_OF(timer, struct sp_fetch, timer);

    if (sp_loop_now_ms(timer->loop) >= fetch->deadline_ms) {
        on_deadline(timer);
        return;
    }
    sp_list_remove(&fetch->node);
    advance(fetch);
}

void sp_method_fetch(struct sp_broker *broker,
                     struct sp_request request,
                     const struct sp_message *message)
{
    struct sp_fetch_request asked;
    struct sp_partition *partition;
    struct sp_api_error error;
    struct sp_fetch *fetch;
    int wait_ms;
    int rv = sp_fetch_request_decode(&message->params, &asked, &error);

    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
        return;
    }
    if (asked.linearizable &&
        sp_broker_lacks_feature(broker, SP_FEATURE_CONFIRM, "linearizable", &request)) {
        return;
    }
    partition =
        asked.follower && !asked.linearizable
            ? sp_broker_find_follower(
                  broker, &request, asked.topic, asked.topic_id, asked.partition)
            : sp_broker_find(broker, &request, asked.topic, asked.topic_id, asked.partition);
    if (partition == NULL ||
        (asked.linearizable && !sp_broker_confirm(broker, &request, message, partition->group))) {
        return;
    }
    fetch = sp_mem_calloc(1, sizeof *fetch);
    if (fetch == NULL) {
        sp_request_fail(&request, SPATE_ERR_NOMEM, NULL);
        return;
    }
    fetch->broker = broker;
    fetch->request = request;
    fetch->group_id = partition->group_id;
    fetch->asked = asked;
    fetch->asked.topic = sp_bytes_null(); /* it points into the message, which goes */
    fetch->offset = asked.offset;
    fetch->asked.max_bytes = clamp(asked.max_bytes, SP_FETCH_BYTES_DEFAULT, SP_FETCH_BYTES_MAX);
    fetch->asked.min_bytes = clamp(asked.min_bytes, 1, fetch->asked.max_bytes);
    wait_ms = clamp(asked.max_wait_ms, 0, SP_FETCH_WAIT_MS_MAX);
    fetch->deadline_ms = sp_loop_now_ms(broker->options.loop) + (uint64_t)wait_ms;
    fetch->last_call = wait_ms == 0;
    sp_list_init(&fetch->node);
    sp_timer_init(&fetch->timer, broker->options.loop, on_timer);
    sp_request_init_wait(&fetch->patience, on_room, on_gone);
    advance(fetch);
}
