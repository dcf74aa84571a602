/* Nodes that find each other, lose each other, and exchange messages. */
#include "transport_world.h"

/* ---- forming --------------------------------------------------------------------------------- */

static void test_transport_three_empty_nodes_form_a_cluster(void **state)
{
    (void)state;
    for (uint32_t i = 1; i <= NODES; i++) {
        start(i);
        assert_int_equal(fixture.nodes[i].formed_count, 0);
    }
    RUN_UNTIL(all_up() && all_formed());
    for (uint32_t i = 1; i <= NODES; i++) {
        const struct node *node = &fixture.nodes[i];

        assert_int_equal(node->formed_count, 1);
        assert_true(node->fresh);
        assert_int_equal(node->member_count, NODES);
        assert_int_equal(node->members[0], 1);
        assert_int_equal(node->members[2], 3);
        assert_int_equal(node->store.identity.state, SP_IDENTITY_FORMED);
        assert_memory_equal(node->store.identity.cluster_id,
                            fixture.nodes[1].store.identity.cluster_id,
                            SP_CLUSTER_ID_SIZE);
    }
    stop(2);
    start(2);
    RUN_UNTIL(fixture.nodes[2].formed_count == 1);
    assert_false(fixture.nodes[2].fresh);
    assert_int_equal(fixture.nodes[2].member_count, NODES);
}

/* ---- messages -------------------------------------------------------------------------------- */

static void send_numbered(uint64_t number, bool as_heartbeat)
{
    struct sp_peer_message message = { .kind = SP_PEER_RAFT };

    message.u.raft.kind = SP_PEER_APPEND_RESULT;
    message.u.raft.group_id = 5;
    message.u.raft.term = number;
    if (as_heartbeat) {
        assert_int_equal(
            sp_transport_send_heartbeat(fixture.nodes[1].transport, 2, &message.u.raft), 0);
    } else {
        assert_int_equal(sp_transport_send(fixture.nodes[1].transport, 2, &message, NULL, 0), 0);
    }
}

static void test_transport_messages_arrive_in_order(void **state)
{
    const struct node *receiver = &fixture.nodes[2];

    (void)state;
    start_formed_cluster();
    for (uint64_t number = 1; number <= 1000; number++) {
        send_numbered(number, number % 3 != 0);
        if (number % 100 == 0) {
            run_ms(1);
        }
    }
    RUN_UNTIL(receiver->received_count == 1000);
    for (uint64_t number = 1; number <= 1000; number++) {
        const struct received *received = &receiver->received[number - 1];

        assert_int_equal(received->kind, SP_PEER_RAFT);
        assert_int_equal(received->from, 1);
        assert_int_equal(received->raft.term, number);
        assert_int_equal(received->raft.group_id, 5);
        assert_int_equal(received->body_size, 0);
    }
    assert_int_equal(fixture.nodes[3].received_count, 0);
}

static void test_transport_bodies_arrive_whole(void **state)
{
    struct sp_peer_message append = { .kind = SP_PEER_RAFT };
    struct sp_peer_message call = { .kind = SP_PEER_CALL, .u.call = { 7, 1, 0 } };
    struct sp_blob *blob = sp_blob_new(BODY_BYTES);

    (void)state;
    assert_non_null(blob);
    memset(blob->bytes, 0x5a, blob->size);
    const struct sp_slice pieces[] = { { blob, blob->bytes, BODY_BYTES - 100 },
                                       { blob, blob->bytes + 10, 100 } };
    append.u.raft.kind = SP_PEER_APPEND;
    append.u.raft.frame_count = 2;
    start_formed_cluster();
    assert_int_equal(sp_transport_send(fixture.nodes[3].transport, 1, &append, pieces, 2), 0);
    assert_int_equal(sp_transport_send(fixture.nodes[3].transport, 1, &call, pieces, 1), 0);
    assert_true(sp_transport_queued_bytes(fixture.nodes[3].transport, 1) > BODY_BYTES);
    uint32_t crc = sp_crc32c(0, blob->bytes, BODY_BYTES);
    RUN_UNTIL(fixture.nodes[1].received_count == 2);
    assert_int_equal(fixture.nodes[1].received[0].body_size, BODY_BYTES);
    assert_int_equal(fixture.nodes[1].received[0].body_crc, crc);
    assert_int_equal(fixture.nodes[1].received[1].kind, SP_PEER_CALL);
    assert_int_equal(fixture.nodes[1].received[1].body_size, BODY_BYTES - 100);
    RUN_UNTIL(sp_transport_queued_bytes(fixture.nodes[3].transport, 1) == 0);
    sp_blob_unref(blob);
}

static void test_transport_send_without_a_link_is_dropped(void **state)
{
    struct sp_peer_message message = { .kind = SP_PEER_STOPPED };
    struct sp_peer_raft raft = { .kind = SP_PEER_APPEND };

    (void)state;
    start(1);
    run_ms(5);
    struct sp_transport *transport = fixture.nodes[1].transport;
    assert_int_equal(sp_transport_send(transport, 2, &message, NULL, 0), SPATE_ERR_CLOSED);
    assert_int_equal(sp_transport_send(transport, 1, &message, NULL, 0), SPATE_ERR_CLOSED);
    assert_int_equal(sp_transport_send(transport, 99, &message, NULL, 0), SPATE_ERR_CLOSED);
    assert_int_equal(sp_transport_send_heartbeat(transport, 2, &raft), SPATE_ERR_CLOSED);
    assert_int_equal(sp_transport_link(transport, 2), SP_LINK_DOWN);
}

/* ---- losing a node --------------------------------------------------------------------------- */

static void test_transport_dead_node_is_reported_at_once(void **state)
{
    (void)state;
    start_formed_cluster();
    uint64_t began_ms = sp_loop_now_ms(fixture.loop);
    stop(3);
    for (uint32_t i = 1; i <= 2; i++) {
        RUN_UNTIL(fixture.nodes[i].links[3] == SP_LINK_DEAD);
        assert_true(fixture.nodes[i].down_ms[3] <= fixture.nodes[i].dead_ms[3]);
        assert_true(fixture.nodes[i].dead_ms[3] - began_ms <= DEAD_MS_MAX);
        assert_int_equal(fixture.nodes[i].links[3 - i], SP_LINK_UP);
    }
    run_ms(200); /* once only: on_link checks that */
    start(3);
    RUN_UNTIL(all_up());
}

static struct sp_transport_look look_at(uint32_t node_id)
{
    struct sp_transport_look look = { 0 };

    assert_true(sp_transport_look(fixture.nodes[1].transport, node_id, &look));
    return look;
}

static void test_transport_tells_since_when_a_node_is_down_or_full(void **state)
{
    (void)state;
    start_formed_cluster();
    assert_false(
        sp_transport_look(fixture.nodes[1].transport, 1, &(struct sp_transport_look){ 0 }));
    uint64_t began_ms = sp_loop_now_ms(fixture.loop);
    fixture.nodes[3].store.space = SP_SPACE_LAST;
    RUN_UNTIL(look_at(3).condition != 0);
    assert_int_equal(look_at(3).condition, SP_PEER_NO_SPACE | SP_PEER_NO_RECORDS);
    uint64_t since_ms = look_at(3).condition_ms;
    assert_true(since_ms > began_ms);
    uint64_t heard_ms = look_at(3).heard_ms;
    RUN_UNTIL(look_at(3).heard_ms > heard_ms);
    assert_int_equal(look_at(3).condition_ms, since_ms); /* it was said again */
    assert_true(look_at(3).up && look_at(3).link_ms <= began_ms);
    stop(3);
    RUN_UNTIL(fixture.nodes[1].links[3] == SP_LINK_DEAD);
    run_ms(50);
    assert_false(look_at(3).up);
    assert_int_equal(look_at(3).condition, 0);
    assert_int_equal(look_at(3).link_ms, fixture.nodes[1].down_ms[3]);
}

static void test_transport_node_that_never_was_up_is_not_dead(void **state)
{
    (void)state;
    start(1);
    run_ms(100);
    assert_int_equal(fixture.nodes[1].links[2], SP_LINK_DOWN);
    assert_int_equal(fixture.nodes[1].dead_ms[2], 0);
}

/* Sockets that this process cannot have say nothing of the other one. */
static void test_transport_failure_to_connect_of_its_own_is_no_death(void **state)
{
    struct rlimit limit;

    (void)state;
    start_formed_cluster();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    const struct rlimit none = { .rlim_cur = 0, .rlim_max = limit.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    stop(3);
    RUN_UNTIL(fixture.nodes[1].down_ms[3] != 0);
    run_ms(100);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(fixture.nodes[1].dead_ms[3], 0);
    assert_int_equal(fixture.nodes[1].links[2], SP_LINK_UP);
    RUN_UNTIL(fixture.nodes[1].links[3] == SP_LINK_DEAD);
}

/* ---- a peer that does not read --------------------------------------------------------------- */

static struct raw slow;
static uint64_t slow_incarnation = 102;

static void
on_slow_message(void *arg, struct sp_conn *conn, struct sp_blob *blob, size_t position, size_t size)
{
    struct sp_peer_message hello = hello_of(2, slow_incarnation, SP_IDENTITY_FORMED);

    (void)arg;
    (void)blob;
    (void)position;
    (void)size;
    slow.conn = conn;
    raw_send(&slow, &hello);
    sp_conn_pause(conn);
}

static const struct sp_conn_handler slow_conn_handler = {
    .message = on_slow_message,
    .closed = on_raw_closed,
};

static int on_slow_accept(void *arg,
                          const char *peer,
                          const struct sp_conn_handler **out_handler,
                          void **out_arg)
{
    (void)arg;
    (void)peer;
    *out_handler = &slow_conn_handler;
    *out_arg = &slow;
    return 0;
}

static void on_slow_opened(void *arg, void *conn_arg, struct sp_conn *conn)
{
    (void)arg;
    (void)conn_arg;
    (void)conn;
}

static const struct sp_server_handler slow_server_handler = {
    .accept = on_slow_accept,
    .opened = on_slow_opened,
};

static struct sp_server *open_slow_server(void)
{
    struct sp_server *server = NULL;

    assert_int_equal(sp_server_new(fixture.loop,
                                   fixture.addresses[2],
                                   &sp_conn_node_messages,
                                   8,
                                   &slow_server_handler,
                                   NULL,
                                   &server),
                     0);
    return server;
}

static void test_transport_slow_peer_makes_the_queue_grow_to_its_bound_only(void **state)
{
    struct sp_peer_message call = { .kind = SP_PEER_REPLY };
    struct sp_blob *blob = sp_blob_new(BODY_BYTES);
    unsigned sent = 0;
    int rv = 0;

    (void)state;
    assert_non_null(blob);
    memset(blob->bytes, 1, blob->size);
    const struct sp_slice piece = { blob, blob->bytes, blob->size };
    struct sp_server *server = open_slow_server();
    start(1);
    struct sp_transport *transport = fixture.nodes[1].transport;
    RUN_UNTIL(sp_transport_link(transport, 2) == SP_LINK_UP);
    while (rv == 0 && sent < 1000) {
        rv = sp_transport_send(transport, 2, &call, &piece, 1);
        sent += rv == 0;
        if (sent % 10 == 0) {
            run_ms(1);
        }
    }
    assert_int_equal(rv, SPATE_ERR_BUSY);
    assert_true(sp_transport_queued_bytes(transport, 2) <=
                SP_PEER_QUEUE_BYTES_MAX + BODY_BYTES + SP_PEER_HEAD_SIZE_MAX);
    sp_server_close(server, NULL, NULL);
    stop(1);
    sp_blob_unref(blob);
}

/* Its machine may have gone without a word: what was led on the disk that is no more is not led. */
static void test_transport_node_with_another_directory_was_dead(void **state)
{
    struct node *node = &fixture.nodes[1];
    bool right = true;

    (void)state;
    node->store.identity.state = SP_IDENTITY_FORMED;
    node->store.identity.cluster_id[0] = 9;
    start(1);
    struct sp_server *server = open_slow_server();
    for (unsigned i = 0; i < 3; i++) {
        RUN_UNTIL(node->links[2] == SP_LINK_UP);
        right = right && (node->dead_ms[2] != 0) == (i == 2);
        slow_incarnation = i < 1 ? 102 : 555; /* of who answers next */
        node->down_ms[2] = 0;
        sp_conn_close(slow.conn, false);
        RUN_UNTIL(node->down_ms[2] != 0);
    }
    slow_incarnation = 102;
    sp_server_close(server, NULL, NULL);
    stop(1);
    assert_true(right);
}

/* A process that hung while another one took its place, which this node finds before it is greeted
 * by it. */
static void test_transport_process_that_is_found_ends_the_connection_of_another(void **state)
{
    const struct sp_peer_message hello = hello_of(2, 555, SP_IDENTITY_FORMED);
    const struct sp_life registered = { .incarnation = 102 };
    struct raw hung;

    (void)state;
    fixture.nodes[1].store.identity.state = SP_IDENTITY_FORMED;
    fixture.nodes[1].store.identity.cluster_id[0] = 9;
    start(1);
    raw_connect(&hung, 1);
    raw_send(&hung, &hello);
    RUN_UNTIL(hung.hellos == 1);
    sp_transport_set_registered(fixture.nodes[1].transport, 2, &registered);
    struct sp_server *server = open_slow_server();
    RUN_UNTIL(fixture.nodes[1].links[2] == SP_LINK_UP);
    for (unsigned i = 0; i < 500 && !hung.closed; i++) {
        run_ms(1);
    }
    bool ended = hung.closed;
    sp_server_close(server, NULL, NULL);
    stop(1);
    assert_true(ended);
}

/* ---- starting -------------------------------------------------------------------------------- */

static void test_transport_wrong_options_are_refused(void **state)
{
    struct node *node = &fixture.nodes[1];
    struct sp_transport *transport = NULL;
    struct sp_transport_options wrong[4];

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        wrong[i] = make_options(1);
    }
    wrong[0].node_id = 4;
    wrong[1].seeds[0].node_id = 3; /* twice */
    wrong[2].seeds[0].node_id = 0;
    wrong[3].seeds[0].address[0] = '\0';
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(
            sp_transport_new(fixture.loop, &node->store, &wrong[i], &handler, node, &transport),
            SPATE_ERR_INVALID);
    }
    start(1);
    struct sp_transport_options options = make_options(2);
    options.listen = fixture.addresses[1];
    assert_int_equal(
        sp_transport_new(
            fixture.loop, &fixture.nodes[2].store, &options, &handler, node, &transport),
        SPATE_ERR_EXISTS);
}

static void test_transport_set_node_moves_a_link(void **state)
{
    struct sp_transport_options options = make_options(1);

    (void)state;
    (void)snprintf(options.seeds[0].address, 32, "%s", fixture.addresses[0]); /* nobody there */
    start_with(1, &options);
    start(2);
    run_ms(50);
    struct sp_transport *transport = fixture.nodes[1].transport;
    assert_int_equal(sp_transport_link(transport, 2), SP_LINK_DOWN);
    assert_int_equal(sp_transport_set_node(transport, 2, fixture.addresses[2]), 0);
    RUN_UNTIL(sp_transport_link(transport, 2) == SP_LINK_UP);
    assert_int_equal(sp_transport_set_node(transport, 1, "127.0.0.1:1"), 0);
    assert_int_equal(sp_transport_set_node(transport, 0, "127.0.0.1:1"), SPATE_ERR_INVALID);
    assert_int_equal(sp_transport_set_node(transport, 5, fixture.addresses[0]), 0);
    assert_int_equal(sp_transport_link(transport, 5), SP_LINK_DOWN);
}

/* Configuration and log may differ, and either may be older. */
static void test_transport_looks_at_each_address_that_it_was_told(void **state)
{
    (void)state;
    start(1);
    struct sp_transport *transport = fixture.nodes[1].transport;
    assert_int_equal(sp_transport_set_node(transport, 2, fixture.addresses[0]), 0);
    for (unsigned i = 0; i < 10; i++) { /* more than it keeps */
        char address[32];
        (void)snprintf(address, sizeof address, "127.0.0.1:%u", i + 1);
        assert_int_equal(sp_transport_set_node(transport, 2, address), 0);
    }
    start(2);
    RUN_UNTIL(sp_transport_link(transport, 2) == SP_LINK_UP);
    assert_string_equal(sp_transport_address(transport, 0), fixture.addresses[2]);
    /* who answers is not left for what somebody says */
    assert_int_equal(sp_transport_set_node(transport, 2, fixture.addresses[0]), 0);
    run_ms(50);
    assert_int_equal(sp_transport_link(transport, 2), SP_LINK_UP);
    assert_null(sp_transport_address(transport, 2));
}

static void test_transport_tells_of_a_stranger_of_its_cluster(void **state)
{
    (void)state;
    for (uint32_t id = 1; id <= NODES; id++) {
        start(id);
    }
    RUN_UNTIL(fixture.nodes[1].formed_count + fixture.nodes[3].formed_count == 2);
    RUN_UNTIL(sp_transport_link(fixture.nodes[1].transport, 3) == SP_LINK_UP);
    assert_int_equal(fixture.nodes[1].strangers, 0);
    sp_transport_remove_node(fixture.nodes[1].transport, 3);
    RUN_UNTIL(fixture.nodes[1].strangers > 0);
}

/* Its address has changed while this node was away: it reaches us, and we do not find it. */
static void test_transport_member_that_is_not_found_counts_as_a_stranger(void **state)
{
    struct sp_transport_options options = make_options(1);
    struct node *node = &fixture.nodes[1];

    (void)state;
    (void)snprintf(options.seeds[0].address, 32, "%s", fixture.addresses[0]); /* nobody there */
    for (uint32_t i = 1; i <= NODES; i++) {
        fixture.nodes[i].store.identity.state = SP_IDENTITY_FORMED;
        fixture.nodes[i].store.identity.cluster_id[0] = 9;
    }
    start_with(1, &options);
    start(2);
    start(3);
    RUN_UNTIL(fixture.nodes[2].links[1] == SP_LINK_UP && node->links[3] == SP_LINK_UP);
    assert_int_equal(node->strangers, 0);
    uint64_t began_ms = sp_loop_now_ms(fixture.loop);
    struct sp_transport_look look;
    RUN_UNTIL(node->strangers > 0);
    assert_true(sp_loop_now_ms(fixture.loop) - began_ms >= 500); /* not while it may still come */
    assert_true(sp_transport_look(node->transport, 2, &look));
    assert_string_equal(look.not_found_at, fixture.addresses[0]);
    assert_true(sp_transport_look(node->transport, 3, &look));
    assert_null(look.not_found_at);
    assert_int_equal(sp_transport_set_node(node->transport, 2, fixture.addresses[2]), 0);
    RUN_UNTIL(node->links[2] == SP_LINK_UP);
    assert_true(sp_transport_look(node->transport, 2, &look));
    assert_null(look.not_found_at);
    node->strangers = 0;
    run_ms(2500);
    assert_int_equal(node->strangers, 0);
}

/* Before the cluster is formed nobody is to be asked. */
static void test_transport_seed_that_is_not_found_yet_is_no_stranger(void **state)
{
    struct sp_transport_options options = make_options(1);

    (void)state;
    (void)snprintf(options.seeds[0].address, 32, "%s", fixture.addresses[0]);
    start_with(1, &options);
    start(2);
    RUN_UNTIL(fixture.nodes[2].links[1] == SP_LINK_UP);
    run_ms(2500);
    assert_int_equal(fixture.nodes[1].strangers, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TRANSPORT_TEST(test_transport_three_empty_nodes_form_a_cluster),
        TRANSPORT_TEST(test_transport_messages_arrive_in_order),
        TRANSPORT_TEST(test_transport_bodies_arrive_whole),
        TRANSPORT_TEST(test_transport_send_without_a_link_is_dropped),
        TRANSPORT_TEST(test_transport_dead_node_is_reported_at_once),
        TRANSPORT_TEST(test_transport_tells_since_when_a_node_is_down_or_full),
        TRANSPORT_TEST(test_transport_node_that_never_was_up_is_not_dead),
        TRANSPORT_TEST(test_transport_failure_to_connect_of_its_own_is_no_death),
        TRANSPORT_TEST(test_transport_slow_peer_makes_the_queue_grow_to_its_bound_only),
        TRANSPORT_TEST(test_transport_node_with_another_directory_was_dead),
        TRANSPORT_TEST(test_transport_process_that_is_found_ends_the_connection_of_another),
        TRANSPORT_TEST(test_transport_wrong_options_are_refused),
        TRANSPORT_TEST(test_transport_set_node_moves_a_link),
        TRANSPORT_TEST(test_transport_looks_at_each_address_that_it_was_told),
        TRANSPORT_TEST(test_transport_tells_of_a_stranger_of_its_cluster),
        TRANSPORT_TEST(test_transport_member_that_is_not_found_counts_as_a_stranger),
        TRANSPORT_TEST(test_transport_seed_that_is_not_found_yet_is_no_stranger),
    };
    return cmocka_run_group_tests_name("cluster/transport", tests, NULL, NULL);
}
