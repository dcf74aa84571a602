/* A producer that is freed by its own delivery callback, whichever call runs that. */
#include "driven_producer.h"

static struct {
    unsigned count;
    unsigned canceled;
    unsigned free_at;
    int close_status;
    bool open; /* the server takes batches */
} calls;

static enum fake_action
refuse_until_open(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)method;
    (void)count;
    c->refusal = SPATE_ERR_NOT_READY;
    c->refusal_text = "not yet";
    return calls.open ? FAKE_SERVE : FAKE_REFUSE;
}

static void free_in_callback(void *arg, const struct spate_delivery *delivery)
{
    (void)arg;
    calls.count += 1;
    calls.canceled += delivery->status == SPATE_ERR_CANCELED;
    if (calls.count == calls.free_at) {
        spate_producer_free(producer);
        calls.close_status = spate_client_close(cluster.client, 1000);
    }
}

static void begin_freeing(unsigned free_at)
{
    static const char *const keys[] = { "batch.bytes",   "1024", "linger.ms", "1",
                                        "max.in.flight", "1",    NULL };

    memset(&calls, 0, sizeof calls);
    calls.free_at = free_at;
    fake_start(&cluster, keys);
    cluster.script = refuse_until_open;
    assert_int_equal(spate_producer_new(cluster.client, free_in_callback, NULL, &producer), 0);
}

/* Memory that is left, or used once it is gone, shows at the end of the cluster. */
static void check_freed(unsigned count)
{
    assert_int_equal(calls.count, count);
    assert_true(calls.canceled > 0);
    assert_int_equal(calls.close_status, SPATE_ERR_INVALID);
    assert_int_equal(spate_poll(cluster.client, 0), 0);
    fake_stop(&cluster);
}

static void test_producer_freed_by_a_callback_of_poll(void **state)
{
    (void)state;
    for (unsigned free_at = 1; free_at <= 9; free_at += 4) { /* in the midst of a batch, too */
        begin_freeing(free_at);
        produce_range(0, 100);
        calls.open = true;
        while (calls.count < free_at) {
            assert_true(spate_poll(cluster.client, 1000) >= 0);
        }
        check_freed(100);
    }
}

static void test_producer_freed_by_a_callback_of_flush(void **state)
{
    (void)state;
    begin_freeing(3);
    produce_range(0, 100);
    calls.open = true;
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    check_freed(100);
}

static void test_producer_freed_by_a_callback_of_produce(void **state)
{
    unsigned count = 0;
    int rv = 0;

    (void)state;
    begin_freeing(1);
    calls.open = true;
    while (rv == 0) {
        rv = produce(count);
        count += rv == 0;
    }
    assert_int_equal(rv, SPATE_ERR_CANCELED);
    assert_non_null(strstr(spate_client_error(cluster.client), "freed"));
    check_freed(count);
}

static void test_producer_freed_by_a_callback_of_a_call_that_waits(void **state)
{
    struct spate_record record = { .topic = "t", .value = "v", .value_size = 1 };
    int64_t offset = -1;

    (void)state;
    begin_freeing(1);
    produce_range(0, 100);
    calls.open = true;
    assert_int_equal(spate_produce_wait(producer, &record, &offset), 0); /* it is stored by then */
    assert_int_equal(offset, 100);
    assert_int_equal(calls.count, 100);
    assert_int_equal(calls.close_status, SPATE_ERR_INVALID);
    fake_stop(&cluster);
}

static void test_producer_freed_by_a_callback_of_its_free(void **state)
{
    (void)state;
    begin_freeing(5);
    produce_range(0, 100);
    spate_producer_free(producer);
    check_freed(100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_producer_freed_by_a_callback_of_poll),
        cmocka_unit_test(test_producer_freed_by_a_callback_of_flush),
        cmocka_unit_test(test_producer_freed_by_a_callback_of_produce),
        cmocka_unit_test(test_producer_freed_by_a_callback_of_a_call_that_waits),
        cmocka_unit_test(test_producer_freed_by_a_callback_of_its_free),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
