/* Reading records of assigned partitions in order, following leaders through failover. */
#ifndef SPATE_CONSUMER_H
#define SPATE_CONSUMER_H

#include "spate/client.h"

#ifdef __cplusplus
extern "C" {
#endif

struct spate_consumer;

#define SPATE_OFFSET_START (-2) /* the oldest record kept */
#define SPATE_OFFSET_END (-1)   /* behind the newest record */

/* One record, valid until the next call on its consumer. */
struct spate_message {
    const char *topic;
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms;
    const void *key; /* NULL: no key */
    size_t key_size;
    const void *value; /* NULL: no value */
    size_t value_size;
    const struct spate_header *headers;
    size_t header_count;
    int64_t high_watermark; /* offset behind the newest committed record, as of the last answer */
};

/* A consumer without partitions; the caller frees it with spate_consumer_free. SPATE_ERR_NOMEM. */
SPATE_API int spate_consumer_new(struct spate_client *client, struct spate_consumer **out_consumer);

/* Adds a partition, beginning at `offset` (or SPATE_OFFSET_START / _END). SPATE_ERR_EXISTS. */
SPATE_API int spate_consumer_assign(struct spate_consumer *consumer,
                                    const char *topic,
                                    int32_t partition,
                                    int64_t offset);

/* The next record of any assigned partition; each partition in order, partitions in turn. Waits up
 * to `timeout_ms` (0: what is there, -1: for ever). SPATE_ERR_AGAIN: nothing came in that time;
 * SPATE_ERR_OFFSET_OUT_OF_RANGE, SPATE_ERR_UNKNOWN_TOPIC, SPATE_ERR_CORRUPT concern one partition,
 * which is then paused; network trouble is retried and never reported here. */
SPATE_API int spate_consumer_next(struct spate_consumer *consumer,
                                  int timeout_ms,
                                  struct spate_message *out_message);

/* 1 when every assigned partition has delivered everything below the high watermark that it had at
 * the first fetch after this call was first made; for "read all there is, then stop". */
SPATE_API int spate_consumer_at_end(const struct spate_consumer *consumer);

/* Records behind: sum over partitions of high watermark minus position. */
SPATE_API int64_t spate_consumer_lag(const struct spate_consumer *consumer);

/* Stops fetching and forgets the consumer. NULL is fine. */
SPATE_API void spate_consumer_free(struct spate_consumer *consumer);

#ifdef __cplusplus
}
#endif

#endif /* SPATE_CONSUMER_H */
