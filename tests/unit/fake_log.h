/* The log and the producer table of one partition in memory, after the rules of D6, for tests of
 * libspate. */
#ifndef SP_UNIT_FAKE_LOG_H
#define SP_UNIT_FAKE_LOG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "spate/error.h"
#include "wire/batch.h"

enum {
    FAKE_BATCHES_MAX = 4096,
    FAKE_PRODUCERS_MAX = 64,
};

struct fake_batch {
    uint8_t *bytes;
    size_t size;
    int64_t base_offset;
    int32_t count;
};

struct fake_producer {
    int64_t id;
    int16_t epoch;
    int64_t records;
    int64_t last_offset;
    int32_t next_sequence;
    int32_t base_sequence[SP_PRODUCER_BATCHES_KEPT]; /* of the last batches, newest last */
    int64_t base_offset[SP_PRODUCER_BATCHES_KEPT];
    unsigned kept;
};

struct fake_log {
    struct fake_batch batches[FAKE_BATCHES_MAX];
    unsigned batch_count;
    int64_t next_offset;
    int64_t start;
    struct fake_producer producers[FAKE_PRODUCERS_MAX];
    unsigned producer_count;
    unsigned duplicate_count; /* batches that came again */
    size_t batch_bytes_max;   /* of new batches; 0: any */
    unsigned too_large_count; /* batches that were refused for it */
};

/* NULL: it has no records here. */
static inline struct fake_producer *fake_log_producer(struct fake_log *log, int64_t id)
{
    for (unsigned i = 0; i < log->producer_count; i++) {
        if (log->producers[i].id == id) {
            return &log->producers[i];
        }
    }
    return NULL;
}

static inline struct fake_producer *fake_log_producer_add(struct fake_log *log, int64_t id)
{
    assert_true(log->producer_count < FAKE_PRODUCERS_MAX);
    struct fake_producer *producer = &log->producers[log->producer_count++];
    *producer = (struct fake_producer){ .id = id, .last_offset = -1 };
    return producer;
}

/* A new epoch, whose sequences begin at 0. */
static inline void fake_producer_begin(struct fake_producer *producer, int16_t epoch)
{
    producer->epoch = epoch;
    producer->next_sequence = 0;
    producer->kept = 0;
}

static inline int64_t
fake_log_append(struct fake_log *log, const uint8_t *bytes, size_t size, int32_t count)
{
    assert_true(log->batch_count < FAKE_BATCHES_MAX);
    struct fake_batch *batch = &log->batches[log->batch_count++];
    batch->bytes = malloc(size);
    assert_non_null(batch->bytes);
    memcpy(batch->bytes, bytes, size);
    sp_batch_set_offset(batch->bytes, log->next_offset, 1);
    batch->size = size;
    batch->base_offset = log->next_offset;
    batch->count = count;
    log->next_offset += count;
    return batch->base_offset;
}

/* The rules of DESIGN D6 for one batch; 0 and its offset, or the refusal. */
static inline int
fake_log_store(struct fake_log *log, const uint8_t *bytes, size_t size, int64_t *out_offset)
{
    struct sp_batch_header header;

    assert_int_equal(sp_batch_validate(bytes, size, SP_BATCH_BYTES_MAX, &header), 0);
    struct fake_producer *producer = fake_log_producer(log, header.producer_id);
    if (producer == NULL) {
        if (header.base_sequence != 0) {
            return SPATE_ERR_UNKNOWN_PRODUCER;
        }
        producer = fake_log_producer_add(log, header.producer_id);
        producer->epoch = header.producer_epoch;
    }
    if (header.producer_epoch < producer->epoch) {
        return SPATE_ERR_PRODUCER_FENCED;
    }
    if (header.producer_epoch > producer->epoch && header.base_sequence == 0) {
        fake_producer_begin(producer, header.producer_epoch);
    }
    for (unsigned i = 0; i < producer->kept; i++) {
        if (producer->base_sequence[i] == header.base_sequence) {
            log->duplicate_count += 1;
            *out_offset = producer->base_offset[i];
            return 0;
        }
    }
    if (header.base_sequence != producer->next_sequence) {
        return SPATE_ERR_OUT_OF_ORDER_SEQUENCE;
    }
    if (log->batch_bytes_max > 0 && size > log->batch_bytes_max) {
        log->too_large_count += 1;
        return SPATE_ERR_TOO_LARGE;
    }
    if (producer->kept == SP_PRODUCER_BATCHES_KEPT) {
        producer->kept -= 1;
        memmove(producer->base_sequence, producer->base_sequence + 1, producer->kept * 4);
        memmove(producer->base_offset, producer->base_offset + 1, producer->kept * 8);
    }
    *out_offset = fake_log_append(log, bytes, size, header.record_count);
    producer->base_sequence[producer->kept] = header.base_sequence;
    producer->base_offset[producer->kept] = *out_offset;
    producer->kept += 1;
    producer->next_sequence += header.record_count;
    producer->records += header.record_count;
    producer->last_offset = *out_offset + header.record_count - 1;
    return 0;
}

/* Appends `count` records with values "prefix<offset>" as one batch. */
static inline void fake_log_fill(struct fake_log *log, int32_t count, enum sp_compression codec)
{
    struct sp_batch_builder builder;
    struct sp_buf out;

    sp_batch_builder_init(&builder, SP_BATCH_BYTES_MAX, codec);
    for (int32_t i = 0; i < count; i++) {
        char value[32];
        int size = snprintf(value, sizeof value, "value-%lld", (long long)log->next_offset + i);
        struct sp_record record = {
            .timestamp_ms = 1000 + log->next_offset + i,
            .value = sp_bytes_of(value, (size_t)size),
        };
        assert_int_equal(sp_batch_builder_add(&builder, &record), 0);
    }
    sp_buf_init(&out, SP_BATCH_BYTES_MAX);
    assert_int_equal(sp_batch_builder_finish(&builder, -1, -1, -1, &out), 0);
    (void)fake_log_append(log, out.bytes, out.size, count);
    sp_buf_deinit(&out);
    sp_batch_builder_deinit(&builder);
}

static inline void fake_log_free(struct fake_log *log)
{
    for (unsigned i = 0; i < log->batch_count; i++) {
        free(log->batches[i].bytes);
    }
}

#endif /* SP_UNIT_FAKE_LOG_H */
