/* A producer whose leader moves, hangs, refuses, or does not answer. */
#include "driven_producer.h"

static void test_producer_not_leader_follows_hint(void **state)
{
    (void)state;
    begin(small_batches);
    cluster.leader = 1; /* metadata goes on naming the first */
    produce_range(0, 1);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    check_all_stored(1);
    assert_int_equal(cluster.produce_count, 2);
    end();
}

static enum fake_action sent_on_twice(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)method;
    c->refusal = SPATE_ERR_NOT_LEADER;
    return count <= 2 ? FAKE_REFUSE : FAKE_SERVE;
}

/* With pauses two hints would take 30 ms. */
static void test_producer_hints_are_followed_at_once(void **state)
{
    uint64_t best_ms = UINT64_MAX;

    (void)state;
    for (unsigned i = 0; i < 20 && best_ms >= 20; i++) { /* the machine may be busy */
        begin(small_batches);
        produce_range(0, 1);
        assert_int_equal(spate_producer_flush(producer, 5000), 0);
        cluster.produce_count = 0;
        cluster.script = sent_on_twice;
        uint64_t begin_ms = sp_loop_now_ms(cluster.client->loop);
        produce_range(1, 1);
        assert_int_equal(spate_producer_flush(producer, 5000), 0);
        uint64_t took_ms = sp_loop_now_ms(cluster.client->loop) - begin_ms;
        best_ms = took_ms < best_ms ? took_ms : best_ms;
        check_all_stored(2);
        end();
    }
    assert_true(best_ms < 20);
}

static enum fake_action sent_on_always(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)sent_on_twice(c, method, count);
    return FAKE_REFUSE;
}

static void test_producer_hints_that_lead_nowhere_are_followed_with_pauses(void **state)
{
    static const char *const keys[] = { "timeout.ms", "300", "linger.ms", "0", NULL };

    (void)state;
    begin(keys);
    cluster.script = sent_on_always;
    produce_range(0, 1);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    assert_int_equal(reports.status[0], SPATE_ERR_NOT_LEADER);
    assert_in_range(cluster.produce_count, 2, 12);
    end();
}

static enum fake_action
not_ready_three_times(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)method;
    c->refusal = SPATE_ERR_NOT_READY;
    c->refusal_text = "";
    return count <= 3 ? FAKE_REFUSE : FAKE_SERVE;
}

static enum fake_action canceled_once(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)method;
    c->refusal = SPATE_ERR_CANCELED;
    c->refusal_text = "";
    return count == 1 ? FAKE_REFUSE : FAKE_SERVE;
}

/* The replica closes where it led; another leads soon, and has the batch or not. */
static void test_producer_canceled_batch_is_sent_again(void **state)
{
    (void)state;
    begin(small_batches);
    cluster.script = canceled_once;
    produce_range(0, 1);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    check_all_stored(1);
    assert_int_equal(cluster.produce_count, 2);
    end();
}

/* A leader that is about to serve is asked again, and nobody else who leads. */
static void test_producer_not_ready_leader_is_asked_again(void **state)
{
    (void)state;
    begin(small_batches);
    cluster.script = not_ready_three_times;
    produce_range(0, 1);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    check_all_stored(1);
    assert_int_equal(cluster.produce_count, 4);
    assert_int_equal(cluster.metadata_count, 1);
    end();
}

static enum fake_action first_hangs(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)method;
    if (count == 1) { /* and somebody else is elected */
        c->leader = 1;
        c->metadata_leader = 1;
        return FAKE_SILENT;
    }
    return FAKE_SERVE;
}

static void test_producer_hanging_leader_is_left_for_the_new_one(void **state)
{
    (void)state;
    begin(small_batches);
    cluster.script = first_hangs;
    produce_range(0, 1);
    uint64_t begin_ms = sp_loop_now_ms(cluster.client->loop);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    assert_true(sp_loop_now_ms(cluster.client->loop) - begin_ms < 1500);
    check_all_stored(1);
    end();
}

/* ---- failures -------------------------------------------------------------------------------- */

static void test_producer_no_answer_is_timeout_and_next_goes_on(void **state)
{
    static const char *const keys[] = { "timeout.ms", "150", "linger.ms", "0", NULL };

    (void)state;
    begin(keys);
    cluster.script = always_silent;
    produce_range(0, 1);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    assert_int_equal(reports.count[0], 1);
    assert_int_equal(reports.status[0], SPATE_ERR_TIMEOUT);
    assert_non_null(strstr(reports.text, "unknown"));
    cluster.script = NULL;
    produce_range(1, 1);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    assert_int_equal(reports.status[1], 0);
    assert_int_equal(number_at(0), 1);
    assert_int_equal(cluster.next_producer_id, 101);
    assert_int_equal(cluster.log.producers[0].epoch, 1); /* a new numbering, so no gap */
    end();
}

/* What was given up may still be on its way, in a socket of another node or in the kernel: when it
 * arrives behind newer records, it must not be stored there. */
static void test_producer_lost_batch_that_arrives_late_is_fenced(void **state)
{
    static const char *const keys[] = { "timeout.ms", "150", "linger.ms", "0", NULL };
    struct sp_batch_builder builder;
    struct sp_record record = { .value = sp_bytes_text("late") };
    struct sp_buf late;
    int64_t offset = -1;

    (void)state;
    begin(keys);
    cluster.script = always_silent;
    produce_range(0, 1);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    cluster.script = NULL;
    produce_range(1, 1);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    assert_int_equal(reports.status[1], 0);

    sp_batch_builder_init(&builder, SP_BATCH_BYTES_MAX, SP_COMPRESSION_NONE);
    sp_buf_init(&late, SP_BATCH_BYTES_MAX);
    assert_int_equal(sp_batch_builder_add(&builder, &record), 0);
    assert_int_equal(sp_batch_builder_finish(&builder, 100, 0, 0, &late), 0); /* as it was sent */
    assert_int_equal(fake_log_store(&cluster.log, late.bytes, late.size, &offset),
                     SPATE_ERR_PRODUCER_FENCED);
    sp_buf_deinit(&late);
    sp_batch_builder_deinit(&builder);
    end();
}

static void test_producer_sent_behind_lost_one_shares_its_fate(void **state)
{
    static const char *const keys[] = { "timeout.ms",  "150",  "linger.ms", "0",
                                        "batch.bytes", "1024", NULL };

    (void)state;
    begin(keys);
    cluster.script = always_silent;
    produce_range(0, 100); /* more batches than may be in flight */
    assert_int_equal(spate_producer_flush(producer, 60), SPATE_ERR_TIMEOUT);
    cluster.script = NULL;
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    unsigned unknown = 0;
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(reports.count[i], 1);
        assert_true(reports.status[i] != 0 || number_at(reports.offset[i]) == i);
        unknown += reports.status[i] == SPATE_ERR_TIMEOUT ? 1 : 0;
    }
    assert_true(unknown > 0);
    end();
}

static enum fake_action
lost_then_not_ready(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)method;
    c->refusal = SPATE_ERR_NOT_READY;
    c->refusal_text = "starting";
    return count == 1 ? FAKE_DROP_AFTER : FAKE_REFUSE;
}

/* The last word is a refusal, but the first attempt was stored: all but "unknown" would lie. */
static void test_producer_lost_answer_outweighs_later_refusals(void **state)
{
    static const char *const keys[] = { "timeout.ms", "200", "linger.ms", "0", NULL };

    (void)state;
    begin(keys);
    cluster.script = lost_then_not_ready;
    produce_range(0, 1);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    assert_int_equal(reports.count[0], 1);
    assert_int_equal(reports.status[0], SPATE_ERR_TIMEOUT);
    assert_int_equal(number_at(0), 0);
    end();
}

static enum fake_action never_ready(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)lost_then_not_ready(c, method, count);
    return FAKE_REFUSE;
}

static void test_producer_refused_all_the_time_is_a_plain_failure(void **state)
{
    static const char *const keys[] = { "timeout.ms", "150", "linger.ms", "0", NULL };

    (void)state;
    begin(keys);
    cluster.script = never_ready;
    produce_range(0, 1);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    assert_int_equal(reports.status[0], SPATE_ERR_NOT_READY);
    assert_int_equal(cluster.log.next_offset, 0);
    end();
}

static enum fake_action forgotten_once(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)method;
    c->refusal = SPATE_ERR_UNKNOWN_PRODUCER;
    return count == 2 ? FAKE_REFUSE : FAKE_SERVE;
}

/* It goes on in a new numbering, with all that waited. */
static void test_producer_forgotten_by_the_partition_begins_anew(void **state)
{
    (void)state;
    begin(small_batches);
    cluster.script = forgotten_once;
    produce_range(0, 1);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    produce_range(1, 40);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    check_all_stored(41);
    assert_int_equal(cluster.log.producers[0].epoch, 1);
    assert_int_equal(cluster.metadata_count, 1); /* nobody was looked for */
    end();
}

static enum fake_action
unanswered_then_forgotten(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)method;
    c->refusal = SPATE_ERR_UNKNOWN_PRODUCER;
    return count == 2 ? FAKE_DROP_AFTER : count == 3 ? FAKE_REFUSE : FAKE_SERVE;
}

/* What may be stored is not sent in another numbering. */
static void test_producer_forgotten_after_a_lost_answer_is_unknown(void **state)
{
    (void)state;
    begin(small_batches);
    cluster.script = unanswered_then_forgotten;
    produce_range(0, 1);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    produce_range(1, 1);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    assert_int_equal(reports.status[1], SPATE_ERR_TIMEOUT);
    assert_int_equal(cluster.log.next_offset, 2);
    produce_range(2, 1);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    assert_int_equal(reports.status[2], 0);
    assert_int_equal(cluster.log.next_offset, 3);
    end();
}

static enum fake_action
unanswered_then_invalid(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)method;
    c->refusal = SPATE_ERR_INVALID;
    return count == 1 ? FAKE_DROP_AFTER : count == 2 ? FAKE_REFUSE : FAKE_SERVE;
}

/* A topic's settings change: what they refuse now may be stored all the same, by an attempt before.
 * So may what waits behind it: it is not sent in another numbering. */
static void test_producer_invalid_after_a_lost_answer_is_unknown(void **state)
{
    (void)state;
    begin(small_batches);
    cluster.script = unanswered_then_invalid;
    produce_range(0, 1);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    assert_int_equal(reports.status[0], SPATE_ERR_TIMEOUT);
    assert_int_equal(cluster.log.next_offset, 1);
    end();
}

static enum fake_action always_forgotten(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)method;
    (void)count;
    c->refusal = SPATE_ERR_UNKNOWN_PRODUCER;
    return FAKE_REFUSE;
}

static void test_producer_forgotten_all_the_time_fails_in_time(void **state)
{
    static const char *const keys[] = { "timeout.ms", "300", "linger.ms", "0", NULL };

    (void)state;
    begin(keys);
    cluster.script = always_forgotten;
    produce_range(0, 1);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    assert_int_equal(reports.status[0], SPATE_ERR_UNKNOWN_PRODUCER);
    assert_in_range(cluster.produce_count, 2, 12);
    end();
}

static enum fake_action no_space(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)lost_then_not_ready(c, method, count);
    c->refusal = SPATE_ERR_NO_SPACE;
    return FAKE_REFUSE;
}

/* A full node refuses before it appends, so nothing is uncertain. */
static void test_producer_no_space_is_a_plain_failure(void **state)
{
    static const char *const keys[] = { "timeout.ms", "150", "linger.ms", "0", NULL };

    (void)state;
    begin(keys);
    cluster.script = no_space;
    produce_range(0, 1);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    assert_int_equal(reports.status[0], SPATE_ERR_NO_SPACE);
    assert_int_equal(cluster.log.next_offset, 0);
    end();
}

/* More than may be in flight: those that waited are told what those before them met. */
static void test_producer_no_space_is_told_of_what_waited(void **state)
{
    static const char *const keys[] = { "timeout.ms",  "150",  "linger.ms", "0",
                                        "batch.bytes", "1024", NULL };

    (void)state;
    begin(keys);
    cluster.script = no_space;
    produce_range(0, 100);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(reports.count[i], 1);
        assert_int_equal(reports.status[i], SPATE_ERR_NO_SPACE);
    }
    cluster.script = NULL;
    produce_range(100, 1);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    assert_int_equal(reports.status[100], 0);
    assert_int_equal(number_at(0), 100);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_producer_not_leader_follows_hint),
        cmocka_unit_test(test_producer_hints_are_followed_at_once),
        cmocka_unit_test(test_producer_hints_that_lead_nowhere_are_followed_with_pauses),
        cmocka_unit_test(test_producer_not_ready_leader_is_asked_again),
        cmocka_unit_test(test_producer_canceled_batch_is_sent_again),
        cmocka_unit_test(test_producer_hanging_leader_is_left_for_the_new_one),
        cmocka_unit_test(test_producer_no_answer_is_timeout_and_next_goes_on),
        cmocka_unit_test(test_producer_lost_batch_that_arrives_late_is_fenced),
        cmocka_unit_test(test_producer_sent_behind_lost_one_shares_its_fate),
        cmocka_unit_test(test_producer_lost_answer_outweighs_later_refusals),
        cmocka_unit_test(test_producer_refused_all_the_time_is_a_plain_failure),
        cmocka_unit_test(test_producer_no_space_is_a_plain_failure),
        cmocka_unit_test(test_producer_no_space_is_told_of_what_waited),
        cmocka_unit_test(test_producer_forgotten_by_the_partition_begins_anew),
        cmocka_unit_test(test_producer_forgotten_after_a_lost_answer_is_unknown),
        cmocka_unit_test(test_producer_invalid_after_a_lost_answer_is_unknown),
        cmocka_unit_test(test_producer_forgotten_all_the_time_fails_in_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
