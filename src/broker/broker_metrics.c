/* The metrics of clients and requests, and of the cluster as this node sees it. */
#include <stdio.h>

#include "broker/health.h"
#include "broker/metrics_parts.h"

/* ---- the cluster ----------------------------------------------------------------------------- */

static void expose_health(const struct sp_health *health, struct sp_exposition *exposition)
{
    sp_exposition_gauge(exposition,
                        "spate_controller_ready",
                        "1 if this node has caught up with a controller that leads.",
                        health->controller);
    sp_exposition_gauge(exposition, "spate_nodes", "Registered nodes.", health->nodes);
    sp_exposition_gauge(exposition,
                        "spate_nodes_down",
                        "Registered nodes without a link to this one.",
                        health->nodes_down);
    sp_exposition_gauge(
        exposition, "spate_topics", "Topics, the cluster's own included.", health->topics);
    sp_exposition_gauge(exposition,
                        "spate_partitions",
                        "Partitions of all topics, the cluster's own included.",
                        health->partitions);
    sp_exposition_gauge(
        exposition, "spate_partitions_led", "Partitions that this node leads.", health->led);
    sp_exposition_gauge(exposition,
                        "spate_partitions_leaderless",
                        "Partitions of the cluster that no node is known to lead.",
                        health->leaderless);
    sp_exposition_gauge(exposition,
                        "spate_partitions_under_replicated",
                        "Partitions of the cluster with replicas that are down or lack committed "
                        "records.",
                        health->under_replicated);
    sp_exposition_gauge(
        exposition,
        "spate_replicas_opening",
        "Replicas that should run on this node and do not: opening, damaged, or lost with "
        "the disk.",
        health->opening);
    sp_exposition_gauge(exposition,
                        "spate_raft_replicas_behind",
                        "Replicas of this node that lack committed records.",
                        health->behind);
}

static void expose_peers(const struct sp_broker *broker, struct sp_exposition *exposition)
{
    static const struct {
        const char *name;
        const char *help;
    } families[] = {
        { "spate_peer_up", "1 if there is a link to that node." },
        { "spate_peer_queued_bytes", "Bytes queued to that node." },
    };
    const struct sp_state *state = sp_controller_state(broker->options.controller);

    for (unsigned i = 0; i < 2; i++) {
        const struct sp_state_node *node;
        struct sp_map_cursor cursor = { 0 };

        sp_exposition_family(exposition, SP_METRIC_GAUGE, families[i].name, families[i].help);
        while ((node = sp_state_node_next(state, &cursor)) != NULL) {
            char id[16];
            const struct sp_metric_label label = { "peer", id };

            (void)snprintf(id, sizeof id, "%u", node->node_id);
            if (node->node_id != broker->options.node_id) {
                sp_exposition_sample(
                    exposition,
                    &label,
                    1,
                    i == 0 ? (uint64_t)sp_health_node_alive(broker, node->node_id)
                           : sp_transport_queued_bytes(broker->options.transport, node->node_id));
            }
        }
    }
}

/* ---- clients --------------------------------------------------------------------------------- */

static void expose_connections(const struct sp_broker *broker, struct sp_exposition *exposition)
{
    struct sp_server_counts counts = { .open = 0 };

    if (broker->server != NULL) {
        sp_server_count(broker->server, &counts);
    }
    sp_exposition_gauge(
        exposition, "spate_client_connections", "Client connections that are open.", counts.open);
    sp_exposition_gauge(exposition,
                        "spate_client_connections_max",
                        "How many client connections may be open: limits.connections.",
                        counts.open_max);
    sp_exposition_counter(exposition,
                          "spate_client_connections_accepted_total",
                          "Client connections accepted.",
                          counts.accepted);
    sp_exposition_counter(exposition,
                          "spate_client_connections_refused_total",
                          "Client connections closed at once, as there were too many.",
                          counts.refused);
    sp_exposition_gauge(exposition,
                        "spate_client_memory_bytes",
                        "Bytes that clients make this node hold.",
                        broker->budget.used_bytes);
    sp_exposition_gauge(exposition,
                        "spate_client_memory_limit_bytes",
                        "Their bound: limits.client.bytes.",
                        broker->budget.limit_bytes);
    sp_exposition_gauge(exposition,
                        "spate_client_memory_waiting",
                        "Connections that wait for their share of it.",
                        broker->budget.waiter_count);
}

static void expose_bytes(const struct sp_broker_counters *counters,
                         struct sp_exposition *exposition)
{
    sp_exposition_counter(exposition,
                          "spate_client_received_bytes_total",
                          "Bytes of requests from clients.",
                          counters->received_bytes);
    sp_exposition_counter(exposition,
                          "spate_client_sent_bytes_total",
                          "Bytes of answers to clients.",
                          counters->sent_bytes);
    sp_exposition_counter(exposition,
                          "spate_produced_records_total",
                          "Records that this node, as their leader, has acknowledged.",
                          counters->produced_records);
    sp_exposition_counter(exposition,
                          "spate_produced_batches_total",
                          "Batches of these records.",
                          counters->produced_batches);
    sp_exposition_counter(exposition,
                          "spate_produced_bytes_total",
                          "Bytes of these batches, as they are stored.",
                          counters->produced_bytes);
    sp_exposition_counter(exposition,
                          "spate_produce_repeats_total",
                          "Batches that were sent again and were stored only once.",
                          counters->repeats);
    sp_exposition_counter(exposition,
                          "spate_fetched_records_total",
                          "Records in the batches that this node gave to consumers.",
                          counters->fetched_records);
    sp_exposition_counter(exposition,
                          "spate_fetched_bytes_total",
                          "Bytes of these batches.",
                          counters->fetched_bytes);
}

static void expose_requests(const struct sp_broker_counters *counters,
                            struct sp_exposition *exposition)
{
    sp_exposition_family(exposition,
                         SP_METRIC_HISTOGRAM,
                         "spate_request_duration_seconds",
                         "Time from the arrival of a request to its answer, without that in which "
                         "it waited for something to happen.");
    for (unsigned i = 0; i <= SP_METHOD_COUNT; i++) {
        const struct sp_metric_label label = {
            "method", i < SP_METHOD_COUNT ? sp_method_name((enum sp_method)i) : "unknown"
        };

        if (sp_histogram_count(&counters->requests[i]) > 0) { /* few methods are in daily use */
            sp_exposition_histogram(exposition, &label, 1, &counters->requests[i]);
        }
    }
    sp_exposition_family(exposition,
                         SP_METRIC_COUNTER,
                         "spate_request_errors_total",
                         "Requests answered with an error, by its code.");
    for (int code = 1; code <= SP_BROKER_CODES; code++) {
        const struct sp_metric_label label = { "code", spate_error_name(-code) };

        sp_exposition_sample(exposition, &label, 1, counters->errors[code]);
    }
}

static void expose_left_out(const struct sp_metrics_left_out *left_out,
                            struct sp_exposition *exposition)
{
    const struct {
        struct sp_metric_label label;
        uint64_t count;
    } parts[] = {
        { { "what", "topics" }, left_out->topics },
        { { "what", "partitions" }, left_out->partitions },
        { { "what", "groups" }, left_out->groups },
        { { "what", "lags" }, left_out->lags },
    };

    sp_exposition_family(exposition,
                         SP_METRIC_GAUGE,
                         "spate_metrics_left_out",
                         "What has no series in this answer, as there is more than it may hold.");
    for (unsigned i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        sp_exposition_sample(exposition, &parts[i].label, 1, parts[i].count);
    }
}

void sp_broker_expose(const struct sp_broker *broker,
                      const struct sp_health *health,
                      struct sp_exposition *exposition,
                      bool partitions)
{
    struct sp_metrics_left_out left_out = { 0 };

    expose_health(health, exposition);
    expose_peers(broker, exposition);
    expose_connections(broker, exposition);
    expose_bytes(&broker->counters, exposition);
    expose_requests(&broker->counters, exposition);
    sp_compactor_expose(&broker->compactor, exposition);
    sp_topic_metrics_expose(broker, exposition, &left_out);
    if (partitions) {
        sp_partition_metrics_expose(broker, exposition, &left_out);
    }
    sp_group_metrics_expose(broker, exposition, &left_out);
    expose_left_out(&left_out, exposition);
}
