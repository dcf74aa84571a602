#include "sim_promises.h"

#include <stddef.h>

#include "base/assert.h"
#include "cluster/raft_group.h"
#include "sim_cluster.h"
#include "sim_images.h"
#include "sim_model.h"
#include "sim_scan.h"
#include "sim_world.h"
#include "storage/checkpoint.h"

enum {
    PROMISES_MAX = 4 * SIM_GROUPS_MAX, /* replicas of one node in one run */
};

struct promise {
    uint64_t group_id;
    uint64_t replica_id;
    uint64_t index;
    struct sim_found *frames; /* up to there, as they were when it said so; ascending */
    size_t count;
    size_t capacity;
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

static void keep(struct promise *promise, const struct sim_found *frame)
{
    if (promise->count == promise->capacity) {
        promise->capacity = promise->capacity == 0 ? 64 : 2 * promise->capacity;
        promise->frames = sim_grow(promise->frames, promise->capacity * sizeof promise->frames[0]);
    }
    promise->frames[promise->count] = *frame;
    promise->count += 1;
}

/* What stands behind `index` is promised no longer. */
static void lower(struct promise *promise, uint64_t index)
{
    promise->index = promise->index < index ? promise->index : index;
    while (promise->count > 0 && promise->frames[promise->count - 1].index > index) {
        promise->count -= 1;
    }
}

static void fail_frame(uint32_t node, uint64_t group_id, const char *what, uint64_t index)
{
    sim_fail("%s group %llu: %s index %llu",
             sim_cluster.nodes[node].process->name,
             (unsigned long long)group_id,
             what,
             (unsigned long long)index);
}

/* The log of the replica if it runs. */
static const struct sp_log *log_of(uint32_t node, uint64_t group_id, uint64_t replica_id)
{
    const struct sp_raft_group *group = sim_cluster_group(&sim_cluster.nodes[node], group_id);

    return group != NULL && sp_raft_group_replica_id(group) == replica_id ? sp_raft_group_log(group)
                                                                          : NULL;
}

void sim_promises_stored(uint32_t node, uint64_t group_id, uint64_t replica_id, uint64_t index)
{
    struct promise *promise = find(node, group_id, replica_id);
    const struct sim_disk *disk = sim_cluster.nodes[node].process->disk;
    const struct sp_log *log = log_of(node, group_id, replica_id);

    if (index <= promise->index) {
        return;
    }
    sim_images_check_stored(&sim_cluster.nodes[node], group_id, replica_id, index);
    const struct sim_inode *directory = sim_scan_replica(disk, group_id, replica_id, true);
    for (uint64_t i = promise->index + 1; i <= index; i++) {
        const struct sim_found *frame = sim_scan_frame(directory, i);
        uint64_t term = log == NULL ? 0 : sp_log_term_at(log, i);
        if (frame == NULL) {
            continue; /* a checkpoint took its place, or it has rotted since */
        }
        if (term != 0 && term != frame->term) {
            fail_frame(node, group_id, "another frame than it says is on the disk at", i);
        }
        keep(promise, frame);
    }
    promise->index = index;
}

/* What it had said that it has is what it has now, in memory and on its disk. */
static void check_frames(uint32_t node, const struct promise *promise, const struct sp_log *log)
{
    const struct sim_disk *disk = sim_cluster.nodes[node].process->disk;
    const struct sim_inode *directory =
        sim_scan_replica(disk, promise->group_id, promise->replica_id, true);

    for (size_t i = 0; i < promise->count && !sim.failed; i++) {
        const struct sim_found *frame = &promise->frames[i];
        if (frame->index < sp_log_first_index(log)) {
            continue;
        }
        const struct sim_found *found = sim_scan_frame(directory, frame->index);
        bool same = sp_log_term_at(log, frame->index) == frame->term &&
                    (frame->index != sp_log_last_index(log) || sp_log_chain(log) == frame->chain);
        bool kept =
            found != NULL
                ? found->term == frame->term && found->chain == frame->chain
                : sim_images_may_lack(disk, promise->group_id, promise->replica_id, frame->index);
        if (!same || !kept) {
            fail_frame(node,
                       promise->group_id,
                       "it is opened with another frame than it had said that it has at",
                       frame->index);
        }
    }
}

void sim_promises_opened(uint32_t node, const struct sp_log *log)
{
    uint64_t group_id = sp_log_group_id(log);
    const struct promise *promise = find(node, group_id, sp_log_replica_id(log));

    if (sp_log_last_index(log) < promise->index) {
        sim_fail("%s group %llu is opened with frames up to %llu, though it had said that it has "
                 "%llu",
                 sim_cluster.nodes[node].process->name,
                 (unsigned long long)group_id,
                 (unsigned long long)sp_log_last_index(log),
                 (unsigned long long)promise->index);
        return;
    }
    check_frames(node, promise, log);
}

int __wrap_sp_log_truncate(struct sp_log *log, uint64_t index)
{
    struct promise *promise = find(sim.current->id, sp_log_group_id(log), sp_log_replica_id(log));

    lower(promise, index - 1);
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
    if (sp_checkpoint_decode(checkpoint, size, &decoded) == 0) {
        lower(promise, decoded.point.index);
    }
    sim_model.counts.looks[SIM_LOOK_sp_log_install] += 1;
    return __real_sp_log_install(log, checkpoint, size);
}
