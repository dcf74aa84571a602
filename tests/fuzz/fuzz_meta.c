/* Fuzzes a copy of the meta log: scanning never reads outside, and what it calls valid can be
 * walked. The header and, as far as lengths lead, the batches' checksums are mended first. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "storage/meta_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int condition)
{
    if (!condition) {
        abort();
    }
}

static uint64_t get(const uint8_t *bytes, unsigned count)
{
    uint64_t value = 0;

    for (unsigned i = count; i > 0; i--) {
        value = value << 8 | bytes[i - 1];
    }
    return value;
}

static void mend(uint8_t *bytes, size_t size)
{
    if (size < SP_META_HEADER_SIZE) {
        return;
    }
    uint32_t chain = sp_meta_header_encode(bytes);
    size_t position = SP_META_HEADER_SIZE;
    while (size - position >= SP_META_BATCH_HEADER_SIZE) {
        uint8_t *batch = bytes + position;
        uint64_t length = get(batch, 4) % 4 * SP_META_RECORD_SIZE;

        if (length > size - position - SP_META_BATCH_HEADER_SIZE) {
            return;
        }
        chain = sp_meta_batch_seal(
            batch, (uint32_t)length, get(batch + 8, 8), get(batch + 16, 8), chain);
        position += SP_META_BATCH_HEADER_SIZE + (size_t)length;
    }
}

static int count_record(void *arg, const struct sp_meta_record *record)
{
    check(record->type >= SP_META_IDENTITY && record->type <= SP_META_RUN);
    *(size_t *)arg += 1;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sp_meta_scan scan;
    size_t count = 0;
    uint8_t *bytes = malloc(size > 0 ? size : 1);

    check(bytes != NULL);
    if (size > 0) {
        memcpy(bytes, data, size);
    }
    if (size > 0 && (bytes[size - 1] & 1) != 0) {
        mend(bytes, size);
    }
    sp_meta_scan(bytes, size, &scan);
    check(scan.size <= size);
    if (scan.header_valid) {
        (void)sp_meta_each(bytes, scan.size, count_record, &count); /* an unknown type ends it */
        check(count <= size / SP_META_RECORD_SIZE);
    }
    free(bytes);
    return 0;
}
