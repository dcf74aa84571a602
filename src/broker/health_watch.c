/* Since when: what an answer of cluster.health cannot see at the moment of the question.
 *
 * Most times come from where things happen: a link (transport), a leader or a lag (leader table), a
 * step of a move (raft_move), damage (reconcile). What has no such place is looked at here, when
 * retention looks: nodes twice a second, partitions every five seconds. Asking changes nothing. */
#include "broker/health.h"
#include "broker/methods.h"

#include "cluster/state_moves.h"
#include "cluster/state_nodes.h"

enum {
    ALL_LOOK_MS = 5000, /* takes some 200 ns for each partition of the cluster */
};

static void note(uint64_t *since_ms, bool holds, uint64_t now_ms)
{
    if (!holds) {
        *since_ms = 0;
    } else if (*since_ms == 0) {
        *since_ms = now_ms;
    }
}

/* ---- nodes that drain ------------------------------------------------------------------------ */

uint64_t sp_health_draining_ms(const struct sp_broker *broker, uint32_t node_id)
{
    const struct sp_health_watch *watch = &broker->watch;

    for (unsigned i = 0; i < watch->draining_count; i++) {
        if (watch->draining[i].node_id == node_id) {
            return watch->draining[i].since_ms;
        }
    }
    return 0;
}

/* The list is made anew from the nodes that there are, with the times that are known. */
static void watch_draining(struct sp_broker *broker, uint64_t now_ms)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    const struct sp_state_node *node;
    struct sp_map_cursor cursor = { 0 };
    struct sp_health_draining draining[SP_NODES_MAX];
    unsigned count = 0;

    while ((node = sp_state_node_next(state, &cursor)) != NULL && count < SP_NODES_MAX) {
        if (sp_state_member(state, node->node_id).draining) {
            uint64_t since_ms = sp_health_draining_ms(broker, node->node_id);
            draining[count].node_id = node->node_id;
            draining[count].since_ms = since_ms != 0 ? since_ms : now_ms;
            count += 1;
        }
    }
    for (unsigned i = 0; i < count; i++) {
        broker->watch.draining[i] = draining[i];
    }
    broker->watch.draining_count = count;
}

/* ---- leaders --------------------------------------------------------------------------------- */

static bool may_lead(const struct sp_broker *broker, uint32_t node_id)
{
    return !sp_state_member(sp_controller_state(broker->options.controller), node_id).draining &&
           sp_transport_may_lead(broker->options.transport, node_id);
}

/* Its move ends with the leader that it should have. */
static bool is_moving(const struct sp_broker *broker, const struct sp_state_partition *place)
{
    return sp_state_move(sp_controller_state(broker->options.controller), place->group_id) != NULL;
}

uint32_t sp_health_better_leader(const struct sp_broker *broker,
                                 const struct sp_state_partition *place)
{
    uint32_t lagging = sp_group_table_lagging(broker->options.table, place->group_id);
    uint32_t leader = sp_group_table_leader(broker->options.table, place->group_id, NULL);
    bool stays = leader != 0 && may_lead(broker, leader);

    for (unsigned i = 0; leader != 0 && i < place->replica_count; i++) {
        uint32_t node_id = place->replicas[i].node_id;
        if (node_id == leader && stays) {
            return 0;
        }
        if (node_id != leader && !sp_health_replica_lags(place, i, lagging) &&
            may_lead(broker, node_id)) {
            return is_moving(broker, place) ? 0 : node_id;
        }
    }
    return 0;
}

static void watch_leaders(struct sp_broker *broker)
{
    struct sp_leader_table *leaders = sp_group_table_leaders(broker->options.table);
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    const struct sp_state_topic *topic;
    struct sp_map_cursor cursor = { 0 };

    while ((topic = sp_state_topic_next(state, &cursor)) != NULL) {
        for (uint32_t i = 0; i < topic->partition_count; i++) {
            const struct sp_state_partition *place = &topic->partitions[i];
            sp_leader_table_misplaced(
                leaders, place->group_id, sp_health_better_leader(broker, place) != 0);
        }
    }
}

static void watch_opening(struct sp_broker *broker, uint64_t now_ms)
{
    note(&broker->watch.opening_ms,
         broker->reconcile != NULL && sp_reconcile_missing_count(broker->reconcile) > 0,
         now_ms);
}

/* ---- looking --------------------------------------------------------------------------------- */

void sp_health_begin(struct sp_broker *broker)
{
    broker->watch.begun_ms = sp_loop_now_ms(broker->options.loop);
}

void sp_health_watch(struct sp_broker *broker)
{
    struct sp_health_watch *watch = &broker->watch;
    struct sp_health_features features = sp_health_features(broker);
    uint64_t now_ms = sp_loop_now_ms(broker->options.loop);

    note(&watch->voter_ms, sp_controller_lacks_voter(broker->options.controller) != 0, now_ms);
    note(&watch->features_ms, features.newest > features.level, now_ms);
    note(&watch->space_ms, sp_store_space(broker->options.store) != SP_SPACE_ENOUGH, now_ms);
    watch_draining(broker, now_ms);
    if (now_ms >= watch->all_due_ms || watch->opening_ms != 0) {
        watch_opening(broker, now_ms);
    }
    if (now_ms >= watch->all_due_ms) {
        watch_leaders(broker);
        watch->all_due_ms = now_ms + ALL_LOOK_MS;
    }
}
