#include "sim_doubles.h"

#include "base/rand.h"
#include "sim_clients.h"
#include "sim_cluster.h"
#include "sim_disk.h"
#include "sim_model.h"
#include "sim_voters.h"
#include "sim_world.h"

#define LOOK_US (2 * SIM_MS)

static struct {
    struct sim_node node;
    uint64_t incarnation; /* of the right one, when the double came */
    uint64_t number;      /* of doubles so far: events of earlier ones are void */
    bool planned;
    bool runs;
} twin;

void sim_doubles_plan(bool planned)
{
    twin.planned = planned;
}

bool sim_doubles_planned(void)
{
    return twin.planned;
}

/* A machine of its own: the last process, so that it changes nothing for the others. */
static void make_once(void)
{
    if (twin.node.process != NULL) {
        return;
    }
    twin.node.process = sim_process_new("twin", "10.0.0.99");
    twin.node.process->owner = &twin.node;
    sp_list_init(&twin.node.observers);
    sp_list_init(&twin.node.submissions);
    (void)sim_disk_new(twin.node.process);
}

static void pause_over(void *arg)
{
    sim_process_resume(arg);
}

/* What the right one does meanwhile, besides what other faults do to it. */
static void disturb(struct sim_node *node, struct sp_rand *rand)
{
    uint64_t what = sp_rand_below(rand, 3);

    if (what == 0) {
        sim_cluster_kill(node, SIM_DEATH_KILL);
    } else if (what == 1 && node->process->alive && !node->process->paused) {
        sim_process_pause(node->process);
        (void)sim_at(sim.now_us + sim_between(rand, SIM_SECOND, 5 * SIM_SECOND),
                     SIM_EVENT_FAULT,
                     NULL,
                     pause_over,
                     node->process);
    }
}

static void check_not_let_in(void)
{
    uint64_t known = sim_voters_incarnation(twin.node.node_id);

    if (known != twin.incarnation) {
        sim_fail("a double of n%u was let in: the cluster knew it as %llx, and knows it as %llx",
                 twin.node.node_id,
                 (unsigned long long)twin.incarnation,
                 (unsigned long long)known);
    }
}

void sim_doubles_end(void)
{
    if (!twin.runs) {
        return;
    }
    check_not_let_in();
    twin.runs = false;
    twin.node.away_until_us = SIM_NEVER; /* it is not started again */
    sim_process_kill(twin.node.process, SIM_DEATH_KILL);
    sim_disk_empty(twin.node.process->disk);
    sim_note("the double goes");
}

/* Soon, before what it does as a member is taken for what the right one does. */
static void on_look(void *arg)
{
    if ((uintptr_t)arg == twin.number && twin.runs) {
        check_not_let_in();
        (void)sim_at(sim.now_us + LOOK_US, SIM_EVENT_FAULT, NULL, on_look, arg);
    }
}

static void on_over(void *arg)
{
    if ((uintptr_t)arg == twin.number) {
        sim_doubles_end();
    }
}

void sim_doubles_strike(struct sim_node *node, struct sp_rand *rand)
{
    uint64_t time_us = sim_between(rand, SIM_SECOND, 10 * SIM_SECOND);
    bool copied = sim_one_in(rand, 2);
    uint64_t incarnation = sim_voters_incarnation(node->node_id);

    if (twin.runs || !sim_clients_topics_created() || incarnation == 0) {
        sim_note("not now");
        return;
    }
    make_once();
    twin.number += 1;
    twin.runs = true;
    twin.incarnation = incarnation;
    twin.node.away_until_us = 0;
    sim_cluster_configure_double(&twin.node, node, copied);
    sim_note("a double of %s comes", node->process->name);
    sim_model.counts.doubles += 1;
    disturb(node, rand);
    sim_cluster_start(&twin.node);
    on_look((void *)(uintptr_t)twin.number);
    (void)sim_at(
        sim.now_us + time_us, SIM_EVENT_FAULT, NULL, on_over, (void *)(uintptr_t)twin.number);
}
