/* A group that nobody uses becomes quiet: no timer runs for it and no message is sent on any of its
 * replicas (DESIGN D15). Whatever happens wakes a replica, and who wakes sees to it that the leader
 * does; cluster/vigil.h watches over all quiet groups of a node pair together.
 *
 *             idle, all have all: sends QUIET to each member
 *   awake leader --------------------------------------> quiet leader
 *        ^                                                    |
 *        |   any message, submit, change, transfer,           |
 *        '--- or vigil: a member's node is silent, --<--------'      its heartbeats wake the others
 *             disagrees, or its link has changed
 *
 *                QUIET, and this replica has the same
 *   awake follower ----------------------------> quiet follower
 *        ^    '--- not the same: answers WAKE         |
 *        |                                            |
 *        '--- any message, or vigil about the --<-----'      not by its leader: tells it WAKE
 *             leader's node
 *
 * Invariants:
 *  Q1  A quiet replica has committed, stored and applied all of its log; nothing waits in it.
 *  Q2  A leader becomes quiet only when every member has stored all of its log and has answered the
 *      last that it was sent, and its links are steady.
 *  Q3  A quiet replica counts in the vigil's sets, an awake one does not.
 *  Q4  Nothing here is durable and no vote, term or log depends on it: a replica that wakes too
 *      late costs availability, never safety. */
#include "cluster/raft_group_internal.h"

#include "cluster/raft_guard_support.h"
#include "cluster/vigil.h"

/* A group is idle when nothing was appended to it for so long. */
#define IDLE_TIMEOUTS 4

static uint64_t term_of(const struct sp_raft_group *group)
{
    return raft_current_term(&group->guard.raft);
}

/* Calls the vigil for each pair of leader and follower that this replica is a part of. */
static void count_in(const struct sp_raft_group *group,
                     void (*call)(struct sp_vigil *vigil,
                                  uint32_t node_id,
                                  enum sp_vigil_side side,
                                  const struct sp_vigil_key *key))
{
    const struct raft_configuration *members = &group->guard.raft.configuration;
    struct sp_vigil_key key = { group->group_id, term_of(group), group->replica_id };

    if (sp_raft_state(group) != RAFT_LEADER) {
        call(group->context->vigil, group->quiet_node, SP_VIGIL_FOLLOWED, &key);
        return;
    }
    for (unsigned i = 0; i < members->n; i++) {
        key.follower = members->servers[i].id;
        if (key.follower != group->replica_id) {
            call(group->context->vigil, sp_raft_node_of(group, key.follower), SP_VIGIL_LED, &key);
        }
    }
}

void sp_raft_begin_quiet(struct sp_raft_group *group, uint32_t leader_node)
{
    group->quiet = true;
    group->quiet_node = leader_node;
    group->context->counters.quieted += 1;
    group->context->quiet_count += 1;
    sp_timer_stop(&group->timer);
    count_in(group, sp_vigil_add);
}

/* ---- waking ---------------------------------------------------------------------------------- */

void sp_raft_end_quiet(struct sp_raft_group *group)
{
    if (group->quiet) {
        count_in(group, sp_vigil_remove);
        group->quiet = false;
        group->idle_since_ms = sp_raft_now_ms(group);
        group->context->counters.woken += 1;
        group->context->quiet_count -= 1;
    }
}

/* Tells the leader, which may be quiet: it shall be heard before the election timer expires. The
 * message promises nothing and has no term. */
static void tell_leader(const struct sp_raft_group *group, uint64_t leader, uint32_t node_id)
{
    const struct sp_peer_raft message = {
        .group_id = group->group_id, .from = group->replica_id, .to = leader, .kind = SP_PEER_WAKE
    };

    /* lost: the vigil's sets differ then */
    (void)sp_transport_send_heartbeat(group->context->transport, node_id, &message);
}

void sp_raft_wake(struct sp_raft_group *group, uint32_t told_by_node)
{
    uint64_t heard_ms;

    if (!group->quiet) {
        return;
    }
    heard_ms = sp_vigil_heard_ms(group->context->vigil, group->quiet_node);
    sp_raft_end_quiet(group);
    if (sp_raft_state(group) == RAFT_FOLLOWER) {
        sp_raft_guard_rearm(&group->guard, heard_ms);
        if (told_by_node != group->quiet_node) {
            tell_leader(group, sp_raft_leader_replica(group), group->quiet_node);
        }
    }
    sp_raft_rearm(group);
}

/* Whether a member of the group is on that node, or of a follower: its leader. */
static bool concerns(const struct sp_raft_group *group, uint32_t node_id)
{
    const struct raft_configuration *members = &group->guard.raft.configuration;

    if (sp_raft_state(group) != RAFT_LEADER) {
        return group->quiet_node == node_id;
    }
    for (unsigned i = 0; i < members->n; i++) {
        if (sp_raft_node_of(group, members->servers[i].id) == node_id) {
            return true;
        }
    }
    return false;
}

void sp_raft_group_wake_for(struct sp_raft_group *group, uint32_t node_id)
{
    if (group->quiet && concerns(group, node_id)) {
        sp_raft_wake(group, 0);
    }
}

bool sp_raft_group_is_quiet(const struct sp_raft_group *group)
{
    return group->quiet;
}

/* ---- becoming quiet -------------------------------------------------------------------------- */

/* Q1, but for what the guard answers for. */
static bool nothing_waits(const struct sp_raft_group *group)
{
    for (unsigned i = 0; i < SP_RAFT_GUARD_SERVERS_MAX; i++) {
        if (group->readers[i] != NULL || group->installs[i] != NULL) {
            return false;
        }
    }
    return sp_list_empty(&group->submits) && sp_list_empty(&group->gated) &&
           sp_list_empty(&group->meta_node) && group->persisted_waiting == 0 &&
           group->apply_read == NULL && group->incoming == NULL &&
           group->applied == sp_raft_guard_committed(&group->guard);
}

static bool is_idle(struct sp_raft_group *group)
{
    uint64_t now_ms = sp_raft_now_ms(group);
    uint64_t last = sp_log_last_index(group->log);

    if (group->idle_index != last || group->idle_term != term_of(group)) {
        group->idle_index = last;
        group->idle_term = term_of(group);
        group->idle_since_ms = now_ms;
    }
    return now_ms - group->idle_since_ms >=
               (uint64_t)IDLE_TIMEOUTS * group->guard.raft.election_timeout &&
           now_ms >= group->held_until_ms;
}

/* Q2, but for what the guard answers for. */
static bool members_are_there(const struct sp_raft_group *group)
{
    const struct raft_configuration *members = &group->guard.raft.configuration;

    for (unsigned i = 0; i < members->n; i++) {
        uint64_t id = members->servers[i].id;
        uint32_t node_id = sp_raft_node_of(group, id);
        if (id == group->replica_id) {
            continue;
        }
        if (!group->context->quiet_allowed || node_id == 0 ||
            !sp_vigil_steady(group->context->vigil, node_id) ||
            !sp_raft_guard_answered(&group->guard, id) ||
            sp_transport_link(group->context->transport, node_id) != SP_LINK_UP) {
            return false;
        }
    }
    return true;
}

static bool tell_members(const struct sp_raft_group *group)
{
    const struct raft_configuration *members = &group->guard.raft.configuration;
    struct sp_peer_raft message = { .group_id = group->group_id,
                                    .from = group->replica_id,
                                    .term = term_of(group),
                                    .index = sp_log_last_index(group->log),
                                    .index_term = sp_log_last_term(group->log),
                                    .kind = SP_PEER_QUIET };

    for (unsigned i = 0; i < members->n; i++) {
        message.to = members->servers[i].id;
        if (message.to != group->replica_id &&
            sp_transport_send_heartbeat(
                group->context->transport, sp_raft_node_of(group, message.to), &message) != 0) {
            return false; /* the heartbeat that is due now wakes those that were told */
        }
    }
    return true;
}

bool sp_raft_try_quiet(struct sp_raft_group *group)
{
    if (group->context->vigil == NULL || sp_raft_state(group) != RAFT_LEADER || !is_idle(group) ||
        !nothing_waits(group) || !sp_raft_guard_may_sleep(&group->guard) ||
        !members_are_there(group) || !tell_members(group)) {
        return false;
    }
    sp_raft_begin_quiet(group, group->context->node_id);
    sp_raft_group_watch(group);
    group->context->leader_changed(group->context, group); /* says that no member lags any more */
    return true;
}

void sp_raft_quiet_receive(struct sp_raft_group *group, const struct sp_peer_raft *message)
{
    if (group->context->vigil != NULL && message->term == term_of(group) && nothing_waits(group) &&
        sp_raft_guard_may_follow_asleep(
            &group->guard, message->from, message->index, message->index_term)) {
        /* By Q1 the leader has committed all of its log. No later message may come to say so. */
        sp_raft_note_commit(group, message->term, message->index);
        sp_raft_begin_quiet(group, group->last_from_node);
        return;
    }
    tell_leader(group, message->from, group->last_from_node);
}
