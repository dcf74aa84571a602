#include "cluster/proposal_command.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cluster/placement.h"
#include "cluster/proposal_nodes.h"
#include "cluster/state_codec.h"
#include "spate/error.h"

/* Sets the text and returns `status`. */
#define REFUSE(status, text, text_size, ...)                                                       \
    ((void)snprintf((text), (text_size), __VA_ARGS__), (status))

/* ---- feature levels -------------------------------------------------------------------------- */

/* Names the nodes that know too little, as far as the text reaches. */
static void name_old_nodes(const struct sp_state *state, uint32_t level, char *text, size_t size)
{
    struct sp_map_cursor cursor = { 0 };
    const struct sp_state_node *node = NULL;
    size_t used = 0;

    text[0] = '\0';
    while ((node = sp_state_node_next(state, &cursor)) != NULL && used + 1 < size) {
        if (node->features.most < level) {
            used += (size_t)snprintf(
                text + used, size - used, "%s%u", used == 0 ? "" : ", ", node->node_id);
        }
    }
}

/* 0 if `feature` may be written. NOT_READY: soon, nobody has to act. UNSUPPORTED: not before
 * somebody upgrades a node or lets go of the level. */
static int check_feature(const struct sp_proposal_view *view,
                         enum sp_feature feature,
                         const char *what,
                         char *text,
                         size_t text_size)
{
    const struct sp_state *state = view->state;
    uint32_t level = sp_state_feature_level(state);
    char nodes[64];

    if (sp_state_has_feature(state, feature)) {
        return 0;
    }
    if (sp_state_feature_hold(state)) {
        return REFUSE(SPATE_ERR_UNSUPPORTED,
                      text,
                      text_size,
                      "%s need feature level %u, the cluster is held at %u: `spate cluster "
                      "features release` once no older build has to come back",
                      what,
                      (unsigned)feature,
                      level);
    }
    name_old_nodes(state, feature, nodes, sizeof nodes);
    if (nodes[0] == '\0') {
        return REFUSE(SPATE_ERR_NOT_READY,
                      text,
                      text_size,
                      "%s need feature level %u, to which the cluster rises from %u once all nodes "
                      "have registered: try again",
                      what,
                      (unsigned)feature,
                      level);
    }
    return REFUSE(SPATE_ERR_UNSUPPORTED,
                  text,
                  text_size,
                  "%s need feature level %u, the cluster is at %u: upgrade node %s",
                  what,
                  (unsigned)feature,
                  level,
                  nodes);
}

/* ---- topics ---------------------------------------------------------------------------------- */

/* A topic to be, with its defaults filled in. */
struct plan {
    const char *name;
    uint32_t partitions;
    uint32_t replicas;
    const struct sp_topic_config *config;
};

static struct plan make_plan(const struct sp_proposal_view *view,
                             const struct sp_proposal *proposal)
{
    struct plan plan = {
        proposal->topic, proposal->partitions, proposal->replicas, &proposal->config
    };

    if (plan.partitions == 0) {
        plan.partitions = 1;
    }
    if (plan.replicas == 0) {
        plan.replicas = sp_proposal_replicas_default(view);
    }
    return plan;
}

/* The node that took the request has said which setting is wrong; this is for others. */
static int check_config(const struct sp_topic_config *config, char *text, size_t text_size)
{
    return sp_topic_config_is_valid(config)
               ? 0
               : REFUSE(SPATE_ERR_INVALID, text, text_size, "a setting is out of its bounds");
}

static int check_bounds(const struct plan *plan, char *text, size_t text_size)
{
    if (plan->partitions > SP_PARTITIONS_PER_TOPIC_MAX) {
        return REFUSE(SPATE_ERR_INVALID,
                      text,
                      text_size,
                      "partitions is %u: allowed are 1 to %d",
                      plan->partitions,
                      SP_PARTITIONS_PER_TOPIC_MAX);
    }
    if (plan->replicas > SP_REPLICAS_MAX) {
        return REFUSE(SPATE_ERR_INVALID,
                      text,
                      text_size,
                      "replicas is %u: allowed are 1 to %d",
                      plan->replicas,
                      SP_REPLICAS_MAX);
    }
    return check_config(plan->config, text, text_size);
}

static int
place_and_encode(const struct sp_proposal_view *view, const struct plan *plan, struct sp_buf *out)
{
    const struct sp_planner_view nodes_now = { .state = view->state,
                                               .health = view->health,
                                               .arg = view->arg };
    uint32_t *nodes = sp_mem_calloc((size_t)plan->partitions * plan->replicas, sizeof *nodes);

    if (nodes == NULL) {
        return SPATE_ERR_NOMEM;
    }
    int rv = sp_placement_choose(&nodes_now, plan->partitions, plan->replicas, nodes);
    if (rv == 0) {
        rv = sp_state_command_create_topic(
            plan->name, plan->partitions, plan->replicas, nodes, plan->config, out);
    }
    sp_mem_free(nodes);
    return rv;
}

static int create_topic(const struct sp_proposal_view *view,
                        const struct sp_proposal *proposal,
                        struct sp_buf *out,
                        char *text,
                        size_t text_size)
{
    struct plan plan = make_plan(view, proposal);

    int rv = sp_state_check_topic_name(plan.name, strlen(plan.name), text, text_size);
    if (rv == 0) {
        rv = check_bounds(&plan, text, text_size);
    }
    if (rv == 0 && sp_state_topic(view->state, plan.name) != NULL) {
        sp_proposal_explain(proposal, SPATE_ERR_EXISTS, text, text_size);
        rv = SPATE_ERR_EXISTS;
    }
    if (rv == 0) {
        rv = sp_proposal_check_nodes(view, plan.replicas, text, text_size);
    }
    if (rv == 0 && sp_state_topic_count(view->state) >= SP_TOPICS_MAX) {
        rv = REFUSE(SPATE_ERR_INVALID,
                    text,
                    text_size,
                    "the cluster has %d topics, which is the limit: delete some first",
                    SP_TOPICS_MAX);
    }
    if (rv == 0 && !sp_topic_config_is_plain(plan.config)) {
        rv = check_feature(view, SP_FEATURE_TOPIC_SETTINGS, "settings of topics", text, text_size);
    }
    if (rv == 0 && sp_topic_config_needs_compaction(plan.config, 0)) {
        rv = check_feature(view, SP_FEATURE_COMPACTION, "compaction", text, text_size);
    }
    return rv == 0 ? place_and_encode(view, &plan, out) : rv;
}

static int delete_topic(const struct sp_proposal_view *view,
                        const struct sp_proposal *proposal,
                        struct sp_buf *out,
                        char *text,
                        size_t text_size)
{
    const struct sp_state_topic *topic = sp_state_topic(view->state, proposal->topic);

    if (topic == NULL || (proposal->by_id && topic->topic_id != proposal->topic_id)) {
        sp_proposal_explain(proposal, SPATE_ERR_UNKNOWN_TOPIC, text, text_size);
        return SPATE_ERR_UNKNOWN_TOPIC;
    }
    return sp_state_command_delete_topic(proposal->topic, out);
}

static int alter_topic(const struct sp_proposal_view *view,
                       const struct sp_proposal *proposal,
                       struct sp_buf *out,
                       char *text,
                       size_t text_size)
{
    if (sp_state_topic(view->state, proposal->topic) == NULL) {
        sp_proposal_explain(proposal, SPATE_ERR_UNKNOWN_TOPIC, text, text_size);
        return SPATE_ERR_UNKNOWN_TOPIC;
    }
    int rv = check_feature(view, SP_FEATURE_TOPIC_SETTINGS, "altered settings", text, text_size);
    rv = rv != 0 ? rv : check_config(&proposal->config, text, text_size);
    if (rv == 0 && sp_topic_config_needs_compaction(&proposal->config, proposal->unset)) {
        rv = check_feature(view, SP_FEATURE_COMPACTION, "compaction", text, text_size);
    }
    return rv != 0 ? rv
                   : sp_state_command_alter_topic(
                         proposal->topic, &proposal->config, proposal->unset, out);
}

/* Is the node's build new enough, and its data directory no old copy? */
static int check_build(const struct sp_state *state,
                       const struct sp_state_node *node,
                       char *text,
                       size_t text_size)
{
    uint32_t most = sp_feature_level_said(node->features.most);

    if (most < sp_state_feature_level(state)) {
        return REFUSE(SPATE_ERR_UNSUPPORTED,
                      text,
                      text_size,
                      "node %u knows feature levels up to %u, the cluster is at %u: install the "
                      "newer build on it",
                      node->node_id,
                      most,
                      sp_state_feature_level(state));
    }
    if (sp_state_is_old_copy(state, node)) {
        return REFUSE(
            SPATE_ERR_CORRUPT,
            text,
            text_size,
            "node %u runs on an older copy of its data directory, which does not know what "
            "it has promised since: it must come back empty",
            node->node_id);
    }
    return 0;
}

/* The command is read back, since apply stops every replica when it meets one that it cannot read.
 */
static int register_node(const struct sp_proposal_view *view,
                         const struct sp_proposal *proposal,
                         struct sp_buf *out,
                         char *text,
                         size_t text_size)
{
    struct sp_state_node node;
    struct sp_cursor cursor;
    const struct sp_state_node *known = sp_state_node(view->state, proposal->self.node_id);

    int rv = check_build(view->state, &proposal->self, text, text_size);

    if (rv != 0) {
        return rv;
    }
    if (known != NULL && known->incarnation != proposal->self.incarnation) {
        return REFUSE(SPATE_ERR_INVALID,
                      text,
                      text_size,
                      "node %u was registered with another data directory: let it join with an "
                      "empty one, or bring the old one back",
                      proposal->self.node_id);
    }
    rv = sp_state_command_register_node(&proposal->self, out);
    if (rv != 0) {
        return rv;
    }
    sp_cursor_init(&cursor, out->bytes, out->size);
    (void)sp_cursor_array(&cursor); /* sticky, here and below */
    sp_cursor_skip(&cursor);
    sp_state_node_read(&cursor, &node);
    if (sp_cursor_finish(&cursor) != 0) {
        return REFUSE(SPATE_ERR_INVALID,
                      text,
                      text_size,
                      "an address or the rack of node %u is no printable UTF-8 text",
                      proposal->self.node_id);
    }
    return 0;
}

static int
feature_level(const struct sp_proposal_view *view, struct sp_buf *out, char *text, size_t text_size)
{
    uint32_t target = sp_state_feature_target(view->state);

    if (target == sp_state_feature_level(view->state) ||
        sp_state_node_count(view->state) < view->voters) {
        return REFUSE(SPATE_ERR_INVALID, text, text_size, "the feature level cannot rise now");
    }
    return sp_state_command_feature_level(target, out);
}

/* ---- producers ------------------------------------------------------------------------------- */

static int producer_name(const struct sp_proposal_view *view,
                         const struct sp_proposal *proposal,
                         struct sp_buf *out,
                         char *text,
                         size_t text_size)
{
    int rv =
        check_feature(view, SP_FEATURE_PRODUCER_NAMES, "producers with a name", text, text_size);
    if (rv != 0) {
        return rv;
    }
    rv = sp_producer_names_check(sp_state_producer_names(view->state),
                                 proposal->producer_name,
                                 proposal->producer_layout,
                                 view->append_time_ms);

    if (rv == SPATE_ERR_EXISTS) {
        const struct sp_producer_name *taken =
            sp_producer_names_find(sp_state_producer_names(view->state), proposal->producer_name);
        return REFUSE(rv,
                      text,
                      text_size,
                      "producer name `%.60s` was first used with the layout `%.60s`, not `%.60s`: "
                      "use another name",
                      proposal->producer_name,
                      taken->layout,
                      proposal->producer_layout);
    }
    if (rv != 0) {
        sp_proposal_explain(proposal, rv, text, text_size);
        return rv;
    }
    return sp_state_command_producer_name(proposal->producer_name, proposal->producer_layout, out);
}

/* ---- members --------------------------------------------------------------------------------- */

static int membership(const struct sp_proposal_view *view,
                      const struct sp_proposal *proposal,
                      struct sp_buf *out,
                      char *text,
                      size_t text_size)
{
    const struct sp_membership_change *change = &proposal->membership;
    const struct sp_state_partition *only = sp_membership_only(view->state, change);
    int rv = check_feature(
        view, SP_FEATURE_MEMBERSHIP, "changes of members and replicas", text, text_size);

    if (rv == 0 && change->kind == SP_MEMBERSHIP_JOIN_NODE) {
        rv = check_build(view->state, &change->node, text, text_size);
    }
    if (rv == 0 && only != NULL && view->led != NULL && !view->led(view->arg, only->group_id)) {
        rv = sp_membership_refuse_unled(only, text, text_size);
    }
    return rv != 0 ? rv : sp_membership_command(view->state, change, out, text, text_size);
}

int sp_proposal_command(const struct sp_proposal_view *view,
                        const struct sp_proposal *proposal,
                        struct sp_buf *out,
                        char *text,
                        size_t text_size)
{
    text[0] = '\0';
    switch (proposal->kind) {
    case SP_PROPOSAL_CREATE_TOPIC:
        return create_topic(view, proposal, out, text, text_size);
    case SP_PROPOSAL_DELETE_TOPIC:
        return delete_topic(view, proposal, out, text, text_size);
    case SP_PROPOSAL_PRODUCER_BLOCK:
        return sp_state_command_producer_block(out);
    case SP_PROPOSAL_REGISTER_NODE:
        return register_node(view, proposal, out, text, text_size);
    case SP_PROPOSAL_PRODUCER_NAME:
        return producer_name(view, proposal, out, text, text_size);
    case SP_PROPOSAL_FEATURE_LEVEL:
        return feature_level(view, out, text, text_size);
    case SP_PROPOSAL_FEATURE_HOLD:
        return sp_state_command_feature_hold(proposal->hold, out);
    case SP_PROPOSAL_ALTER_TOPIC:
        return alter_topic(view, proposal, out, text, text_size);
    case SP_PROPOSAL_MEMBERSHIP:
        return membership(view, proposal, out, text, text_size);
    }
    return SPATE_ERR_INTERNAL;
}

static void explain_name(const struct sp_proposal *proposal, int answer, char *text, size_t size)
{
    const char *reason = spate_strerror(answer);

    if (answer == SPATE_ERR_EXISTS) {
        reason = "was first used with another layout: use another name";
    } else if (answer == SPATE_ERR_INVALID) {
        reason = "was taken 32768 times, its epochs are used up: use another name";
    } else if (answer == SPATE_ERR_BUSY) {
        reason = "is one too many: so many names are not forgotten until they are unused for long";
    }
    (void)snprintf(text, size, "producer name `%.100s` %s", proposal->producer_name, reason);
}

void sp_proposal_explain(const struct sp_proposal *proposal,
                         int answer,
                         char *text,
                         size_t text_size)
{
    text[0] = '\0';
    if (answer != 0 && proposal->kind == SP_PROPOSAL_PRODUCER_NAME) {
        explain_name(proposal, answer, text, text_size);
    } else if (proposal->kind == SP_PROPOSAL_MEMBERSHIP) {
        sp_membership_explain(&proposal->membership, answer, text, text_size);
    } else if (answer == SPATE_ERR_EXISTS) {
        (void)snprintf(text, text_size, "topic `%.200s` exists already", proposal->topic);
    } else if (answer == SPATE_ERR_UNKNOWN_TOPIC && proposal->by_id) {
        (void)snprintf(text,
                       text_size,
                       "no topic `%.150s` with the id %llu: it was deleted, and perhaps made anew",
                       proposal->topic,
                       (unsigned long long)proposal->topic_id);
    } else if (answer == SPATE_ERR_UNKNOWN_TOPIC) {
        (void)snprintf(text,
                       text_size,
                       "no topic `%.200s`: list them with `spate topic list`",
                       proposal->topic);
    } else if (answer == SPATE_ERR_INVALID) {
        (void)snprintf(text,
                       text_size,
                       "the cluster refused the change: a limit of nodes, topics or replicas per "
                       "node is reached");
    } else if (answer != 0) {
        (void)snprintf(text, text_size, "%s", spate_strerror(answer));
    }
}
