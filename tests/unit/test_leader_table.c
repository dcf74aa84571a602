/* What a node knows of leaders, from local replicas and from other nodes, and since when. */
#include "cluster/leader_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "fake_loop.h"
#include "wire/peer_api.h"

enum {
    SELF = 4,
    OTHER = 2,
    GROUP = 7,
};

static struct sp_leader_table *table;
static uint64_t live_count;
static unsigned told; /* leaders, in all messages */
static struct sp_transport_look looks[4];

int sp_transport_send(struct sp_transport *transport,
                      uint32_t node_id,
                      const struct sp_peer_message *message,
                      const struct sp_slice *pieces,
                      unsigned count)
{
    (void)transport;
    (void)node_id;
    (void)pieces;
    (void)count;
    told += message->u.count;
    return 0;
}

bool sp_transport_look(const struct sp_transport *transport,
                       uint32_t node_id,
                       struct sp_transport_look *out_look)
{
    (void)transport;
    *out_look = looks[node_id];
    return node_id != SELF;
}

static int begin(void **state)
{
    (void)state;
    memset(looks, 0, sizeof looks);
    fake_loop_init();
    live_count = sp_mem_live_count();
    return sp_leader_table_new(NULL, NULL, SELF, &table);
}

static int end(void **state)
{
    (void)state;
    fake_turn();
    sp_leader_table_free(table);
    return sp_mem_live_count() == live_count ? 0 : -1;
}

static void receive(uint32_t from_node, const struct sp_peer_leader *leader)
{
    uint8_t bytes[SP_PEER_LEADER_SIZE];
    struct sp_peer_message message = { .kind = SP_PEER_LEADERS, .u.count = 1 };

    sp_peer_leader_encode(leader, bytes);
    message.body = (struct sp_slice){ .bytes = bytes, .size = sizeof bytes };
    sp_leader_table_hear(table, from_node, &message);
}

/* LEADERS of `node_id`: it leads in `term`, and `lagging` lack frames. */
static void hear(uint32_t node_id, uint64_t term, uint32_t lagging)
{
    const struct sp_peer_leader leader = {
        .group_id = GROUP, .term = term, .node_id = node_id, .lagging = lagging
    };

    receive(node_id, &leader);
}

/* `from_node` says that `node_id` (itself, or 0: nobody any more) leads in `term`. */
static void say(uint32_t from_node, uint64_t term, uint32_t node_id)
{
    const struct sp_peer_leader leader = { .group_id = GROUP, .term = term, .node_id = node_id };

    receive(from_node, &leader);
}

static void expect(uint32_t node_id, uint64_t term)
{
    uint64_t known = 0;

    assert_int_equal(sp_leader_table_get(table, GROUP, &known), node_id);
    assert_int_equal(known, term);
}

static struct sp_leader_since since(void)
{
    struct sp_leader_since found = { 0 };

    assert_true(sp_leader_table_since(table, GROUP, &found));
    return found;
}

static void test_leader_table_knows_since_when_nobody_leads(void **state)
{
    struct sp_leader_since found;

    (void)state;
    assert_false(sp_leader_table_since(table, GROUP, &found));
    uint64_t made_ms = fake_loop.now_ms;
    sp_leader_table_set(table, GROUP, 1, 0, 0);
    fake_wait(100);
    assert_int_equal(since().leader_ms, made_ms);
    hear(OTHER, 2, 0);
    uint64_t led_ms = fake_loop.now_ms;
    fake_wait(100);
    hear(OTHER, 2, 0); /* told again, and led by the same node in a later term */
    hear(OTHER, 3, 0);
    assert_int_equal(since().leader_ms, led_ms);
    sp_leader_table_node_dead(table, OTHER);
    uint64_t lost_ms = fake_loop.now_ms;
    fake_wait(100);
    assert_int_equal(sp_leader_table_get(table, GROUP, NULL), 0);
    assert_int_equal(since().leader_ms, lost_ms);
}

/* The time of a lag outlives a leader, whose successor finds it out only after a moment. */
static void test_leader_table_lag_goes_on_under_the_next_leader(void **state)
{
    (void)state;
    hear(OTHER, 2, 0);
    assert_int_equal(since().lagging_ms, 0);
    fake_wait(100);
    hear(OTHER, 2, 4);
    uint64_t began_ms = fake_loop.now_ms;
    fake_wait(5000);
    hear(OTHER, 2, 6); /* another one, too */
    assert_int_equal(since().lagging_ms, began_ms);
    sp_leader_table_set(table, GROUP, 3, SELF, 0);
    assert_int_equal(since().lagging_ms, 0);
    fake_wait(500);
    sp_leader_table_set(table, GROUP, 3, SELF, 4);
    assert_int_equal(since().lagging_ms, began_ms);
    sp_leader_table_set(table, GROUP, 3, SELF, 0); /* the same leader knows */
    fake_wait(500);
    sp_leader_table_set(table, GROUP, 3, SELF, 4);
    assert_int_equal(since().lagging_ms, fake_loop.now_ms);
    uint64_t again_ms = fake_loop.now_ms;
    sp_leader_table_set(table, GROUP, 4, OTHER, 0); /* as the replica here sees it, first */
    hear(OTHER, 4, 0);
    fake_wait(500);
    hear(OTHER, 4, 4);
    assert_int_equal(since().lagging_ms, again_ms);
    hear(OTHER, 5, 0);
    fake_wait(1500); /* by then it would have known */
    hear(OTHER, 5, 4);
    assert_int_equal(since().lagging_ms, fake_loop.now_ms);
}

static void test_leader_table_keeps_since_when_a_leader_is_misplaced(void **state)
{
    (void)state;
    sp_leader_table_misplaced(table, GROUP, true); /* not known: nothing is kept */
    hear(OTHER, 2, 0);
    assert_int_equal(since().misplaced_ms, 0);
    sp_leader_table_misplaced(table, GROUP, true);
    uint64_t began_ms = fake_loop.now_ms;
    fake_wait(100);
    sp_leader_table_misplaced(table, GROUP, true);
    assert_int_equal(since().misplaced_ms, began_ms);
    sp_leader_table_misplaced(table, GROUP, false);
    assert_int_equal(since().misplaced_ms, 0);
}

static void test_leader_table_nodes_speak_for_themselves(void **state)
{
    (void)state;
    say(1, 5, 1);
    expect(1, 5);
    say(2, 6, 3); /* of another */
    expect(1, 5);
    say(2, 4, 2); /* of the past */
    expect(1, 5);
    say(2, 6, 0); /* it never led */
    expect(1, 5);
    say(1, 5, 0);
    expect(0, 5);
    say(2, 6, 2);
    expect(2, 6);
}

/* The simulator's seed 526: a replica that was moved away, and did not know it, stood for election
 * all alone. Its group went on in lower terms, of which its node wanted to hear nothing. */
/* The disk of its only replica was replaced: what its node says of it begins anew. */
static void test_leader_table_terms_of_an_only_replica_begin_anew(void **state)
{
    (void)state;
    hear(OTHER, 5, 0);
    sp_leader_table_node_dead(table, OTHER);
    hear(OTHER, 2, 0);
    expect(OTHER, 2);
    hear(OTHER, 4, 0);
    say(OTHER, 4, 0); /* it stops in peace */
    expect(0, 4);
    hear(OTHER, 1, 0);
    expect(OTHER, 1);
    hear(1, 3, 0);
    hear(OTHER, 2, 0); /* another one has led since: that is late */
    expect(1, 3);
    sp_leader_table_set(table, GROUP, 7, 0, 0); /* a replica here knows of a later term */
    hear(1, 2, 0);
    expect(0, 7);
}

static void test_leader_table_left_group_leads_on_in_an_older_term(void **state)
{
    (void)state;
    say(3, 36, 3);
    sp_leader_table_set(table, GROUP, 41, 0, 0);
    say(1, 37, 1);
    expect(0, 41); /* the local replica's word counts ... */
    sp_leader_table_leave(table, GROUP);
    expect(1, 37); /* ... until it goes */
    say(2, 38, 2);
    expect(2, 38);
}

static void test_leader_table_left_group_without_a_word_is_open_to_any(void **state)
{
    (void)state;
    sp_leader_table_set(table, GROUP, 41, 0, 0);
    sp_leader_table_leave(table, GROUP);
    expect(0, 0);
    say(1, 37, 1);
    expect(1, 37);
}

static void test_leader_table_word_that_was_taken_back_does_not_count(void **state)
{
    (void)state;
    say(1, 37, 1);
    sp_leader_table_set(table, GROUP, 41, 0, 0);
    say(2, 37, 0); /* it never led */
    say(1, 37, 0);
    sp_leader_table_leave(table, GROUP);
    expect(0, 37);
}

static void test_leader_table_left_group_keeps_its_leader(void **state)
{
    (void)state;
    sp_leader_table_set(table, GROUP, 7, 3, 0);
    sp_leader_table_leave(table, GROUP);
    expect(3, 7);
    sp_leader_table_set(table, GROUP, 8, SELF, 0);
    sp_leader_table_leave(table, GROUP);
    expect(0, 8);
}

/* A group of a topic that is deleted is forgotten, on one node after the other. */
static void test_leader_table_forgotten_group_does_not_come_back(void **state)
{
    (void)state;
    say(1, 5, 1);
    sp_leader_table_forget(table, GROUP);
    say(2, 5, 0); /* it has not forgotten yet that nobody led */
    told = 0;
    sp_leader_table_node_up(table, 3);
    assert_int_equal(told, 0);
}

/* Whether others can do without a replica that has stopped: only the word of a node counts that can
 * be reached and was heard of since. */
static void test_leader_table_knows_that_another_node_leads_on(void **state)
{
    (void)state;
    looks[OTHER] = (struct sp_transport_look){ .up = true, .heard_ms = 500 };
    assert_false(sp_leader_table_led_elsewhere(table, GROUP, 0));
    sp_leader_table_set(table, GROUP, 41, OTHER, 0); /* as the replica here believed */
    assert_false(sp_leader_table_led_elsewhere(table, GROUP, 0));
    say(OTHER, 37, OTHER); /* the replica here stood for election in later terms, and has stopped */
    assert_true(sp_leader_table_led_elsewhere(table, GROUP, 500));
    assert_false(sp_leader_table_led_elsewhere(table, GROUP, 501));
    looks[OTHER].up = false;
    assert_false(sp_leader_table_led_elsewhere(table, GROUP, 500));
    looks[OTHER].up = true;
    say(OTHER, 37, 0);
    assert_false(sp_leader_table_led_elsewhere(table, GROUP, 500));
    say(OTHER, 38, OTHER);
    assert_true(sp_leader_table_led_elsewhere(table, GROUP, 500));
    sp_leader_table_node_dead(table, OTHER);
    assert_false(sp_leader_table_led_elsewhere(table, GROUP, 500));
}

#define LEADER_TEST(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LEADER_TEST(test_leader_table_nodes_speak_for_themselves),
        LEADER_TEST(test_leader_table_terms_of_an_only_replica_begin_anew),
        LEADER_TEST(test_leader_table_left_group_leads_on_in_an_older_term),
        LEADER_TEST(test_leader_table_left_group_without_a_word_is_open_to_any),
        LEADER_TEST(test_leader_table_word_that_was_taken_back_does_not_count),
        LEADER_TEST(test_leader_table_left_group_keeps_its_leader),
        LEADER_TEST(test_leader_table_forgotten_group_does_not_come_back),
        LEADER_TEST(test_leader_table_knows_that_another_node_leads_on),
        LEADER_TEST(test_leader_table_knows_since_when_nobody_leads),
        LEADER_TEST(test_leader_table_lag_goes_on_under_the_next_leader),
        LEADER_TEST(test_leader_table_keeps_since_when_a_leader_is_misplaced),
    };

    return cmocka_run_group_tests_name("cluster/leader_table", tests, NULL, NULL);
}
