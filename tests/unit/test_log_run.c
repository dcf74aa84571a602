/* Runs of emptied frames: what goes in comes out, byte for byte; what is not whole is seen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/rand.h"
#include "spate/error.h"
#include "storage/batch_places.h"
#include "storage/little_endian.h"
#include "storage/log_run.h"

#define GROUP_ID 9
#define TERM 3
#define CHAIN 0x1234
#define FRAMES_MAX 3000

/* Frames as a segment has them, side by side. */
struct frames {
    uint8_t bytes[FRAMES_MAX * SP_LOG_RUN_FRAME_SIZE];
    size_t size;
    unsigned count;
    uint64_t term;
    uint64_t index;
    int64_t time;
    int64_t offset;
    uint32_t chain;
};

static struct frames frames;

static void begin(void)
{
    frames =
        (struct frames){ .term = TERM, .index = 7, .time = 1000, .offset = 50, .chain = CHAIN };
}

static void put16(uint8_t *bytes, uint16_t value)
{
    bytes[0] = (uint8_t)(value >> 8);
    bytes[1] = (uint8_t)value;
}

/* What differs from frame to frame. */
struct shape {
    uint16_t attributes;
    uint32_t last_offset_delta;
    int64_t base_timestamp;
    int64_t max_timestamp;
    int64_t producer;
    uint16_t epoch;
    uint32_t sequence;
    uint32_t length; /* of the batch that it was */
};

/* Appends the emptied frame of a batch that was once `shape->length` bytes long. */
static void add(const struct shape *shape)
{
    static uint8_t original[SP_LOG_FRAME_HEADER_SIZE + 4096];
    uint8_t *batch = original + SP_LOG_FRAME_HEADER_SIZE;
    uint8_t *bytes = frames.bytes + frames.size;

    memset(original, 0, sizeof original);
    sp_put_be64(batch + BATCH_AT_BASE_OFFSET, (uint64_t)frames.offset);
    sp_put_be32(batch + BATCH_AT_LENGTH, shape->length - BATCH_LENGTH_BEGIN);
    sp_put_be32(batch + BATCH_AT_LEADER_EPOCH, (uint32_t)frames.term);
    batch[BATCH_AT_MAGIC] = BATCH_MAGIC;
    put16(batch + BATCH_AT_ATTRIBUTES, shape->attributes);
    sp_put_be32(batch + BATCH_AT_LAST_OFFSET_DELTA, shape->last_offset_delta);
    sp_put_be64(batch + BATCH_AT_BASE_TIMESTAMP, (uint64_t)shape->base_timestamp);
    sp_put_be64(batch + BATCH_AT_MAX_TIMESTAMP, (uint64_t)shape->max_timestamp);
    sp_put_be64(batch + BATCH_AT_PRODUCER_ID, (uint64_t)shape->producer);
    put16(batch + BATCH_AT_PRODUCER_EPOCH, shape->epoch);
    sp_put_be32(batch + BATCH_AT_BASE_SEQUENCE, shape->sequence);
    sp_put_be32(batch + BATCH_AT_COUNT, shape->last_offset_delta + 1);
    sp_put_be32(batch + BATCH_AT_CRC, (uint32_t)frames.index * 2654435761u);
    struct sp_log_frame frame = { .kind = SP_FRAME_BATCH,
                                  .length = shape->length,
                                  .group_id = GROUP_ID,
                                  .term = frames.term,
                                  .index = frames.index,
                                  .append_time_ms = frames.time };
    sp_log_frame_seal(&frame, frames.chain, original);
    memcpy(bytes + SP_LOG_FRAME_HEADER_SIZE, batch, SP_BATCH_HEADER_SIZE);
    batch = bytes + SP_LOG_FRAME_HEADER_SIZE;
    sp_put_be32(batch + BATCH_AT_LENGTH, SP_BATCH_HEADER_SIZE - BATCH_LENGTH_BEGIN);
    sp_put_be32(batch + BATCH_AT_COUNT, 0);
    sp_put_be32(batch + BATCH_AT_CRC, sp_crc32c(0, batch + 21, SP_BATCH_HEADER_SIZE - 21));
    sp_log_frame_compact(original, SP_BATCH_HEADER_SIZE, bytes);
    assert_int_equal(sp_log_frame_verify(bytes, SP_LOG_RUN_FRAME_SIZE, &frame), 0);
    frames.size += SP_LOG_RUN_FRAME_SIZE;
    frames.count += 1;
    frames.chain = frame.chain;
    frames.index += 1;
    frames.offset += shape->last_offset_delta + 1;
}

static void add_plain(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        frames.time += 2;
        add(&(struct shape){ .base_timestamp = frames.time - 1,
                             .max_timestamp = frames.time - 1,
                             .producer = 5,
                             .epoch = 1,
                             .sequence = (uint32_t)frames.offset,
                             .length = 100 });
    }
}

/* Puts all frames into what a file would hold. */
static int pack(struct sp_buf *out)
{
    struct sp_log_run run;
    int rv = 0;

    sp_buf_init(out, sizeof frames.bytes);
    sp_log_run_init(&run, CHAIN);
    for (size_t i = 0; i < frames.size && rv == 0; i += SP_LOG_RUN_FRAME_SIZE) {
        rv = sp_log_run_put(&run, frames.bytes + i, SP_LOG_RUN_FRAME_SIZE, out);
    }
    if (rv == 0) {
        rv = sp_log_run_end(&run, out);
    }
    sp_log_run_deinit(&run);
    return rv;
}

/* Reads them back: all must be what they were. How many records stand in the file. */
static unsigned check(const struct sp_buf *packed)
{
    struct sp_log_frame frame;
    size_t position = 0;
    size_t done = 0;
    unsigned records = 0;

    while (position < packed->size) {
        const uint8_t *bytes = packed->bytes + position;
        size_t size = SP_LOG_RUN_FRAME_SIZE;

        if (sp_log_run_begins(bytes)) {
            struct sp_blob *blob = NULL;
            assert_int_equal(sp_log_run_expand(bytes, packed->size - position, &blob), 0);
            assert_int_equal(sp_log_run_size(bytes, &size), 0);
            assert_true(done + blob->size <= frames.size);
            assert_memory_equal(blob->bytes, frames.bytes + done, blob->size);
            done += blob->size;
            sp_blob_unref(blob);
        } else {
            assert_int_equal(sp_log_frame_verify(bytes, size, &frame), 0);
            assert_memory_equal(bytes, frames.bytes + done, size);
            done += size;
        }
        position += size;
        records += 1;
    }
    assert_int_equal(done, frames.size);
    return records;
}

static void test_log_run_golden_bytes(void **state)
{
    /* header of 48 | count 3, chain before, base offset 50 | all of the first: fields, time,
     * base timestamp, producer and epoch, sequence, length, crc | of the others fields, times, crc
     * | padding */
    static const uint8_t golden[] = {
        0x01, 0x06, 0x00, 0x00, 0x2b, 0x00, 0x00, 0x00, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x07, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0xea, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x60, 0x8d,
        0x85, 0x26, 0x45, 0xb0, 0xb0, 0x15, 0x03, 0x00, 0x00, 0x00, 0x34, 0x12, 0x00, 0x00,
        0x32, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x38, 0x00, 0xd2, 0x0f, 0x0a, 0x01,
        0x64, 0xc8, 0x01, 0x29, 0xb5, 0xd3, 0x4a, 0x00, 0x04, 0x04, 0x1a, 0x9e, 0xd6, 0xe8,
        0x00, 0x04, 0x04, 0x9c, 0x1e, 0x2e, 0x0d, 0x00, 0x00, 0x00, 0x00, 0x00
    };
    struct sp_buf out;

    (void)state;
    begin();
    add_plain(3);
    assert_int_equal(pack(&out), 0);
    assert_int_equal(check(&out), 1);
    assert_int_equal(out.size, sizeof golden);
    assert_memory_equal(out.bytes, golden, sizeof golden);
    sp_buf_deinit(&out);
}

static void test_log_run_takes_ten_bytes_a_frame(void **state)
{
    struct sp_buf out;

    (void)state;
    begin();
    add_plain(SP_LOG_RUN_FRAMES_MAX);
    assert_int_equal(pack(&out), 0);
    assert_int_equal(check(&out), 1);
    print_message("%.2f bytes for each emptied frame\n", (double)out.size / frames.count);
    assert_true(out.size < 8 * SP_LOG_RUN_FRAMES_MAX);
    sp_buf_deinit(&out);
}

static void test_log_run_ends_at_its_bound_at_a_term_and_alone_stays_a_frame(void **state)
{
    struct sp_buf out;

    (void)state;
    begin();
    add_plain(SP_LOG_RUN_FRAMES_MAX + 1); /* a run, a frame alone */
    assert_int_equal(pack(&out), 0);
    assert_int_equal(check(&out), 2);
    sp_buf_deinit(&out);
    begin();
    add_plain(5);
    frames.term += 1;
    add_plain(5);
    frames.term += 7;
    add_plain(1);
    assert_int_equal(pack(&out), 0);
    assert_int_equal(check(&out), 3);
    sp_buf_deinit(&out);
}

static void add_any(struct sp_rand *rand)
{
    static const int64_t edges[] = { INT64_MIN, INT64_MAX, -1, 0, 1, 1000, INT32_MAX };
    struct shape shape = {
        .attributes = sp_rand_below(rand, 4) == 0 ? (uint16_t)sp_rand_below(rand, 65536) & 0x18 : 0,
        .last_offset_delta =
            (uint32_t)sp_rand_below(rand, sp_rand_below(rand, 3) == 0 ? 999999 : 2),
        .base_timestamp = edges[sp_rand_below(rand, 7)],
        .max_timestamp = edges[sp_rand_below(rand, 7)],
        .producer = sp_rand_below(rand, 3) == 0 ? edges[sp_rand_below(rand, 7)] : 4,
        .epoch = (uint16_t)sp_rand_below(rand, 3) == 0 ? UINT16_MAX : 2,
        .sequence = sp_rand_below(rand, 3) == 0 ? UINT32_MAX : (uint32_t)frames.offset,
        .length = SP_BATCH_HEADER_SIZE + (uint32_t)sp_rand_below(rand, 3900),
    };

    frames.time += sp_rand_below(rand, 5) == 0 ? 1 << 30 : 0;
    frames.term += sp_rand_below(rand, 60) == 0;
    add(&shape);
}

static void test_log_run_of_any_frames_gives_them_back(void **state)
{
    struct sp_rand rand;
    struct sp_buf out;

    (void)state;
    sp_rand_init(&rand, 3);
    for (unsigned turn = 0; turn < 60; turn++) {
        begin();
        for (unsigned i = 0; i < 300; i++) {
            add_any(&rand);
        }
        assert_int_equal(pack(&out), 0);
        assert_true(check(&out) < 100);
        sp_buf_deinit(&out);
    }
}

static void test_log_run_any_flipped_bit_is_seen(void **state)
{
    struct sp_blob *blob = NULL;
    struct sp_buf out;

    (void)state;
    begin();
    add_plain(20);
    assert_int_equal(pack(&out), 0);
    for (size_t i = 0; i < 8 * out.size; i++) {
        out.bytes[i / 8] ^= (uint8_t)(1 << i % 8);
        int rv = sp_log_run_expand(out.bytes, out.size, &blob);
        assert_true(rv == SPATE_ERR_CORRUPT || rv == SPATE_ERR_AGAIN);
        out.bytes[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    for (size_t size = 0; size < out.size; size++) {
        assert_int_equal(sp_log_run_expand(out.bytes, size, &blob), SPATE_ERR_AGAIN);
    }
    sp_buf_deinit(&out);
}

/* Lets the checksum of a changed run match again. */
static void seal(struct sp_buf *packed)
{
    uint32_t length = sp_get_u32(packed->bytes + 4);
    uint32_t crc = sp_crc32c(0, packed->bytes, 40);

    sp_put_u32(packed->bytes + 40, sp_crc32c(crc, packed->bytes + 48, length));
}

/* Bytes that lie with a checksum that fits: never taken for what they are not. */
static void test_log_run_that_lies_is_refused(void **state)
{
    struct sp_blob *blob = NULL;
    struct sp_buf out;

    (void)state;
    begin();
    add_plain(20);
    assert_int_equal(pack(&out), 0);
    for (size_t i = 48; i < out.size; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            out.bytes[i] ^= (uint8_t)(1 << bit);
            seal(&out);
            if (sp_log_run_expand(out.bytes, out.size, &blob) == 0) {
                /* fields of a batch that no chain covers */
                assert_true(blob->size == frames.size);
                sp_blob_unref(blob);
            }
            out.bytes[i] ^= (uint8_t)(1 << bit);
        }
    }
    sp_put_u32(out.bytes + 48, 1);
    seal(&out);
    assert_int_equal(sp_log_run_expand(out.bytes, out.size, &blob), SPATE_ERR_CORRUPT);
    sp_put_u32(out.bytes + 48, SP_LOG_RUN_FRAMES_MAX + 1);
    seal(&out);
    assert_int_equal(sp_log_run_expand(out.bytes, out.size, &blob), SPATE_ERR_CORRUPT);
    sp_put_u32(out.bytes + 48, 19);
    seal(&out);
    assert_int_equal(sp_log_run_expand(out.bytes, out.size, &blob), SPATE_ERR_CORRUPT);
    sp_buf_deinit(&out);
}

static void test_log_run_merged_is_one_sound_frame(void **state)
{
    uint8_t bytes[SP_LOG_RUN_FRAME_SIZE];
    const uint8_t *last = NULL;
    struct sp_batch_facts facts;
    struct sp_log_frame frame;

    (void)state;
    begin();
    add_plain(10);
    last = frames.bytes + frames.size - SP_LOG_RUN_FRAME_SIZE;
    assert_true(sp_log_run_may_merge(frames.bytes, last));
    sp_log_run_merge(frames.bytes, last, bytes);
    assert_int_equal(sp_log_frame_verify(bytes, sizeof bytes, &frame), 0);
    sp_batch_facts_read(sp_log_frame_payload(bytes), &facts);
    assert_int_equal(facts.base_offset, 50);
    assert_int_equal(facts.offset_count, 10);
    assert_int_equal(facts.record_count, 0);
    add(&(struct shape){ .last_offset_delta = 999990, .length = 100 });
    last = frames.bytes + frames.size - SP_LOG_RUN_FRAME_SIZE;
    assert_false(sp_log_run_may_merge(frames.bytes, last));
    assert_true(sp_log_run_may_merge(frames.bytes + SP_LOG_RUN_FRAME_SIZE, last));
}

static void test_log_run_every_failed_allocation_is_told(void **state)
{
    struct sp_blob *blob = NULL;
    struct sp_buf out;
    int rv = SPATE_ERR_NOMEM;

    (void)state;
    begin();
    add_plain(1500);
    for (uint64_t n = 1; rv != 0; n++) {
        sp_mem_fail_at(n);
        rv = pack(&out);
        sp_mem_fail_at(0);
        assert_true(rv == 0 || rv == SPATE_ERR_NOMEM);
        if (rv == 0) {
            assert_int_equal(check(&out), 2);
            sp_mem_fail_at(1);
            assert_int_equal(sp_log_run_expand(out.bytes, out.size, &blob), SPATE_ERR_NOMEM);
            sp_mem_fail_at(0);
        }
        sp_buf_deinit(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_run_golden_bytes),
        cmocka_unit_test(test_log_run_takes_ten_bytes_a_frame),
        cmocka_unit_test(test_log_run_ends_at_its_bound_at_a_term_and_alone_stays_a_frame),
        cmocka_unit_test(test_log_run_of_any_frames_gives_them_back),
        cmocka_unit_test(test_log_run_any_flipped_bit_is_seen),
        cmocka_unit_test(test_log_run_that_lies_is_refused),
        cmocka_unit_test(test_log_run_merged_is_one_sound_frame),
        cmocka_unit_test(test_log_run_every_failed_allocation_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
