/* CRC32C: slice-by-8 tables, and three interleaved streams of the processor's own instruction.
 *
 * The instruction takes three cycles but one can start in every cycle, so three neighbouring blocks
 * are summed at once and then merged: appending n zero bytes to a checksum is a linear map of its
 * 32 bits, kept as four tables, and crc(a b) = zeros(crc(a), size of b) ^ crc(b).
 *
 * All tables are linear too (entry n is the xor of the entries of n's bits), so the source holds
 * eight numbers of each and the compiler does the rest. */
#include "base/crc32c.h"

#include <stdbool.h>
#include <string.h>

#include "base/attr.h"

#define BIT(n, bit, value) ((((n) >> (bit)) & 1u) * (value))
#define ENTRY(n, a, b, c, d, e, f, g, h)                                                           \
    BIT(n, 0, a) ^ BIT(n, 1, b) ^ BIT(n, 2, c) ^ BIT(n, 3, d) ^ BIT(n, 4, e) ^ BIT(n, 5, f) ^      \
        BIT(n, 6, g) ^ BIT(n, 7, h)
#define ENTRIES_4(n, ...)                                                                          \
    ENTRY(n, __VA_ARGS__), ENTRY((n) + 1u, __VA_ARGS__), ENTRY((n) + 2u, __VA_ARGS__),             \
        ENTRY((n) + 3u, __VA_ARGS__)
#define ENTRIES_16(n, ...)                                                                         \
    ENTRIES_4(n, __VA_ARGS__), ENTRIES_4((n) + 4u, __VA_ARGS__), ENTRIES_4((n) + 8u, __VA_ARGS__), \
        ENTRIES_4((n) + 12u, __VA_ARGS__)
#define ENTRIES_64(n, ...)                                                                         \
    ENTRIES_16(n, __VA_ARGS__), ENTRIES_16((n) + 16u, __VA_ARGS__),                                \
        ENTRIES_16((n) + 32u, __VA_ARGS__), ENTRIES_16((n) + 48u, __VA_ARGS__)
#define TABLE(...)                                                                                 \
    {                                                                                              \
        ENTRIES_64(0u, __VA_ARGS__), ENTRIES_64(64u, __VA_ARGS__), ENTRIES_64(128u, __VA_ARGS__),  \
            ENTRIES_64(192u, __VA_ARGS__)                                                          \
    }

/* slices[k][n]: what byte n contributes when k more bytes follow it. */
/* clang-format off */
static const uint32_t slices[8][256] = {
    TABLE(0xf26b8303, 0xe13b70f7, 0xc79a971f, 0x8ad958cf,
          0x105ec76f, 0x20bd8ede, 0x417b1dbc, 0x82f63b78),
    TABLE(0x13a29877, 0x274530ee, 0x4e8a61dc, 0x9d14c3b8,
          0x3fc5f181, 0x7f8be302, 0xff17c604, 0xfbc3faf9),
    TABLE(0xa541927e, 0x4f6f520d, 0x9edea41a, 0x38513ec5,
          0x70a27d8a, 0xe144fb14, 0xc76580d9, 0x8b277743),
    TABLE(0xdd45aab8, 0xbf672381, 0x7b2231f3, 0xf64463e6,
          0xe964b13d, 0xd725148b, 0xaba65fe7, 0x52a0c93f),
    TABLE(0x38116fac, 0x7022df58, 0xe045beb0, 0xc5670b91,
          0x8f2261d3, 0x1ba8b557, 0x37516aae, 0x6ea2d55c),
    TABLE(0xef306b19, 0xdb8ca0c3, 0xb2f53777, 0x6006181f,
          0xc00c303e, 0x85f4168d, 0x0e045beb, 0x1c08b7d6),
    TABLE(0x68032cc8, 0xd0065990, 0xa5e0c5d1, 0x4e2dfd53,
          0x9c5bfaa6, 0x3d5b83bd, 0x7ab7077a, 0xf56e0ef4),
    TABLE(0x493c7d27, 0x9278fa4e, 0x211d826d, 0x423b04da,
          0x847609b4, 0x0d006599, 0x1a00cb32, 0x34019664),
};
/* clang-format on */

static uint64_t load_le64(const uint8_t *bytes)
{
    uint64_t word = 0;

    for (unsigned i = 0; i < 8; i++) {
        word |= (uint64_t)bytes[i] << (8 * i);
    }
    return word;
}

uint32_t sp_crc32c_portable(uint32_t seed, const void *bytes, size_t size)
{
    const uint8_t *next = bytes;
    uint32_t crc = ~seed;

    for (; size >= 8; size -= 8, next += 8) {
        uint64_t word = load_le64(next) ^ crc;
        crc = slices[7][word & 0xff] ^ slices[6][word >> 8 & 0xff] ^ slices[5][word >> 16 & 0xff] ^
              slices[4][word >> 24 & 0xff] ^ slices[3][word >> 32 & 0xff] ^
              slices[2][word >> 40 & 0xff] ^ slices[1][word >> 48 & 0xff] ^ slices[0][word >> 56];
    }
    for (; size > 0; size--, next++) {
        crc = crc >> 8 ^ slices[0][(crc ^ *next) & 0xff];
    }
    return ~crc;
}

#if defined(__x86_64__)

#include <nmmintrin.h>

#define HARDWARE_TARGET SP_TARGET("sse4.2")
#define CRC_STEP_64(crc, word) _mm_crc32_u64(crc, word)
#define CRC_STEP_8(crc, byte) _mm_crc32_u8(crc, byte)
typedef uint64_t crc_register;

static bool hardware_available(void)
{
    return __builtin_cpu_supports("sse4.2");
}

#elif defined(__aarch64__) && defined(__linux__)

#include <arm_acle.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>

#define HARDWARE_TARGET SP_TARGET("+crc")
#define CRC_STEP_64(crc, word) __crc32cd(crc, word)
#define CRC_STEP_8(crc, byte) __crc32cb(crc, byte)
typedef uint32_t crc_register;

static bool hardware_available(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
}

#endif

#if defined(HARDWARE_TARGET)

enum {
    BLOCK = 512, /* bytes of one stream between merges; `zeros` belongs to it */
};

/* zeros[k][n]: byte k of a checksum being n, after BLOCK zero bytes. */
/* clang-format off */
static const uint32_t zeros[4][256] = {
    TABLE(0xbd6f81f8, 0x7f337501, 0xfe66ea02, 0xf921a2f5,
          0xf7af331b, 0xeab210c7, 0xd088577f, 0xa4fcd80f),
    TABLE(0x4c15c6ef, 0x982b8dde, 0x35bb6d4d, 0x6b76da9a,
          0xd6edb534, 0xa8371c99, 0x55824fc3, 0xab049f86),
    TABLE(0x53e549fd, 0xa7ca93fa, 0x4a795105, 0x94f2a20a,
          0x2c0932e5, 0x581265ca, 0xb024cb94, 0x65a5e1d9),
    TABLE(0xcb4bc3b2, 0x937bf195, 0x231b95db, 0x46372bb6,
          0x8c6e576c, 0x1d30d829, 0x3a61b052, 0x74c360a4),
};
/* clang-format on */

static uint32_t append_block_of_zeros(uint32_t crc)
{
    return zeros[0][crc & 0xff] ^ zeros[1][crc >> 8 & 0xff] ^ zeros[2][crc >> 16 & 0xff] ^
           zeros[3][crc >> 24];
}

static uint64_t load_native64(const uint8_t *bytes)
{
    uint64_t word;

    memcpy(&word, bytes, sizeof word);
    return word;
}

HARDWARE_TARGET static uint32_t hardware_three_blocks(uint32_t crc, const uint8_t *bytes)
{
    crc_register first = crc;
    crc_register second = 0;
    crc_register third = 0;

    for (size_t i = 0; i < BLOCK; i += 8) {
        first = CRC_STEP_64(first, load_native64(bytes + i));
        second = CRC_STEP_64(second, load_native64(bytes + BLOCK + i));
        third = CRC_STEP_64(third, load_native64(bytes + 2 * BLOCK + i));
    }
    crc = append_block_of_zeros((uint32_t)first) ^ (uint32_t)second;
    return append_block_of_zeros(crc) ^ (uint32_t)third;
}

HARDWARE_TARGET static uint32_t hardware(uint32_t seed, const uint8_t *next, size_t size)
{
    uint32_t crc = ~seed;

    for (; size >= 3 * BLOCK; size -= 3 * BLOCK, next += 3 * BLOCK) {
        crc = hardware_three_blocks(crc, next);
    }
    crc_register sum = crc;
    for (; size >= 8; size -= 8, next += 8) {
        sum = CRC_STEP_64(sum, load_native64(next));
    }
    crc = (uint32_t)sum;
    for (; size > 0; size--, next++) {
        crc = CRC_STEP_8(crc, *next);
    }
    return ~crc;
}

uint32_t sp_crc32c(uint32_t seed, const void *bytes, size_t size)
{
    return hardware_available() ? hardware(seed, bytes, size)
                                : sp_crc32c_portable(seed, bytes, size);
}

#else

uint32_t sp_crc32c(uint32_t seed, const void *bytes, size_t size)
{
    return sp_crc32c_portable(seed, bytes, size);
}

#endif
