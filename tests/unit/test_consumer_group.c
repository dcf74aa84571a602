/* Who owns which partitions of a consumer group, and who may commit offsets for them. */
#include <stdio.h>
#include <stdlib.h>

#include "driven_consumer_group.h"

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
        TEST(without_releases_is_bounded),
        TEST(commit_needs_ownership),
        TEST(commit_of_a_lost_and_regained_partition_is_fenced),
        TEST(commit_is_all_or_nothing),
        TEST(delete_only_when_empty_and_unused),
    };
#undef TEST

    return cmocka_run_group_tests_name("broker/consumer_group", tests, NULL, NULL);
}
