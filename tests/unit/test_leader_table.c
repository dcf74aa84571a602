/* Who leads what, as local replicas and other nodes say it. */
#include "cluster/leader_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake_loop.h"

enum {
    SELF = 4,
    GROUP = 2,
};

static unsigned told; /* leaders, in all messages */

/* ---- the transport's stand-in ---------------------------------------------------------------- */

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

/* ---- fixture --------------------------------------------------------------------------------- */

static struct sp_leader_table *table;

static int setup(void **state)
{
    (void)state;
    fake_loop_init();
    return sp_leader_table_new(NULL, NULL, SELF, &table);
}

static int teardown(void **state)
{
    (void)state;
    sp_leader_table_free(table);
    return 0;
}

/* `from_node` says that `node_id` (itself, or 0: nobody any more) leads in `term`. */
static void hear(uint32_t from_node, uint64_t term, uint32_t node_id)
{
    const struct sp_peer_leader leader = { .group_id = GROUP, .term = term, .node_id = node_id };
    struct sp_peer_message message = { .kind = SP_PEER_LEADERS, .u.count = 1 };
    struct sp_blob *blob = sp_blob_new(SP_PEER_LEADER_SIZE);

    assert_non_null(blob);
    sp_peer_leader_encode(&leader, blob->bytes);
    message.body = sp_slice_of(blob, 0, blob->size);
    sp_leader_table_hear(table, from_node, &message);
    sp_slice_unref(&message.body);
    sp_blob_unref(blob);
}

static void expect(uint32_t node_id, uint64_t term)
{
    uint64_t known = 0;

    assert_int_equal(sp_leader_table_get(table, GROUP, &known), node_id);
    assert_int_equal(known, term);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_leader_table_nodes_speak_for_themselves(void **state)
{
    (void)state;
    hear(1, 5, 1);
    expect(1, 5);
    hear(2, 6, 3); /* of another */
    expect(1, 5);
    hear(2, 4, 2); /* of the past */
    expect(1, 5);
    hear(2, 6, 0); /* it never led */
    expect(1, 5);
    hear(1, 5, 0);
    expect(0, 5);
    hear(2, 6, 2);
    expect(2, 6);
}

/* The simulator's seed 526: a replica that was moved away, and did not know it, stood for election
 * all alone. Its group went on in lower terms, of which its node wanted to hear nothing. */
static void test_leader_table_left_group_leads_on_in_an_older_term(void **state)
{
    (void)state;
    hear(3, 36, 3);
    sp_leader_table_set(table, GROUP, 41, 0, 0);
    hear(1, 37, 1);
    expect(0, 41); /* the local replica's word counts ... */
    sp_leader_table_leave(table, GROUP);
    expect(1, 37); /* ... until it goes */
    hear(2, 38, 2);
    expect(2, 38);
}

static void test_leader_table_left_group_without_a_word_is_open_to_any(void **state)
{
    (void)state;
    sp_leader_table_set(table, GROUP, 41, 0, 0);
    sp_leader_table_leave(table, GROUP);
    expect(0, 0);
    hear(1, 37, 1);
    expect(1, 37);
}

static void test_leader_table_word_that_was_taken_back_does_not_count(void **state)
{
    (void)state;
    hear(1, 37, 1);
    sp_leader_table_set(table, GROUP, 41, 0, 0);
    hear(2, 37, 0); /* it never led */
    hear(1, 37, 0);
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
    hear(1, 5, 1);
    sp_leader_table_forget(table, GROUP);
    hear(2, 5, 0); /* it has not forgotten yet that nobody led */
    told = 0;
    sp_leader_table_node_up(table, 3);
    assert_int_equal(told, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_leader_table_nodes_speak_for_themselves, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_leader_table_left_group_leads_on_in_an_older_term, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_leader_table_left_group_without_a_word_is_open_to_any, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_leader_table_word_that_was_taken_back_does_not_count, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_leader_table_left_group_keeps_its_leader, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_leader_table_forgotten_group_does_not_come_back, setup, teardown),
    };

    return cmocka_run_group_tests_name("cluster/leader_table", tests, NULL, NULL);
}
