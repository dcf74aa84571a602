/* Producers with a name: another life goes on where one stopped. */
#include "fake_cluster.h"

#include "client/producer.h"

enum {
    RECORDS_MAX = 4000,
};

static struct fake_cluster cluster;
static struct spate_producer *producer;
static int status_of[RECORDS_MAX];
static unsigned reported[RECORDS_MAX];
static char last_text[400];

static const char *const named[] = {
    "batch.bytes",     "1024", "linger.ms", "1", "producer.name", "loader",
    "producer.layout", "one",  NULL
};

static void on_delivery(void *arg, const struct spate_delivery *delivery)
{
    uintptr_t number = (uintptr_t)delivery->opaque;

    (void)arg;
    assert_true(number < RECORDS_MAX);
    reported[number] += 1;
    status_of[number] = delivery->status;
    if (delivery->status != 0) {
        (void)snprintf(last_text, sizeof last_text, "%s", delivery->text);
    }
}

static struct spate_producer *new_life(void)
{
    struct spate_producer *life = NULL;

    memset(reported, 0, sizeof reported);
    assert_int_equal(spate_producer_new(cluster.client, on_delivery, NULL, &life), 0);
    return life;
}

static void begin(void)
{
    fake_start(&cluster, named);
    producer = new_life();
}

static void end(void)
{
    spate_producer_free(producer);
    fake_stop(&cluster);
}

static int produce_with(struct spate_producer *life, uintptr_t number)
{
    char value[128];
    int size = snprintf(value, sizeof value, "%0100llu", (unsigned long long)number);
    struct spate_record record = {
        .topic = "t", .timestamp_ms = 5, .value = value, .value_size = (size_t)size
    };

    return spate_produce(life, &record, (void *)number);
}

static void produce_range(struct spate_producer *life, uintptr_t first, uintptr_t behind)
{
    for (uintptr_t i = first; i < behind; i++) {
        assert_int_equal(produce_with(life, i), 0);
    }
}

static int64_t stored(struct spate_producer *life)
{
    int64_t records = -7;
    int64_t offset = -7;

    assert_int_equal(spate_producer_stored(life, "t", 0, &records, &offset), 0);
    assert_int_equal(offset, records - 1); /* nobody else writes here */
    return records;
}

/* The log holds the records 0 to count - 1, each once and in order. */
static void check_log(int64_t count)
{
    int64_t expected = 0;

    assert_int_equal(cluster.log.next_offset, count);
    for (unsigned i = 0; i < cluster.log.batch_count; i++) {
        struct sp_batch_reader reader;
        struct sp_record_view record;
        assert_int_equal(sp_batch_reader_init(&reader,
                                              cluster.log.batches[i].bytes,
                                              cluster.log.batches[i].size,
                                              SP_BATCH_DECOMPRESSED_BYTES_MAX),
                         0);
        while (sp_batch_reader_next(&reader, &record)) {
            char text[128] = { 0 };
            memcpy(text, record.value.bytes, record.value.size);
            assert_int_equal(atoll(text), expected);
            expected += 1;
        }
        sp_batch_reader_deinit(&reader);
    }
    assert_int_equal(expected, count);
}

static void test_producer_named_first_life_finds_nothing(void **state)
{
    (void)state;
    begin();
    assert_int_equal(stored(producer), 0);
    produce_range(producer, 0, 100);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    assert_int_equal(stored(producer), 0); /* before this life */
    check_log(100);
    assert_int_equal(cluster.resume_count, 1);
    end();
}

static void test_producer_named_next_life_goes_on_behind_what_is_stored(void **state)
{
    (void)state;
    begin();
    for (unsigned life = 0; life < 5; life++) {
        int64_t records = stored(producer);
        assert_int_equal(records, cluster.log.next_offset);
        produce_range(producer, (uintptr_t)records, (uintptr_t)records + 70);
        for (unsigned i = 0; i < life; i++) {
            (void)spate_poll(cluster.client, 1); /* dies with some stored and some not */
        }
        spate_producer_free(producer);
        producer = new_life();
    }
    int64_t records = stored(producer);
    produce_range(producer, (uintptr_t)records, 400);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    check_log(400);
    end();
}

static void test_producer_named_takes_over_before_its_first_batch_unasked(void **state)
{
    (void)state;
    begin();
    produce_range(producer, 0, 10);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    assert_int_equal(cluster.resume_count, 1);
    check_log(10);
    end();
}

static void test_producer_named_old_life_is_told_who_took_over(void **state)
{
    struct spate_producer *old;

    (void)state;
    begin();
    old = producer;
    produce_range(old, 0, 10);
    assert_int_equal(spate_producer_flush(old, 5000), 0);
    producer = new_life();
    assert_int_equal(stored(producer), 10);
    produce_range(old, 10, 13);
    assert_int_equal(spate_producer_flush(old, 5000), 0);
    for (unsigned i = 10; i < 13; i++) {
        assert_int_equal(reported[i], 1);
        assert_int_equal(status_of[i], SPATE_ERR_PRODUCER_FENCED);
    }
    assert_non_null(strstr(last_text, "loader"));
    assert_int_equal(produce_with(old, 13), SPATE_ERR_PRODUCER_FENCED);
    assert_non_null(strstr(spate_client_error(cluster.client), "loader"));
    spate_producer_free(old);
    produce_range(producer, 10, 20);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    check_log(20);
    end();
}

static enum fake_action refuse_third(struct fake_cluster *fake, const char *method, unsigned count)
{
    fake->refusal = SPATE_ERR_CORRUPT;
    fake->refusal_text = "as the test wants it";
    return strcmp(method, "produce") == 0 && count == 3 ? FAKE_REFUSE : FAKE_SERVE;
}

/* A record behind one that failed must not be stored: the next life could not tell which is
 * missing.
 */
static void test_producer_named_stores_nothing_behind_a_failure(void **state)
{
    (void)state;
    begin();
    cluster.script = refuse_third;
    int64_t taken = 0;
    int rv = 0;
    while (rv == 0 && taken < 200) {
        rv = produce_with(producer, (uintptr_t)taken);
        taken += rv == 0 ? 1 : 0;
    }
    assert_true(rv == 0 || rv == SPATE_ERR_CORRUPT);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    int64_t records = cluster.log.next_offset;
    assert_in_range(records, 2, taken - 1);
    check_log(records);
    for (int64_t i = 0; i < taken; i++) {
        assert_int_equal(reported[i], 1);
        assert_int_equal(status_of[i], i < records ? 0 : SPATE_ERR_CORRUPT);
    }
    assert_int_equal(produce_with(producer, 200), SPATE_ERR_CORRUPT);
    spate_producer_free(producer);
    cluster.script = NULL;
    producer = new_life();
    assert_int_equal(stored(producer), records);
    produce_range(producer, (uintptr_t)records, 200);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    check_log(200);
    end();
}

static enum fake_action lose_resumes(struct fake_cluster *fake, const char *method, unsigned count)
{
    (void)fake;
    if (strcmp(method, "producer.resume") == 0) {
        return count == 1 ? FAKE_DROP_BEFORE : count == 2 ? FAKE_DROP_AFTER : FAKE_SERVE;
    }
    return FAKE_SERVE;
}

static void test_producer_named_takeover_survives_lost_answers(void **state)
{
    (void)state;
    begin();
    cluster.leader = 1;
    cluster.script = lose_resumes;
    assert_int_equal(stored(producer), 0);
    assert_true(cluster.resume_count >= 3);
    produce_range(producer, 0, 30);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    check_log(30);
    end();
}

static void test_producer_named_forgotten_count_is_an_error_not_a_zero(void **state)
{
    int64_t records = -7;
    int64_t offset = -7;

    (void)state;
    begin();
    cluster.forgotten = true;
    assert_int_equal(stored(producer), 0); /* epoch 0: the name is new, so that is certain */
    spate_producer_free(producer);
    producer = new_life();
    assert_int_equal(spate_producer_stored(producer, "t", 0, &records, &offset),
                     SPATE_ERR_UNKNOWN_PRODUCER);
    assert_int_equal(records, -7);
    assert_int_equal(produce_with(producer, 0), SPATE_ERR_UNKNOWN_PRODUCER);
    assert_int_equal(cluster.log.next_offset, 0);
    end();
}

static void test_producer_without_a_name_knows_nothing_of_earlier_lives(void **state)
{
    int64_t records = 0;
    int64_t offset = 0;

    (void)state;
    fake_start(&cluster, NULL);
    producer = new_life();
    assert_int_equal(spate_producer_stored(producer, "t", 0, &records, &offset), SPATE_ERR_INVALID);
    assert_int_equal(cluster.resume_count, 0);
    end();
}

static void test_producer_named_settings_are_checked(void **state)
{
    struct spate_config *config = spate_config_new();
    char name[SP_PRODUCER_NAME_SIZE_MAX + 2];

    (void)state;
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    assert_int_equal(spate_config_set(config, "producer.name", ""), SPATE_ERR_INVALID);
    assert_int_equal(spate_config_set(config, "producer.name", "a\nb"), SPATE_ERR_INVALID);
    assert_int_equal(spate_config_set(config, "producer.name", "\xff"), SPATE_ERR_INVALID);
    assert_int_equal(spate_config_set(config, "producer.name", name), SPATE_ERR_INVALID);
    assert_int_equal(spate_config_set(config, "producer.name", name + 1), 0);
    assert_int_equal(spate_config_set(config, "producer.layout", ""), 0);
    assert_int_equal(spate_config_set(config, "producer.layout", name), SPATE_ERR_INVALID);
    spate_config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_producer_named_first_life_finds_nothing),
        cmocka_unit_test(test_producer_named_next_life_goes_on_behind_what_is_stored),
        cmocka_unit_test(test_producer_named_takes_over_before_its_first_batch_unasked),
        cmocka_unit_test(test_producer_named_old_life_is_told_who_took_over),
        cmocka_unit_test(test_producer_named_stores_nothing_behind_a_failure),
        cmocka_unit_test(test_producer_named_takeover_survives_lost_answers),
        cmocka_unit_test(test_producer_named_forgotten_count_is_an_error_not_a_zero),
        cmocka_unit_test(test_producer_without_a_name_knows_nothing_of_earlier_lives),
        cmocka_unit_test(test_producer_named_settings_are_checked),
    };
    return cmocka_run_group_tests_name("client/producer_named", tests, NULL, NULL);
}
