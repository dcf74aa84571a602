#include "sim_partitions.h"

#include <stddef.h>
#include <stdio.h>

#include "sim_cluster.h"
#include "sim_faults.h"
#include "sim_model.h"
#include "sim_net.h"
#include "sim_world.h"

/* Ways that are closed together: bit k of row i closes the way from process i to process k. */
struct partition {
    unsigned number;
    uint64_t closed[SIM_PROCESSES_MAX];
    bool over;
    struct partition *next;
};

static struct partition *partitions;

static void change_ways(const struct partition *partition, int change)
{
    SP_LIST_EACH (from_node, &sim.processes) {
        const struct sim_process *from = SP_LIST_ENTRY(from_node, struct sim_process, node);
        SP_LIST_EACH (to_node, &sim.processes) {
            const struct sim_process *to = SP_LIST_ENTRY(to_node, struct sim_process, node);
            if ((partition->closed[from->id] >> to->id & 1) != 0) {
                sim_net_block(from, to, change);
            }
        }
    }
}

static void end_partition(void *arg)
{
    struct partition *partition = arg;

    if (!partition->over) {
        partition->over = true;
        change_ways(partition, -1);
        sim_note("partition %u heals", partition->number);
    }
}

static void note_partition(const struct partition *partition, const char *shape, uint64_t time_us)
{
    char ways[400] = "";
    size_t size = 0;

    for (unsigned from = 0; from < sim.process_count; from++) {
        for (unsigned to = 0; to < sim.process_count && size < sizeof ways; to++) {
            if ((partition->closed[from] >> to & 1) != 0) {
                size += (size_t)snprintf(ways + size,
                                         sizeof ways - size,
                                         " %s->%s",
                                         sim_process_name(from),
                                         sim_process_name(to));
            }
        }
    }
    sim_note("partition %u, %s, for %llu ms:%s",
             partition->number,
             shape,
             (unsigned long long)(time_us / SIM_MS),
             ways);
}

static void close_way(struct partition *partition, uint64_t from, uint64_t to, bool both)
{
    partition->closed[from] |= 1ull << to;
    if (both) {
        partition->closed[to] |= 1ull << from;
    }
}

/* Processes are numbered nodes first, then clients. Every process is put on a side; ways between
 * different sides close. A side of 2 sees everybody: the bridge. */
static void split(struct partition *partition, struct sp_rand *rand, bool bridge)
{
    unsigned side[SIM_PROCESSES_MAX];
    unsigned nodes = sim_cluster.node_count;
    bool one_way = sim_one_in(rand, 4);
    bool clients_see_all = sim_one_in(rand, 2);

    for (unsigned i = 0; i < sim.process_count; i++) {
        side[i] = (unsigned)sp_rand_below(rand, 2);
        if (i >= nodes && clients_see_all) {
            side[i] = 2;
        }
    }
    if (bridge) {
        side[sp_rand_below(rand, nodes)] = 2;
    }
    for (unsigned i = 0; i < sim.process_count; i++) {
        for (unsigned k = 0; k < sim.process_count; k++) {
            if (side[i] + side[k] == 1 && (!one_way || side[i] == 0)) {
                close_way(partition, i, k, false);
            }
        }
    }
}

/* Every node sees its two neighbours alone; with three nodes, one pair is separated. */
static void ring(struct partition *partition)
{
    unsigned nodes = sim_cluster.node_count;

    for (unsigned i = 0; i < nodes; i++) {
        for (unsigned k = 0; k < nodes; k++) {
            unsigned distance = (k + nodes - i) % nodes;
            if (nodes > 3 && distance > 1 && distance < nodes - 1) {
                close_way(partition, i, k, false);
            }
        }
    }
    if (nodes <= 3) {
        close_way(partition, 0, nodes - 1, true);
    }
}

static void isolate(struct partition *partition, struct sp_rand *rand)
{
    uint64_t lonely = sim_faults_some_node(rand)->process->id;
    uint64_t count = sim_one_in(rand, 2) ? sim_cluster.node_count : sim.process_count;

    for (uint64_t i = 0; i < count; i++) {
        if (i != lonely) {
            close_way(partition, lonely, i, true);
        }
    }
}

void sim_partitions_strike(struct sp_rand *rand)
{
    static const char *const shapes[] = { "one way",  "a node alone", "a node alone",
                                          "a bridge", "a ring",       "two sides" };
    struct partition *partition = sim_alloc(sizeof *partition);
    uint64_t shape = sp_rand_below(rand, 6);
    uint64_t time_us = sim_one_in(rand, 2) ? sim_between(rand, 100 * SIM_MS, 2 * SIM_SECOND)
                                           : sim_between(rand, 2 * SIM_SECOND, 15 * SIM_SECOND);

    switch (shape) {
    case 0:
        close_way(partition,
                  sp_rand_below(rand, sim_cluster.node_count),
                  sp_rand_below(rand, sim_cluster.node_count),
                  false);
        break;
    case 1:
    case 2:
        isolate(partition, rand);
        break;
    case 3:
        split(partition, rand, true);
        break;
    case 4:
        ring(partition);
        break;
    default:
        split(partition, rand, false);
        break;
    }
    sim_model.counts.partitions += 1;
    partition->number = (unsigned)sim_model.counts.partitions;
    note_partition(partition, shapes[shape], time_us);
    partition->next = partitions;
    partitions = partition;
    change_ways(partition, 1);
    (void)sim_at(sim.now_us + time_us, SIM_EVENT_FAULT, NULL, end_partition, partition);
}

void sim_partitions_heal(void)
{
    for (struct partition *partition = partitions; partition != NULL; partition = partition->next) {
        end_partition(partition);
    }
}
