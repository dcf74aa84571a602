#include "tests/lib/test_batch.h"

#include <string.h>

#include "base/crc32c.h"

#define HEADER_SIZE 61
#define RECORD_OVERHEAD_MAX 32 /* five varints of 5 bytes, attributes, rounded up */

static void put_be(uint8_t *bytes, uint64_t value, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        bytes[i] = (uint8_t)(value >> (8 * (count - 1 - i)));
    }
}

static uint8_t *put_varint(uint8_t *bytes, int64_t value)
{
    uint64_t zigzag = (uint64_t)value << 1 ^ (value < 0 ? UINT64_MAX : 0);

    while (zigzag >= 0x80) {
        *bytes = (uint8_t)(zigzag | 0x80);
        bytes += 1;
        zigzag >>= 7;
    }
    *bytes = (uint8_t)zigzag;
    return bytes + 1;
}

size_t test_batch_size_max(unsigned records, size_t value_size)
{
    return HEADER_SIZE + records * (RECORD_OVERHEAD_MAX + value_size);
}

static uint8_t *put_record(uint8_t *bytes, unsigned number, size_t value_size, uint32_t *seed)
{
    uint8_t head[RECORD_OVERHEAD_MAX];
    uint8_t *end = head;

    *end = 0; /* attributes */
    end = put_varint(end + 1, 0);
    end = put_varint(end, number);
    end = put_varint(end, -1); /* no key */
    end = put_varint(end, (int64_t)value_size);
    bytes = put_varint(bytes, (int64_t)((size_t)(end - head) + value_size + 1));
    memcpy(bytes, head, (size_t)(end - head));
    bytes += end - head;
    for (size_t i = 0; i < value_size; i++) {
        *seed = *seed * 1664525 + 1013904223;
        bytes[i] = (uint8_t)(*seed >> 24);
    }
    return put_varint(bytes + value_size, 0); /* no headers */
}

size_t test_batch_make(
    uint8_t *bytes, unsigned records, size_t value_size, int64_t timestamp_ms, uint32_t seed)
{
    uint8_t *end = bytes + HEADER_SIZE;

    memset(bytes, 0, HEADER_SIZE);
    for (unsigned i = 0; i < records; i++) {
        end = put_record(end, i, value_size, &seed);
    }
    size_t size = (size_t)(end - bytes);
    put_be(bytes + 8, size - 12, 4);
    bytes[16] = 2;
    put_be(bytes + 23, records - 1, 4);
    put_be(bytes + 27, (uint64_t)timestamp_ms, 8);
    put_be(bytes + 35, (uint64_t)timestamp_ms, 8);
    put_be(bytes + 43, UINT64_MAX, 8);
    put_be(bytes + 51, UINT16_MAX, 2);
    put_be(bytes + 53, UINT32_MAX, 4);
    put_be(bytes + 57, records, 4);
    put_be(bytes + 17, sp_crc32c(0, bytes + 21, size - 21), 4);
    return size;
}
