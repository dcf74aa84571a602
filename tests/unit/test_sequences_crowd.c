/* Which producers a full table lets go of, and for whom. */
#include "broker/sequences.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "spate/error.h"

struct fixture {
    struct sp_producers *producers;
    struct sp_list flights;
    struct sp_flight slots[16];
    unsigned slot_count;
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

/* A batch of one record is applied. */
static void store_at(struct fixture *fixture, int64_t id, int32_t sequence, int64_t time_ms)
{
    struct sp_batch_facts facts = {
        .producer_id = id, .base_sequence = sequence, .record_count = 1, .offset_count = 1
    };

    assert_int_equal(sp_producers_apply(fixture->producers, &facts, 3, time_ms), 0);
}

/* A batch of one record, or a fence, is appended and not yet applied. */
static void fly(struct fixture *fixture, int64_t id, int16_t epoch, bool fence)
{
    struct sp_flight *flight = &fixture->slots[fixture->slot_count++];

    *flight = (struct sp_flight){ .producer_id = id, .producer_epoch = epoch, .fence = fence };
    flight->batch.record_count = fence ? 0 : 1;
    sp_list_append(&fixture->flights, &flight->node);
}

/* The code of a batch of one record; 0 if it may be appended, or is stored. */
static int judge_at(
    const struct fixture *fixture, int64_t id, int16_t epoch, int32_t sequence, int64_t time_ms)
{
    struct sp_batch_header header = {
        .producer_id = id, .producer_epoch = epoch, .base_sequence = sequence, .record_count = 1
    };
    struct sp_judgement judgement;

    sp_sequences_judge(fixture->producers, &fixture->flights, &header, time_ms, &judgement);
    return judgement.verdict == SP_VERDICT_REFUSED ? judgement.code : 0;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void fill_at(struct fixture *fixture, unsigned count, int64_t time_ms)
{
    for (unsigned i = 0; i < count; i++) {
        store_at(fixture, 100000 + i, 0, time_ms);
    }
}

static void test_sequences_crowd_without_names_makes_room_sooner(void **state)
{
    const int64_t soon_ms = 1000 + SP_PRODUCER_CROWDED_MS;
    struct fixture fixture;

    (void)state;
    begin(&fixture);
    store_at(&fixture, 1, 0, 1000);
    fill_at(&fixture, SP_PRODUCERS_PER_PARTITION_MAX - 1, 1001);
    assert_int_equal(judge_at(&fixture, 2, 0, 0, soon_ms - 1), SPATE_ERR_BUSY);
    assert_int_equal(judge_at(&fixture, 2, 0, 0, soon_ms), 0);
    assert_int_equal(judge_at(&fixture, 1, 0, 0, soon_ms), 0);
    fly(&fixture, 2, 0, false);
    assert_int_equal(judge_at(&fixture, 3, 0, 0, soon_ms), SPATE_ERR_BUSY);
    assert_int_equal(judge_at(&fixture, 1, 0, 1, soon_ms), SPATE_ERR_BUSY);
    assert_int_equal(judge_at(&fixture, 3, 0, 0, soon_ms + 1), 0);
    sp_list_init(&fixture.flights);
    store_at(&fixture, 2, 0, soon_ms); /* whom applying lets go */
    assert_null(sp_producers_find(fixture.producers, 1));
    assert_int_equal(judge_at(&fixture, 1, 0, 1, soon_ms + 1), SPATE_ERR_UNKNOWN_PRODUCER);
    assert_int_equal(judge_at(&fixture, 1, 1, 0, soon_ms + 1), 0);
    end(&fixture);
}

/* Applying would let a named one go instead. */
static void test_sequences_crowd_with_a_name_makes_no_room_sooner(void **state)
{
    const int64_t soon_ms = 1000 + SP_PRODUCER_CROWDED_MS;
    struct fixture fixture;

    (void)state;
    begin(&fixture);
    fill_at(&fixture, SP_PRODUCERS_PER_PARTITION_MAX, 1000);
    assert_int_equal(judge_at(&fixture, 2, 0, 0, soon_ms), 0);
    fly(&fixture, 100005, 1, true);
    assert_int_equal(judge_at(&fixture, 2, 0, 0, soon_ms), SPATE_ERR_BUSY);
    sp_list_init(&fixture.flights);
    assert_int_equal(sp_producers_fence(fixture.producers, 100005, 1, soon_ms), 0);
    assert_int_equal(judge_at(&fixture, 2, 0, 0, soon_ms), SPATE_ERR_BUSY);
    assert_int_equal(judge_at(&fixture, 2, 0, 0, 1000 + SP_PRODUCER_EXPIRY_MS), 0);
    end(&fixture);
}

/* One that is fenced and has nothing stored is as easy to forget as before, and not easier: its
 * earlier lives are kept off by it. */
static void test_sequences_crowd_keeps_fenced_ones_that_are_empty(void **state)
{
    const int64_t soon_ms = 1001 + SP_PRODUCER_CROWDED_MS;
    struct fixture fixture;

    (void)state;
    begin(&fixture);
    assert_int_equal(sp_producers_fence(fixture.producers, 7, 1, 1000), 0);
    fill_at(&fixture, SP_PRODUCERS_PER_PARTITION_MAX - 1, 1001);
    assert_int_equal(judge_at(&fixture, 2, 0, 0, soon_ms), SPATE_ERR_BUSY);
    assert_int_equal(judge_at(&fixture, 2, 0, 0, 1000 + SP_PRODUCER_EXPIRY_MS), 0);
    assert_int_equal(sp_producers_fence(fixture.producers, 7, 1, soon_ms), 0); /* it lives */
    assert_int_equal(judge_at(&fixture, 2, 0, 0, soon_ms), 0);
    fly(&fixture, 7, 1, false); /* it will have something */
    assert_int_equal(judge_at(&fixture, 2, 0, 0, soon_ms), SPATE_ERR_BUSY);
    end(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sequences_crowd_without_names_makes_room_sooner),
        cmocka_unit_test(test_sequences_crowd_with_a_name_makes_no_room_sooner),
        cmocka_unit_test(test_sequences_crowd_keeps_fenced_ones_that_are_empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
