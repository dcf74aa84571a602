#include "server/json_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "spate/error.h"
#include "wire/pack.h"

static void check(const struct sp_buf *packed, int expected_rv, const char *expected)
{
    struct sp_buf text;

    sp_buf_init(&text, 4096);
    assert_int_equal(sp_json_text(sp_bytes_of(packed->bytes, packed->size), &text), expected_rv);
    if (expected_rv == 0) {
        assert_int_equal(text.size, strlen(expected));
        assert_memory_equal(text.bytes, expected, text.size);
    }
    sp_buf_deinit(&text);
}

static void pack_all_kinds(struct sp_pack *pack)
{
    sp_pack_map(pack, 6);
    sp_pack_text(pack, "text");
    sp_pack_text(pack, "a\"b\\c\nd\x01\xc3\xa4");
    sp_pack_text(pack, "numbers");
    sp_pack_array(pack, 3);
    sp_pack_int(pack, -1);
    sp_pack_int(pack, 0);
    sp_pack_int(pack, INT64_MAX);
    sp_pack_text(pack, "nil");
    sp_pack_nil(pack);
    sp_pack_text(pack, "empty");
    sp_pack_array(pack, 2);
    sp_pack_array(pack, 0);
    sp_pack_map(pack, 0);
    sp_pack_text(pack, "yes");
    sp_pack_bool(pack, true);
    sp_pack_text(pack, "inside");
    sp_pack_map(pack, 1);
    sp_pack_text(pack, "no");
    sp_pack_bool(pack, false);
}

static void test_json_text_of_every_kind(void **state)
{
    struct sp_buf packed;
    struct sp_pack pack;

    (void)state;
    sp_buf_init(&packed, 4096);
    sp_pack_init(&pack, &packed);
    pack_all_kinds(&pack);
    check(&packed,
          0,
          "{\"text\":\"a\\\"b\\\\c\\u000ad\\u0001\xc3\xa4\",\"numbers\":[-1,0,9223372036854775807],"
          "\"nil\":null,\"empty\":[[],{}],\"yes\":true,\"inside\":{\"no\":false}}");
    sp_buf_deinit(&packed);
}

static void test_json_text_refuses_what_json_has_not(void **state)
{
    struct sp_buf packed;
    struct sp_pack pack;

    (void)state;
    sp_buf_init(&packed, 4096);
    sp_pack_init(&pack, &packed);
    sp_pack_bin(&pack, sp_bytes_text("x"));
    check(&packed, SPATE_ERR_INVALID, NULL);
    sp_buf_clear(&packed);
    sp_pack_map(&pack, 1);
    sp_pack_int(&pack, 1); /* a key that is no text */
    sp_pack_int(&pack, 1);
    check(&packed, SPATE_ERR_INVALID, NULL);
    sp_buf_clear(&packed);
    check(&packed, SPATE_ERR_INVALID, NULL); /* nothing */
    sp_pack_int(&pack, 1);
    sp_pack_int(&pack, 1);
    check(&packed, SPATE_ERR_MALFORMED, NULL); /* two values */
    sp_buf_deinit(&packed);
}

static void test_json_text_bounds_its_depth(void **state)
{
    struct sp_buf packed;
    struct sp_pack pack;

    (void)state;
    sp_buf_init(&packed, 4096);
    sp_pack_init(&pack, &packed);
    for (unsigned i = 0; i < SP_JSON_DEPTH_MAX; i++) {
        sp_pack_array(&pack, 1);
    }
    sp_pack_int(&pack, 1);
    check(&packed, 0, "[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]");
    sp_buf_clear(&packed);
    for (unsigned i = 0; i <= SP_JSON_DEPTH_MAX; i++) {
        sp_pack_array(&pack, 1);
    }
    sp_pack_int(&pack, 1);
    check(&packed, SPATE_ERR_INVALID, NULL);
    sp_buf_deinit(&packed);
}

static void test_json_text_survives_failed_allocations(void **state)
{
    struct sp_buf packed;
    struct sp_pack pack;
    int rv = SPATE_ERR_NOMEM;

    (void)state;
    sp_buf_init(&packed, 4096);
    sp_pack_init(&pack, &packed);
    pack_all_kinds(&pack);
    for (uint64_t n = 1; rv != 0; n++) {
        struct sp_buf text;

        sp_buf_init(&text, 4096);
        sp_mem_fail_at(n);
        rv = sp_json_text(sp_bytes_of(packed.bytes, packed.size), &text);
        sp_mem_fail_at(0);
        assert_true(rv == 0 || rv == SPATE_ERR_NOMEM);
        sp_buf_deinit(&text);
    }
    sp_buf_deinit(&packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_text_of_every_kind),
        cmocka_unit_test(test_json_text_refuses_what_json_has_not),
        cmocka_unit_test(test_json_text_bounds_its_depth),
        cmocka_unit_test(test_json_text_survives_failed_allocations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
