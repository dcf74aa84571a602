/* Transports of three nodes in one process, over loopback, and peers made by hand. Included by the
 * tests of cluster/transport. */
#ifndef SP_UNIT_TRANSPORT_WORLD_H
#define SP_UNIT_TRANSPORT_WORLD_H

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
#include "cluster/transport.h"
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
    unsigned strangers;
    unsigned losses; /* so often it was told that it has to join */
    bool current;    /* its controller's state is */
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

static inline void on_durable(struct sp_deferred *deferred)
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

static inline void on_message(void *arg, uint32_t node_id, struct sp_peer_message *message)
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

static inline void on_link(void *arg, uint32_t node_id, enum sp_link_state state)
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

static inline void on_formed(void *arg, const uint32_t *members, unsigned count, bool fresh)
{
    struct node *node = arg;

    node->formed_count += 1;
    node->fresh = fresh;
    node->member_count = count;
    memcpy(node->members, members, count * sizeof members[0]);
}

static inline void on_lost(void *arg)
{
    ((struct node *)arg)->losses += 1;
}

static inline void on_join(void *arg, uint64_t guest, const struct sp_slice *body)
{
    (void)arg;
    (void)guest;
    (void)body;
}

static inline void on_stranger(void *arg)
{
    ((struct node *)arg)->strangers += 1;
}

static inline bool is_current(void *arg, uint32_t node_id)
{
    (void)node_id;
    return ((const struct node *)arg)->current;
}

static const struct sp_transport_handler handler = {
    .message = on_message,
    .link = on_link,
    .formed = on_formed,
    .lost = on_lost,
    .join = on_join,
    .stranger = on_stranger,
    .current = is_current,
};

static inline struct sp_transport_options make_options(uint32_t node_id)
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

static inline void start_with(uint32_t node_id, const struct sp_transport_options *options)
{
    struct node *node = &fixture.nodes[node_id];
    struct sp_store store = node->store;

    *node = (struct node){ .store = store };
    assert_int_equal(
        sp_transport_new(fixture.loop, &node->store, options, &handler, node, &node->transport), 0);
}

static inline void start(uint32_t node_id)
{
    const struct sp_transport_options options = make_options(node_id);

    start_with(node_id, &options);
}

static inline void on_gone(void *arg)
{
    struct node *node = arg;

    node->gone = true;
}

static inline void run_until(const bool *flag)
{
    assert_true(sp_loop_run_until(fixture.loop, flag, sp_loop_now_ms(fixture.loop) + WAIT_MS));
}

static inline void run_ms(uint64_t ms)
{
    static const bool never = false;

    (void)sp_loop_run_until(fixture.loop, &never, sp_loop_now_ms(fixture.loop) + ms);
}

static inline void stop(uint32_t node_id)
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

static inline bool all_up(void)
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

static inline bool all_formed(void)
{
    for (uint32_t i = 1; i <= NODES; i++) {
        if (fixture.nodes[i].formed_count == 0) {
            return false;
        }
    }
    return true;
}

static inline void start_formed_cluster(void)
{
    for (uint32_t i = 1; i <= NODES; i++) {
        fixture.nodes[i].store.identity.state = SP_IDENTITY_FORMED;
        fixture.nodes[i].store.identity.cluster_id[0] = 9;
        start(i);
    }
    RUN_UNTIL(all_up() && all_formed());
}

static inline void ignore_accept(void *arg, struct sp_stream *stream)
{
    (void)arg;
    sp_stream_close(stream, NULL, NULL);
}

/* Addresses that nobody uses: asked from the system, all at the same time. */
static inline void find_addresses(void)
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

static inline int setup(void **state)
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

static inline int teardown(void **state)
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

static inline void
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

static inline void on_raw_closed(void *arg, struct sp_conn *conn, int status)
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

static inline void on_raw_connected(void *arg, struct sp_stream *stream, int status)
{
    struct raw *raw = arg;

    assert_int_equal(status, 0);
    assert_int_equal(
        sp_conn_new(fixture.loop, stream, &sp_conn_node_messages, &raw_handler, raw, &raw->conn),
        0);
}

static inline void raw_connect(struct raw *raw, uint32_t to)
{
    *raw = (struct raw){ 0 };
    assert_int_equal(
        sp_stream_connect(fixture.loop, fixture.addresses[to], on_raw_connected, raw, &raw->stream),
        0);
    RUN_UNTIL(raw->conn != NULL);
}

static inline void raw_send(struct raw *raw, const struct sp_peer_message *message)
{
    uint8_t head[SP_PEER_HEAD_SIZE_MAX];
    size_t size = sp_peer_head_encode(message, 0, head);

    assert_int_equal(sp_conn_send_copy(raw->conn, head, size), 0);
}

static inline void raw_close(struct raw *raw)
{
    sp_conn_close(raw->conn, false);
    RUN_UNTIL(raw->closed);
}

static inline struct sp_peer_message
hello_of(uint32_t node_id, uint64_t incarnation, uint32_t state)
{
    struct sp_peer_message message = { .kind = SP_PEER_HELLO };

    message.u.hello.node_id = node_id;
    message.u.hello.incarnation = incarnation;
    message.u.hello.identity_state = state;
    message.u.hello.cluster_id[0] = state == SP_IDENTITY_FORMED ? 9 : 0;
    return message;
}

#define TRANSPORT_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

#endif /* SP_UNIT_TRANSPORT_WORLD_H */
