#include "cluster/proposal_nodes.h"

#include <stdio.h>

#include "cluster/machine_of.h"
#include "cluster/state_nodes.h"
#include "spate/error.h"

/* Sets the text and returns `status`. */
#define REFUSE(status, text, text_size, ...)                                                       \
    ((void)snprintf((text), (text_size), __VA_ARGS__), (status))

struct census {
    unsigned nodes;    /* that have registered, or will: those that founded the cluster */
    unsigned machines; /* likewise */
    unsigned machines_here;
    unsigned machines_staying; /* of these, with a node that does not drain */
    unsigned nodes_here;
    unsigned nodes_draining;
};

static unsigned larger(unsigned left, unsigned right)
{
    return left > right ? left : right;
}

/* Founders that have not registered yet are machines of their own: other shards join later. */
static struct census take_census(const struct sp_proposal_view *view)
{
    struct sp_map_cursor cursor = { 0 };
    struct sp_machines here = { .count = 0 };
    struct sp_machines staying = { .count = 0 };
    struct census census = { .nodes_here = sp_state_node_count(view->state) };
    const struct sp_state_node *node = NULL;

    while ((node = sp_state_node_next(view->state, &cursor)) != NULL) {
        uint32_t machine = sp_machine_of(node);
        (void)sp_machines_add(&here, machine);
        if (sp_state_member(view->state, node->node_id).draining) {
            census.nodes_draining += 1;
        } else {
            (void)sp_machines_add(&staying, machine);
        }
    }
    census.machines_here = here.count;
    census.machines_staying = staying.count;
    census.nodes = larger(census.nodes_here, view->voters);
    census.machines = larger(here.count, view->voters);
    return census;
}

uint32_t sp_proposal_replicas_default(const struct sp_proposal_view *view)
{
    unsigned machines = take_census(view).machines;

    return machines < SP_PROPOSAL_REPLICAS_DEFAULT ? machines : SP_PROPOSAL_REPLICAS_DEFAULT;
}

static int refuse_few(const struct census *census, uint32_t replicas, char *text, size_t text_size)
{
    if (census->machines < census->nodes) {
        return REFUSE(SPATE_ERR_INVALID,
                      text,
                      text_size,
                      "replicas is %u but the cluster has %u machine%s (its %u nodes are shards of "
                      "these): use -r %u or add machines",
                      replicas,
                      census->machines,
                      census->machines == 1 ? "" : "s",
                      census->nodes,
                      census->machines);
    }
    return REFUSE(SPATE_ERR_INVALID,
                  text,
                  text_size,
                  "replicas is %u but the cluster has %u node%s: use -r %u or add nodes",
                  replicas,
                  census->nodes,
                  census->nodes == 1 ? "" : "s",
                  census->nodes);
}

int sp_proposal_check_nodes(const struct sp_proposal_view *view,
                            uint32_t replicas,
                            char *text,
                            size_t text_size)
{
    struct census census = take_census(view);

    if (replicas > census.machines) {
        return refuse_few(&census, replicas, text, text_size);
    }
    if (census.nodes_here == 0 || replicas > census.machines_here ||
        (view->wait_for_voters && census.machines_here < view->voters)) {
        return REFUSE(SPATE_ERR_NOT_READY,
                      text,
                      text_size,
                      "%u of %u nodes have registered so far: try again when the others run, or "
                      "use fewer replicas",
                      census.machines_here,
                      census.machines);
    }
    if (replicas > census.machines_staying) {
        return REFUSE(SPATE_ERR_INVALID,
                      text,
                      text_size,
                      "replicas is %u but %u of %u nodes are draining%s: use fewer replicas, add "
                      "nodes, or `spate cluster undrain`",
                      replicas,
                      census.nodes_draining,
                      census.nodes_here,
                      census.machines < census.nodes ? ", on too many machines" : "");
    }
    return 0;
}
