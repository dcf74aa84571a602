#include "sim_promises.h"

#include <stddef.h>

#include "base/assert.h"
#include "sim_cluster.h"
#include "sim_images.h"
#include "sim_model.h"
#include "sim_world.h"
#include "storage/checkpoint.h"

enum {
    PROMISES_MAX = 4 * SIM_GROUPS_MAX, /* replicas of one node in one run */
};

struct promise {
    uint64_t group_id;
    uint64_t replica_id;
    uint64_t index;
};

static struct promise promises[SIM_NODES_MAX][PROMISES_MAX];
static unsigned counts[SIM_NODES_MAX];

static struct promise *find(uint32_t node, uint64_t group_id, uint64_t replica_id)
{
    for (unsigned i = 0; i < counts[node]; i++) {
        if (promises[node][i].group_id == group_id && promises[node][i].replica_id == replica_id) {
            return &promises[node][i];
        }
    }
    SP_ASSERT(counts[node] < PROMISES_MAX);
    struct promise *promise = &promises[node][counts[node]];
    promise->group_id = group_id;
    promise->replica_id = replica_id;
    counts[node] += 1;
    return promise;
}

void sim_promises_stored(uint32_t node, uint64_t group_id, uint64_t replica_id, uint64_t index)
{
    struct promise *promise = find(node, group_id, replica_id);

    if (index > promise->index) {
        promise->index = index;
        sim_images_check_stored(&sim_cluster.nodes[node], group_id, replica_id, index);
    }
}

void sim_promises_opened(uint32_t node, uint64_t group_id, uint64_t replica_id, uint64_t last_index)
{
    const struct promise *promise = find(node, group_id, replica_id);

    if (last_index < promise->index) {
        sim_fail("%s group %llu is opened with frames up to %llu, though it had said that it has "
                 "%llu",
                 sim_cluster.nodes[node].process->name,
                 (unsigned long long)group_id,
                 (unsigned long long)last_index,
                 (unsigned long long)promise->index);
    }
}

int __wrap_sp_log_truncate(struct sp_log *log, uint64_t index)
{
    struct promise *promise = find(sim.current->id, sp_log_group_id(log), sp_log_replica_id(log));

    if (promise->index >= index) {
        promise->index = index - 1;
    }
    sim_model.counts.looks[SIM_LOOK_sp_log_truncate] += 1;
    return __real_sp_log_truncate(log, index);
}

void __wrap_sp_log_trim(struct sp_log *log, uint64_t index)
{
    sim_model_trimmed(sim.current->id, sp_log_group_id(log), index);
    sim_model.counts.looks[SIM_LOOK_sp_log_trim] += 1;
    __real_sp_log_trim(log, index);
}

int __wrap_sp_segment_reuse(const char *directory,
                            const struct sp_segment_header *header,
                            const char *spare,
                            struct sp_file **out_file)
{
    sim_model.counts.recycled += 1;
    return __real_sp_segment_reuse(directory, header, spare, out_file);
}

int __wrap_sp_log_install(struct sp_log *log, const uint8_t *checkpoint, size_t size)
{
    struct promise *promise = find(sim.current->id, sp_log_group_id(log), sp_log_replica_id(log));
    struct sp_checkpoint decoded;

    /* What it had behind that index was of another history: none of it was ever committed. */
    if (sp_checkpoint_decode(checkpoint, size, &decoded) == 0 &&
        promise->index > decoded.point.index) {
        promise->index = decoded.point.index;
    }
    sim_model.counts.looks[SIM_LOOK_sp_log_install] += 1;
    return __real_sp_log_install(log, checkpoint, size);
}
