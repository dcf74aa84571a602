#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rand.h"
#include "spate/error.h"

static int nothing_left(void **state)
{
    (void)state;
    assert_int_equal(sp_mem_live_count(), 0);
    return 0;
}

static void test_buf_append_stops_at_the_bound(void **state)
{
    struct sp_buf buf;
    uint8_t *room = NULL;

    (void)state;
    sp_buf_init(&buf, 1000);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(sp_buf_append(&buf, "0123456789", 10), 0);
        assert_true(buf.capacity <= 1000);
    }
    assert_int_equal(sp_buf_append(&buf, "x", 1), SPATE_ERR_TOO_LARGE);
    assert_int_equal(sp_buf_append(&buf, "x", SIZE_MAX), SPATE_ERR_TOO_LARGE);
    assert_int_equal(sp_buf_reserve(&buf, 1, &room), SPATE_ERR_TOO_LARGE);
    assert_null(room);
    assert_int_equal(buf.size, 1000);
    assert_memory_equal(buf.bytes + 990, "0123456789", 10);
    sp_buf_deinit(&buf);
    assert_int_equal(sp_buf_append(&buf, "again", 5), 0);
    sp_buf_deinit(&buf);
    sp_buf_init(&buf, 10);
    assert_int_equal(sp_buf_append(&buf, "x", 1), 0);
    assert_int_equal(buf.capacity, 10);
    sp_buf_deinit(&buf);
    sp_buf_init(&buf, 0);
    assert_int_equal(sp_buf_append(&buf, NULL, 0), 0);
    assert_int_equal(sp_buf_append(&buf, "x", 1), SPATE_ERR_TOO_LARGE);
    sp_buf_deinit(&buf);
}

static void test_buf_out_of_memory_adds_nothing(void **state)
{
    struct sp_buf buf;

    (void)state;
    sp_buf_init(&buf, 1 << 20);
    sp_mem_fail_at(1);
    assert_int_equal(sp_buf_append(&buf, "abc", 3), SPATE_ERR_NOMEM);
    assert_int_equal(buf.size, 0);
    assert_int_equal(sp_buf_append(&buf, "abc", 3), 0);
    sp_mem_fail_at(1);
    assert_int_equal(sp_buf_append(&buf, buf.bytes, 0), 0);
    uint8_t *room = NULL;
    assert_int_equal(sp_buf_reserve(&buf, 1000, &room), SPATE_ERR_NOMEM);
    assert_memory_equal(buf.bytes, "abc", 3);
    sp_buf_deinit(&buf);
}

/* Against a plain array: random appends, reserves and consumes. */
static void test_buf_keeps_content_in_order(void **state)
{
    uint8_t model[512];
    size_t size = 0;
    struct sp_buf buf;
    struct sp_rand rand;

    (void)state;
    sp_rand_init(&rand, 4);
    sp_buf_init(&buf, sizeof model);
    for (unsigned i = 0; i < 5000; i++) {
        size_t step = sp_rand_below(&rand, 40);
        if (sp_rand_below(&rand, 2) == 0) {
            uint8_t *room = NULL;
            int rv = sp_buf_reserve(&buf, step, &room);
            assert_int_equal(rv, size + step > sizeof model ? SPATE_ERR_TOO_LARGE : 0);
            for (size_t k = 0; rv == 0 && k < step; k++) {
                model[size + k] = room[k] = (uint8_t)sp_rand_next(&rand);
            }
            if (rv == 0) {
                sp_buf_grow(&buf, step);
                size += step;
            }
        } else {
            step = step < size ? step : size;
            sp_buf_consume(&buf, step);
            memmove(model, model + step, size - step);
            size -= step;
        }
        assert_int_equal(buf.size, size);
        assert_true(size == 0 || memcmp(buf.bytes, model, size) == 0);
    }
    sp_buf_clear(&buf);
    assert_int_equal(buf.size, 0);
    sp_buf_deinit(&buf);
}

static void test_blob_lives_until_the_last_reference(void **state)
{
    (void)state;
    struct sp_blob *blob = sp_blob_copy("hello world", 11);
    assert_non_null(blob);
    struct sp_slice world = sp_slice_of(blob, 6, 5);
    struct sp_slice again = sp_slice_ref(&world);
    sp_blob_unref(blob);
    sp_slice_unref(&world);
    assert_null(world.blob);
    assert_int_equal(sp_mem_live_count(), 1);
    assert_int_equal(again.size, 5);
    assert_memory_equal(again.bytes, "world", 5);
    sp_slice_unref(&again);
    sp_slice_unref(&again);
    sp_blob_unref(NULL);
    assert_int_equal(sp_mem_live_count(), 0);
}

static void test_blob_of_impossible_size_is_refused(void **state)
{
    (void)state;
    assert_null(sp_blob_new(SIZE_MAX));
    sp_mem_fail_at(1);
    assert_null(sp_blob_copy("x", 1));
    struct sp_blob *empty = sp_blob_copy(NULL, 0);
    assert_non_null(empty);
    struct sp_slice slice = sp_slice_of(empty, 0, 0);
    sp_blob_unref(empty);
    sp_slice_unref(&slice);
    struct sp_slice none = { NULL, NULL, 0 };
    struct sp_slice same = sp_slice_ref(&none);
    sp_slice_unref(&same);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_buf_append_stops_at_the_bound, nothing_left),
        cmocka_unit_test_teardown(test_buf_out_of_memory_adds_nothing, nothing_left),
        cmocka_unit_test_teardown(test_buf_keeps_content_in_order, nothing_left),
        cmocka_unit_test_teardown(test_blob_lives_until_the_last_reference, nothing_left),
        cmocka_unit_test_teardown(test_blob_of_impossible_size_is_refused, nothing_left),
    };
    return cmocka_run_group_tests_name("base/buf", tests, NULL, NULL);
}
