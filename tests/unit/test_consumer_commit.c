/* Commits whose partition goes, or that somebody else has overtaken. */
#include "fake_coordinator.h"

static const char *const quick[] = {
    "fetch.wait.ms",      "10", "group.id",   "g",    "timeout.ms", "300",
    "commit.interval.ms", "0",  "session.ms", "1000", NULL
};

/* ---- a partition that goes ------------------------------------------------------------------- */

static enum fake_action
refuses_while_it_goes(struct fake_cluster *c, const char *method, unsigned count)
{
    if (strcmp(method, "group.commit") != 0) {
        return FAKE_SERVE;
    }
    if (count == 1) { /* as another thread would, while this one waits */
        assert_int_equal(spate_consumer_unassign(world.consumer, "t", 0), 0);
    }
    c->refusal = SPATE_ERR_NOT_READY;
    return FAKE_REFUSE;
}

static enum fake_action
loses_while_it_goes(struct fake_cluster *c, const char *method, unsigned count)
{
    enum fake_action action = refuses_while_it_goes(c, method, count);

    return action == FAKE_REFUSE && count == 1 ? FAKE_DROP_AFTER : action;
}

static int commit_of_a_partition_that_goes(enum fake_action (*script)(struct fake_cluster *,
                                                                      const char *,
                                                                      unsigned))
{
    begin(quick, 0);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 0, 0), 0);
    read_records(10);
    world.cluster.script = script;
    int rv = spate_consumer_commit(world.consumer, NULL, 5000);
    assert_non_null(strstr(spate_client_error(world.cluster.client), "no longer"));
    end();
    return rv;
}

static void test_member_commit_of_a_partition_that_goes_is_not_told_as_done(void **state)
{
    (void)state;
    assert_int_equal(commit_of_a_partition_that_goes(refuses_while_it_goes),
                     SPATE_ERR_GROUP_FENCED);
    assert_int_equal(commit_of_a_partition_that_goes(loses_while_it_goes), SPATE_ERR_CLOSED);
}

/* As above, but between two calls that wait for one commit. */
static void test_member_commit_that_fails_between_waits_is_told(void **state)
{
    (void)state;
    begin(quick, 0);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 0, 0), 0);
    read_records(10);
    world.cluster.script = loses_while_it_goes;
    int rv = spate_consumer_commit(world.consumer, NULL, 1);
    for (unsigned i = 0; i < 100 && world.consumer->commits.failure_count == 0; i++) {
        (void)spate_poll(world.cluster.client, 20);
    }
    assert_int_equal(world.consumer->commits.failure_count, 1);
    if (rv == SPATE_ERR_TIMEOUT) {
        rv = spate_consumer_commit(world.consumer, NULL, 1000);
    }
    assert_int_equal(rv, SPATE_ERR_CLOSED);
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 1000), 0); /* told once */
    end();
}

/* The last commit is waited for all the same. */
static void test_member_commit_that_failed_before_ends_no_other_wait(void **state)
{
    (void)state;
    for (unsigned closes = 0; closes < 2; closes++) {
        begin(quick, 0);
        fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
        assert_int_equal(spate_consumer_assign(world.consumer, "t", 0, 0), 0);
        read_records(10);
        world.cluster.script = loses_while_it_goes;
        assert_int_equal(spate_consumer_commit(world.consumer, NULL, 1), SPATE_ERR_TIMEOUT);
        for (unsigned i = 0; i < 100 && world.consumer->commits.failure_count == 0; i++) {
            (void)spate_poll(world.cluster.client, 20);
        }
        assert_int_equal(world.consumer->commits.failure_count, 1);
        world.cluster.script = NULL;
        world.committed[0] = -1;
        assert_int_equal(spate_consumer_assign(world.consumer, "t", 0, 0), 0);
        read_records(10);
        int rv = spate_consumer_commit(world.consumer, NULL, closes == 1 ? 0 : 5000);
        assert_int_equal(rv, closes == 1 ? 0 : SPATE_ERR_CLOSED); /* of the one before */
        rv = closes == 1 ? spate_consumer_close(world.consumer, 5000) : rv;
        assert_int_equal(rv, SPATE_ERR_CLOSED);
        assert_int_equal(world.committed[0], 10);
        end();
    }
}

/* ---- an offset that somebody else has set ---------------------------------------------------- */

/* Nobody owns the partition, so that anybody may have set what the group has of it. */
static void test_member_commit_of_an_assigned_partition_always_goes_out(void **state)
{
    struct spate_message message;

    (void)state;
    begin(quick, 0);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 0, 0), 0);
    assert_int_equal(spate_consumer_next(world.consumer, 5000, &message), 0);
    assert_int_equal(spate_consumer_commit(world.consumer, &message, 1000), 0);
    assert_int_equal(world.committed[0], 1);
    world.committed[0] = 7;
    assert_int_equal(spate_consumer_commit(world.consumer, &message, 1000), 0);
    assert_int_equal(world.committed[0], 1);
    world.committed[0] = 7;
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 1000), 0);
    assert_int_equal(world.committed[0], 1);
    end();
}

/* What a member owns nobody else sets. */
static void test_member_commits_nothing_twice(void **state)
{
    (void)state;
    begin(quick, 0x1);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    subscribe();
    read_records(10);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(spate_consumer_commit(world.consumer, NULL, 1000), 0);
    }
    assert_int_equal(world.cluster.commit_count, 1);
    end();
}

static void await_commits(unsigned count)
{
    struct spate_message message;

    for (unsigned i = 0; i < 100 && world.cluster.commit_count < count; i++) {
        assert_int_equal(spate_consumer_next(world.consumer, 20, &message), SPATE_ERR_AGAIN);
    }
    assert_int_equal(spate_consumer_next(world.consumer, 100, &message), SPATE_ERR_AGAIN);
    assert_int_equal(world.cluster.commit_count, count);
}

/* Without members a group is forgotten some time after its last commit. */
static void test_member_without_membership_keeps_its_group(void **state)
{
    static const char *const by_the_clock[] = { COMMON, "commit.interval.ms", "20", NULL };

    (void)state;
    begin(by_the_clock, 0);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 0, SPATE_OFFSET_STORED), 0);
    world.committed[0] = 9;
    read_records(1);
    await_commits(1);
    assert_int_equal(world.committed[0], 10);
    world.committed[0] = 7; /* somebody else's */
    world.consumer->commits.renew_ms = 0;
    await_commits(2);
    assert_int_equal(world.committed[0], 7);
    end();
}

/* ---- a topic that is gone -------------------------------------------------------------------- */

static void test_member_commit_of_what_is_gone_stores_the_rest(void **state)
{
    struct spate_message message;

    (void)state;
    begin(quick, 0);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 0, 0), 0);
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 1, 0), 0);
    read_records(20);
    world.gone = 0x2;
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 5000), SPATE_ERR_UNKNOWN_TOPIC);
    assert_non_null(strstr(spate_client_error(world.cluster.client), "t/1: there is no such"));
    assert_int_equal(world.committed_bits, 0x3);
    assert_int_equal(world.committed[0], 10);
    assert_int_equal(world.committed[1], -1);
    /* the reader is told, and nobody tries it again */
    assert_int_equal(spate_consumer_next(world.consumer, 1000, &message), SPATE_ERR_UNKNOWN_TOPIC);
    assert_int_equal(spate_consumer_next(world.consumer, 20, &message), SPATE_ERR_AGAIN);
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 1000), 0);
    assert_int_equal(world.committed_bits, 0x1);
    end();
}

static enum fake_action
says_nothing_to_fetches(struct fake_cluster *c, const char *method, unsigned n)
{
    (void)c;
    (void)n;
    return strcmp(method, "fetch") == 0 ? FAKE_SILENT : FAKE_SERVE;
}

/* Nodes that know no partial commit refuse the whole; the clock tries it again until the topic is
 * missed, also while nothing is fetched. */
static void test_member_topic_that_is_gone_is_missed_without_a_fetch(void **state)
{
    struct spate_message message;
    int rv = SPATE_ERR_AGAIN;

    (void)state;
    begin(quick, 0);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    world.cluster.script = says_nothing_to_fetches;
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 0, 0), 0);
    assert_int_equal(spate_consumer_next(world.consumer, 20, &message), SPATE_ERR_AGAIN);
    world.cluster.topic_exists = false;
    uint64_t begin_ms = sp_loop_now_ms(world.cluster.client->loop);
    for (unsigned i = 0; i < 100 && rv == SPATE_ERR_AGAIN; i++) {
        (void)sp_metadata_want(world.cluster.client->metadata);
        rv = spate_consumer_next(world.consumer, 20, &message);
    }
    assert_int_equal(rv, SPATE_ERR_UNKNOWN_TOPIC);
    assert_true(sp_loop_now_ms(world.cluster.client->loop) - begin_ms < 2500);
    end();
}

/* ---- a commit that could not be made --------------------------------------------------------- */

/* Out of memory, then a topic of the same name: what was packed in vain is not in the next one. */
static void test_member_commit_that_failed_is_not_taken_for_the_next_one(void **state)
{
    static const char *const rarely[] = { COMMON, "commit.interval.ms", "60000", NULL };
    struct spate_message message;

    (void)state;
    begin(rarely, 0);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    for (int32_t i = 0; i < 2; i++) {
        assert_int_equal(spate_consumer_assign(world.consumer, "t", i, 0), 0);
    }
    read_records(20);
    sp_mem_fail_at(1);
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 0), 0);
    sp_mem_fail_at(0);
    assert_false(world.consumer->commits.running);
    sp_fetcher_fail(world.consumer->partitions[0], SPATE_ERR_UNKNOWN_TOPIC, "gone");
    assert_int_equal(spate_consumer_next(world.consumer, 1000, &message), SPATE_ERR_UNKNOWN_TOPIC);
    assert_int_equal(spate_consumer_pause(world.consumer, "t", 0), 0);
    assert_int_equal(spate_consumer_seek(world.consumer, "t", 0, 0), 0);
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 5000), 0);
    assert_int_equal(world.committed[0], -1);
    assert_int_equal(world.committed[1], 10);
    assert_int_equal(spate_consumer_resume(world.consumer, "t", 0), 0);
    read_records(10);
    assert_int_equal(spate_consumer_close(world.consumer, 5000), 0);
    assert_int_equal(world.committed[0], 10);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_member_commit_of_a_partition_that_goes_is_not_told_as_done),
        cmocka_unit_test(test_member_commit_that_fails_between_waits_is_told),
        cmocka_unit_test(test_member_commit_that_failed_before_ends_no_other_wait),
        cmocka_unit_test(test_member_commit_of_an_assigned_partition_always_goes_out),
        cmocka_unit_test(test_member_commits_nothing_twice),
        cmocka_unit_test(test_member_without_membership_keeps_its_group),
        cmocka_unit_test(test_member_commit_of_what_is_gone_stores_the_rest),
        cmocka_unit_test(test_member_topic_that_is_gone_is_missed_without_a_fetch),
        cmocka_unit_test(test_member_commit_that_failed_is_not_taken_for_the_next_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
