#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_mem_counts_what_is_alive(void **state)
{
    (void)state;
    assert_int_equal(sp_mem_live_count(), 0);
    void *first = sp_mem_alloc(100);
    char *second = sp_mem_strdup("text");
    void *third = sp_mem_dup(NULL, 0);
    assert_non_null(first);
    assert_string_equal(second, "text");
    assert_non_null(third);
    assert_int_equal(sp_mem_live_count(), 3);
    assert_true(sp_mem_live_bytes() >= 105);
    first = sp_mem_realloc(first, 10000);
    assert_int_equal(sp_mem_live_count(), 3);
    assert_true(sp_mem_live_bytes() >= 10005);
    sp_mem_free(first);
    sp_mem_free(second);
    sp_mem_free(third);
    sp_mem_free(NULL);
    assert_int_equal(sp_mem_live_count(), 0);
    assert_int_equal(sp_mem_live_bytes(), 0);
}

static void test_mem_calloc_zeroes_and_refuses_overflow(void **state)
{
    (void)state;
    uint8_t *bytes = sp_mem_calloc(16, 16);
    assert_non_null(bytes);
    for (unsigned i = 0; i < 256; i++) {
        assert_int_equal(bytes[i], 0);
    }
    sp_mem_free(bytes);
    volatile size_t huge = SIZE_MAX / 2;
    assert_null(sp_mem_calloc(huge, 3));
    assert_int_equal(sp_mem_live_count(), 0);
}

static void test_mem_fails_the_nth_request_only(void **state)
{
    void *kept[5];

    (void)state;
    sp_mem_fail_at(3);
    for (unsigned i = 0; i < 5; i++) {
        kept[i] = sp_mem_alloc(8);
        assert_int_equal(kept[i] == NULL, i == 2);
    }
    sp_mem_fail_at(1);
    assert_null(sp_mem_realloc(kept[0], 1000));
    assert_int_equal(sp_mem_live_count(), 4);
    sp_mem_fail_at(1);
    assert_null(sp_mem_calloc(1, 1));
    sp_mem_fail_at(1);
    sp_mem_fail_at(0);
    for (unsigned i = 0; i < 5; i++) {
        sp_mem_free(kept[i]);
    }
    assert_int_equal(sp_mem_live_count(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mem_counts_what_is_alive),
        cmocka_unit_test(test_mem_calloc_zeroes_and_refuses_overflow),
        cmocka_unit_test(test_mem_fails_the_nth_request_only),
    };
    return cmocka_run_group_tests_name("base/mem", tests, NULL, NULL);
}
