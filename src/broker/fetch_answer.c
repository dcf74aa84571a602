/* The answer to a fetch: the batches that were read, as they lie in the frames, or unpacked. */
#include "base/mem.h"
#include "broker/fetch_parts.h"
#include "spate/error.h"

#define EMPTY_ARRAY_SIZE 5 /* of sp_batch_to_records without a record */

void sp_fetch_finish(struct sp_fetch *fetch)
{
    sp_timer_stop(&fetch->timer);
    sp_list_remove(&fetch->node);
    sp_request_end_wait(&fetch->patience);
    sp_mem_free(fetch->reading);
    sp_mem_free(fetch);
}

static unsigned frame_count(const struct sp_fetch *fetch)
{
    return fetch->reading == NULL ? 0 : fetch->reading->read.count;
}

static void fill_response(const struct sp_partition *partition,
                          const struct sp_fetch *fetch,
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
    if (sp_partition_serves(partition)) {
        response->end_offset = sp_log_end_offset(sp_raft_group_log(partition->group));
    }
    /* the batches lie in several frames: only the size of this view is used */
    response->records.batch = sp_bytes_of(count == 0 ? NULL : read->frames[0].bytes, size);
}

/* The batches inside the frames, without a copy. */
static void answer_batches(struct sp_fetch *fetch, const struct sp_fetch_response *response)
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

int64_t sp_fetch_read_end(const struct sp_log_read *read)
{
    struct sp_batch_facts facts;

    sp_batch_facts_read(sp_log_frame_payload(read->frames[read->count - 1].bytes), &facts);
    return facts.base_offset + facts.offset_count;
}

/* Nothing is left of what was read: goes on behind it, in a turn of its own. */
static void skip_emptied(struct sp_fetch *fetch)
{
    fetch->offset = sp_fetch_read_end(&fetch->reading->read);
    sp_log_read_release(&fetch->reading->read);
    sp_mem_free(fetch->reading);
    fetch->reading = NULL;
    sp_request_unreserve(&fetch->request);
    if (sp_timer_start(&fetch->timer, 0) != 0) {
        sp_request_fail(&fetch->request, SPATE_ERR_NOMEM, NULL);
        sp_fetch_finish(fetch);
    }
}

/* False: compaction has left nothing of the records that were read, and there may be more. */
static bool answer_records(struct sp_fetch *fetch, struct sp_fetch_response *response)
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

void sp_fetch_answer(struct sp_fetch *fetch, struct sp_partition *partition)
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
    sp_fetch_finish(fetch);
}
