/* The nodes that a node talks to: who there is, and sending to them. */
#include "cluster/transport_parts.h"

#include <string.h>

#include "base/mem.h"
#include "spate/error.h"

/* Place of a node in `nodes`, or node_count. */
static unsigned find_place(const struct sp_transport *transport, uint32_t node_id)
{
    unsigned i = 0;

    while (i < transport->node_count && sp_link_node_id(transport->nodes[i].link) != node_id) {
        i += 1;
    }
    return i;
}

struct sp_transport_node *sp_transport_find(struct sp_transport *transport, uint32_t node_id)
{
    unsigned place = find_place(transport, node_id);

    return place < transport->node_count ? &transport->nodes[place] : NULL;
}

int sp_transport_add_node(struct sp_transport *transport, uint32_t node_id, const char *address)
{
    struct sp_transport_node *node = &transport->nodes[transport->node_count];

    if (transport->node_count == SP_NODES_MAX) {
        return SPATE_ERR_BUSY;
    }
    *node = (struct sp_transport_node){ .link_ms = sp_loop_now_ms(transport->loop) };
    int rv = sp_link_new(
        transport->loop, node_id, address, &sp_transport_link_handler, transport, &node->link);
    if (rv == 0) {
        transport->node_count += 1;
    }
    return rv;
}

const char *sp_transport_address(const struct sp_transport *transport, unsigned n)
{
    return n < transport->node_count ? sp_link_address(transport->nodes[n].link) : NULL;
}

const char *sp_transport_address_of(const struct sp_transport *transport, uint32_t node_id)
{
    return sp_transport_address(transport, find_place(transport, node_id));
}

int sp_transport_set_node(struct sp_transport *transport, uint32_t node_id, const char *address)
{
    struct sp_transport_node *node = sp_transport_find(transport, node_id);

    if (node_id == 0 || node_id > SP_NODE_ID_MAX || address[0] == '\0') {
        return SPATE_ERR_INVALID;
    }
    if (node_id == transport->node_id || transport->closing) {
        return 0;
    }
    if (node != NULL) {
        return sp_link_set_address(node->link, address);
    }
    int rv = sp_transport_add_node(transport, node_id, address);
    if (rv == 0) {
        sp_link_connect(transport->nodes[transport->node_count - 1].link);
    }
    return rv;
}

void sp_transport_remove_node(struct sp_transport *transport, uint32_t node_id)
{
    unsigned place = find_place(transport, node_id);

    if (place == transport->node_count || transport->closing) {
        return;
    }
    struct sp_transport_node node = transport->nodes[place];
    transport->node_count -= 1;
    for (unsigned i = place; i < transport->node_count; i++) {
        transport->nodes[i] = transport->nodes[i + 1];
    }
    if (node.inbound != NULL) {
        sp_inbound_drop(node.inbound);
    }
    transport->closing_count += 1;
    sp_link_close(node.link, sp_transport_part_closed, transport);
    transport->handler->link(transport->arg, node_id, SP_LINK_DEAD);
}

void sp_transport_note_link(struct sp_transport *transport, uint32_t node_id, bool up)
{
    struct sp_transport_node *node = sp_transport_find(transport, node_id);

    if (node == NULL) {
        return;
    }
    if (node->up != up) { /* from down to dead changes nothing */
        node->up = up;
        node->link_ms = sp_loop_now_ms(transport->loop);
        node->refusal[0] = '\0';
    }
    bool replaced =
        up && node->up_incarnation != 0 && node->up_incarnation != node->found_incarnation;
    if (up) {
        node->up_incarnation = node->found_incarnation;
    }
    if (replaced) {
        transport->handler->link(transport->arg, node_id, SP_LINK_DEAD);
    }
}

void sp_transport_adopt(struct sp_transport *transport,
                        const uint8_t cluster_id[SP_CLUSTER_ID_SIZE])
{
    sp_bootstrap_adopt(&transport->bootstrap, cluster_id);
}

void sp_transport_answer_guest(struct sp_transport *transport,
                               uint64_t guest,
                               const struct sp_slice *body)
{
    if (!transport->closing) {
        sp_node_port_answer(transport->port, guest, body);
    }
}

uint64_t sp_transport_incarnation(const struct sp_transport *transport, uint32_t node_id)
{
    unsigned place = find_place(transport, node_id);
    const struct sp_transport_node *node =
        place < transport->node_count ? &transport->nodes[place] : NULL;

    if (node == NULL || (node->inbound == NULL && sp_link_state(node->link) != SP_LINK_UP) ||
        sp_loop_now_ms(transport->loop) - node->heard_ms >= SP_TRANSPORT_GHOST_MS) {
        return 0;
    }
    return node->incarnation;
}

bool sp_transport_may_lead(const struct sp_transport *transport, uint32_t node_id)
{
    unsigned place = find_place(transport, node_id);

    if (node_id == transport->node_id) {
        return sp_store_space(transport->store) == SP_SPACE_ENOUGH;
    }
    if (place == transport->node_count) {
        return false;
    }
    const struct sp_transport_node *node = &transport->nodes[place];
    return sp_link_state(node->link) == SP_LINK_UP && (node->condition & SP_PEER_NO_SPACE) == 0 &&
           sp_loop_now_ms(transport->loop) - node->heard_ms < SP_TRANSPORT_SLOW_MS;
}

/* What this node itself finds wrong says more than what the other one does. */
void sp_transport_note_refusal(const struct sp_transport *transport,
                               struct sp_transport_node *node,
                               bool refuses,
                               const char *text,
                               size_t size)
{
    uint64_t now_ms = sp_loop_now_ms(transport->loop);
    bool found = node->refusal[0] != '\0' && !node->refuses &&
                 now_ms - node->refused_ms < SP_TRANSPORT_REFUSED_MS;
    size_t kept = 0;

    if (refuses && found) {
        return;
    }
    while (kept < size && kept + 1 < sizeof node->refusal) {
        node->refusal[kept] = text[kept] >= ' ' && text[kept] <= '~' ? text[kept] : '?';
        kept += 1;
    }
    node->refusal[kept] = '\0';
    node->refuses = refuses;
    node->refused_ms = now_ms;
}

/* Until the operator corrects the address, unless the controller's state tells of another one. */
void sp_transport_note_elsewhere(struct sp_transport *transport, struct sp_transport_node *node)
{
    const char *address = sp_link_address(node->link);
    uint64_t now_ms = sp_loop_now_ms(transport->loop);

    node->elsewhere_ms = now_ms;
    if (now_ms - node->link_ms >= SP_TRANSPORT_REFUSED_MS &&
        sp_refusal_is_due(&node->refusals, address, strlen(address), now_ms)) {
        SP_TRACE_WARN("transport",
                      "a node runs and reaches this one, but is not found at its address",
                      "node=%u address=%s",
                      sp_link_node_id(node->link),
                      address);
    }
    transport->handler->stranger(transport->arg);
}

bool sp_transport_look(const struct sp_transport *transport,
                       uint32_t node_id,
                       struct sp_transport_look *out_look)
{
    unsigned place = find_place(transport, node_id);

    if (place == transport->node_count) {
        return false;
    }
    const struct sp_transport_node *node = &transport->nodes[place];
    bool refused = !node->up && node->refusal[0] != '\0' &&
                   sp_loop_now_ms(transport->loop) - node->refused_ms < SP_TRANSPORT_REFUSED_MS;
    bool elsewhere = !node->up && node->elsewhere_ms != 0 &&
                     sp_loop_now_ms(transport->loop) - node->elsewhere_ms < SP_TRANSPORT_REFUSED_MS;
    *out_look = (struct sp_transport_look){
        .up = node->up,
        .slow =
            node->up && sp_loop_now_ms(transport->loop) - node->heard_ms >= SP_TRANSPORT_SLOW_MS,
        .condition = node->up ? node->condition : 0,
        .link_ms = node->link_ms,
        .heard_ms = node->heard_ms,
        .condition_ms = node->condition_ms,
        .refusal = refused ? node->refusal : NULL,
        .refuses = refused && node->refuses,
        .not_found_at = elsewhere ? sp_link_address(node->link) : NULL,
    };
    return true;
}

bool sp_transport_takes_records(const struct sp_transport *transport, uint32_t node_id)
{
    unsigned place = find_place(transport, node_id);

    return place == transport->node_count ||
           (transport->nodes[place].condition & SP_PEER_NO_RECORDS) == 0;
}

void sp_transport_set_run(struct sp_transport *transport, uint64_t run)
{
    transport->run = run;
}

void sp_transport_set_registered(struct sp_transport *transport,
                                 uint32_t node_id,
                                 const struct sp_life *life)
{
    struct sp_transport_node *node = sp_transport_find(transport, node_id);

    if (node != NULL && !sp_life_is_stale(life, &node->registered)) {
        node->registered = *life;
        sp_transport_forget_double(transport, node_id, life->incarnation);
    }
}

/* ---- sending --------------------------------------------------------------------------------- */

int sp_transport_send(struct sp_transport *transport,
                      uint32_t node_id,
                      const struct sp_peer_message *message,
                      const struct sp_slice *pieces,
                      unsigned count)
{
    struct sp_transport_node *node = sp_transport_find(transport, node_id);

    if (node == NULL || transport->closing) {
        return SPATE_ERR_CLOSED;
    }
    return sp_link_send(node->link, message, pieces, count);
}

int sp_transport_send_heartbeat(struct sp_transport *transport,
                                uint32_t node_id,
                                const struct sp_peer_raft *raft)
{
    struct sp_transport_node *node = sp_transport_find(transport, node_id);

    if (node == NULL || transport->closing) {
        return SPATE_ERR_CLOSED;
    }
    return sp_link_send_heartbeat(node->link, raft);
}

bool sp_transport_has_room(const struct sp_transport *transport, uint32_t node_id)
{
    unsigned place = find_place(transport, node_id);

    return place < transport->node_count && sp_link_has_room(transport->nodes[place].link);
}

int sp_transport_wait(struct sp_transport *transport,
                      uint32_t node_id,
                      struct sp_link_waiter *waiter)
{
    struct sp_transport_node *node = sp_transport_find(transport, node_id);

    return node == NULL ? SPATE_ERR_CLOSED : sp_link_wait(node->link, waiter);
}

void sp_transport_reserve(struct sp_transport *transport, uint32_t node_id, size_t size_bytes)
{
    struct sp_transport_node *node = sp_transport_find(transport, node_id);

    if (node != NULL) {
        sp_link_reserve(node->link, size_bytes);
    }
}

void sp_transport_release(struct sp_transport *transport, uint32_t node_id, size_t size_bytes)
{
    struct sp_transport_node *node = sp_transport_find(transport, node_id);

    if (node != NULL) {
        sp_link_release(node->link, size_bytes);
    }
}

enum sp_link_state sp_transport_link(const struct sp_transport *transport, uint32_t node_id)
{
    unsigned place = find_place(transport, node_id);

    return place < transport->node_count ? sp_link_state(transport->nodes[place].link)
                                         : SP_LINK_DOWN;
}

bool sp_transport_is_up(const struct sp_transport *transport,
                        uint32_t node_id,
                        uint64_t incarnation)
{
    unsigned place = find_place(transport, node_id);

    return place < transport->node_count &&
           sp_link_state(transport->nodes[place].link) == SP_LINK_UP &&
           transport->nodes[place].found_incarnation == incarnation;
}

size_t sp_transport_queued_bytes(const struct sp_transport *transport, uint32_t node_id)
{
    unsigned place = find_place(transport, node_id);

    return place < transport->node_count ? sp_link_queued_bytes(transport->nodes[place].link) : 0;
}

uint16_t sp_transport_port(const struct sp_transport *transport)
{
    return sp_node_port_number(transport->port);
}
