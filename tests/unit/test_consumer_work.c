/* A consumer beside the program's own work: it keeps up with its group, and wakes who waits. */
#include <poll.h>

#include "fake_coordinator.h"

static const char *const busy[] = { COMMON, "commit.interval.ms", "200", NULL };

/* What a program does with a record for so long. */
static void work(int ms)
{
    struct sp_wakeup never;

    assert_int_equal(sp_wakeup_open(&never), 0);
    sp_wakeup_wait(&never, never.fd, ms);
    sp_wakeup_close(&never);
}

/* ---- a batch that lasts longer than a session ------------------------------------------------ */

static void test_member_stays_while_one_batch_is_worked_off(void **state)
{
    struct spate_message message;

    (void)state;
    begin(busy, 0x1);
    fake_fill(&world.cluster, 100, SP_COMPRESSION_NONE);
    subscribe();
    for (int64_t i = 0; i < 80; i++) { /* 1.6 s; session.ms is 1000 */
        assert_int_equal(spate_consumer_next(world.consumer, 5000, &message), 0);
        assert_int_equal(message.offset, i);
        work(20);
    }
    assert_string_equal(world.events, "A1");
    assert_true(world.committed[0] > 50);
    assert_int_equal(world.join_count, 1);
    end();
}

/* ---- who waits is woken ---------------------------------------------------------------------- */

enum {
    BATCH_RECORDS = 300, /* more than fetch.bytes: each answer has one batch */
};

static int next_status;

static void read_one(void *arg)
{
    struct spate_message message;

    (void)arg;
    next_status = spate_consumer_next(world.consumer, 3000, &message);
}

/* From here on a thread turns the loop, of the client and of the servers. */
static void begin_thread(void)
{
    struct spate_client *client = world.cluster.client;

    assert_int_equal(sp_driver_new(client->loop, sp_client_before_leave, client, &client->driver),
                     0);
}

static void end_thread(void)
{
    sp_driver_free(world.cluster.client->driver);
    world.cluster.client->driver = NULL;
    end();
}

static void begin_connected(void)
{
    static const char *const small[] = { "fetch.wait.ms", "10", "fetch.bytes", "4096", NULL };

    begin(small, 0);
    for (unsigned i = 0; i < 4; i++) {
        fake_fill(&world.cluster, BATCH_RECORDS, SP_COMPRESSION_NONE);
    }
    assert_int_equal(spate_client_connect(world.cluster.client, 5000), 0);
}

/* Everything that is prefetched is here: no answer comes any more that would wake anybody. */
static void begin_paused(void)
{
    begin_connected();
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 0, 0), 0);
    read_records(1);
    while (world.consumer->partitions[0]->fetched_count < SP_CONSUMER_FETCHED_MAX) {
        assert_int_equal(spate_poll(world.cluster.client, 10), 0);
    }
    assert_int_equal(spate_consumer_pause(world.consumer, "t", 0), 0);
}

static void assign(void)
{
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 0, 0), 0);
}

static void resume(void)
{
    assert_int_equal(spate_consumer_resume(world.consumer, "t", 0), 0);
}

/* It does what must bring records to whoever waits at the descriptor, */
static void check_descriptor(void (*act)(void))
{
    struct spate_message message;

    begin_thread();
    struct pollfd ready = { .fd = spate_client_fd(world.cluster.client), .events = POLLIN };
    assert_int_equal(spate_consumer_next(world.consumer, 0, &message), SPATE_ERR_AGAIN);
    assert_int_equal(poll(&ready, 1, 100), 0);
    act();
    assert_int_equal(poll(&ready, 1, 5000), 1);
    assert_int_equal(spate_consumer_next(world.consumer, 0, &message), 0);
    end_thread();
}

/* or inside a call. */
static void check_waiting_thread(void (*act)(void))
{
    struct sp_thread *thread = NULL;

    begin_thread();
    assert_int_equal(sp_thread_start(read_one, NULL, &thread), 0);
    assert_int_equal(spate_poll(world.cluster.client, 200), 0); /* until it waits, as a rule */
    act();
    sp_thread_join(thread);
    assert_int_equal(next_status, 0);
    end_thread();
}

static void test_consumer_assign_wakes_who_waits(void **state)
{
    (void)state;
    begin_connected();
    check_descriptor(assign);
    begin_connected();
    check_waiting_thread(assign);
}

static void test_consumer_resume_wakes_who_waits(void **state)
{
    (void)state;
    begin_paused();
    check_descriptor(resume);
    begin_paused();
    check_waiting_thread(resume);
}

static enum fake_action no_topic(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)count;
    c->refusal = SPATE_ERR_UNKNOWN_TOPIC;
    return strcmp(method, "fetch") == 0 ? FAKE_REFUSE : FAKE_SERVE;
}

/* What was fetched before is not delivered any more, and nothing to be woken for. */
static void test_consumer_with_a_failed_partition_is_not_ready(void **state)
{
    struct spate_message message;
    struct sp_client_part *part;

    (void)state;
    begin(keys, 0);
    fake_fill(&world.cluster, 10, SP_COMPRESSION_NONE);
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 0, 0), 0);
    read_records(1);
    part = &world.consumer->part;
    assert_true(part->ready(part));
    world.cluster.script = no_topic;
    while (world.consumer->partitions[0]->error == 0) {
        assert_int_equal(spate_poll(world.cluster.client, 10), 0);
    }
    assert_true(part->ready(part));
    assert_int_equal(spate_consumer_next(world.consumer, 0, &message), SPATE_ERR_UNKNOWN_TOPIC);
    assert_int_equal(world.consumer->partitions[0]->fetched_count, 1);
    assert_false(part->ready(part));
    assert_int_equal(spate_consumer_next(world.consumer, 0, &message), SPATE_ERR_AGAIN);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_member_stays_while_one_batch_is_worked_off),
        cmocka_unit_test(test_consumer_assign_wakes_who_waits),
        cmocka_unit_test(test_consumer_resume_wakes_who_waits),
        cmocka_unit_test(test_consumer_with_a_failed_partition_is_not_ready),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
