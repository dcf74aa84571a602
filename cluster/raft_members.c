#include "cluster/raft_members.h"

#include "cluster/raft_group_internal.h"
#include "cluster/raft_guard_support.h"
#include "spate/error.h"

enum {
    VOTERS_KEPT = 3,
};

static const struct raft_configuration *members_of(const struct sp_raft_group *group)
{
    return &group->guard.raft.configuration;
}

static const struct sp_raft_member_wish *find_wish(const struct sp_raft_members *members,
                                                   uint64_t replica_id)
{
    for (unsigned i = 0; i < members->count; i++) {
        if (members->wishes[i].place.replica_id == replica_id) {
            return &members->wishes[i];
        }
    }
    return NULL;
}

/* Removes whoever is not wanted; false: there is nobody. */
static bool remove_one(struct sp_raft_group *group, const struct sp_raft_members *members)
{
    const struct raft_configuration *now = members_of(group);

    for (unsigned i = 0; i < now->n; i++) {
        uint64_t id = now->servers[i].id;
        if (find_wish(members, id) != NULL) {
            continue;
        }
        if (id == group->replica_id) {
            (void)sp_raft_group_transfer(group); /* tried again until somebody else leads */
        } else {
            struct sp_raft_change change = { .replica_id = id, .role = -1 };
            (void)sp_raft_make_change(group, &change); /* likewise */
        }
        return true;
    }
    return false;
}

/* A standby that may vote, filled if there is such a one; NULL: there is none. */
static const struct sp_raft_member_wish *
find_standby(struct sp_raft_group *group, const struct sp_raft_members *members, bool *out_filled)
{
    const struct raft_configuration *now = members_of(group);
    const struct sp_raft_member_wish *found = NULL;

    *out_filled = false;
    for (unsigned i = 0; i < now->n && !*out_filled; i++) {
        const struct sp_raft_member_wish *wish = find_wish(members, now->servers[i].id);
        if (now->servers[i].role == RAFT_STANDBY && wish != NULL && wish->may_vote) {
            found = wish;
            *out_filled = sp_raft_is_filled(group, wish->place.replica_id);
        }
    }
    return found;
}

/* Of the voters: how many count, how many are up, and one that is gone (0: none). */
struct voters {
    unsigned count;
    unsigned stay;
    unsigned up;
    uint64_t gone;
};

static struct voters count_voters(const struct sp_raft_group *group,
                                  const struct sp_raft_members *members)
{
    const struct raft_configuration *now = members_of(group);
    struct voters voters = { 0 };

    for (unsigned i = 0; i < now->n; i++) {
        const struct sp_raft_member_wish *wish = find_wish(members, now->servers[i].id);
        if (now->servers[i].role != RAFT_VOTER) {
            continue;
        }
        voters.count += 1;
        voters.stay += wish != NULL && wish->stays ? 1 : 0;
        voters.up += wish != NULL && wish->may_vote ? 1 : 0;
        if (wish != NULL && wish->gone && now->servers[i].id != group->replica_id) {
            voters.gone = now->servers[i].id;
        }
    }
    return voters;
}

/* Makes a standby a voter if there are too few, in place of one that is gone if there is such a
 * one; false: there are enough, or nobody may. */
static bool promote_one(struct sp_raft_group *group, const struct sp_raft_members *members)
{
    struct voters voters = count_voters(group, members);
    bool filled = false;

    if (voters.stay >= members->voters) {
        return false;
    }
    const struct sp_raft_member_wish *wish = find_standby(group, members, &filled);
    if (wish == NULL) {
        return false;
    }
    if (!filled) {
        sp_raft_take_look(group);
        return true;
    }
    struct sp_raft_change change = { .replica_id = wish->place.replica_id,
                                     .node_id = wish->place.node_id,
                                     .role = RAFT_VOTER };
    if (voters.gone != 0 && voters.up > (voters.count - 1) / 2) {
        change = (struct sp_raft_change){ .replica_id = voters.gone, .role = -1 };
    } else {
        group->move_looked_ms = 0;
    }
    (void)sp_raft_make_change(group, &change); /* or at a later look */
    return true;
}

/* How early a voter goes if there are too many; 0: it stays. This one goes if it is not to stay:
 * another one would be missed at the next look, and come back, for ever. */
static unsigned surplus_rank(const struct sp_raft_group *group,
                             const struct sp_raft_member_wish *wish)
{
    if (wish == NULL || (wish->place.replica_id == group->replica_id && wish->stays)) {
        return 0;
    }
    if (wish->beside) {
        return 5; /* both fall with their machine, and make a majority of three */
    }
    return wish->gone ? 4 : !wish->may_vote && wish->stays ? 3 : !wish->stays ? 2 : 1;
}

/* More voters than there should be bear no more failures, or fewer: of four, as of three, one. Who
 * goes becomes a standby at the next look, if it is up. Never below three: two copies of what is
 * acknowledged are the least. False: there are not too many. */
static bool demote_one(struct sp_raft_group *group, const struct sp_raft_members *members)
{
    const struct raft_configuration *now = members_of(group);
    struct sp_raft_change change = { .role = -1 };
    unsigned rank_max = 0;

    if (members->voters < VOTERS_KEPT || count_voters(group, members).count <= members->voters) {
        return false;
    }
    for (unsigned i = 0; i < now->n; i++) {
        uint64_t id = now->servers[i].id;
        unsigned rank =
            now->servers[i].role == RAFT_VOTER ? surplus_rank(group, find_wish(members, id)) : 0;
        if (rank > rank_max || (rank != 0 && rank == rank_max && id > change.replica_id)) {
            rank_max = rank;
            change.replica_id = id;
        }
    }
    if (rank_max != 0 && change.replica_id == group->replica_id) {
        (void)sp_raft_group_transfer(group); /* S5: whoever leads then removes it */
    } else if (rank_max != 0) {
        (void)sp_raft_make_change(group, &change); /* or at a later look */
    }
    return rank_max != 0;
}

static bool add_one(struct sp_raft_group *group, const struct sp_raft_members *members)
{
    for (unsigned i = 0; i < members->count; i++) {
        const struct sp_replica_place *place = &members->wishes[i].place;
        if (sp_raft_support_role(members_of(group), place->replica_id) == -1 &&
            sp_transport_link(group->context->transport, place->node_id) == SP_LINK_UP) {
            struct sp_raft_change change = { .replica_id = place->replica_id,
                                             .node_id = place->node_id,
                                             .role = RAFT_STANDBY };
            (void)sp_raft_make_change(group, &change); /* or at a later look */
            return true;
        }
    }
    return false;
}

int sp_raft_group_keep_members(struct sp_raft_group *group,
                               const struct sp_raft_members *members,
                               bool *out_settled)
{
    struct sp_raft_group_status status;

    sp_raft_group_status(group, &status);
    if (status.role != SP_ROLE_LEADER || !status.ready) {
        return SPATE_ERR_NOT_LEADER;
    }
    *out_settled = group->guard.raft.configuration_uncommitted_index == 0 &&
                   !remove_one(group, members) && !add_one(group, members) &&
                   !promote_one(group, members) && !demote_one(group, members);
    return 0;
}

unsigned sp_raft_group_members(const struct sp_raft_group *group,
                               struct sp_replica_place *out_places,
                               unsigned count_max)
{
    const struct raft_configuration *now = members_of(group);
    unsigned count = 0;

    for (; count < now->n && count < count_max; count++) {
        out_places[count] = (struct sp_replica_place){
            .replica_id = now->servers[count].id,
            .node_id = sp_raft_node_of(group, now->servers[count].id),
        };
    }
    return count;
}
