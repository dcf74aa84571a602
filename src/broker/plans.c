/* Plans: many moves that one request begins. They are made a few at a time, and answered when all
 * have begun or one was refused.
 *
 *   planner -> moves -> [proposals, PROPOSALS_MAX at a time] -> answer */
#include "broker/methods.h"

#include <stdio.h>

#include "base/mem.h"
#include "cluster/planner.h"
#include "spate/error.h"

#define PROPOSALS_MAX 16
#define REBALANCE_MOVES_MAX 256 /* of one request: the next one goes on */

struct plan {
    struct sp_broker *broker;
    struct sp_request request;
    struct sp_proposal proposals[PROPOSALS_MAX];
    struct sp_planner_move *moves; /* owned */
    unsigned count;
    unsigned begun;
    unsigned pending;
    int status;
    char text[200];
};

static enum sp_planner_health health(void *arg, uint32_t node_id)
{
    const struct sp_broker *broker = arg;

    return sp_controller_sees(broker->options.controller, node_id) ? SP_PLANNER_UP
                                                                   : SP_PLANNER_DOWN;
}

static bool is_led(void *arg, uint64_t group_id)
{
    const struct sp_broker *broker = arg;

    return sp_group_table_leader(broker->options.table, group_id, NULL) != 0;
}

static struct sp_planner_view view_of(struct sp_broker *broker)
{
    return (struct sp_planner_view){ .state = sp_controller_state(broker->options.controller),
                                     .health = health,
                                     .led = is_led,
                                     .arg = broker };
}

static void pack_nodes(struct sp_pack *pack, const struct sp_planner_move *move)
{
    sp_pack_array(pack, move->count);
    for (unsigned i = 0; i < move->count; i++) {
        sp_pack_uint(pack, move->wishes[i].node_id);
    }
}

static void answer(struct sp_broker *broker,
                   struct sp_request *request,
                   const struct sp_planner_move *moves,
                   unsigned count)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    struct sp_buf buf;
    struct sp_pack pack;
    unsigned known = 0;

    for (unsigned i = 0; i < count; i++) {
        known += sp_state_topic_by_id(state, moves[i].topic_id) != NULL ? 1 : 0;
    }
    sp_request_begin(request, &buf, &pack);
    sp_pack_map(&pack, 1);
    sp_pack_text(&pack, "moves");
    sp_pack_array(&pack, known);
    for (unsigned i = 0; i < count; i++) {
        const struct sp_state_topic *topic = sp_state_topic_by_id(state, moves[i].topic_id);
        if (topic == NULL) {
            continue; /* deleted meanwhile */
        }
        const struct sp_state_partition *partition = &topic->partitions[moves[i].partition];
        sp_pack_map(&pack, 4);
        sp_pack_text(&pack, "topic");
        sp_pack_text(&pack, topic->name);
        sp_pack_text(&pack, "partition");
        sp_pack_uint(&pack, moves[i].partition);
        sp_pack_text(&pack, "from");
        sp_pack_array(&pack, partition->replica_count);
        for (unsigned k = 0; k < partition->replica_count; k++) {
            sp_pack_uint(&pack, partition->replicas[k].node_id);
        }
        sp_pack_text(&pack, "to");
        pack_nodes(&pack, &moves[i]);
    }
    sp_request_finish(request, &buf, &pack, NULL, 0);
}

static void advance(struct plan *plan);

static void on_proposed(struct sp_proposal *proposal, int status, const char *text)
{
    struct plan *plan = proposal->arg;

    plan->pending -= 1;
    if (status != 0 && status != SPATE_ERR_EXISTS && plan->status == 0) {
        plan->status = status;
        (void)snprintf(plan->text, sizeof plan->text, "%s", text);
    }
    advance(plan);
}

static void propose_next(struct plan *plan)
{
    const struct sp_planner_move *move = &plan->moves[plan->begun];
    struct sp_proposal *proposal = plan->proposals;

    while (proposal->state != SP_PROPOSAL_IDLE) {
        proposal += 1; /* `pending` says that one is */
    }
    *proposal =
        (struct sp_proposal){ .kind = SP_PROPOSAL_MEMBERSHIP, .cb = on_proposed, .arg = plan };
    proposal->membership = (struct sp_membership_change){ .kind = SP_MEMBERSHIP_MOVE,
                                                          .topic_id = move->topic_id,
                                                          .partition = move->partition,
                                                          .count = move->count };
    for (unsigned i = 0; i < move->count; i++) {
        proposal->membership.wishes[i] = move->wishes[i];
    }
    plan->begun += 1;
    plan->pending += 1;
    sp_controller_propose(plan->broker->options.controller, proposal);
}

/* One partition that may not move now keeps no other one from it. */
static void advance(struct plan *plan)
{
    while ((plan->status == 0 || plan->status == SPATE_ERR_INVALID) && plan->begun < plan->count &&
           plan->pending < PROPOSALS_MAX) {
        propose_next(plan);
    }
    if (plan->pending > 0) {
        return;
    }
    if (plan->status != 0) {
        sp_request_fail(&plan->request, plan->status, plan->text);
    } else {
        answer(plan->broker, &plan->request, plan->moves, plan->count);
    }
    sp_mem_free(plan->moves);
    sp_mem_free(plan);
}

/* Takes `moves`. */
static void carry_out(struct sp_broker *broker,
                      struct sp_request *request,
                      struct sp_planner_move *moves,
                      unsigned count)
{
    struct plan *plan = sp_mem_calloc(1, sizeof *plan);

    if (plan == NULL) {
        sp_mem_free(moves);
        sp_request_fail(request, SPATE_ERR_NOMEM, NULL);
        return;
    }
    plan->broker = broker;
    plan->request = *request;
    plan->moves = moves;
    plan->count = count;
    advance(plan);
}

void sp_method_cluster_rebalance(struct sp_broker *broker,
                                 struct sp_request request,
                                 const struct sp_message *message)
{
    struct sp_cluster_rebalance_request asked;
    struct sp_planner_view view = view_of(broker);
    struct sp_api_error error;
    int rv = sp_cluster_rebalance_request_decode(&message->params, &asked, &error);

    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
        return;
    }
    struct sp_planner_move *moves = sp_mem_calloc(REBALANCE_MOVES_MAX, sizeof *moves);
    if (moves == NULL) {
        sp_request_fail(&request, SPATE_ERR_NOMEM, NULL);
        return;
    }
    unsigned count = sp_planner_balance(&view, moves, REBALANCE_MOVES_MAX);
    if (asked.dry_run) {
        answer(broker, &request, moves, count);
        sp_mem_free(moves);
    } else {
        carry_out(broker, &request, moves, count);
    }
}

void sp_method_topic_replicas(struct sp_broker *broker,
                              struct sp_request request,
                              const struct sp_message *message)
{
    struct sp_topic_replicas_request asked;
    struct sp_planner_view view = view_of(broker);
    const struct sp_state_topic *topic = NULL;
    struct sp_api_error error;
    char name[SP_TOPIC_NAME_SIZE_MAX + 1] = "";
    unsigned count = 0;
    int rv = sp_topic_replicas_request_decode(&message->params, &asked, &error);

    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
        return;
    }
    if (sp_broker_copy_text(asked.name, name, sizeof name)) {
        topic = sp_state_topic(view.state, name);
    }
    if (topic == NULL) {
        sp_broker_unknown_topic(broker, &request, name);
        return;
    }
    struct sp_planner_move *moves = sp_mem_calloc(topic->partition_count, sizeof *moves);
    if (moves == NULL) {
        sp_request_fail(&request, SPATE_ERR_NOMEM, NULL);
        return;
    }
    rv = sp_planner_resize(&view, topic, (unsigned)asked.replicas, moves, &count);
    if (rv != 0) {
        (void)snprintf(error.text,
                       sizeof error.text,
                       "there are not enough nodes that run and do not drain for %d replicas",
                       asked.replicas);
        sp_request_fail(&request, rv, error.text);
        sp_mem_free(moves);
        return;
    }
    carry_out(broker, &request, moves, count);
}
