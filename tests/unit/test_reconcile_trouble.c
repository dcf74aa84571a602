/* Replicas that cannot run: damaged ones, those of another disk, and a node without memory or
 * space. */
#include "counted_traces.h"
#include "driven_reconcile.h"

static void test_reconcile_damaged_replica_is_missing_and_not_retried(void **unused)
{
    (void)unused;
    begin();
    add_record(1, 1026);
    create("t", 1);
    confirm();
    end_open(SPATE_ERR_CORRUPT);
    assert_int_equal(fake.release_count, 1);
    assert_int_equal(sp_reconcile_missing_count(fake.reconcile), 1);
    fake_wait(1000);
    confirm();
    assert_int_equal(fake.open_count, 0);
    assert_true(sp_store_has_replica(NULL, 1, 1026));
    delete ("t");
    assert_false(sp_store_has_replica(NULL, 1, 1026));
    assert_int_equal(sp_reconcile_missing_count(fake.reconcile), 0);
    end();
}

/* What is damaged is marked, told with the reason why it stays out, and not refilled while too many
 * lie in quarantine. */
static void test_reconcile_damage_is_marked_and_explained(void **unused)
{
    struct sp_map_cursor cursor = { 0 };
    struct sp_reconcile_damage damage;

    (void)unused;
    begin();
    confirm();
    create("t", 1);
    fake_wait(7);
    end_open(SPATE_ERR_CORRUPT);
    uint64_t found_ms = fake_loop.now_ms;
    fake_wait(500);
    assert_true(sp_reconcile_next_damage(fake.reconcile, &cursor, &damage));
    assert_int_equal(fake.marked_replica, damage.replica_id);
    assert_int_equal(damage.since_ms, found_ms);
    assert_string_equal(damage.refusal, SP_RECONCILE_WAITS_FOR_LEADER);
    assert_true(sp_reconcile_note_refusal(fake.reconcile, damage.group_id, "no majority"));
    assert_false(sp_reconcile_note_refusal(fake.reconcile, damage.group_id, "no majority"));
    assert_false(sp_reconcile_note_refusal(fake.reconcile, 999, "unknown"));
    cursor = (struct sp_map_cursor){ 0 };
    assert_true(sp_reconcile_next_damage(fake.reconcile, &cursor, &damage));
    assert_string_equal(damage.refusal, "no majority");
    assert_true(sp_reconcile_may_refill(fake.reconcile));
    fake.quarantined = SP_QUARANTINE_MAX;
    assert_false(sp_reconcile_may_refill(fake.reconcile));
    end();
}

static void test_reconcile_without_memory_tries_again(void **unused)
{
    (void)unused;
    begin();
    confirm();
    fake.acquires_to_fail = 1;
    create("t", 1);
    assert_int_equal(fake.open_count, 0);
    fake_wait(200);
    assert_int_equal(fake.open_count, 1);
    end_open(SPATE_ERR_NOMEM);
    assert_int_equal(fake.open_count, 0);
    assert_int_equal(sp_reconcile_missing_count(fake.reconcile), 1);
    fake_wait(400);
    end_open(0);
    assert_int_equal(sp_reconcile_missing_count(fake.reconcile), 0);
    end();
}

static void note_rest(void *arg,
                      enum sp_trace_level level,
                      const char *component,
                      const char *message,
                      const char *facts)
{
    unsigned *count = arg;

    (void)level;
    (void)component;
    if (strstr(message, "is tried again") != NULL) {
        assert_non_null(strstr(facts, "error=NO_SPACE"));
        *count += 1;
    }
}

/* A full disk may be full for long: the pauses grow, and the cause is told once. */
static void test_reconcile_without_space_tries_ever_more_rarely(void **unused)
{
    unsigned told = 0;
    unsigned tries = 0;

    (void)unused;
    begin();
    confirm();
    sp_trace_set_sink(note_rest, &told, SP_TRACE_LEVEL_WARN);
    create("t", 1);
    for (unsigned second = 0; second < 60; second++) {
        while (fake.open_count > 0) {
            end_open(SPATE_ERR_NO_SPACE);
            tries += 1;
        }
        fake_wait(1000);
    }
    assert_in_range(tries, 10, 20);
    assert_int_equal(told, 1);
    fake_wait(5000);
    end_open(0);
    assert_int_equal(sp_reconcile_missing_count(fake.reconcile), 0);
    sp_trace_set_sink(NULL, NULL, SP_TRACE_LEVEL_WARN);
    end();
}

/* A topic with one partition, on these nodes. */
static void create_on(const char *name, const uint32_t *nodes, unsigned count)
{
    static const struct sp_topic_config plain = { .set = 0 };
    struct sp_buf buf;

    sp_buf_init(&buf, 65536);
    assert_int_equal(sp_state_command_create_topic(name, 1, count, nodes, &plain, &buf), 0);
    assert_int_equal(apply(&buf), 0);
}

/* Begins a move to the same nodes, in which those that are lost are made anew. */
static void renew(const char *name, const uint32_t *nodes, unsigned count)
{
    struct sp_state_wish wishes[SP_REPLICAS_MAX] = { 0 };
    struct sp_buf buf;

    for (unsigned i = 0; i < count; i++) {
        wishes[i].node_id = nodes[i];
    }
    sp_buf_init(&buf, 65536);
    assert_int_equal(sp_state_command_move_begin(
                         sp_state_topic(fake.state, name)->topic_id, 0, wishes, count, &buf),
                     0);
    assert_int_equal(apply(&buf), 0);
}

/* SELF comes with another disk. */
static void replace_disk(void)
{
    const struct sp_state_node self = { .node_id = SELF,
                                        .incarnation = 9,
                                        .client_address = "c",
                                        .peer_address = "p",
                                        .features = { SP_FEATURE_LEVEL_FIRST,
                                                      SP_FEATURE_LEVEL_MAX } };
    struct sp_buf buf;

    sp_buf_init(&buf, 65536);
    assert_int_equal(sp_state_command_join_node(&self, &buf), 0);
    assert_int_equal(apply(&buf), 0);
}

/* The disk was replaced: as an empty one the old replica would vote without what it had stored. */
static void test_reconcile_replica_of_another_disk_does_not_run(void **unused)
{
    static const uint32_t nodes[] = { SELF, 2, 3 };
    unsigned lost = 0;
    struct counted_trace counted[] = { { "its disk was replaced", &lost }, { NULL, NULL } };

    (void)unused;
    begin();
    sp_trace_set_sink(count_traces, counted, SP_TRACE_LEVEL_WARN);
    create_on("t", nodes, 3);
    replace_disk();
    confirm();
    confirm(); /* it is told once */
    assert_int_equal(fake.open_count, 0);
    assert_int_equal(sp_reconcile_missing_count(fake.reconcile), 1);
    create_on("u", nodes, 3);
    assert_int_equal(fake.open_count, 1); /* of the disk that it has */
    end_open(0);
    assert_int_equal(sp_reconcile_missing_count(fake.reconcile), 1);
    renew("t", nodes, 3);
    assert_int_equal(fake.open_count, 1); /* the one that takes its place */
    end_open(0);
    assert_int_equal(sp_reconcile_missing_count(fake.reconcile), 0);
    assert_int_equal(lost, 1);
    sp_trace_set_sink(NULL, NULL, SP_TRACE_LEVEL_WARN);
    end();
}

/* It writes the first membership, without which it would never have a leader. What began with
 * others, or has what it began with, does not: they may have another one. */
static void test_reconcile_only_replica_begins_anew_also_after_a_forced_membership(void **unused)
{
    static const uint32_t nodes[] = { SELF, 2 };
    struct sp_buf buf;

    (void)unused;
    for (unsigned i = 0; i < 2; i++) {
        begin();
        create_on("t", nodes, 1);
        create_on("u", nodes, 2);
        sp_buf_init(&buf, 65536);
        assert_int_equal(sp_state_command_force_nodes(nodes, 2, &buf), 0);
        assert_int_equal(apply(&buf), 0);
        if (i == 1) {
            replace_disk();
        }
        confirm();
        assert_int_equal(fake.open_count, i == 0 ? 2 : 1);
        for (unsigned open = 0; open < fake.open_count; open++) {
            assert_int_equal(fake.opens[open]->place_count, i);
        }
        end();
    }
}

static void end_move_of(const char *name)
{
    uint64_t group_id = sp_state_topic(fake.state, name)->partitions[0].group_id;
    struct sp_state_move move = *sp_state_move(fake.state, group_id);
    struct sp_buf buf;

    sp_buf_init(&buf, 65536);
    assert_int_equal(sp_state_command_move_done(&move, &buf), 0);
    assert_int_equal(apply(&buf), 0);
}

/* All that it had is lost: the first replica that was given out since writes the first membership,
 * of itself alone, and what is known of the last leader is forgotten. */
static void test_reconcile_heir_of_a_lost_partition_founds_it_anew(void **unused)
{
    static const uint32_t here[] = { SELF };
    static const uint32_t there[] = { 2 };
    unsigned told = 0;
    struct counted_trace counted[] = { { "partition begins anew", &told }, { NULL, NULL } };

    (void)unused;
    begin();
    sp_trace_set_sink(count_traces, counted, SP_TRACE_LEVEL_WARN);
    create_on("t", there, 1);
    renew("t", here, 1);
    end_move_of("t"); /* it was moved: it does not begin anew as an only one would */
    replace_disk();
    confirm();
    assert_int_equal(fake.open_count, 0);
    assert_int_equal(fake.forget_count, 0);
    renew("t", here, 1);
    assert_int_equal(fake.open_count, 1);
    assert_int_equal(fake.opens[0]->place_count, 1);
    assert_int_equal(fake.opens[0]->places[0].replica_id, fake.opens[0]->replica_id);
    assert_int_equal(fake.opens[0]->places[0].node_id, SELF);
    assert_true(fake.forget_count > 0);
    assert_int_equal(told, 1);
    end_open(0);
    sp_trace_set_sink(NULL, NULL, SP_TRACE_LEVEL_WARN);
    end();
}

static void test_reconcile_survives_failing_allocations(void **unused)
{
    (void)unused;
    begin();
    create("t", 6);
    for (uint64_t n = 1; n < 8; n++) {
        sp_mem_fail_at(n);
        confirm();
        sp_mem_fail_at(0);
    }
    fake_wait(400);
    assert_int_equal(fake.open_count, 3);
    while (fake.open_count > 0) {
        end_open(0);
    }
    assert_int_equal(sp_reconcile_missing_count(fake.reconcile), 0);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reconcile_damaged_replica_is_missing_and_not_retried),
        cmocka_unit_test(test_reconcile_damage_is_marked_and_explained),
        cmocka_unit_test(test_reconcile_without_memory_tries_again),
        cmocka_unit_test(test_reconcile_without_space_tries_ever_more_rarely),
        cmocka_unit_test(test_reconcile_replica_of_another_disk_does_not_run),
        cmocka_unit_test(test_reconcile_only_replica_begins_anew_also_after_a_forced_membership),
        cmocka_unit_test(test_reconcile_heir_of_a_lost_partition_founds_it_anew),
        cmocka_unit_test(test_reconcile_survives_failing_allocations),
    };
    return cmocka_run_group_tests_name("cluster/reconcile_trouble", tests, NULL, NULL);
}
