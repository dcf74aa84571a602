/* Checkpoints and commands of consumer groups as bytes: the same again, cut, changed, unreadable,
 * and without memory. */
#include <string.h>

#include "driven_consumer_group.h"

static void busy_state(void)
{
    two_members();
    assert_int_equal(join_as("c", "three", NULL, 0), 0);
    assert_int_equal(assign((int32_t[]){ 0, 2, 1, -1 }, 4), 0);
    assert_int_equal(commit("a", 2, 0, 5), 0);
    assert_int_equal(commit(NULL, -1, 40, 6), 0);
    assert_int_equal(commit(NULL, -1, 9, 6), 0);
}

static uint64_t changed(uint32_t partition)
{
    return sp_consumer_offset_changed(
        groups, sp_consumer_groups_find(groups, text("g")), TOPIC, partition, log_index);
}

/* No late commit passes: whatever has happened to the offset since, the index says so. */
static void test_consumer_group_offset_has_the_index_of_its_last_change(void **state)
{
    struct sp_buf buf;

    (void)state;
    log_index = 100;
    assert_int_equal(changed(0), 0); /* never */
    assert_int_equal(commit(NULL, -1, 0, 5), 0);
    assert_int_equal(changed(0), 101);
    assert_int_equal(commit(NULL, -1, 1, 5), 0);
    assert_int_equal(commit(NULL, -1, 0, 3), 0);
    assert_int_equal(changed(0), 103);
    assert_int_equal(changed(1), 102);
    assert_int_equal(changed(2), 0);
    assert_int_equal(delete_at(-1), 0); /* a late commit would bring the offset back */
    assert_int_equal(changed(0), 104);
    assert_int_equal(commit(NULL, -1, 0, 4), 0);
    assert_int_equal(changed(0), 105);
    assert_int_equal(changed(1), 104);
    sp_buf_init(&buf, 4096);
    assert_int_equal(sp_consumer_groups_checkpoint(groups, &buf), 0);
    assert_int_equal(sp_consumer_groups_restore(groups, buf.bytes, buf.size), 0);
    sp_buf_deinit(&buf);
    log_index = 110; /* the checkpoint was of some command up to here */
    assert_int_equal(changed(0), 110);
    assert_int_equal(changed(1), 110);
    log_index = 111;
    assert_int_equal(changed(0), 110); /* and stays, so that who has seen that passes */
    assert_int_equal(commit(NULL, -1, 0, 6), 0);
    assert_int_equal(changed(0), 112);
    assert_int_equal(changed(1), 110);
}

static void test_consumer_group_checkpoint_restores_to_the_same_bytes(void **state)
{
    struct sp_buf first;
    struct sp_buf second;

    (void)state;
    busy_state();
    sp_buf_init(&first, 65536);
    sp_buf_init(&second, 65536);
    assert_int_equal(sp_consumer_groups_checkpoint(groups, &first), 0);
    assert_int_equal(sp_consumer_groups_restore(groups, NULL, 0), 0);
    assert_int_equal(sp_consumer_groups_count(groups), 0);
    assert_int_equal(sp_consumer_groups_restore(groups, first.bytes, first.size), 0);
    assert_int_equal(sp_consumer_groups_checkpoint(groups, &second), 0);
    assert_int_equal(first.size, second.size);
    assert_memory_equal(first.bytes, second.bytes, first.size);
    group = sp_consumer_groups_find(groups, text("g"));
    assert_string_equal(owner(1), "a");
    assert_int_equal(release("a", 2, 1), 0); /* it goes on where it was */
    assert_string_equal(owner(1), "c");
    assert_int_equal(committed(40), 6);
    sp_buf_deinit(&first);
    sp_buf_deinit(&second);
}

static void test_consumer_group_checkpoint_cut_or_changed_is_refused_or_sound(void **state)
{
    struct sp_buf good;
    uint8_t bytes[1024];

    (void)state;
    busy_state();
    sp_buf_init(&good, sizeof bytes);
    assert_int_equal(sp_consumer_groups_checkpoint(groups, &good), 0);
    for (size_t size = 1; size < good.size; size++) {
        assert_int_equal(sp_consumer_groups_restore(groups, good.bytes, size), SPATE_ERR_CORRUPT);
        assert_int_equal(sp_consumer_groups_count(groups), 0);
    }
    for (size_t at = 0; at < good.size; at++) {
        for (unsigned value = 0; value < 256; value += 5) {
            memcpy(bytes, good.bytes, good.size);
            bytes[at] = (uint8_t)value;
            int rv = sp_consumer_groups_restore(groups, bytes, good.size);
            assert_true(rv == 0 || rv == SPATE_ERR_CORRUPT);
        }
    }
    sp_buf_deinit(&good);
}

static void test_consumer_group_unreadable_commands_are_corrupt(void **state)
{
    static const struct sp_bytes commands[] = {
        { (const uint8_t *)"", 0 },
        { (const uint8_t *)"\x90", 1 },
        { (const uint8_t *)"\x94\x02\x02\xa1g\xa1"
                           "a",
          7 }, /* another version: a newer build's */
        { (const uint8_t *)"\x94\x01\x63\xa1g\xa1"
                           "a",
          7 }, /* no such type: likewise */
        { (const uint8_t *)"\x94\x01\x02\xa0\xa1"
                           "a",
          6 }, /* no name */
        { (const uint8_t *)"\x95\x01\x02\xa1g\xa1"
                           "a\x01",
          8 },                                                                /* a field too many */
        { (const uint8_t *)"\x96\x01\x03\xa1g\x00\x92\x07\x91\x05\x90", 10 }, /* no member 5 */
    };

    (void)state;
    assert_int_equal(join("a"), 0);
    assert_int_equal(leave("a"), 0);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (i == 6) {
            assert_int_equal(delete_at(-1), 0);
            assert_int_equal(commit(NULL, -1, 0, 1), 0); /* a group in version 0 */
        }
        assert_int_equal(
            sp_consumer_groups_apply(groups, commands[i].bytes, commands[i].size, 1, &group),
            i == 2 || i == 3 ? SPATE_ERR_UNSUPPORTED : SPATE_ERR_CORRUPT);
    }
}

static void test_consumer_group_failing_memory_stops_and_leaks_nothing(void **state)
{
    struct sp_buf good;

    (void)state;
    busy_state();
    sp_buf_init(&good, 65536);
    assert_int_equal(sp_consumer_groups_checkpoint(groups, &good), 0);
    int rv = SPATE_ERR_NOMEM;
    for (uint64_t n = 1; rv == SPATE_ERR_NOMEM; n++) {
        sp_mem_fail_at(n);
        rv = sp_consumer_groups_restore(groups, good.bytes, good.size);
        assert_true(n < 100);
    }
    assert_int_equal(rv, 0);
    sp_mem_fail_at(0);
    sp_buf_deinit(&good);
    for (uint64_t n = 1; n < 20; n++) {
        sp_consumer_groups_free(groups);
        groups = sp_consumer_groups_new();
        sp_mem_fail_at(n +
                       2); /* the encoders have their own allocations, which are not the matter */
        struct sp_consumer_commit each = { { TOPIC, 3 }, 5, text("note") };
        struct sp_buf buf;
        sp_buf_init(&buf, 4096);
        if (sp_consumer_command_commit(text("g"), sp_bytes_null(), -1, &each, 1, &buf) == 0) {
            rv = sp_consumer_groups_apply(groups, buf.bytes, buf.size, 1, &group);
            assert_true(rv == 0 || rv == SPATE_ERR_NOMEM);
        }
        sp_mem_fail_at(0);
        sp_buf_deinit(&buf);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_consumer_group_##name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(offset_has_the_index_of_its_last_change),
        TEST(checkpoint_restores_to_the_same_bytes),
        TEST(checkpoint_cut_or_changed_is_refused_or_sound),
        TEST(unreadable_commands_are_corrupt),
        TEST(failing_memory_stops_and_leaks_nothing),
    };
#undef TEST

    return cmocka_run_group_tests_name("broker/consumer_group_bytes", tests, NULL, NULL);
}
