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
    /* Who joins through others does not know this node, and says no more than that. */
    return node->turned_away_ms > node->link_ms &&
           sp_loop_now_ms(transport->loop) - node->turned_away_ms < SP_TRANSPORT_REFUSED_MS;
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
