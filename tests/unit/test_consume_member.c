/* The last commits of `spate consume -g`, at a coordinator that does what each test says. */
#include <signal.h>

#include "cli/consume_member.h"
#include "fake_coordinator.h"

static const char *const quick[] = {
    "fetch.wait.ms",      "10", "group.id",   "g",    "timeout.ms", "300",
    "commit.interval.ms", "0",  "session.ms", "1000", NULL
};

static int
    end_of_a_member(enum fake_action (*script)(struct fake_cluster *, const char *, unsigned))
{
    struct cli cli = { .quiet = true };
    struct consume_member member = { .cli = &cli, .group = "g" };

    begin(quick, 0);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 0, 0), 0);
    read_records(10);
    cli.client = world.cluster.client;
    member.consumer = world.consumer;
    world.cluster.script = script;
    int code = member_end(&member);
    end();
    return code;
}

/* It takes longer than the member waits at a time. */
static enum fake_action is_not_ready_yet(struct fake_cluster *c, const char *method, unsigned count)
{
    c->refusal = SPATE_ERR_NOT_READY;
    return strcmp(method, "group.commit") == 0 && count < 8 ? FAKE_REFUSE : FAKE_SERVE;
}

static void test_consume_member_waits_for_its_last_commit(void **state)
{
    (void)state;
    assert_int_equal(end_of_a_member(is_not_ready_yet), EXIT_OK);
    assert_int_equal(world.committed[0], 10);
}

/* The partition goes while the answer is lost: nobody will ever know. */
static enum fake_action loses_and_goes(struct fake_cluster *c, const char *method, unsigned count)
{
    if (strcmp(method, "group.commit") != 0) {
        return FAKE_SERVE;
    }
    if (count == 1) {
        assert_int_equal(spate_consumer_unassign(world.consumer, "t", 0), 0);
    }
    c->refusal = SPATE_ERR_NOT_READY;
    return count == 1 ? FAKE_DROP_AFTER : FAKE_REFUSE;
}

static void test_consume_member_does_not_take_an_unknown_outcome_for_success(void **state)
{
    (void)state;
    assert_int_equal(end_of_a_member(loses_and_goes), EXIT_FAILED);
}

/* ---- waits that are given up ----------------------------------------------------------------- */

/* A member that has printed all of two partitions. */
static void begin_reading(struct consume_member *member)
{
    static char name[] = "t";
    static char *names[] = { name };
    const struct topic_list topics = { .names = names, .count = 1 };

    begin(quick, 0x3);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    member->cli->client = world.cluster.client;
    catch_interrupt();
    assert_int_equal(member_begin(member, world.consumer, &topics), 0);
    read_records(20);
}

/* ^C twice: nobody waits for an outcome any more. */
static void press_interrupts(void)
{
    while (!interrupted_again()) {
        assert_int_equal(raise(SIGINT), 0);
    }
}

/* Not ready while the member waits for it, then refused for good, then well again. */
static enum fake_action
refuses_what_goes(struct fake_cluster *c, const char *method, unsigned count)
{
    if (strcmp(method, "group.commit") != 0 || world.consumer->commits.failure_count > 0) {
        return FAKE_SERVE;
    }
    if (count == 1) {
        press_interrupts();
    }
    c->refusal = world.consumer->telling ? SPATE_ERR_NOT_READY : SPATE_ERR_GROUP_FENCED;
    return FAKE_REFUSE;
}

static void test_consume_member_takes_no_older_failure_for_that_of_its_end(void **state)
{
    struct cli cli = { .quiet = true };
    struct spate_message message;
    struct consume_member member = { .cli = &cli, .group = "g" };

    (void)state;
    begin_reading(&member);
    world.cluster.script = refuses_what_goes;
    world.assigned = 0x1;
    world.revoke = 0x2;
    world.generation = 2;
    for (unsigned i = 0; i < 300 && world.consumer->commits.failure_count == 0; i++) {
        assert_int_equal(spate_consumer_next(world.consumer, 20, &message), SPATE_ERR_AGAIN);
    }
    assert_int_equal(world.consumer->commits.failure_count, 1);
    member.due_us = 0;
    member_tick(&member);
    assert_int_equal(member_end(&member), EXIT_OK);
    assert_int_equal(world.committed[0], 10);
    assert_int_equal(world.committed[1], -1);
    end();
}

/* Stored only when nothing but the end of the consumer waits for it. */
static enum fake_action is_ready_at_last(struct fake_cluster *c, const char *method, unsigned count)
{
    const struct spate_consumer *consumer = world.consumer;

    (void)count;
    c->refusal = SPATE_ERR_NOT_READY;
    return strcmp(method, "group.commit") == 0 && (consumer->closings == 0 || consumer->telling)
               ? FAKE_REFUSE
               : FAKE_SERVE;
}

static void test_consume_member_hears_of_a_commit_that_is_stored_while_it_leaves(void **state)
{
    struct cli cli = { .quiet = true };
    struct consume_member member = { .cli = &cli, .group = "g" };

    (void)state;
    begin_reading(&member);
    world.cluster.script = is_ready_at_last;
    press_interrupts();
    assert_int_equal(member_end(&member), EXIT_OK);
    assert_int_equal(world.committed[0], 10);
    assert_int_equal(world.committed[1], 10);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_consume_member_waits_for_its_last_commit),
        cmocka_unit_test(test_consume_member_does_not_take_an_unknown_outcome_for_success),
        cmocka_unit_test(test_consume_member_takes_no_older_failure_for_that_of_its_end),
        cmocka_unit_test(test_consume_member_hears_of_a_commit_that_is_stored_while_it_leaves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
