/* The consumer's inside: one fetch in flight per partition, at most two answers waiting to be read.
 *
 *   advance -> [offsets] -> fetch(long poll) -> fetched, fetched -> batch -> record -> the user
 *                ^             |                   (checked: no gap, no step back)
 *                '-- refused, lost: pause, look for the leader, the same offset again
 *
 * Invariants:
 *  I1  Offsets leave in order without a gap: each record's offset is `position`, which then grows
 *      by one (control records of a transaction are passed over and counted).
 *  I2  fetch_offset is behind the last batch that was fetched; nothing is fetched twice.
 *  I3  At most FETCHED_MAX answers wait per partition: a slow reader stops the fetching. */
#ifndef SP_CLIENT_CONSUMER_H
#define SP_CLIENT_CONSUMER_H

#include "client/client.h"
#include "client/metadata.h"
#include "spate/consumer.h"
#include "wire/batch.h"

#define SP_CONSUMER_FETCHED_MAX 2

/* The batches of one answer. */
struct sp_fetched {
    struct sp_list node;
    size_t size;
    size_t position; /* of the next batch to read */
    uint8_t bytes[];
};

struct sp_consumer_partition {
    struct spate_consumer *consumer;
    struct sp_topic_view *topic;
    uint32_t index;
    int64_t topic_id;

    bool resolved; /* `fetch_offset` is a true offset */
    int64_t start; /* as assigned: an offset or SPATE_OFFSET_* */
    int64_t fetch_offset;
    int64_t position;
    int32_t epoch; /* of the last batch fetched; -1: none */

    struct sp_rpc_call call;
    bool running;
    bool call_for_end; /* the fetch began after the user asked for the end */
    struct sp_connection *leader;
    uint64_t sent_ms;
    uint32_t wait_ms; /* that the running fetch lets the server wait */

    struct sp_list fetched;
    uint32_t fetched_count;
    struct sp_batch_reader reader;
    bool reading;
    size_t record_position; /* of the record read last, in the reader */

    int64_t high_watermark; /* -1: not known yet */
    int64_t end_offset;     /* that counts as the end, see spate_consumer_at_end; -1: not known */

    int error; /* the partition is paused */
    bool error_told;
    char text[SP_CLIENT_ERROR_SIZE];

    uint64_t metadata_needed;
    uint64_t retry_ms;
    uint64_t unknown_ms;
    uint32_t pause_ms;
    struct sp_timer timer;
};

/* What spate_consumer_at_end notes although its consumer is constant to the caller. */
struct sp_consumer_end {
    bool asked;
};

struct spate_consumer {
    struct spate_client *client;
    struct sp_client_part part;
    struct sp_metadata_observer observer;
    struct sp_consumer_partition **partitions;
    uint32_t partition_count;
    uint32_t turn; /* whose batch is read now */
    struct sp_buf params;
    struct spate_header *headers;
    size_t header_capacity;
    struct sp_consumer_end *end; /* owned */
};

/* ---- fetcher.c ---- */

/* Decides what the partition asks for next, and sets its timer. */
void sp_fetcher_advance(struct sp_consumer_partition *partition);

/* After a description of the topics. */
void sp_fetcher_on_metadata(struct sp_consumer_partition *partition);

/* Withdraws the call that is out. */
void sp_fetcher_stop(struct sp_consumer_partition *partition);

/* Pauses the partition for good with an error for the user. */
void sp_fetcher_fail(struct sp_consumer_partition *partition, int status, const char *text);

void sp_fetcher_init(struct sp_consumer_partition *partition);

#endif /* SP_CLIENT_CONSUMER_H */
