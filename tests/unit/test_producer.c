#include "driven_producer.h"

/* ---- the good way ---------------------------------------------------------------------------- */

static void test_producer_records_arrive_in_order(void **state)
{
    (void)state;
    begin(small_batches);
    produce_range(0, 1000);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    assert_int_equal(spate_producer_pending(producer), 0);
    assert_int_equal(spate_producer_in_flight(producer), 0);
    check_all_stored(1000);
    assert_int_equal(cluster.log.duplicate_count, 0);
    assert_int_equal(cluster.log.producer_count, 1);
    end();
}

static void test_producer_linger_sends_without_flush(void **state)
{
    (void)state;
    begin(small_batches);
    produce_range(0, 3);
    for (unsigned i = 0; i < 100 && spate_producer_pending(producer) > 0; i++) {
        assert_true(spate_poll(cluster.client, 50) >= 0);
    }
    check_all_stored(3);
    assert_int_equal(cluster.log.batch_count, 1);
    end();
}

static void test_producer_lz4_large_values_arrive(void **state)
{
    static const char *const keys[] = { "compression", "lz4", "batch.bytes", "65536", NULL };
    static const size_t sizes[] = { 900 * 1024, 1024 * 1024, 0, 10 };
    char *value = calloc(1, 1024 * 1024);

    (void)state;
    assert_non_null(value);
    begin(keys);
    for (uintptr_t i = 0; i < 4; i++) {
        struct spate_record record = { .topic = "t", .value = value, .value_size = sizes[i] };
        record.partition = SPATE_PARTITION_ANY;
        assert_int_equal(spate_produce(producer, &record, (void *)i), 0);
    }
    struct spate_record huge = { .topic = "t", .value = value, .value_size = 1024 * 1024 };
    huge.key = value;
    huge.key_size = 1024 * 1024;
    assert_int_equal(spate_produce(producer, &huge, NULL), SPATE_ERR_TOO_LARGE);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    assert_int_equal(cluster.log.next_offset, 4);
    assert_true(cluster.log.batches[0].size < 100 * 1024);
    free(value);
    end();
}

static void test_producer_full_buffer_is_busy_until_polled(void **state)
{
    static const char *const keys[] = { "buffer.bytes", "65536", "batch.bytes", "4096", NULL };
    uintptr_t taken = 0;
    int rv = 0;

    (void)state;
    begin(keys);
    while (taken < 2000 && (rv = produce(taken)) == 0) {
        taken += 1;
    }
    if (rv == SPATE_ERR_BUSY) {
        assert_non_null(strstr(spate_client_error(cluster.client), "buffer.bytes"));
    }
    produce_range(taken, 2000 - taken);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    check_all_stored(2000);
    end();
}

/* ---- mishaps --------------------------------------------------------------------------------- */

static enum fake_action lose_answers(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)c;
    (void)method;
    return count % 7 == 3 ? FAKE_DROP_AFTER : count % 7 == 5 ? FAKE_DROP_BEFORE : FAKE_SERVE;
}

static void test_producer_lost_answers_store_once(void **state)
{
    (void)state;
    begin(small_batches);
    cluster.script = lose_answers;
    produce_range(0, 150);
    assert_int_equal(spate_producer_flush(producer, 10000), 0);
    check_all_stored(150);
    assert_true(cluster.log.duplicate_count > 0);
    assert_true(spate_producer_retries(producer) > 0);
    assert_int_equal(cluster.log.producer_count, 1);
    end();
}

static struct sp_rand chance;

static enum fake_action any_mishap(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)method;
    (void)count;
    c->refusal_text = "";
    switch (sp_rand_below(&chance, 12)) {
    case 0:
        return FAKE_DROP_AFTER;
    case 1:
        return FAKE_DROP_BEFORE;
    case 2:
        c->refusal = SPATE_ERR_BUSY;
        return FAKE_REFUSE;
    case 3:
        c->refusal = SPATE_ERR_NOT_READY;
        return FAKE_REFUSE;
    case 4:
        c->leader = 1 - c->leader;
        c->metadata_leader = sp_rand_below(&chance, 2) == 0 ? c->leader : 1 - c->leader;
        return FAKE_SERVE;
    default:
        return FAKE_SERVE;
    }
}

static void test_producer_random_mishaps_lose_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        begin(small_batches);
        sp_rand_init(&chance, seed);
        cluster.script = any_mishap;
        produce_range(0, 100);
        assert_int_equal(spate_producer_flush(producer, 20000), 0);
        check_all_stored(100);
        assert_int_equal(cluster.log.producer_count, 1);
        end();
    }
}

static enum fake_action refuse_second(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)method;
    c->refusal = SPATE_ERR_INVALID;
    c->refusal_text = "record 0 has no key";
    return count == 2 ? FAKE_REFUSE : FAKE_SERVE;
}

static void test_producer_refused_batch_fails_alone(void **state)
{
    static const char *const keys[] = { "linger.ms",     "0", "batch.bytes", "1024",
                                        "max.in.flight", "1", NULL };
    unsigned failed = 0;
    int64_t last = -1;

    (void)state;
    begin(keys);
    cluster.script = refuse_second;
    produce_range(0, 100);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(reports.count[i], 1);
        if (reports.status[i] != 0) {
            assert_int_equal(reports.status[i], SPATE_ERR_INVALID);
            failed += 1;
            continue;
        }
        assert_true(reports.offset[i] > last);
        last = reports.offset[i];
        assert_int_equal(number_at(last), i);
    }
    assert_true(failed > 0 && failed < 20);
    assert_string_equal(reports.text, "record 0 has no key");
    assert_int_equal(cluster.log.next_offset, 100 - failed);
    assert_int_equal(cluster.log.producer_count, 1);
    assert_int_equal(cluster.log.producers[0].epoch, 1);
    end();
}

static void test_producer_unknown_topic_is_told_at_once(void **state)
{
    (void)state;
    begin(small_batches);
    cluster.topic_exists = false;
    assert_int_equal(produce(0), SPATE_ERR_UNKNOWN_TOPIC);
    assert_non_null(strstr(spate_client_error(cluster.client), "no topic `t`: list them with"));
    assert_int_equal(spate_producer_pending(producer), 0);
    end();
}

static void test_producer_wrong_records_are_invalid(void **state)
{
    struct spate_record record = { .topic = "t", .value_size = 3 };

    (void)state;
    begin(small_batches);
    assert_int_equal(spate_produce(producer, &record, NULL), SPATE_ERR_INVALID);
    record.value = "abc";
    record.partition = 9;
    assert_int_equal(spate_produce(producer, &record, NULL), SPATE_ERR_UNKNOWN_PARTITION);
    record.topic = "not/a/topic";
    assert_int_equal(spate_produce(producer, &record, NULL), SPATE_ERR_INVALID);
    end();
}

static void test_producer_free_reports_the_rest_as_canceled(void **state)
{
    (void)state;
    begin(small_batches);
    cluster.script = always_silent;
    produce_range(0, 30);
    assert_true(spate_poll(cluster.client, 20) >= 0);
    end();
    for (unsigned i = 0; i < 30; i++) {
        assert_int_equal(reports.count[i], 1);
        assert_int_equal(reports.status[i], SPATE_ERR_CANCELED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_producer_records_arrive_in_order),
        cmocka_unit_test(test_producer_linger_sends_without_flush),
        cmocka_unit_test(test_producer_lz4_large_values_arrive),
        cmocka_unit_test(test_producer_full_buffer_is_busy_until_polled),
        cmocka_unit_test(test_producer_lost_answers_store_once),
        cmocka_unit_test(test_producer_random_mishaps_lose_nothing),
        cmocka_unit_test(test_producer_refused_batch_fails_alone),
        cmocka_unit_test(test_producer_unknown_topic_is_told_at_once),
        cmocka_unit_test(test_producer_wrong_records_are_invalid),
        cmocka_unit_test(test_producer_free_reports_the_rest_as_canceled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
