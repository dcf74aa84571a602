/* Whether a numbered batch may enter the log (D6): pure, no I/O, no time of its own.
 *
 *   table (applied)          in flight (appended, not yet applied)
 *   [s0][s1][s2][s3][s4]     [s5][s6]            s7: APPEND
 *     STORED, first answer    IN_FLIGHT: wait     s8: OUT_OF_ORDER_SEQUENCE
 *   before s0: EXISTS                            older epoch: PRODUCER_FENCED
 *
 * The applied table and the leader's own batches in flight are the whole truth: a leader serves
 * only after its own term's first commit is applied, so there are no others in the log.
 *
 * Fences are in flight like batches. Behind one the older epochs are over, in the order of the log:
 *
 *   table (epoch 1)   in flight
 *   [s0][s1]          [s2 of epoch 1][fence: epoch 2]     s3 of epoch 1: PRODUCER_FENCED
 *                                                         s2 of epoch 1: IN_FLIGHT, it came before
 *                                                         s0 of epoch 2: APPEND */
#ifndef SP_BROKER_SEQUENCES_H
#define SP_BROKER_SEQUENCES_H

#include <stdbool.h>

#include "base/list.h"
#include "broker/producers.h"
#include "wire/batch.h"

/* A batch or a fence on its way through Raft; embedded by its owner, in a list in order of
 * index. */
struct sp_flight {
    struct sp_list node;
    int64_t producer_id; /* -1: not numbered */
    int16_t producer_epoch;
    bool fence;                     /* and no batch */
    struct sp_producer_batch batch; /* all zero for a fence */
};

enum sp_verdict {
    SP_VERDICT_APPEND,
    SP_VERDICT_IN_FLIGHT, /* `flight` is the first one: it gets the same answer */
    SP_VERDICT_STORED,    /* `stored` is the first one: answer what it got */
    SP_VERDICT_REFUSED,   /* `code` says why */
};

struct sp_judgement {
    enum sp_verdict verdict;
    struct sp_flight *flight;
    const struct sp_producer_batch *stored; /* borrowed from the table */
    int code;             /* SPATE_ERR_EXISTS: stored before, but its offset is no longer kept;
               * _OUT_OF_ORDER_SEQUENCE, _UNKNOWN_PRODUCER, _PRODUCER_FENCED; _BUSY: a producer that
               * is new here or was silent for long, and the table is full */
    int16_t newest_epoch; /* _PRODUCER_FENCED: whose turn it is */
};

/* Judges the batch of `header`, which has a producer id, as if appended at `append_time_ms`. */
void sp_sequences_judge(const struct sp_producers *producers,
                        const struct sp_list *flights,
                        const struct sp_batch_header *header,
                        int64_t append_time_ms,
                        struct sp_judgement *out_judgement);

/* Whether a fence may enter the log, as if appended at `append_time_ms`: 0, SPATE_ERR_BUSY as
 * above, or SPATE_ERR_PRODUCER_FENCED: a newer epoch, in *out_newest_epoch, was there before. */
int sp_sequences_judge_fence(const struct sp_producers *producers,
                             const struct sp_list *flights,
                             const struct sp_flight *fence,
                             int64_t append_time_ms,
                             int16_t *out_newest_epoch);

#endif /* SP_BROKER_SEQUENCES_H */
