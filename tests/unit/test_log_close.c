#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "spate/error.h"
#include "storage/log.h"
#include "tests/lib/test_store.h"

#define GROUP_ID 1

/* The segment that the checkpoint belongs to lost its only frame before it got a file. */
static void test_log_close_ends_with_a_checkpoint_whose_segment_has_no_file(void **state)
{
    struct test_store test;
    struct test_log log;

    (void)state;
    test_store_begin(&test);
    test_store_open(&test);
    assert_int_equal(test_log_create(&log, &test, GROUP_ID), 0);
    (void)test_log_batch(&log, 1, 1, 10, 1);
    test_log_flush(&log);
    sp_log_roll(log.log);
    (void)test_log_batch(&log, 1, 1, 10, 1);
    assert_int_equal(sp_log_truncate(log.log, 2), 0);
    assert_int_equal(sp_log_checkpoint_wanted(log.log), 1);
    assert_int_equal(sp_log_checkpoint_write(log.log, (const uint8_t *)"x", 1), 0);
    test_log_close(&log);
    assert_int_equal(test_log_open(&log, &test, GROUP_ID), 0);
    assert_int_equal(sp_log_last_index(log.log), 1);
    test_log_close(&log);
    test_store_end(&test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_close_ends_with_a_checkpoint_whose_segment_has_no_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
