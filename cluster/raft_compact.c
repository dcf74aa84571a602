/* Up to which offset no replica of a group has an older record than it must (key compaction).
 *
 *   replica: "no record of mine below X has a later one of its key below X"    --COMPACTED-->
 *   leader: floor = the least X of all members, standbys included, in one term --COMPACTED-->
 *
 * A tombstone may go when nobody can have an older record of its key and not the tombstone. Below
 * the floor nobody can: members have no such records, and what comes later begins empty and is
 * filled by members. Reports are taken only from members that follow this leader in its own term,
 * so that a leader who does not know the newest membership is no danger: whoever was taken in since
 * was filled by replicas that had reported before. A floor that was true once stays true. A member
 * that does not report, since it is down, keeps tombstones alive.
 *
 * A replica that is no member now may have been one, and become one again with its old log: its
 * removal is not committed yet, or a move that left it behind is given another target. So the floor
 * rests meanwhile. */
#include "cluster/raft_group_internal.h"

static const struct raft_configuration *members_of(const struct sp_raft_group *group)
{
    return &group->guard.raft.configuration;
}

static struct sp_raft_compacted *entry_of(struct sp_raft_group *group, uint64_t replica_id)
{
    struct sp_raft_compaction *compaction = &group->compaction;

    for (unsigned i = 0; i < compaction->count; i++) {
        if (compaction->reports[i].replica_id == replica_id) {
            return &compaction->reports[i];
        }
    }
    if (compaction->count == SP_RAFT_GUARD_SERVERS_MAX) {
        return NULL; /* many came and went in this term: the next one begins anew */
    }
    compaction->reports[compaction->count] = (struct sp_raft_compacted){ replica_id, 0 };
    compaction->count += 1;
    return &compaction->reports[compaction->count - 1];
}

/* What was reported to this leader in another term does not count. */
static void enter_term(struct sp_raft_group *group)
{
    uint64_t term = raft_current_term(&group->guard.raft);

    if (group->compaction.term != term) {
        group->compaction.term = term;
        group->compaction.count = 0;
    }
}

static int64_t reported(struct sp_raft_group *group, uint64_t replica_id)
{
    if (replica_id == group->replica_id) {
        return group->compaction.offset;
    }
    const struct sp_raft_compacted *entry = entry_of(group, replica_id);
    return entry == NULL ? 0 : entry->offset;
}

/* Somebody who does not report may be a member later, with what it has in its log. */
static bool others_may_come(const struct sp_raft_group *group)
{
    const struct sp_raft_context *context = group->context;

    return group->guard.raft.configuration_uncommitted_index != 0 ||
           (context->has_others != NULL && context->has_others(context->has_others_arg, group));
}

/* Leader: the least of all members. */
static void raise_floor(struct sp_raft_group *group)
{
    const struct raft_configuration *members = members_of(group);
    int64_t least = group->compaction.offset;

    enter_term(group);
    for (unsigned i = 0; i < members->n; i++) {
        int64_t offset = reported(group, members->servers[i].id);
        least = offset < least ? offset : least;
    }
    if (least > group->compaction.floor && !others_may_come(group)) {
        group->compaction.floor = least;
    }
}

static void tell(struct sp_raft_group *group, uint32_t node_id, int64_t floor)
{
    struct sp_peer_message message = {
        .kind = SP_PEER_COMPACTED,
        .u.compacted = { .group_id = group->group_id,
                         .replica_id = group->replica_id,
                         .term = raft_current_term(&group->guard.raft),
                         .offset = group->compaction.offset,
                         .floor = floor },
    };

    if (node_id != 0 && node_id != group->context->node_id) {
        (void)sp_transport_send(
            group->context->transport, node_id, &message, NULL, 0); /* the next report repeats it */
    }
}

void sp_raft_group_compacted(struct sp_raft_group *group, int64_t offset)
{
    if (offset > group->compaction.offset) {
        group->compaction.offset = offset;
    }
    sp_raft_group_report_compacted(group);
}

void sp_raft_group_report_compacted(struct sp_raft_group *group)
{
    if (group->stopped || group->closing || group->compaction.offset <= group->compaction.floor) {
        return;
    }
    if (sp_raft_state(group) == RAFT_LEADER) {
        raise_floor(group);
    } else {
        tell(group, sp_raft_leader_node(group), 0);
    }
}

int64_t sp_raft_group_compaction_floor(const struct sp_raft_group *group)
{
    return group->compaction.floor;
}

void sp_raft_group_hear_compacted(struct sp_raft_group *group,
                                  uint32_t from_node,
                                  const struct sp_peer_compacted *message)
{
    if (group->stopped || group->closing ||
        message->term != raft_current_term(&group->guard.raft) ||
        sp_raft_node_of(group, message->replica_id) != from_node) {
        return;
    }
    if (sp_raft_state(group) == RAFT_LEADER) {
        enter_term(group);
        struct sp_raft_compacted *entry = entry_of(group, message->replica_id);
        if (entry != NULL && message->offset > entry->offset) {
            entry->offset = message->offset;
        }
        raise_floor(group);
        tell(group, from_node, group->compaction.floor);
    } else if (message->replica_id == sp_raft_leader_replica(group) &&
               message->floor > group->compaction.floor) {
        group->compaction.floor = message->floor;
    }
}
