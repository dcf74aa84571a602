/* Replica 9 of group 4 on a real directory, for tests that drive it. Included once, by one test. */
#ifndef SP_UNIT_ONE_REPLICA_H
#define SP_UNIT_ONE_REPLICA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cluster/raft_group.h"
#include "cluster/raft_group_internal.h"
#include "spate/error.h"

/* A machine that sums the commands' first bytes and counts what it was given. */
struct adder {
    struct sp_machine machine;
    uint64_t sum;
    uint64_t applied;        /* commands applied since it was made */
    uint64_t restored_sum;   /* state found in a checkpoint */
    unsigned restored_count; /* restores with content */
    bool stopped;
};

static inline struct adder *adder_of(struct sp_machine *machine)
{
    return SP_CONTAINER_OF(machine, struct adder, machine);
}

static inline int
adder_apply(struct sp_machine *machine, const struct sp_log_frame *frame, const uint8_t *payload)
{
    if (frame->kind == SP_FRAME_COMMAND) {
        adder_of(machine)->sum += payload[0];
        adder_of(machine)->applied += 1;
    }
    return 0;
}

static inline int adder_checkpoint(struct sp_machine *machine, struct sp_buf *out)
{
    return sp_buf_append(out, &adder_of(machine)->sum, sizeof adder_of(machine)->sum);
}

static inline int adder_restore(struct sp_machine *machine, const uint8_t *bytes, size_t size)
{
    struct adder *adder = adder_of(machine);

    adder->sum = 0;
    if (size == 0) {
        return 0;
    }
    if (size != sizeof adder->sum) {
        return SPATE_ERR_CORRUPT;
    }
    memcpy(&adder->sum, bytes, size);
    adder->restored_sum = adder->sum;
    adder->restored_count += 1;
    return 0;
}

static inline void adder_role_changed(struct sp_machine *machine)
{
    (void)machine;
}

static inline void adder_stopped(struct sp_machine *machine, int status, const char *text)
{
    (void)status;
    (void)text;
    adder_of(machine)->stopped = true;
}

static const struct sp_machine_type adder_type = {
    adder_apply, adder_checkpoint, adder_restore, adder_role_changed, adder_stopped, 0, NULL
};

/* ---- fixture --------------------------------------------------------------------------------- */

struct fixture {
    char path[64];
    struct sp_loop *loop;
    struct sp_store *store;
    struct sp_raft_context context;
    struct sp_raft_group *group;
    struct adder adder;
    const struct sp_machine_type *type;
    bool follows; /* replica 10 on node 2 is a voter, too */
    struct sp_replica_open open;
    bool opened;
    bool closed;
    unsigned committed; /* submits that completed with 0 */
    unsigned failed;    /* submits that completed otherwise */
};

static inline void on_meta_durable(void *arg, uint64_t sequence)
{
    struct fixture *fixture = arg;
    struct sp_list waiting;

    sp_list_init(&waiting);
    sp_list_move(&waiting, &fixture->context.meta_waiters);
    while (!sp_list_empty(&waiting)) {
        struct sp_list *node = waiting.next;
        sp_list_remove(node);
        sp_list_append(&fixture->context.meta_waiters, node);
        sp_raft_group_meta_durable(sp_raft_group_of_waiter(node), sequence);
    }
}

static inline void on_store_failed(void *arg, int status, const char *text)
{
    (void)arg;
    (void)status;
    fail_msg("store failed: %s", text);
}

static const struct sp_store_handler store_handler = { on_meta_durable, on_store_failed };

static inline void on_leader_changed(struct sp_raft_context *context, struct sp_raft_group *group)
{
    (void)context;
    (void)group;
}

static inline void on_open(struct sp_replica_open *open, int status)
{
    struct fixture *fixture = SP_CONTAINER_OF(open, struct fixture, open);

    assert_int_equal(status, 0);
    fixture->opened = true;
}

static inline void on_closed(void *arg)
{
    struct fixture *fixture = arg;

    fixture->closed = true;
}

/* Nothing here takes this long. */
static inline uint64_t patience(const struct fixture *fixture)
{
    return sp_loop_now_ms(fixture->loop) + 20000;
}

static inline void start(struct fixture *fixture)
{
    struct sp_store_options options = { .path = fixture->path,
                                        .node_id = 1,
                                        .segment_bytes = SP_SEGMENT_BYTES_MIN };
    struct sp_replica_place places[] = { { .replica_id = 9, .node_id = 1 },
                                         { .replica_id = 10, .node_id = 2 } };
    struct sp_raft_group_options group = { .group_id = 4, .replica_id = 9 };
    char text[256];

    assert_int_equal(sp_loop_new(2, &fixture->loop), 0);
    fixture->context = (struct sp_raft_context){ .loop = fixture->loop,
                                                 .node_id = 1,
                                                 .leader_changed = on_leader_changed };
    sp_rand_init(&fixture->context.rand, 1);
    sp_list_init(&fixture->context.meta_waiters);
    assert_int_equal(
        sp_store_open(
            fixture->loop, &options, &store_handler, fixture, text, sizeof text, &fixture->store),
        0);
    fixture->context.store = fixture->store;
    fixture->adder = (struct adder){ .machine = { fixture->type } };
    fixture->open = (struct sp_replica_open){ .group_id = 4, .replica_id = 9, .cb = on_open };
    fixture->opened = false;
    if (sp_store_has_replica(fixture->store, 4, 9)) {
        sp_store_open_replica(fixture->store, &fixture->open);
    } else {
        assert_int_equal(
            sp_raft_first_frame(4, 0, places, fixture->follows ? 2 : 1, &fixture->open.first), 0);
        sp_store_create_replica(fixture->store, &fixture->open);
    }
    assert_true(sp_loop_run_until(fixture->loop, &fixture->opened, patience(fixture)));
    group.log = fixture->open.log;
    group.machine = &fixture->adder.machine;
    assert_int_equal(sp_raft_group_open(&fixture->context, &group, &fixture->group), 0);
}

static inline void stop(struct fixture *fixture)
{
    fixture->closed = false;
    sp_raft_group_close(fixture->group, on_closed, fixture);
    assert_true(sp_loop_run_until(fixture->loop, &fixture->closed, patience(fixture)));
    fixture->closed = false;
    sp_store_close(fixture->store, on_closed, fixture);
    assert_true(sp_loop_run_until(fixture->loop, &fixture->closed, patience(fixture)));
    sp_loop_free(fixture->loop);
}

static inline struct sp_raft_group_status status_of(const struct fixture *fixture)
{
    struct sp_raft_group_status status;

    sp_raft_group_status(fixture->group, &status);
    return status;
}

/* Runs turns until the replica serves, at most ten seconds. */
static inline void wait_ready(struct fixture *fixture)
{
    bool never = false;
    uint64_t until_ms = patience(fixture);

    while (!status_of(fixture).ready && sp_loop_now_ms(fixture->loop) < until_ms) {
        (void)sp_loop_run_until(fixture->loop, &never, sp_loop_now_ms(fixture->loop) + 5);
    }
    assert_true(status_of(fixture).ready);
}

struct command {
    struct sp_submit submit;
    struct fixture *fixture;
    uint64_t order; /* commands must complete in this order */
};

static uint64_t next_order;

static inline void on_submitted(struct sp_submit *submit, int status)
{
    struct command *command = SP_CONTAINER_OF(submit, struct command, submit);

    if (status == 0) {
        assert_int_equal(command->order, next_order);
        assert_int_equal(submit->fsynced, 1);
        next_order += 1;
        command->fixture->committed += 1;
    } else {
        command->fixture->failed += 1;
    }
}

static inline void submit_all(struct fixture *fixture, struct command *commands, unsigned count)
{
    static uint8_t payload[1000];
    unsigned done_before = fixture->committed + fixture->failed;

    next_order = 0;
    for (unsigned i = 0; i < count; i++) {
        struct sp_iovec piece = { payload, sizeof payload };
        payload[0] = (uint8_t)i;
        commands[i] =
            (struct command){ .submit = { .cb = on_submitted }, .fixture = fixture, .order = i };
        assert_int_equal(
            sp_raft_group_submit(fixture->group, SP_FRAME_COMMAND, &piece, 1, &commands[i].submit),
            0);
        assert_int_equal(fixture->committed + fixture->failed, done_before); /* never inside */
    }
}

static inline int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);

    assert_non_null(fixture);
    fixture->type = &adder_type;
    (void)snprintf(fixture->path, sizeof fixture->path, "raft-group-test-XXXXXX");
    assert_non_null(mkdtemp(fixture->path));
    *state = fixture;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(sp_path_remove_tree(fixture->path), 0);
    free(fixture);
    return 0;
}

#endif /* SP_UNIT_ONE_REPLICA_H */
