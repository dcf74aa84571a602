#include "wire/records.h"

#include "base/crc32c.h"
#include "batch_golden.h"
#include "wire_test.h"

#define BOUND 65536
#define CRC_AT 17 /* in a RecordBatch v2 */
#define RECORD_COUNT_AT 57

static struct sp_batch_builder builder;

static int convert(const char *array, size_t size, struct sp_api_error *error)
{
    sp_batch_builder_reset(&builder);
    return sp_records_to_batch(sp_bytes_of(array, size), 1700000000000, &builder, error);
}

static int setup(void **state)
{
    (void)state;
    sp_batch_builder_init(&builder, BOUND, SP_COMPRESSION_NONE);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sp_batch_builder_deinit(&builder);
    return 0;
}

/* [{"k": "key", "v": bin "value", "t": 1700000000123, "h": [["source", "sensor-7"], ["n", nil]]},
 *  {"v": "", "t": 1700000000100},
 *  {"v": nil, "k": "", "t": 1700000001000, "h": {}}] */
static const char golden_array[] =
    "\x93\x84\xa1k\xa3key\xa1v\xc4\x05value\xa1t\xcf\0\0\x01\x8b\xcf\xe5\x68\x7b\xa1h\x92"
    "\x92\xa6source\xa8sensor-7\x92\xa1n\xc0"
    "\x82\xa1v\xa0\xa1t\xcf\0\0\x01\x8b\xcf\xe5\x68\x64"
    "\x84\xa1v\xc0\xa1k\xa0\xa1t\xcf\0\0\x01\x8b\xcf\xe5\x6b\xe8\xa1h\x80";

static void test_records_become_the_golden_batch(void **state)
{
    struct sp_buf out;

    (void)state;
    sp_buf_init(&out, BOUND);
    assert_int_equal(convert(golden_array, sizeof golden_array - 1, NULL), 0);
    assert_int_equal(sp_batch_builder_finish(&builder, -1, -1, -1, &out), 0);
    sp_batch_set_offset(out.bytes, 0, 0);
    assert_int_equal(out.size, sizeof golden_plain);
    assert_memory_equal(out.bytes, golden_plain, out.size);
    sp_buf_deinit(&out);
}

static void test_records_without_time_get_the_servers(void **state)
{
    (void)state;
    assert_int_equal(convert("\x91\x80", 2, NULL), 0);
    assert_true(builder.base_timestamp_ms == 1700000000000);
    assert_int_equal(convert("\x91\x81\xa1t\x05", 5, NULL), 0);
    assert_int_equal(builder.base_timestamp_ms, 5);
}

static void test_records_headers_as_map_are_taken(void **state)
{
    struct sp_buf out;
    struct sp_batch_reader reader;
    struct sp_record_view record;
    struct sp_record_header header;
    size_t position = 0;

    (void)state;
    sp_buf_init(&out, BOUND);
    assert_int_equal(convert("\x91\x81\xa1h\x81\xa1x\xc4\x01y", 10, NULL), 0);
    assert_int_equal(sp_batch_builder_finish(&builder, -1, -1, -1, &out), 0);
    assert_int_equal(sp_batch_reader_init(&reader, out.bytes, out.size, BOUND), 0);
    assert_true(sp_batch_reader_next(&reader, &record));
    assert_true(sp_record_header_next(&record, &position, &header));
    check_bytes(header.name, "x");
    check_bytes(header.value, "y");
    sp_batch_reader_deinit(&reader);
    sp_buf_deinit(&out);
}

struct fault {
    const char *array;
    size_t size;
    int code;
    const char *text;
};

static void test_records_faults_name_the_record(void **state)
{
    static const struct fault faults[] = {
        { "\x90", 1, SPATE_ERR_INVALID, "field `records` must be an array of at least one record" },
        { "\x80", 1, SPATE_ERR_INVALID, "field `records` must be an array of at least one record" },
        { "\x92\x80\x05", 3, SPATE_ERR_INVALID, "record 1: a map of fields is needed" },
        { "\x91\x81\xa1k\x05",
          5,
          SPATE_ERR_INVALID,
          "record 0: field `k` must be bytes or a text" },
        { "\x91\x82\xa1k\xa0\xa1k\xa0",
          8,
          SPATE_ERR_INVALID,
          "record 0: field `k` is given twice" },
        { "\x91\x81\xa1t\xa1x",
          6,
          SPATE_ERR_INVALID,
          "record 0: field `t` must be a whole number" },
        { "\x91\x81\xa1h\x91\x91\xa1x",
          8,
          SPATE_ERR_INVALID,
          "record 0: field `h` must be a map or an array of [name, value], names in UTF-8" },
        { "\x91\x81\xa1h\x81\xa1\xff\xa0",
          8,
          SPATE_ERR_INVALID,
          "record 0: field `h` must be a map or an array of [name, value], names in UTF-8" },
        { "\x91\x81\xa1h\x05",
          5,
          SPATE_ERR_INVALID,
          "record 0: field `h` must be a map or an array of [name, value], names in UTF-8" },
        { "\x91\x80\x80", 3, SPATE_ERR_MALFORMED, "bytes are left over behind the records" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct sp_api_error error = { "" };
        assert_int_equal(convert(faults[i].array, faults[i].size, &error), faults[i].code);
        assert_string_equal(error.text, faults[i].text);
    }
}

static void test_records_with_too_many_headers_refused(void **state)
{
    struct sp_buf buf;
    struct sp_pack pack;
    struct sp_api_error error;

    (void)state;
    sp_buf_init(&buf, BOUND);
    sp_pack_init(&pack, &buf);
    sp_pack_array(&pack, 1);
    sp_pack_map(&pack, 1);
    sp_pack_text(&pack, "h");
    sp_pack_map(&pack, SP_RECORD_HEADERS_MAX + 1);
    for (int i = 0; i <= SP_RECORD_HEADERS_MAX; i++) {
        sp_pack_text(&pack, "n");
        sp_pack_text(&pack, "v");
    }
    assert_int_equal(convert((const char *)buf.bytes, buf.size, &error), SPATE_ERR_INVALID);
    assert_string_equal(error.text, "record 0: field `h` has too many headers");
    sp_buf_deinit(&buf);
}

static void test_records_every_truncated_prefix_refused(void **state)
{
    (void)state;
    for (size_t cut = 0; cut < sizeof golden_array - 1; cut++) {
        uint8_t *copy = exact_copy((const uint8_t *)golden_array, cut);
        assert_int_equal(convert((const char *)copy, cut, NULL), SPATE_ERR_MALFORMED);
        free(copy);
    }
}

static void test_records_above_the_bound_refused(void **state)
{
    struct sp_api_error error;

    (void)state;
    sp_batch_builder_deinit(&builder);
    sp_batch_builder_init(&builder, sizeof golden_plain - 1, SP_COMPRESSION_NONE);
    assert_int_equal(convert(golden_array, sizeof golden_array - 1, &error), SPATE_ERR_TOO_LARGE);
    assert_string_equal(error.text, "record 2: the records are larger than one batch may be");
    sp_batch_builder_deinit(&builder);
    sp_batch_builder_init(&builder, BOUND, SP_COMPRESSION_NONE);
}

/* The golden batches one after the other, at offsets 10 to 12 and 13 to 15. */
static uint8_t batches[sizeof golden_plain + sizeof golden_lz4];

static void make_batches(void)
{
    memcpy(batches, golden_plain, sizeof golden_plain);
    memcpy(batches + sizeof golden_plain, golden_lz4, sizeof golden_lz4);
    sp_batch_set_offset(batches, 10, 1);
    sp_batch_set_offset(batches + sizeof golden_plain, 13, 1);
}

/* Converts from `offset_min` and checks that the records `first` to `last` come. */
static void check_range(int64_t offset_min, size_t size_max, int64_t first, int64_t last)
{
    struct sp_buf buf;
    struct sp_pack pack;

    sp_buf_init(&buf, BOUND);
    sp_pack_init(&pack, &buf);
    sp_pack_nil(&pack); /* the array need not be the first value */
    assert_int_equal(
        sp_batch_to_records(sp_bytes_of(batches, sizeof batches), offset_min, size_max, &pack), 0);
    assert_int_equal(sp_pack_status(&pack), 0);
    struct sp_cursor cursor = sp_cursor_of(sp_bytes_of(buf.bytes, buf.size));
    assert_true(sp_cursor_nil(&cursor));
    assert_int_equal(sp_cursor_array(&cursor), last - first + 1);
    for (int64_t offset = first; offset <= last; offset++) {
        struct sp_cursor record = sp_cursor_of(sp_cursor_raw(&cursor));
        assert_int_equal(sp_cursor_map(&record), 5);
        check_bytes(sp_cursor_text(&record), "o");
        assert_int_equal(sp_cursor_int(&record, 0, 100), offset);
    }
    assert_int_equal(sp_cursor_finish(&cursor), 0);
    sp_buf_deinit(&buf);
}

static void test_records_from_batches_cover_the_range(void **state)
{
    (void)state;
    make_batches();
    check_range(0, BOUND, 10, 15);
    check_range(10, BOUND, 10, 15);
    check_range(12, BOUND, 12, 15);
    check_range(15, BOUND, 15, 15);
    check_range(16, BOUND, 16, 15);
    check_range(10, 86, 10, 11); /* 5 for the array, 56 and 25 for two records */
    check_range(10, 85, 10, 10);
    check_range(10, 1, 10, 10); /* the first one comes however large it is */
}

static void test_records_from_batch_have_golden_bytes(void **state)
{
    static const char golden[] =
        "\xdd\0\0\0\x02"
        "\x85\xa1o\x0b\xa1t\xcf\0\0\x01\x8b\xcf\xe5\x68\x64\xa1k\xc0\xa1v\xc4\0\xa1h\x90"
        "\x85\xa1o\x0c\xa1t\xcf\0\0\x01\x8b\xcf\xe5\x6b\xe8\xa1k\xc4\0\xa1v\xc0\xa1h\x90";
    struct sp_buf buf;
    struct sp_pack pack;

    (void)state;
    make_batches();
    sp_buf_init(&buf, BOUND);
    sp_pack_init(&pack, &buf);
    assert_int_equal(
        sp_batch_to_records(sp_bytes_of(batches, sizeof golden_plain), 11, BOUND, &pack), 0);
    assert_int_equal(buf.size, sizeof golden - 1);
    assert_memory_equal(buf.bytes, golden, buf.size);
    sp_buf_deinit(&buf);
}

static void test_records_end_where_the_buffer_ends(void **state)
{
    struct sp_buf buf;
    struct sp_pack pack;

    (void)state;
    make_batches();
    sp_buf_init(&buf, 130);
    sp_pack_init(&pack, &buf);
    assert_int_equal(sp_batch_to_records(sp_bytes_of(batches, sizeof batches), 0, BOUND, &pack), 0);
    assert_int_equal(sp_pack_status(&pack), 0);
    struct sp_cursor cursor = sp_cursor_of(sp_bytes_of(buf.bytes, buf.size));
    sp_cursor_skip(&cursor);
    assert_int_equal(sp_cursor_finish(&cursor), 0);
    sp_buf_deinit(&buf);
    sp_buf_init(&buf, 40);
    sp_pack_init(&pack, &buf);
    assert_int_equal(sp_batch_to_records(sp_bytes_of(batches, sizeof batches), 0, BOUND, &pack),
                     SPATE_ERR_TOO_LARGE);
    assert_int_equal(sp_pack_status(&pack), SPATE_ERR_TOO_LARGE);
    sp_buf_deinit(&buf);
}

static void test_records_from_bad_batches_fail_the_pack(void **state)
{
    struct sp_buf buf;
    struct sp_pack pack;

    (void)state;
    make_batches();
    sp_buf_init(&buf, BOUND);
    for (size_t cut = 1; cut < sizeof batches; cut++) {
        if (cut == sizeof golden_plain) {
            continue;
        }
        sp_buf_clear(&buf);
        sp_pack_init(&pack, &buf);
        assert_int_equal(sp_batch_to_records(sp_bytes_of(batches, cut), 0, BOUND, &pack),
                         SPATE_ERR_AGAIN);
        assert_int_equal(sp_pack_status(&pack), SPATE_ERR_AGAIN);
    }
    batches[70] ^= 1;
    sp_pack_init(&pack, &buf);
    assert_int_equal(sp_batch_to_records(sp_bytes_of(batches, sizeof batches), 0, BOUND, &pack),
                     SPATE_ERR_CORRUPT);
    /* Sound but for its count: one record more than there are. */
    make_batches();
    batches[RECORD_COUNT_AT + 3] += 1;
    uint32_t crc = sp_crc32c(0, batches + CRC_AT + 4, sizeof golden_plain - CRC_AT - 4);
    for (unsigned i = 0; i < 4; i++) {
        batches[CRC_AT + i] = (uint8_t)(crc >> (24 - 8 * i));
    }
    sp_buf_clear(&buf);
    sp_pack_init(&pack, &buf);
    assert_int_equal(sp_batch_to_records(sp_bytes_of(batches, sizeof batches), 0, BOUND, &pack),
                     SPATE_ERR_CORRUPT);
    sp_buf_deinit(&buf);
}

/* A message has at most SP_MESSAGE_ELEMENTS_MAX elements, 64 of them kept for what is around; a
 * record without headers has 11. */
static void test_records_end_where_a_message_ends(void **state)
{
    struct sp_batch_builder many;
    struct sp_record record = { .timestamp_ms = 1 };
    struct sp_buf batch;
    struct sp_buf buf;
    struct sp_pack pack;

    (void)state;
    sp_buf_init(&batch, 1 << 20);
    sp_buf_init(&buf, 1 << 20);
    sp_batch_builder_init(&many, 1 << 20, SP_COMPRESSION_NONE);
    for (int i = 0; i < 30000; i++) {
        assert_int_equal(sp_batch_builder_add(&many, &record), 0);
    }
    assert_int_equal(sp_batch_builder_finish(&many, -1, -1, -1, &batch), 0);
    sp_pack_init(&pack, &buf);
    assert_int_equal(sp_batch_to_records(sp_bytes_of(batch.bytes, batch.size), 0, 1 << 20, &pack),
                     0);
    struct sp_cursor cursor = sp_cursor_of(sp_bytes_of(buf.bytes, buf.size));
    assert_int_equal(sp_cursor_array(&cursor), (SP_MESSAGE_ELEMENTS_MAX - 64) / 11);
    sp_batch_builder_deinit(&many);
    sp_buf_deinit(&batch);
    sp_buf_deinit(&buf);
}

static int scenario(void)
{
    struct sp_buf buf;
    struct sp_pack pack;
    struct sp_batch_builder own;

    sp_buf_init(&buf, BOUND);
    sp_pack_init(&pack, &buf);
    sp_batch_builder_init(&own, BOUND, SP_COMPRESSION_NONE);
    int rv = sp_records_to_batch(sp_bytes_of(golden_array, sizeof golden_array - 1), 0, &own, NULL);
    if (rv == 0) {
        rv = sp_batch_to_records(sp_bytes_of(batches, sizeof batches), 0, BOUND, &pack);
    }
    sp_batch_builder_deinit(&own);
    sp_buf_deinit(&buf);
    return rv;
}

static void test_records_survive_failing_allocations(void **state)
{
    (void)state;
    make_batches();
    check_every_allocation(scenario, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records_become_the_golden_batch),
        cmocka_unit_test(test_records_without_time_get_the_servers),
        cmocka_unit_test(test_records_headers_as_map_are_taken),
        cmocka_unit_test(test_records_faults_name_the_record),
        cmocka_unit_test(test_records_with_too_many_headers_refused),
        cmocka_unit_test(test_records_every_truncated_prefix_refused),
        cmocka_unit_test(test_records_above_the_bound_refused),
        cmocka_unit_test(test_records_from_batches_cover_the_range),
        cmocka_unit_test(test_records_from_batch_have_golden_bytes),
        cmocka_unit_test(test_records_end_where_the_buffer_ends),
        cmocka_unit_test(test_records_end_where_a_message_ends),
        cmocka_unit_test(test_records_from_bad_batches_fail_the_pack),
        cmocka_unit_test(test_records_survive_failing_allocations),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
