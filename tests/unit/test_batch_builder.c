#include "wire/batch.h"

#include "base/rand.h"
#include "batch_golden.h"
#include "wire_test.h"

#define BOUND 65536

static struct sp_bytes text(const char *value)
{
    return sp_bytes_text(value);
}

static void add(struct sp_batch_builder *builder, int64_t timestamp_ms, struct sp_bytes value)
{
    struct sp_record record = { .timestamp_ms = timestamp_ms, .value = value };

    assert_int_equal(sp_batch_builder_add(builder, &record), 0);
}

static void add_golden_records(struct sp_batch_builder *builder)
{
    struct sp_record_header headers[] = { { text("source"), text("sensor-7") },
                                          { text("n"), sp_bytes_null() } };
    struct sp_record first = { .timestamp_ms = 1700000000123,
                               .key = text("key"),
                               .value = text("value"),
                               .headers = headers,
                               .header_count = 2 };
    struct sp_record third = { .timestamp_ms = 1700000001000, .key = text("") };

    assert_int_equal(sp_batch_builder_add(builder, &first), 0);
    add(builder, 1700000000100, text(""));
    assert_int_equal(sp_batch_builder_add(builder, &third), 0);
}

static void test_batch_builder_makes_golden_bytes(void **state)
{
    struct sp_batch_builder builder;
    struct sp_buf out;

    (void)state;
    sp_buf_init(&out, BOUND);
    sp_batch_builder_init(&builder, BOUND, SP_COMPRESSION_NONE);
    for (int round = 0; round < 2; round++) {
        add_golden_records(&builder);
        assert_int_equal(sp_batch_builder_count(&builder), 3);
        assert_int_equal(sp_batch_builder_size(&builder), sizeof golden_plain);
        sp_buf_clear(&out);
        assert_int_equal(sp_batch_builder_finish(&builder, -1, -1, -1, &out), 0);
        assert_int_equal(out.size, sizeof golden_plain);
        sp_batch_set_offset(out.bytes, 0, 0);
        assert_memory_equal(out.bytes, golden_plain, out.size);
        sp_batch_builder_reset(&builder);
        assert_int_equal(sp_batch_builder_count(&builder), 0);
    }
    sp_batch_builder_deinit(&builder);
    sp_buf_deinit(&out);
}

static void test_batch_builder_bound_is_exact(void **state)
{
    struct sp_batch_builder builder;
    struct sp_record record = { .value = text("0123456789") };
    struct sp_buf out;

    (void)state;
    sp_buf_init(&out, BOUND);
    /* size, attributes, two deltas, key, value size, value, header count: 17 bytes a record */
    sp_batch_builder_init(&builder, SP_BATCH_HEADER_SIZE + 2 * 17, SP_COMPRESSION_NONE);
    assert_int_equal(sp_batch_builder_add(&builder, &record), 0);
    assert_int_equal(sp_batch_builder_add(&builder, &record), 0);
    assert_int_equal(sp_batch_builder_add(&builder, &record), SPATE_ERR_TOO_LARGE);
    assert_int_equal(sp_batch_builder_count(&builder), 2);
    assert_int_equal(sp_batch_builder_finish(&builder, 5, 0, 9, &out), 0);
    assert_int_equal(out.size, SP_BATCH_HEADER_SIZE + 2 * 17);
    assert_int_equal(sp_batch_validate(out.bytes, out.size, out.size, NULL), 0);
    sp_batch_builder_deinit(&builder);
    sp_batch_builder_init(&builder, SP_BATCH_HEADER_SIZE + 16, SP_COMPRESSION_NONE);
    assert_int_equal(sp_batch_builder_add(&builder, &record), SPATE_ERR_TOO_LARGE);
    sp_batch_builder_deinit(&builder);
    sp_buf_deinit(&out);
}

static void test_batch_builder_absurd_sizes_refused(void **state)
{
    struct sp_batch_builder builder;
    static const uint8_t byte = 0;
    struct sp_bytes absurd = { &byte, SIZE_MAX }; /* its size field alone would make the sum 0 */
    struct sp_record_header header = { text("n"), absurd };
    struct sp_record as_key = { .key = absurd };
    struct sp_record as_value = { .value = absurd };
    struct sp_record as_header = { .headers = &header, .header_count = 1 };

    (void)state;
    sp_batch_builder_init(&builder, BOUND, SP_COMPRESSION_NONE);
    assert_int_equal(sp_batch_builder_add(&builder, &as_key), SPATE_ERR_TOO_LARGE);
    assert_int_equal(sp_batch_builder_add(&builder, &as_value), SPATE_ERR_TOO_LARGE);
    assert_int_equal(sp_batch_builder_add(&builder, &as_header), SPATE_ERR_TOO_LARGE);
    assert_int_equal(sp_batch_builder_size(&builder), SP_BATCH_HEADER_SIZE);
    sp_batch_builder_deinit(&builder);
}

static void test_batch_builder_bad_records_refused(void **state)
{
    struct sp_batch_builder builder;
    static struct sp_record_header many[SP_RECORD_HEADERS_MAX + 1];
    struct sp_record_header null_name = { sp_bytes_null(), text("v") };
    struct sp_record_header bad_name = { text("\xff"), text("v") };
    struct sp_record record = { .headers = many, .header_count = SP_RECORD_HEADERS_MAX + 1 };

    (void)state;
    sp_batch_builder_init(&builder, BOUND, SP_COMPRESSION_NONE);
    for (size_t i = 0; i < record.header_count; i++) {
        many[i].name = text("n");
    }
    assert_int_equal(sp_batch_builder_add(&builder, &record), SPATE_ERR_INVALID);
    record.header_count = SP_RECORD_HEADERS_MAX;
    assert_int_equal(sp_batch_builder_add(&builder, &record), 0);
    record = (struct sp_record){ .headers = &null_name, .header_count = 1 };
    assert_int_equal(sp_batch_builder_add(&builder, &record), SPATE_ERR_INVALID);
    record.headers = &bad_name;
    assert_int_equal(sp_batch_builder_add(&builder, &record), SPATE_ERR_INVALID);
    record = (struct sp_record){ .timestamp_ms = SP_TIMESTAMP_MS_MAX + 1 };
    assert_int_equal(sp_batch_builder_add(&builder, &record), SPATE_ERR_INVALID);
    record.timestamp_ms = -SP_TIMESTAMP_MS_MAX - 1;
    assert_int_equal(sp_batch_builder_add(&builder, &record), SPATE_ERR_INVALID);
    assert_int_equal(sp_batch_builder_count(&builder), 1);
    sp_batch_builder_deinit(&builder);
}

#define TRIP_RECORDS 300
#define TRIP_VALUE_MAX 400

/* Record i of a round trip: sizes and times that need varints of several lengths. */
static struct sp_record trip_record(struct sp_rand *rand, uint8_t *value)
{
    size_t size = (size_t)sp_rand_below(rand, TRIP_VALUE_MAX);
    bool null_key = sp_rand_below(rand, 2) == 0;

    for (size_t i = 0; i < size; i++) {
        value[i] = (uint8_t)('a' + sp_rand_below(rand, 3));
    }
    return (struct sp_record){
        .timestamp_ms = (int64_t)sp_rand_below(rand, UINT64_C(1) << 54) - SP_TIMESTAMP_MS_MAX,
        .key = null_key ? sp_bytes_null() : sp_bytes_of(value, size / 3),
        .value = sp_bytes_of(value, size),
    };
}

static void check_trip(struct sp_bytes batch)
{
    struct sp_batch_reader reader;
    struct sp_record_view view;
    struct sp_rand rand;
    uint8_t value[TRIP_VALUE_MAX];

    sp_rand_init(&rand, 1);
    assert_int_equal(sp_batch_reader_init(&reader, batch.bytes, batch.size, 1 << 20), 0);
    for (int i = 0; i < TRIP_RECORDS; i++) {
        struct sp_record record = trip_record(&rand, value);
        assert_true(sp_batch_reader_next(&reader, &view));
        assert_int_equal(view.offset, 1000 + i);
        assert_true(view.timestamp_ms == record.timestamp_ms);
        assert_true(record.key.bytes == NULL ? view.key.bytes == NULL
                                             : sp_bytes_equal(view.key, record.key));
        assert_true(sp_bytes_equal(view.value, record.value));
    }
    assert_false(sp_batch_reader_next(&reader, &view));
    assert_int_equal(sp_batch_reader_status(&reader), 0);
    assert_int_equal(reader.header.producer_id, 99);
    assert_int_equal(reader.header.producer_epoch, 7);
    assert_int_equal(reader.header.base_sequence, 12345);
    sp_batch_reader_deinit(&reader);
}

static void check_round_trip(enum sp_compression compression)
{
    struct sp_batch_builder builder;
    struct sp_rand rand;
    struct sp_buf out;
    uint8_t value[TRIP_VALUE_MAX];

    sp_buf_init(&out, 1 << 20);
    sp_batch_builder_init(&builder, 1 << 20, compression);
    sp_rand_init(&rand, 1);
    for (int i = 0; i < TRIP_RECORDS; i++) {
        struct sp_record record = trip_record(&rand, value);
        assert_int_equal(sp_batch_builder_add(&builder, &record), 0);
    }
    assert_int_equal(sp_batch_builder_finish(&builder, 99, 7, 12345, &out), 0);
    assert_int_equal(out.size < sp_batch_builder_size(&builder), compression == SP_COMPRESSION_LZ4);
    assert_int_equal(sp_batch_validate_deep(out.bytes, out.size, 1 << 20, 1 << 20, NULL), 0);
    sp_batch_set_offset(out.bytes, 1000, 3);
    check_trip(sp_bytes_of(out.bytes, out.size));
    sp_batch_builder_deinit(&builder);
    sp_buf_deinit(&out);
}

static void test_batch_builder_round_trip(void **state)
{
    (void)state;
    check_round_trip(SP_COMPRESSION_NONE);
    check_round_trip(SP_COMPRESSION_LZ4);
}

static void test_batch_builder_incompressible_stays_plain(void **state)
{
    struct sp_batch_builder builder;
    struct sp_batch_header header;
    struct sp_buf out;

    (void)state;
    sp_buf_init(&out, BOUND);
    sp_batch_builder_init(&builder, BOUND, SP_COMPRESSION_LZ4);
    add(&builder, 1, text("x"));
    assert_int_equal(sp_batch_builder_finish(&builder, -1, -1, -1, &out), 0);
    assert_int_equal(sp_batch_validate(out.bytes, out.size, BOUND, &header), 0);
    assert_int_equal(header.compression, SP_COMPRESSION_NONE);
    sp_batch_builder_deinit(&builder);
    sp_buf_deinit(&out);
}

static void test_batch_builder_bound_of_output_is_kept(void **state)
{
    struct sp_batch_builder builder;
    struct sp_buf out;

    (void)state;
    sp_buf_init(&out, sizeof golden_plain - 1);
    sp_batch_builder_init(&builder, BOUND, SP_COMPRESSION_NONE);
    add_golden_records(&builder);
    assert_int_equal(sp_batch_builder_finish(&builder, -1, -1, -1, &out), SPATE_ERR_TOO_LARGE);
    assert_int_equal(out.size, 0);
    sp_batch_builder_deinit(&builder);
    sp_buf_deinit(&out);
}

static int read_back(const struct sp_buf *out)
{
    struct sp_batch_reader reader;
    struct sp_record_view record;
    int rv = sp_batch_reader_init(&reader, out->bytes, out->size, BOUND);

    while (rv == 0 && sp_batch_reader_next(&reader, &record)) {
        assert_int_equal(record.value.size, 200);
    }
    sp_batch_reader_deinit(&reader);
    return rv;
}

static int scenario(void)
{
    static const uint8_t value[200];
    struct sp_record record = { .value = { value, sizeof value } };
    struct sp_batch_builder builder;
    struct sp_buf out;

    sp_buf_init(&out, BOUND);
    sp_batch_builder_init(&builder, BOUND, SP_COMPRESSION_LZ4);
    int rv = 0;
    for (int i = 0; i < 100 && rv == 0; i++) {
        rv = sp_batch_builder_add(&builder, &record);
    }
    if (rv == 0) {
        rv = sp_batch_builder_finish(&builder, -1, -1, -1, &out);
    }
    if (rv == 0) {
        rv = read_back(&out);
    }
    sp_batch_builder_deinit(&builder);
    sp_buf_deinit(&out);
    return rv;
}

static void test_batch_builder_survives_failing_allocations(void **state)
{
    (void)state;
    check_every_allocation(scenario, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch_builder_makes_golden_bytes),
        cmocka_unit_test(test_batch_builder_bound_is_exact),
        cmocka_unit_test(test_batch_builder_absurd_sizes_refused),
        cmocka_unit_test(test_batch_builder_bad_records_refused),
        cmocka_unit_test(test_batch_builder_round_trip),
        cmocka_unit_test(test_batch_builder_incompressible_stays_plain),
        cmocka_unit_test(test_batch_builder_bound_of_output_is_kept),
        cmocka_unit_test(test_batch_builder_survives_failing_allocations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
