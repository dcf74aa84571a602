#include "base/quantity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const int64_t untouched = -77;

static int64_t read_as(enum sp_quantity quantity, const char *text)
{
    int64_t value = untouched;
    bool good = sp_quantity_read(quantity, text, strlen(text), &value);

    assert_int_equal(good, value != untouched);
    return value;
}

struct example {
    const char *text;
    int64_t value;
};

static void check(enum sp_quantity quantity, const struct example *examples, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int64_t value = read_as(quantity, examples[i].text);
        if (value != examples[i].value) {
            fail_msg("%s is %lld", examples[i].text, (long long)value);
        }
    }
}

#define CHECK(quantity, examples) check(quantity, examples, sizeof examples / sizeof examples[0])

static void test_quantity_times(void **state)
{
    static const struct example examples[] = {
        { "0", 0 },           { "5000", 5000 },      { "250ms", 250 },
        { "30s", 30000 },     { "5m", 300000 },      { "12h", 43200000 },
        { "5d", 432000000 },  { "0d", 0 },           { "007s", 7000 },
        { "", untouched },    { "d", untouched },    { "5 d", untouched },
        { " 5d", untouched }, { "5d ", untouched },  { "-5d", untouched },
        { "+5d", untouched }, { "1.5h", untouched }, { "5D", untouched },
        { "5M", untouched },  { "5w", untouched },   { "5us", untouched },
        { "5ds", untouched }, { "5h3m", untouched }, { "5K", untouched },
    };

    (void)state;
    CHECK(SP_QUANTITY_MS, examples);
}

static void test_quantity_sizes(void **state)
{
    static const struct example examples[] = {
        { "65536", 65536 },
        { "100B", 100 },
        { "64K", 65536 },
        { "64k", 65536 },
        { "64KiB", 65536 },
        { "64M", 67108864 },
        { "64MiB", 67108864 },
        { "10G", INT64_C(10737418240) },
        { "10GiB", INT64_C(10737418240) },
        { "2T", INT64_C(2199023255552) },
        { "64kB", 64000 },
        { "64KB", 64000 },
        { "64MB", 64000000 },
        { "1GB", 1000000000 },
        { "1TB", INT64_C(1000000000000) },
        { "64m", untouched },
        { "64Mi", untouched },
        { "64MIB", untouched },
        { "64P", untouched },
        { "64 M", untouched },
        { "64s", untouched },
        { "M", untouched },
        { "0x10", untouched },
        { "1e3", untouched },
    };

    (void)state;
    CHECK(SP_QUANTITY_BYTES, examples);
}

static void test_quantity_counts_have_no_unit(void **state)
{
    static const struct example examples[] = { { "7", 7 },
                                               { "7K", untouched },
                                               { "7s", untouched } };

    (void)state;
    CHECK(SP_QUANTITY_COUNT, examples);
}

static void test_quantity_what_does_not_fit_is_refused(void **state)
{
    static const struct example times[] = {
        { "9223372036854775807", INT64_MAX },
        { "9223372036854775808", untouched },
        { "99999999999999999999999999", untouched },
        { "106751991167d", INT64_C(106751991167) * 86400000 },
        { "106751991168d", untouched },
    };
    static const struct example sizes[] = {
        { "8388607T", INT64_C(8388607) << 40 },
        { "8388608T", untouched },
        { "9007199254740991KiB", INT64_C(9007199254740991) << 10 },
        { "9007199254740992KiB", untouched },
    };

    (void)state;
    CHECK(SP_QUANTITY_MS, times);
    CHECK(SP_QUANTITY_BYTES, sizes);
}

/* `size` bounds the text, which need not end with a NUL. */
static void test_quantity_text_is_as_long_as_it_is_said(void **state)
{
    int64_t value = 0;

    (void)state;
    assert_true(sp_quantity_read(SP_QUANTITY_MS, "30s5", 3, &value));
    assert_int_equal(value, 30000);
    assert_true(sp_quantity_read(SP_QUANTITY_MS, "30s5", 2, &value));
    assert_int_equal(value, 30);
    assert_false(sp_quantity_read(SP_QUANTITY_MS, "30s5", 0, &value));
}

static void test_quantity_is_printed_exactly(void **state)
{
    static const struct {
        enum sp_quantity quantity;
        int64_t value;
        const char *text;
    } cases[] = {
        { SP_QUANTITY_MS, 604800000, "7d" },
        { SP_QUANTITY_MS, 90000, "90s" },
        { SP_QUANTITY_MS, 86400001, "86400001ms" },
        { SP_QUANTITY_MS, 0, "" },
        { SP_QUANTITY_MS, -1, "" },
        { SP_QUANTITY_BYTES, 67108864, "64MiB" },
        { SP_QUANTITY_BYTES, 1114112, "1088KiB" },
        { SP_QUANTITY_BYTES, INT64_C(1) << 50, "1024TiB" },
        { SP_QUANTITY_BYTES, 1000, "1000B" },
        { SP_QUANTITY_BYTES, INT64_MAX, "9223372036854775807B" },
        { SP_QUANTITY_COUNT, 1024, "" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[SP_QUANTITY_TEXT_SIZE] = "?";
        bool said = sp_quantity_print(cases[i].quantity, cases[i].value, text);

        assert_string_equal(text, cases[i].text);
        assert_int_equal(said, text[0] != '\0');
        if (said) {
            assert_int_equal(read_as(cases[i].quantity, text), cases[i].value);
        }
    }
}

static void test_quantity_follows_from_the_name(void **state)
{
    (void)state;
    assert_int_equal(sp_quantity_of("retention.ms"), SP_QUANTITY_MS);
    assert_int_equal(sp_quantity_of("segment.bytes"), SP_QUANTITY_BYTES);
    assert_int_equal(sp_quantity_of("storage.compaction.bytes.per.s"), SP_QUANTITY_BYTES);
    assert_int_equal(sp_quantity_of("moves.bytes.per.second"), SP_QUANTITY_BYTES);
    assert_int_equal(sp_quantity_of("limits.connections"), SP_QUANTITY_COUNT);
    assert_int_equal(sp_quantity_of("items"), SP_QUANTITY_COUNT);
    assert_int_equal(sp_quantity_of(""), SP_QUANTITY_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantity_times),
        cmocka_unit_test(test_quantity_sizes),
        cmocka_unit_test(test_quantity_counts_have_no_unit),
        cmocka_unit_test(test_quantity_what_does_not_fit_is_refused),
        cmocka_unit_test(test_quantity_text_is_as_long_as_it_is_said),
        cmocka_unit_test(test_quantity_is_printed_exactly),
        cmocka_unit_test(test_quantity_follows_from_the_name),
    };
    return cmocka_run_group_tests_name("base/quantity", tests, NULL, NULL);
}
