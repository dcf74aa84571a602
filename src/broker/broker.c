#include "broker/broker.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/coordinator.h"
#include "broker/health.h"
#include "broker/methods.h"
#include "spate/error.h"

enum {
    LOOK_AFTER_MS = 1000,
};

/* ---- finding --------------------------------------------------------------------------------- */

bool sp_broker_copy_text(struct sp_bytes bytes, char *text, size_t size)
{
    if (bytes.size >= size || (bytes.size > 0 && memchr(bytes.bytes, 0, bytes.size) != NULL)) {
        return false;
    }
    if (bytes.size > 0) {
        memcpy(text, bytes.bytes, bytes.size);
    }
    text[bytes.size] = '\0';
    return true;
}

const char *sp_broker_node_address(const struct sp_state_node *node,
                                   const struct sp_request *request,
                                   char text[SP_ADDRESS_SIZE_MAX])
{
    const char *comma = strchr(node->client_address, ',');
    size_t inside_size =
        comma == NULL ? strlen(node->client_address) : (size_t)(comma - node->client_address);

    if (comma != NULL && sp_request_is_outside(request)) {
        (void)snprintf(text, SP_ADDRESS_SIZE_MAX, "%s", comma + 1);
    } else {
        (void)snprintf(text, SP_ADDRESS_SIZE_MAX, "%.*s", (int)inside_size, node->client_address);
    }
    return text;
}

const char *sp_broker_address(const struct sp_broker *broker,
                              const struct sp_request *request,
                              uint32_t node_id,
                              char text[SP_ADDRESS_SIZE_MAX])
{
    const struct sp_state_node *node =
        sp_state_node(sp_controller_state(broker->options.controller), node_id);

    if (node == NULL) {
        text[0] = '\0';
        return text;
    }
    return sp_broker_node_address(node, request, text);
}

void sp_broker_not_leader(struct sp_broker *broker,
                          struct sp_request *request,
                          const char *topic,
                          uint32_t partition,
                          uint64_t group_id)
{
    uint32_t leader = sp_group_table_leader(broker->options.table, group_id, NULL);
    char text[SP_TOPIC_NAME_SIZE_MAX + 120];
    char address[SP_ADDRESS_SIZE_MAX];

    if (leader == broker->options.node_id) {
        (void)snprintf(text,
                       sizeof text,
                       "node %u leads partition %s/%u and is about to serve it: try again",
                       leader,
                       topic,
                       partition);
        sp_request_fail(request, SPATE_ERR_NOT_READY, text);
        return;
    }
    if (leader == 0) {
        (void)snprintf(text,
                       sizeof text,
                       "partition %s/%u has no leader at the moment: try again",
                       topic,
                       partition);
    } else {
        (void)snprintf(
            text, sizeof text, "partition %s/%u is led by node %u", topic, partition, leader);
    }
    sp_request_not_leader(
        request, leader, sp_broker_address(broker, request, leader, address), text);
}

void sp_broker_unknown_topic(struct sp_broker *broker,
                             struct sp_request *request,
                             const char *topic)
{
    char text[SP_TOPIC_NAME_SIZE_MAX + 120];

    if (!sp_controller_is_current(broker->options.controller)) {
        sp_request_fail(request,
                        SPATE_ERR_NOT_READY,
                        "this node is still learning the cluster's metadata: try again");
        return;
    }
    (void)snprintf(text, sizeof text, SP_NO_TOPIC_TEXT, topic);
    sp_request_fail(request, SPATE_ERR_UNKNOWN_TOPIC, text);
}

bool sp_broker_refuse_internal(struct sp_request *request, const char *topic)
{
    char text[SP_TOPIC_NAME_SIZE_MAX + 120];

    if (!sp_state_is_internal(topic)) {
        return false;
    }
    (void)snprintf(text,
                   sizeof text,
                   "topic `%s`: names that begin with `%s` belong to the cluster itself",
                   topic,
                   SP_STATE_INTERNAL_PREFIX);
    sp_request_fail(request, SPATE_ERR_INVALID, text);
    return true;
}

/* The topic that a request names; NULL: it has been answered. */
static const struct sp_state_topic *find_topic(struct sp_broker *broker,
                                               struct sp_request *request,
                                               struct sp_bytes topic,
                                               int64_t topic_id)
{
    const struct sp_state_topic *found = NULL;
    char name[SP_TOPIC_NAME_SIZE_MAX + 1] = "";

    if (sp_broker_copy_text(topic, name, sizeof name)) {
        found = sp_state_topic(sp_controller_state(broker->options.controller), name);
    }
    if (sp_broker_refuse_internal(request, name)) {
        return NULL;
    }
    if (found == NULL || (topic_id >= 0 && (uint64_t)topic_id != found->topic_id)) {
        sp_broker_unknown_topic(broker, request, name);
        return NULL;
    }
    return found;
}

static struct sp_partition *find(struct sp_broker *broker,
                                 struct sp_request *request,
                                 const struct sp_state_topic *topic,
                                 int32_t partition,
                                 bool follower)
{
    const struct sp_state_partition *place;
    struct sp_partition *served;
    char text[SP_TOPIC_NAME_SIZE_MAX + 120];

    if (topic == NULL) {
        return NULL;
    }
    if (partition < 0 || (uint32_t)partition >= topic->partition_count) {
        (void)snprintf(text,
                       sizeof text,
                       "topic `%s` has partitions 0 to %u, not %d",
                       topic->name,
                       topic->partition_count - 1,
                       partition);
        sp_request_fail(request, SPATE_ERR_UNKNOWN_PARTITION, text);
        return NULL;
    }
    place = &topic->partitions[partition];
    served = sp_map_get_u64(broker->partitions, place->group_id);
    if (served != NULL && (sp_partition_serves(served) || (follower && served->group != NULL &&
                                                           sp_raft_group_follows(served->group) &&
                                                           !sp_health_lags_here(broker, place)))) {
        return served;
    }
    sp_broker_not_leader(broker, request, topic->name, (uint32_t)partition, place->group_id);
    return NULL;
}

struct sp_partition *sp_broker_find(struct sp_broker *broker,
                                    struct sp_request *request,
                                    struct sp_bytes topic,
                                    int64_t topic_id,
                                    int32_t partition)
{
    return find(broker, request, find_topic(broker, request, topic, topic_id), partition, false);
}

struct sp_partition *sp_broker_find_follower(struct sp_broker *broker,
                                             struct sp_request *request,
                                             struct sp_bytes topic,
                                             int64_t topic_id,
                                             int32_t partition)
{
    return find(broker, request, find_topic(broker, request, topic, topic_id), partition, true);
}

/* ---- partitions ------------------------------------------------------------------------------ */

static struct sp_machine *acquire_coordinator(struct sp_broker *broker,
                                              const struct sp_state_partition *place)
{
    struct sp_coordinator *coordinator;

    if (sp_coordinator_new(broker, place, &coordinator) != 0) {
        return NULL;
    }
    if (sp_map_put_u64(broker->coordinators, place->group_id, coordinator) != 0) {
        sp_coordinator_free(coordinator);
        return NULL;
    }
    return &coordinator->machine;
}

static struct sp_machine *
acquire(void *arg, const struct sp_state_topic *topic, const struct sp_state_partition *place)
{
    struct sp_broker *broker = arg;
    struct sp_partition *partition;

    if (strcmp(topic->name, SP_STATE_GROUPS_TOPIC) == 0) {
        return acquire_coordinator(broker, place);
    }
    if (sp_partition_new(broker, topic, place, &partition) != 0) {
        return NULL;
    }
    if (sp_map_put_u64(broker->partitions, place->group_id, partition) != 0) {
        sp_partition_free(partition);
        return NULL;
    }
    return &partition->machine;
}

static struct sp_coordinator *coordinator_of(struct sp_machine *machine)
{
    return SP_CONTAINER_OF(machine, struct sp_coordinator, machine);
}

static void opened(void *arg, struct sp_machine *machine, struct sp_raft_group *group)
{
    struct sp_partition *partition = SP_CONTAINER_OF(machine, struct sp_partition, machine);

    if (sp_coordinator_is(machine)) {
        sp_coordinator_opened(coordinator_of(machine), group);
        return;
    }
    partition->group = group;
    sp_partition_configure(partition, &partition->config);
    sp_retention_watch(arg);
}

static void closing(void *arg, struct sp_machine *machine)
{
    struct sp_partition *partition = SP_CONTAINER_OF(machine, struct sp_partition, machine);
    struct sp_broker *broker = arg;

    if (sp_coordinator_is(machine)) {
        sp_coordinator_closing(coordinator_of(machine));
        return;
    }
    sp_compactor_leave(&broker->compactor, partition->group_id);
    partition->group = NULL;
    sp_fetch_abort(partition);
}

static void release(void *arg, struct sp_machine *machine)
{
    struct sp_broker *broker = arg;
    struct sp_partition *partition = SP_CONTAINER_OF(machine, struct sp_partition, machine);

    if (sp_coordinator_is(machine)) {
        (void)sp_map_remove_u64(broker->coordinators, coordinator_of(machine)->group_id);
        sp_coordinator_free(coordinator_of(machine));
        return;
    }
    (void)sp_map_remove_u64(broker->partitions, partition->group_id);
    sp_partition_free(partition);
}

const struct sp_reconcile_handler sp_broker_reconcile_handler = {
    acquire, opened, closing, release
};

/* ---- memory ---------------------------------------------------------------------------------- */

/* Every second while clients hold much: whoever does not take what it asked for makes room for
 * those who wait. */
static void on_look_after(struct sp_timer *timer)
{
    struct sp_broker *broker = SP_CONTAINER_OF(timer, struct sp_broker, look_after);

    if (broker->server == NULL || sp_budget_is_small(&broker->budget)) {
        return;
    }
    if (broker->budget.full) {
        sp_server_close_stalled(broker->server, SP_STALLED_MS);
        if (broker->outside != NULL) {
            sp_server_close_stalled(broker->outside, SP_STALLED_MS);
        }
    }
    /* Without memory for it the next growth starts it. */
    (void)sp_timer_start(timer, sp_loop_now_ms(broker->options.loop) + LOOK_AFTER_MS);
}

static void on_grown(void *arg)
{
    struct sp_broker *broker = arg;

    if (broker->closed == NULL && !sp_timer_active(&broker->look_after)) {
        /* Without memory for it the next growth starts it. */
        (void)sp_timer_start(&broker->look_after,
                             sp_loop_now_ms(broker->options.loop) + LOOK_AFTER_MS);
    }
}

static void init_budget(struct sp_broker *broker)
{
    const struct sp_budget_handler handler = { on_grown, broker };
    size_t bytes_max = broker->options.client_bytes_max;

    sp_budget_init(&broker->budget,
                   broker->options.loop,
                   bytes_max == 0 ? SP_CLIENT_BYTES_DEFAULT : bytes_max,
                   &handler);
    sp_timer_init(&broker->look_after, broker->options.loop, on_look_after);
}

/* ---- life ------------------------------------------------------------------------------------ */

static int open_port(struct sp_broker *broker,
                     const char *address,
                     const struct sp_server_handler *handler,
                     struct sp_server **out_server)
{
    uint32_t connections_max = broker->options.connections_max;

    return sp_server_new(broker->options.loop,
                         address,
                         &sp_conn_messagepack,
                         connections_max == 0 ? SP_CONNECTIONS_MAX : connections_max,
                         handler,
                         broker,
                         out_server);
}

static int open_ports(struct sp_broker *broker)
{
    const char *outside = broker->options.listen_outside;
    int rv = open_port(broker, broker->options.listen, &sp_session_server_handler, &broker->server);

    if (rv != 0 || outside == NULL || outside[0] == '\0') {
        return rv;
    }
    rv = open_port(broker, outside, &sp_session_outside_handler, &broker->outside);
    if (rv != 0) {
        sp_server_close(broker->server, NULL, NULL);
        return rv;
    }
    sp_server_count_with(broker->server, broker->outside);
    sp_server_count_with(broker->outside, broker->server);
    return 0;
}

int sp_broker_new(const struct sp_broker_options *options, struct sp_broker **out_broker)
{
    struct sp_broker *broker = sp_mem_calloc(1, sizeof *broker);
    int rv = SPATE_ERR_NOMEM;

    if (broker == NULL) {
        return rv;
    }
    broker->options = *options;
    init_budget(broker);
    sp_retention_init(broker);
    sp_health_begin(broker);
    sp_compactor_init(&broker->compactor, options->loop, sp_compactor_ended, broker);
    sp_list_init(&broker->producer_waiters);
    broker->partitions = sp_map_new();
    broker->coordinators = sp_map_new();
    broker->totals = sp_map_new();
    if (broker->partitions != NULL && broker->coordinators != NULL && broker->totals != NULL) {
        rv = open_ports(broker);
    }
    if (rv != 0) {
        sp_map_free(broker->partitions);
        sp_map_free(broker->coordinators);
        sp_map_free(broker->totals);
        sp_mem_free(broker);
        return rv;
    }
    *out_broker = broker;
    return 0;
}

uint16_t sp_broker_port(const struct sp_broker *broker)
{
    return sp_server_port(broker->server);
}

uint16_t sp_broker_outside_port(const struct sp_broker *broker)
{
    return broker->outside == NULL ? 0 : sp_server_port(broker->outside);
}

void sp_broker_set_reconcile(struct sp_broker *broker, const struct sp_reconcile *reconcile)
{
    broker->reconcile = reconcile;
    sp_retention_watch(broker); /* the node is complete: from now on it is looked at, too */
}

void sp_broker_set_mover(struct sp_broker *broker, const struct sp_mover *mover)
{
    broker->mover = mover;
}

void sp_broker_set_join(struct sp_broker *broker, const struct sp_join *join)
{
    broker->join = join;
}

void sp_broker_topics_changed(struct sp_broker *broker)
{
    struct sp_map_cursor cursor = { 0 };
    struct sp_coordinator *coordinator;

    while ((coordinator = sp_map_next(broker->coordinators, &cursor)) != NULL) {
        sp_coordinator_topics_changed(coordinator);
    }
}

static void on_port_closed(struct sp_broker *broker)
{
    if (broker->server == NULL && broker->outside == NULL) {
        broker->closed(broker->closed_arg);
    }
}

static void on_server_closed(void *arg)
{
    struct sp_broker *broker = arg;

    broker->server = NULL;
    on_port_closed(broker);
}

static void on_outside_closed(void *arg)
{
    struct sp_broker *broker = arg;

    broker->outside = NULL;
    on_port_closed(broker);
}

void sp_broker_close_port(struct sp_broker *broker, void (*closed)(void *arg), void *arg)
{
    broker->closed = closed;
    broker->closed_arg = arg;
    sp_timer_stop(&broker->look_after);
    sp_retention_stop(broker);
    sp_server_close(broker->server, on_server_closed, broker);
    if (broker->outside != NULL) {
        sp_server_close(broker->outside, on_outside_closed, broker);
    }
}

void sp_broker_free(struct sp_broker *broker)
{
    SP_ASSERT(!sp_timer_active(&broker->retention) && !sp_timer_active(&broker->look_after));
    sp_budget_deinit(&broker->budget);
    sp_map_free(broker->partitions);
    sp_map_free(broker->coordinators);
    sp_map_free(broker->totals);
    sp_mem_free(broker);
}
