/* fetch: committed batches from an offset on, as the bytes that the producer made.
 *
 *   CHECK -> enough there? -> room for it? -> READ (memory, else disk) -> answer
 *              |                `- no: WAIT in partition->crowded until there is (D14)
 *              `- no: WAIT in partition->fetches until records are applied or max_wait_ms is over
 *
 * One that waits costs a few hundred bytes, and ends when its connection does. */
#include "broker/methods.h"

#include <string.h>

#include "base/mem.h"
#include "spate/error.h"

/* A leader that nobody answers steps down within two election timeouts. A process that was stopped
 * for a while loses one round at most: its timers are due at once when it goes on. */
#define DOUBT_ROUNDS 4

#define EMPTY_ARRAY_SIZE 5 /* of sp_batch_to_records without a record */

#define NOT_LED_TEXT "the partition is no longer led here: look it up"

struct fetch {
    struct sp_list node; /* in partition->fetches while it waits; in no list while it reads */
    struct sp_timer timer;
    struct sp_request request;
    struct sp_broker *broker;
    uint64_t group_id; /* the partition may go while a read is on its way */
    struct sp_fetch_request asked;
    int64_t offset;
    uint64_t deadline_ms;
    bool last_call;    /* answer whatever there is */
    unsigned doubts;   /* rounds waited with an offset above the end */
    uint64_t doubt_ms; /* when this round ends; 0: none has begun */
    struct sp_request_wait patience;
    struct reading *reading; /* NULL: it has read nothing */
};

/* A read on its way, or its result: 6 KiB that those who wait do not need. */
struct reading {
    struct sp_log_read read;
    struct fetch *fetch;
};

static void advance(struct fetch *fetch);

static void finish(struct fetch *fetch)
{
    sp_timer_stop(&fetch->timer);
    sp_list_remove(&fetch->node);
    sp_request_end_wait(&fetch->patience);
    sp_mem_free(fetch->reading);
    sp_mem_free(fetch);
}

static void fail(struct fetch *fetch, int code, const char *text)
{
    sp_request_fail(&fetch->request, code, text);
    finish(fetch);
}

/* ---- answering ------------------------------------------------------------------------------- */

static unsigned frame_count(const struct fetch *fetch)
{
    return fetch->reading == NULL ? 0 : fetch->reading->read.count;
}

static void fill_response(const struct sp_partition *partition,
                          const struct fetch *fetch,
                          struct sp_fetch_response *response)
{
    const struct sp_log_read *read = fetch->reading == NULL ? NULL : &fetch->reading->read;
    unsigned count = frame_count(fetch);
    size_t size = 0;

    for (unsigned i = 0; i < count; i++) {
        struct sp_log_frame frame;
        if (sp_log_frame_decode(read->frames[i].bytes, read->frames[i].size, &frame) == 0) {
            size += sp_log_frame_batch_size(&frame);
        }
    }
    sp_fetch_response_init(response);
    response->high_watermark = partition->next_offset;
    response->log_start = partition->log_start;
    response->end_offset = sp_log_end_offset(sp_raft_group_log(partition->group));
    /* the batches lie in several frames: only the size of this view is used */
    response->records.batch = sp_bytes_of(count == 0 ? NULL : read->frames[0].bytes, size);
}

/* The batches inside the frames, without a copy. */
static void answer_batches(struct fetch *fetch, const struct sp_fetch_response *response)
{
    struct sp_slice tail[SP_APPEND_FRAMES_MAX];
    unsigned count = frame_count(fetch);
    struct sp_buf buf;
    struct sp_pack pack;

    for (unsigned i = 0; i < count; i++) {
        const struct sp_slice *bytes = &fetch->reading->read.frames[i];
        struct sp_log_frame frame = { .length = 0 };
        (void)sp_log_frame_decode(bytes->bytes, bytes->size, &frame); /* it was verified */
        tail[i] = (struct sp_slice){ bytes->blob,
                                     sp_log_frame_payload(bytes->bytes),
                                     sp_log_frame_batch_size(&frame) };
    }
    sp_request_begin(&fetch->request, &buf, &pack);
    sp_fetch_response_encode_head(&pack, response);
    sp_request_finish(&fetch->request, &buf, &pack, tail, count);
}

/* The offset behind the last batch that was read. */
static int64_t read_end(const struct sp_log_read *read)
{
    struct sp_batch_facts facts;

    sp_batch_facts_read(sp_log_frame_payload(read->frames[read->count - 1].bytes), &facts);
    return facts.base_offset + facts.offset_count;
}

/* Nothing is left of what was read: goes on behind it, in a turn of its own. */
static void skip_emptied(struct fetch *fetch)
{
    fetch->offset = read_end(&fetch->reading->read);
    sp_log_read_release(&fetch->reading->read);
    sp_mem_free(fetch->reading);
    fetch->reading = NULL;
    sp_request_unreserve(&fetch->request);
    if (sp_timer_start(&fetch->timer, 0) != 0) {
        fail(fetch, SPATE_ERR_NOMEM, NULL);
    }
}

/* False: compaction has left nothing of the records that were read, and there may be more. */
static bool answer_records(struct fetch *fetch, struct sp_fetch_response *response)
{
    struct sp_buf array;
    struct sp_buf buf;
    struct sp_pack pack;
    bool nothing = false;

    sp_buf_init(&array, SP_FETCH_BYTES_MAX + SP_BATCH_BYTES_MAX);
    int rv = sp_fetch_to_records(fetch->reading == NULL ? NULL : &fetch->reading->read,
                                 fetch->offset,
                                 (size_t)fetch->asked.max_bytes,
                                 &array);
    if (rv == 0 && array.size <= EMPTY_ARRAY_SIZE && frame_count(fetch) > 0) {
        nothing = true;
        skip_emptied(fetch);
    } else if (rv == 0) {
        response->records.batch = sp_bytes_null();
        response->records.array = sp_bytes_of(array.bytes, array.size);
        sp_request_begin(&fetch->request, &buf, &pack);
        sp_fetch_response_encode(&pack, response);
        sp_request_finish(&fetch->request, &buf, &pack, NULL, 0);
    } else {
        sp_request_fail(&fetch->request,
                        rv,
                        "the records could not be unpacked: fetch them with format \"batch\"");
    }
    sp_buf_deinit(&array);
    return !nothing;
}

static void answer(struct fetch *fetch, struct sp_partition *partition)
{
    struct sp_fetch_response response;

    fill_response(partition, fetch, &response);
    if (fetch->asked.format == SP_FETCH_FORMAT_RECORDS) {
        if (!answer_records(fetch, &response)) {
            return;
        }
    } else {
        answer_batches(fetch, &response);
    }
    if (fetch->reading != NULL) {
        sp_topic_count_fetched(partition, &fetch->reading->read, fetch->offset);
        sp_log_read_release(&fetch->reading->read);
    }
    finish(fetch);
}

/* ---- waiting --------------------------------------------------------------------------------- */

static void on_deadline(struct sp_timer *timer)
{
    struct fetch *fetch = SP_CONTAINER_OF(timer, struct fetch, timer);

    fetch->last_call = true;
    sp_list_remove(&fetch->node);
    advance(fetch);
}

static void wait(struct fetch *fetch, struct sp_partition *partition)
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
    struct fetch *fetch = SP_CONTAINER_OF(patience, struct fetch, patience);

    sp_list_remove(&fetch->node);
    advance(fetch);
}

static void on_gone(struct sp_request_wait *patience)
{
    fail(SP_CONTAINER_OF(patience, struct fetch, patience), SPATE_ERR_CLOSED, NULL);
}

/* A peer that asks for more than it takes costs no more memory than its share (D14). */
static void wait_for_room(struct fetch *fetch, struct sp_partition *partition)
{
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
        struct fetch *fetch = SP_LIST_ENTRY(waiting.next, struct fetch, node);
        sp_list_remove(&fetch->node);
        /* a timer that is due at once runs in the next turn, when the group has settled */
        if (sp_timer_start(&fetch->timer, 0) != 0) {
            fail(fetch, SPATE_ERR_NOMEM, NULL);
        }
    }
}

void sp_fetch_abort(struct sp_partition *partition)
{
    sp_list_move(&partition->fetches, &partition->crowded);
    while (!sp_list_empty(&partition->fetches)) {
        struct fetch *fetch = SP_LIST_ENTRY(partition->fetches.next, struct fetch, node);
        sp_broker_not_leader(partition->broker,
                             &fetch->request,
                             partition->topic,
                             partition->partition,
                             partition->group_id);
        finish(fetch);
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

static void out_of_range(struct fetch *fetch, const struct sp_partition *partition)
{
    sp_refuse_offset(&fetch->request, partition, fetch->offset);
    finish(fetch);
}

/* Also when there is more: it did not fit, lies in the next segment, or came while the disk was
 * read. Nobody would wake a fetch that waited for what is there already. */
static bool enough(const struct fetch *fetch, const struct sp_partition *partition)
{
    const struct sp_log_read *read = &fetch->reading->read;
    size_t size = 0;

    for (unsigned i = 0; i < read->count; i++) {
        size += read->frames[i].size;
    }
    return fetch->last_call || size >= (size_t)fetch->asked.min_bytes ||
           (read->count > 0 && read_end(read) < partition->next_offset);
}

static void on_read(struct sp_log_read *read, int status)
{
    struct fetch *fetch = SP_CONTAINER_OF(read, struct reading, read)->fetch;
    struct sp_partition *partition = sp_map_get_u64(fetch->broker->partitions, fetch->group_id);

    if ((status == 0 || status == SPATE_ERR_NOT_FOUND) &&
        (partition == NULL || partition->group == NULL)) {
        sp_log_read_release(read);
        status = SPATE_ERR_LEADER_UNKNOWN;
    }
    if (status == 0 && !sp_request_alive(&fetch->request)) {
        sp_log_read_release(read);
        status = SPATE_ERR_CLOSED;
    }
    if ((status == SPATE_ERR_CORRUPT || status == SPATE_ERR_IO) && partition != NULL &&
        partition->group != NULL) {
        sp_raft_group_read_failed(partition->group, status); /* another replica shall answer */
        status = SPATE_ERR_LEADER_CHANGED;
    }
    if (status == SPATE_ERR_NOT_FOUND && fetch->offset < partition->log_start) {
        out_of_range(fetch, partition); /* given up while it was read */
        return;
    }
    if (status == SPATE_ERR_NOT_FOUND) {
        status = 0; /* nothing between the offset and the high watermark yet */
        read->count = 0;
    }
    if (status != 0) {
        fail(fetch, status, status == SPATE_ERR_CANCELED ? "the replica is closing" : NULL);
        return;
    }
    if (!enough(fetch, partition)) {
        sp_log_read_release(read);
        sp_mem_free(fetch->reading);
        fetch->reading = NULL;
        sp_request_unreserve(&fetch->request);
        if (sp_partition_serves(partition)) {
            wait(fetch, partition);
        } else {
            fail(fetch, SPATE_ERR_LEADER_CHANGED, NOT_LED_TEXT);
        }
        return;
    }
    answer(fetch, partition);
}

/* What an answer may come to: one batch is always whole. */
static size_t answer_bytes_max(const struct fetch *fetch, const struct sp_partition *partition)
{
    size_t batch_max = partition->message_bytes_max;

    return (size_t)fetch->asked.max_bytes > batch_max ? (size_t)fetch->asked.max_bytes : batch_max;
}

static void read_batches(struct fetch *fetch, struct sp_partition *partition)
{
    struct sp_log *log = sp_raft_group_log(partition->group);
    struct sp_raft_group_status status;
    struct sp_log_read *read;
    int rv;

    if (!sp_request_reserve(&fetch->request, answer_bytes_max(fetch, partition))) {
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
    read->bytes_max = (uint32_t)fetch->asked.max_bytes;
    read->frames_max = SP_APPEND_FRAMES_MAX;
    read->count = 0;
    read->cb = on_read;
    if (sp_log_read_cached(log, read)) {
        on_read(read, 0);
        return;
    }
    rv = sp_log_read_start(log, read);
    if (rv != 0) {
        fail(fetch, rv, NULL);
    }
}

/* The offset is wrong, or it comes from a newer leader of whom this one has not heard yet: answered
 * only when we have led long enough since it was asked. */
static void doubt(struct fetch *fetch, struct sp_partition *partition)
{
    uint64_t now_ms = sp_loop_now_ms(fetch->broker->options.loop);
    struct sp_raft_group_status status;

    sp_raft_group_status(partition->group, &status);
    if (fetch->doubt_ms != 0 && now_ms >= fetch->doubt_ms) {
        fetch->doubts += 1;
        fetch->doubt_ms = 0;
    }
    if (fetch->doubts == DOUBT_ROUNDS || status.voters == 1) {
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

static void advance(struct fetch *fetch)
{
    struct sp_partition *partition = sp_map_get_u64(fetch->broker->partitions, fetch->group_id);

    sp_timer_stop(&fetch->timer);
    sp_request_end_wait(&fetch->patience);
    if (partition == NULL || !sp_partition_serves(partition)) {
        fail(fetch, SPATE_ERR_LEADER_CHANGED, NOT_LED_TEXT);
        return;
    }
    if (!sp_request_alive(&fetch->request)) {
        fail(fetch, SPATE_ERR_CLOSED, NULL);
        return;
    }
    if (fetch->offset < partition->log_start) {
        out_of_range(fetch, partition);
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
    answer(fetch, partition);
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
    struct fetch *fetch = SP_CONTAINER_OF(timer, struct fetch, timer);

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
    struct fetch *fetch;
    int wait_ms;
    int rv = sp_fetch_request_decode(&message->params, &asked, &error);

    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
        return;
    }
    partition = sp_broker_find(broker, &request, asked.topic, asked.topic_id, asked.partition);
    if (partition == NULL) {
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
