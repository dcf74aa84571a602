/* The part of cluster.health about damaged replicas.
 *
 *   refilling  another replica of the same node stands in for a damaged or lost one and is being
 *              filled: of the whole cluster, as the controller's state says; without a topic: the
 *              controller has fewer voters than it should have
 *   damaged    replicas of the asked node that stay closed, and why; and only replicas without
 *              their first records, which serve what is left */
#include "broker/health.h"
#include "broker/methods.h"

#include <inttypes.h>
#include <stdio.h>

#include "cluster/state_moves.h"

#define DAMAGED_MAX 1000 /* replicas named: the answer stays small */

static void
pack_partition(struct sp_pack *pack, const struct sp_state_topic *topic, uint32_t partition)
{
    sp_pack_text(pack, "topic");
    sp_pack_text(pack, topic == NULL ? "" : topic->name);
    sp_pack_text(pack, "partition");
    sp_pack_uint(pack, partition);
}

static void pack_node(struct sp_pack *pack, uint32_t node_id)
{
    sp_pack_text(pack, "node");
    sp_pack_uint(pack, node_id);
}

/* True if the target's replica stands in for an older one of the same node. */
static bool stands_in(const struct sp_state_partition *partition,
                      const struct sp_replica_place *place)
{
    for (unsigned i = 0; i < partition->replica_count; i++) {
        if (partition->replicas[i].node_id == place->node_id &&
            partition->replicas[i].replica_id < place->replica_id) {
            return true;
        }
    }
    return false;
}

uint32_t sp_health_pack_refilling(const struct sp_broker *broker, struct sp_pack *pack)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    struct sp_map_cursor cursor = { 0 };
    const struct sp_state_move *move = NULL;
    uint32_t candidate = sp_controller_lacks_voter(broker->options.controller);
    uint32_t count = 0;

    if (candidate != 0) {
        uint64_t since_ms = broker->watch.voter_ms;
        sp_pack_map(pack, 4);
        pack_partition(pack, NULL, 0);
        pack_node(pack, candidate);
        sp_health_pack_since(broker,
                             pack,
                             "since_ms",
                             since_ms != 0 ? since_ms : sp_loop_now_ms(broker->options.loop));
        count += 1;
    }
    while ((move = sp_state_move_next(state, &cursor)) != NULL && count < DAMAGED_MAX) {
        const struct sp_state_topic *topic = sp_state_topic_by_id(state, move->topic_id);
        for (unsigned i = 0; topic != NULL && i < move->target_count; i++) {
            if (stands_in(&topic->partitions[move->partition], &move->target[i])) {
                sp_pack_map(pack, 4);
                pack_partition(pack, topic, move->partition);
                pack_node(pack, move->target[i].node_id);
                sp_pack_text(pack, "since_ms");
                sp_pack_int(pack, move->begun_ms);
                count += 1;
            }
        }
    }
    return count;
}

/* Where it lies in the data directory of this node, and what is to be said of it. */
static void pack_replica(const struct sp_broker *broker,
                         struct sp_pack *pack,
                         uint64_t group_id,
                         uint64_t replica_id,
                         const char *reason)
{
    char directory[64];

    (void)snprintf(
        directory, sizeof directory, "replicas/%" PRIu64 ".%" PRIu64, group_id, replica_id);
    pack_node(pack, broker->options.node_id);
    sp_pack_text(pack, "replica");
    sp_pack_uint(pack, replica_id);
    sp_pack_text(pack, "directory");
    sp_pack_text(pack, directory);
    sp_pack_text(pack, "reason");
    sp_pack_text(pack, reason);
}

static uint32_t pack_controller(const struct sp_broker *broker, struct sp_pack *pack)
{
    uint64_t voter_id = 0;
    uint64_t since_ms = 0;
    const char *text = sp_controller_damage(broker->options.controller, &voter_id, &since_ms);

    if (text == NULL) {
        return 0;
    }
    sp_pack_map(pack, 7);
    pack_partition(pack, NULL, 0);
    pack_replica(broker, pack, SP_CONTROLLER_GROUP_ID, voter_id, text);
    sp_health_pack_since(broker, pack, "since_ms", since_ms);
    return 1;
}

/* Only replicas here that lack their first records. */
static uint32_t pack_short(const struct sp_broker *broker, struct sp_pack *pack, uint32_t most)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    struct sp_map_cursor cursor = { 0 };
    const struct sp_partition *partition;
    uint32_t count = 0;

    while (count < most && (partition = sp_map_next(broker->partitions, &cursor)) != NULL) {
        const struct sp_raft_group *group = partition->group;
        uint64_t since_ms = group != NULL ? sp_raft_group_short_since_ms(group) : 0;
        char reason[160];

        if (since_ms == 0) {
            continue;
        }
        (void)snprintf(reason,
                       sizeof reason,
                       "records %" PRId64 " to %" PRId64 " are missing with its first segment, and "
                       "it is the only replica: what is left is served",
                       partition->log_start,
                       sp_log_first_offset(sp_raft_group_log(group)) - 1);
        sp_pack_map(pack, 7);
        pack_partition(
            pack, sp_state_topic_by_id(state, partition->topic_id), partition->partition);
        pack_replica(broker, pack, partition->group_id, sp_raft_group_replica_id(group), reason);
        sp_health_pack_since(broker, pack, "since_ms", since_ms);
        count += 1;
    }
    return count;
}

uint32_t sp_health_pack_damaged(const struct sp_broker *broker, struct sp_pack *pack)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    struct sp_map_cursor cursor = { 0 };
    struct sp_reconcile_damage damage;
    uint32_t count = pack_controller(broker, pack);

    while (broker->reconcile != NULL && count < DAMAGED_MAX &&
           sp_reconcile_next_damage(broker->reconcile, &cursor, &damage)) {
        sp_pack_map(pack, 7);
        pack_partition(pack, sp_state_topic_by_id(state, damage.topic_id), damage.partition);
        pack_replica(broker, pack, damage.group_id, damage.replica_id, damage.refusal);
        sp_health_pack_since(broker, pack, "since_ms", damage.since_ms);
        count += 1;
    }
    return count + pack_short(broker, pack, DAMAGED_MAX - count);
}
