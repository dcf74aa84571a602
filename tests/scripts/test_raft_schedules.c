/* Random schedules: none may fail with all guards, and without certain guards some must. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "raft_expect.h"

#define SECONDS 15 /* of faults, in each schedule */
#define RIGHT_SEEDS 2500
#define WRONG_SEEDS 2000 /* enough for each of the guards below to be missed; one is */

static bool run_seeds(uint64_t count, unsigned disabled)
{
    char failure[256] = "";

    for (uint64_t seed = 1; seed <= count; seed++) {
        if (!schedule_run(seed, SECONDS, disabled, failure)) {
            print_error("seed %lu: %s\n", (unsigned long)seed, failure);
            return false;
        }
    }
    return true;
}

static bool few_seeds(unsigned disabled)
{
    return run_seeds(WRONG_SEEDS, disabled);
}

static void test_schedules_with_all_guards_are_right(void **state)
{
    uint64_t alive = sp_mem_live_count();

    (void)state;
    assert_true(run_seeds(RIGHT_SEEDS, 0));
    assert_int_equal(sp_mem_live_count(), alive);
}

static void test_schedules_without_g2_go_wrong(void **state)
{
    (void)state;
    expect_wrong(few_seeds, SP_RAFT_GUARD_G2_FLOOR | SP_RAFT_GUARD_G14_SENT);
}

static void test_schedules_without_g6_go_wrong(void **state)
{
    (void)state;
    expect_wrong(few_seeds, SP_RAFT_GUARD_G6_SOLE_VOTER);
}

static void test_schedules_without_g8_go_wrong(void **state)
{
    (void)state;
    expect_wrong(few_seeds, SP_RAFT_GUARD_G8_INSTALL_COMMIT);
}

static void test_schedules_without_g9_go_wrong(void **state)
{
    (void)state;
    expect_wrong(few_seeds, SP_RAFT_GUARD_G9_STANDBY_VOTE);
}

static void test_schedules_without_g10_go_wrong(void **state)
{
    (void)state;
    expect_wrong(few_seeds, SP_RAFT_GUARD_G10_STALE_REJECTION);
}

static void test_schedules_without_policies_go_wrong(void **state)
{
    (void)state;
    expect_wrong(few_seeds, SP_RAFT_GUARD_POLICY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schedules_with_all_guards_are_right),
        cmocka_unit_test(test_schedules_without_g2_go_wrong),
        cmocka_unit_test(test_schedules_without_g6_go_wrong),
        cmocka_unit_test(test_schedules_without_g8_go_wrong),
        cmocka_unit_test(test_schedules_without_g9_go_wrong),
        cmocka_unit_test(test_schedules_without_g10_go_wrong),
        cmocka_unit_test(test_schedules_without_policies_go_wrong),
    };
    return cmocka_run_group_tests_name("scenario/raft_schedules", tests, NULL, NULL);
}
