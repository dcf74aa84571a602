/* Whether a numbered batch may enter the log (D6): pure, no I/O, no time of its own.
 *
 *   table (applied)          in flight (appended, not yet applied)
 *   [s0][s1][s2][s3][s4]     [s5][s6]            s7: APPEND
 *     STORED, first answer    IN_FLIGHT: wait     s8: OUT_OF_ORDER_SEQUENCE
 *   before s0: EXISTS                            older epoch: PRODUCER_FENCED
 *
 * The applied table and the leader's own batches in flight are the whole truth: a leader serves
 * only after its own term's first commit is applied, so there are no others in the log. */
#ifndef SP_BROKER_SEQUENCES_H
#define SP_BROKER_SEQUENCES_H

#include "base/list.h"
#include "broker/producers.h"
#include "wire/batch.h"

/* A batch on its way through Raft; embedded by its owner, in a list in order of offset. */
struct sp_flight {
    struct sp_list node;
    int64_t producer_id; /* -1: not numbered */
    int16_t producer_epoch;
    struct sp_producer_batch batch;
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
    int code; /* SPATE_ERR_EXISTS: stored before, but its offset is no longer kept;
               * _OUT_OF_ORDER_SEQUENCE, _UNKNOWN_PRODUCER, _PRODUCER_FENCED; _BUSY: a producer that
               * is new here, and the table is full */
};

/* Judges the batch of `header`, which has a producer id, as if appended at `append_time_ms`. */
void sp_sequences_judge(const struct sp_producers *producers,
                        const struct sp_list *flights,
                        const struct sp_batch_header *header,
                        int64_t append_time_ms,
                        struct sp_judgement *out_judgement);

#endif /* SP_BROKER_SEQUENCES_H */
