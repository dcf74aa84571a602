/* Ties the links to other nodes, the node port and the forming of the cluster together. */
#include "cluster/transport.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "cluster/transport_parts.h"
#include "spate/error.h"

static bool formed(const struct sp_transport *transport)
{
    return transport->bootstrap.identity.state == SP_IDENTITY_FORMED;
}

/* ---- greeting -------------------------------------------------------------------------------- */

static uint32_t own_condition(const struct sp_transport *transport)
{
    switch (sp_store_space(transport->store)) {
    case SP_SPACE_ENOUGH:
        break;
    case SP_SPACE_LOW:
        return SP_PEER_NO_SPACE;
    case SP_SPACE_LAST:
        return SP_PEER_NO_SPACE | SP_PEER_NO_RECORDS;
    }
    return 0;
}

static void make_greeting(void *arg, struct sp_peer_hello *out_hello)
{
    const struct sp_transport *transport = arg;
    const struct sp_identity *identity = &transport->bootstrap.identity;

    *out_hello = (struct sp_peer_hello){
        .node_id = transport->node_id,
        .incarnation = identity->incarnation,
        .run = transport->run,
        .identity_state = (uint32_t)identity->state,
        .seeds_hash = transport->seeds.hash,
        .condition = own_condition(transport),
    };
    memcpy(out_hello->cluster_id, identity->cluster_id, SP_CLUSTER_ID_SIZE);
    sp_greeting_tell_levels(&transport->levels, out_hello);
}

/* The process that is connected with the sender's node id, which is not found there when this node
 * calls: whoever is found goes first, unless the controller knows the other one. */
static uint64_t connected_to(const struct sp_transport *transport,
                             const struct sp_transport_node *node,
                             const struct sp_peer_hello *hello,
                             uint32_t expected)
{
    uint64_t connected = sp_transport_incarnation(transport, hello->node_id);
    bool gives_way = expected != 0 && node != NULL && node->registered.incarnation != 0 &&
                     node->registered.incarnation != connected;

    return gives_way ? 0 : connected;
}

/* Another directory has its node id, and its process runs. */
static bool is_double(const struct sp_transport *transport,
                      const struct sp_greeting_facts *facts,
                      const struct sp_peer_hello *hello)
{
    if (hello->incarnation == 0 || facts->cluster_id == NULL) {
        return false;
    }
    if (hello->node_id == transport->node_id) {
        return hello->incarnation != transport->bootstrap.identity.incarnation;
    }
    return facts->known && facts->connected_incarnation != 0 &&
           facts->connected_incarnation != hello->incarnation;
}

/* Whether to talk to the sender of this HELLO; `expected` is who should answer there, 0: anyone. */
static int check_hello(struct sp_transport *transport,
                       const struct sp_peer_hello *hello,
                       uint32_t expected,
                       char *text)
{
    struct sp_transport_node *node = sp_transport_find(transport, hello->node_id);
    bool other = node != NULL && node->registered.incarnation != 0 &&
                 node->registered.incarnation != hello->incarnation;
    const struct sp_greeting_facts facts = {
        .node_id = transport->node_id,
        .expected_node_id = expected,
        .known = node != NULL,
        .connected_incarnation = connected_to(transport, node, hello, expected),
        .cluster_id = formed(transport) ? transport->bootstrap.identity.cluster_id : NULL,
        .levels = &transport->levels,
        .registered = node == NULL ? NULL : &node->registered,
        .current = other && transport->handler->current(transport->arg, hello->node_id),
    };
    int rv = sp_greeting_check(&facts, hello, text);

    if (rv == SPATE_ERR_INVALID && is_double(transport, &facts, hello)) {
        sp_transport_note_double(transport, hello->node_id, hello->incarnation, text);
    }
    if (node == NULL && hello->identity_state == SP_IDENTITY_FORMED) {
        sp_transport_met_stranger(transport, hello, expected);
    }
    if (rv != 0 && node != NULL && (expected == 0 || expected == hello->node_id)) {
        sp_transport_note_refusal(transport, node, false, text, strlen(text));
    }
    if (rv == 0) {
        node->refusal[0] = node->refuses ? node->refusal[0] : '\0';
        node->incarnation = hello->incarnation;
        node->heard_ms = sp_loop_now_ms(transport->loop);
        node->condition_ms =
            node->condition == hello->condition ? node->condition_ms : node->heard_ms;
        node->condition = hello->condition;
    }
    return rv;
}

static void keep_ticking(struct sp_transport *transport)
{
    if (sp_bootstrap_busy(&transport->bootstrap) && !sp_timer_active(&transport->tick)) {
        /* Without memory for it the next hello tries again. */
        (void)sp_timer_start(&transport->tick,
                             sp_loop_now_ms(transport->loop) + SP_BOOTSTRAP_TICK_MS);
    }
}

static int
on_link_hello(void *arg, struct sp_link *link, const struct sp_peer_hello *hello, char *text)
{
    struct sp_transport *transport = arg;
    int rv = check_hello(transport, hello, sp_link_node_id(link), text);

    if (rv != 0) {
        return rv;
    }
    struct sp_transport_node *node = sp_transport_find(transport, hello->node_id);
    struct sp_inbound *inbound = node->inbound;
    node->found_incarnation = hello->incarnation;
    if (inbound != NULL && sp_inbound_hello(inbound)->incarnation != hello->incarnation) {
        sp_inbound_drop(inbound); /* of another process, which had to give way */
    }
    sp_bootstrap_hello(&transport->bootstrap, hello);
    keep_ticking(transport);
    return 0;
}

static void on_link_refused(void *arg, struct sp_link *link, const struct sp_peer_refusal *refusal)
{
    struct sp_transport *transport = arg;
    struct sp_transport_node *node = sp_transport_find(transport, sp_link_node_id(link));

    if (node != NULL) {
        sp_transport_note_turned_away(transport, node, refusal);
        sp_transport_note_refusal(transport, node, true, refusal->text, refusal->text_size);
    }
    /* a seed that was removed hears from no other one that there is a cluster */
    if (transport->bootstrap.identity.state == SP_IDENTITY_EMPTY && !transport->closing) {
        transport->handler->lost(transport->arg);
    }
}

static void on_link_changed(void *arg, struct sp_link *link, enum sp_link_state state)
{
    struct sp_transport *transport = arg;

    if (transport->closing) {
        return;
    }
    sp_transport_note_link(transport, sp_link_node_id(link), state == SP_LINK_UP);
    if (state == SP_LINK_UP && sp_bootstrap_busy(&transport->bootstrap)) {
        sp_bootstrap_tick(&transport->bootstrap);
    }
    transport->handler->link(transport->arg, sp_link_node_id(link), state);
}

const struct sp_link_handler sp_transport_link_handler = {
    .greeting = make_greeting,
    .hello = on_link_hello,
    .refused = on_link_refused,
    .changed = on_link_changed,
};

/* ---- receiving ------------------------------------------------------------------------------- */

/* A member that goes on greeting while we do not find it: we know an address of an earlier time. */
static bool is_elsewhere(const struct sp_transport *transport,
                         const struct sp_transport_node *node,
                         const struct sp_peer_hello *hello)
{
    return formed(transport) && hello->identity_state == SP_IDENTITY_FORMED && !node->up &&
           sp_loop_now_ms(transport->loop) - node->link_ms >= SP_TRANSPORT_LOST_MS;
}

static int on_inbound_hello(void *arg,
                            struct sp_inbound *inbound,
                            const struct sp_peer_hello *hello,
                            char *text)
{
    struct sp_transport *transport = arg;
    int rv = check_hello(transport, hello, 0, text);

    if (rv != 0) {
        return rv;
    }
    struct sp_transport_node *node = sp_transport_find(transport, hello->node_id);
    struct sp_inbound *before = node->inbound;
    node->inbound = inbound;
    if (before != NULL && before != inbound) {
        sp_inbound_drop(before); /* the node would not connect twice: the old one is a ghost */
    }
    sp_link_connect(node->link);
    if (before == inbound && is_elsewhere(transport, node, hello)) {
        sp_transport_note_elsewhere(transport, node);
    }
    sp_bootstrap_hello(&transport->bootstrap, hello);
    keep_ticking(transport);
    return 0;
}

static void on_inbound_ended(void *arg, struct sp_inbound *inbound)
{
    struct sp_transport *transport = arg;
    struct sp_transport_node *node =
        sp_transport_find(transport, sp_inbound_hello(inbound)->node_id);

    if (node != NULL && node->inbound == inbound) {
        node->inbound = NULL;
        sp_link_suspect(node->link);
    }
}

static void
deliver(struct sp_transport *transport, uint32_t node_id, struct sp_peer_message *message)
{
    struct sp_peer_message single = { .kind = SP_PEER_RAFT };

    if (message->kind != SP_PEER_HEARTBEATS) {
        transport->handler->message(transport->arg, node_id, message);
        return;
    }
    for (uint32_t i = 0; i < message->u.count && !transport->closing; i++) {
        sp_peer_raft_decode(message->body.bytes + (size_t)i * SP_PEER_RAFT_SIZE, &single.u.raft);
        single.body = (struct sp_slice){ NULL, NULL, 0 };
        transport->handler->message(transport->arg, node_id, &single);
    }
}

static int on_inbound_message(void *arg,
                              struct sp_inbound *inbound,
                              struct sp_peer_message *message,
                              char *text)
{
    struct sp_transport *transport = arg;
    const struct sp_peer_hello *hello = sp_inbound_hello(inbound);

    if (transport->closing) {
        return 0;
    }
    if (message->kind == SP_PEER_FORM || message->kind == SP_PEER_FORM_OK ||
        message->kind == SP_PEER_FORMED) {
        sp_bootstrap_message(
            &transport->bootstrap, hello->node_id, message->kind, message->u.form.cluster_id);
        keep_ticking(transport);
        return 0;
    }
    if (hello->identity_state != SP_IDENTITY_FORMED) {
        (void)snprintf(text, SP_REFUSAL_SIZE, "only members of a formed cluster may send this");
        return SPATE_ERR_WRONG_CLUSTER;
    }
    /* While this node is still forming, its cluster's messages are early, not wrong. */
    if (!formed(transport)) {
        return 0;
    }
    /* Said again: it may have greeted before this node was formed. */
    int rv = check_hello(transport, hello, 0, text);
    if (rv == 0) {
        deliver(transport, hello->node_id, message);
    }
    return rv;
}

static void on_guest(void *arg, uint64_t guest, const struct sp_slice *body)
{
    struct sp_transport *transport = arg;

    if (!transport->closing) {
        transport->handler->join(transport->arg, guest, body);
    }
}

static const struct sp_node_port_handler port_handler = {
    .greeting = make_greeting,
    .hello = on_inbound_hello,
    .message = on_inbound_message,
    .join = on_guest,
    .ended = on_inbound_ended,
};

/* ---- forming --------------------------------------------------------------------------------- */

static uint64_t bootstrap_persist(void *arg, const struct sp_identity *identity)
{
    struct sp_transport *transport = arg;

    return sp_store_set_identity(transport->store, identity);
}

static void bootstrap_send(void *arg,
                           uint32_t node_id,
                           enum sp_peer_kind kind,
                           const uint8_t cluster_id[SP_CLUSTER_ID_SIZE])
{
    struct sp_peer_message message = { .kind = kind };
    struct sp_transport *transport = arg;

    memcpy(message.u.form.cluster_id, cluster_id, SP_CLUSTER_ID_SIZE);
    (void)sp_transport_send(transport, node_id, &message, NULL, 0); /* the tick sends it again */
}

static void bootstrap_changed(void *arg)
{
    struct sp_transport *transport = arg;

    for (unsigned i = 0; i < transport->node_count; i++) {
        sp_link_greet(transport->nodes[i].link);
    }
}

static void bootstrap_formed(void *arg, bool fresh)
{
    struct sp_transport *transport = arg;

    for (unsigned i = 0; transport->bootstrap.joins && i < transport->node_count; i++) {
        if (transport->nodes[i].inbound != NULL) {
            /* What members have said so far was not heard: they shall begin anew. */
            sp_inbound_drop(transport->nodes[i].inbound);
        }
    }
    transport->handler->formed(
        transport->arg, transport->seeds.node_ids, transport->seeds.count, fresh);
}

static void bootstrap_lost(void *arg)
{
    struct sp_transport *transport = arg;

    transport->handler->lost(transport->arg);
}

static uint64_t bootstrap_random(void *arg)
{
    struct sp_transport *transport = arg;

    return sp_loop_random(transport->loop);
}

static const struct sp_bootstrap_handler bootstrap_handler = {
    .persist = bootstrap_persist,
    .send = bootstrap_send,
    .changed = bootstrap_changed,
    .formed = bootstrap_formed,
    .lost = bootstrap_lost,
    .random = bootstrap_random,
};

static void on_start(struct sp_deferred *deferred)
{
    struct sp_transport *transport = SP_CONTAINER_OF(deferred, struct sp_transport, start);

    sp_bootstrap_start(&transport->bootstrap);
    keep_ticking(transport);
}

static void on_tick(struct sp_timer *timer)
{
    struct sp_transport *transport = SP_CONTAINER_OF(timer, struct sp_transport, tick);

    sp_bootstrap_tick(&transport->bootstrap);
    keep_ticking(transport);
}

void sp_transport_set_level(struct sp_transport *transport, uint32_t level)
{
    transport->levels.active = level; /* the next HELLO, within a second, tells it */
}

void sp_transport_meta_durable(struct sp_transport *transport, uint64_t sequence)
{
    if (!transport->closing) {
        sp_bootstrap_durable(&transport->bootstrap, sequence);
    }
}

/* ---- starting -------------------------------------------------------------------------------- */

/* Undoes what sp_transport_new has done before it failed. */
static void abandon(struct sp_transport *transport)
{
    for (unsigned i = 0; i < transport->node_count; i++) {
        sp_link_close(transport->nodes[i].link, NULL, NULL);
    }
    sp_mem_free(transport);
}

int sp_transport_new(struct sp_loop *loop,
                     struct sp_store *store,
                     const struct sp_transport_options *options,
                     const struct sp_transport_handler *handler,
                     void *arg,
                     struct sp_transport **out_transport)
{
    struct sp_transport *transport = sp_mem_calloc(1, sizeof *transport);

    if (transport == NULL) {
        return SPATE_ERR_NOMEM;
    }
    transport->loop = loop;
    transport->store = store;
    transport->handler = handler;
    transport->arg = arg;
    transport->node_id = options->node_id;
    transport->levels.known = options->features;
    sp_timer_init(&transport->tick, loop, on_tick);
    sp_deferred_init(&transport->start, on_start);
    int rv = sp_seeds_init(&transport->seeds, options);
    for (unsigned i = 0; i < transport->seeds.count && rv == 0; i++) {
        if (transport->seeds.node_ids[i] != transport->node_id) {
            rv = sp_transport_add_node(
                transport, transport->seeds.node_ids[i], transport->seeds.addresses[i]);
        }
    }
    if (rv == 0) {
        rv = sp_node_port_open(loop, options->listen, &port_handler, transport, &transport->port);
    }
    if (rv != 0) {
        abandon(transport);
        return rv;
    }
    sp_bootstrap_init(&transport->bootstrap,
                      sp_store_identity(store),
                      transport->seeds.node_ids,
                      transport->seeds.count,
                      transport->seeds.hash,
                      &bootstrap_handler,
                      transport);
    transport->bootstrap.joins = options->join_count > 0;
    for (unsigned i = 0; i < transport->node_count; i++) {
        sp_link_connect(transport->nodes[i].link);
    }
    sp_loop_defer(loop, &transport->start);
    *out_transport = transport;
    return 0;
}

/* ---- ending ---------------------------------------------------------------------------------- */

void sp_transport_part_closed(void *arg)
{
    struct sp_transport *transport = arg;

    SP_ASSERT(transport->closing_count > 0);
    transport->closing_count -= 1;
    if (transport->closing_count > 0 || !transport->closing) {
        return;
    }
    void (*closed)(void *arg) = transport->closed;
    void *closed_arg = transport->closed_arg;
    sp_mem_free(transport);
    if (closed != NULL) {
        closed(closed_arg);
    }
}

void sp_transport_close(struct sp_transport *transport, void (*closed)(void *arg), void *arg)
{
    SP_ASSERT(!transport->closing);
    transport->closing = true;
    transport->closed = closed;
    transport->closed_arg = arg;
    transport->closing_count += transport->node_count + 1;
    sp_timer_stop(&transport->tick);
    sp_deferred_cancel(&transport->start);
    for (unsigned i = 0; i < transport->node_count; i++) {
        sp_link_close(transport->nodes[i].link, sp_transport_part_closed, transport);
    }
    sp_node_port_close(transport->port, sp_transport_part_closed, transport);
}
