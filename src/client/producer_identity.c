/* Producer ids: asked for when the first record is about to be sent, and again when a partition has
 * to begin a new numbering (I4) and has used up all epochs of its id. With a name: asked for once
 * (I6). */
#include <stdio.h>
#include <string.h>

#include "client/producer.h"
#include "wire/client_api.h"

enum {
    REQUEST_MS = 10000,
    ATTEMPT_MS = 2000,
};

static int take_answer(struct spate_producer *producer, struct sp_bytes result)
{
    struct sp_cursor cursor = sp_cursor_of(result);
    struct sp_producer_init_response response;
    int rv = sp_producer_init_response_decode(&cursor, &response, NULL);

    if (rv == 0) {
        producer->identity.id = response.producer_id;
        producer->identity.epoch = response.producer_epoch;
        producer->identity.number += 1;
    }
    return rv;
}

static void
on_answer(struct sp_request *request, int status, struct sp_bytes result, const char *text)
{
    struct spate_producer *producer =
        SP_CONTAINER_OF(request, struct spate_producer, identity_request);

    producer->identity_asked = false;
    producer->identity_refused = sp_producer_has_name(producer) && status != 0 &&
                                 !sp_client_status_moves(status) && status != SPATE_ERR_NOMEM;
    producer->identity_status = status != 0 ? status : take_answer(producer, result);
    if (producer->identity_status != 0) {
        (void)snprintf(producer->identity_text,
                       sizeof producer->identity_text,
                       "%s",
                       status != 0 ? text : "the server's answer to producer.init makes no sense");
        producer->identity_retry_ms =
            sp_loop_now_ms(producer->client->loop) + SP_CLIENT_PAUSE_MAX_MS;
    }
    sp_producer_each(producer, sp_producer_advance);
}

static int encode_params(struct spate_producer *producer)
{
    const struct spate_config *config = &producer->client->config;
    struct sp_producer_init_request init;
    struct sp_pack pack;

    sp_producer_init_request_init(&init);
    if (sp_producer_has_name(producer)) {
        init.name = sp_bytes_text(config->producer_name);
        init.layout = sp_bytes_text(config->producer_layout);
    }
    sp_buf_clear(&producer->identity_params);
    sp_pack_init(&pack, &producer->identity_params);
    sp_producer_init_request_encode(&pack, &init);
    return sp_pack_status(&pack);
}

static void ask(struct spate_producer *producer)
{
    uint64_t now_ms = sp_loop_now_ms(producer->client->loop);

    if (producer->identity_asked || now_ms < producer->identity_retry_ms ||
        encode_params(producer) != 0) {
        return; /* without memory the timer tries again */
    }
    producer->identity_request = (struct sp_request){
        .client = producer->client,
        .method = "producer.init",
        .params = sp_bytes_of(producer->identity_params.bytes, producer->identity_params.size),
        .deadline_ms = now_ms + REQUEST_MS,
        .attempt_ms = ATTEMPT_MS,
        .repeatable = true, /* an id, or an epoch, that nobody uses costs nothing */
        .cb = on_answer,
    };
    producer->identity_asked = sp_request_start(&producer->identity_request) == 0;
}

bool sp_producer_identify(struct sp_producer_partition *partition)
{
    struct spate_producer *producer = partition->producer;

    if (partition->identity.number != 0) {
        return true;
    }
    if (producer->identity_refused) {
        sp_producer_end(partition, producer->identity_status, producer->identity_text, true);
        return false;
    }
    if (partition->next_identity.number != 0) {
        partition->identity = partition->next_identity;
    } else if (producer->identity.number < partition->identity_min) {
        ask(producer);
        return false;
    } else {
        partition->identity = producer->identity;
    }
    if (sp_producer_number(partition) != 0) {
        partition->identity.number = 0; /* out of memory: the timer tries again */
        return false;
    }
    partition->next_identity.number = 0;
    return true;
}
