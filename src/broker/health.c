/* cluster.health: what is wrong now, as this node sees it.
 *
 *   down              a registered node without a link to this one
 *   leaderless        no node is known to lead the partition
 *   under-replicated  its leader says which members lack committed records (or a member is down)
 *   lost              a replica does not run, as its disk was replaced
 *   refusing          a partition takes no records, as disks are full: these four are told by
 *                     health_partitions.c
 *   refilling         a new replica stands in for a damaged one and is being filled
 *   damaged           replicas of this node that stay closed, with the reason: health_damage.c
 *   stalled           a consumer group, coordinated here, with members that do not progress; no
 *                     fault of the cluster, which stays healthy
 *
 * No faults either: nodes that drain, are slow or without space, the controller's voters, the
 * feature level (health_nodes.c); moves and leaders (health_moves.c). Each comes with the time
 * since when this node has seen it (health_watch.c). */
#include "broker/health.h"

#include "broker/coordinator.h"
#include "broker/methods.h"

#include "base/buf.h"
#include "cluster/state_moves.h"
#include "spate/error.h"

bool sp_health_node_alive(const struct sp_broker *broker, uint32_t node_id)
{
    return sp_controller_sees(broker->options.controller, node_id);
}

/* ---- since when ------------------------------------------------------------------------------ */

int64_t sp_health_wall_ms(const struct sp_broker *broker, uint64_t moment_ms)
{
    uint64_t now_ms = sp_loop_now_ms(broker->options.loop);

    return sp_loop_wall_ms(broker->options.loop) - (int64_t)(now_ms - moment_ms);
}

void sp_health_pack_since(const struct sp_broker *broker,
                          struct sp_pack *pack,
                          const char *name,
                          uint64_t moment_ms)
{
    sp_pack_text(pack, name);
    sp_pack_int(pack, moment_ms == 0 ? -1 : sp_health_wall_ms(broker, moment_ms));
}

uint64_t sp_health_down_ms(const struct sp_broker *broker, uint32_t node_id)
{
    struct sp_transport_look look;

    return sp_transport_look(broker->options.transport, node_id, &look)
               ? look.link_ms
               : sp_loop_now_ms(broker->options.loop);
}

/* ---- numbers --------------------------------------------------------------------------------- */

static void look_at_nodes(const struct sp_broker *broker, struct sp_health *health)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    const struct sp_state_node *node;
    struct sp_map_cursor cursor = { 0 };

    while ((node = sp_state_node_next(state, &cursor)) != NULL) {
        health->nodes += 1;
        health->nodes_down += !sp_health_node_alive(broker, node->node_id);
    }
}

/* True if the replica runs and has not yet all that its leader says is committed. */
static bool
is_behind(const struct sp_broker *broker, const struct sp_state_partition *place, uint32_t lagging)
{
    const struct sp_raft_group *group = sp_group_table_get(broker->options.table, place->group_id);

    if (group == NULL) {
        return false;
    }
    for (unsigned i = 0; i < place->replica_count; i++) {
        if (place->replicas[i].node_id == broker->options.node_id &&
            sp_health_replica_lags(place, i, lagging)) {
            return true;
        }
    }
    return !sp_raft_group_is_confirmed(group);
}

static void look_at_partitions(const struct sp_broker *broker, struct sp_health *health)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    const struct sp_state_topic *topic;
    struct sp_map_cursor cursor = { 0 };

    while ((topic = sp_state_topic_next(state, &cursor)) != NULL) {
        health->topics += 1;
        health->partitions += topic->partition_count;
        for (uint32_t i = 0; i < topic->partition_count; i++) {
            const struct sp_state_partition *place = &topic->partitions[i];
            uint32_t leader = sp_group_table_leader(broker->options.table, place->group_id, NULL);

            uint32_t lagging = sp_group_table_lagging(broker->options.table, place->group_id);

            health->led += leader == broker->options.node_id;
            health->leaderless += leader == 0;
            health->under_replicated += sp_health_missing_of(broker, place, lagging) != 0;
            health->behind += is_behind(broker, place, lagging);
        }
    }
}

/* What needs no look at every partition. */
static void look_at_node(const struct sp_broker *broker, struct sp_health *health)
{
    const struct sp_controller *controller = broker->options.controller;

    health->confirmed = sp_controller_is_confirmed(controller);
    health->controller = health->confirmed && sp_controller_leader(controller) != 0;
    health->groups = sp_state_topic(sp_controller_state(controller), SP_STATE_GROUPS_TOPIC) != NULL;
    health->opening = broker->reconcile == NULL ? 0 : sp_reconcile_missing_count(broker->reconcile);
}

void sp_health_look(const struct sp_broker *broker, struct sp_health *out_health)
{
    *out_health = (struct sp_health){ .nodes = 0 };
    look_at_node(broker, out_health);
    look_at_nodes(broker, out_health);
    look_at_partitions(broker, out_health);
}

/* ---- the answer ------------------------------------------------------------------------------ */

/* One section of the answer: packs the entries into `out` and counts them. */
typedef uint32_t (*section)(const struct sp_broker *broker, struct sp_pack *pack);

static uint32_t pack_nodes_down(const struct sp_broker *broker, struct sp_pack *pack)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    const struct sp_state_node *node;
    struct sp_map_cursor cursor = { 0 };
    uint32_t count = 0;

    while ((node = sp_state_node_next(state, &cursor)) != NULL) {
        if (!sp_health_node_alive(broker, node->node_id)) {
            sp_pack_uint(pack, node->node_id);
            count += 1;
        }
    }
    return count;
}

#define STALLED_MAX 1000 /* groups named: the answer stays small */

static uint32_t pack_stalled(const struct sp_broker *broker, struct sp_pack *pack)
{
    struct sp_map_cursor cursor = { 0 };
    const struct sp_coordinator *coordinator;
    uint32_t count = 0;

    while ((coordinator = sp_map_next(broker->coordinators, &cursor)) != NULL) {
        struct sp_map_cursor inside = { 0 };
        const struct sp_consumer_group *group;
        while (coordinator->leading && count < STALLED_MAX &&
               (group = sp_consumer_groups_next(coordinator->groups, &inside)) != NULL) {
            if (group->stalled_count > 0) {
                sp_pack_map(pack, 2);
                sp_pack_text(pack, "group");
                sp_pack_text(pack, group->name);
                sp_pack_text(pack, "partitions");
                sp_pack_uint(pack, group->stalled_count);
                count += 1;
            }
        }
    }
    return count;
}

/* A counted array: its entries are packed aside, as their number is known only afterwards. */
static uint32_t pack_section(const struct sp_broker *broker,
                             struct sp_pack *pack,
                             const char *name,
                             section entries)
{
    struct sp_buf aside;
    struct sp_pack inner;
    uint32_t count;

    sp_buf_init(&aside, SP_MESSAGE_BYTES_MAX);
    sp_pack_init(&inner, &aside);
    count = entries(broker, &inner);
    if (sp_pack_status(&inner) != 0) {
        sp_pack_fail(pack, sp_pack_status(&inner));
    }
    sp_pack_text(pack, name);
    sp_pack_array(pack, count);
    if (count > 0) {
        sp_pack_raw(pack, sp_bytes_of(aside.bytes, aside.size));
    }
    sp_buf_deinit(&aside);
    return count;
}

/* Group 0 has no leader that this node knows, or this node has not caught up with it. */
static uint64_t controller_since_ms(const struct sp_broker *broker, const struct sp_health *health)
{
    struct sp_leader_since since = { 0 };

    if (health->controller) {
        return 0;
    }
    (void)sp_leader_table_since(
        sp_group_table_leaders(broker->options.table), SP_CONTROLLER_GROUP_ID, &since);
    return health->confirmed && since.leader_ms != 0 ? since.leader_ms : broker->watch.begun_ms;
}

static uint64_t opening_since_ms(const struct sp_broker *broker)
{
    uint64_t since_ms = broker->watch.opening_ms;

    return since_ms != 0 ? since_ms : sp_loop_now_ms(broker->options.loop);
}

/* What needs an act of nobody, or not soon: the cluster is healthy all the same. */
static void pack_notes(const struct sp_broker *broker, struct sp_pack *pack)
{
    (void)pack_section(broker, pack, "stalled", pack_stalled);
    (void)pack_section(broker, pack, "draining", sp_health_pack_draining);
    (void)pack_section(broker, pack, "conditions", sp_health_pack_conditions);
    (void)pack_section(broker, pack, "stuck", sp_health_pack_stuck);
    (void)pack_section(broker, pack, "misplaced", sp_health_pack_misplaced);
    sp_pack_text(pack, "moves");
    sp_pack_uint(pack, sp_state_move_count(sp_controller_state(broker->options.controller)));
    sp_pack_text(pack, "voters");
    sp_health_pack_voters(broker, pack);
    sp_pack_text(pack, "features");
    sp_health_pack_features(broker, pack);
}

void sp_health_pack(const struct sp_broker *broker, struct sp_pack *pack)
{
    struct sp_health health = { .nodes = 0 };
    uint32_t faults;

    look_at_node(broker, &health);
    faults = (uint32_t)!health.controller + (uint32_t)!health.groups + health.opening;
    sp_pack_map(pack, 28);
    sp_pack_text(pack, "now_ms");
    sp_pack_int(pack, sp_loop_wall_ms(broker->options.loop));
    sp_pack_text(pack, "node");
    sp_pack_uint(pack, broker->options.node_id);
    faults += pack_section(broker, pack, "nodes_down", pack_nodes_down);
    (void)pack_section(broker, pack, "down", sp_health_pack_down); /* the same with more */
    faults += pack_section(broker, pack, "refusals", sp_health_pack_refusals);
    faults += pack_section(broker, pack, "doubles", sp_health_pack_doubles);
    faults += pack_section(broker, pack, "leaderless", sp_health_pack_leaderless);
    faults += pack_section(broker, pack, "under_replicated", sp_health_pack_under_replicated);
    faults += pack_section(broker, pack, "lost", sp_health_pack_lost);
    faults += pack_section(broker, pack, "refusing", sp_health_pack_refusing);
    faults += pack_section(broker, pack, "refilling", sp_health_pack_refilling);
    faults += pack_section(broker, pack, "damaged", sp_health_pack_damaged);
    pack_notes(broker, pack);
    sp_pack_text(pack, "controller");
    sp_pack_bool(pack, health.controller);
    sp_health_pack_since(broker, pack, "controller_since_ms", controller_since_ms(broker, &health));
    sp_pack_text(pack, "current");
    sp_pack_bool(pack, sp_controller_follows(broker->options.controller));
    sp_pack_text(pack, "joining");
    sp_pack_text(pack, broker->join == NULL ? "" : sp_join_waits(broker->join));
    sp_pack_text(pack, "groups");
    sp_pack_bool(pack, health.groups);
    sp_pack_text(pack, "replicas_opening");
    sp_pack_uint(pack, health.opening);
    sp_health_pack_since(
        broker, pack, "opening_since_ms", health.opening == 0 ? 0 : opening_since_ms(broker));
    sp_pack_text(pack, "healthy");
    sp_pack_bool(pack, faults == 0);
}

void sp_method_cluster_health(struct sp_broker *broker,
                              struct sp_request request,
                              const struct sp_message *message)
{
    struct sp_buf buf;
    struct sp_pack pack;

    (void)message; /* no fields */
    sp_request_begin(&request, &buf, &pack);
    sp_health_pack(broker, &pack);
    sp_request_finish(&request, &buf, &pack, NULL, 0);
}
