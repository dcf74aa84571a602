/* Nodes and moves: who is a member of the cluster, which partitions change their replicas. */
#include "broker/health.h"
#include "broker/methods.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "cluster/machine_of.h"
#include "cluster/mover.h"
#include "spate/error.h"

struct change {
    struct sp_proposal proposal;
    struct sp_request request;
};

static void on_proposed(struct sp_proposal *proposal, int status, const char *text)
{
    struct change *change = SP_CONTAINER_OF(proposal, struct change, proposal);

    if (status == 0 || status == SPATE_ERR_EXISTS) { /* asked for twice is fine */
        sp_request_ok(&change->request);
    } else {
        sp_request_fail(&change->request, status, text);
    }
    sp_mem_free(change);
}

/* Takes the request; it is answered when the change is made. */
static void propose(struct sp_broker *broker,
                    struct sp_request *request,
                    const struct sp_membership_change *membership)
{
    struct change *change = sp_mem_calloc(1, sizeof *change);

    if (change == NULL) {
        sp_request_fail(request, SPATE_ERR_NOMEM, NULL);
        return;
    }
    change->request = *request;
    change->proposal = (struct sp_proposal){ .kind = SP_PROPOSAL_MEMBERSHIP, .cb = on_proposed };
    change->proposal.membership = *membership;
    sp_controller_propose(broker->options.controller, &change->proposal);
}

/* ---- partition.move -------------------------------------------------------------------------- */

static int read_replicas(struct sp_bytes replicas,
                         struct sp_membership_change *change,
                         char *text,
                         size_t size)
{
    struct sp_cursor cursor = sp_cursor_of(replicas);
    uint32_t count = sp_cursor_array(&cursor);

    if (sp_cursor_status(&cursor) != 0 || count == 0 || count > SP_REPLICAS_MAX) {
        (void)snprintf(text,
                       size,
                       "partition.move: replicas must be an array of 1 to %d node ids",
                       SP_REPLICAS_MAX);
        return SPATE_ERR_INVALID;
    }
    for (uint32_t i = 0; i < count; i++) {
        change->wishes[i].node_id = (uint32_t)sp_cursor_uint(&cursor, SP_NODE_ID_MAX);
    }
    change->count = count;
    if (sp_cursor_finish(&cursor) != 0) {
        (void)snprintf(text, size, "partition.move: replicas must hold node ids");
        return SPATE_ERR_INVALID;
    }
    return 0;
}

/* Every kind of topic may be moved, the cluster's own as well. */
void sp_method_partition_move(struct sp_broker *broker,
                              struct sp_request request,
                              const struct sp_message *message)
{
    struct sp_membership_change change = { .kind = SP_MEMBERSHIP_MOVE };
    const struct sp_state_topic *topic = NULL;
    struct sp_partition_move_request asked;
    struct sp_api_error error;
    char name[SP_TOPIC_NAME_SIZE_MAX + 1] = "";
    int rv = sp_partition_move_request_decode(&message->params, &asked, &error);

    if (rv == 0) {
        rv = read_replicas(asked.replicas, &change, error.text, sizeof error.text);
    }
    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
        return;
    }
    if (sp_broker_copy_text(asked.topic, name, sizeof name)) {
        topic = sp_state_topic(sp_controller_state(broker->options.controller), name);
    }
    if (topic == NULL) {
        sp_broker_unknown_topic(broker, &request, name);
        return;
    }
    change.topic_id = topic->topic_id;
    change.partition = (uint32_t)asked.partition;
    propose(broker, &request, &change);
}

/* ---- cluster.moves --------------------------------------------------------------------------- */

static void pack_places(struct sp_pack *pack, const struct sp_replica_place *places, unsigned count)
{
    sp_pack_array(pack, count);
    for (unsigned i = 0; i < count; i++) {
        sp_pack_uint(pack, places[i].node_id);
    }
}

/* What only the leader of the group knows; nil elsewhere. */
static void pack_progress(const struct sp_broker *broker,
                          struct sp_pack *pack,
                          const struct sp_state_move *move)
{
    struct sp_raft_move_progress progress = { 0 };
    bool known = broker->mover != NULL && sp_mover_progress(broker->mover, move, &progress) == 0;

    sp_pack_text(pack, "step");
    sp_pack_text(pack, known ? sp_raft_move_step_name(progress.step) : NULL);
    sp_pack_text(pack, "node");
    if (known && progress.node_id != 0) {
        sp_pack_uint(pack, progress.node_id);
    } else {
        sp_pack_nil(pack);
    }
    sp_pack_text(pack, "stored");
    sp_pack_uint(pack, progress.stored_index);
    sp_pack_text(pack, "goal");
    sp_pack_uint(pack, progress.goal_index);
}

void sp_method_cluster_moves(struct sp_broker *broker,
                             struct sp_request request,
                             const struct sp_message *message)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    const struct sp_state_move *move = NULL;
    struct sp_map_cursor cursor = { 0 };
    struct sp_buf buf;
    struct sp_pack pack;

    (void)message; /* no fields */
    sp_request_begin(&request, &buf, &pack);
    sp_pack_map(&pack, 1);
    sp_pack_text(&pack, "moves");
    sp_pack_array(&pack, sp_state_move_count(state));
    while ((move = sp_state_move_next(state, &cursor)) != NULL) {
        const struct sp_state_topic *topic = sp_state_topic_by_id(state, move->topic_id);
        const struct sp_state_partition *partition = &topic->partitions[move->partition];
        sp_pack_map(&pack, 10);
        sp_pack_text(&pack, "topic");
        sp_pack_text(&pack, topic->name);
        sp_pack_text(&pack, "partition");
        sp_pack_uint(&pack, move->partition);
        sp_pack_text(&pack, "from");
        pack_places(&pack, partition->replicas, partition->replica_count);
        sp_pack_text(&pack, "to");
        pack_places(&pack, move->target, move->target_count);
        sp_pack_text(&pack, "begun_ms");
        sp_pack_int(&pack, move->begun_ms);
        sp_pack_text(&pack, "leader");
        uint32_t leader = sp_group_table_leader(broker->options.table, move->group_id, NULL);
        sp_pack_int(&pack, leader == 0 ? -1 : (int64_t)leader);
        pack_progress(broker, &pack, move);
    }
    sp_request_finish(&request, &buf, &pack, NULL, 0);
}

/* ---- cluster.nodes --------------------------------------------------------------------------- */

static uint32_t count_leaders(const struct sp_broker *broker, uint32_t node_id)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    const struct sp_state_topic *topic = NULL;
    struct sp_map_cursor cursor = { 0 };
    uint32_t count = 0;

    while ((topic = sp_state_topic_next(state, &cursor)) != NULL) {
        for (uint32_t i = 0; i < topic->partition_count; i++) {
            count += sp_group_table_leader(
                         broker->options.table, topic->partitions[i].group_id, NULL) == node_id;
        }
    }
    return count;
}

static void pack_node(const struct sp_broker *broker,
                      const struct sp_request *request,
                      const struct sp_state_node *node,
                      struct sp_pack *pack)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    struct sp_state_member member = sp_state_member(state, node->node_id);
    bool alive = sp_controller_sees(broker->options.controller, node->node_id);
    char address[SP_ADDRESS_SIZE_MAX];
    char incarnation[24];

    (void)snprintf(incarnation, sizeof incarnation, "%016" PRIx64, node->incarnation);
    sp_pack_map(pack, 11);
    sp_pack_text(pack, "id");
    sp_pack_uint(pack, node->node_id);
    sp_pack_text(pack, "address");
    sp_pack_text(pack, sp_broker_node_address(node, request, address));
    sp_pack_text(pack, "peer_address");
    sp_pack_text(pack, node->peer_address);
    sp_pack_text(pack, "rack");
    sp_pack_str(pack, sp_machine_rack(node));
    sp_pack_text(pack, "machine");
    sp_pack_uint(pack, sp_machine_of(node));
    sp_pack_text(pack, "incarnation");
    sp_pack_text(pack, incarnation);
    sp_pack_text(pack, "alive");
    sp_pack_bool(pack, alive);
    sp_pack_text(pack, "draining");
    sp_pack_bool(pack, member.draining);
    sp_pack_text(pack, "replicas");
    sp_pack_uint(pack, sp_state_replicas_on(state, node->node_id));
    sp_pack_text(pack, "leaders");
    sp_pack_uint(pack, count_leaders(broker, node->node_id));
    sp_pack_text(pack, "controller");
    sp_pack_text(pack, sp_controller_role_of(broker->options.controller, node->node_id));
}

/* A voter of the controller that the state does not know: a node that has not heard from a leader
 * since its start knows no more than the membership of group 0. */
static void pack_voter(const struct sp_broker *broker, uint32_t node_id, struct sp_pack *pack)
{
    const char *peer_address = sp_transport_address_of(broker->options.transport, node_id);

    sp_pack_map(pack, 11);
    sp_pack_text(pack, "id");
    sp_pack_uint(pack, node_id);
    sp_pack_text(pack, "address");
    sp_pack_text(pack, "");
    sp_pack_text(pack, "peer_address");
    sp_pack_text(pack, peer_address == NULL ? "" : peer_address);
    sp_pack_text(pack, "rack");
    sp_pack_text(pack, "");
    sp_pack_text(pack, "machine");
    sp_pack_uint(pack, node_id);
    sp_pack_text(pack, "incarnation");
    sp_pack_text(pack, "");
    sp_pack_text(pack, "alive");
    sp_pack_bool(pack, sp_health_node_alive(broker, node_id));
    sp_pack_text(pack, "draining");
    sp_pack_bool(pack, false);
    sp_pack_text(pack, "replicas");
    sp_pack_uint(pack, 0);
    sp_pack_text(pack, "leaders");
    sp_pack_uint(pack, 0);
    sp_pack_text(pack, "controller");
    sp_pack_text(pack, "voter");
}

/* Those of them that the state does not know; returns how many. */
static unsigned find_unknown_voters(const struct sp_broker *broker, uint32_t *out_node_ids)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    uint32_t node_ids[SP_NODES_MAX];
    unsigned count = sp_controller_voters(broker->options.controller, node_ids, SP_NODES_MAX);
    unsigned unknown = 0;

    for (unsigned i = 0; i < count; i++) {
        if (sp_state_node(state, node_ids[i]) == NULL) {
            out_node_ids[unknown++] = node_ids[i];
        }
    }
    return unknown;
}

void sp_method_cluster_nodes(struct sp_broker *broker,
                             struct sp_request request,
                             const struct sp_message *message)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    const struct sp_state_node *node = NULL;
    struct sp_map_cursor cursor = { 0 };
    uint32_t node_ids[SP_NODES_MAX];
    unsigned unknown = find_unknown_voters(broker, node_ids);
    struct sp_buf buf;
    struct sp_pack pack;

    (void)message; /* no fields */
    sp_request_begin(&request, &buf, &pack);
    sp_pack_map(&pack, 2);
    sp_pack_text(&pack, "current");
    sp_pack_bool(&pack, sp_controller_follows(broker->options.controller));
    sp_pack_text(&pack, "nodes");
    sp_pack_array(&pack, sp_state_node_count(state) + unknown);
    while ((node = sp_state_node_next(state, &cursor)) != NULL) {
        pack_node(broker, &request, node, &pack);
    }
    for (unsigned i = 0; i < unknown; i++) {
        pack_voter(broker, node_ids[i], &pack);
    }
    sp_request_finish(&request, &buf, &pack, NULL, 0);
}

/* ---- node.drain, node.remove ----------------------------------------------------------------- */

void sp_method_node_drain(struct sp_broker *broker,
                          struct sp_request request,
                          const struct sp_message *message)
{
    struct sp_node_drain_request asked;
    struct sp_api_error error;
    int rv = sp_node_drain_request_decode(&message->params, &asked, &error);

    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
        return;
    }
    struct sp_membership_change change = { .kind = SP_MEMBERSHIP_DRAIN_NODE,
                                           .node_id = (uint32_t)asked.node,
                                           .flag = asked.draining };
    propose(broker, &request, &change);
}

void sp_method_node_remove(struct sp_broker *broker,
                           struct sp_request request,
                           const struct sp_message *message)
{
    struct sp_node_request asked;
    struct sp_api_error error;
    int rv = sp_node_request_decode(&message->params, &asked, &error);

    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
        return;
    }
    struct sp_membership_change change = { .kind = SP_MEMBERSHIP_REMOVE_NODE,
                                           .node_id = (uint32_t)asked.node };
    propose(broker, &request, &change);
}
