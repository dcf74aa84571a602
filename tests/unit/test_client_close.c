/* A client that is closed while other threads are inside of it. Nobody listens at its address. */
#include "spate/spate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "io/thread.h"

static struct {
    struct spate_client *client;
    struct spate_consumer *consumer;
    struct sp_wakeup begun; /* the callback runs */
    bool frees;             /* the callback frees the consumer */
    bool ended;
    int next_status;
} world;

/* Runs until the closing thread has had all the time to do harm. */
static void on_event(void *arg, const struct spate_consumer_event *event)
{
    struct sp_wakeup never;

    (void)arg;
    assert_int_equal(event->kind, SPATE_CONSUMER_STALLED);
    assert_int_equal(sp_wakeup_open(&never), 0);
    sp_wakeup_raise(&world.begun);
    sp_wakeup_wait(&never, never.fd, 300);
    sp_wakeup_close(&never);
    assert_int_equal(spate_client_close(world.client, 1000), SPATE_ERR_INVALID);
    if (world.frees) {
        spate_consumer_free(world.consumer);
    }
    world.ended = true;
}

static void read_on(void *arg)
{
    struct spate_message message;

    (void)arg;
    world.next_status = spate_consumer_next(world.consumer, 10000, &message);
}

/* A client with a consumer whose partition stalls soon. */
static void begin(const char *io_thread, bool frees)
{
    const char *const keys[] = { "servers",  "127.0.0.1:1", "group.id",  "g",
                                 "stall.ms", "50",          "io.thread", io_thread };
    struct spate_config *config = spate_config_new();

    assert_non_null(config);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i += 2) {
        assert_int_equal(spate_config_set(config, keys[i], keys[i + 1]), 0);
    }
    world.frees = frees;
    world.ended = false;
    assert_int_equal(sp_wakeup_open(&world.begun), 0);
    assert_int_equal(spate_client_new(config, &world.client), 0);
    spate_config_free(config);
    assert_int_equal(spate_consumer_new(world.client, &world.consumer), 0);
    assert_int_equal(spate_consumer_on_event(world.consumer, on_event, NULL), 0);
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 0, SPATE_OFFSET_START), 0);
}

/* It waits for the callback and then closes the consumer, as it would without one; or the callback
 * frees the consumer, for which both threads wait. */
static void check_close_during_event(bool frees)
{
    struct sp_thread *thread = NULL;

    begin("on", frees);
    assert_int_equal(sp_thread_start(read_on, NULL, &thread), 0);
    sp_wakeup_wait(&world.begun, world.begun.fd, 5000);
    assert_int_equal(spate_client_close(world.client, 5000), 0);
    assert_true(world.ended);
    sp_thread_join(thread);
    assert_int_equal(world.next_status, SPATE_ERR_CANCELED);
    sp_wakeup_close(&world.begun);
}

static void test_client_close_waits_for_an_event_of_another_thread(void **state)
{
    (void)state;
    check_close_during_event(false);
}

static void test_client_close_while_an_event_frees_the_consumer(void **state)
{
    (void)state;
    check_close_during_event(true);
}

/* The event is told by the closing itself. */
static void test_client_close_whose_event_frees_the_consumer(void **state)
{
    static const char *const threads[] = { "on", "off" };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        begin(threads[i], true);
        assert_int_equal(spate_poll(world.client, 100), 0);
        assert_int_equal(spate_client_close(world.client, 5000), 0);
        assert_true(world.ended);
        sp_wakeup_close(&world.begun);
    }
}

/* One thread waits for records, another one frees the consumer: the first is told. */
static void test_consumer_free_ends_the_wait_of_another_thread(void **state)
{
    struct sp_thread *thread = NULL;

    (void)state;
    begin("on", false);
    assert_int_equal(spate_consumer_pause(world.consumer, "t", 0), 0); /* never stalls */
    assert_int_equal(sp_thread_start(read_on, NULL, &thread), 0);
    assert_int_equal(spate_poll(world.client, 100), 0); /* until it waits, as a rule */
    spate_consumer_free(world.consumer);
    sp_thread_join(thread);
    assert_int_equal(world.next_status, SPATE_ERR_CANCELED);
    spate_client_free(world.client);
    sp_wakeup_close(&world.begun);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_client_close_waits_for_an_event_of_another_thread),
        cmocka_unit_test(test_client_close_while_an_event_frees_the_consumer),
        cmocka_unit_test(test_client_close_whose_event_frees_the_consumer),
        cmocka_unit_test(test_consumer_free_ends_the_wait_of_another_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
