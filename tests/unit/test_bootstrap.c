#include "cluster/bootstrap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"
#include "base/trace.h"

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
static char last_error[128];

static void on_trace(void *arg,
                     enum sp_trace_level level,
                     const char *component,
                     const char *message,
                     const char *facts)
{
    (void)arg;
    (void)component;
    (void)facts;
    if (level == SP_TRACE_LEVEL_ERROR) {
        (void)snprintf(last_error, sizeof last_error, "%s", message);
    }
}

static unsigned index_of(const void *node)
{
    return (unsigned)((const struct node *)node - world.nodes);
}

static void post(const struct message *message)
{
    if (world.last < MESSAGES_MAX) {
        world.messages[world.last] = *message;
        world.last += 1;
    }
}

/* ---- what a seed asks for -------------------------------------------------------------------- */

static uint64_t on_persist(void *arg, const struct sp_identity *identity)
{
    struct node *node = arg;

    assert_true(identity->state > node->disk.state); /* never back */
    assert_int_equal(node->bootstrap.sequence, 0);   /* never twice */
    node->writing = *identity;
    node->sequence += 1;
    return node->sequence;
}

static void on_send(void *arg,
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

static void greet(unsigned from, unsigned to)
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

static void on_changed(void *arg)
{
    for (unsigned to = 0; to < world.count; to++) {
        if (to != index_of(arg)) {
            greet(index_of(arg), to);
        }
    }
}

static void on_formed(void *arg, bool fresh)
{
    struct node *node = arg;

    assert_int_equal(node->disk.state, SP_IDENTITY_FORMED);
    node->formed_count += 1;
    node->fresh = fresh;
}

static uint64_t on_random(void *arg)
{
    (void)arg;
    world.chance += 1;
    return world.chance * 0x9e3779b97f4a7c15;
}

static unsigned lost_count;

static void on_lost(void *arg)
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
static void start(unsigned i)
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
static void crash(unsigned i)
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
static bool count_step(void)
{
    world.steps += 1;
    if (world.steps != world.crash_at) {
        return true;
    }
    crash(world.crash_node);
    start(world.crash_node);
    return false;
}

static void make_durable(struct node *node)
{
    if (node->up && node->bootstrap.sequence != 0 && count_step()) {
        node->disk = node->writing;
        sp_bootstrap_durable(&node->bootstrap, node->sequence);
    }
}

static void deliver_all(void)
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

static void run(unsigned rounds)
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

static void make_world(unsigned count)
{
    world = (struct world){ .count = count };
    for (unsigned i = 0; i < count; i++) {
        world.nodes[i].disk = (struct sp_identity){ .node_id = i + 1, .incarnation = 100 + i };
        world.nodes[i].seeds_hash = SEEDS_HASH;
    }
}

static void start_all(void)
{
    for (unsigned i = 0; i < world.count; i++) {
        start(i);
    }
}

static void set_disk(unsigned i, enum sp_identity_state state, uint8_t id)
{
    world.nodes[i].disk.state = state;
    world.nodes[i].disk.cluster_id[0] = id;
}

static void assert_all_formed(void)
{
    for (unsigned i = 0; i < world.count; i++) {
        assert_int_equal(world.nodes[i].disk.state, SP_IDENTITY_FORMED);
        assert_int_equal(world.nodes[i].formed_count, 1);
        assert_memory_equal(
            world.nodes[i].disk.cluster_id, world.nodes[0].disk.cluster_id, SP_CLUSTER_ID_SIZE);
        assert_false(sp_bootstrap_busy(&world.nodes[i].bootstrap));
    }
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_bootstrap_empty_seeds_form_one_cluster(void **state)
{
    (void)state;
    make_world(3);
    start_all();
    run(ROUNDS_MAX);
    assert_all_formed();
    for (unsigned i = 0; i < world.count; i++) {
        assert_true(world.nodes[i].fresh);
    }
}

static void test_bootstrap_single_node_forms_with_one_write(void **state)
{
    (void)state;
    make_world(1);
    start(0);
    assert_int_equal(world.nodes[0].writing.state, SP_IDENTITY_FORMED);
    assert_int_equal(world.nodes[0].formed_count, 0);
    run(1);
    assert_all_formed();
    assert_int_equal(world.nodes[0].sequence, 1);
}

static void test_bootstrap_waits_for_the_last_seed(void **state)
{
    (void)state;
    make_world(3);
    start(0);
    start(1);
    run(ROUNDS_MAX);
    assert_int_equal(world.nodes[0].disk.state, SP_IDENTITY_EMPTY);
    assert_int_equal(world.nodes[1].disk.state, SP_IDENTITY_EMPTY);
    start(2);
    run(ROUNDS_MAX);
    assert_all_formed();
}

/* One process dies once, before any single delivery or completed write, whichever it is. */
static void test_bootstrap_survives_a_crash_at_every_step(void **state)
{
    (void)state;
    make_world(3);
    start_all();
    run(ROUNDS_MAX);
    unsigned steps = world.steps;
    assert_true(steps > 15);
    for (unsigned node = 0; node < 3; node++) {
        for (unsigned step = 1; step <= steps; step++) {
            make_world(3);
            world.crash_node = node;
            world.crash_at = step;
            start_all();
            run(ROUNDS_MAX);
            assert_all_formed();
        }
    }
}

static void test_bootstrap_survives_random_crashes_and_losses(void **state)
{
    struct sp_rand rand;

    (void)state;
    sp_rand_init(&rand, 5);
    for (unsigned trial = 0; trial < 500; trial++) {
        make_world(3);
        start_all();
        for (unsigned i = 0; i < 8; i++) {
            unsigned victim = (unsigned)sp_rand_below(&rand, 3);
            world.crash_at = world.steps + 1 + (unsigned)sp_rand_below(&rand, 6);
            world.crash_node = victim;
            run(1);
            if (sp_rand_below(&rand, 2) == 0) {
                crash((unsigned)sp_rand_below(&rand, 3));
                for (unsigned k = 0; k < 3; k++) {
                    if (!world.nodes[k].up) {
                        start(k);
                    }
                }
            }
        }
        world.crash_at = 0;
        run(ROUNDS_MAX);
        assert_all_formed();
    }
}

static void test_bootstrap_replaced_disk_stays_out(void **state)
{
    (void)state;
    lost_count = 0;
    make_world(3);
    set_disk(0, SP_IDENTITY_EMPTY, 0); /* even the lowest must not propose */
    set_disk(1, SP_IDENTITY_FORMED, 9);
    set_disk(2, SP_IDENTITY_FORMED, 9);
    start_all();
    run(ROUNDS_MAX);
    assert_int_equal(world.nodes[0].disk.state, SP_IDENTITY_EMPTY);
    assert_int_equal(world.nodes[0].formed_count, 0);
    assert_int_equal(world.nodes[1].formed_count, 1);
    assert_false(world.nodes[1].fresh);
    assert_int_equal(lost_count, 1); /* told once: it has to join */
}

static void hello_from(uint32_t node_id, uint64_t incarnation)
{
    const struct sp_peer_hello hello = { .node_id = node_id,
                                         .incarnation = incarnation,
                                         .seeds_hash = SEEDS_HASH };

    sp_bootstrap_hello(&world.nodes[0].bootstrap, &hello);
}

static void test_bootstrap_disk_replaced_after_its_promise_does_not_count(void **state)
{
    struct node *proposer = &world.nodes[0];

    (void)state;
    make_world(3);
    start(0);
    hello_from(2, 101);
    hello_from(3, 102);
    make_durable(proposer);
    assert_int_equal(proposer->disk.state, SP_IDENTITY_FORMING);
    const uint8_t *id = proposer->disk.cluster_id;
    sp_bootstrap_message(&proposer->bootstrap, 2, SP_PEER_FORM_OK, id);
    hello_from(2, 555);
    sp_bootstrap_message(&proposer->bootstrap, 3, SP_PEER_FORM_OK, id);
    assert_int_equal(proposer->bootstrap.sequence, 0);
    sp_bootstrap_message(&proposer->bootstrap, 2, SP_PEER_FORM_OK, id);
    assert_int_not_equal(proposer->bootstrap.sequence, 0);
}

static void test_bootstrap_proposer_adopts_a_forming_id(void **state)
{
    (void)state;
    make_world(3);
    set_disk(2, SP_IDENTITY_FORMING, 42);
    start_all();
    run(ROUNDS_MAX);
    assert_all_formed();
    assert_int_equal(world.nodes[0].disk.cluster_id[0], 42);
}

static void test_bootstrap_two_forming_ids_stop_everything(void **state)
{
    (void)state;
    make_world(3);
    set_disk(1, SP_IDENTITY_FORMING, 41);
    set_disk(2, SP_IDENTITY_FORMING, 42);
    start_all();
    run(ROUNDS_MAX);
    assert_int_equal(world.nodes[0].disk.state, SP_IDENTITY_EMPTY);
    make_world(2);
    set_disk(0, SP_IDENTITY_FORMING, 41);
    set_disk(1, SP_IDENTITY_FORMING, 42);
    start_all();
    run(ROUNDS_MAX);
    assert_int_equal(world.nodes[0].disk.state, SP_IDENTITY_FORMING);
    assert_int_equal(world.nodes[1].disk.state, SP_IDENTITY_FORMING);
}

static void test_bootstrap_other_seed_list_stops_forming(void **state)
{
    (void)state;
    make_world(3);
    world.nodes[1].seeds_hash = 1;
    start_all();
    run(ROUNDS_MAX);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(world.nodes[i].disk.state, SP_IDENTITY_EMPTY);
    }
    crash(1);
    world.nodes[1].seeds_hash = SEEDS_HASH;
    start(1);
    run(ROUNDS_MAX);
    assert_all_formed();
}

static void test_bootstrap_forming_seed_follows_a_formed_one(void **state)
{
    (void)state;
    make_world(3);
    set_disk(0, SP_IDENTITY_FORMED, 9);
    set_disk(1, SP_IDENTITY_FORMING, 9);
    set_disk(2, SP_IDENTITY_FORMING, 8); /* another cluster: stays out */
    start_all();
    run(ROUNDS_MAX);
    assert_int_equal(world.nodes[1].disk.state, SP_IDENTITY_FORMED);
    assert_true(world.nodes[1].fresh);
    assert_int_equal(world.nodes[2].disk.state, SP_IDENTITY_FORMING);
}

static void test_bootstrap_promise_before_the_proposal_does_not_count(void **state)
{
    static const uint8_t zeros[SP_CLUSTER_ID_SIZE];

    (void)state;
    make_world(3);
    start_all();
    deliver_all();
    assert_int_equal(world.nodes[0].disk.state, SP_IDENTITY_EMPTY);
    sp_bootstrap_message(&world.nodes[0].bootstrap, 2, SP_PEER_FORM_OK, zeros);
    sp_bootstrap_message(&world.nodes[0].bootstrap, 3, SP_PEER_FORM_OK, zeros);
    make_durable(&world.nodes[0]);
    assert_int_equal(world.nodes[0].disk.state, SP_IDENTITY_FORMING);
    assert_int_equal(world.nodes[0].bootstrap.sequence, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bootstrap_empty_seeds_form_one_cluster),
        cmocka_unit_test(test_bootstrap_single_node_forms_with_one_write),
        cmocka_unit_test(test_bootstrap_waits_for_the_last_seed),
        cmocka_unit_test(test_bootstrap_survives_a_crash_at_every_step),
        cmocka_unit_test(test_bootstrap_survives_random_crashes_and_losses),
        cmocka_unit_test(test_bootstrap_replaced_disk_stays_out),
        cmocka_unit_test(test_bootstrap_disk_replaced_after_its_promise_does_not_count),
        cmocka_unit_test(test_bootstrap_proposer_adopts_a_forming_id),
        cmocka_unit_test(test_bootstrap_two_forming_ids_stop_everything),
        cmocka_unit_test(test_bootstrap_other_seed_list_stops_forming),
        cmocka_unit_test(test_bootstrap_forming_seed_follows_a_formed_one),
        cmocka_unit_test(test_bootstrap_promise_before_the_proposal_does_not_count),
    };
    sp_trace_set_sink(on_trace, NULL, SP_TRACE_LEVEL_ERROR);
    return cmocka_run_group_tests_name("cluster/bootstrap", tests, NULL, NULL);
}
