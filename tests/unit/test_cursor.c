#include "wire/cursor.h"

#include "wire_test.h"

static struct sp_cursor over(const uint8_t *bytes, size_t size)
{
    struct sp_cursor cursor;

    sp_cursor_init(&cursor, bytes, size);
    return cursor;
}

struct number {
    uint8_t bytes[9];
    uint8_t size;
    int64_t value;
};

static const struct number numbers[] = {
    { { 0x00 }, 1, 0 },
    { { 0x7f }, 1, 127 },
    { { 0xe0 }, 1, -32 },
    { { 0xff }, 1, -1 },
    { { 0xcc, 0xff }, 2, 255 },
    { { 0xcd, 0xff, 0xfe }, 3, 65534 },
    { { 0xce, 0xff, 0xff, 0xff, 0xff }, 5, 4294967295 },
    { { 0xcf, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }, 9, INT64_MAX },
    { { 0xd0, 0x80 }, 2, -128 },
    { { 0xd0, 0x05 }, 2, 5 },
    { { 0xd1, 0x80, 0x00 }, 3, -32768 },
    { { 0xd2, 0x80, 0, 0, 0 }, 5, INT32_MIN },
    { { 0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0 }, 9, INT64_MIN },
    { { 0xd3, 0, 0, 0, 0, 0, 0, 0, 9 }, 9, 9 },
    { { 0xca, 0xc0, 0x40, 0, 0 }, 5, -3 },                           /* float32 -3.0 */
    { { 0xcb, 0x43, 0x40, 0, 0, 0, 0, 0, 0 }, 9, INT64_C(1) << 53 }, /* float64 2^53 */
    { { 0xcb, 0x80, 0, 0, 0, 0, 0, 0, 0 }, 9, 0 },                   /* float64 -0.0 */
};

static void test_cursor_int_of_every_width_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct sp_cursor cursor = over(numbers[i].bytes, numbers[i].size);
        struct sp_cursor again = cursor;

        assert_true(sp_cursor_int(&cursor, INT64_MIN, INT64_MAX) == numbers[i].value);
        assert_int_equal(sp_cursor_finish(&cursor), 0);
        if (numbers[i].value >= 0) {
            assert_true(sp_cursor_uint(&again, UINT64_MAX) == (uint64_t)numbers[i].value);
            assert_int_equal(sp_cursor_finish(&again), 0);
        } else {
            assert_int_equal(sp_cursor_uint(&again, UINT64_MAX), 0);
            assert_int_equal(sp_cursor_status(&again), SPATE_ERR_INVALID);
        }
    }
}

static void test_cursor_int_out_of_range_refused(void **state)
{
    static const uint8_t largest[] = { 0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
    struct sp_cursor cursor = over(largest, sizeof largest);

    (void)state;
    assert_int_equal(sp_cursor_int(&cursor, INT64_MIN, INT64_MAX), 0);
    assert_int_equal(sp_cursor_status(&cursor), SPATE_ERR_INVALID);
    assert_int_equal(cursor.position, 0);
    cursor = over(largest, sizeof largest);
    assert_true(sp_cursor_uint(&cursor, UINT64_MAX) == UINT64_MAX);
    cursor = over((const uint8_t *)"\x08", 1);
    (void)sp_cursor_int(&cursor, 0, 7);
    assert_int_equal(sp_cursor_status(&cursor), SPATE_ERR_INVALID);
    cursor = over((const uint8_t *)"\x08", 1);
    (void)sp_cursor_uint(&cursor, 7);
    assert_int_equal(sp_cursor_status(&cursor), SPATE_ERR_INVALID);
}

static void test_cursor_int_from_odd_float_refused(void **state)
{
    static const uint8_t floats[][9] = {
        { 0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0 },    /* 1.5 */
        { 0xcb, 0x43, 0x40, 0, 0, 0, 0, 0, 1 },    /* 2^53 + 2 */
        { 0xcb, 0xc3, 0x40, 0, 0, 0, 0, 0, 1 },    /* -2^53 - 2 */
        { 0xcb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0 },    /* infinity */
        { 0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0 },    /* not a number */
        { 0xcb, 0xff, 0xef, 0xff, 0xff, 0, 0, 0 }, /* very negative */
    };

    (void)state;
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++) {
        struct sp_cursor cursor = over(floats[i], sizeof floats[i]);
        assert_int_equal(sp_cursor_int(&cursor, INT64_MIN, INT64_MAX), 0);
        assert_int_equal(sp_cursor_status(&cursor), SPATE_ERR_INVALID);
    }
    struct sp_cursor cursor = over(floats[0], sizeof floats[0]);
    assert_true(sp_cursor_double(&cursor) == 1.5);
}

/* [nil, true, 1.5f, "gr\xc3\xbc", bin "ab", {"k": [1]}, fixext1, ext8 of 0 bytes, str8 "x", 7] */
static const uint8_t mixed[] = {
    0x9a, 0xc0, 0xc3, 0xca, 0x3f, 0xc0, 0,    0,    0xa4, 'g',  'r', 0xc3, 0xbc, 0xc4, 2,   'a',
    'b',  0x81, 0xa1, 'k',  0x91, 1,    0xd4, 0x05, 0x09, 0xc7, 0,   0x05, 0xd9, 1,    'x', 7,
};

static int read_mixed(struct sp_cursor *cursor)
{
    assert_true(sp_cursor_array(cursor) == 10 || sp_cursor_status(cursor) != 0);
    assert_true(sp_cursor_nil(cursor) || cursor->position <= 1);
    assert_true(sp_cursor_bool(cursor) || sp_cursor_status(cursor) != 0);
    assert_true(sp_cursor_double(cursor) == 1.5 || sp_cursor_status(cursor) != 0);
    assert_true(sp_cursor_text(cursor).size == 4 || sp_cursor_status(cursor) != 0);
    assert_true(sp_cursor_bytes(cursor).size == 2 || sp_cursor_status(cursor) != 0);
    assert_true(sp_cursor_map(cursor) == 1 || sp_cursor_status(cursor) != 0);
    assert_true(sp_cursor_text(cursor).size == 1 || sp_cursor_status(cursor) != 0);
    assert_true(sp_cursor_raw(cursor).size == 2 || sp_cursor_status(cursor) != 0);
    sp_cursor_skip(cursor);
    sp_cursor_skip(cursor);
    assert_true(sp_cursor_bytes(cursor).size == 1 || sp_cursor_status(cursor) != 0);
    assert_true(sp_cursor_uint(cursor, 7) == 7 || sp_cursor_status(cursor) != 0);
    return sp_cursor_finish(cursor);
}

static void test_cursor_every_truncated_prefix_is_malformed(void **state)
{
    (void)state;
    for (size_t size = 0; size <= sizeof mixed; size++) {
        uint8_t *copy = exact_copy(mixed, size);
        struct sp_cursor cursor = over(copy, size);
        struct sp_cursor skipping = cursor;

        sp_cursor_skip(&skipping);
        if (size < sizeof mixed) {
            assert_int_equal(sp_cursor_status(&skipping), SPATE_ERR_MALFORMED);
            assert_int_equal(read_mixed(&cursor), SPATE_ERR_MALFORMED);
        } else {
            assert_int_equal(sp_cursor_finish(&skipping), 0);
            assert_int_equal(read_mixed(&cursor), 0);
        }
        free(copy);
    }
}

static void test_cursor_lying_counts_refused(void **state)
{
    static const uint8_t lies[][8] = {
        { 0x93, 1, 2 },                         /* cut below: array of 3 with 2 elements */
        { 0xdd, 0xff, 0xff, 0xff, 0xff, 1, 2 }, /* array32 of 4 G */
        { 0xdf, 0x80, 0x00, 0x00, 0x00, 1, 2 }, /* map32 of 2 G pairs */
        { 0xdc, 0x00, 0x06, 1, 2, 3, 4, 5 },    /* array16 of 6 with 5 */
        { 0xde, 0x00, 0x03, 1, 2, 3, 4, 5 },    /* map16 of 3 pairs with 5 values */
        { 0xc6, 0xff, 0xff, 0xff, 0xff, 1 },    /* bin32 of 4 GiB */
        { 0xdb, 0x00, 0x00, 0x00, 0x04, 1 },    /* str32 of 4 with 3 */
        { 0xc9, 0xff, 0xff, 0xff, 0xff, 1 },    /* ext32 of 4 GiB */
        { 0xd8, 1, 2, 3, 4, 5, 6, 7 },          /* fixext16 */
        { 0xc1 },                               /* reserved */
    };

    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        size_t size = i == 0 ? 3 : sizeof lies[i];
        struct sp_cursor cursor = over(lies[i], size);
        sp_cursor_skip(&cursor);
        assert_int_equal(sp_cursor_status(&cursor), SPATE_ERR_MALFORMED);
        cursor = over(lies[i], size);
        assert_int_equal(sp_cursor_array(&cursor), 0);
        assert_int_equal(sp_cursor_map(&cursor), 0);
        check_null(sp_cursor_bytes(&cursor));
        assert_int_equal(sp_cursor_status(&cursor), SPATE_ERR_MALFORMED);
    }
}

static void test_cursor_deep_nesting_is_skipped(void **state)
{
    static uint8_t deep[100001];
    struct sp_cursor cursor = over(deep, sizeof deep);

    (void)state;
    memset(deep, 0x91, sizeof deep - 1);
    deep[sizeof deep - 1] = 0xc0;
    sp_cursor_skip(&cursor);
    assert_int_equal(sp_cursor_finish(&cursor), 0);
}

static void test_cursor_error_sticks_and_stays(void **state)
{
    static const uint8_t bytes[] = { 0xa1, 'x', 5 };
    struct sp_cursor cursor = over(bytes, sizeof bytes);

    (void)state;
    assert_int_equal(sp_cursor_array(&cursor), 0);
    assert_int_equal(sp_cursor_status(&cursor), SPATE_ERR_INVALID);
    check_null(sp_cursor_text(&cursor));
    sp_cursor_skip(&cursor);
    check_null(sp_cursor_raw(&cursor));
    assert_int_equal(sp_cursor_peek(&cursor), SP_CURSOR_END);
    assert_false(sp_cursor_nil(&cursor));
    assert_false(sp_cursor_bool(&cursor));
    sp_cursor_fail(&cursor, SPATE_ERR_BUSY);
    assert_int_equal(sp_cursor_finish(&cursor), SPATE_ERR_INVALID);
    assert_int_equal(cursor.position, 0);
}

static void test_cursor_text_that_is_not_utf8_refused(void **state)
{
    static const uint8_t bytes[] = { 0xa1, 0xff };
    struct sp_cursor cursor = over(bytes, sizeof bytes);
    struct sp_cursor again = cursor;

    (void)state;
    check_null(sp_cursor_text(&cursor));
    assert_int_equal(sp_cursor_status(&cursor), SPATE_ERR_INVALID);
    check_bytes(sp_cursor_bytes(&again), "\xff");
}

static void test_cursor_leftover_bytes_are_malformed(void **state)
{
    struct sp_cursor cursor = over((const uint8_t *)"\x01\x02", 2);

    (void)state;
    (void)sp_cursor_uint(&cursor, 9);
    assert_int_equal(sp_cursor_status(&cursor), 0);
    assert_int_equal(sp_cursor_finish(&cursor), SPATE_ERR_MALFORMED);
    cursor = sp_cursor_of(sp_bytes_null());
    assert_int_equal(sp_cursor_peek(&cursor), SP_CURSOR_END);
    assert_int_equal(sp_cursor_finish(&cursor), 0);
}

static void test_cursor_peek_knows_every_tag(void **state)
{
    static const enum sp_cursor_type wide[32] = {
        SP_CURSOR_NIL,   SP_CURSOR_END,   SP_CURSOR_BOOL, SP_CURSOR_BOOL,  SP_CURSOR_BIN,
        SP_CURSOR_BIN,   SP_CURSOR_BIN,   SP_CURSOR_EXT,  SP_CURSOR_EXT,   SP_CURSOR_EXT,
        SP_CURSOR_FLOAT, SP_CURSOR_FLOAT, SP_CURSOR_INT,  SP_CURSOR_INT,   SP_CURSOR_INT,
        SP_CURSOR_INT,   SP_CURSOR_INT,   SP_CURSOR_INT,  SP_CURSOR_INT,   SP_CURSOR_INT,
        SP_CURSOR_EXT,   SP_CURSOR_EXT,   SP_CURSOR_EXT,  SP_CURSOR_EXT,   SP_CURSOR_EXT,
        SP_CURSOR_STR,   SP_CURSOR_STR,   SP_CURSOR_STR,  SP_CURSOR_ARRAY, SP_CURSOR_ARRAY,
        SP_CURSOR_MAP,   SP_CURSOR_MAP,
    };

    (void)state;
    for (unsigned tag = 0; tag < 256; tag++) {
        uint8_t byte = (uint8_t)tag;
        struct sp_cursor cursor = over(&byte, 1);
        enum sp_cursor_type expected = tag < 0x80 || tag >= 0xe0 ? SP_CURSOR_INT
                                       : tag < 0x90              ? SP_CURSOR_MAP
                                       : tag < 0xa0              ? SP_CURSOR_ARRAY
                                       : tag < 0xc0              ? SP_CURSOR_STR
                                                                 : wide[tag - 0xc0];
        assert_int_equal(sp_cursor_peek(&cursor), expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cursor_int_of_every_width_read),
        cmocka_unit_test(test_cursor_int_out_of_range_refused),
        cmocka_unit_test(test_cursor_int_from_odd_float_refused),
        cmocka_unit_test(test_cursor_every_truncated_prefix_is_malformed),
        cmocka_unit_test(test_cursor_lying_counts_refused),
        cmocka_unit_test(test_cursor_deep_nesting_is_skipped),
        cmocka_unit_test(test_cursor_error_sticks_and_stays),
        cmocka_unit_test(test_cursor_text_that_is_not_utf8_refused),
        cmocka_unit_test(test_cursor_leftover_bytes_are_malformed),
        cmocka_unit_test(test_cursor_peek_knows_every_tag),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
