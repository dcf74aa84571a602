/* When a replica stands for election: at once when the process or the replica that led it is gone
 * (DESIGN D9), or when it is the first choice of a new group; later than its timer says when this
 * node was too busy to listen, or has many elections under way already. */
#include "cluster/raft_group_internal.h"

/* Survivors of a dead leader stand for election one after the other, by place in the membership. */
#define STAGGER_MS 30

/* Place of this replica among the members other than `dead`: who stands first, second, ... */
static unsigned rank_without(const struct sp_raft_group *group, uint64_t dead)
{
    const struct raft_configuration *members = &group->guard.raft.configuration;
    unsigned rank = 0;

    for (unsigned i = 0; i < members->n && members->servers[i].id != group->replica_id; i++) {
        rank += members->servers[i].id != dead && members->servers[i].role == RAFT_VOTER ? 1 : 0;
    }
    return rank;
}

static void forget_leader(struct sp_raft_group *group, uint64_t replica_id)
{
    unsigned stagger_ms = rank_without(group, replica_id) * STAGGER_MS +
                          (unsigned)sp_rand_below(&group->context->rand, STAGGER_MS / 3);

    sp_raft_wake(group, 0);
    if (sp_raft_guard_forget_leader(&group->guard, sp_raft_now_ms(group), replica_id, stagger_ms)) {
        sp_raft_advance(group);
    }
}

void sp_raft_group_node_dead(struct sp_raft_group *group, uint32_t node_id)
{
    uint64_t leader = sp_raft_leader_replica(group);

    if (leader != 0 && leader != group->replica_id && sp_raft_leader_node(group) == node_id) {
        forget_leader(group, leader);
    }
}

void sp_raft_group_replica_stopped(struct sp_raft_group *group, uint64_t replica_id)
{
    if (replica_id != group->replica_id && sp_raft_leader_replica(group) == replica_id) {
        forget_leader(group, replica_id);
    }
}

/* ---- the first election ---------------------------------------------------------------------- */

/* The others may open their replicas a little later than the first choice its own. */
#define FIRST_PAUSE_MS 20
#define FIRST_TRIES 10

void sp_raft_stand_first(struct sp_raft_group *group)
{
    const struct raft *raft = &group->guard.raft;

    if (sp_log_last_index(group->log) > 1 || raft->voted_for != 0 || raft->configuration.n < 2 ||
        raft->configuration.servers[0].id != group->replica_id ||
        raft->configuration.servers[0].role != RAFT_VOTER) {
        return;
    }
    group->first_tries = FIRST_TRIES;
    sp_raft_guard_stand_at(&group->guard, sp_raft_now_ms(group) + FIRST_PAUSE_MS);
}

/* ---- not now --------------------------------------------------------------------------------- */

/* Elections of a node at once. Each costs an fsync of the vote and of a frame on a majority: more
 * of them take longer than their own timeouts, and begin anew without end. */
#define STANDING_MAX 32

/* A timer that runs so late says that messages wait unread. */
#define LATE_MS 25

void sp_raft_note_standing(struct sp_raft_group *group, bool stands)
{
    if (stands != group->standing) {
        group->standing = stands;
        group->context->standing += stands ? 1 : -1U;
    }
}

/* A group waits for its turn, but not for longer than an election takes to time out: those before
 * it may have no majority and stand for ever. */
static void take_turn(struct sp_raft_group *group, uint64_t now_ms)
{
    uint64_t pause_ms = 10 + sp_rand_below(&group->context->rand, 40);

    if (!sp_raft_guard_stands_now(&group->guard, now_ms)) {
        return;
    }
    if (group->turn_since_ms == 0) {
        group->turn_since_ms = now_ms;
    }
    if (group->context->standing >= STANDING_MAX &&
        now_ms - group->turn_since_ms < group->guard.raft.election_timeout) {
        sp_raft_guard_stand_at(&group->guard, now_ms + pause_ms);
    } else {
        group->turn_since_ms = 0;
    }
}

int sp_raft_time_out(struct sp_raft_group *group, uint64_t due_ms)
{
    uint64_t now_ms = sp_raft_now_ms(group);
    bool late = now_ms >= due_ms + LATE_MS && !group->was_late;

    group->was_late = late; /* once: a node that is always late must be able to elect, too */
    if (late) {
        sp_raft_guard_listen(&group->guard, now_ms, now_ms - due_ms);
    }
    take_turn(group, now_ms);
    int rv = sp_raft_guard_timeout(&group->guard, now_ms);
    if (group->first_tries > 0) {
        bool known = sp_raft_leader_replica(group) != 0;
        group->first_tries = known ? 0 : group->first_tries - 1;
        if (group->first_tries > 0) {
            sp_raft_guard_stand_at(&group->guard, now_ms + FIRST_PAUSE_MS);
        }
    }
    return rv;
}
