/* The last commit of `spate consume -g`, at a coordinator that does what each test says. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_consume_member_waits_for_its_last_commit),
        cmocka_unit_test(test_consume_member_does_not_take_an_unknown_outcome_for_success),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
