#include "base/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char last[2048];
static unsigned count;

static void sink(void *arg,
                 enum sp_trace_level level,
                 const char *component,
                 const char *message,
                 const char *facts)
{
    assert_ptr_equal(arg, &count);
    assert_string_equal(component, "test");
    assert_string_equal(message, "something happened");
    assert_true(strlen(facts) < sizeof last);
    strcpy(last, facts);
    (void)level;
    count += 1;
}

static void test_trace_reaches_the_sink_up_to_its_level(void **state)
{
    (void)state;
    count = 0;
    sp_trace_set_sink(sink, &count, SP_TRACE_LEVEL_INFO);
    SP_TRACE_ERROR("test", "something happened", "log=%s bytes=%d", "x", 5);
    assert_string_equal(last, "log=x bytes=5");
    SP_TRACE_INFO("test", "something happened", "a=%d", 1);
    SP_TRACE_DEBUG("test", "something happened", "a=%d", 2);
    assert_int_equal(count, 2);
    assert_string_equal(last, "a=1");
    sp_trace_set_sink(NULL, NULL, SP_TRACE_LEVEL_DEBUG);
    SP_TRACE_ERROR("test", "something happened", "a=%d", 3);
    assert_int_equal(count, 2);
    assert_string_equal(sp_trace_level_name(SP_TRACE_LEVEL_WARN), "warn");
}

static void test_trace_long_facts_are_cut_with_a_mark(void **state)
{
    char text[3000];

    (void)state;
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    sp_trace_set_sink(sink, &count, SP_TRACE_LEVEL_INFO);
    SP_TRACE_WARN("test", "something happened", "%s", text);
    assert_int_equal(strlen(last), 1023);
    assert_string_equal(last + 1019, "x...");
    sp_trace_set_sink(NULL, NULL, SP_TRACE_LEVEL_ERROR);
}

static void test_trace_limit_lets_few_through_and_counts_the_rest(void **state)
{
    struct sp_trace_limit limit = { 0, 0, 0 };
    uint64_t dropped = 99;

    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(sp_trace_allowed(&limit, 500 + i, 3, &dropped), i < 3);
    }
    assert_int_equal(dropped, 0);
    assert_true(sp_trace_allowed(&limit, 1000, 3, &dropped));
    assert_int_equal(dropped, 7);
    assert_true(sp_trace_allowed(&limit, 1999, 3, &dropped));
    assert_int_equal(dropped, 0);
    assert_true(sp_trace_allowed(&limit, 1999, 3, NULL));
    assert_false(sp_trace_allowed(&limit, 1999, 3, NULL));
    assert_true(sp_trace_allowed(&limit, 900, 3, &dropped));
    assert_int_equal(dropped, 1);
    assert_false(sp_trace_allowed(&limit, 5000, 0, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trace_reaches_the_sink_up_to_its_level),
        cmocka_unit_test(test_trace_long_facts_are_cut_with_a_mark),
        cmocka_unit_test(test_trace_limit_lets_few_through_and_counts_the_rest),
    };
    return cmocka_run_group_tests_name("base/trace", tests, NULL, NULL);
}
