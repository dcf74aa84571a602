/* A full coordinator: what a leader still takes, and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "broker/consumer_group.h"
#include "spate/error.h"
#include "wire/pack.h"

#define TOPIC 7 /* an id */
#define TOPICS_BYTES_MAX (SP_CONSUMER_TOPICS_MAX * 8)

static struct sp_consumer_groups *groups;
static char metadata[SP_CONSUMER_METADATA_SIZE_MAX];
static size_t coming; /* on its way, as far as a test says so */

static int setup(void **state)
{
    (void)state;
    groups = sp_consumer_groups_new();
    memset(metadata, 'm', sizeof metadata);
    coming = 0;
    return groups == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    sp_consumer_groups_free(groups);
    return 0;
}

/* ---- commands -------------------------------------------------------------------------------- */

/* As a leader does it: what is admitted, all replicas apply. */
static int submit(int rv, struct sp_buf *command)
{
    struct sp_consumer_group *group;
    size_t growth = SIZE_MAX;

    assert_int_equal(rv, 0);
    rv = sp_consumer_groups_admit(
        groups, sp_bytes_of(command->bytes, command->size), coming, &growth);
    if (rv == 0) {
        rv = sp_consumer_groups_apply(groups, command->bytes, command->size, 1000, &group);
        assert_int_not_equal(rv, SPATE_ERR_CORRUPT);
    }
    sp_buf_deinit(command);
    return rv;
}

/* `count` partitions from `first` on, each with that much metadata. */
static int commit(const char *name, unsigned first, unsigned count, size_t metadata_size)
{
    struct sp_consumer_commit *commits = calloc(count, sizeof *commits);
    struct sp_buf buf;

    assert_non_null(commits);
    for (unsigned i = 0; i < count; i++) {
        commits[i] =
            (struct sp_consumer_commit){ .place = { TOPIC, first + i },
                                         .offset = 5,
                                         .metadata = sp_bytes_of(metadata, metadata_size) };
    }
    sp_buf_init(&buf, SP_CONSUMER_COMMAND_BYTES_MAX);
    int rv =
        sp_consumer_command_commit(sp_bytes_text(name), sp_bytes_null(), -1, commits, count, &buf);
    free(commits);
    return submit(rv, &buf);
}

/* Joins with so many topics of seven letters each. */
static int join(const char *name, const char *member, unsigned topic_count)
{
    struct sp_buf topics;
    struct sp_pack pack;
    struct sp_buf buf;

    sp_buf_init(&topics, TOPICS_BYTES_MAX + 3);
    sp_pack_init(&pack, &topics);
    sp_pack_array(&pack, topic_count);
    for (unsigned i = 0; i < topic_count; i++) {
        sp_pack_text(&pack, "a-topic");
    }
    assert_int_equal(sp_pack_status(&pack), 0);
    struct sp_consumer_join join = { .group = sp_bytes_text(name),
                                     .member = sp_bytes_text(member),
                                     .session_ms = 10000,
                                     .rebalance_ms = 10000,
                                     .topics = sp_bytes_of(topics.bytes, topics.size) };
    sp_buf_init(&buf, SP_CONSUMER_COMMAND_BYTES_MAX);
    int rv = sp_consumer_command_join(&join, &buf);
    sp_buf_deinit(&topics);
    return submit(rv, &buf);
}

static int leave(const char *name, const char *member)
{
    struct sp_buf buf;

    sp_buf_init(&buf, SP_CONSUMER_COMMAND_BYTES_MAX);
    return submit(sp_consumer_command_leave(sp_bytes_text(name), sp_bytes_text(member), &buf),
                  &buf);
}

static int assign(const char *name, uint32_t count)
{
    static const int32_t first_member[SP_CONSUMER_PARTITIONS_MAX];
    const struct sp_consumer_group *group = sp_consumer_groups_find(groups, sp_bytes_text(name));
    struct sp_consumer_target target = { TOPIC, count, first_member };
    struct sp_buf buf;

    sp_buf_init(&buf, SP_CONSUMER_COMMAND_BYTES_MAX);
    return submit(
        sp_consumer_command_assign(sp_bytes_text(name), group->version, &target, 1, NULL, 0, &buf),
        &buf);
}

/* Offsets of groups that nobody needs, until not even the smallest is taken. */
static void fill(void)
{
    char name[16];
    unsigned i = 0;
    unsigned partition = 1000;

    for (unsigned count = 1000; count > 0; count /= 2) {
        do {
            assert_in_range(i, 0, 200);
            (void)snprintf(name, sizeof name, "junk-%u", i++);
        } while (commit(name, 0, count, sizeof metadata) == 0);
    }
    for (size_t size = sizeof metadata; size > 0; size /= 2) {
        while (commit("junk-0", partition, 1, size - 1) == 0) {
            partition += 1;
        }
    }
    assert_int_equal(commit("junk-0", partition, 1, 0), SPATE_ERR_BUSY);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_consumer_room_offset_that_is_there_is_replaced(void **state)
{
    (void)state;
    assert_int_equal(commit("good", 0, 1, 4), 0);
    fill();
    assert_int_equal(commit("good", 0, 1, 4), 0);
    assert_int_equal(commit("good", 0, 1, 100), SPATE_ERR_BUSY); /* this one grows */
    assert_int_equal(commit("good", 0, 2, 0), SPATE_ERR_BUSY);   /* one of them is new */
    assert_int_equal(commit("good", 0, 1, 0), 0);
    assert_int_equal(commit("junk-0", 0, 1000, sizeof metadata), 0);
    assert_int_equal(commit("good", 0, 0, 0), 0);             /* it only renews */
    assert_int_equal(commit("new", 0, 0, 0), SPATE_ERR_BUSY); /* it would make a group */
}

static void test_consumer_room_members_of_known_groups_come_back(void **state)
{
    (void)state;
    assert_int_equal(commit("good", 0, 1, 4), 0);
    assert_int_equal(join("fresh", "n", 1), 0);
    fill();
    assert_int_equal(join("good", "m", 200), 0);
    assert_int_equal(assign("good", 1000), 0);
    assert_int_equal(join("good", "m", 256), 0); /* more topics than before */
    assert_int_equal(leave("good", "m"), 0);
    assert_int_equal(join("new", "m", 1), SPATE_ERR_BUSY);
    assert_int_equal(join("fresh", "o", 1), SPATE_ERR_BUSY); /* it has no offsets */
    assert_int_equal(join("fresh", "n", 1), 0);
    assert_int_equal(join("fresh", "n", 200), SPATE_ERR_BUSY);
    assert_null(sp_consumer_groups_find(groups, sp_bytes_text("new")));
}

/* Not even members of known groups get what the largest commit weighs when it is applied. */
static void test_consumer_room_largest_commit_fits_whatever_else_is_there(void **state)
{
    char member[32];
    int rv = 0;

    (void)state;
    assert_int_equal(commit("good", 0, SP_CONSUMER_PARTITIONS_MAX, 195), 0); /* 4 MiB of command */
    fill();
    for (unsigned i = 0; rv == 0; i++) {
        assert_in_range(i, 0, 5000);
        (void)snprintf(member, sizeof member, "m%u", i);
        (void)snprintf(member + 16, 16, "junk-%u", i / 800);
        rv = join(member + 16, member, SP_CONSUMER_TOPICS_MAX);
    }
    assert_int_equal(rv, SPATE_ERR_BUSY);
    assert_int_equal(join("junk-0", "m0", 1), 0);
    assert_int_equal(commit("good", 0, SP_CONSUMER_PARTITIONS_MAX, 195), 0);
}

static void test_consumer_room_what_is_on_its_way_counts(void **state)
{
    (void)state;
    assert_int_equal(commit("good", 0, 1, 4), 0);
    coming = SP_COORDINATOR_BYTES_MAX - SP_COORDINATOR_COMMIT_RESERVE -
             SP_COORDINATOR_MEMBER_RESERVE - 4096;
    assert_int_equal(commit("other", 0, 1, 4), 0);
    assert_int_equal(commit("good", 1, 100, 4), SPATE_ERR_BUSY);
    coming = SP_COORDINATOR_BYTES_MAX;
    assert_int_equal(commit("good", 0, 1, 4), 0);
    assert_int_equal(join("good", "m", 1), SPATE_ERR_BUSY);
}

/* 40,000 offsets are the most that a group may have after a commit, counted as if all were new. */
static void test_consumer_room_group_keeps_room_for_the_same_commit_again(void **state)
{
    (void)state;
    assert_int_equal(commit("good", 0, SP_CONSUMER_PARTITIONS_MAX, 0), 0);
    assert_int_equal(commit("good", SP_CONSUMER_PARTITIONS_MAX, SP_CONSUMER_PARTITIONS_MAX, 0),
                     SPATE_ERR_BUSY);
    assert_int_equal(commit("good", 0, SP_CONSUMER_PARTITIONS_MAX, 0), 0);
    assert_int_equal(commit("good", SP_CONSUMER_PARTITIONS_MAX, 10000, 0), 0);
    assert_int_equal(commit("good", SP_CONSUMER_PARTITIONS_MAX, 10000, 0), 0);
    assert_int_equal(commit("good", 2 * SP_CONSUMER_PARTITIONS_MAX, 1, 0), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_consumer_room_##name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(offset_that_is_there_is_replaced),           TEST(members_of_known_groups_come_back),
        TEST(largest_commit_fits_whatever_else_is_there), TEST(what_is_on_its_way_counts),
        TEST(group_keeps_room_for_the_same_commit_again),
    };
#undef TEST

    return cmocka_run_group_tests(tests, NULL, NULL);
}
