#include "cluster/state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "spate/error.h"

#define BYTES_MAX (4 * 1024 * 1024)

/* What the last apply told. */
struct seen {
    unsigned count;
    int kind;
    char topic[SP_TOPIC_NAME_SIZE_MAX + 1];
    uint64_t group_id_first;
    uint32_t node_id;
    uint64_t producer_id_first;
    int16_t producer_epoch;
};

static void changed(void *arg, const struct sp_state_change *change)
{
    struct seen *seen = arg;

    seen->count += 1;
    seen->kind = (int)change->kind;
    if (change->topic != NULL) {
        memcpy(seen->topic, change->topic->name, sizeof seen->topic);
        seen->group_id_first = change->topic->partitions[0].group_id;
    }
    if (change->node != NULL) {
        seen->node_id = change->node->node_id;
    }
    seen->producer_id_first = change->producer_id_first;
    seen->producer_epoch = change->producer_epoch;
}

/* Applies the command in `buf` and frees it. */
static int apply_at(struct sp_state *state, struct sp_buf *buf, int64_t time_ms, struct seen *seen)
{
    int rv =
        sp_state_apply(state, buf->bytes, buf->size, time_ms, seen == NULL ? NULL : changed, seen);

    sp_buf_deinit(buf);
    return rv;
}

static struct sp_state_node make_node(uint32_t node_id)
{
    struct sp_state_node node = { .node_id = node_id, .incarnation = 1000 + node_id };

    (void)snprintf(node.client_address, sizeof node.client_address, "127.0.0.1:%u", 7600 + node_id);
    (void)snprintf(node.peer_address, sizeof node.peer_address, "127.0.0.1:%u", 7700 + node_id);
    return node;
}

static int
register_node(struct sp_state *state, const struct sp_state_node *node, struct seen *seen)
{
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_register_node(node, &buf), 0);
    return apply_at(state, &buf, 0, seen);
}

static int create_topic(struct sp_state *state,
                        const char *name,
                        uint32_t partitions,
                        uint32_t replicas,
                        const uint32_t *nodes,
                        int64_t time_ms,
                        struct seen *seen)
{
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_create_topic(
                         name,
                         partitions,
                         replicas,
                         nodes,
                         &(struct sp_topic_config){ .set = 1U << SP_TOPIC_MESSAGE_BYTES_MAX,
                                                    .values = { 65536 } },
                         &buf),
                     0);
    return apply_at(state, &buf, time_ms, seen);
}

static int delete_topic(struct sp_state *state, const char *name, struct seen *seen)
{
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_delete_topic(name, &buf), 0);
    return apply_at(state, &buf, 0, seen);
}

static int producer_block(struct sp_state *state, struct seen *seen)
{
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_producer_block(&buf), 0);
    return apply_at(state, &buf, 0, seen);
}

/* A state with nodes 1 to 3. */
static struct sp_state *three_nodes(void)
{
    struct sp_state *state = NULL;

    assert_int_equal(sp_state_new(&state), 0);
    for (uint32_t id = 1; id <= 3; id++) {
        struct sp_state_node node = make_node(id);
        assert_int_equal(register_node(state, &node, NULL), 0);
    }
    return state;
}

/* Nodes, two topics, one deleted in between, a producer block. */
static struct sp_state *busy_state(void)
{
    static const uint32_t placed[] = { 1, 2, 2, 3, 3, 1 };
    struct sp_state *state = three_nodes();

    assert_int_equal(create_topic(state, "orders", 3, 2, placed, 5, NULL), 0);
    assert_int_equal(create_topic(state, "gone", 2, 3, placed, 6, NULL), SPATE_ERR_INVALID);
    assert_int_equal(create_topic(state, "gone", 3, 1, placed, 6, NULL), 0);
    assert_int_equal(create_topic(state, "events", 1, 1, placed, -7, NULL), 0);
    assert_int_equal(delete_topic(state, "gone", NULL), 0);
    assert_int_equal(producer_block(state, NULL), 0);
    return state;
}

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

static int producer_name(struct sp_state *state, const char *name, struct seen *seen)
{
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_producer_name(name, "p=4", &buf), 0);
    return apply_at(state, &buf, 77, seen);
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
        cmocka_unit_test(test_state_checkpoint_has_golden_bytes),
        cmocka_unit_test(test_state_checkpoint_of_version_1_is_still_read),
        cmocka_unit_test(test_state_commands_have_golden_bytes),
        cmocka_unit_test(test_state_restored_checkpoint_gives_same_bytes_and_future),
        cmocka_unit_test(test_state_hostile_checkpoint_is_refused_or_consistent),
        cmocka_unit_test(test_state_hostile_command_is_refused),
        cmocka_unit_test(test_state_survives_every_failing_allocation),
        cmocka_unit_test(test_state_topic_name_error_names_the_rule),
    };
    return cmocka_run_group_tests_name("cluster/state", tests, NULL, NULL);
}
