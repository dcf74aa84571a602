/* Questions about the controller. */
#include "cluster/controller.h"
#include "cluster/controller_parts.h"

#include "cluster/raft_members.h"

const struct sp_state *sp_controller_state(const struct sp_controller *controller)
{
    return controller->state;
}

uint32_t sp_controller_leader(const struct sp_controller *controller)
{
    uint64_t term = 0;

    if (controller->stopped) {
        return 0;
    }
    return sp_group_table_leader(controller->options.table, SP_CONTROLLER_GROUP_ID, &term);
}

const char *sp_controller_role_of(const struct sp_controller *controller, uint32_t node_id)
{
    struct sp_state_member member = sp_state_member(controller->state, node_id);

    if (node_id == sp_controller_leader(controller)) {
        return "leader";
    }
    if (controller->group == NULL) {
        return "none";
    }
    switch (sp_raft_group_member(controller->group, member.voter_id)) {
    case SP_MEMBER_VOTER:
        return "voter";
    case SP_MEMBER_STANDBY:
        return "standby";
    case SP_MEMBER_NONE:
        break;
    }
    return "none";
}

bool sp_controller_has_member(const struct sp_controller *controller, uint64_t replica_id)
{
    return controller->group != NULL &&
           sp_raft_group_member(controller->group, replica_id) != SP_MEMBER_NONE;
}

/* Since when the time of a node that is down is counted. */
static uint64_t
counted_since_ms(const struct sp_controller *controller, uint32_t node_id, uint64_t down_ms)
{
    uint64_t now_ms = sp_loop_now_ms(controller->options.loop);
    struct sp_leader_since since = { .leader_ms = now_ms };

    if (controller->ready_since_ms != 0) { /* it counts itself, and looks twice a second */
        uint64_t counted_ms = controller->down_since_ms[node_id];
        return counted_ms == 0 ? now_ms : counted_ms;
    }
    (void)sp_leader_table_since(
        sp_group_table_leaders(controller->options.table), SP_CONTROLLER_GROUP_ID, &since);
    return since.leader_ms > down_ms ? since.leader_ms : down_ms;
}

enum sp_rebuild sp_controller_rebuild(const struct sp_controller *controller,
                                      uint32_t node_id,
                                      uint64_t down_ms,
                                      uint64_t *out_rest_ms)
{
    uint64_t limit_ms = controller->options.node_replace_ms;

    *out_rest_ms = 0;
    if (limit_ms == 0) {
        return SP_REBUILD_OFF;
    }
    if (!sp_state_has_feature(controller->state, SP_FEATURE_MEMBERSHIP)) {
        return SP_REBUILD_UNSUPPORTED;
    }
    if (sp_controller_leader(controller) == 0) {
        return SP_REBUILD_NO_CONTROLLER;
    }
    uint64_t waited_ms =
        sp_loop_now_ms(controller->options.loop) - counted_since_ms(controller, node_id, down_ms);
    *out_rest_ms = waited_ms < limit_ms ? limit_ms - waited_ms : 0;
    return *out_rest_ms > 0 ? SP_REBUILD_WAITING : SP_REBUILD_DUE;
}

bool sp_controller_has_others(const struct sp_controller *controller,
                              const struct sp_raft_group *group)
{
    const struct sp_state_partition *partition =
        sp_state_partition_of(controller->state, sp_raft_group_id(group), NULL);
    uint64_t ids[SP_STATE_KNOWN_MAX];
    unsigned count =
        partition == NULL ? 0 : sp_state_known_replicas(controller->state, partition, ids);
    bool found = partition == NULL;

    for (unsigned i = 0; i < count && !found; i++) {
        found = sp_raft_group_member(group, ids[i]) == SP_MEMBER_NONE;
    }
    return found;
}

bool sp_controller_is_confirmed(const struct sp_controller *controller)
{
    return controller->confirmed;
}

bool sp_controller_is_current(const struct sp_controller *controller)
{
    return controller->confirmed && !controller->stopped && controller->group != NULL &&
           sp_raft_group_is_current(controller->group);
}

bool sp_controller_is_current_on(const struct sp_controller *controller, uint32_t node_id)
{
    struct sp_raft_group_status status;

    if (!sp_controller_is_current(controller)) {
        return false;
    }
    sp_raft_group_status(controller->group, &status);
    return status.leader_node != node_id;
}

bool sp_controller_follows(const struct sp_controller *controller)
{
    uint32_t leader = sp_controller_leader(controller);

    return leader != 0 && sp_controller_is_current(controller) &&
           sp_controller_has_member(controller, sp_raft_group_replica_id(controller->group)) &&
           sp_controller_sees(controller, leader);
}

unsigned sp_controller_voters(const struct sp_controller *controller,
                              uint32_t *out_node_ids,
                              unsigned count_max)
{
    struct sp_replica_place places[SP_NODES_MAX];
    unsigned count = controller->group == NULL
                         ? 0
                         : sp_raft_group_members(controller->group, places, SP_NODES_MAX);
    unsigned voters = 0;

    for (unsigned i = 0; i < count && voters < count_max; i++) {
        if (places[i].node_id != 0 && places[i].node_id <= SP_NODE_ID_MAX &&
            sp_raft_group_member(controller->group, places[i].replica_id) == SP_MEMBER_VOTER) {
            out_node_ids[voters++] = places[i].node_id;
        }
    }
    return voters;
}
