#include "cluster/orphans.h"

#include <inttypes.h>

#include "base/mem.h"
#include "base/trace.h"
#include "cluster/controller.h"
#include "spate/error.h"

/* Collected while the registry is walked, since it must not change meanwhile. */
struct orphans {
    bool (*is_wanted)(void *arg, const struct sp_replica_record *record);
    void *arg;
    struct sp_replica_record *records;
    size_t count;
    size_t capacity;
    bool out_of_memory; /* the rest waits for the next start */
};

static void collect(void *arg, const struct sp_replica_record *record)
{
    struct orphans *orphans = arg;

    if (record->group_id == SP_CONTROLLER_GROUP_ID || orphans->out_of_memory ||
        orphans->is_wanted(orphans->arg, record)) {
        return;
    }
    if (orphans->count == orphans->capacity) {
        size_t capacity = orphans->capacity == 0 ? 64 : 2 * orphans->capacity;
        struct sp_replica_record *grown =
            sp_mem_realloc(orphans->records, capacity * sizeof *grown);
        if (grown == NULL) {
            orphans->out_of_memory = true;
            return;
        }
        orphans->records = grown;
        orphans->capacity = capacity;
    }
    orphans->records[orphans->count++] = *record;
}

static bool group_exists(const struct sp_state *state, uint64_t group_id)
{
    struct sp_map_cursor cursor = { 0 };
    const struct sp_state_topic *topic = NULL;

    while ((topic = sp_state_topic_next(state, &cursor)) != NULL) {
        for (uint32_t i = 0; i < topic->partition_count; i++) {
            if (topic->partitions[i].group_id == group_id) {
                return true;
            }
        }
    }
    return false;
}

void sp_orphan_delete(struct sp_store *store, uint64_t group_id, uint64_t replica_id)
{
    if (!sp_store_has_replica(store, group_id, replica_id)) {
        return;
    }
    int rv = sp_store_delete_replica(store, group_id, replica_id);
    if (rv != 0) {
        SP_TRACE_WARN("reconcile",
                      "replica of a deleted topic not removed, tried again at the next start",
                      "group=%" PRIu64 " replica=%" PRIu64 " error=%s",
                      group_id,
                      replica_id,
                      spate_error_name(rv));
    }
}

static void
settle(struct sp_store *store, const struct sp_state *state, const struct sp_replica_record *record)
{
    uint64_t next_group_id = sp_state_next_group_id(state);

    if (record->group_id >= next_group_id || group_exists(state, record->group_id) ||
        record->replica_id < sp_state_forced_below(state)) {
        SP_TRACE_ERROR("reconcile",
                       "replica is not in the cluster's metadata and is left alone",
                       "group=%" PRIu64 " replica=%" PRIu64 " next_group=%" PRIu64,
                       record->group_id,
                       record->replica_id,
                       next_group_id);
        return;
    }
    SP_TRACE_INFO("reconcile",
                  "replica of a deleted topic removed",
                  "group=%" PRIu64 " replica=%" PRIu64,
                  record->group_id,
                  record->replica_id);
    sp_orphan_delete(store, record->group_id, record->replica_id);
}

void sp_orphans_settle(struct sp_store *store,
                       const struct sp_state *state,
                       bool (*is_wanted)(void *arg, const struct sp_replica_record *record),
                       void *arg)
{
    struct orphans orphans = { .is_wanted = is_wanted, .arg = arg };

    sp_store_replicas(store, collect, &orphans);
    for (size_t i = 0; i < orphans.count; i++) {
        settle(store, state, &orphans.records[i]);
    }
    sp_mem_free(orphans.records);
}
