/* The part of cluster.health about replicas and leaders that change their place.
 *
 *   stuck      a move without progress: of moves of groups that are led here all is known; of
 *              others, that the group has no leader or a node that is to be filled is down
 *   misplaced  a partition that another node should lead, for longer than a handover takes
 *
 * Neither makes the cluster unhealthy: each replica that is lacking is told as such. */
#include "broker/health.h"
#include "broker/methods.h"

#include <stdio.h>

#include "cluster/mover.h"
#include "cluster/state_moves.h"

enum {
    ROWS_MAX = 1000,      /* named of each kind: the answer stays small */
    STUCK_MS = 60000,     /* slow moves share one budget: each takes its turn within that */
    CAUSE_MS = 5000,      /* the same when the cause is known: a restart takes less */
    MISPLACED_MS = 30000, /* the mover looks once a second, and hands over 64 at once */
};

/* Where a move hangs, and why. */
struct hitch {
    uint64_t since_ms;
    uint32_t node_id; /* 0: no single one */
    const char *step; /* NULL: only the leader knows */
    char reason[160];
};

static void pack_place(struct sp_pack *pack, const struct sp_state_topic *topic, uint32_t partition)
{
    sp_pack_text(pack, "topic");
    sp_pack_text(pack, topic->name);
    sp_pack_text(pack, "partition");
    sp_pack_uint(pack, partition);
}

/* What keeps a node from taking a step of a move; false: nothing that is known here. */
static bool find_cause(const struct sp_broker *broker, uint32_t node_id, struct hitch *hitch)
{
    struct sp_transport_look look;

    if (node_id == broker->options.node_id ||
        !sp_transport_look(broker->options.transport, node_id, &look)) {
        return false;
    }
    if (!look.up) {
        hitch->since_ms = look.link_ms;
        (void)snprintf(hitch->reason, sizeof hitch->reason, "node %u is down", node_id);
    } else if ((look.condition & SP_PEER_NO_RECORDS) != 0) {
        hitch->since_ms = look.condition_ms;
        (void)snprintf(hitch->reason, sizeof hitch->reason, "the disk of node %u is full", node_id);
    } else {
        return false;
    }
    hitch->node_id = node_id;
    return true;
}

static void say_step(struct hitch *hitch, const struct sp_raft_move_progress *progress)
{
    if (progress->step == SP_RAFT_MOVE_FILLING) {
        (void)snprintf(hitch->reason,
                       sizeof hitch->reason,
                       "node %u has stored nothing new: it has %llu of %llu frames",
                       progress->node_id,
                       (unsigned long long)progress->stored_index,
                       (unsigned long long)progress->goal_index);
    } else {
        (void)snprintf(hitch->reason,
                       sizeof hitch->reason,
                       "its change of membership is not done: too few of its replicas answer");
    }
}

/* The leader of the group is this node. */
static bool hangs_here(const struct sp_broker *broker,
                       const struct sp_raft_move_progress *progress,
                       struct hitch *hitch)
{
    uint64_t now_ms = sp_loop_now_ms(broker->options.loop);
    bool caused = progress->node_id != 0 && find_cause(broker, progress->node_id, hitch);
    uint64_t still_ms = now_ms - progress->since_ms;

    if (!caused) {
        say_step(hitch, progress);
    }
    hitch->since_ms = progress->since_ms;
    hitch->node_id = progress->node_id;
    hitch->step = sp_raft_move_step_name(progress->step);
    return still_ms >= (caused ? CAUSE_MS : STUCK_MS);
}

/* It is not, or there is none. */
static bool hangs_elsewhere(const struct sp_broker *broker,
                            const struct sp_state_move *move,
                            const struct sp_state_partition *place,
                            struct hitch *hitch)
{
    uint64_t now_ms = sp_loop_now_ms(broker->options.loop);
    struct sp_leader_since since = { .leader_ms = now_ms };

    if (sp_group_table_leader(broker->options.table, move->group_id, NULL) == 0) {
        (void)sp_leader_table_since(
            sp_group_table_leaders(broker->options.table), move->group_id, &since);
        hitch->since_ms = since.leader_ms;
        (void)snprintf(hitch->reason, sizeof hitch->reason, "the partition has no leader");
        return now_ms - since.leader_ms >= CAUSE_MS;
    }
    for (unsigned i = 0; i < move->target_count; i++) {
        bool is_new = true;
        for (unsigned k = 0; k < place->replica_count; k++) {
            is_new = is_new && place->replicas[k].replica_id != move->target[i].replica_id;
        }
        if (is_new && find_cause(broker, move->target[i].node_id, hitch) &&
            now_ms - hitch->since_ms >= CAUSE_MS) {
            return true;
        }
    }
    return false;
}

static bool find_hitch(const struct sp_broker *broker,
                       const struct sp_state_move *move,
                       const struct sp_state_partition *place,
                       struct hitch *hitch)
{
    struct sp_raft_move_progress progress = { 0 };

    *hitch = (struct hitch){ .since_ms = 0 };
    if (broker->mover != NULL && sp_mover_progress(broker->mover, move, &progress) == 0) {
        return hangs_here(broker, &progress, hitch);
    }
    return hangs_elsewhere(broker, move, place, hitch);
}

uint32_t sp_health_pack_stuck(const struct sp_broker *broker, struct sp_pack *pack)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    const struct sp_state_move *move;
    struct sp_map_cursor cursor = { 0 };
    uint32_t count = 0;

    while ((move = sp_state_move_next(state, &cursor)) != NULL && count < ROWS_MAX) {
        const struct sp_state_topic *topic = sp_state_topic_by_id(state, move->topic_id);
        struct hitch hitch;
        if (topic == NULL ||
            !find_hitch(broker, move, &topic->partitions[move->partition], &hitch)) {
            continue;
        }
        int64_t since_ms = sp_health_wall_ms(broker, hitch.since_ms);
        sp_pack_map(pack, 6);
        pack_place(pack, topic, move->partition);
        sp_pack_text(pack, "since_ms");
        sp_pack_int(pack, since_ms > move->begun_ms ? since_ms : move->begun_ms);
        sp_pack_text(pack, "node");
        sp_pack_int(pack, hitch.node_id == 0 ? -1 : (int64_t)hitch.node_id);
        sp_pack_text(pack, "step");
        sp_pack_text(pack, hitch.step != NULL ? hitch.step : "");
        sp_pack_text(pack, "reason");
        sp_pack_text(pack, hitch.reason);
        count += 1;
    }
    return count;
}

/* Packs the partition if it is misplaced; how many rows that are. */
static uint32_t pack_if_misplaced(const struct sp_broker *broker,
                                  struct sp_pack *pack,
                                  const struct sp_state_topic *topic,
                                  const struct sp_state_partition *place)
{
    uint64_t now_ms = sp_loop_now_ms(broker->options.loop);
    struct sp_leader_since since = { 0 };

    (void)sp_leader_table_since(
        sp_group_table_leaders(broker->options.table), place->group_id, &since);
    if (since.misplaced_ms == 0 || now_ms - since.misplaced_ms < MISPLACED_MS) {
        return 0;
    }
    uint32_t better = sp_health_better_leader(broker, place);
    if (better == 0) {
        return 0; /* it has been handed over since the last look */
    }
    sp_pack_map(pack, 5);
    pack_place(pack, topic, place->partition);
    sp_pack_text(pack, "leader");
    sp_pack_uint(pack, sp_group_table_leader(broker->options.table, place->group_id, NULL));
    sp_pack_text(pack, "should_lead");
    sp_pack_uint(pack, better);
    sp_health_pack_since(broker, pack, "since_ms", since.misplaced_ms);
    return 1;
}

uint32_t sp_health_pack_misplaced(const struct sp_broker *broker, struct sp_pack *pack)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    const struct sp_state_topic *topic;
    struct sp_map_cursor cursor = { 0 };
    uint32_t count = 0;

    while ((topic = sp_state_topic_next(state, &cursor)) != NULL) {
        for (uint32_t i = 0; i < topic->partition_count && count < ROWS_MAX; i++) {
            count += pack_if_misplaced(broker, pack, topic, &topic->partitions[i]);
        }
    }
    return count;
}
