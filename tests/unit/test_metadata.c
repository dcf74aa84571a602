#include "wire/metadata.h"

#include "wire_test.h"

static struct sp_metadata_node nodes[] = {
    { 1, { (const uint8_t *)"h1:7700", 7 }, { (const uint8_t *)"r1", 2 } },
    { 2, { (const uint8_t *)"h2:7700", 7 }, { NULL, 0 } },
};
static struct sp_metadata_partition partitions[] = {
    { 0, 2, { (const uint8_t *)"h2:7700", 7 }, 5, { 1, 2 }, 2, 0 },
    { 1, -1, { NULL, 0 }, -1, { 0 }, 0, SPATE_ERR_LEADER_UNKNOWN },
};
static struct sp_metadata_topic topics[] = {
    { { (const uint8_t *)"orders", 6 }, 7, 4096, 0, partitions, 2 },
    { { (const uint8_t *)"gone", 4 }, -1, 0, SPATE_ERR_UNKNOWN_TOPIC, NULL, 0 },
};
static const struct sp_metadata sample = { { (const uint8_t *)"c-1", 3 }, 1, nodes, 2, topics, 2 };

static struct sp_buf buf;

static int setup(void **state)
{
    struct sp_pack pack;

    (void)state;
    sp_buf_init(&buf, 65536);
    sp_pack_init(&pack, &buf);
    sp_metadata_encode(&pack, &sample);
    return sp_pack_status(&pack);
}

static int teardown(void **state)
{
    (void)state;
    sp_buf_deinit(&buf);
    return 0;
}

static int decode(const void *bytes, size_t size, struct sp_metadata *out)
{
    struct sp_cursor cursor;
    struct sp_api_error error;

    sp_cursor_init(&cursor, bytes, size);
    return sp_metadata_decode(&cursor, out, &error);
}

static void test_metadata_round_trip(void **state)
{
    struct sp_metadata out;

    (void)state;
    assert_int_equal(decode(buf.bytes, buf.size, &out), 0);
    check_bytes(out.cluster_id, "c-1");
    assert_int_equal(out.controller, 1);
    assert_int_equal(out.node_count, 2);
    check_bytes(out.nodes[0].rack, "r1");
    check_null(out.nodes[1].rack);
    check_bytes(sp_metadata_node_find(&out, 2)->address, "h2:7700");
    assert_null(sp_metadata_node_find(&out, 3));
    assert_int_equal(out.topic_count, 2);
    assert_int_equal(out.topics[0].id, 7);
    assert_int_equal(out.topics[0].max_batch_bytes, 4096);
    assert_int_equal(out.topics[0].error, 0);
    assert_int_equal(out.topics[0].partition_count, 2);
    const struct sp_metadata_partition *led = &out.topics[0].partitions[0];
    assert_int_equal(led->leader, 2);
    check_bytes(led->leader_address, "h2:7700");
    assert_int_equal(led->epoch, 5);
    assert_int_equal(led->replica_count, 2);
    assert_int_equal(led->replicas[1], 2);
    const struct sp_metadata_partition *orphan = &out.topics[0].partitions[1];
    assert_int_equal(orphan->partition, 1);
    assert_int_equal(orphan->leader, -1);
    assert_int_equal(orphan->error, SPATE_ERR_LEADER_UNKNOWN);
    assert_int_equal(out.topics[1].max_batch_bytes, 0); /* as of an older node */
    assert_int_equal(out.topics[1].error, SPATE_ERR_UNKNOWN_TOPIC);
    assert_int_equal(out.topics[1].partition_count, 0);
    sp_metadata_deinit(&out);
    sp_metadata_deinit(&out);
}

/* {"nodes": [], "topics": [{"name": "t", "partitions": [{"partition": 3}]}]} */
static const char bare[] = "\x82\xa5nodes\x90\xa6topics\x91\x82\xa4name\xa1t\xaapartitions\x91\x81"
                           "\xa9partition\x03";

static void test_metadata_absent_fields_have_defaults(void **state)
{
    struct sp_metadata out;

    (void)state;
    assert_int_equal(decode(bare, sizeof bare - 1, &out), 0);
    check_null(out.cluster_id);
    assert_int_equal(out.controller, -1);
    assert_int_equal(out.topics[0].id, -1);
    assert_int_equal(out.topics[0].partitions[0].partition, 3);
    assert_int_equal(out.topics[0].partitions[0].leader, -1);
    assert_int_equal(out.topics[0].partitions[0].epoch, -1);
    assert_int_equal(out.topics[0].partitions[0].replica_count, 0);
    sp_metadata_deinit(&out);
}

static void test_metadata_every_truncated_prefix_refused(void **state)
{
    uint64_t live = sp_mem_live_count();

    (void)state;
    for (size_t cut = 0; cut < buf.size; cut++) {
        uint8_t *copy = exact_copy(buf.bytes, cut);
        struct sp_metadata out;
        assert_int_equal(decode(copy, cut, &out), SPATE_ERR_MALFORMED);
        assert_int_equal(sp_mem_live_count(), live);
        free(copy);
    }
}

static void test_metadata_lying_counts_allocate_nothing(void **state)
{
    /* 16 elements in 16 bytes where each needs more */
    static const char topics_lie[] = "\x82\xa5nodes\x90\xa6topics\xdc\0\x10"
                                     "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    static const char nodes_lie[] = "\x82\xa6topics\x90\xa5nodes\xdc\0\x10"
                                    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    struct sp_metadata out;
    uint64_t live = sp_mem_live_count();

    (void)state;
    sp_mem_fail_at(1); /* an allocation would turn into NOMEM */
    assert_int_equal(decode(topics_lie, sizeof topics_lie, &out), SPATE_ERR_INVALID);
    assert_int_equal(decode(nodes_lie, sizeof nodes_lie, &out), SPATE_ERR_INVALID);
    sp_mem_fail_at(0);
    assert_int_equal(sp_mem_live_count(), live);
}

static void test_metadata_too_many_replicas_refused(void **state)
{
    static const char bytes[] = "\x82\xa5nodes\x90\xa6topics\x91\x82\xa4name\xa1t\xaapartitions\x91"
                                "\x82\xa9partition\x03\xa8replicas\x98\1\2\3\4\5\6\7\10";
    struct sp_metadata out;
    uint64_t live = sp_mem_live_count();

    (void)state;
    assert_int_equal(decode(bytes, sizeof bytes - 1, &out), SPATE_ERR_TOO_LARGE);
    assert_int_equal(sp_mem_live_count(), live);
}

static void test_metadata_mistyped_fields_refused(void **state)
{
    struct sp_metadata out;
    uint64_t live = sp_mem_live_count();

    (void)state;
    assert_int_equal(decode("\x05", 1, &out), SPATE_ERR_INVALID);
    assert_int_equal(decode("\x81\xa5nodes\x90", 8, &out), SPATE_ERR_INVALID);
    assert_int_equal(decode("\x82\xa5nodes\x90\xa6topics\xa1t", 17, &out), SPATE_ERR_INVALID);
    for (size_t i = 0; i + 1 < sizeof bare; i++) {
        uint8_t *copy = exact_copy((const uint8_t *)bare, sizeof bare - 1);
        copy[i] = 0xc3; /* true is of the right type nowhere */
        if (decode(copy, sizeof bare - 1, &out) == 0) {
            sp_metadata_deinit(&out);
        }
        assert_int_equal(sp_mem_live_count(), live);
        free(copy);
    }
}

static int scenario(void)
{
    struct sp_metadata out;
    int rv = decode(buf.bytes, buf.size, &out);

    if (rv == 0) {
        sp_metadata_deinit(&out);
    }
    return rv;
}

static void test_metadata_survives_failing_allocations(void **state)
{
    (void)state;
    check_every_allocation(scenario, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metadata_round_trip),
        cmocka_unit_test(test_metadata_absent_fields_have_defaults),
        cmocka_unit_test(test_metadata_every_truncated_prefix_refused),
        cmocka_unit_test(test_metadata_lying_counts_allocate_nothing),
        cmocka_unit_test(test_metadata_too_many_replicas_refused),
        cmocka_unit_test(test_metadata_mistyped_fields_refused),
        cmocka_unit_test(test_metadata_survives_failing_allocations),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
