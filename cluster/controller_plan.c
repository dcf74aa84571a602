/* What the leader of group 0 does by itself for the replicas of partitions: moves them away from
 * nodes that are gone for good or draining, rebuilds lost ones, keeps the consumer groups' topic on
 * as many nodes as it should have. */
#include "cluster/controller_parts.h"

#include <stdio.h>

#include "base/trace.h"
#include "spate/error.h"

#define LOOK_MS 500
#define PLACING_DOWN_MS 1000 /* so long a node was away for which others are given new topics */

uint32_t sp_controller_self(const struct sp_controller *controller)
{
    return controller->options.self.node_id;
}

bool sp_controller_sees(const struct sp_controller *controller, uint32_t node_id)
{
    const struct sp_state_node *node = sp_state_node(controller->state, node_id);

    return node_id == controller->options.self.node_id ||
           (node != NULL &&
            sp_transport_is_up(controller->options.transport, node_id, node->incarnation));
}

bool sp_controller_may_lead(const struct sp_controller *controller, uint32_t node_id)
{
    return sp_transport_may_lead(controller->options.transport, node_id);
}

bool sp_controller_is_gone(const struct sp_controller *controller, uint32_t node_id)
{
    uint64_t limit_ms = controller->options.node_replace_ms;
    uint64_t since_ms = controller->down_since_ms[node_id];

    return !sp_controller_sees(controller, node_id) && limit_ms > 0 && since_ms > 0 &&
           sp_loop_now_ms(controller->options.loop) - since_ms >= limit_ms;
}

enum sp_planner_health sp_controller_health(void *arg, uint32_t node_id)
{
    const struct sp_controller *controller = arg;

    if (sp_controller_sees(controller, node_id)) {
        return SP_PLANNER_UP;
    }
    return sp_controller_is_gone(controller, node_id) ? SP_PLANNER_GONE : SP_PLANNER_DOWN;
}

bool sp_controller_is_led(void *arg, uint64_t group_id)
{
    const struct sp_controller *controller = arg;

    return sp_group_table_leader(controller->options.table, group_id, NULL) != 0;
}

/* As its link tells: a leader of a moment ago has not counted yet. */
static bool was_just_here(const struct sp_controller *controller, uint32_t node_id)
{
    uint64_t since_ms = controller->down_since_ms[node_id];
    struct sp_transport_look look;

    if (sp_transport_look(controller->options.transport, node_id, &look) && !look.up) {
        since_ms = look.link_ms;
    }
    return since_ms == 0 || sp_loop_now_ms(controller->options.loop) < since_ms + PLACING_DOWN_MS;
}

enum sp_planner_health sp_controller_placing_health(void *arg, uint32_t node_id)
{
    const struct sp_controller *controller = arg;
    bool fit = sp_controller_sees(controller, node_id) ? sp_controller_may_lead(controller, node_id)
                                                       : was_just_here(controller, node_id);

    return fit ? SP_PLANNER_UP : SP_PLANNER_DOWN;
}

/* Since when which nodes are down, as long as this node leads. */
static void watch_nodes(struct sp_controller *controller, uint64_t now_ms)
{
    struct sp_map_cursor cursor = { 0 };
    const struct sp_state_node *node = NULL;

    while ((node = sp_state_node_next(controller->state, &cursor)) != NULL) {
        uint64_t *since_ms = &controller->down_since_ms[node->node_id];
        bool up = sp_controller_health(controller, node->node_id) == SP_PLANNER_UP;
        if (up) {
            *since_ms = 0;
        } else if (*since_ms == 0) {
            *since_ms = now_ms;
        }
    }
}

static void on_planned(struct sp_proposal *proposal, int status, const char *text)
{
    if (status != 0 && status != SPATE_ERR_EXISTS && status != SPATE_ERR_CANCELED) {
        SP_TRACE_INFO("controller",
                      "move not begun, tried again",
                      "topic_id=%llu partition=%u error=%s text=%s",
                      (unsigned long long)proposal->membership.topic_id,
                      proposal->membership.partition,
                      spate_error_name(status),
                      text);
    }
}

static bool plans_busy(const struct sp_controller *controller)
{
    for (unsigned i = 0; i < SP_CONTROLLER_PLANS_MAX; i++) {
        if (controller->plans[i].state != SP_PROPOSAL_IDLE) {
            return true;
        }
    }
    return false;
}

static void
propose_moves(struct sp_controller *controller, const struct sp_planner_move *moves, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct sp_proposal *proposal = &controller->plans[i];
        *proposal = (struct sp_proposal){ .kind = SP_PROPOSAL_MEMBERSHIP, .cb = on_planned };
        proposal->membership = (struct sp_membership_change){ .kind = SP_MEMBERSHIP_MOVE,
                                                              .topic_id = moves[i].topic_id,
                                                              .partition = moves[i].partition,
                                                              .count = moves[i].count };
        for (unsigned k = 0; k < moves[i].count; k++) {
            proposal->membership.wishes[k] = moves[i].wishes[k];
        }
        SP_TRACE_INFO("controller",
                      "replicas move",
                      "topic_id=%llu partition=%u replicas=%u",
                      (unsigned long long)moves[i].topic_id,
                      moves[i].partition,
                      moves[i].count);
        sp_controller_propose(controller, proposal);
    }
}

/* The coordinators of consumer groups were made when there were fewer nodes than replicas. From one
 * replica to three at once: two survive nothing more than one does. Not those that nobody leads. */
static unsigned
plan_internal(const struct sp_planner_view *view, struct sp_planner_move *moves, unsigned count_max)
{
    const struct sp_state_topic *topic = sp_state_topic(view->state, SP_STATE_GROUPS_TOPIC);
    unsigned count = 0;
    unsigned kept = 0;

    if (topic == NULL || topic->partition_count > count_max ||
        sp_planner_resize(view, topic, SP_PROPOSAL_REPLICAS_DEFAULT, moves, &count) != 0) {
        return 0;
    }
    for (unsigned i = 0; i < count; i++) {
        const struct sp_state_partition *partition = &topic->partitions[moves[i].partition];
        if (partition->replica_count < SP_PROPOSAL_REPLICAS_DEFAULT &&
            view->led(view->arg, partition->group_id)) {
            moves[kept++] = moves[i];
        }
    }
    return kept;
}

void sp_controller_plan(struct sp_controller *controller)
{
    struct sp_planner_move moves[SP_CONTROLLER_PLANS_MAX];
    uint64_t now_ms = sp_loop_now_ms(controller->options.loop);
    const struct sp_planner_view view = { .state = controller->state,
                                          .health = sp_controller_health,
                                          .led = sp_controller_is_led,
                                          .arg = controller };

    if (controller->group == NULL || controller->ready_since_ms == 0) {
        for (unsigned i = 0; i <= SP_NODE_ID_MAX; i++) {
            controller->down_since_ms[i] = 0;
        }
        return;
    }
    if (now_ms < controller->plan_due_ms ||
        !sp_state_has_feature(controller->state, SP_FEATURE_MEMBERSHIP)) {
        return;
    }
    controller->plan_due_ms = now_ms + LOOK_MS;
    watch_nodes(controller, now_ms);
    if (plans_busy(controller) ||
        sp_state_move_count(controller->state) >= SP_CONTROLLER_MOVES_MAX) {
        return;
    }
    unsigned count = sp_planner_repairs(&view, moves, SP_CONTROLLER_PLANS_MAX);
    if (count == 0 && controller->options.coordinators > 0) {
        count = plan_internal(&view, moves, SP_CONTROLLER_PLANS_MAX);
    }
    propose_moves(controller, moves, count);
}
