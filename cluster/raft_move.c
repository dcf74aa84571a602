#include "cluster/raft_move.h"

#include <stdio.h>

#include "base/trace.h"
#include "cluster/machine_of.h"
#include "cluster/raft_group_internal.h"
#include "cluster/raft_guard_support.h"
#include "spate/error.h"

/* What was committed when it was looked at last: who has it a look later is filled (S2). After a
 * pause of this process a look is too old to say so. */
#define LOOK_MS_MAX 500

/* A move that has only just begun elsewhere is known to all by then. */
#define STRAY_MS 5000

static const struct raft_configuration *members_of(const struct sp_raft_group *group)
{
    return &group->guard.raft.configuration;
}

static const struct sp_replica_place *find_target(const struct sp_raft_move_target *target,
                                                  uint64_t replica_id)
{
    for (unsigned i = 0; i < target->count; i++) {
        if (target->places[i].replica_id == replica_id) {
            return &target->places[i];
        }
    }
    return NULL;
}

static bool reachable(const struct sp_raft_group *group, uint64_t replica_id)
{
    uint32_t node_id = sp_raft_node_of(group, replica_id);

    return replica_id == group->replica_id ||
           sp_transport_link(group->context->transport, node_id) == SP_LINK_UP;
}

static uint64_t stored_by(const struct sp_raft_group *group, uint64_t replica_id)
{
    raft_index match = 0;

    return raft_match_index(&group->guard.raft, replica_id, &match) == 0 ? match : 0;
}

/* ---- changes --------------------------------------------------------------------------------- */

static int build(const struct sp_raft_group *group,
                 const struct sp_raft_change *change,
                 struct raft_configuration *out)
{
    const struct raft_configuration *members = members_of(group);
    bool found = false;
    int rv = 0;

    raft_configuration_init(out);
    for (unsigned i = 0; i < members->n && rv == 0; i++) {
        const struct raft_server *server = &members->servers[i];
        bool changes = server->id == change->replica_id;
        found = found || changes;
        if (!changes || change->role != -1) {
            rv = raft_configuration_add(
                out, server->id, server->address, changes ? change->role : server->role);
        }
    }
    if (rv == 0 && !found && change->role != -1) {
        char address[48];
        (void)snprintf(address,
                       sizeof address,
                       "%u.%llu",
                       change->node_id,
                       (unsigned long long)change->replica_id);
        rv = raft_configuration_add(out, change->replica_id, address, change->role);
    }
    if (rv != 0) {
        raft_configuration_close(out);
        return SPATE_ERR_NOMEM;
    }
    return 0;
}

/* S4: so many voters, and so many of them that can be reached, would there be; 0: without none. */
static bool keeps_majority(const struct sp_raft_group *group,
                           const struct raft_configuration *next,
                           uint64_t without)
{
    unsigned voters = 0;
    unsigned linked = 0;

    for (unsigned i = 0; i < next->n; i++) {
        if (next->servers[i].role == RAFT_VOTER && next->servers[i].id != without) {
            voters += 1;
            linked += reachable(group, next->servers[i].id) ? 1 : 0;
        }
    }
    return linked > voters / 2;
}

int sp_raft_make_change(struct sp_raft_group *group, const struct sp_raft_change *change)
{
    struct raft_configuration next;
    int rv = build(group, change, &next);

    if (rv != 0) {
        return rv;
    }
    if (!keeps_majority(group, &next, 0)) {
        rv = SPATE_ERR_BUSY;
    } else {
        sp_raft_wake(group, 0);
        rv = sp_raft_guard_change(&group->guard, sp_raft_now_ms(group), &next);
    }
    raft_configuration_close(&next);
    if (rv == 0) {
        SP_TRACE_INFO("move",
                      "membership changes",
                      "group=%llu replica=%llu node=%u role=%s",
                      (unsigned long long)group->group_id,
                      (unsigned long long)change->replica_id,
                      change->node_id,
                      change->role == -1             ? "none"
                      : change->role == RAFT_STANDBY ? "standby"
                                                     : "voter");
    }
    sp_raft_advance(group);
    return rv;
}

/* ---- the next step --------------------------------------------------------------------------- */

bool sp_raft_is_filled(struct sp_raft_group *group, uint64_t replica_id)
{
    uint64_t now_ms = sp_raft_now_ms(group);
    bool fresh = group->move_looked_ms != 0 && now_ms > group->move_looked_ms &&
                 now_ms - group->move_looked_ms <= LOOK_MS_MAX;
    bool filled = fresh && stored_by(group, replica_id) >= group->move_goal_index;

    return filled && reachable(group, replica_id);
}

void sp_raft_take_look(struct sp_raft_group *group)
{
    group->move_looked_ms = sp_raft_now_ms(group);
    group->move_goal_index = sp_raft_guard_committed(&group->guard);
}

static uint32_t machine_of(const struct sp_raft_move_target *target, uint32_t node_id)
{
    return target->state == NULL ? node_id : sp_machine_of_id(target->state, node_id);
}

/* S7: another voter than this replica is on the node's machine. */
static bool is_crowded(const struct sp_raft_group *group,
                       const struct sp_raft_move_target *target,
                       uint64_t replica_id,
                       uint32_t node_id)
{
    const struct raft_configuration *members = members_of(group);
    uint32_t machine = machine_of(target, node_id);

    for (unsigned i = 0; i < members->n; i++) {
        const struct raft_server *other = &members->servers[i];
        if (other->role == RAFT_VOTER && other->id != replica_id &&
            machine_of(target, sp_raft_node_of(group, other->id)) == machine) {
            return true;
        }
    }
    return false;
}

/* How early a voter goes: one that may not (S4) holds up no other. */
static unsigned leaving_rank(const struct sp_raft_group *group,
                             const struct sp_raft_move_target *target,
                             const struct raft_server *server)
{
    if (is_crowded(group, target, server->id, sp_raft_node_of(group, server->id)) &&
        keeps_majority(group, members_of(group), server->id)) {
        return 4;
    }
    return !reachable(group, server->id) ? 3 : server->id != group->replica_id ? 2 : 1;
}

/* The voter that should go next, or NULL: first one beside another one (S7), then one that cannot
 * be reached, ourselves last. */
static const struct raft_server *pick_leaver(const struct sp_raft_group *group,
                                             const struct sp_raft_move_target *target)
{
    const struct raft_configuration *members = members_of(group);
    const struct raft_server *picked = NULL;
    unsigned rank_max = 0;

    for (unsigned i = 0; i < members->n; i++) {
        const struct raft_server *server = &members->servers[i];
        if (server->role != RAFT_VOTER || find_target(target, server->id) != NULL) {
            continue;
        }
        unsigned rank = leaving_rank(group, target, server);
        if (rank > rank_max) {
            rank_max = rank;
            picked = server;
        }
    }
    return picked;
}

static const struct raft_server *find_standby(const struct sp_raft_group *group)
{
    const struct raft_configuration *members = members_of(group);

    for (unsigned i = 0; i < members->n; i++) {
        if (members->servers[i].role == RAFT_STANDBY) {
            return &members->servers[i];
        }
    }
    return NULL;
}

/* A voter whose node shall run another replica in its place: it was damaged or its disk is gone, so
 * it never answers again. */
static bool is_replaced(const struct sp_raft_group *group,
                        const struct sp_raft_move_target *target,
                        const struct raft_server *server)
{
    for (unsigned i = 0; i < target->count; i++) {
        const struct sp_replica_place *place = &target->places[i];
        if (place->replica_id > server->id &&
            place->node_id == sp_raft_node_of(group, server->id)) {
            return server->id != group->replica_id;
        }
    }
    return false;
}

/* S6: a voter that was replaced, if without it as many voters make a majority as with it. */
static const struct raft_server *find_dead(const struct sp_raft_group *group,
                                           const struct sp_raft_move_target *target)
{
    const struct raft_configuration *members = members_of(group);
    bool odd = sp_raft_support_voter_count(members) % 2 == 1;

    for (unsigned i = 0; odd && i < members->n; i++) {
        const struct raft_server *server = &members->servers[i];
        if (server->role == RAFT_VOTER && find_target(target, server->id) == NULL &&
            is_replaced(group, target, server)) {
            return server;
        }
    }
    return NULL;
}

static unsigned voters_kept(const struct sp_raft_move_target *target)
{
    return target->count > target->voters_min ? target->count : target->voters_min;
}

/* S7: a voter is beside it, and none may go for it. */
static bool comes_early(const struct sp_raft_group *group,
                        const struct sp_raft_move_target *target,
                        uint64_t replica_id,
                        uint32_t node_id)
{
    return sp_raft_support_voter_count(members_of(group)) < voters_kept(target) &&
           is_crowded(group, target, replica_id, node_id);
}

/* How early a place of the target is added: those that can be reached come first, and last one that
 * comes early. */
static unsigned adding_rank(const struct sp_raft_group *group,
                            const struct sp_raft_move_target *target,
                            const struct sp_replica_place *place)
{
    if (comes_early(group, target, place->replica_id, place->node_id)) {
        return 1;
    }
    return sp_transport_link(group->context->transport, place->node_id) == SP_LINK_UP ||
                   place->node_id == group->context->node_id
               ? 3
               : 2;
}

/* A place of the target that is no member yet, or NULL. */
static const struct sp_replica_place *find_missing(const struct sp_raft_group *group,
                                                   const struct sp_raft_move_target *target)
{
    const struct sp_replica_place *missing = NULL;
    unsigned rank_max = 0;

    for (unsigned i = 0; i < target->count; i++) {
        const struct sp_replica_place *place = &target->places[i];
        if (sp_raft_support_role(members_of(group), place->replica_id) != -1) {
            continue;
        }
        unsigned rank = adding_rank(group, target, place);
        if (rank > rank_max) {
            rank_max = rank;
            missing = place;
        }
    }
    return missing;
}

static unsigned count_target_voters(const struct sp_raft_group *group,
                                    const struct sp_raft_move_target *target)
{
    unsigned voters = 0;

    for (unsigned i = 0; i < target->count; i++) {
        voters +=
            sp_raft_support_role(members_of(group), target->places[i].replica_id) == RAFT_VOTER;
    }
    return voters;
}

/* S3 */
static bool may_remove(const struct sp_raft_group *group, const struct sp_raft_move_target *target)
{
    unsigned voters = sp_raft_support_voter_count(members_of(group));
    unsigned kept = voters_kept(target);

    return count_target_voters(group, target) == target->count || voters > kept;
}

/* The standby gives way to another place: a voter has gone since it was added (S6, S7). */
static bool gives_way(const struct sp_raft_group *group,
                      const struct sp_raft_move_target *target,
                      const struct raft_server *standby,
                      const struct sp_replica_place *missing)
{
    return missing != NULL && adding_rank(group, target, missing) > 1 &&
           comes_early(group, target, standby->id, sp_raft_node_of(group, standby->id));
}

/* What is to be done next, whether or not it can be done now. */
static void find_step(struct sp_raft_group *group,
                      const struct sp_raft_move_target *target,
                      struct sp_raft_move_progress *out,
                      struct sp_raft_change *change)
{
    const struct raft_server *standby = find_standby(group);
    const struct raft_server *leaver = pick_leaver(group, target);
    const struct sp_replica_place *missing = find_missing(group, target);
    const struct raft_server *dead = find_dead(group, target);

    if (dead != NULL) {
        out->step = SP_RAFT_MOVE_REMOVING;
        *change = (struct sp_raft_change){ .replica_id = dead->id, .role = -1 };
    } else if (standby != NULL && (find_target(target, standby->id) == NULL ||
                                   gives_way(group, target, standby, missing))) {
        out->step = SP_RAFT_MOVE_REMOVING;
        *change = (struct sp_raft_change){ .replica_id = standby->id, .role = -1 };
    } else if (standby != NULL) {
        out->step =
            sp_raft_is_filled(group, standby->id) ? SP_RAFT_MOVE_PROMOTING : SP_RAFT_MOVE_FILLING;
        *change = (struct sp_raft_change){ .replica_id = standby->id, .role = RAFT_VOTER };
    } else if (leaver != NULL && may_remove(group, target)) {
        out->step =
            leaver->id == group->replica_id ? SP_RAFT_MOVE_HANDING_OVER : SP_RAFT_MOVE_REMOVING;
        *change = (struct sp_raft_change){ .replica_id = leaver->id, .role = -1 };
    } else if (missing != NULL) {
        out->step = SP_RAFT_MOVE_ADDING;
        *change = (struct sp_raft_change){ .replica_id = missing->replica_id,
                                           .node_id = missing->node_id,
                                           .role = RAFT_STANDBY };
    } else {
        out->step = SP_RAFT_MOVE_DONE;
    }
    if (change->replica_id != 0 && change->node_id == 0) {
        change->node_id = sp_raft_node_of(group, change->replica_id);
    }
}

static void note_progress(struct sp_raft_group *group,
                          const struct sp_raft_change *change,
                          const struct sp_raft_move_progress *progress)
{
    const struct sp_raft_move_mark step = {
        .replica_id = change->replica_id,
        .role = change->role,
        .stored_index = progress->step == SP_RAFT_MOVE_FILLING ? progress->stored_index : 0,
        .seen_ms = sp_raft_now_ms(group),
    };

    sp_raft_move_note(&group->move_mark, &step);
}

static int look(struct sp_raft_group *group,
                const struct sp_raft_move_target *target,
                struct sp_raft_move_progress *out,
                struct sp_raft_change *change)
{
    struct sp_raft_group_status status;

    *out = (struct sp_raft_move_progress){ .step = SP_RAFT_MOVE_WAITING };
    *change = (struct sp_raft_change){ 0 };
    sp_raft_group_status(group, &status);
    if (status.role != SP_ROLE_LEADER || !status.ready) {
        return SPATE_ERR_NOT_LEADER;
    }
    find_step(group, target, out, change);
    out->replica_id = change->replica_id;
    out->node_id = change->node_id;
    out->stored_index = change->replica_id == 0 ? 0 : stored_by(group, change->replica_id);
    out->goal_index = status.commit_index;
    if (group->guard.raft.configuration_uncommitted_index != 0) {
        out->step = SP_RAFT_MOVE_WAITING; /* S1 */
    }
    return 0;
}

/* S5 */
static void hand_over(struct sp_raft_group *group, const struct sp_raft_move_target *target)
{
    for (unsigned i = 0; i < target->count; i++) {
        uint64_t id = target->places[i].replica_id;
        if (id != group->replica_id && sp_raft_support_role(members_of(group), id) == RAFT_VOTER &&
            reachable(group, id) &&
            sp_raft_group_transfer_to(group, target->places[i].node_id) == 0) {
            return;
        }
    }
}

int sp_raft_group_move(struct sp_raft_group *group,
                       const struct sp_raft_move_target *target,
                       struct sp_raft_move_progress *out)
{
    struct sp_raft_change change;
    int rv = look(group, target, out, &change);

    if (rv != 0) {
        return rv;
    }
    note_progress(group, &change, out);
    out->since_ms = group->move_mark.since_ms;
    switch (out->step) {
    case SP_RAFT_MOVE_WAITING:
    case SP_RAFT_MOVE_DONE:
        break;
    case SP_RAFT_MOVE_FILLING:
        sp_raft_take_look(group);
        break;
    case SP_RAFT_MOVE_HANDING_OVER:
        hand_over(group, target);
        break;
    case SP_RAFT_MOVE_ADDING:
    case SP_RAFT_MOVE_PROMOTING:
    case SP_RAFT_MOVE_REMOVING:
        if (sp_raft_make_change(group, &change) != 0) {
            out->step = SP_RAFT_MOVE_WAITING; /* not now: it is found again at the next call */
        }
        group->move_looked_ms = 0;
        break;
    }
    return 0;
}

void sp_raft_group_drop_standby(struct sp_raft_group *group,
                                const struct sp_raft_move_target *target)
{
    const struct raft_server *standby = find_standby(group);
    struct sp_raft_move_progress progress;
    struct sp_raft_change change;

    if (standby == NULL || find_target(target, standby->id) != NULL ||
        look(group, target, &progress, &change) != 0) {
        return;
    }
    change = (struct sp_raft_change){ .replica_id = standby->id,
                                      .node_id = sp_raft_node_of(group, standby->id),
                                      .role = -1 };
    note_progress(group, &change, &progress);
    if (progress.step != SP_RAFT_MOVE_WAITING &&
        sp_raft_now_ms(group) - group->move_mark.since_ms >= STRAY_MS) {
        (void)sp_raft_make_change(group, &change); /* not now: the next look finds it again */
    }
}

int sp_raft_group_move_progress(struct sp_raft_group *group,
                                const struct sp_raft_move_target *target,
                                struct sp_raft_move_progress *out)
{
    struct sp_raft_change change;
    int rv = look(group, target, out, &change);

    /* The mover has not taken a step yet: it is about to. */
    out->since_ms =
        group->move_mark.seen_ms == 0 ? sp_raft_now_ms(group) : group->move_mark.since_ms;
    return rv;
}
