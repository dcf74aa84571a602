/* Whom a node does not talk with, and what it tells him. */
#include "transport_world.h"

static void expect_refusal(struct raw *raw, const char *words)
{
    RUN_UNTIL(raw->closed);
    if (strstr(raw->refusal, words) == NULL) {
        fail_msg("refused with \"%s\", not \"%s\"", raw->refusal, words);
    }
    assert_int_equal(fixture.nodes[1].received_count, 0);
}

static void test_transport_other_cluster_is_refused(void **state)
{
    (void)state;
    for (uint32_t i = 1; i <= NODES; i++) {
        fixture.nodes[i].store.identity.state = SP_IDENTITY_FORMED;
        fixture.nodes[i].store.identity.cluster_id[0] = i == 3 ? 8 : 9;
        start(i);
    }
    RUN_UNTIL(fixture.nodes[1].links[2] == SP_LINK_UP);
    run_ms(50);
    assert_int_equal(fixture.nodes[1].links[3], SP_LINK_DOWN);
    assert_int_equal(fixture.nodes[3].links[1], SP_LINK_DOWN);
}

static void test_transport_unexpected_node_at_an_address_is_refused(void **state)
{
    struct sp_transport_options options = make_options(1);

    (void)state;
    (void)snprintf(options.seeds[0].address, 32, "%s", fixture.addresses[3]); /* node 2 */
    (void)snprintf(options.seeds[1].address, 32, "%s", fixture.addresses[2]); /* node 3 */
    start_with(1, &options);
    start(2);
    start(3);
    RUN_UNTIL(fixture.nodes[2].links[3] == SP_LINK_UP);
    run_ms(50);
    assert_int_equal(fixture.nodes[1].links[2], SP_LINK_DOWN);
    assert_int_equal(fixture.nodes[1].links[3], SP_LINK_DOWN);
    assert_int_equal(fixture.nodes[1].formed_count, 0);
}

static void test_transport_impostors_are_refused(void **state)
{
    struct sp_peer_message stopped = { .kind = SP_PEER_STOPPED };
    struct raw raw;

    (void)state;
    start_formed_cluster();
    const struct {
        struct sp_peer_message hello;
        const char *words;
    } cases[] = {
        { hello_of(1, 101, SP_IDENTITY_FORMED), "node id 1 is mine" },
        { hello_of(9, 109, SP_IDENTITY_FORMED), "node 9 is not known" },
        { hello_of(2, 555, SP_IDENTITY_FORMED), "another process with node id 2" },
        { hello_of(2, 102, 7), "no valid identity" },
        { hello_of(2, 102, SP_IDENTITY_EMPTY), "only members of a formed cluster" },
        { stopped, "HELLO must come first" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        raw_connect(&raw, 1);
        raw_send(&raw, &cases[i].hello);
        raw_send(&raw, &stopped);
        expect_refusal(&raw, cases[i].words);
    }
    /* The real nodes are still there, or back at once. */
    RUN_UNTIL(all_up());
}

/* Only its own connection ends: whoever reaches the port can claim any level of the cluster. */
static void test_transport_level_beyond_this_build_costs_its_sender_the_connection(void **state)
{
    struct sp_transport_options options = make_options(1);
    struct sp_peer_message hello = hello_of(2, 102, SP_IDENTITY_FORMED);
    struct raw raw;

    (void)state;
    options.features = (struct sp_feature_range){ 1, 3 };
    fixture.nodes[1].store.identity.state = SP_IDENTITY_FORMED;
    fixture.nodes[1].store.identity.cluster_id[0] = 9;
    fixture.nodes[3].store.identity.state = SP_IDENTITY_FORMED;
    fixture.nodes[3].store.identity.cluster_id[0] = 9;
    start_with(1, &options);
    start(3);
    RUN_UNTIL(fixture.nodes[1].links[3] == SP_LINK_UP);
    hello.u.hello.feature_most = 255;
    hello.u.hello.feature_active = UINT16_MAX;
    raw_connect(&raw, 1);
    raw_send(&raw, &hello);
    expect_refusal(&raw, "this node knows feature levels up to 3, the cluster is at 65535, says");
    assert_int_equal(fixture.nodes[1].links[3], SP_LINK_UP);

    hello.u.hello.feature_active = 3; /* the same node without the claim */
    raw_connect(&raw, 1);
    raw_send(&raw, &hello);
    RUN_UNTIL(raw.hellos == 1);
    assert_false(raw.closed);
    sp_conn_close(raw.conn, false);
    RUN_UNTIL(raw.closed);
}

static void test_transport_second_connection_of_a_node_replaces_the_first(void **state)
{
    struct sp_peer_message hello = hello_of(2, 102, SP_IDENTITY_EMPTY);
    struct raw first;
    struct raw second;

    (void)state;
    start(1);
    raw_connect(&first, 1);
    raw_send(&first, &hello);
    RUN_UNTIL(first.hellos == 1);
    raw_connect(&second, 1);
    raw_send(&second, &hello);
    RUN_UNTIL(first.closed);
    RUN_UNTIL(second.hellos == 1);
    assert_false(second.closed);
    sp_conn_close(second.conn, false);
    RUN_UNTIL(second.closed);
}

/* A machine that lost its power closes nothing. The one in its place, with another disk, is kept
 * out only while the first may still be there. */
static void test_transport_silent_connection_does_not_keep_out_another_disk(void **state)
{
    struct sp_peer_message first = hello_of(2, 102, SP_IDENTITY_EMPTY);
    struct sp_peer_message other = hello_of(2, 555, SP_IDENTITY_EMPTY);
    struct raw ghost;
    struct raw refused;
    struct raw taken;

    (void)state;
    start(1);
    raw_connect(&ghost, 1);
    raw_send(&ghost, &first);
    RUN_UNTIL(ghost.hellos == 1);
    raw_connect(&refused, 1);
    raw_send(&refused, &other);
    expect_refusal(&refused, "another process with node id 2");
    assert_false(ghost.closed);
    run_ms(WAIT_MS);
    raw_connect(&taken, 1);
    raw_send(&taken, &other);
    RUN_UNTIL(ghost.closed);
    RUN_UNTIL(taken.hellos == 1);
    sp_conn_close(taken.conn, false);
    RUN_UNTIL(taken.closed);
}

static void test_transport_connection_that_changes_its_node_is_refused(void **state)
{
    struct sp_peer_message second = hello_of(2, 102, SP_IDENTITY_EMPTY);
    struct sp_peer_message third = hello_of(3, 103, SP_IDENTITY_EMPTY);
    struct raw raw;
    struct raw again;

    (void)state;
    start(1);
    raw_connect(&raw, 1);
    raw_send(&raw, &second);
    raw_send(&raw, &third);
    expect_refusal(&raw, "this connection is node 2's");
    raw_connect(&again, 1);
    raw_send(&again, &second); /* meets nothing of the first one */
    RUN_UNTIL(again.hellos == 1);
    sp_conn_close(again.conn, false);
    RUN_UNTIL(again.closed);
}

static void test_transport_other_version_is_told_why(void **state)
{
    struct sp_peer_message hello = hello_of(2, 102, SP_IDENTITY_FORMED);
    uint8_t head[SP_PEER_HEAD_SIZE_MAX];
    struct raw raw;

    (void)state;
    start(1);
    raw_connect(&raw, 1);
    size_t size = sp_peer_head_encode(&hello, 0, head);
    head[8] = 2;
    uint32_t crc = sp_crc32c(0, head + 8, size - 8);
    for (unsigned i = 0; i < 4; i++) {
        head[4 + i] = (uint8_t)(crc >> (8 * i));
    }
    assert_int_equal(sp_conn_send_copy(raw.conn, head, size), 0);
    expect_refusal(&raw, "version 2 of the node protocol");
}

static void test_transport_garbage_and_silence_are_closed(void **state)
{
    struct raw garbage;
    struct raw silent;

    (void)state;
    start(1);
    raw_connect(&silent, 1);
    raw_connect(&garbage, 1);
    assert_int_equal(sp_conn_send_copy(garbage.conn, "GET / HTTP/1.1\r\n\r\n", 18), 0);
    RUN_UNTIL(garbage.closed);
    assert_false(silent.closed);
    RUN_UNTIL(silent.closed);
    assert_int_equal(silent.hellos, 0);
}

static void greet_as(struct raw *raw, uint64_t incarnation)
{
    const struct sp_peer_message hello = hello_of(2, incarnation, SP_IDENTITY_FORMED);

    raw_connect(raw, 1);
    raw_send(raw, &hello);
}

static void start_formed(uint32_t node_id)
{
    fixture.nodes[node_id].store.identity.state = SP_IDENTITY_FORMED;
    fixture.nodes[node_id].store.identity.cluster_id[0] = 9;
    start(node_id);
}

static void register_life(uint64_t incarnation, uint64_t run)
{
    const struct sp_life life = { .incarnation = incarnation, .run = run << 32 | 1 };

    sp_transport_set_registered(fixture.nodes[1].transport, 2, &life);
}

/* A process that hung while another one took its place has the links when that one restarts. */
static void test_transport_registered_directory_takes_the_place_of_another(void **state)
{
    struct raw hung;
    struct raw right;
    struct raw again;

    (void)state;
    start_formed(1);
    greet_as(&hung, 102);
    RUN_UNTIL(hung.hellos == 1);
    register_life(555, 1);
    greet_as(&right, 555);
    RUN_UNTIL(right.hellos == 1);
    RUN_UNTIL(hung.closed);
    assert_int_equal(sp_transport_incarnation(fixture.nodes[1].transport, 2), 555);
    greet_as(&again, 102);
    expect_refusal(&again, "another process with node id 2");
    assert_false(right.closed);
    raw_close(&right);
}

/* Only while the controller is known to say so now, and also what is connected already. */
static void test_transport_directory_that_was_replaced_is_refused(void **state)
{
    const struct sp_peer_message stopped = { .kind = SP_PEER_STOPPED };
    struct raw old;
    struct raw again;

    (void)state;
    start_formed(1);
    register_life(555, 1);
    greet_as(&old, 102);
    RUN_UNTIL(old.hellos == 1);
    fixture.nodes[1].current = true;
    raw_send(&old, &stopped);
    expect_refusal(&old, "node 2 has another data directory now, and this is an earlier one");
    greet_as(&again, 102);
    expect_refusal(&again, "node 2 has another data directory now, and this is an earlier one");
}

/* What an earlier part of the log says of a directory does not undo what is known of it. */
static void test_transport_older_run_does_not_replace_the_one_on_record(void **state)
{
    struct sp_peer_message hello = hello_of(2, 102, SP_IDENTITY_FORMED);
    struct raw raw;

    (void)state;
    start_formed(1);
    register_life(102, 9);
    register_life(102, 8);
    hello.u.hello.run = UINT64_C(8) << 32 | 1;
    raw_connect(&raw, 1);
    raw_send(&raw, &hello);
    expect_refusal(&raw, "node 2 runs on an older copy of its data directory");
}

static struct sp_transport_look look_at_of(uint32_t from_node, uint32_t node_id)
{
    struct sp_transport_look look = { .up = true };

    assert_true(sp_transport_look(fixture.nodes[from_node].transport, node_id, &look));
    return look;
}

static struct sp_transport_look look_at(uint32_t node_id)
{
    return look_at_of(1, node_id);
}

/* For cluster.health: it runs, it is not talked to, and why. */
static void test_transport_tells_whom_it_refuses(void **state)
{
    struct raw old;

    (void)state;
    start_formed(1);
    register_life(555, 1);
    fixture.nodes[1].current = true;
    assert_null(look_at(2).refusal);
    greet_as(&old, 102);
    expect_refusal(&old, "has another data directory now");
    assert_non_null(strstr(look_at(2).refusal, "node 2 has another data directory now"));
    assert_false(look_at(2).refuses);
    assert_null(look_at(3).refusal);
    run_ms(WAIT_MS + 100); /* it has not come again: it is down */
    assert_null(look_at(2).refusal);
    greet_as(&old, 102);
    expect_refusal(&old, "has another data directory now");
    assert_non_null(look_at(2).refusal);
    fixture.nodes[1].current = false;
    start_formed(2); /* the right one: nothing is left of it */
    RUN_UNTIL(look_at(2).up);
    assert_null(look_at(2).refusal);
    stop(2);
    RUN_UNTIL(!look_at(2).up);
    assert_null(look_at(2).refusal);
}

/* What is found where the node is looked for is known from what calls and says it was that. */
static void test_transport_double_is_told_and_does_not_count_as_up(void **state)
{
    struct sp_transport *transport = NULL;
    struct raw stranger;
    uint32_t node_id = 0;

    (void)state;
    start_formed(1);
    transport = fixture.nodes[1].transport;
    register_life(102, 1);
    assert_false(sp_transport_is_found(transport, 2, 555));
    greet_as(&stranger, 555); /* the right one is away */
    RUN_UNTIL(stranger.hellos == 1);
    assert_false(sp_transport_is_found(transport, 2, 555));
    assert_false(sp_transport_is_up(transport, 2, 555));
    assert_null(sp_transport_double(transport, 0, &node_id));
    start_formed(2);
    RUN_UNTIL(sp_transport_link(transport, 2) == SP_LINK_UP);
    uint64_t right = fixture.nodes[2].store.identity.incarnation;
    assert_true(sp_transport_is_found(transport, 2, right));
    assert_true(sp_transport_is_up(transport, 2, right));
    assert_false(sp_transport_is_up(transport, 2, 555)); /* another one takes its place elsewhere */
    RUN_UNTIL(stranger.closed);
    greet_as(&stranger, 555);
    expect_refusal(&stranger, "another process with node id 2");
    assert_string_equal(sp_transport_double(transport, 0, &node_id),
                        "another process with node id 2 is connected");
    assert_int_equal(node_id, 2);
    assert_null(sp_transport_double(transport, 1, &node_id));
    sp_transport_set_registered(transport, 2, &(struct sp_life){ .incarnation = 555, .run = 1 });
    assert_null(sp_transport_double(transport, 0, &node_id)); /* it was let in */
}

/* Who joins through others does not know who calls it where the node was. */
static void test_transport_newcomer_that_turns_away_is_found(void **state)
{
    (void)state;
    start_formed_cluster();
    struct sp_transport *transport = fixture.nodes[3].transport;
    assert_false(sp_transport_is_found(transport, 1, 555));
    sp_transport_remove_node(fixture.nodes[1].transport, 3);
    RUN_UNTIL(look_at_of(3, 1).refusal != NULL);
    RUN_UNTIL(sp_transport_is_found(transport, 1, 101));
    assert_false(sp_transport_is_found(transport, 1, 555)); /* the right one refuses */
    stop(1);
    run_ms(WAIT_MS + 100);
    assert_false(sp_transport_is_found(transport, 1, 101));
}

/* Where the node was another one lives now, which knows nobody here either. */
static void test_transport_refusal_of_another_node_does_not_count_as_found(void **state)
{
    struct sp_transport_options options = { .node_id = 9, .join_count = 1 };

    (void)state;
    start_formed_cluster();
    stop(1);
    fixture.nodes[1].store.identity.node_id = 9;
    fixture.nodes[1].store.identity.state = SP_IDENTITY_EMPTY;
    options.listen = fixture.addresses[1];
    (void)snprintf(options.join[0], sizeof options.join[0], "%s", fixture.addresses[2]);
    start_with(1, &options);
    RUN_UNTIL(look_at_of(3, 1).refusal != NULL);
    assert_string_equal(look_at_of(3, 1).refusal, "node 3 is not known here");
    assert_false(sp_transport_is_found(fixture.nodes[3].transport, 1, 101));
}

/* Nobody greets it as a member of the cluster: it hears of it by being refused. */
static void test_transport_seed_that_was_removed_has_to_join_when_it_is_empty(void **state)
{
    (void)state;
    start_formed_cluster();
    sp_transport_remove_node(fixture.nodes[2].transport, 1);
    sp_transport_remove_node(fixture.nodes[3].transport, 1);
    RUN_UNTIL(look_at(2).refusal != NULL && look_at(3).refusal != NULL);
    assert_int_equal(fixture.nodes[1].losses, 0); /* it has what it had */
    stop(1);
    fixture.nodes[1].store.identity.state = SP_IDENTITY_EMPTY;
    start(1);
    RUN_UNTIL(fixture.nodes[1].losses > 0);
}

static void test_transport_tells_who_refuses_it(void **state)
{
    (void)state;
    start_formed_cluster();
    sp_transport_remove_node(fixture.nodes[3].transport, 1);
    RUN_UNTIL(look_at(3).refusal != NULL);
    assert_string_equal(look_at(3).refusal,
                        "node 1 is not known here: if it was removed it has to come back with an "
                        "empty directory");
    assert_true(look_at(3).refuses);
    assert_null(look_at(2).refusal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TRANSPORT_TEST(test_transport_other_cluster_is_refused),
        TRANSPORT_TEST(test_transport_unexpected_node_at_an_address_is_refused),
        TRANSPORT_TEST(test_transport_impostors_are_refused),
        TRANSPORT_TEST(test_transport_level_beyond_this_build_costs_its_sender_the_connection),
        TRANSPORT_TEST(test_transport_second_connection_of_a_node_replaces_the_first),
        TRANSPORT_TEST(test_transport_silent_connection_does_not_keep_out_another_disk),
        TRANSPORT_TEST(test_transport_connection_that_changes_its_node_is_refused),
        TRANSPORT_TEST(test_transport_other_version_is_told_why),
        TRANSPORT_TEST(test_transport_garbage_and_silence_are_closed),
        TRANSPORT_TEST(test_transport_registered_directory_takes_the_place_of_another),
        TRANSPORT_TEST(test_transport_directory_that_was_replaced_is_refused),
        TRANSPORT_TEST(test_transport_older_run_does_not_replace_the_one_on_record),
        TRANSPORT_TEST(test_transport_tells_whom_it_refuses),
        TRANSPORT_TEST(test_transport_seed_that_was_removed_has_to_join_when_it_is_empty),
        TRANSPORT_TEST(test_transport_tells_who_refuses_it),
        TRANSPORT_TEST(test_transport_double_is_told_and_does_not_count_as_up),
        TRANSPORT_TEST(test_transport_newcomer_that_turns_away_is_found),
        TRANSPORT_TEST(test_transport_refusal_of_another_node_does_not_count_as_found),
    };
    return cmocka_run_group_tests_name("cluster/transport_refusals", tests, NULL, NULL);
}
