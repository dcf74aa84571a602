#include "storage/run_entry.h"

#include "storage/little_endian.h"

/* Which fields an entry has. */
enum {
    HAS_MAX_TIMESTAMP = 1,
    HAS_ATTRIBUTES = 2,
    HAS_LAST_OFFSET_DELTA = 4,
    HAS_PRODUCER = 8,
    HAS_SEQUENCE = 16,
    HAS_LENGTH = 32,
    HAS_ALL = 63,
};

#define VARINT_SIZE_MAX 10

/* ---- numbers --------------------------------------------------------------------------------- */

static uint64_t fold(uint64_t difference)
{
    return (difference << 1) ^ (0 - (difference >> 63));
}

static uint64_t unfold(uint64_t folded)
{
    return (folded >> 1) ^ (0 - (folded & 1));
}

static size_t put_number(uint8_t *bytes, uint64_t value)
{
    size_t size = 0;

    while (value >= 0x80) {
        bytes[size++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    bytes[size++] = (uint8_t)value;
    return size;
}

static uint8_t take_byte(struct sp_run_source *source)
{
    if (source->bytes == source->end) {
        source->bad = true;
        return 0;
    }
    return *source->bytes++;
}

static uint64_t take_number(struct sp_run_source *source)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < VARINT_SIZE_MAX; i++) {
        uint8_t byte = take_byte(source);

        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if ((byte & 0x80) == 0) {
            return value;
        }
    }
    source->bad = true;
    return 0;
}

/* ---- entries --------------------------------------------------------------------------------- */

/* The numbers of a producer go on from batch to batch; who has none says -1. */
static int32_t next_sequence(const struct sp_run_state *state)
{
    if (state->base_sequence < 0) {
        return state->base_sequence;
    }
    return (int32_t)((uint32_t)state->base_sequence + (uint32_t)state->last_offset_delta + 1);
}

static uint64_t difference(int64_t value, int64_t before)
{
    return fold((uint64_t)value - (uint64_t)before);
}

static int64_t add(int64_t before, uint64_t folded)
{
    return (int64_t)((uint64_t)before + unfold(folded));
}

static uint8_t fields_of(const struct sp_run_state *before, const struct sp_run_entry *entry)
{
    const struct sp_run_state *now = &entry->state;
    bool same_producer =
        now->producer_id == before->producer_id && now->producer_epoch == before->producer_epoch;
    unsigned fields = 0;

    fields |= entry->max_timestamp_ms != now->base_timestamp_ms ? HAS_MAX_TIMESTAMP : 0;
    fields |= now->attributes != before->attributes ? HAS_ATTRIBUTES : 0;
    fields |= now->last_offset_delta != before->last_offset_delta ? HAS_LAST_OFFSET_DELTA : 0;
    fields |= !same_producer ? HAS_PRODUCER : 0;
    fields |= now->base_sequence != next_sequence(before) ? HAS_SEQUENCE : 0;
    fields |= now->length != before->length ? HAS_LENGTH : 0;
    return (uint8_t)fields;
}

size_t sp_run_entry_encode(const struct sp_run_state *before,
                           const struct sp_run_entry *entry,
                           uint8_t *bytes)
{
    const struct sp_run_state *now = &entry->state;
    uint8_t fields = fields_of(before, entry);
    uint8_t *next = bytes;

    *next++ = fields;
    next += put_number(next, difference(now->append_time_ms, before->append_time_ms));
    next += put_number(next, difference(now->base_timestamp_ms, before->base_timestamp_ms));
    if ((fields & HAS_MAX_TIMESTAMP) != 0) {
        next += put_number(next, difference(entry->max_timestamp_ms, now->base_timestamp_ms));
    }
    if ((fields & HAS_ATTRIBUTES) != 0) {
        next += put_number(next, now->attributes);
    }
    if ((fields & HAS_LAST_OFFSET_DELTA) != 0) {
        next += put_number(next, (uint32_t)now->last_offset_delta);
    }
    if ((fields & HAS_PRODUCER) != 0) {
        next += put_number(next, difference(now->producer_id, before->producer_id));
        next += put_number(next, (uint16_t)now->producer_epoch);
    }
    if ((fields & HAS_SEQUENCE) != 0) {
        next += put_number(next, difference(now->base_sequence, before->base_sequence));
    }
    if ((fields & HAS_LENGTH) != 0) {
        next += put_number(next, difference(now->length, before->length));
    }
    sp_put_u32(next, entry->crc);
    return (size_t)(next - bytes) + 4;
}

void sp_run_entry_decode(struct sp_run_source *source,
                         const struct sp_run_state *before,
                         struct sp_run_entry *out_entry)
{
    uint8_t fields = take_byte(source);
    struct sp_run_state *now = &out_entry->state;

    out_entry->state = *before;
    source->bad = source->bad || (fields & ~HAS_ALL) != 0;
    now->append_time_ms = add(before->append_time_ms, take_number(source));
    now->base_timestamp_ms = add(before->base_timestamp_ms, take_number(source));
    out_entry->max_timestamp_ms = now->base_timestamp_ms;
    if ((fields & HAS_MAX_TIMESTAMP) != 0) {
        out_entry->max_timestamp_ms = add(now->base_timestamp_ms, take_number(source));
    }
    if ((fields & HAS_ATTRIBUTES) != 0) {
        now->attributes = (uint16_t)take_number(source);
    }
    if ((fields & HAS_LAST_OFFSET_DELTA) != 0) {
        now->last_offset_delta = (int32_t)take_number(source);
    }
    if ((fields & HAS_PRODUCER) != 0) {
        now->producer_id = add(before->producer_id, take_number(source));
        now->producer_epoch = (int16_t)take_number(source);
    }
    now->base_sequence = next_sequence(before);
    if ((fields & HAS_SEQUENCE) != 0) {
        now->base_sequence = (int32_t)add(before->base_sequence, take_number(source));
    }
    if ((fields & HAS_LENGTH) != 0) {
        now->length = (uint32_t)add(before->length, take_number(source));
    }
    out_entry->crc = 0;
    for (unsigned i = 0; i < 4; i++) {
        out_entry->crc |= (uint32_t)take_byte(source) << (8 * i);
    }
}
