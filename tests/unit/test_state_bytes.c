/* Bytes of the controller's state: golden ones, those of older versions, hostile ones. */
#include "filled_state.h"

/* A golden checkpoint: these bytes are on the disks of clusters. */
static void test_state_checkpoint_has_golden_bytes(void **unused)
{
    static const uint8_t golden[] = {
        0x9a, 3,    2,   3,    0xcd, 0x04, 0x03, 0xcd, 0x03, 0xea, 1,    0, /* version, counters,
                                                                                level, held */
        0x91, 0x98, 7,   0xcd, 0x03, 0xef, 0xa1, 'c',  0xa1, 'p',  0xa0, 1,    1, 0, /* nodes */
        0x91, 0x95, 1,   0xa1, 't',  0x2a, 0xce, 0x00, 0x01, 0x00, 0x00,             /* topic */
        0x92, 0x93, 1,   0xcd, 0x04, 0x01, 7,    0x93, 2,    0xcd, 0x04, 0x02, 7, 0x91,
        0x95, 0xa1, 'a', 0xa3, 'p',  '=',  '4',  0xcd, 0x03, 0xe9, 0,    77, /* names */
    };
    static const uint32_t placed[] = { 7, 7 };
    struct sp_state *state = NULL;
    struct sp_state_node node = {
        .node_id = 7, .incarnation = 1007, .client_address = "c", .peer_address = "p"
    };
    struct sp_buf bytes;

    (void)unused;
    assert_int_equal(sp_state_new(&state), 0);
    assert_int_equal(register_node(state, &node, NULL), 0);
    assert_int_equal(create_topic(state, "t", 2, 1, placed, 42, NULL), 0);
    assert_int_equal(producer_block(state, NULL), 0);
    assert_int_equal(producer_name(state, "a", NULL), 0);
    sp_buf_init(&bytes, BYTES_MAX);
    assert_int_equal(sp_state_checkpoint(state, &bytes), 0);
    assert_int_equal(bytes.size, sizeof golden);
    assert_memory_equal(bytes.bytes, golden, sizeof golden);
    sp_buf_deinit(&bytes);
    sp_state_free(state);
}

/* What clusters before named producers have on their disks. */
static void test_state_checkpoint_of_version_1_is_still_read(void **unused)
{
    static const uint8_t older[] = {
        0x97, 1,    2, 3,    0xcd, 0x04, 0x03, 0xcd, 0x03, 0xe9,       /* version, counters */
        0x91, 0x95, 7, 0xcd, 0x03, 0xef, 0xa1, 'c',  0xa1, 'p',  0xa0, /* nodes */
        0x91, 0x95, 1, 0xa1, 't',  0x2a, 0xce, 0x00, 0x01, 0x00, 0x00, /* topic */
        0x92, 0x93, 1, 0xcd, 0x04, 0x01, 7,    0x93, 2,    0xcd, 0x04, 0x02, 7,
    };
    struct sp_state *state = NULL;
    struct seen seen = { 0 };

    (void)unused;
    assert_int_equal(sp_state_new(&state), 0);
    assert_int_equal(sp_state_restore(state, older, sizeof older), 0);
    assert_non_null(sp_state_topic(state, "t"));
    assert_int_equal(producer_name(state, "a", &seen), 0);
    assert_int_equal(seen.producer_id_first, 1 + SP_PRODUCER_ID_BLOCK);
    sp_state_free(state);
}

static void test_state_commands_have_golden_bytes(void **unused)
{
    static const uint8_t create[] = { 0x96, 2, 0xa1, 't', 2, 1, 0xcd, 0x08, 0x00, 0x92, 7, 8 };
    static const uint8_t take[] = { 0x91, 4 };
    static const uint8_t drop[] = { 0x92, 3, 0xa1, 't' };
    static const uint8_t name[] = { 0x93, 5, 0xa1, 'n', 0xa0 };
    static const uint32_t placed[] = { 7, 8 };
    struct sp_buf buf;

    (void)unused;
    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_create_topic(
                         "t",
                         2,
                         1,
                         placed,
                         &(struct sp_topic_config){ .set = 1U << SP_TOPIC_MESSAGE_BYTES_MAX,
                                                    .values = { 2048 } },
                         &buf),
                     0);
    assert_int_equal(buf.size, sizeof create);
    assert_memory_equal(buf.bytes, create, sizeof create);
    sp_buf_clear(&buf);
    assert_int_equal(sp_state_command_producer_block(&buf), 0);
    assert_int_equal(buf.size, sizeof take);
    assert_memory_equal(buf.bytes, take, sizeof take);
    sp_buf_clear(&buf);
    assert_int_equal(sp_state_command_delete_topic("t", &buf), 0);
    assert_int_equal(buf.size, sizeof drop);
    assert_memory_equal(buf.bytes, drop, sizeof drop);
    sp_buf_clear(&buf);
    assert_int_equal(sp_state_command_producer_name("n", "", &buf), 0);
    assert_int_equal(buf.size, sizeof name);
    assert_memory_equal(buf.bytes, name, sizeof name);
    sp_buf_deinit(&buf);
}

static void test_state_restored_checkpoint_gives_same_bytes_and_future(void **unused)
{
    static const uint32_t placed[] = { 2 };
    struct sp_state *state = busy_state();
    struct sp_state *other = three_nodes();
    struct sp_buf first;
    struct sp_buf second;

    (void)unused;
    sp_buf_init(&first, BYTES_MAX);
    sp_buf_init(&second, BYTES_MAX);
    assert_int_equal(sp_state_checkpoint(state, &first), 0);
    assert_int_equal(sp_state_restore(other, first.bytes, first.size), 0);
    assert_int_equal(sp_state_checkpoint(other, &second), 0);
    assert_int_equal(first.size, second.size);
    assert_memory_equal(first.bytes, second.bytes, first.size);

    sp_buf_clear(&first);
    sp_buf_clear(&second);
    assert_int_equal(create_topic(state, "later", 1, 1, placed, 9, NULL), 0);
    assert_int_equal(create_topic(other, "later", 1, 1, placed, 9, NULL), 0);
    assert_int_equal(sp_state_checkpoint(state, &first), 0);
    assert_int_equal(sp_state_checkpoint(other, &second), 0);
    assert_int_equal(first.size, second.size);
    assert_memory_equal(first.bytes, second.bytes, first.size);
    assert_int_equal(sp_state_restore(other, NULL, 0), 0);
    assert_int_equal(sp_state_topic_count(other) + sp_state_node_count(other), 0);
    sp_buf_deinit(&first);
    sp_buf_deinit(&second);
    sp_state_free(state);
    sp_state_free(other);
}

/* Each byte of a checkpoint is changed and each prefix is tried: refused as corrupt with the state
 * as it was, or accepted with a meaning that survives another round. */
static void test_state_hostile_checkpoint_is_refused_or_consistent(void **unused)
{
    struct sp_state *state = busy_state();
    struct sp_state *other = NULL;
    struct sp_buf good;
    struct sp_buf again;
    unsigned refused = 0;

    (void)unused;
    assert_int_equal(sp_state_new(&other), 0);
    sp_buf_init(&good, BYTES_MAX);
    sp_buf_init(&again, BYTES_MAX);
    assert_int_equal(sp_state_checkpoint(state, &good), 0);
    for (size_t size = 1; size < good.size; size++) {
        assert_int_equal(sp_state_restore(other, good.bytes, size), SPATE_ERR_CORRUPT);
    }
    for (size_t i = 0; i < good.size * 8; i++) {
        good.bytes[i / 8] ^= (uint8_t)(1u << i % 8);
        int rv = sp_state_restore(other, good.bytes, good.size);
        good.bytes[i / 8] ^= (uint8_t)(1u << i % 8);
        if (rv != 0) {
            assert_true(rv == SPATE_ERR_CORRUPT || rv == SPATE_ERR_UNSUPPORTED);
            refused += 1;
            continue;
        }
        sp_buf_clear(&again);
        assert_int_equal(sp_state_checkpoint(other, &again), 0);
        assert_int_equal(sp_state_restore(other, again.bytes, again.size), 0);
    }
    assert_true(refused > good.size * 2);
    sp_buf_deinit(&good);
    sp_buf_deinit(&again);
    sp_state_free(state);
    sp_state_free(other);
}

static void test_state_hostile_command_is_refused(void **unused)
{
    static const uint8_t lies[][12] = {
        { 0x96, 2, 0xa1, 't', 2, 1, 0xcd, 8, 0, 0xdd, 0xff, 0xff }, /* array of 4 G nodes */
        { 0x96, 2, 0xa1, 't', 2, 1, 0xcd, 8, 0, 0x92, 1, 0xa0 },    /* a node that is text */
        { 0x92, 3, 0xa1, 't', 0 },                                  /* bytes left over */
        { 0x92, 2, 0xa1, 't' },                                     /* fields missing */
        { 0x91, 5 },                                                /* without its fields */
        { 0x80 },
        { 0xc1 },
    };
    static const size_t sizes[] = { 12, 12, 5, 4, 2, 1, 1 };
    struct sp_state *state = three_nodes();

    (void)unused;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_int_equal(sp_state_apply(state, lies[i], sizes[i], 0, NULL, NULL),
                         SPATE_ERR_CORRUPT);
    }
    assert_int_equal(sp_state_apply(state, NULL, 0, 0, NULL, NULL), SPATE_ERR_CORRUPT);
    assert_int_equal(sp_state_topic_count(state), 0);
    sp_state_free(state);
}

/* Fails each allocation of create and restore in turn: the answer is NOMEM and nothing changed. */
static void test_state_survives_every_failing_allocation(void **unused)
{
    static const uint32_t placed[] = { 1, 2 };
    struct sp_state *state = busy_state();
    struct sp_buf bytes;
    uint64_t n = 1;
    int rv = SPATE_ERR_NOMEM;

    (void)unused;
    sp_buf_init(&bytes, BYTES_MAX);
    assert_int_equal(sp_state_checkpoint(state, &bytes), 0);
    for (n = 1; rv == SPATE_ERR_NOMEM; n++) {
        uint64_t live = sp_mem_live_count();
        sp_mem_fail_at(n);
        rv = sp_state_restore(state, bytes.bytes, bytes.size);
        sp_mem_fail_at(0);
        assert_true(sp_mem_live_count() == live);
        assert_int_equal(sp_state_topic_count(state), 2);
    }
    assert_int_equal(rv, 0);
    assert_true(n > 10);
    sp_buf_clear(&bytes);
    assert_int_equal(sp_state_command_create_topic(
                         "new",
                         1,
                         2,
                         placed,
                         &(struct sp_topic_config){ .set = 1U << SP_TOPIC_MESSAGE_BYTES_MAX,
                                                    .values = { 2048 } },
                         &bytes),
                     0);
    rv = SPATE_ERR_NOMEM;
    for (n = 1; rv == SPATE_ERR_NOMEM; n++) {
        assert_null(sp_state_topic(state, "new"));
        sp_mem_fail_at(n);
        rv = sp_state_apply(state, bytes.bytes, bytes.size, 0, NULL, NULL);
        sp_mem_fail_at(0);
    }
    assert_int_equal(rv, 0);
    assert_true(n > 4);
    sp_buf_deinit(&bytes);
    sp_state_free(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_state_checkpoint_has_golden_bytes),
        cmocka_unit_test(test_state_checkpoint_of_version_1_is_still_read),
        cmocka_unit_test(test_state_commands_have_golden_bytes),
        cmocka_unit_test(test_state_restored_checkpoint_gives_same_bytes_and_future),
        cmocka_unit_test(test_state_hostile_checkpoint_is_refused_or_consistent),
        cmocka_unit_test(test_state_hostile_command_is_refused),
        cmocka_unit_test(test_state_survives_every_failing_allocation),
    };
    return cmocka_run_group_tests_name("cluster/state", tests, NULL, NULL);
}
