/* How large batches may be, and what becomes of those that are larger than their topic takes.
 *
 *   [ S: a b c d e ]   refused, or surely not stored and larger than the topic takes
 *   [ S: a b ] [ S+2: c d ] [ S+4: e ]   in its place, under the numbers that its records have
 *
 * Sequence numbers count records, so nothing before or behind it is numbered anew. A leader that
 * has stored the whole after all refuses the parts, as numbers that it has: nothing comes twice. */
#include <string.h>

#include "base/mem.h"
#include "client/producer.h"

enum {
    FILL_BYTES_MIN = 1024, /* every topic takes such batches */
};

/* ---- bounds ---------------------------------------------------------------------------------- */

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t sp_producer_fill_bytes(const struct sp_producer_partition *partition)
{
    size_t bytes = partition->producer->client->config.batch_bytes;

    if (partition->topic->batch_bytes_max > 0) {
        bytes = least(bytes, partition->topic->batch_bytes_max);
    }
    if (partition->refused_bytes > 0) {
        bytes = least(bytes, partition->refused_bytes / 2);
    }
    return bytes > FILL_BYTES_MIN ? bytes : FILL_BYTES_MIN;
}

size_t sp_producer_batch_bytes_max(const struct sp_producer_partition *partition)
{
    const struct spate_config *config = &partition->producer->client->config;
    size_t limit = partition->topic->batch_bytes_max;

    if (limit == 0) { /* nobody has told: what is usual */
        limit = SP_BATCH_BYTES_MAX_DEFAULT;
        return config->batch_bytes > limit ? config->batch_bytes : limit;
    }
    if (config->compression != SP_COMPRESSION_NONE && config->batch_bytes > limit) {
        return config->batch_bytes; /* it may become small enough: the leader sees */
    }
    return limit;
}

bool sp_producer_too_large(const struct sp_producer_batch *batch)
{
    const struct sp_producer_partition *partition = batch->partition;
    size_t limit = partition->topic->batch_bytes_max;
    size_t size = batch->body.size;

    return batch->count > 1 && !batch->uncertain &&
           ((limit > 0 && size > limit) ||
            (partition->refused_bytes > 0 && size >= partition->refused_bytes));
}

/* Of the parts, before compression: so that there are two at least. */
static size_t part_bytes(const struct sp_producer_batch *batch)
{
    size_t limit = batch->partition->topic->batch_bytes_max;
    size_t half = batch->body.size / 2;

    if (limit > 0 && limit < batch->body.size) {
        return limit;
    }
    return half > SP_BATCH_HEADER_SIZE ? half : SP_BATCH_HEADER_SIZE + 1;
}

/* ---- parts ----------------------------------------------------------------------------------- */

struct splitting {
    struct sp_producer_batch *batch;
    struct sp_batch_reader reader;
    struct sp_batch_builder builder;
    size_t part_bytes;
    struct sp_list parts; /* finished ones, in order */
    uint32_t part_count;
    int32_t done; /* records in them */
};

/* The number of the record at `place`; -1: the batch has no numbers. */
static int32_t sequence_at(const struct sp_batch_header *header, int32_t place)
{
    if (header->base_sequence < 0) {
        return -1;
    }
    return (int32_t)(((uint32_t)header->base_sequence + (uint32_t)place) & INT32_MAX);
}

static int fill_part(struct splitting *splitting, struct sp_producer_batch *part)
{
    const struct sp_producer_batch *batch = splitting->batch;
    const struct sp_batch_header *header = &splitting->reader.header;
    struct sp_producer_identity identity = { header->producer_id, header->producer_epoch, 0 };
    int32_t count = sp_batch_builder_count(&splitting->builder);

    part->opaques = sp_mem_calloc((size_t)count, sizeof(void *));
    if (part->opaques == NULL) {
        return SPATE_ERR_NOMEM;
    }
    memcpy(part->opaques, batch->opaques + splitting->done, (size_t)count * sizeof(void *));
    part->partition = batch->partition;
    part->count = count;
    part->charged_bytes = batch->charged_bytes / (size_t)batch->count * (size_t)count;
    part->deadline_ms = batch->deadline_ms;
    part->attempted = batch->attempted;
    part->uncertain = batch->uncertain;
    part->last_status = batch->last_status;
    return sp_producer_encode(
        &splitting->builder, &identity, sequence_at(header, splitting->done), &part->body);
}

/* Makes a part of what the builder holds. */
static int finish_part(struct splitting *splitting)
{
    struct sp_producer_batch *part = sp_mem_calloc(1, sizeof *part);
    int rv = part == NULL ? SPATE_ERR_NOMEM : fill_part(splitting, part);

    if (rv != 0) {
        if (part != NULL) {
            sp_producer_batch_free(part);
        }
        return rv;
    }
    sp_list_append(&splitting->parts, &part->node);
    splitting->part_count += 1;
    splitting->done += part->count;
    sp_batch_builder_reset(&splitting->builder);
    return 0;
}

/* A record that is larger than a part should be is one by itself, for the leader to judge. */
static int add(struct splitting *splitting, const struct sp_record *record)
{
    int rv = sp_batch_builder_add(&splitting->builder, record);

    if (rv != SPATE_ERR_TOO_LARGE) {
        return rv;
    }
    rv = sp_batch_builder_count(&splitting->builder) > 0 ? finish_part(splitting) : 0;
    rv = rv != 0 ? rv : sp_batch_builder_add(&splitting->builder, record);
    if (rv != SPATE_ERR_TOO_LARGE) {
        return rv;
    }
    sp_batch_builder_limit(&splitting->builder, SP_BATCH_BYTES_MAX);
    rv = sp_batch_builder_add(&splitting->builder, record);
    rv = rv != 0 ? rv : finish_part(splitting);
    if (rv == 0) {
        sp_batch_builder_limit(&splitting->builder, splitting->part_bytes);
    }
    return rv;
}

static int add_view(struct splitting *splitting, const struct sp_record_view *view)
{
    struct sp_record_header headers[SP_RECORD_HEADERS_MAX];
    size_t position = 0;
    size_t count = 0;

    while (count < SP_RECORD_HEADERS_MAX &&
           sp_record_header_next(view, &position, &headers[count])) {
        count += 1;
    }
    struct sp_record record = {
        .timestamp_ms = view->timestamp_ms,
        .key = view->key,
        .value = view->value,
        .headers = headers,
        .header_count = count,
    };
    return add(splitting, &record);
}

static int make_parts(struct splitting *splitting)
{
    struct sp_record_view view;
    int rv = 0;

    while (rv == 0 && sp_batch_reader_next(&splitting->reader, &view)) {
        rv = add_view(splitting, &view);
    }
    rv = rv != 0 ? rv : sp_batch_reader_status(&splitting->reader);
    if (rv == 0 && sp_batch_builder_count(&splitting->builder) > 0) {
        rv = finish_part(splitting);
    }
    return rv;
}

/* Puts the parts where the batch is. Its own struct becomes the first: a call that is being
 * answered is inside of it. */
static void take_place(struct splitting *splitting)
{
    struct sp_producer_batch *batch = splitting->batch;
    struct sp_producer_batch *first =
        SP_LIST_ENTRY(splitting->parts.next, struct sp_producer_batch, node);
    size_t charged_bytes = batch->charged_bytes;

    sp_list_remove(&first->node);
    sp_slice_unref(&batch->body);
    sp_mem_free(batch->opaques);
    batch->body = first->body;
    batch->opaques = first->opaques;
    batch->count = first->count;
    sp_mem_free(first);
    SP_LIST_EACH (node, &splitting->parts) {
        charged_bytes -= SP_LIST_ENTRY(node, struct sp_producer_batch, node)->charged_bytes;
    }
    batch->charged_bytes = charged_bytes;              /* with what the division left over */
    sp_list_move(batch->node.next, &splitting->parts); /* before what follows the batch, that is */
    batch->partition->batch_count += splitting->part_count - 1;
}

int sp_producer_split(struct sp_producer_batch *batch)
{
    struct splitting splitting = { .batch = batch, .part_bytes = part_bytes(batch) };
    int rv = sp_batch_reader_init(
        &splitting.reader, batch->body.bytes, batch->body.size, SP_BATCH_DECOMPRESSED_BYTES_MAX);

    if (rv != 0) {
        return rv;
    }
    sp_list_init(&splitting.parts);
    sp_batch_builder_init(&splitting.builder,
                          splitting.part_bytes,
                          batch->partition->producer->client->config.compression);
    rv = make_parts(&splitting);
    sp_batch_reader_deinit(&splitting.reader);
    sp_batch_builder_deinit(&splitting.builder);
    if (rv == 0) {
        take_place(&splitting);
    }
    SP_LIST_EACH_SAFE (node, &splitting.parts) { /* after a failure */
        sp_producer_batch_free(SP_LIST_ENTRY(node, struct sp_producer_batch, node));
    }
    return rv;
}
