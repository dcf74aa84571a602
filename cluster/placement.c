#include "cluster/placement.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "cluster/machine_of.h"
#include "cluster/state_nodes.h"
#include "spate/error.h"

/* A node with its load, counted over all topics and what is placed so far. */
struct load {
    uint32_t node_id;
    uint32_t machine;
    struct sp_bytes rack;
    bool down;
    uint64_t replica_count;
    uint64_t leader_count;
};

struct board {
    struct load loads[SP_NODES_MAX]; /* kept sorted by compare_loads while a partition is placed */
    unsigned count;
    unsigned machines;    /* that they are on */
    unsigned machines_up; /* of these, with a node that is up */
};

static struct load *load_of(struct board *board, uint32_t node_id)
{
    for (unsigned i = 0; i < board->count; i++) {
        if (board->loads[i].node_id == node_id) {
            return &board->loads[i];
        }
    }
    return NULL;
}

/* The nodes that may be given replicas. */
static void add_nodes(struct board *board, const struct sp_planner_view *view)
{
    struct sp_map_cursor cursor = { 0 };
    struct sp_machines machines = { .count = 0 };
    struct sp_machines machines_up = { .count = 0 };
    const struct sp_state_node *node = NULL;

    board->count = 0;
    while ((node = sp_state_node_next(view->state, &cursor)) != NULL) {
        SP_ASSERT(board->count < SP_NODES_MAX);
        if (!sp_state_member(view->state, node->node_id).draining) {
            bool down = view->health(view->arg, node->node_id) != SP_PLANNER_UP;
            uint32_t machine = sp_machine_of(node);
            board->loads[board->count++] = (struct load){ .node_id = node->node_id,
                                                          .machine = machine,
                                                          .rack = sp_machine_rack(node),
                                                          .down = down };
            (void)sp_machines_add(&machines, machine);
            if (!down) {
                (void)sp_machines_add(&machines_up, machine);
            }
        }
    }
    board->machines = machines.count;
    board->machines_up = machines_up.count;
}

static void leave_out_down(struct board *board)
{
    unsigned count = 0;

    for (unsigned i = 0; i < board->count; i++) {
        if (!board->loads[i].down) {
            board->loads[count++] = board->loads[i];
        }
    }
    board->count = count;
}

static void count_loads(struct board *board, const struct sp_state *state)
{
    struct sp_map_cursor cursor = { 0 };
    const struct sp_state_topic *topic = NULL;

    while ((topic = sp_state_topic_next(state, &cursor)) != NULL) {
        for (uint32_t i = 0; i < topic->partition_count; i++) {
            const struct sp_state_partition *partition = &topic->partitions[i];
            for (unsigned j = 0; j < partition->replica_count; j++) {
                struct load *load = load_of(board, partition->replicas[j].node_id);
                if (load != NULL) {
                    load->replica_count += 1;
                    load->leader_count += j == 0;
                }
            }
        }
    }
}

/* Those that are up, then fewest replicas first. Among equals those with most leaders come first:
 * they cannot lead next, so the nodes that should lead next stay in reserve, and both balances hold
 * at once. */
static int compare_loads(const void *left_pointer, const void *right_pointer)
{
    const struct load *left = left_pointer;
    const struct load *right = right_pointer;

    if (left->down != right->down) {
        return left->down ? 1 : -1;
    }
    if (left->replica_count != right->replica_count) {
        return left->replica_count < right->replica_count ? -1 : 1;
    }
    if (left->leader_count != right->leader_count) {
        return left->leader_count > right->leader_count ? -1 : 1;
    }
    return left->node_id < right->node_id ? -1 : left->node_id > right->node_id;
}

/* True if `left` should lead rather than `right`: it is up; fewer leaders; then more replicas, for
 * the same reason as above; then the lower id. */
static bool leads_before(const struct load *left, const struct load *right)
{
    if (left->down != right->down) {
        return right->down;
    }
    if (left->leader_count != right->leader_count) {
        return left->leader_count < right->leader_count;
    }
    if (left->replica_count != right->replica_count) {
        return left->replica_count > right->replica_count;
    }
    return left->node_id < right->node_id;
}

static void swap_loads(struct load *left, struct load *right)
{
    struct load kept = *left;

    *left = *right;
    *right = kept;
}

/* True if not any node could stand in for any other. */
static bool is_bound(const struct board *board)
{
    if (board->machines < board->count) {
        return true;
    }
    for (unsigned i = 0; i < board->count; i++) {
        if (board->loads[i].rack.size > 0) {
            return true;
        }
    }
    return false;
}

static bool uses_machine(const struct load *loads, uint32_t count, uint32_t machine)
{
    for (uint32_t i = 0; i < count; i++) {
        if (loads[i].machine == machine) {
            return true;
        }
    }
    return false;
}

static bool uses_rack(const struct load *loads, uint32_t count, struct sp_bytes rack)
{
    for (uint32_t i = 0; i < count; i++) {
        if (rack.size > 0 && sp_bytes_equal(loads[i].rack, rack)) {
            return true;
        }
    }
    return false;
}

/* The first node from place `i` on whose machine, and rack if that counts, those before do not use;
 * if there is none in another rack, that counts no more. There are enough machines. */
static unsigned next_apart(const struct board *board, uint32_t i, bool racks_count)
{
    const struct load *loads = board->loads;
    unsigned found = board->count;

    for (unsigned next = i; next < board->count; next++) {
        if (uses_machine(loads, i, loads[next].machine)) {
            continue;
        }
        if (!racks_count || !uses_rack(loads, i, loads[next].rack)) {
            return next;
        }
        found = found == board->count ? next : found;
    }
    return found;
}

/* Brings nodes of different machines, and of as many racks as there are, into the first `replicas`
 * places of the sorted board. Nodes that are up go before racks if they are too few: a replica that
 * runs is worth more than a rack. */
static void spread(struct board *board, uint32_t replicas)
{
    struct load *loads = board->loads;
    uint32_t run = board->machines_up < replicas ? board->machines_up : 1;

    for (uint32_t i = 0; i < replicas; i++) {
        unsigned next = next_apart(board, i, i >= run);
        SP_ASSERT(next < board->count);
        for (; next > i; next--) {
            swap_loads(&loads[next], &loads[next - 1]);
        }
    }
}

/* The first `replicas` of the sorted board get the partition. The leader is the best of them, or of
 * those behind that have no more replicas than the last of them, which then takes its place. */
static void place_partition(struct board *board, uint32_t replicas, uint32_t *out_nodes)
{
    struct load *loads = board->loads;
    unsigned leader = 0;

    qsort(loads, board->count, sizeof *loads, compare_loads);
    bool bound = is_bound(board);
    spread(board, replicas);
    uint64_t replica_count_max = loads[replicas - 1].replica_count;
    unsigned end = bound ? replicas : board->count; /* none is exchanged for one that may not */
    for (unsigned i = 1; i < end; i++) {
        if (i >= replicas && loads[i].replica_count > replica_count_max) {
            break;
        }
        if (leads_before(&loads[i], &loads[leader])) {
            leader = i;
        }
    }
    if (leader >= replicas) {
        swap_loads(&loads[leader], &loads[replicas - 1]);
        leader = replicas - 1;
    }
    swap_loads(&loads[leader], &loads[0]);
    loads[0].leader_count += 1;
    for (uint32_t i = 0; i < replicas; i++) {
        loads[i].replica_count += 1;
        out_nodes[i] = loads[i].node_id;
    }
}

int sp_placement_choose(const struct sp_planner_view *view,
                        uint32_t partitions,
                        uint32_t replicas,
                        uint32_t *out_nodes)
{
    struct board board;

    SP_ASSERT(replicas > 0);
    add_nodes(&board, view);
    if (replicas > board.machines) {
        return SPATE_ERR_INVALID;
    }
    if (board.machines_up >= replicas) {
        leave_out_down(&board);
    }
    count_loads(&board, view->state);
    for (uint32_t i = 0; i < partitions; i++) {
        place_partition(&board, replicas, out_nodes + (size_t)i * replicas);
    }
    return 0;
}
