#include "base/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"

#ifdef SP_TEST_WITH_ISAL
#include <isa-l/crc.h>
#endif

enum {
    BYTES = 64 * 1024,
    ROUNDS = 3000,
};

static uint8_t bytes[BYTES];

static void fill(struct sp_rand *rand)
{
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)sp_rand_next(rand);
    }
}

static void check(const void *text, size_t size, uint32_t expected)
{
    assert_int_equal(sp_crc32c(0, text, size), expected);
    assert_int_equal(sp_crc32c_portable(0, text, size), expected);
}

/* RFC 3720, appendix B.4, and the check value of the catalogue. */
static void test_crc32c_golden_vectors(void **state)
{
    static const uint8_t read_command[48] = {
        0x01, 0xc0, 0, 0,    0, 0, 0, 0,    0,    0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 4, 0,
        0,    0,    0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 2,    0, 0, 0, 0, 0, 0, 0,
    };
    uint8_t block[32];

    (void)state;
    check("123456789", 9, 0xe3069283);
    check("", 0, 0);
    memset(block, 0, sizeof block);
    check(block, sizeof block, 0x8a9136aa);
    memset(block, 0xff, sizeof block);
    check(block, sizeof block, 0x62a8ab43);
    for (unsigned i = 0; i < sizeof block; i++) {
        block[i] = (uint8_t)i;
    }
    check(block, sizeof block, 0x46dd794e);
    for (unsigned i = 0; i < sizeof block; i++) {
        block[i] = (uint8_t)(31 - i);
    }
    check(block, sizeof block, 0x113fdb5c);
    check(read_command, sizeof read_command, 0xd9963a56);
}

static void test_crc32c_hardware_equals_portable(void **state)
{
    struct sp_rand rand;

    (void)state;
    sp_rand_init(&rand, 1);
    fill(&rand);
    for (unsigned i = 0; i < ROUNDS; i++) {
        size_t start = sp_rand_below(&rand, 64);
        size_t size_max = i % 2 == 0 ? 200 : 8000;
        size_t size = sp_rand_below(&rand, size_max);
        uint32_t seed = (uint32_t)sp_rand_next(&rand);
        assert_int_equal(sp_crc32c(seed, bytes + start, size),
                         sp_crc32c_portable(seed, bytes + start, size));
    }
    assert_int_equal(sp_crc32c(9, bytes, sizeof bytes), sp_crc32c_portable(9, bytes, sizeof bytes));
}

static void test_crc32c_continues_from_seed(void **state)
{
    struct sp_rand rand;

    (void)state;
    sp_rand_init(&rand, 2);
    fill(&rand);
    for (size_t cut = 0; cut < 4000; cut += 37) {
        uint32_t head = sp_crc32c(0, bytes, cut);
        assert_int_equal(sp_crc32c(head, bytes + cut, 5000 - cut), sp_crc32c(0, bytes, 5000));
    }
}

static void test_crc32c_agrees_with_isal(void **state)
{
    (void)state;
#ifdef SP_TEST_WITH_ISAL
    struct sp_rand rand;

    sp_rand_init(&rand, 3);
    fill(&rand);
    for (unsigned i = 0; i < ROUNDS; i++) {
        size_t start = sp_rand_below(&rand, 64);
        size_t size = 1 + sp_rand_below(&rand, 9000);
        assert_int_equal(sp_crc32c(0, bytes + start, size),
                         ~crc32_iscsi(bytes + start, (int)size, ~0u));
    }
#else
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c_golden_vectors),
        cmocka_unit_test(test_crc32c_hardware_equals_portable),
        cmocka_unit_test(test_crc32c_continues_from_seed),
        cmocka_unit_test(test_crc32c_agrees_with_isal),
    };
    return cmocka_run_group_tests_name("base/crc32c", tests, NULL, NULL);
}
