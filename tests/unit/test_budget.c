#include "net/budget.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"

enum {
    LIMIT = 64 * 1024 * 1024,
    SHARES = 100,
};

struct fixture {
    struct sp_loop *loop;
    struct sp_budget budget;
    unsigned grown;
    struct sp_share shares[SHARES];
    struct sp_share_waiter waiters[SHARES];
    unsigned asked[SHARES];
    unsigned asked_count;
};

static struct fixture fixture;

static void on_grown(void *arg)
{
    assert_ptr_equal(arg, &fixture);
    fixture.grown += 1;
}

static void on_again(struct sp_share_waiter *waiter)
{
    assert_true(fixture.asked_count < SHARES);
    fixture.asked[fixture.asked_count] = (unsigned)(waiter - fixture.waiters);
    fixture.asked_count += 1;
}

static int set_up(void **state)
{
    const struct sp_budget_handler handler = { on_grown, &fixture };

    (void)state;
    memset(&fixture, 0, sizeof fixture);
    assert_int_equal(sp_loop_new(0, &fixture.loop), 0);
    sp_budget_init(&fixture.budget, fixture.loop, LIMIT, &handler);
    for (unsigned i = 0; i < SHARES; i++) {
        fixture.shares[i].budget = &fixture.budget;
        sp_share_waiter_init(&fixture.waiters[i], on_again);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SHARES; i++) {
        sp_share_wait_cancel(&fixture.waiters[i]);
        sp_share_unfavour(&fixture.shares[i]);
        sp_share_give(&fixture.shares[i], fixture.shares[i].used_bytes);
    }
    sp_budget_deinit(&fixture.budget);
    sp_loop_free(fixture.loop);
    return 0;
}

/* Takes as much as is allowed, in steps. */
static void fill(struct sp_share *share)
{
    while (sp_share_allows(share, 4096)) {
        sp_share_take(share, 4096);
    }
}

static void run_turns(void)
{
    const bool never = false;

    (void)sp_loop_run_until(fixture.loop, &never, sp_loop_now_ms(fixture.loop) + 20);
}

static void test_share_without_budget_has_no_bound(void **state)
{
    struct sp_share share = { .used_bytes = 0 };

    (void)state;
    assert_true(sp_share_allows(&share, SIZE_MAX));
    sp_share_take(&share, 5);
    sp_share_give(&share, 5);
    assert_int_equal(share.used_bytes, 0);
}

static void test_shares_that_take_all_they_may_leave_room_for_the_next(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SHARES - 1; i++) {
        fill(&fixture.shares[i]);
        assert_true(i > 10 || fixture.budget.used_bytes < LIMIT - LIMIT / 16);
    }
    assert_true(fixture.budget.used_bytes <= LIMIT + SHARES * SP_SHARE_BYTES_MIN);
    assert_true(sp_share_allows(&fixture.shares[SHARES - 1], SP_SHARE_BYTES_MIN));
    assert_true(fixture.shares[0].used_bytes <= LIMIT / 4);
    assert_true(fixture.shares[0].used_bytes > LIMIT / 6);
    assert_int_equal(fixture.grown, 1);
}

static void test_least_share_is_allowed_beyond_the_limit(void **state)
{
    (void)state;
    sp_share_take(&fixture.shares[0], 2 * (size_t)LIMIT);
    assert_true(sp_share_allows(&fixture.shares[1], SP_SHARE_BYTES_MIN));
    assert_false(sp_share_allows(&fixture.shares[1], SP_SHARE_BYTES_MIN + 1));
    assert_false(sp_share_allows(&fixture.shares[0], 0));
    assert_true(sp_share_allows_without(&fixture.shares[0], 2 * (size_t)LIMIT));
}

static void test_waiters_are_asked_in_order_when_bytes_are_given_back(void **state)
{
    (void)state;
    sp_share_take(&fixture.shares[0], LIMIT);
    for (unsigned i = 1; i < SHARES; i++) {
        sp_share_wait(&fixture.shares[i], &fixture.waiters[i], false);
        sp_share_wait(&fixture.shares[i], &fixture.waiters[i], false);
    }
    run_turns();
    assert_int_equal(fixture.asked_count, 0);
    sp_share_wait_cancel(&fixture.waiters[2]);
    sp_share_give(&fixture.shares[0], 1);
    run_turns();
    assert_int_equal(fixture.asked_count, SHARES - 2);
    assert_int_equal(fixture.asked[0], 1);
    assert_int_equal(fixture.asked[1], 3);
    assert_int_equal(fixture.asked[SHARES - 3], SHARES - 1);
    assert_int_equal(fixture.budget.waiter_count, 0);
}

static void test_one_message_in_part_at_a_time_has_no_bound(void **state)
{
    (void)state;
    sp_share_take(&fixture.shares[0], 2 * (size_t)LIMIT);
    sp_share_wait(&fixture.shares[1], &fixture.waiters[1], true);
    sp_share_wait(&fixture.shares[2], &fixture.waiters[2], true);
    run_turns();
    assert_true(sp_share_favoured(&fixture.shares[1]));
    assert_true(sp_share_allows(&fixture.shares[1], SP_MESSAGE_BYTES_MAX));
    assert_false(sp_share_favoured(&fixture.shares[2]));

    sp_share_wait(&fixture.shares[2], &fixture.waiters[2], true);
    sp_share_unfavour(&fixture.shares[1]);
    run_turns();
    assert_true(sp_share_favoured(&fixture.shares[2]));
    assert_false(sp_share_favoured(&fixture.shares[1]));
}

static void test_full_budget_is_noted_until_half_is_free(void **state)
{
    (void)state;
    sp_share_take(&fixture.shares[0], LIMIT);
    assert_false(fixture.budget.full);
    sp_share_wait(&fixture.shares[1], &fixture.waiters[1], false);
    assert_true(fixture.budget.full);
    sp_share_give(&fixture.shares[0], LIMIT / 4 + 1);
    run_turns();
    assert_true(fixture.budget.full);
    sp_share_give(&fixture.shares[0], LIMIT / 4);
    assert_false(fixture.budget.full);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_share_without_budget_has_no_bound, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_shares_that_take_all_they_may_leave_room_for_the_next, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_least_share_is_allowed_beyond_the_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_waiters_are_asked_in_order_when_bytes_are_given_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_one_message_in_part_at_a_time_has_no_bound, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_full_budget_is_noted_until_half_is_free, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
