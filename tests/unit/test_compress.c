#include "wire/compress.h"

#include <lz4frame.h>

#include "wire_test.h"

#define PLAIN_SIZE 300000
#define FRAME_SIZE (PLAIN_SIZE * 2) /* what the library wants to see, whatever it then uses */

static uint8_t plain[PLAIN_SIZE];

/* A frame of the library's own, with or without the content size. */
static size_t make_frame(uint8_t *frame, size_t capacity, size_t size, uint64_t content_size)
{
    LZ4F_preferences_t preferences = LZ4F_INIT_PREFERENCES;

    preferences.frameInfo.contentSize = content_size;
    preferences.frameInfo.contentChecksumFlag = LZ4F_contentChecksumEnabled;
    return LZ4F_compressFrame(frame, capacity, plain, size, &preferences);
}

static int decompress(const uint8_t *frame, size_t size, size_t size_max, size_t *out_size)
{
    uint8_t *bytes = NULL;
    int rv = sp_lz4_decompress(sp_bytes_of(frame, size), size_max, &bytes, out_size);

    if (rv == 0) {
        assert_memory_equal(bytes, plain, *out_size);
    }
    sp_mem_free(bytes);
    return rv;
}

static void test_compress_bound_is_exact(void **state)
{
    static uint8_t frame[FRAME_SIZE];
    static const size_t sizes[] = { 1, 4095, 4096, 4097, 65536, PLAIN_SIZE };

    (void)state;
    for (size_t i = 0; i < 2 * sizeof sizes / sizeof sizes[0]; i++) {
        size_t content = sizes[i / 2];
        size_t size = make_frame(frame, sizeof frame, content, i % 2 == 0 ? content : 0);
        size_t result = 0;

        assert_false(LZ4F_isError(size));
        assert_int_equal(decompress(frame, size, content, &result), 0);
        assert_int_equal(result, content);
        assert_int_equal(decompress(frame, size, content - 1, &result), SPATE_ERR_TOO_LARGE);
        assert_int_equal(decompress(frame, size, PLAIN_SIZE * 2, &result), 0);
    }
}

static void test_compress_round_trip(void **state)
{
    (void)state;
    for (size_t size = 0; size < PLAIN_SIZE; size = size * 3 + 1) {
        struct sp_buf packed;
        size_t result = 1;

        assert_int_equal(sp_lz4_compress(sp_bytes_of(plain, size), &packed), 0);
        assert_int_equal(decompress(packed.bytes, packed.size, PLAIN_SIZE, &result), 0);
        assert_int_equal(result, size);
        sp_buf_deinit(&packed);
    }
}

static void test_compress_every_truncated_prefix_is_corrupt(void **state)
{
    uint8_t frame[4096];
    size_t size = make_frame(frame, sizeof frame, 1000, 1000);
    size_t result = 0;

    (void)state;
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *copy = exact_copy(frame, cut);
        assert_int_equal(decompress(copy, cut, PLAIN_SIZE, &result), SPATE_ERR_CORRUPT);
        free(copy);
    }
    frame[size] = 0;
    assert_int_equal(decompress(frame, size + 1, PLAIN_SIZE, &result), SPATE_ERR_CORRUPT);
    frame[size - 1] ^= 1; /* the content checksum */
    assert_int_equal(decompress(frame, size, PLAIN_SIZE, &result), SPATE_ERR_CORRUPT);
}

static void test_compress_lying_content_size_refused(void **state)
{
    static uint8_t frame[FRAME_SIZE];
    uint8_t liar[64];
    LZ4F_preferences_t preferences = LZ4F_INIT_PREFERENCES;
    LZ4F_cctx *context = NULL;
    size_t result = 0;
    uint64_t live = sp_mem_live_bytes();
    size_t size = make_frame(frame, sizeof frame, 1000, 0);

    (void)state;
    /* A header that promises 1 GiB, then one that promises 64 MiB within a bound that allows it. */
    assert_false(LZ4F_isError(LZ4F_createCompressionContext(&context, LZ4F_VERSION)));
    preferences.frameInfo.contentSize = 1 << 30;
    size_t head = LZ4F_compressBegin(context, liar, sizeof liar, &preferences);
    assert_false(LZ4F_isError(head));
    assert_int_equal(decompress(liar, head, 64 << 20, &result), SPATE_ERR_TOO_LARGE);
    preferences.frameInfo.contentSize = 60 << 20;
    head = LZ4F_compressBegin(context, liar, sizeof liar, &preferences);
    memset(liar + head, 0, 4); /* the end mark */
    assert_int_equal(decompress(liar, head + 4, 64 << 20, &result), SPATE_ERR_CORRUPT);
    (void)LZ4F_freeCompressionContext(context);
    assert_int_equal(decompress(frame, size, PLAIN_SIZE, &result), 0);
    assert_int_equal(sp_mem_live_bytes(), live);
}

static uint8_t bomb[FRAME_SIZE];
static size_t bomb_size;

static int scenario(void)
{
    size_t result = 0;

    return decompress(bomb, bomb_size, PLAIN_SIZE, &result);
}

static void test_compress_survives_failing_allocations(void **state)
{
    (void)state;
    bomb_size = make_frame(bomb, sizeof bomb, PLAIN_SIZE, 0);
    check_every_allocation(scenario, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compress_bound_is_exact),
        cmocka_unit_test(test_compress_round_trip),
        cmocka_unit_test(test_compress_every_truncated_prefix_is_corrupt),
        cmocka_unit_test(test_compress_lying_content_size_refused),
        cmocka_unit_test(test_compress_survives_failing_allocations),
    };

    for (size_t i = 0; i < sizeof plain; i++) {
        plain[i] = (uint8_t)(i / 64 % 7);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
