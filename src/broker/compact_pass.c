#include "broker/compact_pass.h"

#include <string.h>

#include "base/assert.h"
#include "spate/error.h"
#include "wire/batch_filter.h"

void sp_compact_pass_deinit(struct sp_compact_pass *pass)
{
    sp_key_table_free(pass->table);
    pass->table = NULL;
}

static struct sp_bytes batch_of(const uint8_t *bytes, const struct sp_log_frame *frame)
{
    return sp_bytes_of(sp_log_frame_payload(bytes), sp_log_frame_batch_size(frame));
}

/* ---- noting ---------------------------------------------------------------------------------- */

static void note_record(struct sp_compact_pass *pass, const struct sp_record_view *record)
{
    if (record->offset < pass->first_dirty || pass->full) {
        return;
    }
    if (record->key.bytes != NULL && !sp_key_table_note(pass->table, record->key, record->offset)) {
        pass->full = true;
        return;
    }
    pass->map_end = record->offset + 1;
}

int sp_compact_pass_note(struct sp_compact_pass *pass, const uint8_t *bytes, size_t size)
{
    struct sp_batch_reader reader;
    struct sp_record_view record;
    struct sp_log_frame frame;
    int rv = sp_log_frame_decode(bytes, size, &frame);

    if (rv != 0 || frame.kind != SP_FRAME_BATCH || pass->full) {
        return rv;
    }
    struct sp_bytes batch = batch_of(bytes, &frame);
    rv = sp_batch_reader_init(&reader, batch.bytes, batch.size, SP_BATCH_DECOMPRESSED_BYTES_MAX);
    if (rv != 0) {
        return rv;
    }
    while (!pass->full && sp_batch_reader_next(&reader, &record)) {
        note_record(pass, &record);
    }
    rv = sp_batch_reader_status(&reader);
    int64_t end = reader.header.base_offset + reader.header.last_offset_delta + 1;
    if (!pass->full && end > pass->map_end) {
        pass->map_end = end;
    }
    sp_batch_reader_deinit(&reader);
    return rv;
}

/* ---- filtering ------------------------------------------------------------------------------- */

/* One frame under the filter. */
struct sieve {
    struct sp_compact_pass *pass;
    uint64_t removed;
    int64_t tombstone_min; /* of those that stay */
};

static bool is_replaced(const struct sp_compact_pass *pass, const struct sp_record_view *record)
{
    return sp_key_table_latest(pass->table, record->key) > record->offset ||
           (record->value.bytes == NULL && record->offset < pass->floor);
}

static bool keep(void *arg, const struct sp_record_view *record)
{
    struct sieve *sieve = arg;
    const struct sp_compact_pass *pass = sieve->pass;

    if (record->key.bytes == NULL || record->offset >= pass->map_end) {
        return true;
    }
    if (is_replaced(pass, record)) {
        sieve->removed += 1;
        return false;
    }
    if (record->value.bytes == NULL && record->offset < sieve->tombstone_min) {
        sieve->tombstone_min = record->offset;
    }
    return true;
}

/* Appends a compacted frame around `batch`. */
static int append_compacted(const uint8_t *original, struct sp_bytes batch, struct sp_buf *out)
{
    size_t size = sp_log_frame_compacted_size(batch.size);
    uint8_t *bytes = NULL;
    int rv = sp_buf_reserve(out, size, &bytes);

    if (rv == 0) {
        memcpy(bytes + SP_LOG_FRAME_HEADER_SIZE, batch.bytes, batch.size);
        sp_log_frame_compact(original, batch.size, bytes);
        sp_buf_grow(out, size);
    }
    return rv;
}

static int filter_batch(struct sp_compact_pass *pass,
                        const uint8_t *bytes,
                        const struct sp_log_frame *frame,
                        struct sp_buf *out,
                        bool *out_changed)
{
    struct sieve sieve = { .pass = pass, .tombstone_min = pass->tombstone_min };
    struct sp_buf smaller;
    int32_t kept = 0;

    sp_buf_init(&smaller, SP_BATCH_HEADER_SIZE + SP_BATCH_DECOMPRESSED_BYTES_MAX);
    int rv = sp_batch_filter(batch_of(bytes, frame), keep, &sieve, &smaller, &kept);
    pass->tombstone_min = sieve.tombstone_min;
    if (rv == 0 && smaller.size > SP_BATCH_BYTES_MAX) {
        pass->unclean = true; /* it was packed more tightly than we can: it stays as it is */
    } else if (rv == 0) {
        *out_changed = smaller.size > 0;
    }
    if (rv == 0 && *out_changed) {
        pass->removed_records += sieve.removed;
        rv = append_compacted(bytes, sp_bytes_of(smaller.bytes, smaller.size), out);
    } else if (rv == 0) {
        rv = sp_buf_append(out, bytes, sp_log_frame_size(frame->length));
    }
    sp_buf_deinit(&smaller);
    return rv;
}

int sp_compact_pass_filter(struct sp_compact_pass *pass,
                           const uint8_t *bytes,
                           size_t size,
                           struct sp_buf *out,
                           bool *out_changed)
{
    struct sp_batch_facts facts;
    struct sp_log_frame frame;
    int rv = sp_log_frame_decode(bytes, size, &frame);

    if (rv != 0) {
        return rv;
    }
    SP_ASSERT(size == sp_log_frame_size(frame.length));
    *out_changed = false;
    if (frame.kind == SP_FRAME_BATCH) {
        sp_batch_facts_read(sp_log_frame_payload(bytes), &facts);
        if (facts.base_offset < pass->map_end && facts.record_count > 0) {
            return filter_batch(pass, bytes, &frame, out, out_changed);
        }
    }
    return sp_buf_append(out, bytes, size);
}
