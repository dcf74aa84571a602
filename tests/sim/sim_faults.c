#include "sim_faults.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "sim_clients.h"
#include "sim_cluster.h"
#include "sim_damage.h"
#include "sim_disk.h"
#include "sim_doubles.h"
#include "sim_losses.h"
#include "sim_model.h"
#include "sim_net.h"
#include "sim_partitions.h"
#include "sim_world.h"

static struct {
    struct sim_fault_mix mix;
    struct sp_rand rand[SIM_FAULTS];
    bool active;
} faults;

struct sim_node *sim_faults_some_node(struct sp_rand *rand)
{
    /* A third of all faults strike the leader of something. */
    if (sim_one_in(rand, 3) && sim_model.group_count > 0) {
        uint64_t place = sp_rand_below(rand, sim_model.group_count);
        struct sim_node *leader = sim_cluster_leader(sim_model.groups[place]->group_id);
        if (leader != NULL) {
            return leader;
        }
    }
    return &sim_cluster.nodes[sp_rand_below(rand, sim_cluster.node_count)];
}

/* The same, for the timeline. */
static struct sim_node *struck_node(struct sp_rand *rand)
{
    struct sim_node *node = sim_faults_some_node(rand);

    sim_note("it strikes %s%s", node->process->name, node->process->alive ? "" : ", which is down");
    return node;
}

/* ---- processes ------------------------------------------------------------------------------- */

static void strike_kill(struct sp_rand *rand)
{
    struct sim_node *node = struck_node(rand);

    sim_model.counts.kills += node->process->alive;
    sim_cluster_kill(node, SIM_DEATH_KILL);
}

static void strike_power(struct sp_rand *rand)
{
    struct sim_node *node = struck_node(rand);

    sim_model.counts.power_cuts += node->process->alive;
    sim_cluster_kill(node, SIM_DEATH_POWER);
}

/* Half of these deaths come soon after the next start, so that recovery itself is struck. */
static void strike_death_in_call(struct sp_rand *rand)
{
    struct sim_node *node = struck_node(rand);
    uint64_t calls = sim_between(rand, 1, 40);

    if (sim_one_in(rand, 2)) {
        node->dies_after_start_in = calls;
        sim_cluster_kill(node, sim_one_in(rand, 3) ? SIM_DEATH_KILL : SIM_DEATH_POWER);
    } else if (node->process->alive && node->process->disk->death_in == 0) {
        sim_cluster_die_in_call(node, calls, sim_one_in(rand, 3));
    }
}

static void strike_power_all(struct sp_rand *rand)
{
    (void)rand;
    sim_model.counts.power_cuts_all += 1;
    for (unsigned i = 0; i < sim_cluster.node_count; i++) {
        sim_cluster_kill(&sim_cluster.nodes[i], SIM_DEATH_POWER);
    }
}

static void strike_stop(struct sp_rand *rand)
{
    sim_cluster_stop(struck_node(rand));
}

static void on_pause_over(void *arg)
{
    sim_process_resume(arg);
}

static void strike_pause(struct sp_rand *rand)
{
    struct sim_process *process = struck_node(rand)->process;
    uint64_t time_us = sim_one_in(rand, 2) ? sim_between(rand, 100 * SIM_MS, SIM_SECOND)
                                           : sim_between(rand, SIM_SECOND, 6 * SIM_SECOND);

    if (process->alive && !process->paused) {
        sim_model.counts.pauses += 1;
        sim_process_pause(process);
        (void)sim_at(sim.now_us + time_us, SIM_EVENT_FAULT, NULL, on_pause_over, process);
    }
}

static void strike_client_kill(struct sp_rand *rand)
{
    sim_clients_kill(&sim_clients.clients[sp_rand_below(rand, sim_clients.count)]);
}

static void strike_empty_disk(struct sp_rand *rand)
{
    sim_losses_empty(struck_node(rand));
}

static void strike_absence(struct sp_rand *rand)
{
    sim_losses_absent(struck_node(rand), rand);
}

static void strike_double(struct sp_rand *rand)
{
    sim_doubles_strike(struck_node(rand), rand);
}

static void strike_transfer(struct sp_rand *rand)
{
    sim_cluster_transfer_some(rand);
}

/* ---- links ----------------------------------------------------------------------------------- */

static void strike_partition(struct sp_rand *rand)
{
    sim_partitions_strike(rand);
}

static void strike_cut(struct sp_rand *rand)
{
    sim_model.counts.cuts += sim_net_cut_some(rand);
}

struct slow_link {
    uint64_t *latency_us;
    uint64_t usual_us;
};

static void on_slow_link_over(void *arg)
{
    struct slow_link *slow = arg;

    *slow->latency_us = slow->usual_us;
    sim_free(slow);
}

static void strike_slow_link(struct sp_rand *rand)
{
    struct slow_link *slow = sim_alloc(sizeof *slow);
    uint64_t from = sp_rand_below(rand, sim.process_count);
    uint64_t to = sp_rand_below(rand, sim.process_count);

    slow->latency_us = &sim_net.latency_us[from][to];
    slow->usual_us = *slow->latency_us < 2 * SIM_MS ? *slow->latency_us : SIM_MS;
    *slow->latency_us = sim_between(rand, 5 * SIM_MS, 400 * SIM_MS);
    (void)sim_at(sim.now_us + sim_between(rand, SIM_SECOND, 5 * SIM_SECOND),
                 SIM_EVENT_FAULT,
                 NULL,
                 on_slow_link_over,
                 slow);
}

/* ---- disks ----------------------------------------------------------------------------------- */

static void on_slow_disk_over(void *arg)
{
    ((struct sim_disk *)arg)->latency_factor = 1;
}

static void strike_slow_disk(struct sp_rand *rand)
{
    struct sim_disk *disk = struck_node(rand)->process->disk;

    sim_model.counts.slow_disks += 1;
    disk->latency_factor = (unsigned)sim_between(rand, 5, 300);
    (void)sim_at(sim.now_us + sim_between(rand, 500 * SIM_MS, 5 * SIM_SECOND),
                 SIM_EVENT_FAULT,
                 NULL,
                 on_slow_disk_over,
                 disk);
}

static void strike_disk_error(struct sp_rand *rand)
{
    struct sim_node *node = struck_node(rand);
    uint64_t call = sp_rand_below(rand, SIM_DISK_CALLS);

    if (node->process->alive) {
        node->process->disk->fail_in[call] = sim_between(rand, 1, 20);
        sim_model.counts.disk_errors += 1;
    }
}

#define QUOTA_PART 3

static void on_disk_full_over(void *arg)
{
    struct sim_disk *disk = arg;

    disk->capacity_bytes = SIM_DISK_BYTES;
    disk->has_quota = false;
}

static void strike_disk_full(struct sp_rand *rand)
{
    struct sim_node *node = struck_node(rand);
    struct sim_disk *disk = node->process->disk;

    uint64_t left = sim_between(rand, 0, 20000);
    disk->capacity_bytes = disk->used_bytes + left;
    disk->has_quota = left < 20000 / QUOTA_PART; /* the ballast helps nobody */
    sim_model.counts.disk_errors += 1;
    (void)sim_at(sim.now_us + sim_between(rand, 500 * SIM_MS, 4 * SIM_SECOND),
                 SIM_EVENT_FAULT,
                 NULL,
                 on_disk_full_over,
                 disk);
}

/* Bits flip on one node alone, the last one, in frames that are committed and in metadata of which
 * there are two copies: nothing is lost that a majority does not have. The node may be out for good
 * then, so the topics that want replicas there exist already. */
static void strike_bit_flip(struct sp_rand *rand)
{
    struct sim_node *node = &sim_cluster.nodes[sim_cluster.node_count - 1];

    if (sim_cluster.node_count >= 3 && sim_clients_topics_created() &&
        sim_damage_flip(node, rand)) {
        sim_note("a bit flips on %s", node->process->name);
        sim_model.counts.bit_flips += 1;
    }
}

/* ---- clocks ---------------------------------------------------------------------------------- */

static void strike_clock_rate(struct sp_rand *rand)
{
    struct sim_process *process = struck_node(rand)->process;
    uint32_t ppm = sim_one_in(rand, 4) ? (uint32_t)sim_between(rand, 500000, 2000000)
                                       : (uint32_t)sim_between(rand, 950000, 1050000);

    sim_note("clock at %u ppm", ppm);
    sim_process_set_rate(process, ppm);
}

static void strike_clock_jump(struct sp_rand *rand)
{
    struct sim_process *process = struck_node(rand)->process;
    int64_t jump_ms = (int64_t)sim_between(rand, 0, 7200000) - 3600000;

    jump_ms = sim_one_in(rand, 3) ? 0 : jump_ms;
    sim_model.counts.clock_jumps += process->wall_offset_ms != jump_ms;
    process->wall_offset_ms = jump_ms;
}

/* ---- striking -------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*strike)(struct sp_rand *rand);
} kinds[SIM_FAULTS] = {
#define SIM_FAULT_KIND(name, text) { #text, strike_##text },
    SIM_FAULT_LIST(SIM_FAULT_KIND)
#undef SIM_FAULT_KIND
};

const char *sim_fault_name(enum sim_fault fault)
{
    return kinds[fault].name;
}

enum sim_fault sim_fault_find(const char *name)
{
    unsigned i = 0;

    while (i < SIM_FAULTS && strcmp(kinds[i].name, name) != 0) {
        i += 1;
    }
    return (enum sim_fault)i;
}

void sim_faults_draw(struct sim_fault_mix *out_mix)
{
    for (unsigned i = 0; i < SIM_FAULTS_DRAWN; i++) {
        /* From often to seldom, evenly on a scale of doublings; every second kind stays away. */
        uint64_t doublings = sp_rand_below(&sim.rand_fault, 6);
        bool away = sim_one_in(&sim.rand_fault, 2);
        out_mix->interval_us[i] = away ? 0 : 400 * SIM_MS << doublings;
    }
    if (!sim_one_in(&sim.rand_fault, 3)) {
        out_mix->interval_us[SIM_FAULT_BIT_FLIP] = 0;
    }
    if (out_mix->interval_us[SIM_FAULT_POWER_ALL] > 0) {
        out_mix->interval_us[SIM_FAULT_POWER_ALL] += 4 * SIM_SECOND;
    }
}

static void on_strike(void *arg);

static void plan_strike(uintptr_t fault)
{
    uint64_t mean_us = faults.mix.interval_us[fault];

    (void)sim_at(sim.now_us + sim_between(&faults.rand[fault], mean_us / 4, 2 * mean_us),
                 SIM_EVENT_FAULT,
                 NULL,
                 on_strike,
                 (void *)fault);
}

static void on_strike(void *arg)
{
    uintptr_t fault = (uintptr_t)arg;

    if (!faults.active) {
        return;
    }
    sim_note("fault: %s", kinds[fault].name);
    kinds[fault].strike(&faults.rand[fault]);
    plan_strike(fault);
}

void sim_faults_start(const struct sim_fault_mix *mix)
{
    faults.mix = *mix;
    sim_doubles_plan(mix->interval_us[SIM_FAULT_DOUBLE] > 0);
    faults.active = true;
    sim_cluster.errors_planned = mix->interval_us[SIM_FAULT_DISK_ERROR] > 0 ||
                                 mix->interval_us[SIM_FAULT_DISK_FULL] > 0 ||
                                 mix->interval_us[SIM_FAULT_BIT_FLIP] > 0;
    for (unsigned i = 0; i < SIM_FAULTS; i++) {
        sp_rand_init(&faults.rand[i], sim.seed * 31 + i + 7);
        if (mix->interval_us[i] > 0) {
            plan_strike(i);
        }
    }
}

void sim_faults_heal(void)
{
    sim_note("all faults end");
    faults.active = false;
    sim_doubles_end();
    sim_partitions_heal();
    for (unsigned i = 0; i < sim_cluster.node_count; i++) {
        struct sim_process *process = sim_cluster.nodes[i].process;
        struct sim_disk *disk = process->disk;

        sim_process_resume(process);
        sim_process_set_rate(process, 1000000);
        disk->latency_factor = 1;
        disk->death_in = 0;
        sim_cluster.nodes[i].dies_after_start_in = 0;
        sim_cluster.nodes[i].away_until_us = 0;
        disk->capacity_bytes = SIM_DISK_BYTES;
        disk->has_quota = false;
        memset(disk->fail_in, 0, sizeof disk->fail_in);
        if (disk->rotten) {
            sim_process_kill(process, SIM_DEATH_POWER);
            sim_damage_mark(disk);
        }
    }
    sim_cluster_start_all();
}
