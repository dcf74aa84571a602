#include "cluster/transport.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/mem.h"
#include "net/server.h"
#include "spate/error.h"

enum {
    NODES = 3,
    WAIT_MS = 5000,
    DEAD_MS_MAX = 100,
    MESSAGES_MAX = 4096,
    BODY_BYTES = 1024 * 1024,
};

/* The identity alone, durable one turn after it was asked for. */
struct sp_store {
    struct sp_identity identity;
    enum sp_space space;
    uint64_t sequence;
    struct sp_deferred deferred;
    struct node *node;
};

struct received {
    uint32_t from;
    enum sp_peer_kind kind;
    struct sp_peer_raft raft;
    size_t body_size;
    uint32_t body_crc;
};

struct node {
    struct sp_store store;
    struct sp_transport *transport;
    enum sp_link_state links[NODES + 1];
    uint64_t down_ms[NODES + 1];
    uint64_t dead_ms[NODES + 1];
    unsigned formed_count;
    bool fresh;
    uint32_t members[NODES];
    unsigned member_count;
    struct received received[MESSAGES_MAX];
    unsigned received_count;
    bool gone;
};

struct fixture {
    struct sp_loop *loop;
    char addresses[NODES + 1][32];
    struct node nodes[NODES + 1]; /* by node id */
    uint64_t live_before;
};

static struct fixture fixture;

/* ---- the store ------------------------------------------------------------------------------- */

const struct sp_identity *sp_store_identity(const struct sp_store *store)
{
    return &store->identity;
}

enum sp_space sp_store_space(const struct sp_store *store)
{
    return store->space;
}

static void on_durable(struct sp_deferred *deferred)
{
    struct sp_store *store = SP_CONTAINER_OF(deferred, struct sp_store, deferred);

    if (store->node->transport != NULL) {
        sp_transport_meta_durable(store->node->transport, store->sequence);
    }
}

uint64_t sp_store_set_identity(struct sp_store *store, const struct sp_identity *identity)
{
    store->identity = *identity;
    store->sequence += 1;
    sp_loop_defer(fixture.loop, &store->deferred);
    return store->sequence;
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static void on_message(void *arg, uint32_t node_id, struct sp_peer_message *message)
{
    struct node *node = arg;
    struct received *received = &node->received[node->received_count];

    assert_true(node->received_count < MESSAGES_MAX);
    *received = (struct received){ .from = node_id, .kind = message->kind };
    received->raft = message->u.raft;
    received->body_size = message->body.size;
    received->body_crc = sp_crc32c(0, message->body.bytes, message->body.size);
    node->received_count += 1;
}

static void on_link(void *arg, uint32_t node_id, enum sp_link_state state)
{
    struct node *node = arg;

    assert_int_not_equal(node->links[node_id], state);
    node->links[node_id] = state;
    if (state == SP_LINK_DOWN) {
        node->down_ms[node_id] = sp_loop_now_ms(fixture.loop);
    } else if (state == SP_LINK_DEAD) {
        node->dead_ms[node_id] = sp_loop_now_ms(fixture.loop);
    }
}

static void on_formed(void *arg, const uint32_t *members, unsigned count, bool fresh)
{
    struct node *node = arg;

    node->formed_count += 1;
    node->fresh = fresh;
    node->member_count = count;
    memcpy(node->members, members, count * sizeof members[0]);
}

static void on_lost(void *arg)
{
    (void)arg;
}

static void on_join(void *arg, uint64_t guest, const struct sp_slice *body)
{
    (void)arg;
    (void)guest;
    (void)body;
}

static const struct sp_transport_handler handler = {
    .message = on_message,
    .link = on_link,
    .formed = on_formed,
    .lost = on_lost,
    .join = on_join,
};

static struct sp_transport_options make_options(uint32_t node_id)
{
    static const uint32_t order[] = { 2, 3, 1 }; /* the order in a configuration does not matter */
    struct sp_transport_options options = { .node_id = node_id,
                                            .listen = fixture.addresses[node_id],
                                            .seed_count = NODES };

    for (unsigned i = 0; i < NODES; i++) {
        options.seeds[i].node_id = order[i];
        (void)snprintf(options.seeds[i].address,
                       sizeof options.seeds[i].address,
                       "%s",
                       fixture.addresses[order[i]]);
    }
    return options;
}

static void start_with(uint32_t node_id, const struct sp_transport_options *options)
{
    struct node *node = &fixture.nodes[node_id];
    struct sp_store store = node->store;

    *node = (struct node){ .store = store };
    assert_int_equal(
        sp_transport_new(fixture.loop, &node->store, options, &handler, node, &node->transport), 0);
}

static void start(uint32_t node_id)
{
    const struct sp_transport_options options = make_options(node_id);

    start_with(node_id, &options);
}

static void on_gone(void *arg)
{
    struct node *node = arg;

    node->gone = true;
}

static void run_until(const bool *flag)
{
    assert_true(sp_loop_run_until(fixture.loop, flag, sp_loop_now_ms(fixture.loop) + WAIT_MS));
}

static void run_ms(uint64_t ms)
{
    static const bool never = false;

    (void)sp_loop_run_until(fixture.loop, &never, sp_loop_now_ms(fixture.loop) + ms);
}

static void stop(uint32_t node_id)
{
    struct node *node = &fixture.nodes[node_id];
    struct sp_transport *transport = node->transport;

    if (transport == NULL) {
        return;
    }
    node->transport = NULL;
    node->gone = false;
    sp_transport_close(transport, on_gone, node);
    run_until(&node->gone);
}

/* Runs until the condition holds. */
#define RUN_UNTIL(condition)                                                                       \
    do {                                                                                           \
        uint64_t deadline_ms = sp_loop_now_ms(fixture.loop) + WAIT_MS;                             \
        while (!(condition) && sp_loop_now_ms(fixture.loop) < deadline_ms) {                       \
            run_ms(1);                                                                             \
        }                                                                                          \
        assert_true(condition);                                                                    \
    } while (0)

static bool all_up(void)
{
    for (uint32_t i = 1; i <= NODES; i++) {
        for (uint32_t k = 1; k <= NODES; k++) {
            if (i != k && fixture.nodes[i].links[k] != SP_LINK_UP) {
                return false;
            }
        }
    }
    return true;
}

static bool all_formed(void)
{
    for (uint32_t i = 1; i <= NODES; i++) {
        if (fixture.nodes[i].formed_count == 0) {
            return false;
        }
    }
    return true;
}

static void start_formed_cluster(void)
{
    for (uint32_t i = 1; i <= NODES; i++) {
        fixture.nodes[i].store.identity.state = SP_IDENTITY_FORMED;
        fixture.nodes[i].store.identity.cluster_id[0] = 9;
        start(i);
    }
    RUN_UNTIL(all_up() && all_formed());
}

static void ignore_accept(void *arg, struct sp_stream *stream)
{
    (void)arg;
    sp_stream_close(stream, NULL, NULL);
}

/* Addresses that nobody uses: asked from the system, all at the same time. */
static void find_addresses(void)
{
    struct sp_listener *listeners[NODES + 1];

    for (uint32_t i = 0; i <= NODES; i++) {
        assert_int_equal(
            sp_listener_open(fixture.loop, "127.0.0.1:0", ignore_accept, NULL, &listeners[i]), 0);
        (void)snprintf(fixture.addresses[i],
                       sizeof fixture.addresses[i],
                       "127.0.0.1:%u",
                       (unsigned)sp_listener_port(listeners[i]));
    }
    for (uint32_t i = 0; i <= NODES; i++) {
        sp_listener_close(listeners[i]);
    }
    sp_loop_run(fixture.loop);
}

static int setup(void **state)
{
    (void)state;
    memset(&fixture, 0, sizeof fixture);
    fixture.live_before = sp_mem_live_count();
    assert_int_equal(sp_loop_new(0, &fixture.loop), 0);
    find_addresses();
    for (uint32_t i = 1; i <= NODES; i++) {
        struct sp_store *store = &fixture.nodes[i].store;
        store->identity.node_id = i;
        store->identity.incarnation = 100 + i;
        store->node = &fixture.nodes[i];
        sp_deferred_init(&store->deferred, on_durable);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (uint32_t i = 1; i <= NODES; i++) {
        stop(i);
    }
    sp_loop_run(fixture.loop);
    sp_loop_free(fixture.loop);
    assert_int_equal(sp_mem_live_count(), fixture.live_before);
    return 0;
}

/* ---- a peer made by hand --------------------------------------------------------------------- */

struct raw {
    struct sp_stream *stream;
    struct sp_conn *conn;
    unsigned hellos;
    char refusal[256];
    bool closed;
};

static void
on_raw_message(void *arg, struct sp_conn *conn, struct sp_blob *blob, size_t position, size_t size)
{
    struct raw *raw = arg;
    struct sp_peer_message message;

    (void)conn;
    assert_int_equal(sp_peer_message_decode(blob, position, size, &message), 0);
    if (message.kind == SP_PEER_HELLO) {
        raw->hellos += 1;
    } else {
        assert_int_equal(message.kind, SP_PEER_REFUSED);
        (void)snprintf(raw->refusal,
                       sizeof raw->refusal,
                       "%.*s",
                       (int)message.body.size,
                       (const char *)message.body.bytes);
    }
}

static void on_raw_closed(void *arg, struct sp_conn *conn, int status)
{
    struct raw *raw = arg;

    (void)conn;
    (void)status;
    raw->conn = NULL;
    raw->closed = true;
}

static const struct sp_conn_handler raw_handler = {
    .message = on_raw_message,
    .closed = on_raw_closed,
};

static void on_raw_connected(void *arg, struct sp_stream *stream, int status)
{
    struct raw *raw = arg;

    assert_int_equal(status, 0);
    assert_int_equal(
        sp_conn_new(fixture.loop, stream, &sp_conn_node_messages, &raw_handler, raw, &raw->conn),
        0);
}

static void raw_connect(struct raw *raw, uint32_t to)
{
    *raw = (struct raw){ 0 };
    assert_int_equal(
        sp_stream_connect(fixture.loop, fixture.addresses[to], on_raw_connected, raw, &raw->stream),
        0);
    RUN_UNTIL(raw->conn != NULL);
}

static void raw_send(struct raw *raw, const struct sp_peer_message *message)
{
    uint8_t head[SP_PEER_HEAD_SIZE_MAX];
    size_t size = sp_peer_head_encode(message, 0, head);

    assert_int_equal(sp_conn_send_copy(raw->conn, head, size), 0);
}

static struct sp_peer_message hello_of(uint32_t node_id, uint64_t incarnation, uint32_t state)
{
    struct sp_peer_message message = { .kind = SP_PEER_HELLO };

    message.u.hello.node_id = node_id;
    message.u.hello.incarnation = incarnation;
    message.u.hello.identity_state = state;
    message.u.hello.cluster_id[0] = state == SP_IDENTITY_FORMED ? 9 : 0;
    return message;
}

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

/* ---- refusals -------------------------------------------------------------------------------- */

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

/* ---- a peer that does not read --------------------------------------------------------------- */

static struct raw slow;

static void
on_slow_message(void *arg, struct sp_conn *conn, struct sp_blob *blob, size_t position, size_t size)
{
    struct sp_peer_message hello = hello_of(2, 102, SP_IDENTITY_FORMED);

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

static void test_transport_slow_peer_makes_the_queue_grow_to_its_bound_only(void **state)
{
    struct sp_peer_message call = { .kind = SP_PEER_REPLY };
    struct sp_blob *blob = sp_blob_new(BODY_BYTES);
    struct sp_server *server = NULL;
    unsigned sent = 0;
    int rv = 0;

    (void)state;
    assert_non_null(blob);
    memset(blob->bytes, 1, blob->size);
    const struct sp_slice piece = { blob, blob->bytes, blob->size };
    assert_int_equal(sp_server_new(fixture.loop,
                                   fixture.addresses[2],
                                   &sp_conn_node_messages,
                                   8,
                                   &slow_server_handler,
                                   NULL,
                                   &server),
                     0);
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

#define TRANSPORT_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

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
        TRANSPORT_TEST(test_transport_other_cluster_is_refused),
        TRANSPORT_TEST(test_transport_unexpected_node_at_an_address_is_refused),
        TRANSPORT_TEST(test_transport_impostors_are_refused),
        TRANSPORT_TEST(test_transport_level_beyond_this_build_costs_its_sender_the_connection),
        TRANSPORT_TEST(test_transport_second_connection_of_a_node_replaces_the_first),
        TRANSPORT_TEST(test_transport_connection_that_changes_its_node_is_refused),
        TRANSPORT_TEST(test_transport_other_version_is_told_why),
        TRANSPORT_TEST(test_transport_garbage_and_silence_are_closed),
        TRANSPORT_TEST(test_transport_slow_peer_makes_the_queue_grow_to_its_bound_only),
        TRANSPORT_TEST(test_transport_wrong_options_are_refused),
        TRANSPORT_TEST(test_transport_set_node_moves_a_link),
    };
    return cmocka_run_group_tests_name("cluster/transport", tests, NULL, NULL);
}
