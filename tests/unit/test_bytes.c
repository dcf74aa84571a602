#include "wire/bytes.h"

#include "wire_test.h"

static void test_bytes_null_and_empty_differ(void **state)
{
    (void)state;
    check_null(sp_bytes_null());
    check_null(sp_bytes_text(NULL));
    check_bytes(sp_bytes_text(""), "");
    check_bytes(sp_bytes_of(NULL, 0), "");
    assert_false(sp_bytes_equal(sp_bytes_null(), sp_bytes_null()));
    assert_false(sp_bytes_equal_text(sp_bytes_null(), ""));
    assert_true(sp_bytes_equal_text(sp_bytes_text(""), ""));
    assert_true(sp_bytes_equal_text(sp_bytes_text("ab"), "ab"));
    assert_false(sp_bytes_equal_text(sp_bytes_text("ab"), "abc"));
    assert_false(sp_bytes_equal_text(sp_bytes_text("ab"), "ac"));
}

static void test_bytes_utf8_valid_sequences_accepted(void **state)
{
    /* The first and last character of every length, and around the surrogates. */
    static const char *const texts[] = {
        "",
        "plain",
        "\x01\x7f",
        "\xc2\x80\xdf\xbf",
        "\xe0\xa0\x80\xef\xbf\xbf",
        "\xed\x9f\xbf\xee\x80\x80",
        "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf",
        "gr\xc3\xbc\xc3\x9f\x65",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_true(sp_utf8_valid(sp_bytes_text(texts[i])));
    }
    assert_true(sp_utf8_valid(sp_bytes_of("a\0b", 3)));
}

static void test_bytes_utf8_invalid_sequences_refused(void **state)
{
    static const char *const texts[] = {
        "\x80",             /* continuation without a lead */
        "\xc0\x80",         /* overlong NUL */
        "\xc1\xbf",         /* overlong */
        "\xc3",             /* cut short */
        "\xc3(",            /* no continuation */
        "\xe0\x9f\xbf",     /* overlong */
        "\xed\xa0\x80",     /* surrogate */
        "\xe2\x82",         /* cut short */
        "\xe2\x82(",        /* no continuation */
        "\xf0\x8f\xbf\xbf", /* overlong */
        "\xf4\x90\x80\x80", /* above U+10FFFF */
        "\xf5\x80\x80\x80", /* above U+10FFFF */
        "\xff",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_false(sp_utf8_valid(sp_bytes_text(texts[i])));
    }
    assert_false(sp_utf8_valid(sp_bytes_null()));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_null_and_empty_differ),
        cmocka_unit_test(test_bytes_utf8_valid_sequences_accepted),
        cmocka_unit_test(test_bytes_utf8_invalid_sequences_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
