#include "wire/compress.h"

#include <lz4frame.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "spate/error.h"

#define LZ4_RATIO_MAX 255 /* a byte of a long match stands for 255 bytes */
#define PLAIN_SIZE_MIN 4096

int sp_lz4_compress(struct sp_bytes plain, struct sp_buf *out_packed)
{
    LZ4F_preferences_t preferences = LZ4F_INIT_PREFERENCES;

    preferences.frameInfo.blockMode = LZ4F_blockIndependent;
    preferences.frameInfo.contentSize = plain.size;
    size_t bound = LZ4F_compressFrameBound(plain.size, &preferences);
    uint8_t *at = NULL;

    sp_buf_init(out_packed, bound);
    int rv = sp_buf_reserve(out_packed, bound, &at);
    if (rv != 0) {
        return rv;
    }
    size_t size = LZ4F_compressFrame(at, bound, plain.bytes, plain.size, &preferences);
    if (LZ4F_isError(size)) {
        sp_buf_deinit(out_packed);
        return SPATE_ERR_NOMEM; /* the destination is large enough, so nothing else can fail */
    }
    sp_buf_grow(out_packed, size);
    return 0;
}

/* What is decompressed so far. There is room for one byte more than allowed: so the decoder can
 * always reach its end mark, and a frame that is too large shows itself by filling that byte. */
struct plain {
    uint8_t *bytes;
    size_t size;
    size_t capacity;
    size_t capacity_max;
};

static int grow(struct plain *plain, size_t capacity)
{
    if (plain->capacity == plain->capacity_max) {
        return SPATE_ERR_TOO_LARGE;
    }
    if (capacity > plain->capacity_max) {
        capacity = plain->capacity_max;
    }
    uint8_t *bytes = sp_mem_realloc(plain->bytes, capacity);
    if (bytes == NULL) {
        return SPATE_ERR_NOMEM;
    }
    plain->bytes = bytes;
    plain->capacity = capacity;
    return 0;
}

static int translate(size_t lz4_error)
{
    const char *name = LZ4F_getErrorName(lz4_error);

    return strcmp(name, "ERROR_allocation_failed") == 0 ? SPATE_ERR_NOMEM : SPATE_ERR_CORRUPT;
}

/* Runs the decoder from `position` to the end of its frame. */
static int decode(LZ4F_dctx *context, struct sp_bytes packed, size_t position, struct plain *plain)
{
    for (;;) {
        int rv = plain->size < plain->capacity ? 0 : grow(plain, plain->capacity * 2);
        if (rv != 0) {
            return rv;
        }
        size_t consumed = packed.size - position;
        size_t produced = plain->capacity - plain->size;
        size_t hint = LZ4F_decompress(context,
                                      plain->bytes + plain->size,
                                      &produced,
                                      packed.bytes + position,
                                      &consumed,
                                      NULL);
        if (LZ4F_isError(hint)) {
            return translate(hint);
        }
        position += consumed;
        plain->size += produced;
        if (hint == 0) {
            return position == packed.size ? 0 : SPATE_ERR_CORRUPT;
        }
        if (consumed == 0 && produced == 0) {
            return SPATE_ERR_CORRUPT; /* there was room, so it waits for input that does not come */
        }
    }
}

/* Room to begin with: what the frame announces, but no more than its bytes can become. */
static size_t first_capacity(uint64_t content_size, size_t packed_size)
{
    uint64_t reach = (uint64_t)packed_size * LZ4_RATIO_MAX;
    uint64_t guess = content_size > 0 ? content_size : (uint64_t)packed_size * 4;

    if (guess > reach) {
        guess = reach;
    }
    return (size_t)(guess < PLAIN_SIZE_MIN ? PLAIN_SIZE_MIN : guess) + 1;
}

static int decompress(LZ4F_dctx *context, struct sp_bytes packed, struct plain *plain)
{
    LZ4F_frameInfo_t info;
    size_t position = packed.size;
    size_t hint = LZ4F_getFrameInfo(context, &info, packed.bytes, &position);

    if (LZ4F_isError(hint)) {
        return translate(hint);
    }
    if (info.contentSize >= plain->capacity_max) {
        return SPATE_ERR_TOO_LARGE;
    }
    int rv = grow(plain, first_capacity(info.contentSize, packed.size));
    if (rv == 0) {
        rv = decode(context, packed, position, plain);
    }
    if (rv == 0 && plain->size == plain->capacity_max) {
        rv = SPATE_ERR_TOO_LARGE;
    }
    return rv;
}

int sp_lz4_decompress(struct sp_bytes packed,
                      size_t size_max_bytes,
                      uint8_t **out_plain,
                      size_t *out_size)
{
    SP_ASSERT(size_max_bytes < SIZE_MAX / 2);
    struct plain plain = { .capacity_max = size_max_bytes + 1 };
    LZ4F_dctx *context = NULL;

    if (LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION))) {
        return SPATE_ERR_NOMEM;
    }
    int rv = decompress(context, packed, &plain);
    (void)LZ4F_freeDecompressionContext(context); /* says only where decoding stood */
    if (rv != 0) {
        sp_mem_free(plain.bytes);
        return rv;
    }
    *out_plain = plain.bytes;
    *out_size = plain.size;
    return 0;
}
