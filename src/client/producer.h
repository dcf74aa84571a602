/* The producer's inside: records -> open batch -> sealed batches -> calls to the leader.
 *
 *                    one partition
 *   spate_produce -> [open] --full, linger--> [batch][batch][batch]...   oldest first
 *                                                |calls out: a prefix,  |
 *                                                |at most in_flight_max |
 *
 * Invariants:
 *  I1  Batches with a call out are a prefix of the list, sent in order on one connection.
 *  I2  While the partition has an identity, every batch of the list is numbered with it, without a
 *      gap, in the order of the list; a batch keeps its bytes through all retries, until the leader
 *      refuses it as too large: then its records keep their numbers, in smaller batches.
 *  I3  Whatever goes wrong with one batch, all calls of the partition are withdrawn and everything
 *      unanswered is sent again from the oldest on: the leader recognises what it has.
 *  I4  A batch is renumbered under a new identity only when it is certain that it was not stored
 *      under the old one. Otherwise it is reported as SPATE_ERR_TIMEOUT: outcome unknown. The new
 *      one is the next epoch of the old id, which fences whatever of it is still on its way.
 *  I5  Every record is reported exactly once: a batch leaves the list for `finished` once, and
 *      `finished` for the user's callback once.
 *  I6  A producer with a name has one identity in its life. A partition gets nothing of it before
 *      its takeover there is answered, and nothing after the first batch that failed: what is
 *      stored is always a beginning of what was produced. */
#ifndef SP_CLIENT_PRODUCER_H
#define SP_CLIENT_PRODUCER_H

#include "base/buf.h"
#include "base/rand.h"
#include "client/client.h"
#include "client/metadata.h"
#include "client/request.h"
#include "spate/producer.h"
#include "wire/batch.h"

struct sp_producer_partition;

struct sp_producer_identity {
    int64_t id;
    int16_t epoch;
    uint64_t number; /* counts the identities of this producer; 0: none */
};

struct sp_producer_batch {
    struct sp_list node; /* in partition->batches, then in producer->finished */
    struct sp_producer_partition *partition;
    struct sp_rpc_call call;
    struct sp_slice body; /* the encoded batch; dropped when it is finished */
    void **opaques;       /* one per record */
    int32_t count;
    size_t charged_bytes; /* of the producer's budget */
    uint64_t deadline_ms; /* of its oldest record */
    uint64_t sent_ms;     /* of the call that is out */
    bool running;         /* a call is out */
    bool attempted;       /* a call was made at least once */
    bool uncertain;       /* a call ended without word of its outcome */
    int last_status;      /* of the newest attempt; 0: none, or it runs */
    int status;           /* once finished */
    int64_t offset;
    int64_t term;
    unsigned fsynced;
    char *text; /* owned; NULL: none */
};

/* The begin of a producer with a name in one partition. */
struct sp_producer_takeover {
    struct sp_producer_partition *partition;
    struct sp_request request;
    struct sp_buf params;
    bool asked;
    bool done;
    int64_t records; /* stored under this name before */
    int64_t offset;  /* of the last of them; -1: none */
};

struct sp_producer_partition {
    struct spate_producer *producer;
    struct sp_topic_view *topic;
    uint32_t index;
    int64_t topic_id; /* that the batches were meant for */

    struct sp_batch_builder builder; /* the open batch */
    void **opaques;
    size_t opaque_capacity;
    size_t open_bytes;
    uint64_t open_due_ms;
    uint64_t open_deadline_ms;

    struct sp_list batches;
    uint32_t batch_count;
    uint32_t running_count;
    struct sp_connection *leader; /* to which the calls went that are out */

    struct sp_producer_identity identity;      /* number 0: to be taken */
    struct sp_producer_identity next_identity; /* number 0: from the producer */
    uint64_t identity_min;                     /* the number that one must have at least */
    int32_t next_sequence;

    struct sp_producer_takeover *takeover; /* NULL: not begun, or there is no name */
    bool takeover_wanted;                  /* although there is nothing to send yet */
    int ended;        /* why a producer with a name ended here; 0: it has not */
    char *ended_text; /* NULL: the code alone must do */

    size_t
        refused_bytes; /* a batch of that size was refused; 0: none, or the limit is told since */
    bool probing;      /* one batch at a time, until the leader takes one again */
    int refused; /* the newest refusal, if it is one of the whole partition; 0: none since then */
    uint64_t metadata_needed; /* sends again when this description has arrived */
    uint64_t retry_ms;        /* and not before this time */
    uint64_t unknown_ms;      /* since when the servers call the topic unknown; 0: they do not */
    uint32_t pause_ms;
    unsigned hints_followed; /* since the last success */
    struct sp_timer timer;
};

struct sp_producer_topic {
    struct sp_topic_view *view;
    struct sp_producer_partition **partitions; /* made at the first record of each */
    uint32_t partition_count;
    uint32_t sticky; /* where records without a key go now */
    bool sticky_chosen;
};

/* A call of spate_produce_wait, on its stack; its address is the record's opaque. */
struct sp_producer_wait {
    struct sp_list node;
    bool done;
    int status;
    int64_t offset;
    char text[SP_CLIENT_ERROR_SIZE];
};

struct spate_producer {
    struct spate_client *client;
    struct sp_client_part part;
    spate_delivery_cb cb;
    void *arg;
    struct sp_dispatcher dispatcher;
    struct sp_metadata_observer observer;
    struct sp_map *topics; /* name -> struct sp_producer_topic */
    struct sp_list finished;
    struct sp_list waits; /* of spate_produce_wait; its address marks records that have been told */
    struct sp_rand rand;
    struct sp_buf params;                 /* of the call being made */
    struct sp_producer_identity identity; /* the newest */
    struct sp_request identity_request;
    struct sp_buf identity_params;
    bool identity_refused; /* for good: the servers do not let this name in */
    bool identity_asked;
    uint64_t identity_retry_ms;
    int identity_status;
    char identity_text[SP_CLIENT_ERROR_SIZE];
    uint64_t taken_count;                 /* records taken */
    atomic_uint_least64_t reported_count; /* of these; written by the one thread that dispatches */
    size_t in_flight_count; /* records of batches that were sent and are not finished */
    size_t buffered_bytes;
    uint64_t retry_count; /* batches that were sent again */
    uint32_t flushing;    /* calls of spate_producer_flush */
    bool dispatching;
    uint64_t dispatching_thread; /* sp_client_thread of it */
    unsigned calls;              /* that report or wait, now */
    bool freed;                  /* by the user while there were some: the last of them ends it */
};

/* Keeps the producer until the end of the block, within SP_CLIENT_HOLD: for calls that run the
 * user's callback or wait, in which it may be freed. */
#define SP_PRODUCER_HOLD(producer)                                                                 \
    SP_CLEANUP(sp_producer_release)                                                                \
    struct spate_producer *const held_producer SP_UNUSED = sp_producer_hold(producer)

static inline struct spate_producer *sp_producer_hold(struct spate_producer *producer)
{
    producer->calls += 1;
    return producer;
}

/* ---- producer.c ---- */

/* The end of a call, see above; frees the producer if the user has freed it and no other call is
 * inside. */
void sp_producer_release(struct spate_producer *const *producer);

/* SPATE_ERR_CANCELED if the user has freed it. */
int sp_producer_check_alive(const struct spate_producer *producer);

/* Runs the user's callback for what is finished, unless it is running. */
void sp_producer_report(struct spate_producer *producer);

/* ---- producer_record.c ---- */

/* spate_produce, with its errors; `hurry`: does not wait for more records. */
int sp_producer_take(struct spate_producer *producer,
                     const struct spate_record *record,
                     void *opaque,
                     bool hurry);

/* ---- producer_wait.c ---- */

/* Tells the waiting calls whose records are in this finished batch. */
void sp_producer_tell_waits(struct sp_producer_batch *batch);

/* ---- producer_batch.c ---- */

/* Closes the open batch (at least one record) and puts it at the end of the list, numbered if the
 * partition has an identity. SPATE_ERR_NOMEM: it stays open. */
int sp_producer_seal(struct sp_producer_partition *partition);

/* Encodes what the builder holds into a slice of its own, which begins where its blob does.
 * SPATE_ERR_NOMEM. */
int sp_producer_encode(struct sp_batch_builder *builder,
                       const struct sp_producer_identity *identity,
                       int32_t sequence,
                       struct sp_slice *out_body);

/* Numbers all batches of the list with the partition's new identity, from 0. SPATE_ERR_NOMEM. */
int sp_producer_number(struct sp_producer_partition *partition);

/* Takes the batch off the list with this outcome; its call must not be out. `text` is copied. */
void sp_producer_finish(struct sp_producer_batch *batch, int status, const char *text);

/* Off the list already. */
void sp_producer_batch_free(struct sp_producer_batch *batch);

/* Withdraws the call that is out, and notes that its outcome is in doubt if it was sent. */
void sp_producer_withdraw(struct sp_producer_batch *batch);

/* ---- producer_split.c ---- */

/* The open batch is closed at this size: batch.bytes, or what the topic takes if that is less. */
size_t sp_producer_fill_bytes(const struct sp_producer_partition *partition);

/* The most that a batch of one record may have, before compression. */
size_t sp_producer_batch_bytes_max(const struct sp_producer_partition *partition);

/* True if the batch would be refused, as far as is known, and may be split unasked: it has records
 * to part, and is surely not stored. */
bool sp_producer_too_large(const struct sp_producer_batch *batch);

/* Puts smaller batches in the place of this one, which has at least two records and no call out;
 * they have its records, numbers, deadline and doubts. It stays as the first of them.
 * SPATE_ERR_NOMEM: it is as before. */
int sp_producer_split(struct sp_producer_batch *batch);

/* ---- producer_identity.c ---- */

/* Gives the partition an identity with a number of at least identity_min, or asks for one; true
 * when it has one. All partitions are advanced when the answer comes. */
bool sp_producer_identify(struct sp_producer_partition *partition);

/* ---- producer_takeover.c ---- */

/* True if producer.name is set. */
bool sp_producer_has_name(const struct spate_producer *producer);

/* True when the partition may be sent to: at once without a name, else when it has been taken over.
 * Asks for it otherwise; the partition is advanced when the answer comes. It must have an identity.
 */
bool sp_producer_take_over(struct sp_producer_partition *partition);

/* Gives up what is under way. NULL is fine. */
void sp_producer_takeover_free(struct sp_producer_takeover *takeover);

/* ---- producer_outcome.c ---- */

/* The loop's time. */
uint64_t sp_producer_now_ms(const struct sp_producer_partition *partition);

/* The first batch of the list, or NULL. */
struct sp_producer_batch *sp_producer_oldest(const struct sp_producer_partition *partition);

/* The callback of every produce call. */
void sp_producer_on_answer(
    struct sp_rpc_call *call, int status, const uint8_t *result, size_t size, const char *text);

/* The same of all batches: no call is out then. */
void sp_producer_withdraw_all(struct sp_producer_partition *partition);

/* Holds the partition until the topics were described anew. */
void sp_producer_look_for_leader(struct sp_producer_partition *partition);

/* What is numbered from now on belongs to the next epoch of its id, so that a batch without an
 * outcome that reaches a leader late, after newer ones, is fenced there (KIP-360). No call may be
 * out. */
void sp_producer_begin_epoch(struct sp_producer_partition *partition);

/* The servers call the topic unknown: true when they have done so for a while. */
bool sp_producer_unknown_for_long(struct sp_producer_partition *partition);

/* Finishes batches whose time is over. */
void sp_producer_expire(struct sp_producer_partition *partition);

/* Nothing more of a producer with a name goes to this partition: finishes all batches, the open one
 * too, with `status`, but those that may be stored already as SPATE_ERR_TIMEOUT; if `certain` none
 * can be. */
void sp_producer_end(struct sp_producer_partition *partition,
                     int status,
                     const char *text,
                     bool certain);

/* Finishes all batches, the open one too. */
void sp_producer_fail_all(struct sp_producer_partition *partition, int status, const char *text);

/* ---- producer_record.c ---- */

/* Where `record` goes; made if it is new. Waits for the topic's description until `deadline_ms`.
 * Errors as spate_produce, with the client's error text. */
int sp_producer_find_partition(struct spate_producer *producer,
                               const struct spate_record *record,
                               uint64_t deadline_ms,
                               struct sp_producer_topic **out_topic,
                               struct sp_producer_partition **out_partition);

/* ---- producer_partition.c ---- */

/* The partition `index` of the topic, empty. SPATE_ERR_NOMEM. */
int sp_producer_partition_new(struct spate_producer *producer,
                              struct sp_topic_view *topic,
                              uint32_t index,
                              struct sp_producer_partition **out_partition);

/* Frees it; no batch may be left. */
void sp_producer_partition_free(struct sp_producer_partition *partition);

/* Decides what happens next: expires, seals, numbers, sends, sets the timer. */
void sp_producer_advance(struct sp_producer_partition *partition);

/* Calls `each` for every partition in use. */
void sp_producer_each(struct spate_producer *producer,
                      void (*each)(struct sp_producer_partition *partition));

/* After a description of the topics: moves calls from a node that leads no more, then advances. */
void sp_producer_on_metadata(struct sp_producer_partition *partition);

#endif /* SP_CLIENT_PRODUCER_H */
