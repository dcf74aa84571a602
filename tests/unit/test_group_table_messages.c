/* Damaged and wrong messages to a group table, and leaderships that are handed over. */
#include "driven_group_table.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
