#include "fake_cluster.h"

#include <poll.h>

#include "client/metadata.h"
#include "client/producer.h"

enum {
    FAR_MS = 5000, /* a test that waits so long has failed */
};

static struct fake_cluster cluster;
static struct spate_producer *producer;

static struct {
    unsigned count;
    int status;
    void *opaque;
} reported;

static void on_delivery(void *arg, const struct spate_delivery *delivery)
{
    (void)arg;
    reported.count += 1;
    reported.status = delivery->status;
    reported.opaque = delivery->opaque;
}

static void begin(const char *const *keys)
{
    memset(&reported, 0, sizeof reported);
    fake_start(&cluster, keys);
    assert_int_equal(spate_producer_new(cluster.client, on_delivery, NULL, &producer), 0);
}

static void end(void)
{
    spate_producer_free(producer);
    fake_stop(&cluster);
}

static struct spate_record record_of(const char *value)
{
    return (struct spate_record){ .topic = "t", .value = value, .value_size = strlen(value) };
}

/* ---- configuration --------------------------------------------------------------------------- */

static void test_config_get_returns_what_was_set(void **state)
{
    static const char *const pairs[][2] = {
        { "servers", "a:7700,b:1" }, { "client.name", "me" },   { "compression", "lz4" },
        { "io.thread", "off" },      { "linger.ms", "7" },      { "buffer.bytes", "1073741824" },
        { "group.id", "g" },         { "offset.reset", "end" },
    };
    struct spate_config *config = spate_config_new();
    char text[64];

    (void)state;
    assert_int_equal(spate_config_get(config, "io.thread", text, sizeof text), 0);
    assert_string_equal(text, "on");
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        const char *key = pairs[i][0];
        size_t size = strlen(pairs[i][1]);
        assert_int_equal(spate_config_set(config, key, pairs[i][1]), 0);
        assert_int_equal(spate_config_get(config, key, text, size), SPATE_ERR_TOO_LARGE);
        assert_int_equal(spate_config_get(config, key, text, size + 1), 0);
        assert_string_equal(text, pairs[i][1]);
    }
    assert_int_equal(spate_config_get(config, "no.such", text, 64), SPATE_ERR_NOT_FOUND);
    assert_int_equal(spate_config_get(config, NULL, text, 64), SPATE_ERR_INVALID);
    assert_int_equal(spate_config_set(config, "io.thread", "yes"), SPATE_ERR_INVALID);
    spate_config_free(config);
}

static void test_config_allowed_says_what_a_key_takes(void **state)
{
    static const char *const allowed[][2] = {
        { "servers", "servers as host:port,host:port" },
        { "compression", "none or lz4" },
        { "io.thread", "on or off" },
        { "offset.reset", "start, end or none" },
        { "linger.ms", "a number from 0 to 60000 of milliseconds, or 250ms, 30s, 5m, 12h, 5d" },
        { "max.in.flight", "a number from 1 to 5" },
        { "client.name", "a text in UTF-8 of 0 to 128 bytes, without control characters" },
    };
    char text[128];

    (void)state;
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++) {
        assert_int_equal(spate_config_allowed(allowed[i][0], text, 128), 0);
        assert_string_equal(text, allowed[i][1]);
        size_t length = strlen(text);
        assert_int_equal(spate_config_allowed(allowed[i][0], text, length), SPATE_ERR_TOO_LARGE);
    }
    assert_int_equal(spate_config_allowed("no.such", text, 128), SPATE_ERR_NOT_FOUND);
    assert_int_equal(spate_config_allowed(NULL, text, 128), SPATE_ERR_INVALID);
}

static void test_version_number_is_that_of_the_text(void **state)
{
    uint32_t number = spate_version_number();
    char text[32];

    (void)state;
    (void)snprintf(
        text, sizeof text, "%u.%u.%u", number / 1000000, number / 1000 % 1000, number % 1000);
    assert_string_equal(text, spate_version());
}

/* ---- connecting, figures, log ---------------------------------------------------------------- */

static void test_client_connect_waits_for_a_description(void **state)
{
    (void)state;
    begin(NULL);
    assert_int_equal(sp_metadata_completed(cluster.client->metadata), 0);
    assert_int_equal(spate_client_connect(cluster.client, FAR_MS), 0);
    assert_int_equal(cluster.metadata_count, 1);
    assert_int_equal(spate_client_connect(cluster.client, 0), 0); /* at once from now on */
    assert_int_equal(cluster.metadata_count, 1);
    end();
}

static void test_client_connect_to_nobody_is_unreachable(void **state)
{
    (void)state;
    begin(NULL);
    memcpy(cluster.client->servers[0], "127.0.0.1:1", sizeof "127.0.0.1:1");
    assert_int_equal(spate_client_connect(cluster.client, 0), SPATE_ERR_TIMEOUT); /* not tried */
    static const int waits_ms[] = { 1000, -1 }; /* too short to try for long, and long enough */
    for (size_t i = 0; i < sizeof waits_ms / sizeof waits_ms[0]; i++) {
        assert_int_equal(spate_client_connect(cluster.client, waits_ms[i]), SPATE_ERR_UNREACHABLE);
        assert_non_null(strstr(spate_client_error(cluster.client), "connection refused"));
    }
    end();
}

static void test_client_stats_count_records(void **state)
{
    struct spate_record record = record_of("x");
    struct spate_consumer *consumer = NULL;
    char *json = NULL;

    (void)state;
    begin(NULL);
    assert_int_equal(spate_produce(producer, &record, NULL), 0);
    assert_int_equal(spate_producer_flush(producer, FAR_MS), 0);
    assert_int_equal(spate_produce(producer, &record, NULL), 0);
    assert_int_equal(spate_consumer_new(cluster.client, &consumer), 0);
    assert_int_equal(spate_consumer_assign(consumer, "t", 0, 0), 0);
    assert_int_equal(spate_client_stats(cluster.client, &json), 0);
    assert_non_null(strstr(json, "\"producers\":[{\"taken\":2,\"pending\":1,\"in_flight\":0,"));
    assert_non_null(strstr(json, "\"consumers\":[{\"partitions\":1,\"lag\":0}]}"));
    assert_non_null(strstr(json, cluster.servers[0].address));
    assert_non_null(strstr(json, "\"connected\":true}"));
    assert_null(strstr(json, ",,"));
    spate_free(json);
    spate_consumer_free(consumer);
    end();
}

static void on_log(void *arg, int level, const char *text)
{
    char *lines = arg;

    (void)snprintf(lines + strlen(lines), 2000 - strlen(lines), "%d %s\n", level, text);
}

static enum fake_action refuse_first(struct fake_cluster *fake, const char *method, unsigned count)
{
    fake->refusal = SPATE_ERR_NOT_READY;
    fake->refusal_text = "just a moment";
    return strcmp(method, "produce") == 0 && count == 1 ? FAKE_REFUSE : FAKE_SERVE;
}

static void test_client_log_tells_of_retries(void **state)
{
    struct spate_record record = record_of("x");
    char lines[2000] = "";

    (void)state;
    begin(NULL);
    cluster.client->config.log_cb = on_log;
    cluster.client->config.log_arg = lines;
    cluster.script = refuse_first;
    assert_int_equal(spate_produce(producer, &record, NULL), 0);
    assert_int_equal(spate_producer_flush(producer, FAR_MS), 0);
    assert_non_null(strstr(lines, "1 records for t/0 are sent again: NOT_READY: just a moment\n"));
    end();
}

static void test_client_log_is_limited(void **state)
{
    char lines[2000] = "";

    (void)state;
    begin(NULL);
    cluster.client->config.log_cb = on_log;
    cluster.client->config.log_arg = lines;
    for (unsigned i = 0; i < 1000; i++) {
        sp_client_log(cluster.client, SPATE_LOG_INFO, "%u", i);
    }
    unsigned count = 0;
    for (const char *line = lines; *line != '\0'; line++) {
        count += *line == '\n' ? 1 : 0;
    }
    assert_in_range(count, 20, 60); /* the clock may have gone on by a second or two */
    end();
}

/* ---- waiting for one record ------------------------------------------------------------------ */

static void test_produce_wait_returns_the_offset(void **state)
{
    static const char *const lazy[] = { "linger.ms", "60000", NULL };
    struct spate_record record = record_of("x");
    int64_t offset = -1;

    (void)state;
    begin(lazy);
    assert_int_equal(spate_produce(producer, &record, &offset), 0); /* waits for company */
    assert_int_equal(spate_produce_wait(producer, &record, &offset), 0);
    assert_int_equal(offset, 1); /* in one batch with the first */
    assert_int_equal(reported.count, 1);
    assert_ptr_equal(reported.opaque, &offset); /* only the first one's callback ran */
    assert_int_equal(spate_produce_wait(producer, &record, NULL), 0);
    assert_int_equal(cluster.log.next_offset, 3);
    assert_int_equal(reported.count, 1);
    assert_int_equal(spate_producer_pending(producer), 0);
    end();
}

static enum fake_action refuse_all(struct fake_cluster *fake, const char *method, unsigned count)
{
    (void)count;
    fake->refusal = SPATE_ERR_TOO_LARGE;
    fake->refusal_text = "not today";
    return strcmp(method, "produce") == 0 ? FAKE_REFUSE : FAKE_SERVE;
}

static void test_produce_wait_tells_why_not(void **state)
{
    struct spate_record record = record_of("x");
    int64_t offset = -7;

    (void)state;
    begin(NULL);
    cluster.script = refuse_all;
    assert_int_equal(spate_produce_wait(producer, &record, &offset), SPATE_ERR_TOO_LARGE);
    assert_non_null(strstr(spate_client_error(cluster.client), "not today"));
    assert_int_equal(offset, -7);
    assert_int_equal(reported.count, 0);
    record.topic = "no/such";
    assert_int_equal(spate_produce_wait(producer, &record, &offset), SPATE_ERR_INVALID);
    assert_true(sp_list_empty(&producer->waits));
    end();
}

/* ---- one deadline ---------------------------------------------------------------------------- */

static void make_reachable(struct sp_timer *timer)
{
    (void)timer;
    memcpy(
        cluster.client->servers[0], cluster.servers[0].address, sizeof cluster.servers[0].address);
}

static enum fake_action never_answers(struct fake_cluster *fake, const char *method, unsigned count)
{
    (void)fake;
    (void)method;
    (void)count;
    return FAKE_SILENT;
}

static int wait_for_record(void)
{
    struct spate_record record = record_of("x");

    return spate_produce_wait(producer, &record, NULL);
}

static int wait_for_stored(void)
{
    int64_t records = 0;
    int64_t offset = 0;

    return spate_producer_stored(producer, "t", 0, &records, &offset);
}

/* The topic is described late, which takes most of timeout.ms, and then no leader answers. */
static void check_deadline(const char *const *keys, int (*call)(void))
{
    struct sp_timer timer;

    begin(keys);
    cluster.script = never_answers;
    memcpy(cluster.client->servers[0], "127.0.0.1:1", sizeof "127.0.0.1:1"); /* nobody listens */
    uint64_t begun_ms = sp_loop_now_ms(cluster.client->loop);
    sp_timer_init(&timer, cluster.client->loop, make_reachable);
    assert_int_equal(sp_timer_start(&timer, begun_ms + 800), 0);
    assert_int_equal(call(), SPATE_ERR_TIMEOUT);
    uint64_t took_ms = sp_loop_now_ms(cluster.client->loop) - begun_ms;
    assert_true(took_ms >= 1000 && took_ms < 1500);
    end();
}

static void test_produce_wait_waits_for_topic_and_outcome_in_one_time(void **state)
{
    static const char *const keys[] = { "timeout.ms", "1000", NULL };

    (void)state;
    check_deadline(keys, wait_for_record);
}

static void test_producer_stored_waits_for_topic_and_answer_in_one_time(void **state)
{
    static const char *const keys[] = {
        "timeout.ms", "1000", "producer.name", "loader", "producer.layout", "one", NULL
    };

    (void)state;
    check_deadline(keys, wait_for_stored);
}

/* ---- inside another loop --------------------------------------------------------------------- */

/* As a program with a loop of its own; how often it called. */
static unsigned drive_until_reported(unsigned count)
{
    struct pollfd watched = { .fd = spate_client_fd(cluster.client), .events = POLLIN };
    unsigned calls = 0;

    while (reported.count < count) {
        int wait_ms = spate_client_wait_ms(cluster.client);
        (void)poll(&watched, 1, wait_ms < 0 ? FAR_MS : wait_ms);
        assert_true(spate_poll(cluster.client, 0) >= 0);
        calls += 1;
        assert_true(calls < 1000);
    }
    return calls;
}

static void test_client_fd_drives_a_client_without_thread(void **state)
{
    struct spate_record record = record_of("x");

    (void)state;
    begin(NULL);
    assert_int_equal(spate_produce(producer, &record, NULL), 0);
    assert_true(drive_until_reported(1) < 100);
    assert_int_equal(reported.status, 0);
    end();
}

static void test_client_wait_is_short_while_something_is_ready(void **state)
{
    struct spate_record record = record_of("x");

    (void)state;
    begin(NULL);
    assert_int_equal(spate_produce(producer, &record, NULL), 0);
    while (sp_list_empty(&producer->finished)) {
        (void)sp_client_run(cluster.client, sp_client_deadline(cluster.client, 100));
    }
    assert_int_equal(spate_client_wait_ms(cluster.client), 0);
    assert_int_equal(spate_poll(cluster.client, 0), 1);
    end();
}

/* ---- closing --------------------------------------------------------------------------------- */

static enum fake_action silent(struct fake_cluster *fake, const char *method, unsigned count)
{
    (void)fake;
    (void)count;
    return strcmp(method, "produce") == 0 ? FAKE_SILENT : FAKE_SERVE;
}

static void test_client_close_ends_everything(void **state)
{
    struct spate_record record = record_of("x");
    struct spate_consumer *consumer = NULL;

    (void)state;
    begin(NULL);
    cluster.script = silent;
    assert_int_equal(spate_produce(producer, &record, NULL), 0);
    assert_int_equal(spate_consumer_new(cluster.client, &consumer), 0);
    assert_int_equal(spate_consumer_assign(consumer, "t", 0, 0), 0);
    assert_int_equal(spate_producer_flush(producer, 100), SPATE_ERR_TIMEOUT);
    for (unsigned i = 0; i < FAKE_SERVERS; i++) {
        sp_server_close(cluster.servers[i].server, fake_on_server_closed, &cluster);
    }
    assert_int_equal(spate_client_close(cluster.client, 50), SPATE_ERR_TIMEOUT);
    assert_int_equal(reported.count, 1);
    assert_int_equal(reported.status, SPATE_ERR_CANCELED);
    assert_int_equal(sp_mem_live_count(), cluster.live_before);
    assert_int_equal(spate_client_close(NULL, 0), 0);
}

static void test_client_that_closes_refuses_calls(void **state)
{
    struct spate_record record = record_of("x");
    struct spate_producer *other = NULL;
    void *result = NULL;
    size_t size = 0;

    (void)state;
    begin(NULL);
    cluster.client->closing = true;
    assert_int_equal(spate_produce(producer, &record, NULL), SPATE_ERR_CANCELED);
    assert_int_equal(spate_producer_new(cluster.client, NULL, NULL, &other), SPATE_ERR_CANCELED);
    assert_int_equal(spate_call(cluster.client, "ping", "\x80", 1, &result, &size),
                     SPATE_ERR_CANCELED);
    assert_int_equal(spate_poll(cluster.client, 1000), SPATE_ERR_CANCELED);
    assert_int_equal(spate_client_connect(cluster.client, 1000), SPATE_ERR_CANCELED);
    cluster.client->closing = false;
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_get_returns_what_was_set),
        cmocka_unit_test(test_config_allowed_says_what_a_key_takes),
        cmocka_unit_test(test_version_number_is_that_of_the_text),
        cmocka_unit_test(test_client_connect_waits_for_a_description),
        cmocka_unit_test(test_client_connect_to_nobody_is_unreachable),
        cmocka_unit_test(test_client_stats_count_records),
        cmocka_unit_test(test_client_log_tells_of_retries),
        cmocka_unit_test(test_client_log_is_limited),
        cmocka_unit_test(test_produce_wait_returns_the_offset),
        cmocka_unit_test(test_produce_wait_tells_why_not),
        cmocka_unit_test(test_produce_wait_waits_for_topic_and_outcome_in_one_time),
        cmocka_unit_test(test_producer_stored_waits_for_topic_and_answer_in_one_time),
        cmocka_unit_test(test_client_fd_drives_a_client_without_thread),
        cmocka_unit_test(test_client_wait_is_short_while_something_is_ready),
        cmocka_unit_test(test_client_close_ends_everything),
        cmocka_unit_test(test_client_that_closes_refuses_calls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
