/* A broker comes to life whole or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "broker/broker.h"
#include "io/loop.h"
#include "spate/error.h"

static void on_closed(void *arg)
{
    *(bool *)arg = true;
}

/* Each allocation of its birth fails once: nothing is left then, and no port is open. */
static void test_broker_new_survives_failed_allocations(void **state)
{
    struct sp_loop *loop = NULL;
    unsigned failed = 0;
    int rv = SPATE_ERR_NOMEM;

    (void)state;
    assert_int_equal(sp_loop_new(0, &loop), 0);
    for (uint64_t n = 1; rv != 0; n++) {
        const struct sp_broker_options options = { .loop = loop, .listen = "127.0.0.1:0" };
        struct sp_broker *broker = NULL;
        uint64_t live = sp_mem_live_count();
        bool closed = false;

        sp_mem_fail_at(n);
        rv = sp_broker_new(&options, &broker);
        sp_mem_fail_at(0);
        if (rv == 0) {
            assert_true(sp_broker_port(broker) > 0);
            sp_broker_close_port(broker, on_closed, &closed);
        }
        sp_loop_run(loop);
        assert_int_equal(closed, rv == 0);
        if (rv == 0) {
            sp_broker_free(broker);
        } else {
            assert_int_equal(rv, SPATE_ERR_NOMEM);
            assert_null(broker);
            failed += 1;
        }
        assert_int_equal(sp_mem_live_count(), live);
    }
    assert_true(failed >= 3);
    sp_loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_broker_new_survives_failed_allocations),
    };

    return cmocka_run_group_tests_name("broker/broker", tests, NULL, NULL);
}
