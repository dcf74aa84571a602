#include "broker/sequences.h"

#include "spate/error.h"

/* What is known of the batch's producer, from its oldest kept batch to its newest in flight. */
struct trail {
    bool known;    /* there is a batch of the header's epoch */
    int16_t epoch; /* the newest seen */
    int32_t next;  /* the sequence that follows */
};

static bool same_batch(const struct sp_producer_batch *batch, const struct sp_batch_header *header)
{
    return batch->base_sequence == header->base_sequence &&
           batch->record_count == header->record_count;
}

/* Sequence distance in the circle of 2^31: negative when `sequence` lies behind `next`. */
static int32_t distance(int32_t sequence, int32_t next)
{
    int64_t ahead = ((int64_t)sequence - next) & INT32_MAX;

    return ahead > INT32_MAX / 2 ? (int32_t)(ahead - INT32_MAX - 1) : (int32_t)ahead;
}

/* True if it is one of the applied batches. */
static bool find_stored(const struct sp_producer *producer,
                        const struct sp_batch_header *header,
                        struct trail *trail,
                        struct sp_judgement *out)
{
    if (producer == NULL) {
        return false;
    }
    trail->epoch = producer->epoch;
    for (unsigned i = 0; i < producer->batch_count && header->producer_epoch == producer->epoch;
         i++) {
        if (same_batch(&producer->batches[i], header)) {
            *out = (struct sp_judgement){ .verdict = SP_VERDICT_STORED,
                                          .stored = &producer->batches[i] };
            return true;
        }
        trail->known = true;
        trail->next = sp_producer_next_sequence(&producer->batches[i]);
    }
    return false;
}

/* A fence of a newer epoch ends the trail; one that came again changes nothing. */
static void pass_fence(const struct sp_flight *fence, struct trail *trail)
{
    if (fence->producer_epoch != trail->epoch) {
        *trail = (struct trail){ .epoch = fence->producer_epoch };
    }
}

/* True if it is one of those in flight. */
static bool find_flight(const struct sp_list *flights,
                        const struct sp_batch_header *header,
                        struct trail *trail,
                        struct sp_judgement *out)
{
    SP_LIST_EACH (node, flights) {
        struct sp_flight *flight = SP_LIST_ENTRY(node, struct sp_flight, node);
        if (flight->producer_id != header->producer_id) {
            continue;
        }
        if (flight->fence) {
            pass_fence(flight, trail);
            continue;
        }
        trail->epoch = flight->producer_epoch;
        trail->known = flight->producer_epoch == header->producer_epoch;
        trail->next = trail->known ? sp_producer_next_sequence(&flight->batch) : 0;
        if (trail->known && same_batch(&flight->batch, header)) {
            *out = (struct sp_judgement){ .verdict = SP_VERDICT_IN_FLIGHT, .flight = flight };
            return true;
        }
    }
    return false;
}

/* Why a batch may not follow, or 0. */
static int refusal(const struct trail *trail, const struct sp_batch_header *header)
{
    if (header->producer_epoch < trail->epoch) {
        return SPATE_ERR_PRODUCER_FENCED;
    }
    if (header->base_sequence == trail->next) {
        return 0;
    }
    if (!trail->known) {
        return SPATE_ERR_UNKNOWN_PRODUCER;
    }
    return distance(header->base_sequence, trail->next) < 0 ? SPATE_ERR_EXISTS
                                                            : SPATE_ERR_OUT_OF_ORDER_SEQUENCE;
}

/* What is long a silence for a producer without a name. While one with a name is there, or may be
 * until what is judged is applied, applying may drop that one for another: see producers.h. */
static int64_t unnamed_expiry_ms(const struct sp_producers *producers,
                                 const struct sp_list *flights)
{
    if (sp_producers_have_named(producers)) {
        return SP_PRODUCER_EXPIRY_MS;
    }
    SP_LIST_EACH (node, flights) {
        const struct sp_flight *flight = SP_LIST_ENTRY(node, struct sp_flight, node);
        const struct sp_producer *producer =
            flight->producer_id < 0 ? NULL : sp_producers_find(producers, flight->producer_id);
        if (flight->fence || (producer != NULL && producer->fenced)) {
            return SP_PRODUCER_EXPIRY_MS;
        }
    }
    return SP_PRODUCER_CROWDED_MS;
}

/* Batches and fences in flight that may each need a place in the table when they are applied: of
 * producers that are not in it, or that may have lost theirs until then. */
static unsigned count_coming(const struct sp_producers *producers,
                             const struct sp_list *flights,
                             int64_t append_time_ms,
                             int64_t unnamed_ms)
{
    unsigned count = 0;

    SP_LIST_EACH (node, flights) {
        const struct sp_flight *flight = SP_LIST_ENTRY(node, struct sp_flight, node);
        const struct sp_producer *producer =
            flight->producer_id < 0 ? NULL : sp_producers_find(producers, flight->producer_id);
        if (flight->producer_id >= 0 &&
            (producer == NULL || sp_producer_expired(producer, append_time_ms, unnamed_ms))) {
            count += 1;
        }
    }
    return count;
}

/* True when a batch or fence of this producer (NULL: one that is new here) may find no place in the
 * table when it is applied: one that was silent for long may have lost its own until then. */
static bool lacks_place(const struct sp_producers *producers,
                        const struct sp_list *flights,
                        const struct sp_producer *producer,
                        int64_t append_time_ms)
{
    if (producer != NULL &&
        !sp_producer_expired(producer, append_time_ms, SP_PRODUCER_CROWDED_MS)) {
        return false;
    }
    int64_t unnamed_ms = unnamed_expiry_ms(producers, flights);
    return (producer == NULL || sp_producer_expired(producer, append_time_ms, unnamed_ms)) &&
           sp_producers_full(producers,
                             count_coming(producers, flights, append_time_ms, unnamed_ms),
                             append_time_ms,
                             unnamed_ms);
}

void sp_sequences_judge(const struct sp_producers *producers,
                        const struct sp_list *flights,
                        const struct sp_batch_header *header,
                        int64_t append_time_ms,
                        struct sp_judgement *out_judgement)
{
    const struct sp_producer *producer = sp_producers_find(producers, header->producer_id);
    struct trail trail = { .known = false };

    if (find_stored(producer, header, &trail, out_judgement) ||
        find_flight(flights, header, &trail, out_judgement)) {
        return;
    }
    *out_judgement = (struct sp_judgement){ .verdict = SP_VERDICT_APPEND,
                                            .code = refusal(&trail, header),
                                            .newest_epoch = trail.epoch };
    if (out_judgement->code == 0 && lacks_place(producers, flights, producer, append_time_ms)) {
        out_judgement->code = SPATE_ERR_BUSY;
    }
    if (out_judgement->code != 0) {
        out_judgement->verdict = SP_VERDICT_REFUSED;
    }
}

int sp_sequences_judge_fence(const struct sp_producers *producers,
                             const struct sp_list *flights,
                             const struct sp_flight *fence,
                             int64_t append_time_ms,
                             int16_t *out_newest_epoch)
{
    const struct sp_producer *producer = sp_producers_find(producers, fence->producer_id);
    int16_t newest_epoch = producer == NULL ? 0 : producer->epoch;

    SP_LIST_EACH (node, flights) {
        const struct sp_flight *flight = SP_LIST_ENTRY(node, struct sp_flight, node);
        if (flight->producer_id == fence->producer_id) {
            newest_epoch = flight->producer_epoch;
        }
    }
    if (fence->producer_epoch < newest_epoch) {
        *out_newest_epoch = newest_epoch;
        return SPATE_ERR_PRODUCER_FENCED;
    }
    return lacks_place(producers, flights, producer, append_time_ms) ? SPATE_ERR_BUSY : 0;
}
