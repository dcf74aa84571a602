#include "wire/batch.h"

#include "base/crc32c.h"
#include "batch_golden.h"
#include "wire_test.h"

#define BOUND 65536

static int validate(const uint8_t *bytes, size_t size)
{
    struct sp_batch_header header;

    return sp_batch_validate_deep(bytes, size, BOUND, BOUND, &header);
}

/* Lets the crc of a changed batch match again. */
static void seal(uint8_t *bytes, size_t size)
{
    uint32_t crc = sp_crc32c(0, bytes + 21, size - 21);

    for (size_t i = 0; i < 4; i++) {
        bytes[17 + i] = (uint8_t)(crc >> (24 - 8 * i));
    }
}

static void test_batch_golden_header_is_read(void **state)
{
    struct sp_batch_header header;

    (void)state;
    assert_int_equal(sp_batch_validate(golden_lz4, sizeof golden_lz4, sizeof golden_lz4, &header),
                     0);
    assert_int_equal(header.base_offset, 0);
    assert_int_equal(header.size_bytes, sizeof golden_lz4);
    assert_int_equal(header.leader_epoch, 0);
    assert_true(header.crc == 0xafc78cf4);
    assert_int_equal(header.compression, SP_COMPRESSION_LZ4);
    assert_false(header.log_append_time);
    assert_false(header.transactional);
    assert_false(header.control);
    assert_int_equal(header.last_offset_delta, 2);
    assert_true(header.base_timestamp_ms == 1700000000000);
    assert_true(header.max_timestamp_ms == 1700000000002);
    assert_int_equal(header.producer_id, 4711);
    assert_int_equal(header.producer_epoch, 2);
    assert_int_equal(header.base_sequence, 37);
    assert_int_equal(header.record_count, 3);
}

static void test_batch_golden_records_are_read(void **state)
{
    struct sp_batch_reader reader;
    struct sp_record_view record;
    struct sp_record_header header;
    size_t position = 0;

    (void)state;
    assert_int_equal(sp_batch_reader_init(&reader, golden_plain, sizeof golden_plain, BOUND), 0);
    assert_true(sp_batch_reader_next(&reader, &record));
    assert_int_equal(record.offset, 0);
    assert_true(record.timestamp_ms == 1700000000123);
    check_bytes(record.key, "key");
    check_bytes(record.value, "value");
    assert_int_equal(record.header_count, 2);
    assert_true(sp_record_header_next(&record, &position, &header));
    check_bytes(header.name, "source");
    check_bytes(header.value, "sensor-7");
    assert_true(sp_record_header_next(&record, &position, &header));
    check_bytes(header.name, "n");
    check_null(header.value);
    assert_false(sp_record_header_next(&record, &position, &header));
    assert_true(sp_batch_reader_next(&reader, &record));
    assert_true(record.timestamp_ms == 1700000000100);
    check_null(record.key);
    check_bytes(record.value, "");
    assert_true(sp_batch_reader_next(&reader, &record));
    assert_int_equal(record.offset, 2);
    check_bytes(record.key, "");
    check_null(record.value);
    assert_false(sp_batch_reader_next(&reader, &record));
    assert_int_equal(sp_batch_reader_status(&reader), 0);
    sp_batch_reader_deinit(&reader);
    sp_batch_reader_deinit(&reader);
}

static void test_batch_golden_lz4_records_are_read(void **state)
{
    struct sp_batch_reader reader;
    struct sp_record_view record;

    (void)state;
    assert_int_equal(sp_batch_reader_init(&reader, golden_lz4, sizeof golden_lz4, BOUND), 0);
    for (int i = 0; i < 3; i++) {
        assert_true(sp_batch_reader_next(&reader, &record));
        assert_int_equal(record.offset, i);
        assert_int_equal(record.key.bytes[1], '0' + i);
        assert_int_equal(record.value.size, 40);
    }
    assert_false(sp_batch_reader_next(&reader, &record));
    assert_int_equal(sp_batch_reader_status(&reader), 0);
    sp_batch_reader_deinit(&reader);
}

static void check_prefixes(const uint8_t *golden, size_t size)
{
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *copy = exact_copy(golden, cut);
        struct sp_batch_reader reader;
        assert_int_equal(validate(copy, cut), SPATE_ERR_MALFORMED);
        assert_int_equal(sp_batch_reader_init(&reader, copy, cut, BOUND), SPATE_ERR_MALFORMED);
        free(copy);
    }
    assert_int_equal(validate(golden, size), 0);
}

static void test_batch_every_truncated_prefix_refused(void **state)
{
    (void)state;
    check_prefixes(golden_plain, sizeof golden_plain);
    check_prefixes(golden_lz4, sizeof golden_lz4);
}

/* The same with a size and a crc that fit the prefix: now the records must give it away. */
static void test_batch_every_resealed_prefix_refused(void **state)
{
    static const struct {
        const uint8_t *bytes;
        size_t size;
    } goldens[] = { { golden_plain, sizeof golden_plain }, { golden_lz4, sizeof golden_lz4 } };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        for (size_t cut = SP_BATCH_HEADER_SIZE; cut < goldens[i].size; cut++) {
            uint8_t *copy = exact_copy(goldens[i].bytes, cut);
            copy[11] = (uint8_t)(cut - 12);
            seal(copy, cut);
            assert_int_equal(validate(copy, cut), SPATE_ERR_CORRUPT);
            free(copy);
        }
    }
}

static void test_batch_every_flipped_bit_refused(void **state)
{
    uint8_t copy[sizeof golden_plain];

    (void)state;
    for (size_t bit = 8 * 8; bit < 8 * sizeof copy; bit++) {
        memcpy(copy, golden_plain, sizeof copy);
        copy[bit / 8] ^= (uint8_t)(1U << bit % 8);
        bool set_by_leader = bit / 8 >= 12 && bit / 8 < 16;
        assert_int_equal(validate(copy, sizeof copy) == 0, set_by_leader);
    }
}

/* One change, then a crc that matches. */
static int validate_changed(size_t position, uint8_t value)
{
    uint8_t copy[sizeof golden_plain];

    memcpy(copy, golden_plain, sizeof copy);
    copy[position] = value;
    seal(copy, sizeof copy);
    return validate(copy, sizeof copy);
}

static void test_batch_header_rules_are_checked(void **state)
{
    (void)state;
    assert_int_equal(validate_changed(16, 1), SPATE_ERR_UNSUPPORTED); /* magic */
    assert_int_equal(validate_changed(22, 1), SPATE_ERR_UNSUPPORTED); /* gzip */
    assert_int_equal(validate_changed(22, 2), SPATE_ERR_UNSUPPORTED); /* snappy */
    assert_int_equal(validate_changed(22, 4), SPATE_ERR_UNSUPPORTED); /* zstd */
    assert_int_equal(validate_changed(22, 7), SPATE_ERR_UNSUPPORTED); /* unknown */
    assert_int_equal(validate_changed(22, 0x20), SPATE_ERR_INVALID);  /* control */
    assert_int_equal(validate_changed(26, 1), SPATE_ERR_CORRUPT);     /* last offset delta */
    assert_int_equal(validate_changed(60, 2), SPATE_ERR_CORRUPT);     /* record count */
    assert_int_equal(validate_changed(57, 0x80), SPATE_ERR_CORRUPT);  /* negative count */
    assert_int_equal(validate_changed(43, 0x80), SPATE_ERR_INVALID);  /* producer id */
    assert_int_equal(validate_changed(22, 0x08), 0);                  /* log append time */
    assert_int_equal(validate(golden_transactional, sizeof golden_transactional),
                     SPATE_ERR_INVALID);
    assert_int_equal(sp_batch_validate(golden_plain, sizeof golden_plain, 100, NULL),
                     SPATE_ERR_TOO_LARGE);
}

static void test_batch_record_rules_are_checked(void **state)
{
    (void)state;
    assert_int_equal(validate_changed(61, 0x40), SPATE_ERR_CORRUPT); /* record size less one */
    assert_int_equal(validate_changed(61, 0xff), SPATE_ERR_CORRUPT); /* size of two bytes */
    assert_int_equal(validate_changed(64, 0x02), SPATE_ERR_CORRUPT); /* offset delta 1 */
    assert_int_equal(validate_changed(65, 0x03), SPATE_ERR_CORRUPT); /* key size -2 */
    assert_int_equal(validate_changed(65, 0x7e), SPATE_ERR_CORRUPT); /* key size 63 */
    assert_int_equal(validate_changed(75, 0x06), SPATE_ERR_CORRUPT); /* three headers */
    assert_int_equal(validate_changed(75, 0x01), SPATE_ERR_CORRUPT); /* minus one header */
    assert_int_equal(validate_changed(76, 0x01), SPATE_ERR_CORRUPT); /* null header name */
    assert_int_equal(validate_changed(62, 0x01), 0);                 /* attributes are free */
}

/* The golden batch and one byte more, with `record_size` as the last record's size field. */
static int validate_longer(uint8_t record_size)
{
    uint8_t longer[sizeof golden_plain + 1] = { 0 };

    memcpy(longer, golden_plain, sizeof golden_plain);
    longer[11] += 1;
    longer[sizeof golden_plain - 8] = record_size;
    seal(longer, sizeof longer);
    return validate(longer, sizeof longer);
}

static void test_batch_leftover_bytes_refused(void **state)
{
    (void)state;
    assert_int_equal(validate_longer(0x0e), SPATE_ERR_CORRUPT); /* behind the last record */
    assert_int_equal(validate_longer(0x10), SPATE_ERR_CORRUPT); /* within it */
}

static void test_batch_producer_without_numbers_refused(void **state)
{
    uint8_t copy[sizeof golden_lz4];

    (void)state;
    for (size_t position = 51; position <= 53; position += 2) { /* epoch, sequence */
        memcpy(copy, golden_lz4, sizeof copy);
        copy[position] = 0x80;
        seal(copy, sizeof copy);
        assert_int_equal(validate(copy, sizeof copy), SPATE_ERR_INVALID);
    }
}

static void test_batch_zero_records_refused(void **state)
{
    uint8_t copy[SP_BATCH_HEADER_SIZE];

    (void)state;
    memcpy(copy, golden_plain, sizeof copy);
    copy[11] = SP_BATCH_HEADER_SIZE - 12;
    memset(copy + 23, 0xff, 4); /* last offset delta -1 */
    memset(copy + 57, 0, 4);
    seal(copy, sizeof copy);
    assert_int_equal(validate(copy, sizeof copy), SPATE_ERR_CORRUPT);
}

static void test_batch_too_many_records_refused(void **state)
{
    uint8_t copy[sizeof golden_plain];
    uint32_t count = SP_RECORDS_PER_BATCH_MAX + 1;

    (void)state;
    memcpy(copy, golden_plain, sizeof copy);
    for (size_t i = 0; i < 4; i++) {
        copy[23 + i] = (uint8_t)((count - 1) >> (24 - 8 * i));
        copy[57 + i] = (uint8_t)(count >> (24 - 8 * i));
    }
    seal(copy, sizeof copy);
    assert_int_equal(validate(copy, sizeof copy), SPATE_ERR_TOO_LARGE);
}

static void test_batch_sums_beyond_64_bits_refused(void **state)
{
    uint8_t copy[sizeof golden_plain];

    (void)state;
    memcpy(copy, golden_plain, sizeof copy);
    memset(copy, 0xff, 8);
    copy[0] = 0x7f; /* base offset INT64_MAX: the second record has none */
    assert_int_equal(validate(copy, sizeof copy), SPATE_ERR_CORRUPT);
    memcpy(copy, golden_plain, sizeof copy);
    memset(copy + 27, 0, 8);
    copy[27] = 0x80; /* base timestamp INT64_MIN, a later delta is negative */
    seal(copy, sizeof copy);
    assert_int_equal(validate(copy, sizeof copy), SPATE_ERR_CORRUPT);
}

static void test_batch_log_append_time_overrules(void **state)
{
    uint8_t copy[sizeof golden_plain];
    struct sp_batch_reader reader;
    struct sp_record_view record;

    (void)state;
    memcpy(copy, golden_plain, sizeof copy);
    copy[22] = 0x08;
    seal(copy, sizeof copy);
    assert_int_equal(sp_batch_reader_init(&reader, copy, sizeof copy, BOUND), 0);
    while (sp_batch_reader_next(&reader, &record)) {
        assert_true(record.timestamp_ms == 1700000001000);
    }
    assert_int_equal(sp_batch_reader_status(&reader), 0);
    sp_batch_reader_deinit(&reader);
}

static void test_batch_lz4_without_deep_is_not_opened(void **state)
{
    uint8_t copy[sizeof golden_lz4];

    (void)state;
    memcpy(copy, golden_lz4, sizeof copy);
    copy[SP_BATCH_HEADER_SIZE] ^= 1; /* the magic number of the lz4 frame */
    seal(copy, sizeof copy);
    assert_int_equal(sp_batch_validate(copy, sizeof copy, BOUND, NULL), 0);
    assert_int_equal(validate(copy, sizeof copy), SPATE_ERR_CORRUPT);
    assert_int_equal(sp_batch_validate_deep(golden_lz4, sizeof golden_lz4, BOUND, 100, NULL),
                     SPATE_ERR_TOO_LARGE);
}

static void test_batch_set_offset_keeps_the_crc(void **state)
{
    uint8_t copy[sizeof golden_plain];
    struct sp_batch_header header;

    (void)state;
    memcpy(copy, golden_plain, sizeof copy);
    sp_batch_set_offset(copy, 0x0102030405060708, 0x11121314);
    assert_memory_equal(copy, "\1\2\3\4\5\6\7\10", 8);
    assert_memory_equal(copy + 8, golden_plain + 8, 4);
    assert_memory_equal(copy + 12, "\x11\x12\x13\x14", 4);
    assert_memory_equal(copy + 16, golden_plain + 16, sizeof copy - 16);
    assert_int_equal(sp_batch_validate(copy, sizeof copy, BOUND, &header), 0);
    assert_true(header.base_offset == 0x0102030405060708);
    assert_int_equal(header.leader_epoch, 0x11121314);
}

static void test_batch_next_steps_over_batches(void **state)
{
    uint8_t both[sizeof golden_plain + sizeof golden_lz4];
    struct sp_bytes batch;

    (void)state;
    memcpy(both, golden_plain, sizeof golden_plain);
    memcpy(both + sizeof golden_plain, golden_lz4, sizeof golden_lz4);
    for (size_t size = 0; size <= sizeof both; size++) {
        size_t position = 0;
        size_t first = sizeof golden_plain;
        int expected = size == 0 ? SPATE_ERR_NOT_FOUND : size < first ? SPATE_ERR_AGAIN : 0;
        assert_int_equal(sp_batch_next(both, size, &position, &batch), expected);
        if (expected != 0) {
            assert_int_equal(position, 0);
            continue;
        }
        assert_ptr_equal(batch.bytes, both);
        assert_int_equal(batch.size, first);
        expected = size == first ? SPATE_ERR_NOT_FOUND : size < sizeof both ? SPATE_ERR_AGAIN : 0;
        assert_int_equal(sp_batch_next(both, size, &position, &batch), expected);
    }
    assert_int_equal(batch.size, sizeof golden_lz4);
    size_t position = 0;
    both[8] = 0x80;
    assert_int_equal(sp_batch_next(both, sizeof both, &position, &batch), SPATE_ERR_MALFORMED);
    both[8] = 0;
    both[11] = 48;
    assert_int_equal(sp_batch_next(both, sizeof both, &position, &batch), SPATE_ERR_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch_golden_header_is_read),
        cmocka_unit_test(test_batch_golden_records_are_read),
        cmocka_unit_test(test_batch_golden_lz4_records_are_read),
        cmocka_unit_test(test_batch_every_truncated_prefix_refused),
        cmocka_unit_test(test_batch_every_resealed_prefix_refused),
        cmocka_unit_test(test_batch_every_flipped_bit_refused),
        cmocka_unit_test(test_batch_header_rules_are_checked),
        cmocka_unit_test(test_batch_record_rules_are_checked),
        cmocka_unit_test(test_batch_leftover_bytes_refused),
        cmocka_unit_test(test_batch_producer_without_numbers_refused),
        cmocka_unit_test(test_batch_zero_records_refused),
        cmocka_unit_test(test_batch_too_many_records_refused),
        cmocka_unit_test(test_batch_sums_beyond_64_bits_refused),
        cmocka_unit_test(test_batch_log_append_time_overrules),
        cmocka_unit_test(test_batch_lz4_without_deep_is_not_opened),
        cmocka_unit_test(test_batch_set_offset_keeps_the_crc),
        cmocka_unit_test(test_batch_next_steps_over_batches),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
