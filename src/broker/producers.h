/* The producers that a partition knows: last sequence, epoch, where the last batches went, and how
 * much each has stored (D6).
 *
 *   batch (id, epoch, sequence)  ->  counted, its place kept
 *   fence (id, epoch)            ->  older epochs are over; sequences begin at 0, counts go on
 *
 * Part of the partition's machine state: changed by applied frames only, equal on every replica.
 * Bounded; a producer that has been silent for long (by append times, never by a clock) makes room
 * for a new one: SP_PRODUCER_EXPIRY_MS, or SP_PRODUCER_NAMED_EXPIRY_MS for one that was fenced and
 * has records here, so that it may come back for them. What was forgotten of the latter is never
 * taken for nothing: see `records`.
 *
 * Who goes is decided by applying, who may come by the leader. In a full table without any that may
 * come back, applying drops the longest silent one whatever its silence was: there the leader takes
 * SP_PRODUCER_CROWDED_MS for long. With such ones in it applying would drop one of them instead. */
#ifndef SP_BROKER_PRODUCERS_H
#define SP_BROKER_PRODUCERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"
#include "base/list.h"
#include "storage/log_frame.h"
#include "wire/cursor.h"
#include "wire/pack.h"

#define SP_PRODUCER_EXPIRY_MS (24 * 3600 * 1000)
#define SP_PRODUCER_CROWDED_MS (15 * 60 * 1000)
#define SP_PRODUCER_NAMED_EXPIRY_MS (INT64_C(30) * 24 * 3600 * 1000)

struct sp_producers;

/* One batch that is in the log. */
struct sp_producer_batch {
    int32_t base_sequence;
    int32_t record_count;
    int64_t base_offset;
    int64_t term;
};

struct sp_producer {
    int64_t producer_id;
    int16_t epoch;
    int64_t last_append_ms; /* of a batch or a fence */
    int64_t records;        /* stored here in all epochs; -1: not known, some may be forgotten */
    int64_t last_offset;    /* of the last of them; -1: none */
    bool fenced;            /* at least once: it has a name and may come back */
    unsigned batch_count;   /* of this epoch */
    struct sp_producer_batch batches[SP_PRODUCER_BATCHES_KEPT]; /* oldest first */
    struct sp_list node;                                        /* by last append, oldest first */
};

/* NULL when memory is out; freeing NULL is fine. */
struct sp_producers *sp_producers_new(void);
void sp_producers_free(struct sp_producers *producers);

/* The producer, or NULL. */
const struct sp_producer *sp_producers_find(const struct sp_producers *producers,
                                            int64_t producer_id);

/* True if one of them has a name and records, and may come back for them. */
bool sp_producers_have_named(const struct sp_producers *producers);

/* True if it has been silent for so long that it may make room for another one; `unnamed_ms`: what
 * is long for one that was never fenced. */
bool sp_producer_expired(const struct sp_producer *producer,
                         int64_t append_time_ms,
                         int64_t unnamed_ms);

/* True if another producer cannot be taken in at `append_time_ms`, after `coming` more. */
bool sp_producers_full(const struct sp_producers *producers,
                       unsigned coming,
                       int64_t append_time_ms,
                       int64_t unnamed_ms);

/* Sequence that follows `batch`; sequences count records and wrap at 2^31. */
int32_t sp_producer_next_sequence(const struct sp_producer_batch *batch);

/* Takes an applied batch in. SPATE_ERR_NOMEM. */
int sp_producers_apply(struct sp_producers *producers,
                       const struct sp_batch_facts *facts,
                       int64_t term,
                       int64_t append_time_ms);

/* Takes an applied fence in: batches of older epochs must not come any more. A producer that is not
 * known is from here on, so that a leftover of it cannot begin anew. A fence of an older epoch than
 * the producer has does nothing, one of the same epoch only shows life. SPATE_ERR_NOMEM. */
int sp_producers_fence(struct sp_producers *producers,
                       int64_t producer_id,
                       int16_t epoch,
                       int64_t append_time_ms);

/* The table as one MessagePack value, the same bytes on every replica; and back, of version 2 or of
 * version 1, which had no counts and no fences. SPATE_ERR_CORRUPT, SPATE_ERR_NOMEM: the table is
 * then empty. */
void sp_producers_encode(const struct sp_producers *producers, struct sp_pack *pack);
#define SP_PRODUCERS_VERSION 2
int sp_producers_decode(struct sp_producers *producers, unsigned version, struct sp_cursor *cursor);

#endif /* SP_BROKER_PRODUCERS_H */
