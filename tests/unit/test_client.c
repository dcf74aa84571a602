#include "fake_cluster.h"

#include "client/config.h"
#include "client/metadata.h"
#include "client/partitioner.h"

static const uint8_t empty_map[] = { 0x80 };

/* ---- partitioner ----------------------------------------------------------------------------- */

static void test_partitioner_murmur2_is_that_of_kafka(void **state)
{
    /* The values of Kafka's own test, UtilsTest.testMurmur2. */
    static const struct {
        const char *key;
        int32_t hash;
    } golden[] = {
        { "21", -973932308 },
        { "foobar", -790332482 },
        { "a-little-bit-long-string", -985981536 },
        { "a-little-bit-longer-string", -1486304829 },
        { "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971 },
        { "abc", 479470107 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
        const char *key = golden[i].key;
        uint32_t hash = (uint32_t)golden[i].hash;
        assert_int_equal(sp_murmur2(key, strlen(key)), hash);
        assert_int_equal(sp_partition_of_key(key, strlen(key), 7), (hash & 0x7fffffff) % 7);
    }
}

/* ---- configuration --------------------------------------------------------------------------- */

static void test_config_servers_are_normalised(void **state)
{
    static const char *const good[][2] = {
        { "a", "a:7700" },
        { "a:1, b ,10.0.0.1:65535", "a:1,b:7700,10.0.0.1:65535" },
        { "[::1]:7800,[::2]", "[::1]:7800,[::2]:7700" },
    };
    static const char *const bad[] = { "",         ",",    "a,",   "a:",     "a:0",  "a:65536",
                                       "a:000080", ":770", "a:b",  "a b",    "[::1", "::1",
                                       "[::1]x",   "a:1:", "a,,b", "[::1]:x" };
    struct spate_config *config = spate_config_new();

    (void)state;
    assert_non_null(config);
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(spate_config_set(config, "servers", good[i][0]), 0);
        assert_string_equal(config->servers, good[i][1]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(spate_config_set(config, "servers", bad[i]), SPATE_ERR_INVALID);
    }
    spate_config_free(config);
}

static void test_config_values_out_of_range_are_invalid(void **state)
{
    static const char *const bad[][2] = {
        { "timeout.ms", "0" },    { "timeout.ms", "-1" },    { "timeout.ms", "1x" },
        { "max.in.flight", "6" }, { "max.in.flight", "0" },  { "batch.bytes", "99999999999999" },
        { "linger.ms", "2m" },    { "compression", "zstd" }, { "fetch.bytes", "" },
        { "linger.ms", " 1" },    { "buffer.bytes", "1" },   { "client.name", "\xff" },
    };
    struct spate_config *config = spate_config_new();

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(spate_config_set(config, bad[i][0], bad[i][1]), SPATE_ERR_INVALID);
    }
    assert_int_equal(spate_config_set(config, "no.such", "1"), SPATE_ERR_NOT_FOUND);
    assert_int_equal(spate_config_set(config, "linger.ms", "0"), 0);
    assert_int_equal(config->linger_ms, 0);
    spate_config_free(config);
}

/* A name tells the unit of a number alone; other units are written. */
static void test_config_values_take_units(void **state)
{
    struct spate_config *config = spate_config_new();
    char text[32];

    (void)state;
    assert_int_equal(spate_config_set(config, "timeout.ms", "2m"), 0);
    assert_int_equal(config->timeout_ms, 120000);
    assert_int_equal(spate_config_set(config, "linger.ms", "250ms"), 0);
    assert_int_equal(spate_config_get(config, "linger.ms", text, sizeof text), 0);
    assert_string_equal(text, "250");
    assert_int_equal(spate_config_set(config, "batch.bytes", "64K"), 0);
    assert_int_equal(config->batch_bytes, 65536);
    assert_int_equal(spate_config_set(config, "max.in.flight", "3s"), SPATE_ERR_INVALID);
    spate_config_free(config);
}

/* ---- calls ----------------------------------------------------------------------------------- */

static int call_alone(const char *servers, const char *timeout, const char *method, char text[300])
{
    struct spate_config *config = spate_config_new();
    struct spate_client *client = NULL;
    void *result = NULL;
    size_t size = 0;

    assert_int_equal(spate_config_set(config, "servers", servers), 0);
    assert_int_equal(spate_config_set(config, "timeout.ms", timeout), 0);
    assert_int_equal(spate_client_new(config, &client), 0);
    int rv = spate_call(client, method, empty_map, sizeof empty_map, &result, &size);
    (void)snprintf(text, 300, "%s", spate_client_error(client));
    assert_null(result);
    spate_client_free(client);
    spate_config_free(config);
    return rv;
}

static void test_client_nobody_listens_is_unreachable(void **state)
{
    char text[300];

    (void)state;
    assert_int_equal(call_alone("127.0.0.1:1", "300", "ping", text), SPATE_ERR_UNREACHABLE);
    assert_non_null(strstr(text, "127.0.0.1:1"));
}

static void test_client_topic_of_nobody_is_unreachable(void **state)
{
    struct spate_config *config = spate_config_new();
    struct spate_client *client = NULL;
    uint32_t count = 0;

    (void)state;
    assert_int_equal(spate_config_set(config, "servers", "127.0.0.1:1,127.0.0.1:2"), 0);
    assert_int_equal(spate_config_set(config, "timeout.ms", "200"), 0);
    assert_int_equal(spate_client_new(config, &client), 0);
    assert_int_equal(spate_topic_partitions(client, "t", &count), SPATE_ERR_UNREACHABLE);
    assert_non_null(strstr(spate_client_error(client), "127.0.0.1:1,127.0.0.1:2"));
    spate_client_free(client);
    spate_config_free(config);
}

static void test_client_next_server_answers(void **state)
{
    struct fake_cluster cluster;
    void *result = NULL;
    size_t size = 0;

    (void)state;
    fake_start(&cluster, NULL);
    cluster.client->server_count = 2;
    strcpy(cluster.client->servers[0], "127.0.0.1:1");
    strcpy(cluster.client->servers[1], cluster.servers[0].address);
    int rv = spate_call(cluster.client, "ping", empty_map, 1, &result, &size);
    assert_int_equal(rv, 0);
    assert_int_equal(size, 1);
    spate_free(result);
    fake_stop(&cluster);
}

/* A server that accepts connections and reads, but never answers anything. */
static void
mute(void *arg, struct sp_conn *conn, struct sp_blob *blob, size_t position, size_t size)
{
    (void)arg;
    (void)conn;
    (void)blob;
    (void)position;
    (void)size;
}

static const struct sp_conn_handler mute_handler = { .message = mute, .closed = fake_on_closed };

static int
mute_accept(void *arg, const char *peer, const struct sp_conn_handler **out_handler, void **out_arg)
{
    (void)peer;
    *out_handler = &mute_handler;
    *out_arg = arg;
    return 0;
}

static const struct sp_server_handler mute_server = {
    .accept = mute_accept,
    .opened = fake_on_opened,
};

static void check_mute(const char *method, const char *timeout, uint64_t most_ms)
{
    struct spate_config *config = spate_config_new();
    struct spate_client *client = NULL;
    struct sp_server *server = NULL;

    assert_int_equal(spate_config_set(config, "timeout.ms", timeout), 0);
    assert_int_equal(spate_config_set(config, "io.thread", "off"), 0); /* its loop is ours, too */
    assert_int_equal(spate_client_new(config, &client), 0);
    assert_int_equal(
        sp_server_new(
            client->loop, "127.0.0.1:0", &sp_conn_messagepack, 10, &mute_server, NULL, &server),
        0);
    (void)snprintf(client->servers[0], SP_ADDRESS_SIZE_MAX, "127.0.0.1:%u", sp_server_port(server));
    uint64_t begin_ms = sp_loop_now_ms(client->loop);
    assert_int_equal(spate_call(client, method, empty_map, 1, NULL, NULL), SPATE_ERR_TIMEOUT);
    assert_true(sp_loop_now_ms(client->loop) - begin_ms <= most_ms);
    assert_string_not_equal(spate_client_error(client), "");
    sp_server_close(server, NULL, NULL);
    spate_client_free(client);
    spate_config_free(config);
}

static void test_client_silent_server_is_timeout_in_time(void **state)
{
    (void)state;
    check_mute("ping", "200", 400);
    check_mute("topic.create", "200", 400); /* not repeatable: one attempt */
}

static void test_client_server_text_reaches_the_caller(void **state)
{
    struct fake_cluster cluster;

    (void)state;
    fake_start(&cluster, NULL);
    cluster.topic_exists = false;
    uint32_t count = 0;
    assert_int_equal(spate_topic_partitions(cluster.client, "t", &count), SPATE_ERR_UNKNOWN_TOPIC);
    assert_int_equal(spate_topic_partitions(cluster.client, "a/b", &count), SPATE_ERR_INVALID);
    fake_stop(&cluster);
}

static void test_client_offsets_follow_the_leader(void **state)
{
    struct fake_cluster cluster;
    int64_t offset = -9;

    (void)state;
    fake_start(&cluster, NULL);
    fake_log_fill(&cluster.log, 12, SP_COMPRESSION_NONE);
    cluster.log.start = 3;
    cluster.leader = 1; /* metadata names the other one */
    assert_int_equal(spate_offsets(cluster.client, "t", 0, SPATE_AT_END, &offset), 0);
    assert_int_equal(offset, 12);
    assert_int_equal(spate_offsets(cluster.client, "t", 0, SPATE_AT_START, &offset), 0);
    assert_int_equal(offset, 3);
    assert_int_equal(spate_offsets(cluster.client, "t", 5, SPATE_AT_START, &offset),
                     SPATE_ERR_UNKNOWN_PARTITION);
    fake_stop(&cluster);
}

/* ---- metadata -------------------------------------------------------------------------------- */

static void test_metadata_many_wants_make_one_request(void **state)
{
    struct fake_cluster cluster;
    struct sp_topic_view *topic = NULL;

    (void)state;
    fake_start(&cluster, NULL);
    assert_int_equal(sp_metadata_topic(cluster.client->metadata, "t", &topic), 0);
    assert_int_equal(sp_metadata_wait_leader(cluster.client->metadata, topic, 0, UINT64_MAX), 0);
    assert_int_equal(cluster.metadata_count, 1);
    assert_string_equal(sp_rpc_address(topic->partitions[0].leader->rpc),
                        cluster.servers[0].address);
    uint64_t wanted = 0;
    for (int i = 0; i < 100; i++) {
        wanted = sp_metadata_want(cluster.client->metadata);
    }
    cluster.metadata_leader = 1;
    while (sp_metadata_completed(cluster.client->metadata) < wanted) {
        sp_client_run(cluster.client, UINT64_MAX);
    }
    assert_int_equal(cluster.metadata_count, 2);
    assert_string_equal(sp_rpc_address(topic->partitions[0].leader->rpc),
                        cluster.servers[1].address);
    fake_stop(&cluster);
}

static void test_client_every_failing_allocation_is_survived(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 200; n++) {
        uint64_t live = sp_mem_live_count();
        struct spate_client *client = NULL;
        sp_mem_fail_at(n);
        int rv = spate_client_new(NULL, &client);
        sp_mem_fail_at(0);
        if (rv == 0) {
            spate_client_free(client);
            assert_int_equal(sp_mem_live_count(), live);
            return;
        }
        assert_int_equal(rv, SPATE_ERR_NOMEM);
        assert_int_equal(sp_mem_live_count(), live);
    }
    fail_msg("it never succeeded");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_partitioner_murmur2_is_that_of_kafka),
        cmocka_unit_test(test_config_servers_are_normalised),
        cmocka_unit_test(test_config_values_out_of_range_are_invalid),
        cmocka_unit_test(test_config_values_take_units),
        cmocka_unit_test(test_client_nobody_listens_is_unreachable),
        cmocka_unit_test(test_client_topic_of_nobody_is_unreachable),
        cmocka_unit_test(test_client_next_server_answers),
        cmocka_unit_test(test_client_silent_server_is_timeout_in_time),
        cmocka_unit_test(test_client_server_text_reaches_the_caller),
        cmocka_unit_test(test_client_offsets_follow_the_leader),
        cmocka_unit_test(test_metadata_many_wants_make_one_request),
        cmocka_unit_test(test_client_every_failing_allocation_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
