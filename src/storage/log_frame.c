#include "storage/log_frame.h"

#include <stdbool.h>
#include <string.h>

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "spate/error.h"
#include "storage/batch_places.h"
#include "storage/frame_places.h"
#include "storage/little_endian.h"

/* Places in the trailer of a compacted frame. */
enum {
    TRAILER_AT_LENGTH = 0,
    TRAILER_AT_CRC = 4,
};

_Static_assert(FRAME_AT_CHAIN + 4 == SP_LOG_FRAME_HEADER_SIZE, "the header ends with the chain");
_Static_assert(BATCH_AT_CRC + 4 == SP_BATCH_COVERED_SIZE, "the frame covers the batch's checksum");
_Static_assert(TRAILER_AT_CRC + 4 == SP_COMPACTED_TRAILER_SIZE, "the trailer ends with the crc");
_Static_assert(BATCH_AT_COUNT + 4 == SP_BATCH_HEADER_SIZE, "records follow their count");

static bool is_compacted(const uint8_t *bytes)
{
    return sp_get_u16(bytes + FRAME_AT_FLAGS) == SP_LOG_FRAME_COMPACTED;
}

/* A compacted batch is covered whole: its trailer must be, and few bytes are summed twice. */
static size_t covered_size(const uint8_t *bytes, uint32_t length)
{
    if (bytes[FRAME_AT_KIND] == SP_FRAME_BATCH && !is_compacted(bytes) &&
        length > SP_BATCH_COVERED_SIZE) {
        return SP_BATCH_COVERED_SIZE;
    }
    return length;
}

static uint32_t frame_crc(const uint8_t *bytes, uint32_t length)
{
    uint32_t crc = sp_crc32c(0, bytes, FRAME_AT_CRC);

    return sp_crc32c(crc, sp_log_frame_payload(bytes), covered_size(bytes, length));
}

static const uint8_t *trailer_of(const uint8_t *bytes)
{
    uint32_t length = sp_get_u32(bytes + FRAME_AT_LENGTH);

    return sp_log_frame_payload(bytes) + length - SP_COMPACTED_TRAILER_SIZE;
}

uint32_t sp_log_frame_chain(const uint8_t *bytes, uint32_t chain_before)
{
    uint8_t header[FRAME_AT_CHAIN];

    if (bytes[FRAME_AT_KIND] == SP_FRAME_MARKER) {
        return chain_before;
    }
    if (!is_compacted(bytes)) {
        return sp_crc32c(chain_before, bytes, FRAME_AT_CHAIN);
    }
    /* The header as it was: all but flags, length and crc still is. */
    memcpy(header, bytes, FRAME_AT_CHAIN);
    sp_put_u16(header + FRAME_AT_FLAGS, 0);
    sp_put_u32(header + FRAME_AT_LENGTH, sp_get_u32(trailer_of(bytes) + TRAILER_AT_LENGTH));
    sp_put_u32(header + FRAME_AT_CRC, sp_get_u32(trailer_of(bytes) + TRAILER_AT_CRC));
    return sp_crc32c(chain_before, header, FRAME_AT_CHAIN);
}

void sp_log_frame_header_encode(const struct sp_log_frame *frame, uint8_t *bytes)
{
    bytes[FRAME_AT_VERSION] = SP_LOG_FRAME_VERSION;
    bytes[FRAME_AT_KIND] = (uint8_t)frame->kind;
    sp_put_u16(bytes + FRAME_AT_FLAGS, frame->compacted ? SP_LOG_FRAME_COMPACTED : 0);
    sp_put_u32(bytes + FRAME_AT_LENGTH, frame->length);
    sp_put_u64(bytes + FRAME_AT_GROUP_ID, frame->group_id);
    sp_put_u64(bytes + FRAME_AT_TERM, frame->term);
    sp_put_u64(bytes + FRAME_AT_INDEX, frame->index);
    sp_put_u64(bytes + FRAME_AT_APPEND_TIME, (uint64_t)frame->append_time_ms);
    sp_put_u32(bytes + FRAME_AT_CRC, frame->crc);
    sp_put_u32(bytes + FRAME_AT_CHAIN, frame->chain);
}

void sp_log_frame_seal(struct sp_log_frame *frame, uint32_t chain_before, uint8_t *bytes)
{
    size_t end = SP_LOG_FRAME_HEADER_SIZE + (size_t)frame->length;

    SP_ASSERT(frame->length <= SP_BATCH_BYTES_MAX);
    frame->compacted = false;
    sp_log_frame_header_encode(frame, bytes);
    memset(bytes + end, 0, sp_log_frame_size(frame->length) - end);
    frame->crc = frame_crc(bytes, frame->length);
    sp_put_u32(bytes + FRAME_AT_CRC, frame->crc);
    frame->chain = sp_log_frame_chain(bytes, chain_before);
    sp_put_u32(bytes + FRAME_AT_CHAIN, frame->chain);
}

void sp_log_frame_original(const uint8_t *bytes, uint32_t *out_length, uint32_t *out_crc)
{
    SP_ASSERT(is_compacted(bytes));
    *out_length = sp_get_u32(trailer_of(bytes) + TRAILER_AT_LENGTH);
    *out_crc = sp_get_u32(trailer_of(bytes) + TRAILER_AT_CRC);
}

void sp_log_frame_compact(const uint8_t *original, size_t batch_size, uint8_t *bytes)
{
    uint32_t length = (uint32_t)batch_size + SP_COMPACTED_TRAILER_SIZE;
    uint8_t *trailer = bytes + SP_LOG_FRAME_HEADER_SIZE + batch_size;
    size_t end = SP_LOG_FRAME_HEADER_SIZE + (size_t)length;

    SP_ASSERT(original[FRAME_AT_KIND] == SP_FRAME_BATCH);
    SP_ASSERT(batch_size >= SP_BATCH_HEADER_SIZE && batch_size <= SP_BATCH_BYTES_MAX);
    if (is_compacted(original)) {
        memcpy(trailer, trailer_of(original), SP_COMPACTED_TRAILER_SIZE);
    } else {
        memcpy(trailer + TRAILER_AT_LENGTH, original + FRAME_AT_LENGTH, 4);
        memcpy(trailer + TRAILER_AT_CRC, original + FRAME_AT_CRC, 4);
    }
    memcpy(bytes, original, SP_LOG_FRAME_HEADER_SIZE);
    sp_put_u16(bytes + FRAME_AT_FLAGS, SP_LOG_FRAME_COMPACTED);
    sp_put_u32(bytes + FRAME_AT_LENGTH, length);
    memset(bytes + end, 0, sp_log_frame_size(length) - end);
    sp_put_u32(bytes + FRAME_AT_CRC, frame_crc(bytes, length));
}

/* A batch may be marked as compacted, and its trailer then comes on top of what it may have. */
static bool length_fits(uint8_t kind, uint16_t flags, uint32_t length)
{
    if (flags == SP_LOG_FRAME_COMPACTED) {
        return kind == SP_FRAME_BATCH &&
               length >= SP_BATCH_HEADER_SIZE + SP_COMPACTED_TRAILER_SIZE &&
               length <= SP_BATCH_BYTES_MAX + SP_COMPACTED_TRAILER_SIZE;
    }
    bool empty_kind = kind == SP_FRAME_NOOP || kind == SP_FRAME_MARKER;
    return flags == 0 && length <= SP_BATCH_BYTES_MAX && (!empty_kind || length == 0);
}

int sp_log_frame_decode(const uint8_t *bytes, size_t size, struct sp_log_frame *out_frame)
{
    if (size < SP_LOG_FRAME_HEADER_SIZE) {
        return SPATE_ERR_AGAIN;
    }
    uint8_t kind = bytes[FRAME_AT_KIND];
    uint16_t flags = sp_get_u16(bytes + FRAME_AT_FLAGS);
    uint32_t length = sp_get_u32(bytes + FRAME_AT_LENGTH);

    if (bytes[FRAME_AT_VERSION] != SP_LOG_FRAME_VERSION || kind < SP_FRAME_BATCH ||
        kind > SP_FRAME_MARKER || !length_fits(kind, flags, length)) {
        return SPATE_ERR_CORRUPT;
    }
    *out_frame = (struct sp_log_frame){
        .kind = (enum sp_frame_kind)kind,
        .length = length,
        .group_id = sp_get_u64(bytes + FRAME_AT_GROUP_ID),
        .term = sp_get_u64(bytes + FRAME_AT_TERM),
        .index = sp_get_u64(bytes + FRAME_AT_INDEX),
        .append_time_ms = (int64_t)sp_get_u64(bytes + FRAME_AT_APPEND_TIME),
        .crc = sp_get_u32(bytes + FRAME_AT_CRC),
        .chain = sp_get_u32(bytes + FRAME_AT_CHAIN),
        .compacted = flags == SP_LOG_FRAME_COMPACTED,
    };
    return 0;
}

/* Records are missing only from a batch that was compacted. */
static bool counts_are_sound(const struct sp_batch_facts *facts, bool compacted)
{
    if (facts->offset_count < 1 || facts->offset_count > SP_RECORDS_PER_BATCH_MAX ||
        facts->record_count < 0 || facts->record_count > facts->offset_count) {
        return false;
    }
    return compacted || facts->record_count == facts->offset_count;
}

/* The batch's own checksum and what the log relies on: its size, its counts, its offsets. */
static bool batch_is_sound(const uint8_t *batch, uint32_t length, bool compacted)
{
    struct sp_batch_facts facts;

    if (length < SP_BATCH_HEADER_SIZE || batch[BATCH_AT_MAGIC] != BATCH_MAGIC ||
        sp_get_be32(batch + BATCH_AT_LENGTH) != length - BATCH_LENGTH_BEGIN) {
        return false;
    }
    sp_batch_facts_read(batch, &facts);
    if (!counts_are_sound(&facts, compacted) || facts.base_offset < 0 ||
        facts.base_offset > INT64_MAX - facts.offset_count) {
        return false;
    }
    return sp_get_be32(batch + BATCH_AT_CRC) ==
           sp_crc32c(0, batch + SP_BATCH_COVERED_SIZE, length - SP_BATCH_COVERED_SIZE);
}

static bool padding_is_zero(const uint8_t *bytes, uint32_t length)
{
    for (size_t i = SP_LOG_FRAME_HEADER_SIZE + (size_t)length; i < sp_log_frame_size(length); i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

int sp_log_frame_verify(const uint8_t *bytes, size_t size, struct sp_log_frame *out_frame)
{
    struct sp_log_frame frame;
    int rv = sp_log_frame_decode(bytes, size, &frame);

    if (rv != 0) {
        return rv;
    }
    if (size < sp_log_frame_size(frame.length)) {
        return SPATE_ERR_AGAIN;
    }
    if (frame.crc != frame_crc(bytes, frame.length) || !padding_is_zero(bytes, frame.length)) {
        return SPATE_ERR_CORRUPT;
    }
    if (frame.kind == SP_FRAME_BATCH && !batch_is_sound(sp_log_frame_payload(bytes),
                                                        sp_log_frame_batch_size(&frame),
                                                        frame.compacted)) {
        return SPATE_ERR_CORRUPT;
    }
    *out_frame = frame;
    return 0;
}

void sp_batch_facts_read(const uint8_t *batch, struct sp_batch_facts *out_facts)
{
    uint32_t last_offset_delta = sp_get_be32(batch + BATCH_AT_LAST_OFFSET_DELTA);

    *out_facts = (struct sp_batch_facts){
        .base_offset = (int64_t)sp_get_be64(batch + BATCH_AT_BASE_OFFSET),
        .max_timestamp_ms = (int64_t)sp_get_be64(batch + BATCH_AT_MAX_TIMESTAMP),
        .producer_id = (int64_t)sp_get_be64(batch + BATCH_AT_PRODUCER_ID),
        .producer_epoch = (int16_t)sp_get_be16(batch + BATCH_AT_PRODUCER_EPOCH),
        .base_sequence = (int32_t)sp_get_be32(batch + BATCH_AT_BASE_SEQUENCE),
        .record_count = (int32_t)sp_get_be32(batch + BATCH_AT_COUNT),
        .offset_count = (int32_t)(last_offset_delta + 1), /* 0 or less: nonsense */
        .leader_epoch = (int32_t)sp_get_be32(batch + BATCH_AT_LEADER_EPOCH),
    };
}

void sp_batch_facts_place(uint8_t *batch, int64_t base_offset, int32_t leader_epoch)
{
    sp_put_be64(batch + BATCH_AT_BASE_OFFSET, (uint64_t)base_offset);
    sp_put_be32(batch + BATCH_AT_LEADER_EPOCH, (uint32_t)leader_epoch);
}
