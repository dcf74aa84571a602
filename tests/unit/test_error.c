#include "spate/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const int codes[] = {
#define CODE(name, number, retriable, meaning) number,
    SPATE_ERROR_LIST(CODE)
#undef CODE
};

static void test_error_every_code_has_one_name_and_number(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        const char *name = spate_error_name(codes[i]);
        assert_int_equal(codes[i], -(int)i - 1);
        assert_int_equal(spate_error_from_name(name, strlen(name)), codes[i]);
        assert_true(strlen(spate_strerror(codes[i])) > 0);
    }
}

static void test_error_unknown_names_and_codes_are_harmless(void **state)
{
    (void)state;
    assert_string_equal(spate_error_name(0), "OK");
    assert_string_equal(spate_error_name(1), "UNKNOWN");
    assert_string_equal(spate_error_name(-9999), "UNKNOWN");
    assert_non_null(spate_strerror(0));
    assert_non_null(spate_strerror(-9999));
    assert_int_equal(spate_error_from_name("NOT_LEADERS", 11), SPATE_ERR_INTERNAL);
    assert_int_equal(spate_error_from_name("NOT_LEADER: node 1", 10), SPATE_ERR_NOT_LEADER);
    assert_int_equal(spate_error_from_name("", 0), SPATE_ERR_INTERNAL);
    assert_int_equal(spate_error_from_name(NULL, 2), SPATE_ERR_INTERNAL); /* some name is as long */
}

static void test_error_retriable_follows_the_list(void **state)
{
    (void)state;
    assert_int_equal(spate_error_retriable(SPATE_ERR_NOT_LEADER), 1);
    assert_int_equal(spate_error_retriable(SPATE_ERR_MALFORMED), 0);
    assert_int_equal(spate_error_retriable(0), 0);
    assert_int_equal(spate_error_retriable(-9999), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error_every_code_has_one_name_and_number),
        cmocka_unit_test(test_error_unknown_names_and_codes_are_harmless),
        cmocka_unit_test(test_error_retriable_follows_the_list),
    };
    return cmocka_run_group_tests_name("base/error", tests, NULL, NULL);
}
