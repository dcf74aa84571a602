/* Phases: forming -> faults -> healing -> power cut of all nodes -> reading everything again. */
#include "sim_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/trace.h"
#include "sim_clients.h"
#include "sim_cluster.h"
#include "sim_compact.h"
#include "sim_damage.h"
#include "sim_disk.h"
#include "sim_losses.h"
#include "sim_moves.h"
#include "sim_named.h"
#include "sim_net.h"
#include "sim_parts.h"
#include "sim_quiet.h"
#include "sim_reads.h"
#include "sim_trim.h"
#include "sim_world.h"
#include "spate/error.h"

#define FORM_US_MAX (40 * SIM_SECOND)
#define SETTLE_US_MAX (90 * SIM_SECOND)

struct shape {
    struct sim_cluster_shape cluster;
    struct sim_clients_shape clients;
    struct sim_fault_mix mix;
    uint64_t latency_us;
    uint64_t fault_us;
    bool faults_at_once;
    bool final_power_cut;
};

static void draw_shape(const struct sim_run_options *options, struct shape *out)
{
    struct sp_rand *rand = &sim.rand_work;

    out->cluster.node_count = sim_one_in(rand, 6) ? 5 : sim_one_in(rand, 20) ? 1 : 3;
    out->cluster.segment_bytes = (uint32_t)(65536u << sp_rand_below(rand, 4));
    out->cluster.election_timeout_ms = (uint32_t)sim_between(rand, 150, 600);
    out->cluster.heartbeat_ms = out->cluster.election_timeout_ms / 6;
    out->cluster.checkpoints_kept = (unsigned)sim_between(rand, 1, 3);
    out->cluster.install_chunk_bytes = 100u << sp_rand_below(rand, 8);
    out->clients.producers = (unsigned)sim_between(rand, 1, 3);
    out->clients.consumers = (unsigned)sim_between(rand, 1, 2);
    out->clients.members = sim_one_in(rand, 2) ? (unsigned)sim_between(rand, 1, 3) : 0;
    out->clients.topics = (unsigned)sim_between(rand, 1, 2);
    out->clients.partitions = (uint32_t)sim_between(rand, 1, 2);
    out->clients.replicas = out->cluster.node_count >= 3 ? 3 : 1;
    out->clients.churners = sim_one_in(rand, 2) ? (unsigned)sim_between(rand, 1, 3) : 0;
    out->latency_us = sim_one_in(rand, 5) ? 3000 : sim_between(rand, 50, 400);
    out->fault_us = sim_between(rand, 3 * SIM_SECOND, 25 * SIM_SECOND);
    out->faults_at_once = sim_one_in(rand, 8);
    out->final_power_cut = sim_one_in(rand, 2);
    sim_clients.churn_max = (unsigned)sim_between(rand, 5, SIM_CHURN_MAX);
    sim_clients.pause_us = sim_between(rand, 2 * SIM_MS, 60 * SIM_MS);
    sim_clients.burst_max = (uint32_t)sim_between(rand, 3, 60);
    sim_clients.value_size_max = (uint32_t)sim_between(rand, 40, 2500);
    sim_cluster.restart_min_us = 20 * SIM_MS;
    sim_cluster.restart_max_us = sim_between(rand, 100 * SIM_MS, 4 * SIM_SECOND);
    sim_named_draw(options->seed, &out->clients.streams, &out->clients.programs_per_stream);
    out->cluster.free_bytes_min = sim_trim_draw_reserve(options->seed);
    sim_trim_draw(options->seed, &out->clients.trimmed_topics, &out->clients.trimmers);
    sim_reads_draw(options->seed, &out->clients.readers, &out->clients.racks);
    sim_compact_draw(options->seed, &out->clients.compact_writers, &out->clients.compact_readers);
    sim_faults_draw(&out->mix);
    sim_losses_draw(options->seed, out->cluster.node_count, &out->mix, &out->cluster.replace_ms);
    for (unsigned i = 0; i < SIM_FAULTS; i++) {
        if (options->calm || (options->without >> i & 1) != 0) {
            out->mix.interval_us[i] = 0;
        }
    }
    out->clients.moves = sim_moves_draw(options->seed,
                                        out->cluster.node_count,
                                        &out->mix,
                                        &out->cluster.joiner_count,
                                        &out->cluster.shards);
    out->cluster.node_count += out->cluster.joiner_count;
    if (options->fault_us_max > 0 && out->fault_us > options->fault_us_max) {
        out->fault_us = options->fault_us_max;
    }
}

static void note_shape(const struct shape *shape)
{
    sim_note(
        "shape: nodes=%u shards=%d segment=%u election=%u latency_us=%llu producers=%u "
        "consumers=%u "
        "members=%u streams=%ux%u topics=%u+%u trimmers=%u readers=%u partitions=%u fault_ms=%llu "
        "at_once=%d",
        shape->cluster.node_count,
        (int)shape->cluster.shards,
        shape->cluster.segment_bytes,
        shape->cluster.election_timeout_ms,
        (unsigned long long)shape->latency_us,
        shape->clients.producers,
        shape->clients.consumers,
        shape->clients.members,
        shape->clients.streams,
        shape->clients.programs_per_stream,
        shape->clients.topics,
        shape->clients.trimmed_topics,
        shape->clients.trimmers,
        shape->clients.readers,
        shape->clients.partitions,
        (unsigned long long)(shape->fault_us / SIM_MS),
        (int)shape->faults_at_once);
    for (unsigned i = 0; i < SIM_FAULTS; i++) {
        if (shape->mix.interval_us[i] > 0) {
            sim_note("shape: %s every %llu ms",
                     sim_fault_name((enum sim_fault)i),
                     (unsigned long long)(shape->mix.interval_us[i] / SIM_MS));
        }
    }
}

/* Runs until `reached` says so; a liveness failure when it takes longer than `us_max`. */
static void
wait_for(bool (*reached)(char *out_why, unsigned size), uint64_t us_max, const char *what)
{
    uint64_t end_us = sim.now_us + us_max;
    char why[400] = "";

    while (!sim.failed && !reached(why, sizeof why)) {
        if (sim.now_us >= end_us) {
            sim_fail("liveness: %s not reached within %llu s: %s",
                     what,
                     (unsigned long long)(us_max / SIM_SECOND),
                     why);
            return;
        }
        sim_run_until(sim.now_us + 100 * SIM_MS);
    }
}

static bool formed(char *out_why, unsigned size)
{
    (void)snprintf(out_why, size, "the topics do not exist yet");
    return sim_clients_topics_created();
}

static bool all_done(char *out_why, unsigned size)
{
    return sim_clients_done(out_why, size) && sim_cluster_settled(out_why, size);
}

/* What every run does has been looked at: else this build's linker has left the oracles out, as
 * link-time optimisation does, and nothing else would say so. */
static void check_looks(void)
{
    static const enum sim_look always[] = {
        SIM_LOOK_sp_raft_group_submit, SIM_LOOK_sp_log_build,      SIM_LOOK_sp_meta_new,
        SIM_LOOK_sp_leader_table_new,  SIM_LOOK_sp_transport_send,
    };
    unsigned count = sizeof always / sizeof always[0];

    if (sim_cluster.node_count == 1) {
        count -= 1; /* there is nobody to send to */
    }
    for (unsigned i = 0; i < count; i++) {
        if (sim_model.counts.looks[always[i]] == 0) {
            sim_fail("the oracles are not in place: no call of %s was seen",
                     sim_look_name(always[i]));
        }
    }
}

static void cut_all_power(void)
{
    sim_note("power cut of all nodes");
    for (unsigned i = 0; i < sim_cluster.node_count; i++) {
        sim_process_kill(sim_cluster.nodes[i].process, SIM_DEATH_POWER);
    }
    sim_model.counts.power_cuts_all += 1;
    sim_run_until(sim.now_us + 100 * SIM_MS);
    sim_cluster_start_all();
}

static void run_phases(const struct shape *shape)
{
    if (!shape->faults_at_once) {
        wait_for(formed, FORM_US_MAX, "forming");
    }
    sim_faults_start(&shape->mix);
    sim_run_until(sim.now_us + shape->fault_us);
    sim_faults_heal();
    wait_for(formed, FORM_US_MAX, "forming after faults");
    sim_run_until(sim.now_us +
                  SIM_SECOND); /* a job that was under way, of a node that was paused, */
    sim_cluster_start_all();   /* may have met the last disk error */
    sim_clients.finishing = true;
    wait_for(all_done, SETTLE_US_MAX, "settling");
    if (sim.failed) {
        return;
    }
    if (shape->final_power_cut) {
        cut_all_power();
    }
    sim_clients_read_again();
    wait_for(all_done, SETTLE_US_MAX, "reading everything");
    sim_cluster_check_bounds();
    sim_model_check_end();
    check_looks();
}

void sim_run(const struct sim_run_options *options, struct sim_result *out_result)
{
    struct shape shape;

    sim_world_init(options->seed);
    sim_net_init();
    sim_model_init();
    if (options->timeline) {
        sim_show_timeline();
    }
    memset(&shape, 0, sizeof shape);
    draw_shape(options, &shape);
    uint64_t restart_min_us = sim_cluster.restart_min_us;
    uint64_t restart_max_us = sim_cluster.restart_max_us;
    struct sim_clients wishes = sim_clients;
    sim_cluster_init(&shape.cluster);
    sim_cluster.restart_min_us = restart_min_us;
    sim_cluster.restart_max_us = restart_max_us;
    sim_clients_init(&shape.clients);
    sim_clients.churn_max = wishes.churn_max;
    sim_clients.pause_us = wishes.pause_us;
    sim_clients.burst_max = wishes.burst_max;
    sim_clients.value_size_max = wishes.value_size_max;
    sim_net_draw_latencies(shape.latency_us);
    sim_net.trickles = sim_one_in(&sim.rand_net, 3);
    note_shape(&shape);
    for (unsigned i = 0; shape.faults_at_once && i < sim_cluster.node_count; i++) {
        /* A machine may die in its very first calls, while its directory is made. */
        if (shape.mix.interval_us[SIM_FAULT_DEATH_IN_CALL] > 0 && sim_one_in(&sim.rand_fault, 2)) {
            sim_cluster.nodes[i].dies_after_start_in = sim_between(&sim.rand_fault, 1, 60);
        }
    }
    sim_cluster_start_all();
    sim_clients_start();
    sim_quiet_start();
    run_phases(&shape);
    for (unsigned i = 0; i < sim_cluster.node_count; i++) {
        sim_model.counts.deaths_in_call += sim_cluster.nodes[i].process->disk->deaths;
    }
    *out_result = (struct sim_result){
        .failed = sim.failed,
        .hash = sim.hash,
        .events = sim.events,
        .time_us = sim.now_us,
        .fault_us = shape.fault_us,
        .counts = sim_model.counts,
    };
    (void)snprintf(out_result->failure, sizeof out_result->failure, "%s", sim.failure);
}

/* ---- traces ---------------------------------------------------------------------------------- */

static uint64_t number_of(const char *facts, const char *key)
{
    const char *place = strstr(facts, key);

    return place == NULL ? 0 : strtoull(place + strlen(key), NULL, 10);
}

/* A replica was given up. There must have been such an error on that disk; what is found damaged
 * must have rotted. */
static void note_replica_closed(const char *facts)
{
    static const int statuses[] = { SPATE_ERR_IO, SPATE_ERR_NO_SPACE, SPATE_ERR_STOPPED };
    struct sim_node *node = sim.current->owner;
    const char *error = strstr(facts, "error=");
    bool explained = false;

    if (error != NULL && strncmp(error, "error=CORRUPT", 13) == 0 &&
        sim_damage_touched(
            node->process->disk, number_of(facts, "group="), number_of(facts, "replica="))) {
        return; /* another one takes its place */
    }
    for (unsigned i = 0; error != NULL && i < sizeof statuses / sizeof statuses[0]; i++) {
        const char *name = spate_error_name(statuses[i]);
        explained = explained || (strncmp(error + 6, name, strlen(name)) == 0 &&
                                  sim_cluster_explains(node, statuses[i]));
    }
    node->replica_closed = true;
    if (!explained) {
        sim_fail("%s gives up a replica: %s", node->process->name, facts);
    }
}

bool sim_trace_seen(enum sp_trace_level level,
                    const char *component,
                    const char *message,
                    const char *facts)
{
    static const struct {
        const char *message;
        uint64_t *count;
    } counted[] = {
        { "uncommitted tail replaced", &sim_model.counts.truncations },
        { "torn tail cut", &sim_model.counts.torn_tails },
    };

    (void)level;
    (void)component;
    for (unsigned i = 0; i < sizeof counted / sizeof counted[0]; i++) {
        if (strcmp(message, counted[i].message) == 0) {
            *counted[i].count += 1;
        }
    }
    if (strcmp(message, "replica cannot be opened and stays closed") == 0 ||
        strcmp(message, "replica stopped itself") == 0) {
        note_replica_closed(facts);
    }
    return true;
}
