/* What a client keeps of servers that come and go, and how much one may tell at once. */
#include "fake_cluster.h"

#include "client/metadata.h"

enum {
    FAR_MS = 20000,    /* a test that waits so long has failed */
    ADDRESSES = 600,   /* more than there may be connections and servers together */
    FIRST_PORT = 1000, /* nobody listens there */
    MOVES = 20,        /* of a leader */
    PLACES_LEFT = 4,   /* for connections meanwhile */
};

static struct fake_cluster cluster;
static bool topic_anew; /* each description is of another topic of that name */

static struct sp_bytes address_of(unsigned number)
{
    static char text[32];

    (void)snprintf(text, sizeof text, "127.0.0.1:%u", FIRST_PORT + number);
    return sp_bytes_text(text);
}

static struct sp_connection *connect_to(unsigned number)
{
    struct sp_connection *connection = NULL;

    assert_int_equal(
        sp_client_connection(cluster.client, (const char *)address_of(number).bytes, &connection),
        0);
    return connection;
}

static bool has_connection(unsigned number)
{
    struct sp_bytes address = address_of(number);

    return sp_map_get(cluster.client->connections, address.bytes, address.size) != NULL;
}

/* ---- connections ----------------------------------------------------------------------------- */

static void test_client_servers_idle_connection_makes_room(void **state)
{
    struct sp_connection *viewed = NULL;
    struct sp_connection *before;

    (void)state;
    fake_start(&cluster, NULL);
    before = connect_to(0);
    sp_connection_point(&viewed, before);
    for (unsigned i = 1; i < ADDRESSES; i++) {
        (void)connect_to(i);
        (void)connect_to(1); /* asked for all the time */
    }
    assert_int_equal(sp_map_count(cluster.client->connections), SP_CLIENT_CONNECTIONS_MAX);
    assert_true(has_connection(0));
    assert_true(has_connection(1));
    assert_false(has_connection(2));
    assert_true(has_connection(ADDRESSES - 1));
    sp_connection_point(&viewed, NULL);
    for (unsigned i = 1; i < ADDRESSES; i++) {
        (void)connect_to(i);
    }
    assert_false(has_connection(0));
    fake_stop(&cluster);
}

static void test_client_servers_connections_in_views_are_bounded(void **state)
{
    struct sp_connection *viewed[SP_CLIENT_CONNECTIONS_MAX] = { NULL };
    struct sp_connection *connection;

    (void)state;
    fake_start(&cluster, NULL);
    for (unsigned i = 0; i < SP_CLIENT_CONNECTIONS_MAX; i++) {
        sp_connection_point(&viewed[i], connect_to(i));
    }
    assert_int_equal(sp_client_connection(cluster.client, cluster.servers[0].address, &connection),
                     SPATE_ERR_BUSY);
    sp_connection_point(&viewed[0], viewed[1]);
    assert_int_equal(sp_client_connection(cluster.client, cluster.servers[0].address, &connection),
                     0);
    assert_false(has_connection(0));
    fake_stop(&cluster);
}

static void
on_ping(struct sp_rpc_call *call, int status, const uint8_t *result, size_t size, const char *text)
{
    (void)call;
    (void)status;
    (void)result;
    (void)size;
    (void)text;
    fail_msg("it was given up");
}

static void test_client_servers_connection_with_a_call_stays(void **state)
{
    struct sp_rpc_call ping = { .method = "ping", .cb = on_ping, .timeout_ms = FAR_MS };

    (void)state;
    fake_start(&cluster, NULL);
    assert_int_equal(sp_rpc_call(connect_to(0)->rpc, &ping, (const uint8_t *)"\x80", 1, NULL), 0);
    for (unsigned i = 1; i < ADDRESSES; i++) {
        (void)connect_to(i);
    }
    assert_true(has_connection(0));
    sp_rpc_cancel(&ping);
    fake_stop(&cluster);
}

/* Another leader in each description, and at last one that lives. */
static void describe_wandering(struct fake_cluster *fake, struct sp_pack *pack)
{
    bool lives = fake->metadata_count >= MOVES;
    struct sp_metadata_partition partition = {
        .leader = 1,
        .leader_address =
            lives ? sp_bytes_text(fake->servers[1].address) : address_of(fake->metadata_count),
        .epoch = (int32_t)fake->metadata_count,
    };
    struct sp_metadata_topic topic = {
        .name = sp_bytes_text("t"),
        .id = topic_anew ? 7 + fake->metadata_count : 7,
        .partitions = &partition,
        .partition_count = 1,
    };
    struct sp_metadata metadata = { .controller = 1, .topics = &topic, .topic_count = 1 };

    sp_metadata_encode(pack, &metadata);
}

static void test_client_servers_leader_that_moves_takes_one_place(void **state)
{
    struct sp_connection *viewed[SP_CLIENT_CONNECTIONS_MAX - PLACES_LEFT];
    struct sp_topic_view *topic = NULL;

    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        topic_anew = round == 1;
        fake_start(&cluster, NULL);
        cluster.describe = describe_wandering;
        memset(viewed, 0, sizeof viewed);
        for (unsigned i = 0; i < SP_CLIENT_CONNECTIONS_MAX - PLACES_LEFT; i++) {
            sp_connection_point(&viewed[i], connect_to(ADDRESSES + i));
        }
        assert_int_equal(sp_metadata_topic(cluster.client->metadata, "t", &topic), 0);
        while (cluster.metadata_count < MOVES) {
            uint64_t wanted = sp_metadata_want(cluster.client->metadata);
            while (sp_metadata_completed(cluster.client->metadata) < wanted) {
                assert_int_equal(sp_client_run(cluster.client, UINT64_MAX), 0);
            }
            assert_non_null(topic->partitions[0].leader);
        }
        assert_string_equal(sp_rpc_address(topic->partitions[0].leader->rpc),
                            cluster.servers[1].address);
        fake_stop(&cluster);
    }
}

/* ---- servers --------------------------------------------------------------------------------- */

static bool knows(const char *address)
{
    for (uint32_t i = 0; i < cluster.client->server_count; i++) {
        if (strcmp(cluster.client->servers[i], address) == 0) {
            return true;
        }
    }
    return false;
}

static void test_client_servers_not_named_any_more_is_replaced(void **state)
{
    static const char *const keys[] = { "servers", "127.0.0.1:1,127.0.0.1:2", NULL };
    uint32_t count;

    (void)state;
    fake_start(&cluster, keys);
    cluster.client->server_count = 2;
    for (unsigned i = 0; i < ADDRESSES; i++) {
        sp_client_learn_server(cluster.client, sp_bytes_text("127.0.0.1:9"), i + 1);
        sp_client_learn_server(cluster.client, address_of(i), i + 1);
    }
    count = cluster.client->server_count;
    assert_in_range(count, 3, ADDRESSES - 1);
    assert_true(knows(cluster.servers[0].address)); /* in the place of the first configured one */
    assert_true(knows("127.0.0.1:2"));
    assert_true(knows("127.0.0.1:9"));
    assert_true(knows((const char *)address_of(ADDRESSES - 1).bytes));
    assert_false(knows((const char *)address_of(0).bytes));
    cluster.client->server_alive = count;
    for (unsigned i = 0; i < ADDRESSES; i++) {
        sp_client_learn_server(cluster.client, address_of(ADDRESSES + i), ADDRESSES + 1);
    }
    assert_int_equal(cluster.client->server_count, count);
    assert_int_equal(cluster.client->server_alive, 0); /* it is another one now */
    assert_true(knows("127.0.0.1:2"));
    assert_true(knows((const char *)address_of(ADDRESSES).bytes));
    assert_false(knows((const char *)address_of(2 * ADDRESSES - 1).bytes)); /* too many at once */
    fake_stop(&cluster);
}

/* ---- descriptions ---------------------------------------------------------------------------- */

/* Two topics of as many partitions as there may be. */
static void describe_wide(struct fake_cluster *fake, struct sp_pack *pack)
{
    static struct sp_metadata_partition partitions[SP_PARTITIONS_PER_TOPIC_MAX];
    struct sp_metadata_topic topics[] = { { .name = sp_bytes_text("t"), .id = 7 },
                                          { .name = sp_bytes_text("u"), .id = 8 } };
    struct sp_metadata metadata = { .controller = 1, .topics = topics, .topic_count = 2 };

    for (uint32_t i = 0; i < SP_PARTITIONS_PER_TOPIC_MAX; i++) {
        partitions[i] = (struct sp_metadata_partition){
            .partition = (int32_t)i,
            .leader = 1,
            .leader_address = sp_bytes_text(fake->servers[0].address),
            .epoch = 1,
            .replicas = { 1, 2, 3 },
            .replica_count = 3,
        };
    }
    for (unsigned i = 0; i < 2; i++) {
        topics[i].partitions = partitions;
        topics[i].partition_count = SP_PARTITIONS_PER_TOPIC_MAX;
    }
    sp_metadata_encode(pack, &metadata);
}

static void test_client_servers_two_largest_topics_are_described_at_once(void **state)
{
    static const char *const names[] = { "t", "u" };
    struct sp_topic_view *topics[2];

    (void)state;
    fake_start(&cluster, NULL);
    cluster.describe = describe_wide;
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(sp_metadata_topic(cluster.client->metadata, names[i], &topics[i]), 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        uint64_t deadline_ms = sp_loop_now_ms(cluster.client->loop) + FAR_MS;
        assert_int_equal(sp_metadata_wait_topic(cluster.client->metadata, topics[i], deadline_ms),
                         0);
        assert_int_equal(topics[i]->partition_count, SP_PARTITIONS_PER_TOPIC_MAX);
        assert_non_null(topics[i]->partitions[SP_PARTITIONS_PER_TOPIC_MAX - 1].leader);
    }
    fake_stop(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_client_servers_idle_connection_makes_room),
        cmocka_unit_test(test_client_servers_connections_in_views_are_bounded),
        cmocka_unit_test(test_client_servers_connection_with_a_call_stays),
        cmocka_unit_test(test_client_servers_leader_that_moves_takes_one_place),
        cmocka_unit_test(test_client_servers_not_named_any_more_is_replaced),
        cmocka_unit_test(test_client_servers_two_largest_topics_are_described_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
