/* Processes with the id of a node that has another directory: found where it was, or asking. */
#include "cluster/transport_parts.h"

#include <stdio.h>
#include <string.h>

#include "base/trace.h"

bool sp_transport_is_found(struct sp_transport *transport, uint32_t node_id, uint64_t incarnation)
{
    const struct sp_transport_node *node = sp_transport_find(transport, node_id);

    if (node == NULL) {
        return false;
    }
    if (sp_link_state(node->link) == SP_LINK_UP) {
        return node->found_incarnation == incarnation;
    }
    /* Who joins through others does not know this node, and says only that, and who it is. */
    return node->turned_away_ms > node->link_ms && node->turned_away_by == incarnation &&
           sp_loop_now_ms(transport->loop) - node->turned_away_ms < SP_TRANSPORT_REFUSED_MS;
}

/* Another node may have come to live there, and refuse this one for a reason of its own. */
void sp_transport_note_turned_away(const struct sp_transport *transport,
                                   struct sp_transport_node *node,
                                   const struct sp_peer_refusal *refusal)
{
    if (refusal->node_id == sp_link_node_id(node->link)) {
        node->turned_away_ms = sp_loop_now_ms(transport->loop);
        node->turned_away_by = refusal->incarnation;
    }
}

void sp_transport_note_double(struct sp_transport *transport,
                              uint32_t node_id,
                              uint64_t incarnation,
                              const char *text)
{
    uint64_t now_ms = sp_loop_now_ms(transport->loop);
    struct sp_transport_double *place = &transport->doubles[0];

    for (unsigned i = 0; i < SP_TRANSPORT_DOUBLES_MAX; i++) {
        struct sp_transport_double *other = &transport->doubles[i];
        if (other->node_id == node_id && other->incarnation == incarnation) {
            place = other;
            break;
        }
        place = other->noted_ms < place->noted_ms ? other : place;
    }
    place->node_id = node_id;
    place->incarnation = incarnation;
    place->noted_ms = now_ms;
    (void)snprintf(place->text, sizeof place->text, "%s", text);
    if (sp_refusal_is_due(&transport->refusals, text, strlen(text), now_ms)) {
        SP_TRACE_WARN("transport",
                      "a process with another data directory wants to be this node, not let in",
                      "node=%u why=\"%s\"",
                      node_id,
                      text);
    }
}

void sp_transport_note_foreign(struct sp_transport *transport,
                               const char *address,
                               const char *text)
{
    uint64_t now_ms = sp_loop_now_ms(transport->loop);

    if (sp_refusal_is_due(&transport->refusals, text, strlen(text), now_ms) &&
        sp_trace_allowed(&transport->foreign_limit, now_ms, 1, NULL)) {
        SP_TRACE_WARN("transport",
                      "a node of another cluster asks to be let in, refused",
                      "address=%s why=\"%s\"",
                      address,
                      text);
    }
}

void sp_transport_forget_double(struct sp_transport *transport,
                                uint32_t node_id,
                                uint64_t incarnation)
{
    for (unsigned i = 0; i < SP_TRANSPORT_DOUBLES_MAX; i++) {
        struct sp_transport_double *other = &transport->doubles[i];
        if (other->node_id == node_id && other->incarnation == incarnation) {
            *other = (struct sp_transport_double){ .node_id = 0 };
        }
    }
}

const char *
sp_transport_double(const struct sp_transport *transport, unsigned n, uint32_t *out_node_id)
{
    uint64_t now_ms = sp_loop_now_ms(transport->loop);

    for (unsigned i = 0; i < SP_TRANSPORT_DOUBLES_MAX; i++) {
        const struct sp_transport_double *other = &transport->doubles[i];
        if (other->node_id == 0 || now_ms - other->noted_ms >= SP_TRANSPORT_REFUSED_MS) {
            continue;
        }
        if (n == 0) {
            *out_node_id = other->node_id;
            return other->text;
        }
        n -= 1;
    }
    return NULL;
}

/* Who greets us looks for us, as a member of its cluster. */
void sp_transport_met_stranger(struct sp_transport *transport,
                               const struct sp_peer_hello *hello,
                               uint32_t expected)
{
    const struct sp_identity *self = &transport->bootstrap.identity;

    if (expected == 0 && hello->incarnation != 0 && hello->node_id != transport->node_id) {
        sp_bootstrap_met(&transport->bootstrap, hello->node_id);
    }
    if (self->state == SP_IDENTITY_FORMED &&
        memcmp(hello->cluster_id, self->cluster_id, SP_CLUSTER_ID_SIZE) == 0) {
        transport->handler->stranger(transport->arg);
    }
}
