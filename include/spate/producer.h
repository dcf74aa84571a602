/* Sending records: batched per partition, each stored exactly once, in order.
 *
 * A producer has an id from the cluster and numbers its batches, so a retry after a lost answer or
 * a change of leader is recognised and never stored twice. A partition remembers a silent producer
 * for 15 minutes at least, also when 10,000 others crowd it: so a record is tried for 10 minutes at
 * most, and timeout.ms may not be longer. Batches of a partition are sent in order.
 *
 * A batch has at most batch.bytes, and no more than the topic takes (max.message.bytes); one record
 * may be as large as that alone. When the topic takes less than before, what is refused is sent
 * again in smaller batches; when it takes more, the next record that needs it finds out.
 *
 * A record that gets no answer within timeout.ms is reported as SPATE_ERR_TIMEOUT: it may be stored
 * or not. Records of the same partition behind it that were sent too share its fate and are
 * reported with it; those not sent yet go on under a new producer id. Any other code means: not
 * stored, and those behind go on. A program should ignore SIGPIPE, as with every use of sockets.
 *
 * With a name (producer.name) a producer goes on in a new process where an earlier one stopped,
 * killed or not: spate_producer_stored says how many records of the name a partition has. An
 * earlier one that still runs ends there with SPATE_ERR_PRODUCER_FENCED. What is stored is always
 * a beginning of what was produced for the partition: behind a record that failed nothing more is
 * stored, its successors fail with it, and spate_produce refuses further ones; a new producer of
 * the same name finds out what is stored, also of records whose outcome was unknown. For this a
 * program must send the same records to the same partitions in the same order each time, so it
 * chooses partitions by key or by number. */
#ifndef SPATE_PRODUCER_H
#define SPATE_PRODUCER_H

#include "spate/client.h"

#ifdef __cplusplus
extern "C" {
#endif

struct spate_producer;

#define SPATE_PARTITION_ANY (-1)

struct spate_record {
    const char *topic;
    int32_t partition;    /* SPATE_PARTITION_ANY: by murmur2 of the key, or sticky without a key */
    int64_t timestamp_ms; /* 0: now */
    const void *key;      /* NULL: no key */
    size_t key_size;
    const void *value; /* NULL: no value */
    size_t value_size;
    const struct spate_header *headers;
    size_t header_count;
};

/* What became of one record. */
struct spate_delivery {
    int status;        /* 0: stored; SPATE_ERR_TIMEOUT: the outcome is unknown */
    const char *topic; /* this and `text` are valid until the callback returns */
    int32_t partition;
    int64_t offset;   /* of this record; -1 unless stored */
    int64_t term;     /* of the leader that stored it */
    unsigned fsynced; /* replicas known to have it on disk */
    const char *text; /* reason of a failure */
    void *opaque;     /* as given to spate_produce */
};

typedef void (*spate_delivery_cb)(void *arg, const struct spate_delivery *delivery);

/* `cb` (may be NULL) runs once per record, inside spate_poll, spate_produce (never for that very
 * record) or spate_producer_flush. SPATE_ERR_NOMEM; SPATE_ERR_CANCELED: the client is being closed;
 * SPATE_ERR_INVALID: also when timeout.ms is above 600000. */
SPATE_API int spate_producer_new(struct spate_client *client,
                                 spate_delivery_cb cb,
                                 void *arg,
                                 struct spate_producer **out_producer);

/* Takes a copy of the record into a batch; delivery is reported later. SPATE_ERR_BUSY: buffer.bytes
 * are waiting: poll, then try again. SPATE_ERR_TOO_LARGE, SPATE_ERR_INVALID, SPATE_ERR_NOMEM;
 * SPATE_ERR_UNKNOWN_TOPIC when the cluster is known not to have it, SPATE_ERR_UNKNOWN_PARTITION.
 * The first record of a topic waits for the topic's description: also SPATE_ERR_UNREACHABLE,
 * SPATE_ERR_TIMEOUT. */
SPATE_API int
spate_produce(struct spate_producer *producer, const struct spate_record *record, void *opaque);

/* Sends one record at once and waits until its outcome is known, at most timeout.ms: 0 with its
 * offset in *out_offset (NULL: not wanted), or the code that its delivery would have had, or one of
 * spate_produce. The delivery callback does not run for it; it may run for others. */
SPATE_API int spate_produce_wait(struct spate_producer *producer,
                                 const struct spate_record *record,
                                 int64_t *out_offset);

/* How many records are stored in a partition under this producer's name, by all of its lives before
 * this producer, and the offset of the last of them (-1: none). The first call takes the partition
 * over and waits for the answer, at most timeout.ms; later ones give the same figures. Also
 * SPATE_ERR_INVALID: the producer has no name; SPATE_ERR_EXISTS: the name was used with another
 * producer.layout; SPATE_ERR_PRODUCER_FENCED: a later process has taken over; SPATE_ERR_TIMEOUT;
 * SPATE_ERR_UNKNOWN_PRODUCER: the partition may have forgotten some of it, after 30 days of
 * silence.
 */
SPATE_API int spate_producer_stored(struct spate_producer *producer,
                                    const char *topic,
                                    int32_t partition,
                                    int64_t *out_records,
                                    int64_t *out_offset);

/* The partition to which a record with this key goes, of `partitions` (at least 1); any thread. 0
 * for NULL, which is no key: such a record goes to any partition. */
SPATE_API uint32_t spate_partition_of_key(const void *key, size_t key_size, uint32_t partitions);

/* Batches that were sent a second time or more: a measure of trouble, not of loss. */
SPATE_API uint64_t spate_producer_retries(const struct spate_producer *producer);

/* Sends all and waits until every record is reported, those that other threads add meanwhile too,
 * or `timeout_ms` (-1: their own deadlines). SPATE_ERR_TIMEOUT: some are still waiting;
 * SPATE_ERR_CANCELED: the client closes. */
SPATE_API int spate_producer_flush(struct spate_producer *producer, int timeout_ms);

/* Records taken and not yet reported; of these, records of batches that were sent and have no
 * answer yet. */
SPATE_API size_t spate_producer_pending(const struct spate_producer *producer);
SPATE_API size_t spate_producer_in_flight(const struct spate_producer *producer);

/* Reports what is pending as SPATE_ERR_CANCELED (batches already sent may yet be stored). Allowed
 * inside its delivery callback: the rest is reported, and its memory goes, before the call that ran
 * the callback returns; one of spate_produce returns SPATE_ERR_CANCELED. The producer must not be
 * used any more. NULL is fine. */
SPATE_API void spate_producer_free(struct spate_producer *producer);

#ifdef __cplusplus
}
#endif

#endif /* SPATE_PRODUCER_H */
