#include "base/nearest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_nearest_finds_slips_only(void **state)
{
    static const char *const words[] = { "topic", "produce", "consume", "cluster" };

    (void)state;
    assert_string_equal(sp_nearest("tpic", words, 4), "topic");
    assert_string_equal(sp_nearest("prodcue", words, 4), "produce");
    assert_string_equal(sp_nearest("consum", words, 4), "consume");
    assert_null(sp_nearest("banana", words, 4));
    assert_null(sp_nearest("a-very-long-word-that-is-no-command-at-all", words, 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nearest_finds_slips_only),
    };
    return cmocka_run_group_tests_name("base/nearest", tests, NULL, NULL);
}
