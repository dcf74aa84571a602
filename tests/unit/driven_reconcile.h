/* Reconciling on node 1 with its stand-ins: topics are made and deleted, opens and removals end.
 * Included once, by one test. */
#ifndef SP_UNIT_DRIVEN_RECONCILE_H
#define SP_UNIT_DRIVEN_RECONCILE_H

#include <string.h>

#include "base/mem.h"
#include "cluster/state_moves.h"
#include "cluster/state_nodes.h"
#include "fake_loop.h"
#include "fake_reconcile.h"

static inline void on_change(void *arg, const struct sp_state_change *change)
{
    (void)arg;
    sp_reconcile_changed(fake.reconcile, change);
}

static inline int apply(struct sp_buf *buf)
{
    int rv = sp_state_apply(fake.state, buf->bytes, buf->size, 77, on_change, NULL);

    sp_buf_deinit(buf);
    fake_turn();
    return rv;
}

/* A topic with all its replicas on two nodes: even partitions here too, odd ones elsewhere. */
static inline void create(const char *name, uint32_t partitions)
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

static inline void delete (const char *name)
{
    struct sp_buf buf;

    sp_buf_init(&buf, 65536);
    assert_int_equal(sp_state_command_delete_topic(name, &buf), 0);
    assert_int_equal(apply(&buf), 0);
}

/* Ends the open that was started first. */
static inline void end_open(int status)
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
static inline void end_remove(void)
{
    assert_true(fake.remove_count > 0);
    void (*closed)(void *arg) = fake.removes[0].closed;
    void *arg = fake.removes[0].arg;
    fake.remove_count -= 1;
    memmove(fake.removes, fake.removes + 1, fake.remove_count * sizeof fake.removes[0]);
    closed(arg);
    fake_turn();
}

static inline void begin(void)
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

static inline void confirm(void)
{
    sp_reconcile_confirmed(fake.reconcile);
    fake_turn();
}

static inline void on_closed(void *arg)
{
    (void)arg;
    fake.closed_count += 1;
}

static inline void end(void)
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

#endif /* SP_UNIT_DRIVEN_RECONCILE_H */
