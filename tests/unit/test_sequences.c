/* The judgement of numbered batches: each rule by name, then all against a plain history. */
#include "broker/sequences.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rand.h"
#include "spate/error.h"

#define PRODUCER 7

struct fixture {
    struct sp_producers *producers;
    struct sp_list flights;
    struct sp_flight slots[16];
    unsigned slot_count;
    int64_t next_offset;
};

static void begin(struct fixture *fixture)
{
    *fixture = (struct fixture){ .producers = sp_producers_new() };
    assert_non_null(fixture->producers);
    sp_list_init(&fixture->flights);
}

static void end(struct fixture *fixture)
{
    sp_producers_free(fixture->producers);
}

/* A batch of producer `id` is applied. */
static void
store(struct fixture *fixture, int64_t id, int16_t epoch, int32_t sequence, int32_t count)
{
    struct sp_batch_facts facts = { .base_offset = fixture->next_offset,
                                    .producer_id = id,
                                    .producer_epoch = epoch,
                                    .base_sequence = sequence,
                                    .record_count = count,
                                    .offset_count = count };

    assert_int_equal(sp_producers_apply(fixture->producers, &facts, 3, 1000), 0);
    fixture->next_offset += count;
}

/* A batch of producer `id` is appended and not yet applied. */
static struct sp_flight *
fly(struct fixture *fixture, int64_t id, int16_t epoch, int32_t sequence, int32_t count)
{
    struct sp_flight *flight = &fixture->slots[fixture->slot_count++];

    *flight = (struct sp_flight){ .producer_id = id,
                                  .producer_epoch = epoch,
                                  .batch = { .base_sequence = sequence,
                                             .record_count = count,
                                             .base_offset = fixture->next_offset } };
    fixture->next_offset += count;
    sp_list_append(&fixture->flights, &flight->node);
    return flight;
}

static struct sp_judgement judge_at(const struct fixture *fixture,
                                    int64_t id,
                                    int16_t epoch,
                                    int32_t sequence,
                                    int32_t count,
                                    int64_t time_ms)
{
    struct sp_batch_header header = {
        .producer_id = id, .producer_epoch = epoch, .base_sequence = sequence, .record_count = count
    };
    struct sp_judgement judgement;

    sp_sequences_judge(fixture->producers, &fixture->flights, &header, time_ms, &judgement);
    return judgement;
}

static struct sp_judgement
judge(const struct fixture *fixture, int16_t epoch, int32_t sequence, int32_t count)
{
    return judge_at(fixture, PRODUCER, epoch, sequence, count, 1000);
}

static void assert_refused(
    const struct fixture *fixture, int16_t epoch, int32_t sequence, int32_t count, int code)
{
    struct sp_judgement judgement = judge(fixture, epoch, sequence, count);

    assert_int_equal(judgement.verdict, SP_VERDICT_REFUSED);
    assert_int_equal(judgement.code, code);
}

static void assert_appends(const struct fixture *fixture, int16_t epoch, int32_t sequence)
{
    assert_int_equal(judge(fixture, epoch, sequence, 1).verdict, SP_VERDICT_APPEND);
}

/* ---- rules ----------------------------------------------------------------------------------- */

static void test_sequences_unknown_producer_begins_at_zero(void **state)
{
    struct fixture fixture;

    (void)state;
    begin(&fixture);
    assert_appends(&fixture, 0, 0);
    assert_appends(&fixture, 5, 0);
    assert_refused(&fixture, 0, 1, 1, SPATE_ERR_UNKNOWN_PRODUCER);
    assert_refused(&fixture, 0, INT32_MAX, 1, SPATE_ERR_UNKNOWN_PRODUCER);
    end(&fixture);
}

static void test_sequences_stored_batch_gets_its_first_answer(void **state)
{
    struct fixture fixture;
    struct sp_judgement judgement;

    (void)state;
    begin(&fixture);
    fixture.next_offset = 500;
    store(&fixture, PRODUCER, 0, 0, 10);
    store(&fixture, PRODUCER, 0, 10, 3);
    judgement = judge(&fixture, 0, 0, 10);
    assert_int_equal(judgement.verdict, SP_VERDICT_STORED);
    assert_int_equal(judgement.stored->base_offset, 500);
    judgement = judge(&fixture, 0, 10, 3);
    assert_int_equal(judgement.stored->base_offset, 510);
    assert_appends(&fixture, 0, 13);
    assert_refused(&fixture, 0, 14, 1, SPATE_ERR_OUT_OF_ORDER_SEQUENCE);
    /* the same sequence with another content is no repeat, and must not be appended either */
    assert_refused(&fixture, 0, 10, 4, SPATE_ERR_EXISTS);
    assert_refused(&fixture, 0, 12, 1, SPATE_ERR_EXISTS);
    end(&fixture);
}

static void test_sequences_batch_in_flight_is_waited_for(void **state)
{
    struct fixture fixture;
    struct sp_flight *first;
    struct sp_flight *second;

    (void)state;
    begin(&fixture);
    first = fly(&fixture, PRODUCER, 0, 0, 2);
    (void)fly(&fixture, PRODUCER + 1, 0, 0, 9); /* of another one */
    second = fly(&fixture, PRODUCER, 0, 2, 2);
    (void)fly(&fixture, -1, -1, -1, 5); /* not numbered */
    assert_ptr_equal(judge(&fixture, 0, 0, 2).flight, first);
    assert_ptr_equal(judge(&fixture, 0, 2, 2).flight, second);
    assert_int_equal(judge(&fixture, 0, 2, 2).verdict, SP_VERDICT_IN_FLIGHT);
    assert_appends(&fixture, 0, 4);
    assert_refused(&fixture, 0, 5, 1, SPATE_ERR_OUT_OF_ORDER_SEQUENCE);
    assert_refused(&fixture, 0, 1, 1, SPATE_ERR_EXISTS);
    end(&fixture);
}

static void test_sequences_newer_epoch_begins_again_and_fences(void **state)
{
    struct fixture fixture;

    (void)state;
    begin(&fixture);
    store(&fixture, PRODUCER, 1, 0, 4);
    assert_refused(&fixture, 0, 4, 1, SPATE_ERR_PRODUCER_FENCED);
    assert_refused(&fixture, 0, 0, 4, SPATE_ERR_PRODUCER_FENCED);
    assert_refused(&fixture, 2, 4, 1, SPATE_ERR_UNKNOWN_PRODUCER);
    assert_appends(&fixture, 2, 0);
    (void)fly(&fixture, PRODUCER, 2, 0, 1); /* the new epoch is on its way */
    assert_refused(&fixture, 1, 4, 1, SPATE_ERR_PRODUCER_FENCED);
    assert_int_equal(judge(&fixture, 1, 0, 4).verdict, SP_VERDICT_STORED);
    assert_appends(&fixture, 2, 1);
    assert_appends(&fixture, 3, 0);
    end(&fixture);
}

static void test_sequences_wrap_behind_two_to_31(void **state)
{
    struct fixture fixture;

    (void)state;
    begin(&fixture);
    store(&fixture, PRODUCER, 0, 0, 1); /* stands for the 2^31 records before */
    store(&fixture, PRODUCER, 0, INT32_MAX - 2, 2);
    (void)fly(&fixture, PRODUCER, 0, INT32_MAX, 3); /* INT32_MAX, 0, 1 */
    assert_appends(&fixture, 0, 2);
    assert_int_equal(judge(&fixture, 0, INT32_MAX, 3).verdict, SP_VERDICT_IN_FLIGHT);
    assert_int_equal(judge(&fixture, 0, INT32_MAX - 2, 2).verdict, SP_VERDICT_STORED);
    assert_refused(&fixture, 0, INT32_MAX - 3, 1, SPATE_ERR_EXISTS);
    assert_refused(&fixture, 0, 1, 1, SPATE_ERR_EXISTS);
    assert_refused(&fixture, 0, 3, 1, SPATE_ERR_OUT_OF_ORDER_SEQUENCE);
    end(&fixture);
}

/* Those on their way count: else two that each see the last free place would push out a third,
 * whose repeats could not be told any more. */
static void test_sequences_new_producers_in_flight_take_places(void **state)
{
    struct fixture fixture;

    (void)state;
    begin(&fixture);
    for (int64_t i = 0; i < SP_PRODUCERS_PER_PARTITION_MAX - 2; i++) {
        store(&fixture, 1000 + i, 0, 0, 1);
    }
    assert_appends(&fixture, 0, 0);
    (void)fly(&fixture, 1000, 0, 1, 1); /* known already */
    (void)fly(&fixture, -1, -1, -1, 1);
    (void)fly(&fixture, 1, 0, 0, 1);
    assert_appends(&fixture, 0, 0);
    (void)fly(&fixture, 2, 0, 0, 1);
    assert_refused(&fixture, 0, 0, 1, SPATE_ERR_BUSY);
    assert_int_equal(judge_at(&fixture, 1001, 0, 1, 1, 1000).verdict, SP_VERDICT_APPEND);
    /* a day later the silent ones make room */
    assert_int_equal(judge_at(&fixture, PRODUCER, 0, 0, 1, 1000 + SP_PRODUCER_EXPIRY_MS).verdict,
                     SP_VERDICT_APPEND);
    end(&fixture);
}

static void store_at(struct fixture *fixture, int64_t id, int32_t sequence, int64_t time_ms)
{
    struct sp_batch_facts facts = {
        .producer_id = id, .base_sequence = sequence, .record_count = 1, .offset_count = 1
    };

    assert_int_equal(sp_producers_apply(fixture->producers, &facts, 3, time_ms), 0);
}

/* One that was silent for long may lose its place to one in flight, and then take that of another
 * that was not silent: its batches would be stored twice. */
static void test_sequences_silent_producer_takes_no_place_of_a_lively_one(void **state)
{
    const int64_t later_ms = 1000 + SP_PRODUCER_EXPIRY_MS;
    struct fixture fixture;
    struct sp_flight *stranger;

    (void)state;
    begin(&fixture);
    store_at(&fixture, 1, 0, 1000);
    for (int64_t id = 2; id <= SP_PRODUCERS_PER_PARTITION_MAX; id++) {
        store_at(&fixture, id, 0, later_ms - 1);
    }
    assert_int_equal(judge_at(&fixture, 1, 0, 1, 1, later_ms).verdict, SP_VERDICT_APPEND);
    assert_int_equal(judge_at(&fixture, 100001, 0, 0, 1, later_ms).verdict, SP_VERDICT_APPEND);
    stranger = fly(&fixture, 100001, 0, 0, 1);
    assert_int_equal(judge_at(&fixture, 1, 0, 1, 1, later_ms).code, SPATE_ERR_BUSY);
    assert_int_equal(judge_at(&fixture, 2, 0, 1, 1, later_ms).verdict, SP_VERDICT_APPEND);
    sp_list_remove(&stranger->node);
    store_at(&fixture, 100001, 0, later_ms);
    assert_null(sp_producers_find(fixture.producers, 1));
    assert_int_equal(judge_at(&fixture, 1, 0, 1, 1, later_ms).code, SPATE_ERR_UNKNOWN_PRODUCER);
    assert_int_equal(judge_at(&fixture, 2, 0, 0, 1, later_ms).verdict, SP_VERDICT_STORED);
    end(&fixture);
}

/* ---- fences ---------------------------------------------------------------------------------- */

static struct sp_flight *fly_fence(struct fixture *fixture, int16_t epoch)
{
    struct sp_flight *flight = &fixture->slots[fixture->slot_count++];

    *flight = (struct sp_flight){ .producer_id = PRODUCER, .producer_epoch = epoch, .fence = true };
    sp_list_append(&fixture->flights, &flight->node);
    return flight;
}

static int judge_fence(const struct fixture *fixture, int16_t epoch, int64_t time_ms)
{
    struct sp_flight fence = { .producer_id = PRODUCER, .producer_epoch = epoch, .fence = true };
    int16_t newest_epoch = -1;
    int rv = sp_sequences_judge_fence(
        fixture->producers, &fixture->flights, &fence, time_ms, &newest_epoch);

    assert_true(rv == SPATE_ERR_PRODUCER_FENCED ? newest_epoch > epoch : newest_epoch == -1);
    return rv;
}

static void test_sequences_fence_in_flight_ends_older_epochs_behind_it(void **state)
{
    struct fixture fixture;
    struct sp_flight *before;

    (void)state;
    begin(&fixture);
    store(&fixture, PRODUCER, 0, 0, 10);
    before = fly(&fixture, PRODUCER, 0, 10, 2);
    assert_appends(&fixture, 0, 12);
    (void)fly_fence(&fixture, 1);
    assert_refused(&fixture, 0, 12, 1, SPATE_ERR_PRODUCER_FENCED);
    assert_int_equal(judge(&fixture, 0, 12, 1).newest_epoch, 1);
    /* what stands before the fence is told to be there */
    assert_int_equal(judge(&fixture, 0, 0, 10).verdict, SP_VERDICT_STORED);
    assert_ptr_equal(judge(&fixture, 0, 10, 2).flight, before);
    assert_appends(&fixture, 1, 0);
    assert_refused(&fixture, 1, 12, 1, SPATE_ERR_UNKNOWN_PRODUCER);
    (void)fly(&fixture, PRODUCER, 1, 0, 4);
    (void)fly_fence(&fixture, 1); /* asked again by the same: its batches go on */
    assert_appends(&fixture, 1, 4);
    assert_int_equal(judge(&fixture, 1, 0, 4).verdict, SP_VERDICT_IN_FLIGHT);
    assert_int_equal(judge_fence(&fixture, 0, 1000), SPATE_ERR_PRODUCER_FENCED);
    assert_int_equal(judge_fence(&fixture, 1, 1000), 0);
    assert_int_equal(judge_fence(&fixture, 2, 1000), 0);
    end(&fixture);
}

static void test_sequences_fence_of_a_stranger_needs_a_place(void **state)
{
    struct fixture fixture;

    (void)state;
    begin(&fixture);
    for (int64_t i = 0; i < SP_PRODUCERS_PER_PARTITION_MAX - 1; i++) {
        store(&fixture, 1000 + i, 0, 0, 1);
    }
    assert_int_equal(judge_fence(&fixture, 0, 1000), 0);
    (void)fly(&fixture, 1, 0, 0, 1); /* takes the last one */
    assert_int_equal(judge_fence(&fixture, 0, 1000), SPATE_ERR_BUSY);
    assert_int_equal(judge_fence(&fixture, 0, 1000 + SP_PRODUCER_EXPIRY_MS), 0);
    end(&fixture);
}

struct step {
    bool fence;
    int16_t epoch;
    int32_t sequence;
};

/* The first `applied` of the steps are in the table, the others in flight. */
static void
arrange(struct fixture *fixture, const struct step *steps, unsigned count, unsigned applied)
{
    begin(fixture);
    for (unsigned i = 0; i < count; i++) {
        const struct step *step = &steps[i];
        if (i < applied && step->fence) {
            assert_int_equal(sp_producers_fence(fixture->producers, PRODUCER, step->epoch, 1000),
                             0);
        } else if (i < applied) {
            store(fixture, PRODUCER, step->epoch, step->sequence, 1);
        } else if (step->fence) {
            (void)fly_fence(fixture, step->epoch);
        } else {
            (void)fly(fixture, PRODUCER, step->epoch, step->sequence, 1);
        }
    }
}

/* Whatever comes next is let in, or not, alike: how much of the log is applied makes no difference,
 * so a leader that has just begun decides as the one before it. */
static void compare_splits(const struct step *steps, unsigned count, int16_t fenced_epoch)
{
    bool lets_in[4][14];

    for (unsigned applied = 0; applied <= count; applied++) {
        struct fixture fixture;
        arrange(&fixture, steps, count, applied);
        for (int16_t epoch = 0; epoch < 4; epoch++) {
            for (int32_t sequence = 0; sequence < 14; sequence++) {
                bool in = judge(&fixture, epoch, sequence, 1).verdict == SP_VERDICT_APPEND;
                assert_false(in && epoch < fenced_epoch);
                assert_true(applied == 0 || in == lets_in[epoch][sequence]);
                lets_in[epoch][sequence] = in;
            }
        }
        end(&fixture);
    }
}

static void test_sequences_fences_hold_wherever_the_table_ends(void **state)
{
    struct sp_rand rand;

    (void)state;
    sp_rand_init(&rand, 7);
    for (unsigned round = 0; round < 300; round++) {
        struct step steps[12];
        int16_t epoch = 0;
        int32_t sequence = 0;
        unsigned count = 1 + (unsigned)sp_rand_below(&rand, 12);
        for (unsigned i = 0; i < count; i++) {
            bool fence = sp_rand_below(&rand, 3) == 0;
            bool rises = fence && epoch < 3 && sp_rand_below(&rand, 3) > 0;
            epoch = (int16_t)(epoch + (rises ? 1 : 0));
            sequence = rises ? 0 : sequence;
            steps[i] = (struct step){ fence, epoch, fence ? 0 : sequence++ };
        }
        compare_splits(steps, count, epoch);
    }
}

/* ---- against a history ----------------------------------------------------------------------- */

enum {
    BATCHES = 9,
    RECORDS = 2, /* of each batch */
};

static int32_t wrapped(int64_t sequence)
{
    return (int32_t)(sequence & INT32_MAX);
}

/* `stored` of BATCHES batches from `start` on are applied, `flying` more are in flight: what must a
 * batch at `place` records from the start be told? */
static void check(int32_t start, unsigned stored, unsigned flying, int64_t place)
{
    struct fixture fixture;
    int64_t end_place = (int64_t)(stored + flying) * RECORDS;
    int64_t kept_place = stored > SP_PRODUCER_BATCHES_KEPT
                             ? (int64_t)(stored - SP_PRODUCER_BATCHES_KEPT) * RECORDS
                             : 0;
    struct sp_judgement judgement;

    begin(&fixture);
    for (unsigned i = 0; i < stored; i++) {
        store(&fixture, PRODUCER, 0, wrapped((int64_t)start + (int64_t)i * RECORDS), RECORDS);
    }
    for (unsigned i = stored; i < stored + flying; i++) {
        (void)fly(&fixture, PRODUCER, 0, wrapped((int64_t)start + (int64_t)i * RECORDS), RECORDS);
    }
    judgement = judge(&fixture, 0, wrapped((int64_t)start + place), RECORDS);
    if (place == end_place) {
        assert_int_equal(judgement.verdict, SP_VERDICT_APPEND);
    } else if (place > end_place) {
        assert_int_equal(judgement.code, SPATE_ERR_OUT_OF_ORDER_SEQUENCE);
    } else if (place < kept_place || place % RECORDS != 0) {
        assert_int_equal(judgement.code, SPATE_ERR_EXISTS);
    } else if (place < (int64_t)stored * RECORDS) {
        assert_int_equal(judgement.verdict, SP_VERDICT_STORED);
        assert_int_equal(judgement.stored->base_offset, place);
    } else {
        assert_int_equal(judgement.verdict, SP_VERDICT_IN_FLIGHT);
        assert_int_equal(judgement.flight->batch.base_offset, place);
    }
    end(&fixture);
}

static void test_sequences_every_place_of_every_history_is_judged_right(void **state)
{
    (void)state;
    for (int32_t back = 0; back <= (BATCHES + 2) * RECORDS; back++) {
        int32_t start = back == 0 ? 0 : INT32_MAX - back + 1; /* wraps at every place once */
        for (unsigned stored = 0; stored <= BATCHES; stored++) {
            for (unsigned flying = stored == 0 ? 1 : 0; flying <= 5; flying++) {
                for (int64_t place = -3; place <= (BATCHES + 7) * RECORDS; place++) {
                    check(start, stored, flying, place);
                }
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sequences_unknown_producer_begins_at_zero),
        cmocka_unit_test(test_sequences_stored_batch_gets_its_first_answer),
        cmocka_unit_test(test_sequences_batch_in_flight_is_waited_for),
        cmocka_unit_test(test_sequences_newer_epoch_begins_again_and_fences),
        cmocka_unit_test(test_sequences_wrap_behind_two_to_31),
        cmocka_unit_test(test_sequences_new_producers_in_flight_take_places),
        cmocka_unit_test(test_sequences_silent_producer_takes_no_place_of_a_lively_one),
        cmocka_unit_test(test_sequences_fence_in_flight_ends_older_epochs_behind_it),
        cmocka_unit_test(test_sequences_fence_of_a_stranger_needs_a_place),
        cmocka_unit_test(test_sequences_fences_hold_wherever_the_table_ends),
        cmocka_unit_test(test_sequences_every_place_of_every_history_is_judged_right),
    };
    return cmocka_run_group_tests_name("broker/sequences", tests, NULL, NULL);
}
