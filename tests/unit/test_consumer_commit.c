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
    fake_fill(&world.cluster, 10, SP_COMPRESSION_NONE);
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
    assert_int_equal(commit_of_a_partition_that_goes(loses_while_it_goes), SPATE_ERR_TIMEOUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_member_commit_of_a_partition_that_goes_is_not_told_as_done),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
