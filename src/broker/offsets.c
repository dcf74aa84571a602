/* offsets: where a partition starts, ends, or passes a moment in time. */
#include "broker/methods.h"

#include <string.h>

#include "base/mem.h"
#include "spate/error.h"
#include "wire/batch.h"

/* A search by time on its way to the disk. */
struct search {
    struct sp_request request;
    struct sp_broker *broker;
    uint64_t group_id; /* the partition may go while a read is on its way */
    int64_t at_ms;
    int64_t log_start;  /* records below are given up, also when their batch is still there */
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

/* The first record of the batch that is young enough and not given up. SPATE_ERR_NOT_FOUND: none;
 * *out_offset is the one behind the batch then. */
static int first_record(const struct search *search,
                        const struct sp_slice *frame_bytes,
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
                                  sp_log_frame_batch_size(&frame),
                                  SP_BATCH_DECOMPRESSED_BYTES_MAX);
    }
    if (rv != 0) {
        return rv;
    }
    rv = SPATE_ERR_NOT_FOUND;
    *out_offset = reader.header.base_offset + reader.header.last_offset_delta + 1;
    while (rv != 0 && sp_batch_reader_next(&reader, &record)) {
        if (record.timestamp_ms >= search->at_ms && record.offset >= search->log_start) {
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

static void end_search(struct search *search, int status, int64_t offset, int64_t timestamp_ms)
{
    if (status == 0) {
        answer(&search->request, offset, timestamp_ms);
    } else {
        sp_request_fail(&search->request, status, NULL);
    }
    sp_mem_free(search);
}

static void on_read(struct sp_log_read *read, int status);

/* Looks for the next batch that ends above `offset_min` and may have such a record. */
static void look(struct search *search, int64_t offset_min)
{
    const struct sp_partition *partition =
        sp_map_get_u64(search->broker->partitions, search->group_id);
    struct sp_raft_group_status status;

    if (partition == NULL || partition->group == NULL) {
        end_search(search, SPATE_ERR_LEADER_UNKNOWN, 0, 0);
        return;
    }
    sp_raft_group_status(partition->group, &status);
    search->read = (struct sp_log_read){
        .by = SP_LOG_READ_TIME,
        .start = search->at_ms,
        .offset_min = offset_min,
        .index_max = status.applied_index,
        .bytes_max = 1, /* one batch that qualifies is enough */
        .frames_max = 1,
        .cb = on_read,
    };
    int rv = sp_log_read_start(sp_raft_group_log(partition->group), &search->read);
    if (rv != 0) {
        end_search(search, rv, 0, 0);
    }
}

static void on_read(struct sp_log_read *read, int status)
{
    struct search *search = SP_CONTAINER_OF(read, struct search, read);
    int64_t offset = search->end_offset;
    int64_t timestamp_ms = -1;
    bool found_batch = status == 0 && read->count > 0;

    if (found_batch) {
        status = first_record(search, &read->frames[0], &offset, &timestamp_ms);
    }
    sp_log_read_release(read);
    if (found_batch && status == SPATE_ERR_NOT_FOUND) {
        look(search, offset); /* what was young enough in it is given up */
        return;
    }
    end_search(search, status == SPATE_ERR_NOT_FOUND ? 0 : status, offset, timestamp_ms);
}

static void search_time(struct sp_partition *partition, struct sp_request request, int64_t at_ms)
{
    struct search *search = sp_mem_calloc(1, sizeof *search);

    if (search == NULL) {
        sp_request_fail(&request, SPATE_ERR_NOMEM, NULL);
        return;
    }
    search->request = request;
    search->broker = partition->broker;
    search->group_id = partition->group_id;
    search->at_ms = at_ms;
    search->log_start = partition->log_start;
    search->end_offset = partition->next_offset;
    look(search, partition->log_start);
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
    if (asked.linearizable &&
        sp_broker_lacks_feature(broker, SP_FEATURE_CONFIRM, "linearizable", &request)) {
        return;
    }
    partition = sp_broker_find(broker, &request, asked.topic, -1, asked.partition);
    if (partition == NULL ||
        (asked.linearizable && !sp_broker_confirm(broker, &request, message, partition->group))) {
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
