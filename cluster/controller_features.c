/* The cluster's feature level: raised by whoever leads, once all nodes know the higher one. */
#include "cluster/controller_parts.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/trace.h"
#include "spate/error.h"

#define RAISE_PAUSE_MS 1000

bool sp_controller_raise_is_due(const struct sp_controller *controller)
{
    return controller->confirmed && controller->ready_since_ms != 0 &&
           sp_state_node_count(controller->state) >= controller->voters &&
           sp_state_feature_target(controller->state) > sp_state_feature_level(controller->state);
}

static void on_raised(struct sp_proposal *proposal, int status, const char *text)
{
    struct sp_controller *controller = SP_CONTAINER_OF(proposal, struct sp_controller, raise);

    (void)text; /* refused: a node just registered with an older build, or somebody holds it */
    if (status == 0) {
        SP_TRACE_INFO("controller",
                      "feature level raised: builds that do not know it cannot come back",
                      "level=%" PRIu32,
                      sp_state_feature_level(controller->state));
    }
    controller->raise_due_ms = sp_loop_now_ms(controller->options.loop) + RAISE_PAUSE_MS;
}

void sp_controller_raise_level(struct sp_controller *controller)
{
    struct sp_proposal *proposal = &controller->raise;

    if (!sp_controller_raise_is_due(controller) || proposal->state != SP_PROPOSAL_IDLE ||
        sp_loop_now_ms(controller->options.loop) < controller->raise_due_ms) {
        return;
    }
    *proposal = (struct sp_proposal){ .kind = SP_PROPOSAL_FEATURE_LEVEL, .cb = on_raised };
    sp_controller_propose(controller, proposal);
}

void sp_controller_fail_outdated(struct sp_controller *controller, uint64_t index)
{
    char text[256];

    (void)snprintf(text,
                   sizeof text,
                   "the cluster's log holds a command of a newer build (index %" PRIu64
                   "), this build knows feature levels up to %" PRIu32
                   ": start the newer build again",
                   index,
                   sp_feature_level_said(controller->options.self.features.most));
    sp_controller_fail(controller, SPATE_ERR_UNSUPPORTED, text);
}
