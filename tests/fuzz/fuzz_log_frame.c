/* Fuzzes the storage frame: whatever passes the check must be what sealing its own header gives.
 * Length and checksums are made right first, since chance never gets past them. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "storage/log_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BATCH_SIZE_MIN 61

static void check(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void put_u32(uint8_t *bytes, uint32_t value, bool big_endian)
{
    for (unsigned i = 0; i < 4; i++) {
        bytes[i] = (uint8_t)(value >> (big_endian ? 24 - 8 * i : 8 * i));
    }
}

static void mend_batch(uint8_t *batch, size_t size)
{
    if (size >= BATCH_SIZE_MIN) {
        put_u32(batch + 8, (uint32_t)size - 12, true);
        put_u32(batch + 17, sp_crc32c(0, batch + 21, size - 21), true);
    }
}

/* The first byte chooses what is mended, and how many bytes of padding there are. */
static void mend(uint8_t *bytes, size_t size, uint8_t choice)
{
    size_t padding = choice >> 5;

    if (size < SP_LOG_FRAME_HEADER_SIZE + padding) {
        return;
    }
    uint8_t *payload = bytes + SP_LOG_FRAME_HEADER_SIZE;
    size_t length = size - SP_LOG_FRAME_HEADER_SIZE - padding;
    size_t covered = length;
    if ((choice & 1) != 0) {
        put_u32(bytes + 4, (uint32_t)length, false);
    }
    if ((choice & 2) != 0) {
        mend_batch(payload, length);
    }
    if ((choice & 4) != 0) {
        bool compacted = bytes[2] == SP_LOG_FRAME_COMPACTED && bytes[3] == 0;
        if (bytes[1] == SP_FRAME_BATCH && !compacted && length > SP_BATCH_COVERED_SIZE) {
            covered = SP_BATCH_COVERED_SIZE;
        }
        put_u32(bytes + 40, sp_crc32c(sp_crc32c(0, bytes, 40), payload, covered), false);
    }
}

/* All but the chain, which depends on the frame before. */
static void check_sealed(const uint8_t *bytes, const struct sp_log_frame *frame)
{
    size_t size = sp_log_frame_size(frame->length);
    struct sp_log_frame sealed = *frame;
    uint8_t *copy = malloc(size);

    check(copy != NULL);
    memcpy(copy, bytes, size);
    sp_log_frame_seal(&sealed, 0, copy);
    check(memcmp(copy, bytes, SP_LOG_FRAME_HEADER_SIZE - 4) == 0);
    check(memcmp(copy + SP_LOG_FRAME_HEADER_SIZE,
                 bytes + SP_LOG_FRAME_HEADER_SIZE,
                 size - SP_LOG_FRAME_HEADER_SIZE) == 0);
    check(sp_log_frame_verify(copy, size, &sealed) == 0);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sp_log_frame frame;
    struct sp_log_frame decoded;
    struct sp_batch_facts facts;

    if (size < 1) {
        return 0;
    }
    size -= 1;
    uint8_t *bytes = malloc(size > 0 ? size : 1);
    check(bytes != NULL);
    memcpy(bytes, data + 1, size);
    mend(bytes, size, data[0]);
    int head = sp_log_frame_decode(bytes, size, &decoded);
    int whole = sp_log_frame_verify(bytes, size, &frame);
    check(whole != 0 || head == 0);
    if (whole == 0) {
        check(sp_log_frame_size(frame.length) <= size);
        if (!frame.compacted) {
            check_sealed(bytes, &frame); /* a compacted one is made of another */
        }
    }
    if (whole == 0 && frame.kind == SP_FRAME_BATCH) {
        sp_batch_facts_read(sp_log_frame_payload(bytes), &facts);
        check(facts.record_count > 0 || frame.compacted);
    }
    free(bytes);
    return 0;
}
