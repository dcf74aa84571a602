/* What stands in for the store, the group table, the controller and the broker in a test of
 * reconciling. */
#ifndef SP_UNIT_FAKE_RECONCILE_H
#define SP_UNIT_FAKE_RECONCILE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cluster/reconcile.h"

#define SELF 1 /* the node under test */
#define GROUPS_MAX 64

static struct {
    struct sp_state *state;
    struct sp_reconcile *reconcile;
    struct sp_replica_record registry[GROUPS_MAX];
    unsigned registry_count;
    unsigned quarantine_count;
    uint64_t marked_replica;
    unsigned quarantined;
    struct sp_group_open *opens[GROUPS_MAX]; /* in flight, in order */
    unsigned open_count;
    struct {
        bool remove;
        void (*closed)(void *arg);
        void *arg;
    } removes[GROUPS_MAX];
    unsigned remove_count;
    unsigned forget_count;
    unsigned acquire_count;
    unsigned opened_count;
    unsigned closing_count;
    unsigned release_count;
    unsigned acquires_to_fail;
    unsigned closed_count;
    bool replica_stopped;
    uint64_t live_count;
} fake;

/* Never looked into: only their addresses are used. */
static struct sp_machine fake_machines[GROUPS_MAX];
static char fake_groups[GROUPS_MAX];

const struct sp_state *sp_controller_state(const struct sp_controller *controller)
{
    (void)controller;
    return fake.state;
}

void sp_raft_group_status(const struct sp_raft_group *group,
                          struct sp_raft_group_status *out_status)
{
    (void)group;
    *out_status = (struct sp_raft_group_status){ .stopped = fake.replica_stopped };
}

int sp_raft_group_stop_status(const struct sp_raft_group *group)
{
    (void)group;
    return fake.replica_stopped ? SPATE_ERR_IO : 0;
}

uint64_t sp_raft_group_stopped_ms(const struct sp_raft_group *group)
{
    (void)group;
    return 0; /* only a damaged one is asked */
}

void sp_group_table_open(struct sp_group_table *table, struct sp_group_open *open)
{
    (void)table;
    assert_int_not_equal(open->group_id, 0);
    fake.opens[fake.open_count++] = open;
}

void sp_group_table_remove(struct sp_group_table *table,
                           struct sp_raft_group *group,
                           bool remove,
                           void (*closed)(void *arg),
                           void *arg)
{
    (void)table;
    assert_non_null(group);
    fake.removes[fake.remove_count].remove = remove;
    fake.removes[fake.remove_count].closed = closed;
    fake.removes[fake.remove_count].arg = arg;
    fake.remove_count += 1;
}

void sp_group_table_forget(struct sp_group_table *table, uint64_t group_id)
{
    (void)table;
    (void)group_id;
    fake.forget_count += 1;
}

uint32_t
sp_group_table_leader(const struct sp_group_table *table, uint64_t group_id, uint64_t *out_term)
{
    (void)table;
    (void)group_id;
    (void)out_term;
    return 0;
}

static inline void add_record(uint64_t group_id, uint64_t replica_id)
{
    fake.registry[fake.registry_count++] = (struct sp_replica_record){ group_id, replica_id };
}

bool sp_store_has_replica(const struct sp_store *store, uint64_t group_id, uint64_t replica_id)
{
    (void)store;
    for (unsigned i = 0; i < fake.registry_count; i++) {
        if (fake.registry[i].group_id == group_id && fake.registry[i].replica_id == replica_id) {
            return true;
        }
    }
    return false;
}

int sp_store_delete_replica(struct sp_store *store, uint64_t group_id, uint64_t replica_id)
{
    (void)store;
    for (unsigned i = 0; i < fake.registry_count; i++) {
        if (fake.registry[i].group_id == group_id && fake.registry[i].replica_id == replica_id) {
            fake.registry[i] = fake.registry[--fake.registry_count];
            return 0;
        }
    }
    return SPATE_ERR_NOT_FOUND;
}

void sp_store_replicas(const struct sp_store *store,
                       void (*each)(void *arg, const struct sp_replica_record *record),
                       void *arg)
{
    (void)store;
    for (unsigned i = 0; i < fake.registry_count; i++) {
        each(arg, &fake.registry[i]);
    }
}

int sp_store_retire_replica(struct sp_store *store, uint64_t group_id, uint64_t replica_id)
{
    return sp_store_delete_replica(store, group_id, replica_id);
}

int sp_store_quarantine_unknown(struct sp_store *store)
{
    (void)store;
    assert_int_equal(fake.open_count, 0);
    fake.quarantine_count += 1;
    return 0;
}

void sp_store_mark_damaged(struct sp_store *store,
                           uint64_t group_id,
                           uint64_t replica_id,
                           const char *text)
{
    (void)store;
    (void)group_id;
    assert_int_not_equal(text[0], '\0');
    fake.marked_replica = replica_id;
}

void sp_store_look_at_quarantine(struct sp_store *store)
{
    (void)store;
}

unsigned sp_store_quarantined(const struct sp_store *store)
{
    (void)store;
    return fake.quarantined;
}

static inline struct sp_machine *
acquire(void *arg, const struct sp_state_topic *topic, const struct sp_state_partition *partition)
{
    (void)arg;
    assert_ptr_equal(&topic->partitions[partition->partition], partition);
    if (fake.acquires_to_fail > 0) {
        fake.acquires_to_fail -= 1;
        return NULL;
    }
    return &fake_machines[fake.acquire_count++];
}

static inline void opened(void *arg, struct sp_machine *machine, struct sp_raft_group *group)
{
    (void)arg;
    assert_non_null(machine);
    assert_non_null(group);
    fake.opened_count += 1;
}

static inline void closing(void *arg, struct sp_machine *machine)
{
    (void)arg;
    assert_non_null(machine);
    fake.closing_count += 1;
}

static inline void release(void *arg, struct sp_machine *machine)
{
    (void)arg;
    assert_non_null(machine);
    fake.release_count += 1;
}

#endif /* SP_UNIT_FAKE_RECONCILE_H */
