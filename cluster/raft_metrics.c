#include "cluster/raft_metrics.h"

#include "cluster/raft_group_internal.h"

/* Whoever asks for votes does so in a new term; asking whether it would get them (pre-vote) counts
 * as no election. */
void sp_raft_count_changes(struct sp_raft_group *group,
                           enum sp_role role,
                           uint64_t term,
                           uint32_t leader_node)
{
    struct sp_raft_counters *counters = &group->context->counters;
    bool new_term = term != group->seen_term;

    counters->elections += new_term && role != SP_ROLE_FOLLOWER;
    counters->elections_won +=
        role == SP_ROLE_LEADER && (new_term || group->seen_role != SP_ROLE_LEADER);
    counters->leaders_found += leader_node != 0 && leader_node != group->seen_leader;
}

static bool runs(const struct sp_raft_group *group)
{
    return group->guard.started && !group->stopped && !group->closing;
}

bool sp_raft_group_leads(const struct sp_raft_group *group)
{
    return runs(group) && group->seen_role == SP_ROLE_LEADER;
}

bool sp_raft_group_is_confirmed(const struct sp_raft_group *group)
{
    return runs(group) && (group->seen_ready ||
                           (group->confirm_index != 0 && group->applied >= group->confirm_index));
}

int sp_raft_group_stop_status(const struct sp_raft_group *group)
{
    return group->stopped ? group->stop_status : 0;
}

void sp_raft_count_replica(struct sp_raft_replicas *replicas, const struct sp_raft_group *group)
{
    replicas->count += 1;
    replicas->leading += sp_raft_group_leads(group);
    replicas->stopped += group->stopped;
    replicas->quiet += sp_raft_group_is_quiet(group);
}

static void expose_replicas(const struct sp_raft_replicas *replicas,
                            struct sp_exposition *exposition)
{
    sp_exposition_gauge(exposition,
                        "spate_raft_replicas",
                        "Replicas of Raft groups that run on this node, internal ones included.",
                        replicas->count);
    sp_exposition_gauge(exposition,
                        "spate_raft_leaders",
                        "Of these replicas, those that lead their group.",
                        replicas->leading);
    sp_exposition_gauge(exposition,
                        "spate_raft_replicas_stopped",
                        "Of these replicas, those that have stopped themselves: damage was found.",
                        replicas->stopped);
    sp_exposition_gauge(exposition,
                        "spate_raft_replicas_quiet",
                        "Of these replicas, those of idle groups that need no heartbeats.",
                        replicas->quiet);
}

static void expose_elections(const struct sp_raft_counters *counters,
                             struct sp_exposition *exposition)
{
    sp_exposition_counter(exposition,
                          "spate_raft_elections_total",
                          "Elections in which a replica of this node stood.",
                          counters->elections);
    sp_exposition_counter(exposition,
                          "spate_raft_elections_won_total",
                          "Elections that a replica of this node won.",
                          counters->elections_won);
    sp_exposition_counter(exposition,
                          "spate_raft_leader_changes_total",
                          "Times that a replica of this node found another leader, or one again.",
                          counters->leaders_found);
    sp_exposition_counter(exposition,
                          "spate_raft_quieted_total",
                          "Times that a replica of this node became quiet.",
                          counters->quieted);
    sp_exposition_counter(exposition,
                          "spate_raft_woken_total",
                          "Times that a quiet replica of this node was woken.",
                          counters->woken);
}

void sp_raft_expose(const struct sp_raft_replicas *replicas,
                    const struct sp_raft_counters *counters,
                    struct sp_exposition *exposition)
{
    expose_replicas(replicas, exposition);
    expose_elections(counters, exposition);
    sp_exposition_family(exposition,
                         SP_METRIC_HISTOGRAM,
                         "spate_raft_commit_duration_seconds",
                         "Time from an append at its leader until a majority has it on disk and it "
                         "is applied.");
    sp_exposition_histogram(exposition, NULL, 0, &counters->commits);
    sp_exposition_counter(exposition,
                          "spate_replication_sent_bytes_total",
                          "Bytes of log frames sent to other replicas.",
                          counters->sent_bytes);
    sp_exposition_counter(exposition,
                          "spate_replication_received_bytes_total",
                          "Bytes of log frames received from leaders.",
                          counters->received_bytes);
    sp_exposition_counter(exposition,
                          "spate_raft_checkpoints_installed_total",
                          "Logs of this node that were replaced by their leader's checkpoint.",
                          counters->checkpoints_installed);
}
