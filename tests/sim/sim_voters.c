#include "sim_voters.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "cluster/state_moves.h"
#include "cluster/state_nodes.h"
#include "sim_cluster.h"
#include "sim_disk.h"
#include "sim_images.h"
#include "sim_machines.h"
#include "sim_model.h"
#include "sim_observer.h"
#include "sim_world.h"
#include "spate/error.h"

/* What a new voter may lack: what was committed in so many last moments. A leader looks twice
 * within half a second of its own time, which may run at half speed. */
#define FILL_SLACK_US (3 * SIM_SECOND)

/* Of so many voters one may lose its disk. */
#define SOUND_MIN 3u

struct group_voters {
    uint64_t group_id;
    struct sim_membership in_force;
    struct sim_membership in_flight;
    unsigned voters_min; /* no change may leave fewer; since the last move ended */
};

static struct group_voters groups[SIM_GROUPS_MAX];
static unsigned group_count;
static struct sp_state *reference;
static uint64_t next_when_emptied[SIM_NODES_MAX]; /* by place: replica id; 0: never emptied */

static struct group_voters *find(uint64_t group_id)
{
    for (unsigned i = 0; i < group_count; i++) {
        if (groups[i].group_id == group_id) {
            return &groups[i];
        }
    }
    SP_ASSERT(group_count < SIM_GROUPS_MAX);
    groups[group_count] = (struct group_voters){ .group_id = group_id };
    group_count += 1;
    return &groups[group_count - 1];
}

const struct sim_membership *sim_voters_in_force(uint64_t group_id)
{
    return &find(group_id)->in_force;
}

const struct sim_membership *sim_voters_in_flight(uint64_t group_id)
{
    return &find(group_id)->in_flight;
}

/* ---- memberships ----------------------------------------------------------------------------- */

static uint64_t read_u64(const uint8_t *bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < 8; i++) {
        value |= (uint64_t)bytes[i] << (8 * i);
    }
    return value;
}

/* libraft's encoding: 1, count (8), then id (8), address with NUL, role (1). Roles: 0 standby, 1
 * voter. */
static void read_membership(const uint8_t *bytes, struct sim_membership *out)
{
    uint64_t count = read_u64(bytes + 1);
    const uint8_t *at = bytes + 9;

    SP_ASSERT(bytes[0] == 1 && count <= SIM_VOTERS_MAX);
    for (uint64_t i = 0; i < count; i++) {
        struct sim_voter *voter = &out->voters[i];
        voter->replica_id = read_u64(at);
        voter->node_id = (uint32_t)strtoul((const char *)at + 8, NULL, 10);
        at += 8 + strlen((const char *)at + 8) + 1;
        voter->standby = *at == 0;
        at += 1;
    }
    out->count = (unsigned)count;
}

static const struct sim_voter *find_voter(const struct sim_membership *membership,
                                          uint64_t replica_id)
{
    for (unsigned i = 0; i < membership->count; i++) {
        if (membership->voters[i].replica_id == replica_id) {
            return &membership->voters[i];
        }
    }
    return NULL;
}

static unsigned count_voters(const struct sim_membership *membership)
{
    unsigned count = 0;

    for (unsigned i = 0; i < membership->count; i++) {
        count += membership->voters[i].standby ? 0 : 1;
    }
    return count;
}

static bool some_voter_goes(const struct sim_membership *now, const struct sim_membership *next)
{
    bool goes = false;

    for (unsigned i = 0; i < now->count; i++) {
        const struct sim_voter *after = find_voter(next, now->voters[i].replica_id);
        goes = goes || (!now->voters[i].standby && (after == NULL || after->standby));
    }
    return goes;
}

/* ---- the controller -------------------------------------------------------------------------- */

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* A move lets its group have as few voters as the smaller of the two sides. */
static void note_moves(void)
{
    for (unsigned i = 0; i < group_count; i++) {
        struct group_voters *group = &groups[i];
        const struct sp_state_move *move = sp_state_move(reference, group->group_id);
        const struct sp_state_partition *partition =
            sp_state_partition_of(reference, group->group_id, NULL);
        if (partition == NULL) {
            continue;
        }
        if (move == NULL) {
            group->voters_min = partition->replica_count;
        } else {
            group->voters_min = least(group->voters_min, partition->replica_count);
            group->voters_min = least(group->voters_min, move->target_count);
        }
    }
}

static void check_machines(void)
{
    for (unsigned i = 0; i < group_count; i++) {
        const struct sp_state_partition *partition =
            sp_state_partition_of(reference, groups[i].group_id, NULL);
        const struct sp_state_move *move = sp_state_move(reference, groups[i].group_id);
        if (partition != NULL) {
            sim_machines_check_apart(
                reference, partition, partition->replicas, partition->replica_count);
        }
        if (partition != NULL && move != NULL) {
            sim_machines_check_apart(reference, partition, move->target, move->target_count);
        }
    }
}

void sim_voters_applied(uint64_t group_id, const struct sp_log_frame *frame, const uint8_t *payload)
{
    struct group_voters *group = find(group_id);

    /* It is committed now, or never will be: who lacks this frame is elected no more. */
    if (group->in_flight.index <= frame->index || group->in_flight.term < frame->term) {
        group->in_flight = (struct sim_membership){ .index = 0 };
    }
    if (frame->kind == SP_FRAME_CONFIGURATION) {
        struct sim_membership applied = { .index = frame->index, .term = frame->term };
        read_membership(payload, &applied);
        if (group_id == 0 && some_voter_goes(&group->in_force, &applied)) {
            sim_model.counts.replaced_voters += 1;
        }
        group->in_force = applied;
        if (group->voters_min == 0) {
            group->voters_min = count_voters(&applied);
        }
        return;
    }
    if (group_id != 0 || frame->kind != SP_FRAME_COMMAND) {
        return;
    }
    struct sim_process *before = sim_enter(NULL);
    if (reference == NULL) {
        int rv = sp_state_new(&reference);
        SP_ASSERT(rv == 0);
    }
    (void)sp_state_apply(
        reference, payload, frame->length, frame->append_time_ms, NULL, NULL); /* its own answer */
    sim_leave(before);
    note_moves();
    check_machines();
}

/* ---- changes --------------------------------------------------------------------------------- */

/* Everything up to here has been committed for a while. */
static uint64_t committed_for_a_while(uint64_t group_id)
{
    const struct sim_group *group = sim_model_group(group_id);
    uint64_t index = group == NULL ? 0 : group->last_index;

    while (index > 0 && group->frames[index].committed_us + FILL_SLACK_US > sim.now_us) {
        index -= 1;
    }
    return index;
}

static void check_promoted(uint64_t group_id, const struct sim_voter *voter)
{
    uint64_t needed = committed_for_a_while(group_id);

    if (!sim_images_has(voter, group_id, needed)) {
        sim_fail("group %llu: replica %llu becomes a voter without index %llu, which was committed "
                 "long ago",
                 (unsigned long long)group_id,
                 (unsigned long long)voter->replica_id,
                 (unsigned long long)needed);
    }
}

/* A voter in whose place its own node runs another replica is damaged, and counts for nothing. From
 * an odd number of voters it may go: then a majority is as many as before. */
static bool only_dead_goes(const struct group_voters *group,
                           const struct sim_membership *now,
                           const struct sim_membership *next)
{
    const struct sp_state_partition *partition =
        reference == NULL ? NULL : sp_state_partition_of(reference, group->group_id, NULL);

    if (partition == NULL || count_voters(now) % 2 == 0) {
        return false;
    }
    for (unsigned i = 0; i < now->count; i++) {
        const struct sim_voter *voter = &now->voters[i];
        const struct sp_replica_place *place =
            sp_state_place_on(reference, partition, voter->node_id);
        if (!voter->standby && find_voter(next, voter->replica_id) == NULL &&
            (place == NULL || place->replica_id <= voter->replica_id)) {
            return false;
        }
    }
    return true;
}

/* Another replica has to be filled before a voter may go again. */
static bool waits_for_more(uint64_t group_id, const struct sim_membership *next)
{
    const struct sp_state_partition *partition = sp_state_partition_of(reference, group_id, NULL);
    const struct sp_state_move *move = sp_state_move(reference, group_id);
    unsigned voters = count_voters(next);
    bool missing = false;

    for (unsigned i = 0; move != NULL && i < move->target_count; i++) {
        const struct sim_voter *voter = find_voter(next, move->target[i].replica_id);
        missing = missing || voter == NULL || voter->standby;
    }
    return missing && (voters <= partition->replica_count || voters <= move->target_count);
}

/* A leader proposes `next`: `now` was the newest membership it knew. It may not have heard yet that
 * its topic is no more: others may have given up their replicas, and nothing of them is needed. */
static void check_change(struct group_voters *group,
                         const struct sim_membership *now,
                         const struct sim_membership *next)
{
    unsigned before = count_voters(now);
    unsigned after = count_voters(next);

    if (sim_voters_deleted(group->group_id)) {
        return;
    }
    for (unsigned i = 0; i < next->count; i++) {
        const struct sim_voter *was = find_voter(now, next->voters[i].replica_id);
        if (!next->voters[i].standby && (was == NULL || was->standby)) {
            check_promoted(group->group_id, &next->voters[i]);
        }
    }
    if (after < before && group->group_id != 0 && after < group->voters_min &&
        !only_dead_goes(group, now, next)) {
        sim_fail("group %llu: a voter is removed, %u would be left of at least %u",
                 (unsigned long long)group->group_id,
                 after,
                 group->voters_min);
    }
    if (reference != NULL && (after < before || waits_for_more(group->group_id, next))) {
        sim_machines_check_majority(reference, group->group_id, next);
    }
}

static uint64_t committed_here(uint64_t group_id)
{
    struct sp_raft_group *group = sim_cluster_group(sim.current->owner, group_id);
    struct sp_raft_group_status status = { 0 };

    if (group != NULL) {
        sp_raft_group_status(group, &status);
    }
    return status.commit_index;
}

int __wrap_sp_log_build(struct sp_log *log,
                        enum sp_frame_kind kind,
                        uint64_t term,
                        int64_t append_time_ms,
                        const struct sp_iovec *pieces,
                        unsigned count,
                        int64_t *out_offset)
{
    struct sim_membership next = { .index = sp_log_last_index(log) + 1, .term = term };

    if (kind == SP_FRAME_CONFIGURATION && next.index > 1) {
        struct group_voters *group = find(sp_log_group_id(log));
        SP_ASSERT(count == 1);
        read_membership(pieces[0].bytes, &next);
        if (group->in_flight.index > 0 && group->in_flight.term == term &&
            group->in_flight.index > committed_here(group->group_id)) {
            sim_fail("group %llu: a second membership is proposed in term %llu before the first "
                     "one is committed",
                     (unsigned long long)group->group_id,
                     (unsigned long long)term);
        }
        /* A leader that stood still may propose what others have gone beyond: never committed. */
        bool stale = group->in_force.term > term || group->in_flight.term > term;
        if (!stale) {
            check_change(group, &group->in_force, &next);
            group->in_flight = next;
        }
    }
    sim_model.counts.looks[SIM_LOOK_sp_log_build] += 1;
    return __real_sp_log_build(log, kind, term, append_time_ms, pieces, count, out_offset);
}

/* ---- deletions ------------------------------------------------------------------------------- */

bool sim_voters_deleted(uint64_t group_id)
{
    return group_id != 0 && reference != NULL &&
           sp_state_partition_of(reference, group_id, NULL) == NULL;
}

/* A member's data must stay, whatever it is called that takes them away. */
static void check_not_member(uint64_t group_id, uint64_t replica_id)
{
    struct group_voters *group = find(group_id);

    if (!sim_voters_deleted(group_id) && (find_voter(&group->in_force, replica_id) != NULL ||
                                          find_voter(&group->in_flight, replica_id) != NULL)) {
        sim_fail("%s group %llu: replica %llu is deleted, and is still a member",
                 sim.current->name,
                 (unsigned long long)group_id,
                 (unsigned long long)replica_id);
    }
}

int __wrap_sp_store_delete_replica(struct sp_store *store, uint64_t group_id, uint64_t replica_id)
{
    check_not_member(group_id, replica_id);
    sim_model.counts.looks[SIM_LOOK_sp_store_delete_replica] += 1;
    return __real_sp_store_delete_replica(store, group_id, replica_id);
}

int __wrap_sp_store_retire_replica(struct sp_store *store, uint64_t group_id, uint64_t replica_id)
{
    if (group_id != 0) { /* there it goes as soon as another one has its place */
        check_not_member(group_id, replica_id);
    }
    sim_model.counts.looks[SIM_LOOK_sp_store_retire_replica] += 1;
    return __real_sp_store_retire_replica(store, group_id, replica_id);
}

/* ---- settled --------------------------------------------------------------------------------- */

void sim_voters_emptied(uint32_t node_id)
{
    next_when_emptied[sim_cluster_place(node_id)] =
        reference == NULL ? 0 : sp_state_next_replica_id(reference);
}

/* Lost, or taken for lost: what a node was given before it came back with an empty disk may have
 * been on the disk before, as far as the controller can tell, also what was given out meanwhile.
 * When it joins it is given a replica id of its own, and all below that are lost. */
static bool counts_as_lost(const struct sim_voter *voter)
{
    const struct sp_replica_place place = { .replica_id = voter->replica_id,
                                            .node_id = voter->node_id };
    bool taken = reference != NULL && sp_state_is_lost(reference, &place);
    uint64_t next = next_when_emptied[sim_cluster_place(voter->node_id)];
    bool has_yet_to_join = next != 0 && reference != NULL &&
                           sp_state_member(reference, voter->node_id).lost_below <= next;

    return taken || has_yet_to_join || sim_images_is_lost(voter);
}

static unsigned count_sound(const struct sim_membership *membership)
{
    unsigned count = 0;

    for (unsigned i = 0; i < membership->count; i++) {
        const struct sim_voter *voter = &membership->voters[i];
        count += voter->standby || counts_as_lost(voter) ? 0 : 1;
    }
    return count;
}

bool sim_voters_bear_a_loss(void)
{
    for (unsigned i = 0; i < group_count; i++) {
        const struct group_voters *group = &groups[i];
        if (sim_voters_deleted(group->group_id)) {
            continue;
        }
        if (group->in_flight.index > 0 || count_sound(&group->in_force) < SOUND_MIN ||
            count_sound(&group->in_force) < count_voters(&group->in_force)) {
            return false;
        }
    }
    return true;
}

uint64_t sim_voters_incarnation(uint32_t node_id)
{
    const struct sp_state_node *node = reference == NULL ? NULL : sp_state_node(reference, node_id);

    return node == NULL ? 0 : node->incarnation;
}

/* Every replica of a disk that is no more has been replaced. */
static bool none_is_lost(const struct group_voters *group, char *out_why, unsigned size)
{
    for (unsigned i = 0; i < group->in_force.count; i++) {
        const struct sim_voter *voter = &group->in_force.voters[i];
        if (sim_images_is_lost(voter)) {
            (void)snprintf(out_why,
                           size,
                           "group %llu: replica %llu was on a disk that is no more, and is still a "
                           "member",
                           (unsigned long long)group->group_id,
                           (unsigned long long)voter->replica_id);
            return false;
        }
    }
    return true;
}

bool sim_voters_settled(char *out_why, unsigned size)
{
    struct sp_map_cursor cursor = { 0 };
    const struct sp_state_move *move =
        reference == NULL ? NULL : sp_state_move_next(reference, &cursor);

    if (move != NULL) {
        (void)snprintf(
            out_why, size, "group %llu is being moved", (unsigned long long)move->group_id);
        return false;
    }
    for (unsigned i = 0; i < group_count; i++) {
        if (reference == NULL || sim_voters_deleted(groups[i].group_id)) {
            continue;
        }
        if (!none_is_lost(&groups[i], out_why, size) ||
            !sim_images_only_members(&groups[i].in_force, groups[i].group_id, out_why, size)) {
            return false;
        }
    }
    return true;
}
