#include "broker/consumer_group.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "spate/error.h"
#include "wire/pack.h"

#define TOPIC 7 /* an id */

static struct sp_consumer_groups *groups;
static struct sp_consumer_group *group; /* what the last command was about */
static int64_t now_ms;
static uint64_t live;

static int setup(void **state)
{
    (void)state;
    live = sp_mem_live_count();
    groups = sp_consumer_groups_new();
    now_ms = 1000;
    return groups == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    sp_mem_fail_at(0);
    sp_consumer_groups_free(groups);
    return sp_mem_live_count() == live ? 0 : -1;
}

/* ---- commands -------------------------------------------------------------------------------- */

static uint64_t log_index; /* of the last command */

static int apply(int rv, struct sp_buf *command)
{
    assert_int_equal(rv, 0);
    sp_consumer_groups_at(groups, ++log_index);
    rv = sp_consumer_groups_apply(groups, command->bytes, command->size, now_ms++, &group);
    sp_buf_deinit(command);
    return rv;
}

static struct sp_bytes text(const char *word)
{
    return sp_bytes_text(word);
}

static int join_as(const char *member,
                   const char *instance,
                   const struct sp_consumer_place *owned,
                   unsigned owned_count)
{
    struct sp_consumer_join join = { .group = text("g"),
                                     .member = text(member),
                                     .instance = text(instance),
                                     .client = text("till"),
                                     .session_ms = 10000,
                                     .rebalance_ms = 30000,
                                     .topics = sp_bytes_of("\x91\xa1t", 3),
                                     .owned = owned,
                                     .owned_count = owned_count };
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    return apply(sp_consumer_command_join(&join, &buf), &buf);
}

static int join(const char *member)
{
    return join_as(member, "", NULL, 0);
}

static int leave(const char *member)
{
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    return apply(sp_consumer_command_leave(text("g"), text(member), &buf), &buf);
}

/* Assigns the partitions of TOPIC from 0 on. */
static int assign_at(uint64_t version, const int32_t *members, uint32_t count, uint64_t gone)
{
    struct sp_consumer_target target = { TOPIC, count, members };
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    return apply(
        sp_consumer_command_assign(text("g"), version, &target, count > 0, &gone, gone != 0, &buf),
        &buf);
}

static int assign(const int32_t *members, uint32_t count)
{
    return assign_at(group->version, members, count, 0);
}

static int release(const char *member, int64_t generation, uint32_t partition)
{
    struct sp_consumer_place place = { TOPIC, partition };
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    return apply(sp_consumer_command_release(text("g"), text(member), generation, &place, 1, &buf),
                 &buf);
}

static int commit(const char *member, int64_t generation, uint32_t partition, int64_t offset)
{
    struct sp_consumer_commit commit = { { TOPIC, partition }, offset, text("note") };
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    return apply(sp_consumer_command_commit(text("g"), text(member), generation, &commit, 1, &buf),
                 &buf);
}

static int delete_at(int64_t changed_ms)
{
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    return apply(sp_consumer_command_delete(text("g"), changed_ms, &buf), &buf);
}

static const char *owner(uint32_t partition)
{
    const struct sp_consumer_share *share = sp_consumer_group_share(group, TOPIC, partition);

    return share == NULL || share->owner == NULL ? "" : share->owner->id;
}

static int64_t committed(uint32_t partition)
{
    const struct sp_consumer_offset *offset = sp_consumer_group_offset(group, TOPIC, partition);

    return offset == NULL ? -1 : offset->offset;
}

/* a has 0 and 1, b has 2, in generation 1 */
static void two_members(void)
{
    assert_int_equal(join("a"), 0);
    assert_int_equal(join("b"), 0);
    assert_int_equal(assign((int32_t[]){ 0, 0, 1 }, 3), 0);
}

/* ---- members --------------------------------------------------------------------------------- */

static void test_consumer_group_free_partition_is_granted_at_once(void **state)
{
    (void)state;
    two_members();
    assert_int_equal(group->generation, 1);
    assert_string_equal(owner(0), "a");
    assert_string_equal(owner(2), "b");
    assert_string_equal(sp_consumer_group_state(group), "stable");
}

static void test_consumer_group_owned_partition_moves_after_release(void **state)
{
    (void)state;
    two_members();
    assert_int_equal(assign((int32_t[]){ 0, 1, 1 }, 3), 0);
    assert_string_equal(owner(1), "a");
    assert_string_equal(sp_consumer_group_state(group), "rebalancing");
    assert_true(sp_consumer_member_revoking(group, group->members[0]));
    assert_int_equal(release("a", 1, 1), 0); /* it has not seen the generation that takes it away */
    assert_string_equal(owner(1), "a");
    assert_int_equal(release("a", 2, 0), 0); /* not revoked */
    assert_string_equal(owner(0), "a");
    assert_int_equal(release("b", 2, 1), 0); /* not its own */
    assert_string_equal(owner(1), "a");
    assert_int_equal(release("a", 2, 1), 0);
    assert_string_equal(owner(1), "b");
    assert_string_equal(sp_consumer_group_state(group), "stable");
    assert_int_equal(release("x", 2, 1), SPATE_ERR_UNKNOWN_MEMBER);
}

static void test_consumer_group_assignment_for_other_members_is_ignored(void **state)
{
    uint64_t version;

    (void)state;
    two_members();
    version = group->version;
    assert_int_equal(join("c"), 0);
    assert_int_equal(assign_at(version, (int32_t[]){ 0, 1, 1 }, 3, 0), SPATE_ERR_AGAIN);
    assert_int_equal(group->generation, 1);
    assert_string_equal(sp_consumer_group_state(group), "assigning");
}

static void test_consumer_group_leaving_member_frees_its_partitions(void **state)
{
    (void)state;
    two_members();
    assert_int_equal(leave("a"), 0);
    assert_string_equal(owner(0), "");
    assert_int_equal(assign((int32_t[]){ 0, 0, 0 }, 3), 0);
    assert_string_equal(owner(0), "b");
    assert_int_equal(leave("a"), SPATE_ERR_UNKNOWN_MEMBER);
    assert_int_equal(leave("b"), 0);
    assert_string_equal(sp_consumer_group_state(group), "empty");
    assert_int_equal(group->share_count, 0);
}

static void test_consumer_group_pending_goes_on_when_the_owner_leaves(void **state)
{
    (void)state;
    two_members();
    assert_int_equal(assign((int32_t[]){ 0, 1, 1 }, 3), 0);
    assert_int_equal(leave("a"), 0);
    assert_string_equal(owner(1), "b");
}

static void test_consumer_group_rejoining_releases_what_it_does_not_own(void **state)
{
    struct sp_consumer_place owned = { TOPIC, 1 };

    (void)state;
    two_members();
    assert_int_equal(assign((int32_t[]){ 1, 1, 1 }, 3), 0);
    assert_int_equal(join_as("a", "", &owned, 1), 0);
    assert_string_equal(owner(0), "b");
    assert_string_equal(owner(1), "a");
    assert_int_equal(group->version, group->assigned); /* same topics: nothing to assign */
}

static void test_consumer_group_static_member_is_replaced_in_place(void **state)
{
    (void)state;
    assert_int_equal(join_as("a", "one", NULL, 0), 0);
    assert_int_equal(join("b"), 0);
    assert_int_equal(assign((int32_t[]){ 0, 0, 1 }, 3), 0);
    assert_int_equal(join_as("z", "one", NULL, 0), 0);
    assert_int_equal(group->member_count, 2);
    assert_string_equal(owner(0), "z");
    assert_int_equal(group->version, group->assigned);
    assert_int_equal(commit("a", 1, 0, 5), SPATE_ERR_UNKNOWN_MEMBER);
    assert_int_equal(join_as("b", "one", NULL, 0), SPATE_ERR_GROUP_FENCED);
}

static void test_consumer_group_removed_topic_is_revoked_deleted_one_forgotten(void **state)
{
    (void)state;
    two_members();
    assert_int_equal(commit("a", 1, 0, 5), 0);
    assert_int_equal(assign(NULL, 0), 0);
    assert_string_equal(owner(0), "a"); /* until it is released */
    assert_int_equal(assign_at(group->version, NULL, 0, TOPIC), 0);
    assert_string_equal(owner(0), "");
    assert_int_equal(committed(0), -1);
}

static void test_consumer_group_bounds_are_answered_busy(void **state)
{
    char member[16];

    (void)state;
    for (int i = 0; i < SP_CONSUMER_MEMBERS_MAX; i++) {
        (void)snprintf(member, sizeof member, "m%d", i);
        assert_int_equal(join(member), 0);
    }
    assert_int_equal(join("one more"), SPATE_ERR_BUSY);
    assert_int_equal(group->member_count, SP_CONSUMER_MEMBERS_MAX);
    assert_int_equal(join("m0"), 0);
}

/* ---- offsets --------------------------------------------------------------------------------- */

static void test_consumer_group_commit_needs_ownership(void **state)
{
    (void)state;
    two_members();
    assert_int_equal(commit("a", 1, 0, 5), 0);
    assert_int_equal(commit("a", -1, 1, 6), 0);
    assert_int_equal(commit("a", 1, 2, 7), SPATE_ERR_GROUP_FENCED);
    assert_int_equal(commit("a", 2, 0, 7), SPATE_ERR_GROUP_FENCED); /* a generation to come */
    assert_int_equal(commit("x", 1, 0, 7), SPATE_ERR_UNKNOWN_MEMBER);
    assert_int_equal(commit(NULL, -1, 0, 7), SPATE_ERR_GROUP_FENCED);
    assert_int_equal(commit(NULL, -1, 9, 7), 0); /* nobody owns it */
    assert_int_equal(committed(0), 5);
    assert_int_equal(committed(1), 6);
    assert_int_equal(committed(9), 7);
    assert_string_equal(sp_consumer_group_offset(group, TOPIC, 0)->metadata, "note");
}

static void test_consumer_group_commit_of_a_lost_and_regained_partition_is_fenced(void **state)
{
    (void)state;
    two_members();
    assert_int_equal(assign((int32_t[]){ 1, 0, 1 }, 3), 0);
    assert_int_equal(commit("a", 1, 0, 5), 0); /* it may finish what it reads */
    assert_int_equal(release("a", 2, 0), 0);
    assert_int_equal(commit("b", 2, 0, 9), 0);
    assert_int_equal(assign((int32_t[]){ 0, 0, 1 }, 3), 0);
    assert_int_equal(release("b", 3, 0), 0);
    assert_int_equal(commit("a", 1, 0, 6), SPATE_ERR_GROUP_FENCED); /* late, of its first time */
    assert_int_equal(commit("a", 1, 1, 6), 0);                      /* this one never moved */
    assert_int_equal(commit("a", 3, 0, 10), 0);
    assert_int_equal(committed(0), 10);
}

static void test_consumer_group_commit_is_all_or_nothing(void **state)
{
    struct sp_consumer_commit commits[] = { { { TOPIC, 0 }, 5, sp_bytes_null() },
                                            { { TOPIC, 2 }, 5, sp_bytes_null() } };
    struct sp_buf buf;

    (void)state;
    two_members();
    sp_buf_init(&buf, 4096);
    assert_int_equal(
        apply(sp_consumer_command_commit(text("g"), text("a"), 1, commits, 2, &buf), &buf),
        SPATE_ERR_GROUP_FENCED);
    assert_int_equal(committed(0), -1);
}

static void test_consumer_group_delete_only_when_empty_and_unused(void **state)
{
    int64_t changed_ms;

    (void)state;
    assert_int_equal(delete_at(-1), SPATE_ERR_NOT_FOUND);
    assert_int_equal(join("a"), 0);
    assert_int_equal(delete_at(-1), SPATE_ERR_BUSY);
    assert_int_equal(leave("a"), 0);
    changed_ms = group->changed_ms;
    assert_int_equal(commit(NULL, -1, 0, 5), 0);
    assert_int_equal(delete_at(changed_ms), SPATE_ERR_AGAIN);
    assert_int_equal(delete_at(group->changed_ms), 0);
    assert_null(group);
    assert_int_equal(sp_consumer_groups_count(groups), 0);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

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

/* A member that gives nothing up keeps what others shall have, and that has a bound: no assignment
 * beyond it. A release that names more than a command holds goes in parts. */
static void test_consumer_group_without_releases_is_bounded(void **state)
{
    const unsigned count = 3 * SP_CONSUMER_PARTITIONS_MAX;
    struct sp_consumer_place *places = calloc(count, sizeof *places);
    int32_t *members = calloc(SP_CONSUMER_PARTITIONS_MAX, sizeof *members);
    struct sp_buf buf;

    (void)state;
    assert_non_null(places);
    assert_non_null(members);
    assert_int_equal(join("m1"), 0);
    for (uint64_t topic_id = 1; topic_id <= 3; topic_id++) {
        struct sp_consumer_target target = { topic_id, SP_CONSUMER_PARTITIONS_MAX, members };
        sp_buf_init(&buf, SP_CONSUMER_COMMAND_BYTES_MAX);
        assert_int_equal(
            apply(sp_consumer_command_assign(text("g"), group->version, &target, 1, NULL, 0, &buf),
                  &buf),
            topic_id == 3 ? SPATE_ERR_BUSY : 0);
    }
    for (unsigned i = 0; i < count; i++) {
        places[i].topic_id = 1 + i / SP_CONSUMER_PARTITIONS_MAX;
        places[i].partition = i % SP_CONSUMER_PARTITIONS_MAX;
    }
    assert_int_equal(group->share_count, 2 * SP_CONSUMER_PARTITIONS_MAX);
    sp_buf_init(&buf, SP_CONSUMER_COMMAND_BYTES_MAX);
    assert_int_equal(apply(sp_consumer_command_release(
                               text("g"), text("m1"), group->generation, places, count, &buf),
                           &buf),
                     0);
    assert_int_equal(group->share_count, SP_CONSUMER_PARTITIONS_MAX);
    free(places);
    free(members);
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
        TEST(free_partition_is_granted_at_once),
        TEST(owned_partition_moves_after_release),
        TEST(assignment_for_other_members_is_ignored),
        TEST(leaving_member_frees_its_partitions),
        TEST(pending_goes_on_when_the_owner_leaves),
        TEST(rejoining_releases_what_it_does_not_own),
        TEST(static_member_is_replaced_in_place),
        TEST(removed_topic_is_revoked_deleted_one_forgotten),
        TEST(bounds_are_answered_busy),
        TEST(commit_needs_ownership),
        TEST(commit_of_a_lost_and_regained_partition_is_fenced),
        TEST(commit_is_all_or_nothing),
        TEST(delete_only_when_empty_and_unused),
        TEST(offset_has_the_index_of_its_last_change),
        TEST(checkpoint_restores_to_the_same_bytes),
        TEST(checkpoint_cut_or_changed_is_refused_or_sound),
        TEST(without_releases_is_bounded),
        TEST(unreadable_commands_are_corrupt),
        TEST(failing_memory_stops_and_leaks_nothing),
    };
#undef TEST

    return cmocka_run_group_tests(tests, NULL, NULL);
}
