/* The nodes of a transport: finding them, sending to them, and what is known of their links. */
#include "cluster/transport_parts.h"

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

void sp_transport_set_run(struct sp_transport *transport, uint64_t run)
{
    transport->run = run;
}

void sp_transport_set_registered(struct sp_transport *transport,
                                 uint32_t node_id,
                                 const struct sp_life *life)
{
    struct sp_transport_node *node = sp_transport_find(transport, node_id);

    if (node != NULL) {
        node->registered = *life;
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

enum sp_link_state sp_transport_link(const struct sp_transport *transport, uint32_t node_id)
{
    unsigned place = find_place(transport, node_id);

    return place < transport->node_count ? sp_link_state(transport->nodes[place].link)
                                         : SP_LINK_DOWN;
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
