#include "server/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "spate/error.h"

/* Reads `text` as a file; the error text has its path replaced by "F". */
static int read_text(const char *text, struct sp_config *config, struct sp_config_error *error)
{
    char path[] = "config-test-XXXXXX";
    int fd = mkstemp(path);
    char rest[sizeof error->text];
    int rv;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
    sp_config_init(config);
    memset(error, 0, sizeof *error);
    rv = sp_config_read_file(config, path, error);
    (void)unlink(path);
    if (strncmp(error->text, path, strlen(path)) == 0) {
        (void)snprintf(rest, sizeof rest, "F%s", error->text + strlen(path));
        (void)snprintf(error->text, sizeof error->text, "%s", rest);
    }
    return rv;
}

static void test_config_nested_and_dotted_keys_mean_the_same(void **state)
{
    struct sp_config nested;
    struct sp_config dotted;
    struct sp_config_error error;

    (void)state;
    assert_int_equal(read_text("node: { id: 3 }\n"
                               "cluster:\n"
                               "  seeds: [\"1@a:1\", 3@b:2]\n"
                               "raft:\n"
                               "  election:\n"
                               "    timeout.ms: 500\n"
                               "rack: r1\n",
                               &nested,
                               &error),
                     0);
    assert_int_equal(read_text("node.id: 3\n"
                               "cluster.seeds:\n"
                               "- 1@a:1\n"
                               "- 3@b:2\n"
                               "raft.election.timeout.ms: 500\n"
                               "rack: r1\n",
                               &dotted,
                               &error),
                     0);
    assert_int_equal(nested.node_id, 3);
    assert_int_equal(nested.election_timeout_ms, 500);
    assert_string_equal(nested.seeds, "1@a:1,3@b:2");
    assert_memory_equal(&nested, &dotted, sizeof nested);
}

static void test_config_errors_name_line_key_and_what_is_allowed(void **state)
{
    static const struct {
        const char *text;
        const char *expected;
    } cases[] = {
        { "rack: x\nnode.id: 0\n",
          "F:2: node.id must be a whole number from 1 to 1023, or from-hostname on a host whose "
          "name ends in one, not `0`" },
        { "node:\n  id: many\n",
          "F:2: node.id must be a whole number from 1 to 1023, or from-hostname on a host whose "
          "name ends in one, not `many`" },
        { "raft.heartbeat.ms: 20M\n",
          "F:1: raft.heartbeat.ms must be a number from 5 to 10000 of milliseconds, or 250ms, 30s, "
          "5m, 12h, 5d, not `20M`" },
        { "raft.heartbeat.ms: 11s\n",
          "F:1: raft.heartbeat.ms must be a number from 5 to 10000 of milliseconds, or 250ms, 30s, "
          "5m, 12h, 5d, not `11s`" },
        { "storage.segment.bytes: 4G\n",
          "F:1: storage.segment.bytes must be a number from 65536 to 1073741824 of bytes, or 64K, "
          "64KiB, 64M, 10G (powers of 1024), 64kB, 64MB (of 1000), not `4G`" },
        { "limits.connections: 10K\n",
          "F:1: limits.connections must be a number from 1 to 100000, not `10K`" },
        { "trace.level: loud\n",
          "F:1: trace.level must be one of error|warn|info|debug, not `loud`" },
        { "trace.level: warn|info\n",
          "F:1: trace.level must be one of error|warn|info|debug, not `warn|info`" },
        { "\n\nnode.idd: 1\n",
          "F:3: no key `node.idd`: did you mean `node.id`? `spated --example` lists all keys" },
        { "rack: [a, b]\n", "F:1: takes one value, not a list: rack" },
        { "just text\n", "F:1: the file must hold `key: value` lines" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sp_config config;
        struct sp_config_error error;
        assert_int_equal(read_text(cases[i].text, &config, &error), SPATE_ERR_CONFIG);
        assert_string_equal(error.text, cases[i].expected);
    }
}

static void test_config_times_and_sizes_take_units(void **state)
{
    struct sp_config config;
    struct sp_config_error error;

    (void)state;
    assert_int_equal(read_text("raft.heartbeat.ms: 2s\n"
                               "node: { replace.after.ms: 12h }\n"
                               "storage:\n"
                               "  segment.bytes: 64M\n"
                               "  min.free.bytes: \"1GiB\"\n"
                               "moves.bytes.per.second: 10MB\n",
                               &config,
                               &error),
                     0);
    assert_int_equal(config.heartbeat_ms, 2000);
    assert_int_equal(config.node_replace_ms, 43200000);
    assert_int_equal(config.segment_bytes, 67108864);
    assert_int_equal(config.free_bytes_min, 1073741824);
    assert_int_equal(config.move_bytes_per_s, 10000000);
    assert_int_equal(sp_config_set(&config, "groups.offsets.retention.ms=49d", &error), 0);
    assert_int_equal(config.group_retention_ms, UINT32_C(4233600000));
    assert_int_equal(sp_config_set(&config, "groups.offsets.retention.ms=50d", &error),
                     SPATE_ERR_CONFIG);
    assert_int_equal(config.group_retention_ms, UINT32_C(4233600000));
}

static void test_config_broken_yaml_is_refused_with_its_line(void **state)
{
    struct sp_config config;
    struct sp_config_error error;

    (void)state;
    assert_int_equal(read_text("rack: a\nnode: {id: 1\n", &config, &error), SPATE_ERR_CONFIG);
    assert_memory_equal(error.text, "F:3: not valid YAML", 19);
}

static void test_config_environment_and_set_override_the_file(void **state)
{
    char *environment[] = { (char *)(uintptr_t) "PATH=/bin",
                            (char *)(uintptr_t) "SPATE_NODE_NODE_ID=5",
                            (char *)(uintptr_t) "SPATE_NODE_RACK=east",
                            NULL };
    char *misspelt[] = { (char *)(uintptr_t) "SPATE_NODE_RAK=east", NULL };
    struct sp_config config;
    struct sp_config_error error;

    (void)state;
    assert_int_equal(read_text("node.id: 3\nrack: west\n", &config, &error), 0);
    assert_int_equal(sp_config_read_environment(&config, environment, &error), 0);
    assert_int_equal(config.node_id, 5);
    assert_string_equal(config.rack, "east");
    assert_int_equal(sp_config_set(&config, "rack=north=1", &error), 0);
    assert_string_equal(config.rack, "north=1");
    assert_int_equal(sp_config_read_environment(&config, misspelt, &error), SPATE_ERR_CONFIG);
    assert_non_null(strstr(error.text, "SPATE_NODE_RAK"));
    assert_int_equal(sp_config_set(&config, "rack", &error), SPATE_ERR_CONFIG);
}

static void test_config_seeds_must_be_sound_and_name_this_node(void **state)
{
    static const struct {
        const char *seeds;
        const char *expected;
    } cases[] = {
        { "1@h", "cluster.seeds: `1@h` must look like ID@HOST:PORT" },
        { "h:1", "cluster.seeds: `h:1` must look like ID@HOST:PORT" },
        { "0@h:1", "cluster.seeds: `0` must be a node id from 1 to 1023" },
        { "1@h:1,1@h:2", "cluster.seeds: node 1 is listed twice" },
        { "2@h:1",
          "cluster.seeds does not list this node (node.id is 1): every node that forms the "
          "cluster stands in the list; others need cluster.join as well" },
    };
    struct sp_transport_options transport;
    struct sp_config_error error;
    struct sp_config config;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sp_config_init(&config);
        (void)snprintf(config.seeds, sizeof config.seeds, "%s", cases[i].seeds);
        assert_int_equal(sp_config_finish(&config, &transport, &error), SPATE_ERR_CONFIG);
        assert_string_equal(error.text, cases[i].expected);
    }
    sp_config_init(&config);
    (void)snprintf(config.seeds, sizeof config.seeds, "2@b:2,1@a:1");
    assert_int_equal(sp_config_finish(&config, &transport, &error), 0);
    assert_int_equal(transport.seed_count, 2);
    assert_string_equal(transport.advertise, "a:1");
}

static void test_config_a_node_that_joins_may_name_the_seeds(void **state)
{
    struct sp_transport_options transport;
    struct sp_config_error error;
    struct sp_config config;

    (void)state;
    sp_config_init(&config); /* node 1, beside the seeds: they are members to ask */
    (void)snprintf(config.seeds, sizeof config.seeds, "2@b:2,3@c:3");
    (void)snprintf(config.join, sizeof config.join, "d:4");
    assert_int_equal(sp_config_finish(&config, &transport, &error), 0);
    assert_int_equal(transport.seed_count, 0);
    assert_int_equal(transport.join_count, 3);
    assert_string_equal(transport.join[0], "d:4");
    assert_string_equal(transport.join[2], "c:3");
    /* a seed among others stays one */
    (void)snprintf(config.seeds, sizeof config.seeds, "1@a:1,2@b:2");
    assert_int_equal(sp_config_finish(&config, &transport, &error), 0);
    assert_int_equal(transport.seed_count, 2);
    assert_int_equal(transport.join_count, 0);
    /* alone it would form a cluster of its own beside the one that it is to join */
    (void)snprintf(config.seeds, sizeof config.seeds, "1@a:1");
    assert_int_equal(sp_config_finish(&config, &transport, &error), 0);
    assert_int_equal(transport.seed_count, 0);
    assert_int_equal(transport.join_count, 1);
}

static void test_config_without_seeds_is_a_cluster_of_one(void **state)
{
    struct sp_transport_options transport;
    struct sp_config_error error;
    struct sp_config config;

    (void)state;
    sp_config_init(&config);
    assert_int_equal(sp_config_finish(&config, &transport, &error), 0);
    assert_int_equal(transport.seed_count, 1);
    assert_int_equal(transport.seeds[0].node_id, 1);
    assert_string_equal(transport.seeds[0].address, "127.0.0.1:7701");
}

static void test_config_heartbeat_must_fit_the_election_timeout(void **state)
{
    struct sp_transport_options transport;
    struct sp_config_error error;
    struct sp_config config;

    (void)state;
    sp_config_init(&config);
    config.heartbeat_ms = 151;
    assert_int_equal(sp_config_finish(&config, &transport, &error), SPATE_ERR_CONFIG);
    config.heartbeat_ms = 150;
    assert_int_equal(sp_config_finish(&config, &transport, &error), 0);
}

static void test_config_wildcard_address_must_be_advertised_otherwise(void **state)
{
    struct sp_transport_options transport;
    struct sp_config_error error;
    struct sp_config config;

    (void)state;
    sp_config_init(&config);
    (void)snprintf(config.listen_client, sizeof config.listen_client, "0.0.0.0:7700");
    assert_int_equal(sp_config_finish(&config, &transport, &error), SPATE_ERR_CONFIG);
    assert_non_null(strstr(error.text, "advertise.client"));
    (void)snprintf(config.advertise_client, sizeof config.advertise_client, "10.0.0.1:7700");
    assert_int_equal(sp_config_finish(&config, &transport, &error), 0);
}

static void test_config_outside_port_is_told_beside_the_inside_one(void **state)
{
    struct sp_transport_options transport;
    struct sp_config_error error;
    struct sp_config config;
    char told[SP_ADDRESS_SIZE_MAX];

    (void)state;
    sp_config_init(&config);
    sp_config_client_address(&config, told);
    assert_string_equal(told, "127.0.0.1:7700");

    assert_int_equal(sp_config_set(&config, "advertise.outside=h:1", &error), 0);
    assert_int_equal(sp_config_finish(&config, &transport, &error), SPATE_ERR_CONFIG);
    assert_non_null(strstr(error.text, "listen.outside is not"));
    assert_int_equal(sp_config_set(&config, "listen.outside=0.0.0.0:7710", &error), 0);
    assert_int_equal(sp_config_finish(&config, &transport, &error), 0);
    sp_config_client_address(&config, told);
    assert_string_equal(told, "127.0.0.1:7700,h:1");

    assert_int_equal(sp_config_set(&config, "advertise.outside=", &error), 0);
    assert_int_equal(sp_config_finish(&config, &transport, &error), SPATE_ERR_CONFIG);
    assert_non_null(strstr(error.text, "advertise.outside: clients cannot connect to 0.0.0.0"));
    assert_int_equal(sp_config_set(&config, "advertise.outside=h:1,i:1", &error), 0);
    assert_int_equal(sp_config_finish(&config, &transport, &error), SPATE_ERR_CONFIG);
}

static void test_config_both_addresses_fit_one_registration(void **state)
{
    struct sp_transport_options transport;
    struct sp_config_error error;
    struct sp_config config;
    char told[SP_ADDRESS_SIZE_MAX];

    (void)state;
    sp_config_init(&config);
    assert_int_equal(sp_config_set(&config, "listen.outside=127.0.0.1:7710", &error), 0);
    memset(config.advertise_client, 'a', 130);
    memset(config.advertise_outside, 'b', 130);
    assert_int_equal(sp_config_finish(&config, &transport, &error), 0);
    sp_config_client_address(&config, told);
    assert_int_equal(strlen(told), SP_ADDRESS_SIZE_MAX - 1);
    config.advertise_outside[130] = 'b';
    assert_int_equal(sp_config_finish(&config, &transport, &error), SPATE_ERR_CONFIG);
}

static void test_config_node_id_may_come_from_the_host_name(void **state)
{
    static const struct {
        const char *host;
        uint32_t node_id; /* 0: none */
    } cases[] = { { "spate-0", 1 },     { "spate-12", 13 }, { "spate-2.spate.svc", 3 },
                  { "7", 8 },           { "spate", 0 },     { "", 0 },
                  { "spate-1.a-2", 2 }, { "x-", 0 },        { "n-99999999999", 0 } };
    struct sp_config_error error;
    struct sp_config config;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t node_id = 0;
        assert_int_equal(sp_config_id_of_host(cases[i].host, &node_id), cases[i].node_id != 0);
        assert_int_equal(node_id, cases[i].node_id);
    }
    sp_config_init(&config);
    assert_int_equal(sp_config_set(&config, "node.id=from-host", &error), SPATE_ERR_CONFIG);
    assert_non_null(strstr(error.text, "or from-hostname on a host whose name ends in one"));
}

/* Beside the clients' port, but never open to the world by itself. */
static void test_config_http_stands_beside_the_client_port(void **state)
{
    static const struct {
        const char *client;
        const char *http;
        const char *expected; /* NULL: nowhere */
    } cases[] = {
        { "127.0.0.1:7700", "", "127.0.0.1:7780" },
        { "127.0.0.3:7900", "", "127.0.0.3:7980" },
        { "localhost:1", "", "localhost:81" },
        { "0.0.0.0:7700", "", "127.0.0.1:7780" },
        { "[::]:7700", "", "127.0.0.1:7780" },
        { "10.1.2.3:65455", "", "127.0.0.1:65535" },
        { "10.1.2.3:65456", "", NULL },
        { "127.0.0.1:0", "", NULL },
        { "127.0.0.1:7700", "0.0.0.0:9000", "0.0.0.0:9000" },
        { "127.0.0.1:7700", "none", NULL },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char address[SP_ADDRESS_SIZE_MAX] = "";
        struct sp_config config;
        bool some;

        sp_config_init(&config);
        (void)snprintf(config.listen_client, sizeof config.listen_client, "%s", cases[i].client);
        (void)snprintf(config.listen_http, sizeof config.listen_http, "%s", cases[i].http);
        some = sp_config_http_address(&config, address);
        assert_int_equal(some, cases[i].expected != NULL);
        assert_string_equal(address, some ? cases[i].expected : "");
    }
}

static void test_config_http_must_be_an_address(void **state)
{
    struct sp_transport_options transport;
    struct sp_config_error error;
    struct sp_config config;

    (void)state;
    sp_config_init(&config);
    assert_int_equal(sp_config_set(&config, "listen.http=nowhere", &error), 0);
    assert_int_equal(sp_config_finish(&config, &transport, &error), SPATE_ERR_CONFIG);
    assert_string_equal(error.text,
                        "listen.http must look like HOST:PORT, or be `none`, not `nowhere`");
    assert_int_equal(sp_config_set(&config, "listen.http=none", &error), 0);
    assert_int_equal(sp_config_finish(&config, &transport, &error), 0);
}

static void test_config_ports_of_a_node_are_its_own(void **state)
{
    struct sp_transport_options transport;
    struct sp_config_error error;
    struct sp_config config;

    (void)state;
    sp_config_init(&config);
    assert_int_equal(sp_config_set(&config, "listen.client=127.0.0.1:7900", &error), 0);
    assert_int_equal(sp_config_set(&config, "listen.peer=127.0.0.1:7900", &error), 0);
    assert_int_equal(sp_config_finish(&config, &transport, &error), SPATE_ERR_CONFIG);
    assert_string_equal(
        error.text,
        "listen.client and listen.peer are both 127.0.0.1:7900: each needs a port of its own");
    assert_int_equal(sp_config_set(&config, "listen.peer=127.0.0.1:7901", &error), 0);
    assert_int_equal(sp_config_finish(&config, &transport, &error), 0);
    assert_int_equal(sp_config_set(&config, "listen.client=127.0.0.1:0", &error), 0);
    assert_int_equal(sp_config_set(&config, "listen.peer=127.0.0.1:0", &error), 0);
    assert_int_equal(sp_config_set(&config, "listen.http=none", &error), 0);
    assert_int_equal(sp_config_finish(&config, &transport, &error), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_nested_and_dotted_keys_mean_the_same),
        cmocka_unit_test(test_config_errors_name_line_key_and_what_is_allowed),
        cmocka_unit_test(test_config_times_and_sizes_take_units),
        cmocka_unit_test(test_config_broken_yaml_is_refused_with_its_line),
        cmocka_unit_test(test_config_environment_and_set_override_the_file),
        cmocka_unit_test(test_config_seeds_must_be_sound_and_name_this_node),
        cmocka_unit_test(test_config_a_node_that_joins_may_name_the_seeds),
        cmocka_unit_test(test_config_without_seeds_is_a_cluster_of_one),
        cmocka_unit_test(test_config_wildcard_address_must_be_advertised_otherwise),
        cmocka_unit_test(test_config_outside_port_is_told_beside_the_inside_one),
        cmocka_unit_test(test_config_both_addresses_fit_one_registration),
        cmocka_unit_test(test_config_node_id_may_come_from_the_host_name),
        cmocka_unit_test(test_config_http_stands_beside_the_client_port),
        cmocka_unit_test(test_config_http_must_be_an_address),
        cmocka_unit_test(test_config_heartbeat_must_fit_the_election_timeout),
        cmocka_unit_test(test_config_ports_of_a_node_are_its_own),
    };
    return cmocka_run_group_tests_name("server/config", tests, NULL, NULL);
}
