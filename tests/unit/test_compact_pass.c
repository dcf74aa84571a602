/* What a pass does to single frames; the hash and the table beneath it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/siphash.h"
#include "broker/compact_pass.h"
#include "spate/error.h"
#include "wire/batch.h"

static const uint64_t secret[2] = { 1, 2 };

static struct sp_bytes text(const char *bytes)
{
    return sp_bytes_of((const uint8_t *)bytes, strlen(bytes));
}

/* The first two of the published vectors: key 00 01 .. 0f, inputs "" and 00. */
static void test_siphash_agrees_with_the_published_vectors(void **state)
{
    const uint64_t key[2] = { UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908) };
    const uint8_t input[1] = { 0 };
    struct sp_siphash hash = sp_siphash(key, input, 0);

    (void)state;
    assert_true(hash.low == UINT64_C(0xe6a825ba047f81a3));
    assert_true(hash.high == UINT64_C(0x930255c71472f66d));
    hash = sp_siphash(key, input, 1);
    assert_true(hash.low == UINT64_C(0x44af996bd8c187da));
    assert_true(hash.high == UINT64_C(0x45fc229b11597634));
}

static void test_key_table_knows_the_latest_offset_until_it_is_full(void **state)
{
    struct sp_key_table *table = sp_key_table_new(1000, secret);
    size_t capacity = sp_key_table_capacity(table);
    char key[32];

    (void)state;
    for (size_t i = 0; i < capacity; i++) {
        (void)snprintf(key, sizeof key, "%zu", i);
        assert_true(sp_key_table_note(table, text(key), (int64_t)i));
    }
    assert_false(sp_key_table_note(table, text("one more"), 100));
    assert_true(sp_key_table_note(table, text("0"), 101));
    assert_int_equal(sp_key_table_latest(table, text("0")), 101);
    assert_int_equal(sp_key_table_latest(table, text("1")), 1);
    assert_int_equal(sp_key_table_latest(table, text("one more")), -1);
    assert_int_equal(sp_key_table_count(table), capacity);
    sp_key_table_free(table);
}

static void test_key_table_grows_as_far_as_there_is_memory(void **state)
{
    struct sp_key_table *table = sp_key_table_new(1 << 20, secret);
    uint64_t live = sp_mem_live_count();
    char key[32];
    size_t noted = 0;

    (void)state;
    while (noted < 5000) {
        (void)snprintf(key, sizeof key, "%zu", noted);
        assert_true(sp_key_table_note(table, text(key), (int64_t)noted));
        noted += 1;
    }
    sp_mem_fail_at(1);
    do {
        (void)snprintf(key, sizeof key, "%zu", noted++);
    } while (sp_key_table_note(table, text(key), (int64_t)noted - 1));
    sp_mem_fail_at(0);
    assert_true(
        sp_key_table_note(table, text(key), (int64_t)noted - 1)); /* there is memory again */
    for (size_t i = 0; i < noted; i++) {
        (void)snprintf(key, sizeof key, "%zu", i);
        assert_int_equal(sp_key_table_latest(table, text(key)), i);
    }
    assert_true(noted < sp_key_table_capacity(table));
    assert_int_equal(sp_mem_live_count(), live);
    sp_key_table_free(table);
}

/* A frame of records KEY=VALUE or KEY (a tombstone), or =VALUE without a key, in `out`. */
static size_t make_frame(const char *const *records, int64_t base_offset, uint8_t *out)
{
    struct sp_batch_builder builder;
    struct sp_buf batch;

    sp_buf_init(&batch, 1 << 16);
    sp_batch_builder_init(&builder, 1 << 16, SP_COMPRESSION_NONE);
    for (; *records != NULL; records++) {
        const char *equals = strchr(*records, '=');
        struct sp_record record = { .timestamp_ms = 7 };

        if (equals != *records) {
            record.key =
                sp_bytes_of((const uint8_t *)*records,
                            equals == NULL ? strlen(*records) : (size_t)(equals - *records));
        }
        record.value = equals == NULL ? sp_bytes_null() : text(equals + 1);
        assert_int_equal(sp_batch_builder_add(&builder, &record), 0);
    }
    assert_int_equal(sp_batch_builder_finish(&builder, 4, 0, 9, &batch), 0);
    sp_batch_set_offset(batch.bytes, base_offset, 3);
    struct sp_log_frame frame = { .kind = SP_FRAME_BATCH,
                                  .length = (uint32_t)batch.size,
                                  .group_id = 1,
                                  .term = 3,
                                  .index = 5,
                                  .append_time_ms = 11 };
    memcpy(out + SP_LOG_FRAME_HEADER_SIZE, batch.bytes, batch.size);
    sp_log_frame_seal(&frame, 0x1234, out);
    sp_batch_builder_deinit(&builder);
    sp_buf_deinit(&batch);
    return sp_log_frame_size(frame.length);
}

/* Filters the frame in place; what is left as KEY@OFFSET texts. */
static bool filter(struct sp_compact_pass *pass, uint8_t *bytes, size_t *size, char *left)
{
    struct sp_batch_reader reader;
    struct sp_record_view view;
    struct sp_log_frame frame;
    struct sp_buf out;
    bool changed = false;

    sp_buf_init(&out, 1 << 16);
    assert_int_equal(sp_compact_pass_filter(pass, bytes, *size, &out, &changed), 0);
    memcpy(bytes, out.bytes, out.size);
    *size = out.size;
    sp_buf_deinit(&out);
    assert_int_equal(sp_log_frame_verify(bytes, *size, &frame), 0);
    assert_int_equal(frame.index, 5);
    assert_int_equal(frame.chain, sp_log_frame_chain(bytes, 0x1234));
    assert_int_not_equal(frame.chain, sp_log_frame_chain(bytes, 0x1235));
    left[0] = '\0';
    assert_int_equal(
        sp_batch_reader_init(
            &reader, sp_log_frame_payload(bytes), sp_log_frame_batch_size(&frame), 1 << 20),
        0);
    while (sp_batch_reader_next(&reader, &view)) {
        size_t used = strlen(left);
        (void)snprintf(left + used,
                       256 - used,
                       "%.*s@%d ",
                       (int)view.key.size,
                       view.key.bytes == NULL ? "" : (const char *)view.key.bytes,
                       (int)view.offset);
    }
    assert_int_equal(sp_batch_reader_status(&reader), 0);
    assert_int_equal(reader.header.last_offset_delta, 3);
    assert_int_equal(reader.header.base_sequence, 9);
    sp_batch_reader_deinit(&reader);
    return changed;
}

/* A pass that has noted the keys of one frame of these records, from offset 20 on; its size. */
static size_t
begin(struct sp_compact_pass *pass, int64_t floor, const char *const *records, uint8_t *bytes)
{
    size_t size = make_frame(records, 20, bytes);

    *pass = (struct sp_compact_pass){ .table = sp_key_table_new(4096, secret),
                                      .floor = floor,
                                      .tombstone_min = INT64_MAX };
    assert_int_equal(sp_compact_pass_note(pass, bytes, size), 0);
    return size;
}

static void test_compact_pass_keeps_the_latest_and_what_has_no_key(void **state)
{
    static const char *const records[] = { "a=1", "b=1", "a=2", "=x", NULL };
    struct sp_compact_pass pass;
    uint8_t bytes[4096];
    char left[256];
    size_t size = begin(&pass, 0, records, bytes);

    (void)state;
    assert_int_equal(pass.map_end, 24);
    assert_true(filter(&pass, bytes, &size, left));
    assert_string_equal(left, "b@21 a@22 @23 ");
    assert_false(filter(&pass, bytes, &size, left)); /* nothing more to take out */
    assert_true(sp_key_table_note(pass.table, text("a"), 30));
    assert_true(sp_key_table_note(pass.table, text("b"), 31));
    assert_true(filter(&pass, bytes, &size, left));
    assert_string_equal(left, "@23 ");
    sp_compact_pass_deinit(&pass);
}

static void test_compact_pass_leaves_a_frame_without_records(void **state)
{
    static const char *const records[] = { "a=1", "a=2", "a=3", "a=4", NULL };
    struct sp_compact_pass pass;
    uint8_t bytes[4096];
    char left[256];
    size_t size = begin(&pass, 0, records, bytes);

    (void)state;
    assert_true(sp_key_table_note(pass.table, text("a"), 30));
    assert_true(filter(&pass, bytes, &size, left));
    assert_string_equal(left, "");
    assert_int_equal(size, 120);
    assert_int_equal(pass.removed_records, 4);
    sp_compact_pass_deinit(&pass);
}

static void test_compact_pass_tombstone_stays_down_to_the_floor(void **state)
{
    static const char *const records[] = { "a=1", "a", "b", "c=1", NULL };
    struct sp_compact_pass pass;
    uint8_t bytes[4096];
    char left[256];
    size_t size = begin(&pass, 21, records, bytes);

    (void)state;
    assert_true(filter(&pass, bytes, &size, left));
    assert_string_equal(left, "a@21 b@22 c@23 ");
    assert_int_equal(pass.tombstone_min, 21);
    assert_false(filter(&pass, bytes, &size, left));
    pass.floor = 22;
    pass.tombstone_min = INT64_MAX;
    assert_true(filter(&pass, bytes, &size, left));
    assert_string_equal(left, "b@22 c@23 ");
    assert_int_equal(pass.tombstone_min, 22);
    pass.floor = 23;
    assert_true(filter(&pass, bytes, &size, left));
    assert_string_equal(left, "c@23 ");
    sp_compact_pass_deinit(&pass);
}

static void test_compact_pass_leaves_what_it_has_not_looked_at(void **state)
{
    static const char *const records[] = { "a=1", "a=2", "b=1", "b=2", NULL };
    struct sp_compact_pass pass;
    uint8_t bytes[4096];
    char left[256];
    size_t size = begin(&pass, 100, records, bytes);

    (void)state;
    pass.map_end = 22; /* as if the table had been full there */
    assert_true(filter(&pass, bytes, &size, left));
    assert_string_equal(left, "a@21 b@22 b@23 ");
    sp_compact_pass_deinit(&pass);
}

static void test_compact_pass_any_flipped_bit_of_a_compacted_frame_is_seen(void **state)
{
    static const char *const records[] = { "a=1", "b=1", "a=2", "c=1", NULL };
    struct sp_compact_pass pass;
    struct sp_log_frame frame;
    uint8_t bytes[4096];
    char left[256];
    size_t size = begin(&pass, 0, records, bytes);

    (void)state;
    assert_true(filter(&pass, bytes, &size, left));
    for (size_t i = 0; i < 8 * size; i++) {
        bytes[i / 8] ^= (uint8_t)(1 << i % 8);
        int rv = sp_log_frame_verify(bytes, size, &frame);
        assert_true(rv != 0 || sp_log_frame_chain(bytes, 0x1234) != frame.chain);
        bytes[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    sp_compact_pass_deinit(&pass);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_siphash_agrees_with_the_published_vectors),
        cmocka_unit_test(test_key_table_knows_the_latest_offset_until_it_is_full),
        cmocka_unit_test(test_key_table_grows_as_far_as_there_is_memory),
        cmocka_unit_test(test_compact_pass_keeps_the_latest_and_what_has_no_key),
        cmocka_unit_test(test_compact_pass_leaves_a_frame_without_records),
        cmocka_unit_test(test_compact_pass_tombstone_stays_down_to_the_floor),
        cmocka_unit_test(test_compact_pass_leaves_what_it_has_not_looked_at),
        cmocka_unit_test(test_compact_pass_any_flipped_bit_of_a_compacted_frame_is_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
