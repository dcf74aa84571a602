/* The end of a consumer, alone and with its client. */
#include "fake_coordinator.h"

static const char *const quick[] = {
    "fetch.wait.ms",      "10", "group.id",   "g",    "timeout.ms", "300",
    "commit.interval.ms", "0",  "session.ms", "1000", NULL
};

/* The servers are well, only the time is too short. */
static void test_consumer_close_without_time_is_timeout(void **state)
{
    (void)state;
    begin(quick, 0x1);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    subscribe();
    read_records(1);
    assert_int_equal(spate_consumer_close(world.consumer, 0), SPATE_ERR_TIMEOUT);
    assert_int_equal(world.leave_count, 0);
    end();
}

/* ---- what ends with it ----------------------------------------------------------------------- */

static const char *const topics[] = { "t" };

static int subscribe_anew(void)
{
    return spate_consumer_subscribe(world.consumer, topics, 1);
}

static int assign_anew(void)
{
    return spate_consumer_assign(world.consumer, "t", 0, 0);
}

/* A loop around it must end, and a program that begins anew may. */
static void check_records_end(int (*anew)(void))
{
    struct spate_message message;
    int64_t offset = 0;

    begin(quick, 0x1);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    assert_int_equal(anew(), 0);
    read_records(1);
    assert_int_equal(spate_consumer_close(world.consumer, 3000), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(spate_consumer_next(world.consumer, -1, &message), SPATE_ERR_CANCELED);
        assert_int_equal(spate_consumer_batch(world.consumer, 0, &message, 1), SPATE_ERR_CANCELED);
    }
    assert_string_equal(spate_client_error(world.cluster.client), "the consumer is closed");
    assert_int_equal(spate_consumer_position(world.consumer, "t", 0, &offset), SPATE_ERR_NOT_FOUND);
    assert_int_equal(spate_consumer_close(world.consumer, 0), 0);
    assert_int_equal(anew(), 0);
    read_records(1);
    end();
}

static void test_consumer_that_is_closed_has_no_records(void **state)
{
    (void)state;
    check_records_end(subscribe_anew);
    check_records_end(assign_anew);
}

static struct {
    int subscribed;
    int assigned;
} inside;

/* In the middle of closing, as another thread might. */
static enum fake_action begin_anew(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)c;
    (void)count;
    if (strcmp(method, "group.commit") == 0) {
        inside.subscribed = subscribe_anew();
        inside.assigned = assign_anew();
    }
    return FAKE_SERVE;
}

static void check_closing_refuses(const char *const *settings, int (*begin_with)(void))
{
    struct spate_message message;

    begin(settings, 0x1);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    assert_int_equal(begin_with(), 0);
    read_records(1);
    inside.subscribed = 0;
    inside.assigned = 0;
    world.cluster.script = begin_anew;
    assert_int_equal(spate_consumer_close(world.consumer, 3000), 0);
    assert_int_equal(inside.subscribed, SPATE_ERR_CANCELED);
    assert_int_equal(inside.assigned, SPATE_ERR_CANCELED);
    assert_int_equal(world.consumer->partition_count, 0);
    assert_int_equal(spate_consumer_next(world.consumer, 0, &message), SPATE_ERR_CANCELED);
    end();
}

static void test_consumer_that_closes_takes_nothing_new(void **state)
{
    (void)state;
    check_closing_refuses(keys, subscribe_anew);
    check_closing_refuses(keys, assign_anew);
}

/* ---- while the group is being joined --------------------------------------------------------- */

static enum fake_action lose_first_join(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)c;
    return strcmp(method, "group.join") == 0 && count == 1 ? FAKE_DROP_AFTER : FAKE_SERVE;
}

static enum fake_action lose_joins(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)c;
    (void)count;
    return strcmp(method, "group.join") == 0 ? FAKE_SILENT_DONE : FAKE_SERVE;
}

/* Else a member stays that nobody drives, and has partitions until its session ends. */
static void test_consumer_close_leaves_also_what_it_is_joining(void **state)
{
    (void)state;
    begin(quick, 0x1);
    world.cluster.script = lose_first_join;
    subscribe();
    while (world.join_count == 0) {
        sp_client_turn(world.cluster.client);
    }
    assert_int_equal(spate_consumer_close(world.consumer, 5000), 0);
    assert_string_equal(world.trace, "JJL");
    assert_string_equal(world.events, "");
    end();
    begin(quick, 0x1);
    world.cluster.script = lose_joins;
    subscribe();
    while (world.join_count == 0) {
        sp_client_turn(world.cluster.client);
    }
    assert_int_equal(spate_consumer_close(world.consumer, 50), SPATE_ERR_TIMEOUT);
    assert_string_equal(world.trace, "J");
    end();
}

/* ---- with its client ------------------------------------------------------------------------- */

static void test_consumer_of_a_client_that_closes_does_not_wait_for_ever(void **state)
{
    struct sp_client_part *part;

    (void)state;
    begin(quick, 0x1);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    subscribe();
    read_records(10);
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 0), 0);
    world.silent = true;
    part = &world.consumer->part;
    assert_int_equal(part->flush(part, -1), SPATE_ERR_TIMEOUT); /* after timeout.ms */
    end();
}

/* The servers are on the loop of the client, which ends. */
static void close_servers(void)
{
    for (unsigned i = 0; i < FAKE_SERVERS; i++) {
        sp_server_close(world.cluster.servers[i].server, fake_on_server_closed, &world.cluster);
    }
}

static void check_end(void)
{
    for (unsigned i = 0; i < world.cluster.log.batch_count; i++) {
        free(world.cluster.log.batches[i].bytes);
    }
    assert_int_equal(world.cluster.closed_servers, FAKE_SERVERS);
    assert_int_equal(sp_mem_live_count(), world.cluster.live_before);
}

static int delivered_status;

static void on_delivery(void *arg, const struct spate_delivery *delivery)
{
    (void)arg;
    delivered_status = delivery->status;
    close_servers();
}

/* Giving up partitions takes no time from records that wait. */
static void test_client_close_waits_for_records_first(void **state)
{
    static const char *const slow[] = { "fetch.wait.ms", "10",        "group.id", "g", "timeout.ms",
                                        "3000",          "linger.ms", "1000",     NULL };
    const struct spate_record record = { .topic = "t", .value = "x", .value_size = 1 };
    struct spate_producer *producer = NULL;

    (void)state;
    begin(slow, 0);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 0, 0), 0);
    read_records(1);
    assert_int_equal(spate_producer_new(world.cluster.client, on_delivery, NULL, &producer), 0);
    assert_int_equal(spate_produce(producer, &record, NULL), 0);
    world.commit_status = SPATE_ERR_NOT_READY;
    delivered_status = 1;
    assert_int_equal(spate_client_close(world.cluster.client, 500), SPATE_ERR_TIMEOUT);
    assert_int_equal(delivered_status, 0);
    check_end();
}

static enum fake_action
refuse_first_commit(struct fake_cluster *c, const char *method, unsigned count)
{
    if (strcmp(method, "group.commit") != 0) {
        return FAKE_SERVE;
    }
    c->refusal = SPATE_ERR_GROUP_FENCED;
    if (count == 2) {
        close_servers();
    }
    return count == 1 ? FAKE_REFUSE : FAKE_SERVE;
}

/* What one of them meets says nothing of the other. */
static void test_client_close_closes_every_consumer(void **state)
{
    struct spate_consumer *consumers[2];
    struct spate_message message;

    (void)state;
    begin(keys, 0);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    consumers[0] = world.consumer;
    assert_int_equal(spate_consumer_new(world.cluster.client, &consumers[1]), 0);
    for (int32_t i = 0; i < 2; i++) {
        assert_int_equal(spate_consumer_assign(consumers[i], "t", i, 0), 0);
        assert_int_equal(spate_consumer_next(consumers[i], 5000, &message), 0);
    }
    world.cluster.script = refuse_first_commit;
    assert_int_equal(spate_client_close(world.cluster.client, 500), SPATE_ERR_GROUP_FENCED);
    assert_int_equal(world.committed[0], -1);
    assert_int_equal(world.committed[1], 1);
    check_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_consumer_close_without_time_is_timeout),
        cmocka_unit_test(test_consumer_that_is_closed_has_no_records),
        cmocka_unit_test(test_consumer_that_closes_takes_nothing_new),
        cmocka_unit_test(test_consumer_close_leaves_also_what_it_is_joining),
        cmocka_unit_test(test_consumer_of_a_client_that_closes_does_not_wait_for_ever),
        cmocka_unit_test(test_client_close_waits_for_records_first),
        cmocka_unit_test(test_client_close_closes_every_consumer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
