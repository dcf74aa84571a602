/* Handing a group's leadership to another of its voters, before this node goes. */
#include "cluster/raft_group.h"

#include "base/assert.h"
#include "base/trace.h"
#include "cluster/raft_group_internal.h"
#include "cluster/raft_guard_support.h"
#include "spate/error.h"

/* How long submits are held back when no successor was found; the next attempt comes sooner. Where
 * nothing presses they go on for a while before that happens again. */
#define HOLD_MS 50
#define HOLD_PAUSE_MS 1000

/* A voter that lacks no more than this has all of the log soon after submits are held back. */
#define LAG_FRAMES_MAX 1000

#define SHORT_RETRY_MS 1000

/* A voter that is silent for so many election timeouts is not waited for by who hands over for a
 * short follower: nothing may be acknowledged meanwhile. */
#define SILENT_TIMEOUTS 4

static bool answered_within(const struct sp_raft_group *group, uint64_t id, uint64_t recent_ms)
{
    uint64_t now_ms = sp_raft_now_ms(group);

    return sp_raft_guard_answered_since(
        &group->guard, id, now_ms > recent_ms ? now_ms - recent_ms : 0);
}

/* One that has died, or whose node has just come back and has not opened it yet, may have had all
 * of the log too; asking it, or holding submits back for it, would cost an election timeout. */
static bool answers(const struct sp_raft_group *group, uint64_t id)
{
    return sp_transport_link(group->context->transport, sp_raft_node_of(group, id)) == SP_LINK_UP &&
           answered_within(group, id, group->guard.raft.election_timeout / 2);
}

/* Another voter that lacks at most so many frames of our log and is there, or 0; on `node_id` if
 * that is not 0. One that has lost some of them does not have what it is known to have stored. The
 * leaders of a node that stops do not all go to the same one. */
static uint64_t find_successor(const struct sp_raft_group *group, uint32_t node_id, uint64_t lag)
{
    const struct raft *raft = &group->guard.raft;
    uint64_t follower = sp_raft_guard_short(&group->guard, sp_raft_now_ms(group));
    uint64_t last_index = sp_raft_support_last_index(&raft->trail);

    for (unsigned i = 0; i < raft->configuration.n; i++) {
        unsigned turn = (unsigned)((group->group_id + i) % raft->configuration.n);
        const struct raft_server *server = &raft->configuration.servers[turn];
        raft_index match = 0;
        if (server->id != group->replica_id && server->id != follower &&
            server->role == RAFT_VOTER &&
            (node_id == 0 || sp_raft_node_of(group, server->id) == node_id) &&
            raft_match_index(raft, server->id, &match) == 0 && match + lag >= last_index &&
            answers(group, server->id)) {
            return server->id;
        }
    }
    return 0;
}

/* Whether enough voters can be reached to elect anybody. */
static bool majority_linked(const struct sp_raft_group *group)
{
    const struct raft_configuration *members = &group->guard.raft.configuration;
    unsigned voters = 0;
    unsigned linked = 0;

    for (unsigned i = 0; i < members->n; i++) {
        uint64_t id = members->servers[i].id;
        if (members->servers[i].role == RAFT_VOTER) {
            voters += 1;
            linked += id == group->replica_id ||
                              sp_transport_link(group->context->transport,
                                                sp_raft_node_of(group, id)) == SP_LINK_UP
                          ? 1
                          : 0;
        }
    }
    return voters > 1 && linked > voters / 2;
}

/* Of a steady stream nobody would ever have all. A node that stops has no time for pauses. */
static void hold_submits(struct sp_raft_group *group, uint32_t node_id)
{
    uint64_t now_ms = sp_raft_now_ms(group);
    uint64_t pause_ms = node_id != 0 ? HOLD_PAUSE_MS : 0;

    if (find_successor(group, node_id, LAG_FRAMES_MAX) != 0 &&
        (group->held_until_ms == 0 || now_ms >= group->held_until_ms + pause_ms)) {
        group->held_until_ms = now_ms + HOLD_MS;
    }
}

/* Is there another voter that has not all that is committed? It and the short follower could elect
 * each other, and what both lack, with it what was acknowledged when the short one had it, would be
 * gone. This leader fills it. */
static bool another_lags(const struct sp_raft_group *group, uint64_t follower)
{
    const struct raft *raft = &group->guard.raft;
    uint64_t silent_ms = SILENT_TIMEOUTS * (uint64_t)raft->election_timeout;

    for (unsigned i = 0; i < raft->configuration.n; i++) {
        const struct raft_server *server = &raft->configuration.servers[i];
        raft_index match = 0;
        if (server->id != group->replica_id && server->id != follower &&
            server->role == RAFT_VOTER && answered_within(group, server->id, silent_ms) &&
            (raft_match_index(raft, server->id, &match) != 0 ||
             match < sp_raft_guard_committed(&group->guard))) {
            return true;
        }
    }
    return false;
}

/* A follower whose disk has lost the end of its log rejects all that is sent from there on, and its
 * leader never sends again what it was told is stored. A leader of a new term asks anew: another
 * one if one can, and otherwise this one. */
void sp_raft_hand_over_short(struct sp_raft_group *group)
{
    uint64_t now_ms = sp_raft_now_ms(group);
    uint64_t follower = sp_raft_runs(group) ? sp_raft_guard_short(&group->guard, now_ms) : 0;

    if (follower == 0 || now_ms < group->short_tried_ms + SHORT_RETRY_MS ||
        another_lags(group, follower)) {
        return;
    }
    group->short_tried_ms = now_ms;
    SP_TRACE_WARN("raft",
                  "a follower has less than it had stored: a new leader is to fill it",
                  "group=%llu replica=%llu node=%u",
                  (unsigned long long)group->group_id,
                  (unsigned long long)follower,
                  sp_raft_node_of(group, follower));
    if (find_successor(group, 0, 0) == 0 || sp_raft_group_transfer(group) != 0) {
        int rv = sp_raft_guard_step_down(&group->guard, now_ms, follower);
        SP_ASSERT(rv == 0 || sp_raft_guard_failed(&group->guard) != 0); /* advance tells of it */
        sp_raft_advance(group);
    }
}

int sp_raft_group_transfer(struct sp_raft_group *group)
{
    return sp_raft_group_transfer_to(group, 0);
}

int sp_raft_group_transfer_to(struct sp_raft_group *group, uint32_t node_id)
{
    uint64_t successor = 0;
    int rv;

    if (group->stopped || group->closing || !group->guard.started) {
        return SPATE_ERR_NOT_LEADER;
    }
    sp_raft_wake(group, 0);
    if (sp_raft_state(group) == RAFT_LEADER) {
        if (!majority_linked(group)) {
            return SPATE_ERR_NOT_FOUND;
        }
        successor = find_successor(group, node_id, 0);
        if (successor == 0) {
            hold_submits(group, node_id);
            return SPATE_ERR_BUSY;
        }
    }
    rv = sp_raft_guard_transfer(&group->guard, sp_raft_now_ms(group), successor);
    sp_raft_advance(group);
    return rv == SPATE_ERR_AGAIN ? SPATE_ERR_BUSY : rv;
}
