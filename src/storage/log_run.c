#include "storage/log_run.h"

#include <string.h>

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "spate/error.h"
#include "storage/batch_places.h"
#include "storage/frame_places.h"
#include "storage/little_endian.h"

/* Places in the header that a frame does not have. */
enum {
    AT_COUNT = 48,
    AT_CHAIN_BEFORE = 52,
    AT_BASE_OFFSET = 56,
    AT_ENTRIES = 64,
};

#define EMPTIED_LENGTH (SP_BATCH_HEADER_SIZE + SP_COMPACTED_TRAILER_SIZE)
#define PREFIX_SIZE (AT_ENTRIES - SP_LOG_FRAME_HEADER_SIZE)
#define LENGTH_MAX (PREFIX_SIZE + SP_LOG_RUN_FRAMES_MAX * SP_RUN_ENTRY_SIZE_MAX)

_Static_assert(SP_LOG_RUN_FRAME_SIZE >= SP_LOG_FRAME_HEADER_SIZE + EMPTIED_LENGTH &&
                   SP_LOG_RUN_FRAME_SIZE % SP_LOG_FRAME_ALIGNMENT == 0,
               "an emptied frame, padded");

/* ---- frames ---------------------------------------------------------------------------------- */

static void
read_entry(const struct sp_log_frame *frame, const uint8_t *bytes, struct sp_run_entry *out)
{
    const uint8_t *batch = sp_log_frame_payload(bytes);
    struct sp_batch_facts facts;

    sp_batch_facts_read(batch, &facts);
    out->state = (struct sp_run_state){
        .append_time_ms = frame->append_time_ms,
        .base_timestamp_ms = (int64_t)sp_get_be64(batch + BATCH_AT_BASE_TIMESTAMP),
        .attributes = sp_get_be16(batch + BATCH_AT_ATTRIBUTES),
        .last_offset_delta = facts.offset_count - 1,
        .producer_id = facts.producer_id,
        .producer_epoch = facts.producer_epoch,
        .base_sequence = facts.base_sequence,
    };
    out->max_timestamp_ms = facts.max_timestamp_ms;
    sp_log_frame_original(bytes, &out->state.length, &out->crc);
}

static void put_be16(uint8_t *bytes, uint16_t value)
{
    bytes[0] = (uint8_t)(value >> 8);
    bytes[1] = (uint8_t)value;
}

static void seal_batch(uint8_t *batch)
{
    size_t size = SP_BATCH_HEADER_SIZE - BATCH_AT_ATTRIBUTES;

    sp_put_be32(batch + BATCH_AT_CRC, sp_crc32c(0, batch + BATCH_AT_ATTRIBUTES, size));
}

static void
build_batch(const struct sp_run_entry *entry, int64_t base_offset, uint64_t term, uint8_t *batch)
{
    const struct sp_run_state *state = &entry->state;

    sp_put_be64(batch + BATCH_AT_BASE_OFFSET, (uint64_t)base_offset);
    sp_put_be32(batch + BATCH_AT_LENGTH, SP_BATCH_HEADER_SIZE - BATCH_LENGTH_BEGIN);
    sp_put_be32(batch + BATCH_AT_LEADER_EPOCH, (uint32_t)term);
    batch[BATCH_AT_MAGIC] = BATCH_MAGIC;
    put_be16(batch + BATCH_AT_ATTRIBUTES, state->attributes);
    sp_put_be32(batch + BATCH_AT_LAST_OFFSET_DELTA, (uint32_t)state->last_offset_delta);
    sp_put_be64(batch + BATCH_AT_BASE_TIMESTAMP, (uint64_t)state->base_timestamp_ms);
    sp_put_be64(batch + BATCH_AT_MAX_TIMESTAMP, (uint64_t)entry->max_timestamp_ms);
    sp_put_be64(batch + BATCH_AT_PRODUCER_ID, (uint64_t)state->producer_id);
    put_be16(batch + BATCH_AT_PRODUCER_EPOCH, (uint16_t)state->producer_epoch);
    sp_put_be32(batch + BATCH_AT_BASE_SEQUENCE, (uint32_t)state->base_sequence);
    sp_put_be32(batch + BATCH_AT_COUNT, 0);
    seal_batch(batch);
}

/* Where a run stands while it is expanded. */
struct place {
    struct sp_run_state state;
    uint64_t group_id;
    uint64_t term;
    uint64_t index;
    int64_t offset;
    uint32_t chain;
};

/* Builds the next frame at `bytes` from the header that it had first. SPATE_ERR_CORRUPT. */
static int build_frame(struct sp_run_source *source, struct place *place, uint8_t *bytes)
{
    uint8_t header[SP_LOG_FRAME_HEADER_SIZE];
    struct sp_log_frame frame;
    struct sp_run_entry entry;

    sp_run_entry_decode(source, &place->state, &entry);
    if (source->bad || entry.state.append_time_ms < place->state.append_time_ms) {
        return SPATE_ERR_CORRUPT;
    }
    struct sp_log_frame original = {
        .kind = SP_FRAME_BATCH,
        .length = entry.state.length,
        .group_id = place->group_id,
        .term = place->term,
        .index = place->index,
        .append_time_ms = entry.state.append_time_ms,
        .crc = entry.crc,
    };
    sp_log_frame_header_encode(&original, header);
    original.chain = sp_log_frame_chain(header, place->chain);
    sp_log_frame_header_encode(&original, header);
    build_batch(&entry, place->offset, place->term, bytes + SP_LOG_FRAME_HEADER_SIZE);
    sp_log_frame_compact(header, SP_BATCH_HEADER_SIZE, bytes);
    int rv = sp_log_frame_verify(bytes, SP_LOG_RUN_FRAME_SIZE, &frame); /* counts, offsets */
    if (rv != 0) {
        return SPATE_ERR_CORRUPT;
    }
    place->state = entry.state;
    place->index += 1;
    place->offset += entry.state.last_offset_delta + 1;
    place->chain = original.chain;
    return 0;
}

/* ---- expanding ------------------------------------------------------------------------------- */

bool sp_log_run_begins(const uint8_t *bytes)
{
    return bytes[FRAME_AT_VERSION] == SP_LOG_FRAME_VERSION &&
           bytes[FRAME_AT_KIND] == SP_LOG_RUN_KIND;
}

int sp_log_run_size(const uint8_t *bytes, size_t *out_size)
{
    uint32_t length = sp_get_u32(bytes + FRAME_AT_LENGTH);

    if (!sp_log_run_begins(bytes) || sp_get_u16(bytes + FRAME_AT_FLAGS) != 0 ||
        length < PREFIX_SIZE || length > LENGTH_MAX) {
        return SPATE_ERR_CORRUPT;
    }
    *out_size = sp_log_frame_size(length);
    return 0;
}

static uint32_t run_crc(const uint8_t *bytes, uint32_t length)
{
    uint32_t crc = sp_crc32c(0, bytes, FRAME_AT_CRC);

    return sp_crc32c(crc, bytes + SP_LOG_FRAME_HEADER_SIZE, length);
}

/* Checksum, padding and count of a run that is there whole. */
static bool is_whole(const uint8_t *bytes, size_t size)
{
    uint32_t length = sp_get_u32(bytes + FRAME_AT_LENGTH);
    uint32_t count = sp_get_u32(bytes + AT_COUNT);

    for (size_t i = SP_LOG_FRAME_HEADER_SIZE + (size_t)length; i < size; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return sp_get_u32(bytes + FRAME_AT_CRC) == run_crc(bytes, length) && count >= 2 &&
           count <= SP_LOG_RUN_FRAMES_MAX;
}

static int build_frames(const uint8_t *bytes, uint8_t *frames, unsigned count)
{
    uint32_t length = sp_get_u32(bytes + FRAME_AT_LENGTH);
    struct sp_run_source source = { .bytes = bytes + AT_ENTRIES,
                                    .end = bytes + SP_LOG_FRAME_HEADER_SIZE + length };
    struct place place = {
        .state = { .append_time_ms = (int64_t)sp_get_u64(bytes + FRAME_AT_APPEND_TIME) },
        .group_id = sp_get_u64(bytes + FRAME_AT_GROUP_ID),
        .term = sp_get_u64(bytes + FRAME_AT_TERM),
        .index = sp_get_u64(bytes + FRAME_AT_INDEX),
        .offset = (int64_t)sp_get_u64(bytes + AT_BASE_OFFSET),
        .chain = sp_get_u32(bytes + AT_CHAIN_BEFORE),
    };
    int rv = 0;

    for (unsigned i = 0; i < count && rv == 0; i++) {
        rv = build_frame(&source, &place, frames + i * (size_t)SP_LOG_RUN_FRAME_SIZE);
    }
    if (rv == 0 &&
        (source.bytes != source.end || place.chain != sp_get_u32(bytes + FRAME_AT_CHAIN))) {
        rv = SPATE_ERR_CORRUPT;
    }
    return rv;
}

int sp_log_run_expand(const uint8_t *bytes, size_t size, struct sp_blob **out_frames)
{
    size_t run_size = 0;
    int rv = size < SP_LOG_FRAME_HEADER_SIZE ? SPATE_ERR_AGAIN : sp_log_run_size(bytes, &run_size);

    if (rv == 0 && size < run_size) {
        rv = SPATE_ERR_AGAIN;
    }
    if (rv == 0 && !is_whole(bytes, run_size)) {
        rv = SPATE_ERR_CORRUPT;
    }
    if (rv != 0) {
        return rv;
    }
    unsigned count = sp_get_u32(bytes + AT_COUNT);
    struct sp_blob *blob = sp_blob_new(count * (size_t)SP_LOG_RUN_FRAME_SIZE);
    if (blob == NULL) {
        return SPATE_ERR_NOMEM;
    }
    rv = build_frames(bytes, blob->bytes, count);
    if (rv != 0) {
        sp_blob_unref(blob);
        return rv;
    }
    *out_frames = blob;
    return 0;
}

static int64_t merged_count(const uint8_t *first, const uint8_t *last)
{
    struct sp_batch_facts from;
    struct sp_batch_facts to;

    sp_batch_facts_read(sp_log_frame_payload(first), &from);
    sp_batch_facts_read(sp_log_frame_payload(last), &to);
    return to.base_offset + to.offset_count - from.base_offset;
}

bool sp_log_run_may_merge(const uint8_t *first, const uint8_t *last)
{
    return merged_count(first, last) <= SP_RECORDS_PER_BATCH_MAX;
}

void sp_log_run_merge(const uint8_t *first, const uint8_t *last, uint8_t *bytes)
{
    uint8_t *batch = bytes + SP_LOG_FRAME_HEADER_SIZE;

    memcpy(batch, sp_log_frame_payload(first), SP_BATCH_HEADER_SIZE);
    sp_put_be32(batch + BATCH_AT_LAST_OFFSET_DELTA, (uint32_t)merged_count(first, last) - 1);
    seal_batch(batch);
    sp_log_frame_compact(last, SP_BATCH_HEADER_SIZE, bytes);
}

/* ---- packing --------------------------------------------------------------------------------- */

void sp_log_run_init(struct sp_log_run *run, uint32_t chain)
{
    *run = (struct sp_log_run){ .chain = chain };
    sp_buf_init(&run->frames, (size_t)SP_LOG_RUN_FRAMES_MAX * SP_LOG_RUN_FRAME_SIZE);
    sp_buf_init(&run->entries, (size_t)SP_LOG_RUN_FRAMES_MAX * SP_RUN_ENTRY_SIZE_MAX);
}

void sp_log_run_deinit(struct sp_log_run *run)
{
    sp_buf_deinit(&run->frames);
    sp_buf_deinit(&run->entries);
    run->count = 0;
}

/* An emptied frame whose batch says of its leader what the frame says of its term. */
static bool is_emptied(const struct sp_log_frame *frame, const uint8_t *bytes)
{
    struct sp_batch_facts facts;

    if (!frame->compacted || frame->length != EMPTIED_LENGTH) {
        return false;
    }
    sp_batch_facts_read(sp_log_frame_payload(bytes), &facts);
    return facts.record_count == 0 && (uint32_t)facts.leader_epoch == (uint32_t)frame->term;
}

static bool takes(const struct sp_log_run *run, const struct sp_log_frame *frame)
{
    return run->count == 0 || (run->count < SP_LOG_RUN_FRAMES_MAX && frame->term == run->term &&
                               frame->index == run->next_index);
}

static int add_frame(struct sp_log_run *run, const struct sp_log_frame *frame, const uint8_t *bytes)
{
    uint8_t encoded[SP_RUN_ENTRY_SIZE_MAX];
    struct sp_run_entry entry;

    read_entry(frame, bytes, &entry);
    if (run->count == 0) {
        run->term = frame->term;
        run->chain_before = run->chain;
        run->state = (struct sp_run_state){ .append_time_ms = frame->append_time_ms };
    }
    size_t size = sp_run_entry_encode(&run->state, &entry, encoded);
    int rv = sp_buf_append(&run->entries, encoded, size);
    if (rv == 0) {
        rv = sp_buf_append(&run->frames, bytes, SP_LOG_RUN_FRAME_SIZE);
    }
    if (rv == 0) {
        run->count += 1;
        run->next_index = frame->index + 1;
        run->state = entry.state;
    }
    return rv;
}

/* Writes the run that waits at `bytes`, which has room for it. */
static void encode_run(const struct sp_log_run *run, uint32_t length, uint8_t *bytes)
{
    const uint8_t *first = run->frames.bytes;
    size_t end = AT_ENTRIES + run->entries.size;

    memcpy(bytes, first, SP_LOG_FRAME_HEADER_SIZE); /* group, term, index, time */
    bytes[FRAME_AT_KIND] = SP_LOG_RUN_KIND;
    sp_put_u16(bytes + FRAME_AT_FLAGS, 0);
    sp_put_u32(bytes + FRAME_AT_LENGTH, length);
    sp_put_u32(bytes + FRAME_AT_CHAIN, run->chain);
    sp_put_u32(bytes + AT_COUNT, run->count);
    sp_put_u32(bytes + AT_CHAIN_BEFORE, run->chain_before);
    sp_put_u64(bytes + AT_BASE_OFFSET,
               sp_get_be64(sp_log_frame_payload(first) + BATCH_AT_BASE_OFFSET));
    memcpy(bytes + AT_ENTRIES, run->entries.bytes, run->entries.size);
    memset(bytes + end, 0, sp_log_frame_size(length) - end);
    sp_put_u32(bytes + FRAME_AT_CRC, run_crc(bytes, length));
}

/* It takes the place of what it was made of, so it must expand to that. */
static int prove(const struct sp_log_run *run, const uint8_t *bytes, size_t size)
{
    struct sp_blob *blob = NULL;
    int rv = sp_log_run_expand(bytes, size, &blob);

    if (rv == 0 && (blob->size != run->frames.size ||
                    memcmp(blob->bytes, run->frames.bytes, blob->size) != 0)) {
        rv = SPATE_ERR_INTERNAL;
    }
    sp_blob_unref(blob);
    return rv == 0 || rv == SPATE_ERR_NOMEM ? rv : SPATE_ERR_INTERNAL;
}

static int append_run(const struct sp_log_run *run, struct sp_buf *out)
{
    uint32_t length = PREFIX_SIZE + (uint32_t)run->entries.size;
    size_t size = sp_log_frame_size(length);
    uint8_t *bytes = NULL;
    int rv = sp_buf_reserve(out, size, &bytes);

    if (rv == 0) {
        encode_run(run, length, bytes);
        rv = prove(run, bytes, size);
    }
    if (rv == 0) {
        sp_buf_grow(out, size);
    }
    return rv;
}

int sp_log_run_end(struct sp_log_run *run, struct sp_buf *out)
{
    int rv = 0;

    if (run->count == 1) {
        rv = sp_buf_append(out, run->frames.bytes, run->frames.size);
    } else if (run->count > 1) {
        rv = append_run(run, out);
    }
    run->count = 0;
    sp_buf_clear(&run->frames);
    sp_buf_clear(&run->entries);
    return rv;
}

int sp_log_run_put(struct sp_log_run *run, const uint8_t *bytes, size_t size, struct sp_buf *out)
{
    struct sp_log_frame frame;
    int rv = sp_log_frame_decode(bytes, size, &frame);

    if (rv != 0) {
        return rv;
    }
    bool emptied = is_emptied(&frame, bytes);
    if (!emptied || !takes(run, &frame)) {
        rv = sp_log_run_end(run, out);
    }
    if (rv == 0) {
        rv = emptied ? add_frame(run, &frame, bytes) : sp_buf_append(out, bytes, size);
    }
    run->chain = frame.chain;
    return rv;
}
