/* Inside wire/batch*.c only: places of the header fields, big-endian numbers, and the steps that
 * validation and reading share. */
#ifndef SP_WIRE_BATCH_FORMAT_H
#define SP_WIRE_BATCH_FORMAT_H

#include <string.h>

#include "wire/batch.h"

enum batch_position {
    BATCH_BASE_OFFSET = 0,
    BATCH_LENGTH = 8,
    BATCH_LEADER_EPOCH = 12,
    BATCH_MAGIC = 16,
    BATCH_CRC = 17,
    BATCH_ATTRIBUTES = 21, /* the crc covers everything from here */
    BATCH_LAST_OFFSET_DELTA = 23,
    BATCH_BASE_TIMESTAMP = 27,
    BATCH_MAX_TIMESTAMP = 35,
    BATCH_PRODUCER_ID = 43,
    BATCH_PRODUCER_EPOCH = 51,
    BATCH_BASE_SEQUENCE = 53,
    BATCH_RECORD_COUNT = 57,
};

#define BATCH_LENGTH_EXCESS 12 /* bytes of a batch that its length field does not count */
#define BATCH_VERSION 2
#define BATCH_COMPRESSION_MASK 0x07
#define BATCH_LOG_APPEND_TIME 0x08
#define BATCH_TRANSACTIONAL 0x10
#define BATCH_CONTROL 0x20

static inline uint64_t batch_get(const uint8_t *bytes, size_t size)
{
    uint64_t value = 0;

    for (size_t i = 0; i < size; i++) {
        value = value << 8 | bytes[i];
    }
    return value;
}

static inline void batch_put(uint8_t *bytes, size_t size, uint64_t value)
{
    for (size_t i = size; i > 0; i--) {
        bytes[i - 1] = (uint8_t)value;
        value >>= 8;
    }
}

/* Everything that validation and reading check alike before they look at records: that `bytes` is
 * exactly one batch, its crc and its counts. Errors as sp_batch_validate without INVALID. */
int sp_batch_check(const uint8_t *bytes, size_t size, struct sp_batch_header *out_header);

/* sp_batch_reader_init for a batch that sp_batch_check has accepted. */
int sp_batch_reader_open(struct sp_batch_reader *reader,
                         const struct sp_batch_header *header,
                         const uint8_t *bytes,
                         size_t decompressed_max_bytes);

#endif /* SP_WIRE_BATCH_FORMAT_H */
