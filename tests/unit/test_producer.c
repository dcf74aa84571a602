#include "fake_cluster.h"

#include "base/rand.h"
#include "client/producer.h"

enum {
    RECORDS_MAX = 4000,
};

/* What was reported of each record, by its number. */
struct reports {
    unsigned count[RECORDS_MAX];
    int status[RECORDS_MAX];
    int64_t offset[RECORDS_MAX];
    char text[256]; /* of the last failure */
};

static struct fake_cluster cluster;
static struct reports reports;
static struct spate_producer *producer;

static void on_delivery(void *arg, const struct spate_delivery *delivery)
{
    uintptr_t number = (uintptr_t)delivery->opaque;

    assert_ptr_equal(arg, &reports);
    assert_true(number < RECORDS_MAX);
    reports.count[number] += 1;
    reports.status[number] = delivery->status;
    reports.offset[number] = delivery->offset;
    if (delivery->status != 0) {
        assert_int_equal(delivery->offset, -1);
        (void)snprintf(reports.text, sizeof reports.text, "%s", delivery->text);
    }
}

static void begin(const char *const *keys)
{
    memset(&reports, 0, sizeof reports);
    fake_start(&cluster, keys);
    assert_int_equal(spate_producer_new(cluster.client, on_delivery, &reports, &producer), 0);
}

static void end(void)
{
    spate_producer_free(producer);
    fake_stop(&cluster);
}

/* Values are the record's number, padded so that a few fill a small batch. */
static int produce(uintptr_t number)
{
    char value[128];
    int size = snprintf(value, sizeof value, "%0100llu", (unsigned long long)number);
    struct spate_record record = {
        .topic = "t",
        .partition = 0,
        .timestamp_ms = 5,
        .value = value,
        .value_size = (size_t)size,
    };

    return spate_produce(producer, &record, (void *)number);
}

static void produce_range(uintptr_t first, uintptr_t count)
{
    for (uintptr_t i = first; i < first + count; i++) {
        int rv;
        while ((rv = produce(i)) == SPATE_ERR_BUSY) {
            assert_true(spate_poll(cluster.client, 100) >= 0);
        }
        assert_int_equal(rv, 0);
    }
}

/* The number that the record at `offset` holds, or -1. */
static int64_t number_at(int64_t offset)
{
    for (unsigned i = 0; i < cluster.batch_count; i++) {
        const struct fake_batch *batch = &cluster.batches[i];
        struct sp_batch_reader reader;
        struct sp_record_view record;
        int64_t number = -1;

        if (offset < batch->base_offset || offset >= batch->base_offset + batch->count) {
            continue;
        }
        assert_int_equal(sp_batch_reader_init(
                             &reader, batch->bytes, batch->size, SP_BATCH_DECOMPRESSED_BYTES_MAX),
                         0);
        while (sp_batch_reader_next(&reader, &record)) {
            char text[128] = { 0 };
            memcpy(text, record.value.bytes, record.value.size);
            number = record.offset == offset ? atoll(text) : number;
        }
        sp_batch_reader_deinit(&reader);
        return number;
    }
    return -1;
}

/* Every record is in the log once, in order, and was reported once with its place. */
static void check_all_stored(uintptr_t count)
{
    assert_int_equal(cluster.next_offset, count);
    for (uintptr_t i = 0; i < count; i++) {
        assert_int_equal(reports.count[i], 1);
        assert_int_equal(reports.status[i], 0);
        assert_int_equal(reports.offset[i], i);
        assert_int_equal(number_at((int64_t)i), i);
    }
}

static const char *const small_batches[] = { "batch.bytes", "1024", "linger.ms", "1", NULL };

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
    assert_int_equal(cluster.duplicate_count, 0);
    assert_int_equal(cluster.producer_count, 1);
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
    assert_int_equal(cluster.batch_count, 1);
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
    assert_int_equal(cluster.next_offset, 4);
    assert_true(cluster.batches[0].size < 100 * 1024);
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
    assert_true(cluster.duplicate_count > 0);
    assert_true(spate_producer_retries(producer) > 0);
    assert_int_equal(cluster.producer_count, 1);
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
        assert_int_equal(cluster.producer_count, 1);
        end();
    }
}

static void test_producer_not_leader_follows_hint(void **state)
{
    (void)state;
    begin(small_batches);
    cluster.leader = 1; /* metadata goes on naming the first */
    produce_range(0, 1);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    check_all_stored(1);
    assert_int_equal(cluster.produce_count, 2);
    end();
}

static enum fake_action sent_on_twice(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)method;
    c->refusal = SPATE_ERR_NOT_LEADER;
    return count <= 2 ? FAKE_REFUSE : FAKE_SERVE;
}

/* With pauses two hints would take 30 ms. */
static void test_producer_hints_are_followed_at_once(void **state)
{
    uint64_t best_ms = UINT64_MAX;

    (void)state;
    for (unsigned i = 0; i < 20 && best_ms >= 20; i++) { /* the machine may be busy */
        begin(small_batches);
        produce_range(0, 1);
        assert_int_equal(spate_producer_flush(producer, 5000), 0);
        cluster.produce_count = 0;
        cluster.script = sent_on_twice;
        uint64_t begin_ms = sp_loop_now_ms(cluster.client->loop);
        produce_range(1, 1);
        assert_int_equal(spate_producer_flush(producer, 5000), 0);
        uint64_t took_ms = sp_loop_now_ms(cluster.client->loop) - begin_ms;
        best_ms = took_ms < best_ms ? took_ms : best_ms;
        check_all_stored(2);
        end();
    }
    assert_true(best_ms < 20);
}

static enum fake_action sent_on_always(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)sent_on_twice(c, method, count);
    return FAKE_REFUSE;
}

static void test_producer_hints_that_lead_nowhere_are_followed_with_pauses(void **state)
{
    static const char *const keys[] = { "timeout.ms", "300", "linger.ms", "0", NULL };

    (void)state;
    begin(keys);
    cluster.script = sent_on_always;
    produce_range(0, 1);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    assert_int_equal(reports.status[0], SPATE_ERR_NOT_LEADER);
    assert_in_range(cluster.produce_count, 2, 12);
    end();
}

static enum fake_action
not_ready_three_times(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)method;
    c->refusal = SPATE_ERR_NOT_READY;
    c->refusal_text = "";
    return count <= 3 ? FAKE_REFUSE : FAKE_SERVE;
}

/* A leader that is about to serve is asked again, and nobody else who leads. */
static void test_producer_not_ready_leader_is_asked_again(void **state)
{
    (void)state;
    begin(small_batches);
    cluster.script = not_ready_three_times;
    produce_range(0, 1);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    check_all_stored(1);
    assert_int_equal(cluster.produce_count, 4);
    assert_int_equal(cluster.metadata_count, 1);
    end();
}

static enum fake_action first_hangs(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)method;
    if (count == 1) { /* and somebody else is elected */
        c->leader = 1;
        c->metadata_leader = 1;
        return FAKE_SILENT;
    }
    return FAKE_SERVE;
}

static void test_producer_hanging_leader_is_left_for_the_new_one(void **state)
{
    (void)state;
    begin(small_batches);
    cluster.script = first_hangs;
    produce_range(0, 1);
    uint64_t begin_ms = sp_loop_now_ms(cluster.client->loop);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    assert_true(sp_loop_now_ms(cluster.client->loop) - begin_ms < 1500);
    check_all_stored(1);
    end();
}

/* ---- failures -------------------------------------------------------------------------------- */

static enum fake_action always_silent(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)c;
    (void)method;
    (void)count;
    return FAKE_SILENT;
}

static void test_producer_no_answer_is_timeout_and_next_goes_on(void **state)
{
    static const char *const keys[] = { "timeout.ms", "150", "linger.ms", "0", NULL };

    (void)state;
    begin(keys);
    cluster.script = always_silent;
    produce_range(0, 1);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    assert_int_equal(reports.count[0], 1);
    assert_int_equal(reports.status[0], SPATE_ERR_TIMEOUT);
    assert_non_null(strstr(reports.text, "unknown"));
    cluster.script = NULL;
    produce_range(1, 1);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    assert_int_equal(reports.status[1], 0);
    assert_int_equal(number_at(0), 1);
    assert_int_equal(cluster.next_producer_id, 101);
    assert_int_equal(cluster.producers[0].epoch, 1); /* a new numbering, so no gap */
    end();
}

/* What was given up may still be on its way, in a socket of another node or in the kernel: when it
 * arrives behind newer records, it must not be stored there. */
static void test_producer_lost_batch_that_arrives_late_is_fenced(void **state)
{
    static const char *const keys[] = { "timeout.ms", "150", "linger.ms", "0", NULL };
    struct sp_batch_builder builder;
    struct sp_record record = { .value = sp_bytes_text("late") };
    struct sp_buf late;
    int64_t offset = -1;

    (void)state;
    begin(keys);
    cluster.script = always_silent;
    produce_range(0, 1);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    cluster.script = NULL;
    produce_range(1, 1);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    assert_int_equal(reports.status[1], 0);

    sp_batch_builder_init(&builder, SP_BATCH_BYTES_MAX, SP_COMPRESSION_NONE);
    sp_buf_init(&late, SP_BATCH_BYTES_MAX);
    assert_int_equal(sp_batch_builder_add(&builder, &record), 0);
    assert_int_equal(sp_batch_builder_finish(&builder, 100, 0, 0, &late), 0); /* as it was sent */
    assert_int_equal(fake_store(&cluster, late.bytes, late.size, &offset),
                     SPATE_ERR_PRODUCER_FENCED);
    sp_buf_deinit(&late);
    sp_batch_builder_deinit(&builder);
    end();
}

static void test_producer_sent_behind_lost_one_shares_its_fate(void **state)
{
    static const char *const keys[] = { "timeout.ms",  "150",  "linger.ms", "0",
                                        "batch.bytes", "1024", NULL };

    (void)state;
    begin(keys);
    cluster.script = always_silent;
    produce_range(0, 100); /* more batches than may be in flight */
    assert_int_equal(spate_producer_flush(producer, 60), SPATE_ERR_TIMEOUT);
    cluster.script = NULL;
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    unsigned unknown = 0;
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(reports.count[i], 1);
        assert_true(reports.status[i] != 0 || number_at(reports.offset[i]) == i);
        unknown += reports.status[i] == SPATE_ERR_TIMEOUT ? 1 : 0;
    }
    assert_true(unknown > 0);
    end();
}

static enum fake_action
lost_then_not_ready(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)method;
    c->refusal = SPATE_ERR_NOT_READY;
    c->refusal_text = "starting";
    return count == 1 ? FAKE_DROP_AFTER : FAKE_REFUSE;
}

/* The last word is a refusal, but the first attempt was stored: all but "unknown" would lie. */
static void test_producer_lost_answer_outweighs_later_refusals(void **state)
{
    static const char *const keys[] = { "timeout.ms", "200", "linger.ms", "0", NULL };

    (void)state;
    begin(keys);
    cluster.script = lost_then_not_ready;
    produce_range(0, 1);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    assert_int_equal(reports.count[0], 1);
    assert_int_equal(reports.status[0], SPATE_ERR_TIMEOUT);
    assert_int_equal(number_at(0), 0);
    end();
}

static enum fake_action never_ready(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)lost_then_not_ready(c, method, count);
    return FAKE_REFUSE;
}

static void test_producer_refused_all_the_time_is_a_plain_failure(void **state)
{
    static const char *const keys[] = { "timeout.ms", "150", "linger.ms", "0", NULL };

    (void)state;
    begin(keys);
    cluster.script = never_ready;
    produce_range(0, 1);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    assert_int_equal(reports.status[0], SPATE_ERR_NOT_READY);
    assert_int_equal(cluster.next_offset, 0);
    end();
}

static enum fake_action no_space(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)lost_then_not_ready(c, method, count);
    c->refusal = SPATE_ERR_NO_SPACE;
    return FAKE_REFUSE;
}

/* A full node refuses before it appends, so nothing is uncertain. */
static void test_producer_no_space_is_a_plain_failure(void **state)
{
    static const char *const keys[] = { "timeout.ms", "150", "linger.ms", "0", NULL };

    (void)state;
    begin(keys);
    cluster.script = no_space;
    produce_range(0, 1);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    assert_int_equal(reports.status[0], SPATE_ERR_NO_SPACE);
    assert_int_equal(cluster.next_offset, 0);
    end();
}

static enum fake_action refuse_second(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)method;
    c->refusal = SPATE_ERR_TOO_LARGE;
    c->refusal_text = "the batch is above max.message.bytes";
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
            assert_int_equal(reports.status[i], SPATE_ERR_TOO_LARGE);
            failed += 1;
            continue;
        }
        assert_true(reports.offset[i] > last);
        last = reports.offset[i];
        assert_int_equal(number_at(last), i);
    }
    assert_true(failed > 0 && failed < 20);
    assert_string_equal(reports.text, "the batch is above max.message.bytes");
    assert_int_equal(cluster.next_offset, 100 - failed);
    assert_int_equal(cluster.producer_count, 1);
    assert_int_equal(cluster.producers[0].epoch, 1);
    end();
}

static void test_producer_unknown_topic_is_told_at_once(void **state)
{
    (void)state;
    begin(small_batches);
    cluster.topic_exists = false;
    assert_int_equal(produce(0), SPATE_ERR_UNKNOWN_TOPIC);
    assert_non_null(strstr(spate_client_error(cluster.client), "topic t does not exist"));
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
        cmocka_unit_test(test_producer_not_leader_follows_hint),
        cmocka_unit_test(test_producer_hints_are_followed_at_once),
        cmocka_unit_test(test_producer_hints_that_lead_nowhere_are_followed_with_pauses),
        cmocka_unit_test(test_producer_not_ready_leader_is_asked_again),
        cmocka_unit_test(test_producer_hanging_leader_is_left_for_the_new_one),
        cmocka_unit_test(test_producer_no_answer_is_timeout_and_next_goes_on),
        cmocka_unit_test(test_producer_lost_batch_that_arrives_late_is_fenced),
        cmocka_unit_test(test_producer_sent_behind_lost_one_shares_its_fate),
        cmocka_unit_test(test_producer_lost_answer_outweighs_later_refusals),
        cmocka_unit_test(test_producer_refused_all_the_time_is_a_plain_failure),
        cmocka_unit_test(test_producer_no_space_is_a_plain_failure),
        cmocka_unit_test(test_producer_refused_batch_fails_alone),
        cmocka_unit_test(test_producer_unknown_topic_is_told_at_once),
        cmocka_unit_test(test_producer_wrong_records_are_invalid),
        cmocka_unit_test(test_producer_free_reports_the_rest_as_canceled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
