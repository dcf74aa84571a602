#include "sim_quiet.h"

#include "base/assert.h"
#include "cluster/leader_table.h"
#include "sim_cluster.h"
#include "sim_damage.h"
#include "sim_disk.h"
#include "sim_model.h"
#include "sim_observer.h"
#include "sim_world.h"

enum {
    LOOK_US = 50 * SIM_MS,
    ORPHAN_TIMEOUTS_MAX = 4, /* election timeouts of a clock that may be slow ... */
    REST_US_MIN = 2 * SIM_SECOND,
    REST_US_MAX = 6 * SIM_SECOND,
};

#define ORPHAN_US_MAX (2 * SIM_SECOND) /* ... and what links and turns may take */

/* ---- becoming quiet -------------------------------------------------------------------------- */

static void check_nothing_waits(const struct sim_node *node, struct sp_raft_group *group)
{
    struct sp_raft_group_status status;

    sp_raft_group_status(group, &status);
    if (status.commit_index != status.last_index || status.applied_index != status.last_index ||
        status.persisted_index != status.last_index) {
        sim_fail(
            "%s group %llu is quiet at last %llu, committed %llu, applied %llu, persisted %llu",
            node->process->name,
            (unsigned long long)sp_raft_group_id(group),
            (unsigned long long)status.last_index,
            (unsigned long long)status.commit_index,
            (unsigned long long)status.applied_index,
            (unsigned long long)status.persisted_index);
    }
}

/* The leader thinks that this follower has all. */
static void
check_follower(struct sim_node *leader, uint32_t node_id, const struct sp_vigil_key *key)
{
    struct sim_node *node = sim_cluster_node(node_id);
    struct sp_raft_group *own = sim_cluster_group(leader, key->group_id);
    struct sp_raft_group *other = sim_cluster_group(node, key->group_id);
    struct sp_raft_group_status mine;
    struct sp_raft_group_status its;

    if (other == NULL || sp_raft_group_replica_id(other) != key->follower ||
        sim_damage_touched(node->process->disk, key->group_id, key->follower)) {
        return; /* it was there a moment ago */
    }
    sp_raft_group_status(own, &mine);
    sp_raft_group_status(other, &its);
    if (its.persisted_index < mine.last_index) {
        sim_fail("%s becomes quiet as leader of group %llu at %llu, and %s has only %llu",
                 leader->process->name,
                 (unsigned long long)key->group_id,
                 (unsigned long long)mine.last_index,
                 node->process->name,
                 (unsigned long long)its.persisted_index);
    }
}

void __wrap_sp_vigil_add(struct sp_vigil *vigil,
                         uint32_t node_id,
                         enum sp_vigil_side side,
                         const struct sp_vigil_key *key)
{
    struct sim_node *node = sim.current->owner;
    struct sp_raft_group *group = sim_cluster_group(node, key->group_id);

    SP_ASSERT(group != NULL);
    sim_model.counts.quieted += 1;
    check_nothing_waits(node, group);
    if (side == SP_VIGIL_LED) {
        check_follower(node, node_id, key);
    }
    sim_model.counts.looks[SIM_LOOK_sp_vigil_add] += 1;
    __real_sp_vigil_add(vigil, node_id, side, key);
}

void __wrap_sp_vigil_remove(struct sp_vigil *vigil,
                            uint32_t node_id,
                            enum sp_vigil_side side,
                            const struct sp_vigil_key *key)
{
    sim_model.counts.woken += 1;
    __real_sp_vigil_remove(vigil, node_id, side, key);
}

void sim_quiet_submitted(struct sp_raft_group *group)
{
    if (sp_raft_group_is_quiet(group)) {
        sim_fail("group %llu takes a proposal and sleeps on",
                 (unsigned long long)sp_raft_group_id(group));
    }
}

/* ---- being quiet ----------------------------------------------------------------------------- */

/* Whether the leader that this quiet follower relies on is there. */
static bool is_led(const struct sp_raft_group_status *follower, uint64_t group_id)
{
    struct sim_node *node = sim_cluster_node(follower->leader_node);
    struct sp_raft_group *group = sim_cluster_group(node, group_id);
    struct sp_raft_group_status status;

    if (group == NULL || node->process->paused) {
        return false;
    }
    sp_raft_group_status(group, &status);
    return status.role == SP_ROLE_LEADER && status.term == follower->term;
}

/* A leader asleep has nothing to say any more, so what it said last must be that all have all. */
static void check_told(const struct sim_observer *observer,
                       const struct sp_raft_group_status *status)
{
    const struct sp_leader_table *leaders = observer->owner->leaders;

    if (leaders == NULL ||
        sp_leader_table_get(leaders, observer->group_id, NULL) != observer->owner->node_id) {
        return;
    }
    if (sp_leader_table_lagging(leaders, observer->group_id) != 0) {
        sim_fail("%s group %llu sleeps in term %llu, and it said last that a member lacks frames",
                 observer->owner->process->name,
                 (unsigned long long)observer->group_id,
                 (unsigned long long)status->term);
    }
}

static void look_at(struct sim_observer *observer)
{
    struct sp_raft_group_status status;
    uint64_t orphan_us_max = ORPHAN_US_MAX + (uint64_t)ORPHAN_TIMEOUTS_MAX *
                                                 sim_cluster.shape.election_timeout_ms * SIM_MS;

    sp_raft_group_status(observer->group, &status);
    if (sp_raft_group_is_quiet(observer->group) && status.role == SP_ROLE_LEADER) {
        check_told(observer, &status);
    }
    if (!sp_raft_group_is_quiet(observer->group) || status.role != SP_ROLE_FOLLOWER ||
        is_led(&status, observer->group_id)) {
        observer->orphan_since_us = 0;
        return;
    }
    if (observer->orphan_since_us == 0) {
        observer->orphan_since_us = sim.now_us;
    }
    if (sim.now_us - observer->orphan_since_us > orphan_us_max) {
        sim_fail("%s group %llu sleeps on after its leader n%u in term %llu has gone",
                 observer->owner->process->name,
                 (unsigned long long)observer->group_id,
                 status.leader_node,
                 (unsigned long long)status.term);
    }
}

static void on_look(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < sim_cluster.node_count; i++) {
        struct sim_node *node = &sim_cluster.nodes[i];
        if (!node->process->alive) {
            continue;
        }
        SP_LIST_EACH (list_node, &node->observers) {
            struct sim_observer *observer = SP_LIST_ENTRY(list_node, struct sim_observer, node);
            if (node->process->paused) {
                observer->orphan_since_us = 0; /* it cannot notice */
            } else {
                look_at(observer);
            }
        }
    }
    (void)sim_at(sim.now_us + LOOK_US, SIM_EVENT_WORLD, NULL, on_look, NULL);
}

void sim_quiet_start(void)
{
    (void)sim_at(sim.now_us + LOOK_US, SIM_EVENT_WORLD, NULL, on_look, NULL);
}

/* ---- rests ----------------------------------------------------------------------------------- */

/* By a chance of its own, so that it changes no other draw of the seed. */
bool sim_quiet_rests(uint32_t place)
{
    struct sp_rand rand;

    sp_rand_init(&rand, sim.seed * 64 + place);
    uint64_t period_us = sim_between(&rand, REST_US_MIN, REST_US_MAX);
    sp_rand_init(&rand, sim.seed * 64 + place + sim.now_us / period_us * 1000003);
    return sim_one_in(&rand, 2);
}
