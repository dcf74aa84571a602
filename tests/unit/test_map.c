#include "base/map.h"

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

enum {
    ENTRIES = 3000, /* several growths of the table */
    KEYS = 200,
};

static uint64_t values[ENTRIES];

static int nothing_left(void **state)
{
    (void)state;
    assert_int_equal(sp_mem_live_count(), 0);
    return 0;
}

static void test_map_iterates_in_order_of_insertion(void **state)
{
    struct sp_map *map = sp_map_new();
    struct sp_map_cursor cursor = { NULL, 0 };
    struct sp_rand rand;

    (void)state;
    sp_rand_init(&rand, 5);
    for (size_t i = 0; i < ENTRIES; i++) {
        values[i] = sp_rand_next(&rand);
        assert_int_equal(sp_map_put_u64(map, values[i], &values[i]), 0);
    }
    for (size_t i = 0; i < ENTRIES; i += 3) {
        assert_ptr_equal(sp_map_remove_u64(map, values[i]), &values[i]);
        assert_null(sp_map_remove_u64(map, values[i]));
    }
    assert_int_equal(sp_map_put_u64(map, values[0], &values[0]), 0);
    for (size_t i = 1; i < ENTRIES; i++) {
        if (i % 3 != 0) {
            assert_ptr_equal(sp_map_next(map, &cursor), &values[i]);
        }
    }
    assert_ptr_equal(sp_map_next(map, &cursor), &values[0]);
    assert_null(sp_map_next(map, &cursor));
    assert_null(sp_map_next(map, &cursor));
    sp_map_free(map);
}

static void test_map_entry_just_returned_may_be_removed(void **state)
{
    struct sp_map *map = sp_map_new();
    struct sp_map_cursor cursor = { NULL, 0 };
    uint64_t *value;
    size_t seen = 0;

    (void)state;
    for (size_t i = 0; i < 100; i++) {
        values[i] = i;
        assert_int_equal(sp_map_put_u64(map, i, &values[i]), 0);
    }
    while ((value = sp_map_next(map, &cursor)) != NULL) {
        assert_int_equal(*value, seen);
        assert_ptr_equal(sp_map_remove_u64(map, *value), value);
        seen += 1;
    }
    assert_int_equal(seen, 100);
    assert_int_equal(sp_map_count(map), 0);
    sp_map_free(map);
}

static void test_map_keys_are_bytes_of_any_size(void **state)
{
    struct sp_map *map = sp_map_new();
    char key[] = "topic";

    (void)state;
    assert_int_equal(sp_map_put(map, "", 0, &values[0]), 0);
    assert_int_equal(sp_map_put(map, "\0", 1, &values[1]), 0);
    assert_int_equal(sp_map_put(map, "\0\0", 2, &values[2]), 0);
    assert_int_equal(sp_map_put(map, key, 5, &values[3]), 0);
    key[0] = 'X'; /* the map has its own copy */
    assert_int_equal(sp_map_put(map, "topic", 5, &values[4]), SPATE_ERR_EXISTS);
    assert_ptr_equal(sp_map_get(map, "", 0), &values[0]);
    assert_ptr_equal(sp_map_get(map, "\0", 1), &values[1]);
    assert_ptr_equal(sp_map_get(map, "\0\0", 2), &values[2]);
    assert_ptr_equal(sp_map_get(map, "topic", 5), &values[3]);
    assert_null(sp_map_get(map, "topic", 4));
    assert_int_equal(sp_map_count(map), 4);
    sp_map_free(map);
    sp_map_free(NULL);
}

static int put_keys(struct sp_map *map)
{
    for (uint64_t i = 0; i < KEYS; i++) {
        int rv = sp_map_put_u64(map, i, &values[i]);
        if (rv != 0) {
            assert_int_equal(sp_map_count(map), i);
            assert_null(sp_map_get_u64(map, i));
            for (uint64_t k = 0; k < i; k++) {
                assert_ptr_equal(sp_map_get_u64(map, k), &values[k]);
            }
            return rv;
        }
    }
    return 0;
}

/* Also the growth of the table must fail softly: then the entry is not in, and all others are. */
static void test_map_survives_every_failing_allocation(void **state)
{
    int rv = SPATE_ERR_NOMEM;
    uint64_t n = 0;

    (void)state;
    while (rv == SPATE_ERR_NOMEM) {
        n += 1;
        sp_mem_fail_at(n);
        struct sp_map *map = sp_map_new();
        rv = map == NULL ? SPATE_ERR_NOMEM : put_keys(map);
        sp_map_free(map);
        assert_int_equal(sp_mem_live_count(), 0);
    }
    sp_mem_fail_at(0);
    assert_int_equal(rv, 0);
    assert_true(n > KEYS + 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_map_iterates_in_order_of_insertion, nothing_left),
        cmocka_unit_test_teardown(test_map_entry_just_returned_may_be_removed, nothing_left),
        cmocka_unit_test_teardown(test_map_keys_are_bytes_of_any_size, nothing_left),
        cmocka_unit_test_teardown(test_map_survives_every_failing_allocation, nothing_left),
    };
    return cmocka_run_group_tests_name("base/map", tests, NULL, NULL);
}
