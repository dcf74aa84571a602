#include "storage/log_frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/limits.h"
#include "spate/error.h"
#include "tests/lib/test_batch.h"

/* The command "hi" as frame 5 of term 3 of group 9, on chain 0x11223344. */
static const uint8_t golden_command[56] = {
    1, 4, 0,    0,    2,    0,    0,    0,    9,    0,    0,   0,   0, 0,    0,    0, 3, 0, 0,
    0, 0, 0,    0,    0,    5,    0,    0,    0,    0,    0,   0,   0, 0xe8, 0x03, 0, 0, 0, 0,
    0, 0, 0xa6, 0xf6, 0x60, 0x35, 0xcc, 0x2f, 0xd9, 0x80, 'h', 'i', 0, 0,    0,    0, 0, 0,
};

static size_t seal(enum sp_frame_kind kind, const void *payload, size_t size, uint8_t *bytes)
{
    struct sp_log_frame frame = {
        .kind = kind,
        .length = (uint32_t)size,
        .group_id = 9,
        .term = 3,
        .index = 5,
        .append_time_ms = 1000,
    };

    memset(bytes, 0xee, sp_log_frame_size(frame.length));
    memcpy(bytes + SP_LOG_FRAME_HEADER_SIZE, payload, size);
    sp_log_frame_seal(&frame, 0x11223344, bytes);
    return sp_log_frame_size(frame.length);
}

static size_t seal_batch(uint8_t *bytes)
{
    uint8_t batch[512];
    size_t size = test_batch_make(batch, 3, 20, 12345, 1);

    sp_batch_facts_place(batch, 77, 3);
    return seal(SP_FRAME_BATCH, batch, size, bytes);
}

static void test_log_frame_golden_bytes(void **state)
{
    uint8_t bytes[64];

    (void)state;
    assert_int_equal(seal(SP_FRAME_COMMAND, "hi", 2, bytes), sizeof golden_command);
    assert_memory_equal(bytes, golden_command, sizeof golden_command);
}

static void test_log_frame_checksums_are_those_of_the_format(void **state)
{
    uint8_t bytes[1024];
    uint32_t stored = 0;

    (void)state;
    seal_batch(bytes);
    memcpy(&stored, bytes + 40, 4);
    assert_int_equal(stored, sp_crc32c(sp_crc32c(0, bytes, 40), bytes + 48, 21));
    memcpy(&stored, bytes + 44, 4);
    assert_int_equal(stored, sp_crc32c(0x11223344, bytes, 44));
    assert_int_equal(sp_log_frame_chain(bytes, 0x11223344), stored);
}

static void test_log_frame_sealed_verifies(void **state)
{
    uint8_t bytes[1024];
    struct sp_log_frame frame;
    struct sp_batch_facts facts;
    size_t size = seal_batch(bytes);

    (void)state;
    assert_int_equal(sp_log_frame_verify(bytes, size, &frame), 0);
    assert_int_equal(frame.kind, SP_FRAME_BATCH);
    assert_int_equal(frame.group_id, 9);
    assert_int_equal(frame.term, 3);
    assert_int_equal(frame.index, 5);
    assert_int_equal(frame.append_time_ms, 1000);
    assert_int_equal(sp_log_frame_size(frame.length), size);
    sp_batch_facts_read(sp_log_frame_payload(bytes), &facts);
    assert_int_equal(facts.base_offset, 77);
    assert_int_equal(facts.leader_epoch, 3);
    assert_int_equal(facts.record_count, 3);
    assert_int_equal(facts.max_timestamp_ms, 12345);
    assert_int_equal(facts.producer_id, -1);
}

/* All but the chain, which the frame before decides. */
static void test_log_frame_each_flipped_bit_is_refused(void **state)
{
    uint8_t bytes[1024];
    struct sp_log_frame frame;
    size_t sizes[2];

    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        sizes[kind] =
            kind == 0 ? seal_batch(bytes) : seal(SP_FRAME_COMMAND, "abcdefghijk", 11, bytes);
        for (size_t bit = 0; bit < 8 * sizes[kind]; bit++) {
            if (bit / 8 >= 44 && bit / 8 < 48) {
                continue;
            }
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_int_not_equal(sp_log_frame_verify(bytes, sizes[kind], &frame), 0);
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        assert_int_equal(sp_log_frame_verify(bytes, sizes[kind], &frame), 0);
    }
}

static void test_log_frame_every_cut_asks_for_more(void **state)
{
    uint8_t bytes[1024];
    struct sp_log_frame frame;
    size_t size = seal_batch(bytes);

    (void)state;
    for (size_t cut = 0; cut < size; cut++) {
        assert_int_equal(sp_log_frame_verify(bytes, cut, &frame), SPATE_ERR_AGAIN);
    }
}

static void test_log_frame_lies_are_refused(void **state)
{
    uint8_t bytes[1024];
    uint8_t batch[512];
    struct sp_log_frame frame;

    (void)state;
    /* The length above the bound is refused from the header alone. */
    seal(SP_FRAME_COMMAND, "x", 1, bytes);
    bytes[7] = 0x7f;
    assert_int_equal(sp_log_frame_decode(bytes, 48, &frame), SPATE_ERR_CORRUPT);
    /* A batch that is none, though every frame checksum is right. */
    seal(SP_FRAME_BATCH, "not a batch", 11, bytes);
    assert_int_equal(sp_log_frame_verify(bytes, 64, &frame), SPATE_ERR_CORRUPT);
    size_t size = test_batch_make(batch, 2, 8, 0, 1);
    batch[60] = 0; /* no records, with a right checksum */
    batch[26] = 0xff;
    batch[25] = 0xff;
    batch[24] = 0xff;
    batch[23] = 0xff;
    uint32_t crc = sp_crc32c(0, batch + 21, size - 21);
    for (int i = 0; i < 4; i++) {
        batch[17 + i] = (uint8_t)(crc >> (24 - 8 * i));
    }
    size_t sealed = seal(SP_FRAME_BATCH, batch, size, bytes);
    assert_int_equal(sp_log_frame_verify(bytes, sealed, &frame), SPATE_ERR_CORRUPT);
    /* An offset from which counting would overflow. */
    size = test_batch_make(batch, 2, 8, 0, 1);
    sp_batch_facts_place(batch, INT64_MAX - 1, 1);
    sealed = seal(SP_FRAME_BATCH, batch, size, bytes);
    assert_int_equal(sp_log_frame_verify(bytes, sealed, &frame), SPATE_ERR_CORRUPT);
}

static void test_log_frame_marker_keeps_the_chain(void **state)
{
    uint8_t bytes[64];
    struct sp_log_frame frame;

    (void)state;
    assert_int_equal(seal(SP_FRAME_MARKER, "", 0, bytes), 48);
    assert_int_equal(sp_log_frame_verify(bytes, 48, &frame), 0);
    assert_int_equal(frame.chain, 0x11223344);
    assert_int_equal(sp_log_frame_chain(bytes, 5), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_frame_golden_bytes),
        cmocka_unit_test(test_log_frame_checksums_are_those_of_the_format),
        cmocka_unit_test(test_log_frame_sealed_verifies),
        cmocka_unit_test(test_log_frame_each_flipped_bit_is_refused),
        cmocka_unit_test(test_log_frame_every_cut_asks_for_more),
        cmocka_unit_test(test_log_frame_lies_are_refused),
        cmocka_unit_test(test_log_frame_marker_keeps_the_chain),
    };
    return cmocka_run_group_tests_name("storage/log_frame", tests, NULL, NULL);
}
