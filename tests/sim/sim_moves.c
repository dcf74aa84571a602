#include "sim_moves.h"

#include "base/buf.h"
#include "base/rand.h"
#include "sim_clients.h"
#include "sim_cluster.h"
#include "sim_doubles.h"
#include "sim_faults.h"
#include "sim_fiber.h"
#include "sim_model.h"
#include "spate/spate.h"
#include "wire/pack.h"

static unsigned replicas_min = 1;

bool sim_moves_draw(uint64_t seed,
                    unsigned node_count,
                    const struct sim_fault_mix *mix,
                    unsigned *out_joiner_count,
                    bool *out_shards)
{
    struct sp_rand rand;

    sp_rand_init(&rand, seed ^ UINT64_C(0x6d6f766573)); /* "moves" */
    bool moves =
        sim_one_in(&rand, 3) && node_count >= 3 && mix->interval_us[SIM_FAULT_BIT_FLIP] == 0;
    *out_joiner_count = moves ? (unsigned)sp_rand_below(&rand, 3) : 0;
    if (mix->interval_us[SIM_FAULT_EMPTY_DISK] > 0) {
        replicas_min = 3; /* else no disk may be lost */
    }
    if (*out_joiner_count == 0 && mix->interval_us[SIM_FAULT_ABSENCE] > 0) {
        *out_joiner_count = 1; /* which takes the place of who is away */
    }
    sp_rand_init(&rand, seed ^ UINT64_C(0x736861726473)); /* "shards" */
    *out_shards = *out_joiner_count > 0 && sim_one_in(&rand, 2);
    return moves;
}

/* As many different nodes as chance wants, in its order. */
static void pack_nodes(struct sp_pack *pack)
{
    unsigned nodes[SIM_NODES_MAX];
    unsigned count = (unsigned)sim_clients_draw(
        replicas_min, sim_cluster.node_count < 4 ? sim_cluster.node_count : 4);

    for (unsigned i = 0; i < sim_cluster.node_count; i++) {
        nodes[i] = sim_cluster_id(i);
    }
    sp_pack_array(pack, count);
    for (unsigned i = 0; i < count; i++) {
        unsigned chosen = (unsigned)sim_clients_draw(i, sim_cluster.node_count - 1);
        unsigned kept = nodes[i];
        nodes[i] = nodes[chosen];
        nodes[chosen] = kept;
        sp_pack_uint(pack, nodes[i]);
    }
}

static void move_one(struct spate_client *client)
{
    uint32_t place = (uint32_t)sim_clients_draw(0, sim_model.place_count - 1);
    struct sp_buf buf;
    struct sp_pack pack;
    void *result = NULL;
    size_t size = 0;

    sp_buf_init(&buf, 4096);
    sp_pack_init(&pack, &buf);
    sp_pack_map(&pack, 3);
    sp_pack_text(&pack, "topic");
    sp_pack_text(&pack, sim_model.places[place].topic);
    sp_pack_text(&pack, "partition");
    sp_pack_int(&pack, sim_model.places[place].partition);
    sp_pack_text(&pack, "replicas");
    pack_nodes(&pack);
    int rv = spate_call(client, "partition.move", buf.bytes, buf.size, &result, &size);
    sp_buf_deinit(&buf);
    if (rv == 0) {
        spate_free(result);
        sim_model.counts.moves += 1;
    }
}

/* Drains a node, or lets it have replicas again; false: nobody knows whether. */
static bool drain_one(struct spate_client *client, uint64_t node_id, bool draining)
{
    struct sp_buf buf;
    struct sp_pack pack;
    void *result = NULL;
    size_t size = 0;

    sp_buf_init(&buf, 4096);
    sp_pack_init(&pack, &buf);
    sp_pack_map(&pack, 2);
    sp_pack_text(&pack, "node");
    sp_pack_uint(&pack, node_id);
    sp_pack_text(&pack, "draining");
    sp_pack_bool(&pack, draining);
    int rv = spate_call(client, "node.drain", buf.bytes, buf.size, &result, &size);
    sp_buf_deinit(&buf);
    if (rv == 0) {
        spate_free(result);
        sim_model.counts.drains += draining ? 1 : 0;
    }
    return rv == 0 || rv == SPATE_ERR_EXISTS || rv == SPATE_ERR_NOT_FOUND;
}

/* With a node that is draining there may be too few for the replicas of a topic that is made. */
static void end_drains(struct spate_client *client)
{
    for (unsigned i = 0; i < sim_cluster.node_count; i++) {
        while (!drain_one(client, sim_cluster_id(i), false)) {
            sim_fiber_sleep(100 * SIM_MS);
        }
    }
}

void sim_moves_main(void *arg)
{
    struct sim_client *own = arg;
    struct spate_client *client = sim_clients_connect(NULL);

    while (!sim_clients.finishing) {
        if (sim_clients_topics_created() && sim_clients_draw(0, 3) > 0) {
            move_one(client);
        } else if (sim_clients_topics_created()) {
            bool draining = sim_clients_draw(0, 2) == 0;
            uint32_t node_id =
                sim_cluster_id((unsigned)sim_clients_draw(0, sim_cluster.node_count - 1));
            /* another machine may take the place of a node that drains */
            (void)drain_one(client, node_id, draining && !sim_doubles_planned());
        }
        sim_fiber_sleep(sim_clients_draw(100 * SIM_MS, 2 * SIM_SECOND));
    }
    end_drains(client);
    own->done = true;
    spate_client_free(client);
}
