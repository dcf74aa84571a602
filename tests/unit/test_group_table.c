/* The table of groups on a real directory, with a transport that sends nothing: closing in every
 * phase, lies of peers, leading and handing over. */
#include "cluster/group_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "spate/error.h"

enum {
    SELF = 1,
    OTHER = 2,
    SELF_REPLICA = 9,
    OTHER_REPLICA = 10,
    GROUP = 4,
    ELECTION_TIMEOUT_MS = 300, /* of a table that is told nothing else */
};

/* ---- the transport's stand-in ---------------------------------------------------------------- */

static enum sp_link_state other_link;

bool sp_transport_takes_records(const struct sp_transport *transport, uint32_t node_id)
{
    (void)transport;
    (void)node_id;
    return true;
}

bool sp_transport_look(const struct sp_transport *transport,
                       uint32_t node_id,
                       struct sp_transport_look *out_look)
{
    (void)transport;
    (void)node_id;
    (void)out_look;
    return false;
}

enum sp_link_state sp_transport_link(const struct sp_transport *transport, uint32_t node_id)
{
    (void)transport;
    assert_int_equal(node_id, OTHER);
    return other_link;
}

int sp_transport_send(struct sp_transport *transport,
                      uint32_t node_id,
                      const struct sp_peer_message *message,
                      const struct sp_slice *pieces,
                      unsigned count)
{
    (void)transport;
    (void)node_id;
    (void)message;
    (void)pieces;
    (void)count;
    return SPATE_ERR_CLOSED;
}

int sp_transport_send_heartbeat(struct sp_transport *transport,
                                uint32_t node_id,
                                const struct sp_peer_raft *raft)
{
    (void)transport;
    (void)node_id;
    (void)raft;
    return SPATE_ERR_CLOSED;
}

bool sp_transport_has_room(const struct sp_transport *transport, uint32_t node_id)
{
    (void)transport;
    (void)node_id;
    return true;
}

int sp_transport_wait(struct sp_transport *transport,
                      uint32_t node_id,
                      struct sp_link_waiter *waiter)
{
    (void)transport;
    (void)node_id;
    (void)waiter;
    return SPATE_ERR_CLOSED;
}

void sp_transport_reserve(struct sp_transport *transport, uint32_t node_id, size_t size_bytes)
{
    (void)transport;
    (void)node_id;
    (void)size_bytes;
}

void sp_transport_release(struct sp_transport *transport, uint32_t node_id, size_t size_bytes)
{
    (void)transport;
    (void)node_id;
    (void)size_bytes;
}

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

static int
machine_apply(struct sp_machine *machine, const struct sp_log_frame *frame, const uint8_t *payload)
{
    (void)frame;
    (void)payload;
    return SP_CONTAINER_OF(machine, struct fixture, machine)->refuses ? SPATE_ERR_CORRUPT : 0;
}

static int machine_checkpoint(struct sp_machine *machine, struct sp_buf *out)
{
    (void)machine;
    (void)out;
    return 0;
}

static int machine_restore(struct sp_machine *machine, const uint8_t *bytes, size_t size)
{
    (void)machine;
    (void)bytes;
    (void)size;
    return 0;
}

static void machine_role_changed(struct sp_machine *machine)
{
    (void)machine;
}

static void machine_stopped(struct sp_machine *machine, int status, const char *text)
{
    (void)status;
    (void)text;
    SP_CONTAINER_OF(machine, struct fixture, machine)->stopped = true;
}

static const struct sp_machine_type machine_type = {
    machine_apply, machine_checkpoint, machine_restore, machine_role_changed, machine_stopped, 0,
    NULL
};

static void on_meta_durable(void *arg, uint64_t sequence)
{
    struct fixture *fixture = arg;

    if (fixture->table != NULL) {
        sp_group_table_meta_durable(fixture->table, sequence);
    }
}

static void on_store_failed(void *arg, int status, const char *text)
{
    (void)arg;
    (void)status;
    fail_msg("store failed: %s", text);
}

static const struct sp_store_handler store_handler = { on_meta_durable, on_store_failed };

static void on_open(struct sp_group_open *open, int status)
{
    struct fixture *fixture = open->arg;

    fixture->open_status = status;
    fixture->opened = true;
}

static void on_table_closed(void *arg)
{
    struct fixture *fixture = arg;

    fixture->table = NULL;
    fixture->closed = true;
}

static void on_store_closed(void *arg)
{
    ((struct fixture *)arg)->closed = true;
}

static void run_until(struct fixture *fixture, const bool *flag)
{
    assert_true(sp_loop_run_until(fixture->loop, flag, sp_loop_now_ms(fixture->loop) + 10000));
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct sp_store_options store = { .node_id = SELF };
    struct sp_group_table_options table = { .node_id = SELF };
    char text[256];

    assert_non_null(fixture);
    other_link = SP_LINK_DOWN;
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

static int teardown(void **state)
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

static void start_open(struct fixture *fixture)
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

static void turn(struct fixture *fixture)
{
    bool never = false;

    (void)sp_loop_run_until(fixture->loop, &never, sp_loop_now_ms(fixture->loop) + 1);
}

static struct sp_raft_group_status status_of(const struct fixture *fixture)
{
    struct sp_raft_group_status status;

    sp_raft_group_status(fixture->open.group, &status);
    return status;
}

static void open_group(struct fixture *fixture)
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
static void hear_commit(struct fixture *fixture, uint64_t term, uint64_t commit)
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

static void hear_leader(struct fixture *fixture, uint64_t term)
{
    hear_commit(fixture, term, 1);
}

static void say_stopped(struct fixture *fixture)
{
    struct sp_peer_message message = {
        .kind = SP_PEER_STOPPED,
        .u.stopped = { .group_id = GROUP, .replica_id = OTHER_REPLICA },
    };

    sp_group_table_message(fixture->table, OTHER, &message);
}

/* The other node tells that it leads, as to all nodes. */
static void say_leads(struct fixture *fixture, uint64_t term)
{
    const struct sp_peer_leader leader = { .group_id = GROUP, .term = term, .node_id = OTHER };
    struct sp_peer_message message = { .kind = SP_PEER_LEADERS, .u.count = 1 };
    uint8_t bytes[SP_PEER_LEADER_SIZE];

    sp_peer_leader_encode(&leader, bytes);
    message.body = (struct sp_slice){ .bytes = bytes, .size = sizeof bytes };
    sp_group_table_message(fixture->table, OTHER, &message);
}

static void close_table(struct fixture *fixture)
{
    sp_group_table_close(fixture->table, on_table_closed, fixture);
    if (!fixture->closed) {
        run_until(fixture, &fixture->closed);
    }
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_group_table_close_waits_for_what_is_being_opened(void **state)
{
    struct fixture *fixture = *state;

    start_open(fixture);
    close_table(fixture);
    assert_true(fixture->opened); /* and its log is closed, or the store would not let go */
    assert_int_equal(fixture->open_status, SPATE_ERR_CANCELED);
}

static void test_group_table_closing_groups_hear_nothing_any_more(void **state)
{
    struct fixture *fixture = *state;

    open_group(fixture);
    hear_leader(fixture, 2);
    assert_int_equal(sp_group_table_leader(fixture->table, GROUP, NULL), OTHER);
    sp_group_table_close(fixture->table, on_table_closed, fixture);
    assert_false(fixture->closed); /* the vote of term 2 and the log go to the disk first */
    hear_leader(fixture, 3);
    say_stopped(fixture);
    sp_group_table_link(fixture->table, OTHER, SP_LINK_DEAD);
    run_until(fixture, &fixture->closed);
}

static void test_group_table_removed_group_is_not_asked_while_it_closes(void **state)
{
    struct fixture *fixture = *state;
    struct sp_raft_group_status status;

    open_group(fixture);
    hear_leader(fixture, 2);
    sp_group_table_remove(fixture->table, fixture->open.group, true, NULL, NULL);
    sp_raft_group_node_dead(fixture->open.group, OTHER);
    sp_raft_group_replica_stopped(fixture->open.group, OTHER_REPLICA);
    sp_raft_group_status(fixture->open.group, &status);
    assert_int_equal(status.leader_node, 0);
    assert_int_equal(status.voters, 0);
    close_table(fixture);
    assert_false(sp_store_has_replica(fixture->store, GROUP, SELF_REPLICA));
}

/* The other replica sends the second frame behind a frame of this chain, and says that it is
 * committed. */
static void hear_chained(struct fixture *fixture, uint64_t term, uint32_t chain)
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

static void hear_frame(struct fixture *fixture, uint64_t term)
{
    hear_chained(fixture, term, sp_log_chain(sp_raft_group_log(fixture->open.group)));
}

/* A flipped bit on the way: the frame's own checksum leaves the chain out. */
static void test_group_table_frame_with_a_damaged_chain_is_refused(void **state)
{
    struct fixture *fixture = *state;

    open_group(fixture);
    hear_chained(fixture, 2, sp_log_chain(sp_raft_group_log(fixture->open.group)) ^ 1);
    assert_false(fixture->stopped);
    assert_int_equal(sp_log_last_index(sp_raft_group_log(fixture->open.group)), 1);
    hear_frame(fixture, 2);
    assert_int_equal(sp_log_last_index(sp_raft_group_log(fixture->open.group)), 2);
    close_table(fixture);
}

/* libraft lowers its commit index when it hears of a high one with a low prefix, and would then
 * take another frame for a committed one. */
static void test_group_table_applied_frame_is_never_replaced(void **state)
{
    struct fixture *fixture = *state;

    open_group(fixture);
    hear_frame(fixture, 2);
    for (unsigned i = 0; i < 200 && status_of(fixture).applied_index < 2; i++) {
        turn(fixture); /* the first frame comes from the disk */
    }
    assert_int_equal(status_of(fixture).applied_index, 2);
    hear_commit(fixture, 2, 3);
    assert_false(fixture->stopped);
    hear_frame(fixture, 3);
    assert_true(fixture->stopped);
    assert_int_equal(sp_log_term_at(sp_raft_group_log(fixture->open.group), 2), 2);
    close_table(fixture);
}

/* A replica that gives up knows no leader; what the node knows of the others' leader stays. */
static void test_group_table_stopped_follower_leaves_the_leader_known(void **state)
{
    struct fixture *fixture = *state;

    open_group(fixture);
    hear_leader(fixture, 2);
    fixture->refuses = true;
    hear_frame(fixture, 2);
    for (unsigned i = 0; i < 1000 && !fixture->stopped; i++) {
        turn(fixture);
    }
    assert_true(fixture->stopped);
    assert_int_equal(sp_group_table_leader(fixture->table, GROUP, NULL), OTHER);
    close_table(fixture);
}

/* Batches have 31 bits for it, and terms never go back. */
static void test_group_table_impossible_terms_are_refused(void **state)
{
    struct fixture *fixture = *state;

    open_group(fixture);
    hear_leader(fixture, UINT64_C(1) << 31);
    hear_leader(fixture, UINT64_MAX);
    assert_int_equal(status_of(fixture).term, 1);
    hear_leader(fixture, INT32_MAX);
    assert_int_equal(status_of(fixture).term, INT32_MAX);
    close_table(fixture);
}

/* ---- leading --------------------------------------------------------------------------------- */

static void hear(struct fixture *fixture, struct sp_peer_raft raft)
{
    struct sp_peer_message message = { .kind = SP_PEER_RAFT, .u.raft = raft };

    message.u.raft.group_id = GROUP;
    message.u.raft.from = OTHER_REPLICA;
    message.u.raft.to = SELF_REPLICA;
    sp_group_table_message(fixture->table, OTHER, &message);
}

/* The other replica says that it has everything up to `index`. */
static void hear_stored(struct fixture *fixture, uint64_t index)
{
    uint64_t term = status_of(fixture).term;

    hear(fixture,
         (struct sp_peer_raft){
             .kind = SP_PEER_APPEND_RESULT, .term = term, .request_term = term, .index = index });
}

/* This replica stands for election, the other votes for it and stores its first frame. */
static void come_to_lead(struct fixture *fixture)
{
    for (unsigned i = 0; i < 5000 && status_of(fixture).role != SP_ROLE_LEADER; i++) {
        uint64_t term = status_of(fixture).term;
        turn(fixture);
        if (status_of(fixture).role == SP_ROLE_CANDIDATE) {
            hear(fixture,
                 (struct sp_peer_raft){ .kind = SP_PEER_VOTE_RESULT,
                                        .term = term + 1,
                                        .flags = SP_PEER_PRE_VOTE | SP_PEER_GRANTED });
            hear(fixture,
                 (struct sp_peer_raft){ .kind = SP_PEER_VOTE_RESULT,
                                        .term = status_of(fixture).term,
                                        .flags = SP_PEER_GRANTED });
        }
    }
    assert_int_equal(status_of(fixture).role, SP_ROLE_LEADER);
    for (unsigned i = 0; i < 1000 && !status_of(fixture).ready; i++) {
        hear_stored(fixture, status_of(fixture).last_index);
        turn(fixture);
    }
    assert_true(status_of(fixture).ready);
}

static void on_submitted(struct sp_submit *submit, int status)
{
    (void)submit;
    (void)status;
}

static int submit(struct fixture *fixture, struct sp_submit *submit)
{
    struct sp_iovec piece = { "x", 1 };

    *submit = (struct sp_submit){ .cb = on_submitted };
    return sp_raft_group_submit(fixture->open.group, SP_FRAME_COMMAND, &piece, 1, submit);
}

/* Turns until so much time has passed. */
static void let_pass(struct fixture *fixture, uint64_t ms)
{
    uint64_t end_ms = sp_loop_now_ms(fixture->loop) + ms;

    while (sp_loop_now_ms(fixture->loop) < end_ms) {
        turn(fixture);
    }
}

/* A node that has come back has not opened its replica yet: nothing is known of that but the last
 * word of its life before. */
static void test_group_table_silent_successor_is_not_waited_for(void **state)
{
    struct fixture *fixture = *state;
    struct sp_submit submits[2];

    open_group(fixture);
    other_link = SP_LINK_UP;
    for (unsigned i = 0; i < 20 && status_of(fixture).role != SP_ROLE_LEADER; i++) {
        come_to_lead(fixture);
        let_pass(fixture, ELECTION_TIMEOUT_MS / 2 + 5); /* it may take so long that it gives up */
    }
    assert_int_equal(sp_raft_group_transfer_to(fixture->open.group, OTHER), SPATE_ERR_BUSY);
    assert_int_equal(submit(fixture, &submits[0]), 0);
    assert_int_equal(sp_raft_group_transfer_to(fixture->open.group, OTHER), SPATE_ERR_BUSY);
    assert_int_equal(submit(fixture, &submits[1]), 0); /* nothing is held back for it */
    hear_stored(fixture, status_of(fixture).last_index);
    assert_int_equal(sp_raft_group_transfer_to(fixture->open.group, OTHER), 0);
    close_table(fixture);
}

/* One that answers and never has all of it must not stop the stream again and again. */
static void test_group_table_balancing_holds_submits_back_once_in_a_while(void **state)
{
    struct fixture *fixture = *state;
    struct sp_submit submits[3];
    uint64_t behind;

    open_group(fixture);
    other_link = SP_LINK_UP;
    come_to_lead(fixture);
    behind = status_of(fixture).last_index;
    assert_int_equal(submit(fixture, &submits[0]), 0);
    assert_int_equal(sp_raft_group_transfer_to(fixture->open.group, OTHER), SPATE_ERR_BUSY);
    assert_int_equal(submit(fixture, &submits[1]), SPATE_ERR_NOT_READY);
    for (unsigned i = 0; i < 1000 && submit(fixture, &submits[1]) != 0; i++) {
        hear_stored(fixture, behind);
        turn(fixture);
    }
    assert_int_equal(sp_raft_group_transfer_to(fixture->open.group, OTHER), SPATE_ERR_BUSY);
    assert_int_equal(submit(fixture, &submits[2]), 0);
    close_table(fixture);
}

/* A steady stream would never let anybody have all of the log. */
static void test_group_table_handing_over_holds_submits_back(void **state)
{
    struct fixture *fixture = *state;
    struct sp_submit submits[3];

    open_group(fixture);
    other_link = SP_LINK_UP;
    come_to_lead(fixture);
    assert_int_equal(submit(fixture, &submits[0]), 0);
    assert_int_equal(sp_raft_group_transfer(fixture->open.group), SPATE_ERR_BUSY);
    assert_int_equal(submit(fixture, &submits[1]), SPATE_ERR_NOT_READY);
    hear_stored(fixture, status_of(fixture).last_index);
    assert_int_equal(sp_raft_group_transfer(fixture->open.group), 0);
    assert_int_equal(status_of(fixture).role, SP_ROLE_LEADER);
    /* nobody comes: after a while it leads on */
    for (unsigned i = 0; i < 2000 && submit(fixture, &submits[2]) != 0; i++) {
        hear_stored(fixture, status_of(fixture).last_index);
        turn(fixture);
    }
    assert_true(submits[2].index > submits[0].index);
    close_table(fixture);
}

/* Nobody tells it again who leads: what was said before it lost sight of the leader holds. */
static void test_group_table_replica_moved_away_leaves_the_leader_known(void **state)
{
    struct fixture *fixture = *state;

    open_group(fixture);
    hear_leader(fixture, 2);
    say_leads(fixture, 2);
    for (unsigned i = 0; i < 10000 && sp_group_table_leader(fixture->table, GROUP, NULL) != 0;
         i++) {
        turn(fixture); /* until its election timeout */
    }
    assert_int_equal(sp_group_table_leader(fixture->table, GROUP, NULL), 0);
    sp_group_table_remove(fixture->table, fixture->open.group, false, NULL, NULL);
    assert_int_equal(sp_group_table_leader(fixture->table, GROUP, NULL), OTHER);
    sp_group_table_link(fixture->table, OTHER, SP_LINK_DEAD);
    assert_int_equal(sp_group_table_leader(fixture->table, GROUP, NULL), 0);
    close_table(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_group_table_close_waits_for_what_is_being_opened, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_group_table_closing_groups_hear_nothing_any_more, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_group_table_removed_group_is_not_asked_while_it_closes, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_group_table_stopped_follower_leaves_the_leader_known, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_group_table_replica_moved_away_leaves_the_leader_known, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_group_table_frame_with_a_damaged_chain_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_group_table_applied_frame_is_never_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_group_table_impossible_terms_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_group_table_silent_successor_is_not_waited_for, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_group_table_balancing_holds_submits_back_once_in_a_while, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_group_table_handing_over_holds_submits_back, setup, teardown),
    };
    return cmocka_run_group_tests_name("cluster/group_table", tests, NULL, NULL);
}
