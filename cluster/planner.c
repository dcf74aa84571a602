#include "cluster/planner.h"

#include "cluster/planner_board.h"
#include "cluster/state_nodes.h"
#include "spate/error.h"

static void begin_move(const struct sp_planner_view *view,
                       const struct sp_state_topic *topic,
                       uint32_t partition,
                       struct sp_planner_move *out)
{
    const struct sp_replica_place *places = NULL;
    unsigned count = sp_planner_places(view->state, &topic->partitions[partition], &places);

    *out = (struct sp_planner_move){ .topic_id = topic->topic_id,
                                     .partition = partition,
                                     .count = count };
    for (unsigned i = 0; i < count; i++) {
        out->wishes[i].node_id = places[i].node_id;
    }
}

/* ---- leaders --------------------------------------------------------------------------------- */

/* Puts another node first, if one leads at least two partitions less: an order costs no copying. */
static bool lead_better(struct sp_planner_board *board, struct sp_planner_move *move)
{
    struct sp_planner_candidate *first = sp_planner_find(board, move->wishes[0].node_id);
    struct sp_planner_candidate *best = first;
    unsigned place = 0;

    for (unsigned i = 1; i < move->count && first != NULL; i++) {
        struct sp_planner_candidate *other = sp_planner_find(board, move->wishes[i].node_id);
        if (other != NULL && other->eligible && other->leader_count + 1 < first->leader_count &&
            other->leader_count < best->leader_count) {
            best = other;
            place = i;
        }
    }
    if (place == 0) {
        return false;
    }
    struct sp_state_wish kept = move->wishes[0];
    move->wishes[0] = move->wishes[place];
    move->wishes[place] = kept;
    first->leader_count -= 1;
    best->leader_count += 1;
    return true;
}

/* The move of the partition that is planned already, or one more behind them all. */
static struct sp_planner_move *move_of(const struct sp_planner_view *view,
                                       const struct sp_state_topic *topic,
                                       uint32_t partition,
                                       struct sp_planner_move *moves,
                                       unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (moves[i].topic_id == topic->topic_id && moves[i].partition == partition) {
            return &moves[i];
        }
    }
    begin_move(view, topic, partition, &moves[count]);
    return &moves[count];
}

/* Firsts as they will be when these moves are done. */
static void count_planned_leaders(struct sp_planner_board *board,
                                  const struct sp_planner_view *view,
                                  struct sp_planner_move *moves,
                                  unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        const struct sp_state_topic *topic = sp_state_topic_by_id(view->state, moves[i].topic_id);
        const struct sp_replica_place *places = NULL;
        (void)sp_planner_places(view->state, &topic->partitions[moves[i].partition], &places);
        struct sp_planner_candidate *before = sp_planner_find(board, places[0].node_id);
        struct sp_planner_candidate *after = sp_planner_find(board, moves[i].wishes[0].node_id);
        if (before != NULL && after != NULL) {
            before->leader_count -= 1;
            after->leader_count += 1;
        }
    }
}

/* True if nobody leads the partition, and replicas are left that may have what it had. */
static bool is_stranded(const struct sp_planner_view *view,
                        const struct sp_state_partition *partition)
{
    bool led = view->led == NULL || view->led(view->arg, partition->group_id);
    bool away = partition->replica_count == 1 &&
                view->health(view->arg, partition->replicas[0].node_id) != SP_PLANNER_UP;

    return (!led || away) && !sp_state_is_forsaken(view->state, partition);
}

static bool may_change(const struct sp_planner_view *view,
                       const struct sp_state_partition *partition)
{
    return sp_state_move(view->state, partition->group_id) == NULL && !is_stranded(view, partition);
}

/* Looks at every partition once; false: no order is to be changed any more. */
static bool order_once(struct sp_planner_board *board,
                       const struct sp_planner_view *view,
                       struct sp_planner_move *moves,
                       unsigned *count,
                       unsigned count_max)
{
    struct sp_map_cursor cursor = { 0 };
    const struct sp_state_topic *topic = NULL;
    bool changed = false;

    while ((topic = sp_state_topic_next(view->state, &cursor)) != NULL) {
        for (uint32_t i = 0; i < topic->partition_count && *count < count_max; i++) {
            if (!may_change(view, &topic->partitions[i])) {
                continue;
            }
            struct sp_planner_move *move = move_of(view, topic, i, moves, *count);
            if (lead_better(board, move)) {
                *count += move == &moves[*count] ? 1 : 0;
                changed = true;
            }
        }
    }
    return changed;
}

/* ---- repairs --------------------------------------------------------------------------------- */

/* True if the replica has to be replaced on another node. One that began anew counts as lost until
 * it has left its node; a forced membership may have left a move that ends where it began. */
static bool must_leave(const struct sp_planner_view *view,
                       const struct sp_state_partition *partition,
                       const struct sp_replica_place *place)
{
    bool stays = sp_state_move(view->state, partition->group_id) != NULL &&
                 place->replica_id == partition->replicas[0].replica_id &&
                 sp_state_began_anew(view->state, partition);

    return stays || sp_state_member(view->state, place->node_id).draining ||
           view->health(view->arg, place->node_id) == SP_PLANNER_GONE;
}

/* True if an earlier replica stands on the same machine: an older build that led has put it there,
 * or its node has become a shard since. */
static bool
is_crowded(struct sp_planner_board *board, const struct sp_planner_move *move, unsigned place)
{
    const struct sp_planner_candidate *holder = sp_planner_find(board, move->wishes[place].node_id);

    return holder != NULL && sp_planner_uses_machine(board, move, place, place, holder->machine);
}

/* Puts a node first that is up; false: there is none. */
static bool found_now(const struct sp_planner_view *view, struct sp_planner_move *move)
{
    unsigned up = 0;

    while (up < move->count && view->health(view->arg, move->wishes[up].node_id) != SP_PLANNER_UP) {
        up += 1;
    }
    if (up < move->count) {
        struct sp_state_wish first = move->wishes[up];
        move->wishes[up] = move->wishes[0];
        move->wishes[0] = first;
    }
    return up < move->count;
}

static bool plan_repair(const struct sp_planner_view *view,
                        struct sp_planner_board *board,
                        const struct sp_state_topic *topic,
                        uint32_t partition,
                        struct sp_planner_move *move)
{
    const struct sp_replica_place *places = NULL;
    const struct sp_state_partition *part = &topic->partitions[partition];
    unsigned count = sp_planner_places(view->state, part, &places);
    bool changed = false;
    bool led = false;

    begin_move(view, topic, partition, move);
    if (is_stranded(view, part)) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        uint32_t node_id = places[i].node_id;
        if (!must_leave(view, part, &places[i]) && !is_crowded(board, move, i)) {
            /* a lost one is made anew where it was: the state sees that by itself */
            changed = changed || (sp_state_is_lost(view->state, &places[i]) &&
                                  sp_state_outlives(view->state, part, places[i].replica_id) &&
                                  view->health(view->arg, node_id) == SP_PLANNER_UP);
            continue;
        }
        struct sp_planner_candidate *to = sp_planner_choose(board, move, i);
        struct sp_planner_candidate *from = sp_planner_find(board, node_id);
        if (to == NULL) {
            continue; /* nobody can take it */
        }
        move->wishes[i].node_id = to->node->node_id;
        to->replica_count += 1;
        to->leader_count += i == 0 ? 1 : 0;
        if (from != NULL) {
            from->replica_count -= 1;
            from->leader_count -= i == 0 ? 1 : 0;
        }
        changed = true;
        led = led || i == 0;
    }
    if (led) {
        (void)lead_better(board, move);
    }
    return sp_state_is_forsaken(view->state, part) ? found_now(view, move) : changed;
}

unsigned sp_planner_repairs(const struct sp_planner_view *view,
                            struct sp_planner_move *out_moves,
                            unsigned count_max)
{
    struct sp_map_cursor cursor = { 0 };
    const struct sp_state_topic *topic = NULL;
    struct sp_planner_board board;
    unsigned count = 0;

    sp_planner_init_board(&board, view);
    while ((topic = sp_state_topic_next(view->state, &cursor)) != NULL) {
        for (uint32_t i = 0; i < topic->partition_count && count < count_max; i++) {
            count += plan_repair(view, &board, topic, i, &out_moves[count]) ? 1 : 0;
        }
    }
    return count;
}

/* ---- balance --------------------------------------------------------------------------------- */

static struct sp_planner_candidate *most_loaded(struct sp_planner_board *board)
{
    struct sp_planner_candidate *most = NULL;

    for (unsigned i = 0; i < board->count; i++) {
        struct sp_planner_candidate *candidate = &board->candidates[i];
        if (candidate->eligible &&
            (most == NULL || candidate->replica_count > most->replica_count)) {
            most = candidate;
        }
    }
    return most;
}

/* Gives the place of `from` in this move to another node, if one has at least two replicas less and
 * no rack gets more of the partition than before. */
static bool shift(struct sp_planner_board *board,
                  struct sp_planner_candidate *from,
                  struct sp_planner_move *move)
{
    for (unsigned i = 0; i < move->count; i++) {
        if (move->wishes[i].node_id != from->node->node_id) {
            continue;
        }
        struct sp_planner_candidate *to = sp_planner_choose(board, move, i);
        if (to == NULL || to->replica_count + 2 > from->replica_count ||
            sp_planner_rack_mates(board, move, i, to) >
                sp_planner_rack_mates(board, move, i, from)) {
            return false;
        }
        move->wishes[i].node_id = to->node->node_id;
        to->replica_count += 1;
        from->replica_count -= 1;
        return true;
    }
    return false;
}

/* One replica less on `from`; false: none can go. *count grows when a further partition moves. */
static bool relieve(const struct sp_planner_view *view,
                    struct sp_planner_board *board,
                    struct sp_planner_candidate *from,
                    struct sp_planner_move *moves,
                    unsigned *count)
{
    struct sp_map_cursor cursor = { 0 };
    const struct sp_state_topic *topic = NULL;

    while ((topic = sp_state_topic_next(view->state, &cursor)) != NULL) {
        for (uint32_t i = 0; i < topic->partition_count; i++) {
            if (!may_change(view, &topic->partitions[i])) {
                continue;
            }
            struct sp_planner_move *move = move_of(view, topic, i, moves, *count);
            if (shift(board, from, move)) {
                *count += move == &moves[*count] ? 1 : 0;
                return true;
            }
        }
    }
    return false;
}

unsigned sp_planner_balance(const struct sp_planner_view *view,
                            struct sp_planner_move *out_moves,
                            unsigned count_max)
{
    struct sp_planner_board board;
    unsigned count = 0;

    sp_planner_init_board(&board, view);
    while (count < count_max) {
        struct sp_planner_candidate *from = most_loaded(&board);
        if (from == NULL) {
            break;
        }
        if (!relieve(view, &board, from, out_moves, &count)) {
            from->eligible = false; /* nothing of it can go; the others may still shed some */
        }
    }
    sp_planner_init_board(&board, view);
    count_planned_leaders(&board, view, out_moves, count);
    while (order_once(&board, view, out_moves, &count, count_max)) {
        /* each change brings two nodes nearer to each other: it ends */
    }
    return count;
}

/* ---- resizing -------------------------------------------------------------------------------- */

/* Drops the replica that the others miss least: on the fullest node, but never the first one. */
static void drop_one(struct sp_planner_board *board, struct sp_planner_move *move)
{
    unsigned dropped = move->count - 1;
    uint32_t most = 0;

    for (unsigned i = 1; i < move->count; i++) {
        const struct sp_planner_candidate *candidate =
            sp_planner_find(board, move->wishes[i].node_id);
        uint32_t load =
            candidate == NULL || !candidate->eligible ? UINT32_MAX : candidate->replica_count;
        if (load >= most) {
            most = load;
            dropped = i;
        }
    }
    for (unsigned i = dropped; i + 1 < move->count; i++) {
        move->wishes[i] = move->wishes[i + 1];
    }
    move->count -= 1;
}

static int
resize_one(struct sp_planner_board *board, unsigned replicas, struct sp_planner_move *move)
{
    while (move->count > replicas) {
        drop_one(board, move);
    }
    while (move->count < replicas) {
        struct sp_planner_candidate *to = sp_planner_choose(board, move, move->count);
        if (to == NULL) {
            return SPATE_ERR_INVALID;
        }
        move->wishes[move->count++] = (struct sp_state_wish){ .node_id = to->node->node_id };
        to->replica_count += 1;
    }
    (void)lead_better(board, move);
    return 0;
}

int sp_planner_resize(const struct sp_planner_view *view,
                      const struct sp_state_topic *topic,
                      unsigned replicas,
                      struct sp_planner_move *out_moves,
                      unsigned *out_count)
{
    struct sp_planner_board board;
    unsigned count = 0;
    int rv = 0;

    sp_planner_init_board(&board, view);
    for (uint32_t i = 0; i < topic->partition_count && rv == 0; i++) {
        begin_move(view, topic, i, &out_moves[count]);
        if (out_moves[count].count != replicas) {
            rv = resize_one(&board, replicas, &out_moves[count]);
            count += 1;
        }
    }
    *out_count = count;
    return rv;
}
