/* Random schedules: crashes, partitions, slow disks, bad networks, membership, snapshots,
 * transfers. The faults stop at the end, and then the group must make progress on every member. */
#include <stdio.h>
#include <string.h>

#include "raft_host.h"

#define HEAL_MS 40000      /* time to make progress once everything is healed */
#define HEAL_QUIET_MS 6000 /* elections may take this long before we submit */

struct dice {
    unsigned heat;       /* weight of crashes and partitions */
    unsigned membership; /* weight of membership changes */
};

static void change_membership(struct node *leader)
{
    struct world *world = leader->world;
    unsigned number = (unsigned)world_random(world, 0, world->node_count - 1);
    mask now = node_configuration(leader);
    unsigned role = mask_role(now, number);
    unsigned next = ROLE_NONE;

    if (number == leader->number) {
        return;
    }
    if (role == ROLE_NONE) {
        next = ROLE_STANDBY;
    } else if (role == ROLE_STANDBY) {
        next = world_chance(world, 80) ? ROLE_VOTER : ROLE_NONE;
    } else if (mask_voters(now) == 1 || world_chance(world, 40)) {
        return;
    }
    (void)node_change(leader, mask_with(now, number, next)); /* refusals are part of the schedule */
}

static void cut_one_way(struct world *world)
{
    unsigned a = (unsigned)world_random(world, 0, world->node_count - 1);
    unsigned b = (unsigned)world_random(world, 0, world->node_count - 1);

    world->cut[a][b] = a != b;
}

static void split(struct world *world)
{
    uint64_t sides = world_random(world, 0, (1U << world->node_count) - 1);

    for (unsigned i = 0; i < world->node_count; i++) {
        for (unsigned j = 0; j < world->node_count; j++) {
            world->cut[i][j] = ((sides >> i ^ sides >> j) & 1U) != 0;
        }
    }
}

static void change_network(struct world *world)
{
    struct node *leader = world_leader(world);

    world_heal(world);
    switch (world_random(world, 0, 4)) {
    case 1:
        world_isolate(world, &world->nodes[world_random(world, 0, world->node_count - 1)]);
        break;
    case 2:
        split(world);
        break;
    case 3:
        cut_one_way(world);
        break;
    case 4:
        if (leader != NULL) {
            world_isolate(world, leader);
        }
        break;
    default:
        break;
    }
}

static void submit_somewhere(struct world *world)
{
    for (unsigned i = 0; i < world->node_count; i++) {
        struct node *node = &world->nodes[i];

        if (node->up && raft_state(&node->guard.raft) == RAFT_LEADER && world_chance(world, 80)) {
            unsigned count_max = world_chance(world, 80) ? 6 : SUBMIT_MAX;
            (void)node_submit(node, (unsigned)world_random(world, 1, count_max));
        }
    }
}

static void take_snapshot(struct node *node)
{
    struct world *world = node->world;
    uint64_t stored = node->up ? node->guard.raft.last_stored : 0;
    uint64_t limit = node->applied < stored ? node->applied : stored;

    if (limit > node->memory.snapshot.index) {
        uint64_t index = world_chance(world, 60)
                             ? limit
                             : world_random(world, node->memory.snapshot.index + 1, limit);
        unsigned trailing = world_chance(world, 50) ? 0 : (unsigned)world_random(world, 0, 30);
        (void)node_snapshot(node, index, trailing);
    }
}

static void act(struct world *world, const struct dice *dice)
{
    struct node *node = &world->nodes[world_random(world, 0, world->node_count - 1)];
    struct node *leader = world_leader(world);
    unsigned roll = (unsigned)world_random(world, 0, 99);

    if (roll < 45) {
        submit_somewhere(world);
    } else if (roll < 45 + 2 * dice->heat) {
        node_crash(node, true);
    } else if (roll < 60) {
        if (!node->up) {
            node_start(node);
        }
    } else if (roll < 60 + 2 * dice->heat) {
        change_network(world);
    } else if (roll < 72) {
        take_snapshot(node);
    } else if (roll < 72 + dice->membership) {
        if (leader != NULL) {
            change_membership(leader);
        }
    } else if (roll < 84) {
        if (leader != NULL && world_chance(world, 30)) {
            (void)node_transfer(leader, world_chance(world, 30) ? NULL : node);
        }
    } else if (roll < 87) {
        node->stall_ms = world_random(world, 100, 3000);
    }
}

static bool everybody_has(const struct world *world, const struct node *leader, uint64_t index)
{
    mask configuration = node_configuration(leader);

    for (unsigned i = 0; i < world->node_count; i++) {
        if (mask_role(configuration, i) != ROLE_NONE &&
            sp_raft_guard_committed(&world->nodes[i].guard) < index) {
            return false;
        }
    }
    return sp_raft_guard_committed(&leader->guard) >= index;
}

static void heal(struct world *world)
{
    uint64_t start_ms = world->now_ms;
    uint64_t target = 0;

    world_heal(world);
    world->loss_percent = 0;
    world->reorder_percent = 0;
    world->duplicate_percent = 0;
    world->net_ms = world->net_ms > 20 ? 20 : world->net_ms;
    for (unsigned i = 0; i < world->node_count; i++) {
        world->nodes[i].disk_ms = 5;
        if (!world->nodes[i].up) {
            node_start(&world->nodes[i]);
        }
    }
    while (world->now_ms - start_ms < HEAL_MS && world_run(world, 200)) {
        struct node *leader = world_leader(world);

        if (leader == NULL || world->now_ms - start_ms < HEAL_QUIET_MS) {
            continue;
        }
        if (target == 0 || leader->memory.last < target) {
            target = node_submit(leader, 1) == 0 ? leader->memory.last : 0;
        } else if (everybody_has(world, leader, target)) {
            return;
        }
    }
    world_fail(world, "no progress after healing");
}

static struct world *make_world(uint64_t seed, unsigned disabled, struct dice *dice)
{
    struct world chance = { .random = seed * 7919 + 13 };

    for (int i = 0; i < 8; i++) {
        (void)world_random(&chance, 0, 1);
    }
    unsigned voters = world_chance(&chance, 60) ? 3 : world_chance(&chance, 60) ? 5 : 1;
    struct world_options options = {
        .seed = world_random(&chance, 0, UINT32_MAX),
        .voters = voters,
        .nodes = voters + (unsigned)world_random(&chance, 0, 2),
        .disabled = disabled,
        .window = world_chance(&chance, 50) ? 32 : (unsigned)world_random(&chance, 1, 8),
        .no_pre_vote = world_chance(&chance, 25),
    };
    struct world *world = world_new(&options);
    unsigned mode = (unsigned)world_random(&chance, 0, 2); /* FIFO; with loss; with everything */

    world->loss_percent = mode >= 1 ? (unsigned)world_random(&chance, 0, 8) : 0;
    world->reorder_percent = mode == 2 ? (unsigned)world_random(&chance, 0, 15) : 0;
    world->duplicate_percent = mode == 2 ? (unsigned)world_random(&chance, 0, 8) : 0;
    world->net_ms = (unsigned)(world_chance(&chance, 50) ? world_random(&chance, 2, 10)
                                                         : world_random(&chance, 10, 120));
    for (unsigned i = 0; i < world->node_count; i++) {
        world->nodes[i].disk_ms =
            (unsigned)(world_chance(&chance, 60) ? world_random(&chance, 1, 10)
                                                 : world_random(&chance, 10, 400));
    }
    dice->heat = (unsigned)world_random(&chance, 1, 3);
    dice->membership = world_chance(&chance, 70) ? (unsigned)world_random(&chance, 1, 8) : 0;
    return world;
}

bool schedule_run(uint64_t seed, unsigned seconds, unsigned disabled, char *failure)
{
    struct dice dice = { 0, 0 };
    struct world *world = make_world(seed, disabled, &dice);
    uint64_t end_ms = world->now_ms + 1000 * (uint64_t)seconds;

    while (world->now_ms < end_ms && world_run(world, world_random(world, 2, 80))) {
        act(world, &dice);
    }
    if (!world_failed(world)) {
        heal(world);
    }
    bool good = !world_failed(world);
    (void)snprintf(failure, sizeof world->failure, "%s", world->failure);
    world_free(world);
    return good;
}
