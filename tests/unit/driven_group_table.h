/* A group table on a real directory, and what other nodes say to it. Included once, by one test. */
#ifndef SP_UNIT_DRIVEN_GROUP_TABLE_H
#define SP_UNIT_DRIVEN_GROUP_TABLE_H

#include "cluster/group_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "silent_transport.h"
#include "spate/error.h"

enum {
    SELF = 1,
    OTHER = 2,
    SELF_REPLICA = 9,
    OTHER_REPLICA = 10,
    GROUP = 4,
    ELECTION_TIMEOUT_MS = 300, /* of a table that is told nothing else */
};

/* ---- fixture --------------------------------------------------------------------------------- */

struct fixture {
    char path[64];
    struct sp_loop *loop;
    struct sp_store *store;
    struct sp_group_table *table;
    struct sp_machine machine;
    struct sp_replica_place places[2];
    struct sp_group_open open;
    int open_status;
    bool opened;
    bool closed;
    bool stopped;
    bool refuses; /* the machine takes no frame */
};

static inline int
machine_apply(struct sp_machine *machine, const struct sp_log_frame *frame, const uint8_t *payload)
{
    (void)frame;
    (void)payload;
    return SP_CONTAINER_OF(machine, struct fixture, machine)->refuses ? SPATE_ERR_CORRUPT : 0;
}

static inline int machine_checkpoint(struct sp_machine *machine, struct sp_buf *out)
{
    (void)machine;
    (void)out;
    return 0;
}

static inline int machine_restore(struct sp_machine *machine, const uint8_t *bytes, size_t size)
{
    (void)machine;
    (void)bytes;
    (void)size;
    return 0;
}

static inline void machine_role_changed(struct sp_machine *machine)
{
    (void)machine;
}

static inline void machine_stopped(struct sp_machine *machine, int status, const char *text)
{
    (void)status;
    (void)text;
    SP_CONTAINER_OF(machine, struct fixture, machine)->stopped = true;
}

static const struct sp_machine_type machine_type = {
    machine_apply, machine_checkpoint, machine_restore, machine_role_changed, machine_stopped, 0,
    NULL
};

static inline void on_meta_durable(void *arg, uint64_t sequence)
{
    struct fixture *fixture = arg;

    if (fixture->table != NULL) {
        sp_group_table_meta_durable(fixture->table, sequence);
    }
}

static inline void on_store_failed(void *arg, int status, const char *text)
{
    (void)arg;
    (void)status;
    fail_msg("store failed: %s", text);
}

static const struct sp_store_handler store_handler = { on_meta_durable, on_store_failed };

static inline void on_open(struct sp_group_open *open, int status)
{
    struct fixture *fixture = open->arg;

    fixture->open_status = status;
    fixture->opened = true;
}

static inline void on_table_closed(void *arg)
{
    struct fixture *fixture = arg;

    fixture->table = NULL;
    fixture->closed = true;
}

static inline void on_store_closed(void *arg)
{
    ((struct fixture *)arg)->closed = true;
}

static inline void run_until(struct fixture *fixture, const bool *flag)
{
    assert_true(sp_loop_run_until(fixture->loop, flag, sp_loop_now_ms(fixture->loop) + 10000));
}

static inline int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct sp_store_options store = { .node_id = SELF };
    struct sp_group_table_options table = { .node_id = SELF };
    char text[256];

    assert_non_null(fixture);
    other_link = SP_LINK_DOWN;
    send_status = SPATE_ERR_CLOSED;
    (void)snprintf(fixture->path, sizeof fixture->path, "group-table-test-XXXXXX");
    assert_non_null(mkdtemp(fixture->path));
    store.path = fixture->path;
    assert_int_equal(sp_loop_new(2, &fixture->loop), 0);
    assert_int_equal(
        sp_store_open(
            fixture->loop, &store, &store_handler, fixture, text, sizeof text, &fixture->store),
        0);
    table.loop = fixture->loop;
    table.store = fixture->store;
    assert_int_equal(sp_group_table_new(&table, &fixture->table), 0);
    fixture->machine.type = &machine_type;
    fixture->places[0] = (struct sp_replica_place){ SELF_REPLICA, SELF };
    fixture->places[1] = (struct sp_replica_place){ OTHER_REPLICA, OTHER };
    *state = fixture;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *fixture = *state;

    fixture->closed = false;
    sp_store_close(fixture->store, on_store_closed, fixture);
    run_until(fixture, &fixture->closed);
    sp_loop_free(fixture->loop);
    assert_int_equal(sp_path_remove_tree(fixture->path), 0);
    free(fixture);
    return 0;
}

static inline void start_open(struct fixture *fixture)
{
    fixture->open = (struct sp_group_open){ .group_id = GROUP,
                                            .replica_id = SELF_REPLICA,
                                            .places = fixture->places,
                                            .place_count = 2,
                                            .machine = &fixture->machine,
                                            .cb = on_open,
                                            .arg = fixture };
    sp_group_table_open(fixture->table, &fixture->open);
}

static inline void turn(struct fixture *fixture)
{
    bool never = false;

    (void)sp_loop_run_until(fixture->loop, &never, sp_loop_now_ms(fixture->loop) + 1);
}

static inline struct sp_raft_group_status status_of(const struct fixture *fixture)
{
    struct sp_raft_group_status status;

    sp_raft_group_status(fixture->open.group, &status);
    return status;
}

static inline void open_group(struct fixture *fixture)
{
    start_open(fixture);
    run_until(fixture, &fixture->opened);
    assert_int_equal(fixture->open_status, 0);
    for (unsigned i = 0; i < 1000 && status_of(fixture).term == 0; i++) {
        turn(fixture);
    }
    assert_int_equal(status_of(fixture).term, 1); /* its term is on the disk, so it has started */
}

/* The other replica says that it leads in `term`, and up to where frames are committed. */
static inline void hear_commit(struct fixture *fixture, uint64_t term, uint64_t commit)
{
    struct sp_peer_message message = { .kind = SP_PEER_RAFT,
                                       .u.raft = { .group_id = GROUP,
                                                   .from = OTHER_REPLICA,
                                                   .to = SELF_REPLICA,
                                                   .kind = SP_PEER_APPEND,
                                                   .term = term,
                                                   .index = 1,
                                                   .index_term = 1,
                                                   .commit = commit } };

    sp_group_table_message(fixture->table, OTHER, &message);
}

static inline void hear_leader(struct fixture *fixture, uint64_t term)
{
    hear_commit(fixture, term, 1);
}

static inline void say_stopped(struct fixture *fixture)
{
    struct sp_peer_message message = {
        .kind = SP_PEER_STOPPED,
        .u.stopped = { .group_id = GROUP, .replica_id = OTHER_REPLICA },
    };

    sp_group_table_message(fixture->table, OTHER, &message);
}

/* The other node tells that it leads, as to all nodes. */
static inline void say_leads(struct fixture *fixture, uint64_t term)
{
    const struct sp_peer_leader leader = { .group_id = GROUP, .term = term, .node_id = OTHER };
    struct sp_peer_message message = { .kind = SP_PEER_LEADERS, .u.count = 1 };
    uint8_t bytes[SP_PEER_LEADER_SIZE];

    sp_peer_leader_encode(&leader, bytes);
    message.body = (struct sp_slice){ .bytes = bytes, .size = sizeof bytes };
    sp_group_table_message(fixture->table, OTHER, &message);
}

static inline void close_table(struct fixture *fixture)
{
    sp_group_table_close(fixture->table, on_table_closed, fixture);
    if (!fixture->closed) {
        run_until(fixture, &fixture->closed);
    }
}

/* The other replica sends the second frame behind a frame of this chain, and says that it is
 * committed. */
static inline void hear_chained(struct fixture *fixture, uint64_t term, uint32_t chain)
{
    struct sp_log_frame frame = { .kind = SP_FRAME_NOOP, .group_id = GROUP, .term = term };
    struct sp_blob *blob = sp_blob_new(sp_log_frame_size(0));
    struct sp_peer_message message = { .kind = SP_PEER_RAFT,
                                       .u.raft = { .group_id = GROUP,
                                                   .from = OTHER_REPLICA,
                                                   .to = SELF_REPLICA,
                                                   .kind = SP_PEER_APPEND,
                                                   .term = term,
                                                   .index = 1,
                                                   .index_term = 1,
                                                   .commit = 2,
                                                   .frame_count = 1 } };

    assert_non_null(blob);
    frame.index = 2;
    sp_log_frame_seal(&frame, chain, blob->bytes);
    message.body = sp_slice_of(blob, 0, blob->size);
    sp_group_table_message(fixture->table, OTHER, &message);
    sp_slice_unref(&message.body);
    sp_blob_unref(blob);
}

static inline void hear_frame(struct fixture *fixture, uint64_t term)
{
    hear_chained(fixture, term, sp_log_chain(sp_raft_group_log(fixture->open.group)));
}

#endif /* SP_UNIT_DRIVEN_GROUP_TABLE_H */
