/* Taking records out of a batch: those that stay keep every byte, whatever goes beside them. */
#include "wire/batch_filter.h"

#include "wire_test.h"

#define BOUND 65536
#define COUNT 6
#define ALL 0x3f

static struct sp_bytes text(const char *value)
{
    return sp_bytes_text(value);
}

/* Six records: with headers, an empty key, no key, no value, a long value, plain. */
static void make(enum sp_compression compression, struct sp_buf *out)
{
    static uint8_t filler[900];
    struct sp_record_header headers[] = { { text("source"), text("sensor-7") },
                                          { text("n"), sp_bytes_null() } };
    memset(filler, 'v', sizeof filler);
    const struct sp_record records[COUNT] = {
        { 100, text("a"), text("1"), headers, 2 },
        { 107, text(""), text("2"), NULL, 0 },
        { 103, sp_bytes_null(), text("3"), NULL, 0 },
        { 101, text("d"), sp_bytes_null(), headers, 1 },
        { 99, text("e"), sp_bytes_of(filler, sizeof filler), NULL, 0 },
        { 105, text("f"), text("6"), headers + 1, 1 },
    };
    struct sp_batch_builder builder;

    sp_batch_builder_init(&builder, BOUND, compression);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(sp_batch_builder_add(&builder, &records[i]), 0);
    }
    sp_buf_init(out, BOUND);
    assert_int_equal(sp_batch_builder_finish(&builder, 4711, 2, 37, out), 0);
    sp_batch_set_offset(out->bytes, 1000, 5);
    sp_batch_builder_deinit(&builder);
}

/* Keeps record n if bit n is set. */
static bool keep(void *arg, const struct sp_record_view *record)
{
    return (*(const unsigned *)arg >> (record->offset - 1000) & 1) != 0;
}

static bool same(struct sp_bytes a, struct sp_bytes b)
{
    return (a.bytes == NULL) == (b.bytes == NULL) && a.size == b.size &&
           (a.size == 0 || memcmp(a.bytes, b.bytes, a.size) == 0);
}

/* Both batches hold the same records but for those that are not in `kept`. */
static void check_records(const struct sp_buf *before, const struct sp_buf *after, unsigned kept)
{
    struct sp_batch_reader was;
    struct sp_batch_reader is;
    struct sp_record_view a;
    struct sp_record_view b;
    int64_t latest = 0;

    assert_int_equal(sp_batch_reader_init(&was, before->bytes, before->size, BOUND), 0);
    assert_int_equal(sp_batch_reader_init(&is, after->bytes, after->size, BOUND), 0);
    while (sp_batch_reader_next(&was, &a)) {
        if (!keep(&kept, &a)) {
            continue;
        }
        assert_true(sp_batch_reader_next(&is, &b));
        assert_int_equal(a.offset, b.offset);
        assert_int_equal(a.timestamp_ms, b.timestamp_ms);
        assert_true(same(a.key, b.key) && same(a.value, b.value));
        assert_int_equal(a.header_count, b.header_count);
        assert_true(same(a.encoded_headers, b.encoded_headers));
        latest = a.timestamp_ms > latest ? a.timestamp_ms : latest;
    }
    assert_false(sp_batch_reader_next(&is, &b));
    assert_int_equal(sp_batch_reader_status(&is), 0);
    assert_int_equal(is.header.max_timestamp_ms, kept == 0 ? was.header.max_timestamp_ms : latest);
    assert_int_equal(is.header.base_timestamp_ms, was.header.base_timestamp_ms);
    assert_int_equal(is.header.base_offset, 1000);
    assert_int_equal(is.header.last_offset_delta, COUNT - 1);
    assert_int_equal(is.header.leader_epoch, 5);
    assert_int_equal(is.header.producer_id, 4711);
    assert_int_equal(is.header.producer_epoch, 2);
    assert_int_equal(is.header.base_sequence, 37);
    sp_batch_reader_deinit(&was);
    sp_batch_reader_deinit(&is);
}

/* Every choice of the six, the edges among them. */
static void check_all_choices(enum sp_compression compression)
{
    struct sp_buf batch;

    make(compression, &batch);
    for (unsigned kept = 0; kept <= ALL; kept++) {
        struct sp_buf out;
        int32_t count = -1;

        sp_buf_init(&out, BOUND);
        assert_int_equal(
            sp_batch_filter(sp_bytes_of(batch.bytes, batch.size), keep, &kept, &out, &count), 0);
        assert_int_equal(count, __builtin_popcount(kept));
        if (kept == ALL) {
            assert_int_equal(out.size, 0); /* it stays as it is */
        } else {
            check_records(&batch, &out, kept);
        }
        assert_true(kept != 0 || out.size == SP_BATCH_HEADER_SIZE);
        sp_buf_deinit(&out);
    }
    sp_buf_deinit(&batch);
}

static void test_batch_filter_keeps_the_bytes_of_what_stays(void **state)
{
    (void)state;
    check_all_choices(SP_COMPRESSION_NONE);
}

static void test_batch_filter_of_lz4_keeps_the_bytes_of_what_stays(void **state)
{
    (void)state;
    check_all_choices(SP_COMPRESSION_LZ4);
}

static void test_batch_filter_packs_what_gets_smaller_alone(void **state)
{
    unsigned large = 1 << 4; /* 900 equal bytes */
    unsigned small = 1 << 1;
    struct sp_batch_header header;
    struct sp_buf batch;
    struct sp_buf out;
    int32_t count = 0;

    (void)state;
    make(SP_COMPRESSION_LZ4, &batch);
    struct sp_bytes bytes = sp_bytes_of(batch.bytes, batch.size);
    sp_buf_init(&out, BOUND);
    assert_int_equal(sp_batch_filter(bytes, keep, &large, &out, &count), 0);
    assert_int_equal(sp_batch_header_decode(out.bytes, out.size, &header), 0);
    assert_int_equal(header.compression, SP_COMPRESSION_LZ4);
    assert_true(out.size < 300);
    sp_buf_clear(&out);
    assert_int_equal(sp_batch_filter(bytes, keep, &small, &out, &count), 0);
    assert_int_equal(sp_batch_header_decode(out.bytes, out.size, &header), 0);
    assert_int_equal(header.compression, SP_COMPRESSION_NONE);
    sp_buf_deinit(&out);
    sp_buf_deinit(&batch);
}

/* What it makes can be filtered again, to the same as in one go. */
static void test_batch_filter_twice_is_as_once(void **state)
{
    unsigned first = 0x2d;
    unsigned second = 0x29;
    struct sp_buf batch;
    struct sp_buf once;
    struct sp_buf half;
    struct sp_buf twice;
    int32_t count = 0;

    (void)state;
    make(SP_COMPRESSION_NONE, &batch);
    sp_buf_init(&once, BOUND);
    sp_buf_init(&half, BOUND);
    sp_buf_init(&twice, BOUND);
    struct sp_bytes bytes = sp_bytes_of(batch.bytes, batch.size);
    assert_int_equal(sp_batch_filter(bytes, keep, &second, &once, &count), 0);
    assert_int_equal(sp_batch_filter(bytes, keep, &first, &half, &count), 0);
    bytes = sp_bytes_of(half.bytes, half.size);
    assert_int_equal(sp_batch_filter(bytes, keep, &second, &twice, &count), 0);
    assert_int_equal(count, 3);
    assert_int_equal(once.size, twice.size);
    assert_memory_equal(once.bytes, twice.bytes, once.size);
    sp_buf_deinit(&batch);
    sp_buf_deinit(&once);
    sp_buf_deinit(&half);
    sp_buf_deinit(&twice);
}

/* Cut anywhere, or with records that are not what the header says: refused, nothing appended. */
static void test_batch_filter_refuses_a_broken_batch(void **state)
{
    unsigned kept = 1;
    struct sp_buf batch;
    struct sp_buf out;
    int32_t count = -1;

    (void)state;
    make(SP_COMPRESSION_NONE, &batch);
    sp_buf_init(&out, BOUND);
    for (size_t size = 0; size < batch.size; size++) {
        uint8_t *copy = exact_copy(batch.bytes, size);
        assert_int_not_equal(sp_batch_filter(sp_bytes_of(copy, size), keep, &kept, &out, &count),
                             0);
        free(copy);
    }
    for (size_t i = SP_BATCH_HEADER_SIZE; i < SP_BATCH_HEADER_SIZE + 30; i++) {
        batch.bytes[i] ^= 0x80;
        int rv = sp_batch_filter(sp_bytes_of(batch.bytes, batch.size), keep, &kept, &out, &count);
        batch.bytes[i] ^= 0x80;
        if (rv == 0) {
            sp_buf_clear(&out); /* a byte of a text: the crc of batches is their reader's affair */
        }
        assert_int_equal(out.size, 0);
    }
    batch.bytes[60] = COUNT + 1; /* the record count */
    assert_int_not_equal(
        sp_batch_filter(sp_bytes_of(batch.bytes, batch.size), keep, &kept, &out, &count), 0);
    assert_int_equal(out.size, 0);
    sp_buf_deinit(&out);
    sp_buf_deinit(&batch);
    make(SP_COMPRESSION_LZ4, &batch);
    sp_buf_init(&out, BOUND);
    memset(batch.bytes + SP_BATCH_HEADER_SIZE, 0, 4); /* no LZ4 frame begins so */
    assert_int_not_equal(
        sp_batch_filter(sp_bytes_of(batch.bytes, batch.size), keep, &kept, &out, &count), 0);
    assert_int_equal(out.size, 0);
    sp_buf_deinit(&out);
    sp_buf_deinit(&batch);
}

static void test_batch_filter_out_of_memory_appends_nothing(void **state)
{
    unsigned kept = 0x13;
    struct sp_buf batch;
    int rv = SPATE_ERR_NOMEM;

    (void)state;
    make(SP_COMPRESSION_LZ4, &batch);
    for (uint64_t n = 1; rv != 0; n++) {
        struct sp_buf out;
        int32_t count = -1;

        assert_true(n < FAILURES_MAX);
        sp_buf_init(&out, BOUND);
        sp_mem_fail_at(n);
        rv = sp_batch_filter(sp_bytes_of(batch.bytes, batch.size), keep, &kept, &out, &count);
        sp_mem_fail_at(0);
        assert_true(rv == 0 || (rv == SPATE_ERR_NOMEM && out.size == 0 && count == -1));
        sp_buf_deinit(&out);
    }
    sp_buf_deinit(&batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch_filter_keeps_the_bytes_of_what_stays),
        cmocka_unit_test(test_batch_filter_of_lz4_keeps_the_bytes_of_what_stays),
        cmocka_unit_test(test_batch_filter_packs_what_gets_smaller_alone),
        cmocka_unit_test(test_batch_filter_twice_is_as_once),
        cmocka_unit_test(test_batch_filter_refuses_a_broken_batch),
        cmocka_unit_test(test_batch_filter_out_of_memory_appends_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
