#include "wire/pack.h"

#include <msgpack.h>

#include "wire_test.h"

static void pack_everything(struct sp_pack *pack)
{
    sp_pack_array(pack, 14);
    sp_pack_nil(pack);
    sp_pack_bool(pack, true);
    sp_pack_bool(pack, false);
    sp_pack_uint(pack, 200);
    sp_pack_int(pack, -33);
    sp_pack_int(pack, 5);
    sp_pack_double(pack, 1.5);
    sp_pack_text(pack, "ab");
    sp_pack_text(pack, NULL);
    sp_pack_str(pack, sp_bytes_of("c", 1));
    sp_pack_bin(pack, sp_bytes_of("de", 2));
    sp_pack_bin(pack, sp_bytes_null());
    sp_pack_map(pack, 1);
    sp_pack_uint(pack, UINT64_MAX);
    sp_pack_int(pack, INT64_MIN);
    sp_pack_bin_header(pack, 3);
    sp_pack_raw(pack, sp_bytes_of("xyz", 3));
}

/* By hand from the specification. */
static const uint8_t everything[] = {
    0x9e, 0xc0, 0xc3, 0xc2, 0xcc, 200,  0xd0, 0xdf, 5,    0xcb, 0x3f, 0xf8, 0,    0,
    0,    0,    0,    0,    0xa2, 'a',  'b',  0xc0, 0xa1, 'c',  0xc4, 2,    'd',  'e',
    0xc0, 0x81, 0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xd3, 0x80, 0,
    0,    0,    0,    0,    0,    0,    0xc4, 3,    'x',  'y',  'z',
};

static void test_pack_every_type_has_golden_bytes(void **state)
{
    struct sp_buf buf;
    struct sp_pack pack;

    (void)state;
    sp_buf_init(&buf, 1024);
    sp_pack_init(&pack, &buf);
    pack_everything(&pack);
    assert_int_equal(sp_pack_status(&pack), 0);
    assert_int_equal(buf.size, sizeof everything);
    assert_memory_equal(buf.bytes, everything, sizeof everything);
    sp_buf_deinit(&buf);
}

static void test_pack_bound_sticks(void **state)
{
    (void)state;
    for (size_t bound = 1; bound < sizeof everything; bound++) {
        struct sp_buf buf;
        struct sp_pack pack;

        sp_buf_init(&buf, bound);
        sp_pack_init(&pack, &buf);
        pack_everything(&pack);
        assert_int_equal(sp_pack_status(&pack), SPATE_ERR_TOO_LARGE);
        assert_true(buf.size <= bound);
        assert_memory_equal(buf.bytes, everything, buf.size);
        sp_buf_deinit(&buf);
    }
}

static void test_pack_first_error_is_kept(void **state)
{
    struct sp_buf buf;
    struct sp_pack pack;

    (void)state;
    sp_buf_init(&buf, 16);
    sp_pack_init(&pack, &buf);
    sp_pack_fail(&pack, SPATE_ERR_INVALID);
    sp_pack_fail(&pack, SPATE_ERR_BUSY);
    sp_pack_nil(&pack);
    assert_int_equal(sp_pack_status(&pack), SPATE_ERR_INVALID);
    assert_int_equal(buf.size, 0);
    sp_buf_deinit(&buf);
}

static void test_pack_more_than_32_bits_refused(void **state)
{
    struct sp_buf buf;
    struct sp_pack pack;
    size_t count = (size_t)UINT32_MAX + 1;

    (void)state;
    sp_buf_init(&buf, 16);
    sp_pack_init(&pack, &buf);
    sp_pack_bin_header(&pack, count);
    assert_int_equal(sp_pack_status(&pack), SPATE_ERR_TOO_LARGE);
    sp_pack_init(&pack, &buf);
    sp_pack_array(&pack, count);
    assert_int_equal(sp_pack_status(&pack), SPATE_ERR_TOO_LARGE);
    sp_pack_init(&pack, &buf);
    sp_pack_map(&pack, count);
    assert_int_equal(sp_pack_status(&pack), SPATE_ERR_TOO_LARGE);
    assert_int_equal(buf.size, 0);
    sp_buf_deinit(&buf);
}

static int scenario(void)
{
    struct sp_buf buf;
    struct sp_pack pack;

    sp_buf_init(&buf, 1024);
    sp_pack_init(&pack, &buf);
    pack_everything(&pack);
    sp_buf_deinit(&buf);
    return sp_pack_status(&pack);
}

static void test_pack_failing_allocation_sticks(void **state)
{
    (void)state;
    check_every_allocation(scenario, 1);
}

/* The library that clients use reads it back. */
static void test_pack_msgpack_c_reads_it(void **state)
{
    struct sp_buf buf;
    struct sp_pack pack;
    msgpack_unpacked unpacked;
    size_t offset = 0;

    (void)state;
    sp_buf_init(&buf, 1024);
    sp_pack_init(&pack, &buf);
    sp_pack_map(&pack, 1);
    sp_pack_text(&pack, "n");
    sp_pack_int(&pack, -70000);
    msgpack_unpacked_init(&unpacked);
    assert_int_equal(msgpack_unpack_next(&unpacked, (const char *)buf.bytes, buf.size, &offset),
                     MSGPACK_UNPACK_SUCCESS);
    assert_int_equal(unpacked.data.type, MSGPACK_OBJECT_MAP);
    assert_int_equal(unpacked.data.via.map.ptr[0].val.via.i64, -70000);
    msgpack_unpacked_destroy(&unpacked);
    sp_buf_deinit(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pack_every_type_has_golden_bytes),
        cmocka_unit_test(test_pack_bound_sticks),
        cmocka_unit_test(test_pack_first_error_is_kept),
        cmocka_unit_test(test_pack_more_than_32_bits_refused),
        cmocka_unit_test(test_pack_failing_allocation_sticks),
        cmocka_unit_test(test_pack_msgpack_c_reads_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
