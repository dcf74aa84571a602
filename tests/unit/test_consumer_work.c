/* A consumer beside the program's own work: it keeps up with its group, and wakes who waits. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_member_stays_while_one_batch_is_worked_off),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
