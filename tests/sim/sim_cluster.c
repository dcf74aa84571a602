#include "sim_cluster.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "cluster/raft_group.h"
#include "server/node.h"
#include "sim_damage.h"
#include "sim_disk.h"
#include "sim_model.h"
#include "sim_observer.h"
#include "sim_parts.h"
#include "spate/error.h"

enum {
    WORKERS = 4,
    CLIENT_PORT = 7700,
    PEER_PORT = 7701,
};

struct sim_cluster sim_cluster;

/* ---- shape ----------------------------------------------------------------------------------- */

static bool has_mate(const struct sim_cluster_shape *shape, uint32_t machine)
{
    return shape->shards && machine <= shape->joiner_count;
}

/* `founds`: it is one of the seeds by its file, else it joins them. */
static void configure(struct sim_node *node, const struct sim_cluster_shape *shape, bool founds)
{
    struct sp_config *config = &node->config;
    size_t used = 0;

    sp_config_init(config);
    config->node_id = node->node_id;
    config->segment_bytes = shape->segment_bytes;
    config->free_bytes_min = shape->free_bytes_min;
    config->spare_bytes = 64 * 1024 * 1024;
    config->election_timeout_ms = shape->election_timeout_ms;
    config->heartbeat_ms = shape->heartbeat_ms;
    if (shape->replace_ms > 0) {
        config->node_replace_ms = shape->replace_ms;
    }
    (void)snprintf(config->rack,
                   sizeof config->rack,
                   has_mate(shape, node->machine) ? "rack%u#%u" : "rack%u",
                   node->machine,
                   node->machine);
    (void)snprintf(config->data_dir, sizeof config->data_dir, "/data");
    (void)snprintf(config->listen_client,
                   sizeof config->listen_client,
                   "%s:%d",
                   node->process->host,
                   CLIENT_PORT);
    (void)snprintf(
        config->listen_peer, sizeof config->listen_peer, "%s:%d", node->process->host, PEER_PORT);
    unsigned seed_count = shape->node_count - shape->joiner_count;
    for (unsigned i = 0; founds && i < seed_count; i++) {
        used += (size_t)snprintf(config->seeds + used,
                                 sizeof config->seeds - used,
                                 "%s%u@10.0.0.%u:%d",
                                 i == 0 ? "" : ",",
                                 i + 1,
                                 i + 1,
                                 PEER_PORT);
    }
    for (unsigned i = 0; !founds && i < seed_count; i++) {
        used += (size_t)snprintf(config->join + used,
                                 sizeof config->join - used,
                                 "%s10.0.0.%u:%d",
                                 i == 0 ? "" : ",",
                                 i + 1,
                                 PEER_PORT);
    }
}

static void finish_config(struct sim_node *node)
{
    struct sp_config_error error;
    int rv = sp_config_finish(&node->config, &node->transport, &error);

    SP_ASSERT(rv == 0);
}

static bool is_seed(const struct sim_node *node, const struct sim_cluster_shape *shape)
{
    return node->node_id <= shape->node_count - shape->joiner_count;
}

void sim_cluster_configure_double(struct sim_node *twin, const struct sim_node *node, bool copied)
{
    twin->node_id = node->node_id;
    twin->machine = node->machine;
    configure(twin, &sim_cluster.shape, copied && is_seed(node, &sim_cluster.shape));
    if (copied) {
        (void)snprintf(twin->config.advertise_peer,
                       sizeof twin->config.advertise_peer,
                       "%s",
                       node->config.listen_peer);
    }
    finish_config(twin);
}

static uint32_t node_id_at(const struct sim_cluster_shape *shape, unsigned place)
{
    unsigned seed_count = shape->node_count - shape->joiner_count;

    return shape->shards && place >= seed_count ? SP_SHARD_NODE_STEP + place - seed_count + 1
                                                : place + 1;
}

uint32_t sim_cluster_id(unsigned place)
{
    SP_ASSERT(place < sim_cluster.node_count);
    return sim_cluster.nodes[place].node_id;
}

unsigned sim_cluster_place(uint32_t node_id)
{
    unsigned place = 0;

    while (sim_cluster_id(place) != node_id) {
        place += 1;
    }
    return place;
}

struct sim_node *sim_cluster_node(uint32_t node_id)
{
    return &sim_cluster.nodes[sim_cluster_place(node_id)];
}

void sim_cluster_init(const struct sim_cluster_shape *shape)
{
    memset(&sim_cluster, 0, sizeof sim_cluster);
    sim_cluster.shape = *shape;
    sim_cluster.node_count = shape->node_count;
    for (unsigned i = 0; i < shape->node_count; i++) {
        struct sim_node *node = &sim_cluster.nodes[i];
        char name[16];
        char host[32];

        (void)snprintf(name, sizeof name, "n%u", i + 1);
        (void)snprintf(host, sizeof host, "10.0.0.%u", i + 1);
        node->node_id = node_id_at(shape, i);
        node->machine = node->node_id % SP_SHARD_NODE_STEP;
        node->process = sim_process_new(name, host);
        node->process->owner = node;
        sp_list_init(&node->observers);
        sp_list_init(&node->submissions);
        sim_disk_new(node->process)->syncs_each = sim.seed % 2 == 0;
        configure(node, shape, is_seed(node, shape));
        finish_config(node);
    }
}

void sim_cluster_addresses(char *out, size_t size)
{
    size_t used = 0;

    for (unsigned i = 0; i < sim_cluster.node_count; i++) {
        used += (size_t)snprintf(out + used,
                                 size - used,
                                 "%s%s",
                                 i == 0 ? "" : ",",
                                 sim_cluster.nodes[i].config.listen_client);
    }
}

/* ---- starting and stopping ------------------------------------------------------------------- */

static void on_restart(void *arg)
{
    struct sim_node *node = arg;

    if (!node->process->alive && sim.now_us >= node->away_until_us) {
        sim_cluster_start(node);
    }
}

void sim_cluster_restart_later(struct sim_node *node)
{
    uint64_t pause_us =
        sim_between(&sim.rand_fault, sim_cluster.restart_min_us, sim_cluster.restart_max_us);

    if (sim.now_us + pause_us < node->away_until_us) {
        pause_us = node->away_until_us - sim.now_us;
    }
    (void)sim_at(sim.now_us + pause_us, SIM_EVENT_FAULT, NULL, on_restart, node);
}

bool sim_cluster_disk_suspect(const struct sim_node *node)
{
    const struct sim_disk *disk = node->process->disk;

    return disk->io_failed || disk->was_full || disk->capacity_bytes < SIM_DISK_BYTES;
}

bool sim_cluster_explains(const struct sim_node *node, int status)
{
    const struct sim_disk *disk = node->process->disk;

    if (node->process->doomed != SIM_DEATH_NONE || disk->frozen) {
        return true; /* it dies in this call */
    }
    switch (status) {
    case SPATE_ERR_IO:
        return disk->io_failed;
    case SPATE_ERR_NO_SPACE:
        return disk->was_full;
    case SPATE_ERR_STOPPED:
        return disk->io_failed || disk->was_full;
    default:
        return false;
    }
}

/* A node goes nowhere without its replica of the controller's log. */
static bool node_may_fail(const struct sim_node *node, int status)
{
    return sim_cluster_explains(node, status) ||
           (status == SPATE_ERR_CORRUPT && sim_damage_touched_any(node->process->disk, 0));
}

/* All nodes of its machine, which are one program. */
static void kill_machine(struct sim_node *node, enum sim_death death)
{
    sim_process_kill(node->process, death);
    sim_cluster_restart_later(node);
    for (unsigned i = 0; i < sim_cluster.node_count; i++) {
        struct sim_node *other = &sim_cluster.nodes[i];
        if (other != node && other->machine == node->machine && other->process->alive) {
            sim_process_kill(other->process, death);
            sim_cluster_restart_later(other);
            sim_model.counts.fell_together += 1;
        }
    }
}

/* The program would end here with its exit status; a supervisor starts it again. */
static void on_failed(void *arg, int status, const char *text)
{
    struct sim_node *node = arg;

    sim_note("node fails: %s: %s", spate_error_name(status), text);
    if (status == SPATE_ERR_NO_SPACE && !node->stopping &&
        node->process->doomed == SIM_DEATH_NONE) {
        sim_fail("%s fails for want of space: %s", node->process->name, text);
    }
    if (!node_may_fail(node, status)) {
        sim_fail("%s fails without such a disk error: %s: %s",
                 node->process->name,
                 spate_error_name(status),
                 text);
    }
    kill_machine(node, SIM_DEATH_KILL);
}

/* The end of a program that stopped in good order: nothing may be left behind. */
static void on_end_of_program(void *arg)
{
    struct sim_node *node = arg;

    sp_loop_free(node->loop);
    if (node->process->memory_count > 0) {
        sim_fail("%s has stopped and leaves %llu pieces of memory behind, %llu bytes",
                 node->process->name,
                 (unsigned long long)node->process->memory_count,
                 (unsigned long long)node->process->memory_bytes);
    }
    sim_process_kill(node->process, SIM_DEATH_KILL);
    sim_cluster_restart_later(node);
}

static void on_stopped(void *arg)
{
    struct sim_node *node = arg;

    sim_note("node has stopped");
    sim_model.counts.stops += 1;
    node->node = NULL;
    (void)sim_at(sim.now_us + 1, SIM_EVENT_WORLD, node->process, on_end_of_program, node);
}

static void on_death_in_call_due(void *arg)
{
    struct sim_node *node = arg;

    if (!node->process->alive) {
        sim_cluster_restart_later(node);
    } else {
        node->process->disk->death_in = 0;
    }
}

void sim_cluster_die_in_call(struct sim_node *node, uint64_t calls, bool by_kill)
{
    node->process->disk->death_in = calls;
    node->process->disk->death_is_kill = by_kill;
    (void)sim_at(sim.now_us + SIM_SECOND, SIM_EVENT_FAULT, NULL, on_death_in_call_due, node);
}

void sim_cluster_start(struct sim_node *node)
{
    static const struct sp_node_handler handler = { on_failed, on_stopped };
    char text[512] = "";
    struct sim_process *process = node->process;

    sim_process_start(process);
    sp_list_init(&node->observers);
    sp_list_init(&node->submissions);
    node->leaders = NULL;
    node->stopping = false;
    node->replica_closed = false;
    process->disk->io_failed = false;
    process->disk->was_full = false;
    if (node->dies_after_start_in > 0) {
        sim_cluster_die_in_call(node, node->dies_after_start_in, false);
        node->dies_after_start_in = 0;
    }
    struct sim_process *before = sim_enter(process);
    int rv = sp_loop_new(WORKERS, &node->loop);
    SP_ASSERT(rv == 0);
    rv = sp_node_start(node->loop,
                       &node->config,
                       &node->transport,
                       &handler,
                       node,
                       text,
                       sizeof text,
                       &node->node);
    sim_loops_kick(process);
    if (rv != 0) {
        sim_note("start fails: %s: %s", spate_error_name(rv), text);
        if (!node_may_fail(node, rv)) {
            sim_fail("%s cannot start: %s: %s", process->name, spate_error_name(rv), text);
        }
        sim_process_kill(process, SIM_DEATH_KILL);
        sim_cluster_restart_later(node);
    }
    sim_leave(before);
}

void sim_cluster_stop(struct sim_node *node)
{
    if (!node->process->alive || node->process->paused || node->stopping) {
        return;
    }
    node->stopping = true;
    struct sim_process *before = sim_enter(node->process);
    if (node->node != NULL) {
        sp_node_stop(node->node);
    }
    sim_loops_kick(node->process);
    sim_leave(before);
}

void sim_cluster_kill(struct sim_node *node, enum sim_death death)
{
    if (!node->process->alive) {
        return;
    }
    kill_machine(node, death);
}

void sim_cluster_start_all(void)
{
    for (unsigned i = 0; i < sim_cluster.node_count; i++) {
        struct sim_node *node = &sim_cluster.nodes[i];
        if (node->replica_closed) {
            sim_process_kill(node->process, SIM_DEATH_KILL);
        }
        if (!node->process->alive) {
            sim_cluster_start(node);
        }
    }
}

/* ---- looking into the groups ----------------------------------------------------------------- */

struct sp_raft_group *sim_cluster_group(struct sim_node *node, uint64_t group_id)
{
    if (!node->process->alive) {
        return NULL;
    }
    SP_LIST_EACH (list_node, &node->observers) {
        struct sim_observer *observer = SP_LIST_ENTRY(list_node, struct sim_observer, node);
        if (observer->group_id == group_id) {
            return observer->group;
        }
    }
    return NULL;
}

bool sim_cluster_group_status(struct sim_node *node,
                              uint64_t group_id,
                              struct sp_raft_group_status *out_status)
{
    struct sp_raft_group *group = sim_cluster_group(node, group_id);

    if (group != NULL) {
        sp_raft_group_status(group, out_status);
    }
    return group != NULL;
}

struct sim_node *sim_cluster_leader(uint64_t group_id)
{
    for (unsigned i = 0; i < sim_cluster.node_count; i++) {
        struct sim_node *node = &sim_cluster.nodes[i];
        struct sp_raft_group_status status;

        if (sim_cluster_group_status(node, group_id, &status) && status.role == SP_ROLE_LEADER &&
            status.ready) {
            return node;
        }
    }
    return NULL;
}

void sim_cluster_check_bounds(void)
{
    uint64_t bytes_max =
        SIM_NODE_BYTES_MAX + (sim_cluster.node_count - 1) * (uint64_t)SP_PEER_QUEUE_BYTES_MAX;

    for (unsigned i = 0; i < sim_cluster.node_count; i++) {
        const struct sim_process *process = sim_cluster.nodes[i].process;
        if (process->memory_peak_bytes > sim_model.counts.memory_peak_bytes) {
            sim_model.counts.memory_peak_bytes = process->memory_peak_bytes;
        }
        if (process->memory_peak_bytes > bytes_max) {
            sim_fail("%s has held %llu bytes of memory, more than %llu",
                     process->name,
                     (unsigned long long)process->memory_peak_bytes,
                     (unsigned long long)bytes_max);
        }
    }
}

void sim_cluster_transfer_some(struct sp_rand *rand)
{
    if (sim_model.group_count == 0) {
        return;
    }
    uint64_t group_id = sim_model.groups[sp_rand_below(rand, sim_model.group_count)]->group_id;
    struct sim_node *node = sim_cluster_leader(group_id);

    if (node == NULL || node->process->paused) {
        return;
    }
    struct sim_process *before = sim_enter(node->process);
    int rv = sp_raft_group_transfer(sim_cluster_group(node, group_id));
    sim_note("transfer of group %llu: %s", (unsigned long long)group_id, spate_error_name(rv));
    sim_loops_kick(node->process);
    sim_leave(before);
    if (rv == 0) {
        sim_model.counts.transfers += 1;
    }
}
