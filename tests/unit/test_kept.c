#include "base/kept.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/limits.h"
#include "base/mem.h"

enum {
    MEBIBYTE = 1024 * 1024,
    PIECES_MAX = 1000,
};

static struct sp_kept kept;

static int begin(void **state)
{
    (void)state;
    memset(&kept, 0, sizeof kept);
    return 0;
}

/* A piece that is kept now, of `size` rounded up. */
static void *put_new(size_t size)
{
    void *piece = malloc(sp_kept_round(size));

    assert_non_null(piece);
    assert_true(sp_kept_put(&kept, piece, sp_kept_round(size)));
    return piece;
}

static unsigned give_all(bool all)
{
    unsigned place = 0;
    unsigned count = 0;
    void *piece;

    while ((piece = sp_kept_give(&kept, all, &place)) != NULL) {
        free(piece);
        count += 1;
    }
    return count;
}

static void test_kept_rounds_up_by_a_sixteenth_at_most(void **state)
{
    (void)state;
    assert_int_equal(sp_kept_round(1), 1);
    assert_int_equal(sp_kept_round(SP_KEPT_SIZE_MIN - 1), SP_KEPT_SIZE_MIN - 1);
    assert_int_equal(sp_kept_round(SP_KEPT_SIZE_MAX + 1), SP_KEPT_SIZE_MAX + 1);
    for (size_t size = SP_KEPT_SIZE_MIN; size <= SP_KEPT_SIZE_MAX; size += 777) {
        size_t rounded = sp_kept_round(size);
        assert_true(rounded >= size);
        assert_true(rounded <= size + size / 16);
        assert_int_equal(sp_kept_round(rounded), rounded);
    }
    assert_int_equal(sp_kept_round(SP_KEPT_SIZE_MIN), SP_KEPT_SIZE_MIN);
    assert_int_equal(sp_kept_round(SP_KEPT_SIZE_MAX), SP_KEPT_SIZE_MAX);
}

static void test_kept_piece_serves_its_class_and_the_one_below(void **state)
{
    size_t size = 0;

    (void)state;
    void *piece = put_new(MEBIBYTE);
    assert_int_equal(kept.bytes, MEBIBYTE);
    assert_null(sp_kept_take(&kept, MEBIBYTE + 1, &size));
    assert_null(sp_kept_take(&kept, MEBIBYTE - 64 * 1024, &size));
    assert_null(sp_kept_take(&kept, 100, &size));
    assert_null(sp_kept_take(&kept, SP_KEPT_SIZE_MAX + 1, &size));
    assert_ptr_equal(sp_kept_take(&kept, MEBIBYTE - 32 * 1024, &size), piece);
    assert_int_equal(size, MEBIBYTE);
    assert_int_equal(kept.bytes, 0);
    assert_null(sp_kept_take(&kept, MEBIBYTE, &size));
    assert_false(sp_kept_put(&kept, piece, SP_KEPT_SIZE_MIN - 1));
    assert_false(sp_kept_put(&kept, piece, 2 * SP_KEPT_SIZE_MAX));
    free(piece);
}

/* A little more than a power of two: the blob stands before the bytes. */
static void test_kept_answer_of_the_largest_size_is_used_again(void **state)
{
    size_t size = 0;

    (void)state;
    void *piece = put_new(SP_FETCH_BYTES_MAX + sizeof(struct sp_blob));
    assert_ptr_equal(sp_kept_take(&kept, SP_FETCH_BYTES_MAX + sizeof(struct sp_blob), &size),
                     piece);
    free(piece);
}

static void test_kept_bytes_are_bounded(void **state)
{
    (void)state;
    for (size_t i = 0; i < PIECES_MAX; i++) {
        size_t size = sp_kept_round(SP_KEPT_SIZE_MIN + i * 3 * 1024);
        void *piece = malloc(size);
        assert_non_null(piece);
        uint64_t before = kept.bytes;
        if (!sp_kept_put(&kept, piece, size)) {
            free(piece);
            assert_int_equal(kept.bytes, before);
        }
        assert_true(kept.bytes <= SP_MEM_KEPT_BYTES_MAX);
    }
    assert_true(kept.bytes > SP_MEM_KEPT_BYTES_MAX / 2);
    assert_true(give_all(true) > 8);
    assert_int_equal(kept.bytes, 0);
}

static void test_kept_piece_that_nobody_takes_grows_old(void **state)
{
    size_t size = 0;
    uint64_t now_ms = SP_MEM_KEPT_MS;

    (void)state;
    put_new(MEBIBYTE);
    void *idle = put_new(MEBIBYTE);
    assert_true(sp_kept_age(&kept, now_ms));
    assert_int_equal(give_all(false), 0);
    assert_false(sp_kept_age(&kept, now_ms + SP_MEM_KEPT_MS - 1));
    for (unsigned i = 0; i < 3; i++) { /* one of the two is used */
        void *piece = sp_kept_take(&kept, MEBIBYTE, &size);
        assert_ptr_not_equal(piece, idle);
        assert_true(sp_kept_put(&kept, piece, size));
        now_ms += SP_MEM_KEPT_MS;
        assert_true(sp_kept_age(&kept, now_ms));
        assert_int_equal(give_all(false), i == 0);
    }
    assert_int_equal(kept.bytes, MEBIBYTE);
    assert_true(sp_kept_age(&kept, now_ms + SP_MEM_KEPT_MS));
    assert_int_equal(give_all(false), 1);
    assert_false(sp_kept_age(&kept, now_ms + 2 * SP_MEM_KEPT_MS));
}

/* The door to the heap hands out again what it was given. Under AddressSanitizer it does not. */
static void test_kept_memory_is_used_again(void **state)
{
    (void)state;
    if (SP_ADDRESS_SANITIZED) {
        return;
    }
    void *first = sp_mem_alloc(MEBIBYTE + 100);
    assert_int_equal(sp_mem_kept_bytes(), 0);
    sp_mem_free(first);
    assert_int_equal(sp_mem_live_bytes(), 0);
    assert_true(sp_mem_kept_bytes() > MEBIBYTE);
    void *small = sp_mem_dup("text", 5);
    void *grown = sp_mem_realloc(small, MEBIBYTE + 200);
    assert_ptr_equal(grown, first);
    assert_string_equal(grown, "text");
    assert_int_equal(sp_mem_live_count(), 1);
    assert_int_equal(sp_mem_kept_bytes(), 0);
    sp_mem_free(grown);
    assert_int_equal(sp_mem_live_count(), 0);
    assert_int_equal(sp_mem_live_bytes(), 0);
    for (uint64_t i = 1; i <= 2; i++) {
        assert_true(sp_mem_kept_bytes() > 0);
        sp_mem_age(i * SP_MEM_KEPT_MS);
    }
    assert_int_equal(sp_mem_kept_bytes(), 0);
    sp_mem_free(sp_mem_alloc(MEBIBYTE));
    assert_true(sp_mem_kept_bytes() > 0);
    sp_mem_free_kept();
    assert_int_equal(sp_mem_kept_bytes(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_kept_rounds_up_by_a_sixteenth_at_most, begin),
        cmocka_unit_test_setup(test_kept_piece_serves_its_class_and_the_one_below, begin),
        cmocka_unit_test_setup(test_kept_answer_of_the_largest_size_is_used_again, begin),
        cmocka_unit_test_setup(test_kept_bytes_are_bounded, begin),
        cmocka_unit_test_setup(test_kept_piece_that_nobody_takes_grows_old, begin),
        cmocka_unit_test(test_kept_memory_is_used_again),
    };
    return cmocka_run_group_tests_name("base/kept", tests, NULL, NULL);
}
