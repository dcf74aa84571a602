/* Batches: sealing, numbering, finishing. */
#include <string.h>

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "client/producer.h"
#include "wire/batch_format.h"

/* ---- numbering ------------------------------------------------------------------------------- */

/* Takes the next `count` sequence numbers; they wrap at 2^31, as the format has it. */
static int32_t take_sequence(struct sp_producer_partition *partition, int32_t count)
{
    int32_t first = partition->next_sequence;

    partition->next_sequence =
        (int32_t)(((uint32_t)partition->next_sequence + (uint32_t)count) & INT32_MAX);
    return first;
}

/* A withdrawn call may still be on its way out with the old bytes, which must not change then. */
static int own_bytes(struct sp_producer_batch *batch)
{
    if (batch->body.blob->references == 1) {
        return 0;
    }
    struct sp_blob *blob = sp_blob_copy(batch->body.bytes, batch->body.size);
    if (blob == NULL) {
        return SPATE_ERR_NOMEM;
    }
    sp_slice_unref(&batch->body);
    batch->body = sp_slice_of(blob, 0, blob->size);
    sp_blob_unref(blob);
    return 0;
}

int sp_producer_number(struct sp_producer_partition *partition)
{
    const struct sp_producer_identity *identity = &partition->identity;

    SP_LIST_EACH (node, &partition->batches) {
        int rv = own_bytes(SP_LIST_ENTRY(node, struct sp_producer_batch, node));
        if (rv != 0) {
            return rv;
        }
    }
    partition->next_sequence = 0;
    SP_LIST_EACH (node, &partition->batches) {
        struct sp_producer_batch *batch = SP_LIST_ENTRY(node, struct sp_producer_batch, node);
        uint8_t *bytes = batch->body.blob->bytes; /* the slice begins where its blob does */
        int32_t sequence = take_sequence(partition, batch->count);

        SP_ASSERT(!batch->running);
        batch_put(bytes + BATCH_PRODUCER_ID, 8, (uint64_t)identity->id);
        batch_put(bytes + BATCH_PRODUCER_EPOCH, 2, (uint64_t)identity->epoch);
        batch_put(bytes + BATCH_BASE_SEQUENCE, 4, (uint64_t)sequence);
        batch_put(bytes + BATCH_CRC,
                  4,
                  sp_crc32c(0, bytes + BATCH_ATTRIBUTES, batch->body.size - BATCH_ATTRIBUTES));
    }
    return 0;
}

/* ---- sealing --------------------------------------------------------------------------------- */

/* Encodes straight into a shared blob: the buffer lent to the builder has exactly
 * the blob's room, and the encoder never needs more than the uncompressed size. */
int sp_producer_encode(struct sp_batch_builder *builder,
                       const struct sp_producer_identity *identity,
                       int32_t sequence,
                       struct sp_slice *out_body)
{
    size_t room = sp_batch_builder_size(builder);
    struct sp_blob *blob = sp_blob_new(room);

    if (blob == NULL) {
        return SPATE_ERR_NOMEM;
    }
    struct sp_buf lent = { .bytes = blob->bytes, .capacity = room, .size_max = room };
    int rv = sp_batch_builder_finish(builder, identity->id, identity->epoch, sequence, &lent);
    if (rv == 0) {
        *out_body = sp_slice_of(blob, 0, lent.size);
    }
    sp_blob_unref(blob);
    return rv;
}

static int encode_numbered(struct sp_producer_partition *partition, struct sp_slice *out_body)
{
    static const struct sp_producer_identity none = { .id = -1, .epoch = -1 };

    if (partition->identity.number == 0) {
        return sp_producer_encode(&partition->builder, &none, -1, out_body);
    }
    int rv = sp_producer_encode(
        &partition->builder, &partition->identity, partition->next_sequence, out_body);
    if (rv == 0) {
        (void)take_sequence(partition, sp_batch_builder_count(&partition->builder));
    }
    return rv;
}

/* Keeps the memory for the next batch, unless one large record has made it grow: there may be many
 * partitions. */
static void reset_builder(struct sp_producer_partition *partition)
{
    size_t usual_bytes = partition->producer->client->config.batch_bytes;

    if (partition->builder.records.capacity > 2 * usual_bytes) {
        sp_batch_builder_deinit(&partition->builder);
    } else {
        sp_batch_builder_reset(&partition->builder);
    }
}

int sp_producer_seal(struct sp_producer_partition *partition)
{
    struct sp_producer_batch *batch = sp_mem_calloc(1, sizeof *batch);

    if (batch == NULL) {
        return SPATE_ERR_NOMEM;
    }
    int rv = encode_numbered(partition, &batch->body);
    if (rv != 0) {
        sp_mem_free(batch);
        return rv;
    }
    batch->partition = partition;
    batch->count = sp_batch_builder_count(&partition->builder);
    batch->deadline_ms = partition->open_deadline_ms;
    batch->charged_bytes = partition->open_bytes;
    batch->opaques = partition->opaques;
    partition->opaques = NULL;
    partition->opaque_capacity = 0;
    partition->open_bytes = 0;
    reset_builder(partition);
    sp_list_append(&partition->batches, &batch->node);
    partition->batch_count += 1;
    return 0;
}

/* ---- the end --------------------------------------------------------------------------------- */

void sp_producer_withdraw(struct sp_producer_batch *batch)
{
    if (!batch->running) {
        return;
    }
    batch->uncertain = batch->uncertain || batch->call.sent;
    sp_rpc_cancel(&batch->call);
    batch->running = false;
    batch->partition->running_count -= 1;
}

void sp_producer_finish(struct sp_producer_batch *batch, int status, const char *text)
{
    struct sp_producer_partition *partition = batch->partition;
    struct spate_producer *producer = partition->producer;

    SP_ASSERT(!batch->running);
    batch->status = status;
    batch->text = text == NULL ? NULL : sp_mem_strdup(text); /* NULL: the code alone must do */
    if (batch->attempted) {
        producer->in_flight_count -= (size_t)batch->count;
    }
    producer->buffered_bytes -= batch->charged_bytes;
    sp_slice_unref(&batch->body);
    sp_list_remove(&batch->node);
    partition->batch_count -= 1;
    sp_list_append(&producer->finished, &batch->node);
    if (!sp_list_empty(&producer->waits)) {
        sp_producer_tell_waits(batch);
    }
    if (status != 0) {
        sp_client_log(producer->client,
                      SPATE_LOG_ERROR,
                      "%d records for %s/%u are given up: %s: %.300s",
                      batch->count,
                      partition->topic->name,
                      partition->index,
                      spate_error_name(status),
                      text == NULL ? "" : text);
    }
    sp_client_wake(producer->client);
}

void sp_producer_batch_free(struct sp_producer_batch *batch)
{
    sp_slice_unref(&batch->body);
    sp_mem_free(batch->opaques);
    sp_mem_free(batch->text);
    sp_mem_free(batch);
}
