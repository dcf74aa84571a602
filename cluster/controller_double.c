/* Who may take the place of a node that the cluster knows with another data directory.
 *
 * A disk that was replaced comes back where the node was: its process is found there, and comes in
 * at once. One elsewhere may be a stranger with a mistyped node id, that waits for the moment in
 * which the right one restarts: what that one has would count as lost. So it waits until nothing is
 * expected of the right one any more. */
#include "cluster/controller_parts.h"

#include <stdio.h>
#include <string.h>

#include "spate/error.h"

/* A node that is draining is not wanted any more: it may be replaced soon, though not while it only
 * restarts. */
#define DRAINING_MS 10000

static uint64_t away_ms_of(const struct sp_controller *controller, uint32_t node_id)
{
    uint64_t limit_ms = controller->options.node_replace_ms;
    bool draining = sp_state_member(controller->state, node_id).draining;

    return draining && (limit_ms == 0 || limit_ms > DRAINING_MS) ? DRAINING_MS : limit_ms;
}

static bool has_been_away(const struct sp_controller *controller, uint32_t node_id)
{
    uint64_t limit_ms = away_ms_of(controller, node_id);
    uint64_t since_ms = controller->down_since_ms[node_id];

    return !sp_controller_sees(controller, node_id) && limit_ms > 0 && since_ms > 0 &&
           sp_loop_now_ms(controller->options.loop) - since_ms >= limit_ms;
}

static bool is_where_it_was(const struct sp_controller *controller,
                            const struct sp_state_node *known,
                            const struct sp_state_node *node)
{
    return strcmp(known->peer_address, node->peer_address) == 0 &&
           sp_transport_is_found(controller->options.transport, node->node_id, node->incarnation);
}

int sp_controller_check_double(const struct sp_controller *controller,
                               const struct sp_state_node *node,
                               char *text,
                               size_t text_size)
{
    const struct sp_state_node *known = sp_state_node(controller->state, node->node_id);
    uint32_t node_id = node->node_id;

    if (known == NULL || known->incarnation == node->incarnation) {
        return 0;
    }
    if (node_id == controller->options.self.node_id) {
        (void)snprintf(
            text, text_size, "node id %u is taken, its node runs: give each its own", node_id);
        return SPATE_ERR_INVALID;
    }
    if (sp_transport_incarnation(controller->options.transport, node_id) == known->incarnation) {
        (void)snprintf(text, text_size, "another process with node id %u is connected", node_id);
        return SPATE_ERR_INVALID;
    }
    if (is_where_it_was(controller, known, node) || has_been_away(controller, node_id)) {
        return 0;
    }
    (void)snprintf(text,
                   text_size,
                   "node %u is known at %.60s, and this process is not found there: is its node id "
                   "right? if it is to replace that node: spate cluster drain %u",
                   node_id,
                   known->peer_address,
                   node_id);
    return SPATE_ERR_INVALID;
}
