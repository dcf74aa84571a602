#include "cluster/planner_board.h"

#include "cluster/machine_of.h"
#include "cluster/state_nodes.h"

struct sp_planner_candidate *sp_planner_find(struct sp_planner_board *board, uint32_t node_id)
{
    for (unsigned i = 0; i < board->count; i++) {
        if (board->candidates[i].node->node_id == node_id) {
            return &board->candidates[i];
        }
    }
    return NULL;
}

unsigned sp_planner_places(const struct sp_state *state,
                           const struct sp_state_partition *partition,
                           const struct sp_replica_place **out_places)
{
    const struct sp_state_move *move = sp_state_move(state, partition->group_id);

    *out_places = move != NULL ? move->target : partition->replicas;
    return move != NULL ? move->target_count : partition->replica_count;
}

static void count_topic(struct sp_planner_board *board,
                        const struct sp_state *state,
                        const struct sp_state_topic *topic)
{
    for (uint32_t i = 0; i < topic->partition_count; i++) {
        const struct sp_replica_place *places = NULL;
        unsigned count = sp_planner_places(state, &topic->partitions[i], &places);
        for (unsigned k = 0; k < count; k++) {
            struct sp_planner_candidate *candidate = sp_planner_find(board, places[k].node_id);
            if (candidate != NULL) {
                candidate->replica_count += 1;
                candidate->leader_count += k == 0 ? 1 : 0;
            }
        }
    }
}

void sp_planner_init_board(struct sp_planner_board *board, const struct sp_planner_view *view)
{
    struct sp_map_cursor cursor = { 0 };
    const struct sp_state_node *node = NULL;
    const struct sp_state_topic *topic = NULL;

    board->count = 0;
    board->shared = false;
    while ((node = sp_state_node_next(view->state, &cursor)) != NULL) {
        struct sp_state_member member = sp_state_member(view->state, node->node_id);
        board->shared = board->shared || sp_machine_has_shards(node);
        board->candidates[board->count++] = (struct sp_planner_candidate){
            .node = node,
            .machine = sp_machine_of(node),
            .eligible = !member.draining && view->health(view->arg, node->node_id) == SP_PLANNER_UP,
        };
    }
    cursor = (struct sp_map_cursor){ 0 };
    while ((topic = sp_state_topic_next(view->state, &cursor)) != NULL) {
        count_topic(board, view->state, topic);
    }
}

/* ---- choosing -------------------------------------------------------------------------------- */

static bool has_node(const struct sp_planner_move *move, uint32_t node_id)
{
    for (unsigned i = 0; i < move->count; i++) {
        if (move->wishes[i].node_id == node_id) {
            return true;
        }
    }
    return false;
}

unsigned sp_planner_rack_mates(struct sp_planner_board *board,
                               const struct sp_planner_move *move,
                               unsigned except,
                               const struct sp_planner_candidate *candidate)
{
    unsigned mates = 0;

    for (unsigned i = 0; i < move->count && candidate->node->rack[0] != '\0'; i++) {
        const struct sp_planner_candidate *other = sp_planner_find(board, move->wishes[i].node_id);
        mates += i != except && other != NULL && sp_machine_same_rack(other->node, candidate->node)
                     ? 1
                     : 0;
    }
    return mates;
}

bool sp_planner_uses_machine(struct sp_planner_board *board,
                             const struct sp_planner_move *move,
                             unsigned count,
                             unsigned except,
                             uint32_t machine)
{
    for (unsigned i = 0; i < count && board->shared; i++) {
        const struct sp_planner_candidate *other = sp_planner_find(board, move->wishes[i].node_id);
        if (i != except && other != NULL && other->machine == machine) {
            return true;
        }
    }
    return false;
}

struct sp_planner_candidate *sp_planner_choose(struct sp_planner_board *board,
                                               const struct sp_planner_move *move,
                                               unsigned except)
{
    struct sp_planner_candidate *best = NULL;
    unsigned best_mates = 0;

    for (unsigned i = 0; i < board->count; i++) {
        struct sp_planner_candidate *candidate = &board->candidates[i];
        unsigned mates = sp_planner_rack_mates(board, move, except, candidate);
        if (!candidate->eligible || has_node(move, candidate->node->node_id) ||
            sp_planner_uses_machine(board, move, move->count, except, candidate->machine) ||
            candidate->replica_count >= SP_GROUPS_PER_NODE_MAX) {
            continue;
        }
        if (best == NULL || mates < best_mates ||
            (mates == best_mates && (candidate->replica_count < best->replica_count ||
                                     (candidate->replica_count == best->replica_count &&
                                      candidate->node->node_id < best->node->node_id)))) {
            best = candidate;
            best_mates = mates;
        }
    }
    return best;
}
