#include "storage/meta.h"

#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/map.h"
#include "base/mem.h"
#include "spate/error.h"
#include "storage/disk.h"
#include "storage/meta_file.h"
#include "storage/meta_state.h"

#define BATCH_BYTES_MAX (64 * 1024 * 1024) /* a million requests between two flushes */

struct key {
    uint64_t group_id;
    uint64_t replica_id;
};

static struct sp_meta_replica *find(const struct sp_meta *meta,
                                    const struct sp_replica_record *record)
{
    const struct key key = { record->group_id, record->replica_id };

    return sp_map_get(meta->replicas, &key, sizeof key);
}

static struct sp_meta_replica *find_or_add(struct sp_meta *meta,
                                           const struct sp_replica_record *record)
{
    const struct key key = { record->group_id, record->replica_id };
    struct sp_meta_replica *replica = find(meta, record);

    if (replica != NULL) {
        return replica;
    }
    replica = sp_mem_calloc(1, sizeof *replica);
    if (replica == NULL) {
        return NULL;
    }
    replica->record = *record;
    if (sp_map_put(meta->replicas, &key, sizeof key, replica) != 0) {
        sp_mem_free(replica);
        return NULL;
    }
    return replica;
}

static void forget(struct sp_meta *meta, const struct sp_replica_record *record)
{
    const struct key key = { record->group_id, record->replica_id };

    sp_mem_free(sp_map_remove(meta->replicas, &key, sizeof key));
}

int sp_meta_apply(struct sp_meta *meta, const struct sp_meta_record *record)
{
    const struct sp_replica_record id = { record->group_id, record->replica_id };
    struct sp_meta_replica *replica = NULL;

    switch (record->type) {
    case SP_META_IDENTITY:
        meta->identity = record->identity;
        return 0;
    case SP_META_DELETED:
        forget(meta, &id);
        return 0;
    case SP_META_LEVEL:
        if (record->term > UINT32_MAX) {
            return SPATE_ERR_CORRUPT;
        }
        meta->feature_level = (uint32_t)record->term;
        return 0;
    case SP_META_FORCING:
        meta->forcing = record->term;
        return 0;
    case SP_META_RUN:
        meta->run = record->term;
        return 0;
    case SP_META_VOTE:
    case SP_META_CREATED:
        break;
    }
    replica = find_or_add(meta, &id);
    if (replica == NULL) {
        return SPATE_ERR_NOMEM;
    }
    if (record->type == SP_META_CREATED) {
        replica->registered = true;
    } else {
        replica->term = record->term;
        replica->vote = record->vote;
    }
    return 0;
}

/* Room for the batch header is kept in front of the records. */
static int reserve_record(struct sp_meta *meta, uint8_t **out_bytes)
{
    static const uint8_t header[SP_META_BATCH_HEADER_SIZE];

    if (meta->pending.size == 0) {
        int rv = sp_buf_append(&meta->pending, header, sizeof header);
        if (rv != 0) {
            return rv;
        }
    }
    return sp_buf_reserve(&meta->pending, SP_META_RECORD_SIZE, out_bytes);
}

/* A flush that waits for space may wait for long, while terms go by: of each replica one vote is
 * kept meanwhile. NULL: none of this replica is pending. */
static uint8_t *pending_vote(const struct sp_meta *meta, const struct sp_meta_replica *replica)
{
    return replica != NULL && replica->vote_sequence > meta->flight_sequence
               ? meta->pending.bytes + replica->vote_at
               : NULL;
}

static uint64_t request(struct sp_meta *meta, const struct sp_meta_record *record)
{
    const struct sp_replica_record id = { record->group_id, record->replica_id };
    bool votes = record->type == SP_META_VOTE;
    uint8_t *bytes = votes ? pending_vote(meta, find(meta, &id)) : NULL;
    bool appends = bytes == NULL;

    if ((appends && reserve_record(meta, &bytes) != 0) || sp_meta_apply(meta, record) != 0) {
        return 0;
    }
    sp_meta_record_encode(record, bytes);
    meta->last_sequence += 1;
    if (votes) {
        struct sp_meta_replica *replica = find(meta, &id);

        replica->vote_sequence = meta->last_sequence;
        replica->vote_at = (size_t)(bytes - meta->pending.bytes);
    }
    if (appends) {
        sp_buf_grow(&meta->pending, SP_META_RECORD_SIZE);
    }
    return meta->last_sequence;
}

const struct sp_identity *sp_meta_identity(const struct sp_meta *meta)
{
    return &meta->identity;
}

uint64_t sp_meta_set_identity(struct sp_meta *meta, const struct sp_identity *identity)
{
    const struct sp_meta_record record = { .type = SP_META_IDENTITY, .identity = *identity };

    return request(meta, &record);
}

uint64_t sp_meta_set_vote(struct sp_meta *meta,
                          const struct sp_replica_record *replica,
                          uint64_t term,
                          uint64_t vote)
{
    const struct sp_meta_record record = {
        .type = SP_META_VOTE,
        .group_id = replica->group_id,
        .replica_id = replica->replica_id,
        .term = term,
        .vote = vote,
    };

    return request(meta, &record);
}

uint64_t sp_meta_set_feature_level(struct sp_meta *meta, uint32_t level)
{
    const struct sp_meta_record record = { .type = SP_META_LEVEL, .term = level };

    return request(meta, &record);
}

uint64_t sp_meta_set_forcing(struct sp_meta *meta, uint64_t mark)
{
    const struct sp_meta_record record = { .type = SP_META_FORCING, .term = mark };

    return request(meta, &record);
}

uint64_t sp_meta_set_run(struct sp_meta *meta, uint64_t run)
{
    const struct sp_meta_record record = { .type = SP_META_RUN, .term = run };

    return request(meta, &record);
}

uint64_t sp_meta_run(const struct sp_meta *meta)
{
    return meta->run;
}

uint64_t sp_meta_forcing(const struct sp_meta *meta)
{
    return meta->forcing;
}

uint32_t sp_meta_feature_level(const struct sp_meta *meta)
{
    return meta->feature_level;
}

static uint64_t request_registry(struct sp_meta *meta,
                                 enum sp_meta_type type,
                                 const struct sp_replica_record *replica)
{
    const struct sp_meta_record record = {
        .type = type,
        .group_id = replica->group_id,
        .replica_id = replica->replica_id,
    };

    return request(meta, &record);
}

uint64_t sp_meta_create_replica(struct sp_meta *meta, const struct sp_replica_record *replica)
{
    return request_registry(meta, SP_META_CREATED, replica);
}

uint64_t sp_meta_delete_replica(struct sp_meta *meta, const struct sp_replica_record *replica)
{
    return request_registry(meta, SP_META_DELETED, replica);
}

void sp_meta_vote(const struct sp_meta *meta,
                  const struct sp_replica_record *record,
                  uint64_t *out_term,
                  uint64_t *out_vote)
{
    const struct sp_meta_replica *replica = find(meta, record);

    *out_term = replica != NULL ? replica->term : 0;
    *out_vote = replica != NULL ? replica->vote : 0;
}

bool sp_meta_has_replica(const struct sp_meta *meta, const struct sp_replica_record *record)
{
    const struct sp_meta_replica *replica = find(meta, record);

    return replica != NULL && replica->registered;
}

void sp_meta_replicas(const struct sp_meta *meta,
                      void (*each)(void *arg, const struct sp_replica_record *record),
                      void *arg)
{
    struct sp_map_cursor cursor = { .next = NULL };

    for (struct sp_meta_replica *replica = sp_map_next(meta->replicas, &cursor); replica != NULL;
         replica = sp_map_next(meta->replicas, &cursor)) {
        if (replica->registered) {
            each(arg, &replica->record);
        }
    }
}

uint64_t sp_meta_durable(const struct sp_meta *meta)
{
    return meta->durable_sequence;
}

bool sp_meta_dirty(const struct sp_meta *meta)
{
    /* Without memory for a first record its batch header may stand there alone. */
    return meta->pending.size > SP_META_BATCH_HEADER_SIZE;
}

/* ---- the image of all that counts ------------------------------------------------------------ */

static uint8_t *put_replica(uint8_t *bytes, const struct sp_meta_replica *replica)
{
    struct sp_meta_record record = {
        .group_id = replica->record.group_id,
        .replica_id = replica->record.replica_id,
    };

    if (replica->registered) {
        record.type = SP_META_CREATED;
        sp_meta_record_encode(&record, bytes);
        bytes += SP_META_RECORD_SIZE;
    }
    if (replica->term != 0) {
        record.type = SP_META_VOTE;
        record.term = replica->term;
        record.vote = replica->vote;
        sp_meta_record_encode(&record, bytes);
        bytes += SP_META_RECORD_SIZE;
    }
    return bytes;
}

/* Nothing for 0, which is what stands there without it. */
static uint8_t *put_value(uint8_t *bytes, enum sp_meta_type type, uint64_t value)
{
    const struct sp_meta_record record = { .type = type, .term = value };

    if (value == 0) {
        return bytes;
    }
    sp_meta_record_encode(&record, bytes);
    return bytes + SP_META_RECORD_SIZE;
}

size_t sp_meta_live_size(const struct sp_meta *meta)
{
    size_t records = 4 + 2 * sp_map_count(meta->replicas);

    return SP_META_HEADER_SIZE + SP_META_BATCH_HEADER_SIZE + records * SP_META_RECORD_SIZE;
}

struct sp_blob *sp_meta_image(const struct sp_meta *meta, uint32_t *out_chain)
{
    const struct sp_meta_record identity = {
        .type = SP_META_IDENTITY,
        .identity = meta->identity,
    };
    struct sp_map_cursor cursor = { .next = NULL };
    struct sp_blob *image = sp_blob_new(sp_meta_live_size(meta));

    if (image == NULL) {
        return NULL;
    }
    uint32_t chain = sp_meta_header_encode(image->bytes);
    uint8_t *batch = image->bytes + SP_META_HEADER_SIZE;
    uint8_t *next = batch + SP_META_BATCH_HEADER_SIZE;
    sp_meta_record_encode(&identity, next);
    next += SP_META_RECORD_SIZE;
    next = put_value(next, SP_META_LEVEL, meta->feature_level);
    next = put_value(next, SP_META_FORCING, meta->forcing);
    next = put_value(next, SP_META_RUN, meta->run);
    for (struct sp_meta_replica *replica = sp_map_next(meta->replicas, &cursor); replica != NULL;
         replica = sp_map_next(meta->replicas, &cursor)) {
        next = put_replica(next, replica);
    }
    uint32_t length = (uint32_t)(next - batch - SP_META_BATCH_HEADER_SIZE);
    *out_chain = sp_meta_batch_seal(batch, length, meta->last_sequence, meta->last_sequence, chain);
    image->size = (size_t)(next - image->bytes);
    return image;
}

/* ---- flushing -------------------------------------------------------------------------------- */

void sp_meta_begin(struct sp_meta *meta)
{
    struct sp_buf empty = meta->flight;

    SP_ASSERT(!meta->flying && sp_meta_dirty(meta));
    meta->flight = meta->pending;
    meta->pending = empty;
    meta->flying = true;
    meta->flight_sequence = meta->last_sequence;
    meta->flight_chain =
        sp_meta_batch_seal(meta->flight.bytes,
                           (uint32_t)(meta->flight.size - SP_META_BATCH_HEADER_SIZE),
                           meta->written_sequence + 1,
                           meta->last_sequence,
                           meta->chain);
    if (meta->size > sp_meta_live_size(meta) + meta->dead_bytes_max) {
        uint32_t chain = 0;

        /* Without memory the batch is appended as always; the next flush tries again. */
        meta->flight_image = sp_meta_image(meta, &chain);
        meta->flight_chain = meta->flight_image != NULL ? chain : meta->flight_chain;
    }
}

static int append_copy(struct sp_meta *meta, int copy)
{
    const struct sp_iovec piece = { meta->flight.bytes, meta->flight.size };
    int rv = sp_file_write(meta->files[copy], meta->size, &piece, 1);

    return rv == 0 ? sp_file_sync(meta->files[copy]) : rv;
}

int sp_meta_replace_copy(struct sp_meta *meta, int copy, const uint8_t *bytes, size_t size)
{
    char path[SP_DISK_PATH_SIZE];
    const struct sp_iovec piece = { bytes, size };

    sp_disk_path(path, meta->directory, sp_meta_names[copy]);
    sp_file_close(meta->files[copy]);
    meta->files[copy] = NULL;
    int rv = sp_disk_replace(meta->directory, path, &piece, 1);
    if (rv == 0) {
        rv = sp_file_open(path, SP_FILE_WRITE, &meta->files[copy]);
    }
    return rv;
}

int sp_meta_write(struct sp_meta *meta)
{
    SP_ASSERT(meta->flying);
    for (int copy = 0; copy < SP_META_COPIES; copy++) {
        int rv = 0;

        if (meta->flight_image != NULL) {
            rv = sp_meta_replace_copy(
                meta, copy, meta->flight_image->bytes, meta->flight_image->size);
        } else {
            rv = append_copy(meta, copy);
        }
        if (rv != 0) {
            return rv;
        }
    }
    return 0;
}

void sp_meta_end(struct sp_meta *meta, int status)
{
    SP_ASSERT(meta->flying);
    meta->flying = false;
    if (status == 0) {
        meta->size =
            meta->flight_image != NULL ? meta->flight_image->size : meta->size + meta->flight.size;
        meta->chain = meta->flight_chain;
        meta->written_sequence = meta->flight_sequence;
        meta->durable_sequence = meta->flight_sequence;
    }
    sp_blob_unref(meta->flight_image);
    meta->flight_image = NULL;
    sp_buf_clear(&meta->flight);
}

/* ---- life ------------------------------------------------------------------------------------ */

struct sp_meta *sp_meta_new(const struct sp_meta_options *options)
{
    struct sp_meta *meta = sp_mem_calloc(1, sizeof *meta);

    if (meta == NULL) {
        return NULL;
    }
    sp_buf_init(&meta->pending, BATCH_BYTES_MAX);
    sp_buf_init(&meta->flight, BATCH_BYTES_MAX);
    meta->dead_bytes_max =
        options->dead_bytes_max > 0 ? options->dead_bytes_max : SP_META_DEAD_BYTES_MAX;
    meta->directory = sp_mem_strdup(options->directory);
    meta->replicas = sp_map_new();
    if (meta->directory == NULL || meta->replicas == NULL) {
        sp_meta_close(meta);
        return NULL;
    }
    return meta;
}

void sp_meta_forget_all(struct sp_meta *meta)
{
    struct sp_map_cursor cursor = { .next = NULL };

    if (meta->replicas == NULL) {
        return;
    }
    for (struct sp_meta_replica *replica = sp_map_next(meta->replicas, &cursor); replica != NULL;
         replica = sp_map_next(meta->replicas, &cursor)) {
        const struct sp_replica_record record = replica->record;

        forget(meta, &record);
    }
}

void sp_meta_close(struct sp_meta *meta)
{
    if (meta == NULL) {
        return;
    }
    SP_ASSERT(!meta->flying);
    for (int copy = 0; copy < SP_META_COPIES; copy++) {
        sp_file_close(meta->files[copy]);
    }
    sp_meta_forget_all(meta);
    sp_map_free(meta->replicas);
    sp_buf_deinit(&meta->pending);
    sp_buf_deinit(&meta->flight);
    sp_mem_free(meta->directory);
    sp_mem_free(meta);
}
