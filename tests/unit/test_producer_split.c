/* A producer whose topic takes smaller or larger batches than is usual, or than it did. */
#include "driven_producer.h"

#include "base/map.h"

static const char *const at_once[] = { "linger.ms", "0", NULL };
static const char *const large_batches[] = { "linger.ms", "1000", NULL };

static void take_at_most(size_t taken, size_t told)
{
    cluster.log.batch_bytes_max = taken;
    cluster.told_bytes_max = told;
}

static int produce_size(uintptr_t number, size_t size)
{
    char *value = malloc(size);

    assert_non_null(value);
    memset(value, '0', size);
    struct spate_record record = {
        .topic = "t", .partition = 0, .timestamp_ms = 5, .value = value, .value_size = size
    };
    int rv = spate_produce(producer, &record, (void *)number);
    free(value);
    return rv;
}

static void test_producer_fills_batches_as_the_topic_takes_them(void **state)
{
    (void)state;
    begin(large_batches);
    take_at_most(4096, 4096);
    produce_range(0, 2000);
    assert_int_equal(spate_producer_flush(producer, 10000), 0);
    check_all_stored(2000);
    assert_int_equal(cluster.log.too_large_count, 0);
    assert_in_range(cluster.log.batch_count, 2000 * 106 / 4096, 2000 * 106 / 3500);
    end();
}

static void test_producer_record_may_be_as_large_as_the_topic_takes(void **state)
{
    (void)state;
    begin(at_once);
    take_at_most(SP_BATCH_BYTES_MAX, SP_BATCH_BYTES_MAX);
    assert_int_equal(produce_size(0, 5 * 1024 * 1024), 0);
    assert_int_equal(produce_size(1, SP_BATCH_BYTES_MAX - 100), 0);
    assert_int_equal(spate_producer_flush(producer, 20000), 0);
    assert_int_equal(reports.status[0], 0);
    assert_int_equal(reports.status[1], 0);
    assert_int_equal(produce_size(2, SP_BATCH_BYTES_MAX - 50), SPATE_ERR_TOO_LARGE);
    assert_non_null(strstr(spate_client_error(cluster.client), "no topic takes more"));
    end();
}

/* Nothing tells a producer that a limit was raised, so it asks before it refuses. */
static void test_producer_learns_that_the_topic_takes_more(void **state)
{
    (void)state;
    begin(at_once);
    take_at_most(2048, 2048);
    assert_int_equal(produce_size(0, 1000), 0);
    assert_int_equal(produce_size(1, 3000), SPATE_ERR_TOO_LARGE);
    assert_non_null(strstr(spate_client_error(cluster.client), "batch of 2048 bytes"));
    assert_non_null(strstr(spate_client_error(cluster.client), "max.message.bytes"));
    take_at_most(4096, 4096);
    assert_int_equal(produce_size(1, 3000), 0);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    assert_int_equal(reports.status[0], 0);
    assert_int_equal(reports.status[1], 0);
    end();
}

static void test_producer_splits_what_an_untold_limit_refuses(void **state)
{
    (void)state;
    begin(large_batches);
    take_at_most(2048, 0);
    produce_range(0, 3000);
    assert_int_equal(spate_producer_flush(producer, 20000), 0);
    check_all_stored(3000);
    assert_in_range(cluster.log.too_large_count, 1, 60); /* halved once, not for each batch again */
    end();
}

/* Lowered while batches are queued and under way, told at once or late, answers getting lost. */
static enum fake_action lower(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)method;
    if (count == 4) {
        c->log.batch_bytes_max = 1024;
    }
    if (count == 12) {
        c->told_bytes_max = 1024;
    }
    return count % 7 == 3 ? FAKE_DROP_AFTER : count % 11 == 5 ? FAKE_DROP_BEFORE : FAKE_SERVE;
}

static void lower_the_limit(const char *compression)
{
    const char *const keys[] = { "batch.bytes", "8192",      "linger.ms", "1",
                                 "compression", compression, NULL };

    begin(keys);
    take_at_most(0, 65536);
    cluster.script = lower;
    produce_range(0, 3000);
    assert_int_equal(spate_producer_flush(producer, 20000), 0);
    check_all_stored(3000);
    assert_true(cluster.produce_count > 12);
    end();
}

static void test_producer_limit_lowered_on_the_way_loses_and_doubles_nothing(void **state)
{
    (void)state;
    lower_the_limit("none");
}

static void test_producer_limit_lowered_below_compressed_batches(void **state)
{
    (void)state;
    lower_the_limit("lz4");
}

static enum fake_action lower_after_one(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)method;
    c->log.batch_bytes_max = count >= 2 ? 1024 : 0;
    return count == 1 ? FAKE_DROP_AFTER : FAKE_SERVE;
}

/* The whole was stored, and its answer lost: it must come again as it was, to be recognised. */
static void test_producer_keeps_a_batch_whole_that_may_be_stored(void **state)
{
    (void)state;
    begin(large_batches);
    take_at_most(0, 65536);
    cluster.script = lower_after_one;
    produce_range(0, 100);
    cluster.told_bytes_max = 1024;
    assert_int_equal(spate_producer_flush(producer, 10000), 0);
    check_all_stored(100);
    assert_int_equal(cluster.log.batch_count, 1);
    assert_int_equal(cluster.log.duplicate_count, 1);
    end();
}

static void test_producer_only_the_record_that_is_too_large_fails(void **state)
{
    (void)state;
    begin(large_batches);
    take_at_most(1024, 0);
    for (uintptr_t i = 0; i < 40; i++) {
        assert_int_equal(i == 17 ? produce_size(i, 1500) : produce(i), 0);
    }
    assert_int_equal(spate_producer_flush(producer, 10000), 0);
    for (uintptr_t i = 0; i < 40; i++) {
        assert_int_equal(reports.count[i], 1);
        assert_int_equal(reports.status[i], i == 17 ? SPATE_ERR_TOO_LARGE : 0);
        if (i != 17) {
            assert_int_equal(number_at(reports.offset[i]), i);
            assert_int_equal(reports.offset[i], i < 17 ? i : i - 1);
        }
    }
    assert_int_equal(cluster.log.next_offset, 39);
    end();
}

/* Under its own name a producer may not number anew: parts have the numbers that the whole had. */
static void test_producer_with_a_name_splits_too(void **state)
{
    static const char *const keys[] = {
        "linger.ms", "1000", "producer.name", "loader", "producer.layout", "one", NULL
    };

    (void)state;
    begin(keys);
    take_at_most(2048, 0);
    produce_range(0, 500);
    assert_int_equal(spate_producer_flush(producer, 10000), 0);
    check_all_stored(500);
    assert_int_equal(cluster.log.producers[0].next_sequence, 500);
    assert_int_equal(cluster.log.producers[0].epoch, 0);
    end();
}

static void test_producer_split_keeps_all_of_a_record(void **state)
{
    struct spate_header headers[] = { { "a", 1, "first", 5 }, { "b", 1, NULL, 0 } };
    struct sp_batch_reader reader;
    struct sp_record_view view;
    struct sp_record_header header;

    (void)state;
    begin(large_batches);
    take_at_most(1024, 0);
    for (uintptr_t i = 0; i < 20; i++) {
        char value[100] = { (char)i };
        struct spate_record record = { .topic = "t",
                                       .timestamp_ms = 1000 - (int64_t)i,
                                       .key = i % 2 == 0 ? "key" : NULL,
                                       .key_size = i % 2 == 0 ? 3 : 0,
                                       .value = i == 5 ? NULL : value,
                                       .value_size = i == 5 ? 0 : sizeof value,
                                       .headers = headers,
                                       .header_count = i % 3 };
        assert_int_equal(spate_produce(producer, &record, (void *)i), 0);
    }
    assert_int_equal(spate_producer_flush(producer, 10000), 0);
    assert_true(cluster.log.batch_count > 2);
    uintptr_t i = 0;
    for (unsigned b = 0; b < cluster.log.batch_count; b++) {
        const struct fake_batch *batch = &cluster.log.batches[b];
        assert_int_equal(sp_batch_reader_init(
                             &reader, batch->bytes, batch->size, SP_BATCH_DECOMPRESSED_BYTES_MAX),
                         0);
        for (; sp_batch_reader_next(&reader, &view); i++) {
            size_t position = 0;
            assert_int_equal(view.timestamp_ms, 1000 - (int64_t)i);
            assert_int_equal(view.key.bytes != NULL, i % 2 == 0);
            assert_int_equal(view.value.bytes == NULL, i == 5);
            assert_true(i == 5 || view.value.bytes[0] == i);
            assert_int_equal(view.header_count, i % 3);
            assert_int_equal(sp_record_header_next(&view, &position, &header), i % 3 > 0);
            assert_true(i % 3 == 0 || sp_bytes_equal_text(header.value, "first"));
            assert_int_equal(sp_record_header_next(&view, &position, &header), i % 3 > 1);
            assert_true(i % 3 < 2 || header.value.bytes == NULL);
        }
        sp_batch_reader_deinit(&reader);
    }
    assert_int_equal(i, 20);
    end();
}

/* Each allocation of a split fails in turn: it is made a little later. */
static void test_producer_split_survives_any_failing_allocation(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        begin(large_batches);
        take_at_most(1024, 0);
        produce_range(0, 30);
        struct sp_topic_view *topic =
            sp_metadata_find(cluster.client->metadata, sp_bytes_text("t"));
        assert_non_null(topic);
        struct sp_producer_topic *own = sp_map_get(producer->topics, "t", 1);
        struct sp_producer_partition *partition = own->partitions[0];
        assert_int_equal(sp_producer_seal(partition), 0);
        struct sp_producer_batch *batch = sp_producer_oldest(partition);
        topic->batch_bytes_max = 1024;
        assert_true(sp_producer_too_large(batch));
        sp_mem_fail_at(n);
        int rv = sp_producer_split(batch);
        sp_mem_fail_at(0);
        assert_true(rv == 0 || (rv == SPATE_ERR_NOMEM && batch->count == 30));
        assert_int_equal(spate_producer_flush(producer, 10000), 0);
        check_all_stored(30);
        end();
        if (rv == 0) {
            assert_true(n > 5);
            return;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_producer_fills_batches_as_the_topic_takes_them),
        cmocka_unit_test(test_producer_record_may_be_as_large_as_the_topic_takes),
        cmocka_unit_test(test_producer_learns_that_the_topic_takes_more),
        cmocka_unit_test(test_producer_splits_what_an_untold_limit_refuses),
        cmocka_unit_test(test_producer_limit_lowered_on_the_way_loses_and_doubles_nothing),
        cmocka_unit_test(test_producer_limit_lowered_below_compressed_batches),
        cmocka_unit_test(test_producer_keeps_a_batch_whole_that_may_be_stored),
        cmocka_unit_test(test_producer_only_the_record_that_is_too_large_fails),
        cmocka_unit_test(test_producer_with_a_name_splits_too),
        cmocka_unit_test(test_producer_split_keeps_all_of_a_record),
        cmocka_unit_test(test_producer_split_survives_any_failing_allocation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
