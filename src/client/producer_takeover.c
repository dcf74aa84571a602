/* Producers with a name: taking over from their earlier lives, partition by partition (I6).
 *
 *   identity (id, epoch) -> producer.resume at the partition's leader -> what is stored -> batches
 *
 * From the answer on, an earlier life of the same name can store nothing there any more. */
#include "base/mem.h"
#include "client/partitioner.h"
#include "client/producer.h"
#include "wire/client_api.h"

enum {
    REQUEST_MS = 10000,
    ATTEMPT_MS = 2000,
    PARAMS_BYTES_MAX = 512,
};

bool sp_producer_has_name(const struct spate_producer *producer)
{
    return producer->client->config.producer_name[0] != '\0';
}

void sp_producer_takeover_free(struct sp_producer_takeover *takeover)
{
    if (takeover == NULL) {
        return;
    }
    sp_request_cancel(&takeover->request);
    sp_buf_deinit(&takeover->params);
    sp_mem_free(takeover);
}

/* ---- answers --------------------------------------------------------------------------------- */

static void take_answer(struct sp_producer_partition *partition, struct sp_bytes result)
{
    struct sp_producer_takeover *takeover = partition->takeover;
    struct sp_producer_resume_response response;
    struct sp_cursor cursor = sp_cursor_of(result);

    if (sp_producer_resume_response_decode(&cursor, &response, NULL) != 0) {
        sp_producer_end(partition,
                        SPATE_ERR_INTERNAL,
                        "the server's answer to producer.resume makes no sense",
                        true);
        return;
    }
    /* In epoch 0 the id is new: nothing can have been stored under it. */
    if (!response.known && partition->identity.epoch > 0) {
        sp_producer_end(partition,
                        SPATE_ERR_UNKNOWN_PRODUCER,
                        "the partition may have forgotten how much it has stored under this name, "
                        "since nothing came for long: look, and go on under another name",
                        true);
        return;
    }
    takeover->records = response.known ? response.records : 0;
    takeover->offset = response.offset;
    takeover->done = true;
    partition->takeover_wanted = false;
    sp_client_wake(partition->producer->client);
}

static void on_refusal(struct sp_producer_partition *partition, int status, const char *text)
{
    bool unknown = status == SPATE_ERR_UNKNOWN_TOPIC || status == SPATE_ERR_UNKNOWN_PARTITION;

    if (sp_client_status_moves(status) || status == SPATE_ERR_IO ||
        (unknown && !sp_producer_unknown_for_long(partition))) {
        partition->retry_ms = sp_producer_now_ms(partition) + SP_CLIENT_PAUSE_MAX_MS;
        return;
    }
    sp_producer_end(partition, status, text, true);
}

static void
on_answer(struct sp_request *request, int status, struct sp_bytes result, const char *text)
{
    struct sp_producer_takeover *takeover =
        SP_CONTAINER_OF(request, struct sp_producer_takeover, request);
    struct sp_producer_partition *partition = takeover->partition;

    takeover->asked = false;
    if (status == 0) {
        take_answer(partition, result);
    } else {
        on_refusal(partition, status, text);
    }
    sp_producer_advance(partition);
}

/* ---- asking ---------------------------------------------------------------------------------- */

static int encode_params(const struct sp_producer_partition *partition, struct sp_buf *out)
{
    struct sp_producer_resume_request resume;
    struct sp_pack pack;

    sp_producer_resume_request_init(&resume);
    resume.topic = sp_bytes_text(partition->topic->name);
    resume.topic_id = partition->topic_id;
    resume.partition = (int32_t)partition->index;
    resume.producer_id = partition->identity.id;
    resume.producer_epoch = partition->identity.epoch;
    sp_buf_clear(out);
    sp_pack_init(&pack, out);
    sp_producer_resume_request_encode(&pack, &resume);
    return sp_pack_status(&pack);
}

static struct sp_producer_takeover *takeover_of(struct sp_producer_partition *partition)
{
    if (partition->takeover == NULL) {
        partition->takeover = sp_mem_calloc(1, sizeof *partition->takeover);
        if (partition->takeover != NULL) {
            partition->takeover->partition = partition;
            partition->takeover->offset = -1;
            sp_buf_init(&partition->takeover->params, PARAMS_BYTES_MAX);
        }
    }
    return partition->takeover;
}

static void ask(struct sp_producer_partition *partition, struct sp_producer_takeover *takeover)
{
    if (encode_params(partition, &takeover->params) != 0) {
        return; /* out of memory: the timer tries again, here and below */
    }
    takeover->request = (struct sp_request){
        .client = partition->producer->client,
        .method = "producer.resume",
        .params = sp_bytes_of(takeover->params.bytes, takeover->params.size),
        .deadline_ms = sp_producer_now_ms(partition) + REQUEST_MS,
        .attempt_ms = ATTEMPT_MS,
        .repeatable = true, /* the same fence once more changes nothing */
        .cb = on_answer,
    };
    takeover->asked = sp_request_start(&takeover->request) == 0;
}

bool sp_producer_take_over(struct sp_producer_partition *partition)
{
    struct sp_producer_takeover *takeover;

    if (!sp_producer_has_name(partition->producer)) {
        return true;
    }
    if (partition->ended != 0) {
        return false;
    }
    takeover = takeover_of(partition);
    if (takeover != NULL && !takeover->done && !takeover->asked) {
        ask(partition, takeover);
    }
    return takeover != NULL && takeover->done;
}

/* ---- the public side ------------------------------------------------------------------------- */

static int wait_for_takeover(struct sp_producer_partition *partition, uint64_t deadline_ms)
{
    struct spate_client *client = partition->producer->client;
    struct sp_producer_takeover *takeover = takeover_of(partition);

    if (takeover == NULL) {
        return sp_client_fail(client, SPATE_ERR_NOMEM, "out of memory");
    }
    partition->takeover_wanted = !takeover->done && partition->ended == 0;
    while (!takeover->done && partition->ended == 0 && sp_loop_now_ms(client->loop) < deadline_ms) {
        partition->takeover_wanted = true; /* another thread's wait may have ended meanwhile */
        sp_producer_advance(partition);
        if (takeover->done || partition->ended != 0) {
            break;
        }
        int rv = sp_client_run(client, deadline_ms);
        rv = rv != 0 ? rv : sp_producer_check_alive(partition->producer);
        if (rv != 0) {
            partition->takeover_wanted = false;
            return rv;
        }
    }
    partition->takeover_wanted = false;
    if (partition->ended != 0) {
        return sp_client_fail(client,
                              partition->ended,
                              "%s",
                              partition->ended_text == NULL ? spate_strerror(partition->ended)
                                                            : partition->ended_text);
    }
    if (!takeover->done) {
        return sp_client_fail(client,
                              SPATE_ERR_TIMEOUT,
                              "%s/%u: no leader told in time what is stored",
                              partition->topic->name,
                              partition->index);
    }
    return 0;
}

int spate_producer_stored(struct spate_producer *producer,
                          const char *topic,
                          int32_t index,
                          int64_t *out_records,
                          int64_t *out_offset)
{
    const struct spate_record record = { .topic = topic, .partition = index };
    struct sp_producer_topic *found = NULL;
    struct sp_producer_partition *partition = NULL;

    if (producer == NULL) {
        return SPATE_ERR_INVALID;
    }
    struct spate_client *client = producer->client;
    SP_CLIENT_HOLD(client);
    SP_PRODUCER_HOLD(producer);
    if (sp_client_need(client, out_records, "out_records") != 0 ||
        sp_client_need(client, out_offset, "out_offset") != 0) {
        return SPATE_ERR_INVALID;
    }
    if (!sp_producer_has_name(producer) || topic == NULL || index < 0) {
        return sp_client_fail(client,
                              SPATE_ERR_INVALID,
                              "what is stored is known of a producer with a name, in one partition "
                              "of a topic: set producer.name");
    }
    uint64_t deadline_ms = sp_client_deadline(client, client->config.timeout_ms);
    int rv = sp_producer_find_partition(producer, &record, deadline_ms, &found, &partition);
    if (rv == 0) {
        rv = sp_producer_check_alive(producer); /* another thread may have freed it meanwhile */
        rv = rv != 0 ? rv : wait_for_takeover(partition, deadline_ms);
    }
    if (rv == 0) {
        *out_records = partition->takeover->records;
        *out_offset = partition->takeover->offset;
    }
    return rv;
}

uint32_t spate_partition_of_key(const void *key, size_t key_size, uint32_t partitions)
{
    return partitions == 0 || key == NULL ? 0 : sp_partition_of_key(key, key_size, partitions);
}
