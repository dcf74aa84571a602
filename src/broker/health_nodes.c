/* The part of cluster.health about nodes.
 *
 *   down        a registered node without a link to this one, what becomes of its replicas, and
 *               why it is refused if it runs
 *   refusals    nodes that do not want to talk with this one, and why
 *   doubles     processes with the id of a node whose directory is another one: not let in, and why
 *   draining    on purpose: how many replicas are left there, and how many no other node can take
 *   conditions  a node that is slow, or whose disk is full, as it says itself
 *   voters      of the controller: who votes, who of them is down, how many there should be
 *   features    the feature level, and the nodes whose build holds it back */
#include "broker/health.h"
#include "broker/methods.h"

#include "cluster/machine_of.h"
#include "cluster/state_moves.h"
#include "cluster/state_nodes.h"

static const char *rebuild_name(enum sp_rebuild rebuild)
{
    static const char *const names[] = { "off", "unsupported", "no_controller", "waiting", "due" };

    return names[rebuild];
}

/* ---- places ---------------------------------------------------------------------------------- */

/* Nodes that may be given replicas now. */
struct takers {
    uint32_t node_ids[SP_NODES_MAX];
    uint32_t machines[SP_NODES_MAX];
    unsigned count;
};

static struct takers find_takers(const struct sp_broker *broker)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    const struct sp_state_node *node;
    struct sp_map_cursor cursor = { 0 };
    struct takers takers = { .count = 0 };

    while ((node = sp_state_node_next(state, &cursor)) != NULL && takers.count < SP_NODES_MAX) {
        if (sp_health_node_alive(broker, node->node_id) &&
            !sp_state_member(state, node->node_id).draining) {
            takers.machines[takers.count] = sp_machine_of(node);
            takers.node_ids[takers.count++] = node->node_id;
        }
    }
    return takers;
}

static bool has_node(const struct sp_replica_place *places, unsigned place_count, uint32_t node_id)
{
    for (unsigned i = 0; i < place_count; i++) {
        if (places[i].node_id == node_id) {
            return true;
        }
    }
    return false;
}

/* The machines of a partition's replicas, but for that on `node_id`. */
static struct sp_machines machines_of(const struct sp_state *state,
                                      const struct sp_replica_place *places,
                                      unsigned place_count,
                                      uint32_t node_id)
{
    struct sp_machines machines = { .count = 0 };

    for (unsigned i = 0; i < place_count; i++) {
        if (places[i].node_id != node_id) {
            (void)sp_machines_add(&machines, sp_machine_of_id(state, places[i].node_id));
        }
    }
    return machines;
}

/* True if the node keeps a replica since no other node can take it: all are on machines of other
 * replicas. */
static bool
is_bound(const struct takers *takers, const struct sp_machines *others, uint32_t node_id)
{
    for (unsigned i = 0; i < takers->count; i++) {
        if (takers->node_ids[i] != node_id && !sp_machines_has(others, takers->machines[i])) {
            return false;
        }
    }
    return true;
}

/* How many replicas of the node no other node can take. */
static uint32_t count_bound(const struct sp_broker *broker, uint32_t node_id)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    struct takers takers = find_takers(broker);
    const struct sp_state_topic *topic;
    struct sp_map_cursor cursor = { 0 };
    uint32_t count = 0;

    while ((topic = sp_state_topic_next(state, &cursor)) != NULL) {
        for (uint32_t i = 0; i < topic->partition_count; i++) {
            const struct sp_state_partition *place = &topic->partitions[i];
            const struct sp_state_move *move = sp_state_move(state, place->group_id);
            const struct sp_replica_place *places = move != NULL ? move->target : place->replicas;
            unsigned place_count = move != NULL ? move->target_count : place->replica_count;
            if (has_node(places, place_count, node_id)) {
                struct sp_machines others = machines_of(state, places, place_count, node_id);
                count += is_bound(&takers, &others, node_id);
            }
        }
    }
    return count;
}

static void pack_replicas(const struct sp_broker *broker, struct sp_pack *pack, uint32_t node_id)
{
    uint32_t replicas =
        sp_state_replicas_on(sp_controller_state(broker->options.controller), node_id);

    sp_pack_text(pack, "replicas");
    sp_pack_uint(pack, replicas);
    sp_pack_text(pack, "without_place");
    sp_pack_uint(pack, replicas == 0 ? 0 : count_bound(broker, node_id));
}

/* ---- down, draining -------------------------------------------------------------------------- */

static void pack_node_id(struct sp_pack *pack, uint32_t node_id)
{
    sp_pack_text(pack, "node");
    sp_pack_uint(pack, node_id);
}

/* Why a node that is down is not talked to although it runs, and who says so. */
static void pack_refusal(const struct sp_broker *broker, struct sp_pack *pack, uint32_t node_id)
{
    struct sp_transport_look look = { .refusal = NULL };
    bool known = sp_transport_look(broker->options.transport, node_id, &look);
    bool refused = known && (look.up || look.refusal != NULL);
    uint32_t by = look.refuses ? node_id : broker->options.node_id;

    sp_pack_text(pack, "refused");
    sp_pack_text(pack,
                 look.up
                     ? "it has another data directory than the cluster knows, and is not let in "
                       "yet: its trace says why"
                 : refused ? look.refusal
                           : "");
    sp_pack_text(pack, "refused_by");
    sp_pack_int(pack, refused ? (int64_t)by : -1);
    sp_pack_text(pack, "not_found_at");
    sp_pack_text(pack, look.not_found_at == NULL ? "" : look.not_found_at);
}

uint32_t sp_health_pack_down(const struct sp_broker *broker, struct sp_pack *pack)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    const struct sp_state_node *node;
    struct sp_map_cursor cursor = { 0 };
    uint32_t count = 0;

    while ((node = sp_state_node_next(state, &cursor)) != NULL) {
        if (sp_health_node_alive(broker, node->node_id)) {
            continue;
        }
        uint64_t since_ms = sp_health_down_ms(broker, node->node_id);
        uint64_t rest_ms = 0;
        enum sp_rebuild rebuild =
            sp_controller_rebuild(broker->options.controller, node->node_id, since_ms, &rest_ms);
        bool counted = rebuild == SP_REBUILD_WAITING || rebuild == SP_REBUILD_DUE;
        sp_pack_map(pack, 9);
        pack_node_id(pack, node->node_id);
        sp_health_pack_since(broker, pack, "since_ms", since_ms);
        pack_replicas(broker, pack, node->node_id);
        sp_pack_text(pack, "rebuild");
        sp_pack_text(pack, rebuild_name(rebuild));
        sp_pack_text(pack, "rebuild_in_ms");
        sp_pack_int(pack, counted ? (int64_t)rest_ms : -1);
        pack_refusal(broker, pack, node->node_id);
        count += 1;
    }
    return count;
}

/* Also before this node has heard from a controller, which it may not, as it is refused. */
uint32_t sp_health_pack_refusals(const struct sp_broker *broker, struct sp_pack *pack)
{
    uint32_t count = 0;

    for (uint32_t node_id = 1; node_id <= SP_NODE_ID_MAX; node_id++) {
        struct sp_transport_look look;
        if (!sp_transport_look(broker->options.transport, node_id, &look) || !look.refuses) {
            continue;
        }
        sp_pack_map(pack, 2);
        pack_node_id(pack, node_id);
        sp_pack_text(pack, "reason");
        sp_pack_text(pack, look.refusal);
        count += 1;
    }
    return count;
}

uint32_t sp_health_pack_doubles(const struct sp_broker *broker, struct sp_pack *pack)
{
    const char *reason = NULL;
    uint32_t node_id = 0;
    uint32_t count = 0;

    while ((reason = sp_transport_double(broker->options.transport, count, &node_id)) != NULL) {
        sp_pack_map(pack, 2);
        pack_node_id(pack, node_id);
        sp_pack_text(pack, "reason");
        sp_pack_text(pack, reason);
        count += 1;
    }
    return count;
}

uint32_t sp_health_pack_draining(const struct sp_broker *broker, struct sp_pack *pack)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    uint64_t now_ms = sp_loop_now_ms(broker->options.loop);
    const struct sp_state_node *node;
    struct sp_map_cursor cursor = { 0 };
    uint32_t count = 0;

    while ((node = sp_state_node_next(state, &cursor)) != NULL) {
        struct sp_state_member member = sp_state_member(state, node->node_id);
        uint64_t since_ms = sp_health_draining_ms(broker, node->node_id);
        if (!member.draining) {
            continue;
        }
        sp_pack_map(pack, 5);
        pack_node_id(pack, node->node_id);
        sp_health_pack_since(broker, pack, "since_ms", since_ms != 0 ? since_ms : now_ms);
        pack_replicas(broker, pack, node->node_id);
        sp_pack_text(pack, "removing");
        sp_pack_bool(pack, member.removing);
        count += 1;
    }
    return count;
}

/* ---- conditions ------------------------------------------------------------------------------ */

static void pack_condition(const struct sp_broker *broker,
                           struct sp_pack *pack,
                           uint32_t node_id,
                           const char *condition,
                           uint64_t since_ms)
{
    sp_pack_map(pack, 3);
    pack_node_id(pack, node_id);
    sp_pack_text(pack, "condition");
    sp_pack_text(pack, condition);
    sp_health_pack_since(broker, pack, "since_ms", since_ms);
}

static uint32_t pack_own_condition(const struct sp_broker *broker, struct sp_pack *pack)
{
    enum sp_space space = sp_store_space(broker->options.store);
    uint64_t since_ms = broker->watch.space_ms;

    if (space == SP_SPACE_ENOUGH) {
        return 0;
    }
    pack_condition(broker,
                   pack,
                   broker->options.node_id,
                   space == SP_SPACE_LAST ? "no_records" : "no_space",
                   since_ms != 0 ? since_ms : sp_loop_now_ms(broker->options.loop));
    return 1;
}

uint32_t sp_health_pack_conditions(const struct sp_broker *broker, struct sp_pack *pack)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    const struct sp_state_node *node;
    struct sp_map_cursor cursor = { 0 };
    uint32_t count = pack_own_condition(broker, pack);

    while ((node = sp_state_node_next(state, &cursor)) != NULL) {
        struct sp_transport_look look;
        if (!sp_transport_look(broker->options.transport, node->node_id, &look)) {
            continue;
        }
        if (look.slow) {
            pack_condition(broker, pack, node->node_id, "slow", look.heard_ms);
            count += 1;
        }
        if (look.condition != 0) {
            bool none = (look.condition & SP_PEER_NO_RECORDS) != 0;
            pack_condition(
                broker, pack, node->node_id, none ? "no_records" : "no_space", look.condition_ms);
            count += 1;
        }
    }
    return count;
}

/* ---- voters ---------------------------------------------------------------------------------- */

struct voters {
    uint32_t node_ids[SP_NODES_MAX];
    unsigned count;
    unsigned down_count;
    unsigned eligible; /* nodes that may be voters, down or not */
    uint64_t since_ms; /* the longest that one is down; 0: none is */
};

/* Once, and in rising order. */
static void insert(const struct sp_broker *broker, struct voters *voters, uint32_t node_id)
{
    unsigned place = voters->count;

    for (unsigned i = 0; i < voters->count; i++) {
        if (voters->node_ids[i] == node_id) {
            return;
        }
    }
    if (voters->count == SP_NODES_MAX) {
        return;
    }
    while (place > 0 && voters->node_ids[place - 1] > node_id) {
        voters->node_ids[place] = voters->node_ids[place - 1];
        place -= 1;
    }
    voters->node_ids[place] = node_id;
    voters->count += 1;
    if (!sp_health_node_alive(broker, node_id)) {
        uint64_t down_ms = sp_health_down_ms(broker, node_id);
        voters->down_count += 1;
        voters->since_ms =
            voters->since_ms == 0 || down_ms < voters->since_ms ? down_ms : voters->since_ms;
    }
}

static bool is_voter(const struct sp_broker *broker, uint32_t node_id)
{
    const char *role = sp_controller_role_of(broker->options.controller, node_id);

    return role[0] == 'v' || role[0] == 'l'; /* "voter", "leader" */
}

/* Those that the state knows, and those that the membership of group 0 alone does: a node that has
 * not heard from a leader since its start has no state yet, and these are who must be started. */
static struct voters find_voters(const struct sp_broker *broker)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    const struct sp_state_node *node;
    struct sp_map_cursor cursor = { 0 };
    struct voters voters = { .count = 0 };
    struct sp_machines eligible = { .count = 0 };
    uint32_t node_ids[SP_NODES_MAX];

    while ((node = sp_state_node_next(state, &cursor)) != NULL) {
        if (!sp_state_member(state, node->node_id).draining) {
            (void)sp_machines_add(&eligible, sp_machine_of(node));
        }
        if (is_voter(broker, node->node_id)) {
            insert(broker, &voters, node->node_id);
        }
    }
    voters.eligible = eligible.count;
    unsigned count = sp_controller_voters(broker->options.controller, node_ids, SP_NODES_MAX);
    for (unsigned i = 0; i < count; i++) {
        insert(broker, &voters, node_ids[i]);
    }
    return voters;
}

void sp_health_pack_voters(const struct sp_broker *broker, struct sp_pack *pack)
{
    struct voters voters = find_voters(broker);
    uint64_t since_ms = voters.since_ms != 0 ? voters.since_ms : broker->watch.voter_ms;

    sp_pack_map(pack, 4);
    sp_pack_text(pack, "nodes");
    sp_pack_array(pack, voters.count);
    for (unsigned i = 0; i < voters.count; i++) {
        sp_pack_uint(pack, voters.node_ids[i]);
    }
    sp_pack_text(pack, "down");
    sp_pack_array(pack, voters.down_count);
    for (unsigned i = 0; i < voters.count; i++) {
        if (!sp_health_node_alive(broker, voters.node_ids[i])) {
            sp_pack_uint(pack, voters.node_ids[i]);
        }
    }
    sp_pack_text(pack, "wanted");
    sp_pack_uint(pack, sp_controller_voters_for(voters.eligible));
    sp_health_pack_since(broker, pack, "since_ms", since_ms);
}

/* ---- features -------------------------------------------------------------------------------- */

struct sp_health_features sp_health_features(const struct sp_broker *broker)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    const struct sp_state_node *node;
    struct sp_map_cursor cursor = { 0 };
    struct sp_health_features features = { .level = sp_state_feature_level(state),
                                           .held = sp_state_feature_hold(state) };

    while ((node = sp_state_node_next(state, &cursor)) != NULL) {
        uint32_t most = sp_feature_level_said(node->features.most);
        features.newest = most > features.newest ? most : features.newest;
    }
    return features;
}

static uint32_t count_behind(const struct sp_state *state, uint32_t newest)
{
    const struct sp_state_node *node;
    struct sp_map_cursor cursor = { 0 };
    uint32_t count = 0;

    while ((node = sp_state_node_next(state, &cursor)) != NULL) {
        count += sp_feature_level_said(node->features.most) < newest;
    }
    return count;
}

void sp_health_pack_features(const struct sp_broker *broker, struct sp_pack *pack)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    struct sp_health_features features = sp_health_features(broker);
    bool waits = features.newest > features.level;
    uint32_t count = waits ? count_behind(state, features.newest) : 0;
    const struct sp_state_node *node;
    struct sp_map_cursor cursor = { 0 };

    sp_pack_map(pack, 5);
    sp_pack_text(pack, "level");
    sp_pack_uint(pack, features.level);
    sp_pack_text(pack, "newest");
    sp_pack_uint(pack, features.newest);
    sp_pack_text(pack, "held");
    sp_pack_bool(pack, features.held);
    sp_pack_text(pack, "behind");
    sp_pack_array(pack, count);
    while (count > 0 && (node = sp_state_node_next(state, &cursor)) != NULL) {
        if (sp_feature_level_said(node->features.most) < features.newest) {
            sp_pack_uint(pack, node->node_id);
        }
    }
    sp_health_pack_since(broker, pack, "since_ms", waits ? broker->watch.features_ms : 0);
}
