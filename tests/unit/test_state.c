#include "filled_state.h"

static void test_state_create_topic_assigns_ids_from_counters(void **unused)
{
    static const uint32_t placed[] = { 3, 1, 2, 3 };
    struct sp_state *state = three_nodes();
    struct seen seen = { 0 };

    (void)unused;
    assert_int_equal(create_topic(state, "a.b_C-9", 2, 2, placed, 77, &seen), 0);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.kind, SP_STATE_TOPIC_CREATED);
    assert_string_equal(seen.topic, "a.b_C-9");
    const struct sp_state_topic *topic = sp_state_topic(state, "a.b_C-9");
    assert_non_null(topic);
    assert_ptr_equal(sp_state_topic_by_id(state, 1), topic);
    assert_int_equal(topic->created_ms, 77);
    assert_int_equal(sp_topic_config_value(&topic->config, SP_TOPIC_MESSAGE_BYTES_MAX), 65536);
    assert_int_equal(topic->partition_count, 2);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(topic->partitions[i].partition, i);
        assert_int_equal(topic->partitions[i].group_id, 1 + i);
        assert_int_equal(topic->partitions[i].replica_count, 2);
        for (unsigned j = 0; j < 2; j++) {
            assert_int_equal(topic->partitions[i].replicas[j].replica_id, 1025 + 2 * i + j);
            assert_int_equal(topic->partitions[i].replicas[j].node_id, placed[2 * i + j]);
        }
    }
    assert_int_equal(sp_state_next_group_id(state), 3);
    sp_state_free(state);
}

static void test_state_ids_are_not_reused_after_delete(void **unused)
{
    static const uint32_t placed[] = { 1, 2 };
    struct sp_state *state = three_nodes();
    struct seen seen = { 0 };

    (void)unused;
    assert_int_equal(create_topic(state, "t", 2, 1, placed, 0, NULL), 0);
    assert_int_equal(delete_topic(state, "t", &seen), 0);
    assert_int_equal(seen.kind, SP_STATE_TOPIC_DELETED);
    assert_string_equal(seen.topic, "t");
    assert_null(sp_state_topic(state, "t"));
    assert_null(sp_state_topic_by_id(state, 1));
    assert_int_equal(create_topic(state, "t", 2, 1, placed, 0, &seen), 0);
    const struct sp_state_topic *topic = sp_state_topic(state, "t");
    assert_int_equal(topic->topic_id, 2);
    assert_int_equal(topic->partitions[0].group_id, 3);
    assert_int_equal(topic->partitions[0].replicas[0].replica_id, 1027);
    sp_state_free(state);
}

static void test_state_refused_commands_change_nothing(void **unused)
{
    static const uint32_t twice[] = { 2, 2 };
    static const uint32_t unknown[] = { 1, 9 };
    static const uint32_t good[] = { 1, 2 };
    struct sp_state *state = three_nodes();
    struct sp_buf before;
    struct sp_buf after;
    struct seen seen = { 0 };
    char long_name[SP_TOPIC_NAME_SIZE_MAX + 2];

    (void)unused;
    memset(long_name, 'x', sizeof long_name);
    long_name[sizeof long_name - 1] = '\0';
    assert_int_equal(create_topic(state, "t", 1, 1, good, 0, NULL), 0);
    sp_buf_init(&before, BYTES_MAX);
    sp_buf_init(&after, BYTES_MAX);
    assert_int_equal(sp_state_checkpoint(state, &before), 0);

    assert_int_equal(create_topic(state, "t", 1, 1, good, 0, &seen), SPATE_ERR_EXISTS);
    assert_int_equal(create_topic(state, "u", 1, 2, twice, 0, &seen), SPATE_ERR_INVALID);
    assert_int_equal(create_topic(state, "u", 2, 1, unknown, 0, &seen), SPATE_ERR_INVALID);
    assert_int_equal(create_topic(state, "a b", 2, 1, good, 0, &seen), SPATE_ERR_INVALID);
    assert_int_equal(create_topic(state, "..", 2, 1, good, 0, &seen), SPATE_ERR_INVALID);
    assert_int_equal(create_topic(state, "", 2, 1, good, 0, &seen), SPATE_ERR_INVALID);
    assert_int_equal(create_topic(state, "u", 0, 1, good, 0, &seen), SPATE_ERR_INVALID);
    assert_int_equal(create_topic(state, "u", 1, 0, good, 0, &seen), SPATE_ERR_INVALID);
    assert_int_equal(create_topic(state, long_name, 1, 1, good, 0, &seen), SPATE_ERR_CORRUPT);
    assert_int_equal(delete_topic(state, "u", &seen), SPATE_ERR_UNKNOWN_TOPIC);
    assert_int_equal(seen.count, 0);
    assert_int_equal(sp_state_checkpoint(state, &after), 0);
    assert_int_equal(before.size, after.size);
    assert_memory_equal(before.bytes, after.bytes, before.size);
    sp_buf_deinit(&before);
    sp_buf_deinit(&after);
    sp_state_free(state);
}

static void test_state_register_node_tells_of_differences_only(void **unused)
{
    struct sp_state *state = three_nodes();
    struct sp_state_node node = make_node(2);
    struct seen seen = { 0 };

    (void)unused;
    assert_int_equal(register_node(state, &node, &seen), 0);
    assert_int_equal(seen.count, 0);
    (void)snprintf(node.rack, sizeof node.rack, "r1");
    assert_int_equal(register_node(state, &node, &seen), 0);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.kind, SP_STATE_NODE_CHANGED);
    assert_int_equal(seen.node_id, 2);
    assert_string_equal(sp_state_node(state, 2)->rack, "r1");
    assert_int_equal(sp_state_node_count(state), 3);

    node.node_id = 0;
    assert_int_equal(register_node(state, &node, &seen), SPATE_ERR_INVALID);
    node.node_id = SP_NODE_ID_MAX + 1;
    assert_int_equal(register_node(state, &node, &seen), SPATE_ERR_INVALID);
    node.node_id = 4;
    node.peer_address[0] = '\0';
    assert_int_equal(register_node(state, &node, &seen), SPATE_ERR_INVALID);
    node.peer_address[0] = '\n';
    assert_int_equal(register_node(state, &node, &seen), SPATE_ERR_CORRUPT);
    for (uint32_t id = 4; id <= SP_NODES_MAX; id++) {
        node = make_node(id);
        assert_int_equal(register_node(state, &node, NULL), 0);
    }
    node = make_node(SP_NODES_MAX + 1);
    assert_int_equal(register_node(state, &node, NULL), SPATE_ERR_INVALID);
    sp_state_free(state);
}

static void test_state_producer_blocks_do_not_overlap(void **unused)
{
    struct sp_state *state = three_nodes();
    struct seen seen = { 0 };

    (void)unused;
    assert_int_equal(producer_block(state, &seen), 0);
    assert_int_equal(seen.kind, SP_STATE_PRODUCER_BLOCK);
    assert_int_equal(seen.producer_id_first, 1);
    assert_int_equal(producer_block(state, &seen), 0);
    assert_int_equal(seen.producer_id_first, 1 + SP_PRODUCER_ID_BLOCK);
    sp_state_free(state);
}

static void test_state_producer_names_share_the_ids_of_blocks(void **unused)
{
    struct sp_state *state = three_nodes();
    struct seen seen = { 0 };

    (void)unused;
    assert_int_equal(producer_name(state, "a", &seen), 0);
    assert_int_equal(seen.kind, SP_STATE_PRODUCER_NAMED);
    assert_int_equal(seen.producer_id_first, 1);
    assert_int_equal(seen.producer_epoch, 0);
    assert_int_equal(producer_block(state, &seen), 0);
    assert_int_equal(seen.producer_id_first, 2);
    assert_int_equal(producer_name(state, "a", &seen), 0);
    assert_int_equal(seen.producer_id_first, 1);
    assert_int_equal(seen.producer_epoch, 1);
    assert_int_equal(producer_name(state, "b", &seen), 0);
    assert_int_equal(seen.producer_id_first, 2 + SP_PRODUCER_ID_BLOCK);
    assert_int_equal(seen.producer_epoch, 0);
    assert_int_equal(producer_name(state, "", &seen), SPATE_ERR_INVALID);
    assert_int_equal(seen.count, 4);
    sp_state_free(state);
}

static void test_state_topic_name_error_names_the_rule(void **unused)
{
    char text[160];

    (void)unused;
    assert_int_equal(sp_state_check_topic_name("ok-1", 4, text, sizeof text), 0);
    assert_int_equal(sp_state_check_topic_name("a/b", 3, text, sizeof text), SPATE_ERR_INVALID);
    assert_non_null(strstr(text, "character 2"));
    assert_int_equal(sp_state_check_topic_name(".", 1, text, sizeof text), SPATE_ERR_INVALID);
    assert_int_equal(sp_state_check_topic_name("", 0, text, sizeof text), SPATE_ERR_INVALID);
    assert_int_equal(sp_state_check_topic_name("a", 250, text, sizeof text), SPATE_ERR_INVALID);
    assert_non_null(strstr(text, "249"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_state_create_topic_assigns_ids_from_counters),
        cmocka_unit_test(test_state_ids_are_not_reused_after_delete),
        cmocka_unit_test(test_state_refused_commands_change_nothing),
        cmocka_unit_test(test_state_register_node_tells_of_differences_only),
        cmocka_unit_test(test_state_producer_blocks_do_not_overlap),
        cmocka_unit_test(test_state_producer_names_share_the_ids_of_blocks),
        cmocka_unit_test(test_state_topic_name_error_names_the_rule),
    };
    return cmocka_run_group_tests_name("cluster/state", tests, NULL, NULL);
}
