/* Who is a member of group 0: every node of the cluster, some of them as voters. The leader sees to
 * it, and tells the state when a node that was to be removed is out. */
#include "cluster/controller_parts.h"

#include "base/trace.h"
#include "cluster/machine_of.h"
#include "cluster/raft_members.h"
#include "spate/error.h"

#define LOOK_MS 200

/* A founder that has not registered yet is not known to the state, and stays. It is a machine of
 * its own, or the first node of one. */
static unsigned add_unregistered(const struct sp_controller *controller,
                                 struct sp_raft_member_wish *wishes,
                                 unsigned count,
                                 struct sp_machines *staying)
{
    struct sp_replica_place places[SP_CONTROLLER_MEMBERS_MAX];
    unsigned member_count =
        sp_raft_group_members(controller->group, places, SP_CONTROLLER_MEMBERS_MAX);

    for (unsigned i = 0; i < member_count && count < SP_CONTROLLER_MEMBERS_MAX; i++) {
        if (places[i].replica_id <= SP_NODE_ID_MAX &&
            sp_state_node(controller->state, (uint32_t)places[i].replica_id) == NULL) {
            wishes[count++] =
                (struct sp_raft_member_wish){ .place = places[i], .may_vote = true, .stays = true };
            (void)sp_machines_add(staying, places[i].node_id);
        }
    }
    return count;
}

/* One, three or five voters, by how many nodes there are for it. */
unsigned sp_controller_voters_for(unsigned nodes)
{
    return nodes >= 5 ? 5 : nodes >= 3 ? 3 : 1;
}

static bool votes(const struct sp_controller *controller, const struct sp_state_member *member)
{
    return sp_raft_group_member(controller->group, member->voter_id) == SP_MEMBER_VOTER;
}

static bool stays(const struct sp_controller *controller,
                  const struct sp_state_node *node,
                  const struct sp_state_member *member)
{
    return !member->removing && !member->draining &&
           !sp_controller_is_gone(controller, node->node_id);
}

/* Machines that have a vote and keep it, each with the first of its nodes that has one. */
struct voting {
    struct sp_machines machines;
    uint32_t node_ids[SP_NODES_MAX];
};

static void find_voting(const struct sp_controller *controller, struct voting *out)
{
    struct sp_map_cursor cursor = { 0 };
    const struct sp_state_node *node = NULL;

    *out = (struct voting){ .machines = { .count = 0 } };
    while ((node = sp_state_node_next(controller->state, &cursor)) != NULL) {
        struct sp_state_member member = sp_state_member(controller->state, node->node_id);
        if (!votes(controller, &member) || !stays(controller, node, &member)) {
            continue;
        }
        unsigned place = sp_machines_add(&out->machines, sp_machine_of(node));
        if (out->node_ids[place] == 0 || node->node_id < out->node_ids[place]) {
            out->node_ids[place] = node->node_id;
        }
    }
}

/* True if another node of its machine has the machine's vote. Two votes would fall together: a
 * standby beside a voter does not become one, and of two voters, which an older build has made, the
 * later one goes. */
static bool is_beside(const struct voting *voting, const struct sp_state_node *node)
{
    unsigned place = sp_machines_find(&voting->machines, sp_machine_of(node));

    return place < voting->machines.count && voting->node_ids[place] != node->node_id;
}

static void wish_for(const struct sp_controller *controller,
                     const struct voting *voting,
                     const struct sp_state_node *node,
                     struct sp_raft_member_wish *out)
{
    struct sp_state_member member = sp_state_member(controller->state, node->node_id);
    bool beside = is_beside(voting, node);

    out->place =
        (struct sp_replica_place){ .replica_id = member.voter_id, .node_id = node->node_id };
    out->gone = sp_controller_is_gone(controller, node->node_id);
    out->may_vote = !member.draining && sp_controller_sees(controller, node->node_id) &&
                    (!beside || votes(controller, &member));
    out->stays = stays(controller, node, &member) && !beside;
    out->beside = beside;
}

static void gather(const struct sp_controller *controller,
                   struct sp_raft_member_wish *wishes,
                   struct sp_raft_members *out)
{
    struct sp_map_cursor cursor = { 0 };
    const struct sp_state_node *node = NULL;
    struct sp_machines staying = { .count = 0 };
    struct voting voting;
    unsigned count = 0;

    find_voting(controller, &voting);
    while ((node = sp_state_node_next(controller->state, &cursor)) != NULL &&
           count < SP_CONTROLLER_MEMBERS_MAX) {
        struct sp_state_member member = sp_state_member(controller->state, node->node_id);
        if (member.removing) {
            continue;
        }
        wish_for(controller, &voting, node, &wishes[count]);
        if (stays(controller, node, &member)) {
            (void)sp_machines_add(&staying, sp_machine_of(node));
        }
        count += 1;
    }
    count = add_unregistered(controller, wishes, count, &staying);
    *out = (struct sp_raft_members){ .wishes = wishes,
                                     .count = count,
                                     .voters = sp_controller_voters_for(staying.count) };
}

uint32_t sp_controller_lacks_voter(const struct sp_controller *controller)
{
    struct sp_map_cursor cursor = { 0 };
    const struct sp_state_node *node = NULL;
    struct sp_machines eligible = { .count = 0 };
    struct voting voting;
    uint32_t candidate = 0;

    if (controller->group == NULL || controller->stopped ||
        !sp_state_has_feature(controller->state, SP_FEATURE_MEMBERSHIP)) {
        return 0;
    }
    find_voting(controller, &voting); /* also those that are down, until they are replaced */
    while ((node = sp_state_node_next(controller->state, &cursor)) != NULL) {
        struct sp_state_member member = sp_state_member(controller->state, node->node_id);
        uint32_t machine = sp_machine_of(node);
        if (!stays(controller, node, &member)) {
            continue;
        }
        (void)sp_machines_add(&eligible, machine);
        if (!sp_machines_has(&voting.machines, machine) &&
            sp_controller_sees(controller, node->node_id) &&
            (candidate == 0 || node->node_id < candidate)) {
            candidate = node->node_id;
        }
    }
    return voting.machines.count < sp_controller_voters_for(eligible.count) ? candidate : 0;
}

static void on_gone(struct sp_proposal *proposal, int status, const char *text)
{
    (void)text;
    SP_TRACE_INFO("controller",
                  "node is out of the cluster",
                  "node=%u status=%s",
                  proposal->membership.node_id,
                  spate_error_name(status));
}

/* A node that is to be removed and is no member any more is forgotten. */
static bool forget_removed(struct sp_controller *controller)
{
    struct sp_map_cursor cursor = { 0 };
    const struct sp_state_node *node = NULL;
    struct sp_proposal *proposal = &controller->removal;

    while ((node = sp_state_node_next(controller->state, &cursor)) != NULL) {
        struct sp_state_member member = sp_state_member(controller->state, node->node_id);
        if (!member.removing) {
            continue;
        }
        if (proposal->state == SP_PROPOSAL_IDLE &&
            sp_raft_group_member(controller->group, member.voter_id) == SP_MEMBER_NONE) {
            *proposal = (struct sp_proposal){ .kind = SP_PROPOSAL_MEMBERSHIP, .cb = on_gone };
            proposal->membership.kind = SP_MEMBERSHIP_NODE_GONE;
            proposal->membership.node_id = node->node_id;
            sp_controller_propose(controller, proposal);
        }
        return true;
    }
    return false;
}

void sp_controller_keep_members(struct sp_controller *controller)
{
    struct sp_raft_member_wish wishes[SP_CONTROLLER_MEMBERS_MAX];
    struct sp_raft_members members;
    uint64_t now_ms = sp_loop_now_ms(controller->options.loop);
    bool settled = true;

    if (controller->group == NULL || controller->ready_since_ms == 0 ||
        now_ms < controller->members_due_ms ||
        !sp_state_has_feature(controller->state, SP_FEATURE_MEMBERSHIP)) {
        return;
    }
    controller->members_due_ms = now_ms + LOOK_MS;
    gather(controller, wishes, &members);
    if (sp_raft_group_keep_members(controller->group, &members, &settled) == 0 && settled) {
        (void)forget_removed(controller); /* looked at again */
    }
}
