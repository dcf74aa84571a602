/* Whether the cluster has come to rest: everybody runs, agrees, and has everything. */
#include <stdio.h>

#include "cluster/leader_table.h"
#include "cluster/raft_group.h"
#include "sim_cluster.h"
#include "sim_images.h"
#include "sim_model.h"
#include "sim_voters.h"

static bool group_settled(uint64_t group_id, char *out_why, unsigned size)
{
    struct sim_node *leader = sim_cluster_leader(group_id);
    struct sp_raft_group_status first;

    if (leader == NULL) {
        (void)snprintf(out_why, size, "group %llu has no leader", (unsigned long long)group_id);
        return false;
    }
    sp_raft_group_status(sim_cluster_group(leader, group_id), &first);
    for (unsigned i = 0; i < sim_cluster.node_count; i++) {
        struct sp_raft_group_status status;

        if (!sim_cluster_group_status(&sim_cluster.nodes[i], group_id, &status)) {
            continue;
        }
        if (status.stopped || status.last_index != first.last_index ||
            status.applied_index != first.last_index ||
            status.persisted_index != first.last_index) {
            (void)snprintf(out_why,
                           size,
                           "group %llu: leader %s ends at %llu, %s%s at last %llu, applied %llu, "
                           "persisted %llu",
                           (unsigned long long)group_id,
                           leader->process->name,
                           (unsigned long long)first.last_index,
                           sim_cluster.nodes[i].process->name,
                           status.stopped ? " (stopped)" : "",
                           (unsigned long long)status.last_index,
                           (unsigned long long)status.applied_index,
                           (unsigned long long)status.persisted_index);
            return false;
        }
    }
    return true;
}

/* Every node tells its clients who leads the group, whether it has a replica of it or not. */
static bool leader_told(uint64_t group_id, char *out_why, unsigned size)
{
    const struct sim_node *leader = sim_cluster_leader(group_id);

    for (unsigned i = 0; i < sim_cluster.node_count; i++) {
        const struct sim_node *node = &sim_cluster.nodes[i];
        if (!node->process->alive || node->leaders == NULL) {
            continue;
        }
        uint32_t told = sp_leader_table_get(node->leaders, group_id, NULL);
        if (leader == NULL || told != leader->node_id) {
            (void)snprintf(out_why,
                           size,
                           "group %llu: %s names n%u as its leader, and %s leads",
                           (unsigned long long)group_id,
                           node->process->name,
                           told,
                           leader != NULL ? leader->process->name : "nobody");
            return false;
        }
    }
    return true;
}

/* Every member runs, also one of which nothing else is asked. */
static bool members_run(uint64_t group_id, char *out_why, unsigned size)
{
    const struct sim_membership *members = sim_voters_in_force(group_id);

    for (unsigned i = 0; i < members->count; i++) {
        struct sim_node *node = sim_cluster_node(members->voters[i].node_id);
        const struct sp_raft_group *group = sim_cluster_group(node, group_id);
        if (group == NULL || sp_raft_group_replica_id(group) != members->voters[i].replica_id) {
            (void)snprintf(out_why,
                           size,
                           "group %llu: replica %llu does not run on %s",
                           (unsigned long long)group_id,
                           (unsigned long long)members->voters[i].replica_id,
                           node->process->name);
            return false;
        }
    }
    return true;
}

bool sim_cluster_settled(char *out_why, unsigned size)
{
    for (unsigned i = 0; i < sim_cluster.node_count; i++) {
        if (!sim_cluster.nodes[i].process->alive) {
            (void)snprintf(out_why, size, "%s is down", sim_cluster.nodes[i].process->name);
            return false;
        }
    }
    if (!sim_voters_settled(out_why, size)) {
        return false;
    }
    for (unsigned i = 0; i < sim_model.group_count; i++) {
        uint64_t group_id = sim_model.groups[i]->group_id;
        char why[160];

        if (sim_model.groups[i]->place == UINT32_MAX && sim_images_gone(group_id)) {
            continue;
        }
        if (!members_run(group_id, out_why, size) || !group_settled(group_id, out_why, size) ||
            !leader_told(group_id, out_why, size)) {
            return false;
        }
        if (!sim_images_equal(group_id, why, sizeof why)) {
            (void)snprintf(out_why, size, "group %llu: %s", (unsigned long long)group_id, why);
            return false;
        }
    }
    return sim_model.group_count > 0;
}
