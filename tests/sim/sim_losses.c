#include "sim_losses.h"

#include "base/rand.h"
#include "sim_clients.h"
#include "sim_cluster.h"
#include "sim_damage.h"
#include "sim_faults.h"
#include "sim_model.h"
#include "sim_voters.h"
#include "sim_world.h"

void sim_losses_draw(uint64_t seed,
                     unsigned node_count,
                     struct sim_fault_mix *mix,
                     uint32_t *out_replace_ms)
{
    struct sp_rand rand;

    sp_rand_init(&rand, seed ^ UINT64_C(0x6c6f73736573)); /* "losses" */
    bool empties = sim_one_in(&rand, 5);
    bool absences = sim_one_in(&rand, 5);
    uint64_t empty_us = sim_between(&rand, SIM_SECOND, 8 * SIM_SECOND);
    uint64_t absence_us = sim_between(&rand, SIM_SECOND, 8 * SIM_SECOND);
    uint32_t replace_ms = (uint32_t)sim_between(&rand, 500, 4000);
    bool doubles = sim_one_in(&rand, 5);
    uint64_t double_us = sim_between(&rand, SIM_SECOND, 8 * SIM_SECOND);
    bool possible = node_count >= 3 && mix->interval_us[SIM_FAULT_BIT_FLIP] == 0;

    mix->interval_us[SIM_FAULT_EMPTY_DISK] = possible && empties ? empty_us : 0;
    mix->interval_us[SIM_FAULT_ABSENCE] = possible && absences ? absence_us : 0;
    mix->interval_us[SIM_FAULT_DOUBLE] =
        possible && doubles && !empties && !absences ? double_us : 0;
    *out_replace_ms = possible && absences ? replace_ms : 0;
}

/* Nodes that are being formed into a cluster are not struck: those that have agreed on it may not
 * be lost before the others have heard of it. */
void sim_losses_empty(struct sim_node *node)
{
    if (!sim_clients_topics_created() || !sim_voters_bear_a_loss()) {
        sim_note("not every group can bear it");
        return;
    }
    sim_model.counts.emptied_disks += 1;
    sim_cluster_kill(node, SIM_DEATH_POWER);
    sim_damage_lose(node->process->disk);
    sim_voters_emptied(node->node_id);
    sim_note("%s has an empty disk now", node->process->name);
}

static void on_back(void *arg)
{
    struct sim_node *node = arg;

    if (!node->process->alive && node->away_until_us <= sim.now_us) {
        sim_cluster_start(node);
    }
}

void sim_losses_absent(struct sim_node *node, struct sp_rand *rand)
{
    uint64_t replace_us = sim_cluster.shape.replace_ms * SIM_MS;

    for (unsigned i = 0; i < sim_cluster.node_count; i++) {
        if (sim_cluster.nodes[i].away_until_us > sim.now_us) {
            return;
        }
    }
    sim_model.counts.absences += 1;
    node->away_until_us = sim.now_us + replace_us + sim_between(rand, 0, 6 * SIM_SECOND);
    sim_note("%s stays away", node->process->name);
    sim_cluster_kill(node, SIM_DEATH_POWER);
    (void)sim_at(node->away_until_us, SIM_EVENT_FAULT, NULL, on_back, node);
}
