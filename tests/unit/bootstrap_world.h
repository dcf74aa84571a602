/* A few seeds that form a cluster, the messages between them, and crashes that lose both what is
 * not on disk and what is on the way. Included once, by one test. */
#ifndef SP_UNIT_BOOTSTRAP_WORLD_H
#define SP_UNIT_BOOTSTRAP_WORLD_H

#include "cluster/bootstrap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum {
    NODES = 3,
    MESSAGES_MAX = 512,
    SEEDS_HASH = 77,
    ROUNDS_MAX = 60,
};

struct message {
    uint32_t from;
    uint32_t to;
    enum sp_peer_kind kind; /* HELLO or one of the three */
    struct sp_peer_hello hello;
    uint8_t cluster_id[SP_CLUSTER_ID_SIZE];
};

/* A seed with its disk, which outlives the process. */
struct node {
    struct sp_bootstrap bootstrap;
    struct sp_identity disk;
    struct sp_identity writing; /* lost in a crash */
    uint64_t sequence;
    bool up;
    unsigned formed_count;
    bool fresh;
    uint32_t seeds_hash;
};

/* All seeds and the messages between them; crash_at counts steps of any kind. */
struct world {
    struct node nodes[NODES];
    unsigned count;
    struct message messages[MESSAGES_MAX];
    unsigned first;
    unsigned last;
    unsigned steps;
    unsigned crash_at; /* step before which crash_node dies; 0: never */
    unsigned crash_node;
    uint64_t chance;
};

static struct world world;

static inline unsigned index_of(const void *node)
{
    return (unsigned)((const struct node *)node - world.nodes);
}

static inline void post(const struct message *message)
{
    if (world.last < MESSAGES_MAX) {
        world.messages[world.last] = *message;
        world.last += 1;
    }
}

/* ---- what a seed asks for -------------------------------------------------------------------- */

static inline uint64_t on_persist(void *arg, const struct sp_identity *identity)
{
    struct node *node = arg;

    assert_true(identity->state > node->disk.state); /* never back */
    assert_int_equal(node->bootstrap.sequence, 0);   /* never twice */
    node->writing = *identity;
    node->sequence += 1;
    return node->sequence;
}

static inline void on_send(void *arg,
                           uint32_t node_id,
                           enum sp_peer_kind kind,
                           const uint8_t cluster_id[SP_CLUSTER_ID_SIZE])
{
    struct node *node = arg;
    struct message message = { .from = index_of(arg) + 1, .to = node_id, .kind = kind };

    /* I1: nothing is said that is not on disk. */
    assert_memory_equal(node->disk.cluster_id, cluster_id, SP_CLUSTER_ID_SIZE);
    assert_true(node->disk.state >=
                (kind == SP_PEER_FORMED ? SP_IDENTITY_FORMED : SP_IDENTITY_FORMING));
    memcpy(message.cluster_id, cluster_id, SP_CLUSTER_ID_SIZE);
    post(&message);
}

static inline void greet(unsigned from, unsigned to)
{
    const struct node *node = &world.nodes[from];
    struct message message = { .from = from + 1, .to = to + 1, .kind = SP_PEER_HELLO };

    message.hello = (struct sp_peer_hello){
        .node_id = from + 1,
        .incarnation = node->disk.incarnation,
        .identity_state = (uint32_t)node->bootstrap.identity.state,
        .seeds_hash = node->seeds_hash,
    };
    memcpy(message.hello.cluster_id, node->bootstrap.identity.cluster_id, SP_CLUSTER_ID_SIZE);
    post(&message);
}

static inline void on_changed(void *arg)
{
    for (unsigned to = 0; to < world.count; to++) {
        if (to != index_of(arg)) {
            greet(index_of(arg), to);
        }
    }
}

static inline void on_formed(void *arg, bool fresh)
{
    struct node *node = arg;

    assert_int_equal(node->disk.state, SP_IDENTITY_FORMED);
    node->formed_count += 1;
    node->fresh = fresh;
}

static inline uint64_t on_random(void *arg)
{
    (void)arg;
    world.chance += 1;
    return world.chance * 0x9e3779b97f4a7c15;
}

static unsigned lost_count;

static inline void on_lost(void *arg)
{
    (void)arg;
    lost_count += 1;
}

static const struct sp_bootstrap_handler handler = {
    .persist = on_persist,
    .send = on_send,
    .changed = on_changed,
    .formed = on_formed,
    .lost = on_lost,
    .random = on_random,
};

/* ---- the world ------------------------------------------------------------------------------- */

/* A process starts on whatever its disk has, and both sides of each connection greet. */
static inline void start(unsigned i)
{
    struct node *node = &world.nodes[i];
    uint32_t ids[NODES];

    for (unsigned k = 0; k < world.count; k++) {
        ids[k] = k + 1;
    }
    node->sequence = 0;
    node->up = true;
    node->formed_count = 0;
    sp_bootstrap_init(
        &node->bootstrap, &node->disk, ids, world.count, node->seeds_hash, &handler, node);
    sp_bootstrap_start(&node->bootstrap);
    for (unsigned k = 0; k < world.count; k++) {
        if (k != i && world.nodes[k].up) {
            greet(i, k);
            greet(k, i);
        }
    }
}

/* The process dies with what was not on disk and all messages to and from it. */
static inline void crash(unsigned i)
{
    unsigned kept = world.first;

    world.nodes[i].up = false;
    for (unsigned k = world.first; k < world.last; k++) {
        const struct message message = world.messages[k];
        if (message.from != i + 1 && message.to != i + 1) {
            world.messages[kept] = message;
            kept += 1;
        }
    }
    world.last = kept;
}

/* False when it was this step before which the process died. */
static inline bool count_step(void)
{
    world.steps += 1;
    if (world.steps != world.crash_at) {
        return true;
    }
    crash(world.crash_node);
    start(world.crash_node);
    return false;
}

static inline void make_durable(struct node *node)
{
    if (node->up && node->bootstrap.sequence != 0 && count_step()) {
        node->disk = node->writing;
        sp_bootstrap_durable(&node->bootstrap, node->sequence);
    }
}

static inline void deliver_all(void)
{
    while (world.first < world.last) {
        if (!count_step()) {
            continue;
        }
        const struct message message = world.messages[world.first];
        struct node *node = &world.nodes[message.to - 1];
        world.first += 1;
        if (!node->up) {
            continue;
        }
        if (message.kind == SP_PEER_HELLO) {
            sp_bootstrap_hello(&node->bootstrap, &message.hello);
        } else {
            sp_bootstrap_message(&node->bootstrap, message.from, message.kind, message.cluster_id);
        }
    }
    world.first = 0;
    world.last = 0;
}

static inline void run(unsigned rounds)
{
    for (unsigned round = 0; round < rounds; round++) {
        deliver_all();
        for (unsigned i = 0; i < world.count; i++) {
            make_durable(&world.nodes[i]);
        }
        for (unsigned i = 0; i < world.count; i++) {
            if (world.nodes[i].up) {
                sp_bootstrap_tick(&world.nodes[i].bootstrap);
            }
        }
    }
}

static inline void make_world(unsigned count)
{
    world = (struct world){ .count = count };
    for (unsigned i = 0; i < count; i++) {
        world.nodes[i].disk = (struct sp_identity){ .node_id = i + 1, .incarnation = 100 + i };
        world.nodes[i].seeds_hash = SEEDS_HASH;
    }
}

static inline void start_all(void)
{
    for (unsigned i = 0; i < world.count; i++) {
        start(i);
    }
}

static inline void set_disk(unsigned i, enum sp_identity_state state, uint8_t id)
{
    world.nodes[i].disk.state = state;
    world.nodes[i].disk.cluster_id[0] = id;
}

static inline void assert_all_formed(void)
{
    for (unsigned i = 0; i < world.count; i++) {
        assert_int_equal(world.nodes[i].disk.state, SP_IDENTITY_FORMED);
        assert_int_equal(world.nodes[i].formed_count, 1);
        assert_memory_equal(
            world.nodes[i].disk.cluster_id, world.nodes[0].disk.cluster_id, SP_CLUSTER_ID_SIZE);
        assert_false(sp_bootstrap_busy(&world.nodes[i].bootstrap));
    }
}

#endif /* SP_UNIT_BOOTSTRAP_WORLD_H */
