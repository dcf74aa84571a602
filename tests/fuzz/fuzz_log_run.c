/* Fuzzes runs of emptied frames: whatever expands packs again, and expands to the same frames.
 * Length, count and checksum are made right first, since chance never gets past them. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "spate/error.h"
#include "storage/log_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PREFIX_SIZE 64
#define SIZE_MAX_BYTES 8192

static void check(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void put_u32(uint8_t *bytes, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
}

/* The first byte chooses how many entries and how many bytes of padding there are. */
static void mend(uint8_t *bytes, size_t size, uint8_t choice)
{
    size_t padding = choice & 7;

    if (size < PREFIX_SIZE + padding) {
        return;
    }
    uint32_t length = (uint32_t)(size - SP_LOG_FRAME_HEADER_SIZE - padding);
    bytes[0] = 1;
    bytes[1] = SP_LOG_RUN_KIND;
    bytes[2] = 0;
    bytes[3] = 0;
    put_u32(bytes + 4, length);
    put_u32(bytes + 48, 2 + (choice >> 3));
    memset(bytes + size - padding, 0, padding);
    put_u32(bytes + 40,
            sp_crc32c(sp_crc32c(0, bytes, 40), bytes + SP_LOG_FRAME_HEADER_SIZE, length));
}

/* Packs the frames of `blob` and looks whether they come out again. */
static void round_trip(const struct sp_blob *blob)
{
    struct sp_log_run run;
    struct sp_blob *again = NULL;
    struct sp_buf out;

    sp_buf_init(&out, 1 << 20);
    sp_log_run_init(&run, 0);
    /* the chain before the first is in its run alone: its frame goes first, by itself */
    check(sp_log_run_put(&run, blob->bytes, SP_LOG_RUN_FRAME_SIZE, &out) == 0);
    check(sp_log_run_end(&run, &out) == 0);
    sp_buf_clear(&out);
    for (size_t i = SP_LOG_RUN_FRAME_SIZE; i < blob->size; i += SP_LOG_RUN_FRAME_SIZE) {
        check(sp_log_run_put(&run, blob->bytes + i, SP_LOG_RUN_FRAME_SIZE, &out) == 0);
    }
    check(sp_log_run_end(&run, &out) == 0);
    if (blob->size > 2 * SP_LOG_RUN_FRAME_SIZE) {
        check(sp_log_run_expand(out.bytes, out.size, &again) == 0);
        check(again->size == blob->size - SP_LOG_RUN_FRAME_SIZE);
        check(memcmp(again->bytes, blob->bytes + SP_LOG_RUN_FRAME_SIZE, again->size) == 0);
        sp_blob_unref(again);
    }
    sp_log_run_deinit(&run);
    sp_buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t bytes[SIZE_MAX_BYTES];
    struct sp_blob *blob = NULL;
    size_t run_size = 0;

    if (size < 1 || size - 1 > sizeof bytes) {
        return 0;
    }
    memcpy(bytes, data + 1, size - 1);
    mend(bytes, size - 1, data[0]);
    int rv = sp_log_run_expand(bytes, size - 1, &blob);
    check(rv == 0 || rv == SPATE_ERR_CORRUPT || rv == SPATE_ERR_AGAIN);
    if (rv != 0) {
        return 0;
    }
    check(sp_log_run_size(bytes, &run_size) == 0 && run_size <= size - 1);
    check(blob->size % SP_LOG_RUN_FRAME_SIZE == 0);
    for (size_t i = 0; i < blob->size; i += SP_LOG_RUN_FRAME_SIZE) {
        struct sp_log_frame frame;
        check(sp_log_frame_verify(blob->bytes + i, SP_LOG_RUN_FRAME_SIZE, &frame) == 0);
    }
    round_trip(blob);
    sp_blob_unref(blob);
    return 0;
}
