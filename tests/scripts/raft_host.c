/* The world of a scenario: its clock, its chance, and configurations as numbers. */
#include "raft_host.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "spate/error.h"

#define INSTANT_EVENTS_MAX 20000 /* more events than this at one instant: a timer runs wild */

/* --- world --- */

uint64_t world_random(struct world *world, uint64_t low, uint64_t high)
{
    world->random ^= world->random << 13;
    world->random ^= world->random >> 7;
    world->random ^= world->random << 17;
    return low + ((world->random * 0x2545F4914F6CDD1DULL) >> 11) % (high - low + 1);
}

bool world_chance(struct world *world, unsigned percent)
{
    return percent > 0 && world_random(world, 0, 99) < percent;
}

bool world_failed(const struct world *world)
{
    return world->failure[0] != '\0';
}

void world_fail(struct world *world, const char *format, ...)
{
    va_list arguments;

    if (!world_failed(world)) {
        va_start(arguments, format);
        (void)vsnprintf(world->failure, sizeof world->failure, format, arguments);
        va_end(arguments);
    }
}

void world_observe(const struct node *node, enum observed observed, const void *what)
{
    const struct world *world = node->world;

    if (world->observe != NULL) {
        world->observe(world->observe_arg, observed, node, what);
    }
}

static void init_node(struct world *world, unsigned number, mask configuration)
{
    struct node *node = &world->nodes[number];

    node->world = world;
    node->number = number;
    node->disk_ms = 5;
    node->disk_least_ms = 1;
    node->gated_end = &node->gated;
    node->disk.entries = calloc(LOG_MAX, sizeof *node->disk.entries);
    node->memory.entries = calloc(LOG_MAX, sizeof *node->memory.entries);
    node->disk.start = 1;
    if (mask_role(configuration, number) != ROLE_NONE) {
        node->disk.term = 1;
        node->disk.last = 1;
        node->disk.entries[1] = (struct entry){ 1, configuration, RAFT_CHANGE };
    }
}

struct world *world_new(const struct world_options *options)
{
    struct world *world = calloc(1, sizeof *world);
    mask configuration = 0;

    world->live_before = sp_mem_live_count();
    world->now_ms = 1000;
    world->random = options->seed * 0x9E3779B97F4A7C15ULL + 1;
    for (int i = 0; i < 8; i++) {
        (void)world_random(world, 0, 1); /* the first draws of similar seeds are similar */
    }
    world->node_count = options->nodes;
    world->disabled = options->disabled;
    world->heartbeat_ms = 100;
    world->election_ms = 1000;
    world->window = options->window > 0 ? options->window : 32;
    world->pre_vote = !options->no_pre_vote;
    world->net_ms = 5;
    world->net_least_ms = 1;
    for (unsigned i = 0; i < options->voters; i++) {
        configuration = mask_with(configuration, i, ROLE_VOTER);
    }
    sp_raft_guard_use_heap();
    check_init(world, configuration);
    for (unsigned i = 0; i < world->node_count; i++) {
        init_node(world, i, configuration);
    }
    for (unsigned i = 0; i < world->node_count && !options->stopped; i++) {
        node_start(&world->nodes[i]);
    }
    return world;
}

void world_free(struct world *world)
{
    for (unsigned i = 0; i < world->node_count; i++) {
        node_crash(&world->nodes[i], false);
        free(world->nodes[i].ops);
        free(world->nodes[i].disk.entries);
        free(world->nodes[i].memory.entries);
    }
    while (world->letter_count > 0) {
        net_free(net_take(world));
    }
    free(world->letters);
    check_deinit(world);
    if (sp_mem_live_count() != world->live_before) {
        (void)fprintf(stderr,
                      "%lld allocations are left of a world that is gone\n",
                      (long long)(sp_mem_live_count() - world->live_before));
        abort();
    }
    free(world);
}

/* The next event: a letter (node NULL), a flush or a timer of a node. */
static uint64_t next_event(struct world *world, struct node **out_node, bool *out_flush)
{
    uint64_t best = net_next_ms(world);

    *out_node = NULL;
    *out_flush = false;
    for (unsigned i = 0; i < world->node_count; i++) {
        struct node *node = &world->nodes[i];

        if (!node->up || node->paused) {
            continue;
        }
        if (node->flush_at_ms != 0 && node->flush_at_ms < best) {
            best = node->flush_at_ms;
            *out_node = node;
            *out_flush = true;
        }
        if (!node->asleep && sp_raft_guard_timeout_ms(&node->guard) < best) {
            best = sp_raft_guard_timeout_ms(&node->guard);
            *out_node = node;
            *out_flush = false;
        }
    }
    return best;
}

static void deliver(struct world *world, struct letter *letter)
{
    struct node *node = &world->nodes[letter->to];

    if (node->up && node->paused) {
        net_deliver(world, letter, 1);
        return;
    }
    if (!node->up || world->cut[letter->from][letter->to]) {
        world_observe(node, OBSERVED_LOST, letter);
    } else {
        world_observe(node, OBSERVED_ARRIVED, letter);
        int rv = node_receive(node, letter->from, letter);
        if (rv != 0) {
            world_fail(world,
                       "node %u: message of type %d gives %s",
                       node->number,
                       (int)letter->message.type,
                       spate_error_name(rv));
        }
    }
    net_free(letter);
}

bool world_run_until(struct world *world, uint64_t until_ms)
{
    while (!world_failed(world)) {
        struct node *node = NULL;
        bool flush = false;
        uint64_t at_ms = next_event(world, &node, &flush);

        if (at_ms > until_ms) {
            world->now_ms = until_ms;
            return true;
        }
        world->instant_events = at_ms > world->now_ms ? 0 : world->instant_events + 1;
        if (world->instant_events > INSTANT_EVENTS_MAX) {
            world_fail(world, "timer busy loop");
        }
        world->now_ms = at_ms > world->now_ms ? at_ms : world->now_ms;
        world->steps += 1;
        if (node == NULL) {
            deliver(world, net_take(world));
        } else if (flush) {
            disk_flush_done(node);
        } else {
            if (sp_raft_guard_timeout(&node->guard, world->now_ms) != 0) {
                world_fail(world, "node %u: timeout failed", node->number);
            }
            node_settle(node);
        }
    }
    return false;
}

bool world_run(struct world *world, uint64_t span_ms)
{
    return world_run_until(world, world->now_ms + span_ms);
}

struct node *world_leader(struct world *world)
{
    struct node *best = NULL;

    for (unsigned i = 0; i < world->node_count; i++) {
        struct node *node = &world->nodes[i];

        if (node->up && raft_state(&node->guard.raft) == RAFT_LEADER &&
            (best == NULL ||
             raft_current_term(&node->guard.raft) > raft_current_term(&best->guard.raft))) {
            best = node;
        }
    }
    return best;
}

struct node *world_await_leader(struct world *world, uint64_t span_ms, const struct node *except)
{
    uint64_t end_ms = world->now_ms + span_ms;

    while (world->now_ms < end_ms && world_run(world, 1)) {
        struct node *leader = world_leader(world);

        if (leader != NULL && leader != except) {
            return leader;
        }
    }
    return NULL;
}

bool world_await_commit(struct world *world, struct node *node, uint64_t index, uint64_t span_ms)
{
    uint64_t end_ms = world->now_ms + span_ms;

    while (world->now_ms < end_ms && sp_raft_guard_committed(&node->guard) < index) {
        if (!world_run(world, 1)) {
            return false;
        }
    }
    return sp_raft_guard_committed(&node->guard) >= index;
}

/* --- configurations as masks --- */

unsigned mask_role(mask configuration, unsigned number)
{
    return (unsigned)(configuration >> (4 * number)) & 15U;
}

mask mask_with(mask configuration, unsigned number, unsigned role)
{
    return (configuration & ~(15ULL << (4 * number))) | ((mask)role << (4 * number));
}

unsigned mask_voters(mask configuration)
{
    unsigned voters = 0;

    for (unsigned i = 0; i < NODES_MAX; i++) {
        voters += mask_role(configuration, i) == ROLE_VOTER;
    }
    return voters;
}

void mask_decode(mask configuration, struct raft_configuration *out)
{
    static const int roles[] = { 0, RAFT_VOTER, RAFT_STANDBY, RAFT_SPARE };

    raft_configuration_init(out);
    for (unsigned i = 0; i < NODES_MAX; i++) {
        unsigned role = mask_role(configuration, i);
        char address[8];

        (void)snprintf(address, sizeof address, "%u", i + 1);
        if (role != ROLE_NONE && raft_configuration_add(out, i + 1, address, roles[role]) != 0) {
            abort();
        }
    }
}

mask mask_encode(const struct raft_configuration *configuration)
{
    mask encoded = 0;

    for (unsigned i = 0; i < configuration->n; i++) {
        const struct raft_server *server = &configuration->servers[i];
        unsigned role = server->role == RAFT_VOTER     ? ROLE_VOTER
                        : server->role == RAFT_STANDBY ? ROLE_STANDBY
                                                       : ROLE_SPARE;
        encoded = mask_with(encoded, (unsigned)server->id - 1, role);
    }
    return encoded;
}

mask node_configuration(const struct node *node)
{
    return mask_encode(&node->guard.raft.configuration);
}
