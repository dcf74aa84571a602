/* Consumer groups: what nodes of before have written is still read, and what was accepted once is
 * accepted by a restart. */
#include "broker/consumer_group.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "spate/error.h"
#include "wire/pack.h"

static struct sp_consumer_groups *groups;
static struct sp_consumer_group *group; /* what the last command was about */

static int setup(void **state)
{
    (void)state;
    groups = sp_consumer_groups_new();
    return groups == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    sp_consumer_groups_free(groups);
    return 0;
}

static int apply_bytes(const void *bytes, size_t size)
{
    return sp_consumer_groups_apply(groups, bytes, size, 5, &group);
}

static int apply(int rv, struct sp_buf *command)
{
    assert_int_equal(rv, 0);
    rv = apply_bytes(command->bytes, command->size);
    sp_buf_deinit(command);
    return rv;
}

static int join(const char *name, const char *member, const char *rack)
{
    struct sp_consumer_join join = { .group = sp_bytes_text(name),
                                     .member = sp_bytes_text(member),
                                     .rack = sp_bytes_text(rack),
                                     .session_ms = 1000,
                                     .rebalance_ms = 2000,
                                     .topics = sp_bytes_of("\x91\xa1t", 3) };
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    return apply(sp_consumer_command_join(&join, &buf), &buf);
}

/* As it was before members had racks: [1, 1, "g", "m", "i", "c", 1000, 2000, ["t"], [7, 0]] */
static const uint8_t old_join[] = "\x9a\x01\x01\xa1g\xa1m\xa1i\xa1"
                                  "c\xcd\x03\xe8\xcd\x07\xd0\x91\xa1t\x92\x07\x00";

/* [1, [["g", 2, 1, 1, 5, [["m", "i", "c", 1000, 2000, ["t"]]], [[7, 0, 0, -1, 2]],
 *       [[7, 0, 42, 5, nil]]]]] */
static const uint8_t old_checkpoint[] = "\x92\x01\x91\x98\xa1g\x02\x01\x01\x05\x91\x96\xa1m\xa1i"
                                        "\xa1"
                                        "c\xcd\x03\xe8\xcd\x07\xd0\x91\xa1t"
                                        "\x91\x95\x07\x00\x00\xff\x02\x91\x95\x07\x00\x2a\x05\xc0";

static void test_consumer_upgrade_command_without_rack_is_applied(void **state)
{
    struct sp_buf buf;
    struct sp_consumer_place place = { 7, 0 };
    struct sp_consumer_join join = { .group = sp_bytes_text("g"),
                                     .member = sp_bytes_text("m"),
                                     .instance = sp_bytes_text("i"),
                                     .client = sp_bytes_text("c"),
                                     .session_ms = 1000,
                                     .rebalance_ms = 2000,
                                     .topics = sp_bytes_of("\x91\xa1t", 3),
                                     .owned = &place,
                                     .owned_count = 1 };

    (void)state;
    assert_int_equal(apply_bytes(old_join, sizeof old_join - 1), 0);
    assert_string_equal(group->members[0]->instance, "i");
    assert_string_equal(group->members[0]->rack, "");
    sp_buf_init(&buf, 4096); /* and without a rack it is written so, for nodes that know of none */
    assert_int_equal(sp_consumer_command_join(&join, &buf), 0);
    assert_int_equal(buf.size, sizeof old_join - 1);
    assert_memory_equal(buf.bytes, old_join, buf.size);
    sp_buf_deinit(&buf);
}

static void test_consumer_upgrade_checkpoint_without_racks_is_restored(void **state)
{
    struct sp_buf buf;

    (void)state;
    assert_int_equal(sp_consumer_groups_restore(groups, old_checkpoint, sizeof old_checkpoint - 1),
                     0);
    group = sp_consumer_groups_find(groups, sp_bytes_text("g"));
    assert_non_null(group);
    assert_string_equal(group->members[0]->client, "c");
    assert_string_equal(group->members[0]->rack, "");
    assert_ptr_equal(group->shares[0].owner, group->members[0]);
    assert_int_equal(group->offsets[0].offset, 42);
    sp_buf_init(&buf, 4096);
    assert_int_equal(sp_consumer_groups_checkpoint(groups, &buf), 0);
    assert_int_equal(buf.bytes[1], 2); /* the version of now */
    assert_int_equal(sp_consumer_groups_restore(groups, buf.bytes, buf.size), 0);
    sp_buf_deinit(&buf);
}

static void test_consumer_upgrade_rack_is_kept_and_changes_nothing_else(void **state)
{
    struct sp_buf buf;
    uint64_t version;

    (void)state;
    assert_int_equal(join("g", "m", "cellar"), 0);
    version = group->version;
    sp_buf_init(&buf, 4096);
    assert_int_equal(sp_consumer_groups_checkpoint(groups, &buf), 0);
    assert_int_equal(sp_consumer_groups_restore(groups, buf.bytes, buf.size), 0);
    sp_buf_deinit(&buf);
    group = sp_consumer_groups_find(groups, sp_bytes_text("g"));
    assert_string_equal(group->members[0]->rack, "cellar");
    assert_int_equal(join("g", "m", "attic"), 0);
    assert_string_equal(group->members[0]->rack, "attic");
    assert_int_equal(join("g", "m", ""), 0);
    assert_string_equal(group->members[0]->rack, "");
    assert_int_equal(group->version, version); /* nobody is assigned anew for that */
}

static void test_consumer_upgrade_rack_too_long_or_cut_is_corrupt(void **state)
{
    char rack[SP_CONSUMER_RACK_SIZE_MAX + 2];

    (void)state;
    memset(rack, 'r', sizeof rack);
    rack[SP_CONSUMER_RACK_SIZE_MAX + 1] = '\0';
    assert_int_equal(join("g", "m", rack), SPATE_ERR_CORRUPT);
    rack[SP_CONSUMER_RACK_SIZE_MAX] = '\0';
    assert_int_equal(join("g", "m", rack), 0);
    assert_string_equal(group->members[0]->rack, rack);
}

/* ---- bounds ---------------------------------------------------------------------------------- */

static int assign_many(const char *name, uint32_t count)
{
    static int32_t members[SP_CONSUMER_PARTITIONS_MAX];
    struct sp_consumer_target target = { 7, count, members };
    struct sp_buf buf;

    sp_buf_init(&buf, SP_CONSUMER_COMMAND_BYTES_MAX);
    return apply(
        sp_consumer_command_assign(sp_bytes_text(name), group->version, &target, 1, NULL, 0, &buf),
        &buf);
}

/* As many assigned partitions as a coordinator takes; returns how many groups have them. */
static unsigned fill(void)
{
    unsigned full = 0;
    int rv = 0;

    for (unsigned i = 0; rv == 0; i++) {
        char name[16];
        assert_in_range(i, 0, 100);
        (void)snprintf(name, sizeof name, "g%u", i);
        assert_int_equal(join(name, "m", ""), 0);
        rv = assign_many(name, SP_CONSUMER_PARTITIONS_MAX);
        full += rv == 0;
    }
    assert_int_equal(rv, SPATE_ERR_BUSY);
    return full;
}

static void test_consumer_upgrade_assignment_beyond_all_bounds_is_busy(void **state)
{
    (void)state;
    assert_int_equal(fill(), 34);
    assert_int_equal(group->generation, 0); /* the one that found no room: nothing has changed */
    assert_int_equal(group->share_count, 0);
    assert_int_equal(assign_many(group->name, 10), 0);
    group = sp_consumer_groups_find(groups, sp_bytes_text("g0"));
    assert_int_equal(assign_many("g0", SP_CONSUMER_PARTITIONS_MAX), 0); /* it has them already */
}

/* Topics of a member that joined before count without a bound, so a state may be above it. */
static void test_consumer_upgrade_state_above_the_bound_is_restored(void **state)
{
    static uint8_t topics[3 + SP_CONSUMER_TOPICS_MAX * 2];
    struct sp_buf first;
    struct sp_buf second;
    char name[16];

    struct sp_consumer_group *last;

    (void)state;
    (void)fill();
    last = group;
    for (unsigned i = 0; i < 4; i++) { /* these come last, when there is no room any more */
        (void)snprintf(name, sizeof name, "x%u", i);
        assert_int_equal(join(name, "m", ""), 0);
    }
    group = last;
    for (uint32_t count = SP_CONSUMER_PARTITIONS_MAX; count > 0; count /= 2) {
        while (assign_many(group->name, group->share_count + count) == 0) {
        }
    }
    memcpy(topics, "\xdc\x01\x00", 3);
    for (unsigned i = 0; i < SP_CONSUMER_TOPICS_MAX; i++) {
        memcpy(&topics[3 + 2 * i], "\xa1t", 2);
    }
    for (unsigned i = 0; i < 34; i++) {
        struct sp_buf buf;
        struct sp_consumer_join join = { .member = sp_bytes_text("m"),
                                         .topics = sp_bytes_of(topics, sizeof topics) };
        (void)snprintf(name, sizeof name, "g%u", i);
        join.group = sp_bytes_text(name);
        sp_buf_init(&buf, 4096);
        assert_int_equal(apply(sp_consumer_command_join(&join, &buf), &buf), 0);
    }
    assert_int_equal(join("another", "m", ""), SPATE_ERR_BUSY); /* it is full */
    sp_buf_init(&first, SP_COORDINATOR_BYTES_MAX);
    sp_buf_init(&second, SP_COORDINATOR_BYTES_MAX);
    assert_int_equal(sp_consumer_groups_checkpoint(groups, &first), 0);
    assert_int_equal(sp_consumer_groups_restore(groups, first.bytes, first.size), 0);
    assert_int_equal(sp_consumer_groups_checkpoint(groups, &second), 0);
    assert_int_equal(first.size, second.size);
    assert_memory_equal(first.bytes, second.bytes, first.size);
    assert_int_equal(join("another", "m", ""), SPATE_ERR_BUSY); /* as on every other replica */
    sp_buf_deinit(&first);
    sp_buf_deinit(&second);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_consumer_upgrade_##name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(command_without_rack_is_applied),       TEST(checkpoint_without_racks_is_restored),
        TEST(rack_is_kept_and_changes_nothing_else), TEST(rack_too_long_or_cut_is_corrupt),
        TEST(assignment_beyond_all_bounds_is_busy),  TEST(state_above_the_bound_is_restored),
    };
#undef TEST

    return cmocka_run_group_tests(tests, NULL, NULL);
}
