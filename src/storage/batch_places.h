/* Where the fields of a RecordBatch v2 stand; integers are big-endian. Included only inside
 * src/storage. */
#ifndef SP_STORAGE_BATCH_PLACES_H
#define SP_STORAGE_BATCH_PLACES_H

enum {
    BATCH_AT_BASE_OFFSET = 0,
    BATCH_AT_LENGTH = 8,
    BATCH_AT_LEADER_EPOCH = 12,
    BATCH_AT_MAGIC = 16,
    BATCH_AT_CRC = 17,
    BATCH_AT_ATTRIBUTES = 21,
    BATCH_AT_LAST_OFFSET_DELTA = 23,
    BATCH_AT_BASE_TIMESTAMP = 27,
    BATCH_AT_MAX_TIMESTAMP = 35,
    BATCH_AT_PRODUCER_ID = 43,
    BATCH_AT_PRODUCER_EPOCH = 51,
    BATCH_AT_BASE_SEQUENCE = 53,
    BATCH_AT_COUNT = 57,
};

#define BATCH_LENGTH_BEGIN 12 /* batchLength counts the bytes after itself */
#define BATCH_MAGIC 2

#endif /* SP_STORAGE_BATCH_PLACES_H */
