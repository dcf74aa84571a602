#include "broker/taking.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/limits.h"

#define BEGIN_MS 1000

static struct sp_taking taking;
static uint64_t taken_bytes;
static uint64_t now_ms;

static int set_up(void **state)
{
    (void)state;
    sp_taking_init(&taking);
    taken_bytes = 100; /* hello */
    now_ms = BEGIN_MS;
    return 0;
}

/* The peer is sent `size` bytes and has taken them after a while. */
static void take(size_t size, uint64_t after_ms)
{
    sp_taking_queued(&taking, now_ms);
    now_ms += after_ms;
    sp_taking_queued(&taking, now_ms); /* it is the first that counts */
    taken_bytes += size;
    sp_taking_drained(&taking, taken_bytes, now_ms);
}

static void make_trusted(void)
{
    while (!sp_taking_trusted(&taking)) {
        take(taking.answer_bytes_max, 1);
    }
}

static void ask(bool refused, uint64_t after_ms)
{
    now_ms += after_ms;
    sp_taking_asked(&taking, refused, taken_bytes, now_ms);
}

static void test_stranger_has_one_small_answer_at_a_time(void **state)
{
    (void)state;
    assert_false(sp_taking_trusted(&taking));
    assert_int_equal(taking.answer_bytes_max, SP_TRIAL_BYTES);
    assert_int_equal(sp_taking_owed_max(&taking), 0);
    assert_int_equal(sp_taking_unsent_max(&taking), SP_TRIAL_BYTES);
}

static void test_who_takes_its_answers_is_trusted_soon(void **state)
{
    const size_t sizes[] = { SP_TRIAL_BYTES, 4 * SP_TRIAL_BYTES, SP_FETCH_BYTES_MAX };

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(taking.answer_bytes_max, sizes[i]);
        take(taking.answer_bytes_max, SP_TAKEN_LATE_MS);
    }
    assert_true(sp_taking_trusted(&taking));
    assert_int_equal(sp_taking_owed_max(&taking), SP_ANSWERS_AHEAD_BYTES);
    assert_int_equal(sp_taking_unsent_max(&taking), SP_UNSENT_BYTES_MAX);
}

static void test_small_answers_tell_little(void **state)
{
    (void)state;
    take(SP_TRIAL_BYTES / 2 - 200, 1);
    assert_int_equal(taking.answer_bytes_max, SP_TRIAL_BYTES);
    take(99, 1);
    assert_int_equal(taking.answer_bytes_max, SP_TRIAL_BYTES);
    take(1, 1);
    assert_int_equal(taking.answer_bytes_max, 4 * SP_TRIAL_BYTES);
    take(2 * SP_TRIAL_BYTES - 1, 1);
    assert_int_equal(taking.answer_bytes_max, 4 * SP_TRIAL_BYTES);
}

static void test_who_is_slow_begins_again(void **state)
{
    (void)state;
    take(SP_TRIAL_BYTES, 1);
    take(4 * SP_TRIAL_BYTES, SP_TAKEN_LATE_MS + 1);
    assert_int_equal(taking.answer_bytes_max, SP_TRIAL_BYTES);
    take(SP_TRIAL_BYTES, 1); /* one that was late does not make the next one late */
    assert_int_equal(taking.answer_bytes_max, 4 * SP_TRIAL_BYTES);
}

static void test_trust_is_lost_by_who_is_waited_for(void **state)
{
    (void)state;
    make_trusted();
    ask(true, 10);
    ask(true, SP_TAKEN_LATE_MS);
    assert_true(sp_taking_trusted(&taking)); /* it is on trial when there is room again */
    ask(false, 1);
    assert_int_equal(taking.answer_bytes_max, SP_TRIAL_BYTES);
    take(SP_TRIAL_BYTES / 2 - 1, 1); /* what it took before does not count */
    assert_int_equal(taking.answer_bytes_max, SP_TRIAL_BYTES);
}

static void test_trust_is_kept_by_who_makes_room_in_time(void **state)
{
    (void)state;
    make_trusted();
    for (unsigned i = 0; i < 3; i++) {
        ask(true, 10);
        ask(false, SP_TAKEN_LATE_MS);
        take(SP_FETCH_BYTES_MAX, 10 * SP_TAKEN_LATE_MS); /* there was always something to take */
    }
    assert_true(sp_taking_trusted(&taking));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_stranger_has_one_small_answer_at_a_time, set_up),
        cmocka_unit_test_setup(test_who_takes_its_answers_is_trusted_soon, set_up),
        cmocka_unit_test_setup(test_small_answers_tell_little, set_up),
        cmocka_unit_test_setup(test_who_is_slow_begins_again, set_up),
        cmocka_unit_test_setup(test_trust_is_lost_by_who_is_waited_for, set_up),
        cmocka_unit_test_setup(test_trust_is_kept_by_who_makes_room_in_time, set_up),
    };
    return cmocka_run_group_tests_name("broker/taking", tests, NULL, NULL);
}
