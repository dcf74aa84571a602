#include "cluster/admit.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cluster/greeting.h"
#include "spate/error.h"

/* Strangers that are being let in at once; others are told to come again. */
#define ENTRIES_MAX 8

struct entry {
    struct sp_proposal proposal;
    struct sp_admit *admit;
    uint64_t guest;
    uint32_t node_id;
    uint64_t incarnation;
};

struct sp_admit {
    struct sp_controller *controller;
    struct sp_store *store;
    struct sp_transport *transport;
    struct entry entries[ENTRIES_MAX];
};

static void send_answer(struct sp_admit *admit, uint64_t guest, const struct sp_join_answer *answer)
{
    struct sp_buf body;

    sp_buf_init(&body, 64 * 1024);
    int rv = sp_join_answer_encode(answer, &body);
    struct sp_blob *blob = rv == 0 ? sp_blob_copy(body.bytes, body.size) : NULL;
    sp_buf_deinit(&body);
    if (blob == NULL) {
        return; /* it asks again */
    }
    struct sp_slice piece = sp_slice_of(blob, 0, blob->size);
    sp_transport_answer_guest(admit->transport, guest, &piece);
    sp_slice_unref(&piece);
    sp_blob_unref(blob);
}

static void refuse(struct sp_admit *admit, uint64_t guest, int status, const char *text)
{
    struct sp_join_answer answer = { .status = status };

    (void)snprintf(answer.text, sizeof answer.text, "%s", text);
    send_answer(admit, guest, &answer);
}

static void welcome(struct sp_admit *admit, uint64_t guest, uint32_t node_id)
{
    const struct sp_state *state = sp_controller_state(admit->controller);
    const struct sp_state_node *node = NULL;
    struct sp_map_cursor cursor = { 0 };
    struct sp_join_answer answer = { .voter_id = sp_state_member(state, node_id).voter_id };

    memcpy(answer.cluster_id, sp_store_identity(admit->store)->cluster_id, SP_CLUSTER_ID_SIZE);
    while ((node = sp_state_node_next(state, &cursor)) != NULL) {
        if (node->node_id == node_id || answer.node_count == SP_NODES_MAX) {
            continue;
        }
        answer.nodes[answer.node_count].node_id = node->node_id;
        memcpy(answer.nodes[answer.node_count].peer_address,
               node->peer_address,
               sizeof node->peer_address);
        answer.node_count += 1;
    }
    send_answer(admit, guest, &answer);
}

/* Another directory has that node id: a person should know. */
static void note_if_double(const struct sp_admit *admit,
                           uint32_t node_id,
                           uint64_t incarnation,
                           const char *text)
{
    const struct sp_state_node *known =
        sp_state_node(sp_controller_state(admit->controller), node_id);

    if (known != NULL && known->incarnation != incarnation) {
        sp_transport_note_double(admit->transport, node_id, incarnation, text);
    }
}

static void on_proposed(struct sp_proposal *proposal, int status, const char *text)
{
    struct entry *entry = SP_CONTAINER_OF(proposal, struct entry, proposal);
    const struct sp_state_node *known =
        sp_state_node(sp_controller_state(entry->admit->controller), entry->node_id);
    bool applied = status == 0 || status == SPATE_ERR_EXISTS;

    if (applied && (known == NULL || known->incarnation != entry->incarnation)) {
        /* The replica of group 0 that the state names is that one's. */
        refuse(entry->admit, entry->guest, SPATE_ERR_NOT_READY, "another directory came in since");
    } else if (applied) {
        welcome(entry->admit, entry->guest, entry->node_id);
    } else {
        if (status == SPATE_ERR_INVALID) {
            note_if_double(entry->admit, entry->node_id, entry->incarnation, text);
        }
        refuse(entry->admit, entry->guest, status, text);
    }
}

/* Of a cluster that was formed, with a replica of group 0 of which its directory has nothing to
 * show any more, before the controller has ever heard of that directory. It registers only with a
 * replica that it can read, so it is registered for it: by whoever leads, which takes a majority of
 * the voters without that one. Partitions had no replica there, since those have registered nodes
 * alone; and what it has acknowledged of group 0 is on the majority that commits this. The replica
 * is then renewed as that of any other member. */
static bool is_lost_founder(const struct sp_admit *admit, const struct sp_join_request *request)
{
    return request->lost && request->formed && request->voter_id == request->node.node_id &&
           sp_state_node(sp_controller_state(admit->controller), request->node.node_id) == NULL &&
           sp_controller_has_member(admit->controller, request->voter_id);
}

static bool leads(const struct sp_admit *admit)
{
    return sp_controller_leader(admit->controller) == sp_controller_self(admit->controller);
}

/* 0, or why the stranger may not come in with what it has on its disk. */
static int check(const struct sp_admit *admit, const struct sp_join_request *request, char *text)
{
    const struct sp_state *state = sp_controller_state(admit->controller);
    uint32_t node_id = request->node.node_id;
    const struct sp_state_node *known = sp_state_node(state, node_id);

    /* What was lost may have been replaced by an earlier try, whose answer was not heard. */
    bool replaced = request->lost && known != NULL &&
                    request->voter_id < sp_state_member(state, node_id).voter_id;
    if (request->voter_id != 0 && known != NULL && !replaced &&
        request->voter_id != sp_state_member(state, node_id).voter_id &&
        request->node.incarnation == known->incarnation) {
        known = NULL;
    }
    /* Who is let in with an empty directory has a voter only once its incarnation is known. */
    if (request->voter_id != 0 && known != NULL &&
        request->node.incarnation != known->incarnation) {
        (void)snprintf(text,
                       SP_REFUSAL_SIZE,
                       "node %u has another data directory now, and this is an earlier one: bring "
                       "that one back, or start it with an empty one",
                       node_id);
        return SPATE_ERR_INVALID;
    }
    if (sp_state_is_old_copy(state, &request->node)) {
        (void)snprintf(text,
                       SP_REFUSAL_SIZE,
                       "node %u runs on an older copy of its data directory: bring back the newer "
                       "one, or start it with an empty one",
                       node_id);
        return SPATE_ERR_INVALID;
    }
    if (is_lost_founder(admit, request)) {
        (void)snprintf(text,
                       SP_REFUSAL_SIZE,
                       "node %u has not registered yet since the cluster was formed, and its "
                       "replica of the controller is damaged: the controller's leader, node %u, "
                       "sees to it",
                       node_id,
                       sp_controller_leader(admit->controller));
        return leads(admit) ? 0 : SPATE_ERR_NOT_READY;
    }
    if (known == NULL && sp_controller_has_member(admit->controller, request->voter_id)) {
        (void)snprintf(text,
                       SP_REFUSAL_SIZE,
                       "node %u has not registered yet since the cluster was formed",
                       node_id);
        return SPATE_ERR_NOT_READY;
    }
    if (request->voter_id != 0 && known == NULL) {
        (void)snprintf(text,
                       SP_REFUSAL_SIZE,
                       "node %u was removed from the cluster: give it an empty data directory",
                       node_id);
        return SPATE_ERR_INVALID;
    }
    if (known != NULL && known->incarnation != request->node.incarnation &&
        sp_transport_incarnation(admit->transport, node_id) == known->incarnation) {
        (void)snprintf(
            text, SP_REFUSAL_SIZE, "another process with node id %u is connected", node_id);
        return SPATE_ERR_INVALID;
    }
    return 0;
}

static void print_id(const uint8_t id[SP_CLUSTER_ID_SIZE], char text[2 * SP_CLUSTER_ID_SIZE + 1])
{
    for (unsigned i = 0; i < SP_CLUSTER_ID_SIZE; i++) {
        (void)snprintf(text + 2 * (size_t)i, 3, "%02x", id[i]);
    }
}

/* True, with the reason, if its directory is another cluster's, whatever this node knows of its own
 * one at the moment. */
static bool
is_foreign(const struct sp_admit *admit, const struct sp_join_request *request, char *text)
{
    const struct sp_identity *identity = sp_store_identity(admit->store);
    char theirs[2 * SP_CLUSTER_ID_SIZE + 1];
    char ours[2 * SP_CLUSTER_ID_SIZE + 1];

    if (!request->formed || identity->state != SP_IDENTITY_FORMED ||
        memcmp(request->cluster_id, identity->cluster_id, SP_CLUSTER_ID_SIZE) == 0) {
        return false;
    }
    if (memcmp(request->cluster_id, identity->cluster_id, SP_CLUSTER_ID_KEPT_SIZE) == 0) {
        (void)snprintf(text,
                       SP_REFUSAL_SIZE,
                       "node %u is of this cluster, but on the other side of a forced membership: "
                       "the node that was left out must come back empty",
                       request->node.node_id);
        return true;
    }
    print_id(request->cluster_id, theirs);
    print_id(identity->cluster_id, ours);
    (void)snprintf(text,
                   SP_REFUSAL_SIZE,
                   "node %u belongs to another cluster, %s, and this one is %s: give it an empty "
                   "data directory",
                   request->node.node_id,
                   theirs,
                   ours);
    return true;
}

/* This node itself has the id, whatever it knows of the controller at the moment. */
static bool is_mine(const struct sp_admit *admit, const struct sp_join_request *request)
{
    return request->node.node_id == sp_controller_self(admit->controller) &&
           request->node.incarnation != sp_store_identity(admit->store)->incarnation;
}

/* A member that only asks where the others are: nothing is to be changed for it. */
static bool is_known_as_it_is(const struct sp_admit *admit, const struct sp_join_request *request)
{
    const struct sp_state *state = sp_controller_state(admit->controller);
    const struct sp_state_node *known = sp_state_node(state, request->node.node_id);

    return !request->lost && known != NULL && sp_state_same_node(known, &request->node) &&
           request->voter_id == sp_state_member(state, request->node.node_id).voter_id;
}

/* Nobody can be let in at the moment; nor ever, if that takes the very replica that is lost. */
static void
refuse_for_now(struct sp_admit *admit, uint64_t guest, const struct sp_join_request *request)
{
    uint32_t voters[SP_NODES_MAX];
    unsigned count = sp_controller_voters(admit->controller, voters, SP_NODES_MAX);
    char text[SP_REFUSAL_SIZE];

    for (unsigned i = 0; request->lost && count <= 2 && i < count; i++) {
        if (voters[i] == request->node.node_id) {
            (void)snprintf(text,
                           sizeof text,
                           "the controller has %u voter%s and no majority without the replica of "
                           "node %u, which is damaged: mend it by hand, or force the membership "
                           "(docs/operations.md, Damage)",
                           count,
                           count == 1 ? "" : "s",
                           voters[i]);
            refuse(admit, guest, SPATE_ERR_NOT_READY, text);
            return;
        }
    }
    refuse(admit,
           guest,
           SPATE_ERR_NOT_READY,
           "the controller has no leader at the moment, or this node has not caught up");
}

/* What is proposed for it; `entry` is free. */
static void propose(struct sp_admit *admit,
                    struct entry *entry,
                    uint64_t guest,
                    const struct sp_join_request *request)
{
    uint32_t node_id = request->node.node_id;

    entry->admit = admit;
    entry->guest = guest;
    entry->node_id = node_id;
    entry->incarnation = request->node.incarnation;
    entry->proposal = (struct sp_proposal){ .kind = SP_PROPOSAL_MEMBERSHIP, .cb = on_proposed };
    if (is_lost_founder(admit, request)) {
        entry->proposal.kind = SP_PROPOSAL_REGISTER_NODE;
        entry->proposal.self = request->node;
    } else if (request->lost) {
        entry->proposal.membership =
            (struct sp_membership_change){ .kind = SP_MEMBERSHIP_RENEW_VOTER,
                                           .node_id = node_id,
                                           .count = 1,
                                           .ids = { request->voter_id } };
    } else {
        entry->proposal.membership = (struct sp_membership_change){ .kind = SP_MEMBERSHIP_JOIN_NODE,
                                                                    .node = request->node,
                                                                    .count = 1,
                                                                    .ids = { request->voter_id } };
    }
    sp_controller_propose(admit->controller, &entry->proposal);
}

void sp_admit_request(struct sp_admit *admit, uint64_t guest, const struct sp_slice *body)
{
    struct sp_join_request request;
    struct entry *entry = NULL;
    char text[SP_REFUSAL_SIZE] = "";

    if (sp_join_request_decode(body->bytes, body->size, &request) != 0) {
        refuse(admit, guest, SPATE_ERR_MALFORMED, "the request to join is malformed");
        return;
    }
    if (is_foreign(admit, &request, text)) {
        sp_transport_note_foreign(admit->transport, request.node.peer_address, text);
        refuse(admit, guest, SPATE_ERR_WRONG_CLUSTER, text);
        return;
    }
    if (is_mine(admit, &request)) {
        (void)snprintf(
            text, sizeof text, "node id %u is mine: give each node its own", request.node.node_id);
        sp_transport_note_double(
            admit->transport, request.node.node_id, request.node.incarnation, text);
        refuse(admit, guest, SPATE_ERR_INVALID, text);
        return;
    }
    if (!sp_controller_is_current(admit->controller)) {
        refuse_for_now(admit, guest, &request);
        return;
    }
    int rv = check(admit, &request, text);
    if (rv != 0) {
        if (request.voter_id == 0) {
            note_if_double(admit, request.node.node_id, request.node.incarnation, text);
        }
        refuse(admit, guest, rv, text);
        return;
    }
    if (is_known_as_it_is(admit, &request)) {
        welcome(admit, guest, request.node.node_id);
        return;
    }
    for (unsigned i = 0; i < ENTRIES_MAX && entry == NULL; i++) {
        entry = admit->entries[i].proposal.state == SP_PROPOSAL_IDLE ? &admit->entries[i] : NULL;
    }
    if (entry == NULL) {
        refuse(admit, guest, SPATE_ERR_BUSY, "others are being let in");
        return;
    }
    propose(admit, entry, guest, &request);
}

int sp_admit_new(struct sp_controller *controller,
                 struct sp_store *store,
                 struct sp_transport *transport,
                 struct sp_admit **out_admit)
{
    struct sp_admit *admit = sp_mem_calloc(1, sizeof *admit);

    if (admit == NULL) {
        return SPATE_ERR_NOMEM;
    }
    admit->controller = controller;
    admit->store = store;
    admit->transport = transport;
    *out_admit = admit;
    return 0;
}

void sp_admit_free(struct sp_admit *admit)
{
    for (unsigned i = 0; admit != NULL && i < ENTRIES_MAX; i++) {
        sp_controller_cancel(admit->controller, &admit->entries[i].proposal);
    }
    sp_mem_free(admit);
}
