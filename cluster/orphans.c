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
    uint64_t group_id; /* only of this one, if one_group */
    bool one_group;
    struct sp_replica_record *records;
    size_t count;
    size_t capacity;
    bool out_of_memory; /* the rest waits for the next start */
};

static void collect(void *arg, const struct sp_replica_record *record)
{
    struct orphans *orphans = arg;

    if (record->group_id == SP_CONTROLLER_GROUP_ID || orphans->out_of_memory ||
        (orphans->one_group && record->group_id != orphans->group_id) ||
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

static void note(uint64_t group_id, uint64_t replica_id, int rv)
{
    if (rv != 0) {
        SP_TRACE_WARN("reconcile",
                      "replica that is not needed not removed, tried again at the next start",
                      "group=%" PRIu64 " replica=%" PRIu64 " error=%s",
                      group_id,
                      replica_id,
                      spate_error_name(rv));
    }
}

void sp_orphan_delete(struct sp_store *store, uint64_t group_id, uint64_t replica_id)
{
    if (sp_store_has_replica(store, group_id, replica_id)) {
        note(group_id, replica_id, sp_store_delete_replica(store, group_id, replica_id));
    }
}

/* What the state says of a replica that is not wanted here. */
static void
settle(struct sp_store *store, const struct sp_state *state, const struct sp_replica_record *record)
{
    const struct sp_state_partition *partition =
        sp_state_partition_of(state, record->group_id, NULL);
    bool given_out = record->group_id < sp_state_next_group_id(state) &&
                     record->replica_id < sp_state_next_replica_id(state);

    if (partition != NULL && sp_state_knows_replica(state, partition, record->replica_id)) {
        return; /* another one stands in its place, and it may still be a member */
    }
    if (!given_out || record->replica_id < sp_state_forced_below(state)) {
        SP_TRACE_ERROR("reconcile",
                       "replica is not in the cluster's metadata and is left alone",
                       "group=%" PRIu64 " replica=%" PRIu64 " next_group=%" PRIu64
                       " next_replica=%" PRIu64,
                       record->group_id,
                       record->replica_id,
                       sp_state_next_group_id(state),
                       sp_state_next_replica_id(state));
        return;
    }
    SP_TRACE_INFO("reconcile",
                  partition == NULL ? "replica of a deleted topic removed"
                                    : "replica that was moved away or replaced removed",
                  "group=%" PRIu64 " replica=%" PRIu64,
                  record->group_id,
                  record->replica_id);
    if (partition == NULL) {
        sp_orphan_delete(store, record->group_id, record->replica_id);
    } else if (sp_store_has_replica(store, record->group_id, record->replica_id)) {
        note(record->group_id,
             record->replica_id,
             sp_store_retire_replica(store, record->group_id, record->replica_id));
    }
}

static void
settle_all(struct sp_store *store, const struct sp_state *state, struct orphans *orphans)
{
    sp_store_replicas(store, collect, orphans);
    for (size_t i = 0; i < orphans->count; i++) {
        settle(store, state, &orphans->records[i]);
    }
    sp_mem_free(orphans->records);
}

void sp_orphans_settle(struct sp_store *store,
                       const struct sp_state *state,
                       bool (*is_wanted)(void *arg, const struct sp_replica_record *record),
                       void *arg)
{
    struct orphans orphans = { .is_wanted = is_wanted, .arg = arg };

    settle_all(store, state, &orphans);
}

void sp_orphans_settle_partition(struct sp_store *store,
                                 const struct sp_state *state,
                                 const struct sp_state_partition *partition,
                                 bool (*is_wanted)(void *arg,
                                                   const struct sp_replica_record *record),
                                 void *arg)
{
    struct orphans orphans = {
        .is_wanted = is_wanted, .arg = arg, .group_id = partition->group_id, .one_group = true
    };

    settle_all(store, state, &orphans);
}
