#include "broker/producers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "spate/error.h"

static struct sp_batch_facts facts(int64_t producer_id, int32_t sequence, int32_t count)
{
    return (struct sp_batch_facts){ .base_offset = sequence,
                                    .producer_id = producer_id,
                                    .base_sequence = sequence,
                                    .record_count = count,
                                    .offset_count = count };
}

static int apply(struct sp_producers *producers, struct sp_batch_facts batch, int64_t time_ms)
{
    return sp_producers_apply(producers, &batch, 3, time_ms);
}

static void test_producers_sixth_batch_drops_the_first(void **state)
{
    struct sp_producers *producers = sp_producers_new();
    const struct sp_producer *producer;

    (void)state;
    for (int32_t i = 0; i < 6; i++) {
        assert_int_equal(apply(producers, facts(7, i * 10, 10), i), 0);
    }
    producer = sp_producers_find(producers, 7);
    assert_non_null(producer);
    assert_int_equal(producer->batch_count, SP_PRODUCER_BATCHES_KEPT);
    assert_int_equal(producer->batches[0].base_sequence, 10);
    assert_int_equal(producer->batches[4].base_sequence, 50);
    assert_int_equal(producer->batches[4].term, 3);
    assert_null(sp_producers_find(producers, 8));
    sp_producers_free(producers);
}

static void test_producers_sequence_wraps_at_two_to_31(void **state)
{
    struct sp_producer_batch last = { .base_sequence = INT32_MAX - 4, .record_count = 5 };

    (void)state;
    assert_int_equal(sp_producer_next_sequence(&last), 0);
    last.record_count = 4;
    assert_int_equal(sp_producer_next_sequence(&last), INT32_MAX);
}

static void test_producers_newer_epoch_forgets_older_batches(void **state)
{
    struct sp_producers *producers = sp_producers_new();
    struct sp_batch_facts batch = facts(7, 0, 1);

    (void)state;
    assert_int_equal(apply(producers, facts(7, 40, 2), 1), 0);
    batch.producer_epoch = 1;
    assert_int_equal(apply(producers, batch, 2), 0);
    assert_int_equal(sp_producers_find(producers, 7)->epoch, 1);
    assert_int_equal(sp_producers_find(producers, 7)->batch_count, 1);
    sp_producers_free(producers);
}

static void test_producers_full_table_makes_room_only_for_expired(void **state)
{
    struct sp_producers *producers = sp_producers_new();
    int64_t day_ms = SP_PRODUCER_EXPIRY_MS;

    (void)state;
    for (int64_t i = 0; i < SP_PRODUCERS_PER_PARTITION_MAX; i++) {
        assert_false(sp_producers_full(producers, 0, i, SP_PRODUCER_EXPIRY_MS));
        assert_int_equal(apply(producers, facts(i, 0, 1), i == 0 ? 0 : 1000), 0);
    }
    assert_true(sp_producers_full(producers, 0, day_ms - 1, SP_PRODUCER_EXPIRY_MS));
    assert_false(sp_producers_full(producers, 0, day_ms, SP_PRODUCER_EXPIRY_MS));
    assert_int_equal(apply(producers, facts(-5 + INT32_MAX, 0, 1), day_ms), 0);
    assert_null(sp_producers_find(producers, 0)); /* the longest silent one went */
    assert_non_null(sp_producers_find(producers, 1));
    sp_producers_free(producers);
}

static void encode(const struct sp_producers *producers, struct sp_buf *buf)
{
    struct sp_pack pack;

    sp_buf_init(buf, 1 << 20);
    sp_pack_init(&pack, buf);
    sp_producers_encode(producers, &pack);
    assert_int_equal(sp_pack_status(&pack), 0);
}

static void test_producers_checkpoint_gives_same_bytes_again(void **state)
{
    struct sp_producers *producers = sp_producers_new();
    struct sp_producers *restored = sp_producers_new();
    struct sp_cursor cursor;
    struct sp_buf first;
    struct sp_buf second;

    (void)state;
    for (int32_t i = 0; i < 40; i++) {
        assert_int_equal(apply(producers, facts(i % 7, i, 1 + i % 3), 100 + i), 0);
        assert_int_equal(sp_producers_fence(producers, i % 3, (int16_t)(i / 9), 100 + i), 0);
    }
    encode(producers, &first);
    sp_cursor_init(&cursor, first.bytes, first.size);
    assert_int_equal(sp_producers_decode(restored, SP_PRODUCERS_VERSION, &cursor), 0);
    encode(restored, &second);
    assert_int_equal(first.size, second.size);
    assert_memory_equal(first.bytes, second.bytes, first.size);
    sp_buf_deinit(&first);
    sp_buf_deinit(&second);
    sp_producers_free(producers);
    sp_producers_free(restored);
}

static void test_producers_damaged_checkpoint_is_refused_and_leaves_nothing(void **state)
{
    struct sp_producers *producers = sp_producers_new();
    struct sp_producers *restored = sp_producers_new();
    struct sp_buf bytes;

    (void)state;
    for (int32_t i = 0; i < 10; i++) {
        assert_int_equal(apply(producers, facts(i, 0, 1), i), 0);
    }
    encode(producers, &bytes);
    for (size_t size = 0; size < bytes.size; size++) {
        struct sp_cursor cursor;
        sp_cursor_init(&cursor, bytes.bytes, size);
        assert_int_equal(sp_producers_decode(restored, SP_PRODUCERS_VERSION, &cursor),
                         SPATE_ERR_CORRUPT);
        assert_null(sp_producers_find(restored, 0));
    }
    sp_buf_deinit(&bytes);
    sp_producers_free(producers);
    sp_producers_free(restored);
}

/* ---- fences ---------------------------------------------------------------------------------- */

static void test_producers_fence_ends_older_epochs_and_keeps_the_count(void **state)
{
    struct sp_producers *producers = sp_producers_new();
    const struct sp_producer *producer;
    struct sp_batch_facts batch = facts(7, 0, 3);

    (void)state;
    assert_int_equal(apply(producers, facts(7, 0, 10), 1), 0);
    assert_int_equal(apply(producers, facts(7, 10, 2), 2), 0);
    assert_int_equal(sp_producers_fence(producers, 7, 1, 3), 0);
    producer = sp_producers_find(producers, 7);
    assert_int_equal(producer->epoch, 1);
    assert_int_equal(producer->batch_count, 0);
    assert_int_equal(producer->records, 12);
    assert_int_equal(producer->last_offset, 11);
    assert_int_equal(producer->last_append_ms, 3);
    batch.producer_epoch = 1;
    batch.base_offset = 50;
    assert_int_equal(apply(producers, batch, 4), 0);
    assert_int_equal(producer->records, 15);
    assert_int_equal(producer->last_offset, 52);
    assert_int_equal(sp_producers_fence(producers, 7, 1, 5), 0); /* the same once more */
    assert_int_equal(producer->batch_count, 1);
    assert_int_equal(sp_producers_fence(producers, 7, 0, 6), 0); /* of an older one */
    assert_int_equal(producer->epoch, 1);
    assert_int_equal(producer->last_append_ms, 5);
    sp_producers_free(producers);
}

/* Else a leftover of an older epoch could begin here behind the fence. */
static void test_producers_fence_of_a_stranger_makes_it_known(void **state)
{
    struct sp_producers *producers = sp_producers_new();

    (void)state;
    assert_int_equal(sp_producers_fence(producers, 7, 4, 1), 0);
    assert_non_null(sp_producers_find(producers, 7));
    assert_int_equal(sp_producers_find(producers, 7)->epoch, 4);
    assert_int_equal(sp_producers_find(producers, 7)->records, 0);
    assert_int_equal(sp_producers_find(producers, 7)->last_offset, -1);
    sp_producers_free(producers);
}

static void fill(struct sp_producers *producers, int64_t first_id, int64_t time_ms)
{
    for (int64_t i = 0; i < SP_PRODUCERS_PER_PARTITION_MAX - 1; i++) {
        assert_int_equal(apply(producers, facts(first_id + i, 0, 1), time_ms), 0);
    }
}

static void test_producers_fenced_one_stays_longer_and_is_not_taken_for_new(void **state)
{
    struct sp_producers *producers = sp_producers_new();
    int64_t soon_ms = SP_PRODUCER_EXPIRY_MS;
    int64_t late_ms = SP_PRODUCER_NAMED_EXPIRY_MS;

    (void)state;
    assert_int_equal(apply(producers, facts(50, 0, 3), 0), 0);
    assert_int_equal(sp_producers_fence(producers, 50, 1, 0), 0);
    fill(producers, 1000, 1);
    assert_int_equal(apply(producers, facts(60, 0, 1), 1 + soon_ms), 0); /* 1000 makes room */
    assert_non_null(sp_producers_find(producers, 50));
    assert_null(sp_producers_find(producers, 1000));
    for (int64_t i = 1; i < SP_PRODUCERS_PER_PARTITION_MAX - 1; i++) {
        assert_int_equal(apply(producers, facts(1000 + i, 1, 1), late_ms - 1), 0);
    }
    assert_int_equal(apply(producers, facts(60, 1, 1), late_ms - 1), 0);
    assert_true(sp_producers_full(producers, 0, late_ms - 1, SP_PRODUCER_EXPIRY_MS));
    assert_false(sp_producers_full(producers, 0, late_ms, SP_PRODUCER_EXPIRY_MS));
    assert_true(sp_producers_full(producers, 1, late_ms, SP_PRODUCER_EXPIRY_MS));
    assert_int_equal(apply(producers, facts(61, 0, 1), late_ms), 0); /* now 50 does */
    assert_null(sp_producers_find(producers, 50));
    assert_int_equal(sp_producers_find(producers, 61)->records, 1);
    /* a day on, others make room for it: nobody knows what it had stored */
    assert_int_equal(sp_producers_fence(producers, 50, 2, late_ms + soon_ms), 0);
    assert_int_equal(sp_producers_find(producers, 50)->records, -1);
    assert_int_equal(sp_producers_fence(producers, 51, 0, late_ms + soon_ms), 0);
    assert_int_equal(sp_producers_find(producers, 51)->records, 0);
    sp_producers_free(producers);
}

/* Else anybody could keep the table full for a month by fencing ids that store nothing. */
static void test_producers_fenced_one_without_records_goes_as_any_other(void **state)
{
    struct sp_producers *producers = sp_producers_new();
    int64_t soon_ms = SP_PRODUCER_EXPIRY_MS;

    (void)state;
    assert_int_equal(sp_producers_fence(producers, 50, 1, 0), 0);
    fill(producers, 1000, 1);
    assert_true(sp_producers_full(producers, 0, soon_ms - 1, SP_PRODUCER_EXPIRY_MS));
    assert_false(sp_producers_full(producers, 0, soon_ms, SP_PRODUCER_EXPIRY_MS));
    assert_int_equal(apply(producers, facts(60, 0, 1), soon_ms), 0);
    assert_null(sp_producers_find(producers, 50));
    assert_int_equal(sp_producers_fence(producers, 50, 2, 1 + soon_ms), 0);
    assert_int_equal(sp_producers_find(producers, 50)->records, 0); /* nothing was forgotten */
    sp_producers_free(producers);
}

/* What partitions before fences have in their checkpoints: they did not count. */
static void test_producers_version_1_is_still_read(void **state)
{
    static const uint8_t older[] = { 0x91, 0x97, 7, 1, 5, 40, 2, 9, 3 };
    struct sp_producers *producers = sp_producers_new();
    const struct sp_producer *producer;
    struct sp_cursor cursor;

    (void)state;
    sp_cursor_init(&cursor, older, sizeof older);
    assert_int_equal(sp_producers_decode(producers, 1, &cursor), 0);
    producer = sp_producers_find(producers, 7);
    assert_int_equal(producer->epoch, 1);
    assert_int_equal(producer->batch_count, 1);
    assert_int_equal(producer->batches[0].base_sequence, 40);
    assert_int_equal(producer->records, -1);
    assert_false(producer->fenced);
    sp_producers_free(producers);
}

static void test_producers_checkpoint_has_golden_bytes(void **state)
{
    static const uint8_t golden[] = { 0x92, 0xff, 0x92, 0x9a, 8, 0, 2, 4, 3, 0, 0,
                                      4,    0,    3,    0x96, 7, 1, 3, 1, 9, 1 };
    struct sp_producers *producers = sp_producers_new();
    struct sp_batch_facts batch = facts(7, 0, 1);
    struct sp_buf bytes;

    (void)state;
    batch.base_offset = 9;
    assert_int_equal(apply(producers, batch, 1), 0);
    assert_int_equal(apply(producers, facts(8, 0, 4), 2), 0);
    assert_int_equal(sp_producers_fence(producers, 7, 1, 3), 0);
    encode(producers, &bytes);
    assert_int_equal(bytes.size, sizeof golden);
    assert_memory_equal(bytes.bytes, golden, sizeof golden);
    sp_buf_deinit(&bytes);
    sp_producers_free(producers);
}

static void test_producers_failing_allocation_is_reported(void **state)
{
    uint64_t alive = sp_mem_live_count();

    (void)state;
    for (uint64_t n = 1;; n++) {
        struct sp_producers *producers;
        int rv = SPATE_ERR_NOMEM;
        sp_mem_fail_at(n);
        producers = sp_producers_new();
        if (producers != NULL) {
            rv = apply(producers, facts(1, 0, 1), 1);
        }
        sp_mem_fail_at(0);
        sp_producers_free(producers);
        assert_int_equal(sp_mem_live_count(), alive);
        if (rv == 0) {
            assert_true(n > 2);
            return;
        }
        assert_int_equal(rv, SPATE_ERR_NOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_producers_sixth_batch_drops_the_first),
        cmocka_unit_test(test_producers_sequence_wraps_at_two_to_31),
        cmocka_unit_test(test_producers_newer_epoch_forgets_older_batches),
        cmocka_unit_test(test_producers_full_table_makes_room_only_for_expired),
        cmocka_unit_test(test_producers_checkpoint_gives_same_bytes_again),
        cmocka_unit_test(test_producers_damaged_checkpoint_is_refused_and_leaves_nothing),
        cmocka_unit_test(test_producers_fence_ends_older_epochs_and_keeps_the_count),
        cmocka_unit_test(test_producers_fence_of_a_stranger_makes_it_known),
        cmocka_unit_test(test_producers_fenced_one_stays_longer_and_is_not_taken_for_new),
        cmocka_unit_test(test_producers_fenced_one_without_records_goes_as_any_other),
        cmocka_unit_test(test_producers_version_1_is_still_read),
        cmocka_unit_test(test_producers_checkpoint_has_golden_bytes),
        cmocka_unit_test(test_producers_failing_allocation_is_reported),
    };
    return cmocka_run_group_tests_name("broker/producers", tests, NULL, NULL);
}
