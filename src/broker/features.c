/* cluster.features: the feature level of the cluster, held or let go (base/feature.h). */
#include "broker/methods.h"

#include <stdio.h>

#include "base/mem.h"
#include "spate/error.h"

struct holding {
    struct sp_proposal proposal;
    struct sp_request request;
    struct sp_broker *broker;
};

static void pack_node(struct sp_pack *pack, const struct sp_state_node *node)
{
    sp_pack_map(pack, 3);
    sp_pack_text(pack, "id");
    sp_pack_uint(pack, node->node_id);
    sp_pack_text(pack, "least");
    sp_pack_uint(pack, node->features.least);
    sp_pack_text(pack, "most");
    sp_pack_uint(pack, node->features.most);
}

static void answer(struct sp_broker *broker, struct sp_request *request)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    const struct sp_state_node *node = NULL;
    struct sp_map_cursor cursor = { 0 };
    struct sp_buf buf;
    struct sp_pack pack;

    sp_request_begin(request, &buf, &pack);
    sp_pack_map(&pack, 4);
    sp_pack_text(&pack, "level");
    sp_pack_uint(&pack, sp_state_feature_level(state));
    sp_pack_text(&pack, "held");
    sp_pack_bool(&pack, sp_state_feature_hold(state));
    sp_pack_text(&pack, "target");
    sp_pack_uint(&pack, sp_state_feature_target(state));
    sp_pack_text(&pack, "nodes");
    sp_pack_array(&pack, sp_state_node_count(state));
    while ((node = sp_state_node_next(state, &cursor)) != NULL) {
        pack_node(&pack, node);
    }
    sp_request_finish(request, &buf, &pack, NULL, 0);
}

static void on_held(struct sp_proposal *proposal, int status, const char *text)
{
    struct holding *holding = SP_CONTAINER_OF(proposal, struct holding, proposal);

    if (status != 0) {
        sp_request_fail(&holding->request, status, text);
    } else {
        answer(holding->broker, &holding->request);
    }
    sp_mem_free(holding);
}

static void set_hold(struct sp_broker *broker, struct sp_request *request, bool hold)
{
    struct holding *holding = sp_mem_calloc(1, sizeof *holding);

    if (holding == NULL) {
        sp_request_fail(request, SPATE_ERR_NOMEM, NULL);
        return;
    }
    holding->broker = broker;
    holding->request = *request;
    holding->proposal.kind = SP_PROPOSAL_FEATURE_HOLD;
    holding->proposal.hold = hold;
    holding->proposal.cb = on_held;
    sp_controller_propose(broker->options.controller, &holding->proposal);
}

void sp_method_cluster_features(struct sp_broker *broker,
                                struct sp_request request,
                                const struct sp_message *message)
{
    struct sp_cluster_features_request features;
    struct sp_api_error error;
    int rv = sp_cluster_features_request_decode(&message->params, &features, &error);

    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
    } else if (features.action.bytes == NULL) {
        answer(broker, &request);
    } else if (sp_bytes_equal_text(features.action, "hold")) {
        set_hold(broker, &request, true);
    } else if (sp_bytes_equal_text(features.action, "release")) {
        set_hold(broker, &request, false);
    } else {
        sp_request_fail(
            &request, SPATE_ERR_INVALID, "cluster.features: action must be `hold` or `release`");
    }
}

bool sp_broker_lacks_feature(const struct sp_broker *broker,
                             enum sp_feature feature,
                             const char *what,
                             struct sp_request *request)
{
    char text[160];

    if (sp_state_has_feature(sp_controller_state(broker->options.controller), feature)) {
        return false;
    }
    if (request != NULL) {
        (void)snprintf(text,
                       sizeof text,
                       "%s needs a higher feature level than the cluster has: `spate cluster "
                       "features` tells which nodes are to be upgraded",
                       what);
        sp_request_fail(request, SPATE_ERR_UNSUPPORTED, text);
    }
    return true;
}
