/* offsets: where a partition starts, ends, or passes a moment in time. */
#include "broker/methods.h"

#include <string.h>

#include "base/mem.h"
#include "spate/error.h"
#include "wire/batch.h"

/* A search by time on its way to the disk. */
struct search {
    struct sp_request request;
    int64_t at_ms;
    int64_t end_offset; /* the answer when nothing is as young as that */
    struct sp_log_read read;
};

static void answer(struct sp_request *request, int64_t offset, int64_t timestamp_ms)
{
    struct sp_offsets_response response;
    struct sp_buf buf;
    struct sp_pack pack;

    sp_offsets_response_init(&response);
    response.offset = offset;
    response.timestamp = timestamp_ms;
    sp_request_begin(request, &buf, &pack);
    sp_offsets_response_encode(&pack, &response);
    sp_request_finish(request, &buf, &pack, NULL, 0);
}

/* The first record of the batch that is young enough; the batch has one. */
static int first_record(const struct sp_slice *frame_bytes,
                        int64_t at_ms,
                        int64_t *out_offset,
                        int64_t *out_timestamp_ms)
{
    struct sp_log_frame frame;
    struct sp_batch_reader reader;
    struct sp_record_view record;
    int rv = sp_log_frame_decode(frame_bytes->bytes, frame_bytes->size, &frame);

    if (rv == 0) {
        rv = sp_batch_reader_init(&reader,
                                  sp_log_frame_payload(frame_bytes->bytes),
                                  frame.length,
                                  SP_BATCH_DECOMPRESSED_BYTES_MAX);
    }
    if (rv != 0) {
        return rv;
    }
    rv = SPATE_ERR_NOT_FOUND;
    while (rv != 0 && sp_batch_reader_next(&reader, &record)) {
        if (record.timestamp_ms >= at_ms) {
            *out_offset = record.offset;
            *out_timestamp_ms = record.timestamp_ms;
            rv = 0;
        }
    }
    if (sp_batch_reader_status(&reader) != 0) {
        rv = sp_batch_reader_status(&reader);
    }
    sp_batch_reader_deinit(&reader);
    return rv;
}

static void on_read(struct sp_log_read *read, int status)
{
    struct search *search = SP_CONTAINER_OF(read, struct search, read);
    int64_t offset = search->end_offset;
    int64_t timestamp_ms = -1;

    for (unsigned i = 0; status == 0 && i < read->count; i++) {
        int rv = first_record(&read->frames[i], search->at_ms, &offset, &timestamp_ms);
        if (rv == 0) {
            break;
        }
        status = rv == SPATE_ERR_NOT_FOUND ? 0 : rv;
    }
    sp_log_read_release(read);
    if (status == 0 || status == SPATE_ERR_NOT_FOUND) {
        answer(&search->request, offset, timestamp_ms);
    } else {
        sp_request_fail(&search->request, status, NULL);
    }
    sp_mem_free(search);
}

static void search_time(struct sp_partition *partition, struct sp_request request, int64_t at_ms)
{
    struct search *search = sp_mem_calloc(1, sizeof *search);
    struct sp_raft_group_status status;
    int rv = SPATE_ERR_NOMEM;

    if (search != NULL) {
        sp_raft_group_status(partition->group, &status);
        search->request = request;
        search->at_ms = at_ms;
        search->end_offset = partition->next_offset;
        search->read.by = SP_LOG_READ_TIME;
        search->read.start = at_ms;
        search->read.index_max = status.applied_index;
        search->read.bytes_max = 1; /* the first batch that qualifies is enough */
        search->read.frames_max = 1;
        search->read.cb = on_read;
        rv = sp_log_read_start(sp_raft_group_log(partition->group), &search->read);
    }
    if (rv != 0) {
        sp_request_fail(&request, rv, NULL);
        sp_mem_free(search);
    }
}

void sp_method_offsets(struct sp_broker *broker,
                       struct sp_request request,
                       const struct sp_message *message)
{
    struct sp_offsets_request asked;
    struct sp_partition *partition;
    struct sp_api_error error;
    int rv = sp_offsets_request_decode(&message->params, &asked, &error);

    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
        return;
    }
    partition = sp_broker_find(broker, &request, asked.topic, -1, asked.partition);
    if (partition == NULL) {
        return;
    }
    if (asked.at == SP_OFFSETS_AT_EARLIEST) {
        answer(&request, partition->log_start, -1);
    } else if (asked.at == SP_OFFSETS_AT_LATEST || partition->next_offset == partition->log_start) {
        answer(&request, partition->next_offset, -1);
    } else {
        search_time(partition, request, asked.at);
    }
}
