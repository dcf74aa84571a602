/* Feature levels and forced nodes in the controller's state. */
#include "cluster/state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "spate/error.h"

#define BYTES_MAX 65536

static int apply(struct sp_state *state, struct sp_buf *buf)
{
    int rv = sp_state_apply(state, buf->bytes, buf->size, 0, NULL, NULL);

    sp_buf_deinit(buf);
    return rv;
}

static int join(struct sp_state *state, uint32_t node_id, uint32_t least, uint32_t most)
{
    struct sp_state_node node = { .node_id = node_id,
                                  .incarnation = 7,
                                  .client_address = "c",
                                  .peer_address = "p",
                                  .features = { least, most } };
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_register_node(&node, &buf), 0);
    return apply(state, &buf);
}

static int set_level(struct sp_state *state, uint32_t level)
{
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_feature_level(level, &buf), 0);
    return apply(state, &buf);
}

static int hold(struct sp_state *state, bool held)
{
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_feature_hold(held, &buf), 0);
    return apply(state, &buf);
}

static int name_producer(struct sp_state *state)
{
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_producer_name("n", "", &buf), 0);
    return apply(state, &buf);
}

static int create(struct sp_state *state, const char *name, const uint32_t *nodes, uint32_t count)
{
    const struct sp_topic_config config = { .set = 0 };
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_create_topic(name, 1, count, nodes, &config, &buf), 0);
    return apply(state, &buf);
}

static int force(struct sp_state *state, const uint32_t *kept, unsigned count)
{
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_force_nodes(kept, count, &buf), 0);
    return apply(state, &buf);
}

static struct sp_state *three_nodes(uint32_t most_of_3)
{
    struct sp_state *state = NULL;

    assert_int_equal(sp_state_new(&state), 0);
    assert_int_equal(join(state, 1, 1, 2), 0);
    assert_int_equal(join(state, 2, 1, 2), 0);
    assert_int_equal(join(state, 3, 1, most_of_3), 0);
    return state;
}

static void test_state_level_rises_when_all_nodes_know_it(void **unused)
{
    struct sp_state *state = three_nodes(1);

    (void)unused;
    assert_int_equal(sp_state_feature_level(state), 1);
    assert_int_equal(sp_state_feature_target(state), 1);
    assert_int_equal(set_level(state, 2), SPATE_ERR_INVALID);
    assert_false(sp_state_has_feature(state, SP_FEATURE_PRODUCER_NAMES));
    assert_int_equal(join(state, 3, 1, 2), 0);
    assert_int_equal(sp_state_feature_target(state), 2);
    assert_int_equal(set_level(state, 2), 0);
    assert_int_equal(sp_state_feature_level(state), 2);
    assert_true(sp_state_has_feature(state, SP_FEATURE_PRODUCER_NAMES));
    sp_state_free(state);
}

static void test_state_level_is_never_lowered(void **unused)
{
    struct sp_state *state = three_nodes(2);

    (void)unused;
    assert_int_equal(set_level(state, 2), 0);
    assert_int_equal(set_level(state, 2), SPATE_ERR_INVALID);
    assert_int_equal(set_level(state, 1), SPATE_ERR_INVALID);
    assert_int_equal(join(state, 3, 1, 1), SPATE_ERR_INVALID); /* an older build comes back */
    assert_int_equal(join(state, 4, 1, 1), SPATE_ERR_INVALID);
    assert_int_equal(sp_state_node(state, 3)->features.most, 2);
    assert_int_equal(sp_state_feature_level(state), 2);
    sp_state_free(state);
}

static void test_state_held_level_stays(void **unused)
{
    struct sp_state *state = three_nodes(2);

    (void)unused;
    assert_int_equal(hold(state, true), 0);
    assert_true(sp_state_feature_hold(state));
    assert_int_equal(sp_state_feature_target(state), 1);
    assert_int_equal(set_level(state, 2), SPATE_ERR_INVALID);
    assert_int_equal(join(state, 2, 1, 1), 0); /* one step back */
    assert_int_equal(join(state, 2, 1, 2), 0);
    assert_int_equal(hold(state, false), 0);
    assert_int_equal(sp_state_feature_target(state), 2);
    assert_int_equal(set_level(state, 2), 0);
    sp_state_free(state);
}

static void test_state_build_that_needs_a_higher_level_keeps_it_low(void **unused)
{
    struct sp_state *state = three_nodes(2);

    (void)unused;
    assert_int_equal(join(state, 1, 1, 4), 0);
    assert_int_equal(join(state, 2, 3, 4), 0); /* cannot work at level 2 */
    assert_int_equal(sp_state_feature_target(state), 1);
    assert_int_equal(set_level(state, 2), SPATE_ERR_INVALID);
    sp_state_free(state);
}

/* Commands that a build does not know are never passed over: replicas would differ. */
static void test_state_unknown_command_stops_the_replica(void **unused)
{
    static const uint8_t later[] = { 0x92, 99, 1 };
    struct sp_state *state = three_nodes(2);

    (void)unused;
    assert_int_equal(sp_state_apply(state, later, sizeof later, 0, NULL, NULL),
                     SPATE_ERR_UNSUPPORTED);
    sp_state_set_level_max(state, 1);
    assert_int_equal(name_producer(state), SPATE_ERR_UNSUPPORTED);
    assert_int_equal(set_level(state, 2), SPATE_ERR_UNSUPPORTED);
    assert_int_equal(sp_state_feature_level(state), 1);
    sp_state_free(state);
}

static void test_state_checkpoint_keeps_level_and_nodes_levels(void **unused)
{
    struct sp_state *state = three_nodes(2);
    struct sp_state *other = NULL;
    struct sp_buf bytes;

    (void)unused;
    assert_int_equal(set_level(state, 2), 0);
    assert_int_equal(hold(state, true), 0);
    sp_buf_init(&bytes, BYTES_MAX);
    assert_int_equal(sp_state_checkpoint(state, &bytes), 0);
    assert_int_equal(sp_state_new(&other), 0);
    sp_state_set_level_max(other, 1);
    assert_int_equal(sp_state_restore(other, bytes.bytes, bytes.size), SPATE_ERR_UNSUPPORTED);
    sp_state_set_level_max(other, 2);
    assert_int_equal(sp_state_restore(other, bytes.bytes, bytes.size), 0);
    assert_int_equal(sp_state_feature_level(other), 2);
    assert_true(sp_state_feature_hold(other));
    assert_int_equal(sp_state_node(other, 3)->features.least, 1);
    assert_int_equal(sp_state_node(other, 3)->features.most, 2);
    /* What it knows is its own, and stays. */
    sp_state_set_level_max(other, 1);
    assert_int_equal(sp_state_restore(other, NULL, 0), 0);
    assert_int_equal(name_producer(other), SPATE_ERR_UNSUPPORTED);
    sp_buf_deinit(&bytes);
    sp_state_free(state);
    sp_state_free(other);
}

/* What clusters before feature levels have on their disks. */
static void test_state_checkpoint_without_levels_is_still_read(void **unused)
{
    static const uint8_t older[] = {
        0x98, 2,    2,    2,    0xcd, 0x04, 0x02, 0xcd, 0x03, 0xea,       /* version, counters */
        0x91, 0x95, 7,    0xcd, 0x03, 0xef, 0xa1, 'c',  0xa1, 'p',  0xa0, /* nodes */
        0x90,                                                             /* topics */
        0x91, 0x95, 0xa1, 'a',  0xa3, 'p',  '=',  '4',  0xcd, 0x03, 0xe9, 0, 77, /* names */
    };
    static const uint8_t later[] = { 0x92, 5, 1 };
    struct sp_state *state = NULL;

    (void)unused;
    assert_int_equal(sp_state_new(&state), 0);
    assert_int_equal(sp_state_restore(state, older, sizeof older), 0);
    assert_int_equal(sp_state_feature_level(state), 1);
    assert_false(sp_state_feature_hold(state));
    assert_int_equal(sp_state_node(state, 7)->features.most, 1);
    assert_non_null(sp_producer_names_find(sp_state_producer_names(state), "a"));
    assert_int_equal(sp_state_restore(state, later, sizeof later), SPATE_ERR_UNSUPPORTED);
    sp_state_free(state);
}

static void test_state_feature_commands_have_golden_bytes(void **unused)
{
    static const uint8_t level[] = { 0x92, 20, 2 };
    static const uint8_t held[] = { 0x92, 21, 1 };
    static const uint8_t forced[] = { 0x92, 22, 0x92, 2, 3 };
    static const uint32_t kept[] = { 2, 3 };
    struct sp_buf buf;

    (void)unused;
    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_feature_level(2, &buf), 0);
    assert_int_equal(buf.size, sizeof level);
    assert_memory_equal(buf.bytes, level, sizeof level);
    sp_buf_clear(&buf);
    assert_int_equal(sp_state_command_feature_hold(true, &buf), 0);
    assert_int_equal(buf.size, sizeof held);
    assert_memory_equal(buf.bytes, held, sizeof held);
    sp_buf_clear(&buf);
    assert_int_equal(sp_state_command_force_nodes(kept, 2, &buf), 0);
    assert_int_equal(buf.size, sizeof forced);
    assert_memory_equal(buf.bytes, forced, sizeof forced);
    sp_buf_deinit(&buf);
}

static void test_state_forced_nodes_keep_their_replicas_alone(void **unused)
{
    static const uint32_t all[] = { 1, 2, 3 };
    static const uint32_t lost[] = { 1 };
    static const uint32_t kept[] = { 2, 3 };
    struct sp_state *state = three_nodes(2);
    struct sp_state *other = NULL;
    struct sp_buf bytes;

    (void)unused;
    assert_int_equal(join(state, 4, 1, 2), 0);
    assert_int_equal(create(state, "t", all, 3), 0);
    assert_int_equal(create(state, "gone", lost, 1), 0);
    assert_int_equal(create(state, "__groups", lost, 1), 0);
    uint64_t replica_id = sp_state_topic(state, "t")->partitions[0].replicas[1].replica_id;
    assert_int_equal(force(state, kept, 2), 0);
    const struct sp_state_partition *partition = &sp_state_topic(state, "t")->partitions[0];
    assert_int_equal(partition->replica_count, 2);
    assert_int_equal(partition->replicas[0].node_id, 2);
    assert_int_equal(partition->replicas[0].replica_id, replica_id);
    assert_int_equal(partition->replicas[1].node_id, 3);
    assert_null(sp_state_node(state, 4));
    /* The only replica of a partition was there: it is named, and not forgotten. */
    assert_non_null(sp_state_node(state, 1));
    assert_int_equal(sp_state_topic(state, "gone")->partitions[0].replica_count, 1);
    /* The cluster's own begin anew. */
    partition = &sp_state_topic(state, "__groups")->partitions[0];
    assert_int_equal(partition->replica_count, 2);
    assert_int_equal(partition->replicas[0].node_id, 2);
    assert_int_equal(partition->replicas[1].node_id, 3);
    assert_true(partition->replicas[0].replica_id > replica_id + 3);
    sp_buf_init(&bytes, BYTES_MAX);
    assert_int_equal(sp_state_checkpoint(state, &bytes), 0);
    assert_int_equal(sp_state_new(&other), 0);
    assert_int_equal(sp_state_restore(other, bytes.bytes, bytes.size), 0);
    assert_int_equal(sp_state_node_count(other), 3);
    assert_int_equal(force(state, NULL, 0), SPATE_ERR_CORRUPT);
    sp_buf_deinit(&bytes);
    sp_state_free(state);
    sp_state_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_state_level_rises_when_all_nodes_know_it),
        cmocka_unit_test(test_state_level_is_never_lowered),
        cmocka_unit_test(test_state_held_level_stays),
        cmocka_unit_test(test_state_build_that_needs_a_higher_level_keeps_it_low),
        cmocka_unit_test(test_state_unknown_command_stops_the_replica),
        cmocka_unit_test(test_state_checkpoint_keeps_level_and_nodes_levels),
        cmocka_unit_test(test_state_checkpoint_without_levels_is_still_read),
        cmocka_unit_test(test_state_feature_commands_have_golden_bytes),
        cmocka_unit_test(test_state_forced_nodes_keep_their_replicas_alone),
    };
    return cmocka_run_group_tests_name("cluster/state_features", tests, NULL, NULL);
}
