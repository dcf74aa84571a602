/* The part of cluster.health about partitions: of the whole cluster, but for what only the node of
 * a replica knows (health_damage.c).
 *
 *   leaderless        no node is known to lead it; its replicas, and which of them are down or lost
 *   under-replicated  some replica is down, lost, or lacks committed records
 *   lost              a replica that does not run, as its disk was replaced: it has forgotten for
 *                     whom it voted (sp_state_may_run)
 *   refusing          it is led and takes no records all the same: its leader's disk is below the
 *                     reserve, or too few of its replicas have room to store any */
#include "broker/health.h"
#include "broker/methods.h"

#include <stdio.h>

#include "cluster/state_moves.h"
#include "cluster/state_nodes.h"

enum {
    ROWS_MAX = 1000, /* of what is named with reasons: the answer stays small */
    REASON_SIZE = 256,
};

static void pack_partition_name(struct sp_pack *pack,
                                const struct sp_state_topic *topic,
                                const struct sp_state_partition *partition)
{
    sp_pack_text(pack, "topic");
    sp_pack_text(pack, topic->name);
    sp_pack_text(pack, "partition");
    sp_pack_uint(pack, partition->partition);
}

/* An array of the nodes with the replicas of `chosen` (bit i: the i-th). */
static void pack_nodes(struct sp_pack *pack,
                       const char *name,
                       const struct sp_state_partition *partition,
                       uint32_t chosen)
{
    uint32_t count = 0;

    for (unsigned i = 0; i < partition->replica_count; i++) {
        count += (chosen >> i) & 1;
    }
    sp_pack_text(pack, name);
    sp_pack_array(pack, count);
    for (unsigned i = 0; i < partition->replica_count; i++) {
        if (((chosen >> i) & 1) != 0) {
            sp_pack_uint(pack, partition->replicas[i].node_id);
        }
    }
}

static uint32_t leader_of(const struct sp_broker *broker, const struct sp_state_partition *place)
{
    return sp_group_table_leader(broker->options.table, place->group_id, NULL);
}

/* ---- replicas -------------------------------------------------------------------------------- */

/* Place of a replica among all of its partition by rising id, as the group's leader counts. While
 * some are being moved it is a guess: the next look is right. */
static unsigned rank_of(const struct sp_state_partition *partition, unsigned replica)
{
    uint64_t id = partition->replicas[replica].replica_id;
    unsigned rank = 0;

    for (unsigned i = 0; i < partition->replica_count; i++) {
        rank += partition->replicas[i].replica_id < id ? 1 : 0;
    }
    return rank;
}

bool sp_health_replica_lags(const struct sp_state_partition *place,
                            unsigned replica,
                            uint32_t lagging)
{
    return ((lagging >> rank_of(place, replica)) & 1) != 0;
}

bool sp_health_lags_here(const struct sp_broker *broker, const struct sp_state_partition *place)
{
    uint32_t lagging = sp_group_table_lagging(broker->options.table, place->group_id);

    for (unsigned i = 0; i < place->replica_count; i++) {
        if (place->replicas[i].node_id == broker->options.node_id) {
            return sp_health_replica_lags(place, i, lagging);
        }
    }
    return true; /* about to go */
}

/* Bit i: the node of the i-th replica is down. */
static uint32_t down_of(const struct sp_broker *broker, const struct sp_state_partition *place)
{
    uint32_t down = 0;

    for (unsigned i = 0; i < place->replica_count; i++) {
        down |= sp_health_node_alive(broker, place->replicas[i].node_id) ? 0 : 1U << i;
    }
    return down;
}

/* Bit i: the i-th replica was lost with its disk, and does not run. */
static uint32_t lost_of(const struct sp_broker *broker, const struct sp_state_partition *place)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    uint32_t lost = 0;

    for (unsigned i = 0; i < place->replica_count; i++) {
        lost |= sp_state_may_run(state, place, &place->replicas[i]) ? 0 : 1U << i;
    }
    return lost;
}

uint32_t sp_health_missing_of(const struct sp_broker *broker,
                              const struct sp_state_partition *place,
                              uint32_t lagging)
{
    uint32_t missing = down_of(broker, place) | lost_of(broker, place);

    if (missing != 0 &&
        sp_state_move(sp_controller_state(broker->options.controller), place->group_id) != NULL) {
        return missing; /* which of them lag is a guess now, and may name one that lacks nothing */
    }
    for (unsigned i = 0; i < place->replica_count; i++) {
        missing |= sp_health_replica_lags(place, i, lagging) ? 1U << i : 0;
    }
    return missing;
}

/* ---- since when ------------------------------------------------------------------------------ */

/* Since when nobody is known to lead a partition that has no leader: at the earliest since it was
 * made, or since this node began to look. */
static int64_t leaderless_since_ms(const struct sp_broker *broker,
                                   const struct sp_state_topic *topic,
                                   const struct sp_state_partition *place)
{
    struct sp_leader_since since = { .leader_ms = broker->watch.begun_ms };

    (void)sp_leader_table_since(
        sp_group_table_leaders(broker->options.table), place->group_id, &since);
    int64_t wall_ms = sp_health_wall_ms(broker, since.leader_ms);
    return wall_ms > topic->created_ms ? wall_ms : topic->created_ms;
}

/* Since when one of the replicas of `missing` lacks something, or its node is down. Of one that was
 * lost while nobody leads: since nobody does. */
static uint64_t missing_since_ms(const struct sp_broker *broker,
                                 const struct sp_state_partition *place,
                                 uint32_t missing)
{
    uint64_t earliest_ms = sp_loop_now_ms(broker->options.loop);
    struct sp_leader_since since = { .leader_ms = broker->watch.begun_ms };

    (void)sp_leader_table_since(
        sp_group_table_leaders(broker->options.table), place->group_id, &since);
    if (since.lagging_ms != 0) {
        earliest_ms = since.lagging_ms;
    } else if (leader_of(broker, place) == 0 && (missing & lost_of(broker, place)) != 0) {
        earliest_ms = since.leader_ms;
    }
    for (unsigned i = 0; i < place->replica_count; i++) {
        uint32_t node_id = place->replicas[i].node_id;
        if (((missing >> i) & 1) != 0 && !sp_health_node_alive(broker, node_id)) {
            uint64_t down_ms = sp_health_down_ms(broker, node_id);
            earliest_ms = down_ms < earliest_ms ? down_ms : earliest_ms;
        }
    }
    return earliest_ms;
}

/* ---- rows of one partition: how many they packed --------------------------------------------- */

typedef uint32_t (*pack_row)(const struct sp_broker *broker,
                             struct sp_pack *pack,
                             const struct sp_state_topic *topic,
                             const struct sp_state_partition *place);

static uint32_t pack_if_leaderless(const struct sp_broker *broker,
                                   struct sp_pack *pack,
                                   const struct sp_state_topic *topic,
                                   const struct sp_state_partition *place)
{
    if (leader_of(broker, place) != 0) {
        return 0;
    }
    sp_pack_map(pack, 6);
    pack_partition_name(pack, topic, place);
    pack_nodes(pack, "replicas", place, UINT32_MAX);
    pack_nodes(pack, "down", place, down_of(broker, place));
    pack_nodes(pack, "lost", place, lost_of(broker, place));
    sp_pack_text(pack, "since_ms");
    sp_pack_int(pack, leaderless_since_ms(broker, topic, place));
    return 1;
}

static uint32_t pack_if_missing(const struct sp_broker *broker,
                                struct sp_pack *pack,
                                const struct sp_state_topic *topic,
                                const struct sp_state_partition *place)
{
    uint32_t lagging = sp_group_table_lagging(broker->options.table, place->group_id);
    uint32_t missing = sp_health_missing_of(broker, place, lagging);

    if (missing == 0) {
        return 0;
    }
    sp_pack_map(pack, 4);
    pack_partition_name(pack, topic, place);
    pack_nodes(pack, "missing", place, missing);
    sp_health_pack_since(broker, pack, "since_ms", missing_since_ms(broker, place, missing));
    return 1;
}

/* Where an only replica was moving to when its disk was replaced, or NULL: it was not. To a place
 * that was given out later nothing was copied. */
static const struct sp_replica_place *heir_of(const struct sp_state *state,
                                              const struct sp_state_partition *place)
{
    const struct sp_state_move *move = sp_state_move(state, place->group_id);
    uint64_t lost_below = sp_state_member(state, place->replicas[0].node_id).lost_below;

    for (unsigned i = 0; move != NULL && i < move->target_count; i++) {
        uint64_t id = move->target[i].replica_id;
        if (id != place->replicas[0].replica_id && id < lost_below) {
            return &move->target[i];
        }
    }
    return NULL;
}

/* What the other node has got is all that there is. */
static const char *
reason_while_moving(uint64_t group_id, const struct sp_replica_place *heir, char text[REASON_SIZE])
{
    (void)snprintf(text,
                   REASON_SIZE,
                   "its disk was replaced, and it was the only replica; it was moving to node %u, "
                   "which has in replicas/%llu.%llu what was copied before, and cannot go on with "
                   "it by itself (docs/operations.md, Mending by hand)",
                   heir->node_id,
                   (unsigned long long)group_id,
                   (unsigned long long)heir->replica_id);
    return text;
}

/* Enough of its replicas are left to elect a leader, who takes others in. */
static bool may_elect(const struct sp_state *state, const struct sp_state_partition *place)
{
    unsigned count = 0;

    for (unsigned i = 0; i < place->replica_count; i++) {
        const struct sp_replica_place *replica = &place->replicas[i];
        const struct sp_replica_place *now = sp_state_place_on(state, place, replica->node_id);
        count += now->replica_id == replica->replica_id && !sp_state_is_lost(state, replica);
    }
    return count > place->replica_count / 2;
}

static const char *reason_of(const struct sp_state *state,
                             const struct sp_state_partition *place,
                             char text[REASON_SIZE])
{
    const struct sp_replica_place *heir = place->replica_count == 1 ? heir_of(state, place) : NULL;

    if (heir != NULL) {
        return reason_while_moving(place->group_id, heir, text);
    }
    if (may_elect(state, place)) {
        return "its disk was replaced: a new replica takes its place by itself";
    }
    if (sp_state_is_forsaken(state, place) || sp_state_heir(state, place) != NULL) {
        return "its disk was replaced, and nothing is left of the partition: it begins anew by "
               "itself, empty";
    }
    return place->replica_count == 1
               ? "its disk was replaced, and it was the only replica: nothing is left to fill a "
                 "new one from"
               : "its disk was replaced, and the others are no majority, which could take a new "
                 "one in: a person has to decide (docs/operations.md, Forced membership)";
}

/* Those in whose place the node runs, or shall run, a newer one are `refilling`. */
static uint32_t pack_lost_ones(const struct sp_broker *broker,
                               struct sp_pack *pack,
                               const struct sp_state_topic *topic,
                               const struct sp_state_partition *place)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    uint32_t lost = lost_of(broker, place);
    char text[REASON_SIZE];
    uint32_t count = 0;

    for (unsigned i = 0; lost != 0 && i < place->replica_count; i++) {
        const struct sp_replica_place *replica = &place->replicas[i];
        const struct sp_replica_place *now = sp_state_place_on(state, place, replica->node_id);
        if (((lost >> i) & 1) == 0 || now == NULL || now->replica_id != replica->replica_id) {
            continue;
        }
        sp_pack_map(pack, 5);
        pack_partition_name(pack, topic, place);
        sp_pack_text(pack, "node");
        sp_pack_uint(pack, replica->node_id);
        sp_pack_text(pack, "replica");
        sp_pack_uint(pack, replica->replica_id);
        sp_pack_text(pack, "reason");
        sp_pack_text(pack, reason_of(state, place, text));
        count += 1;
    }
    return count;
}

/* ---- partitions that refuse records ---------------------------------------------------------- */

/* What the node says of its disk, and since when: 0 is enough. */
static uint32_t condition_of(const struct sp_broker *broker, uint32_t node_id, uint64_t *out_ms)
{
    struct sp_transport_look look = { .condition = 0 };

    if (node_id != broker->options.node_id) {
        (void)sp_transport_look(broker->options.transport, node_id, &look);
        *out_ms = look.condition_ms;
        return look.condition;
    }
    *out_ms =
        broker->watch.space_ms != 0 ? broker->watch.space_ms : sp_loop_now_ms(broker->options.loop);
    switch (sp_store_space(broker->options.store)) {
    case SP_SPACE_ENOUGH:
        return 0;
    case SP_SPACE_LOW:
        return SP_PEER_NO_SPACE;
    case SP_SPACE_LAST:
        return SP_PEER_NO_SPACE | SP_PEER_NO_RECORDS;
    }
    return 0;
}

/* Bit i: the disk of the i-th replica is so full that the partition takes no records. It is the
 * leader's, which needs its reserve, or that of followers, when those that store anything at all
 * are no majority. */
static uint32_t full_of(const struct sp_broker *broker,
                        const struct sp_state_partition *place,
                        uint32_t leader,
                        uint64_t *out_since_ms)
{
    uint32_t store_nothing = 0;
    uint32_t led = 0;
    unsigned storing = 0;
    uint64_t last_ms = 0;

    for (unsigned i = 0; i < place->replica_count; i++) {
        uint64_t since_ms = 0;
        uint32_t condition = condition_of(broker, place->replicas[i].node_id, &since_ms);
        if (place->replicas[i].node_id == leader && condition != 0) {
            led = 1U << i;
            *out_since_ms = since_ms;
        }
        if ((condition & SP_PEER_NO_RECORDS) != 0) {
            store_nothing |= 1U << i;
            last_ms = since_ms > last_ms ? since_ms : last_ms;
        } else {
            storing += sp_health_node_alive(broker, place->replicas[i].node_id) ? 1 : 0;
        }
    }
    if (led != 0) {
        return led;
    }
    *out_since_ms = last_ms;
    return storing > place->replica_count / 2 ? 0 : store_nothing;
}

/* The cluster's own topics go on within the reserve. */
static uint32_t pack_if_refusing(const struct sp_broker *broker,
                                 struct sp_pack *pack,
                                 const struct sp_state_topic *topic,
                                 const struct sp_state_partition *place)
{
    uint32_t leader = leader_of(broker, place);
    uint64_t since_ms = 0;
    bool own = topic == sp_state_topic(sp_controller_state(broker->options.controller),
                                       SP_STATE_GROUPS_TOPIC);
    uint32_t full = own || leader == 0 ? 0 : full_of(broker, place, leader, &since_ms);

    if (full == 0) {
        return 0;
    }
    sp_pack_map(pack, 5);
    pack_partition_name(pack, topic, place);
    sp_pack_text(pack, "leader");
    sp_pack_uint(pack, leader);
    pack_nodes(pack, "full", place, full);
    sp_health_pack_since(broker, pack, "since_ms", since_ms);
    return 1;
}

/* ---- sections -------------------------------------------------------------------------------- */

/* The rows of all partitions, until there are `rows_max`. */
static uint32_t
pack_all(const struct sp_broker *broker, struct sp_pack *pack, pack_row row, uint32_t rows_max)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    const struct sp_state_topic *topic;
    struct sp_map_cursor cursor = { 0 };
    uint32_t count = 0;

    while ((topic = sp_state_topic_next(state, &cursor)) != NULL) {
        for (uint32_t i = 0; i < topic->partition_count && count < rows_max; i++) {
            count += row(broker, pack, topic, &topic->partitions[i]);
        }
    }
    return count;
}

uint32_t sp_health_pack_leaderless(const struct sp_broker *broker, struct sp_pack *pack)
{
    return pack_all(broker, pack, pack_if_leaderless, UINT32_MAX);
}

uint32_t sp_health_pack_under_replicated(const struct sp_broker *broker, struct sp_pack *pack)
{
    return pack_all(broker, pack, pack_if_missing, UINT32_MAX);
}

uint32_t sp_health_pack_lost(const struct sp_broker *broker, struct sp_pack *pack)
{
    return pack_all(broker, pack, pack_lost_ones, ROWS_MAX);
}

uint32_t sp_health_pack_refusing(const struct sp_broker *broker, struct sp_pack *pack)
{
    return pack_all(broker, pack, pack_if_refusing, ROWS_MAX);
}
