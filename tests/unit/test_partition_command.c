#include "broker/partition_command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "spate/error.h"

static void test_partition_command_has_golden_bytes_and_comes_back(void **state)
{
    static const uint8_t golden[] = { 0x93, 1, 0xcd, 0x03, 0xe8, 5 };
    struct sp_partition_command command = { .kind = SP_PARTITION_FENCE_PRODUCER,
                                            .producer_id = 1000,
                                            .producer_epoch = 5 };
    struct sp_partition_command read = { .producer_id = -1 };
    struct sp_buf bytes;

    (void)state;
    sp_buf_init(&bytes, 64);
    assert_int_equal(sp_partition_command_encode(&command, &bytes), 0);
    assert_int_equal(bytes.size, sizeof golden);
    assert_memory_equal(bytes.bytes, golden, sizeof golden);
    assert_int_equal(sp_partition_command_decode(bytes.bytes, bytes.size, &read), 0);
    assert_int_equal(read.kind, SP_PARTITION_FENCE_PRODUCER);
    assert_int_equal(read.producer_id, 1000);
    assert_int_equal(read.producer_epoch, 5);
    for (size_t size = 0; size < sizeof golden; size++) {
        assert_int_equal(sp_partition_command_decode(golden, size, &read), SPATE_ERR_CORRUPT);
    }
    sp_buf_deinit(&bytes);
}

static void test_partition_command_trim_has_golden_bytes_and_comes_back(void **state)
{
    static const uint8_t golden[] = { 0x92, 2, 0xcd, 0x03, 0xe8 };
    struct sp_partition_command command = { .kind = SP_PARTITION_TRIM, .offset = 1000 };
    struct sp_partition_command read = { .offset = -1 };
    struct sp_buf bytes;

    (void)state;
    sp_buf_init(&bytes, SP_PARTITION_COMMAND_BYTES_MAX);
    assert_int_equal(sp_partition_command_encode(&command, &bytes), 0);
    assert_int_equal(bytes.size, sizeof golden);
    assert_memory_equal(bytes.bytes, golden, sizeof golden);
    assert_int_equal(sp_partition_command_decode(bytes.bytes, bytes.size, &read), 0);
    assert_int_equal(read.kind, SP_PARTITION_TRIM);
    assert_int_equal(read.offset, 1000);
    for (size_t size = 0; size < sizeof golden; size++) {
        assert_int_equal(sp_partition_command_decode(golden, size, &read), SPATE_ERR_CORRUPT);
    }
    sp_buf_deinit(&bytes);
}

static void test_partition_command_hostile_bytes_are_refused(void **state)
{
    static const uint8_t bad[][6] = {
        { 0x93, 2, 7, 5, 0, 0 },          /* a trim with an element too many */
        { 0x92, 2, 0xff, 0, 0, 0 },       /* offset -1 */
        { 0x94, 1, 7, 5, 0, 0 },          /* an element too many */
        { 0x93, 1, 0xff, 5, 0, 0 },       /* producer -1 */
        { 0x93, 1, 7, 0xcd, 0x80, 0x00 }, /* an epoch above int16 */
        { 0x93, 1, 0xa1, 'x', 5, 0 },     /* a text */
    };
    static const size_t sizes[] = { 4, 3, 4, 4, 6, 5 };

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct sp_partition_command read = { .producer_id = -7 };
        assert_int_equal(sp_partition_command_decode(bad[i], sizes[i], &read), SPATE_ERR_CORRUPT);
        assert_int_equal(read.producer_id, -7);
    }
}

static void test_partition_command_of_a_newer_build_is_told_from_damage(void **state)
{
    static const uint8_t newer[] = { 0x95, 3, 7, 5, 0, 0 };
    struct sp_partition_command read = { .producer_id = -7 };

    (void)state;
    assert_int_equal(sp_partition_command_decode(newer, sizeof newer, &read),
                     SPATE_ERR_UNSUPPORTED);
    assert_int_equal(read.producer_id, -7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_partition_command_has_golden_bytes_and_comes_back),
        cmocka_unit_test(test_partition_command_trim_has_golden_bytes_and_comes_back),
        cmocka_unit_test(test_partition_command_hostile_bytes_are_refused),
        cmocka_unit_test(test_partition_command_of_a_newer_build_is_told_from_damage),
    };
    return cmocka_run_group_tests_name("broker/partition_command", tests, NULL, NULL);
}
