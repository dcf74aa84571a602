#include "cluster/reconcile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/trace.h"
#include "cluster/state_moves.h"
#include "cluster/state_nodes.h"
#include "fake_loop.h"

#define SELF 1
#define GROUPS_MAX 64

/* ---- what stands in for the store, the group table, the controller and the broker ------------ */

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
    unsigned lost_traces;
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

static void add_record(uint64_t group_id, uint64_t replica_id)
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

static struct sp_machine *
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

static void opened(void *arg, struct sp_machine *machine, struct sp_raft_group *group)
{
    (void)arg;
    assert_non_null(machine);
    assert_non_null(group);
    fake.opened_count += 1;
}

static void closing(void *arg, struct sp_machine *machine)
{
    (void)arg;
    assert_non_null(machine);
    fake.closing_count += 1;
}

static void release(void *arg, struct sp_machine *machine)
{
    (void)arg;
    assert_non_null(machine);
    fake.release_count += 1;
}

/* ---- driving --------------------------------------------------------------------------------- */

static void on_change(void *arg, const struct sp_state_change *change)
{
    (void)arg;
    sp_reconcile_changed(fake.reconcile, change);
}

static int apply(struct sp_buf *buf)
{
    int rv = sp_state_apply(fake.state, buf->bytes, buf->size, 77, on_change, NULL);

    sp_buf_deinit(buf);
    fake_turn();
    return rv;
}

/* A topic with all its replicas on two nodes: even partitions here too, odd ones elsewhere. */
static void create(const char *name, uint32_t partitions)
{
    uint32_t nodes[2 * GROUPS_MAX];
    struct sp_buf buf;

    for (uint32_t i = 0; i < partitions; i++) {
        nodes[2 * i] = 2;
        nodes[2 * i + 1] = i % 2 == 0 ? SELF : 3;
    }
    sp_buf_init(&buf, 65536);
    assert_int_equal(sp_state_command_create_topic(
                         name,
                         partitions,
                         2,
                         nodes,
                         &(struct sp_topic_config){ .set = 1U << SP_TOPIC_MESSAGE_BYTES_MAX,
                                                    .values = { 4096 } },
                         &buf),
                     0);
    assert_int_equal(apply(&buf), 0);
}

static void delete (const char *name)
{
    struct sp_buf buf;

    sp_buf_init(&buf, 65536);
    assert_int_equal(sp_state_command_delete_topic(name, &buf), 0);
    assert_int_equal(apply(&buf), 0);
}

/* Ends the open that was started first. */
static void end_open(int status)
{
    struct sp_group_open *open = fake.opens[0];

    assert_true(fake.open_count > 0);
    fake.open_count -= 1;
    memmove(fake.opens, fake.opens + 1, fake.open_count * sizeof fake.opens[0]);
    if (status == 0) {
        open->group = (struct sp_raft_group *)(void *)&fake_groups[open->group_id % GROUPS_MAX];
        if (!sp_store_has_replica(NULL, open->group_id, open->replica_id)) {
            add_record(open->group_id, open->replica_id);
        }
    }
    open->cb(open, status);
    fake_turn();
}

/* Ends the removal that was started first. */
static void end_remove(void)
{
    assert_true(fake.remove_count > 0);
    void (*closed)(void *arg) = fake.removes[0].closed;
    void *arg = fake.removes[0].arg;
    fake.remove_count -= 1;
    memmove(fake.removes, fake.removes + 1, fake.remove_count * sizeof fake.removes[0]);
    closed(arg);
    fake_turn();
}

static void begin(void)
{
    static const struct sp_reconcile_handler handler = { acquire, opened, closing, release };

    memset(&fake, 0, sizeof fake);
    fake_loop_init();
    fake.live_count = sp_mem_live_count();
    assert_int_equal(sp_state_new(&fake.state), 0);
    assert_int_equal(
        sp_reconcile_new(NULL, NULL, NULL, NULL, SELF, &handler, NULL, &fake.reconcile), 0);
    for (uint32_t id = 1; id <= 3; id++) {
        struct sp_state_node node = { .node_id = id, .client_address = "c", .peer_address = "p" };
        struct sp_buf buf;
        sp_buf_init(&buf, 4096);
        assert_int_equal(sp_state_command_register_node(&node, &buf), 0);
        assert_int_equal(apply(&buf), 0);
    }
}

static void confirm(void)
{
    sp_reconcile_confirmed(fake.reconcile);
    fake_turn();
}

static void on_closed(void *arg)
{
    (void)arg;
    fake.closed_count += 1;
}

static void end(void)
{
    sp_reconcile_close(fake.reconcile, on_closed, NULL);
    assert_int_equal(fake.closed_count, 0);
    fake_turn();
    while (fake.open_count > 0) {
        end_open(SPATE_ERR_CANCELED);
    }
    while (fake.remove_count > 0) {
        end_remove();
    }
    assert_int_equal(fake.closed_count, 1);
    assert_int_equal(fake.acquire_count, fake.release_count);
    assert_int_equal(fake.opened_count, fake.closing_count);
    assert_int_equal(fake_loop.timer_count, 0);
    sp_state_free(fake.state);
    assert_int_equal(sp_mem_live_count(), fake.live_count);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_reconcile_acts_only_once_confirmed(void **unused)
{
    (void)unused;
    begin();
    add_record(500, 2000);
    create("t", 4);
    create("gone", 2);
    delete ("gone");
    assert_int_equal(fake.open_count + fake.quarantine_count, 0);
    confirm();
    assert_int_equal(fake.quarantine_count, 1);
    assert_int_equal(fake.open_count, 2); /* partitions 0 and 2 */
    assert_int_equal(sp_reconcile_missing_count(fake.reconcile), 2);
    assert_int_equal(fake.opens[0]->group_id, 1);
    assert_int_equal(fake.opens[0]->replica_id, 1026);
    assert_int_equal(fake.opens[0]->place_count, 2);
    assert_int_equal(fake.opens[0]->places[0].node_id, 2);
    assert_int_equal(fake.opens[0]->places[1].replica_id, 1026);
    assert_int_equal(fake.opens[0]->created_ms, 77);
    assert_int_equal(fake.opens[1]->group_id, 3);
    end_open(0);
    end_open(0);
    assert_int_equal(fake.opened_count, 2);
    assert_int_equal(sp_reconcile_missing_count(fake.reconcile), 0);
    fake.replica_stopped = true;
    assert_int_equal(sp_reconcile_missing_count(fake.reconcile), 2);
    confirm(); /* after a restore of the same state */
    assert_int_equal(fake.open_count, 0);
    assert_int_equal(fake.quarantine_count, 1);
    end();
}

static void test_reconcile_opens_a_few_at_a_time(void **unused)
{
    (void)unused;
    begin();
    confirm();
    create("t", 40);
    for (unsigned left = 20; left > 0; left--) {
        assert_int_equal(fake.open_count, left < 8 ? left : 8);
        end_open(0);
    }
    assert_int_equal(fake.opened_count, 20);
    end();
}

static void test_reconcile_deleted_topic_is_closed_and_removed(void **unused)
{
    (void)unused;
    begin();
    confirm();
    create("t", 4);
    end_open(0);
    delete ("t"); /* one runs, one is opening, two are elsewhere */
    assert_int_equal(fake.closing_count, 1);
    assert_int_equal(fake.remove_count, 1);
    assert_true(fake.removes[0].remove);
    assert_int_equal(fake.forget_count, 2);
    assert_int_equal(fake.release_count, 0);
    end_open(0);
    assert_int_equal(fake.remove_count, 2);
    end_remove();
    end_remove();
    assert_int_equal(fake.release_count, 2);
    assert_int_equal(sp_reconcile_missing_count(fake.reconcile), 0);
    end();
}

static void test_reconcile_damaged_replica_is_missing_and_not_retried(void **unused)
{
    (void)unused;
    begin();
    add_record(1, 1026);
    create("t", 1);
    confirm();
    end_open(SPATE_ERR_CORRUPT);
    assert_int_equal(fake.release_count, 1);
    assert_int_equal(sp_reconcile_missing_count(fake.reconcile), 1);
    fake_wait(1000);
    confirm();
    assert_int_equal(fake.open_count, 0);
    assert_true(sp_store_has_replica(NULL, 1, 1026));
    delete ("t");
    assert_false(sp_store_has_replica(NULL, 1, 1026));
    assert_int_equal(sp_reconcile_missing_count(fake.reconcile), 0);
    end();
}

/* What is damaged is marked, told with the reason why it stays out, and not refilled while too many
 * lie in quarantine. */
static void test_reconcile_damage_is_marked_and_explained(void **unused)
{
    struct sp_map_cursor cursor = { 0 };
    struct sp_reconcile_damage damage;

    (void)unused;
    begin();
    confirm();
    create("t", 1);
    fake_wait(7);
    end_open(SPATE_ERR_CORRUPT);
    uint64_t found_ms = fake_loop.now_ms;
    fake_wait(500);
    assert_true(sp_reconcile_next_damage(fake.reconcile, &cursor, &damage));
    assert_int_equal(fake.marked_replica, damage.replica_id);
    assert_int_equal(damage.since_ms, found_ms);
    assert_string_equal(damage.refusal, SP_RECONCILE_WAITS_FOR_LEADER);
    assert_true(sp_reconcile_note_refusal(fake.reconcile, damage.group_id, "no majority"));
    assert_false(sp_reconcile_note_refusal(fake.reconcile, damage.group_id, "no majority"));
    assert_false(sp_reconcile_note_refusal(fake.reconcile, 999, "unknown"));
    cursor = (struct sp_map_cursor){ 0 };
    assert_true(sp_reconcile_next_damage(fake.reconcile, &cursor, &damage));
    assert_string_equal(damage.refusal, "no majority");
    assert_true(sp_reconcile_may_refill(fake.reconcile));
    fake.quarantined = SP_QUARANTINE_MAX;
    assert_false(sp_reconcile_may_refill(fake.reconcile));
    end();
}

static void test_reconcile_without_memory_tries_again(void **unused)
{
    (void)unused;
    begin();
    confirm();
    fake.acquires_to_fail = 1;
    create("t", 1);
    assert_int_equal(fake.open_count, 0);
    fake_wait(200);
    assert_int_equal(fake.open_count, 1);
    end_open(SPATE_ERR_NOMEM);
    assert_int_equal(fake.open_count, 0);
    assert_int_equal(sp_reconcile_missing_count(fake.reconcile), 1);
    fake_wait(400);
    end_open(0);
    assert_int_equal(sp_reconcile_missing_count(fake.reconcile), 0);
    end();
}

static void note_rest(void *arg,
                      enum sp_trace_level level,
                      const char *component,
                      const char *message,
                      const char *facts)
{
    unsigned *count = arg;

    (void)level;
    (void)component;
    if (strstr(message, "is tried again") != NULL) {
        assert_non_null(strstr(facts, "error=NO_SPACE"));
        *count += 1;
    }
}

/* A full disk may be full for long: the pauses grow, and the cause is told once. */
static void test_reconcile_without_space_tries_ever_more_rarely(void **unused)
{
    unsigned told = 0;
    unsigned tries = 0;

    (void)unused;
    begin();
    confirm();
    sp_trace_set_sink(note_rest, &told, SP_TRACE_LEVEL_WARN);
    create("t", 1);
    for (unsigned second = 0; second < 60; second++) {
        while (fake.open_count > 0) {
            end_open(SPATE_ERR_NO_SPACE);
            tries += 1;
        }
        fake_wait(1000);
    }
    assert_in_range(tries, 10, 20);
    assert_int_equal(told, 1);
    fake_wait(5000);
    end_open(0);
    assert_int_equal(sp_reconcile_missing_count(fake.reconcile), 0);
    sp_trace_set_sink(NULL, NULL, SP_TRACE_LEVEL_WARN);
    end();
}

/* Replicas in the registry: of a deleted topic, of an id never given out, of a group that lives
 * elsewhere, and group 0. Only the first may be deleted. */
static void test_reconcile_deletes_only_what_the_state_once_had(void **unused)
{
    (void)unused;
    begin();
    add_record(0, SELF);
    create("gone", 1);
    create("t", 2);
    add_record(1, 1026);
    add_record(2, 1028);
    add_record(3, 1030);
    add_record(4, 1032);
    delete ("gone");
    confirm();
    assert_false(sp_store_has_replica(NULL, 1, 1026));
    assert_true(sp_store_has_replica(NULL, 0, SELF));
    assert_true(sp_store_has_replica(NULL, 2, 1028));
    assert_true(sp_store_has_replica(NULL, 3, 1030));
    assert_true(sp_store_has_replica(NULL, 4, 1032));
    assert_int_equal(fake.open_count, 1);
    end();
}

/* A checkpoint from the leader replaced the state: what is missing in it was deleted meanwhile. */
static void test_reconcile_restored_state_dooms_what_it_lacks(void **unused)
{
    struct sp_state *before = NULL;

    (void)unused;
    begin();
    confirm();
    create("a", 1);
    create("b", 1);
    end_open(0);
    before = fake.state;
    assert_int_equal(sp_state_new(&fake.state), 0);
    end_open(SPATE_ERR_NOMEM); /* comes back between the restore and its confirmation */
    fake_wait(250);
    assert_int_equal(fake.open_count, 0);
    confirm();
    assert_int_equal(fake.remove_count, 1);
    assert_true(fake.removes[0].remove);
    end_remove();
    assert_int_equal(sp_reconcile_missing_count(fake.reconcile), 0);
    sp_state_free(before);
    end();
}

static void test_reconcile_close_waits_for_opening_and_keeps_replicas(void **unused)
{
    (void)unused;
    begin();
    confirm();
    create("t", 40);
    end_open(0);
    sp_reconcile_close(fake.reconcile, on_closed, NULL);
    fake_turn();
    assert_int_equal(fake.remove_count, 1);
    assert_false(fake.removes[0].remove);
    create("late", 1);
    end_remove();
    assert_int_equal(fake.closed_count, 0);
    assert_int_equal(fake.open_count, 8);
    end_open(0);
    assert_int_equal(fake.remove_count, 1);
    assert_false(fake.removes[0].remove);
    while (fake.open_count > 0) {
        end_open(SPATE_ERR_CANCELED);
    }
    end_remove();
    assert_int_equal(fake.closed_count, 1);
    assert_int_equal(fake.acquire_count, fake.release_count);
    assert_true(sp_store_has_replica(NULL, 1, 1026));
    sp_state_free(fake.state);
    assert_int_equal(sp_mem_live_count(), fake.live_count);
}

/* The disk was replaced: as an empty one the old replica would vote without what it had stored. */
/* Begins a move to the same nodes, in which those that are lost are made anew. */
static void renew(const char *name, const uint32_t *nodes, unsigned count)
{
    struct sp_state_wish wishes[SP_REPLICAS_MAX] = { 0 };
    struct sp_buf buf;

    for (unsigned i = 0; i < count; i++) {
        wishes[i].node_id = nodes[i];
    }
    sp_buf_init(&buf, 65536);
    assert_int_equal(sp_state_command_move_begin(
                         sp_state_topic(fake.state, name)->topic_id, 0, wishes, count, &buf),
                     0);
    assert_int_equal(apply(&buf), 0);
}

static void note_trace(void *arg,
                       enum sp_trace_level level,
                       const char *component,
                       const char *message,
                       const char *facts)
{
    (void)arg;
    (void)level;
    (void)component;
    (void)facts;
    fake.lost_traces += strstr(message, "its disk was replaced") != NULL;
}

static void test_reconcile_replica_of_another_disk_does_not_run(void **unused)
{
    static const uint32_t nodes[] = { SELF, 2, 3 };
    static const struct sp_topic_config plain = { .set = 0 };
    struct sp_state_node self = { .node_id = SELF,
                                  .incarnation = 9,
                                  .client_address = "c",
                                  .peer_address = "p",
                                  .features = { SP_FEATURE_LEVEL_FIRST, SP_FEATURE_LEVEL_MAX } };
    struct sp_buf buf;

    (void)unused;
    begin();
    sp_trace_set_sink(note_trace, NULL, SP_TRACE_LEVEL_WARN);
    sp_buf_init(&buf, 65536);
    assert_int_equal(sp_state_command_create_topic("t", 1, 3, nodes, &plain, &buf), 0);
    assert_int_equal(apply(&buf), 0);
    sp_buf_init(&buf, 65536);
    assert_int_equal(sp_state_command_join_node(&self, &buf), 0);
    assert_int_equal(apply(&buf), 0);
    confirm();
    confirm(); /* it is told once */
    assert_int_equal(fake.open_count, 0);
    assert_int_equal(sp_reconcile_missing_count(fake.reconcile), 1);
    sp_buf_init(&buf, 65536);
    assert_int_equal(sp_state_command_create_topic("u", 1, 3, nodes, &plain, &buf), 0);
    assert_int_equal(apply(&buf), 0);
    assert_int_equal(fake.open_count, 1); /* of the disk that it has */
    end_open(0);
    assert_int_equal(sp_reconcile_missing_count(fake.reconcile), 1);
    renew("t", nodes, 3);
    assert_int_equal(fake.open_count, 1); /* the one that takes its place */
    end_open(0);
    assert_int_equal(sp_reconcile_missing_count(fake.reconcile), 0);
    assert_int_equal(fake.lost_traces, 1);
    sp_trace_set_sink(NULL, NULL, SP_TRACE_LEVEL_WARN);
    end();
}

static void test_reconcile_survives_failing_allocations(void **unused)
{
    (void)unused;
    begin();
    create("t", 6);
    for (uint64_t n = 1; n < 8; n++) {
        sp_mem_fail_at(n);
        confirm();
        sp_mem_fail_at(0);
    }
    fake_wait(400);
    assert_int_equal(fake.open_count, 3);
    while (fake.open_count > 0) {
        end_open(0);
    }
    assert_int_equal(sp_reconcile_missing_count(fake.reconcile), 0);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reconcile_acts_only_once_confirmed),
        cmocka_unit_test(test_reconcile_opens_a_few_at_a_time),
        cmocka_unit_test(test_reconcile_deleted_topic_is_closed_and_removed),
        cmocka_unit_test(test_reconcile_damaged_replica_is_missing_and_not_retried),
        cmocka_unit_test(test_reconcile_damage_is_marked_and_explained),
        cmocka_unit_test(test_reconcile_without_memory_tries_again),
        cmocka_unit_test(test_reconcile_without_space_tries_ever_more_rarely),
        cmocka_unit_test(test_reconcile_deletes_only_what_the_state_once_had),
        cmocka_unit_test(test_reconcile_restored_state_dooms_what_it_lacks),
        cmocka_unit_test(test_reconcile_close_waits_for_opening_and_keeps_replicas),
        cmocka_unit_test(test_reconcile_replica_of_another_disk_does_not_run),
        cmocka_unit_test(test_reconcile_survives_failing_allocations),
    };
    return cmocka_run_group_tests_name("cluster/reconcile", tests, NULL, NULL);
}
