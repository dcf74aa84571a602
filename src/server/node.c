#include "server/node.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/metrics.h"
#include "base/trace.h"
#include "broker/broker.h"
#include "broker/health.h"
#include "cluster/admit.h"
#include "cluster/controller.h"
#include "cluster/group_table.h"
#include "cluster/join.h"
#include "cluster/mover.h"
#include "cluster/reconcile.h"
#include "server/node_parts.h"
#include "spate/error.h"
#include "wire/pack.h"

/* How long a stopping node tries to hand its leaderships over. */
#define DRAIN_MS 2000

static void fail(struct sp_node *node, int status, const char *text)
{
    if (node->failed) {
        return;
    }
    node->failed = true;
    node->handler.failed(node->arg, status, text);
}

/* ---- store ----------------------------------------------------------------------------------- */

static void on_meta_durable(void *arg, uint64_t sequence)
{
    struct sp_node *node = arg;

    if (node->transport != NULL) {
        sp_transport_meta_durable(node->transport, sequence);
    }
    if (node->table != NULL) {
        sp_group_table_meta_durable(node->table, sequence);
    }
}

static void on_store_failed(void *arg, int status, const char *text)
{
    fail(arg, status, text);
}

static const struct sp_store_handler store_handler = { on_meta_durable, on_store_failed };

/* ---- transport ------------------------------------------------------------------------------- */

static void on_peer_message(void *arg, uint32_t from_node, struct sp_peer_message *message)
{
    struct sp_node *node = arg;

    if (message->kind == SP_PEER_CALL || message->kind == SP_PEER_REPLY) {
        sp_controller_message(node->controller, from_node, message);
    } else {
        sp_group_table_message(node->table, from_node, message);
    }
}

static void on_link(void *arg, uint32_t node_id, enum sp_link_state state)
{
    struct sp_node *node = arg;

    sp_group_table_link(node->table, node_id, state);
}

static void on_formed(void *arg, const uint32_t *members, unsigned count, bool fresh)
{
    struct sp_node *node = arg;

    SP_TRACE_INFO("node", fresh ? "cluster formed" : "cluster known", "voters=%u", count);
    if (!node->stopping) {
        sp_controller_start(node->controller, sp_join_voter_id(node->store), members, count);
    }
}

static void on_lost(void *arg)
{
    struct sp_node *node = arg;

    if (!node->stopping) {
        sp_join_start(node->join);
    }
}

static void on_stranger(void *arg)
{
    struct sp_node *node = arg;

    if (!node->stopping && node->join != NULL) {
        sp_join_met_stranger(node->join);
    }
}

static bool is_current(void *arg, uint32_t node_id)
{
    const struct sp_node *node = arg;

    return !node->stopping && node->controller != NULL &&
           sp_controller_is_current_on(node->controller, node_id);
}

static void on_guest(void *arg, uint64_t guest, const struct sp_slice *body)
{
    struct sp_node *node = arg;

    if (node->admit != NULL) {
        sp_admit_request(node->admit, guest, body);
    }
}

static const struct sp_transport_handler transport_handler = {
    on_peer_message, on_link, on_formed, on_lost, on_guest, on_stranger, is_current
};

/* ---- controller ------------------------------------------------------------------------------ */

/* Kept in the data directory too, so that an older build that is started on it says so at once. It
 * says so in any case, when it meets the command that raised the level. */
static void note_level(struct sp_node *node)
{
    uint32_t level = sp_state_feature_level(sp_controller_state(node->controller));

    if (level > SP_FEATURE_LEVEL_FIRST && level != sp_store_feature_level(node->store)) {
        (void)sp_store_set_feature_level(node->store, level); /* without memory: see above */
    }
    sp_transport_set_level(node->transport, level);
    sp_group_table_set_level(node->table, level);
}

/* So that older copies of data directories are refused. */
static void note_registered(struct sp_node *node)
{
    const struct sp_state *state = sp_controller_state(node->controller);
    const struct sp_state_node *known = NULL;
    struct sp_map_cursor cursor = { 0 };

    while ((known = sp_state_node_next(state, &cursor)) != NULL) {
        sp_transport_set_registered(
            node->transport, known->node_id, &(struct sp_life){ known->incarnation, known->run });
    }
}

static void on_state_changed(void *arg, const struct sp_state_change *change)
{
    struct sp_node *node = arg;

    sp_reconcile_changed(node->reconcile, change);
    sp_mover_wake(node->mover);
    if (change->kind == SP_STATE_TOPIC_CREATED || change->kind == SP_STATE_TOPIC_DELETED) {
        sp_broker_topics_changed(node->broker);
    } else if (change->kind == SP_STATE_TOPIC_ALTERED) {
        sp_broker_topic_altered(node->broker, change->topic);
    }
    if (change->kind == SP_STATE_FEATURE_LEVEL) {
        note_level(node);
    }
    if (change->kind == SP_STATE_NODE_CHANGED) {
        note_registered(node);
    }
}

static void on_confirmed(void *arg)
{
    struct sp_node *node = arg;

    note_level(node);
    note_registered(node);
    sp_reconcile_confirmed(node->reconcile);
    sp_mover_wake(node->mover);
    sp_broker_topics_changed(node->broker);
    sp_broker_topic_altered(node->broker, NULL);
}

static void on_controller_failed(void *arg, int status, const char *text)
{
    fail(arg, status, text);
}

/* Its partitions are as they were; without the controller none of them is opened. */
static void on_controller_damaged(void *arg, uint64_t voter_id, const char *text)
{
    sp_join_renew(((struct sp_node *)arg)->join, voter_id, text);
}

static const struct sp_controller_handler controller_handler = {
    on_state_changed, on_confirmed, on_controller_failed, on_controller_damaged
};

/* ---- starting -------------------------------------------------------------------------------- */

static int open_store(struct sp_node *node, char *text, size_t text_size)
{
    struct sp_store_options options = { .path = node->config->data_dir,
                                        .node_id = node->config->node_id,
                                        .segment_bytes = node->config->segment_bytes,
                                        .counted = true,
                                        .feature_level_max = node->config->features.most,
                                        .free_bytes_min = node->config->free_bytes_min,
                                        .spare_bytes = node->config->spare_bytes,
                                        .prefill_bytes = node->config->prefill_bytes };

    return sp_store_open(node->loop, &options, &store_handler, node, text, text_size, &node->store);
}

static int open_transport(struct sp_node *node, char *text, size_t text_size)
{
    int rv = sp_transport_new(node->loop,
                              node->store,
                              node->transport_options,
                              &transport_handler,
                              node,
                              &node->transport);

    if (rv == 0) {
        sp_transport_set_level(node->transport, sp_store_feature_level(node->store));
        sp_transport_set_run(node->transport, sp_store_run(node->store));
    } else {
        (void)snprintf(text,
                       text_size,
                       "cannot listen on listen.peer %s: %s",
                       node->transport_options->listen,
                       rv == SPATE_ERR_EXISTS ? "the address is in use" : spate_strerror(rv));
    }
    return rv;
}

static bool has_others(void *arg, const struct sp_raft_group *group)
{
    const struct sp_node *node = arg;

    return node->controller == NULL || sp_controller_has_others(node->controller, group);
}

static int open_table(struct sp_node *node)
{
    struct sp_group_table_options options = {
        .loop = node->loop,
        .store = node->store,
        .transport = node->transport,
        .node_id = node->config->node_id,
        .election_timeout_ms = node->config->election_timeout_ms,
        .heartbeat_timeout_ms = node->config->heartbeat_ms,
        .fill_bytes_per_s = node->config->move_bytes_per_s,
        .has_others = has_others,
        .arg = node,
    };

    return sp_group_table_new(&options, &node->table);
}

/* Both sides: this node may have to join, and lets others in. */
static int open_joining(struct sp_node *node, const struct sp_state_node *self)
{
    struct sp_join_options options = {
        .loop = node->loop,
        .store = node->store,
        .transport = node->transport,
        .addresses = node->transport_options,
        .self = *self,
        .renewed = sp_controller_renewed,
        .arg = node->controller,
    };
    int rv = sp_join_new(&options, &node->join);

    if (rv == 0) {
        rv = sp_admit_new(node->controller, node->store, node->transport, &node->admit);
    }
    if (rv == 0 && node->transport_options->join_count > 0) {
        sp_join_start(node->join);
    }
    return rv;
}

static int open_controller(struct sp_node *node)
{
    const struct sp_config *config = node->config;
    struct sp_controller_options options = {
        .loop = node->loop, .store = node->store, .table = node->table, .transport = node->transport
    };
    int rv;

    options.self.node_id = config->node_id;
    options.self.features = config->features;
    options.self.run = sp_store_run(node->store);
    options.self.incarnation = sp_store_identity(node->store)->incarnation;
    sp_config_client_address(config, options.self.client_address);
    (void)snprintf(options.self.peer_address,
                   sizeof options.self.peer_address,
                   "%s",
                   node->transport_options->advertise);
    (void)snprintf(options.self.rack, sizeof options.self.rack, "%s", config->rack);
    options.coordinators = SP_COORDINATOR_COUNT;
    options.node_replace_ms = config->node_replace_ms;
    rv = sp_controller_new(&options, &controller_handler, node, &node->controller);
    return rv != 0 ? rv : open_joining(node, &options.self);
}

static int open_broker(struct sp_node *node, char *text, size_t text_size)
{
    struct sp_broker_options options = { .loop = node->loop,
                                         .store = node->store,
                                         .table = node->table,
                                         .transport = node->transport,
                                         .controller = node->controller,
                                         .node_id = node->config->node_id,
                                         .listen = node->config->listen_client,
                                         .listen_outside = node->config->listen_outside,
                                         .connections_max = node->config->connections_max,
                                         .group_retention_ms = node->config->group_retention_ms,
                                         .group_stalled_ms = node->config->group_stalled_ms,
                                         .compaction_bytes_per_s =
                                             node->config->compaction_bytes_per_s,
                                         .compaction_memory_bytes =
                                             node->config->compaction_memory_bytes,
                                         .client_bytes_max = node->config->client_bytes_max };
    int rv = sp_broker_new(&options, &node->broker);

    if (rv != 0) {
        (void)snprintf(text,
                       text_size,
                       "cannot listen on listen.client %s%s%s: %s",
                       options.listen,
                       options.listen_outside[0] == '\0' ? "" : " and listen.outside ",
                       options.listen_outside,
                       rv == SPATE_ERR_EXISTS ? "the address is in use" : spate_strerror(rv));
        return rv;
    }
    rv = sp_reconcile_new(node->loop,
                          node->store,
                          node->table,
                          node->controller,
                          node->config->node_id,
                          &sp_broker_reconcile_handler,
                          node->broker,
                          &node->reconcile);
    if (rv == 0) {
        sp_broker_set_reconcile(node->broker, node->reconcile);
        const struct sp_mover_options mover = {
            .loop = node->loop,
            .controller = node->controller,
            .table = node->table,
            .reconcile = node->reconcile,
            .election_timeout_ms = node->config->election_timeout_ms,
        };
        rv = sp_mover_new(&mover, &node->mover);
    }
    if (rv == 0) {
        sp_broker_set_mover(node->broker, node->mover);
        sp_broker_set_join(node->broker, node->join);
    }
    return rv;
}

int sp_node_start(struct sp_loop *loop,
                  const struct sp_config *config,
                  const struct sp_transport_options *transport,
                  const struct sp_node_handler *handler,
                  void *arg,
                  char *text,
                  size_t text_size,
                  struct sp_node **out_node)
{
    struct sp_node *node = sp_mem_calloc(1, sizeof *node);
    int rv;

    text[0] = '\0';
    if (node == NULL) {
        return SPATE_ERR_NOMEM;
    }
    node->loop = loop;
    node->config = config;
    node->transport_options = transport;
    node->handler = *handler;
    node->arg = arg;
    rv = open_store(node, text, text_size);
    if (rv == 0) {
        rv = open_transport(node, text, text_size);
    }
    if (rv == 0) {
        rv = open_table(node);
    }
    if (rv == 0) {
        rv = open_controller(node);
    }
    if (rv == 0) {
        rv = open_broker(node, text, text_size);
    }
    *out_node = node; /* half built after a failure: the process ends, nothing was written yet */
    return rv;
}

/* ---- stopping -------------------------------------------------------------------------------- */

static void on_store_closed(void *arg)
{
    struct sp_node *node = arg;
    struct sp_node_handler handler = node->handler;
    void *handler_arg = node->arg;

    sp_mem_free(node);
    handler.stopped(handler_arg);
}

static void on_transport_closed(void *arg)
{
    struct sp_node *node = arg;

    node->transport = NULL;
    sp_store_close(node->store, on_store_closed, node);
}

static void on_table_closed(void *arg)
{
    struct sp_node *node = arg;

    node->table = NULL;
    sp_controller_free(node->controller);
    sp_broker_free(node->broker);
    sp_transport_close(node->transport, on_transport_closed, node);
}

static void on_reconcile_closed(void *arg)
{
    struct sp_node *node = arg;

    node->reconcile = NULL;
    sp_group_table_close(node->table, on_table_closed, node);
}

static void on_join_closed(void *arg)
{
    struct sp_node *node = arg;

    node->join = NULL;
    sp_admit_free(node->admit);
    node->admit = NULL;
    sp_broker_set_mover(node->broker, NULL);
    sp_mover_free(node->mover);
    node->mover = NULL;
    sp_controller_stop(node->controller); /* its handler calls reconcile, its timers group 0 */
    sp_broker_set_reconcile(node->broker, NULL);
    sp_reconcile_close(node->reconcile, on_reconcile_closed, node);
}

static void on_port_closed(void *arg)
{
    struct sp_node *node = arg;

    sp_broker_set_join(node->broker, NULL);
    sp_join_close(node->join, on_join_closed, node);
}

static void on_drained(void *arg)
{
    struct sp_node *node = arg;

    node->closing = true;
    sp_broker_close_port(node->broker, on_port_closed, node);
}

void sp_node_stop(struct sp_node *node)
{
    if (node->stopping || node->failed) {
        return;
    }
    node->stopping = true;
    sp_group_table_drain(node->table, DRAIN_MS, on_drained, node);
}
