/* What time does to consumer groups, in virtual time: how long one is kept, also through a restart
 * and a failover, and which partitions stand still. */
#include "broker/consumer_group.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "spate/error.h"

#define RETENTION_MS 5000

/* Two replicas that apply the same commands; a failover is to look at the other. */
static struct sp_consumer_groups *replicas[2];
static int64_t now_ms; /* append time of the next command */

static int setup(void **state)
{
    (void)state;
    now_ms = 1000;
    replicas[0] = sp_consumer_groups_new();
    replicas[1] = sp_consumer_groups_new();
    return replicas[0] == NULL || replicas[1] == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    sp_consumer_groups_free(replicas[0]);
    sp_consumer_groups_free(replicas[1]);
    return 0;
}

static int apply(int rv, struct sp_buf *command)
{
    struct sp_consumer_group *group;
    int answers[2];

    assert_int_equal(rv, 0);
    for (unsigned i = 0; i < 2; i++) {
        answers[i] =
            sp_consumer_groups_apply(replicas[i], command->bytes, command->size, now_ms, &group);
    }
    sp_buf_deinit(command);
    assert_int_equal(answers[0], answers[1]);
    return answers[0];
}

static void join_as(const char *member)
{
    struct sp_consumer_join join = { .group = sp_bytes_text("g"),
                                     .member = sp_bytes_text(member),
                                     .session_ms = 1000,
                                     .rebalance_ms = 1000,
                                     .topics = sp_bytes_of("\x91\xa1t", 3) };
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    assert_int_equal(apply(sp_consumer_command_join(&join, &buf), &buf), 0);
}

static void join(void)
{
    join_as("m");
}

static void leave(void)
{
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    assert_int_equal(
        apply(sp_consumer_command_leave(sp_bytes_text("g"), sp_bytes_text("m"), &buf), &buf), 0);
}

/* -1: without offsets. */
static void commit(int64_t offset)
{
    struct sp_consumer_commit commit = { { 7, 0 }, offset, sp_bytes_null() };
    unsigned count = offset < 0 ? 0 : 1;
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    assert_int_equal(apply(sp_consumer_command_commit(
                               sp_bytes_text("g"), sp_bytes_null(), -1, &commit, count, &buf),
                           &buf),
                     0);
}

static int expire(int64_t changed_ms)
{
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    return apply(sp_consumer_command_delete(sp_bytes_text("g"), changed_ms, &buf), &buf);
}

static struct sp_consumer_group *group_at(unsigned replica)
{
    struct sp_consumer_group *group =
        sp_consumer_groups_find(replicas[replica], sp_bytes_text("g"));

    assert_non_null(group);
    return group;
}

static void restart(unsigned replica)
{
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    assert_int_equal(sp_consumer_groups_checkpoint(replicas[replica], &buf), 0);
    assert_int_equal(sp_consumer_groups_restore(replicas[replica], buf.bytes, buf.size), 0);
    sp_buf_deinit(&buf);
}

static void assert_kept_until(int64_t until_ms)
{
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(sp_consumer_group_kept_until_ms(group_at(i), RETENTION_MS), until_ms);
        assert_int_equal(sp_consumer_group_kept_until_ms(group_at(i), 0), INT64_MAX);
    }
}

/* ---- retention ------------------------------------------------------------------------------- */

static void test_consumer_time_offsets_are_kept_from_the_last_commit_on(void **state)
{
    (void)state;
    commit(1);
    assert_kept_until(1000 + RETENTION_MS);
    now_ms = 3000;
    commit(2);
    assert_kept_until(3000 + RETENTION_MS);
    now_ms = 3500;
    commit(-1); /* by which readers outside the group say that they are there */
    assert_kept_until(3500 + RETENTION_MS);
    assert_int_equal(sp_consumer_group_offset(group_at(0), 7, 0)->offset, 2);
    now_ms = 4000;
    join(); /* as long as there are members, for ever */
    assert_int_equal(sp_consumer_group_kept_until_ms(group_at(0), RETENTION_MS), INT64_MAX);
    assert_int_equal(sp_consumer_group_kept_until_ms(group_at(1), 1), INT64_MAX);
    now_ms = 90000;
    leave();
    assert_kept_until(90000 + RETENTION_MS);
}

static void test_consumer_time_restart_and_failover_change_nothing(void **state)
{
    (void)state;
    join();
    now_ms = 2000;
    leave();
    now_ms = 2500;
    commit(5);
    restart(0); /* 1 has not restarted: both must say the same */
    assert_kept_until(2500 + RETENTION_MS);
    restart(1);
    restart(1);
    assert_kept_until(2500 + RETENTION_MS);
    now_ms = 2500 + RETENTION_MS;
    assert_int_equal(expire(group_at(1)->changed_ms), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(sp_consumer_groups_count(replicas[i]), 0);
        restart(i);
        assert_int_equal(sp_consumer_groups_count(replicas[i]), 0);
    }
}

static void test_consumer_time_commit_on_its_way_saves_the_offsets(void **state)
{
    int64_t seen_ms;

    (void)state;
    commit(5);
    seen_ms = group_at(0)->changed_ms; /* the leader decides by this, */
    now_ms = 1000 + RETENTION_MS;
    commit(6); /* but this one is before its command in the log */
    assert_int_equal(expire(seen_ms), SPATE_ERR_AGAIN);
    assert_int_equal(sp_consumer_group_offset(group_at(1), 7, 0)->offset, 6);
    join();
    assert_int_equal(expire(now_ms), SPATE_ERR_BUSY);
}

static void test_consumer_time_group_with_nothing_left_goes_soon(void **state)
{
    (void)state;
    join();
    now_ms = 2000;
    leave();
    for (unsigned i = 0; i < 2; i++) { /* also where offsets are kept for ever */
        assert_int_equal(sp_consumer_group_kept_until_ms(group_at(i), 0),
                         2000 + SP_CONSUMER_EMPTY_MS);
    }
}

/* ---- stalls ---------------------------------------------------------------------------------- */

static void test_consumer_time_share_stands_still_until_it_moves(void **state)
{
    struct sp_consumer_share share = { 0 };

    (void)state;
    sp_consumer_share_look(&share, 10, 10, 1000); /* at the end: nothing to read */
    assert_int_equal(sp_consumer_share_still_ms(&share, 9000), 0);
    sp_consumer_share_look(&share, 10, 12, 2000);
    assert_int_equal(sp_consumer_share_still_ms(&share, 2000), 0);
    share.stall_traced = true;
    sp_consumer_share_look(&share, 10, 15, 5000); /* the end goes on, the member does not */
    assert_int_equal(sp_consumer_share_still_ms(&share, 5000), 3000);
    assert_true(share.stall_traced); /* once is enough */
    sp_consumer_share_look(&share, 11, 15, 6000);
    assert_int_equal(sp_consumer_share_still_ms(&share, 6500), 500);
    assert_false(share.stall_traced);
    sp_consumer_share_look(&share, 9, 15, 7000); /* back is another place, too */
    assert_int_equal(sp_consumer_share_still_ms(&share, 7100), 100);
    sp_consumer_share_look(&share, 15, 15, 8000);
    assert_int_equal(sp_consumer_share_still_ms(&share, 9999), 0);
}

static void assign(int32_t member)
{
    struct sp_consumer_target target = { 7, 1, &member };
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    assert_int_equal(apply(sp_consumer_command_assign(
                               sp_bytes_text("g"), group_at(0)->version, &target, 1, NULL, 0, &buf),
                           &buf),
                     0);
}

static void test_consumer_time_new_owner_begins_anew(void **state)
{
    struct sp_consumer_share *share;

    (void)state;
    join();
    join_as("n");
    assign(0);
    share = sp_consumer_group_share(group_at(0), 7, 0);
    sp_consumer_share_look(share, 0, 5, 1000);
    assert_int_equal(sp_consumer_share_still_ms(share, 4000), 3000);
    assign(1);
    share = sp_consumer_group_share(group_at(0), 7, 0);
    assert_int_equal(sp_consumer_share_still_ms(share, 4000), 3000); /* not given up yet */
    leave();
    share = sp_consumer_group_share(group_at(0), 7, 0);
    assert_string_equal(share->owner->id, "n");
    assert_int_equal(sp_consumer_share_still_ms(share, 4000), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_consumer_time_##name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(offsets_are_kept_from_the_last_commit_on), TEST(restart_and_failover_change_nothing),
        TEST(commit_on_its_way_saves_the_offsets),      TEST(group_with_nothing_left_goes_soon),
        TEST(share_stands_still_until_it_moves),        TEST(new_owner_begins_anew),
    };
#undef TEST

    return cmocka_run_group_tests(tests, NULL, NULL);
}
