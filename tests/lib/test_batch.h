/* Makes valid uncompressed RecordBatches (v2) for tests of layers that know nothing of encoding. */
#ifndef SP_TESTS_LIB_TEST_BATCH_H
#define SP_TESTS_LIB_TEST_BATCH_H

#include <stddef.h>
#include <stdint.h>

/* Bytes that a batch of `records` values of `value_size` bytes takes at most. */
size_t test_batch_size_max(unsigned records, size_t value_size);

/* Writes a batch of `records` (at least 1) records without keys whose values are `value_size` bytes
 * derived from `seed`, all at `timestamp_ms`, and returns its size. `bytes` has room for
 * test_batch_size_max. No producer id; base offset 0. */
size_t test_batch_make(
    uint8_t *bytes, unsigned records, size_t value_size, int64_t timestamp_ms, uint32_t seed);

#endif /* SP_TESTS_LIB_TEST_BATCH_H */
