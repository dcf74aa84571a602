/* Producing one record and waiting for its outcome. */
#include <stdio.h>

#include "client/producer.h"

static void
tell(struct sp_producer_wait *wait, const struct sp_producer_batch *batch, int32_t place)
{
    wait->done = true;
    wait->status = batch->status;
    wait->offset = batch->status == 0 ? batch->offset + place : -1;
    (void)snprintf(wait->text,
                   sizeof wait->text,
                   "%s",
                   batch->text != NULL ? batch->text : spate_strerror(batch->status));
    sp_list_remove(&wait->node);
}

void sp_producer_tell_waits(struct sp_producer_batch *batch)
{
    struct spate_producer *producer = batch->partition->producer;

    for (int32_t i = 0; i < batch->count; i++) {
        SP_LIST_EACH_SAFE (node, &producer->waits) {
            struct sp_producer_wait *wait = SP_LIST_ENTRY(node, struct sp_producer_wait, node);
            if (batch->opaques[i] == wait) {
                tell(wait, batch, i);
                batch->opaques[i] = &producer->waits;
                break;
            }
        }
    }
}

int spate_produce_wait(struct spate_producer *producer,
                       const struct spate_record *record,
                       int64_t *out_offset)
{
    struct sp_producer_wait wait = { .done = false };

    if (producer == NULL) {
        return SPATE_ERR_INVALID;
    }
    struct spate_client *client = producer->client;
    SP_CLIENT_HOLD(client);
    SP_PRODUCER_HOLD(producer);

    sp_list_append(&producer->waits, &wait.node);
    int rv = sp_producer_take(producer, record, &wait, true);
    while (rv == 0 && !wait.done) {
        rv = sp_client_run(client, UINT64_MAX);
    }
    if (!wait.done) {
        sp_list_remove(&wait.node);
        return rv;
    }
    sp_producer_report(producer);
    if (wait.status != 0) {
        return sp_client_fail(client, wait.status, "%s", wait.text);
    }
    if (out_offset != NULL) {
        *out_offset = wait.offset;
    }
    return 0;
}
